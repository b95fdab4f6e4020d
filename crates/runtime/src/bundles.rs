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

use crate::answer::LogPosition;
use crate::error::{ExecuteError, store_cause, store_code, store_detail};
use crate::failure::{Cause, Failure};
use crate::runtime::{Inner, Runtime};
use chancery_core::digest::BundleHash;
use chancery_core::dsse::{self, Envelope, EnvelopeError};
use chancery_core::ids::{PolicyId, PolicyVersion, TenantId};
use chancery_core::key::{KeyId, PublicKey, SignError, Signer};
use chancery_core::keyring::{Keyring, KeyringError, Role, Standing};
use chancery_core::sigstore::{self, MessageBundle};
use chancery_core::statement::{Activation, Statement, StatementError};
use chancery_core::time::Timestamp;
use chancery_policy::Bundle;
use chancery_policy::sum::{SIGNATURE, SUM, is_beside};
use chancery_store::{
    Appended, Body, DecisionSummary, InForce, NewActivation, NewEntry, Reader, Rejected, StoreError,
    StoredBundle, SubmitError,
};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

/// How far an activation's time may lie from this runtime's clock, ms (formats §4.4).
pub const ACTIVATION_SKEW_MS: i64 = 10 * 60 * 1_000;

/// The files of a bundle: path to content.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A bundle with the signature over its `bundle.sum`.
#[derive(Clone, Debug)]
pub struct SignedBundle {
    /// The content, without `bundle.sum` and its signature.
    pub files: Files,
    /// The signature.
    pub signature: MessageBundle,
}

/// What signing a bundle makes.
#[derive(Clone, Debug)]
pub struct BundleSignature {
    /// The text for `bundle.sum`.
    pub sum: String,
    /// Its hash, which decisions name.
    pub hash: BundleHash,
    /// For `bundle.sum.sigstore.json`.
    pub signature: MessageBundle,
}

impl BundleSignature {
    /// The bytes for `bundle.sum.sigstore.json`.
    ///
    /// # Errors
    /// [`BundleError::Written`]; does not happen.
    pub fn to_json(&self) -> Result<Vec<u8>, BundleError> {
        signature_json(&self.signature)
    }
}

fn signature_json(signature: &MessageBundle) -> Result<Vec<u8>, BundleError> {
    let canonical = chancery_core::canonical::to_canonical(signature)?;
    Ok(canonical.into_bytes())
}

/// Checks a bundle and signs its `bundle.sum`. Files beside the content are ignored.
///
/// # Errors
/// [`BundleError::Invalid`] with every fault of the bundle, [`BundleError::Sign`].
pub fn sign(files: &Files, key: &dyn Signer) -> Result<BundleSignature, BundleError> {
    let bundle = Bundle::from_files(content(files))?;
    let signature = MessageBundle::sign(bundle.sum().as_bytes(), key)?;
    Ok(BundleSignature { sum: bundle.sum().to_owned(), hash: bundle.hash(), signature })
}

/// Checks a bundle and that `key` signed it.
///
/// # Errors
/// [`BundleError::Invalid`], [`BundleError::Signature`].
pub fn verify(signed: &SignedBundle, key: &PublicKey) -> Result<Bundle, BundleError> {
    let bundle = Bundle::from_files(content(&signed.files))?;
    signed.signature.verify(bundle.sum().as_bytes(), key)?;
    Ok(bundle)
}

impl SignedBundle {
    /// Takes a bundle's folder apart: content, and `bundle.sum.sigstore.json`. Where there is a `bundle.sum`, it has
    /// to be the one that the content gives.
    ///
    /// # Errors
    /// [`BundleError::NotSigned`], [`BundleError::Sum`], [`BundleError::Path`], [`BundleError::Signature`] for a
    /// signature file that is none.
    pub fn from_folder(mut files: Files) -> Result<Self, BundleError> {
        let signature = files.remove(SIGNATURE).ok_or(BundleError::NotSigned)?;
        let signature = MessageBundle::parse(&signature)?;
        let given = files.remove(SUM);
        let sum = chancery_policy::sum(&files)?;
        if given.is_some_and(|given| given != sum.as_bytes()) {
            return Err(BundleError::Sum);
        }
        Ok(Self { files, signature })
    }
}

