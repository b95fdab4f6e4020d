//! `/v1/overrides…`: the approvers' queue, the statement that they sign, and what comes back signed.
//!
//! The server holds no approver's key. Whoever may reach these routes may hand an override in; whose it is, and
//! whether it counts, its signature and the keyring say.

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use chancery_core::ids::ExecutionId;
use chancery_core::json::{self, Limits, Members, Pointer, Value};
use chancery_core::key::KeyId;
use chancery_core::statement::OverrideResolution;
use chancery_runtime::failure::{Cause, Failure, Fault};
use chancery_runtime::overrides::{CaseState, OverrideError, OverrideRequest, QUEUE_PAGE_MAX, QueueFilter};

use super::access::{Identity, Tenant};
use super::decisions::{DSSE, REPLAYED, json as answer, json_as};
use super::error::Problem;
use super::parameters::{Query, Segments};
use super::publish::envelope;
use super::{body, schema};

/// Cases of a page when nothing is said.
const LIMIT: u32 = 50;
/// What an envelope may be called: it is JSON, and the statement was answered under its own name.
const ENVELOPES: &[&str] = &["application/json", DSSE];

/// The approvers' queue.
///
/// `state`: `pending` (default; the longest waiting first), `approved`, `rejected` or `expired` (the newest decision
/// first). A page can be short, or empty, and not be the last: `next` tells.
#[utoipa::path(
    get, path = "/v1/overrides", operation_id = "listOverrides", tag = "overrides",
    params(
        ("state" = Option<schema::CaseState>, Query, description = "What cases are in; `pending` where nothing is said"),
        ("role" = Option<String>, Query, description = "Cases whose rule counts this role, without `approver:`"),
        ("due_before" = Option<String>, Query, description = "Cases that end before this time (RFC 3339, or a date)"),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 where nothing is said"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "A page", body = schema::OverrideCaseList))
)]
pub(super) async fn list(tenant: Tenant, _: Identity, mut query: Query) -> Result<Response, Problem> {
    let filter = QueueFilter {
        state: case_state(&mut query),
        role: query.text("role"),
        due_before: query.instant("due_before"),
    };
    let limit = query.parsed::<u32>("limit", "a number from 1 to 200").unwrap_or(LIMIT);
    if !(1..=QUEUE_PAGE_MAX).contains(&limit) {
        query.fault("limit", "a number from 1 to 200", limit.to_string());
    }
    let after = query.text("after");
    query.finish()?;
    let page = tenant
        .blocking(move |runtime| runtime.override_queue(&filter, after.as_deref(), limit).map_err(problem));
    answer(StatusCode::OK, &page.await?)
}

fn case_state(query: &mut Query) -> CaseState {
    let Some(text) = query.text("state") else { return CaseState::Pending };
    let all = [CaseState::Pending, CaseState::Approved, CaseState::Rejected, CaseState::Expired];
    all.into_iter().find(|state| state.as_str() == text).unwrap_or_else(|| {
        query.fault("state", "`pending`, `approved`, `rejected` or `expired`", "something else".to_owned());
        CaseState::Pending
    })
}

/// One case, with everything that an approver has to see.
///
/// The recorded signals, the policies that decided with their texts of that version, the time that is left, what
/// other approvers said, and earlier decisions on the same resource.
#[utoipa::path(
    get, path = "/v1/overrides/{execution_id}", operation_id = "getOverride", tag = "overrides",
    params(("execution_id" = String, Path, description = "The execution id")),
    responses((status = 200, description = "The case", body = schema::OverrideBrief))
)]
pub(super) async fn get(
    tenant: Tenant,
    _: Identity,
    segments: Segments,
    query: Query,
) -> Result<Response, Problem> {
    query.finish()?;
    let id: ExecutionId = segments.get("execution_id")?;
    let brief = tenant.blocking(move |runtime| runtime.override_brief(&id).map_err(problem)).await?;
    answer(StatusCode::OK, &brief)
}

/// The statement that an approver is asked to sign.
///
/// A DSSE envelope without signatures: its payload is to be signed (over the PAE) with the key that `signer` names,
/// and the envelope handed in with that signature. Nothing is recorded; what would be refused is refused here already.
#[utoipa::path(
    post, path = "/v1/overrides/{execution_id}/statement", operation_id = "draftOverride", tag = "overrides",
    request_body = schema::OverrideRequest,
    params(("execution_id" = String, Path, description = "The execution id")),
    responses((status = 200, description = "The statement", body = schema::Envelope,
        content_type = "application/vnd.dsse.envelope.v1+json"))
)]
pub(super) async fn statement(
    tenant: Tenant,
    _: Identity,
    segments: Segments,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    query.finish()?;
    let id: ExecutionId = segments.get("execution_id")?;
    let body = body::json(request, tenant.request_timeout()).await?;
    let request = parse(&body).map_err(|faults| Problem::faults("request.invalid", faults))?;
    let drafted =
        tenant.blocking(move |runtime| runtime.override_statement(&id, request).map_err(problem)).await?;
    json_as(StatusCode::OK, DSSE, &drafted)
}

