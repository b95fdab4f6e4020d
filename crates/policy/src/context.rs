//! Typed signals as a Cedar context, without a way through JSON.
//!
//! Formats §2 on the left, Cedar's restricted expressions on the right; extension values are made by Cedar's own
//! constructors from the canonical text.
//!
//! Cedar parses a name wherever it is given as text, and its public constructors give the names of their functions as
//! text: that takes longer than evaluating ten policies. So names are parsed once and kept.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::LazyLock;

use cedar_policy::{Context, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use cedar_policy_core::ast::{Name, RestrictedExpr};
use chancery_core::signal::{Signal, Signals};

/// How many type names a thread keeps. A schema has at most 500; more only cost time.
const TYPE_NAMES_MAX: usize = 1_000;

/// The names of the extension functions; `None` is never met, for Cedar has them all.
static FUNCTIONS: LazyLock<Option<Functions>> = LazyLock::new(|| {
    let name = |text: &str| Some(Name::unqualified_name(text.parse().ok()?));
    Some(Functions {
        decimal: name("decimal")?,
        datetime: name("datetime")?,
        duration: name("duration")?,
        ip: name("ip")?,
    })
});

struct Functions {
    decimal: Name,
    datetime: Name,
    duration: Name,
    ip: Name,
}

thread_local! {
    static TYPE_NAMES: RefCell<HashMap<Box<str>, EntityTypeName>> = RefCell::new(HashMap::new());
}

/// The context of these signals. Cloning it is cheap; build it once for all actions.
///
/// Never `None` for signals of the types that [`crate::Bundle::attributes`] can have: each canonical value is one
/// that Cedar's constructors take.
pub(crate) fn context(signals: &Signals) -> Option<Context> {
    let pairs = signals.iter().map(|(name, signal)| Some((name.to_string(), expression(signal)?)));
    Context::from_pairs(pairs.collect::<Option<Vec<_>>>()?).ok()
}

fn expression(signal: &Signal) -> Option<RestrictedExpression> {
    Some(match signal {
        Signal::Bool(value) => RestrictedExpression::new_bool(*value),
        Signal::Long(value) => RestrictedExpression::new_long(*value),
        Signal::String(text) => RestrictedExpression::new_string(text.to_string()),
        Signal::Decimal(value) => call(&FUNCTIONS.as_ref()?.decimal, value.to_string()),
        Signal::Datetime(value) => call(&FUNCTIONS.as_ref()?.datetime, value.to_string()),
        Signal::Duration(value) => call(&FUNCTIONS.as_ref()?.duration, value.to_string()),
        Signal::Ipaddr(value) => call(&FUNCTIONS.as_ref()?.ip, value.to_string()),
        Signal::Entity { type_name, id } => RestrictedExpression::new_entity_uid(uid(type_name, id)?),
        Signal::Set(elements) => {
            RestrictedExpression::new_set(elements.iter().map(expression).collect::<Option<Vec<_>>>()?)
        }
        Signal::Record(members) => {
            let members = members.iter().map(|(name, signal)| Some((name.to_string(), expression(signal)?)));
            RestrictedExpression::new_record(members.collect::<Option<Vec<_>>>()?).ok()?
        }
    })
}

/// What Cedar's `new_decimal` and the like make of a text.
fn call(function: &Name, text: String) -> RestrictedExpression {
    RestrictedExpr::call_extension_fn(function.clone(), [RestrictedExpr::val(text)]).into()
}

/// Cedar's uid; `None` if the type name is none of Cedar's.
pub(crate) fn uid(type_name: &str, id: &str) -> Option<EntityUid> {
    Some(EntityUid::from_type_name_and_id(named(type_name)?, EntityId::new(id)))
}

fn named(type_name: &str) -> Option<EntityTypeName> {
    TYPE_NAMES.with_borrow_mut(|names| {
        if let Some(name) = names.get(type_name) {
            return Some(name.clone());
        }
        let name: EntityTypeName = type_name.parse().ok()?;
        if names.len() < TYPE_NAMES_MAX {
            names.insert(type_name.into(), name.clone());
        }
        Some(name)
    })
}
