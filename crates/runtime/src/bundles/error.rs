//! Why a bundle cannot be signed, published, activated or used.

use crate::error::{store_cause, store_code, store_detail};
use crate::failure::{Cause, Failure};
use chancery_core::dsse::EnvelopeError;
use chancery_core::ids::{PolicyId, PolicyVersion, TenantId};
use chancery_core::key::{KeyId, SignError};
use chancery_core::keyring::{KeyringError, Standing};
use chancery_core::sigstore;
use chancery_core::statement::StatementError;
use chancery_core::time::Timestamp;
use chancery_store::{Rejected, StoreError, SubmitError};
use std::sync::Arc;

/// Why a bundle cannot be signed, published, activated or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The bundle has faults of its own.
    #[error("the bundle is not valid")]
    Invalid(#[from] chancery_policy::BundleError),
    /// A path that no bundle may have.
    #[error("a file cannot be in a bundle")]
    Path(#[from] chancery_policy::sum::PathError),
    /// There is no signature.
    #[error("the bundle is not signed: `bundle.sum.sigstore.json` is missing; run `chancery bundle sign`")]
    NotSigned,
    /// `bundle.sum` is not that of the files.
    #[error("`bundle.sum` does not fit the files; run `chancery bundle sum` and sign again")]
    Sum,
    /// The signature does not hold.
    #[error("the bundle's signature does not hold")]
    Signature(#[from] sigstore::BundleError),
    /// The key is in no keyring version.
    #[error("the key {key} is not in the keyring")]
    UnknownKey {
        /// The key id, or the hint.
        key: String,
    },
    /// The key may not do this.
    #[error("the key {key} is not good as `policy` here")]
    Key {
        /// The key.
        key: KeyId,
        /// What is wrong with it.
        #[source]
        standing: Standing,
    },
    /// The version is published with other content.
    #[error("`{policy}@{version}` is published with other content; a version never changes, use a new one")]
    Published {
        /// The policy.
        policy: PolicyId,
        /// The version.
        version: PolicyVersion,
    },
    /// There is no such version.
    #[error("`{policy}@{version}` is not published")]
    NotPublished {
        /// The policy.
        policy: PolicyId,
        /// The version.
        version: PolicyVersion,
    },
    /// What is stored is not what was published.
    #[error("the stored bundle `{policy}@{version}` is not what was published: {what}")]
    Tampered {
        /// The policy.
        policy: PolicyId,
        /// The version.
        version: PolicyVersion,
        /// What does not hold.
        what: &'static str,
    },
    /// The activation's envelope does not hold.
    #[error("the activation is not signed as it has to be")]
    Envelope(#[from] EnvelopeError),
    /// The activation says something that it must not, or not in its form.
    #[error("the activation is not as it has to be")]
    Statement(#[from] StatementError),
    /// The activation is another tenant's.
    #[error("the activation is of the tenant `{found}`")]
    Tenant {
        /// Whose it is.
        found: TenantId,
    },
    /// The activation is too old, or from the future.
    #[error("the activation says {claimed} and the clock {now}: more than 10 minutes apart; sign it again")]
    ActivationTime {
        /// What it says.
        claimed: Timestamp,
        /// The clock.
        now: Timestamp,
    },
    /// `previous` is not what is in force.
    #[error("something else was put in force for `{policy}` meanwhile; look at it and sign again")]
    Previous {
        /// The policy.
        policy: PolicyId,
    },
    /// Just this is in force, put there with the same key.
    #[error(
        "`{policy}@{version}` is in force since log index {index}, activated with this key; nothing was logged"
    )]
    InForce {
        /// The policy.
        policy: PolicyId,
        /// The version.
        version: PolicyVersion,
        /// Where it was put in force.
        index: u64,
    },
    /// The log does not take it.
    #[error("the log does not take the activation")]
    Rejected(#[source] Rejected),
    /// The keyring in the store does not hold.
    #[error("the keyring of the log cannot be trusted")]
    Keyring(#[from] KeyringError),
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// A signature cannot be written down.
    #[error("the signature cannot be written down")]
    Written(#[from] chancery_core::canonical::CanonicalError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] Arc<StoreError>),
}

impl From<StoreError> for BundleError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::BundlePublished { policy, version, .. } => Self::Published { policy, version },
            error => Self::Store(Arc::new(error)),
        }
    }
}

impl From<SubmitError> for BundleError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Rejected(Rejected::Previous { policy, .. }) => Self::Previous { policy },
            SubmitError::Rejected(rejected) => Self::Rejected(rejected),
            SubmitError::Store(error) => Self::Store(error),
        }
    }
}

impl Failure for BundleError {
    fn whose(&self) -> Cause {
        match self {
            Self::Invalid(_) | Self::Path(_) | Self::NotSigned | Self::Sum | Self::Statement(_) => {
                Cause::Caller
            }
            Self::Signature(_)
            | Self::UnknownKey { .. }
            | Self::Key { .. }
            | Self::Envelope(_)
            | Self::Tenant { .. }
            | Self::ActivationTime { .. } => Cause::Refused,
            Self::Published { .. } | Self::Previous { .. } | Self::InForce { .. } => Cause::Conflict,
            Self::Rejected(Rejected::Recorded { .. }) => Cause::Conflict,
            Self::Rejected(Rejected::Key { .. }) => Cause::Refused,
            Self::NotPublished { .. } => Cause::NotFound,
            Self::Tampered { .. } | Self::Keyring(_) | Self::Written(_) => Cause::Corrupt,
            Self::Rejected(_) | Self::Sign(_) => Cause::Unavailable,
            Self::Store(error) => store_cause(error),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) | Self::Path(_) | Self::Sum => "bundle.invalid",
            Self::NotSigned | Self::Signature(_) => "bundle.signature",
            Self::UnknownKey { .. } | Self::Key { .. } => "bundle.key",
            Self::Published { .. } => "bundle.published",
            Self::NotPublished { .. } => "policy.not_published",
            Self::Tampered { .. } => "bundle.tampered",
            Self::Envelope(_) => "activation.signature",
            Self::Statement(_) | Self::Tenant { .. } => "activation.statement",
            Self::ActivationTime { .. } => "activation.time",
            Self::Previous { .. } => "activation.previous",
            Self::InForce { .. } => "activation.in_force",
            Self::Rejected(_) => "log.refused",
            Self::Keyring(_) => "trust.keyring",
            Self::Sign(_) => "runtime.key",
            Self::Written(_) => "runtime.internal",
            Self::Store(error) => store_code(error),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Store(error) => store_detail(error),
            Self::Invalid(error) => error.to_string(),
            Self::Tampered { .. } | Self::Keyring(_) | Self::Written(_) => {
                "what the store holds cannot be trusted; the operator has to look at it".to_owned()
            }
            other => other.to_string(),
        }
    }
}
