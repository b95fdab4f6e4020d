//! Tiles against their definition and against an independent implementation.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;

use proptest::prelude::*;
use tlog_tiles::{Error as TlogError, HashReader};

use super::*;
use crate::digest::LeafHash;
use crate::log::{Kind, entry};
use crate::merkle::tests::{Nodes, leaf};
use crate::merkle::{NodeSource, consistency_proof, inclusion_proof, root};

/// A log with all its tiles, as a store would keep them.
#[derive(Default)]
struct Log {
    edge: Edge,
    full: HashMap<Tile, Vec<u8>>,
}

impl Log {
    fn of(leaves: impl IntoIterator<Item = LeafHash>) -> Self {
        let mut log = Self::default();
        let mut full = Vec::new();
        for leaf in leaves {
            log.edge.push(&leaf, &mut full);
        }
        for FullTile { tile, bytes } in full {
            assert!(tile.is_full() && bytes.len() == 8192);
            assert!(log.full.insert(tile, bytes).is_none(), "{tile} became full twice");
        }
        log
    }

    /// A full tile, or the partial one of today.
    fn fetch(&self, tile: &Tile) -> Option<Vec<u8>> {
        let Content::Hashes { level } = tile.content() else { return None };
        let full = Tile { width: 256, ..*tile };
        let partial = || write_hashes(self.edge.partial(level));
        Some(self.full.get(&full).cloned().unwrap_or_else(partial))
    }

    fn nodes(&self, size: u64) -> TileNodes<impl FnMut(&Tile) -> Result<Vec<u8>, &'static str>> {
        TileNodes::new(size, |tile: &Tile| self.fetch(tile).ok_or("not there"))
    }
}

#[test]
fn paths_are_those_of_the_specification() {
    let hashes = |level| Content::Hashes { level };
    let cases = [
        (Tile { content: hashes(0), index: 0, width: 256 }, "tile/0/000"),
        (Tile { content: hashes(1), index: 17, width: 1 }, "tile/1/017.p/1"),
        (Tile { content: hashes(0), index: 1_234_067, width: 256 }, "tile/0/x001/x234/067"),
        (Tile { content: hashes(63), index: 999, width: 255 }, "tile/63/999.p/255"),
        (Tile { content: Content::Entries, index: 1000, width: 112 }, "tile/entries/x001/000.p/112"),
        (
            Tile { content: hashes(0), index: u64::MAX, width: 256 },
            "tile/0/x018/x446/x744/x073/x709/x551/615",
        ),
    ];
    for (tile, path) in cases {
        assert_eq!(tile.path(), path);
        assert_eq!(path.parse(), Ok(tile));
    }
}

#[test]
fn another_text_is_no_path() {
    for path in [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/000",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/0/x001",
        "tile/0/001.p/0",
        "tile/0/001.p/256",
        "tile/0/001.p/01",
        "tile/0/001.p/+1",
        "tile/0/001.p/",
        "tile/0/001.p",
        "tile/00/001",
        "tile/64/001",
        "tile/-1/001",
        "tile/data/001",
        "tile/8/0/001",
        "tile/0/001/",
        "/tile/0/001",
        "tile/0/../001",
        "tile/0/-01",
        "tile/0/ 01",
        "tile/0/٠٠١",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/x999/999",
    ] {
        assert!(path.parse::<Tile>().is_err(), "{path}");
    }
}

#[test]
fn a_tree_of_70000_has_the_tiles_of_the_specification() {
    let log = Log::of((0..70_000).map(leaf));
    let mut full = [0; 3];
    for tile in log.full.keys() {
        let Content::Hashes { level } = tile.content() else { panic!("{tile}") };
        full[usize::from(level)] += 1;
    }
    assert_eq!(full, [273, 1, 0]);
    let partials: Vec<String> = log.edge.partial_tiles().map(|(tile, _)| tile.path()).collect();
    assert_eq!(partials, ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]);
    for (tile, bytes) in log.edge.partial_tiles() {
        assert_eq!(bytes.len(), usize::from(tile.width()) * HASH_BYTES);
        assert!(tile.is_in_tree(70_000) && !tile.is_in_tree(65_535));
        assert_eq!(Tile::of_tree(tile.content(), tile.index(), 70_000), Some(tile));
        assert_eq!(Tile::of_tree(tile.content(), tile.index() + 1, 70_000), None);
    }
    let nodes = Nodes::of((0..70_000).map(leaf));
    for (tile, bytes) in &log.full {
        let Content::Hashes { level } = tile.content() else { panic!("{tile}") };
        let begin = usize::try_from(tile.first()).unwrap();
        assert_eq!(*bytes, write_hashes(&nodes.levels[usize::from(level) * 8][begin..begin + 256]));
    }
    for size in [1, 255, 256, 257, 65_535, 65_536, 65_537, 69_999, 70_000] {
        let source = log.nodes(size);
        assert_eq!(root(size, &source).unwrap(), root(size, &nodes).unwrap(), "{size}");
        for index in [0, 1.min(size - 1), size / 2, size - 1] {
            let proof = inclusion_proof(index, size, &source).unwrap();
            assert_eq!(proof, inclusion_proof(index, size, &nodes).unwrap(), "{index} of {size}");
            let proof = consistency_proof(index + 1, size, &source).unwrap();
            assert_eq!(proof, consistency_proof(index + 1, size, &nodes).unwrap());
        }
    }
}

