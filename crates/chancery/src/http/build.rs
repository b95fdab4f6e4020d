//! `GET /v1/build`: which build answers here, with everything that proves it (formats §8).
//!
//! Public, because whoever gets an attestation should be able to go from its `runtime.buildIdentity` to a commit. A
//! server's word about itself proves nothing: what is given out here is signed by the builder, and is checked with the
//! builder's key.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chancery_core::digest::Digest;
use chancery_core::dsse::Envelope;
use chancery_core::sigstore::{self, MessageBundle};
use chancery_core::statement::{BuildIdentity, Statement};
use chancery_core::{b64, dsse};
use chancery_runtime::LogPosition;
use chancery_runtime::build::DecidingBuild;
use serde::Serialize;

use super::access::Tenant;
use super::decisions::{DSSE, json, json_as};
use super::error::Problem;
use super::parameters::Query;
use super::schema;

/// What CycloneDX calls its documents in JSON.
const CYCLONEDX: &str = "application/vnd.cyclonedx+json; version=1.5";

#[derive(Debug, Serialize)]
struct Build<'a> {
    build_identity: Digest,
    identity: &'a Statement<BuildIdentity>,
    payload: b64::Bytes,
    signature: &'a MessageBundle,
    envelope: &'a Envelope,
    sbom_sha256: Digest,
    log: LogPosition,
}

/// The build that decides here: its identity as it was signed, and its signatures.
///
/// `part` gives one of the release's files, for tools such as cosign: the identity and the bill of materials byte for
/// byte, the signatures as JSON written anew.
#[utoipa::path(
    get, path = "/v1/build", operation_id = "getBuild", tag = "trust",
    params(
        ("part" = Option<String>, Query, description = "`identity`, `signature`, `envelope` or `sbom`: that file alone"),
        ("tenant" = Option<String>, Query, description = "Whose; needed where the server has the logs of several tenants"),
    ),
    responses((status = 200, description = "The build, or the file that `part` names", content(
        (schema::Build = "application/json"),
        (schema::Statement = "application/vnd.in-toto+json"),
        (schema::SigstoreBundle = "application/vnd.dev.sigstore.bundle.v0.3+json"),
        (schema::Envelope = "application/vnd.dsse.envelope.v1+json"),
        (serde_json::Value = "application/vnd.cyclonedx+json"),
    )))
)]
pub(super) async fn build(tenant: Tenant, mut query: Query) -> Result<Response, Problem> {
    let part = query.text("part");
    let known = matches!(part.as_deref(), None | Some("identity" | "signature" | "envelope" | "sbom"));
    if !known {
        let expected = "`identity`, `signature`, `envelope` or `sbom`";
        query.fault("part", expected, "something else".to_owned());
    }
    query.finish()?;
    let Some(DecidingBuild { build, log }) = tenant.runtime().build() else {
        return Err(Problem::not_found(
            "build.none",
            "this server decides without a build: its log is for tests, and its decisions name none",
        ));
    };
    let file = |content_type: &'static str, bytes: Bytes| {
        ([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], bytes).into_response()
    };
    match part.as_deref() {
        Some("identity") => Ok(file(dsse::IN_TOTO, build.payload.clone().into())),
        Some("sbom") => Ok(file(CYCLONEDX, Bytes::from_owner(Arc::clone(&build.sbom)))),
        Some("signature") => json_as(StatusCode::OK, sigstore::MEDIA_TYPE, &build.signature),
        Some("envelope") => json_as(StatusCode::OK, DSSE, &build.envelope),
        _ => json(
            StatusCode::OK,
            &Build {
                build_identity: build.hash,
                identity: &build.statement,
                payload: b64::Bytes(build.payload.clone()),
                signature: &build.signature,
                envelope: &build.envelope,
                sbom_sha256: build.statement.predicate.sbom.sha256,
                log: *log,
            },
        ),
    }
}
