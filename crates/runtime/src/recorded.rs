//! A recorded decision with what is left of its inputs: what explaining and replaying work on.
//!
//! ```text
//! log entry ─ statement ─ bundle hash ──> bundle (verified once)
//!     └────── opening, sealed ──> signals, candidates ─ the committed roots, or the record is damaged
//! ```
//! Nothing that is read here is believed before it was compared with what the statement commits to.

use crate::bundles::LoadedBundle;
use crate::error::ExecuteError;
use crate::runtime::Inner;
use chancery_core::commitment::{Candidate, CandidateField, Field, Opening};
use chancery_core::ids::ExecutionId;
use chancery_core::json::{self, Limits, Pointer, Value};
use chancery_core::log::Kind;
use chancery_core::signal::Signals;
use chancery_core::statement::{Decision, Statement};
use chancery_policy::Bundle;
use chancery_store::DecisionSummary;
use std::error::Error;
use std::sync::Arc;

/// A decision as it was recorded, with its bundle and its inputs.
pub(crate) struct Recorded {
    pub(crate) summary: DecisionSummary,
    pub(crate) statement: Decision,
    pub(crate) loaded: Arc<LoadedBundle>,
    pub(crate) inputs: Inputs,
}

/// What is left of a decision's inputs.
pub(crate) enum Inputs {
    /// All of them, canonical values.
    Full { signals: Value, candidates: Option<Value> },
    /// Some fields were erased. What is left: signals, and candidates with their own.
    Partial { fields: Vec<Field>, candidates: Option<Vec<CandidateField>> },
    /// Everything was erased.
    Erased,
}

/// Typed inputs.
pub(crate) type Typed = (Signals, Option<Vec<Candidate>>);

/// What does not fit together in a record.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error("its opening is not there, and no erasure says why")]
    NoOpening,
    #[error("its opening does not lead to the committed roots")]
    Roots,
    #[error("its signals are not of the schema of the bundle that decided")]
    Types,
}

impl Inner {
    /// Reads a decision with its bundle and its inputs; none where the id was never used.
    ///
    /// # Errors
    /// [`ExecuteError`] of the store, of the bundle, and [`ExecuteError::Damaged`].
    pub(crate) fn recorded(&self, execution_id: &ExecutionId) -> Result<Option<Recorded>, ExecuteError> {
        let read = self.store.read(|reader| {
            let Some(record) = reader.decision(execution_id)? else { return Ok(None) };
            let opening = reader.opening(record.summary.index)?;
            let about = if opening.is_none() { reader.entries_about(execution_id)? } else { Vec::new() };
            let erased = about.iter().any(|entry| entry.kind == Kind::Erasure);
            Ok(Some((record, opening, erased)))
        })?;
        let Some((record, opening, erased)) = read else { return Ok(None) };
        let statement = Statement::<Decision>::parse_unverified(&record.entry.payload)
            .map_err(|error| damaged(execution_id, error))?
            .predicate;
        let loaded = self.bundle_of(&record.summary)?;
        let inputs = match opening {
            None if erased => Inputs::Erased,
            None => return Err(damaged(execution_id, Damage::NoOpening)),
            Some(sealed) => {
                let plain = self
                    .opening_key
                    .open(&record.entry.record_id, &sealed.opening)
                    .map_err(|error| damaged(execution_id, error))?;
                let value = json::parse(&plain, Limits::EVIDENCE_LINE)
                    .map_err(|fault| damaged(execution_id, fault))?;
                let opening = Opening::parse(value).map_err(|error| damaged(execution_id, error))?;
                let roots = opening.roots().map_err(|error| damaged(execution_id, error))?;
                let candidates = statement.candidates.as_ref().map(|candidates| candidates.candidates_root);
                if roots != (statement.signals_root, candidates) {
                    return Err(damaged(execution_id, Damage::Roots));
                }
                match opening {
                    Opening::Full { signals, candidates, .. } => Inputs::Full { signals, candidates },
                    Opening::Partial { fields, candidates } => Inputs::Partial { fields, candidates },
                }
            }
        };
        Ok(Some(Recorded { summary: record.summary, statement, loaded, inputs }))
    }
}

fn damaged(execution_id: &ExecutionId, source: impl Error + Send + Sync + 'static) -> ExecuteError {
    ExecuteError::Damaged { execution_id: execution_id.clone(), source: Box::new(source) }
}

impl Recorded {
    /// The inputs as the bundle that decided types them; none where they are not all there.
    ///
    /// # Errors
    /// [`ExecuteError::Damaged`]: they were typed by this very bundle when it was decided.
    pub(crate) fn typed(&self) -> Result<Option<Typed>, ExecuteError> {
        let Inputs::Full { signals, candidates } = &self.inputs else { return Ok(None) };
        match type_inputs(&self.loaded.bundle, signals, candidates.as_ref()) {
            Ok(typed) => Ok(Some(typed)),
            Err(_) => Err(damaged(&self.statement.execution_id, Damage::Types)),
        }
    }
}

/// Types recorded inputs by a bundle.
///
/// # Errors
/// Every fault; none of them holds a value.
pub(crate) fn type_inputs(
    bundle: &Bundle,
    signals: &Value,
    candidates: Option<&Value>,
) -> Result<Typed, Vec<json::Fault>> {
    let root = Pointer::root();
    let signals = bundle.type_signals(signals, &root.member("signals"));
    let candidates =
        candidates.map(|value| bundle.type_candidates(value, &root.member("candidates"))).transpose();
    match (signals, candidates) {
        (Ok(signals), Ok(candidates)) => Ok((signals, candidates)),
        (signals, candidates) => Err(signals.err().into_iter().chain(candidates.err()).flatten().collect()),
    }
}
