//! Override cases: a decision with what approvers said to it, and how that ended.

use std::collections::BTreeMap;
use std::ops::Range;

use chancery_core::ids::ExecutionId;
use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, RunQueryDsl as _};

use super::filter::{Value, query};
use super::{Entry, Reader};
use crate::decision::DecisionRecord;
use crate::error::StoreError;
use crate::value::{from_sql, to_sql};

/// A decision with the entries of its override case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CaseRecord {
    /// The decision.
    pub decision: DecisionRecord,
    /// The overrides, in order of the log.
    pub overrides: Vec<Entry>,
    /// How it ended, if it did.
    pub resolution: Option<Entry>,
}

/// The columns of a row by name, as text.
pub type Columns = BTreeMap<&'static str, Option<String>>;

/// A row about a case, for `fsck`: unparsed, since it may be damaged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CaseRow {
    /// The index of its entry.
    pub index: u64,
    /// `overrides` or `resolutions`.
    pub table: &'static str,
    /// What it says, without tenant and index.
    pub columns: Columns,
}

#[derive(QueryableByName)]
struct JsonRow {
    #[diesel(sql_type = BigInt)]
    log_index: i64,
    #[diesel(sql_type = Text)]
    columns: String,
}

const OVERRIDES: [&str; 12] = [
    "record_id",
    "execution_id",
    "execution_fingerprint",
    "approver",
    "role",
    "resolution",
    "outcome",
    "reason",
    "reason_code",
    "issued_at",
    "expires_at",
    "nonce",
];
const RESOLUTIONS: [&str; 5] =
    ["execution_id", "execution_fingerprint", "resolution", "final_outcome", "resolved_at"];

impl Reader<'_> {
    /// The rows of `overrides` and `resolutions` in `range`. Ask for pages.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub fn case_rows(&mut self, range: Range<u64>) -> Result<Vec<CaseRow>, StoreError> {
        let mut all = self.rows_of("overrides", &OVERRIDES, range.clone())?;
        all.extend(self.rows_of("resolutions", &RESOLUTIONS, range)?);
        Ok(all)
    }

    fn rows_of(
        &mut self,
        table: &'static str,
        columns: &[&'static str],
        range: Range<u64>,
    ) -> Result<Vec<CaseRow>, StoreError> {
        let sql = format!(
            "SELECT log_index, json_array({}) AS columns FROM {table} \
             WHERE tenant = ? AND log_index >= ? AND log_index < ? ORDER BY log_index",
            columns.join(", ")
        );
        let values = [
            Value::Text(self.tenant.to_string()),
            Value::Number(to_sql(range.start)),
            Value::Number(to_sql(range.end)),
        ];
        let rows: Vec<JsonRow> = query(sql, values)
            .load(self.connection)
            .map_err(|error| StoreError::database("read the rows of override cases", error))?;
        rows.into_iter()
            .map(|row| {
                let values: Vec<Option<String>> = serde_json::from_str(&row.columns)
                    .map_err(|error| StoreError::corrupt(table, row.log_index, error))?;
                Ok(CaseRow {
                    index: from_sql(table, row.log_index, row.log_index)?,
                    table,
                    columns: columns.iter().copied().zip(values).collect(),
                })
            })
            .collect()
    }

    /// The case of an execution, whether it waits for approvers, did once, or never did.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when what is stored does not parse or hash.
    pub fn case(&mut self, execution_id: &ExecutionId) -> Result<Option<CaseRecord>, StoreError> {
        let Some(decision) = self.decision(execution_id)? else { return Ok(None) };
        let overrides = self.about("overrides", execution_id)?;
        let resolution = self.about("resolutions", execution_id)?.pop();
        Ok(Some(CaseRecord { decision, overrides, resolution }))
    }

    /// The entries about an execution of one table.
    fn about(&mut self, table: &'static str, execution_id: &ExecutionId) -> Result<Vec<Entry>, StoreError> {
        let sql = format!(
            "SELECT log_index AS value FROM {table} WHERE tenant = ? AND execution_id = ? ORDER BY log_index"
        );
        let values = vec![Value::Text(self.tenant.to_string()), Value::Text(execution_id.to_string())];
        let indexes = self.numbers(sql, values, "read an override case")?;
        self.entries_at(&indexes)
    }
}
