//! `bundle.toml`: what a bundle is, in which order its outcomes are asked, and who may override them (formats §7).
//!
//! ```toml
//! id = "claim-approval"        outcomes = ["deny", "refer", "approve"]     [override]  outcomes, to, roles,
//! version = "1.0.0"            fallback = "refer"                                      quorum, expires
//! principal = "System"         select = "approve"                          [[reason]]  code, customer, agent,
//! resource = "Claim"                                                                   regulator
//! ```
//!
//! All members are known; one with another name is refused. All faults are found at once, each with its place.

use std::collections::BTreeMap;

use chancery_core::ids::{PolicyId, PolicyVersion};
use chancery_core::signal::Duration;
use chancery_core::statement::OverrideRule;

mod read;
mod table;

pub(crate) use read::{Draft, FILE, is_name, read};

/// The manifest of a bundle.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manifest {
    id: PolicyId,
    version: PolicyVersion,
    description: String,
    principal: String,
    resource: String,
    outcomes: Vec<String>,
    fallback: String,
    select: String,
    overrides: Option<Overrides>,
    reasons: BTreeMap<String, ReasonTexts>,
}

/// The `[override]` table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Overrides {
    rule: OverrideRule,
    expires: Duration,
}

/// The texts of a reason; none is empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReasonTexts {
    /// For the person that the decision is about.
    pub customer: String,
    /// For the person who talks to the customer.
    pub agent: String,
    /// For auditors; the one that decisions record.
    pub regulator: String,
}

impl Manifest {
    /// The policy id that all versions of the bundle share.
    #[must_use]
    pub fn id(&self) -> &PolicyId {
        &self.id
    }

    /// The version (SemVer).
    #[must_use]
    pub fn version(&self) -> &PolicyVersion {
        &self.version
    }

    /// What the bundle is for; empty where the manifest does not say.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The entity type of principals, the submitting systems.
    #[must_use]
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// The entity type of resources, what is decided on.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The outcomes in the order in which they are asked; at least one, none twice.
    #[must_use]
    pub fn outcomes(&self) -> &[String] {
        &self.outcomes
    }

    /// The outcome where none is allowed; one of [`Manifest::outcomes`].
    #[must_use]
    pub fn fallback(&self) -> &str {
        &self.fallback
    }

    /// The outcome that selects a candidate; one of [`Manifest::outcomes`], by default the last.
    #[must_use]
    pub fn select(&self) -> &str {
        &self.select
    }

    /// Who may override which outcome; `None` if nobody may any.
    #[must_use]
    pub fn overrides(&self) -> Option<&Overrides> {
        self.overrides.as_ref()
    }

    /// Does `outcome` wait for approvers?
    #[must_use]
    pub fn needs_override(&self, outcome: &str) -> bool {
        self.overrides.as_ref().is_some_and(|overrides| overrides.rule.outcomes.iter().any(|o| o == outcome))
    }

    /// The texts of the reason `code`.
    #[must_use]
    pub fn reason(&self, code: &str) -> Option<&ReasonTexts> {
        self.reasons.get(code)
    }

    /// All reasons with their texts, ordered by code.
    pub fn reasons(&self) -> impl ExactSizeIterator<Item = (&str, &ReasonTexts)> {
        self.reasons.iter().map(|(code, texts)| (code.as_str(), texts))
    }
}

impl Overrides {
    /// The five members, as resolutions record them.
    #[must_use]
    pub fn rule(&self) -> &OverrideRule {
        &self.rule
    }

    /// How long a case stays open, in milliseconds; more than 0.
    #[must_use]
    pub const fn expires_ms(&self) -> i64 {
        self.expires.as_ms()
    }
}

#[cfg(test)]
mod tests;
