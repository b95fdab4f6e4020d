//! Signing the head of the log, and never two heads that contradict each other.
//!
//! ```text
//! state/checkpoint        {"checkpoint": note text, "frontier": [hex, …]}   JCS, replaced atomically, fsynced
//! state/checkpoint.lock   empty; flock of whoever reads, compares and replaces it
//!
//! own memory ── leaves since ──► newest checkpoint in the database ── leaves since ──► head ── sign, remember, store
//!                                has to be signed, and of this tree                    has to be of this tree
//! ```
//! A node remembers the newest checkpoint that it knows to be of its log outside the database, with the hashes from which
//! the tree grows on. To sign a newer head it reads the leaves that came since, adds them to *its own* tree, and signs
//! only if that gives the head's root: whoever edits the head row, or puts an older database back, cannot make it
//! sign a fork. What is signed is remembered before anybody sees it. Checkpoints are C2SP tlog-checkpoint notes.
//!
//! Several nodes have a memory each, and one of them signs at a time, to save work. The others *follow*: what was signed
//! elsewhere is taken into a node's memory once the leaves that it has read itself lead to it. So each node holds
//! the others to the log that it has seen, and whichever signs next goes on from there. Processes that share a folder
//! share a memory: they take turns, each goes on from what the file says by then, and it never goes back.
//!
//! The key that signs has to be good at the head (formats §5, §6). The memory may be by an older log key: one that the
//! newest keyring version below its size has. That a key was revoked since does not take the memory away: it binds
//! this publisher, and proves nothing to others.

mod adopt;
mod error;
mod memory;

#[cfg(test)]
mod tests;

use crate::runtime::{Inner, Runtime};
use chancery_core::checkpoint::{Checkpoint, SignedCheckpoint};
use chancery_core::digest::RootHash;
use chancery_core::key::Signer;
use chancery_core::keyring::{Keyring, Role};
use chancery_core::merkle::Frontier;
use chancery_core::time::Timestamp;
use chancery_store::{Head, Settings, Store, StoredCheckpoint};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use self::memory::Turn;

pub use self::adopt::{Adopted, adopt};
pub use self::error::CheckpointError;
pub(crate) use self::memory::remembered;

/// How many leaves are read at once while the tree is rebuilt.
const LEAVES_AT_ONCE: u64 = 16_384;

/// Signs checkpoints, and remembers the last one.
pub(crate) struct Publisher {
    path: PathBuf,
    last: Option<Signed>,
}

#[derive(Clone)]
struct Signed {
    checkpoint: SignedCheckpoint,
    frontier: Frontier,
}

impl Signed {
    /// Whether a tree of `size` with `root` is another one of the same size.
    fn is_contradicted_by(&self, size: u64, root: RootHash) -> bool {
        let checkpoint = self.checkpoint.checkpoint();
        checkpoint.size == size && checkpoint.root != root
    }
}

impl Runtime {
    /// Signs the head of the log, unless the last checkpoint covers it, and returns the newest checkpoint; none for an
    /// empty log. Blocks.
    ///
    /// Durable once it returns: in the publisher's own file and in the database.
    ///
    /// # Errors
    /// [`CheckpointError::Fork`] when the log does not continue what was signed before, here or on another node; nothing
    /// is signed then.
    pub fn publish_checkpoint(&self) -> Result<Option<SignedCheckpoint>, CheckpointError> {
        self.inner.publish_checkpoint()
    }

    /// Takes what another node has signed into this node's memory, once its own reading of the leaves leads there. Signs
    /// nothing. Blocks, and costs next to nothing when there is nothing new.
    ///
    /// # Errors
    /// [`CheckpointError::Fork`] when the other's checkpoint is of another log than this node has seen.
    pub fn follow_checkpoints(&self) -> Result<(), CheckpointError> {
        let mut publisher = self.inner.publisher.lock().unwrap_or_else(PoisonError::into_inner);
        let keyring = self.inner.newest_keyring()?;
        publisher.follow(&self.inner.store, &self.inner.settings, &keyring).map(drop)
    }
}

impl Inner {
    pub(crate) fn publish_checkpoint(&self) -> Result<Option<SignedCheckpoint>, CheckpointError> {
        let mut publisher = self.publisher.lock().unwrap_or_else(PoisonError::into_inner);
        self.publish_with(&mut publisher)
    }

