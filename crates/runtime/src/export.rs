//! Writing evidence: one file from which an auditor checks everything offline (formats §9).
//!
//! ```text
//! begin:  fresh checkpoint ─► one read snapshot ─► scan: how much is opened, which bundles, which builds
//! write:  header ─ keyring ─ bundles ─ builds ─ entries (page by page) ─ trailer, signed by the runtime key
//! ```
//! Memory is constant: entries go through in pages, builds one by one, and what the scan keeps is one hash for each. A complete
//! export has no proofs, the verifier rebuilds the tree; any other has a proof for every line. Payloads, signatures
//! and bundles are the stored bytes; a bundle whose content does not hold is not exported, and nothing after it is.

use crate::build::{RecordedBuild, RecordedBuildError, read_recorded};
use crate::bundles::{BundleError, LoadedBundle};
use crate::checkpoint::CheckpointError;
use crate::error::{RuntimeKeyError, store_cause, store_code, store_detail};
use crate::failure::{Cause, Failure};
use crate::runtime::{Inner, Runtime};
use crate::vault::VaultError;
use chancery_core::b64;
use chancery_core::commitment::{Opening, OpeningError};
use chancery_core::digest::{Digest, RootHash};
use chancery_core::evidence::{
    self, BuildLine, BundleLine, EntryLine, Filter, Header, KeyringLine, Proof, Range, Scope, WriteError,
    Writer,
};
use chancery_core::ids::ExecutionId;
use chancery_core::json::{self, Limits};
use chancery_core::keyring::Keyring;
use chancery_core::log::Kind;
use chancery_core::statement::{AnyStatement, ExecutionState, StatementError};
use chancery_store::{DecisionFilter, Entry, Reader, Snapshot, StoreError, StoredOpening};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

/// Entries that are in memory at once.
const PAGE: usize = 128;

/// Which entries a file has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Selection {
    /// The whole log.
    Complete,
    /// A stretch of it; widened so that override cases and erasures are whole. `to` is exclusive.
    Range {
        /// The first index.
        from: u64,
        /// The index after the last; to the end of the log where nothing is said.
        to: Option<u64>,
    },
    /// The decisions that a filter chooses, with everything about them and their activations.
    Filter(Filter),
}

/// How much of the inputs a file discloses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Disclosure {
    /// Everything that has not been erased.
    Full,
    /// Everything but the signals of these names, and candidates that have one of them.
    Partial {
        /// The names.
        hidden: Vec<String>,
    },
    /// No opening at all.
    None,
}

/// What is to be exported.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExportRequest {
    /// Which entries.
    pub selection: Selection,
    /// How much of their inputs.
    pub disclosure: Disclosure,
}

impl ExportRequest {
    /// The evidence of one decision, with its inputs.
    #[must_use]
    pub fn one(execution_id: ExecutionId) -> Self {
        let filter = Filter { execution_ids: Some(vec![execution_id]), ..Filter::default() };
        Self { selection: Selection::Filter(filter), disclosure: Disclosure::Full }
    }
}

/// An export that can begin: nothing was refused, and nothing is written yet.
pub struct Export {
    inner: Arc<Inner>,
    snapshot: Snapshot,
    header: Header,
    disclosure: Disclosure,
    size: u64,
    plan: Plan,
    keyring: Arc<Keyring>,
    bundles: Vec<Arc<LoadedBundle>>,
    builds: Vec<Digest>,
    decisions: u64,
    entries: u64,
}

/// Which entries, in the terms of the store.
enum Plan {
    /// Without proofs.
    Complete,
    /// With proofs.
    Range(std::ops::Range<u64>),
    /// With proofs; the indexes of the activations, ascending.
    Filter(Box<DecisionFilter>, Vec<u64>),
}

/// What was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Exported {
    /// Lines, the trailer included.
    pub lines: u64,
    /// Bytes before the trailer.
    pub bytes: u64,
    /// Decisions.
    pub decisions: u64,
    /// The size of the checkpoint.
    pub checkpoint_size: u64,
}

