mod loss;

use super::*;
use crate::bundles::ActivationRequest;
use crate::export::{Disclosure, ExportRequest, Selection};
use crate::failure::{Cause, Failure as _};
use crate::testing::{POLICY, TestClock, TestLog, build_key, caller, release, request};
use chancery_core::digest::RecordId;
use chancery_core::key::SigningKey;
use chancery_core::keyring::{Change, DraftError, KeyEntry, Revocation};
use chancery_core::statement::Environment;
use chancery_verify::{Ask, CheckId, CheckResult, Part, Report, Verdict, Without};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

fn key(number: u8) -> SigningKey {
    SigningKey::generate_ed25519([number; 32])
}

fn entry(log: &TestLog, key: &SigningKey, role: Role, subject: &str) -> KeyEntry {
    let now = log.clock.now();
    KeyEntry {
        key: key.public_key().clone(),
        revoked: None,
        roles: vec![role],
        subject: subject.to_owned(),
        valid_from: now,
        valid_until: now.checked_add_ms(365 * DAY_MS).unwrap(),
    }
}

fn enrolment(log: &TestLog, key: &SigningKey, role: Role, subject: &str) -> Box<KeyEntry> {
    Box::new(entry(log, key, role, subject))
}

fn moment(log: &TestLog, runtime: &Runtime) -> Moment {
    Moment { now: log.clock.now(), size: runtime.records().head().unwrap().size }
}

fn drafted(log: &TestLog, runtime: &Runtime, changes: &[Change]) -> Envelope {
    unsigned(&runtime.keyring().draft(changes, moment(log, runtime)).unwrap()).unwrap()
}

/// Drafts, has the root keys sign, and logs.
fn change(log: &TestLog, runtime: &Runtime, changes: &[Change], roots: &[&SigningKey]) -> LoggedVersion {
    let mut envelope = drafted(log, runtime, changes);
    for root in roots {
        sign(&runtime.keyring(), &mut envelope, *root).unwrap();
    }
    runtime.append_keyring(&envelope).unwrap()
}

fn decide(runtime: &Runtime, id: &str) {
    runtime.execute_blocking(&caller(), &request(id, "1", "0.1")).unwrap();
}

fn judge(runtime: &Runtime, root: &RootPub) -> Report {
    let mut file = Vec::new();
    let wanted = ExportRequest { selection: Selection::Complete, disclosure: Disclosure::Full };
    runtime.export(&wanted, &mut file).unwrap();
    let ask = Ask {
        environment: chancery_verify::Environment::Test,
        without: Without::new([Part::Build]),
        ..Ask::default()
    };
    chancery_verify::verify(&file[..], Some(&root.to_string()), &ask)
}

#[track_caller]
fn assert_verified(runtime: &Runtime, root: &RootPub) {
    let report = judge(runtime, root);
    assert_eq!(report.verdict, Verdict::Verified, "{report}");
}

/// The name of what is wrong: the first fault's, else the error's.
fn named(error: &TrustError) -> &'static str {
    error.faults().first().map_or(error.code(), |fault| fault.code)
}

fn assert_fails(report: &Report, checks: &[CheckId]) {
    let failed = report.checks.iter().filter(|check| check.result == CheckResult::Fail);
    assert_eq!(failed.map(|check| check.id).collect::<Vec<_>>(), checks, "{report}");
}

/// What a revocation from an index on would take away.
fn lost(log: &TestLog, runtime: &Runtime, key: &KeyId, from_index: u64) -> Loss {
    let revoked = Change::Revoke { key: key.clone(), from_index, reason: "stolen".to_owned() };
    let next = runtime.keyring().draft(&[revoked], moment(log, runtime)).unwrap().predicate;
    runtime.records().loss(&runtime.keyring(), &next).unwrap()
}

