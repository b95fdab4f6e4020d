//! The rows of every kind but decisions, full tiles, and the head's move: statements that are prepared once.
//!
//! Diesel keeps a prepared statement for every insert whose columns are fixed, so a row costs its binding and its
//! step. Its updates it prepares anew each time, so that of the head is a statement of its own.

use chancery_core::digest::{LeafHash, RootHash};
use chancery_core::ids::TenantId;
use chancery_core::tile::{Content, Edge, FullTile, HASH_BYTES};
use diesel::backend::Backend;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, HasSqlType, Nullable, Text};
use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, QueryResult};

use super::state::State;
use crate::database::{Connection, RunQuery as _};
use crate::entry::{
    EncryptedOpening, NewActivation, NewBuildIdentity, NewConfirmation, NewDecision, NewEntry, NewErasure,
    NewKeyring, NewOverride, NewResolution, NewVerification,
};
use crate::error::StoreError;
use crate::read::Head;
use crate::schema::{
    activations, build_identities, confirmations, decisions, erasure_subjects, erasures, keyrings,
    log_entries, log_signatures, log_tiles, openings, overrides, resolutions, verifications,
};
use crate::value::{Word as _, to_sql};

/// Where in the log a record goes.
pub(super) struct Place<'a> {
    pub(super) tenant: &'a TenantId,
    pub(super) index: u64,
    pub(super) leaf_hash: LeafHash,
    pub(super) recorded_at: &'a str,
}

pub(super) fn failed(error: diesel::result::Error) -> StoreError {
    match &error {
        // The trigger's words: the head is further than the writer has brought it.
        diesel::result::Error::DatabaseError(_, information)
            if information.message().ends_with("takes indexes beyond the head only") =>
        {
            StoreError::corrupt("log_head", "size", HeadMoved)
        }
        _ => StoreError::database("write a record", error),
    }
}

/// Key id and bytes of the first signature; a record without one was rejected before.
pub(super) fn first_signature(entry: &NewEntry) -> (&str, &[u8]) {
    entry.signatures.first().map_or(("", &[]), |first| (first.keyid.as_str(), first.sig.as_slice()))
}

/// The labels as a JSON object; none where there are none.
pub(super) fn labels(row: &NewDecision) -> Result<Option<String>, StoreError> {
    if row.labels.is_empty() { Ok(None) } else { json(&row.labels).map(Some) }
}

/// The entry with its payload and signatures.
pub(super) fn insert_entry(
    connection: &mut Connection,
    place: &Place<'_>,
    entry: &NewEntry,
) -> Result<(), StoreError> {
    let (keyid, signature) = first_signature(entry);
    diesel::insert_into(log_entries::table)
        .values((
            log_entries::tenant.eq(place.tenant.as_str()),
            log_entries::log_index.eq(to_sql(place.index)),
            log_entries::kind.eq(i32::from(entry.kind().as_u8())),
            log_entries::record_id.eq(entry.record_id.to_string()),
            log_entries::leaf_hash.eq(place.leaf_hash.to_string()),
            log_entries::claimed_at.eq(entry.claimed_at.to_string()),
            log_entries::recorded_at.eq(place.recorded_at),
            log_entries::keyid.eq(keyid),
            log_entries::signature.eq(signature),
            log_entries::payload.eq(entry.payload.as_slice()),
        ))
        .execute(connection)
        .map_err(failed)?;
    for (position, signature) in (1_i64..).zip(entry.signatures.iter().skip(1)) {
        diesel::insert_into(log_signatures::table)
            .values((
                log_signatures::tenant.eq(place.tenant.as_str()),
                log_signatures::log_index.eq(to_sql(place.index)),
                log_signatures::position.eq(position),
                log_signatures::keyid.eq(signature.keyid.as_str()),
                log_signatures::signature.eq(signature.sig.as_slice()),
            ))
            .execute(connection)
            .map_err(failed)?;
    }
    Ok(())
}

pub(super) fn insert_opening(
    connection: &mut Connection,
    tenant: &TenantId,
    decision_index: u64,
    opening: &EncryptedOpening,
) -> Result<(), StoreError> {
    diesel::insert_into(openings::table)
        .values((
            openings::tenant.eq(tenant.as_str()),
            openings::log_index.eq(to_sql(decision_index)),
            openings::salt.eq(opening.salt.as_slice()),
            openings::nonce.eq(opening.nonce.as_slice()),
            openings::ciphertext.eq(opening.ciphertext.as_slice()),
            openings::partial.eq(opening.partial),
        ))
        .execute(connection)
        .map_err(failed)?;
    Ok(())
}

