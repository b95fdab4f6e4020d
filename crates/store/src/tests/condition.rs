//! What is found out about a database: nothing on a good one, and each fault by name.

use std::os::unix::fs::PermissionsExt as _;

use super::support::{Fixture, options, sql};
use crate::condition::{Finding, Grade};
use crate::{Location, Store};

fn examine(fixture: &Fixture) -> Vec<Finding> {
    let location = match fixture.postgres_url() {
        Some(url) => Location::Server(Box::new(url)),
        None => Location::File(fixture.path()),
    };
    Store::examine(&location, &fixture.settings().tenant, &options()).unwrap()
}

/// What is not fine, as `what: found`.
fn faults(fixture: &Fixture) -> Vec<(Grade, String)> {
    let bad = examine(fixture).into_iter().filter(|finding| finding.grade != Grade::Fine);
    bad.map(|finding| {
        assert!(!finding.mend.is_empty(), "{finding:?}");
        (finding.grade, format!("{}: {}", finding.what, finding.found))
    })
    .collect()
}

#[track_caller]
fn assert_only(fixture: &Fixture, grade: Grade, words: &[&str]) {
    let faults = faults(fixture);
    assert!(
        faults.len() == words.len()
            && faults.iter().zip(words).all(|((found, text), word)| *found == grade && text.contains(word)),
        "{faults:?} instead of {words:?}"
    );
}

#[test]
fn a_good_file_has_no_faults_beside_the_process_that_writes_it() {
    let fixture = Fixture::new();
    let store = fixture.begun();
    assert_only(&fixture, Grade::Fine, &[]);
    let looked: Vec<_> = examine(&fixture).into_iter().map(|finding| finding.what).collect();
    let expected =
        ["version", "file", "write-ahead log", "journal", "synchronous", "integrity", "migrations", "schema"];
    assert_eq!(looked, expected);
    drop(store);
    assert_only(&fixture, Grade::Fine, &[]);
}

#[test]
fn a_changed_schema_is_named() {
    for (change, grade, words) in [
        ("DROP TRIGGER decisions_no_update", Grade::Broken, "the trigger `decisions_no_update` is gone"),
        (
            "DROP TRIGGER decisions_no_update;
             CREATE TRIGGER decisions_no_update BEFORE UPDATE ON decisions BEGIN SELECT 1; END",
            Grade::Broken,
            "the trigger `decisions_no_update` is not what the migrations make",
        ),
        (
            "CREATE TRIGGER mine AFTER INSERT ON log_entries BEGIN SELECT 1; END",
            Grade::Broken,
            "the trigger `mine` is none of this program's",
        ),
        ("CREATE TABLE notes (x)", Grade::Doubtful, "the table `notes` is none of this program's"),
    ] {
        let fixture = Fixture::new();
        drop(fixture.begun());
        sql(&fixture.path(), change).unwrap();
        assert_only(&fixture, grade, &[words]);
    }
}

#[test]
fn a_file_for_everybody_and_another_journal_are_doubtful() {
    let fixture = Fixture::new();
    drop(fixture.begun());
    std::fs::set_permissions(fixture.path(), std::fs::Permissions::from_mode(0o604)).unwrap();
    sql(&fixture.path(), "PRAGMA journal_mode=DELETE").unwrap();
    assert_only(&fixture, Grade::Doubtful, &["mode 0604", "the journal mode is `delete`"]);
}

#[test]
fn a_damaged_page_is_found() {
    use std::os::unix::fs::FileExt as _;
    let fixture = Fixture::new();
    drop(fixture.begun());
    let file = std::fs::OpenOptions::new().write(true).open(fixture.path()).unwrap();
    // Inside the last page: the schema stays readable.
    let length = file.metadata().unwrap().len();
    file.write_all_at(&[0xff; 64], length - 8_192).unwrap();
    let faults = faults(&fixture);
    assert!(
        faults
            .iter()
            .any(|(grade, text)| *grade == Grade::Broken && text.contains("integrity: the file is damaged")),
        "{faults:?}"
    );
}

/// The writer's connection does not ask the CHECKs; whoever looks for damage does.
#[test]
fn a_row_that_breaks_a_check_is_found() {
    let fixture = Fixture::new();
    drop(fixture.begun());
    let row = "INSERT INTO log_entries SELECT tenant, 2, 10, record_id, leaf_hash, claimed_at, recorded_at, keyid, \
               signature, payload FROM log_entries WHERE log_index = 1";
    assert!(sql(&fixture.path(), row).unwrap_err().contains("CHECK"));
    sql(&fixture.path(), &format!("PRAGMA ignore_check_constraints=ON; {row}")).unwrap();
    assert_only(&fixture, Grade::Broken, &["CHECK constraint failed in log_entries"]);
}

#[test]
fn a_good_database_on_a_server_has_no_faults() {
    let Some(fixture) = Fixture::on_postgres() else { return };
    let _store = fixture.begun();
    assert_only(&fixture, Grade::Fine, &[]);
    let looked: Vec<_> = examine(&fixture).into_iter().map(|finding| finding.what).collect();
    assert_eq!(looked, ["version", "durability", "role", "migrations", "row-level security", "triggers"]);
}

#[test]
fn what_a_server_was_changed_to_is_named() {
    for (change, words) in [
        (
            "ALTER ROLE chancery IN DATABASE {} SET synchronous_commit = off",
            "durability: `synchronous_commit` is `off`",
        ),
        ("ALTER TABLE decisions NO FORCE ROW LEVEL SECURITY", "without a policy, on decisions"),
        ("DROP POLICY own_tenant ON openings", "without a policy, on openings"),
        ("ALTER TABLE overrides DISABLE TRIGGER overrides_append_only", "what keeps `overrides` append-only"),
        ("DROP TRIGGER log_entries_beyond_head ON log_entries", "disabled: `log_entries_beyond_head`"),
    ] {
        let Some(fixture) = Fixture::on_postgres() else { return };
        drop(fixture.begun());
        let url = fixture.url.clone().unwrap();
        let name = url.trim_start_matches("postgres:///").split('?').next().unwrap();
        chancery_tests::postgres::as_superuser(&url, &change.replace("{}", name));
        assert_only(&fixture, Grade::Broken, &[words]);
    }
}
