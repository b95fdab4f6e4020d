//! What a database is like beyond what opening it asks for: settings, triggers, row-level security, the file itself.
//!
//! Only reads, beside whoever writes. Nothing here is needed to serve: it is what an operator wants to know before
//! something is lost, with what mends it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use chancery_core::ids::TenantId;
use diesel::migration::MigrationSource;
use diesel::sql_types::Text;
use diesel::sqlite::Sqlite;
use diesel::{Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection};
use diesel_migrations::MigrationHarness as _;

use crate::connection::{Purpose, establish, number, word};
use crate::error::StoreError;
use crate::file::{check_identity, inspect, must_be_there, must_be_writable};
use crate::location::Location;
use crate::migrate::{MIGRATIONS, SchemaStep, steps_of_file, steps_of_server};
use crate::open::{Options, Store};
use crate::postgres::{Postgres, PostgresUrl, check_durable, check_role};

/// Older SQLite can lose what was committed when a write-ahead log is begun anew.
const SQLITE_MIN: (u32, u32, u32) = (3, 51, 3);

/// The oldest PostgreSQL that is tested.
const POSTGRES_MIN: i64 = 150_000;

/// Triggers beside those that keep a table append-only.
const POSTGRES_TRIGGERS: [&str; 6] = [
    "decisions_beyond_head",
    "leases_fence_grows",
    "log_entries_beyond_head",
    "log_head_moves_forward",
    "openings_delete",
    "security_events_old",
];

/// How a [`Finding`] is to be taken.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Grade {
    /// As it has to be.
    Fine,
    /// It works, and somebody should look at it.
    Doubtful,
    /// Records may be lost, changed or seen, or nothing can be written.
    Broken,
}

/// One thing about a database.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What was looked at: one word.
    pub what: &'static str,
    /// How to take it.
    pub grade: Grade,
    /// What there is.
    pub found: String,
    /// What to do about it; empty where it is fine.
    pub mend: String,
}

/// What is collected.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn fine(&mut self, what: &'static str, found: impl Into<String>) {
        self.0.push(Finding { what, grade: Grade::Fine, found: found.into(), mend: String::new() });
    }

    fn add(&mut self, what: &'static str, grade: Grade, found: impl Into<String>, mend: impl Into<String>) {
        self.0.push(Finding { what, grade, found: found.into(), mend: mend.into() });
    }
}

impl Store {
    /// Looks at a database without opening the store: beside a process that writes, and where nothing can be written.
    ///
    /// # Errors
    /// As [`Store::open_reading_at`]; what can be read and is not right is a [`Finding`].
    pub fn examine(
        location: &Location,
        tenant: &TenantId,
        options: &Options,
    ) -> Result<Vec<Finding>, StoreError> {
        let mut findings = Findings::default();
        match location {
            Location::File(path) => sqlite(path, options, &mut findings)?,
            Location::Server(url) => postgres(url, tenant, options, &mut findings)?,
        }
        Ok(findings.0)
    }
}

fn sqlite(path: &Path, options: &Options, findings: &mut Findings) -> Result<(), StoreError> {
    must_be_there(path)?;
    let mut connection = inspect(path, options.busy_timeout_ms)?;
    check_identity(&mut connection, path)?;
    let steps = steps_of_file(&mut connection)?;
    version(&mut connection, findings)?;
    file(path, options, findings)?;
    settings(path, options, &mut connection, findings)?;
    integrity(&mut connection, findings);
    migrations(&steps, findings);
    sqlite_schema(&mut connection, &steps, findings)
}

fn version(connection: &mut SqliteConnection, findings: &mut Findings) -> Result<(), StoreError> {
    let version = word(connection, "ask for its version", "SELECT sqlite_version() AS value")?;
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    if (next(), next(), next()) >= SQLITE_MIN {
        findings.fine("version", format!("SQLite {version}"));
    } else {
        let mend = "build the program with its own SQLite (libsqlite3-sys `bundled`)";
        findings.add("version", Grade::Broken, format!("SQLite {version} is older than 3.51.3"), mend);
    }
    Ok(())
}

