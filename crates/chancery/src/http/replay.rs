//! `POST /v1/decisions/{id}/replay`: recorded signals, evaluated again. Nothing is recorded.

use axum::http::StatusCode;
use axum::response::Response;
use chancery_core::ids::{ExecutionId, PolicyVersion};

use super::access::Tenant;
use super::decisions::{json, unknown};
use super::error::Problem;
use super::parameters::{Query, Segments};
use super::schema;

/// Evaluate a decision's recorded signals again.
///
/// With the bundle that decided, or with another published version of the policy. `result` is `SAME`, `DIFFERENT`
/// with each difference, or `NOT_REPLAYABLE` with the reason: after an erasure, or where the version does not take
/// the signals. Takes no body.
#[utoipa::path(
    post, path = "/v1/decisions/{id}/replay", operation_id = "replayDecision", tag = "decisions",
    params(
        ("id" = String, Path, description = "The execution id"),
        ("version" = Option<String>, Query, description = "A published version; the one that decided where none is given"),
    ),
    responses(
        (status = 200, description = "What it came to", body = schema::Replay),
        (status = 404, description = "- `execution.unknown`: no such decision\n- `policy.not_published`: no such version of its policy", body = schema::Problem, content_type = "application/problem+json"),
        (status = 500, description = "- `bundle.tampered`: a stored bundle is not what was signed", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn replay(
    tenant: Tenant,
    segments: Segments,
    mut query: Query,
) -> Result<Response, Problem> {
    let id: ExecutionId = segments.get("id")?;
    let version: Option<PolicyVersion> = query.parsed("version", "a version such as `1.0.0`");
    query.finish()?;
    let replay = tenant
        .blocking(move |runtime| runtime.replay(&id, version.as_ref())?.ok_or_else(|| unknown(&id)))
        .await?;
    json(StatusCode::OK, &replay)
}
