//! `chancery decision …`: what was recorded, why, and what became of it.

mod confirm;
mod explain;
mod lineage;
mod provenance;

use chancery_core::ids::{EntityUid, ExecutionId, PolicyId, PolicyVersion};
use chancery_core::signal::Duration;
use chancery_core::statement::ExecutionState;
use chancery_core::time::Timestamp;
use chancery_runtime::records::{ConfirmationState, DecisionDetail, DecisionFilter, Order};

use crate::instant::parse_instant;

use super::open::Home;
use super::output::foreign;
use super::remote::{Query, Remote};
use super::{Exit, Failure};

/// Subcommands of `decision`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List decisions, the newest first.
    List(List),
    /// Show one decision whole.
    Show {
        /// The execution's id.
        execution_id: ExecutionId,
    },
    /// Show everything that is connected with a decision.
    Lineage(lineage::Lineage),
    /// Say why a decision is what it is, for one audience.
    Explain(explain::Explain),
    /// Evaluate the recorded signals again, with the bundle that decided or another version.
    Replay(explain::Replay),
    /// Print where a decision comes from: canonical JSON, the same bytes for ever.
    Provenance {
        /// The execution's id.
        execution_id: ExecutionId,
    },
    /// Record what was really done after a decision.
    Confirm(confirm::Confirm),
}

/// Filters of `decision list`.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Decided by this policy.
    #[arg(long)]
    policy: Option<PolicyId>,
    /// Decided by this version.
    #[arg(long, value_name = "VERSION")]
    policy_version: Option<PolicyVersion>,
    /// With this outcome.
    #[arg(long)]
    outcome: Option<String>,
    /// Now in this state: completed, pending_override or blocked.
    #[arg(long, value_parser = parse_state)]
    state: Option<ExecutionState>,
    /// Decided at this time or later (RFC 3339, or a date).
    #[arg(long, value_parser = parse_instant)]
    from: Option<Timestamp>,
    /// Decided before this time.
    #[arg(long, value_parser = parse_instant)]
    to: Option<Timestamp>,
    /// Submitted by this principal, such as 'System::"claims-core"'.
    #[arg(long)]
    principal: Option<EntityUid>,
    /// With this label; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_label)]
    label: Vec<(String, String)>,
    /// Only those that can be acted upon and that nobody confirmed.
    #[arg(long)]
    unconfirmed: bool,
    /// Of these only the ones whose outcome has held for so long, such as 1d or 12h.
    #[arg(long, value_name = "DURATION", requires = "unconfirmed", value_parser = parse_duration)]
    older_than: Option<Duration>,
    /// How many at the most (1 to 1,000).
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    /// Where the last page ended, as it said.
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

fn parse_state(text: &str) -> Result<ExecutionState, String> {
    serde_json::from_value(serde_json::Value::from(text))
        .map_err(|_| "a state is completed, pending_override or blocked".to_owned())
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as channel=web")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    match text.parse::<Duration>() {
        Ok(duration) if duration.as_ms() >= 0 => Ok(duration),
        _ => Err("write it as 1d, 12h or 1d12h".to_owned()),
    }
}

/// The time that lies so far back.
fn before(now: Timestamp, age: Duration) -> Result<Timestamp, Failure> {
    let micros = age.as_ms().checked_mul(1_000).and_then(|age| now.unix_micros().checked_sub(age));
    micros
        .and_then(Timestamp::from_unix_micros)
        .ok_or_else(|| Failure::usage("`--older-than` reaches back beyond the year 0").help("name less"))
}

pub(super) fn run(command: Command, home: &Home<'_>) -> Result<Exit, Failure> {
    match command {
        Command::List(list) => list_decisions(list, home),
        Command::Lineage(arguments) => lineage::lineage(arguments, home),
        Command::Explain(arguments) => explain::explain(&arguments, home),
        Command::Replay(arguments) => explain::replay(&arguments, home),
        Command::Provenance { execution_id } => provenance::provenance(&execution_id, home),
        Command::Confirm(arguments) => confirm::confirm(arguments, home),
        Command::Show { execution_id } => {
            let found = match &home.server {
                Some(server) => find(server, &execution_id)?,
                None => home.records()?.get(&execution_id)?,
            };
            let Some(detail) = found else {
                return Err(unknown(&execution_id));
            };
            home.output.print(&detail, show)?;
            Ok(Exit::Ok)
        }
    }
}