/// The file and its write-ahead log, as the file system has them.
fn file(path: &Path, options: &Options, findings: &mut Findings) -> Result<(), StoreError> {
    let shown = path.display();
    match must_be_writable(path) {
        Ok(()) => {}
        Err(StoreError::ReadOnly) => {
            let mend = format!("make `{shown}`, its folder and the mount writable for the server's user");
            findings.add("file", Grade::Broken, "this user cannot write it", mend);
        }
        Err(error) => return Err(error),
    }
    let read = |source| StoreError::Io { doing: "read", path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(read)?.permissions().mode() & 0o7777;
    if mode & 0o007 == 0 {
        findings.fine("file", format!("mode {mode:04o}"));
    } else {
        let found = format!("everybody on this machine may open it (mode {mode:04o})");
        findings.add("file", Grade::Doubtful, found, format!("chmod o= {shown}"));
    }
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    // None is there after a clean stop.
    let wal_bytes = fs::metadata(wal).map_or(0, |found| found.len());
    if wal_bytes <= options.wal_bytes_max {
        findings.fine("write-ahead log", format!("{wal_bytes} bytes"));
    } else {
        findings.add(
            "write-ahead log",
            Grade::Doubtful,
            format!("{wal_bytes} bytes, and {} are usual at most", options.wal_bytes_max),
            "some reader keeps a transaction open, a long export or somebody's sqlite3: end it, then the server \
             empties the log by itself",
        );
    }
    Ok(())
}

/// What the program sets for each connection, and what the file keeps.
fn settings(
    path: &Path,
    options: &Options,
    connection: &mut SqliteConnection,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let doing = "read its settings";
    let mode = word(connection, doing, "SELECT journal_mode AS value FROM pragma_journal_mode")?;
    if mode == "wal" {
        findings.fine("journal", "WAL");
    } else {
        let mend = "start `chancery serve` once: it switches the write-ahead log on";
        findings.add("journal", Grade::Doubtful, format!("the journal mode is `{mode}`, not WAL"), mend);
    }
    let mut writing = match establish(path, Purpose::Write, options.busy_timeout_ms) {
        Ok(writing) => writing,
        // Told with the file.
        Err(StoreError::ReadOnly) => return Ok(()),
        Err(error) => return Err(error),
    };
    let synchronous = number(&mut writing, doing, "SELECT synchronous AS value FROM pragma_synchronous")?;
    if synchronous >= 2 {
        findings.fine("synchronous", "FULL: a commit is on the disk before anybody is answered");
    } else {
        let mend = "install a release of this program as it was built";
        findings.add("synchronous", Grade::Broken, format!("it is {synchronous}, not FULL"), mend);
    }
    Ok(())
}

#[derive(QueryableByName)]
struct QuickCheck {
    #[diesel(sql_type = Text)]
    quick_check: String,
}

/// SQLite's own look at its pages.
fn integrity(connection: &mut SqliteConnection, findings: &mut Findings) {
    let looked: Result<QuickCheck, _> = diesel::sql_query("PRAGMA quick_check(1)").get_result(connection);
    let found = match looked {
        Ok(row) if row.quick_check == "ok" => return findings.fine("integrity", "quick_check finds nothing"),
        Ok(row) => row.quick_check,
        Err(error) => error.to_string(),
    };
    let mend = "stop the server, keep a copy of the file and its -wal, and restore the newest good copy: \
                docs/runbook.md, \"Backup and restore\"";
    findings.add("integrity", Grade::Broken, format!("the file is damaged: {found}"), mend);
}

fn migrations(steps: &[SchemaStep], findings: &mut Findings) {
    let pending = steps.iter().filter(|step| !step.applied).count();
    if pending == 0 {
        findings.fine("migrations", format!("all {} are applied", steps.len()));
    } else {
        let mend = "run `chancery db migrate`; `chancery serve` applies them as well";
        findings.add("migrations", Grade::Doubtful, format!("{pending} are not applied yet"), mend);
    }
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    value: String,
}

fn names<'query, C>(
    connection: &mut C,
    doing: &'static str,
    sql: &'query str,
) -> Result<Vec<String>, StoreError>
where
    C: diesel::Connection,
    diesel::query_builder::SqlQuery: diesel::query_dsl::LoadQuery<'query, C, Name>,
{
    let rows: Vec<Name> =
        diesel::sql_query(sql).load(connection).map_err(|error| StoreError::database(doing, error))?;
    Ok(rows.into_iter().map(|row| row.value).collect())
}

