//! Decisions for PostgreSQL: one statement for all of a batch.
//!
//! ```text
//! before:  SELECT the execution ids of the batch that are taken
//! each:    its columns go into lists
//! flush:   WITH … AS (INSERT INTO decisions   SELECT * FROM unnest($1, $2, …)),
//!               … AS (INSERT INTO log_entries SELECT …) INSERT INTO openings SELECT …
//! ```
//!
//! A statement is a message to the server and back, so a row costs its bytes and not a round trip. The lists are
//! written before anything that may look at them: a record of another kind, a repeat within the batch, the head. That
//! moves in a statement of its own: the triggers of this one, which run at its end, have to see where it stood.

use std::collections::HashSet;

use chancery_core::ids::TenantId;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{Array, BigInt, Binary, Bool, HasSqlType, Nullable, SingleValue, Text};
use diesel::{QueryResult, RunQueryDsl};

use super::rows::Place;
use crate::database::Connection;
use crate::entry::{Body, NewDecision, NewEntry};
use crate::error::StoreError;
use crate::postgres::Postgres;
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
    /// For these entries; looks up which of their execution ids are taken. For SQLite, where a row is a call, it stays
    /// empty.
    pub(super) fn begin(
        connection: &mut Connection,
        tenant: &TenantId,
        entries: &[NewEntry],
    ) -> Result<Self, StoreError> {
        let Connection::Postgres(postgres) = connection else { return Ok(Self::empty()) };
        let ids = entries.iter().filter_map(|entry| match &entry.body {
            Body::Decision(decision) => Some(decision.execution_id.as_str()),
            _ => None,
        });
        let ids: Vec<&str> = ids.collect();
        let mut taken = HashSet::new();
        if !ids.is_empty() {
            let found: Vec<Option<String>> = Taken { tenant, ids: &ids }
                .load(&mut **postgres)
                .map_err(|error| StoreError::database("look for decisions", error))?;
            // What comes after an id that is free is taken as well, and asked for by nobody here.
            taken.extend(found.into_iter().flatten());
        }
        Ok(Self { taken, ..Self::empty() })
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
        let inserted = Insert { lists: &lists, tenant, recorded_at }.execute(&mut **postgres);
        inserted.map(|_| ()).map_err(super::rows::failed)
    }
}

/// A statement of its own type, so that it is parsed and planned once for each connection, like diesel's own. SQL that
/// is text to diesel would be prepared anew for each batch.
macro_rules! prepared_once {
    ($name:ident) => {
        impl QueryId for $name<'_> {
            type QueryId = $name<'static>;
            const HAS_STATIC_QUERY_ID: bool = true;
        }

        impl RunQueryDsl<Postgres> for $name<'_> {}
    };
}

/// For each of the execution ids the first recorded one that is not before it: itself, where it is taken.
///
/// The statement is planned once for a connection, mostly while the table is empty, where every index that begins with the
/// tenant looks as good as the one of the ids: with `=` the planner may take another, and read all of the tenant's
/// decisions for each id. That order can be had from the index of the ids alone.
struct Taken<'a> {
    tenant: &'a TenantId,
    ids: &'a Vec<&'a str>,
}

/// The rows of all three tables. Of the parts of a statement none sees what another has written, and none has to.
struct Insert<'a> {
    lists: &'a Bulk,
    tenant: &'a TenantId,
    recorded_at: &'a str,
}

prepared_once!(Taken);
prepared_once!(Insert);

/// Writes a list, and a comma before it.
fn list<'b, T, U>(out: &mut AstPass<'_, 'b, Pg>, values: &'b Vec<U>) -> QueryResult<()>
where
    T: SingleValue + 'static,
    Pg: HasSqlType<T>,
    Vec<U>: ToSql<Array<T>, Pg>,
{
    out.push_sql(", ");
    out.push_bind_param::<Array<T>, _>(values)
}

impl Query for Taken<'_> {
    type SqlType = Nullable<Text>;
}

impl QueryFragment<Pg> for Taken<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT (SELECT d.execution_id FROM decisions d WHERE d.tenant = ");
        out.push_bind_param::<Text, _>(self.tenant.as_str())?;
        out.push_sql(" AND d.execution_id >= ids.id ORDER BY d.execution_id LIMIT 1) FROM unnest(");
        out.push_bind_param::<Array<Text>, _>(self.ids)?;
        out.push_sql(") AS ids (id)");
        Ok(())
    }
}

