//! The Merkle tree of a log: RFC 6962, section 2.1, with the verification algorithms of RFC 9162, section 2.1.
//!
//! ```text
//! leaf   H(0x00 ‖ entry)                       size 7:            root
//! node   H(0x01 ‖ left ‖ right)                              /            \
//! empty  H()                                     level 2    n(2,0)         ·
//!                                                level 1  n(1,0) n(1,1)  n(1,2) \
//! n(l, i): the complete subtree over the         level 0   0  1   2  3    4  5   6
//!          leaves i·2^l .. (i+1)·2^l
//! ```
//!
//! Complete subtrees never change once they are there. A [`Frontier`] keeps the few that a tree of some size
//! ends with, and is all that appending needs; a [`NodeSource`] gives any of them and is all that proving needs
//! ([`crate::tile`] has one over tiles). Verifying needs neither.

mod frontier;
mod prove;
mod verify;

pub use frontier::{Frontier, FrontierError};
pub use prove::{NodeSource, ProveError, consistency_proof, inclusion_proof, root};
pub use verify::{ProofError, verify_consistency, verify_inclusion};

use crate::digest::{LeafHash, RootHash, sha256, sha256_parts};

/// The largest tree: a size must be an integer that JSON carries exactly.
pub const SIZE_MAX: u64 = (1 << 53) - 1;

/// The most hashes that a proof can have: one for each level of the largest tree and one more at the split of a
/// consistency proof.
pub const PROOF_HASHES_MAX: usize = 64;

/// The hash of an entry as a leaf.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> LeafHash {
    LeafHash::from_bytes(sha256_parts(&[&[0x00], entry]))
}

/// The hash of an inner node.
#[must_use]
pub fn node_hash(left: &RootHash, right: &RootHash) -> RootHash {
    let mut bytes = [0x01; 65];
    let (_, children) = bytes.split_at_mut(1);
    let (first, second) = children.split_at_mut(32);
    first.copy_from_slice(left.as_bytes());
    second.copy_from_slice(right.as_bytes());
    RootHash::from_bytes(sha256(&bytes))
}

/// The root of the tree without leaves: the hash of no bytes.
#[must_use]
pub fn empty_root() -> RootHash {
    RootHash::from_bytes(sha256(&[]))
}

impl From<LeafHash> for RootHash {
    /// The leaf as the node that it is at level 0.
    fn from(leaf: LeafHash) -> Self {
        Self::from_bytes(*leaf.as_bytes())
    }
}

#[cfg(test)]
pub(crate) mod tests;
