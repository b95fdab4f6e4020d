//! Why an override is not taken: one code for each fault, so that programs and auditors name the same thing.

use crate::edge::EntropyError;
use crate::error::{ExecuteError, store_cause, store_code, store_detail};
use crate::failure::{Cause, Failure};
use chancery_core::dsse::EnvelopeError;
use chancery_core::ids::{ExecutionId, TenantId};
use chancery_core::key::{KeyId, SignError};
use chancery_core::keyring::{KeyringError, Standing};
use chancery_core::statement::{ExecutionState, ResolutionStatus, StatementError};
use chancery_core::time::Timestamp;
use chancery_store::{Rejected, StoreError, SubmitError};
use std::sync::Arc;

/// Why nothing came of an override, or of a look at a case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OverrideError {
    /// The execution id was never used.
    #[error("`{execution_id}` was never decided")]
    Unknown {
        /// The id.
        execution_id: ExecutionId,
    },
    /// The decision was not left to approvers.
    #[error("the decision on `{execution_id}` is `{state}` and waits for nobody")]
    NotWaiting {
        /// The execution.
        execution_id: ExecutionId,
        /// Its state, as decided.
        state: ExecutionState,
    },
    /// The case has ended.
    #[error("the case of `{execution_id}` was {} before", status.as_str())]
    Resolved {
        /// The execution.
        execution_id: ExecutionId,
        /// How it ended.
        status: ResolutionStatus,
    },
    /// The time of the case is over.
    #[error("the case of `{execution_id}` expired at {due}")]
    Expired {
        /// The execution.
        execution_id: ExecutionId,
        /// When.
        due: Timestamp,
    },
    /// Not an in-toto statement in a DSSE envelope with one signature.
    #[error("an override is one in-toto statement with one signature: {what}")]
    Envelope {
        /// What it is instead.
        what: String,
    },
    /// The signature does not hold: the bytes, or the key, are not those that were signed with.
    #[error("the signature does not hold")]
    Signature(#[source] EnvelopeError),
    /// The payload is no override.
    #[error("the payload is not an override as it has to be: {0}")]
    Statement(#[source] StatementError),
    /// Words that are read at terminals have a character that acts on them.
    #[error("the {what} has the character `{}`, which steers a terminal", character.escape_unicode())]
    Words {
        /// Reason, or reason code.
        what: &'static str,
        /// The first such character.
        character: char,
    },
    /// It is of another tenant's log.
    #[error("the override is for the tenant `{found}`")]
    Tenant {
        /// The tenant that it names.
        found: TenantId,
    },
    /// It is a resolution. Only the runtime makes these.
    #[error("a resolution is made by the runtime, from the overrides in its log: hand in an override")]
    Resolution,
    /// It is for another execution.
    #[error("the override is for the execution `{found}`, and was handed in for `{execution_id}`")]
    Execution {
        /// The execution that was asked for.
        execution_id: ExecutionId,
        /// The one that it names.
        found: ExecutionId,
    },
    /// It answers another decision with the same execution id.
    #[error("the override answers another decision than the one on `{execution_id}`")]
    Binding {
        /// The execution that was asked for.
        execution_id: ExecutionId,
    },
    /// No version of the keyring has the key.
    #[error("the key {key} is in no version of the keyring")]
    KeyUnknown {
        /// The key.
        key: KeyId,
    },
    /// The key cannot sign an override here.
    #[error("the key {key} cannot sign as `approver:{role}`: {standing}")]
    Key {
        /// The key.
        key: KeyId,
        /// The role.
        role: String,
        /// What is wrong with it.
        standing: Standing,
    },
    /// The keyring gives the key another subject than the one that the statement names.
    #[error("the key belongs to `{holder}`, the override names `{approver}`")]
    Approver {
        /// The subject of the key.
        holder: String,
        /// Whom the statement names.
        approver: String,
    },
    /// The approver submitted the execution, or is a runtime.
    #[error("`{approver}` {why}, and cannot override the decision")]
    Separation {
        /// The approver.
        approver: String,
        /// What they are.
        why: &'static str,
    },
    /// The bundle's rule does not count the role.
    #[error("the rule of the bundle does not count the role `{role}`, it counts `{}`", counted.join("`, `"))]
    Role {
        /// The role.
        role: String,
        /// The roles that count.
        counted: Vec<String>,
    },
    /// The bundle's rule does not let an approver decide that.
    #[error("an approver cannot decide `{outcome}` here, but `{}`", allowed.join("`, `"))]
    Outcome {
        /// The outcome.
        outcome: String,
        /// What it may be.
        allowed: Vec<String>,
    },
    /// It was signed before there was a decision.
    #[error("the override was issued at {issued_at}, before the decision")]
    IssuedEarly {
        /// When it says that it was issued.
        issued_at: Timestamp,
    },
    /// It was signed after the case's time was over.
    #[error("the override was issued at {issued_at}, the case ends at {due}")]
    IssuedLate {
        /// When it says that it was issued.
        issued_at: Timestamp,
        /// When the case ends.
        due: Timestamp,
    },
    /// It says that it was signed in the future.
    #[error("the override was issued at {issued_at}, which is ahead of this clock ({now})")]
    IssuedAhead {
        /// When it says that it was issued.
        issued_at: Timestamp,
        /// The clock.
        now: Timestamp,
    },
    /// It stood until a time that is over.
    #[error("the override itself expired at {expires_at}")]
    Lapsed {
        /// When.
        expires_at: Timestamp,
    },
    /// The nonce is another override's.
    #[error("the nonce was used at index {index}: ask for a new statement")]
    Nonce {
        /// Where.
        index: u64,
    },
    /// The approver has answered in this case.
    #[error("the approver has answered already, at index {index}")]
    ApproverTwice {
        /// Where.
        index: u64,
    },
    /// The key has answered in this case, under another name.
    #[error("the key has answered already, at index {index}, for another approver")]
    KeyTwice {
        /// Where.
        index: u64,
    },
    /// Others answered each time while this override waited to be written.
    #[error("the case of `{execution_id}` moved on each time; ask again")]
    Busy {
        /// The execution.
        execution_id: ExecutionId,
    },
    /// The log does not take what the runtime signs, or the override after all.
    #[error("the log does not take it")]
    Rejected(#[source] Rejected),
    /// A record of the case does not parse.
    #[error("the record at {index} is damaged: run `chancery fsck`")]
    Damaged {
        /// Its index.
        index: u64,
        /// What is wrong.
        #[source]
        source: StatementError,
    },
    /// The bundle that decided has no rule for overrides.
    #[error("`{execution_id}` waits for approvers, and the bundle that decided has no rule for them")]
    Rule {
        /// The execution.
        execution_id: ExecutionId,
    },
    /// The keyring in the log does not hold.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The recorded decision, or its bundle, cannot be read.
    #[error(transparent)]
    Decision(#[from] ExecuteError),
    /// There are no random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The runtime's key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The store failed.
    #[error(transparent)]
    Store(Arc<StoreError>),
}

impl From<StoreError> for OverrideError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<SubmitError> for OverrideError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Store(error) => Self::Store(error),
            SubmitError::Rejected(rejected) => match rejected {
                Rejected::Nonce { index } => Self::Nonce { index },
                Rejected::Answered { index, key: false } => Self::ApproverTwice { index },
                Rejected::Answered { index, key: true } => Self::KeyTwice { index },
                Rejected::Moved { execution_id } => Self::Busy { execution_id },
                rejected => Self::Rejected(rejected),
            },
        }
    }
}

