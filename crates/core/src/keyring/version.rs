//! One version of the keyring: the predicate `https://chancery.dev/keyring/v1` (formats §6).
//!
//! ```text
//! subject   name = tenant, digest = SHA-256 of the predicate's canonical form
//! key       {"algorithm","keyId","publicKey":PEM,"revoked":null|{…},"roles":[…],"subject","validFrom","validUntil"}
//! ```

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::Role;
use crate::canonical::to_canonical;
use crate::digest::{RecordId, sha256};
use crate::ids::TenantId;
use crate::key::{Algorithm, KeyId, PublicKey};
use crate::log::Kind;
use crate::statement::{Predicate, Statement, StatementError, Subject};
use crate::time::Timestamp;

/// What a keyring version says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyringVersion {
    /// From when on the version is no longer valid.
    pub expires_at: Timestamp,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// The keys, each once.
    pub keys: Vec<KeyEntry>,
    /// The origin of the log that it belongs to; the same in all versions.
    pub log_origin: String,
    /// H(PAE) of the version before; null in the first.
    pub previous: Option<RecordId>,
    /// The keys that sign keyring versions.
    pub root_keys: Vec<RootKey>,
    /// The tenant; the same in all versions.
    pub tenant: TenantId,
    /// How many root keys have to sign.
    pub threshold: u32,
    /// 1, 2, ….
    pub version: u64,
    /// How many witnesses have to cosign a checkpoint, where it is not the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness_quorum: Option<u32>,
}

/// A key and what it may do.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "WireEntry", into = "WireEntry")]
pub struct KeyEntry {
    /// The key itself.
    pub key: PublicKey,
    /// Since when it is not to be trusted, if that is so.
    pub revoked: Option<Revocation>,
    /// What it may sign; at least one role.
    pub roles: Vec<Role>,
    /// Who holds it: an approver's name, a witness's name, the origin of a log.
    pub subject: String,
    /// From when on it is valid, this instant included.
    pub valid_from: Timestamp,
    /// From when on it is no longer valid.
    pub valid_until: Timestamp,
}

/// A key that is no longer trusted, from a log index on.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Revocation {
    /// When it was revoked.
    pub at: Timestamp,
    /// The first log index at which it counts for nothing; what is before stays good.
    pub from_index: u64,
    /// Why.
    pub reason: String,
}

/// A key that signs keyring versions.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "WireRoot", into = "WireRoot")]
pub struct RootKey(PublicKey);

impl RootKey {
    /// A root key.
    #[must_use]
    pub fn new(key: PublicKey) -> Self {
        Self(key)
    }