#[test]
fn an_enrolled_key_signs_and_a_revoked_one_does_not() {
    let log = TestLog::new();
    let runtime = log.open();
    let second = key(2);
    let enrolled = Change::Enrol(enrolment(&log, &second, Role::Policy, "a second publisher"));
    let logged = change(&log, &runtime, &[enrolled], &[&log.root_key]);
    assert_eq!((logged.version, logged.log.index), (2, 2));
    assert_eq!(logged.checkpoint.unwrap().checkpoint().size, 3);

    log.publish(&runtime, "2.0.0");
    let wanted = ActivationRequest {
        policy: POLICY.parse().unwrap(),
        version: "2.0.0".parse().unwrap(),
        reason: "a test".to_owned(),
        requested_by: "tester".to_owned(),
    };
    runtime.activate(&runtime.sign_activation(&wanted, &second).unwrap()).unwrap();
    decide(&runtime, "e-1");
    let id = second.public_key().key_id().clone();
    // The activation, and the decision that rests on it.
    assert_eq!(lost(&log, &runtime, &id, 0), Loss { signed: 1, decisions: 1 });
    let from_index = moment(&log, &runtime).size;
    let revoked = Change::Revoke { key: id.clone(), from_index, reason: "left".to_owned() };
    change(&log, &runtime, &[revoked], &[&log.root_key]);
    decide(&runtime, "e-2");
    let error = runtime.activate(&runtime.sign_activation(&wanted, &second).unwrap()).unwrap_err();
    assert_eq!(error.code(), "bundle.key", "{error}");
    assert_verified(&runtime, &runtime.root_pub().clone());

    // Before its activation: then nothing could be decided any more.
    let revoked = Change::Revoke { key: id, from_index: 0, reason: "stolen long ago".to_owned() };
    let mut envelope = drafted(&log, &runtime, &[revoked]);
    sign(&runtime.keyring(), &mut envelope, &log.root_key).unwrap();
    let error = runtime.append_keyring(&envelope).unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Conflict, "keyring.in_force"), "{error}");
    assert!(error.to_string().contains(POLICY), "{error}");
    log.activate(&runtime, "3.0.0");
    let mut envelope = drafted(
        &log,
        &runtime,
        &[Change::Revoke {
            key: second.public_key().key_id().clone(),
            from_index: 0,
            reason: "stolen long ago".to_owned(),
        }],
    );
    sign(&runtime.keyring(), &mut envelope, &log.root_key).unwrap();
    runtime.append_keyring(&envelope).unwrap();
    let failing = [CheckId::KeyRevoked, CheckId::BundleSignature, CheckId::PolicyActivated];
    let report = judge(&runtime, &runtime.root_pub().clone());
    let failed = report.checks.iter().filter(|check| check.result == CheckResult::Fail);
    assert!(
        failed.clone().count() > 0 && failed.clone().all(|check| failing.contains(&check.id)),
        "{report}"
    );
}

#[test]
fn runtime_and_log_keys_are_replaced_side_by_side() {
    let log = TestLog::new();
    let runtime = log.open();
    let root = runtime.root_pub().clone();
    decide(&runtime, "e-1");
    let (old_runtime, old_log) = (runtime.runtime_key().clone(), runtime.log_key().clone());
    let (new_runtime, new_log) = (key(3), key(4));
    let origin = runtime.settings().log_origin.clone();
    let enrolled = [
        Change::Enrol(enrolment(&log, &new_runtime, Role::Runtime, "chancery-runtime")),
        Change::Enrol(enrolment(&log, &new_log, Role::Log, &origin)),
    ];
    change(&log, &runtime, &enrolled, &[&log.root_key]);
    decide(&runtime, "e-2");
    runtime.publish_checkpoint().unwrap();
    drop(runtime);

    // The memory is by the older key, and so is the database's newest checkpoint.
    let mut options = log.options();
    options.keys.runtime = Arc::new(new_runtime);
    options.keys.log = Arc::new(new_log);
    let runtime = Runtime::open(options).unwrap();
    decide(&runtime, "e-3");
    assert_verified(&runtime, &root);
    let size = moment(&log, &runtime).size;
    let revoked = |key: &PublicKey| Change::Revoke {
        key: key.key_id().clone(),
        from_index: size,
        reason: "replaced".to_owned(),
    };
    let logged = change(&log, &runtime, &[revoked(&old_runtime), revoked(&old_log)], &[&log.root_key]);
    assert!(logged.checkpoint.is_some());
    decide(&runtime, "e-4");
    assert_verified(&runtime, &root);
    drop(runtime);
    let error = log.try_open().unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Refused, "runtime.key"), "the old keys are refused");
}

