//! Evidence files, `*.evidence.jsonl`: what an auditor is handed (formats §9).
//!
//! ```text
//! {"checkpoint":…,"kind":"header",…}\n      what the file is about
//! {"envelope":…,"kind":"keyring",…}\n       every keyring version, oldest first
//! {"bundleHash":…,"kind":"bundle",…}\n      every bundle that a decision names
//! {"kind":"build",…}\n                      every build that is named
//! {"envelope":…,"kind":"decision",…}\n      the log entries in index order
//! {"kind":"trailer",…}\n                    lines and SHA-256 of all that stands before it, signed
//! ```
//!
//! One canonical JSON object a line. [`Writer`] streams a file out, [`Reader`] gives the raw lines of one, and
//! [`Line::parse_exact`] makes a line a value and refuses every other spelling of it. Nothing here judges: which
//! lines have to be there, and whether signatures and proofs hold, is the verifier's business.

mod lines;
mod reader;
mod trailer;
mod writer;

use serde::Serialize;
use thiserror::Error;

pub use self::lines::{
    BuildLine, BuildTag, BundleLine, BundleTag, Disclosure, EntryLine, Filter, FormatTag, Header, HeaderTag,
    KeyringLine, KeyringTag, Proof, Range, Scope, TrailerTag,
};
pub use self::reader::{LineFault, RawLine, ReadError, Reader};
pub use self::trailer::{Trailer, TrailerError, TrailerSignError};
pub use self::writer::{WriteError, Writer};
use crate::canonical::{Canonical, CanonicalError, is_canonical_of, to_canonical};
use crate::commitment::{Opening, OpeningError};
use crate::json::{self, Fault, Limits};
use crate::log::Kind;

/// The `format` of a header.
pub const FORMAT: &str = "chancery.evidence/v1";

/// The payload type under which a trailer is signed.
pub const TRAILER_PAYLOAD_TYPE: &str = "application/vnd.chancery.evidence+json";

/// The longest line that is read or written, without its newline: 64 MiB.
pub const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Nesting of an opening's own value: the line may have 64 levels and an opening begins on the second.
const OPENING_LIMITS: Limits = Limits { bytes: LINE_BYTES_MAX, depth: 63 };

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Line {
    /// The first line.
    Header(Box<Header>),
    /// A keyring version and its log entry.
    Keyring(KeyringLine),
    /// A policy bundle.
    Bundle(Box<BundleLine>),
    /// A build identity.
    Build(Box<BuildLine>),
    /// Any other log entry.
    Entry(EntryLine),
    /// The last line.
    Trailer(Trailer),
}

