use serde_json::{Value, json};

use super::*;
use crate::canonical::to_canonical;
use crate::key::tests::{text, vector_key, vectors};
use crate::key::{Algorithm, Signer, SigningKey};

fn versions(case: &Value) -> Vec<(u64, Envelope)> {
    let all = case["versions"].as_array().unwrap().iter();
    all.map(|version| {
        (version["index"].as_u64().unwrap(), serde_json::from_value(version["envelope"].clone()).unwrap())
    })
    .collect()
}

#[test]
fn keyrings_of_the_vectors_fail_where_they_must() {
    for case in vectors("keyring.json")["cases"].as_array().unwrap() {
        let name = text(case, "name");
        let root = RootPub::parse(text(case, "rootPub")).unwrap();
        let versions = versions(case);
        let judged = Keyring::walk(&versions).and_then(|keyring| keyring.check_root(&root));
        assert_eq!(
            judged.as_ref().err().map(KeyringError::check_id),
            case["fails"].as_str(),
            "{name}: {judged:?}"
        );

        // Version by version comes to the same.
        let pushed = Keyring::walk(&versions[..1]).and_then(|mut keyring| {
            versions[1..].iter().try_for_each(|(index, envelope)| keyring.push(*index, envelope))?;
            keyring.check_root(&root)
        });
        assert_eq!(pushed.is_err(), case["fails"].is_string(), "{name}: {pushed:?}");
    }
}

#[test]
fn keys_of_the_vectors_stand_where_they_should() {
    let all = vectors("keyring.json");
    let keyring = Keyring::walk(&versions(&all["cases"][0])).unwrap();
    let at: Timestamp = "2026-06-01T00:00:10.000000Z".parse().unwrap();
    for standing in all["standing"].as_array().unwrap() {
        let id: KeyId = text(standing, "keyId").parse().unwrap();
        let index = standing["index"].as_u64().unwrap();
        let roles: Vec<Role> = serde_json::from_value(standing["roles"].clone()).unwrap();
        let revoked = standing["revoked"].as_bool().unwrap();
        let entry = keyring.version_before(index).and_then(|version| version.key(&id));
        assert_eq!(entry.map_or(&[][..], |entry| &entry.roles), roles, "{standing}");
        assert_eq!(keyring.is_revoked(&id, index), revoked, "{standing}");
        for role in ["runtime", "log", "approver:claims-manager", "approver:clerk"] {
            let role: Role = role.parse().unwrap();
            let expected = match entry {
                None => Err(Standing::Unknown),
                Some(_) if !roles.contains(&role) => Err(Standing::Role),
                Some(_) if revoked => Err(Standing::Revoked),
                Some(entry) => Ok(entry),
            };
            assert_eq!(keyring.judge(&id, &role, index, at), expected, "{standing} {role}");
        }
    }
}

/// A keyring of one root key and one runtime key.
struct Fixture {
    root: SigningKey,
    runtime: SigningKey,
}

impl Fixture {
    fn new() -> Self {
        Self {
            root: vector_key(Algorithm::Ed25519, "root"),
            runtime: vector_key(Algorithm::Ed25519, "runtime"),
        }
    }

    fn predicate(&self, version: u64, previous: Option<RecordId>) -> Value {
        let root = self.root.public_key();
        let runtime = self.runtime.public_key();
        json!({
            "expiresAt": "2027-01-01T00:00:00.000000Z", "issuedAt": "2026-01-01T00:00:00.000000Z",
            "keys": [{
                "algorithm": "ed25519", "keyId": runtime.key_id(), "publicKey": runtime.to_spki_pem(),
                "revoked": null, "roles": ["runtime"], "subject": "r",
                "validFrom": "2026-02-01T00:00:00.000000Z", "validUntil": "2026-03-01T00:00:00.000000Z"}],
            "logOrigin": "log.example/t", "previous": previous,
            "rootKeys": [{"algorithm": "ed25519", "keyId": root.key_id(), "publicKey": root.to_spki_pem()}],
            "tenant": "t", "threshold": 1, "version": version
        })
    }

