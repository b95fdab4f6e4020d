//! Keyring life from the command line: a ceremony of several holders, rotation, revocation, and what is refused.

use std::fs;
use std::path::Path;
use std::process::Command;

use chancery_core::dsse::Envelope;
use chancery_core::keyring::KeyringVersion;
use chancery_core::statement::Statement;
use chancery_tests::home::Home;
use chancery_tests::program::{Said, chancery, chancery_verify, run};
use chancery_tests::server::Server;

use crate::http::{claim, post};

const ROOT_PASSWORD: &str = "of the custodians";

/// A command with the password of the root keys.
fn custodian(folder: &Path) -> Command {
    let mut command = chancery(folder);
    command.env("CHANCERY_ROOT_PASSWORD", ROOT_PASSWORD);
    command
}

#[track_caller]
fn ok(folder: &Path, arguments: &[&str]) -> Said {
    run(&mut custodian(folder), arguments).expect(0)
}

/// A home whose single root key lies there with its password.
struct Held(Home, String);

impl Held {
    fn new() -> Self {
        let home = Home::new();
        let password = fs::read_to_string(home.file("keys/root.password")).unwrap();
        Self(home, password)
    }

    fn command(&self) -> Command {
        let mut command = chancery(self.0.path());
        command.env("CHANCERY_ROOT_PASSWORD", &self.1);
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        run(&mut self.command(), arguments)
    }

    /// Makes a key and returns the path of its public half.
    fn key(&self, name: &str, algorithm: &str) -> String {
        self.run(&["key", "generate", name, "--algorithm", algorithm]).expect(0);
        format!("{name}.pub")
    }
}

fn decide(folder: &Path, id: &str) {
    let signals = folder.join("signals.json");
    fs::write(&signals, crate::http::claim_signals().to_string()).unwrap();
    let arguments = ["decide", "claim-approval", "--execution-id", id, "--signals", "signals.json"];
    let said = run(&mut chancery(folder), arguments);
    assert!([0, 8].contains(&said.code), "{said:?}");
}

/// Exports everything and has the auditor's program judge it.
fn audited(folder: &Path, name: &str, root: &Path) -> Said {
    if !folder.join(name).exists() {
        run(&mut chancery(folder), ["export", "--out", name]).expect(0);
    }
    let mut command = chancery_verify();
    command.arg(folder.join(name)).arg("--root").arg(root);
    run(&mut command, ["--environment", "test", "--without", "build,reproduce"])
}