fn content(files: &Files) -> Files {
    files
        .iter()
        .filter(|(path, _)| !is_beside(path))
        .map(|(path, bytes)| (path.clone(), bytes.clone()))
        .collect()
}

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

impl Inner {
    /// The bundle that an activation put in force, with everything about it verified.
    pub(crate) fn load_in_force(
        &self,
        keyring: &Keyring,
        policy: &PolicyId,
        active: &InForce,
    ) -> Result<Arc<LoadedBundle>, BundleError> {
        let damaged = |what: &'static str| BundleError::Tampered {
            policy: policy.clone(),
            version: active.policy_version.clone(),
            what,
        };
        let entry = self
            .store
            .read(|reader| reader.entry(active.index))?
            .ok_or_else(|| damaged("its activation is not in the log"))?;
        let statement = verify_activation(keyring, &entry.envelope(), &self.settings.tenant)
            .map_err(|_| damaged("its activation does not hold"))?;
        let activation = statement.predicate;
        if activation.bundle_hash != active.bundle_hash
            || activation.policy_id != *policy
            || activation.policy_version != active.policy_version
        {
            return Err(damaged("the table of activations does not say what the signed activation says"));
        }
        judge(keyring, &activation.signer, active.index, activation.activated_at)?;
        let loaded = self.load(keyring, &active.bundle_hash)?;
        let loaded = loaded.ok_or_else(|| damaged("its content is not in the store"))?;
        if loaded.policy != *policy || loaded.version != active.policy_version {
            return Err(damaged("its manifest names another policy or version"));
        }
        judge(keyring, &loaded.signer, active.index, activation.activated_at)?;
        Ok(loaded)
    }

    /// The bundle that a recorded decision names.
    pub(crate) fn bundle_of(&self, summary: &DecisionSummary) -> Result<Arc<LoadedBundle>, ExecuteError> {
        let snapshot = self.snapshot();
        if let Some(loaded) = snapshot.in_force.get(&summary.policy_id)
            && loaded.hash == summary.bundle_hash
        {
            return Ok(Arc::clone(loaded));
        }
        let loaded = self.load(&snapshot.keyring, &summary.bundle_hash).map_err(Arc::new)?;
        loaded.ok_or_else(|| {
            ExecuteError::Bundle(Arc::new(BundleError::Tampered {
                policy: summary.policy_id.clone(),
                version: summary.policy_version.clone(),
                what: "a decision names it and it is not in the store",
            }))
        })
    }

    /// A published version, for an evaluation.
    pub(crate) fn published(
        &self,
        policy: &PolicyId,
        version: &PolicyVersion,
    ) -> Result<Arc<LoadedBundle>, ExecuteError> {
        self.load_published(policy, version).map_err(|error| match error {
            BundleError::NotPublished { policy, version } => ExecuteError::NotPublished { policy, version },
            BundleError::Store(error) => ExecuteError::Store(error),
            error => ExecuteError::Bundle(Arc::new(error)),
        })
    }

    fn load_published(
        &self,
        policy: &PolicyId,
        version: &PolicyVersion,
    ) -> Result<Arc<LoadedBundle>, BundleError> {
        let missing = || BundleError::NotPublished { policy: policy.clone(), version: version.clone() };
        let stored = self.store.read(|reader| reader.bundle(policy, version))?.ok_or_else(missing)?;
        let loaded = self.load(&self.snapshot().keyring, &stored.bundle_hash)?.ok_or_else(missing)?;
        if loaded.policy != *policy || loaded.version != *version {
            let what = "its manifest names another policy or version";
            return Err(BundleError::Tampered { policy: policy.clone(), version: version.clone(), what });
        }
        Ok(loaded)
    }

    /// The bundle with this hash, from memory or from the store; content and signature are verified once.
    pub(crate) fn load(
        &self,
        keyring: &Keyring,
        hash: &BundleHash,
    ) -> Result<Option<Arc<LoadedBundle>>, BundleError> {
        let known = self.bundles.lock().unwrap_or_else(PoisonError::into_inner).get(hash).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let Some(stored) = self.store.read(|reader| reader.bundle_by_hash(hash))? else { return Ok(None) };
        let loaded = Arc::new(verify_stored(keyring, stored, hash)?);
        let mut bundles = self.bundles.lock().unwrap_or_else(PoisonError::into_inner);
        bundles.insert(*hash, Arc::clone(&loaded));
        Ok(Some(loaded))
    }
}

