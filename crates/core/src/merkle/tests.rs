//! The tree against its vectors, against an independent implementation, and against flipped bits.

#![expect(clippy::as_conversions, reason = "the sizes of test data fit every integer type")]

use std::convert::Infallible;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, HashableLeaf, InclusionProof};
use proptest::prelude::*;
use serde_json::Value;
use sha2::Sha256;

use super::*;

/// All complete nodes, level by level.
#[derive(Default)]
pub(crate) struct Nodes {
    pub(crate) frontier: Frontier,
    pub(crate) levels: Vec<Vec<RootHash>>,
}

impl Nodes {
    pub(crate) fn of(leaves: impl IntoIterator<Item = LeafHash>) -> Self {
        let mut nodes = Self::default();
        for leaf in leaves {
            nodes.push(&leaf);
        }
        nodes
    }

    pub(crate) fn push(&mut self, leaf: &LeafHash) {
        let levels = &mut self.levels;
        self.frontier.push_with(leaf, |level, index, hash| {
            let level = usize::from(level);
            if levels.len() == level {
                levels.push(Vec::new());
            }
            assert_eq!(levels[level].len() as u64, index, "every node is told of once, in order");
            levels[level].push(*hash);
        });
    }
}

impl NodeSource for Nodes {
    type Error = Infallible;

    fn node(&self, level: u8, index: u64) -> Result<RootHash, Infallible> {
        Ok(self.levels[usize::from(level)][usize::try_from(index).unwrap()])
    }
}

pub(crate) fn leaf(i: u64) -> LeafHash {
    leaf_hash(format!("entry-{i}").as_bytes())
}

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/chancery/merkle.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn hashes(value: &Value) -> Vec<RootHash> {
    serde_json::from_value(value.clone()).unwrap()
}

fn hash(value: &Value) -> RootHash {
    value.as_str().unwrap().parse().unwrap()
}

#[test]
fn roots_are_those_of_the_vectors() {
    let vectors = vectors();
    let roots = hashes(&vectors["roots"]);
    let mut nodes = Nodes::default();
    for (size, expected) in roots.iter().enumerate() {
        let size = size as u64;
        assert_eq!(nodes.frontier.root(), *expected, "{size}");
        assert_eq!(root(size, &nodes).unwrap(), *expected, "{size}");
        let parts = nodes.frontier.parts().to_vec();
        assert_eq!(Frontier::from_parts(size, parts).unwrap(), nodes.frontier);
        if let Some(text) = vectors["leafHashes"].get(size as usize) {
            assert_eq!(*text, leaf(size).to_string());
        }
        nodes.push(&leaf(size));
    }
}

#[test]
fn inclusion_proofs_are_those_of_the_vectors() {
    let nodes = Nodes::of((0..33).map(leaf));
    let vectors = vectors();
    let cases = vectors["inclusion"].as_array().unwrap();
    assert_eq!(cases.len(), 24);
    for case in cases {
        let (index, size) = (case["index"].as_u64().unwrap(), case["size"].as_u64().unwrap());
        let leaf: LeafHash = case["leafHash"].as_str().unwrap().parse().unwrap();
        let proof = hashes(&case["proof"]);
        let verdict = verify_inclusion(&leaf, index, size, &proof, &hash(&case["root"]));
        assert_eq!(verdict.is_ok(), case["valid"].as_bool().unwrap(), "{case} {verdict:?}");
        if verdict.is_ok() {
            assert_eq!(inclusion_proof(index, size, &nodes).unwrap(), proof, "{case}");
        }
    }
}

#[test]
fn consistency_proofs_are_those_of_the_vectors() {
    let nodes = Nodes::of((0..33).map(leaf));
    let vectors = vectors();
    let cases = vectors["consistency"].as_array().unwrap();
    assert_eq!(cases.len(), 24);
    for case in cases {
        let (old, new) = (case["size1"].as_u64().unwrap(), case["size2"].as_u64().unwrap());
        let proof = hashes(&case["proof"]);
        let verdict = verify_consistency(old, &hash(&case["root1"]), new, &hash(&case["root2"]), &proof);
        assert_eq!(verdict.is_ok(), case["valid"].as_bool().unwrap(), "{case} {verdict:?}");
        if verdict.is_ok() {
            assert_eq!(consistency_proof(old, new, &nodes).unwrap(), proof, "{case}");
        }
    }
}

#[test]
fn what_has_no_proof_is_refused_by_name() {
    let nodes = Nodes::of((0..4).map(leaf));
    assert_eq!(inclusion_proof(4, 4, &nodes), Err(ProveError::Index { index: 4, size: 4 }));
    assert_eq!(inclusion_proof(0, 0, &nodes), Err(ProveError::Index { index: 0, size: 0 }));
    assert_eq!(consistency_proof(4, 3, &nodes), Err(ProveError::Shrinks { old: 4, new: 3 }));
    assert_eq!(root(u64::MAX, &nodes), Err(ProveError::Size { size: u64::MAX }));
    let full = nodes.frontier.parts().to_vec();
    assert_eq!(Frontier::from_parts(5, full), Err(FrontierError::Parts { size: 5, need: 2, got: 1 }));
    assert_eq!(Frontier::from_parts(SIZE_MAX + 1, vec![]), Err(FrontierError::Size { size: SIZE_MAX + 1 }));
}

#[test]
fn a_proof_without_end_is_refused() {
    let root = nodes_root();
    let long = vec![root; 65];
    assert_eq!(verify_inclusion(&leaf(0), 0, u64::MAX, &long, &root), Err(ProofError::Length { got: 65 }));
    assert_eq!(verify_consistency(1, &root, u64::MAX, &root, &long), Err(ProofError::Length { got: 65 }));
}

