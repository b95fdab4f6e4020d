//! What policies a bundle has for each outcome, as they are written: for records of where a decision came from.
//!
//! ```text
//! outcome "refer" ── @id("refer-high-fraud") @reason("FRAUD_SCORE") @owner("fraud team") permit (…)
//!                      id                      reason                 annotations          effect
//! ```
//! A policy stands under every outcome that its scope can match, and so under several where the scope is wide. It
//! says nothing about a request: what determined one is in its decision.

use std::collections::BTreeMap;

use cedar_policy::Effect;
use serde::Serialize;

use crate::Bundle;
use crate::policies::Named;
use crate::text::{self, Language};

/// The policies that can have a say in one outcome.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct OutcomePolicies {
    /// The outcome.
    pub outcome: String,
    /// Its policies, in byte order of their ids.
    pub policies: Vec<DescribedPolicy>,
}

/// A policy, without its conditions.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct DescribedPolicy {
    /// Annotations other than `@id` and `@reason`, by name.
    pub annotations: BTreeMap<String, String>,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// The `@id`.
    pub id: String,
    /// The code of the `@reason`, where it has one.
    pub reason: Option<String>,
}

impl From<&Named> for DescribedPolicy {
    fn from(named: &Named) -> Self {
        let others = named.policy.annotations().filter(|(name, _)| !matches!(*name, "id" | "reason"));
        Self {
            annotations: others.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            effect: match named.policy.effect() {
                Effect::Permit => "permit",
                Effect::Forbid => "forbid",
            },
            id: named.id.clone(),
            reason: named.reason.clone(),
        }
    }
}

impl Bundle {
    /// The file and the text of a policy as it was written, without comments before it; `None` for an id that the
    /// bundle does not have.
    #[must_use]
    pub fn policy_text(&self, id: &str) -> Option<(&str, &str)> {
        let annotation = format!("@id(\"{id}\")");
        self.files().iter().filter(|(path, _)| path.ends_with(".cedar")).find_map(|(path, bytes)| {
            let text = std::str::from_utf8(bytes).ok()?;
            let mut starts = text::check(text, Language::Policies).ok()?;
            starts.push(text.len());
            starts.windows(2).find_map(|ends| match ends {
                [start, end] => {
                    let policy = text.get(*start..*end)?;
                    policy.contains(&annotation).then(|| (path.as_str(), without_comments_after(policy)))
                }
                _ => None,
            })
        })
    }
}

/// Cuts off what stands before the next policy: comments and empty lines.
fn without_comments_after(policy: &str) -> &str {
    let mut rest = policy.trim_end();
    while let Some((before, line)) = rest.rsplit_once('\n')
        && line.trim_start().starts_with("//")
    {
        rest = before.trim_end();
    }
    rest
}

#[cfg(test)]
mod tests {
    use crate::Bundle;

    #[test]
    fn policies_stand_under_every_outcome_that_their_scope_can_match() {
        let manifest = r#"
id = "small"
version = "1.0.0"
description = "two outcomes"
principal = "System"
resource = "Claim"
outcomes = ["refer", "approve"]
fallback = "refer"
[[reason]]
code = "LARGE"
customer = "c"
agent = "a"
regulator = "r"
"#;
        let schema = r#"
entity System;
entity Claim;
type Facts = { "amount": Long };
action "refer", "approve" appliesTo { principal: [System], resource: [Claim], context: Facts };
"#;
        let policies = r#"
@id("never") @owner("board") @why("law")
forbid (principal, action, resource) when { context.amount < 0 };
@id("large") @reason("LARGE")
permit (principal, action == Action::"refer", resource) when { context.amount > 10 };
// said of nothing
"#;
        let files = [("bundle.toml", manifest), ("schema.cedarschema", schema), ("policies.cedar", policies)];
        let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).into();
        let bundle = Bundle::from_files(files).unwrap();
        let (file, text) = bundle.policy_text("large").unwrap();
        assert_eq!(file, "policies.cedar");
        assert!(text.starts_with("@id(\"large\")") && text.ends_with("context.amount > 10 };"), "{text}");
        assert_eq!(bundle.policy_text("larg"), None);
        let described = serde_json::to_value(bundle.outcome_policies()).unwrap();
        let never = serde_json::json!({
            "annotations": {"owner": "board", "why": "law"}, "effect": "forbid", "id": "never", "reason": null,
        });
        let large =
            serde_json::json!({"annotations": {}, "effect": "permit", "id": "large", "reason": "LARGE"});
        assert_eq!(
            described,
            serde_json::json!([
                {"outcome": "refer", "policies": [large, never.clone()]},
                {"outcome": "approve", "policies": [never]},
            ])
        );
    }
}
