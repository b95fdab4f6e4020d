//! The OpenAPI document of a running server: valid, and true of what the server answers.

use std::collections::BTreeSet;

use chancery_tests::home::Home;
use chancery_tests::server::Server;
use serde_json::{Map, Value};

use crate::http::{claim, get, post};

const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("an object")
}

/// Every object in a document, with its place.
fn walk<'a>(value: &'a Value, at: &str, visit: &mut impl FnMut(&str, &'a Map<String, Value>)) {
    match value {
        Value::Object(members) => {
            visit(at, members);
            members.iter().for_each(|(name, value)| walk(value, &format!("{at}/{name}"), visit));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(number, item)| walk(item, &format!("{at}/{number}"), visit));
        }
        _ => {}
    }
}

/// What OpenAPI 3.1 requires of a document, as far as this one uses it.
fn check_structure(document: &Value) {
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."), "{}", document["openapi"]);
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    let tags: BTreeSet<&str> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    walk(document, "", &mut |at, members| {
        if let Some(Value::String(reference)) = members.get("$ref") {
            let pointer = reference.strip_prefix('#').expect("a reference into the document");
            assert!(document.pointer(pointer).is_some(), "{at}: {reference} leads nowhere");
        }
    });
    let mut ids = BTreeSet::new();
    for (path, item) in object(&document["paths"]) {
        assert!(path.starts_with('/') && !path.contains('*'), "{path}");
        for (method, operation) in object(item) {
            let at = format!("{method} {path}");
            assert!(METHODS.contains(&method.as_str()), "{at}");
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{at}: its id is used twice");
            for tag in operation["tags"].as_array().unwrap() {
                assert!(tags.contains(tag.as_str().unwrap()), "{at}: {tag} is not declared");
            }
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let mut in_path = BTreeSet::new();
            for parameter in &parameters {
                assert!(parameter["schema"].is_object(), "{at}: {parameter}");
                match parameter["in"].as_str().unwrap() {
                    "path" => {
                        assert_eq!(parameter["required"], true, "{at}: {parameter}");
                        in_path.insert(format!("{{{}}}", parameter["name"].as_str().unwrap()));
                    }
                    other => assert_eq!(other, "query", "{at}: {parameter}"),
                }
            }
            let template: BTreeSet<String> =
                path.split('/').filter(|part| part.starts_with('{')).map(str::to_owned).collect();
            assert_eq!(template, in_path, "{at}");
            for (status, response) in object(&operation["responses"]) {
                assert!(status.len() == 3 && status.parse::<u16>().is_ok(), "{at}: {status}");
                assert!(!response["description"].as_str().unwrap().is_empty(), "{at} {status}");
                for (kind, content) in response["content"].as_object().into_iter().flatten() {
                    assert!(kind.contains('/') && content["schema"].is_object(), "{at} {status} {kind}");
                }
            }
        }
    }
}

#[test]
fn the_document_is_valid_and_true() {
    let home = Home::new();
    let server = Server::start(home.path());
    post(&format!("{}/v1/decisions", server.url), claim("x").to_string().as_bytes());
    let (status, text) = get(&format!("{}/v1/openapi.json", server.url));
    assert_eq!(status, 200);
    let document: Value = serde_json::from_str(&text).unwrap();
    check_structure(&document);

    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .build()
        .into();
    for (template, item) in object(&document["paths"]) {
        let path = template.replace("{version}", "1.0.0").replace("{tenant}", "acme");
        let path = path.replace("{path}", "0/000.p/1");
        let parts = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
        let url = format!("{}{}", server.url, parts.collect::<Vec<_>>().join("/"));
        for (method, operation) in object(item) {
            for (url, kind, host, body) in [
                (url.clone(), "application/json", None, "{}"),
                (url.clone(), "application/json", None, "{"),
                (url.clone(), "application/x-ndjson", None, "{}\n"),
                (url.clone(), "text/html", None, ""),
                (url.clone(), "application/json", Some("elsewhere.example"), "{}"),
                (format!("{url}?unheard_of=1"), "application/json", None, "{}"),
            ] {
                let mut request = ureq::http::Request::builder()
                    .method(method.to_uppercase().as_str())
                    .uri(&url)
                    .header("content-type", kind);
                if let Some(host) = host {
                    request = request.header("host", host);
                }
                let answer = if method == "get" {
                    agent.run(request.body(()).unwrap()).unwrap()
                } else {
                    agent.run(request.body(body).unwrap()).unwrap()
                };
                let status = answer.status().as_u16();
                let described = &operation["responses"][status.to_string()];
                assert!(!described.is_null(), "{method} {url} ({kind}, {host:?}) answered {status}");
            }
        }
        let other = ureq::http::Request::builder().method("PATCH").uri(&url).body(()).unwrap();
        assert_eq!(agent.run(other).unwrap().status().as_u16(), 405, "PATCH {template}");
    }
}
