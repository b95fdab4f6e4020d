//! Writing evidence: one file from which an auditor checks everything offline (formats §9).
//!
//! ```text
//! begin:  fresh checkpoint ─► one read snapshot ─► scan: how much is opened, which bundles, which builds
//! write:  header ─ keyring ─ bundles ─ builds ─ entries (page by page) ─ trailer, signed by the runtime key
//! ```
//! Memory is constant: entries go through in pages, builds one by one, and what the scan keeps is one hash for each. A
//! complete export has no proofs, the verifier rebuilds the tree; any other has a proof for every line. Payloads,
//! signatures and bundles are the stored bytes; a bundle whose content does not hold is not exported, and nothing after
//! it is.

mod error;
mod plan;
#[cfg(test)]
mod tests;
mod write;

pub use error::ExportError;

use crate::build::{RecordedBuild, read_recorded};
use crate::bundles::LoadedBundle;
use crate::runtime::{Inner, Runtime};
use chancery_core::digest::Digest;
use chancery_core::evidence::{self, Filter, Header};
use chancery_core::ids::ExecutionId;
use chancery_core::keyring::Keyring;
use chancery_store::{DecisionFilter, Snapshot};
use plan::Plan;
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
        let (plan, scope) = snapshot.read(|reader| Ok(Plan::of(reader, &request.selection, size)))??;
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

/// What the header says: `full` and `none` hold for every decision.
fn disclosed(asked: &Disclosure, decisions: u64, (full, partial): (u64, u64)) -> evidence::Disclosure {
    match asked {
        Disclosure::None => evidence::Disclosure::None,
        Disclosure::Full if full == decisions => evidence::Disclosure::Full,
        Disclosure::Full | Disclosure::Partial { .. } if full + partial == 0 => evidence::Disclosure::None,
        Disclosure::Full | Disclosure::Partial { .. } => evidence::Disclosure::Partial,
    }
}
