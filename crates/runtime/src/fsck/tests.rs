use super::*;
use crate::confirm::Executed;
use crate::edge::Clock as _;
use crate::runtime::{Options, Runtime, read_root};
use crate::testing::{TestClock, TestLog, build_key, caller, erase, release, request};
use chancery_core::checkpoint::Checkpoint;
use chancery_core::digest::RootHash;
use std::fs;
use std::sync::OnceLock;

/// A log with a few decisions and a checkpoint over them; closed.
fn filled() -> TestLog {
    static FILES: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    let files = |log: &TestLog| [log.database(), log.home().checkpoint().to_owned()];
    let [database, memory] = FILES.get_or_init(|| {
        let log = TestLog::new();
        let runtime = log.open();
        for number in 0..300 {
            runtime
                .execute_blocking(&caller(), &request(&format!("e-{number}"), &number.to_string(), "0.1"))
                .unwrap();
        }
        runtime.publish_checkpoint().unwrap();
        drop(runtime);
        assert!(!log.database().with_extension("db-wal").exists());
        files(&log).map(|path| fs::read(path).unwrap())
    });
    let log = TestLog::new();
    for (path, bytes) in files(&log).iter().zip([database, memory]) {
        fs::write(path, bytes).unwrap();
    }
    log
}

fn fsck(log: &TestLog, full: bool) -> FsckReport {
    let records =
        Records::open(&log.database().into(), None, TestClock::at("2026-03-01T12:00:00.000000Z")).unwrap();
    let (home, keys) = (log.home(), log.keys());
    let root = read_root(home.root_pub()).unwrap();
    let request = FsckRequest { root: &root, keys: Some(&keys), checkpoint: Some(home.checkpoint()), full };
    let mut last = 0;
    let report = records.fsck(&request, |done, of| {
        assert!(done > last && done <= of);
        last = done;
    });
    report.unwrap()
}

#[test]
fn a_good_log_is_clean() {
    let log = filled();
    let report = fsck(&log, true);
    assert_eq!(report.problems, []);
    assert_eq!((report.entries, report.decisions, report.openings, report.bundles), (302, 300, 300, 1));
    assert!(fsck(&log, false).is_clean());
}

#[test]
fn edits_are_found_where_they_are() {
    let cases: [(&str, Option<u64>, &str); 24] = [
        (
            "UPDATE log_entries SET payload = CAST(replace(payload, 'approve', 'refused') AS BLOB) WHERE log_index = 7",
            Some(7),
            "log_entries",
        ),
        ("UPDATE log_entries SET kind = 2 WHERE log_index = 7", Some(7), "log_entries"),
        (
            "UPDATE log_entries SET leaf_hash = replace(leaf_hash, substr(leaf_hash, 1, 4), 'abcd') WHERE log_index = 7",
            Some(7),
            "log_entries",
        ),
        ("UPDATE log_entries SET signature = zeroblob(64) WHERE log_index = 7", Some(7), "signature"),
        (
            "UPDATE log_entries SET claimed_at = '2026-01-01T00:00:00.000000Z' WHERE log_index = 7",
            Some(7),
            "claimed_at",
        ),
        ("DELETE FROM log_entries WHERE log_index = 7", Some(7), "missing"),
        ("UPDATE decisions SET outcome = 'deny' WHERE log_index = 7", Some(7), "`outcome`"),
        ("UPDATE decisions SET execution_id = 'other' WHERE log_index = 7", Some(7), "`execution_id`"),
        ("DELETE FROM decisions WHERE log_index = 7", Some(7), "no row"),
        ("UPDATE openings SET ciphertext = zeroblob(40) WHERE log_index = 7", Some(7), "opening"),
        ("UPDATE log_head SET chain_hash = root_hash", None, "chain hash"),
        ("UPDATE log_head SET root_hash = chain_hash", None, "root hash"),
        (
            "UPDATE checkpoints SET note = CAST(replace(note, 'log.example.com', 'log.example.org') AS BLOB)",
            None,
            "the checkpoint of size 302",
        ),
        (
            "UPDATE checkpoints SET root_hash = lower(hex(zeroblob(32))) WHERE size = 302",
            None,
            "the checkpoint of size 302: its row is not what was signed",
        ),
        ("UPDATE checkpoints SET size = 300 WHERE size = 302", None, "the checkpoint of size 300: its row"),
        (
            "UPDATE checkpoints SET size = 303 WHERE size = 302",
            None,
            "the checkpoint of size 303: 303 lies outside",
        ),
        ("UPDATE checkpoints SET created_at = 'then'", None, "the table of checkpoints"),
        // An older one.
        (
            "INSERT INTO checkpoints SELECT tenant, 7, root_hash, note, created_at FROM checkpoints WHERE size = 302",
            None,
            "the checkpoint of size 7: its row",
        ),
        (
            "UPDATE log_tiles SET hashes = CAST(substr(hashes, 1, 40) || x'07' || substr(hashes, 42) AS BLOB)",
            None,
            "the tiles: the hashes of `tile/0/000`",
        ),
        (
            "UPDATE log_tiles SET hashes = zeroblob(length(hashes))",
            None,
            "the tiles: the hashes of `tile/0/000`",
        ),
        (
            "UPDATE log_tiles SET root_hash = lower(hex(zeroblob(32)))",
            None,
            "the tiles: the root of `tile/0/000`",
        ),
        ("DELETE FROM log_tiles", None, "the tiles: `tile/0/000` is missing"),
        (
            "INSERT INTO log_tiles SELECT tenant, 1, 0, root_hash, hashes FROM log_tiles",
            None,
            "the tiles: 1 of them are beyond the log",
        ),
        ("UPDATE bundle_files SET content = CAST(content || ' ' AS BLOB)", None, "bundle"),
    ];
    for (sql, index, what) in cases {
        let log = filled();
        log.tamper(sql);
        let report = fsck(&log, true);
        let found =
            report.problems.iter().any(|problem| problem.index == index && problem.what.contains(what));
        assert!(found, "{sql}: {:#?}", report.problems);
    }
}

