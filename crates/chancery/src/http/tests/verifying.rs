//! Verification records: of what is sent, and of old decisions.

use axum::http::header;
use serde_json::{Value, json};

use super::support::{Answered, Api};

const VERIFY: &str = "/v1/verify?environment=test&without=build&record=true";
const NDJSON: &str = "application/x-ndjson";

async fn decided(count: u32) -> Api {
    let api = Api::new();
    for id in 0..count {
        assert_eq!(api.decide(&format!("e-{id}"), "1").await.status, 201);
    }
    api.clock.move_ms(1_000);
    api
}

async fn size(api: &Api) -> usize {
    api.get("/v1/verifications?limit=1000").await.json()["items"].as_array().unwrap().len()
}

/// Asks for the job until it has ended.
async fn ended(api: &Api, location: &str) -> Value {
    loop {
        let status = api.get(location).await;
        assert_eq!(status.status, 200, "{status:?}");
        let status = status.json();
        if status["state"] != "running" {
            return status;
        }
        tokio::task::yield_now().await;
    }
}

async fn backfill(api: &Api, body: Value) -> Answered {
    api.post_json("/v1/verifications:backfill", body.to_string()).await
}

#[tokio::test]
async fn what_is_verified_is_recorded_where_that_is_asked_for() {
    let api = decided(3).await;
    let file = api.get("/v1/decisions:export").await.body;
    let report = api.post("/v1/verify?environment=test&without=build", NDJSON, file.clone()).await.json();
    assert_eq!((&report["verdict"], report.get("recorded")), (&json!("verified"), None));
    assert_eq!(size(&api).await, 0);
    let report = api.post(VERIFY, NDJSON, file).await;
    assert_eq!(report.status, 200, "{report:?}");
    assert_eq!(report.json()["recorded"].as_array().unwrap().len(), 3);
    let envelope = api.get("/v1/decisions/e-1/attestation").await.body;
    api.clock.move_ms(1);
    let report = api.post(VERIFY, "application/json", envelope).await.json();
    assert_eq!(report["recorded"][0]["execution_id"], "e-1");
    assert_eq!(size(&api).await, 4);
    let of_one = api.get("/v1/verifications?execution_id=e-1&limit=1").await.json();
    assert_eq!(of_one["items"][0]["signature_verified"], true);
    assert!(of_one["next"].is_string());
    // The log with them in it is still one that an auditor takes.
    let file = api.get("/v1/decisions:export").await.body;
    let report = api.post("/v1/verify?environment=test&without=build", NDJSON, file).await.json();
    assert_eq!(
        (&report["verdict"], &report["counts"]["verifications"]),
        (&json!("verified"), &json!(4)),
        "{report}"
    );
}

#[tokio::test]
async fn a_spoilt_copy_says_nothing_about_the_record() {
    let api = decided(2).await;
    let file = api.get("/v1/decisions:export").await;
    // An opening is changed, which no record id covers: the decision is still ours, and its record is good.
    let spoilt = file.text().replacen("\"amount\":1", "\"amount\":2", 1);
    assert_ne!(spoilt, file.text());
    let report = api.post(VERIFY, NDJSON, spoilt).await.json();
    assert_eq!(report["verdict"], "failed");
    assert_eq!(report["recorded"].as_array().unwrap().len(), 2);
    let failed = api.get("/v1/verifications?verdict=failed").await.json();
    assert!(failed["items"].as_array().unwrap().is_empty(), "{failed}");
    // Another log's decision of the same id is none of ours.
    let other = Api::new();
    other.clock.move_ms(5);
    other.decide("e-0", "1").await;
    let foreign = other.get("/v1/decisions:export").await.body;
    let report = api.post(VERIFY, NDJSON, foreign).await.json();
    assert_eq!(report["recorded"], json!([]));
    let report = api.post(VERIFY, NDJSON, "nonsense").await.json();
    assert_eq!((&report["verdict"], &report["recorded"]), (&json!("failed"), &json!([])));
}

#[tokio::test]
async fn old_records_are_verified_by_a_job() {
    let api = decided(40).await;
    let begun = backfill(&api, json!({"per_second": 10_000})).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    assert_eq!((&begun.json()["total"], begun.json()["job"].is_string()), (&json!(40), true));
    let location = begun.header(header::LOCATION).to_owned();
    let status = ended(&api, &location).await;
    assert_eq!((&status["state"], &status["recorded"]), (&json!("done"), &json!(40)));
    // A log for tests names no build: what cannot be checked is not called verified.
    assert_eq!(
        (&status["verified"], &status["failed"], &status["incomplete"]),
        (&json!(0), &json!(0), &json!(40))
    );
    assert_eq!(status.get("unjudged"), None);
    assert_eq!(size(&api).await, 40);
    // Again: nothing is left, and nothing is recorded twice.
    let again = backfill(&api, json!({"per_second": 10_000})).await;
    assert_eq!(ended(&api, again.header(header::LOCATION)).await["state"], "done");
    assert_eq!(size(&api).await, 40);
    let none =
        backfill(&api, json!({"from": "2030-01-01", "to": "2030-01-02T00:00:00Z", "policy": "other"})).await;
    assert_eq!((none.status, &none.json()["total"]), (202, &json!(0)));
}

#[tokio::test]
async fn one_job_runs_at_a_time() {
    // More than one step, and a decision a second: it still runs when the others come.
    let api = decided(70).await;
    let first = backfill(&api, json!({"per_second": 1})).await;
    assert_eq!(first.status, 202);
    let same = backfill(&api, json!({"per_second": 5})).await;
    assert_eq!((same.status, &same.json()["job"]), (200, &first.json()["job"]));
    backfill(&api, json!({"policy": "small-claims"})).await.problem(409, "backfill.running");
}

#[tokio::test]
async fn what_cannot_be_listed_or_begun_is_refused() {
    let api = decided(1).await;
    for query in ["verdict=good", "limit=0", "limit=1001", "execution_id=a%20b", "from=x", "policy=p"] {
        api.get(&format!("/v1/verifications?{query}")).await.problem(400, "request.query");
    }
    api.get("/v1/verifications?after=zzz").await.problem(400, "list.cursor");
    for (body, pointer) in [
        (json!({"from": "yesterday"}), "/from"),
        (json!({"to": 5}), "/to"),
        (json!({"policy": "NO ID"}), "/policy"),
        (json!({"per_second": 0}), "/per_second"),
        (json!({"per_second": 10_001}), "/per_second"),
        (json!({"per_second": "1"}), "/per_second"),
        (json!({"until": 5}), "/until"),
        (json!([]), ""),
    ] {
        let errors = backfill(&api, body.clone()).await.problem(422, "request.invalid");
        assert_eq!(errors.first().map(|(pointer, _)| pointer.as_str()), Some(pointer), "{body}");
    }
    for job in ["x", "99999~-~-~-", "1~-~-~", "01~-~-~-"] {
        api.get(&format!("/v1/verifications:backfill/{job}")).await.problem(404, "backfill.unknown");
    }
    api.post("/v1/verify?record=yes", NDJSON, "").await.problem(400, "request.query");
}
