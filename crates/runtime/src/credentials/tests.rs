use super::*;
use crate::failure::{Cause, Failure as _};
use crate::records::Records;
use crate::testing::{TestEntropy, TestLog};
use chancery_store::Location;

const DAY_MS: i64 = 86_400_000;

/// A log, and its keys from outside the process that serves it.
struct World {
    log: TestLog,
    keys: ApiKeys,
    entropy: TestEntropy,
}

impl World {
    fn new() -> Self {
        let log = TestLog::new();
        let location = Location::File(log.database());
        let keys = ApiKeys::open(&location, &"acme".parse().unwrap(), log.clock.clone()).unwrap();
        Self { log, keys, entropy: TestEntropy::default() }
    }

    fn now(&self) -> Timestamp {
        self.log.clock.now()
    }

    fn wanted(&self, principal: &str, roles: &str) -> NewApiKey {
        NewApiKey {
            principal: principal.to_owned(),
            roles: roles.parse().unwrap(),
            label: None,
            not_before: None,
            expires_at: self.now().checked_add_ms(DAY_MS).unwrap(),
            created_by: "ops".to_owned(),
        }
    }

    fn create(&self, wanted: NewApiKey) -> Result<ApiKey, CredentialError> {
        self.keys.create(wanted, &self.log.keys().vault, &self.entropy)
    }

    fn key(&self, principal: &str, roles: &str) -> ApiKey {
        self.create(self.wanted(principal, roles)).unwrap()
    }

    /// Past every age at which keys in memory are used.
    fn wait(&self) {
        self.log.clock.advance_ms(STALE_MS);
    }
}

fn refused(credentials: &Credentials, key: &ApiKey) -> (&'static str, Cause) {
    let error = credentials.authenticate(key).unwrap_err();
    (error.code(), error.whose())
}

#[test]
fn a_key_that_was_made_beside_the_server_is_taken_and_its_secret_is_nowhere() {
    let world = World::new();
    let runtime = world.log.open();
    let key = world.key("claims-core", "submitter reader");
    let found = runtime.credentials().authenticate(&key).unwrap();
    assert_eq!((&*found.principal, &*found.key_id), ("claims-core", key.id()));
    assert_eq!(found.roles.to_string(), "submitter reader");
    let secret = key.text();
    let secret = &secret[secret.len() - 72..secret.len() - 8];
    for suffix in ["", "-wal"] {
        let file = format!("{}{suffix}", world.log.database().display());
        let bytes = std::fs::read(file).unwrap_or_default();
        assert!(!bytes.windows(64).any(|window| window == secret.as_bytes()));
        assert!(!bytes.windows(32).any(|window| window == key.secret()));
    }
    assert_eq!(world.keys.list(false).unwrap()[0].state, "good");
}

#[test]
fn what_is_wrong_with_a_key_has_its_own_code() {
    let world = World::new();
    let runtime = world.log.open();
    let credentials = runtime.credentials();
    let key = world.key("a", "reader");
    let (mut early, mut late) = (world.wanted("b", "reader"), world.wanted("c", "reader"));
    early.not_before = world.now().checked_add_ms(DAY_MS / 2);
    late.expires_at = world.now().checked_add_ms(1).unwrap();
    let (early, late) = (world.create(early).unwrap(), world.create(late).unwrap());
    world.wait();
    assert_eq!(refused(credentials, &early), ("auth.not_yet", Cause::Refused));
    assert_eq!(refused(credentials, &late), ("auth.expired", Cause::Refused));
    world.keys.revoke(key.id(), 0, "ops").unwrap();
    world.wait();
    assert_eq!(refused(credentials, &key), ("auth.revoked", Cause::Refused));
    let error = credentials.authenticate(&key).unwrap_err();
    assert_eq!(&*error.known().unwrap().principal, "a");
    // The right id with another secret, and another id with the right form.
    let text = ApiKey::generate("acme".parse().unwrap(), &world.entropy).unwrap();
    assert_eq!(refused(credentials, &text), ("auth.unknown", Cause::Refused));
    let forged = ApiKey::parse(&early.with_secret([7; 32]).text()).unwrap();
    assert_eq!((forged.id(), refused(credentials, &forged).0), (early.id(), "auth.unknown"));
    let elsewhere = ApiKey::generate("other".parse().unwrap(), &world.entropy).unwrap();
    assert_eq!(refused(credentials, &elsewhere).0, "auth.unknown");
    world.log.clock.advance_ms(DAY_MS / 2);
    assert!(credentials.authenticate(&early).is_ok());
}