    /// The same for whoever holds the publisher already.
    pub(crate) fn publish_with(
        &self,
        publisher: &mut Publisher,
    ) -> Result<Option<SignedCheckpoint>, CheckpointError> {
        let keyring = self.newest_keyring()?;
        publisher.publish(&self.store, &self.settings, &keyring, self.log_key.as_ref(), self.clock.now())
    }

    /// The keyring, with what another node may have logged since: its checkpoints may be by a new key.
    fn newest_keyring(&self) -> Result<Arc<Keyring>, CheckpointError> {
        if let Err(error) = self.follow_rules() {
            // Whoever decides is told so; a head can be signed nevertheless, by the keyring that is known.
            tracing::warn!(%error, "what decisions are made by cannot be read anew");
        }
        Ok(Arc::clone(&self.snapshot().keyring))
    }
}

impl Publisher {
    /// Reads the publisher's memory and holds it against the database and its keyring.
    pub(crate) fn open(
        path: &Path,
        store: &Store,
        settings: &Settings,
        keyring: &Keyring,
    ) -> Result<Self, CheckpointError> {
        // In this order: another process may sign in between, and its head must not look like an older one.
        let last = memory::read(path, keyring, settings)?;
        let (head, newest) = store.read(|reader| Ok((reader.head()?, reader.checkpoint_newest()?)))?;
        if let Some(newest) = &newest {
            check_stored(newest, keyring, settings)?;
        }
        match (&last, newest) {
            (None, Some(newest)) => {
                return Err(CheckpointError::Missing { path: path.to_owned(), size: newest.size });
            }
            (Some(last), newest) => {
                let signed = last.checkpoint.checkpoint();
                if signed.size > head.size {
                    let (signed, log) = (signed.size, head.size);
                    return Err(CheckpointError::Ahead { path: path.to_owned(), signed, log });
                }
                if last.is_contradicted_by(head.size, head.root_hash)
                    || newest.is_some_and(|newest| last.is_contradicted_by(newest.size, newest.root_hash))
                {
                    return Err(CheckpointError::Fork { size: signed.size });
                }
            }
            (None, None) => {}
        }
        Ok(Self { path: path.to_owned(), last })
    }

    /// Goes on to what is newest, and signs nothing.
    fn follow(
        &mut self,
        store: &Store,
        settings: &Settings,
        keyring: &Keyring,
    ) -> Result<(), CheckpointError> {
        let turn = memory::turn(&self.path)?;
        self.catch_up(&turn, store, settings, keyring).map(drop)
    }

    /// Goes on to what another process has put into the file, and to the newest checkpoint of the database. Gives the
    /// head, which continues both.
    fn catch_up(
        &mut self,
        turn: &Turn,
        store: &Store,
        settings: &Settings,
        keyring: &Keyring,
    ) -> Result<Head, CheckpointError> {
        let file = turn.read(keyring, settings)?;
        let (head, newest) = store.read(|reader| Ok((reader.head()?, reader.checkpoint_newest()?)))?;
        if let Some(file) = file {
            let checkpoint = file.checkpoint.checkpoint();
            self.check_ahead(checkpoint.size, &head)?;
            if self.leads_to(store, checkpoint.size, checkpoint.root)?.is_some() {
                self.last = Some(file);
            }
        }
        self.check_ahead(self.size(), &head)?;
        if let Some(newest) = newest {
            let checkpoint = check_stored(&newest, keyring, settings)?;
            if let Some(frontier) = self.leads_to(store, newest.size, newest.root_hash)? {
                self.remember(turn, Signed { checkpoint, frontier })?;
            }
        }
        if self.last.as_ref().is_some_and(|last| last.is_contradicted_by(head.size, head.root_hash)) {
            return Err(CheckpointError::Fork { size: head.size });
        }
        Ok(head)
    }

    /// Refuses a log that has fewer entries than were `signed`.
    fn check_ahead(&self, signed: u64, head: &Head) -> Result<(), CheckpointError> {
        if signed > head.size {
            return Err(CheckpointError::Ahead { path: self.path.clone(), signed, log: head.size });
        }
        Ok(())
    }

