//! What a condition shows without being evaluated: the parts that have to hold, and what it reads of the context.
//!
//! ```text
//! when { context has score && context.score.greaterThan(decimal("0.8")) && context.owner.rating > 3 }
//!        └─ three conjuncts; reads score and owner
//! ```

use std::collections::BTreeSet;

use cedar_policy_core::ast::{Expr, ExprKind, Var};

/// The parts of `left && right`, in the order in which Cedar evaluates them.
pub(crate) fn conjuncts(condition: &Expr) -> Vec<&Expr> {
    fn add<'e>(condition: &'e Expr, parts: &mut Vec<&'e Expr>) {
        match condition.expr_kind() {
            ExprKind::And { left, right } => {
                add(left, parts);
                add(right, parts);
            }
            _ => parts.push(condition),
        }
    }
    let mut parts = Vec::new();
    add(condition, &mut parts);
    parts
}

/// The attributes of the context that a condition can read, in byte order. `None` where it uses the context as a
/// value, so that it may read any.
///
/// Cedar evaluates a condition to the same with any context that agrees on these attributes.
pub(crate) fn reads(condition: &Expr) -> Option<Vec<String>> {
    let mut names = BTreeSet::new();
    // As many as the context stands in the condition, or in one of these places it is used as a value.
    let (mut stands, mut reads) = (0_usize, 0_usize);
    for part in condition.subexpressions() {
        let (of, name) = match part.expr_kind() {
            ExprKind::GetAttr { expr, attr } | ExprKind::HasAttr { expr, attr } => (expr, attr),
            // `context has a.b`: what is below `a` is in the value of `a`.
            ExprKind::ExtHasAttr { expr, attrs } => (expr, attrs.first()),
            _ => {
                stands += usize::from(is_context(part));
                continue;
            }
        };
        if is_context(of) {
            reads += 1;
            names.insert(name.to_string());
        }
    }
    (reads == stands).then(|| names.into_iter().collect())
}

pub(crate) fn is_context(expression: &Expr) -> bool {
    matches!(expression.expr_kind(), ExprKind::Var(Var::Context))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads_of(condition: &str) -> Option<String> {
        let text = format!("permit (principal == A::\"a\", action, resource) when {{ {condition} }};");
        let policy: cedar_policy::Policy = text.parse().unwrap();
        let policy: &cedar_policy_core::ast::Policy = policy.as_ref();
        reads(&policy.condition()).map(|names| names.join(" "))
    }

    #[test]
    fn attributes_that_a_condition_names_are_all_it_reads() {
        for (condition, expected) in [
            ("true", ""),
            ("principal.context == resource.x", ""),
            ("context.b > 1 && context.a == context.b", "a b"),
            ("context has a && !(context has \"a b\")", "a a b"),
            ("context[\"a\"].b.c == 1", "a"),
            ("context has a.b.c || context.d has e.f", "a d"),
            ("if context.a then context.b else context.c", "a b c"),
            ("[context.a, 1].contains(context.b) && {x: context.c}.x like \"*\"", "a b c"),
            ("context.a is T in context.b && -context.c < 0", "a b c"),
            ("ip(\"::1\").isInRange(context.a) && context.b.hasTag(context.c)", "a b c"),
        ] {
            assert_eq!(reads_of(condition).as_deref(), Some(expected), "{condition}");
        }
    }

    #[test]
    fn a_condition_that_uses_the_context_as_a_value_may_read_any() {
        for condition in [
            "context == context",
            "context == {a: 1} && context.a == 1",
            "context.a == 1 || [context].contains(context)",
            "{c: context}.c.a == 1",
            "(if context.a then context else {b: true}).b",
            "{c: context} has c.a",
            "context.hasTag(context.a)",
            "context.a in context",
            "context.a.isInRange(context)",
        ] {
            assert_eq!(reads_of(condition), None, "{condition}");
        }
    }

    #[test]
    fn conjuncts_are_in_order_however_they_are_nested() {
        let text = "permit (principal, action, resource) when { 1 == 1 && (2 == 2 && (3 == 3 || false)) } unless { 4 == 4 };";
        let policy: cedar_policy::Policy = text.parse().unwrap();
        let policy: &cedar_policy_core::ast::Policy = policy.as_ref();
        let condition = policy.non_scope_constraints().unwrap();
        let parts: Vec<_> = conjuncts(condition).into_iter().map(ToString::to_string).collect();
        assert_eq!(parts, ["1 == 1", "2 == 2", "(3 == 3) || false", "!(4 == 4)"]);
    }
}
