//! What every answer has, whatever it is about; and what never gets through.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

use super::support::{Answered, Api, request, send};
use crate::http::State;
use crate::http::layers::{with_layers, with_operator_layers};

fn at(path: &str) -> Request<Body> {
    Request::builder().uri(path).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn what_is_not_there_is_told_as_a_problem() {
    let api = Api::new();
    for path in
        ["/", "/v1", "/v1/decision", "/v1/decisions:other", "/v1/decisions/a/b", "/v2/decisions", "/metrics"]
    {
        api.get(path).await.problem(404, "route.unknown");
    }
    for (method, path, allow) in [
        (Method::PUT, "/v1/decisions", "POST"),
        (Method::GET, "/v1/verify", "POST"),
        (Method::DELETE, "/v1/decisions/x", "GET"),
        (Method::POST, "/v1/decisions:stats", "GET"),
    ] {
        let answer = api.send(method.clone(), path, None, Body::empty()).await;
        answer.problem(405, "route.method");
        assert!(answer.header(header::ALLOW).contains(allow), "{method} {path}: {answer:?}");
    }
}

/// That an answer has the headers that every one has.
#[track_caller]
fn has_headers(answer: &Answered, cache: &str) {
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::CACHE_CONTROL, cache),
    ] {
        assert_eq!(answer.header(&name), value, "{name} of {answer:?}");
    }
}

#[tokio::test]
async fn every_answer_has_its_headers_and_a_request_id_of_ours() {
    let api = Api::new();
    let broken = broken(api.state.clone());
    let mut seen = Vec::new();
    for (router, path, status) in [
        (&api.router, "/v1/decisions", 200),
        (&api.router, "/nothing", 404),
        (&api.router, "/v1/openapi.json", 200),
        (&api.router, "/v1/decisions?limit=x", 400),
        (&broken, "/v1/not-in-the-table", 403),
        (&broken, "/v1/policies", 500),
    ] {
        let mut request = at(path);
        request.headers_mut().insert("x-request-id", "mine".parse().unwrap());
        let answer = send(router, request).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        has_headers(&answer, if path == "/v1/openapi.json" { "no-cache" } else { "no-store" });
        let id = answer.header("x-request-id").to_owned();
        assert!(!id.is_empty() && id != "mine" && !seen.contains(&id));
        seen.push(id);
    }
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let api = Api::new();
    api.decide("x", "1").await;
    for path in ["/v1/decisions/x", "/v1/policies", "/v1/log/acme/checkpoint"] {
        let (get, head) = (api.get(path).await, api.send(Method::HEAD, path, None, Body::empty()).await);
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        assert_eq!(head.header(header::CONTENT_TYPE), get.header(header::CONTENT_TYPE));
    }
    assert_eq!(api.send(Method::HEAD, "/v1/decisions/none", None, Body::empty()).await.status, 404);
}

#[tokio::test]
async fn without_credentials_a_foreign_host_is_refused() {
    let api = Api::new();
    for (host, status) in [("127.0.0.1:8080", 200), ("localhost", 200), ("rebound.example", 403)] {
        let mut request = at("/v1/decisions");
        request.headers_mut().insert(header::HOST, host.parse().unwrap());
        assert_eq!(send(&api.router, request).await.status, status, "{host}");
    }
}

async fn panics() {
    panic!("the amount was 4711");
}

async fn sleeps() {
    tokio::time::sleep(Duration::from_secs(600)).await;
}

/// Routes of a test's own, at paths that the table has.
fn broken(state: State) -> Router {
    async fn gathers() -> impl IntoResponse {
        tokio::time::sleep(Duration::from_millis(50)).await;
        ([(header::CONTENT_TYPE, "application/x-ndjson")], "\"at last\"\n")
    }
    let routes = Router::new()
        .route("/v1/policies", get(panics))
        .route("/v1/decisions", get(sleeps).post(sleeps))
        .route("/v1/decisions:export", get(gathers))
        .route("/v1/not-in-the-table", get(|| async { "secret" }));
    with_layers(routes, state)
}

