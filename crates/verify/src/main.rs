//! `chancery-verify`: judges a file of evidence, and does nothing else.
//!
//! Reads the file (or standard input), `root.pub`, with `--since` an older checkpoint and with `--revoked-builds` a
//! list. No other file, no network, no clock, no environment variable.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chancery_core::checkpoint::SignedCheckpoint;
use chancery_core::keyring::RootPub;
use chancery_verify::{Ask, AskError, Report, RevokedBuilds, VERIFIER, verify};
use lexopt::prelude::{Long, Short, Value, ValueExt};

const HELP: &str = "\
Judges a file of evidence: every byte of it, up to running the policies again.

Usage: chancery-verify FILE --root root.pub [options]

  FILE                    the file of evidence; - is standard input
  --root ROOT.PUB         the root keys that you were handed; nothing can be verified without
  --environment NAME      what every decision has to say: production (the default) or test
  --without PART,…        leaves parts out of what is asked: build, witness, reproduce, opening
  --since CHECKPOINT      a file with an older checkpoint that the log has to continue
  --revoked-builds FILE   a list of builds that must not have decided: a SHA-256 or a commit a line
  --min-keyring N         the lowest keyring version that is accepted
  --threads N             worker threads; as many as there are processors where nothing is said
  --json                  prints the report as JSON
  -h, --help              prints this
  -V, --version           prints the version

Exit code: 0 verified, 5 failed, 6 incomplete, 1 the file cannot be read, 2 bad arguments.
";

/// What the command line asks for.
struct Arguments {
    file: PathBuf,
    root: Option<PathBuf>,
    since: Option<PathBuf>,
    revoked_builds: Option<PathBuf>,
    ask: Ask,
    json: bool,
}

enum Command {
    Judge(Box<Arguments>),
    Print(String),
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Arguments(#[from] lexopt::Error),
    #[error("`{path}` is not {what}: {reason}", path = .path.display())]
    Content { path: PathBuf, what: &'static str, reason: String },
    #[error("`{path}` cannot be read: {source}", path = .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the report cannot be written: {0}")]
    Write(io::Error),
}

impl Failure {
    /// What to try next.
    fn help(&self) -> &'static str {
        match self {
            Self::Arguments(_) => "chancery-verify --help shows what can be given",
            Self::Content { .. } => {
                "give the root.pub, the older checkpoint or the list as it was handed to you"
            }
            Self::Read { .. } => "give the path of a file that this user can read",
            Self::Write(_) => "free some space, or write the report elsewhere",
        }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Arguments(_) | Self::Content { .. } => 2,
            Self::Read { .. } | Self::Write(_) => 1,
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // Nothing is left to be done where even this cannot be written.
            let _ = writeln!(io::stderr(), "chancery-verify: {failure}");
            let _ = writeln!(io::stderr(), "{}", failure.help());
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run() -> Result<u8, Failure> {
    let arguments = match parse(lexopt::Parser::from_env())? {
        Command::Judge(arguments) => *arguments,
        Command::Print(text) => {
            io::stdout().write_all(text.as_bytes()).map_err(Failure::Write)?;
            return Ok(0);
        }
    };
    let report = judge(&arguments)?;
    let text = if arguments.json { report.to_json() } else { report.to_string() };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Write)?;
    if let Some(error) = &report.input_error {
        let _ = writeln!(io::stderr(), "chancery-verify: {error}");
    }
    Ok(report.exit_code())
}

fn parse(mut parser: lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut ask = Ask::default();
    let (mut file, mut root, mut since, mut revoked_builds, mut json) = (None, None, None, None, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("root") => root = Some(PathBuf::from(parser.value()?)),
            Long("environment") => ask.environment = parser.value()?.parse()?,
            Long("without") => ask.without = parser.value()?.parse()?,
            Long("since") => since = Some(PathBuf::from(parser.value()?)),
            Long("revoked-builds") => revoked_builds = Some(PathBuf::from(parser.value()?)),
            Long("min-keyring") => ask.min_keyring = Some(parser.value()?.parse()?),
            Long("threads") => ask.threads = Some(parser.value()?.parse()?),
            Long("json") => json = true,
            Short('h') | Long("help") => return Ok(Command::Print(HELP.to_owned())),
            Short('V') | Long("version") => return Ok(Command::Print(format!("{VERIFIER}\n"))),
            Value(path) if file.is_none() => file = Some(PathBuf::from(path)),
            other => return Err(other.unexpected()),
        }
    }
    let file = file.ok_or("no file of evidence was given")?;
    Ok(Command::Judge(Box::new(Arguments { file, root, since, revoked_builds, ask, json })))
}

fn judge(arguments: &Arguments) -> Result<Report, Failure> {
    let root = arguments.root.as_deref().map(read_root).transpose()?;
    let mut ask = arguments.ask.clone();
    ask.since = arguments.since.as_deref().map(read_checkpoint).transpose()?;
    ask.revoked_builds = arguments.revoked_builds.as_deref().map(read_revoked_builds).transpose()?;
    if arguments.file == Path::new("-") {
        // `StdinLock` cannot go to another thread; the handle can.
        let input = BufReader::with_capacity(1 << 20, io::stdin());
        return Ok(verify(input, root.as_deref(), &ask));
    }
    let failed = |source| Failure::Read { path: arguments.file.clone(), source };
    let file = File::open(&arguments.file).map_err(failed)?;
    Ok(verify(BufReader::with_capacity(1 << 20, file), root.as_deref(), &ask))
}

/// A wrong `root.pub` is a wrong argument: nobody should take the verdict for one on the file.
fn read_root(path: &Path) -> Result<String, Failure> {
    let text = read_text(path, "a root.pub")?;
    match RootPub::parse(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(content(path, "a root.pub", error.to_string())),
    }
}

fn read_checkpoint(path: &Path) -> Result<String, Failure> {
    let text = read_text(path, "a checkpoint")?;
    match SignedCheckpoint::parse_unverified(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(content(path, "a checkpoint", error.to_string())),
    }
}

/// A list that cannot be read is a wrong argument: nobody should take the verdict for one that it was held against.
fn read_revoked_builds(path: &Path) -> Result<RevokedBuilds, Failure> {
    let what = "a list of revoked builds";
    let bytes = std::fs::read(path).map_err(|source| content(path, what, source.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| content(path, what, error.to_string()))?;
    text.parse().map_err(|error: AskError| content(path, what, error.to_string()))
}

fn read_text(path: &Path, what: &'static str) -> Result<String, Failure> {
    let bytes = std::fs::read(path).map_err(|source| Failure::Read { path: path.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|error| content(path, what, error.to_string()))
}

fn content(path: &Path, what: &'static str, reason: String) -> Failure {
    Failure::Content { path: path.to_owned(), what, reason }
}
