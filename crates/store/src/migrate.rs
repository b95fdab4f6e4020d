//! The schema: which migrations a database has, and bringing it up to date.
//!
//! Both databases have migrations of the same names, inside the program. Whoever opens a store to write brings it up to
//! date; a PostgreSQL role that owns no tables cannot, and has to find it so.

use chancery_core::ids::TenantId;
use diesel::SqliteConnection;
use diesel::connection::SimpleConnection as _;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::sqlite::Sqlite;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::connection::{APPLICATION_ID, Patience, Purpose};
use crate::database::Connection;
use crate::error::StoreError;
use crate::file::{check_identity, inspect, must_be_there};
use crate::location::Location;
use crate::open::{Options, Store};
use crate::postgres::{Postgres, PostgresUrl};

/// The schema, in the order of the folders' names.
pub(crate) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/sqlite");

/// The same for PostgreSQL, under the same names.
pub(crate) const POSTGRES_MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/postgres");

const READ_APPLIED: &str = "read the applied migrations";

/// One step of the schema.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct SchemaStep {
    /// Its name, which begins with its date.
    pub name: String,
    /// Whether the database has it.
    pub applied: bool,
}

impl Store {
    /// The steps of the schema, oldest first, and which of them the database has. Nothing is changed.
    ///
    /// # Errors
    /// [`StoreError::NotThere`], [`StoreError::Newer`], and what the database refuses.
    pub fn schema_at(
        location: &Location,
        tenant: &TenantId,
        options: &Options,
    ) -> Result<Vec<SchemaStep>, StoreError> {
        match location {
            Location::File(path) => {
                must_be_there(path)?;
                let mut connection = inspect(path, options.busy_timeout_ms)?;
                check_identity(&mut connection, path)?;
                steps_of_file(&mut connection)
            }
            Location::Server(url) => {
                steps_of_server(&mut url.connect(tenant, Purpose::Read, options.patience())?)
            }
        }
    }

    /// Brings the database up to date. Nobody may have the SQLite file open to write; servers on PostgreSQL go on.
    ///
    /// # Errors
    /// As [`Store::open_at`]; [`StoreError::Older`] where the role may not.
    pub fn migrate_at(location: &Location, tenant: &TenantId, options: Options) -> Result<(), StoreError> {
        match location {
            Location::File(path) => Self::open(path, options).map(drop),
            Location::Server(url) => migrated(url, tenant, &options).map(drop),
        }
    }
}

type Known<DB> = Vec<Box<dyn Migration<DB>>>;

fn known<DB: diesel::backend::Backend>(migrations: &EmbeddedMigrations) -> Result<Known<DB>, StoreError>
where
    EmbeddedMigrations: MigrationSource<DB>,
{
    migrations.migrations().map_err(|source| StoreError::Database { doing: "read the migrations", source })
}

/// What of `known` is among the versions in `applied`, which may hold no others.
fn steps<DB: diesel::backend::Backend>(
    known: &Known<DB>,
    applied: &[String],
) -> Result<Vec<SchemaStep>, StoreError> {
    let versions: Vec<String> = known.iter().map(|one| one.name().version().to_string()).collect();
    if let Some(version) = applied.iter().find(|version| !versions.contains(version)) {
        return Err(StoreError::Newer { migration: version.clone() });
    }
    let names = known.iter().map(|one| one.name().to_string());
    Ok(names
        .zip(versions)
        .map(|(name, version)| SchemaStep { name, applied: applied.contains(&version) })
        .collect())
}

/// The steps of a SQLite file; refuses one that a newer program has changed.
pub(crate) fn steps_of_file(connection: &mut SqliteConnection) -> Result<Vec<SchemaStep>, StoreError> {
    let applied = connection.applied_migrations();
    let applied = applied.map_err(|source| StoreError::Database { doing: READ_APPLIED, source })?;
    let applied: Vec<String> = applied.iter().map(ToString::to_string).collect();
    steps(&known::<Sqlite>(&MIGRATIONS)?, &applied)
}

/// The same of a PostgreSQL database. Reads alone: diesel would make its table of migrations, which a role may not be
/// allowed to.
pub(crate) fn steps_of_server(connection: &mut Postgres) -> Result<Vec<SchemaStep>, StoreError> {
    #[derive(diesel::QueryableByName)]
    struct Applied {
        #[diesel(sql_type = diesel::sql_types::Text)]
        version: String,
    }
    let mut ask = |sql: &str| -> Result<Vec<String>, StoreError> {
        let rows: Vec<Applied> = diesel::RunQueryDsl::load(diesel::sql_query(sql), connection)
            .map_err(|error| StoreError::database(READ_APPLIED, error))?;
        Ok(rows.into_iter().map(|applied| applied.version).collect())
    };
    let table = "SELECT 'there' AS version WHERE to_regclass('__diesel_schema_migrations') IS NOT NULL";
    let applied = match ask(table)?.as_slice() {
        [] => Vec::new(),
        _ => ask("SELECT version FROM __diesel_schema_migrations ORDER BY version")?,
    };
    steps(&known::<Pg>(&POSTGRES_MIGRATIONS)?, &applied)
}

/// Applies what the file lacks.
pub(crate) fn migrate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    steps_of_file(connection)?;
    connection.run_pending_migrations(MIGRATIONS).map_err(|source| {
        // A full disk or a read-only file is told apart here as well; the migration's own error only wraps it.
        StoreError::from_message(&source.to_string())
            .unwrap_or(StoreError::Database { doing: "migrate the schema", source })
    })?;
    Ok(())
}

/// A connection for writing to a database that has the newest schema.
pub(crate) fn migrated(
    url: &PostgresUrl,
    tenant: &TenantId,
    options: &Options,
) -> Result<Connection, StoreError> {
    let mut connection = url.connect(tenant, Purpose::Write, options.patience())?;
    let missing = steps_of_server(&mut connection)?.into_iter().find(|step| !step.applied);
    if let Some(SchemaStep { name: migration, .. }) = missing {
        // One process migrates, the others wait and find it done: for as long as that takes, so on a connection of its own.
        let mut migrating =
            url.connect(tenant, Purpose::Write, Patience { answer: None, ..options.patience() })?;
        let run = |connection: &mut Postgres, sql: &str| {
            let sql = format!("SELECT {sql}({APPLICATION_ID})");
            connection
                .batch_execute(&sql)
                .map_err(|error| StoreError::database("wait for a migration", error))
        };
        run(&mut migrating, "pg_advisory_lock")?;
        let done = migrating.run_pending_migrations(POSTGRES_MIGRATIONS).map(drop);
        run(&mut migrating, "pg_advisory_unlock")?;
        done.map_err(|source| {
            let said = source.to_string();
            if said.contains("permission denied") || said.contains("must be owner") {
                StoreError::Older { migration, source }
            } else {
                StoreError::Database { doing: "migrate the schema", source }
            }
        })?;
    }
    Ok(Connection::Postgres(Box::new(connection)))
}
