use super::*;
use crate::failure::{Cause, Failure};
use crate::testing::{POLICY, TestLog, block_on, caller, request};
use chancery_core::canonical::to_canonical;
use chancery_core::commitment::Opening;
use chancery_core::statement::ErrorCode;

fn execute(runtime: &Runtime, body: &[u8]) -> Result<Answer, ExecuteError> {
    runtime.execute_blocking(&caller(), body)
}

fn json(answer: &Answer) -> String {
    to_canonical(answer).unwrap().into_string()
}

#[test]
fn a_decision_is_signed_logged_and_answered() {
    let log = TestLog::new();
    let runtime = log.open();
    let before = runtime.records().head().unwrap().size;
    let answer = block_on(runtime.execute(&caller(), request("e-1", "100", "0.5"))).unwrap();
    assert_eq!((answer.decision.as_str(), answer.execution_state), ("approve", ExecutionState::Completed));
    assert_eq!(answer.reasons[0].code, "SMALL");
    assert!(!answer.replayed);
    assert_eq!(answer.log.index, before);

    let verified = answer.attestation.verify_single(runtime.runtime_key()).unwrap();
    let statement = Statement::<Decision>::parse(&verified).unwrap().predicate;
    assert_eq!(statement.principal.to_string(), "System::\"claims-core\"");
    assert_eq!(statement.resource.to_string(), "Claim::\"CLM-1\"");
    assert_eq!(statement.environment.as_str(), "test");
    assert_eq!(statement.runtime.build_identity, None);
    assert_eq!(statement.runtime.version, crate::VERSION);
    assert_eq!(statement.execution_fingerprint, answer.execution_fingerprint);
    let leaf =
        chancery_core::log::leaf_hash_of(chancery_core::log::Kind::Decision, &answer.attestation.record_id());
    assert_eq!(answer.log.leaf_hash, leaf);
    let detail = runtime.records().get(&"e-1".parse().unwrap()).unwrap().unwrap();
    assert_eq!(detail.attestation, answer.attestation);
}

#[test]
fn denial_and_referral_are_decisions_too() {
    let log = TestLog::new();
    let runtime = log.open();
    let denied = execute(&runtime, &request("e-1", "100", "0.95")).unwrap();
    assert_eq!((denied.decision.as_str(), denied.execution_state), ("deny", ExecutionState::Completed));
    let referred = execute(&runtime, &request("e-2", "10001", "0.1")).unwrap();
    assert_eq!(
        (referred.decision.as_str(), referred.execution_state),
        ("refer", ExecutionState::PendingOverride)
    );
    assert_eq!(referred.log.index, denied.log.index + 1);
}

#[test]
fn a_policy_that_fails_to_evaluate_blocks() {
    let log = TestLog::new();
    let runtime = log.open();
    let answer = execute(&runtime, &request("e-1", "9007199254740991", "0.1")).unwrap();
    assert_eq!((answer.decision.as_str(), answer.execution_state), ("refer", ExecutionState::Blocked));
    assert_eq!(answer.errors.len(), 1);
    assert_eq!(
        (answer.errors[0].code, answer.errors[0].policy.as_str()),
        (ErrorCode::Overflow, "refer-large")
    );
}

#[test]
fn a_repeat_gets_the_same_bytes() {
    let log = TestLog::new();
    let runtime = log.open();
    let first = execute(&runtime, &request("e-1", "100", "0.5")).unwrap();
    log.clock.advance_ms(3_600_000);
    for body in [
        request("e-1", "100", "0.5"),
        request("e-1", " 100", "\"0.50\""),
        // Labels and models are not compared.
        String::from_utf8(request("e-1", "100", "0.5"))
            .unwrap()
            .replace("\"signals\"", "\"labels\":{\"a\":\"b\"},\"signals\"")
            .into_bytes(),
    ] {
        let again = execute(&runtime, &body).unwrap();
        assert!(again.replayed);
        assert_eq!(json(&again), json(&first));
    }
    drop(runtime);
    // And after a restart.
    let again = execute(&log.open(), &request("e-1", "100", "0.5")).unwrap();
    assert_eq!(json(&again), json(&first));
}