#[test]
fn a_log_goes_on_after_its_only_log_key_was_revoked() {
    let log = TestLog::new();
    let runtime = log.open();
    decide(&runtime, "e-1");
    runtime.publish_checkpoint().unwrap();
    let from_index = moment(&log, &runtime).size;
    let revoked =
        Change::Revoke { key: runtime.log_key().key_id().clone(), from_index, reason: "stolen".to_owned() };
    let logged = change(&log, &runtime, &[revoked], &[&log.root_key]);
    assert!(logged.checkpoint.is_none());
    let error = runtime.publish_checkpoint().unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Refused, "runtime.key"), "{error}");
    assert!(error.to_string().contains("chancery key enroll"), "{error}");
    assert!(runtime.ready().is_err());
    let root = runtime.root_pub().clone();
    let keyring = runtime.keyring();
    let at = moment(&log, &runtime);
    let origin = runtime.settings().log_origin.clone();
    drop(runtime);
    assert_eq!(log.try_open().unwrap_err().code(), "runtime.key");

    // Without any of the server's keys.
    let custody = custody(&log).unwrap();
    let enrolled = Change::Enrol(enrolment(&log, &key(4), Role::Log, &origin));
    let mut envelope = unsigned(&keyring.draft(&[enrolled], at).unwrap()).unwrap();
    sign(&keyring, &mut envelope, &log.root_key).unwrap();
    assert_eq!(custody.submit(&envelope, 0).unwrap().version, 3);
    drop(custody);
    let mut options = log.options();
    options.keys.log = Arc::new(key(4));
    let runtime = Runtime::open(options).unwrap();
    decide(&runtime, "e-2");
    assert_verified(&runtime, &root);
}

fn custody(log: &TestLog) -> Result<Custody, OpenError> {
    Custody::open(&log.home(), &log.database().into(), &"acme".parse().unwrap(), log.clock.clone())
}

#[test]
fn an_expired_keyring_is_renewed_by_its_root_keys() {
    let log = TestLog::new();
    let runtime = log.open();
    let keyring = runtime.keyring();
    drop(runtime);
    log.clock.advance_ms(3 * 366 * DAY_MS);
    let error = log.try_open().unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Refused, "runtime.key"), "{error}");
    assert!(error.to_string().contains("keyring"), "{error}");
    let now = log.clock.now();
    let at = Moment { now, size: 2 };
    // Whatever else is done: an expired version is not followed by an expired one.
    let error = keyring.draft(&[], at).unwrap_err();
    let DraftError::Objections(objections) = error else { panic!("{error}") };
    assert_eq!(objections[0].code, "key.validity");
    let until = now.checked_add_ms(365 * DAY_MS).unwrap();
    let mut changes = vec![Change::Expiry(until)];
    for entry in &keyring.newest().predicate().keys {
        changes.push(Change::Renew { key: entry.key.key_id().clone(), valid_until: until });
    }
    let mut envelope = unsigned(&keyring.draft(&changes, at).unwrap()).unwrap();
    sign(&keyring, &mut envelope, &log.root_key).unwrap();
    custody(&log).unwrap().submit(&envelope, 0).unwrap();
    let runtime = log.open();
    decide(&runtime, "e-1");
    assert_verified(&runtime, &runtime.root_pub().clone());
}

