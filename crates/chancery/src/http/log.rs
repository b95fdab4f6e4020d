//! `GET /v1/log/{tenant}/…`: the transparency log as files (C2SP tlog-tiles), and proofs (C2SP tlog-proof).
//!
//! ```text
//! checkpoint              the newest signed head, text
//! tile/<L>/<N>[.p/<W>]    hashes         a full tile never changes and may be kept for ever
//! tile/entries/<N>[.p/<W>]
//! proof?index=<I>         inclusion of one entry in the newest checkpoint, text
//! ```

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chancery_core::checkpoint::SignedCheckpoint;
use chancery_core::tile::Tile;
use chancery_core::tlog_proof::TlogProof;

use super::access::Tenant;
use super::error::Problem;
use super::parameters::{Query, Segments};

/// What the C2SP formats are served as.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// A day of caches is a day of an old head.
const HEAD: HeaderValue = HeaderValue::from_static("no-cache");
/// A year, the longest that caches honour.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const FOR_EVER_PRIVATE: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

fn text(text: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(TEXT)), (header::CACHE_CONTROL, HEAD)], text)
        .into_response()
}

/// The newest checkpoint: a signed note with the log's size and root.
#[utoipa::path(
    get, path = "/v1/log/{tenant}/checkpoint", operation_id = "getCheckpoint", tag = "log",
    params(("tenant" = String, Path, description = "The tenant")),
    responses(
        (status = 200, description = "The signed note", body = String, content_type = "text/plain"),
    )
)]
pub(super) async fn checkpoint(tenant: Tenant, query: Query) -> Result<Response, Problem> {
    query.finish()?;
    match tenant.read(|records| records.checkpoint()).await? {
        Some(checkpoint) => Ok(text(checkpoint.note)),
        None => {
            Err(Problem::not_found("log.empty", "no checkpoint has been signed yet; retry").retry_after(1))
        }
    }
}

/// A tile of hashes or of entries.
///
/// `path` is `<L>/<N>` or `entries/<N>`, with `.p/<W>` behind it for a tile that is not full.
#[utoipa::path(
    get, path = "/v1/log/{tenant}/tile/{*path}", operation_id = "getTile", tag = "log",
    params(
        ("tenant" = String, Path, description = "The tenant"),
        ("path" = String, Path, description = "Coordinates as C2SP tlog-tiles writes them: `0/x001/067`"),
    ),
    responses(
        (status = 200, description = "The tile's bytes", body = Vec<u8>, content_type = "application/octet-stream"),
    )
)]
pub(super) async fn tile(tenant: Tenant, segments: Segments, query: Query) -> Result<Response, Problem> {
    query.finish()?;
    let path = format!("tile/{}", segments.text("path"));
    let not_found = || Problem::not_found("log.tile", "the log has no such tile, or not yet");
    let is_full = path.parse::<Tile>().map_err(|_| not_found())?.is_full();
    let bytes = tenant.read(move |records| records.tile(&path)).await?.ok_or_else(not_found)?;
    let cache = match (is_full, tenant.public_log()) {
        (true, true) => FOR_EVER,
        (true, false) => FOR_EVER_PRIVATE,
        (false, _) => HEAD,
    };
    let content = HeaderValue::from_static("application/octet-stream");
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, content), (header::CACHE_CONTROL, cache)], bytes)
        .into_response())
}

/// The proof that one entry is in the newest checkpoint, as one text that needs nothing else.
#[utoipa::path(
    get, path = "/v1/log/{tenant}/proof", operation_id = "getProof", tag = "log",
    params(
        ("tenant" = String, Path, description = "The tenant"),
        ("index" = u64, Query, description = "The entry's index"),
    ),
    responses(
        (status = 200, description = "`c2sp.org/tlog-proof@v1`", body = String, content_type = "text/plain"),
    )
)]
pub(super) async fn proof(tenant: Tenant, mut query: Query) -> Result<Response, Problem> {
    let index = query.parsed::<u64>("index", "a log index");
    if index.is_none() {
        query.fault("index", "a log index", "nothing that is one".to_owned());
    }
    query.finish()?;
    let index = index.unwrap_or_default();
    let Some(inclusion) = tenant.read(move |records| records.inclusion(index)).await? else {
        let detail = format!("there is no entry {index}, or no checkpoint covers it yet; retry");
        return Err(Problem::not_found("log.index", detail).retry_after(1));
    };
    let checkpoint = SignedCheckpoint::parse_unverified(&inclusion.checkpoint).map_err(|error| {
        tracing::error!(%error, "the stored checkpoint is damaged: see what `chancery fsck` finds");
        Problem::internal()
    })?;
    let proof = TlogProof { extra: None, index: inclusion.index, proof: inclusion.hashes, checkpoint };
    Ok(text(proof.to_string()))
}
