//! A production log decides only with the release that was signed; and whoever has its evidence sees which it was.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use chancery_core::digest::Digest;
use chancery_tests::build::{COMMIT, Production, write_release};
use chancery_tests::home::{Home, PASSWORD};
use chancery_tests::program::{Said, chancery, chancery_verify, path, run};
use chancery_tests::server::Server;
use serde_json::Value;

use crate::http::{claim, claim_signals, get, post};

const DECIDE: [&str; 4] = ["decide", "claim-approval", "--signals", "signals.json"];

fn decide(home: &Path) -> Said {
    fs::write(home.join("signals.json"), claim_signals().to_string()).unwrap();
    run(&mut chancery(home), DECIDE)
}

fn size(home: &Path) -> u64 {
    run(&mut chancery(home), ["log", "head", "-o", "json"]).expect(0).json()["size"].as_u64().unwrap()
}

#[test]
fn evidence_of_a_production_log_is_verified_down_to_the_build() {
    let home = Production::new();
    decide(home.path()).expect(0);
    let evidence = home.file("all.evidence.jsonl");
    run(chancery(home.path()).args(["export", "--out"]), [&evidence]).expect(0);
    let root = home.file("trust/root.pub");
    // Nothing is taken out of what is asked.
    let judge = |arguments: &[&str]| {
        run(chancery_verify().arg(&evidence).arg("--root").arg(&root).args(arguments), [] as [&str; 0])
    };
    let report = judge(&["--json"]).expect(0).json();
    let [build] = report["builds"].as_array().unwrap().as_slice() else { panic!("{report}") };
    assert_eq!((build["decisions"].as_u64(), &build["dirty"]), (Some(1), &Value::Bool(false)), "{build}");
    let line = format!("commit {}  program ", build["commit"].as_str().unwrap());
    assert!(judge(&[]).expect(0).out.contains(&line), "{line}");
    let results: Vec<_> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["id"].as_str().unwrap().starts_with("build."))
        .map(|check| check["result"].as_str().unwrap())
        .collect();
    assert_eq!(results, ["pass"; 3], "{report}");

    let identity = Digest::of(&fs::read(home.release("build-identity.json")).unwrap()).to_string();
    let binary = Digest::of(&fs::read(path("chancery")).unwrap()).to_string();
    let list = home.file("revoked");
    for entry in [identity.as_str(), &binary, COMMIT] {
        fs::write(&list, format!("# withdrawn\n{entry}\n")).unwrap();
        let said = judge(&["--revoked-builds", list.to_str().unwrap()]).expect(5);
        assert!(said.out.contains("build.binding") && said.out.contains(entry), "{}", said.out);
        let arguments = [Path::new("--root"), &root, Path::new("--revoked-builds"), &list];
        let same = run(chancery(home.path()).arg("verify").arg(&evidence), arguments).expect(5);
        assert!(same.out.contains("build.binding"), "{}", same.out);
    }
    fs::write(&list, format!("{}\n", "0".repeat(64))).unwrap();
    judge(&["--revoked-builds", list.to_str().unwrap()]).expect(0);
    fs::write(&list, "v1.0.0\n").unwrap();
    for bad in [list.to_str().unwrap(), "no-such-list"] {
        judge(&["--revoked-builds", bad]).expect(2);
        let arguments = ["--root", root.to_str().unwrap(), "--revoked-builds", bad];
        run(chancery(home.path()).arg("verify").arg(&evidence), arguments).expect(2);
    }
    run(&mut chancery(home.path()), ["fsck", "--full"]).expect(0);
}

