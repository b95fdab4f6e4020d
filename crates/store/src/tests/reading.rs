//! Lists, cursors, counts, proofs, tiles, bundles, checkpoints, and what is damaged.

use std::collections::BTreeMap;

use chancery_core::log::{entry as log_entry, leaf_hash_of};
use chancery_core::merkle::{verify_consistency, verify_inclusion};
use chancery_core::statement::ExecutionState;
use chancery_core::tile::{Content, Tile, parse_entries, parse_hashes};

use super::support::{Fixture, at, bundle, check_log, fingerprint, on_each_database, sql};
use crate::{Class, Cursor, DecisionFilter, Order, Store, StoreError};

/// 30 decisions: every third is referred, every fifth has a label.
fn thirty(fixture: &Fixture) -> Store {
    let store = fixture.begun();
    for number in 0..30 {
        let mut entry = fixture.decision_by(&format!("c-{number}"), &number.to_string(), |decision| {
            if number % 3 == 0 {
                decision.outcome = "refer".to_owned();
                decision.state = ExecutionState::PendingOverride;
            }
            if number % 5 == 0 {
                decision.labels = BTreeMap::from([("line \"of\" $.business".to_owned(), "motor".to_owned())]);
                decision.principal = "System::\"other\"".parse().unwrap();
            }
        });
        entry.claimed_at = at(number);
        store.submit_blocking(entry).unwrap();
    }
    store
}

fn indexes(store: &Store, filter: &DecisionFilter) -> Vec<u64> {
    let page = store.read(|reader| reader.decisions(filter, Order::OldestFirst, None, 1_000)).unwrap();
    assert!(page.next.is_none());
    let listed: Vec<u64> = page.items.iter().map(|item| item.index).collect();
    let found = store.read(|reader| reader.decision_indexes(filter, 0, 1_000)).unwrap();
    assert_eq!(listed, found);
    let counted = store.read(|reader| reader.count(filter, 0..u64::MAX)).unwrap();
    assert_eq!(counted, u64::try_from(found.len()).unwrap());
    listed
}

fn every_filter_narrows_as_it_says(fixture: Fixture) {
    let store = thirty(&fixture);
    let all = DecisionFilter::default();
    assert_eq!(indexes(&store, &all), (2..32).collect::<Vec<_>>());
    let labels = vec![("line \"of\" $.business".to_owned(), "motor".to_owned())];
    let cases: [(DecisionFilter, Vec<u64>); 12] = [
        (DecisionFilter { policy: Some("claims".parse().unwrap()), ..all.clone() }, (2..32).collect()),
        (DecisionFilter { policy: Some("loans".parse().unwrap()), ..all.clone() }, vec![]),
        (DecisionFilter { version: Some("1.1.0".parse().unwrap()), ..all.clone() }, vec![]),
        (DecisionFilter { outcome: Some("refer".to_owned()), ..all.clone() }, (2..32).step_by(3).collect()),
        (
            DecisionFilter { state: Some(ExecutionState::PendingOverride), ..all.clone() },
            (2..32).step_by(3).collect(),
        ),
        (DecisionFilter { state: Some(ExecutionState::Blocked), ..all.clone() }, vec![]),
        (DecisionFilter { from: Some(at(27)), ..all.clone() }, vec![29, 30, 31]),
        (DecisionFilter { to: Some(at(2)), ..all.clone() }, vec![2, 3]),
        (DecisionFilter { labels: labels.clone(), ..all.clone() }, (2..32).step_by(5).collect()),
        (DecisionFilter { labels, outcome: Some("refer".to_owned()), ..all.clone() }, vec![2, 17]),
        (DecisionFilter { fingerprint: Some(fingerprint("7")), ..all.clone() }, vec![9]),
        (
            DecisionFilter {
                execution_ids: vec![
                    "c-4".parse().unwrap(),
                    "nobody".parse().unwrap(),
                    "c-3".parse().unwrap(),
                ],
                ..all.clone()
            },
            vec![5, 6],
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(indexes(&store, &filter), expected, "{filter:?}");
    }
    let other = DecisionFilter { principal: Some("System::\"other\"".parse().unwrap()), ..all };
    assert_eq!(indexes(&store, &other), (2..32).step_by(5).collect::<Vec<_>>());
}

fn a_list_goes_on_where_its_page_ended_whatever_is_recorded_meanwhile(fixture: Fixture) {
    let store = thirty(&fixture);
    let filter = DecisionFilter { outcome: Some("refer".to_owned()), ..DecisionFilter::default() };
    for (order, expected) in [
        (Order::OldestFirst, (2..32).step_by(3).collect::<Vec<u64>>()),
        (Order::NewestFirst, (0..10).map(|step| 29 - 3 * step).collect()),
    ] {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = store.read(|reader| reader.decisions(&filter, order, after, 4)).unwrap();
            assert!(page.items.len() <= 4);
            seen.extend(page.items.iter().map(|item| item.index));
            // A client hands the cursor back as text.
            let Some(next) = page.next else { break };
            after = Some(next.to_string().parse::<Cursor>().unwrap());
            let id = format!("late-{}", seen.len());
            let mut late = fixture.decision(&id, &id);
            late.claimed_at = at(29);
            store.submit_blocking(late).unwrap();
        }
        assert_eq!(seen, expected);
    }
    for text in ["", "c", "c-1", "cG", "C2", "c02", "c2 ", "2", "cffffffffffffffff", "c10000000000000000"] {
        let refused = text.parse::<Cursor>();
        assert!(matches!(&refused, Err(StoreError::Cursor { .. })), "{text}: {refused:?}");
    }
}

