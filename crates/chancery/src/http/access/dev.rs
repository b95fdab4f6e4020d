//! `--dev`: nobody shows anything, and so only this machine is let in.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, StatusCode, header};

use crate::http::error::Problem;

/// A web page whose name was pointed at 127.0.0.1 is not a caller on this machine.
pub(super) fn check_host(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(header::HOST) {
        Some(host) if !is_loopback_host(host.as_bytes()) => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "auth.host",
            "without credentials only requests to `localhost`, `127.0.0.1` or `[::1]` are taken",
        )),
        _ => Ok(()),
    }
}

/// Whether a `Host` header names this machine.
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
