//! The keyring: which key may do what, from which log entry on (formats §6).
//!
//! ```text
//! root.pub ──equals the root keys and threshold of one version──┐
//!                                                               v
//! version 1 <──previous = H(PAE)── version 2 <──previous── version 3      each is a log entry
//!            signed by the threshold of the version before and by its own
//! ```
//!
//! Later versions follow from the one that `root.pub` equals by their signatures, earlier ones by the hashes in
//! `previous`. A key is judged at a log index: the newest version below it says what the key may do, and every
//! version, also a later one, may have revoked it.

use std::collections::HashMap;

use crate::digest::RecordId;
use crate::dsse::{self, Envelope, EnvelopeError};
use crate::key::{KeyId, PublicKey};
use crate::statement::{Statement, StatementError};
use crate::time::Timestamp;

mod draft;
mod role;
mod root;
mod version;

pub use draft::{
    Change, DraftError, ISSUED_AGO_MAX_MS, ISSUED_AHEAD_MAX_MS, Moment, Objection, ROOT_KEYS_MAX,
    VALIDITY_MAX_MS, review_first,
};
pub use role::{ParseRoleError, Role};
pub use root::{RootPub, RootPubError};
pub use version::{KeyEntry, KeyringVersion, Revocation, RootKey};

/// All versions of a keyring whose chain and signatures hold, oldest first.
///
/// Immutable but for [`Keyring::push`]; judging takes a hash lookup or two.
#[derive(Clone, Debug)]
pub struct Keyring {
    versions: Vec<Version>,
    /// For each revoked key the lowest `fromIndex` of all versions: no later version lifts or raises it.
    revoked_from: HashMap<KeyId, u64>,
}

/// A keyring version with its place in the log.
#[derive(Clone, Debug)]
pub struct Version {
    index: u64,
    record: RecordId,
    envelope: Envelope,
    statement: Statement<KeyringVersion>,
    by_id: HashMap<KeyId, usize>,
}

impl Version {
    fn read(index: u64, envelope: &Envelope) -> Result<Self, KeyringError> {
        if envelope.payload_type != dsse::IN_TOTO {
            let source = StatementError::PayloadType(envelope.payload_type.clone());
            return Err(KeyringError::Statement { index, source });
        }
        let statement = Statement::<KeyringVersion>::parse_unverified(&envelope.payload.0)
            .map_err(|source| KeyringError::Statement { index, source })?;
        let keys = statement.predicate.keys.iter().enumerate();
        let by_id = keys.map(|(at, entry)| (entry.key.key_id().clone(), at)).collect();
        Ok(Self { index, record: envelope.record_id(), envelope: envelope.clone(), statement, by_id })
    }

    /// The index of its log entry.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// H(PAE): what the next version's `previous` names.
    #[must_use]
    pub fn record(&self) -> RecordId {
        self.record
    }

    /// The envelope, byte for byte as it was read.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The whole statement.
    #[must_use]
    pub fn statement(&self) -> &Statement<KeyringVersion> {
        &self.statement
    }

    /// What it says.
    #[must_use]
    pub fn predicate(&self) -> &KeyringVersion {
        &self.statement.predicate
    }

    /// What it says about a key.
    #[must_use]
    pub fn key(&self, id: &KeyId) -> Option<&KeyEntry> {
        self.predicate().keys.get(*self.by_id.get(id)?)
    }

    fn check_follows(&self, before: &Self) -> Result<(), KeyringError> {
        let (new, old) = (self.predicate(), before.predicate());
        let version = new.version;
        if new.previous != Some(before.record) {
            return Err(KeyringError::Previous { version, expected: before.record, found: new.previous });
        }
        if old.version.checked_add(1) != Some(version) {
            return Err(KeyringError::Version { index: self.index, before: old.version, found: version });
        }
        if self.index <= before.index {
            return Err(KeyringError::Index { version, before: before.index, found: self.index });
        }
        if new.tenant != old.tenant {
            return Err(KeyringError::Tenant { version });
        }
        if new.log_origin != old.log_origin {
            return Err(KeyringError::LogOrigin { version });
        }
        Ok(())
    }

    /// The signatures of its own root keys and, but for the first version, of those of the version before.
    fn check_signatures(&self, before: Option<&Self>) -> Result<(), KeyringError> {
        let version = self.predicate().version;
        let check = |of: &KeyringVersion| {
            let keys: Vec<&PublicKey> = of.root_keys.iter().map(RootKey::key).collect();
            let threshold = usize::try_from(of.threshold).unwrap_or(usize::MAX);
            self.envelope.verify(&keys, threshold)
        };
        if let Some(before) = before {
            check(before.predicate()).map_err(|source| KeyringError::SignedByOld { version, source })?;
        }
        check(self.predicate()).map_err(|source| KeyringError::SignedByOwn { version, source })?;
        Ok(())
    }
}

