//! What happens to a decision later: verifications, confirmations, erasures (formats §4.4).
//!
//! ```text
//! verification, confirmation   subject = execution id and H(PAE) of the decision
//! erasure                      subjects = the executions, each with its fingerprint
//! ```

use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{AboutDecision, Predicate, Statement, StatementError, Subject, check};
use crate::digest::Fingerprint;
use crate::ids::{ExecutionId, TenantId};
use crate::key::KeyId;
use crate::keyring::Role;
use crate::log::Kind;
use crate::time::Timestamp;

/// `https://chancery.dev/verification/v1`: a check of a decision that was recorded; signed by a runtime key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verification {
    /// What was checked, each check once.
    pub checks: Vec<CheckOutcome>,
    /// The decision's fingerprint.
    pub execution_fingerprint: Fingerprint,
    /// The decision's execution.
    pub execution_id: ExecutionId,
    /// The runtime's key.
    pub signer: KeyId,
    /// Whose log it is in.
    pub tenant: TenantId,
    /// What it comes to.
    pub verdict: Verdict,
    /// When it was verified.
    pub verified_at: Timestamp,
    /// The verifier, `name/version`.
    pub verifier: String,
}

/// One check of a verification.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CheckOutcome {
    /// The check's id (formats §10), `log.inclusion` for example.
    pub id: String,
    /// Why, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How it went.
    pub result: CheckResult,
}

/// How a check went.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckResult {
    /// Checked, and right.
    Pass,
    /// Checked, and wrong.
    Fail,
    /// Could not be checked, or there was nothing to check.
    Unknown,
}

/// What all checks together come to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything that was asked for holds.
    Verified,
    /// Something is wrong.
    Failed,
    /// Nothing is wrong, but something that was asked for could not be checked.
    Incomplete,
}

impl Predicate for Verification {
    const TYPE: &'static str = "https://chancery.dev/verification/v1";
    const KIND: Kind = Kind::Verification;

    fn signer(&self) -> Option<&KeyId> {
        Some(&self.signer)
    }

    fn tenant(&self) -> Option<&TenantId> {
        Some(&self.tenant)
    }

    fn claimed_at(&self) -> Timestamp {
        self.verified_at
    }

    fn role(&self) -> Option<Role> {
        Some(Role::Runtime)
    }

    fn check(&self, subject: &[Subject]) -> Result<(), StatementError> {
        check::about_decision(self, subject)?;
        check::require(!self.checks.is_empty(), "checks", "nothing was checked")?;
        for check in &self.checks {
            check::text(&check.id, "checks.id")?;
            if let Some(reason) = &check.reason {
                check::text(reason, "checks.reason")?;
            }
        }
        check::distinct(self.checks.iter().map(|check| check.id.as_str()), "checks")?;
        let failed = self.checks.iter().any(|check| check.result == CheckResult::Fail);
        check::require(
            failed == (self.verdict == Verdict::Failed),
            "verdict",
            "it is `failed` exactly where a check failed",
        )?;
        let named = matches!(self.verifier.split_once('/'), Some((name, version))
            if !name.is_empty() && !version.is_empty());
        check::require(named, "verifier", "it has to be `name/version`")
    }
}

impl AboutDecision for Verification {
    fn execution_id(&self) -> &ExecutionId {
        &self.execution_id
    }

    fn execution_fingerprint(&self) -> &Fingerprint {
        &self.execution_fingerprint
    }
}

/// `https://chancery.dev/confirmation/v1`: what was really done after a decision; signed by a runtime key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Confirmation {
    /// When it was confirmed.
    pub confirmed_at: Timestamp,
    /// Who confirmed.
    pub confirmed_by: String,
    /// When the act was done, as the confirmer says.
    pub executed_at: Timestamp,
    /// The decision's fingerprint.
    pub execution_fingerprint: Fingerprint,
    /// The decision's execution.
    pub execution_id: ExecutionId,
    /// The outcome that was acted upon.
    pub outcome: String,
    /// The confirmer's own reference of the act.
    pub reference: String,
    /// The runtime's key.
    pub signer: KeyId,
    /// Whose log it is in.
    pub tenant: TenantId,
}

impl Predicate for Confirmation {
    const TYPE: &'static str = "https://chancery.dev/confirmation/v1";
    const KIND: Kind = Kind::Confirmation;

