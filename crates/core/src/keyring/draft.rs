//! The next version of a keyring before anybody signs it (formats §6).
//!
//! ```text
//! newest version + changes ─► draft ─► review: every objection at once ─► root keys sign ─► log
//! ```
//! [`Keyring::draft`] makes the statement; [`Keyring::review`] judges one, whoever made it. A review asks for more
//! than a verifier does: what it objects to could be logged and would verify, but it would lock somebody out, take a
//! revocation back, or let one person be on both sides of a decision.

use std::collections::HashSet;

use super::{KeyEntry, Keyring, KeyringVersion, Revocation, Role, RootKey, RootPub};
use crate::checkpoint::{log_vkey, witness_vkey};
use crate::key::{Algorithm, KeyId, PublicKey};
use crate::statement::{Statement, StatementError};
use crate::time::Timestamp;

/// Longest validity of a version or of a key, ms: ten years. Keys that nobody thinks of again are lost or stolen.
pub const VALIDITY_MAX_MS: i64 = 10 * 366 * 24 * 60 * 60 * 1_000;

/// How old a version may be when it is logged, ms: thirty days, for signatures that travel.
pub const ISSUED_AGO_MAX_MS: i64 = 30 * 24 * 60 * 60 * 1_000;

/// How far a version's time may be ahead of the clock, ms.
pub const ISSUED_AHEAD_MAX_MS: i64 = 10 * 60 * 1_000;

/// Most root keys: those of two versions sign one envelope, which has room for 64 signatures.
pub const ROOT_KEYS_MAX: usize = 32;

/// Most log keys that are good at the same time: the one in use, and the one that follows it.
const LOG_KEYS_MAX: usize = 2;

const SUBJECT_MAX: usize = 200;
const REASON_MAX: usize = 4_000;

/// One thing that the next version does differently.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// Has a further key.
    Enrol(Box<KeyEntry>),
    /// Revokes a key from a log index on, which may lie in the past.
    Revoke {
        /// The key; one of any version.
        key: KeyId,
        /// The first index at which it counts for nothing.
        from_index: u64,
        /// Why; 1 to 4,000 characters, none of them a control character.
        reason: String,
    },
    /// Gives a key another end.
    Renew {
        /// The key.
        key: KeyId,
        /// From when on it is not valid.
        valid_until: Timestamp,
    },
    /// Gives the keyring another end.
    Expiry(Timestamp),
    /// Has other root keys.
    Roots(RootPub),
    /// Asks for another number of cosignatures.
    WitnessQuorum(Option<u32>),
}

/// Where the log stands when a version is drafted or logged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moment {
    /// The clock.
    pub now: Timestamp,
    /// How many entries the log has.
    pub size: u64,
}

/// One thing that speaks against a version.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Objection {
    /// Stable name: that of the check that would fail, or `keyring.…` for a rule of [`Keyring::review`] alone.
    pub code: &'static str,
    /// JSON pointer into the predicate.
    pub pointer: String,
    /// What would be right.
    pub expected: String,
    /// What is there, control characters escaped.
    pub found: String,
}

/// Why there is no draft.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// What was asked for must not be.
    #[error("the keyring version must not be: {}", told(.0))]
    Objections(Vec<Objection>),
    /// The version has no valid form.
    #[error("the keyring version is not as it has to be")]
    Statement(#[from] StatementError),
}

fn told(objections: &[Objection]) -> String {
    let each =
        objections.iter().map(|it| format!("{}: expected {}, found {}", it.pointer, it.expected, it.found));
    each.collect::<Vec<_>>().join("; ")
}

impl Keyring {
    /// The next version: the newest one with `changes`, issued now.
    ///
    /// # Errors
    /// [`DraftError::Objections`] with everything that speaks against it.
    pub fn draft(&self, changes: &[Change], at: Moment) -> Result<Statement<KeyringVersion>, DraftError> {
        let mut next = self.newest().predicate().clone();
        next.previous = Some(self.newest().record());
        next.version = next.version.saturating_add(1);
        next.issued_at = at.now;
        let mut objections = Objections::default();
        for change in changes {
            self.apply(change, &mut next, at, &mut objections);
        }
        objections.0.extend(self.review(&next, at));
        if objections.0.is_empty() {
            Ok(Statement::keyring_of(next)?)
        } else {
            Err(DraftError::Objections(objections.0))
        }
    }

