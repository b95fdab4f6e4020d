use serde_json::{Value, json};

use super::*;
use crate::dsse::Envelope;
use crate::key::tests::vector_key;
use crate::key::{Algorithm, Signer as _};

/// Kind and payload of every record in a file of evidence.
fn records(file: &str) -> Vec<(Kind, Vec<u8>)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/chancery/evidence/");
    let text = std::fs::read_to_string(format!("{path}{file}")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter_map(|line| {
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == line["kind"])?;
            let envelope: Envelope = serde_json::from_value(line["envelope"].clone()).unwrap();
            Some((kind, envelope.payload.0))
        })
        .collect()
}

/// The first statement of a kind in the good file for which `like` holds.
fn sample(kind: Kind, like: impl Fn(&Value) -> bool) -> Value {
    let all = records("good.evidence.jsonl");
    let mut values = all
        .iter()
        .filter(|(other, _)| *other == kind)
        .map(|(_, payload)| serde_json::from_slice::<Value>(payload).unwrap());
    values.find(|value| like(value)).unwrap()
}

/// Puts a value where the pointer says, or takes it away.
fn edit(value: &mut Value, pointer: &str, new: Option<Value>) {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    match (value.pointer_mut(parent).unwrap(), new) {
        (Value::Object(members), Some(new)) => drop(members.insert(last.to_owned(), new)),
        (Value::Object(members), None) => drop(members.remove(last).unwrap()),
        (Value::Array(elements), Some(new)) if last == "-" => elements.push(new),
        (Value::Array(elements), Some(new)) => elements[last.parse::<usize>().unwrap()] = new,
        (Value::Array(elements), None) => drop(elements.remove(last.parse().unwrap())),
        _ => panic!("{pointer} has no parent"),
    }
}

fn parse(kind: Kind, value: &Value) -> Result<AnyStatement, StatementError> {
    AnyStatement::parse_unverified(kind, to_canonical(value).unwrap().as_bytes())
}

/// The error and its causes, in one line.
fn story(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Each edit of the sample is refused with an error that says `why`.
fn refuse(kind: Kind, good: &Value, edits: &[(&str, Option<Value>, &str)]) {
    parse(kind, good).unwrap();
    for (pointer, new, why) in edits {
        let mut bad = good.clone();
        edit(&mut bad, pointer, new.clone());
        let error = parse(kind, &bad).expect_err(&format!("{pointer} = {new:?}"));
        let story = story(&error);
        assert!(story.contains(why), "{pointer} = {new:?}: {story}");
    }
}

#[test]
fn statements_of_the_vectors_parse_and_encode_to_the_same_bytes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/chancery/evidence/");
    let mut count = 0;
    for entry in std::fs::read_dir(path).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        // Two of them have a line that is not one JSON object with each member once.
        let readable = !file.starts_with("cut-in-line") && !file.starts_with("member-twice");
        if !file.ends_with(".jsonl") || !readable {
            continue;
        }
        // The bad ones are bad elsewhere: in signatures, in the log, in what is true.
        for (kind, payload) in records(&file) {
            let statement = AnyStatement::parse_unverified(kind, &payload).unwrap();
            assert_eq!(statement.kind(), kind);
            assert_eq!(statement.to_payload().unwrap().as_bytes(), payload, "{file} {kind:?}");
            count += 1;
        }
    }
    assert!(count > 500, "{count} statements");
}

#[test]
fn every_kind_is_among_the_samples_and_is_no_other_kind() {
    for kind in Kind::ALL {
        let good = sample(kind, |_| true);
        for other in Kind::ALL.into_iter().filter(|other| *other != kind) {
            assert!(matches!(parse(other, &good), Err(StatementError::PredicateType { .. })));
        }
    }
}