/// There is no decision of this id.
fn unknown(execution_id: &ExecutionId) -> Failure {
    Failure::new(Exit::NotFound, format!("there is no decision `{execution_id}`"))
        .help("`chancery decision list` shows what is there")
}

fn list_decisions(list: List, home: &Home<'_>) -> Result<Exit, Failure> {
    let filter = DecisionFilter {
        policy: list.policy,
        version: list.policy_version,
        outcome: list.outcome,
        state: list.state,
        from: list.from,
        to: list.to,
        principal: list.principal,
        labels: list.label,
        confirmation: list.unconfirmed.then_some(ConfirmationState::Missing),
        effective_before: list.older_than.map(|age| before(home.edge.clock.now(), age)).transpose()?,
        ..DecisionFilter::default()
    };
    let page = match &home.server {
        Some(server) => server.get_json("/v1/decisions", &query(&filter, list.limit, list.after))?,
        None => home.records()?.list(&filter, Order::NewestFirst, list.after.as_deref(), list.limit)?,
    };
    let columns = ["execution", "outcome", "state", "policy", "decided at", "index"];
    home.output.print_list(&page.items, &columns, |decision| {
        vec![
            decision.execution_id.to_string(),
            decision.current.outcome.clone(),
            decision.current.state.as_str().to_owned(),
            format!("{}@{}", decision.policy.id, decision.policy.version),
            decision.executed_at.to_string(),
            decision.index.to_string(),
        ]
    })?;
    if let Some(next) = page.next {
        home.output.say(&format!("more: --after {next}"));
    }
    Ok(Exit::Ok)
}

fn find(server: &Remote, execution_id: &ExecutionId) -> Result<Option<DecisionDetail>, Failure> {
    match server.get_json(&format!("/v1/decisions/{execution_id}"), &Query::new()) {
        Ok(detail) => Ok(Some(detail)),
        Err(failure) if failure.exit == Exit::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The filter and the page as `GET /v1/decisions` takes them.
fn query(filter: &DecisionFilter, limit: u32, after: Option<String>) -> Query {
    let mut query: Query = [
        ("policy", filter.policy.as_ref().map(ToString::to_string)),
        ("version", filter.version.as_ref().map(ToString::to_string)),
        ("outcome", filter.outcome.clone()),
        ("state", filter.state.map(|state| state.as_str().to_owned())),
        ("from", filter.from.as_ref().map(ToString::to_string)),
        ("to", filter.to.as_ref().map(ToString::to_string)),
        ("principal", filter.principal.as_ref().map(ToString::to_string)),
        ("confirmation", filter.confirmation.map(|_| "none".to_owned())),
        ("effective_before", filter.effective_before.as_ref().map(ToString::to_string)),
        ("limit", Some(limit.to_string())),
        ("after", after),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect();
    query.extend(filter.labels.iter().map(|(name, value)| (format!("label.{name}"), value.clone())));
    query
}

fn show(detail: &DecisionDetail) -> String {
    let decision = &detail.listed;
    let mut lines = vec![
        format!(
            "{}: {} ({})",
            decision.execution_id,
            decision.current.outcome,
            decision.current.state.as_str()
        ),
        format!("  decided     {} by {}", decision.executed_at, foreign(decision.principal.as_ref())),
        format!("  on          {}", foreign(decision.resource.as_ref())),
        format!("  policy      {}@{}", decision.policy.id, decision.policy.version),
        format!("  bundle      {}", decision.policy.bundle_hash),
        format!("  fingerprint {}", decision.execution_fingerprint),
        format!("  log         index {}, leaf {}", detail.log.index, detail.log.leaf_hash),
        format!("  signed by   {}", detail.signer),
        format!("  binary      {}", detail.statement.runtime.binary),
    ];
    let body = &detail.statement.decision;
    lines.extend(body.reasons.iter().map(|reason| {
        format!("  because     {} ({}): {}", reason.code, reason.policy, foreign(&reason.text))
    }));
    lines.extend(
        body.errors.iter().map(|error| {
            format!("  error       {} ({}): {}", error.code, error.policy, foreign(&error.text))
        }),
    );
    lines.extend(
        decision
            .labels
            .iter()
            .map(|(name, value)| format!("  label       {}={}", foreign(name), foreign(value))),
    );
    lines.join("\n")
}
