//! `GET /v1/decisions:export`: evidence for auditors, and lists for spreadsheets.
//!
//! An evidence file is written while it is sent, from one snapshot. Where anything fails in the middle the
//! connection is cut, and a file without its trailer is no evidence anyway.

use std::io::Write;

use axum::response::Response;
use chancery_core::evidence::Filter;
use chancery_core::ids::ExecutionId;
use chancery_runtime::Runtime;
use chancery_runtime::export::{Disclosure, ExportRequest, Selection};
use chancery_runtime::records::{DecisionFilter, ListedDecision, Order};

use super::access::{Identity, Tenant};
use super::error::Problem;
use super::list::{LIMIT_MAX, filter};
use super::parameters::Query;
use super::schema;
use super::stream::{self, Form, Sink};

/// Export decisions.
///
/// `evidence` is a file that `chancery-verify` judges: the whole log where nothing is said, a range of log indexes
/// (`from_index`, `to_index`, the last exclusive), or what a filter chooses (`policy`, `version`, `outcome`, `state`,
/// `from`, `to`, `execution_id`); a range and a filter do not go together, and `principal`, `fingerprint` and `label.*`
/// are refused. `ndjson` and `csv` are lists of decisions with the filters of `GET /v1/decisions` and `execution_id`;
/// they take no range and no disclosure.
#[utoipa::path(
    get, path = "/v1/decisions:export", operation_id = "exportDecisions", tag = "decisions",
    params(
        schema::Filter,
        ("format" = Option<String>, Query, description = "`evidence` (default), `ndjson` or `csv`"),
        ("from_index" = Option<u64>, Query, description = "Evidence: the first log index"),
        ("to_index" = Option<u64>, Query, description = "Evidence: the log index after the last"),
        ("execution_id" = Option<Vec<String>>, Query, description = "These executions; may be repeated"),
        ("disclosure" = Option<String>, Query, description = "Evidence: `full` (default), `partial` or `none`"),
        ("hide" = Option<Vec<String>>, Query, description = "With `partial`: signals that are not disclosed"),
    ),
    responses(
        (status = 200, description = "The file; broken off where it cannot be finished", content(
            (String = "application/x-ndjson"), (String = "text/csv"),
        )),
    )
)]
pub(super) async fn export(tenant: Tenant, _: Identity, mut query: Query) -> Result<Response, Problem> {
    let format = query.text("format");
    match format.as_deref().unwrap_or("evidence") {
        "evidence" => {
            let request =
                ExportRequest { selection: selection(&mut query), disclosure: disclosure(&mut query) };
            query.finish()?;
            let name = format!("{}.evidence.jsonl", tenant.runtime().settings().tenant);
            evidence(&tenant, request, name).await
        }
        "ndjson" => {
            let filter = listed(&mut query);
            query.finish()?;
            let form = Form {
                kind: "export",
                content_type: "application/x-ndjson",
                file_name: Some("decisions.ndjson".to_owned()),
            };
            stream::answer(&tenant, form, move |runtime, sink| ndjson(runtime, &filter, sink)).await
        }
        "csv" => {
            let filter = listed(&mut query);
            query.finish()?;
            let form = Form {
                kind: "export",
                content_type: "text/csv; charset=utf-8; header=present",
                file_name: Some("decisions.csv".to_owned()),
            };
            stream::answer(&tenant, form, move |runtime, sink| csv(runtime, &filter, sink)).await
        }
        _ => {
            query.fault("format", "`evidence`, `ndjson` or `csv`", "something else".to_owned());
            query.finish().and(Err(Problem::internal()))
        }
    }
}

/// Answers with an evidence file.
pub(super) async fn evidence(
    tenant: &Tenant,
    request: ExportRequest,
    name: String,
) -> Result<Response, Problem> {
    let form = Form { kind: "export", content_type: "application/x-ndjson", file_name: Some(name) };
    stream::answer(tenant, form, move |runtime, sink| {
        // What is refused is refused here, before a byte is written.
        let export = runtime.begin_export(&request)?;
        match export.write(&mut *sink, |_| {}) {
            Ok(_) => Ok(()),
            Err(_) if sink.is_gone() => Err(gone()),
            Err(error) => Err(error.into()),
        }
    })
    .await
}

/// Nobody reads this; it only ends the work.
fn gone() -> Problem {
    Problem::new(axum::http::StatusCode::REQUEST_TIMEOUT, "client.gone", "the client does not read any more")
}

