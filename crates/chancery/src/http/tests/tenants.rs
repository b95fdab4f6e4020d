//! Several tenants in one process: what each route says about whose log it is.

use serde_json::Value;

use super::support::{Api, OTHER, TENANT, send};

fn at(path: &str) -> axum::http::Request<axum::body::Body> {
    axum::http::Request::builder().uri(path).body(axum::body::Body::empty()).unwrap()
}

#[tokio::test]
async fn what_is_public_is_somebodys() {
    let api = Api::of_two(|_| {});
    for path in ["/v1/trust/root.pub", "/v1/trust/keyring", "/v1/build"] {
        let refused = api.get(path).await;
        refused.problem(400, "request.tenant");
        assert!(refused.json()["detail"].as_str().unwrap().contains("?tenant="), "the way out is told");
        api.get(&format!("{path}?tenant={TENANT}&tenant={OTHER}")).await.problem(400, "request.tenant");
        for nobody in ["", "ACME", "nobody", "%00"] {
            api.get(&format!("{path}?tenant={nobody}")).await.problem(404, "log.unknown");
        }
    }
    let keyring = async |tenant: &str| api.get(&format!("/v1/trust/keyring?tenant={tenant}")).await;
    let (one, other) = (keyring(TENANT).await, keyring(OTHER).await);
    assert_eq!((one.status, other.status), (200, 200));
    assert_ne!(one.text(), other.text());
    api.get(&format!("/v1/build?tenant={TENANT}&part=sbom")).await.problem(404, "build.none");
}

#[tokio::test]
async fn where_there_is_one_tenant_nobody_has_to_say_so_and_everybody_may() {
    let api = Api::new();
    let plain = api.get("/v1/trust/keyring").await;
    assert_eq!(plain.text(), api.get("/v1/trust/keyring?tenant=acme").await.text());
    api.get("/v1/trust/keyring?tenant=other").await.problem(404, "log.unknown");
}

#[tokio::test]
async fn no_other_route_takes_a_tenant_from_the_query() {
    let api = Api::of_two(|_| {});
    for path in ["/v1/decisions?tenant=other", "/v1/policies?tenant=acme", "/v1/verifications?tenant=other"] {
        api.get(path).await.problem(400, "request.query");
    }
}

#[tokio::test]
async fn a_log_is_that_of_its_path_and_another_one_is_there_for_nobody() {
    let api = Api::of_two(|options| options.logs[1].public_log = true);
    api.decide("x", "1").await;
    assert_eq!(api.get("/v1/log/acme/checkpoint").await.status, 200, "the caller's own");
    let theirs = api.get("/v1/log/other/checkpoint").await;
    assert_eq!(theirs.status, 200, "public");
    assert!(theirs.text().starts_with("log.example.com/other\n"), "{}", theirs.text());
    let api = Api::of_two(|_| {});
    for path in ["checkpoint", "tile/0/000.p/1", "proof?index=0"] {
        api.get(&format!("/v1/log/other/{path}")).await.problem(403, "auth.tenant");
        api.get(&format!("/v1/log/nobody/{path}")).await.problem(403, "auth.tenant");
    }
}

#[tokio::test]
async fn what_one_tenant_decides_no_other_has() {
    let api = Api::of_two(|options| options.logs[1].public_log = true);
    let entries = async |tenant: &str| {
        let note = api.get(&format!("/v1/log/{tenant}/checkpoint")).await.text().to_owned();
        note.lines().nth(1).unwrap().parse::<u64>().unwrap()
    };
    for tenant in api.state.tenants().all() {
        super::support::outside(|| tenant.runtime().publish_checkpoint()).unwrap();
    }
    let before = (entries(TENANT).await, entries(OTHER).await);
    assert_eq!(api.decide("x", "1").await.status, 201);
    for tenant in api.state.tenants().all() {
        super::support::outside(|| tenant.runtime().publish_checkpoint()).unwrap();
    }
    assert_eq!((entries(TENANT).await, entries(OTHER).await), (before.0 + 1, before.1));
}