impl Runtime {
    /// Signs a fresh checkpoint, takes a snapshot, and finds out what the header and the lines before the entries
    /// need. Blocks.
    ///
    /// # Errors
    /// [`ExportError`]; whatever is refused is refused here, before a byte is written.
    pub fn begin_export(&self, request: &ExportRequest) -> Result<Export, ExportError> {
        let inner = Arc::clone(&self.inner);
        inner.good_runtime_key::<ExportError>()?;
        let checkpoint = inner.publish_checkpoint()?.ok_or(ExportError::EmptyLog)?;
        let size = checkpoint.checkpoint().size;
        let snapshot = inner.store.snapshot()?;
        let (plan, scope) = snapshot.read(|reader| Ok(plan(reader, &request.selection, size)))??;
        let (filter, range) = match &plan {
            Plan::Complete => (DecisionFilter::default(), 0..size),
            Plan::Range(range) => (DecisionFilter::default(), range.clone()),
            Plan::Filter(filter, _) => (filter.as_ref().clone(), 0..size),
        };
        let (decisions, openings, named, builds, note) = snapshot.read(|reader| {
            Ok((
                reader.count(&filter, range.clone())?,
                reader.count_openings(&filter, range.clone())?,
                reader.bundles_named(&filter, range.clone())?,
                reader.builds_named(&filter, range.clone())?,
                reader.checkpoint_at(size)?,
            ))
        })?;
        let keyring = inner.snapshot().keyring.clone();
        let bundles = named
            .iter()
            .map(|hash| inner.load(&keyring, hash)?.ok_or(ExportError::BundleMissing { bundle: *hash }))
            .collect::<Result<Vec<_>, ExportError>>()?;
        for build in &builds {
            recorded_build(&snapshot, &keyring, build)?;
        }
        if let Disclosure::Partial { hidden } = &request.disclosure {
            // A misspelled name would hide nothing, and show what was meant to be hidden.
            let known =
                |name: &String| bundles.iter().any(|loaded| loaded.bundle.attributes().get(name).is_some());
            if let Some(signal) = hidden.iter().find(|name| !known(name)) {
                return Err(ExportError::Hidden { signal: signal.clone() });
            }
        }
        let disclosure = disclosed(&request.disclosure, decisions, openings);
        // With the cosignatures that came since.
        let note = note.map_or_else(|| checkpoint.to_string(), |stored| stored.note);
        let header = Header::new(
            inner.settings.tenant.clone(),
            inner.settings.log_origin.clone(),
            note,
            inner.clock.now(),
            disclosure,
            scope,
        );
        let entries = match &plan {
            Plan::Complete => size,
            Plan::Range(range) => range.end - range.start,
            Plan::Filter(_, activations) => decisions + u64::try_from(activations.len()).unwrap_or(0),
        };
        let disclosure = request.disclosure.clone();
        Ok(Export {
            inner,
            snapshot,
            header,
            disclosure,
            size,
            plan,
            keyring,
            bundles,
            builds,
            decisions,
            entries,
        })
    }

    /// [`Runtime::begin_export`] and [`Export::write`] in one.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn export<W: Write>(&self, request: &ExportRequest, out: W) -> Result<Exported, ExportError> {
        self.begin_export(request)?.write(out, |_| {})
    }
}

impl Export {
    /// How many decisions there are.
    #[must_use]
    pub fn decisions(&self) -> u64 {
        self.decisions
    }

    /// About how many entries there are: exactly, but for a filter.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The file's first line.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Writes the file and tells `progress`, now and then, how many entries are written. Give it a buffered writer.
    ///
    /// Not evidence before it returns: a file without its trailer proves nothing.
    ///
    /// # Errors
    /// [`ExportError`]; what was written then is of no use.
    pub fn write<W: Write>(self, out: W, mut progress: impl FnMut(u64)) -> Result<Exported, ExportError> {
        let mut writer = Writer::new(out, &self.header)?;
        self.keyring(&mut writer)?;
        for loaded in &self.bundles {
            writer.bundle(&bundle_line(loaded))?;
        }
        for build in &self.builds {
            writer.build(&build_line(recorded_build(&self.snapshot, &self.keyring, build)?))?;
        }
        let mut written = 0;
        let mut page = Page { next: 0, activations: 0 };
        if let Plan::Range(range) = &self.plan {
            page.next = range.start;
        }
        while let Some((entries, proofs, openings)) = self.page(&mut page)? {
            written += u64::try_from(entries.len()).unwrap_or(0);
            self.entries_of(&mut writer, entries, proofs, openings)?;
            progress(written);
        }
        let bytes = writer.bytes();
        // Again: a long export may have outlived its key.
        let (_, trailer) = writer.finish(self.inner.good_runtime_key::<ExportError>()?)?;
        Ok(Exported {
            lines: trailer.lines + 1,
            bytes,
            decisions: self.decisions,
            checkpoint_size: self.size,
        })
    }

