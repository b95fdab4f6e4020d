//! `chancery doctor`: each fault provoked on a real log, and named with its fix.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use chancery_tests::build::Production;
use chancery_tests::home::{Home, copy_folder};
use chancery_tests::postgres;
use chancery_tests::program::{Said, chancery, repository, run};
use chancery_tests::server::Server;
use serde_json::Value;

use crate::http::{claim_signals, post};

/// Runs it where no other server of this machine is asked.
fn doctor(home: &Path) -> Said {
    doctor_with(home, &mut |_| {})
}

fn doctor_with(home: &Path, prepare: &mut dyn FnMut(&mut Command)) -> Said {
    let mut command = chancery(home);
    // The port of the discard service: nothing listens there.
    command.env("CHANCERY_OPERATOR_LISTEN", "127.0.0.1:9");
    prepare(&mut command);
    run(&mut command, ["doctor", "--no-input", "-o", "json"])
}

/// The lines that are not fine, as `status check: what → fix`.
fn faults(said: &Said) -> Vec<String> {
    let report = said.json();
    let lines = report["checks"].as_array().unwrap();
    assert!(lines.iter().all(|line| (line["status"] == "ok") == line["fix"].is_null()), "{report:#}");
    // What keeps the clock of the machine that runs this test is not the test's.
    let bad = lines.iter().filter(|line| line["status"] != "ok" && !is_about_keepers(line));
    bad.map(|line| {
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        format!("{} {}: {} → {}", text("status"), text("check"), text("what"), text("fix"))
    })
    .collect()
}

fn is_about_keepers(line: &Value) -> bool {
    line["what"].as_str().unwrap().contains("nothing is seen that keeps it right")
}

#[track_caller]
fn assert_named(said: &Said, code: i32, expected: &[&[&str]]) {
    let faults = faults(said);
    assert_eq!(said.code, code, "{faults:#?}");
    for words in expected {
        let found = faults.iter().any(|fault| words.iter().all(|word| fault.contains(word)));
        assert!(found, "no line with {words:?} in {faults:#?}");
    }
}

fn decided(home: &Home) {
    fs::write(home.file("signals.json"), claim_signals().to_string()).unwrap();
    run(&mut chancery(home.path()), ["decide", "claim-approval", "--signals", "signals.json"]).expect(0);
}

#[test]
fn a_good_log_is_well_without_a_server_and_beside_one() {
    let home = Home::new();
    decided(&home);
    let alone = doctor(home.path());
    assert_eq!(faults(&alone), Vec::<String>::new());
    assert_eq!(alone.code, 0, "{}", alone.err);
    let report = alone.json();
    let checks: Vec<_> = report["checks"].as_array().unwrap().iter().map(|line| &line["check"]).collect();
    for check in [
        "credentials",
        "configuration",
        "disk",
        "keys",
        "password",
        "database",
        "clock",
        "keyring",
        "log",
        "build",
        "vault",
        "server",
    ] {
        assert!(checks.iter().any(|found| *found == check), "{check} is not looked at: {report:#}");
    }
    let server = Server::start(home.path());
    let url = format!("{}/v1/decisions", server.url);
    post(&url, crate::http::claim("claim-2").to_string().as_bytes());
    let operator = server.operator_url.trim_start_matches("http://").to_owned();
    let beside = doctor_with(home.path(), &mut |command| {
        command.env("CHANCERY_OPERATOR_LISTEN", &operator);
    });
    assert_eq!(faults(&beside), Vec::<String>::new());
    assert!(beside.out.contains("is ready"), "{}", beside.out);
    assert!(server.stop().success());
}

#[test]
fn the_text_has_a_line_for_each_check_and_its_fix_below() {
    let home = Home::new();
    fs::remove_file(home.file("state/checkpoint")).unwrap();
    let mut command = chancery(home.path());
    command.env("CHANCERY_OPERATOR_LISTEN", "127.0.0.1:9");
    let said = run(&mut command, ["doctor", "--no-input"]).expect(1);
    let lines: Vec<&str> = said.out.lines().collect();
    let fault = lines.iter().position(|line| line.starts_with("fail  log")).unwrap();
    assert!(lines[fault].contains("is missing and the database has a checkpoint"), "{}", said.out);
    assert!(
        lines[fault + 1].contains("→ bring back") && lines[fault + 1].contains("chancery log adopt"),
        "{}",
        said.out
    );
    assert!(lines.last().unwrap().starts_with("1 to mend"), "{}", said.out);
}

