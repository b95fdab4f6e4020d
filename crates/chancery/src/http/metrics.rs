//! Prometheus metrics: their names, and the few places that write them.
//!
//! | metric | labels |
//! |---|---|
//! | `chancery_decisions_total` | `tenant`, `policy`, `outcome`, `state` |
//! | `chancery_decide_seconds` | – |
//! | `chancery_batch_lines_total` | `result`: `decided`, `replayed` or `refused` |
//! | `chancery_http_requests_total` | `method`, `route`, `status` |
//! | `chancery_http_request_seconds` | `route` |
//! | `chancery_http_requests_in_flight` | – |
//! | `chancery_streams_in_flight` | `kind` |
//! | `chancery_log_entries` | `tenant` |
//! | `chancery_ready` | `tenant`: 1 where it was ready when last asked, else 0 |
//!
//! No label is a caller's text: routes are templates, tenants come from configurations, outcomes and policies from
//! published bundles.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use chancery_core::ids::TenantId;
use chancery_runtime::Answer;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

const DECISIONS: &str = "chancery_decisions_total";
const DECIDE_SECONDS: &str = "chancery_decide_seconds";
const BATCH_LINES: &str = "chancery_batch_lines_total";
const REQUESTS: &str = "chancery_http_requests_total";
const REQUEST_SECONDS: &str = "chancery_http_request_seconds";
const IN_FLIGHT: &str = "chancery_http_requests_in_flight";
const STREAMS: &str = "chancery_streams_in_flight";
const LOG_ENTRIES: &str = "chancery_log_entries";
const READY: &str = "chancery_ready";

/// Upper bounds of the histograms, seconds: a decision takes milliseconds, a full queue seconds.
const BUCKETS_S: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How often what histograms hold back is folded in, whether or not anybody reads the metrics.
const UPKEEP: Duration = Duration::from_secs(5);

/// Makes the process's recorder. Once in a process.
///
/// # Errors
/// [`BuildError`] when there is one already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = builder()?.install_recorder()?;
    describe();
    let kept = handle.clone();
    // Ends with the process. Without the thread, reading the metrics does the same.
    let _ = std::thread::Builder::new().name("metrics".to_owned()).spawn(move || {
        loop {
            std::thread::sleep(UPKEEP);
            kept.run_upkeep();
        }
    });
    Ok(handle)
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(DECIDE_SECONDS.to_owned()), &BUCKETS_S)?
        .set_buckets_for_metric(Matcher::Full(REQUEST_SECONDS.to_owned()), &BUCKETS_S)
}

fn describe() {
    describe_counter!(DECISIONS, "Decisions that were answered and are in the log");
    describe_histogram!(DECIDE_SECONDS, "From the whole request to the durable answer");
    describe_counter!(BATCH_LINES, "Lines of batches");
    describe_counter!(REQUESTS, "HTTP requests");
    describe_histogram!(REQUEST_SECONDS, "From a request's head to its answer's head");
    describe_gauge!(IN_FLIGHT, "Requests whose answer has not begun");
    describe_gauge!(STREAMS, "Batches, exports and verifications under way");
    describe_gauge!(LOG_ENTRIES, "Entries in the log");
    describe_gauge!(
        READY,
        "Whether a tenant's decisions could be made and recorded when that was last asked"
    );
}

/// A decision was answered.
pub(super) fn decided(tenant: &TenantId, answer: &Answer) {
    if !answer.replayed {
        counter!(
            DECISIONS,
            "tenant" => tenant.to_string(),
            "policy" => answer.policy.id.to_string(),
            "outcome" => answer.decision.clone(),
            "state" => answer.execution_state.as_str()
        )
        .increment(1);
    }
}

/// A single decision took this long.
pub(super) fn decide_took(took: Duration) {
    histogram!(DECIDE_SECONDS).record(took);
}

/// A line of a batch was answered.
pub(super) fn batch_line(result: &'static str) {
    counter!(BATCH_LINES, "result" => result).increment(1);
}

/// A request was answered.
pub(super) fn answered(method: &Method, route: &str, status: StatusCode, took: Duration) {
    counter!(
        REQUESTS,
        "method" => method_name(method),
        "route" => route.to_owned(),
        "status" => status.as_u16().to_string()
    )
    .increment(1);
    histogram!(REQUEST_SECONDS, "route" => route.to_owned()).record(took);
}

/// A method's name; whoever makes methods up must not make time series with them.
pub(super) fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// How many entries a log has.
pub(super) fn log_entries(tenant: &TenantId, size: u64) {
    // Prometheus has floating point numbers only; exact up to 2^53.
    #[expect(clippy::as_conversions, reason = "there is no lossless conversion, and a metric needs none")]
    gauge!(LOG_ENTRIES, "tenant" => tenant.to_string()).set(size as f64);
}

/// Whether a tenant was ready.
pub(super) fn ready(tenant: &TenantId, ready: bool) {
    gauge!(READY, "tenant" => tenant.to_string()).set(if ready { 1.0 } else { 0.0 });
}

/// Counts something that is under way for as long as the value lives.
pub(super) struct UnderWay(metrics::Gauge);

impl UnderWay {
    /// A request.
    pub(super) fn request() -> Self {
        Self::new(gauge!(IN_FLIGHT))
    }

    /// A batch, an export or a verification.
    pub(super) fn stream(kind: &'static str) -> Self {
        Self::new(gauge!(STREAMS, "kind" => kind))
    }

    fn new(gauge: metrics::Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// A recorder of a test's own: the process has one, and tests share a process.
#[cfg(test)]
pub(super) fn local() -> (metrics_exporter_prometheus::PrometheusRecorder, PrometheusHandle) {
    let recorder = builder().unwrap().build_recorder();
    let handle = recorder.handle();
    (recorder, handle)
}
