//! What a request shows: `Authorization: Bearer`, with an API key or a token of an identity provider; where there is
//! none, the client certificate of its connection.

use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use chancery_core::time::Timestamp;
use chancery_runtime::credentials::ApiKey;

use super::refusal::Refusal;
use super::{Identity, Tenant, certificate, keys, throttle, token};
use crate::http::error::Problem;
use crate::http::state::State;
use crate::oidc::{self, TokenError};
use crate::tls::ClientCertificate;

/// Who sends a request.
pub(super) async fn identify(state: &State, parts: &Parts) -> Result<Identity, Refusal> {
    let Some(text) = bearer(&parts.headers)? else {
        return certificate::identify(state.tenants(), parts, state.clock().now());
    };
    let now = state.clock().now();
    let guesses = state.guesses();
    let address = throttle::address(parts, state.behind_proxy());
    let found = if oidc::is_token(text) {
        let turn = match address {
            Some(address) => guesses.turn(address, text, now).await,
            None => None,
        };
        let found = token::identify(state.tenants(), text, now).await;
        drop(turn);
        if found.is_ok() {
            guesses.was_good(text, now);
        }
        found
    } else {
        keys::identify(state.tenants(), text).await
    };
    // A server that could not tell has found nothing bad.
    let is_bad = found.as_ref().is_err_and(|refusal| refusal.problem.status() == StatusCode::UNAUTHORIZED);
    match address.filter(|_| is_bad).map(|address| guesses.was_bad(address, now)) {
        Some(Err(wait)) => {
            Err(throttle::rate(wait, "too many bad credentials came from your address").into())
        }
        _ => found,
    }
}

/// What was shown, as far as it may stop being good while a request goes on.
#[derive(Clone, Debug)]
pub(super) enum Shown {
    /// Nothing, for nothing has to be.
    Nothing,
    /// An API key.
    Key(Arc<ApiKey>),
    /// A token.
    Token {
        /// Until when it is good, in seconds since 1970.
        until_s: i64,
    },
    /// The certificate of the connection.
    Certificate(Arc<ClientCertificate>),
}

impl Shown {
    /// Refuses what is not good any more. Blocks where the API keys have to be read.
    pub(super) fn check(&self, tenant: &Tenant, now: Timestamp) -> Result<(), Problem> {
        match self {
            Self::Nothing => Ok(()),
            Self::Key(key) => keys::check(tenant, key),
            Self::Token { until_s } if now.unix_micros().div_euclid(1_000_000) < *until_s => Ok(()),
            Self::Token { .. } => Err(token::refused(TokenError::Expired)),
            Self::Certificate(shown) => certificate::check(shown, now),
        }
    }
}

/// The bearer credential of a request (RFC 6750 §2.1); other ways of sending one are not taken.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let malformed = |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, "auth.malformed", detail);
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let Some(first) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(malformed("there is more than one `Authorization` header"));
    }
    let text = first.to_str().map_err(|_| malformed("`Authorization` is not ASCII"))?;
    match text.split_once(' ') {
        Some((scheme, credential)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(credential.trim())),
        _ => Err(malformed("`Authorization` has to be `Bearer` and a credential")),
    }
}
