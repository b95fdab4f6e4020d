//! Overrides and how their case ends (formats §4.2, §4.3).
//!
//! ```text
//! subject     name = execution id, digest = H(PAE) of the decision
//! override    by an approver's own key: approve (with an outcome) or reject (without)
//! resolution  by the runtime, one for each decision: approved | rejected | expired
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{AboutDecision, Predicate, StatementError, Subject, check};
use crate::digest::{Fingerprint, RecordId, text_serde};
use crate::ids::{ExecutionId, TenantId};
use crate::key::KeyId;
use crate::keyring::Role;
use crate::log::Kind;
use crate::signal::Duration;
use crate::time::Timestamp;

/// `https://chancery.dev/override/v1`: what one approver says to one decision.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Override {
    /// The subject that the keyring gives the approver's key.
    pub approver: String,
    /// The decision's fingerprint.
    pub execution_fingerprint: Fingerprint,
    /// The decision's execution.
    pub execution_id: ExecutionId,
    /// Until when the approver stands by it; the case has to be resolved before.
    pub expires_at: Timestamp,
    /// When the approver signed.
    pub issued_at: Timestamp,
    /// Random, so that two answers are two records.
    pub nonce: Nonce,
    /// What the decision is turned into: there exactly for an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Why, in the approver's words; 1 to 4,000 characters.
    pub reason: String,
    /// Why, as a code.
    pub reason_code: String,
    /// Approve or reject.
    pub resolution: OverrideResolution,
    /// The role in which the approver answers, without `approver:`.
    pub role: String,
    /// The approver's key.
    pub signer: KeyId,
    /// Whose log it is in.
    pub tenant: TenantId,
}

/// An approver's answer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OverrideResolution {
    /// The decision is to be turned into the override's outcome.
    Approve,
    /// The decision stands, and the case ends.
    Reject,
}

/// 16 random bytes; as text 32 lowercase hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// Takes 16 random bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Not a nonce.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a nonce is 32 lowercase hexadecimal digits")]
pub struct ParseNonceError;

impl FromStr for Nonce {
    type Err = ParseNonceError;

    fn from_str(text: &str) -> Result<Self, ParseNonceError> {
        let mut bytes = [0; 16];
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ParseNonceError);
        }
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseNonceError)?;
        Ok(Self(bytes))
    }
}

text_serde!(Nonce, "32 lowercase hexadecimal digits");

impl Predicate for Override {
    const TYPE: &'static str = "https://chancery.dev/override/v1";
    const KIND: Kind = Kind::Override;

    fn signer(&self) -> Option<&KeyId> {
        Some(&self.signer)
    }

    fn tenant(&self) -> Option<&TenantId> {
        Some(&self.tenant)
    }

    fn claimed_at(&self) -> Timestamp {
        self.issued_at
    }

    fn role(&self) -> Option<Role> {
        Some(Role::Approver(self.role.clone()))
    }

    fn check(&self, subject: &[Subject]) -> Result<(), StatementError> {
        check::about_decision(self, subject)?;
        check::text(&self.approver, "approver")?;
        check::text(&self.reason, "reason")?;
        check::text(&self.reason_code, "reasonCode")?;
        check::text(&self.role, "role")?;
        match (self.resolution, &self.outcome) {
            (OverrideResolution::Approve, Some(outcome)) => check::text(outcome, "outcome")?,
            (OverrideResolution::Reject, None) => {}
            _ => check::require(false, "outcome", "it is there exactly for an approval")?,
        }
        check::require(self.issued_at < self.expires_at, "expiresAt", "it has to be after `issuedAt`")
    }
}

impl AboutDecision for Override {
    fn execution_id(&self) -> &ExecutionId {
        &self.execution_id
    }

    fn execution_fingerprint(&self) -> &Fingerprint {
        &self.execution_fingerprint
    }
}

/// `https://chancery.dev/resolution/v1`: how the case of a decision ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resolution {
    /// The decision's fingerprint.
    pub execution_fingerprint: Fingerprint,
    /// The decision's execution.
    pub execution_id: ExecutionId,
    /// The outcome that holds from now on.
    pub final_outcome: String,
    /// The overrides that were counted, sorted.
    pub overrides: Vec<RecordId>,
    /// How it ended.
    pub resolution: ResolutionStatus,
    /// When the runtime ended it.
    pub resolved_at: Timestamp,
    /// The bundle's rule, as it was applied.
    pub rule: OverrideRule,
    /// The runtime's key.
    pub signer: KeyId,
    /// Whose log it is in.
    pub tenant: TenantId,
}

/// How an override case ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ResolutionStatus {
    /// A quorum approved one and the same outcome.
    Approved,
    /// An approver rejected: the decision's own outcome holds.
    Rejected,
    /// Nobody ended it in time: the decision's own outcome holds.
    Expired,
}

impl ResolutionStatus {
    /// `approved`, `rejected` or `expired`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }
}

/// The `[override]` table of a bundle, member for member (formats §7).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OverrideRule {
    /// How long a case stays open: a Cedar duration above zero, in the bundle's own words.
    pub expires: String,
    /// The outcomes that wait for approvers.
    pub outcomes: Vec<String>,
    /// How many distinct approvers have to agree.
    pub quorum: u32,
    /// The approver roles that count.
    pub roles: Vec<String>,
    /// What approvers may turn an outcome into.
    pub to: Vec<String>,
}

impl OverrideRule {
    /// How long a case stays open, in milliseconds; nothing where `expires` is no duration above zero.
    #[must_use]
    pub fn expires_ms(&self) -> Option<i64> {
        self.expires.parse::<Duration>().ok().map(Duration::as_ms).filter(|ms| *ms > 0)
    }

    fn check(&self) -> Result<(), StatementError> {
        check::require(
            self.expires_ms().is_some(),
            "rule.expires",
            "it has to be a Cedar duration above zero, `3d` for example",
        )?;
        check::require(self.quorum > 0, "rule.quorum", "at least one approver")?;
        for (list, member) in
            [(&self.outcomes, "rule.outcomes"), (&self.roles, "rule.roles"), (&self.to, "rule.to")]
        {
            check::require(!list.is_empty(), member, "the list is empty")?;
            list.iter().try_for_each(|element| check::text(element, member))?;
            check::distinct(list.iter().map(String::as_str), member)?;
        }
        Ok(())
    }
}

impl Predicate for Resolution {
    const TYPE: &'static str = "https://chancery.dev/resolution/v1";
    const KIND: Kind = Kind::Resolution;

    fn signer(&self) -> Option<&KeyId> {
        Some(&self.signer)
    }

    fn tenant(&self) -> Option<&TenantId> {
        Some(&self.tenant)
    }

    fn claimed_at(&self) -> Timestamp {
        self.resolved_at
    }

    fn role(&self) -> Option<Role> {
        Some(Role::Runtime)
    }

    fn check(&self, subject: &[Subject]) -> Result<(), StatementError> {
        check::about_decision(self, subject)?;
        check::text(&self.final_outcome, "finalOutcome")?;
        check::ascending(&self.overrides, |a, b| a < b, "overrides")?;
        check::require(
            self.overrides.is_empty() == (self.resolution == ResolutionStatus::Expired),
            "overrides",
            "there are none exactly where the case expired",
        )?;
        self.rule.check()
    }
}

impl AboutDecision for Resolution {
    fn execution_id(&self) -> &ExecutionId {
        &self.execution_id
    }

    fn execution_fingerprint(&self) -> &Fingerprint {
        &self.execution_fingerprint
    }
}
