//! `chancery decide`: one execution, or a batch of them from NDJSON or CSV.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};

use chancery_core::ids::{PolicyId, PolicyVersion};
use chancery_core::json::Limits;
use chancery_core::statement::ExecutionState;
use chancery_runtime::batch::{BatchError, BatchLine};
use chancery_runtime::bundles::LoadedBundle;
use chancery_runtime::failure::Fault;
use chancery_runtime::{Answer, Failure as _, Runtime};
use csv::StringRecord;
use serde::Serialize;
use serde_json::{Value, json};

use super::failure::fault_line;
use super::mapping::Mapping;
use super::open::Home;
use super::output::{Format, Output, table};
use super::{Exit, Failure};

/// Rows that are under way between the reader of a CSV file and the summary.
const ROWS_UNDER_WAY: usize = 8_192;
/// Refused rows that the text summary names; all of them are in the JSON one.
const REFUSALS_SHOWN: usize = 20;

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
    /// Fail with exit code 7 if the outcome is another.
    #[arg(long, value_name = "OUTCOME", requires = "signals")]
    expect: Option<String>,
}

pub(super) fn run(arguments: Arguments, home: &Home<'_>) -> Result<Exit, Failure> {
    let (policy, version) = parse_policy(&arguments.policy)?;
    match (&arguments.signals, &arguments.batch) {
        (Some(signals), _) => one(&arguments, &policy, version.as_ref(), signals, home),
        (_, Some(file)) if file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv")) => {
            csv_batch(&arguments, &policy, version.as_ref(), file, home)
        }
        (_, Some(file)) => ndjson_batch(&policy, version.as_ref(), file, home),
        (None, None) => Err(Failure::usage("give `--signals` or `--batch`")),
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
    let signals = read_small(signals)?;
    let runtime = home.runtime()?;
    let execution_id = match &arguments.execution_id {
        Some(id) => id.clone(),
        None => format!("cli-{}", home.random_hex()?),
    };
    let request = request_text(&execution_id, policy, version, arguments.resource.as_deref(), &signals);
    let answer = runtime.execute_blocking(&home.caller()?, request.as_bytes())?;
    home.finish(&runtime)?;
    home.output.print(&answer, describe)?;
    Ok(match (&arguments.expect, answer.execution_state) {
        (Some(expected), _) if *expected != answer.decision => Exit::Unexpected,
        (None, ExecutionState::PendingOverride) => Exit::PendingOverride,
        _ => Exit::Ok,
    })
}

/// A request around signals that stay exactly as they were written: the strict parser must see what the file has.
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
        text.push_str(&format!("  {} ({}): {}\n", reason.code, reason.policy, reason.text));
    }
    for error in &answer.errors {
        text.push_str(&format!("  {} ({}): {}\n", error.code, error.policy, error.text));
    }
    text.push_str(&format!(
        "  policy {}@{}, log index {}, fingerprint {}",
        answer.policy.id, answer.policy.version, answer.log.index, answer.execution_fingerprint
    ));
    text
}

/// What became of a batch. Its figures add up: `rows` = all of `decided` + `refused`.
#[derive(Debug, Default, Serialize)]
struct Summary {
    rows: u64,
    /// Outcome → how many.
    decided: BTreeMap<String, u64>,
    /// How many of the decided wait for an override.
    pending_override: u64,
    /// How many of the decided are blocked.
    blocked: u64,
    /// How many of the decided had been recorded before.
    replayed: u64,
    refused: Vec<Refusal>,
}

#[derive(Debug, Serialize)]
struct Refusal {
    row: u64,
    code: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
}

impl Summary {
    fn decided(&mut self, answer: &Answer) {
        self.rows += 1;
        *self.decided.entry(answer.decision.clone()).or_default() += 1;
        self.pending_override += u64::from(answer.execution_state == ExecutionState::PendingOverride);
        self.blocked += u64::from(answer.execution_state == ExecutionState::Blocked);
        self.replayed += u64::from(answer.replayed);
    }

    /// One line of a batch, recorded or refused; an input that fails ends everything.
    fn take(&mut self, row: u64, line: BatchLine, output: Output) -> Result<(), Failure> {
        match line.result {
            Ok(answer) => {
                self.decided(&answer);
                if output.format == Format::Ndjson {
                    output.print(&json!({"row": row, "answer": answer}), ToString::to_string)?;
                }
                Ok(())
            }
            Err(BatchError::Input(error)) => Err(Failure::because(
                Exit::Runtime,
                format!("the input ended with an error after row {}", row.saturating_sub(1)),
                &error,
            )
            .help("rows that were decided are recorded; run the command again, and they are answered as they were")),
            Err(BatchError::Execute(error)) => self.refuse(
                Refusal { row, code: error.code(), detail: error.detail(), errors: error.faults().to_vec() },
                output,
            ),
        }
    }

