//! Policies: listed, read, published and put in force; and the trust material.

use chancery_core::b64;
use chancery_core::key::{Signer, SigningKey};
use chancery_core::keyring::{Keyring, RootPub};
use chancery_runtime::bundles::{self, ActivationRequest, Files};
use serde_json::{Value, json};

use super::support::{Api, POLICY, small_bundle};

/// The folder of a bundle, signed, as the body of a publication.
fn signed(files: &Files, key: &dyn Signer) -> Value {
    let signature = bundles::sign(files, key).unwrap();
    let mut folder: serde_json::Map<String, Value> =
        files.iter().map(|(path, bytes)| (path.clone(), b64::encode(bytes).into())).collect();
    folder.insert("bundle.sum.sigstore.json".to_owned(), b64::encode(&signature.to_json().unwrap()).into());
    json!({ "files": folder })
}

fn path(version: &str) -> String {
    format!("/v1/policies/{POLICY}/{version}")
}

fn activation(version: &str) -> ActivationRequest {
    ActivationRequest {
        policy: POLICY.parse().unwrap(),
        version: version.parse().unwrap(),
        reason: "a test".to_owned(),
        requested_by: "tester".to_owned(),
    }
}

#[tokio::test]
async fn a_version_is_published_then_put_in_force_and_decides() {
    let api = Api::new();
    let key = api.policy_key();
    let bundle = signed(&small_bundle("1.1.0"), &key).to_string();
    assert_eq!(api.post_json(&path("1.1.0"), bundle.clone()).await.status, 201);
    assert_eq!(
        api.post_json(&path("1.1.0"), bundle).await.status,
        200,
        "the same content again is no conflict"
    );
    assert_eq!(api.decide("before", "1").await.json()["policy"]["version"], "1.0.0");

    let envelope = api.runtime.sign_activation(&activation("1.1.0"), &key).unwrap();
    let envelope = serde_json::to_string(&envelope).unwrap();
    let activated = api.post_json(&format!("{}/activation", path("1.1.0")), envelope.clone()).await;
    assert_eq!(activated.status, 201, "{activated:?}");
    assert_eq!(activated.json()["version"], "1.1.0");
    assert_eq!(api.decide("after", "1").await.json()["policy"]["version"], "1.1.0");
    assert_eq!(
        api.post_json(&format!("{}/activation", path("1.1.0")), envelope).await.status,
        409,
        "not twice"
    );

    let list = api.get("/v1/policies").await.json();
    assert_eq!(list["items"][0]["in_force"]["version"], "1.1.0");
    let history = api.get(&format!("/v1/policies/{POLICY}")).await.json();
    assert_eq!(history["versions"].as_array().unwrap().len(), 2);
    let activations = history["activations"].as_array().unwrap();
    assert_eq!(activations.len(), 2);
    assert_eq!(activations[1]["previous"], activations[0]["bundle_hash"]);
}

#[tokio::test]
async fn what_is_read_can_be_published() {
    let (api, other) = (Api::new(), Api::new());
    let read = api.get(&path("1.0.0")).await;
    assert_eq!(read.status, 200);
    let read = read.json();
    let files = read["files"].as_object().unwrap();
    assert!(files.contains_key("bundle.sum") && files.contains_key("bundle.sum.sigstore.json"));
    let sum = b64::decode(files["bundle.sum"].as_str().unwrap()).unwrap();
    assert_eq!(read["bundle_hash"], chancery_policy::hash_of(std::str::from_utf8(&sum).unwrap()).to_string());
    let again = other.post_json(&path("1.0.0"), json!({ "files": files }).to_string()).await;
    assert_eq!((again.status, &again.json()["bundle_hash"]), (200, &read["bundle_hash"]));
}

