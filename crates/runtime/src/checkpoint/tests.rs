//! What is signed, and what never is.

use super::memory::Memory;
use super::*;
use crate::failure::{Cause, Failure};
use crate::records::Records;
use crate::testing::{TestLog, caller, request};
use std::fs;

fn decide(runtime: &Runtime, id: &str) {
    runtime.execute_blocking(&caller(), &request(id, "1", "0.1")).unwrap();
}

#[test]
fn the_newest_head_is_signed_and_remembered() {
    let log = TestLog::new();
    let runtime = log.open();
    let first = runtime.publish_checkpoint().unwrap().unwrap();
    assert_eq!(runtime.publish_checkpoint().unwrap().unwrap(), first);
    for number in 0..300 {
        decide(&runtime, &format!("e-{number}"));
    }
    let second = runtime.publish_checkpoint().unwrap().unwrap();
    assert_eq!(second.checkpoint().size, first.checkpoint().size + 300);
    second.verify(runtime.log_key(), &runtime.settings().log_origin).unwrap();
    let proof =
        runtime.records().consistency(first.checkpoint().size, Some(second.checkpoint().size)).unwrap();
    chancery_core::merkle::verify_consistency(
        proof.from,
        &first.checkpoint().root,
        proof.to,
        &second.checkpoint().root,
        &proof.hashes,
    )
    .unwrap();
    assert_eq!(runtime.records().checkpoint().unwrap().unwrap().note, second.to_string());
    drop(runtime);
    assert_eq!(log.open().publish_checkpoint().unwrap().unwrap(), second);
}

#[test]
fn a_crash_between_file_and_database_is_made_good() {
    let log = TestLog::new();
    let runtime = log.open();
    decide(&runtime, "e-1");
    let signed = runtime.publish_checkpoint().unwrap().unwrap();
    drop(runtime);
    log.tamper(&format!("DELETE FROM checkpoints WHERE size = {}", signed.checkpoint().size));
    let runtime = log.open();
    assert_eq!(runtime.publish_checkpoint().unwrap().unwrap(), signed);
    assert_eq!(runtime.records().checkpoint().unwrap().unwrap().note, signed.to_string());
}

#[test]
fn a_missing_memory_is_refused_while_the_database_has_checkpoints() {
    let log = TestLog::new();
    fs::remove_file(log.home().checkpoint()).unwrap();
    let error = log.try_open().unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Refused, "checkpoint.missing"));
    assert!(error.to_string().contains("fsck --full"), "{error}");
}

#[test]
fn a_damaged_memory_is_refused() {
    let log = TestLog::new();
    let path = log.home().checkpoint().to_owned();
    let good = fs::read_to_string(&path).unwrap();
    for bad in [
        String::new(),
        good[..good.len() - 1].to_owned(),
        good.replace("log.example.com", "log.example.org"),
        good.replace("\"frontier\":[", "\"frontier\":[\"00\","),
        good.replace("\\n2\\n", "\\n3\\n"),
    ] {
        assert_ne!(bad, good);
        fs::write(&path, bad).unwrap();
        assert_eq!(log.try_open().unwrap_err().code(), "checkpoint.broken");
    }
}

#[test]
fn an_older_database_is_refused() {
    let log = TestLog::new();
    let old = fs::read(log.database()).unwrap();
    let runtime = log.open();
    decide(&runtime, "e-1");
    runtime.publish_checkpoint().unwrap();
    drop(runtime);
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", log.database().display()));
    }
    fs::write(log.database(), old).unwrap();
    let error = log.try_open().unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Corrupt, "checkpoint.ahead"));
    assert!(error.to_string().contains("never gets shorter"), "{error}");
}

#[test]
fn a_fork_is_never_signed() {
    let log = TestLog::new();
    let other = TestLog::new();
    let runtime = log.open();
    decide(&runtime, "e-1");
    runtime.publish_checkpoint().unwrap();
    drop(runtime);
    // The same log, gone on in another way: of the same size, and longer.
    let forked = other.open();
    decide(&forked, "e-2");
    forked.publish_checkpoint().unwrap();
    drop(forked);
    let memory = fs::read(log.home().checkpoint()).unwrap();
    fs::write(other.home().checkpoint(), &memory).unwrap();
    assert_eq!(other.try_open().unwrap_err().code(), "checkpoint.fork");

    let third = TestLog::new();
    let forked = third.open();
    decide(&forked, "e-2");
    decide(&forked, "e-3");
    drop(forked);
    fs::write(third.home().checkpoint(), &memory).unwrap();
    let runtime = third.open();
    let error = runtime.publish_checkpoint().unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Corrupt, "checkpoint.fork"));
    assert_eq!(fs::read(third.home().checkpoint()).unwrap(), memory);
}

