//! Whose turn it is: of all nodes on a database one backfills at a time.
//!
//! ```text
//! leases   backfills │ holder: "302~-~-~- 5f0c…"      the job that runs, and a name that no other turn has
//! ```
//! It spares work: that no decision gets two verifications is the log writer's business. A SQLite file has one process,
//! which keeps its own jobs apart.

use super::BackfillJob;
use crate::edge::{self, EntropyError};
use crate::error::{store_cause, store_code, store_detail};
use crate::failure::{Cause, Failure};
use crate::nodes::Work;
use crate::records::{Records, RecordsError};
use crate::runtime::Runtime;
use chancery_store::StoreError;
use std::sync::PoisonError;

/// How long a turn lasts that is not renewed, ms: so long a job of a node that was killed is in the way of others. More than
/// a step takes.
const TURN_MS: u32 = 30_000;

/// The right to backfill. Whoever took it gives it back with [`BackfillTurn::end`], or others wait until it is over.
#[derive(Clone)]
pub struct BackfillTurn {
    runtime: Runtime,
    holder: String,
}

impl Runtime {
    /// Takes the turn for a job; none while another one runs, on whatever node. Blocks.
    ///
    /// # Errors
    /// [`TurnError`].
    pub fn begin_backfill(&self, job: &BackfillJob) -> Result<Option<BackfillTurn>, TurnError> {
        let own: [u8; 8] = edge::random(self.inner.entropy.as_ref())?;
        let holder = format!("{job} {:016x}", u64::from_be_bytes(own));
        let turn = BackfillTurn { runtime: self.clone(), holder };
        if !turn.renew()? {
            return Ok(None);
        }
        *self.inner.turn.lock().unwrap_or_else(PoisonError::into_inner) = Some(turn.holder.clone());
        Ok(Some(turn))
    }

    /// Gives back the turn that a job of this process still has: for a process that ends, and does not wait for its job.
    /// Blocks.
    pub fn end_backfills(&self) {
        let turn = self.inner.turn.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(holder) = turn {
            BackfillTurn { runtime: self.clone(), holder }.end();
        }
    }
}

impl Records {
    /// The job that runs on some node of a shared database. None of a SQLite file, whose process knows it.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn running_backfill(&self) -> Result<Option<BackfillJob>, RecordsError> {
        let holder = self.store.lease_holder(Work::Backfills.name())?;
        Ok(holder.and_then(|holder| holder.split_once(' ')?.0.parse().ok()))
    }
}

impl BackfillTurn {
    /// Keeps it for half a minute from now on; false where another job has it by now. Blocks.
    ///
    /// # Errors
    /// [`StoreError`]; the turn lasts until its time is over.
    pub fn renew(&self) -> Result<bool, StoreError> {
        Ok(self.runtime.hold_lease(Work::Backfills, &self.holder, TURN_MS)?.is_some())
    }

    /// Gives it back. Blocks.
    pub fn end(&self) {
        let mut last = self.runtime.inner.turn.lock().unwrap_or_else(PoisonError::into_inner);
        last.take_if(|holder| *holder == self.holder);
        drop(last);
        if let Err(error) = self.runtime.release_lease(Work::Backfills, &self.holder) {
            tracing::warn!(%error, "another backfill has to wait until this one's turn is over");
        }
    }
}

/// Why no turn could be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TurnError {
    /// There was no random name for it.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl Failure for TurnError {
    fn whose(&self) -> Cause {
        match self {
            Self::Entropy(_) => Cause::Unavailable,
            Self::Store(error) => store_cause(error),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Entropy(_) => "runtime.entropy",
            Self::Store(error) => store_code(error),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Entropy(_) => "the system gives no random bytes".to_owned(),
            Self::Store(error) => store_detail(error),
        }
    }
}
