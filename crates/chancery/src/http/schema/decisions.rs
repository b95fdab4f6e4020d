//! Requests and their answers.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

/// What is to be decided. At most 256 KiB, depth 32; strict JSON, no unknown members.
#[derive(Debug, ToSchema)]
pub struct ExecutionRequest {
    /// The caller's name for this execution, unique in the log: 1 to 200 of `[A-Za-z0-9._:-]`, the first a letter or
    /// digit.
    #[schema(example = "claim-CLM-2024-00443", min_length = 1, max_length = 200)]
    pub execution_id: String,
    /// What is decided on, and by what.
    #[serde(flatten)]
    pub inputs: Inputs,
}

/// What is to be evaluated: a request to decide, which may lack its id.
#[derive(Debug, ToSchema)]
pub struct EvaluationRequest {
    /// Repeated in the answer where there is one.
    #[schema(min_length = 1, max_length = 200, required = false)]
    pub execution_id: Option<String>,
    /// What is decided on, and by what.
    #[serde(flatten)]
    pub inputs: Inputs,
}

/// What is decided on, and by what.
#[derive(Debug, ToSchema)]
pub struct Inputs {
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
    /// The caller's id, where the request had one.
    #[schema(required = false)]
    pub execution_id: Option<String>,
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
