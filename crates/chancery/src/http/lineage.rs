//! `GET /v1/decisions/{id}/lineage` and `:lineage`: everything that is connected with a decision, in one answer.

use axum::http::StatusCode;
use axum::response::Response;
use chancery_core::digest::Fingerprint;
use chancery_core::ids::ExecutionId;
use chancery_runtime::lineage::LINEAGES_MAX;

use super::access::Tenant;
use super::decisions::{json, unknown};
use super::error::Problem;
use super::parameters::{Query, Segments};
use super::schema;

/// Lineages of a page when nothing is said.
const LIMIT: u32 = 20;

/// Everything that the log has about a decision.
///
/// The decision, overrides, resolution, confirmation, verifications, erasures, the activation of its bundle and its
/// build, each with what was signed and the proof that it is in the newest checkpoint. Executions on the same inputs
/// share a fingerprint: `GET /v1/decisions:lineage` has all of them.
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

/// Everything that the log has about all executions on the same inputs.
///
/// By a fingerprint, or by one of the executions: each that has this fingerprint comes with its lineage, the oldest
/// first. A fingerprint that no execution has is an empty page.
#[utoipa::path(
    get, path = "/v1/decisions:lineage", operation_id = "listLineages", tag = "decisions",
    params(
        ("fingerprint" = Option<String>, Query, description = "The executions' fingerprint; this or `execution_id`"),
        ("execution_id" = Option<String>, Query, description = "One of the executions; this or `fingerprint`"),
        ("limit" = Option<u32>, Query, description = "1 to 100; 20 where nothing is said"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = schema::LineageList),
    )
)]
pub(super) async fn lineages(tenant: Tenant, mut query: Query) -> Result<Response, Problem> {
    let fingerprint: Option<Fingerprint> = query.parsed("fingerprint", "64 lowercase hex digits");
    let execution_id: Option<ExecutionId> = query.parsed("execution_id", "an execution id");
    let limit = query.parsed::<u32>("limit", "a number from 1 to 100").unwrap_or(LIMIT);
    if !(1..=LINEAGES_MAX).contains(&limit) {
        query.fault("limit", "a number from 1 to 100", limit.to_string());
    }
    let after = query.text("after");
    if query.has("fingerprint") == query.has("execution_id") {
        let found = if query.has("fingerprint") { "both" } else { "neither" };
        query.fault("fingerprint", "there, or `execution_id`, and not both", found.to_owned());
    }
    query.finish()?;
    let page = tenant.read(move |records| {
        let fingerprint = match (fingerprint, &execution_id) {
            (Some(fingerprint), _) => Some(fingerprint),
            (None, Some(id)) => records.get(id)?.map(|found| found.listed.execution_fingerprint),
            (None, None) => None,
        };
        fingerprint.map(|fingerprint| records.lineages(&fingerprint, after.as_deref(), limit)).transpose()
    });
    let unknown = || Problem::not_found("execution.unknown", "`execution_id` was never decided");
    json(StatusCode::OK, &page.await?.ok_or_else(unknown)?)
}
