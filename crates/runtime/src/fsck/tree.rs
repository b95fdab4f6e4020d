//! The tree, made anew from the leaves, against what the store has of it.
//!
//! ```text
//! leaf hashes ──> right edge ──> each tile as it becomes full == its row: hashes and root
//!      │              ╰────────> root, frontier               == the head
//!      ╰────────> chain                                       == the head
//! ```
//! Tiles and roots are what is published, and the writer goes on from the frontier: a wrong one would lead outsiders to
//! think that the log was forked.

use super::{Check, FsckReport};
use chancery_core::digest::{ChainHash, LeafHash, RootHash};
use chancery_core::log::chain_next;
use chancery_core::tile::{Content, Edge, FullTile, full_root};
use chancery_store::{Head, StoreError};

/// The tree of the leaves read so far: its right edge alone, so memory does not grow with the log.
pub(super) struct Tree {
    edge: Edge,
    chain: ChainHash,
    /// Tiles that became full.
    tiles: u64,
    /// False after a missing leaf: what comes then stands in other places than in the store.
    whole: bool,
}

impl Tree {
    pub(super) const fn new() -> Self {
        Self { edge: Edge::new(), chain: ChainHash::ZERO, tiles: 0, whole: true }
    }

    /// The root so far, if no leaf is missing.
    pub(super) fn root(&self) -> Option<RootHash> {
        self.whole.then(|| self.edge.root())
    }

    /// In place of a leaf that is missing.
    pub(super) const fn skip(&mut self) {
        self.whole = false;
    }

    /// Takes the next leaf, and compares the tiles that it fills with their rows.
    pub(super) fn push(
        &mut self,
        leaf: &LeafHash,
        check: &Check<'_>,
        report: &mut FsckReport,
    ) -> Result<(), StoreError> {
        self.chain = chain_next(&self.chain, leaf);
        let mut full = Vec::new();
        self.edge.push(leaf, &mut full);
        for made in &full {
            self.tiles += 1;
            if self.whole {
                compare(made, check, report)?;
            }
        }
        Ok(())
    }

    /// What it came to, against the head.
    pub(super) fn finish(
        self,
        head: &Head,
        check: &Check<'_>,
        report: &mut FsckReport,
    ) -> Result<(), StoreError> {
        if self.edge.size() != head.size {
            report.problem(
                None,
                format!("the head says {} entries, there are {}", head.size, self.edge.size()),
            );
        }
        if self.edge.root() != head.root_hash {
            report.problem(None, "the root hash of the head is not that of the leaves");
        }
        if self.chain != head.chain_hash {
            report.problem(None, "the chain hash of the head is not that of the leaves");
        }
        match check.snapshot.read(|reader| reader.frontier()) {
            Ok(frontier) if frontier == *self.edge.frontier() => {}
            Ok(_) => report.problem(None, "the frontier of the head is not that of the leaves"),
            Err(error) if matches!(error, StoreError::Corrupt { .. }) => {
                report.failed(None, "the frontier", &error);
            }
            Err(error) => return Err(error),
        }
        let rows = check.snapshot.read(|reader| reader.full_tiles())?;
        if self.whole && rows > self.tiles {
            let beyond = rows - self.tiles;
            report.problem(None, format!("the tiles: {beyond} of them are beyond the log"));
        }
        Ok(())
    }
}

fn compare(made: &FullTile, check: &Check<'_>, report: &mut FsckReport) -> Result<(), StoreError> {
    let tile = &made.tile;
    let Content::Hashes { level } = tile.content() else { return Ok(()) };
    match check.snapshot.read(|reader| reader.full_tile(level, tile.index())) {
        Ok(Some((root, hashes))) => {
            if hashes != made.bytes {
                report
                    .problem(None, format!("the tiles: the hashes of `{tile}` are not those of the leaves"));
            }
            if Some(root) != full_root(&made.bytes) {
                report.problem(None, format!("the tiles: the root of `{tile}` is not that of the leaves"));
            }
        }
        Ok(None) => report.problem(None, format!("the tiles: `{tile}` is missing")),
        Err(error) if matches!(error, StoreError::Corrupt { .. }) => {
            report.failed(None, "the tiles", &error);
        }
        Err(error) => return Err(error),
    }
    Ok(())
}