#[test]
fn other_inputs_under_the_same_id_are_a_conflict() {
    let log = TestLog::new();
    let runtime = log.open();
    let first = execute(&runtime, &request("e-1", "100", "0.5")).unwrap();
    let other_caller = Caller::new("another-system");
    for result in [
        execute(&runtime, &request("e-1", "101", "0.5")),
        execute(&runtime, &replaced("e-1", "CLM-1", "CLM-2")),
        runtime.execute_blocking(&other_caller, &request("e-1", "100", "0.5")),
        execute(&runtime, &replaced("e-1", POLICY, "another-policy")),
        execute(&runtime, &replaced("e-1", "\"resource\"", "\"version\":\"2.0.0\",\"resource\"")),
    ] {
        let error = result.unwrap_err();
        assert!(
            matches!(error, ExecuteError::Conflict { index, .. } if index == first.log.index),
            "{error:?}"
        );
        assert_eq!((error.whose(), error.code()), (Cause::Conflict, "execution.conflict"));
    }
    assert_eq!(runtime.records().head().unwrap().size, first.log.index + 1);
}

fn replaced(id: &str, from: &str, to: &str) -> Vec<u8> {
    String::from_utf8(request(id, "100", "0.5")).unwrap().replace(from, to).into_bytes()
}

#[test]
fn a_repeat_after_an_activation_is_compared_under_the_recorded_bundle() {
    let log = TestLog::new();
    let runtime = log.open();
    let first = execute(&runtime, &request("e-1", "100", "0.5")).unwrap();
    log.activate(&runtime, "1.1.0");
    let again = execute(&runtime, &request("e-1", "100", "0.5")).unwrap();
    assert_eq!(json(&again), json(&first));
    let named =
        execute(&runtime, &replaced("e-1", "\"resource\"", "\"version\":\"1.0.0\",\"resource\"")).unwrap();
    assert_eq!(json(&named), json(&first));
    let error = execute(&runtime, &replaced("e-1", "\"resource\"", "\"version\":\"1.1.0\",\"resource\""))
        .unwrap_err();
    assert_eq!(error.code(), "execution.conflict");
    let new = execute(&runtime, &request("e-2", "100", "0.5")).unwrap();
    assert_eq!(new.policy.version.to_string(), "1.1.0");
    assert_ne!(new.execution_fingerprint, first.execution_fingerprint);
}

#[test]
fn a_decision_that_went_stale_in_the_queue_is_decided_again() {
    let log = TestLog::new();
    let runtime = log.open();
    let body = request("e-1", "100", "0.5");
    let inner = &runtime.inner;
    let prepared = inner.prepare(&caller(), Draft::parse(&body), inner.clock.now(), &[7; 44]).unwrap();
    log.activate(&runtime, "1.1.0");
    let answer = inner.store.submit_blocking(prepared.entry);
    let Settled::Again(error) = inner.settle(prepared.draft, answer) else { panic!("it was taken") };
    assert!(matches!(error, ExecuteError::Stale { .. }));
    assert_eq!(execute(&runtime, &body).unwrap().policy.version.to_string(), "1.1.0");
}

#[test]
fn of_two_that_race_for_an_id_one_is_recorded() {
    let log = TestLog::new();
    let runtime = log.open();
    let inner = &runtime.inner;
    let prepare = |amount| {
        let body = request("e-1", amount, "0.5");
        inner.prepare(&caller(), Draft::parse(&body), inner.clock.now(), &[7; 44]).unwrap()
    };
    let (first, same, other) = (prepare("100"), prepare("100"), prepare("101"));
    let settle =
        |prepared: Prepared| inner.settle(prepared.draft, inner.store.submit_blocking(prepared.entry));
    let Settled::Done(answer) = settle(first) else { panic!("not recorded") };
    let answer = answer.unwrap();
    let Settled::Done(again) = settle(same) else { panic!("not replayed") };
    let again = again.unwrap();
    assert!(again.replayed && json(&again) == json(&answer));
    assert!(matches!(settle(other), Settled::Again(ExecuteError::Conflict { .. })));
}

#[test]
fn the_version_in_force_may_be_named_and_no_other() {
    let log = TestLog::new();
    let runtime = log.open();
    let versioned =
        |version: &str| replaced("e-1", "\"resource\"", &format!("\"version\":\"{version}\",\"resource\""));
    let error = execute(&runtime, &versioned("2.0.0")).unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Conflict, "policy.not_in_force"));
    assert!(error.detail().contains("1.0.0"), "{}", error.detail());
    execute(&runtime, &versioned("1.0.0")).unwrap();
    let error = execute(&runtime, &replaced("e-2", POLICY, "no-such-policy")).unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::NotFound, "policy.unknown"));
}

