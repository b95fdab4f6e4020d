//! Rules that several predicates share, each in one line of a `check`.

use super::{AboutDecision, StatementError, Subject};

/// Longest free text, in characters (formats §4.2 for the reason of an override).
pub(super) const TEXT_MAX: usize = 4_000;

/// The member keeps `rule`, or is named together with it.
pub(super) fn require(holds: bool, member: &'static str, rule: &'static str) -> Result<(), StatementError> {
    if holds { Ok(()) } else { Err(StatementError::Member { member, rule }) }
}

/// The member is text of 1 to 4,000 characters.
pub(super) fn text(value: &str, member: &'static str) -> Result<(), StatementError> {
    let length = value.chars().take(TEXT_MAX + 1).count();
    require((1..=TEXT_MAX).contains(&length), member, "text of 1 to 4,000 characters is needed")
}

/// The list is in strictly ascending order: sorted, each element once.
pub(super) fn ascending<T>(
    list: &[T],
    less: impl Fn(&T, &T) -> bool,
    member: &'static str,
) -> Result<(), StatementError> {
    require(list.is_sorted_by(less), member, "the list has to be sorted, each element once")
}

/// No element is there twice; the order is free.
pub(super) fn distinct<'a>(
    list: impl Iterator<Item = &'a str>,
    member: &'static str,
) -> Result<(), StatementError> {
    let mut seen = std::collections::HashSet::new();
    for element in list {
        require(seen.insert(element), member, "an element is there twice")?;
    }
    Ok(())
}

/// There is exactly one subject, of this name and digest.
pub(super) fn subject(subject: &[Subject], name: &str, sha256: &[u8; 32]) -> Result<(), StatementError> {
    match subject {
        [only] if only.name != name => {
            Err(StatementError::Subject { rule: "its name does not agree with the predicate" })
        }
        [only] if only.digest.sha256.as_bytes() != sha256 => {
            Err(StatementError::Subject { rule: "its digest does not agree with the predicate" })
        }
        [_] => Ok(()),
        _ => Err(StatementError::Subject { rule: "there has to be exactly one" }),
    }
}

/// There is exactly one subject, named after the execution; its digest is that of a decision elsewhere.
pub(super) fn about_decision<P: AboutDecision>(
    predicate: &P,
    subject: &[Subject],
) -> Result<(), StatementError> {
    match subject {
        [only] if only.name == predicate.execution_id().as_ref() => Ok(()),
        [_] => Err(StatementError::Subject { rule: "its name is not the execution id of the predicate" }),
        _ => Err(StatementError::Subject { rule: "there has to be exactly one" }),
    }
}