#[test]
fn an_edited_head_is_never_signed() {
    let log = TestLog::new();
    let runtime = log.open();
    decide(&runtime, "e-1");
    log.tamper(&format!("UPDATE log_head SET root_hash = '{}'", "0".repeat(64)));
    assert!(runtime.publish_checkpoint().is_err());
}

/// The log with one decision that is signed for, and the memory of a node that was away meanwhile.
fn with_an_older_memory() -> (TestLog, SignedCheckpoint, Vec<u8>) {
    let log = TestLog::new();
    let older = fs::read(log.home().checkpoint()).unwrap();
    let runtime = log.open();
    decide(&runtime, "e-1");
    let signed = runtime.publish_checkpoint().unwrap().unwrap();
    drop(runtime);
    (log, signed, older)
}

#[test]
fn a_node_that_was_away_follows_what_another_has_signed() {
    let (log, signed, older) = with_an_older_memory();
    let path = log.home().checkpoint().to_owned();
    fs::write(&path, older).unwrap();
    let runtime = log.open();
    runtime.follow_checkpoints().unwrap();
    assert_eq!(remembered(&path).unwrap().unwrap(), signed.to_string());
    decide(&runtime, "e-2");
    let next = runtime.publish_checkpoint().unwrap().unwrap();
    assert_eq!(next.checkpoint().size, signed.checkpoint().size + 1);
    // What is followed needs no key and signs nothing.
    decide(&runtime, "e-3");
    runtime.follow_checkpoints().unwrap();
    assert_eq!(remembered(&path).unwrap().unwrap(), next.to_string());
}

#[test]
fn a_node_signs_nothing_that_contradicts_what_another_has_signed() {
    let (_, signed, older) = with_an_older_memory();
    // The same log, gone on in another way past what the other node has signed; the memory does not know of either.
    let forked = TestLog::new();
    let runtime = forked.open();
    decide(&runtime, "e-2");
    decide(&runtime, "e-3");
    drop(runtime);
    let checkpoint = signed.checkpoint();
    forked.tamper(&format!(
        "INSERT INTO checkpoints VALUES ('acme', {}, '{}', CAST('{signed}' AS BLOB), '2026-03-01T10:00:00.000000Z')",
        checkpoint.size, checkpoint.root
    ));
    let path = forked.home().checkpoint().to_owned();
    fs::write(&path, &older).unwrap();
    let runtime = forked.open();
    for refused in [runtime.publish_checkpoint().map(drop), runtime.follow_checkpoints()] {
        let error = refused.unwrap_err();
        assert_eq!((error.whose(), error.code()), (Cause::Corrupt, "checkpoint.fork"));
    }
    assert_eq!(fs::read(path).unwrap(), older);
}

#[test]
fn a_checkpoint_that_no_log_key_signed_is_not_followed() {
    let (log, _, older) = with_an_older_memory();
    log.tamper(
        "UPDATE checkpoints SET note = CAST(replace(CAST(note AS TEXT), '— ', '— x') AS BLOB) WHERE size > 2",
    );
    fs::write(log.home().checkpoint(), older).unwrap();
    assert_eq!(log.try_open().unwrap_err().code(), "checkpoint.broken");
}

