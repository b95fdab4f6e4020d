//! Tokens of identity providers as credentials: whose log a request is about, and what is refused with which code.

use axum::body::Body;
use axum::http::{Request, header};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::support::{Answered, Api, TENANT, request, send};
use crate::http::Authentication;
use crate::oidc::keys::set_of;
use crate::oidc::tests::{Issuing, settings};
use crate::oidc::{Oidc, Source};

/// Two tenants with a provider each. The second's grants the same words to others.
struct World {
    api: Api,
    keys: [Issuing; 2],
}

const ISSUERS: [&str; 2] = ["https://idp.example/realms/acme", "https://idp.example/realms/other"];

fn world() -> World {
    let keys = [Issuing::new("k", Algorithm::ES256), Issuing::new("k", Algorithm::EdDSA)];
    let api = Api::of_two(|options| {
        options.authentication = Authentication::Credentials;
        for (place, log) in options.logs.iter_mut().enumerate() {
            let set = set_of(vec![keys[place].public()]);
            let mut settings = settings(&[["ES256", "EdDSA"][place]]);
            settings.issuer = ISSUERS[place].to_owned();
            log.oidc = Some(Oidc::new(settings, Source::Given(Box::new(move || Ok(set.clone())))));
        }
    });
    World { api, keys }
}

impl World {
    fn claims(&self, of: usize, roles: &[&str]) -> Value {
        use chancery_runtime::Clock as _;
        let now_s = self.api.clock.now().unix_micros() / 1_000_000;
        json!({
            "iss": ISSUERS[of], "aud": "chancery", "sub": "claims-core", "exp": now_s + 300, "nbf": now_s,
            "roles": roles,
        })
    }

    fn token(&self, of: usize, roles: &[&str]) -> String {
        self.keys[of].sign(&self.claims(of, roles))
    }

    async fn with(&self, path: &str, authorization: &str) -> Answered {
        let request = Request::builder().uri(path).header(header::AUTHORIZATION, authorization);
        send(&self.api.router, request.body(Body::empty()).unwrap()).await
    }

    async fn get(&self, path: &str, token: &str) -> Answered {
        self.with(path, &format!("Bearer {token}")).await
    }

    async fn decide(&self, id: &str, token: &str) -> Answered {
        let request = Request::builder()
            .method("POST")
            .uri("/v1/decisions")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(request(id, "1").into());
        send(&self.api.router, request.unwrap()).await
    }
}

#[tokio::test]
async fn the_tenant_is_that_of_issuer_and_audience() {
    let world = world();
    let (one, other) = (world.token(0, &["writers"]), world.token(1, &["writers"]));
    assert_eq!(world.decide("x", &one).await.status, 201);
    let readers = [world.token(0, &["inspectors"]), world.token(1, &["inspectors"])];
    let found = world.get("/v1/decisions/x", &readers[0]).await;
    assert_eq!(found.json()["statement"]["tenant"], TENANT, "{found:?}");
    world.get("/v1/decisions/x", &readers[1]).await.problem(404, "execution.unknown");
    // The same id is another tenant's own.
    assert_eq!(world.decide("x", &other).await.status, 201);
    assert_eq!(world.get("/v1/decisions/x", &readers[1]).await.status, 200);
    for path in ["/v1/log/acme/proof?index=0", "/v1/log/acme/checkpoint"] {
        world.get(path, &readers[1]).await.problem(403, "auth.tenant");
    }
    // A claim that names a tenant changes nothing.
    let mut claims = world.claims(1, &["inspectors"]);
    claims["tenant"] = json!(TENANT);
    assert_eq!(
        world.get("/v1/decisions", &world.keys[1].sign(&claims)).await.json()["items"][0]["execution_id"],
        "x"
    );
}

#[tokio::test]
async fn each_refusal_has_its_code() {
    let world = world();
    let good = world.token(0, &["inspectors"]);
    assert_eq!(world.get("/v1/decisions", &good).await.status, 200);
    let changed = |changes: Value| {
        let mut claims = world.claims(0, &["inspectors"]);
        changes.as_object().unwrap().iter().for_each(|(name, value)| claims[name] = value.clone());
        world.keys[0].sign(&claims)
    };
    let cases = [
        (changed(json!({"iss": ISSUERS[1]})), 401, "auth.unknown"),
        (changed(json!({"aud": "another"})), 401, "auth.unknown"),
        (changed(json!({"exp": 1})), 401, "auth.expired"),
        (changed(json!({"nbf": 9_999_999_999_i64})), 401, "auth.not_yet"),
        (changed(json!({"roles": ["nothing"]})), 403, "auth.role"),
        (world.token(0, &["writers"]), 403, "auth.role"),
        (Issuing::new("k", Algorithm::ES256).sign(&world.claims(0, &["inspectors"])), 401, "auth.unknown"),
        (Issuing::new("z", Algorithm::ES256).sign(&world.claims(0, &["inspectors"])), 401, "auth.unknown"),
        ("a.b.c".to_owned(), 401, "auth.malformed"),
        (format!("{good}x"), 401, "auth.unknown"),
    ];
    for (token, status, code) in &cases {
        let refused = world.get("/v1/decisions", token).await;
        refused.problem(*status, code);
        assert!(!refused.text().contains(token.as_str()));
    }
    for authorization in ["Basic YTpi", "Bearer", &good] {
        world.with("/v1/decisions", authorization).await.problem(401, "auth.malformed");
    }
    world.api.get("/v1/decisions").await.problem(401, "auth.required");
}

#[test]
fn one_token_is_of_one_tenant() {
    let refused = super::support::outside(|| {
        let of = |tenant: &str| {
            let (mut log, folder) = super::support::log_of(tenant, None, &super::support::TestClock::start());
            let set = set_of(vec![Issuing::new("k", Algorithm::ES256).public()]);
            log.oidc =
                Some(Oidc::new(settings(&["ES256"]), Source::Given(Box::new(move || Ok(set.clone())))));
            (log, folder)
        };
        let ((one, _a), (other, _b)) = (of(TENANT), of(super::support::OTHER));
        let clock: std::sync::Arc<dyn chancery_runtime::Clock> = super::support::TestClock::start();
        crate::http::access::Tenants::new(vec![one, other], std::time::Duration::from_secs(1), &clock)
            .map(drop)
    });
    assert!(refused.unwrap_err().to_string().contains("oidc.issuer"));
}
