//! Everything that can be read from a store.
//!
//! A [`Reader`] lives inside one read transaction, so that what it says is of one moment: a decision, its entry
//! and its resolution fit together. Rows are parsed into the core's types on the way out; what does not parse, or
//! does not hash to what it says, is [`StoreError::Corrupt`].
//!
//! Rows that a unique key finds are read with `get_result` and not with `first`: diesel binds the value of the `LIMIT`
//! that `first` adds, and SQLite prepares a statement anew whenever such a value is bound.

mod decisions;
mod entries;
mod filter;
mod log;
mod overrides;
mod rows;
mod times;
mod trust;
mod verifications;

use chancery_core::b64;
use chancery_core::digest::{BundleHash, ChainHash, Digest, LeafHash, RecordId, RootHash};
use chancery_core::dsse::{Envelope, IN_TOTO, Signature};
use chancery_core::ids::{PolicyId, PolicyVersion, TenantId};
use chancery_core::log::Kind;
use chancery_core::merkle;
use chancery_core::time::Timestamp;

use crate::database::Connection;
use crate::entry::EncryptedOpening;

pub(crate) use self::decisions::known_decision;
pub(crate) use self::entries::recorded_since;
pub(crate) use self::log::{frontier, head, leaves, lock_head, right_edge};
pub use self::overrides::{CaseRecord, OpenCases};
pub use self::rows::{Columns, EventRow};
pub use self::verifications::{
    Unverified, VerdictCounts, VerificationFilter, VerificationPage, VerificationRow,
};

/// Reads inside one transaction: see [`Store::read`](crate::Store::read) and
/// [`Snapshot::read`](crate::Snapshot::read).
pub struct Reader<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) tenant: &'a TenantId,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(connection: &'a mut Connection, tenant: &'a TenantId) -> Self {
        Self { connection, tenant }
    }
}

/// Where the log stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// How many entries there are.
    pub size: u64,
    /// The tree's root.
    pub root_hash: RootHash,
    /// The chain hash after the last entry.
    pub chain_hash: ChainHash,
    /// The newest time that a runtime-signed entry claims.
    pub newest_claimed_at: Option<Timestamp>,
}

impl Head {
    /// The log before its first entry.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            size: 0,
            root_hash: merkle::empty_root(),
            chain_hash: ChainHash::ZERO,
            newest_claimed_at: None,
        }
    }
}

/// A log entry with what was signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Its 0-based place.
    pub index: u64,
    /// What it is.
    pub kind: Kind,
    /// `H(PAE)`; compared with the payload when it was read.
    pub record_id: RecordId,
    /// The hash in the tree; compared with kind and record id when it was read.
    pub leaf_hash: LeafHash,
    /// The time that its statement claims.
    pub claimed_at: Timestamp,
    /// When it was written.
    pub recorded_at: Timestamp,
    /// The payload's exact bytes.
    pub payload: Vec<u8>,
    /// The envelope's signatures, in order.
    pub signatures: Vec<Signature>,
}

impl Entry {
    /// The envelope, as it was signed.
    #[must_use]
    pub fn into_envelope(self) -> Envelope {
        Envelope {
            payload: b64::Bytes(self.payload),
            payload_type: IN_TOTO.to_owned(),
            signatures: self.signatures,
        }
    }

    /// A copy of the envelope.
    #[must_use]
    pub fn envelope(&self) -> Envelope {
        self.clone().into_envelope()
    }
}

/// The bundle that decides for a policy now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InForce {
    /// The bundle.
    pub bundle_hash: BundleHash,
    /// Its version.
    pub policy_version: PolicyVersion,
    /// The index of its activation.
    pub index: u64,
}

/// A bundle was put in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Activation {
    /// Its place in the log.
    pub index: u64,
    /// The activation statement.
    pub record_id: RecordId,
    /// The policy.
    pub policy_id: PolicyId,
    /// The version that decides from here on.
    pub policy_version: PolicyVersion,
    /// Its bundle.
    pub bundle_hash: BundleHash,
    /// The bundle before.
    pub previous: Option<BundleHash>,
    /// When it was signed.
    pub activated_at: Timestamp,
    /// Who asked for it.
    pub requested_by: String,
    /// Why.
    pub reason: String,
}

/// A signed tree head.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredCheckpoint {
    /// The tree size.
    pub size: u64,
    /// The root hash.
    pub root_hash: RootHash,
    /// The signed note, with cosignatures.
    pub note: String,
    /// When it was stored.
    pub created_at: Timestamp,
}

/// An encrypted opening of a decision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredOpening {
    /// The decision's index.
    pub index: u64,
    /// What is stored.
    pub opening: EncryptedOpening,
}

/// One of the tenant's secret keys, wrapped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TenantKey {
    /// What the key is for.
    pub purpose: String,
    /// The key, encrypted by the vault.
    pub wrapped: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A build identity beyond its log entry, whose payload is the statement.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BuildIdentityRecord {
    /// Its place in the log.
    pub index: u64,
    /// SHA-256 of its payload, as decisions name it.
    pub payload_sha256: Digest,
    /// SHA-256 of the release binary.
    pub binary_sha256: Digest,
    /// The sigstore bundle over the payload, JSON bytes.
    pub signature: Vec<u8>,
    /// The CycloneDX document.
    pub sbom: Option<Vec<u8>>,
}
