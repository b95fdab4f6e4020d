//! API keys at the door, and what is counted of what is refused there.

use axum::body::Body;
use axum::http::{Request, header};
use chancery_core::b64;
use serde_json::{Value, json};

use super::support::{Answered, Api, outside, request, send};
use crate::http::Authentication;
use crate::http::serve::Peer;

fn with_keys() -> Api {
    Api::with(|options| options.authentication = Authentication::Credentials)
}

async fn ask(api: &Api, request: axum::http::request::Builder, body: impl Into<Body>) -> Answered {
    send(&api.router, request.body(body.into()).unwrap()).await
}

fn bearer(method: &str, path: &str, key: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header(header::AUTHORIZATION, format!("Bearer {key}"))
}

async fn get(api: &Api, path: &str, key: &str) -> Answered {
    ask(api, bearer("GET", path, key), Body::empty()).await
}

/// What is counted, as an auditor is answered.
async fn events(api: &Api, query: &str) -> Vec<Value> {
    outside(|| api.runtime.security_events().drain()).unwrap();
    let auditor = api.api_key(0, "auditor", "auditor");
    api.clock.move_ms(1_000);
    let answer = get(api, &format!("/v1/security-events{query}"), &auditor).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_decision_names_the_principal_of_the_credential_and_nobody_else() {
    let api = with_keys();
    let (submitter, reader) = (api.api_key(0, "claims-core", "submitter"), api.api_key(0, "desk", "reader"));
    let post = bearer("POST", "/v1/decisions", &submitter).header(header::CONTENT_TYPE, "application/json");
    assert_eq!(ask(&api, post, request("x", "500")).await.status, 201);
    let seen = get(&api, "/v1/decisions/x", &reader).await;
    assert_eq!(seen.json()["principal"], json!("System::\"claims-core\""));
    // The scheme's name has no case (RFC 9110 §11.1), and a `Host` of any name is fine.
    let other = Request::get("/v1/decisions/x")
        .header(header::HOST, "chancery.example")
        .header(header::AUTHORIZATION, format!("bearer {reader}"));
    assert_eq!(ask(&api, other, Body::empty()).await.status, 200);
}

#[tokio::test]
async fn what_is_no_good_credential_is_401_and_says_why() {
    let api = with_keys();
    let key = api.api_key(0, "desk", "reader");
    let id = key.split('_').nth(2).unwrap().to_owned();
    let plain = ask(&api, Request::get("/v1/decisions"), Body::empty()).await;
    plain.problem(401, "auth.required");
    assert_eq!(plain.header(header::WWW_AUTHENTICATE), "Bearer realm=\"chancery\"");
    let typo = format!("{}0", &key[..key.len() - 1]);
    let typo = if typo == key { format!("{}1", &key[..key.len() - 1]) } else { typo };
    for text in ["", "x", "chy_acme_", typo.as_str()] {
        let answer = get(&api, "/v1/decisions", text).await;
        answer.problem(401, "auth.malformed");
        assert!(answer.header(header::WWW_AUTHENTICATE).contains("error=\"invalid_token\""));
        assert!(
            text.is_empty() || text == "x" || !answer.text().contains(text),
            "credentials are not repeated"
        );
    }
    for value in ["Basic YTpi", "Bearer", &key] {
        let odd = Request::get("/v1/decisions").header(header::AUTHORIZATION, value);
        ask(&api, odd, Body::empty()).await.problem(401, "auth.malformed");
    }
    let twice = bearer("GET", "/v1/decisions", &key).header(header::AUTHORIZATION, format!("Bearer {key}"));
    ask(&api, twice, Body::empty()).await.problem(401, "auth.malformed");
    // A key of another server's log, of the right form.
    let elsewhere = outside(|| Api::with(|_| {}).api_key(0, "desk", "reader"));
    get(&api, "/v1/decisions", &elsewhere).await.problem(401, "auth.unknown");
    assert_eq!(get(&api, "/v1/decisions", &key).await.status, 200);
    outside(|| api.runtime.api_keys().revoke(&id, 0, "tester")).unwrap();
    api.clock.move_ms(999);
    get(&api, "/v1/decisions", &key).await.problem(401, "auth.revoked");
    let late = api.api_key(0, "desk", "reader");
    api.clock.move_ms(3_600_000);
    get(&api, "/v1/decisions", &late).await.problem(401, "auth.expired");
    let codes: Vec<(String, u64)> = events(&api, "?kind=credential")
        .await
        .iter()
        .map(|event| (event["code"].as_str().unwrap().to_owned(), event["count"].as_u64().unwrap()))
        .collect();
    for (code, count) in [
        ("auth.required", 1),
        ("auth.malformed", 8),
        ("auth.unknown", 1),
        ("auth.revoked", 1),
        ("auth.expired", 1),
    ] {
        assert!(codes.contains(&(code.to_owned(), count)), "{code} {count}: {codes:?}");
    }
}

#[tokio::test]
async fn who_was_refused_is_recorded_and_no_credential_is() {
    let api = with_keys();
    let publisher = api.api_key(0, "ops", "policy-publisher");
    let custodian = api.api_key(0, "holder", "key-custodian");
    let reader = api.api_key(0, "desk", "reader");
    get(&api, "/v1/decisions", &publisher).await.problem(403, "auth.role");
    get(&api, "/v1/log/other/checkpoint", &reader).await.problem(403, "auth.tenant");
    // What is handed in is signed, and by nobody whom the keyring knows.
    let keyring = get(&api, "/v1/trust/keyring", &reader).await.json();
    let mut envelope = keyring["versions"][0]["envelope"].clone();
    let mut payload = b64::decode(envelope["payload"].as_str().unwrap()).unwrap();
    let text = String::from_utf8(payload.clone()).unwrap().replace("\"version\":1", "\"version\":2");
    payload = text.into_bytes();
    envelope["payload"] = json!(b64::encode(&payload));
    let post =
        bearer("POST", "/v1/trust/keyring", &custodian).header(header::CONTENT_TYPE, "application/json");
    let refused = ask(&api, post, envelope.to_string()).await;
    assert!([403, 422, 409].contains(&refused.status), "{refused:?}");
    let found = events(&api, "").await;
    let named = |kind: &str| {
        let event =
            found.iter().find(|event| event["kind"] == kind).unwrap_or_else(|| panic!("{kind}: {found:?}"));
        (
            event["principal"].as_str().unwrap(),
            event["route"].as_str().unwrap(),
            event["code"].as_str().unwrap(),
        )
    };
    assert_eq!(named("role"), ("ops", "GET /v1/decisions", "auth.role"));
    assert_eq!(named("tenant"), ("desk", "GET /v1/log/{tenant}/checkpoint", "auth.tenant"));
    let ids: Vec<&str> = found.iter().filter_map(|event| event["key_id"].as_str()).collect();
    assert!(ids.contains(&publisher.split('_').nth(2).unwrap()), "{ids:?}");
    let all = json!(found).to_string();
    for key in [&publisher, &custodian, &reader] {
        assert!(!all.contains(&key[key.len() - 72..]));
    }
    let pages = events(&api, "?limit=1").await;
    assert_eq!(pages.len(), 1);
    assert!(events(&api, "?kind=tenant&to=2026-01-01").await.is_empty());
    for bad in ["?kind=x", "?limit=0", "?limit=1001", "?from=x", "?who=x"] {
        let auditor = api.api_key(0, "auditor", "auditor");
        api.clock.move_ms(1_000);
        get(&api, &format!("/v1/security-events{bad}"), &auditor).await.problem(400, "request.query");
    }
    let operator = api.api_key(0, "watch", "operator");
    api.clock.move_ms(1_000);
    get(&api, "/v1/security-events?after=x", &operator).await.problem(400, "list.cursor");
}

#[tokio::test]
async fn a_signature_that_does_not_hold_is_an_event() {
    let api = with_keys();
    let approver = api.api_key(0, "anna", "approver");
    let submitter = api.api_key(0, "core", "submitter");
    let post =
        |path: &str, key: &str| bearer("POST", path, key).header(header::CONTENT_TYPE, "application/json");
    assert_eq!(ask(&api, post("/v1/decisions", &submitter), request("x", "50000")).await.status, 201);
    let signer = chancery_core::key::Signer::public_key(&super::support::approver_key()).key_id().to_string();
    let asked = json!({"resolution": "approve", "outcome": "approve", "reason": "r", "reason_code": "c",
        "role": "claims-manager", "signer": signer});
    let drafted = ask(&api, post("/v1/overrides/x/statement", &approver), asked.to_string()).await;
    assert_eq!(drafted.status, 200, "{drafted:?}");
    let mut envelope = drafted.json();
    envelope["signatures"] = json!([{"keyid": signer, "sig": b64::encode(&[7; 64])}]);
    let refused = ask(&api, post("/v1/overrides/x", &approver), envelope.to_string()).await;
    refused.problem(422, "override.signature");
    let found = events(&api, "?kind=signature").await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((&found[0]["principal"], &found[0]["code"]), (&json!("anna"), &json!("override.signature")));
}

#[tokio::test]
async fn an_address_is_recorded_where_that_is_wanted() {
    for wanted in [false, true] {
        let api = Api::with(|options| {
            options.authentication = Authentication::Credentials;
            options.record_addresses = wanted;
        });
        let peer = Peer { address: "192.0.2.7:4711".parse().unwrap(), certificate: None };
        let plain = Request::get("/v1/decisions").extension(peer);
        ask(&api, plain, Body::empty()).await.problem(401, "auth.required");
        let found = events(&api, "").await;
        assert_eq!(found[0]["address"].as_str(), wanted.then_some("192.0.2.7"));
    }
}

#[tokio::test]
async fn nobody_approves_what_their_credential_submitted_whoever_hands_it_in() {
    let api = with_keys();
    let (submitter, desk) = (api.api_key(0, "anna", "submitter"), api.api_key(0, "desk", "approver"));
    let post =
        |path: &str, key: &str| bearer("POST", path, key).header(header::CONTENT_TYPE, "application/json");
    assert_eq!(ask(&api, post("/v1/decisions", &submitter), request("x", "50000")).await.status, 201);
    // The keyring says that this key is anna's.
    let signer = chancery_core::key::Signer::public_key(&super::support::approver_key()).key_id().to_string();
    let asked = json!({"resolution": "approve", "outcome": "approve", "reason": "r", "reason_code": "c",
        "role": "claims-manager", "signer": signer});
    let refused = ask(&api, post("/v1/overrides/x/statement", &desk), asked.to_string()).await;
    refused.problem(403, "override.separation");
    assert_eq!(events(&api, "?kind=signature").await[0]["code"], "override.separation");
}