/// Why a line is refused.
#[derive(Debug, Error)]
pub enum LineError {
    /// Not JSON, or not the members that a line of its kind has.
    // The parser quotes what it found, which may be megabytes: so it is shortened, and is no source.
    #[error("the line is not what it should be: {}", shortened(&.0.to_string(), 200))]
    Form(serde_json::Error),
    /// The `kind` is none of those that there are.
    #[error("`{found}` is not a kind of line")]
    Kind {
        /// The kind found, at most its first 40 characters.
        found: String,
    },
    /// A header of another version of the format. The rest of the file may mean something else.
    #[error("the file is of the format `{found}`, this reads `{FORMAT}`")]
    UnknownFormat {
        /// The format found, at most its first 40 characters.
        found: String,
    },
    /// An opening that is not JSON within the limits.
    #[error("the opening is refused: expected {}, found {}", .0.expected, .0.found)]
    OpeningJson(Box<Fault>),
    /// An opening that has not the form of one.
    #[error("the opening is refused")]
    Opening(#[source] OpeningError),
    /// An opening beside a record that is no decision.
    #[error("a line of the kind `{kind}` has no opening")]
    OpeningOfNoDecision {
        /// The line's kind.
        kind: Kind,
    },
    /// A header with both a range and a filter.
    #[error("a header has a range or a filter, not both")]
    RangeAndFilter,
    /// A range that ends before it begins.
    #[error("the range ends at {to}, before it begins at {from}")]
    Range {
        /// Its beginning.
        from: u64,
        /// Its end.
        to: u64,
    },
    /// The value of the line has no canonical form: an integer beyond 2^53 − 1.
    #[error("the line has no canonical form")]
    NoCanonicalForm(#[source] CanonicalError),
    /// The line says the same in another way than the canonical one.
    #[error("the line is not in canonical form: it differs at byte {at}")]
    NotCanonical {
        /// The first byte that differs, from 0.
        at: usize,
    },
}

impl Line {
    /// Reads a line (without its newline). Strict in members and types; but white space, another order of the
    /// members or a second spelling of a string pass. A verifier takes [`Line::parse_exact`].
    ///
    /// # Errors
    /// [`LineError`]; [`LineError::UnknownFormat`] for a header of another version.
    pub fn parse(bytes: &[u8]) -> Result<Self, LineError> {
        // Nearly every line of a large file is an entry, and this is how canonical ones begin.
        if bytes.starts_with(b"{\"envelope\":") {
            return parse_entry(bytes);
        }
        #[derive(serde::Deserialize)]
        struct Sniff {
            kind: String,
            format: Option<String>,
        }
        let sniff: Sniff = typed(bytes)?;
        match sniff.kind.as_str() {
            "header" => {
                let format = sniff.format.unwrap_or_default();
                if format != FORMAT {
                    return Err(LineError::UnknownFormat { found: shortened(&format, 40) });
                }
                let header: Header = typed(bytes)?;
                header.check()?;
                Ok(Self::Header(Box::new(header)))
            }
            "bundle" => Ok(Self::Bundle(Box::new(typed(bytes)?))),
            "build" => Ok(Self::Build(Box::new(typed(bytes)?))),
            "trailer" => Ok(Self::Trailer(typed(bytes)?)),
            kind if kind.parse::<Kind>().is_ok() => parse_entry(bytes),
            kind => Err(LineError::Kind { found: shortened(kind, 40) }),
        }
    }

    /// Reads a line and refuses it unless writing it again gives the same bytes.
    ///
    /// # Errors
    /// Those of [`Line::parse`], [`LineError::NotCanonical`] and [`LineError::NoCanonicalForm`].
    pub fn parse_exact(bytes: &[u8]) -> Result<Self, LineError> {
        let line = Self::parse(bytes)?;
        if is_canonical_of(&line, bytes) {
            return Ok(line);
        }
        let again = line.encode().map_err(LineError::NoCanonicalForm)?;
        let at = again.as_bytes().iter().zip(bytes).take_while(|(a, b)| a == b).count();
        Err(LineError::NotCanonical { at })
    }

    /// The bytes of the line, without a newline.
    ///
    /// # Errors
    /// [`CanonicalError`] for integers beyond 2^53 − 1.
    pub fn encode(&self) -> Result<Canonical, CanonicalError> {
        to_canonical(self)
    }

    /// The `kind` of the line.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Header(_) => "header",
            Self::Keyring(_) => "keyring",
            Self::Bundle(_) => "bundle",
            Self::Build(_) => "build",
            Self::Entry(line) => line.kind.name(),
            Self::Trailer(_) => "trailer",
        }
    }
}

fn typed<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, LineError> {
    serde_json::from_slice(bytes).map_err(LineError::Form)
}

fn shortened(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

/// Reads an entry line of any kind; those of the keyring have a type of their own.
fn parse_entry(bytes: &[u8]) -> Result<Line, LineError> {
    let lines::RawEntry { envelope, index, kind, opening, proof } = typed(bytes)?;
    if opening.is_some() && kind != Kind::Decision {
        return Err(LineError::OpeningOfNoDecision { kind });
    }
    if kind == Kind::Keyring {
        return Ok(Line::Keyring(KeyringLine { envelope, index, kind: KeyringTag, proof }));
    }
    let opening = opening.map(|raw| parse_opening(raw.get().as_bytes())).transpose()?;
    Ok(Line::Entry(EntryLine { envelope, index, kind, opening, proof }))
}

fn parse_opening(bytes: &[u8]) -> Result<Opening, LineError> {
    let value =
        json::parse(bytes, OPENING_LIMITS).map_err(|fault| LineError::OpeningJson(Box::new(fault)))?;
    Opening::parse(value).map_err(LineError::Opening)
}

#[cfg(test)]
mod tests;
