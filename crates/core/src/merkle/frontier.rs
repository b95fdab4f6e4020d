//! The right edge of a tree, enough to append to it and to know its root.

use thiserror::Error;

use super::{SIZE_MAX, empty_root, node_hash};
use crate::digest::{LeafHash, RootHash};

/// The complete subtrees that a tree of some size is made of, at most 53 hashes.
///
/// A tree of 7 leaves is `n(2,0) n(1,2) n(0,6)`: one subtree for each bit that is set in the size, the largest
/// first. Cheap to clone, so that a batch can be tried on a copy.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Frontier {
    size: u64,
    parts: Vec<RootHash>,
}

/// Parts that do not fit a size.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum FrontierError {
    /// The size is more than [`SIZE_MAX`].
    #[error("a tree of {size} leaves is larger than any log")]
    Size {
        /// The size given.
        size: u64,
    },
    /// Another number of hashes than the size has bits.
    #[error("a tree of {size} leaves has {need} complete subtrees, {got} were given")]
    Parts {
        /// The size given.
        size: u64,
        /// Hashes that it needs.
        need: usize,
        /// Hashes that were given.
        got: usize,
    },
}

impl Frontier {
    /// The empty tree.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: 0, parts: Vec::new() }
    }

    /// A tree that was stored as its size and [`Frontier::parts`].
    ///
    /// # Errors
    /// [`FrontierError`] when the number of parts is not that of the size. That the hashes are right shows only
    /// when the root is compared.
    pub fn from_parts(size: u64, parts: Vec<RootHash>) -> Result<Self, FrontierError> {
        if size > SIZE_MAX {
            return Err(FrontierError::Size { size });
        }
        let need = usize::try_from(size.count_ones()).unwrap_or(usize::MAX);
        if parts.len() != need {
            return Err(FrontierError::Parts { size, need, got: parts.len() });
        }
        Ok(Self { size, parts })
    }

    /// The number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The complete subtrees, the largest (leftmost) first.
    #[must_use]
    pub fn parts(&self) -> &[RootHash] {
        &self.parts
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: &LeafHash) {
        self.push_with(leaf, |_, _, _| ());
    }

    /// Appends a leaf and tells of every complete node that this makes, from the leaf upwards: its level, its
    /// index in the level, its hash. Each node of a log is told of exactly once.
    pub fn push_with(&mut self, leaf: &LeafHash, mut made: impl FnMut(u8, u64, &RootHash)) {
        let mut node = RootHash::from(*leaf);
        let (mut level, mut index) = (0, self.size);
        made(level, index, &node);
        while index & 1 == 1 {
            // INVARIANT: a set bit of the size has its part, so one is there to be popped.
            let Some(left) = self.parts.pop() else { break };
            node = node_hash(&left, &node);
            level += 1;
            index >>= 1;
            made(level, index, &node);
        }
        self.parts.push(node);
        self.size += 1;
    }

    /// The root hash of the tree.
    #[must_use]
    pub fn root(&self) -> RootHash {
        let mut parts = self.parts.iter().rev();
        let Some(smallest) = parts.next() else { return empty_root() };
        parts.fold(*smallest, |right, left| node_hash(left, &right))
    }
}
