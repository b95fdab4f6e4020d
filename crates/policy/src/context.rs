//! Typed signals as Cedar's values, without a way through JSON or expressions.
//!
//! ```text
//! when { context.amount > 1000 && context has provider }     reads amount and provider, so the context
//! {amount: 1500, lost: 2026-03-01, …forty more}              of a request of this policy is {amount: 1500}
//! ```
//!
//! Formats §2 has the types. Cedar makes decimals, datetimes and the like only from text, with regular expressions,
//! and parses a name wherever it is given as text. Either takes longer than evaluating a policy. So a signal becomes
//! a value only where a policy can read it, and constructors and names are looked up once and kept.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::LazyLock;

use cedar_policy_core::FromNormalizedStr as _;
use cedar_policy_core::ast::{
    Context, Eid, EntityType, EntityUID, EntityUIDEntry, ExtensionFunction, Name, PartialValue, Value,
    ValueKind,
};
use cedar_policy_core::extensions::Extensions;
use chancery_core::ids::EntityUid;
use chancery_core::signal::{Signal, Signals};

/// How many type names a thread keeps. A schema has at most 500; more only cost time.
const TYPE_NAMES_MAX: usize = 1_000;

/// `None` is never met, for Cedar has them all.
static CONSTRUCTORS: LazyLock<Option<Constructors>> = LazyLock::new(|| {
    let function = |name: &str| {
        let name = Name::unqualified_name(name.parse().ok()?);
        Extensions::all_available().func(&name).ok()
    };
    Some(Constructors {
        decimal: function("decimal")?,
        datetime: function("datetime")?,
        duration: function("duration")?,
        ip: function("ip")?,
    })
});

struct Constructors {
    decimal: &'static ExtensionFunction,
    datetime: &'static ExtensionFunction,
    duration: &'static ExtensionFunction,
    ip: &'static ExtensionFunction,
}

thread_local! {
    static TYPE_NAMES: RefCell<HashMap<Box<str>, EntityType>> = RefCell::new(HashMap::new());
}

/// The context of all signals; `None` if they are not [`representable`].
pub(crate) fn whole(signals: &Signals) -> Option<Context> {
    context(signals.iter().map(|(name, signal)| (&**name, signal)))
}

/// The context of those signals that have one of these names; `None` if they are not [`representable`].
pub(crate) fn only<'n>(names: impl Iterator<Item = &'n str>, signals: &Signals) -> Option<Context> {
    context(names.filter_map(|name| Some((name, signals.get(name)?))))
}

/// Has every signal a value in Cedar? Always where a bundle typed them: what can fail is the name of an entity's
/// type alone, and there it is one of the schema's. All other types have a value for each canonical text.
pub(crate) fn representable(signals: &Signals) -> bool {
    fn has_value(signal: &Signal) -> bool {
        match signal {
            Signal::Entity { type_name, .. } => named(type_name).is_some(),
            Signal::Set(elements) => elements.iter().all(has_value),
            Signal::Record(members) => representable(members),
            Signal::Bool(_)
            | Signal::Long(_)
            | Signal::String(_)
            | Signal::Decimal(_)
            | Signal::Datetime(_)
            | Signal::Duration(_)
            | Signal::Ipaddr(_) => true,
        }
    }
    signals.iter().all(|(_, signal)| has_value(signal))
}

/// A principal or resource for Cedar; `None` if the type name is none of Cedar's.
pub(crate) fn entry(uid: &EntityUid) -> Option<EntityUIDEntry> {
    Some(EntityUIDEntry::known(entity(uid.type_name(), uid.id())?, None))
}

fn context<'s>(signals: impl Iterator<Item = (&'s str, &'s Signal)>) -> Option<Context> {
    match record(signals)?.value {
        ValueKind::Record(members) => Some(Context::Value(members)),
        _ => None,
    }
}

fn record<'s>(members: impl Iterator<Item = (&'s str, &'s Signal)>) -> Option<Value> {
    let members = members.map(|(name, signal)| Some((name, value(signal)?)));
    Some(Value::record(members.collect::<Option<Vec<_>>>()?, None))
}

fn value(signal: &Signal) -> Option<Value> {
    let constructors = || CONSTRUCTORS.as_ref();
    Some(match signal {
        Signal::Bool(value) => (*value).into(),
        Signal::Long(value) => (*value).into(),
        Signal::String(text) => (&**text).into(),
        Signal::Decimal(value) => call(constructors()?.decimal, value.to_string())?,
        Signal::Datetime(value) => call(constructors()?.datetime, value.to_string())?,
        Signal::Duration(value) => call(constructors()?.duration, value.to_string())?,
        Signal::Ipaddr(value) => call(constructors()?.ip, value.to_string())?,
        Signal::Entity { type_name, id } => entity(type_name, id)?.into(),
        Signal::Set(elements) => Value::set(elements.iter().map(value).collect::<Option<Vec<_>>>()?, None),
        Signal::Record(members) => record(members.iter().map(|(name, signal)| (&**name, signal)))?,
    })
}

fn call(constructor: &ExtensionFunction, text: String) -> Option<Value> {
    match constructor.call(&[text.into()]).ok()? {
        PartialValue::Value(value) => Some(value),
        PartialValue::Residual(_) => None,
    }
}

fn entity(type_name: &str, id: &str) -> Option<EntityUID> {
    Some(EntityUID::from_components(named(type_name)?, Eid::new(id), None))
}

fn named(type_name: &str) -> Option<EntityType> {
    TYPE_NAMES.with_borrow_mut(|names| {
        if let Some(name) = names.get(type_name) {
            return Some(name.clone());
        }
        let name = EntityType::from(Name::from_normalized_str(type_name).ok()?);
        if names.len() < TYPE_NAMES_MAX {
            names.insert(type_name.into(), name.clone());
        }
        Some(name)
    })
}

#[cfg(test)]
mod tests;
