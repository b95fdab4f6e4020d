//! `chancery export`: evidence that an auditor checks offline.
//!
//! An export signs: a checkpoint over what it exports, and its trailer. So it opens the log as a writer does, and beside
//! a running server it is the server that has to be asked (`--server`).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use chancery_core::checkpoint::SignedCheckpoint;
use chancery_core::evidence::{Filter, Line, Reader};
use chancery_core::ids::{ExecutionId, PolicyId, PolicyVersion};
use chancery_core::log::Kind;
use chancery_core::time::Timestamp;
use chancery_runtime::export::{Disclosure, ExportRequest, Exported, Selection};
use clap::ValueEnum;
use serde_json::json;
use ureq::Body;
use ureq::http::Response;

use crate::instant::parse_instant;

use super::open::Home;
use super::remote::{Query, Remote};
use super::{Exit, Failure};

/// Arguments of `export`. Without any of the filters the whole log is exported, and only then can an auditor see
/// that nothing was left out.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file to make; `-` is stdout. Nothing is overwritten.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// A stretch of the log, such as 100..200 (the second one exclusive) or 100..
    #[arg(long, value_name = "FROM..TO", value_parser = parse_range,
          conflicts_with_all = ["from", "to", "policy", "policy_version", "outcome", "state", "execution_id"])]
    range: Option<(u64, Option<u64>)>,
    /// Decided at this time or later (RFC 3339, or a date).
    #[arg(long, value_parser = parse_instant)]
    from: Option<Timestamp>,
    /// Decided before this time.
    #[arg(long, value_parser = parse_instant)]
    to: Option<Timestamp>,
    /// Decided by this policy.
    #[arg(long)]
    policy: Option<PolicyId>,
    /// Decided by this version.
    #[arg(long, value_name = "VERSION")]
    policy_version: Option<PolicyVersion>,
    /// With this outcome.
    #[arg(long)]
    outcome: Option<String>,
    /// In this state: completed, pending_override or blocked.
    #[arg(long)]
    state: Option<String>,
    /// This execution; may be given several times.
    #[arg(long, value_name = "ID")]
    execution_id: Vec<ExecutionId>,
    /// How much of the signals the file shows.
    #[arg(long, value_enum, default_value_t = Show::Full)]
    disclosure: Show,
    /// Signals that `--disclosure partial` does not show; may be given several times.
    #[arg(long, value_name = "SIGNAL", required_if_eq("disclosure", "partial"))]
    hide: Vec<String>,
}

/// Values of `--disclosure`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Show {
    /// All signals; the verifier runs the policy again.
    Full,
    /// All but those named by `--hide`.
    Partial,
    /// None.
    None,
}

fn parse_range(text: &str) -> Result<(u64, Option<u64>), String> {
    let (from, to) = text.split_once("..").ok_or("write it as 100..200 or 100..")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("`{text}`: {error}"));
    let to = if to.is_empty() { None } else { Some(number(to)?) };
    Ok((number(from)?, to))
}

pub(super) fn run(arguments: Arguments, home: &Home<'_>) -> Result<Exit, Failure> {
    if !arguments.hide.is_empty() && arguments.disclosure != Show::Partial {
        return Err(Failure::usage("`--hide` hides signals in a partial disclosure alone")
            .help("add `--disclosure partial`"));
    }
    let out = arguments.out.as_path();
    let exported = match &home.server {
        Some(server) => {
            let response = server.get("/v1/decisions:export", &query(&arguments))?;
            let bar = home.output.progress("exporting", None);
            let exported =
                write_to(out, |out| receive(server, response, out, |lines| bar.set_position(lines)));
            bar.finish_and_clear();
            exported?
        }
        None => {
            let runtime = home.runtime()?;
            let export = runtime.begin_export(&request(&arguments))?;
            let bar = home.output.progress("exporting", Some(export.entries()));
            let exported = write_to(out, |out| Ok(export.write(out, |written| bar.set_position(written))?));
            bar.finish_and_clear();
            exported?
        }
    };
    let summary = json!({
        "lines": exported.lines, "decisions": exported.decisions, "checkpointSize": exported.checkpoint_size,
    });
    let decisions = if exported.decisions == 1 { "decision" } else { "decisions" };
    let text = format!("{} {decisions} in {} lines", exported.decisions, exported.lines);
    if exported.decisions == 0 {
        home.output.say("warning: no decision was chosen; a file without one is never verified");
    }
    if arguments.out.as_os_str() == "-" {
        home.output.say(&text);
    } else {
        home.output.print(&summary, |_| text)?;
    }
    Ok(Exit::Ok)
}

