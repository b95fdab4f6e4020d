use std::collections::BTreeSet;

use cedar_policy::{AuthorizationError, Authorizer};
use chancery_core::b64;
use chancery_core::json::Pointer;
use chancery_core::statement::{Decision as DecisionPredicate, Statement};
use proptest::prelude::*;

use super::*;
use crate::testing::{MANIFEST, POLICIES, bundle, json, signals, uids};

fn evaluate(bundle: &Bundle, text: &str) -> Evaluation {
    let (principal, resource) = uids(bundle);
    bundle.evaluate(&principal, &resource, &signals(bundle, text), None)
}

fn with_candidates(bundle: &Bundle, text: &str, candidates: &str) -> Evaluation {
    let (principal, resource) = uids(bundle);
    let candidates = bundle.type_candidates(&json(candidates), Pointer::root()).unwrap();
    bundle.evaluate(&principal, &resource, &signals(bundle, text), Some(&candidates))
}

fn policies(evaluation: &Evaluation) -> Vec<&str> {
    evaluation.decision.determining.iter().map(String::as_str).collect()
}

fn codes(evaluation: &Evaluation) -> Vec<(&str, &str)> {
    evaluation.decision.errors.iter().map(|error| (error.policy.as_str(), error.code.as_str())).collect()
}

/// Multiplies beyond any Long in the policy `factor`, which both `deny` and `refer` ask.
const OVERFLOW: &str = r#"{"amount": 9007199254740991, "factor": 9007199254740991}"#;

