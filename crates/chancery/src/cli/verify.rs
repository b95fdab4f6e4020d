//! `chancery verify`: the same judge as `chancery-verify`.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;

use chancery_verify::{Ask, AskError, Environment, RevokedBuilds, Verdict, Without};

use super::output::Output;
use super::{Exit, Failure};

/// Bytes read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The evidence file; `-` is stdin.
    file: PathBuf,
    /// The root keys that were handed over by another way.
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// What every decision has to say about where it ran: `production` or `test`.
    #[arg(long, default_value_t = Environment::Production)]
    environment: Environment,
    /// Parts that are not asked for: any of `build,witness,reproduce,opening`.
    #[arg(long, value_name = "PARTS")]
    without: Option<Without>,
    /// An older checkpoint of the same log, which this one has to continue.
    #[arg(long, value_name = "CHECKPOINT")]
    since: Option<PathBuf>,
    /// A list of builds that must not have decided: a SHA-256 of an identity or program, or a commit, a line.
    #[arg(long, value_name = "FILE")]
    revoked_builds: Option<PathBuf>,
    /// The lowest keyring version that is accepted.
    #[arg(long, value_name = "N")]
    min_keyring: Option<u64>,
}

pub(super) fn run(arguments: Arguments, output: Output) -> Result<Exit, Failure> {
    let text = |path: &PathBuf| std::fs::read_to_string(path).map_err(|error| unreadable(path, &error));
    let root = arguments.root.as_ref().map(text).transpose()?;
    let ask = Ask {
        environment: arguments.environment,
        without: arguments.without.clone().unwrap_or_default(),
        min_keyring: arguments.min_keyring,
        since: arguments.since.as_ref().map(text).transpose()?,
        revoked_builds: arguments.revoked_builds.as_deref().map(read_revoked_builds).transpose()?,
        ..Ask::default()
    };
    let input: Box<dyn Read + Send> = if arguments.file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(&arguments.file).map_err(|error| unreadable(&arguments.file, &error))?)
    };
    let report =
        chancery_verify::verify(BufReader::with_capacity(BUFFER_BYTES, input), root.as_deref(), &ask);
    output.print(&report, ToString::to_string)?;
    Ok(match report.verdict {
        Verdict::Verified => Exit::Ok,
        Verdict::Failed => Exit::VerificationFailed,
        Verdict::Incomplete => Exit::Incomplete,
    })
}

/// A list that cannot be read is a wrong argument: nobody should take the verdict for one that it was held against.
fn read_revoked_builds(path: &std::path::Path) -> Result<RevokedBuilds, Failure> {
    let wrong = |error: &dyn std::error::Error| {
        Failure::because(Exit::Usage, format!("the list of revoked builds `{}`", path.display()), error).help(
            "give a SHA-256 of a build identity or a program, or a commit, a line; `#` begins a comment",
        )
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    text.parse().map_err(|error: AskError| wrong(&error))
}

fn unreadable(path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::because(Exit::Runtime, format!("cannot read `{}`", path.display()), error)
        .help("give the path of a file that this user can read")
}
