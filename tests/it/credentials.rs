//! API keys on the command line, beside a running server, and what that server makes of them.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use chancery_tests::build::Production;
use chancery_tests::home::Home;
use chancery_tests::program::{Said, chancery, run};
use chancery_tests::server::Server;
use serde_json::Value;

use crate::http::claim_signals;

fn here(home: &Home, arguments: &[&str]) -> Said {
    run(chancery(home.path()).args(arguments), [] as [&str; 0])
}

/// A command against a server with a credential, in a folder without a log or a configuration.
fn ask(server: &Server, key: Option<&str>, arguments: &[&str]) -> Said {
    let nowhere = tempfile::tempdir().unwrap();
    let mut command = chancery(nowhere.path());
    command.args(arguments).env("CHANCERY_SERVER", &server.url);
    if let Some(key) = key {
        command.env("CHANCERY_TOKEN", key);
    }
    run(&mut command, [] as [&str; 0])
}

fn create(home: &Home, principal: &str, role: &str) -> String {
    let made = here(home, &["apikey", "create", "--principal", principal, "--role", role]).expect(0);
    assert_eq!(made.out.lines().count(), 1, "the secret stands alone on stdout: {}", made.out);
    assert!(!made.err.contains(made.out.trim()), "and not on stderr: {}", made.err);
    made.out.trim().to_owned()
}

fn id(key: &str) -> &str {
    key.split('_').nth(2).unwrap()
}

#[test]
fn nobody_is_served_before_there_is_a_key_and_a_server_takes_new_ones_as_it_runs() {
    let home = Home::new();
    let refused = here(&home, &["serve"]).expect(2);
    assert!(refused.err.contains("chancery apikey create --principal"), "{}", refused.err);
    let submitter = create(&home, "claims-core", "submitter");
    let refused = here(&home, &["serve", "--listen", "0.0.0.0:0"]).expect(2);
    assert!(
        refused.err.contains("without TLS") && refused.err.contains("behind_tls_proxy"),
        "{}",
        refused.err
    );

    let server = Server::start_with_credentials(home.path());
    let signals = home.file("signals.json");
    std::fs::write(&signals, claim_signals().to_string()).unwrap();
    let signals = signals.to_str().unwrap();
    let decide = ["decide", "claim-approval", "--execution-id", "x", "--signals", signals];
    let said = ask(&server, None, &decide).expect(9);
    assert!(said.err.contains("CHANCERY_TOKEN"), "{}", said.err);
    ask(&server, Some(&submitter), &decide).expect(0);
    // Made beside the server, which has the lock on the log.
    let reader = create(&home, "desk", "reader");
    let shown = ask(&server, Some(&reader), &["decision", "show", "x", "-o", "json"]).expect(0).json();
    assert_eq!(shown["principal"], "System::\"claims-core\"");
    let lacking = ask(&server, Some(&reader), &decide).expect(9);
    assert!(lacking.err.contains("`submitter` would do"), "{}", lacking.err);

    here(&home, &["apikey", "revoke", id(&reader)]).expect(0);
    let asked = Instant::now();
    while ask(&server, Some(&reader), &["decision", "show", "x"]).code == 0 {
        assert!(asked.elapsed() < Duration::from_secs(20), "the revocation does not hold");
    }
    let auditor = create(&home, "audit", "auditor");
    assert!(server.stop().success());
    // What was refused last is written before the server has ended.
    let events = here(&home, &["security-events", "-o", "json"]).expect(0).json();
    let codes: Vec<&str> =
        events.as_array().unwrap().iter().filter_map(|event| event["code"].as_str()).collect();
    for code in ["auth.required", "auth.role", "auth.revoked"] {
        assert!(codes.contains(&code), "{code}: {codes:?}");
    }
    let server = Server::start_with_credentials(home.path());
    let listed =
        ask(&server, Some(&auditor), &["security-events", "--kind", "role", "-o", "json"]).expect(0).json();
    assert_eq!(
        (listed[0]["principal"].as_str(), listed[0]["key_id"].as_str()),
        (Some("desk"), Some(id(&reader)))
    );
    ask(&server, Some(&submitter), &["security-events"]).expect(9);
    // Beside the server; there is nothing so old.
    let forget = ["security-events", "--forget-before", "2020-01-01", "-o", "json"];
    assert_eq!(here(&home, &forget).expect(0).json(), serde_json::json!({"forgotten": 0}));
}