    fn apply(&self, change: &Change, next: &mut KeyringVersion, at: Moment, objections: &mut Objections) {
        match change {
            Change::Enrol(entry) => next.keys.push(KeyEntry::clone(entry)),
            Change::Expiry(expires_at) => next.expires_at = *expires_at,
            Change::WitnessQuorum(quorum) => next.witness_quorum = *quorum,
            Change::Roots(root) => {
                next.root_keys = root.keys().iter().cloned().map(RootKey::new).collect();
                next.threshold = root.threshold();
            }
            Change::Renew { key, valid_until } => {
                match next.keys.iter_mut().find(|it| it.key.key_id() == key) {
                    Some(entry) if entry.revoked.is_some() => {
                        objections.add("keyring.revocation", "/keys", "a key that is not revoked", key);
                    }
                    Some(entry) => entry.valid_until = *valid_until,
                    None => objections.add("keyring.key", "/keys", "a key of the newest version", key),
                }
            }
            Change::Revoke { key, from_index, reason } => {
                if !next.keys.iter().any(|it| it.key.key_id() == key)
                    && let Some(older) = self.versions.iter().rev().find_map(|version| version.key(key))
                {
                    next.keys.push(older.clone());
                }
                let earlier = self.revoked_from.get(key).filter(|from| *from <= from_index);
                match next.keys.iter_mut().find(|it| it.key.key_id() == key) {
                    None => objections.add("keyring.key", "/keys", "a key of some version", key),
                    Some(_) if earlier.is_some() => {
                        let found = format!("a key that is revoked from {} on", earlier.unwrap_or(&0));
                        objections.add("keyring.revocation", "/keys", "a lower index than before", found);
                    }
                    Some(entry) => {
                        let (reason, from_index) = (reason.clone(), *from_index);
                        entry.revoked = Some(Revocation { at: at.now, from_index, reason });
                    }
                }
            }
        }
    }

    /// Everything that speaks against `next` as the version after the newest, its signatures aside; empty for a good
    /// one. What [`Statement::keyring_of`] refuses is not looked for again.
    #[must_use]
    pub fn review(&self, next: &KeyringVersion, at: Moment) -> Vec<Objection> {
        let mut objections = review_alone(next, at);
        let newest = self.newest().predicate();
        let wanted = newest.version.saturating_add(1);
        objections.require(next.version == wanted, "keyring.chain", "/version", wanted, next.version);
        let previous = self.newest().record();
        let found = next.previous.map_or("null".to_owned(), |record| record.to_string());
        objections.require(next.previous == Some(previous), "keyring.chain", "/previous", previous, found);
        objections.require(
            next.tenant == newest.tenant,
            "keyring.chain",
            "/tenant",
            &newest.tenant,
            &next.tenant,
        );
        let (origin, found) = (&newest.log_origin, &next.log_origin);
        objections.require(origin == found, "keyring.chain", "/logOrigin", origin, found);
        let expected = format!("{} or later, as in the version before", newest.issued_at);
        let ordered = next.issued_at >= newest.issued_at;
        objections.require(ordered, "keyring.time", "/issuedAt", expected, next.issued_at);
        self.review_revocations(next, at, &mut objections);
        objections.0
    }

