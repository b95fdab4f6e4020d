use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::canonical::to_canonical;

fn request(text: &str) -> Result<Value, Fault> {
    parse(text.as_bytes(), Limits::REQUEST)
}

fn refused(text: &str) -> (Code, Option<String>) {
    let fault = request(text).unwrap_err();
    (fault.code, fault.pointer)
}

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    text: Option<String>,
    bytes: Option<crate::b64::Bytes>,
    build: Option<Build>,
    accept: bool,
    code: Option<String>,
    #[serde(default)]
    pointer: Option<String>,
}

#[derive(Deserialize)]
struct Build {
    prefix: String,
    repeat: String,
    times: usize,
    suffix: String,
}

impl Case {
    fn input(&self) -> Vec<u8> {
        match (&self.text, &self.bytes, &self.build) {
            (Some(text), None, None) => text.clone().into_bytes(),
            (None, Some(bytes), None) => bytes.0.clone(),
            (None, None, Some(build)) => {
                format!("{}{}{}", build.prefix, build.repeat.repeat(build.times), build.suffix).into_bytes()
            }
            _ => panic!("{}: one input", self.name),
        }
    }
}

#[test]
fn every_vector_comes_out_as_it_says() {
    let text =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/chancery/strict-json.json"));
    let vectors: Vectors = serde_json::from_str(text).unwrap();
    assert!(vectors.cases.len() > 60);
    for case in &vectors.cases {
        match parse(&case.input(), Limits::REQUEST) {
            Ok(_) => assert!(case.accept, "{} was accepted", case.name),
            Err(fault) => {
                assert!(!case.accept, "{}: {fault}", case.name);
                assert_eq!(Some(fault.code.as_str()), case.code.as_deref(), "{}", case.name);
                if case.pointer.is_some() {
                    assert_eq!(fault.pointer, case.pointer, "{}", case.name);
                }
            }
        }
    }
}

#[test]
fn a_byte_order_mark_is_called_one() {
    for (text, found) in [
        ("\u{feff}{}", "a byte order mark at byte 0"),
        ("\u{feff}", "a byte order mark at byte 0"),
        ("é", "a character beyond ASCII at byte 0"),
        ("{}\u{feff}", "a character beyond ASCII at byte 2"),
    ] {
        assert_eq!(request(text).unwrap_err().found, found, "{text}");
    }
}