#[test]
fn evaluating_records_nothing_and_takes_any_published_version() {
    let log = TestLog::new();
    let runtime = log.open();
    let before = runtime.records().head().unwrap().size;
    let body = request("e-1", "100", "0.95");
    let evaluated = block_on(runtime.evaluate(&caller(), body.clone())).unwrap();
    assert_eq!((evaluated.decision.as_str(), evaluated.recorded), ("deny", false));
    assert_eq!(evaluated.determining, ["deny-fraud"]);
    log.publish(&runtime, "2.0.0");
    let versioned = replaced("e-1", "\"resource\"", "\"version\":\"2.0.0\",\"resource\"");
    assert_eq!(runtime.evaluate_blocking(&caller(), &versioned).unwrap().policy.version.to_string(), "2.0.0");
    let missing = replaced("e-1", "\"resource\"", "\"version\":\"3.0.0\",\"resource\"");
    assert_eq!(runtime.evaluate_blocking(&caller(), &missing).unwrap_err().code(), "policy.not_published");
    assert_eq!(runtime.records().head().unwrap().size, before);
    assert_eq!(execute(&runtime, &body).unwrap().execution_fingerprint, evaluated.execution_fingerprint);
}

#[test]
fn candidates_are_judged_and_committed() {
    let log = TestLog::new();
    let runtime = log.open();
    let candidates = r#""candidates":[{"id":"a","signals":{"amount":50}},{"id":"b","signals":{"amount":20000}}],"signals""#;
    let body = replaced("e-1", "\"signals\"", candidates);
    let answer = execute(&runtime, &body).unwrap();
    let statement = Statement::<Decision>::parse_unverified(&answer.attestation.payload.0).unwrap().predicate;
    let recorded = statement.candidates.unwrap();
    assert_eq!((recorded.count, recorded.selected.len(), recorded.excluded_total), (2, 1, 1));
    assert_eq!(recorded.selected[0].id, "a");
    assert!(execute(&runtime, &body).unwrap().replayed);
    assert_eq!(execute(&runtime, &request("e-1", "100", "0.5")).unwrap_err().code(), "execution.conflict");
}

#[test]
fn every_fault_of_a_request_is_told_at_once() {
    let log = TestLog::new();
    let runtime = log.open();
    let good = String::from_utf8(request("e-1", "100", "0.5")).unwrap();
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    let with = |from: &str, to: &str| good.replace(from, to);
    let hash = "0".repeat(64);
    #[rustfmt::skip]
    let cases: Vec<(String, Vec<(&str, &str)>)> = vec![
        ("{".to_owned(), vec![("", "json.syntax")]),
        ("[1]".to_owned(), vec![("", "request.type")]),
        (with("\"policy\"", "\"execution_id\":\"e-2\",\"policy\""), vec![("/execution_id", "json.duplicate")]),
        (with("CLM-1\"", &format!("CLM-1\",\"x\":{deep}")), vec![("*", "json.depth")]),
        (with("100", "9007199254740993"), vec![("/signals/amount", "json.number")]),
        (with("\"resource\"", "\"surprise\":1,\"resource\""), vec![("/surprise", "json.unknown")]),
        (with("e-1", "-e"), vec![("/execution_id", "request.value")]),
        (with("\"e-1\"", "7"), vec![("/execution_id", "request.type")]),
        (with("\"execution_id\":\"e-1\",", ""), vec![("/execution_id", "request.missing")]),
        (with("\"CLM-1\"", "\"\""), vec![("/resource", "request.value")]),
        (with("\"CLM-1\"", "null"), vec![("/resource", "request.type")]),
        (with("\"resource\"", "\"version\":\"one\",\"resource\""), vec![("/version", "request.value")]),
        (with("\"resource\"", "\"labels\":{},\"resource\""), vec![("/labels", "request.count")]),
        (with("\"resource\"", "\"labels\":{\"a\":1},\"resource\""), vec![("/labels/a", "request.type")]),
        (with("\"resource\"", "\"models\":[],\"resource\""), vec![("/models", "request.count")]),
        (with("\"resource\"", "\"models\":[{\"id\":\"m\",\"stateSha256\":\"x\",\"y\":1}],\"resource\""),
            vec![("/models/0/version", "request.missing"), ("/models/0/stateSha256", "request.value"), ("/models/0/y", "json.unknown")]),
        (with("\"resource\"", &format!("\"models\":[{{\"id\":\"m\",\"version\":\"1\",\"stateSha256\":\"{hash}\"}}],\"candidates\":{{}},\"resource\"")),
            vec![("/candidates", "request.type")]),
        (with("\"resource\"", "\"candidates\":[],\"resource\""), vec![("/candidates", "signal.range")]),
        (with("100", "1.5"), vec![("/signals/amount", "signal.type")]),
        (with("0.5", "0.00001"), vec![("/signals/score", "signal.precision")]),
        (with("0.5", "null"), vec![("/signals/score", "signal.null")]),
        (with("\"amount\":100,", "\"amuont\":100,"), vec![("/signals/amount", "signal.missing"), ("/signals/amuont", "signal.undeclared")]),
        // Its own faults and those of its signals together, also where there is no such policy.
        (good.replace("\"e-1\"", "1").replace("0.5", "true"), vec![("/execution_id", "request.type"), ("/signals/score", "signal.type")]),
        (good.replace("\"e-1\"", "1").replace(POLICY, "nothing"), vec![("/execution_id", "request.type")]),
    ];
    for (body, expected) in cases {
        let error = execute(&runtime, body.as_bytes()).unwrap_err();
        assert_eq!((error.whose(), error.code()), (Cause::Caller, "request.invalid"), "{body}");
        let found: Vec<(&str, &str)> =
            error.faults().iter().map(|fault| (fault.pointer.as_deref().unwrap_or(""), fault.code)).collect();
        if expected[0].0 == "*" {
            assert_eq!(found[0].1, expected[0].1, "{body}");
        } else {
            assert_eq!(found, expected, "{body}");
        }
    }
    let long = with("CLM-1", &"x".repeat(256 * 1024));
    assert_eq!(execute(&runtime, long.as_bytes()).unwrap_err().faults()[0].code, "json.size");
    assert!(runtime.records().get(&"e-1".parse().unwrap()).unwrap().is_none());
}

