use super::*;
use crate::failure::{Cause, Failure};
use crate::testing::{POLICY, TestLog, caller, request};
use chancery_core::evidence::{Line, Reader as EvidenceReader};
use chancery_verify::{Ask, Part, Report, Verdict, Without};

fn decide(runtime: &Runtime, id: &str, amount: &str, score: &str) -> u64 {
    runtime.execute_blocking(&caller(), &request(id, amount, score)).unwrap().log.index
}

/// Decisions of every kind, under two versions of the policy.
fn filled(log: &TestLog) -> Runtime {
    let runtime = log.open();
    for number in 0..20 {
        decide(&runtime, &format!("a-{number}"), &(number * 900).to_string(), "0.2");
    }
    log.activate(&runtime, "2.0.0");
    for number in 0..20 {
        decide(&runtime, &format!("b-{number}"), "5", &format!("0.{}", 80 + number));
    }
    decide(&runtime, "blocked", "9007199254740991", "0.2");
    runtime
}

fn export(runtime: &Runtime, selection: Selection, disclosure: Disclosure) -> Vec<u8> {
    let mut file = Vec::new();
    runtime.export(&ExportRequest { selection, disclosure }, &mut file).unwrap();
    file
}

fn judge(runtime: &Runtime, file: &[u8], parts: &[Part]) -> Report {
    let ask = Ask {
        environment: chancery_verify::Environment::Test,
        without: Without::new(std::iter::once(Part::Build).chain(parts.iter().copied())),
        ..Ask::default()
    };
    chancery_verify::verify(file, Some(&runtime.root_pub().to_string()), &ask)
}

fn verified(runtime: &Runtime, file: &[u8], parts: &[Part]) -> Report {
    let report = judge(runtime, file, parts);
    let bad: Vec<_> = report.checks.iter().filter(|check| check.failed > 0 || check.required).collect();
    assert_eq!(report.verdict, Verdict::Verified, "{}\n{bad:#?}", report.summary);
    report
}

fn ids(ids: &[&str]) -> Selection {
    let ids = ids.iter().map(|id| id.parse().unwrap()).collect();
    Selection::Filter(Filter { execution_ids: Some(ids), ..Filter::default() })
}

#[test]
fn a_complete_export_is_verified_and_every_decision_reproduced() {
    let log = TestLog::new();
    let runtime = filled(&log);
    let file = export(&runtime, Selection::Complete, Disclosure::Full);
    let report = verified(&runtime, &file, &[]);
    assert_eq!((report.counts.decisions, report.counts.reproduced), (41, 41));
    assert_eq!((report.counts.bundles, report.counts.activations, report.counts.keyrings), (2, 2, 1));
}

#[test]
fn a_changed_byte_is_not_verified() {
    let log = TestLog::new();
    let runtime = log.open();
    decide(&runtime, "e-1", "1", "0.1");
    let file = export(&runtime, Selection::Complete, Disclosure::Full);
    verified(&runtime, &file, &[]);
    for at in (0..file.len()).step_by(file.len() / 50) {
        let mut changed = file.clone();
        changed[at] ^= 1;
        assert_ne!(judge(&runtime, &changed, &[]).verdict, Verdict::Verified, "byte {at}");
    }
}

#[test]
fn ranges_and_filters_carry_proofs() {
    let log = TestLog::new();
    let runtime = filled(&log);
    let size = runtime.records().head().unwrap().size;
    let selections = [
        (Selection::Range { from: 3, to: Some(9) }, 6),
        (Selection::Range { from: size - 4, to: None }, 4),
        (ids(&["a-3", "b-7"]), 2),
        (Selection::Filter(Filter { outcome: Some("deny".to_owned()), ..Filter::default() }), 10),
        (Selection::Filter(Filter { policy: Some(POLICY.parse().unwrap()), ..Filter::default() }), 41),
        (Selection::Filter(Filter { version: Some("2.0.0".parse().unwrap()), ..Filter::default() }), 21),
        (Selection::Filter(Filter { state: Some("blocked".to_owned()), ..Filter::default() }), 1),
    ];
    for (selection, decisions) in selections {
        let file = export(&runtime, selection.clone(), Disclosure::Full);
        let report = verified(&runtime, &file, &[]);
        assert_eq!(report.counts.decisions, decisions, "{selection:?}");
    }
    // The whole range is the complete export, which has no proofs.
    let whole = export(&runtime, Selection::Range { from: 0, to: None }, Disclosure::None);
    assert!(!String::from_utf8(whole).unwrap().contains("\"proof\""));
}

