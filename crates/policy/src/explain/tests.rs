use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use chancery_core::canonical::to_canonical;
use chancery_core::commitment::{Inputs, TenantKey, commit};
use chancery_core::digest::Digest;
use chancery_core::json::Pointer;
use chancery_core::statement::{Environment, PolicyRef, Runtime};

use super::*;
use crate::testing::{bundle, signals, uids};

/// The decision of `bundle` on these inputs, as a runtime records it; keys and times are always the same.
fn decide(bundle: &Bundle, signals: &Signals, candidates: Option<&[Candidate]>) -> Decision {
    let (principal, resource) = uids(bundle);
    let (id, version) = (bundle.manifest().id(), bundle.manifest().version());
    let inputs = Inputs {
        bundle_hash: &bundle.hash(),
        policy_id: id,
        policy_version: version,
        principal: &principal,
        resource: &resource,
        signals,
        candidates,
    };
    let committed = commit(&TenantKey::OPEN, &inputs).unwrap();
    let evaluation = bundle.evaluate(&principal, &resource, signals, candidates);
    Decision {
        candidates: evaluation
            .candidates
            .map(|verdicts| verdicts.into_statement(committed.candidates_root.unwrap())),
        decision: evaluation.decision,
        environment: Environment::Test,
        executed_at: "2026-03-01T10:00:00.000000Z".parse().unwrap(),
        execution_fingerprint: committed.fingerprint,
        execution_id: "case-1".parse().unwrap(),
        execution_state: evaluation.state,
        labels: None,
        models: None,
        policy: PolicyRef {
            bundle_hash: bundle.hash(),
            engine: crate::ENGINE.to_owned(),
            id: id.clone(),
            version: version.clone(),
        },
        principal: principal.clone(),
        resource: resource.clone(),
        runtime: Runtime {
            binary: Digest::from_bytes([7; 32]),
            build_identity: None,
            version: "0.1.0".to_owned(),
        },
        signals_root: committed.signals_root,
        signer: "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".parse().unwrap(),
        tenant: "acme".parse().unwrap(),
    }
}

fn explained(bundle: &Bundle, text: &str, audience: Audience) -> Explanation {
    let signals = signals(bundle, text);
    let decision = decide(bundle, &signals, None);
    bundle.explain(&decision, Disclosed::Full { signals: &signals, candidates: None }, audience)
}

fn policy<'e>(explanation: &'e Explanation, outcome: &str, id: &str) -> &'e PolicyExplained {
    let outcomes = explanation.outcomes.as_ref().unwrap();
    let outcome = outcomes.iter().find(|explained| explained.outcome == outcome).unwrap();
    outcome.policies.iter().find(|policy| policy.policy == id).unwrap()
}