#[test]
fn several_holders_sign_in_several_places_and_hand_over_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("log");
    let away = folder.path().join("away");
    fs::create_dir(&home).unwrap();
    fs::create_dir(&away).unwrap();
    let root = folder.path().join("root.pub");
    let made = [
        "trust",
        "root-init",
        "--threshold",
        "2",
        "--generate",
        "3",
        "--dir",
        "../holders",
        "--out",
        "../root.pub",
    ];
    ok(&home, &made);
    let policies = chancery_tests::program::repository().join("policies");
    let init =
        ["init", "--no-input", "--environment", "test", "--tenant", "acme", "--root-pub", "../root.pub"];
    let (one, two, three) = ("../holders/root-1.key", "../holders/root-2.key", "../holders/root-3.key");
    let mut command = custodian(&home);
    command.args(init).arg("--policies").arg(policies);
    let too_few = run(&mut command, ["--root-key", one]).expect(9);
    assert!(too_few.err.contains("1 of the 2"), "{}", too_few.err);
    assert_eq!(fs::read_dir(&home).unwrap().count(), 0, "nothing is left behind");
    run(&mut command, ["--root-key", two]).expect(0);
    assert!(!home.join("keys/root.key").exists());
    decide(&home, "claim-1");

    // Drafted where the log is, signed there by one holder, and away from it by another.
    ok(&home, &["key", "generate", "build.key", "--algorithm", "ecdsa-p256"]);
    let enroll = ["key", "enroll", "--key", "build.key.pub", "--role", "build", "--subject", "ci"];
    let shown = run(custodian(&home).args(enroll), ["--dry-run", "-o", "json"]).expect(0).json();
    assert_eq!((&shown["version"], &shown["keys"][3]["roles"][0]), (&2.into(), &"build".into()));
    assert!(shown.get("witnessQuorum").is_none());
    run(custodian(&home).args(enroll), ["--root-key", one]).expect(9);
    run(custodian(&home).args(enroll), ["--root-key", one, "--draft", "../away/v2.json"]).expect(0);
    let unready = run(&mut custodian(&home), ["trust", "keyring", "submit", "../away/v2.json"]).expect(9);
    assert!(unready.err.contains("1 of the 2 signatures needed"), "{}", unready.err);
    assert!(!unready.err.contains("+ key"), "what does not hold is not shown: {}", unready.err);

    let server = Server::start(&home);
    let keyring = ureq::get(format!("{}/v1/trust/keyring", server.url)).call().unwrap();
    fs::write(away.join("keyring.json"), keyring.into_body().read_to_vec().unwrap()).unwrap();
    let sign = ["trust", "keyring", "sign", "v2.json", "--keyring", "keyring.json", "--root", "../root.pub"];
    let said = run(custodian(&away).args(sign), ["--root-key", three]).expect(0);
    assert!(said.err.contains("signs as `build` for `ci`"), "{}", said.err);
    assert!(said.out.contains("2 of the 2 signatures"), "{}", said.out);
    // A server takes it, and knows it from then on.
    let submit = ["trust", "keyring", "submit", "../away/v2.json", "--server", &server.url, "-o", "json"];
    let shown = run(custodian(&home).args(submit), ["--dry-run"]).expect(0).json();
    assert_eq!((&shown["keyring"]["version"], &shown["lost"]["signed"]), (&2.into(), &0.into()));
    let submitted = ok(&home, &submit);
    assert_eq!(submitted.json()["version"], 2);
    assert!(submitted.err.contains("2 of the 2 signatures"), "{}", submitted.err);
    assert_eq!(run(&mut custodian(&home), submit).code, 11, "it is logged once");
    ok(&home, &["trust", "keyring", "verify", "--server", &server.url]);
    assert!(server.stop().success());

    // New holders: enough of the old ones and enough of the new ones.
    let next = ["trust", "root-init", "--threshold", "1", "--generate", "2", "--dir", "../next", "--out"];
    run(custodian(&home).args(next), ["../next.pub"]).expect(0);
    let rotate = ["trust", "rotate", "--new-root-pub", "../next.pub", "--root-key", one, "--root-key", two];
    run(&mut custodian(&home), rotate).expect(9);
    let rotated = run(custodian(&home).args(rotate), ["--root-key", "../next/root-2.key"]).expect(0);
    assert!(
        rotated.err.contains("cp ../next.pub") && rotated.err.contains("trust/root.pub"),
        "{}",
        rotated.err
    );
    decide(&home, "claim-2");
    audited(&home, "all.jsonl", &root).expect(0);
    audited(&home, "all.jsonl", &folder.path().join("next.pub")).expect(0);
    let other =
        ["trust", "root-init", "--threshold", "2", "--key", "next/root-1.pub", "--key", "next/root-2.pub"];
    ok(folder.path(), &[&other[..], &["--out", "other.pub"]].concat());
    let refused = audited(&home, "all.jsonl", &folder.path().join("other.pub")).expect(5);
    assert!(refused.out.contains("FAIL    keyring.root"), "{}", refused.out);
    // The old holders sign nothing any more.
    let renew = ["trust", "keyring", "renew", "--root-key", one];
    let refused = run(&mut custodian(&home), renew).expect(9);
    assert!(refused.err.contains("neither of the newest version nor of the next one"), "{}", refused.err);
    ok(&home, &["trust", "keyring", "renew", "--valid-days", "900", "--root-key", "../next/root-1.key"]);
    let verified = ok(&home, &["trust", "keyring", "verify", "-o", "json"]).json();
    assert_eq!((&verified["verified"], &verified["versions"]), (&true.into(), &4.into()));
}

