//! Nothing that was decided on, said or shown as a secret is in what a server tells its operator.
//!
//! A real server, asked in every way that is known to be refused or answered, with marked values in every place where a
//! caller can put one; log lines of all levels, in both forms, metrics and the processes' stderr are searched for them.

use std::fs;
use std::process::Command;

use chancery_tests::program::{chancery, run};
use chancery_tests::server::Server;
use serde_json::{Value, json};

use crate::http::{claim_signals, get, post};
use crate::overrides::Company;

/// In every signal, label, reason and secret. A number that is nowhere else, too.
const WORD: &str = "CANARY7f3aword";
const NUMBER: u64 = 7_318_204_655;

/// What nobody may find: the words, and the money in every form that it may be written in.
fn is_told(text: &str) -> bool {
    let number = NUMBER.to_string();
    [WORD, &number, "7,318,204,655", "7318204655.0", "7.318204655e9", &bytes(WORD), &bytes(&number)]
        .iter()
        .any(|canary| text.contains(canary))
}

/// A text as `Debug` writes its bytes: a line that shows the values of an SQL statement has them so.
fn bytes(text: &str) -> String {
    format!("{:?}", text.as_bytes()).trim_matches(['[', ']']).to_owned()
}

fn request(id: &str) -> Value {
    let mut signals = claim_signals();
    signals["policyState"] = json!(WORD);
    signals["totalClaim"] = json!(NUMBER);
    json!({"execution_id": id, "policy": "claim-approval", "resource": "claim", "signals": signals,
        "labels": {"note": WORD}})
}

/// Requests that are refused, each for another reason.
fn refused() -> Vec<(&'static str, String)> {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut request = request("refused");
        change(&mut request);
        request.to_string()
    };
    let decisions = "/v1/decisions";
    vec![
        (decisions, with(&|r| r["signals"]["policyDeductible"] = json!(WORD))),
        (decisions, with(&|r| r["signals"]["incidentDate"] = json!(format!("2026-13-{WORD}")))),
        (decisions, with(&|r| r["signals"][WORD] = json!(NUMBER))),
        (decisions, with(&|r| r["signals"]["policyAnnualPremium"] = json!(format!("{NUMBER}.123456789")))),
        (decisions, with(&|r| r["signals"]["totalClaim"] = json!(NUMBER as f64 + 0.5))),
        (decisions, with(&|r| r["signals"] = json!(WORD))),
        (decisions, with(&|r| r["candidates"] = json!([{"id": WORD, "signals": {"amount": NUMBER}}]))),
        (decisions, with(&|r| r["labels"] = json!({WORD: NUMBER}))),
        (decisions, with(&|r| r["resource"] = json!([WORD]))),
        (decisions, with(&|r| r["version"] = json!(WORD))),
        (decisions, with(&|r| r["policy"] = json!(WORD))),
        (decisions, with(&|r| r["execution_id"] = json!(format!("{WORD} with spaces")))),
        (decisions, with(&|r| r["models"] = json!([{"id": WORD, "version": WORD, "stateSha256": WORD}]))),
        (decisions, format!("{{\"execution_id\": \"{WORD}")),
        (decisions, format!("{{\"{WORD}\": 1, \"{WORD}\": 1}}")),
        (decisions, format!("[{}]", format!("{{\"{WORD}\":").repeat(200))),
        (decisions, format!("\u{feff}{}", request("bom"))),
        ("/v1/decisions:evaluate", with(&|r| r["signals"]["witnesses"] = json!(WORD))),
        (
            "/v1/verify",
            json!({"payload": WORD, "payloadType": WORD, "signatures": [{"keyid": WORD, "sig": WORD}]})
                .to_string(),
        ),
        (
            "/v1/overrides/canary-1/statement",
            json!({"resolution": WORD, "reason": WORD, "role": WORD, "signer": WORD}).to_string(),
        ),
        (
            "/v1/overrides/canary-1",
            json!({"payload": WORD, "payloadType": WORD, "signatures": []}).to_string(),
        ),
        (
            "/v1/decisions/canary-1/confirmation",
            json!({"executed": {"outcome": WORD, "reference": WORD, "at": WORD}}).to_string(),
        ),
        (
            "/v1/policies/claim-approval/9.9.9",
            json!({"files": {"bundle.toml": WORD, "policies.cedar": WORD}}).to_string(),
        ),
        (
            "/v1/policies/claim-approval/1.0.0/activation",
            json!({"payload": WORD, "payloadType": WORD, "signatures": []}).to_string(),
        ),
        ("/v1/trust/keyring", json!({"payload": WORD, "payloadType": WORD, "signatures": []}).to_string()),
        ("/v1/verifications:backfill", json!({"policy": WORD}).to_string()),
    ]
}

