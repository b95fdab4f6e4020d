//! What is stored beside the log: published bundles, checkpoints, wrapped keys.
//!
//! These writes go through the writer's thread too, between two batches, so that SQLite has one writer.

use std::collections::BTreeMap;

use chancery_core::digest::{BundleHash, RootHash};
use chancery_core::ids::{PolicyId, PolicyVersion};
use chancery_core::time::Timestamp;
use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _};

use crate::database::{Begin, RunQuery as _};
use crate::error::StoreError;
use crate::open::Store;
use crate::read::{Reader, StoredCheckpoint};
use crate::schema::{bundle_files, bundles, checkpoints, tenant_keys};
use crate::value::{parse, to_sql};

/// A bundle that was published, without its files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublishedBundle {
    /// The policy.
    pub policy_id: PolicyId,
    /// The version.
    pub policy_version: PolicyVersion,
    /// SHA-256 of `bundle.sum`.
    pub bundle_hash: BundleHash,
    /// When it was published.
    pub published_at: Timestamp,
}

/// A bundle's content: what [`Store::publish_bundle`] takes and [`Reader::bundle`] gives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredBundle {
    /// The policy.
    pub policy_id: PolicyId,
    /// The version.
    pub policy_version: PolicyVersion,
    /// SHA-256 of `sum`.
    pub bundle_hash: BundleHash,
    /// `bundle.sum`.
    pub sum: Vec<u8>,
    /// `bundle.sum.sigstore.json`.
    pub signature: Vec<u8>,
    /// Every other file by its path.
    pub files: BTreeMap<String, Vec<u8>>,
}

const TABLE: &str = "bundles";

/// The stored sum is not the bundle's.
#[derive(Debug, thiserror::Error)]
#[error("`bundle.sum` does not hash to the bundle hash")]
struct SumMismatch;

type BundleRow = (String, String, String, Vec<u8>, Vec<u8>);

impl Store {
    /// Stores a bundle, which must have been verified. False when this very content was published before (its
    /// signature is then the first one's).
    ///
    /// Durable once it returns. Blocks.
    ///
    /// # Errors
    /// [`StoreError::BundlePublished`] when the version has other content.
    ///
    /// # Panics
    /// Inside an asynchronous task.
    pub fn publish_bundle(&self, bundle: StoredBundle, now: Timestamp) -> Result<bool, StoreError> {
        let tenant = self.settings().tenant.clone();
        self.on_writer(move |connection| {
            connection.transaction(Begin::Write, |connection| {
                let published: Option<String> = bundles::table
                    .filter(bundles::tenant.eq(tenant.as_str()))
                    .filter(bundles::policy_id.eq(bundle.policy_id.as_str()))
                    .filter(bundles::policy_version.eq(bundle.policy_version.as_str()))
                    .select(bundles::bundle_hash)
                    .get_result(connection)
                    .optional()
                    .map_err(|error| StoreError::database("look for a bundle", error))?;
                if let Some(hash) = published {
                    let published = parse(TABLE, &hash, &hash)?;
                    return if published == bundle.bundle_hash {
                        Ok(false)
                    } else {
                        Err(StoreError::BundlePublished {
                            policy: bundle.policy_id,
                            version: bundle.policy_version,
                            published,
                        })
                    };
                }
                let hash = bundle.bundle_hash.to_string();
                diesel::insert_into(bundles::table)
                    .values((
                        bundles::tenant.eq(tenant.as_str()),
                        bundles::policy_id.eq(bundle.policy_id.as_str()),
                        bundles::policy_version.eq(bundle.policy_version.as_str()),
                        bundles::bundle_hash.eq(&hash),
                        bundles::sum.eq(&bundle.sum),
                        bundles::signature.eq(&bundle.signature),
                        bundles::published_at.eq(now.to_string()),
                    ))
                    .execute(connection)
                    .map_err(|error| StoreError::database("store a bundle", error))?;
                for (path, content) in &bundle.files {
                    diesel::insert_into(bundle_files::table)
                        .values((
                            bundle_files::tenant.eq(tenant.as_str()),
                            bundle_files::bundle_hash.eq(&hash),
                            bundle_files::path.eq(path),
                            bundle_files::content.eq(content),
                        ))
                        .execute(connection)
                        .map_err(|error| StoreError::database("store a bundle", error))?;
                }
                Ok(true)
            })
        })
    }

    /// Stores a signed checkpoint. False when these very bytes are stored.
    ///
    /// Durable once it returns. Blocks.
    ///
    /// # Errors
    /// [`StoreError::CheckpointStored`] when another note of that size is stored.
    ///
    /// # Panics
    /// Inside an asynchronous task.
    pub fn insert_checkpoint(
        &self,
        size: u64,
        root_hash: RootHash,
        note: String,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let tenant = self.settings().tenant.clone();
        self.on_writer(move |connection| {
            connection.transaction(Begin::Write, |connection| {
                let same =
                    |stored: StoredCheckpoint| match stored.note == note && stored.root_hash == root_hash {
                        true => Ok(false),
                        false => Err(StoreError::CheckpointStored { size }),
                    };
                if let Some(stored) = Reader::new(connection, &tenant).checkpoint_at(size)? {
                    return same(stored);
                }
                let inserted = diesel::insert_into(checkpoints::table)
                    .values((
                        checkpoints::tenant.eq(tenant.as_str()),
                        checkpoints::size.eq(to_sql(size)),
                        checkpoints::root_hash.eq(root_hash.to_string()),
                        checkpoints::note.eq(note.as_bytes()),
                        checkpoints::created_at.eq(now.to_string()),
                    ))
                    .on_conflict_do_nothing()
                    .execute(connection)
                    .map_err(|error| StoreError::database("store a checkpoint", error))?;
                match inserted {
                    0 => {
                        // Another node was faster; where it has signed the same, all is well.
                        let stored = Reader::new(connection, &tenant).checkpoint_at(size)?;
                        stored.map_or(Err(StoreError::CheckpointStored { size }), same)
                    }
                    _ => Ok(true),
                }
            })
        })
    }

