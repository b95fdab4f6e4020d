//! Whether disclosed values are the canonical ones of their types (formats §2).
//!
//! What was committed to is known by then, and so is what was typed of it: the two are compared member by member, which
//! costs a tenth of writing both out.

use std::fmt::{self, Display, Write};

use chancery_core::commitment::Candidate;
use chancery_core::json::Value;
use chancery_core::signal::{Signal, Signals};

/// Is `given` the canonical value of the signals that were typed of it?
///
/// The order of members and the spelling of integers do not matter here: a line that has them otherwise than the
/// canonical form is refused as a line.
pub(crate) fn is_canonical(typed: &Signals, given: &Value) -> bool {
    let Value::Object(given) = given else { return false };
    typed.len() == given.len()
        && typed.iter().all(|(name, signal)| given.get(name).is_some_and(|value| same(signal, value)))
}

/// As [`is_canonical`], for a list of candidates.
pub(crate) fn all_canonical(typed: &[Candidate], given: &Value) -> bool {
    let Value::Array(given) = given else { return false };
    typed.len() == given.len()
        && typed.iter().zip(given).all(|(candidate, value)| {
            let Value::Object(object) = value else { return false };
            let id = object.get("id").and_then(Value::as_str);
            id == Some(candidate.id.as_str())
                && object.get("signals").is_some_and(|signals| is_canonical(&candidate.signals, signals))
        })
}

fn same(signal: &Signal, value: &Value) -> bool {
    match (signal, value) {
        (Signal::Bool(signal), Value::Bool(value)) => signal == value,
        (Signal::Long(signal), Value::Number(value)) => value.as_i64() == Some(*signal),
        (Signal::String(signal), Value::String(value)) => **signal == **value,
        (Signal::Decimal(signal), Value::String(value)) => is_written(signal, value),
        (Signal::Datetime(signal), Value::String(value)) => is_written(signal, value),
        (Signal::Duration(signal), Value::String(value)) => is_written(signal, value),
        (Signal::Ipaddr(signal), Value::String(value)) => is_written(signal, value),
        (Signal::Entity { type_name, id }, Value::Object(value)) => {
            let text = |name| value.get(name).and_then(Value::as_str);
            value.len() == 2 && text("type") == Some(type_name) && text("id") == Some(id)
        }
        (Signal::Set(signals), Value::Array(values)) => {
            signals.len() == values.len()
                && signals.iter().zip(values).all(|(signal, value)| same(signal, value))
        }
        (Signal::Record(signals), value @ Value::Object(_)) => is_canonical(signals, value),
        _ => false,
    }
}

/// Whether `value` prints as `text`, without printing it anywhere.
fn is_written(value: &impl Display, text: &str) -> bool {
    struct Rest<'a>(&'a str);
    impl Write for Rest<'_> {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(part).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    let mut rest = Rest(text);
    write!(rest, "{value}").is_ok() && rest.0.is_empty()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chancery_core::canonical::to_canonical;
    use chancery_core::json::{Limits, Pointer, parse};
    use chancery_core::signal::{Attribute, Attributes, Type, type_signals};

    use super::*;

    fn attributes() -> Attributes {
        let nested = [("n".into(), Attribute { ty: Type::Decimal, required: false })].into_iter().collect();
        [
            ("bool", Type::Bool),
            ("long", Type::Long),
            ("string", Type::String),
            ("decimal", Type::Decimal),
            ("datetime", Type::Datetime),
            ("duration", Type::Duration),
            ("ip", Type::Ipaddr),
            ("entity", Type::Entity("Provider".into())),
            ("set", Type::Set(Box::new(Type::Decimal))),
            ("record", Type::Record(nested)),
        ]
        .into_iter()
        .map(|(name, ty)| (Arc::from(name), Attribute { ty, required: false }))
        .collect()
    }

    #[test]
    fn a_value_is_canonical_exactly_where_its_bytes_are() {
        for (text, canonical) in [
            ("{}", true),
            ("{\"bool\":true,\"long\":-3,\"string\":\"18.00\"}", true),
            ("{\"decimal\":\"18.0\"}", true),
            ("{\"decimal\":\"18.00\"}", false),
            ("{\"decimal\":18.0}", false),
            ("{\"datetime\":\"2026-03-01T10:20:30.000Z\"}", true),
            ("{\"datetime\":\"2026-03-01\"}", false),
            ("{\"duration\":\"1000ms\"}", true),
            ("{\"duration\":\"1s\"}", false),
            ("{\"ip\":\"10.0.0.0/8\"}", true),
            ("{\"ip\":\"10.0.0.1\"}", false),
            ("{\"entity\":{\"id\":\"p\",\"type\":\"Provider\"}}", true),
            ("{\"set\":[\"1.0\",\"2.0\"]}", true),
            ("{\"set\":[\"2.0\",\"1.0\"]}", false),
            ("{\"set\":[\"1.0\",\"1.0\"]}", false),
            ("{\"record\":{\"n\":\"0.5\"}}", true),
            ("{\"record\":{\"n\":\"0.50\"}}", false),
        ] {
            let given = parse(text.as_bytes(), Limits::REQUEST).unwrap();
            let typed = type_signals(&attributes(), &given, Pointer::root()).unwrap();
            assert_eq!(is_canonical(&typed, &given), canonical, "{text}");
            assert_eq!(to_canonical(&typed).unwrap().as_str() == text, canonical, "{text}");
        }
    }
}
