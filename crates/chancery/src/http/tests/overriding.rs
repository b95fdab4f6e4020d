//! Override cases over HTTP: statuses, shapes, and what comes of a signature.

use super::support::{Api, approver_key};
use chancery_core::dsse::{Envelope, IN_TOTO};
use chancery_core::key::Signer as _;
use serde_json::{Value, json};

fn words() -> Value {
    json!({
        "resolution": "approve", "outcome": "approve", "reason": "Invoices seen.", "reason_code": "DOCS",
        "role": "claims-manager", "signer": approver_key().public_key().key_id(),
    })
}

impl Api {
    /// What the approver is given to sign, signed.
    async fn signed(&self, id: &str) -> String {
        let draft = self.post_json(&format!("/v1/overrides/{id}/statement"), words().to_string()).await;
        assert_eq!(
            (draft.status, draft.header("content-type")),
            (200, "application/vnd.dsse.envelope.v1+json")
        );
        let draft: Envelope = serde_json::from_slice(&draft.body).unwrap();
        assert!(draft.signatures.is_empty());
        let signed = Envelope::sign(IN_TOTO, draft.payload.0, &approver_key()).unwrap();
        serde_json::to_string(&signed).unwrap()
    }
}

#[tokio::test]
async fn a_case_is_listed_shown_answered_and_ended() {
    let api = Api::new();
    assert_eq!(api.decide("c-1", "20000").await.status, 201);
    let listed = api.get("/v1/overrides?role=claims-manager").await.json();
    assert_eq!(
        (&listed["items"][0]["execution_id"], &listed["items"][0]["progress"]),
        (&json!("c-1"), &json!("0 of 1"))
    );
    let shown = api.get("/v1/overrides/c-1").await.json();
    assert_eq!(
        (&shown["signals"]["values"]["amount"], &shown["policies"][0]["file"]),
        (&json!(20_000), &json!("policies.cedar"))
    );

    let signed = api.signed("c-1").await;
    let answered = api.post_json("/v1/overrides/c-1", signed.clone()).await;
    assert_eq!(answered.status, 201);
    let answered = answered.json();
    assert_eq!((&answered["state"], &answered["progress"]), (&json!("approved"), &json!("1 of 1")));
    assert_eq!(answered["resolution"]["final_outcome"], "approve");
    api.post("/v1/overrides/c-1", "text/plain", signed.clone()).await.problem(415, "request.media_type");
    let again = api.post("/v1/overrides/c-1", "application/vnd.dsse.envelope.v1+json", signed).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, "true"));
    assert_eq!(again.json(), answered);
    let late = api.post_json("/v1/overrides/c-1/statement", words().to_string()).await;
    late.problem(409, "override.resolved");
    assert_eq!(api.get("/v1/overrides").await.json()["items"], json!([]));
    assert_eq!(api.get("/v1/overrides?state=approved").await.json()["items"][0]["state"], "approved");
    assert_eq!(api.get("/v1/decisions/c-1").await.json()["current"]["outcome"], "approve");
}

#[tokio::test]
async fn each_refusal_has_its_status() {
    let api = Api::new();
    for (id, amount) in [("c-1", "20000"), ("c-2", "30000"), ("done", "5")] {
        api.decide(id, amount).await;
    }
    let of_another = api.signed("c-2").await;
    api.post_json("/v1/overrides/c-1", of_another.clone()).await.problem(422, "override.execution");
    let unsigned = of_another.replace("\"sig\":\"", "\"sig\":\"AAAA");
    api.post_json("/v1/overrides/c-2", unsigned).await.problem(422, "override.signature");
    api.post_json("/v1/overrides/c-2", "{}").await.problem(422, "envelope.invalid");
    api.post_json("/v1/overrides/nobody", of_another.clone()).await.problem(404, "execution.unknown");
    api.get("/v1/overrides/nobody").await.problem(404, "execution.unknown");
    api.get("/v1/overrides/done").await.problem(409, "override.not_waiting");
    api.get("/v1/overrides?state=open&limit=0").await.problem(400, "request.query");
    api.get("/v1/overrides?after=page").await.problem(400, "list.cursor");

    let mut stranger = words();
    stranger["signer"] = json!("SHA256:5bCz+1fQAyQSwx8HOv5OmXyrtCyGtKTQM7hnAqVs5HM");
    let draft = |words: Value| {
        let api = &api;
        async move { api.post_json("/v1/overrides/c-1/statement", words.to_string()).await }
    };
    draft(stranger).await.problem(403, "override.key_unknown");
    let mut other = words();
    other["outcome"] = json!("refer");
    draft(other).await.problem(422, "override.outcome");
    let mut wordless = words();
    wordless["reason"] = json!("");
    draft(wordless).await.problem(422, "override.statement");
    let faults = draft(json!({"resolution": "maybe", "role": 5, "signer": "me", "nonce": "0"})).await;
    let faults = faults.problem(422, "request.invalid");
    let expected = [
        ("/reason", "request.missing"),
        ("/reason_code", "request.missing"),
        ("/role", "request.type"),
        ("/nonce", "json.unknown"),
        ("/resolution", "request.value"),
        ("/signer", "request.value"),
    ];
    assert_eq!(faults, expected.map(|(at, code)| (at.to_owned(), code.to_owned())));

    // Signed in time, handed in too late.
    api.clock.move_ms(3 * 86_400_000);
    api.post_json("/v1/overrides/c-2", of_another).await.problem(410, "override.expired");
    assert_eq!(api.get("/v1/overrides/c-2").await.json()["state"], "expired");
}
