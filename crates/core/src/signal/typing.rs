//! From submitted JSON to typed signals, all faults at once.

use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use super::{Attributes, Decimal, ParseSignalError, Signal, Signals, Type};
use crate::canonical::append_canonical;
use crate::json::{Code, Fault, Object, Pointer, Value};

/// Types the signals of a request: `value`, which stands at the place `at`, by `attributes`.
///
/// # Errors
/// Every fault that there is, none of which holds a signal's value.
pub fn type_signals(attributes: &Attributes, value: &Value, at: &Pointer<'_>) -> Result<Signals, Vec<Fault>> {
    typed(attributes, value, at, true)
}

/// Types the signals of a candidate: the same, but none has to be there. What is required inside of a nested
/// record still is.
///
/// # Errors
/// Every fault that there is, none of which holds a signal's value.
pub fn type_some_signals(
    attributes: &Attributes,
    value: &Value,
    at: &Pointer<'_>,
) -> Result<Signals, Vec<Fault>> {
    typed(attributes, value, at, false)
}

fn typed(
    attributes: &Attributes,
    value: &Value,
    at: &Pointer<'_>,
    complete: bool,
) -> Result<Signals, Vec<Fault>> {
    let mut typing = Typing { faults: Vec::new() };
    let signals = match value {
        Value::Object(object) => typing.record(attributes, object, at, complete),
        other => {
            typing.fault(at, Code::SignalType, "an object with the signals", other);
            Signals::default()
        }
    };
    if typing.faults.is_empty() { Ok(signals) } else { Err(typing.faults) }
}

/// What a value of `ty` looks like, in words.
fn expectation(ty: &Type) -> String {
    match ty {
        Type::Bool => "Bool: true or false".to_owned(),
        Type::Long => "Long: an integer without fraction and exponent".to_owned(),
        Type::String => "String: a string".to_owned(),
        Type::Decimal => {
            "decimal: a number, or a string with one, of at most 4 fraction digits, within ±922337203685477.5807"
                .to_owned()
        }
        Type::Datetime => {
            "datetime: a string such as `2026-03-01T10:20:30.000Z` or `2026-03-01`, to the millisecond".to_owned()
        }
        Type::Duration => "duration: a string such as `1d2h`".to_owned(),
        Type::Ipaddr => "ipaddr: a string such as `192.0.2.1` or `10.0.0.0/8`".to_owned(),
        Type::Entity(name) => format!("{name}: an object {{\"type\":\"{name}\",\"id\":…}}"),
        Type::Set(_) => format!("{ty}: an array"),
        Type::Record(_) => "record: an object".to_owned(),
    }
}

/// Collects faults. Where a value has one, the signal that is handed on is of no use and never seen.
struct Typing {
    faults: Vec<Fault>,
}

impl Typing {
    fn fault(&mut self, at: &Pointer<'_>, code: Code, expected: impl Into<String>, found: &Value) {
        self.faults.push(Fault::new(at, code, expected, found.describe()));
    }

    /// The members of a record; `complete`: those that are required must be there.
    fn record(
        &mut self,
        attributes: &Attributes,
        object: &Object,
        at: &Pointer<'_>,
        complete: bool,
    ) -> Signals {
        // In the order of the attributes, which is that of the signals.
        let mut signals = Vec::with_capacity(object.len().min(attributes.len()));
        let mut declared = 0;
        let mut members = object.by_name().peekable();
        for (name, attribute) in attributes.iter() {
            while members.next_if(|(own, _)| *own < &**name).is_some() {}
            if let Some((_, value)) = members.next_if(|(own, _)| *own == &**name) {
                declared += 1;
                if let Some(signal) = self.signal(&attribute.ty, value, &at.member(name)) {
                    signals.push((Arc::clone(name), signal));
                }
            } else if attribute.required && complete {
                let expected = expectation(&attribute.ty);
                self.faults.push(Fault::new(&at.member(name), Code::SignalMissing, expected, "nothing"));
            }
        }
        if declared < object.len() {
            for (name, value) in object.iter().filter(|(name, _)| attributes.get(name).is_none()) {
                let expected = "nothing: the schema has no signal of this name";
                self.fault(&at.member(name), Code::SignalUndeclared, expected, value);
            }
        }
        Signals(signals)
    }

