//! Lineage: everything that is connected with an execution, by its id and by its fingerprint.

use serde_json::{Value, json};

use crate::overrides::Company;

#[test]
fn everything_about_a_case_is_in_one_answer() {
    let company = Company::with(&["ann", "bob"]);
    company.refer("claim-1");
    company.refer("claim-2");
    for name in ["ann", "bob"] {
        company.approve("claim-1", name);
    }
    company
        .run(&["decision", "confirm", "claim-1", "--outcome", "approve", "--reference", "pay-1"])
        .expect(0);
    // Its log names no build, which cannot be checked then.
    company.run(&["verification", "backfill", "--per-second", "10000"]).expect(6);
    let lineage = company.run(&["decision", "lineage", "claim-1", "-o", "json"]).expect(0).json();
    let predicate = |record: &Value| record["statement"]["predicate"].clone();
    let approvers: Vec<Value> =
        lineage["overrides"].as_array().unwrap().iter().map(|it| predicate(it)["approver"].clone()).collect();
    assert_eq!(approvers, [json!("ann"), json!("bob")]);
    assert_eq!(predicate(&lineage["resolution"])["finalOutcome"], "approve");
    assert_eq!(predicate(&lineage["confirmation"])["reference"], "pay-1");
    assert_eq!(lineage["verifications"].as_array().unwrap().len(), 1);
    assert_eq!(lineage["current"]["outcome"], "approve");
    assert_eq!(
        predicate(&lineage["decision"])["decision"]["outcome"],
        "refer",
        "its own record never changes"
    );
    assert_eq!(predicate(&lineage["policy"]["activation"])["bundleHash"], lineage["policy"]["bundle_hash"]);
    for record in ["decision", "resolution", "confirmation"] {
        assert!(lineage[record]["proof"].is_array(), "{record}: {}", lineage[record]);
    }
    // The other one on the same facts has the same fingerprint.
    let fingerprint = lineage["execution_fingerprint"].as_str().unwrap();
    let both =
        company.run(&["decision", "lineage", "--fingerprint", fingerprint, "-o", "json"]).expect(0).json();
    let ids: Vec<&Value> = both.as_array().unwrap().iter().map(|it| &it["execution_id"]).collect();
    assert_eq!(ids, ["claim-1", "claim-2"]);
    assert_eq!((&both[1]["resolution"], &both[1]["overrides"]), (&Value::Null, &json!([])));
    let text = company.run(&["decision", "lineage", "claim-1"]).expect(0).out;
    for part in ["activation", "override", "approve by ann", "resolution", "confirmation", "verification"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for (arguments, code) in [
        (&["decision", "lineage", "nobody"][..], 10),
        (&["decision", "lineage", "--fingerprint", &"0".repeat(64)], 10),
        (&["decision", "lineage", "--fingerprint", "x"], 2),
        (&["decision", "lineage"], 2),
        (&["decision", "lineage", "claim-1", "--fingerprint", fingerprint], 2),
    ] {
        company.run(arguments).expect(code);
    }
}