#[test]
fn any_statement_of_another_shape_is_refused() {
    for kind in Kind::ALL {
        let good = sample(kind, |_| true);
        let date = "2026-06-01T00:00:00Z";
        refuse(
            kind,
            &good,
            &[
                ("/extra", Some(json!(1)), "unknown field"),
                ("/predicate/extra", Some(json!(1)), "unknown field"),
                ("/subject/0/extra", Some(json!(1)), "unknown field"),
                ("/subject/0/digest/sha512", Some(json!("00")), "unknown field"),
                ("/subject/0/digest/sha256", None, "missing field"),
                ("/subject/0/digest/sha256", Some(json!("AB".repeat(32))), "0-9 and a-f"),
                ("/_type", Some(json!("https://in-toto.io/Statement/v0.1")), "not in-toto Statement v1"),
                ("/predicateType", Some(json!("https://chancery.dev/decision/v2")), "was expected"),
                ("/subject", Some(json!([])), "`subject`"),
                ("/subject", Some(json!({})), "invalid type"),
                ("/subject/0/name", Some(json!(7)), "invalid type"),
                ("/_type", None, "missing field"),
                ("/predicate", None, "missing field"),
            ],
        );
        let time = match kind {
            Kind::Decision => "executedAt",
            Kind::Override | Kind::Keyring => "issuedAt",
            Kind::Resolution => "resolvedAt",
            Kind::Verification => "verifiedAt",
            Kind::Activation => "activatedAt",
            Kind::Erasure => "erasedAt",
            Kind::BuildIdentity => "builtAt",
            Kind::Confirmation => "confirmedAt",
        };
        let pointer = format!("/predicate/{time}");
        refuse(
            kind,
            &good,
            &[
                (&pointer, None, "missing field"),
                (&pointer, Some(json!(date)), "statement has not"),
                (&pointer, Some(json!(date.replace('Z', ".000000+00:00"))), "statement has not"),
                (&pointer, Some(json!(1_780_000_000)), "invalid type"),
            ],
        );
    }
}

#[test]
fn other_bytes_for_the_same_values_are_refused() {
    for (kind, payload) in records("good.evidence.jsonl") {
        let text = String::from_utf8(payload).unwrap();
        let not_canonical = |text: &str| {
            assert!(matches!(
                AnyStatement::parse_unverified(kind, text.as_bytes()),
                Err(StatementError::NotCanonical)
            ));
        };
        not_canonical(&text.replacen(':', ": ", 1));
        not_canonical(&format!("{text}\n"));
        not_canonical(&text.replacen("in-toto.io/Statement", "in-toto.io\\/Statement", 1));
        let (start, subject) = text.rsplit_once(",\"subject\":").unwrap();
        not_canonical(&format!("{{\"subject\":{},{}}}", subject.strip_suffix('}').unwrap(), &start[1..]));
        let twice = text.replacen("{\"_type\"", "{\"_type\":\"x\",\"_type\"", 1);
        let error = AnyStatement::parse_unverified(kind, twice.as_bytes()).unwrap_err();
        assert!(story(&error).contains("duplicate field"));
        assert!(AnyStatement::parse_unverified(kind, &text.as_bytes()[1..]).is_err());
        assert!(AnyStatement::parse_unverified(kind, format!("\u{feff}{text}").as_bytes()).is_err());
        assert!(AnyStatement::parse_unverified(kind, format!("{text}{{}}").as_bytes()).is_err());
    }
}

#[test]
fn an_explicit_null_is_not_a_member_left_out() {
    let decision = sample(Kind::Decision, |_| true);
    for member in ["candidates", "labels", "models"] {
        refuse(
            Kind::Decision,
            &decision,
            &[(&format!("/predicate/{member}"), Some(Value::Null), "not canonical")],
        );
    }
    refuse(Kind::Decision, &decision, &[("/predicate/runtime/buildIdentity", None, "not canonical")]);
    let activation = sample(Kind::Activation, |_| true);
    refuse(Kind::Activation, &activation, &[("/predicate/previous", None, "not canonical")]);
}