    fn signal(&mut self, ty: &Type, value: &Value, at: &Pointer<'_>) -> Option<Signal> {
        let result = match (ty, value) {
            (_, Value::Null) => {
                let expected = format!("{}; leave it out where it is not known", expectation(ty));
                self.fault(at, Code::SignalNull, expected, value);
                return None;
            }
            (Type::Bool, Value::Bool(value)) => Ok(Signal::Bool(*value)),
            (Type::Long, Value::Number(number)) => {
                number.as_i64().map(Signal::Long).ok_or(ParseSignalError::Form)
            }
            (Type::String, Value::String(text)) => Ok(Signal::String(text.as_str().into())),
            (Type::Decimal, Value::Number(number)) => {
                Decimal::from_json_number(number.as_str()).map(Signal::Decimal)
            }
            (Type::Decimal, Value::String(text)) => parse(text, Signal::Decimal),
            (Type::Datetime, Value::String(text)) => parse(text, Signal::Datetime),
            (Type::Duration, Value::String(text)) => parse(text, Signal::Duration),
            (Type::Ipaddr, Value::String(text)) => parse(text, Signal::Ipaddr),
            (Type::Entity(type_name), Value::Object(object)) => {
                entity(type_name, object).ok_or(ParseSignalError::Form)
            }
            (Type::Set(element), Value::Array(elements)) => return self.set(element, elements, at),
            (Type::Record(attributes), Value::Object(object)) => {
                return Some(Signal::Record(self.record(attributes, object, at, true)));
            }
            _ => Err(ParseSignalError::Form),
        };
        result.map_err(|error| self.fault(at, code(error), expectation(ty), value)).ok()
    }

    fn set(&mut self, ty: &Type, elements: &[Value], at: &Pointer<'_>) -> Option<Signal> {
        let before = self.faults.len();
        let signals: Vec<Signal> = elements
            .iter()
            .enumerate()
            .filter_map(|(index, element)| self.signal(ty, element, &at.index(index)))
            .collect();
        if self.faults.len() > before {
            return None;
        }
        let mut canonical = String::new();
        let mut keyed = Vec::with_capacity(signals.len());
        for signal in signals {
            let start = canonical.len();
            if append_canonical(&signal, &mut canonical).is_err() {
                // What was typed has a canonical form; if ever one had none, it is refused rather than left out.
                self.fault(at, Code::SignalRange, "elements with a canonical form", &Value::Null);
                return None;
            }
            keyed.push((start..canonical.len(), signal));
        }
        let bytes = |element: &Range<usize>| canonical.as_bytes().get(element.clone()).unwrap_or_default();
        keyed.sort_by(|(a, _), (b, _)| bytes(a).cmp(bytes(b)));
        keyed.dedup_by(|(a, _), (b, _)| bytes(a) == bytes(b));
        Some(Signal::Set(keyed.into_iter().map(|(_, signal)| signal).collect()))
    }
}

fn code(error: ParseSignalError) -> Code {
    match error {
        ParseSignalError::Form => Code::SignalType,
        ParseSignalError::Range => Code::SignalRange,
        ParseSignalError::Precision => Code::SignalPrecision,
    }
}

fn parse<T: FromStr<Err = ParseSignalError>>(
    text: &str,
    signal: fn(T) -> Signal,
) -> Result<Signal, ParseSignalError> {
    text.parse().map(signal)
}

/// `{"type": type_name, "id": text}` and nothing else.
fn entity(type_name: &Arc<str>, object: &Object) -> Option<Signal> {
    let is_type = object.get("type").and_then(Value::as_str) == Some(type_name);
    let id = object.get("id").and_then(Value::as_str)?;
    (is_type && object.len() == 2).then(|| Signal::Entity { type_name: Arc::clone(type_name), id: id.into() })
}