#[derive(QueryableByName)]
struct Object {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    sql: String,
}

/// Tables, indexes, views and triggers, with the statements that made them.
fn objects(connection: &mut SqliteConnection) -> Result<BTreeMap<(String, String), String>, StoreError> {
    let sql = "SELECT type AS kind, name, coalesce(sql, '') AS sql FROM sqlite_schema \
               WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name <> '__diesel_schema_migrations'";
    let rows: Vec<Object> = diesel::sql_query(sql)
        .load(connection)
        .map_err(|error| StoreError::database("read its schema", error))?;
    Ok(rows.into_iter().map(|row| ((row.kind, row.name), row.sql)).collect())
}

/// The schema that the same migrations make in an empty database.
fn as_made(steps: &[SchemaStep]) -> Result<BTreeMap<(String, String), String>, StoreError> {
    let doing = "make the schema to compare with";
    let mut empty = SqliteConnection::establish(":memory:")
        .map_err(|error| StoreError::Database { doing, source: Box::new(error) })?;
    let failed = |source| StoreError::Database { doing, source };
    let known = MigrationSource::<Sqlite>::migrations(&MIGRATIONS).map_err(failed)?;
    // Makes diesel's own table.
    empty.applied_migrations().map_err(failed)?;
    for (migration, _) in known.iter().zip(steps).filter(|(_, step)| step.applied) {
        empty.run_migration(migration.as_ref()).map_err(failed)?;
    }
    objects(&mut empty)
}

fn sqlite_schema(
    connection: &mut SqliteConnection,
    steps: &[SchemaStep],
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let (expected, found) = (as_made(steps)?, objects(connection)?);
    let before = findings.0.len();
    let restore = "somebody has changed the database: see what `chancery fsck --full` finds, and go on with a copy from \
                   before that; docs/runbook.md, \"What fsck says\"";
    for ((kind, name), sql) in &expected {
        match found.get(&(kind.clone(), name.clone())) {
            None => {
                findings.add("schema", Grade::Broken, format!("the {kind} `{name}` is gone"), restore);
            }
            Some(other) if other != sql => {
                let found = format!("the {kind} `{name}` is not what the migrations make");
                findings.add("schema", Grade::Broken, found, restore);
            }
            Some(_) => {}
        }
    }
    for (kind, name) in found.keys().filter(|key| !expected.contains_key(*key)) {
        let mend = "find out who made it and what for; nothing of this program needs it";
        let grade = if kind == "trigger" { Grade::Broken } else { Grade::Doubtful };
        findings.add("schema", grade, format!("the {kind} `{name}` is none of this program's"), mend);
    }
    if findings.0.len() == before {
        let triggers = expected.keys().filter(|(kind, _)| kind == "trigger").count();
        findings.fine("schema", format!("as the migrations make it, with all {triggers} triggers"));
    }
    Ok(())
}

fn postgres(
    url: &PostgresUrl,
    tenant: &TenantId,
    options: &Options,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let mut connection = url.connect(tenant, Purpose::Read, options.patience())?;
    let steps = steps_of_server(&mut connection)?;
    server(&mut connection, findings)?;
    match check_durable(&mut connection) {
        Ok(()) => {
            findings.fine("durability", "synchronous_commit, fsync and full_page_writes are not off");
        }
        Err(error) => {
            let mend = "set it for the role, the database or the server, and connect again";
            findings.add("durability", Grade::Broken, chained(&error), mend);
        }
    }
    role(&mut connection, findings)?;
    migrations(&steps, findings);
    row_security(&mut connection, findings)?;
    triggers(&mut connection, findings)
}