#[test]
fn the_first_allowed_outcome_wins_and_its_permits_determine() {
    let bundle = bundle(&[]);
    let found = evaluate(&bundle, r#"{"amount": 5}"#);
    assert_eq!(found.decision.outcome, "approve");
    assert_eq!(found.state, ExecutionState::Completed);
    assert!(!found.decision.requires_override);
    assert_eq!(policies(&found), ["approve-small", "approve-tiny"]);
    // `approve-tiny` determines, too, but has no reason.
    assert_eq!(found.decision.reasons.len(), 1);
    let reason = &found.decision.reasons[0];
    assert_eq!(
        (&*reason.code, &*reason.policy, &*reason.text),
        ("SMALL", "approve-small", "The amount is small.")
    );

    // `refer` is allowed as well, but `deny` comes first.
    let found = evaluate(&bundle, r#"{"amount": 500000}"#);
    assert_eq!((found.decision.outcome.as_str(), found.state), ("deny", ExecutionState::PendingOverride));
    assert!(found.decision.requires_override);
    assert_eq!(policies(&found), ["deny-huge"]);
}

#[test]
fn a_forbid_takes_its_outcome_out_and_determines_the_fallback() {
    let bundle = bundle(&[]);
    let found = evaluate(&bundle, r#"{"amount": 5, "stop": true}"#);
    assert_eq!((found.decision.outcome.as_str(), found.state), ("refer", ExecutionState::PendingOverride));
    assert_eq!(policies(&found), ["stop"]);
    assert_eq!(found.decision.reasons[0].text, "It was stopped.");
    // Another outcome is allowed: the forbid does not determine it.
    let found = evaluate(&bundle, r#"{"amount": 5000, "stop": true}"#);
    assert_eq!(found.decision.outcome, "refer");
    assert_eq!(policies(&found), ["refer-large"]);
}

#[test]
fn nothing_allowed_and_nothing_forbidden_is_the_fallback_without_reasons() {
    let policies_text = POLICIES.replace("context.amount > 1000 ", "context.amount > 5000 ");
    let bundle = bundle(&[("claims.cedar", &policies_text)]);
    let found = evaluate(&bundle, r#"{"amount": 2000}"#);
    assert_eq!(found.decision.outcome, "refer");
    assert!(policies(&found).is_empty() && found.decision.reasons.is_empty());
}

#[test]
fn any_error_blocks_even_where_an_outcome_is_allowed() {
    let bundle = bundle(&[]);
    let found = evaluate(&bundle, OVERFLOW);
    assert_eq!((found.decision.outcome.as_str(), found.state), ("refer", ExecutionState::Blocked));
    assert!(!found.decision.requires_override);
    assert_eq!(codes(&found), [("factor", "cedar.overflow")]);
    assert_eq!(found.decision.errors[0].text, "integer overflow");
    // `deny-huge` allowed `deny`, but a blocked decision is a fallback: it does not determine.
    assert!(policies(&found).is_empty());
    let stopped = OVERFLOW.replace('}', ", \"stop\": true}");
    assert_eq!(policies(&evaluate(&bundle, &stopped)), ["stop"]);
}

#[test]
fn each_kind_of_error_has_its_code() {
    let entities = r#"[{"uid":{"type":"Provider","id":"p"},"attrs":{"rating":1},"parents":[]}]"#;
    let policy = |when: &str| format!("@id(\"e\") permit (principal, action, resource) when {{ {when} }};");
    for (when, expected) in [
        ("context has provider && context.provider.rating > 3", Some("cedar.entity")),
        ("context.amount + 9223372036854775807 > 1", Some("cedar.overflow")),
        (
            "datetime(\"9999-12-31\").offset(duration(\"106751991167d\")) > datetime(\"2000-01-01\")",
            Some("cedar.extension"),
        ),
        ("resource has limit && resource.limit > 3", None),
        ("context has provider && context.provider has rating && context.provider.rating > 3", None),
    ] {
        let bundle = bundle(&[("claims.cedar", &policy(when)), ("entities.json", entities)]);
        let found = evaluate(&bundle, r#"{"amount": 1, "provider": {"type": "Provider", "id": "unknown"}}"#);
        assert_eq!(codes(&found).first().map(|(_, code)| *code), expected, "{when}");
        // One policy, asked three times, errs once.
        assert!(found.decision.errors.len() <= 1);
    }
    let bundle = bundle(&[
        ("claims.cedar", &policy("context has provider && context.provider.rating > 0")),
        ("entities.json", entities),
    ]);
    let found = evaluate(&bundle, r#"{"amount": 1, "provider": {"type": "Provider", "id": "p"}}"#);
    assert_eq!(found.decision.outcome, "deny");
}

#[test]
fn cedar_errors_that_validation_rules_out_have_codes_too() {
    // Unvalidated policies, asked directly.
    let code_of = |when: &str| {
        let text = format!("permit (principal, action, resource) when {{ {when} }};");
        let set: cedar_policy::PolicySet = text.parse().unwrap();
        let request = cedar_policy::Request::new(
            "A::\"a\"".parse().unwrap(),
            "Action::\"a\"".parse().unwrap(),
            "A::\"r\"".parse().unwrap(),
            cedar_policy::Context::empty(),
            None,
        );
        let entity = cedar_policy::Entity::new_no_attrs("A::\"a\"".parse().unwrap(), Default::default());
        let entities = cedar_policy::Entities::from_entities([entity], None).unwrap();
        let response = Authorizer::new().is_authorized(&request.unwrap(), &set, &entities);
        let AuthorizationError::PolicyEvaluationError(error) =
            response.diagnostics().errors().next().unwrap();
        code(error.inner())
    };
    for (when, expected) in [
        ("context.x", ErrorCode::Attribute),
        ("principal.x", ErrorCode::Attribute),
        ("resource.x", ErrorCode::Entity),
        ("1 < \"a\"", ErrorCode::Type),
        ("-9223372036854775807 - 2 < 0", ErrorCode::Overflow),
        ("decimal(\"x\") == 1", ErrorCode::Extension),
        ("ip(\"1.2.3.4\", 1) == 1", ErrorCode::Extension),
    ] {
        assert_eq!(code_of(when), expected, "{when}");
    }
}

#[test]
fn candidates_are_judged_with_their_signals_over_the_requests() {
    let bundle = bundle(&[]);
    let candidates = r#"[{"id":"a","signals":{"amount":7}},{"id":"b","signals":{}},{"id":"c","signals":{"stop":true,"amount":1}},
        {"id":"d","signals":{"amount":1000}}]"#;
    let found = with_candidates(&bundle, r#"{"amount": 5000}"#, candidates);
    assert_eq!(found.decision.outcome, "refer");
    let verdicts = found.candidates.unwrap();
    let selected: Vec<_> = verdicts.selected.iter().map(|c| (c.id.as_str(), c.determining.len())).collect();
    assert_eq!(selected, [("a", 2), ("d", 1)]);
    assert!(verdicts.selected.iter().all(|c| c.outcome == "approve"));
    let excluded: Vec<_> =
        verdicts.excluded.iter().map(|c| (c.id.as_str(), c.code.as_deref(), c.policy.as_deref())).collect();
    assert_eq!(excluded, [("b", Some("LARGE"), Some("refer-large")), ("c", Some("STOP"), Some("stop"))]);
    assert_eq!((verdicts.count, verdicts.excluded_total, verdicts.truncated), (4, 2, false));
    assert_eq!(evaluate(&bundle, r#"{"amount": 5000}"#).candidates, None);
}

#[test]
fn an_excluded_candidate_without_a_reason_names_none() {
    let manifest = MANIFEST.replace("fallback = \"refer\"", "fallback = \"refer\"\nselect = \"deny\"");
    let policies_text = POLICIES.replace("@reason(\"SMALL\")", "");
    let bundle = bundle(&[("bundle.toml", &manifest), ("claims.cedar", &policies_text)]);
    let found = with_candidates(
        &bundle,
        r#"{"amount": 1}"#,
        r#"[{"id":"a","signals":{}},{"id":"b","signals":{"amount":500000}}]"#,
    );
    let verdicts = found.candidates.unwrap();
    assert_eq!(verdicts.excluded, [Excluded { code: None, id: "a".into(), policy: None }]);
    assert_eq!(verdicts.selected[0].outcome, "deny");
}

#[test]
fn an_error_in_a_candidate_blocks_the_execution() {
    let bundle = bundle(&[]);
    let candidates = format!(r#"[{{"id":"a","signals":{OVERFLOW}}},{{"id":"b","signals":{{}}}}]"#);
    let found = with_candidates(&bundle, r#"{"amount": 5}"#, &candidates);
    assert_eq!((found.decision.outcome.as_str(), found.state), ("refer", ExecutionState::Blocked));
    assert_eq!(codes(&found), [("factor", "cedar.overflow")]);
    // The request alone would have been approved.
    assert!(policies(&found).is_empty());
    let verdicts = found.candidates.unwrap();
    assert_eq!((verdicts.selected.len(), verdicts.excluded_total), (1, 1));
}

#[test]
fn only_the_first_two_hundred_excluded_are_listed() {
    let bundle = bundle(&[]);
    for (excluded, listed, truncated) in [(200, 200, false), (201, 200, true)] {
        let candidate = |n: usize| {
            format!(r#"{{"id":"c{n}","signals":{{"amount":{}}}}}"#, if n < excluded { 5000 } else { 1 })
        };
        let text = (0..excluded + 3).map(candidate).collect::<Vec<_>>().join(",");
        let verdicts = with_candidates(&bundle, r#"{"amount": 5}"#, &format!("[{text}]")).candidates.unwrap();
        assert_eq!((verdicts.excluded.len(), verdicts.truncated), (listed, truncated));
        assert_eq!(verdicts.excluded_total, u64::try_from(excluded).unwrap());
        assert_eq!(verdicts.excluded[199].id, "c199");
        assert_eq!(verdicts.selected.len(), 3);
        let statement = verdicts.into_statement(CandidatesRoot::from_bytes([7; 32]));
        assert_eq!(statement.count, statement.excluded_total + 3);
    }
}

#[test]
fn every_type_reaches_cedar_as_its_own_value() {
    let schema = "entity System; entity Claim; entity Provider;
        type Signals = { b: Bool, l: Long, s: String, d: decimal, t: datetime, u: duration, i: ipaddr, j: ipaddr, e: Provider,
            z: Set<decimal>, r: { \"a b\": Set<{ x: Long }>, n?: Bool } };
        action deny, refer, approve appliesTo { principal: System, resource: Claim, context: Signals };";
    let policy = r#"@id("p") permit (principal, action == Action::"approve", resource) when {
        context.b && context.l == -9007199254740991 && context.s == "ü\n\"" && context.d == decimal("-3.125") &&
        context.t == datetime("2026-03-01T10:20:30.5Z".replaced) && context.u == duration("1d2h") &&
        context.i == ip("10.0.0.0/8") && context.j == ip("::ffff:102:304") && context.e == Provider::"p\"77" &&
        context.z == [decimal("1.0"), decimal("0.05")] &&
        context.r["a b"] == [{ x: 1 }] && !(context.r has n) };"#;
    let policy = policy.replace("10:20:30.5Z\".replaced", "10:20:30.500Z\"");
    let bundle = bundle(&[("schema.cedarschema", schema), ("claims.cedar", &policy)]);
    let text = r#"{"b":true,"l":-9007199254740991,"s":"ü\n\"","d":-3.1250,"t":"2026-03-01T11:20:30.5+01:00","u":"1d2h",
        "i":"10.0.0.0/8","j":"::ffff:102:304","e":{"type":"Provider","id":"p\"77"},"z":["1.00",0.05,1],"r":{"a b":[{"x":1}]}}"#;
    let found = evaluate(&bundle, text);
    assert_eq!(found.decision.outcome, "approve");
    // And the context is one that Cedar itself takes for the schema.
    let (schema, _) = cedar_policy::Schema::from_cedarschema_str(schema).unwrap();
    let context = cedar_policy::Context::from(whole(&signals(&bundle, text)).unwrap());
    context.validate(&schema, &"Action::\"deny\"".parse().unwrap()).unwrap();
}

#[test]
fn the_ends_of_every_range_reach_cedar() {
    let schema = "entity System; entity Claim;
        type Signals = { d?: decimal, t?: datetime, u?: duration, i?: ipaddr };
        action deny, refer, approve appliesTo { principal: System, resource: Claim, context: Signals };";
    let policy = "@id(\"p\") permit (principal, action, resource);";
    let bundle = bundle(&[("schema.cedarschema", schema), ("claims.cedar", policy)]);
    for text in [
        r#"{"d":"922337203685477.5807"}"#,
        r#"{"d":"-922337203685477.5808"}"#,
        r#"{"t":"0000-01-01T00:00:00Z"}"#,
        r#"{"t":"9999-12-31T23:59:59.999Z"}"#,
        r#"{"u":"9223372036854775807ms"}"#,
        r#"{"u":"-9223372036854775807ms"}"#,
        r#"{"i":"::/0"}"#,
        r#"{"i":"0.0.0.0/0"}"#,
        r#"{"i":"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"}"#,
        r#"{"i":"::ffff:0:0/96"}"#,
    ] {
        let found = evaluate(&bundle, text);
        assert_eq!((found.decision.outcome.as_str(), found.decision.errors.len()), ("deny", 0), "{text}");
    }
}

/// The bundle of an evidence file, and each decision with its full opening.
fn reproduce(file: &str) -> Vec<(String, bool)> {
    let path = format!("{}/../../tests/vectors/chancery/evidence/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = lines.iter().find(|line| line["kind"] == "bundle").unwrap();
    let files = line["files"].as_object().unwrap();
    let files =
        files.iter().map(|(path, bytes)| (path.clone(), b64::decode(bytes.as_str().unwrap()).unwrap()));
    let bundle = Bundle::from_files(files.collect()).unwrap();
    assert_eq!(bundle.hash().to_string(), line["bundleHash"].as_str().unwrap());
    assert!(bundle.run_cases().passed());

    let mut reproduced = Vec::new();
    for line in
        lines.iter().filter(|line| line["kind"] == "decision" && line["opening"]["signals"].is_object())
    {
        let payload = b64::decode(line["envelope"]["payload"].as_str().unwrap()).unwrap();
        let recorded = Statement::<DecisionPredicate>::parse_unverified(&payload).unwrap().predicate;
        assert_eq!(recorded.policy.engine, crate::ENGINE);
        assert!(bundle.accepts(&recorded.principal, &recorded.resource));
        let opening = &line["opening"];
        let signals = bundle.type_signals(&json(&opening["signals"].to_string()), Pointer::root()).unwrap();
        let candidates = opening.get("candidates").map(|candidates| {
            bundle.type_candidates(&json(&candidates.to_string()), Pointer::root()).unwrap()
        });
        let found = bundle.evaluate(&recorded.principal, &recorded.resource, &signals, candidates.as_deref());
        let verdicts = recorded.candidates.as_ref().zip(found.candidates);
        let same_candidates = match verdicts {
            Some((recorded, found)) => found.into_statement(recorded.candidates_root) == *recorded,
            None => recorded.candidates.is_none(),
        };
        let same =
            found.decision == recorded.decision && found.state == recorded.execution_state && same_candidates;
        reproduced.push((recorded.execution_id.to_string(), same));
    }
    reproduced
}

#[test]
fn the_decisions_of_the_vectors_are_reproduced() {
    let expected: Vec<_> = ["D1", "D2", "D5", "D6", "D7"].map(|id| (format!("claim-{id}"), true)).into();
    assert_eq!(reproduce("good.evidence.jsonl"), expected);
}

#[test]
fn vectors_that_cedar_does_not_give_are_told_apart() {
    for file in ["cedar-outcome.evidence.jsonl", "cedar-candidate-selected.evidence.jsonl"] {
        let decisions = reproduce(file);
        assert_eq!(decisions.iter().filter(|(_, same)| !same).count(), 1, "{file}: {decisions:?}");
    }
}

/// Policies of every kind of scope and effect, whose conditions hold, fail or err with the amount.
fn any_policy() -> impl Strategy<Value = String> {
    let scope = proptest::sample::select(vec![
        "action",
        "action == Action::\"deny\"",
        "action == Action::\"refer\"",
        "action == Action::\"approve\"",
        "action in Action::\"human\"",
        "action in [Action::\"human\", Action::\"approve\"]",
        "action in [Action::\"approve\", Action::\"deny\"]",
    ]);
    let condition = proptest::sample::select(vec![
        "true",
        "context.amount > 10",
        "context.amount <= 10",
        "context has stop && context.stop",
        "[0, 1, 2].contains(context.amount)",
        "context.amount + 9223372036854775807 < 0 || context.amount == 1",
        "context.amount == 11 && context has factor && context.factor > 0",
        "context.amount * 4611686018427387904 != 5",
        "context has provider && context.provider.rating > 1",
        "action in Action::\"human\"",
        // The context as a value, and by names that come in no other condition.
        "(if context has stop then context else context).amount > 10",
        "context == context && {c: context}.c.amount != 1",
        "context has provider.rating && context.provider.rating == 2",
        "context has unheard && context.amount < 5",
        "if context has factor then context.factor * 9223372036854775807 > 0 else context.amount > 1",
    ]);
    let reason = proptest::sample::select(vec!["", "@reason(\"LARGE\")", "@reason(\"STOP\")"]);
    (any::<bool>(), scope, condition, reason).prop_map(|(permit, scope, condition, reason)| {
        let effect = if permit { "permit" } else { "forbid" };
        format!("{reason} {effect} (principal, {scope}, resource) when {{ {condition} }};")
    })
}

const REQUESTS: [&str; 6] = [
    r#"{"amount": 0}"#,
    r#"{"amount": 1, "stop": true}"#,
    r#"{"amount": 11}"#,
    r#"{"amount": 2, "provider": {"type": "Provider", "id": "p"}}"#,
    r#"{"amount": 0, "provider": {"type": "Provider", "id": "q"}}"#,
    r#"{"amount": 11, "factor": 7}"#,
];

const ENTITIES: &str = r#"[{"uid":{"type":"Provider","id":"p"},"attrs":{"rating":2},"parents":[]}]"#;

fn named(policies: &[String]) -> Vec<String> {
    policies.iter().enumerate().map(|(n, policy)| format!("@id(\"p{n}\") {policy}\n")).collect()
}

/// Whether every slice answers as Cedar's own authorizer does when it is handed all policies.
pub(crate) fn agrees(bundle: &Bundle, signals: &Signals) -> Result<(), TestCaseError> {
    let (principal, resource) = uids(bundle);
    let answers = bundle.answers(&principal, &resource, signals).unwrap();
    let (principal, resource) = (entry(&principal).unwrap(), entry(&resource).unwrap());
    let mut all = cedar_policy::PolicySet::new();
    for (path, content) in bundle.files().iter().filter(|(path, _)| path.ends_with(".cedar")) {
        let set: cedar_policy::PolicySet = std::str::from_utf8(content).unwrap().parse().expect(path);
        for policy in set.policies() {
            all.add(policy.new_id(cedar_policy::PolicyId::new(policy.annotation("id").unwrap()))).unwrap();
        }
    }
    prop_assert_eq!(answers.len(), bundle.slices().len());
    for (slice, own) in bundle.slices().iter().zip(answers) {
        let (principal, action, resource) = (principal.clone(), slice.action.clone(), resource.clone());
        let request = Request::new_unchecked(principal, action, resource, whole(signals));
        let said = Authorizer::new().is_authorized(&request.into(), &all, bundle.entities());
        let reasons: Vec<String> = said.diagnostics().reason().map(ToString::to_string).collect();
        let errors: Vec<_> = said
            .diagnostics()
            .errors()
            .map(|error| match error {
                AuthorizationError::PolicyEvaluationError(error) => {
                    (error.policy_id().to_string(), code(error.inner()))
                }
            })
            .collect();
        let expected = Answer {
            decision: said.decision(),
            reasons: reasons.iter().map(String::as_str).collect(),
            errors: errors.iter().map(|(policy, code)| (policy.as_str(), *code)).collect(),
        };
        prop_assert_eq!(own, expected);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_slice_answers_as_cedar_does_with_the_whole_set(policies in proptest::collection::vec(any_policy(), 1..12)) {
        let bundle = bundle(&[("claims.cedar", &named(&policies).concat()), ("entities.json", ENTITIES)]);
        for request in REQUESTS {
            agrees(&bundle, &signals(&bundle, request))?;
        }
    }

    #[test]
    fn evaluation_does_not_depend_on_how_policies_are_filed(
        policies in proptest::collection::vec(any_policy(), 1..12),
        order in Just((0..12_usize).collect::<Vec<_>>()).prop_shuffle(),
        split in 0_usize..12,
    ) {
        let texts = named(&policies);
        let straight = bundle(&[("claims.cedar", &texts.concat()), ("entities.json", ENTITIES)]);
        let shuffled: Vec<&String> = order.iter().filter_map(|&at| texts.get(at)).collect();
        let split = split.min(shuffled.len());
        let (a, b): (String, String) = (
            shuffled[..split].iter().map(|text| text.as_str()).collect(),
            shuffled[split..].iter().map(|text| text.as_str()).collect(),
        );
        let other = bundle(&[("claims.cedar", &a), ("z/more.cedar", &b), ("entities.json", ENTITIES)]);
        for request in REQUESTS {
            prop_assert_eq!(evaluate(&straight, request), evaluate(&other, request));
        }
        let candidates = r#"[{"id":"x","signals":{"amount":11}},{"id":"y","signals":{"stop":true}}]"#;
        prop_assert_eq!(
            with_candidates(&straight, REQUESTS[0], candidates),
            with_candidates(&other, REQUESTS[0], candidates)
        );
    }

    #[test]
    fn an_evaluation_is_a_statement_that_is_taken(policies in proptest::collection::vec(any_policy(), 1..12)) {
        let bundle = bundle(&[("claims.cedar", &named(&policies).concat()), ("entities.json", ENTITIES)]);
        for request in REQUESTS {
            let body = evaluate(&bundle, request).decision;
            prop_assert!(body.determining.is_sorted() && body.reasons.is_sorted_by_key(|r| (&r.policy, &r.code)));
            let determining: BTreeSet<_> = body.determining.iter().collect();
            prop_assert_eq!(determining.len(), body.determining.len());
            prop_assert!(body.reasons.iter().all(|reason| determining.contains(&reason.policy)));
            prop_assert!(bundle.manifest().outcomes().contains(&body.outcome));
        }
    }
}

#[test]
fn signals_that_no_schema_has_block_instead_of_panicking() {
    use chancery_core::signal::Signal;
    let bundle = bundle(&[]);
    let (principal, resource) = uids(&bundle);
    let entity = Signal::Entity { type_name: "no type".into(), id: "x".into() };
    let nested = [("e".into(), Signal::Set(vec![entity.clone()]))].into_iter().collect();
    // Under any name, though no policy reads it, and though another outcome is certain.
    let odd = [("provider", entity.clone()), ("unread", entity), ("nested", Signal::Record(nested))];
    for (name, odd) in odd {
        let odd: Signals = [("amount".into(), Signal::Long(1)), (name.into(), odd)].into_iter().collect();
        let found = bundle.evaluate(&principal, &resource, &odd, None);
        assert_eq!((found.state, codes(&found)), (ExecutionState::Blocked, vec![("*", "cedar.other")]));
    }
    // A name that the schema does not have is there for a policy that asks for it.
    let asking =
        POLICIES.replace("context has stop && context.stop", "context has stop || context has unheard");
    let asking = crate::testing::bundle(&[("claims.cedar", &asking)]);
    for (unheard, outcome) in [(None, "approve"), (Some(("unheard".into(), Signal::Long(1))), "refer")] {
        let own = [("amount".into(), Signal::Long(1))];
        let odd: Signals = own.into_iter().chain(unheard).collect();
        agrees(&asking, &odd).unwrap();
        assert_eq!(asking.evaluate(&principal, &resource, &odd, None).decision.outcome, outcome);
    }
    // Typed for another bundle: Cedar finds the attribute missing.
    let found = bundle.evaluate(&principal, &resource, &Signals::default(), None);
    assert_eq!(found.state, ExecutionState::Blocked);
    assert!(codes(&found).iter().all(|(_, code)| *code == "cedar.attribute"));
}
