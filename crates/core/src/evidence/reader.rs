//! Reading a file line by line, hashing it on the way.

use std::io::{self, BufRead, Read};

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::{LINE_BYTES_MAX, Line, LineError};
use crate::digest::Digest;

/// Gives the lines of a file as they are and keeps the SHA-256 of what it has read.
///
/// Holds one line at a time, and of a line that is too long nothing at all. Give it a large buffer
/// (`BufReader::with_capacity(1 << 20, …)`).
#[derive(Debug)]
pub struct Reader<R> {
    inner: R,
    line_bytes_max: usize,
    lines: u64,
    offset: u64,
    hash: Sha256,
    before_last: Sha256,
    capacity: usize,
}

/// One line as it stands in the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RawLine {
    /// Its number, from 1.
    pub number: u64,
    /// The byte of the file at which it begins, from 0.
    pub offset: u64,
    /// Its bytes without the newline; empty when it is too long.
    pub bytes: Vec<u8>,
    /// What is wrong with it as a line.
    pub fault: Option<LineFault>,
}

/// What can be wrong with a line before it is parsed.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum LineFault {
    /// There is nothing on it.
    #[error("the line is blank")]
    Blank,
    /// It has more bytes than are read; they were skipped.
    #[error("the line has more than {max} bytes")]
    TooLong {
        /// How many are read.
        max: usize,
    },
    /// The file ends without a newline: it is cut off, or was edited.
    #[error("the last line does not end in a newline; the file is cut off")]
    NoNewline,
}

/// The file could not be read.
#[derive(Debug, Error)]
#[error("line {line} cannot be read")]
pub struct ReadError {
    /// The number of the line.
    pub line: u64,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl RawLine {
    /// The line as a value; every other spelling of it is refused.
    ///
    /// # Errors
    /// [`LineError`].
    pub fn parse_exact(&self) -> Result<Line, LineError> {
        Line::parse_exact(&self.bytes)
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads from `inner`, lines of at most [`LINE_BYTES_MAX`].
    pub fn new(inner: R) -> Self {
        Self::with_line_bytes_max(inner, LINE_BYTES_MAX)
    }

    /// Reads from `inner`, lines of at most `line_bytes_max`, where memory is short.
    pub fn with_line_bytes_max(inner: R, line_bytes_max: usize) -> Self {
        Self {
            inner,
            line_bytes_max,
            lines: 0,
            offset: 0,
            hash: Sha256::new(),
            before_last: Sha256::new(),
            capacity: 0,
        }
    }

    /// The next line, or `None` at the end of the file.
    ///
    /// # Errors
    /// [`ReadError`] when the file cannot be read; what is wrong with a line is in the line.
    pub fn next_line(&mut self) -> Result<Option<RawLine>, ReadError> {
        let number = self.lines + 1;
        let failed = |source| ReadError { line: number, source };
        let limit = u64::try_from(self.line_bytes_max).unwrap_or(u64::MAX).saturating_add(1);
        // Lines of a file are alike: room for one a little longer than the last saves growing.
        let mut bytes = Vec::with_capacity(self.capacity.min(1 << 16));
        self.inner.by_ref().take(limit).read_until(b'\n', &mut bytes).map_err(failed)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        self.capacity = bytes.len() + bytes.len() / 8;
        self.before_last.clone_from(&self.hash);
        self.hash.update(&bytes);
        let offset = self.offset;
        let mut read = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let fault = if bytes.last() == Some(&b'\n') {
            bytes.pop();
            bytes.is_empty().then_some(LineFault::Blank)
        } else if bytes.len() > self.line_bytes_max {
            bytes = Vec::new();
            read += self.skip_line().map_err(failed)?;
            Some(LineFault::TooLong { max: self.line_bytes_max })
        } else {
            Some(LineFault::NoNewline)
        };
        self.lines = number;
        self.offset += read;
        Ok(Some(RawLine { number, offset, bytes, fault }))
    }

    /// Hashes and drops the rest of a line; gives the number of its bytes.
    fn skip_line(&mut self) -> io::Result<u64> {
        let mut skipped = 0;
        loop {
            let buffer = match self.inner.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let newline = buffer.iter().position(|byte| *byte == b'\n');
            let used = newline.map_or(buffer.len(), |at| at + 1);
            self.hash.update(buffer.get(..used).unwrap_or_default());
            self.inner.consume(used);
            skipped += u64::try_from(used).unwrap_or(u64::MAX);
            if newline.is_some() || used == 0 {
                return Ok(skipped);
            }
        }
    }

    /// How many lines have been read.
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    /// How many bytes have been read.
    pub const fn bytes(&self) -> u64 {
        self.offset
    }

    /// SHA-256 of every byte before the line that was read last: what a trailer on that line has to say.
    pub fn sha256_before_last(&self) -> Digest {
        Digest::from_bytes(self.before_last.clone().finalize().into())
    }

    /// SHA-256 of every byte that was read.
    pub fn sha256(&self) -> Digest {
        Digest::from_bytes(self.hash.clone().finalize().into())
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<RawLine, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_line().transpose()
    }
}
