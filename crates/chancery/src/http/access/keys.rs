//! API keys: `Authorization: Bearer chy_…`.
//!
//! The key's text says whose tenant it is, and that tenant's log says whether it is one. Most requests are answered from
//! memory; where the keys in it have become old, one request has them read anew in the background, and where they are
//! too old, requests wait for that.

use std::sync::Arc;

use axum::http::StatusCode;
use chancery_runtime::Caller;
use chancery_runtime::credentials::{ApiKey, AuthenticateError, Credential, Credentials};
use chancery_runtime::failure::{Cause, Failure as _};

use super::credentials::Shown;
use super::refusal::Refusal;
use super::{Identity, Tenant, Tenants};
use crate::http::error::{Problem, chain};

/// Who an API key is of.
pub(super) async fn identify(tenants: &Tenants, text: &str) -> Result<Identity, Refusal> {
    let key = Arc::new(ApiKey::parse(text).map_err(|error| refuse(error.into(), None))?);
    let Some(tenant) = tenants.named(key.tenant().as_str()) else {
        return Err(refuse(AuthenticateError::Unknown, None));
    };
    let found = judge(tenant, &key).await?;
    let Credential { key_id, principal, roles } = found.map_err(|error| refuse(error, Some(tenant)))?;
    Ok(Identity {
        caller: Caller { principal },
        tenant: tenant.clone(),
        roles,
        key_id: Some(key_id),
        shown: Shown::Key(key),
    })
}

/// Refuses a key that was good and is not any more. Blocks where the keys have to be read.
pub(super) fn check(tenant: &Tenant, key: &ApiKey) -> Result<(), Problem> {
    let credentials = tenant.runtime().credentials();
    if credentials.claim_refresh() {
        refresh(credentials);
    }
    credentials.authenticate(key).map(drop).map_err(problem)
}

async fn judge(tenant: &Tenant, key: &Arc<ApiKey>) -> Result<Result<Credential, AuthenticateError>, Problem> {
    let credentials = Arc::clone(tenant.runtime().credentials());
    let Some(known) = credentials.known(key) else {
        let key = Arc::clone(key);
        let read = tokio::task::spawn_blocking(move || credentials.authenticate(&key));
        return read.await.map_err(|_| Problem::internal());
    };
    if credentials.claim_refresh() {
        tokio::task::spawn_blocking(move || refresh(&credentials));
    }
    Ok(known)
}

fn refresh(credentials: &Credentials) {
    if let Err(error) = credentials.refresh() {
        tracing::warn!(error = chain(&error), tenant = %credentials.tenant(), "API keys could not be read");
    }
}

fn problem(error: AuthenticateError) -> Problem {
    match error.whose() {
        Cause::Refused => Problem::new(StatusCode::UNAUTHORIZED, error.code(), error.detail()),
        _ => error.into(),
    }
}

fn refuse(error: AuthenticateError, tenant: Option<&Tenant>) -> Refusal {
    let known = error.known().cloned();
    Refusal {
        problem: problem(error),
        tenant: tenant.cloned(),
        caller: known.as_ref().map(|known| Arc::clone(&known.principal)),
        key_id: known.map(|known| known.key_id),
    }
}
