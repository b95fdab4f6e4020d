//! Reads `cases/*.json`.

use std::collections::BTreeSet;

use chancery_core::json::{self, Code, Fault as JsonFault, Limits, Members, Object, Pointer, Value};
use chancery_core::statement::ExecutionState;

use super::{Case, Expect};
use crate::fault::{Cause, Fault};
use crate::limits::{CASES_MAX, FILE_BYTES_MAX};

/// A request has depth 32; a case adds the list that it may stand in.
const JSON_LIMITS: Limits = Limits { bytes: FILE_BYTES_MAX, depth: 33 };

/// Reads the files (path, text); adds faults.
pub(crate) fn load<'t>(
    files: impl Iterator<Item = (&'t str, &'t str)>,
    faults: &mut Vec<Fault>,
) -> Vec<Case> {
    let mut cases = Vec::new();
    for (file, text) in files {
        let value = match json::parse(text.as_bytes(), JSON_LIMITS) {
            Ok(value) => value,
            Err(fault) => {
                faults.push(Fault::new(file, Cause::Json(fault)));
                continue;
            }
        };
        let before = cases.len();
        let mut found = Vec::new();
        match &value {
            Value::Array(list) => {
                for (index, value) in list.iter().enumerate() {
                    cases.extend(case(file, value, &Pointer::root().index(index), &mut found));
                }
            }
            value => cases.extend(case(file, value, Pointer::root(), &mut found)),
        }
        faults.extend(found.into_iter().map(|fault| Fault::new(file, Cause::Json(fault))));
        let mut names = BTreeSet::new();
        for case in cases.iter().skip(before) {
            if !names.insert(&case.name) {
                faults.push(Fault::new(file, Cause::CaseTwice { name: case.name.clone() }));
            }
        }
    }
    if cases.len() > CASES_MAX {
        let (max, got) = (CASES_MAX, cases.len());
        faults.push(Fault::new("cases", Cause::TooMany { what: "cases", max, got }));
    }
    cases
}

fn object<'v>(value: &'v Value, at: &Pointer<'_>, faults: &mut Vec<JsonFault>) -> Option<&'v Object> {
    let object = value.as_object();
    if object.is_none() {
        faults.push(JsonFault::new(at, Code::SignalType, "an object", value.describe()));
    }
    object
}

fn missing(at: &Pointer<'_>) -> JsonFault {
    JsonFault::new(at, Code::SignalMissing, "this member", "nothing")
}

/// A text, if the member is there.
fn text(value: Option<&Value>, at: &Pointer<'_>, faults: &mut Vec<JsonFault>) -> Option<String> {
    let value = value?;
    match value.as_str() {
        Some(text) if !text.is_empty() => Some(text.to_owned()),
        _ => {
            faults.push(JsonFault::new(at, Code::SignalType, "a text that is not empty", value.describe()));
            None
        }
    }
}

fn required(value: Option<&Value>, at: &Pointer<'_>, faults: &mut Vec<JsonFault>) -> Option<String> {
    if value.is_none() {
        faults.push(missing(at));
    }
    text(value, at, faults)
}

fn texts(value: Option<&Value>, at: &Pointer<'_>, faults: &mut Vec<JsonFault>) -> Option<BTreeSet<String>> {
    let value = value?;
    let Some(elements) = value.as_array() else {
        faults.push(JsonFault::new(at, Code::SignalType, "an array of texts", value.describe()));
        return None;
    };
    let elements = elements.iter().enumerate();
    Some(elements.filter_map(|(index, element)| text(Some(element), &at.index(index), faults)).collect())
}

fn case(file: &str, value: &Value, at: &Pointer<'_>, faults: &mut Vec<JsonFault>) -> Option<Case> {
    let mut members = Members::new(object(value, at, faults)?, at);
    let name = required(members.take("name"), &at.member("name"), faults);
    let signals = members.take("signals");
    if signals.is_none() {
        faults.push(missing(&at.member("signals")));
    }
    let principal = text(members.take("principal"), &at.member("principal"), faults);
    let resource = text(members.take("resource"), &at.member("resource"), faults);
    let candidates = members.take("candidates").cloned();
    let expected = members.take("expect");
    if expected.is_none() {
        faults.push(missing(&at.member("expect")));
    }
    let expect = expected.and_then(|value| expect(value, &at.member("expect"), faults));
    members.finish(faults);
    let file = file.to_owned();
    Some(Case {
        file,
        name: name?,
        principal,
        resource,
        signals: signals?.clone(),
        candidates,
        expect: expect?,
    })
}

fn expect(value: &Value, at: &Pointer<'_>, faults: &mut Vec<JsonFault>) -> Option<Expect> {
    let mut members = Members::new(object(value, at, faults)?, at);
    let outcome = required(members.take("outcome"), &at.member("outcome"), faults);
    let state = members.take("state");
    let state = text(state, &at.member("state"), faults).and_then(|name| {
        let states = [ExecutionState::Completed, ExecutionState::PendingOverride, ExecutionState::Blocked];
        let state = states.into_iter().find(|state| state.as_str() == name);
        if state.is_none() {
            let expected = "`completed`, `pending_override` or `blocked`";
            let fault = JsonFault::new(&at.member("state"), Code::SignalType, expected, "another text");
            faults.push(fault);
        }
        state
    });
    let reasons = texts(members.take("reasons"), &at.member("reasons"), faults);
    let determining = texts(members.take("determining"), &at.member("determining"), faults);
    let errors = texts(members.take("errors"), &at.member("errors"), faults);
    members.finish(faults);
    Some(Expect { outcome: outcome?, state, reasons, determining, errors })
}