#[test]
fn keys_are_replaced_and_revoked_and_the_whole_log_still_verifies() {
    let held = Held::new();
    let home = held.0.path();
    decide(home, "claim-1");
    for (role, name) in [("runtime", "runtime2.key"), ("log", "log2.key")] {
        let public = held.key(name, "ed25519");
        held.run(&["key", "enroll", "--key", &public, "--role", role]).expect(0);
    }
    decide(home, "claim-2");
    let config = home.join("chancery.toml");
    let text = fs::read_to_string(&config).unwrap();
    let text = format!("runtime_key = \"runtime2.key\"\nlog_key = \"log2.key\"\n{text}");
    fs::write(&config, text).unwrap();
    decide(home, "claim-3");
    audited(home, "before.jsonl", &held.0.root_pub()).expect(0);

    let keyring = held.run(&["trust", "keyring", "show", "-o", "json"]).expect(0).json();
    let id = |role: &str| {
        let keys = keyring["keys"].as_array().unwrap().iter();
        let mut ids = keys.filter(|key| key["roles"][0] == role).map(|key| key["keyId"].as_str().unwrap());
        ids.next().unwrap().to_owned()
    };
    for role in ["runtime", "log"] {
        held.run(&["key", "revoke", &id(role), "--reason", "replaced"]).expect(0);
    }
    decide(home, "claim-4");
    audited(home, "after.jsonl", &held.0.root_pub()).expect(0);
    let shown = held.run(&["trust", "keyring", "show"]).expect(0).out;
    assert_eq!(shown.matches("revoked").count(), 2, "{shown}");
    run(&mut chancery(home), ["fsck", "--full"]).expect(0);

    // From an index in the past on: what it signed since then is worth nothing, and that is said before.
    let from = ["key", "revoke", &id("runtime"), "--reason", "stolen", "--from-index", "4"];
    let shown = run(held.command().args(from), ["--dry-run"]).expect(0).out;
    assert!(shown.contains("fails `key.revoked`") && shown.contains("takes away 2 entries"), "{shown}");
    assert!(!shown.contains("no `runtime` key is good"), "{shown}");
    let refused = held.run(&from).expect(11);
    assert!(
        refused.err.contains("takes away 2 entries") && refused.err.contains("--accept-loss"),
        "{}",
        refused.err
    );
    run(held.command().args(from), ["--accept-loss", "1"]).expect(11);
    let logged = run(held.command().args(from), ["--accept-loss", "2", "-o", "json"]).expect(0).json();
    assert_eq!(logged["lost"], serde_json::json!({"signed": 2, "decisions": 0}));
    let refused = audited(home, "stolen.jsonl", &held.0.root_pub()).expect(5);
    assert!(refused.out.contains("FAIL    key.revoked"), "{}", refused.out);
    let later = ["key", "revoke", &id("runtime"), "--reason", "not so", "--from-index", "5"];
    let refused = held.run(&later).expect(2);
    assert!(refused.err.contains("keyring.revocation"), "{}", refused.err);
}

