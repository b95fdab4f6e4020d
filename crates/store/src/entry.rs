//! What is handed to the log writer, and what it answers.
//!
//! A [`NewEntry`] holds the exact payload bytes that were signed, and beside them the columns by which the record
//! is found again. The writer never reads the payload: whoever made the statement fills in the columns from it,
//! and `fsck` compares them.

use std::collections::BTreeMap;
use std::sync::Arc;

use chancery_core::digest::{BundleHash, Digest, Fingerprint, LeafHash, RecordId, SignalsRoot};
use chancery_core::dsse::Signature;
use chancery_core::ids::{EntityUid, ExecutionId, PolicyId, PolicyVersion};
use chancery_core::key::KeyId;
use chancery_core::keyring::Role;
use chancery_core::log::Kind;
use chancery_core::statement::{ExecutionState, Nonce, OverrideResolution, ResolutionStatus, Verdict};
use chancery_core::time::Timestamp;

use crate::decision::DecisionRecord;

/// A signed record that wants to be in the log.
///
/// The signatures were made and checked before: the writer judges whether the signer may sign this at the index
/// that the record gets, not whether the signature holds.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// The payload bytes, exactly as signed. At most [`PAYLOAD_BYTES_MAX`].
    pub payload: Vec<u8>,
    /// The envelope's signatures, in its order; one, but for a keyring.
    pub signatures: Vec<Signature>,
    /// `H(PAE)` of the envelope.
    pub record_id: RecordId,
    /// The time that the statement claims (`executedAt`, `activatedAt`, …).
    pub claimed_at: Timestamp,
    /// The columns of its kind.
    pub body: Body,
}

/// The longest payload that is taken, bytes: half an evidence line (64 MiB), which carries it in base64.
pub const PAYLOAD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The columns of a record, by kind.
#[derive(Clone, Debug)]
pub enum Body {
    /// Kind 1.
    Decision(Box<NewDecision>),
    /// Kind 2.
    Override(Box<NewOverride>),
    /// Kind 3.
    Resolution(NewResolution),
    /// Kind 4.
    Verification(NewVerification),
    /// Kind 5.
    Activation(NewActivation),
    /// Kind 6.
    Keyring(NewKeyring),
    /// Kind 7.
    Erasure(NewErasure),
    /// Kind 8.
    BuildIdentity(NewBuildIdentity),
    /// Kind 9.
    Confirmation(NewConfirmation),
}

/// A decision: formats §4.1. Its `executedAt` is [`NewEntry::claimed_at`].
#[derive(Clone, Debug)]
pub struct NewDecision {
    /// Unique in the log.
    pub execution_id: ExecutionId,
    /// What tells a repeat from a conflict.
    pub fingerprint: Fingerprint,
    /// The policy that decided.
    pub policy_id: PolicyId,
    /// Its version.
    pub policy_version: PolicyVersion,
    /// Its bundle; must be the one in force when the record gets its index.
    pub bundle_hash: BundleHash,
    /// The outcome.
    pub outcome: String,
    /// The state right after the decision.
    pub state: ExecutionState,
    /// Who submitted.
    pub principal: EntityUid,
    /// What was decided on.
    pub resource: EntityUid,
    /// The commitment to the signals.
    pub signals_root: SignalsRoot,
    /// `runtime.buildIdentity`.
    pub build_identity: Option<Digest>,
    /// The caller's labels; empty where there are none.
    pub labels: BTreeMap<String, String>,
    /// The encrypted signals.
    pub opening: Option<EncryptedOpening>,
}

/// An opening, encrypted with AES-256-GCM: data key `HMAC(opening key, "chancery/v1/opening" ‖ 0x00 ‖ salt)`,
/// associated data the tenant and `H(PAE)`. The store cannot read it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EncryptedOpening {
    /// 32 random bytes.
    pub salt: [u8; 32],
    /// 12 random bytes.
    pub nonce: [u8; 12],
    /// Ciphertext and tag.
    pub ciphertext: Vec<u8>,
    /// Whether some fields were erased: it is a partial opening, without `secret`.
    pub partial: bool,
}

/// A bundle is put in force: formats §4.4.
#[derive(Clone, Debug)]
pub struct NewActivation {
    /// The policy.
    pub policy_id: PolicyId,
    /// Its version; must be published.
    pub policy_version: PolicyVersion,
    /// The published bundle's hash.
    pub bundle_hash: BundleHash,
    /// What was in force before; must be what is in force.
    pub previous: Option<BundleHash>,
    /// Who asked for it.
    pub requested_by: String,
    /// Why.
    pub reason: String,
}

/// A keyring version: formats §6. The writer reads the envelope itself.
#[derive(Clone, Debug)]
pub struct NewKeyring {
    /// 1, 2, …
    pub version: u64,
    /// Until when it is valid.
    pub expires_at: Timestamp,
}

/// A build identity: formats §8.
#[derive(Clone, Debug)]
pub struct NewBuildIdentity {
    /// SHA-256 of the payload, which decisions name as `runtime.buildIdentity`.
    pub payload_sha256: Digest,
    /// SHA-256 of the release binary.
    pub binary_sha256: Digest,
    /// The sigstore bundle over the payload as a blob, as JSON bytes.
    pub signature: Vec<u8>,
    /// The CycloneDX document, where there is one.
    pub sbom: Option<Vec<u8>>,
}

