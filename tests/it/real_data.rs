//! All claims and all loans of the real data: every row ends as a decision, the counts add up, and an auditor
//! reproduces every single one.

use chancery_tests::data;
use chancery_tests::home::Home;
use chancery_tests::program::{chancery, chancery_verify, run};
use serde_json::Value;

/// Decides a whole CSV file, exports, verifies; `counts` are the outcomes that the bundle is known to come to.
fn every_row_is_decided_and_reproduced(file: &str, policy: &str, rows: u64, counts: &[(&str, u64)]) {
    let Some(csv) = data::file(file) else { return };
    let home = Home::new();
    let said = run(
        chancery(home.path()).args(["decide", policy, "-o", "json", "--batch"]).arg(&csv),
        [] as [&str; 0],
    );
    let summary = said.expect(0).json();
    assert_eq!(summary["rows"], rows);
    assert_eq!(summary["refused"].as_array().map(Vec::len), Some(0), "{}", summary["refused"]);
    assert_eq!(summary["blocked"], 0);
    for (outcome, count) in counts {
        assert_eq!(summary["decided"][outcome], *count, "{outcome}: {summary}");
    }
    let decided: u64 =
        summary["decided"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(decided, rows);

    let evidence = home.file("all.evidence.jsonl");
    run(chancery(home.path()).args(["export", "--disclosure", "full", "--out"]), [&evidence]).expect(0);
    let arguments = ["--environment", "test", "--without", "build", "--json", "--root"];
    let report: Value =
        run(chancery_verify().arg(&evidence).args(arguments), [home.root_pub()]).expect(0).json();
    assert_eq!(report["verdict"], "verified");
    assert_eq!(report["counts"]["decisions"], rows);
    assert_eq!(report["counts"]["reproduced"], rows);

    let again = run(
        chancery(home.path()).args(["decide", policy, "-o", "json", "--batch"]).arg(&csv),
        [] as [&str; 0],
    );
    assert_eq!(again.expect(0).json()["replayed"], rows, "the same file again records nothing new");
    let fsck = run(&mut chancery(home.path()), ["fsck", "--full", "-o", "json"]).expect(0).json();
    assert_eq!(fsck["decisions"], rows);
}

#[test]
fn every_claim_is_decided_and_reproduced() {
    let counts = [("deny", 16), ("refer", 427), ("approve", 557)];
    every_row_is_decided_and_reproduced("insurance_claims.csv", "claim-approval", 1_000, &counts);
}

#[test]
fn every_loan_is_decided_and_reproduced() {
    let counts = [("deny", 271), ("refer", 2_563), ("approve", 7_166)];
    every_row_is_decided_and_reproduced("lending_club_loans.csv", "loan-approval", 10_000, &counts);
}

#[test]
fn a_row_with_faults_is_reported_with_its_number_and_takes_no_other_with_it() {
    let Some(csv) = data::file("insurance_claims.csv") else { return };
    let home = Home::new();
    let text = std::fs::read_to_string(csv).unwrap();
    let mut lines: Vec<String> = text.lines().take(6).map(str::to_owned).collect();
    lines[2] = lines[2].replacen("228", "two hundred", 1);
    lines[4].push_str(",one,cell,too,many");
    let dirty = home.file("dirty.csv");
    std::fs::write(&dirty, lines.join("\n")).unwrap();
    let said = run(
        chancery(home.path()).args(["decide", "claim-approval", "-o", "json", "--batch"]).arg(&dirty),
        [] as [&str; 0],
    );
    let summary = said.expect(2).json();
    assert_eq!(summary["rows"], 5);
    let refused = summary["refused"].as_array().unwrap();
    let rows: Vec<_> = refused
        .iter()
        .map(|refusal| (refusal["row"].as_u64(), refusal["errors"][0]["code"].as_str()))
        .collect();
    assert_eq!(rows, [(Some(2), Some("signal.type")), (Some(4), Some("mapping.cells"))]);
    assert!(!said_contains_value(&summary, "two hundred"), "a refusal quotes a signal's value: {summary}");
}

fn said_contains_value(summary: &Value, value: &str) -> bool {
    summary.to_string().contains(value)
}