/// Verifies what the store has under a hash.
pub(crate) fn verify_stored(
    keyring: &Keyring,
    stored: StoredBundle,
    hash: &BundleHash,
) -> Result<LoadedBundle, BundleError> {
    let (policy, version) = (stored.policy_id, stored.policy_version);
    let tampered = |what| BundleError::Tampered { policy: policy.clone(), version: version.clone(), what };
    // The hash first: only then is it worth while to look into the files.
    let sum =
        chancery_policy::sum(&stored.files).map_err(|_| tampered("a path in it cannot be in a bundle"))?;
    if chancery_policy::hash_of(&sum) != *hash || sum.as_bytes() != stored.sum {
        return Err(tampered("its content does not give its hash"));
    }
    let signature =
        MessageBundle::parse(&stored.signature).map_err(|_| tampered("its signature cannot be read"))?;
    let key = find_signer(keyring, &signature)?;
    signature.verify(sum.as_bytes(), key).map_err(|_| tampered("its signature does not hold"))?;
    let bundle = Bundle::from_files(stored.files)?;
    Ok(LoadedBundle {
        policy: bundle.manifest().id().clone(),
        version: bundle.manifest().version().clone(),
        hash: bundle.hash(),
        signer: key.key_id().clone(),
        signature,
        bundle,
    })
}

