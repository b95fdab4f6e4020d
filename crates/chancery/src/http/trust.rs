//! `/v1/trust/…`: what auditors start from, and where the next keyring version comes in.
//!
//! A copy of `root.pub` from the server that is to be audited proves nothing; it is here to be compared with the one
//! that was handed over by another way.

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chancery_core::dsse::Envelope;
use chancery_runtime::Runtime;
use chancery_runtime::failure::{Cause, Failure as _};
use chancery_runtime::trust::{Loss, Rehearsal, TrustError};
use serde::Serialize;

use super::access::{Identity, Tenant};
use super::decisions::json;
use super::error::Problem;
use super::log::TEXT;
use super::parameters::Query;
use super::{body, publish, schema};

/// The longest keyring version in its envelope: a few thousand keys.
const KEYRING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The root keys, as PEM.
#[utoipa::path(
    get, path = "/v1/trust/root.pub", operation_id = "getRootKeys", tag = "trust",
    params(("tenant" = Option<String>, Query, description = "Whose; needed where the server has the logs of several tenants")),
    responses((status = 200, description = "`root.pub`", body = String, content_type = "text/plain"))
)]
pub(super) async fn root(tenant: Tenant, query: Query) -> Result<Response, Problem> {
    query.finish()?;
    let text = tenant.runtime().root_pub().to_string();
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(TEXT))], text).into_response())
}

#[derive(Debug, Serialize)]
struct Versions {
    versions: Vec<Version>,
}

#[derive(Debug, Serialize)]
struct Version {
    index: u64,
    envelope: Envelope,
}

/// Every version of the keyring, oldest first, signed by the root keys.
#[utoipa::path(
    get, path = "/v1/trust/keyring", operation_id = "getKeyring", tag = "trust",
    params(("tenant" = Option<String>, Query, description = "Whose; needed where the server has the logs of several tenants")),
    responses((status = 200, description = "The versions with their log indexes", body = schema::Keyring))
)]
pub(super) async fn keyring(tenant: Tenant, query: Query) -> Result<Response, Problem> {
    query.finish()?;
    let versions = tenant.read(|records| records.keyring_versions()).await?;
    let versions = versions.into_iter().map(|(index, envelope)| Version { index, envelope }).collect();
    json(StatusCode::OK, &Versions { versions })
}

/// What logging a version came to, or would come to.
#[derive(Debug, Serialize)]
struct Logged {
    version: u64,
    index: u64,
    lost: Loss,
}

/// Log the next version of the keyring.
///
/// The body is a keyring version in a DSSE envelope, signed by the root keys of the version before and by its own, as
/// many as each asks for. The server holds no root key: `chancery trust keyring` drafts, signs and submits. It is in
/// force from the next entry on. A version that takes entries of the log away by a revocation is refused, 409
/// `keyring.loss`, where they are more than `accept_loss`; the answer counts them. With `dry_run` the version is judged
/// as it is, signatures aside, and nothing is logged.
#[utoipa::path(
    post, path = "/v1/trust/keyring", operation_id = "logKeyring", tag = "trust", request_body = schema::Envelope,
    params(
        ("accept_loss" = Option<u64>, Query, description = "How many entries may be taken away; 0 where nothing is said"),
        ("dry_run" = Option<bool>, Query, description = "Whether the version is judged and counted, and not logged"),
    ),
    responses(
        (status = 200, description = "What logging it would come to", body = schema::LoggedKeyring),
        (status = 201, description = "Logged and in force", body = schema::LoggedKeyring),
    )
)]
pub(super) async fn log_keyring(
    tenant: Tenant,
    _: Identity,
    mut query: Query,
    request: Request,
) -> Result<Response, Problem> {
    let accepted = query.parsed::<u64>("accept_loss", "a number of entries").unwrap_or(0);
    let rehearse = query.parsed::<bool>("dry_run", "`true` or `false`").unwrap_or(false);
    query.finish()?;
    body::check_type(request.headers(), body::JSON)?;
    let body = body::read(request, KEYRING_BYTES_MAX, tenant.request_timeout()).await?;
    let envelope = publish::envelope(&body)?;
    if rehearse {
        let rehearsed =
            tenant.blocking(move |runtime| runtime.rehearse_keyring(&envelope).map_err(refused)).await?;
        let Rehearsal { version, index, loss } = rehearsed;
        return json(StatusCode::OK, &Logged { version, index, lost: loss });
    }
    let log = move |runtime: &Runtime| runtime.append_keyring_within(&envelope, accepted).map_err(refused);
    let logged = tenant.blocking(log).await?;
    json(StatusCode::CREATED, &Logged { version: logged.version, index: logged.log.index, lost: logged.loss })
}

/// Whoever sends it is let through already; it is the version that is not good.
fn refused(error: TrustError) -> Problem {
    let whose = error.whose();
    let problem = Problem::from(error);
    match whose {
        Cause::Caller | Cause::Refused => problem.with_status(StatusCode::UNPROCESSABLE_ENTITY),
        _ => problem,
    }
}
