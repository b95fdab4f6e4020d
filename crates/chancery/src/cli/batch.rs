//! `chancery decide --batch`: the rows of an NDJSON or CSV file, decided by the log on this machine or by a server.
//!
//! ```text
//! rows ─► Requests ─► the log, or a server ─► lines ─┐
//!            └ what was said of each row ────────────┴─► Summary
//! ```
//! Each row ends as a decision or as a refusal with its number and its line; memory is bounded by what is under way,
//! and by the refusals. An input that fails on the way, or a server, ends the batch; what was decided until then is
//! summed up all the same.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use chancery_core::ids::{PolicyId, PolicyVersion};
use chancery_core::json::Limits;
use chancery_runtime::Answer;
use chancery_runtime::failure::{Cause, Fault};
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::json;

use super::decide::{Decider, open};
use super::failure::Told;
use super::mapping::Mapping;
use super::open::Home;
use super::remote::{Problem, Remote};
use super::rows::Records;
use super::summary::{Line, Place, Refusal, Summary, ended_early};
use super::{Exit, Failure};
use crate::lines::Lines;

/// Rows that are under way between the reader of a CSV file and the summary.
const ROWS_UNDER_WAY: usize = 8_192;
/// Rows of one request to a server. Fewer than a server reads ahead of what is taken from it, and fewer than may be
/// under way here.
const PIECE_ROWS: usize = 1_024;
/// Bytes after which a request to a server has no further row; for the same reason.
const PIECE_BYTES: usize = 4 * 1024 * 1024;

/// The lines of an NDJSON file, each a request.
pub(super) fn ndjson(
    policy: &PolicyId,
    version: Option<&PolicyVersion>,
    file: &Path,
    home: &Home<'_>,
) -> Result<Exit, Failure> {
    let input: Box<dyn Read + Send> =
        if file.as_os_str() == "-" { Box::new(io::stdin()) } else { Box::new(open(file)?) };
    let decider = Decider::open(home)?;
    decider.in_force(policy, version)?;
    let bar = home.output.progress("deciding", None);
    let counted = bar.clone();
    let (policy, version) = (policy.clone(), version.cloned());
    let lines = Lines::new(BufReader::new(input), Limits::REQUEST.bytes).inspect(move |_| counted.inc(1));
    let rows = (1..).zip(lines).map(move |(number, line)| {
        let request = under(&policy, version.as_ref(), line?);
        Ok(Row { place: Place { row: number, line: number }, request })
    });
    decide_rows(&decider, home, rows, &bar)
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

/// The rows of a CSV file, made requests by a mapping.
pub(super) fn csv(
    mapping: Option<&Path>,
    policy: &PolicyId,
    version: Option<&PolicyVersion>,
    file: &Path,
    home: &Home<'_>,
) -> Result<Exit, Failure> {
    let mapping_path =
        mapping.map_or_else(|| home.folder().join(format!("policies/{policy}/mapping.toml")), Path::to_owned);
    let mapping = std::fs::read_to_string(&mapping_path).map_err(|error| {
        Failure::because(Exit::Usage, format!("cannot read the mapping `{}`", mapping_path.display()), &error)
            .help("name one with `--mapping`; policies/README.md has the format")
    })?;
    let input = open(file)?;
    let bytes = input.metadata().map_or(0, |data| data.len());
    let bar = home.output.progress("deciding", Some(bytes));
    let unreadable = |error: &io::Error| {
        Failure::because(Exit::Runtime, format!("cannot read `{}`", file.display()), error)
            .help("name a file that this user can read")
    };
    let mut records = Records::new(BufReader::new(bar.wrap_read(input)), Limits::REQUEST.bytes)
        .map_err(|error| unreadable(&error))?;
    let Some(header) = records.next() else {
        return Err(Failure::usage(format!(
            "`{}` has no first line with the names of columns",
            file.display()
        ))
        .help("an empty file is often an upload that was lost"));
    };
    let header = header.map_err(|error| unreadable(&error))?.cells.map_err(|fault| {
        let what = format!("the first line of `{}` names no columns", file.display());
        Failure::told(Cause::Caller, "request.invalid", &what, &[Told::from(&fault)]).help(
            "a CSV file is UTF-8 with commas, quotes as in RFC 4180, and a first line that names the columns",
        )
    })?;
    if let Some(separator) = separator(&header) {
        return Err(Failure::usage(format!(
            "the first line of `{}` is {} by commas, and has a {separator} between its columns, as it seems",
            file.display(),
            if header.len() == 1 { "one column" } else { "hardly divided" }
        ))
        .help("a CSV file has commas (RFC 4180): export it again with them"));
    }
    let decider = Decider::open(home)?;
    let version = decider.in_force(policy, version)?;
    let signals = decider.signals(policy, &version)?;
    let mapping = Mapping::parse(&mapping, &signals, &header).map_err(|error| {
        Failure::because(Exit::Usage, format!("the mapping `{}`", mapping_path.display()), &error)
            .help("policies/README.md has the format")
    })?;

    let policy = policy.to_string();
    let rows = (1..).zip(records).map(move |(number, record)| {
        let record = record?;
        let request = match record.cells {
            Ok(cells) => {
                mapping.request(&policy, number, &cells).map(|request| request.to_string().into_bytes())
            }
            Err(fault) => Err(vec![fault]),
        };
        Ok(Row { place: Place { row: number, line: record.line }, request })
    });
    decide_rows(&decider, home, rows, &bar)
}

/// What seems to divide the columns where commas do not.
fn separator(header: &[String]) -> Option<&'static str> {
    let count =
        |separator: char| header.iter().flat_map(|name| name.chars()).filter(|c| *c == separator).count();
    let likely = [(';', "semicolon"), ('\t', "tab"), ('|', "vertical bar")];
    let (count, name) = likely.map(|(separator, name)| (count(separator), name)).into_iter().max()?;
    (count >= header.len()).then_some(name)
}

