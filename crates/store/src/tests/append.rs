//! The log writer: numbering, idempotency, conflicts, admission, many submitters.

use std::collections::BTreeSet;
use std::sync::Arc;

use chancery_core::key::Signer as _;
use chancery_core::keyring::Standing;
use chancery_core::log::Kind;

use super::support::{Fixture, Hold, at, bundle, check_log, fingerprint, on_each_database, options, sql};
use crate::{Appended, Body, OnStep, Rejected, Step, Store, StoreError, SubmitError};

fn rejected(answer: Result<Appended, SubmitError>) -> Rejected {
    match answer {
        Err(SubmitError::Rejected(rejected)) => rejected,
        other => panic!("not rejected: {other:?}"),
    }
}

fn a_repeat_gets_the_recorded_decision_and_other_inputs_a_conflict(fixture: Fixture) {
    let store = fixture.begun();
    let entry = fixture.decision("c-1", "a");
    let Appended::New { index: 2, leaf_hash, .. } = store.submit_blocking(entry.clone()).unwrap() else {
        panic!("not new");
    };
    let mut repeat = fixture.decision("c-1", "a");
    repeat.payload = b"{\"signed\":\"later\"}".to_vec();
    let Appended::Known(record) = store.submit_blocking(repeat).unwrap() else { panic!("not known") };
    assert_eq!((record.entry.index, record.entry.leaf_hash), (2, leaf_hash));
    assert_eq!(record.entry.payload, entry.payload);
    assert_eq!(record.entry.signatures, entry.signatures);

    let conflict = rejected(store.submit_blocking(fixture.decision("c-1", "b")));
    assert!(
        matches!(conflict, Rejected::Execution { recorded, index: 2, .. } if recorded == fingerprint("a")),
        "{conflict:?}"
    );

    drop(store);
    let store = fixture.open();
    assert!(matches!(store.submit_blocking(fixture.decision("c-1", "a")), Ok(Appended::Known(_))));
    assert!(matches!(
        rejected(store.submit_blocking(fixture.decision("c-1", "b"))),
        Rejected::Execution { .. }
    ));
    assert_eq!(check_log(&store), 3);
}

/// Submits `entries` so that they are in one batch, behind a decision at index 2.
fn in_one_batch(
    fixture: &Fixture,
    entries: Vec<crate::NewEntry>,
) -> (Store, Vec<Result<Appended, SubmitError>>) {
    let hold = Hold::default();
    let gate = hold.clone();
    let store = fixture.open_with(move |step| {
        gate.pass(step);
        OnStep::Go
    });
    hold.close();
    let first = store.enqueue_blocking(fixture.decision("first-of-all", "x")).unwrap();
    hold.wait_until_held();
    let tickets: Vec<_> = entries.into_iter().map(|entry| store.enqueue_blocking(entry).unwrap()).collect();
    hold.open();
    first.wait().unwrap();
    let answers = tickets.into_iter().map(crate::Ticket::wait).collect();
    check_log(&store);
    (store, answers)
}

fn repeats_and_conflicts_within_a_batch_leave_the_others_alone(fixture: Fixture) {
    drop(fixture.begun());
    let mut stale = fixture.decision("c-4", "d");
    if let Body::Decision(decision) = &mut stale.body {
        decision.bundle_hash = bundle("1.1.0").bundle_hash;
    }
    let (_, answers) = in_one_batch(
        &fixture,
        vec![
            fixture.decision("c-1", "a"),
            fixture.decision("c-1", "a"),
            fixture.decision("c-1", "b"),
            stale,
            fixture.decision("c-2", "c"),
            fixture.decision("c-1", "a"),
        ],
    );
    assert!(matches!(answers[0], Ok(Appended::New { index: 3, .. })), "{answers:?}");
    assert!(matches!(&answers[1], Ok(Appended::Known(record)) if record.entry.index == 3));
    assert!(matches!(&answers[2], Err(SubmitError::Rejected(Rejected::Execution { index: 3, .. }))));
    assert!(matches!(&answers[3], Err(SubmitError::Rejected(Rejected::Stale { in_force: Some(it), .. }))
        if it.bundle_hash == bundle("1.0.0").bundle_hash && it.index == 1));
    assert!(matches!(answers[4], Ok(Appended::New { index: 4, .. })));
    assert!(matches!(&answers[5], Ok(Appended::Known(record)) if record.entry.index == 3));
}

