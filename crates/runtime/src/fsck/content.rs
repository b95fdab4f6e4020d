//! What decisions were made with and does not lie in the log itself: builds and bundles.

use super::{Check, FsckReport};
use crate::build::{RecordedBuild, read_recorded};
use crate::bundles::verify_stored;
use chancery_core::digest::Digest;
use chancery_store::{Entry, StoreError};
use std::collections::BTreeSet;

impl Check<'_> {
    /// The row of a build, and with `full` its signature as a blob and its bill of materials.
    pub(super) fn build(&self, entry: &Entry, report: &mut FsckReport) -> Result<(), StoreError> {
        let hash = Digest::of(&entry.payload);
        let recorded = match self.snapshot.read(|reader| read_recorded(reader, &hash)) {
            Ok(recorded) => recorded,
            Err(error) if matches!(error, StoreError::Corrupt { .. }) => {
                report.failed(entry.index, "the build", &error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let recorded = recorded.filter(|(record, _)| record.index == entry.index);
        let Some(recorded) = recorded else {
            report.problem(entry.index, "the build has no row in `build_identities`");
            return Ok(());
        };
        if let (true, Some(keyring)) = (self.request.full, self.keyring) {
            match RecordedBuild::verify(keyring, recorded, &hash) {
                Ok(_) => report.builds += 1,
                Err(error) => report.failed(entry.index, "the build", &error),
            }
        }
        Ok(())
    }

    /// Every bundle that an activation names.
    pub(super) fn bundles(&self, report: &mut FsckReport) -> Result<(), StoreError> {
        let Some(keyring) = self.keyring else { return Ok(()) };
        let activations = self.snapshot.read(|reader| reader.activations(None))?;
        let hashes: BTreeSet<_> = activations.iter().map(|activation| activation.bundle_hash).collect();
        for hash in hashes {
            match self.snapshot.read(|reader| reader.bundle_by_hash(&hash)) {
                Ok(Some(stored)) => match verify_stored(keyring, stored, &hash) {
                    Ok(_) => report.bundles += 1,
                    Err(error) => report.failed(None, "a bundle", &error),
                },
                Ok(None) => report.problem(None, format!("the bundle {hash} is not in the store")),
                Err(error) => report.failed(None, "a bundle", &error),
            }
        }
        Ok(())
    }
}