/// A row of an input: the request that it makes, or why it makes none.
struct Row {
    place: Place,
    request: Result<Vec<u8>, Vec<Fault>>,
}

/// What the reader of an input says about a row before it is decided, in the order of the rows.
enum Said {
    Sent(Place),
    Refused(Place, Vec<Fault>),
    Unreadable(io::Error),
}

/// Decides what the rows make, prints what became of them, and signs a checkpoint over it.
fn decide_rows(
    decider: &Decider,
    home: &Home<'_>,
    rows: impl Iterator<Item = io::Result<Row>> + Send + 'static,
    bar: &ProgressBar,
) -> Result<Exit, Failure> {
    let mut summary = Summary::default();
    let taken = take_rows(decider, home, rows, &mut summary);
    bar.finish_and_clear();
    let printed = summary.finish(taken.is_ok(), home.output);
    let finished = decider.finish(home);
    taken?;
    finished?;
    printed
}

/// Decides what the rows make, and puts the rows that make no request back between those that do.
fn take_rows(
    decider: &Decider,
    home: &Home<'_>,
    rows: impl Iterator<Item = io::Result<Row>> + Send + 'static,
    summary: &mut Summary,
) -> Result<(), Failure> {
    let (sender, said) = mpsc::sync_channel(ROWS_UNDER_WAY);
    let requests = Requests { rows, sender };
    let no_thread = |error| Failure::system("cannot start a thread for the input", &error);
    let mut lines: Box<dyn Iterator<Item = Line>> = match decider {
        Decider::Here(runtime) => {
            Box::new(runtime.batch(&home.caller()?, requests).map_err(no_thread)?.map(Line::from))
        }
        Decider::There(server) => Box::new(ask(server.clone(), requests).map_err(no_thread)?),
    };
    for row in said {
        match row {
            Said::Sent(place) => match lines.next() {
                Some(line) => summary.take(place, line, home.output)?,
                None => {
                    return Err(Failure::new(Exit::Runtime, format!("{place} was not answered"))
                        .help("run the command again: what is recorded is answered as it was"));
                }
            },
            Said::Refused(place, errors) => {
                let (code, detail) = ("row.invalid".to_owned(), "the row makes no request".to_owned());
                let errors = errors.iter().map(Told::from).collect();
                summary.refuse(Refusal { place, code, detail, errors }, home.output)?;
            }
            Said::Unreadable(error) => return Err(ended_early(summary.rows, &error)),
        }
    }
    Ok(())
}