/// How much of the inputs the parameters say to disclose.
pub(super) fn disclosure(query: &mut Query) -> Disclosure {
    let (word, hidden) = (query.text("disclosure"), query.all("hide"));
    match word.as_deref().unwrap_or("full") {
        "partial" if hidden.is_empty() => {
            query.fault("hide", "the name of a signal, where disclosure is partial", "nothing".to_owned());
            Disclosure::None
        }
        "partial" => Disclosure::Partial { hidden },
        "full" | "none" if !hidden.is_empty() => {
            query.fault("hide", "absent, where disclosure is not partial", "a name".to_owned());
            Disclosure::None
        }
        "full" => Disclosure::Full,
        "none" => Disclosure::None,
        _ => {
            query.fault("disclosure", "`full`, `partial` or `none`", "something else".to_owned());
            Disclosure::None
        }
    }
}

/// Which entries the parameters say to export.
fn selection(query: &mut Query) -> Selection {
    let from: Option<u64> = query.parsed("from_index", "a log index");
    let to: Option<u64> = query.parsed("to_index", "a log index");
    let ids = execution_ids(query);
    let chosen = filter(query);
    if chosen.principal.is_some() || chosen.fingerprint.is_some() || !chosen.labels.is_empty() {
        let expected = "absent for evidence, as `fingerprint` and `label.*` have to be";
        query.fault("principal", expected, "one of them".to_owned());
    }
    let filter = Filter {
        execution_ids: Some(ids).filter(|ids| !ids.is_empty()),
        from: chosen.from,
        outcome: chosen.outcome,
        policy: chosen.policy,
        state: chosen.state.map(|state| state.as_str().to_owned()),
        to: chosen.to,
        version: chosen.version,
    };
    let is_range = from.is_some() || to.is_some();
    if is_range && !filter.is_empty() {
        query.fault("from_index", "absent where decisions are filtered", "both".to_owned());
    }
    if !filter.is_empty() {
        Selection::Filter(filter)
    } else if is_range {
        Selection::Range { from: from.unwrap_or(0), to }
    } else {
        Selection::Complete
    }
}

fn execution_ids(query: &mut Query) -> Vec<ExecutionId> {
    let given = query.all("execution_id");
    let ids: Vec<ExecutionId> = given.iter().filter_map(|id| id.parse().ok()).collect();
    if ids.len() < given.len() {
        let found = format!("{} that cannot be one", given.len() - ids.len());
        query.fault("execution_id", "an execution id", found);
    }
    ids
}

fn listed(query: &mut Query) -> DecisionFilter {
    DecisionFilter { execution_ids: execution_ids(query), ..filter(query) }
}

/// Every decision that a filter means, the oldest first, a page at a time.
fn each(
    runtime: &Runtime,
    filter: &DecisionFilter,
    mut work: impl FnMut(&ListedDecision) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let records = runtime.records();
    let mut after = None;
    loop {
        let page = records.list(filter, Order::OldestFirst, after.as_deref(), LIMIT_MAX)?;
        page.items.iter().try_for_each(&mut work)?;
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

fn ndjson(runtime: &Runtime, filter: &DecisionFilter, sink: &mut Sink) -> Result<(), Problem> {
    each(runtime, filter, |decision| {
        serde_json::to_writer(&mut *sink, decision).map_err(|_| gone())?;
        sink.write_all(b"\n").map_err(|_| gone())
    })
}

const COLUMNS: [&str; 17] = [
    "index",
    "execution_id",
    "execution_fingerprint",
    "policy_id",
    "policy_version",
    "bundle_hash",
    "decision",
    "execution_state",
    "current_outcome",
    "current_state",
    "resolution",
    "resolved_at",
    "executed_at",
    "principal",
    "resource",
    "signals_root",
    "labels",
];

fn csv(runtime: &Runtime, filter: &DecisionFilter, sink: &mut Sink) -> Result<(), Problem> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(sink);
    writer.write_record(COLUMNS).map_err(|_| gone())?;
    each(runtime, filter, |decision| writer.write_record(row(decision)).map_err(|_| gone()))?;
    writer.flush().map_err(|_| gone())
}

fn row(decision: &ListedDecision) -> [String; COLUMNS.len()] {
    let current = &decision.current;
    let labels = if decision.labels.is_empty() {
        String::new()
    } else {
        serde_json::to_string(&decision.labels).unwrap_or_default()
    };
    [
        decision.index.to_string(),
        decision.execution_id.to_string(),
        decision.execution_fingerprint.to_string(),
        decision.policy.id.to_string(),
        decision.policy.version.to_string(),
        decision.policy.bundle_hash.to_string(),
        decision.decision.clone(),
        decision.execution_state.to_string(),
        current.outcome.clone(),
        current.state.to_string(),
        current.resolution.map(|resolution| resolution.as_str().to_owned()).unwrap_or_default(),
        current.resolved_at.map(|at| at.to_string()).unwrap_or_default(),
        decision.executed_at.to_string(),
        decision.principal.to_string(),
        decision.resource.to_string(),
        decision.signals_root.to_string(),
        labels,
    ]
}
