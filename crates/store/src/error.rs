//! What can go wrong in the store, sorted by whose fault it is.
//!
//! SQLite reports most of its troubles as text; [`StoreError::database`] sorts the ones that an operator can do
//! something about (full disk, read-only file, damaged file) into variants of their own.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use chancery_core::digest::BundleHash;
use chancery_core::ids::{PolicyId, PolicyVersion};
use diesel::result::Error as DieselError;

/// Whose fault a [`StoreError`] is, and so what to answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// The store cannot serve now: full disk, read-only file, locked by another process. Try again.
    Unavailable,
    /// What is stored does not hold together. Stop and look.
    Corrupt,
    /// What is asked for contradicts what is stored.
    Conflict,
    /// The caller asked for something impossible.
    Caller,
}

/// An error of the store. Nothing was written when a write returns one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the store open.
    #[error(
        "the store `{path}` is in use{by}: stop the other process, or use its HTTP interface (reading with sqlite3 is fine)",
        path = path.display(),
        by = pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
    )]
    Locked {
        /// The database file.
        path: PathBuf,
        /// The process that holds the lock, as far as it has said so.
        pid: Option<u32>,
    },
    /// The file, or its folder, cannot be written.
    #[error("the store cannot be written, it is read-only: check the file, its folder and the mount")]
    ReadOnly,
    /// There is no room left. Nothing was written.
    #[error("the store cannot be written, the disk is full: free some space")]
    Full,
    /// SQLite could not get its lock within the time-out: some program holds a write transaction open.
    #[error("the store is busy: another program holds a transaction open on the database")]
    Busy,
    /// Reading or writing a file failed.
    #[error("cannot {doing} `{path}`", path = path.display())]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// Any other failure of the database.
    #[error("the database failed to {doing}")]
    Database {
        /// What was tried, as a verb.
        doing: &'static str,
        /// SQLite's reason.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The log writer is gone; nothing can be recorded until the process is started again.
    #[error("the log writer has stopped: restart the process")]
    WriterGone,
    /// The store was opened for reading alone.
    #[error("the store is open for reading only")]
    ReadingOnly,
    /// A step hook said that this step fails (tests only).
    #[error("stopped at a step on purpose")]
    Stopped,

    /// What was read is not what this program writes.
    #[error("the table `{table}` is damaged at `{key}`: do not go on")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The row: log index, id or other key, as text.
        key: String,
        /// What does not fit.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The file itself is damaged.
    #[error("the database file is damaged: {message}")]
    CorruptFile {
        /// SQLite's words.
        message: String,
    },

    /// The store was initialised before.
    #[error("`{store}` is a store already: choose another place")]
    AlreadyInitialised {
        /// The database file, or database and tenant.
        store: String,
    },
    /// A published version has other content.
    #[error(
        "`{policy}@{version}` was published with other content ({published}): a version never changes, publish a new one"
    )]
    BundlePublished {
        /// The policy.
        policy: PolicyId,
        /// The version.
        version: PolicyVersion,
        /// The hash of the content that was published.
        published: BundleHash,
    },
    /// A checkpoint of this size is stored, with other bytes.
    #[error("another checkpoint of size {size} is stored: the log has forked, do not go on")]
    CheckpointStored {
        /// The tree size.
        size: u64,
    },
    /// A tenant key of this purpose is stored; such keys are never rotated.
    #[error("the tenant has a `{purpose}` key already")]
    TenantKeyStored {
        /// What the key is for.
        purpose: String,
    },

    /// There is no database there.
    #[error("there is no store at `{store}`")]
    NotThere {
        /// The database file, or database and tenant.
        store: String,
    },
    /// A database on a server has many tenants.
    #[error("a database on a server has a log for each tenant, and none was named")]
    WhichTenant,
    /// The file is something else.
    #[error("`{path}` is not a Chancery store", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer program has migrated the store.
    #[error("the store was made by a newer version of this program (migration `{migration}`): update it")]
    Newer {
        /// The newest migration that the file has and this program does not know.
        migration: String,
    },
    /// The database lacks a migration, and this role may not apply it.
    #[error(
        "the database lacks the migration `{migration}`, and this role may not apply it: run `chancery db migrate` as \
         the role that owns the tables"
    )]
    Older {
        /// The first migration that is missing.
        migration: String,
        /// What the server said.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The path cannot be given to SQLite.
    #[error("the path `{path}` is not UTF-8", path = path.display())]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// A payload beyond what the evidence format can carry.
    #[error("the record is {bytes} bytes long, {max} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A cursor that this store did not give out.
    #[error("`{cursor}` is not a cursor of this list")]
    Cursor {
        /// What was given.
        cursor: String,
    },
    /// A size or index beyond the log, or a range that ends before it begins.
    #[error("{asked} lies outside the log, whose size is {size}")]
    OutOfRange {
        /// What was asked for.
        asked: u64,
        /// The log's size.
        size: u64,
    },
}

impl StoreError {
    /// Whose fault it is.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Locked { .. }
            | Self::ReadOnly
            | Self::Full
            | Self::Busy
            | Self::Io { .. }
            | Self::Database { .. }
            | Self::WriterGone
            | Self::ReadingOnly
            | Self::Stopped => Class::Unavailable,
            Self::Corrupt { .. } | Self::CorruptFile { .. } => Class::Corrupt,
            Self::AlreadyInitialised { .. }
            | Self::BundlePublished { .. }
            | Self::CheckpointStored { .. }
            | Self::TenantKeyStored { .. } => Class::Conflict,
            Self::NotThere { .. }
            | Self::WhichTenant
            | Self::Foreign { .. }
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::Path { .. }
            | Self::TooLarge { .. }
            | Self::Cursor { .. }
            | Self::OutOfRange { .. } => Class::Caller,
        }
    }

    /// Whether a server may have done what was asked all the same: it failed, or its answer was lost.
    pub(crate) fn is_in_doubt(&self) -> bool {
        matches!(self, Self::Database { .. } | Self::Busy)
    }

    /// Sorts a database error by SQLite's fixed texts, which diesel passes on without the result code.
    pub(crate) fn database(doing: &'static str, error: DieselError) -> Self {
        if let DieselError::DatabaseError(_, information) = &error
            && let Some(sorted) = Self::from_message(information.message())
        {
            return sorted;
        }
        Self::Database { doing, source: Box::new(error) }
    }

    /// The errors of SQLite that have a variant of their own, by its words for them (sqlite3ErrStr).
    pub(crate) fn from_message(message: &str) -> Option<Self> {
        if message.contains("readonly database") {
            Some(Self::ReadOnly)
        } else if message.contains("disk is full") {
            Some(Self::Full)
        } else if message.contains("database is locked") || message.contains("table is locked") {
            Some(Self::Busy)
        } else if message.contains("malformed") || message.contains("file is not a database") {
            Some(Self::CorruptFile { message: message.to_owned() })
        } else {
            None
        }
    }

    /// A row that does not parse.
    pub(crate) fn corrupt(
        table: &'static str,
        key: impl ToString,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::Corrupt { table, key: key.to_string(), source: source.into() }
    }
}

/// `?` inside diesel's transactions needs this; the places that know more sort it themselves.
impl From<DieselError> for StoreError {
    fn from(error: DieselError) -> Self {
        Self::database("run a statement", error)
    }
}
