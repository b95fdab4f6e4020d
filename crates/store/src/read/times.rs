//! Where in the log the decisions of a time are, without an index over times.
//!
//! ```text
//! log      0 ───────────────┬──────────────┬─────────────── size
//! times    … < from         │ from … to    │        to ≤ …        in order, give or take the writer's tolerance
//!                           └ found by halving, some twenty looks at the primary key
//! ```
//! A runtime's clock may run back by half a minute before the log writer refuses, and by a minute before a verifier does.
//! So what stands more than that beyond a time stays beyond it, and the exact comparison is left to the query.

use chancery_core::time::Timestamp;
use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _};

use super::Reader;
use crate::database::RunQuery as _;
use crate::decision::DecisionFilter;
use crate::error::StoreError;
use crate::schema::decisions;
use crate::value::{from_sql, parse, to_sql};

/// How far a decision may be dated before an earlier one, ms (formats §10, `log.time`).
const FALL_BACK_MS: i64 = 60_000;

impl Reader<'_> {
    /// Between which places of the log all decisions of a filter's times are: from the first one on, and before the
    /// second. None where there is no such bound.
    pub(super) fn places_of_times(
        &mut self,
        filter: &DecisionFilter,
    ) -> Result<(Option<u64>, Option<u64>), StoreError> {
        let before = filter.from.and_then(|from| from.checked_add_ms(-FALL_BACK_MS));
        let after = filter.to.and_then(|to| to.checked_add_ms(FALL_BACK_MS));
        let from = before.map(|before| self.halve(|time| time >= before)).transpose()?;
        let to = after.map(|after| self.halve(|time| time >= after)).transpose()?;
        Ok((from, to))
    }

    /// A place before which there is a decision whose time is not `late`, and from which on there is one that is; each
    /// of them the next one. The end of the log where none is, its beginning where all are.
    fn halve(&mut self, late: impl Fn(Timestamp) -> bool) -> Result<u64, StoreError> {
        let (mut low, mut high) = (0, self.head()?.size);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.decided_from(middle)? {
                Some((index, time)) if !late(time) => low = index + 1,
                // It is late, or nothing comes any more.
                _ => high = middle,
            }
        }
        Ok(high)
    }

    /// The first decision at `index` or later, and its time.
    fn decided_from(&mut self, index: u64) -> Result<Option<(u64, Timestamp)>, StoreError> {
        let row: Option<(i64, String)> = decisions::table
            .filter(decisions::tenant.eq(self.tenant.as_str()))
            .filter(decisions::log_index.ge(to_sql(index)))
            .order(decisions::log_index)
            .limit(1)
            .select((decisions::log_index, decisions::executed_at))
            .get_result(self.connection)
            .optional()
            .map_err(|error| StoreError::database("look for a time", error))?;
        let Some((key, time)) = row else { return Ok(None) };
        Ok(Some((from_sql("decisions", key, key)?, parse("decisions", key, &time)?)))
    }
}
