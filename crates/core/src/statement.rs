//! in-toto statements: what every record says (formats §4).
//!
//! Source: in-toto attestation framework, Statement v1. A payload is the RFC 8785 form of
//!
//! ```text
//! {"_type":"https://in-toto.io/Statement/v1",
//!  "predicate":{…},
//!  "predicateType":"https://chancery.dev/<kind>/v1",
//!  "subject":[{"digest":{"sha256":"hex"},"name":"…"}]}
//! ```
//!
//! A [`Statement`] that exists has the shape that its kind asks for: no unknown member, exact types, canonical
//! bytes, a subject that agrees with its predicate. Whether what it says is true (key, log, policy) is judged
//! elsewhere.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use crate::canonical::{Canonical, CanonicalError, is_canonical_of, to_canonical};
use crate::digest::{Digest, Fingerprint, RecordId};
use crate::dsse::{self, VerifiedPayload};
use crate::ids::{ExecutionId, TenantId};
use crate::key::KeyId;
use crate::keyring::Role;
use crate::log::Kind;
use crate::time::Timestamp;

mod activation;
mod any;
mod build;
mod check;
mod decision;
mod events;
mod overrides;

pub use activation::Activation;
pub use any::AnyStatement;
pub use build::{BuildIdentity, Git, Image, Sbom};
pub use decision::candidates::{CANDIDATES_MAX, Candidates, EXCLUDED_MAX, Excluded, Selected};
pub use decision::{
    Decision, DecisionBody, Environment, ErrorCode, EvaluationError, ExecutionState, LABELS_MAX, Model,
    PolicyRef, Reason, Runtime,
};
pub use events::{CheckOutcome, CheckResult, Confirmation, ErasedFields, Erasure, Verdict, Verification};
pub use overrides::{Nonce, Override, OverrideResolution, OverrideRule, Resolution, ResolutionStatus};

/// The `_type` of every statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// What a kind of record says about its subject.
pub trait Predicate: Serialize + DeserializeOwned + fmt::Debug {
    /// The `predicateType`.
    const TYPE: &'static str;
    /// The kind of its log entry.
    const KIND: Kind;

    /// The key that says so; the keyring, which many keys sign, has none.
    fn signer(&self) -> Option<&KeyId>;

    /// The tenant whose log it belongs to; a build identity has none.
    fn tenant(&self) -> Option<&TenantId>;

    /// The time at which it says that it was made.
    fn claimed_at(&self) -> Timestamp;

    /// The role that its key has to have; the keyring is signed by root keys instead.
    fn role(&self) -> Option<Role>;

    /// Whether members agree with each other and with the subject, beyond what their types say.
    ///
    /// # Errors
    /// [`StatementError::Member`] or [`StatementError::Subject`] for the first that does not.
    fn check(&self, subject: &[Subject]) -> Result<(), StatementError>;
}

/// Predicates about one decision; their subject is its execution id and the hash of its PAE.
pub trait AboutDecision: Predicate {
    /// The execution that was decided.
    fn execution_id(&self) -> &ExecutionId;

    /// Its fingerprint, as the decision has it.
    fn execution_fingerprint(&self) -> &Fingerprint;
}

/// What a statement is about: a name and its SHA-256.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The digests of in-toto's digest set; here always the one.
    pub digest: DigestSet,
    /// What is named depends on the kind: an execution, a bundle, a tenant, a file.
    pub name: String,
}

impl Subject {
    /// A subject of this name and SHA-256.
    #[must_use]
    pub fn new(name: impl Into<String>, sha256: [u8; 32]) -> Self {
        Self { digest: DigestSet { sha256: Digest::from_bytes(sha256) }, name: name.into() }
    }
}

/// in-toto's DigestSet, of which SHA-256 alone is used.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DigestSet {
    /// SHA-256 of the subject, or for an execution its fingerprint.
    pub sha256: Digest,
}

/// A statement of one kind that has the right shape. Only the constructors and the parsers make one.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Statement<P> {
    /// What it is about; one, but for erasures and build identities.
    pub subject: Vec<Subject>,
    /// What it says.
    pub predicate: P,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a, P> {
    #[serde(borrow, rename = "_type")]
    statement_type: Cow<'a, str>,
    predicate: P,
    #[serde(borrow, rename = "predicateType")]
    predicate_type: Cow<'a, str>,
    subject: Vec<Subject>,
}

/// Enough of a statement to say why it is not one of the kind that was wanted.
#[derive(Deserialize)]
struct Peek {
    #[serde(rename = "predicateType")]
    predicate_type: String,
    #[serde(flatten)]
    _rest: std::collections::HashMap<String, IgnoredAny>,
}

