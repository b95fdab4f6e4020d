//! Opening a store, and the store itself.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chancery_core::ids::TenantId;
use chancery_core::statement::Environment;
use chancery_core::time::Timestamp;
use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _};
use tokio::sync::watch;

use crate::checkpointer::Checkpointer;
use crate::connection::{Patience, Pool, Purpose, Source};
use crate::database::{Begin, Connection, RunQuery as _};
use crate::entry::{Appended, NewEntry};
use crate::error::StoreError;
use crate::file::{
    check_identity, inspect, make_file_for_writing, must_be_there, must_be_writable, open_file_for_writing,
};
use crate::hook::StepHook;
use crate::location::Location;
use crate::lock::Lock;
use crate::migrate::{migrate, migrated, steps_of_file, steps_of_server};
use crate::postgres::PostgresUrl;
use crate::read::{Head, Reader};
use crate::reject::SubmitError;
use crate::schema::{log_head, settings};
use crate::snapshot::Snapshot;
use crate::value::{from_word, parse};
use crate::writer::{Expected, Ticket, Writer};

/// Reads the clock: what the program was given as its clock at its edge.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Which log a store holds; fixed when it is made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The tenant. A SQLite file has one.
    pub tenant: TenantId,
    /// The origin of its checkpoints.
    pub log_origin: String,
    /// Whether its decisions are real.
    pub environment: Environment,
}

/// How a store is opened. [`Options::new`] has the values for production.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// Gives `recorded_at`; nothing else depends on it.
    pub clock: Clock,
    /// How long a statement waits for another program's lock, ms.
    pub busy_timeout_ms: u32,
    /// How long a server may take for an answer, ms, before the connection to it is given up. It waits for others' locks
    /// within that time. Migrations take as long as they take.
    pub answer_timeout_ms: u32,
    /// How many records wait for the writer before submitters do.
    pub queue_entries_max: usize,
    /// The most rows of a transaction.
    pub batch_entries_max: usize,
    /// About the most payload bytes of a transaction; one record may be more.
    pub batch_bytes_max: usize,
    /// How many connections read at once; a [`Snapshot`] has one of its own.
    pub read_connections: usize,
    /// Beyond half of this size, bytes, the write-ahead log is begun anew as soon as no reader needs it; what it grew beyond
    /// the whole of it is given back then.
    pub wal_bytes_max: u64,
    /// SQLite's `max_page_count`: a file of so many pages is full. `None` leaves SQLite's own limit.
    pub pages_max: Option<u32>,
    /// Called at each named step of the write path, on the writer's thread: for crash tests.
    pub hook: Option<StepHook>,
}

impl Options {
    /// The values for production.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            busy_timeout_ms: 5_000,
            answer_timeout_ms: 30_000,
            queue_entries_max: 4_096,
            batch_entries_max: 1_024,
            batch_bytes_max: 4 * 1024 * 1024,
            read_connections: 4,
            wal_bytes_max: 64 * 1024 * 1024,
            pages_max: None,
            hook: None,
        }
    }
}

impl Options {
    /// How long connections wait.
    pub(crate) fn patience(&self) -> Patience {
        let answer = Duration::from_millis(u64::from(self.answer_timeout_ms));
        Patience { lock_ms: self.busy_timeout_ms, answer: Some(answer) }
    }
}

/// An open store: one tenant's records and log.
///
/// Share it in an [`Arc`]. Dropping it waits until what is queued is written.
pub struct Store {
    // Dropped in this order: the writer first (it drains the queue), the lock last.
    writer: Option<Writer>,
    /// Writes what is no log entry, where there is no writer.
    beside: Option<Mutex<Connection>>,
    _checkpointer: Option<Checkpointer>,
    pool: Pool,
    settings: Settings,
    source: Source,
    /// No override case of a decision before this index is open: [`Store::first_open_case`].
    pub(crate) open_from: AtomicU64,
    _lock: Option<Lock>,
}

impl Store {
    /// Makes a store at `path` and opens it.
    ///
    /// A half-made one, left behind by a crash, is finished.
    ///
    /// # Errors
    /// [`StoreError::AlreadyInitialised`], [`StoreError::Foreign`] when something else is there,
    /// [`StoreError::Locked`], [`StoreError::ReadOnly`], [`StoreError::Full`].
    pub fn create(path: &Path, wanted: &Settings, options: Options) -> Result<Self, StoreError> {
        let there = fs::metadata(path).is_ok_and(|file| file.len() > 0);
        if there {
            check_identity(&mut inspect(path, options.busy_timeout_ms)?, path)?;
        }
        let lock = Lock::take(path)?;
        let mut connection = make_file_for_writing(path, &options)?;
        migrate(&mut connection)?;
        let mut connection = Connection::Sqlite(connection);
        if read_settings(&mut connection, None)?.is_some() {
            return Err(StoreError::AlreadyInitialised { store: path.display().to_string() });
        }
        insert_settings(&mut connection, wanted, (options.clock)())?;
        Self::start(Source::Sqlite(path.to_owned()), connection, options, Some(lock))
    }