#[test]
fn proofs_in_index_order_fetch_each_tile_once() {
    let log = Log::of((0..30_000).map(leaf));
    let fetched = RefCell::new(HashMap::<Tile, u32>::new());
    let source = TileNodes::new(30_000, |tile: &Tile| {
        *fetched.borrow_mut().entry(*tile).or_default() += 1;
        log.fetch(tile).ok_or("not there")
    });
    for index in (0..30_000).step_by(50) {
        inclusion_proof(index, 30_000, &source).unwrap();
    }
    assert!(source.cached() <= CACHE_LIMIT);
    // One tile in a few is pushed out by the ones to its right and comes back once.
    assert!(fetched.borrow().values().all(|times| *times <= 2), "{fetched:?}");
}

const CACHE_LIMIT: usize = 64;

#[test]
fn tiles_that_cannot_be_had_are_named() {
    let failing = TileNodes::new(300, |_: &Tile| Err::<Vec<u8>, _>("gone"));
    let tile = Tile { content: Content::Hashes { level: 0 }, index: 1, width: 44 };
    assert_eq!(failing.node(0, 299), Err(TileNodesError::Fetch { tile, source: "gone" }));
    let no_node = |level, index| TileNodesError::NoNode { size: 300, level, index };
    for (level, index) in [(0, 300), (8, 1), (9, 0), (16, 0), (64, 0), (255, 0), (7, u64::MAX)] {
        assert_eq!(failing.node(level, index), Err(no_node(level, index)), "{level} {index}");
    }
    let short = TileNodes::new(300, |_: &Tile| Ok::<_, Infallible>(vec![0; 43 * 32]));
    assert_eq!(short.node(0, 299), Err(TileNodesError::Width { tile, got: 43 }));
    for length in [0, 31, 33, 257 * 32] {
        let odd = TileNodes::new(300, |_: &Tile| Ok::<_, Infallible>(vec![0; length]));
        let source = TileBytesError::Length { got: length };
        assert_eq!(odd.node(0, 299), Err(TileNodesError::Bytes { tile, source }));
    }
    // A node that is only half in the tree.
    let exact =
        TileNodes::new(300, |tile: &Tile| Ok::<_, Infallible>(vec![0; usize::from(tile.width()) * 32]));
    assert!(matches!(exact.node(3, 37), Err(TileNodesError::NoNode { size: 300, level: 3, index: 37 })));
    assert!(exact.node(2, 74).is_ok());
}

#[test]
fn an_edge_that_does_not_fit_its_size_is_refused() {
    let log = Log::of((0..300).map(leaf));
    let partials: Vec<_> = (0..3).map(|level| log.edge.partial(level).to_vec()).collect();
    assert_eq!(Edge::from_partials(300, partials.clone()), Ok(log.edge.clone()));
    let width = EdgeError::Width { level: 0, size: 299, need: 43, got: 44 };
    assert_eq!(Edge::from_partials(299, partials.clone()), Err(width));
    let width = EdgeError::Width { level: 1, size: 44, need: 0, got: 1 };
    assert_eq!(Edge::from_partials(44, partials), Err(width));
    let too_deep = [vec![vec![]; 9], vec![vec![leaf(0).into()]]].concat();
    assert!(matches!(Edge::from_partials(0, too_deep), Err(EdgeError::Width { level: 9, .. })));
    assert_eq!(Edge::from_partials(u64::MAX, vec![]), Err(EdgeError::Size { size: u64::MAX }));
    let bytes = log.edge.to_bytes();
    assert_eq!(Edge::from_bytes(300, &bytes), Ok(log.edge));
    for (size, length) in [(299, 45 * 32), (301, 45 * 32), (300, 45 * 32 - 1), (300, 44 * 32), (0, 32)] {
        let wrong = EdgeError::Bytes { size, got: length };
        assert_eq!(Edge::from_bytes(size, &bytes[..length]), Err(wrong));
    }
}