/// An approver's statement: formats §4.2.
#[derive(Clone, Debug)]
pub struct NewOverride {
    /// The decision that it answers.
    pub execution_id: ExecutionId,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// The approver's subject name.
    pub approver: String,
    /// The role that they use, without `approver:`.
    pub role: String,
    /// Approve or reject.
    pub resolution: OverrideResolution,
    /// What it is to become; present exactly for an approval.
    pub outcome: Option<String>,
    /// Why, in words.
    pub reason: String,
    /// Why, as a code.
    pub reason_code: String,
    /// Until when the statement can count.
    pub expires_at: Timestamp,
    /// Used once in a log.
    pub nonce: Nonce,
    /// How many overrides the case had when its rule was applied; with another number the record is rejected.
    pub answers_before: u32,
    /// The resolution of the case, where this override ends it: logged right behind it, in the same transaction.
    pub ends: Option<Box<NewEntry>>,
}

/// The end of an override case: formats §4.3.
#[derive(Clone, Debug)]
pub struct NewResolution {
    /// The decision.
    pub execution_id: ExecutionId,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// How it ended.
    pub resolution: ResolutionStatus,
    /// The outcome that holds from now on.
    pub final_outcome: String,
}

/// A recorded check: formats §4.4. The three answers are `None` where the check could not run.
#[derive(Clone, Debug)]
pub struct NewVerification {
    /// The decision.
    pub execution_id: ExecutionId,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// The verdict over all checks.
    pub verdict: Verdict,
    /// `envelope.signature`.
    pub signature_verified: Option<bool>,
    /// `build.binding`.
    pub runtime_verified: Option<bool>,
    /// `statement.schema`.
    pub schema_compatible: Option<bool>,
    /// Name and version of the verifier.
    pub verifier: String,
    /// Taken only where the decision has no verification yet, whoever else is about to record one.
    pub only_first: bool,
}

/// What was really done: formats §4.4.
#[derive(Clone, Debug)]
pub struct NewConfirmation {
    /// The decision.
    pub execution_id: ExecutionId,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// What was done.
    pub outcome: String,
    /// The caller's reference.
    pub reference: String,
    /// When it was done.
    pub executed_at: Timestamp,
    /// Who says so.
    pub confirmed_by: String,
}

/// Openings are erased: formats §4.4. The openings go in the transaction that logs this.
#[derive(Clone, Debug)]
pub struct NewErasure {
    /// The legal ground.
    pub basis: String,
    /// `None` for all fields, else their names.
    pub fields: Option<Vec<String>>,
    /// Who asked for it.
    pub requested_by: String,
    /// The decisions whose openings go.
    pub executions: Vec<ErasedExecution>,
}

/// One decision of an erasure.
#[derive(Clone, Debug)]
pub struct ErasedExecution {
    /// The decision.
    pub execution_id: ExecutionId,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// The partial opening that takes the place of the one that goes; `None` when everything goes.
    pub remaining: Option<EncryptedOpening>,
}

/// What the writer did with a record.
#[derive(Clone, Debug)]
pub enum Appended {
    /// It is in the log, durably.
    New {
        /// Its 0-based index.
        index: u64,
        /// Its leaf hash.
        leaf_hash: LeafHash,
        /// When the batch was written, by [`Options::clock`](crate::Options::clock).
        recorded_at: Timestamp,
    },
    /// The same execution with the same fingerprint was recorded before: that record is the answer.
    Known(Arc<DecisionRecord>),
}

impl Appended {
    /// The index of the record, new or known.
    #[must_use]
    pub fn index(&self) -> u64 {
        match self {
            Self::New { index, .. } => *index,
            Self::Known(record) => record.entry.index,
        }
    }

    /// Its leaf hash.
    #[must_use]
    pub fn leaf_hash(&self) -> LeafHash {
        match self {
            Self::New { leaf_hash, .. } => *leaf_hash,
            Self::Known(record) => record.entry.leaf_hash,
        }
    }
}

impl NewEntry {
    /// The kind that the log entry gets.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.body {
            Body::Decision(_) => Kind::Decision,
            Body::Override(_) => Kind::Override,
            Body::Resolution(_) => Kind::Resolution,
            Body::Verification(_) => Kind::Verification,
            Body::Activation(_) => Kind::Activation,
            Body::Keyring(_) => Kind::Keyring,
            Body::Erasure(_) => Kind::Erasure,
            Body::BuildIdentity(_) => Kind::BuildIdentity,
            Body::Confirmation(_) => Kind::Confirmation,
        }
    }

    /// The key that signed; a keyring's are judged by the keyring itself.
    #[must_use]
    pub fn signer(&self) -> Option<&KeyId> {
        match self.body {
            Body::Keyring(_) => None,
            _ => self.signatures.first().map(|signature| &signature.keyid),
        }
    }

    /// The role that its signer needs.
    pub(crate) fn role(&self) -> Option<Role> {
        match &self.body {
            Body::Decision(_) | Body::Resolution(_) | Body::Verification(_) | Body::Confirmation(_) => {
                Some(Role::Runtime)
            }
            Body::Override(body) => Some(Role::Approver(body.role.clone())),
            Body::Activation(_) => Some(Role::Policy),
            Body::Erasure(_) => Some(Role::Erasure),
            Body::BuildIdentity(_) => Some(Role::Build),
            Body::Keyring(_) => None,
        }
    }

    /// What it counts for in the writer's limit of bytes a transaction.
    pub(crate) fn weight(&self) -> usize {
        let more = match &self.body {
            Body::Decision(decision) => {
                decision.opening.as_ref().map_or(0, |opening| opening.ciphertext.len())
            }
            Body::Override(row) => row.ends.as_ref().map_or(0, |ends| ends.weight()),
            _ => 0,
        };
        self.payload.len() + more
    }
}
