//! `GET /v1/trust/…`: what auditors start from.
//!
//! A copy of `root.pub` from the server that is to be audited proves nothing; it is here to be compared with the one
//! that was handed over by another way.

use axum::extract::State as Extract;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chancery_core::dsse::Envelope;
use serde::Serialize;

use super::decisions::json;
use super::error::Problem;
use super::log::TEXT;
use super::parameters::Query;
use super::schema;
use super::state::State;

/// The root keys, as PEM.
#[utoipa::path(
    get, path = "/v1/trust/root.pub", operation_id = "getRootKeys", tag = "trust",
    responses((status = 200, description = "`root.pub`", body = String, content_type = "text/plain"))
)]
pub(super) async fn root(Extract(state): Extract<State>, query: Query) -> Result<Response, Problem> {
    query.finish()?;
    let text = state.runtime().root_pub().to_string();
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
    responses((status = 200, description = "The versions with their log indexes", body = schema::Keyring))
)]
pub(super) async fn keyring(Extract(state): Extract<State>, query: Query) -> Result<Response, Problem> {
    query.finish()?;
    let versions = state.read(|records| records.keyring_versions()).await?;
    let versions = versions.into_iter().map(|(index, envelope)| Version { index, envelope }).collect();
    json(StatusCode::OK, &Versions { versions })
}
