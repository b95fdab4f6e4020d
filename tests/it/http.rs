//! The running server: requests in, records and leaves out, evidence that verifies.

use std::process::Command;
use std::thread;

use chancery_tests::home::Home;
use chancery_tests::program::{chancery, chancery_verify, run};
use chancery_tests::server::Server;
use serde_json::{Value, json};

/// A value that must never be seen in a log line.
const CANARY: &str = "CANARY-7f3a";

/// A claim that is approved.
pub(crate) fn claim_signals() -> Value {
    json!({
        "policyBindDate": "2019-03-14", "policyState": "OH", "policyCsl": "250/500", "policyDeductible": 500,
        "policyAnnualPremium": "1406.91", "umbrellaLimit": 0, "monthsAsCustomer": 82,
        "incidentDate": "2026-10-02", "incidentHour": 14, "incidentType": "Parked Car",
        "incidentSeverity": "Minor Damage", "vehiclesInvolved": 1, "modelYear": "2018-01-01",
        "bodilyInjuries": 0, "witnesses": 1, "authoritiesContacted": "Police", "propertyDamage": false,
        "policeReportAvailable": true,
        "totalClaim": 4_200, "injuryClaim": 0, "propertyClaim": 700, "vehicleClaim": 3_500,
    })
}

pub(crate) fn claim(id: &str) -> Value {
    json!({"execution_id": id, "policy": "claim-approval", "resource": id, "signals": claim_signals()})
}

/// An answer whatever its status: status, content type, body.
pub(crate) fn post(url: &str, body: &[u8]) -> (u16, String, String) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let kind = if url.ends_with(":batch") { "application/x-ndjson" } else { "application/json" };
    let mut answer = agent.post(url).content_type(kind).send(body).unwrap();
    let kind = answer.headers().get("content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned();
    (answer.status().as_u16(), kind, answer.body_mut().read_to_string().unwrap())
}

pub(crate) fn get(url: &str) -> (u16, String) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut answer = agent.get(url).call().unwrap();
    (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
}

#[test]
fn a_decision_is_answered_once_and_the_same_for_ever() {
    let home = Home::new();
    let server = Server::start(home.path());
    let url = format!("{}/v1/decisions", server.url);
    let request = claim("claim-1").to_string();
    let (status, _, first) = post(&url, request.as_bytes());
    assert_eq!(status, 201, "{first}");
    let (status, _, again) = post(&url, request.as_bytes());
    assert_eq!((status, &again), (200, &first), "a repeat gets the same bytes");
    let mut other = claim("claim-1");
    other["signals"]["totalClaim"] = json!(4_201);
    let (status, kind, body) = post(&url, other.to_string().as_bytes());
    assert_eq!((status, kind.as_str()), (409, "application/problem+json"), "{body}");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["code"], "execution.conflict");
    assert!(server.stop().success());

    let server = Server::start(home.path());
    let (status, _, after) = post(&format!("{}/v1/decisions", server.url), request.as_bytes());
    assert_eq!((status, &after), (200, &first), "and the same bytes after a restart");
}

#[test]
fn evidence_from_the_server_verifies() {
    let home = Home::new();
    let server = Server::start(home.path());
    let batch: String = (0..200).map(|number| format!("{}\n", claim(&format!("claim-{number}")))).collect();
    let (status, _, answers) = post(&format!("{}/v1/decisions:batch", server.url), batch.as_bytes());
    assert_eq!(status, 200);
    assert_eq!(answers.lines().count(), 200);
    for (number, line) in answers.lines().enumerate() {
        let answer: Value = serde_json::from_str(line).unwrap();
        assert_eq!(answer["execution_id"], format!("claim-{number}"), "{answer}");
    }
    let ask = ["--environment", "test", "--without", "build", "--root"];
    let exports = ["decisions:export?format=evidence", "decisions/claim-7/attestation?format=evidence"];
    for (number, (path, decisions)) in exports.into_iter().zip([200, 1]).enumerate() {
        let (status, evidence) = get(&format!("{}/v1/{path}", server.url));
        assert_eq!(status, 200, "{evidence}");
        let file = home.file(&format!("{number}.evidence.jsonl"));
        std::fs::write(&file, evidence).unwrap();
        let report =
            run(chancery_verify().arg("--json").arg(file).args(ask), [home.root_pub()]).expect(0).json();
        assert_eq!(report["counts"]["reproduced"], decisions);
    }
}

