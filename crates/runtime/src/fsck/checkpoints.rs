//! Every stored checkpoint, and the publisher's own: signed with a log key, and of this tree.
//!
//! Each is compared while the tree grows past its size. That an older one is gone nobody can say: nothing that is signed
//! counts them.

use super::tree::Tree;
use super::{Check, FsckReport};
use chancery_core::checkpoint::Checkpoint;
use chancery_core::key::PublicKey;
use chancery_core::keyring::Role;
use chancery_store::{StoreError, StoredCheckpoint};
use std::ops::Range;

/// The checkpoints that the tree has not come to.
pub(super) struct Checkpoints {
    publishers: Option<Checkpoint>,
    /// Those of the page that is read.
    due: Vec<Checkpoint>,
}

impl Checkpoints {
    /// Reads the publisher's own.
    pub(super) fn new(check: &Check<'_>, report: &mut FsckReport) -> Result<Self, StoreError> {
        let publishers =
            match check.request.checkpoint.map(|path| (path, crate::checkpoint::remembered(path))) {
                None => None,
                Some((_, Ok(Some(note)))) => check.checkpoint(OWN, &note, report),
                Some((path, Ok(None))) => {
                    if check.snapshot.read(|reader| reader.has_checkpoint())? {
                        report.problem(None, format!("the publisher's file `{}` is missing", path.display()));
                    }
                    None
                }
                Some((_, Err(error))) => {
                    report.failed(None, OWN, &error);
                    None
                }
            };
        Ok(Self { publishers, due: Vec::new() })
    }

    /// Reads the stored ones of these sizes.
    pub(super) fn page(
        &mut self,
        sizes: Range<u64>,
        check: &Check<'_>,
        report: &mut FsckReport,
    ) -> Result<(), StoreError> {
        self.due.clear();
        for stored in read(sizes, check, report)? {
            let what = stored_at(stored.size);
            let Some(signed) = check.checkpoint(&what, &stored.note, report) else { continue };
            if (signed.size, signed.root) != (stored.size, stored.root_hash) {
                report.problem(None, format!("{what}: its row is not what was signed"));
            }
            self.due.push(signed);
        }
        Ok(())
    }

    /// Compares those of `size` with the tree, which has come to it.
    pub(super) fn compare(&mut self, size: u64, tree: &Tree, report: &mut FsckReport) {
        let own = self.publishers.take_if(|own| own.size == size).map(|own| (OWN.to_owned(), own));
        let stored = self.due.extract_if(.., |stored| stored.size == size);
        for (what, signed) in stored.map(|signed| (stored_at(signed.size), signed)).chain(own) {
            if tree.root().is_some_and(|root| root != signed.root) {
                report.problem(None, format!("{what} is not of this log: its root differs"));
            }
        }
    }

    /// Those that the log has not come to.
    pub(super) fn beyond(
        self,
        size: u64,
        check: &Check<'_>,
        report: &mut FsckReport,
    ) -> Result<(), StoreError> {
        if let Some(own) = self.publishers {
            report.failed(None, OWN, &StoreError::OutOfRange { asked: own.size, size });
        }
        let first = read(size + 1..u64::MAX, check, report)?.into_iter().next();
        if let Some(stored) = first {
            let error = StoreError::OutOfRange { asked: stored.size, size };
            report.failed(None, &stored_at(stored.size), &error);
        }
        Ok(())
    }
}

const OWN: &str = "the publisher's checkpoint";

fn stored_at(size: u64) -> String {
    format!("the checkpoint of size {size}")
}

fn read(
    sizes: Range<u64>,
    check: &Check<'_>,
    report: &mut FsckReport,
) -> Result<Vec<StoredCheckpoint>, StoreError> {
    match check.snapshot.read(|reader| reader.checkpoints(sizes)) {
        Err(error) if matches!(error, StoreError::Corrupt { .. }) => {
            report.failed(None, "the table of checkpoints", &error);
            Ok(Vec::new())
        }
        read => read,
    }
}

impl Check<'_> {
    /// What a note says, once a log key's signature under it holds; older log keys count.
    fn checkpoint(&self, what: &str, note: &str, report: &mut FsckReport) -> Option<Checkpoint> {
        let origin = &self.records.settings().log_origin;
        let own = self.request.keys.map(|keys| keys.log.public_key());
        let versions = self.keyring.iter().flat_map(|keyring| keyring.versions().iter().rev());
        let others = versions.flat_map(|version| version.predicate().keys_with(&Role::Log));
        let keys: Vec<&PublicKey> = own.into_iter().chain(others.map(|entry| &entry.key)).collect();
        // A keyring that cannot be read was told already.
        if keys.is_empty() && self.keyring.is_none() {
            return None;
        }
        let mut refused = None;
        for key in keys {
            match Checkpoint::parse_and_verify(note, key, origin) {
                Ok(signed) => return Some(signed.checkpoint().clone()),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) => report.failed(None, what, &error),
            None => report.problem(None, format!("{what}: the keyring has no log key")),
        }
        None
    }
}
