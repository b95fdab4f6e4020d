//! How a command ends: the exit codes, and an error that says what to try next.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use chancery_runtime::failure::{self as runtime, Cause, Fault};
use miette::Diagnostic;

/// The exit codes, each for one meaning. Scripts rely on them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// All went well.
    Ok = 0,
    /// Something failed that is none of the others.
    Runtime = 1,
    /// Bad arguments, configuration or input.
    Usage = 2,
    /// A policy bundle is not valid.
    PolicyInvalid = 3,
    /// A bundle's own cases failed.
    PolicyTests = 4,
    /// A verification failed.
    VerificationFailed = 5,
    /// A verification could not be completed.
    Incomplete = 6,
    /// The outcome is not the one that `--expect` named.
    Unexpected = 7,
    /// The decision waits for an override.
    PendingOverride = 8,
    /// Not authorised: a wrong password, a key that others can read, a refused credential.
    NotAuthorised = 9,
    /// Not found.
    NotFound = 10,
    /// In conflict with what is recorded.
    Conflict = 11,
}

impl Exit {
    /// The number, 0 to 11.
    fn code(self) -> u8 {
        #[expect(clippy::as_conversions, reason = "the discriminants are the exit codes, all below 12")]
        let code = self as u8;
        code
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command failed, with what to do about it.
#[derive(Debug)]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    message: String,
    help: Option<String>,
}

impl Failure {
    /// A failure with a message: lower case, no full stop.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), help: None }
    }

    /// Bad arguments or input.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// What could not be done, and the error with its causes.
    pub fn because(exit: Exit, what: impl fmt::Display, error: &dyn Error) -> Self {
        Self::new(exit, format!("{what}: {}", chain(error)))
    }

    /// A failure of a use case, all its faults included.
    pub fn of(failure: &impl runtime::Failure) -> Self {
        let exit = match failure.whose() {
            Cause::Caller if failure.code() == "bundle.invalid" => Exit::PolicyInvalid,
            Cause::Caller => Exit::Usage,
            Cause::Conflict => Exit::Conflict,
            Cause::Refused => Exit::NotAuthorised,
            Cause::NotFound => Exit::NotFound,
            Cause::Unavailable | Cause::Corrupt => Exit::Runtime,
        };
        let mut message = if failure.faults().is_empty() { chain(failure) } else { failure.detail() };
        for fault in failure.faults() {
            message.push_str("\n  ");
            message.push_str(&fault_line(fault));
        }
        let help = match failure.whose() {
            _ if failure.code() == "key.exists" => "name another file: no key is ever overwritten",
            _ if failure.code() == "key.missing" => {
                "put the key back from its copy, or name its folder with `keys` in chancery.toml"
            }
            _ if failure.code() == "key.password" => {
                "the password comes from `password_file` in chancery.toml, else from `CHANCERY_PASSWORD`, else from a \
                 prompt; `chancery config show --origin` tells which"
            }
            _ if failure.code() == "trust.root" => {
                "put root.pub back, or name its folder with `trust` in chancery.toml"
            }
            _ if failure.code() == "bundle.published" => {
                "raise `version` in bundle.toml: a version never changes"
            }
            _ if failure.code() == "bundle.signature" => "sign it: `chancery bundle sign FOLDER`",
            _ if failure.code() == "init.exists" => "run `chancery init` in another folder",
            Cause::Caller => "correct the input and run the command again",
            Cause::Conflict => {
                "look at what is recorded: `chancery decision list`, `chancery bundle history`"
            }
            Cause::Refused => "what is missing stands in the message; nothing was changed",
            Cause::NotFound => "`chancery decision list` and `chancery bundle history` show what is there",
            Cause::Unavailable => "nothing was recorded; when the cause is gone, run the command again",
            Cause::Corrupt => "stop writing, keep a copy of the database, and run `chancery fsck --full`",
        };
        Self::new(exit, message).help(help)
    }

    /// The same with another exit code.
    #[must_use]
    pub fn ending_with(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Adds what to try next.
    #[must_use]
    pub fn help(mut self, help: impl fmt::Display) -> Self {
        self.help = Some(help.to_string());
        self
    }
}

/// One fault in one line.
pub(super) fn fault_line(fault: &Fault) -> String {
    let place = fault.pointer.as_deref().filter(|pointer| !pointer.is_empty()).unwrap_or("the whole");
    format!("{} at {place}: expected {}, found {}", fault.code, fault.expected, fault.found)
}

/// An error and its causes in one line; a cause that its error already quotes is not said twice.
fn chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.ends_with(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        cause = error.source();
    }
    message
}

impl<F: runtime::Failure> From<F> for Failure {
    fn from(failure: F) -> Self {
        Self::of(&failure)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl Diagnostic for Failure {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| -> Box<dyn fmt::Display + 'a> { Box::new(help) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_joined_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("inner")]
        struct Inner;
        #[derive(Debug, thiserror::Error)]
        #[error("outer: inner")]
        struct Outer(#[source] Inner);
        let failure = Failure::because(Exit::Runtime, "cannot do it", &Outer(Inner));
        assert_eq!(failure.to_string(), "cannot do it: outer: inner");
    }
}
