//! `POST /v1/verify`: the auditor's judgement as a service. Nothing is stored.
//!
//! The judge is the one of `chancery-verify`; the root keys are the server's own, so the verdict is worth as much as
//! the server is. Whoever trusts nobody runs the program.

use axum::extract::{Request, State as Extract};
use axum::http::StatusCode;
use axum::response::Response;
use chancery_core::dsse::Envelope;
use chancery_core::ids::ExecutionId;
use chancery_core::statement::{Decision, Statement};
use chancery_runtime::Runtime;
use chancery_runtime::export::ExportRequest;
use chancery_verify::{
    Ask, Check, CheckId, CheckResult, Environment, Report, VERIFIER, Verdict, Without, verify,
};

use super::access::Identity;
use super::body::{self, BodyReader};
use super::decisions::json;
use super::error::Problem;
use super::metrics::UnderWay;
use super::parameters::Query;
use super::publish::{ENVELOPE, envelope};
use super::schema;
use super::state::State;

/// An evidence file.
const EVIDENCE: &[&str] = &["application/x-ndjson", "application/ndjson", "application/jsonl"];

/// Judge evidence, or an attestation of this log.
///
/// An evidence file of any length, or one DSSE envelope (`application/json`) of a decision that this log recorded,
/// which is then judged with everything that the log has about it.
#[utoipa::path(
    post, path = "/v1/verify", operation_id = "verify", tag = "verification",
    request_body(content(
        (String = "application/x-ndjson"),
        (schema::Envelope = "application/json"),
    )),
    params(
        ("environment" = Option<String>, Query, description = "What decisions have to say: `production` (default) or `test`"),
        ("without" = Option<String>, Query, description = "What is not asked for: any of `build,witness,reproduce,opening`"),
    ),
    responses(
        (status = 200, description = "The report, whatever the verdict", body = schema::Report),
    )
)]
pub(super) async fn judge(
    Extract(state): Extract<State>,
    _: Identity,
    mut query: Query,
    request: Request,
) -> Result<Response, Problem> {
    let environment: Option<Environment> = query.parsed("environment", "`production` or `test`");
    let without: Option<Without> = query.parsed("without", "any of `build,witness,reproduce,opening`");
    query.finish()?;
    let ask = Ask {
        environment: environment.unwrap_or_default(),
        without: without.unwrap_or_default(),
        ..Ask::default()
    };
    let timeout = state.options().request_timeout;
    let permit = state.stream_permit()?;
    let under_way = UnderWay::stream("verify");
    let report = if body::media_type(request.headers()).as_deref() == Some("application/json") {
        body::check_type(request.headers(), body::JSON)?;
        let envelope = envelope(&body::read(request, ENVELOPE.bytes, timeout).await?)?;
        state.blocking(move |runtime| judge_envelope(runtime, &envelope, &ask)).await?
    } else {
        body::check_type(request.headers(), &[EVIDENCE, body::JSON].concat())?;
        let reader = BodyReader::new(request.into_body(), timeout);
        state.blocking(move |runtime| Ok(verify(reader, Some(&runtime.root_pub().to_string()), &ask))).await?
    };
    drop((permit, under_way));
    json(StatusCode::OK, &report)
}

/// Judges an envelope by what the log has recorded under its execution id.
fn judge_envelope(runtime: &Runtime, envelope: &Envelope, ask: &Ask) -> Result<Report, Problem> {
    let statement = Statement::<Decision>::parse_unverified(&envelope.payload.0).map_err(|error| {
        let detail = format!("the payload is no statement of a decision: {error}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "envelope.invalid", detail)
    })?;
    let Decision { execution_id, signer, .. } = statement.predicate;
    // The signature that was sent, not the one that was recorded: a record's id does not cover signatures.
    let signed = match runtime.keyring().find_key(&signer) {
        Some(key) => envelope.verify_single(key).map(drop).map_err(|error| error.to_string()),
        None => Err(format!("the key {signer} is not in the keyring")),
    };
    if let Err(reason) = signed {
        return Ok(failed(CheckId::EnvelopeSignature, &execution_id, reason, ask));
    }
    let recorded = runtime.records().get(&execution_id)?;
    if recorded.is_none_or(|recorded| recorded.record_id != envelope.record_id()) {
        let reason = "this log has no such record".to_owned();
        return Ok(failed(CheckId::LogEntry, &execution_id, reason, ask));
    }
    // One decision's evidence is small: its entries, and the bundle that decided.
    let mut evidence = Vec::new();
    runtime.export(&ExportRequest::one(execution_id), &mut evidence)?;
    Ok(verify(evidence.as_slice(), Some(&runtime.root_pub().to_string()), ask))
}

/// The report on an envelope that is not even worth a look into the log.
fn failed(id: CheckId, execution_id: &ExecutionId, reason: String, ask: &Ask) -> Report {
    Report {
        verdict: Verdict::Failed,
        summary: format!("failed: `{execution_id}`: {reason}"),
        verifier: VERIFIER.to_owned(),
        environment: ask.environment,
        without: ask.without.clone(),
        revoked_builds: None,
        evidence: None,
        counts: chancery_verify::Counts::default(),
        limits: Vec::new(),
        checks: vec![Check {
            id,
            result: CheckResult::Fail,
            required: true,
            reason: Some(reason),
            passed: 0,
            failed: 1,
            unknown: 0,
            places: Vec::new(),
        }],
        input_error: None,
    }
}
