//! A [`DecisionFilter`] as a condition in SQL over `decisions d` and `resolutions r`.
//!
//! The text depends on which members are given, never on their values: those are bound.

use chancery_core::ids::TenantId;
use chancery_core::statement::ExecutionState;

use crate::database::Value;
use crate::decision::{ConfirmationState, DecisionFilter};
use crate::error::StoreError;
use crate::value::to_sql;

/// A condition with its values, in the order of its question marks.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value>,
    /// How a comparison names the place in the log. With the plus SQLite does not look for places where it has few.
    place: &'static str,
}

/// What a query that filters reads from.
pub(crate) const FILTERED: &str =
    "decisions d LEFT JOIN resolutions r ON r.tenant = d.tenant AND r.execution_id = d.execution_id";

/// The decisions that were left to approvers. The index of open cases has those that are not completed, and SQLite takes it
/// only where a query says so in these words; so they are written out and not bound.
pub(super) const LEFT_TO_APPROVERS: &str =
    "d.execution_state <> 'completed' AND RARE(d.execution_state = 'pending_override')";

impl Condition {
    /// No condition yet.
    pub(crate) fn empty() -> Self {
        Self { sql: String::new(), values: Vec::new(), place: "d.log_index" }
    }

    /// The decisions of `tenant` that `filter` means.
    pub(crate) fn new(tenant: &TenantId, filter: &DecisionFilter) -> Result<Self, StoreError> {
        let mut condition = Self::empty();
        // The plus keeps SQLite from reading the whole tenant in order of the log where a few ids are given: by them it
        // finds each decision at once.
        let of_tenant = if filter.execution_ids.is_empty() { "d.tenant = ?" } else { "+d.tenant = ?" };
        condition.and(of_tenant, Value::Text(tenant.to_string()));
        let texts = [
            ("d.policy_id = ?", filter.policy.as_ref().map(ToString::to_string)),
            ("d.policy_version = ?", filter.version.as_ref().map(ToString::to_string)),
            ("d.outcome = ?", filter.outcome.clone()),
            ("d.executed_at >= ?", filter.from.map(|time| time.to_string())),
            ("d.executed_at < ?", filter.to.map(|time| time.to_string())),
            ("d.principal = ?", filter.principal.as_ref().map(ToString::to_string)),
            ("HAS_FINGERPRINT(?)", filter.fingerprint.map(|hash| hash.to_string())),
            ("RARE(d.resource = ?)", filter.resource.as_ref().map(ToString::to_string)),
        ];
        for (sql, value) in texts {
            if let Some(value) = value {
                condition.and(sql, Value::Text(value));
            }
        }
        if filter.fingerprint.is_some() {
            condition.place = "+d.log_index";
        }
        // What finds few decisions already is better than the index of open cases.
        let is_narrow =
            filter.resource.is_some() || filter.fingerprint.is_some() || !filter.execution_ids.is_empty();
        let left_to_approvers =
            if is_narrow { "d.execution_state = 'pending_override'" } else { LEFT_TO_APPROVERS };
        match filter.state {
            Some(ExecutionState::Completed) => {
                condition.and_bare("(d.execution_state = 'completed' OR r.log_index IS NOT NULL)");
            }
            Some(ExecutionState::PendingOverride) => {
                condition.and_bare(left_to_approvers);
                condition.and_bare("r.log_index IS NULL");
            }
            Some(ExecutionState::Blocked) if is_narrow => {
                condition.and_bare("d.execution_state = 'blocked'");
            }
            Some(ExecutionState::Blocked) => {
                condition
                    .and_bare("d.execution_state <> 'completed' AND RARE(d.execution_state = 'blocked')");
            }
            None => {}
        }
        if let Some(resolution) = filter.resolution {
            condition.and_bare(left_to_approvers);
            condition.and("r.resolution = ?", Value::Text(resolution.as_str().to_owned()));
        }
        match filter.confirmation {
            Some(ConfirmationState::Missing) => condition.and_bare(
                "(d.execution_state = 'completed' OR r.log_index IS NOT NULL) AND NOT EXISTS \
                 (SELECT 1 FROM confirmations c WHERE c.tenant = d.tenant AND c.execution_id = d.execution_id)",
            ),
            Some(ConfirmationState::Given) => condition.and_bare(
                "EXISTS \
                 (SELECT 1 FROM confirmations c WHERE c.tenant = d.tenant AND c.execution_id = d.execution_id)",
            ),
            None => {}
        }
        if let Some(before) = filter.effective_before {
            condition.and("coalesce(r.resolved_at, d.executed_at) < ?", Value::Text(before.to_string()));
        }
        for (name, value) in &filter.labels {
            condition.and("HAS_LABEL(?, ?)", Value::Text(name.clone()));
            condition.values.push(Value::Text(value.clone()));
        }
        if !filter.execution_ids.is_empty() {
            let ids = filter.execution_ids.iter().map(ToString::to_string).collect();
            condition.and("d.execution_id = ANY(?)", Value::Texts(ids));
        }
        Ok(condition)
    }

    /// Adds a comparison of the place in the log, such as `>=`.
    pub(crate) fn and_place(&mut self, comparison: &str, index: u64) {
        let sql = format!("{} {comparison} ?", self.place);
        self.and(&sql, Value::Number(to_sql(index)));
    }

    /// Adds a condition with one value.
    pub(crate) fn and(&mut self, sql: &str, value: Value) {
        self.and_bare(sql);
        self.values.push(value);
    }

    /// Adds a condition without a value.
    pub(crate) fn and_bare(&mut self, sql: &str) {
        if !self.sql.is_empty() {
            self.sql.push_str(" AND ");
        }
        self.sql.push_str(sql);
    }
}