#[tokio::test]
async fn a_panic_is_a_problem_that_tells_nothing() {
    let api = Api::new();
    let answer = send(&broken(api.state.clone()), at("/v1/policies")).await;
    answer.problem(500, "runtime.internal");
    assert!(!answer.text().contains("4711"));
}

#[tokio::test]
async fn an_answer_that_does_not_begin_in_time_is_503() {
    let api = Api::with(|options| options.request_timeout = Duration::from_millis(10));
    let router = broken(api.state.clone());
    let late = send(&router, at("/v1/decisions")).await;
    late.problem(503, "server.timeout");
    has_headers(&late, "no-store");
    assert_eq!(late.header(header::RETRY_AFTER), "1");
    let post = Request::builder().method(Method::POST).uri("/v1/decisions").body(Body::empty()).unwrap();
    let late = send(&router, post).await;
    assert!(late.json()["detail"].as_str().unwrap().contains("repeat the same request"));
}

#[tokio::test]
async fn an_answer_without_a_time_out_may_begin_later() {
    let api = Api::with(|options| options.request_timeout = Duration::from_millis(10));
    let late = send(&broken(api.state.clone()), at("/v1/decisions:export")).await;
    assert_eq!((late.status, late.text()), (200, "\"at last\"\n"));
}

#[tokio::test]
async fn the_operators_port_answers_after_panics_and_in_time() {
    let api = Api::with(|options| options.request_timeout = Duration::from_millis(10));
    let routes = Router::new().route("/metrics", get(panics)).route("/readyz", get(sleeps));
    let router = with_operator_layers(routes, api.state.clone());
    for (path, status, code) in [
        ("/metrics", 500, "runtime.internal"),
        ("/readyz", 503, "server.timeout"),
        ("/nothing", 404, "route.unknown"),
    ] {
        let answer = send(&router, at(path)).await;
        answer.problem(status, code);
        assert!(!answer.text().contains("4711"));
        has_headers(&answer, "no-store");
    }
}

#[tokio::test]
async fn a_route_that_is_in_no_table_is_nobodys() {
    let api = Api::new();
    let answer = send(&broken(api.state.clone()), at("/v1/not-in-the-table")).await;
    answer.problem(403, "auth.unclassified");
}

#[tokio::test]
async fn too_many_streams_are_asked_to_come_again() {
    let api = Api::new();
    let tenant = api.state.tenants().all().remove(0);
    let permits: Vec<_> = std::iter::from_fn(|| tenant.stream_permit().ok()).take(1_000).collect();
    assert_eq!(permits.len(), 32);
    let refused = api.get("/v1/decisions:export").await;
    refused.problem(503, "server.busy");
    assert_eq!(refused.header(header::RETRY_AFTER), "5");
    assert_eq!(api.decide("x", "1").await.status, 201, "single requests go on");
    drop(permits);
    assert_eq!(api.get("/v1/decisions:export").await.status, 200);
}

#[tokio::test]
async fn readiness_names_what_stands_in_the_way() {
    let api = Api::new();
    let answer = send(&api.operator, at("/healthz")).await;
    assert_eq!((answer.status, answer.text()), (200, "{\"status\":\"ok\"}"));
    api.decide("x", "1").await;
    let ready = send(&api.operator, at("/readyz")).await;
    assert_eq!((ready.status, &ready.json()["status"]), (200, &Value::from("ready")), "{ready:?}");
    let names: Vec<Value> =
        ready.json()["checks"].as_array().unwrap().iter().map(|check| check["name"].clone()).collect();
    assert_eq!(names, ["store", "keys", "build", "clock", "disk"]);

    let failed = |answer: &Value| -> Vec<String> {
        let checks = answer["checks"].as_array().unwrap().clone();
        let failed = checks.into_iter().filter(|check| check["ok"] == false);
        failed.map(|check| check["name"].as_str().unwrap().to_owned()).collect()
    };
    api.clock.move_ms(-40_000);
    let behind = send(&api.operator, at("/readyz")).await;
    assert_eq!((behind.status, failed(&behind.json())), (503, vec!["clock".to_owned()]));
    api.clock.move_ms(10 * 366 * 86_400_000);
    let expired = send(&api.operator, at("/readyz")).await;
    assert_eq!((expired.status, failed(&expired.json())), (503, vec!["keys".to_owned()]));
    send(&api.operator, at("/v1/decisions")).await.problem(404, "route.unknown");
}