    /// Opens the store at `path`, migrating it if this program is newer.
    ///
    /// What a crash left behind is undone here by SQLite: a transaction is there as a whole or not at all.
    ///
    /// # Errors
    /// [`StoreError::NotThere`], [`StoreError::Foreign`], [`StoreError::Newer`], [`StoreError::Locked`],
    /// [`StoreError::ReadOnly`], [`StoreError::Corrupt`] when head, keyring or activations do not hold together.
    pub fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        must_be_there(path)?;
        must_be_writable(path)?;
        check_identity(&mut inspect(path, options.busy_timeout_ms)?, path)?;
        let lock = Lock::take(path)?;
        let source = Source::Sqlite(path.to_owned());
        let mut connection = open_file_for_writing(path, &options)?;
        migrate(&mut connection)?;
        Self::start(source, Connection::Sqlite(connection), options, Some(lock))
    }

    /// Makes a store, whichever of the two it is.
    ///
    /// # Errors
    /// As [`Store::create`] and [`Store::create_postgres`].
    pub fn create_at(location: &Location, wanted: &Settings, options: Options) -> Result<Self, StoreError> {
        match location {
            Location::File(path) => Self::create(path, wanted, options),
            Location::Server(url) => Self::create_postgres(url, wanted, options),
        }
    }

    /// Opens a store, whichever of the two it is; `tenant` says which log of a server is meant.
    ///
    /// # Errors
    /// As [`Store::open`] and [`Store::open_postgres`]; [`StoreError::WhichTenant`].
    pub fn open_at(
        location: &Location,
        tenant: Option<&TenantId>,
        options: Options,
    ) -> Result<Self, StoreError> {
        match location {
            Location::File(path) => Self::open(path, options),
            Location::Server(url) => {
                Self::open_postgres(url, tenant.ok_or(StoreError::WhichTenant)?, options)
            }
        }
    }

    /// Opens a store for reading alone, whichever of the two it is.
    ///
    /// # Errors
    /// As [`Store::open_reading`] and [`Store::open_postgres_reading`]; [`StoreError::WhichTenant`].
    pub fn open_reading_at(
        location: &Location,
        tenant: Option<&TenantId>,
        options: &Options,
    ) -> Result<Self, StoreError> {
        match location {
            Location::File(path) => Self::open_reading(path, options),
            Location::Server(url) => {
                Self::open_postgres_reading(url, tenant.ok_or(StoreError::WhichTenant)?, options)
            }
        }
    }

    /// Opens a store to write what is no log entry (API keys), beside the process that has the log open. Nothing else
    /// can be written: that fails with [`StoreError::ReadingOnly`].
    ///
    /// # Errors
    /// As [`Store::open`] and [`Store::open_postgres`], but for the lock: it is needed only where the schema is older
    /// than this program. [`StoreError::WhichTenant`].
    pub fn open_beside_at(
        location: &Location,
        tenant: Option<&TenantId>,
        options: &Options,
    ) -> Result<Self, StoreError> {
        let (source, mut connection) = match location {
            Location::File(path) => {
                must_be_there(path)?;
                must_be_writable(path)?;
                let mut found = inspect(path, options.busy_timeout_ms)?;
                check_identity(&mut found, path)?;
                let steps = steps_of_file(&mut found)?;
                let mut connection = open_file_for_writing(path, options)?;
                if steps.iter().any(|step| !step.applied) {
                    let _lock = Lock::take(path)?;
                    migrate(&mut connection)?;
                }
                (Source::Sqlite(path.clone()), Connection::Sqlite(connection))
            }
            Location::Server(url) => {
                let tenant = tenant.ok_or(StoreError::WhichTenant)?;
                (Source::Postgres(url.clone(), tenant.clone()), migrated(url, tenant, options)?)
            }
        };
        let opened = Self::reading(source, &mut connection, options)?;
        Ok(Self { beside: Some(Mutex::new(connection)), ..opened })
    }

    /// Makes a tenant's log in a PostgreSQL database, which is migrated first where that is needed.
    ///
    /// # Errors
    /// [`StoreError::AlreadyInitialised`], [`StoreError::Newer`], and what the server refuses.
    pub fn create_postgres(
        url: &PostgresUrl,
        wanted: &Settings,
        options: Options,
    ) -> Result<Self, StoreError> {
        let source = Source::Postgres(Box::new(url.clone()), wanted.tenant.clone());
        let mut connection = migrated(url, &wanted.tenant, &options)?;
        if read_settings(&mut connection, Some(&wanted.tenant))?.is_some() {
            return Err(StoreError::AlreadyInitialised { store: format!("{url}, tenant {}", wanted.tenant) });
        }
        insert_settings(&mut connection, wanted, (options.clock)())?;
        Self::start(source, connection, options, None)
    }

    /// Opens a tenant's log in a PostgreSQL database, which is migrated first where that is needed. Any number of
    /// processes may have it open.
    ///
    /// # Errors
    /// [`StoreError::NotThere`], [`StoreError::Newer`], [`StoreError::Corrupt`], and what the server refuses.
    pub fn open_postgres(url: &PostgresUrl, tenant: &TenantId, options: Options) -> Result<Self, StoreError> {
        let source = Source::Postgres(Box::new(url.clone()), tenant.clone());
        let connection = migrated(url, tenant, &options)?;
        Self::start(source, connection, options, None)
    }

    /// Opens the store at `path` for reading alone, beside a process that writes. Nothing is locked or migrated;
    /// every write fails with [`StoreError::ReadingOnly`].
    ///
    /// # Errors
    /// As [`Store::open`], but for the lock.
    pub fn open_reading(path: &Path, options: &Options) -> Result<Self, StoreError> {
        must_be_there(path)?;
        let mut connection = inspect(path, options.busy_timeout_ms)?;
        check_identity(&mut connection, path)?;
        steps_of_file(&mut connection)?;
        Self::reading(Source::Sqlite(path.to_owned()), &mut Connection::Sqlite(connection), options)
    }

    /// Opens a tenant's log in a PostgreSQL database for reading alone.
    ///
    /// # Errors
    /// As [`Store::open_postgres`].
    pub fn open_postgres_reading(
        url: &PostgresUrl,
        tenant: &TenantId,
        options: &Options,
    ) -> Result<Self, StoreError> {
        let mut connection = url.connect(tenant, Purpose::Read, options.patience())?;
        steps_of_server(&mut connection)?;
        let source = Source::Postgres(Box::new(url.clone()), tenant.clone());
        Self::reading(source, &mut Connection::Postgres(Box::new(connection)), options)
    }

    fn reading(source: Source, connection: &mut Connection, options: &Options) -> Result<Self, StoreError> {
        let settings = settings_of(connection, &source)?;
        let pool = Pool::new(source.clone(), options.read_connections, options.patience());
        Ok(Self {
            writer: None,
            beside: None,
            _checkpointer: None,
            pool,
            settings,
            source,
            open_from: AtomicU64::new(0),
            _lock: None,
        })
    }

    fn start(
        source: Source,
        mut connection: Connection,
        options: Options,
        lock: Option<Lock>,
    ) -> Result<Self, StoreError> {
        let settings = settings_of(&mut connection, &source)?;
        let pool = Pool::new(source.clone(), options.read_connections, options.patience());
        let checkpointer = match &source {
            Source::Sqlite(path) => Some(Checkpointer::start(path, &options)?),
            Source::Postgres(..) => None,
        };
        // Without a checkpointer nobody listens to the bell.
        let bell = checkpointer.as_ref().map_or_else(Arc::default, Checkpointer::handle);
        let writer = Writer::start(connection, source.clone(), settings.clone(), options, bell)?;
        Ok(Self {
            writer: Some(writer),
            beside: None,
            _checkpointer: checkpointer,
            pool,
            settings,
            source,
            open_from: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// Which log this is.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The database file; none for a database on a server.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::Sqlite(path) => Some(path),
            Source::Postgres(..) => None,
        }
    }

    /// Hands a record to the log writer and waits for its answer.
    ///
    /// Durable once it returns [`Appended::New`]: rows, leaf and tree state are committed and synced in one
    /// transaction. Concurrent submitters share transactions; indexes have no gaps. Waits while the queue is full.
    ///
    /// # Errors
    /// [`SubmitError::Rejected`] when it may not be logged, [`SubmitError::Store`] when nothing can be.
    pub async fn submit(&self, entry: NewEntry) -> Result<Appended, SubmitError> {
        self.enqueue(entry).await?.await
    }

    /// [`Store::submit`] for a thread outside the asynchronous runtime.
    ///
    /// # Errors
    /// As [`Store::submit`].
    ///
    /// # Panics
    /// Inside an asynchronous task.
    pub fn submit_blocking(&self, entry: NewEntry) -> Result<Appended, SubmitError> {
        self.enqueue_blocking(entry)?.wait()
    }

    /// Queues a record; the [`Ticket`] waits for the answer. For whoever has many records to hand in.
    ///
    /// # Errors
    /// [`SubmitError::Store`] when it cannot be queued.
    pub async fn enqueue(&self, entry: NewEntry) -> Result<Ticket, SubmitError> {
        self.writer()?.enqueue(entry).await
    }

    /// [`Store::enqueue`] for a thread outside the asynchronous runtime.
    ///
    /// # Errors
    /// As [`Store::enqueue`].
    ///
    /// # Panics
    /// Inside an asynchronous task.
    pub fn enqueue_blocking(&self, entry: NewEntry) -> Result<Ticket, SubmitError> {
        self.writer()?.enqueue_blocking(entry)
    }

    /// How many records wait for the log writer; none where it is not open for writing.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.writer.as_ref().map_or(0, Writer::waiting)
    }

    /// Says that a record is about to be handed in, until the value is dropped: the writer may wait a moment for it, so
    /// that it shares a transaction and its sync with those that are there.
    ///
    /// # Errors
    /// [`StoreError::ReadingOnly`].
    pub fn expect(&self) -> Result<Expected, StoreError> {
        Ok(self.writer()?.expect())
    }

    /// Where the log stands, told anew after every commit.
    ///
    /// # Errors
    /// [`StoreError::ReadingOnly`].
    pub fn subscribe(&self) -> Result<watch::Receiver<Head>, StoreError> {
        Ok(self.writer()?.subscribe())
    }

    /// Reads, in one read transaction: everything that `work` sees is of one moment.
    ///
    /// Blocks while all read connections are busy.
    ///
    /// # Errors
    /// What `work` fails with, [`StoreError`] when the database does.
    pub fn read<T>(
        &self,
        work: impl FnOnce(&mut Reader<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.pool.with(|connection| {
            connection.transaction(Begin::Read, |connection| {
                work(&mut Reader::new(connection, &self.settings.tenant))
            })
        })
    }

    /// A read transaction on a connection of its own, held until it is dropped.
    ///
    /// While it is held the write-ahead log cannot be emptied: keep it no longer than the export takes.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be opened.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Snapshot::begin(self.pool.open()?, self.settings.tenant.clone())
    }

    /// Runs `work` on the writer's thread between two batches.
    pub(crate) fn on_writer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer()?.run(work)
    }

    /// Runs `work`, which writes what is no log entry: on the writer's thread, or beside another process.
    pub(crate) fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        match &self.beside {
            Some(connection) => work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner)),
            None => self.on_writer(work),
        }
    }

    fn writer(&self) -> Result<&Writer, StoreError> {
        self.writer.as_ref().ok_or(StoreError::ReadingOnly)
    }
}