#[tokio::test]
async fn a_bundle_that_must_not_be_published_is_refused_by_name() {
    let api = Api::new();
    let key = api.policy_key();
    let good = small_bundle("2.0.0");
    let post = async |path: String, body: Value| api.post_json(&path, body.to_string()).await;

    let mut unsigned = signed(&good, &key);
    unsigned["files"].as_object_mut().unwrap().remove("bundle.sum.sigstore.json");
    post(path("2.0.0"), unsigned).await.problem(422, "bundle.signature");

    let mut edited = signed(&good, &key);
    edited["files"]["cases/more.json"] = b64::encode(b"[]").into();
    post(path("2.0.0"), edited).await.problem(403, "bundle.signature");

    let stranger = SigningKey::generate_ed25519([7; 32]);
    post(path("2.0.0"), signed(&good, &stranger)).await.problem(403, "bundle.key");

    let errors = post(path("2.0.1"), signed(&good, &key)).await.problem(422, "bundle.invalid");
    assert_eq!(errors[0].0, "/files/bundle.toml");

    let mut other = small_bundle("1.0.0");
    other.entry("policies.cedar".to_owned()).or_default().extend(b"\n// changed\n");
    post(path("1.0.0"), signed(&other, &key)).await.problem(409, "bundle.published");

    let mut broken = signed(&good, &key);
    broken["files"]["policies.cedar"] = b64::encode(b"permit(").into();
    let errors = post(path("2.0.0"), broken).await.problem(422, "bundle.invalid");
    assert!(errors.iter().any(|(pointer, _)| pointer == "/files/policies.cedar"), "{errors:?}");

    for (body, pointer) in [
        (json!({}), "/files"),
        (json!({"files": []}), "/files"),
        (json!({"files": {"a/b": 1}}), "/files/a~1b"),
        (json!({"files": {"a": "?"}}), "/files/a"),
        (json!({"files": {}, "more": 1}), "/more"),
        (json!([]), ""),
    ] {
        let errors = post(path("2.0.0"), body).await.problem(422, "bundle.invalid");
        assert_eq!(errors[0].0, pointer);
    }
    assert_eq!(api.get(&path("2.0.0")).await.problem(404, "policy.not_published"), []);
}

#[tokio::test]
async fn an_activation_counts_only_as_its_publisher_signed_it() {
    let api = Api::new();
    let key = api.policy_key();
    let to = format!("{}/activation", path("1.1.0"));
    api.post_json(&path("1.1.0"), signed(&small_bundle("1.1.0"), &key).to_string()).await;
    let envelope = api.runtime.sign_activation(&activation("1.1.0"), &key).unwrap();
    let text = serde_json::to_string(&envelope).unwrap();

    let elsewhere = format!("{}/activation", path("1.0.0"));
    api.post_json(&elsewhere, text.clone()).await.problem(422, "activation.statement");
    let forged =
        api.runtime.sign_activation(&activation("1.1.0"), &SigningKey::generate_ed25519([9; 32])).unwrap();
    api.post_json(&to, serde_json::to_string(&forged).unwrap()).await.problem(403, "bundle.key");
    let mut swapped = envelope.clone();
    swapped.signatures[0].sig.0[5] ^= 1;
    api.post_json(&to, serde_json::to_string(&swapped).unwrap()).await.problem(403, "activation.signature");
    api.post_json(&to, "{}").await.problem(422, "envelope.invalid");
    api.clock.move_ms(11 * 60 * 1_000);
    api.post_json(&to, text).await.problem(403, "activation.time");
    assert_eq!(api.decide("x", "1").await.json()["policy"]["version"], "1.0.0");
}

#[tokio::test]
async fn what_was_never_published_is_not_found() {
    let api = Api::new();
    api.get("/v1/policies/none").await.problem(404, "policy.unknown");
    api.get("/v1/policies/none/1.0.0").await.problem(404, "policy.not_published");
    api.get("/v1/policies/NONE").await.problem(400, "request.path");
    api.get(&path("one")).await.problem(400, "request.path");
}

#[tokio::test]
async fn trust_material_leads_from_root_pub_to_the_keys() {
    let api = Api::new();
    let root = RootPub::parse(api.get("/v1/trust/root.pub").await.text()).unwrap();
    let versions = api.get("/v1/trust/keyring").await.json();
    let versions: Vec<_> = versions["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| {
            let envelope = serde_json::from_value(version["envelope"].clone()).unwrap();
            (version["index"].as_u64().unwrap(), envelope)
        })
        .collect();
    let keyring = Keyring::walk(&versions).unwrap();
    keyring.check_root(&root).unwrap();
    assert!(keyring.find_key(api.runtime.runtime_key().key_id()).is_some());
}
