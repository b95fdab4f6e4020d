//! `/healthz`, `/readyz` and `/metrics`, on the operator's port.
//!
//! The tenants are looked at side by side, each within a time of its own: one whose database hangs is not ready, and the
//! others are what they are. Where a look does not come to its end, no second one is begun beside it: many would take all
//! the threads there are.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::extract::State as Extract;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chancery_core::ids::TenantId;
use chancery_core::time::Timestamp;
use chancery_runtime::records::{DecisionFilter, Order, Records};
use chancery_runtime::{Location, OpenError, Runtime};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::access::Tenant;
use super::decisions::json;
use super::drain::{Drain, Phase};
use super::error::{Problem, chain};
use super::metrics;
use super::state::State;

/// Less room than this on the database's disk is too little: the write-ahead log may take as much before it is
/// emptied.
pub(crate) const DISK_BYTES_MIN: u64 = 64 * 1024 * 1024;

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
    tenant: TenantId,
    name: &'static str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Whether a decision that came now could be made and recorded, for each tenant, with what stands in the way.
///
/// 503 where no tenant's could be, or the server is stopping. Where some could, 200 with `degraded`: one tenant's expired key must not take the
/// others off the network.
pub(super) async fn readyz(
    Extract(state): Extract<State>,
    drain: Option<Extension<Drain>>,
) -> Result<Response, Problem> {
    if drain.is_some_and(|Extension(drain)| drain.phase() > Phase::Serving) {
        let stopping = Readiness { status: "stopping", checks: Vec::new() };
        return json(StatusCode::SERVICE_UNAVAILABLE, &stopping);
    }
    let now = state.clock().now();
    let looks = state.tenants().all().into_iter().map(|tenant| {
        let (name, database) = (tenant.name().clone(), tenant.database().clone());
        let looked = look(&state, &tenant, "readyz", move |runtime| checks(runtime, now, &database));
        (name, tokio::spawn(looked))
    });
    let looks: Vec<_> = looks.collect();
    let (mut all, mut ready) = (Vec::new(), Vec::new());
    for (name, looked) in looks {
        let looked = looked.await.map_err(|_| Problem::internal())?;
        let checked = looked.unwrap_or_else(|unseen| vec![("store", Err(unseen.to_string()))]);
        let is_ready = checked.iter().all(|(_, result)| result.is_ok());
        metrics::ready(&name, is_ready);
        ready.push(is_ready);
        for (check, result) in checked {
            if let Err(detail) = &result {
                tracing::warn!(tenant = %name, check, detail, "not ready");
            }
            all.push(Check { tenant: name.clone(), name: check, ok: result.is_ok(), detail: result.err() });
        }
    }
    let (code, status) = match (ready.contains(&true), ready.contains(&false)) {
        (true, false) => (StatusCode::OK, "ready"),
        (true, true) => (StatusCode::OK, "degraded"),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    json(code, &Readiness { status, checks: all })
}

/// How long a look at one tenant may take: whoever probes waits for hardly more.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// The looks at tenants: of each kind, one at a time for each of them.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<HashMap<(TenantId, &'static str), Arc<Semaphore>>>);

impl Looks {
    fn place(&self, tenant: &TenantId, kind: &'static str) -> Arc<Semaphore> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(places.entry((tenant.clone(), kind)).or_insert_with(|| Arc::new(Semaphore::new(1))))
    }
}

/// Why nothing was seen.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no answer within {} ms", LOOK_TIMEOUT.as_millis())]
pub(super) struct Unseen;

/// Looks at a tenant on a thread that may block, and gives up after [`LOOK_TIMEOUT`].
pub(super) fn look<T: Send + 'static>(
    state: &State,
    tenant: &Tenant,
    kind: &'static str,
    work: impl FnOnce(&Runtime) -> T + Send + 'static,
) -> impl Future<Output = Result<T, Unseen>> + Send + 'static {
    let (tenant, place) = (tenant.clone(), state.looks().place(tenant.name(), kind));
    let looked = async move {
        let place = place.acquire_owned().await.map_err(|_| Unseen)?;
        let work = move |runtime: &Runtime| {
            let seen = work(runtime);
            drop(place);
            Ok(seen)
        };
        tenant.blocking(work).await.map_err(|_| Unseen)
    };
    async { tokio::time::timeout(LOOK_TIMEOUT, looked).await.unwrap_or(Err(Unseen)) }
}

/// What was looked at, and what was found wrong.
type Checked = (&'static str, Result<(), String>);

fn checks(runtime: &Runtime, now: Timestamp, database: &Location) -> Vec<Checked> {
    let (store, keys) = match runtime.ready() {
        Ok(()) => (Ok(()), Ok(())),
        Err(error @ OpenError::Key { .. }) => (Ok(()), Err(error.to_string())),
        Err(error @ OpenError::Sign { .. }) => (Ok(()), Err(chain(&error))),
        // The last thing that is looked at, and a check of its own.
        Err(OpenError::Decide(_)) => (Ok(()), Ok(())),
        Err(error) => (Err(error.to_string()), Err("not looked at, the store comes first".to_owned())),
    };
    vec![
        ("store", store),
        ("keys", keys),
        ("build", runtime.may_decide().map_err(|error| chain(&error))),
        ("clock", clock(&runtime.records(), now)),
        ("disk", disk(database)),
    ]
}

/// Whether the log would take a decision that is made now.
pub(crate) fn clock(records: &Records, now: Timestamp) -> Result<(), String> {
    let newest = records
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
    let free = free_bytes(folder_of(database))?;
    if free < DISK_BYTES_MIN {
        return Err(format!("{free} bytes are free on the disk, {DISK_BYTES_MIN} are needed"));
    }
    Ok(())
}

/// The folder that a file lies in.
pub(crate) fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Room on the disk of a folder, bytes.
pub(crate) fn free_bytes(folder: &Path) -> Result<u64, String> {
    fs4::available_space(folder).map_err(|error| format!("cannot ask for the room on the disk: {error}"))
}

/// What the process has counted, and what its logs are like.
pub(super) async fn metrics(Extract(state): Extract<State>) -> Result<Response, Problem> {
    let now = state.clock().now();
    let looks = state.tenants().all().into_iter().map(|tenant| {
        (tenant.name().clone(), tokio::spawn(look(&state, &tenant, "metrics", Runtime::vitals)))
    });
    let looks: Vec<_> = looks.collect();
    for (name, looked) in looks {
        // A store that cannot be read is for `/readyz` to tell; what was counted is there all the same.
        match looked.await {
            Ok(Ok(Ok(vitals))) => metrics::vitals(&name, &vitals, now),
            _ => metrics::ready(&name, false),
        }
    }
    metrics::process();
    let handle = state.metrics();
    handle.run_upkeep();
    Ok(([(header::CONTENT_TYPE, EXPOSITION)], handle.render()).into_response())
}
