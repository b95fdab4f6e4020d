//! Which node does the work that one of them is enough for.
//!
//! ```text
//! leases   tenant │ work │ holder │ fence │ until        one row for a work; until: the database's clock
//! ```
//! A lease is taken and renewed by compare-and-swap: the row changes only where it is the asking node's own, or its time
//! is over. It saves work and protects nothing: the log writer's checks hold whoever believes what. A SQLite file has
//! one process, which holds every lease.

use diesel::sql_types::{BigInt, Text};

use crate::database::{Begin, Connection, SqlText, Value};
use crate::error::StoreError;
use crate::open::Store;
use crate::value::from_sql;

/// The number of a lease's term.
#[derive(diesel::QueryableByName)]
struct Fence {
    #[diesel(sql_type = BigInt)]
    fence: i64,
}

/// Who has a lease.
#[derive(diesel::QueryableByName)]
struct Holder {
    #[diesel(sql_type = Text)]
    holder: String,
}

const TABLE: &str = "leases";

impl Store {
    /// Whether other processes may work on this store as well.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.path().is_none()
    }

    /// Takes or renews the lease on `work` for `holder`, for `for_ms` from now on. The fence that it is held under, or
    /// none while somebody else holds it.
    ///
    /// It lasts at least until `for_ms` after the moment of the call, by a clock that runs as fast as the database's.
    /// The fence never falls, and grows with each change of the holder. Durable once it returns. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] of the database; the lease may have been taken nevertheless.
    ///
    /// # Panics
    /// Inside an asynchronous task.
    pub fn hold_lease(
        &self,
        work: &'static str,
        holder: &str,
        for_ms: u32,
    ) -> Result<Option<u64>, StoreError> {
        if !self.is_shared() {
            return Ok(Some(1));
        }
        let (tenant, holder) = (self.settings().tenant.to_string(), holder.to_owned());
        self.on_writer(move |connection| {
            connection.transaction(Begin::Write, |connection| {
                let [own, taker] = [0, 1].map(|_| Value::Text(holder.clone()));
                let [until, first] = [0, 1].map(|_| Value::Number(i64::from(for_ms)));
                let [place, new] =
                    [0, 1].map(|_| [Value::Text(tenant.clone()), Value::Text(work.to_owned())]);
                // Who waited for the row here finds it renewed, and so not its to take: the times are of the
                // statement's beginning.
                let sql = "UPDATE leases SET fence = fence + CASE WHEN holder = ? THEN 0 ELSE 1 END, \
                           until = statement_timestamp() + interval '1 millisecond' * ?, holder = ? \
                           WHERE tenant = ? AND work = ? AND (holder = ? OR until <= statement_timestamp()) \
                           RETURNING fence";
                let mut values = vec![own, until, taker];
                values.extend(place);
                values.push(Value::Text(holder.clone()));
                if let Some(fence) = fence(connection, work, SqlText { sql: sql.to_owned(), values })? {
                    return Ok(Some(fence));
                }
                let sql = "INSERT INTO leases (tenant, work, holder, fence, until) \
                           VALUES (?, ?, ?, 1, statement_timestamp() + interval '1 millisecond' * ?) \
                           ON CONFLICT DO NOTHING RETURNING fence";
                let mut values = Vec::from(new);
                values.extend([Value::Text(holder), first]);
                fence(connection, work, SqlText { sql: sql.to_owned(), values })
            })
        })
    }

    /// Who holds the lease on `work` now, if anybody does; of a SQLite file nobody is known.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub fn lease_holder(&self, work: &'static str) -> Result<Option<String>, StoreError> {
        if !self.is_shared() {
            return Ok(None);
        }
        self.read(|reader| {
            let sql =
                "SELECT holder FROM leases WHERE tenant = ? AND work = ? AND until > statement_timestamp()";
            let values = vec![Value::Text(reader.tenant.to_string()), Value::Text(work.to_owned())];
            let rows: Vec<Holder> = SqlText { sql: sql.to_owned(), values }
                .load(reader.connection)
                .map_err(|error| StoreError::database("look for a lease", error))?;
            Ok(rows.into_iter().next().map(|row| row.holder))
        })
    }

    /// Gives the lease on `work` back, where `holder` has it, so that another node need not wait for its end. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] of the database; the lease ends by itself then.
    ///
    /// # Panics
    /// Inside an asynchronous task.
    pub fn release_lease(&self, work: &'static str, holder: &str) -> Result<(), StoreError> {
        if !self.is_shared() {
            return Ok(());
        }
        let (tenant, holder) = (self.settings().tenant.to_string(), holder.to_owned());
        self.on_writer(move |connection| {
            connection.transaction(Begin::Write, |connection| {
                let sql = "UPDATE leases SET until = statement_timestamp() \
                           WHERE tenant = ? AND work = ? AND holder = ? RETURNING fence";
                let values = vec![Value::Text(tenant), Value::Text(work.to_owned()), Value::Text(holder)];
                fence(connection, work, SqlText { sql: sql.to_owned(), values }).map(drop)
            })
        })
    }
}

fn fence(
    connection: &mut Connection,
    work: &'static str,
    statement: SqlText,
) -> Result<Option<u64>, StoreError> {
    let rows: Vec<Fence> =
        statement.load(connection).map_err(|error| StoreError::database("take a lease", error))?;
    rows.first().map(|row| from_sql(TABLE, work, row.fence)).transpose()
}