impl Keyring {
    /// Reads all versions, oldest first, each with the index of its log entry, and checks that each follows from
    /// the one before by hash and by signatures. `root.pub` is another matter: [`Keyring::check_root`].
    ///
    /// # Errors
    /// The first [`KeyringError`]; [`KeyringError::check_id`] tells chain faults from signature faults. Chain
    /// faults of any version come before signature faults.
    pub fn walk(versions: &[(u64, Envelope)]) -> Result<Self, KeyringError> {
        let keyring = Self::chain(versions)?;
        keyring.check_signatures()?;
        Ok(keyring)
    }

    /// As [`Keyring::walk`] without the signatures, for whoever reports both: the keyring is not to be trusted
    /// before [`Keyring::check_signatures`] and [`Keyring::check_root`] have passed.
    ///
    /// # Errors
    /// A [`KeyringError`] whose check is `keyring.chain`.
    pub fn chain(versions: &[(u64, Envelope)]) -> Result<Self, KeyringError> {
        let mut keyring = Self { versions: Vec::with_capacity(versions.len()), revoked_from: HashMap::new() };
        for (index, envelope) in versions {
            let version = Version::read(*index, envelope)?;
            match keyring.versions.last() {
                Some(before) => version.check_follows(before)?,
                None => check_first(&version)?,
            }
            keyring.add(version);
        }
        if keyring.versions.is_empty() { Err(KeyringError::Empty) } else { Ok(keyring) }
    }

    /// Whether every version is signed by the threshold of its own root keys and of those before.
    ///
    /// # Errors
    /// A [`KeyringError`] whose check is `keyring.root`.
    pub fn check_signatures(&self) -> Result<(), KeyringError> {
        let before = std::iter::once(None).chain(self.versions.iter().map(Some));
        self.versions.iter().zip(before).try_for_each(|(version, before)| version.check_signatures(before))
    }

    /// Whether `root.pub` is the root keys, in any order, and the threshold of one of the versions.
    ///
    /// # Errors
    /// [`KeyringError::Root`].
    pub fn check_root(&self, root: &RootPub) -> Result<(), KeyringError> {
        let same = |version: &Version| {
            let predicate = version.predicate();
            predicate.threshold == root.threshold()
                && predicate.root_keys.len() == root.keys().len()
                && predicate.root_keys.iter().all(|key| root.keys().contains(key.key()))
        };
        if self.versions.iter().any(same) { Ok(()) } else { Err(KeyringError::Root) }
    }

    /// Adds the next version. The keyring is unchanged where that fails.
    ///
    /// # Errors
    /// As [`Keyring::walk`].
    pub fn push(&mut self, index: u64, envelope: &Envelope) -> Result<(), KeyringError> {
        let version = Version::read(index, envelope)?;
        match self.versions.last() {
            Some(before) => version.check_follows(before)?,
            None => check_first(&version)?,
        }
        version.check_signatures(self.versions.last())?;
        self.add(version);
        Ok(())
    }

    fn add(&mut self, version: Version) {
        for entry in &version.predicate().keys {
            if let Some(revoked) = &entry.revoked {
                let from = self.revoked_from.entry(entry.key.key_id().clone()).or_insert(u64::MAX);
                *from = revoked.from_index.min(*from);
            }
        }
        self.versions.push(version);
    }

    /// All versions, oldest first; there is at least one.
    #[must_use]
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// The newest version.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a keyring is made of at least one version")]
    pub fn newest(&self) -> &Version {
        self.versions.last().expect("a version")
    }

    /// The newest version whose log entry stands before `index`.
    #[must_use]
    pub fn version_before(&self, index: u64) -> Option<&Version> {
        let count = self.versions.partition_point(|version| version.index < index);
        self.versions.get(count.checked_sub(1)?)
    }

    /// The key of this id in any version, to check a signature with. It says nothing about what the key may do.
    #[must_use]
    pub fn find_key(&self, id: &KeyId) -> Option<&PublicKey> {
        self.versions.iter().rev().find_map(|version| version.key(id)).map(|entry| &entry.key)
    }

    /// The key, in any version, whose SPKI has this SHA-256: a sigstore bundle's hint.
    #[must_use]
    pub fn find_hint(&self, hint: &[u8]) -> Option<&PublicKey> {
        let keys = self.versions.iter().rev().flat_map(|version| &version.predicate().keys);
        keys.map(|entry| &entry.key).find(|key| key.spki_hint() == hint)
    }

    /// Whether some version revokes the key at or before `index`.
    #[must_use]
    pub fn is_revoked(&self, id: &KeyId, index: u64) -> bool {
        self.revoked_from.get(id).is_some_and(|from| *from <= index)
    }

