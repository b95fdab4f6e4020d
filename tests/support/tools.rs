//! Other people's tools that check what Chancery makes, and make what Chancery checks.
//!
//! `tests/interop/install` puts cosign and the npm packages into `$CHANCERY_TOOLS` (`~/.cache/chancery-tools`); the
//! others come with the system. Where one is not there its tests show nothing and say so, or fail ([`crate::skip`]).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::program::{Said, repository, run};
use crate::skip;

/// A tool that is there.
pub struct Tool {
    /// What its people call it.
    pub name: &'static str,
    /// The version that it says.
    pub version: String,
    program: PathBuf,
    first: Vec<PathBuf>,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Tool {
    /// The folder that it is in, where it is in none of `PATH`.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.program.parent().filter(|folder| folder.is_absolute())
    }

    /// Runs it in a folder, which is its home too, with nothing of the developer's environment but the path.
    #[must_use]
    pub fn run(&self, folder: &Path, arguments: &[&str]) -> Said {
        self.run_with(folder, arguments, &[])
    }

    /// The same with further variables.
    #[must_use]
    pub fn run_with(&self, folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
        let mut command = bare(&self.program, folder);
        command.args(&self.first);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.envs(variables.iter().copied());
        run(&mut command, arguments)
    }
}

fn bare(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env_clear().env("HOME", folder).stdin(Stdio::null());
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// cosign, of the version that `tests/interop/install` names.
#[must_use]
pub fn cosign() -> Option<Tool> {
    let installed = folder().join("bin/cosign");
    let program = if installed.is_file() { installed } else { PathBuf::from("cosign") };
    let said = asked(&program, "version");
    let version = said.and_then(|said| word_after(&said, "GitVersion:"));
    found("cosign", "run tests/interop/install", program, version)
}

/// npm's `@sigstore/verify`, in a small script for Node.js.
#[must_use]
pub fn sigstore_verify() -> Option<Tool> {
    let modules = folder().join("node_modules");
    let manifest = std::fs::read_to_string(modules.join("@sigstore/verify/package.json")).ok();
    let version = manifest.filter(|_| asked(Path::new("node"), "--version").is_some()).and_then(|text| {
        let manifest: serde_json::Value = serde_json::from_str(&text).ok()?;
        manifest["version"].as_str().map(str::to_owned)
    });
    let tool = found("@sigstore/verify", "run tests/interop/install", PathBuf::from("node"), version)?;
    let first = vec![repository().join("tests/interop/verify.cjs")];
    Some(Tool { first, environment: vec![("NODE_PATH", modules)], ..tool })
}

/// OpenSSL's command.
#[must_use]
pub fn openssl() -> Option<Tool> {
    let program = PathBuf::from("openssl");
    let version = asked(&program, "version").and_then(|said| word_after(&said, "OpenSSL"));
    found("OpenSSL", "install the package openssl", program, version)
}

/// `ssh-keygen` of OpenSSH.
#[must_use]
pub fn ssh_keygen() -> Option<Tool> {
    // It does not tell its own version.
    let version = asked(Path::new("ssh"), "-V").and_then(|said| said.split(' ').next().map(str::to_owned));
    let version = version.map(|said| said.trim_start_matches("OpenSSH_").trim_end_matches(',').to_owned());
    found("ssh-keygen", "install the package openssh-client", PathBuf::from("ssh-keygen"), version)
}

/// `sha256sum` of the GNU core utilities.
#[must_use]
pub fn sha256sum() -> Option<Tool> {
    let program = PathBuf::from("sha256sum");
    let said = asked(&program, "--version");
    let version = said.and_then(|said| said.lines().next()?.split(' ').next_back().map(str::to_owned));
    found("sha256sum", "install the package coreutils", program, version)
}

fn folder() -> PathBuf {
    std::env::var_os("CHANCERY_TOOLS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/chancery-tools"),
        PathBuf::from,
    )
}

/// What a program answers, on either stream; nothing where it is not there or fails.
fn asked(program: &Path, argument: &str) -> Option<String> {
    let output = bare(program, Path::new("/")).arg(argument).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    output.status.success().then(|| String::from_utf8_lossy(&text).into_owned())
}

fn word_after(text: &str, word: &str) -> Option<String> {
    text.split_whitespace().skip_while(|found| *found != word).nth(1).map(str::to_owned)
}

fn found(name: &'static str, help: &'static str, program: PathBuf, version: Option<String>) -> Option<Tool> {
    let Some(version) = version else {
        skip::skipped(&format!("{name} ({help})"));
        return None;
    };
    Some(Tool { name, version, program, first: Vec::new(), environment: Vec::new() })
}
