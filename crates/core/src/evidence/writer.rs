//! Writing a file as it is made, in constant memory.

use std::io::{self, Write};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::trailer::TrailerSignError;
use super::{BuildLine, BundleLine, EntryLine, Header, KeyringLine, LINE_BYTES_MAX, LineError, Trailer};
use crate::canonical::{CanonicalError, to_canonical};
use crate::digest::Digest;
use crate::key::Signer;
use crate::log::Kind;

/// Writes the lines of a file in their order and hashes them.
///
/// Each line is one `write_all`; give it a `BufWriter`. A file without its trailer is not evidence: nothing is
/// finished before [`Writer::finish`] has returned.
#[derive(Debug)]
pub struct Writer<W> {
    inner: W,
    hash: Sha256,
    lines: u64,
    bytes: u64,
    section: Section,
    last_index: Option<u64>,
}

/// The parts of a file, in their order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Section {
    Keyring,
    Bundles,
    Builds,
    Entries,
}

/// Why a line was not written. The file is of no use then.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The line has no canonical form.
    #[error("the line has no canonical form")]
    Canonical(#[from] CanonicalError),
    /// The line is longer than any reader takes.
    #[error("a line of {bytes} bytes is longer than the {LINE_BYTES_MAX} that are read")]
    TooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// The header contradicts itself.
    #[error(transparent)]
    Header(#[from] LineError),
    /// A line that belongs further up.
    #[error("a {kind} line cannot stand here, it belongs before what is written already")]
    Order {
        /// Its kind.
        kind: &'static str,
    },
    /// An entry, or a keyring line, whose index is not higher than the one before.
    #[error("entry {index} cannot stand after entry {last}")]
    Index {
        /// Its index.
        index: u64,
        /// The index before.
        last: u64,
    },
    /// A keyring version given as an entry, or an opening beside something that is no decision.
    #[error("this is not how a {kind} record is written")]
    Entry {
        /// Its kind.
        kind: Kind,
    },
    /// The trailer was not signed.
    #[error("the trailer was not signed")]
    Trailer(#[from] TrailerSignError),
    /// The bytes did not go out.
    #[error("the evidence file cannot be written")]
    Io(#[from] io::Error),
}

impl<W: Write> Writer<W> {
    /// Begins a file with its header.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn new(inner: W, header: &Header) -> Result<Self, WriteError> {
        header.check()?;
        let mut writer = Self {
            inner,
            hash: Sha256::new(),
            lines: 0,
            bytes: 0,
            section: Section::Keyring,
            last_index: None,
        };
        writer.line(header)?;
        Ok(writer)
    }

    /// A keyring version; the oldest first, all before anything else.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn keyring(&mut self, line: &KeyringLine) -> Result<(), WriteError> {
        self.enter(Section::Keyring, "keyring")?;
        self.ascend(line.index)?;
        self.line(line)
    }

    /// A bundle, after the keyring.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn bundle(&mut self, line: &BundleLine) -> Result<(), WriteError> {
        self.enter(Section::Bundles, "bundle")?;
        self.line(line)
    }

    /// A build, after the bundles.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn build(&mut self, line: &BuildLine) -> Result<(), WriteError> {
        self.enter(Section::Builds, "build")?;
        self.line(line)
    }

    /// A log entry that is no keyring version, in index order, after all else.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn entry(&mut self, line: &EntryLine) -> Result<(), WriteError> {
        if line.kind == Kind::Keyring || (line.opening.is_some() && line.kind != Kind::Decision) {
            return Err(WriteError::Entry { kind: line.kind });
        }
        self.enter(Section::Entries, line.kind.name())?;
        self.ascend(line.index)?;
        self.line(line)
    }

    /// Writes the trailer, signed by a `runtime` key, flushes, and hands the writer back.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn finish(mut self, signer: &dyn Signer) -> Result<(W, Trailer), WriteError> {
        let sha256 = Digest::from_bytes(self.hash.clone().finalize().into());
        let trailer = Trailer::sign(self.lines, sha256, signer)?;
        self.line(&trailer)?;
        self.inner.flush()?;
        Ok((self.inner, trailer))
    }

    /// How many lines are written.
    #[must_use]
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    /// How many bytes are written.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    fn enter(&mut self, section: Section, kind: &'static str) -> Result<(), WriteError> {
        if section < self.section {
            return Err(WriteError::Order { kind });
        }
        if section > self.section {
            self.section = section;
            self.last_index = None;
        }
        Ok(())
    }

    fn ascend(&mut self, index: u64) -> Result<(), WriteError> {
        if let Some(last) = self.last_index.filter(|last| *last >= index) {
            return Err(WriteError::Index { index, last });
        }
        self.last_index = Some(index);
        Ok(())
    }

    fn line<T: Serialize>(&mut self, line: &T) -> Result<(), WriteError> {
        let mut bytes = to_canonical(line)?.into_bytes();
        if bytes.len() > LINE_BYTES_MAX {
            return Err(WriteError::TooLong { bytes: bytes.len() });
        }
        bytes.push(b'\n');
        self.hash.update(&bytes);
        self.inner.write_all(&bytes)?;
        self.lines += 1;
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}