impl QueryFragment<Pg> for Insert<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let lists = self.lists;
        out.push_sql(
            "WITH decided AS (INSERT INTO decisions (tenant, log_index, execution_id, execution_fingerprint, \
             policy_id, policy_version, bundle_hash, outcome, execution_state, executed_at, principal, resource, \
             signals_root, build_identity, labels) SELECT ",
        );
        out.push_bind_param::<Text, _>(self.tenant.as_str())?;
        out.push_sql(", * FROM unnest(");
        out.push_bind_param::<Array<BigInt>, _>(&lists.index)?;
        list::<Text, _>(&mut out, &lists.execution_id)?;
        list::<Text, _>(&mut out, &lists.fingerprint)?;
        list::<Text, _>(&mut out, &lists.policy_id)?;
        list::<Text, _>(&mut out, &lists.policy_version)?;
        list::<Text, _>(&mut out, &lists.bundle_hash)?;
        list::<Text, _>(&mut out, &lists.outcome)?;
        list::<Text, _>(&mut out, &lists.state)?;
        list::<Text, _>(&mut out, &lists.executed_at)?;
        list::<Text, _>(&mut out, &lists.principal)?;
        list::<Text, _>(&mut out, &lists.resource)?;
        list::<Text, _>(&mut out, &lists.signals_root)?;
        list::<Nullable<Text>, _>(&mut out, &lists.build_identity)?;
        list::<Nullable<Text>, _>(&mut out, &lists.labels)?;
        out.push_sql(
            ")), logged AS (INSERT INTO log_entries (tenant, kind, recorded_at, log_index, record_id, leaf_hash, \
             claimed_at, keyid, signature, payload) SELECT ",
        );
        out.push_bind_param::<Text, _>(self.tenant.as_str())?;
        out.push_sql(", 1, ");
        out.push_bind_param::<Text, _>(self.recorded_at)?;
        out.push_sql(", * FROM unnest(");
        out.push_bind_param::<Array<BigInt>, _>(&lists.index)?;
        list::<Text, _>(&mut out, &lists.record_id)?;
        list::<Text, _>(&mut out, &lists.leaf_hash)?;
        list::<Text, _>(&mut out, &lists.executed_at)?;
        list::<Text, _>(&mut out, &lists.keyid)?;
        list::<Binary, _>(&mut out, &lists.signature)?;
        list::<Binary, _>(&mut out, &lists.payload)?;
        out.push_sql(")) INSERT INTO openings (tenant, log_index, salt, nonce, ciphertext, partial) SELECT ");
        out.push_bind_param::<Text, _>(self.tenant.as_str())?;
        out.push_sql(", * FROM unnest(");
        out.push_bind_param::<Array<BigInt>, _>(&lists.opening_index)?;
        list::<Binary, _>(&mut out, &lists.salt)?;
        list::<Binary, _>(&mut out, &lists.nonce)?;
        list::<Binary, _>(&mut out, &lists.ciphertext)?;
        list::<Bool, _>(&mut out, &lists.partial)?;
        out.push_sql(")");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Purpose;
    use crate::tests::support::{Fixture, options};

    struct Explained<'a>(Taken<'a>);

    impl Query for Explained<'_> {
        type SqlType = Text;
    }

    impl QueryFragment<Pg> for Explained<'_> {
        fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
            out.push_sql("EXPLAIN ");
            self.0.walk_ast(out)
        }
    }

    prepared_once!(Explained);

    #[test]
    fn ids_are_looked_up_by_their_index_also_where_no_other_would_cost_more() {
        let Some(fixture) = Fixture::on_postgres() else { return };
        drop(fixture.begun());
        let (url, tenant) = (fixture.postgres_url().unwrap(), fixture.settings().tenant);
        let mut connection = url.connect(&tenant, Purpose::Write, options().patience()).unwrap();
        let taken = Taken { tenant: &tenant, ids: &vec!["e-1", "e-2"] };
        let plan: Vec<String> = Explained(taken).load(&mut connection).unwrap();
        let plan = plan.join("\n");
        assert!(plan.contains("decisions_tenant_execution_id_key"), "{plan}");
        assert!(plan.contains("(execution_id >= ids.id)"), "{plan}");
    }
}
