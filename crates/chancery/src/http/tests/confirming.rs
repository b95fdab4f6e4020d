//! Confirmations.

use chancery_core::dsse::Envelope;
use chancery_core::statement::{Confirmation, Statement};
use serde_json::{Value, json};

use super::support::{Answered, Api};

const AT: &str = "2026-03-01T10:01:00.5Z";

async fn confirm(api: &Api, id: &str, body: &Value) -> Answered {
    api.post_json(&format!("/v1/decisions/{id}/confirmation"), body.to_string()).await
}

fn executed(outcome: &str, at: &str) -> Value {
    json!({"executed": {"outcome": outcome, "reference": "pay-7", "at": at}})
}

async fn decided() -> Api {
    let api = Api::new();
    for (id, amount) in [("one", "1"), ("two", "2"), ("open", "20000"), ("blocked", "9007199254740991")] {
        assert_eq!(api.decide(id, amount).await.status, 201);
    }
    api.clock.move_ms(60_000);
    api
}

#[tokio::test]
async fn what_was_done_is_signed_and_recorded_once() {
    let api = decided().await;
    let answer = confirm(&api, "one", &executed("approve", AT)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let answer = answer.json();
    assert_eq!(answer["executed_at"], "2026-03-01T10:01:00.500000Z");
    assert_eq!(answer["confirmed_by"], "claims-core");
    let envelope: Envelope = serde_json::from_value(answer["attestation"].clone()).unwrap();
    let payload = envelope.verify_single(api.runtime.runtime_key()).unwrap();
    assert_eq!(Statement::<Confirmation>::parse(&payload).unwrap().predicate.reference, "pay-7");
    confirm(&api, "one", &executed("approve", AT)).await.problem(409, "confirmation.exists");
    let list = api.get("/v1/decisions?confirmation=none").await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list["items"][0]["execution_id"], "two");
    let list = api.get("/v1/decisions?confirmation=none&effective_before=2026-03-01T10:01:00Z").await.json();
    assert!(list["items"].as_array().unwrap().is_empty());
    assert_eq!(api.get("/v1/decisions?confirmation=done").await.json()["items"][0]["execution_id"], "one");
    // The judge takes it.
    let file = api.get("/v1/decisions:export").await;
    let report = api
        .post("/v1/verify?environment=test&without=build,witness", "application/x-ndjson", file.body)
        .await
        .json();
    let resolution =
        report["checks"].as_array().unwrap().iter().find(|check| check["id"] == "resolution").unwrap();
    assert_eq!(
        (&resolution["result"], &report["counts"]["confirmations"]),
        (&json!("pass"), &json!(1)),
        "{report}"
    );
    assert_eq!(report["verdict"], "verified", "{report}");
}

#[tokio::test]
async fn what_does_not_hold_is_not_confirmed() {
    let api = decided().await;
    let at = |pointer: &str, code: &str| vec![(pointer.to_owned(), code.to_owned())];
    for (body, code, errors) in [
        (executed("deny", AT), "confirmation.invalid", at("/executed/outcome", "confirmation.outcome")),
        (
            executed("approve", "2026-03-01T10:00:59Z"),
            "confirmation.invalid",
            at("/executed/at", "confirmation.time"),
        ),
        (
            executed("approve", "2026-03-01T10:02:11Z"),
            "confirmation.invalid",
            at("/executed/at", "confirmation.time"),
        ),
        (executed("approve", "2026-03-01"), "request.invalid", at("/executed/at", "request.value")),
        (json!({}), "request.invalid", at("/executed", "request.missing")),
        (json!([]), "request.invalid", at("", "request.type")),
        (
            json!({"executed": {"outcome": "approve", "at": AT}}),
            "request.invalid",
            at("/executed/reference", "request.missing"),
        ),
        (
            json!({"executed": {"outcome": 1, "reference": "x", "at": AT, "more": 1}}),
            "request.invalid",
            [at("/executed/outcome", "request.type"), at("/executed/more", "json.unknown")].concat(),
        ),
    ] {
        assert_eq!(confirm(&api, "one", &body).await.problem(422, code), errors, "{body}");
    }
    confirm(&api, "open", &executed("refer", AT)).await.problem(422, "confirmation.state");
    confirm(&api, "blocked", &executed("refer", AT)).await.problem(422, "confirmation.state");
    confirm(&api, "none", &executed("approve", AT)).await.problem(404, "execution.unknown");
    api.post_json("/v1/decisions/one/confirmation", "{").await.problem(400, "request.invalid");
    api.get("/v1/decisions?confirmation=maybe").await.problem(400, "request.query");
    let list = api.get("/v1/decisions?confirmation=done").await.json();
    assert!(list["items"].as_array().unwrap().is_empty(), "nothing was recorded");
}

