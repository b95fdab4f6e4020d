//! `GET /v1/decisions/{id}/provenance`: what stood behind a decision when it was made.
//!
//! The body is canonical JSON and the same bytes for ever; digest and signature over them stand in headers, so that
//! the body is saved as it is and checked with `sha256sum` and `cosign verify-blob`.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chancery_core::b64;
use chancery_core::ids::ExecutionId;

use super::access::{Identity, Tenant};
use super::error::Problem;
use super::parameters::{Query, Segments};
use super::schema;

const DIGEST: HeaderName = HeaderName::from_static("x-provenance-digest");
const SIGNATURE: HeaderName = HeaderName::from_static("x-provenance-signature");
const KEY: HeaderName = HeaderName::from_static("x-provenance-key");

/// Where a decision comes from: statement, policies for each outcome, bundle, keyring, build, neighbouring log entries.
///
/// Made of what was recorded up to the decision and of nothing later, without any signal: the same bytes at any time
/// and from every node. A decision of a log for tests that was made without a build is not signed for.
#[utoipa::path(
    get, path = "/v1/decisions/{id}/provenance", operation_id = "getProvenance", tag = "decisions",
    params(("id" = String, Path, description = "The execution id")),
    responses((status = 200, description = "Canonical JSON (RFC 8785)", body = schema::Provenance, headers(
        ("X-Provenance-Digest" = String, description = "`sha256=` and the SHA-256 of the body in hexadecimal"),
        ("X-Provenance-Signature" = String, description = "Base64 of the runtime key's signature over the body, or `unsigned`"),
        ("X-Provenance-Key" = String, description = "The id of that key; absent where nothing is signed"),
    )))
)]
pub(super) async fn provenance(
    tenant: Tenant,
    _: Identity,
    segments: Segments,
    query: Query,
) -> Result<Response, Problem> {
    query.finish()?;
    let id: ExecutionId = segments.get("id")?;
    let asked = id.clone();
    let found = tenant.blocking(move |runtime| Ok(runtime.provenance(&asked)?)).await?;
    let found =
        found.ok_or_else(|| Problem::not_found("execution.unknown", format!("`{id}` was never decided")))?;
    let json = HeaderValue::from_static("application/json");
    let mut response = ([(header::CONTENT_TYPE, json)], found.body().to_vec()).into_response();
    let (signature, key) = match found.signature() {
        Some(signature) => (b64::encode(&signature.signature), Some(signature.key.to_string())),
        None => ("unsigned".to_owned(), None),
    };
    let headers =
        [(DIGEST, Some(format!("sha256={}", found.digest()))), (SIGNATURE, Some(signature)), (KEY, key)];
    for (name, value) in headers {
        // Hexadecimal and base64 are header values always.
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}
