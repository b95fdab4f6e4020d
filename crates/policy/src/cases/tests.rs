use crate::testing::{bundle, faults};

const GOOD: &str = r#"[
 {"name": "small", "signals": {"amount": 5}, "expect": {"outcome": "approve", "state": "completed", "reasons": ["SMALL"], "determining": ["approve-tiny", "approve-small"], "errors": []}},
 {"name": "large", "signals": {"amount": 5000}, "principal": "x", "resource": "y", "expect": {"outcome": "refer", "state": "pending_override"}},
 {"name": "huge", "signals": {"amount": 500000}, "expect": {"outcome": "deny"}},
 {"name": "stopped", "signals": {"amount": 5, "stop": true}, "expect": {"outcome": "refer", "reasons": ["STOP"]}},
 {"name": "overflow", "signals": {"amount": 9007199254740991, "factor": 9007199254740991}, "expect": {"outcome": "refer", "errors": ["cedar.overflow"]}},
 {"name": "offers", "signals": {"amount": 5000}, "candidates": [{"id": "a", "signals": {"amount": 1}}], "expect": {"outcome": "refer"}}
]"#;

#[test]
fn cases_that_hold_pass_and_coverage_names_the_rest() {
    let report = bundle(&[("cases/a.json", GOOD)]).run_cases();
    assert!(report.passed(), "{report}");
    assert_eq!(report.results.len(), 6);
    assert_eq!(report.unsatisfied, ["factor"]);
    assert_eq!(report.undetermining, ["factor"]);
    assert!(!report.is_covered());
    let text = report.to_string();
    assert_eq!(
        text,
        "not covered: no case satisfies policy `factor`\n6 of 6 cases passed, 5 of 6 policies covered"
    );
    let none = bundle(&[]).run_cases();
    assert!(none.passed());
    assert_eq!(none.unsatisfied.len(), 6);
}

#[test]
fn one_case_may_stand_alone_in_a_file() {
    let text = r#"{"name": "a", "signals": {"amount": 1}, "expect": {"outcome": "approve"}}"#;
    assert_eq!(bundle(&[("cases/deep/a.json", text)]).run_cases().results.len(), 1);
}

#[test]
fn a_case_that_fails_says_what_differs() {
    for (case, expected) in [
        (
            r#""signals": {"amount": 5}, "expect": {"outcome": "deny", "state": "blocked", "reasons": ["LARGE"], "determining": []}"#,
            "FAILED: x (cases/a.json)\n  outcome: expected `deny`, found `approve` (determined by `approve-small`, `approve-tiny`)\n  state: expected `blocked`, found `completed`\n  reasons: missing `LARGE`, not expected `SMALL`\n  determining: not expected `approve-small`, `approve-tiny`",
        ),
        (
            r#""signals": {"amount": 500, "stop": false}, "expect": {"outcome": "approve", "reasons": ["SMALL", "LARGE"]}"#,
            "FAILED: x (cases/a.json)\n  reasons: missing `LARGE`",
        ),
        (
            r#""signals": {"amount": 9007199254740991, "factor": 9007199254740991}, "expect": {"outcome": "refer"}"#,
            "FAILED: x (cases/a.json)\n  errors: not expected `cedar.overflow`",
        ),
        (
            r#""signals": {"amount": 1}, "expect": {"outcome": "approve", "errors": ["cedar.overflow"]}"#,
            "FAILED: x (cases/a.json)\n  errors: missing `cedar.overflow`",
        ),
        (
            r#""signals": {"amuont": 1}, "expect": {"outcome": "approve"}"#,
            "FAILED: x (cases/a.json)\n  refused: signal.missing at `/signals/amount`",
        ),
        (
            r#""signals": {"amount": 1}, "candidates": [], "expect": {"outcome": "approve"}"#,
            "FAILED: x (cases/a.json)\n  refused: signal.range at `/candidates`",
        ),
    ] {
        let text = format!("{{\"name\": \"x\", {case}}}");
        let report = bundle(&[("cases/a.json", &text)]).run_cases();
        assert!(!report.passed());
        let printed = report.results[0].to_string();
        assert!(printed.starts_with(expected), "{printed}");
    }
    // Nothing determines a fallback without forbids; `blocked` expects errors of any kind.
    let text = r#"[{"name":"x","signals":{"amount":9007199254740991,"factor":9007199254740991},"expect":{"outcome":"refer","state":"blocked"}},
        {"name":"y","signals":{"amount":9007199254740991,"factor":9007199254740991},"expect":{"outcome":"deny","state":"blocked"}}]"#;
    let report = bundle(&[("cases/a.json", text)]).run_cases();
    assert!(report.results[0].passed());
    assert!(report.results[1].to_string().ends_with("found `refer` (no policy determined it)"));
}

#[test]
fn cases_of_another_shape_are_refused() {
    let case =
        |text: &str| format!(r#"[{{"name":"a","signals":{{}},"expect":{{"outcome":"deny"}}}}, {text}]"#);
    for (text, expected) in [
        ("[".to_owned(), "cases/a.json: json.syntax"),
        ("1".to_owned(), "signal.type at the top: expected an object"),
        (case("1"), "signal.type at `/1`: expected an object"),
        (case("{}"), "signal.missing at `/1/name`"),
        (case("{}"), "signal.missing at `/1/signals`"),
        (case("{}"), "signal.missing at `/1/expect`"),
        (case(r#"{"name":"","expect":1}"#), "signal.type at `/1/name`: expected a text that is not empty"),
        (case(r#"{"name":"b","expect":1}"#), "signal.type at `/1/expect`: expected an object"),
        (case(r#"{"expect":{}}"#), "signal.missing at `/1/expect/outcome`"),
        (
            case(r#"{"expect":{"state":"done"}}"#),
            "signal.type at `/1/expect/state`: expected `completed`, `pending_override` or `blocked`",
        ),
        (
            case(r#"{"expect":{"reasons":"A"}}"#),
            "signal.type at `/1/expect/reasons`: expected an array of texts",
        ),
        (case(r#"{"expect":{"errors":[1]}}"#), "signal.type at `/1/expect/errors/0`"),
        (case(r#"{"expect":{"outcomes":1}}"#), "json.unknown at `/1/expect/outcomes`"),
        (case(r#"{"principal":1}"#), "signal.type at `/1/principal`"),
        (case(r#"{"names":1}"#), "json.unknown at `/1/names`"),
        (case(r#"{"name":"a","name":"b"}"#), "json.duplicate at `/1/name`"),
        (
            case(r#"{"name":"a","signals":{},"expect":{"outcome":"deny"}}"#),
            "the name `a` is that of another case in this file",
        ),
    ] {
        let faults = faults(&[("cases/a.json", &text)]);
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{expected}: {faults:#?}");
    }
    let many = vec!["{}"; 100].join(",");
    assert_eq!(faults(&[("cases/a.json", &format!("[{many}]"))]).len(), 300);
}