fn an_activation_rules_the_decisions_behind_it_in_its_batch(fixture: Fixture) {
    drop(fixture.begun());
    let old = fixture.decision("c-1", "a");
    let new = fixture.decision_by("c-2", "b", |decision| {
        decision.policy_version = "1.1.0".parse().unwrap();
        decision.bundle_hash = bundle("1.1.0").bundle_hash;
    });
    let (_, answers) = in_one_batch(
        &fixture,
        vec![fixture.activation("1.1.0", Some("1.0.0")), old, new, fixture.decision("first-of-all", "x")],
    );
    assert!(matches!(answers[0], Ok(Appended::New { index: 3, .. })), "{answers:?}");
    assert!(matches!(answers[1], Err(SubmitError::Rejected(Rejected::Stale { .. }))));
    assert!(matches!(answers[2], Ok(Appended::New { index: 4, .. })));
    // A repeat gets its first answer, though its bundle is no longer in force.
    assert!(matches!(&answers[3], Ok(Appended::Known(record)) if record.entry.index == 2));
}

fn records_that_a_verifier_would_refuse_are_rejected(fixture: Fixture) {
    let store = fixture.create();
    let early = rejected(store.submit_blocking(fixture.decision("c-1", "a")));
    assert!(matches!(early, Rejected::NoKeyring), "{early:?}");
    fixture.begin(&store);

    let mut entry = fixture.decision("c-1", "a");
    entry.signatures[0].keyid = fixture.root.public_key().key_id().clone();
    let unknown = rejected(store.submit_blocking(entry));
    assert!(matches!(unknown, Rejected::Key { standing: Standing::Unknown, .. }), "{unknown:?}");

    let mut entry = fixture.decision("c-1", "a");
    entry.signatures[0].keyid = fixture.policy.public_key().key_id().clone();
    let role = rejected(store.submit_blocking(entry));
    assert!(matches!(role, Rejected::Key { standing: Standing::Role, .. }), "{role:?}");

    let mut entry = fixture.decision("c-1", "a");
    entry.claimed_at = at(1_000_001);
    let validity = rejected(store.submit_blocking(entry));
    assert!(matches!(validity, Rejected::Key { standing: Standing::Validity, .. }), "{validity:?}");

    for got in [0, 2] {
        let mut entry = fixture.decision("c-1", "a");
        entry.signatures = vec![entry.signatures[0].clone(); got];
        let rejected = rejected(store.submit_blocking(entry));
        assert!(matches!(rejected, Rejected::Signatures { got: found } if found == got), "{rejected:?}");
    }

    let mut entry = fixture.decision("c-1", "a");
    entry.claimed_at = at(100);
    store.submit_blocking(entry).unwrap();
    let mut entry = fixture.decision("c-2", "b");
    entry.claimed_at = at(70);
    assert!(store.submit_blocking(entry.clone()).is_ok());
    let mut entry = fixture.decision("c-3", "c");
    entry.claimed_at = at(69);
    let clock = rejected(store.submit_blocking(entry.clone()));
    assert!(matches!(clock, Rejected::Clock { newest, .. } if newest == at(100)), "{clock:?}");
    // The newest time is known after a restart as well.
    drop(store);
    let store = fixture.open();
    assert!(matches!(rejected(store.submit_blocking(entry)), Rejected::Clock { .. }));

    let mut other = fixture.decision_by("c-4", "d", |decision| decision.policy_id = "loans".parse().unwrap());
    other.claimed_at = at(100);
    let stale = rejected(store.submit_blocking(other));
    assert!(matches!(stale, Rejected::Stale { in_force: None, .. }), "{stale:?}");
    assert_eq!(check_log(&store), 4);
}

fn an_activation_goes_on_from_what_is_in_force_and_is_posted_once(fixture: Fixture) {
    let store = fixture.begun();
    let again = rejected(store.submit_blocking(fixture.activation("1.0.0", None)));
    assert!(matches!(again, Rejected::Recorded { index: 1, .. }), "{again:?}");
    let wrong = rejected(store.submit_blocking(fixture.activation("1.1.0", None)));
    assert!(matches!(&wrong, Rejected::Previous { in_force: Some(it), .. } if it.index == 1), "{wrong:?}");
    let wrong = rejected(store.submit_blocking(fixture.activation("1.0.0", Some("1.1.0"))));
    assert!(matches!(wrong, Rejected::Previous { .. }), "{wrong:?}");
    let unpublished = rejected(store.submit_blocking(fixture.activation("9.9.9", Some("1.0.0"))));
    assert!(matches!(unpublished, Rejected::NotPublished { .. }), "{unpublished:?}");
    store.submit_blocking(fixture.activation("1.1.0", Some("1.0.0"))).unwrap();
    store.submit_blocking(fixture.activation("1.0.0", Some("1.1.0"))).unwrap();
    drop(store);
    let store = fixture.open();
    let again = rejected(store.submit_blocking(fixture.activation("1.1.0", Some("1.0.0"))));
    assert!(matches!(again, Rejected::Recorded { index: 2, .. }), "{again:?}");
    let history = store.read(|reader| reader.activations(Some(&"claims".parse().unwrap()))).unwrap();
    let versions: Vec<_> = history.iter().map(|row| (row.index, row.policy_version.to_string())).collect();
    assert_eq!(versions, [(1, "1.0.0".into()), (2, "1.1.0".into()), (3, "1.0.0".into())]);
    assert_eq!(store.read(|reader| reader.in_force()).unwrap()[&"claims".parse().unwrap()].index, 3);
}

