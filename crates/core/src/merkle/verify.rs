//! Checking proofs, with nothing but the proof and the roots (RFC 9162, sections 2.1.3.2 and 2.1.4.2).

use thiserror::Error;

use super::{PROOF_HASHES_MAX, empty_root, node_hash};
use crate::digest::{LeafHash, RootHash};

/// Why a proof does not hold.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ProofError {
    /// There is no such leaf in a tree of that size.
    #[error("a tree of {size} leaves has no leaf {index}")]
    Index {
        /// The index claimed.
        index: u64,
        /// The size claimed.
        size: u64,
    },
    /// The newer tree is the smaller one.
    #[error("the log shrank from {old} leaves to {new}")]
    Shrinks {
        /// The older size.
        old: u64,
        /// The newer size.
        new: u64,
    },
    /// The proof has not the number of hashes that its sizes ask for.
    #[error("the proof has {got} hashes, which is not what these sizes need")]
    Length {
        /// Hashes in the proof.
        got: usize,
    },
    /// The proof leads to another root of the tree, or of the newer tree.
    #[error("the proof leads to another root hash")]
    Root,
    /// The proof leads to another root of the older tree.
    #[error("the proof leads to another root hash of the older tree")]
    OldRoot,
}

/// Checks that `leaf` is leaf `index` of the tree of `size` leaves with this `root`.
///
/// # Errors
/// [`ProofError`] when the proof does not show it.
pub fn verify_inclusion(
    leaf: &LeafHash,
    index: u64,
    size: u64,
    proof: &[RootHash],
    root: &RootHash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Index { index, size });
    }
    let length = ProofError::Length { got: proof.len() };
    if proof.len() > PROOF_HASHES_MAX {
        return Err(length);
    }
    // `node` is where the path is, `last` the last node of that level.
    let (mut node, mut last) = (index, size - 1);
    let mut hash = RootHash::from(*leaf);
    for sibling in proof {
        if last == 0 {
            return Err(length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            // A last node without sibling stands for its parent until it is a right child.
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(length);
    }
    if hash == *root { Ok(()) } else { Err(ProofError::Root) }
}

/// Checks that the tree of `new_size` leaves begins with the tree of `old_size` ones.
///
/// # Errors
/// [`ProofError`] when the proof does not show it; an empty or an equal tree takes an empty proof.
pub fn verify_consistency(
    old_size: u64,
    old_root: &RootHash,
    new_size: u64,
    new_root: &RootHash,
    proof: &[RootHash],
) -> Result<(), ProofError> {
    if old_size > new_size {
        return Err(ProofError::Shrinks { old: old_size, new: new_size });
    }
    let length = ProofError::Length { got: proof.len() };
    if old_size == 0 || old_size == new_size {
        if !proof.is_empty() {
            return Err(length);
        }
        if old_size == 0 && *old_root != empty_root() {
            return Err(ProofError::OldRoot);
        }
        return if old_size != new_size || old_root == new_root { Ok(()) } else { Err(ProofError::Root) };
    }
    if proof.len() > PROOF_HASHES_MAX {
        return Err(length);
    }
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    // An old tree that is one complete subtree is its own first hash and is left out of the proof.
    let (first, rest) =
        if old_size.is_power_of_two() { (old_root, proof) } else { proof.split_first().ok_or(length)? };
    let (mut old, mut new) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return Err(length);
        }
        if node & 1 == 1 || node == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(length);
    }
    if old != *old_root {
        return Err(ProofError::OldRoot);
    }
    if new == *new_root { Ok(()) } else { Err(ProofError::Root) }
}