#[test]
fn no_failure_shows_the_value_of_a_signal() {
    let log = TestLog::new();
    let runtime = log.open();
    execute(&runtime, &request("e-1", "100", "0.5")).unwrap();
    for (amount, score) in
        [("\"hunter2\"", "0.5"), ("4242424", "\"hunter2\""), ("4242424", "0.4242424"), ("4242424", "0.3")]
    {
        let error = execute(&runtime, &request("e-1", amount, score)).unwrap_err();
        let mut text = format!("{error} {} {:?}", error.detail(), error.faults());
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            text.push_str(&error.to_string());
            source = error.source();
        }
        for value in ["hunter2", "4242424"] {
            assert!(!text.contains(value), "{text}");
        }
    }
}

#[test]
fn a_clock_that_went_back_gets_no_answer() {
    let log = TestLog::new();
    let runtime = log.open();
    execute(&runtime, &request("e-1", "100", "0.5")).unwrap();
    log.clock.advance_ms(-31_000);
    let error = execute(&runtime, &request("e-2", "100", "0.5")).unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Unavailable, "runtime.clock"));
    assert!(runtime.records().get(&"e-2".parse().unwrap()).unwrap().is_none());
    log.clock.advance_ms(1_000);
    execute(&runtime, &request("e-2", "100", "0.5")).unwrap();
}

#[test]
fn an_expired_key_gets_no_answer() {
    let log = TestLog::new();
    let runtime = log.open();
    log.clock.advance_ms(crate::init::KEYRING_VALIDITY_MS);
    let error = execute(&runtime, &request("e-1", "100", "0.5")).unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Unavailable, "runtime.key"));
    assert!(runtime.ready().is_err());
    drop(runtime);
    assert_eq!(log.try_open().unwrap_err().code(), "runtime.key");
}

#[test]
fn an_opening_is_stored_sealed_and_opens_to_the_roots() {
    let log = TestLog::new();
    let runtime = log.open();
    let answer = execute(&runtime, &request("e-1", "4242424", "0.5")).unwrap();
    let sealed = runtime.inner.store.read(|reader| reader.opening(answer.log.index)).unwrap().unwrap();
    assert!(!sealed.opening.ciphertext.windows(7).any(|window| window == b"4242424"));
    let record = answer.attestation.record_id();
    let plain = runtime.inner.opening_key.open(&record, &sealed.opening).unwrap();
    let value = chancery_core::json::parse(&plain, chancery_core::json::Limits::EVIDENCE_LINE).unwrap();
    let statement = Statement::<Decision>::parse_unverified(&answer.attestation.payload.0).unwrap().predicate;
    assert_eq!(Opening::parse(value).unwrap().roots().unwrap(), (statement.signals_root, None));
    // Nothing of it stands in what is signed.
    assert!(!String::from_utf8_lossy(&answer.attestation.payload.0).contains("4242424"));
}