#[test]
fn a_keyring_file_is_judged_by_the_names_of_the_checks() {
    let held = Held::new();
    let home = held.0.path();
    let public = held.key("privacy.key", "ed25519");
    let enroll = ["key", "enroll", "--key", &public, "--role", "erasure", "--subject", "privacy"];
    held.run(&enroll).expect(0);
    held.run(&["trust", "keyring", "renew"]).expect(0);
    let server = Server::start(home);
    let text = ureq::get(format!("{}/v1/trust/keyring", server.url)).call().unwrap();
    let good: serde_json::Value = serde_json::from_slice(&text.into_body().read_to_vec().unwrap()).unwrap();
    assert!(server.stop().success());
    // Away from the log: nothing but the file and root.pub.
    let away = tempfile::tempdir().unwrap();
    fs::copy(held.0.root_pub(), away.path().join("root.pub")).unwrap();
    let judged = |value: &serde_json::Value| {
        fs::write(away.path().join("keyring.json"), value.to_string()).unwrap();
        run(&mut chancery(away.path()), ["trust", "keyring", "verify", "keyring.json", "--root", "root.pub"])
    };
    let said = judged(&good).expect(0).out;
    assert!(
        said.contains("3 versions lead to root.pub, of `acme` and its log `log.localhost/acme`"),
        "{said}"
    );
    type Edit = fn(&mut Vec<serde_json::Value>);
    let cases: [(&str, Edit, &str); 5] = [
        ("a version missing", |versions| drop(versions.remove(1)), "keyring.chain"),
        ("the first one missing", |versions| drop(versions.remove(0)), "keyring.chain"),
        ("none", |versions| versions.clear(), "keyring.chain"),
        (
            "forged",
            |versions| {
                let payload = versions[1]["envelope"]["payload"].clone();
                versions[2]["envelope"]["payload"] = payload;
            },
            "keyring.chain",
        ),
        (
            "signed by another",
            |versions| {
                let signatures = versions[1]["envelope"]["signatures"].clone();
                versions[2]["envelope"]["signatures"] = signatures;
            },
            "keyring.root",
        ),
    ];
    for (what, edit, check) in cases {
        let mut changed = good.clone();
        edit(changed["versions"].as_array_mut().unwrap());
        let said = judged(&changed).expect(5);
        assert!(said.err.contains(check), "{what}: {}", said.err);
    }
    let other = Home::new();
    fs::copy(
        held.key("other.key", "ed25519").replace("other", &home.join("other").to_string_lossy()),
        away.path().join("root.pub"),
    )
    .unwrap();
    let said = judged(&good).expect(5);
    assert!(said.err.contains("keyring.root"), "{}", said.err);
    // A version of another log.
    let draft = home.join("draft.json");
    held.run(&["trust", "keyring", "renew", "--draft", "draft.json"]).expect(0);
    let submit = run(chancery(other.path()).args(["trust", "keyring", "submit"]), [&draft]);
    assert_eq!(submit.code, 11, "{submit:?}");
    run(chancery(other.path()).args(["trust", "keyring", "submit"]), [home.join("signals.json")]).expect(2);
}

#[test]
fn what_must_not_be_made_is_refused_before_anything_is_written() {
    let held = Held::new();
    let home = held.0.path();
    for name in ["a.key", "b.key"] {
        held.key(name, "ed25519");
    }
    let weak = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\
                -----END PUBLIC KEY-----\n";
    fs::write(home.join("weak.pub"), weak).unwrap();
    let (a, b) = ("a.key.pub", "b.key.pub");
    let refused: [(&[&str], i32, &str); 8] = [
        (
            &["--threshold", "0", "--key", a],
            2,
            "expected a threshold from 1 to 1, the number of keys, found 0",
        ),
        (&["--threshold", "2", "--key", a], 2, "keyring.root_keys"),
        (&["--threshold", "1", "--key", a, "--key", a], 2, "keyring.root_keys"),
        (&["--threshold", "1", "--key", "weak.pub"], 2, "weak"),
        (&["--threshold", "1", "--key", "a.key"], 2, "no public key"),
        (&["--threshold", "1", "--key", "none.pub"], 2, "none.pub"),
        (&["--threshold", "1", "--key", a, "--generate", "2", "--dir", "d"], 2, "--generate"),
        (&["--threshold", "3", "--generate", "2", "--dir", "d"], 2, "keyring.root_keys"),
    ];
    for (arguments, code, why) in refused {
        let said =
            run(held.command().args(["trust", "root-init", "--out", "new.pub"]), arguments).expect(code);
        assert!(said.err.contains(why), "{arguments:?}: {}", said.err);
        assert!(!home.join("new.pub").exists() && !home.join("d").exists(), "{arguments:?}");
    }
    held.run(&["trust", "root-init", "--threshold", "2", "--key", a, "--key", b, "--out", "new.pub"])
        .expect(0);
    held.run(&["trust", "root-init", "--threshold", "1", "--key", a, "--out", "new.pub"]).expect(11);

    let runtime = held.run(&["key", "show", "keys/runtime.key", "-o", "json"]).expect(0).json();
    fs::write(home.join("runtime.pub"), runtime["publicKey"].as_str().unwrap()).unwrap();
    let enrolments: [(&[&str], i32, &str); 9] = [
        (&["--key", "weak.pub", "--role", "policy", "--subject", "x"], 2, "weak"),
        (&["--key", "runtime.pub", "--role", "erasure", "--subject", "x"], 2, "keyring.key"),
        (&["--key", a, "--role", "admin", "--subject", "x"], 2, "not a role"),
        (&["--key", a, "--role", "approver:manager"], 2, "--subject"),
        (
            &["--key", a, "--role", "approver:manager", "--subject", "chancery-runtime"],
            2,
            "keyring.separation",
        ),
        (&["--key", a, "--role", "build"], 2, "keyring.build_key"),
        (&["--key", a, "--role", "log", "--subject", "elsewhere"], 2, "keyring.log_key"),
        (&["--key", a, "--role", "witness", "--subject", "w", "--witness-quorum", "2"], 2, "keyring.witness"),
        (&["--key", a, "--role", "policy", "--subject", "x", "--root-key", "b.key"], 9, "does not open"),
    ];
    for (arguments, code, why) in enrolments {
        let said = run(held.command().args(["key", "enroll"]), arguments).expect(code);
        assert!(said.err.contains(why), "{arguments:?}: {}", said.err);
    }
    let unknown = "SHA256:5bCz+1fQAyQSwx8HOv5OmXyrtCyGtKTQM7hnAqVs5HM";
    let said = held.run(&["key", "revoke", unknown, "--reason", "x"]).expect(2);
    assert!(said.err.contains("keyring.key"), "{}", said.err);
    held.run(&["key", "revoke", "nobody", "--reason", "x"]).expect(2);
    assert_eq!(held.run(&["trust", "keyring", "show", "-o", "json"]).expect(0).json()["version"], 1);
    held.run(&["trust", "keyring", "show", "--version", "9"]).expect(10);
}

