//! Evidence, lists for spreadsheets, verification, and the log as files.

use axum::http::header;
use chancery_core::checkpoint::Checkpoint;
use chancery_core::digest::LeafHash;
use chancery_core::tile::{parse_entries, parse_hashes};
use chancery_core::tlog_proof::TlogProof;
use chancery_verify::{Ask, Environment, Part, Verdict, Without, verify};
use serde_json::Value;

use super::support::{Api, outside};

async fn some() -> Api {
    let api = Api::new();
    for (id, amount) in [("e1", "1"), ("e2", "20000"), ("e3", "3")] {
        assert_eq!(api.decide(id, amount).await.status, 201);
    }
    api
}

/// A test log without build identities, as the auditor of one would ask.
fn ask() -> Ask {
    Ask { environment: Environment::Test, without: Without::new([Part::Build]), ..Ask::default() }
}

#[tokio::test]
async fn every_kind_of_evidence_verifies() {
    let api = some().await;
    let root = api.get("/v1/trust/root.pub").await;
    for (query, decisions) in [
        ("", 3),
        ("?format=evidence&disclosure=full", 3),
        ("?from_index=3", 2),
        ("?policy=small-claims&outcome=approve", 2),
        ("?execution_id=e1&execution_id=e3", 2),
        ("?state=pending_override", 1),
    ] {
        let file = api.get(&format!("/v1/decisions:export{query}")).await;
        assert_eq!(
            (file.status, file.header(header::CONTENT_TYPE)),
            (200, "application/x-ndjson"),
            "{query}"
        );
        assert_eq!(file.header(header::CONTENT_DISPOSITION), "attachment; filename=\"acme.evidence.jsonl\"");
        assert!(file.whole);
        let report = verify(file.body.as_ref(), Some(root.text()), &ask());
        assert_eq!(report.verdict, Verdict::Verified, "{query}: {}", report.summary);
        assert_eq!((report.counts.decisions, report.counts.reproduced), (decisions, decisions), "{query}");
    }
    let one = api.get("/v1/decisions/e2/attestation?format=evidence").await;
    assert_eq!(one.header(header::CONTENT_DISPOSITION), "attachment; filename=\"e2.evidence.jsonl\"");
    let report = verify(one.body.as_ref(), Some(root.text()), &ask());
    assert_eq!((report.verdict, report.counts.reproduced), (Verdict::Verified, 1));
}

#[tokio::test]
async fn disclosure_is_what_was_asked_for() {
    let api = some().await;
    let hidden = api.get("/v1/decisions:export?disclosure=none").await;
    assert!(!hidden.text().contains("opening"));
    let partial = api.get("/v1/decisions:export?disclosure=partial&hide=amount").await;
    assert!(partial.text().contains("\"score\"") && !partial.text().contains("\"name\":\"amount\""));
}

#[tokio::test]
async fn an_export_that_cannot_be_is_refused_before_its_first_byte() {
    let api = some().await;
    for query in [
        "format=pdf",
        "disclosure=some",
        "disclosure=partial",
        "hide=amount",
        "from_index=x",
        "from_index=1&policy=small-claims",
        "label.batch=x",
        "execution_id=-",
        "format=csv&hide=x",
    ] {
        api.get(&format!("/v1/decisions:export?{query}")).await.problem(400, "request.query");
    }
    api.get("/v1/decisions:export?from_index=100").await.problem(400, "log.range");
    api.get("/v1/decisions:export?execution_id=none").await.problem(404, "execution.unknown");
}

#[tokio::test]
async fn lists_come_as_lines_and_as_csv() {
    let api = some().await;
    let lines = api.get("/v1/decisions:export?format=ndjson&outcome=approve").await;
    assert_eq!(lines.header(header::CONTENT_TYPE), "application/x-ndjson");
    let ids: Vec<Value> = lines.lines().iter().map(|line| line["execution_id"].clone()).collect();
    assert_eq!(ids, ["e1", "e3"]);
    let table = api.get("/v1/decisions:export?format=csv").await;
    assert_eq!(table.header(header::CONTENT_TYPE), "text/csv; charset=utf-8; header=present");
    let mut reader = csv::Reader::from_reader(table.body.as_ref());
    let headers = reader.headers().unwrap().clone();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    let column = |name: &str| headers.iter().position(|header| header == name).unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(&rows[1][column("execution_id")], "e2");
    assert_eq!(&rows[1][column("resource")], "Claim::\"CLM-1\"");
    assert_eq!(&rows[1][column("labels")], "{\"batch\":\"b-e2\"}");
    assert_eq!(&rows[1][column("current_state")], "pending_override");
}

