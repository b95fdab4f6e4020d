//! Bad input: each has a clear message and its own exit code, and nothing is lost or half-written.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use chancery_tests::home::Home;
use chancery_tests::program::{Said, chancery, chancery_verify, run};
use serde_json::{Value, json};

use crate::http::{claim, claim_signals, post};

fn decide(home: &Home, signals: &str) -> Said {
    let file = home.file("signals.json");
    std::fs::write(&file, signals).unwrap();
    run(
        chancery(home.path()).args(["decide", "claim-approval", "--execution-id", "claim-1", "--signals"]),
        [&file],
    )
}

fn with(change: impl FnOnce(&mut Value)) -> String {
    let mut signals = claim_signals();
    change(&mut signals);
    signals.to_string()
}

#[test]
fn requests_are_refused_with_every_fault_and_nothing_is_recorded() {
    let home = Home::new();
    let duplicate = claim_signals().to_string().replacen('{', "{\"totalClaim\":1,", 1);
    let deep = with(|signals| signals["policyState"] = (0..40).fold(json!(1), |inner, _| json!([inner])));
    let long = with(|signals| signals["policyState"] = json!("x".repeat(300_000)));
    let cases = [
        ("{".to_owned(), "json.syntax"),
        (duplicate, "json.duplicate at /signals/totalClaim"),
        (deep, "json.depth"),
        (long, "json.size"),
        (with(|signals| signals["vehicleClaim"] = json!(3_500.5)), "signal.type at /signals/vehicleClaim"),
        (
            with(|signals| signals["policyAnnualPremium"] = json!("1.00001")),
            "signal.precision at /signals/policyAnnualPremium",
        ),
        (with(|signals| signals["unheardOf"] = json!(1)), "signal.undeclared at /signals/unheardOf"),
        (
            with(|signals| _ = signals.as_object_mut().unwrap().remove("totalClaim")),
            "signal.missing at /signals/totalClaim",
        ),
        (with(|signals| signals["witnesses"] = Value::Null), "signal.null at /signals/witnesses"),
        (
            with(|signals| signals["incidentDate"] = json!("2026-02-30")),
            "signal.range at /signals/incidentDate",
        ),
    ];
    for (signals, expected) in cases {
        let said = decide(&home, &signals).expect(2);
        assert!(said.err.replace('\n', " ").contains(expected), "no `{expected}` in:\n{}", said.err);
    }
    let two = with(|signals| {
        signals["witnesses"] = json!("x");
        signals["incidentHour"] = json!(1.5);
    });
    let said = decide(&home, &two).expect(2);
    assert!(
        said.err.contains("/signals/witnesses") && said.err.contains("/signals/incidentHour"),
        "{}",
        said.err
    );
    let list = run(&mut chancery(home.path()), ["decision", "list", "-o", "json"]).expect(0).json();
    assert_eq!(list, json!([]), "something was recorded");
    run(&mut chancery(home.path()), ["fsck", "--full"]).expect(0);
}

#[test]
fn unknown_policies_and_versions_are_named() {
    let home = Home::new();
    let file = home.file("signals.json");
    std::fs::write(&file, claim_signals().to_string()).unwrap();
    let unknown =
        run(chancery(home.path()).args(["decide", "no-such-policy", "--signals"]), [&file]).expect(10);
    assert!(unknown.err.contains("no-such-policy"), "{}", unknown.err);
    let version =
        run(chancery(home.path()).args(["decide", "claim-approval@9.0.0", "--signals"]), [&file]).expect(11);
    assert!(version.err.contains("9.0.0") && version.err.contains("1.0.0"), "{}", version.err);
    run(chancery(home.path()).args(["decide", "Claim Approval", "--signals"]), [&file]).expect(2);
}

#[test]
fn an_id_used_again_with_other_inputs_is_a_conflict() {
    let home = Home::new();
    decide(&home, &claim_signals().to_string()).expect(0);
    let again = decide(&home, &claim_signals().to_string()).expect(0);
    assert!(again.out.contains("decided before"), "{}", again.out);
    let other = decide(&home, &with(|signals| signals["totalClaim"] = json!(4_201))).expect(11);
    assert!(other.err.contains("claim-1"), "{}", other.err);
}