/// A log in which two decisions were verified; closed. The verifications lie at the indexes 5 and 6.
fn verified() -> TestLog {
    let log = TestLog::new();
    let runtime = log.open();
    for number in 0..3 {
        runtime.execute_blocking(&caller(), &request(&format!("e-{number}"), "1", "0.1")).unwrap();
    }
    let recorded = runtime.verify_recorded(&["e-0".parse().unwrap(), "e-1".parse().unwrap()]).unwrap();
    assert_eq!(recorded.iter().map(|recorded| recorded.index).collect::<Vec<_>>(), [5, 6]);
    runtime.publish_checkpoint().unwrap();
    drop(runtime);
    log
}

#[test]
fn verifications_lead_to_their_decisions_and_back() {
    let log = verified();
    let report = fsck(&log, true);
    assert_eq!((report.problems, report.verifications), (vec![], 2));
    for (sql, index, what) in [
        ("DELETE FROM verifications WHERE log_index = 5", 5, "no row in `verifications`"),
        (
            "INSERT INTO verifications SELECT tenant, 3, execution_id, execution_fingerprint, verdict, \
             signature_verified, runtime_verified, schema_compatible, verified_at, verifier \
             FROM verifications WHERE log_index = 5",
            3,
            "has no verification in the log",
        ),
        ("UPDATE verifications SET verdict = 'verified' WHERE log_index = 6", 6, "`verdict`"),
        ("UPDATE verifications SET runtime_verified = 1 WHERE log_index = 6", 6, "`runtime_verified`"),
        ("UPDATE verifications SET execution_id = 'e-2' WHERE log_index = 6", 6, "`execution_id`"),
        ("DELETE FROM decisions WHERE execution_id = 'e-1'", 6, "an orphan: it verifies `e-1`"),
        (
            "UPDATE decisions SET execution_fingerprint = lower(hex(zeroblob(32))) WHERE execution_id = 'e-1'",
            6,
            "an orphan: what it verifies is not the decision",
        ),
    ] {
        let log = verified();
        log.tamper(sql);
        let problems = fsck(&log, false).problems;
        let found = problems.iter().any(|p| p.index == Some(index) && p.what.contains(what));
        assert!(found, "{sql}: {problems:#?}");
    }
}

/// A log of each kind of event: the keyring at 0, activation at 1, build at 2, decisions at 3 and 4, a confirmation at
/// 5, an erasure of both facts of `e-0` at 6 and of one of `e-1` at 7.
fn eventful() -> TestLog {
    let log = TestLog::production();
    let options = Options { build: Some(release(&build_key(), |_| {})), ..log.options() };
    let runtime = Runtime::open(options).unwrap();
    for id in ["e-0", "e-1"] {
        runtime.execute_blocking(&caller(), &request(id, "1", "0.1")).unwrap();
    }
    log.clock.advance_ms(1_000);
    let done = Executed { outcome: "approve".to_owned(), reference: "pay-1".to_owned(), at: log.clock.now() };
    assert_eq!(runtime.confirm(&caller(), &"e-0".parse().unwrap(), &done).unwrap().log.index, 5);
    erase(&runtime, &log, "e-0", &[]);
    erase(&runtime, &log, "e-1", &["score"]);
    drop(runtime);
    log
}

