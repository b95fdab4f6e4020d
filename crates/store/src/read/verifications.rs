//! Recorded verifications: lists, and which decisions have none.

use std::ops::Range;

use chancery_core::digest::{Fingerprint, RecordId};
use chancery_core::ids::ExecutionId;
use chancery_core::statement::Verdict;
use chancery_core::time::Timestamp;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};

use super::Reader;
use super::decisions::PAGE_MAX;
use super::filter::{Condition, FILTERED};
use crate::database::{SqlText, Value};
use crate::decision::{Cursor, DecisionFilter};
use crate::error::StoreError;
use crate::value::{Word as _, from_sql, from_word, parse, to_sql};

const TABLE: &str = "verifications";

/// A recorded verification: its columns.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerificationRow {
    /// Its place in the log.
    pub index: u64,
    /// The decision.
    pub execution_id: ExecutionId,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// What all checks came to.
    pub verdict: Verdict,
    /// `envelope.signature`; none where it was not checked.
    pub signature_verified: Option<bool>,
    /// `build.binding`.
    pub runtime_verified: Option<bool>,
    /// `statement.schema`.
    pub schema_compatible: Option<bool>,
    /// When.
    pub verified_at: Timestamp,
    /// By which verifier.
    pub verifier: String,
}

/// Which verifications are meant. Everything that is given has to hold; [`Default`] means all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct VerificationFilter {
    /// Of this execution.
    pub execution_id: Option<ExecutionId>,
    /// With this verdict.
    pub verdict: Option<Verdict>,
    /// Made at this time or later.
    pub from: Option<Timestamp>,
    /// Made before this time.
    pub to: Option<Timestamp>,
}

/// A page of verifications, and where the next one begins.
#[derive(Clone, Debug)]
pub struct VerificationPage {
    /// The verifications, the newest first.
    pub items: Vec<VerificationRow>,
    /// Present if there may be more.
    pub next: Option<Cursor>,
}

/// Decisions with a verification, by what the newest one of each says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct VerdictCounts {
    /// All of them.
    pub recorded: u64,
    /// Those where everything held.
    pub verified: u64,
    /// Those where something did not.
    pub failed: u64,
    /// Those where something could not be checked.
    pub incomplete: u64,
}

/// A decision that was never verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unverified {
    /// Its place in the log.
    pub index: u64,
    /// Its id.
    pub execution_id: ExecutionId,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// `H(PAE)` of it.
    pub record_id: RecordId,
    /// Whether nothing happened to it since, and nothing can but a verification: no case, confirmation or erasure.
    pub is_plain: bool,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    log_index: i64,
    #[diesel(sql_type = Text)]
    execution_id: String,
    #[diesel(sql_type = Text)]
    execution_fingerprint: String,
    #[diesel(sql_type = Text)]
    verdict: String,
    #[diesel(sql_type = Nullable<Bool>)]
    signature_verified: Option<bool>,
    #[diesel(sql_type = Nullable<Bool>)]
    runtime_verified: Option<bool>,
    #[diesel(sql_type = Nullable<Bool>)]
    schema_compatible: Option<bool>,
    #[diesel(sql_type = Text)]
    verified_at: String,
    #[diesel(sql_type = Text)]
    verifier: String,
}

impl Row {
    fn parse(self) -> Result<VerificationRow, StoreError> {
        let key = self.log_index;
        Ok(VerificationRow {
            index: from_sql(TABLE, key, key)?,
            execution_id: parse(TABLE, key, &self.execution_id)?,
            fingerprint: parse(TABLE, key, &self.execution_fingerprint)?,
            verdict: from_word(TABLE, key, &self.verdict)?,
            signature_verified: self.signature_verified,
            runtime_verified: self.runtime_verified,
            schema_compatible: self.schema_compatible,
            verified_at: parse(TABLE, key, &self.verified_at)?,
            verifier: self.verifier,
        })
    }
}

