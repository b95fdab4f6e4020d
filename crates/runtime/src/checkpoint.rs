//! Signing the head of the log, and never two heads that contradict each other.
//!
//! ```text
//! state/checkpoint   {"checkpoint": note text, "frontier": [hex, …]}        JCS, replaced atomically, fsynced
//! ```
//! The publisher remembers the last checkpoint that it signed outside the database, with the hashes from which the
//! tree grows on. To sign a newer head it reads the leaves that came since, adds them to *its own* tree, and signs
//! only if that gives the head's root: whoever edits the head row, or puts an older database back, cannot make it
//! sign a fork. What is signed is remembered before anybody sees it. Checkpoints are C2SP tlog-checkpoint notes.
//!
//! The key that signs has to be good at the head (formats §5, §6). The memory may be by an older log key: one that the
//! newest keyring version below its size has. That a key was revoked since does not take the memory away: it binds
//! this publisher, and proves nothing to others.

use crate::error::{store_cause, store_code, store_detail};
use crate::failure::{Cause, Failure};
use crate::runtime::{Inner, Runtime};
use chancery_core::canonical::{CanonicalError, to_canonical};
use chancery_core::checkpoint::{self, Checkpoint, SignedCheckpoint};
use chancery_core::digest::RootHash;
use chancery_core::key::{KeyId, Signer};
use chancery_core::keyring::{Keyring, Role, Standing};
use chancery_core::merkle::{Frontier, FrontierError};
use chancery_core::note::NoteSignError;
use chancery_core::time::Timestamp;
use chancery_store::{Head, Settings, Store, StoreError, StoredCheckpoint};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

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

/// The file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    checkpoint: String,
    frontier: Vec<RootHash>,
}

impl Runtime {
    /// Signs the head of the log, unless the last checkpoint covers it, and returns the newest checkpoint; none for an
    /// empty log. Blocks.
    ///
    /// Durable once it returns: in the publisher's own file and in the database.
    ///
    /// # Errors
    /// [`CheckpointError::Fork`] when the log does not continue what was signed before; nothing is signed then.
    pub fn publish_checkpoint(&self) -> Result<Option<SignedCheckpoint>, CheckpointError> {
        self.inner.publish_checkpoint()
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
        let keyring = Arc::clone(&self.snapshot().keyring);
        publisher.publish(&self.store, &self.settings, &keyring, self.log_key.as_ref(), self.clock.now())
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
        let (head, newest) = store.read(|reader| Ok((reader.head()?, reader.checkpoint_newest()?)))?;
        if let Some(newest) = &newest {
            check_stored(newest, keyring, settings)
                .map_err(|source| CheckpointError::Stored { size: newest.size, source })?;
        }
        let last = read(path, &head, keyring, settings)?;
        match (&last, newest) {
            (None, Some(newest)) => {
                return Err(CheckpointError::Missing { path: path.to_owned(), size: newest.size });
            }
            (Some(last), _) => {
                let signed = last.checkpoint.checkpoint();
                if signed.size == head.size && signed.root != head.root_hash {
                    return Err(CheckpointError::Fork { size: head.size });
                }
            }
            (None, None) => {}
        }
        Ok(Self { path: path.to_owned(), last })
    }