/// Writes a file beside its place and moves it there when it is whole: nobody ever finds half a file. `-` is stdout.
fn write_to<T>(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<T, Failure>) -> Result<T, Failure> {
    if path.as_os_str() == "-" {
        return write(&mut std::io::stdout().lock());
    }
    let unwritable = |error: &dyn std::error::Error| {
        Failure::because(Exit::Runtime, format!("cannot write `{}`", path.display()), error)
            .help("name a new file in a folder that this user can write into")
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let temporary = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .map_err(|error| unwritable(&error))?;
    let mut out = BufWriter::with_capacity(1 << 20, temporary);
    let written = write(&mut out)?;
    out.flush().and_then(|()| out.get_ref().as_file().sync_all()).map_err(|error| unwritable(&error))?;
    let temporary = out.into_inner().map_err(|error| unwritable(error.error()))?;
    let file: File = temporary.persist_noclobber(path).map_err(|error| unwritable(&error.error))?;
    drop(file);
    Ok(written)
}

/// Takes a server's evidence as it comes. A file that breaks off, or whose trailer is not about the bytes before it,
/// is refused; everything else is for the auditor to judge.
fn receive(
    server: &Remote,
    response: Response<Body>,
    out: &mut dyn Write,
    mut progress: impl FnMut(u64),
) -> Result<Exported, Failure> {
    let mut exported = Exported { lines: 0, bytes: 0, decisions: 0, checkpoint_size: 0 };
    let mut reader = Reader::new(Remote::lines(response));
    let mut trailer = None;
    while let Some(raw) = reader.next_line().map_err(|error| server.broken(&error))? {
        if trailer.is_some() {
            return Err(server.broken(&NotWhole));
        }
        match Line::parse(&raw.bytes).map_err(|error| server.broken(&error))? {
            Line::Header(header) => {
                let checkpoint = SignedCheckpoint::parse_unverified(&header.checkpoint);
                exported.checkpoint_size =
                    checkpoint.map_err(|error| server.broken(&error))?.checkpoint().size;
            }
            Line::Entry(entry) => exported.decisions += u64::from(entry.kind == Kind::Decision),
            Line::Trailer(found) => trailer = Some(found),
            _ => {}
        }
        if trailer.is_none() {
            exported.bytes = reader.bytes();
        }
        exported.lines = reader.lines();
        progress(exported.lines);
        out.write_all(&raw.bytes).and_then(|()| out.write_all(b"\n")).map_err(|error| {
            Failure::because(Exit::Runtime, "cannot write the evidence", &error)
                .help("make room, or name a file on another disk")
        })?;
    }
    let trailer = trailer.ok_or_else(|| server.broken(&NotWhole))?;
    trailer
        .check(exported.lines.saturating_sub(1), &reader.sha256_before_last())
        .map_err(|error| server.broken(&error))?;
    Ok(exported)
}

#[derive(Debug, thiserror::Error)]
#[error("the evidence has no trailer at its end, it is not whole")]
struct NotWhole;

/// What is asked for, as `GET /v1/decisions:export` takes it.
fn query(arguments: &Arguments) -> Query {
    let (from_index, to_index) = arguments.range.map_or((None, None), |(from, to)| (Some(from), to));
    let one = [
        ("from_index", from_index.map(|index| index.to_string())),
        ("to_index", to_index.map(|index| index.to_string())),
        ("from", arguments.from.map(|time| time.to_string())),
        ("to", arguments.to.map(|time| time.to_string())),
        ("policy", arguments.policy.as_ref().map(ToString::to_string)),
        ("version", arguments.policy_version.as_ref().map(ToString::to_string)),
        ("outcome", arguments.outcome.clone()),
        ("state", arguments.state.clone()),
        ("disclosure", arguments.disclosure.to_possible_value().map(|value| value.get_name().to_owned())),
    ];
    let ids = arguments.execution_id.iter().map(|id| ("execution_id", Some(id.to_string())));
    let hidden = arguments.hide.iter().map(|name| ("hide", Some(name.clone())));
    let all = one.into_iter().chain(ids).chain(hidden);
    all.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn request(arguments: &Arguments) -> ExportRequest {
    let ids = &arguments.execution_id;
    let filter = Filter {
        policy: arguments.policy.clone(),
        version: arguments.policy_version.clone(),
        outcome: arguments.outcome.clone(),
        state: arguments.state.clone(),
        from: arguments.from,
        to: arguments.to,
        execution_ids: (!ids.is_empty()).then(|| ids.clone()),
    };
    let selection = match arguments.range {
        Some((from, to)) => Selection::Range { from, to },
        None if filter == Filter::default() => Selection::Complete,
        None => Selection::Filter(filter),
    };
    let disclosure = match arguments.disclosure {
        Show::Full => Disclosure::Full,
        Show::Partial => Disclosure::Partial { hidden: arguments.hide.clone() },
        Show::None => Disclosure::None,
    };
    ExportRequest { selection, disclosure }
}