#[tokio::test]
async fn metrics_count_what_was_answered() {
    let (recorder, handle) = crate::http::metrics::local();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let api = Api::with(|options| options.metrics = handle);
    api.decide("x", "1").await;
    api.decide("x", "1").await;
    api.decide("y", "1.5").await;
    api.get("/made-up/4711").await;
    let strange = Request::builder().method("MADEUP").uri("/v1/decisions").body(Body::empty()).unwrap();
    send(&api.router, strange).await;
    let answer = send(&api.operator, at("/metrics")).await;
    assert!(answer.header(header::CONTENT_TYPE).starts_with("text/plain; version=0.0.4"));
    let size = api.runtime.records().head().unwrap().size;
    for line in [
        "chancery_decisions_total{tenant=\"acme\",policy=\"small-claims\",outcome=\"approve\",state=\"completed\"} 1"
            .to_owned(),
        "chancery_decide_seconds_count 2".to_owned(),
        "chancery_http_requests_total{method=\"POST\",route=\"/v1/decisions\",status=\"201\"} 1".to_owned(),
        "chancery_http_requests_total{method=\"POST\",route=\"/v1/decisions\",status=\"200\"} 1".to_owned(),
        "chancery_http_requests_total{method=\"POST\",route=\"/v1/decisions\",status=\"422\"} 1".to_owned(),
        "chancery_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"} 1".to_owned(),
        "chancery_http_requests_total{method=\"other\",route=\"/v1/decisions\",status=\"405\"} 1".to_owned(),
        "chancery_http_requests_in_flight 0".to_owned(),
        format!("chancery_log_entries{{tenant=\"acme\"}} {size}"),
    ] {
        assert!(answer.text().lines().any(|found| found == line), "{line} is not in\n{}", answer.text());
    }
    assert!(!answer.text().contains("4711") && !answer.text().contains("MADEUP"));
}

/// Where log lines go in a test.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn log_lines_have_routes_and_codes_and_nothing_that_a_caller_wrote() {
    let api = Api::new();
    let lines = Captured::default();
    let subscriber = tracing_subscriber::fmt().json().with_writer(lines.clone()).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let body = request("patient-4711", "4712").replace("\"score\"", "\"note\":\"diabetes\",\"score\"");
    assert_eq!(api.post_json("/v1/decisions", body).await.status, 201);
    api.get("/v1/decisions/patient-4711?x=diabetes").await;
    api.get("/diabetes").await;
    drop(guard);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for secret in ["4711", "4712", "diabetes"] {
        assert!(!text.contains(secret), "`{secret}` is in {text}");
    }
    let fields: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["fields"].clone())
        .filter(|fields| fields["message"] == "request")
        .collect();
    let found: Vec<_> =
        fields.iter().map(|f| (f["route"].as_str().unwrap(), f["status"].as_u64().unwrap())).collect();
    assert_eq!(found, [("/v1/decisions", 201), ("/v1/decisions/{id}", 400), ("none", 404)]);
    assert_eq!(fields[1]["code"], "request.query");
    assert!(fields.iter().all(|fields| fields["request_id"].is_string() && fields["took_us"].is_u64()));
}