/// Why a bundle cannot be signed, published, activated or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The bundle has faults of its own.
    #[error("the bundle is not valid")]
    Invalid(#[from] chancery_policy::BundleError),
    /// A path that no bundle may have.
    #[error("a file cannot be in a bundle")]
    Path(#[from] chancery_policy::sum::PathError),
    /// There is no signature.
    #[error("the bundle is not signed: `bundle.sum.sigstore.json` is missing; run `chancery bundle sign`")]
    NotSigned,
    /// `bundle.sum` is not that of the files.
    #[error("`bundle.sum` does not fit the files; run `chancery bundle sum` and sign again")]
    Sum,
    /// The signature does not hold.
    #[error("the bundle's signature does not hold")]
    Signature(#[from] sigstore::BundleError),
    /// The key is in no keyring version.
    #[error("the key {key} is not in the keyring")]
    UnknownKey {
        /// The key id, or the hint.
        key: String,
    },
    /// The key may not do this.
    #[error("the key {key} is not good as `policy` here")]
    Key {
        /// The key.
        key: KeyId,
        /// What is wrong with it.
        #[source]
        standing: Standing,
    },
    /// The version is published with other content.
    #[error("`{policy}@{version}` is published with other content; a version never changes, use a new one")]
    Published {
        /// The policy.
        policy: PolicyId,
        /// The version.
        version: PolicyVersion,
    },
    /// There is no such version.
    #[error("`{policy}@{version}` is not published")]
    NotPublished {
        /// The policy.
        policy: PolicyId,
        /// The version.
        version: PolicyVersion,
    },
    /// What is stored is not what was published.
    #[error("the stored bundle `{policy}@{version}` is not what was published: {what}")]
    Tampered {
        /// The policy.
        policy: PolicyId,
        /// The version.
        version: PolicyVersion,
        /// What does not hold.
        what: &'static str,
    },
    /// The activation's envelope does not hold.
    #[error("the activation is not signed as it has to be")]
    Envelope(#[from] EnvelopeError),
    /// The activation says something that it must not, or not in its form.
    #[error("the activation is not as it has to be")]
    Statement(#[from] StatementError),
    /// The activation is another tenant's.
    #[error("the activation is of the tenant `{found}`")]
    Tenant {
        /// Whose it is.
        found: TenantId,
    },
    /// The activation is too old, or from the future.
    #[error("the activation says {claimed} and the clock {now}: more than 10 minutes apart; sign it again")]
    ActivationTime {
        /// What it says.
        claimed: Timestamp,
        /// The clock.
        now: Timestamp,
    },
    /// `previous` is not what is in force.
    #[error("something else was put in force for `{policy}` meanwhile; look at it and sign again")]
    Previous {
        /// The policy.
        policy: PolicyId,
    },
    /// Just this is in force, put there with the same key.
    #[error(
        "`{policy}@{version}` is in force since log index {index}, activated with this key; nothing was logged"
    )]
    InForce {
        /// The policy.
        policy: PolicyId,
        /// The version.
        version: PolicyVersion,
        /// Where it was put in force.
        index: u64,
    },
    /// The log does not take it.
    #[error("the log does not take the activation")]
    Rejected(#[source] Rejected),
    /// The keyring in the store does not hold.
    #[error("the keyring of the log cannot be trusted")]
    Keyring(#[from] KeyringError),
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// A signature cannot be written down.
    #[error("the signature cannot be written down")]
    Written(#[from] chancery_core::canonical::CanonicalError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] Arc<StoreError>),
}

impl From<StoreError> for BundleError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::BundlePublished { policy, version, .. } => Self::Published { policy, version },
            error => Self::Store(Arc::new(error)),
        }
    }
}

impl From<SubmitError> for BundleError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Rejected(Rejected::Previous { policy, .. }) => Self::Previous { policy },
            SubmitError::Rejected(rejected) => Self::Rejected(rejected),
            SubmitError::Store(error) => Self::Store(error),
        }
    }
}

