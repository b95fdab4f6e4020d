//! What only PostgreSQL has: several nodes, several tenants, connections that are lost, a server that must be trusted.

use std::sync::Arc;

use chancery_tests::between::Between;
use diesel::RunQueryDsl as _;
use diesel::connection::SimpleConnection as _;
use diesel::sql_types::{BigInt, Text};

use super::support::{Fixture, bundle, check_log, options};
use crate::connection::Purpose;
use crate::database::SqlText;
use crate::{Appended, Class, OnStep, Options, Rejected, Settings, Step, Store, StoreError, SubmitError};

#[test]
fn the_migrations_of_both_databases_have_the_same_names() {
    let names = |database: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations/");
        let entries = std::fs::read_dir(format!("{folder}{database}")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names("sqlite"), names("postgres"));
}

#[test]
fn two_nodes_make_one_log_without_gaps() {
    let Some(fixture) = Fixture::on_postgres() else { return };
    let nodes = [fixture.begun(), fixture.open()];
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (node, fixture) = (&nodes[thread % 2], &fixture);
            scope.spawn(move || {
                for number in 0..40 {
                    // Every id is sent by two threads, which are on the two nodes.
                    let id = format!("e-{}-{number}", thread / 2);
                    node.submit_blocking(fixture.decision(&id, &id)).unwrap();
                }
            });
        }
    });
    for node in &nodes {
        assert_eq!(check_log(node), 2 + 4 * 40);
    }
}

#[test]
fn what_one_node_puts_in_force_rules_the_others_decisions() {
    let Some(fixture) = Fixture::on_postgres() else { return };
    let (one, other) = (fixture.begun(), fixture.open());
    other.submit_blocking(fixture.decision("e-1", "a")).unwrap();
    one.submit_blocking(fixture.activation("1.1.0", Some("1.0.0"))).unwrap();
    let refused = other.submit_blocking(fixture.decision("e-2", "a")).unwrap_err();
    assert!(matches!(refused, SubmitError::Rejected(Rejected::Stale { .. })), "{refused:?}");
    let hash = bundle("1.1.0").bundle_hash;
    let decision = fixture.decision_by("e-2", "a", |row| {
        row.policy_version = "1.1.0".parse().unwrap();
        row.bundle_hash = hash;
    });
    assert_eq!(other.submit_blocking(decision).unwrap().index(), 4);
    let repeat = one.submit_blocking(fixture.decision("e-1", "a")).unwrap();
    assert!(matches!(repeat, Appended::Known(_)), "{repeat:?}");
}

