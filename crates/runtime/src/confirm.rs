//! Confirming what a business system really did (formats §4.4, `confirmation/v1`).
//!
//! ```text
//! {"executed": {"outcome", "reference", "at"}}    the outcome is exactly the one that holds:
//!                                                 the decision's, or the resolution's where there was a case
//! ```
//! A decision has at most one confirmation, and it never changes: whoever did something else than what holds cannot
//! confirm, and shows in the list of unconfirmed decisions. Signed by the runtime, durable and logged before it is
//! answered.

use crate::answer::LogPosition;
use crate::bundles::position;
use crate::error::{store_cause, store_code, store_detail};
use crate::execute::Caller;
use crate::failure::{Cause, Failure, Fault, summary};
use crate::overrides::AHEAD_MS;
use crate::runtime::{Inner, Runtime};
use chancery_core::b64;
use chancery_core::digest::{Fingerprint, RecordId, sha256};
use chancery_core::dsse::{self, Envelope, Signature};
use chancery_core::ids::ExecutionId;
use chancery_core::key::SignError;
use chancery_core::statement::{AboutDecision, Confirmation, ExecutionState, Statement, StatementError};
use chancery_core::time::Timestamp;
use chancery_store::{Body, DecisionSummary, NewConfirmation, NewEntry, Rejected, StoreError, SubmitError};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The longest outcome or reference, in characters.
pub const TEXT_CHARS_MAX: usize = 4_000;

/// What was done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Executed {
    /// The outcome that was acted upon.
    pub outcome: String,
    /// The business system's own name for the act, 1 to 4,000 characters.
    pub reference: String,
    /// When it was done.
    pub at: Timestamp,
}

/// A recorded confirmation.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Confirmed {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Its fingerprint.
    pub execution_fingerprint: Fingerprint,
    /// The outcome that was acted upon.
    pub outcome: String,
    /// The confirmer's name for the act.
    pub reference: String,
    /// When it was done.
    pub executed_at: Timestamp,
    /// When it was confirmed.
    pub confirmed_at: Timestamp,
    /// The principal that confirmed.
    pub confirmed_by: String,
    /// The signed statement.
    pub attestation: Envelope,
    /// Where it stands in the log.
    pub log: LogPosition,
}

impl Runtime {
    /// Records what was done after a decision. Blocks until it is logged; durable once it returns.
    ///
    /// # Errors
    /// [`ConfirmError`]; nothing is recorded then.
    pub fn confirm(
        &self,
        caller: &Caller,
        execution_id: &ExecutionId,
        executed: &Executed,
    ) -> Result<Confirmed, ConfirmError> {
        let inner = &self.inner;
        let unknown = || ConfirmError::Unknown { execution_id: execution_id.clone() };
        let record = inner.store.read(|reader| reader.decision(execution_id))?.ok_or_else(unknown)?;
        let now = inner.clock.now();
        check(&record.summary, executed, now)?;
        let predicate = Confirmation {
            confirmed_at: now,
            confirmed_by: caller.principal.to_string(),
            executed_at: executed.at,
            execution_fingerprint: record.summary.fingerprint,
            execution_id: execution_id.clone(),
            outcome: executed.outcome.clone(),
            reference: executed.reference.clone(),
            signer: inner.runtime_key.public_key().key_id().clone(),
            tenant: inner.settings.tenant.clone(),
        };
        let body = Body::Confirmation(NewConfirmation {
            execution_id: predicate.execution_id.clone(),
            fingerprint: predicate.execution_fingerprint,
            outcome: predicate.outcome.clone(),
            reference: predicate.reference.clone(),
            executed_at: predicate.executed_at,
            confirmed_by: predicate.confirmed_by.clone(),
        });
        let (entry, predicate) = inner.signed_about(&record.entry.record_id, predicate, body)?;
        let attestation = envelope(&entry);
        let appended = inner.store.submit_blocking(entry)?;
        Ok(Confirmed {
            execution_id: predicate.execution_id,
            execution_fingerprint: predicate.execution_fingerprint,
            outcome: predicate.outcome,
            reference: predicate.reference,
            executed_at: predicate.executed_at,
            confirmed_at: predicate.confirmed_at,
            confirmed_by: predicate.confirmed_by,
            attestation,
            log: position(&appended),
        })
    }
}