#[test]
fn a_draft_of_somebody_else_is_refused_before_any_of_it_is_shown() {
    let held = Held::new();
    let home = held.0.path();
    let forged = "lost\n    the log has 0 such entries\n\u{1b}[1A\u{1b}[2K  + key";
    let keyring = held.run(&["trust", "keyring", "show", "-o", "json"]).expect(0).json();
    let policy = keyring["keys"].as_array().unwrap().iter().find(|key| key["roles"][0] == "policy").unwrap();
    let revoke =
        ["key", "revoke", policy["keyId"].as_str().unwrap(), "--from-index", "2", "--draft", "draft.json"];
    let refused = run(held.command().args(revoke), ["--reason", forged]).expect(2);
    assert!(refused.err.contains("keyring.revocation") && !refused.err.contains('\u{1b}'), "{}", refused.err);

    // Written by another program, which asks nothing.
    run(held.command().args(revoke), ["--reason", "lost"]).expect(0);
    let text = fs::read_to_string(home.join("draft.json")).unwrap();
    let mut draft: Envelope = serde_json::from_str(&text).unwrap();
    let mut next = Statement::<KeyringVersion>::parse_unverified(&draft.payload.0).unwrap().predicate;
    let revoked = next.keys.iter_mut().find_map(|key| key.revoked.as_mut()).unwrap();
    revoked.reason = forged.to_owned();
    draft.payload.0 = Statement::keyring_of(next).unwrap().to_payload().unwrap().into_bytes();
    fs::write(home.join("draft.json"), serde_json::to_string(&draft).unwrap()).unwrap();
    let refused = held.run(&["trust", "keyring", "sign", "draft.json"]).expect(2);
    assert!(!refused.err.contains("keyring version 2") && !refused.err.contains('\u{1b}'), "{}", refused.err);
    assert!(!refused.err.contains("\n    the log has 0"), "{}", refused.err);
}

