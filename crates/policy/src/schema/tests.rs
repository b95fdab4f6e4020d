use chancery_core::signal::{Attribute, Type};

use super::*;
use crate::testing::{self, MANIFEST, POLICIES, SCHEMA};

/// A schema whose three actions have this context.
fn schema(declarations: &str, context: &str) -> String {
    format!(
        "{declarations} entity System; entity Claim; action deny, refer, approve \
         appliesTo {{ principal: System, resource: Claim, context: {context} }};"
    )
}

const NO_POLICY: &str = "@id(\"p\") permit (principal, action, resource);";

fn faults(text: &str) -> Vec<String> {
    testing::faults(&[("schema.cedarschema", text), ("claims.cedar", NO_POLICY)])
}

fn attributes(declarations: &str, context: &str) -> Attributes {
    let text = schema(declarations, context);
    let bundle = testing::bundle(&[("schema.cedarschema", &text), ("claims.cedar", NO_POLICY)]);
    bundle.attributes().clone()
}

fn attribute(ty: Type, required: bool) -> Attribute {
    Attribute { ty, required }
}

#[test]
fn every_type_of_a_signal_is_resolved() {
    let found = attributes(
        "type Money = decimal; type Inner = { \"a b\": Money, c?: __cedar::Long }; entity Provider;",
        "{ b: Bool, l: Long, s: String, d: decimal, t: datetime, u: duration, i: ipaddr, e?: Provider,
           z: Set<Set<Money>>, r: Inner, n?: { m: Set<Inner> } }",
    );
    let inner: Attributes =
        [("a b".into(), attribute(Type::Decimal, true)), ("c".into(), attribute(Type::Long, false))]
            .into_iter()
            .collect();
    let set = |ty| Type::Set(Box::new(ty));
    let nested: Attributes =
        [("m".into(), attribute(set(Type::Record(inner.clone())), true))].into_iter().collect();
    let expected: Attributes = [
        ("b".into(), attribute(Type::Bool, true)),
        ("l".into(), attribute(Type::Long, true)),
        ("s".into(), attribute(Type::String, true)),
        ("d".into(), attribute(Type::Decimal, true)),
        ("t".into(), attribute(Type::Datetime, true)),
        ("u".into(), attribute(Type::Duration, true)),
        ("i".into(), attribute(Type::Ipaddr, true)),
        ("e".into(), attribute(Type::Entity("Provider".into()), false)),
        ("z".into(), attribute(set(set(Type::Decimal)), true)),
        ("r".into(), attribute(Type::Record(inner), true)),
        ("n".into(), attribute(Type::Record(nested), false)),
    ]
    .into_iter()
    .collect();
    assert_eq!(found, expected);
}

#[test]
fn names_mean_what_cedar_takes_them_for() {
    // A common type that shadows a built-in one, and an entity type with the name of another.
    let found =
        attributes("type decimal = Long; entity String;", "{ a: decimal, b: __cedar::decimal, c: String }");
    assert_eq!(found.get("a").unwrap().ty, Type::Long);
    assert_eq!(found.get("b").unwrap().ty, Type::Decimal);
    assert_eq!(found.get("c").unwrap().ty, Type::Entity("String".into()));
    // The context may be a common type, and there may be none.
    assert_eq!(attributes("type Signals = { x: Bool };", "Signals").len(), 1);
    assert!(attributes("", "{}").is_empty());
}

#[test]
fn a_schema_may_have_a_namespace() {
    let text = "namespace Acme { entity System; entity Claim; entity Provider; type P = Provider;
        action deny, refer, approve appliesTo { principal: System, resource: Claim, context: { p: P, q?: Claim } }; }";
    let manifest = MANIFEST.replace("\"System\"", "\"Acme::System\"").replace("\"Claim\"", "\"Acme::Claim\"");
    let policy = "@id(\"p\") permit (principal, action == Acme::Action::\"deny\", resource);";
    let changes = [("schema.cedarschema", text), ("bundle.toml", &manifest), ("claims.cedar", policy)];
    let bundle = testing::bundle(&changes);
    assert_eq!(bundle.attributes().get("p").unwrap().ty, Type::Entity("Acme::Provider".into()));
    let (principal, resource) = testing::uids(&bundle);
    let signals = testing::signals(&bundle, r#"{"p":{"type":"Acme::Provider","id":"x"}}"#);
    assert_eq!(bundle.evaluate(&principal, &resource, &signals, None).decision.outcome, "deny");
}