    /// Stores a secret key of the tenant, wrapped. Such a key is never changed. Durable once it returns. Blocks.
    ///
    /// # Errors
    /// [`StoreError::TenantKeyStored`] when there is one for that purpose.
    ///
    /// # Panics
    /// Inside an asynchronous task.
    pub fn insert_tenant_key(
        &self,
        purpose: String,
        wrapped: Vec<u8>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let tenant = self.settings().tenant.clone();
        self.on_writer(move |connection| {
            connection.transaction(Begin::Write, |connection| {
                if Reader::new(connection, &tenant).tenant_key(&purpose)?.is_some() {
                    return Err(StoreError::TenantKeyStored { purpose });
                }
                diesel::insert_into(tenant_keys::table)
                    .values((
                        tenant_keys::tenant.eq(tenant.as_str()),
                        tenant_keys::purpose.eq(purpose),
                        tenant_keys::wrapped.eq(wrapped),
                        tenant_keys::created_at.eq(now.to_string()),
                    ))
                    .execute(connection)
                    .map_err(|error| StoreError::database("store a tenant's key", error))?;
                Ok(())
            })
        })
    }
}

impl Reader<'_> {
    /// A published bundle with its files.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the sum does not hash to the bundle hash. The files are the caller's to check.
    pub fn bundle(
        &mut self,
        policy: &PolicyId,
        version: &PolicyVersion,
    ) -> Result<Option<StoredBundle>, StoreError> {
        let hash: Option<String> = bundles::table
            .filter(bundles::tenant.eq(self.tenant.as_str()))
            .filter(bundles::policy_id.eq(policy.as_str()))
            .filter(bundles::policy_version.eq(version.as_str()))
            .select(bundles::bundle_hash)
            .get_result(self.connection)
            .optional()
            .map_err(|error| StoreError::database("read a bundle", error))?;
        match hash {
            Some(hash) => self.bundle_by_hash(&parse(TABLE, &hash, &hash)?),
            None => Ok(None),
        }
    }

    /// The same by its hash.
    ///
    /// # Errors
    /// As [`Reader::bundle`].
    pub fn bundle_by_hash(&mut self, hash: &BundleHash) -> Result<Option<StoredBundle>, StoreError> {
        let text = hash.to_string();
        let row: Option<BundleRow> = bundles::table
            .filter(bundles::tenant.eq(self.tenant.as_str()))
            .filter(bundles::bundle_hash.eq(&text))
            .select((
                bundles::policy_id,
                bundles::policy_version,
                bundles::bundle_hash,
                bundles::sum,
                bundles::signature,
            ))
            .get_result(self.connection)
            .optional()
            .map_err(|error| StoreError::database("read a bundle", error))?;
        let Some((policy, version, _, sum, signature)) = row else { return Ok(None) };
        if BundleHash::from_bytes(chancery_core::digest::sha256(&sum)) != *hash {
            return Err(StoreError::corrupt(TABLE, text, SumMismatch));
        }
        let files: Vec<(String, Vec<u8>)> = bundle_files::table
            .filter(bundle_files::tenant.eq(self.tenant.as_str()))
            .filter(bundle_files::bundle_hash.eq(&text))
            .select((bundle_files::path, bundle_files::content))
            .load(self.connection)
            .map_err(|error| StoreError::database("read a bundle", error))?;
        Ok(Some(StoredBundle {
            policy_id: parse(TABLE, &text, &policy)?,
            policy_version: parse(TABLE, &text, &version)?,
            bundle_hash: *hash,
            sum,
            signature,
            files: files.into_iter().collect(),
        }))
    }

    /// Every published bundle, by policy and in order of publication.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn bundles(&mut self) -> Result<Vec<PublishedBundle>, StoreError> {
        let rows: Vec<(String, String, String, String)> = bundles::table
            .filter(bundles::tenant.eq(self.tenant.as_str()))
            .order((bundles::policy_id, bundles::published_at, bundles::policy_version))
            .select((
                bundles::policy_id,
                bundles::policy_version,
                bundles::bundle_hash,
                bundles::published_at,
            ))
            .load(self.connection)
            .map_err(|error| StoreError::database("list bundles", error))?;
        rows.into_iter()
            .map(|(policy, version, hash, published_at)| {
                Ok(PublishedBundle {
                    policy_id: parse(TABLE, &hash, &policy)?,
                    policy_version: parse(TABLE, &hash, &version)?,
                    bundle_hash: parse(TABLE, &hash, &hash)?,
                    published_at: parse(TABLE, &hash, &published_at)?,
                })
            })
            .collect()
    }
}
