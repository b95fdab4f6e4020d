//! What the database itself refuses, whoever asks.

use diesel::connection::SimpleConnection as _;
use diesel::sql_types::Text;
use diesel::{Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection};

use super::support::{BEFORE_WRITE_LESS, Fixture, at, check_log, fingerprint, sql};
use crate::database::Connection;
use crate::{DecisionFilter, StoreError};

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

fn names(fixture: &Fixture, query: &str) -> Vec<String> {
    let mut connection = SqliteConnection::establish(fixture.path().to_str().unwrap()).unwrap();
    let rows: Vec<Name> = diesel::sql_query(query).load(&mut connection).unwrap();
    rows.into_iter().map(|row| row.name).collect()
}

fn tables(fixture: &Fixture) -> Vec<String> {
    names(
        fixture,
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
         AND name <> '__diesel_schema_migrations' ORDER BY name",
    )
}

#[test]
fn every_table_leads_with_the_tenant_and_every_unique_key_has_it() {
    let fixture = Fixture::new();
    drop(fixture.create());
    let tables = tables(&fixture);
    assert_eq!(tables.len(), 23, "{tables:?}");
    for table in tables {
        let columns = names(&fixture, &format!("SELECT name FROM pragma_table_info('{table}') ORDER BY cid"));
        assert_eq!(columns[0], "tenant", "{table}");
        let keys = names(&fixture, &format!("SELECT name FROM pragma_index_list('{table}')"));
        for key in keys {
            let columns = names(
                &fixture,
                &format!("SELECT coalesce(name, '') AS name FROM pragma_index_info('{key}') ORDER BY seqno"),
            );
            assert!(columns.iter().any(|column| column == "tenant"), "{table}: {key}");
        }
    }
}

/// A row in every table: a statement whose rows are none fires no trigger.
fn fill(fixture: &Fixture) {
    let hash = "0".repeat(64);
    let begun = fixture.begun();
    begun.submit_blocking(fixture.decision("c-1", "a")).unwrap();
    begun.insert_checkpoint(1, chancery_core::merkle::empty_root(), "note".to_owned(), at(0)).unwrap();
    begun.insert_tenant_key("opening".to_owned(), vec![1], at(0)).unwrap();
    drop(begun);
    let fill = format!(
        "PRAGMA foreign_keys=OFF;
         INSERT INTO log_signatures VALUES ('acme', 0, 1, 'k', x'00');
         INSERT INTO log_tiles VALUES ('acme', 0, 0, '{hash}', zeroblob(8192));
         INSERT INTO build_identities VALUES ('acme', 9, '{hash}', '{hash}', x'00', NULL);
         INSERT INTO overrides VALUES
           ('acme', 9, '{hash}', 'c-1', '{hash}', 'a', 'r', 'reject', NULL, 'r', 'c', 't', 't', '00000000000000000000000000000000');
         INSERT INTO resolutions VALUES ('acme', 9, 'c-1', '{hash}', 'rejected', 'o', 't');
         INSERT INTO verifications VALUES ('acme', 9, 'c-1', '{hash}', 'failed', 1, 0, NULL, 't', 'v');
         INSERT INTO confirmations VALUES ('acme', 9, 'c-1', '{hash}', 'o', 'r', 't', 't', 'b');
         INSERT INTO erasures VALUES ('acme', 1, 'b', NULL, 't', 'r');
         INSERT INTO erasure_subjects VALUES ('acme', 'c-1', 1, 2);
         INSERT INTO api_keys VALUES ('acme', '0123456789abcdef', 'p', 'reader', '{hash}', NULL, 't', 'b', NULL, 't');
         INSERT INTO api_key_revocations VALUES ('acme', '0123456789abcdef', 1, 't', 't', 'b');
         INSERT INTO security_events VALUES
           ('acme', '00000000000000000000000000000000', 'role', 'c', 'r', NULL, NULL, NULL, 't', 't', 1);"
    );
    sql(&fixture.path(), &fill).unwrap();
}

