//! The use cases of Chancery: what happens between a request and its answer.
//!
//! | module | use case |
//! |---|---|
//! | [`mod@init`] | a new log: keys, keyring, settings, the first bundles |
//! | [`execute`] | decide, sign, record, answer; or answer again |
//! | [`batch`] | many of them in order, in bounded memory |
//! | [`bundles`] | sign, verify, publish and activate policy bundles |
//! | [`checkpoint`] | sign the head of the log |
//! | [`nodes`] | share work and rules with other nodes on the same database |
//! | [`trust`] | sign and log keyring versions |
//! | [`overrides`] | what people say to a decision that policy left to them |
//! | [`export`] | write evidence for an auditor |
//! | [`records`] | read what was recorded |
//! | [`confirm`] | record what was really done |
//! | [`verifications`] | verify recorded decisions, and record that |
//! | [`lineage`] | everything about an execution in one answer |
//! | [`explain`], [`replay`] | say why, and evaluate recorded signals again |
//! | [`mod@build`] | verify the release that decides, and log it |
//! | [`provenance`] | where a decision comes from, as it was when it was made |
//! | [`credentials`] | API keys: who may call; and what was refused |
//! | [`fsck`] | check the store against its log |
//! | [`home`], [`keys`], [`vault`] | private keys on disk, secrets in the database |
//!
//! Knows no HTTP, no configuration, no clock and no random source: paths, passwords, [`Clock`] and [`Entropy`] are
//! given by the program. Everything fails closed: what cannot be recorded is not answered, what cannot be verified
//! is not used. Failures are sorted by [`failure::Cause`], and have one text for the caller and one for the
//! operator; neither ever holds the value of a signal.

pub mod answer;
pub mod batch;
pub mod build;
pub mod bundles;
pub mod checkpoint;
pub mod condition;
pub mod confirm;
pub mod credentials;
pub mod edge;
pub mod error;
pub mod execute;
pub mod explain;
pub mod export;
pub mod failure;
pub mod fsck;
pub mod home;
pub mod init;
pub mod keys;
pub mod lineage;
pub mod nodes;
pub mod overrides;
mod pool;
pub mod provenance;
mod recorded;
pub mod records;
pub mod replay;
pub mod request;
pub mod runtime;
pub mod span;
pub mod trust;
pub mod vault;
pub mod verifications;
pub mod vitals;

#[cfg(test)]
mod testing;

pub use answer::{Answer, AnswerPolicy, Evaluated, LogPosition};
pub use build::BuildFiles;
pub use chancery_core::statement::Environment;
pub use chancery_store::Location;
pub use edge::{Clock, Entropy, EntropyError};
pub use error::{ExecuteError, RuntimeKeyError};
pub use execute::Caller;
pub use failure::{Cause, Failure, Fault};
pub use home::Home;
pub use keys::{KeyName, ServerKeys};
pub use nodes::Work;
pub use runtime::{OpenError, Options, Runtime};

/// The version that decisions name as `runtime.version`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