#[test]
fn every_event_has_the_row_that_was_signed() {
    assert_eq!(fsck(&eventful(), true).problems, []);
    let cases: [(&str, u64, &str); 25] = [
        ("UPDATE activations SET policy_version = '9.9.9'", 1, "`policy_version` of `activations`"),
        (
            "UPDATE activations SET bundle_hash = lower(hex(zeroblob(32)))",
            1,
            "`bundle_hash` of `activations`",
        ),
        ("UPDATE activations SET previous = bundle_hash", 1, "`previous` of `activations`"),
        ("UPDATE activations SET reason = 'another'", 1, "`reason` of `activations`"),
        ("UPDATE activations SET requested_by = 'eve'", 1, "`requested_by` of `activations`"),
        ("UPDATE activations SET log_index = 2", 2, "a row of `activations` has no such entry"),
        ("DELETE FROM activations", 1, "no row in `activations`"),
        ("UPDATE keyrings SET expires_at = '2099-01-01T00:00:00.000000Z'", 0, "`expires_at` of `keyrings`"),
        ("UPDATE keyrings SET version = 7", 0, "`version` of `keyrings`"),
        ("UPDATE keyrings SET record_id = upper(record_id)", 0, "`record_id` of `keyrings`"),
        ("DELETE FROM keyrings", 0, "no row in `keyrings`"),
        (
            "UPDATE build_identities SET binary_sha256 = payload_sha256",
            2,
            "`binary_sha256` of `build_identities`",
        ),
        ("UPDATE build_identities SET log_index = 3", 3, "a row of `build_identities` has no such entry"),
        ("UPDATE confirmations SET reference = 'pay-2'", 5, "`reference` of `confirmations`"),
        ("UPDATE confirmations SET execution_id = 'e-1'", 5, "`execution_id` of `confirmations`"),
        ("DELETE FROM confirmations", 5, "no row in `confirmations`"),
        ("UPDATE erasures SET basis = 'none'", 6, "`basis` of `erasures`"),
        ("UPDATE erasures SET fields = NULL", 7, "`fields` of `erasures`"),
        ("UPDATE erasures SET fields = '[\"amount\"]'", 6, "`fields` of `erasures`"),
        ("DELETE FROM erasures WHERE log_index = 6", 6, "no row in `erasures`"),
        ("DELETE FROM erasure_subjects WHERE log_index = 6", 6, "no row in `erasure_subjects`"),
        ("UPDATE erasure_subjects SET decision_index = 4", 6, "`decision_index` of `erasure_subjects`"),
        (
            "INSERT INTO erasure_subjects SELECT tenant, 'e-1', 6, 4 FROM settings",
            6,
            "a row of `erasure_subjects` has no such entry",
        ),
        ("UPDATE settings SET environment = 'test'", 3, "`environment` of `settings`"),
        ("UPDATE settings SET log_origin = 'log.example.org/acme'", 0, "`log_origin` of `settings`"),
    ];
    for (sql, index, what) in cases {
        let log = eventful();
        log.tamper(sql);
        let problems = fsck(&log, false).problems;
        let found = problems.iter().any(|p| p.index == Some(index) && p.what.contains(what));
        assert!(found, "{sql}: {problems:#?}");
    }
}

#[test]
fn openings_of_other_rows_are_found() {
    let log = filled();
    log.tamper(
        "UPDATE openings SET salt = (SELECT salt FROM openings WHERE log_index = 8), \
         nonce = (SELECT nonce FROM openings WHERE log_index = 8), \
         ciphertext = (SELECT ciphertext FROM openings WHERE log_index = 8) WHERE log_index = 7",
    );
    let report = fsck(&log, true);
    assert_eq!((report.problems_total, report.problems[0].index), (1, Some(7)));
}

#[test]
fn checkpoints_are_of_the_tree_that_they_sign() {
    // A good signature of the log key under another root, stored as it was signed.
    let log = filled();
    let origin =
        Records::open(&log.database().into(), None, log.clock.clone()).unwrap().settings().log_origin.clone();
    let other = Checkpoint { origin, size: 9, root: RootHash::from_bytes([7; 32]) };
    let note = other.sign(log.keys().log.as_ref()).unwrap();
    log.tamper(&format!(
        "INSERT INTO checkpoints SELECT tenant, 9, '{}', CAST('{note}' AS BLOB), created_at FROM checkpoints WHERE size = 302",
        other.root
    ));
    let problems = fsck(&log, false).problems;
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_eq!(problems[0].what, "the checkpoint of size 9 is not of this log: its root differs");
}

#[test]
fn a_missing_memory_is_a_problem() {
    let log = filled();
    fs::remove_file(log.home().checkpoint()).unwrap();
    assert!(fsck(&log, false).problems[0].what.contains("is missing"));
}

#[test]
fn another_root_is_a_problem() {
    let log = filled();
    use chancery_core::key::Signer;
    let stranger = chancery_core::key::SigningKey::generate_ed25519([1; 32]);
    let root = RootPub::new(vec![stranger.public_key().clone()], 1).unwrap();
    let records = Records::open(&log.database().into(), None, log.clock.clone()).unwrap();
    let request = FsckRequest { root: &root, keys: None, checkpoint: None, full: true };
    let report = records.fsck(&request, |_, _| {}).unwrap();
    assert!(report.problems[0].what.contains("keyring"), "{:?}", report.problems);
    assert_eq!(report.left_out.len(), 1);
}
