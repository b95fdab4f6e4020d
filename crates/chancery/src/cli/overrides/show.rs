//! What a case looks like to a person. Everything in it is somebody else's text, and stays within its line.

use serde_json::Value;

use super::super::output::foreign;

/// What a case is in whose time is over and that nobody has ended.
pub(super) const DUE: &str = "due, not yet expired";

/// A member as text within its line; empty where it is not there.
pub(super) fn text(value: &Value, pointer: &str) -> String {
    foreign(value.pointer(pointer).and_then(Value::as_str).unwrap_or_default())
}

/// One line about what a case is in by now.
pub(super) fn standing(case: &Value) -> String {
    let mut line =
        format!("{}: {} ({})", text(case, "/execution_id"), text(case, "/state"), text(case, "/progress"));
    if let Some(outcome) = case.pointer("/resolution/final_outcome").and_then(Value::as_str) {
        line.push_str(&format!(", the outcome is `{outcome}`"));
    }
    if let Some(index) = case.pointer("/log/index").and_then(Value::as_u64) {
        line.push_str(&format!(", log index {index}"));
    }
    line
}

/// All of a case.
pub(super) fn show(brief: &Value) -> String {
    let list = |pointer: &str| brief.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let names = |pointer: &str| {
        let all = list(pointer);
        foreign(&all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
    };
    let millis = |name: &str| brief.get(name).and_then(Value::as_i64).unwrap_or_default();
    let mut lines = vec![
        standing(brief),
        format!("  decided     {} at {}", text(brief, "/decision"), text(brief, "/executed_at")),
        format!("  on          {}", text(brief, "/resource")),
        format!("  submitted   {}", text(brief, "/principal")),
        format!("  policy      {}@{}", text(brief, "/policy/id"), text(brief, "/policy/version")),
        format!(
            "  rule        {} of the role {} within {}, to {}",
            brief.pointer("/rule/quorum").map(Value::to_string).unwrap_or_default(),
            names("/rule/roles"),
            text(brief, "/rule/expires"),
            names("/rule/to")
        ),
        format!("  waits       {}", duration(millis("age_ms"))),
    ];
    if text(brief, "/state") == "pending" {
        // Whoever opens the log to write ends such a case first; a server does in its own time.
        let left = millis("left_ms");
        let due = text(brief, "/due");
        lines.push(if left > 0 {
            format!("  time left   {}, until {due}", duration(left))
        } else {
            format!("  time left   none: {DUE} since {due}")
        });
    }
    for given in list("/overrides") {
        let outcome =
            given.get("outcome").and_then(Value::as_str).map(|to| format!(" {to}")).unwrap_or_default();
        lines.push(format!(
            "  {}     {} ({}){outcome}: {} {}",
            if text(&given, "/resolution") == "approve" { "approved" } else { "rejected" },
            text(&given, "/approver"),
            text(&given, "/role"),
            text(&given, "/reason_code"),
            text(&given, "/reason"),
        ));
    }
    lines.push("signals".to_owned());
    match brief.pointer("/signals/values").and_then(Value::as_object) {
        Some(values) => lines.extend(
            values
                .iter()
                .map(|(name, value)| format!("  {} = {}", foreign(name), foreign(&value.to_string()))),
        ),
        None => lines.push("  erased".to_owned()),
    }
    if brief.pointer("/signals/erased").is_some() {
        let erased = names("/signals/erased");
        lines.push(format!("  erased: {}", if erased.is_empty() { "others" } else { &erased }));
    }
    let candidates = list("/signals/candidates");
    if !candidates.is_empty() {
        lines.push("candidates".to_owned());
    }
    for candidate in candidates {
        let own = candidate.get("signals").map(Value::to_string).unwrap_or_default();
        let id = candidate.get("id").map(Value::to_string).unwrap_or_default();
        lines.push(format!("  {} {}", foreign(&id), foreign(&own)));
    }
    if let Some(labels) = brief.get("labels").and_then(Value::as_object) {
        lines.push("labels".to_owned());
        lines.extend(
            labels
                .iter()
                .map(|(name, value)| format!("  {} = {}", foreign(name), foreign(&value.to_string()))),
        );
    }
    lines.push("why".to_owned());
    for reason in list("/reasons") {
        lines.push(format!(
            "  {} ({}): {}",
            text(&reason, "/code"),
            text(&reason, "/policy"),
            text(&reason, "/text")
        ));
    }
    for policy in list("/policies") {
        lines.push(format!("policy {} ({})", text(&policy, "/id"), text(&policy, "/file")));
        let source = policy.get("text").and_then(Value::as_str).unwrap_or_default();
        lines.extend(source.lines().map(|line| format!("  {line}")));
    }
    let earlier = list("/earlier");
    if !earlier.is_empty() {
        lines.push("earlier on the same resource".to_owned());
    }
    for decision in earlier {
        lines.push(format!(
            "  {}  {}  {} ({})",
            text(&decision, "/executed_at"),
            text(&decision, "/execution_id"),
            text(&decision, "/outcome"),
            text(&decision, "/state")
        ));
    }
    lines.join("\n")
}

/// Days, hours and minutes.
fn duration(ms: i64) -> String {
    let minutes = ms.max(0) / 60_000;
    let (days, hours, minutes) = (minutes / 1_440, minutes / 60 % 24, minutes % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min"),
        (0, hours) => format!("{hours} h {minutes} min"),
        (days, hours) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_and_what_was_erased_is_shown_and_no_line_is_forged() {
        let brief = json!({
            "execution_id": "c-1", "state": "pending", "progress": "0 of 1", "left_ms": -1,
            "due": "2026-03-04T10:00:00.000000Z",
            "signals": {
                "left": "some", "values": {"amount": 7}, "erased": ["name", "score\nwhy"],
                "candidates": [{"id": "x\u{1b}[2K\nwhy", "signals": {"rate": "0.1"}}],
            },
            "labels": {"branch": "north\u{202e}"},
            "overrides": [{"resolution": "reject", "reason": "no\napproved", "reason_code": "\u{9b}2K"}],
            "reasons": [{"code": "R", "policy": "p", "text": "a\nb"}],
        });
        let shown = show(&brief);
        for line in [
            "  amount = 7",
            "  erased: name, score\\u{a}why",
            "candidates",
            "  \"x\\u001b[2K\\nwhy\" {\"rate\":\"0.1\"}",
            "labels",
            "  branch = \"north\\u{202e}\"",
            "  time left   none: due, not yet expired since 2026-03-04T10:00:00.000000Z",
            "  R (p): a\\u{a}b",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "no `{line}` in:\n{shown}");
        }
        assert!(shown.contains("\\u{9b}2K no\\u{a}approved"), "{shown}");
        let none = show(&json!({"signals": {"left": "none"}}));
        assert!(none.lines().any(|line| line == "  erased"), "{none}");
    }
}
