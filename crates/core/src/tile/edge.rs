//! The right edge of a log: everything that is needed to append to it and to write its tiles.

use thiserror::Error;

use super::{Content, HASH_BYTES, LEVELS, TILE_HEIGHT, TILE_WIDTH, Tile, write_hashes};
use crate::digest::{LeafHash, RootHash};
use crate::merkle::{Frontier, SIZE_MAX, node_hash};

/// The partial tiles of a log, one a level, and its frontier.
///
/// At most 255 hashes for each of at most seven levels, so it is cheap to keep and to clone: a batch is tried on
/// a clone and takes its place once it is committed. It can be made again from what is stored: the partial tiles
/// themselves ([`Edge::from_partials`], [`Edge::from_bytes`]).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Edge {
    frontier: Frontier,
    /// INVARIANT: entry `l` has `(size >> 8·l) mod 256` hashes; levels above the last have none.
    partials: Vec<Vec<RootHash>>,
}

/// A tile that has become full. It will never change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FullTile {
    /// Where it belongs.
    pub tile: Tile,
    /// Its 256 hashes, 8,192 bytes.
    pub bytes: Vec<u8>,
}

/// Partial tiles that do not fit a size.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum EdgeError {
    /// The size is more than any log has.
    #[error("a tree of {size} leaves is larger than any log")]
    Size {
        /// The size given.
        size: u64,
    },
    /// A level has another number of hashes than the size says.
    #[error("the partial tile of level {level} has {got} hashes; a tree of {size} leaves has {need} there")]
    Width {
        /// The level of tiles.
        level: u8,
        /// The size given.
        size: u64,
        /// Hashes that there should be.
        need: u64,
        /// Hashes that there are.
        got: usize,
    },
    /// The bytes are not as many hashes as the size needs.
    #[error("{got} bytes are not the right edge of a tree of {size} leaves")]
    Bytes {
        /// The size given.
        size: u64,
        /// Bytes given.
        got: usize,
    },
}

impl Edge {
    /// The empty log.
    #[must_use]
    pub const fn new() -> Self {
        Self { frontier: Frontier::new(), partials: Vec::new() }
    }

    /// A log that was stored: its size, and for each level of tiles from 0 the hashes of its partial tile (levels
    /// without one may be left out at the end).
    ///
    /// # Errors
    /// [`EdgeError`] when a width is not that of the size. That the hashes are right shows only when the root is
    /// compared.
    pub fn from_partials(size: u64, mut partials: Vec<Vec<RootHash>>) -> Result<Self, EdgeError> {
        if size > SIZE_MAX {
            return Err(EdgeError::Size { size });
        }
        partials.truncate(partials.iter().rposition(|hashes| !hashes.is_empty()).map_or(0, |last| last + 1));
        let levels = LEVELS.max(u8::try_from(partials.len()).unwrap_or(u8::MAX));
        for level in 0..levels {
            let need = partial_width(level, size);
            let got = partials.get(usize::from(level)).map_or(0, Vec::len);
            if u64::try_from(got).ok() != Some(need) {
                return Err(EdgeError::Width { level, size, need, got });
            }
        }
        // The complete subtrees of the size, largest first, are those of its base-256 digits, highest first.
        let mut parts = Vec::new();
        for hashes in partials.iter().rev() {
            let mut rest = hashes.as_slice();
            while !rest.is_empty() {
                let (subtree, after) = rest.split_at(1 << rest.len().ilog2());
                parts.extend(subtree_root(subtree));
                rest = after;
            }
        }
        let frontier = Frontier::from_parts(size, parts).map_err(|_| EdgeError::Size { size })?;
        Ok(Self { frontier, partials })
    }

    /// The partial tiles in one piece, level 0 first: how a store keeps them beside the size.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        write_hashes(self.partials.iter().flatten())
    }

    /// Reads what [`Edge::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`EdgeError`] when the bytes are not those of the size.
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Result<Self, EdgeError> {
        let wrong = EdgeError::Bytes { size, got: bytes.len() };
        let (chunks, rest) = bytes.as_chunks::<HASH_BYTES>();
        if !rest.is_empty() {
            return Err(wrong);
        }
        let mut hashes = chunks.iter().map(|chunk| RootHash::from_bytes(*chunk));
        let mut partials = Vec::new();
        for level in 0..LEVELS {
            let width = usize::try_from(partial_width(level, size)).map_err(|_| wrong)?;
            let hashes: Vec<_> = hashes.by_ref().take(width).collect();
            if hashes.len() != width {
                return Err(wrong);
            }
            partials.push(hashes);
        }
        if hashes.next().is_some() {
            return Err(wrong);
        }
        Self::from_partials(size, partials)
    }

    /// The number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The root hash.
    #[must_use]
    pub fn root(&self) -> RootHash {
        self.frontier.root()
    }

    /// The complete subtrees.
    #[must_use]
    pub const fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// The hashes of the partial tile of a level, none where there is no partial tile.
    #[must_use]
    pub fn partial(&self, level: u8) -> &[RootHash] {
        self.partials.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }

    /// The partial tiles that there are, with their bytes.
    pub fn partial_tiles(&self) -> impl Iterator<Item = (Tile, Vec<u8>)> {
        (0_u8..).zip(&self.partials).filter_map(|(level, hashes)| {
            let index = self.size().checked_shr(u32::from(level + 1) * u32::from(TILE_HEIGHT)).unwrap_or(0);
            let tile = Tile::of_tree(Content::Hashes { level }, index, self.size())?;
            Some((tile, write_hashes(hashes)))
        })
    }

    /// Appends a leaf and adds the tiles that this fills to `full`, lower levels first.
    pub fn push(&mut self, leaf: &LeafHash, full: &mut Vec<FullTile>) {
        let partials = &mut self.partials;
        self.frontier.push_with(leaf, |node_level, node_index, hash| {
            if !node_level.is_multiple_of(TILE_HEIGHT) {
                return;
            }
            let level = node_level / TILE_HEIGHT;
            let at = usize::from(level);
            if partials.len() <= at {
                partials.resize_with(at + 1, Vec::new);
            }
            let Some(hashes) = partials.get_mut(at) else { return };
            hashes.push(*hash);
            if (node_index + 1).is_multiple_of(TILE_WIDTH) {
                let tile =
                    Tile { content: Content::Hashes { level }, index: node_index / TILE_WIDTH, width: 256 };
                full.push(FullTile { tile, bytes: write_hashes(hashes.iter()) });
                hashes.clear();
            }
        });
    }
}

/// How many hashes the partial tile of a level has.
fn partial_width(level: u8, size: u64) -> u64 {
    size.checked_shr(u32::from(level) * u32::from(TILE_HEIGHT)).unwrap_or(0) % TILE_WIDTH
}

/// The root over a power of two of hashes.
pub(super) fn subtree_root(hashes: &[RootHash]) -> Option<RootHash> {
    let mut level = hashes.to_vec();
    while level.len() > 1 {
        let (pairs, _) = level.as_chunks::<2>();
        level = pairs.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    level.into_iter().next()
}
