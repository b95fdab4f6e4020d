//! What a server exports, held against the lists that operators go by: the guide, the dashboard, the alerts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use chancery_tests::home::Home;
use chancery_tests::program::repository;
use chancery_tests::server::Server;
use serde_json::Value;

use crate::http::{claim, get, post};

/// What a server exports that has done a little of everything: name to kind.
fn exported() -> BTreeMap<String, String> {
    let home = Home::new();
    let server = Server::start(home.path());
    assert_eq!(post(&format!("{}/v1/decisions", server.url), claim("c-1").to_string().as_bytes()).0, 201);
    post(&format!("{}/v1/decisions:batch", server.url), format!("{}\n{{}}\n", claim("c-2")).as_bytes());
    assert_eq!(get(&format!("{}/v1/decisions/none", server.url)).0, 404);
    assert_eq!(get(&format!("{}/readyz", server.operator_url)).0, 200);
    let (status, text) = get(&format!("{}/metrics", server.operator_url));
    assert_eq!(status, 200);
    for line in
        ["chancery_redecisions_total{tenant=\"acme\"} 0", "chancery_commits_unknown_total{tenant=\"acme\"} 0"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let kinds = kinds.filter_map(|line| line.split_once(' '));
    let exported: BTreeMap<String, String> = kinds.map(|(name, kind)| (name.into(), kind.into())).collect();
    for name in exported.keys() {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} is not described");
    }
    // Neither ids nor values: the labels are words of the program, of the configuration and of bundles.
    assert!(!text.contains("c-1") && !text.contains("c-2"), "{text}");
    exported
}

/// The rows of the guide's table: name to kind.
fn listed() -> BTreeMap<String, String> {
    let guide = fs::read_to_string(repository().join("docs/guides/operations.md")).unwrap();
    let rows =
        guide.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|row| row.split_once("` | "));
    let rows = rows.filter_map(|(name, rest)| Some((name, rest.split_once(" | ")?.0)));
    rows.filter(|(_, kind)| ["counter", "gauge", "histogram"].contains(kind))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

/// The names of metrics in an expression.
fn named(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    words
        .filter(|word| word.starts_with("chancery_") || word.starts_with("process_"))
        .map(series_of)
        .collect()
}

/// A histogram's series are its buckets, their sum and their count.
fn series_of(name: &str) -> String {
    let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    base.unwrap_or(name).to_owned()
}

#[test]
fn the_guide_the_dashboard_and_the_alerts_name_what_is_exported() {
    let exported = exported();
    assert_eq!(listed(), exported, "docs/guides/operations.md and /metrics");
    let known: BTreeSet<String> = exported.into_keys().collect();

    let dashboard = fs::read_to_string(repository().join("docs/grafana/chancery.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let mut shown = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            shown.extend(named(target["expr"].as_str().unwrap()));
        }
    }
    assert!(shown.is_subset(&known), "the dashboard has {:?}", shown.difference(&known));
    assert!(known.is_subset(&shown), "the dashboard lacks {:?}", known.difference(&shown));
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        assert!(named(&variable["query"].to_string()).is_subset(&known), "{variable}");
    }

    let alerts = fs::read_to_string(repository().join("docs/grafana/alerts.yml")).unwrap();
    let expressions: Vec<_> = alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    assert_eq!(
        expressions.len(),
        alerts.matches("- alert: ").count(),
        "every alert has an expression in one line"
    );
    assert_eq!(expressions.len(), alerts.matches("description: ").count(), "every alert says what to do");
    let alarmed: BTreeSet<String> = expressions.into_iter().flat_map(named).collect();
    assert!(alarmed.is_subset(&known), "the alerts have {:?}", alarmed.difference(&known));
    for needed in [
        "chancery_ready",
        "chancery_checkpoint_lag_seconds",
        "chancery_commits_unknown_total",
        "chancery_expiry_timestamp_seconds",
        "chancery_override_case_oldest_timestamp_seconds",
    ] {
        assert!(alarmed.contains(needed), "no alert on {needed}");
    }
}

/// What Grafana asks of a dashboard: ids once, a place and a data source for each panel, and what it shows.
#[test]
fn the_dashboard_is_one() {
    let text = fs::read_to_string(repository().join("docs/grafana/chancery.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    assert!(
        dashboard["title"].is_string() && dashboard["uid"].is_string() && dashboard["schemaVersion"].is_u64()
    );
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert!(
        variables.iter().any(|one| one["type"] == "datasource" && one["name"] == "datasource"),
        "{variables:?}"
    );
    let (mut ids, mut places) = (BTreeSet::new(), Vec::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        let (x, y, w, h) = (place("x"), place("y"), place("w"), place("h"));
        assert!(x + w <= 24 && w > 0 && h > 0, "{panel}");
        for (left, top, width, height) in &places {
            assert!(
                x + w <= *left || left + width <= x || y + h <= *top || top + height <= y,
                "over another: {panel}"
            );
        }
        places.push((x, y, w, h));
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        let targets = panel["targets"].as_array().unwrap();
        let letters: BTreeSet<_> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert!(!targets.is_empty() && letters.len() == targets.len(), "{panel}");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{target}");
            let expression = target["expr"].as_str().unwrap();
            assert_eq!(expression.matches('(').count(), expression.matches(')').count(), "{expression}");
            assert_eq!(expression.matches('{').count(), expression.matches('}').count(), "{expression}");
        }
    }
}