fn counts_add_up(fixture: Fixture) {
    let store = thirty(&fixture);
    let stats = store.read(|reader| reader.stats(&DecisionFilter::default())).unwrap();
    assert_eq!(stats.total(), 30);
    let rows: Vec<_> =
        stats.rows.iter().map(|row| (row.outcome.as_str(), row.state, row.day.as_str(), row.count)).collect();
    assert_eq!(
        rows,
        [
            ("approve", ExecutionState::Completed, "2026-03-01", 20),
            ("refer", ExecutionState::PendingOverride, "2026-03-01", 10)
        ]
    );
    let named = store.read(|reader| reader.bundles_named(&DecisionFilter::default(), 0..100)).unwrap();
    assert_eq!(named, [bundle("1.0.0").bundle_hash]);
    let counts = store.read(|reader| reader.count_openings(&DecisionFilter::default(), 0..10)).unwrap();
    assert_eq!(counts, (8, 0));
}

fn proofs_and_tiles_of_a_log_verify(fixture: Fixture) {
    let store = fixture.begun();
    let tickets: Vec<_> = (2..1_000)
        .map(|number| store.enqueue_blocking(fixture.decision(&format!("c-{number}"), "a")).unwrap())
        .collect();
    tickets.into_iter().for_each(|ticket| drop(ticket.wait().unwrap()));
    let snapshot = store.snapshot().unwrap();
    let entries: Vec<_> = snapshot.entries(0..u64::MAX).map(|entry| entry.unwrap()).collect();
    assert_eq!(entries.len(), 1_000);
    let root = |size| snapshot.read(|reader| reader.root(size)).unwrap();
    for size in [1, 2, 255, 256, 257, 511, 512, 513, 768, 999, 1_000] {
        for index in [0, 1, 100, 255, 256, 511, 512, 998, 999].into_iter().filter(|index| *index < size) {
            let proof = snapshot.read(|reader| reader.inclusion_proof(index, size)).unwrap();
            let leaf = entries[usize::try_from(index).unwrap()].leaf_hash;
            verify_inclusion(&leaf, index, size, &proof, &root(size)).unwrap();
            let many = snapshot.read(|reader| reader.inclusion_proofs(&[0, index], size)).unwrap();
            assert_eq!(many[1], proof);
        }
        let proof = snapshot.read(|reader| reader.consistency_proof(size, 1_000)).unwrap();
        verify_consistency(size, &root(size), 1_000, &root(1_000), &proof).unwrap();
    }
    for (asked, result) in [
        (1_001, snapshot.read(|reader| reader.root(1_001)).map(|_| ())),
        (5, snapshot.read(|reader| reader.inclusion_proof(5, 5)).map(|_| ())),
        (1_001, snapshot.read(|reader| reader.inclusion_proof(5, 1_001)).map(|_| ())),
        (3, snapshot.read(|reader| reader.consistency_proof(3, 2)).map(|_| ())),
    ] {
        assert!(matches!(result, Err(StoreError::OutOfRange { asked: it, .. }) if it == asked), "{result:?}");
    }

    let tile = |content, index, size| {
        let tile = Tile::of_tree(content, index, size).unwrap();
        (tile, snapshot.read(|reader| reader.tile(&tile)).unwrap())
    };
    for (index, size) in [(0, 1_000), (3, 1_000), (3, 800), (1, 300)] {
        let (wanted, bytes) = tile(Content::Hashes { level: 0 }, index, size);
        let hashes = parse_hashes(&bytes.unwrap()).unwrap();
        assert_eq!(hashes.len(), usize::from(wanted.width()));
        let (_, bytes) = tile(Content::Entries, index, size);
        let bundle = parse_entries(&bytes.unwrap()).unwrap();
        for (place, (hash, entry)) in hashes.iter().zip(&bundle).enumerate() {
            let stored = &entries[usize::try_from(index * 256).unwrap() + place];
            assert_eq!(hash.as_bytes(), stored.leaf_hash.as_bytes());
            assert_eq!(*entry, log_entry(stored.kind, &stored.record_id));
            assert_eq!(leaf_hash_of(stored.kind, &stored.record_id), stored.leaf_hash);
        }
    }
    let (_, level1) = tile(Content::Hashes { level: 1 }, 0, 1_000);
    assert_eq!(parse_hashes(&level1.unwrap()).unwrap().len(), 3);
    assert_eq!(tile(Content::Hashes { level: 0 }, 3, 1_024).1, None);
    assert_eq!(tile(Content::Entries, 4, 2_000).1, None);
}