#[test]
fn a_row_that_was_changed_in_the_database_is_no_key_any_more() {
    for change in [
        "roles = 'submitter auditor'",
        "principal = 'somebody-else'",
        "expires_at = '2030-01-01T00:00:00.000000Z'",
        "not_before = '2020-01-01T00:00:00.000000Z'",
        "key_id = '0123456789abcdef'",
    ] {
        let world = World::new();
        let runtime = world.log.open();
        let key = world.key("a", "submitter");
        world.log.tamper(&format!("UPDATE api_keys SET {change}"));
        assert_eq!(refused(runtime.credentials(), &key).0, "auth.unknown", "{change}");
    }
}

#[test]
fn a_revocation_holds_within_a_second_and_a_request_reads_no_database() {
    let world = World::new();
    let runtime = world.log.open();
    let credentials = runtime.credentials();
    let key = world.key("a", "reader");
    assert!(credentials.known(&key).is_none());
    credentials.authenticate(&key).unwrap();
    assert!(!credentials.claim_refresh());
    world.keys.revoke(key.id(), 0, "ops").unwrap();
    world.log.clock.advance_ms(AGEING_MS);
    assert!(credentials.known(&key).unwrap().is_ok(), "still from memory");
    assert!(credentials.claim_refresh() && !credentials.claim_refresh(), "one reads for all");
    credentials.refresh().unwrap();
    assert_eq!(credentials.known(&key).unwrap().unwrap_err().code(), "auth.revoked");
    // Nobody asked for a while: what is in memory is too old.
    world.wait();
    assert!(credentials.known(&key).is_none());
    assert_eq!(refused(credentials, &key).0, "auth.revoked");
    // A clock that was set back makes nothing younger.
    world.log.clock.advance_ms(-1);
    assert!(credentials.known(&key).is_none());
}

#[test]
fn a_new_key_is_found_though_the_table_is_fresh_and_unknown_ids_read_seldom() {
    let world = World::new();
    let runtime = world.log.open();
    let credentials = runtime.credentials();
    assert_eq!(
        refused(credentials, &ApiKey::generate("acme".parse().unwrap(), &world.entropy).unwrap()).0,
        "auth.unknown"
    );
    let key = world.key("a", "reader");
    assert_eq!(credentials.known(&key).unwrap().unwrap_err().code(), "auth.unknown");
    world.log.clock.advance_ms(MISSING_MS);
    assert!(credentials.known(&key).is_none());
    assert!(credentials.authenticate(&key).is_ok());
}

#[test]
fn keys_that_cannot_be_read_let_nobody_in() {
    let world = World::new();
    let runtime = world.log.open();
    let key = world.key("a", "reader");
    runtime.credentials().authenticate(&key).unwrap();
    world.log.tamper("ALTER TABLE api_keys RENAME TO elsewhere");
    world.log.clock.advance_ms(AGEING_MS);
    assert!(runtime.credentials().refresh().is_err());
    assert!(runtime.credentials().known(&key).unwrap().is_ok(), "what was read is used while it is young");
    world.wait();
    let error = runtime.credentials().authenticate(&key).unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Unavailable, "store.unavailable"));
}

#[test]
fn those_who_wait_for_keys_that_cannot_be_read_do_not_each_try() {
    let world = World::new();
    let runtime = world.log.open();
    let key = world.key("a", "reader");
    world.log.tamper("ALTER TABLE api_keys RENAME TO elsewhere");
    let error = runtime.credentials().authenticate(&key).unwrap_err();
    assert!(matches!(error, AuthenticateError::Store(_)), "{error:?}");
    world.log.tamper("ALTER TABLE elsewhere RENAME TO api_keys");
    world.log.clock.advance_ms(FAILED_MS - 1);
    let error = runtime.credentials().authenticate(&key).unwrap_err();
    assert!(matches!(error, AuthenticateError::JustTried), "{error:?}");
    assert_eq!((error.whose(), error.code()), (Cause::Unavailable, "store.unavailable"));
    world.log.clock.advance_ms(1);
    assert!(runtime.credentials().authenticate(&key).is_ok());
}

#[test]
fn a_claim_that_nothing_came_of_lapses() {
    let world = World::new();
    let runtime = world.log.open();
    let credentials = runtime.credentials();
    assert!(credentials.claim_refresh() && !credentials.claim_refresh());
    // The task that was to read was dropped.
    world.log.clock.advance_ms(CLAIM_MICROS / 1_000 - 1);
    assert!(!credentials.claim_refresh());
    world.log.clock.advance_ms(1);
    assert!(credentials.claim_refresh() && !credentials.claim_refresh());
    // Nor does a clock that was set back keep it for ever.
    world.log.clock.advance_ms(-1);
    assert!(credentials.claim_refresh());
}

