//! A backfill's name: which decisions it is about. It is all that there is of a job beyond the log.
//!
//! ```text
//! 302~-~1772359200000000~claim-approval
//! └ size of the log when it was asked for: decisions below it
//!     └ decided at or after, └ and before, in µs since 1970     └ policy; `-` where nothing is said
//! ```

use super::RecordedVerification;
use chancery_core::ids::{ExecutionId, PolicyId};
use chancery_core::time::Timestamp;
use chancery_store::DecisionFilter;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// Which decisions are to have a verification.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BackfillJob {
    /// Decisions below this index.
    pub until: u64,
    /// Decided at this time or later.
    pub from: Option<Timestamp>,
    /// Decided before this time.
    pub to: Option<Timestamp>,
    /// Decided by this policy.
    pub policy: Option<PolicyId>,
}

/// How far a backfill has come.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct BackfillProgress {
    /// The decisions that it is about.
    pub total: u64,
    /// Those that have a verification.
    pub recorded: u64,
    /// Those whose newest verification says that everything holds.
    pub verified: u64,
    /// Those whose newest verification says that something does not.
    pub failed: u64,
    /// Those whose newest verification says that something could not be checked.
    pub incomplete: u64,
}

/// A decision that could not be judged, since the log does not give out what it has of it. Nothing is recorded for it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Unjudged {
    /// The decision.
    pub execution_id: ExecutionId,
    /// Why, for programs.
    pub code: String,
    /// Why, for people.
    pub detail: String,
}

/// What one step of a backfill came to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BackfillStep {
    /// The decisions that were judged.
    pub recorded: Vec<RecordedVerification>,
    /// Those that could not be.
    pub unjudged: Vec<Unjudged>,
    /// How many were judged in vain: another node recorded a verification of them meanwhile.
    pub already: usize,
}

impl BackfillStep {
    /// The decisions that the step was about.
    #[must_use]
    pub fn len(&self) -> usize {
        self.recorded.len() + self.unjudged.len() + self.already
    }

    pub(super) fn add(&mut self, more: Self) {
        self.recorded.extend(more.recorded);
        self.unjudged.extend(more.unjudged);
        self.already += more.already;
    }

    /// Whether there was none left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl BackfillProgress {
    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.recorded >= self.total
    }
}

impl BackfillJob {
    /// Whether both are about decisions of the same policy and time, however long the log was when they were asked for.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.from, &self.to, &self.policy) == (&other.from, &other.to, &other.policy)
    }

    pub(crate) fn decisions(&self) -> (DecisionFilter, Range<u64>) {
        let filter = DecisionFilter {
            from: self.from,
            to: self.to,
            policy: self.policy.clone(),
            ..DecisionFilter::default()
        };
        (filter, 0..self.until)
    }
}

impl fmt::Display for BackfillJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: Option<Timestamp>| match time {
            Some(time) => time.unix_micros().to_string(),
            None => "-".to_owned(),
        };
        let policy = self.policy.as_ref().map_or("-", |policy| policy.as_str());
        write!(f, "{}~{}~{}~{policy}", self.until, time(self.from), time(self.to))
    }
}

/// Not the name of a backfill.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a job is named as it was when it was started")]
pub struct ParseJobError;

impl FromStr for BackfillJob {
    type Err = ParseJobError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('~');
        let mut part = || parts.next().ok_or(ParseJobError);
        let (until, from, to, policy) = (part()?, part()?, part()?, part()?);
        let time = |text: &str| match text {
            "-" => Ok(None),
            micros => {
                let micros = micros.parse().map_err(|_| ParseJobError)?;
                Timestamp::from_unix_micros(micros).map(Some).ok_or(ParseJobError)
            }
        };
        let policy = match policy {
            "-" => None,
            policy => Some(policy.parse().map_err(|_| ParseJobError)?),
        };
        let until = until.parse().map_err(|_| ParseJobError)?;
        let job = Self { until, from: time(from)?, to: time(to)?, policy };
        // One spelling for each, and an index that the store can have.
        if job.to_string() == text && i64::try_from(until).is_ok() { Ok(job) } else { Err(ParseJobError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        for text in ["0~-~-~-", "302~-~1772359200000000~claim-approval", "7~-1~0~p"] {
            assert_eq!(text.parse::<BackfillJob>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "1",
            "1~-~-",
            "1~-~-~-~-",
            "01~-~-~-",
            "+1~-~-~-",
            "-1~-~-~-",
            "1~ ~-~-",
            "1~+5~-~-",
            "1~05~-~-",
            "1~-~-~",
            "1~-~-~NO ID",
            "99999999999999999999~-~-~-",
            "18446744073709551615~-~-~-",
            "1~9223372036854775807~-~-",
        ] {
            assert_eq!(bad.parse::<BackfillJob>(), Err(ParseJobError), "{bad}");
        }
    }
}