#[test]
fn keys_and_password_files_that_others_can_read_are_named() {
    let home = Home::new();
    let open = |file: &Path, mode| fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    open(&home.file("keys"), 0o755);
    open(&home.file("keys/log.key"), 0o644);
    open(&home.file("keys/root.key"), 0o640);
    assert_named(
        &doctor(home.path()),
        1,
        &[
            &["fail keys", "keys` is open to others (mode 0755)", "chmod"],
            &["fail keys", "log.key` is open to others (mode 0644)", "chmod 600"],
            &["fail keys", "root.key` is open to others (mode 0640)", "chmod 600"],
        ],
    );
    let home = Home::new();
    fs::write(home.file("password"), "test password").unwrap();
    let config = fs::read_to_string(home.file("chancery.toml")).unwrap();
    fs::write(home.file("chancery.toml"), format!("password_file = \"password\"\n{config}")).unwrap();
    open(&home.file("password"), 0o604);
    assert_named(
        &doctor(home.path()),
        1,
        &[
            &["fail password", "is open to others (mode 0604)", "→ chmod 600"],
            &["warn keys", "not looked at"],
        ],
    );
    open(&home.file("password"), 0o600);
    assert_eq!(faults(&doctor(home.path())), Vec::<String>::new());
}

#[test]
fn keys_that_do_not_open_or_are_of_another_log_are_named() {
    let home = Home::new();
    let wrong = doctor_with(home.path(), &mut |command| {
        command.env("CHANCERY_PASSWORD", "another");
    });
    assert_named(
        &wrong,
        1,
        &[
            &["fail keys", "the password does not open", "runtime.key", "password_file"],
            &["fail keys", "the password does not open", "vault.key"],
        ],
    );
    let other = tempfile::tempdir().unwrap();
    let init = ["init", "--no-input", "--environment", "test", "--tenant", "acme"];
    run(&mut chancery(other.path()), init).expect(0);
    for key in ["runtime.key", "vault.key"] {
        fs::copy(other.path().join("keys").join(key), home.file("keys").join(key)).unwrap();
    }
    fs::remove_file(home.file("keys/log.key")).unwrap();
    assert_named(
        &doctor(home.path()),
        1,
        &[
            &["fail keys", "is not good as `runtime`"],
            &["fail keys", "there is no key file", "log.key", "put the key back"],
            &["fail vault", "was not wrapped with this `vault.key`"],
        ],
    );
    fs::copy(other.path().join("trust/root.pub"), home.root_pub()).unwrap();
    assert_named(
        &doctor(home.path()),
        1,
        &[&["fail keyring", "cannot be trusted"], &["warn build", "the keyring comes first"]],
    );
}

#[test]
fn a_memory_that_is_ahead_or_another_logs_is_named() {
    let home = Home::new();
    let older = home.file("older.db");
    fs::copy(home.database(), &older).unwrap();
    decided(&home);
    for left in ["chancery.db-wal", "chancery.db-shm"] {
        let _ = fs::remove_file(home.file(left));
    }
    fs::copy(&older, home.database()).unwrap();
    assert_named(
        &doctor(home.path()),
        1,
        &[&["fail log", "an older database was put", "docs/runbook.md", "The memory is ahead of the log"]],
    );
    fs::write(home.file("state/checkpoint"), "{}").unwrap();
    assert_named(&doctor(home.path()), 1, &[&["fail log", "is damaged", "The checkpoint memory is missing"]]);
}

