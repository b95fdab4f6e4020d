//! Other programs, run to their end: `git`, `cargo`, `rustc`. No shell in between.

use std::io;
use std::process::{Command, Stdio};

/// Runs `command` and gives what it printed on stdout, without the last line ending.
///
/// Messages are asked for in English, and nothing can be typed into it.
///
/// # Errors
/// [`ProcessError`]: it is not there, it failed, or it printed something else than text.
pub fn run(command: &mut Command) -> Result<String, ProcessError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = match command.env("LC_ALL", "C").stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(source) => return Err(ProcessError::Start { program, source }),
    };
    if !output.status.success() {
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(ProcessError::Failed { command: format!("{program} {}", arguments.join(" ")), message });
    }
    let mut text =
        String::from_utf8(output.stdout).map_err(|_| ProcessError::NotText { program: program.clone() })?;
    text.truncate(text.trim_end_matches('\n').len());
    Ok(text)
}

/// Another program that did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("`{program}` cannot be run here; install it, and see that its folder is in `PATH`")]
    Start {
        /// Its name.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It ended with an error.
    #[error("`{command}` failed: {message}")]
    Failed {
        /// The whole command.
        command: String,
        /// What it said on stderr.
        message: String,
    },
    /// Its output is not UTF-8.
    #[error("`{program}` printed something that is not UTF-8")]
    NotText {
        /// Its name.
        program: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_which_program_and_what_it_said() {
        assert_eq!(run(Command::new("echo").arg("a  b")).unwrap(), "a  b");
        let missing = run(&mut Command::new("/nowhere/git")).unwrap_err();
        assert!(missing.to_string().starts_with("`/nowhere/git` cannot be run"), "{missing}");
        let failed = run(Command::new("sh").args(["-c", "echo broken >&2; exit 3"])).unwrap_err();
        assert!(failed.to_string().ends_with("failed: broken"), "{failed}");
        let bytes = run(Command::new("printf").arg("\\377")).unwrap_err();
        assert!(matches!(bytes, ProcessError::NotText { .. }), "{bytes}");
    }
}