impl Failure for BundleError {
    fn whose(&self) -> Cause {
        match self {
            Self::Invalid(_) | Self::Path(_) | Self::NotSigned | Self::Sum | Self::Statement(_) => {
                Cause::Caller
            }
            Self::Signature(_)
            | Self::UnknownKey { .. }
            | Self::Key { .. }
            | Self::Envelope(_)
            | Self::Tenant { .. }
            | Self::ActivationTime { .. } => Cause::Refused,
            Self::Published { .. } | Self::Previous { .. } | Self::InForce { .. } => Cause::Conflict,
            Self::Rejected(Rejected::Recorded { .. }) => Cause::Conflict,
            Self::Rejected(Rejected::Key { .. }) => Cause::Refused,
            Self::NotPublished { .. } => Cause::NotFound,
            Self::Tampered { .. } | Self::Keyring(_) | Self::Written(_) => Cause::Corrupt,
            Self::Rejected(_) | Self::Sign(_) => Cause::Unavailable,
            Self::Store(error) => store_cause(error),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) | Self::Path(_) | Self::Sum => "bundle.invalid",
            Self::NotSigned | Self::Signature(_) => "bundle.signature",
            Self::UnknownKey { .. } | Self::Key { .. } => "bundle.key",
            Self::Published { .. } => "bundle.published",
            Self::NotPublished { .. } => "policy.not_published",
            Self::Tampered { .. } => "bundle.tampered",
            Self::Envelope(_) => "activation.signature",
            Self::Statement(_) | Self::Tenant { .. } => "activation.statement",
            Self::ActivationTime { .. } => "activation.time",
            Self::Previous { .. } => "activation.previous",
            Self::InForce { .. } => "activation.in_force",
            Self::Rejected(_) => "log.refused",
            Self::Keyring(_) => "trust.keyring",
            Self::Sign(_) => "runtime.key",
            Self::Written(_) => "runtime.internal",
            Self::Store(error) => store_code(error),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Store(error) => store_detail(error),
            Self::Invalid(error) => error.to_string(),
            Self::Tampered { .. } | Self::Keyring(_) | Self::Written(_) => {
                "what the store holds cannot be trusted; the operator has to look at it".to_owned()
            }
            other => other.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use crate::testing::{POLICY, TestLog, caller, request, small_bundle};
    use chancery_core::key::SigningKey;

    fn stranger() -> SigningKey {
        SigningKey::generate_ed25519([42; 32])
    }

    fn wanted(version: &str) -> ActivationRequest {
        ActivationRequest {
            policy: POLICY.parse().unwrap(),
            version: version.parse().unwrap(),
            reason: "a test".to_owned(),
            requested_by: "tester".to_owned(),
        }
    }

    #[test]
    fn a_signed_folder_is_taken_apart_and_verified() {
        let key = stranger();
        let mut folder = small_bundle("1.0.0");
        let signed = sign(&folder, &key).unwrap();
        folder.insert(SUM.to_owned(), signed.sum.clone().into_bytes());
        assert!(matches!(SignedBundle::from_folder(folder.clone()).unwrap_err(), BundleError::NotSigned));
        folder.insert(SIGNATURE.to_owned(), signed.to_json().unwrap());
        let bundle = SignedBundle::from_folder(folder.clone()).unwrap();
        assert_eq!(verify(&bundle, key.public_key()).unwrap().hash(), signed.hash);
        assert!(matches!(
            verify(&bundle, SigningKey::generate_ed25519([1; 32]).public_key()).unwrap_err(),
            BundleError::Signature(_)
        ));
        folder.get_mut("policies.cedar").unwrap().push(b'\n');
        assert!(matches!(SignedBundle::from_folder(folder.clone()).unwrap_err(), BundleError::Sum));
        folder.remove(SUM);
        let changed = SignedBundle::from_folder(folder).unwrap();
        assert!(matches!(verify(&changed, key.public_key()).unwrap_err(), BundleError::Signature(_)));
    }

    #[test]
    fn only_a_policy_key_publishes() {
        let log = TestLog::new();
        let runtime = log.open();
        let publish = |key: &dyn Signer| {
            let files = small_bundle("2.0.0");
            let signature = sign(&files, key).unwrap().signature;
            runtime.publish(SignedBundle { files, signature })
        };
        assert_eq!(publish(&stranger()).unwrap_err().code(), "bundle.key");
        let error = publish(runtime.inner.runtime_key.as_ref()).unwrap_err();
        assert!(matches!(error, BundleError::Key { standing: Standing::Role, .. }), "{error:?}");
        assert!(publish(&log.policy_key).unwrap().new);
        assert!(!publish(&log.policy_key).unwrap().new);
    }

    #[test]
    fn a_version_never_changes_its_content() {
        let log = TestLog::new();
        let runtime = log.open();
        let mut files = small_bundle("1.0.0");
        files.get_mut("policies.cedar").unwrap().extend(b"\n// changed\n");
        let signature = sign(&files, &log.policy_key).unwrap().signature;
        let error = runtime.publish(SignedBundle { files, signature }).unwrap_err();
        assert_eq!((error.whose(), error.code()), (Cause::Conflict, "bundle.published"));
    }

    #[test]
    fn an_activation_holds_or_is_refused() {
        let log = TestLog::new();
        let runtime = log.open();
        assert_eq!(
            runtime.sign_activation(&wanted("2.0.0"), &log.policy_key).unwrap_err().code(),
            "policy.not_published"
        );
        log.publish(&runtime, "2.0.0");
        let unsaid = ActivationRequest { reason: String::new(), ..wanted("2.0.0") };
        assert_eq!(
            runtime.sign_activation(&unsaid, &log.policy_key).unwrap_err().code(),
            "activation.statement"
        );

        let by_stranger = runtime.sign_activation(&wanted("2.0.0"), &stranger()).unwrap();
        assert_eq!(runtime.activate(&by_stranger).unwrap_err().code(), "bundle.key");
        let by_runtime =
            runtime.sign_activation(&wanted("2.0.0"), runtime.inner.runtime_key.as_ref()).unwrap();
        assert_eq!(runtime.activate(&by_runtime).unwrap_err().code(), "bundle.key");

        let envelope = runtime.sign_activation(&wanted("2.0.0"), &log.policy_key).unwrap();
        let mut changed = envelope.clone();
        changed.payload.0.push(b' ');
        assert_eq!(runtime.activate(&changed).unwrap_err().code(), "activation.signature");

        log.clock.advance_ms(ACTIVATION_SKEW_MS + 1);
        assert_eq!(runtime.activate(&envelope).unwrap_err().code(), "activation.time");
        log.clock.advance_ms(-1);
        let activated = runtime.activate(&envelope).unwrap();
        assert_eq!(activated.activation.policy_version.to_string(), "2.0.0");
        assert_eq!(runtime.in_force()[0].version.to_string(), "2.0.0");
        // The same once more: it does not continue from what is in force now. Nor does a new statement say news.
        assert_eq!(runtime.activate(&envelope).unwrap_err().whose(), Cause::Conflict);
        let again = runtime.sign_activation(&wanted("2.0.0"), &log.policy_key).unwrap();
        let error = runtime.activate(&again).unwrap_err();
        assert_eq!((error.whose(), error.code()), (Cause::Conflict, "activation.in_force"), "{error:?}");
        // Back to the first, and forth with the old statement: refused.
        runtime.activate(&runtime.sign_activation(&wanted("1.0.0"), &log.policy_key).unwrap()).unwrap();
        let error = runtime.activate(&envelope).unwrap_err();
        assert_eq!(error.whose(), Cause::Conflict, "{error:?}");
    }

    #[test]
    fn tampered_content_in_the_store_decides_nothing() {
        for (sql, what) in [
            (
                "UPDATE bundle_files SET content = CAST(replace(content, '10000', '99999') AS BLOB) WHERE path = 'policies.cedar'",
                "bundle.tampered",
            ),
            ("DELETE FROM bundle_files WHERE path = 'policies.cedar'", "bundle.tampered"),
            ("UPDATE bundles SET signature = CAST('{}' AS BLOB)", "bundle.tampered"),
            ("DELETE FROM bundles", "bundle.tampered"),
            ("UPDATE activations SET policy_version = '9.9.9'", "bundle.tampered"),
            ("UPDATE bundles SET sum = CAST('x' AS BLOB)", "store.corrupt"),
            (
                "UPDATE log_entries SET payload = CAST(replace(payload, '1.0.0', '1.0.1') AS BLOB) WHERE kind = 5",
                "store.corrupt",
            ),
            ("UPDATE log_entries SET signature = zeroblob(64) WHERE kind = 5", "bundle.tampered"),
        ] {
            let log = TestLog::new();
            drop(log.open());
            log.tamper(sql);
            let error = log.try_open().unwrap_err();
            assert_eq!((error.whose(), error.code()), (Cause::Corrupt, what), "{sql}: {error:?}");
        }
    }

    #[test]
    fn a_tampered_bundle_replays_nothing() {
        let log = TestLog::new();
        let runtime = log.open();
        runtime.execute_blocking(&caller(), &request("e-1", "100", "0.5")).unwrap();
        log.activate(&runtime, "2.0.0");
        drop(runtime);
        log.tamper(
            "UPDATE bundle_files SET content = CAST(content || ' ' AS BLOB) WHERE bundle_hash = \
             (SELECT bundle_hash FROM bundles WHERE policy_version = '1.0.0')",
        );
        let error = log.open().execute_blocking(&caller(), &request("e-1", "100", "0.5")).unwrap_err();
        assert_eq!(error.code(), "bundle.tampered");
    }
}