#[test]
fn what_a_batch_looks_up_is_planned_for_the_tables_as_they_are() {
    #[derive(diesel::QueryableByName)]
    struct Prepared {
        #[diesel(sql_type = Text)]
        statement: String,
        #[diesel(sql_type = BigInt)]
        kept: i64,
    }
    let Some(fixture) = Fixture::on_postgres() else { return };
    let store = fixture.begun();
    // Five times are enough for the server to keep a plan.
    for number in 0..7 {
        store.submit_blocking(fixture.decision(&format!("e-{number}"), "a")).unwrap();
        let repeat = store.submit_blocking(fixture.decision("e-0", "a")).unwrap();
        assert!(matches!(repeat, Appended::Known(_)), "{repeat:?}");
    }
    let ask = |sql: &'static str| {
        let sql = SqlText { sql: sql.to_owned(), values: Vec::new() };
        store.on_writer(move |connection| Ok(sql.load::<Prepared>(connection).unwrap())).unwrap()
    };
    let prepared = ask("SELECT statement, generic_plans AS kept FROM pg_prepared_statements");
    let kept = |part: &str| {
        let found = prepared.iter().filter(|it| it.statement.contains(part)).map(|it| it.kept);
        found.collect::<Vec<_>>()
    };
    // The answer to a repeat is found by two of them.
    assert_eq!(kept(r#""decisions"."execution_id" = $"#), [0, 0]);
    // What every batch runs goes on as before.
    assert!(kept("WITH decided AS").iter().sum::<i64>() > 0);
    let mode = ask("SELECT current_setting('plan_cache_mode') AS statement, 0::bigint AS kept");
    assert_eq!(mode[0].statement, "auto");
}

#[test]
fn a_batch_whose_connection_is_lost_is_looked_up_and_written_once() {
    for step in [Step::Begun, Step::RowInserted, Step::HeadMoved] {
        let Some(fixture) = Fixture::on_postgres() else { return };
        drop(fixture.begun());
        let url = fixture.url.clone().unwrap();
        let lost = std::sync::atomic::AtomicBool::new(false);
        let store = fixture.open_with(move |at| {
            if at == step && !lost.swap(true, std::sync::atomic::Ordering::Relaxed) {
                chancery_tests::postgres::disconnect(&url);
            }
            OnStep::Go
        });
        let appended = store.submit_blocking(fixture.decision("e-1", "a")).unwrap();
        assert!(matches!(appended, Appended::New { index: 2, .. }), "{step:?}: {appended:?}");
        assert_eq!(check_log(&store), 3);
    }
}

#[test]
fn a_batch_that_was_committed_though_nobody_heard_is_answered_for() {
    let Some(fixture) = Fixture::on_postgres() else { return };
    let store = fixture.begun();
    let entries = [fixture.decision("e-1", "a"), fixture.decision("e-2", "a")];
    for entry in entries.clone() {
        store.submit_blocking(entry).unwrap();
    }
    // What a writer does that has lost the answer: the log is asked for the records by their ids.
    let tenant = fixture.settings().tenant;
    let found = store
        .on_writer(move |connection| {
            crate::read::recorded_since(connection, &tenant, 2, entries.iter().map(|entry| entry.record_id))
        })
        .unwrap();
    let mut indexes: Vec<u64> = found.values().map(Appended::index).collect();
    indexes.sort_unstable();
    assert_eq!(indexes, [2, 3]);
}

#[test]
fn tenants_do_not_see_each_other() {
    let Some(fixture) = Fixture::on_postgres() else { return };
    let store = fixture.begun();
    store.submit_blocking(fixture.decision("e-1", "a")).unwrap();
    let url = fixture.postgres_url().unwrap();
    let other = Settings { tenant: "other".parse().unwrap(), ..fixture.settings() };
    let beside = Store::create_postgres(&url, &other, options()).unwrap();
    assert_eq!(check_log(&beside), 0);
    assert_eq!(check_log(&store), 3);

    #[derive(diesel::QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let mut connection = url.connect(&other.tenant, Purpose::Write, options().patience()).unwrap();
    for table in
        ["settings", "log_entries", "decisions", "openings", "keyrings", "log_head", "audit_decisions"]
    {
        let rows: Count =
            diesel::sql_query(format!("SELECT count(*) AS count FROM {table} WHERE tenant = $1"))
                .bind::<Text, _>("acme")
                .get_result(&mut connection)
                .unwrap();
        assert_eq!(rows.count, 0, "{table}");
    }
    let foreign = connection
        .batch_execute("INSERT INTO log_head VALUES ('acme', 0, repeat('0', 64), repeat('0', 64), '', NULL)");
    assert!(foreign.unwrap_err().to_string().contains("row-level security"));
    let again = Store::create_postgres(&url, &other, options()).err().unwrap();
    assert!(matches!(again, StoreError::AlreadyInitialised { .. }), "{again:?}");
    let missing = Store::open_postgres(&url, &"third".parse().unwrap(), options()).err().unwrap();
    assert!(matches!(missing, StoreError::NotThere { .. }), "{missing:?}");
}

#[test]
fn nothing_is_ever_changed() {
    let Some(fixture) = Fixture::on_postgres() else { return };
    let store = fixture.begun();
    store.submit_blocking(fixture.decision("e-1", "a")).unwrap();
    let url = fixture.postgres_url().unwrap();
    let mut connection =
        url.connect(&fixture.settings().tenant, Purpose::Write, options().patience()).unwrap();
    for sql in [
        "UPDATE log_entries SET payload = ''",
        "DELETE FROM log_entries",
        "TRUNCATE log_entries",
        "UPDATE decisions SET outcome = 'deny'",
        "DELETE FROM decisions",
        "UPDATE openings SET partial = true",
        "DELETE FROM openings",
        "TRUNCATE openings",
        "UPDATE log_head SET size = size - 1",
        "UPDATE log_head SET size = size",
        "DELETE FROM log_head",
        "DELETE FROM settings",
        "UPDATE bundles SET sum = ''",
        "UPDATE keyrings SET expires_at = ''",
        "UPDATE activations SET reason = ''",
        "UPDATE api_keys SET roles = 'operator'",
        "DELETE FROM api_key_revocations",
        "TRUNCATE security_events",
        "INSERT INTO log_entries SELECT tenant, 1, kind, record_id, leaf_hash, claimed_at, recorded_at, keyid, \
         signature, payload FROM log_entries WHERE log_index = 2 ON CONFLICT DO NOTHING; \
         INSERT INTO decisions SELECT tenant, 0, 'e-9', execution_fingerprint, policy_id, policy_version, bundle_hash, \
         outcome, execution_state, executed_at, principal, resource, signals_root, build_identity, labels \
         FROM decisions",
    ] {
        let refused = connection.batch_execute(sql).unwrap_err().to_string();
        assert!(
            ["append-only", "cannot truncate", "forward only", "beyond the head", "logged in the same"]
                .iter()
                .any(|why| refused.contains(why)),
            "{sql}: {refused}"
        );
    }
    assert_eq!(check_log(&store), 3);
}

#[test]
fn a_server_that_loses_what_it_committed_is_refused_and_so_is_a_role_that_sees_every_tenant() {
    let Some(fixture) = Fixture::on_postgres() else { return };
    drop(fixture.begun());
    let url = fixture.url.clone().unwrap();
    let refused = |fixture: &Fixture| {
        let error = fixture.try_open(options()).err().unwrap();
        std::error::Error::source(&error).unwrap().to_string()
    };
    let superuser = Fixture { url: Some(url.replace("user=chancery", "user=postgres")), ..Fixture::new() };
    assert!(refused(&superuser).contains("`postgres`"), "{}", refused(&superuser));
    let name = url.trim_start_matches("postgres:///").split('?').next().unwrap();
    chancery_tests::postgres::as_superuser(
        &url,
        &format!("ALTER DATABASE {name} SET synchronous_commit = off"),
    );
    assert!(refused(&fixture).contains("`synchronous_commit` is `off`"), "{}", refused(&fixture));
}

#[test]
fn a_snapshot_does_not_see_what_comes_later() {
    let Some(fixture) = Fixture::on_postgres() else { return };
    let store = Arc::new(fixture.begun());
    let snapshot = store.snapshot().unwrap();
    store.submit_blocking(fixture.decision("e-1", "a")).unwrap();
    assert_eq!(snapshot.head().size, 2);
    assert_eq!(snapshot.read(|reader| reader.head()).unwrap().size, 2);
    assert_eq!(snapshot.entries(0..u64::MAX).count(), 2);
    assert!(snapshot.read(|reader| reader.decision(&"e-1".parse().unwrap())).unwrap().is_none());
    assert_eq!(store.read(|reader| reader.head()).unwrap().size, 3);
}

#[test]
fn a_server_that_hangs_is_waited_for_no_longer_than_is_said() {
    let Some(fixture) = Fixture::on_postgres() else { return };
    let beside = fixture.begun();
    let between = Between::new(fixture.url.as_ref().unwrap());
    let options = Options { answer_timeout_ms: 1_000, read_connections: 1, ..options() };
    let store =
        Store::open_postgres(&between.url().parse().unwrap(), &fixture.settings().tenant, options).unwrap();
    store.submit_blocking(fixture.decision("e-1", "a")).unwrap();
    between.hang(true);
    // With what was open, with a new connection, and while another one waits for the only place.
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let error = store.read(|reader| reader.head()).unwrap_err();
                assert_eq!(error.class(), Class::Unavailable, "{error}");
            });
        }
    });
    let failed = store.submit_blocking(fixture.decision("e-2", "a")).unwrap_err();
    assert!(
        matches!(&failed, SubmitError::Store(error) if error.class() == Class::Unavailable),
        "{failed:?}"
    );
    between.hang(false);
    // Nobody has to start anything anew.
    assert_eq!(store.read(|reader| reader.head()).unwrap().size, 3);
    assert_eq!(store.submit_blocking(fixture.decision("e-2", "a")).unwrap().index(), 3);
    assert_eq!(check_log(&beside), 4);
}
