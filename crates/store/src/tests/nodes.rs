//! What several nodes on one database rest on: leases, and a schema that is cut by tenant everywhere.

use diesel::RunQueryDsl as _;
use diesel::connection::SimpleConnection as _;
use diesel::sql_types::Text;

use super::support::{Fixture, options};
use crate::connection::Purpose;

const WORK: &str = "checkpoints";

#[test]
fn a_lease_has_one_holder_and_its_fence_grows_with_each() {
    let Some(fixture) = Fixture::on_postgres() else { return };
    let (one, other) = (fixture.begun(), fixture.open());
    assert_eq!(one.hold_lease(WORK, "one", 60_000).unwrap(), Some(1));
    assert_eq!(other.hold_lease(WORK, "other", 60_000).unwrap(), None);
    // Another work is another lease, and renewing is no new term.
    assert_eq!(other.hold_lease("overrides", "other", 60_000).unwrap(), Some(1));
    assert_eq!(one.hold_lease(WORK, "one", 60_000).unwrap(), Some(1));
    // Only its holder gives it back.
    other.release_lease(WORK, "other").unwrap();
    assert_eq!(other.hold_lease(WORK, "other", 60_000).unwrap(), None);
    one.release_lease(WORK, "one").unwrap();
    assert_eq!(other.hold_lease(WORK, "other", 0).unwrap(), Some(2));
    // Its time is over at once: the row says so, by the database's clock.
    assert_eq!(one.hold_lease(WORK, "one", 60_000).unwrap(), Some(3));
    assert_eq!(other.hold_lease(WORK, "other", 60_000).unwrap(), None);
}

#[test]
fn of_many_nodes_that_want_a_lease_one_gets_it() {
    let Some(fixture) = Fixture::on_postgres() else { return };
    drop(fixture.begun());
    let nodes: Vec<_> = (0..4).map(|_| fixture.open()).collect();
    let holders = std::thread::scope(|scope| {
        let asked: Vec<_> = nodes
            .iter()
            .enumerate()
            .map(|(number, node)| {
                scope.spawn(move || node.hold_lease(WORK, &format!("node {number}"), 60_000).unwrap())
            })
            .collect();
        asked.into_iter().filter_map(|asked| asked.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(holders, [1]);
}

#[test]
fn a_file_has_one_process_and_that_holds_every_lease() {
    let store = Fixture::new().begun();
    assert!(!store.is_shared());
    assert_eq!(store.hold_lease(WORK, "one", 0).unwrap(), Some(1));
    store.release_lease(WORK, "one").unwrap();
}

#[test]
fn the_database_refuses_a_fence_that_falls() {
    let Some(fixture) = Fixture::on_postgres() else { return };
    let store = fixture.begun();
    store.hold_lease(WORK, "one", 0).unwrap();
    store.hold_lease(WORK, "other", 60_000).unwrap();
    let url = fixture.postgres_url().unwrap();
    let mut connection =
        url.connect(&fixture.settings().tenant, Purpose::Write, options().patience()).unwrap();
    for (sql, why) in [
        ("UPDATE leases SET fence = 1", "grows with each holder"),
        ("UPDATE leases SET holder = 'one'", "grows with each holder"),
        ("UPDATE leases SET work = 'overrides'", "grows with each holder"),
        ("DELETE FROM leases", "append-only"),
        ("TRUNCATE leases", "append-only"),
    ] {
        let refused = connection.batch_execute(sql).unwrap_err().to_string();
        assert!(refused.contains(why), "{sql}: {refused}");
    }
}

#[derive(diesel::QueryableByName)]
struct Found {
    #[diesel(sql_type = Text)]
    found: String,
}

/// What a distributed PostgreSQL asks of a schema: one column that every table is cut by, in every key. Only the table
/// of migrations is without it, which no connection reads after the start.
#[test]
fn every_table_key_and_reference_leads_with_the_tenant() {
    let Some(fixture) = Fixture::on_postgres() else { return };
    drop(fixture.create());
    let url = fixture.postgres_url().unwrap();
    let mut connection =
        url.connect(&fixture.settings().tenant, Purpose::Read, options().patience()).unwrap();
    let mut found = |sql: &str| -> Vec<String> {
        let rows: Vec<Found> = diesel::sql_query(sql).load(&mut connection).unwrap();
        rows.into_iter().map(|row| row.found).collect()
    };
    let ours = "c.relnamespace = 'public'::regnamespace AND c.relname <> '__diesel_schema_migrations'";
    let tables =
        found(&format!("SELECT relname::text AS found FROM pg_class c WHERE relkind = 'r' AND {ours}"));
    assert!(tables.len() > 20, "{tables:?}");
    let none: [(&str, String); 5] = [
        (
            "a table whose first column is another",
            format!(
                "SELECT relname::text AS found FROM pg_class c WHERE relkind = 'r' AND {ours} AND NOT EXISTS ( \
                 SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND attnum = 1 AND attname = 'tenant')"
            ),
        ),
        (
            "a table without a primary key",
            format!(
                "SELECT relname::text AS found FROM pg_class c WHERE relkind = 'r' AND {ours} AND NOT EXISTS ( \
                 SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND indisprimary)"
            ),
        ),
        (
            "an index, unique or not, that leads with another column",
            format!(
                "SELECT indexrelid::regclass::text AS found FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
                 WHERE {ours} AND indkey[0] <> 1"
            ),
        ),
        (
            "a reference that is not from tenant to tenant",
            format!(
                "SELECT conname::text AS found FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid \
                 WHERE contype = 'f' AND {ours} AND (conkey[1] <> 1 OR confkey[1] <> 1)"
            ),
        ),
        (
            "a table whose rows another tenant could see, its owner included",
            format!(
                "SELECT relname::text AS found FROM pg_class c WHERE relkind = 'r' AND {ours} AND NOT EXISTS ( \
                 SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND c.relrowsecurity AND c.relforcerowsecurity)"
            ),
        ),
    ];
    for (what, sql) in none {
        assert_eq!(found(&sql), [""; 0], "{what}");
    }
    let sequences =
        found(&format!("SELECT relname::text AS found FROM pg_class c WHERE relkind = 'S' AND {ours}"));
    assert_eq!(sequences, [""; 0], "a number that all tenants share");
}
