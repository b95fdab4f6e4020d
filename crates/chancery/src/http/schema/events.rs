//! What happens to a decision later: confirmations.

use utoipa::ToSchema;

use super::decisions::{Envelope, LogPosition};

/// What was really done.
#[derive(Debug, ToSchema)]
pub struct ConfirmationRequest {
    /// The act.
    pub executed: Executed,
}

/// An act of the business system.
#[derive(Debug, ToSchema)]
pub struct Executed {
    /// The outcome that was acted upon: exactly the one that holds.
    pub outcome: String,
    /// The business system's own name for the act, 1 to 4,000 characters.
    pub reference: String,
    /// When: RFC 3339, not in the future and not before the decision.
    pub at: String,
}

/// A recorded confirmation.
#[derive(Debug, ToSchema)]
pub struct Confirmed {
    /// The execution.
    pub execution_id: String,
    /// Its fingerprint.
    pub execution_fingerprint: String,
    /// The outcome that was acted upon.
    pub outcome: String,
    /// The confirmer's name for the act.
    pub reference: String,
    /// When it was done.
    pub executed_at: String,
    /// When it was confirmed.
    pub confirmed_at: String,
    /// The principal that confirmed.
    pub confirmed_by: String,
    /// The signed statement.
    pub attestation: Envelope,
    /// Where it stands in the log.
    pub log: LogPosition,
}

/// A page of verification records.
#[derive(Debug, ToSchema)]
pub struct VerificationList {
    /// The verifications, the newest first.
    pub items: Vec<ListedVerification>,
    /// `after` of the next page, where there is one.
    #[schema(required = false)]
    pub next: Option<String>,
}

/// A verification record.
#[derive(Debug, ToSchema)]
pub struct ListedVerification {
    /// The decision.
    pub execution_id: String,
    /// Its fingerprint.
    pub execution_fingerprint: String,
    /// `verified`, `failed` or `incomplete`.
    pub verdict: String,
    /// Whether the attestation's signature holds; absent where that was not checked.
    #[schema(required = false)]
    pub signature_verified: Option<bool>,
    /// Whether the program that decided is of a recorded build.
    #[schema(required = false)]
    pub runtime_verified: Option<bool>,
    /// Whether the statement is of its schema.
    #[schema(required = false)]
    pub schema_compatible: Option<bool>,
    /// When.
    pub verified_at: String,
    /// By which verifier, `name/version`.
    pub verifier: String,
    /// Its index in the log.
    pub index: u64,
}

/// A verification that was just recorded.
#[derive(Debug, ToSchema)]
pub struct RecordedVerification {
    /// The decision.
    pub execution_id: String,
    /// `verified`, `failed` or `incomplete`.
    pub verdict: String,
    /// The verification's index in the log.
    pub index: u64,
}

/// Which decisions are to have a verification. All that is given has to hold.
#[derive(Debug, ToSchema)]
pub struct BackfillRequest {
    /// Decided then or later: RFC 3339, or a day.
    #[schema(required = false)]
    pub from: Option<String>,
    /// Decided before then.
    #[schema(required = false)]
    pub to: Option<String>,
    /// Decided by this policy.
    #[schema(required = false)]
    pub policy: Option<String>,
    /// How many decisions a second at most.
    #[schema(required = false, minimum = 1, maximum = 10000, default = 100)]
    pub per_second: Option<u32>,
}

/// A decision that could not be judged; nothing is recorded for it.
#[derive(Debug, ToSchema)]
pub struct Unjudged {
    /// The decision.
    pub execution_id: String,
    /// Why, for programs.
    pub code: String,
    /// Why, for people.
    pub detail: String,
}

/// How far a job has come.
#[derive(Debug, ToSchema)]
pub struct BackfillStatus {
    /// Its name.
    pub job: String,
    /// `running`, `done`, `incomplete` (ended, some could not be judged), `stopped` or `failed`.
    pub state: String,
    /// The decisions that it is about.
    pub total: u64,
    /// Those that have a verification. The three counts below are of these, by the newest one of each.
    pub recorded: u64,
    /// Those where everything holds.
    pub verified: u64,
    /// Those where something does not.
    pub failed: u64,
    /// Those where something could not be checked.
    pub incomplete: u64,
    /// Decisions that are damaged so that they could not be judged: at most 1,000 of them, absent where there is none.
    #[schema(required = false)]
    pub unjudged: Option<Vec<Unjudged>>,
    /// Why it failed: `{"code","detail"}`.
    #[schema(required = false)]
    pub problem: Option<serde_json::Value>,
}
