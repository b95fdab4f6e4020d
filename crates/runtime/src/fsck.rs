//! Checking the store against its log.
//!
//! | always | with `full` |
//! |---|---|
//! | every payload hashes to its record id, every entry to its leaf | every signature, by a key that was good at its index |
//! | leaves, chain, tiles and head fit together | every statement has its shape |
//! | every checkpoint is signed and of this tree; so is the publisher's own | every fingerprint follows from its statement |
//! | the columns of decisions say what their payloads say | every opening opens and leads to the committed roots |
//! | keyring and `root.pub` | every bundle's content and signature |
//! | every activation, keyring, build, override, resolution, confirmation and erasure has its row, and every row its entry, and they say the same | |
//! | settings, keyring and decisions name the same log | |
//! | every verification is of a decision before it and has its row, and every row its verification | |
//! | every build that decisions name is logged before them and has its row | every build's signature and bill of materials |
//!
//! It goes on after a fault, so that one report has all of them; it mends nothing. It reads in pages, so memory does
//! not grow with the log.

use self::checkpoints::Checkpoints;
use self::decisions::Rows;
use self::tree::Tree;
use crate::keys::ServerKeys;
use crate::records::Records;
use crate::runtime::{read_keyring, tenant_keys};
use crate::vault::OpeningKey;
use chancery_core::digest::Digest;
use chancery_core::keyring::{Keyring, RootPub};
use chancery_core::log::Kind;
use chancery_core::statement::{AnyStatement, Decision, Statement};
use chancery_store::{Entry, Snapshot, StoreError};
use serde::Serialize;
use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;

mod checkpoints;
mod content;
mod decisions;
mod events;
mod links;
mod tree;

/// Entries that are read at once: those of a tile.
const PAGE: u64 = 256;

/// Problems that a report names; it counts the rest.
pub const PROBLEMS_MAX: usize = 100;

/// What is checked, and with what.
#[derive(Clone, Copy, Debug)]
pub struct FsckRequest<'a> {
    /// What the keyring has to lead to.
    pub root: &'a RootPub,
    /// The keys, for openings and the log key; without them what needs them is left out, and the report says so.
    pub keys: Option<&'a ServerKeys>,
    /// The publisher's own file.
    pub checkpoint: Option<&'a Path>,
    /// Signatures, statements, fingerprints, openings and bundles, too.
    pub full: bool,
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FsckReport {
    /// Entries that were read.
    pub entries: u64,
    /// Decisions among them.
    pub decisions: u64,
    /// Verifications among them.
    pub verifications: u64,
    /// Openings that were opened.
    pub openings: u64,
    /// Bundles that were verified.
    pub bundles: u64,
    /// Builds that were verified.
    pub builds: u64,
    /// Whether everything was checked that can be.
    pub full: bool,
    /// What was not checked, and why.
    pub left_out: Vec<String>,
    /// The first problems.
    pub problems: Vec<Problem>,
    /// All problems.
    pub problems_total: u64,
}

/// Something that does not hold.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Problem {
    /// The log index that it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl FsckReport {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems_total == 0
    }

    fn problem(&mut self, index: impl Into<Option<u64>>, what: impl Into<String>) {
        self.problems_total += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { index: index.into(), what: what.into() });
        }
    }

    fn failed(&mut self, index: impl Into<Option<u64>>, what: &str, error: &dyn Error) {
        let mut text = format!("{what}: {error}");
        let mut source = error.source();
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        self.problem(index, text);
    }
}

impl Records {
    /// Checks everything in one read snapshot, and tells `progress`, now and then, how many entries of how many are
    /// done.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read at all; everything else is in the report.
    pub fn fsck(
        &self,
        request: &FsckRequest<'_>,
        progress: impl FnMut(u64, u64),
    ) -> Result<FsckReport, StoreError> {
        let mut report = FsckReport { full: request.full, ..FsckReport::default() };
        let snapshot = self.store.snapshot()?;
        let keyring = match snapshot.read(read_keyring)? {
            Ok(keyring) => {
                if let Err(error) = keyring.check_root(request.root) {
                    report.failed(None, "the keyring", &error);
                }
                self.names_of(&keyring, &mut report);
                Some(keyring)
            }
            Err(error) => {
                report.failed(None, "the keyring", &error);
                None
            }
        };
        let openings = self.opening_key(request, &mut report);
        let check =
            Check { request, records: self, snapshot: &snapshot, keyring: keyring.as_ref(), openings };
        check.log(&mut report, progress)?;
        if request.full {
            check.bundles(&mut report)?;
        }
        Ok(report)
    }

    /// The settings name the log that the keyring was signed for.
    fn names_of(&self, keyring: &Keyring, report: &mut FsckReport) {
        let settings = self.settings();
        for version in keyring.versions() {
            let signed = version.predicate();
            if signed.tenant != settings.tenant {
                report.problem(version.index(), "the column `tenant` of `settings` is not what was signed");
            }
            if signed.log_origin != settings.log_origin {
                report
                    .problem(version.index(), "the column `log_origin` of `settings` is not what was signed");
            }
        }
    }

