//! Prometheus metrics: their names, and the few places that write them.
//!
//! docs/guides/operations.md lists them with their labels; a test holds the list against what a server gives out. Some
//! are counted where they happen (here, in `chancery-store` and in `chancery-runtime`), the others are read when somebody
//! asks: `vitals` and `process`.
//!
//! No label is a caller's text: routes are templates, tenants come from configurations, outcomes and policies from
//! published bundles.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use chancery_core::ids::TenantId;
use chancery_core::time::Timestamp;
use chancery_runtime::Answer;
use chancery_runtime::records::measure;
use chancery_runtime::vitals::{REDECISIONS, Vitals};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::process;

const DECISIONS: &str = "chancery_decisions_total";
const DECIDE_SECONDS: &str = "chancery_decide_seconds";
const BATCH_LINES: &str = "chancery_batch_lines_total";
const REQUESTS: &str = "chancery_http_requests_total";
const REQUEST_SECONDS: &str = "chancery_http_request_seconds";
const IN_FLIGHT: &str = "chancery_http_requests_in_flight";
const STREAMS: &str = "chancery_streams_in_flight";
const PROBLEMS: &str = "chancery_problems_total";
const LOG_ENTRIES: &str = "chancery_log_entries";
const CHECKPOINT_ENTRIES: &str = "chancery_checkpoint_entries";
const CHECKPOINT_TIME: &str = "chancery_checkpoint_timestamp_seconds";
const CHECKPOINT_LAG: &str = "chancery_checkpoint_lag_seconds";
const QUEUE: &str = "chancery_writer_queue_entries";
const OPEN_CASES: &str = "chancery_override_cases_open";
const OLDEST_CASE: &str = "chancery_override_case_oldest_timestamp_seconds";
const EXPIRY: &str = "chancery_expiry_timestamp_seconds";
const READY: &str = "chancery_ready";
const BUILD: &str = "chancery_build_info";

/// Upper bounds of the histograms, seconds: a decision takes milliseconds, a full queue seconds.
const BUCKETS_S: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The same for the records of a transaction, of which there are at most 1,024.
const BUCKETS_ENTRIES: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];

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
    let full = |name: &str| Matcher::Full(name.to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(full(DECIDE_SECONDS), &BUCKETS_S)?
        .set_buckets_for_metric(full(REQUEST_SECONDS), &BUCKETS_S)?
        .set_buckets_for_metric(full(measure::COMMIT_SECONDS), &BUCKETS_S)?
        .set_buckets_for_metric(full(measure::BATCH_ENTRIES), &BUCKETS_ENTRIES)
}

fn describe() {
    describe_counter!(DECISIONS, "Decisions that were answered and are in the log");
    describe_histogram!(DECIDE_SECONDS, "From the whole request to the durable answer");
    describe_counter!(BATCH_LINES, "Lines of batches");
    describe_counter!(REQUESTS, "HTTP requests");
    describe_histogram!(REQUEST_SECONDS, "From a request's head to its answer's head");
    describe_gauge!(IN_FLIGHT, "Requests whose answer has not begun");
    describe_gauge!(STREAMS, "Batches, exports and verifications under way");
    describe_counter!(PROBLEMS, "Requests that were answered with a problem, and lines of batches");
    describe_counter!(REDECISIONS, "Decisions made again, because the bundle in force changed meanwhile");
    describe_histogram!(measure::COMMIT_SECONDS, "From the beginning of a transaction to its synced commit");
    describe_histogram!(measure::BATCH_ENTRIES, "Records of a transaction");
    describe_counter!(measure::STORE_ERRORS, "Transactions that were not written");
    describe_counter!(measure::COMMITS_UNKNOWN, "Transactions whose records had to be looked up again");
    describe_gauge!(LOG_ENTRIES, "Entries in the log");
    describe_gauge!(CHECKPOINT_ENTRIES, "Entries under the newest checkpoint");
    describe_gauge!(CHECKPOINT_TIME, "When the newest checkpoint was stored, seconds since 1970");
    describe_gauge!(CHECKPOINT_LAG, "How long the oldest entry has waited that no checkpoint covers");
    describe_gauge!(QUEUE, "Records that wait for the log writer");
    describe_gauge!(OPEN_CASES, "Override cases that nobody has ended");
    describe_gauge!(OLDEST_CASE, "When the oldest open override case was decided, seconds since 1970");
    describe_gauge!(EXPIRY, "When the keyring or a key of the server ends, seconds since 1970");
    describe_gauge!(BUILD, "1, with the program's version");
    for (name, text) in process::DESCRIPTIONS {
        describe_gauge!(name, text);
    }
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
pub(crate) fn method_name(method: &Method) -> &'static str {
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

/// A request, or a line of a batch, was answered with a problem. Codes are words of the program.
pub(super) fn problem(code: &'static str) {
    counter!(PROBLEMS, "code" => code).increment(1);
}

/// What a log is like at this moment.
pub(super) fn vitals(tenant: &TenantId, vitals: &Vitals, now: Timestamp) {
    // There before the first one: an alert on a counter that is not there yet never fires.
    counter!(REDECISIONS, "tenant" => tenant.to_string()).increment(0);
    let set = |name: &'static str, value: f64| gauge!(name, "tenant" => tenant.to_string()).set(value);
    set(LOG_ENTRIES, number(vitals.entries));
    set(CHECKPOINT_ENTRIES, number(vitals.checkpoint_entries));
    set(CHECKPOINT_TIME, vitals.checkpoint_at.map_or(0.0, seconds));
    let waited_ms = vitals.waiting_since.map_or(0, |since| now.saturating_diff_ms(since).max(0));
    set(CHECKPOINT_LAG, number(waited_ms.unsigned_abs()) / 1e3);
    set(QUEUE, number(u64::try_from(vitals.queued).unwrap_or(u64::MAX)));
    set(OPEN_CASES, number(vitals.open_cases.count));
    set(OLDEST_CASE, vitals.open_cases.oldest.map_or(0.0, seconds));
    for (what, at) in &vitals.ends {
        gauge!(EXPIRY, "tenant" => tenant.to_string(), "of" => *what).set(seconds(*at));
    }
}

/// What the operating system says of the process, and which program it is.
pub(super) fn process() {
    for process::Reading { name, value } in process::readings() {
        gauge!(name).set(value);
    }
    gauge!(BUILD, "version" => chancery_runtime::VERSION).set(1.0);
}

/// Prometheus has floating point numbers only; exact up to 2^53.
#[expect(clippy::as_conversions, reason = "there is no lossless conversion, and a metric needs none")]
fn number(count: u64) -> f64 {
    count as f64
}

/// Seconds since 1970.
#[expect(clippy::as_conversions, reason = "there is no lossless conversion, and a metric needs none")]
fn seconds(at: Timestamp) -> f64 {
    at.unix_micros() as f64 / 1e6
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
