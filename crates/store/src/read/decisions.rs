//! Decisions: one by its id, lists, counts.

use std::collections::BTreeMap;
use std::ops::Range;

use chancery_core::digest::{BundleHash, Digest};
use chancery_core::ids::{ExecutionId, TenantId};
use chancery_core::statement::{ExecutionState, ResolutionStatus};
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, JoinOnDsl as _, NullableExpressionMethods as _,
    OptionalExtension as _, QueryDsl as _, Queryable, QueryableByName,
};

use super::filter::{Condition, FILTERED};
use super::{Reader, entries};
use crate::database::{Connection, RunQuery as _, SqlText, Value};
use crate::decision::{
    CurrentState, Cursor, DecisionFilter, DecisionPage, DecisionRecord, DecisionSummary, Order, Stats,
    StatsRow,
};
use crate::error::StoreError;
use crate::schema::{decisions, resolutions};
use crate::value::{from_sql, from_word, parse, parse_some, to_sql};

/// The most decisions of a page.
pub(crate) const PAGE_MAX: u32 = 1_000;

const TABLE: &str = "decisions";

/// A row as it is stored, without the tenant.
#[derive(Queryable, QueryableByName)]
#[diesel(table_name = decisions)]
struct Row {
    log_index: i64,
    execution_id: String,
    execution_fingerprint: String,
    policy_id: String,
    policy_version: String,
    bundle_hash: String,
    outcome: String,
    execution_state: String,
    executed_at: String,
    principal: String,
    resource: String,
    signals_root: String,
    build_identity: Option<String>,
    labels: Option<String>,
}

/// How the override case ended, if it did.
#[derive(Queryable, QueryableByName)]
struct End {
    #[diesel(sql_type = Nullable<Text>)]
    resolution: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    final_outcome: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    resolved_at: Option<String>,
}

#[derive(QueryableByName)]
struct RowWithEnd {
    #[diesel(embed)]
    decision: Row,
    #[diesel(embed)]
    end: End,
}

const COLUMNS: &str = "d.log_index, d.execution_id, d.execution_fingerprint, d.policy_id, d.policy_version, \
     d.bundle_hash, d.outcome, d.execution_state, d.executed_at, d.principal, d.resource, d.signals_root, \
     d.build_identity, d.labels, r.resolution, r.final_outcome, r.resolved_at";

impl Row {
    fn summary(self, end: End) -> Result<DecisionSummary, StoreError> {
        let key = self.log_index;
        let state: ExecutionState = from_word(TABLE, key, &self.execution_state)?;
        let resolution: Option<ResolutionStatus> =
            end.resolution.map(|word| from_word("resolutions", key, &word)).transpose()?;
        let labels: BTreeMap<String, String> = match &self.labels {
            Some(json) => {
                serde_json::from_str(json).map_err(|error| StoreError::corrupt(TABLE, key, error))?
            }
            None => BTreeMap::new(),
        };
        Ok(DecisionSummary {
            index: from_sql(TABLE, key, key)?,
            execution_id: parse(TABLE, key, &self.execution_id)?,
            fingerprint: parse(TABLE, key, &self.execution_fingerprint)?,
            policy_id: parse(TABLE, key, &self.policy_id)?,
            policy_version: parse(TABLE, key, &self.policy_version)?,
            bundle_hash: parse(TABLE, key, &self.bundle_hash)?,
            state,
            executed_at: parse(TABLE, key, &self.executed_at)?,
            principal: parse(TABLE, key, &self.principal)?,
            resource: parse(TABLE, key, &self.resource)?,
            signals_root: parse(TABLE, key, &self.signals_root)?,
            build_identity: parse_some(TABLE, key, self.build_identity.as_deref())?,
            labels,
            current: CurrentState {
                state: if resolution.is_some() { ExecutionState::Completed } else { state },
                outcome: end.final_outcome.unwrap_or_else(|| self.outcome.clone()),
                resolution,
                resolved_at: parse_some("resolutions", key, end.resolved_at.as_deref())?,
            },
            outcome: self.outcome,
        })
    }
}

/// The recorded decision of an execution id.
pub(crate) fn known_decision(
    connection: &mut Connection,
    tenant: &TenantId,
    execution_id: &ExecutionId,
) -> Result<Option<DecisionRecord>, StoreError> {
    let row: Option<(Row, End)> = decisions::table
        .left_join(
            resolutions::table.on(resolutions::tenant
                .eq(decisions::tenant)
                .and(resolutions::execution_id.eq(decisions::execution_id))),
        )
        .filter(decisions::tenant.eq(tenant.as_str()))
        .filter(decisions::execution_id.eq(execution_id.as_str()))
        .select((
            (
                decisions::log_index,
                decisions::execution_id,
                decisions::execution_fingerprint,
                decisions::policy_id,
                decisions::policy_version,
                decisions::bundle_hash,
                decisions::outcome,
                decisions::execution_state,
                decisions::executed_at,
                decisions::principal,
                decisions::resource,
                decisions::signals_root,
                decisions::build_identity,
                decisions::labels,
            ),
            (
                resolutions::resolution.nullable(),
                resolutions::final_outcome.nullable(),
                resolutions::resolved_at.nullable(),
            ),
        ))
        .get_result(connection)
        .optional()
        .map_err(|error| StoreError::database("read a decision", error))?;
    let Some((row, end)) = row else { return Ok(None) };
    let summary = row.summary(end)?;
    let entry = entries::entry(connection, tenant, summary.index)?
        .ok_or_else(|| StoreError::corrupt("log_entries", summary.index, Missing))?;
    Ok(Some(DecisionRecord { summary, entry }))
}