fn a_snapshot_does_not_see_what_comes_later(fixture: Fixture) {
    let store = thirty(&fixture);
    let snapshot = store.snapshot().unwrap();
    let mut entries = snapshot.entries(30..100);
    assert_eq!(entries.next().unwrap().unwrap().index, 30);
    let mut late = fixture.decision("late", "x");
    late.claimed_at = at(29);
    store.submit_blocking(late).unwrap();
    assert_eq!(entries.map(|entry| entry.unwrap().index).collect::<Vec<_>>(), [31]);
    assert_eq!(snapshot.head().size, 32);
    assert_eq!(snapshot.read(|reader| reader.head()).unwrap().size, 32);
    assert!(snapshot.read(|reader| reader.decision(&"late".parse().unwrap())).unwrap().is_none());
    assert_eq!(store.read(|reader| reader.head()).unwrap().size, 33);
}

fn a_published_version_never_changes(fixture: Fixture) {
    let store = fixture.begun();
    assert!(!store.publish_bundle(bundle("1.0.0"), at(5)).unwrap());
    let mut other = bundle("1.1.0");
    other.policy_version = "1.0.0".parse().unwrap();
    let refused = store.publish_bundle(other, at(5)).err().unwrap();
    assert!(
        matches!(&refused, StoreError::BundlePublished { published, .. } if *published == bundle("1.0.0").bundle_hash)
    );
    assert_eq!(refused.class(), Class::Conflict);
    let (policy, version) = ("claims".parse().unwrap(), "1.0.0".parse().unwrap());
    assert_eq!(store.read(|reader| reader.bundle(&policy, &version)).unwrap(), Some(bundle("1.0.0")));
    assert_eq!(store.read(|reader| reader.bundle(&policy, &"7.0.0".parse().unwrap())).unwrap(), None);
    let hash = bundle("1.1.0").bundle_hash;
    assert_eq!(store.read(|reader| reader.bundle_by_hash(&hash)).unwrap(), Some(bundle("1.1.0")));
    let versions = store.read(|reader| reader.bundles()).unwrap();
    assert_eq!(versions.len(), 2);
}

fn checkpoints_and_keys_are_stored_once(fixture: Fixture) {
    let store = fixture.begun();
    let head = store.read(|reader| reader.head()).unwrap();
    assert_eq!(store.read(|reader| reader.checkpoint_newest()).unwrap(), None);
    assert!(store.insert_checkpoint(2, head.root_hash, "note 2".to_owned(), at(3)).unwrap());
    assert!(!store.insert_checkpoint(2, head.root_hash, "note 2".to_owned(), at(4)).unwrap());
    let fork = store.insert_checkpoint(2, head.root_hash, "fork".to_owned(), at(4)).err().unwrap();
    assert!(matches!(fork, StoreError::CheckpointStored { size: 2 }), "{fork:?}");
    assert!(store.insert_checkpoint(1, head.root_hash, "note 1".to_owned(), at(5)).unwrap());
    let newest = store.read(|reader| reader.checkpoint_newest()).unwrap().unwrap();
    assert_eq!((newest.size, newest.note.as_str(), newest.created_at), (2, "note 2", at(3)));
    assert_eq!(store.read(|reader| reader.checkpoint_at(1)).unwrap().unwrap().note, "note 1");
    assert_eq!(store.read(|reader| reader.checkpoint_at(3)).unwrap(), None);

    store.insert_tenant_key("commitment".to_owned(), vec![1, 2, 3], at(0)).unwrap();
    let twice = store.insert_tenant_key("commitment".to_owned(), vec![4], at(0)).err().unwrap();
    assert!(matches!(twice, StoreError::TenantKeyStored { .. }), "{twice:?}");
    let key = store.read(|reader| reader.tenant_key("commitment")).unwrap().unwrap();
    assert_eq!(key.wrapped, [1, 2, 3]);
    assert_eq!(store.read(|reader| reader.tenant_key("opening")).unwrap(), None);
}

