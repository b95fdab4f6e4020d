//! `chancery decision explain|replay`. What is printed is the server's answer, wherever it was made.

use chancery_core::ids::{ExecutionId, PolicyVersion};
use chancery_runtime::explain::Audience;
use serde::Serialize;
use serde_json::Value;

use super::super::open::Home;
use super::super::output::foreign;
use super::super::{Exit, Failure};
use super::unknown;

/// Arguments of `decision explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// The execution's id.
    execution_id: ExecutionId,
    /// Who it is for: customer, agent or regulator.
    #[arg(long, default_value_t = Audience::Customer)]
    audience: Audience,
}

/// Arguments of `decision replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Replay {
    /// The execution's id.
    execution_id: ExecutionId,
    /// Another published version of the policy.
    #[arg(long, value_name = "VERSION")]
    version: Option<PolicyVersion>,
}

pub(super) fn explain(arguments: &Explain, home: &Home<'_>) -> Result<Exit, Failure> {
    let (id, audience) = (&arguments.execution_id, arguments.audience);
    let explanation: Value = match &home.server {
        Some(server) => server.get_json(
            &format!("/v1/decisions/{id}/explanation"),
            &vec![("audience".to_owned(), audience.to_string())],
        )?,
        None => plain(&home.runtime()?.explain(id, audience)?.ok_or_else(|| unknown(id))?)?,
    };
    home.output.print(&explanation, |explanation| {
        at(explanation, "/text").as_str().unwrap_or_default().to_owned()
    })?;
    Ok(Exit::Ok)
}

pub(super) fn replay(arguments: &Replay, home: &Home<'_>) -> Result<Exit, Failure> {
    let (id, version) = (&arguments.execution_id, arguments.version.as_ref());
    let replay: Value = match &home.server {
        Some(server) => {
            let version = version.map(|version| format!("?version={version}")).unwrap_or_default();
            server.post_json(&format!("/v1/decisions/{id}/replay{version}"), "")?.1
        }
        None => plain(&home.runtime()?.replay(id, version)?.ok_or_else(|| unknown(id))?)?,
    };
    home.output.print(&replay, describe)?;
    Ok(match at(&replay, "/result").as_str() {
        Some("SAME") => Exit::Ok,
        // What another version says is an answer; that the one that decided says something else is a fault.
        Some("DIFFERENT") if *at(&replay, "/same_version") == true => Exit::VerificationFailed,
        Some("DIFFERENT") => Exit::Ok,
        _ => Exit::Incomplete,
    })
}

/// The answer as a server gives it.
pub(super) fn plain(answer: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(answer).map_err(|error| Failure::system("cannot print the answer", &error))
}

/// What stands at a JSON pointer; null where nothing does.
pub(super) fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// A text without its quotes, anything else as JSON; within its line.
pub(super) fn text(value: &Value) -> String {
    foreign(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn describe(replay: &Value) -> String {
    let result = match at(replay, "/result").as_str() {
        Some("SAME") => "the same",
        Some("DIFFERENT") => "different",
        _ => "not replayable",
    };
    let mut lines = vec![format!("{}: {result}", text(at(replay, "/execution_id")))];
    lines.extend(at(replay, "/reason").as_str().map(|reason| format!("  {reason}")));
    for fault in each(at(replay, "/faults")) {
        let [pointer, code, expected, found] =
            ["/pointer", "/code", "/expected", "/found"].map(|member| text(at(fault, member)));
        lines.push(format!("  {code} at {pointer}: expected {expected}, found {found}"));
    }
    lines.push(format!("  recorded   {}", side(at(replay, "/recorded"))));
    if at(replay, "/evaluated").is_object() {
        lines.push(format!("  evaluated  {}", side(at(replay, "/evaluated"))));
    }
    for difference in each(at(replay, "/differences")) {
        lines.push(format!(
            "  {}: {} was recorded, {} is evaluated",
            text(at(difference, "/member")),
            text(at(difference, "/recorded")),
            text(at(difference, "/evaluated"))
        ));
    }
    lines.join("\n")
}

pub(super) fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn side(side: &Value) -> String {
    let policy = at(side, "/policy");
    let mut line = format!(
        "{} by {}@{}",
        text(at(side, "/decision")),
        text(at(policy, "/id")),
        text(at(policy, "/version"))
    );
    for (words, list) in [(", for ", "/determining"), (", errors ", "/errors")] {
        let names: Vec<String> = each(at(side, list)).map(text).collect();
        if !names.is_empty() {
            line.push_str(&format!("{words}{}", names.join(", ")));
        }
    }
    line
}
