//! Route × role × tenant: who may do what, over the real routers, held against the table of routes that people read
//! (`docs/spec/http.md`). A route that is in one of the two alone fails: it has to be classified, and documented.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{Method, Request, header};

use super::support::{Answered, Api, OTHER, TENANT, request, send};
use crate::http::Authentication;
use crate::http::access::{Access, ROUTES, Role};

/// Which roles the page gives a route: none where it asks nobody, every role for every credential.
fn documented() -> BTreeMap<(String, String), Vec<Role>> {
    let page = include_str!("../../../../../docs/spec/http.md");
    let section = page.split("\n## Routes\n").nth(1).unwrap().split("On the operator's port").next().unwrap();
    let mut found = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let (names, who) = (cells[0], *cells.last().unwrap());
        // What a single request may need besides is the handler's: "any; with `record=true` auditor".
        let who = who.trim_end_matches('|').split(';').next().unwrap().trim();
        let roles = match who {
            "public" => Vec::new(),
            "any" => Role::ALL.to_vec(),
            "log" => vec![Role::Reader, Role::Auditor],
            names => names.split(", ").map(|name| name.parse().unwrap_or_else(|_| panic!("{row}"))).collect(),
        };
        let mut method = "";
        for name in names.split(", ").map(|name| name.trim_matches('`')) {
            let (named, path) = name.split_once(' ').unwrap_or((method, name));
            method = named;
            let path = path.replace("/tile/…", "/tile/{*path}");
            assert!(found.insert((method.to_owned(), path), roles.clone()).is_none(), "{row} is there twice");
        }
    }
    found
}

/// Routes that callers can reach, without the pages of the explorer.
fn routes() -> impl Iterator<Item = (&'static str, &'static str, Access)> {
    let pages = |path: &str| path.starts_with("/docs/");
    ROUTES
        .iter()
        .filter(move |route| route.access != Access::OperatorPort && !pages(route.path))
        .map(|route| (route.method, route.path, route.access))
}

#[test]
fn the_page_and_the_table_have_the_same_routes_with_the_same_roles() {
    let documented = documented();
    let mut known: Vec<_> = documented.keys().cloned().collect();
    for (method, path, access) in routes() {
        let key = (method.to_owned(), path.to_owned());
        let roles = documented
            .get(&key)
            .unwrap_or_else(|| panic!("docs/spec/http.md has no row for {method} {path}"));
        let classified = match access {
            Access::Page | Access::Public => Vec::new(),
            Access::Any => Role::ALL.to_vec(),
            Access::Log => vec![Role::Reader, Role::Auditor],
            Access::Roles(roles) => roles.to_vec(),
            Access::OperatorPort => unreachable!(),
        };
        let sorted = |mut roles: Vec<Role>| {
            roles.sort();
            roles
        };
        assert_eq!(sorted(classified), sorted(roles.clone()), "{method} {path}");
        known.retain(|known| *known != key);
    }
    assert!(known.is_empty(), "docs/spec/http.md has routes that are not there: {known:?}");
}

/// A request to a route about the execution `id` of a tenant, with a credential.
fn ask(method: &str, path: &str, tenant: &str, id: &str, credential: Option<&str>) -> Request<Body> {
    let path = path
        .replace("/overrides/{execution_id}", &format!("/overrides/{id}"))
        .replace("/decisions/{id}", &format!("/decisions/{id}"))
        .replace("/policies/{id}", "/policies/small-claims")
        .replace("{version}", "1.0.0")
        .replace("{tenant}", tenant)
        .replace("{job}", "x")
        .replace("{*path}", "0/000.p/1");
    let content = if path.ends_with(":batch") { "application/x-ndjson" } else { "application/json" };
    let body = match (method, path.as_str()) {
        // Nothing that would be recorded: the matrix asks who may, and a body that is refused is enough for that.
        ("POST", path) if path.ends_with("/replay") => Body::empty(),
        ("POST", _) => Body::from("{}"),
        _ => Body::empty(),
    };
    let public = ["/v1/trust/root.pub", "/v1/trust/keyring", "/v1/build"];
    let path = if method == "GET" && public.contains(&path.as_str()) {
        format!("{path}?tenant={tenant}")
    } else {
        path
    };
    let mut request = Request::builder().method(method.parse::<Method>().unwrap()).uri(path);
    if method == "POST" {
        request = request.header(header::CONTENT_TYPE, content);
    }
    if let Some(credential) = credential {
        request = request.header(header::AUTHORIZATION, format!("Bearer {credential}"));
    }
    request.body(body).unwrap()
}

