//! How a command ends: the exit codes, and an error that says what to try next.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use chancery_runtime::failure::{self as runtime, Cause, Fault};
use miette::Diagnostic;
use serde::{Deserialize, Serialize};

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
        let message = if failure.faults().is_empty() { chain(failure) } else { failure.detail() };
        let faults: Vec<Told> = failure.faults().iter().map(Told::from).collect();
        Self::told(failure.whose(), failure.code(), &message, &faults)
    }

    /// A failure of a use case as it was told: here, or by a server.
    pub(super) fn told(whose: Cause, code: &str, message: &str, faults: &[Told]) -> Self {
        let exit = match whose {
            Cause::Caller if code == "bundle.invalid" => Exit::PolicyInvalid,
            Cause::Caller if code == "store.missing" => Exit::NotFound,
            Cause::Caller => Exit::Usage,
            Cause::Conflict => Exit::Conflict,
            Cause::Refused => Exit::NotAuthorised,
            Cause::NotFound => Exit::NotFound,
            // The program that asks here is itself the one that may not.
            Cause::Unavailable if is_build(code) => Exit::NotAuthorised,
            Cause::Unavailable | Cause::Corrupt => Exit::Runtime,
        };
        let mut message = message.to_owned();
        for fault in faults {
            message.push_str(&format!("\n  {fault}"));
        }
        let help = match (code, whose) {
            ("key.exists", _) => "name another file: no key is ever overwritten",
            ("key.missing", _) => {
                "put the key back from its copy, or name its folder with `keys` in chancery.toml"
            }
            ("key.invalid", _) => {
                "put the key file back from its copy; `chancery key generate` and `cosign generate-key-pair` show what \
                 one looks like"
            }
            ("key.password", _) => {
                "the password comes from `password_file` in chancery.toml, else from `CHANCERY_PASSWORD`, else from a \
                 prompt; `chancery config show --origin` tells which"
            }
            ("trust.root", _) => "put root.pub back, or name its folder with `trust` in chancery.toml",
            ("store.locked", _) => {
                "run the command with `--server` and that process's address if it is `chancery serve`, or stop it"
            }
            ("store.missing", _) => {
                "put the database back as docs/runbook.md says, or name it with `database` in chancery.toml"
            }
            ("store.foreign", _) => {
                "name the log's own file with `database` in chancery.toml; nothing was written to this one"
            }
            ("activation.in_force", _) => "`chancery bundle history` shows who put it in force, and why",
            ("bundle.published", _) => "raise `version` in bundle.toml: a version never changes",
            ("bundle.signature", _) => "sign it: `chancery bundle sign FOLDER`",
            ("init.exists", _) => "run `chancery init` in another folder",
            ("keyring.chain" | "keyring.root", _) => {
                "`chancery trust keyring show` has the newest version; draft the next one from it and sign again"
            }
            ("keyring.loss", _) => {
                "what it takes away is lost for ever: revoke from a later index, or say `--accept-loss` with that number"
            }
            ("keyring.in_force", _) => "`chancery bundle history` shows who put what in force",
            (_, Cause::Caller) => "correct the input and run the command again",
            (_, Cause::Conflict) => {
                "look at what is recorded: `chancery decision list`, `chancery bundle history`"
            }
            (code, Cause::Refused | Cause::Unavailable) if is_build(code) => {
                "the message says what to install; `chancery build verify` checks it before; nothing was recorded"
            }
            (_, Cause::Refused) => "what is missing stands in the message; nothing was changed",
            (_, Cause::NotFound) => {
                "`chancery decision list` and `chancery bundle history` show what is there"
            }
            (_, Cause::Unavailable) => "nothing was recorded; when the cause is gone, run the command again",
            (_, Cause::Corrupt) => {
                "stop writing, keep a copy of the database, and see what `chancery fsck --full` finds; docs/runbook.md \
                 goes on from there"
            }
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

/// Whether a code is about the build that is to decide.
fn is_build(code: &str) -> bool {
    code.starts_with("build.")
}

/// One fault of an input, as it is told: found here, or by a server.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Told {
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    code: String,
    expected: String,
    found: String,
}

impl Told {
    /// An input that is too long.
    pub(super) fn size(bytes_max: usize) -> Self {
        Self {
            pointer: None,
            code: "json.size".to_owned(),
            expected: format!("at most {bytes_max} bytes"),
            found: "more".to_owned(),
        }
    }
}

impl From<&Fault> for Told {
    fn from(fault: &Fault) -> Self {
        let Fault { pointer, code, expected, found } = fault.clone();
        Self { pointer, code: code.to_owned(), expected, found }
    }
}

/// In one line.
impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.pointer.as_deref().filter(|pointer| !pointer.is_empty()).unwrap_or("the whole");
        write!(f, "{} at {place}: expected {}, found {}", self.code, self.expected, self.found)
    }
}

/// An error and its causes in one line; a cause that its error already quotes is not said twice.
pub(super) fn chain(error: &dyn Error) -> String {
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
