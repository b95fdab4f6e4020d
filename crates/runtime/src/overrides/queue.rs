//! The approvers' queue: cases by what they are in, for a role, by when they end.
//!
//! Those that wait are looked for from the oldest open case on, so an empty queue costs nothing, however many cases there
//! ever were.

use super::case::{Case, CaseState};
use super::error::OverrideError;
use crate::runtime::{Inner, Runtime};
use chancery_core::statement::{ExecutionState, ResolutionStatus};
use chancery_core::time::Timestamp;
use chancery_store::{Cursor, DecisionFilter, DecisionSummary, Order};
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
        if filter.state == CaseState::Pending {
            cursor = Cursor::from_at_least(cursor, inner.store.first_open_case()?);
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut items = Vec::new();
        let mut looked_at = 0;
        loop {
            // Whole pages, however few are wanted: most may be for other roles.
            let (page, versions) = inner.store.read(|reader| {
                Ok((reader.decisions(&decisions, order, cursor, QUEUE_PAGE_MAX)?, reader.keyring_versions()?))
            })?;
            let keyring = inner.keyring_of(&versions)?;
            let mut wanted = Vec::with_capacity(page.items.len());
            for summary in &page.items {
                if inner.is_wanted(filter, summary)? {
                    wanted.push(summary.execution_id.clone());
                }
            }
            for wanted in wanted.chunks(limit) {
                let mut records = inner.store.read(|reader| reader.cases(wanted))?;
                if order == Order::NewestFirst {
                    records.reverse();
                }
                for record in records {
                    let index = record.decision.summary.index;
                    let case = inner.case(record, &keyring, now)?;
                    // It may have ended since the page was read.
                    if case.state == filter.state {
                        items.push(case);
                    }
                    if items.len() >= limit {
                        return Ok(QueuePage { items, next: Some(Cursor::after(index).to_string()) });
                    }
                }
            }
            looked_at += QUEUE_PAGE_MAX;
            cursor = page.next;
            if cursor.is_none() || looked_at >= LOOKED_AT_MAX {
                return Ok(QueuePage { items, next: cursor.map(|cursor| cursor.to_string()) });
            }
        }
    }
}

impl Inner {
    /// Whether the rule of a decision's bundle counts the role that is asked for, and ends the case by then.
    fn is_wanted(&self, filter: &QueueFilter, summary: &DecisionSummary) -> Result<bool, OverrideError> {
        if let Some(role) = &filter.role {
            let loaded = self.bundle_of(summary)?;
            let rule = loaded.bundle.manifest().overrides();
            if !rule.is_some_and(|own| own.rule().roles.contains(role)) {
                return Ok(false);
            }
        }
        Ok(filter.due_before.is_none_or(|before| self.due_of(summary).is_ok_and(|due| due < before)))
    }
}

fn resolved(status: ResolutionStatus) -> DecisionFilter {
    DecisionFilter { resolution: Some(status), ..DecisionFilter::default() }
}
