//! `chancery verify`: the same judge as `chancery-verify`.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;

use chancery_verify::{Ask, Environment, Verdict, Without};

use super::output::{Format, Output};
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
        ..Ask::default()
    };
    let input: Box<dyn Read + Send> = if arguments.file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(&arguments.file).map_err(|error| unreadable(&arguments.file, &error))?)
    };
    let report =
        chancery_verify::verify(BufReader::with_capacity(BUFFER_BYTES, input), root.as_deref(), &ask);
    if output.format == Format::Text {
        output.line(&report.to_string())?;
    } else {
        output.print(&report, ToString::to_string)?;
    }
    Ok(match report.verdict {
        Verdict::Verified => Exit::Ok,
        Verdict::Failed => Exit::VerificationFailed,
        Verdict::Incomplete => Exit::Incomplete,
    })
}

fn unreadable(path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::because(Exit::Runtime, format!("cannot read `{}`", path.display()), error)
        .help("give the path of a file that this user can read")
}