    fn signer(&self) -> Option<&KeyId> {
        Some(&self.signer)
    }

    fn tenant(&self) -> Option<&TenantId> {
        Some(&self.tenant)
    }

    fn claimed_at(&self) -> Timestamp {
        self.confirmed_at
    }

    fn role(&self) -> Option<Role> {
        Some(Role::Runtime)
    }

    fn check(&self, subject: &[Subject]) -> Result<(), StatementError> {
        check::about_decision(self, subject)?;
        check::text(&self.confirmed_by, "confirmedBy")?;
        check::text(&self.outcome, "outcome")?;
        check::text(&self.reference, "reference")
    }
}

impl AboutDecision for Confirmation {
    fn execution_id(&self) -> &ExecutionId {
        &self.execution_id
    }

    fn execution_fingerprint(&self) -> &Fingerprint {
        &self.execution_fingerprint
    }
}

/// `https://chancery.dev/erasure/v1`: openings that were erased; signed by an erasure key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Erasure {
    /// The legal ground; never the person.
    pub basis: String,
    /// When it was signed.
    pub erased_at: Timestamp,
    /// What was erased of each opening.
    pub fields: ErasedFields,
    /// Who asked for it.
    pub requested_by: String,
    /// The erasure officer's key.
    pub signer: KeyId,
    /// Whose log it is in.
    pub tenant: TenantId,
}

/// What was erased: `"all"`, or a list of signal names, each once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ErasedFields {
    /// The whole opening.
    All,
    /// These signals.
    Names(Vec<String>),
}

impl Serialize for ErasedFields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::Names(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ErasedFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = ErasedFields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`all` or a list of signal names")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ErasedFields, E> {
                if text == "all" {
                    Ok(ErasedFields::All)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ErasedFields, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(ErasedFields::Names(names))
            }
        }

        deserializer.deserialize_any(Fields)
    }
}

impl Statement<Erasure> {
    /// The statement of an erasure of these executions' openings.
    ///
    /// # Errors
    /// [`StatementError::Subject`] for no execution or one that is named twice, [`StatementError::Member`] for
    /// members that are not as they should be.
    pub fn erasure_of<'a>(
        executions: impl IntoIterator<Item = (&'a ExecutionId, &'a Fingerprint)>,
        predicate: Erasure,
    ) -> Result<Self, StatementError> {
        let subject = executions
            .into_iter()
            .map(|(id, fingerprint)| Subject::new(id.as_ref(), *fingerprint.as_bytes()))
            .collect();
        Self::checked(subject, predicate)
    }

    /// The executions whose openings were erased.
    pub fn executions(&self) -> impl Iterator<Item = (&str, Fingerprint)> {
        self.subject.iter().map(|subject| {
            (subject.name.as_str(), Fingerprint::from_bytes(*subject.digest.sha256.as_bytes()))
        })
    }
}

impl Predicate for Erasure {
    const TYPE: &'static str = "https://chancery.dev/erasure/v1";
    const KIND: Kind = Kind::Erasure;

    fn signer(&self) -> Option<&KeyId> {
        Some(&self.signer)
    }

    fn tenant(&self) -> Option<&TenantId> {
        Some(&self.tenant)
    }

    fn claimed_at(&self) -> Timestamp {
        self.erased_at
    }

    fn role(&self) -> Option<Role> {
        Some(Role::Erasure)
    }

    fn check(&self, subject: &[Subject]) -> Result<(), StatementError> {
        if subject.is_empty() {
            return Err(StatementError::Subject { rule: "there has to be at least one execution" });
        }
        if subject.iter().any(|subject| subject.name.parse::<ExecutionId>().is_err()) {
            return Err(StatementError::Subject { rule: "each has to be named by an execution id" });
        }
        let mut seen = std::collections::HashSet::new();
        if !subject.iter().all(|subject| seen.insert(subject.name.as_str())) {
            return Err(StatementError::Subject { rule: "an execution is there twice" });
        }
        check::text(&self.basis, "basis")?;
        check::text(&self.requested_by, "requestedBy")?;
        match &self.fields {
            ErasedFields::All => Ok(()),
            ErasedFields::Names(names) => {
                check::require(!names.is_empty(), "fields", "the list is empty")?;
                check::distinct(names.iter().map(String::as_str), "fields")
            }
        }
    }
}
