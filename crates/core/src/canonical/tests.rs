use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use serde::Serializer;
use serde::ser::SerializeMap as _;
use serde_json::{Value, json};

use super::writer::compare_utf16;
use super::*;

fn text<T: Serialize + ?Sized>(value: &T) -> Result<String, CanonicalError> {
    to_canonical(value).map(Canonical::into_string)
}

/// An object with the given members in the given order, duplicates and all.
struct Members(Vec<(&'static str, i64)>);

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Shape {
    Point,
    Circle(u8),
    Pair(u8, bool),
    Box { width: u8, height: Option<u8> },
}

#[derive(Serialize)]
struct OutOfOrder {
    zebra: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    nothing: Option<u8>,
    apple: Inner,
    #[serde(flatten)]
    more: BTreeMap<String, u8>,
}

#[derive(Serialize)]
struct Inner {
    b: Vec<u8>,
    a: (),
}

#[test]
fn members_are_sorted_at_every_level() {
    let value = OutOfOrder {
        zebra: 1,
        nothing: None,
        apple: Inner { b: vec![3, 2], a: () },
        more: [("m".to_owned(), 4), ("\u{1}".to_owned(), 5)].into(),
    };
    assert_eq!(text(&value).unwrap(), r#"{"\u0001":5,"apple":{"a":null,"b":[3,2]},"m":4,"zebra":1}"#);
}

#[test]
fn enums_are_written_as_serde_does() {
    let shapes =
        [Shape::Point, Shape::Circle(1), Shape::Pair(2, true), Shape::Box { width: 3, height: None }];
    assert_eq!(
        text(&shapes).unwrap(),
        r#"["point",{"circle":1},{"pair":[2,true]},{"box":{"height":null,"width":3}}]"#
    );
}

#[test]
fn names_are_ordered_by_utf16_code_units() {
    // The example of RFC 8785, section 3.2.3.
    let names = ["\u{20ac}", "\r", "\u{fb33}", "1", "\u{1f600}", "\u{80}", "\u{f6}"];
    let members = Members(names.into_iter().zip(0..).collect());
    assert_eq!(
        text(&members).unwrap(),
        "{\"\\r\":1,\"1\":3,\"\u{80}\":5,\"\u{f6}\":6,\"\u{20ac}\":0,\"\u{1f600}\":4,\"\u{fb33}\":2}"
    );
}

#[test]
fn strings_are_escaped_only_where_they_must_be() {
    let all: String = (0..=0x7f).filter_map(char::from_u32).collect();
    let expected = "\"\\u0000\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\\u0007\\b\\t\\n\\u000b\\f\\r\\u000e\\u000f\
        \\u0010\\u0011\\u0012\\u0013\\u0014\\u0015\\u0016\\u0017\\u0018\\u0019\\u001a\\u001b\\u001c\\u001d\\u001e\\u001f \
        !\\\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\\\]^_`abcdefghijklmnopqrstuvwxyz{|}~\u{7f}\"";
    assert_eq!(text(&all).unwrap(), expected);
    assert_eq!(text("é\u{2028}𝄞/").unwrap(), "\"é\u{2028}𝄞/\"");
    assert_eq!(text(&format_args!("{}\n", 'a')).unwrap(), "\"a\\n\"");
}

#[test]
fn integers_beyond_the_safe_range_are_refused() {
    assert_eq!(text(&[MAX_INTEGER, -MAX_INTEGER, 0]).unwrap(), "[9007199254740991,-9007199254740991,0]");
    let beyond = i128::from(MAX_INTEGER) + 1;
    assert_eq!(text(&beyond), Err(CanonicalError::Integer(beyond)));
    assert_eq!(text(&-beyond), Err(CanonicalError::Integer(-beyond)));
    assert_eq!(text(&i64::MIN), Err(CanonicalError::Integer(i64::MIN.into())));
    assert_eq!(text(&u64::MAX), Err(CanonicalError::Integer(u64::MAX.into())));
    assert!(text(&u128::MAX).is_err());
}

#[test]
fn what_has_no_canonical_form_is_refused() {
    assert_eq!(text(&1.0), Err(CanonicalError::Float));
    assert_eq!(text(&1.5f32), Err(CanonicalError::Float));
    assert_eq!(text(&json!({"a": [0.5]})), Err(CanonicalError::Float));
    assert_eq!(text(&HashMap::from([(1, 2)])), Err(CanonicalError::Name));
    assert_eq!(text(&HashMap::from([(Some("a"), 2)])), Err(CanonicalError::Name));
    assert_eq!(text(&HashMap::from([((), 2)])), Err(CanonicalError::Name));
    let raw = serde_json::value::RawValue::from_string("{ }".to_owned()).unwrap();
    assert_eq!(text(&raw), Err(CanonicalError::RawJson));
}

#[test]
fn a_name_that_is_there_twice_is_refused() {
    for names in [vec!["a", "a"], vec!["a", "b", "a"], vec!["b", "a", "b"], vec!["", "x", ""]] {
        let twice = names[0];
        let members = Members(names.into_iter().zip(0..).collect());
        assert_eq!(text(&members), Err(CanonicalError::Duplicate(twice.to_owned())));
    }
}

#[test]
fn other_bytes_of_the_same_value_are_not_canonical() {
    let value = json!({"a": 1, "b": "x"});
    assert!(is_canonical_of(&value, br#"{"a":1,"b":"x"}"#));
    for other in
        [r#"{"b":"x","a":1}"#, r#"{"a":1,"b":"x"} "#, r#"{"a":1, "b":"x"}"#, r#"{"a":1,"b":"\u0078"}"#, ""]
    {
        assert!(!is_canonical_of(&value, other.as_bytes()), "{other}");
    }
    assert!(!is_canonical_of(&0.5, b"0.5"));
}

/// Any JSON without floats and large integers, with names that collide, need escapes, or order differently in
/// UTF-8 and UTF-16.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-MAX_INTEGER..=MAX_INTEGER).prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((any_text(), inner), 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_text() -> impl Strategy<Value = String> {
    let c = prop_oneof![
        prop::char::range('\0', '\u{7f}'),
        prop::char::range('\u{d7f0}', '\u{d7ff}'),
        prop::char::range('\u{e000}', '\u{e010}'),
        prop::char::range('\u{fff0}', '\u{ffff}'),
        prop::char::range('\u{10000}', '\u{10010}'),
        any::<char>(),
    ];
    prop::collection::vec(c, 0..4).prop_map(String::from_iter)
}

/// Writes an object's members backwards, so that the writer has to put them in order.
struct Backwards<'a>(&'a Value);

impl Serialize for Backwards<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(elements) => serializer.collect_seq(elements.iter().map(Backwards)),
            Value::Object(members) => {
                serializer.collect_map(members.iter().rev().map(|(name, value)| (name, Backwards(value))))
            }
            leaf => leaf.serialize(serializer),
        }
    }
}

proptest! {
    #[test]
    fn an_independent_writer_gives_the_same_bytes(value in any_json()) {
        let expected = serde_json_canonicalizer::to_string(&value).unwrap();
        prop_assert_eq!(text(&value).unwrap(), expected.clone());
        prop_assert_eq!(text(&Backwards(&value)).unwrap(), expected.clone());
        prop_assert_eq!(serde_json::from_str::<Value>(&expected).unwrap(), value);
    }

    #[test]
    fn a_long_text_is_escaped_wherever_it_must_be(parts in prop::collection::vec(prop_oneof!["[ -~]{0,40}", any_text()], 0..6)) {
        let long = parts.concat();
        prop_assert_eq!(text(&long).unwrap(), serde_json_canonicalizer::to_string(&long).unwrap());
    }

    #[test]
    fn comparing_equals_comparing_code_units(a in any_text(), b in any_text()) {
        prop_assert_eq!(compare_utf16(&a, &b), a.encode_utf16().cmp(b.encode_utf16()));
    }
}
