//! One face for the two databases: a connection to either, and queries that run on both.
//!
//! ```text
//! a query of diesel's ── RunQuery ──┬─ SqliteConnection     bundled SQLite, in this process
//!                                   └─ Postgres             diesel-async, pure Rust, driven by whoever waits for it
//! ```
//!
//! Queries are written once; [`RunQuery`] takes the place of diesel's own `RunQueryDsl`. Each database keeps the prepared
//! statements of its own, as diesel does. SQL that is put together as text has `?` for its values; PostgreSQL gets it
//! with `$1`, `$2`, ….

use diesel::connection::SimpleConnection as _;
use diesel::query_dsl::LoadQuery;
use diesel::query_dsl::methods::ExecuteDsl;
use diesel::sql_types::{Array, BigInt, Text};
use diesel::{QueryResult, QueryableByName, RunQueryDsl, SqliteConnection};

use crate::error::StoreError;
use crate::postgres::Postgres;

/// A connection to the store's database.
pub(crate) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(Box<Postgres>),
}

/// How a transaction begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Begin {
    /// It will write: SQLite takes its lock at once, so that it cannot be refused later.
    Write,
    /// It only reads; everything it sees is of one moment.
    Read,
}

impl Connection {
    /// Runs statements that give no rows.
    pub(crate) fn batch(&mut self, doing: &'static str, sql: &str) -> Result<(), StoreError> {
        let done = match self {
            Self::Sqlite(connection) => connection.batch_execute(sql),
            Self::Postgres(connection) => connection.batch_execute(sql),
        };
        done.map_err(|error| StoreError::database(doing, error))
    }

    /// Begins a transaction; whoever calls this ends it, or drops the connection.
    pub(crate) fn begin(&mut self, begin: Begin) -> Result<(), StoreError> {
        let sql = match (&self, begin) {
            (Self::Sqlite(_), Begin::Write) => "BEGIN IMMEDIATE",
            (Self::Sqlite(_), Begin::Read) => "BEGIN",
            // The head's row lock is what orders the writers.
            (Self::Postgres(_), Begin::Write) => "BEGIN ISOLATION LEVEL READ COMMITTED",
            (Self::Postgres(_), Begin::Read) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        self.batch("begin a transaction", sql)
    }

    /// Runs `work` in a transaction; when it fails, nothing of it stays.
    pub(crate) fn transaction<T>(
        &mut self,
        begin: Begin,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.begin(begin)?;
        let done = work(self).and_then(|done| self.batch("commit", "COMMIT").map(|()| done));
        if done.is_err() {
            // SQLite ends a transaction by itself when the disk is full, and a lost connection has none; the reason
            // that matters is the first one.
            let _ = self.batch("roll back", "ROLLBACK");
        }
        done
    }

    /// From here to the end of the transaction PostgreSQL plans each statement for the tables as they are.
    ///
    /// A statement that has run a few times keeps its plan. Mostly that was made while the tables were empty, where every
    /// index that begins with the tenant looks as good as the one that fits, and it may read all of the tenant's rows.
    /// So the log writer's look-ups that several indexes could serve run behind this, and with them those of foreign
    /// keys. SQLite's plans follow from the schema.
    pub(crate) fn plan_anew(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(_) => {
                self.batch("have statements planned anew", "SET LOCAL plan_cache_mode = force_custom_plan")
            }
        }
    }

    /// Whether several processes may write.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}

/// Runs a query on either database: diesel's `RunQueryDsl`, for [`Connection`].
pub(crate) trait RunQuery: Sized {
    /// All rows.
    fn load<'query, U>(self, connection: &mut Connection) -> QueryResult<Vec<U>>
    where
        Self: LoadQuery<'query, SqliteConnection, U> + LoadQuery<'query, Postgres, U>,
    {
        match connection {
            Connection::Sqlite(connection) => RunQueryDsl::load(self, connection),
            Connection::Postgres(connection) => RunQueryDsl::load(self, &mut **connection),
        }
    }

    /// The one row.
    fn get_result<'query, U>(self, connection: &mut Connection) -> QueryResult<U>
    where
        Self: LoadQuery<'query, SqliteConnection, U> + LoadQuery<'query, Postgres, U>,
    {
        match connection {
            Connection::Sqlite(connection) => RunQueryDsl::get_result(self, connection),
            Connection::Postgres(connection) => RunQueryDsl::get_result(self, &mut **connection),
        }
    }

