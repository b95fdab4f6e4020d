//! The table of routes, the router and the OpenAPI document say the same; and the document tells the truth.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, header};
use serde_json::{Value, json};

use super::support::{Api, request};
use crate::http::access::{Access, ROUTES};
use crate::http::openapi;

/// What every OpenAPI operation is: its path and its method.
fn documented() -> BTreeSet<(String, String)> {
    let document = serde_json::to_value(openapi::api().into_openapi()).unwrap();
    let mut found = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        found.extend(item.as_object().unwrap().keys().map(|method| (path.clone(), method.to_uppercase())));
    }
    found
}

#[test]
fn every_route_is_classified_and_every_classified_route_is_documented() {
    // Routes are added to the router by their documentation and in no other way, but for the explorer's.
    let classified: BTreeSet<_> = ROUTES
        .iter()
        .filter(|route| route.access != Access::OperatorPort && !route.path.starts_with("/docs"))
        .map(|route| (route.path.to_owned(), route.method.to_owned()))
        .collect();
    assert_eq!(documented(), classified);
}

#[tokio::test]
async fn every_classified_route_is_there() {
    let api = Api::new();
    for route in ROUTES {
        let path = route.path.replace("{id}", "x").replace("{version}", "1.0.0").replace("{tenant}", "acme");
        let path = path.replace("{*path}", "0/000").replace("{*rest}", "swagger-ui.css");
        let method: Method = route.method.parse().unwrap();
        let answer = if route.access == Access::OperatorPort {
            let request = axum::http::Request::builder().uri(&path).body(Body::empty()).unwrap();
            super::support::send(&api.operator, request).await
        } else {
            api.send(method, &path, None, Body::empty()).await
        };
        let unrouted = answer.status == 405
            || answer.header(header::CONTENT_TYPE) == "application/problem+json"
                && ["route.unknown", "auth.unclassified"].contains(&answer.json()["code"].as_str().unwrap());
        assert!(!unrouted, "{} {path}: {answer:?}", route.method);
    }
}

#[tokio::test]
async fn the_document_is_openapi_31_and_its_references_lead_somewhere() {
    let api = Api::new();
    let answer = api.get("/v1/openapi.json").await;
    assert_eq!((answer.status, answer.header(header::CONTENT_TYPE)), (200, "application/json"));
    let document = answer.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    assert!(document["paths"].get("/v1/log/{tenant}/tile/{path}").is_some());
    let text = answer.text();
    let mut rest = text;
    while let Some(at) = rest.find("\"#/components/schemas/") {
        rest = &rest[at + 1..];
        let end = rest.find('"').unwrap();
        let pointer = rest[..end].trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{pointer} is referred to and is not there");
    }
    let ids: Vec<&str> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "operation ids are used once: {ids:?}");
}

#[tokio::test]
async fn the_explorer_needs_nothing_from_elsewhere() {
    let api = Api::new();
    let page = api.get("/docs/").await;
    assert_eq!(page.status, 200);
    assert!(page.header(header::CONTENT_SECURITY_POLICY).starts_with("default-src 'self'"));
    assert!(!page.text().contains("https://") && !page.text().contains("http://"), "{}", page.text());
    let script = api.get("/docs/swagger-initializer.js").await;
    assert!(script.text().contains("/v1/openapi.json"), "{}", script.text());
    assert_eq!(api.get("/docs").await.status, 303);
}

/// The members that a schema has and those that it must have.
fn members(document: &Value, name: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut all, mut required) = (BTreeSet::new(), BTreeSet::new());
    let mut open = vec![document.pointer(&format!("/components/schemas/{name}")).unwrap().clone()];
    while let Some(schema) = open.pop() {
        if let Some(reference) = schema["$ref"].as_str() {
            open.push(document.pointer(reference.trim_start_matches('#')).unwrap().clone());
        }
        open.extend(schema["allOf"].as_array().cloned().unwrap_or_default());
        all.extend(schema["properties"].as_object().into_iter().flat_map(|found| found.keys().cloned()));
        let names = schema["required"].as_array().cloned().unwrap_or_default();
        required.extend(names.iter().map(|name| name.as_str().unwrap().to_owned()));
    }
    (all, required)
}

