//! Bundles out of the store, verified again before they decide anything.

use super::{BundleError, LoadedBundle, find_signer, judge, verify_activation};
use crate::error::ExecuteError;
use crate::runtime::Inner;
use chancery_core::digest::BundleHash;
use chancery_core::ids::{PolicyId, PolicyVersion};
use chancery_core::keyring::Keyring;
use chancery_core::sigstore::MessageBundle;
use chancery_policy::Bundle;
use chancery_store::{DecisionSummary, InForce, StoredBundle};
use std::sync::{Arc, PoisonError};

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

    pub(super) fn load_published(
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
