//! What was acknowledged is there after a crash, once, in one unbroken log.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use chancery_tests::home::Home;
use chancery_tests::program::{chancery, chancery_verify, run};
use chancery_tests::server::Server;

use crate::http::claim;

/// Starts clients that decide until the server is gone; each returns the ids that were acknowledged.
fn clients(url: &str, round: usize) -> Vec<thread::JoinHandle<Vec<String>>> {
    let spawn = |client: usize| {
        let url = format!("{url}/v1/decisions");
        thread::spawn(move || {
            let agent = ureq::Agent::new_with_defaults();
            let mut acknowledged = Vec::new();
            loop {
                let id = format!("claim-{round}-{client}-{}", acknowledged.len());
                match agent
                    .post(&url)
                    .content_type("application/json")
                    .send(claim(&id).to_string().as_bytes())
                {
                    Ok(answer) if answer.status() == 201 => acknowledged.push(id),
                    _ => return acknowledged,
                }
            }
        })
    };
    (0..4).map(spawn).collect()
}

#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let home = Home::new();
    let mut acknowledged = BTreeSet::new();
    for round in 0..3 {
        let server = Server::start(home.path());
        let clients = clients(&server.url, round);
        thread::sleep(Duration::from_millis(400));
        server.kill();
        acknowledged.extend(clients.into_iter().flat_map(|client| client.join().unwrap()));
    }
    assert!(acknowledged.len() > 10, "the rounds decided something: {}", acknowledged.len());
    let evidence = home.file("all.evidence.jsonl");
    run(chancery(home.path()).args(["export", "--out"]), [&evidence]).expect(0);
    let ask = ["--environment", "test", "--without", "build", "--root"];
    run(chancery_verify().arg(&evidence).args(ask), [home.root_pub()]).expect(0);
    let text = std::fs::read_to_string(&evidence).unwrap();
    let recorded: BTreeSet<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["kind"] == "decision")
        .map(|line| {
            let payload = chancery_core::b64::decode(line["envelope"]["payload"].as_str().unwrap()).unwrap();
            let statement: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            statement["predicate"]["executionId"].as_str().unwrap().to_owned()
        })
        .collect();
    let lost: Vec<_> = acknowledged.difference(&recorded).collect();
    assert!(lost.is_empty(), "acknowledged and gone: {lost:?}");
}