    fn publish(
        &mut self,
        store: &Store,
        settings: &Settings,
        keyring: &Keyring,
        log_key: &dyn Signer,
        now: Timestamp,
    ) -> Result<Option<SignedCheckpoint>, CheckpointError> {
        let head = store.read(|reader| reader.head())?;
        let signed_size = self.last.as_ref().map_or(0, |last| last.checkpoint.checkpoint().size);
        if head.size < signed_size {
            let path = self.path.clone();
            return Err(CheckpointError::Ahead { path, signed: signed_size, log: head.size });
        }
        if head.size == 0 {
            return Ok(None);
        }
        if head.size > signed_size {
            let key = log_key.public_key().key_id();
            keyring
                .judge(key, &Role::Log, head.size, now)
                .map_err(|standing| CheckpointError::Key { key: key.clone(), standing })?;
            let mut frontier =
                self.last.as_ref().map_or_else(Frontier::default, |last| last.frontier.clone());
            grow(&mut frontier, store, head.size)?;
            if frontier.root() != head.root_hash {
                return Err(CheckpointError::Fork { size: head.size });
            }
            let checkpoint =
                Checkpoint { origin: settings.log_origin.clone(), size: head.size, root: head.root_hash };
            let note = checkpoint.sign(log_key)?;
            let signed = Signed {
                checkpoint: Checkpoint::parse_and_verify(&note, log_key.public_key(), &settings.log_origin)?,
                frontier,
            };
            write(&self.path, &signed)?;
            self.last = Some(signed);
        }
        let Some(last) = &self.last else { return Ok(None) };
        if last.checkpoint.checkpoint().root != head.root_hash {
            return Err(CheckpointError::Fork { size: head.size });
        }
        // Also when it was signed before: the process may have ended between the file and the database.
        store.insert_checkpoint(head.size, head.root_hash, last.checkpoint.to_string(), now)?;
        Ok(Some(last.checkpoint.clone()))
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

/// Whether the database's newest checkpoint is one of this log, and says what its row says.
fn check_stored(
    stored: &StoredCheckpoint,
    keyring: &Keyring,
    settings: &Settings,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let signed = SignedCheckpoint::parse_unverified(&stored.note)?;
    let checkpoint = signed.checkpoint();
    if checkpoint.size != stored.size || checkpoint.root != stored.root_hash {
        return Err("its row says something else than the note that was signed".into());
    }
    Ok(check_signer(&signed, keyring, &settings.log_origin)?)
}

fn read(
    path: &Path,
    head: &Head,
    keyring: &Keyring,
    settings: &Settings,
) -> Result<Option<Signed>, CheckpointError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CheckpointError::Io { path: path.to_owned(), source }),
    };
    let broken = |source: Box<dyn std::error::Error + Send + Sync>| CheckpointError::Broken {
        path: path.to_owned(),
        source,
    };
    let memory: Memory = serde_json::from_slice(&bytes).map_err(|error| broken(error.into()))?;
    let checkpoint =
        SignedCheckpoint::parse_unverified(&memory.checkpoint).map_err(|error| broken(error.into()))?;
    let size = checkpoint.checkpoint().size;
    check_signer(&checkpoint, keyring, &settings.log_origin).map_err(|error| broken(error.into()))?;
    if size > head.size {
        return Err(CheckpointError::Ahead { path: path.to_owned(), signed: size, log: head.size });
    }
    let frontier =
        Frontier::from_parts(size, memory.frontier).map_err(|error: FrontierError| broken(error.into()))?;
    if frontier.root() != checkpoint.checkpoint().root {
        return Err(broken("its hashes do not give the root that was signed".into()));
    }
    Ok(Some(Signed { checkpoint, frontier }))
}

/// The note in the publisher's file, as it is there.
pub(crate) fn remembered(path: &Path) -> Result<Option<String>, CheckpointError> {
    match fs::read(path) {
        Ok(bytes) => match serde_json::from_slice::<Memory>(&bytes) {
            Ok(memory) => Ok(Some(memory.checkpoint)),
            Err(error) => Err(CheckpointError::Broken { path: path.to_owned(), source: error.into() }),
        },
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CheckpointError::Io { path: path.to_owned(), source }),
    }
}