#[test]
fn the_first_part_that_is_not_true_is_the_condition() {
    let entities = r#"[{"uid":{"type":"Provider","id":"p"},"attrs":{"rating":1},"parents":[]}]"#;
    for (clauses, signals, expected) in [
        // (policy behind its head, signals, what failed)
        ("when { context.amount > 5 };", "", Some("context.amount > 5")),
        ("when { context.amount < 5 };", "", None),
        ("when { context.amount < 5 && context has stop && context.stop };", "", Some("context has stop")),
        (
            "when { context.amount < 5 && (context has stop && context.stop) };",
            r#","stop":false"#,
            Some("context.stop"),
        ),
        (
            "when { (context has stop || context.amount > 3) && context.amount < 5 };",
            "",
            Some("context has stop || context.amount > 3"),
        ),
        ("when { !(context.amount < 5) };", "", Some("!(context.amount < 5)")),
        (
            "unless { context.amount < 5 && context.amount > 0 };",
            "",
            Some("unless { context.amount < 5 && context.amount > 0 }"),
        ),
        ("unless { context.amount > 5 };", "", None),
        (
            "when { context.amount < 5 } unless { context has stop && context.stop } when { context.amount == 2 };",
            "",
            Some("context.amount == 2"),
        ),
        (
            "when { context.amount < 5 } unless { context has stop && context.stop } when { context.amount == 2 };",
            r#","stop":true"#,
            Some("unless { context has stop && context.stop }"),
        ),
        (
            "when { if context.amount > 0 then false else true };",
            "",
            Some("if context.amount > 0 then false else true"),
        ),
        ("when { context.amount\n // not much\n   > 5 };", "", Some("context.amount > 5")),
        ("when { true && context.amount > 5 };", "", Some("context.amount > 5")),
        (
            "when { context has provider && context.provider in [Provider::\"q\", Provider::\"r\"] };",
            r#","provider":{"type":"Provider","id":"p"}"#,
            Some(r#"context.provider in [Provider::"q", Provider::"r"]"#),
        ),
    ] {
        let head = "@id(\"only\") permit (principal, action == Action::\"approve\", resource) ";
        let bundle = bundle(&[("claims.cedar", &format!("{head}{clauses}")), ("entities.json", entities)]);
        let explanation = explained(&bundle, &format!("{{\"amount\":1{signals}}}"), Audience::Regulator);
        let found = policy(&explanation, "approve", "only");
        assert_eq!(found.condition.as_deref(), expected, "{clauses}");
        let result = if expected.is_some() { PolicyResult::NotMatched } else { PolicyResult::Matched };
        assert_eq!((found.result, found.error), (result, None), "{clauses}");
    }
}

#[test]
fn a_scope_that_does_not_match_is_a_condition() {
    let text = "@id(\"only\") permit (principal == System::\"other\", action, resource) when { context.amount > 0 };";
    let explanation = explained(&bundle(&[("claims.cedar", text)]), r#"{"amount":1}"#, Audience::Agent);
    let found = policy(&explanation, "deny", "only");
    assert_eq!(found.condition.as_deref(), Some("principal == System::\"other\""));
    assert_eq!(explanation.outcomes.as_ref().unwrap()[1].policies.len(), 1, "it applies to every action");
}

#[test]
fn the_condition_that_erred_is_named_with_its_code_and_not_as_false() {
    let explanation = explained(
        &bundle(&[]),
        r#"{"amount": 9007199254740991, "factor": 9007199254740991}"#,
        Audience::Regulator,
    );
    let found = policy(&explanation, "refer", "factor");
    assert_eq!((found.result, found.error), (PolicyResult::Error, Some(ErrorCode::Overflow)));
    assert_eq!(found.condition.as_deref(), Some("context.amount * context.factor > 9000000000000000000"));
    assert_eq!(explanation.errors.len(), 1);
    assert_eq!(explanation.reproduced, Some(true));
    assert!(explanation.text.contains("blocked by an evaluation error"), "{}", explanation.text);
    let customer = explained(
        &bundle(&[]),
        r#"{"amount": 9007199254740991, "factor": 9007199254740991, "stop": true}"#,
        Audience::Customer,
    );
    assert!(customer.reasons.is_empty(), "a blocked execution has no reason to tell");
    assert!(customer.text.starts_with("This could not be decided automatically."));
}

#[test]
fn customers_see_nothing_of_the_inside() {
    let bundle = bundle(&[]);
    for text in [r#"{"amount":5}"#, r#"{"amount":5,"stop":true}"#, r#"{"amount":500000}"#] {
        let explanation = explained(&bundle, text, Audience::Customer);
        let json = String::from_utf8(to_canonical(&explanation).unwrap().into_bytes()).unwrap();
        for hidden in [
            "policy",
            "SMALL",
            "STOP",
            "LARGE",
            "outcomes",
            "context",
            "errors",
            "reproduced",
            "claim-approval",
        ] {
            assert!(!json.contains(hidden), "`{hidden}` in {json}");
        }
        assert_eq!(explanation.reasons[0].text, "c");
    }
}

#[test]
fn without_the_signals_no_policy_is_judged() {
    let bundle = bundle(&[]);
    let signals = signals(&bundle, r#"{"amount":5,"stop":true}"#);
    let decision = decide(&bundle, &signals, None);
    for (disclosed, why) in
        [(Disclosed::Erased, "the signals were erased"), (Disclosed::Partial, "some of the signals")]
    {
        let explanation = bundle.explain(&decision, disclosed, Audience::Regulator);
        assert!(explanation.unavailable.unwrap().starts_with(why));
        assert_eq!(explanation.reproduced, None);
        assert_eq!(explanation.reasons.len(), 1, "what was recorded is still there");
        for outcome in explanation.outcomes.unwrap() {
            assert_eq!(outcome.allowed, None);
            assert!(outcome.policies.iter().all(|policy| policy.result == PolicyResult::Unknown));
            assert!(outcome.policies.iter().all(|policy| policy.condition.is_none()));
        }
        let full = Disclosed::Full { signals: &signals, candidates: None };
        let customer = |disclosed| bundle.explain(&decision, disclosed, Audience::Customer);
        assert_eq!(customer(disclosed), customer(full), "customers are told the same");
    }
}

#[test]
fn a_record_that_policy_does_not_give_again_says_so() {
    let bundle = bundle(&[]);
    let signals = signals(&bundle, r#"{"amount":5}"#);
    let mut decision = decide(&bundle, &signals, None);
    decision.decision.outcome = "refer".to_owned();
    let disclosed = Disclosed::Full { signals: &signals, candidates: None };
    let explanation = bundle.explain(&decision, disclosed, Audience::Agent);
    assert_eq!(explanation.reproduced, Some(false));
    assert!(explanation.text.contains("something else than was recorded"), "{}", explanation.text);
}

#[test]
fn an_audience_has_one_spelling() {
    for audience in Audience::ALL {
        assert_eq!(audience.as_str().parse(), Ok(audience));
    }
    for bad in ["", "Customer", "public"] {
        assert_eq!(bad.parse::<Audience>(), Err(ParseAudienceError));
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A bundle under `policies/`.
fn published(policy: &str) -> Bundle {
    fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
            if path.is_dir() {
                collect(&path, &format!("{name}/"), files);
            } else {
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut files = BTreeMap::new();
    collect(&repository().join("policies").join(policy).join("1.0.0"), "", &mut files);
    Bundle::from_files(files).unwrap()
}

fn case_inputs(bundle: &Bundle, case: &crate::cases::Case) -> Option<(Signals, Option<Vec<Candidate>>)> {
    let signals = bundle.type_signals(case.signals(), Pointer::root()).ok()?;
    let candidates = case.candidates().map(|value| bundle.type_candidates(value, Pointer::root()).unwrap());
    Some((signals, candidates))
}

const BUNDLES: [&str; 3] = ["claim-approval", "loan-approval", "payment-release"];

/// What is written on an explanation agrees with what Cedar answers, for every case of every bundle: a policy
/// matched exactly where Cedar names it, and a condition that is said to have failed is false, or errs, by itself.
#[test]
fn no_condition_is_blamed_that_did_not_fail() {
    for policy in BUNDLES {
        let bundle = published(policy);
        for case in bundle.cases() {
            let Some((signals, candidates)) = case_inputs(&bundle, case) else { continue };
            let decision = decide(&bundle, &signals, candidates.as_deref());
            let disclosed = Disclosed::Full { signals: &signals, candidates: candidates.as_deref() };
            let explanation = bundle.explain(&decision, disclosed, Audience::Regulator);
            assert_eq!(explanation.reproduced, Some(true), "{policy} {}", case.name);
            let verdict = bundle.verdict(&decision.principal, &decision.resource, &signals);
            for (outcome, slice) in explanation.outcomes.unwrap().iter().zip(bundle.slices()) {
                let request = request(&decision.principal, slice, &decision.resource, &signals).unwrap();
                let evaluator =
                    Evaluator::new(request.clone(), bundle.entities().as_ref(), Extensions::all_available());
                for found in &outcome.policies {
                    let own = slice.policies.iter().find(|own| own.id == found.policy).unwrap();
                    let whole = evaluator
                        .interpret(&own.condition, &SlotEnv::new())
                        .map(|value| value == Value::from(true));
                    let said = match found.result {
                        PolicyResult::Matched => whole.unwrap(),
                        PolicyResult::NotMatched => !whole.unwrap(),
                        PolicyResult::Error => whole.is_err(),
                        PolicyResult::Unknown => false,
                    };
                    assert!(said, "{policy} {} {}", case.name, found.policy);
                    let Some(condition) = &found.condition else { continue };
                    // The text stands for itself: read again, it fails again.
                    let clause = if condition.starts_with("unless") {
                        condition.clone()
                    } else {
                        format!("when {{ {condition} }}")
                    };
                    let alone: cedar_policy::Policy =
                        format!("permit (principal, action, resource) {clause};").parse().unwrap();
                    let alone = evaluator.evaluate(alone.as_ref());
                    assert!(!alone.unwrap_or(false), "{policy} {}: {condition}", case.name);
                }
                let allowed = verdict.allowed.as_ref().is_some_and(|(name, _)| *name == outcome.outcome);
                if allowed {
                    assert_eq!(outcome.allowed, Some(true), "{policy} {}", case.name);
                }
            }
        }
    }
}

/// The same bytes as ever. `UPDATE_GOLDEN=1` writes them anew, to be looked at before they are committed.
#[test]
fn explanations_are_the_golden_ones() {
    let folder = repository().join("tests/golden/explanations");
    let write = std::env::var_os("UPDATE_GOLDEN").is_some();
    for policy in BUNDLES {
        let bundle = published(policy);
        // Of each of the files with cases the first, and of each kind of end at least one.
        let mut ends = BTreeSet::new();
        for case in bundle.cases() {
            let Some((signals, candidates)) = case_inputs(&bundle, case) else { continue };
            let decision = decide(&bundle, &signals, candidates.as_deref());
            let end = (decision.decision.outcome.clone(), candidates.is_some());
            if !ends.insert(end) {
                continue;
            }
            let with = if candidates.is_some() { "-candidates" } else { "" };
            for audience in Audience::ALL {
                let disclosed = Disclosed::Full { signals: &signals, candidates: candidates.as_deref() };
                let explanation = bundle.explain(&decision, disclosed, audience);
                let bytes = to_canonical(&explanation).unwrap().into_bytes();
                let name = format!("{policy}-{}{with}-{audience}.json", decision.decision.outcome);
                let path = folder.join(&name);
                if write {
                    fs::create_dir_all(&folder).unwrap();
                    fs::write(&path, &bytes).unwrap();
                }
                let golden = fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(String::from_utf8(bytes).unwrap(), String::from_utf8(golden).unwrap(), "{name}");
            }
        }
        assert!(ends.len() >= 3, "{policy}: {ends:?}");
    }
}

proptest::proptest! {
    /// For any facts: a policy matches exactly where all of it does, and errs exactly where evaluation says so.
    #[test]
    fn any_facts_are_explained_as_cedar_decides_them(
        amount in proptest::prop_oneof![-5_i64..2_000, 9_007_199_254_740_000_i64..=9_007_199_254_740_991],
        factor in proptest::option::of(proptest::prop_oneof![0_i64..5, 9_007_199_254_740_000_i64..=9_007_199_254_740_991]),
        stop in proptest::option::of(proptest::bool::ANY),
    ) {
        let bundle = bundle(&[]);
        let factor = factor.map(|factor| format!(",\"factor\":{factor}")).unwrap_or_default();
        let stop = stop.map(|stop| format!(",\"stop\":{stop}")).unwrap_or_default();
        let signals = signals(&bundle, &format!("{{\"amount\":{amount}{factor}{stop}}}"));
        let decision = decide(&bundle, &signals, None);
        let disclosed = Disclosed::Full { signals: &signals, candidates: None };
        let explanation = bundle.explain(&decision, disclosed, Audience::Regulator);
        proptest::prop_assert_eq!(explanation.reproduced, Some(true));
        let mut erred = BTreeSet::new();
        for (outcome, slice) in explanation.outcomes.unwrap().iter().zip(bundle.slices()) {
            let request = request(&decision.principal, slice, &decision.resource, &signals).unwrap();
            let evaluator =
                Evaluator::new(request.clone(), bundle.entities().as_ref(), Extensions::all_available());
            for found in &outcome.policies {
                let own = slice.policies.iter().find(|own| own.id == found.policy).unwrap();
                let expected = match evaluator.interpret(&own.condition, &SlotEnv::new()) {
                    Ok(value) if value == Value::from(true) => (PolicyResult::Matched, None),
                    Ok(_) => (PolicyResult::NotMatched, None),
                    Err(error) => (PolicyResult::Error, Some(code(&error))),
                };
                proptest::prop_assert_eq!((found.result, found.error), expected);
                proptest::prop_assert_eq!(found.condition.is_none(), found.result == PolicyResult::Matched);
                erred.extend(found.error.map(|error| (found.policy.clone(), error)));
            }
        }
        let recorded: BTreeSet<_> =
            decision.decision.errors.iter().map(|error| (error.policy.clone(), error.code)).collect();
        proptest::prop_assert_eq!(erred, recorded);
    }
}
