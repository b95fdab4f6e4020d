//! What a request shows: `Authorization: Bearer`, with an API key or a token of an identity provider; where there is
//! none, the client certificate of its connection.

use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};

use super::refusal::Refusal;
use super::throttle::Attempt;
use super::{Identity, certificate, keys, token};
use crate::http::error::Problem;
use crate::http::state::State;
use crate::oidc;

/// Who sends a request.
pub(super) async fn identify(state: &State, parts: &Parts) -> Result<Identity, Refusal> {
    let Some(text) = bearer(&parts.headers)? else {
        return certificate::identify(state.tenants(), parts, state.clock().now());
    };
    let attempt = Attempt::begin(state, parts, text)?;
    let found = if oidc::is_token(text) {
        token::identify(state.tenants(), text, state.clock().now()).await
    } else {
        keys::identify(state.tenants(), text).await
    };
    if let Some(attempt) = attempt {
        attempt.end(found.as_ref().err().map(|refusal| refusal.problem.status()));
    }
    found
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
