//! Limits at the door: what a tenant and its credentials may, and how fast credentials can be guessed.

use std::net::{IpAddr, SocketAddr};

use axum::http::StatusCode;
use axum::http::request::Parts;
use chancery_core::time::Timestamp;

use super::{Identity, Tenant};
use crate::http::error::Problem;
use crate::http::serve::Peer;
use crate::http::state::State;
use crate::limits::{Limited, Wait};

/// Takes a request of whoever was let in.
pub(super) fn request(identity: &Identity, now: Timestamp) -> Result<(), Problem> {
    let credential = identity.key_id.as_ref().unwrap_or(&identity.caller.principal);
    identity.tenant.limits().request(credential, now).map_err(limited)
}

/// Takes a request for what is public at a tenant. Nothing is counted where nobody knows from where it comes.
pub(super) fn public(state: &State, tenant: &Tenant, parts: &Parts) -> Result<(), Problem> {
    let Some(address) = address(parts, state.behind_proxy()) else { return Ok(()) };
    tenant.limits().public(address, state.clock().now()).map_err(limited)
}

/// What is answered where a limit is reached.
pub(super) fn limited(limited: Limited) -> Problem {
    match limited {
        Limited::Tenant(wait) => rate(wait, "the tenant has as many requests a second as it may"),
        Limited::Credential(wait) => rate(wait, "the credential has as many requests a second as it may"),
        Limited::Address(wait) => rate(wait, "your address has as many public requests a second as it may"),
        Limited::Day(wait) => {
            let detail =
                "the tenant has had as many decisions today as it may; the day ends at midnight, UTC";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "limit.decisions", detail).retry_after(wait.seconds())
        }
    }
}

pub(super) fn rate(wait: Wait, detail: &str) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "limit.rate", format!("{detail}; retry"))
        .retry_after(wait.seconds())
}

/// Where a request comes from. A proxy puts the address that it saw behind those that a caller made up.
pub(super) fn address(parts: &Parts, behind_proxy: bool) -> Option<IpAddr> {
    let peer = parts.extensions.get::<Peer>()?.address.ip();
    if !behind_proxy {
        return Some(peer);
    }
    let forwarded = parts.headers.get_all("x-forwarded-for").iter().next_back();
    let last = forwarded.and_then(|value| parsed(value.to_str().ok()?.rsplit(',').next()?.trim()));
    Some(last.unwrap_or(peer))
}

/// An address, with its port or without: `192.0.2.1:80`, `[2001:db8::1]:80`, `[2001:db8::1]`.
fn parsed(text: &str) -> Option<IpAddr> {
    let alone = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    alone.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_behind_a_proxy_makes_no_address_up() {
        let of = |forwarded: &[&str], behind_proxy| {
            let peer = Peer { address: "10.0.0.1:5".parse().unwrap(), certificate: None };
            let mut request = axum::http::Request::builder().extension(peer);
            for value in forwarded {
                request = request.header("x-forwarded-for", *value);
            }
            address(&request.body(()).unwrap().into_parts().0, behind_proxy).unwrap().to_string()
        };
        assert_eq!(of(&["192.0.2.1"], false), "10.0.0.1", "nobody is believed without a proxy");
        assert_eq!(of(&["192.0.2.1"], true), "192.0.2.1");
        assert_eq!(of(&["198.51.100.9, 192.0.2.1"], true), "192.0.2.1");
        assert_eq!(of(&["198.51.100.9", "192.0.2.1"], true), "192.0.2.1");
        assert_eq!(of(&["192.0.2.1:4711"], true), "192.0.2.1");
        assert_eq!(of(&["198.51.100.9, [2001:db8::1]:4711"], true), "2001:db8::1");
        assert_eq!(of(&["[2001:db8::1]"], true), "2001:db8::1");
        for nothing in [&[][..], &[""], &["nonsense"], &["192.0.2.1,"]] {
            assert_eq!(of(nothing, true), "10.0.0.1");
        }
    }
}