/// The code of a refusal at the door; none for whatever else was answered.
fn refusal(answer: &Answered) -> Option<(u16, String)> {
    let code = match answer.header(header::CONTENT_TYPE) {
        "application/problem+json" => answer.json()["code"].as_str().unwrap().to_owned(),
        _ => return None,
    };
    code.starts_with("auth.").then_some((answer.status, code))
}

/// One key for each role alone, of the tenant at this place.
fn keys(api: &Api, place: usize) -> Vec<(Role, String)> {
    Role::ALL
        .into_iter()
        .map(|role| (role, api.api_key(place, &format!("{role}-{place}"), role.as_str())))
        .collect()
}

fn two() -> Api {
    Api::of_two(|options| options.authentication = Authentication::Credentials)
}

#[tokio::test]
async fn each_role_alone_may_do_what_the_page_says_and_nothing_else() {
    let api = two();
    let (documented, keys) = (documented(), keys(&api, 0));
    for (method, path, access) in routes() {
        let allowed = &documented[&(method.to_owned(), path.to_owned())];
        let is_public = matches!(access, Access::Page | Access::Public);
        for (role, key) in &keys {
            let answer = send(&api.router, ask(method, path, TENANT, "x", Some(key))).await;
            let expected = match is_public || allowed.contains(role) {
                true => None,
                false => Some((403, "auth.role".to_owned())),
            };
            assert_eq!(refusal(&answer), expected, "{method} {path} as {role}: {answer:?}");
            if expected.is_some() {
                let detail = answer.json()["detail"].as_str().unwrap().to_owned();
                assert!(allowed.iter().all(|role| detail.contains(role.as_str())), "{detail}");
            }
        }
        for (credential, code) in [(None, "auth.required"), (Some("chy_acme"), "auth.malformed")] {
            let answer = send(&api.router, ask(method, path, TENANT, "x", credential)).await;
            let expected = if is_public { None } else { Some((401, code.to_owned())) };
            assert_eq!(refusal(&answer), expected, "{method} {path} with {credential:?}: {answer:?}");
            assert_eq!(is_public, answer.header(header::WWW_AUTHENTICATE).is_empty());
        }
    }
}

#[tokio::test]
async fn no_credential_of_another_tenant_is_ever_answered_with_this_ones_records() {
    let api = two();
    let (submitter, theirs) = (api.api_key(0, "core", "submitter"), keys(&api, 1));
    let ours = api.api_key(0, "own", "reader");
    let id = "of-acme-alone";
    let decide = Request::post("/v1/decisions")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {submitter}"))
        .body(Body::from(request(id, "1")))
        .unwrap();
    assert_eq!(send(&api.router, decide).await.status, 201);
    // What only this tenant's records have: the label of the decision, and the key that signed it.
    let marks = [format!("b-{id}"), api.runtime.runtime_key().key_id().to_string()];
    let seen = send(&api.router, ask("GET", "/v1/decisions/{id}", TENANT, id, Some(&ours))).await;
    assert!(marks.iter().all(|mark| seen.text().contains(mark)), "{seen:?}");
    for (method, path, access) in routes() {
        if matches!(access, Access::Page | Access::Public) {
            continue;
        }
        for (role, key) in &theirs {
            for tenant in [TENANT, OTHER] {
                let answer = send(&api.router, ask(method, path, tenant, id, Some(key))).await;
                let what = format!("{method} {path} of {tenant} as {role} of {OTHER}: {answer:?}");
                let body = String::from_utf8_lossy(&answer.body);
                assert!(!marks.iter().any(|mark| body.contains(mark)), "{what}");
                if access == Access::Log && tenant == TENANT {
                    assert_eq!(refusal(&answer).unwrap().0, 403, "{what}");
                }
                if path.contains("/decisions/{id}") {
                    assert!([403, 404, 422].contains(&answer.status), "{what}");
                }
            }
        }
    }
}