/// Why a statement of the runtime about a decision could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SignedAboutError {
    /// The statement cannot be made.
    #[error("the statement cannot be written down")]
    Statement(#[from] StatementError),
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl SignedAboutError {
    pub(crate) fn whose(&self) -> Cause {
        match self {
            Self::Statement(_) => Cause::Corrupt,
            Self::Sign(_) => Cause::Unavailable,
        }
    }

    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Statement(_) => "runtime.internal",
            Self::Sign(_) => "runtime.key",
        }
    }
}

impl Inner {
    /// A statement of the runtime about a decision, signed and ready for the log writer.
    pub(crate) fn signed_about<P: AboutDecision>(
        &self,
        decision: &RecordId,
        predicate: P,
        body: Body,
    ) -> Result<(NewEntry, P), SignedAboutError> {
        let statement = Statement::about(decision, predicate)?;
        let payload = statement.to_payload()?.into_bytes();
        let message = dsse::pae(dsse::IN_TOTO, &payload);
        let signature = Signature {
            keyid: self.runtime_key.public_key().key_id().clone(),
            sig: b64::Bytes(self.runtime_key.sign(&message)?),
        };
        let entry = NewEntry {
            payload,
            signatures: vec![signature],
            record_id: RecordId::from_bytes(sha256(&message)),
            claimed_at: statement.predicate.claimed_at(),
            body,
        };
        Ok((entry, statement.predicate))
    }
}

fn envelope(entry: &NewEntry) -> Envelope {
    Envelope {
        payload: b64::Bytes(entry.payload.clone()),
        payload_type: dsse::IN_TOTO.to_owned(),
        signatures: entry.signatures.clone(),
    }
}

/// Everything that does not fit, at once.
fn check(decision: &DecisionSummary, executed: &Executed, now: Timestamp) -> Result<(), ConfirmError> {
    let waits = match decision.current.state {
        ExecutionState::Completed => None,
        ExecutionState::Blocked => Some("the decision is blocked: nothing may be done on it"),
        ExecutionState::PendingOverride => Some("the override case is still open: no outcome holds yet"),
    };
    if let Some(why) = waits {
        return Err(ConfirmError::NoOutcome { execution_id: decision.execution_id.clone(), why });
    }
    let mut faults = Vec::new();
    let mut fault = |member: &str, code, expected: String, found: &str| {
        let pointer = Some(format!("/executed/{member}"));
        faults.push(Fault { pointer, code, expected, found: found.to_owned() });
    };
    if executed.outcome != decision.current.outcome {
        let expected = format!("`{}`, the outcome that holds", decision.current.outcome);
        fault("outcome", "confirmation.outcome", expected, "another one");
    }
    let length = executed.reference.chars().take(TEXT_CHARS_MAX + 1).count();
    if !(1..=TEXT_CHARS_MAX).contains(&length) {
        let found = if length == 0 { "an empty text" } else { "a longer text" };
        fault("reference", "request.value", format!("1 to {TEXT_CHARS_MAX} characters"), found);
    }
    // Others' clocks may be ahead: of who confirms, and of approvers, whose resolution is dated as late as they signed.
    // What was done when it had been logged is then dated before it.
    let limit = now.checked_add_ms(AHEAD_MS).unwrap_or(now);
    if executed.at > limit {
        let expected = format!("a time that is not more than {} s after {now}", AHEAD_MS / 1_000);
        fault("at", "confirmation.time", expected, "a later time");
    } else if let Some(resolved_at) = decision
        .current
        .resolved_at
        .filter(|at| executed.at.checked_add_ms(AHEAD_MS).is_some_and(|latest| latest < *at))
    {
        let expected =
            format!("a time at most {} s before the end of the case, {resolved_at}", AHEAD_MS / 1_000);
        fault("at", "confirmation.time", expected, "an earlier time");
    } else if executed.at < decision.executed_at {
        let expected = format!("a time that is not before the decision, {}", decision.executed_at);
        fault("at", "confirmation.time", expected, "an earlier time");
    }
    if faults.is_empty() { Ok(()) } else { Err(ConfirmError::Request { faults }) }
}

