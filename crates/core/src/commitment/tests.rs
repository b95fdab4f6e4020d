use proptest::prelude::*;
use proptest::sample::subsequence;
use serde::Deserialize;

use super::*;
use crate::json::Value;
use crate::signal::Signal;

const FINGERPRINT_VECTORS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/chancery/fingerprint.json"));
const OPENING_VECTORS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/chancery/openings.json"));

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    bundle_hash: BundleHash,
    policy_id: PolicyId,
    policy_version: PolicyVersion,
    principal: EntityUid,
    resource: EntityUid,
}

impl Head {
    fn inputs<'a>(&'a self, signals: &'a Signals, candidates: Option<&'a [Candidate]>) -> Inputs<'a> {
        Inputs {
            bundle_hash: &self.bundle_hash,
            policy_id: &self.policy_id,
            policy_version: &self.policy_version,
            principal: &self.principal,
            resource: &self.resource,
            signals,
            candidates,
        }
    }

    fn fingerprint(&self, signals: &SignalsRoot, candidates: Option<&CandidatesRoot>) -> Fingerprint {
        let Self { bundle_hash, policy_id, policy_version, principal, resource } = self;
        fingerprint(bundle_hash, policy_id, policy_version, principal, resource, signals, candidates)
    }
}

#[derive(Deserialize)]
struct Vectors<C> {
    cases: Vec<C>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FingerprintCase {
    name: String,
    #[serde(rename = "K")]
    key: Digest32,
    head: Head,
    signals: Value,
    candidates: Option<Vec<CandidateCase>>,
    inputs: String,
    inputs_hash: String,
    secret: Secret,
    fields: Vec<FieldCase>,
    signals_root: SignalsRoot,
    candidate_fields: Option<Vec<CandidateFieldCase>>,
    candidates_root: Option<CandidatesRoot>,
    fingerprint_message: String,
    fingerprint: Fingerprint,
}

type Digest32 = crate::digest::Digest;

#[derive(Deserialize)]
struct CandidateCase {
    id: String,
    signals: Value,
}

#[derive(Deserialize)]
struct FieldCase {
    name: String,
    key: FieldKey,
    message: String,
    commitment: Commitment,
}

#[derive(Deserialize)]
struct CandidateFieldCase {
    index: usize,
    key: FieldKey,
    message: String,
    commitment: Commitment,
}

/// A signal whose canonical value is `value`. Strings stand for all the types that are written as strings.
fn signal(value: &Value) -> Signal {
    match value {
        Value::Bool(value) => Signal::Bool(*value),
        Value::Number(number) => Signal::Long(number.as_i64().unwrap()),
        Value::String(text) => Signal::String(text.as_str().into()),
        Value::Array(elements) => Signal::Set(elements.iter().map(signal).collect()),
        Value::Object(_) => Signal::Record(signals(value)),
        Value::Null => panic!("null is no signal"),
    }
}

fn signals(value: &Value) -> Signals {
    value.as_object().unwrap().iter().map(|(name, value)| (name.into(), signal(value))).collect()
}

#[test]
fn every_fingerprint_vector_comes_out_as_it_says() {
    let vectors: Vectors<FingerprintCase> = serde_json::from_str(FINGERPRINT_VECTORS).unwrap();
    assert_eq!(vectors.cases.len(), 20);
    for case in vectors.cases {
        let name = &case.name;
        let signals = signals(&case.signals);
        let candidates: Option<Vec<Candidate>> = case.candidates.map(|candidates| {
            let candidate = |c: CandidateCase| Candidate { id: c.id, signals: self::signals(&c.signals) };
            candidates.into_iter().map(candidate).collect()
        });
        let key = TenantKey::from_bytes(*case.key.as_bytes());
        assert_eq!(key == TenantKey::OPEN, name.ends_with("open"), "{name}");
        let inputs = case.head.inputs(&signals, candidates.as_deref());
        let committed = commit(&key, &inputs).unwrap();

        assert_eq!(committed.inputs.as_str(), case.inputs, "{name}");
        assert_eq!(hex::encode(sha256(committed.inputs.as_bytes())), case.inputs_hash, "{name}");
        assert_eq!(committed.secret, case.secret, "{name}");
        assert_eq!(committed.signals_root, case.signals_root, "{name}");
        assert_eq!(committed.candidates_root, case.candidates_root, "{name}");
        assert_eq!(committed.fingerprint, case.fingerprint, "{name}");
        let hash = sha256_parts(&[b"chancery/v1/fingerprint\0", case.fingerprint_message.as_bytes()]);
        assert_eq!(committed.fingerprint.as_bytes(), &hash, "{name}");

        let mut committer = Committer::new(&committed.secret);
        assert_eq!(signals.len(), case.fields.len(), "{name}");
        for ((field, value), expected) in signals.iter().zip(case.fields) {
            let key = committer.field_key(field);
            let commitment = Committer::commitment(&mut committer.message, &key, field, value).unwrap();
            assert_eq!(**field, *expected.name, "{name}");
            assert_eq!(committer.message, expected.message, "{name} {field}");
            assert_eq!((key, commitment), (expected.key, expected.commitment), "{name} {field}");
        }
        let expected = case.candidate_fields.unwrap_or_default();
        assert_eq!(candidates.as_ref().map_or(0, Vec::len), expected.len(), "{name}");
        for (candidate, expected) in candidates.iter().flatten().zip(expected) {
            let key = committer.candidate_key(expected.index);
            let commitment =
                Committer::commitment(&mut committer.message, &key, &candidate.id, &candidate.signals)
                    .unwrap();
            assert_eq!(committer.message, expected.message, "{name} {}", candidate.id);
            assert_eq!((key, commitment), (expected.key, expected.commitment), "{name} {}", candidate.id);
        }
    }
}

#[derive(Deserialize)]
struct OpeningVectors {
    head: Head,
    cases: Vec<OpeningCase>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OpeningCase {
    name: String,
    opening: Value,
    accept: bool,
    signals_root: SignalsRoot,
    candidates_root: Option<CandidatesRoot>,
    fingerprint: Option<Fingerprint>,
}

#[test]
fn every_opening_vector_comes_out_as_it_says() {
    let vectors: OpeningVectors = serde_json::from_str(OPENING_VECTORS).unwrap();
    assert!(vectors.cases.len() > 70);
    for case in &vectors.cases {
        let name = &case.name;
        let opening = Opening::parse(case.opening.clone());
        let opens = opening
            .as_ref()
            .is_ok_and(|opening| opening.roots().unwrap() == (case.signals_root, case.candidates_root));
        assert_eq!(opens, case.accept, "{name}: {:?}", opening.err());
        if let (Ok(opening), true) = (opening, case.accept) {
            let again = to_canonical(&opening).unwrap();
            assert_eq!(again, to_canonical(&case.opening).unwrap(), "{name}");
            let fingerprint = vectors.head.fingerprint(&case.signals_root, case.candidates_root.as_ref());
            assert_eq!(Some(fingerprint), case.fingerprint, "{name}");
            assert_eq!(opening.is_full(), name.ends_with("full"), "{name}");
        }
    }
}

#[test]
fn what_is_no_opening_is_refused_with_its_place() {
    let refused = |text: &str| {
        let value = crate::json::parse(text.as_bytes(), crate::json::Limits::REQUEST).unwrap();
        Opening::parse(value).unwrap_err()
    };
    let hash = "0".repeat(64);
    let at = |at: &str| at.to_owned();
    assert!(matches!(refused("[]"), OpeningError::Form { at, .. } if at.is_empty()));
    assert!(matches!(refused("{}"), OpeningError::Form { at, .. } if at == "/secret"));
    assert!(matches!(refused("{\"fields\":{}}"), OpeningError::Form { at, .. } if at == "/fields"));
    let text = format!("{{\"secret\":\"{hash}\",\"signals\":[]}}");
    assert!(matches!(refused(&text), OpeningError::Form { at, .. } if at == "/signals"));
    let text = format!("{{\"secret\":\"{hash}\",\"signals\":{{\"a\":1.5}}}}");
    assert!(matches!(refused(&text), OpeningError::Canonical(_)));
    let text = format!("{{\"secret\":\"{hash}0\",\"signals\":{{}}}}");
    let source = ParseHashError::Length { got: 65 };
    assert_eq!(refused(&text), OpeningError::Hash { at: at("/secret"), source });
    let text = format!("{{\"fields\":[],\"secret\":\"{hash}\"}}");
    assert_eq!(refused(&text), OpeningError::Unknown { at: at("/secret") });
    let shown = |name: &str| format!("{{\"name\":\"{name}\",\"key\":\"{hash}\",\"value\":1}}");
    let text = format!("{{\"fields\":[{},{{\"commitment\":\"{hash}\"}},{}]}}", shown("b"), shown("b"));
    assert_eq!(refused(&text), OpeningError::Order { at: at("/fields/2") });
    let candidate = "{\"id\":\"x\",\"signals\":{}}";
    let text = format!("{{\"secret\":\"{hash}\",\"signals\":{{}},\"candidates\":[{candidate},{candidate}]}}");
    assert_eq!(refused(&text), OpeningError::CandidateTwice { at: at("/candidates/1") });
    assert_eq!(refused("{\"fields\":[],\"candidates\":[]}"), OpeningError::CandidateCount { got: 0 });
    let text = format!("{{\"fields\":[{{\"name\":\"a\",\"key\":\"{hash}\"}}]}}");
    assert!(matches!(refused(&text), OpeningError::Form { at, .. } if at == "/fields/0/value"));
}

fn head() -> Head {
    serde_json::from_str::<OpeningVectors>(OPENING_VECTORS).unwrap().head
}

fn long(entries: &[(&str, i64)]) -> Signals {
    entries.iter().map(|(name, value)| ((*name).into(), Signal::Long(*value))).collect()
}

#[test]
fn candidates_are_at_least_one_and_different() {
    let (head, signals) = (head(), long(&[]));
    let candidate = |id: &str| Candidate { id: id.to_owned(), signals: long(&[]) };
    let commit =
        |candidates: &[Candidate]| commit(&TenantKey::OPEN, &head.inputs(&signals, Some(candidates)));
    assert_eq!(commit(&[]).unwrap_err(), CommitError::CandidateCount { got: 0 });
    let many: Vec<_> = (0..=CANDIDATES_MAX).map(|at| candidate(&at.to_string())).collect();
    assert_eq!(commit(&many).unwrap_err(), CommitError::CandidateCount { got: 10_001 });
    assert!(commit(&many[1..]).is_ok());
    let twice = [candidate("a"), candidate("b"), candidate("a")];
    assert_eq!(commit(&twice).unwrap_err(), CommitError::CandidateTwice("a".to_owned()));
}

#[test]
fn a_signal_without_canonical_form_is_refused() {
    let signals = long(&[("a", i64::MAX)]);
    let result = commit(&TenantKey::OPEN, &head().inputs(&signals, None));
    assert_eq!(result.unwrap_err(), CommitError::Canonical(CanonicalError::Integer(i64::MAX.into())));
}

#[test]
fn a_redaction_hides_candidates_that_have_the_signal_and_keeps_no_secret() {
    let (head, signals) = (head(), long(&[("income", 7), ("price", 1)]));
    let candidates = [
        Candidate { id: "plain".to_owned(), signals: long(&[]) },
        Candidate { id: "priced".to_owned(), signals: long(&[("price", 2)]) },
    ];
    let inputs = head.inputs(&signals, Some(&candidates));
    let committed = commit(&TenantKey::from_bytes([7; 32]), &inputs).unwrap();
    let full = Opening::full(&committed.secret, &signals, Some(&candidates)).unwrap();
    let canonical = Opening::full_canonical(&committed.secret, &signals, Some(&candidates)).unwrap();
    assert_eq!(to_canonical(&full).unwrap(), canonical);

    let partial = full.redact(&["price"]).unwrap();
    let text = to_canonical(&partial).unwrap().into_string();
    assert!(!text.contains("price") && text.contains("income") && text.contains("plain"), "{text}");
    assert!(!text.contains(&committed.secret.to_string()));
    assert_eq!(partial.roots().unwrap(), (committed.signals_root, committed.candidates_root));
    let more = partial.redact(&["income"]).unwrap();
    assert!(!to_canonical(&more).unwrap().into_string().contains("income"));
    assert_eq!(more.roots().unwrap(), full.roots().unwrap());
    assert_eq!(serde_json::from_str::<Opening>(&text).unwrap(), partial);
}

#[test]
fn a_full_opening_does_not_grow_while_it_is_written() {
    let (head, signals) = (head(), long(&[("income", 7)]));
    let many: Vec<_> =
        (0..500).map(|at| Candidate { id: at.to_string(), signals: long(&[("price", at)]) }).collect();
    for candidates in [None, Some(&many[..1]), Some(&many[..])] {
        let committed = commit(&TenantKey::OPEN, &head.inputs(&signals, candidates)).unwrap();
        let text = committed.opening(candidates).unwrap().into_string();
        assert_eq!(text.capacity(), text.len());
    }
}

#[test]
fn secrets_are_not_shown_for_debugging() {
    let digits = "ab".repeat(32);
    let secret: Secret = digits.parse().unwrap();
    let key = TenantKey::from_bytes([0xab; 32]);
    assert_eq!(format!("{secret:?} {key:?}"), "Secret(…) TenantKey(…)");
    assert_eq!(secret.to_string(), digits);
}

fn any_signals() -> impl Strategy<Value = Signals> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Signal::Bool),
        (-1000i64..1000).prop_map(Signal::Long),
        any::<String>().prop_map(|text| Signal::String(text.into())),
    ];
    let signal = leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Signal::Set),
            prop::collection::vec((any::<String>(), inner), 0..3).prop_map(|members| {
                Signal::Record(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
            }),
        ]
    });
    prop::collection::vec((any::<String>(), signal), 1..6)
        .prop_map(|members| members.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

proptest! {
    #[test]
    fn any_changed_signal_changes_the_fingerprint(
        one in any_signals(),
        other in any_signals(),
        at in any::<prop::sample::Index>(),
    ) {
        let head = head();
        let key = TenantKey::from_bytes([1; 32]);
        let print = |signals: &Signals| commit(&key, &head.inputs(signals, None)).unwrap().fingerprint;
        prop_assert_eq!(one == other, print(&one) == print(&other));
        // One value replaced, then one signal left out.
        let (name, value) = one.iter().nth(at.index(one.len())).unwrap();
        let instead = if *value == Signal::Bool(true) { Signal::Long(1) } else { Signal::Bool(true) };
        let changed: Signals = [(name.clone(), instead)].into_iter().collect();
        prop_assert_ne!(print(&changed.merged_over(&one)), print(&one));
        let kept = one.iter().filter(|(own, _)| *own != name);
        let fewer: Signals = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        prop_assert_ne!(print(&fewer), print(&one));
        // Another tenant, another fingerprint.
        let elsewhere = commit(&TenantKey::OPEN, &head.inputs(&one, None)).unwrap().fingerprint;
        prop_assert_ne!(elsewhere, print(&one));
    }

    #[test]
    fn every_partial_opening_comes_to_the_same_roots(
        (signals, hidden) in any_signals().prop_flat_map(|signals| {
            let names: Vec<String> = signals.iter().map(|(name, _)| name.to_string()).collect();
            let count = names.len();
            (Just(signals), subsequence(names, 0..=count))
        }),
        own in any_signals(),
    ) {
        let candidates = [
            Candidate { id: "a".to_owned(), signals: own },
            Candidate { id: "b".to_owned(), signals: signals.clone() },
        ];
        let head = head();
        let committed = commit(&TenantKey::from_bytes([2; 32]), &head.inputs(&signals, Some(&candidates))).unwrap();
        let full = Opening::full(&committed.secret, &signals, Some(&candidates)).unwrap();
        prop_assert_eq!(&committed.opening(Some(&candidates)).unwrap(), &to_canonical(&full).unwrap());
        let alone = Opening::full(&committed.secret, &signals, None).unwrap();
        prop_assert_eq!(&committed.opening(None).unwrap(), &to_canonical(&alone).unwrap());
        let roots = (committed.signals_root, committed.candidates_root);
        prop_assert_eq!(full.roots().unwrap(), roots);
        let partial = full.redact(&hidden).unwrap();
        prop_assert_eq!(partial.roots().unwrap(), roots);
        let text = to_canonical(&partial).unwrap();
        let read: Opening = serde_json::from_str(text.as_str()).unwrap();
        prop_assert_eq!(&read, &partial);
        let Opening::Partial { fields, .. } = read else { panic!("a partial opening") };
        let shown = fields.iter().filter(|field| matches!(field, Field::Shown { .. })).count();
        prop_assert_eq!(shown, signals.len() - hidden.len());
    }
}
