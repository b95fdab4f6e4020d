use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::canonical::to_canonical;
use crate::json::{Code, Fault, Limits, Pointer, parse};

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    types: BTreeMap<String, SchemaAttribute>,
    text: String,
    canonical: Option<String>,
    faults: Vec<ExpectedFault>,
}

#[derive(Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
struct ExpectedFault {
    pointer: String,
    code: String,
}

/// An attribute as Cedar's JSON schemas write it.
#[derive(Deserialize)]
struct SchemaAttribute {
    #[serde(flatten)]
    ty: SchemaType,
    #[serde(default = "yes")]
    required: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct SchemaType {
    r#type: String,
    name: Option<String>,
    element: Option<Box<SchemaType>>,
    attributes: Option<BTreeMap<String, SchemaAttribute>>,
}

fn attributes(schema: BTreeMap<String, SchemaAttribute>) -> Attributes {
    let attribute = |(name, attribute): (String, SchemaAttribute)| {
        (name.into(), Attribute { ty: ty(attribute.ty), required: attribute.required })
    };
    schema.into_iter().map(attribute).collect()
}

fn ty(schema: SchemaType) -> Type {
    match schema.r#type.as_str() {
        "Bool" => Type::Bool,
        "Long" => Type::Long,
        "String" => Type::String,
        "decimal" => Type::Decimal,
        "datetime" => Type::Datetime,
        "duration" => Type::Duration,
        "ipaddr" => Type::Ipaddr,
        "Entity" => Type::Entity(schema.name.unwrap().into()),
        "Set" => Type::Set(Box::new(ty(*schema.element.unwrap()))),
        "Record" => Type::Record(attributes(schema.attributes.unwrap())),
        other => panic!("{other}"),
    }
}

fn admit(attributes: &Attributes, text: &str) -> Result<Signals, Vec<Fault>> {
    let value = parse(text.as_bytes(), Limits::REQUEST).map_err(|fault| vec![fault])?;
    type_signals(attributes, &value, Pointer::root())
}

#[test]
fn every_vector_comes_out_as_it_says() {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/vectors/chancery/canonical-signals.json"
    ));
    let vectors: Vectors = serde_json::from_str(text).unwrap();
    assert_eq!(vectors.cases.len(), 150);
    for case in vectors.cases {
        let attributes = attributes(case.types);
        match admit(&attributes, &case.text) {
            Ok(signals) => {
                let canonical = to_canonical(&signals).unwrap();
                assert_eq!(
                    Some(canonical.as_str()),
                    case.canonical.as_deref(),
                    "{} {}",
                    case.name,
                    case.text
                );
                let again = admit(&attributes, canonical.as_str()).unwrap();
                assert!(again == signals, "{} {}", case.name, case.text);
            }
            Err(faults) => {
                assert_eq!(case.canonical, None, "{} {}: {faults:?}", case.name, case.text);
                let mut found: Vec<_> = faults
                    .into_iter()
                    .map(|fault| ExpectedFault {
                        pointer: fault.pointer.unwrap(),
                        code: fault.code.to_string(),
                    })
                    .collect();
                let mut expected = case.faults;
                found.sort();
                expected.sort();
                assert_eq!(found, expected, "{} {}", case.name, case.text);
            }
        }
    }
}

fn one(name: &str, ty: Type, required: bool) -> Attributes {
    [(name.into(), Attribute { ty, required })].into_iter().collect()
}