    fn has_proofs(&self) -> bool {
        !matches!(self.plan, Plan::Complete)
    }

    fn keyring<W: Write>(&self, writer: &mut Writer<W>) -> Result<(), ExportError> {
        let (versions, proofs) = self.snapshot.read(|reader| {
            let mut versions = reader.keyring_versions()?;
            versions.retain(|(index, _)| *index < self.size);
            let indexes: Vec<u64> = versions.iter().map(|(index, _)| *index).collect();
            let proofs =
                self.has_proofs().then(|| reader.inclusion_proofs(&indexes, self.size)).transpose()?;
            Ok((versions, proofs))
        })?;
        let mut proofs = proofs.map(Vec::into_iter);
        for (index, envelope) in versions {
            let proof = proofs.as_mut().and_then(Iterator::next).map(Proof);
            writer.keyring(&KeyringLine { envelope, index, kind: evidence::KeyringTag, proof })?;
        }
        Ok(())
    }

    /// The next page of entries, with their proofs and openings; none after the last.
    fn page(&self, page: &mut Page) -> Result<Option<Paged>, ExportError> {
        let wants_openings = self.disclosure != Disclosure::None;
        let step = u64::try_from(PAGE).unwrap_or(1);
        let from = page.next;
        let paged = self.snapshot.read(|reader| {
            let (entries, openings) = match &self.plan {
                Plan::Complete | Plan::Range(_) => {
                    let end = if let Plan::Range(range) = &self.plan { range.end } else { self.size };
                    let range = page.next..end.min(page.next.saturating_add(step));
                    page.next = range.end;
                    let openings = if wants_openings { reader.openings(range.clone())? } else { Vec::new() };
                    (reader.entries(range)?, openings)
                }
                Plan::Filter(filter, activations) => {
                    let indexes = self.filtered(reader, filter, activations, page)?;
                    let entries = reader.entries_at(&indexes)?;
                    let mut openings = Vec::new();
                    for entry in entries.iter().filter(|entry| wants_openings && entry.kind == Kind::Decision)
                    {
                        openings.extend(reader.opening(entry.index)?);
                    }
                    (entries, openings)
                }
            };
            let indexes: Vec<u64> = entries.iter().map(|entry| entry.index).collect();
            let proofs =
                self.has_proofs().then(|| reader.inclusion_proofs(&indexes, self.size)).transpose()?;
            Ok((entries, proofs, openings))
        })?;
        if let Plan::Complete | Plan::Range(_) = &self.plan {
            let expected = page.next - from;
            if u64::try_from(paged.0.len()).ok() != Some(expected) {
                return Err(ExportError::Missing { from, to: page.next });
            }
        }
        Ok(Some(paged).filter(|(entries, ..)| !entries.is_empty()))
    }

    /// The next indexes of a filtered export: those of the decisions' entries and of the activations, merged.
    fn filtered(
        &self,
        reader: &mut Reader<'_>,
        filter: &DecisionFilter,
        activations: &[u64],
        page: &mut Page,
    ) -> Result<Vec<u64>, StoreError> {
        let limit = u32::try_from(PAGE).unwrap_or(u32::MAX);
        let mut indexes = reader.selected_indexes(filter, page.next, limit)?;
        indexes.retain(|index| *index < self.size);
        // Up to the last index of a full page; after the last page all activations that are left.
        let end =
            if indexes.len() < PAGE { self.size } else { indexes.last().map_or(self.size, |last| last + 1) };
        let due = activations.iter().skip(page.activations).take_while(|index| **index < end);
        let due: Vec<u64> = due.copied().collect();
        page.activations += due.len();
        page.next = end;
        indexes.extend(due);
        indexes.sort_unstable();
        indexes.dedup();
        Ok(indexes)
    }

