//! What goes wrong with an execution, an evaluation or a line of a batch.

use crate::edge::EntropyError;
use crate::failure::{Cause, Failure, Fault, summary};
use crate::vault::VaultError;
use chancery_core::ids::{ExecutionId, PolicyId, PolicyVersion};
use chancery_core::key::{KeyId, SignError};
use chancery_core::keyring::Standing;
use chancery_core::statement::StatementError;
use chancery_store::{Class, Rejected, StoreError, SubmitError};
use std::error::Error;
use std::sync::Arc;

/// The runtime's own key may not sign at this moment; nothing was signed.
#[derive(Debug, thiserror::Error)]
#[error("the runtime's key {key} is no longer good: enrol another one, and start again with it")]
pub struct RuntimeKeyError {
    /// The key.
    pub key: KeyId,
    /// What is wrong with it.
    #[source]
    pub standing: Standing,
}

/// Why an execution was not decided. Nothing was recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecuteError {
    /// The request has faults.
    #[error("the request has {} faults: {}", faults.len(), summary(faults))]
    Request {
        /// All of them.
        faults: Vec<Fault>,
    },
    /// No version of this policy was ever put in force.
    #[error("no version of the policy `{policy}` is in force")]
    PolicyUnknown {
        /// The policy.
        policy: PolicyId,
    },
    /// The version asked for is not the one in force.
    #[error("`{policy}@{asked}` is not in force, `{in_force}` is")]
    NotInForce {
        /// The policy.
        policy: PolicyId,
        /// The version that the request insists on.
        asked: PolicyVersion,
        /// The version in force.
        in_force: PolicyVersion,
    },
    /// The version asked for was never published.
    #[error("`{policy}@{version}` is not published")]
    NotPublished {
        /// The policy.
        policy: PolicyId,
        /// The version.
        version: PolicyVersion,
    },
    /// The id was used with other inputs.
    #[error("`{execution_id}` was decided before, at index {index}, with other inputs")]
    Conflict {
        /// The id.
        execution_id: ExecutionId,
        /// Where the recorded decision stands in the log.
        index: u64,
    },
    /// The bundle in force changed each time while the decision waited to be written.
    #[error("the bundle in force for `{policy}` changed {tries} times while the decision was under way")]
    Stale {
        /// The policy.
        policy: PolicyId,
        /// How often it was decided.
        tries: u32,
    },
    /// A production log, opened without a build.
    #[error(
        "a production log decides only with a verified build: put the files of the release beside the program, or name \
         their folder with `build` in chancery.toml"
    )]
    BuildMissing,
    /// The key that signed the build is no longer good for it.
    #[error(
        "the key {key} that signed this build is no longer good: install a release that a good key signed"
    )]
    BuildKey {
        /// The key.
        key: KeyId,
        /// What is wrong with it.
        #[source]
        standing: Standing,
    },
    /// The log does not take what this runtime signs: its clock or its key.
    #[error("the log does not take this runtime's decisions")]
    Rejected(#[source] Rejected),
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] Arc<StoreError>),
    /// What is recorded does not hold together.
    #[error("the record of `{execution_id}` is damaged: run `chancery fsck`")]
    Damaged {
        /// The execution.
        execution_id: ExecutionId,
        /// What does not fit.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A bundle cannot be used.
    #[error(transparent)]
    Bundle(#[from] Arc<crate::bundles::BundleError>),
    /// What was decided has no canonical form.
    #[error("the decision cannot be written down")]
    Statement(#[from] StatementError),
    /// The commitments could not be made.
    #[error("the inputs cannot be committed to")]
    Commitment(#[source] Box<dyn Error + Send + Sync>),
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The opening was not sealed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// There are no random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The work was dropped: the process is ending, or a worker failed.
    #[error("the work was given up before it was done")]
    Abandoned,
}

impl From<StoreError> for ExecuteError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<SubmitError> for ExecuteError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Rejected(rejected) => Self::Rejected(rejected),
            SubmitError::Store(error) => Self::Store(error),
        }
    }
}

/// Whose failure a failure of the store is.
pub(crate) fn store_cause(error: &StoreError) -> Cause {
    match error.class() {
        Class::Unavailable => Cause::Unavailable,
        Class::Corrupt => Cause::Corrupt,
        Class::Conflict => Cause::Conflict,
        Class::Caller => Cause::Caller,
    }
}