/// A row that another one needs is not there.
#[derive(Debug, thiserror::Error)]
#[error("the row is missing")]
pub(super) struct Missing;

#[derive(QueryableByName)]
struct CountRow {
    #[diesel(sql_type = Text)]
    policy_id: String,
    #[diesel(sql_type = Text)]
    outcome: String,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = Text)]
    day: String,
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[derive(QueryableByName)]
struct NameRow {
    #[diesel(sql_type = Nullable<Text>)]
    value: Option<String>,
}

#[derive(QueryableByName)]
struct NumberRow {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

impl Reader<'_> {
    /// The decision of an execution id, with its log entry and current state.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when what is stored does not parse or hash.
    pub fn decision(&mut self, execution_id: &ExecutionId) -> Result<Option<DecisionRecord>, StoreError> {
        known_decision(self.connection, self.tenant, execution_id)
    }

    /// A page of decisions, at most `limit` (and at most 1,000) of them, beyond `after`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn decisions(
        &mut self,
        filter: &DecisionFilter,
        order: Order,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<DecisionPage, StoreError> {
        let limit = limit.clamp(1, PAGE_MAX);
        let rows: Vec<RowWithEnd> = self
            .page_query(filter, order, after, limit)?
            .load(self.connection)
            .map_err(|error| StoreError::database("list decisions", error))?;
        let full = u32::try_from(rows.len()).is_ok_and(|count| count == limit);
        let items =
            rows.into_iter().map(|row| row.decision.summary(row.end)).collect::<Result<Vec<_>, _>>()?;
        let next = items.last().filter(|_| full).map(|last| Cursor { index: last.index });
        Ok(DecisionPage { items, next })
    }

    /// What reads a page.
    pub(crate) fn page_query(
        &mut self,
        filter: &DecisionFilter,
        order: Order,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<SqlText, StoreError> {
        let mut condition = self.condition(filter)?;
        let (beyond, direction) = match order {
            Order::NewestFirst => ("<", "DESC"),
            Order::OldestFirst => (">", "ASC"),
        };
        if let Some(cursor) = after {
            condition.and_place(beyond, cursor.index);
        }
        let sql = format!(
            "SELECT {COLUMNS} FROM {FILTERED} WHERE {} ORDER BY d.log_index {direction} LIMIT {limit}",
            condition.sql
        );
        Ok(SqlText { sql, values: condition.values })
    }

    /// A filter as a condition, with the part of the log in which its times lie.
    fn condition(&mut self, filter: &DecisionFilter) -> Result<Condition, StoreError> {
        let mut condition = Condition::new(self.tenant, filter)?;
        let (from, to) = self.places_of_times(filter)?;
        for (comparison, place) in [(">=", from), ("<", to)] {
            if let Some(place) = place {
                condition.and_place(comparison, place);
            }
        }
        Ok(condition)
    }

    /// How many decisions there are of each policy, outcome, state and day.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn stats(&mut self, filter: &DecisionFilter) -> Result<Stats, StoreError> {
        let condition = self.condition(filter)?;
        let sql = format!(
            "SELECT d.policy_id AS policy_id, d.outcome AS outcome, \
             CASE WHEN r.log_index IS NULL THEN d.execution_state ELSE 'completed' END AS state, \
             substr(d.executed_at, 1, 10) AS day, count(*) AS count \
             FROM {FILTERED} WHERE {} GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
            condition.sql
        );
        let rows: Vec<CountRow> = SqlText { sql, values: condition.values }
            .load(self.connection)
            .map_err(|error| StoreError::database("count decisions", error))?;
        let rows = rows.into_iter().map(|row| {
            Ok(StatsRow {
                policy_id: parse(TABLE, &row.policy_id, &row.policy_id)?,
                state: from_word(TABLE, &row.state, &row.state)?,
                outcome: row.outcome,
                day: row.day,
                count: from_sql(TABLE, row.count, row.count)?,
            })
        });
        Ok(Stats { rows: rows.collect::<Result<_, StoreError>>()? })
    }