#[test]
fn decisions_that_contradict_themselves_are_refused() {
    let good = sample(Kind::Decision, |value| value["predicate"]["executionState"] == "pending_override");
    let zeros = json!("0".repeat(64));
    let reason = json!({"code": "A", "policy": "refer-high-fraud", "text": "t"});
    let error = json!({"code": "cedar.type", "policy": "p", "text": "a value has the wrong type"});
    let labels = |count: usize| {
        let all = (0..count).map(|n| (format!("l{n}"), json!("v")));
        Some(Value::Object(all.collect()))
    };
    refuse(
        Kind::Decision,
        &good,
        &[
            ("/subject/0/name", Some(json!("claim-D3")), "name does not agree"),
            ("/subject/0/digest/sha256", Some(zeros.clone()), "digest does not agree"),
            ("/subject/-", Some(good["subject"][0].clone()), "exactly one"),
            ("/predicate/executionId", Some(json!("claim-D3")), "name does not agree"),
            ("/predicate/executionFingerprint", Some(zeros), "digest does not agree"),
            ("/predicate/executionId", Some(json!("a b")), "execution id"),
            ("/predicate/executionState", Some(json!("completed")), "executionState"),
            ("/predicate/executionState", Some(json!("blocked")), "executionState"),
            ("/predicate/executionState", Some(json!("done")), "unknown variant"),
            ("/predicate/decision/requiresOverride", Some(json!(false)), "executionState"),
            ("/predicate/decision/requiresOverride", Some(json!(1)), "invalid type"),
            ("/predicate/decision/errors/-", Some(error), "cannot be overridden"),
            ("/predicate/decision/outcome", Some(json!("")), "decision.outcome"),
            ("/predicate/decision/reasons/-", Some(reason), "sorted"),
            (
                "/predicate/decision/reasons/-",
                Some(good["predicate"]["decision"]["reasons"][0].clone()),
                "sorted",
            ),
            ("/predicate/decision/reasons/0/policy", Some(json!("z")), "determining policy"),
            ("/predicate/decision/reasons/0/extra", Some(json!("z")), "unknown field"),
            ("/predicate/decision/determining/-", Some(json!("refer-high-fraud")), "sorted"),
            ("/predicate/decision/determining/-", Some(json!("a")), "sorted"),
            ("/predicate/environment", Some(json!("Production")), "unknown variant"),
            ("/predicate/labels", labels(0), "labels"),
            ("/predicate/labels", labels(17), "labels"),
            ("/predicate/labels", Some(json!({"": "x"})), "labels"),
            ("/predicate/labels/n", Some(json!(1)), "invalid type"),
            ("/predicate/models", Some(json!([])), "models"),
            ("/predicate/models", Some(json!([{"id": "m", "version": "1"}])), "missing field"),
            ("/predicate/policy/version", Some(json!("1.0")), "semantic version"),
            ("/predicate/policy/bundleHash", Some(Value::Null), "invalid type"),
            ("/predicate/policy/extra", Some(json!(1)), "unknown field"),
            ("/predicate/principal", Some(json!("claims-core")), "statement has not"),
            ("/predicate/runtime/binary", Some(json!("")), "64 characters"),
            ("/predicate/runtime/extra", Some(json!(1)), "unknown field"),
            ("/predicate/signer", Some(json!("SHA256:abc")), "key id"),
            ("/predicate/tenant", Some(json!("Acme")), "statement has not"),
            ("/predicate/signalsRoot", None, "missing field"),
        ],
    );
    let mut labelled = good.clone();
    edit(&mut labelled, "/predicate/labels", labels(16));
    parse(Kind::Decision, &labelled).unwrap();
}

#[test]
fn errors_block_and_have_their_own_texts() {
    let mut blocked = sample(Kind::Decision, |value| value["predicate"]["executionState"] == "completed");
    let codes = ["attribute", "entity", "extension", "other", "overflow", "recursion", "type"];
    let errors: Vec<Value> = codes
        .iter()
        .map(|code| {
            let code: ErrorCode = serde_json::from_value(json!(format!("cedar.{code}"))).unwrap();
            serde_json::to_value(EvaluationError::new(code, "p")).unwrap()
        })
        .collect();
    edit(&mut blocked, "/predicate/decision/errors", Some(json!(errors)));
    edit(&mut blocked, "/predicate/executionState", Some(json!("blocked")));
    refuse(
        Kind::Decision,
        &blocked,
        &[
            ("/predicate/executionState", Some(json!("completed")), "executionState"),
            ("/predicate/executionState", Some(json!("pending_override")), "executionState"),
            ("/predicate/decision/errors/0/text", Some(json!("attribute missing")), "code's text"),
            ("/predicate/decision/errors/0/code", Some(json!("cedar.unknown")), "unknown variant"),
            ("/predicate/decision/errors/0", Some(json!(errors[1])), "sorted"),
            ("/predicate/decision/errors/6", Some(json!(errors[0])), "sorted"),
            ("/predicate/decision/errors/0/policy", Some(json!("")), "errors.policy"),
        ],
    );
}

