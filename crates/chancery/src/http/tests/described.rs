//! The OpenAPI document tells the truth. Whatever any test of the API is answered is looked up in it ([`check`]);
//! and here every operation is asked for what it refuses.

use std::sync::OnceLock;

use axum::body::Body;
use axum::http::{Method, Request, header};
use serde_json::Value;

use super::support::{Answered, Api, request, send};
use crate::http::openapi;

fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::to_value(openapi::description()).unwrap())
}

/// The template that a path matches; literal parts win over parameters by coming first in the document.
fn template(path: &str) -> Option<&'static str> {
    let parts: Vec<&str> = path.split('/').collect();
    let matches = |template: &&String| {
        let wanted: Vec<&str> = template.split('/').collect();
        let takes_rest = template.ends_with("/tile/{path}");
        (wanted.len() == parts.len() || takes_rest && wanted.len() <= parts.len())
            && wanted.iter().zip(&parts).all(|(wanted, part)| wanted.starts_with('{') || wanted == part)
    };
    document()["paths"].as_object().unwrap().keys().find(matches).map(String::as_str)
}

/// That an answer's status, its content type and, for a problem, its code stand in the document.
///
/// Not looked up: what is at no path of the document (the explorer, the operator's port, 404), and methods that a path
/// does not have (405); the document's description says both.
#[track_caller]
pub(super) fn check(method: &Method, path: &str, answer: &Answered) {
    let content = answer.header(header::CONTENT_TYPE).split(';').next().unwrap_or_default().to_owned();
    let code = match content.as_str() {
        "application/problem+json" if !answer.body.is_empty() => {
            answer.json()["code"].as_str().unwrap().to_owned()
        }
        _ => String::new(),
    };
    if ["route.unknown", "route.method", "auth.unclassified"].contains(&code.as_str()) {
        return;
    }
    let Some(template) = template(path) else { return };
    let method = if method == Method::HEAD { "get".to_owned() } else { method.as_str().to_lowercase() };
    let operation = &document()["paths"][template][&method];
    let response = &operation["responses"][answer.status.to_string()];
    let what = format!("`{method} {template}` answered {} `{code}`", answer.status);
    let hint = "describe it in http/problems.rs, or in the handler's annotation with the code in backticks";
    assert!(!operation.is_null() && !response.is_null(), "{what}, which OpenAPI does not have: {hint}");
    if !answer.body.is_empty() {
        let types = response["content"].as_object();
        assert!(
            types.is_some_and(|types| types.keys().any(|kind| kind.split(';').next() == Some(&content))),
            "{what} as `{content}`, which OpenAPI does not have"
        );
    }
    let described = response["description"].as_str().unwrap();
    assert!(code.is_empty() || described.contains(&format!("`{code}`")), "{what}: {hint}");
    if answer.status == 503 {
        assert!(!answer.header(header::RETRY_AFTER).is_empty(), "{what} without `Retry-After`");
        assert!(!response["headers"]["Retry-After"].is_null(), "{what}");
    }
}

/// A path with something for each of its parameters.
fn filled(template: &str) -> String {
    let path =
        template.replace("{tenant}", "acme").replace("{path}", "0/000.p/1").replace("{version}", "1.0.0");
    let parts = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// Every operation: method, path with parameters filled in, and the operation.
fn operations() -> Vec<(Method, String, &'static Value)> {
    let mut found = Vec::new();
    for (path, item) in document()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push((method.to_uppercase().parse().unwrap(), filled(path), operation));
        }
    }
    found
}

/// That the body was refused, unless what the path names is not there.
#[track_caller]
fn refused(answer: &Answered, status: u16, code: &str) {
    if answer.status != 404 {
        answer.problem(status, code);
    }
}

#[tokio::test]
async fn every_operation_refuses_as_described() {
    let api = Api::new();
    assert_eq!(api.decide("x", "1").await.status, 201);
    let build = |method: &Method, path: &str, content: &str, host: &str, body: String| {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, content)
            .header(header::HOST, host)
            .body(Body::from(body))
            .unwrap()
    };
    for (method, path, operation) in operations() {
        let statuses = &operation["responses"];
        let ask = async |path: &str, content: &str, host: &str, body: &str| {
            send(&api.router, build(&method, path, content, host, body.to_owned())).await
        };
        let contents: Vec<String> = operation["requestBody"]["content"]
            .as_object()
            .into_iter()
            .flat_map(|c| c.keys().cloned())
            .collect();
        let content = contents.first().map_or("text/plain", String::as_str);

        let unknown = ask(&format!("{path}?unheard_of=1"), content, "localhost", "").await;
        unknown.problem(400, "request.query");
        let foreign = ask(&path, content, "elsewhere.example", "").await;
        match statuses.get("403") {
            Some(_) => _ = foreign.problem(403, "auth.host"),
            None => assert_ne!(foreign.status, 403, "{method} {path}"),
        }
        if path.contains("/x") {
            ask(&path.replace("/x", "/%FF"), content, "localhost", "").await.problem(400, "request.path");
        }
        if operation.get("requestBody").is_some() {
            refused(&ask(&path, "text/html", "localhost", "{}").await, 415, "request.media_type");
        }
        if contents.iter().any(|content| content == "application/json") {
            refused(&ask(&path, "application/json", "localhost", "{").await, 400, "request.invalid");
            ask(&path, "application/json", "localhost", "{}").await;
            let long = "x".repeat(13 * 1024 * 1024);
            refused(&ask(&path, "application/json", "localhost", &long).await, 413, "request.too_large");
        }
        ask(&path, content, "localhost", "").await;
    }
}

#[test]
fn every_operation_has_a_success_and_describes_its_errors_as_problems() {
    for (method, path, operation) in operations() {
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path}");
        for status in ["400", "500", "503"] {
            let expected = status != "503" || path != "/v1/trust/root.pub";
            assert!(responses.contains_key(status) || !expected, "{method} {path} has no {status}");
        }
        for (status, response) in responses {
            let problem = &response["content"]["application/problem+json"]["schema"]["$ref"];
            let is_error = status.starts_with(['4', '5']);
            assert_eq!(is_error, problem == "#/components/schemas/Problem", "{method} {path} {status}");
        }
    }
}

#[tokio::test]
async fn a_status_that_is_not_described_is_found() {
    let api = Api::new();
    let mut answer = api.post_json("/v1/decisions", request("x", "1")).await;
    answer.status = 204;
    let found = std::panic::catch_unwind(|| check(&Method::POST, "/v1/decisions", &answer));
    assert!(found.is_err());
    answer.status = 201;
    check(&Method::POST, "/v1/decisions", &answer);
}
