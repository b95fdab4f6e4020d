//! Verification records: made for old decisions, whatever happens meanwhile, and seen by the auditors' SQL.

use std::path::Path;

use chancery_tests::home::Home;
use chancery_tests::program::{Said, chancery, chancery_verify, run};
use chancery_tests::server::Server;
use serde_json::Value;

use crate::http::{claim, post};
use crate::postgres::nodes;

fn ask(home: &Home, arguments: &[&str]) -> Said {
    run(&mut chancery(home.path()), arguments)
}

/// A home with this many decisions.
fn decided(count: usize) -> Home {
    let home = Home::new();
    let lines: String = (0..count).map(|number| format!("{}\n", claim(&format!("claim-{number}")))).collect();
    std::fs::write(home.file("claims.ndjson"), lines).unwrap();
    ask(&home, &["decide", "claim-approval", "--batch", "claims.ndjson"]).expect(0);
    home
}

fn numbers(database: &Path, sql: &str) -> Vec<Option<i64>> {
    let connection = rusqlite::Connection::open(database).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    statement.query_row([], |row| (0..columns).map(|column| row.get(column)).collect()).unwrap()
}

#[test]
fn old_decisions_are_verified_once_and_the_auditors_sql_sees_it() {
    let home = decided(40);
    let none = "SELECT count(*), count(verification_valid), count(verified_at) FROM audit_decisions";
    assert_eq!(numbers(&home.database(), none), [Some(40), Some(0), Some(0)]);
    let backfill = ["verification", "backfill", "--per-second", "10000", "-o", "json"];
    let status = ask(&home, &backfill).expect(6).json();
    assert_eq!(
        (&status["state"], &status["recorded"], &status["total"]),
        (&"done".into(), &40.into(), &40.into())
    );
    assert_eq!(
        (&status["verified"], &status["failed"], &status["incomplete"]),
        (&0.into(), &0.into(), &40.into())
    );
    let said = ask(&home, &["verification", "backfill"]).expect(6);
    assert!(
        said.out
            .contains("done: 40 of 40 decisions have a verification: 0 verified, 0 failed, 40 incomplete"),
        "{}",
        said.out
    );
    assert_eq!(numbers(&home.database(), "SELECT count(*) FROM verifications"), [Some(40)], "once each");
    // No build is named on a log for tests: that is not known, and so is the whole.
    let seen = "SELECT count(*), count(verification_valid), sum(signature_verified), count(runtime_verified), \
                sum(schema_compatible), count(verified_at) FROM audit_decisions";
    assert_eq!(numbers(&home.database(), seen), [Some(40), Some(0), Some(40), Some(0), Some(40), Some(40)]);
    let view = "SELECT count(*), count(valid), sum(v.signature_verified) FROM audit_verifications v \
                JOIN audit_decisions d USING (execution_id, execution_fingerprint, verified_at)";
    assert_eq!(numbers(&home.database(), view), [Some(40), Some(0), Some(40)]);
    let list =
        ask(&home, &["verification", "list", "--execution-id", "claim-7", "-o", "json"]).expect(0).json();
    assert_eq!((&list[0]["verdict"], list.as_array().unwrap().len()), (&"incomplete".into(), 1));
    ask(&home, &["verification", "list", "--verdict", "good"]).expect(2);
    ask(&home, &["verification", "list", "--after", "zzz"]).expect(2);
    ask(&home, &["verification", "backfill", "--per-second", "0"]).expect(2);
    ask(&home, &["fsck", "--full"]).expect(0);
}

#[test]
fn damaged_decisions_are_named_and_the_rest_is_judged() {
    let home = decided(12);
    let connection = rusqlite::Connection::open(home.database()).unwrap();
    let triggers: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let of = |id: &str| format!("(SELECT log_index FROM decisions WHERE execution_id = '{id}')");
    for trigger in triggers {
        connection.execute_batch(&format!("DROP TRIGGER \"{trigger}\"")).unwrap();
    }
    connection
        .execute_batch(&format!(
            "UPDATE openings SET nonce = zeroblob(length(nonce)) WHERE log_index = {}",
            of("claim-3")
        ))
        .unwrap();
    let backfill = ["verification", "backfill", "--per-second", "10000", "-o", "json"];
    let status = ask(&home, &backfill).expect(6).json();
    assert_eq!((&status["state"], &status["recorded"]), (&"incomplete".into(), &11.into()), "{status}");
    assert_eq!(status["unjudged"][0]["execution_id"], "claim-3");
    connection
        .execute_batch(&format!(
            "DELETE FROM verifications WHERE execution_id = 'claim-7';
             UPDATE log_entries SET signature = zeroblob(64) WHERE log_index = {}",
            of("claim-7")
        ))
        .unwrap();
    drop(connection);
    let status = ask(&home, &backfill).expect(5).json();
    assert_eq!((&status["failed"], &status["unjudged"][0]["code"]), (&1.into(), &"store.corrupt".into()));
}