#[test]
fn a_program_that_is_one_byte_off_does_not_start() {
    let home = Production::new();
    // The release beside its program, where it is looked for where nothing is said.
    let config = fs::read_to_string(home.file("chancery.toml")).unwrap();
    fs::write(home.file("chancery.toml"), config.replace("build = \"release\"\n", "")).unwrap();
    fs::write(home.file("signals.json"), claim_signals().to_string()).unwrap();
    let program = home.release("chancery");
    fs::copy(path("chancery"), &program).unwrap();
    let decide = || {
        let mut command = Command::new(&program);
        command.current_dir(home.path()).env_clear().env("CHANCERY_PASSWORD", PASSWORD).stdin(Stdio::null());
        run(&mut command, DECIDE)
    };
    decide().expect(0);
    let before = size(home.path());
    // A program runs with a byte behind its end as it does without.
    OpenOptions::new().append(true).open(&program).unwrap().write_all(b"!").unwrap();
    let refused = decide().expect(9);
    for part in ["build.binding", "to mend it, install the program"] {
        assert!(refused.err.contains(part), "{}", refused.err);
    }
    assert_eq!(size(home.path()), before);
}

#[test]
fn what_is_off_is_told_all_at_once() {
    let home = Production::new();
    fs::write(home.release("sbom.cdx.json"), "{}").unwrap();
    fs::write(home.release("build-identity.json.sig"), "AAAA").unwrap();
    fs::remove_file(home.release("build-identity.dsse.json")).unwrap();
    let before = size(home.path());
    let said = decide(home.path()).expect(9);
    for part in ["sbom.cdx.json", "build-identity.json.sig", "`build-identity.dsse.json` is missing"] {
        assert!(said.err.contains(part), "{}", said.err);
    }
    assert_eq!(said.err.matches("to mend it").count(), 3, "{}", said.err);
    assert_eq!(size(home.path()), before);
}

#[test]
fn without_a_build_a_production_log_is_administered_and_decides_nothing() {
    let home = Production::new();
    fs::remove_dir_all(home.file("release")).unwrap();
    // A folder that is named has to have them; only `none` says that there are none.
    let said = decide(home.path()).expect(9);
    assert!(said.err.contains("there is no `build-identity.json` in"), "{}", said.err);
    let without = || {
        let mut command = chancery(home.path());
        command.env("CHANCERY_BUILD", "none");
        command
    };
    let said = run(&mut without(), DECIDE).expect(9);
    assert!(
        said.err.contains("verified build") && said.err.contains("`build` in chancery.toml"),
        "{}",
        said.err
    );
    run(&mut chancery(home.path()), ["bundle", "history"]).expect(0);
    run(&mut chancery(home.path()), ["export", "--out", "all.evidence.jsonl"]).expect(0);
    run(&mut chancery(home.path()), ["fsck", "--full"]).expect(0);
    let shown =
        run(&mut chancery(home.path()), ["config", "show", "--origin", "-o", "json"]).expect(0).json();
    let build = shown.as_array().unwrap().iter().find(|setting| setting["key"] == "build").unwrap();
    assert_eq!(build["origin"], "chancery.toml");
}

#[test]
fn a_test_log_is_served_with_a_build_only_if_it_holds() {
    let home = Home::new();
    let release = home.file("release");
    fs::create_dir(&release).unwrap();
    write_release(&release, &path("chancery"), |_| {});
    let refused = run(
        chancery(home.path()).env("CHANCERY_BUILD", "release"),
        ["serve", "--dev", "--listen", "127.0.0.1:0"],
    );
    assert!(refused.code == 9 && refused.err.contains("chancery key enroll"), "{refused:?}");

    fs::remove_file(release.join("build-identity.json")).unwrap();
    for named in ["release", "/nonexistent"] {
        let refused = run(
            chancery(home.path()).env("CHANCERY_BUILD", named),
            ["serve", "--dev", "--listen", "127.0.0.1:0"],
        );
        assert!(refused.code == 9 && refused.err.contains("build-identity.json"), "{refused:?}");
    }

    let server = Server::start(home.path());
    let (status, body) = get(&format!("{}/v1/build", server.url));
    assert_eq!(
        (status, serde_json::from_str::<Value>(&body).unwrap()["code"].as_str()),
        (404, Some("build.none"))
    );
    let (status, _, answer) =
        post(&format!("{}/v1/decisions", server.url), claim("a").to_string().as_bytes());
    assert_eq!(status, 201, "{answer}");
}