    /// The tree of `size`, where that is more than is known, grown from what is known.
    ///
    /// # Errors
    /// [`CheckpointError::Fork`] where it has another root.
    fn leads_to(
        &self,
        store: &Store,
        size: u64,
        root: RootHash,
    ) -> Result<Option<Frontier>, CheckpointError> {
        if self.last.as_ref().is_some_and(|last| last.is_contradicted_by(size, root)) {
            return Err(CheckpointError::Fork { size });
        }
        if size <= self.size() {
            return Ok(None);
        }
        let mut frontier = self.frontier();
        grow(&mut frontier, store, size)?;
        if frontier.root() != root {
            return Err(CheckpointError::Fork { size });
        }
        Ok(Some(frontier))
    }

    fn publish(
        &mut self,
        store: &Store,
        settings: &Settings,
        keyring: &Keyring,
        log_key: &dyn Signer,
        now: Timestamp,
    ) -> Result<Option<SignedCheckpoint>, CheckpointError> {
        let turn = memory::turn(&self.path)?;
        let head = self.catch_up(&turn, store, settings, keyring)?;
        if head.size == 0 {
            return Ok(None);
        }
        if let Some(frontier) = self.leads_to(store, head.size, head.root_hash)? {
            let key = log_key.public_key().key_id();
            keyring
                .judge(key, &Role::Log, head.size, now)
                .map_err(|standing| CheckpointError::Key { key: key.clone(), standing })?;
            let checkpoint =
                Checkpoint { origin: settings.log_origin.clone(), size: head.size, root: head.root_hash };
            let note = checkpoint.sign(log_key)?;
            let checkpoint = Checkpoint::parse_and_verify(&note, log_key.public_key(), &settings.log_origin)?;
            self.remember(&turn, Signed { checkpoint, frontier })?;
        }
        let Some(last) = &self.last else { return Ok(None) };
        // Also when it was signed before: the process may have ended between the file and the database.
        store.insert_checkpoint(head.size, head.root_hash, last.checkpoint.to_string(), now)?;
        Ok(Some(last.checkpoint.clone()))
    }

    fn size(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.checkpoint.checkpoint().size)
    }

    fn frontier(&self) -> Frontier {
        self.last.as_ref().map_or_else(Frontier::default, |last| last.frontier.clone())
    }

    fn remember(&mut self, turn: &Turn, signed: Signed) -> Result<(), CheckpointError> {
        turn.write(&signed)?;
        self.last = Some(signed);
        Ok(())
    }
}

/// Adds the leaves from the tree's size up to `size`.
fn grow(frontier: &mut Frontier, store: &Store, size: u64) -> Result<(), CheckpointError> {
    while frontier.size() < size {
        let from = frontier.size();
        let to = size.min(from.saturating_add(LEAVES_AT_ONCE));
        let leaves = store.read(|reader| reader.leaf_hashes(from..to))?;
        let expected = to - from;
        if u64::try_from(leaves.len()).ok() != Some(expected) {
            return Err(CheckpointError::Leaves { from, to });
        }
        for (expected, (index, leaf)) in (from..to).zip(&leaves) {
            if expected != *index {
                return Err(CheckpointError::Leaves { from, to });
            }
            frontier.push(leaf);
        }
    }
    Ok(())
}

/// Whether a log key of the newest keyring version below the checkpoint's size signed it.
fn check_signer(signed: &SignedCheckpoint, keyring: &Keyring, origin: &str) -> Result<(), Unsigned> {
    let version = keyring.version_before(signed.checkpoint().size.max(1)).ok_or(Unsigned)?;
    let mut keys = version.predicate().keys_with(&Role::Log);
    if keys.any(|entry| signed.verify(&entry.key, origin).is_ok()) { Ok(()) } else { Err(Unsigned) }
}

/// A checkpoint that no log key signed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("it is not signed by a log key of the keyring at its size")]
struct Unsigned;

/// The database's newest checkpoint, where it is one of this log and says what its row says.
fn check_stored(
    stored: &StoredCheckpoint,
    keyring: &Keyring,
    settings: &Settings,
) -> Result<SignedCheckpoint, CheckpointError> {
    let check = || -> Result<SignedCheckpoint, Box<dyn std::error::Error + Send + Sync>> {
        let signed = SignedCheckpoint::parse_unverified(&stored.note)?;
        let checkpoint = signed.checkpoint();
        if checkpoint.size != stored.size || checkpoint.root != stored.root_hash {
            return Err("its row says something else than the note that was signed".into());
        }
        check_signer(&signed, keyring, &settings.log_origin)?;
        Ok(signed)
    };
    check().map_err(|source| CheckpointError::Stored { size: stored.size, source })
}
