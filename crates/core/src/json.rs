//! Strict JSON: what everything that enters is read with (formats §1; RFC 8259, RFC 7493).
//!
//! ```text
//! bytes ── size ── UTF-8 ── one value, nothing behind it ──> Value
//!          json.size        json.syntax  json.depth  json.duplicate  json.number
//! ```
//!
//! Refused where many parsers look away: a member name that is there twice (after its escapes are taken out),
//! a lone surrogate, a byte order mark, a number beyond ±(2^53 − 1). The last is decided on the digits, never
//! on a binary float, and numbers keep their text until a type says what they are. A [`Fault`] names the place
//! by a JSON pointer (RFC 6901) and never repeats what the sender wrote there.

use std::fmt;

use serde::{Serialize, Serializer};

mod members;
pub(crate) mod number;
mod parser;
mod pointer;
mod text;
mod value;

pub use members::Members;
pub use number::Number;
pub use parser::parse;
pub use pointer::Pointer;
pub(crate) use text::plain;
pub use value::{Object, Value};

/// How much JSON is read at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The most bytes, white space included. More is refused before anything is read.
    pub bytes: usize,
    /// The deepest nesting of arrays and objects; the outermost is 1. Values above 128 count as 128.
    pub depth: usize,
}

impl Limits {
    /// A request, or one line of a batch: 256 KiB, depth 32. A request of this size is decided in milliseconds.
    pub const REQUEST: Self = Self { bytes: 256 * 1024, depth: 32 };
    /// A line of an evidence file: 64 MiB, for a bundle with its files; depth 64.
    pub const EVIDENCE_LINE: Self = Self { bytes: 64 * 1024 * 1024, depth: 64 };
}

/// The stable code of a [`Fault`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Code {
    /// `json.syntax`: no JSON, or more than one value.
    JsonSyntax,
    /// `json.duplicate`: a member name is there twice in one object.
    JsonDuplicate,
    /// `json.depth`: nested too deeply.
    JsonDepth,
    /// `json.size`: too many bytes.
    JsonSize,
    /// `json.number`: a number beyond ±(2^53 − 1).
    JsonNumber,
    /// `json.unknown`: a member that the object does not have.
    JsonUnknown,
    /// `signal.missing`: a required signal is not there.
    SignalMissing,
    /// `signal.undeclared`: a signal that the schema does not have.
    SignalUndeclared,
    /// `signal.type`: a value of another type, or text that is none of the type's.
    SignalType,
    /// `signal.range`: the right form, but beyond what the type can hold.
    SignalRange,
    /// `signal.precision`: more fraction digits than the type has.
    SignalPrecision,
    /// `signal.null`: null; a signal that is not known is left out.
    SignalNull,
}

impl Code {
    /// The code as it is written in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JsonSyntax => "json.syntax",
            Self::JsonDuplicate => "json.duplicate",
            Self::JsonDepth => "json.depth",
            Self::JsonSize => "json.size",
            Self::JsonNumber => "json.number",
            Self::JsonUnknown => "json.unknown",
            Self::SignalMissing => "signal.missing",
            Self::SignalUndeclared => "signal.undeclared",
            Self::SignalType => "signal.type",
            Self::SignalRange => "signal.range",
            Self::SignalPrecision => "signal.precision",
            Self::SignalNull => "signal.null",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What is wrong at one place of what was sent. Holds no value that was sent, so it may be logged.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// The place (RFC 6901), or `None` where the text as a whole is meant (`json.syntax`, `json.size`).
    pub pointer: Option<String>,
    /// What kind of fault.
    pub code: Code,
    /// What should have been there, in words.
    pub expected: String,
    /// What was there instead: its JSON type and size, never the value.
    pub found: String,
}

impl Fault {
    /// The fault `code` at `pointer`.
    pub fn new(
        pointer: &Pointer<'_>,
        code: Code,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self { pointer: Some(pointer.to_string()), code, expected: expected.into(), found: found.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_deref() {
            None => write!(f, "{}: ", self.code)?,
            Some("") => write!(f, "{} at the top: ", self.code)?,
            Some(pointer) => write!(f, "{} at `{pointer}`: ", self.code)?,
        }
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests;