#[test]
fn candidates_have_to_add_up() {
    let mut good = sample(Kind::Decision, |value| value["predicate"].get("candidates").is_some());
    let other = json!({"determining": ["approve-small"], "id": "shop-9", "outcome": "approve"});
    edit(&mut good, "/predicate/candidates/selected/-", Some(other));
    edit(&mut good, "/predicate/candidates/count", Some(json!(4)));
    let selected = &good["predicate"]["candidates"]["selected"];
    let excluded = |count: usize| {
        let all = (0..count).map(|n| json!({"code": null, "id": format!("c{n}"), "policy": null}));
        Some(Value::Array(all.collect()))
    };
    refuse(
        Kind::Decision,
        &good,
        &[
            ("/predicate/candidates/count", Some(json!(5)), "candidates.count"),
            ("/predicate/candidates/count", Some(json!(0)), "candidates.count"),
            ("/predicate/candidates/count", Some(json!(-1)), "invalid value"),
            ("/predicate/candidates/excludedTotal", Some(json!(3)), "candidates.count"),
            ("/predicate/candidates/truncated", Some(json!(true)), "candidates.truncated"),
            ("/predicate/candidates/excluded", Some(json!([])), "candidates.excluded"),
            ("/predicate/candidates/excluded/0/code", Some(Value::Null), "both"),
            ("/predicate/candidates/excluded/0/policy", Some(Value::Null), "both"),
            ("/predicate/candidates/excluded/0/policy", None, "both"),
            ("/predicate/candidates/excluded/0/id", Some(json!("shop-1")), "twice"),
            ("/predicate/candidates/selected/1", Some(selected[0].clone()), "twice"),
            ("/predicate/candidates/selected/1/outcome", Some(json!("deny")), "same outcome"),
            ("/predicate/candidates/selected/0/determining/-", Some(json!("a")), "sorted"),
            ("/predicate/candidates/selected/0/extra", Some(json!("a")), "unknown field"),
            ("/predicate/candidates/candidatesRoot", None, "missing field"),
        ],
    );
    for (listed, total, truncated, right) in [
        (200, 200, false, true),
        (200, 201, true, true),
        (200, 9998, true, true),
        (200, 9999, true, false),
        (201, 201, true, false),
        (201, 201, false, false),
        (200, 200, true, false),
        (199, 200, false, false),
        (200, 201, false, false),
    ] {
        let mut cut = good.clone();
        edit(&mut cut, "/predicate/candidates/excluded", excluded(listed));
        edit(&mut cut, "/predicate/candidates/excludedTotal", Some(json!(total)));
        edit(&mut cut, "/predicate/candidates/count", Some(json!(total + 2)));
        edit(&mut cut, "/predicate/candidates/truncated", Some(json!(truncated)));
        assert_eq!(parse(Kind::Decision, &cut).is_ok(), right, "{listed} of {total}, {truncated}");
    }
}

