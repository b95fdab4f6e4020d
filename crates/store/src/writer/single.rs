//! Decisions for SQLite: three statements for each, prepared once.
//!
//! ```text
//! INSERT OR ROLLBACK INTO decisions · log_entries · openings
//! ```
//!
//! A row that cannot go in ends the transaction, and with it the batch. An insert that would end alone would have to be
//! undone alone: SQLite keeps a copy of each page that such a statement changes, which was a third of its time here. The
//! copies are not made where nothing of a statement asks for them: triggers say `RAISE(ROLLBACK)`, foreign keys are
//! deferred, and no function is called, which is why this program's connections leave out the tables' CHECKs.

use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Binary, Bool, Nullable, Text};
use diesel::sqlite::Sqlite;
use diesel::{QueryResult, RunQueryDsl, SqliteConnection};

use super::rows::{Place, failed, first_signature, labels};
use crate::entry::{EncryptedOpening, NewDecision, NewEntry};
use crate::error::StoreError;
use crate::value::to_sql;

/// An insert of one row: the columns, their types here and in SQL.
macro_rules! insert {
    ($name:ident into $table:ident { $($column:ident: $own:ty as $sql:ty,)+ }) => {
        struct $name<'a> {
            tenant: &'a str,
            log_index: i64,
            $($column: $own,)+
        }

        impl QueryFragment<Sqlite> for $name<'_> {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
                out.push_sql(concat!(
                    "INSERT OR ROLLBACK INTO ", stringify!($table), " (tenant, log_index",
                    $(", ", stringify!($column),)+
                    ") VALUES (",
                ));
                out.push_bind_param::<Text, _>(self.tenant)?;
                out.push_sql(", ");
                out.push_bind_param::<BigInt, _>(&self.log_index)?;
                $(
                    out.push_sql(", ");
                    out.push_bind_param::<$sql, _>(&self.$column)?;
                )+
                out.push_sql(")");
                Ok(())
            }
        }

        impl QueryId for $name<'_> {
            type QueryId = $name<'static>;
            const HAS_STATIC_QUERY_ID: bool = true;
        }

        impl RunQueryDsl<SqliteConnection> for $name<'_> {}
    };
}

insert!(InsertDecision into decisions {
    execution_id: &'a str as Text,
    execution_fingerprint: String as Text,
    policy_id: &'a str as Text,
    policy_version: &'a str as Text,
    bundle_hash: String as Text,
    outcome: &'a str as Text,
    execution_state: &'static str as Text,
    executed_at: String as Text,
    principal: &'a str as Text,
    resource: &'a str as Text,
    signals_root: String as Text,
    build_identity: Option<String> as Nullable<Text>,
    labels: Option<String> as Nullable<Text>,
});

insert!(InsertEntry into log_entries {
    kind: i64 as BigInt,
    record_id: String as Text,
    leaf_hash: String as Text,
    claimed_at: String as Text,
    recorded_at: &'a str as Text,
    keyid: &'a str as Text,
    signature: &'a [u8] as Binary,
    payload: &'a [u8] as Binary,
});

insert!(InsertOpening into openings {
    salt: &'a [u8] as Binary,
    nonce: &'a [u8] as Binary,
    ciphertext: &'a [u8] as Binary,
    partial: bool as Bool,
});

/// The decision's row; false when its execution id is taken, and then nothing was inserted.
pub(super) fn insert_decision(
    connection: &mut SqliteConnection,
    place: &Place<'_>,
    entry: &NewEntry,
    row: &NewDecision,
) -> Result<bool, StoreError> {
    let insert = InsertDecision {
        tenant: place.tenant.as_str(),
        log_index: to_sql(place.index),
        execution_id: row.execution_id.as_str(),
        execution_fingerprint: row.fingerprint.to_string(),
        policy_id: row.policy_id.as_str(),
        policy_version: row.policy_version.as_str(),
        bundle_hash: row.bundle_hash.to_string(),
        outcome: row.outcome.as_str(),
        execution_state: row.state.as_str(),
        executed_at: entry.claimed_at.to_string(),
        principal: row.principal.as_ref(),
        resource: row.resource.as_ref(),
        signals_root: row.signals_root.to_string(),
        build_identity: row.build_identity.map(|hash| hash.to_string()),
        labels: labels(row)?,
    };
    Ok(insert.execute(connection).map_err(failed)? == 1)
}

/// The decision's entry in the log, which has one signature, and its opening.
pub(super) fn insert_entry(
    connection: &mut SqliteConnection,
    place: &Place<'_>,
    entry: &NewEntry,
    opening: Option<&EncryptedOpening>,
) -> Result<(), StoreError> {
    let tenant = place.tenant.as_str();
    let log_index = to_sql(place.index);
    let (keyid, signature) = first_signature(entry);
    let insert = InsertEntry {
        tenant,
        log_index,
        kind: entry.kind().as_u8().into(),
        record_id: entry.record_id.to_string(),
        leaf_hash: place.leaf_hash.to_string(),
        claimed_at: entry.claimed_at.to_string(),
        recorded_at: place.recorded_at,
        keyid,
        signature,
        payload: &entry.payload,
    };
    insert.execute(connection).map_err(failed)?;
    if let Some(opening) = opening {
        let insert = InsertOpening {
            tenant,
            log_index,
            salt: &opening.salt,
            nonce: &opening.nonce,
            ciphertext: &opening.ciphertext,
            partial: opening.partial,
        };
        insert.execute(connection).map_err(failed)?;
    }
    Ok(())
}
