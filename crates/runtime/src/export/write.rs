//! Writing the file, a page of entries at a time.

use super::plan::Plan;
use super::{Disclosure, Export, ExportError, Exported, PAGE, recorded_build};
use crate::build::RecordedBuild;
use crate::bundles::LoadedBundle;
use chancery_core::b64;
use chancery_core::commitment::{Opening, OpeningError};
use chancery_core::digest::RootHash;
use chancery_core::evidence::{self, BuildLine, BundleLine, EntryLine, KeyringLine, Proof, Writer};
use chancery_core::json::{self, Limits};
use chancery_core::log::Kind;
use chancery_store::{DecisionFilter, Entry, Reader, StoreError, StoredOpening};
use std::collections::BTreeMap;
use std::io::Write;

impl Export {
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
            .and_then(Opening::parse)
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

fn build_line(build: RecordedBuild) -> BuildLine {
    BuildLine {
        kind: evidence::BuildTag,
        payload: b64::Bytes(build.entry.payload),
        sbom: build.sbom.map(b64::Bytes),
        signature: build.signature,
    }
}