pub(super) fn insert_activation(
    connection: &mut Connection,
    place: &Place<'_>,
    entry: &NewEntry,
    row: &NewActivation,
) -> Result<(), StoreError> {
    diesel::insert_into(activations::table)
        .values((
            activations::tenant.eq(place.tenant.as_str()),
            activations::log_index.eq(to_sql(place.index)),
            activations::record_id.eq(entry.record_id.to_string()),
            activations::policy_id.eq(row.policy_id.as_str()),
            activations::policy_version.eq(row.policy_version.as_str()),
            activations::bundle_hash.eq(row.bundle_hash.to_string()),
            activations::previous.eq(row.previous.map(|hash| hash.to_string())),
            activations::activated_at.eq(entry.claimed_at.to_string()),
            activations::requested_by.eq(row.requested_by.as_str()),
            activations::reason.eq(row.reason.as_str()),
        ))
        .execute(connection)
        .map_err(failed)?;
    Ok(())
}

pub(super) fn insert_keyring(
    connection: &mut Connection,
    place: &Place<'_>,
    entry: &NewEntry,
    row: &NewKeyring,
) -> Result<(), StoreError> {
    diesel::insert_into(keyrings::table)
        .values((
            keyrings::tenant.eq(place.tenant.as_str()),
            keyrings::version.eq(to_sql(row.version)),
            keyrings::log_index.eq(to_sql(place.index)),
            keyrings::record_id.eq(entry.record_id.to_string()),
            keyrings::issued_at.eq(entry.claimed_at.to_string()),
            keyrings::expires_at.eq(row.expires_at.to_string()),
        ))
        .execute(connection)
        .map_err(failed)?;
    Ok(())
}

pub(super) fn insert_build(
    connection: &mut Connection,
    place: &Place<'_>,
    row: &NewBuildIdentity,
) -> Result<(), StoreError> {
    diesel::insert_into(build_identities::table)
        .values((
            build_identities::tenant.eq(place.tenant.as_str()),
            build_identities::log_index.eq(to_sql(place.index)),
            build_identities::payload_sha256.eq(row.payload_sha256.to_string()),
            build_identities::binary_sha256.eq(row.binary_sha256.to_string()),
            build_identities::signature.eq(row.signature.as_slice()),
            build_identities::sbom.eq(row.sbom.as_deref()),
        ))
        .execute(connection)
        .map_err(failed)?;
    Ok(())
}

pub(super) fn insert_override(
    connection: &mut Connection,
    place: &Place<'_>,
    entry: &NewEntry,
    row: &NewOverride,
) -> Result<(), StoreError> {
    diesel::insert_into(overrides::table)
        .values((
            overrides::tenant.eq(place.tenant.as_str()),
            overrides::log_index.eq(to_sql(place.index)),
            overrides::record_id.eq(entry.record_id.to_string()),
            overrides::execution_id.eq(row.execution_id.as_str()),
            overrides::execution_fingerprint.eq(row.fingerprint.to_string()),
            overrides::approver.eq(row.approver.as_str()),
            overrides::role.eq(row.role.as_str()),
            overrides::resolution.eq(row.resolution.word()),
            overrides::outcome.eq(row.outcome.as_deref()),
            overrides::reason.eq(row.reason.as_str()),
            overrides::reason_code.eq(row.reason_code.as_str()),
            overrides::issued_at.eq(entry.claimed_at.to_string()),
            overrides::expires_at.eq(row.expires_at.to_string()),
            overrides::nonce.eq(row.nonce.to_string()),
        ))
        .execute(connection)
        .map_err(failed)?;
    Ok(())
}

pub(super) fn insert_resolution(
    connection: &mut Connection,
    place: &Place<'_>,
    entry: &NewEntry,
    row: &NewResolution,
) -> Result<(), StoreError> {
    diesel::insert_into(resolutions::table)
        .values((
            resolutions::tenant.eq(place.tenant.as_str()),
            resolutions::log_index.eq(to_sql(place.index)),
            resolutions::execution_id.eq(row.execution_id.as_str()),
            resolutions::execution_fingerprint.eq(row.fingerprint.to_string()),
            resolutions::resolution.eq(row.resolution.word()),
            resolutions::final_outcome.eq(row.final_outcome.as_str()),
            resolutions::resolved_at.eq(entry.claimed_at.to_string()),
        ))
        .execute(connection)
        .map_err(failed)?;
    Ok(())
}

