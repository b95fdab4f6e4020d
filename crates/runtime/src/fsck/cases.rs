//! Overrides and resolutions against their rows, both ways.
//!
//! The columns are what auditors' SQL and the lists read; what was signed is the payload. Each says the same, or it is
//! a problem; so is a row without an entry, and an entry without a row.

use super::{Check, FsckReport};
use chancery_core::log::Kind;
use chancery_core::statement::{Override, OverrideResolution, Resolution, Statement};
use chancery_store::{CaseRow, Columns, Entry, StoreError};
use std::collections::BTreeMap;
use std::ops::Range;

impl Check<'_> {
    /// The overrides and resolutions among `entries`, which are those of `range`, and the rows of that range.
    pub(super) fn cases(
        &self,
        range: Range<u64>,
        entries: &[Entry],
        report: &mut FsckReport,
    ) -> Result<(), StoreError> {
        let rows = self.snapshot.read(|reader| reader.case_rows(range))?;
        let mut rows: BTreeMap<u64, CaseRow> = rows.into_iter().map(|row| (row.index, row)).collect();
        for entry in entries {
            let signed = match entry.kind {
                Kind::Override => Statement::<Override>::parse_unverified(&entry.payload)
                    .map(|statement| ("overrides", columns_of_override(entry, statement.predicate))),
                Kind::Resolution => Statement::<Resolution>::parse_unverified(&entry.payload)
                    .map(|statement| ("resolutions", columns_of_resolution(statement.predicate))),
                _ => continue,
            };
            let row = rows.remove(&entry.index);
            match (signed, row) {
                (Err(error), _) => report.failed(entry.index, "the entry of an override case", &error),
                (Ok((table, _)), None) => {
                    report.problem(entry.index, format!("the entry has no row in `{table}`"));
                }
                (Ok((table, _)), Some(row)) if row.table != table => {
                    report.problem(entry.index, format!("the entry has a row in `{}`", row.table));
                }
                (Ok((table, signed)), Some(row)) => {
                    for (column, value) in signed {
                        if row.columns.get(column) != Some(&value) {
                            let what = format!("the column `{column}` of `{table}` is not what was signed");
                            report.problem(entry.index, what);
                        }
                    }
                }
            }
        }
        for row in rows.into_values() {
            report.problem(row.index, format!("a row of `{}` has no such entry in the log", row.table));
        }
        Ok(())
    }
}

fn columns_of_override(entry: &Entry, signed: Override) -> Columns {
    let resolution = match signed.resolution {
        OverrideResolution::Approve => "approve",
        OverrideResolution::Reject => "reject",
    };
    BTreeMap::from([
        ("record_id", Some(entry.record_id.to_string())),
        ("execution_id", Some(signed.execution_id.to_string())),
        ("execution_fingerprint", Some(signed.execution_fingerprint.to_string())),
        ("approver", Some(signed.approver)),
        ("role", Some(signed.role)),
        ("resolution", Some(resolution.to_owned())),
        ("outcome", signed.outcome),
        ("reason", Some(signed.reason)),
        ("reason_code", Some(signed.reason_code)),
        ("issued_at", Some(signed.issued_at.to_string())),
        ("expires_at", Some(signed.expires_at.to_string())),
        ("nonce", Some(signed.nonce.to_string())),
    ])
}

fn columns_of_resolution(signed: Resolution) -> Columns {
    BTreeMap::from([
        ("execution_id", Some(signed.execution_id.to_string())),
        ("execution_fingerprint", Some(signed.execution_fingerprint.to_string())),
        ("resolution", Some(signed.resolution.as_str().to_owned())),
        ("final_outcome", Some(signed.final_outcome)),
        ("resolved_at", Some(signed.resolved_at.to_string())),
    ])
}