#[tokio::test]
async fn one_tenants_streams_leave_room_for_the_other() {
    let api = Api::of_two(|_| {});
    let tenants = api.state.tenants().all();
    let take =
        |of: usize| std::iter::from_fn(|| tenants[of].stream_permit().ok()).take(1_000).collect::<Vec<_>>();
    let first = take(0);
    assert_eq!(first.len(), 16);
    let second = take(1);
    assert_eq!(second.len(), 16);
    drop(first);
    assert_eq!(take(1).len(), 0, "what another gives back is not for whoever has as many as there may be");
    assert_eq!(take(0).len(), 16);
}

#[tokio::test]
async fn readiness_and_metrics_are_of_every_tenant() {
    let api = Api::of_two(|_| {});
    let ready = send(&api.operator, at("/readyz")).await;
    assert_eq!((ready.status, &ready.json()["status"]), (200, &Value::from("ready")), "{ready:?}");
    let checks = ready.json()["checks"].as_array().unwrap().clone();
    let of = |tenant: &str| checks.iter().filter(|check| check["tenant"] == tenant).count();
    assert_eq!((of(TENANT), of(OTHER), checks.len()), (5, 5, 10));
    // Decisions of the first are ahead of the clock now, the other has none.
    api.clock.move_ms(100_000);
    assert_eq!(api.decide("x", "1").await.status, 201);
    api.clock.move_ms(-60_000);
    let ready = send(&api.operator, at("/readyz")).await;
    assert_eq!((ready.status, &ready.json()["status"]), (200, &Value::from("degraded")), "{ready:?}");
    let bad: Vec<_> = ready.json()["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["ok"] == false)
        .cloned()
        .collect();
    assert_eq!(bad.len(), 1);
    assert_eq!((&bad[0]["tenant"], &bad[0]["name"]), (&Value::from(TENANT), &Value::from("clock")));
}

#[tokio::test]
async fn one_tenants_hanging_database_leaves_the_others_ready() {
    let api = Api::of_two(|_| {});
    let tenants = api.state.tenants().all();
    let (releases, held): (Vec<_>, Vec<_>) = (0..2).map(|_| std::sync::mpsc::channel::<()>()).unzip();
    let other = tenants.iter().find(|tenant| tenant.name().as_str() == OTHER).unwrap();
    for (kind, held) in ["readyz", "metrics"].into_iter().zip(held) {
        // A look that does not come to its end, as a store that hangs has it.
        let looked = crate::http::health::look(&api.state, other, kind, move |_| _ = held.recv());
        assert!(looked.await.is_err());
    }
    let ready = send(&api.operator, at("/readyz")).await;
    assert_eq!((ready.status, &ready.json()["status"]), (200, &Value::from("degraded")), "{ready:?}");
    let checks = ready.json()["checks"].as_array().unwrap().clone();
    let (bad, good): (Vec<_>, Vec<_>) = checks.iter().partition(|check| check["ok"] == false);
    assert!(good.len() == 5 && good.iter().all(|check| check["tenant"] == TENANT), "{ready:?}");
    assert_eq!(
        (bad.len(), &bad[0]["tenant"], &bad[0]["name"]),
        (1, &Value::from(OTHER), &Value::from("store"))
    );
    assert_eq!(send(&api.operator, at("/metrics")).await.status, 200);
    drop(releases);
    let ready = send(&api.operator, at("/readyz")).await;
    assert_eq!(ready.json()["status"], "ready", "{ready:?}");
}

#[test]
fn two_logs_of_one_tenant_are_refused() {
    let api = super::support::outside(Api::new);
    let log = || crate::http::Log {
        runtime: api.runtime.clone(),
        database: std::path::PathBuf::from("chancery.db").into(),
        public_log: false,
        oidc: None,
        clients: crate::tls::Clients::default(),
        limits: crate::limits::Limits::default(),
    };
    let made =
        |logs| crate::http::access::Tenants::new(logs, std::time::Duration::from_secs(1), &clock()).map(drop);
    assert!(made(vec![log(), log()]).unwrap_err().to_string().contains("`acme`"));
    assert!(made(vec![]).is_err());
}

fn clock() -> std::sync::Arc<dyn chancery_runtime::Clock> {
    super::support::TestClock::start()
}
