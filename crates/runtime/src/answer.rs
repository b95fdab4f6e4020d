//! What a caller is answered.
//!
//! The serialised forms are the bodies of `POST /v1/decisions` and `:evaluate`. An [`Answer`] is made from the
//! recorded statement and its place in the log and from nothing else, so that a repeat of a request gets the same
//! bytes as the first time.

use chancery_core::digest::{BundleHash, Fingerprint, LeafHash};
use chancery_core::dsse::Envelope;
use chancery_core::ids::{ExecutionId, PolicyId, PolicyVersion};
use chancery_core::statement::{Candidates, EvaluationError, ExecutionState, PolicyRef, Reason};
use serde::{Deserialize, Serialize};

/// A recorded decision. It was durable, and in the log, before this value existed.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Answer {
    /// The caller's id.
    pub execution_id: ExecutionId,
    /// What was decided on, committed (formats §3).
    pub execution_fingerprint: Fingerprint,
    /// The outcome.
    pub decision: String,
    /// `completed`, `pending_override` or `blocked`, as it was decided.
    pub execution_state: ExecutionState,
    /// Why, ordered by policy id and code.
    pub reasons: Vec<Reason>,
    /// Policies that failed to evaluate; there are some exactly where the state is `blocked`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<EvaluationError>,
    /// Which bundle decided.
    pub policy: AnswerPolicy,
    /// The signed statement.
    pub attestation: Envelope,
    /// Where it stands in the log.
    pub log: LogPosition,
    /// True when the decision had been recorded before and this is the same answer again.
    #[serde(skip)]
    pub replayed: bool,
}

/// The bundle that decided.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AnswerPolicy {
    /// The policy.
    pub id: PolicyId,
    /// Its version.
    pub version: PolicyVersion,
    /// SHA-256 of its `bundle.sum`.
    pub bundle_hash: BundleHash,
}

impl From<&PolicyRef> for AnswerPolicy {
    fn from(policy: &PolicyRef) -> Self {
        Self { id: policy.id.clone(), version: policy.version.clone(), bundle_hash: policy.bundle_hash }
    }
}

/// Where a record stands in the log.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LogPosition {
    /// From 0, without gaps.
    pub index: u64,
    /// RFC 6962 leaf hash of the entry.
    pub leaf_hash: LeafHash,
}

/// An evaluation that nobody recorded and nobody signed.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluated {
    /// Always false: this is no decision.
    pub recorded: bool,
    /// The caller's id, where the request had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<ExecutionId>,
    /// The fingerprint that a decision on the same inputs would have.
    pub execution_fingerprint: Fingerprint,
    /// The outcome.
    pub decision: String,
    /// The state that a decision would have.
    pub execution_state: ExecutionState,
    /// Why, ordered by policy id and code.
    pub reasons: Vec<Reason>,
    /// Ids of the policies that determined the outcome.
    pub determining: Vec<String>,
    /// Policies that failed to evaluate.
    pub errors: Vec<EvaluationError>,
    /// What became of the candidates, where the request had any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Candidates>,
    /// Which bundle was asked.
    pub policy: AnswerPolicy,
}
