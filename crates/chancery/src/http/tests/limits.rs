//! Limits at the door: what is refused with 429, when it is over, and who is not concerned.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::json;

use super::support::{Answered, Api, OTHER, request, send};
use crate::http::Authentication;
use crate::http::serve::Peer;
use crate::limits::Limits;
use crate::oidc::keys::set_of;
use crate::oidc::tests::{Issuing, settings};
use crate::oidc::{Oidc, Source};

fn limits(api_clock: &dyn chancery_runtime::Clock, said: serde_json::Value) -> Limits {
    Limits::new(&serde_json::from_value(said).unwrap(), api_clock.now(), 0).unwrap()
}

#[tokio::test]
async fn a_tenant_that_asks_too_much_waits_for_whole_seconds() {
    let api = Api::with(|options| {
        options.logs[0].limits =
            limits(options.clock.as_ref(), json!({"requests_per_second": 1, "burst": 3}));
    });
    for _ in 0..3 {
        assert_eq!(api.get("/v1/policies").await.status, 200);
    }
    let refused = api.get("/v1/policies").await;
    refused.problem(429, "limit.rate");
    assert_eq!(refused.header(header::RETRY_AFTER), "1");
    assert_eq!(api.get("/v1/trust/keyring").await.status, 200, "what is public is for everybody");
    api.clock.move_ms(1_000);
    assert_eq!(api.decide("x", "1").await.status, 201);
    api.decide("y", "1").await.problem(429, "limit.rate");
}

#[tokio::test]
async fn lines_of_a_batch_are_decisions_of_the_day() {
    let api = Api::with(|options| {
        options.logs[0].limits = limits(options.clock.as_ref(), json!({"decisions_per_day": 4}));
    });
    assert_eq!(api.decide("a", "1").await.status, 201);
    let lines: Vec<String> = ["b", "c", "d", "e", "f"].iter().map(|id| request(id, "1")).collect();
    let answer = api.post("/v1/decisions:batch", "application/x-ndjson", lines.join("\n")).await.lines();
    assert_eq!(answer.len(), 4, "{answer:?}");
    assert_eq!(answer[2]["execution_id"], "d");
    assert_eq!((&answer[3]["code"], &answer[3]["line"]), (&json!("limit.decisions"), &json!(4)));
    let refused = api.decide("g", "1").await;
    refused.problem(429, "limit.decisions");
    // It is 10:01 at the start of each test.
    assert_eq!(refused.header(header::RETRY_AFTER), (13 * 3_600 + 59 * 60).to_string());
    assert_eq!(api.get("/v1/decisions/d").await.status, 200, "reading goes on");
    api.get("/v1/decisions/e").await.problem(404, "execution.unknown");
    api.clock.move_ms(14 * 3_600_000);
    assert_eq!(api.decide("g", "1").await.status, 201);
}

/// Asks with a token, from an address.
async fn ask(api: &Api, token: &str, from: &str) -> Answered {
    let peer = Peer { address: format!("{from}:5").parse().unwrap(), certificate: None };
    let request = Request::builder().uri("/v1/policies").extension(peer);
    let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    send(&api.router, request.body(Body::empty()).unwrap()).await
}

fn with_tokens(said: serde_json::Value) -> (Api, impl Fn(usize, &str) -> String) {
    let keys = [0, 1].map(|_| Issuing::new("k", jsonwebtoken::Algorithm::ES256));
    let api = Api::of_two(|options| {
        options.authentication = Authentication::Credentials;
        for (place, log) in options.logs.iter_mut().enumerate() {
            let set = set_of(vec![keys[place].public()]);
            let mut settings = settings(&["ES256"]);
            settings.issuer = format!("issuer-{place}");
            log.oidc = Some(Oidc::new(settings, Source::Given(Box::new(move || Ok(set.clone())))));
            log.limits = limits(options.clock.as_ref(), said.clone());
        }
    });
    let now_s = {
        use chancery_runtime::Clock as _;
        api.clock.now().unix_micros() / 1_000_000
    };
    let token = move |of: usize, name: &str| {
        keys[of].sign(&json!({
            "iss": format!("issuer-{of}"), "aud": "chancery", "sub": name, "exp": now_s + 3_600, "nbf": now_s,
            "roles": ["inspectors"],
        }))
    };
    (api, token)
}

