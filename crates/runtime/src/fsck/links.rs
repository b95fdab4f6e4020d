//! Links between decisions and their verifications, both ways.
//!
//! ```text
//! entry of kind 4 ── subject: id, H(PAE); fingerprint ──> the decision, logged before it
//!        ╲── its row in `verifications`, which says the same ──╱         a row without such an entry is an orphan
//! ```

use super::{Check, FsckReport};
use chancery_core::ids::ExecutionId;
use chancery_core::log::Kind;
use chancery_core::statement::{CheckResult, Statement, Verification};
use chancery_store::{Entry, StoreError, Unverified, VerificationRow};
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
        let verifications = entries.iter().filter(|entry| entry.kind == Kind::Verification);
        let verifications: Vec<_> = verifications
            .map(|entry| (entry, Statement::<Verification>::parse_unverified(&entry.payload)))
            .collect();
        let about = verifications.iter().filter_map(|(_, statement)| statement.as_ref().ok());
        let decisions =
            self.decisions_of(about.map(|statement| &statement.predicate.execution_id), report)?;
        for (entry, statement) in verifications {
            report.verifications += 1;
            let row = rows.remove(&entry.index);
            match statement {
                Ok(statement) => {
                    if let Some(decisions) = &decisions {
                        leads(entry, &statement, decisions, report);
                    }
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

    /// The decisions that the verifications of a page are about, by their ids; none where one of them cannot be read. That
    /// payloads hash to their record ids is seen where their own entries are read.
    fn decisions_of<'a>(
        &self,
        ids: impl Iterator<Item = &'a ExecutionId>,
        report: &mut FsckReport,
    ) -> Result<Option<HashMap<ExecutionId, Unverified>>, StoreError> {
        let ids: BTreeSet<_> = ids.cloned().collect();
        let ids: Vec<_> = ids.into_iter().collect();
        match self.snapshot.read(|reader| reader.to_verify(&ids)) {
            Ok(rows) => Ok(Some(rows.into_iter().map(|row| (row.execution_id.clone(), row)).collect())),
            Err(error) if matches!(error, StoreError::Corrupt { .. }) => {
                report.failed(None, "a decision that was verified", &error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether a verification leads to its decision.
fn leads(
    entry: &Entry,
    statement: &Statement<Verification>,
    decisions: &HashMap<ExecutionId, Unverified>,
    report: &mut FsckReport,
) {
    let id = &statement.predicate.execution_id;
    let Some(decision) = decisions.get(id) else {
        report.problem(entry.index, format!("an orphan: it verifies `{id}`, which was never decided"));
        return;
    };
    let same = statement.decision() == Some(decision.record_id)
        && statement.predicate.execution_fingerprint == decision.fingerprint;
    if !same || decision.index >= entry.index {
        report.problem(
            entry.index,
            format!("an orphan: what it verifies is not the decision `{id}` of this log"),
        );
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
