//! What is certain about a policy before Cedar is asked: that it does not match, and does not fail either.
//!
//! ```text
//! when { context.incidentType == "Vehicle Theft" && context has coverages && … }
//!        └─ false for these signals: && does not look further, so the whole condition is false, without an error
//! ```
//!
//! Most policies of a bundle fall to their first comparison. A guard is the part of a condition that compares
//! signals with each other and with literals, compiled once; it answers true, false, or nothing at all. Whatever it
//! has no words for, and whatever could fail (an attribute that is not there, an overflow, another type), is left to
//! Cedar. So a guard takes out only policies that Cedar would have found unsatisfied, which a property test holds
//! against Cedar's own authorizer; no policy is ever *satisfied* by a guard.

use std::cmp::Ordering;

use cedar_policy_core::ast::{BinaryOp, Expr, ExprKind, Literal, Name, UnaryOp};
use chancery_core::signal::{Attributes, Decimal, Signal, Signals};

use crate::condition::{conjuncts, is_context};

/// The guard of one policy.
pub(crate) struct Guard(Term);

/// A set of signals by the places of their attributes in the bundle's schema.
pub(crate) struct Slots<'s>(Vec<Option<&'s Signal>>);

impl<'s> Slots<'s> {
    /// Finds each attribute's signal once; what the schema does not have is in no slot.
    pub(crate) fn new(attributes: &Attributes, signals: &'s Signals) -> Self {
        let mut signals = signals.iter().peekable();
        // Both are ordered by name.
        let slots = attributes.iter().map(|(name, _)| {
            while signals.next_if(|(own, _)| own < &name).is_some() {}
            signals.next_if(|(own, _)| *own == name).map(|(_, signal)| signal)
        });
        Self(slots.collect())
    }

    fn get(&self, slot: usize) -> Option<&'s Signal> {
        self.0.get(slot).copied().flatten()
    }
}

impl Guard {
    /// Compiles the conditions of a policy beyond its scope; `None` for a policy that has none.
    pub(crate) fn new(condition: Option<&Expr>, attributes: &Attributes) -> Self {
        Self(condition.map_or(Term::Unknown, |condition| Term::of(condition, attributes)))
    }

    /// Is it certain that the conditions are false, and that finding out does not fail?
    pub(crate) fn rules_out(&self, slots: &Slots<'_>) -> bool {
        matches!(self.0.known(slots), Some(Known::Bool(false)))
    }
}

/// The part of Cedar's expressions that is decided here. Depth is bounded by the limits on policy text.
enum Term {
    /// Cedar decides.
    Unknown,
    Literal(Signal),
    /// `context.x`, by its slot.
    Slot(usize),
    /// `context has x`
    Has(usize),
    Not(Box<Term>),
    /// `… && … && …`, flat: most policies fall to the first.
    And(Box<[Term]>),
    Or(Box<[Term; 2]>),
    Strict(Operation, Box<[Term; 2]>),
}

/// Operations that need both of their arguments.
#[derive(Clone, Copy)]
enum Operation {
    Equal,
    /// Of `Long`, `datetime` and `duration`.
    Less,
    LessOrEqual,
    /// Of `decimal`: its comparisons are methods.
    DecimalLess,
    DecimalLessOrEqual,
    DecimalGreater,
    DecimalGreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Contains,
    DurationSince,
}

