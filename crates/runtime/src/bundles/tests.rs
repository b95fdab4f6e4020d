use super::*;
use crate::failure::{Cause, Failure};
use crate::testing::{POLICY, TestLog, caller, request, small_bundle};
use chancery_core::key::SigningKey;
use chancery_core::keyring::Standing;
use chancery_policy::sum::{SIGNATURE, SUM};

fn stranger() -> SigningKey {
    SigningKey::generate_ed25519([42; 32])
}

fn wanted(version: &str) -> ActivationRequest {
    ActivationRequest {
        policy: POLICY.parse().unwrap(),
        version: version.parse().unwrap(),
        reason: "a test".to_owned(),
        requested_by: "tester".to_owned(),
    }
}

#[test]
fn a_signed_folder_is_taken_apart_and_verified() {
    let key = stranger();
    let mut folder = small_bundle("1.0.0");
    let signed = sign(&folder, &key).unwrap();
    folder.insert(SUM.to_owned(), signed.sum.clone().into_bytes());
    assert!(matches!(SignedBundle::from_folder(folder.clone()).unwrap_err(), BundleError::NotSigned));
    folder.insert(SIGNATURE.to_owned(), signed.to_json().unwrap());
    let bundle = SignedBundle::from_folder(folder.clone()).unwrap();
    assert_eq!(verify(&bundle, key.public_key()).unwrap().hash(), signed.hash);
    assert!(matches!(
        verify(&bundle, SigningKey::generate_ed25519([1; 32]).public_key()).unwrap_err(),
        BundleError::Signature(_)
    ));
    folder.get_mut("policies.cedar").unwrap().push(b'\n');
    assert!(matches!(SignedBundle::from_folder(folder.clone()).unwrap_err(), BundleError::Sum));
    folder.remove(SUM);
    let changed = SignedBundle::from_folder(folder).unwrap();
    assert!(matches!(verify(&changed, key.public_key()).unwrap_err(), BundleError::Signature(_)));
}

#[test]
fn only_a_policy_key_publishes() {
    let log = TestLog::new();
    let runtime = log.open();
    let publish = |key: &dyn Signer| {
        let files = small_bundle("2.0.0");
        let signature = sign(&files, key).unwrap().signature;
        runtime.publish(SignedBundle { files, signature })
    };
    assert_eq!(publish(&stranger()).unwrap_err().code(), "bundle.key");
    let error = publish(runtime.inner.runtime_key.as_ref()).unwrap_err();
    assert!(matches!(error, BundleError::Key { standing: Standing::Role, .. }), "{error:?}");
    assert!(publish(&log.policy_key).unwrap().new);
    assert!(!publish(&log.policy_key).unwrap().new);
}

#[test]
fn a_version_never_changes_its_content() {
    let log = TestLog::new();
    let runtime = log.open();
    let mut files = small_bundle("1.0.0");
    files.get_mut("policies.cedar").unwrap().extend(b"\n// changed\n");
    let signature = sign(&files, &log.policy_key).unwrap().signature;
    let error = runtime.publish(SignedBundle { files, signature }).unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Conflict, "bundle.published"));
}

#[test]
fn an_activation_holds_or_is_refused() {
    let log = TestLog::new();
    let runtime = log.open();
    assert_eq!(
        runtime.sign_activation(&wanted("2.0.0"), &log.policy_key).unwrap_err().code(),
        "policy.not_published"
    );
    log.publish(&runtime, "2.0.0");
    let unsaid = ActivationRequest { reason: String::new(), ..wanted("2.0.0") };
    assert_eq!(runtime.sign_activation(&unsaid, &log.policy_key).unwrap_err().code(), "activation.statement");

    let by_stranger = runtime.sign_activation(&wanted("2.0.0"), &stranger()).unwrap();
    assert_eq!(runtime.activate(&by_stranger).unwrap_err().code(), "bundle.key");
    let by_runtime = runtime.sign_activation(&wanted("2.0.0"), runtime.inner.runtime_key.as_ref()).unwrap();
    assert_eq!(runtime.activate(&by_runtime).unwrap_err().code(), "bundle.key");

    let envelope = runtime.sign_activation(&wanted("2.0.0"), &log.policy_key).unwrap();
    let mut changed = envelope.clone();
    changed.payload.0.push(b' ');
    assert_eq!(runtime.activate(&changed).unwrap_err().code(), "activation.signature");

    log.clock.advance_ms(ACTIVATION_SKEW_MS + 1);
    assert_eq!(runtime.activate(&envelope).unwrap_err().code(), "activation.time");
    log.clock.advance_ms(-1);
    let activated = runtime.activate(&envelope).unwrap();
    assert_eq!(activated.activation.policy_version.to_string(), "2.0.0");
    assert_eq!(runtime.in_force()[0].version.to_string(), "2.0.0");
    // The same once more: it does not continue from what is in force now. Nor does a new statement say news.
    assert_eq!(runtime.activate(&envelope).unwrap_err().whose(), Cause::Conflict);
    let again = runtime.sign_activation(&wanted("2.0.0"), &log.policy_key).unwrap();
    let error = runtime.activate(&again).unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Conflict, "activation.in_force"), "{error:?}");
    // Back to the first, and forth with the old statement: refused.
    runtime.activate(&runtime.sign_activation(&wanted("1.0.0"), &log.policy_key).unwrap()).unwrap();
    let error = runtime.activate(&envelope).unwrap_err();
    assert_eq!(error.whose(), Cause::Conflict, "{error:?}");
}

#[test]
fn tampered_content_in_the_store_decides_nothing() {
    for (sql, what) in [
        (
            "UPDATE bundle_files SET content = CAST(replace(content, '10000', '99999') AS BLOB) WHERE path = 'policies.cedar'",
            "bundle.tampered",
        ),
        ("DELETE FROM bundle_files WHERE path = 'policies.cedar'", "bundle.tampered"),
        ("UPDATE bundles SET signature = CAST('{}' AS BLOB)", "bundle.tampered"),
        ("DELETE FROM bundles", "bundle.tampered"),
        ("UPDATE activations SET policy_version = '9.9.9'", "bundle.tampered"),
        ("UPDATE bundles SET sum = CAST('x' AS BLOB)", "store.corrupt"),
        (
            "UPDATE log_entries SET payload = CAST(replace(payload, '1.0.0', '1.0.1') AS BLOB) WHERE kind = 5",
            "store.corrupt",
        ),
        ("UPDATE log_entries SET signature = zeroblob(64) WHERE kind = 5", "bundle.tampered"),
    ] {
        let log = TestLog::new();
        drop(log.open());
        log.tamper(sql);
        let error = log.try_open().unwrap_err();
        assert_eq!((error.whose(), error.code()), (Cause::Corrupt, what), "{sql}: {error:?}");
    }
}

#[test]
fn a_tampered_bundle_replays_nothing() {
    let log = TestLog::new();
    let runtime = log.open();
    runtime.execute_blocking(&caller(), &request("e-1", "100", "0.5")).unwrap();
    log.activate(&runtime, "2.0.0");
    drop(runtime);
    log.tamper(
        "UPDATE bundle_files SET content = CAST(content || ' ' AS BLOB) WHERE bundle_hash = \
         (SELECT bundle_hash FROM bundles WHERE policy_version = '1.0.0')",
    );
    let error = log.open().execute_blocking(&caller(), &request("e-1", "100", "0.5")).unwrap_err();
    assert_eq!(error.code(), "bundle.tampered");
}
