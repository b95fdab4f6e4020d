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