    fn refuse(&mut self, refusal: Refusal, output: Output) -> Result<(), Failure> {
        self.rows += 1;
        if output.format == Format::Ndjson {
            output.print(&refusal, |_| String::new())?;
        }
        self.refused.push(refusal);
        Ok(())
    }

    fn finish(self, output: Output) -> Result<Exit, Failure> {
        let exit = if self.refused.is_empty() { Exit::Ok } else { Exit::Usage };
        match output.format {
            Format::Ndjson => {}
            Format::Json | Format::Text => output.print(&self, Self::text)?,
        }
        Ok(exit)
    }

    fn text(&self) -> String {
        let outcomes = self.decided.iter().map(|(outcome, count)| (outcome.as_str(), *count));
        let refused = u64::try_from(self.refused.len()).unwrap_or(u64::MAX);
        let rows = outcomes.chain([("refused", refused), ("total", self.rows)]);
        let mut text =
            table(&["outcome", "rows"], rows.map(|(name, count)| vec![name.to_owned(), count.to_string()]));
        text.push_str(&format!(
            "\n{} wait for an override, {} are blocked, {} had been decided before",
            self.pending_override, self.blocked, self.replayed
        ));
        for refusal in self.refused.iter().take(REFUSALS_SHOWN) {
            text.push_str(&format!("\nrow {}: {}: {}", refusal.row, refusal.code, refusal.detail));
            for fault in &refusal.errors {
                text.push_str(&format!("\n  {}", fault_line(fault)));
            }
        }
        if self.refused.len() > REFUSALS_SHOWN {
            text.push_str(&format!("\n… and {} more: see `-o json`", self.refused.len() - REFUSALS_SHOWN));
        }
        text
    }
}

fn ndjson_batch(
    policy: &PolicyId,
    version: Option<&PolicyVersion>,
    file: &Path,
    home: &Home<'_>,
) -> Result<Exit, Failure> {
    let input: Box<dyn Read + Send> =
        if file.as_os_str() == "-" { Box::new(io::stdin()) } else { Box::new(open(file)?) };
    let runtime = home.runtime()?;
    in_force(&runtime, policy, version)?;
    let bar = home.output.progress("deciding", None);
    let mut summary = Summary::default();
    for line in runtime.batch(&home.caller()?, Lines(BufReader::new(input))).map_err(no_thread)? {
        summary.take(line.line, line, home.output)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    home.finish(&runtime)?;
    summary.finish(home.output)
}

/// The lines of an input, none longer than a request may be by more than a byte: the rest of a longer one is
/// skipped, and what is left is refused for its size.
struct Lines<R>(BufReader<R>);

impl<R: Read> Iterator for Lines<R> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        let mut ended = false;
        while !ended {
            let buffer = match self.0.fill_buf() {
                Ok([]) => break,
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Some(Err(error)),
            };
            let (taken, used) = match buffer.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    ended = true;
                    (buffer.get(..end).unwrap_or_default(), end + 1)
                }
                None => (buffer, buffer.len()),
            };
            let room = (Limits::REQUEST.bytes + 1).saturating_sub(line.len());
            line.extend(taken.iter().take(room));
            self.0.consume(used);
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        (ended || !line.is_empty()).then_some(Ok(line))
    }
}

/// What the reader of a CSV file says about a row, in the order of the rows.
enum Row {
    Sent(u64),
    Refused(u64, Vec<Fault>),
    Unreadable(csv::Error),
}

fn csv_batch(
    arguments: &Arguments,
    policy: &PolicyId,
    version: Option<&PolicyVersion>,
    file: &Path,
    home: &Home<'_>,
) -> Result<Exit, Failure> {
    let mapping_path = arguments
        .mapping
        .clone()
        .unwrap_or_else(|| home.folder().join(format!("policies/{policy}/mapping.toml")));
    let mapping = std::fs::read_to_string(&mapping_path).map_err(|error| {
        Failure::because(Exit::Usage, format!("cannot read the mapping `{}`", mapping_path.display()), &error)
            .help("name one with `--mapping`; policies/README.md has the format")
    })?;
    let input = open(file)?;
    let bytes = input.metadata().map_or(0, |data| data.len());
    let bar = home.output.progress("deciding", Some(bytes));
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).from_reader(bar.wrap_read(BufReader::new(input)));
    let unreadable = |error: csv::Error| {
        Failure::because(Exit::Usage, format!("cannot read `{}`", file.display()), &error).help(
            "a CSV file is UTF-8 with commas, quotes as in RFC 4180, and a first line that names the columns",
        )
    };
    let header = reader.headers().map_err(unreadable)?.clone();
    let runtime = home.runtime()?;
    let loaded = in_force(&runtime, policy, version)?;
    let mapping = Mapping::parse(&mapping, loaded.bundle.attributes(), &header).map_err(|error| {
        Failure::because(Exit::Usage, format!("the mapping `{}`", mapping_path.display()), &error)
            .help("policies/README.md has the format")
    })?;

    let (sender, rows) = mpsc::sync_channel(ROWS_UNDER_WAY);
    let requests =
        Requests { rows: reader.into_records(), mapping, policy: policy.to_string(), number: 0, sender };
    let lines = runtime.batch(&home.caller()?, requests).map_err(no_thread)?;
    let summary = gather(rows, lines, home.output, unreadable)?;
    bar.finish_and_clear();
    home.finish(&runtime)?;
    summary.finish(home.output)
}