#[tokio::test]
async fn all_that_is_connected_is_in_one_answer() {
    let api = decided().await;
    confirm(&api, "one", &executed("approve", AT)).await;
    let envelope = api.get("/v1/decisions/one/attestation").await.body;
    let path = "/v1/verify?environment=test&record=true";
    assert_eq!(api.post(path, "application/json", envelope).await.status, 200);
    let lineage = api.get("/v1/decisions/one/lineage").await;
    assert_eq!(lineage.status, 200, "{lineage:?}");
    let lineage = lineage.json();
    assert_eq!(lineage["decision"]["statement"]["predicate"]["executionId"], "one");
    assert_eq!(lineage["confirmation"]["statement"]["predicate"]["reference"], "pay-7");
    assert_eq!(lineage["verifications"].as_array().unwrap().len(), 1);
    assert!(lineage["decision"]["proof"].is_array() && lineage["policy"]["activation"]["proof"].is_array());
    assert_eq!(lineage["overrides"], json!([]));
    let attestation = api.get("/v1/decisions/one/attestation").await.json();
    assert_eq!(lineage["decision"]["attestation"], attestation);
    api.get("/v1/decisions/none/lineage").await.problem(404, "execution.unknown");
    api.get("/v1/decisions/one/lineage?x=1").await.problem(400, "request.query");
}

#[tokio::test]
async fn executions_on_the_same_inputs_are_in_one_answer() {
    let api = Api::new();
    for (id, amount) in [("one", "5"), ("other", "6"), ("two", "5"), ("three", "5")] {
        api.decide(id, amount).await;
    }
    let ids = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| item["execution_id"].as_str().unwrap().to_owned()).collect()
    };
    let one = api.get("/v1/decisions/one/lineage").await.json();
    let fingerprint = one["execution_fingerprint"].as_str().unwrap();
    let path = format!("/v1/decisions:lineage?fingerprint={fingerprint}");
    let all = api.get(&path).await.json();
    assert_eq!(ids(&all), ["one", "two", "three"]);
    assert_eq!(all["items"][0], one, "each as it is by itself");
    assert_eq!(api.get("/v1/decisions:lineage?execution_id=two").await.json(), all);
    let first = api.get(&format!("{path}&limit=2")).await.json();
    assert_eq!(ids(&first), ["one", "two"]);
    let next = first["next"].as_str().unwrap();
    assert_eq!(ids(&api.get(&format!("{path}&limit=2&after={next}")).await.json()), ["three"]);
    let nobody = format!("/v1/decisions:lineage?fingerprint={}", "0".repeat(64));
    assert_eq!(api.get(&nobody).await.json(), json!({"items": []}));
    api.get("/v1/decisions:lineage?execution_id=none").await.problem(404, "execution.unknown");
    api.get(&format!("{path}&after=x")).await.problem(400, "list.cursor");
    for wrong in [
        "",
        "?limit=1",
        "?fingerprint=x",
        "?execution_id=-",
        "?execution_id=one&limit=0",
        "?execution_id=one&limit=101",
    ] {
        api.get(&format!("/v1/decisions:lineage{wrong}")).await.problem(400, "request.query");
    }
    api.get(&format!("{path}&execution_id=one")).await.problem(400, "request.query");
    api.get(&format!("{path}&fingerprint={fingerprint}")).await.problem(400, "request.query");
}