    fn opening_key(&self, request: &FsckRequest<'_>, report: &mut FsckReport) -> Option<OpeningKey> {
        if !request.full {
            return None;
        }
        let Some(keys) = request.keys else {
            report.left_out.push("openings: no key was given".to_owned());
            return None;
        };
        match tenant_keys(&self.store, &self.settings().tenant, &keys.vault) {
            Ok((_, opening)) => Some(opening),
            Err(error) => {
                report.failed(None, "the tenant's keys", &error);
                None
            }
        }
    }
}

struct Check<'a> {
    request: &'a FsckRequest<'a>,
    records: &'a Records,
    snapshot: &'a Snapshot,
    keyring: Option<&'a Keyring>,
    openings: Option<OpeningKey>,
}

impl Check<'_> {
    /// Every entry, and what hangs on it, in order; then what they come to.
    fn log(&self, report: &mut FsckReport, mut progress: impl FnMut(u64, u64)) -> Result<(), StoreError> {
        let head = self.snapshot.read(|reader| reader.head())?;
        let mut tree = Tree::new();
        let mut checkpoints = Checkpoints::new(self, report)?;
        let mut rows = Rows::default();
        let mut builds = BTreeSet::new();
        let mut at = 0;
        while at < head.size {
            let end = head.size.min(at + PAGE);
            checkpoints.page(at + 1..end + 1, self, report)?;
            let mut expected = at;
            for (index, leaf) in self.snapshot.read(|reader| reader.leaf_hashes(at..end))? {
                for missing in expected..index {
                    report.problem(missing, "the entry is missing");
                    tree.skip();
                }
                expected = index + 1;
                tree.push(&leaf, self, report)?;
                checkpoints.compare(index + 1, &tree, report);
            }
            for missing in expected..end {
                report.problem(missing, "the entry is missing");
                tree.skip();
            }
            let entries = self.entries(at..end, report)?;
            for entry in &entries {
                self.entry(entry, &mut rows, &mut builds, report)?;
            }
            self.verifications(at..end, &entries, report)?;
            self.events(at..end, &entries, report)?;
            at = end;
            report.entries = at;
            progress(at, head.size);
        }
        rows.rest(self, report)?;
        checkpoints.beyond(head.size, self, report)?;
        tree.finish(&head, self, report)
    }

    /// The entries of a page. Where one of them is damaged, the others are read singly.
    fn entries(
        &self,
        range: std::ops::Range<u64>,
        report: &mut FsckReport,
    ) -> Result<Vec<Entry>, StoreError> {
        if let Ok(entries) = self.snapshot.read(|reader| reader.entries(range.clone())) {
            return Ok(entries);
        }
        let mut entries = Vec::new();
        for index in range {
            match self.snapshot.read(|reader| reader.entry(index)) {
                Ok(Some(entry)) => entries.push(entry),
                // Told with the leaves.
                Ok(None) => {}
                Err(error) if matches!(error, StoreError::Corrupt { .. }) => {
                    report.failed(index, "the entry", &error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(entries)
    }

    fn entry(
        &self,
        entry: &Entry,
        rows: &mut Rows,
        builds: &mut BTreeSet<Digest>,
        report: &mut FsckReport,
    ) -> Result<(), StoreError> {
        if entry.kind == Kind::BuildIdentity {
            builds.insert(Digest::of(&entry.payload));
            self.build(entry, report)?;
        }
        if entry.kind == Kind::Decision {
            report.decisions += 1;
            match Statement::<Decision>::parse_unverified(&entry.payload) {
                Ok(statement) => {
                    rows.compare(self, entry.index, &statement.predicate, report)?;
                    let build = statement.predicate.runtime.build_identity;
                    if build.is_some_and(|build| !builds.contains(&build)) {
                        report.problem(entry.index, "the build that it names is not logged before it");
                    }
                    if self.request.full {
                        self.decision(entry, &statement.predicate, report)?;
                    }
                }
                Err(error) => report.failed(entry.index, "the decision", &error),
            }
        }
        if self.request.full && entry.kind != Kind::Keyring {
            self.signature(entry, report);
        }
        Ok(())
    }

    /// The signature, and whether the key was good for this entry. The keyring's own were checked when it was walked.
    fn signature(&self, entry: &Entry, report: &mut FsckReport) {
        let Some(keyring) = self.keyring else { return };
        let envelope = entry.envelope();
        let key = match envelope.single() {
            Ok(signature) => keyring.find_key(&signature.keyid),
            Err(error) => return report.failed(entry.index, "the signature", &error),
        };
        let Some(key) = key else {
            return report.problem(entry.index, "the key that signed is not in the keyring");
        };
        let verified = match envelope.verify_single(key) {
            Ok(verified) => verified,
            Err(error) => return report.failed(entry.index, "the signature", &error),
        };
        match AnyStatement::parse(entry.kind, &verified) {
            Ok(statement) => {
                let role = statement.role();
                let faults =
                    role.map(|role| keyring.faults(key.key_id(), &role, entry.index, statement.claimed_at()));
                if let Some(standing) = faults.unwrap_or_default().first() {
                    report.failed(entry.index, "the key that signed", standing);
                }
                if statement.claimed_at() != entry.claimed_at {
                    report.problem(entry.index, "the column `claimed_at` is not what the statement says");
                }
                if statement.tenant().is_some_and(|tenant| *tenant != self.records.settings().tenant) {
                    report.problem(entry.index, "the statement is another tenant's");
                }
            }
            Err(error) => report.failed(entry.index, "the statement", &error),
        }
    }
}

#[cfg(test)]
mod tests;
