//! Canonical JSON: the one place where values become bytes that are hashed or signed.
//!
//! RFC 8785 (JCS), narrowed: numbers are integers within ±(2^53 − 1), so that no reader's floating point can
//! change one.
//!
//! ```text
//! {"a":1,"b":["x\n",null,true],"é":{}}
//!
//! no white space; members ordered by the UTF-16 code units of their names; strings as they are, escaped only:
//! \" \\ \b \t \n \f \r and \u00xx for the other characters below U+0020
//! ```
//!
//! A value is written straight into one buffer. Members that come in order, as those of our structs do, cost
//! nothing extra; an object whose members are out of order is put right when it ends.

use std::fmt;

use serde::Serialize;
use thiserror::Error;

mod name;
mod writer;

/// The largest integer that is written or admitted, 2^53 − 1 (RFC 7493, section 2.2); the smallest is its negative.
pub const MAX_INTEGER: i64 = 9_007_199_254_740_991;

/// Bytes that there is room for at first: more than most records, their inputs and openings have.
const ROOM: usize = 2048;

/// The canonical JSON of some value. Only [`to_canonical`] makes one, or it is put together from others.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Canonical(String);

impl Canonical {
    /// The bytes, which are UTF-8.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The same as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }

    /// The text of `parts`, which is canonical as a whole. It does not grow: it has room for all of them at first.
    pub(crate) fn of_parts(parts: &[&str]) -> Self {
        Self(parts.concat())
    }

    /// An object, which is not empty, with one more member; `name`, which needs no escapes, comes after all others.
    pub(crate) fn with_last(mut self, name: &str, value: &Self) -> Self {
        self.0.pop();
        for part in [",\"", name, "\":", &value.0, "}"] {
            self.0.push_str(part);
        }
        self
    }

    /// The text, without a copy.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl AsRef<[u8]> for Canonical {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Canonical {
    /// The length alone: the bytes may hold signals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Canonical({} bytes)", self.0.len())
    }
}

/// A value that has no canonical form here.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum CanonicalError {
    /// A binary floating-point number.
    #[error("a floating-point number has no canonical form here; use an integer or a string")]
    Float,
    /// An integer beyond ±(2^53 − 1).
    #[error("the integer {0} is beyond ±9007199254740991")]
    Integer(i128),
    /// Two members of one object have the same name.
    #[error("the member `{0}` is there twice")]
    Duplicate(String),
    /// The key of a map is no string.
    #[error("a member's name must be a string")]
    Name,
    /// A byte string, which JSON does not have.
    #[error("a byte string has no canonical form; write it as text")]
    Bytes,
    /// JSON text that another library wants to pass through unread.
    #[error("JSON text cannot be passed through unread")]
    RawJson,
    /// What the value's own `Serialize` said.
    #[error("{0}")]
    Custom(String),
}

impl serde::ser::Error for CanonicalError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

/// Writes `value` as canonical JSON.
///
/// # Errors
/// [`CanonicalError`] for what has no canonical form: floats, large integers, bytes, keys that are no strings,
/// duplicate names.
pub fn to_canonical<T: Serialize + ?Sized>(value: &T) -> Result<Canonical, CanonicalError> {
    let mut out = String::with_capacity(ROOM);
    append_canonical(value, &mut out)?;
    Ok(Canonical(out))
}

/// Writes `value` as canonical JSON behind what `out` holds already. After an error `out` may hold a part of it.
pub(crate) fn append_canonical<T: Serialize + ?Sized>(
    value: &T,
    out: &mut String,
) -> Result<(), CanonicalError> {
    value.serialize(&mut writer::Writer::new(out))
}

/// Is `bytes` the canonical JSON of `value`? False, too, where `value` has no canonical form.
#[must_use]
pub fn is_canonical_of<T: Serialize + ?Sized>(value: &T, bytes: &[u8]) -> bool {
    let mut out = String::with_capacity(bytes.len());
    append_canonical(value, &mut out).is_ok() && out.as_bytes() == bytes
}

#[cfg(test)]
mod tests;
