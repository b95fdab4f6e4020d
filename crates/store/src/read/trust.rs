//! Keyrings, activations, build identities and the tenant's wrapped keys.

use std::collections::BTreeMap;

use chancery_core::digest::Digest;
use chancery_core::dsse::Envelope;
use chancery_core::ids::PolicyId;
use chancery_core::keyring::Keyring;
use diesel::dsl::max;
use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, Queryable};

use super::decisions::Missing;
use super::{Activation, BuildIdentityRecord, InForce, Reader, TenantKey};
use crate::database::RunQuery as _;
use crate::decision::DecisionFilter;
use crate::error::StoreError;
use crate::schema::{activations, build_identities, keyrings, tenant_keys};
use crate::value::{from_sql, parse, parse_some};

const ACTIVATIONS: &str = "activations";

#[derive(Queryable)]
struct ActivationRow {
    log_index: i64,
    record_id: String,
    policy_id: String,
    policy_version: String,
    bundle_hash: String,
    previous: Option<String>,
    activated_at: String,
    requested_by: String,
    reason: String,
}

impl ActivationRow {
    fn parse(self) -> Result<Activation, StoreError> {
        let key = self.log_index;
        Ok(Activation {
            index: from_sql(ACTIVATIONS, key, key)?,
            record_id: parse(ACTIVATIONS, key, &self.record_id)?,
            policy_id: parse(ACTIVATIONS, key, &self.policy_id)?,
            policy_version: parse(ACTIVATIONS, key, &self.policy_version)?,
            bundle_hash: parse(ACTIVATIONS, key, &self.bundle_hash)?,
            previous: parse_some(ACTIVATIONS, key, self.previous.as_deref())?,
            activated_at: parse(ACTIVATIONS, key, &self.activated_at)?,
            requested_by: self.requested_by,
            reason: self.reason,
        })
    }
}

type BuildRow = (i64, String, String, Vec<u8>, Option<Vec<u8>>);

fn build((index, payload, binary, signature, sbom): BuildRow) -> Result<BuildIdentityRecord, StoreError> {
    let table = "build_identities";
    Ok(BuildIdentityRecord {
        index: from_sql(table, index, index)?,
        payload_sha256: parse(table, index, &payload)?,
        binary_sha256: parse(table, index, &binary)?,
        signature,
        sbom,
    })
}

