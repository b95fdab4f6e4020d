//! Explaining a recorded decision to a customer, an agent or a regulator.
//!
//! The words are [`chancery_policy::explain`]'s: a pure function of the recorded statement, its bundle and what is left
//! of its inputs. So every node gives the same bytes, now and in ten years; what became of the decision since is not in
//! them. Nothing is recorded.

use crate::error::ExecuteError;
use crate::recorded::Inputs;
use crate::runtime::Runtime;
use chancery_core::ids::ExecutionId;
use chancery_policy::Disclosed;

pub use chancery_policy::{Audience, Explanation};

impl Runtime {
    /// The explanation of a decision; none where the id was never used. Blocks; needs about 1.5 MiB of stack.
    ///
    /// # Errors
    /// [`ExecuteError`] of the store or of the bundle; [`ExecuteError::Damaged`] where the record does not hold.
    pub fn explain(
        &self,
        execution_id: &ExecutionId,
        audience: Audience,
    ) -> Result<Option<Explanation>, ExecuteError> {
        let Some(recorded) = self.inner.recorded(execution_id)? else { return Ok(None) };
        let typed = recorded.typed()?;
        let disclosed = match (&typed, &recorded.inputs) {
            (Some((signals, candidates)), _) => {
                Disclosed::Full { signals, candidates: candidates.as_deref() }
            }
            (None, Inputs::Erased) => Disclosed::Erased,
            (None, _) => Disclosed::Partial,
        };
        Ok(Some(recorded.loaded.bundle.explain(&recorded.statement, disclosed, audience)))
    }
}