#[test]
fn whoever_administers_with_one_thing_approves_with_no_other() {
    let world = World::new();
    let runtime = world.log.open();
    let credentials = runtime.credentials();
    let key = world.key("a", "operator");
    world.key("b", "reader");
    let roles = |text: &str| text.parse::<Roles>().unwrap();
    let both = roles("approver reader");
    assert_eq!(credentials.known_separated("a", both), None, "no key has been read");
    assert_eq!(credentials.separated("a", both).unwrap(), roles("reader"));
    assert_eq!(credentials.separated("b", both).unwrap(), both);
    assert_eq!(credentials.known_separated("a", roles("auditor")), Some(roles("auditor")));
    credentials.administers(&"b".into());
    assert_eq!(credentials.known_separated("b", both), Some(roles("reader")));
    world.keys.revoke(key.id(), 0, "ops").unwrap();
    world.wait();
    assert_eq!(credentials.separated("a", both).unwrap(), both, "a key that was revoked is none");
    world.log.tamper("ALTER TABLE api_keys RENAME TO elsewhere");
    world.wait();
    assert_eq!(credentials.separated("a", both).unwrap_err().whose(), Cause::Unavailable);
}

#[test]
fn a_rotation_overlaps_and_the_first_revocation_to_hold_counts() {
    let world = World::new();
    let runtime = world.log.open();
    let old = world.key("a", "submitter reader");
    let expires_at = world.now().checked_add_ms(2 * DAY_MS).unwrap();
    let successor = world.keys.successor_of(old.id(), expires_at, "ops").unwrap();
    assert_eq!(
        (successor.principal.as_str(), successor.roles.to_string().as_str()),
        ("a", "submitter reader")
    );
    let new = world.create(successor).unwrap();
    assert_eq!(world.keys.revoke(old.id(), 3_600_000, "ops").unwrap().state, "good");
    assert!(runtime.credentials().authenticate(&old).is_ok());
    assert!(runtime.credentials().authenticate(&new).is_ok());
    // Later than what was said before: nothing changes. Earlier: that holds.
    let later = world.keys.revoke(old.id(), 7_200_000, "ops").unwrap();
    assert_eq!(later.revoked_from, world.now().checked_add_ms(3_600_000));
    world.log.clock.advance_ms(3_600_000);
    assert_eq!(refused(runtime.credentials(), &old).0, "auth.revoked");
    assert!(runtime.credentials().authenticate(&new).is_ok());
    assert_eq!(world.keys.revoke(new.id(), DAY_MS, "ops").unwrap().state, "good");
    assert_eq!(world.keys.revoke(new.id(), 0, "ops").unwrap().state, "revoked");
    let error = world.keys.successor_of(old.id(), expires_at, "ops").unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Conflict, "apikey.ended"));
    assert_eq!(world.keys.revoke("0000000000000000", 0, "ops").unwrap_err().code(), "apikey.unknown");
    assert!(!world.keys.is_there_one().unwrap());
}

#[test]
fn administrators_do_not_approve_neither_with_one_key_nor_with_two() {
    let world = World::new();
    for role in ["policy-publisher", "key-custodian", "operator"] {
        let error = world.create(world.wanted("a", &format!("approver {role}"))).unwrap_err();
        assert_eq!((error.whose(), error.code()), (Cause::Refused, "apikey.separation"), "{role}");
    }
    let approver = world.key("a", "approver reader");
    assert_eq!(world.create(world.wanted("a", "operator")).unwrap_err().code(), "apikey.separation");
    world.key("a", "reader");
    world.key("b", "operator");
    assert_eq!(world.create(world.wanted("b", "approver")).unwrap_err().code(), "apikey.separation");
    world.keys.revoke(approver.id(), 0, "ops").unwrap();
    world.key("a", "operator");
}

#[test]
fn a_key_with_faults_is_refused_with_all_of_them() {
    let world = World::new();
    let mut wanted = world.wanted("a\u{1b}[2J", "reader");
    wanted.roles = Roles::default();
    wanted.label = Some(String::new());
    wanted.expires_at = world.now();
    let error = world.create(wanted).unwrap_err();
    let found: Vec<_> = error.faults().iter().map(|fault| fault.pointer.clone().unwrap()).collect();
    assert_eq!(found, ["/principal", "/roles", "/label", "/expires_at"]);
    let mut wanted = world.wanted("a", "reader");
    wanted.expires_at = world.now().checked_add_ms(LIFETIME_MS_MAX + 1).unwrap();
    assert_eq!(world.create(wanted).unwrap_err().faults().len(), 1);
    // A vault of another log would make keys that nobody takes.
    let made = world.keys.create(world.wanted("a", "reader"), &[9; 32], &world.entropy);
    assert_eq!(made.unwrap_err().code(), "vault.other");
    let location = Location::File(world.log.database());
    let other = ApiKeys::open(&location, &"other".parse().unwrap(), world.log.clock.clone());
    assert_eq!(other.unwrap_err().code(), "log.tenant");
}

