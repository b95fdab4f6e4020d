//! Where a decision comes from: one document, the same bytes from a server, from the command line, and for ever.

use chancery_core::b64;
use chancery_core::digest::Digest;
use chancery_core::key::PublicKey;
use chancery_tests::home::Home;
use chancery_tests::program::{chancery, run};
use chancery_tests::server::Server;
use serde_json::{Value, json};

use crate::http::{claim, get, post};

struct Answer {
    digest: String,
    signature: String,
    body: String,
}

fn provenance(server: &Server, id: &str) -> Answer {
    let mut answer = ureq::get(format!("{}/v1/decisions/{id}/provenance", server.url)).call().unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    let (digest, signature) = (header("x-provenance-digest"), header("x-provenance-signature"));
    Answer { digest, signature, body: answer.body_mut().read_to_string().unwrap() }
}

#[test]
fn the_document_stays_as_it_is_whatever_happens_afterwards() {
    let home = Home::new();
    let server = Server::start(home.path());
    let mut request = claim("claim-1");
    request["labels"] = json!({"channel": "web"});
    let (status, _, answer) = post(&format!("{}/v1/decisions", server.url), request.to_string().as_bytes());
    assert_eq!(status, 201, "{answer}");
    let first = provenance(&server, "claim-1");
    assert_eq!(first.digest, format!("sha256={}", Digest::of(first.body.as_bytes())));
    assert_eq!(first.signature, "unsigned");
    post(&format!("{}/v1/decisions", server.url), claim("claim-2").to_string().as_bytes());
    assert_eq!(provenance(&server, "claim-1").body, first.body);
    assert!(server.stop().success());

    let printed = run(&mut chancery(home.path()), ["decision", "provenance", "claim-1"]).expect(0);
    assert_eq!(printed.out, first.body);
    run(&mut chancery(home.path()), ["decision", "provenance", "nobody"]).expect(10);
    let server = Server::start(home.path());
    assert_eq!(provenance(&server, "claim-1").body, first.body);

    // What it says about the log is what the log says.
    let body: Value = serde_json::from_str(&first.body).unwrap();
    let entry = &body["log"]["entry"];
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(entry["leafHash"], answer["log"]["leaf_hash"]);
    assert_eq!(body["decision"]["statement"]["predicate"]["labels"], json!({"channel": "web"}));
    let approve = body["policy"]["outcomes"].as_array().unwrap().iter();
    let approve = approve.filter(|it| it["outcome"] == answer["decision"]);
    let determined =
        approve.flat_map(|it| it["policies"].as_array().unwrap()).filter(|it| it["determined"] == true);
    let determined: Vec<&Value> = determined.map(|it| &it["id"]).collect();
    assert_eq!(json!(determined), body["decision"]["statement"]["predicate"]["decision"]["determining"]);
    // No fact of the claim is in it.
    for fact in ["1406.91", "Parked Car", "250/500", "vehicleClaim"] {
        assert!(!first.body.contains(fact), "{fact}");
    }
}

#[test]
fn a_decision_with_a_build_is_signed_for_by_the_runtimes_key() {
    let home = Home::new();
    // The builder's key joins the keyring, and the release is there.
    let release = home.file("release");
    std::fs::create_dir(&release).unwrap();
    chancery_tests::build::write_release(&release, &chancery_tests::program::path("chancery"), |_| {});
    chancery_tests::build::enrol_builder(&home);
    let server = Server::start_with(home.path(), &mut |command| {
        command.env("CHANCERY_BUILD", "release");
    });
    let (status, _, answer) =
        post(&format!("{}/v1/decisions", server.url), claim("claim-1").to_string().as_bytes());
    assert_eq!(status, 201, "{answer}");
    let (status, build) = get(&format!("{}/v1/build", server.url));
    assert_eq!(status, 200, "{build}");
    let build: Value = serde_json::from_str(&build).unwrap();
    let found = provenance(&server, "claim-1");
    let body: Value = serde_json::from_str(&found.body).unwrap();
    assert_eq!(body["build"]["payload"], build["payload"]);
    assert_eq!(
        body["decision"]["statement"]["predicate"]["runtime"]["buildIdentity"],
        build["build_identity"]
    );
    // The key is in the keyring that the server hands out, under the id that the statement names.
    let (_, keyring) = get(&format!("{}/v1/trust/keyring", server.url));
    let keyring: Value = serde_json::from_str(&keyring).unwrap();
    let newest = keyring["versions"].as_array().unwrap().last().unwrap();
    let payload = b64::decode(newest["envelope"]["payload"].as_str().unwrap()).unwrap();
    let statement: Value = serde_json::from_slice(&payload).unwrap();
    let signer = &body["decision"]["statement"]["predicate"]["signer"];
    let keys = statement["predicate"]["keys"].as_array().unwrap();
    let pem = keys.iter().find(|key| key["keyId"] == *signer).unwrap()["publicKey"].as_str().unwrap();
    let key = PublicKey::from_spki_pem(pem).unwrap();
    let signature = b64::decode(&found.signature).unwrap();
    key.verify(found.body.as_bytes(), &signature).unwrap();
    assert!(key.verify(&found.body.as_bytes()[1..], &signature).is_err());
}
