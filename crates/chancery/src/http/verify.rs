//! `POST /v1/verify`: the auditor's judgement as a service. Nothing is stored, unless that is asked for.
//!
//! The judge is the one of `chancery-verify`; the root keys are the server's own, so the verdict is worth as much as
//! the server is. Whoever trusts nobody runs the program.

use std::collections::HashSet;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use chancery_core::dsse::Envelope;
use chancery_core::ids::ExecutionId;
use chancery_core::statement::{Decision, Statement};
use chancery_runtime::Runtime;
use chancery_runtime::export::ExportRequest;
use chancery_runtime::verifications::RecordedVerification;
use chancery_verify::{
    Ask, Check, CheckId, CheckResult, Environment, Report, VERIFIER, Verdict, Without, verify,
};
use serde::Serialize;

use super::access::{Identity, Role, Tenant};
use super::body::{self, BodyReader};
use super::decisions::json;
use super::error::Problem;
use super::metrics::UnderWay;
use super::noting::Noting;
use super::parameters::Query;
use super::publish::{ENVELOPE, envelope};
use super::schema;

/// An evidence file.
const EVIDENCE: &[&str] = &["application/x-ndjson", "application/ndjson", "application/jsonl"];

/// Judge evidence, or an attestation of this log.
///
/// An evidence file of any length, or one DSSE envelope (`application/json`) of a decision that this log recorded,
/// which is then judged with everything that the log has about it.
///
/// With `record=true` (auditors alone) each decision of this log that is in it gets a verification record: what the
/// log itself holds of the decision is judged for that, so that a spoilt copy says nothing about the record.
#[utoipa::path(
    post, path = "/v1/verify", operation_id = "verify", tag = "verification",
    request_body(content(
        (String = "application/x-ndjson"),
        (schema::Envelope = "application/json"),
    )),
    params(
        ("environment" = Option<String>, Query, description = "What decisions have to say: `production` (default) or `test`"),
        ("without" = Option<String>, Query, description = "What is not asked for: any of `build,witness,reproduce,opening`"),
        ("record" = Option<bool>, Query, description = "`true`: record a verification of each decision of this log, at most 1,000"),
    ),
    responses(
        (status = 200, description = "The report, whatever the verdict", body = schema::Report),
        (status = 422, description = "- `verify.too_many`: to be recorded are more than 1,000 decisions", body = schema::Problem, content_type = "application/problem+json"),
        (status = 503, description = "- `store.full`: the disk is full\n- `store.read_only`: the store cannot be written\n- `runtime.clock`: the clock runs behind the log\n- `log.refused`: the log does not take it now", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn judge(
    tenant: Tenant,
    identity: Identity,
    mut query: Query,
    request: Request,
) -> Result<Response, Problem> {
    let record = query.parsed::<bool>("record", "`true` or `false`").unwrap_or(false);
    let environment: Option<Environment> = query.parsed("environment", "`production` or `test`");
    let without: Option<Without> = query.parsed("without", "any of `build,witness,reproduce,opening`");
    query.finish()?;
    if record {
        identity.require(Role::Auditor)?;
    }
    let ask = Ask {
        environment: environment.unwrap_or_default(),
        without: without.unwrap_or_default(),
        ..Ask::default()
    };
    let timeout = tenant.request_timeout();
    let permit = tenant.stream_permit()?;
    let under_way = UnderWay::stream("verify");
    let report = if body::media_type(request.headers()).as_deref() == Some("application/json") {
        body::check_type(request.headers(), body::JSON)?;
        let envelope = envelope(&body::read(request, ENVELOPE.bytes, timeout).await?)?;
        tenant.blocking(move |runtime| judge_envelope(runtime, &envelope, &ask, record)).await?
    } else {
        body::check_type(request.headers(), &[EVIDENCE, body::JSON].concat())?;
        let reader = BodyReader::new(request.into_body(), timeout);
        tenant.blocking(move |runtime| judge_evidence(runtime, reader, &ask, record)).await?
    };
    drop((permit, under_way));
    json(StatusCode::OK, &report)
}

/// A report, with what was recorded where that was asked for.
#[derive(Debug, Serialize)]
struct Judged {
    #[serde(flatten)]
    report: Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded: Option<Vec<RecordedVerification>>,
}

/// Judges a file, and records a verification of each decision in it that this log has.
fn judge_evidence(runtime: &Runtime, reader: BodyReader, ask: &Ask, record: bool) -> Result<Judged, Problem> {
    let root = runtime.root_pub().to_string();
    if !record {
        return Ok(Judged { report: verify(reader, Some(&root), ask), recorded: None });
    }
    let mut reader = Noting::new(reader);
    let report = verify(&mut reader, Some(&root), ask);
    let records = runtime.records();
    let (mut ids, mut seen) = (Vec::new(), HashSet::new());
    for (execution_id, record_id) in reader.into_decisions()? {
        let is_ours = records.get(&execution_id)?.is_some_and(|ours| ours.record_id == record_id);
        if is_ours && seen.insert(execution_id.clone()) {
            ids.push(execution_id);
        }
    }
    Ok(Judged { report, recorded: Some(runtime.verify_recorded(&ids)?) })
}

/// Judges an envelope, and records that if this log has the decision.
fn judge_envelope(
    runtime: &Runtime,
    envelope: &Envelope,
    ask: &Ask,
    record: bool,
) -> Result<Judged, Problem> {
    let (report, ours) = report_on(runtime, envelope, ask)?;
    let recorded = record.then(|| runtime.verify_recorded(ours.as_slice())).transpose()?;
    Ok(Judged { report, recorded })
}

/// The report on an envelope by what the log has recorded under its execution id, which is given if that is it.
fn report_on(
    runtime: &Runtime,
    envelope: &Envelope,
    ask: &Ask,
) -> Result<(Report, Option<ExecutionId>), Problem> {
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
        return Ok((failed(CheckId::EnvelopeSignature, &execution_id, reason, ask), None));
    }
    let recorded = runtime.records().get(&execution_id)?;
    if recorded.is_none_or(|recorded| recorded.record_id != envelope.record_id()) {
        let reason = "this log has no such record".to_owned();
        return Ok((failed(CheckId::LogEntry, &execution_id, reason, ask), None));
    }
    // One decision's evidence is small: its entries, and the bundle that decided.
    let mut evidence = Vec::new();
    runtime.export(&ExportRequest::one(execution_id.clone()), &mut evidence)?;
    let report = verify(evidence.as_slice(), Some(&runtime.root_pub().to_string()), ask);
    Ok((report, Some(execution_id)))
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
        builds: Vec::new(),
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