    /// Signed by the root key, whatever the predicate says.
    fn envelope(&self, predicate: &Value) -> Envelope {
        let digest = hex::encode(crate::digest::sha256(to_canonical(predicate).unwrap().as_bytes()));
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1", "predicate": predicate,
            "predicateType": "https://chancery.dev/keyring/v1",
            "subject": [{"digest": {"sha256": digest}, "name": predicate["tenant"]}]
        });
        let payload = to_canonical(&statement).unwrap().into_bytes();
        Envelope::sign(dsse::IN_TOTO, payload, &self.root).unwrap()
    }

    /// Versions whose predicates were edited, at log indexes 0, 10, 20, ….
    fn keyring(&self, edits: &[&dyn Fn(&mut Value)]) -> Result<Keyring, KeyringError> {
        let mut versions: Vec<(u64, Envelope)> = Vec::new();
        for (number, edit) in (1..).zip(edits) {
            let previous = versions.last().map(|(_, envelope)| envelope.record_id());
            let mut predicate = self.predicate(number, previous);
            edit(&mut predicate);
            versions.push(((number - 1) * 10, self.envelope(&predicate)));
        }
        Keyring::walk(&versions)
    }
}

fn revoke(from_index: u64) -> impl Fn(&mut Value) {
    move |predicate| {
        predicate["keys"][0]["revoked"] =
            json!({"at": "2026-02-02T00:00:00.000000Z", "fromIndex": from_index, "reason": "stolen"});
    }
}

#[test]
fn a_later_version_neither_lifts_nor_raises_a_revocation() {
    let fixture = Fixture::new();
    let id = fixture.runtime.public_key().key_id();
    let at: Timestamp = "2026-02-10T00:00:00.000000Z".parse().unwrap();
    let same = |_: &mut Value| {};
    let judged = |edits: &[&dyn Fn(&mut Value)]| {
        let keyring = fixture.keyring(edits).unwrap();
        [4, 5, 15, 25, u64::MAX].map(|index| keyring.judge(id, &Role::Runtime, index, at).is_ok())
    };
    assert_eq!(judged(&[&same]), [true; 5]);
    let revoked = [true, false, false, false, false];
    assert_eq!(judged(&[&same, &revoke(5)]), revoked, "also before the version that revokes is logged");
    assert_eq!(judged(&[&same, &revoke(5), &same]), revoked, "not lifted");
    assert_eq!(judged(&[&same, &revoke(5), &revoke(30)]), revoked, "not raised");
    assert_eq!(judged(&[&same, &revoke(30), &revoke(5)]), revoked, "lowered");
    assert_eq!(judged(&[&same, &revoke(0)]), [false; 5]);
}

#[test]
fn validity_is_that_of_the_claimed_time() {
    let fixture = Fixture::new();
    let id = fixture.runtime.public_key().key_id();
    let short = |predicate: &mut Value| predicate["expiresAt"] = json!("2026-02-10T00:00:00.000000Z");
    let keyring = fixture.keyring(&[&|_| {}, &short]).unwrap();
    let judge = |index, at: &str| keyring.judge(id, &Role::Runtime, index, at.parse().unwrap()).err();
    let validity = Some(Standing::Validity);
    assert_eq!(judge(1, "2026-01-31T23:59:59.999999Z"), validity);
    assert_eq!(judge(1, "2026-02-01T00:00:00.000000Z"), None);
    assert_eq!(judge(1, "2026-02-28T23:59:59.999999Z"), None);
    assert_eq!(judge(1, "2026-03-01T00:00:00.000000Z"), validity);
    // The version in force is the one before the entry, not at it.
    assert_eq!(judge(10, "2026-02-10T00:00:00.000000Z"), None);
    assert_eq!(judge(11, "2026-02-09T23:59:59.999999Z"), None);
    assert_eq!(judge(11, "2026-02-10T00:00:00.000000Z"), validity);
    assert_eq!(judge(0, "2026-02-10T00:00:00.000000Z"), Some(Standing::Unknown));
}