#[test]
fn overrides_that_are_not_as_they_should_be_are_refused() {
    let approval = sample(Kind::Override, |value| value["predicate"]["resolution"] == "approve");
    let rejection = sample(Kind::Override, |value| value["predicate"]["resolution"] == "reject");
    refuse(
        Kind::Override,
        &approval,
        &[
            ("/predicate/outcome", None, "exactly for an approval"),
            ("/predicate/outcome", Some(json!("")), "`outcome`"),
            ("/predicate/outcome", Some(Value::Null), "exactly for an approval"),
            ("/predicate/resolution", Some(json!("reject")), "exactly for an approval"),
            ("/predicate/resolution", Some(json!("approved")), "unknown variant"),
            ("/predicate/reason", Some(json!("")), "`reason`"),
            ("/predicate/reason", Some(json!("é".repeat(4001))), "`reason`"),
            ("/predicate/reasonCode", Some(json!("")), "`reasonCode`"),
            ("/predicate/nonce", Some(json!("2a08d80b1aa0e24a45776867208f5c8")), "nonce"),
            ("/predicate/nonce", Some(json!("2A08D80B1AA0E24A45776867208F5C8F")), "nonce"),
            ("/predicate/nonce", Some(json!("2a08d80b1aa0e24a45776867208f5c8f00")), "nonce"),
            ("/predicate/expiresAt", Some(approval["predicate"]["issuedAt"].clone()), "expiresAt"),
            ("/predicate/approver", Some(json!("")), "approver"),
            ("/predicate/role", Some(json!("")), "role"),
            ("/subject/0/name", Some(json!("claim-D3")), "execution id of the predicate"),
            ("/subject/-", Some(approval["subject"][0].clone()), "exactly one"),
        ],
    );
    refuse(
        Kind::Override,
        &rejection,
        &[("/predicate/outcome", Some(json!("approve")), "exactly for an approval")],
    );
    let mut longest = approval.clone();
    edit(&mut longest, "/predicate/reason", Some(json!("é".repeat(4000))));
    parse(Kind::Override, &longest).unwrap();
}

#[test]
fn resolutions_that_are_not_as_they_should_be_are_refused() {
    let good = sample(Kind::Resolution, |value| value["predicate"]["resolution"] == "approved");
    let overrides = &good["predicate"]["overrides"];
    refuse(
        Kind::Resolution,
        &good,
        &[
            ("/predicate/overrides", Some(json!([overrides[1], overrides[0]])), "sorted"),
            ("/predicate/overrides", Some(json!([overrides[0], overrides[0]])), "sorted"),
            ("/predicate/overrides", Some(json!([])), "exactly where the case expired"),
            ("/predicate/resolution", Some(json!("expired")), "exactly where the case expired"),
            ("/predicate/finalOutcome", Some(json!("")), "finalOutcome"),
            ("/predicate/rule/quorum", Some(json!(0)), "rule.quorum"),
            ("/predicate/rule/quorum", Some(json!("2")), "invalid type"),
            ("/predicate/rule/roles", Some(json!([])), "rule.roles"),
            ("/predicate/rule/to", Some(json!(["deny", "deny"])), "rule.to"),
            ("/predicate/rule/outcomes/0", Some(json!("")), "rule.outcomes"),
            ("/predicate/rule/extra", Some(json!(1)), "unknown field"),
            ("/predicate/rule/expires", None, "missing field"),
            ("/predicate/rule/expires", Some(json!("three days")), "rule.expires"),
            ("/predicate/rule/expires", Some(json!("0h")), "rule.expires"),
            ("/predicate/rule/expires", Some(json!("-1h")), "rule.expires"),
            ("/subject/0/name", Some(json!("claim-D3")), "execution id of the predicate"),
        ],
    );
    let mut expired = good.clone();
    edit(&mut expired, "/predicate/overrides", Some(json!([])));
    edit(&mut expired, "/predicate/resolution", Some(json!("expired")));
    parse(Kind::Resolution, &expired).unwrap();
}

