//! Client certificates: verified in the handshake of the connection, and here found to be somebody's.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::request::Parts;
use chancery_core::time::Timestamp;
use chancery_runtime::Caller;

use super::credentials::Shown;
use super::refusal::Refusal;
use super::{Identity, Tenants, unauthenticated};
use crate::http::error::Problem;
use crate::http::serve::Peer;
use crate::tls::ClientCertificate;

/// Whose certificate the connection has, where it has one.
pub(super) fn identify(tenants: &Tenants, parts: &Parts, now: Timestamp) -> Result<Identity, Refusal> {
    let shown = parts.extensions.get::<Peer>().and_then(|peer| peer.certificate.as_ref());
    let Some(shown) = shown else { return Err(unauthenticated().into()) };
    check(shown, now)?;
    let Some((tenant, principal, roles)) = tenants.of_certificate(shown) else {
        let detail = "the client certificate is nobody's here: `[[clients]]` of a tenant says whose, of one tenant alone";
        return Err(Problem::new(StatusCode::FORBIDDEN, "auth.unknown", detail).into());
    };
    Ok(Identity {
        caller: Caller { principal },
        tenant: tenant.clone(),
        roles,
        key_id: None,
        shown: Shown::Certificate(Arc::clone(shown)),
    })
}

/// Refuses one whose time is over.
pub(super) fn check(shown: &ClientCertificate, now: Timestamp) -> Result<(), Problem> {
    if shown.has_expired(now) {
        let detail = "the client certificate has expired since the connection was made";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "auth.expired", detail));
    }
    Ok(())
}