/// A value that a guard can tell.
#[derive(Clone, Copy)]
enum Known<'a> {
    Bool(bool),
    Long(i64),
    Text(&'a str),
    Decimal(i64),
    Datetime(i64),
    Duration(i64),
    Set(&'a [Signal]),
}

impl Term {
    fn of(expression: &Expr, attributes: &Attributes) -> Self {
        let slot = |name: &str| attributes.iter().position(|(own, _)| &**own == name);
        let of = |expression: &Expr| Self::of(expression, attributes);
        let both = |left: &Expr, right: &Expr| Box::new([of(left), of(right)]);
        match expression.expr_kind() {
            ExprKind::Lit(Literal::Bool(value)) => Self::Literal(Signal::Bool(*value)),
            ExprKind::Lit(Literal::Long(value)) => Self::Literal(Signal::Long(*value)),
            ExprKind::Lit(Literal::String(text)) => Self::Literal(Signal::String(text.as_str().into())),
            ExprKind::GetAttr { expr, attr } if is_context(expr) => {
                slot(attr).map_or(Self::Unknown, Self::Slot)
            }
            ExprKind::HasAttr { expr, attr } if is_context(expr) => {
                slot(attr).map_or(Self::Unknown, Self::Has)
            }
            ExprKind::And { .. } => Self::And(conjuncts(expression).into_iter().map(of).collect()),
            ExprKind::Or { left, right } => Self::Or(both(left, right)),
            ExprKind::UnaryApp { op: UnaryOp::Not, arg } => Self::Not(Box::new(of(arg))),
            ExprKind::BinaryApp { op, arg1, arg2 } => {
                let operation = match op {
                    BinaryOp::Eq => Operation::Equal,
                    BinaryOp::Less => Operation::Less,
                    BinaryOp::LessEq => Operation::LessOrEqual,
                    BinaryOp::Add => Operation::Add,
                    BinaryOp::Sub => Operation::Subtract,
                    BinaryOp::Mul => Operation::Multiply,
                    BinaryOp::Contains => Operation::Contains,
                    _ => return Self::Unknown,
                };
                Self::strict(operation, of(arg1), of(arg2))
            }
            ExprKind::ExtensionFunctionApp { fn_name, args } => match args.as_slice() {
                [text] => extension(fn_name, text).map_or(Self::Unknown, Self::Literal),
                [left, right] => match method(fn_name) {
                    Some(operation) => Self::strict(operation, of(left), of(right)),
                    None => Self::Unknown,
                },
                _ => Self::Unknown,
            },
            ExprKind::Set(elements) => {
                let literal = |element: &Expr| match of(element) {
                    Self::Literal(signal) => Some(signal),
                    _ => None,
                };
                let elements: Option<Vec<_>> = elements.iter().map(literal).collect();
                elements.map_or(Self::Unknown, |elements| Self::Literal(Signal::Set(elements)))
            }
            _ => Self::Unknown,
        }
    }

    /// With an argument that is never known, neither is the result.
    fn strict(operation: Operation, left: Self, right: Self) -> Self {
        match (&left, &right) {
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            _ => Self::Strict(operation, Box::new([left, right])),
        }
    }

    /// The value, where it is certain that Cedar comes to the same one without an error.
    fn known<'a>(&'a self, slots: &Slots<'a>) -> Option<Known<'a>> {
        match self {
            Self::Unknown => None,
            Self::Literal(signal) => Known::of(signal),
            Self::Slot(slot) => Known::of(slots.get(*slot)?),
            Self::Has(slot) => Some(Known::Bool(slots.get(*slot).is_some())),
            Self::Not(term) => Some(Known::Bool(!term.truth(slots)?)),
            // What stands further right is looked at only where nothing on the left decided, as in Cedar.
            Self::And(terms) => {
                for term in terms {
                    if !term.truth(slots)? {
                        return Some(Known::Bool(false));
                    }
                }
                Some(Known::Bool(true))
            }
            Self::Or(sides) => {
                let [left, right] = &**sides;
                Some(Known::Bool(left.truth(slots)? || right.truth(slots)?))
            }
            Self::Strict(operation, sides) => {
                let [left, right] = &**sides;
                operation.apply(left.known(slots)?, right.known(slots)?)
            }
        }
    }

    fn truth(&self, slots: &Slots<'_>) -> Option<bool> {
        match self.known(slots)? {
            Known::Bool(value) => Some(value),
            _ => None,
        }
    }
}

/// A literal such as `decimal("0.8")`; none where Cedar writes values in a way that signals are not written.
fn extension(function: &Name, text: &Expr) -> Option<Signal> {
    let ExprKind::Lit(Literal::String(text)) = text.expr_kind() else { return None };
    match function.to_string().as_str() {
        "decimal" => Decimal::from_json_number(text).ok().map(Signal::Decimal),
        "datetime" => text.parse().ok().map(Signal::Datetime),
        "duration" => text.parse().ok().map(Signal::Duration),
        _ => None,
    }
}

fn method(function: &Name) -> Option<Operation> {
    Some(match function.to_string().as_str() {
        "lessThan" => Operation::DecimalLess,
        "lessThanOrEqual" => Operation::DecimalLessOrEqual,
        "greaterThan" => Operation::DecimalGreater,
        "greaterThanOrEqual" => Operation::DecimalGreaterOrEqual,
        "durationSince" => Operation::DurationSince,
        _ => return None,
    })
}

impl Operation {
    fn apply<'a>(self, left: Known<'a>, right: Known<'a>) -> Option<Known<'a>> {
        let decimals = |holds: fn(Ordering) -> bool| match (left, right) {
            (Known::Decimal(left), Known::Decimal(right)) => Some(Known::Bool(holds(left.cmp(&right)))),
            _ => None,
        };
        let longs = |result: fn(i64, i64) -> Option<i64>| match (left, right) {
            (Known::Long(left), Known::Long(right)) => result(left, right).map(Known::Long),
            _ => None,
        };
        match self {
            Self::Equal => left.equals(right).map(Known::Bool),
            Self::Less => left.order(right).map(|order| Known::Bool(order.is_lt())),
            Self::LessOrEqual => left.order(right).map(|order| Known::Bool(order.is_le())),
            Self::DecimalLess => decimals(Ordering::is_lt),
            Self::DecimalLessOrEqual => decimals(Ordering::is_le),
            Self::DecimalGreater => decimals(Ordering::is_gt),
            Self::DecimalGreaterOrEqual => decimals(Ordering::is_ge),
            Self::Add => longs(i64::checked_add),
            Self::Subtract => longs(i64::checked_sub),
            Self::Multiply => longs(i64::checked_mul),
            Self::Contains => {
                let Known::Set(elements) = left else { return None };
                let mut found = false;
                for element in elements {
                    found |= Known::of(element)?.equals(right)?;
                }
                Some(Known::Bool(found))
            }
            Self::DurationSince => match (left, right) {
                (Known::Datetime(left), Known::Datetime(right)) => {
                    left.checked_sub(right).map(Known::Duration)
                }
                _ => None,
            },
        }
    }
}

impl<'a> Known<'a> {
    fn of(signal: &'a Signal) -> Option<Self> {
        Some(match signal {
            Signal::Bool(value) => Self::Bool(*value),
            Signal::Long(value) => Self::Long(*value),
            Signal::String(text) => Self::Text(text),
            Signal::Decimal(value) => Self::Decimal(value.units()),
            Signal::Datetime(value) => Self::Datetime(value.unix_ms()),
            Signal::Duration(value) => Self::Duration(value.as_ms()),
            Signal::Set(elements) => Self::Set(elements),
            Signal::Ipaddr(_) | Signal::Entity { .. } | Signal::Record(_) => return None,
        })
    }

    /// Of two values of one type that is no set.
    fn equals(self, other: Self) -> Option<bool> {
        match (self, other) {
            (Self::Bool(left), Self::Bool(right)) => Some(left == right),
            (Self::Text(left), Self::Text(right)) => Some(left == right),
            (Self::Decimal(left), Self::Decimal(right)) => Some(left == right),
            _ => self.order(other).map(Ordering::is_eq),
        }
    }

    /// Of two values of one type that `<` takes.
    fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Long(left), Self::Long(right))
            | (Self::Datetime(left), Self::Datetime(right))
            | (Self::Duration(left), Self::Duration(right)) => Some(left.cmp(&right)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
