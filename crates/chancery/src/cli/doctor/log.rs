//! The database, the log in it against what was signed of it, and the build that decides.

use chancery_core::keyring::Keyring;
use chancery_core::statement::Environment;
use chancery_runtime::checkpoint::CheckpointError;
use chancery_runtime::failure::Failure as _;
use chancery_runtime::records::{Finding, Grade, Records};

use super::{Diagnosis, Doctor, Status};
use crate::cli::Failure;
use crate::cli::open::{home_of, own_digest};

/// Entries may be without a checkpoint for so many intervals of the publisher.
const INTERVALS: i64 = 10;

impl Doctor<'_> {
    /// The database as such, and the log for reading, where that can be opened.
    pub(super) fn database(&self, diagnosis: &mut Diagnosis) -> Option<Records> {
        let (location, tenant) = (&self.config.database, &self.config.tenant);
        match Records::examine(location, tenant, self.home.edge.clock.clone()) {
            Ok(findings) => findings.into_iter().for_each(|finding| tell(finding, diagnosis)),
            Err(error) => {
                diagnosis.failure("database", &Failure::of(&error));
                return None;
            }
        }
        let records = Records::open(location, Some(tenant), self.home.edge.clock.clone());
        let records = records.map_err(|error| diagnosis.failure("database", &Failure::of(&error))).ok()?;
        let settings = records.settings();
        if settings.tenant != *tenant {
            diagnosis.fail(
                "database",
                format!("it has the log of `{}`, the configuration says `{tenant}`", settings.tenant),
                "correct `tenant` or `database` in chancery.toml, whichever is wrong",
            );
            return None;
        }
        diagnosis.ok(
            "database",
            format!("`{location}`: the {} log `{}`", settings.environment, settings.log_origin),
        );
        Some(records)
    }

    /// The head against the newest checkpoint and the publisher's own memory.
    pub(super) fn checkpoint(&self, records: &Records, keyring: &Keyring, diagnosis: &mut Diagnosis) {
        let memory = home_of(self.config);
        let covered = match records.check_checkpoint(memory.checkpoint(), keyring) {
            Ok(covered) => covered,
            Err(error) => return broken(&error, diagnosis),
        };
        let what = format!("{} entries, {} of them under a checkpoint", covered.entries, covered.size);
        let uncovered = covered.entries.saturating_sub(covered.size);
        let limit_ms =
            i64::try_from(self.config.checkpoint_interval_ms).unwrap_or(i64::MAX).saturating_mul(INTERVALS);
        let waiting = covered.waiting_since.map(|since| self.now.saturating_diff_ms(since));
        match waiting {
            Some(waiting_ms) if waiting_ms > limit_ms => diagnosis.warn(
                "log",
                format!("{what}; {uncovered} have waited for one for {} s", waiting_ms / 1_000),
                "start `chancery serve`, which signs one; where it runs, its log says why it does not",
            ),
            _ => diagnosis.ok(
                "log",
                format!("{what}; it continues what `{}` remembers", memory.checkpoint().display()),
            ),
        }
    }

    /// The build that decides: its files, their signatures, and this program.
    pub(super) fn build(&self, records: &Records, keyring: &Keyring, diagnosis: &mut Diagnosis) {
        let found = self.home.build_files(self.config).and_then(|files| Ok((files, own_digest()?)));
        let (files, binary) = match found {
            Ok(found) => found,
            Err(failure) => return diagnosis.failure("build", &failure),
        };
        let Some(files) = files else {
            return match records.settings().environment {
                Environment::Test => {
                    diagnosis.ok("build", "none; a log for tests decides without one");
                }
                Environment::Production => diagnosis.fail(
                    "build",
                    "there is no `build-identity.json`, and a production log decides only with a verified build",
                    "install all files of the release beside the program, or name their folder with `build`: \
                     docs/guides/release.md",
                ),
            };
        };
        match records.check_build(keyring, &files, binary) {
            Ok(build) => {
                let git = &build.statement.predicate.git;
                let what = format!(
                    "this program is the build of commit {}, signed by {}",
                    git.commit, build.statement.predicate.signer
                );
                if git.dirty {
                    let fix = "release from a clean work tree: docs/guides/release.md";
                    diagnosis.warn("build", format!("{what}, and its source had been changed"), fix);
                } else {
                    diagnosis.ok("build", what);
                }
            }
            Err(error) => diagnosis.failure("build", &Failure::of(&error)),
        }
    }
}

fn tell(finding: Finding, diagnosis: &mut Diagnosis) {
    let Finding { what, grade, found, mend } = finding;
    let status = match grade {
        Grade::Fine => return diagnosis.ok("database", format!("{what}: {found}")),
        Grade::Doubtful => Status::Warn,
        Grade::Broken => Status::Fail,
    };
    diagnosis.add("database", status, format!("{what}: {found}"), mend);
}

/// The ways on that the runbook has.
fn broken(error: &CheckpointError, diagnosis: &mut Diagnosis) {
    let fix = match error.code() {
        "checkpoint.missing" => {
            "bring back the newest copy of the file, or copy another node's; where there is none, run `chancery fsck --full`, \
             and then `chancery log adopt` with a checkpoint that somebody else holds: docs/runbook.md, \"The checkpoint \
             memory is missing\""
        }
        "checkpoint.ahead" => {
            "put the newest database back, never an older memory: docs/runbook.md, \"The memory is ahead of the log\""
        }
        "checkpoint.fork" => {
            "stop the server, keep copies of everything, and run `chancery fsck --full`: docs/runbook.md, \"A fork\""
        }
        "checkpoint.broken" => {
            "keep the damaged file, and go on as if it were missing: docs/runbook.md, \"The checkpoint memory is missing\""
        }
        _ => return diagnosis.failure("log", &Failure::of(error)),
    };
    diagnosis.fail("log", crate::cli::failure::chain(error), fix);
}
