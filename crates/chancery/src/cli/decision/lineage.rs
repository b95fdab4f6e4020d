//! `chancery decision lineage`.

use chancery_core::digest::Fingerprint;
use chancery_core::ids::ExecutionId;
use chancery_runtime::lineage::LINEAGES_MAX;
use serde::Deserialize;
use serde_json::Value;

use super::super::open::Home;
use super::super::remote::Query;
use super::super::{Exit, Failure};
use super::explain::{at, each, plain, text};
use super::unknown;

/// The most executions that one fingerprint is followed to.
const EXECUTIONS_MAX: usize = 1_000;

/// Arguments of `decision lineage`.
#[derive(Debug, clap::Args)]
pub(crate) struct Lineage {
    /// The execution's id.
    #[arg(required_unless_present = "fingerprint", conflicts_with = "fingerprint")]
    execution_id: Option<ExecutionId>,
    /// All executions with this fingerprint instead: those on the same inputs.
    #[arg(long)]
    fingerprint: Option<Fingerprint>,
    /// Go on where the command said that there are more.
    #[arg(long, value_name = "CURSOR", requires = "fingerprint")]
    after: Option<String>,
}

pub(super) fn lineage(arguments: Lineage, home: &Home<'_>) -> Result<Exit, Failure> {
    match (arguments.execution_id, arguments.fingerprint) {
        (Some(id), _) => home.output.print(&of(&id, home)?, describe)?,
        (None, Some(fingerprint)) => by_fingerprint(&fingerprint, arguments.after, home)?,
        (None, None) => {
            return Err(Failure::usage("neither an execution nor a fingerprint is named")
                .help("name an execution, or `--fingerprint`: `chancery decision list` shows both"));
        }
    }
    Ok(Exit::Ok)
}

fn by_fingerprint(
    fingerprint: &Fingerprint,
    mut after: Option<String>,
    home: &Home<'_>,
) -> Result<(), Failure> {
    let (first, mut lineages) = (after.is_none(), Vec::new());
    let more = loop {
        let Page { items, next } = page(fingerprint, after, home)?;
        lineages.extend(items);
        match next {
            Some(next) if lineages.len() < EXECUTIONS_MAX => after = Some(next),
            next => break next,
        }
    };
    if lineages.is_empty() && first {
        return Err(Failure::new(Exit::NotFound, "there is no decision with this fingerprint")
            .help("`chancery decision show ID` shows a decision's fingerprint"));
    }
    home.output.print(&lineages, |lineages| lineages.iter().map(describe).collect::<Vec<_>>().join("\n"))?;
    if let Some(next) = more {
        home.output.say(&format!("these are {}; more: --after {next}", lineages.len()));
    }
    Ok(())
}

/// Some of the executions with a fingerprint.
#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Value>,
    next: Option<String>,
}

fn page(fingerprint: &Fingerprint, after: Option<String>, home: &Home<'_>) -> Result<Page, Failure> {
    match &home.server {
        Some(server) => {
            let mut query: Query = vec![
                ("fingerprint".to_owned(), fingerprint.to_string()),
                ("limit".to_owned(), LINEAGES_MAX.to_string()),
            ];
            query.extend(after.map(|after| ("after".to_owned(), after)));
            server.get_json("/v1/decisions:lineage", &query)
        }
        None => {
            let page = home.records()?.lineages(fingerprint, after.as_deref(), LINEAGES_MAX)?;
            Ok(Page { items: page.items.iter().map(plain).collect::<Result<_, _>>()?, next: page.next })
        }
    }
}

fn of(id: &ExecutionId, home: &Home<'_>) -> Result<Value, Failure> {
    match &home.server {
        Some(server) => server.get_json(&format!("/v1/decisions/{id}/lineage"), &Query::new()),
        None => plain(&home.records()?.lineage(id)?.ok_or_else(|| unknown(id))?),
    }
}

fn describe(lineage: &Value) -> String {
    let current = at(lineage, "/current");
    let mut lines = vec![
        format!(
            "{}: {} ({})",
            text(at(lineage, "/execution_id")),
            text(at(current, "/outcome")),
            text(at(current, "/state"))
        ),
        format!("  fingerprint   {}", text(at(lineage, "/execution_fingerprint"))),
    ];
    let mut line = |what: &str, record: &Value, said: String| {
        if record.is_object() {
            let proved = if at(record, "/proof").is_array() { "" } else { ", not in a checkpoint yet" };
            lines.push(format!(
                "  {what:<13} index {}, {}: {said}{proved}",
                at(record, "/index"),
                text(at(record, "/claimed_at"))
            ));
        }
    };
    let predicate =
        |record: &Value, member: &str| text(at(record, &format!("/statement/predicate/{member}")));
    let policy = at(lineage, "/policy");
    let bundle = format!("{}@{}", text(at(policy, "/id")), text(at(policy, "/version")));
    line("activation", at(policy, "/activation"), format!("{bundle} in force"));
    line("build", at(lineage, "/build"), "the program that decided".to_owned());
    let decision = at(lineage, "/decision");
    line(
        "decision",
        decision,
        format!("{} by {bundle}", text(at(decision, "/statement/predicate/decision/outcome"))),
    );
    for record in each(at(lineage, "/overrides")) {
        line(
            "override",
            record,
            format!("{} by {}", predicate(record, "resolution"), predicate(record, "approver")),
        );
    }
    let resolution = at(lineage, "/resolution");
    line(
        "resolution",
        resolution,
        format!("{}, {}", predicate(resolution, "resolution"), predicate(resolution, "finalOutcome")),
    );
    let confirmation = at(lineage, "/confirmation");
    line(
        "confirmation",
        confirmation,
        format!("{} as {}", predicate(confirmation, "outcome"), predicate(confirmation, "reference")),
    );
    for record in each(at(lineage, "/verifications")) {
        line("verification", record, predicate(record, "verdict"));
    }
    for record in each(at(lineage, "/erasures")) {
        line("erasure", record, predicate(record, "basis"));
    }
    let left_out = at(lineage, "/verifications_left_out");
    if left_out.as_u64().is_some_and(|older| older > 0) {
        let list = "`chancery verification list --execution-id` shows all";
        lines.push(format!("  verification  {left_out} more, older: {list}"));
    }
    lines.push(format!(
        "  log           {}, checkpoint of {}",
        text(at(lineage, "/log/origin")),
        at(lineage, "/log/size")
    ));
    lines.join("\n")
}
