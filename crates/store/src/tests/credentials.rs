//! API keys, their revocations and security events, on both databases.

use chancery_core::digest::{Digest, sha256};

use super::support::{Fixture, at, on_each_database, options};
use crate::{
    ApiKeyRow, EventKind, Location, Revocation, SecurityEventFilter, SecurityEventRow, Store, StoreError,
};

fn key(id: &str, expires: i64) -> ApiKeyRow {
    ApiKeyRow {
        key_id: id.repeat(16),
        principal: "claims-core".to_owned(),
        roles: "submitter reader".to_owned(),
        hash: Digest::from_bytes(sha256(id.as_bytes())),
        label: (id == "a").then(|| "the first".to_owned()),
        created_at: at(0),
        created_by: "ops".to_owned(),
        not_before: (id == "b").then(|| at(5)),
        expires_at: at(expires),
        revocation: None,
    }
}

fn revoked(at_second: i64, from: i64) -> Revocation {
    Revocation { revoked_at: at(at_second), effective_at: at(from), revoked_by: "ops".to_owned() }
}

/// The store as the command line opens it, beside the process that has the log open.
fn beside(fixture: &Fixture) -> Store {
    let location = match fixture.postgres_url() {
        Some(url) => Location::Server(Box::new(url)),
        None => Location::File(fixture.path()),
    };
    Store::open_beside_at(&location, Some(&fixture.settings().tenant), &options()).unwrap()
}

fn insert(store: &Store, row: ApiKeyRow) -> Result<(), StoreError> {
    store.insert_api_key::<()>(row, at(0), 10, |_| Ok(())).map(|judged| judged.unwrap())
}

/// Two processes that look first and write then would both find nothing against it.
fn whoever_makes_a_key_sees_those_of_the_same_moment(fixture: Fixture) {
    let (store, beside) = (fixture.begun(), beside(&fixture));
    let made: Vec<bool> = std::thread::scope(|scope| {
        let make = |(by, id): (&'_ Store, &'static str)| {
            let none = |held: &[ApiKeyRow]| if held.is_empty() { Ok(()) } else { Err(()) };
            by.insert_api_key(key(id, 100), at(0), 10, none).unwrap().is_ok()
        };
        let both = [(&store, "a"), (&beside, "b")].map(|who| scope.spawn(move || make(who)));
        both.map(|thread| thread.join().unwrap()).to_vec()
    });
    assert_eq!(made.iter().filter(|made| **made).count(), 1);
    assert_eq!(store.read(|reader| reader.api_keys(at(0), 10)).unwrap().len(), 1);
}

fn events_that_are_old_may_go_and_no_others(fixture: Fixture) {
    let store = fixture.begun();
    let mut rows: Vec<_> = (0..5).map(|number| event(number, EventKind::Role)).collect();
    for (row, second) in rows.iter_mut().zip(0..) {
        row.event_id = format!("{:016x}{:016x}", at(second).unix_micros(), 7);
    }
    // Its id is old, and the last that it counts is not.
    rows[3].last_at = "2999-01-01T00:00:00.000000Z".parse().unwrap();
    store.insert_security_events(rows).unwrap();
    let left = |store: &Store| {
        store.read(|reader| reader.security_events(&SecurityEventFilter::default(), None, 10)).unwrap().len()
    };
    assert_eq!(beside(&fixture).forget_security_events(at(2)).unwrap(), 2);
    assert_eq!(left(&store), 3);
    let refused = store.forget_security_events(at(9)).unwrap_err();
    let why = std::error::Error::source(&refused).unwrap().to_string();
    assert!(why.contains("append-only for 90 days"), "{why}");
    assert_eq!((left(&store), store.forget_security_events(at(2)).unwrap()), (3, 0));
}

