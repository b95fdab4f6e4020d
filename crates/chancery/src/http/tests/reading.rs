//! Lists, counts, and one decision with its attestation.

use axum::http::header;
use chancery_core::dsse::Envelope;
use chancery_core::sigstore::{DsseBundle, MEDIA_TYPE};
use chancery_core::statement::{Decision, Statement};
use serde_json::{Value, json};

use super::support::{Api, POLICY};

async fn five() -> Api {
    let api = Api::new();
    for (id, amount) in [("e1", "1"), ("e2", "20000"), ("e3", "3"), ("e4", "4"), ("e5", "20005")] {
        api.clock.move_ms(1_000);
        assert_eq!(api.decide(id, amount).await.status, 201);
    }
    api
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["execution_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn pages_lead_to_the_end_whatever_is_recorded_meanwhile() {
    let api = five().await;
    let first = api.get("/v1/decisions?limit=2").await.json();
    assert_eq!(ids(&first), ["e5", "e4"]);
    assert_eq!(api.decide("e6", "6").await.status, 201);
    let next = first["next"].as_str().unwrap();
    let second = api.get(&format!("/v1/decisions?limit=2&after={next}")).await.json();
    assert_eq!(ids(&second), ["e3", "e2"]);
    let next = second["next"].as_str().unwrap();
    let third = api.get(&format!("/v1/decisions?limit=2&after={next}")).await.json();
    assert_eq!(ids(&third), ["e1"]);
    assert_eq!(third["next"], Value::Null);
    assert_eq!(
        ids(&api.get("/v1/decisions?order=oldest").await.json()),
        ["e1", "e2", "e3", "e4", "e5", "e6"]
    );
}

#[tokio::test]
async fn filters_choose() {
    let api = five().await;
    let fingerprint =
        api.get("/v1/decisions/e3").await.json()["execution_fingerprint"].as_str().unwrap().to_owned();
    for (filter, expected) in [
        (format!("policy={POLICY}&version=1.0.0&limit=1"), vec!["e5"]),
        ("policy=other".to_owned(), vec![]),
        ("outcome=refer".to_owned(), vec!["e5", "e2"]),
        ("state=pending_override".to_owned(), vec!["e5", "e2"]),
        ("from=2026-03-01T10:01:02Z&to=2026-03-01T11:01:04%2B01:00".to_owned(), vec!["e3", "e2"]),
        ("from=2026-03-02".to_owned(), vec![]),
        ("principal=System::%22claims-core%22&outcome=approve".to_owned(), vec!["e4", "e3", "e1"]),
        (format!("fingerprint={fingerprint}"), vec!["e3"]),
        ("label.batch=b-e4".to_owned(), vec!["e4"]),
        ("label.batch=b-e4&label.other=x".to_owned(), vec![]),
    ] {
        let page = api.get(&format!("/v1/decisions?{filter}")).await;
        assert_eq!(page.status, 200, "{filter}: {page:?}");
        assert_eq!(ids(&page.json()), expected, "{filter}");
    }
}

#[tokio::test]
async fn a_bad_parameter_is_told_and_so_is_every_other() {
    let api = Api::new();
    for query in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "state=done",
        "from=yesterday",
        "fingerprint=AB",
        "principal=claims-core",
        "policy=NOT%20ONE",
        "polcy=x",
        "policy=a&policy=b",
        "order=up",
    ] {
        let answer = api.get(&format!("/v1/decisions?{query}")).await;
        assert_eq!(answer.problem(400, "request.query").len(), 1, "{query}");
    }
    assert_eq!(api.get("/v1/decisions?limit=x&state=y&z=1").await.problem(400, "request.query").len(), 3);
    api.get("/v1/decisions?after=c01").await.problem(400, "list.cursor");
    api.get("/v1/policies?x=1").await.problem(400, "request.query");
}

#[tokio::test]
async fn counts_add_up() {
    let api = five().await;
    let stats = api.get("/v1/decisions:stats").await.json();
    assert_eq!(stats["total"], 5);
    let row = json!({"policy": POLICY, "outcome": "refer", "state": "pending_override", "day": "2026-03-01", "count": 2});
    assert!(stats["rows"].as_array().unwrap().contains(&row), "{stats}");
    assert_eq!(stats["latency"]["count"], 5);
    assert!(stats["latency"]["p50_us"].as_u64() <= stats["latency"]["p99_us"].as_u64());
    assert_eq!(api.get("/v1/decisions:stats?outcome=refer").await.json()["total"], 2);
}

#[tokio::test]
async fn one_decision_is_there_whole_with_the_bytes_that_were_signed() {
    let api = Api::new();
    let answer = api.decide("one", "500").await.json();
    let detail = api.get("/v1/decisions/one").await;
    assert_eq!(detail.status, 200);
    let detail = detail.json();
    for member in ["execution_id", "execution_fingerprint", "decision", "policy", "attestation", "log"] {
        assert_eq!(detail[member], answer[member], "{member}");
    }
    assert_eq!(detail["current"], json!({"state": "completed", "outcome": "approve"}));
    assert_eq!(detail["statement"]["executionId"], "one");
    assert_eq!(detail["labels"], json!({"batch": "b-one"}));

    let envelope = api.get("/v1/decisions/one/attestation").await;
    assert_eq!(envelope.header(header::CONTENT_TYPE), "application/vnd.dsse.envelope.v1+json");
    assert_eq!(envelope.json(), answer["attestation"]);
    let envelope: Envelope = serde_json::from_slice(&envelope.body).unwrap();
    let payload = envelope.verify_single(api.runtime.runtime_key()).unwrap();
    let statement = Statement::<Decision>::parse(&payload).unwrap();
    assert_eq!(
        statement.predicate.environment.as_str(),
        "test",
        "it says that nobody was asked who they are"
    );
    assert_eq!(statement.predicate.principal.to_string(), "System::\"claims-core\"");
}

#[tokio::test]
async fn an_attestation_comes_as_a_sigstore_bundle_too() {
    let api = Api::new();
    api.decide("one", "500").await;
    let answer = api.get("/v1/decisions/one/attestation?format=sigstore").await;
    assert_eq!((answer.status, answer.header(header::CONTENT_TYPE)), (200, MEDIA_TYPE));
    let bundle = DsseBundle::parse(&answer.body).unwrap();
    assert!(bundle.verify(api.runtime.runtime_key()).is_ok());
    assert!(bundle.verify(api.runtime.log_key()).is_err());
}

#[tokio::test]
async fn what_was_never_decided_is_not_found() {
    let api = Api::new();
    for path in [
        "/v1/decisions/none",
        "/v1/decisions/none/attestation",
        "/v1/decisions/none/attestation?format=evidence",
    ] {
        api.get(path).await.problem(404, "execution.unknown");
    }
    for path in ["/v1/decisions/-x", "/v1/decisions/a%20b", "/v1/decisions/%FF"] {
        api.get(path).await.problem(400, "request.path");
    }
    api.get("/v1/decisions/none/attestation?format=pdf").await.problem(400, "request.query");
}
