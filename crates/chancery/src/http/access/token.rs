//! Bearer tokens of identity providers: which tenant's configuration judges one, and how a refusal is told.

use axum::http::StatusCode;
use chancery_core::time::Timestamp;
use chancery_runtime::Caller;

use super::credentials::Shown;
use super::refusal::Refusal;
use super::{Identity, Tenants};
use crate::http::error::Problem;
use crate::oidc::{Claimed, TokenError};

/// Whose token it is.
pub(super) async fn identify(tenants: &Tenants, token: &str, now: Timestamp) -> Result<Identity, Refusal> {
    let claimed = Claimed::read(token).map_err(refused)?;
    let unknown = TokenError::Unknown("no tenant has its issuer and audience, or several have");
    let (tenant, oidc) = tenants.of_token(&claimed).ok_or_else(|| refused(unknown))?;
    let judged = oidc.judge(token, now).await;
    let holder = judged.map_err(|error| Refusal { tenant: Some(tenant.clone()), ..refused(error).into() })?;
    Ok(Identity {
        caller: Caller { principal: holder.principal },
        tenant: tenant.clone(),
        roles: holder.roles,
        key_id: None,
        shown: Shown::Token { until_s: holder.until_s },
    })
}

pub(super) fn refused(error: TokenError) -> Problem {
    let (status, code) = match &error {
        TokenError::Malformed(_) => (StatusCode::UNAUTHORIZED, "auth.malformed"),
        TokenError::Unknown(_) => (StatusCode::UNAUTHORIZED, "auth.unknown"),
        TokenError::NotYet => (StatusCode::UNAUTHORIZED, "auth.not_yet"),
        TokenError::Expired => (StatusCode::UNAUTHORIZED, "auth.expired"),
        TokenError::NoRole => (StatusCode::FORBIDDEN, "auth.role"),
        TokenError::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "auth.unavailable"),
    };
    let problem = Problem::new(status, code, error.to_string());
    if status == StatusCode::SERVICE_UNAVAILABLE { problem.retry_after(5) } else { problem }
}
