//! Links between decisions and their verifications, both ways.
//!
//! ```text
//! entry of kind 4 ── subject: id, H(PAE); fingerprint ──> the decision, logged before it
//!        ╲── its row in `verifications`, which says the same ──╱         a row without such an entry is an orphan
//! ```

use super::{Check, FsckReport};
use chancery_core::log::Kind;
use chancery_core::statement::{CheckResult, Statement, Verification};
use chancery_store::{Entry, StoreError, VerificationRow};
use std::collections::BTreeMap;
use std::ops::Range;

impl Check<'_> {
    /// The verifications among `entries`, which are those of `range`, and the rows of that range.
    pub(super) fn verifications(
        &self,
        range: Range<u64>,
        entries: &[Entry],
        report: &mut FsckReport,
    ) -> Result<(), StoreError> {
        let mut rows = match self.snapshot.read(|reader| reader.verification_rows(range)) {
            Ok(rows) => rows.into_iter().map(|row| (row.index, row)).collect::<BTreeMap<_, _>>(),
            Err(error) if matches!(error, StoreError::Corrupt { .. }) => {
                report.failed(None, "the table of verifications", &error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for entry in entries.iter().filter(|entry| entry.kind == Kind::Verification) {
            report.verifications += 1;
            let row = rows.remove(&entry.index);
            match Statement::<Verification>::parse_unverified(&entry.payload) {
                Ok(statement) => {
                    self.decision_of(entry, &statement, report)?;
                    match row {
                        Some(row) => differences(&row, entry, &statement.predicate, report),
                        None => {
                            report.problem(entry.index, "the verification has no row in `verifications`");
                        }
                    }
                }
                Err(error) => report.failed(entry.index, "the verification", &error),
            }
        }
        for index in rows.into_keys() {
            report.problem(index, "a row of `verifications` has no verification in the log");
        }
        Ok(())
    }

    /// The decision that a verification is about.
    fn decision_of(
        &self,
        entry: &Entry,
        statement: &Statement<Verification>,
        report: &mut FsckReport,
    ) -> Result<(), StoreError> {
        let id = &statement.predicate.execution_id;
        let decision = match self.snapshot.read(|reader| reader.decision(id)) {
            Ok(decision) => decision,
            Err(error) if matches!(error, StoreError::Corrupt { .. }) => {
                report.failed(entry.index, "the decision that was verified", &error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let Some(decision) = decision else {
            report.problem(entry.index, format!("an orphan: it verifies `{id}`, which was never decided"));
            return Ok(());
        };
        let same = statement.decision() == Some(decision.entry.record_id)
            && statement.predicate.execution_fingerprint == decision.summary.fingerprint;
        if !same || decision.summary.index >= entry.index {
            report.problem(
                entry.index,
                format!("an orphan: what it verifies is not the decision `{id}` of this log"),
            );
        }
        Ok(())
    }
}

/// Says which columns are not what was signed.
fn differences(row: &VerificationRow, entry: &Entry, verification: &Verification, report: &mut FsckReport) {
    let passed = |id: &str| {
        let check = verification.checks.iter().find(|check| check.id == id)?;
        match check.result {
            CheckResult::Pass => Some(true),
            CheckResult::Fail => Some(false),
            CheckResult::Unknown => None,
        }
    };
    for (column, same) in [
        ("execution_id", row.execution_id == verification.execution_id),
        ("execution_fingerprint", row.fingerprint == verification.execution_fingerprint),
        ("verdict", row.verdict == verification.verdict),
        ("signature_verified", row.signature_verified == passed("envelope.signature")),
        ("runtime_verified", row.runtime_verified == passed("build.binding")),
        ("schema_compatible", row.schema_compatible == passed("statement.schema")),
        ("verified_at", row.verified_at == verification.verified_at),
        ("verifier", row.verifier == verification.verifier),
    ] {
        if !same {
            report.problem(
                entry.index,
                format!("the column `{column}` of `verifications` is not what was signed"),
            );
        }
    }
}