#[test]
fn faults_stand_under_the_place_of_the_signals() {
    let value = parse(br#"{"a":"x","b":1}"#, Limits::REQUEST).unwrap();
    let signals = Pointer::root().member("signals");
    let faults = type_signals(&one("a", Type::Long, true), &value, &signals).unwrap_err();
    let found: Vec<_> = faults.iter().map(|fault| (fault.pointer.as_deref().unwrap(), fault.code)).collect();
    assert_eq!(found, [("/signals/a", Code::SignalType), ("/signals/b", Code::SignalUndeclared)]);
}

#[test]
fn neither_faults_nor_debug_output_hold_a_value() {
    let attributes: Attributes = ["a", "b", "c"]
        .into_iter()
        .zip([Type::Long, Type::Datetime, Type::Entity("Provider".into())])
        .map(|(name, ty)| (name.into(), Attribute { ty, required: true }))
        .collect();
    let text = r#"{"a":"secret","b":"2026-13-secret","c":{"type":"secret","id":"secret"},"d":"secret"}"#;
    let value = parse(text.as_bytes(), Limits::REQUEST).unwrap();
    let faults = type_signals(&attributes, &value, Pointer::root()).unwrap_err();
    assert_eq!(faults.len(), 4);
    assert!(!format!("{faults:?} {value:?}").contains("secret"));
    assert_eq!(faults[0].found, "a string of 6 characters");
    assert_eq!(faults[0].expected, "Long: an integer without fraction and exponent");

    let signals = admit(&one("s", Type::String, true), r#"{"s":"secret"}"#).unwrap();
    assert_eq!(format!("{signals:?}"), r#"{"s": String}"#);
}

#[test]
fn a_candidate_may_leave_out_what_a_request_must_have() {
    let inner = one("x", Type::Long, true);
    let attributes = [
        ("a".into(), Attribute { ty: Type::Long, required: true }),
        ("r".into(), Attribute { ty: Type::Record(inner), required: true }),
    ]
    .into_iter()
    .collect();
    let typed = |text: &str| {
        type_some_signals(&attributes, &parse(text.as_bytes(), Limits::REQUEST).unwrap(), Pointer::root())
    };
    assert!(typed("{}").unwrap().is_empty());
    assert_eq!(typed(r#"{"r":{}}"#).unwrap_err()[0].pointer.as_deref(), Some("/r/x"));
    assert_eq!(typed(r#"{"z":1}"#).unwrap_err()[0].code, Code::SignalUndeclared);
}

fn signals(entries: &[(&str, i64)]) -> Signals {
    entries.iter().map(|(name, value)| ((*name).into(), Signal::Long(*value))).collect()
}

#[test]
fn merging_prefers_the_upper_and_keeps_the_order() {
    let base = signals(&[("a", 1), ("c", 1), ("e", 1)]);
    for (upper, merged) in [
        (signals(&[]), signals(&[("a", 1), ("c", 1), ("e", 1)])),
        (signals(&[("c", 2)]), signals(&[("a", 1), ("c", 2), ("e", 1)])),
        (
            signals(&[("b", 2), ("e", 2), ("f", 2)]),
            signals(&[("a", 1), ("b", 2), ("c", 1), ("e", 2), ("f", 2)]),
        ),
    ] {
        assert!(upper.merged_over(&base) == merged, "{upper:?}");
        for (name, signal) in merged.iter() {
            assert!(merged.get(name) == Some(signal));
        }
    }
    assert_eq!(base.get("b"), None);
}

/// A type with some text of a value of it.
fn any_typed() -> impl Strategy<Value = (Type, String)> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(|value| (Type::Bool, value.to_string())),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(|v| (Type::Long, v.to_string())),
        any::<String>().prop_map(|text| (Type::String, serde_json::to_string(&text).unwrap())),
        "-?(0|[1-9][0-9]{0,13})(\\.[0-9]{1,4}0{0,3})?"
            .prop_map(|text| (Type::Decimal, format!("\"{text}\""))),
        "-?[0-9]{1,6}[dhms]".prop_map(|text| (Type::Duration, format!("\"{text}\""))),
        "20[0-9]{2}-0[1-9]-[01][1-9](T1[0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,3})?(Z|\\+0[0-9]:30))?"
            .prop_map(|text| (Type::Datetime, format!("\"{text}\""))),
        "1?[0-9]\\.1[0-9]{2}\\.0\\.[1-9](/[1-2][0-9])?"
            .prop_map(|text| (Type::Ipaddr, format!("\"{text}\""))),
        any::<String>().prop_map(|id| {
            let id = serde_json::to_string(&id).unwrap();
            (Type::Entity("P".into()), format!("{{\"id\":{id},\"type\":\"P\"}}"))
        }),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            (inner.clone(), 0usize..4).prop_map(|((ty, text), count)| {
                (Type::Set(Box::new(ty)), format!("[{}]", vec![text; count].join(",")))
            }),
            prop::collection::btree_map(any::<String>(), inner, 0..4).prop_map(|members| {
                let texts: Vec<_> = members
                    .iter()
                    .map(|(name, (_, text))| format!("{}:{text}", serde_json::to_string(name).unwrap()))
                    .collect();
                let attributes = members
                    .into_iter()
                    .map(|(name, (ty, _))| (name.into(), Attribute { ty, required: true }))
                    .collect();
                (Type::Record(attributes), format!("{{{}}}", texts.join(",")))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn a_canonical_value_is_its_own_canonical_value((ty, text) in any_typed()) {
        let attributes = one("s", ty, true);
        let signals = admit(&attributes, &format!("{{\"s\":{text}}}")).unwrap();
        let canonical = to_canonical(&signals).unwrap();
        let again = admit(&attributes, canonical.as_str()).unwrap();
        prop_assert!(again == signals);
        prop_assert_eq!(to_canonical(&again).unwrap(), canonical);
    }
}
