//! The shapes of requests and answers, for the OpenAPI document. Nothing is ever made of these types: what is sent is
//! made by the use cases, and a test compares the two.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

/// What is to be decided. At most 256 KiB, depth 32; strict JSON, no unknown members.
#[derive(Debug, ToSchema)]
pub struct ExecutionRequest {
    /// The caller's name for this execution, unique in the log: 1 to 200 of `[A-Za-z0-9._:-]`, the first a letter or
    /// digit.
    #[schema(example = "claim-CLM-2024-00443", min_length = 1, max_length = 200)]
    pub execution_id: String,
    /// The policy that decides.
    #[schema(example = "claim-approval")]
    pub policy: String,
    /// A version that has to be the one in force; for an evaluation, any published one.
    #[schema(example = "1.0.0", required = false)]
    pub version: Option<String>,
    /// The id of what is decided on; its type is the policy's.
    #[schema(required = false)]
    pub resource: Option<String>,
    /// Facts, typed by the policy's schema. Decimals as numbers or strings, entities as `{"type", "id"}`.
    pub signals: BTreeMap<String, Value>,
    /// What to choose from; each is decided with its signals over the request's.
    #[schema(required = false, max_items = 10_000)]
    pub candidates: Option<Vec<Candidate>>,
    /// 1 to 16 strings to find the decision by; nothing personal, they are never erased.
    #[schema(required = false)]
    pub labels: Option<BTreeMap<String, String>>,
    /// Models whose output is among the signals.
    #[schema(required = false)]
    pub models: Option<Vec<Model>>,
}

/// One candidate.
#[derive(Debug, ToSchema)]
pub struct Candidate {
    /// Distinct among the candidates.
    pub id: String,
    /// Its own facts.
    pub signals: BTreeMap<String, Value>,
}

/// A model snapshot.
#[derive(Debug, ToSchema)]
pub struct Model {
    /// Its name.
    pub id: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its state, hex.
    #[schema(rename = "stateSha256")]
    pub state_sha256: String,
}

/// A recorded decision.
#[derive(Debug, ToSchema)]
pub struct Answer {
    /// The caller's id.
    pub execution_id: String,
    /// SHA-256 over what was decided on, hex.
    pub execution_fingerprint: String,
    /// The outcome.
    pub decision: String,
    /// Whether it may be acted on.
    pub execution_state: ExecutionState,
    /// Why, by policy id and code.
    pub reasons: Vec<Reason>,
    /// Policies that failed to evaluate: present exactly where the state is `blocked`.
    #[schema(required = false)]
    pub errors: Option<Vec<EvaluationError>>,
    /// Which bundle decided.
    pub policy: PolicyVersion,
    /// The signed statement.
    pub attestation: Envelope,
    /// Its place in the log.
    pub log: LogPosition,
}

/// `completed`: act. `pending_override`: wait for approvers. `blocked`: never act, a policy failed.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum ExecutionState {
    /// The outcome holds.
    Completed,
    /// Approvers have to answer first.
    PendingOverride,
    /// A policy failed to evaluate.
    Blocked,
}

/// A reason.
#[derive(Debug, ToSchema)]
pub struct Reason {
    /// The code that the policy names.
    pub code: String,
    /// The policy.
    pub policy: String,
    /// The code's text for regulators.
    pub text: String,
}

/// A policy that failed.
#[derive(Debug, ToSchema)]
pub struct EvaluationError {
    /// Such as `cedar.overflow`.
    pub code: String,
    /// The policy.
    pub policy: String,
    /// What it means.
    pub text: String,
}

/// A version of a policy.
#[derive(Debug, ToSchema)]
pub struct PolicyVersion {
    /// The policy.
    pub id: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of `bundle.sum`, hex.
    pub bundle_hash: String,
}

/// A DSSE envelope.
#[derive(Debug, ToSchema)]
pub struct Envelope {
    /// The statement, base64.
    pub payload: String,
    /// `application/vnd.in-toto+json`.
    #[schema(rename = "payloadType")]
    pub payload_type: String,
    /// One signature; a keyring has several.
    pub signatures: Vec<Signature>,
}

/// A signature over DSSE's PAE.
#[derive(Debug, ToSchema)]
pub struct Signature {
    /// `SHA256:` and the key's OpenSSH fingerprint.
    pub keyid: String,
    /// Base64.
    pub sig: String,
}

/// A sigstore bundle v0.3 with `dsseEnvelope`, for cosign.
#[derive(Debug, ToSchema)]
pub struct SigstoreBundle {
    /// `application/vnd.dev.sigstore.bundle.v0.3+json`.
    #[schema(rename = "mediaType")]
    pub media_type: String,
    /// The envelope, in sigstore's spelling.
    #[schema(rename = "dsseEnvelope")]
    pub dsse_envelope: Value,
    /// The hint at the public key.
    #[schema(rename = "verificationMaterial")]
    pub verification_material: Value,
}

/// A place in the log.
#[derive(Debug, ToSchema)]
pub struct LogPosition {
    /// From 0, without gaps.
    pub index: u64,
    /// RFC 6962 leaf hash, hex.
    pub leaf_hash: String,
}