/// Puts the rows that never became a request back between those that did.
fn gather(
    rows: Receiver<Row>,
    mut lines: impl Iterator<Item = BatchLine>,
    output: Output,
    unreadable: impl Fn(csv::Error) -> Failure,
) -> Result<Summary, Failure> {
    let mut summary = Summary::default();
    for row in rows {
        match row {
            Row::Sent(number) => match lines.next() {
                Some(line) => summary.take(number, line, output)?,
                None => return Err(Failure::new(Exit::Runtime, format!("row {number} was not answered"))),
            },
            Row::Refused(row, errors) => {
                let detail = "the row cannot become a request".to_owned();
                summary.refuse(Refusal { row, code: "row.invalid", detail, errors }, output)?;
            }
            Row::Unreadable(error) => return Err(unreadable(error)),
        }
    }
    Ok(summary)
}

/// The requests that the rows of a CSV file make; says about each row what became of it before it is sent.
struct Requests<R> {
    rows: csv::StringRecordsIntoIter<R>,
    mapping: Mapping,
    policy: String,
    number: u64,
    sender: SyncSender<Row>,
}

impl<R: Read> Iterator for Requests<R> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let row: StringRecord = match self.rows.next()? {
                Ok(row) => row,
                Err(error) => {
                    // The summary hears it; that nobody listens any more only means that it has ended.
                    let _ = self.sender.send(Row::Unreadable(error));
                    return None;
                }
            };
            self.number += 1;
            let (said, request) = match self.mapping.request(&self.policy, self.number, &row) {
                Ok(request) => (Row::Sent(self.number), Some(bytes(&request))),
                Err(faults) => (Row::Refused(self.number, faults), None),
            };
            self.sender.send(said).ok()?;
            if let Some(request) = request {
                return Some(Ok(request));
            }
        }
    }
}

fn bytes(request: &Value) -> Vec<u8> {
    request.to_string().into_bytes()
}

/// The bundle that decides now: a batch under a policy that is not there fails before its first row.
fn in_force(
    runtime: &Runtime,
    policy: &PolicyId,
    version: Option<&PolicyVersion>,
) -> Result<Arc<LoadedBundle>, Failure> {
    let loaded = runtime.in_force().into_iter().find(|loaded| loaded.policy == *policy);
    let Some(loaded) = loaded else {
        return Err(Failure::new(Exit::NotFound, format!("no version of the policy `{policy}` is in force"))
            .help("`chancery bundle history` shows what is; `chancery bundle activate` puts one in force"));
    };
    match version {
        Some(asked) if *asked != loaded.version => {
            let message = format!("`{policy}@{asked}` is not in force, `{}` is", loaded.version);
            Err(Failure::new(Exit::Conflict, message).help("leave the version out, or activate it first"))
        }
        _ => Ok(loaded),
    }
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| {
        Failure::because(Exit::Usage, format!("cannot read `{}`", path.display()), &error)
            .help("give the path of a file that this user can read")
    })
}

/// Reads a file of signals; one byte more than a request may have is enough to refuse it.
fn read_small(path: &Path) -> Result<String, Failure> {
    let input: Box<dyn Read> =
        if path.as_os_str() == "-" { Box::new(io::stdin()) } else { Box::new(open(path)?) };
    let limit = u64::try_from(Limits::REQUEST.bytes + 1).unwrap_or(u64::MAX);
    let mut text = String::new();
    input.take(limit).read_to_string(&mut text).map_err(|error| {
        Failure::because(Exit::Usage, format!("cannot read `{}`", path.display()), &error)
            .help("signals are a JSON object in UTF-8")
    })?;
    Ok(text)
}

fn no_thread(error: io::Error) -> Failure {
    Failure::because(Exit::Runtime, "cannot start a thread for the input", &error)
}