#[test]
fn a_changed_database_and_none_are_named() {
    let home = Home::new();
    let said = Command::new("sqlite3").arg(home.database()).arg("DROP TRIGGER openings_no_update").status();
    if said.is_ok_and(|status| status.success()) {
        assert_named(
            &doctor(home.path()),
            1,
            &[&["fail database", "the trigger `openings_no_update` is gone", "chancery fsck --full"]],
        );
    }
    fs::write(home.database(), "no database at all, and long enough to have a header of its own to be read")
        .unwrap();
    assert_named(
        &doctor(home.path()),
        1,
        &[
            &["fail database", "is not a Chancery store", "`database` in chancery.toml"],
            &["warn log", "not looked at"],
        ],
    );
    fs::remove_file(home.database()).unwrap();
    assert_named(&doctor(home.path()), 1, &[&["fail database", "there is no store", "docs/runbook.md"]]);
}

#[test]
fn a_wrong_configuration_is_a_line_too() {
    let empty = tempfile::tempdir().unwrap();
    assert_named(&doctor(empty.path()), 1, &[&["fail configuration", "there is no", "chancery demo"]]);
    let home = Home::new();
    let wide = doctor_with(home.path(), &mut |command| {
        command.env("CHANCERY_OPERATOR_LISTEN", "0.0.0.0:9");
    });
    assert_named(&wide, 0, &[&["warn configuration", "can be reached from other machines", "firewall"]]);
    let other = doctor_with(home.path(), &mut |command| {
        command.env("CHANCERY_TENANT", "globex");
    });
    assert_named(&other, 1, &[&["fail database", "the log of `acme`, the configuration says `globex`"]]);
}

#[test]
fn api_keys_that_end_soon_are_named() {
    let home = Home::new();
    let create = |days| {
        let words = ["apikey", "create", "--principal", "claims-core", "--role", "reader", "--expires", days];
        run(&mut chancery(home.path()), words).expect(0);
    };
    create("365d");
    assert_eq!(faults(&doctor(home.path())), Vec::<String>::new());
    create("7d");
    assert_named(
        &doctor(home.path()),
        0,
        &[&["warn credentials", "of `claims-core` (", "days)", "chancery apikey rotate"]],
    );
}

#[test]
fn a_build_that_does_not_hold_or_is_missing_is_named() {
    let home = Production::new();
    let root_only: &[&[&str]] =
        &[&["warn keys", "root.key` lies where the server runs", "Put root.key away"]];
    let good = doctor(home.path());
    assert_named(&good, 0, root_only);
    assert!(good.out.contains("this program is the build of commit"), "{}", good.out);
    fs::write(home.release("sbom.cdx.json"), "{}").unwrap();
    assert_named(&doctor(home.path()), 1, &[&["fail build", "does not hold", "chancery build verify"]]);
    let without = doctor_with(home.path(), &mut |command| {
        command.env("CHANCERY_BUILD", "none");
    });
    assert_named(
        &without,
        1,
        &[&["fail build", "decides only with a verified build", "docs/guides/release.md"]],
    );
}

#[test]
fn a_database_on_a_server_is_looked_at() {
    let Some(url) = postgres::database() else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("policies")).unwrap();
    copy_folder(&repository().join("policies"), &folder.path().join("policies"));
    let init = ["init", "--no-input", "--environment", "test", "--tenant", "acme", "--db", &url];
    run(&mut chancery(folder.path()), init).expect(0);
    let good = doctor(folder.path());
    assert_eq!(faults(&good), Vec::<String>::new());
    for looked in ["version: PostgreSQL", "durability:", "row-level security: forced", "triggers:"] {
        assert!(good.out.contains(looked), "{looked}: {}", good.out);
    }
    postgres::as_superuser(&url, "ALTER TABLE log_entries NO FORCE ROW LEVEL SECURITY");
    postgres::as_superuser(&url, "DROP TRIGGER log_entries_append_only ON log_entries");
    assert_named(
        &doctor(folder.path()),
        1,
        &[
            &["fail database", "row-level security: not forced", "log_entries", "FORCE ROW LEVEL SECURITY"],
            &["fail database", "triggers: gone or disabled", "`log_entries`"],
        ],
    );
}
