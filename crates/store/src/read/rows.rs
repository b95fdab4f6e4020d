//! Rows as they are, for `fsck`: unparsed, since they may be damaged.

use std::collections::BTreeMap;
use std::ops::Range;

use diesel::{ExpressionMethods as _, NullableExpressionMethods as _, QueryDsl as _};

use super::Reader;
use crate::database::RunQuery as _;
use crate::error::StoreError;
use crate::schema::{
    activations, build_identities, confirmations, erasure_subjects, erasures, keyrings, overrides,
    resolutions,
};
use crate::value::{from_sql, to_sql};

/// The columns of a row by name, as text.
pub type Columns = BTreeMap<&'static str, Option<String>>;

/// A row that repeats what an entry says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EventRow {
    /// The index of its entry.
    pub index: u64,
    /// The table.
    pub table: &'static str,
    /// What it says, without tenant and index.
    pub columns: Columns,
}

macro_rules! column {
    ($name:ident, $sql:ty) => {
        $sql
    };
}

/// Adds the rows of a table to a list: its columns of text, then those of numbers.
macro_rules! add_rows {
    ($reader:ident, $range:ident, $all:ident, $table:ident: $($text:ident)*; $($number:ident)*) => {
        let table = stringify!($table);
        let rows: Vec<(i64, $(column!($text, Option<String>),)* $(column!($number, i64),)*)> = $table::table
            .filter($table::tenant.eq($reader.tenant.as_str()))
            .filter($table::log_index.ge(to_sql($range.start)))
            .filter($table::log_index.lt(to_sql($range.end)))
            .order($table::log_index)
            .select(($table::log_index, $($table::$text.nullable(),)* $($table::$number,)*))
            .load($reader.connection)
            .map_err(|error| StoreError::database("read the rows of events", error))?;
        for (index, $($text,)* $($number,)*) in rows {
            let columns = [
                $((stringify!($text), $text),)*
                $((stringify!($number), Some($number.to_string())),)*
            ];
            $all.push(EventRow { index: from_sql(table, index, index)?, table, columns: columns.into() });
        }
    };
}

impl Reader<'_> {
    /// The rows in `range` of every table of events but decisions and verifications, without the columns that no
    /// entry repeats. Ask for pages.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub fn event_rows(&mut self, range: Range<u64>) -> Result<Vec<EventRow>, StoreError> {
        let mut all = Vec::new();
        add_rows!(self, range, all, activations:
            record_id policy_id policy_version bundle_hash previous activated_at requested_by reason;);
        add_rows!(self, range, all, keyrings: record_id issued_at expires_at; version);
        add_rows!(self, range, all, build_identities: payload_sha256 binary_sha256;);
        add_rows!(self, range, all, overrides:
            record_id execution_id execution_fingerprint approver role resolution outcome reason reason_code
            issued_at expires_at nonce;);
        add_rows!(self, range, all, resolutions:
            execution_id execution_fingerprint resolution final_outcome resolved_at;);
        add_rows!(self, range, all, confirmations:
            execution_id execution_fingerprint outcome reference executed_at confirmed_at confirmed_by;);
        add_rows!(self, range, all, erasures: basis fields erased_at requested_by;);
        add_rows!(self, range, all, erasure_subjects: execution_id; decision_index);
        Ok(all)
    }
}
