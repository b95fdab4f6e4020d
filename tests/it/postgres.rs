//! A log on a real PostgreSQL: from `init` to an auditor's verdict, with two servers on one database.

use std::fs;
use std::path::Path;
use std::thread;

use chancery_tests::home::copy_folder;
use chancery_tests::postgres;
use chancery_tests::program::{chancery, chancery_verify, repository, run};
use chancery_tests::server::Server;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{get, post};
use crate::overrides::ID;

/// The folders of two nodes with the same keys, on one new database; none where there is no PostgreSQL.
pub(crate) fn nodes() -> Option<[TempDir; 2]> {
    let url = postgres::database()?;
    let first = tempfile::tempdir().unwrap();
    fs::create_dir(first.path().join("policies")).unwrap();
    copy_folder(&repository().join("policies"), &first.path().join("policies"));
    let init = ["init", "--no-input", "--environment", "test", "--tenant", "acme", "--db", &url];
    run(&mut chancery(first.path()), init).expect(0);
    let second = tempfile::tempdir().unwrap();
    copy_folder(first.path(), second.path());
    Some([first, second])
}

/// The database that the configuration of a node names.
pub(crate) fn database(folder: &Path) -> String {
    let configuration = fs::read_to_string(folder.join("chancery.toml")).unwrap();
    let url = configuration.lines().find_map(|line| line.strip_prefix("database = \"")).unwrap();
    url.trim_end_matches('"').to_owned()
}

pub(crate) fn claim(id: &str) -> Vec<u8> {
    let signals = json!({"policyBindDate": "2019-03-14", "policyState": "OH", "policyCsl": "250/500",
        "policyDeductible": 500, "policyAnnualPremium": "1406.91", "umbrellaLimit": 0, "monthsAsCustomer": 82,
        "incidentDate": "2026-10-02", "incidentHour": 14, "incidentType": "Parked Car",
        "incidentSeverity": "Minor Damage", "vehiclesInvolved": 1, "modelYear": "2018-01-01", "bodilyInjuries": 0,
        "witnesses": 1, "totalClaim": 4200, "injuryClaim": 0, "propertyClaim": 700, "vehicleClaim": 3500});
    json!({"execution_id": id, "policy": "claim-approval", "resource": id, "labels": {"channel": "web"},
        "signals": signals})
    .to_string()
    .into_bytes()
}

pub(crate) fn verified(folder: &Path, decisions: u64) {
    run(&mut chancery(folder), ["export", "--out", "all.evidence.jsonl"]).expect(0);
    let mut verify = chancery_verify();
    verify.args(["--environment", "test", "--without", "build", "--json", "--root"]);
    let said = run(verify.arg(folder.join("trust/root.pub")), [folder.join("all.evidence.jsonl")]).expect(0);
    assert_eq!(said.json()["counts"]["reproduced"], decisions, "{}", said.out);
}

#[test]
fn two_servers_on_one_database_make_one_log() {
    let Some([first, second]) = nodes() else { return };
    let servers = [Server::start(first.path()), Server::start(second.path())];
    thread::scope(|scope| {
        for thread in 0..4 {
            let url = &servers[thread % 2].url;
            scope.spawn(move || {
                for number in 0..25 {
                    let id = format!("claim-{thread}-{number}");
                    let (status, _, answer) = post(&format!("{url}/v1/decisions"), &claim(&id));
                    assert_eq!(status, 201, "{answer}");
                }
            });
        }
    });
    // A repeat is answered by the other node with the same bytes.
    let [one, other] = [&servers[0].url, &servers[1].url];
    let answers = [one, other].map(|url| post(&format!("{url}/v1/decisions"), &claim("claim-0-0")));
    assert_eq!((answers[0].0, answers[1].0), (200, 200));
    assert_eq!(answers[0].2, answers[1].2);
    // Filters in PostgreSQL's words.
    for query in ["label.channel=web", "outcome=approve&state=completed", "policy=claim-approval"] {
        let (status, list) = get(&format!("{other}/v1/decisions?limit=1000&{query}"));
        let list: Value = serde_json::from_str(&list).unwrap();
        assert_eq!((status, list["items"].as_array().map(Vec::len)), (200, Some(100)), "{query}: {list}");
    }
    let (status, stats) = get(&format!("{one}/v1/decisions:stats"));
    assert_eq!(status, 200, "{stats}");
    // The auditors' SQL, unchanged.
    let id = |sql: &str| sql.replace("claim-CLM-2024-00443", "claim-0-0");
    let url = database(first.path());
    let row = postgres::as_superuser(&url, &id(crate::views::SEED));
    assert!(row.starts_with("claim-0-0|") && row.contains("|approve|completed|"), "{row}");
    let row = postgres::as_superuser(&url, &id(crate::views::FURTHER));
    assert!(row.starts_with("claim-approval|1.0.0|https://chancery.dev/decision/v1|"), "{row}");
    let (status, ready) = get(&format!("{}/readyz", servers[1].operator_url));
    assert_eq!(status, 200, "{ready}");
    for server in servers {
        assert!(server.stop().success());
    }
    verified(second.path(), 100);
    run(&mut chancery(first.path()), ["fsck", "--full"]).expect(0);
}

