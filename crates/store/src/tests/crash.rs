//! The process dies at each named step of the write path and the store is opened again, as after any start.
//!
//! The dying is done in a process of its own: the test program runs itself with one test and an environment
//! variable, the hook aborts, and the parent looks at what is left.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::support::{Fixture, check_log, options};
use crate::{OnStep, Step, Store};

const CRASH: &str = "CHANCERY_STORE_TEST_CRASH";

/// Records of the child; large enough that the write-ahead log is worth moving.
const RECORDS: usize = 60;

fn inputs(number: usize) -> String {
    format!("{number} {}", "x".repeat(100_000))
}

/// Does nothing unless the test below runs it in a process of its own.
#[test]
fn crash_child() {
    let Ok(told) = std::env::var(CRASH) else { return };
    let (step, path) = told.split_once(' ').unwrap();
    let step = Step::ALL.into_iter().find(|it| format!("{it:?}") == step).unwrap();
    let armed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&armed);
    let mut options = options();
    options.hook = Some(Arc::new(move |at| {
        if at == step && (seen.load(Ordering::SeqCst) || at == Step::Checkpointing) {
            std::process::abort();
        }
        OnStep::Go
    }));
    let store = Store::open(&PathBuf::from(path), options).unwrap();
    let fixture = Fixture::new();
    let mut out = std::io::stdout();
    let mut told = |number: usize| {
        writeln!(out, "\nanswered {number}").unwrap();
        out.flush().unwrap();
    };
    for number in 0..5 {
        store.submit_blocking(fixture.decision(&format!("c-{number}"), &inputs(number))).unwrap();
        told(number);
    }
    armed.store(true, Ordering::SeqCst);
    let tickets: Vec<_> = (5..RECORDS)
        .map(|number| {
            (number, store.enqueue_blocking(fixture.decision(&format!("c-{number}"), &inputs(number))))
        })
        .collect();
    for (number, ticket) in tickets {
        ticket.unwrap().wait().unwrap();
        told(number);
    }
    // The checkpointer comes later.
    std::thread::sleep(std::time::Duration::from_secs(20));
}

#[test]
fn a_crash_at_any_step_loses_no_answer_and_leaves_no_half() {
    for step in Step::ALL {
        let fixture = Fixture::new();
        drop(fixture.begun());
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::crash::crash_child", "--nocapture"])
            .env(CRASH, format!("{step:?} {}", fixture.path().display()))
            // What it makes of its own goes with the folder of this one: it cannot clean up.
            .env("TMPDIR", fixture.path().parent().unwrap())
            .output()
            .unwrap();
        assert!(!output.status.success(), "{step:?}: nothing crashed");
        let text = String::from_utf8_lossy(&output.stdout);
        let answered: Vec<usize> = text
            .lines()
            .filter_map(|line| line.strip_prefix("answered "))
            .map(|number| number.parse().unwrap())
            .collect();
        assert!(answered.len() >= if step == Step::Checkpointing { 0 } else { 5 }, "{step:?}: {output:?}");

        let store = fixture.open();
        let size = usize::try_from(check_log(&store)).unwrap();
        let present = |number: usize| {
            let id = format!("c-{number}").parse().unwrap();
            store.read(|reader| reader.decision(&id)).unwrap().is_some()
        };
        // The queue is a queue: what is there is a beginning of what was handed in.
        let recorded = size - 2;
        for number in 0..RECORDS {
            assert_eq!(present(number), number < recorded, "{step:?}: {number} of {recorded}");
        }
        assert!(answered.iter().all(|number| *number < recorded), "{step:?}: an answer was lost");
        match step {
            Step::Taken | Step::Begun | Step::RowInserted | Step::EntryInserted => {
                assert_eq!(recorded, 5, "{step:?}");
            }
            Step::TilesInserted | Step::HeadMoved => assert_eq!(recorded, 5, "{step:?}"),
            Step::Committed => assert!(recorded > 5, "{step:?}"),
            // The fifth answer may be there before its batch has come to this step.
            Step::Answered => assert!(recorded >= 5, "{step:?}"),
            Step::Checkpointing => {}
        }
        // Everything is handed in again: what was recorded is known, the rest is new.
        for number in 0..RECORDS {
            let answer =
                store.submit_blocking(fixture.decision(&format!("c-{number}"), &inputs(number))).unwrap();
            assert_eq!(answer.index(), u64::try_from(number + 2).unwrap(), "{step:?}");
        }
        assert_eq!(check_log(&store), u64::try_from(RECORDS + 2).unwrap());
    }
}

#[test]
fn a_crash_while_the_store_is_made_is_finished_by_the_next_init() {
    let fixture = Fixture::new();
    // Everything but the settings' row: the migration has run, the rest has not.
    let mut connection =
        crate::connection::establish(&fixture.path(), crate::connection::Purpose::Create, 1_000).unwrap();
    crate::connection::execute(
        &mut connection,
        "test",
        &format!("PRAGMA application_id={}", crate::connection::APPLICATION_ID),
    )
    .unwrap();
    drop(connection);
    let unfinished = Store::open(&fixture.path(), options()).err().unwrap();
    assert!(matches!(unfinished, crate::StoreError::NotThere { .. }), "{unfinished:?}");
    fixture.begin(&fixture.create());
    assert_eq!(check_log(&fixture.open()), 2);
}
