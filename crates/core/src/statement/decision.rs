//! Decisions: what policy said about one execution (formats §4.1).
//!
//! ```text
//! subject    name = execution id, digest = execution fingerprint
//! errors     not empty  <=>  executionState "blocked", and then nothing can be overridden
//! otherwise  requiresOverride  <=>  executionState "pending_override"
//! ```

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Predicate, StatementError, Subject, check};
use crate::digest::{BundleHash, Digest, Fingerprint, SignalsRoot};
use crate::ids::{EntityUid, ExecutionId, PolicyId, PolicyVersion, TenantId};
use crate::key::KeyId;
use crate::keyring::Role;
use crate::log::Kind;
use crate::time::Timestamp;

pub(super) mod candidates;

use candidates::Candidates;

/// How many labels a decision may carry.
pub const LABELS_MAX: usize = 16;

/// `https://chancery.dev/decision/v1`, signed by a runtime key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decision {
    /// What became of the candidates, where the request had any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Candidates>,
    /// What policy said.
    pub decision: DecisionBody,
    /// Whether it counts: a test log never proves anything about production.
    pub environment: Environment,
    /// When the runtime evaluated it.
    pub executed_at: Timestamp,
    /// The commitment to its inputs (formats §3); also the subject's digest.
    pub execution_fingerprint: Fingerprint,
    /// The caller's id of the execution, unique in a log; also the subject's name.
    pub execution_id: ExecutionId,
    /// Where the execution stands after this decision.
    pub execution_state: ExecutionState,
    /// The caller's labels, 1 to 16 where there are any. Never personal data: they are signed for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The model snapshots that the caller named, in its order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<Model>>,
    /// The bundle that decided.
    pub policy: PolicyRef,
    /// Who submitted.
    pub principal: EntityUid,
    /// What was decided on.
    pub resource: EntityUid,
    /// The program that decided.
    pub runtime: Runtime,
    /// The commitment to the signals (formats §3).
    pub signals_root: SignalsRoot,
    /// The runtime's key.
    pub signer: KeyId,
    /// Whose log it is in.
    pub tenant: TenantId,
}

/// `decision`: the outcome and where it comes from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DecisionBody {
    /// Ids of the policies that determined the outcome, in byte order.
    pub determining: Vec<String>,
    /// What went wrong in the evaluation, by policy id and code. Anything here blocks the execution.
    pub errors: Vec<EvaluationError>,
    /// One of the bundle's outcomes.
    pub outcome: String,
    /// The reasons of the determining policies, by policy id and code.
    pub reasons: Vec<Reason>,
    /// Whether the outcome waits for approvers.
    pub requires_override: bool,
}

/// A reason code that a determining policy names.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// The code of the policy's `@reason`.
    pub code: String,
    /// The policy's `@id`.
    pub policy: String,
    /// The bundle's text of the code for a regulator.
    pub text: String,
}

/// A policy that could not be evaluated. The text belongs to the code and is never the engine's wording.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationError {
    /// What went wrong.
    pub code: ErrorCode,
    /// The policy's `@id`.
    pub policy: String,
    /// [`ErrorCode::text`] of the code.
    pub text: String,
}

impl EvaluationError {
    /// The error of a policy, with its code's text.
    #[must_use]
    pub fn new(code: ErrorCode, policy: impl Into<String>) -> Self {
        Self { code, policy: policy.into(), text: code.text().to_owned() }
    }
}

/// Kinds of evaluation errors. They are ordered by their text form.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum ErrorCode {
    /// An attribute that is not there.
    #[serde(rename = "cedar.attribute")]
    Attribute,
    /// An entity that is not there.
    #[serde(rename = "cedar.entity")]
    Entity,
    /// An extension function that failed.
    #[serde(rename = "cedar.extension")]
    Extension,
    /// Anything else.
    #[serde(rename = "cedar.other")]
    Other,
    /// Integer overflow.
    #[serde(rename = "cedar.overflow")]
    Overflow,
    /// Nested too deeply.
    #[serde(rename = "cedar.recursion")]
    Recursion,
    /// A value of the wrong type.
    #[serde(rename = "cedar.type")]
    Type,
}

impl ErrorCode {
    /// The code as records have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attribute => "cedar.attribute",
            Self::Entity => "cedar.entity",
            Self::Extension => "cedar.extension",
            Self::Other => "cedar.other",
            Self::Overflow => "cedar.overflow",
            Self::Recursion => "cedar.recursion",
            Self::Type => "cedar.type",
        }
    }

    /// The fixed text (formats §4.1), so that evaluating again gives the same bytes.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Attribute => "an attribute that the policy reads is not there",
            Self::Entity => "an entity that the policy reads is not there",
            Self::Extension => "an extension value cannot be made or compared",
            Self::Other => "the policy could not be evaluated",
            Self::Overflow => "integer overflow",
            Self::Recursion => "the policy nests too deeply",
            Self::Type => "a value has the wrong type",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a log is for; fixed when the log is made.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Decisions that count.
    Production,
    /// Trials.
    Test,
}

