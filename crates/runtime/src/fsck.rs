//! Checking the store against its log.
//!
//! | always | with `full` |
//! |---|---|
//! | every payload hashes to its record id, every entry to its leaf | every signature, by a key that was good at its index |
//! | leaves, chain, tree and head fit together | every statement has its shape |
//! | the newest checkpoint is signed and of this tree; so is the publisher's own | every fingerprint follows from its statement |
//! | the columns of decisions say what their payloads say | every opening opens and leads to the committed roots |
//! | keyring and `root.pub` | every bundle's content and signature |
//! | every override and resolution has its row, and every row its entry, and they say the same | |
//! | every verification is of a decision before it and has its row, and every row its verification | |
//! | every build that decisions name is logged before them and has its row | every build's signature and bill of materials |
//!
//! It goes on after a fault, so that one report has all of them; it mends nothing. It reads in pages, so memory does
//! not grow with the log.

use crate::build::{RecordedBuild, read_recorded};
use crate::bundles::verify_stored;
use crate::keys::ServerKeys;
use crate::records::Records;
use crate::runtime::{read_keyring, tenant_keys};
use crate::vault::OpeningKey;
use chancery_core::checkpoint::Checkpoint;
use chancery_core::commitment::{Opening, fingerprint};
use chancery_core::digest::{ChainHash, Digest};
use chancery_core::json::{self, Limits};
use chancery_core::key::PublicKey;
use chancery_core::keyring::{Keyring, Role, RootPub};
use chancery_core::log::{Kind, chain_next};
use chancery_core::merkle::Frontier;
use chancery_core::statement::{AnyStatement, Decision, Statement};
use chancery_store::{Cursor, DecisionFilter, DecisionSummary, Entry, Order, Snapshot, StoreError};
use serde::Serialize;
use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;

mod cases;
mod links;