fn nodes_root() -> RootHash {
    Nodes::of((0..5).map(leaf)).frontier.root()
}

/// An entry for the oracle.
#[derive(Clone)]
struct Entry(Vec<u8>);

impl HashableLeaf for Entry {
    fn hash<H: sha2::digest::Update>(&self, hasher: &mut H) {
        hasher.update(&self.0);
    }
}

fn flip(hashes: &[RootHash], at: usize, bit: usize) -> Vec<RootHash> {
    let mut changed = hashes.to_vec();
    let mut bytes = *changed[at].as_bytes();
    bytes[bit / 8] ^= 1 << (bit % 8);
    changed[at] = RootHash::from_bytes(bytes);
    changed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn trees_and_proofs_are_those_of_an_independent_implementation(
        sizes in (1_usize..300).prop_flat_map(|new| (Just(new), 1..=new, 0..new)),
    ) {
        let (new, old, index) = sizes;
        let entries: Vec<Vec<u8>> = (0..new).map(|i| vec![7; i % 50]).collect();
        let nodes = Nodes::of(entries.iter().map(|entry| leaf_hash(entry)));
        let mut oracle = MemoryBackedTree::<Sha256, Entry>::new();
        let mut old_oracle = None;
        for (i, entry) in entries.iter().enumerate() {
            oracle.push(Entry(entry.clone()));
            if i + 1 == old {
                old_oracle = Some(oracle.root());
            }
        }
        let (new_size, old_size, index64) = (new as u64, old as u64, index as u64);
        let new_root = root(new_size, &nodes).unwrap();
        let old_root = root(old_size, &nodes).unwrap();
        let their_root = oracle.root();
        prop_assert_eq!(&new_root.as_bytes()[..], &their_root.as_bytes()[..]);
        prop_assert_eq!(new_root, nodes.frontier.root());

        let proof = inclusion_proof(index64, new_size, &nodes).unwrap();
        let bytes = proof.iter().flat_map(|hash| *hash.as_bytes()).collect::<Vec<u8>>();
        let theirs = oracle.prove_inclusion(index);
        prop_assert_eq!(&bytes[..], theirs.as_bytes());
        let ours = InclusionProof::<Sha256>::from_bytes(bytes);
        prop_assert!(oracle.root().verify_inclusion(&Entry(entries[index].clone()), index64, &ours).is_ok());

        let proof = consistency_proof(old_size, new_size, &nodes).unwrap();
        let bytes = proof.iter().flat_map(|hash| *hash.as_bytes()).collect::<Vec<u8>>();
        if old < new {
            let theirs = oracle.prove_consistency(new - old);
            prop_assert_eq!(&bytes[..], theirs.as_bytes());
            let ours = ConsistencyProof::<Sha256>::try_from_bytes(bytes).unwrap();
            prop_assert!(oracle.root().verify_consistency(&old_oracle.unwrap(), &ours).is_ok());
        }
        prop_assert_eq!(verify_consistency(old_size, &old_root, new_size, &new_root, &proof), Ok(()));
    }

    #[test]
    fn any_change_to_an_inclusion_proof_is_refused(
        (size, index) in (1_u64..200).prop_flat_map(|size| (Just(size), 0..size)),
        at in any::<prop::sample::Index>(),
        bit in 0_usize..256,
        other in 0_u64..200,
    ) {
        let nodes = Nodes::of((0..size).map(leaf));
        let root = nodes.frontier.root();
        let proof = inclusion_proof(index, size, &nodes).unwrap();
        prop_assert_eq!(verify_inclusion(&leaf(index), index, size, &proof, &root), Ok(()));
        if !proof.is_empty() {
            let changed = flip(&proof, at.index(proof.len()), bit);
            prop_assert_eq!(
                verify_inclusion(&leaf(index), index, size, &changed, &root), Err(ProofError::Root));
            let short = &proof[1..];
            prop_assert!(verify_inclusion(&leaf(index), index, size, short, &root).is_err());
        }
        let long = [&proof[..], &[root]].concat();
        prop_assert!(verify_inclusion(&leaf(index), index, size, &long, &root).is_err());
        let changed = flip(&[root], 0, bit)[0];
        prop_assert_eq!(
            verify_inclusion(&leaf(index), index, size, &proof, &changed), Err(ProofError::Root));
        if other != index {
            prop_assert!(verify_inclusion(&leaf(index), other, size, &proof, &root).is_err());
        }
    }

    #[test]
    fn any_change_to_a_consistency_proof_is_refused(
        (new, old) in (2_u64..200).prop_flat_map(|new| (Just(new), 1..new)),
        at in any::<prop::sample::Index>(),
        bit in 0_usize..256,
    ) {
        let nodes = Nodes::of((0..new).map(leaf));
        let (old_root, new_root) = (root(old, &nodes).unwrap(), nodes.frontier.root());
        let proof = consistency_proof(old, new, &nodes).unwrap();
        prop_assert_eq!(verify_consistency(old, &old_root, new, &new_root, &proof), Ok(()));
        let changed = flip(&proof, at.index(proof.len()), bit);
        prop_assert!(verify_consistency(old, &old_root, new, &new_root, &changed).is_err());
        prop_assert!(verify_consistency(old, &old_root, new, &new_root, &proof[1..]).is_err());
        let long = [&proof[..], &[new_root]].concat();
        prop_assert!(verify_consistency(old, &old_root, new, &new_root, &long).is_err());
        let forked = flip(&[old_root], 0, bit)[0];
        prop_assert!(verify_consistency(old, &forked, new, &new_root, &proof).is_err());
        let forked = flip(&[new_root], 0, bit)[0];
        prop_assert!(verify_consistency(old, &old_root, new, &forked, &proof).is_err());
    }
}
