//! A server whose database hangs without being down: it still ends when it is told to.

use std::fs;

use chancery_tests::between::Between;
use chancery_tests::server::Server;
use tempfile::TempDir;

use crate::http::{get, post};
use crate::postgres::{claim, database, nodes};

/// A server on a database that is reached by another way, and that way.
fn served() -> Option<(TempDir, Between, Server)> {
    let [folder, _] = nodes()?;
    let url = database(folder.path());
    let between = Between::new(&url);
    let path = folder.path().join("chancery.toml");
    let configuration = fs::read_to_string(&path).unwrap().replace(&url, &between.url());
    fs::write(&path, configuration).unwrap();
    let server = Server::start_with(folder.path(), &mut |command| {
        command.env("CHANCERY_DRAIN_TIMEOUT_MS", "0").env("CHANCERY_CHECKPOINT_INTERVAL_MS", "100");
    });
    let (status, _, answer) = post(&format!("{}/v1/decisions", server.url), &claim("claim-1"));
    assert_eq!(status, 201, "{answer}");
    Some((folder, between, server))
}

#[test]
fn a_server_whose_database_hangs_says_so_and_ends_at_its_deadline() {
    let Some((_folder, between, server)) = served() else { return };
    between.hang(true);
    let (status, ready) = get(&format!("{}/readyz", server.operator_url));
    assert_eq!(status, 503);
    assert!(ready.contains("no answer within 1000 ms"), "{ready}");
    let lines = server.log_until_stopped();
    assert!(lines.iter().any(|line| line.contains("the work for `acme` did not end in time")), "{lines:?}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let Some((_folder, between, server)) = served() else { return };
    between.hang(true);
    server.tell_to_stop();
    let lines = server.log_until_stopped();
    assert!(lines.iter().any(|line| line.contains("told to stop twice")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("did not end in time")), "{lines:?}");
}
