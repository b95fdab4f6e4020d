//! `chancery decide`: one execution, or a batch of them from NDJSON or CSV.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use chancery_core::ids::{PolicyId, PolicyVersion};
use chancery_core::json::{self, Limits, Value};
use chancery_core::signal::Attributes;
use chancery_core::statement::ExecutionState;
use chancery_runtime::failure::{Cause, Fault};
use chancery_runtime::{Answer, Runtime};
use serde_json::json;

use super::failure::Told;
use super::open::Home;
use super::output::foreign;
use super::remote::Remote;
use super::{Exit, Failure, batch};

/// Arguments of `decide`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("input").required(true).args(["signals", "batch"]))]
pub(super) struct Arguments {
    /// The policy, and the version that has to be in force if one is given.
    #[arg(value_name = "POLICY[@VERSION]")]
    policy: String,
    /// A JSON object of signals; `-` is stdin.
    #[arg(long, value_name = "FILE")]
    signals: Option<PathBuf>,
    /// NDJSON with a request a line, or CSV with a mapping (by its ending); `-` is NDJSON from stdin.
    #[arg(long, value_name = "FILE")]
    batch: Option<PathBuf>,
    /// How CSV columns become signals. Default: policies/<POLICY>/mapping.toml
    #[arg(long, value_name = "FILE", requires = "batch")]
    mapping: Option<PathBuf>,
    /// The execution's id. Default: a random one, which is printed.
    #[arg(long, value_name = "ID", requires = "signals")]
    execution_id: Option<String>,
    /// The id of what is decided on.
    #[arg(long, value_name = "ID", requires = "signals")]
    resource: Option<String>,
    /// Fail with exit code 7 if the outcome is another; it has to be one of the policy's.
    #[arg(long, value_name = "OUTCOME", requires = "signals")]
    expect: Option<String>,
}

pub(super) fn run(arguments: Arguments, home: &Home<'_>) -> Result<Exit, Failure> {
    let (policy, version) = parse_policy(&arguments.policy)?;
    match (&arguments.signals, &arguments.batch) {
        (Some(signals), _) => one(&arguments, &policy, version.as_ref(), signals, home),
        (_, Some(file)) if file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv")) => {
            batch::csv(arguments.mapping.as_deref(), &policy, version.as_ref(), file, home)
        }
        (_, Some(file)) => batch::ndjson(&policy, version.as_ref(), file, home),
        (None, None) => {
            Err(Failure::usage("nothing to decide on was given").help("give `--signals` or `--batch`"))
        }
    }
}

pub(super) fn parse_policy(text: &str) -> Result<(PolicyId, Option<PolicyVersion>), Failure> {
    let (id, version) = match text.split_once('@') {
        Some((id, version)) => (id, Some(version)),
        None => (text, None),
    };
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("`{text}` is no policy: {error}"))
            .help("write it as claim-approval or claim-approval@1.0.0")
    };
    let id = id.parse().map_err(|error| wrong(&error))?;
    let version = version.map(|version| version.parse().map_err(|error| wrong(&error))).transpose()?;
    Ok((id, version))
}

fn one(
    arguments: &Arguments,
    policy: &PolicyId,
    version: Option<&PolicyVersion>,
    signals: &Path,
    home: &Home<'_>,
) -> Result<Exit, Failure> {
    let signals = read_signals(signals)?;
    let decider = Decider::open(home)?;
    if let Some(expected) = &arguments.expect {
        decider.knows_outcome(policy, version, expected)?;
    }
    let execution_id = match &arguments.execution_id {
        Some(id) => id.clone(),
        None => format!("cli-{}", home.random_hex()?),
    };
    let request = request_text(&execution_id, policy, version, arguments.resource.as_deref(), &signals);
    let answer = match &decider {
        Decider::Here(runtime) => runtime.execute_blocking(&home.caller()?, request.as_bytes())?,
        Decider::There(server) => server.decide(&request)?,
    };
    decider.finish(home)?;
    home.output.print(&answer, describe)?;
    Ok(exit(arguments.expect.as_deref(), &answer))
}

/// A blocked execution is no decision to act on, whatever was expected: its outcome is only the fallback.
fn exit(expected: Option<&str>, answer: &Answer) -> Exit {
    match (answer.execution_state, expected) {
        (ExecutionState::Blocked, _) => Exit::PolicyInvalid,
        (_, Some(expected)) if expected != answer.decision => Exit::Unexpected,
        (ExecutionState::PendingOverride, None) => Exit::PendingOverride,
        _ => Exit::Ok,
    }
}

