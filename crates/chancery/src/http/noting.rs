//! Evidence that goes by: which decisions it names, noted while somebody else reads it.

use std::io::{self, BufRead, Read};

use axum::http::StatusCode;
use chancery_core::digest::RecordId;
use chancery_core::dsse::Envelope;
use chancery_core::ids::ExecutionId;
use chancery_core::statement::{Decision, Statement};
use serde::Deserialize;

use super::error::Problem;

/// The most decisions that one request records verifications of.
pub(super) const DECISIONS_MAX: usize = 1_000;

/// The longest line that can be one of evidence (formats §1).
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A reader that notes the decisions of the lines that were read through it.
pub(super) struct Noting<R> {
    inner: R,
    line: Vec<u8>,
    decisions: Vec<(ExecutionId, RecordId)>,
    too_many: bool,
}

/// What is wanted of a line.
#[derive(Deserialize)]
struct Line {
    kind: String,
    envelope: Envelope,
}

impl<R: BufRead> Noting<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, line: Vec::new(), decisions: Vec::new(), too_many: false }
    }

    /// The decisions with their record ids, as the lines say; nothing about them was checked.
    pub(super) fn into_decisions(self) -> Result<Vec<(ExecutionId, RecordId)>, Problem> {
        if self.too_many {
            let detail = format!(
                "there are more than {DECISIONS_MAX} decisions; `POST /v1/verifications:backfill` records any number"
            );
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "verify.too_many", detail));
        }
        Ok(self.decisions)
    }

    fn note(&mut self) {
        let line = std::mem::take(&mut self.line);
        // Canonical JSON has no spaces. What is written otherwise is no evidence.
        if !line.windows(KIND.len()).any(|window| window == KIND) {
            return;
        }
        let Ok(Line { kind, envelope }) = serde_json::from_slice::<Line>(&line) else { return };
        if kind != "decision" {
            return;
        }
        let Ok(statement) = Statement::<Decision>::parse_unverified(&envelope.payload.0) else { return };
        if self.decisions.len() == DECISIONS_MAX {
            self.too_many = true;
            return;
        }
        self.decisions.push((statement.predicate.execution_id, envelope.record_id()));
    }
}

const KIND: &[u8] = b"\"kind\":\"decision\"";

impl<R: BufRead> BufRead for Noting<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // What is consumed was filled before, so this reads nothing.
        let mut rest = match self.inner.fill_buf() {
            Ok(buffer) => buffer.get(..amount).unwrap_or(buffer).to_vec(),
            Err(_) => Vec::new(),
        };
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let after = rest.split_off(end + 1);
            self.keep(&rest);
            self.note();
            rest = after;
        }
        self.keep(&rest);
        self.inner.consume(amount);
    }
}

impl<R: BufRead> Noting<R> {
    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
        self.line.extend(bytes.iter().take(room));
    }
}

impl<R: BufRead> Read for Noting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_by_unchanged_whatever_the_pieces_are() {
        let text = "{\"kind\":\"decision\"}\nnonsense\n\n{\"kind\":\"header\"}";
        for size in [1, 2, 7, 1_000] {
            let mut noting = Noting::new(io::BufReader::with_capacity(size, text.as_bytes()));
            let mut read = String::new();
            noting.read_to_string(&mut read).unwrap();
            assert_eq!(read, text);
            assert!(noting.into_decisions().unwrap().is_empty(), "none of these is a decision");
        }
    }
}
