//! Which overrides and resolutions may be logged (formats §4.2, §4.3).
//!
//! The writer is the one place where all submitters of a case meet, so what must hold under any race is judged here,
//! inside the transaction: one terminal state, one answer of each approver and each key, one use of each nonce. The
//! bundle's rule is the runtime's business; a submitter says how many answers it saw when it applied the rule, and is
//! sent back when there are others by now.

use chancery_core::digest::Fingerprint;
use chancery_core::ids::{ExecutionId, TenantId};
use chancery_core::keyring::{Keyring, Role};
use chancery_core::statement::ExecutionState;
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, JoinOnDsl as _, OptionalExtension as _,
    QueryDsl as _, QueryResult,
};

use super::admit::Refusal;
use super::state::State;
use crate::database::{Connection, RunQuery as _};
use crate::entry::{NewEntry, NewOverride, NewResolution};
use crate::error::StoreError;
use crate::reject::Rejected;
use crate::schema::{decisions, log_entries, overrides, resolutions};
use crate::value::{from_sql, parse};

/// An override of a case that waits, by an approver who has not answered yet.
pub(super) fn admit_override(
    connection: &mut Connection,
    tenant: &TenantId,
    state: &State,
    entry: &NewEntry,
    row: &NewOverride,
) -> Result<(), Refusal> {
    let own = overrides::table.filter(overrides::tenant.eq(tenant.as_str()));
    let recorded = own
        .filter(overrides::record_id.eq(entry.record_id.to_string()))
        .select(overrides::log_index)
        .get_result(connection);
    if let Some(index) = found(recorded)? {
        return Err(Rejected::Recorded { record_id: entry.record_id, index }.into());
    }
    waits(connection, tenant, &row.execution_id, &row.fingerprint)?;
    admit_unresolved(connection, tenant, &row.execution_id)?;
    let used = own
        .filter(overrides::nonce.eq(row.nonce.to_string()))
        .select(overrides::log_index)
        .get_result(connection);
    if let Some(index) = found(used)? {
        return Err(Rejected::Nonce { index }.into());
    }
    let answers: Vec<(i64, String, String)> = own
        .inner_join(log_entries::table.on(
            log_entries::tenant.eq(overrides::tenant).and(log_entries::log_index.eq(overrides::log_index)),
        ))
        .filter(overrides::execution_id.eq(row.execution_id.as_str()))
        .select((overrides::log_index, overrides::approver, log_entries::keyid))
        .load(connection)
        .map_err(|error| StoreError::database("look for overrides", error))?;
    let signer = entry.signer().map_or("", |key| key.as_str());
    if let Some((index, approver, _)) =
        answers.iter().find(|(_, approver, key)| *approver == row.approver || key == signer)
    {
        let index = from_sql("overrides", *index, *index)?;
        return Err(Rejected::Answered { index, key: *approver != row.approver }.into());
    }
    if u32::try_from(answers.len()) != Ok(row.answers_before) {
        return Err(Rejected::Moved { execution_id: row.execution_id.clone() }.into());
    }
    let keyring = state.keyring.as_ref().ok_or(Rejected::NoKeyring)?;
    Ok(admit_approver(keyring, state.size(), entry, row)?)
}

/// The key is the approver's own, and neither of them is a runtime.
fn admit_approver(
    keyring: &Keyring,
    index: u64,
    entry: &NewEntry,
    row: &NewOverride,
) -> Result<(), Rejected> {
    let (Some(version), Some(signer)) = (keyring.version_before(index), entry.signer()) else {
        return Err(Rejected::NoKeyring);
    };
    let own = version.key(signer).is_some_and(|key| key.subject == row.approver);
    let mut runtimes = version.predicate().keys_with(&Role::Runtime);
    let separate = !runtimes.any(|key| key.subject == row.approver || key.key.key_id() == signer);
    if own && separate { Ok(()) } else { Err(Rejected::Approver { approver: row.approver.clone() }) }
}

/// The decision that a resolution is about waits for one.
pub(super) fn admit_resolution(
    connection: &mut Connection,
    tenant: &TenantId,
    row: &NewResolution,
) -> Result<(), Refusal> {
    waits(connection, tenant, &row.execution_id, &row.fingerprint)?;
    admit_unresolved(connection, tenant, &row.execution_id)
}

/// A case ends once.
fn admit_unresolved(
    connection: &mut Connection,
    tenant: &TenantId,
    execution_id: &ExecutionId,
) -> Result<(), Refusal> {
    let ended = resolutions::table
        .filter(resolutions::tenant.eq(tenant.as_str()))
        .filter(resolutions::execution_id.eq(execution_id.as_str()))
        .select(resolutions::log_index)
        .get_result(connection);
    match found(ended)? {
        Some(index) => Err(Rejected::Second { execution_id: execution_id.clone(), index }.into()),
        None => Ok(()),
    }
}

/// The decision is there, with this fingerprint, and was left to approvers.
fn waits(
    connection: &mut Connection,
    tenant: &TenantId,
    execution_id: &ExecutionId,
    fingerprint: &Fingerprint,
) -> Result<(), Refusal> {
    let row: Option<(i64, String, String)> = decisions::table
        .filter(decisions::tenant.eq(tenant.as_str()))
        .filter(decisions::execution_id.eq(execution_id.as_str()))
        .select((decisions::log_index, decisions::execution_fingerprint, decisions::execution_state))
        .get_result(connection)
        .optional()
        .map_err(|error| StoreError::database("look for a decision", error))?;
    let Some((index, recorded, state)) = row else {
        return Err(Rejected::NoDecision { execution_id: execution_id.clone() }.into());
    };
    if parse::<Fingerprint>("decisions", index, &recorded)? != *fingerprint {
        return Err(Rejected::NoDecision { execution_id: execution_id.clone() }.into());
    }
    if state != ExecutionState::PendingOverride.as_str() {
        return Err(Rejected::NotWaiting { execution_id: execution_id.clone() }.into());
    }
    Ok(())
}

fn found(index: QueryResult<i64>) -> Result<Option<u64>, StoreError> {
    let index = index.optional().map_err(|error| StoreError::database("look for an override", error))?;
    index.map(|index| from_sql("overrides", index, index)).transpose()
}