#[test]
fn keys_are_listed_rotated_and_revoked_and_their_secrets_shown_once() {
    let home = Home::new();
    let file = home.file("core.key");
    let path = file.to_str().unwrap();
    let arguments =
        ["apikey", "create", "--principal", "core", "--role", "submitter", "--role", "reader", "--out", path];
    let made = here(&home, &arguments).expect(0);
    let key = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    assert_eq!(made.out.trim(), id(&key));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    here(&home, &arguments).expect(11);
    let list =
        |arguments: &[&str]| here(&home, &[&["apikey", "list", "-o", "json"], arguments].concat()).expect(0);
    let listed = list(&[]);
    assert!(!listed.out.contains(&key[key.len() - 72..]));
    let listed = listed.json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "the refused one was not made: {listed}");
    assert_eq!(listed[0]["roles"], serde_json::json!(["submitter", "reader"]));

    let rotated = here(&home, &["apikey", "rotate", id(&key), "-o", "json"]).expect(0).json();
    let new = rotated["key"].as_str().unwrap().to_owned();
    assert_eq!((&rotated["principal"], &rotated["state"]), (&Value::from("core"), &Value::from("good")));
    let states = |listed: Value| -> Vec<(String, bool)> {
        let row = |row: &Value| (row["key_id"].as_str().unwrap().to_owned(), row["revoked_from"].is_string());
        listed.as_array().unwrap().iter().map(row).collect()
    };
    let found = states(list(&[]).json());
    assert!(found.contains(&(id(&key).to_owned(), true)) && found.contains(&(id(&new).to_owned(), false)));
    let now = here(&home, &["apikey", "revoke", id(&key), "-o", "json"]).expect(0).json();
    assert_eq!(now["state"], "revoked");
    here(&home, &["apikey", "rotate", id(&key)]).expect(11);

    for (arguments, code, says) in [
        (
            &["apikey", "create", "--principal", "a", "--role", "approver", "--role", "operator"][..],
            9,
            "administrators",
        ),
        (&["apikey", "create", "--principal", "a", "--role", "admin"], 2, "erasure-officer"),
        (
            &["apikey", "create", "--principal", "", "--role", "reader", "--expires", "9999d"],
            2,
            "/expires_at",
        ),
        (&["apikey", "create", "--principal", "a"], 2, "--role"),
        (&["apikey", "revoke", "0000000000000000"], 10, "apikey list --all"),
        (&["apikey", "revoke", id(&new), "--after", "soon"], 2, "1d12h"),
        (&["security-events", "--kind", "x"], 2, "signature"),
        (&["security-events", "--after", "x"], 2, "cursor"),
        (&["security-events", "--forget-before", "2999-01-01"], 2, "90 days"),
        (&["security-events", "--forget-before", "2020-01-01", "--kind", "role"], 2, "cannot be used with"),
        (&["apikey", "list", "--server", "http://127.0.0.1:1"], 2, "on no server"),
    ] {
        let said = here(&home, arguments).expect(code);
        assert!(said.err.contains(says), "{arguments:?}: {}", said.err);
    }
    let list = here(&home, &["apikey", "list"]).expect(0);
    assert!(list.out.contains("KEY") && list.out.contains("core"), "{}", list.out);
}

#[test]
fn a_production_log_is_served_to_whoever_has_a_key() {
    let home = Production::new();
    run(&mut chancery(home.path()), ["serve", "--dev"]).expect(9);
    let refused = run(&mut chancery(home.path()), ["serve"]).expect(2);
    assert!(refused.err.contains("no credentials"), "{}", refused.err);
    let arguments = ["apikey", "create", "--principal", "core", "--role", "submitter", "--role", "reader"];
    let key = run(&mut chancery(home.path()), arguments).expect(0).out.trim().to_owned();
    let server = Server::start_with_credentials(home.path());
    let signals = home.file("signals.json");
    std::fs::write(&signals, claim_signals().to_string()).unwrap();
    let decide = ["decide", "claim-approval", "--execution-id", "x", "--signals", signals.to_str().unwrap()];
    ask(&server, None, &decide).expect(9);
    ask(&server, Some(&key), &decide).expect(0);
    let shown = ask(&server, Some(&key), &["decision", "show", "x", "-o", "json"]).expect(0);
    assert!(shown.out.contains("\"environment\": \"production\""), "{}", shown.out);
}