fn event(kind: EventKind, code: &'static str, principal: Option<&str>) -> SecurityEvent {
    SecurityEvent {
        kind,
        code,
        method: "POST",
        route: "/v1/decisions",
        principal: principal.map(Into::into),
        key_id: None,
        address: None,
    }
}

fn events(records: &Records) -> Vec<(String, String, u64)> {
    let list = records.security_events(&SecurityEventFilter::default(), None, 1_000).unwrap();
    list.items.into_iter().map(|item| (item.kind, item.code, item.count)).collect()
}

#[test]
fn events_of_one_sort_are_a_row_in_a_window_however_many_they_are() {
    let world = World::new();
    let runtime = world.log.open();
    let (counted, records) = (runtime.security_events(), runtime.records());
    for _ in 0..3 {
        counted.record(event(EventKind::Credential, "auth.unknown", None));
    }
    counted.flush().unwrap();
    counted.flush().unwrap();
    let row = |count| ("credential".to_owned(), "auth.unknown".to_owned(), count);
    assert_eq!(events(&records), [row(3)]);
    for _ in 0..1_000 {
        world.log.clock.advance_ms(10);
        counted.record(event(EventKind::Credential, "auth.unknown", None));
        counted.flush().unwrap();
    }
    assert_eq!(events(&records), [row(3)], "the rest of the window waits");
    world.log.clock.advance_ms(600_000);
    counted.flush().unwrap();
    assert_eq!(events(&records), [row(1_000), row(3)]);
    let list = records.security_events(&SecurityEventFilter::default(), None, 1_000).unwrap();
    assert_eq!(list.items[0].last_at.saturating_diff_ms(list.items[0].first_at), 9_990);
    // What is counted when the server stops is not lost.
    counted.record(event(EventKind::Role, "auth.role", Some("a")));
    counted.record(event(EventKind::Credential, "auth.unknown", None));
    counted.drain().unwrap();
    assert_eq!(events(&records).len(), 4);
}

#[test]
fn a_flood_of_sorts_is_a_number_and_hides_nobody_who_is_known() {
    let world = World::new();
    let runtime = world.log.open();
    let (counted, records) = (runtime.security_events(), runtime.records());
    for number in 0..5_000_u32 {
        let address = Some(std::net::IpAddr::from(number.to_be_bytes()));
        counted.record(SecurityEvent { address, ..event(EventKind::Credential, "auth.unknown", None) });
    }
    counted.record(event(EventKind::Role, "auth.role", Some("a")));
    counted.flush().unwrap();
    let found = events(&records);
    assert_eq!(found.len(), 130);
    assert!(found.contains(&("role".to_owned(), "auth.role".to_owned(), 1)));
    assert!(found.contains(&("dropped".to_owned(), "events.dropped".to_owned(), 5_000 - 128)));
    // Pages meet at their ends, and filters choose.
    let all = SecurityEventFilter::default();
    let (mut after, mut seen) = (None, 0);
    loop {
        let page = records.security_events(&all, after.as_deref(), 50).unwrap();
        seen += page.items.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, 130);
    let role = SecurityEventFilter { kind: Some(EventKind::Role), ..all.clone() };
    assert_eq!(records.security_events(&role, None, 10).unwrap().items.len(), 1);
    let later = SecurityEventFilter { from: world.now().checked_add_ms(1), ..all.clone() };
    assert!(records.security_events(&later, None, 10).unwrap().items.is_empty());
    let before = SecurityEventFilter { to: Some(world.now()), ..all.clone() };
    assert!(records.security_events(&before, None, 10).unwrap().items.is_empty());
    for cursor in ["", "x", "C0", "' OR 1=1"] {
        assert_eq!(records.security_events(&all, Some(cursor), 10).unwrap_err().code(), "list.cursor");
    }
}