impl Environment {
    /// `production` or `test`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an execution stands when it has been decided.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionState {
    /// The outcome holds.
    Completed,
    /// Approvers have to answer first.
    PendingOverride,
    /// An evaluation error: the caller must not act, and nobody can override.
    Blocked,
}

impl ExecutionState {
    /// `completed`, `pending_override` or `blocked`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::PendingOverride => "pending_override",
            Self::Blocked => "blocked",
        }
    }
}

impl fmt::Display for ExecutionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A model whose output was among the signals, as the caller names it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Model {
    /// The model's name.
    pub id: String,
    /// SHA-256 of its weights or state.
    pub state_sha256: Digest,
    /// Its version.
    pub version: String,
}

/// The bundle that decided, and the engine that ran it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyRef {
    /// SHA-256 of `bundle.sum`.
    pub bundle_hash: BundleHash,
    /// Name and exact version, `cedar-policy/4.14.1` for example.
    pub engine: String,
    /// The policy id.
    pub id: PolicyId,
    /// The bundle's version.
    pub version: PolicyVersion,
}

/// The program that decided.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Runtime {
    /// SHA-256 of the program's file.
    pub binary: Digest,
    /// SHA-256 of its build identity's payload; null where the build was not signed.
    pub build_identity: Option<Digest>,
    /// The program's version.
    pub version: String,
}

impl Decision {
    /// The state that its body leads to.
    #[must_use]
    pub fn state_of(body: &DecisionBody) -> ExecutionState {
        if !body.errors.is_empty() {
            ExecutionState::Blocked
        } else if body.requires_override {
            ExecutionState::PendingOverride
        } else {
            ExecutionState::Completed
        }
    }
}

impl Predicate for Decision {
    const TYPE: &'static str = "https://chancery.dev/decision/v1";
    const KIND: Kind = Kind::Decision;

    fn signer(&self) -> Option<&KeyId> {
        Some(&self.signer)
    }

    fn tenant(&self) -> Option<&TenantId> {
        Some(&self.tenant)
    }

    fn claimed_at(&self) -> Timestamp {
        self.executed_at
    }

    fn role(&self) -> Option<Role> {
        Some(Role::Runtime)
    }

    fn check(&self, subject: &[Subject]) -> Result<(), StatementError> {
        check::subject(subject, self.execution_id.as_ref(), self.execution_fingerprint.as_bytes())?;
        self.decision.check()?;
        check::require(
            self.execution_state == Self::state_of(&self.decision),
            "executionState",
            "it does not agree with `errors` and `requiresOverride`",
        )?;
        if let Some(labels) = &self.labels {
            check::require(
                (1..=LABELS_MAX).contains(&labels.len()) && !labels.contains_key(""),
                "labels",
                "1 to 16 labels with names, or the member left out",
            )?;
        }
        if let Some(models) = &self.models {
            check::require(!models.is_empty(), "models", "an empty list has to be left out")?;
            for model in models {
                check::text(&model.id, "models.id")?;
                check::text(&model.version, "models.version")?;
            }
        }
        check::text(&self.policy.engine, "policy.engine")?;
        check::text(&self.runtime.version, "runtime.version")?;
        self.candidates.as_ref().map_or(Ok(()), Candidates::check)
    }
}

impl DecisionBody {
    fn check(&self) -> Result<(), StatementError> {
        check::text(&self.outcome, "decision.outcome")?;
        determining(&self.determining, "decision.determining")?;
        check::ascending(
            &self.reasons,
            |a, b| (&a.policy, &a.code) < (&b.policy, &b.code),
            "decision.reasons",
        )?;
        for reason in &self.reasons {
            check::text(&reason.code, "decision.reasons.code")?;
            check::require(
                self.determining.binary_search(&reason.policy).is_ok(),
                "decision.reasons.policy",
                "a reason is that of a determining policy",
            )?;
        }
        check::ascending(
            &self.errors,
            |a, b| (&a.policy, a.code.as_str()) < (&b.policy, b.code.as_str()),
            "decision.errors",
        )?;
        for error in &self.errors {
            check::text(&error.policy, "decision.errors.policy")?;
            check::require(
                error.text == error.code.text(),
                "decision.errors.text",
                "it is not the code's text",
            )?;
        }
        check::require(
            self.errors.is_empty() || !self.requires_override,
            "decision.requiresOverride",
            "a blocked execution cannot be overridden",
        )
    }
}

/// A list of policy ids: named, sorted, each once.
fn determining(list: &[String], member: &'static str) -> Result<(), StatementError> {
    list.iter().try_for_each(|policy| check::text(policy, member))?;
    check::ascending(list, |a, b| a < b, member)
}

impl super::Statement<Decision> {
    /// The statement of a decision; its subject follows from the predicate.
    ///
    /// # Errors
    /// [`StatementError::Member`] for members that do not agree.
    pub fn decision_of(predicate: Decision) -> Result<Self, StatementError> {
        let subject =
            vec![Subject::new(predicate.execution_id.as_ref(), *predicate.execution_fingerprint.as_bytes())];
        Self::checked(subject, predicate)
    }
}
