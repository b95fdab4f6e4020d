//! What is read of the records, and what judging them finds.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::decisions::{Envelope, ExecutionState, LogPosition, PolicyVersion};

/// Which decisions. All that is given has to hold.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// The policy.
    pub policy: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The outcome, as decided.
    pub outcome: Option<String>,
    /// The state, now: `completed`, `pending_override` or `blocked`.
    pub state: Option<String>,
    /// Decided then or later: RFC 3339, or a day.
    pub from: Option<String>,
    /// Decided before then.
    pub to: Option<String>,
    /// Who submitted, such as `System::"claims-core"`.
    pub principal: Option<String>,
    /// The execution fingerprint, hex.
    pub fingerprint: Option<String>,
    /// `none`: an outcome holds, and nobody confirmed what was done; `done`: somebody did.
    pub confirmation: Option<String>,
    /// The outcome that holds came before then: the decision, or the end of its override case.
    pub effective_before: Option<String>,
    /// `label.<name>=<value>`: a label; may be given for several.
    #[param(rename = "label.*")]
    pub label: Option<String>,
}

/// Which page.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// How many, at most 1,000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    pub after: Option<String>,
    /// `newest` (default) or `oldest` first.
    pub order: Option<String>,
}

/// A page of decisions.
#[derive(Debug, ToSchema)]
pub struct DecisionList {
    /// The decisions.
    pub items: Vec<ListedDecision>,
    /// `after` of the next page, where there is one.
    #[schema(required = false)]
    pub next: Option<String>,
}

/// A decision in a list.
#[derive(Debug, ToSchema)]
pub struct ListedDecision {
    /// The caller's id.
    pub execution_id: String,
    /// The fingerprint.
    pub execution_fingerprint: String,
    /// The outcome, as decided.
    pub decision: String,
    /// The state, as decided.
    pub execution_state: ExecutionState,
    /// What became of it.
    pub current: Current,
    /// Which bundle decided.
    pub policy: PolicyVersion,
    /// When.
    pub executed_at: String,
    /// Who submitted.
    pub principal: String,
    /// What was decided on.
    pub resource: String,
    /// The commitment to the signals, hex.
    pub signals_root: String,
    /// The caller's labels.
    #[schema(required = false)]
    pub labels: Option<BTreeMap<String, String>>,
    /// Its index in the log.
    pub index: u64,
}

/// A decision's state now.
#[derive(Debug, ToSchema)]
pub struct Current {
    /// `completed` once an override case is resolved.
    pub state: ExecutionState,
    /// The outcome that holds.
    pub outcome: String,
    /// `approved`, `rejected` or `expired`.
    #[schema(required = false)]
    pub resolution: Option<String>,
    /// When the case ended.
    #[schema(required = false)]
    pub resolved_at: Option<String>,
}

/// One decision, whole.
#[derive(Debug, ToSchema)]
pub struct DecisionDetail {
    /// What a list shows.
    #[serde(flatten)]
    pub listed: ListedDecision,
    /// What was signed, readable.
    pub statement: Value,
    /// What was signed, exactly.
    pub attestation: Envelope,
    /// SHA-256 of the envelope's PAE, hex.
    pub record_id: String,
    /// The key that signed.
    pub signer: String,
    /// Its place in the log.
    pub log: LogPosition,
    /// When it became durable.
    pub recorded_at: String,
}

/// Counts of decisions.
#[derive(Debug, ToSchema)]
pub struct Stats {
    /// All that the filter means.
    pub total: u64,
    /// One for each combination that occurs.
    pub rows: Vec<StatsRow>,
    /// How long single decisions took, by this process.
    pub latency: Latency,
}

/// A combination and its count.
#[derive(Debug, ToSchema)]
pub struct StatsRow {
    /// The policy.
    pub policy: String,
    /// The outcome, as decided.
    pub outcome: String,
    /// The state, now.
    pub state: ExecutionState,
    /// UTC, `YYYY-MM-DD`.
    pub day: String,
    /// How many.
    pub count: u64,
}

/// Percentiles, microseconds, at most a quarter too long.
#[derive(Debug, ToSchema)]
pub struct Latency {
    /// How many were timed.
    pub count: u64,
    /// Half took at most this.
    #[schema(required = false)]
    pub p50_us: Option<u64>,
    /// Nine in ten.
    #[schema(required = false)]
    pub p90_us: Option<u64>,
    /// Ninety-nine in a hundred.
    #[schema(required = false)]
    pub p99_us: Option<u64>,
}

/// What a verification found.
#[derive(Debug, ToSchema)]
pub struct Report {
    /// `verified`, `failed` or `incomplete`.
    pub verdict: String,
    /// With `record=true`: the verifications that were recorded.
    #[schema(required = false)]
    pub recorded: Option<Vec<super::RecordedVerification>>,
    /// The verdict in one line.
    pub summary: String,
    /// Name and version of the judge.
    pub verifier: String,
    /// The environment that was asked for.
    pub environment: String,
    /// What was left out.
    pub without: Vec<String>,
    /// What the file says that it is.
    #[schema(required = false)]
    pub evidence: Option<Value>,
    /// What was in the file, by number.
    pub counts: BTreeMap<String, u64>,
    /// Every build of the file: `hash`, `decisions`, and where it is signed `commit`, `dirty`, `repository`, `tag`,
    /// `program`, `image`, `sbom`.
    #[schema(required = false)]
    pub builds: Option<Vec<Value>>,
    /// Every check.
    pub checks: Vec<Value>,
}
