//! Client certificates as credentials. That a certificate was verified is the handshake's business, tested there.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, header};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::json;

use super::support::{Answered, Api, OTHER, TENANT, outside, send};
use crate::http::Authentication;
use crate::http::serve::Peer;
use crate::tls::{ClientCertificate, Clients};

fn certificate(name: &str) -> Arc<ClientCertificate> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    Arc::new(ClientCertificate::of(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der()))
}

fn api() -> Api {
    Api::of_two(|options| {
        options.authentication = Authentication::Credentials;
        let clients = |name: &str| {
            let settings = json!([
                {"subject_cn": name, "principal": "claims-core", "roles": ["reader"]},
                {"subject_cn": "both", "principal": "claims-core", "roles": ["reader"]},
            ]);
            Clients::new(&serde_json::from_value::<Vec<_>>(settings).unwrap()).unwrap()
        };
        options.logs[0].clients = clients("of-acme");
        options.logs[1].clients = clients("of-other");
    })
}

async fn get(api: &Api, path: &str, name: Option<&str>, bearer: Option<&str>) -> Answered {
    let certificate = name.map(certificate);
    let peer = Peer { address: "192.0.2.1:5".parse().unwrap(), certificate };
    let mut request = Request::builder().uri(path).extension(peer);
    if let Some(bearer) = bearer {
        request = request.header(header::AUTHORIZATION, format!("Bearer {bearer}"));
    }
    send(&api.router, request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_certificate_is_of_the_tenant_that_names_it() {
    let api = api();
    for (name, tenant) in [("of-acme", TENANT), ("of-other", OTHER)] {
        assert_eq!(get(&api, "/v1/decisions", Some(name), None).await.status, 200, "{name}");
        let log = format!("/v1/log/{tenant}/proof?index=0");
        assert_ne!(get(&api, &log, Some(name), None).await.status, 403, "{name}");
    }
    get(&api, "/v1/log/other/checkpoint", Some("of-acme"), None).await.problem(403, "auth.tenant");
}

#[tokio::test]
async fn what_is_nobodys_or_may_not_or_is_over_is_refused() {
    let api = api();
    get(&api, "/v1/decisions", Some("stranger"), None).await.problem(403, "auth.unknown");
    get(&api, "/v1/decisions", Some("both"), None).await.problem(403, "auth.unknown");
    get(&api, "/v1/decisions", None, None).await.problem(401, "auth.required");
    get(&api, "/v1/decisions:export", Some("of-acme"), None).await.problem(403, "auth.role");
    // A bearer credential is what counts where there is one.
    get(&api, "/v1/decisions", Some("of-acme"), Some("a.b.c")).await.problem(401, "auth.malformed");
    // Certificates of these tests are good up to the year 4096.
    api.clock.move_ms(2_200 * 366 * 86_400_000);
    get(&api, "/v1/decisions", Some("of-acme"), None).await.problem(401, "auth.expired");
}

#[tokio::test]
async fn whoever_administers_by_another_credential_does_not_approve() {
    let api = Api::of_two(|options| {
        options.authentication = Authentication::Credentials;
        let settings = json!([
            {"subject_cn": "anna", "principal": "anna", "roles": ["approver"]},
            {"subject_cn": "otto", "principal": "otto", "roles": ["operator"]},
        ]);
        options.logs[0].clients = Clients::new(&serde_json::from_value::<Vec<_>>(settings).unwrap()).unwrap();
    });
    let cases = "/v1/overrides";
    assert_eq!(get(&api, cases, Some("anna"), None).await.status, 200);
    // An administrator by an API key: from then on, and for as long as it is good.
    let key = api.api_key(0, "anna", "operator");
    api.clock.move_ms(1_000);
    get(&api, cases, Some("anna"), None).await.problem(403, "auth.role");
    let id = key.split('_').nth(2).unwrap().to_owned();
    outside(|| api.runtime.api_keys().revoke(&id, 0, "tester")).unwrap();
    api.clock.move_ms(1_000);
    assert_eq!(get(&api, cases, Some("anna"), None).await.status, 200);
    // An administrator by a certificate that was shown here.
    let key = api.api_key(0, "otto", "approver");
    api.clock.move_ms(1_000);
    assert_eq!(get(&api, cases, None, Some(&key)).await.status, 200);
    assert_ne!(get(&api, "/v1/security-events", Some("otto"), None).await.status, 403);
    get(&api, cases, None, Some(&key)).await.problem(403, "auth.role");
}
