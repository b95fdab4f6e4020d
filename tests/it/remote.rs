//! `--server`: the same commands, the same output and exit codes, against a running server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread::{self, JoinHandle};

use chancery_tests::data;
use chancery_tests::home::Home;
use chancery_tests::program::{Said, chancery, chancery_verify, run};
use chancery_tests::server::Server;
use serde_json::json;

use crate::http::{claim, claim_signals};

/// A command against a server, in a folder without a log or a configuration.
fn ask(server: &Server, arguments: &[&str]) -> Said {
    let nowhere = tempfile::tempdir().unwrap();
    run(chancery(nowhere.path()).args(arguments).env("CHANCERY_SERVER", &server.url), [] as [&str; 0])
}

/// The same beside the server, on the log itself.
fn here(home: &Home, arguments: &[&str]) -> Said {
    run(chancery(home.path()).args(arguments), [] as [&str; 0])
}

fn written(home: &Home, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = home.file(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_decision_is_the_same_wherever_it_is_asked_for() {
    let (home, other) = (Home::new(), Home::new());
    let server = Server::start(home.path());
    let signals = written(&home, "signals.json", claim_signals().to_string());
    let decide = ["decide", "claim-approval", "--execution-id", "claim-1", "--signals", &signals];
    let remote = ask(&server, &decide).expect(0);
    let local = here(&other, &decide).expect(0);
    assert_eq!(remote.out.split("fingerprint").next(), local.out.split("fingerprint").next());
    let again = ask(&server, &decide).expect(0);
    assert!(again.out.contains("decided before"), "{}", again.out);

    let mut changed = claim_signals();
    changed["totalClaim"] = json!(4_201);
    let changed = written(&home, "changed.json", changed.to_string());
    let conflict = ["decide", "claim-approval", "--execution-id", "claim-1", "--signals", &changed];
    let wrong = claim_signals().to_string().replace("4200", "\"much\"");
    let wrong = written(&home, "wrong.json", wrong);
    let long = claim_signals().to_string().replace("Parked Car", &"x".repeat(300_000));
    let long = written(&home, "long.json", long);
    for (arguments, code, says) in [
        (&conflict[..], 11, "claim-1"),
        (&["decide", "claim-approval", "--signals", &long], 2, "json.size"),
        (&["decide", "claim-approval", "--signals", &wrong], 2, "signal.type at /signals/totalClaim"),
        (&["decide", "no-such-policy", "--signals", &signals], 10, "no-such-policy"),
        (&["decide", "claim-approval@9.0.0", "--signals", &signals], 11, "9.0.0"),
        (&["decide", "claim-approval", "--signals", &signals, "--expect", "deny"], 7, ""),
        (&["decision", "show", "nobody"], 10, "nobody"),
        (&["log", "proof", "1000"], 10, "1000"),
        (&["log", "consistency", "100", "50"], 10, "100"),
        (&["log", "consistency", "2", "1"], 2, "older"),
    ] {
        let remote = ask(&server, arguments).expect(code);
        assert!(remote.err.contains(says), "{arguments:?}: {}", remote.err);
        if arguments != conflict {
            let local = here(if arguments[0] == "decide" { &other } else { &home }, arguments).expect(code);
            assert!(local.err.contains(says), "{arguments:?}: {}", local.err);
        }
    }
}

#[test]
fn what_is_recorded_reads_the_same_from_the_log_and_from_the_server() {
    let home = Home::new();
    let server = Server::start(home.path());
    let mut lines: String =
        (0..300).map(|number| format!("{}\n", claim(&format!("claim-{number}")))).collect();
    let mut labelled = claim("labelled");
    labelled["labels"] = json!({"a b&c": "d=e/ü"});
    lines.push_str(&labelled.to_string());
    let batch = written(&home, "batch.ndjson", lines);
    ask(&server, &["decide", "claim-approval", "--batch", &batch]).expect(0);
    // A checkpoint that covers everything: an export signs one.
    ask(&server, &["export", "--out", home.file("first.jsonl").to_str().unwrap()]).expect(0);
    let next = ask(&server, &["decision", "list", "--limit", "7"]).expect(0).err;
    let next = next.trim().rsplit(' ').next().unwrap().to_owned();
    for arguments in [
        &["decision", "list"][..],
        &["decision", "list", "-o", "json", "--limit", "7", "--after", &next],
        &["decision", "list", "-o", "ndjson", "--label", "a b&c=d=e/ü"],
        &["decision", "list", "--policy", "claim-approval", "--state", "completed", "--from", "2020-01-01"],
        &["decision", "list", "--principal", "System::\"local\"", "--to", "2020-01-01"],
        &["decision", "show", "claim-7"],
        &["decision", "show", "claim-7", "-o", "json"],
        &["bundle", "history"],
        &["bundle", "history", "loan-approval", "-o", "json"],
        &["bundle", "history", "no-such-policy"],
        &["log", "checkpoint"],
        &["log", "proof", "5"],
        &["log", "proof", "290", "-o", "json"],
        &["log", "consistency", "0"],
        &["log", "consistency", "7", "260"],
        &["log", "consistency", "256", "-o", "json"],
    ] {
        let (local, remote) = (here(&home, arguments).expect(0), ask(&server, arguments).expect(0));
        assert_eq!(local.out, remote.out, "{arguments:?}");
    }
    let labelled =
        ask(&server, &["decision", "list", "-o", "json", "--label", "a b&c=d=e/ü"]).expect(0).json();
    assert_eq!(labelled.as_array().unwrap().len(), 1);
    let (local, remote) = (
        here(&home, &["log", "head", "-o", "json"]).json(),
        ask(&server, &["log", "head", "-o", "json"]).json(),
    );
    for member in ["origin", "size", "root_hash", "checkpoint"] {
        assert_eq!(local[member], remote[member], "{member}");
    }
}

#[test]
fn a_batch_goes_through_a_server_in_pieces_and_comes_to_the_same() {
    let (home, other) = (Home::new(), Home::new());
    let server = Server::start(home.path());
    let mut lines: Vec<String> =
        (0..2_500).map(|number| claim(&format!("claim-{number}")).to_string()).collect();
    lines[3] = "{".to_owned();
    lines[1_500] = lines[1_499].clone();
    lines[2_000] = lines[1].replace("4200", "4201");
    lines[2_100] = lines[2_100].replace("claim-approval", "loan-approval");
    lines[2_200] = String::new();
    let batch = written(&home, "batch.ndjson", lines.join("\n"));
    let arguments = ["decide", "claim-approval", "-o", "json", "--batch", &batch];
    let (remote, local) = (ask(&server, &arguments).expect(2), here(&other, &arguments).expect(2));
    assert_eq!(remote.json(), local.json());
    let summary = remote.json();
    assert_eq!((&summary["rows"], &summary["replayed"]), (&json!(2_500), &json!(1)));
    let refused: Vec<_> =
        summary["refused"].as_array().unwrap().iter().map(|one| one["row"].as_u64()).collect();
    assert_eq!(refused, [Some(4), Some(2_001), Some(2_101), Some(2_201)]);
    let again = ask(&server, &arguments).expect(2).json();
    assert_eq!(again["replayed"], 2_496);
    ask(&server, &["decide", "no-such-policy", "--batch", &batch]).expect(10);
    ask(&server, &["decide", "claim-approval@9.0.0", "--batch", &batch]).expect(11);
}

#[test]
fn a_csv_file_is_typed_by_the_servers_schema() {
    let Some(csv) = data::file("insurance_claims.csv") else { return };
    let home = Home::new();
    let server = Server::start(home.path());
    let (csv, mapping) = (csv.to_str().unwrap(), home.file("policies/claim-approval/mapping.toml"));
    let mapping = mapping.to_str().unwrap();
    let decide = ["decide", "claim-approval", "-o", "json", "--batch", csv, "--mapping", mapping];
    let summary = ask(&server, &decide).expect(0).json();
    assert_eq!((&summary["rows"], &summary["decided"]["deny"]), (&json!(1_000), &json!(16)), "{summary}");
    let semicolons = std::fs::read_to_string(csv).unwrap().replace(',', ";");
    let semicolons = written(&home, "semicolons.csv", semicolons);
    let said =
        ask(&server, &["decide", "claim-approval", "--batch", &semicolons, "--mapping", mapping]).expect(2);
    assert!(said.err.contains("semicolon") && said.err.lines().count() < 8, "{}", said.err);
}

#[test]
fn evidence_from_a_server_is_whole_or_not_there() {
    let home = Home::new();
    let server = Server::start(home.path());
    let batch: String = (0..50).map(|number| format!("{}\n", claim(&format!("claim-{number}")))).collect();
    let batch = written(&home, "batch.ndjson", batch);
    ask(&server, &["decide", "claim-approval", "--batch", &batch]).expect(0);
    let file = |name: &str| home.file(name).to_str().unwrap().to_owned();
    for (name, extra, decisions) in [
        ("all.jsonl", &[][..], 50),
        ("range.jsonl", &["--range", "10..20"], 10),
        ("two.jsonl", &["--execution-id", "claim-1", "--execution-id", "claim-2"], 2),
        (
            "partial.jsonl",
            &["--disclosure", "partial", "--hide", "totalClaim", "--policy", "claim-approval"],
            50,
        ),
    ] {
        let out = file(name);
        let said = ask(&server, &[&["export", "-o", "json", "--out", &out], extra].concat()).expect(0).json();
        assert_eq!(said["decisions"], decisions, "{name}");
        let judge = ["--json", "--environment", "test", "--without", "build,reproduce", "--root"];
        let report = run(chancery_verify().arg(&out).args(judge), [home.root_pub()]).expect(0).json();
        assert_eq!(report["counts"]["decisions"], decisions, "{name}");
        assert_eq!(report["counts"]["lines"], said["lines"], "{name}");
        ask(&server, &["export", "--out", &out]).expect(1);
    }
    ask(&server, &["export", "--out", &file("x"), "--execution-id", "nobody"]).expect(10);
    ask(&server, &["export", "--out", &file("x"), "--state", "done"]).expect(2);
    ask(&server, &["export", "--out", &file("x"), "--range", "1000.."]).expect(2);

    let whole = std::fs::read_to_string(file("all.jsonl")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let without_trailer = format!("{}\n", lines[..lines.len() - 1].join("\n"));
    let without_a_line = format!("{}\n", [&lines[..9], &lines[10..]].concat().join("\n"));
    for (body, cut) in [(without_trailer, 0), (without_a_line, 0), (whole.clone(), 40), (String::new(), 0)] {
        let (url, _) = pretend("200 OK", "application/x-ndjson", body, cut);
        let folder = tempfile::tempdir().unwrap();
        let said = run(
            chancery(folder.path()).args(["export", "--out", "evidence.jsonl", "--server", &url]),
            [] as [&str; 0],
        );
        said.expect(1);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "half a file is there");
    }
}

#[test]
fn a_bundle_is_published_and_put_in_force_over_http() {
    let home = Home::new();
    let server = Server::start(home.path());
    let bundle = home.file("policies/claim-approval/1.0.0");
    let manifest = std::fs::read_to_string(bundle.join("bundle.toml")).unwrap();
    std::fs::write(bundle.join("bundle.toml"), manifest.replace("\"1.0.0\"", "\"1.0.1\"")).unwrap();
    let bundle = bundle.to_str().unwrap();
    let at = |arguments: &[&str]| {
        run(chancery(home.path()).args(arguments).args(["--server", &server.url]), [] as [&str; 0])
    };
    at(&["bundle", "publish", bundle]).expect(2);
    at(&["bundle", "sign", bundle]).expect(0);
    let activate = ["bundle", "activate", "claim-approval@1.0.1", "--reason", "a new version"];
    at(&activate).expect(10);
    let published = at(&["bundle", "publish", bundle, "-o", "json"]).expect(0).json();
    assert_eq!((&published["version"], &published["new"]), (&json!("1.0.1"), &json!(true)));
    assert_eq!(at(&["bundle", "publish", bundle, "-o", "json"]).expect(0).json()["new"], false);
    let activated = at(&[&activate[..], &["-o", "json"]].concat()).expect(0).json();
    assert_eq!(activated["activation"]["policyVersion"], "1.0.1");
    let history = at(&["bundle", "history", "claim-approval", "-o", "json"]).expect(0).json();
    assert_eq!(history[1]["policy"], "claim-approval@1.0.1");
    assert_eq!(history[1]["index"], activated["log"]["index"]);
    let signals = written(&home, "signals.json", claim_signals().to_string());
    let decided =
        at(&["decide", "claim-approval@1.0.1", "--signals", &signals, "-o", "json"]).expect(0).json();
    assert_eq!(decided["policy"]["bundle_hash"], published["bundleHash"]);

    std::fs::write(Path::new(bundle).join("policies.cedar"), "permit(").unwrap();
    let broken = at(&["bundle", "publish", bundle]);
    assert!([2, 3].contains(&broken.code), "{broken:?}");
}

#[test]
fn what_cannot_be_asked_of_a_server_says_so() {
    let home = Home::new();
    for arguments in [&["init"][..], &["serve", "--dev"], &["fsck"], &["config", "show"], &["demo"]] {
        let said = run(
            chancery(home.path()).args(arguments).args(["--server", "http://127.0.0.1:1"]),
            [] as [&str; 0],
        );
        assert!(said.err.contains("on no server"), "{arguments:?}: {said:?}");
        said.expect(2);
    }
    let gone = run(
        chancery(home.path()).args(["decision", "list", "--server", "http://127.0.0.1:1"]),
        [] as [&str; 0],
    );
    assert!(gone.err.contains("chancery serve"), "{}", gone.err);
    gone.expect(1);
    run(chancery(home.path()).args(["decision", "list", "--server", "somewhere"]), [] as [&str; 0]).expect(2);
    let server = Server::start(home.path());
    let out = home.file("evidence.jsonl");
    let locked = here(&home, &["export", "--out", out.to_str().unwrap()]).expect(1);
    assert!(locked.err.contains("--server"), "{}", locked.err);
    drop(server);
}

#[test]
fn a_credential_goes_with_every_request_and_problems_are_told() {
    let problem = json!({
        "status": 401, "title": "Unauthorized", "code": "auth.invalid", "detail": "nobody has this credential",
    });
    let (url, asked) = pretend("401 Unauthorized", "application/problem+json", problem.to_string(), 0);
    let nowhere = tempfile::tempdir().unwrap();
    let mut command = chancery(nowhere.path());
    command.env("CHANCERY_SERVER", &url).env("CHANCERY_TOKEN", "ck_test_1");
    let said = run(&mut command, ["decision", "list"]).expect(9);
    assert!(
        said.err.contains("nobody has this credential") && !said.err.contains("ck_test_1"),
        "{}",
        said.err
    );
    let asked = asked.join().unwrap();
    assert!(
        asked.iter().any(|line| line.eq_ignore_ascii_case("authorization: bearer ck_test_1")),
        "{asked:?}"
    );

    let (url, _) = pretend("502 Bad Gateway", "text/html", "<h1>nothing behind me</h1>".to_owned(), 0);
    let said = run(chancery(nowhere.path()).env("CHANCERY_SERVER", &url), ["decision", "list"]).expect(1);
    assert!(said.err.contains("502"), "{}", said.err);
    let (url, _) = pretend("302 Found", "text/html", String::new(), 0);
    run(chancery(nowhere.path()).env("CHANCERY_SERVER", &url), ["decision", "list"]).expect(1);
}

/// A server of one answer, `cut` bytes short of what it promises; it hands back the head of the request.
fn pretend(status: &str, kind: &str, body: String, cut: usize) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(&stream);
        let mut asked = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            match line.trim_end() {
                "" => break,
                line => asked.push(line.to_owned()),
            }
        }
        // The client may have seen enough before everything is sent.
        let _ = (&stream).write_all(head.as_bytes());
        let _ = (&stream).write_all(&body.as_bytes()[..body.len() - cut]);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = (&stream).read_to_end(&mut Vec::new());
        asked
    });
    (url, thread)
}
