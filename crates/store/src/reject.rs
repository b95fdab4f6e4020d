//! Why the log writer did not take a record.
//!
//! A rejection concerns one record and leaves the others of its batch alone. It means: an auditor's verifier
//! would refuse this record at the index that it would get.

use std::sync::Arc;

use chancery_core::digest::{BundleHash, Fingerprint, RecordId};
use chancery_core::ids::{ExecutionId, PolicyId};
use chancery_core::key::KeyId;
use chancery_core::keyring::{KeyringError, Standing};
use chancery_core::time::Timestamp;

use crate::error::StoreError;
use crate::read::InForce;

/// What [`Store::submit`](crate::Store::submit) fails with.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// The record may not be logged, now or ever; nothing about the store is wrong.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The store failed. Whether the record was recorded is known: it was not, unless the error is
    /// [`StoreError::WriterGone`], after which the same execution id must be asked for again.
    #[error(transparent)]
    Store(Arc<StoreError>),
}

impl From<StoreError> for SubmitError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// Why a record may not be logged.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// The decision was made with a bundle that is not in force any more: decide again.
    #[error("the bundle that `{policy}` was decided with is not the one in force")]
    Stale {
        /// The policy.
        policy: PolicyId,
        /// What is in force, if anything.
        in_force: Option<InForce>,
    },
    /// The execution id was used with other inputs.
    #[error("`{execution_id}` was decided at index {index} with other inputs ({recorded})")]
    Execution {
        /// The id.
        execution_id: ExecutionId,
        /// The fingerprint of the decision that is recorded.
        recorded: Fingerprint,
        /// Where that decision is in the log.
        index: u64,
    },
    /// The signer may not sign this here.
    #[error("the key {signer} cannot sign this: {standing}")]
    Key {
        /// The key.
        signer: KeyId,
        /// What is wrong with it.
        standing: Standing,
    },
    /// A record other than a keyring version has one signature (formats §4).
    #[error("the record has {got} signatures instead of one")]
    Signatures {
        /// How many it has.
        got: usize,
    },
    /// The log has no keyring yet, so nothing but one can be logged.
    #[error("the log has no keyring yet")]
    NoKeyring,
    /// The claimed time lies too far before the newest one in the log: the clock goes wrong.
    #[error(
        "the time {claimed} lies more than 30 s before the newest one in the log, {newest}: check the clock"
    )]
    Clock {
        /// What the record claims.
        claimed: Timestamp,
        /// The newest time that a runtime-signed entry claims.
        newest: Timestamp,
    },
    /// An activation that does not continue from what is in force.
    #[error("`previous` of the activation of `{policy}` is not what is in force")]
    Previous {
        /// The policy.
        policy: PolicyId,
        /// What is in force, if anything.
        in_force: Option<InForce>,
    },
    /// An activation of a bundle that was not published under that id and version.
    #[error("the bundle {bundle_hash} is not published for `{policy}`: publish it first")]
    NotPublished {
        /// The policy.
        policy: PolicyId,
        /// The bundle.
        bundle_hash: BundleHash,
    },
    /// The very same record is in the log.
    #[error("the record {record_id} is in the log already, at index {index}")]
    Recorded {
        /// The record.
        record_id: RecordId,
        /// Where it is.
        index: u64,
    },
    /// A keyring version that does not extend the one before.
    #[error("the keyring version does not extend the log's keyring")]
    Keyring(#[source] Arc<KeyringError>),
    /// A keyring version of another tenant or log.
    #[error("the keyring version names another tenant or log origin")]
    OtherLog,
    /// A keyring version whose columns say something else than its statement.
    #[error("the version or expiry given beside the keyring is not that of its statement")]
    Columns,
    /// The record is about a decision that is not in the log.
    #[error("there is no decision `{execution_id}` with this fingerprint")]
    NoDecision {
        /// The execution id.
        execution_id: ExecutionId,
    },
    /// The decision was not left to approvers.
    #[error("`{execution_id}` waits for no approver")]
    NotWaiting {
        /// The execution id.
        execution_id: ExecutionId,
    },
    /// Another override of the log has this nonce.
    #[error("the nonce was used at index {index}: ask for a new statement")]
    Nonce {
        /// Where it was used.
        index: u64,
    },
    /// The approver, or the key, has answered in this case.
    #[error("the approver, or the key, has answered already, at index {index}")]
    Answered {
        /// Where the answer is.
        index: u64,
        /// Whether it is the key, under another name.
        key: bool,
    },
    /// The key is not the approver's, or one of them is a runtime's.
    #[error("the key is not that of `{approver}`, or belongs to a runtime")]
    Approver {
        /// Whom the statement names.
        approver: String,
    },
    /// The case has other answers than when its rule was applied: look at it again.
    #[error("the case of `{execution_id}` has moved on")]
    Moved {
        /// The execution id.
        execution_id: ExecutionId,
    },
    /// A verification that was wanted only where there is none, and there is one.
    #[error("`{execution_id}` was verified already, at index {index}")]
    Verified {
        /// The execution id.
        execution_id: ExecutionId,
        /// Where a verification is.
        index: u64,
    },
    /// A decision has at most one of these, and it has it.
    #[error("`{execution_id}` has one already, at index {index}")]
    Second {
        /// The execution id.
        execution_id: ExecutionId,
        /// Where the first one is.
        index: u64,
    },
}