/// An evaluation that nobody recorded.
#[derive(Debug, ToSchema)]
pub struct Evaluated {
    /// `false`.
    pub recorded: bool,
    /// The caller's id.
    pub execution_id: String,
    /// The fingerprint that a decision would have.
    pub execution_fingerprint: String,
    /// The outcome.
    pub decision: String,
    /// The state that a decision would have.
    pub execution_state: ExecutionState,
    /// Why.
    pub reasons: Vec<Reason>,
    /// Policies that determined the outcome.
    pub determining: Vec<String>,
    /// Policies that failed to evaluate.
    pub errors: Vec<EvaluationError>,
    /// What became of the candidates, where there were any.
    #[schema(required = false)]
    pub candidates: Option<Value>,
    /// Which bundle was asked.
    pub policy: PolicyVersion,
}

/// One line of a batch's answers.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
pub enum BatchLine {
    /// It was decided.
    Answer(Answer),
    /// It was not.
    Problem(ProblemLine),
}

/// A problem with one line.
#[derive(Debug, ToSchema)]
pub struct ProblemLine {
    /// Which line, from 1.
    pub line: u64,
    /// The problem.
    #[serde(flatten)]
    pub problem: Problem,
}

/// An error, as RFC 9457 has it; without a `type`, since `code` tells what it is.
#[derive(Debug, ToSchema)]
pub struct Problem {
    /// The status code.
    pub status: u16,
    /// The status in words.
    pub title: String,
    /// What is wrong, in plain words.
    pub detail: String,
    /// Stable; for programs.
    #[schema(example = "request.invalid")]
    pub code: String,
    /// Every fault of a bad input.
    #[schema(required = false)]
    pub errors: Option<Vec<Fault>>,
}

/// One fault.
#[derive(Debug, ToSchema)]
pub struct Fault {
    /// RFC 6901 pointer into the request; absent where all of it is meant.
    #[schema(required = false)]
    pub pointer: Option<String>,
    /// Such as `signal.type`.
    pub code: String,
    /// What would be right.
    pub expected: String,
    /// What was there: its kind, never its value.
    pub found: String,
}

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

/// The policies.
#[derive(Debug, ToSchema)]
pub struct PolicyList {
    /// By id.
    pub items: Vec<Policy>,
}

/// A policy.
#[derive(Debug, ToSchema)]
pub struct Policy {
    /// Its id.
    pub id: String,
    /// What decides now.
    #[schema(required = false)]
    pub in_force: Option<Activation>,
    /// What was published.
    pub versions: Vec<PublishedVersion>,
}

/// A policy with its history.
#[derive(Debug, ToSchema)]
pub struct PolicyHistory {
    /// The policy.
    #[serde(flatten)]
    pub policy: Policy,
    /// What was in force when, oldest first.
    pub activations: Vec<Activation>,
}

/// A version that was put in force.
#[derive(Debug, ToSchema)]
pub struct Activation {
    /// The version.
    pub version: String,
    /// Its bundle.
    pub bundle_hash: String,
    /// The bundle before.
    #[schema(required = false)]
    pub previous: Option<String>,
    /// When it was signed.
    pub activated_at: String,
    /// Who asked for it.
    pub requested_by: String,
    /// Why.
    pub reason: String,
    /// Its index in the log.
    pub index: u64,
}

/// A version that was published.
#[derive(Debug, ToSchema)]
pub struct PublishedVersion {
    /// The version.
    pub version: String,
    /// Its bundle.
    pub bundle_hash: String,
    /// When.
    pub published_at: String,
}

/// A version's files.
#[derive(Debug, ToSchema)]
pub struct PolicyFiles {
    /// The policy.
    pub id: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of `bundle.sum`, hex.
    pub bundle_hash: String,
    /// The key that signed `bundle.sum`.
    pub signer: String,
    /// Path to content in base64.
    pub files: BTreeMap<String, String>,
}

/// The files of a bundle's folder.
#[derive(Debug, ToSchema)]
pub struct BundleFiles {
    /// Path to content in base64, `bundle.sum.sigstore.json` among them.
    pub files: BTreeMap<String, String>,
}

/// A version that is published.
#[derive(Debug, ToSchema)]
pub struct Published {
    /// The policy.
    pub id: String,
    /// The version.
    pub version: String,
    /// SHA-256 of `bundle.sum`, hex.
    pub bundle_hash: String,
}

/// A version that is in force.
#[derive(Debug, ToSchema)]
pub struct InForce {
    /// The policy.
    pub id: String,
    /// The version.
    pub version: String,
    /// SHA-256 of `bundle.sum`, hex.
    pub bundle_hash: String,
    /// The bundle before.
    #[schema(required = false)]
    pub previous: Option<String>,
    /// When it was signed.
    pub activated_at: String,
    /// Its place in the log.
    pub log: LogPosition,
}

/// The keyring.
#[derive(Debug, ToSchema)]
pub struct Keyring {
    /// Oldest first.
    pub versions: Vec<KeyringVersion>,
}

/// A version of the keyring.
#[derive(Debug, ToSchema)]
pub struct KeyringVersion {
    /// Its index in the log.
    pub index: u64,
    /// Signed by the root keys.
    pub envelope: Envelope,
}

/// What a verification found.
#[derive(Debug, ToSchema)]
pub struct Report {
    /// `verified`, `failed` or `incomplete`.
    pub verdict: String,
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
    /// Every check.
    pub checks: Vec<Value>,
}