#[test]
fn all_faults_of_a_key_are_told_at_once() {
    let fixture = Fixture::new();
    let id = fixture.runtime.public_key().key_id();
    let keyring = fixture.keyring(&[&revoke(0)]).unwrap();
    let at = "2026-01-02T00:00:00.000000Z".parse().unwrap();
    assert_eq!(
        keyring.faults(id, &Role::Log, 1, at),
        [Standing::Role, Standing::Validity, Standing::Revoked]
    );
    assert_eq!(keyring.faults(id, &Role::Log, 0, at), [Standing::Unknown, Standing::Revoked]);
    let stranger = fixture.root.public_key().key_id();
    assert_eq!(keyring.faults(stranger, &Role::Runtime, 1, at), [Standing::Unknown]);
    assert_eq!(keyring.find_key(stranger), None);
    assert_eq!(keyring.find_key(id), Some(fixture.runtime.public_key()));
    let hint = fixture.runtime.public_key().spki_hint();
    assert_eq!(keyring.find_hint(&hint), Some(fixture.runtime.public_key()));
    assert_eq!(keyring.find_hint(b""), None);
}

#[test]
fn versions_of_another_shape_are_refused() {
    let fixture = Fixture::new();
    let weak = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\
                -----END PUBLIC KEY-----\n";
    let pem = fixture.runtime.public_key().to_spki_pem();
    let bare = pem.trim_end().to_owned();
    let key = fixture.predicate(1, None)["keys"][0].clone();
    let root = fixture.predicate(1, None)["rootKeys"][0].clone();
    let edits: &[(&str, Value)] = &[
        ("/keys/0/publicKey", json!(weak)),
        ("/keys/0/publicKey", json!(bare)),
        ("/keys/0/publicKey", json!("")),
        ("/keys/0/roles", json!([])),
        ("/keys/0/roles", json!(["runtime", "runtime"])),
        ("/keys/0/roles", json!(["admin"])),
        ("/keys/0/subject", json!("")),
        ("/keys/0/validUntil", key["validFrom"].clone()),
        ("/keys/0/revoked", json!({"at": "2026-02-02T00:00:00.000000Z", "fromIndex": -1, "reason": "x"})),
        ("/keys/0/revoked", json!({"at": "2026-02-02T00:00:00.000000Z", "fromIndex": 1})),
        ("/keys", json!([key, key])),
        ("/rootKeys", json!([root, root])),
        ("/rootKeys", json!([])),
        ("/rootKeys/0/keyId", key["keyId"].clone()),
        ("/rootKeys/0/algorithm", json!("ecdsa-p256")),
        ("/threshold", json!(2)),
        ("/threshold", json!(0)),
        ("/threshold", json!(-1)),
        ("/expiresAt", json!("2026-01-01T00:00:00.000000Z")),
        ("/logOrigin", json!("")),
        ("/previous", json!("0".repeat(64))),
        ("/version", json!(0)),
        ("/version", json!(2)),
        ("/witnessQuorum", Value::Null),
    ];
    for (pointer, new) in edits {
        let judged = fixture.keyring(&[&|predicate: &mut Value| match predicate.pointer_mut(pointer) {
            Some(place) => *place = new.clone(),
            None => drop(predicate.as_object_mut().unwrap().insert(pointer[1..].to_owned(), new.clone())),
        }]);
        let error = judged.expect_err(pointer);
        assert!(matches!(error, KeyringError::Statement { index: 0, .. }), "{pointer} {new}: {error:?}");
        assert_eq!(error.check_id(), "keyring.chain");
    }
}

#[test]
fn log_indexes_ascend_and_a_failed_push_changes_nothing() {
    let fixture = Fixture::new();
    let first = fixture.envelope(&fixture.predicate(1, None));
    let second = fixture.envelope(&fixture.predicate(2, Some(first.record_id())));
    let mut keyring = Keyring::walk(&[(4, first.clone())]).unwrap();
    assert!(matches!(keyring.push(4, &second), Err(KeyringError::Index { version: 2, before: 4, found: 4 })));
    let mut unsigned = second.clone();
    unsigned.signatures.clear();
    assert!(matches!(keyring.push(5, &unsigned), Err(KeyringError::SignedByOld { version: 2, .. })));
    assert_eq!(keyring.versions().len(), 1);
    keyring.push(5, &second).unwrap();
    assert_eq!(keyring.newest().index(), 5);
    assert_eq!(keyring.newest().envelope(), &second);
    assert!(matches!(Keyring::walk(&[]), Err(KeyringError::Empty)));
    let mut other = first.clone();
    other.payload_type = "application/json".to_owned();
    let error = Keyring::walk(&[(0, other)]).unwrap_err();
    assert!(matches!(error, KeyringError::Statement { source: StatementError::PayloadType(_), .. }));
}

