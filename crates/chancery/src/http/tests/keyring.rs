//! The next keyring version comes in: logged, or refused by name.

use chancery_core::dsse::{self, Envelope};
use chancery_core::key::{Signer, SigningKey};
use chancery_core::keyring::{Change, KeyEntry, KeyringVersion, Moment, Role};
use chancery_core::statement::Statement;
use chancery_runtime::Clock as _;
use chancery_runtime::trust;
use serde_json::json;

use super::support::{Api, root_key};

const PATH: &str = "/v1/trust/keyring";

fn key(number: u8) -> SigningKey {
    SigningKey::generate_ed25519([number; 32])
}

fn enrolled(api: &Api) -> Change {
    let newest = api.runtime.keyring();
    Change::Enrol(Box::new(KeyEntry {
        key: key(7).public_key().clone(),
        revoked: None,
        roles: vec![Role::Erasure],
        subject: "privacy".to_owned(),
        valid_from: api.clock.now(),
        valid_until: newest.newest().predicate().expires_at,
    }))
}

fn drafted(api: &Api, changes: &[Change]) -> Envelope {
    let moment = Moment { now: api.clock.now(), size: api.runtime.records().head().unwrap().size };
    trust::unsigned(&api.runtime.keyring().draft(changes, moment).unwrap()).unwrap()
}

fn body(envelope: &Envelope) -> String {
    serde_json::to_string(envelope).unwrap()
}

/// The next version as `edit` makes it, signed by the root key whatever it says.
fn edited(api: &Api, edit: impl FnOnce(&mut KeyringVersion)) -> String {
    let keyring = api.runtime.keyring();
    let mut next = keyring.newest().predicate().clone();
    next.previous = Some(keyring.newest().record());
    next.version += 1;
    next.issued_at = api.clock.now();
    edit(&mut next);
    let payload = Statement::keyring_of(next).unwrap().to_payload().unwrap().into_bytes();
    body(&Envelope::sign(dsse::IN_TOTO, payload, &root_key()).unwrap())
}

#[tokio::test]
async fn a_signed_version_is_logged_and_in_force() {
    let api = Api::new();
    assert_eq!(api.decide("before", "1").await.status, 201);
    let mut envelope = drafted(&api, &[enrolled(&api)]);
    trust::sign(&api.runtime.keyring(), &mut envelope, &root_key()).unwrap();
    let answer = api.post_json(PATH, body(&envelope)).await;
    assert_eq!(
        (answer.status, answer.json()),
        (201, json!({"version": 2, "index": 3, "lost": {"signed": 0, "decisions": 0}}))
    );
    let document = api.get("/v1/openapi.json").await.json();
    let described = &document["components"]["schemas"]["LoggedKeyring"]["properties"];
    let described: Vec<&String> = described.as_object().unwrap().keys().collect();
    assert_eq!(described, ["index", "lost", "version"]);
    let versions = api.get(PATH).await.json();
    assert_eq!(versions["versions"][1]["index"], 3);
    assert_eq!(versions["versions"][1]["envelope"], serde_json::to_value(&envelope).unwrap());
    assert!(api.runtime.keyring().find_key(key(7).public_key().key_id()).is_some());
    assert_eq!(api.decide("after", "1").await.status, 201);
    let again = api.post_json(PATH, body(&envelope)).await;
    again.problem(409, "keyring.chain");
    assert!(again.text().contains("already, at index 3"), "{}", again.text());
}

#[tokio::test]
async fn what_is_no_next_version_is_refused_by_name() {
    let api = Api::new();
    let unsigned = drafted(&api, &[enrolled(&api)]);
    api.post_json(PATH, body(&unsigned)).await.problem(422, "keyring.root");
    let stranger = Envelope::sign(dsse::IN_TOTO, unsigned.payload.0.clone(), &key(9)).unwrap();
    api.post_json(PATH, body(&stranger)).await.problem(422, "keyring.root");
    let mut other = unsigned.clone();
    other.payload.0 = b"{}".to_vec();
    api.post_json(PATH, body(&other)).await.problem(422, "keyring.chain");
    let tenant = edited(&api, |it| it.tenant = "other".parse().unwrap());
    api.post_json(PATH, tenant).await.problem(422, "keyring.chain");
    let missing = edited(&api, |it| it.version = 3);
    api.post_json(PATH, missing).await.problem(409, "keyring.chain");
    let faults = edited(&api, |it| {
        it.keys[0].roles.push(Role::Approver("manager".to_owned()));
        it.keys[1].subject = "log.other/acme".to_owned();
        it.witness_quorum = Some(1);
    });
    let faults = api.post_json(PATH, faults).await.problem(422, "keyring.rule");
    let expected = [
        ("/keys/1/subject", "keyring.log_key"),
        ("/witnessQuorum", "keyring.witness"),
        ("/keys/0/roles", "keyring.separation"),
    ];
    assert_eq!(faults, expected.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
    api.post_json(PATH, "{}").await.problem(422, "envelope.invalid");
    api.post_json(PATH, "{").await.problem(400, "request.invalid");
    api.post(PATH, "text/plain", "{}").await.problem(415, "request.media_type");
    api.post_json(&format!("{PATH}?x=1"), "{}").await.problem(400, "request.query");
    assert_eq!(api.runtime.keyring().versions().len(), 1, "nothing of it was logged");
}

#[tokio::test]
async fn a_revocation_takes_away_no_more_than_was_accepted() {
    let api = Api::new();
    let from_index = api.runtime.records().head().unwrap().size;
    let key = api.runtime.runtime_key().key_id().clone();
    let mut envelope = drafted(&api, &[Change::Revoke { key, from_index, reason: "stolen".to_owned() }]);
    assert_eq!(api.decide("meanwhile", "1").await.status, 201);
    let (index, lost) = (from_index + 1, json!({"signed": 1, "decisions": 0}));
    let told = json!({"version": 2, "index": index, "lost": lost});
    // Whoever is about to sign can ask.
    let rehearsed = api.post_json(&format!("{PATH}?dry_run=true"), body(&envelope)).await;
    assert_eq!((rehearsed.status, rehearsed.json()), (200, told.clone()));
    trust::sign(&api.runtime.keyring(), &mut envelope, &root_key()).unwrap();
    for query in ["", "?accept_loss=0"] {
        let refused = api.post_json(&format!("{PATH}{query}"), body(&envelope)).await;
        refused.problem(409, "keyring.loss");
        assert!(refused.text().contains("1 entry of the log"), "{}", refused.text());
    }
    api.post_json(&format!("{PATH}?accept_loss=-1"), body(&envelope)).await.problem(400, "request.query");
    api.post_json(&format!("{PATH}?dry_run=yes"), body(&envelope)).await.problem(400, "request.query");
    assert_eq!(api.runtime.keyring().versions().len(), 1);
    let logged = api.post_json(&format!("{PATH}?accept_loss=1"), body(&envelope)).await;
    assert_eq!((logged.status, logged.json()), (201, told));
}
