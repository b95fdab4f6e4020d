//! The HTTP API: `/v1` for callers, and a port of its own for operators.
//!
//! ```text
//! connection ─ serve: header time-out, how many at once
//!   request ─ layers: request id, log line and metrics, security headers, panics
//!     ─ access: who is it, may they, whose log, how long    one table, one place
//!       ─ handler: body or query ─ use case ─ answer         a file for each subject
//!                                      └ failure ─ error: problem document (RFC 9457)
//! ```
//! [`router`] and [`operator_router`] are made from a [`State`]; [`serve::serve`] accepts connections for them.
//! Handlers take bytes apart and put answers together; what happens in between is `chancery-runtime`'s. Routes and
//! their documentation are declared once, with the handler; `/v1/openapi.json` is made from that.

mod access;
mod batch;
mod body;
mod build;
mod confirmation;
mod decisions;
pub mod drain;
pub mod error;
mod explanation;
mod export;
pub(crate) mod health;
mod latency;
mod layers;
mod lineage;
mod list;
mod log;
pub mod metrics;
mod noting;
mod openapi;
mod overrides;
mod parameters;
mod policies;
mod problems;
mod process;
mod provenance;
mod publish;
mod replay;
pub mod schema;
mod security_events;
pub mod serve;
mod state;
mod stream;
mod trust;
mod verifications;
mod verify;

#[cfg(test)]
mod tests;

pub use access::{Authentication, ListenError, Log, TenantsError};
pub use layers::{operator_router, router};
pub use state::{Options, State};
