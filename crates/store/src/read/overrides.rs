//! Override cases: a decision with what approvers said to it, and how that ended.

use chancery_core::ids::ExecutionId;

use super::{Entry, Reader};
use crate::database::Value;
use crate::decision::DecisionRecord;
use crate::error::StoreError;

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

impl Reader<'_> {
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
