//! `GET /v1/verifications`, `POST /v1/verifications:backfill` and the progress of its job.
//!
//! ```text
//! POST ─ one job at a time, on a thread of its own ─ step, pause, step, pause …      GET: counted from the log
//!            └ over all nodes of a database: a turn
//! ```
//! A job's name says which decisions it is about, and how far it has come is what the log holds. So a server that was
//! killed has lost nothing: the same request again does what is left, and asking for the old name still answers, on any
//! node.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chancery_core::ids::PolicyId;
use chancery_core::json::{self, Limits, Members, Pointer, Value};
use chancery_core::statement::Verdict;
use chancery_core::time::Timestamp;
use chancery_runtime::failure::Failure;
use chancery_runtime::records::Records;
use chancery_runtime::verifications::{
    BackfillJob, BackfillProgress, BackfillTurn, Unjudged, VerificationFilter,
};
use chancery_runtime::{Fault, Runtime};
use serde::Serialize;

use crate::instant::{EXPECTED, parse_instant};

use super::access::Tenant;
use super::decisions::json as answer;
use super::error::Problem;
use super::list::{LIMIT, LIMIT_MAX};
use super::parameters::{Query, Segments};
use super::{body, schema};

/// Decisions that a job judges in a second, where it is not told otherwise: some percent of a core.
const PER_SECOND: u32 = 100;
/// The most that it can be told.
const PER_SECOND_MAX: u32 = 10_000;
/// Decisions that a job names as damaged; how many there are more is what is missing to `total`.
const UNJUDGED_MAX: usize = 1_000;
/// How long a pause is before somebody looks whether the server stops.
const NAP: Duration = Duration::from_millis(50);
/// How long a pause goes on before the turn is renewed.
const RENEW: Duration = Duration::from_secs(10);

