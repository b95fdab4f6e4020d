//! The nodes of a tree, from its tiles.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use thiserror::Error;

use super::{Content, TILE_HEIGHT, TILE_WIDTH, Tile, TileBytesError, parse_hashes};
use crate::digest::RootHash;
use crate::merkle::{NodeSource, node_hash};

/// How many tiles are kept, each with its inner nodes 16 KiB. A proof in a log of a million entries takes three.
const CACHE_TILES: usize = 64;

/// Nodes of the tree of the first `size` leaves, from a function that fetches the bytes of a hash tile.
///
/// The function is asked for the tile as that tree has it, and may give more hashes of the same tile than asked
/// for (the tile of a larger tree). Tiles that were fetched are kept, so proofs in index order fetch each tile
/// once. Nothing is verified here: compare the root, or verify what is proved.
pub struct TileNodes<F> {
    size: u64,
    fetch: RefCell<F>,
    cache: RefCell<BTreeMap<(u8, u64), Rc<Levels>>>,
}

/// A tile's hashes and above them what they hash to, as far as it is complete.
type Levels = Vec<Vec<RootHash>>;

/// Why a node could not be had.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum TileNodesError<E> {
    /// The tree has no such node.
    #[error("a tree of {size} leaves has no node {index} at level {level}")]
    NoNode {
        /// The tree's size.
        size: u64,
        /// The node's level.
        level: u8,
        /// Its index.
        index: u64,
    },
    /// The function failed.
    #[error("`{tile}` cannot be read")]
    Fetch {
        /// Which tile.
        tile: Tile,
        /// What it said.
        #[source]
        source: E,
    },
    /// The bytes are no tile.
    #[error("`{tile}` is not a tile")]
    Bytes {
        /// Which tile.
        tile: Tile,
        /// What is wrong.
        #[source]
        source: TileBytesError,
    },
    /// The tile has fewer hashes than were asked for.
    #[error("`{tile}` has only {got} hashes")]
    Width {
        /// Which tile.
        tile: Tile,
        /// Hashes found.
        got: usize,
    },
}

impl<F> TileNodes<F> {
    /// The tree of the first `size` leaves.
    pub fn new(size: u64, fetch: F) -> Self {
        Self { size, fetch: RefCell::new(fetch), cache: RefCell::default() }
    }

    /// The size of the tree.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// How many tiles are kept just now.
    #[cfg(test)]
    pub(super) fn cached(&self) -> usize {
        self.cache.borrow().len()
    }
}

impl<F, E> TileNodes<F>
where
    F: FnMut(&Tile) -> Result<Vec<u8>, E>,
{
    fn tile(&self, tile: Tile, level: u8) -> Result<Rc<Levels>, TileNodesError<E>> {
        let key = (level, tile.index());
        if let Some(levels) = self.cache.borrow().get(&key) {
            return Ok(Rc::clone(levels));
        }
        let fetched = (self.fetch.borrow_mut())(&tile);
        let bytes = fetched.map_err(|source| TileNodesError::Fetch { tile, source })?;
        let mut hashes = parse_hashes(&bytes).map_err(|source| TileNodesError::Bytes { tile, source })?;
        let width = usize::from(tile.width());
        if hashes.len() < width {
            return Err(TileNodesError::Width { tile, got: hashes.len() });
        }
        hashes.truncate(width);
        let mut levels = vec![hashes];
        while let Some(below) = levels.last().filter(|below| below.len() > 1) {
            let (pairs, _) = below.as_chunks::<2>();
            let above = pairs.iter().map(|[left, right]| node_hash(left, right)).collect();
            levels.push(above);
        }
        let levels = Rc::new(levels);
        let mut cache = self.cache.borrow_mut();
        if cache.len() >= CACHE_TILES {
            // The lowest level has nearly all tiles, and in index order the first of them is not needed again.
            cache.pop_first();
        }
        cache.insert(key, Rc::clone(&levels));
        Ok(levels)
    }
}

impl<F, E> NodeSource for TileNodes<F>
where
    F: FnMut(&Tile) -> Result<Vec<u8>, E>,
{
    type Error = TileNodesError<E>;

    fn node(&self, level: u8, index: u64) -> Result<RootHash, TileNodesError<E>> {
        let no_node = || TileNodesError::NoNode { size: self.size, level, index };
        // So many nodes are complete at the level; with that, nothing below can overflow.
        if index >= self.size.checked_shr(u32::from(level)).unwrap_or(0) {
            return Err(no_node());
        }
        let (tile_level, height) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        let first = index << height;
        let content = Content::Hashes { level: tile_level };
        let tile = Tile::of_tree(content, first / TILE_WIDTH, self.size).ok_or_else(no_node)?;
        let levels = self.tile(tile, tile_level)?;
        let at = usize::try_from((first % TILE_WIDTH) >> height).map_err(|_| no_node())?;
        let hash = levels.get(usize::from(height)).and_then(|hashes| hashes.get(at));
        hash.copied().ok_or_else(no_node)
    }
}
