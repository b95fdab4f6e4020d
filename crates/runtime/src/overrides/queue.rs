//! The approvers' queue: cases by what they are in, for a role, by when they end.

use super::case::{Case, CaseState};
use super::error::OverrideError;
use crate::runtime::Runtime;
use chancery_core::statement::{ExecutionState, ResolutionStatus};
use chancery_core::time::Timestamp;
use chancery_store::{Cursor, DecisionFilter, Order};
use serde::Serialize;

/// Cases that are looked at for one page, whether they are shown or not.
const LOOKED_AT_MAX: u32 = 5_000;
/// The most cases of a page.
pub const QUEUE_PAGE_MAX: u32 = 200;

/// Which cases are meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QueueFilter {
    /// What they are in.
    pub state: CaseState,
    /// A role that their rule counts.
    pub role: Option<String>,
    /// They end before this instant.
    pub due_before: Option<Timestamp>,
}

impl Default for QueueFilter {
    fn default() -> Self {
        Self { state: CaseState::Pending, role: None, due_before: None }
    }
}

/// A page of cases.
#[derive(Clone, Debug, Serialize)]
pub struct QueuePage {
    /// Those that wait the longest first; of ended ones the newest decision first.
    pub items: Vec<Case>,
    /// `after` of the next page, if there may be one; a page can be short, or empty, and not be the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Runtime {
    /// A page of at most `limit` cases (1 to 200), from where `after` says. A case whose time is over and that nobody
    /// has ended yet is still pending.
    ///
    /// # Errors
    /// [`OverrideError`]; a cursor that this list did not give out is the caller's.
    pub fn override_queue(
        &self,
        filter: &QueueFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<QueuePage, OverrideError> {
        let inner = &self.inner;
        let now = inner.clock.now();
        let limit = limit.clamp(1, QUEUE_PAGE_MAX);
        let (decisions, order) = match filter.state {
            CaseState::Pending => (
                DecisionFilter { state: Some(ExecutionState::PendingOverride), ..DecisionFilter::default() },
                Order::OldestFirst,
            ),
            CaseState::Approved => (resolved(ResolutionStatus::Approved), Order::NewestFirst),
            CaseState::Rejected => (resolved(ResolutionStatus::Rejected), Order::NewestFirst),
            CaseState::Expired => (resolved(ResolutionStatus::Expired), Order::NewestFirst),
        };
        let mut cursor = after.map(str::parse::<Cursor>).transpose()?;
        let mut items = Vec::new();
        let mut looked_at = 0;
        loop {
            let (page, versions) = inner.store.read(|reader| {
                Ok((reader.decisions(&decisions, order, cursor, limit)?, reader.keyring_versions()?))
            })?;
            let keyring = inner.keyring_of(&versions)?;
            for summary in &page.items {
                let loaded = inner.bundle_of(summary)?;
                let role = |role: &String| {
                    loaded.bundle.manifest().overrides().is_some_and(|own| own.rule().roles.contains(role))
                };
                let due = |before: &Timestamp| inner.due_of(summary).is_ok_and(|due| due < *before);
                if !filter.role.as_ref().is_none_or(role) || !filter.due_before.as_ref().is_none_or(due) {
                    continue;
                }
                // INVARIANT: decisions are never removed; the case may have ended since the page was read.
                let record = inner.store.read(|reader| reader.case(&summary.execution_id))?;
                let Some(record) = record else { continue };
                let case = inner.case(record, &keyring, now)?;
                if case.state == filter.state {
                    items.push(case);
                }
                if items.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
                    return Ok(QueuePage { items, next: Some(Cursor::after(summary.index).to_string()) });
                }
            }
            looked_at += limit;
            cursor = page.next;
            if cursor.is_none() || looked_at >= LOOKED_AT_MAX {
                return Ok(QueuePage { items, next: cursor.map(|cursor| cursor.to_string()) });
            }
        }
    }
}

fn resolved(status: ResolutionStatus) -> DecisionFilter {
    DecisionFilter { resolution: Some(status), ..DecisionFilter::default() }
}
