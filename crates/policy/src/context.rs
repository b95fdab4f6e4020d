//! Typed signals as a Cedar context, without a way through JSON.
//!
//! Formats §2 on the left, Cedar's restricted expressions on the right; extension values are made by Cedar's own
//! constructors from the canonical text.

use cedar_policy::{Context, EntityId, EntityUid, RestrictedExpression};
use chancery_core::signal::{Signal, Signals};

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
        Signal::Decimal(value) => RestrictedExpression::new_decimal(value.to_string()),
        Signal::Datetime(value) => RestrictedExpression::new_datetime(value.to_string()),
        Signal::Duration(value) => RestrictedExpression::new_duration(value.to_string()),
        Signal::Ipaddr(value) => RestrictedExpression::new_ip(value.to_string()),
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

/// Cedar's uid; `None` if the type name is none of Cedar's.
pub(crate) fn uid(type_name: &str, id: &str) -> Option<EntityUid> {
    Some(EntityUid::from_type_name_and_id(type_name.parse().ok()?, EntityId::new(id)))
}