    fn entries_of<W: Write>(
        &self,
        writer: &mut Writer<W>,
        entries: Vec<Entry>,
        proofs: Option<Vec<Vec<RootHash>>>,
        openings: Vec<StoredOpening>,
    ) -> Result<(), ExportError> {
        let mut openings: BTreeMap<u64, StoredOpening> =
            openings.into_iter().map(|opening| (opening.index, opening)).collect();
        let mut proofs = proofs.map(Vec::into_iter);
        for entry in entries {
            let proof = proofs.as_mut().and_then(Iterator::next).map(Proof);
            if entry.kind == Kind::Keyring {
                continue;
            }
            let opening = match openings.remove(&entry.index) {
                Some(sealed) => Some(self.open(&entry, &sealed)?),
                None => None,
            };
            let (index, kind) = (entry.index, entry.kind);
            writer.entry(&EntryLine { envelope: entry.into_envelope(), index, kind, opening, proof })?;
        }
        Ok(())
    }

    fn open(&self, entry: &Entry, sealed: &StoredOpening) -> Result<Opening, ExportError> {
        let plain = self.inner.opening_key.open(&entry.record_id, &sealed.opening)?;
        let opening = json::parse(&plain, Limits::EVIDENCE_LINE)
            .map_err(OpeningError::from)
            .and_then(|value| Opening::parse(&value))
            .and_then(|opening| match &self.disclosure {
                Disclosure::Partial { hidden } => opening.redact(hidden),
                Disclosure::Full | Disclosure::None => Ok(opening),
            });
        opening.map_err(|source| ExportError::Opening { index: entry.index, source })
    }
}

type Paged = (Vec<Entry>, Option<Vec<Vec<RootHash>>>, Vec<StoredOpening>);

/// Where the export stands.
struct Page {
    /// The next index.
    next: u64,
    /// How many activations of a filtered export are written.
    activations: usize,
}

fn bundle_line(loaded: &LoadedBundle) -> BundleLine {
    let files = loaded.bundle.files().iter();
    BundleLine {
        bundle_hash: loaded.hash,
        files: files.map(|(path, content)| (path.clone(), b64::Bytes(content.clone()))).collect(),
        kind: evidence::BundleTag,
        policy_id: loaded.policy.clone(),
        signature: loaded.signature.clone(),
        version: loaded.version.clone(),
    }
}

/// A build that decisions name, verified.
fn recorded_build(
    snapshot: &Snapshot,
    keyring: &Keyring,
    build: &Digest,
) -> Result<RecordedBuild, ExportError> {
    let recorded = snapshot.read(|reader| read_recorded(reader, build))?;
    let recorded = recorded.ok_or(ExportError::BuildMissing { build: *build })?;
    Ok(RecordedBuild::verify(keyring, recorded, build)?)
}

fn build_line(build: RecordedBuild) -> BuildLine {
    BuildLine {
        kind: evidence::BuildTag,
        payload: b64::Bytes(build.entry.payload),
        sbom: build.sbom.map(b64::Bytes),
        signature: build.signature,
    }
}

/// What the header says: `full` and `none` hold for every decision.
fn disclosed(asked: &Disclosure, decisions: u64, (full, partial): (u64, u64)) -> evidence::Disclosure {
    match asked {
        Disclosure::None => evidence::Disclosure::None,
        Disclosure::Full if full == decisions => evidence::Disclosure::Full,
        Disclosure::Full | Disclosure::Partial { .. } if full + partial == 0 => evidence::Disclosure::None,
        Disclosure::Full | Disclosure::Partial { .. } => evidence::Disclosure::Partial,
    }
}