#[test]
fn no_signal_value_is_ever_logged() {
    let home = Home::new();
    let server = Server::start_with(home.path(), &mut |command: &mut Command| {
        command.env("RUST_LOG", "trace");
    });
    let url = format!("{}/v1/decisions", server.url);
    let mut good = claim("claim-1");
    good["signals"]["policyState"] = json!(CANARY);
    let mut bad = good.clone();
    bad["signals"]["policyDeductible"] = json!(CANARY);
    bad["signals"]["unheardOf"] = json!(CANARY);
    let mut conflict = good.clone();
    conflict["signals"]["incidentSeverity"] = json!(CANARY);
    for request in [&good, &bad, &conflict, &good] {
        let (_, _, answer) = post(&url, request.to_string().as_bytes());
        assert!(!answer.contains(CANARY), "an answer quotes a signal: {answer}");
    }
    let broken = format!("{{\"execution_id\": \"{CANARY}");
    post(&url, broken.as_bytes());
    post(&format!("{}/v1/decisions:batch", server.url), format!("{good}\n{bad}\n{broken}\n").as_bytes());
    let lines = server.log_until_stopped();
    assert!(lines.len() > 5, "the log has lines: {lines:#?}");
    assert!(lines.iter().all(|line| !line.contains(CANARY)), "{lines:#?}");
}

#[test]
fn a_second_process_on_the_same_log_is_refused_and_reading_is_not() {
    let home = Home::new();
    let server = Server::start(home.path());
    post(&format!("{}/v1/decisions", server.url), claim("claim-1").to_string().as_bytes());
    std::fs::write(home.file("signals.json"), claim_signals().to_string()).unwrap();
    let said = run(&mut chancery(home.path()), ["decide", "claim-approval", "--signals", "signals.json"]);
    assert!(said.code != 0 && said.err.contains("in use"), "{said:?}");
    let list = run(&mut chancery(home.path()), ["decision", "list", "-o", "json"]).expect(0).json();
    assert_eq!(list[0]["execution_id"], "claim-1");
    run(&mut chancery(home.path()), ["fsck"]).expect(0);
}

#[test]
fn a_production_log_is_never_served_without_a_build_or_to_everybody() {
    let folder = tempfile::tempdir().unwrap();
    run(&mut chancery(folder.path()), ["init", "--no-input"]).expect(0);
    let unbuilt = run(&mut chancery(folder.path()), ["serve"]).expect(9);
    assert!(unbuilt.err.contains("verified build"), "{}", unbuilt.err);
    let dev = run(&mut chancery(folder.path()), ["serve", "--dev"]);
    assert!(dev.code != 0 && dev.err.contains("production"), "{dev:?}");
    let home = Home::new();
    let wide = run(&mut chancery(home.path()), ["serve", "--dev", "--listen", "0.0.0.0:0"]).expect(2);
    assert!(wide.err.contains("loopback"), "{}", wide.err);
}

#[test]
fn a_stopping_server_finishes_what_it_has_begun() {
    let home = Home::new();
    let server = Server::start(home.path());
    let url = format!("{}/v1/decisions", server.url);
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let url = url.clone();
            thread::spawn(move || {
                let agent = ureq::Agent::new_with_defaults();
                let mut acknowledged = Vec::new();
                for number in 0.. {
                    let id = format!("claim-{client}-{number}");
                    match agent
                        .post(&url)
                        .content_type("application/json")
                        .send(claim(&id).to_string().as_bytes())
                    {
                        Ok(answer) if answer.status() == 201 => acknowledged.push(id),
                        _ => return acknowledged,
                    }
                }
                acknowledged
            })
        })
        .collect();
    thread::sleep(std::time::Duration::from_millis(500));
    assert!(server.stop().success());
    let acknowledged: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    assert!(!acknowledged.is_empty());
    let fsck = run(&mut chancery(home.path()), ["fsck", "-o", "json"]).expect(0).json();
    assert!(fsck["decisions"].as_u64().unwrap() >= acknowledged.len() as u64);
    for id in acknowledged.iter().step_by(17) {
        run(&mut chancery(home.path()), ["decision", "show", id]).expect(0);
    }
}
