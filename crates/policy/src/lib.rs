//! Policy bundles: Cedar policies, a schema and a manifest, loaded from bytes, checked, and evaluated.
//!
//! ```text
//! files ── Bundle::from_files ──> Bundle ── type_signals ──> Signals ── evaluate ──> Evaluation
//!          every fault at once     │
//!                                  └─ bundle.sum ── SHA-256 ──> bundle hash
//! ```
//!
//! Follows `docs/spec/formats.md`, sections 2, 4.1, 4.5 and 7, and Cedar 4.14.1. Pure: no clock, no random source,
//! no file, no socket. The same files and signals give the same evaluation, byte for byte, on every machine that
//! has the stack that [`limits`] speaks of.
//!
//! It does not verify the signature over `bundle.sum`, and it does not say which bundle is in force.

pub mod bundle;
pub mod cases;
pub mod describe;
pub mod evaluate;
pub mod explain;
pub mod fault;
pub mod limits;
pub mod manifest;
pub mod sum;

mod condition;
mod context;
mod entities;
mod guard;
mod policies;
mod schema;
#[cfg(test)]
mod testing;
mod text;

pub use bundle::Bundle;
pub use describe::{DescribedPolicy, OutcomePolicies};
pub use evaluate::{CandidateVerdicts, Evaluation};
pub use explain::{Audience, Disclosed, Explanation};
pub use fault::{BundleError, Cause, Fault, Place};
pub use manifest::Manifest;
pub use sum::{hash_of, sum};

/// Name and exact version of the policy engine, as every decision names it.
pub const ENGINE: &str = "cedar-policy/4.14.1";
