//! `GET /v1/decisions/{id}/explanation`: why a decision is what it is, in words.
//!
//! The body is canonical JSON (RFC 8785) of what the statement, its bundle and its inputs say: the same bytes on every
//! node, whatever has become of the decision since.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chancery_core::canonical::to_canonical;
use chancery_core::ids::ExecutionId;
use chancery_runtime::explain::Audience;

use super::access::Tenant;
use super::decisions::unknown;
use super::error::Problem;
use super::parameters::{Query, Segments};
use super::schema;

/// Explain a decision.
///
/// Customers get the reasons' own texts and nothing of the inside. Agents and regulators get every policy besides,
/// with whether it matched and the first condition that did not hold. Where signals were erased, what needs them says
/// so. No signal's value is in it.
#[utoipa::path(
    get, path = "/v1/decisions/{id}/explanation", operation_id = "explainDecision", tag = "decisions",
    params(
        ("id" = String, Path, description = "The execution id"),
        ("audience" = Option<String>, Query, description = "`customer` (default), `agent` or `regulator`"),
    ),
    responses(
        (status = 200, description = "The explanation, canonical JSON", body = schema::Explanation),
        (status = 404, description = "- `execution.unknown`: no such decision", body = schema::Problem, content_type = "application/problem+json"),
        (status = 500, description = "- `bundle.tampered`: a stored bundle is not what was signed", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn explain(
    tenant: Tenant,
    segments: Segments,
    mut query: Query,
) -> Result<Response, Problem> {
    let id: ExecutionId = segments.get("id")?;
    let audience: Option<Audience> = query.parsed("audience", "`customer`, `agent` or `regulator`");
    query.finish()?;
    let audience = audience.unwrap_or(Audience::Customer);
    let explanation =
        tenant.blocking(move |runtime| runtime.explain(&id, audience)?.ok_or_else(|| unknown(&id))).await?;
    let body = to_canonical(&explanation).map_err(|error| {
        tracing::error!(%error, "an explanation has no canonical form");
        Problem::internal()
    })?;
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], body.into_bytes()).into_response())
}