#[test]
fn root_keys_are_replaced_by_the_old_and_the_new_ones() {
    let log = TestLog::new();
    let runtime = log.open();
    decide(&runtime, "e-1");
    let old = runtime.root_pub().clone();
    let holders = [key(11), key(12), key(13)];
    let public = holders.iter().map(|key| key.public_key().clone()).collect();
    let new = root_pub(public, 2).unwrap();
    let mut envelope = drafted(&log, &runtime, &[Change::Roots(new.clone())]);
    let keyring = runtime.keyring();
    let refused = |envelope: &Envelope, version: &str| {
        let error = runtime.append_keyring(envelope).unwrap_err();
        assert_eq!((error.whose(), error.code()), (Cause::Refused, "keyring.root"), "{error}");
        assert!(error.detail().contains(version), "{}", error.detail());
    };
    refused(&envelope, "the version before");
    sign(&keyring, &mut envelope, &log.root_key).unwrap();
    refused(&envelope, "its own root keys");
    sign(&keyring, &mut envelope, &holders[2]).unwrap();
    // One of them twice is still one.
    let mut twice = envelope.clone();
    let signature = twice.signatures.iter().find(|it| it.keyid == *holders[2].public_key().key_id()).unwrap();
    twice.signatures.push(signature.clone());
    refused(&twice, "1 of the 2 signatures needed hold");
    let [before, own] = quorums(&keyring, &twice).unwrap();
    assert!(before.is_met() && !own.is_met());
    assert_eq!(own.signed, [holders[2].public_key().key_id().clone()]);
    let error = sign(&keyring, &mut envelope, &key(99)).unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Refused, "keyring.root"));
    sign(&keyring, &mut envelope, &holders[0]).unwrap();
    runtime.append_keyring(&envelope).unwrap();
    decide(&runtime, "e-2");

    // Both lead to every key, and another one to none.
    assert_verified(&runtime, &old);
    assert_verified(&runtime, &new);
    let weaker = root_pub(new.keys().to_vec(), 1).unwrap();
    assert_fails(&judge(&runtime, &weaker), &[CheckId::KeyringRoot]);
    // From now on the old root key signs nothing.
    let mut envelope = drafted(&log, &runtime, &[]);
    let error = sign(&runtime.keyring(), &mut envelope, &log.root_key).unwrap_err();
    assert_eq!(error.code(), "keyring.root");
    sign(&runtime.keyring(), &mut envelope, &holders[1]).unwrap();
    assert_eq!(runtime.append_keyring(&envelope).unwrap_err().code(), "keyring.root");
    drop(runtime);
    // The server's own root.pub is the old one; the new one does as well.
    std::fs::write(log.home().root_pub(), new.to_string()).unwrap();
    assert_verified(&log.open(), &old);
}

/// The next version as `edit` makes it, signed by the root key whatever it says.
fn edited(log: &TestLog, runtime: &Runtime, edit: impl FnOnce(&mut KeyringVersion)) -> Envelope {
    let keyring = runtime.keyring();
    let mut next = keyring.newest().predicate().clone();
    next.previous = Some(keyring.newest().record());
    next.version += 1;
    next.issued_at = log.clock.now();
    edit(&mut next);
    let statement = Statement::keyring_of(next).unwrap();
    Envelope::sign(dsse::IN_TOTO, statement.to_payload().unwrap().into_bytes(), &log.root_key).unwrap()
}