    /// No revocation is lifted, raised or left out, and none is of the future.
    fn review_revocations(&self, next: &KeyringVersion, at: Moment, objections: &mut Objections) {
        for entry in &self.newest().predicate().keys {
            let id = entry.key.key_id();
            if entry.revoked.is_some() && !next.keys.iter().any(|it| it.key.key_id() == id) {
                let expected = format!("the revoked key {id}");
                objections.add("keyring.revocation", "/keys", expected, "a version without it");
            }
        }
        for (place, entry) in next.keys.iter().enumerate() {
            let pointer = format!("/keys/{place}/revoked");
            let before = self.revoked_from.get(entry.key.key_id()).copied();
            let now = entry.revoked.as_ref().map(|revoked| revoked.from_index);
            if let Some(before) = before
                && now.is_none_or(|now| now > before)
            {
                let expected = format!("a revocation from {before} on: it is neither lifted nor raised");
                let found = now.map_or("none".to_owned(), |now| format!("one from {now} on"));
                objections.add("keyring.revocation", &pointer, expected, found);
            }
            if let Some(revoked) = entry.revoked.as_ref().filter(|_| now != before) {
                let expected = format!("an index up to the log's size, {}", at.size);
                let known = revoked.from_index <= at.size;
                objections.require(known, "keyring.revocation", &pointer, expected, revoked.from_index);
                let length = revoked.reason.chars().count();
                let said = (1..=REASON_MAX).contains(&length);
                let expected = "a reason of 1 to 4,000 characters";
                objections.require(said, "keyring.revocation", &pointer, expected, length);
                // Whoever signs reads it at a terminal, where a line of its own could pass for one of the program's.
                let plain = !revoked.reason.chars().any(char::is_control);
                let expected = "a reason without control characters";
                objections.require(plain, "keyring.revocation", &pointer, expected, &revoked.reason);
            }
        }
    }
}

/// Everything that speaks against a first version.
#[must_use]
pub fn review_first(first: &KeyringVersion, at: Moment) -> Vec<Objection> {
    review_alone(first, at).0
}

/// The rules that need no version before.
fn review_alone(next: &KeyringVersion, at: Moment) -> Objections {
    let mut objections = Objections::default();
    let ahead_ms = next.issued_at.saturating_diff_ms(at.now);
    let expected = format!("at most 10 minutes after and 30 days before the clock, {}", at.now);
    let near = (-ISSUED_AGO_MAX_MS..=ISSUED_AHEAD_MAX_MS).contains(&ahead_ms);
    objections.require(near, "keyring.time", "/issuedAt", expected, next.issued_at);
    let expected = format!("after the clock, {}", at.now);
    objections.require(next.is_valid_at(at.now), "key.validity", "/expiresAt", expected, next.expires_at);
    let long = next.expires_at.saturating_diff_ms(next.issued_at) > VALIDITY_MAX_MS;
    objections.require(!long, "keyring.validity", "/expiresAt", "within ten years", next.expires_at);
    review_roots(next, &mut objections);
    review_keys(next, &mut objections);
    review_separation(next, &mut objections);
    let good = |entry: &&KeyEntry| entry.revoked.is_none() && at.now < entry.valid_until;
    let log_keys = next.keys_with(&Role::Log).filter(good).count();
    let expected = "one log key, or two while one replaces the other";
    objections.require(log_keys <= LOG_KEYS_MAX, "keyring.log_key", "/keys", expected, log_keys);
    objections
}

fn review_roots(next: &KeyringVersion, objections: &mut Objections) {
    let keys = next.root_keys.iter().map(RootKey::key).cloned().collect::<Vec<_>>();
    let count = keys.len();
    objections.require(
        count <= ROOT_KEYS_MAX,
        "keyring.root_keys",
        "/rootKeys",
        "at most 32 root keys",
        count,
    );
    if let Err(error) = RootPub::new(keys, next.threshold) {
        objections.add("keyring.root_keys", "/rootKeys", "distinct keys and 1 to all of them to sign", error);
    }
    let is_root = |key: &PublicKey| next.root_keys.iter().any(|root| root.key() == key);
    for (place, entry) in next.keys.iter().enumerate().filter(|(_, entry)| is_root(&entry.key)) {
        let pointer = format!("/keys/{place}");
        objections.add("keyring.separation", &pointer, "a key that is no root key", entry.key.key_id());
    }
}

