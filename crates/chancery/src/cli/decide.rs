//! `chancery decide`: one execution, or a batch of them from NDJSON or CSV.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};

use chancery_core::ids::{PolicyId, PolicyVersion};
use chancery_core::json::Limits;
use chancery_core::statement::ExecutionState;
use chancery_runtime::batch::{BatchError, BatchLine};
use chancery_runtime::bundles::LoadedBundle;
use chancery_runtime::failure::Fault;
use chancery_runtime::{Answer, Failure as _, Runtime};
use serde::{Deserialize, Serialize};
use serde_json::json;

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
            Err(BatchError::Input(error)) => Err(ended_early(self.rows, &error)),
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
    let (policy, version) = (policy.clone(), version.cloned());
    let rows = Lines(BufReader::new(input)).map(move |line| Ok(under(&policy, version.as_ref(), line?)));
    let counted = bar.clone();
    let summary = decide_rows(&runtime, home, rows.inspect(move |_| counted.inc(1)))?;
    bar.finish_and_clear();
    home.finish(&runtime)?;
    summary.finish(home.output)
}

/// A line as a request under `policy`: named where the line names none; one that names another is refused, because
/// whoever started the batch said which policy decides.
fn under(policy: &PolicyId, version: Option<&PolicyVersion>, line: Vec<u8>) -> Result<Vec<u8>, Vec<Fault>> {
    #[derive(Deserialize)]
    struct Named {
        policy: Option<String>,
        version: Option<String>,
    }
    // What does not parse goes on: admission says what is wrong with it, and where.
    let Ok(named) = serde_json::from_slice::<Named>(&line) else { return Ok(line) };
    let mut faults = Vec::new();
    let mut missing = Vec::new();
    let wanted = [
        ("policy", named.policy, Some(policy.to_string())),
        ("version", named.version, version.map(ToString::to_string)),
    ];
    for (member, named, wanted) in wanted {
        match (named, wanted) {
            (Some(named), Some(wanted)) if named != wanted => faults.push(Fault {
                pointer: Some(format!("/{member}")),
                code: "batch.policy",
                expected: format!("`{wanted}`, as the command says"),
                found: "another one".to_owned(),
            }),
            (None, Some(wanted)) => missing.push(format!("\"{member}\":{},", json!(wanted))),
            _ => {}
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let Some(open) = line.iter().position(|byte| *byte == b'{').filter(|_| !missing.is_empty()) else {
        return Ok(line);
    };
    let (before, after) = line.split_at(open + 1);
    Ok([before, missing.concat().as_bytes(), after].concat())
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
    if header.is_empty() {
        return Err(Failure::usage(format!(
            "`{}` has no first line with the names of columns",
            file.display()
        ))
        .help("an empty file is often an upload that was lost"));
    }
    let runtime = home.runtime()?;
    let loaded = in_force(&runtime, policy, version)?;
    let mapping = Mapping::parse(&mapping, loaded.bundle.attributes(), &header).map_err(|error| {
        Failure::because(Exit::Usage, format!("the mapping `{}`", mapping_path.display()), &error)
            .help("policies/README.md has the format")
    })?;

    let policy = policy.to_string();
    let rows = (1..).zip(reader.into_records()).map(move |(number, row)| {
        Ok(mapping.request(&policy, number, &row?).map(|request| request.to_string().into_bytes()))
    });
    let summary = decide_rows(&runtime, home, rows)?;
    bar.finish_and_clear();
    home.finish(&runtime)?;
    summary.finish(home.output)
}

/// A row of an input: the request that it makes, or why it makes none.
type Row = Result<Vec<u8>, Vec<Fault>>;

/// What the reader of an input says about a row before it is decided, in the order of the rows.
enum Said {
    Sent(u64),
    Refused(u64, Vec<Fault>),
    Unreadable(io::Error),
}

/// Decides what the rows make, and puts the rows that make no request back between those that do.
fn decide_rows(
    runtime: &Runtime,
    home: &Home<'_>,
    rows: impl Iterator<Item = io::Result<Row>> + Send + 'static,
) -> Result<Summary, Failure> {
    let (sender, said) = mpsc::sync_channel(ROWS_UNDER_WAY);
    let lines = runtime.batch(&home.caller()?, Requests { rows, number: 0, sender });
    let mut lines = lines
        .map_err(|error| Failure::because(Exit::Runtime, "cannot start a thread for the input", &error))?;
    let mut summary = Summary::default();
    for row in said {
        match row {
            Said::Sent(number) => match lines.next() {
                Some(line) => summary.take(number, line, home.output)?,
                None => return Err(Failure::new(Exit::Runtime, format!("row {number} was not answered"))),
            },
            Said::Refused(row, errors) => {
                let detail = "the row makes no request".to_owned();
                summary.refuse(Refusal { row, code: "row.invalid", detail, errors }, home.output)?;
            }
            Said::Unreadable(error) => return Err(ended_early(summary.rows, &error)),
        }
    }
    Ok(summary)
}

fn ended_early(rows: u64, error: &io::Error) -> Failure {
    Failure::because(Exit::Runtime, format!("the input cannot be read after row {rows}"), error)
        .help("rows before it are recorded; mend the input and run the command again: they are answered as they were")
}

/// The requests that rows make; says about each row what becomes of it before it is sent.
struct Requests<I> {
    rows: I,
    number: u64,
    sender: SyncSender<Said>,
}

impl<I: Iterator<Item = io::Result<Row>>> Iterator for Requests<I> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let row = self.rows.next()?;
            self.number += 1;
            let (said, request) = match row {
                Ok(Ok(request)) => (Said::Sent(self.number), Some(request)),
                Ok(Err(faults)) => (Said::Refused(self.number, faults), None),
                Err(error) => {
                    // That nobody listens any more only means that the command has ended.
                    let _ = self.sender.send(Said::Unreadable(error));
                    return None;
                }
            };
            self.sender.send(said).ok()?;
            if let Some(request) = request {
                return Some(Ok(request));
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<Vec<u8>> {
        Lines(BufReader::with_capacity(7, input)).collect::<io::Result<_>>().unwrap()
    }

    #[test]
    fn lines_end_with_or_without_a_newline() {
        assert_eq!(lines(b"a\nbb\r\n\nlast without end"), [&b"a"[..], b"bb", b"", b"last without end"]);
        assert!(lines(b"").is_empty());
    }

    #[test]
    fn an_endless_line_is_cut_one_byte_above_the_limit() {
        let mut input = vec![b'x'; Limits::REQUEST.bytes * 3];
        input.extend(b"\nnext\n");
        let lines = lines(&input);
        assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [Limits::REQUEST.bytes + 1, 4]);
    }

    #[test]
    fn a_line_is_decided_under_the_policy_of_the_command_or_not_at_all() {
        let (policy, version) = ("p".parse().unwrap(), "1.0.0".parse().unwrap());
        let sift = |version, line: &str| under(&policy, version, line.as_bytes().to_vec());
        assert_eq!(sift(None, "{\"policy\":\"p\"}").unwrap(), b"{\"policy\":\"p\"}");
        assert_eq!(sift(None, " {\"a\":1}").unwrap(), b" {\"policy\":\"p\",\"a\":1}");
        let both = sift(Some(&version), "{\"a\":1}").unwrap();
        assert_eq!(both, b"{\"policy\":\"p\",\"version\":\"1.0.0\",\"a\":1}");
        let other = sift(Some(&version), "{\"policy\":\"q\",\"version\":\"2.0.0\"}").unwrap_err();
        assert_eq!(
            other.iter().filter_map(|fault| fault.pointer.as_deref()).collect::<Vec<_>>(),
            ["/policy", "/version"]
        );
        assert_eq!(sift(None, "no json").unwrap(), b"no json");
    }

    #[test]
    fn signals_go_into_the_request_as_they_were_written() {
        let policy = "p".parse().unwrap();
        let text = request_text("e\"1", &policy, None, Some("r"), "{\"a\": 1.50, \"a\": 2}");
        assert_eq!(
            text,
            r#"{"execution_id":"e\"1","policy":"p","resource":"r","signals":{"a": 1.50, "a": 2}}"#
        );
    }
}
