//! Every file of the vectors comes to the verdict and the check that its manifest names.

use std::fmt::Write as _;

use serde::Deserialize;

use super::{judge, read, text};
use crate::{Ask, CheckResult, Environment, Part, Without};

#[derive(Deserialize)]
struct Case {
    file: String,
    root: Option<String>,
    since: Option<String>,
    environment: Option<String>,
    #[serde(default)]
    without: Vec<String>,
    verdict: String,
    check: Option<String>,
    redacted: Option<u64>,
}

impl Case {
    fn ask(&self) -> Ask {
        Ask {
            environment: self
                .environment
                .as_ref()
                .map_or(Environment::Production, |name| name.parse().unwrap()),
            without: Without::new(self.without.iter().map(|part| part.parse::<Part>().unwrap())),
            since: self.since.as_deref().map(text),
            ..Ask::default()
        }
    }
}

fn cases() -> Vec<Case> {
    serde_json::from_slice(&read("manifest.json")).unwrap()
}

#[test]
fn every_file_of_the_vectors_comes_to_its_verdict_and_check() {
    let mut wrong = String::new();
    for case in cases() {
        let root = case.root.as_deref().map(text);
        let report = judge(&read(&case.file), root.as_deref(), &case.ask());
        let verdict = report.verdict.as_str();
        let named = case.check.as_deref().map(|id| {
            let check = report.checks.iter().find(|check| check.id.as_str() == id).unwrap();
            let result = if case.verdict == "failed" { CheckResult::Fail } else { CheckResult::Unknown };
            check.result == result && check.required
        });
        let redacted = case.redacted.is_none_or(|redacted| redacted == report.counts.redacted);
        if verdict != case.verdict || named == Some(false) || !redacted {
            writeln!(wrong, "==== {}: {} {:?} {:?}", case.file, case.verdict, case.check, case.redacted)
                .unwrap();
            writeln!(wrong, "{report}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_report_does_not_depend_on_the_number_of_threads() {
    for name in ["good", "good-range", "payload-changed", "override-had-expired", "no-opening"] {
        let file = read(&format!("{name}.evidence.jsonl"));
        // Repeated entries fail, and they make the file long enough for several batches.
        let lines: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
        let long = [lines.concat(), lines[5..].concat().repeat(8)].concat();
        let report = |threads: usize| {
            let ask = Ask { threads: std::num::NonZeroUsize::new(threads), ..Ask::default() };
            judge(&long, Some(&text("root.pub")), &ask).to_json()
        };
        assert_eq!(report(1), report(3), "{name}");
    }
}
