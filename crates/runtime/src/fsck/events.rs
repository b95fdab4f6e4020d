//! Entries against their rows, both ways: everything but decisions and verifications, which have more to compare.
//!
//! ```text
//! entry ── what was signed ──> columns == row         a row without such an entry, an entry without its row,
//! erasure ──> a row for each execution                a column that says something else: each is a problem
//! ```
//! The columns are what auditors' SQL and the lists read, and what decides which bundle is in force; what was signed is
//! the payload.

use super::{Check, FsckReport};
use chancery_core::digest::Digest;
use chancery_core::keyring::KeyringVersion;
use chancery_core::log::Kind;
use chancery_core::statement::{
    Activation, AnyStatement, BuildIdentity, Confirmation, ErasedFields, Erasure, Override,
    OverrideResolution, Resolution, Statement,
};
use chancery_store::{Columns, DecisionFilter, Entry, EventRow, StoreError};
use std::collections::BTreeMap;
use std::ops::Range;

/// A table and the columns that one row of it has to have.
type Expected = (&'static str, Columns);

impl Check<'_> {
    /// The events among `entries`, which are those of `range`, and the rows of that range.
    pub(super) fn events(
        &self,
        range: Range<u64>,
        entries: &[Entry],
        report: &mut FsckReport,
    ) -> Result<(), StoreError> {
        let mut rows: BTreeMap<u64, Vec<EventRow>> = BTreeMap::new();
        for row in self.snapshot.read(|reader| reader.event_rows(range))? {
            rows.entry(row.index).or_default().push(row);
        }
        for entry in entries {
            if matches!(entry.kind, Kind::Decision | Kind::Verification) {
                continue;
            }
            let rows = rows.remove(&entry.index).unwrap_or_default();
            match AnyStatement::parse_unverified(entry.kind, &entry.payload) {
                Ok(statement) => compare(entry.index, self.expected(entry, &statement)?, rows, report),
                Err(error) => report.failed(entry.index, "the entry", &error),
            }
        }
        for row in rows.into_values().flatten() {
            report.problem(row.index, format!("a row of `{}` has no such entry in the log", row.table));
        }
        Ok(())
    }

    /// The rows that an entry has to have.
    fn expected(&self, entry: &Entry, statement: &AnyStatement) -> Result<Vec<Expected>, StoreError> {
        let row = match statement {
            AnyStatement::Decision(_) | AnyStatement::Verification(_) => return Ok(Vec::new()),
            AnyStatement::Erasure(statement) => return self.erasure(statement),
            AnyStatement::Activation(statement) => ("activations", activation(entry, &statement.predicate)),
            AnyStatement::Keyring(statement) => ("keyrings", keyring(entry, &statement.predicate)),
            AnyStatement::BuildIdentity(statement) => ("build_identities", build(entry, statement)),
            AnyStatement::Override(statement) => ("overrides", answer(entry, &statement.predicate)),
            AnyStatement::Resolution(statement) => ("resolutions", resolution(&statement.predicate)),
            AnyStatement::Confirmation(statement) => ("confirmations", confirmation(&statement.predicate)),
        };
        Ok(vec![row])
    }

    /// The row of an erasure, and one for each of its executions.
    fn erasure(&self, statement: &Statement<Erasure>) -> Result<Vec<Expected>, StoreError> {
        let signed = &statement.predicate;
        let fields = match &signed.fields {
            ErasedFields::All => None,
            ErasedFields::Names(names) => Some(serde_json::json!(names).to_string()),
        };
        let columns = Columns::from([
            ("basis", Some(signed.basis.clone())),
            ("fields", fields),
            ("erased_at", Some(signed.erased_at.to_string())),
            ("requested_by", Some(signed.requested_by.clone())),
        ]);
        let mut expected = vec![("erasures", columns)];
        for (execution_id, _) in statement.executions() {
            let ids = execution_id.parse().into_iter().collect();
            let filter = DecisionFilter { execution_ids: ids, ..DecisionFilter::default() };
            let decision = self.snapshot.read(|reader| reader.decision_indexes(&filter, 0, 1))?.pop();
            let columns = Columns::from([
                ("execution_id", Some(execution_id.to_owned())),
                ("decision_index", decision.and_then(text)),
            ]);
            expected.push(("erasure_subjects", columns));
        }
        Ok(expected)
    }
}

