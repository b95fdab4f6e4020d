use super::*;
use crate::bundles::ActivationRequest;
use crate::edge::Clock as _;
use crate::export::ExportRequest;
use crate::testing::{POLICY, TestLog, build_key, caller, release, request};
use crate::trust;
use chancery_core::key::{Signer, SigningKey};
use chancery_core::keyring::{Change, Moment};
use serde_json::{Value, json};

fn open(log: &TestLog) -> Runtime {
    let mut options = log.options();
    options.build = Some(release(&build_key(), |_| {}));
    Runtime::open(options).unwrap()
}

fn id(text: &str) -> ExecutionId {
    text.parse().unwrap()
}

/// A claim with a note that nobody else may read, labels and a model.
fn note(id: &str) -> Vec<u8> {
    format!(
        r#"{{"execution_id":"{id}","policy":"{POLICY}","resource":"CLM-7",
            "signals":{{"amount":4711,"score":"0.1234","note":"Jane Doe, 12 Elm Street"}},
            "labels":{{"channel":"web"}},
            "models":[{{"id":"fraud","version":"3","stateSha256":"{}"}}]}}"#,
        "5".repeat(64)
    )
    .into_bytes()
}

fn parsed(provenance: &Provenance) -> Value {
    serde_json::from_slice(provenance.body()).unwrap()
}

fn erase(runtime: &Runtime, log: &TestLog, execution_id: &str) {
    crate::testing::erase(runtime, log, execution_id, &[]);
    let found = runtime.records().get(&id(execution_id)).unwrap().unwrap();
    assert!(runtime.records().store.read(|reader| reader.opening(found.log.index)).unwrap().is_none());
}

#[test]
fn the_document_says_what_stood_behind_a_decision() {
    let log = TestLog::production();
    let runtime = open(&log);
    let answer = runtime.execute_blocking(&caller(), &note("a")).unwrap();
    let provenance = runtime.provenance(&id("a")).unwrap().unwrap();
    let body = parsed(&provenance);
    assert_eq!(body["format"], FORMAT);
    let statement = &body["decision"]["statement"];
    let signed: Value = serde_json::from_slice(&answer.attestation.payload.0).unwrap();
    assert_eq!(*statement, signed);
    assert_eq!(statement["predicate"]["labels"], json!({"channel": "web"}));
    assert_eq!(statement["predicate"]["models"][0]["id"], "fraud");
    assert_eq!(body["decision"]["recordId"], answer.attestation.record_id().to_string());
    assert_eq!(body["decision"]["signature"], json!(answer.attestation.signatures[0]));

    let policy = &body["policy"];
    assert_eq!(policy["bundleHash"], statement["predicate"]["policy"]["bundleHash"]);
    assert_eq!(policy["activation"]["index"], 1);
    assert_eq!(policy["signer"], log.policy_key.public_key().key_id().as_str());
    let outcomes: Vec<_> = policy["outcomes"].as_array().unwrap().iter().collect();
    let names: Vec<_> = outcomes.iter().map(|it| it["outcome"].as_str().unwrap()).collect();
    assert_eq!(names, ["deny", "refer", "approve"]);
    assert_eq!(
        outcomes[2]["policies"],
        json!([{
            "annotations": {}, "determined": true, "effect": "permit", "id": "approve-small", "reason": "SMALL",
        }])
    );
    assert_eq!(outcomes[0]["policies"][0]["determined"], false);

    let build = runtime.build().unwrap();
    assert_eq!(body["build"]["payload"], json!(b64::encode(&build.build.payload)));
    assert_eq!(body["build"]["index"], 2);
    assert_eq!(body["keyring"]["version"], 1);
    assert_eq!(body["log"]["origin"], "log.example.com/acme");
    assert_eq!(body["log"]["previous"]["kind"], "build-identity");
    assert_eq!(body["log"]["entry"]["leafHash"], answer.log.leaf_hash.to_string());
    assert_eq!(body["log"]["entry"]["chainHash"], runtime.records().head().unwrap().chain_hash.to_string());

    // Of the signals nothing is in it.
    let text = std::str::from_utf8(provenance.body()).unwrap();
    for private in ["4711", "0.1234", "Jane", "Elm"] {
        assert!(!text.contains(private), "{private} is in {text}");
    }
    // And it is the canonical form of itself.
    assert_eq!(to_canonical(&body).unwrap().as_bytes(), provenance.body());
    assert!(runtime.provenance(&id("nobody")).unwrap().is_none());
}

