//! `POST /v1/decisions:batch`.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, header};
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::sync::mpsc;
use tower::ServiceExt as _;

use super::support::{Api, outside, request};
use crate::http::Authentication;

const PATH: &str = "/v1/decisions:batch";
const NDJSON: &str = "application/x-ndjson";

type Pieces = mpsc::Receiver<Result<Bytes, std::io::Error>>;

/// A body whose pieces come when a test sends them.
fn coming(pieces: Pieces) -> Body {
    let next = |mut pieces: Pieces| async { pieces.recv().await.map(|piece| (piece, pieces)) };
    Body::from_stream(futures::stream::unfold(pieces, next))
}

#[tokio::test]
async fn each_line_has_its_answer_in_order_and_bad_ones_take_no_other_with_them() {
    let api = Api::new();
    let long = format!("{{\"execution_id\":\"{}\"}}", "x".repeat(300 * 1024));
    let lines = [
        request("a", "1"),
        "{\"execution_id\":".to_owned(),
        request("b", "20000"),
        String::new(),
        long,
        request("a", "1"),
        request("a", "2"),
        request("c", "x"),
        request("d", "3"),
    ];
    let answer = api.post(PATH, NDJSON, format!("{}\n", lines.join("\n"))).await;
    assert_eq!((answer.status, answer.header(header::CONTENT_TYPE)), (200, NDJSON));
    let found = answer.lines();
    assert_eq!(found.len(), lines.len());
    for (place, id) in [(0, "a"), (2, "b"), (5, "a"), (8, "d")] {
        assert_eq!(found[place]["execution_id"], id);
    }
    assert_eq!(found[0], found[5], "a repeat is answered with the first answer");
    for (place, status, code, fault) in [
        (1, 400, "request.invalid", "json.syntax"),
        (3, 400, "request.invalid", "json.syntax"),
        (4, 413, "request.invalid", "json.size"),
        (6, 409, "execution.conflict", ""),
        (7, 400, "request.invalid", "json.syntax"),
    ] {
        let line = &found[place];
        assert_eq!(line["line"], place + 1, "{line}");
        assert_eq!((&line["status"], &line["code"]), (&json!(status), &json!(code)), "{line}");
        assert_eq!(line["errors"][0]["code"].as_str().unwrap_or_default(), fault, "{line}");
    }
    let single = api.decide("b", "20000").await;
    assert_eq!((single.status, single.json()), (200, found[2].clone()), "a line is what a single answer is");
}

#[tokio::test]
async fn repeats_are_marked_where_the_client_wants_to_know() {
    let api = Api::new();
    assert_eq!(api.decide("a", "1").await.status, 201);
    let lines = format!("{}\n{}\n{}", request("a", "1"), request("b", "1"), request("b", "1"));
    let marked = api.post(&format!("{PATH}?mark_replayed=true"), NDJSON, lines.clone()).await.lines();
    let found: Vec<_> = marked.iter().map(|line| line["replayed"].as_bool()).collect();
    assert_eq!(found, [Some(true), None, Some(true)]);
    let plain = api.post(PATH, NDJSON, lines).await.lines();
    assert!(plain.iter().all(|line| line.get("replayed").is_none()));
    api.post(&format!("{PATH}?mark=1"), NDJSON, "").await.problem(400, "request.query");
}

#[tokio::test]
async fn the_log_has_the_lines_in_their_order() {
    let api = Api::new();
    let lines: Vec<String> = (0..500).map(|number| request(&format!("n{number}"), "5")).collect();
    let answer = api.post(PATH, NDJSON, lines.join("\n")).await;
    let indexes: Vec<u64> =
        answer.lines().iter().map(|line| line["log"]["index"].as_u64().unwrap()).collect();
    assert_eq!(indexes.len(), 500);
    assert!(indexes.is_sorted_by(|a, b| a + 1 == *b));
}

#[tokio::test]
async fn an_answer_comes_before_the_next_line_is_sent() {
    let api = Api::new();
    let (sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = coming(receiver);
    let mut answers = begun(&api, header::HOST, "localhost", body).await;
    for id in ["one", "two", "three"] {
        sender.send(Ok(format!("{}\n", request(id, "1")).into())).await.unwrap();
        let frame = answers.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(frame.ends_with(b"\n"));
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&frame).unwrap()["execution_id"], id);
    }
    drop(sender);
    assert!(answers.frame().await.is_none());
}

/// Begins a batch, and gives back its answers.
async fn begun(api: &Api, name: header::HeaderName, value: &str, body: Body) -> Body {
    let request = Request::builder().method(Method::POST).uri(PATH).header(header::CONTENT_TYPE, NDJSON);
    let request = request.header(name, value).body(body).unwrap();
    api.router.clone().oneshot(request).await.unwrap().into_body()
}

#[tokio::test]
async fn a_credential_that_is_good_no_longer_ends_the_batch() {
    for code in ["auth.revoked", "auth.expired"] {
        let api = Api::with(|options| options.authentication = Authentication::Credentials);
        let key = api.api_key(0, "claims-core", "submitter");
        let (sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
        let bearer = format!("Bearer {key}");
        let mut answers = begun(&api, header::AUTHORIZATION, &bearer, coming(receiver)).await;
        let mut ask = async |id: &str| {
            sender.send(Ok(format!("{}\n", request(id, "1")).into())).await.unwrap();
            let frame = answers.frame().await.unwrap().unwrap().into_data().unwrap();
            serde_json::from_slice::<serde_json::Value>(&frame).unwrap()
        };
        assert_eq!(ask("one").await["execution_id"], "one");
        api.clock.move_ms(1_000);
        assert_eq!(ask("two").await["execution_id"], "two", "it is good still");
        if code == "auth.revoked" {
            let id = key.split('_').nth(2).unwrap();
            outside(|| api.runtime.api_keys().revoke(id, 0, "tester")).unwrap();
            api.clock.move_ms(1_000);
        } else {
            api.clock.move_ms(3_600_000);
        }
        let size = || outside(|| api.runtime.records().head()).unwrap().size;
        let before = size();
        let last = ask("three").await;
        assert_eq!((&last["line"], &last["code"]), (&json!(3), &json!(code)));
        assert!(answers.frame().await.is_none());
        assert_eq!(size(), before, "it is not decided");
    }
}

#[tokio::test]
async fn an_input_that_stops_coming_ends_with_a_line_that_says_so() {
    let api = Api::with(|options| options.request_timeout = Duration::from_millis(200));
    let (sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    sender.send(Ok(format!("{}\n{{", request("one", "1")).into())).await.unwrap();
    let body = coming(receiver);
    let lines = api.post(PATH, NDJSON, body).await.lines();
    assert_eq!(lines[0]["execution_id"], "one");
    assert_eq!((&lines[1]["line"], &lines[1]["code"]), (&json!(2), &json!("request.timeout")));
    assert_eq!(lines.len(), 2);
    drop(sender);
}

#[tokio::test]
async fn nothing_in_is_nothing_out_and_json_is_no_batch() {
    let api = Api::new();
    let nothing = api.post(PATH, NDJSON, "").await;
    assert_eq!((nothing.status, nothing.text(), nothing.whole), (200, "", true));
    api.post_json(PATH, request("x", "1")).await.problem(415, "request.media_type");
    // The path with a suffix is not an execution that is called so.
    api.get(PATH).await.problem(405, "route.method");
}