fn a_keyring_version_extends_the_one_before(fixture: Fixture) {
    let store = fixture.begun();
    let first = store.read(|reader| reader.entry(0)).unwrap().unwrap();
    let skipped = rejected(store.submit_blocking(fixture.keyring(3, Some(first.record_id))));
    assert!(matches!(skipped, Rejected::Keyring(_)), "{skipped:?}");
    let forged = {
        let mut entry = fixture.keyring(2, Some(first.record_id));
        entry.signatures[0].sig.0[5] ^= 1;
        rejected(store.submit_blocking(entry))
    };
    assert!(matches!(forged, Rejected::Keyring(_)), "{forged:?}");
    let columns = {
        let mut entry = fixture.keyring(2, Some(first.record_id));
        if let Body::Keyring(row) = &mut entry.body {
            row.version = 7;
        }
        rejected(store.submit_blocking(entry))
    };
    assert!(matches!(columns, Rejected::Columns), "{columns:?}");
    store.submit_blocking(fixture.keyring(2, Some(first.record_id))).unwrap();
    drop(store);
    let store = fixture.open();
    let versions = store.read(|reader| reader.keyring_versions()).unwrap();
    assert_eq!(versions.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 2]);
    let keyring = store.read(|reader| reader.keyring()).unwrap().unwrap();
    assert_eq!(keyring.newest().predicate().version, 2);
}

fn ten_thousand_decisions_make_the_tree_that_core_makes(fixture: Fixture) {
    let store = fixture.begun();
    let tickets: Vec<_> = (0..10_000)
        .map(|number| {
            store.enqueue_blocking(fixture.decision(&format!("c-{number}"), &number.to_string())).unwrap()
        })
        .collect();
    for (ticket, index) in tickets.into_iter().zip(2..) {
        assert_eq!(ticket.wait().unwrap().index(), index);
    }
    assert_eq!(check_log(&store), 10_002);
    let kinds: Vec<Kind> =
        store.read(|reader| reader.entries(0..4)).unwrap().iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [Kind::Keyring, Kind::Activation, Kind::Decision, Kind::Decision]);
    drop(store);
    // Head, tiles and leaves are compared when the store is opened.
    assert_eq!(check_log(&fixture.open()), 10_002);
}

fn concurrent_submitters_get_indexes_without_gaps(fixture: Fixture) {
    let store = Arc::new(fixture.begun());
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let store = Arc::clone(&store);
            // Every execution id comes from two threads.
            let entries: Vec<_> = (0..50)
                .map(|number| fixture.decision(&format!("c-{}-{number}", thread / 2), &number.to_string()))
                .collect();
            std::thread::spawn(move || {
                entries.into_iter().map(|entry| store.submit_blocking(entry).unwrap()).collect::<Vec<_>>()
            })
        })
        .collect();
    let answers: Vec<Appended> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let new: BTreeSet<u64> =
        answers.iter().filter(|answer| matches!(answer, Appended::New { .. })).map(Appended::index).collect();
    assert_eq!(new, (2..202).collect());
    assert_eq!(answers.len(), 400);
    assert_eq!(check_log(&store), 202);
}

fn the_head_is_told_after_each_commit(fixture: Fixture) {
    let store = fixture.begun();
    let head = store.subscribe().unwrap();
    assert_eq!(head.borrow().size, 2);
    store.submit_blocking(fixture.decision("c-1", "a")).unwrap();
    assert_eq!(*head.borrow(), store.read(|reader| reader.head()).unwrap());
}

