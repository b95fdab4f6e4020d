//! `chancery verification list|backfill`.

use std::time::Duration;

use chancery_core::ids::{ExecutionId, PolicyId};
use chancery_core::statement::Verdict;
use chancery_core::time::Timestamp;
use chancery_runtime::Runtime;
use chancery_runtime::verifications::{
    BackfillJob, BackfillProgress, BackfillTurn, ListedVerification, Unjudged, VerificationFilter,
    VerificationList,
};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::open::Home;
use super::page::Page;
use super::remote::{Query, Remote};
use super::{Exit, Failure};
use crate::instant::parse_instant;

/// How often a server is asked how far it has come.
const POLL: Duration = Duration::from_secs(1);
/// How long a pause goes on before the turn is renewed.
const RENEW: Duration = Duration::from_secs(10);

/// Subcommands of `verification`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List verification records, the newest first.
    List(List),
    /// Verify every decision that has no verification record yet, and record that. May be stopped and run again.
    Backfill(Backfill),
}

/// Filters of `verification list`.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Of this decision.
    #[arg(long, value_name = "ID")]
    execution_id: Option<ExecutionId>,
    /// With this verdict: verified, failed or incomplete.
    #[arg(long, value_parser = parse_verdict)]
    verdict: Option<Verdict>,
    #[command(flatten)]
    page: Page,
}

/// Arguments of `verification backfill`.
#[derive(Debug, clap::Args)]
pub(super) struct Backfill {
    /// Decided at this time or later (RFC 3339, or a date).
    #[arg(long, value_parser = parse_instant)]
    from: Option<Timestamp>,
    /// Decided before this time.
    #[arg(long, value_parser = parse_instant)]
    to: Option<Timestamp>,
    /// Decided by this policy.
    #[arg(long)]
    policy: Option<PolicyId>,
    /// How many decisions a second at most (1 to 10,000).
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    per_second: u32,
}

/// A job as a server answers it, and what is printed in the end.
#[derive(Debug, Deserialize, Serialize)]
struct Status {
    job: String,
    state: String,
    #[serde(flatten)]
    counted: BackfillProgress,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unjudged: Vec<Unjudged>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Problem {
    code: String,
    detail: String,
}

fn parse_verdict(text: &str) -> Result<Verdict, String> {
    serde_json::from_value(serde_json::Value::from(text))
        .map_err(|_| "a verdict is verified, failed or incomplete".to_owned())
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Verified => "verified",
        Verdict::Failed => "failed",
        Verdict::Incomplete => "incomplete",
    }
}

pub(super) fn run(command: Command, home: &Home<'_>) -> Result<Exit, Failure> {
    match command {
        Command::List(list) => list_verifications(list, home),
        Command::Backfill(arguments) => backfill(arguments, home),
    }
}

fn list_verifications(list: List, home: &Home<'_>) -> Result<Exit, Failure> {
    let List { execution_id, verdict, page } = list;
    let found: VerificationList = match &home.server {
        Some(server) => {
            let query = page.query([
                ("execution_id", execution_id.map(|id| id.to_string())),
                ("verdict", verdict.map(|verdict| word(verdict).to_owned())),
            ]);
            server.get_json("/v1/verifications", &query)?
        }
        None => {
            let filter = VerificationFilter { execution_id, verdict, from: page.from, to: page.to };
            home.records()?.verifications(&filter, page.after.as_deref(), page.limit)?
        }
    };
    let columns = ["execution", "verdict", "signature", "runtime", "schema", "verified at", "index"];
    home.output.print_list(&found.items, &columns, |item: &ListedVerification| {
        let answer = |answer: Option<bool>| match answer {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "-",
        };
        vec![
            item.execution_id.to_string(),
            word(item.verdict).to_owned(),
            answer(item.signature_verified).to_owned(),
            answer(item.runtime_verified).to_owned(),
            answer(item.schema_compatible).to_owned(),
            item.verified_at.to_string(),
            item.index.to_string(),
        ]
    })?;
    if let Some(next) = found.next {
        home.output.say(&format!("more: --after {next}"));
    }
    Ok(Exit::Ok)
}

