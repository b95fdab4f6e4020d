//! Confirmations: what was really done, exactly what holds, once.

use serde_json::json;

use crate::overrides::Company;

fn confirm(company: &Company, id: &str, outcome: &str, code: i32) -> String {
    let said =
        company.run(&["decision", "confirm", id, "--outcome", outcome, "--reference", "pay-1", "-o", "json"]);
    let said = said.expect(code);
    said.out + &said.err
}

#[test]
fn only_the_outcome_that_holds_is_confirmed_and_once() {
    let company = Company::with(&["ann", "bob"]);
    company.refer("claim-1");
    let waits = confirm(&company, "claim-1", "refer", 2);
    assert!(waits.contains("still open"), "{waits}");
    for name in ["ann", "bob"] {
        company.approve("claim-1", name);
    }
    let unconfirmed = ["decision", "list", "--unconfirmed", "-o", "json"];
    assert_eq!(company.run(&unconfirmed).expect(0).json()[0]["execution_id"], "claim-1");
    let old = [&unconfirmed[..], &["--older-than", "1d"]].concat();
    assert_eq!(company.run(&old).expect(0).json(), json!([]));
    // What was decided first does not hold any more.
    for outcome in ["refer", "deny", "Approve"] {
        let refused = confirm(&company, "claim-1", outcome, 2);
        assert!(refused.contains("confirmation.outcome"), "{refused}");
    }
    confirm(&company, "claim-1", "approve", 0);
    let again = confirm(&company, "claim-1", "approve", 11);
    assert!(again.contains("confirmed before"), "{again}");
    assert_eq!(company.run(&unconfirmed).expect(0).json(), json!([]));
    confirm(&company, "nobody", "approve", 10);
    company.run(&["decision", "list", "--older-than", "1d"]).expect(2);
    let report = company.audited();
    assert_eq!((&report["counts"]["confirmations"], &report["verdict"]), (&json!(1), &json!("verified")));
}
