//! The build that decides, and where decisions come from.

use axum::body::Body;
use axum::http::{Request, header};
use chancery_core::b64;
use chancery_core::digest::Digest;
use chancery_core::dsse::{Envelope, IN_TOTO};
use chancery_core::key::{KeyId, Signer, SigningKey};
use chancery_core::keyring::{Change, Moment};
use chancery_core::sigstore::MessageBundle;
use chancery_core::statement::{BuildIdentity, Git, Sbom, Statement, Subject};
use chancery_runtime::{BuildFiles, Clock as _, trust};
use serde_json::json;

use super::support::{Api, BINARY, build_key, outside, root_key, send};

const BOM: &[u8] = br#"{"bomFormat":"CycloneDX","specVersion":"1.5"}"#;

/// The files of a release of the program that the tests say they are.
fn release(key: &SigningKey) -> BuildFiles {
    let predicate = BuildIdentity {
        builder: "https://ci.example".to_owned(),
        built_at: "2026-02-01T00:00:00.000000Z".parse().unwrap(),
        git: Git {
            commit: "0".repeat(40),
            dirty: false,
            repository: "https://git.example/chancery".to_owned(),
            tag: None,
        },
        image: None,
        lockfile_sha256: Digest::of(b"lock"),
        sbom: Sbom {
            format: "CycloneDX".to_owned(),
            sha256: Digest::of(BOM),
            spec_version: "1.5".to_owned(),
        },
        signer: key.public_key().key_id().clone(),
        slsa_provenance: None,
        toolchain: "rustc 1.95.0".to_owned(),
    };
    let statement = Statement::build_of(Subject::new("chancery", *BINARY.as_bytes()), predicate).unwrap();
    let identity = statement.to_payload().unwrap().into_bytes();
    let bundle = MessageBundle::sign(&identity, key).unwrap();
    let envelope = Envelope::sign(IN_TOTO, identity.clone(), key).unwrap();
    BuildFiles {
        signature: None,
        bundle: Some(serde_json::to_vec(&bundle).unwrap()),
        envelope: Some(serde_json::to_vec(&envelope).unwrap()),
        sbom: Some(BOM.to_vec()),
        identity,
    }
}

#[tokio::test]
async fn the_build_is_public_and_its_parts_are_the_files_of_the_release() {
    let key = build_key();
    let files = release(&key);
    let api = Api::of_build(files.clone());
    let answer = api.get("/v1/build").await;
    assert_eq!((answer.status, answer.header(header::CONTENT_TYPE)), (200, "application/json"));
    let build = answer.json();
    assert_eq!(build["build_identity"], Digest::of(&files.identity).to_string());
    assert_eq!(build["payload"], b64::encode(&files.identity));
    assert_eq!(build["sbom_sha256"], Digest::of(BOM).to_string());
    assert_eq!(build["identity"]["predicate"]["git"]["commit"], "0".repeat(40));
    for (part, content_type, bytes) in [
        ("identity", "application/vnd.in-toto+json", Some(files.identity.as_slice())),
        ("sbom", "application/vnd.cyclonedx+json; version=1.5", Some(BOM)),
        ("signature", "application/vnd.dev.sigstore.bundle.v0.3+json", None),
        ("envelope", "application/vnd.dsse.envelope.v1+json", None),
    ] {
        let answer = api.get(&format!("/v1/build?part={part}")).await;
        assert_eq!((answer.status, answer.header(header::CONTENT_TYPE)), (200, content_type));
        if let Some(bytes) = bytes {
            assert_eq!(answer.body, bytes, "{part}");
        }
    }
    let signature = api.get("/v1/build?part=signature").await;
    let bundle = MessageBundle::parse(&signature.body).unwrap();
    bundle.verify(&files.identity, key.public_key()).unwrap();
    let envelope = api.get("/v1/build?part=envelope").await;
    let envelope: Envelope = serde_json::from_slice(&envelope.body).unwrap();
    envelope.verify_single(key.public_key()).unwrap();
    let faults = api.get("/v1/build?part=program&other=1").await.problem(400, "request.query");
    assert_eq!(faults.len(), 2);
}