#[test]
fn what_is_no_next_version_is_refused_by_its_checks_name() {
    use Cause::{Caller, Conflict, Refused};
    type Edit<'a> = &'a dyn Fn(&mut KeyringVersion);
    let log = TestLog::new();
    let runtime = log.open();
    let later = |ms: i64| log.clock.now().checked_add_ms(ms).unwrap();
    let runtime_entry = || entry(&log, &key(5), Role::Approver("manager".to_owned()), "chancery-runtime");
    let cases: [(&str, Edit<'_>, Cause, &str); 17] = [
        ("a version missing", &|it| it.version = 3, Conflict, "keyring.chain"),
        ("the same number again", &|it| (it.version, it.previous) = (1, None), Conflict, "keyring.chain"),
        (
            "another one before it",
            &|it| it.previous = Some(RecordId::from_bytes([7; 32])),
            Conflict,
            "keyring.chain",
        ),
        ("another tenant", &|it| it.tenant = "other".parse().unwrap(), Refused, "keyring.chain"),
        ("another log", &|it| it.log_origin = "log.other/acme".to_owned(), Refused, "keyring.chain"),
        (
            "expired",
            &|it| (it.issued_at, it.expires_at) = (later(-30_000), later(-1)),
            Caller,
            "key.validity",
        ),
        ("of the future", &|it| it.issued_at = later(11 * 60 * 1_000), Caller, "keyring.time"),
        ("older than the one before", &|it| it.issued_at = later(-61_000), Caller, "keyring.time"),
        ("for too long", &|it| it.expires_at = later(11 * 366 * DAY_MS), Caller, "keyring.validity"),
        (
            "a runtime that approves, by key",
            &|it| it.keys[0].roles.push(Role::Approver("manager".to_owned())),
            Caller,
            "keyring.separation",
        ),
        (
            "a runtime that approves, by subject",
            &|it| it.keys.push(runtime_entry()),
            Caller,
            "keyring.separation",
        ),
        (
            "a root key with a role",
            &|it| it.keys.push(entry(&log, &log.root_key, Role::Erasure, "x")),
            Caller,
            "keyring.separation",
        ),
        (
            "a log key of another origin",
            &|it| it.keys.push(entry(&log, &key(6), Role::Log, "log.other/acme")),
            Caller,
            "keyring.log_key",
        ),
        (
            "a witness without a name",
            &|it| it.keys.push(entry(&log, &key(6), Role::Witness, "not a name")),
            Caller,
            "keyring.witness",
        ),
        ("more witnesses than there are", &|it| it.witness_quorum = Some(1), Caller, "keyring.witness"),
        (
            "builds by Ed25519",
            &|it| it.keys.push(entry(&log, &key(6), Role::Build, "ci")),
            Caller,
            "keyring.build_key",
        ),
        (
            "revoked from the future on",
            &|it| {
                let reason = "later".to_owned();
                it.keys[0].revoked = Some(Revocation { at: later(0), from_index: 99, reason });
            },
            Caller,
            "keyring.revocation",
        ),
    ];
    for (what, edit, whose, code) in cases {
        let error = runtime.append_keyring(&edited(&log, &runtime, edit)).unwrap_err();
        assert_eq!((error.whose(), named(&error)), (whose, code), "{what}: {error}");
        assert_eq!(error.faults().is_empty(), error.code() != "keyring.rule");
    }

    let good = edited(&log, &runtime, |_| {});
    let mut forged = good.clone();
    let text = String::from_utf8(forged.payload.0.clone()).unwrap();
    // Every byte of it is as it has to be, but the root key signed other ones.
    let other = edited(&log, &runtime, |it| it.expires_at = later(DAY_MS));
    forged.payload = other.payload.clone();
    let error = runtime.append_keyring(&forged).unwrap_err();
    assert_eq!((error.whose(), error.code()), (Refused, "keyring.root"), "{error}");
    forged.payload.0 = text.replace("policy-publisher", "policy-publishes").into_bytes();
    let error = runtime.append_keyring(&forged).unwrap_err();
    assert_eq!((error.whose(), error.code()), (Caller, "keyring.chain"), "its digest is another: {error}");
    let mut other = good.clone();
    other.payload_type = "application/json".to_owned();
    assert_eq!(runtime.append_keyring(&other).unwrap_err().code(), "keyring.chain");
    let mut stranger = good.clone();
    stranger.signatures.clear();
    assert!(sign(&runtime.keyring(), &mut stranger, &key(9)).is_err());
    let stranger = Envelope::sign(dsse::IN_TOTO, good.payload.0.clone(), &key(9)).unwrap();
    assert_eq!(runtime.append_keyring(&stranger).unwrap_err().code(), "keyring.root");

    assert_eq!(runtime.keyring().versions().len(), 1, "nothing of it was logged");
    runtime.append_keyring(&good).unwrap();
    let error = runtime.append_keyring(&good).unwrap_err();
    assert_eq!((error.whose(), error.code()), (Conflict, "keyring.chain"), "{error}");
    assert!(error.to_string().contains("already"), "{error}");
}

#[test]
fn a_revocation_is_neither_lifted_nor_raised_nor_left_out() {
    let log = TestLog::new();
    let runtime = log.open();
    let enrolled = Change::Enrol(enrolment(&log, &key(2), Role::Erasure, "privacy"));
    change(&log, &runtime, &[enrolled], &[&log.root_key]);
    let id = key(2).public_key().key_id().clone();
    let revoke = |from_index| Change::Revoke { key: id.clone(), from_index, reason: "left".to_owned() };
    change(&log, &runtime, &[revoke(2)], &[&log.root_key]);
    let edits: [&dyn Fn(&mut KeyEntry); 2] =
        [&|it| it.revoked = None, &|it| it.revoked.as_mut().unwrap().from_index = 3];
    for edit in edits {
        let lifted = edited(&log, &runtime, |it| edit(it.keys.last_mut().unwrap()));
        assert_eq!(named(&runtime.append_keyring(&lifted).unwrap_err()), "keyring.revocation");
    }
    let left_out = edited(&log, &runtime, |it| drop(it.keys.pop()));
    assert_eq!(named(&runtime.append_keyring(&left_out).unwrap_err()), "keyring.revocation");
    let until = log.clock.now().checked_add_ms(DAY_MS).unwrap();
    let refused: [&[Change]; 6] = [
        &[revoke(3)],
        &[revoke(2)],
        &[Change::Renew { key: id.clone(), valid_until: until }],
        &[Change::Revoke { key: id.clone(), from_index: 0, reason: String::new() }],
        &[Change::Revoke { key: id.clone(), from_index: 0, reason: "lost\n  + key".to_owned() }],
        &[Change::Revoke { key: id.clone(), from_index: 0, reason: "lost\u{1b}[2K".to_owned() }],
    ];
    for changes in refused {
        let error = runtime.keyring().draft(changes, moment(&log, &runtime)).unwrap_err();
        let DraftError::Objections(objections) = error else { panic!("{error}") };
        assert!(objections.iter().all(|it| it.code == "keyring.revocation"), "{objections:?}");
        assert!(!objections.iter().any(|it| it.found.chars().any(char::is_control)), "{objections:?}");
    }
    change(&log, &runtime, &[revoke(0)], &[&log.root_key]);
    assert!(runtime.keyring().is_revoked(&id, 0));
}

#[test]
fn all_objections_are_told_at_once() {
    let log = TestLog::new();
    let runtime = log.open();
    let unknown = key(8).public_key().key_id().clone();
    let changes = [
        Change::Revoke { key: unknown, from_index: 0, reason: "x".to_owned() },
        Change::Enrol(enrolment(&log, &log.policy_key, Role::Erasure, "the same key")),
        Change::Enrol(enrolment(&log, &key(6), Role::Build, "a\nb")),
        Change::Expiry(log.clock.now()),
    ];
    let error = TrustError::from(runtime.keyring().draft(&changes, moment(&log, &runtime)).unwrap_err());
    let codes: Vec<&str> = error.faults().iter().map(|fault| fault.code).collect();
    let expected = ["keyring.key", "key.validity", "keyring.key", "keyring.subject", "keyring.build_key"];
    assert_eq!(codes, expected, "{error}");
    assert_eq!(named(&root_pub(vec![key(1).public_key().clone(); 2], 1).unwrap_err()), "keyring.root_keys");
    assert_eq!(named(&root_pub(Vec::new(), 0).unwrap_err()), "keyring.root_keys");
    let many = (1..=33).map(|number| key(number).public_key().clone()).collect();
    assert_eq!(named(&root_pub(many, 1).unwrap_err()), "keyring.root_keys");
}

#[test]
fn a_memory_that_no_log_key_signed_is_refused() {
    use chancery_core::checkpoint::SignedCheckpoint;
    let log = TestLog::new();
    drop(log.open());
    let path = log.home().checkpoint().to_owned();
    let memory = std::fs::read_to_string(&path).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&memory).unwrap();
    let signed = SignedCheckpoint::parse_unverified(value["checkpoint"].as_str().unwrap()).unwrap();
    let forged = signed.checkpoint().sign(&key(4)).unwrap();
    value["checkpoint"] = forged.clone().into();
    std::fs::write(&path, value.to_string()).unwrap();
    let error = log.try_open().unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Corrupt, "checkpoint.broken"), "{error}");
    std::fs::write(&path, memory).unwrap();
    log.tamper(&format!("UPDATE checkpoints SET note = CAST('{forged}' AS BLOB)"));
    let error = log.try_open().unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Corrupt, "checkpoint.broken"), "{error}");
}

#[test]
fn custody_is_of_the_log_that_root_pub_names() {
    let log = TestLog::new();
    let runtime = log.open();
    assert_eq!(custody(&log).unwrap_err().code(), "store.locked", "its server is running");
    drop(runtime);
    let other = "other".parse().unwrap();
    let error = Custody::open(
        &log.home(),
        &log.database().into(),
        &other,
        TestClock::at("2026-03-01T10:00:00.000000Z"),
    );
    assert_eq!(error.unwrap_err().code(), "log.tenant");
    std::fs::write(
        log.home().root_pub(),
        RootPub::new(vec![key(1).public_key().clone()], 1).unwrap().to_string(),
    )
    .unwrap();
    assert_eq!(custody(&log).unwrap_err().code(), "trust.keyring");
}