fn plan(reader: &mut Reader<'_>, selection: &Selection, size: u64) -> Result<(Plan, Scope), ExportError> {
    match selection {
        Selection::Complete => Ok((Plan::Complete, Scope::Range(Range { from: 0, to: size }))),
        Selection::Range { from, to } => {
            let to = to.unwrap_or(size);
            if *from > to || to > size {
                return Err(ExportError::Range { from: *from, to, size });
            }
            let range = widen(reader, *from..to)?;
            let scope = Scope::Range(Range { from: range.start, to: range.end });
            Ok((if range == (0..size) { Plan::Complete } else { Plan::Range(range) }, scope))
        }
        Selection::Filter(filter) => {
            for id in filter.execution_ids.iter().flatten() {
                if reader.decision(id)?.is_none_or(|record| record.summary.index >= size) {
                    return Err(ExportError::NoDecision { execution_id: id.clone() });
                }
            }
            let decisions = store_filter(filter)?;
            let activations = reader.activations_of(&decisions)?;
            let activations =
                activations.iter().map(|activation| activation.index).filter(|index| *index < size);
            let plan = Plan::Filter(Box::new(decisions), activations.collect());
            Ok((plan, Scope::Filter(Box::new(filter.clone()))))
        }
    }
}

fn store_filter(filter: &Filter) -> Result<DecisionFilter, ExportError> {
    if filter.is_empty() {
        return Err(ExportError::EmptyFilter);
    }
    let state = match filter.state.as_deref() {
        None => None,
        Some("completed") => Some(ExecutionState::Completed),
        Some("pending_override") => Some(ExecutionState::PendingOverride),
        Some("blocked") => Some(ExecutionState::Blocked),
        Some(other) => return Err(ExportError::State { state: other.to_owned() }),
    };
    if filter.execution_ids.as_ref().is_some_and(Vec::is_empty) {
        return Err(ExportError::EmptyFilter);
    }
    Ok(DecisionFilter {
        policy: filter.policy.clone(),
        version: filter.version.clone(),
        outcome: filter.outcome.clone(),
        state,
        from: filter.from,
        to: filter.to,
        execution_ids: filter.execution_ids.clone().unwrap_or_default(),
        ..DecisionFilter::default()
    })
}

/// Begins a range before the override cases that it contains and ends it after the erasures of its decisions.
fn widen(reader: &mut Reader<'_>, asked: std::ops::Range<u64>) -> Result<std::ops::Range<u64>, ExportError> {
    let step = u64::try_from(PAGE).unwrap_or(1);
    let (mut from, mut to) = (asked.start, asked.end);
    let mut unseen = vec![asked];
    while let Some(range) = unseen.pop() {
        let (old_from, old_to) = (from, to);
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at.saturating_add(step));
            for entry in reader.entries(at..end)? {
                match entry.kind {
                    Kind::Override | Kind::Resolution | Kind::Confirmation => {
                        for id in subjects(&entry)? {
                            let decision = reader.decision(&id)?;
                            from = decision.map_or(from, |decision| from.min(decision.summary.index));
                        }
                    }
                    Kind::Decision => {
                        if reader.opening(entry.index)?.is_some_and(|stored| !stored.opening.partial) {
                            continue;
                        }
                        for id in subjects(&entry)? {
                            let about = reader.entries_about(&id)?;
                            let erasures = about.iter().filter(|entry| entry.kind == Kind::Erasure);
                            to = erasures.map(|entry| entry.index + 1).fold(to, u64::max);
                        }
                    }
                    _ => {}
                }
            }
            at = end;
        }
        unseen.extend([from..old_from, old_to..to].into_iter().filter(|range| !range.is_empty()));
    }
    Ok(from..to)
}