/// A request around signals that stay exactly as they were written, because numbers keep their text. That they are
/// one object and nothing besides was seen before ([`check_signals`]), so they cannot say more than signals.
fn request_text(
    execution_id: &str,
    policy: &PolicyId,
    version: Option<&PolicyVersion>,
    resource: Option<&str>,
    signals: &str,
) -> String {
    let mut request =
        format!("{{\"execution_id\":{},\"policy\":{}", json!(execution_id), json!(policy.to_string()));
    if let Some(version) = version {
        request.push_str(&format!(",\"version\":{}", json!(version.to_string())));
    }
    if let Some(resource) = resource {
        request.push_str(&format!(",\"resource\":{}", json!(resource)));
    }
    request.push_str(",\"signals\":");
    request.push_str(signals);
    request.push('}');
    request
}

fn describe(answer: &Answer) -> String {
    let state = match answer.execution_state {
        ExecutionState::Completed => "",
        ExecutionState::PendingOverride => ", and waits for an override",
        ExecutionState::Blocked => ", BLOCKED: the policy could not be evaluated; do not act on it",
    };
    let repeat = if answer.replayed { " (decided before)" } else { "" };
    let mut text = format!("{}: {}{state}{repeat}\n", answer.execution_id, answer.decision);
    for reason in &answer.reasons {
        text.push_str(&format!("  {} ({}): {}\n", reason.code, reason.policy, foreign(&reason.text)));
    }
    for error in &answer.errors {
        text.push_str(&format!("  {} ({}): {}\n", error.code, error.policy, foreign(&error.text)));
    }
    text.push_str(&format!(
        "  policy {}@{}, log index {}, fingerprint {}",
        answer.policy.id, answer.policy.version, answer.log.index, answer.execution_fingerprint
    ));
    text
}

/// Who decides: the log on this machine, or a server.
pub(super) enum Decider {
    /// The open log.
    Here(Runtime),
    /// The server that `--server` names.
    There(Remote),
}

impl Decider {
    /// The server that was named, else the log that the configuration names.
    pub(super) fn open(home: &Home<'_>) -> Result<Self, Failure> {
        Ok(match &home.server {
            Some(server) => Self::There(server.clone()),
            None => Self::Here(home.deciding_runtime()?),
        })
    }

    /// The version that decides now: a batch under a policy that is not there fails before its first row.
    pub(super) fn in_force(
        &self,
        policy: &PolicyId,
        asked: Option<&PolicyVersion>,
    ) -> Result<PolicyVersion, Failure> {
        let in_force = match self {
            Self::Here(runtime) => {
                let loaded = runtime.in_force().into_iter().find(|loaded| loaded.policy == *policy);
                loaded.map(|loaded| loaded.version.clone())
            }
            Self::There(server) => {
                server.policy(policy)?.and_then(|policy| policy.in_force).map(|active| active.version)
            }
        };
        let Some(in_force) = in_force else {
            let message = format!("no version of the policy `{policy}` is in force");
            return Err(Failure::new(Exit::NotFound, message).help(
                "`chancery bundle history` shows what is; `chancery bundle activate` puts one in force",
            ));
        };
        match asked {
            Some(asked) if *asked != in_force => {
                let message = format!("`{policy}@{asked}` is not in force, `{in_force}` is");
                Err(Failure::new(Exit::Conflict, message).help("leave the version out, or activate it first"))
            }
            _ => Ok(in_force),
        }
    }

    /// Refuses an outcome that the policy does not have: a misspelt one would be told only after the decision.
    fn knows_outcome(
        &self,
        policy: &PolicyId,
        version: Option<&PolicyVersion>,
        outcome: &str,
    ) -> Result<(), Failure> {
        let version = match version {
            Some(version) => version.clone(),
            None => self.in_force(policy, None)?,
        };
        let outcomes = match self {
            Self::Here(runtime) => runtime.bundle(policy, &version)?.bundle.manifest().outcomes().to_vec(),
            Self::There(server) => server.bundle(policy, &version)?.manifest().outcomes().to_vec(),
        };
        if outcomes.iter().any(|known| known == outcome) {
            return Ok(());
        }
        Err(Failure::usage(format!("`{policy}@{version}` has no outcome `{outcome}`"))
            .help(format!("its outcomes are `{}`; nothing was decided", outcomes.join("`, `"))))
    }