#[test]
fn no_table_lets_a_row_be_changed_deleted_or_replaced() {
    let fixture = Fixture::new();
    fill(&fixture);
    for table in tables(&fixture) {
        let refused = sql(&fixture.path(), &format!("DELETE FROM {table}"));
        assert!(refused.is_err(), "DELETE FROM {table} went through");
        for column in names(&fixture, &format!("SELECT name FROM pragma_table_info('{table}')")) {
            if (table.as_str(), column.as_str()) == ("log_head", "size") {
                continue;
            }
            let refused = sql(&fixture.path(), &format!("UPDATE {table} SET {column} = {column}"));
            assert!(refused.is_err(), "UPDATE {table} SET {column} went through");
        }
        // REPLACE deletes what is in its way: refused, or passed over where an execution id is taken.
        let before = names(
            &fixture,
            &format!("SELECT quote(rowcount) AS name FROM (SELECT count(*) AS rowcount FROM {table})"),
        );
        let replaced = sql(&fixture.path(), &format!("REPLACE INTO {table} SELECT * FROM {table}"));
        assert!(replaced.is_err() || table == "decisions", "REPLACE INTO {table} went through");
        let after = names(
            &fixture,
            &format!("SELECT quote(rowcount) AS name FROM (SELECT count(*) AS rowcount FROM {table})"),
        );
        assert_eq!(before, after, "{table}");
    }
    let taken = "REPLACE INTO decisions SELECT tenant, 77, execution_id, execution_fingerprint, policy_id, \
                 policy_version, bundle_hash, 'deny', execution_state, executed_at, principal, resource, \
                 signals_root, build_identity, labels FROM decisions";
    sql(&fixture.path(), taken).unwrap();
    assert_eq!(names(&fixture, "SELECT outcome AS name FROM decisions"), ["approve"]);
}

#[test]
fn the_head_moves_forward_only_and_entries_begin_at_it() {
    let fixture = Fixture::new();
    drop(fixture.begun());
    for backwards in ["size = 1", "size = 2", "size = 3, tenant = 'other'", "root_hash = chain_hash"] {
        let refused = sql(&fixture.path(), &format!("UPDATE log_head SET {backwards}")).unwrap_err();
        assert!(refused.contains("forward only"), "{backwards}: {refused}");
    }
    let behind = "INSERT INTO log_entries SELECT tenant, 0, kind, record_id, leaf_hash, claimed_at, recorded_at, \
                  keyid, signature, payload FROM log_entries WHERE log_index = 1";
    assert!(sql(&fixture.path(), behind).unwrap_err().contains("beyond the head"));
    let second = "INSERT INTO settings SELECT 'other', log_origin, environment, created_at FROM settings";
    assert!(sql(&fixture.path(), second).unwrap_err().contains("one row"));
    assert_eq!(check_log(&fixture.open()), 2);
}

#[test]
fn the_migrations_can_be_taken_back_while_there_is_nothing() {
    let fixture = Fixture::new();
    drop(fixture.create());
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations/sqlite");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut migrations: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    migrations.sort();
    let run = |path: std::path::PathBuf| {
        sql(&fixture.path(), &std::fs::read_to_string(path).unwrap()).unwrap();
    };
    migrations.iter().rev().for_each(|migration| run(migration.join("down.sql")));
    assert!(tables(&fixture).is_empty());
    migrations.iter().for_each(|migration| run(migration.join("up.sql")));
}

/// Of the log's three tables, whose foreign keys and triggers end the transaction instead of the statement.
#[test]
fn what_is_refused_takes_its_transaction_with_it() {
    let fixture = Fixture::new();
    let begun = fixture.begun();
    begun.submit_blocking(fixture.decision("c-1", "a")).unwrap();
    drop(begun);
    let path = fixture.path();
    // Not `sql`, whose connection goes with the first error and takes the transaction along, whatever was said.
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    let mut run = |sql: &str| connection.batch_execute(sql).map_err(|error| error.to_string());
    run("PRAGMA foreign_keys=ON").unwrap();
    let count = "SELECT CAST(count(*) AS TEXT) AS name FROM checkpoints";
    let hash = "0".repeat(64);
    let begin = format!("BEGIN; INSERT INTO checkpoints VALUES ('acme', 1, '{hash}', x'00', 't')");
    for (refused, why) in [
        ("INSERT INTO log_entries SELECT * FROM log_entries", "beyond the head"),
        ("INSERT OR REPLACE INTO openings SELECT * FROM openings", "has this key"),
    ] {
        run(&begin).unwrap();
        let said = run(refused).unwrap_err();
        assert!(said.contains(why), "{refused}: {said}");
        let said = run("COMMIT").unwrap_err();
        assert!(said.contains("no transaction is active"), "{refused}: {said}");
        assert_eq!(names(&fixture, count), ["0"], "{refused}");
    }
    // What a foreign key asks for may come until the commit.
    for orphan in [
        "INSERT INTO log_entries SELECT 'other', log_index, kind, record_id, leaf_hash, claimed_at, recorded_at, \
         keyid, signature, payload FROM log_entries",
        "INSERT INTO decisions SELECT 'other', log_index, execution_id, execution_fingerprint, policy_id, \
         policy_version, bundle_hash, outcome, execution_state, executed_at, principal, resource, signals_root, \
         build_identity, labels FROM decisions",
        "INSERT INTO openings SELECT tenant, 9, salt, nonce, ciphertext, partial FROM openings",
    ] {
        run(&begin).unwrap();
        run(orphan).unwrap();
        let said = run("COMMIT").unwrap_err();
        assert!(said.contains("FOREIGN KEY"), "{orphan}: {said}");
        run("ROLLBACK").unwrap();
        assert_eq!(names(&fixture, count), ["0"], "{orphan}");
    }
    // CHECKs hold for everybody but the program, which has types.
    let short = format!(
        "INSERT INTO log_entries SELECT tenant, 9, kind, 'short', '{hash}', 't', 't', 'k', x'', x'' FROM log_entries"
    );
    assert!(sql(&path, &short).unwrap_err().contains("CHECK"));
    assert_eq!(check_log(&fixture.open()), 3);
}