#[tokio::test]
async fn each_credential_and_each_tenant_has_limits_of_its_own() {
    let (api, token) = with_tokens(json!({"requests_per_second": 5, "credential_requests_per_second": 2}));
    let took = async |of: usize, name: &str| {
        let mut took = 0;
        for _ in 0..10 {
            took += usize::from(ask(&api, &token(of, name), "192.0.2.1").await.status == 200);
        }
        took
    };
    assert_eq!((took(0, "a").await, took(0, "b").await, took(0, "c").await), (2, 2, 1));
    assert_eq!(took(1, "a").await, 2, "{OTHER} has its own");
    ask(&api, &token(0, "a"), "192.0.2.1").await.problem(429, "limit.rate");
}

#[tokio::test]
async fn guessing_is_slow_and_locks_out_nobody_else() {
    let (api, token) = with_tokens(json!({}));
    let key = api.api_key(0, "desk", "reader");
    for guess in 0..20 {
        ask(&api, &format!("chy_{guess}"), "192.0.2.1").await.problem(401, "auth.malformed");
    }
    let refused = ask(&api, "chy_20", "192.0.2.1").await;
    refused.problem(429, "limit.rate");
    assert_eq!(refused.header(header::RETRY_AFTER), "1");
    // Neither was ever seen before.
    assert_eq!(ask(&api, &token(0, "a"), "192.0.2.1").await.status, 200);
    assert_eq!(ask(&api, &key, "192.0.2.1").await.status, 200);
    ask(&api, "chy_20", "192.0.2.2").await.problem(401, "auth.malformed");
    api.clock.move_ms(1_000);
    ask(&api, "chy_20", "192.0.2.1").await.problem(401, "auth.malformed");
}

#[tokio::test]
async fn what_is_refused_and_what_is_public_counts_as_well() {
    let said = json!({"credential_requests_per_second": 2});
    let api = Api::with(|options| {
        options.authentication = Authentication::Credentials;
        options.logs[0].public_log = true;
        options.logs[0].limits = limits(options.clock.as_ref(), said);
    });
    let key = api.api_key(0, "anna", "approver");
    for _ in 0..2 {
        ask(&api, &key, "192.0.2.1").await.problem(403, "auth.role");
    }
    ask(&api, &key, "192.0.2.1").await.problem(429, "limit.rate");
    let public = async |path: &str, from: &str| {
        let peer = Peer { address: from.parse().unwrap(), certificate: None };
        let request = Request::builder().uri(path).extension(peer);
        send(&api.router, request.body(Body::empty()).unwrap()).await
    };
    assert_eq!(public("/v1/trust/keyring", "192.0.2.1:5").await.status, 200);
    assert_ne!(public("/v1/log/acme/checkpoint", "192.0.2.1:5").await.status, 429);
    public("/v1/log/acme/checkpoint", "192.0.2.1:5").await.problem(429, "limit.rate");
    public("/v1/trust/keyring", "192.0.2.1:6").await.problem(429, "limit.rate");
    assert_eq!(public("/v1/trust/keyring", "192.0.2.2:5").await.status, 200);
}

#[tokio::test]
async fn whose_a_request_is_has_to_be_found_out_in_time() {
    let claims =
        json!({"iss": settings(&["ES256"]).issuer, "aud": "chancery", "sub": "a", "exp": 1, "nbf": 0});
    let token = Issuing::new("k", jsonwebtoken::Algorithm::ES256).sign(&claims);
    for (method, path) in [("GET", "/v1/decisions"), ("POST", "/v1/decisions:batch")] {
        let (release, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let api = Api::with(|options| {
            options.authentication = Authentication::Credentials;
            options.request_timeout = Duration::from_millis(50);
            // A provider that does not answer.
            let source = Source::Given(Box::new(move || {
                let _ = held.lock().unwrap().recv();
                Ok(set_of(Vec::new()))
            }));
            options.logs[0].oidc = Some(Oidc::new(settings(&["ES256"]), source));
        });
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        let answer = send(&api.router, request.body(Body::empty()).unwrap()).await;
        answer.problem(503, "server.timeout");
        drop(release);
    }
}