#[derive(QueryableByName)]
struct UnverifiedRow {
    #[diesel(sql_type = BigInt)]
    log_index: i64,
    #[diesel(sql_type = Text)]
    execution_id: String,
    #[diesel(sql_type = Text)]
    execution_fingerprint: String,
    #[diesel(sql_type = Text)]
    record_id: String,
    #[diesel(sql_type = Bool)]
    is_plain: bool,
}

impl UnverifiedRow {
    fn parse(self) -> Result<Unverified, StoreError> {
        let key = self.log_index;
        Ok(Unverified {
            index: from_sql("decisions", key, key)?,
            execution_id: parse("decisions", key, &self.execution_id)?,
            fingerprint: parse("decisions", key, &self.execution_fingerprint)?,
            record_id: parse("log_entries", key, &self.record_id)?,
            is_plain: self.is_plain,
        })
    }
}

const COLUMNS: &str = "v.log_index, v.execution_id, v.execution_fingerprint, v.verdict, v.signature_verified, \
     v.runtime_verified, v.schema_compatible, v.verified_at, v.verifier";

/// Nothing but the decision and verifications of it: a part of a condition over `d`.
const PLAIN: &str = "(d.execution_state <> 'pending_override' AND NOT EXISTS \
     (SELECT 1 FROM confirmations c WHERE c.tenant = d.tenant AND c.execution_id = d.execution_id) AND NOT EXISTS \
     (SELECT 1 FROM erasure_subjects s WHERE s.tenant = d.tenant AND s.execution_id = d.execution_id))";

const HAS_VERIFICATION: &str =
    "EXISTS (SELECT 1 FROM verifications v WHERE v.tenant = d.tenant AND v.execution_id = d.execution_id)";

/// What the newest verification of `d` says, or NULL.
const NEWEST_VERDICT: &str = "(SELECT v.verdict FROM verifications v WHERE v.tenant = d.tenant \
     AND v.execution_id = d.execution_id ORDER BY v.log_index DESC LIMIT 1)";