#[test]
fn each_fault_is_named() {
    let long_chain: String = (0..40).map(|n| format!("type T{n} = {{ a: T{} }};", n + 1)).collect();
    let aliases: String = (0..40).map(|n| format!("type T{n} = T{};", n + 1)).collect();
    let doubling: String = (0..20).map(|n| format!("type T{n} = {{ a: T{0}, b: T{0} }};", n + 1)).collect();
    let many: String = (0..=SCHEMA_TYPES_MAX).map(|n| format!("entity E{n} in System;")).collect();
    let deep = format!("{}Long{}", "Set<".repeat(65), ">".repeat(65));
    for (text, expected) in [
        ("entity System;\n\nfoo;".to_owned(), "schema.cedarschema:3:1: error parsing schema: unexpected token `foo` (expected"),
        (schema("", "{ x: Nope }"), "failed to resolve type: Nope"),
        (schema("entity A; entity A;", "{}"), "`A` is declared twice"),
        (schema("type A = B; type B = A;", "{}"), "nests more than 32 deep"),
        (schema("type A = { a: A };", "{}"), "the type of the common type `A` nests more than 32 deep; flatten"),
        (schema(&format!("{long_chain} type T40 = Long;"), "{}"), "the common type `T0` nests more than 32 deep"),
        (schema(&format!("{aliases} type T40 = Long;"), "{}"), "nests more than 32 deep"),
        (schema(&format!("{doubling} type T20 = Long;"), "{}"), "the types of the schema have more than 50000 attributes"),
        (schema(&many, "{}"), "a bundle has at most 500 entity types, this has 503"),
        (schema("", &format!("{{ a: {deep} }}")), "brackets nest more than 64 deep"),
        (schema("", "Set<{}>]"), "the bracket `]` closes nothing that is open"),
        (schema("external entity X;", "{}"), "`X` is declared `external`"),
        (schema("external action x;", "{}"), "`x` is declared `external`"),
        (schema("entity X enum [\"a\"];", "{ r?: { x: X } }"), "the signal `r.x` is of the enumerated entity type `X`"),
        (schema("type T = Set<Long>;", "T"), "schema.cedarschema: "),
        (SCHEMA.replace("entity System;", "entity System enum [\"a\"];"), "the manifest's `principal` is of the enumerated entity type `System`"),
        (SCHEMA.replace("action approve ", "action accept "), "the outcome `approve` is no action of the schema"),
        (SCHEMA.replace("action approve ", "action accept "), "the action `accept` is not among the manifest's `outcomes`"),
        (SCHEMA.replace("action human;", "action human appliesTo { principal: System, resource: Claim };"), "the action `human` is not among the manifest's `outcomes`"),
        ("namespace A { entity S; action deny appliesTo { principal: S, resource: S }; } namespace B { entity S; action deny appliesTo { principal: S, resource: S }; }".to_owned(), "the outcome `deny` is an action in more than one namespace"),
        (SCHEMA.replace("principal: System,", "principal: [System, Provider],"), "applies to principal `System`, `Provider`, but the manifest says `System`"),
        (SCHEMA.replace("resource: Claim,", "resource: Provider,"), "applies to resource `Provider`, but the manifest says `Claim`"),
        (SCHEMA.replace("resource: Claim,", "resource: [],"), "`resource` is `[]`, which is invalid"),
        (SCHEMA.replace("action approve appliesTo { principal: System, resource: Claim, context: Signals", "action approve appliesTo { principal: System, resource: Claim, context: { amount: decimal }"), "the actions `deny` and `approve` differ in `context` at `amount`"),
        (SCHEMA.replace("action approve appliesTo { principal: System, resource: Claim, context: Signals", "action approve appliesTo { principal: System, resource: Claim"), "differ in `context` at `amount`"),
        (format!("// {}\n{SCHEMA}", "x".repeat(SCHEMA_BYTES_MAX)), "the file may have at most 131072 bytes"),
    ] {
        let faults = faults(&text);
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{expected}: {faults:#?}");
    }
}

#[test]
fn a_schema_that_differs_from_the_manifest_still_validates_policies() {
    let text = SCHEMA.replace("action approve ", "action accept ");
    let policies = POLICIES.replace("context.amount > 1000 ", "context.amonut > 1000 ");
    let faults = testing::faults(&[("schema.cedarschema", &text), ("claims.cedar", &policies)]);
    assert!(faults.iter().any(|fault| fault.contains("the outcome `approve`")), "{faults:#?}");
    assert!(
        faults.iter().any(|fault| fault.contains("policy `refer-large` does not fit the schema")),
        "{faults:#?}"
    );
}