#[tokio::test]
async fn a_log_for_tests_may_have_no_build() {
    let api = Api::new();
    api.get("/v1/build").await.problem(404, "build.none");
    api.decide("x", "500").await;
    let answer = api.get("/v1/decisions/x/provenance").await;
    assert_eq!(answer.header("x-provenance-signature"), "unsigned");
    assert_eq!(answer.header("x-provenance-key"), "");
    assert_eq!(answer.header("x-provenance-digest"), format!("sha256={}", Digest::of(&answer.body)));
    assert_eq!(answer.json()["build"], json!(null));
    api.get("/v1/decisions/nobody/provenance").await.problem(404, "execution.unknown");
    api.get("/v1/decisions/x/provenance?at=now").await.problem(400, "request.query");
}

#[tokio::test]
async fn provenance_is_signed_and_stays_as_it_is() {
    let api = Api::of_build(release(&build_key()));
    api.decide("x", "500").await;
    let first = api.get("/v1/decisions/x/provenance").await;
    assert_eq!((first.status, first.header(header::CONTENT_TYPE)), (200, "application/json"));
    let key = api.runtime.runtime_key();
    assert_eq!(first.header("x-provenance-key"), key.key_id().as_str());
    let signature = b64::decode(first.header("x-provenance-signature")).unwrap();
    key.verify(&first.body, &signature).unwrap();
    assert_eq!(first.header("x-provenance-digest"), format!("sha256={}", Digest::of(&first.body)));
    let statement = &first.json()["decision"]["statement"]["predicate"];
    assert_eq!(statement["runtime"]["buildIdentity"], api.get("/v1/build").await.json()["build_identity"]);
    api.decide("y", "500").await;
    api.clock.move_ms(60_000);
    assert_eq!(api.get("/v1/decisions/x/provenance").await.body, first.body);
}

/// Revokes a key from an entry of the log on.
fn revoke(api: &Api, key: &KeyId, from_index: u64) {
    let revoked = Change::Revoke { key: key.clone(), from_index, reason: "stolen".to_owned() };
    let keyring = api.runtime.keyring();
    let size = api.runtime.records().head().unwrap().size;
    let draft = keyring.draft(&[revoked], Moment { now: api.clock.now(), size }).unwrap();
    let mut envelope = trust::unsigned(&draft).unwrap();
    trust::sign(&keyring, &mut envelope, &root_key()).unwrap();
    outside(|| api.runtime.append_keyring(&envelope).map(drop)).unwrap();
}

#[tokio::test]
async fn after_its_runtime_key_was_revoked_a_server_signs_nothing_more() {
    let api = Api::of_build(release(&build_key()));
    api.decide("x", "500").await;
    let size = api.runtime.records().head().unwrap().size;
    revoke(&api, api.runtime.runtime_key().key_id(), size);
    for path in ["/v1/decisions/x/provenance", "/v1/decisions:export", "/v1/decisions:export?execution_id=x"]
    {
        let refused = api.get(path).await;
        refused.problem(503, "runtime.key");
        assert_eq!(refused.header("x-provenance-signature"), "", "{path}");
    }
    api.decide("y", "500").await.problem(503, "runtime.key");
    assert_eq!(api.get("/v1/decisions/x").await.status, 200, "what was signed is still there");
}

#[tokio::test]
async fn a_build_whose_key_is_revoked_decides_nothing_and_readiness_says_so() {
    let api = Api::of_build(release(&build_key()));
    api.decide("x", "500").await;
    revoke(&api, build_key().public_key().key_id(), 0);
    api.decide("y", "500").await.problem(503, "build.key");
    let ready = send(&api.operator, Request::get("/readyz").body(Body::empty()).unwrap()).await;
    let checks = ready.json()["checks"].as_array().unwrap().clone();
    let failed: Vec<_> = checks.iter().filter(|check| check["ok"] == false).collect();
    assert_eq!((ready.status, failed.len(), &failed[0]["name"]), (503, 1, &json!("build")), "{checks:?}");
    assert!(failed[0]["detail"].as_str().unwrap().contains("revoked"), "{failed:?}");
}