#[test]
fn a_file_of_the_schema_before_is_brought_up_to_date() {
    let fixture = Fixture::new();
    let store = fixture.begun();
    store.submit_blocking(fixture.decision("c-1", "a")).unwrap();
    drop(store);
    let schema = "SELECT name || ' ' || coalesce(sql, '') AS name FROM sqlite_schema ORDER BY name";
    let newest = names(&fixture, schema);
    sql(&fixture.path(), BEFORE_WRITE_LESS).unwrap();
    let before = names(&fixture, schema);
    assert!(!before.iter().any(|text| text.contains("DEFERRED")), "{before:?}");
    let store = fixture.open();
    assert_eq!(names(&fixture, schema), newest);
    assert_eq!(newest.iter().filter(|text| text.contains("DEFERRABLE INITIALLY DEFERRED")).count(), 3);
    store.submit_blocking(fixture.decision("c-2", "a")).unwrap();
    let same = DecisionFilter { fingerprint: Some(fingerprint("a")), ..DecisionFilter::default() };
    let found = store.read(|reader| reader.decisions(&same, crate::Order::OldestFirst, None, 10)).unwrap();
    assert_eq!(found.items.iter().map(|item| item.index).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(check_log(&store), 4);
    for check in ["integrity_check", "foreign_key_check"] {
        let said = names(&fixture, &format!("SELECT CAST(count(*) AS TEXT) AS name FROM pragma_{check}"));
        assert_eq!(said, [if check == "integrity_check" { "1" } else { "0" }], "{check}");
    }
    assert_eq!(names(&fixture, "SELECT integrity_check AS name FROM pragma_integrity_check"), ["ok"]);
}

#[test]
fn connections_are_set_to_lose_nothing_and_to_see_damage() {
    fn value(connection: &mut Connection, pragma: &str) -> Result<i64, StoreError> {
        let Connection::Sqlite(connection) = connection else { panic!("not SQLite") };
        let sql = format!("SELECT CAST({pragma} AS INTEGER) AS value FROM pragma_{pragma}");
        crate::connection::number(connection, "test", &sql)
    }
    let fixture = Fixture::new();
    let store = fixture.begun();
    for (pragma, expected) in [
        ("synchronous", 2),
        ("foreign_keys", 1),
        ("secure_delete", 1),
        ("recursive_triggers", 1),
        ("ignore_check_constraints", 1),
    ] {
        let found = store.on_writer(move |connection| value(connection, pragma)).unwrap();
        assert_eq!(found, expected, "{pragma}");
    }
    // Who reads also looks for damage, and a row that breaks a CHECK is some.
    for (pragma, expected) in [("query_only", 1), ("ignore_check_constraints", 0)] {
        let found = store.read(|reader| value(reader.connection, pragma)).unwrap();
        assert_eq!(found, expected, "{pragma}");
    }
    assert_eq!(names(&fixture, "SELECT journal_mode AS name FROM pragma_journal_mode"), ["wal"]);
    assert!(names(&fixture, "SELECT sqlite_version() AS name")[0].starts_with("3.5"));
}
