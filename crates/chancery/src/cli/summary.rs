//! What became of a batch: counted, and printed in the form that was asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use chancery_core::statement::ExecutionState;
use chancery_runtime::batch::{BatchError, BatchLine};
use chancery_runtime::{Answer, Failure as _};
use serde::Serialize;
use serde_json::json;

use super::failure::Told;
use super::output::{Format, Output, foreign, table};
use super::{Exit, Failure};

/// Refused rows that the text summary names; all of them are in the JSON one.
const REFUSALS_SHOWN: usize = 20;

/// What became of a batch. Its figures add up: `rows` = all of `decided` + `refused`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    pub(super) rows: u64,
    /// Outcome → how many.
    decided: BTreeMap<String, u64>,
    /// How many of the decided wait for an override.
    pending_override: u64,
    /// How many of the decided are blocked.
    blocked: u64,
    /// How many of the decided had been recorded before.
    replayed: u64,
    refused: Vec<Refusal>,
    /// Whether these are all rows: false where the input or the server failed on the way.
    complete: bool,
}

/// Where a row is. The rows of an NDJSON file are its lines; in CSV there is a header, and cells may have several lines.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Place {
    /// Its number, from 1, without the header.
    pub(super) row: u64,
    /// The line of the file on which it begins, from 1.
    pub(super) line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}", self.row)?;
        if self.line == self.row { Ok(()) } else { write!(f, " (line {})", self.line) }
    }
}

/// A row that was not decided, and why.
#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    #[serde(flatten)]
    pub(super) place: Place,
    pub(super) code: String,
    pub(super) detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) errors: Vec<Told>,
}

/// What becomes of a request.
pub(super) enum Line {
    Decided(Box<Answer>),
    Refused {
        code: String,
        detail: String,
        errors: Vec<Told>,
    },
    /// The input failed; there are no lines after this one.
    Ended(io::Error),
    /// The server did; neither.
    Failed(Failure),
}

impl From<BatchLine> for Line {
    fn from(line: BatchLine) -> Self {
        match line.result {
            Ok(answer) => Self::Decided(Box::new(answer)),
            Err(BatchError::Input(error)) => Self::Ended(error),
            Err(BatchError::Execute(error)) => Self::Refused {
                code: error.code().to_owned(),
                detail: error.detail(),
                errors: error.faults().iter().map(Told::from).collect(),
            },
        }
    }
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
    pub(super) fn take(&mut self, place: Place, line: Line, output: Output) -> Result<(), Failure> {
        match line {
            Line::Decided(answer) => {
                self.decided(&answer);
                if output.format == Format::Ndjson {
                    let printed = json!({"row": place.row, "line": place.line, "answer": answer});
                    output.print(&printed, ToString::to_string)?;
                }
                Ok(())
            }
            Line::Refused { code, detail, errors } => {
                self.refuse(Refusal { place, code, detail, errors }, output)
            }
            Line::Ended(error) => Err(ended_early(self.rows, &error)),
            Line::Failed(failure) => Err(failure),
        }
    }

    /// A row that made no request, or whose request was refused.
    pub(super) fn refuse(&mut self, refusal: Refusal, output: Output) -> Result<(), Failure> {
        self.rows += 1;
        if output.format == Format::Ndjson {
            output.print(&refusal, |_| String::new())?;
        }
        self.refused.push(refusal);
        Ok(())
    }

    /// Prints it. A blocked row makes the exit code 3, else a refused one 2; rows that wait for an override are no
    /// failure of a batch.
    pub(super) fn finish(mut self, complete: bool, output: Output) -> Result<Exit, Failure> {
        self.complete = complete;
        let exit = match (self.blocked, self.refused.len()) {
            (1.., _) => Exit::PolicyInvalid,
            (0, 1..) => Exit::Usage,
            (0, 0) => Exit::Ok,
        };
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
        if !self.complete {
            text.push_str("\nthere may be more rows: the batch ended early");
        }
        for refusal in self.refused.iter().take(REFUSALS_SHOWN) {
            text.push_str(&format!("\n{}: {}: {}", refusal.place, refusal.code, foreign(&refusal.detail)));
            for fault in &refusal.errors {
                text.push_str(&format!("\n  {fault}"));
            }
        }
        if self.refused.len() > REFUSALS_SHOWN {
            text.push_str(&format!("\n… and {} more: see `-o json`", self.refused.len() - REFUSALS_SHOWN));
        }
        text
    }
}

/// The failure of a batch whose input ended before its end.
pub(super) fn ended_early(rows: u64, error: &io::Error) -> Failure {
    Failure::because(Exit::Runtime, format!("the input cannot be read after row {rows}"), error)
        .help("rows before it are recorded; mend the input and run the command again: they are answered as they were")
}
