//! Tiles: the Merkle tree and the entries of a log as files that never change (C2SP tlog-tiles).
//!
//! ```text
//! tile/<L>/<N>          256 hashes of 32 bytes: the nodes n(8·L, 256·N) .. n(8·L, 256·N + 255)
//! tile/<L>/<N>.p/<W>    the first W of them, while there are no more
//! tile/entries/<N>      256 entries, each after its length in 2 bytes, big-endian
//! tile/entries/<N>.p/<W>
//!
//! N in groups of three digits, all but the last with an x:   1234067 = x001/x234/067
//! ```
//!
//! [`Edge`] is what appending needs and says which tiles are complete; [`TileNodes`] makes proofs from tiles.

mod edge;
mod nodes;

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

pub use self::edge::{Edge, EdgeError, FullTile};
pub use self::nodes::{TileNodes, TileNodesError};
use crate::digest::RootHash;
use crate::log::ENTRY_BYTES;

/// Hashes of a full tile.
pub const TILE_WIDTH: u64 = 256;

/// Bytes of a hash.
pub const HASH_BYTES: usize = 32;

/// The levels of the tree that one level of tiles spans.
pub(crate) const TILE_HEIGHT: u8 = 8;

/// The highest level that a path may name.
const LEVEL_MAX: u8 = 63;

/// The last level that a tree of at most 2^53 − 1 leaves has anything at.
pub(crate) const LEVELS: u8 = 7;

/// What a tile holds.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Content {
    /// Hashes of the nodes of one level: 0 are the leaf hashes, 1 the hashes of full tiles of level 0, …; at
    /// most 63.
    Hashes {
        /// The level of tiles.
        level: u8,
    },
    /// The entries themselves.
    Entries,
}

/// A tile's coordinates.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tile {
    content: Content,
    index: u64,
    width: u16,
}

/// A text that is not the path of a tile.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{path}` is not the path of a tile")]
pub struct TilePathError {
    /// The text, at most its first 80 characters.
    pub path: String,
}

impl Tile {
    /// The tile of a level as a tree of `size` leaves has it: full, or partial at the right edge. `None` where
    /// that tree has nothing there.
    #[must_use]
    pub fn of_tree(content: Content, index: u64, size: u64) -> Option<Self> {
        let begin = index.checked_mul(TILE_WIDTH)?;
        let left = count(content, size).checked_sub(begin)?.min(TILE_WIDTH);
        Some(Self { content, index, width: u16::try_from(left).ok().filter(|width| *width > 0)? })
    }

    /// What it holds.
    #[must_use]
    pub const fn content(&self) -> Content {
        self.content
    }

    /// Its index in the level.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes or entries it has, 1 to 256.
    #[must_use]
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// Does it have all 256?
    #[must_use]
    pub fn is_full(&self) -> bool {
        u64::from(self.width) == TILE_WIDTH
    }

    /// The index in its level of the first hash or entry.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.index.saturating_mul(TILE_WIDTH)
    }

    /// Does a tree of `size` leaves have all of it?
    #[must_use]
    pub fn is_in_tree(&self, size: u64) -> bool {
        let end = self.first().saturating_add(u64::from(self.width));
        end <= count(self.content, size)
    }

    /// The path, `tile/…`, below the log's prefix.
    #[must_use]
    pub fn path(&self) -> String {
        self.to_string()
    }
}

