//! Decisions as they are listed, filtered and counted.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chancery_core::digest::{BundleHash, Digest, Fingerprint, SignalsRoot};
use chancery_core::ids::{EntityUid, ExecutionId, PolicyId, PolicyVersion};
use chancery_core::statement::{ExecutionState, ResolutionStatus};
use chancery_core::time::Timestamp;

use crate::error::StoreError;
use crate::read::Entry;

/// A decision without its statement: what a list shows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DecisionSummary {
    /// Its place in the log.
    pub index: u64,
    /// The caller's id.
    pub execution_id: ExecutionId,
    /// The execution fingerprint.
    pub fingerprint: Fingerprint,
    /// The policy.
    pub policy_id: PolicyId,
    /// Its version.
    pub policy_version: PolicyVersion,
    /// Its bundle.
    pub bundle_hash: BundleHash,
    /// The outcome, as decided.
    pub outcome: String,
    /// The state, as decided.
    pub state: ExecutionState,
    /// When it was decided.
    pub executed_at: Timestamp,
    /// Who submitted.
    pub principal: EntityUid,
    /// What was decided on.
    pub resource: EntityUid,
    /// The commitment to the signals.
    pub signals_root: SignalsRoot,
    /// The build identity of the runtime, where it has one.
    pub build_identity: Option<Digest>,
    /// The caller's labels.
    pub labels: BTreeMap<String, String>,
    /// What became of it, derived from later entries.
    pub current: CurrentState,
}

/// A decision's state now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CurrentState {
    /// `completed` once an override case is resolved, else the state as decided.
    pub state: ExecutionState,
    /// The outcome that holds: the resolution's, else the decision's.
    pub outcome: String,
    /// How the override case ended, if it did.
    pub resolution: Option<ResolutionStatus>,
    /// When it ended.
    pub resolved_at: Option<Timestamp>,
}

/// A decision with its log entry, whose payload is the statement.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DecisionRecord {
    /// The columns.
    pub summary: DecisionSummary,
    /// The entry.
    pub entry: Entry,
}

/// Which decisions are meant. Everything that is given has to hold; [`Default`] means all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DecisionFilter {
    /// The policy.
    pub policy: Option<PolicyId>,
    /// Its version.
    pub version: Option<PolicyVersion>,
    /// The outcome, as decided.
    pub outcome: Option<String>,
    /// The state now (not as decided).
    pub state: Option<ExecutionState>,
    /// Decided at this time or later.
    pub from: Option<Timestamp>,
    /// Decided before this time.
    pub to: Option<Timestamp>,
    /// Who submitted.
    pub principal: Option<EntityUid>,
    /// The execution fingerprint.
    pub fingerprint: Option<Fingerprint>,
    /// Labels with their values.
    pub labels: Vec<(String, String)>,
    /// One of these executions; empty for all.
    pub execution_ids: Vec<ExecutionId>,
    /// How the override case ended.
    pub resolution: Option<ResolutionStatus>,
    /// What was decided on.
    pub resource: Option<EntityUid>,
    /// Whether it was confirmed what was really done.
    pub confirmation: Option<ConfirmationState>,
    /// The outcome that holds came before this time: the decision, or the resolution where there was a case.
    pub effective_before: Option<Timestamp>,
}

/// Whether what was really done after a decision was confirmed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConfirmationState {
    /// It has an outcome that can be acted upon, and no confirmation.
    Missing,
    /// It was confirmed.
    Given,
}

/// Which end of the log a list begins at.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Order {
    /// The newest first.
    #[default]
    NewestFirst,
    /// The oldest first.
    OldestFirst,
}

/// A page of a list, and where the next one begins.
#[derive(Clone, Debug)]
pub struct DecisionPage {
    /// The decisions.
    pub items: Vec<DecisionSummary>,
    /// Present if there may be more.
    pub next: Option<Cursor>,
}

/// Where a list goes on: opaque text for clients, stable whatever is recorded meanwhile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cursor {
    pub(crate) index: u64,
}

impl Cursor {
    /// Goes on beyond this log index.
    #[must_use]
    pub fn after(index: u64) -> Self {
        Self { index }
    }

    /// The later of this and the one just before `index`: nothing earlier is wanted.
    #[must_use]
    pub fn from_at_least(cursor: Option<Self>, index: u64) -> Option<Self> {
        let floor = index.checked_sub(1);
        cursor.map(|cursor| cursor.index).max(floor).map(Self::after)
    }
}

/// `c` and the index in hex: nothing secret, but nobody should calculate with it.
const CURSOR_MARK: &str = "c";

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{CURSOR_MARK}{:x}", self.index)
    }
}

impl FromStr for Cursor {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || StoreError::Cursor { cursor: text.to_owned() };
        let digits = text.strip_prefix(CURSOR_MARK).ok_or_else(refused)?;
        let index = u64::from_str_radix(digits, 16).map_err(|_| refused())?;
        let cursor = Self { index };
        // One spelling for each cursor, and an index that SQLite's integers hold.
        if cursor.to_string() != text || i64::try_from(index).is_err() {
            return Err(refused());
        }
        Ok(cursor)
    }
}

/// How many decisions there are of each sort.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// One row for each combination that occurs, ordered by all four members.
    pub rows: Vec<StatsRow>,
}

/// A combination and its count.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StatsRow {
    /// The policy.
    pub policy_id: PolicyId,
    /// The outcome, as decided.
    pub outcome: String,
    /// The state now.
    pub state: ExecutionState,
    /// The day (UTC) of `executedAt`, `YYYY-MM-DD`.
    pub day: String,
    /// How many.
    pub count: u64,
}

impl Stats {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.rows.iter().map(|row| row.count).sum()
    }
}