#[test]
fn the_bytes_are_the_same_for_ever() {
    let log = TestLog::production();
    let runtime = open(&log);
    runtime.execute_blocking(&caller(), &note("a")).unwrap();
    let first = runtime.provenance(&id("a")).unwrap().unwrap();
    let check = |runtime: &Runtime, after: &str| {
        let again = runtime.provenance(&id("a")).unwrap().unwrap();
        assert_eq!(again.body(), first.body(), "{after}");
        assert_eq!(again.digest(), first.digest());
        // Ed25519 signs the same bytes in one way.
        assert_eq!(again.signature().unwrap().signature, first.signature().unwrap().signature, "{after}");
    };
    runtime.execute_blocking(&caller(), &request("b", "1", "0.1")).unwrap();
    check(&runtime, "another entry");
    log.activate(&runtime, "2.0.0");
    check(&runtime, "another bundle in force");
    let back = ActivationRequest {
        policy: POLICY.parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        reason: "back again".to_owned(),
        requested_by: "tester".to_owned(),
    };
    runtime.activate(&runtime.sign_activation(&back, &log.policy_key).unwrap()).unwrap();
    check(&runtime, "the same bundle in force again");
    let at = Moment { now: log.clock.now(), size: runtime.records().head().unwrap().size };
    let key = log.policy_key.public_key().key_id().clone();
    let revoke = Change::Revoke { key, from_index: at.size, reason: "left".to_owned() };
    let keyring = runtime.keyring();
    let mut envelope = trust::unsigned(&keyring.draft(&[revoke], at).unwrap()).unwrap();
    trust::sign(&keyring, &mut envelope, &log.root_key).unwrap();
    runtime.append_keyring(&envelope).unwrap();
    check(&runtime, "another keyring version");
    erase(&runtime, &log, "a");
    check(&runtime, "an erasure");
    runtime.publish_checkpoint().unwrap();
    log.clock.advance_ms(3_600_000);
    check(&runtime, "an hour");
    let beside = Records::open(&log.database().into(), None, log.clock.clone()).unwrap();
    let read = beside.provenance(&id("a")).unwrap().unwrap();
    assert_eq!(read.body(), first.body());
    assert!(read.signature().is_none());
    drop(runtime);
    let mut options = log.options();
    options.build = Some(release(&build_key(), |build| build.git.tag = Some("v2".to_owned())));
    check(&Runtime::open(options).unwrap(), "a restart with another build");
}

#[test]
fn the_runtime_signs_for_all_but_trials() {
    let log = TestLog::production();
    let runtime = open(&log);
    runtime.execute_blocking(&caller(), &note("a")).unwrap();
    let provenance = runtime.provenance(&id("a")).unwrap().unwrap();
    let ProvenanceSignature { key, signature } = provenance.signature().unwrap();
    assert_eq!(key, runtime.runtime_key().key_id());
    runtime.runtime_key().verify(provenance.body(), signature).unwrap();
    let mut other = provenance.body().to_vec();
    other[10] ^= 1;
    assert!(runtime.runtime_key().verify(&other, signature).is_err());

    let log = TestLog::new();
    let runtime = log.open();
    runtime.execute_blocking(&caller(), &note("a")).unwrap();
    let provenance = runtime.provenance(&id("a")).unwrap().unwrap();
    assert!(provenance.signature().is_none());
    assert_eq!(parsed(&provenance)["build"], Value::Null);
}

#[test]
fn a_key_that_does_not_sign_is_no_unsigned_document() {
    #[derive(Debug)]
    struct Gone(SigningKey);

    impl Signer for Gone {
        fn public_key(&self) -> &chancery_core::key::PublicKey {
            self.0.public_key()
        }

        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
            if message.starts_with(b"DSSEv1") { self.0.sign(message) } else { Err(gone()) }
        }
    }

    fn gone() -> SignError {
        SignError::new("the token is gone")
    }

    let log = TestLog::production();
    let mut options = log.options();
    options.build = Some(release(&build_key(), |_| {}));
    options.keys.runtime = Arc::new(Gone(log.runtime_key()));
    let runtime = Runtime::open(options).unwrap();
    runtime.execute_blocking(&caller(), &note("a")).unwrap();
    let error = runtime.provenance(&id("a")).unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Unavailable, "runtime.key"));
}

