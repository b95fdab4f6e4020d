//! How a command ends: the exit codes, and an error that says what to try next.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use chancery_runtime::failure::{self as runtime, Cause, Fault};
use miette::Diagnostic;
use serde::{Deserialize, Serialize};

use super::output::{foreign, foreign_lines};

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
    pub(super) fn code(self) -> u8 {
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
        Self { exit, message: foreign_lines(&message.to_string()), help: None }
    }

    /// Bad arguments or input.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The same about one of several: `what` stands before it.
    #[must_use]
    pub fn within(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{}: {}", foreign_lines(&what.to_string()), self.message);
        self
    }

    /// What could not be done, and the error with its causes.
    pub fn because(exit: Exit, what: impl fmt::Display, error: &dyn Error) -> Self {
        Self::new(exit, format!("{what}: {}", chain(error)))
    }

    /// What the operating system did not do for this program.
    pub fn system(what: impl fmt::Display, error: &dyn Error) -> Self {
        Self::because(Exit::Runtime, what, error).help(
            "the operating system refused it: look at the space on the disk, at free memory and at the limits of the \
             process, then run the command again",
        )
    }

    /// A file that was named and cannot be read.
    pub fn unreadable(path: &Path, error: &dyn Error) -> Self {
        Self::because(Exit::Usage, format!("cannot read `{}`", path.display()), error)
            .help("give the path of a file that this user can read")
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
            ("checkpoint.adopt", _) => "this node is fine as it is: start it",
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
            ("apikey.limit" | "apikey.ended" | "apikey.unknown", _) => {
                "`chancery apikey list --all` shows every key, `chancery apikey create` makes one"
            }
            ("apikey.separation", _) => "one principal approves, another one administers: make two",
            ("vault.other", _) => {
                "name the folder with this log's own `vault.key` with `keys` in chancery.toml"
            }
            ("auth.role" | "auth.tenant", _) => {
                "use a credential that has the role, in `--token-file` or `CHANCERY_TOKEN`; `chancery apikey list` on \
                 the server's machine shows which has"
            }
            (code, _) if code.starts_with("auth.") => {
                "put a good credential into `CHANCERY_TOKEN` or name its file with `--token-file`; `chancery apikey \
                 create`, on the server's machine, makes one"
            }
            (_, Cause::Caller) => "correct the input and run the command again",
            (_, Cause::Conflict) => {
                "look at what is recorded: `chancery decision list`, `chancery bundle history`"
            }
            (code, Cause::Refused | Cause::Unavailable) if is_build(code) => {
                "the message says what to install; `chancery build verify` checks it before; nothing was recorded"
            }
            ("key.mode", _) => "`chmod 600` the file: a private key is for one user alone",
            ("checkpoint.missing", _) => {
                "a new node: copy `state/checkpoint` of another, or `chancery log adopt --checkpoint FILE`; docs/runbook.md \
                 says when it may be made anew otherwise"
            }
            ("activation.time", _) => "sign it again: `chancery bundle activate` takes the present time",
            (code, Cause::Refused) if code.starts_with("override.") => {
                "`chancery override show ID` shows whose answer the case takes; `chancery trust keyring verify` shows \
                 how each key stands"
            }
            (code, Cause::Refused) if is_build(code) => {
                "`chancery build verify FOLDER --key build.pub` says what is off; docs/guides/release.md makes a release"
            }
            (_, Cause::Refused) => {
                "`chancery trust keyring verify` shows which keys may sign what, and until when; for another tenant or \
                 another environment name its own chancery.toml with `--config`"
            }
            (_, Cause::NotFound) => {
                "`chancery decision list` and `chancery bundle history` show what is there"
            }
            ("store.full", _) => {
                "free some space on the disk of the database; nothing was written; then run the command again"
            }
            ("store.read_only" | "store.unavailable", _) => {
                "look at the disk of the database: its free space, the file and its folder writable, the mount; then run \
                 the command again: what was recorded is answered as it was"
            }
            (_, Cause::Unavailable) => {
                "run the command again: what was recorded is answered as it was; docs/runbook.md has more"
            }
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
        self.help = Some(foreign_lines(&help.to_string()));
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
        write!(
            f,
            "{} at {}: expected {}, found {}",
            self.code,
            foreign(place),
            foreign(&self.expected),
            foreign(&self.found)
        )
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

    /// Every failure that a command makes says what to try next: the sources are searched for one that does not.
    #[test]
    fn every_failure_says_what_to_try_next() {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli")];
        let (mut seen, mut without) = (0, Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap();
                for made in ["Failure::new", "Failure::usage", "Failure::because"] {
                    for (at, _) in code.match_indices(made) {
                        seen += 1;
                        let rest = &code[at + made.len()..];
                        if !rest.starts_with('(') || !after_call(rest).trim_start().starts_with(".help(") {
                            let line = code[..at].lines().count();
                            without.push(format!("{}:{line}: {made}", path.display()));
                        }
                    }
                }
            }
        }
        assert!(seen > 100, "only {seen} failures were found");
        assert!(without.is_empty(), "no help:\n{}", without.join("\n"));
    }

    /// What stands behind the brackets that `text` begins with.
    fn after_call(text: &str) -> &str {
        let (mut depth, mut quoted, mut escaped) = (0, false, false);
        for (at, character) in text.char_indices() {
            match character {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                '(' if !quoted => depth += 1,
                ')' if !quoted => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return &text[at + 1..];
            }
        }
        ""
    }

    #[test]
    fn failures_of_use_cases_say_what_to_try_next() {
        let help = |whose, code: &str| {
            let failure = Failure::told(whose, code, "it failed", &[]);
            failure.help.unwrap()
        };
        for whose in [
            Cause::Caller,
            Cause::Conflict,
            Cause::Refused,
            Cause::NotFound,
            Cause::Unavailable,
            Cause::Corrupt,
        ] {
            assert!(help(whose, "some.code").contains('`') || help(whose, "some.code").contains("again"));
        }
        for (whose, code, expected) in [
            (Cause::Unavailable, "store.full", "space"),
            (Cause::Unavailable, "store.unavailable", "space"),
            (Cause::Refused, "override.separation", "override show"),
            (Cause::Refused, "build.identity", "build verify"),
            (Cause::Refused, "bundle.key", "keyring verify"),
            (Cause::Conflict, "activation.in_force", "bundle history"),
        ] {
            assert!(help(whose, code).contains(expected), "{code}: {}", help(whose, code));
        }
    }

    #[test]
    fn what_others_wrote_does_not_steer_the_terminal() {
        let failure = Failure::usage("`\u{1b}[2J` is no id\nsecond line").help("try \u{202e}x");
        assert_eq!(failure.to_string(), "`\\u{1b}[2J` is no id\nsecond line");
        assert_eq!(failure.help.unwrap(), "try \\u{202e}x");
    }

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