/// Someone with the file and without scruples.
fn tamper(fixture: &Fixture, table: &str, change: &str) {
    sql(&fixture.path(), &format!("DROP TRIGGER {table}_no_update; UPDATE {table} SET {change}")).unwrap();
}

#[test]
fn what_is_damaged_is_named_with_table_and_row() {
    let cases: [(&str, &str, &str); 8] = [
        ("log_entries", "payload = CAST(replace(CAST(payload AS TEXT), 'c-3', 'c-9') AS BLOB)", "5"),
        ("log_entries", "leaf_hash = record_id WHERE log_index = 5", "5"),
        ("log_entries", "kind = 2 WHERE log_index = 5", "5"),
        ("log_entries", "recorded_at = 'yesterday' WHERE log_index = 5", "5"),
        ("log_entries", "keyid = 'nobody' WHERE log_index = 5", "5"),
        ("decisions", "executed_at = upper(executed_at) || 'x' WHERE log_index = 5", "5"),
        ("decisions", "labels = '{' WHERE log_index = 5", "5"),
        ("decisions", "policy_id = 'No Policy' WHERE log_index = 5", "5"),
    ];
    for (table, change, key) in cases {
        let fixture = Fixture::new();
        let store = thirty(&fixture);
        tamper(&fixture, table, change);
        let damaged = store.read(|reader| reader.decision(&"c-3".parse().unwrap())).err();
        assert!(
            matches!(&damaged, Some(StoreError::Corrupt { table: it, key: row, .. }) if *it == table && row == key),
            "{change}: {damaged:?}"
        );
        assert_eq!(damaged.unwrap().class(), Class::Corrupt);
    }
}

#[test]
fn a_tree_that_does_not_give_the_head_stops_the_start() {
    let fixture = Fixture::new();
    drop(thirty(&fixture));
    tamper(&fixture, "log_entries", "leaf_hash = record_id WHERE log_index = 5");
    let refused = Store::open(&fixture.path(), super::support::options()).err().unwrap();
    assert!(matches!(&refused, StoreError::Corrupt { table: "log_head", .. }), "{refused:?}");

    let fixture = Fixture::new();
    let store = thirty(&fixture);
    tamper(&fixture, "bundles", "sum = x'00'");
    let refused = store.read(|reader| reader.bundle_by_hash(&bundle("1.0.0").bundle_hash)).err().unwrap();
    assert!(matches!(&refused, StoreError::Corrupt { table: "bundles", .. }), "{refused:?}");
}

#[test]
fn a_missing_entry_ends_a_stream_with_an_error() {
    let fixture = Fixture::new();
    let store = thirty(&fixture);
    sql(&fixture.path(), "DROP TRIGGER log_entries_no_delete; DELETE FROM log_entries WHERE log_index = 7")
        .unwrap();
    let snapshot = store.snapshot().unwrap();
    let last = snapshot.entries(0..100).last().unwrap();
    assert!(matches!(&last, Err(StoreError::Corrupt { key, .. }) if key == "7"), "{last:?}");
}

#[test]
fn the_write_ahead_log_stays_bounded() {
    let fixture = Fixture::new();
    drop(fixture.begun());
    let mut options = super::support::options();
    options.wal_bytes_max = 1024 * 1024;
    let store = Store::open(&fixture.path(), options).unwrap();
    let wal = fixture.folder.path().join("log.db-wal");
    let mut largest = 0;
    let text = "x".repeat(50_000);
    for number in 0..600 {
        store.submit_blocking(fixture.decision(&format!("c-{number}"), &text)).unwrap();
        largest = largest.max(std::fs::metadata(&wal).unwrap().len());
    }
    // 60 MB were written; the checkpointer runs beside, so the bound is a loose one.
    assert!(largest < 40 * 1024 * 1024, "{largest}");
    assert_eq!(check_log(&store), 602);
}