fn keys_are_read_as_they_were_written_and_the_earliest_revocation_holds(fixture: Fixture) {
    let store = fixture.begun();
    let beside = beside(&fixture);
    let stamp = |store: &Store| store.read(|reader| reader.api_key_stamp()).unwrap();
    let mut stamps = vec![stamp(&store)];
    for (place, row) in [key("a", 100), key("b", 300), key("c", 200)].into_iter().enumerate() {
        // By the process that has the log open, and by another one.
        let by = if place == 0 { &store } else { &beside };
        insert(by, row).unwrap();
        stamps.push(stamp(&store));
    }
    let read = |after: i64, limit| store.read(|reader| reader.api_keys(at(after), limit)).unwrap();
    assert_eq!(read(0, 10), [key("b", 300), key("c", 200), key("a", 100)]);
    assert_eq!(read(100, 10).len(), 2, "what ends then has ended");
    assert_eq!(read(0, 1), [key("b", 300)]);
    assert!(insert(&beside, key("a", 900)).is_err(), "a key is made once");

    let id = "a".repeat(16);
    for (revocation, holds) in [
        (revoked(10, 90), revoked(10, 90)),
        (revoked(20, 95), revoked(10, 90)),
        (revoked(30, 50), revoked(30, 50)),
        (revoked(40, 40), revoked(40, 40)),
        (revoked(45, 46), revoked(40, 40)),
    ] {
        assert!(beside.insert_api_key_revocation(id.clone(), revocation).unwrap());
        stamps.push(stamp(&store));
        let found = read(0, 10).into_iter().find(|row| row.key_id == id).unwrap();
        assert_eq!(found.revocation, Some(holds));
    }
    assert!(!store.insert_api_key_revocation("d".repeat(16), revoked(0, 0)).unwrap());
    for (place, stamp) in stamps.iter().enumerate() {
        assert!(!stamps[place + 1..].contains(stamp), "every change is seen by the numbers");
    }
    // At once means at once, whatever the other machine's clock says.
    assert!(revoked(40, 40).holds_at(at(-1_000)) && !revoked(10, 90).holds_at(at(89)));
}

fn event(number: u64, kind: EventKind) -> SecurityEventRow {
    SecurityEventRow {
        event_id: format!("{number:032x}"),
        kind,
        code: "auth.role".to_owned(),
        route: "GET /v1/decisions".to_owned(),
        principal: Some("desk".to_owned()),
        key_id: None,
        address: None,
        first_at: at(i64::try_from(number).unwrap()),
        last_at: at(i64::try_from(number).unwrap() + 5),
        times: number + 1,
    }
}

fn security_events_are_paged_and_chosen(fixture: Fixture) {
    let store = fixture.begun();
    let kinds = [EventKind::Credential, EventKind::Role];
    let rows: Vec<_> = (0..7).map(|number| event(number, kinds[usize::from(number % 2 == 1)])).collect();
    store.insert_security_events(rows.clone()).unwrap();
    assert!(store.insert_security_events(vec![event(9, EventKind::Role), rows[0].clone()]).is_err());
    let read = |filter: &SecurityEventFilter, before: Option<&str>, limit| {
        let rows = store.read(|reader| reader.security_events(filter, before, limit)).unwrap();
        rows.into_iter().map(|row| row.times - 1).collect::<Vec<_>>()
    };
    let all = SecurityEventFilter::default();
    assert_eq!(read(&all, None, 100), [6, 5, 4, 3, 2, 1, 0], "the failed ones left nothing");
    assert_eq!(read(&all, Some(&rows[3].event_id), 2), [2, 1]);
    let roles = SecurityEventFilter { kind: Some(EventKind::Role), ..all.clone() };
    assert_eq!(read(&roles, None, 100), [5, 3, 1]);
    let when = SecurityEventFilter { from: Some(at(7)), to: Some(at(5)), ..all };
    assert_eq!(read(&when, None, 100), [4, 3, 2]);
    let found = store.read(|reader| reader.security_events(&when, None, 1)).unwrap();
    assert_eq!(found, [rows[4].clone()]);
}

fn beside_the_log_nothing_else_is_written(fixture: Fixture) {
    let store = fixture.begun();
    let beside = beside(&fixture);
    let refused = beside.insert_tenant_key("opening".to_owned(), vec![1], at(0)).unwrap_err();
    assert!(matches!(refused, StoreError::ReadingOnly), "{refused:?}");
    assert!(beside.submit_blocking(fixture.decision("e-1", "a")).is_err());
    assert_eq!(super::support::check_log(&store), 2);
}

on_each_database!(
    keys_are_read_as_they_were_written_and_the_earliest_revocation_holds,
    whoever_makes_a_key_sees_those_of_the_same_moment,
    events_that_are_old_may_go_and_no_others,
    security_events_are_paged_and_chosen,
    beside_the_log_nothing_else_is_written,
);