/// The writer's connection.
pub(crate) fn open_for_writing(source: &Source, options: &Options) -> Result<Connection, StoreError> {
    match source {
        Source::Sqlite(path) => open_file_for_writing(path, options).map(Connection::Sqlite),
        Source::Postgres(..) => source.connect(Purpose::Write, options.patience()),
    }
}

fn settings_of(connection: &mut Connection, source: &Source) -> Result<Settings, StoreError> {
    let (tenant, store) = match source {
        Source::Sqlite(path) => (None, path.display().to_string()),
        Source::Postgres(url, tenant) => (Some(tenant), format!("{url}, tenant {tenant}")),
    };
    read_settings(connection, tenant)?.ok_or(StoreError::NotThere { store })
}

/// The settings of the tenant, or of the only one.
fn read_settings(
    connection: &mut Connection,
    tenant: Option<&TenantId>,
) -> Result<Option<Settings>, StoreError> {
    let columns = (settings::tenant, settings::log_origin, settings::environment);
    let row: Option<(String, String, String)> = match tenant {
        Some(tenant) => settings::table
            .filter(settings::tenant.eq(tenant.as_str()))
            .select(columns)
            .get_result(connection)
            .optional(),
        None => settings::table.select(columns).get_result(connection).optional(),
    }
    .map_err(|error| StoreError::database("read the settings", error))?;
    let Some((tenant, log_origin, environment)) = row else { return Ok(None) };
    Ok(Some(Settings {
        environment: from_word("settings", &tenant, &environment)?,
        tenant: parse("settings", &tenant, &tenant)?,
        log_origin,
    }))
}

/// The settings and the empty log, together.
fn insert_settings(connection: &mut Connection, wanted: &Settings, now: Timestamp) -> Result<(), StoreError> {
    let tenant = wanted.tenant.as_str();
    connection.transaction(Begin::Write, |connection| {
        diesel::insert_into(settings::table)
            .values((
                settings::tenant.eq(tenant),
                settings::log_origin.eq(&wanted.log_origin),
                settings::environment.eq(wanted.environment.to_string()),
                settings::created_at.eq(now.to_string()),
            ))
            .execute(connection)?;
        let empty = Head::empty();
        diesel::insert_into(log_head::table)
            .values((
                log_head::tenant.eq(tenant),
                log_head::size.eq(0),
                log_head::root_hash.eq(empty.root_hash.to_string()),
                log_head::chain_hash.eq(empty.chain_hash.to_string()),
                log_head::frontier.eq(""),
            ))
            .execute(connection)?;
        Ok(())
    })
}