#[test]
fn entry_bundles_are_length_prefixed() {
    let entries: Vec<_> =
        (0..3).map(|i| entry(Kind::Decision, &crate::digest::RecordId::from_bytes([i; 32]))).collect();
    let bytes = write_entries(&entries);
    assert_eq!(bytes.len(), 3 * 36);
    assert_eq!(bytes[36..40], [0, 34, 1, 1]);
    assert_eq!(parse_entries(&bytes), Ok(entries));
    assert_eq!(parse_entries(&[]), Err(TileBytesError::Entries { got: 0 }));
    assert_eq!(parse_entries(&bytes.repeat(86)), Err(TileBytesError::Entries { got: 258 }));
    for (cut, at) in [(1, 0), (35, 0), (37, 36), (107, 72)] {
        assert_eq!(parse_entries(&bytes[..cut]), Err(TileBytesError::Entry { at }));
    }
    let mut other = bytes;
    other[37] = 33;
    assert_eq!(parse_entries(&other), Err(TileBytesError::Entry { at: 36 }));
}

/// Gives the oracle the hashes that it keeps in its own order.
struct Oracle<'a>(&'a Nodes);

impl HashReader for Oracle<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, TlogError> {
        let node = |index: &u64| {
            let (level, n) = tlog_tiles::split_stored_hash_index(*index);
            tlog_tiles::Hash(*self.0.node(level, n).unwrap().as_bytes())
        };
        Ok(indexes.iter().map(node).collect())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn tiles_and_proofs_are_those_of_an_independent_implementation(
        (size, index) in (1_u64..1500).prop_flat_map(|size| (Just(size), 0..size)),
    ) {
        let nodes = Nodes::of((0..size).map(leaf));
        let log = Log::of((0..size).map(leaf));
        let oracle = Oracle(&nodes);
        let mut count = 0;
        for theirs in tlog_tiles::Tile::new_tiles(8, 0, size) {
            let content = Content::Hashes { level: theirs.level() };
            let ours = Tile::of_tree(content, theirs.level_index(), size).unwrap();
            prop_assert_eq!(u32::from(ours.width()), theirs.width());
            prop_assert_eq!(ours.path().replacen("tile/", "tile/8/", 1), theirs.path());
            let bytes = log.fetch(&ours).unwrap();
            prop_assert_eq!(bytes, theirs.read_data(&oracle).unwrap());
            count += 1;
        }
        prop_assert_eq!(count, log.full.len() + log.edge.partial_tiles().count());
        prop_assert_eq!(tlog_tiles::tree_hash(size, &oracle).unwrap().0, *log.edge.root().as_bytes());

        let source = log.nodes(size);
        let to_bytes = |hashes: Vec<RootHash>| hashes.iter().map(|hash| *hash.as_bytes()).collect::<Vec<_>>();
        let ours = to_bytes(inclusion_proof(index, size, &source).unwrap());
        let theirs = tlog_tiles::prove_record(size, index, &oracle).unwrap();
        prop_assert_eq!(ours, theirs.iter().map(|hash| hash.0).collect::<Vec<_>>());
        let ours = to_bytes(consistency_proof(index + 1, size, &source).unwrap());
        let theirs = tlog_tiles::prove_tree(size, index + 1, &oracle).unwrap();
        prop_assert_eq!(ours, theirs.iter().map(|hash| hash.0).collect::<Vec<_>>());
    }

    #[test]
    fn an_edge_goes_on_where_it_was_stored(size in 0_u64..1500, more in 0_u64..600) {
        let log = Log::of((0..size).map(leaf));
        let mut stored = Edge::from_bytes(size, &log.edge.to_bytes()).unwrap();
        prop_assert_eq!(stored.frontier(), log.edge.frontier());
        let mut full = Vec::new();
        for i in size..size + more {
            stored.push(&leaf(i), &mut full);
        }
        let whole = Log::of((0..size + more).map(leaf));
        prop_assert_eq!(stored.root(), whole.edge.root());
        prop_assert_eq!(stored.to_bytes(), whole.edge.to_bytes());
        for FullTile { tile, bytes } in full {
            prop_assert_eq!(whole.full.get(&tile), Some(&bytes));
        }
    }

    #[test]
    fn what_parses_as_a_path_prints_to_the_same(path in "tile/[0-9a-x]{1,2}/(x[0-9]{3}/){0,2}[0-9]{3}(.p/[0-9]{1,3})?") {
        if let Ok(tile) = path.parse::<Tile>() {
            prop_assert_eq!(tile.path(), path);
        }
    }
}