fn provoked(format: &str) {
    let company = Company::with(&["anna"]);
    let home = &company.home;
    // A case that the override below is about, and one of a caller's with everything marked.
    let server = Server::start_with(home.path(), &mut |command: &mut Command| {
        command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "1").env("CHANCERY_LOG_FORMAT", format);
    });
    let url = |path: &str| format!("{}{path}", server.url);
    let good = request("canary-1");
    assert_eq!(post(&url("/v1/decisions"), good.to_string().as_bytes()).0, 201);
    assert_eq!(post(&url("/v1/decisions"), good.to_string().as_bytes()).0, 200);
    let mut conflict = good.clone();
    conflict["signals"]["totalClaim"] = json!(NUMBER + 1);
    assert_eq!(post(&url("/v1/decisions"), conflict.to_string().as_bytes()).0, 409);
    let mut pending = request("canary-2");
    pending["signals"]["fraudScore"] = json!("0.93");
    assert_eq!(post(&url("/v1/decisions"), pending.to_string().as_bytes()).0, 201);
    let evaluated = request("canary-3").to_string();
    assert_eq!(post(&url("/v1/decisions:evaluate"), evaluated.as_bytes()).0, 200);
    let mut lines = format!("{}\n\n{{\"{WORD}\n", request("canary-4"));
    for (path, body) in refused() {
        let (status, _, answer) = post(&url(path), body.as_bytes());
        assert!(status < 500, "{path} {body}: {status} {answer}");
        lines.push_str(&body.replace('\n', " "));
        lines.push('\n');
    }
    assert_eq!(post(&url("/v1/decisions:batch"), lines.as_bytes()).0, 200);
    // An override with a reason, signed by its approver here and handed in there.
    let (key, reason) = ("anna.key", format!("seen: {WORD} {NUMBER}"));
    let words = ["--outcome", "approve", "--reason", &reason, "--server", &server.url, "--no-input"];
    let said = company.run(&[["override", "approve", "canary-2", "--key", key].as_slice(), &words].concat());
    assert!(said.code == 0, "{said:?}");
    for path in [
        "/v1/decisions/canary-1",
        "/v1/decisions/canary-1/explanation?audience=regulator",
        "/v1/decisions/canary-1/lineage",
        "/v1/decisions/canary-1/provenance",
        "/v1/decisions/canary-1/attestation?format=evidence&disclosure=full",
        "/v1/decisions?policy=claim-approval",
        "/v1/decisions:stats",
        "/v1/decisions:export?disclosure=full",
        "/v1/overrides?state=approved",
        "/v1/overrides/canary-2",
    ] {
        let (status, answer) = get(&url(path));
        assert_eq!(status, 200, "{path}: {answer}");
    }
    assert_eq!(post(&url("/v1/decisions/canary-1/replay"), b"").0, 200);
    for path in [
        format!("/v1/decisions/{WORD}"),
        format!("/v1/decisions?label.{WORD}={NUMBER}"),
        format!("/v1/decisions?from={WORD}"),
        format!("/v1/decisions?{WORD}=1"),
        format!("/v1/policies/{WORD}/{NUMBER}"),
        format!("/v1/log/{WORD}/checkpoint"),
        format!("/{WORD}"),
    ] {
        let (status, _) = get(&url(&path));
        assert!(status == 200 || (400..500).contains(&status), "{path}: {status}");
    }
    // Secrets that are shown where none is asked for, and a request id of the caller's.
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let secret = agent
        .get(url("/v1/decisions"))
        .header("authorization", format!("Bearer {WORD}"))
        .header("cookie", WORD)
        .header("x-request-id", WORD)
        .header("user-agent", WORD)
        .header("traceparent", WORD)
        .call();
    assert!(secret.is_ok());
    let (_, metrics) = get(&format!("{}/metrics", server.operator_url));
    assert!(!is_told(&metrics), "{metrics}");
    assert_eq!(get(&format!("{}/readyz", server.operator_url)).0, 200);
    let told = server.log_until_stopped();
    assert!(told.len() > 50, "the server tells something: {told:#?}");
    if format == "json" {
        for line in &told {
            let line: Value = serde_json::from_str(line).expect(line);
            let fields = &line["fields"];
            if fields["message"] == "request" {
                for field in ["request_id", "route", "method", "status", "took_us"] {
                    assert!(!fields[field].is_null(), "{field}: {line}");
                }
            }
        }
    }
    let leaked: Vec<_> = told.iter().filter(|line| is_told(line)).collect();
    assert!(leaked.is_empty(), "{leaked:#?}");
}

