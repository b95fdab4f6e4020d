//! Override cases: what people say to a decision that policy left to them (formats §4.2, §4.3).
//!
//! ```text
//! decision pending_override ─► pending ── override (n of quorum) ── override ─┬─► approved
//!                                 │                              reject ──────┼─► rejected
//!                                 └── nobody in time ── expire_due ───────────┴─► expired
//! ```
//! A case is no row: it is the decision's log entry with the overrides about it and, in the end, a resolution. What
//! it is in is derived from those alone each time, by the rule of the bundle that decided. An approver signs with
//! their own key a [statement](crate::Runtime::override_statement) that the runtime drafts; whatever comes back is judged
//! as an auditor would, [one stable code](OverrideError) for each fault. The override that ends a case is logged with
//! the runtime's resolution in one transaction, and the log writer judges once more which of two comes first.

mod brief;
mod case;
mod error;
mod expire;
mod queue;
mod submit;

#[cfg(test)]
mod tests;

pub use brief::{Brief, BriefCandidate, BriefPolicy, BriefSignals, Earlier};
pub use case::{Case, CaseState, Ended, Given};
pub use error::OverrideError;
pub(crate) use expire::Due;
pub use expire::Expired;
pub use queue::{QUEUE_PAGE_MAX, QueueFilter, QueuePage};
pub use submit::{AHEAD_MS, OverrideRequest, Submitted};
