//! Keys in a token: SoftHSM2's real module, loaded by the program under test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use chancery_core::key::PublicKey;
use chancery_core::keyring::RootPub;
use chancery_tests::home::{Home, PASSWORD};
use chancery_tests::program::{Said, chancery, chancery_verify, repository, run};
use chancery_tests::server::Server;
use chancery_tests::softhsm::{LABEL, PIN, Token};
use serde_json::Value;

use crate::http::{claim, get, post};

/// A command of `chancery` in `folder` that finds the token.
fn with(token: &Token, folder: &Path) -> Command {
    let mut command = chancery(folder);
    token.known_to(&mut command);
    command
}

/// Makes a key pair in the token, and gives its public half.
fn generate(token: &Token, object: &str, algorithm: &str) -> PublicKey {
    let arguments = ["key", "generate", &token.uri(object), "--algorithm", algorithm, "-o", "json"];
    let said = run(&mut with(token, token.file(".").as_path()), arguments).expect(0);
    PublicKey::from_spki_pem(said.json()["publicKey"].as_str().unwrap()).unwrap()
}

fn show(token: &Token, uri: &str) -> Said {
    run(&mut with(token, token.file(".").as_path()), ["key", "show", uri, "--no-input"])
}

/// A test log whose root, runtime and log keys are in the token.
fn init(token: &Token, folder: &Path, runtime: &str) {
    let root = generate(token, "root", "ed25519");
    generate(token, "runtime", runtime);
    generate(token, "log", "ed25519");
    let root_pub = folder.join("agreed.pub");
    fs::write(&root_pub, RootPub::new(vec![root], 1).unwrap().to_string()).unwrap();
    let policies = repository().join("policies");
    let mut init = with(token, folder);
    init.args(["init", "--no-input", "--environment", "test", "--tenant", "acme"])
        .args(["--root-pub", "agreed.pub", "--root-key", &token.uri("root")])
        .args(["--runtime-key", &token.uri("runtime"), "--log-key", &token.uri("log"), "--policies"]);
    run(&mut init, [&policies]).expect(0);
}

fn serve(token: &Token, folder: &Path, interval_ms: &str) -> Server {
    Server::start_with(folder, &mut |command| {
        token.known_to(command).env("CHANCERY_CHECKPOINT_INTERVAL_MS", interval_ms);
    })
}

fn decide(url: &str, id: &str) -> (u16, Value) {
    let (status, _, body) = post(&format!("{url}/v1/decisions"), claim(id).to_string().as_bytes());
    (status, serde_json::from_str(&body).unwrap())
}

/// The readiness check of the keys: the status of all, whether the keys are ready, and why not.
fn keys_ready(server: &Server) -> (u16, bool, String) {
    let (status, body) = get(&format!("{}/readyz", server.operator_url));
    let body: Value = serde_json::from_str(&body).unwrap();
    let checks = body["checks"].as_array().unwrap();
    let keys = checks.iter().find(|check| check["name"] == "keys").unwrap();
    (status, keys["ok"].as_bool().unwrap(), keys["detail"].as_str().unwrap_or_default().to_owned())
}

/// Exports everything, and has the auditor's program judge it.
fn audit(token: &Token, folder: &Path) {
    let evidence = folder.join("all.evidence.jsonl");
    run(with(token, folder).args(["export", "--out"]), [&evidence]).expect(0);
    let ask = ["--environment", "test", "--without", "build", "--root"];
    run(chancery_verify().arg(&evidence).args(ask), [folder.join("trust/root.pub")]).expect(0);
    fs::remove_file(evidence).unwrap();
}

