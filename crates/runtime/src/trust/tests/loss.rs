//! What a revocation takes away.

use super::*;

#[test]
fn a_revoked_runtime_key_decides_nothing_and_its_decisions_fail() {
    let log = TestLog::new();
    let runtime = log.open();
    decide(&runtime, "e-1");
    let root = runtime.root_pub().clone();
    let id = runtime.runtime_key().key_id().clone();
    assert_eq!(lost(&log, &runtime, &id, 0), Loss { signed: 1, decisions: 0 });
    let enrolled = Change::Enrol(enrolment(&log, &key(3), Role::Runtime, "chancery-runtime"));
    let revoked = Change::Revoke { key: id, from_index: 2, reason: "stolen".to_owned() };
    change(&log, &runtime, &[enrolled, revoked], &[&log.root_key]);
    let error = runtime.execute_blocking(&caller(), &request("e-2", "1", "0.1")).unwrap_err();
    assert_eq!(error.code(), "runtime.key", "{error}");
    drop(runtime);
    // Nothing lifts a revocation: the advice is another key.
    let error = log.try_open().unwrap_err();
    assert_eq!(error.code(), "runtime.key", "{error}");
    assert!(error.to_string().contains("enrol a new key and use that"), "{error}");
    let mut options = log.options();
    options.keys.runtime = Arc::new(key(3));
    assert_eq!(options.environment, Some(Environment::Test));
    let runtime = Runtime::open(options).unwrap();
    assert_fails(&judge(&runtime, &root), &[CheckId::KeyRevoked]);
}

#[test]
fn decisions_by_a_build_of_a_revoked_key_are_counted() {
    let log = TestLog::production();
    let mut options = log.options();
    options.environment = Some(Environment::Production);
    options.build = Some(release(&build_key(), |_| {}));
    let runtime = Runtime::open(options).unwrap();
    let key = build_key().public_key().key_id().clone();
    let logged = moment(&log, &runtime).size - 1;
    decide(&runtime, "e-1");
    decide(&runtime, "e-2");
    assert_eq!(lost(&log, &runtime, &key, logged), Loss { signed: 1, decisions: 2 });
    // Its build was logged before that: it stays, and so do they.
    assert_eq!(lost(&log, &runtime, &key, logged + 1), Loss::default());
    let own = runtime.runtime_key().key_id().clone();
    assert_eq!(lost(&log, &runtime, &own, logged), Loss { signed: 2, decisions: 0 });
    // What another version has taken away already is not lost again.
    let revoked = Change::Revoke { key: own.clone(), from_index: logged + 2, reason: "stolen".to_owned() };
    change(&log, &runtime, &[revoked], &[&log.root_key]);
    assert_eq!(lost(&log, &runtime, &own, logged), Loss { signed: 1, decisions: 0 });
    assert_eq!(lost(&log, &runtime, &key, logged), Loss { signed: 1, decisions: 1 });
}

#[test]
fn decisions_under_a_bundle_of_a_revoked_key_are_counted_until_the_next_activation() {
    let log = TestLog::new();
    let runtime = log.open();
    decide(&runtime, "e-1");
    let key = log.policy_key.public_key().key_id().clone();
    let first = lost(&log, &runtime, &key, 1);
    assert_eq!(first, Loss { signed: 1, decisions: 1 });
    let second = self::key(2);
    let enrolled = Change::Enrol(enrolment(&log, &second, Role::Policy, "a second publisher"));
    change(&log, &runtime, &[enrolled], &[&log.root_key]);
    let wanted = ActivationRequest {
        policy: POLICY.parse().unwrap(),
        version: "2.0.0".parse().unwrap(),
        reason: "a test".to_owned(),
        requested_by: "tester".to_owned(),
    };
    // The second publisher activates what the first one signed: both are needed for it to hold.
    log.publish(&runtime, "2.0.0");
    runtime.activate(&runtime.sign_activation(&wanted, &second).unwrap()).unwrap();
    let from = moment(&log, &runtime).size - 1;
    decide(&runtime, "e-2");
    assert_eq!(lost(&log, &runtime, &key, from), Loss { signed: 0, decisions: 1 });
    let other = second.public_key().key_id().clone();
    assert_eq!(lost(&log, &runtime, &other, 0), Loss { signed: 1, decisions: 1 });
    log.activate(&runtime, "3.0.0");
    decide(&runtime, "e-3");
    assert_eq!(lost(&log, &runtime, &other, 0), Loss { signed: 1, decisions: 1 });
}

#[test]
fn no_more_is_taken_away_than_was_accepted() {
    let log = TestLog::new();
    let runtime = log.open();
    let revoked = Change::Revoke {
        key: runtime.runtime_key().key_id().clone(),
        from_index: moment(&log, &runtime).size,
        reason: "replaced".to_owned(),
    };
    let mut envelope = drafted(&log, &runtime, &[revoked]);
    assert_eq!(runtime.rehearse_keyring(&envelope).unwrap().loss, Loss::default());
    sign(&runtime.keyring(), &mut envelope, &log.root_key).unwrap();
    // While the draft travels, the server goes on deciding.
    decide(&runtime, "e-1");
    decide(&runtime, "e-2");
    let rehearsed = runtime.rehearse_keyring(&envelope).unwrap();
    assert_eq!((rehearsed.version, rehearsed.index, rehearsed.loss.signed), (2, 4, 2));
    let error = runtime.append_keyring_within(&envelope, 1).unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Conflict, "keyring.loss"), "{error}");
    assert!(error.to_string().contains("2 entries of the log"), "{error}");
    assert_eq!(runtime.keyring().versions().len(), 1);
    let logged = runtime.append_keyring_within(&envelope, 2).unwrap();
    assert_eq!(logged.loss, Loss { signed: 2, decisions: 0 });
}
