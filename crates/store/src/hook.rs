//! The named steps of the write path, and the hook that a crash test hangs on them.
//!
//! The hook runs on the writer's thread. It can abort the process, which is what the tests of durability do, or
//! say that the step fails as if the database had failed there.

use std::sync::Arc;

/// A step of the write path. The hook is called when the step has just been done.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Step {
    /// A batch was taken off the queue.
    Taken,
    /// The transaction is open.
    Begun,
    /// A decision's, activation's, … own row is inserted, its entry is not.
    RowInserted,
    /// The entry and all that belongs to it are inserted.
    EntryInserted,
    /// Every entry of the batch and the full tiles are inserted, the head still stands where it did.
    TilesInserted,
    /// The head has moved; the transaction is still open.
    HeadMoved,
    /// The transaction is committed, nobody has been answered.
    Committed,
    /// Everybody has been answered.
    Answered,
    /// The write-ahead log is about to be moved into the file.
    Checkpointing,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 9] = [
        Self::Taken,
        Self::Begun,
        Self::RowInserted,
        Self::EntryInserted,
        Self::TilesInserted,
        Self::HeadMoved,
        Self::Committed,
        Self::Answered,
        Self::Checkpointing,
    ];
}

/// What a hook makes of a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnStep {
    /// Go on.
    Go,
    /// Behave as if the database had failed. Only steps before [`Step::Committed`] can fail.
    Fail,
}

/// See [`Options::hook`](crate::Options::hook).
pub type StepHook = Arc<dyn Fn(Step) -> OnStep + Send + Sync>;