#[tokio::test]
async fn answers_have_the_members_that_the_document_says() {
    let api = Api::new();
    let document = api.get("/v1/openapi.json").await.json();
    let check = |name: &str, value: &Value| {
        let (all, required) = members(&document, name);
        let found: BTreeSet<String> = value.as_object().unwrap().keys().cloned().collect();
        assert!(found.is_subset(&all), "{name} has {:?}", found.difference(&all));
        assert!(required.is_subset(&found), "{name} lacks {:?}", required.difference(&found));
    };
    let answer = api.decide("x", "500").await.json();
    check("Answer", &answer);
    check("Envelope", &answer["attestation"]);
    check("LogPosition", &answer["log"]);
    check("Reason", &answer["reasons"][0]);
    check("Answer", &api.decide("blocked", "9007199254740991").await.json());
    check("Evaluated", &api.post_json("/v1/decisions:evaluate", request("y", "1")).await.json());
    let list = api.get("/v1/decisions?limit=1").await.json();
    check("DecisionList", &list);
    check("ListedDecision", &list["items"][0]);
    let detail = api.get("/v1/decisions/x").await.json();
    check("DecisionDetail", &detail);
    check("Current", &detail["current"]);
    let stats = api.get("/v1/decisions:stats").await.json();
    check("Stats", &stats);
    check("StatsRow", &stats["rows"][0]);
    check("Latency", &stats["latency"]);
    check("Provenance", &api.get("/v1/decisions/x/provenance").await.json());
    check("SigstoreBundle", &api.get("/v1/decisions/x/attestation?format=sigstore").await.json());
    let policies = api.get("/v1/policies").await.json();
    check("PolicyList", &policies);
    check("Policy", &policies["items"][0]);
    check("Activation", &policies["items"][0]["in_force"]);
    check("PublishedVersion", &policies["items"][0]["versions"][0]);
    check("PolicyHistory", &api.get("/v1/policies/small-claims").await.json());
    check("PolicyFiles", &api.get("/v1/policies/small-claims/1.0.0").await.json());
    let keyring = api.get("/v1/trust/keyring").await.json();
    check("Keyring", &keyring);
    check("KeyringVersion", &keyring["versions"][0]);
    let file = api.get("/v1/decisions:export").await;
    let report = api.post("/v1/verify?environment=test", "application/x-ndjson", file.body).await.json();
    let mut report = report;
    // What this file cannot prove is said where there is something to say.
    report.as_object_mut().unwrap().remove("limits");
    check("Report", &report);
    let explanation = api.get("/v1/decisions/x/explanation?audience=agent").await.json();
    check("Explanation", &explanation);
    check("OutcomeExplained", &explanation["outcomes"][0]);
    check("PolicyExplained", &explanation["outcomes"][0]["policies"][0]);
    check("ReasonExplained", &explanation["reasons"][0]);
    check("Explanation", &api.get("/v1/decisions/x/explanation").await.json());
    let replay = api.send(Method::POST, "/v1/decisions/x/replay", None, Body::empty()).await.json();
    check("Replay", &replay);
    check("Side", &replay["evaluated"]);
    api.clock.move_ms(1_000);
    let done = r#"{"executed":{"outcome":"approve","reference":"r","at":"2026-03-01T10:01:00Z"}}"#;
    check("Confirmed", &api.post_json("/v1/decisions/x/confirmation", done).await.json());
    let attestation = api.get("/v1/decisions/x/attestation").await.body;
    let report = api.post_json("/v1/verify?environment=test&record=true", attestation).await.json();
    check("RecordedVerification", &report["recorded"][0]);
    let list = api.get("/v1/verifications").await.json();
    check("VerificationList", &list);
    check("ListedVerification", &list["items"][0]);
    check("BackfillStatus", &api.post_json("/v1/verifications:backfill", "{}").await.json());
    let lineage = api.get("/v1/decisions/x/lineage").await.json();
    check("Lineage", &lineage);
    check("LineageList", &api.get("/v1/decisions:lineage?execution_id=x&limit=1").await.json());
    check("Record", &lineage["decision"]);
    check("PolicyLineage", &lineage["policy"]);
    check("LogLineage", &lineage["log"]);
    let problem = api.decide("x", "1.5").await.json();
    check("Problem", &problem);
    check("Fault", &problem["errors"][0]);
    let line = api.post("/v1/decisions:batch", "application/x-ndjson", "?").await.lines().remove(0);
    check("ProblemLine", &line);
    assert_eq!(line["line"], json!(1));
}
