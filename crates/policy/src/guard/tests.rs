use std::collections::BTreeMap;
use std::path::Path;

use chancery_core::signal::{Attributes, Datetime, Duration, Type};
use proptest::prelude::*;

use super::*;
use crate::Bundle;
use crate::evaluate::tests::agrees;
use crate::testing::{bundle, signals};

const SCHEMA: &str = r#"entity System;
entity Claim;
type Signals = {
    amount: Long, limit?: Long, kind: String, tags?: Set<String>, open?: Bool, score?: decimal,
    lost: datetime, told?: datetime, wait?: duration, owner?: System, place?: { country: String },
};
action deny, refer, approve appliesTo { principal: System, resource: Claim, context: Signals };
"#;

/// A bundle whose policy `p` has this condition, and is the only one in the slice of `deny`.
fn with_condition(condition: &str) -> Bundle {
    let policies = format!(
        "@id(\"p\") permit (principal, action == Action::\"deny\", resource) when {{ {condition} }};\n\
         @id(\"q\") permit (principal, action == Action::\"refer\", resource);\n\
         @id(\"r\") permit (principal, action == Action::\"approve\", resource);"
    );
    bundle(&[("schema.cedarschema", SCHEMA), ("claims.cedar", &policies)])
}

/// Whether the guard of that policy rules it out for these signals.
fn ruled_out(condition: &str, request: &str) -> bool {
    let bundle = with_condition(condition);
    let signals = signals(&bundle, request);
    agrees(&bundle, &signals).unwrap();
    let policy = &bundle.slices()[0].policies[0];
    policy.guard.rules_out(&Slots::new(bundle.attributes(), &signals))
}

const REQUEST: &str = r#"{"amount": 500, "kind": "theft", "tags": ["a", "b"], "open": false, "score": "0.5",
    "lost": "2026-03-01", "told": "2026-03-05", "wait": "2d"}"#;

#[test]
fn what_is_false_for_sure_is_ruled_out() {
    for condition in [
        "false",
        "context.amount > 500",
        "context.amount < 500 || context.amount != 500",
        "context.amount + 1 <= 500 && context has owner",
        "context.amount * 2 - 1 == 1000",
        "context.kind == \"fire\"",
        "context.kind != \"theft\"",
        "[\"fire\", \"water\"].contains(context.kind)",
        "context has tags && context.tags.contains(\"c\")",
        "context has limit && context.limit > 0",
        "!(context has open)",
        "context has open && context.open",
        "context has score && context.score.greaterThanOrEqual(decimal(\"0.8\"))",
        "context has score && context.score.lessThan(decimal(\"0.50\"))",
        "context.lost >= datetime(\"2026-03-02\")",
        "context has told && context.told.durationSince(context.lost) > duration(\"4d\")",
        "context has wait && context.wait < duration(\"2d\")",
        "context has told && context.told < context.lost",
    ] {
        assert!(ruled_out(condition, REQUEST), "{condition}");
    }
}

#[test]
fn what_is_true_or_fails_or_is_not_understood_is_left_to_cedar() {
    for condition in [
        "true",
        "context.amount == 500",
        "context.amount * 9007199254740991 * 9007199254740991 < 0",
        "context.amount * 9007199254740991 * 9007199254740991 < 0 && false",
        "context has owner || context.kind like \"t*\"",
        "context.kind like \"f*\"",
        "context.kind like \"f*\" && false",
        "context has place && context.place.country == \"NO\" || context.kind like \"f*\"",
        "if context.amount > 1 then false else true",
        "principal == System::\"nobody\"",
        "context.lost.toDate() != context.lost",
        "context.lost < datetime(\"2026-03-01T00:00:00+0100\")",
    ] {
        assert!(!ruled_out(condition, REQUEST), "{condition}");
    }
}

#[test]
fn the_bundles_of_the_repository_agree_with_cedar_on_any_signals() {
    for folder in ["claim-approval", "loan-approval", "payment-release"] {
        let bundle = repository_bundle(folder);
        let pools = Pools::of(&bundle);
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            cases: 200,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let any = any_signals(bundle.attributes(), &pools);
        let mut ruled_out = 0;
        let mut policies = 0;
        let seen = std::cell::RefCell::new((&mut ruled_out, &mut policies));
        runner
            .run(&any, |signals| {
                let slots = Slots::new(bundle.attributes(), &signals);
                let mut seen = seen.borrow_mut();
                for policy in bundle.slices().iter().flat_map(|slice| &slice.policies) {
                    *seen.1 += 1;
                    *seen.0 += usize::from(policy.guard.rules_out(&slots));
                }
                agrees(&bundle, &signals)
            })
            .unwrap();
        // A guard that rules nothing out would agree, too.
        assert!(ruled_out * 2 > policies, "{folder}: {ruled_out} of {policies}");
    }
}

