//! Activations: from here on a bundle decides for its policy id (formats §4.4).
//!
//! ```text
//! subject   name = <policyId>@<version>, digest = bundleHash
//! ```

use serde::{Deserialize, Serialize};

use super::{Predicate, Statement, StatementError, Subject, check};
use crate::digest::BundleHash;
use crate::ids::{PolicyId, PolicyVersion, TenantId};
use crate::key::KeyId;
use crate::keyring::Role;
use crate::log::Kind;
use crate::time::Timestamp;

/// `https://chancery.dev/activation/v1`, signed by a policy key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Activation {
    /// When it was signed.
    pub activated_at: Timestamp,
    /// The bundle that decides from here on.
    pub bundle_hash: BundleHash,
    /// The policy that it decides for.
    pub policy_id: PolicyId,
    /// The bundle's version.
    pub policy_version: PolicyVersion,
    /// The bundle that decided before; null for the first of its policy id.
    pub previous: Option<BundleHash>,
    /// Why; 1 to 4,000 characters.
    pub reason: String,
    /// Who asked for it.
    pub requested_by: String,
    /// The publisher's key.
    pub signer: KeyId,
    /// Whose log it is in.
    pub tenant: TenantId,
}

impl Activation {
    fn subject_name(&self) -> String {
        format!("{}@{}", self.policy_id, self.policy_version)
    }
}

impl Statement<Activation> {
    /// The statement of an activation; its subject follows from the predicate.
    ///
    /// # Errors
    /// [`StatementError::Member`] for an empty or too long text.
    pub fn activation_of(predicate: Activation) -> Result<Self, StatementError> {
        let subject = vec![Subject::new(predicate.subject_name(), *predicate.bundle_hash.as_bytes())];
        Self::checked(subject, predicate)
    }
}

impl Predicate for Activation {
    const TYPE: &'static str = "https://chancery.dev/activation/v1";
    const KIND: Kind = Kind::Activation;

    fn signer(&self) -> Option<&KeyId> {
        Some(&self.signer)
    }

    fn tenant(&self) -> Option<&TenantId> {
        Some(&self.tenant)
    }

    fn claimed_at(&self) -> Timestamp {
        self.activated_at
    }

    fn role(&self) -> Option<Role> {
        Some(Role::Policy)
    }

    fn check(&self, subject: &[Subject]) -> Result<(), StatementError> {
        check::subject(subject, &self.subject_name(), self.bundle_hash.as_bytes())?;
        check::text(&self.reason, "reason")?;
        check::text(&self.requested_by, "requestedBy")
    }
}
