//! `chancery export`: evidence that an auditor checks offline.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use chancery_core::evidence::Filter;
use chancery_core::ids::{ExecutionId, PolicyId, PolicyVersion};
use chancery_core::time::Timestamp;
use chancery_runtime::export::{Disclosure, ExportRequest, Selection};
use clap::ValueEnum;
use serde_json::json;

use crate::instant::parse_instant;

use super::open::Home;
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
    let runtime = home.runtime()?;
    let export = runtime.begin_export(&request(&arguments))?;
    let bar = home.output.progress("exporting", Some(export.entries()));
    let progress = |written| bar.set_position(written);
    let exported = if arguments.out.as_os_str() == "-" {
        export.write(std::io::stdout().lock(), progress)?
    } else {
        // Written beside its place and moved there when it is whole: nobody ever finds half a file.
        let unwritable = |error: &dyn std::error::Error| {
            Failure::because(Exit::Runtime, format!("cannot write `{}`", arguments.out.display()), error)
                .help("name a new file in a folder that this user can write into")
        };
        let folder = arguments.out.parent().filter(|folder| !folder.as_os_str().is_empty());
        let temporary = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .tempfile_in(folder.unwrap_or(std::path::Path::new(".")))
            .map_err(|error| unwritable(&error))?;
        let mut out = BufWriter::with_capacity(1 << 20, temporary);
        let exported = export.write(&mut out, progress)?;
        out.flush().and_then(|()| out.get_ref().as_file().sync_all()).map_err(|error| unwritable(&error))?;
        let temporary = out.into_inner().map_err(|error| unwritable(error.error()))?;
        let file: File =
            temporary.persist_noclobber(&arguments.out).map_err(|error| unwritable(&error.error))?;
        drop(file);
        exported
    };
    bar.finish_and_clear();
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