/// The requests that rows make; says about each row what becomes of it before it is sent.
struct Requests<I> {
    rows: I,
    sender: SyncSender<Said>,
}

impl<I: Iterator<Item = io::Result<Row>>> Iterator for Requests<I> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (said, request) = match self.rows.next()? {
                Ok(Row { place, request: Ok(request) }) => (Said::Sent(place), Some(request)),
                Ok(Row { place, request: Err(faults) }) => (Said::Refused(place, faults), None),
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

/// Asks a server about requests, on a thread of its own.
///
/// A piece of the rows is one request to `:batch`. The server takes a whole piece before it has to be read
/// (it reads 4,096 lines or 16 MiB ahead), so a client that sends first and reads then does not stand in its own way.
fn ask(
    server: Remote,
    mut requests: impl Iterator<Item = io::Result<Vec<u8>>> + Send + 'static,
) -> io::Result<impl Iterator<Item = Line>> {
    let (sender, lines) = mpsc::sync_channel(PIECE_ROWS);
    thread::Builder::new().name("batch-server".to_owned()).spawn(move || {
        loop {
            let (mut piece, mut rows) = (Vec::new(), 0);
            while rows < PIECE_ROWS && piece.len() < PIECE_BYTES {
                // An input that fails has said so, and ends like any other.
                let Some(Ok(request)) = requests.next() else { break };
                piece.extend(request);
                piece.push(b'\n');
                rows += 1;
            }
            if rows == 0 {
                return;
            }
            if let Err(failure) = ask_piece(&server, &piece, rows, &sender) {
                // Nobody listens any more when the command has ended.
                let _ = sender.send(Line::Failed(failure));
                return;
            }
        }
    })?;
    Ok(lines.into_iter())
}

/// One piece: as many lines come back as were sent.
fn ask_piece(server: &Remote, piece: &[u8], rows: usize, lines: &SyncSender<Line>) -> Result<(), Failure> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Answered {
        Decided(Box<Marked>),
        Refused(Problem),
    }
    #[derive(Deserialize)]
    struct Marked {
        #[serde(default)]
        replayed: bool,
        #[serde(flatten)]
        answer: Answer,
    }
    let response = server.post("/v1/decisions:batch?mark_replayed=true", "application/x-ndjson", piece)?;
    let mut left = rows;
    for line in Remote::lines(response).lines() {
        let answered = line.map_err(|error| server.broken(&error))?;
        left = left.checked_sub(1).ok_or_else(|| server.broken(&Ahead))?;
        let line = match serde_json::from_str(&answered).map_err(|error| server.broken(&error))? {
            Answered::Decided(marked) => {
                Line::Decided(Box::new(Answer { replayed: marked.replayed, ..marked.answer }))
            }
            Answered::Refused(Problem { code, detail, errors, .. }) => Line::Refused { code, detail, errors },
        };
        if lines.send(line).is_err() {
            return Ok(());
        }
    }
    if left == 0 { Ok(()) } else { Err(server.broken(&Short { left })) }
}

#[derive(Debug, thiserror::Error)]
#[error("it has more lines than were asked for")]
struct Ahead;

#[derive(Debug, thiserror::Error)]
#[error("{left} lines are missing; what was sent may have been recorded")]
struct Short {
    left: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_separator_that_is_no_comma_is_named() {
        let header = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
        for (line, expected) in [
            ("a;b;c", Some("semicolon")),
            ("a\tb", Some("tab")),
            ("a|b|c", Some("vertical bar")),
            ("a;b,c;d", Some("semicolon")),
            ("a,b,c", None),
            ("a,b;c,d", None),
            ("a", None),
        ] {
            assert_eq!(separator(&header(line)), expected, "{line}");
        }
    }
}
