//! Override cases: a decision with what approvers said to it, and how that ended.

use std::collections::HashMap;

use chancery_core::ids::ExecutionId;
use chancery_core::time::Timestamp;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::decisions::{Missing, PAGE_MAX};
use super::{Entry, Reader};
use crate::database::{SqlText, Value};
use crate::decision::{DecisionFilter, DecisionRecord, Order};
use crate::error::StoreError;
use crate::value::{from_sql, parse_some};

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

impl Reader<'_> {
    /// How many override cases are open. Looks once at every decision that was ever left to approvers.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn open_cases(&mut self) -> Result<OpenCases, StoreError> {
        let sql = "SELECT count(*) AS count, min(d.executed_at) AS oldest FROM decisions d \
                   WHERE d.tenant = ? AND d.execution_state <> 'completed' \
                     AND d.execution_state = 'pending_override' \
                     AND NOT EXISTS (SELECT 1 FROM resolutions r WHERE r.tenant = d.tenant \
                                     AND r.execution_id = d.execution_id)";
        let values = vec![Value::Text(self.tenant.to_string())];
        let rows: Vec<OpenCasesRow> = SqlText { sql: sql.to_owned(), values }
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
