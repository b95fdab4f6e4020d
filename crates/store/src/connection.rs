//! Where the database is, how connections to it are opened and set, and the pool that reads.
//!
//! SQLite: the writer's connection is set to lose nothing: WAL, `synchronous=FULL`, foreign keys, no checkpoint on the
//! commit path. The others are `query_only`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chancery_core::ids::TenantId;
use diesel::connection::SimpleConnection as _;
use diesel::sql_types::{BigInt, Text};
use diesel::{Connection as _, ConnectionError, QueryableByName, RunQueryDsl as _, SqliteConnection};

use crate::database::Connection;
use crate::error::{Class, StoreError};
use crate::postgres::PostgresUrl;

/// `CHNC`: says that a SQLite file is a Chancery store.
pub(crate) const APPLICATION_ID: i64 = 0x4348_4E43;

/// What a connection is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// Makes the file where there is none.
    Create,
    /// Writes into a file that is there.
    Write,
    /// Reads only.
    Read,
}

/// How long a connection waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For another program's lock, ms.
    pub(crate) lock_ms: u32,
    /// For a server's answer, and for a free connection to it; as long as it takes, where there is none.
    pub(crate) answer: Option<Duration>,
}

/// All connections wait for a server's answers.
#[derive(Debug, thiserror::Error)]
#[error("all connections have been waiting for the server for {} ms", .0.as_millis())]
struct AllWaiting(Duration);

/// An integer column named `value`.
#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

/// A text column named `value`.
#[derive(QueryableByName)]
struct Word {
    #[diesel(sql_type = Text)]
    value: String,
}

/// Where the database is.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A file.
    Sqlite(PathBuf),
    /// A tenant's part of a server's database.
    Postgres(Box<PostgresUrl>, TenantId),
}

impl Source {
    /// Whether other processes may write, too.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(..))
    }

    /// A new connection.
    pub(crate) fn connect(&self, purpose: Purpose, patience: Patience) -> Result<Connection, StoreError> {
        match self {
            Self::Sqlite(path) => establish(path, purpose, patience.lock_ms).map(Connection::Sqlite),
            Self::Postgres(url, tenant) => url
                .connect(tenant, purpose, patience)
                .map(|connection| Connection::Postgres(Box::new(connection))),
        }
    }
}

/// Opens the file; nothing is read from it yet.
pub(crate) fn establish(
    path: &Path,
    purpose: Purpose,
    busy_timeout_ms: u32,
) -> Result<SqliteConnection, StoreError> {
    let mode = match purpose {
        Purpose::Create => "rwc",
        // WAL needs the shared-memory file, which even a reader writes; `query_only` keeps it from the tables.
        Purpose::Write | Purpose::Read => "rw",
    };
    let mut connection = SqliteConnection::establish(&uri(path, mode)?).map_err(|error| match &error {
        ConnectionError::BadConnection(message) if message.contains("readonly") => StoreError::ReadOnly,
        _ => StoreError::Database { doing: "open the file", source: Box::new(error) },
    })?;
    let mut pragmas = format!("PRAGMA busy_timeout={busy_timeout_ms}; PRAGMA foreign_keys=ON;");
    if purpose == Purpose::Read {
        pragmas.push_str("PRAGMA query_only=ON;");
    } else {
        // A DELETE that a REPLACE makes fires triggers too; what an erasure frees is overwritten. The CHECKs are for
        // others: what they say, the types say of whatever is written here, and they would cost each insert of a
        // decision a copy of the pages that it changes (`writer/single.rs`).
        pragmas.push_str(
            "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA recursive_triggers=ON; \
             PRAGMA secure_delete=ON; PRAGMA ignore_check_constraints=ON; PRAGMA cache_size=-65536; \
             PRAGMA temp_store=MEMORY;",
        );
    }
    execute(&mut connection, "set up the connection", &pragmas)?;
    Ok(connection)
}

/// Runs statements that give no rows.
pub(crate) fn execute(
    connection: &mut SqliteConnection,
    doing: &'static str,
    sql: &str,
) -> Result<(), StoreError> {
    connection.batch_execute(sql).map_err(|error| StoreError::database(doing, error))
}

/// A single integer; the column is named `value`.
pub(crate) fn number(
    connection: &mut SqliteConnection,
    doing: &'static str,
    sql: &str,
) -> Result<i64, StoreError> {
    let row: Number =
        diesel::sql_query(sql).get_result(connection).map_err(|error| StoreError::database(doing, error))?;
    Ok(row.value)
}

/// A single text; the column is named `value`.
pub(crate) fn word(
    connection: &mut SqliteConnection,
    doing: &'static str,
    sql: &str,
) -> Result<String, StoreError> {
    let row: Word =
        diesel::sql_query(sql).get_result(connection).map_err(|error| StoreError::database(doing, error))?;
    Ok(row.value)
}

