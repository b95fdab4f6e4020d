//! A SQLite file: whether it is there, ours and writable, and how it is opened to be written.

use std::fs;
use std::path::Path;

use diesel::SqliteConnection;

use crate::connection::{self, APPLICATION_ID, Purpose};
use crate::error::StoreError;
use crate::open::Options;

/// The page size of a new file: a statement of some KiB fits into a page with others, and twice SQLite's default
/// halves the writes of a commit.
pub(crate) const PAGE_BYTES: u32 = 8_192;

/// Refuses a path where nothing is.
pub(crate) fn must_be_there(path: &Path) -> Result<(), StoreError> {
    match fs::metadata(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(StoreError::NotThere { store: path.display().to_string() })
        }
        Err(source) => Err(StoreError::Io { doing: "read", path: path.to_owned(), source }),
    }
}

/// SQLite opens a file that it may not write for reading and fails later, in the middle of things.
pub(crate) fn must_be_writable(path: &Path) -> Result<(), StoreError> {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    match fs::OpenOptions::new().write(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem) => {
            Err(StoreError::ReadOnly)
        }
        Err(source) => Err(StoreError::Io { doing: "open", path: path.to_owned(), source }),
    }
}

/// Makes the file, unless it is there, so that only its owner can read it: openings lie in it, if encrypted. SQLite
/// gives the write-ahead log and its index the same mode, which an operator may widen for a group of readers.
fn make_private(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let made = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    made.map(drop).map_err(|source| StoreError::Io { doing: "make", path: path.to_owned(), source })
}

/// A connection for reading.
pub(crate) fn inspect(path: &Path, busy_timeout_ms: u32) -> Result<SqliteConnection, StoreError> {
    connection::establish(path, Purpose::Read, busy_timeout_ms).map_err(|error| foreign(error, path))
}

/// A file that SQLite cannot read at all is not ours.
fn foreign(error: StoreError, path: &Path) -> StoreError {
    match error {
        StoreError::CorruptFile { message } if message.contains("not a database") => {
            StoreError::Foreign { path: path.to_owned() }
        }
        other => other,
    }
}

/// Looks before anything is written: a foreign database stays as it is.
pub(crate) fn check_identity(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let sql = "SELECT application_id AS value FROM pragma_application_id";
    let found = connection::number(connection, "read the file's header", sql);
    if found.map_err(|error| foreign(error, path))? == APPLICATION_ID {
        Ok(())
    } else {
        Err(StoreError::Foreign { path: path.to_owned() })
    }
}

/// The writer's connection to a new file, or to one that was half made.
pub(crate) fn make_file_for_writing(path: &Path, options: &Options) -> Result<SqliteConnection, StoreError> {
    make_private(path)?;
    let mut connection = connection::establish(path, Purpose::Create, options.busy_timeout_ms)?;
    let header = format!("PRAGMA page_size={PAGE_BYTES}; PRAGMA application_id={APPLICATION_ID};");
    connection::execute(&mut connection, "make the file", &header)?;
    for_writing(connection, options)
}

/// The writer's connection.
pub(crate) fn open_file_for_writing(path: &Path, options: &Options) -> Result<SqliteConnection, StoreError> {
    for_writing(connection::establish(path, Purpose::Write, options.busy_timeout_ms)?, options)
}

fn for_writing(mut connection: SqliteConnection, options: &Options) -> Result<SqliteConnection, StoreError> {
    use_wal(&mut connection)?;
    limit(&mut connection, options)?;
    Ok(connection)
}

/// The file system did not give SQLite what its write-ahead log needs (shared memory).
#[derive(Debug, thiserror::Error)]
#[error("the journal mode is `{mode}`, this file system does not support a write-ahead log")]
struct NoWal {
    mode: String,
}

/// A mode that lasts: the file keeps it, whoever opens it.
fn use_wal(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let doing = "use a write-ahead log";
    connection::execute(connection, doing, "PRAGMA journal_mode=WAL")?;
    let mode = connection::word(connection, doing, "SELECT journal_mode AS value FROM pragma_journal_mode")?;
    if mode == "wal" { Ok(()) } else { Err(StoreError::Database { doing, source: Box::new(NoWal { mode }) }) }
}

fn limit(connection: &mut SqliteConnection, options: &Options) -> Result<(), StoreError> {
    let mut pragmas = format!("PRAGMA journal_size_limit={};", options.wal_bytes_max);
    if let Some(pages) = options.pages_max {
        pragmas.push_str(&format!("PRAGMA max_page_count={pages};"));
    }
    connection::execute(connection, "limit the files", &pragmas)
}
