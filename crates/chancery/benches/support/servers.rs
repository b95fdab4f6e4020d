//! The servers that are measured, each a process of its own: `chancery serve --dev` on either database, and an echo.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use chancery_tests::bench::memory::again;
use chancery_tests::program::repository;

/// A server, ended when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// `chancery serve` on a new log with its folder in `home`, in a file there or in the database of the URL.
    pub(crate) fn chancery(home: &Path, database: Option<&str>) -> Self {
        let command = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
            command.current_dir(home).env_clear().env("CHANCERY_PASSWORD", "a password");
            command
        };
        let mut init = command();
        init.args(["init", "--no-input", "--environment", "test", "--tenant", "acme", "--policies"])
            .arg(repository().join("policies"))
            .args(database.map(|url| format!("--db={url}")));
        assert!(init.stdout(Stdio::null()).status().unwrap().success(), "chancery init");
        let mut serve = command();
        serve.args(["serve", "--dev", "--listen", "127.0.0.1:0"]);
        serve.env("CHANCERY_OPERATOR_LISTEN", "127.0.0.1:0").env("CHANCERY_LOG_FORMAT", "json");
        let mut child = serve.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the server listens");
            let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
            if let Some(address) = entry.pointer("/fields/api").and_then(serde_json::Value::as_str) {
                break address.parse().unwrap();
            }
        };
        // It must not wait for somebody to read what it says.
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, address }
    }

    /// This program as [`echo`].
    pub(crate) fn echo() -> Self {
        let mut child = again(&["echo"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().parse().unwrap() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends every body back, on a free port that it prints.
pub(crate) fn echo() {
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    threads.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let same = |body: axum::body::Bytes| async { ([("content-type", "application/json")], body) };
        axum::serve(listener, axum::Router::new().route("/", axum::routing::post(same))).await.unwrap();
    });
}