#[test]
fn one_job_runs_over_all_nodes_of_a_database() {
    let Some(homes) = nodes() else { return };
    let servers = homes.each_ref().map(|home| Server::start(home.path()));
    for number in 0..70 {
        let decided = post(
            &format!("{}/v1/decisions", servers[0].url),
            claim(&format!("c-{number}")).to_string().as_bytes(),
        );
        assert_eq!(decided.0, 201, "{}", decided.2);
    }
    let begin = |server: &Server, body: &str| {
        let (status, _, body) = post(&format!("{}/v1/verifications:backfill", server.url), body.as_bytes());
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    // Two steps, and a decision a second: it runs for longer than the test.
    let (status, begun) = begin(&servers[0], r#"{"per_second": 1}"#);
    assert_eq!(status, 202, "{begun}");
    let (status, same) = begin(&servers[1], "{}");
    assert_eq!((status, &same["job"], &same["state"]), (200, &begun["job"], &"running".into()));
    let (status, other) = begin(&servers[1], r#"{"policy": "claim-approval"}"#);
    assert_eq!((status, &other["code"]), (409, &"backfill.running".into()));
    let command = ["verification", "backfill"];
    run(&mut chancery(homes[1].path()), command).expect(11);
    let job = format!("/v1/verifications:backfill/{}", begun["job"].as_str().unwrap());
    let seen: Value = serde_json::from_str(&crate::http::get(&format!("{}{job}", servers[1].url)).1).unwrap();
    assert_eq!((&seen["state"], &seen["total"]), (&"running".into(), &70.into()));
    // A server that stops gives its turn back.
    let [first, second] = servers;
    assert!(first.stop().success());
    let ended = run(
        chancery(homes[1].path()).env("CHANCERY_SERVER", &second.url),
        ["verification", "backfill", "--per-second", "10000", "-o", "json"],
    );
    let ended = ended.expect(6).json();
    assert_eq!((&ended["state"], &ended["recorded"]), (&"done".into(), &70.into()));
    let list = run(&mut chancery(homes[1].path()), ["verification", "list", "--limit", "1000", "-o", "json"]);
    assert_eq!(list.expect(0).json().as_array().unwrap().len(), 70, "once each");
    assert!(second.stop().success());
}

#[test]
fn a_killed_backfill_goes_on_where_it_was() {
    let home = decided(100);
    let server = Server::start(home.path());
    // So slow that it cannot end before the server does.
    let (status, _, body) =
        post(&format!("{}/v1/verifications:backfill", server.url), br#"{"per_second": 1}"#);
    assert_eq!(status, 202, "{body}");
    let begun: Value = serde_json::from_str(&body).unwrap();
    let job = format!("/v1/verifications:backfill/{}", begun["job"].as_str().unwrap());
    let progress = |server: &Server| -> Value {
        serde_json::from_str(&crate::http::get(&format!("{}{job}", server.url)).1).unwrap()
    };
    while progress(&server)["recorded"] == 0 {
        std::thread::yield_now();
    }
    server.kill();
    let server = Server::start(home.path());
    let stopped = progress(&server);
    let done = stopped["recorded"].as_u64().unwrap();
    assert_eq!((&stopped["state"], &stopped["total"]), (&"stopped".into(), &100.into()));
    assert!(done > 0 && done < 100, "{stopped}");
    let command = ["verification", "backfill", "--per-second", "10000", "-o", "json"];
    let ended = run(chancery(home.path()).env("CHANCERY_SERVER", &server.url), command).expect(6).json();
    assert_eq!((&ended["state"], &ended["recorded"]), (&"done".into(), &100.into()));
    assert_eq!(progress(&server)["state"], "done");
    assert!(server.stop().success());
    assert_eq!(numbers(&home.database(), "SELECT count(*) FROM verifications"), [Some(100)], "once each");
    let file = home.file("all.evidence.jsonl");
    ask(&home, &["export", "--out", file.to_str().unwrap()]).expect(0);
    let mut verify = chancery_verify();
    verify.arg(file).args(["--environment", "test", "--without", "build", "--json", "--root"]);
    let report = run(&mut verify, [home.root_pub()]).expect(0).json();
    assert_eq!(report["counts"]["verifications"], 100);
    ask(&home, &["fsck", "--full"]).expect(0);
}
