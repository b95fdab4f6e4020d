//! Decisions: the row against the statement, and with `full` the fingerprint and the opening.

use super::{Check, FsckReport, PAGE};
use chancery_core::commitment::{Opening, fingerprint};
use chancery_core::json::{self, Limits};
use chancery_core::statement::Decision;
use chancery_store::{Cursor, DecisionFilter, DecisionSummary, Entry, Order, StoreError};

impl Check<'_> {
    /// The fingerprint, and the opening where there is one.
    pub(super) fn decision(
        &self,
        entry: &Entry,
        decision: &Decision,
        report: &mut FsckReport,
    ) -> Result<(), StoreError> {
        let candidates_root = decision.candidates.as_ref().map(|candidates| candidates.candidates_root);
        let expected = fingerprint(
            &decision.policy.bundle_hash,
            &decision.policy.id,
            &decision.policy.version,
            &decision.principal,
            &decision.resource,
            &decision.signals_root,
            candidates_root.as_ref(),
        );
        if expected != decision.execution_fingerprint {
            report.problem(entry.index, "the fingerprint does not follow from the statement");
        }
        let Some(key) = &self.openings else { return Ok(()) };
        let Some(sealed) = self.snapshot.read(|reader| reader.opening(entry.index))? else { return Ok(()) };
        let plain = match key.open(&entry.record_id, &sealed.opening) {
            Ok(plain) => plain,
            Err(error) => {
                report.failed(entry.index, "the opening", &error);
                return Ok(());
            }
        };
        let opening = json::parse(&plain, Limits::EVIDENCE_LINE).map_err(Into::into).and_then(Opening::parse);
        match opening.and_then(|opening| opening.roots()) {
            Ok(roots) if roots == (decision.signals_root, candidates_root) => report.openings += 1,
            Ok(_) => report.problem(entry.index, "the opening does not lead to the committed roots"),
            Err(error) => report.failed(entry.index, "the opening", &error),
        }
        Ok(())
    }
}

/// The rows of decisions, read in pages beside the entries.
#[derive(Default)]
pub(super) struct Rows {
    page: std::collections::VecDeque<DecisionSummary>,
    after: Option<Cursor>,
    ended: bool,
    /// Whether the settings' environment was told to be another one.
    told: bool,
}

impl Rows {
    fn next(
        &mut self,
        check: &Check<'_>,
        report: &mut FsckReport,
    ) -> Result<Option<&DecisionSummary>, StoreError> {
        if self.page.is_empty() && !self.ended {
            let limit = u32::try_from(PAGE).unwrap_or(u32::MAX);
            let page = check.snapshot.read(|reader| {
                reader.decisions(&DecisionFilter::default(), Order::OldestFirst, self.after, limit)
            });
            match page {
                Ok(page) => {
                    self.ended = page.next.is_none();
                    self.after = page.next;
                    self.page.extend(page.items);
                }
                Err(error) if matches!(error, StoreError::Corrupt { .. }) => {
                    report.failed(None, "the table of decisions", &error);
                    self.ended = true;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(self.page.front())
    }

    /// Compares the row at `index` with what was signed.
    pub(super) fn compare(
        &mut self,
        check: &Check<'_>,
        index: u64,
        decision: &Decision,
        report: &mut FsckReport,
    ) -> Result<(), StoreError> {
        if !self.told && decision.environment != check.records.settings().environment {
            self.told = true;
            report
                .problem(index, "the column `environment` of `settings` is not what was signed from here on");
        }
        while let Some(row) = self.next(check, report)?
            && row.index < index
        {
            let index = row.index;
            report.problem(index, "a row of `decisions` has no decision in the log");
            self.page.pop_front();
        }
        match self.next(check, report)? {
            Some(row) if row.index == index => {
                for column in differences(row, decision) {
                    report.problem(
                        index,
                        format!("the column `{column}` of `decisions` is not what was signed"),
                    );
                }
                self.page.pop_front();
            }
            _ => report.problem(index, "the decision has no row in `decisions`"),
        }
        Ok(())
    }

    pub(super) fn rest(&mut self, check: &Check<'_>, report: &mut FsckReport) -> Result<(), StoreError> {
        while let Some(row) = self.next(check, report)? {
            let index = row.index;
            report.problem(index, "a row of `decisions` has no decision in the log");
            self.page.pop_front();
        }
        Ok(())
    }
}

fn differences(row: &DecisionSummary, decision: &Decision) -> Vec<&'static str> {
    let labels = decision.labels.clone().unwrap_or_default();
    [
        ("execution_id", row.execution_id == decision.execution_id),
        ("execution_fingerprint", row.fingerprint == decision.execution_fingerprint),
        ("policy_id", row.policy_id == decision.policy.id),
        ("policy_version", row.policy_version == decision.policy.version),
        ("bundle_hash", row.bundle_hash == decision.policy.bundle_hash),
        ("outcome", row.outcome == decision.decision.outcome),
        ("execution_state", row.state == decision.execution_state),
        ("executed_at", row.executed_at == decision.executed_at),
        ("principal", row.principal == decision.principal),
        ("resource", row.resource == decision.resource),
        ("signals_root", row.signals_root == decision.signals_root),
        ("build_identity", row.build_identity == decision.runtime.build_identity),
        ("labels", row.labels == labels),
    ]
    .into_iter()
    .filter_map(|(column, same)| (!same).then_some(column))
    .collect()
}