fn repository_bundle(name: &str) -> Bundle {
    fn read(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(root, &path, files);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies").join(name).join("1.0.0");
    let mut files = BTreeMap::new();
    read(&root, &root, &mut files);
    Bundle::from_files(files).unwrap_or_else(|error| panic!("{error}"))
}

/// The literals of a bundle's policies: values at which something changes.
struct Pools {
    longs: Vec<i64>,
    texts: Vec<String>,
    decimals: Vec<i64>,
    days: Vec<i64>,
}

impl Pools {
    fn of(bundle: &Bundle) -> Self {
        let mut pools = Self { longs: vec![0], texts: vec![String::new()], decimals: vec![0], days: vec![0] };
        for policy in bundle.slices().iter().flat_map(|slice| &slice.policies) {
            for part in policy.condition.subexpressions() {
                match part.expr_kind() {
                    ExprKind::Lit(Literal::Long(value)) => pools.longs.push(*value),
                    ExprKind::Lit(Literal::String(text)) => {
                        pools.texts.push(text.to_string());
                        pools.decimals.extend(Decimal::from_json_number(text).map(Decimal::units));
                        pools.days.extend(text.parse::<Duration>().map(|length| length.as_ms() / 86_400_000));
                    }
                    _ => {}
                }
            }
        }
        pools
    }
}

fn any_signals(attributes: &Attributes, pools: &Pools) -> BoxedStrategy<Signals> {
    let mut all: BoxedStrategy<Vec<(std::sync::Arc<str>, Signal)>> = Just(Vec::new()).boxed();
    for (name, attribute) in attributes.iter() {
        let name = name.clone();
        let there = if attribute.required { Just(true).boxed() } else { any::<bool>().boxed() };
        all = (all, there, any_signal(&attribute.ty, pools))
            .prop_map(move |(mut all, there, signal)| {
                if there {
                    all.push((name.clone(), signal));
                }
                all
            })
            .boxed();
    }
    all.prop_map(|all| all.into_iter().collect()).boxed()
}

fn any_signal(ty: &Type, pools: &Pools) -> BoxedStrategy<Signal> {
    let texts = proptest::sample::select(pools.texts.clone());
    match ty {
        Type::Bool => any::<bool>().prop_map(Signal::Bool).boxed(),
        Type::Long => (proptest::sample::select(pools.longs.clone()), -1_i64..=1)
            .prop_map(|(value, step)| Signal::Long(value + step))
            .boxed(),
        Type::String => texts.prop_map(|text| Signal::String(text.into())).boxed(),
        Type::Decimal => (proptest::sample::select(pools.decimals.clone()), -1_i64..=1)
            .prop_map(|(units, step)| Signal::Decimal(Decimal::from_units(units + step)))
            .boxed(),
        // Around one day, as far from it as the policies' durations reach.
        Type::Datetime => (proptest::sample::select(pools.days.clone()), -1_i64..=1, any::<bool>())
            .prop_map(|(days, step, before)| {
                let days = 20_000 + step + if before { -days } else { days };
                Signal::Datetime(Datetime::from_unix_ms(days * 86_400_000).unwrap())
            })
            .boxed(),
        Type::Duration => proptest::sample::select(pools.days.clone())
            .prop_map(|days| Signal::Duration(Duration::from_ms(days * 86_400_000).unwrap()))
            .boxed(),
        Type::Ipaddr => Just(Signal::Ipaddr("192.0.2.1".parse().unwrap())).boxed(),
        Type::Entity(type_name) => {
            let type_name = type_name.clone();
            texts.prop_map(move |id| Signal::Entity { type_name: type_name.clone(), id: id.into() }).boxed()
        }
        Type::Set(element) => {
            proptest::collection::vec(any_signal(element, pools), 0..3).prop_map(Signal::Set).boxed()
        }
        Type::Record(attributes) => any_signals(attributes, pools).prop_map(Signal::Record).boxed(),
    }
}