/// Replaces the file: the new one is whole and on the disk before it takes the old one's name.
fn write(path: &Path, signed: &Signed) -> Result<(), CheckpointError> {
    let io = |source| CheckpointError::Io { path: path.to_owned(), source };
    let memory =
        Memory { checkpoint: signed.checkpoint.to_string(), frontier: signed.frontier.parts().to_vec() };
    let bytes = to_canonical(&memory)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(io)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(io)?;
    file.write_all(bytes.as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    fs::rename(&new, path).map_err(io)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The memory is gone.
    #[error(
        "`{}` is missing and the database has a checkpoint of size {size}: bring the file back from where it was \
         kept; where it is lost, run `chancery fsck --full`, compare with the checkpoints that others hold, and \
         only then start a new file from the database's newest checkpoint",
        path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// The newest checkpoint of the database.
        size: u64,
    },
    /// The database has fewer entries than were signed.
    #[error(
        "`{}` remembers a checkpoint of size {signed} and the log has {log} entries: an older database was put \
         back; restore the newest one, a log never gets shorter",
        path.display()
    )]
    Ahead {
        /// The publisher's file.
        path: PathBuf,
        /// What was signed.
        signed: u64,
        /// What there is.
        log: u64,
    },
    /// The log does not continue what was signed.
    #[error(
        "the log of size {size} does not continue the last checkpoint that was signed: entries or the head were \
         changed; run `chancery fsck`, do not go on"
    )]
    Fork {
        /// The size of the head.
        size: u64,
    },
    /// Leaves are missing.
    #[error("the log has no leaves for all of {from}..{to}: run `chancery fsck`, do not go on")]
    Leaves {
        /// The first index asked for.
        from: u64,
        /// The index after the last.
        to: u64,
    },
    /// The memory cannot be read.
    #[error("`{}` is damaged; bring it back from where it was kept", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database's newest checkpoint is none of this log.
    #[error("the newest checkpoint in the database, of size {size}, does not hold; run `chancery fsck`")]
    Stored {
        /// The size that its row says.
        size: u64,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The key is not good at the head.
    #[error(
        "the key {key} is not good as `log`; enrol a new one (`chancery key enroll`) and start again with it"
    )]
    Key {
        /// The key.
        key: KeyId,
        /// What is wrong with it.
        #[source]
        standing: Standing,
    },
    /// The file system failed.
    #[error("cannot use `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The note was not signed.
    #[error("the checkpoint was not signed")]
    Sign(#[from] NoteSignError),
    /// What was signed does not verify.
    #[error("the checkpoint that was just signed does not verify")]
    Note(#[from] checkpoint::CheckpointError),
    /// The memory has no canonical form.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Failure for CheckpointError {
    fn whose(&self) -> Cause {
        match self {
            Self::Missing { .. } | Self::Key { .. } => Cause::Refused,
            Self::Ahead { .. } | Self::Fork { .. } | Self::Leaves { .. } => Cause::Corrupt,
            Self::Broken { .. } | Self::Stored { .. } => Cause::Corrupt,
            Self::Io { .. } | Self::Sign(_) => Cause::Unavailable,
            Self::Note(_) | Self::Canonical(_) => Cause::Corrupt,
            Self::Store(error) => store_cause(error),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "checkpoint.missing",
            Self::Ahead { .. } => "checkpoint.ahead",
            Self::Fork { .. } | Self::Leaves { .. } => "checkpoint.fork",
            Self::Broken { .. } | Self::Stored { .. } => "checkpoint.broken",
            Self::Io { .. } => "checkpoint.io",
            Self::Key { .. } | Self::Sign(_) | Self::Note(_) | Self::Canonical(_) => "runtime.key",
            Self::Store(error) => store_code(error),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Store(error) => store_detail(error),
            _ => "the head of the log cannot be signed; the operator's log says why".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use crate::testing::{TestLog, caller, request};

    fn decide(runtime: &Runtime, id: &str) {
        runtime.execute_blocking(&caller(), &request(id, "1", "0.1")).unwrap();
    }

    #[test]
    fn the_newest_head_is_signed_and_remembered() {
        let log = TestLog::new();
        let runtime = log.open();
        let first = runtime.publish_checkpoint().unwrap().unwrap();
        assert_eq!(runtime.publish_checkpoint().unwrap().unwrap(), first);
        for number in 0..300 {
            decide(&runtime, &format!("e-{number}"));
        }
        let second = runtime.publish_checkpoint().unwrap().unwrap();
        assert_eq!(second.checkpoint().size, first.checkpoint().size + 300);
        second.verify(runtime.log_key(), &runtime.settings().log_origin).unwrap();
        let proof =
            runtime.records().consistency(first.checkpoint().size, Some(second.checkpoint().size)).unwrap();
        chancery_core::merkle::verify_consistency(
            proof.from,
            &first.checkpoint().root,
            proof.to,
            &second.checkpoint().root,
            &proof.hashes,
        )
        .unwrap();
        assert_eq!(runtime.records().checkpoint().unwrap().unwrap().note, second.to_string());
        drop(runtime);
        assert_eq!(log.open().publish_checkpoint().unwrap().unwrap(), second);
    }

    #[test]
    fn a_crash_between_file_and_database_is_made_good() {
        let log = TestLog::new();
        let runtime = log.open();
        decide(&runtime, "e-1");
        let signed = runtime.publish_checkpoint().unwrap().unwrap();
        drop(runtime);
        log.tamper(&format!("DELETE FROM checkpoints WHERE size = {}", signed.checkpoint().size));
        let runtime = log.open();
        assert_eq!(runtime.publish_checkpoint().unwrap().unwrap(), signed);
        assert_eq!(runtime.records().checkpoint().unwrap().unwrap().note, signed.to_string());
    }

    #[test]
    fn a_missing_memory_is_refused_while_the_database_has_checkpoints() {
        let log = TestLog::new();
        fs::remove_file(log.home().checkpoint()).unwrap();
        let error = log.try_open().unwrap_err();
        assert_eq!((error.whose(), error.code()), (Cause::Refused, "checkpoint.missing"));
        assert!(error.to_string().contains("fsck --full"), "{error}");
    }

    #[test]
    fn a_damaged_memory_is_refused() {
        let log = TestLog::new();
        let path = log.home().checkpoint().to_owned();
        let good = fs::read_to_string(&path).unwrap();
        for bad in [
            String::new(),
            good[..good.len() - 1].to_owned(),
            good.replace("log.example.com", "log.example.org"),
            good.replace("\"frontier\":[", "\"frontier\":[\"00\","),
            good.replace("\\n2\\n", "\\n3\\n"),
        ] {
            assert_ne!(bad, good);
            fs::write(&path, bad).unwrap();
            assert_eq!(log.try_open().unwrap_err().code(), "checkpoint.broken");
        }
    }

    #[test]
    fn an_older_database_is_refused() {
        let log = TestLog::new();
        let old = fs::read(log.database()).unwrap();
        let runtime = log.open();
        decide(&runtime, "e-1");
        runtime.publish_checkpoint().unwrap();
        drop(runtime);
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", log.database().display()));
        }
        fs::write(log.database(), old).unwrap();
        let error = log.try_open().unwrap_err();
        assert_eq!((error.whose(), error.code()), (Cause::Corrupt, "checkpoint.ahead"));
        assert!(error.to_string().contains("never gets shorter"), "{error}");
    }

    #[test]
    fn a_fork_is_never_signed() {
        let log = TestLog::new();
        let other = TestLog::new();
        let runtime = log.open();
        decide(&runtime, "e-1");
        runtime.publish_checkpoint().unwrap();
        drop(runtime);
        // The same log, gone on in another way: of the same size, and longer.
        let forked = other.open();
        decide(&forked, "e-2");
        forked.publish_checkpoint().unwrap();
        drop(forked);
        let memory = fs::read(log.home().checkpoint()).unwrap();
        fs::write(other.home().checkpoint(), &memory).unwrap();
        assert_eq!(other.try_open().unwrap_err().code(), "checkpoint.fork");

        let third = TestLog::new();
        let forked = third.open();
        decide(&forked, "e-2");
        decide(&forked, "e-3");
        drop(forked);
        fs::write(third.home().checkpoint(), &memory).unwrap();
        let runtime = third.open();
        let error = runtime.publish_checkpoint().unwrap_err();
        assert_eq!((error.whose(), error.code()), (Cause::Corrupt, "checkpoint.fork"));
        assert_eq!(fs::read(third.home().checkpoint()).unwrap(), memory);
    }

    #[test]
    fn an_edited_head_is_never_signed() {
        let log = TestLog::new();
        let runtime = log.open();
        decide(&runtime, "e-1");
        log.tamper(&format!("UPDATE log_head SET root_hash = '{}'", "0".repeat(64)));
        assert!(runtime.publish_checkpoint().is_err());
    }
}
