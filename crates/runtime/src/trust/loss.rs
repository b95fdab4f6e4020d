//! What a keyring version takes away: entries that counted before it, and do not after it.
//!
//! ```text
//! a version revokes K from index 4 on
//!   3 build B, by K     5 decision by build B     stay
//!   4 build C, by K     6 decision by build C     signed, and a decision that rests on it
//!   7 activation, by K  8 decision of its policy  signed, and a decision that rests on it
//! ```
//! A build is judged at the index of its log entry, a bundle at that of its activation (formats §6), so a decision can
//! lose what it rests on though another key signed it.

use chancery_core::digest::Digest;
use chancery_core::ids::PolicyId;
use chancery_core::key::KeyId;
use chancery_core::keyring::{Keyring, KeyringVersion};
use chancery_core::log::Kind;
use chancery_core::sigstore::MessageBundle;
use chancery_core::statement::{Activation, Decision, Statement};
use chancery_store::{Entry, Reader, Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt;

use crate::records::{Records, RecordsError};

/// How many entries are read at once.
const ENTRIES_AT_ONCE: u64 = 1_024;

/// How many entries a keyring version takes away; each is counted once.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Loss {
    /// Entries that a revoked key signed.
    pub signed: u64,
    /// Decisions that others signed, by a build or under a bundle that a revoked key signed.
    pub decisions: u64,
}

impl Loss {
    /// All of them.
    #[must_use]
    pub fn total(self) -> u64 {
        self.signed.saturating_add(self.decisions)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many =
            |count: u64, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
        write!(
            f,
            "{} of the log: {} that a revoked key signed, {} that rest on its builds or bundles",
            many(self.total(), "entry", "entries"),
            many(self.signed, "entry", "entries"),
            many(self.decisions, "decision", "decisions"),
        )
    }
}

/// Whether a version revokes a key, or from a lower index than before.
#[must_use]
pub fn revokes(before: &Keyring, next: &KeyringVersion) -> bool {
    !Revoked::of(before, next).is_empty()
}

struct Revoked {
    key: KeyId,
    hint: Vec<u8>,
    from: u64,
}

impl Revoked {
    /// Those that some earlier version has not revoked from there on.
    fn of(before: &Keyring, next: &KeyringVersion) -> Vec<Self> {
        let revoked =
            next.keys.iter().filter_map(|entry| Some((&entry.key, entry.revoked.as_ref()?.from_index)));
        let anew = revoked.filter(|(key, from)| !before.is_revoked(key.key_id(), *from));
        anew.map(|(key, from)| Self { key: key.key_id().clone(), hint: key.spki_hint().to_vec(), from })
            .collect()
    }
}

/// Counts what a version takes away, entry by entry.
pub(super) struct LossCount {
    before: Keyring,
    revoked: Vec<Revoked>,
    /// The first entry that was not looked at.
    at: u64,
    builds: HashSet<Digest>,
    policies: HashSet<PolicyId>,
    loss: Loss,
}

impl LossCount {
    pub(super) fn new(before: &Keyring, next: &KeyringVersion) -> Self {
        let revoked = Revoked::of(before, next);
        Self {
            before: before.clone(),
            // Nothing before the lowest index changes.
            at: revoked.iter().map(|it| it.from).min().unwrap_or(u64::MAX),
            revoked,
            builds: HashSet::new(),
            policies: HashSet::new(),
            loss: Loss::default(),
        }
    }

    /// Goes on to the size `to`, and tells what is lost so far.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was counted then that can be relied on.
    pub(super) fn read_to(&mut self, store: &Store, to: u64) -> Result<Loss, StoreError> {
        while self.at < to {
            let end = to.min(self.at.saturating_add(ENTRIES_AT_ONCE));
            store.read(|reader| {
                let entries = reader.entries(self.at..end)?;
                entries.iter().try_for_each(|entry| self.add(entry, reader))
            })?;
            self.at = end;
        }
        Ok(self.loss)
    }

    fn add(&mut self, entry: &Entry, reader: &mut Reader<'_>) -> Result<(), StoreError> {
        let mut signers = entry.signatures.iter().map(|signature| &signature.keyid);
        if signers.all(|key| self.before.is_revoked(key, entry.index)) {
            return Ok(());
        }
        let signed = entry.signatures.iter().any(|it| self.is_lost(entry.index, |lost| lost.key == it.keyid));
        if signed {
            self.loss.signed = self.loss.signed.saturating_add(1);
        }
        match entry.kind {
            Kind::BuildIdentity if signed => {
                self.builds.insert(Digest::of(&entry.payload));
            }
            Kind::Activation => self.activation(entry, signed, reader)?,
            Kind::Decision if !signed && self.rests_on_lost(entry) => {
                self.loss.decisions = self.loss.decisions.saturating_add(1);
            }
            _ => {}
        }
        Ok(())
    }

    /// An activation that holds puts an end to the policy's loss.
    fn activation(&mut self, entry: &Entry, signed: bool, reader: &mut Reader<'_>) -> Result<(), StoreError> {
        // What cannot be read is `fsck`'s to tell.
        let Ok(statement) = Statement::<Activation>::parse_unverified(&entry.payload) else { return Ok(()) };
        let Activation { policy_id, bundle_hash, .. } = statement.predicate;
        let bundle = reader.bundle_by_hash(&bundle_hash)?;
        let signature = bundle.and_then(|bundle| MessageBundle::parse(&bundle.signature).ok());
        let lost =
            signed || signature.is_some_and(|it| self.is_lost(entry.index, |lost| lost.hint == it.hint()));
        if lost {
            self.policies.insert(policy_id);
        } else {
            self.policies.remove(&policy_id);
        }
        Ok(())
    }

    fn is_lost(&self, index: u64, is_it: impl Fn(&Revoked) -> bool) -> bool {
        let mut lost = self.revoked.iter().filter(|it| it.from <= index && is_it(it));
        lost.any(|it| !self.before.is_revoked(&it.key, index))
    }

    fn rests_on_lost(&self, entry: &Entry) -> bool {
        if self.builds.is_empty() && self.policies.is_empty() {
            return false;
        }
        Statement::<Decision>::parse_unverified(&entry.payload).is_ok_and(|statement| {
            let Decision { runtime, policy, .. } = &statement.predicate;
            runtime.build_identity.is_some_and(|build| self.builds.contains(&build))
                || self.policies.contains(&policy.id)
        })
    }
}

impl Records {
    /// What `next`, which follows the newest version of `keyring`, takes away from the log as it is now.
    ///
    /// # Errors
    /// [`RecordsError`] when the store cannot be read.
    pub fn loss(&self, keyring: &Keyring, next: &KeyringVersion) -> Result<Loss, RecordsError> {
        let size = self.store.read(|reader| Ok(reader.head()?.size))?;
        Ok(LossCount::new(keyring, next).read_to(&self.store, size)?)
    }
}
