//! What nodes on one database do for each other: one of them does the work that one is enough for, and all go by the
//! newest rules.
//!
//! ```text
//! Work ── lease (compare-and-swap, the database's clock) ──► one node signs checkpoints, one ends override cases
//! log ── newest activation or keyring version ──► every node's snapshot, a moment later
//! ```
//! Neither is what correctness rests on. The log writer refuses a decision whose bundle is no longer in force and a second
//! end of a case, and a head is signed only by who has read the leaves to it: [`crate::checkpoint`].

use crate::bundles::BundleError;
use crate::runtime::{Inner, Runtime};
use chancery_store::StoreError;

/// Work that one node of several is enough for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Work {
    /// Signing the head of the log.
    Checkpoints,
    /// Ending override cases whose time is over.
    Overrides,
    /// Verifying old decisions, while somebody has asked for that.
    Backfills,
}

impl Work {
    /// Its name in the table of leases.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Checkpoints => "checkpoints",
            Self::Overrides => "overrides",
            Self::Backfills => "backfills",
        }
    }
}

impl Runtime {
    /// Whether other processes may have this log open as well.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.inner.store.is_shared()
    }

    /// Takes or renews the lease on `work` for `holder`, a name that no other process has; the number of its term, or none
    /// while another process holds it. It lasts `for_ms` from the moment of the call. Blocks.
    ///
    /// # Errors
    /// [`StoreError`]; what was held before lasts until its time is over.
    pub fn hold_lease(&self, work: Work, holder: &str, for_ms: u32) -> Result<Option<u64>, StoreError> {
        self.inner.store.hold_lease(work.name(), holder, for_ms)
    }

    /// Gives a lease back, so that another node takes it at once. Blocks.
    ///
    /// # Errors
    /// [`StoreError`]; the lease ends by itself then.
    pub fn release_lease(&self, work: Work, holder: &str) -> Result<(), StoreError> {
        self.inner.store.release_lease(work.name(), holder)
    }

    /// Goes by what other nodes have put in force since: bundles and keyring versions. Whether there was anything. Blocks,
    /// and is one small query when there is nothing new.
    ///
    /// # Errors
    /// [`BundleError`]; this node goes on by what it knew, which the log writer refuses where it is out of date.
    pub fn follow_rules(&self) -> Result<bool, BundleError> {
        self.inner.follow_rules()
    }
}

impl Inner {
    pub(crate) fn follow_rules(&self) -> Result<bool, BundleError> {
        if !self.store.is_shared() {
            return Ok(false);
        }
        let newest = self.store.read(|reader| reader.rules_index())?;
        if newest <= self.snapshot().rules {
            return Ok(false);
        }
        self.refresh().map(|()| true)
    }
}
