//! `/healthz`, `/readyz` and `/metrics`, on the operator's port.

use std::path::Path;

use axum::extract::State as Extract;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chancery_core::time::Timestamp;
use chancery_runtime::records::{DecisionFilter, Order};
use chancery_runtime::{Location, OpenError, Runtime};
use serde::Serialize;

use super::decisions::json;
use super::error::{Problem, chain};
use super::metrics;
use super::state::State;

/// Less room than this on the database's disk is too little: the write-ahead log may take as much before it is
/// emptied.
const DISK_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// How far the clock may be behind the newest decision, ms: beyond that the log takes no decision.
const CLOCK_BEHIND_MS_MAX: i64 = 30_000;

/// The text form that Prometheus reads.
const EXPOSITION: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

#[derive(Debug, Serialize)]
struct Alive {
    status: &'static str,
}

/// Whether the process answers at all.
pub(super) async fn healthz() -> Result<Response, Problem> {
    json(StatusCode::OK, &Alive { status: "ok" })
}

#[derive(Debug, Serialize)]
struct Readiness {
    status: &'static str,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Check {
    fn of(name: &'static str, result: Result<(), String>) -> Self {
        Self { name, ok: result.is_ok(), detail: result.err() }
    }
}

/// Whether a decision that came now could be made and recorded: 503 where not, with what stands in the way.
pub(super) async fn readyz(Extract(state): Extract<State>) -> Result<Response, Problem> {
    let options = state.options();
    let (now, database) = (options.clock.now(), options.database.clone());
    let checks = state.blocking(move |runtime| Ok(checks(runtime, now, &database))).await?;
    let ready = checks.iter().all(|check| check.ok);
    if !ready {
        for check in checks.iter().filter(|check| !check.ok) {
            tracing::warn!(check = check.name, detail = check.detail, "not ready");
        }
    }
    let (status, word) =
        if ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    json(status, &Readiness { status: word, checks })
}

fn checks(runtime: &Runtime, now: Timestamp, database: &Location) -> Vec<Check> {
    let (store, keys) = match runtime.ready() {
        Ok(()) => (Ok(()), Ok(())),
        Err(error @ OpenError::Key { .. }) => (Ok(()), Err(error.to_string())),
        Err(error @ OpenError::Sign { .. }) => (Ok(()), Err(chain(&error))),
        // The last thing that is looked at, and a check of its own.
        Err(OpenError::Decide(_)) => (Ok(()), Ok(())),
        Err(error) => (Err(error.to_string()), Err("not looked at, the store comes first".to_owned())),
    };
    vec![
        Check::of("store", store),
        Check::of("keys", keys),
        Check::of("build", runtime.may_decide().map_err(|error| chain(&error))),
        Check::of("clock", clock(runtime, now)),
        Check::of("disk", disk(database)),
    ]
}

/// Whether the log would take a decision that is made now.
fn clock(runtime: &Runtime, now: Timestamp) -> Result<(), String> {
    let newest = runtime
        .records()
        .list(&DecisionFilter::default(), Order::NewestFirst, None, 1)
        .map_err(|_| "not looked at, the store comes first".to_owned())?;
    let Some(newest) = newest.items.first() else { return Ok(()) };
    let behind_ms = newest.executed_at.saturating_diff_ms(now);
    if behind_ms > CLOCK_BEHIND_MS_MAX {
        return Err(format!("the clock is {behind_ms} ms behind the newest decision; set it right"));
    }
    Ok(())
}

/// The disk of a database on a server is the server's to watch.
fn disk(database: &Location) -> Result<(), String> {
    let Some(database) = database.file() else { return Ok(()) };
    let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let free = fs4::available_space(folder)
        .map_err(|error| format!("cannot ask for the room on the disk: {error}"))?;
    if free < DISK_BYTES_MIN {
        return Err(format!("{free} bytes are free on the disk, {DISK_BYTES_MIN} are needed"));
    }
    Ok(())
}

/// What the process has counted.
pub(super) async fn metrics(Extract(state): Extract<State>) -> Result<Response, Problem> {
    // A store that cannot be read is for `/readyz` to tell; what was counted is there all the same.
    if let Ok(head) = state.read(|records| records.head()).await {
        metrics::log_entries(head.size);
    }
    let handle = &state.options().metrics;
    handle.run_upkeep();
    Ok(([(header::CONTENT_TYPE, EXPOSITION)], handle.render()).into_response())
}