/// List verification records, the newest first.
#[utoipa::path(
    get, path = "/v1/verifications", operation_id = "listVerifications", tag = "verification",
    params(
        ("execution_id" = Option<String>, Query, description = "Of this decision"),
        ("verdict" = Option<String>, Query, description = "`verified`, `failed` or `incomplete`"),
        ("from" = Option<String>, Query, description = "Made then or later: RFC 3339, or a day"),
        ("to" = Option<String>, Query, description = "Made before then"),
        ("limit" = Option<u32>, Query, description = "How many, at most 1,000 (default 100)"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = schema::VerificationList),
        (status = 400, description = "- `list.cursor`: `after` is not the `next` of this list", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(tenant: Tenant, mut query: Query) -> Result<Response, Problem> {
    let filter = VerificationFilter {
        execution_id: query.parsed("execution_id", "an execution id"),
        verdict: verdict(&mut query),
        from: query.instant("from"),
        to: query.instant("to"),
    };
    let limit = query.parsed::<u32>("limit", "a number from 1 to 1000").unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        query.fault("limit", "a number from 1 to 1000", limit.to_string());
    }
    let after = query.text("after");
    query.finish()?;
    let page = tenant.read(move |records| records.verifications(&filter, after.as_deref(), limit)).await?;
    answer(StatusCode::OK, &page)
}

fn verdict(query: &mut Query) -> Option<Verdict> {
    match query.text("verdict")?.as_str() {
        "verified" => Some(Verdict::Verified),
        "failed" => Some(Verdict::Failed),
        "incomplete" => Some(Verdict::Incomplete),
        _ => {
            query.fault("verdict", "`verified`, `failed` or `incomplete`", "something else".to_owned());
            None
        }
    }
}

/// Verify old records.
///
/// Every decision that is recorded by now, was decided in that time by that policy, and has no verification gets one.
/// The answer names the job; its progress is at `Location`. One job runs at a time. Where it was stopped, the same
/// request again does what is left.
#[utoipa::path(
    post, path = "/v1/verifications:backfill", operation_id = "backfillVerifications", tag = "verification", request_body = schema::BackfillRequest,
    responses(
        (status = 202, description = "Begun", body = schema::BackfillStatus,
            headers(("Location" = String, description = "Where the progress is"))),
        (status = 200, description = "The same job is running already", body = schema::BackfillStatus,
            headers(("Location" = String, description = "Where the progress is"))),
        (status = 409, description = "- `backfill.running`: another job is running", body = schema::Problem, content_type = "application/problem+json"),
        (status = 422, description = "- `request.invalid`: the body has not the members it may have; `errors` has all faults", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn backfill(tenant: Tenant, query: Query, request: Request) -> Result<Response, Problem> {
    query.finish()?;
    let body = body::json(request, tenant.request_timeout()).await?;
    let wanted = wanted(&body).map_err(|faults| Problem::faults("request.invalid", faults))?;
    let begun = {
        let tenant = tenant.clone();
        tenant.clone().blocking(move |runtime| begin(&tenant, runtime, wanted)).await?
    };
    let (status, job) = begun;
    let shown = progress(&tenant, job).await?;
    let location = format!("/v1/verifications:backfill/{}", shown.job);
    Ok((status, [(header::LOCATION, location)], answer(status, &shown)?).into_response())
}

/// How far a job has come.
///
/// `state` is `running`, `done`, `incomplete` (it has ended, and `unjudged` names decisions that are damaged so that
/// they could not be judged), `failed` with the problem, or `stopped`: the server was, or another job came. To go on,
/// send the same request again. `done` says that every decision has a verification, not that every one is good.
#[utoipa::path(
    get, path = "/v1/verifications:backfill/{job}", operation_id = "getBackfill", tag = "verification",
    params(("job" = String, Path, description = "The job's name, as it was answered")),
    responses(
        (status = 200, description = "The progress", body = schema::BackfillStatus),
        (status = 404, description = "- `backfill.unknown`: this log never had such a job", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn backfill_progress(
    tenant: Tenant,
    segments: Segments,
    query: Query,
) -> Result<Response, Problem> {
    query.finish()?;
    let unknown = || Problem::not_found("backfill.unknown", "this log never had such a job");
    // What is no UTF-8 is told by the segments; everything else is a name that was never given.
    let job: BackfillJob = segments.text("job").parse().map_err(|_| unknown())?;
    let size = tenant.read(|records| Ok(records.head()?.size)).await?;
    if job.until > size {
        return Err(unknown());
    }
    answer(StatusCode::OK, &progress(&tenant, job).await?)
}

/// A job as it is answered.
#[derive(Debug, Serialize)]
struct Status {
    job: String,
    state: &'static str,
    #[serde(flatten)]
    counted: BackfillProgress,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unjudged: Vec<Unjudged>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Trouble>,
}

async fn progress(tenant: &Tenant, job: BackfillJob) -> Result<Status, Problem> {
    let (counted, elsewhere) = {
        let job = job.clone();
        let counted = tenant.read(move |records: &Records| {
            Ok((records.backfill_progress(&job)?, records.running_backfill()? == Some(job)))
        });
        counted.await?
    };
    let running = tenant.backfills().current().filter(|running| running.job == job);
    let problem = running.as_ref().and_then(|running| running.trouble());
    let unjudged = running.as_ref().map(|running| running.unjudged()).unwrap_or_default();
    let shown = match (&problem, running) {
        _ if counted.is_done() => "done",
        (Some(_), _) => "failed",
        (None, Some(running)) if !running.has_ended() => "running",
        _ if elsewhere => "running",
        _ if !unjudged.is_empty() => "incomplete",
        _ => "stopped",
    };
    Ok(Status {
        job: job.to_string(),
        state: shown,
        counted,
        unjudged,
        problem: problem.filter(|_| shown == "failed"),
    })
}

/// What a request for a backfill says.
struct Wanted {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    policy: Option<PolicyId>,
    per_second: u32,
}

/// `{"from"?, "to"?, "policy"?, "per_second"?}`, every fault at once.
fn wanted(body: &[u8]) -> Result<Wanted, Vec<Fault>> {
    let root = Pointer::root();
    let value = json::parse(body, Limits::REQUEST).map_err(|fault| vec![fault.into()])?;
    let fault = |at: &Pointer<'_>, expected: &str, found: String| Fault {
        pointer: Some(at.to_string()),
        code: "request.value",
        expected: expected.to_owned(),
        found,
    };
    let Some(object) = value.as_object() else {
        return Err(vec![fault(root, "an object", value.describe())]);
    };
    let mut members = Members::new(object, root);
    let mut faults = Vec::new();
    let mut take = |name: &'static str, expected: &str, parse: &mut dyn FnMut(&Value) -> bool| {
        if let Some(value) = members.take(name)
            && !parse(value)
        {
            faults.push(fault(&root.member(name), expected, value.describe()));
        }
    };
    let (mut from, mut to, mut policy, mut per_second) = (None, None, None, PER_SECOND);
    let instant = |value: &Value| value.as_str().and_then(|text| parse_instant(text).ok());
    take("from", EXPECTED, &mut |value| {
        from = instant(value);
        from.is_some()
    });
    take("to", EXPECTED, &mut |value| {
        to = instant(value);
        to.is_some()
    });
    take("policy", "a policy id", &mut |value| {
        policy = value.as_str().and_then(|text| text.parse().ok());
        policy.is_some()
    });
    take("per_second", "a number from 1 to 10000", &mut |value| {
        let number = serde_json::to_string(value).ok().and_then(|text| text.parse::<u32>().ok());
        per_second = number.unwrap_or(0);
        (1..=PER_SECOND_MAX).contains(&per_second)
    });
    let mut unknown = Vec::new();
    members.finish(&mut unknown);
    faults.extend(unknown.into_iter().map(Fault::from));
    if faults.is_empty() { Ok(Wanted { from, to, policy, per_second }) } else { Err(faults) }
}

/// The job that was begun last, if any.
#[derive(Default)]
pub(super) struct Backfills(Mutex<Option<Arc<Running>>>);

/// A job of this process.
struct Running {
    job: BackfillJob,
    /// Decisions that could not be judged, the first of them.
    unjudged: Mutex<Vec<Unjudged>>,
    ended: Mutex<Option<Option<Trouble>>>,
    turn: BackfillTurn,
}

/// Why a job failed, in the words of a problem document.
#[derive(Clone, Debug, Serialize)]
struct Trouble {
    code: &'static str,
    detail: String,
}

impl Running {
    fn has_ended(&self) -> bool {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn unjudged(&self) -> Vec<Unjudged> {
        self.unjudged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, more: Vec<Unjudged>) {
        let mut unjudged = self.unjudged.lock().unwrap_or_else(PoisonError::into_inner);
        let room = UNJUDGED_MAX.saturating_sub(unjudged.len());
        unjudged.extend(more.into_iter().take(room));
    }

    fn trouble(&self) -> Option<Trouble> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone().flatten()
    }

    fn end(&self, trouble: Option<Trouble>) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
    }
}

impl Backfills {
    fn current(&self) -> Option<Arc<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Begins a job, or finds the one that is the same and runs.
fn begin(tenant: &Tenant, runtime: &Runtime, wanted: Wanted) -> Result<(StatusCode, BackfillJob), Problem> {
    let Wanted { from, to, policy, per_second } = wanted;
    let records = runtime.records();
    let job = records.backfill(from, to, policy)?;
    let mut current = tenant.backfills().0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(running) = current.as_ref().filter(|running| !running.has_ended()) {
        if !records.backfill_progress(&running.job)?.is_done() {
            return runs_already(&running.job, &job);
        }
        // It has nothing left to do, and is about to see that.
        running.end(None);
        running.turn.end();
    }
    let Some(turn) = runtime.begin_backfill(&job)? else {
        return match records.running_backfill()? {
            Some(running) => runs_already(&running, &job),
            None => {
                let detail = "the job of another node has ended in this moment; ask again";
                Err(Problem::new(StatusCode::CONFLICT, "backfill.running", detail))
            }
        };
    };
    let running = Arc::new(Running {
        job: job.clone(),
        unjudged: Mutex::default(),
        ended: Mutex::new(None),
        turn: turn.clone(),
    });
    let (runtime, weak) = (runtime.clone(), Arc::downgrade(&running));
    std::thread::Builder::new()
        .name("backfill".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            work(&runtime, &weak, &turn, per_second);
            turn.end();
        })
        .map_err(|error| {
            running.turn.end();
            tracing::error!(%error, "no thread for a backfill: raise the limit of processes");
            Problem::internal()
        })?;
    *current = Some(running);
    Ok((StatusCode::ACCEPTED, job))
}

/// The answer where a job runs: it is the same, or another one has to wait.
fn runs_already(running: &BackfillJob, wanted: &BackfillJob) -> Result<(StatusCode, BackfillJob), Problem> {
    if running.is_like(wanted) {
        return Ok((StatusCode::OK, running.clone()));
    }
    let detail = format!("the job `{running}` is running; wait for it");
    Err(Problem::new(StatusCode::CONFLICT, "backfill.running", detail))
}

/// Evaluating policies recurses.
const STACK_BYTES: usize = 4 * 1024 * 1024;

/// Steps and pauses until nothing is left to do, something fails, another job has the turn, or the server stops: nobody
/// holds the job then.
fn work(runtime: &Runtime, weak: &Weak<Running>, turn: &BackfillTurn, per_second: u32) {
    let mut from = 0;
    loop {
        let Some(running) = weak.upgrade().filter(|running| !running.has_ended()) else { return };
        match turn.renew() {
            Ok(true) => {}
            Ok(false) => return running.end(None),
            Err(error) => tracing::warn!(%error, "the turn of a backfill was not renewed"),
        }
        let step = match runtime.backfill_step(&running.job, &mut from) {
            Ok(step) => step,
            Err(error) => {
                tracing::error!(code = error.code(), %error, "a backfill has failed");
                return running.end(Some(Trouble { code: error.code(), detail: error.detail() }));
            }
        };
        if step.is_empty() {
            return running.end(None);
        }
        let judged = step.len();
        running.add(step.unjudged);
        drop(running);
        let mut pause = Duration::from_secs(u64::try_from(judged).unwrap_or(1)) / per_second;
        let mut unrenewed = Duration::ZERO;
        while !pause.is_zero() && weak.strong_count() > 0 {
            let nap = pause.min(NAP);
            std::thread::sleep(nap);
            pause -= nap;
            unrenewed += nap;
            if unrenewed >= RENEW {
                unrenewed = Duration::ZERO;
                // Where it is lost, or the store fails, the next step sees that.
                let _ = turn.renew();
            }
        }
    }
}
