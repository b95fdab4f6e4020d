//! `POST /v1/decisions/{id}/confirmation`: what the business system really did.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use chancery_core::ids::ExecutionId;
use chancery_core::json::{self, Limits, Members, Pointer, Value};
use chancery_core::time::Timestamp;
use chancery_runtime::Fault;
use chancery_runtime::confirm::{ConfirmError, Executed};

use crate::instant::parse_instant;

use super::access::{Identity, Tenant};
use super::decisions::json as answer;
use super::error::Problem;
use super::parameters::{Query, Segments};
use super::{body, schema};

/// Confirm what was really done after a decision.
///
/// `outcome` has to be exactly the one that holds: the decision's own, or the resolution's where there was an override
/// case. A decision is confirmed once and for ever: a repeat is 409, even of the same. The confirmation is signed,
/// durable and in the log before it is answered.
#[utoipa::path(
    post, path = "/v1/decisions/{id}/confirmation", operation_id = "confirmDecision", tag = "decisions", request_body = schema::ConfirmationRequest,
    params(("id" = String, Path, description = "The execution id")),
    responses(
        (status = 201, description = "Recorded", body = schema::Confirmed),
        (status = 404, description = "- `execution.unknown`: no such decision", body = schema::Problem, content_type = "application/problem+json"),
        (status = 409, description = "- `confirmation.exists`: it was confirmed before", body = schema::Problem, content_type = "application/problem+json"),
        (status = 422, description = "- `request.invalid`: the body has not the members it has to have\n- `confirmation.invalid`: another outcome than the one that holds, or a time more than 10 s in the future, before the decision, or before the end of its case; `errors` has all of it\n- `confirmation.state`: no outcome holds, the decision is blocked or waits for an override", body = schema::Problem, content_type = "application/problem+json"),
        (status = 503, description = "- `store.full`: the disk is full\n- `store.read_only`: the store cannot be written\n- `runtime.clock`: the clock runs behind the log\n- `runtime.key`: the key cannot sign now\n- `log.refused`: the log does not take it now", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn confirm(
    tenant: Tenant,
    identity: Identity,
    segments: Segments,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    query.finish()?;
    let id: ExecutionId = segments.get("id")?;
    let body = body::json(request, tenant.request_timeout()).await?;
    let executed = executed(&body).map_err(|faults| Problem::faults("request.invalid", faults))?;
    let confirmed = tenant.blocking(move |runtime| {
        runtime.confirm(&identity.caller, &id, &executed).map_err(|error| match error {
            // It was read well enough; what it says cannot be.
            error @ ConfirmError::NoOutcome { .. } => {
                Problem::from(error).with_status(StatusCode::UNPROCESSABLE_ENTITY)
            }
            error => error.into(),
        })
    });
    answer(StatusCode::CREATED, &confirmed.await?)
}

/// `{"executed": {"outcome", "reference", "at"}}`, every fault at once.
fn executed(body: &[u8]) -> Result<Executed, Vec<Fault>> {
    let root = Pointer::root();
    let value = json::parse(body, Limits::REQUEST).map_err(|fault| vec![fault.into()])?;
    let mut faults = Vec::new();
    let executed = object(&value, root, &mut faults).and_then(|object| {
        let mut members = Members::new(object, root);
        let executed = members.take("executed");
        finish(members, &mut faults);
        object_at(executed, &root.member("executed"), &mut faults)
    });
    let parsed = executed.and_then(|object| {
        let at = root.member("executed");
        let mut members = Members::new(object, &at);
        let outcome = text(&mut members, &at, "outcome", &mut faults);
        let reference = text(&mut members, &at, "reference", &mut faults);
        let done = text(&mut members, &at, "at", &mut faults).and_then(|text| {
            let parsed = instant(text);
            if parsed.is_none() {
                let expected = "a time such as `2026-03-01T10:20:30Z`";
                faults.push(fault(&at.member("at"), "request.value", expected, "other text".to_owned()));
            }
            parsed
        });
        finish(members, &mut faults);
        Some(Executed { outcome: outcome?.to_owned(), reference: reference?.to_owned(), at: done? })
    });
    match parsed {
        Some(executed) if faults.is_empty() => Ok(executed),
        _ => Err(faults),
    }
}

/// An act has a time, and not only a day.
fn instant(text: &str) -> Option<Timestamp> {
    parse_instant(text).ok().filter(|_| text.len() > 10)
}

fn fault(at: &Pointer<'_>, code: &'static str, expected: &str, found: String) -> Fault {
    Fault { pointer: Some(at.to_string()), code, expected: expected.to_owned(), found }
}

fn finish(members: Members<'_, '_>, faults: &mut Vec<Fault>) {
    let mut unknown = Vec::new();
    members.finish(&mut unknown);
    faults.extend(unknown.into_iter().map(Fault::from));
}

fn object<'v>(value: &'v Value, at: &Pointer<'_>, faults: &mut Vec<Fault>) -> Option<&'v json::Object> {
    let object = value.as_object();
    if object.is_none() {
        faults.push(fault(at, "request.type", "an object", value.describe()));
    }
    object
}

fn object_at<'v>(
    value: Option<&'v Value>,
    at: &Pointer<'_>,
    faults: &mut Vec<Fault>,
) -> Option<&'v json::Object> {
    match value {
        Some(value) => object(value, at, faults),
        None => {
            faults.push(fault(at, "request.missing", "this member", "nothing".to_owned()));
            None
        }
    }
}

fn text<'v>(
    members: &mut Members<'v, '_>,
    at: &Pointer<'_>,
    name: &'static str,
    faults: &mut Vec<Fault>,
) -> Option<&'v str> {
    let at = at.member(name);
    match members.take(name) {
        Some(value) => {
            let text = value.as_str();
            if text.is_none() {
                faults.push(fault(&at, "request.type", "a text", value.describe()));
            }
            text
        }
        None => {
            faults.push(fault(&at, "request.missing", "this member", "nothing".to_owned()));
            None
        }
    }
}