#[test]
fn the_names_that_go_are_said_once() {
    let value = request(r#"{"a":1,"x":2,"y":3,"z":4}"#).unwrap();
    let mut members = Members::new(value.as_object().unwrap(), Pointer::root());
    members.take("a");
    members.take("b");
    let mut faults = Vec::new();
    members.finish(&mut faults);
    let told: Vec<_> =
        faults.iter().map(|fault| (fault.pointer.as_deref().unwrap(), fault.expected.as_str())).collect();
    let other = "no member of this name";
    assert_eq!(told, [("/x", "no members but a, b"), ("/y", other), ("/z", other)]);
}

#[test]
fn numbers_keep_their_text_and_objects_their_order() {
    let value = request(r#" {"b":1.50,"a":[-0,1e2],"\u0062c":""} "#).unwrap();
    let object = value.as_object().unwrap();
    assert_eq!(object.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["b", "a", "bc"]);
    assert_eq!(object.get("b").unwrap().as_number().unwrap().as_str(), "1.50");
    let a = object.get("a").unwrap().as_array().unwrap();
    assert_eq!(a[0].as_number().unwrap().as_i64(), Some(0));
    assert_eq!(a[1].as_number().unwrap().as_i64(), None);
    assert_eq!(object.get("c"), None);
    assert!(to_canonical(&value).is_err(), "a fraction has no canonical form");
}

#[test]
fn the_size_is_looked_at_before_the_text() {
    let limits = Limits { bytes: 3, depth: 1 };
    assert_eq!(parse(b"\xff\xff\xff\xff", limits).unwrap_err().code, Code::JsonSize);
    assert_eq!(parse(b"\xff\xff\xff", limits).unwrap_err().code, Code::JsonSyntax);
    assert!(parse(b"123", limits).is_ok());
}

#[test]
fn many_members_are_checked_for_repetition_too() {
    let members = |count: usize| (0..count).map(|at| format!("\"n{at}\":{at}")).collect::<Vec<_>>();
    for count in [7, 8, 9, 10, 10_000] {
        let object = format!("{{{}}}", members(count).join(","));
        let value = request(&object).unwrap();
        let object = value.as_object().unwrap();
        assert_eq!(object.len(), count);
        for at in [0, count / 2, count - 1] {
            let number = object.get(&format!("n{at}")).unwrap().as_number().unwrap();
            assert_eq!(number.as_i64(), i64::try_from(at).ok());
        }
        assert_eq!(object.get("n"), None);
        let mut twice = members(count - 2);
        twice.extend(["\"n5\":0".to_owned(), "\"n1\":0".to_owned()]);
        let expected = if count > 7 { "/x/n5" } else { "/x/n1" };
        assert_eq!(
            refused(&format!("{{\"x\":{{{}}}}}", twice.join(","))),
            (Code::JsonDuplicate, Some(expected.to_owned())),
            "{count}"
        );
    }
}

#[test]
fn no_limit_is_deep_enough_to_overflow_the_stack() {
    let limits = Limits { bytes: usize::MAX, depth: usize::MAX };
    for open in ["[", "{\"a\":", "[{\"a\":"] {
        let fault = parse(open.repeat(1_000_000).as_bytes(), limits).unwrap_err();
        assert_eq!(fault.code, Code::JsonDepth);
        assert_eq!(fault.pointer.unwrap().matches('/').count(), 128);
    }
}

#[test]
fn a_fault_does_not_repeat_what_was_sent() {
    for text in ["{\"a\":secret}", "[\"secret", "{\"a\":1,\"a\":\"secret\"}", "[12345678901234567890]"] {
        let fault = request(text).unwrap_err();
        let shown = format!("{fault} {fault:?} {}", serde_json::to_string(&fault).unwrap());
        assert!(!shown.contains("secret") && !shown.contains("1234567890"), "{shown}");
    }
}

#[test]
fn a_fault_is_written_with_its_four_members() {
    let fault = request("{\"a\":{\"b\":1,\"b\":2}}").unwrap_err();
    assert_eq!(
        serde_json::to_value(&fault).unwrap(),
        serde_json::json!({
            "pointer": "/a/b",
            "code": "json.duplicate",
            "expected": "each member name once",
            "found": "a second member of that name",
        })
    );
    assert_eq!(
        fault.to_string(),
        "json.duplicate at `/a/b`: expected each member name once, found a second member of that name"
    );
    let syntax = request("[1,]").unwrap_err();
    assert_eq!(syntax.to_string(), "json.syntax: expected a value, found another character at byte 3");
}

#[test]
fn members_that_nobody_asked_for_are_unknown() {
    let value = request(r#"{"y/":0,"a":1,"x":2}"#).unwrap();
    let at = Pointer::root().member("top");
    let mut members = Members::new(value.as_object().unwrap(), &at);
    assert!(members.take("a").is_some());
    assert!(members.take("b").is_none());
    let mut faults = Vec::new();
    members.finish(&mut faults);
    let found: Vec<_> = faults.iter().map(|fault| (fault.pointer.as_deref().unwrap(), fault.code)).collect();
    assert_eq!(found, [("/top/y~1", Code::JsonUnknown), ("/top/x", Code::JsonUnknown)]);
    assert_eq!(faults[0].expected, "no members but a, b");
}

#[test]
fn a_value_inside_of_a_typed_structure_is_read_as_strictly() {
    let text = r#"{"a":[null,true,-5,"x"],"b":{}}"#;
    let value: Value = serde_json::from_str(text).unwrap();
    assert_eq!(value, request(text).unwrap());
    for bad in
        ["1.0", "1e3", "9007199254740992", "18446744073709551615", r#"{"a":1,"a":1}"#, "[-9007199254740992]"]
    {
        assert!(serde_json::from_str::<Value>(bad).is_err(), "{bad}");
    }
}

/// Texts that are nearly JSON: pieces of it, put together at random.
fn nearly_json() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "\n",
        "\"a\"",
        "\"b\"",
        "\"\"",
        "\"\\u0061\"",
        "\"\\ud834\\udd1e\"",
        "\"\\ud834\"",
        "\"\\q\"",
        "\"é",
        "\"",
        "\\",
        "1",
        "-",
        "0",
        ".5",
        "e3",
        "1.5",
        "-0",
        "1e999",
        "true",
        "false",
        "null",
        "nul",
        "9007199254740992",
        "\u{feff}",
        "\u{1}",
        "{\"a\":",
        "[1,",
        "]}",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Another parser, of which we know where it differs.
fn agrees_with_serde_json(bytes: &[u8]) -> Result<(), TestCaseError> {
    let theirs = serde_json::from_slice::<serde_json::Value>(bytes);
    match parse(bytes, Limits::EVIDENCE_LINE) {
        Ok(value) => {
            let theirs = theirs.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(value.check_canonical(), to_canonical(&value).map(drop));
            if let Ok(canonical) = to_canonical(&value) {
                let expected = serde_json_canonicalizer::to_string(&theirs).unwrap();
                prop_assert_eq!(canonical.as_str(), expected);
            }
        }
        Err(fault) if fault.code == Code::JsonSyntax => prop_assert!(theirs.is_err(), "{}", fault),
        Err(_) => {}
    }
    Ok(())
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in any::<Vec<u8>>()) {
        agrees_with_serde_json(&bytes)?;
    }

    #[test]
    fn a_string_is_read_as_it_was_written(text in "[ -~]{0,40}\\PC{0,3}[\u{0}-\u{1f}\"]{0,2}[ -~]{0,40}") {
        let json = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(request(&json).unwrap(), Value::String(text));
    }

    #[test]
    fn members_come_by_name_whether_few_or_many(names in prop::collection::hash_set("[a-z]{0,3}", 0..20)) {
        let members: Vec<_> = names.iter().map(|name| format!("\"{name}\":\"{name}\"")).collect();
        let Value::Object(mut object) = request(&format!("{{{}}}", members.join(","))).unwrap() else { unreachable!() };
        let ordered: Vec<_> = object.by_name().map(|(name, value)| (name.to_owned(), value.clone())).collect();
        prop_assert_eq!(ordered.len(), names.len());
        prop_assert!(ordered.is_sorted_by(|(a, _), (b, _)| a < b));
        for (name, value) in ordered {
            prop_assert_eq!(value.as_str(), Some(name.as_str()));
            prop_assert_eq!(object.take(&name), Some(value));
            prop_assert_eq!(object.take(&name), Some(Value::Null));
        }
        prop_assert_eq!(object.take("none of them"), None);
    }

    #[test]
    fn broken_json_is_refused_as_another_parser_does(text in nearly_json()) {
        agrees_with_serde_json(text.as_bytes())?;
    }

    #[test]
    fn json_with_one_byte_changed_never_panics(text in nearly_json(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = format!("{{\"k\":[{{\"é\":-1.25e-3}},\"\\u00e9\\n{text}").into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        agrees_with_serde_json(&bytes)?;
    }
}