#[test]
fn other_kinds_that_are_not_as_they_should_be_are_refused() {
    let activation = sample(Kind::Activation, |_| true);
    refuse(
        Kind::Activation,
        &activation,
        &[
            ("/subject/0/name", Some(json!("claim-approval@1.0.1")), "name does not agree"),
            ("/subject/0/digest/sha256", Some(json!("0".repeat(64))), "digest does not agree"),
            ("/predicate/reason", Some(json!("")), "`reason`"),
            ("/predicate/reason", None, "missing field"),
            ("/predicate/requestedBy", Some(json!("")), "requestedBy"),
            ("/predicate/previous", Some(json!("")), "64 characters"),
        ],
    );
    let verification = sample(Kind::Verification, |_| true);
    let check = verification["predicate"]["checks"][0].clone();
    refuse(
        Kind::Verification,
        &verification,
        &[
            ("/predicate/checks", Some(json!([])), "nothing was checked"),
            ("/predicate/checks/-", Some(check), "twice"),
            ("/predicate/checks/0/result", Some(json!("fail")), "verdict"),
            ("/predicate/checks/0/result", Some(json!("passed")), "unknown variant"),
            ("/predicate/verdict", Some(json!("failed")), "verdict"),
            ("/predicate/verifier", Some(json!("chancery-verify")), "verifier"),
            ("/predicate/verifier", Some(json!("/1")), "verifier"),
        ],
    );
    let confirmation = sample(Kind::Confirmation, |_| true);
    refuse(
        Kind::Confirmation,
        &confirmation,
        &[
            ("/predicate/executedAt", None, "missing field"),
            ("/predicate/outcome", Some(json!("")), "outcome"),
            ("/predicate/reference", Some(json!("")), "reference"),
            ("/predicate/confirmedBy", Some(Value::Null), "invalid type"),
        ],
    );
    let erasure = sample(Kind::Erasure, |_| true);
    refuse(
        Kind::Erasure,
        &erasure,
        &[
            ("/subject", Some(json!([])), "at least one"),
            ("/subject/-", Some(erasure["subject"][0].clone()), "twice"),
            ("/subject/0/name", Some(json!("")), "execution id"),
            ("/predicate/fields", Some(json!("some")), "`all` or a list"),
            ("/predicate/fields", Some(json!([])), "the list is empty"),
            ("/predicate/fields", Some(json!(["a", "a"])), "twice"),
            ("/predicate/basis", Some(json!("")), "basis"),
        ],
    );
    let mut named = erasure.clone();
    edit(&mut named, "/predicate/fields", Some(json!(["iban", "name"])));
    parse(Kind::Erasure, &named).unwrap();
}

#[test]
fn build_identities_that_are_not_as_they_should_be_are_refused() {
    let good = sample(Kind::BuildIdentity, |_| true);
    let image = json!({"digest": format!("sha256:{}", "ab".repeat(32)), "name": "chancery"});
    let second = json!({"digest": {"sha256": "ab".repeat(32)}, "name": "chancery"});
    refuse(
        Kind::BuildIdentity,
        &good,
        &[
            ("/predicate/image", Some(image.clone()), "the image where there is one"),
            ("/subject/-", Some(second.clone()), "the image where there is one"),
            ("/predicate/tenant", Some(json!("acme")), "unknown field"),
            ("/predicate/git/commit", Some(json!("abc")), "git.commit"),
            ("/predicate/git/commit", Some(json!("A".repeat(40))), "git.commit"),
            ("/predicate/git/dirty", Some(json!("no")), "invalid type"),
            ("/predicate/git/tag", Some(json!("")), "git.tag"),
            ("/predicate/git/tag", None, "not canonical"),
            ("/predicate/sbom/format", Some(json!("SPDX")), "sbom.format"),
            ("/predicate/sbom/specVersion", Some(json!("1.6")), "sbom.specVersion"),
            ("/predicate/slsaProvenance", Some(json!([])), "invalid type"),
            ("/predicate/slsaProvenance", None, "not canonical"),
            ("/predicate/toolchain", Some(json!("")), "toolchain"),
        ],
    );
    let mut with_image = good.clone();
    edit(&mut with_image, "/predicate/image", Some(image));
    edit(&mut with_image, "/subject/-", Some(second));
    edit(
        &mut with_image,
        "/predicate/slsaProvenance",
        Some(json!({"b": [1, {"z": null, "a": "x"}], "a": -2})),
    );
    refuse(
        Kind::BuildIdentity,
        &with_image,
        &[
            ("/predicate/image/digest", Some(json!("ab".repeat(32))), "image.digest"),
            ("/predicate/image/digest", Some(json!(format!("sha256:{}", "ac".repeat(32)))), "not the image"),
            ("/predicate/image/name", Some(json!("other")), "not the image"),
        ],
    );
    // serde_json keeps the last of two members and rounds large numbers; the bytes then differ.
    let text = to_canonical(&with_image).unwrap().into_string();
    for (from, to) in
        [("{\"a\":-2,", "{\"a\":-1,\"a\":-2,"), ("\"a\":-2", "\"a\":1e2"), ("\"a\":-2", "\"a\":-2.0")]
    {
        let bad = text.replacen(from, to, 1);
        assert_ne!(bad, text);
        assert!(matches!(
            AnyStatement::parse_unverified(Kind::BuildIdentity, bad.as_bytes()),
            Err(StatementError::NotCanonical)
        ));
    }
}