impl Reader<'_> {
    /// Every keyring version with its index, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn keyring_versions(&mut self) -> Result<Vec<(u64, Envelope)>, StoreError> {
        let indexes: Vec<i64> = keyrings::table
            .filter(keyrings::tenant.eq(self.tenant.as_str()))
            .order(keyrings::version)
            .select(keyrings::log_index)
            .load(self.connection)
            .map_err(|error| StoreError::database("read the keyring", error))?;
        let mut versions = Vec::with_capacity(indexes.len());
        for index in indexes {
            let number = from_sql("keyrings", index, index)?;
            let entry =
                self.entry(number)?.ok_or_else(|| StoreError::corrupt("log_entries", number, Missing))?;
            versions.push((number, entry.into_envelope()));
        }
        Ok(versions)
    }

    /// The index of the newest entry that changes what decisions are made by: an activation or a keyring version.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub fn rules_index(&mut self) -> Result<Option<u64>, StoreError> {
        let failed = |error| StoreError::database("look for new rules", error);
        let activation: Option<i64> = activations::table
            .filter(activations::tenant.eq(self.tenant.as_str()))
            .select(max(activations::log_index))
            .get_result(self.connection)
            .map_err(failed)?;
        let keyring: Option<i64> = keyrings::table
            .filter(keyrings::tenant.eq(self.tenant.as_str()))
            .select(max(keyrings::log_index))
            .get_result(self.connection)
            .map_err(failed)?;
        activation.max(keyring).map(|index| from_sql(ACTIVATIONS, index, index)).transpose()
    }

    /// The keyring, walked from its first version; none before that is logged.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a version does not follow from the one before.
    pub fn keyring(&mut self) -> Result<Option<Keyring>, StoreError> {
        let versions = self.keyring_versions()?;
        if versions.is_empty() {
            return Ok(None);
        }
        let walked =
            Keyring::walk(&versions).map_err(|error| StoreError::corrupt("keyrings", "all", error))?;
        Ok(Some(walked))
    }

    /// The activations of one policy or of all, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn activations(&mut self, policy: Option<&PolicyId>) -> Result<Vec<Activation>, StoreError> {
        let query = activations::table
            .filter(activations::tenant.eq(self.tenant.as_str()))
            .order(activations::log_index)
            .select((
                activations::log_index,
                activations::record_id,
                activations::policy_id,
                activations::policy_version,
                activations::bundle_hash,
                activations::previous,
                activations::activated_at,
                activations::requested_by,
                activations::reason,
            ));
        let rows: Vec<ActivationRow> = match policy {
            Some(policy) => query.filter(activations::policy_id.eq(policy.as_str())).load(self.connection),
            None => query.load(self.connection),
        }
        .map_err(|error| StoreError::database("read the activations", error))?;
        rows.into_iter().map(ActivationRow::parse).collect()
    }

    /// What is in force for each policy.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn in_force(&mut self) -> Result<BTreeMap<PolicyId, InForce>, StoreError> {
        let activations = self.activations(None)?;
        Ok(activations
            .into_iter()
            .map(|row| {
                let in_force = InForce {
                    bundle_hash: row.bundle_hash,
                    policy_version: row.policy_version,
                    index: row.index,
                };
                (row.policy_id, in_force)
            })
            .collect())
    }

    /// The activations under which the decisions that `filter` means were made, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn activations_of(&mut self, filter: &DecisionFilter) -> Result<Vec<Activation>, StoreError> {
        let all = self.activations(filter.policy.as_ref())?;
        let mut ends: BTreeMap<PolicyId, u64> = BTreeMap::new();
        let mut wanted = Vec::new();
        for activation in all.into_iter().rev() {
            let end = ends.insert(activation.policy_id.clone(), activation.index).unwrap_or(u64::MAX);
            let narrowed = DecisionFilter { policy: Some(activation.policy_id.clone()), ..filter.clone() };
            let condition = self.in_range(&narrowed, activation.index..end)?;
            let sql = format!(
                "SELECT d.log_index AS value FROM {} WHERE {} LIMIT 1",
                super::filter::FILTERED,
                condition.sql
            );
            if !self.numbers(sql, condition.values, "find activations")?.is_empty() {
                wanted.push(activation);
            }
        }
        wanted.reverse();
        Ok(wanted)
    }

    /// The build identity that decisions name by this hash of its payload.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn build_identity(&mut self, payload: &Digest) -> Result<Option<BuildIdentityRecord>, StoreError> {
        let row: Option<BuildRow> = build_identities::table
            .filter(build_identities::tenant.eq(self.tenant.as_str()))
            .filter(build_identities::payload_sha256.eq(payload.to_string()))
            .select((
                build_identities::log_index,
                build_identities::payload_sha256,
                build_identities::binary_sha256,
                build_identities::signature,
                build_identities::sbom,
            ))
            .get_result(self.connection)
            .optional()
            .map_err(|error| StoreError::database("read a build identity", error))?;
        row.map(build).transpose()
    }

    /// The wrapped key of the tenant for `purpose`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn tenant_key(&mut self, purpose: &str) -> Result<Option<TenantKey>, StoreError> {
        let row: Option<(String, Vec<u8>, String)> = tenant_keys::table
            .filter(tenant_keys::tenant.eq(self.tenant.as_str()))
            .filter(tenant_keys::purpose.eq(purpose))
            .select((tenant_keys::purpose, tenant_keys::wrapped, tenant_keys::created_at))
            .get_result(self.connection)
            .optional()
            .map_err(|error| StoreError::database("read a tenant's key", error))?;
        let Some((purpose, wrapped, created_at)) = row else { return Ok(None) };
        let created_at = parse("tenant_keys", &purpose, &created_at)?;
        Ok(Some(TenantKey { purpose, wrapped, created_at }))
    }

    /// Whether the log has this activation, and where.
    pub(crate) fn activation_index(&mut self, record_id: &str) -> Result<Option<u64>, StoreError> {
        let index: Option<i64> = activations::table
            .filter(activations::tenant.eq(self.tenant.as_str()))
            .filter(activations::record_id.eq(record_id))
            .select(activations::log_index)
            .get_result(self.connection)
            .optional()
            .map_err(|error| StoreError::database("look for an activation", error))?;
        index.map(|index| from_sql(ACTIVATIONS, index, index)).transpose()
    }
}