#[test]
fn chain_hashes_are_those_of_the_leaves_before() {
    let log = TestLog::new();
    let runtime = log.open();
    let lines: Vec<_> = (0..600).map(|it| Ok(request(&format!("e-{it}"), "1", "0.1"))).collect();
    assert_eq!(runtime.batch(&caller(), lines).unwrap().filter(|line| line.result.is_ok()).count(), 600);
    let records = runtime.records();
    let leaves = records.store.read(|reader| reader.leaf_hashes(0..602)).unwrap();
    let mut chain = ChainHash::ZERO;
    let chains: Vec<ChainHash> = leaves
        .iter()
        .map(|(_, leaf)| {
            chain = chain_next(&chain, leaf);
            chain
        })
        .collect();
    // Entry 0 is the keyring, entry 1 an activation; the order asks for full tiles and for parts of them.
    for number in [599_usize, 0, 253, 254, 255, 510, 300] {
        let body = parsed(&runtime.provenance(&id(&format!("e-{number}"))).unwrap().unwrap());
        let index = number + 2;
        assert_eq!(body["log"]["entry"]["index"], index);
        assert_eq!(body["log"]["entry"]["chainHash"], chains[index].to_string(), "{number}");
        assert_eq!(body["log"]["previous"]["chainHash"], chains[index - 1].to_string(), "{number}");
    }
    // A chain that was kept gives the same as one that was not.
    let chains_kept = Chains::default();
    chains_kept.0.lock().unwrap().insert(256, chains[255]);
    let kept = records.store.read(|reader| chains_kept.before(reader, 500)).unwrap();
    assert_eq!(kept, chains[499]);
    let beyond = records.store.read(|reader| Chains::default().before(reader, 603)).unwrap_err();
    assert_eq!(store_code(&beyond), "log.range");
}

#[test]
fn a_damaged_record_is_told_and_never_traced() {
    for (sql, what) in [
        ("UPDATE activations SET bundle_hash = substr(bundle_hash, 2) || 'a'", "not in force"),
        ("DELETE FROM activations", "not in force"),
        ("UPDATE decisions SET log_index = 1", "damaged"),
    ] {
        let log = TestLog::new();
        let runtime = log.open();
        runtime.execute_blocking(&caller(), &note("a")).unwrap();
        drop(runtime);
        log.tamper(sql);
        let beside = Records::open(&log.database().into(), None, log.clock.clone()).unwrap();
        let error = beside.provenance(&id("a")).unwrap_err();
        assert_eq!((error.whose(), error.code()), (Cause::Corrupt, "store.corrupt"), "{sql}");
        assert!(error.to_string().contains(what), "{sql}: {error}");
        assert!(!error.detail().contains("bundle"), "{}", error.detail());
    }
}

#[test]
fn a_revoked_runtime_key_signs_no_document_and_no_trailer() {
    let log = TestLog::production();
    let runtime = open(&log);
    runtime.execute_blocking(&caller(), &request("a", "1", "0.1")).unwrap();
    runtime.provenance(&id("a")).unwrap().unwrap();
    let wanted = ExportRequest::one(id("a"));
    let begun = runtime.begin_export(&wanted).unwrap();
    let size = runtime.records().head().unwrap().size;
    let key = runtime.runtime_key().key_id().clone();
    let revoke = Change::Revoke { key, from_index: size, reason: "stolen".to_owned() };
    let keyring = runtime.keyring();
    let draft = keyring.draft(&[revoke], Moment { now: log.clock.now(), size }).unwrap();
    let mut envelope = trust::unsigned(&draft).unwrap();
    trust::sign(&keyring, &mut envelope, &log.root_key).unwrap();
    runtime.append_keyring(&envelope).unwrap();

    let error = runtime.provenance(&id("a")).unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Unavailable, "runtime.key"), "{error}");
    let refused = runtime.begin_export(&wanted).err().unwrap();
    assert_eq!((refused.whose(), refused.code()), (Cause::Unavailable, "runtime.key"), "{refused}");
    // Nor does an export end that had begun before.
    let mut file = Vec::new();
    let broken = begun.write(&mut file, |_| {}).unwrap_err();
    assert_eq!((broken.whose(), broken.code()), (Cause::Unavailable, "runtime.key"), "{broken}");
    assert!(!String::from_utf8(file).unwrap().contains("\"kind\":\"trailer\""));
    // What needs no signature is still there.
    assert!(runtime.records().provenance(&id("a")).unwrap().unwrap().signature().is_none());
}
