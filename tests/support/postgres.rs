//! A real PostgreSQL server of this process: made in a temporary folder, reached through a socket in it, gone with the
//! process that uses it.
//!
//! ```text
//! this process ──stdin──> sh ──> postgres -D folder -k folder      when stdin closes, sh stops the server and
//!                                                                  removes the folder, however the process ended
//! ```

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Who runs the server where the tests are root's, which PostgreSQL refuses to be.
const NOBODY: u32 = 65_534;

/// The server and how to ask it things.
struct Server {
    programs: PathBuf,
    folder: PathBuf,
    /// Its stdin is what keeps the server running.
    _supervisor: Child,
}

static SERVER: OnceLock<Option<Server>> = OnceLock::new();

/// The URL of a new, empty database, whose owner is no superuser. The server starts with the first one.
///
/// `None` where PostgreSQL is not installed, said loudly: the tests show nothing then.
#[must_use]
pub fn database() -> Option<String> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let server = SERVER.get_or_init(Server::start).as_ref()?;
    let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    server.psql("postgres", &format!("CREATE DATABASE {name} OWNER chancery"));
    Some(format!("postgres:///{name}?host={}&user=chancery", server.folder.display()))
}

/// Runs SQL as the superuser, in the database that a URL of [`database`] names: past row-level security.
///
/// # Panics
/// Where the server refuses it.
pub fn as_superuser(url: &str, sql: &str) -> String {
    let server = SERVER.get().and_then(Option::as_ref).expect("a server is running");
    let name = url.trim_start_matches("postgres:///").split('?').next().unwrap();
    server.psql(name, sql)
}

/// What the server says against SQL that it refuses the superuser, or a role that the SQL itself takes on.
///
/// # Panics
/// Where the server does not refuse it.
pub fn refused(url: &str, sql: &str) -> String {
    let server = SERVER.get().and_then(Option::as_ref).expect("a server is running");
    let name = url.trim_start_matches("postgres:///").split('?').next().unwrap();
    let said = server.ask(name, sql);
    assert!(!said.status.success(), "{sql} went through");
    String::from_utf8(said.stderr).unwrap()
}

/// Brings the server to where one is that has run for a while: with files of its write-ahead log to write over.
///
/// A new one makes each of these, 16 MB of zeros and a sync, within the commit that needs it, which takes 20 to 80 ms
/// instead of less than one. For benches, before they measure; takes seconds, and a gigabyte.
///
/// # Panics
/// Where no server runs.
pub fn settle() {
    const FILES: &str = "DO $$ BEGIN FOR file IN 1..64 LOOP \
         PERFORM pg_logical_emit_message(false, '', ''); PERFORM pg_switch_wal(); END LOOP; END $$";
    let server = SERVER.get().and_then(Option::as_ref).expect("a server is running");
    for sql in [
        "ALTER SYSTEM SET min_wal_size = '1GB'",
        // No checkpoint before all of them are there, which then keeps them.
        "ALTER SYSTEM SET max_wal_size = '4GB'",
        "SELECT pg_reload_conf()",
        FILES,
        "CHECKPOINT",
        "ALTER SYSTEM RESET max_wal_size",
        "SELECT pg_reload_conf()",
    ] {
        server.psql("postgres", sql);
    }
}

/// The processor's time that the server's processes have taken, those that have ended included.
pub fn processor_time() -> Duration {
    let server = SERVER.get().and_then(Option::as_ref).expect("a server is running");
    let file = fs::read_to_string(server.folder.join("data/postmaster.pid")).unwrap_or_default();
    let Some(postmaster) = file.lines().next().and_then(|pid| pid.parse().ok()) else {
        return Duration::ZERO;
    };
    let others =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let children =
        others.filter_map(Times::of).filter(|times| times.parent == postmaster).map(|times| times.own);
    let own = Times::of(postmaster).map_or(Duration::ZERO, |times| times.own + times.ended_children);
    own + children.sum::<Duration>()
}

/// What Linux has counted of a process.
pub struct Times {
    parent: u32,
    /// By itself.
    pub own: Duration,
    /// By its children, once they had ended.
    pub ended_children: Duration,
}

impl Times {
    /// Of a process that runs; none of one that does not.
    #[must_use]
    pub fn of(process: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name, in brackets, may hold anything; the third field follows it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |first: usize| -> Option<Duration> {
            let ticks: u64 =
                fields.get(first)?.parse::<u64>().ok()? + fields.get(first + 1)?.parse::<u64>().ok()?;
            // Linux counts in hundredths of a second for programs, on every machine.
            Some(Duration::from_millis(10 * ticks))
        };
        Some(Self { parent: fields.get(1)?.parse().ok()?, own: ticks(11)?, ended_children: ticks(13)? })
    }
}

/// Stops all connections to a database, as a server that is restarted does.
pub fn disconnect(url: &str) {
    let name = url.trim_start_matches("postgres:///").split('?').next().unwrap();
    let sql =
        format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'");
    let server = SERVER.get().and_then(Option::as_ref).expect("a server is running");
    server.psql("postgres", &sql);
}

impl Server {
    fn start() -> Option<Self> {
        let found = Command::new("pg_config").arg("--bindir").output();
        let programs = found
            .ok()
            .filter(|said| said.status.success())
            .map(|said| PathBuf::from(String::from_utf8(said.stdout).unwrap().trim_end()));
        let Some(programs) = programs.filter(|programs| programs.join("initdb").is_file()) else {
            crate::skip::skipped("PostgreSQL (packages postgresql and libpq-dev)");
            return None;
        };
        // A socket's path has at most 107 bytes.
        let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").unwrap().keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let root = fs::metadata("/proc/self").is_ok_and(|own| {
            use std::os::unix::fs::MetadataExt as _;
            own.uid() == 0
        });
        if root {
            std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let script = format!(
            "cd {folder} && {programs}/initdb -D data -U postgres -A trust --no-sync -E UTF8 --locale=C >init.log 2>&1 \
             && {{ {programs}/postgres -D data -k {folder} -c listen_addresses= -c max_connections=200 \
                   -c shared_buffers=64MB >server.log 2>&1 & }}
             server=$!
             read -r forever
             kill -QUIT $server
             wait $server
             rm -rf {folder}",
            folder = folder.display(),
            programs = programs.display(),
        );
        let mut supervisor = Command::new("sh");
        supervisor.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        if root {
            supervisor.uid(NOBODY).gid(NOBODY);
        }
        // A group of its own: what interrupts the tests must not take it down before it has cleaned up.
        supervisor.process_group(0);
        let server = Self { _supervisor: supervisor.spawn().unwrap(), programs, folder };
        server.wait();
        server.psql("postgres", "CREATE ROLE chancery LOGIN");
        Some(server)
    }

    fn wait(&self) {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(60) {
            let ready =
                Command::new(self.programs.join("pg_isready")).arg("-q").arg("-h").arg(&self.folder).status();
            if ready.is_ok_and(|status| status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = |name: &str| fs::read_to_string(Path::new(&self.folder).join(name)).unwrap_or_default();
        panic!("PostgreSQL did not start: {} {}", log("init.log"), log("server.log"));
    }

    fn psql(&self, database: &str, sql: &str) -> String {
        let said = self.ask(database, sql);
        assert!(said.status.success(), "{sql}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    }

    fn ask(&self, database: &str, sql: &str) -> std::process::Output {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-c", sql]);
        psql.arg("-h").arg(&self.folder).output().unwrap()
    }
}
