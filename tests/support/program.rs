//! The programs under test, built once for each test run, and what they say.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

/// The path of `chancery` or `chancery-verify` beside the running test.
///
/// `cargo test --workspace` builds both before any test runs, because their packages have tests of their own. Where
/// this package is tested alone and they were never built, they are built here. Long runs take those of a release, in the
/// folder that `CHANCERY_PROGRAMS` names.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        if let Some(folder) = std::env::var_os("CHANCERY_PROGRAMS") {
            return folder.into();
        }
        let tests = std::env::current_exe().unwrap();
        let profile = tests.ancestors().nth(2).expect("target/<profile>/deps/<test>").to_owned();
        if !["chancery", "chancery-verify"].iter().all(|program| profile.join(program).is_file()) {
            let mut build = Command::new(env!("CARGO"));
            build.current_dir(repository()).args(["build", "--workspace", "--bins", "--locked", "--quiet"]);
            if profile.ends_with("release") {
                build.arg("--release");
            }
            build.arg("--target-dir").arg(profile.parent().unwrap());
            assert!(build.status().expect("cargo runs").success(), "the programs do not build");
        }
        profile
    });
    folder.join(name)
}

/// A command of `chancery` that works in `home`: nothing of the developer's environment reaches it.
#[must_use]
pub fn chancery(home: &Path) -> Command {
    let mut command = Command::new(path("chancery"));
    command
        .current_dir(home)
        .env_clear()
        .env("CHANCERY_PASSWORD", crate::home::PASSWORD)
        .stdin(Stdio::null());
    command
}

/// The auditor's program, with an empty environment.
#[must_use]
pub fn chancery_verify() -> Command {
    let mut command = Command::new(path("chancery-verify"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// What a program said, and how it ended.
#[derive(Debug)]
pub struct Said {
    /// The exit code; 128 and more for a signal.
    pub code: i32,
    /// Stdout.
    pub out: String,
    /// Stderr.
    pub err: String,
}

/// Runs a command to its end.
#[must_use]
pub fn run(command: &mut Command, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Said {
    let Output { status, stdout, stderr } = command.args(arguments).output().expect("the program runs");
    Said {
        code: status.code().unwrap_or(128),
        out: String::from_utf8(stdout).expect("stdout is UTF-8"),
        err: String::from_utf8(stderr).expect("stderr is UTF-8"),
    }
}

impl Said {
    /// Requires this exit code, and shows everything where it is another.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Stdout as JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("no JSON ({error}):\n{}", self.out))
    }
}