#[test]
fn no_value_is_in_log_lines_or_metrics() {
    provoked("json");
    provoked("text");
}

/// Its driver tells every statement with its values, to whoever asks for that.
#[test]
fn no_value_of_a_statement_is_in_log_lines_where_the_database_is_a_server() {
    let Some([first, _]) = crate::postgres::nodes() else { return };
    let server = Server::start_with(first.path(), &mut |command: &mut Command| {
        command.env("RUST_LOG", "trace,tokio_postgres=trace,tokio_postgres::query=trace");
    });
    let url = |path: &str| format!("{}{path}", server.url);
    assert_eq!(post(&url("/v1/decisions"), request("canary-1").to_string().as_bytes()).0, 201);
    for (path, body) in refused() {
        let (status, _, answer) = post(&url(path), body.as_bytes());
        assert!(status < 500, "{path} {body}: {status} {answer}");
    }
    assert_eq!(get(&url(&format!("/v1/decisions?label.note={WORD}"))).0, 200);
    let told = server.log_until_stopped();
    assert!(told.iter().any(|line| line.contains("request")), "{told:#?}");
    let leaked: Vec<_> = told.iter().filter(|line| is_told(line)).collect();
    assert!(leaked.is_empty(), "{leaked:#?}");
}

#[test]
fn no_password_is_in_what_a_failing_start_says() {
    let company = Company::new();
    let home = &company.home;
    let serve = |prepare: &mut dyn FnMut(&mut Command)| {
        let mut command = chancery(home.path());
        command.env("RUST_LOG", "trace").env("CHANCERY_LISTEN", "127.0.0.1:0");
        prepare(&mut command);
        run(&mut command, ["serve", "--dev", "--no-input"])
    };
    let said = serve(&mut |command| {
        command.env("CHANCERY_PASSWORD", WORD);
    });
    assert!(said.code == 9 && !is_told(&said.err) && !is_told(&said.out), "{said:?}");
    fs::write(home.file("secret"), WORD).unwrap();
    let said = serve(&mut |command| {
        command.env("CHANCERY_PASSWORD_FILE", home.file("secret"));
    });
    assert!(said.code == 9 && !is_told(&said.err), "{said:?}");
    let url = format!("postgres://chancery:{WORD}@127.0.0.1:9/chancery");
    let said = serve(&mut |command| {
        command.env("CHANCERY_DATABASE", &url);
    });
    assert!(said.code != 0 && !is_told(&said.err), "{said:?}");
    let shown = run(chancery(home.path()).env("CHANCERY_DATABASE", &url), ["config", "show"]).expect(0);
    assert!(!is_told(&shown.out), "{}", shown.out);
    let examined =
        run(chancery(home.path()).env("CHANCERY_DATABASE", &url), ["doctor", "--no-input"]).expect(1);
    assert!(!is_told(&examined.out) && !is_told(&examined.err), "{}", examined.out);
}
