//! Why a keyring version is not signed or not logged.

use super::Loss;
use crate::bundles::BundleError;
use crate::error::{store_cause, store_code, store_detail};
use crate::failure::{Cause, Failure, Fault, summary};
use chancery_core::digest::RecordId;
use chancery_core::ids::{PolicyId, TenantId};
use chancery_core::key::{KeyId, SignError};
use chancery_core::keyring::{DraftError, KeyringError};
use chancery_core::statement::StatementError;
use chancery_store::{Rejected, StoreError, SubmitError};
use std::sync::Arc;

/// Why a keyring version is not signed or not logged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// It is no keyring version, or none of a valid form.
    #[error("the envelope holds no valid keyring version")]
    Statement(#[from] StatementError),
    /// It is of another tenant or log.
    #[error("the keyring version is of the tenant `{tenant}` and the log `{origin}`, not of this one")]
    OtherLog {
        /// Whose it is.
        tenant: TenantId,
        /// The log that it names.
        origin: String,
    },
    /// It does not follow from the newest version, or is not signed as it has to be.
    #[error("the keyring version is not the next one of this log")]
    Keyring(#[from] KeyringError),
    /// It is in the log already.
    #[error("keyring version {version} is in the log already, at index {index}")]
    Logged {
        /// Its number.
        version: u64,
        /// Where it stands.
        index: u64,
        /// Its record id.
        record: RecordId,
    },
    /// It breaks rules.
    #[error("the keyring version must not be: {}", summary(faults))]
    Rules {
        /// All of them.
        faults: Vec<Fault>,
    },
    /// It revokes what is in force.
    #[error(
        "it revokes the key that put {} in force, as of then, and nothing could be decided: activate a version \
         that another policy key signed, then revoke",
        names(policies)
    )]
    InForce {
        /// The policies.
        policies: Vec<PolicyId>,
    },
    /// It takes more away than was accepted.
    #[error("it takes away {loss}; at most {accepted} were accepted")]
    Loss {
        /// What it takes away.
        loss: Loss,
        /// How many entries may be lost.
        accepted: u64,
    },
    /// The key is no root key.
    #[error("the key {key} is a root key neither of the newest version nor of the next one")]
    NotRoot {
        /// The key.
        key: KeyId,
    },
    /// A root key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The log does not take it: another version came first.
    #[error("the log does not take the keyring version")]
    Rejected(#[source] Rejected),
    /// The keyring in the store does not hold.
    #[error("the keyring of the log cannot be trusted")]
    Damaged(#[source] KeyringError),
    /// The version is logged, and what is in force cannot be read again.
    #[error("the keyring version is logged, and the bundles in force cannot be loaded with it")]
    Refresh(#[from] BundleError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] Arc<StoreError>),
}

fn names(policies: &[PolicyId]) -> String {
    policies.iter().map(|policy| format!("`{policy}`")).collect::<Vec<_>>().join(", ")
}

impl From<DraftError> for TrustError {
    fn from(error: DraftError) -> Self {
        match error {
            DraftError::Objections(all) => Self::Rules { faults: all.into_iter().map(Fault::from).collect() },
            DraftError::Statement(error) => Self::Statement(error),
        }
    }
}

impl From<StoreError> for TrustError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<SubmitError> for TrustError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Rejected(rejected) => Self::Rejected(rejected),
            SubmitError::Store(error) => Self::Store(error),
        }
    }
}

impl Failure for TrustError {
    fn whose(&self) -> Cause {
        match self {
            Self::Statement(_) | Self::Rules { .. } => Cause::Caller,
            Self::Keyring(
                KeyringError::Version { .. } | KeyringError::Previous { .. } | KeyringError::Index { .. },
            ) => Cause::Conflict,
            Self::Logged { .. } | Self::InForce { .. } | Self::Loss { .. } | Self::Rejected(_) => {
                Cause::Conflict
            }
            Self::Keyring(KeyringError::Statement { .. }) => Cause::Caller,
            Self::OtherLog { .. } | Self::Keyring(_) | Self::NotRoot { .. } => Cause::Refused,
            Self::Sign(_) => Cause::Unavailable,
            Self::Damaged(_) => Cause::Corrupt,
            Self::Refresh(error) => error.whose(),
            Self::Store(error) => store_cause(error),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Statement(_) | Self::OtherLog { .. } | Self::Logged { .. } | Self::Rejected(_) => {
                "keyring.chain"
            }
            Self::Keyring(error) => error.check_id(),
            Self::Rules { .. } => "keyring.rule",
            Self::InForce { .. } => "keyring.in_force",
            Self::Loss { .. } => "keyring.loss",
            Self::NotRoot { .. } => "keyring.root",
            Self::Sign(_) => "runtime.key",
            Self::Damaged(_) => "trust.keyring",
            Self::Refresh(error) => error.code(),
            Self::Store(error) => store_code(error),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Rules { faults } if faults.len() == 1 => "the keyring version breaks a rule".to_owned(),
            Self::Rules { faults } => format!("the keyring version breaks {} rules", faults.len()),
            Self::Statement(error) => format!("{self}: {error}"),
            Self::Keyring(error) => match std::error::Error::source(error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            },
            Self::Store(error) => store_detail(error),
            Self::Damaged(_) => {
                "what the store holds cannot be trusted; the operator has to look at it".to_owned()
            }
            Self::Refresh(error) => error.detail(),
            other => other.to_string(),
        }
    }

    fn faults(&self) -> &[Fault] {
        match self {
            Self::Rules { faults } => faults,
            _ => &[],
        }
    }
}
