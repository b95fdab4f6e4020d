//! The thread that moves the write-ahead log into the database file, off the commit path.
//!
//! After each commit the writer rings. The checkpointer then copies what it can without stopping anybody
//! (`PASSIVE`). SQLite can only begin the log anew when every frame is copied and no reader is left in it, so a
//! steady stream of commits would let the file grow for ever: beyond half of `wal_bytes_max` the writer is held back
//! for the moment that `RESTART` needs for the last few frames. A reader that stays (an export) puts that off.
//!
//! The file keeps its length then. Syncing a file that grows waits for the file system's journal, and with it for
//! whatever else is written on that disk; syncing one whose blocks are only overwritten does not. `TRUNCATE` is for
//! erasures alone, whose old frames have to go.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use diesel::sql_types::Integer;
use diesel::{QueryableByName, RunQueryDsl as _, SqliteConnection};

use crate::connection::{self, Purpose};
use crate::error::StoreError;
use crate::file::PAGE_BYTES;
use crate::hook::{Step, StepHook};
use crate::open::Options;

/// Bytes of records from which copying is worth its sync: what SQLite's own default (1,000 pages of 4 KiB) comes
/// to. Counted by what was committed and not by the file, which keeps its size when it is begun anew.
const PASSIVE_FROM_BYTES: usize = 4 * 1024 * 1024;

/// What a transaction counts for beside its records.
const COMMIT_BYTES: usize = 4 * 1024;

/// How long `RESTART` waits for readers while the writer is held back, ms.
const RESTART_WAIT_MS: u32 = 20;

/// After a `RESTART` that a reader prevented: as long as this the writer is not held back again.
const RESTART_PAUSE: Duration = Duration::from_millis(250);

/// What writer and checkpointer share.
#[derive(Default)]
pub(crate) struct Bell {
    state: Mutex<State>,
    rung: Condvar,
    /// Held by the writer during a transaction and by the checkpointer while it begins the log anew.
    gate: Mutex<()>,
}

#[derive(Default)]
struct State {
    committed_bytes: usize,
    truncate: bool,
    stop: bool,
}

impl Bell {
    /// Tells that records of so many bytes were committed.
    pub(crate) fn ring(&self, bytes: usize) {
        self.change(|state| {
            state.committed_bytes = state.committed_bytes.saturating_add(bytes).saturating_add(COMMIT_BYTES);
        });
    }

    /// Asks for an empty log as soon as can be: what was erased is still in it.
    pub(crate) fn ring_truncate(&self) {
        self.change(|state| state.truncate = true);
    }

    /// Keeps the checkpointer away while a transaction is open.
    pub(crate) fn gate(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.rung.notify_one();
    }
}

/// The running thread; dropping it stops it.
pub(crate) struct Checkpointer {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub(crate) fn start(path: &Path, options: &Options) -> Result<Self, StoreError> {
        let connection = connection::establish(path, Purpose::Write, options.busy_timeout_ms)?;
        let bell = Arc::new(Bell::default());
        let worker = Worker {
            connection,
            bell: Arc::clone(&bell),
            restart_from_bytes: options.wal_bytes_max / 2,
            hook: options.hook.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("store-checkpointer".to_owned())
            .spawn(move || worker.run())
            .map_err(|source| StoreError::Io {
                doing: "start the checkpointer of",
                path: path.to_owned(),
                source,
            })?;
        Ok(Self { bell, thread: Some(thread) })
    }

    pub(crate) fn handle(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.bell.change(|state| state.stop = true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's checkpointer panicked");
        }
    }
}

struct Worker {
    connection: SqliteConnection,
    bell: Arc<Bell>,
    restart_from_bytes: u64,
    hook: Option<StepHook>,
}

impl Worker {
    fn run(mut self) {
        let bell = Arc::clone(&self.bell);
        let mut truncate = false;
        loop {
            {
                let mut state = bell.state.lock().unwrap_or_else(PoisonError::into_inner);
                while state.committed_bytes < PASSIVE_FROM_BYTES && !state.truncate && !state.stop {
                    state = bell.rung.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                if state.stop {
                    return;
                }
                state.committed_bytes = 0;
                truncate |= std::mem::take(&mut state.truncate);
            }
            match self.checkpoint(truncate) {
                Ok(true) => truncate = false,
                Ok(false) => self.pause(truncate),
                Err(error) => {
                    // The records are safe in the write-ahead log; it only grows until this works again.
                    tracing::warn!(%error, "the write-ahead log could not be moved into the database file");
                    self.pause(truncate);
                }
            }
        }
    }

    /// Waits a little; what is still asked for is tried again.
    fn pause(&self, again: bool) {
        let state = self.bell.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.bell.rung.wait_timeout_while(state, RESTART_PAUSE, |state| !state.stop);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.truncate |= again;
    }

    /// Copies frames; false if the log could not be begun anew though that was due.
    fn checkpoint(&mut self, truncate: bool) -> Result<bool, StoreError> {
        if let Some(hook) = &self.hook {
            hook(Step::Checkpointing);
        }
        let moved = self.move_frames("PRAGMA wal_checkpoint(PASSIVE)")?;
        if !truncate && moved.bytes() < self.restart_from_bytes {
            return Ok(true);
        }
        // What was committed meanwhile; little is left to do while the writer waits.
        self.move_frames("PRAGMA wal_checkpoint(PASSIVE)")?;
        let bell = Arc::clone(&self.bell);
        let _gate = bell.gate();
        connection::execute(
            &mut self.connection,
            "set the time-out",
            &format!("PRAGMA busy_timeout={RESTART_WAIT_MS}"),
        )?;
        let restart =
            if truncate { "PRAGMA wal_checkpoint(TRUNCATE)" } else { "PRAGMA wal_checkpoint(RESTART)" };
        Ok(self.move_frames(restart)?.busy == 0)
    }

    fn move_frames(&mut self, sql: &str) -> Result<Moved, StoreError> {
        diesel::sql_query(sql)
            .get_result(&mut self.connection)
            .map_err(|error| StoreError::database("move the write-ahead log into the file", error))
    }
}

/// What the pragma answers.
#[derive(QueryableByName)]
struct Moved {
    /// Not 0 when someone was in the way.
    #[diesel(sql_type = Integer)]
    busy: i32,
    /// Frames that the log has; -1 where there is none.
    #[diesel(sql_type = Integer)]
    log: i32,
}

impl Moved {
    fn bytes(&self) -> u64 {
        u64::try_from(self.log).unwrap_or(0) * u64::from(PAGE_BYTES)
    }
}
