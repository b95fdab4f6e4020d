//! `chancery decide` to the exit code: what is blocked, what was expected, and files that say more than signals.

use chancery_tests::home::Home;
use chancery_tests::program::{Said, chancery, run};
use serde_json::json;

use crate::http::{claim, claim_signals};

const MANIFEST: &str = r#"
id = "scaling"
version = "1.0.0"
description = "one policy that an amount can overflow"
principal = "System"
resource = "Case"
outcomes = ["deny", "refer", "approve"]
fallback = "refer"
[override]
outcomes = ["deny"]
to = ["approve"]
roles = ["manager"]
quorum = 1
expires = "3d"
[[reason]]
code = "LARGE"
customer = "we look at this again"
agent = "large amount"
regulator = "amount above the limit"
"#;

const SCHEMA: &str = r#"
entity System;
entity Case;
type Facts = { "amount": Long };
action "deny", "refer", "approve" appliesTo { principal: [System], resource: [Case], context: Facts };
"#;

const POLICIES: &str = r#"
@id("deny-large")
@reason("LARGE")
permit (principal, action == Action::"deny", resource)
when { context.amount * 1000000 > 10000000000 };

@id("approve")
permit (principal, action == Action::"approve", resource);
"#;

/// A home where a policy is in force that amounts can block.
fn home_of_scaling() -> Home {
    let home = Home::new();
    let folder = home.file("policies/scaling/1.0.0");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in [("bundle.toml", MANIFEST), ("schema.cedarschema", SCHEMA), ("all.cedar", POLICIES)] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    run(chancery(home.path()).args(["bundle", "sign"]), [&folder]).expect(0);
    run(chancery(home.path()).args(["bundle", "publish"]), [&folder]).expect(0);
    let activate = ["bundle", "activate", "scaling@1.0.0", "--reason", "a test"];
    run(&mut chancery(home.path()), activate).expect(0);
    home
}

fn decide(home: &Home, policy: &str, signals: &str, more: &[&str]) -> Said {
    let file = home.file("signals.json");
    std::fs::write(&file, signals).unwrap();
    run(chancery(home.path()).args(["decide", policy, "--signals"]).arg(&file), more)
}

fn recorded(home: &Home) -> usize {
    let list = run(&mut chancery(home.path()), ["decision", "list", "-o", "json"]).expect(0).json();
    list.as_array().unwrap().len()
}

const BLOCKED: &str = r#"{"amount": 9007199254740991}"#;
const DENIED: &str = r#"{"amount": 20000}"#;
const APPROVED: &str = r#"{"amount": 5}"#;

#[test]
fn a_blocked_decision_never_ends_well() {
    let home = home_of_scaling();
    let said = decide(&home, "scaling", BLOCKED, &[]).expect(3);
    assert!(said.out.contains("BLOCKED") && said.out.contains("cedar.overflow"), "{}", said.out);
    for expected in ["refer", "approve"] {
        decide(&home, "scaling", BLOCKED, &["--expect", expected]).expect(3);
    }
    decide(&home, "scaling", APPROVED, &[]).expect(0);
    decide(&home, "scaling", APPROVED, &["--expect", "deny"]).expect(7);
    decide(&home, "scaling", DENIED, &[]).expect(8);
    decide(&home, "scaling", DENIED, &["--expect", "deny"]).expect(0);
}

#[test]
fn one_blocked_row_is_the_exit_code_of_its_batch() {
    let home = home_of_scaling();
    let row = |id: &str, signals: &str| format!("{{\"execution_id\":\"{id}\",\"signals\":{signals}}}\n");
    let batch = |rows: &[String], code: i32| {
        std::fs::write(home.file("rows.ndjson"), rows.concat()).unwrap();
        let decide = ["decide", "scaling", "--batch", "rows.ndjson", "-o", "json"];
        run(&mut chancery(home.path()), decide).expect(code).json()
    };
    let pending = batch(&[row("a", APPROVED), row("b", DENIED)], 0);
    assert_eq!((&pending["pending_override"], &pending["blocked"]), (&json!(1), &json!(0)));
    let refused = batch(&[row("a", APPROVED), row("b", "[]")], 2);
    assert_eq!(refused["refused"][0]["row"], 2);
    let blocked = batch(&[row("c", BLOCKED), row("d", APPROVED), row("b", "[]")], 3);
    assert_eq!((&blocked["rows"], &blocked["blocked"]), (&json!(3), &json!(1)), "{blocked}");
}

#[test]
fn an_outcome_that_the_policy_does_not_have_is_refused_before_anything_is_decided() {
    let home = Home::new();
    let signals = claim_signals().to_string();
    let said = decide(&home, "claim-approval", &signals, &["--expect", "aprove"]).expect(2);
    assert!(said.err.contains("no outcome `aprove`") && said.err.contains("`approve`"), "{}", said.err);
    assert_eq!(recorded(&home), 0);
    decide(&home, "claim-approval@9.9.9", &signals, &["--expect", "approve"]).expect(10);
    decide(&home, "claim-approval", &signals, &["--expect", "approve"]).expect(0);
}