    /// The log indexes of the decisions that `filter` means, ascending, from `from` on, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub fn decision_indexes(
        &mut self,
        filter: &DecisionFilter,
        from: u64,
        limit: u32,
    ) -> Result<Vec<u64>, StoreError> {
        let mut condition = self.condition(filter)?;
        condition.and_place(">=", from);
        let sql = format!(
            "SELECT d.log_index AS value FROM {FILTERED} WHERE {} ORDER BY d.log_index LIMIT {limit}",
            condition.sql
        );
        self.numbers(sql, condition.values, "find decisions")
    }

    /// The log indexes of everything that `filter` concerns, ascending, from `from` on, at most `limit`: its
    /// decisions, their overrides, resolutions, verifications, confirmations and erasures. Activations are not
    /// among them: [`Reader::activations_of`].
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub fn selected_indexes(
        &mut self,
        filter: &DecisionFilter,
        from: u64,
        limit: u32,
    ) -> Result<Vec<u64>, StoreError> {
        let condition = Condition::new(self.tenant, filter)?;
        let from = Value::Number(to_sql(from));
        let mut sql = format!(
            "SELECT d.log_index AS value FROM {FILTERED} WHERE {} AND d.log_index >= ?",
            condition.sql
        );
        let mut values = condition.values.clone();
        values.push(from.clone());
        for about in ["overrides", "resolutions", "verifications", "confirmations", "erasure_subjects"] {
            sql.push_str(&format!(
                " UNION SELECT x.log_index FROM {about} x JOIN decisions d \
                 ON d.tenant = x.tenant AND d.execution_id = x.execution_id \
                 LEFT JOIN resolutions r ON r.tenant = d.tenant AND r.execution_id = d.execution_id \
                 WHERE {} AND x.log_index >= ?",
                condition.sql
            ));
            values.extend(condition.values.iter().cloned());
            values.push(from.clone());
        }
        sql.push_str(&format!(" ORDER BY 1 LIMIT {limit}"));
        self.numbers(sql, values, "find entries")
    }

    /// How many decisions `filter` means, in `range` of the log.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub fn count(&mut self, filter: &DecisionFilter, range: Range<u64>) -> Result<u64, StoreError> {
        let condition = self.in_range(filter, range)?;
        let sql = format!("SELECT count(*) AS value FROM {FILTERED} WHERE {}", condition.sql);
        Ok(self.numbers(sql, condition.values, "count decisions")?.first().copied().unwrap_or(0))
    }

    /// How many of those decisions have a full, and how many a partial opening.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub fn count_openings(
        &mut self,
        filter: &DecisionFilter,
        range: Range<u64>,
    ) -> Result<(u64, u64), StoreError> {
        let mut counts = [0; 2];
        for (count, partial) in counts.iter_mut().zip(["NOT o.partial", "o.partial"]) {
            let mut condition = self.in_range(filter, range.clone())?;
            condition.and_bare(partial);
            let sql = format!(
                "SELECT count(*) AS value FROM {FILTERED} \
                 JOIN openings o ON o.tenant = d.tenant AND o.log_index = d.log_index WHERE {}",
                condition.sql
            );
            *count = self.numbers(sql, condition.values, "count openings")?.first().copied().unwrap_or(0);
        }
        Ok(counts.into())
    }

    /// The bundles that those decisions name, each once, in order of their hashes.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn bundles_named(
        &mut self,
        filter: &DecisionFilter,
        range: Range<u64>,
    ) -> Result<Vec<BundleHash>, StoreError> {
        let names = self.named("d.bundle_hash", filter, range)?;
        names.iter().map(|name| parse(TABLE, name, name)).collect()
    }

    /// The build identities that those decisions name, each once, in order of their hashes.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn builds_named(
        &mut self,
        filter: &DecisionFilter,
        range: Range<u64>,
    ) -> Result<Vec<Digest>, StoreError> {
        let names = self.named("d.build_identity", filter, range)?;
        names.iter().map(|name| parse(TABLE, name, name)).collect()
    }

    fn named(
        &mut self,
        column: &str,
        filter: &DecisionFilter,
        range: Range<u64>,
    ) -> Result<Vec<String>, StoreError> {
        let condition = self.in_range(filter, range)?;
        let sql =
            format!("SELECT DISTINCT {column} AS value FROM {FILTERED} WHERE {} ORDER BY 1", condition.sql);
        let rows: Vec<NameRow> = SqlText { sql, values: condition.values }
            .load(self.connection)
            .map_err(|error| StoreError::database("read what decisions name", error))?;
        Ok(rows.into_iter().filter_map(|row| row.value).collect())
    }

    pub(super) fn in_range(
        &self,
        filter: &DecisionFilter,
        range: Range<u64>,
    ) -> Result<Condition, StoreError> {
        let mut condition = Condition::new(self.tenant, filter)?;
        condition.and_place(">=", range.start);
        condition.and_place("<", range.end);
        Ok(condition)
    }

    pub(super) fn numbers(
        &mut self,
        sql: String,
        values: Vec<Value>,
        doing: &'static str,
    ) -> Result<Vec<u64>, StoreError> {
        let rows: Vec<NumberRow> = SqlText { sql, values }
            .load(self.connection)
            .map_err(|error| StoreError::database(doing, error))?;
        rows.into_iter().map(|row| from_sql(TABLE, row.value, row.value)).collect()
    }
}