#[test]
fn the_auditors_sql_shows_who_approved_whatever_the_node() {
    let Some([first, second]) = nodes() else { return };
    let root_password = fs::read_to_string(first.path().join("keys/root.password")).unwrap();
    let said = |node: &TempDir, arguments: &[&str]| {
        run(chancery(node.path()).env("CHANCERY_ROOT_PASSWORD", &root_password), arguments)
    };
    let approvers = [("anna", "ed25519", &first), ("bert", "ecdsa-p256", &second)];
    for (name, algorithm, node) in approvers {
        let (key, public) = (format!("{name}.key"), format!("{name}.key.pub"));
        said(node, &["key", "generate", &key, "--algorithm", algorithm]).expect(0);
        let role = ["--role", "approver:claims-manager", "--subject", name];
        said(node, &[["key", "enroll", "--key", &public].as_slice(), &role].concat()).expect(0);
    }
    let mut signals = crate::http::claim_signals();
    signals["fraudScore"] = "0.93".into();
    fs::write(first.path().join("signals.json"), signals.to_string()).unwrap();
    let decide = ["decide", "claim-approval", "--execution-id", ID, "--signals", "signals.json"];
    said(&first, &decide).expect(8);
    for ((name, _, node), progress) in approvers.into_iter().zip(["1 of 2", "2 of 2"]) {
        let (key, reason) = (format!("{name}.key"), format!("Seen by {name}."));
        let words = ["--outcome", "approve", "--reason", &reason, "-o", "json"];
        let case = said(node, &[["override", "approve", ID, "--key", &key].as_slice(), &words].concat());
        assert_eq!(case.expect(0).json()["progress"], progress);
    }

    let rows = postgres::as_superuser(&database(first.path()), crate::views::SEED);
    let mut rows: Vec<Vec<&str>> = rows.lines().map(|row| row.split('|').collect()).collect();
    rows.sort();
    assert_eq!(rows.len(), 2, "{rows:?}");
    for (row, (name, ..)) in rows.iter().zip(approvers) {
        let [id, fingerprint, decision, state, executed_at, by, role, status, reason, resolved_at] = row[..]
        else {
            panic!("{row:?}")
        };
        assert_eq!((id, fingerprint.len(), decision, state), (ID, 64, "refer", "completed"), "{row:?}");
        assert_eq!((by, role, status), (name, "claims-manager", "approved"), "{row:?}");
        assert_eq!(reason, format!("Seen by {name}."));
        assert!(!executed_at.is_empty() && executed_at < resolved_at, "{row:?}");
    }
    let further = postgres::as_superuser(&database(first.path()), crate::views::FURTHER);
    assert!(further.lines().count() >= 3, "{further}");
    verified(second.path(), 1);
    said(&first, &["fsck", "--full"]).expect(0);
}

#[test]
fn a_bundle_that_one_node_puts_in_force_decides_on_the_other() {
    let Some([first, second]) = nodes() else { return };
    let server = Server::start(second.path());
    let decisions = format!("{}/v1/decisions", server.url);
    assert_eq!(post(&decisions, &claim("before")).0, 201);
    // The command line is another node: nothing has to be stopped.
    let folder = first.path().join("policies/claim-approval");
    fs::create_dir(folder.join("1.0.1")).unwrap();
    copy_folder(&folder.join("1.0.0"), &folder.join("1.0.1"));
    let manifest = folder.join("1.0.1/bundle.toml");
    let text = fs::read_to_string(&manifest).unwrap().replace("version = \"1.0.0\"", "version = \"1.0.1\"");
    fs::write(&manifest, text).unwrap();
    for command in [
        ["bundle", "sign", "policies/claim-approval/1.0.1", "--no-input"],
        ["bundle", "publish", "policies/claim-approval/1.0.1", "--no-input"],
    ] {
        run(&mut chancery(first.path()), command).expect(0);
    }
    run(&mut chancery(first.path()), ["bundle", "activate", "claim-approval@1.0.1", "--reason", "newer"])
        .expect(0);
    let (status, _, answer) = post(&decisions, &claim("after"));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["policy"]["version"]), (201, &json!("1.0.1")), "{answer}");
    let (status, _, repeated) = post(&decisions, &claim("before"));
    let repeated: Value = serde_json::from_str(&repeated).unwrap();
    assert_eq!((status, &repeated["policy"]["version"]), (200, &json!("1.0.0")), "{repeated}");
    assert!(server.stop().success());
    verified(first.path(), 2);
}

#[test]
fn a_server_survives_that_all_its_connections_are_cut() {
    let Some([first, _]) = nodes() else { return };
    let server = Server::start(first.path());
    let decisions = format!("{}/v1/decisions", server.url);
    assert_eq!(post(&decisions, &claim("one")).0, 201);
    postgres::disconnect(&database(first.path()));
    // Nothing is lost and nothing is answered that is not recorded; at the latest the second attempt is taken.
    let answers: Vec<u16> = (0..5).map(|_| post(&decisions, &claim("two")).0).collect();
    assert!(answers.iter().all(|status| matches!(status, 200 | 201 | 503)), "{answers:?}");
    assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1, "{answers:?}");
    assert_eq!(answers.last(), Some(&200), "{answers:?}");
    assert!(server.stop().success());
    verified(first.path(), 2);
}
