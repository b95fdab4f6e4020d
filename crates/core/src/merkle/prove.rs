//! Making proofs from the complete subtrees of a tree (RFC 6962, sections 2.1.1 and 2.1.2).

use thiserror::Error;

use super::{SIZE_MAX, empty_root, node_hash};
use crate::digest::RootHash;

/// Where the hashes of complete subtrees come from.
///
/// Asked only for nodes that the tree has: `(index + 1) · 2^level` is at most its size.
pub trait NodeSource {
    /// Why a node could not be had.
    type Error;

    /// The hash over the leaves `index · 2^level .. (index + 1) · 2^level`; level 0 are the leaf hashes.
    ///
    /// # Errors
    /// Whatever keeps the source from giving the hash.
    fn node(&self, level: u8, index: u64) -> Result<RootHash, Self::Error>;
}

impl<S: NodeSource + ?Sized> NodeSource for &S {
    type Error = S::Error;

    fn node(&self, level: u8, index: u64) -> Result<RootHash, Self::Error> {
        (**self).node(level, index)
    }
}

/// Why a proof was not made.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ProveError<E> {
    /// There is no such leaf in a tree of that size.
    #[error("a tree of {size} leaves has no leaf {index}")]
    Index {
        /// The leaf that was asked for.
        index: u64,
        /// The size that was asked for.
        size: u64,
    },
    /// The older tree is larger than the newer one.
    #[error("a tree of {old} leaves is no older state of one of {new}")]
    Shrinks {
        /// The older size.
        old: u64,
        /// The newer size.
        new: u64,
    },
    /// The size is more than [`SIZE_MAX`].
    #[error("a tree of {size} leaves is larger than any log")]
    Size {
        /// The size that was asked for.
        size: u64,
    },
    /// The source did not give a node.
    #[error("node {index} of level {level} cannot be read")]
    Node {
        /// The node's level.
        level: u8,
        /// Its index in the level.
        index: u64,
        /// What the source said.
        #[source]
        source: E,
    },
}

/// The root of the first `size` leaves.
///
/// # Errors
/// [`ProveError::Node`] when the source fails, [`ProveError::Size`].
pub fn root<S: NodeSource>(size: u64, source: &S) -> Result<RootHash, ProveError<S::Error>> {
    check_size(size)?;
    if size == 0 { Ok(empty_root()) } else { range(0, size, source) }
}

/// The audit path of leaf `index` in the tree of the first `size` leaves, from the leaf's sibling upwards.
///
/// # Errors
/// [`ProveError::Index`] when there is no such leaf, [`ProveError::Node`] when the source fails.
pub fn inclusion_proof<S: NodeSource>(
    index: u64,
    size: u64,
    source: &S,
) -> Result<Vec<RootHash>, ProveError<S::Error>> {
    check_size(size)?;
    if index >= size {
        return Err(ProveError::Index { index, size });
    }
    let (mut low, mut high) = (0, size);
    let mut path = Vec::new();
    while high - low > 1 {
        let split = low + left_width(high - low);
        if index < split {
            path.push(range(split, high, source)?);
            high = split;
        } else {
            path.push(range(low, split, source)?);
            low = split;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of the first `new` leaves begins with the tree of the first `old` ones. Empty when
/// either tree is empty or both are the same.
///
/// # Errors
/// [`ProveError::Shrinks`] when `old` is more than `new`, [`ProveError::Node`] when the source fails.
pub fn consistency_proof<S: NodeSource>(
    old: u64,
    new: u64,
    source: &S,
) -> Result<Vec<RootHash>, ProveError<S::Error>> {
    check_size(new)?;
    if old > new {
        return Err(ProveError::Shrinks { old, new });
    }
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let (mut low, mut high) = (0, new);
    let mut proof = Vec::new();
    while high != old {
        let split = low + left_width(high - low);
        if old <= split {
            proof.push(range(split, high, source)?);
            high = split;
        } else {
            proof.push(range(low, split, source)?);
            low = split;
        }
    }
    // The old tree's own last subtree; where that is the whole old tree, the verifier has it as the old root.
    if low > 0 {
        proof.push(range(low, high, source)?);
    }
    proof.reverse();
    Ok(proof)
}

fn check_size<E>(size: u64) -> Result<(), ProveError<E>> {
    if size > SIZE_MAX { Err(ProveError::Size { size }) } else { Ok(()) }
}

/// The width of the left subtree of a tree of `width` > 1 leaves: the largest power of two below `width`.
fn left_width(width: u64) -> u64 {
    1 << (width - 1).ilog2()
}

/// The hash of the leaves `low..high`, not empty, where `low` is a multiple of the power of two that is not
/// below their number (as it is for every subtree that a proof names).
fn range<S: NodeSource>(low: u64, high: u64, source: &S) -> Result<RootHash, ProveError<S::Error>> {
    let (mut low, mut complete) = (low, Vec::new());
    loop {
        let width_log2 = (high - low).ilog2();
        // At most 53, since sizes are bounded.
        let level = u8::try_from(width_log2).unwrap_or(u8::MAX);
        let index = low >> width_log2;
        let node = source.node(level, index).map_err(|source| ProveError::Node { level, index, source })?;
        low += 1 << width_log2;
        if low == high {
            return Ok(complete.iter().rev().fold(node, |right, left| node_hash(left, &right)));
        }
        complete.push(node);
    }
}