/// Why nothing was confirmed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfirmError {
    /// There is no such decision.
    #[error("`{execution_id}` was never decided")]
    Unknown {
        /// The id.
        execution_id: ExecutionId,
    },
    /// No outcome holds that could have been acted upon.
    #[error("`{execution_id}` cannot be confirmed: {why}")]
    NoOutcome {
        /// The execution.
        execution_id: ExecutionId,
        /// Why.
        why: &'static str,
    },
    /// What is confirmed is not what holds.
    #[error("the confirmation has {} faults: {}", faults.len(), summary(faults))]
    Request {
        /// All of them.
        faults: Vec<Fault>,
    },
    /// It was confirmed before.
    #[error("`{execution_id}` was confirmed before, at index {index}")]
    Confirmed {
        /// The execution.
        execution_id: ExecutionId,
        /// Where that confirmation stands in the log.
        index: u64,
    },
    /// The log does not take what this runtime signs.
    #[error("the log does not take this runtime's confirmation")]
    Rejected(#[source] Rejected),
    /// The runtime did not make the statement.
    #[error(transparent)]
    Signed(#[from] SignedAboutError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] Arc<StoreError>),
}

impl From<StoreError> for ConfirmError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<SubmitError> for ConfirmError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Rejected(Rejected::Second { execution_id, index }) => {
                Self::Confirmed { execution_id, index }
            }
            SubmitError::Rejected(rejected) => Self::Rejected(rejected),
            SubmitError::Store(error) => Self::Store(error),
        }
    }
}

impl Failure for ConfirmError {
    fn whose(&self) -> Cause {
        match self {
            Self::Unknown { .. } => Cause::NotFound,
            Self::NoOutcome { .. } | Self::Request { .. } => Cause::Caller,
            Self::Confirmed { .. } => Cause::Conflict,
            Self::Rejected(_) => Cause::Unavailable,
            Self::Signed(error) => error.whose(),
            Self::Store(error) => store_cause(error),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "execution.unknown",
            Self::NoOutcome { .. } => "confirmation.state",
            Self::Request { .. } => "confirmation.invalid",
            Self::Confirmed { .. } => "confirmation.exists",
            Self::Rejected(Rejected::Clock { .. }) => "runtime.clock",
            Self::Rejected(Rejected::Key { .. } | Rejected::NoKeyring) => "runtime.key",
            Self::Rejected(_) => "log.refused",
            Self::Signed(error) => error.code(),
            Self::Store(error) => store_code(error),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Request { faults } if faults.len() == 1 => "the confirmation has a fault".to_owned(),
            Self::Request { faults } => format!("the confirmation has {} faults", faults.len()),
            Self::Unknown { .. } | Self::NoOutcome { .. } | Self::Confirmed { .. } => self.to_string(),
            Self::Store(error) => store_detail(error),
            _ => "the runtime cannot record at the moment; nothing was recorded".to_owned(),
        }
    }