fn subjects(entry: &Entry) -> Result<Vec<ExecutionId>, ExportError> {
    let index = entry.index;
    let statement = AnyStatement::parse_unverified(entry.kind, &entry.payload)
        .map_err(|source| ExportError::Statement { index, source })?;
    Ok(statement.subject().iter().filter_map(|subject| subject.name.parse().ok()).collect())
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// Nothing is recorded.
    #[error("the log is empty: there is nothing to export")]
    EmptyLog,
    /// A range outside the log.
    #[error("the range {from}..{to} is not in the log, which has {size} entries")]
    Range {
        /// Its beginning.
        from: u64,
        /// Its end.
        to: u64,
        /// The log's size.
        size: u64,
    },
    /// A filter that chooses nothing out.
    #[error("the filter is empty: export the whole log, or say what you want of it")]
    EmptyFilter,
    /// No execution state.
    #[error("`{state}` is no state: say `completed`, `pending_override` or `blocked`")]
    State {
        /// What was given.
        state: String,
    },
    /// A signal to hide that no bundle of the export has.
    #[error(
        "no policy of these decisions has a signal `{signal}`, so nothing would be hidden: check its spelling"
    )]
    Hidden {
        /// The name.
        signal: String,
    },
    /// There is no such decision.
    #[error("there is no decision `{execution_id}`")]
    NoDecision {
        /// The id.
        execution_id: ExecutionId,
    },
    /// A bundle that decisions name is gone.
    #[error("the bundle {bundle} is named by decisions and is not in the store: run `chancery fsck`")]
    BundleMissing {
        /// Its hash.
        bundle: chancery_core::digest::BundleHash,
    },
    /// A build that decisions name is gone.
    #[error("the build {build} is named by decisions and is not in the store: run `chancery fsck`")]
    BuildMissing {
        /// SHA-256 of its payload.
        build: Digest,
    },
    /// A build does not hold.
    #[error(transparent)]
    Build(#[from] RecordedBuildError),
    /// A bundle does not hold.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// There is no checkpoint to prove anything against.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A record does not parse.
    #[error("the record at {index} is damaged: run `chancery fsck`")]
    Statement {
        /// Its index.
        index: u64,
        /// What is wrong.
        #[source]
        source: StatementError,
    },
    /// Entries are missing.
    #[error("entries of {from}..{to} are not in the store: run `chancery fsck`")]
    Missing {
        /// The first index asked for.
        from: u64,
        /// The index after the last.
        to: u64,
    },
    /// An opening does not open.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// An opening is none.
    #[error("the opening of the decision at {index} is damaged: run `chancery fsck --full`")]
    Opening {
        /// The decision's index.
        index: u64,
        /// What is wrong.
        #[source]
        source: OpeningError,
    },
    /// The runtime's key may not sign the trailer.
    #[error(transparent)]
    RuntimeKey(#[from] RuntimeKeyError),
    /// A line was not written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Failure for ExportError {
    fn whose(&self) -> Cause {
        match self {
            Self::EmptyLog
            | Self::Range { .. }
            | Self::EmptyFilter
            | Self::State { .. }
            | Self::Hidden { .. } => Cause::Caller,
            Self::NoDecision { .. } => Cause::NotFound,
            Self::Bundle(error) => error.whose(),
            Self::Checkpoint(error) => error.whose(),
            Self::Store(error) => store_cause(error),
            Self::Write(_) | Self::RuntimeKey(_) => Cause::Unavailable,
            Self::BundleMissing { .. }
            | Self::BuildMissing { .. }
            | Self::Build(_)
            | Self::Statement { .. }
            | Self::Missing { .. }
            | Self::Vault(_)
            | Self::Opening { .. } => Cause::Corrupt,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::EmptyLog => "log.empty",
            Self::Range { .. } => "log.range",
            Self::EmptyFilter | Self::State { .. } => "export.filter",
            Self::Hidden { .. } => "export.hidden",
            Self::NoDecision { .. } => "execution.unknown",
            Self::Bundle(error) => error.code(),
            Self::Checkpoint(error) => error.code(),
            Self::Store(error) => store_code(error),
            Self::RuntimeKey(_) => "runtime.key",
            Self::Write(_) => "export.failed",
            _ => "store.corrupt",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::EmptyLog
            | Self::Range { .. }
            | Self::EmptyFilter
            | Self::State { .. }
            | Self::Hidden { .. }
            | Self::NoDecision { .. } => self.to_string(),
            Self::Store(error) => store_detail(error),
            Self::Bundle(error) => error.detail(),
            Self::Checkpoint(error) => error.detail(),
            _ => "the evidence cannot be written; the operator's log says why".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
