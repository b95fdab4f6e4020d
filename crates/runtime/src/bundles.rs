//! Policy bundles: signed, verified, published, put in force, and loaded for deciding.
//!
//! ```text
//! files ─► bundle.sum ─► signature (role policy)          sign, verify       formats §7
//!            │ publish: content and signature go to the store, once for each version
//!            ▼ activate: a statement by a policy key, logged   activation      formats §4.4
//!          in force
//! ```
//! Whatever comes out of the store is verified again before it decides anything: the content against the hash in
//! the activation, the signature of `bundle.sum` by a key that the keyring gave the role `policy` at the
//! activation's index, and the activation itself. What does not hold is refused; there is no way round.

mod error;
mod load;
mod signed;
#[cfg(test)]
mod tests;

pub use error::BundleError;
pub use signed::{BundleSignature, Files, SignedBundle, sign, verify};

pub(crate) use load::verify_stored;

use crate::answer::LogPosition;
use crate::runtime::Runtime;
use chancery_core::digest::BundleHash;
use chancery_core::dsse::{self, Envelope};
use chancery_core::ids::{PolicyId, PolicyVersion, TenantId};
use chancery_core::key::{KeyId, PublicKey, Signer};
use chancery_core::keyring::{Keyring, Role};
use chancery_core::sigstore::MessageBundle;
use chancery_core::statement::{Activation, Statement};
use chancery_core::time::Timestamp;
use chancery_policy::Bundle;
use chancery_store::{Appended, Body, NewActivation, NewEntry, Reader, StoreError, StoredBundle};
use signed::{content, signature_json};
use std::sync::Arc;

/// How far an activation's time may lie from this runtime's clock, ms (formats §4.4).
pub const ACTIVATION_SKEW_MS: i64 = 10 * 60 * 1_000;

/// A bundle that was verified and can decide.
#[derive(Debug)]
pub struct LoadedBundle {
    /// The policies.
    pub bundle: Bundle,
    /// Its policy id.
    pub policy: PolicyId,
    /// Its version.
    pub version: PolicyVersion,
    /// SHA-256 of its `bundle.sum`.
    pub hash: BundleHash,
    /// The signature over `bundle.sum`.
    pub signature: MessageBundle,
    /// The key whose signature holds.
    pub signer: KeyId,
}

/// What publishing came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Published {
    /// The policy.
    pub policy: PolicyId,
    /// The version.
    pub version: PolicyVersion,
    /// The content.
    pub hash: BundleHash,
    /// False when just this content had been published before.
    pub new: bool,
}

/// What is to be put in force, and why.
#[derive(Clone, Debug)]
pub struct ActivationRequest {
    /// The policy.
    pub policy: PolicyId,
    /// A published version of it.
    pub version: PolicyVersion,
    /// Why; 1 to 4,000 characters.
    pub reason: String,
    /// Who asks for it.
    pub requested_by: String,
}

impl ActivationRequest {
    /// The statement that puts content with this hash in force after `previous`, signed with `key` at `now`.
    ///
    /// # Errors
    /// [`BundleError::Statement`] for a bad reason, [`BundleError::Sign`].
    pub fn sign(
        &self,
        tenant: &TenantId,
        hash: BundleHash,
        previous: Option<BundleHash>,
        now: Timestamp,
        key: &dyn Signer,
    ) -> Result<(Activation, Envelope), BundleError> {
        let statement = Statement::activation_of(Activation {
            activated_at: now,
            bundle_hash: hash,
            policy_id: self.policy.clone(),
            policy_version: self.version.clone(),
            previous,
            reason: self.reason.clone(),
            requested_by: self.requested_by.clone(),
            signer: key.public_key().key_id().clone(),
            tenant: tenant.clone(),
        })?;
        let envelope = Envelope::sign(dsse::IN_TOTO, statement.to_payload()?.into_bytes(), key)?;
        Ok((statement.predicate, envelope))
    }
}

