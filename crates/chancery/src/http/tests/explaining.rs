//! Explanations and replays.

use axum::body::Body;
use axum::http::Method;

use super::support::{Api, small_bundle};

async fn replay(api: &Api, path: &str) -> super::support::Answered {
    api.send(Method::POST, path, None, Body::empty()).await
}

#[tokio::test]
async fn an_explanation_is_for_its_audience_and_the_same_each_time() {
    let api = Api::new();
    api.decide("one", "500").await;
    let customer = api.get("/v1/decisions/one/explanation").await;
    assert_eq!(customer.status, 200);
    assert_eq!(customer.body, api.get("/v1/decisions/one/explanation?audience=customer").await.body);
    for hidden in ["outcomes", "policy", "SMALL", "context.", "reproduced"] {
        assert!(!customer.text().contains(hidden), "{}", customer.text());
    }
    assert_eq!(customer.json()["reasons"][0]["text"], "paid");
    let agent = api.get("/v1/decisions/one/explanation?audience=agent").await.json();
    assert_eq!(agent["reasons"][0]["text"], "small amount");
    assert_eq!(agent["reproduced"], true);
    let refer = &agent["outcomes"][0];
    assert_eq!(
        (&refer["outcome"], &refer["policies"][0]["result"]),
        (&"refer".into(), &"not_matched".into())
    );
    assert_eq!(refer["policies"][0]["condition"], "context.amount * 1000000 > 10000000000");
    let regulator = api.get("/v1/decisions/one/explanation?audience=regulator").await;
    assert_eq!(regulator.json()["reasons"][0]["text"], "amount within the limit of automatic payment");
    api.decide("two", "500").await;
    assert_eq!(regulator.body, api.get("/v1/decisions/one/explanation?audience=regulator").await.body);
}

#[tokio::test]
async fn what_cannot_be_explained_is_refused() {
    let api = Api::new();
    api.get("/v1/decisions/none/explanation").await.problem(404, "execution.unknown");
    api.get("/v1/decisions/a%20b/explanation").await.problem(400, "request.path");
    for query in ["audience=public", "audience=agent&audience=agent", "version=1.0.0"] {
        api.get(&format!("/v1/decisions/none/explanation?{query}")).await.problem(400, "request.query");
    }
}

#[tokio::test]
async fn recorded_signals_are_evaluated_again_by_any_version() {
    let api = Api::new();
    api.decide("one", "9000").await;
    api.decide("blocked", "9007199254740991").await;
    for id in ["one", "blocked"] {
        let same = replay(&api, &format!("/v1/decisions/{id}/replay")).await;
        assert_eq!(same.status, 200, "{same:?}");
        assert_eq!((&same.json()["result"], &same.json()["same_version"]), (&"SAME".into(), &true.into()));
    }
    let mut files = small_bundle("2.0.0");
    let policies = String::from_utf8(files["policies.cedar"].clone()).unwrap();
    files.insert("policies.cedar".to_owned(), policies.replace("<= 10000", "<= 100").into_bytes());
    let (key, runtime) = (api.policy_key(), api.runtime.clone());
    tokio::task::spawn_blocking(move || {
        let signature = chancery_runtime::bundles::sign(&files, &key).unwrap().signature;
        runtime.publish(chancery_runtime::bundles::SignedBundle { files, signature }).unwrap();
    })
    .await
    .unwrap();
    let other = replay(&api, "/v1/decisions/one/replay?version=2.0.0").await.json();
    assert_eq!((&other["result"], &other["same_version"]), (&"DIFFERENT".into(), &false.into()));
    assert_eq!(
        (&other["recorded"]["decision"], &other["evaluated"]["decision"]),
        (&"approve".into(), &"refer".into())
    );
    assert_eq!(other["differences"][0]["member"], "decision");
    assert_eq!(
        api.get("/v1/decisions?limit=1").await.json()["items"][0]["execution_id"],
        "blocked",
        "nothing is recorded"
    );
}

#[tokio::test]
async fn what_cannot_be_replayed_is_refused() {
    let api = Api::new();
    api.decide("one", "1").await;
    replay(&api, "/v1/decisions/none/replay").await.problem(404, "execution.unknown");
    replay(&api, "/v1/decisions/one/replay?version=9.9.9").await.problem(404, "policy.not_published");
    for query in ["version=one", "version=1.0.0&version=1.0.0", "audience=agent"] {
        replay(&api, &format!("/v1/decisions/one/replay?{query}")).await.problem(400, "request.query");
    }
    assert_eq!(api.get("/v1/decisions/one/replay").await.status, 405);
}