    /// The signals that a version's schema has.
    pub(super) fn signals(&self, policy: &PolicyId, version: &PolicyVersion) -> Result<Attributes, Failure> {
        Ok(match self {
            Self::Here(runtime) => runtime.bundle(policy, version)?.bundle.attributes().clone(),
            Self::There(server) => server.bundle(policy, version)?.attributes().clone(),
        })
    }

    /// What every command does that recorded something. A server signs checkpoints of its own accord.
    pub(super) fn finish(&self, home: &Home<'_>) -> Result<(), Failure> {
        match self {
            Self::Here(runtime) => home.finish(runtime),
            Self::There(_) => Ok(()),
        }
    }
}

pub(super) fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| {
        Failure::because(Exit::Usage, format!("cannot read `{}`", path.display()), &error)
            .help("give the path of a file that this user can read")
    })
}

/// Reads a file of signals; one byte more than a request may have is enough to refuse it.
fn read_signals(path: &Path) -> Result<String, Failure> {
    let input: Box<dyn Read> =
        if path.as_os_str() == "-" { Box::new(io::stdin()) } else { Box::new(open(path)?) };
    let limit = u64::try_from(Limits::REQUEST.bytes + 1).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    input.take(limit).read_to_end(&mut bytes).map_err(|error| {
        Failure::because(Exit::Usage, format!("cannot read `{}`", path.display()), &error)
            .help("give the path of a file that this user can read")
    })?;
    check_signals(bytes).map_err(|fault| {
        let what = format!("`{}` is not an object of signals", path.display());
        Failure::told(Cause::Caller, "request.invalid", &what, &[Told::from(&fault)])
    })
}

/// The text of exactly one JSON object. Bytes in a fault are counted from the start of the file, pointers are those
/// of the request that the signals will be in.
fn check_signals(bytes: Vec<u8>) -> Result<String, Fault> {
    match json::parse(&bytes, Limits::REQUEST) {
        Ok(Value::Object(_)) => {}
        Ok(other) => {
            return Err(Fault {
                pointer: Some("/signals".to_owned()),
                code: "request.type",
                expected: "an object".to_owned(),
                found: other.describe(),
            });
        }
        Err(fault) => {
            let mut fault = Fault::from(fault);
            fault.pointer = fault.pointer.map(|pointer| format!("/signals{pointer}"));
            return Err(fault);
        }
    }
    // INVARIANT: the parser refuses what is no UTF-8.
    Ok(String::from_utf8(bytes).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_go_into_the_request_as_they_were_written() {
        let policy = "p".parse().unwrap();
        let signals = check_signals(b"{\"a\": 1.50, \"b\": 2}".to_vec()).unwrap();
        let text = request_text("e\"1", &policy, None, Some("r"), &signals);
        assert_eq!(
            text,
            r#"{"execution_id":"e\"1","policy":"p","resource":"r","signals":{"a": 1.50, "b": 2}}"#
        );
    }

    #[test]
    fn a_file_of_signals_is_one_object_and_says_nothing_else() {
        for (text, code, pointer, found) in [
            ("", "json.syntax", None, "the end of the text at byte 0"),
            ("{\"a\":1},\"labels\":{\"x\":\"y\"}", "json.syntax", None, "another character at byte 7"),
            ("{}}", "json.syntax", None, "another character at byte 2"),
            ("{} {}", "json.syntax", None, "another character at byte 3"),
            ("[]", "request.type", Some("/signals"), "an empty array"),
            ("{\"a\":1,\"a\":2}", "json.duplicate", Some("/signals/a"), "a second member of that name"),
        ] {
            let fault = check_signals(text.as_bytes().to_vec()).unwrap_err();
            assert_eq!((fault.code, fault.pointer.as_deref()), (code, pointer), "{text}");
            assert!(fault.found.contains(found), "{text}: {}", fault.found);
        }
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(Limits::REQUEST.bytes));
        assert_eq!(check_signals(long.into_bytes()).unwrap_err().code, "json.size");
        assert_eq!(check_signals(b"{\"a\":\"\xff\"}".to_vec()).unwrap_err().code, "json.syntax");
    }
}