#[test]
fn the_signer_has_to_be_the_key_that_signed() {
    let key = vector_key(Algorithm::Ed25519, "runtime");
    let other = vector_key(Algorithm::Ed25519, "other");
    let mut value = sample(Kind::Decision, |_| true);
    edit(&mut value, "/predicate/signer", Some(json!(key.public_key().key_id())));
    let payload = to_canonical(&value).unwrap().into_bytes();
    let verified = |key: &crate::key::SigningKey, payload_type: &str| {
        let envelope = Envelope::sign(payload_type, payload.clone(), key).unwrap();
        envelope.verify_single(key.public_key()).unwrap()
    };
    let statement = Statement::<Decision>::parse(&verified(&key, dsse::IN_TOTO)).unwrap();
    assert_eq!(statement.to_payload().unwrap().as_bytes(), payload);
    let error = Statement::<Decision>::parse(&verified(&other, dsse::IN_TOTO)).unwrap_err();
    assert!(matches!(&error, StatementError::Signer { signed: Some(signed), .. }
        if signed == other.public_key().key_id()));
    let error = AnyStatement::parse(Kind::Decision, &verified(&key, "application/json")).unwrap_err();
    assert!(matches!(error, StatementError::PayloadType(_)));
    // Two keys on one statement: neither is the one key that signed.
    let both = Envelope::sign_all(dsse::IN_TOTO, payload.clone(), &[&key, &other]).unwrap();
    let both = both.verify(&[key.public_key(), other.public_key()], 2).unwrap();
    assert!(matches!(Statement::<Decision>::parse(&both), Err(StatementError::Signer { .. })));
}

#[test]
fn constructors_give_the_statements_of_the_vectors() {
    for (kind, payload) in records("good.evidence.jsonl") {
        let made = match AnyStatement::parse_unverified(kind, &payload).unwrap() {
            AnyStatement::Decision(it) => Statement::decision_of(it.predicate).unwrap().to_payload(),
            AnyStatement::Override(it) => {
                Statement::about(&it.decision().unwrap(), it.predicate).unwrap().to_payload()
            }
            AnyStatement::Resolution(it) => {
                Statement::about(&it.decision().unwrap(), it.predicate).unwrap().to_payload()
            }
            AnyStatement::Verification(it) => {
                Statement::about(&it.decision().unwrap(), it.predicate).unwrap().to_payload()
            }
            AnyStatement::Confirmation(it) => {
                Statement::about(&it.decision().unwrap(), it.predicate).unwrap().to_payload()
            }
            AnyStatement::Activation(it) => Statement::activation_of(it.predicate).unwrap().to_payload(),
            AnyStatement::Keyring(it) => Statement::keyring_of(it.predicate).unwrap().to_payload(),
            AnyStatement::BuildIdentity(it) => {
                Statement::build_of(it.subject[0].clone(), it.predicate).unwrap().to_payload()
            }
            AnyStatement::Erasure(it) => {
                let executions: Vec<(ExecutionId, Fingerprint)> =
                    it.executions().map(|(id, fingerprint)| (id.parse().unwrap(), fingerprint)).collect();
                let executions = executions.iter().map(|(id, fingerprint)| (id, fingerprint));
                Statement::erasure_of(executions, it.predicate).unwrap().to_payload()
            }
        };
        assert_eq!(made.unwrap().as_bytes(), payload);
    }
}
