//! The sentences of an explanation, and conditions as text.

use std::borrow::Cow;
use std::fmt::Write as _;

use cedar_policy_core::ast::Expr;
use chancery_core::statement::ExecutionState;
use chancery_core::terminal::steers;

use super::{Audience, Explanation, OutcomeExplained, PolicyExplained, PolicyResult};

pub(super) const PARTIAL: &str =
    "some of the signals were erased: which policies matched is known only from what was recorded";
pub(super) const ERASED: &str =
    "the signals were erased: which policies matched is known only from what was recorded";

const NO_REASON: &str = "No particular reason is recorded for this decision.";
const BY_A_PERSON: &str = "When this was decided it was not final: a person could still change it.";
const BLOCKED: &str =
    "This could not be decided automatically. Nothing is done about it before a person has looked at it.";

/// All of the explanation in sentences.
pub(super) fn text(explanation: &Explanation) -> String {
    match explanation.audience {
        Audience::Customer => for_customer(explanation),
        Audience::Agent | Audience::Regulator => for_staff(explanation),
    }
}

fn for_customer(explanation: &Explanation) -> String {
    let mut lines: Vec<&str> = explanation.reasons.iter().map(|reason| reason.text.as_str()).collect();
    match explanation.execution_state {
        ExecutionState::Blocked => lines = vec![BLOCKED],
        ExecutionState::PendingOverride => lines.push(BY_A_PERSON),
        ExecutionState::Completed if lines.is_empty() => lines.push(NO_REASON),
        ExecutionState::Completed => {}
    }
    lines.iter().flat_map(|line| [*line, "\n"]).collect()
}

fn for_staff(explanation: &Explanation) -> String {
    let state = match explanation.execution_state {
        ExecutionState::Completed => "final",
        ExecutionState::PendingOverride => "as decided: left to an override",
        ExecutionState::Blocked => "blocked by an evaluation error, it must not be acted upon",
    };
    let mut text = format!("{}: {}, {state}", explanation.execution_id, explanation.decision);
    if let Some(policy) = &explanation.policy {
        line(&mut text, format_args!("decided by {}@{}", policy.id, policy.version));
    }
    for reason in &explanation.reasons {
        let (code, policy) = (reason.code.as_deref().unwrap_or("-"), reason.policy.as_deref().unwrap_or("-"));
        line(&mut text, format_args!("because {code} ({policy}): {}", reason.text));
    }
    if explanation.reasons.is_empty() {
        line(&mut text, format_args!("no reason is recorded"));
    }
    for error in &explanation.errors {
        line(&mut text, format_args!("error {} ({}): {}", error.code, error.policy, error.text));
    }
    if let Some(candidates) = &explanation.candidates {
        let selected = match candidates.selected.as_slice() {
            [] => "none selected".to_owned(),
            ids => format!("selected {}", ids.iter().map(|id| quoted(id)).collect::<Vec<_>>().join(", ")),
        };
        line(&mut text, format_args!("candidates: {}, {selected}", candidates.count));
        for excluded in &candidates.excluded {
            let why = excluded.text.as_deref().unwrap_or("no reason is recorded");
            line(&mut text, format_args!("  {} excluded: {why}", quoted(&excluded.id)));
        }
        let rest = candidates.excluded_total.saturating_sub(count(candidates.excluded.len()));
        if rest > 0 {
            line(&mut text, format_args!("  and {rest} more excluded"));
        }
    }
    if let Some(why) = explanation.unavailable {
        line(&mut text, format_args!("{why}"));
    }
    if explanation.reproduced == Some(false) {
        line(
            &mut text,
            format_args!("evaluated again, the policies come to something else than was recorded"),
        );
    }
    for outcome in explanation.outcomes.iter().flatten() {
        line(&mut text, format_args!("{}: {}", outcome.outcome, standing(outcome)));
        for policy in &outcome.policies {
            line(&mut text, format_args!("  {} ({}) {}", policy.policy, policy.effect, result(policy)));
        }
    }
    text.push('\n');
    text
}