#[test]
fn witness_quorum_is_one_where_there_is_a_witness() {
    let fixture = Fixture::new();
    let quorum =
        |edit: &dyn Fn(&mut Value)| fixture.keyring(&[edit]).unwrap().newest().predicate().witness_quorum();
    assert_eq!(quorum(&|_| {}), 0);
    assert_eq!(quorum(&|predicate| predicate["keys"][0]["roles"] = json!(["witness"])), 1);
    assert_eq!(quorum(&|predicate| predicate["witnessQuorum"] = json!(2)), 2);
}

#[test]
fn a_draft_follows_the_newest_version_and_may_revoke_a_key_that_it_left_out() {
    let fixture = Fixture::new();
    let other = vector_key(Algorithm::Ed25519, "another");
    let exchanged = |predicate: &mut Value| {
        let key = &mut predicate["keys"][0];
        key["keyId"] = json!(other.public_key().key_id());
        key["publicKey"] = json!(other.public_key().to_spki_pem());
    };
    let keyring = fixture.keyring(&[&|_| {}, &exchanged]).unwrap();
    let at = Moment { now: "2026-02-10T00:00:00.000000Z".parse().unwrap(), size: 12 };
    let left_out = fixture.runtime.public_key().key_id().clone();
    let reason = "found in a bin".to_owned();
    let revoke = Change::Revoke { key: left_out.clone(), from_index: 3, reason };
    let draft = keyring.draft(&[revoke], at).unwrap();
    let next = &draft.predicate;
    assert_eq!((next.version, next.previous, next.issued_at), (3, Some(keyring.newest().record()), at.now));
    assert_eq!(next.keys.len(), 2);
    assert_eq!(next.keys[1].key.key_id(), &left_out);
    // What was drafted is taken once it is signed, and stands the review that its logger makes.
    assert!(keyring.review(next, at).is_empty());
    let payload = draft.to_payload().unwrap().into_bytes();
    let mut keyring = keyring;
    keyring.push(12, &Envelope::sign(dsse::IN_TOTO, payload, &fixture.root).unwrap()).unwrap();
    assert!(keyring.is_revoked(&left_out, 3) && !keyring.is_revoked(&left_out, 2));

    // A month later nobody has logged it; and before it was made, nobody can have.
    for now in ["2026-03-12T00:00:00.001000Z", "2026-02-09T23:49:59.999000Z"] {
        let later = Moment { now: now.parse().unwrap(), size: 13 };
        let codes: Vec<_> = review_first(next, later).iter().map(|it| it.code).collect();
        assert_eq!(codes, ["keyring.time"], "{now}");
    }
}

#[test]
fn a_third_log_key_and_too_many_root_keys_are_objected_to() {
    let fixture = Fixture::new();
    let keyring = fixture.keyring(&[&|_| {}]).unwrap();
    let now: Timestamp = "2026-02-10T00:00:00.000000Z".parse().unwrap();
    let key = |number: usize| vector_key(Algorithm::Ed25519, &format!("key {number}")).public_key().clone();
    let log_key = |number| {
        Change::Enrol(Box::new(KeyEntry {
            key: key(number),
            revoked: None,
            roles: vec![Role::Log],
            subject: "log.example/t".to_owned(),
            valid_from: now,
            valid_until: keyring.newest().predicate().expires_at,
        }))
    };
    let at = Moment { now, size: 1 };
    let codes = |changes: &[Change]| match keyring.draft(changes, at) {
        Ok(_) => Vec::new(),
        Err(DraftError::Objections(objections)) => objections.iter().map(|it| it.code).collect(),
        Err(error) => panic!("{error}"),
    };
    assert!(codes(&[log_key(1), log_key(2)]).is_empty());
    assert_eq!(codes(&[log_key(1), log_key(2), log_key(3)]), ["keyring.log_key"]);
    let roots = |count: usize| Change::Roots(RootPub::new((0..count).map(key).collect(), 1).unwrap());
    assert!(codes(&[roots(ROOT_KEYS_MAX)]).is_empty());
    assert_eq!(codes(&[roots(ROOT_KEYS_MAX + 1)]), ["keyring.root_keys"]);
    let witness = |quorum| codes(&[Change::WitnessQuorum(quorum)]);
    assert_eq!((witness(None), witness(Some(1))), (Vec::new(), vec!["keyring.witness"]));
}
