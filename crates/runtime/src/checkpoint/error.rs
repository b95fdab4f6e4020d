//! Why a head is not signed, or a memory not made.

use crate::error::{store_cause, store_code, store_detail};
use crate::failure::{Cause, Failure};
use chancery_core::canonical::CanonicalError;
use chancery_core::checkpoint;
use chancery_core::key::KeyId;
use chancery_core::keyring::{KeyringError, Standing};
use chancery_core::note::NoteSignError;
use chancery_store::StoreError;
use std::io;
use std::path::PathBuf;

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The memory is gone.
    #[error(
        "`{}` is missing and the database has a checkpoint of size {size}: bring the file back from where it was \
         kept, or copy another node's; where there is none, run `chancery fsck --full`, and then `chancery log adopt` \
         with a checkpoint that somebody else holds",
        path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// The newest checkpoint of the database.
        size: u64,
    },
    /// The database has fewer entries than were signed.
    #[error(
        "`{}` remembers a checkpoint of size {signed} and the log has {log} entries: an older database was put \
         back; restore the newest one, a log never gets shorter",
        path.display()
    )]
    Ahead {
        /// The publisher's file.
        path: PathBuf,
        /// What was signed.
        signed: u64,
        /// What there is.
        log: u64,
    },
    /// The log does not continue what was signed.
    #[error(
        "the log of size {size} does not continue the last checkpoint that was signed: entries or the head were \
         changed; run `chancery fsck`, do not go on"
    )]
    Fork {
        /// The size of the head.
        size: u64,
    },
    /// Leaves are missing.
    #[error("the log has no leaves for all of {from}..{to}: run `chancery fsck`, do not go on")]
    Leaves {
        /// The first index asked for.
        from: u64,
        /// The index after the last.
        to: u64,
    },
    /// The memory cannot be read.
    #[error("`{}` is damaged; bring it back from where it was kept", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database's newest checkpoint is none of this log.
    #[error("the newest checkpoint in the database, of size {size}, does not hold; run `chancery fsck`")]
    Stored {
        /// The size that its row says.
        size: u64,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A memory is there.
    #[error("`{}` is there: a memory is made only where there is none", path.display())]
    There {
        /// The file.
        path: PathBuf,
    },
    /// Nothing was signed yet.
    #[error(
        "the database has no checkpoint yet: there is nothing to adopt, the first one is signed by itself"
    )]
    Nothing,
    /// The checkpoint that somebody else holds is none of this log.
    #[error("the checkpoint that you hold is none of this log")]
    Held(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database is older than what somebody else holds.
    #[error(
        "the checkpoint that you hold has the size {held} and the newest in the database {newest}: an older database \
         was put back; restore the newest one, a log never gets shorter"
    )]
    Older {
        /// The size that is known.
        held: u64,
        /// The newest size in the database.
        newest: u64,
    },
    /// The keyring cannot be trusted.
    #[error("the keyring of the log cannot be trusted")]
    Keyring(#[from] KeyringError),
    /// The key is not good at the head.
    #[error(
        "the key {key} is not good as `log`; enrol a new one (`chancery key enroll`) and start again with it"
    )]
    Key {
        /// The key.
        key: KeyId,
        /// What is wrong with it.
        #[source]
        standing: Standing,
    },
    /// The file system failed.
    #[error("cannot use `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The note was not signed.
    #[error("the checkpoint was not signed")]
    Sign(#[from] NoteSignError),
    /// What was signed does not verify.
    #[error("the checkpoint that was just signed does not verify")]
    Note(#[from] checkpoint::CheckpointError),
    /// The memory has no canonical form.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Failure for CheckpointError {
    fn whose(&self) -> Cause {
        match self {
            Self::Missing { .. } | Self::Key { .. } | Self::Held(_) => Cause::Refused,
            Self::There { .. } | Self::Nothing => Cause::Conflict,
            Self::Ahead { .. } | Self::Older { .. } | Self::Fork { .. } | Self::Leaves { .. } => {
                Cause::Corrupt
            }
            Self::Broken { .. } | Self::Stored { .. } | Self::Keyring(_) => Cause::Corrupt,
            Self::Io { .. } | Self::Sign(_) => Cause::Unavailable,
            Self::Note(_) | Self::Canonical(_) => Cause::Corrupt,
            Self::Store(error) => store_cause(error),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "checkpoint.missing",
            Self::Ahead { .. } | Self::Older { .. } => "checkpoint.ahead",
            Self::There { .. } | Self::Nothing => "checkpoint.adopt",
            Self::Held(_) => "checkpoint.broken",
            Self::Keyring(_) => "trust.keyring",
            Self::Fork { .. } | Self::Leaves { .. } => "checkpoint.fork",
            Self::Broken { .. } | Self::Stored { .. } => "checkpoint.broken",
            Self::Io { .. } => "checkpoint.io",
            Self::Key { .. } | Self::Sign(_) | Self::Note(_) | Self::Canonical(_) => "runtime.key",
            Self::Store(error) => store_code(error),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Store(error) => store_detail(error),
            _ => "the head of the log cannot be signed; the operator's log says why".to_owned(),
        }
    }
}