#[tokio::test]
async fn the_server_judges_evidence_and_its_own_attestations() {
    let api = some().await;
    let path = "/v1/verify?environment=test&without=build";
    let file = api.get("/v1/decisions:export").await;
    let size = api.runtime.records().head().unwrap().size;
    let report = api.post(path, "application/x-ndjson", file.body.clone()).await;
    assert_eq!((report.status, &report.json()["verdict"]), (200, &Value::from("verified")), "{report:?}");
    let production =
        api.post("/v1/verify?without=build", "application/x-ndjson", file.body.clone()).await.json();
    assert_ne!(production["verdict"], "verified");

    let edited = file.text().replacen("\"amount\":20000", "\"amount\":20001", 1);
    let report = api.post(path, "application/x-ndjson", edited).await;
    assert_eq!((report.status, &report.json()["verdict"]), (200, &Value::from("failed")));
    let cut = file.body.slice(..file.body.len() - 10);
    assert_eq!(api.post(path, "application/x-ndjson", cut).await.json()["verdict"], "failed");
    assert_ne!(api.post(path, "application/x-ndjson", "").await.json()["verdict"], "verified");

    let envelope = api.get("/v1/decisions/e1/attestation").await;
    let report = api.post_json(path, envelope.body.clone()).await.json();
    assert_eq!(
        (&report["verdict"], &report["counts"]["reproduced"]),
        (&Value::from("verified"), &Value::from(1))
    );
    let other = api.get("/v1/decisions/e2/attestation").await.json();
    let mut swapped = envelope.json();
    swapped["signatures"] = other["signatures"].clone();
    let report = api.post_json(path, swapped.to_string()).await.json();
    assert_eq!(report["verdict"], "failed");
    assert_eq!(report["checks"][0]["id"], "envelope.signature");

    api.post_json(path, "{\"payload\":1}").await.problem(422, "envelope.invalid");
    api.post_json(path, "{").await.problem(400, "request.invalid");
    api.post(path, "text/html", "x").await.problem(415, "request.media_type");
    api.post("/v1/verify?without=all", "application/x-ndjson", "").await.problem(400, "request.query");
    assert_eq!(api.runtime.records().head().unwrap().size, size, "and nothing is recorded of it");
}

#[tokio::test]
async fn the_log_is_served_as_files() {
    let api = some().await;
    outside(|| api.runtime.publish_checkpoint()).unwrap();
    let note = api.get("/v1/log/acme/checkpoint").await;
    assert_eq!((note.status, note.header(header::CONTENT_TYPE)), (200, "text/plain; charset=utf-8"));
    let signed =
        Checkpoint::parse_and_verify(note.text(), api.runtime.log_key(), "log.example.com/acme").unwrap();
    let size = signed.checkpoint().size;
    assert_eq!(size, api.runtime.records().head().unwrap().size);

    let hashes = api.get(&format!("/v1/log/acme/tile/0/000.p/{size}")).await;
    assert_eq!(hashes.header(header::CONTENT_TYPE), "application/octet-stream");
    assert_eq!(hashes.header(header::CACHE_CONTROL), "no-cache", "it will be full one day");
    let hashes = parse_hashes(&hashes.body).unwrap();
    let entries =
        parse_entries(&api.get(&format!("/v1/log/acme/tile/entries/000.p/{size}")).await.body).unwrap();
    assert_eq!((hashes.len(), entries.len()), (usize::try_from(size).unwrap(), hashes.len()));

    let answer = api.decide("e3", "3").await.json();
    let index = answer["log"]["index"].as_u64().unwrap();
    let leaf: LeafHash = answer["log"]["leaf_hash"].as_str().unwrap().parse().unwrap();
    let proof = api.get(&format!("/v1/log/acme/proof?index={index}")).await;
    assert_eq!(proof.header(header::CONTENT_TYPE), "text/plain; charset=utf-8");
    let proof: TlogProof = proof.text().parse().unwrap();
    proof.verify(&leaf, api.runtime.log_key(), "log.example.com/acme").unwrap();
    assert!(proof.verify(&leaf, api.runtime.runtime_key(), "log.example.com/acme").is_err());
}

#[tokio::test]
async fn a_full_tile_may_be_kept_for_ever() {
    let api = Api::with(|options| options.logs[0].public_log = true);
    let lines: Vec<String> =
        (0..300).map(|number| super::support::request(&format!("n{number}"), "5")).collect();
    api.post("/v1/decisions:batch", "application/x-ndjson", lines.join("\n")).await;
    for path in ["0/000", "entries/000"] {
        let tile = api.get(&format!("/v1/log/acme/tile/{path}")).await;
        assert_eq!(tile.header(header::CACHE_CONTROL), "public, max-age=31536000, immutable", "{path}");
    }
    assert_eq!(api.get("/v1/log/acme/tile/0/000").await.body.len(), 256 * 32);
}

#[tokio::test]
async fn what_the_log_does_not_have_is_not_found() {
    let api = Api::new();
    for path in ["0/001", "0/000", "9/000", "0/0", "x", "entries/000.p/256", "../checkpoint"] {
        api.get(&format!("/v1/log/acme/tile/{path}")).await.problem(404, "log.tile");
    }
    api.get("/v1/log/other/checkpoint").await.problem(403, "auth.tenant");
    api.get("/v1/log/acme/proof?index=1000").await.problem(404, "log.index");
    api.get("/v1/log/acme/proof").await.problem(400, "request.query");
    api.get("/v1/log/acme/proof?index=-1").await.problem(400, "request.query");
}
