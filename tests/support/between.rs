//! Stands between a program and the PostgreSQL of the tests, and can stop to pass anything on, without closing anything:
//! a server that hangs, as one that was stopped (`SIGSTOP`) or whose disk does not answer.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use tempfile::TempDir;

/// The name that PostgreSQL's clients look for in a folder.
const SOCKET: &str = ".s.PGSQL.5432";

/// Streams that are kept open while nothing is passed on.
type Held = Arc<Mutex<Vec<(UnixStream, UnixStream)>>>;

/// A socket of its own that leads to the server.
pub struct Between {
    folder: TempDir,
    database: String,
    hangs: Arc<AtomicBool>,
}

impl Between {
    /// Before the database that a URL of [`crate::postgres::database`] names.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let (database, query) = url.trim_start_matches("postgres:///").split_once("?host=").unwrap();
        let server = format!("{}/{SOCKET}", query.split('&').next().unwrap());
        // A socket's path has at most 107 bytes.
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let hangs = Arc::new(AtomicBool::new(false));
        let (hanging, held) = (Arc::clone(&hangs), Held::default());
        // Ends with the process: a socket whose folder is gone is reached by nobody.
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), UnixStream::connect(&server).unwrap());
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let (hangs, held) = (Arc::clone(&hanging), Arc::clone(&held));
                    thread::spawn(move || pass_on(from, to, &hangs, &held));
                }
            }
        });
        Self { folder, database: database.to_owned(), hangs }
    }

    /// The URL of the database by this way.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres:///{}?host={}&user=chancery", self.database, self.folder.path().display())
    }

    /// Whether nothing is passed on from now on. What is open then stays silent for good.
    pub fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::Relaxed);
    }
}

fn pass_on(mut from: UnixStream, mut to: UnixStream, hangs: &AtomicBool, held: &Held) {
    let mut bytes = [0; 4_096];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if hangs.load(Ordering::Relaxed) {
            held.lock().unwrap().push((from, to));
            return;
        }
        if to.write_all(&bytes[..length]).is_err() {
            return;
        }
    }
    // It may be closed already.
    let _ = to.shutdown(Shutdown::Both);
}
