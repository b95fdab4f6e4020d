//! `POST /v1/decisions` and `:evaluate`.

use axum::body::{Body, Bytes};
use axum::http::{Method, header};
use serde_json::{Value, json};

use super::support::{Api, POLICY, request};

#[tokio::test]
async fn a_decision_is_answered_with_its_attestation_and_place() {
    let api = Api::new();
    let answer = api.decide("claim:1", "500").await;
    assert_eq!((answer.status, answer.header(header::CONTENT_TYPE)), (201, "application/json"));
    assert_eq!(answer.header(header::LOCATION), "/v1/decisions/claim:1");
    assert_eq!(answer.header(header::CACHE_CONTROL), "no-store");
    assert_eq!(answer.header("idempotent-replayed"), "");
    let body = answer.json();
    assert_eq!(body["decision"], "approve");
    assert_eq!(body["execution_state"], "completed");
    assert_eq!(body["reasons"][0]["code"], "SMALL");
    assert_eq!(body["policy"]["version"], "1.0.0");
    assert_eq!(body["attestation"]["payloadType"], "application/vnd.in-toto+json");
    let index = body["log"]["index"].as_u64().unwrap();
    assert_eq!(
        api.runtime.records().head().unwrap().size,
        index + 1,
        "it is in the log before it is answered"
    );
}

#[tokio::test]
async fn a_denial_and_a_blocked_decision_are_decisions_too() {
    let api = Api::new();
    let referred = api.decide("r", "20000").await;
    assert_eq!((referred.status, &referred.json()["execution_state"]), (201, &json!("pending_override")));
    let blocked = api.decide("b", "9007199254740991").await;
    assert_eq!((blocked.status, &blocked.json()["execution_state"]), (201, &json!("blocked")));
    assert_eq!(blocked.json()["errors"][0]["code"], "cedar.overflow");
}

#[tokio::test]
async fn a_repeat_gets_the_same_bytes_and_other_inputs_a_conflict() {
    let api = Api::new();
    let first = api.decide("twice", "500").await;
    // Written differently, with the same values.
    let again = request("twice", "500").replace("\"0.1\"", "0.10").replace(",\"labels\"", " ,\n\"labels\"");
    let again = api.post_json("/v1/decisions", again).await;
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.header(header::LOCATION), "");
    assert_eq!(first.body, again.body);
    api.decide("twice", "501").await.problem(409, "execution.conflict");
    assert_eq!(api.decide("twice", "500").await.body, first.body, "and nothing was changed by that");
}

#[tokio::test]
async fn every_fault_of_a_request_is_told_with_its_place() {
    let api = Api::new();
    let body = format!(
        r#"{{"policy":"{POLICY}","signals":{{"amount":5.5,"scoer":1,"note":null}},"labels":{{}},"extra":1}}"#
    );
    let answer = api.post_json("/v1/decisions", body).await;
    let mut errors = answer.problem(422, "request.invalid");
    errors.sort();
    let pairs = |(pointer, code): &(String, String)| format!("{code} {pointer}");
    let errors: Vec<String> = errors.iter().map(pairs).collect();
    for expected in [
        "request.missing /execution_id",
        "json.unknown /extra",
        "signal.type /signals/amount",
        "signal.undeclared /signals/scoer",
        "signal.missing /signals/score",
        "signal.null /signals/note",
    ] {
        assert!(errors.contains(&expected.to_owned()), "{expected} is not in {errors:?}");
    }
}