fn a_failing_transaction_fails_its_batch_alone(fixture: Fixture) {
    drop(fixture.begun());
    for failing in [Step::Begun, Step::RowInserted, Step::EntryInserted, Step::TilesInserted, Step::HeadMoved]
    {
        let fail = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let once = Arc::clone(&fail);
        let store = fixture.open_with(move |step| {
            let fails = step == failing && once.swap(false, std::sync::atomic::Ordering::SeqCst);
            if fails { OnStep::Fail } else { OnStep::Go }
        });
        let before = store.read(|reader| reader.head()).unwrap();
        let id = format!("c-{failing:?}");
        let failed = store.submit_blocking(fixture.decision(&id, "a"));
        assert!(
            matches!(&failed, Err(SubmitError::Store(error)) if matches!(**error, StoreError::Stopped)),
            "{failed:?}"
        );
        assert_eq!(store.read(|reader| reader.head()).unwrap(), before);
        assert!(store.read(|reader| reader.decision(&id.parse().unwrap())).unwrap().is_none());
        // The writer goes on, from the database's state.
        assert_eq!(store.submit_blocking(fixture.decision(&id, "a")).unwrap().index(), before.size);
        check_log(&store);
    }
}

/// SQLite has ended the transaction by then, so there is none to roll back: what is told is why.
#[test]
fn a_row_that_sqlite_refuses_takes_its_batch_along_and_the_writer_goes_on() {
    let fixture = Fixture::new();
    drop(fixture.begun());
    let in_the_way = "INSERT INTO log_entries SELECT tenant, 4, kind, record_id, leaf_hash, claimed_at, recorded_at, \
                      keyid, signature, payload FROM log_entries WHERE log_index = 1";
    sql(&fixture.path(), in_the_way).unwrap();
    let decisions = [fixture.decision("c-1", "a"), fixture.decision("c-2", "b")];
    let (store, answers) = in_one_batch(&fixture, decisions.to_vec());
    for answer in answers {
        let Err(SubmitError::Store(error)) = answer else { panic!("{answer:?}") };
        let cause = std::error::Error::source(&*error).unwrap().to_string();
        assert!(cause.contains("UNIQUE constraint failed: log_entries"), "{error}: {cause}");
    }
    store
        .read(|reader| {
            assert_eq!(reader.head()?.size, 3);
            assert!(reader.decision(&"c-1".parse().unwrap())?.is_none());
            assert!(reader.decision(&"c-2".parse().unwrap())?.is_none());
            assert!(reader.entry(3)?.is_none() && reader.opening(3)?.is_none());
            Ok(())
        })
        .unwrap();
    let gone = "DROP TRIGGER log_entries_no_delete; DELETE FROM log_entries WHERE log_index = 4";
    sql(&fixture.path(), gone).unwrap();
    for (decision, index) in decisions.into_iter().zip(3..) {
        assert_eq!(store.submit_blocking(decision).unwrap().index(), index);
    }
    assert_eq!(check_log(&store), 5);
}

#[test]
fn a_head_that_someone_else_has_moved_stops_the_writer() {
    let fixture = Fixture::new();
    let store = fixture.begun();
    store.submit_blocking(fixture.decision("c-1", "a")).unwrap();
    sql(&fixture.path(), "UPDATE log_head SET size = size + 1").unwrap();
    let failed = store.submit_blocking(fixture.decision("c-2", "b"));
    assert!(matches!(&failed, Err(SubmitError::Store(error)) if error.class() == crate::Class::Corrupt));
    // And it stays so: nothing is recorded on top of it.
    let failed = store.submit_blocking(fixture.decision("c-2", "b"));
    assert!(matches!(&failed, Err(SubmitError::Store(error)) if error.class() == crate::Class::Corrupt));
    drop(store);
    let opened = Store::open(&fixture.path(), options());
    assert!(matches!(opened, Err(StoreError::Corrupt { table: "log_entries", .. })), "{:?}", opened.err());
}

fn a_payload_beyond_the_limit_is_the_callers_fault(fixture: Fixture) {
    let store = fixture.begun();
    let mut entry = fixture.decision("c-1", "a");
    entry.payload = vec![b' '; crate::PAYLOAD_BYTES_MAX + 1];
    let failed = store.submit_blocking(entry);
    assert!(matches!(&failed, Err(SubmitError::Store(error)) if error.class() == crate::Class::Caller));
}

on_each_database!(
    a_repeat_gets_the_recorded_decision_and_other_inputs_a_conflict,
    repeats_and_conflicts_within_a_batch_leave_the_others_alone,
    an_activation_rules_the_decisions_behind_it_in_its_batch,
    records_that_a_verifier_would_refuse_are_rejected,
    an_activation_goes_on_from_what_is_in_force_and_is_posted_once,
    a_keyring_version_extends_the_one_before,
    ten_thousand_decisions_make_the_tree_that_core_makes,
    concurrent_submitters_get_indexes_without_gaps,
    the_head_is_told_after_each_commit,
    a_failing_transaction_fails_its_batch_alone,
    a_payload_beyond_the_limit_is_the_callers_fault,
);