/// What activating came to.
#[derive(Clone, Debug)]
pub struct Activated {
    /// The statement.
    pub activation: Activation,
    /// Where it stands in the log.
    pub log: LogPosition,
}

impl Runtime {
    /// Stores a bundle, signed by a policy key that is good now. It decides nothing before it is activated.
    ///
    /// Durable once it returns. Publishing the same content again does nothing. Blocks.
    ///
    /// # Errors
    /// [`BundleError`]; [`BundleError::Published`] when the version has other content.
    pub fn publish(&self, signed: SignedBundle) -> Result<Published, BundleError> {
        let inner = &self.inner;
        let bundle = Bundle::from_files(content(&signed.files))?;
        let snapshot = inner.snapshot();
        let key = find_signer(&snapshot.keyring, &signed.signature)?;
        signed.signature.verify(bundle.sum().as_bytes(), key)?;
        let now = inner.clock.now();
        let size = inner.store.read(|reader| Ok(reader.head()?.size))?;
        judge(&snapshot.keyring, key.key_id(), size, now)?;
        let (policy, version, hash) =
            (bundle.manifest().id().clone(), bundle.manifest().version().clone(), bundle.hash());
        let stored = StoredBundle {
            policy_id: policy.clone(),
            policy_version: version.clone(),
            bundle_hash: hash,
            sum: bundle.sum().as_bytes().to_vec(),
            signature: signature_json(&signed.signature)?,
            files: content(&signed.files),
        };
        let new = inner.store.publish_bundle(stored, now)?;
        tracing::info!(%policy, %version, %hash, new, "bundle published");
        Ok(Published { policy, version, hash, new })
    }

    /// The statement that puts a published version in force, for its publisher to sign with `key`: `previous` is what
    /// is in force now, the time is now.
    ///
    /// # Errors
    /// [`BundleError::NotPublished`], [`BundleError::Statement`] for a bad reason, [`BundleError::Sign`].
    pub fn sign_activation(
        &self,
        request: &ActivationRequest,
        key: &dyn Signer,
    ) -> Result<Envelope, BundleError> {
        let inner = &self.inner;
        let loaded = inner.load_published(&request.policy, &request.version)?;
        let snapshot = inner.snapshot();
        let previous = snapshot.in_force.get(&request.policy).map(|loaded| loaded.hash);
        let (_, envelope) =
            request.sign(&inner.settings.tenant, loaded.hash, previous, inner.clock.now(), key)?;
        Ok(envelope)
    }

    /// Puts a bundle in force, as a signed activation says. Blocks until it is logged.
    ///
    /// Durable once it returns, and the next decision is made with it. What is in force already is activated again
    /// only with another key, because then another one answers for it.
    ///
    /// # Errors
    /// [`BundleError`]: the signature, the key, the time, `previous`, or the bundle itself.
    pub fn activate(&self, envelope: &Envelope) -> Result<Activated, BundleError> {
        let inner = &self.inner;
        let snapshot = inner.snapshot();
        let statement = verify_activation(&snapshot.keyring, envelope, &inner.settings.tenant)?;
        let activation = statement.predicate;
        let now = inner.clock.now();
        let skew_ms = activation.activated_at.saturating_diff_ms(now);
        if skew_ms.unsigned_abs() > ACTIVATION_SKEW_MS.unsigned_abs() {
            return Err(BundleError::ActivationTime { claimed: activation.activated_at, now });
        }
        let size = inner.store.read(|reader| Ok(reader.head()?.size))?;
        judge(&snapshot.keyring, &activation.signer, size, activation.activated_at)?;
        let loaded = inner.load_published(&activation.policy_id, &activation.policy_version)?;
        if loaded.hash != activation.bundle_hash {
            return Err(BundleError::NotPublished {
                policy: activation.policy_id,
                version: activation.policy_version,
            });
        }
        judge(&snapshot.keyring, &loaded.signer, size, activation.activated_at)?;
        let key = &activation.signer;
        if let Some(index) =
            inner.store.read(|reader| in_force_by(reader, &activation.policy_id, &loaded.hash, key))?
        {
            let (policy, version) = (activation.policy_id, activation.policy_version);
            return Err(BundleError::InForce { policy, version, index });
        }
        let appended = inner.store.submit_blocking(NewEntry {
            payload: envelope.payload.0.clone(),
            signatures: envelope.signatures.clone(),
            record_id: envelope.record_id(),
            claimed_at: activation.activated_at,
            body: Body::Activation(NewActivation {
                policy_id: activation.policy_id.clone(),
                policy_version: activation.policy_version.clone(),
                bundle_hash: activation.bundle_hash,
                previous: activation.previous,
                requested_by: activation.requested_by.clone(),
                reason: activation.reason.clone(),
            }),
        })?;
        inner.refresh()?;
        let log = position(&appended);
        let Activation { policy_id, policy_version, .. } = &activation;
        tracing::info!(policy = %policy_id, version = %policy_version, index = log.index, "bundle activated");
        Ok(Activated { activation, log })
    }