impl Failure for OverrideError {
    fn whose(&self) -> Cause {
        match self {
            Self::Unknown { .. } => Cause::NotFound,
            Self::NotWaiting { .. }
            | Self::Resolved { .. }
            | Self::Expired { .. }
            | Self::Lapsed { .. }
            | Self::Nonce { .. } => Cause::Conflict,
            Self::Envelope { .. }
            | Self::Signature(_)
            | Self::Statement(_)
            | Self::Words { .. }
            | Self::Tenant { .. }
            | Self::Resolution
            | Self::Execution { .. }
            | Self::Binding { .. }
            | Self::Outcome { .. }
            | Self::IssuedEarly { .. }
            | Self::IssuedLate { .. }
            | Self::IssuedAhead { .. } => Cause::Caller,
            Self::KeyUnknown { .. }
            | Self::Key { .. }
            | Self::Approver { .. }
            | Self::Separation { .. }
            | Self::Role { .. }
            | Self::ApproverTwice { .. }
            | Self::KeyTwice { .. } => Cause::Refused,
            Self::Busy { .. } | Self::Rejected(_) | Self::Entropy(_) | Self::Sign(_) => Cause::Unavailable,
            Self::Damaged { .. } | Self::Rule { .. } | Self::Keyring(_) => Cause::Corrupt,
            Self::Decision(error) => error.whose(),
            Self::Store(error) => store_cause(error),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "execution.unknown",
            Self::NotWaiting { .. } => "override.not_waiting",
            Self::Resolved { .. } => "override.resolved",
            Self::Expired { .. } => "override.expired",
            Self::Envelope { .. } => "override.envelope",
            Self::Signature(_) => "override.signature",
            Self::Statement(_) | Self::Words { .. } => "override.statement",
            Self::Tenant { .. } => "override.tenant",
            Self::Resolution => "override.resolution",
            Self::Execution { .. } => "override.execution",
            Self::Binding { .. } => "override.binding",
            Self::KeyUnknown { .. } | Self::Key { standing: Standing::Unknown, .. } => "override.key_unknown",
            Self::Key { standing: Standing::Role, .. } => "override.key_role",
            Self::Key { standing: Standing::Validity, .. } => "override.key_validity",
            Self::Key { standing: Standing::Revoked, .. } => "override.key_revoked",
            Self::Approver { .. } => "override.approver",
            Self::Separation { .. } => "override.separation",
            Self::Role { .. } => "override.role",
            Self::Outcome { .. } => "override.outcome",
            Self::IssuedEarly { .. } => "override.issued_early",
            Self::IssuedLate { .. } => "override.issued_late",
            Self::IssuedAhead { .. } => "override.issued_ahead",
            Self::Lapsed { .. } => "override.lapsed",
            Self::Nonce { .. } => "override.nonce",
            Self::ApproverTwice { .. } => "override.approver_twice",
            Self::KeyTwice { .. } => "override.key_twice",
            Self::Busy { .. } => "override.busy",
            Self::Rejected(Rejected::Clock { .. }) => "runtime.clock",
            Self::Rejected(Rejected::Key { .. } | Rejected::NoKeyring) | Self::Sign(_) => "runtime.key",
            Self::Rejected(_) => "log.refused",
            Self::Damaged { .. } | Self::Rule { .. } => "store.corrupt",
            Self::Keyring(_) => "trust.keyring",
            Self::Decision(error) => error.code(),
            Self::Entropy(_) => "runtime.entropy",
            Self::Store(error) => store_code(error),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Store(error) => store_detail(error),
            Self::Decision(error) => error.detail(),
            Self::Rejected(_) | Self::Entropy(_) | Self::Sign(_) => {
                "the runtime cannot end the case at the moment; nothing was recorded, retry".to_owned()
            }
            Self::Damaged { .. } | Self::Rule { .. } | Self::Keyring(_) => {
                "the records of the case are damaged; the operator has to look at them".to_owned()
            }
            _ => self.to_string(),
        }
    }
}