/// Waits until `done`, at most a minute.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_key_pair_made_in_a_token_never_leaves_it_and_signs() {
    let Some(token) = Token::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (algorithm, object) in [("ed25519", "policy-ed"), ("ecdsa-p256", "policy-p256")] {
        let uri = token.uri(object);
        let public = folder.path().join(object);
        let arguments = ["key", "generate", &uri, "--algorithm", algorithm, "--pub", object];
        let made = run(&mut with(&token, folder.path()), arguments).expect(0);
        assert!(made.out.contains(algorithm) && made.out.contains(&fs::read_to_string(&public).unwrap()));
        assert_eq!(show(&token, &uri).expect(0).out, made.out);

        let listed = token.tool(["--list-objects", "--type", "privkey", "--label", object]).expect(0).out;
        assert!(listed.contains("sensitive") && listed.contains("never extractable"), "{listed}");

        // What it signs verifies: a bundle, whose signature is checked by the public file alone.
        let bundle = folder.path().join(format!("bundle-{object}"));
        copy(&repository().join("policies/claim-approval/1.0.0"), &bundle);
        let config = folder.path().join("chancery.toml");
        fs::write(&config, "tenant = \"acme\"\nlog_host = \"log.example\"\n").unwrap();
        run(with(&token, folder.path()).args(["bundle", "sign"]).arg(&bundle), ["--key", &uri]).expect(0);
        run(chancery(folder.path()).args(["bundle", "verify"]).arg(&bundle).arg("--key"), [&public])
            .expect(0);

        // Nothing is overwritten: not the key, not the file, and then no other key is made.
        let again = run(&mut with(&token, folder.path()), ["key", "generate", &uri]).expect(11);
        assert!(again.err.contains(&format!("has a key `{object}` already")), "{}", again.err);
        let other = token.uri("other");
        run(&mut with(&token, folder.path()), ["key", "generate", &other, "--pub", object]).expect(11);
        show(&token, &other).expect(10);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn a_log_with_its_keys_in_a_token_decides_and_verifies() {
    let Some(token) = Token::new() else { return };
    for runtime in ["ed25519", "ecdsa-p256"] {
        let folder = tempfile::tempdir().unwrap();
        init(&token, folder.path(), runtime);
        for file in ["root.key", "runtime.key", "log.key"] {
            assert!(!folder.path().join("keys").join(file).exists(), "{file} is in the token alone");
        }
        let server = serve(&token, folder.path(), "1000");
        // In parallel, and more at once than a key has sessions.
        thread::scope(|scope| {
            for client in 0..8 {
                let url = &server.url;
                scope.spawn(move || {
                    for number in 0..5 {
                        assert_eq!(decide(url, &format!("claim-{client}-{number}")).0, 201);
                    }
                });
            }
        });
        assert_eq!(keys_ready(&server), (200, true, String::new()));
        assert!(server.stop().success());
        audit(&token, folder.path());
        run(&mut with(&token, folder.path()), ["fsck", "--full"]).expect(0);
        for object in ["root", "runtime", "log"] {
            for kind in ["privkey", "pubkey"] {
                token.tool(["--delete-object", "--type", kind, "--label", object]).expect(0);
            }
        }
    }
}

#[test]
fn without_its_token_a_server_decides_nothing_and_goes_on_when_it_is_back() {
    let Some(token) = Token::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    init(&token, folder.path(), "ed25519");
    // No checkpoint while it runs: the one at the end has to be signed.
    let server = serve(&token, folder.path(), "60000");
    assert_eq!(decide(&server.url, "claim-1").0, 201);
    let head =
        || run(&mut chancery(folder.path()), ["log", "head", "-o", "json"]).expect(0).json()["size"].clone();
    let before = head();
    for round in 0..2 {
        token.take_away();
        for _ in 0..3 {
            let (status, problem) = decide(&server.url, "claim-2");
            assert_eq!((status, &problem["code"]), (503, &Value::from("runtime.key")), "{problem}");
            assert!(!problem.to_string().contains("token"), "the inside is not told to callers: {problem}");
            // What was recorded is answered without a key.
            assert_eq!(decide(&server.url, "claim-1").0, 200);
        }
        let (status, ready, why) = keys_ready(&server);
        assert_eq!((status, ready), (503, false));
        assert!(why.contains("`runtime` key"), "{why}");
        if round == 0 {
            assert_eq!(head(), before, "nothing was recorded");
        }
        token.bring_back();
        assert_eq!(keys_ready(&server), (200, true, String::new()));
        assert_eq!(decide(&server.url, &format!("claim-2-{round}")).0, 201);
    }
    assert_eq!(decide(&server.url, "claim-2").0, 201);

    token.take_away();
    assert_eq!(server.stop().code(), Some(1), "the last checkpoint could not be signed, and that is told");
    token.bring_back();
    audit(&token, folder.path());
}

#[test]
fn without_the_log_keys_token_no_checkpoint_is_signed_and_the_next_one_covers_all() {
    let Some(token) = Token::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    generate(&token, "log", "ed25519");
    let policies = repository().join("policies");
    let mut init = with(&token, folder.path());
    init.args(["init", "--no-input", "--environment", "test", "--log-key", &token.uri("log"), "--policies"]);
    run(&mut init, [&policies]).expect(0);
    let server = serve(&token, folder.path(), "50");
    token.take_away();
    // The runtime key is a file: decisions are recorded, and wait for their checkpoint.
    let (status, answer) = decide(&server.url, "claim-1");
    assert_eq!(status, 201, "{answer}");
    let index = answer["log_index"].as_u64().or(answer["log"]["index"].as_u64());
    let index = index.unwrap_or_else(|| panic!("no log index: {answer}"));
    until("a missing checkpoint is told", || {
        server.log_lines().iter().any(|line| line.contains("no checkpoint could be signed"))
    });
    let (status, ready, why) = keys_ready(&server);
    assert_eq!((status, ready), (503, false));
    assert!(why.contains("`log` key"), "{why}");
    let signed = || {
        let note = run(&mut chancery(folder.path()), ["log", "checkpoint"]).expect(0).out;
        note.lines().nth(1).unwrap().parse::<u64>().unwrap()
    };
    assert!(signed() <= index);
    token.bring_back();
    until("the checkpoint covers the decision", || signed() > index);
    assert!(server.stop().success());
    audit(&token, folder.path());
}

#[test]
fn a_key_that_was_replaced_in_its_token_signs_no_answer() {
    let Some(token) = Token::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    init(&token, folder.path(), "ed25519");
    let server = serve(&token, folder.path(), "1000");
    assert_eq!(decide(&server.url, "claim-1").0, 201);
    for kind in ["privkey", "pubkey"] {
        token.tool(["--delete-object", "--type", kind, "--label", "runtime"]).expect(0);
    }
    assert_eq!(decide(&server.url, "claim-2").0, 503);
    // Another key of the same name answers, and what it signs is worth nothing.
    generate(&token, "runtime", "ed25519");
    let (status, problem) = decide(&server.url, "claim-2");
    assert_eq!((status, &problem["code"]), (503, &Value::from("runtime.key")), "{problem}");
    let (status, _, why) = keys_ready(&server);
    assert_eq!(status, 503);
    assert!(why.contains("no signature by its key"), "{why}");
    assert!(server.stop().success());
    let said =
        run(with(&token, folder.path()).args(["serve", "--dev"]), ["--listen", "127.0.0.1:0"]).expect(9);
    assert!(said.err.contains("is not good as `runtime`"), "{}", said.err);
}

#[test]
fn a_pin_comes_from_its_file_or_the_environment_alone() {
    let Some(token) = Token::new() else { return };
    let key = generate(&token, "key", "ed25519");
    let bare = token.uri_without_pin("key");
    let with_pin =
        |pin: &str| run(with(&token, Path::new("/")).env("CHANCERY_PIN", pin), ["key", "show", &bare]);
    assert!(with_pin(PIN).expect(0).out.contains(key.key_id().as_str()));
    let none = show(&token, &bare).expect(9);
    assert!(none.err.contains("there is no PIN") && none.err.contains("CHANCERY_PIN"), "{}", none.err);
    with_pin("").expect(9);

    // Too short for the token, and just wrong.
    for pin in ["1", "99999999"] {
        let wrong = with_pin(pin).expect(9);
        assert!(wrong.err.contains(&format!("the PIN of the token `{LABEL}` is wrong")), "{}", wrong.err);
        assert!(!wrong.err.contains(pin) || pin == "1", "{}", wrong.err);
    }

    let value =
        run(&mut with(&token, Path::new("/")), ["key", "show", &format!("{bare}&pin-value={PIN}")]).expect(2);
    assert!(value.err.contains("`pin-value` is refused") && !value.err.contains(PIN), "{}", value.err);

    let file = token.write_pin("other-pin", PIN);
    let uri = format!("{bare}&pin-source=file:{}", file.display());
    show(&token, &uri).expect(0);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let open = show(&token, &uri).expect(9);
    assert!(open.err.contains("0640") && open.err.contains("chmod 600"), "{}", open.err);
    fs::remove_file(&file).unwrap();
    show(&token, &uri).expect(9);
}

#[test]
fn a_wrong_pin_is_shown_to_the_token_once() {
    let Some(token) = Token::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    init(&token, folder.path(), "ed25519");
    let config = folder.path().join("chancery.toml");
    let watched = token.watched(&fs::read_to_string(&config).unwrap());
    fs::write(&config, watched).unwrap();

    // At the start: the program ends, and leaves the second key alone.
    token.write_pin("pin", "99999999");
    let said =
        run(with(&token, folder.path()).args(["serve", "--dev"]), ["--listen", "127.0.0.1:0"]).expect(9);
    assert!(said.err.contains("is wrong; it is not tried again"), "{}", said.err);
    assert!(!said.err.contains("99999999") && !said.err.contains("listening"), "{}", said.err);
    assert_eq!(token.calls("C_Login"), 1);

    // While it serves: the PIN was changed, and the token was gone, so that every session has to log in again.
    token.write_pin("pin", PIN);
    let server = serve(&token, folder.path(), "60000");
    assert_eq!(decide(&server.url, "claim-1").0, 201);
    token.tool(["--change-pin", "--new-pin", "88888888"]).expect(0);
    let before = token.calls("C_Login");
    token.take_away();
    assert_eq!(decide(&server.url, "claim-2").0, 503);
    token.bring_back();
    let shown = token.calls("C_Login");
    for _ in 0..5 {
        assert_eq!(decide(&server.url, "claim-2").0, 503);
        assert_eq!(keys_ready(&server).0, 503);
    }
    assert_eq!(token.calls("C_Login") - shown, 1, "of {before} and {shown} calls before");
    server.kill();
}

#[test]
fn keys_that_cannot_be_used_are_refused_with_the_reason() {
    let Some(token) = Token::new() else { return };
    let make = |label: &str, id: &str, kind: &str, usage: &str| {
        let pair = ["--keypairgen", "--key-type", kind, "--label", label, "--id", id, usage];
        token.tool(pair).expect(0);
    };
    make("good", "01", "EC:prime256v1", "--usage-sign");
    make("p384", "02", "EC:secp384r1", "--usage-sign");
    make("rsa", "03", "rsa:2048", "--usage-sign");
    make("asks", "04", "EC:prime256v1", "--always-auth");
    make("twice", "05", "EC:prime256v1", "--usage-sign");
    make("twice", "06", "EC:prime256v1", "--usage-sign");
    make("private", "07", "EC:prime256v1", "--usage-sign");
    token.tool(["--delete-object", "--type", "pubkey", "--label", "private"]).expect(0);
    make("swapped", "08", "EC:prime256v1", "--usage-sign");
    token.tool(["--delete-object", "--type", "pubkey", "--label", "swapped"]).expect(0);
    let other = token.file("other.der");
    let read = ["--read-object", "--type", "pubkey", "--label", "good", "--output-file"];
    token.tool(read.iter().map(|text| std::ffi::OsStr::new(*text)).chain([other.as_os_str()])).expect(0);
    let write =
        ["--write-object", other.to_str().unwrap(), "--type", "pubkey", "--label", "swapped", "--id", "08"];
    token.tool(write).expect(0);

    let uri = |object: &str| token.uri(object);
    let module = |path: &str| uri("good").replace(token.module().to_str().unwrap(), path);
    let not_a_library = token.file("softhsm2.conf");
    let cases = [
        (uri("none"), 10, "has no private key `none`"),
        (uri("good;id=%09"), 10, "has no private key `good` with the id 09"),
        (uri("twice"), 2, "several private keys `twice`"),
        (uri("asks"), 9, "asks for its PIN at each signature"),
        (uri("p384"), 9, "on no curve that is known here"),
        (uri("rsa"), 9, "on no curve that is known here"),
        (uri("private"), 10, "has no public key object for `private`"),
        (uri("swapped"), 1, "is not that of the private key"),
        (uri("good").replace("token=", "token=another%20"), 10, "there is no token `another acme hsm`"),
        (uri("good").replace(";object", ";serial=00;object"), 10, "with the serial number `00`"),
        (uri("good").replace(";object", ";slot-id=1;object"), 2, "`slot-id` has no meaning there"),
        (module("/nowhere/module.so"), 2, "cannot read the PKCS #11 module `/nowhere/module.so`"),
        (module(not_a_library.to_str().unwrap()), 2, "does not start as a PKCS #11 module"),
        (module("module.so"), 2, "an absolute path"),
    ];
    for (uri, code, expected) in &cases {
        let said = show(&token, uri);
        assert_eq!(said.code, *code, "{uri}: {}", said.err);
        assert!(said.err.contains(expected), "{uri}: `{expected}` is not in {}", said.err);
        assert!(said.err.contains("help:"), "{uri}: no way out in {}", said.err);
        assert!(!said.err.contains(PIN), "{}", said.err);
    }
    // Named by label and id, and by id alone, they are told apart.
    show(&token, &uri("good")).expect(0);
    let both = show(&token, &uri("twice;id=%06")).expect(0).out;
    assert_eq!(show(&token, &uri("").replace("object=", "id=%06")).expect(0).out, both);

    token.initialise(LABEL);
    let said = show(&token, &uri("good")).expect(2);
    assert!(said.err.contains("several tokens are called") && said.err.contains("serial"), "{}", said.err);
}

#[test]
fn a_key_that_the_keyring_does_not_have_is_refused() {
    let Some(token) = Token::new() else { return };
    let home = Home::new();
    generate(&token, "stranger", "ed25519");
    let mut serve = with(&token, home.path());
    serve.env("CHANCERY_RUNTIME_KEY", token.uri("stranger")).env("CHANCERY_PASSWORD", PASSWORD);
    fs::write(home.file("signals.json"), "{}").unwrap();
    let said = run(&mut serve, ["decide", "claim-approval", "--signals", "signals.json"]);
    assert_eq!(said.code, 9, "{}", said.err);
    assert!(said.err.contains("is not good as `runtime`"), "{}", said.err);
}

#[test]
fn a_key_file_given_to_init_is_found_from_the_configurations_folder() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("log")).unwrap();
    run(&mut chancery(folder.path()), ["key", "generate", "mine.key"]).expect(0);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let init = ["init", "--no-input", "--environment", "test", "--config", "log/chancery.toml"];
    let keys = ["--runtime-key", "mine.key"];
    run(chancery(folder.path()).args(init).args(keys), [] as [&str; 0]).expect(0);
    // From its own folder.
    run(&mut chancery(&folder.path().join("log")), ["fsck", "--full"]).expect(0);
}