fn backfill(arguments: Backfill, home: &Home<'_>) -> Result<Exit, Failure> {
    let bar = home.output.progress("verifying", Some(0));
    let ended = match &home.server {
        Some(server) => there(server, &arguments, &bar),
        None => here(arguments, home, &bar),
    };
    bar.finish_and_clear();
    let status = ended?;
    if let Some(problem) = &status.problem {
        return Err(Failure::new(Exit::Runtime, format!("{}: {}", problem.code, problem.detail))
            .help("what was recorded stays; when the cause is gone, run the command again"));
    }
    home.output.print(&status, told)?;
    let counted = &status.counted;
    Ok(if counted.failed > 0 {
        Exit::VerificationFailed
    } else if counted.incomplete > 0 || !counted.is_done() {
        Exit::Incomplete
    } else {
        Exit::Ok
    })
}

/// `done: 40 of 40 decisions have a verification: 38 verified, 1 failed, 1 incomplete`, and what could not be judged.
fn told(status: &Status) -> String {
    let BackfillProgress { total, recorded, verified, failed, incomplete } = status.counted;
    let mut text = format!(
        "{}: {recorded} of {total} decisions have a verification: {verified} verified, {failed} failed, \
         {incomplete} incomplete",
        status.state
    );
    for unjudged in &status.unjudged {
        let Unjudged { execution_id, code, detail } = unjudged;
        text.push_str(&format!("\n{execution_id} could not be judged: {code}: {detail}"));
    }
    text
}

fn show(bar: &ProgressBar, progress: BackfillProgress) {
    bar.set_length(progress.total);
    bar.set_position(progress.recorded);
}

/// On this machine, until nothing is left to do.
fn here(arguments: Backfill, home: &Home<'_>, bar: &ProgressBar) -> Result<Status, Failure> {
    let Backfill { from, to, policy, per_second } = arguments;
    let runtime = home.runtime()?;
    let records = runtime.records();
    let job = records.backfill(from, to, policy)?;
    let Some(turn) = runtime.begin_backfill(&job)? else {
        return Err(Failure::new(
            Exit::Conflict,
            "another program is backfilling verifications on this database",
        )
        .help("wait for it, or run this again where it was killed half a minute ago"));
    };
    let worked = steps(&runtime, &job, &turn, per_second, bar);
    turn.end();
    let unjudged = worked?;
    home.finish(&runtime)?;
    let counted = records.backfill_progress(&job)?;
    let state = if counted.is_done() { "done" } else { "incomplete" }.to_owned();
    Ok(Status { job: job.to_string(), state, counted, unjudged, problem: None })
}

/// Steps and pauses until nothing is left to do; the decisions that could not be judged.
fn steps(
    runtime: &Runtime,
    job: &BackfillJob,
    turn: &BackfillTurn,
    per_second: u32,
    bar: &ProgressBar,
) -> Result<Vec<Unjudged>, Failure> {
    let mut progress = runtime.records().backfill_progress(job)?;
    let (mut from, mut unjudged) = (0, Vec::new());
    loop {
        show(bar, progress);
        let step = runtime.backfill_step(job, &mut from)?;
        if step.is_empty() {
            return Ok(unjudged);
        }
        let judged = u64::try_from(step.len()).unwrap_or(0);
        progress.recorded += judged;
        unjudged.extend(step.unjudged);
        let mut pause = Duration::from_secs(judged) / per_second;
        loop {
            // Whoever has lost it does what is left all the same: the log takes each verification once.
            turn.renew().map_err(|error| Failure::system("cannot go on with the backfill", &error))?;
            if pause.is_zero() {
                break;
            }
            let nap = pause.min(RENEW);
            std::thread::sleep(nap);
            pause -= nap;
        }
    }
}

/// By a server, which is asked until it has ended.
fn there(server: &Remote, arguments: &Backfill, bar: &ProgressBar) -> Result<Status, Failure> {
    let mut body = json!({"per_second": arguments.per_second});
    if let Some(body) = body.as_object_mut() {
        body.extend(arguments.from.map(|from| ("from".to_owned(), json!(from))));
        body.extend(arguments.to.map(|to| ("to".to_owned(), json!(to))));
        body.extend(arguments.policy.as_ref().map(|policy| ("policy".to_owned(), json!(policy))));
    }
    let (_, mut status): (_, Status) = server.post_json("/v1/verifications:backfill", &body.to_string())?;
    loop {
        show(bar, status.counted);
        if status.state != "running" {
            return Ok(status);
        }
        std::thread::sleep(POLL);
        status = server.get_json(&format!("/v1/verifications:backfill/{}", status.job), &Query::new())?;
    }
}