#[test]
fn a_memory_is_adopted_with_a_checkpoint_that_somebody_else_holds() {
    let (log, signed, older) = with_an_older_memory();
    let path = log.home().checkpoint().to_owned();
    let held: Memory = serde_json::from_slice(&older).unwrap();
    let runtime = log.open();
    decide(&runtime, "e-2");
    let root = runtime.root_pub().clone();
    drop(runtime);
    let adopt = |held: Option<&str>| {
        let records = Records::open(&log.database().into(), None, log.clock.clone()).unwrap();
        adopt(&records, &root, &path, held)
    };
    assert!(matches!(adopt(None), Err(CheckpointError::There { .. })));
    fs::remove_file(&path).unwrap();
    for held in [held.checkpoint.as_str(), &signed.to_string()] {
        let adopted = adopt(Some(held)).unwrap();
        assert_eq!(adopted.size, signed.checkpoint().size);
        assert_eq!(remembered(&path).unwrap().unwrap(), signed.to_string());
        drop(log.open());
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(adopt(None).unwrap().held, None);
    assert!(log.open().publish_checkpoint().unwrap().unwrap().checkpoint().size > signed.checkpoint().size);
}

#[test]
fn a_log_that_is_not_the_one_somebody_else_knows_is_not_adopted() {
    let (log, signed, _) = with_an_older_memory();
    let runtime = log.open();
    decide(&runtime, "e-2");
    let newer = runtime.publish_checkpoint().unwrap().unwrap().to_string();
    let root = runtime.root_pub().clone();
    drop(runtime);
    let other = TestLog::new();
    let runtime = other.open();
    decide(&runtime, "e-7");
    runtime.publish_checkpoint().unwrap();
    drop(runtime);
    let path = other.home().checkpoint().to_owned();
    fs::remove_file(&path).unwrap();
    let records = Records::open(&other.database().into(), None, other.clock.clone()).unwrap();
    for (held, code) in [
        (signed.to_string(), "checkpoint.fork"),
        (newer.clone(), "checkpoint.ahead"),
        (newer.replace("log.example.com", "log.example.org"), "checkpoint.broken"),
        ("no note".to_owned(), "checkpoint.broken"),
    ] {
        assert_eq!(adopt(&records, &root, &path, Some(&held)).unwrap_err().code(), code, "{held}");
        assert!(!path.exists());
    }
}

/// A publisher of its own, as another process with the same folder has one.
fn beside(runtime: &Runtime) -> Publisher {
    let inner = &runtime.inner;
    let keyring = inner.newest_keyring().unwrap();
    Publisher::open(inner.publisher.lock().unwrap().path.as_path(), &inner.store, &inner.settings, &keyring)
        .unwrap()
}

#[test]
fn two_processes_in_one_folder_share_a_memory_that_never_goes_back() {
    let log = TestLog::new();
    let runtime = log.open();
    let home = log.home();
    let size_of = |note: &str| SignedCheckpoint::parse_unverified(note).unwrap().checkpoint().size;
    std::thread::scope(|scope| {
        for process in 0..2 {
            let (runtime, path) = (&runtime, home.checkpoint());
            scope.spawn(move || {
                let mut publisher = beside(runtime);
                for number in 0..40 {
                    decide(runtime, &format!("e-{process}-{number}"));
                    let signed = runtime.inner.publish_with(&mut publisher).unwrap().unwrap();
                    let there = remembered(path).unwrap().unwrap();
                    assert!(size_of(&there) >= signed.checkpoint().size, "{there}");
                }
            });
        }
    });
    let last = runtime.publish_checkpoint().unwrap().unwrap();
    assert_eq!(last.checkpoint().size, 2 + 80);
    assert_eq!(remembered(home.checkpoint()).unwrap().unwrap(), last.to_string());
}

#[test]
fn a_slower_process_goes_on_from_what_a_faster_one_has_put_there() {
    let log = TestLog::new();
    let runtime = log.open();
    let mut slower = beside(&runtime);
    decide(&runtime, "e-1");
    let signed = runtime.publish_checkpoint().unwrap().unwrap();
    // The database is put back behind what the file knows, and this process does not know by itself.
    log.tamper("DELETE FROM checkpoints WHERE size > 2");
    let (inner, keyring) = (&runtime.inner, runtime.inner.newest_keyring().unwrap());
    slower.follow(&inner.store, &inner.settings, &keyring).unwrap();
    assert_eq!(slower.size(), signed.checkpoint().size);
    // A file of the same size that says something else is a fork, whoever wrote it.
    let other = TestLog::new();
    let forked = other.open();
    decide(&forked, "e-2");
    forked.publish_checkpoint().unwrap();
    fs::copy(other.home().checkpoint(), log.home().checkpoint()).unwrap();
    let before = fs::read(log.home().checkpoint()).unwrap();
    let error = inner.publish_with(&mut slower).unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Corrupt, "checkpoint.fork"));
    assert_eq!(fs::read(log.home().checkpoint()).unwrap(), before);
}

#[test]
fn a_checkpoint_of_the_same_size_with_another_root_is_a_fork_on_a_running_node() {
    let (_, signed, _) = with_an_older_memory();
    let log = TestLog::new();
    let runtime = log.open();
    decide(&runtime, "e-2");
    let own = runtime.publish_checkpoint().unwrap().unwrap();
    let other = signed.checkpoint();
    assert_eq!(own.checkpoint().size, other.size);
    log.tamper(&format!(
        "UPDATE checkpoints SET root_hash = '{}', note = CAST('{signed}' AS BLOB) WHERE size = {}",
        other.root, other.size
    ));
    for refused in [runtime.follow_checkpoints(), runtime.publish_checkpoint().map(drop)] {
        let error = refused.unwrap_err();
        assert_eq!((error.whose(), error.code()), (Cause::Corrupt, "checkpoint.fork"));
    }
    assert_eq!(remembered(log.home().checkpoint()).unwrap().unwrap(), own.to_string());
}