    /// The key itself.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.0
    }
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireRoot {
    algorithm: Algorithm,
    key_id: KeyId,
    public_key: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireEntry {
    algorithm: Algorithm,
    key_id: KeyId,
    public_key: String,
    revoked: Option<Revocation>,
    roles: Vec<Role>,
    subject: String,
    valid_from: Timestamp,
    valid_until: Timestamp,
}

/// A key's members that contradict each other.
#[derive(Debug, thiserror::Error)]
enum WireError {
    #[error("`publicKey`: {0}")]
    Key(#[from] crate::key::KeyError),
    #[error("`publicKey` is not written as `PUBLIC KEY` PEM is here, in lines of 64 characters")]
    Pem,
    #[error("`keyId` is `{named}`, but the key's is `{actual}`")]
    KeyId { named: KeyId, actual: KeyId },
    #[error("`algorithm` is `{named}`, but the key's is `{actual}`")]
    Algorithm { named: Algorithm, actual: Algorithm },
}

fn read_key(algorithm: Algorithm, key_id: KeyId, public_key: &str) -> Result<PublicKey, WireError> {
    let key = PublicKey::from_spki_pem(public_key)?;
    if key.to_spki_pem() != public_key {
        return Err(WireError::Pem);
    }
    if *key.key_id() != key_id {
        return Err(WireError::KeyId { named: key_id, actual: key.key_id().clone() });
    }
    if key.algorithm() != algorithm {
        return Err(WireError::Algorithm { named: algorithm, actual: key.algorithm() });
    }
    Ok(key)
}

impl TryFrom<WireRoot> for RootKey {
    type Error = WireError;

    fn try_from(wire: WireRoot) -> Result<Self, WireError> {
        read_key(wire.algorithm, wire.key_id, &wire.public_key).map(Self)
    }
}

impl From<RootKey> for WireRoot {
    fn from(RootKey(key): RootKey) -> Self {
        Self { algorithm: key.algorithm(), key_id: key.key_id().clone(), public_key: key.to_spki_pem() }
    }
}

impl TryFrom<WireEntry> for KeyEntry {
    type Error = WireError;

    fn try_from(wire: WireEntry) -> Result<Self, WireError> {
        Ok(Self {
            key: read_key(wire.algorithm, wire.key_id, &wire.public_key)?,
            revoked: wire.revoked,
            roles: wire.roles,
            subject: wire.subject,
            valid_from: wire.valid_from,
            valid_until: wire.valid_until,
        })
    }
}

impl From<KeyEntry> for WireEntry {
    fn from(entry: KeyEntry) -> Self {
        Self {
            algorithm: entry.key.algorithm(),
            key_id: entry.key.key_id().clone(),
            public_key: entry.key.to_spki_pem(),
            revoked: entry.revoked,
            roles: entry.roles,
            subject: entry.subject,
            valid_from: entry.valid_from,
            valid_until: entry.valid_until,
        }
    }
}

impl KeyEntry {
    /// Whether `at` is in the key's validity: `validFrom` ≤ `at` < `validUntil`.
    #[must_use]
    pub fn is_valid_at(&self, at: Timestamp) -> bool {
        self.valid_from <= at && at < self.valid_until
    }
}

impl KeyringVersion {
    /// Whether the version has not expired at `at`.
    ///
    /// `issuedAt` is no lower limit: an override or a build may have been signed before the version that is
    /// the newest when it is logged. Where a log's times run backwards is another check.
    #[must_use]
    pub fn is_valid_at(&self, at: Timestamp) -> bool {
        at < self.expires_at
    }

    /// The keys with a role.
    pub fn keys_with(&self, role: &Role) -> impl Iterator<Item = &KeyEntry> {
        self.keys.iter().filter(move |entry| entry.roles.contains(role))
    }

    /// How many witnesses have to cosign a checkpoint: what the version says, else 1 where it has a witness key,
    /// else none.
    #[must_use]
    pub fn witness_quorum(&self) -> u32 {
        let default = u32::from(self.keys_with(&Role::Witness).next().is_some());
        self.witness_quorum.unwrap_or(default)
    }

    fn digest(&self) -> Result<[u8; 32], StatementError> {
        to_canonical(self).map(|bytes| sha256(bytes.as_bytes())).map_err(StatementError::Canonical)
    }
}

impl Statement<KeyringVersion> {
    /// The statement of a keyring version; its subject follows from the predicate.
    ///
    /// # Errors
    /// [`StatementError::Member`] for what is not as it has to be.
    pub fn keyring_of(predicate: KeyringVersion) -> Result<Self, StatementError> {
        let subject = vec![Subject::new(predicate.tenant.as_ref(), predicate.digest()?)];
        Self::checked(subject, predicate)
    }
}

fn require(holds: bool, member: &'static str, rule: &'static str) -> Result<(), StatementError> {
    if holds { Ok(()) } else { Err(StatementError::Member { member, rule }) }
}

impl Predicate for KeyringVersion {
    const TYPE: &'static str = "https://chancery.dev/keyring/v1";
    const KIND: Kind = Kind::Keyring;

    fn signer(&self) -> Option<&KeyId> {
        None
    }

    fn tenant(&self) -> Option<&TenantId> {
        Some(&self.tenant)
    }

    fn claimed_at(&self) -> Timestamp {
        self.issued_at
    }

    fn role(&self) -> Option<Role> {
        None
    }

    fn check(&self, subject: &[Subject]) -> Result<(), StatementError> {
        let [only] = subject else {
            return Err(StatementError::Subject { rule: "there has to be exactly one" });
        };
        if only.name != self.tenant.as_ref() {
            return Err(StatementError::Subject { rule: "its name is not the tenant" });
        }
        if *only.digest.sha256.as_bytes() != self.digest()? {
            return Err(StatementError::Subject { rule: "its digest is not that of the predicate" });
        }
        require(self.version > 0, "version", "the first version is 1")?;
        require(
            (self.version == 1) == self.previous.is_none(),
            "previous",
            "it is null exactly in version 1",
        )?;
        require(self.issued_at < self.expires_at, "expiresAt", "it has to be after `issuedAt`")?;
        require(!self.log_origin.is_empty(), "logOrigin", "it is empty")?;
        let most = u32::try_from(self.root_keys.len()).unwrap_or(u32::MAX);
        require((1..=most).contains(&self.threshold), "threshold", "1 to the number of root keys")?;
        require(self.witness_quorum != Some(0), "witnessQuorum", "at least 1, or the member left out")?;
        let mut seen = HashSet::new();
        let mut distinct = |key: &'_ PublicKey| seen.insert(key.key_id().clone());
        require(self.root_keys.iter().all(|root| distinct(root.key())), "rootKeys", "a key is there twice")?;
        seen.clear();
        let mut distinct = |key: &'_ PublicKey| seen.insert(key.key_id().clone());
        require(self.keys.iter().all(|entry| distinct(&entry.key)), "keys", "a key is there twice")?;
        self.keys.iter().try_for_each(KeyEntry::check)
    }
}

impl KeyEntry {
    fn check(&self) -> Result<(), StatementError> {
        let roles: HashSet<&Role> = self.roles.iter().collect();
        require(
            !roles.is_empty() && roles.len() == self.roles.len(),
            "keys.roles",
            "at least one role, each once",
        )?;
        require(!self.subject.is_empty(), "keys.subject", "it is empty")?;
        require(self.valid_from < self.valid_until, "keys.validUntil", "it has to be after `validFrom`")
    }
}