    fn faults(&self) -> &[Fault] {
        match self {
            Self::Request { faults } => faults,
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{ConfirmationState, DecisionFilter, Order};
    use crate::testing::{TestLog, caller, request};

    fn executed(outcome: &str, at: &str) -> Executed {
        Executed { outcome: outcome.to_owned(), reference: "pay-1".to_owned(), at: at.parse().unwrap() }
    }

    fn decided(log: &TestLog, amount: &str) -> Runtime {
        let runtime = log.open();
        runtime.execute_blocking(&caller(), &request("e-1", amount, "0.1")).unwrap();
        log.clock.advance_ms(60_000);
        runtime
    }

    const AT: &str = "2026-03-01T10:01:30.000000Z";

    #[test]
    fn what_was_done_is_recorded_once() {
        let log = TestLog::new();
        let runtime = decided(&log, "1");
        let id = "e-1".parse().unwrap();
        let confirmed = runtime.confirm(&caller(), &id, &executed("approve", AT)).unwrap();
        let payload = confirmed.attestation.verify_single(runtime.runtime_key()).unwrap();
        let statement = Statement::<Confirmation>::parse(&payload).unwrap();
        assert_eq!(statement.predicate.confirmed_by, "claims-core");
        assert_eq!(statement.predicate.executed_at.to_string(), AT);
        for again in [executed("approve", AT), executed("approve", "2026-03-01T10:01:31.000000Z")] {
            let error = runtime.confirm(&caller(), &id, &again).unwrap_err();
            assert_eq!((error.whose(), error.code()), (Cause::Conflict, "confirmation.exists"));
            assert!(error.to_string().contains(&format!("index {}", confirmed.log.index)));
        }
    }

    #[test]
    fn what_was_not_decided_cannot_have_been_done() {
        let log = TestLog::new();
        let runtime = decided(&log, "1");
        let head = runtime.records().head().unwrap().size;
        let long = "x".repeat(TEXT_CHARS_MAX + 1);
        let with = |reference: &str| Executed { reference: reference.to_owned(), ..executed("approve", AT) };
        for (executed, expected) in [
            (executed("refer", AT), vec!["confirmation.outcome"]),
            (executed("Approve", AT), vec!["confirmation.outcome"]),
            (executed("approve", "2026-03-01T10:02:10.000001Z"), vec!["confirmation.time"]),
            (executed("approve", "2026-03-01T10:00:59.999999Z"), vec!["confirmation.time"]),
            (
                executed("deny", "2027-01-01T00:00:00.000000Z"),
                vec!["confirmation.outcome", "confirmation.time"],
            ),
            (with(""), vec!["request.value"]),
            (with(&long), vec!["request.value"]),
        ] {
            let error = runtime.confirm(&caller(), &"e-1".parse().unwrap(), &executed).unwrap_err();
            assert_eq!(error.code(), "confirmation.invalid");
            let codes: Vec<_> = error.faults().iter().map(|fault| fault.code).collect();
            assert_eq!(codes, expected);
        }
        let error =
            runtime.confirm(&caller(), &"e-2".parse().unwrap(), &executed("approve", AT)).unwrap_err();
        assert_eq!((error.whose(), error.code()), (Cause::NotFound, "execution.unknown"));
        assert_eq!(runtime.records().head().unwrap().size, head);
    }

    #[test]
    fn without_an_outcome_that_holds_nothing_is_confirmed() {
        for amount in ["20000", "9007199254740991"] {
            let log = TestLog::new();
            let runtime = decided(&log, amount);
            let error =
                runtime.confirm(&caller(), &"e-1".parse().unwrap(), &executed("refer", AT)).unwrap_err();
            assert_eq!((error.whose(), error.code()), (Cause::Caller, "confirmation.state"), "{amount}");
        }
    }

    #[test]
    fn a_clock_that_is_a_little_ahead_is_taken() {
        let log = TestLog::new();
        let runtime = decided(&log, "1");
        let at = "2026-03-01T10:02:10.000000Z";
        let confirmed =
            runtime.confirm(&caller(), &"e-1".parse().unwrap(), &executed("approve", at)).unwrap();
        assert!(confirmed.executed_at > confirmed.confirmed_at);
    }

    #[test]
    fn what_a_case_allowed_was_not_done_before_it_ended() {
        let log = TestLog::new();
        let runtime = decided(&log, "20000");
        // Three days and a minute: nobody answered.
        log.clock.advance_ms(3 * 24 * 3_600_000);
        assert_eq!(runtime.expire_due().unwrap().expired, 1);
        let id = "e-1".parse().unwrap();
        let resolved_at = runtime.records().get(&id).unwrap().unwrap().listed.current.resolved_at.unwrap();
        let before = resolved_at.checked_add_ms(-AHEAD_MS - 1).unwrap().to_string();
        let error = runtime.confirm(&caller(), &id, &executed("refer", &before)).unwrap_err();
        let codes: Vec<_> = error.faults().iter().map(|fault| fault.code).collect();
        assert_eq!((error.code(), codes), ("confirmation.invalid", vec!["confirmation.time"]));
        assert!(error.faults()[0].expected.contains("the end of the case"), "{error}");
        let latest = resolved_at.checked_add_ms(-AHEAD_MS).unwrap().to_string();
        runtime.confirm(&caller(), &id, &executed("refer", &latest)).unwrap();
    }

    #[test]
    fn the_unconfirmed_and_overdue_are_listed() {
        let log = TestLog::new();
        let runtime = log.open();
        for (id, amount) in [("a", "1"), ("b", "20000"), ("c", "2"), ("d", "9007199254740991"), ("e", "3")] {
            runtime.execute_blocking(&caller(), &request(id, amount, "0.1")).unwrap();
            log.clock.advance_ms(1_000);
        }
        runtime
            .confirm(&caller(), &"a".parse().unwrap(), &executed("approve", "2026-03-01T10:01:01.000000Z"))
            .unwrap();
        let list = |confirmation, before: Option<&str>| {
            let effective_before = before.map(|before| before.parse().unwrap());
            let filter = DecisionFilter { confirmation, effective_before, ..DecisionFilter::default() };
            let page = runtime.records().list(&filter, Order::OldestFirst, None, 10).unwrap();
            page.items.iter().map(|item| item.execution_id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(list(Some(ConfirmationState::Missing), None), ["c", "e"], "b waits, d is blocked");
        assert_eq!(list(Some(ConfirmationState::Missing), Some("2026-03-01T10:01:03.000000Z")), ["c"]);
        assert_eq!(list(Some(ConfirmationState::Given), None), ["a"]);
        assert_eq!(list(None, None).len(), 5);
    }
}