/// What the server said, with its cause.
fn chained(error: &StoreError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn server(connection: &mut Postgres, findings: &mut Findings) -> Result<(), StoreError> {
    let doing = "read the server's version";
    let version = names(connection, doing, "SELECT current_setting('server_version') AS value")?.concat();
    let number = names(connection, doing, "SELECT current_setting('server_version_num') AS value")?.concat();
    if number.parse::<i64>().is_ok_and(|number| number >= POSTGRES_MIN) {
        findings.fine("version", format!("PostgreSQL {version}"));
    } else {
        let mend = "move the database to PostgreSQL 15 or newer";
        findings.add("version", Grade::Doubtful, format!("PostgreSQL {version} was never tested"), mend);
    }
    Ok(())
}

fn role(connection: &mut Postgres, findings: &mut Findings) -> Result<(), StoreError> {
    if let Err(error) = check_role(connection) {
        let mend = "make a role that is no superuser and has no BYPASSRLS, and name it in the URL: \
                    docs/guides/postgresql.md";
        findings.add("role", Grade::Broken, chained(&error), mend);
        return Ok(());
    }
    let owned = names(
        connection,
        "read the tables' owner",
        "SELECT c.relname::text AS value FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner \
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = 'log_entries' \
           AND r.rolname = current_user",
    )?;
    let said = "row-level security holds it";
    if owned.is_empty() {
        findings.fine("role", format!("{said}, and it owns no tables"));
    } else {
        findings
            .fine("role", format!("{said}; it owns the tables, so whoever has it can drop their triggers"));
    }
    Ok(())
}

/// Tables of tenants.
const OURS: &str = "FROM pg_class c JOIN pg_attribute a \
    ON a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped \
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')";

fn row_security(connection: &mut Postgres, findings: &mut Findings) -> Result<(), StoreError> {
    let sql = format!(
        "SELECT c.relname::text AS value {OURS} AND NOT (c.relrowsecurity AND c.relforcerowsecurity \
         AND EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid)) ORDER BY 1"
    );
    let open = names(connection, "read the tables' row-level security", &sql)?;
    if open.is_empty() {
        findings.fine("row-level security", "forced on every table of tenants");
        return Ok(());
    }
    findings.add(
        "row-level security",
        Grade::Broken,
        format!("not forced, or without a policy, on {}", open.join(", ")),
        "find out who switched it off; then `ALTER TABLE … ENABLE ROW LEVEL SECURITY` and `… FORCE ROW LEVEL SECURITY`, \
         and the policy `own_tenant` as migrations/postgres has it",
    );
    Ok(())
}

fn triggers(connection: &mut Postgres, findings: &mut Findings) -> Result<(), StoreError> {
    let doing = "read the triggers";
    let sql = format!(
        "SELECT c.relname::text AS value {OURS} AND NOT EXISTS \
           (SELECT 1 FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid \
            WHERE t.tgrelid = c.oid AND t.tgenabled IN ('O', 'A') AND p.proname = 'chancery_append_only') ORDER BY 1"
    );
    let mut gone: Vec<String> = names(connection, doing, &sql)?
        .iter()
        .map(|table| format!("what keeps `{table}` append-only"))
        .collect();
    let enabled = names(
        connection,
        doing,
        "SELECT t.tgname::text AS value FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid \
         WHERE c.relnamespace = current_schema()::regnamespace AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')",
    )?;
    let others = POSTGRES_TRIGGERS.iter().filter(|name| !enabled.iter().any(|found| found == *name));
    gone.extend(others.map(|name| format!("`{name}`")));
    if gone.is_empty() {
        findings.fine("triggers", format!("{} are there and enabled", enabled.len()));
        return Ok(());
    }
    findings.add(
        "triggers",
        Grade::Broken,
        format!("gone or disabled: {}", gone.join(", ")),
        "somebody has changed the database: see what `chancery fsck --full` finds, then make them again as \
         migrations/postgres has them, or `ALTER TABLE … ENABLE TRIGGER …`",
    );
    Ok(())
}
