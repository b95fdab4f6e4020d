//! `GET /v1/decisions/{id}/lineage`: everything that is connected with a decision, in one answer.

use axum::http::StatusCode;
use axum::response::Response;
use chancery_core::ids::ExecutionId;

use super::access::Tenant;
use super::decisions::{json, unknown};
use super::error::Problem;
use super::parameters::{Query, Segments};
use super::schema;

/// Everything that the log has about a decision.
///
/// The decision, overrides, resolution, confirmation, verifications, erasures, the activation of its bundle and its
/// build, each with what was signed and the proof that it is in the newest checkpoint. Executions on the same inputs
/// share a fingerprint: `GET /v1/decisions?fingerprint=…` finds them.
#[utoipa::path(
    get, path = "/v1/decisions/{id}/lineage", operation_id = "getLineage", tag = "decisions",
    params(("id" = String, Path, description = "The execution id")),
    responses(
        (status = 200, description = "The lineage", body = schema::Lineage),
        (status = 404, description = "- `execution.unknown`: no such decision", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn lineage(tenant: Tenant, segments: Segments, query: Query) -> Result<Response, Problem> {
    query.finish()?;
    let id: ExecutionId = segments.get("id")?;
    let lineage = tenant.read({
        let id = id.clone();
        move |records| records.lineage(&id)
    });
    json(StatusCode::OK, &lineage.await?.ok_or_else(|| unknown(&id))?)
}
