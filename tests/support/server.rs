//! A running `chancery serve` on a free port of the loopback interface.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::program::chancery;

/// A field of a log line, in either form.
fn field(line: &str, name: &str) -> Option<String> {
    match serde_json::from_str::<serde_json::Value>(line) {
        Ok(entry) => entry["fields"][name].as_str().map(str::to_owned),
        Err(_) => Some(line.split_once(&format!(" {name}=\""))?.1.split_once('"')?.0.to_owned()),
    }
}

/// A server; ended when it is dropped.
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:port` of the API.
    pub url: String,
    /// The same of the operator's port.
    pub operator_url: String,
    log: mpsc::Receiver<String>,
}

impl Server {
    /// Starts a server on the log in `home` and waits until it listens.
    #[must_use]
    pub fn start(home: &Path) -> Self {
        Self::start_with(home, &mut |_| {})
    }

    /// The same, with the command prepared further.
    #[must_use]
    pub fn start_with(home: &Path, prepare: &mut dyn FnMut(&mut Command)) -> Self {
        Self::launch(home, &["--dev"], prepare)
    }

    /// The same, asking every caller for a credential.
    #[must_use]
    pub fn start_with_credentials(home: &Path) -> Self {
        Self::launch(home, &[], &mut |_| {})
    }

    fn launch(home: &Path, flags: &[&str], prepare: &mut dyn FnMut(&mut Command)) -> Self {
        let mut command = chancery(home);
        command
            .arg("serve")
            .args(flags)
            .args(["--listen", "127.0.0.1:0"])
            .env("CHANCERY_OPERATOR_LISTEN", "127.0.0.1:0")
            .env("CHANCERY_LOG_FORMAT", "json")
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        prepare(&mut command);
        let mut child = command.spawn().expect("the server starts");
        let (sender, log) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| _ = sender.send(line)));
        let mut seen = Vec::new();
        let mut urls: (Option<String>, Option<String>) = (None, None);
        while urls.0.is_none() || urls.1.is_none() {
            let line = log.recv_timeout(Duration::from_secs(60));
            let line = line.unwrap_or_else(|_| panic!("the server does not listen:\n{}", seen.join("\n")));
            let field = |name: &str| field(&line, name).map(|address| format!("http://{address}"));
            urls = (urls.0.or_else(|| field("api")), urls.1.or_else(|| field("operator")));
            seen.push(line);
        }
        Self { child, url: urls.0.unwrap(), operator_url: urls.1.unwrap(), log }
    }

    /// What it has logged since the last call.
    pub fn log_lines(&self) -> Vec<String> {
        self.log.try_iter().collect()
    }

    /// Ends it the way a service manager does, and gives every line that it has logged since the last call.
    #[must_use]
    pub fn log_until_stopped(mut self) -> Vec<String> {
        self.terminate();
        // The reader ends with the pipe.
        self.log.iter().collect()
    }

    /// The process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it the way a service manager does, and waits.
    pub fn stop(mut self) -> std::process::ExitStatus {
        self.terminate()
    }

    /// Tells it to end, and waits until it has heard.
    pub fn tell_to_stop(&self) {
        self.send_terminate();
        let heard = self.log.iter().any(|line| line.contains("stopping: not ready any more"));
        assert!(heard, "the server has not heard the signal");
    }

    fn send_terminate(&self) {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
    }

    fn terminate(&mut self) -> std::process::ExitStatus {
        self.send_terminate();
        self.child.wait().unwrap()
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