    /// Every bundle in force, ordered by policy id.
    #[must_use]
    pub fn in_force(&self) -> Vec<Arc<LoadedBundle>> {
        let mut all: Vec<_> = self.inner.snapshot().in_force.values().cloned().collect();
        all.sort_by(|a, b| a.policy.cmp(&b.policy));
        all
    }

    /// A published bundle, verified, whether in force or not.
    ///
    /// # Errors
    /// [`BundleError::NotPublished`], and whatever does not hold.
    pub fn bundle(
        &self,
        policy: &PolicyId,
        version: &PolicyVersion,
    ) -> Result<Arc<LoadedBundle>, BundleError> {
        self.inner.load_published(policy, version)
    }
}

/// The log index from which on this content is in force, where `key` put it there.
fn in_force_by(
    reader: &mut Reader<'_>,
    policy: &PolicyId,
    hash: &BundleHash,
    key: &KeyId,
) -> Result<Option<u64>, StoreError> {
    let Some(active) = reader.in_force()?.remove(policy).filter(|active| active.bundle_hash == *hash) else {
        return Ok(None);
    };
    let entry = reader.entry(active.index)?;
    let signed = entry.is_some_and(|entry| entry.signatures.iter().any(|signature| signature.keyid == *key));
    Ok(signed.then_some(active.index))
}

pub(crate) fn position(appended: &Appended) -> LogPosition {
    LogPosition { index: appended.index(), leaf_hash: appended.leaf_hash() }
}

/// Checks an activation's signature, statement and tenant; not the key's standing, which depends on the index.
fn verify_activation(
    keyring: &Keyring,
    envelope: &Envelope,
    tenant: &TenantId,
) -> Result<Statement<Activation>, BundleError> {
    let keyid = &envelope.single()?.keyid;
    let key = keyring.find_key(keyid).ok_or_else(|| BundleError::UnknownKey { key: keyid.to_string() })?;
    let statement = Statement::<Activation>::parse(&envelope.verify_single(key)?)?;
    if statement.predicate.tenant != *tenant {
        return Err(BundleError::Tenant { found: statement.predicate.tenant });
    }
    Ok(statement)
}

fn find_signer<'k>(keyring: &'k Keyring, signature: &MessageBundle) -> Result<&'k PublicKey, BundleError> {
    let hint = signature.hint();
    keyring.find_hint(hint).ok_or_else(|| BundleError::UnknownKey {
        key: format!("with hint {}", chancery_core::b64::encode(hint)),
    })
}

fn judge(keyring: &Keyring, key: &KeyId, index: u64, at: Timestamp) -> Result<(), BundleError> {
    match keyring.judge(key, &Role::Policy, index, at) {
        Ok(_) => Ok(()),
        Err(standing) => Err(BundleError::Key { key: key.clone(), standing }),
    }
}
