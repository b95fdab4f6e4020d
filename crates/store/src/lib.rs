//! Where Chancery keeps its records: the only crate that knows SQL.
//!
//! One SQLite file is one tenant, one process and one writer. Every record goes through the **log writer**
//! ([`Store::submit`]): one thread that takes whatever is queued, decides what may be logged, numbers it,
//! extends the Merkle tree, and commits all of it in one transaction before it answers anybody.
//!
//! ```text
//!  submit ──► bounded queue ──► log writer ── one transaction ──► answers
//!                                  │            log_entries, decisions, openings, …, log_tiles
//!                                  │            log_head (compare and swap)
//!                                  └──────────► checkpointer thread (moves the WAL into the file)
//!  read / snapshot ──► read connections (query_only), one read transaction each
//! ```
//!
//! - [`Store`] opens, writes and reads; [`Reader`] is everything that can be read, always inside one read
//!   transaction; [`Snapshot`] is such a transaction that is held for an export.
//! - Rows are inserted and never changed: triggers in the database refuse everything else
//!   (`migrations/sqlite`). What is read back is parsed into the types of [`chancery_core`]; what does not parse
//!   is [`StoreError::Corrupt`].
//! - This crate reads no clock and signs nothing: the time comes in with [`Options::clock`], and records come
//!   signed.

mod bundle;
mod checkpointer;
mod condition;
mod connection;
mod credentials;
mod database;
mod decision;
mod entry;
mod error;
mod file;
mod hook;
mod lease;
mod location;
mod lock;
pub mod measure;
mod migrate;
mod open;
mod postgres;
mod read;
mod reject;
mod schema;
mod snapshot;
mod value;
mod writer;

#[cfg(test)]
mod tests;

pub use self::bundle::{PublishedBundle, StoredBundle};
pub use self::condition::{Finding, Grade};
pub use self::credentials::{
    ApiKeyRow, ApiKeyStamp, EventKind, Revocation, SecurityEventFilter, SecurityEventRow,
};
pub use self::decision::{
    ConfirmationState, CurrentState, Cursor, DecisionFilter, DecisionPage, DecisionRecord, DecisionSummary,
    Order, Stats, StatsRow,
};
pub use self::entry::{
    Appended, Body, EncryptedOpening, ErasedExecution, NewActivation, NewBuildIdentity, NewConfirmation,
    NewDecision, NewEntry, NewErasure, NewKeyring, NewOverride, NewResolution, NewVerification,
    PAYLOAD_BYTES_MAX,
};
pub use self::error::{Class, StoreError};
pub use self::hook::{OnStep, Step, StepHook};
pub use self::location::Location;
pub use self::migrate::SchemaStep;
pub use self::open::{Clock, Options, Settings, Store};
pub use self::postgres::{PostgresUrl, PostgresUrlError};
pub use self::read::{
    Activation, BuildIdentityRecord, CaseRecord, Columns, Entry, EventRow, Head, InForce, OpenCases, Reader,
    StoredCheckpoint, StoredOpening, TenantKey, Unverified, VerdictCounts, VerificationFilter,
    VerificationPage, VerificationRow,
};
pub use self::reject::{Rejected, SubmitError};
pub use self::snapshot::{ENTRIES_PAGE, Entries, Selected, Snapshot};
pub use self::writer::{Expected, Ticket};