/// Hand a signed override in.
///
/// It is durable and in the log before the answer; where it ends the case, so is the runtime's resolution. The very
/// same statement again gets status 200 and the case as it is by now.
#[utoipa::path(
    post, path = "/v1/overrides/{execution_id}", operation_id = "submitOverride", tag = "overrides",
    request_body(content((schema::Envelope = "application/json"), (schema::Envelope = "application/vnd.dsse.envelope.v1+json"))),
    params(("execution_id" = String, Path, description = "The execution id, as in the statement")),
    responses(
        (status = 201, description = "Logged; the case with it", body = schema::OverrideSubmitted),
        (status = 200, description = "Logged before", body = schema::OverrideSubmitted,
            headers(("Idempotent-Replayed" = bool, description = "`true`"))),
    )
)]
pub(super) async fn submit(
    tenant: Tenant,
    _: Identity,
    segments: Segments,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    query.finish()?;
    let id: ExecutionId = segments.get("execution_id")?;
    body::check_type(request.headers(), ENVELOPES)?;
    let body = body::read(request, body::REQUEST_BYTES_MAX, tenant.request_timeout()).await?;
    let envelope = envelope(&body)?;
    let submitted =
        tenant.blocking(move |runtime| runtime.submit_override(&id, &envelope).map_err(problem)).await?;
    let status = if submitted.replayed { StatusCode::OK } else { StatusCode::CREATED };
    let mut response = answer(status, &submitted)?;
    if submitted.replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// What has gone by is gone; what was read and is not what it has to be is unprocessable.
fn problem(error: OverrideError) -> Problem {
    let status = match &error {
        OverrideError::Expired { .. } | OverrideError::Lapsed { .. } => Some(StatusCode::GONE),
        OverrideError::Store(_) | OverrideError::Decision(_) => None,
        other => (other.whose() == Cause::Caller).then_some(StatusCode::UNPROCESSABLE_ENTITY),
    };
    let problem = Problem::from(error);
    match status {
        Some(status) => problem.with_status(status),
        None => problem,
    }
}

/// Strict JSON, and then every fault of its members at once.
fn parse(body: &[u8]) -> Result<OverrideRequest, Vec<Fault>> {
    let value = json::parse(body, Limits::REQUEST).map_err(|fault| vec![fault.into()])?;
    let root = Pointer::root();
    let mut faults = Vec::new();
    let Some(object) = value.as_object() else {
        return Err(vec![wrong(root, "an object", &value)]);
    };
    let mut members = Members::new(object, root);
    let mut text = |name: &'static str, required: bool| match members.take(name) {
        Some(value) => {
            let text = value.as_str();
            if text.is_none() {
                faults.push(wrong(&root.member(name), "a text", value));
            }
            text.map(str::to_owned)
        }
        None => {
            if required {
                faults.push(missing(&root.member(name)));
            }
            None
        }
    };
    let resolution = text("resolution", true);
    let outcome = text("outcome", false);
    let (reason, reason_code) = (text("reason", true), text("reason_code", true));
    let (role, signer) = (text("role", true), text("signer", true));
    let mut unknown = Vec::new();
    members.finish(&mut unknown);
    faults.extend(unknown.into_iter().map(Fault::from));
    let resolution = match resolution.as_deref() {
        Some("approve") => Some(OverrideResolution::Approve),
        Some("reject") => Some(OverrideResolution::Reject),
        Some(_) => {
            faults.push(other(&root.member("resolution"), "`approve` or `reject`"));
            None
        }
        None => None,
    };
    let signer = signer.and_then(|text| {
        let parsed = text.parse::<KeyId>();
        if parsed.is_err() {
            faults.push(other(&root.member("signer"), "a key id, `SHA256:` and 43 characters"));
        }
        parsed.ok()
    });
    match (resolution, reason, reason_code, role, signer) {
        (Some(resolution), Some(reason), Some(reason_code), Some(role), Some(signer))
            if faults.is_empty() =>
        {
            Ok(OverrideRequest { resolution, outcome, reason, reason_code, role, signer })
        }
        _ => Err(faults),
    }
}

fn wrong(at: &Pointer<'_>, expected: &str, found: &Value) -> Fault {
    fault(at, "request.type", expected, found.describe())
}

fn missing(at: &Pointer<'_>) -> Fault {
    fault(at, "request.missing", "a text", "nothing".to_owned())
}

fn other(at: &Pointer<'_>, expected: &str) -> Fault {
    fault(at, "request.value", expected, "another text".to_owned())
}

fn fault(at: &Pointer<'_>, code: &'static str, expected: &str, found: String) -> Fault {
    Fault { pointer: Some(at.to_string()), code, expected: expected.to_owned(), found }
}
