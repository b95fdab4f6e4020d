//! Override cases: a decision with what approvers said to it, and how that ended.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use chancery_core::ids::ExecutionId;
use chancery_core::statement::ExecutionState;
use chancery_core::time::Timestamp;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::decisions::{Missing, PAGE_MAX};
use super::filter::LEFT_TO_APPROVERS;
use super::{Entry, Reader};
use crate::database::{SqlText, Value};
use crate::decision::{DecisionFilter, DecisionRecord, Order};
use crate::error::StoreError;
use crate::open::Store;
use crate::value::{from_sql, parse_some, to_sql};

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

#[derive(QueryableByName)]
struct AboutRow {
    #[diesel(sql_type = Text)]
    execution_id: String,
    #[diesel(sql_type = BigInt)]
    log_index: i64,
}

/// Override cases that nothing has ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OpenCases {
    /// How many there are.
    pub count: u64,
    /// When the oldest of them was decided.
    pub oldest: Option<Timestamp>,
}

#[derive(QueryableByName)]
struct OpenCasesRow {
    #[diesel(sql_type = BigInt)]
    count: i64,
    #[diesel(sql_type = Nullable<Text>)]
    oldest: Option<String>,
}

impl Store {
    /// The index of the first decision that waits for approvers, or the log's size where none does: no case before it is
    /// open, now or ever.
    ///
    /// A case that has ended stays so. So each look goes on where the last one of this process stopped, and costs what has
    /// ended since; the first one reads the index of all cases up to the first that is open.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub fn first_open_case(&self) -> Result<u64, StoreError> {
        let filter =
            DecisionFilter { state: Some(ExecutionState::PendingOverride), ..DecisionFilter::default() };
        let from = self.open_from.load(Ordering::Relaxed);
        let first = self.read(|reader| {
            // The size first: what is recorded meanwhile lies beyond it.
            let size = reader.head()?.size;
            let found = reader.decision_indexes(&filter, from, 1)?;
            Ok(found.first().map_or(size, |first| size.min(*first)))
        })?;
        self.open_from.fetch_max(first, Ordering::Relaxed);
        Ok(first)
    }
}

impl Reader<'_> {
    /// How many override cases of decisions at `from` or later are open: [`Store::first_open_case`] is where the first one
    /// is. Reads the index of all cases from there on.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn open_cases(&mut self, from: u64) -> Result<OpenCases, StoreError> {
        let rows: Vec<OpenCasesRow> = self
            .open_cases_query(from)
            .load(self.connection)
            .map_err(|error| StoreError::database("count the open override cases", error))?;
        let Some(OpenCasesRow { count, oldest }) = rows.into_iter().next() else {
            return Ok(OpenCases::default());
        };
        Ok(OpenCases {
            count: from_sql("decisions", "count", count)?,
            oldest: parse_some("decisions", "executed_at", oldest.as_deref())?,
        })
    }

    pub(crate) fn open_cases_query(&self, from: u64) -> SqlText {
        let sql = format!(
            "SELECT count(*) AS count, min(d.executed_at) AS oldest FROM decisions d \
             WHERE d.tenant = ? AND {LEFT_TO_APPROVERS} AND d.log_index >= ? \
               AND NOT EXISTS (SELECT 1 FROM resolutions r WHERE r.tenant = d.tenant \
                               AND r.execution_id = d.execution_id)"
        );
        SqlText { sql, values: vec![Value::Text(self.tenant.to_string()), Value::Number(to_sql(from))] }
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

    /// The cases of these decisions, in order of the log; at most 1,000 ids. An id that was never decided is passed
    /// over. Four queries, however many there are.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when what is stored does not parse or hash.
    pub fn cases(&mut self, execution_ids: &[ExecutionId]) -> Result<Vec<CaseRecord>, StoreError> {
        if execution_ids.is_empty() {
            return Ok(Vec::new());
        }
        let filter = DecisionFilter { execution_ids: execution_ids.to_vec(), ..DecisionFilter::default() };
        let page = self.decisions(&filter, Order::OldestFirst, None, PAGE_MAX)?;
        let mut places: Vec<u64> = page.items.iter().map(|summary| summary.index).collect();
        let overrides = self.about_each("overrides", execution_ids)?;
        let resolutions = self.about_each("resolutions", execution_ids)?;
        let about = [&overrides, &resolutions];
        places.extend(about.iter().flat_map(|table| table.values()).flatten());
        let mut entries: HashMap<u64, Entry> =
            self.entries_at(&places)?.into_iter().map(|entry| (entry.index, entry)).collect();
        let mut take = |index: &u64| {
            entries.remove(index).ok_or_else(|| StoreError::corrupt("log_entries", *index, Missing))
        };
        let mut cases = Vec::with_capacity(page.items.len());
        for summary in page.items {
            let mut of = |table: &HashMap<String, Vec<u64>>| {
                let places = table.get(summary.execution_id.as_str()).map_or(&[][..], Vec::as_slice);
                places.iter().map(&mut take).collect::<Result<Vec<_>, _>>()
            };
            let (overrides, mut resolutions) = (of(&overrides)?, of(&resolutions)?);
            let entry = take(&summary.index)?;
            let decision = DecisionRecord { summary, entry };
            cases.push(CaseRecord { decision, overrides, resolution: resolutions.pop() });
        }
        Ok(cases)
    }

    /// Where the entries of one table about each of these executions are, ascending.
    fn about_each(
        &mut self,
        table: &'static str,
        execution_ids: &[ExecutionId],
    ) -> Result<HashMap<String, Vec<u64>>, StoreError> {
        let sql = format!(
            "SELECT execution_id, log_index FROM {table} WHERE tenant = ? AND execution_id = ANY(?) \
             ORDER BY log_index"
        );
        let ids = execution_ids.iter().map(ToString::to_string).collect();
        let values = vec![Value::Text(self.tenant.to_string()), Value::Texts(ids)];
        let rows: Vec<AboutRow> = SqlText { sql, values }
            .load(self.connection)
            .map_err(|error| StoreError::database("read override cases", error))?;
        let mut places: HashMap<String, Vec<u64>> = HashMap::new();
        for AboutRow { execution_id, log_index } in rows {
            let index = from_sql(table, log_index, log_index)?;
            places.entry(execution_id).or_default().push(index);
        }
        Ok(places)
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