    /// Whether the key is good for the entry at `index`, which claims to be of `claimed_at`, in this role.
    ///
    /// # Errors
    /// The first [`Standing`] that speaks against it, in the order of the enum.
    pub fn judge(
        &self,
        id: &KeyId,
        role: &Role,
        index: u64,
        claimed_at: Timestamp,
    ) -> Result<&KeyEntry, Standing> {
        let entry = self.granted(id, role, index)?;
        match self.faults(id, role, index, claimed_at).first() {
            None => Ok(entry),
            Some(standing) => Err(*standing),
        }
    }

    /// Everything that speaks against the key, for reports that have a check for each; empty for a good key.
    #[must_use]
    pub fn faults(&self, id: &KeyId, role: &Role, index: u64, claimed_at: Timestamp) -> Vec<Standing> {
        let mut faults = Vec::new();
        if let Err(standing) = self.granted(id, role, index) {
            faults.push(standing);
        }
        if let Some(version) = self.version_before(index)
            && let Some(entry) = version.key(id)
            && !(version.predicate().is_valid_at(claimed_at) && entry.is_valid_at(claimed_at))
        {
            faults.push(Standing::Validity);
        }
        if self.is_revoked(id, index) {
            faults.push(Standing::Revoked);
        }
        faults
    }

    fn granted(&self, id: &KeyId, role: &Role, index: u64) -> Result<&KeyEntry, Standing> {
        let entry =
            self.version_before(index).and_then(|version| version.key(id)).ok_or(Standing::Unknown)?;
        if entry.roles.contains(role) { Ok(entry) } else { Err(Standing::Role) }
    }
}

fn check_first(version: &Version) -> Result<(), KeyringError> {
    let predicate = version.predicate();
    if predicate.version != 1 {
        return Err(KeyringError::Version { index: version.index, before: 0, found: predicate.version });
    }
    Ok(())
}

/// Why a key is not good for an entry.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, thiserror::Error)]
pub enum Standing {
    /// The newest version below the entry does not have the key, or there is no version below it.
    #[error("the keyring in force at that entry does not have the key")]
    Unknown,
    /// The key is there without the role.
    #[error("the keyring in force at that entry does not give the key this role")]
    Role,
    /// The claimed time is outside the key's validity, or the version had expired.
    #[error("the key or its keyring version is not valid at the claimed time")]
    Validity,
    /// A version revokes it at or before the entry.
    #[error("the key is revoked at that entry")]
    Revoked,
}

/// A keyring that cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// There is no version at all.
    #[error("there is no keyring version")]
    Empty,
    /// A version is not a keyring statement.
    #[error("the keyring version at log index {index} is not as it has to be")]
    Statement {
        /// The index of its log entry.
        index: u64,
        /// What is wrong with it.
        #[source]
        source: StatementError,
    },
    /// The versions are not numbered 1, 2, ….
    #[error("the keyring version at log index {index} is number {found}; {before} comes before it")]
    Version {
        /// The index of its log entry.
        index: u64,
        /// The number of the version before; 0 for none.
        before: u64,
        /// The number that it has.
        found: u64,
    },
    /// `previous` is not the record of the version before.
    #[error("keyring version {version} does not follow the one before it: `previous` is another record")]
    Previous {
        /// The version.
        version: u64,
        /// The record of the version before.
        expected: RecordId,
        /// The record that it names.
        found: Option<RecordId>,
    },
    /// The log indexes do not ascend.
    #[error("keyring version {version} is logged at {found}, not after the one before it at {before}")]
    Index {
        /// The version.
        version: u64,
        /// The index of the version before.
        before: u64,
        /// Its own.
        found: u64,
    },
    /// The tenant changes.
    #[error("keyring version {version} is of another tenant than the one before it")]
    Tenant {
        /// The version.
        version: u64,
    },
    /// The log origin changes.
    #[error("keyring version {version} is of another log than the one before it")]
    LogOrigin {
        /// The version.
        version: u64,
    },
    /// The root keys of the version before did not sign.
    #[error("keyring version {version} is not signed by the root keys of the version before it")]
    SignedByOld {
        /// The version.
        version: u64,
        /// How many did.
        #[source]
        source: EnvelopeError,
    },
    /// Its own root keys did not sign.
    #[error("keyring version {version} is not signed by its own root keys")]
    SignedByOwn {
        /// The version.
        version: u64,
        /// How many did.
        #[source]
        source: EnvelopeError,
    },
    /// `root.pub` belongs to another keyring.
    #[error("no keyring version has the root keys and the threshold of `root.pub`")]
    Root,
}

impl KeyringError {
    /// The check of formats §10 that fails: `keyring.chain` or `keyring.root`.
    #[must_use]
    pub fn check_id(&self) -> &'static str {
        match self {
            Self::SignedByOld { .. } | Self::SignedByOwn { .. } | Self::Root => "keyring.root",
            _ => "keyring.chain",
        }
    }
}

#[cfg(test)]
mod tests;