    /// The number of rows changed.
    fn execute(self, connection: &mut Connection) -> QueryResult<usize>
    where
        Self: ExecuteDsl<SqliteConnection> + ExecuteDsl<Postgres>,
    {
        match connection {
            Connection::Sqlite(connection) => ExecuteDsl::execute(self, connection),
            Connection::Postgres(connection) => ExecuteDsl::execute(self, &mut **connection),
        }
    }
}

impl<Q> RunQuery for Q {}

/// A value of a query that is put together as text.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Number(i64),
    /// A list: JSON for SQLite, an array for PostgreSQL.
    Texts(Vec<String>),
}

/// What the two databases say differently: as it is written here, for SQLite, for PostgreSQL.
const DIALECTS: [[&str; 3]; 7] = [
    // The plus keeps SQLite from taking the index for it.
    ["+d.tenant", "+d.tenant", "d.tenant"],
    ["= ANY(?)", "IN (SELECT value FROM json_each(?))", "= ANY(?)"],
    [
        "HAS_LABEL(?, ?)",
        "EXISTS (SELECT 1 FROM json_each(d.labels) l WHERE l.key = ? AND l.value = ?)",
        "d.labels::jsonb ->> ? = ?",
    ],
    // SQLite does not know how many decisions a tenant has, and would read all of them in order of the log.
    ["RARE(d.resource = ?)", "unlikely(d.resource = ?)", "d.resource = ?"],
    [
        "RARE(d.execution_state = 'pending_override')",
        "unlikely(d.execution_state = 'pending_override')",
        "d.execution_state = 'pending_override'",
    ],
    [
        "RARE(d.execution_state = 'blocked')",
        "unlikely(d.execution_state = 'blocked')",
        "d.execution_state = 'blocked'",
    ],
    // One look into each part of the index. Readers also open files that are not migrated, with longer parts: the bounds
    // have them read each decision once, and not all of them for each part.
    [
        "HAS_FINGERPRINT(?)",
        "d.log_index IN (WITH RECURSIVE part (n) AS \
         (SELECT 0 UNION ALL SELECT n + 1 FROM part WHERE n < (SELECT size FROM log_head) / 1024) \
         SELECT f.log_index FROM part CROSS JOIN decisions f WHERE f.tenant = (SELECT tenant FROM settings) \
         AND f.log_index / 1024 = part.n AND f.log_index BETWEEN part.n * 1024 AND part.n * 1024 + 1023 \
         AND f.execution_fingerprint = ?)",
        "d.execution_fingerprint = ?",
    ],
];

/// SQL as text, with its values in the order of its question marks.
pub(crate) struct SqlText {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value>,
}

impl SqlText {
    /// All rows.
    pub(crate) fn load<U>(self, connection: &mut Connection) -> QueryResult<Vec<U>>
    where
        U: QueryableByName<diesel::sqlite::Sqlite> + QueryableByName<diesel::pg::Pg> + 'static,
    {
        match connection {
            Connection::Sqlite(connection) => {
                let sql = DIALECTS.iter().fold(self.sql, |sql, [own, sqlite, _]| sql.replace(own, sqlite));
                let mut query = diesel::sql_query(sql).into_boxed::<diesel::sqlite::Sqlite>();
                for value in self.values {
                    query = match value {
                        Value::Text(text) => query.bind::<Text, _>(text),
                        Value::Number(number) => query.bind::<BigInt, _>(number),
                        Value::Texts(texts) => query.bind::<Text, _>(json(&texts)),
                    };
                }
                RunQueryDsl::load(query, connection)
            }
            Connection::Postgres(connection) => {
                let sql =
                    DIALECTS.iter().fold(self.sql, |sql, [own, _, postgres]| sql.replace(own, postgres));
                let mut query = diesel::sql_query(numbered(&sql)).into_boxed::<diesel::pg::Pg>();
                for value in self.values {
                    query = match value {
                        Value::Text(text) => query.bind::<Text, _>(text),
                        Value::Number(number) => query.bind::<BigInt, _>(number),
                        Value::Texts(texts) => query.bind::<Array<Text>, _>(texts),
                    };
                }
                RunQueryDsl::load(query, &mut **connection)
            }
        }
    }
}

fn json(texts: &[String]) -> String {
    // A list of strings has a JSON form.
    serde_json::to_string(texts).unwrap_or_default()
}

/// `?` as PostgreSQL writes them. No text of ours has a question mark of another meaning.
fn numbered(sql: &str) -> String {
    let mut numbered = String::with_capacity(sql.len() + 16);
    for (number, part) in sql.split('?').enumerate() {
        if number > 0 {
            numbered.push('$');
            numbered.push_str(&number.to_string());
        }
        numbered.push_str(part);
    }
    numbered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_marks_are_numbered() {
        assert_eq!(numbered("a = ? AND b IN (?, ?)"), "a = $1 AND b IN ($2, $3)");
        assert_eq!(numbered("no values"), "no values");
    }
}