/// How many hashes or entries a tree of `size` leaves has at a level of tiles.
fn count(content: Content, size: u64) -> u64 {
    match content {
        Content::Entries => size,
        Content::Hashes { level } => u32::from(level)
            .checked_mul(u32::from(TILE_HEIGHT))
            .and_then(|by| size.checked_shr(by))
            .unwrap_or(0),
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.content {
            Content::Hashes { level } => write!(f, "tile/{level}/")?,
            Content::Entries => f.write_str("tile/entries/")?,
        }
        let mut divisor = 1;
        while self.index / divisor >= 1000 {
            divisor *= 1000;
        }
        while divisor > 1 {
            write!(f, "x{:03}/", self.index / divisor % 1000)?;
            divisor /= 1000;
        }
        write!(f, "{:03}", self.index % 1000)?;
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

impl FromStr for Tile {
    type Err = TilePathError;

    fn from_str(path: &str) -> Result<Self, TilePathError> {
        // What prints to the same text is right in every zero and every x.
        parse(path)
            .filter(|tile| tile.to_string() == path)
            .ok_or_else(|| TilePathError { path: path.chars().take(80).collect() })
    }
}

fn parse(path: &str) -> Option<Tile> {
    let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let content = match level {
        "entries" => Content::Entries,
        level => Content::Hashes { level: level.parse().ok().filter(|level| *level <= LEVEL_MAX)? },
    };
    let (number, width) = match rest.split_once(".p/") {
        Some((number, width)) => (number, width.parse().ok().filter(|width| (1..256).contains(width))?),
        None => (rest, 256),
    };
    let mut index = 0_u64;
    for group in number.split('/') {
        let digits: u64 = group.strip_prefix('x').unwrap_or(group).parse().ok().filter(|n| *n < 1000)?;
        index = index.checked_mul(1000)?.checked_add(digits)?;
    }
    Some(Tile { content, index, width })
}

/// Takes the hashes of a tile apart.
///
/// # Errors
/// [`TileBytesError`] when the bytes are not 1 to 256 hashes.
pub fn parse_hashes(bytes: &[u8]) -> Result<Vec<RootHash>, TileBytesError> {
    let (chunks, rest) = bytes.as_chunks::<HASH_BYTES>();
    if chunks.is_empty() || !rest.is_empty() || u64::try_from(chunks.len()).is_ok_and(|n| n > TILE_WIDTH) {
        return Err(TileBytesError::Length { got: bytes.len() });
    }
    Ok(chunks.iter().map(|chunk| RootHash::from_bytes(*chunk)).collect())
}

/// The root over a full tile, the hash that the level above has for it. `None` where these are not 256 hashes.
#[must_use]
pub fn full_root(bytes: &[u8]) -> Option<RootHash> {
    let hashes = parse_hashes(bytes).ok().filter(|hashes| hashes.len() == 256)?;
    edge::subtree_root(&hashes)
}

/// Puts the hashes of a tile together.
pub fn write_hashes<'a>(hashes: impl IntoIterator<Item = &'a RootHash>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256 * HASH_BYTES);
    for hash in hashes {
        bytes.extend(hash.as_bytes());
    }
    bytes
}

/// Bytes that are no tile.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum TileBytesError {
    /// Not 1 to 256 hashes.
    #[error("a tile has 1 to 256 hashes of 32 bytes, not {got} bytes")]
    Length {
        /// Bytes found.
        got: usize,
    },
    /// An entry whose length is not that of a log entry, or that is cut off.
    #[error("the entry at byte {at} of the entry bundle does not have 34 bytes")]
    Entry {
        /// Where its length stands.
        at: usize,
    },
    /// Not 1 to 256 entries.
    #[error("an entry bundle has 1 to 256 entries, not {got}")]
    Entries {
        /// Entries found.
        got: usize,
    },
}

/// Writes an entry bundle.
pub fn write_entries<'a>(entries: impl IntoIterator<Item = &'a [u8; ENTRY_BYTES]>) -> Vec<u8> {
    const LENGTH: [u8; 2] = [0, 34];
    let mut bytes = Vec::with_capacity(256 * (ENTRY_BYTES + 2));
    for entry in entries {
        bytes.extend(LENGTH);
        bytes.extend(entry);
    }
    bytes
}

/// Takes an entry bundle apart.
///
/// # Errors
/// [`TileBytesError`] when the bytes are not 1 to 256 entries of 34 bytes.
pub fn parse_entries(bytes: &[u8]) -> Result<Vec<[u8; ENTRY_BYTES]>, TileBytesError> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let cut = TileBytesError::Entry { at: bytes.len() - rest.len() };
        let (length, tail) = rest.split_first_chunk::<2>().ok_or(cut)?;
        if usize::from(u16::from_be_bytes(*length)) != ENTRY_BYTES {
            return Err(cut);
        }
        let (entry, tail) = tail.split_first_chunk::<ENTRY_BYTES>().ok_or(cut)?;
        entries.push(*entry);
        rest = tail;
    }
    if (1..=256).contains(&entries.len()) {
        Ok(entries)
    } else {
        Err(TileBytesError::Entries { got: entries.len() })
    }
}

#[cfg(test)]
mod tests;
