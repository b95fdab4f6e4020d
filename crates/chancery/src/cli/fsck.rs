//! `chancery fsck`: the store against its log and its last checkpoint.

use chancery_runtime::fsck::{FsckReport, FsckRequest};
use chancery_runtime::runtime::read_root;

use super::open::{Home, home_of};
use super::{Exit, Failure};

/// Arguments of `fsck`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Also check every signature, statement, fingerprint, opening and bundle. Needs the password of the keys.
    #[arg(long)]
    full: bool,
}

pub(super) fn run(arguments: Arguments, home: &Home<'_>) -> Result<Exit, Failure> {
    let config = home.configuration(&[])?.config;
    let paths = home_of(&config);
    let root = read_root(paths.root_pub())?;
    let keys = if arguments.full { Some(home.server_keys(&config, &home.password(&config)?)?) } else { None };
    let request = FsckRequest {
        root: &root,
        keys: keys.as_ref(),
        checkpoint: Some(paths.checkpoint()),
        full: arguments.full,
    };
    let bar = home.output.progress("checking", Some(0));
    let report = home.records()?.fsck(&request, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = report.map_err(|error| {
        Failure::because(Exit::Runtime, "cannot read the store to its end", &error)
            .help("go on with the newest copy that `chancery fsck --full` finds clean; docs/runbook.md has the steps")
    })?;
    home.output.print(&report, describe)?;
    Ok(if report.is_clean() { Exit::Ok } else { Exit::VerificationFailed })
}

pub(super) fn describe(report: &FsckReport) -> String {
    let mut text = match report.problems_total {
        0 => "clean".to_owned(),
        1 => "1 problem".to_owned(),
        many => format!("{many} problems"),
    };
    text.push_str(&format!(": {} entries, {} decisions", report.entries, report.decisions));
    if report.full {
        text.push_str(&format!(", {} openings, {} bundles", report.openings, report.bundles));
        if report.builds > 0 {
            text.push_str(&format!(", {} builds", report.builds));
        }
    }
    for problem in &report.problems {
        match problem.index {
            Some(index) => text.push_str(&format!("\n  index {index}: {}", problem.what)),
            None => text.push_str(&format!("\n  {}", problem.what)),
        }
    }
    for left_out in &report.left_out {
        text.push_str(&format!("\n  not checked: {left_out}"));
    }
    text
}