impl Reader<'_> {
    /// A page of verifications, the newest first, at most `limit` (and at most 1,000), beyond `after`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn verifications(
        &mut self,
        filter: &VerificationFilter,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<VerificationPage, StoreError> {
        let limit = limit.clamp(1, PAGE_MAX);
        let mut condition = Condition::empty();
        condition.and("v.tenant = ?", Value::Text(self.tenant.to_string()));
        for (sql, value) in [
            ("v.execution_id = ?", filter.execution_id.as_ref().map(ToString::to_string)),
            ("v.verdict = ?", filter.verdict.map(|verdict| verdict.word().to_owned())),
            ("v.verified_at >= ?", filter.from.map(|time| time.to_string())),
            ("v.verified_at < ?", filter.to.map(|time| time.to_string())),
        ] {
            if let Some(value) = value {
                condition.and(sql, Value::Text(value));
            }
        }
        if let Some(after) = after {
            condition.and("v.log_index < ?", Value::Number(to_sql(after.index)));
        }
        let sql = format!(
            "SELECT {COLUMNS} FROM verifications v WHERE {} ORDER BY v.log_index DESC LIMIT {limit}",
            condition.sql
        );
        let items = self.rows(sql, condition.values)?;
        let full = u32::try_from(items.len()).is_ok_and(|count| count == limit);
        let next = items.last().filter(|_| full).map(|last| Cursor { index: last.index });
        Ok(VerificationPage { items, next })
    }

    /// Where the very same verification of a decision is in the log, if it is.
    pub(crate) fn verification_index(
        &mut self,
        execution_id: &ExecutionId,
        record_id: &RecordId,
    ) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT v.log_index AS value FROM verifications v \
                   JOIN log_entries e ON e.tenant = v.tenant AND e.log_index = v.log_index \
                   WHERE v.tenant = ? AND v.execution_id = ? AND e.record_id = ?";
        let values = [self.tenant.to_string(), execution_id.to_string(), record_id.to_string()];
        let values = values.map(Value::Text).into();
        Ok(self.numbers(sql.to_owned(), values, "look for a verification")?.first().copied())
    }

    /// Where some verification of a decision is in the log, if there is one.
    pub(crate) fn any_verification(&mut self, execution_id: &ExecutionId) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT v.log_index AS value FROM verifications v WHERE v.tenant = ? AND v.execution_id = ? LIMIT 1";
        let values = [self.tenant.to_string(), execution_id.to_string()].map(Value::Text).into();
        Ok(self.numbers(sql.to_owned(), values, "look for a verification")?.first().copied())
    }

    /// The rows of verifications whose entries lie in `range`, ascending: for `fsck`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn verification_rows(&mut self, range: Range<u64>) -> Result<Vec<VerificationRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM verifications v WHERE v.tenant = ? AND v.log_index >= ? AND v.log_index < ? \
             ORDER BY v.log_index"
        );
        let values = vec![
            Value::Text(self.tenant.to_string()),
            Value::Number(to_sql(range.start)),
            Value::Number(to_sql(range.end)),
        ];
        self.rows(sql, values)
    }

    /// The decisions in `range` of the log that `filter` means and that have no verification, ascending, at most
    /// `limit` of them.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn unverified(
        &mut self,
        filter: &DecisionFilter,
        range: Range<u64>,
        limit: u32,
    ) -> Result<Vec<Unverified>, StoreError> {
        let mut condition = self.in_range(filter, range)?;
        condition.and_bare(&format!("NOT {HAS_VERIFICATION}"));
        self.find_to_verify(condition, limit)
    }

    /// The same of these decisions, at most 1,000, whether they have a verification or not. An id that was never
    /// decided is passed over.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn to_verify(&mut self, execution_ids: &[ExecutionId]) -> Result<Vec<Unverified>, StoreError> {
        if execution_ids.is_empty() {
            return Ok(Vec::new());
        }
        let filter = DecisionFilter { execution_ids: execution_ids.to_vec(), ..DecisionFilter::default() };
        self.find_to_verify(Condition::new(self.tenant, &filter)?, PAGE_MAX)
    }

    fn find_to_verify(&mut self, condition: Condition, limit: u32) -> Result<Vec<Unverified>, StoreError> {
        let sql = format!(
            "SELECT d.log_index AS log_index, d.execution_id AS execution_id, \
             d.execution_fingerprint AS execution_fingerprint, e.record_id AS record_id, {PLAIN} AS is_plain \
             FROM {FILTERED} JOIN log_entries e ON e.tenant = d.tenant AND e.log_index = d.log_index \
             WHERE {} ORDER BY d.log_index LIMIT {limit}",
            condition.sql
        );
        let rows: Vec<UnverifiedRow> = SqlText { sql, values: condition.values }
            .load(self.connection)
            .map_err(|error| StoreError::database("find decisions to be verified", error))?;
        rows.into_iter().map(UnverifiedRow::parse).collect()
    }

    /// How many of the decisions in `range` that `filter` means have a verification, and what the newest of each says.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub fn count_verdicts(
        &mut self,
        filter: &DecisionFilter,
        range: Range<u64>,
    ) -> Result<VerdictCounts, StoreError> {
        let condition = self.in_range(filter, range)?;
        let sql = format!(
            "WITH newest AS MATERIALIZED (SELECT {NEWEST_VERDICT} AS verdict FROM {FILTERED} WHERE {}) \
             SELECT count(verdict) AS value FROM newest \
             UNION ALL SELECT count(*) FROM newest WHERE verdict = 'verified' \
             UNION ALL SELECT count(*) FROM newest WHERE verdict = 'failed' \
             UNION ALL SELECT count(*) FROM newest WHERE verdict = 'incomplete'",
            condition.sql
        );
        let numbers = self.numbers(sql, condition.values, "count verifications")?;
        let mut numbers = numbers.into_iter();
        let mut next = || numbers.next().unwrap_or(0);
        Ok(VerdictCounts { recorded: next(), verified: next(), failed: next(), incomplete: next() })
    }

    fn rows(&mut self, sql: String, values: Vec<Value>) -> Result<Vec<VerificationRow>, StoreError> {
        let rows: Vec<Row> = SqlText { sql, values }
            .load(self.connection)
            .map_err(|error| StoreError::database("read verifications", error))?;
        rows.into_iter().map(Row::parse).collect()
    }
}