pub(super) fn insert_verification(
    connection: &mut Connection,
    place: &Place<'_>,
    entry: &NewEntry,
    row: &NewVerification,
) -> Result<(), StoreError> {
    diesel::insert_into(verifications::table)
        .values((
            verifications::tenant.eq(place.tenant.as_str()),
            verifications::log_index.eq(to_sql(place.index)),
            verifications::execution_id.eq(row.execution_id.as_str()),
            verifications::execution_fingerprint.eq(row.fingerprint.to_string()),
            verifications::verdict.eq(row.verdict.word()),
            verifications::signature_verified.eq(row.signature_verified),
            verifications::runtime_verified.eq(row.runtime_verified),
            verifications::schema_compatible.eq(row.schema_compatible),
            verifications::verified_at.eq(entry.claimed_at.to_string()),
            verifications::verifier.eq(row.verifier.as_str()),
        ))
        .execute(connection)
        .map_err(failed)?;
    Ok(())
}

pub(super) fn insert_confirmation(
    connection: &mut Connection,
    place: &Place<'_>,
    entry: &NewEntry,
    row: &NewConfirmation,
) -> Result<(), StoreError> {
    diesel::insert_into(confirmations::table)
        .values((
            confirmations::tenant.eq(place.tenant.as_str()),
            confirmations::log_index.eq(to_sql(place.index)),
            confirmations::execution_id.eq(row.execution_id.as_str()),
            confirmations::execution_fingerprint.eq(row.fingerprint.to_string()),
            confirmations::outcome.eq(row.outcome.as_str()),
            confirmations::reference.eq(row.reference.as_str()),
            confirmations::executed_at.eq(row.executed_at.to_string()),
            confirmations::confirmed_at.eq(entry.claimed_at.to_string()),
            confirmations::confirmed_by.eq(row.confirmed_by.as_str()),
        ))
        .execute(connection)
        .map_err(failed)?;
    Ok(())
}

/// The erasure, and with it the openings go: the trigger lets them, since the head has not moved yet.
pub(super) fn insert_erasure(
    connection: &mut Connection,
    place: &Place<'_>,
    entry: &NewEntry,
    row: &NewErasure,
) -> Result<(), StoreError> {
    let tenant = place.tenant.as_str();
    let index = to_sql(place.index);
    diesel::insert_into(erasures::table)
        .values((
            erasures::tenant.eq(tenant),
            erasures::log_index.eq(index),
            erasures::basis.eq(row.basis.as_str()),
            erasures::fields.eq(row.fields.as_ref().map(json).transpose()?),
            erasures::erased_at.eq(entry.claimed_at.to_string()),
            erasures::requested_by.eq(row.requested_by.as_str()),
        ))
        .execute(connection)
        .map_err(failed)?;
    for execution in &row.executions {
        let decision: i64 = decisions::table
            .filter(decisions::tenant.eq(tenant))
            .filter(decisions::execution_id.eq(execution.execution_id.as_str()))
            .select(decisions::log_index)
            .get_result(connection)
            .map_err(failed)?;
        diesel::insert_into(erasure_subjects::table)
            .values((
                erasure_subjects::tenant.eq(tenant),
                erasure_subjects::execution_id.eq(execution.execution_id.as_str()),
                erasure_subjects::log_index.eq(index),
                erasure_subjects::decision_index.eq(decision),
            ))
            .execute(connection)
            .map_err(failed)?;
        let gone = openings::table
            .filter(openings::tenant.eq(tenant))
            .filter(openings::log_index.eq(decision))
            .select(openings::log_index)
            .get_result::<i64>(connection)
            .optional()
            .map_err(failed)?;
        // What is gone already does not come back, not even in part.
        if gone.is_none() {
            continue;
        }
        diesel::delete(
            openings::table.filter(openings::tenant.eq(tenant)).filter(openings::log_index.eq(decision)),
        )
        .execute(connection)
        .map_err(failed)?;
        if let (Some(remaining), Ok(decision)) = (&execution.remaining, u64::try_from(decision)) {
            insert_opening(connection, place.tenant, decision, remaining)?;
        }
    }
    Ok(())
}

/// A full tile with the root over it.
pub(super) struct TileRow {
    level: u8,
    index: u64,
    root_hash: RootHash,
    bytes: Vec<u8>,
}

