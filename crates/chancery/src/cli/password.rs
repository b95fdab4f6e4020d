//! Where passwords come from: a file, the environment, or a prompt. Never a flag.

use std::io::IsTerminal;
use std::path::Path;

use zeroize::Zeroizing;

use super::failure::{Exit, Failure};
use super::output::Output;

/// A password; wiped when it is dropped.
pub(super) type Password = Zeroizing<Vec<u8>>;

/// Finds a password: `file` first, then the environment `variable`, then a prompt for `what`.
///
/// One line ending at the end of the file is no part of the password.
///
/// # Errors
/// The file cannot be read or is readable by others, or there is neither file nor variable and nobody to ask.
pub(super) fn find(
    output: Output,
    what: &str,
    file: Option<&Path>,
    variable: &str,
    twice: bool,
) -> Result<Password, Failure> {
    if let Some(path) = file {
        return from_file(path);
    }
    if let Some(value) = std::env::var_os(variable) {
        use std::os::unix::ffi::OsStringExt;
        return not_empty(what, Zeroizing::new(value.into_vec()));
    }
    if !output.input || !std::io::stdin().is_terminal() {
        return Err(Failure::new(Exit::NotAuthorised, format!("there is no password for {what}")).help(
            format!(
                "set `password_file` in chancery.toml or the variable `{variable}`, or run at a terminal"
            ),
        ));
    }
    let ask = |prompt: String| {
        rpassword::prompt_password(prompt)
            .map(|text| Zeroizing::new(text.into_bytes()))
            .map_err(|error| Failure::system("cannot read a password", &error))
    };
    let first = ask(format!("Password for {what}: "))?;
    if twice && ask(format!("Password for {what}, again: "))? != first {
        return Err(
            Failure::new(Exit::NotAuthorised, "the two passwords differ").help("run the command again")
        );
    }
    not_empty(what, first)
}

/// Writes a password into a new file that nobody else can read.
///
/// # Errors
/// The file is there already or cannot be made.
pub(super) fn store(path: &Path, password: &Password) -> Result<(), Failure> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(password)?;
        file.sync_all()
    };
    write().map_err(|error| {
        Failure::because(
            Exit::Runtime,
            format!("cannot write the password file `{}`", path.display()),
            &error,
        )
        .help("choose a folder that this user can write into")
    })
}

/// The secret in a file that nobody else can read.
///
/// # Errors
/// It cannot be read, is readable by others, or is empty.
pub(super) fn from_file(path: &Path) -> Result<Password, Failure> {
    use std::os::unix::fs::PermissionsExt;
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        Failure::because(Exit::NotAuthorised, format!("cannot read the password file `{shown}`"), &error)
            .help("name a file that this user can read in `password_file`")
    };
    let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Failure::new(
            Exit::NotAuthorised,
            format!("the password file `{shown}` is open to others (mode {:04o})", mode & 0o7777),
        )
        .help(format!("chmod 600 {shown}")));
    }
    let mut bytes = Zeroizing::new(std::fs::read(path).map_err(unreadable)?);
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    not_empty(&format!("`{shown}`"), bytes)
}

fn not_empty(what: &str, password: Password) -> Result<Password, Failure> {
    if password.is_empty() {
        return Err(Failure::new(Exit::NotAuthorised, format!("the password for {what} is empty"))
            .help("choose one that has at least one character"));
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(content: &[u8], mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn one_line_ending_is_cut() {
        assert_eq!(from_file(file(b"p w\r\n", 0o600).path()).unwrap().as_slice(), b"p w");
        assert_eq!(from_file(file(b"pw\n\n", 0o400).path()).unwrap().as_slice(), b"pw\n");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let failure = from_file(file(b"pw", 0o640).path()).unwrap_err();
        assert_eq!(failure.exit, Exit::NotAuthorised);
        assert!(failure.to_string().contains("0640"), "{failure}");
    }

    #[test]
    fn an_empty_password_is_refused() {
        assert!(from_file(file(b"\n", 0o600).path()).is_err());
    }
}
