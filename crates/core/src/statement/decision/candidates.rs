//! What a decision records about the candidates of its request (formats §4.5).
//!
//! ```text
//! selected        those whose outcome is the bundle's `select` outcome, in request order
//! excluded        the others, the first 200 in request order; excludedTotal counts all of them
//! count           selected + excludedTotal, 1 to 10,000
//! ```

use serde::{Deserialize, Serialize};

use super::super::{StatementError, check};
use crate::digest::CandidatesRoot;

/// How many candidates a request may have.
pub const CANDIDATES_MAX: usize = 10_000;

/// How many excluded candidates a decision lists.
pub const EXCLUDED_MAX: usize = 200;

/// `candidates` of a decision.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Candidates {
    /// The commitment to all of them (formats §3).
    pub candidates_root: CandidatesRoot,
    /// How many the request had.
    pub count: u64,
    /// Those that were not selected, at most [`EXCLUDED_MAX`].
    pub excluded: Vec<Excluded>,
    /// How many were not selected.
    pub excluded_total: u64,
    /// Those that were selected, all of them.
    pub selected: Vec<Selected>,
    /// Whether `excluded` was cut.
    pub truncated: bool,
}

/// A candidate that the policy selected.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Selected {
    /// Ids of the policies that determined its outcome, in byte order.
    pub determining: Vec<String>,
    /// The candidate's id.
    pub id: String,
    /// The outcome that selects.
    pub outcome: String,
}

/// A candidate that the policy did not select, with the first of its reasons, if it has one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Excluded {
    /// The reason's code.
    pub code: Option<String>,
    /// The candidate's id.
    pub id: String,
    /// The policy whose reason it is.
    pub policy: Option<String>,
}

impl Candidates {
    pub(super) fn check(&self) -> Result<(), StatementError> {
        let selected = u64::try_from(self.selected.len()).unwrap_or(u64::MAX);
        let listed = u64::try_from(self.excluded.len()).unwrap_or(u64::MAX);
        let cap = u64::try_from(EXCLUDED_MAX).unwrap_or(u64::MAX);
        let most = u64::try_from(CANDIDATES_MAX).unwrap_or(u64::MAX);
        check::require((1..=most).contains(&self.count), "candidates.count", "1 to 10,000 candidates")?;
        check::require(
            selected.checked_add(self.excluded_total) == Some(self.count),
            "candidates.count",
            "it is not the number of those selected and excluded",
        )?;
        check::require(
            listed == self.excluded_total.min(cap),
            "candidates.excluded",
            "the first 200 of those excluded are listed, or all where there are fewer",
        )?;
        check::require(
            self.truncated == (self.excluded_total > cap),
            "candidates.truncated",
            "it is true where more than 200 are excluded",
        )?;
        for candidate in &self.selected {
            check::text(&candidate.id, "candidates.selected.id")?;
            check::text(&candidate.outcome, "candidates.selected.outcome")?;
            super::determining(&candidate.determining, "candidates.selected.determining")?;
        }
        check::require(
            self.selected.windows(2).all(|pair| match pair {
                [a, b] => a.outcome == b.outcome,
                _ => true,
            }),
            "candidates.selected.outcome",
            "one and the same outcome selects",
        )?;
        for candidate in &self.excluded {
            check::text(&candidate.id, "candidates.excluded.id")?;
            check::require(
                candidate.code.is_some() == candidate.policy.is_some(),
                "candidates.excluded",
                "code and policy are both there or both null",
            )?;
        }
        let ids =
            self.selected.iter().map(|c| c.id.as_str()).chain(self.excluded.iter().map(|c| c.id.as_str()));
        check::distinct(ids, "candidates")
    }
}