/// Entries that are read at once.
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
        check.checkpoints(&mut report)?;
        if request.full {
            check.bundles(&mut report)?;
        }
        Ok(report)
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
        let (mut tree, mut chain) = (Frontier::new(), ChainHash::ZERO);
        let mut rows = Rows::default();
        let mut builds = BTreeSet::new();
        let mut at = 0;
        while at < head.size {
            let end = head.size.min(at + PAGE);
            let mut expected = at;
            for (index, leaf) in self.snapshot.read(|reader| reader.leaf_hashes(at..end))? {
                (expected..index).for_each(|missing| report.problem(missing, "the entry is missing"));
                expected = index + 1;
                tree.push(&leaf);
                chain = chain_next(&chain, &leaf);
            }
            (expected..end).for_each(|missing| report.problem(missing, "the entry is missing"));
            let entries = self.entries(at..end, report)?;
            for entry in &entries {
                self.entry(entry, &mut rows, &mut builds, report)?;
            }
            self.verifications(at..end, &entries, report)?;
            self.cases(at..end, &entries, report)?;
            at = end;
            report.entries = at;
            progress(at, head.size);
        }
        rows.rest(self, report)?;
        if tree.size() != head.size {
            report.problem(None, format!("the head says {} entries, there are {}", head.size, tree.size()));
        }
        if tree.root() != head.root_hash {
            report.problem(None, "the root hash of the head is not that of the leaves");
        }
        if chain != head.chain_hash {
            report.problem(None, "the chain hash of the head is not that of the leaves");
        }
        match self.snapshot.read(|reader| Ok((reader.frontier()?, reader.root(head.size)?))) {
            Ok((frontier, root)) => {
                if frontier != tree {
                    report.problem(None, "the frontier of the head is not that of the leaves");
                }
                if root != tree.root() {
                    report.problem(None, "the tiles do not give the root hash of the leaves");
                }
            }
            Err(error) => report.failed(None, "the tiles", &error),
        }
        Ok(())
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

    /// The row of a build, and with `full` its signature as a blob and its bill of materials.
    fn build(&self, entry: &Entry, report: &mut FsckReport) -> Result<(), StoreError> {
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

    /// The fingerprint, and the opening where there is one.
    fn decision(
        &self,
        entry: &Entry,
        decision: &Decision,
        report: &mut FsckReport,
    ) -> Result<(), StoreError> {
        let candidates_root = decision.candidates.as_ref().map(|candidates| candidates.candidates_root);
        let expected = fingerprint(
            &decision.policy.bundle_hash,
            &decision.policy.id,
            &decision.policy.version,
            &decision.principal,
            &decision.resource,
            &decision.signals_root,
            candidates_root.as_ref(),
        );
        if expected != decision.execution_fingerprint {
            report.problem(entry.index, "the fingerprint does not follow from the statement");
        }
        let Some(key) = &self.openings else { return Ok(()) };
        let Some(sealed) = self.snapshot.read(|reader| reader.opening(entry.index))? else { return Ok(()) };
        let plain = match key.open(&entry.record_id, &sealed.opening) {
            Ok(plain) => plain,
            Err(error) => {
                report.failed(entry.index, "the opening", &error);
                return Ok(());
            }
        };
        let opening = json::parse(&plain, Limits::EVIDENCE_LINE)
            .map_err(Into::into)
            .and_then(|value| Opening::parse(&value));
        match opening.and_then(|opening| opening.roots()) {
            Ok(roots) if roots == (decision.signals_root, candidates_root) => report.openings += 1,
            Ok(_) => report.problem(entry.index, "the opening does not lead to the committed roots"),
            Err(error) => report.failed(entry.index, "the opening", &error),
        }
        Ok(())
    }

    /// The newest checkpoint, and the publisher's own.
    fn checkpoints(&self, report: &mut FsckReport) -> Result<(), StoreError> {
        if let Some(stored) = self.snapshot.read(|reader| reader.checkpoint_newest())? {
            self.checkpoint("the newest checkpoint", &stored.note, report)?;
        }
        let Some(path) = self.request.checkpoint else { return Ok(()) };
        match crate::checkpoint::remembered(path) {
            Ok(Some(note)) => self.checkpoint("the publisher's checkpoint", &note, report),
            Ok(None) => {
                let newest = self.snapshot.read(|reader| reader.checkpoint_newest())?;
                if newest.is_some() {
                    report.problem(None, format!("the publisher's file `{}` is missing", path.display()));
                }
                Ok(())
            }
            Err(error) => {
                report.failed(None, "the publisher's checkpoint", &error);
                Ok(())
            }
        }
    }

    fn checkpoint(&self, what: &str, note: &str, report: &mut FsckReport) -> Result<(), StoreError> {
        let origin = &self.records.settings().log_origin;
        let own = self.request.keys.map(|keys| keys.log.public_key());
        // It may be by an older log key.
        let versions = self.keyring.iter().flat_map(|keyring| keyring.versions().iter().rev());
        let others = versions.flat_map(|version| version.predicate().keys_with(&Role::Log));
        let keys: Vec<&PublicKey> = own.into_iter().chain(others.map(|entry| &entry.key)).collect();
        if keys.is_empty() && self.keyring.is_none() {
            return Ok(());
        }
        let mut refused = None;
        for key in keys {
            match Checkpoint::parse_and_verify(note, key, origin) {
                Ok(signed) => {
                    let checkpoint = signed.checkpoint();
                    match self.snapshot.read(|reader| reader.root(checkpoint.size)) {
                        Ok(root) if root == checkpoint.root => {}
                        Ok(_) => report.problem(None, format!("{what} is not of this log: its root differs")),
                        Err(error) => report.failed(None, what, &error),
                    }
                    return Ok(());
                }
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) => report.failed(None, what, &error),
            None => report.problem(None, format!("{what}: the keyring has no log key")),
        }
        Ok(())
    }

    /// Every bundle that an activation names.
    fn bundles(&self, report: &mut FsckReport) -> Result<(), StoreError> {
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

/// The rows of decisions, read in pages beside the entries.
#[derive(Default)]
struct Rows {
    page: std::collections::VecDeque<DecisionSummary>,
    after: Option<Cursor>,
    ended: bool,
}

impl Rows {
    fn next(
        &mut self,
        check: &Check<'_>,
        report: &mut FsckReport,
    ) -> Result<Option<&DecisionSummary>, StoreError> {
        if self.page.is_empty() && !self.ended {
            let limit = u32::try_from(PAGE).unwrap_or(u32::MAX);
            let page = check.snapshot.read(|reader| {
                reader.decisions(&DecisionFilter::default(), Order::OldestFirst, self.after, limit)
            });
            match page {
                Ok(page) => {
                    self.ended = page.next.is_none();
                    self.after = page.next;
                    self.page.extend(page.items);
                }
                Err(error) if matches!(error, StoreError::Corrupt { .. }) => {
                    report.failed(None, "the table of decisions", &error);
                    self.ended = true;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(self.page.front())
    }

    /// Compares the row at `index` with what was signed.
    fn compare(
        &mut self,
        check: &Check<'_>,
        index: u64,
        decision: &Decision,
        report: &mut FsckReport,
    ) -> Result<(), StoreError> {
        while let Some(row) = self.next(check, report)?
            && row.index < index
        {
            let index = row.index;
            report.problem(index, "a row of `decisions` has no decision in the log");
            self.page.pop_front();
        }
        match self.next(check, report)? {
            Some(row) if row.index == index => {
                for column in differences(row, decision) {
                    report.problem(
                        index,
                        format!("the column `{column}` of `decisions` is not what was signed"),
                    );
                }
                self.page.pop_front();
            }
            _ => report.problem(index, "the decision has no row in `decisions`"),
        }
        Ok(())
    }

    fn rest(&mut self, check: &Check<'_>, report: &mut FsckReport) -> Result<(), StoreError> {
        while let Some(row) = self.next(check, report)? {
            let index = row.index;
            report.problem(index, "a row of `decisions` has no decision in the log");
            self.page.pop_front();
        }
        Ok(())
    }
}

fn differences(row: &DecisionSummary, decision: &Decision) -> Vec<&'static str> {
    let labels = decision.labels.clone().unwrap_or_default();
    [
        ("execution_id", row.execution_id == decision.execution_id),
        ("execution_fingerprint", row.fingerprint == decision.execution_fingerprint),
        ("policy_id", row.policy_id == decision.policy.id),
        ("policy_version", row.policy_version == decision.policy.version),
        ("bundle_hash", row.bundle_hash == decision.policy.bundle_hash),
        ("outcome", row.outcome == decision.decision.outcome),
        ("execution_state", row.state == decision.execution_state),
        ("executed_at", row.executed_at == decision.executed_at),
        ("principal", row.principal == decision.principal),
        ("resource", row.resource == decision.resource),
        ("signals_root", row.signals_root == decision.signals_root),
        ("build_identity", row.build_identity == decision.runtime.build_identity),
        ("labels", row.labels == labels),
    ]
    .into_iter()
    .filter_map(|(column, same)| (!same).then_some(column))
    .collect()
}

#[cfg(test)]
mod tests;