fn text(value: impl ToString) -> Option<String> {
    Some(value.to_string())
}

fn activation(entry: &Entry, signed: &Activation) -> Columns {
    Columns::from([
        ("record_id", text(entry.record_id)),
        ("policy_id", text(&signed.policy_id)),
        ("policy_version", text(&signed.policy_version)),
        ("bundle_hash", text(signed.bundle_hash)),
        ("previous", signed.previous.and_then(text)),
        ("activated_at", text(signed.activated_at)),
        ("requested_by", text(&signed.requested_by)),
        ("reason", text(&signed.reason)),
    ])
}

fn keyring(entry: &Entry, signed: &KeyringVersion) -> Columns {
    Columns::from([
        ("version", text(signed.version)),
        ("record_id", text(entry.record_id)),
        ("issued_at", text(signed.issued_at)),
        ("expires_at", text(signed.expires_at)),
    ])
}

fn build(entry: &Entry, statement: &Statement<BuildIdentity>) -> Columns {
    Columns::from([
        ("payload_sha256", text(Digest::of(&entry.payload))),
        ("binary_sha256", statement.subject.first().and_then(|subject| text(subject.digest.sha256))),
    ])
}

fn answer(entry: &Entry, signed: &Override) -> Columns {
    let resolution = match signed.resolution {
        OverrideResolution::Approve => "approve",
        OverrideResolution::Reject => "reject",
    };
    Columns::from([
        ("record_id", text(entry.record_id)),
        ("execution_id", text(&signed.execution_id)),
        ("execution_fingerprint", text(signed.execution_fingerprint)),
        ("approver", text(&signed.approver)),
        ("role", text(&signed.role)),
        ("resolution", text(resolution)),
        ("outcome", signed.outcome.clone()),
        ("reason", text(&signed.reason)),
        ("reason_code", text(&signed.reason_code)),
        ("issued_at", text(signed.issued_at)),
        ("expires_at", text(signed.expires_at)),
        ("nonce", text(signed.nonce)),
    ])
}

fn resolution(signed: &Resolution) -> Columns {
    Columns::from([
        ("execution_id", text(&signed.execution_id)),
        ("execution_fingerprint", text(signed.execution_fingerprint)),
        ("resolution", text(signed.resolution.as_str())),
        ("final_outcome", text(&signed.final_outcome)),
        ("resolved_at", text(signed.resolved_at)),
    ])
}

fn confirmation(signed: &Confirmation) -> Columns {
    Columns::from([
        ("execution_id", text(&signed.execution_id)),
        ("execution_fingerprint", text(signed.execution_fingerprint)),
        ("outcome", text(&signed.outcome)),
        ("reference", text(&signed.reference)),
        ("executed_at", text(signed.executed_at)),
        ("confirmed_at", text(signed.confirmed_at)),
        ("confirmed_by", text(&signed.confirmed_by)),
    ])
}

/// Says what the rows of an entry are other than expected.
fn compare(index: u64, expected: Vec<Expected>, mut rows: Vec<EventRow>, report: &mut FsckReport) {
    for (table, columns) in expected {
        // Of an erasure's executions, the one that is meant.
        let meant = |row: &EventRow| {
            row.table == table
                && (table != "erasure_subjects"
                    || row.columns.get("execution_id") == columns.get("execution_id"))
        };
        let Some(at) = rows.iter().position(meant) else {
            report.problem(index, format!("the entry has no row in `{table}`"));
            continue;
        };
        let row = rows.swap_remove(at);
        for (column, value) in &columns {
            if row.columns.get(column) != Some(value) {
                report.problem(index, format!("the column `{column}` of `{table}` is not what was signed"));
            }
        }
    }
    for row in rows {
        report.problem(index, format!("a row of `{}` has no such entry in the log", row.table));
    }
}
