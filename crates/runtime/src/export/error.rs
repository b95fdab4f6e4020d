//! Why there is no evidence.

use crate::build::RecordedBuildError;
use crate::bundles::BundleError;
use crate::checkpoint::CheckpointError;
use crate::error::{RuntimeKeyError, store_cause, store_code, store_detail};
use crate::failure::{Cause, Failure};
use crate::vault::VaultError;
use chancery_core::commitment::OpeningError;
use chancery_core::digest::{BundleHash, Digest};
use chancery_core::evidence::WriteError;
use chancery_core::ids::ExecutionId;
use chancery_core::statement::StatementError;
use chancery_store::StoreError;

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// Nothing is recorded.
    #[error("the log is empty: there is nothing to export")]
    EmptyLog,
    /// A range outside the log.
    #[error("the range {from}..{to} is not in the log, which has {size} entries")]
    Range {
        /// Its beginning.
        from: u64,
        /// Its end.
        to: u64,
        /// The log's size.
        size: u64,
    },
    /// A filter that chooses nothing out.
    #[error("the filter is empty: export the whole log, or say what you want of it")]
    EmptyFilter,
    /// No execution state.
    #[error("`{state}` is no state: say `completed`, `pending_override` or `blocked`")]
    State {
        /// What was given.
        state: String,
    },
    /// A signal to hide that no bundle of the export has.
    #[error(
        "no policy of these decisions has a signal `{signal}`, so nothing would be hidden: check its spelling"
    )]
    Hidden {
        /// The name.
        signal: String,
    },
    /// There is no such decision.
    #[error("there is no decision `{execution_id}`")]
    NoDecision {
        /// The id.
        execution_id: ExecutionId,
    },
    /// A bundle that decisions name is gone.
    #[error("the bundle {bundle} is named by decisions and is not in the store: run `chancery fsck`")]
    BundleMissing {
        /// Its hash.
        bundle: BundleHash,
    },
    /// A build that decisions name is gone.
    #[error("the build {build} is named by decisions and is not in the store: run `chancery fsck`")]
    BuildMissing {
        /// SHA-256 of its payload.
        build: Digest,
    },
    /// A build does not hold.
    #[error(transparent)]
    Build(#[from] RecordedBuildError),
    /// A bundle does not hold.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// There is no checkpoint to prove anything against.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A record does not parse.
    #[error("the record at {index} is damaged: run `chancery fsck`")]
    Statement {
        /// Its index.
        index: u64,
        /// What is wrong.
        #[source]
        source: StatementError,
    },
    /// Entries are missing.
    #[error("entries of {from}..{to} are not in the store: run `chancery fsck`")]
    Missing {
        /// The first index asked for.
        from: u64,
        /// The index after the last.
        to: u64,
    },
    /// An opening does not open.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// An opening is none.
    #[error("the opening of the decision at {index} is damaged: run `chancery fsck --full`")]
    Opening {
        /// The decision's index.
        index: u64,
        /// What is wrong.
        #[source]
        source: OpeningError,
    },
    /// The runtime's key may not sign the trailer.
    #[error(transparent)]
    RuntimeKey(#[from] RuntimeKeyError),
    /// A line was not written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Failure for ExportError {
    fn whose(&self) -> Cause {
        match self {
            Self::EmptyLog
            | Self::Range { .. }
            | Self::EmptyFilter
            | Self::State { .. }
            | Self::Hidden { .. } => Cause::Caller,
            Self::NoDecision { .. } => Cause::NotFound,
            Self::Bundle(error) => error.whose(),
            Self::Checkpoint(error) => error.whose(),
            Self::Store(error) => store_cause(error),
            Self::Write(_) | Self::RuntimeKey(_) => Cause::Unavailable,
            Self::BundleMissing { .. }
            | Self::BuildMissing { .. }
            | Self::Build(_)
            | Self::Statement { .. }
            | Self::Missing { .. }
            | Self::Vault(_)
            | Self::Opening { .. } => Cause::Corrupt,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::EmptyLog => "log.empty",
            Self::Range { .. } => "log.range",
            Self::EmptyFilter | Self::State { .. } => "export.filter",
            Self::Hidden { .. } => "export.hidden",
            Self::NoDecision { .. } => "execution.unknown",
            Self::Bundle(error) => error.code(),
            Self::Checkpoint(error) => error.code(),
            Self::Store(error) => store_code(error),
            Self::RuntimeKey(_) => "runtime.key",
            Self::Write(_) => "export.failed",
            _ => "store.corrupt",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::EmptyLog
            | Self::Range { .. }
            | Self::EmptyFilter
            | Self::State { .. }
            | Self::Hidden { .. }
            | Self::NoDecision { .. } => self.to_string(),
            Self::Store(error) => store_detail(error),
            Self::Bundle(error) => error.detail(),
            Self::Checkpoint(error) => error.detail(),
            _ => "the evidence cannot be written; the operator's log says why".to_owned(),
        }
    }
}
