//! Why there is no new log.

use crate::bundles::BundleError;
use crate::checkpoint::CheckpointError;
use crate::edge::EntropyError;
use crate::error::{store_cause, store_code, store_detail};
use crate::failure::{Cause, Failure, Fault, summary};
use crate::keys::{KeyError, KeyName};
use crate::runtime::OpenError;
use crate::vault::VaultError;
use chancery_core::key::SignError;
use chancery_core::keyring::{KeyringError, RootPubError};
use chancery_core::note::NoteKeyError;
use chancery_core::statement::StatementError;
use chancery_core::time::Timestamp;
use chancery_store::{StoreError, SubmitError};
use std::path::PathBuf;

/// Why there is no new log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// Something is there already.
    #[error("`{}` exists already; a log is made once, choose another folder or open this one", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// The host cannot be part of an origin.
    #[error("`{host}` cannot be the host of a log; say something like `log.example.com`")]
    LogHost {
        /// What was given.
        host: String,
        /// Why not.
        #[source]
        source: NoteKeyError,
    },
    /// The clock is beyond all validity.
    #[error("the clock says {now}, which leaves no time for keys to be valid")]
    Clock {
        /// The clock.
        now: Timestamp,
    },
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The root key.
    #[error(transparent)]
    Root(#[from] RootPubError),
    /// The keyring: a key is there twice, say.
    #[error("the keyring cannot be made")]
    Keyring(#[from] StatementError),
    /// The keyring breaks rules: a key has two owners, say.
    #[error("the keyring must not be: {}", summary(faults))]
    Rules {
        /// All of them.
        faults: Vec<Fault>,
    },
    /// The keys that signed are not the root keys, or too few of them.
    #[error("the keyring is not signed by enough of the keys in root.pub")]
    Signatures(#[source] Box<KeyringError>),
    /// A key that has to be made was not; does not happen.
    #[error("`{}` was not made", name.file())]
    NotMade {
        /// Which one.
        name: KeyName,
    },
    /// A key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The tenant's keys.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A bundle is not valid, or not taken.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// What was made cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The first checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The log does not take the keyring.
    #[error("the keyring cannot be logged")]
    Submit(#[from] SubmitError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<KeyringError> for InitError {
    fn from(error: KeyringError) -> Self {
        Self::Signatures(Box::new(error))
    }
}

impl Failure for InitError {
    fn whose(&self) -> Cause {
        match self {
            Self::Exists { .. } => Cause::Conflict,
            Self::LogHost { .. } | Self::Keyring(_) | Self::Rules { .. } => Cause::Caller,
            Self::Signatures(_) => Cause::Refused,
            Self::Key(error) => error.whose(),
            Self::Bundle(error) => error.whose(),
            Self::Open(error) => error.whose(),
            Self::Checkpoint(error) => error.whose(),
            Self::Store(error) => store_cause(error),
            Self::Submit(SubmitError::Store(error)) => store_cause(error),
            _ => Cause::Unavailable,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "init.exists",
            Self::LogHost { .. } => "init.log_host",
            Self::Keyring(_) | Self::Rules { .. } | Self::Signatures(_) => "init.keyring",
            Self::Key(error) => error.code(),
            Self::Bundle(error) => error.code(),
            Self::Open(error) => error.code(),
            Self::Checkpoint(error) => error.code(),
            Self::Store(error) => store_code(error),
            Self::Submit(SubmitError::Store(error)) => store_code(error),
            _ => "init.failed",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Store(error) => store_detail(error),
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
