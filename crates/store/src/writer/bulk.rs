//! Decisions for PostgreSQL: three statements for a whole batch.
//!
//! ```text
//! before:  SELECT the execution ids of the batch that are taken
//! each:    its columns go into lists
//! flush:   INSERT INTO decisions, log_entries, openings SELECT * FROM unnest($1, $2, …)
//! ```
//!
//! A statement is a message to the server and back, so a row costs its bytes and not a round trip. The lists are
//! written before anything that may look at them: a record of another kind, a repeat within the batch, the head.

use std::collections::HashSet;

use chancery_core::ids::TenantId;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Nullable, Text};
use diesel::{ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _};

use super::rows::Place;
use crate::database::Connection;
use crate::entry::{Body, NewDecision, NewEntry};
use crate::error::StoreError;
use crate::postgres::Postgres;
use crate::schema::decisions;
use crate::value::to_sql;

/// What a batch has to write, column by column.
pub(super) struct Bulk {
    /// Execution ids that are recorded, or in the lists.
    taken: HashSet<String>,
    index: Vec<i64>,
    execution_id: Vec<String>,
    fingerprint: Vec<String>,
    policy_id: Vec<String>,
    policy_version: Vec<String>,
    bundle_hash: Vec<String>,
    outcome: Vec<String>,
    state: Vec<&'static str>,
    executed_at: Vec<String>,
    principal: Vec<String>,
    resource: Vec<String>,
    signals_root: Vec<String>,
    build_identity: Vec<Option<String>>,
    labels: Vec<Option<String>>,
    record_id: Vec<String>,
    leaf_hash: Vec<String>,
    keyid: Vec<String>,
    signature: Vec<Vec<u8>>,
    payload: Vec<Vec<u8>>,
    opening_index: Vec<i64>,
    salt: Vec<Vec<u8>>,
    nonce: Vec<Vec<u8>>,
    ciphertext: Vec<Vec<u8>>,
    partial: Vec<bool>,
}

impl Bulk {
    /// For these entries; looks up which of their execution ids are taken. None for SQLite, where a row is a call.
    pub(super) fn begin(
        connection: &mut Connection,
        tenant: &TenantId,
        entries: &[NewEntry],
    ) -> Result<Option<Self>, StoreError> {
        let Connection::Postgres(postgres) = connection else { return Ok(None) };
        let ids = entries.iter().filter_map(|entry| match &entry.body {
            Body::Decision(decision) => Some(decision.execution_id.as_str()),
            _ => None,
        });
        let ids: Vec<&str> = ids.collect();
        let mut taken = HashSet::new();
        if !ids.is_empty() {
            let found: Vec<String> = decisions::table
                .filter(decisions::tenant.eq(tenant.as_str()))
                .filter(decisions::execution_id.eq_any(&ids))
                .select(decisions::execution_id)
                .load(&mut **postgres)
                .map_err(|error| StoreError::database("look for decisions", error))?;
            taken.extend(found);
        }
        Ok(Some(Self { taken, ..Self::empty() }))
    }

    fn empty() -> Self {
        Self {
            taken: HashSet::new(),
            index: Vec::new(),
            execution_id: Vec::new(),
            fingerprint: Vec::new(),
            policy_id: Vec::new(),
            policy_version: Vec::new(),
            bundle_hash: Vec::new(),
            outcome: Vec::new(),
            state: Vec::new(),
            executed_at: Vec::new(),
            principal: Vec::new(),
            resource: Vec::new(),
            signals_root: Vec::new(),
            build_identity: Vec::new(),
            labels: Vec::new(),
            record_id: Vec::new(),
            leaf_hash: Vec::new(),
            keyid: Vec::new(),
            signature: Vec::new(),
            payload: Vec::new(),
            opening_index: Vec::new(),
            salt: Vec::new(),
            nonce: Vec::new(),
            ciphertext: Vec::new(),
            partial: Vec::new(),
        }
    }

    /// Whether the execution id is recorded, or is about to be.
    pub(super) fn is_taken(&self, decision: &NewDecision) -> bool {
        self.taken.contains(decision.execution_id.as_str())
    }