#[test]
fn one_decision_is_a_file_of_its_own() {
    let log = TestLog::new();
    let runtime = filled(&log);
    let mut file = Vec::new();
    let exported = runtime.export(&ExportRequest::one("b-7".parse().unwrap()), &mut file).unwrap();
    // Header, keyring, bundle, activation, decision, trailer.
    assert_eq!((exported.lines, exported.decisions), (6, 1));
    verified(&runtime, &file, &[]);
}

#[test]
fn disclosure_is_full_partial_or_none() {
    let log = TestLog::new();
    let runtime = filled(&log);
    let header = |file: &[u8]| {
        let first = file.split(|byte| *byte == b'\n').next().unwrap();
        let Line::Header(header) = Line::parse_exact(first).unwrap() else { panic!("no header") };
        header.disclosure
    };
    let file = export(&runtime, Selection::Complete, Disclosure::None);
    assert_eq!(header(&file), evidence::Disclosure::None);
    assert!(!String::from_utf8_lossy(&file).contains("\"opening\""));
    assert_ne!(judge(&runtime, &file, &[]).verdict, Verdict::Verified);
    verified(&runtime, &file, &[Part::Opening]);

    let hidden = Disclosure::Partial { hidden: vec!["score".to_owned()] };
    let file = export(&runtime, Selection::Complete, hidden);
    assert_eq!(header(&file), evidence::Disclosure::Partial);
    let text = String::from_utf8_lossy(&file);
    assert!(
        !text.contains("\"secret\"")
            && !text.contains("\"name\":\"score\"")
            && text.contains("\"name\":\"amount\"")
    );
    let report = verified(&runtime, &file, &[]);
    assert_eq!((report.counts.partial, report.counts.reproduced), (41, 0));
}

#[test]
fn lines_stand_in_their_order() {
    let log = TestLog::new();
    let runtime = filled(&log);
    let file = export(&runtime, Selection::Complete, Disclosure::Full);
    let mut reader = EvidenceReader::new(file.as_slice());
    let mut kinds = Vec::new();
    while let Some(line) = reader.next_line().unwrap() {
        kinds.push(line.parse_exact().unwrap().kind());
    }
    kinds.dedup();
    let expected =
        ["header", "keyring", "bundle", "activation", "decision", "activation", "decision", "trailer"];
    assert_eq!(kinds, expected);
}

#[test]
fn what_cannot_be_exported_is_refused_before_a_byte_is_written() {
    let log = TestLog::new();
    let runtime = filled(&log);
    let size = runtime.records().head().unwrap().size;
    let cases = [
        (Selection::Range { from: 5, to: Some(4) }, "log.range"),
        (Selection::Range { from: 0, to: Some(size + 1) }, "log.range"),
        (Selection::Filter(Filter::default()), "export.filter"),
        (Selection::Filter(Filter { state: Some("done".to_owned()), ..Filter::default() }), "export.filter"),
        (ids(&[]), "export.filter"),
        (ids(&["a-1", "nobody"]), "execution.unknown"),
    ];
    for (selection, code) in cases {
        let request = ExportRequest { selection, disclosure: Disclosure::Full };
        assert_eq!(runtime.begin_export(&request).err().unwrap().code(), code);
    }
}

#[test]
fn what_was_tampered_with_is_not_exported() {
    for sql in [
        "UPDATE log_entries SET payload = CAST(replace(payload, '\"approve\"', '\"deny\"') AS BLOB) WHERE log_index = 3",
        "UPDATE openings SET ciphertext = zeroblob(length(ciphertext)) WHERE log_index = 3",
        "DELETE FROM log_entries WHERE log_index = 3",
    ] {
        let log = TestLog::new();
        let runtime = filled(&log);
        log.tamper(sql);
        let request = ExportRequest { selection: Selection::Complete, disclosure: Disclosure::Full };
        let error = runtime.export(&request, Vec::new()).unwrap_err();
        assert_eq!(error.whose(), Cause::Corrupt, "{sql}: {error:?}");
    }
}