#[tokio::test]
async fn what_is_no_strict_json_is_refused_as_that() {
    let api = Api::new();
    let with = |signals: &str| format!(r#"{{"execution_id":"x","policy":"{POLICY}","signals":{signals}}}"#);
    let deep = with(&format!("{}1{}", "[".repeat(40), "]".repeat(40)));
    let cases: [(&str, String, &str, &str); 6] = [
        ("cut off", "{\"execution_id\":".to_owned(), "json.syntax", ""),
        ("nothing", String::new(), "json.syntax", ""),
        ("two values", format!("{} {{}}", request("x", "1")), "json.syntax", ""),
        ("a name twice", with(r#"{"amount":1,"\u0061mount":2}"#), "json.duplicate", "/signals/amount"),
        ("too deep", deep, "json.depth", "/signals"),
        ("a large number", with(r#"{"amount":9007199254740993}"#), "json.number", "/signals/amount"),
    ];
    for (what, body, code, pointer) in cases {
        let answer = api.post_json("/v1/decisions", body).await;
        let errors = answer.problem(400, "request.invalid");
        assert_eq!(errors.len(), 1, "{what}");
        assert_eq!(errors[0].1, code, "{what}");
        assert!(errors[0].0.starts_with(pointer), "{what}: {errors:?}");
    }
    let array = api.post_json("/v1/decisions", "[]").await;
    assert_eq!(array.problem(422, "request.invalid")[0].1, "request.type");
    assert_eq!(api.runtime.records().get(&"x".parse().unwrap()).unwrap().map(|found| found.signer), None);
}

#[tokio::test]
async fn a_request_may_have_256_kib_and_no_more() {
    let api = Api::new();
    let padded = |length: usize| {
        let body = request("big", "1");
        format!("{}{}", " ".repeat(length - body.len()), body)
    };
    assert_eq!(api.post_json("/v1/decisions", padded(256 * 1024)).await.status, 201);
    // Said beforehand, and found out while reading.
    for body in [
        Body::from(padded(256 * 1024 + 1)),
        Body::from_stream(futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from(padded(
            256 * 1024 + 1,
        )))])),
    ] {
        let answer = api.post_json("/v1/decisions", body).await;
        let errors = answer.problem(413, "request.too_large");
        assert_eq!(errors, [(String::new(), "json.size".to_owned())]);
    }
}

#[tokio::test]
async fn only_json_is_taken() {
    let api = Api::new();
    for content in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        let answer = api.send(Method::POST, "/v1/decisions", content, request("x", "1").into()).await;
        answer.problem(415, "request.media_type");
    }
    let utf8 = api.post("/v1/decisions", "application/json; charset=utf-8", request("x", "1")).await;
    assert_eq!(utf8.status, 201);
}

#[tokio::test]
async fn an_unknown_policy_and_a_version_that_is_not_in_force_are_told_apart() {
    let api = Api::new();
    let unknown = request("x", "1").replace(POLICY, "no-such-policy");
    api.post_json("/v1/decisions", unknown).await.problem(404, "policy.unknown");
    let version = request("x", "1").replace("\"resource\"", "\"version\":\"2.0.0\",\"resource\"");
    api.post_json("/v1/decisions", version.clone()).await.problem(409, "policy.not_in_force");
    api.post_json("/v1/decisions:evaluate", version.clone()).await.problem(404, "policy.not_published");
    let for_another_schema = version.replace("\"amount\"", "\"sum\"");
    api.post_json("/v1/decisions", for_another_schema).await.problem(409, "policy.not_in_force");
    let with_faults = version.replace("\"resource\"", "\"resorce\"");
    api.post_json("/v1/decisions", with_faults).await.problem(422, "request.invalid");
}

#[tokio::test]
async fn an_evaluation_records_nothing() {
    let api = Api::new();
    let size = api.runtime.records().head().unwrap().size;
    let evaluated = api.post_json("/v1/decisions:evaluate", request("x", "500")).await;
    assert_eq!(evaluated.status, 200);
    let body = evaluated.json();
    assert_eq!((&body["recorded"], &body["decision"]), (&json!(false), &json!("approve")));
    assert_eq!(body["attestation"], Value::Null);
    assert_eq!(api.runtime.records().head().unwrap().size, size);
    let decided = api.decide("x", "500").await.json();
    assert_eq!(decided["execution_fingerprint"], body["execution_fingerprint"]);
    let nameless = request("x", "500").replace("\"execution_id\":\"x\",", "");
    let evaluated = api.post_json("/v1/decisions:evaluate", nameless.clone()).await.json();
    assert_eq!(evaluated["execution_fingerprint"], body["execution_fingerprint"]);
    assert_eq!((&body["execution_id"], evaluated.get("execution_id")), (&json!("x"), None));
    api.post_json("/v1/decisions:evaluate", request("-", "500")).await.problem(422, "request.invalid");
    let missing = api.post_json("/v1/decisions", nameless).await.problem(422, "request.invalid");
    assert_eq!(missing, [("/execution_id".to_owned(), "request.missing".to_owned())]);
}

#[tokio::test]
async fn a_log_that_takes_nothing_is_503_and_never_a_decision() {
    let api = Api::new();
    // The clock falls back by an hour: the log takes nothing that claims such a time.
    api.clock.move_ms(7_200_000);
    assert_eq!(api.decide("before", "1").await.status, 201);
    api.clock.move_ms(-3_600_000);
    let refused = api.decide("after", "1").await;
    refused.problem(503, "runtime.clock");
    assert_eq!(refused.header(header::RETRY_AFTER), "1");
    assert_eq!(api.get("/v1/decisions/after").await.status, 404);
    assert_eq!(api.decide("before", "1").await.status, 200, "what is recorded is answered");
}