/// A log of 600 entries: two full tiles and a partial one.
fn tiled(fixture: &Fixture) -> Store {
    let store = fixture.begun();
    let tickets: Vec<_> = (2..600)
        .map(|number| store.enqueue_blocking(fixture.decision(&format!("c-{number}"), "a")).unwrap())
        .collect();
    tickets.into_iter().for_each(|ticket| drop(ticket.wait().unwrap()));
    store
}

#[test]
fn tiles_that_were_changed_prove_nothing() {
    let one_byte =
        "hashes = CAST(substr(hashes, 1, 40) || x'07' || substr(hashes, 42) AS BLOB) WHERE tile_index = 0";
    let zeros = "hashes = zeroblob(length(hashes))";
    // Both columns, so that the tile fits itself: the first tile gets the content of the second.
    let swapped = "hashes = (SELECT hashes FROM log_tiles WHERE tile_index = 1), \
                   root_hash = (SELECT root_hash FROM log_tiles WHERE tile_index = 1) WHERE tile_index = 0";
    for (change, fits_itself) in [(one_byte, false), (zeros, false), (swapped, true)] {
        let fixture = Fixture::new();
        let store = tiled(&fixture);
        tamper(&fixture, "log_tiles", change);
        let first = Tile::of_tree(Content::Hashes { level: 0 }, 0, 600).unwrap();
        for (what, result) in [
            ("a proof", store.read(|reader| reader.inclusion_proof(3, 600)).map(drop)),
            ("of an older tree", store.read(|reader| reader.inclusion_proof(3, 300)).map(drop)),
            ("consistency", store.read(|reader| reader.consistency_proof(100, 500)).map(drop)),
            ("a root", store.read(|reader| reader.root(100)).map(drop)),
            ("the tile", store.read(|reader| reader.tile(&first)).map(drop)),
        ] {
            if what == "the tile" && fits_itself {
                continue;
            }
            assert!(
                matches!(&result, Err(StoreError::Corrupt { table: "log_tiles", .. })),
                "{change}, {what}: {result:?}"
            );
        }
    }
}

#[test]
fn a_proof_is_of_the_entry_that_is_there() {
    for (trigger, change) in [
        // An entry that fits itself, in place of another.
        (
            "log_entries_no_update",
            "log_entries SET leaf_hash = (SELECT leaf_hash FROM log_entries WHERE log_index = 4) WHERE log_index = 3",
        ),
        ("log_head_moves_forward", "log_head SET root_hash = chain_hash"),
    ] {
        let fixture = Fixture::new();
        let store = tiled(&fixture);
        sql(&fixture.path(), &format!("DROP TRIGGER {trigger}; UPDATE {change}")).unwrap();
        let result = store.read(|reader| reader.inclusion_proof(3, 600));
        assert!(matches!(&result, Err(StoreError::Corrupt { .. })), "{change}: {result:?}");
    }
    let fixture = Fixture::new();
    let store = tiled(&fixture);
    let head = store.read(|reader| reader.head()).unwrap();
    store.insert_checkpoint(300, head.root_hash, "note".to_owned(), at(3)).unwrap();
    let result = store.read(|reader| reader.inclusion_proof(3, 300));
    assert!(matches!(&result, Err(StoreError::Corrupt { table: "checkpoints", .. })), "{result:?}");
}

#[test]
fn an_entry_tile_holds_what_the_leaves_say() {
    let fixture = Fixture::new();
    let store = tiled(&fixture);
    tamper(&fixture, "log_entries", "kind = 2 WHERE log_index = 5");
    let wanted = Tile::of_tree(Content::Entries, 0, 600).unwrap();
    let result = store.read(|reader| reader.tile(&wanted));
    assert!(matches!(&result, Err(StoreError::Corrupt { table: "log_entries", .. })), "{result:?}");
}

on_each_database!(
    every_filter_narrows_as_it_says,
    a_list_goes_on_where_its_page_ended_whatever_is_recorded_meanwhile,
    counts_add_up,
    proofs_and_tiles_of_a_log_verify,
    a_snapshot_does_not_see_what_comes_later,
    a_published_version_never_changes,
    checkpoints_and_keys_are_stored_once,
);