    /// Adds a decision, its entry and its opening.
    pub(super) fn push(
        &mut self,
        place: &Place<'_>,
        entry: &NewEntry,
        row: &NewDecision,
    ) -> Result<(), StoreError> {
        let index = to_sql(place.index);
        self.taken.insert(row.execution_id.as_str().to_owned());
        self.index.push(index);
        self.execution_id.push(row.execution_id.to_string());
        self.fingerprint.push(row.fingerprint.to_string());
        self.policy_id.push(row.policy_id.to_string());
        self.policy_version.push(row.policy_version.to_string());
        self.bundle_hash.push(row.bundle_hash.to_string());
        self.outcome.push(row.outcome.clone());
        self.state.push(row.state.as_str());
        self.executed_at.push(entry.claimed_at.to_string());
        self.principal.push(row.principal.to_string());
        self.resource.push(row.resource.to_string());
        self.signals_root.push(row.signals_root.to_string());
        self.build_identity.push(row.build_identity.map(|hash| hash.to_string()));
        self.labels.push(super::rows::labels(row)?);
        self.record_id.push(entry.record_id.to_string());
        self.leaf_hash.push(place.leaf_hash.to_string());
        let (keyid, signature) = super::rows::first_signature(entry);
        self.keyid.push(keyid.to_owned());
        self.signature.push(signature.to_vec());
        self.payload.push(entry.payload.clone());
        if let Some(opening) = &row.opening {
            self.opening_index.push(index);
            self.salt.push(opening.salt.to_vec());
            self.nonce.push(opening.nonce.to_vec());
            self.ciphertext.push(opening.ciphertext.clone());
            self.partial.push(opening.partial);
        }
        Ok(())
    }

    /// Writes what is in the lists, and empties them.
    pub(super) fn flush(
        &mut self,
        connection: &mut Connection,
        tenant: &TenantId,
        recorded_at: &str,
    ) -> Result<(), StoreError> {
        let Connection::Postgres(postgres) = connection else { return Ok(()) };
        if self.index.is_empty() {
            return Ok(());
        }
        let taken = std::mem::take(&mut self.taken);
        let lists = std::mem::replace(self, Self { taken, ..Self::empty() });
        lists.insert(postgres, tenant, recorded_at).map_err(super::rows::failed)
    }

    fn insert(
        self,
        postgres: &mut Postgres,
        tenant: &TenantId,
        recorded_at: &str,
    ) -> diesel::QueryResult<()> {
        diesel::sql_query(
            "INSERT INTO decisions (tenant, log_index, execution_id, execution_fingerprint, policy_id, \
             policy_version, bundle_hash, outcome, execution_state, executed_at, principal, resource, \
             signals_root, build_identity, labels) \
             SELECT $1, * FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        )
        .bind::<Text, _>(tenant.as_str())
        .bind::<Array<BigInt>, _>(&self.index)
        .bind::<Array<Text>, _>(&self.execution_id)
        .bind::<Array<Text>, _>(&self.fingerprint)
        .bind::<Array<Text>, _>(&self.policy_id)
        .bind::<Array<Text>, _>(&self.policy_version)
        .bind::<Array<Text>, _>(&self.bundle_hash)
        .bind::<Array<Text>, _>(&self.outcome)
        .bind::<Array<Text>, _>(&self.state)
        .bind::<Array<Text>, _>(&self.executed_at)
        .bind::<Array<Text>, _>(&self.principal)
        .bind::<Array<Text>, _>(&self.resource)
        .bind::<Array<Text>, _>(&self.signals_root)
        .bind::<Array<Nullable<Text>>, _>(&self.build_identity)
        .bind::<Array<Nullable<Text>>, _>(&self.labels)
        .execute(postgres)?;
        diesel::sql_query(
            "INSERT INTO log_entries (tenant, kind, recorded_at, log_index, record_id, leaf_hash, claimed_at, \
             keyid, signature, payload) \
             SELECT $1, 1, $2, * FROM unnest($3, $4, $5, $6, $7, $8, $9)",
        )
        .bind::<Text, _>(tenant.as_str())
        .bind::<Text, _>(recorded_at)
        .bind::<Array<BigInt>, _>(&self.index)
        .bind::<Array<Text>, _>(&self.record_id)
        .bind::<Array<Text>, _>(&self.leaf_hash)
        .bind::<Array<Text>, _>(&self.executed_at)
        .bind::<Array<Text>, _>(&self.keyid)
        .bind::<Array<Binary>, _>(&self.signature)
        .bind::<Array<Binary>, _>(&self.payload)
        .execute(postgres)?;
        if self.opening_index.is_empty() {
            return Ok(());
        }
        diesel::sql_query(
            "INSERT INTO openings (tenant, log_index, salt, nonce, ciphertext, partial) \
             SELECT $1, * FROM unnest($2, $3, $4, $5, $6)",
        )
        .bind::<Text, _>(tenant.as_str())
        .bind::<Array<BigInt>, _>(&self.opening_index)
        .bind::<Array<Binary>, _>(&self.salt)
        .bind::<Array<Binary>, _>(&self.nonce)
        .bind::<Array<Binary>, _>(&self.ciphertext)
        .bind::<Array<Bool>, _>(&self.partial)
        .execute(postgres)?;
        Ok(())
    }
}