#[test]
fn what_strangers_choose_makes_no_sorts_and_a_day_has_a_number_of_rows() {
    let world = World::new();
    let runtime = world.log.open();
    let (counted, records) = (runtime.security_events(), runtime.records());
    for (route, address) in [
        ("/v1/decisions", "2001:db8::1"),
        ("/v1/overrides", "2001:db8:0:0:ffff::2"),
        ("/v1/decisions", "2001:db8:0:1::1"),
    ] {
        let address = Some(address.parse().unwrap());
        counted.record(SecurityEvent {
            route,
            address,
            ..event(EventKind::Credential, "auth.required", None)
        });
    }
    counted.flush().unwrap();
    let list = records.security_events(&SecurityEventFilter::default(), None, 10).unwrap();
    let mut found: Vec<_> =
        list.items.iter().map(|item| (item.address.as_deref().unwrap(), &*item.route, item.count)).collect();
    found.sort_unstable();
    assert_eq!(found, [("2001:db8:0:1::", "-", 1), ("2001:db8::", "-", 2)]);

    // A whole day, in each window of which many addresses try.
    for _ in 0..140 {
        for number in 0..150_u32 {
            let address = Some(std::net::IpAddr::from(number.to_be_bytes()));
            counted.record(SecurityEvent { address, ..event(EventKind::Credential, "auth.unknown", None) });
        }
        counted.flush().unwrap();
        world.log.clock.advance_ms(600_000);
    }
    counted.record(event(EventKind::Role, "auth.role", Some("a")));
    counted.flush().unwrap();
    let reader = |kind| SecurityEventFilter { kind: Some(kind), ..SecurityEventFilter::default() };
    let of = |kind| {
        let (mut after, mut seen, mut times) = (None, 0, 0);
        loop {
            let page = records.security_events(&reader(kind), after.as_deref(), 1_000).unwrap();
            seen += page.items.len();
            times += page.items.iter().map(|item| item.count).sum::<u64>();
            after = page.next;
            if after.is_none() {
                return (seen, times);
            }
        }
    };
    let (rows, times) = of(EventKind::Credential);
    // Two days at most, and what had begun to be counted.
    assert!(rows <= 2 * (2_000 + 128), "{rows}");
    let (dropped_rows, dropped) = of(EventKind::Dropped);
    assert!(dropped_rows <= 141, "{dropped_rows}");
    assert_eq!(times + dropped, 140 * 150 + 3);
    assert_eq!(of(EventKind::Role), (1, 1), "nobody who is known is hidden");
}

#[test]
fn events_go_when_they_are_old_and_not_before() {
    let world = World::new();
    let runtime = world.log.open();
    runtime.security_events().record(event(EventKind::Credential, "auth.unknown", None));
    runtime.security_events().flush().unwrap();
    let location = Location::File(world.log.database());
    let clock: Arc<dyn Clock> = world.log.clock.clone();
    let forget = |days: i64| {
        let before = world.now().checked_add_ms(-days * DAY_MS).unwrap();
        forget_security_events(&location, &"acme".parse().unwrap(), clock.clone(), before)
    };
    let error = forget(89).unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Caller, "events.young"));
    assert_eq!(forget(90).unwrap(), 0);
    world.log.clock.advance_ms(91 * DAY_MS);
    assert_eq!((forget(90).unwrap(), events(&runtime.records()).len()), (1, 0));
}

#[test]
fn what_cannot_be_written_is_counted_on() {
    let world = World::new();
    let runtime = world.log.open();
    let counted = runtime.security_events();
    counted.record(event(EventKind::Credential, "auth.unknown", None));
    world.log.tamper("ALTER TABLE security_events RENAME TO elsewhere");
    assert!(counted.flush().is_err());
    counted.record(event(EventKind::Credential, "auth.unknown", None));
    world.log.tamper("ALTER TABLE elsewhere RENAME TO security_events");
    counted.flush().unwrap();
    assert_eq!(events(&runtime.records())[0].2, 2);
}

#[test]
fn a_revocation_on_one_node_holds_on_the_other_within_a_second() {
    let Some(logs) = TestLog::on_postgres() else { return };
    let [one, other] = [&logs[0], &logs[1]].map(TestLog::open);
    let clock = &logs[0].clock;
    let entropy = TestEntropy::default();
    let wanted = NewApiKey {
        principal: "a".to_owned(),
        roles: "reader".parse().unwrap(),
        label: None,
        not_before: None,
        expires_at: clock.now().checked_add_ms(DAY_MS).unwrap(),
        created_by: "ops".to_owned(),
    };
    let key = one.api_keys().create(wanted, &logs[0].keys().vault, &entropy).unwrap();
    for node in [&one, &other] {
        assert!(node.credentials().authenticate(&key).is_ok());
    }
    one.api_keys().revoke(key.id(), 0, "ops").unwrap();
    clock.advance_ms(999);
    for node in [&one, &other] {
        assert_eq!(refused(node.credentials(), &key).0, "auth.revoked");
    }
}