/// Adds the roots to the tiles that a leaf has just filled, which are in order of their levels.
///
/// The root of a full tile is the newest hash one level up: the last one of that level's partial tile, or, where
/// the same leaf has filled that tile too, the last one in it.
pub(super) fn tile_rows(edge: &Edge, full: Vec<FullTile>) -> Vec<TileRow> {
    let mut above: Option<RootHash> = None;
    let mut rows = Vec::with_capacity(full.len());
    for FullTile { tile, bytes } in full.into_iter().rev() {
        let Content::Hashes { level } = tile.content() else { continue };
        let Some(root_hash) = above.or_else(|| edge.partial(level.saturating_add(1)).last().copied()) else {
            continue;
        };
        above = bytes.last_chunk::<HASH_BYTES>().map(|last| RootHash::from_bytes(*last));
        rows.push(TileRow { level, index: tile.index(), root_hash, bytes });
    }
    rows.reverse();
    rows
}

pub(super) fn insert_tile(
    connection: &mut Connection,
    tenant: &TenantId,
    tile: &TileRow,
) -> Result<(), StoreError> {
    diesel::insert_into(log_tiles::table)
        .values((
            log_tiles::tenant.eq(tenant.as_str()),
            log_tiles::level.eq(i32::from(tile.level)),
            log_tiles::tile_index.eq(to_sql(tile.index)),
            log_tiles::root_hash.eq(tile.root_hash.to_string()),
            log_tiles::hashes.eq(tile.bytes.as_slice()),
        ))
        .execute(connection)
        .map_err(failed)?;
    Ok(())
}

/// Someone else has moved the head, though the writer is the only one who may.
#[derive(Debug, thiserror::Error)]
#[error("the head is not where the log writer left it")]
struct HeadMoved;

/// What the head's move compares, and sets.
struct Stand {
    size: i64,
    root_hash: String,
    chain_hash: String,
}

impl Stand {
    fn of(head: &Head) -> Self {
        Self {
            size: to_sql(head.size),
            root_hash: head.root_hash.to_string(),
            chain_hash: head.chain_hash.to_string(),
        }
    }
}

/// The head's row, moved where it is as it was.
struct MoveHead<'a> {
    tenant: &'a TenantId,
    before: Stand,
    after: Stand,
    frontier: String,
    newest_claimed_at: Option<String>,
}

impl QueryId for MoveHead<'_> {
    type QueryId = MoveHead<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<DB> QueryFragment<DB> for MoveHead<'_>
where
    DB: Backend + HasSqlType<BigInt> + HasSqlType<Text>,
    i64: ToSql<BigInt, DB>,
    str: ToSql<Text, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql("UPDATE log_head SET size = ");
        out.push_bind_param::<BigInt, _>(&self.after.size)?;
        out.push_sql(", root_hash = ");
        out.push_bind_param::<Text, _>(&self.after.root_hash)?;
        out.push_sql(", chain_hash = ");
        out.push_bind_param::<Text, _>(&self.after.chain_hash)?;
        out.push_sql(", frontier = ");
        out.push_bind_param::<Text, _>(&self.frontier)?;
        out.push_sql(", newest_claimed_at = ");
        out.push_bind_param::<Nullable<Text>, _>(&self.newest_claimed_at)?;
        out.push_sql(" WHERE tenant = ");
        out.push_bind_param::<Text, _>(self.tenant.as_str())?;
        out.push_sql(" AND size = ");
        out.push_bind_param::<BigInt, _>(&self.before.size)?;
        out.push_sql(" AND root_hash = ");
        out.push_bind_param::<Text, _>(&self.before.root_hash)?;
        out.push_sql(" AND chain_hash = ");
        out.push_bind_param::<Text, _>(&self.before.chain_hash)
    }
}

/// Moves the head from where the batch began, and only from there.
pub(super) fn move_head(
    connection: &mut Connection,
    tenant: &TenantId,
    before: &Head,
    state: &State,
) -> Result<(), StoreError> {
    let head = state.head();
    let moved = MoveHead {
        tenant,
        before: Stand::of(before),
        after: Stand::of(&head),
        frontier: state.edge.frontier().parts().iter().map(ToString::to_string).collect(),
        newest_claimed_at: head.newest_claimed_at.map(|time| time.to_string()),
    };
    let moved = moved.execute(connection).map_err(failed)?;
    if moved == 1 { Ok(()) } else { Err(StoreError::corrupt("log_head", tenant, HeadMoved)) }
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Database { doing: "write a list", source: Box::new(error) })
}
