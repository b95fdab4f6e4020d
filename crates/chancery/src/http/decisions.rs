//! `POST /v1/decisions`, `:evaluate`, and one decision with its attestation.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use chancery_core::ids::ExecutionId;
use chancery_core::sigstore::{self, DsseBundle};
use chancery_runtime::export::ExportRequest;
use chancery_runtime::records::DecisionDetail;
use serde::Serialize;
use tokio::time::Instant;

use super::access::{Identity, Tenant};
use super::error::Problem;
use super::export::{disclosure, evidence};
use super::parameters::{Query, Segments};
use super::{body, metrics, schema};

/// Says that an answer is the one that was given before.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// What DSSE calls its envelopes in JSON.
pub(super) const DSSE: &str = "application/vnd.dsse.envelope.v1+json";

/// Bytes that there is room for at first: more than a decision's answer and most others have.
const ANSWER_BYTES: usize = 8 * 1024;
/// Headers that there is room for: more than an answer gets, here and on its way.
const ANSWER_HEADERS: usize = 12;

/// A JSON answer.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Result<Response, Problem> {
    json_as(status, "application/json", value)
}

/// A JSON answer of another content type.
pub(super) fn json_as<T: Serialize>(
    status: StatusCode,
    content_type: &'static str,
    value: &T,
) -> Result<Response, Problem> {
    let mut bytes = Vec::with_capacity(ANSWER_BYTES);
    serde_json::to_writer(&mut bytes, value).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written as JSON");
        Problem::internal()
    })?;
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().reserve(ANSWER_HEADERS);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}

/// Decide, record, answer.
///
/// The answer is durable and in the log before it is sent. A repeat with the same inputs gets the same bytes with
/// status 200; the same id with other inputs is a conflict. A denial is a decision like any other.
#[utoipa::path(
    post, path = "/v1/decisions", operation_id = "decide", tag = "decisions", request_body = schema::ExecutionRequest,
    responses(
        (status = 201, description = "Decided and recorded", body = schema::Answer),
        (status = 200, description = "Decided before: the same bytes again", body = schema::Answer,
            headers(("Idempotent-Replayed" = bool, description = "`true`"))),
    )
)]
pub(super) async fn execute(
    tenant: Tenant,
    identity: Identity,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    query.finish()?;
    let body = body::json(request, tenant.request_timeout()).await?;
    tenant.take_decision()?;
    let started = Instant::now();
    let answer = tenant.runtime().execute(&identity.caller, body).await?;
    let took = started.elapsed();
    tenant.latency().record(took);
    metrics::decide_took(took);
    metrics::decided(tenant.name(), &answer);
    let status = if answer.replayed { StatusCode::OK } else { StatusCode::CREATED };
    let mut response = json(status, &answer)?;
    if answer.replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    } else if let Ok(location) = HeaderValue::try_from(format!("/v1/decisions/{}", answer.execution_id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Evaluate, and record nothing.
///
/// Takes the same request, where `version` may be any published one and `execution_id` may be left out.
#[utoipa::path(
    post, path = "/v1/decisions:evaluate", operation_id = "evaluate", tag = "decisions", request_body = schema::EvaluationRequest,
    responses(
        (status = 200, description = "What a decision would be", body = schema::Evaluated),
    )
)]
pub(super) async fn evaluate(
    tenant: Tenant,
    identity: Identity,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    query.finish()?;
    let body = body::json(request, tenant.request_timeout()).await?;
    let evaluated = tenant.runtime().evaluate(&identity.caller, body).await?;
    json(StatusCode::OK, &evaluated)
}

/// One decision, whole: its statement, its attestation, and what became of it.
#[utoipa::path(
    get, path = "/v1/decisions/{id}", operation_id = "getDecision", tag = "decisions",
    params(("id" = String, Path, description = "The execution id")),
    responses(
        (status = 200, description = "The record", body = schema::DecisionDetail),
    )
)]
pub(super) async fn get(
    tenant: Tenant,
    _: Identity,
    segments: Segments,
    query: Query,
) -> Result<Response, Problem> {
    query.finish()?;
    json(StatusCode::OK, &find(&tenant, segments.get("id")?).await?)
}

async fn find(tenant: &Tenant, id: ExecutionId) -> Result<DecisionDetail, Problem> {
    let found = tenant.read({
        let id = id.clone();
        move |records| records.get(&id)
    });
    found.await?.ok_or_else(|| unknown(&id))
}

/// There is no decision of this id.
pub(super) fn unknown(id: &ExecutionId) -> Problem {
    Problem::not_found("execution.unknown", format!("`{id}` was never decided"))
}

/// The signed statement of one decision.
///
/// As a DSSE envelope, as a sigstore bundle that cosign verifies, or as an evidence file for one decision.
#[utoipa::path(
    get, path = "/v1/decisions/{id}/attestation", operation_id = "getAttestation", tag = "decisions",
    params(
        ("id" = String, Path, description = "The execution id"),
        ("format" = Option<String>, Query, description = "`dsse` (default), `sigstore` or `evidence`"),
        ("disclosure" = Option<String>, Query, description = "With `evidence`: `full` (default), `partial` or `none`"),
        ("hide" = Option<Vec<String>>, Query, description = "With `partial`: signals that are not disclosed"),
    ),
    responses(
        (status = 200, description = "The attestation", content(
            (schema::Envelope = "application/vnd.dsse.envelope.v1+json"),
            (schema::SigstoreBundle = "application/vnd.dev.sigstore.bundle.v0.3+json"),
            (String = "application/x-ndjson"),
        )),
    )
)]
pub(super) async fn attestation(
    tenant: Tenant,
    _: Identity,
    segments: Segments,
    mut query: Query,
) -> Result<Response, Problem> {
    let id: ExecutionId = segments.get("id")?;
    let format = query.text("format");
    match format.as_deref().unwrap_or("dsse") {
        "dsse" => {
            query.finish()?;
            json_as(StatusCode::OK, DSSE, &find(&tenant, id).await?.attestation)
        }
        "sigstore" => {
            query.finish()?;
            let found = find(&tenant, id).await?;
            let keyring = tenant.runtime().keyring();
            // INVARIANT: whoever signed a record was in the keyring when it was logged, and no key ever leaves it.
            let key = keyring.find_key(&found.signer).ok_or_else(Problem::internal)?;
            json_as(StatusCode::OK, sigstore::MEDIA_TYPE, &DsseBundle::new(found.attestation, key))
        }
        "evidence" => {
            let disclosure = disclosure(&mut query);
            query.finish()?;
            let name = format!("{}.evidence.jsonl", id.as_str().replace(':', "_"));
            let one = ExportRequest { disclosure, ..ExportRequest::one(id) };
            evidence(&tenant, one, name).await
        }
        _ => {
            query.fault("format", "`dsse`, `sigstore` or `evidence`", "something else".to_owned());
            query.finish().and(Err(Problem::internal()))
        }
    }
}
