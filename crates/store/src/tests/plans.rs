//! Which index a query takes, as SQLite plans it; what it finds is the same on both databases.

use diesel::QueryableByName;
use diesel::sql_types::Text;

use chancery_core::statement::{ExecutionState, ResolutionStatus};

use super::support::{BEFORE_WRITE_LESS, Fixture, at, fingerprint, on_each_database, options, sql};
use crate::database::SqlText;
use crate::read::Reader;
use crate::{Cursor, DecisionFilter, Order, Store};

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    detail: String,
}

/// What SQLite does for a page of a list.
fn plan(store: &Store, filter: &DecisionFilter, order: Order, after: Option<Cursor>) -> Vec<String> {
    explain(store, |reader| reader.page_query(filter, order, after, 10).unwrap())
}

fn explain(store: &Store, query: impl FnOnce(&mut Reader<'_>) -> SqlText) -> Vec<String> {
    let steps = store.read(|reader| {
        let SqlText { sql, values } = query(reader);
        let explained = SqlText { sql: format!("EXPLAIN QUERY PLAN {sql}"), values };
        Ok(explained.load::<Step>(reader.connection).unwrap())
    });
    steps.unwrap().into_iter().map(|step| step.detail).collect()
}

/// 40 decisions, two seconds apart, on four resources, each with its own fingerprint but for every tenth.
fn forty(fixture: &Fixture) -> Store {
    let store = fixture.begun();
    for number in 0..40 {
        let inputs = if number % 10 == 0 { "same".to_owned() } else { number.to_string() };
        let mut entry = fixture.decision_by(&format!("c-{number}"), &inputs, |decision| {
            decision.resource = format!("Claim::\"r-{}\"", number % 4).parse().unwrap();
        });
        entry.claimed_at = at(number * 2);
        store.submit_blocking(entry).unwrap();
    }
    store
}

#[test]
fn lists_that_people_wait_for_are_found_by_an_index() {
    let fixture = Fixture::new();
    let store = forty(&fixture);
    let all = DecisionFilter::default();
    let resource = DecisionFilter { resource: Some("Claim::\"r-1\"".parse().unwrap()), ..all.clone() };
    let same = DecisionFilter { fingerprint: Some(fingerprint("same")), ..all.clone() };
    let times = DecisionFilter { from: Some(at(10)), to: Some(at(20)), ..all.clone() };
    let cursor = Some(Cursor::after(30));
    for (filter, after, expected) in [
        (
            &resource,
            cursor,
            "SEARCH d USING INDEX decisions_by_resource (tenant=? AND resource=? AND log_index<?)",
        ),
        (&same, None, "SEARCH d USING PRIMARY KEY (tenant=? AND log_index=?)"),
        (&same, cursor, "SEARCH d USING PRIMARY KEY (tenant=? AND log_index=?)"),
        (&times, None, "SEARCH d USING PRIMARY KEY (tenant=? AND log_index>? AND log_index<?)"),
        (&times, cursor, "SEARCH d USING PRIMARY KEY (tenant=? AND log_index>? AND log_index<?)"),
    ] {
        let steps = plan(&store, filter, Order::NewestFirst, after);
        assert_eq!(steps[0], expected, "{steps:?}");
        let scans = steps.iter().filter(|step| step.starts_with("SCAN d") || step.contains("ORDER BY"));
        assert_eq!(scans.count(), 0, "{steps:?}");
        let by_parts = steps.iter().any(|step| {
            step.starts_with("SEARCH f USING COVERING INDEX decisions_by_fingerprint")
                && step.contains("(tenant=? AND <expr>=? AND execution_fingerprint=?")
        });
        assert_eq!(by_parts, filter.fingerprint.is_some(), "{steps:?}");
    }
}

#[test]
fn in_a_file_of_the_schema_before_a_fingerprint_takes_one_reading_of_the_decisions() {
    let fixture = Fixture::new();
    drop(forty(&fixture));
    sql(&fixture.path(), BEFORE_WRITE_LESS).unwrap();
    let store = Store::open_reading(&fixture.path(), &options()).unwrap();
    let same = DecisionFilter { fingerprint: Some(fingerprint("same")), ..DecisionFilter::default() };
    let steps = plan(&store, &same, Order::NewestFirst, None);
    let part = "SEARCH f USING PRIMARY KEY (tenant=? AND log_index>? AND log_index<?)";
    assert!(steps.iter().any(|step| step == part), "{steps:?}");
    let found = store.read(|reader| reader.decisions(&same, Order::OldestFirst, None, 10)).unwrap();
    assert_eq!(found.items.iter().map(|item| item.index).collect::<Vec<_>>(), [2, 12, 22, 32]);
}

/// The index of open cases is partial: a query has to say so in the index's own words.
#[test]
fn what_was_left_to_approvers_is_found_by_its_index() {
    let fixture = Fixture::new();
    let store = forty(&fixture);
    let all = DecisionFilter::default();
    let state = |state| DecisionFilter { state: Some(state), ..all.clone() };
    let resolved = DecisionFilter { resolution: Some(ResolutionStatus::Expired), ..all.clone() };
    let by = "SEARCH d USING INDEX decisions_open_cases (tenant=? AND execution_state=?";
    for (filter, order, after) in [
        (state(ExecutionState::PendingOverride), Order::NewestFirst, None),
        (state(ExecutionState::PendingOverride), Order::OldestFirst, None),
        (state(ExecutionState::PendingOverride), Order::OldestFirst, Some(Cursor::after(7))),
        (state(ExecutionState::Blocked), Order::NewestFirst, None),
        (resolved.clone(), Order::NewestFirst, None),
        (resolved, Order::NewestFirst, Some(Cursor::after(30))),
    ] {
        let steps = plan(&store, &filter, order, after);
        assert!(steps[0].starts_with(by), "{steps:?}");
        assert_eq!(steps[0].contains("log_index"), after.is_some(), "{steps:?}");
        assert!(!steps.iter().any(|step| step.contains("ORDER BY") || step.starts_with("SCAN")), "{steps:?}");
    }
    // A resource has fewer decisions than approvers were ever left.
    for state in [ExecutionState::PendingOverride, ExecutionState::Blocked] {
        let resource = Some("Claim::\"r-1\"".parse().unwrap());
        let filter = DecisionFilter { resource, state: Some(state), ..all.clone() };
        let steps = plan(&store, &filter, Order::NewestFirst, None);
        assert!(steps[0].starts_with("SEARCH d USING INDEX decisions_by_resource"), "{steps:?}");
    }
    let counted = explain(&store, |reader| reader.open_cases_query(7));
    assert_eq!(counted[0], format!("{by} AND log_index>?)"), "{counted:?}");
}

fn what_an_index_finds_is_what_the_filter_says(fixture: Fixture) {
    let store = forty(&fixture);
    let all = DecisionFilter::default();
    let ids = |filter: &DecisionFilter, order, after| {
        let page = store.read(|reader| reader.decisions(filter, order, after, 100)).unwrap();
        page.items.iter().map(|item| item.index - 2).collect::<Vec<_>>()
    };
    let same = DecisionFilter { fingerprint: Some(fingerprint("same")), ..all.clone() };
    assert_eq!(ids(&same, Order::OldestFirst, None), [0, 10, 20, 30]);
    assert_eq!(ids(&same, Order::NewestFirst, Some(Cursor::after(22))), [10, 0]);
    let resource = DecisionFilter { resource: Some("Claim::\"r-1\"".parse().unwrap()), ..all.clone() };
    assert_eq!(ids(&resource, Order::NewestFirst, Some(Cursor::after(15))), [9, 5, 1]);
    let other = DecisionFilter { resource: Some("Claim::\"r-9\"".parse().unwrap()), ..all };
    assert!(ids(&other, Order::NewestFirst, None).is_empty());
}

/// Clocks that run back by what the writer still takes, and every way to cut the times.
fn a_time_is_found_where_clocks_ran_back(fixture: Fixture) {
    let store = fixture.begun();
    let seconds: Vec<i64> =
        (0..30).map(|step| 100 * step - if step % 3 == 1 { 0 } else { step % 30 }).collect();
    let mut newest = 0;
    let mut logged = Vec::new();
    for (number, second) in (0_i64..).zip(seconds) {
        // Every fourth is as far back as it may be.
        let second = if number % 4 == 3 { newest - 30 } else { second };
        newest = newest.max(second);
        let id = format!("c-{number}");
        let mut entry = fixture.decision(&id, &id);
        entry.claimed_at = at(second);
        store.submit_blocking(entry).unwrap();
        logged.push(second);
    }
    for from in (-100..3_100).step_by(70) {
        for to in [from, from + 1, from + 65, from + 900] {
            let filter =
                DecisionFilter { from: Some(at(from)), to: Some(at(to)), ..DecisionFilter::default() };
            let page = store.read(|reader| reader.decisions(&filter, Order::OldestFirst, None, 100)).unwrap();
            let found: Vec<_> = page.items.iter().map(|item| item.executed_at).collect();
            let expected: Vec<_> = logged
                .iter()
                .filter(|second| (from..to).contains(*second))
                .map(|second| at(*second))
                .collect();
            assert_eq!(found, expected, "{from} {to}");
            let stats = store.read(|reader| reader.stats(&filter)).unwrap();
            assert_eq!(stats.total(), u64::try_from(expected.len()).unwrap());
        }
    }
}

on_each_database!(what_an_index_finds_is_what_the_filter_says, a_time_is_found_where_clocks_ran_back);
