//! Override cases.

use serde_json::Value;
use utoipa::ToSchema;

use super::decisions::{LogPosition, PolicyVersion, Reason};

/// What an approver wants to say.
#[derive(Debug, ToSchema)]
pub struct OverrideRequest {
    /// `approve` or `reject`.
    pub resolution: OverrideResolution,
    /// What the decision is to be turned into; exactly with an approval.
    #[schema(required = false, example = "approve")]
    pub outcome: Option<String>,
    /// Why, in words: 1 to 4,000 characters.
    #[schema(example = "Invoices and photographs seen.")]
    pub reason: String,
    /// Why, as a code.
    #[schema(example = "DOCUMENTS_SEEN")]
    pub reason_code: String,
    /// The role in which the approver answers, without `approver:`.
    #[schema(example = "claims-manager")]
    pub role: String,
    /// The key that will sign: `SHA256:` and 43 characters.
    pub signer: String,
}

/// An approver's answer.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum OverrideResolution {
    /// The decision is to be turned into the override's outcome.
    Approve,
    /// The decision stands, and the case ends.
    Reject,
}

/// What a case is in.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum CaseState {
    /// It waits for approvers.
    Pending,
    /// A quorum approved.
    Approved,
    /// An approver rejected.
    Rejected,
    /// Nobody ended it in time.
    Expired,
}

/// A page of cases.
#[derive(Debug, ToSchema)]
pub struct OverrideCaseList {
    /// The cases.
    pub items: Vec<OverrideCase>,
    /// `after` of the next page; absent after the last.
    #[schema(required = false)]
    pub next: Option<String>,
}

/// An override case, derived from its log entries.
#[derive(Debug, ToSchema)]
pub struct OverrideCase {
    /// The execution.
    pub execution_id: String,
    /// Its fingerprint.
    pub execution_fingerprint: String,
    /// `H(PAE)` of the decision: the digest of an override's subject.
    pub decision_record: String,
    /// The decision's own outcome.
    pub decision: String,
    /// Which bundle decided.
    pub policy: PolicyVersion,
    /// Who submitted; they cannot approve.
    pub principal: String,
    /// What was decided on.
    pub resource: String,
    /// When it was decided.
    pub executed_at: String,
    /// From this time on nobody can answer.
    pub due: String,
    /// What it is in.
    pub state: CaseState,
    /// Approvals that stand for one outcome, of how many are needed.
    #[schema(example = "1 of 2")]
    pub progress: String,
    /// The bundle's rule.
    pub rule: OverrideRule,
    /// What approvers said, in order of the log.
    pub overrides: Vec<GivenOverride>,
    /// How it ended.
    #[schema(required = false)]
    pub resolution: Option<OverrideEnd>,
}

/// The `[override]` table of a bundle.
#[derive(Debug, ToSchema)]
pub struct OverrideRule {
    /// How long a case stays open: a Cedar duration.
    pub expires: String,
    /// The outcomes that wait for approvers.
    pub outcomes: Vec<String>,
    /// How many distinct approvers have to agree.
    pub quorum: u32,
    /// The approver roles that count.
    pub roles: Vec<String>,
    /// What approvers may turn an outcome into.
    pub to: Vec<String>,
}

/// One approver's answer.
#[derive(Debug, ToSchema)]
pub struct GivenOverride {
    /// `H(PAE)` of the override.
    pub record_id: String,
    /// Its place in the log.
    pub index: u64,
    /// Whose it is.
    pub approver: String,
    /// Their role.
    pub role: String,
    /// Their key.
    pub signer: String,
    /// `approve` or `reject`.
    pub resolution: OverrideResolution,
    /// What the decision is to be turned into.
    #[schema(required = false)]
    pub outcome: Option<String>,
    /// Why, in words.
    pub reason: String,
    /// Why, as a code.
    pub reason_code: String,
    /// When it was signed.
    pub issued_at: String,
    /// Until when it stands.
    pub expires_at: String,
    /// `false` where the key was revoked for this entry later.
    pub counts: bool,
}

/// How a case ended.
#[derive(Debug, ToSchema)]
pub struct OverrideEnd {
    /// `H(PAE)` of the resolution.
    pub record_id: String,
    /// Its place in the log.
    pub index: u64,
    /// `approved`, `rejected` or `expired`.
    pub resolution: String,
    /// The outcome that holds.
    pub final_outcome: String,
    /// The overrides that were counted.
    pub overrides: Vec<String>,
    /// When.
    pub resolved_at: String,
}

/// An override that is in the log, and the case with it.
#[derive(Debug, ToSchema)]
pub struct OverrideSubmitted {
    /// Where the override stands.
    pub log: LogPosition,
    /// The case.
    #[serde(flatten)]
    pub case: OverrideCase,
}

/// A case with everything about it.
#[derive(Debug, ToSchema)]
pub struct OverrideBrief {
    /// The case.
    #[serde(flatten)]
    pub case: OverrideCase,
    /// How long it waits, ms.
    pub age_ms: i64,
    /// How long it can still be answered, ms; negative when its time is over.
    pub left_ms: i64,
    /// The recorded signals.
    pub signals: OverrideSignals,
    /// Why policy decided so.
    pub reasons: Vec<Reason>,
    /// The policies that determined the outcome, of the version that decided.
    pub policies: Vec<OverridePolicy>,
    /// The caller's labels.
    #[schema(required = false)]
    pub labels: Option<Value>,
    /// Earlier decisions on the same resource, the newest first, ten at the most.
    pub earlier: Vec<EarlierDecision>,
}

/// What is left of the recorded signals.
#[derive(Debug, ToSchema)]
pub struct OverrideSignals {
    /// `all`, `some` (the rest was erased) or `none`.
    pub left: String,
    /// The signals that are left, by name.
    #[schema(required = false)]
    pub values: Option<Value>,
    /// The candidates that are left, where the request had some.
    #[schema(required = false)]
    pub candidates: Option<Value>,
    /// The names of the signals that were erased, where some are left.
    #[schema(required = false)]
    pub erased: Option<Vec<String>>,
}

/// A policy as it was written.
#[derive(Debug, ToSchema)]
pub struct OverridePolicy {
    /// Its `@id`.
    pub id: String,
    /// The file that it stands in.
    pub file: String,
    /// Its text.
    pub text: String,
}

/// An earlier decision on the same resource.
#[derive(Debug, ToSchema)]
pub struct EarlierDecision {
    /// The execution.
    pub execution_id: String,
    /// The outcome that holds.
    pub outcome: String,
    /// What it is in.
    pub state: super::decisions::ExecutionState,
    /// When it was decided.
    pub executed_at: String,
    /// Its place in the log.
    pub index: u64,
}
