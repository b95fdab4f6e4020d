//! Ending cases whose time is over.
//!
//! ```text
//! log ── decisions that wait, each read once ─► (due, execution id) in order ── due ≤ now ─► the case ─► resolution
//! ```
//! What is in memory only saves looking at every case each time. It is filled from the log, from the oldest open case on,
//! so nothing is lost with it; a case that somebody ended meanwhile is passed over when its time comes.

use super::error::OverrideError;
use crate::runtime::{Inner, Runtime};
use chancery_core::ids::ExecutionId;
use chancery_core::keyring::Keyring;
use chancery_core::statement::{ExecutionState, ResolutionStatus};
use chancery_core::time::Timestamp;
use chancery_store::{
    CaseRecord, Cursor, DecisionFilter, DecisionSummary, Order, Rejected, SubmitError, Ticket,
};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};

/// Cases that are read, and resolutions that are handed to the log writer, at once.
const AT_ONCE: u32 = 256;

/// The cases that wait, in order of their ends.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// The newest decision that was looked at.
    seen: Option<u64>,
    cases: BTreeSet<(Timestamp, ExecutionId)>,
}

/// What is done about a case that is looked at.
enum Queued {
    /// It is ended.
    Ending(Ticket, ResolutionStatus),
    /// It is not: it has ended already, or waits until then.
    Not { waits: Option<Timestamp> },
}

/// What came of a look at the clock.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Expired {
    /// Cases that were ended because nobody had.
    pub expired: u64,
    /// Cases that their overrides had ended already, and that had no resolution yet. A guard: the override that ends a case
    /// is logged with the resolution in one transaction, and afterwards answers can only cease to count. So there is none
    /// but where another version of the program judged otherwise.
    pub ended: u64,
}

impl Runtime {
    /// Ends every case whose time is over with a signed resolution. Blocks.
    ///
    /// Durable once it returns. May be called at any time and from several threads; costs next to nothing while
    /// nothing is due.
    ///
    /// # Errors
    /// The first [`OverrideError`]; the other cases are ended all the same, and those that failed are tried again at
    /// the next call.
    pub fn expire_due(&self) -> Result<Expired, OverrideError> {
        self.expire_due_while(&|| true)
    }

    /// [`Runtime::expire_due`], as long as `ours` says that it is this node's work: it is asked before each batch of cases.
    /// Cases that are left wait for the next call.
    ///
    /// # Errors
    /// As [`Runtime::expire_due`].
    pub fn expire_due_while(&self, ours: &dyn Fn() -> bool) -> Result<Expired, OverrideError> {
        let inner = &self.inner;
        let mut due = inner.due.lock().unwrap_or_else(PoisonError::into_inner);
        let now = inner.clock.now();
        let mut first = inner.look_for_cases(&mut due).err();
        let mut expired = Expired::default();
        let mut again = Vec::new();
        while ours() {
            let mut batch = Vec::new();
            while let Some(next) = due.cases.first().filter(|(at, _)| *at <= now).cloned()
                && batch.len() < usize::try_from(AT_ONCE).unwrap_or(usize::MAX)
            {
                due.cases.remove(&next);
                batch.push(next);
            }
            if batch.is_empty() {
                break;
            }
            inner.end_all(batch, now, &mut expired, |case, error| {
                again.push(case);
                first = first.take().or(error);
            });
        }
        due.cases.extend(again);
        if expired != Expired::default() {
            tracing::info!(expired = expired.expired, ended = expired.ended, "override cases ended");
        }
        first.map_or(Ok(expired), Err)
    }
}