#[test]
fn a_draft_that_travelled_takes_away_what_was_signed_meanwhile_and_says_so() {
    let held = Held::new();
    let home = held.0.path();
    let server = Server::start(home);
    let keyring = held.run(&["trust", "keyring", "show", "-o", "json"]).expect(0).json();
    let runtime =
        keyring["keys"].as_array().unwrap().iter().find(|key| key["roles"][0] == "runtime").unwrap();
    let on = ["--server", &server.url];
    // The size comes from the server's checkpoint.
    let revoke =
        ["key", "revoke", runtime["keyId"].as_str().unwrap(), "--reason", "replaced", "--draft", "v2.json"];
    run(held.command().args(revoke), on).expect(0);
    for id in ["claim-1", "claim-2"] {
        let url = format!("{}/v1/decisions", server.url);
        let (status, _, body) = post(&url, claim(id).to_string().as_bytes());
        assert_eq!(status, 201, "{body}");
    }
    let submit =
        |more: &[&str]| run(held.command().args(["trust", "keyring", "submit", "v2.json"]).args(on), more);
    let shown = submit(&["--dry-run"]).expect(0).out;
    assert!(
        shown.contains("this takes away 2 entries of the log: 2 entries that a revoked key signed"),
        "{shown}"
    );
    let refused = submit(&[]).expect(11);
    assert!(
        refused.err.contains("keyring.loss") || refused.err.contains("takes away 2 entries"),
        "{}",
        refused.err
    );
    let logged = submit(&["--accept-loss", "2"]).expect(0).out;
    assert!(logged.contains("it takes away 2 entries"), "{logged}");
    assert!(server.stop().success());
}

#[test]
fn a_keyring_of_another_log_under_the_same_root_keys_is_not_verified() {
    let folder = tempfile::tempdir().unwrap();
    let root = ["trust", "root-init", "--threshold", "1", "--generate", "1", "--dir", "holders"];
    ok(folder.path(), &root);
    let mut homes = Vec::new();
    for (tenant, host) in [("acme", "log.example"), ("beta", "log.example"), ("acme", "log.other")] {
        let home = folder.path().join(format!("{tenant}-{host}"));
        fs::create_dir(&home).unwrap();
        let init = [
            "init",
            "--no-input",
            "--environment",
            "test",
            "--tenant",
            tenant,
            "--log-host",
            host,
            "--root-pub",
            "../root.pub",
            "--root-key",
            "../holders/root-1.key",
        ];
        ok(&home, &init);
        homes.push(home);
    }
    let [acme, beta, other] = homes.as_slice() else { panic!("three") };
    for away in [beta, other] {
        let server = Server::start(away);
        let keyring = ureq::get(format!("{}/v1/trust/keyring", server.url)).call().unwrap();
        fs::write(away.join("keyring.json"), keyring.into_body().read_to_vec().unwrap()).unwrap();
        let file = away.join("keyring.json");
        let verify = ["trust", "keyring", "verify"];
        let from_file = run(custodian(acme).args(verify), [&file]).expect(5);
        let from_server = run(custodian(acme).args(verify), ["--server", &server.url]).expect(5);
        for said in [from_file, from_server] {
            assert!(said.err.contains("keyring.chain"), "{}", said.err);
        }
        assert!(server.stop().success());
    }
    // Without a configuration, or for another log than the configured one, the tenant is named.
    let named = |folder: &Path, tenant: &str| {
        let file = beta.join("keyring.json");
        let mut command = custodian(folder);
        command.args(["trust", "keyring", "verify", "--tenant", tenant]).arg(file);
        run(&mut command, ["--root", "../root.pub"])
    };
    named(acme, "beta").expect(0);
    named(&folder.path().join("holders"), "beta").expect(0);
    named(&folder.path().join("holders"), "acme").expect(5);
}

#[test]
fn the_password_of_a_root_key_is_told_apart_from_the_others() {
    let held = Held::new();
    let mut command = chancery(held.0.path());
    command.env("CHANCERY_ROOT_PASSWORD", "another");
    let refused = run(&mut command, ["trust", "keyring", "renew"]).expect(9);
    assert!(refused.err.contains("CHANCERY_ROOT_PASSWORD"), "{}", refused.err);
    assert!(!refused.err.contains("CHANCERY_PASSWORD"), "{}", refused.err);
}
