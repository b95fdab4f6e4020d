//! Which records may be logged at the index that they would get: what an auditor's verifier would accept there.

use std::sync::Arc;

use chancery_core::b64;
use chancery_core::digest::Fingerprint;
use chancery_core::dsse::{Envelope, IN_TOTO};
use chancery_core::ids::{ExecutionId, TenantId};
use chancery_core::keyring::{Keyring, Role};
use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _};

use super::state::State;
use crate::database::{Connection, RunQuery as _};
use crate::entry::{
    Body, NewActivation, NewBuildIdentity, NewConfirmation, NewDecision, NewEntry, NewKeyring,
    NewVerification,
};
use crate::error::StoreError;
use crate::open::Settings;
use crate::read::Reader;
use crate::reject::Rejected;
use crate::schema::{bundles, confirmations, decisions};
use crate::value::{from_sql, parse};

/// How far a runtime's clock may stand behind the newest time in its log, ms. Half of what a verifier allows.
pub(super) const CLOCK_BACK_MS: i64 = 30_000;

/// A record is rejected, or the database failed while looking.
#[derive(Debug)]
pub(super) enum Refusal {
    Rejected(Rejected),
    Store(StoreError),
}

impl From<Rejected> for Refusal {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Key and clock of a record that would get `index`: the same for every kind but a keyring.
pub(super) fn admit_signer(state: &State, entry: &NewEntry, index: u64) -> Result<(), Rejected> {
    let (Some(role), Some(signer), [_]) = (entry.role(), entry.signer(), entry.signatures.as_slice()) else {
        return match &entry.body {
            Body::Keyring(_) => Ok(()),
            _ => Err(Rejected::Signatures { got: entry.signatures.len() }),
        };
    };
    let keyring = state.keyring.as_ref().ok_or(Rejected::NoKeyring)?;
    keyring
        .judge(signer, &role, index, entry.claimed_at)
        .map_err(|standing| Rejected::Key { signer: signer.clone(), standing })?;
    match state.newest_claimed_at {
        Some(newest)
            if role == Role::Runtime && newest.saturating_diff_ms(entry.claimed_at) > CLOCK_BACK_MS =>
        {
            Err(Rejected::Clock { claimed: entry.claimed_at, newest })
        }
        _ => Ok(()),
    }
}

/// The bundle has to be the one in force.
pub(super) fn admit_decision(state: &State, decision: &NewDecision) -> Result<(), Rejected> {
    let in_force = state.in_force.get(&decision.policy_id);
    if in_force.is_some_and(|bundle| bundle.bundle_hash == decision.bundle_hash) {
        return Ok(());
    }
    Err(Rejected::Stale { policy: decision.policy_id.clone(), in_force: in_force.cloned() })
}

/// An activation goes on from what is in force, with a bundle that is published, and is new.
pub(super) fn admit_activation(
    connection: &mut Connection,
    tenant: &TenantId,
    state: &State,
    entry: &NewEntry,
    activation: &NewActivation,
) -> Result<(), Refusal> {
    let recorded = Reader::new(connection, tenant).activation_index(&entry.record_id.to_string())?;
    if let Some(index) = recorded {
        return Err(Rejected::Recorded { record_id: entry.record_id, index }.into());
    }
    let in_force = state.in_force.get(&activation.policy_id);
    if in_force.map(|bundle| bundle.bundle_hash) != activation.previous {
        let policy = activation.policy_id.clone();
        return Err(Rejected::Previous { policy, in_force: in_force.cloned() }.into());
    }
    let published: Option<String> = bundles::table
        .filter(bundles::tenant.eq(tenant.as_str()))
        .filter(bundles::policy_id.eq(activation.policy_id.as_str()))
        .filter(bundles::policy_version.eq(activation.policy_version.as_str()))
        .select(bundles::bundle_hash)
        .get_result(connection)
        .optional()
        .map_err(|error| StoreError::database("look for a bundle", error))?;
    if published != Some(activation.bundle_hash.to_string()) {
        let policy = activation.policy_id.clone();
        return Err(Rejected::NotPublished { policy, bundle_hash: activation.bundle_hash }.into());
    }
    Ok(())
}

/// The keyring with the new version; the envelope's signatures are checked here.
pub(super) fn extend_keyring(
    settings: &Settings,
    state: &State,
    entry: &NewEntry,
    row: &NewKeyring,
) -> Result<Keyring, Rejected> {
    let envelope = Envelope {
        payload: b64::Bytes(entry.payload.clone()),
        payload_type: IN_TOTO.to_owned(),
        signatures: entry.signatures.clone(),
    };
    let refused = |error| Rejected::Keyring(Arc::new(error));
    let keyring = match &state.keyring {
        Some(keyring) => {
            let mut keyring = keyring.clone();
            keyring.push(state.size(), &envelope).map_err(refused)?;
            keyring
        }
        None => Keyring::walk(&[(state.size(), envelope)]).map_err(refused)?,
    };
    let predicate = keyring.newest().predicate();
    if predicate.tenant != settings.tenant || predicate.log_origin != settings.log_origin {
        return Err(Rejected::OtherLog);
    }
    // The columns are for finding it again; they must not say something else than what was signed.
    if predicate.version != row.version || predicate.expires_at != row.expires_at {
        return Err(Rejected::Columns);
    }
    Ok(keyring)
}

/// A build identity is logged once.
pub(super) fn admit_build(
    connection: &mut Connection,
    tenant: &TenantId,
    entry: &NewEntry,
    row: &NewBuildIdentity,
) -> Result<(), Refusal> {
    match Reader::new(connection, tenant).build_identity(&row.payload_sha256)? {
        Some(build) => Err(Rejected::Recorded { record_id: entry.record_id, index: build.index }.into()),
        None => Ok(()),
    }
}

/// The very same verification is not logged twice: two of one microsecond can be. And some are wanted only where there is
/// none, however many nodes are about to record one.
pub(super) fn admit_verification(
    connection: &mut Connection,
    tenant: &TenantId,
    entry: &NewEntry,
    row: &NewVerification,
) -> Result<(), Refusal> {
    let mut reader = Reader::new(connection, tenant);
    if let Some(index) = reader.verification_index(&row.execution_id, &entry.record_id)? {
        return Err(Rejected::Recorded { record_id: entry.record_id, index }.into());
    }
    if row.only_first
        && let Some(index) = reader.any_verification(&row.execution_id)?
    {
        return Err(Rejected::Verified { execution_id: row.execution_id.clone(), index }.into());
    }
    Ok(())
}

/// The index of a decision that a record is about.
pub(super) fn decision_index(
    connection: &mut Connection,
    tenant: &TenantId,
    execution_id: &ExecutionId,
    fingerprint: &Fingerprint,
) -> Result<u64, Refusal> {
    match recorded(connection, tenant, execution_id)? {
        Some((index, found)) if found == *fingerprint => Ok(index),
        _ => Err(Rejected::NoDecision { execution_id: execution_id.clone() }.into()),
    }
}

/// Index and fingerprint of the decision with this id.
pub(super) fn recorded(
    connection: &mut Connection,
    tenant: &TenantId,
    execution_id: &ExecutionId,
) -> Result<Option<(u64, Fingerprint)>, StoreError> {
    let row: Option<(i64, String)> = decisions::table
        .filter(decisions::tenant.eq(tenant.as_str()))
        .filter(decisions::execution_id.eq(execution_id.as_str()))
        .select((decisions::log_index, decisions::execution_fingerprint))
        .get_result(connection)
        .optional()
        .map_err(|error| StoreError::database("look for a decision", error))?;
    let Some((index, fingerprint)) = row else { return Ok(None) };
    Ok(Some((from_sql("decisions", index, index)?, parse("decisions", index, &fingerprint)?)))
}

/// A decision has at most one confirmation.
pub(super) fn admit_confirmation(
    connection: &mut Connection,
    tenant: &TenantId,
    row: &NewConfirmation,
) -> Result<(), Refusal> {
    let index: Option<i64> = confirmations::table
        .filter(confirmations::tenant.eq(tenant.as_str()))
        .filter(confirmations::execution_id.eq(row.execution_id.as_str()))
        .select(confirmations::log_index)
        .get_result(connection)
        .optional()
        .map_err(|error| StoreError::database("look for a confirmation", error))?;
    match index {
        Some(index) => {
            let index = from_sql("confirmations", index, index)?;
            Err(Rejected::Second { execution_id: row.execution_id.clone(), index }.into())
        }
        None => Ok(()),
    }
}
