//! Limits at the door: what a tenant and its credentials may, and how fast credentials can be guessed.

use std::net::IpAddr;

use axum::http::StatusCode;
use axum::http::request::Parts;
use chancery_core::time::Timestamp;

use super::Identity;
use crate::http::error::Problem;
use crate::http::serve::Peer;
use crate::http::state::State;
use crate::limits::{Limited, Wait};

/// Takes a request of whoever was let in.
pub(super) fn request(identity: &Identity, now: Timestamp) -> Result<(), Problem> {
    let credential = identity.key_id.as_ref().unwrap_or(&identity.caller.principal);
    identity.tenant.limits().request(credential, now).map_err(limited)
}

/// What is answered where a limit is reached.
pub(super) fn limited(limited: Limited) -> Problem {
    match limited {
        Limited::Tenant(wait) => rate(wait, "the tenant has as many requests a second as it may"),
        Limited::Credential(wait) => rate(wait, "the credential has as many requests a second as it may"),
        Limited::Day(wait) => {
            let detail =
                "the tenant has had as many decisions today as it may; the day ends at midnight, UTC";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "limit.decisions", detail).retry_after(wait.seconds())
        }
    }
}

fn rate(wait: Wait, detail: &str) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "limit.rate", format!("{detail}; retry"))
        .retry_after(wait.seconds())
}

/// Where a credential comes from, and what it is: what guessing is counted by.
pub(super) struct Attempt<'a> {
    state: &'a State,
    address: IpAddr,
    credential: &'a str,
    now: Timestamp,
}

impl<'a> Attempt<'a> {
    /// Refuses where too many bad ones came from there. Nothing is counted where nobody knows from where.
    pub(super) fn begin(
        state: &'a State,
        parts: &Parts,
        credential: &'a str,
    ) -> Result<Option<Self>, Problem> {
        let Some(address) = address(parts, state.behind_proxy()) else { return Ok(None) };
        let now = state.clock().now();
        state
            .guesses()
            .may_try(address, credential, now)
            .map_err(|wait| rate(wait, "too many bad credentials came from your address"))?;
        Ok(Some(Self { state, address, credential, now }))
    }

    /// What came of it. A server that could not tell has found nothing bad.
    pub(super) fn end(self, status: Option<StatusCode>) {
        let guesses = self.state.guesses();
        match status {
            None => guesses.was_good(self.address, self.credential, self.now),
            Some(StatusCode::UNAUTHORIZED) => guesses.was_bad(self.address, self.now),
            Some(_) => {}
        }
    }
}

/// Where a request comes from. A proxy puts the address that it saw behind those that a caller made up.
pub(super) fn address(parts: &Parts, behind_proxy: bool) -> Option<IpAddr> {
    let peer = parts.extensions.get::<Peer>()?.address.ip();
    if !behind_proxy {
        return Some(peer);
    }
    let forwarded = parts.headers.get_all("x-forwarded-for").iter().next_back();
    let last = forwarded.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    Some(last.unwrap_or(peer))
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
        for nothing in [&[][..], &[""], &["nonsense"], &["192.0.2.1,"]] {
            assert_eq!(of(nothing, true), "10.0.0.1");
        }
    }
}
