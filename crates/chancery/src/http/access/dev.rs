//! `--dev`: nobody shows anything, and so only this machine is let in.

use std::net::{IpAddr, SocketAddr};

use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};

use crate::http::error::Problem;

/// A web page whose name was pointed at 127.0.0.1 is not a caller on this machine. Every name that a request gives has to
/// be of it, in `Host` and, as HTTP/2 has it, in `:authority`; and one has to be there.
pub(super) fn check_host(parts: &Parts) -> Result<(), Problem> {
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let hosts = parts.headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes);
    let mut named = authority.into_iter().chain(hosts).peekable();
    if named.peek().is_some() && named.all(is_loopback_host) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "auth.host",
        "without credentials only requests to `localhost`, `127.0.0.1` or `[::1]` are taken",
    ))
}

/// Whether a host with its port names this machine.
fn is_loopback_host(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    #[test]
    fn every_name_that_a_request_gives_is_of_this_machine_and_one_is_there() {
        let taken = |uri: &str, hosts: &[&str]| {
            let request = Request::builder().uri(uri);
            let request = hosts.iter().fold(request, |request, host| request.header(header::HOST, *host));
            check_host(&request.body(()).unwrap().into_parts().0).map_err(|problem| problem.code())
        };
        for (uri, hosts) in
            [("/", &["localhost"][..]), ("http://127.0.0.1:80/", &[]), ("http://[::1]/", &["[::1]"])]
        {
            assert_eq!(taken(uri, hosts), Ok(()), "{uri} {hosts:?}");
        }
        for (uri, hosts) in [
            ("/", &[][..]),
            ("http://evil.example/", &[]),
            ("http://evil.example/", &["localhost"]),
            ("http://localhost/", &["evil.example"]),
            ("/", &["localhost", "evil.example"]),
        ] {
            assert_eq!(taken(uri, hosts), Err("auth.host"), "{uri} {hosts:?}");
        }
    }

    #[test]
    fn a_name_that_was_pointed_at_loopback_is_not_loopback() {
        for host in ["localhost", "LocalHost:8080", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080"] {
            assert!(is_loopback_host(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "localhost.evil:80",
            "0.0.0.0",
        ] {
            assert!(!is_loopback_host(host.as_bytes()), "{host}");
        }
    }
}