#[test]
fn keys_are_guarded() {
    let home = Home::new();
    let mut command = chancery(home.path());
    let wrong =
        run(command.env("CHANCERY_PASSWORD", "wrong"), ["decide", "claim-approval", "--signals", "x"]);
    assert!(wrong.code != 0, "{wrong:?}");
    std::fs::write(home.file("x"), "{}").unwrap();
    let mut command = chancery(home.path());
    let wrong =
        run(command.env("CHANCERY_PASSWORD", "wrong"), ["decide", "claim-approval", "--signals", "x"])
            .expect(9);
    assert!(wrong.err.contains("password"), "{}", wrong.err);
    let mut command = chancery(home.path());
    let none = run(command.env_remove("CHANCERY_PASSWORD"), ["decide", "claim-approval", "--signals", "x"])
        .expect(9);
    assert!(none.err.contains("CHANCERY_PASSWORD"), "{}", none.err);
    let key = home.file("keys/runtime.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = run(&mut chancery(home.path()), ["decide", "claim-approval", "--signals", "x"]).expect(9);
    assert!(open.err.contains("chmod 600"), "{}", open.err);
}

#[test]
fn configuration_mistakes_stop_the_start() {
    let home = Home::new();
    let path = home.file("chancery.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}conections_max = 3\n")).unwrap();
    let said = run(&mut chancery(home.path()), ["decision", "list"]).expect(2);
    assert!(said.err.contains("conections_max"), "{}", said.err);
    let elsewhere = tempfile::tempdir().unwrap();
    let none = run(&mut chancery(elsewhere.path()), ["decision", "list"]).expect(2);
    assert!(none.err.contains("chancery init"), "{}", none.err);
    let again = run(&mut chancery(home.path()), ["init", "--no-input"]).expect(11);
    assert!(again.err.contains("exists"), "{}", again.err);
}

#[test]
fn a_home_is_moved_with_its_password_file_which_key_show_finds_too() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("here");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("pw"), "a password").unwrap();
    std::fs::set_permissions(home.join("pw"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let plain = |home: &Path| {
        let mut command = chancery(home);
        command.env_remove("CHANCERY_PASSWORD");
        command
    };
    run(&mut plain(&home), ["init", "--no-input", "--environment", "test", "--password-file", "pw"])
        .expect(0);
    let text = std::fs::read_to_string(home.join("chancery.toml")).unwrap();
    assert!(text.contains("password_file = \"pw\""), "{text}");
    let moved = folder.path().join("there");
    std::fs::rename(&home, &moved).unwrap();
    let shown = run(&mut plain(&moved), ["key", "show", "keys/runtime.key"]).expect(0);
    assert!(shown.out.contains("BEGIN PUBLIC KEY"), "{}", shown.out);
    run(&mut plain(&moved), ["fsck", "--full"]).expect(0);
    let elsewhere = run(&mut plain(folder.path()), ["key", "show", "there/keys/runtime.key"]).expect(9);
    assert!(elsewhere.err.contains("CHANCERY_PASSWORD"), "{}", elsewhere.err);
}

#[test]
fn an_address_beyond_this_machine_is_refused_with_what_goes() {
    let home = Home::new();
    let said = run(&mut chancery(home.path()), ["serve", "--dev", "--listen", "0.0.0.0:9999"]).expect(2);
    assert!(said.err.contains("help:") && said.err.contains("loopback address"), "{}", said.err);
}

#[test]
fn a_failed_init_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("policies/p/1.0.0");
    std::fs::create_dir_all(&bad).unwrap();
    std::fs::write(bad.join("bundle.toml"), "id = 1").unwrap();
    run(&mut chancery(folder.path()), ["init", "--no-input"]).expect(3);
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["policies"]);
    let mut command = chancery(folder.path());
    let no_password = run(command.env_remove("CHANCERY_PASSWORD"), ["init", "--no-input"]);
    assert!(no_password.code != 0 && no_password.err.contains("password"), "{no_password:?}");
}

/// Evidence that is empty, cut, or edited is never verified, and the exit code says which.
#[test]
fn damaged_evidence_is_never_verified() {
    let home = Home::new();
    decide(&home, &claim_signals().to_string()).expect(0);
    let file = home.file("all.evidence.jsonl");
    run(chancery(home.path()).args(["export", "--out"]), [&file]).expect(0);
    let verify = |path: &Path| {
        let ask = ["--environment", "test", "--without", "build", "--root"];
        run(chancery_verify().arg(path).args(ask), [home.root_pub()]).code
    };
    assert_eq!(verify(&file), 0);
    let whole = std::fs::read(&file).unwrap();
    let damaged = home.file("damaged.evidence.jsonl");
    let check = |bytes: &[u8], code: i32| {
        std::fs::write(&damaged, bytes).unwrap();
        assert_eq!(verify(&damaged), code);
    };
    check(b"", 6);
    check(&whole[..whole.len() / 2], 5);
    check(&whole[..whole.len() - 1], 5);
    let mut edited = whole.clone();
    let middle = edited.len() / 2;
    edited[middle] ^= 1;
    check(&edited, 5);
    let overwrite = run(chancery(home.path()).args(["export", "--out"]), [&file]);
    assert!(overwrite.code != 0, "an export overwrote a file");
    assert_eq!(std::fs::read(&file).unwrap(), whole);
    assert_eq!(run(&mut chancery_verify(), ["no-such-file", "--root", "none"]).code, 1);
}

#[test]
fn a_read_only_store_refuses_and_harms_nothing() {
    let home = Home::new();
    decide(&home, &claim_signals().to_string()).expect(0);
    std::fs::set_permissions(home.database(), std::fs::Permissions::from_mode(0o400)).unwrap();
    let said = run(&mut chancery(home.path()), ["decide", "claim-approval", "--signals", "signals.json"]);
    // The superuser may write whatever the mode says.
    if said.code != 0 {
        assert!(said.err.contains("read-only"), "{}", said.err);
    }
    run(&mut chancery(home.path()), ["fsck"]).expect(0);
}

