//! Explanations and replays.

use serde_json::Value;
use utoipa::ToSchema;

use super::decisions::{ExecutionState, PolicyVersion};

/// An explanation for one audience.
#[derive(Debug, ToSchema)]
pub struct Explanation {
    /// `customer`, `agent` or `regulator`.
    pub audience: String,
    /// What became of the candidates. Not for customers.
    #[schema(required = false)]
    pub candidates: Option<CandidatesExplained>,
    /// The outcome, as decided.
    pub decision: String,
    /// What went wrong in the evaluation: `{"code","policy","text"}`. Not for customers.
    #[schema(required = false)]
    pub errors: Option<Vec<Value>>,
    /// The fingerprint.
    pub execution_fingerprint: String,
    /// The execution.
    pub execution_id: String,
    /// The state, as decided.
    pub execution_state: ExecutionState,
    /// Every outcome in the order in which they are asked. Not for customers.
    #[schema(required = false)]
    pub outcomes: Option<Vec<OutcomeExplained>>,
    /// The bundle that decided. Not for customers.
    #[schema(required = false)]
    pub policy: Option<PolicyVersion>,
    /// The reasons; for customers each text once.
    pub reasons: Vec<ReasonExplained>,
    /// Whether evaluating again gives what was recorded. Not for customers; absent without the signals.
    #[schema(required = false)]
    pub reproduced: Option<bool>,
    /// All of it in sentences.
    pub text: String,
    /// Why nothing can be said of single policies: signals were erased.
    #[schema(required = false)]
    pub unavailable: Option<String>,
}

/// A reason.
#[derive(Debug, ToSchema)]
pub struct ReasonExplained {
    /// Its code. Not for customers.
    #[schema(required = false)]
    pub code: Option<String>,
    /// The policy that gave it. Not for customers.
    #[schema(required = false)]
    pub policy: Option<String>,
    /// The bundle's text for the audience.
    pub text: String,
}

/// What became of the candidates.
#[derive(Debug, ToSchema)]
pub struct CandidatesExplained {
    /// How many there were.
    pub count: u64,
    /// The first that were not selected: `{"code"?,"id","policy"?,"text"?}`.
    pub excluded: Vec<Value>,
    /// How many were not selected.
    pub excluded_total: u64,
    /// The ids of those that were.
    pub selected: Vec<String>,
    /// Whether `excluded` was cut.
    pub truncated: bool,
}

/// One outcome with the policies of its action.
#[derive(Debug, ToSchema)]
pub struct OutcomeExplained {
    /// Whether policy allows it; absent without the signals.
    #[schema(required = false)]
    pub allowed: Option<bool>,
    /// Whether it is the decision's.
    pub chosen: bool,
    /// The outcome.
    pub outcome: String,
    /// Every policy that can apply to it.
    pub policies: Vec<PolicyExplained>,
}

/// One policy.
#[derive(Debug, ToSchema)]
pub struct PolicyExplained {
    /// The first condition that did not hold: Cedar text.
    #[schema(required = false)]
    pub condition: Option<String>,
    /// `permit` or `forbid`.
    pub effect: String,
    /// What went wrong where `result` is `error`.
    #[schema(required = false)]
    pub error: Option<String>,
    /// Its id.
    pub policy: String,
    /// The code of its reason.
    #[schema(required = false)]
    pub reason: Option<String>,
    /// `matched`, `not_matched`, `error`, or `unknown` without the signals.
    pub result: String,
}

/// What a replay came to.
#[derive(Debug, ToSchema)]
pub struct Replay {
    /// The execution.
    pub execution_id: String,
    /// Its fingerprint.
    pub execution_fingerprint: String,
    /// `SAME`, `DIFFERENT` or `NOT_REPLAYABLE`.
    pub result: String,
    /// Why nothing could be evaluated.
    #[schema(required = false)]
    pub reason: Option<String>,
    /// What of the recorded inputs the version does not take.
    #[schema(required = false)]
    pub faults: Option<Vec<super::Fault>>,
    /// Each member that differs.
    pub differences: Vec<Difference>,
    /// What was recorded.
    pub recorded: Side,
    /// What was evaluated.
    #[schema(required = false)]
    pub evaluated: Option<Side>,
    /// Whether it was evaluated with the bundle that decided.
    pub same_version: bool,
}

/// A member that differs.
#[derive(Debug, ToSchema)]
pub struct Difference {
    /// Its name.
    pub member: String,
    /// What was recorded.
    pub recorded: Value,
    /// What evaluation gave.
    pub evaluated: Value,
}

/// One side of the comparison.
#[derive(Debug, ToSchema)]
pub struct Side {
    /// The bundle.
    pub policy: PolicyVersion,
    /// The engine.
    pub engine: String,
    /// The outcome.
    pub decision: String,
    /// The state.
    pub execution_state: ExecutionState,
    /// The policies that determined the outcome.
    pub determining: Vec<String>,
    /// The codes of their reasons.
    pub reasons: Vec<String>,
    /// The codes of the errors.
    pub errors: Vec<String>,
}
