//! The build that decides, and where decisions come from.

use axum::http::header;
use chancery_core::b64;
use chancery_core::digest::Digest;
use chancery_core::dsse::{Envelope, IN_TOTO};
use chancery_core::key::{Signer, SigningKey};
use chancery_core::sigstore::MessageBundle;
use chancery_core::statement::{BuildIdentity, Git, Sbom, Statement, Subject};
use chancery_runtime::BuildFiles;
use serde_json::json;

use super::support::{Api, BINARY, build_key};

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
