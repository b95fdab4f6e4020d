//! What an approver has to see before they answer: the facts, the policies, the time, and what went before.

use super::case::Case;
use super::error::OverrideError;
use crate::recorded::Inputs;
use crate::runtime::{Inner, Runtime};
use chancery_core::commitment::{CandidateField, Field};
use chancery_core::ids::ExecutionId;
use chancery_core::json::Value;
use chancery_core::log::Kind;
use chancery_core::statement::{ErasedFields, Erasure, ExecutionState, Reason, Statement};
use chancery_core::time::Timestamp;
use chancery_store::{Cursor, DecisionFilter, Order};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Earlier decisions that are shown.
const EARLIER_MAX: u32 = 10;
/// The id of the resource of a request that has none.
const NO_RESOURCE: &str = "-";

/// A case with everything about it.
#[derive(Clone, Debug, Serialize)]
pub struct Brief {
    /// The case.
    #[serde(flatten)]
    pub case: Case,
    /// How long it waits, ms.
    pub age_ms: i64,
    /// How long it can still be answered, ms; negative when its time is over.
    pub left_ms: i64,
    /// The signals that were decided on, as far as they are not erased.
    pub signals: BriefSignals,
    /// Why policy decided so.
    pub reasons: Vec<Reason>,
    /// The policies that determined the outcome.
    pub policies: Vec<BriefPolicy>,
    /// The caller's labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Earlier decisions on the same resource, the newest first, ten at the most.
    pub earlier: Vec<Earlier>,
}

/// The recorded signals.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "left", rename_all = "lowercase")]
pub enum BriefSignals {
    /// All of them are there.
    All {
        /// By name, in canonical form.
        values: Value,
        /// The candidates, where the request had some.
        #[serde(skip_serializing_if = "Option::is_none")]
        candidates: Option<Value>,
    },
    /// Some were erased.
    Some {
        /// Those that are left, by name.
        values: BTreeMap<String, Value>,
        /// The candidates that are left, where the request had some.
        #[serde(skip_serializing_if = "Option::is_none")]
        candidates: Option<Vec<BriefCandidate>>,
        /// The names that were erased, as the erasures have them.
        erased: BTreeSet<String>,
    },
    /// All were erased.
    None,
}

/// A candidate of which nothing was erased.
#[derive(Clone, Debug, Serialize)]
pub struct BriefCandidate {
    /// Its id.
    pub id: String,
    /// Its own signals, in canonical form.
    pub signals: Value,
}

/// A policy of the version that decided.
#[derive(Clone, Debug, Serialize)]
pub struct BriefPolicy {
    /// Its `@id`.
    pub id: String,
    /// The file that it stands in.
    pub file: String,
    /// Its text.
    pub text: String,
}

/// An earlier decision.
#[derive(Clone, Debug, Serialize)]
pub struct Earlier {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The outcome that holds.
    pub outcome: String,
    /// What it is in.
    pub state: ExecutionState,
    /// When it was decided.
    pub executed_at: Timestamp,
    /// Its place in the log.
    pub index: u64,
}

impl Runtime {
    /// Everything that an approver has to see of a case. Reads and opens the recorded signals.
    ///
    /// # Errors
    /// As [`Runtime::override_case`]; and when the opening or the bundle is damaged.
    pub fn override_brief(&self, execution_id: &ExecutionId) -> Result<Brief, OverrideError> {
        let inner = &self.inner;
        let case = self.override_case(execution_id)?;
        let unknown = || OverrideError::Unknown { execution_id: execution_id.clone() };
        let recorded = inner.recorded(execution_id)?.ok_or_else(unknown)?;
        let bundle = &recorded.loaded.bundle;
        let decision = recorded.statement.decision;
        let policies = decision.determining.iter().filter_map(|id| {
            let (file, text) = bundle.policy_text(id)?;
            Some(BriefPolicy { id: id.clone(), file: file.to_owned(), text: text.to_owned() })
        });
        let now = inner.clock.now();
        Ok(Brief {
            age_ms: now.saturating_diff_ms(case.executed_at),
            left_ms: case.due.saturating_diff_ms(now),
            signals: match recorded.inputs {
                Inputs::Full { signals, candidates } => BriefSignals::All { values: signals, candidates },
                Inputs::Partial { fields, candidates } => {
                    left(fields, candidates, inner.erased(execution_id)?)
                }
                Inputs::Erased => BriefSignals::None,
            },
            policies: policies.collect(),
            reasons: decision.reasons,
            labels: recorded.summary.labels,
            earlier: self.earlier(&case, recorded.summary.index)?,
            case,
        })
    }

    fn earlier(&self, case: &Case, index: u64) -> Result<Vec<Earlier>, OverrideError> {
        if case.resource.id() == NO_RESOURCE {
            return Ok(Vec::new());
        }
        let same = DecisionFilter { resource: Some(case.resource.clone()), ..DecisionFilter::default() };
        let page = self.inner.store.read(|reader| {
            reader.decisions(&same, Order::NewestFirst, Some(Cursor::after(index)), EARLIER_MAX)
        })?;
        let earlier = page.items.into_iter().map(|summary| Earlier {
            execution_id: summary.execution_id,
            outcome: summary.current.outcome,
            state: summary.current.state,
            executed_at: summary.executed_at,
            index: summary.index,
        });
        Ok(earlier.collect())
    }
}

impl Inner {
    /// The names of signals that erasures took from an execution.
    fn erased(&self, execution_id: &ExecutionId) -> Result<BTreeSet<String>, OverrideError> {
        let about = self.store.read(|reader| reader.entries_about(execution_id))?;
        let mut erased = BTreeSet::new();
        for entry in about.into_iter().filter(|entry| entry.kind == Kind::Erasure) {
            let statement = Statement::<Erasure>::parse_unverified(&entry.payload)
                .map_err(|source| OverrideError::Damaged { index: entry.index, source })?;
            if let ErasedFields::Names(names) = statement.predicate.fields {
                erased.extend(names);
            }
        }
        Ok(erased)
    }
}

fn left(
    fields: Vec<Field>,
    candidates: Option<Vec<CandidateField>>,
    erased: BTreeSet<String>,
) -> BriefSignals {
    let values = fields.into_iter().filter_map(|field| match field {
        Field::Shown { name, value, .. } => Some((name, value)),
        Field::Hidden { .. } => None,
    });
    let shown = |candidate| match candidate {
        CandidateField::Shown { id, signals, .. } => Some(BriefCandidate { id, signals }),
        CandidateField::Hidden { .. } => None,
    };
    let candidates = candidates.map(|all| all.into_iter().filter_map(shown).collect());
    BriefSignals::Some { values: values.collect(), candidates, erased }
}