fn review_keys(next: &KeyringVersion, objections: &mut Objections) {
    let mut seen = HashSet::new();
    for (place, entry) in next.keys.iter().enumerate() {
        let at = |member: &str| format!("/keys/{place}/{member}");
        let id = entry.key.key_id();
        objections.require(seen.insert(id), "keyring.key", &at("keyId"), "a key that is there once", id);
        let roles: HashSet<&Role> = entry.roles.iter().collect();
        let distinct = !roles.is_empty() && roles.len() == entry.roles.len();
        let expected = "at least one role, each once";
        objections.require(distinct, "keyring.key", &at("roles"), expected, entry.roles.len());
        let shaped = (1..=SUBJECT_MAX).contains(&entry.subject.chars().count())
            && !entry.subject.chars().any(char::is_control);
        let expected = "1 to 200 characters, none of them a control character";
        objections.require(shaped, "keyring.subject", &at("subject"), expected, &entry.subject);
        let span_ms = entry.valid_until.saturating_diff_ms(entry.valid_from);
        let spans = (1..=VALIDITY_MAX_MS).contains(&span_ms);
        let expected = format!("after {}, by at most ten years", entry.valid_from);
        objections.require(spans, "keyring.validity", &at("validUntil"), expected, entry.valid_until);
        if roles.contains(&Role::Log) {
            let origin = &next.log_origin;
            let same = entry.subject == *origin;
            let expected = format!("the log's origin, `{origin}`, as a log key's subject");
            objections.require(same, "keyring.log_key", &at("subject"), expected, &entry.subject);
            if let Err(error) = log_vkey(origin, &entry.key) {
                objections.add("keyring.log_key", &at("publicKey"), "an Ed25519 key for a log", error);
            }
        }
        if roles.contains(&Role::Witness)
            && let Err(error) = witness_vkey(&entry.subject, &entry.key)
        {
            let expected = "an Ed25519 key, and as subject the name under which the witness cosigns";
            objections.add("keyring.witness", &at("subject"), expected, error);
        }
        let algorithm = entry.key.algorithm();
        let fits = !roles.contains(&Role::Build) || algorithm == Algorithm::EcdsaP256;
        let expected = "an ECDSA P-256 key for builds";
        objections.require(fits, "keyring.build_key", &at("algorithm"), expected, algorithm);
    }
    let witnesses: HashSet<&str> = next.keys_with(&Role::Witness).map(|it| it.subject.as_str()).collect();
    let enough = usize::try_from(next.witness_quorum()).is_ok_and(|quorum| quorum <= witnesses.len());
    let expected = format!("at most {}, the number of witnesses", witnesses.len());
    objections.require(enough, "keyring.witness", "/witnessQuorum", expected, next.witness_quorum());
}

/// Nobody who runs the runtime approves what it decided (formats §4.2).
fn review_separation(next: &KeyringVersion, objections: &mut Objections) {
    let runtimes: HashSet<&str> = next.keys_with(&Role::Runtime).map(|it| it.subject.as_str()).collect();
    for (place, entry) in next.keys.iter().enumerate() {
        let approves = entry.roles.iter().any(|role| matches!(role, Role::Approver(_)));
        if approves && runtimes.contains(entry.subject.as_str()) {
            let expected = "an approver that is no runtime, by subject and by key";
            objections.add("keyring.separation", &format!("/keys/{place}/roles"), expected, &entry.subject);
        }
    }
}

#[derive(Default)]
struct Objections(Vec<Objection>);

impl Objections {
    fn add(&mut self, code: &'static str, pointer: &str, expected: impl ToString, found: impl ToString) {
        let (pointer, expected) = (pointer.to_owned(), expected.to_string());
        // It stands in a draft of somebody else's: shown, never obeyed.
        let found = found.to_string().escape_debug().to_string();
        self.0.push(Objection { code, pointer, expected, found });
    }

    fn require(
        &mut self,
        holds: bool,
        code: &'static str,
        pointer: &str,
        expected: impl ToString,
        found: impl ToString,
    ) {
        if !holds {
            self.add(code, pointer, expected, found);
        }
    }
}