impl<P: Predicate> Statement<P> {
    /// Reads a payload whose signature holds.
    ///
    /// # Errors
    /// [`StatementError::PayloadType`] for another payload type, [`StatementError::Signer`] where the predicate
    /// names another key than the one that signed, and what [`Statement::parse_unverified`] has.
    pub fn parse(payload: &VerifiedPayload) -> Result<Self, StatementError> {
        if payload.payload_type() != dsse::IN_TOTO {
            return Err(StatementError::PayloadType(payload.payload_type().to_owned()));
        }
        let statement = Self::parse_unverified(payload.bytes())?;
        if let Some(claimed) = statement.predicate.signer()
            && payload.signers() != [claimed.clone()]
        {
            return Err(StatementError::Signer {
                claimed: claimed.clone(),
                signed: payload.signers().first().cloned(),
            });
        }
        Ok(statement)
    }

    /// Reads payload bytes that nobody has verified: to show them, or to take them from a store that is
    /// verified otherwise. All rules of shape hold.
    ///
    /// # Errors
    /// [`StatementError`], which names the member and the rule.
    pub fn parse_unverified(bytes: &[u8]) -> Result<Self, StatementError> {
        let wire: Wire<'_, P> =
            serde_json::from_slice(bytes).map_err(|error| match serde_json::from_slice::<Peek>(bytes) {
                Ok(peek) if peek.predicate_type != P::TYPE => {
                    StatementError::PredicateType { expected: P::TYPE, found: peek.predicate_type }
                }
                _ => StatementError::Json(error),
            })?;
        if wire.statement_type != STATEMENT_TYPE {
            return Err(StatementError::StatementType(wire.statement_type.into_owned()));
        }
        if wire.predicate_type != P::TYPE {
            let found = wire.predicate_type.into_owned();
            return Err(StatementError::PredicateType { expected: P::TYPE, found });
        }
        let statement = Self::checked(wire.subject, wire.predicate)?;
        if is_canonical_of(&statement, bytes) { Ok(statement) } else { Err(StatementError::NotCanonical) }
    }

    pub(crate) fn checked(subject: Vec<Subject>, predicate: P) -> Result<Self, StatementError> {
        predicate.check(&subject)?;
        Ok(Self { subject, predicate })
    }

    /// The bytes to sign and to store.
    ///
    /// # Errors
    /// [`StatementError::Canonical`] for what canonical JSON cannot hold, an integer above 2^53−1 for example.
    pub fn to_payload(&self) -> Result<Canonical, StatementError> {
        to_canonical(self).map_err(StatementError::Canonical)
    }
}

impl<P: AboutDecision> Statement<P> {
    /// A statement about the decision that `decision` identifies, [`crate::dsse::Envelope::record_id`] of its
    /// envelope.
    ///
    /// # Errors
    /// [`StatementError::Member`] for a predicate that is not as its kind has to be.
    pub fn about(decision: &RecordId, predicate: P) -> Result<Self, StatementError> {
        let subject = vec![Subject::new(predicate.execution_id().as_ref(), *decision.as_bytes())];
        Self::checked(subject, predicate)
    }

    /// The decision that it is about.
    #[must_use]
    pub fn decision(&self) -> Option<RecordId> {
        self.subject.first().map(|subject| RecordId::from_bytes(*subject.digest.sha256.as_bytes()))
    }
}

impl<P: Predicate> Serialize for Statement<P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Statement", 4)?;
        out.serialize_field("_type", STATEMENT_TYPE)?;
        out.serialize_field("predicate", &self.predicate)?;
        out.serialize_field("predicateType", P::TYPE)?;
        out.serialize_field("subject", &self.subject)?;
        out.end()
    }
}

/// A payload that is not the statement that it should be.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// The envelope's payload type is another one.
    #[error("the payload type is `{0}`; a statement's is `application/vnd.in-toto+json`")]
    PayloadType(String),
    /// Not JSON, a member missing or unknown, or a value of the wrong type.
    #[error("the statement has not the members and types of its kind")]
    Json(#[source] serde_json::Error),
    /// Another `_type`.
    #[error("`_type` is `{0}`, not in-toto Statement v1")]
    StatementType(String),
    /// A statement of another kind.
    #[error("`predicateType` is `{found}`; `{expected}` was expected")]
    PredicateType {
        /// The type of the kind that was asked for.
        expected: &'static str,
        /// The type that the statement has.
        found: String,
    },
    /// The values are right, but not written in canonical form.
    #[error("the payload is not canonical JSON: it differs from what its own values encode to")]
    NotCanonical,
    /// Canonical JSON has no form for a value.
    #[error("the statement has no canonical form")]
    Canonical(#[source] CanonicalError),
    /// A member breaks a rule of its kind.
    #[error("`{member}`: {rule}")]
    Member {
        /// The member's name, within the predicate.
        member: &'static str,
        /// What has to hold.
        rule: &'static str,
    },
    /// The subject does not agree with the predicate.
    #[error("`subject`: {rule}")]
    Subject {
        /// What has to hold.
        rule: &'static str,
    },
    /// The predicate names a key that did not sign.
    #[error("`signer` is `{claimed}`, which is not the one key that signed")]
    Signer {
        /// The key that the predicate names.
        claimed: KeyId,
        /// The key whose signature holds, if there is one.
        signed: Option<KeyId>,
    },
}

#[cfg(test)]
mod tests;