impl Inner {
    /// Adds the cases of decisions that were made since the last time.
    fn look_for_cases(&self, due: &mut Due) -> Result<(), OverrideError> {
        let filter =
            DecisionFilter { state: Some(ExecutionState::PendingOverride), ..DecisionFilter::default() };
        let first_open = self.store.first_open_case()?;
        let mut first = None;
        loop {
            let after = Cursor::from_at_least(due.seen.map(Cursor::after), first_open);
            let page =
                self.store.read(|reader| reader.decisions(&filter, Order::OldestFirst, after, AT_ONCE))?;
            for summary in page.items {
                // A case whose bundle cannot be read is due at once, and said to be at every look.
                let at = self.due_of(&summary).unwrap_or_else(|error| {
                    first.get_or_insert(error);
                    summary.executed_at
                });
                due.seen = Some(summary.index);
                due.cases.insert((at, summary.execution_id));
            }
            if page.next.is_none() {
                return first.map_or(Ok(()), Err);
            }
        }
    }

    /// What the log has of these cases; none where one of them, or the keyring, cannot be read.
    fn read_together(
        &self,
        cases: &[(Timestamp, ExecutionId)],
    ) -> Option<(HashMap<ExecutionId, CaseRecord>, Arc<Keyring>)> {
        let ids: Vec<ExecutionId> = cases.iter().map(|(_, id)| id.clone()).collect();
        let read = self.store.read(|reader| Ok((reader.cases(&ids)?, reader.keyring_versions()?)));
        let (records, versions) = read.ok()?;
        let keyring = self.keyring_of(&versions).ok()?;
        let by_id = records.into_iter().map(|record| (record.decision.summary.execution_id.clone(), record));
        Some((by_id.collect(), keyring))
    }

    /// When a decision's case ends.
    pub(super) fn due_of(&self, summary: &DecisionSummary) -> Result<Timestamp, OverrideError> {
        let loaded = self.bundle_of(summary)?;
        let rule = loaded.bundle.manifest().overrides();
        rule.and_then(|rule| summary.executed_at.checked_add_ms(rule.expires_ms()))
            .ok_or_else(|| OverrideError::Rule { execution_id: summary.execution_id.clone() })
    }

    /// Ends cases, in as few transactions as the log writer makes of them. `later` gets those that still wait, each
    /// with the time to look again, and the error where there was one.
    fn end_all(
        &self,
        cases: Vec<(Timestamp, ExecutionId)>,
        now: Timestamp,
        expired: &mut Expired,
        mut later: impl FnMut((Timestamp, ExecutionId), Option<OverrideError>),
    ) {
        let mut tickets = Vec::with_capacity(cases.len());
        let mut read = self.read_together(&cases);
        for due in cases {
            let found = match read.as_mut().and_then(|(records, keyring)| {
                records.remove(&due.1).map(|record| (record, Arc::clone(keyring)))
            }) {
                Some(found) => Ok(found),
                // Alone, so that a damaged case says what is wrong with it and keeps no other one waiting.
                None => self.view(&due.1).map(|view| (view.record, view.keyring)),
            };
            let queued = found.and_then(|(record, keyring)| {
                let case = self.case(record, &keyring, now)?;
                let Some(ending) = case.ending(now) else {
                    let waits = case.resolution.is_none().then_some(case.due);
                    return Ok(Queued::Not { waits });
                };
                let status = ending.status;
                Ok(Queued::Ending(self.store.enqueue_blocking(self.resolution(&case, ending)?)?, status))
            });
            match queued {
                Ok(Queued::Ending(ticket, status)) => tickets.push((due, ticket, status)),
                // Its end was not known when it was found, and now it is.
                Ok(Queued::Not { waits: Some(at) }) => later((at, due.1), None),
                Ok(Queued::Not { waits: None }) => {}
                Err(error) => later(due, Some(error)),
            }
        }
        for (due, ticket, status) in tickets {
            match (ticket.wait(), status) {
                (Ok(_), ResolutionStatus::Expired) => expired.expired += 1,
                (Ok(_), _) => expired.ended += 1,
                (Err(SubmitError::Rejected(Rejected::Second { .. })), _) => {}
                (Err(error), _) => later(due, Some(error.into())),
            }
        }
    }
}
