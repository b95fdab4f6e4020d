use cedar_policy::{EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use chancery_core::signal::{Datetime, Decimal, Duration, Ip};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

/// The same by Cedar's public constructors and its evaluator.
fn slowly(signals: &Signals) -> Option<Context> {
    let pairs = signals.iter().map(|(name, signal)| Some((name.to_string(), expression(signal)?)));
    let context = cedar_policy::Context::from_pairs(pairs.collect::<Option<Vec<_>>>()?).ok()?;
    Some(context.as_ref().clone())
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
        Signal::Entity { type_name, id } => {
            let type_name: EntityTypeName = type_name.parse().ok()?;
            let uid = EntityUid::from_type_name_and_id(type_name, EntityId::new(id));
            RestrictedExpression::new_entity_uid(uid)
        }
        Signal::Set(elements) => {
            RestrictedExpression::new_set(elements.iter().map(expression).collect::<Option<Vec<_>>>()?)
        }
        Signal::Record(members) => {
            let members = members.iter().map(|(name, signal)| Some((name.to_string(), expression(signal)?)));
            RestrictedExpression::new_record(members.collect::<Option<Vec<_>>>()?).ok()?
        }
    })
}

fn any_signal() -> impl Strategy<Value = Signal> {
    let type_names =
        prop_oneof![Just("Provider"), Just("A::B"), Just("no type"), Just("A :: B"), Just("if"), Just(""),];
    let leaf = prop_oneof![
        any::<bool>().prop_map(Signal::Bool),
        any::<i64>().prop_map(Signal::Long),
        any::<String>().prop_map(|text| Signal::String(text.into())),
        any::<i64>().prop_map(|units| Signal::Decimal(Decimal::from_units(units))),
        any::<i64>().prop_filter_map("a year of four digits", |ms| {
            Datetime::from_unix_ms(ms % 300_000_000_000_000).map(Signal::Datetime)
        }),
        any::<i64>().prop_filter_map("not the least", |ms| Duration::from_ms(ms).map(Signal::Duration)),
        (any::<std::net::IpAddr>(), 0..=128_u8).prop_filter_map("a prefix", |(address, prefix)| {
            Ip::new(address, prefix).map(Signal::Ipaddr)
        }),
        (type_names, any::<String>())
            .prop_map(|(type_name, id)| Signal::Entity { type_name: type_name.into(), id: id.into() }),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Signal::Set),
            signals_of(inner).prop_map(Signal::Record),
        ]
    })
}

fn signals_of(signal: impl Strategy<Value = Signal>) -> impl Strategy<Value = Signals> {
    btree_map(any::<String>(), signal, 0..5)
        .prop_map(|all| all.into_iter().map(|(name, signal)| (name.into(), signal)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn values_are_those_that_cedar_makes_of_expressions(signals in signals_of(any_signal())) {
        let expected = slowly(&signals);
        prop_assert_eq!(representable(&signals), expected.is_some());
        prop_assert_eq!(whole(&signals), expected);
    }
}

#[test]
fn a_part_has_what_is_named_and_there() {
    let signals: Signals = [("a", 1), ("b", 2), ("c", 3)]
        .map(|(name, value)| (name.into(), Signal::Long(value)))
        .into_iter()
        .collect();
    let expected: Signals = [("b".into(), Signal::Long(2))].into_iter().collect();
    assert_eq!(only(["b", "x"].into_iter(), &signals), whole(&expected));
    assert_eq!(only(std::iter::empty(), &signals), Some(Context::empty()));
}