#[test]
fn a_file_of_signals_cannot_say_more_than_signals() {
    let home = Home::new();
    let signals = claim_signals().to_string();
    for more in [",\"labels\":{\"channel\":\"forged\"}", ",\"resource\":\"other\"", "}", " {}"] {
        let said = decide(&home, "claim-approval", &format!("{signals}{more}"), &[]).expect(2);
        assert!(said.err.contains("json.syntax"), "{more}: {}", said.err);
    }
    let empty = decide(&home, "claim-approval", "", &[]).expect(2);
    assert!(empty.err.contains("at byte 0") && empty.err.contains("signals.json"), "{}", empty.err);
    let whole = decide(&home, "claim-approval", &json!([claim("claim-1")]).to_string(), &[]).expect(2);
    assert!(whole.err.contains("expected an object"), "{}", whole.err);
    assert_eq!(recorded(&home), 0);
}

const MAPPING: &str = "[execution_id]\ntemplate = \"{id}\"\n[signals.amount]\ncolumn = \"amount\"\n";

#[test]
fn a_bad_row_of_a_csv_file_is_refused_and_the_others_are_decided() {
    let home = home_of_scaling();
    std::fs::write(home.file("mapping.toml"), MAPPING).unwrap();
    let batch = |file: &[u8], form: &str| {
        std::fs::write(home.file("rows.csv"), file).unwrap();
        let decide = ["decide", "scaling", "--batch", "rows.csv", "--mapping", "mapping.toml", "-o", form];
        run(&mut chancery(home.path()), decide)
    };
    let mut file = b"id,amount\na,1\n\xff\xfe,2\n\nb,2\n\"c\"x,3\n".to_vec();
    file.extend(format!("{},4\nd,5\n\"open,6\ne,7\n", "long".repeat(70_000)).as_bytes());
    let summary = batch(&file, "json").expect(2).json();
    assert_eq!((&summary["rows"], &summary["decided"]["approve"]), (&json!(8), &json!(3)), "{summary}");
    assert_eq!(summary["complete"], true);
    let refused: Vec<_> = summary["refused"].as_array().unwrap().iter().collect();
    let told: Vec<_> =
        refused.iter().map(|one| (&one["row"], &one["line"], &one["errors"][0]["code"])).collect();
    let expected = [
        (2, 3, "row.utf8"),
        (3, 4, "row.blank"),
        (5, 6, "row.quote"),
        (6, 7, "row.size"),
        (8, 9, "row.quote"),
    ]
    .map(|(row, line, code)| (json!(row), json!(line), json!(code)));
    assert_eq!(told, expected.iter().map(|(row, line, code)| (row, line, code)).collect::<Vec<_>>());
    let said = batch(&file, "text").expect(2);
    assert!(said.out.contains("row 8 (line 9)"), "{}", said.out);
    let header = batch(b"id,\xff\n", "json").expect(2);
    assert!(header.err.contains("row.utf8"), "{}", header.err);
}

#[test]
fn a_batch_that_ends_early_is_summed_up_all_the_same() {
    let home = home_of_scaling();
    // A folder opens like a file and cannot be read.
    std::fs::create_dir(home.file("folder")).unwrap();
    let decide = ["decide", "scaling", "--batch", "folder", "-o", "json"];
    let failed = run(&mut chancery(home.path()), decide).expect(1);
    assert!(failed.err.contains("the input cannot be read after row 0"), "{}", failed.err);
    let summary = failed.json();
    assert_eq!((&summary["rows"], &summary["complete"]), (&json!(0), &json!(false)));
}

/// ESC, the one-byte CSI, a carriage return, a line feed and an override of the direction of writing.
#[test]
fn what_a_caller_wrote_never_steers_a_terminal() {
    let home = home_of_scaling();
    let steering = "x\u{1b}[2J\u{9b}1A\r\n  label       forged=yes\u{202e}";
    let request = json!({
        "execution_id": "a", "resource": "r", "labels": {"note": steering},
        "signals": {"amount": 5},
    });
    std::fs::write(home.file("rows.ndjson"), format!("{request}\n")).unwrap();
    run(&mut chancery(home.path()), ["decide", "scaling", "--batch", "rows.ndjson"]).expect(0);
    let confirm = ["decision", "confirm", "a", "--outcome", "approve", "--reference", "x\u{202e}y"];
    let said = run(&mut chancery(home.path()), confirm).expect(0);
    let shown = run(&mut chancery(home.path()), ["decision", "show", "a"]).expect(0);
    let list = run(&mut chancery(home.path()), ["decision", "list"]).expect(0);
    let lineage = run(&mut chancery(home.path()), ["decision", "lineage", "a"]).expect(0);
    for said in [&said, &shown, &list, &lineage] {
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!said.out.contains(steers) && !said.err.contains(steers), "{said:?}");
    }
    assert!(shown.out.contains("note=x\\u{1b}[2J\\u{9b}1A\\u{d}\\u{a}  label"), "{}", shown.out);
    assert_eq!(shown.out.lines().filter(|line| line.starts_with("  label")).count(), 1, "{}", shown.out);
}