/// The stable code of a failure of the store.
pub(crate) fn store_code(error: &StoreError) -> &'static str {
    match error {
        StoreError::Locked { .. } => "store.locked",
        StoreError::ReadOnly | StoreError::ReadingOnly => "store.read_only",
        StoreError::Full => "store.full",
        StoreError::Cursor { .. } => "list.cursor",
        StoreError::OutOfRange { .. } => "log.range",
        StoreError::NotThere { .. } => "store.missing",
        StoreError::Foreign { .. } => "store.foreign",
        other => match other.class() {
            Class::Unavailable => "store.unavailable",
            Class::Corrupt => "store.corrupt",
            Class::Conflict => "store.conflict",
            Class::Caller => "store.request",
        },
    }
}

/// What a caller is told about a failure of the store.
pub(crate) fn store_detail(error: &StoreError) -> String {
    match error.class() {
        Class::Unavailable => {
            "the store cannot be used at the moment; nothing was recorded, retry".to_owned()
        }
        Class::Corrupt => "the store is damaged; the operator has to look at it".to_owned(),
        Class::Conflict | Class::Caller => error.to_string(),
    }
}

impl Failure for ExecuteError {
    fn whose(&self) -> Cause {
        match self {
            Self::Request { .. } => Cause::Caller,
            Self::PolicyUnknown { .. } | Self::NotPublished { .. } => Cause::NotFound,
            Self::NotInForce { .. } | Self::Conflict { .. } => Cause::Conflict,
            Self::BuildMissing
            | Self::BuildKey { .. }
            | Self::Stale { .. }
            | Self::Rejected(_)
            | Self::Sign(_)
            | Self::Entropy(_)
            | Self::Abandoned => Cause::Unavailable,
            Self::Store(error) => store_cause(error),
            Self::Bundle(error) => error.whose(),
            Self::Damaged { .. } | Self::Statement(_) | Self::Commitment(_) | Self::Vault(_) => {
                Cause::Corrupt
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Request { .. } => "request.invalid",
            Self::PolicyUnknown { .. } => "policy.unknown",
            Self::NotPublished { .. } => "policy.not_published",
            Self::NotInForce { .. } => "policy.not_in_force",
            Self::Conflict { .. } => "execution.conflict",
            Self::Stale { .. } => "policy.changing",
            Self::BuildMissing => "build.missing",
            Self::BuildKey { .. } => "build.key",
            Self::Rejected(Rejected::Clock { .. }) => "runtime.clock",
            Self::Rejected(Rejected::Key { .. } | Rejected::NoKeyring) => "runtime.key",
            Self::Rejected(_) => "log.refused",
            Self::Store(error) => store_code(error),
            Self::Bundle(error) => error.code(),
            Self::Damaged { .. } => "store.corrupt",
            Self::Statement(_) | Self::Commitment(_) | Self::Vault(_) => "runtime.internal",
            Self::Sign(_) => "runtime.key",
            Self::Entropy(_) => "runtime.entropy",
            Self::Abandoned => "runtime.unavailable",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Request { faults } if faults.len() == 1 => "the request has a fault".to_owned(),
            Self::Request { faults } => format!("the request has {} faults", faults.len()),
            Self::PolicyUnknown { .. } | Self::NotInForce { .. } | Self::NotPublished { .. } => {
                self.to_string()
            }
            Self::Conflict { execution_id, .. } => {
                format!("`{execution_id}` was decided before with other inputs; use a new execution id")
            }
            Self::Stale { .. } => "the policy is being changed; nothing was recorded, retry".to_owned(),
            Self::BuildMissing | Self::BuildKey { .. } => {
                "the program is no build that may decide here; nothing was recorded".to_owned()
            }
            Self::Store(error) => store_detail(error),
            Self::Damaged { .. } => {
                "the recorded decision is damaged; the operator has to look at it".to_owned()
            }
            Self::Bundle(error) => error.detail(),
            _ => "the runtime cannot decide at the moment; nothing was recorded".to_owned(),
        }
    }

    fn faults(&self) -> &[Fault] {
        match self {
            Self::Request { faults } => faults,
            _ => &[],
        }
    }
}
