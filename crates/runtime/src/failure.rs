//! How failures are sorted, and the two texts that each of them has.
//!
//! | cause | whose it is | what helps |
//! |---|---|---|
//! | [`Cause::Caller`] | the caller's: bad input | correct the request |
//! | [`Cause::Conflict`] | the id is taken, or something is in force already | look at what is there |
//! | [`Cause::Refused`] | trust or policy says no | the reason says what is missing |
//! | [`Cause::Unavailable`] | ours, for now | retry |
//! | [`Cause::Corrupt`] | ours, and serious | stop and look |
//!
//! [`Failure::detail`] is for the caller. `Display` and its chain of sources are for the operator's log.
//! Neither ever holds the value of a signal.

use chancery_core::json;
use serde::Serialize;
use std::error::Error;

/// Whose failure it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Cause {
    /// Bad input.
    Caller,
    /// Something else is there already.
    Conflict,
    /// Trust or policy does not allow it.
    Refused,
    /// There is no such thing.
    NotFound,
    /// It may work later.
    Unavailable,
    /// What is stored is not what was stored.
    Corrupt,
}

/// A failure of a use case, as its two readers need it.
pub trait Failure: Error {
    /// Whose failure it is.
    fn whose(&self) -> Cause;

    /// A stable, dotted name that programs compare, such as `execution.conflict`.
    fn code(&self) -> &'static str;

    /// Plain words for the caller: nothing about the inside of the server, no signal values.
    fn detail(&self) -> String;

    /// The faults of a bad request, all at once; empty for every other failure.
    fn faults(&self) -> &[Fault] {
        &[]
    }
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Fault {
    /// JSON pointer (RFC 6901) to the place in the request; absent when it is the whole of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Stable name: those of formats §1 and §2, and `request.…` for members that have a wrong shape.
    pub code: &'static str,
    /// What would have been right.
    pub expected: String,
    /// What was there: its kind, never a signal's value.
    pub found: String,
}

impl From<json::Fault> for Fault {
    fn from(fault: json::Fault) -> Self {
        Self {
            pointer: fault.pointer,
            code: fault.code.as_str(),
            expected: fault.expected,
            found: fault.found,
        }
    }
}

/// The pointers and codes of `faults` in one line, for a log.
pub(crate) fn summary(faults: &[Fault]) -> String {
    let mut text = String::new();
    for (count, fault) in faults.iter().enumerate() {
        if count == 8 {
            text.push_str(", …");
            break;
        }
        if count > 0 {
            text.push_str(", ");
        }
        text.push_str(fault.code);
        if let Some(pointer) = &fault.pointer {
            text.push_str(" at ");
            text.push_str(pointer);
        }
    }
    text
}