/// A caller's id: as it is where it is one plain word, else in quotation marks, so that it passes for nothing else.
fn quoted(id: &str) -> Cow<'_, str> {
    let plain = |c: char| !(c.is_whitespace() || steers(c) || matches!(c, ',' | '"' | '\\'));
    if !id.is_empty() && id.chars().all(plain) {
        return Cow::Borrowed(id);
    }
    let mut text = String::from("\"");
    for character in id.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            _ if steers(character) => text.extend(character.escape_unicode()),
            _ => text.push(character),
        }
    }
    text.push('"');
    Cow::Owned(text)
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    text.push('\n');
    // Writing to a String does not fail.
    let _ = text.write_fmt(words);
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn standing(outcome: &OutcomeExplained) -> &'static str {
    match (outcome.allowed, outcome.chosen) {
        (Some(true), true) => "allowed, the outcome",
        (Some(false), true) => "the outcome, as the fallback",
        (Some(true), false) => "allowed, but not the outcome",
        (Some(false), false) => "not allowed",
        (None, true) => "the outcome",
        (None, false) => "not the outcome",
    }
}

fn result(policy: &PolicyExplained) -> String {
    let condition = policy.condition.as_deref().unwrap_or_default();
    match (policy.result, policy.error) {
        (PolicyResult::Matched, _) => "matched".to_owned(),
        (PolicyResult::NotMatched, _) => format!("did not match: {condition}"),
        (PolicyResult::Error, Some(error)) => format!("failed, {}: {condition}", error.text()),
        (PolicyResult::Error, None) => format!("failed: {condition}"),
        (PolicyResult::Unknown, _) => "not known".to_owned(),
    }
}

/// The text of a condition as its author wrote it, on one line and without comments.
pub(super) fn source(condition: &Expr) -> String {
    let written = condition.source_loc().and_then(|place| place.snippet());
    written.map_or_else(|| condition.to_string(), on_one_line)
}

/// Cedar text with single spaces for whitespace and comments, which it may have anywhere but in strings.
fn on_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut gap = false;
    while let Some(character) = rest.next() {
        if character == '/' && rest.peek() == Some(&'/') {
            rest.by_ref().find(|&c| c == '\n');
            gap = true;
        } else if character.is_whitespace() {
            gap = true;
        } else {
            if gap && !line.is_empty() {
                line.push(' ');
            }
            gap = false;
            line.push(character);
            if character == '"' {
                string(&mut rest, &mut line);
            }
        }
    }
    line
}

/// The rest of a string literal, as it is.
fn string(rest: &mut impl Iterator<Item = char>, line: &mut String) {
    while let Some(character) = rest.next() {
        line.push(character);
        match character {
            '"' => return,
            '\\' => line.extend(rest.next()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_passes_for_no_other_id_and_for_no_line() {
        for (id, expected) in [
            ("carrier-7/ü", "carrier-7/ü"),
            ("", "\"\""),
            ("a, b", "\"a, b\""),
            ("a excluded: no", "\"a excluded: no\""),
            ("a\nselected b", "\"a\\u{a}selected b\""),
            ("\u{1b}[2K\u{202e}", "\"\\u{1b}[2K\\u{202e}\""),
            ("\"a\\", "\"\\\"a\\\\\""),
        ] {
            assert_eq!(quoted(id), expected);
        }
    }

    #[test]
    fn conditions_stand_on_one_line_and_strings_stay_as_they_are() {
        for (text, expected) in [
            ("a  &&\n\tb", "a && b"),
            ("a // why\n && b", "a && b"),
            ("a == \"x  //  \\\"y\" ||\n c", "a == \"x  //  \\\"y\" || c"),
            ("unless {\n  a\n}", "unless { a }"),
            ("a // the end", "a"),
        ] {
            assert_eq!(on_one_line(text), expected);
        }
    }
}