#[test]
fn bad_http_requests_are_problem_documents() {
    let home = Home::new();
    let server = chancery_tests::server::Server::start(home.path());
    let url = format!("{}/v1/decisions", server.url);
    let mut unknown = claim("claim-1");
    unknown["policy"] = json!("nobody");
    let mut member = claim("claim-1");
    member["surprise"] = json!(1);
    let mut id = claim("claim-1");
    id["execution_id"] = json!("-x");
    let cases: [(Vec<u8>, u16, &str); 6] = [
        (b"{".to_vec(), 400, "request.invalid"),
        (vec![b'['; 100_000], 400, "request.invalid"),
        (member.to_string().into_bytes(), 422, "request.invalid"),
        (id.to_string().into_bytes(), 422, "request.invalid"),
        (unknown.to_string().into_bytes(), 404, "policy.unknown"),
        (vec![b' '; 300_000], 413, "request.too_large"),
    ];
    for (body, status, code) in cases {
        let (got, kind, text) = post(&url, &body);
        assert_eq!((got, kind.as_str()), (status, "application/problem+json"), "{text}");
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(problem["code"], code, "{text}");
        assert!(problem["detail"].is_string());
    }
    for path in ["/v1/nothing", "/v1/decisions/none"] {
        let (status, body) = crate::http::get(&format!("{}{path}", server.url));
        assert_eq!(status, 404);
        assert!(serde_json::from_str::<Value>(&body).unwrap()["code"].is_string(), "{body}");
    }
}

#[test]
fn a_signal_is_hidden_or_the_export_refused() {
    let home = Home::new();
    decide(&home, &claim_signals().to_string()).expect(0);
    let export = |arguments: &[&str]| {
        let mut command = chancery(home.path());
        run(command.args(["export", "--out", "x.evidence.jsonl"]).args(arguments), [] as [&str; 0])
    };
    let misspelled = export(&["--disclosure", "partial", "--hide", "vehicleclaim"]).expect(2);
    assert!(misspelled.err.contains("vehicleclaim"), "{}", misspelled.err);
    export(&["--hide", "vehicleClaim"]).expect(2);
    assert!(!home.file("x.evidence.jsonl").exists());
    export(&["--disclosure", "partial", "--hide", "policyAnnualPremium", "--from", "2020-01-01"]).expect(0);
    let text = std::fs::read_to_string(home.file("x.evidence.jsonl")).unwrap();
    assert!(text.contains("vehicleClaim") && !text.contains("1406.91"));
    let ask = ["--environment", "test", "--without", "build", "--root"];
    let report =
        run(chancery_verify().arg("--json").arg(home.file("x.evidence.jsonl")).args(ask), [home.root_pub()]);
    assert_eq!(
        report.expect(0).json()["counts"]["reproduced"],
        0,
        "what is opened in part is not evaluated again"
    );
}

#[test]
fn a_batch_decides_under_the_policy_that_was_named() {
    let home = Home::new();
    let mut other = claim("claim-2");
    other["policy"] = json!("loan-approval");
    let mut unnamed = claim("claim-3");
    unnamed.as_object_mut().unwrap().remove("policy");
    let file = home.file("batch.ndjson");
    std::fs::write(&file, format!("{}\n{other}\n{unnamed}\n", claim("claim-1"))).unwrap();
    let said = run(
        chancery(home.path()).args(["decide", "claim-approval", "-o", "json", "--batch"]).arg(&file),
        [] as [&str; 0],
    );
    let summary = said.expect(2).json();
    assert_eq!(summary["decided"]["approve"], 2, "{summary}");
    assert_eq!(summary["refused"][0]["row"], 2);
    assert_eq!(summary["refused"][0]["errors"][0]["code"], "batch.policy");
    std::fs::write(home.file("empty.csv"), "").unwrap();
    let empty =
        run(&mut chancery(home.path()), ["decide", "claim-approval", "--batch", "empty.csv"]).expect(2);
    assert!(empty.err.contains("first line"), "{}", empty.err);
}

#[test]
fn a_database_that_is_none_of_ours_is_named_and_left_alone() {
    let home = Home::new();
    let text = "some text that is long enough to be no database header at all\n".repeat(100);
    std::fs::write(home.file("notes.txt"), &text).unwrap();
    for (file, code, expected) in
        [("notes.txt", 2, "is not a Chancery store"), ("gone.db", 10, "there is no store")]
    {
        for arguments in [&["decision", "list"][..], &["fsck"], &["log", "head"], &["export", "--out", "x"]] {
            let said = run(chancery(home.path()).env("CHANCERY_DATABASE", file), arguments).expect(code);
            assert!(said.err.contains(expected) && said.err.contains("`database`"), "{}", said.err);
        }
        assert!(!home.file("x").exists() && !home.file("gone.db").exists());
    }
    assert_eq!(std::fs::read_to_string(home.file("notes.txt")).unwrap(), text);
}
