//! What every handler works with, made once by `serve`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use chancery_runtime::records::Records;
use chancery_runtime::{Clock, Location, Runtime};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::access::Authentication;
use super::error::Problem;
use super::latency::Latency;
use super::verifications::Backfills;

/// Batches, exports and verifications at the same time. Each holds a thread, and an export a read snapshot that
/// keeps the write-ahead log from being emptied; more of them are asked to come again.
const STREAMS_MAX: usize = 32;

/// What the routers are made from.
pub struct Options {
    /// The open log. Whoever drops its last clone waits for what is queued: keep one outside the asynchronous
    /// runtime, and drop it there.
    pub runtime: Runtime,
    /// Who callers are.
    pub authentication: Authentication,
    /// The clock, for readiness and request ids.
    pub clock: Arc<dyn Clock>,
    /// Where `/metrics` reads, from [`super::metrics::install`].
    pub metrics: PrometheusHandle,
    /// The database file, whose disk must have room.
    pub database: Location,
    /// Whether checkpoints and tiles need no credential.
    pub public_log: bool,
    /// Longest time for a request other than a batch, an export or a verification, and longest silence in those.
    pub request_timeout: Duration,
}

/// The handlers' state. Cheap to clone.
#[derive(Clone)]
pub struct State(Arc<Shared>);

struct Shared {
    options: Options,
    streams: Arc<Semaphore>,
    latency: Latency,
    backfills: Backfills,
    started_micros: i64,
    requests: AtomicU64,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State({:?})", self.0.options.runtime)
    }
}

impl State {
    /// Puts it together.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Shared {
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            latency: Latency::default(),
            backfills: Backfills::default(),
            started_micros: options.clock.now().unix_micros(),
            requests: AtomicU64::new(0),
            options,
        }))
    }

    pub(super) fn options(&self) -> &Options {
        &self.0.options
    }

    pub(super) fn runtime(&self) -> &Runtime {
        &self.0.options.runtime
    }

    /// How long decisions took.
    pub(super) fn latency(&self) -> &Latency {
        &self.0.latency
    }

    /// The job that verifies old records, if there is one.
    pub(super) fn backfills(&self) -> &Backfills {
        &self.0.backfills
    }

    /// A name for one request that no other request of this or an earlier process has.
    pub(super) fn request_id(&self) -> String {
        let number = self.0.requests.fetch_add(1, Ordering::Relaxed);
        format!("{:x}-{number:x}", self.0.started_micros)
    }

    /// A place among those that hold a thread for long.
    pub(super) fn stream_permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.0.streams).try_acquire_owned().map_err(|_| {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "server.busy",
                format!("{STREAMS_MAX} batches, exports and verifications are under way already; retry"),
            )
            .retry_after(5)
        })
    }

    /// Reads records on a thread that may block.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce(&Records) -> Result<T, chancery_runtime::records::RecordsError> + Send + 'static,
    {
        self.blocking(move |runtime| Ok(work(&runtime.records())?)).await
    }

    /// Works on a thread that may block.
    pub(super) async fn blocking<T, F>(&self, work: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce(&Runtime) -> Result<T, Problem> + Send + 'static,
    {
        let runtime = self.runtime().clone();
        tokio::task::spawn_blocking(move || work(&runtime)).await.unwrap_or_else(|_| Err(Problem::internal()))
    }
}