/// The path as SQLite's URI, whose special characters are written in hex.
fn uri(path: &Path, mode: &str) -> Result<String, StoreError> {
    let text = path.to_str().ok_or_else(|| StoreError::Path { path: path.to_owned() })?;
    let mut uri = String::from("file:");
    for character in text.chars() {
        match character {
            '?' | '#' | '%' => {
                let _ = write!(uri, "%{:02x}", u32::from(character));
            }
            other => uri.push(other),
        }
    }
    // An absolute path of two slashes would be taken for a host name.
    let uri = uri.replacen("file://", "file:////", 1);
    Ok(format!("{uri}?mode={mode}"))
}

/// Read connections, opened as they are needed, at most so many.
pub(crate) struct Pool {
    source: Source,
    patience: Patience,
    max: usize,
    idle: Mutex<Idle>,
    returned: Condvar,
}

#[derive(Default)]
struct Idle {
    connections: Vec<Connection>,
    opened: usize,
}

impl Pool {
    pub(crate) fn new(source: Source, max: usize, patience: Patience) -> Self {
        Self { source, patience, max: max.max(1), idle: Mutex::default(), returned: Condvar::new() }
    }

    /// A connection of its own, outside the pool, for what is held long.
    pub(crate) fn open(&self) -> Result<Connection, StoreError> {
        self.source.connect(Purpose::Read, self.patience)
    }

    /// Runs `work` with a connection, waiting until one is free.
    pub(crate) fn with<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.take()?;
        // A panic in `work` drops the connection (and its transaction); the guard gives the place back.
        let mut place = Place { pool: self, connection: None };
        let result = work(&mut connection);
        // A connection that may be lost is not used again, nor are those that were idle: what cut it has cut them.
        if result.as_ref().err().is_none_or(|error| error.class() != Class::Unavailable) {
            place.connection = Some(connection);
        } else {
            self.forget_idle();
        }
        result
    }

    fn forget_idle(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.opened -= idle.connections.len();
        let lost = std::mem::take(&mut idle.connections);
        drop(idle);
        // Closing them may take a moment.
        drop(lost);
        self.returned.notify_all();
    }

    fn take(&self) -> Result<Connection, StoreError> {
        let begun = Instant::now();
        // Whoever reads a file makes progress; a server may have stopped.
        let patience = self.patience.answer.filter(|_| self.source.is_shared());
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(connection) = idle.connections.pop() {
                return Ok(connection);
            }
            if idle.opened < self.max {
                idle.opened += 1;
                drop(idle);
                let _place = Place { pool: self, connection: None };
                let connection = self.open()?;
                std::mem::forget(_place);
                return Ok(connection);
            }
            idle = match patience.map(|patience| patience.saturating_sub(begun.elapsed())) {
                None => self.returned.wait(idle).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => {
                    let source = Box::new(AllWaiting(begun.elapsed()));
                    return Err(StoreError::Database { doing: "answer on any connection", source });
                }
                Some(left) => {
                    self.returned.wait_timeout(idle, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// Gives a connection, or at least its place, back to the pool.
struct Place<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        match self.connection.take() {
            Some(connection) => idle.connections.push(connection),
            None => idle.opened = idle.opened.saturating_sub(1),
        }
        drop(idle);
        self.pool.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_special_characters_is_one_file() {
        assert_eq!(uri(Path::new("/a b/c?#%.db"), "rw").unwrap(), "file:/a b/c%3f%23%25.db?mode=rw");
        assert_eq!(uri(Path::new("x.db"), "rwc").unwrap(), "file:x.db?mode=rwc");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("what?is#this%20.db");
        let mut connection = establish(&path, Purpose::Create, 100).unwrap();
        execute(&mut connection, "test", "CREATE TABLE t (x)").unwrap();
        assert!(path.exists());
    }

    #[test]
    fn a_reader_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let mut writer = establish(&path, Purpose::Create, 100).unwrap();
        execute(&mut writer, "test", "CREATE TABLE t (x)").unwrap();
        let mut reader = establish(&path, Purpose::Read, 100).unwrap();
        assert!(matches!(
            execute(&mut reader, "test", "INSERT INTO t VALUES (1)"),
            Err(StoreError::ReadOnly)
        ));
    }

    #[test]
    fn the_pool_survives_a_failing_reader() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        drop(establish(&path, Purpose::Create, 100).unwrap());
        let pool = Pool::new(Source::Sqlite(path), 1, Patience { lock_ms: 100, answer: None });
        for _ in 0..3 {
            let failed: Result<(), _> = pool.with(|_| Err(StoreError::WriterGone));
            assert!(failed.is_err());
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                pool.with(|_| -> Result<(), StoreError> { panic!("on purpose") })
            }));
            assert!(panicked.is_err());
        }
        pool.with(|_| Ok(())).unwrap();
    }
}
