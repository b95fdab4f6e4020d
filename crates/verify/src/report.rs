//! The report: one verdict, every check with its result, and where the first faults are.

use chancery_core::digest::Digest;
use serde::Serialize;

use crate::ask::{Environment, Without};
use crate::check::CheckId;
use crate::fault::Fault;

/// How many places a check names; the rest is counted only.
pub const PLACES_MAX: usize = 10;

/// What the whole file comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything that was asked for was checked and holds.
    Verified,
    /// A check fails.
    Failed,
    /// Nothing fails, but something that was asked for could not be checked.
    Incomplete,
}

impl Verdict {
    /// `verified`, `failed` or `incomplete`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Failed => "failed",
            Self::Incomplete => "incomplete",
        }
    }
}

/// What one check comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckResult {
    /// Everything that it looked at holds, and it looked at something.
    Pass,
    /// Something does not hold.
    Fail,
    /// Something could not be checked, or there was nothing to check.
    Unknown,
}

impl CheckResult {
    /// `pass`, `fail` or `unknown`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }
}

/// One check of the report.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Which one.
    pub id: CheckId,
    /// What it comes to.
    pub result: CheckResult,
    /// True if the verdict needs it: an unknown that is required makes the verdict `incomplete`.
    pub required: bool,
    /// Why it is not a pass; the first place's reason where there are places.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many things were checked and hold.
    pub passed: u64,
    /// How many do not hold.
    pub failed: u64,
    /// How many could not be checked although that was asked.
    pub unknown: u64,
    /// The first [`PLACES_MAX`] places that do not hold, then those that could not be checked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Place>,
}

/// Where something does not hold or could not be checked.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// `fail` or `unknown`.
    pub result: CheckResult,
    /// The line of the file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The log index that the line claims.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// The execution that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<String>,
    /// Which fault it is, where several fail the check: `override.nonce`. Stable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Fault>,
    /// What is wrong.
    pub reason: String,
}

/// What was in the file, by number.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Lines.
    pub lines: u64,
    /// Bytes.
    pub bytes: u64,
    /// Log entries, keyring versions included.
    pub entries: u64,
    /// Keyring versions.
    pub keyrings: u64,
    /// Policy bundles.
    pub bundles: u64,
    /// Build identities.
    pub builds: u64,
    /// Decisions.
    pub decisions: u64,
    /// Decisions whose policy was run again with the same result.
    pub reproduced: u64,
    /// Decisions with a full opening.
    pub opened: u64,
    /// Decisions with a partial opening: these cannot be run again.
    pub partial: u64,
    /// Decisions whose opening was erased, as an erasure entry says.
    pub redacted: u64,
    /// Decisions with no opening and no erasure.
    pub unopened: u64,
    /// Overrides.
    pub overrides: u64,
    /// Resolutions.
    pub resolutions: u64,
    /// Confirmations.
    pub confirmations: u64,
    /// Activations.
    pub activations: u64,
    /// Verifications.
    pub verifications: u64,
    /// Erasures.
    pub erasures: u64,
    /// Override cases that the file does not see the end of.
    pub cases_open: u64,
    /// Those of them whose time was over when a complete file was made.
    pub cases_overdue: u64,
}

/// What the file says that it is. Checked only as far as the checks say.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The tenant.
    pub tenant: String,
    /// The log's origin.
    pub log_origin: String,
    /// `complete`, `range` or `filtered`.
    pub kind: &'static str,
    /// `[from, to)` of the exported indexes; absent in a filtered export.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<(u64, u64)>,
    /// `full`, `partial` or `none`.
    pub disclosure: String,
    /// When it was exported, as it says.
    pub exported_at: String,
    /// The checkpoint's size in entries, where the checkpoint could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_size: Option<u64>,
    /// The checkpoint's root hash in hex, where the checkpoint could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_root: Option<String>,
    /// The newest version of the keyring in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyring_version: Option<u64>,
}

/// A build of the file: what decided, and what it was made of.
///
/// What it says of itself is given only where a build key's signature over it holds.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildFound {
    /// SHA-256 of the build identity's payload: what decisions name.
    pub hash: Digest,
    /// How many decisions of the file name it.
    pub decisions: u64,
    /// What it says of itself.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub source: Option<BuildSource>,
}

/// What a signed build identity says of its build (formats §8).
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildSource {
    /// The commit: 40 or 64 lowercase hexadecimal digits.
    pub commit: String,
    /// True if it was made of something else than the commit alone.
    pub dirty: bool,
    /// Where the commit lies.
    pub repository: String,
    /// The commit's tag; null where there is none.
    pub tag: Option<String>,
    /// SHA-256 of the program.
    pub program: Option<Digest>,
    /// The container image, `<name>@sha256:<hex>`; null where there is none.
    pub image: Option<String>,
    /// SHA-256 of the bill of materials.
    pub sbom: Digest,
}

/// What a verification found. The same file and question give the same report, byte for byte.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What the whole file comes to.
    pub verdict: Verdict,
    /// The verdict in one line, with what was left out and what was counted apart.
    pub summary: String,
    /// `chancery-verify/<version>`.
    pub verifier: String,
    /// The environment that was asked for.
    pub environment: Environment,
    /// What was left out.
    pub without: Without,
    /// How many builds were on the auditor's list of revoked ones; absent where there was no list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_builds: Option<usize>,
    /// What the file says that it is; absent where it has no header that could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// What was in the file.
    pub counts: Counts,
    /// The builds in the file, in its order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub builds: Vec<BuildFound>,
    /// What this file cannot prove, in sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
    /// Every check, in the order of [`CheckId::ALL`].
    pub checks: Vec<Check>,
    /// The input could not be read to its end; the verdict is never `verified` then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_error: Option<String>,
}

impl Report {
    /// The check with this id.
    #[must_use]
    pub fn check(&self, id: CheckId) -> Option<&Check> {
        self.checks.iter().find(|check| check.id == id)
    }

    /// The exit code of a program: 0 verified, 5 failed, 6 incomplete, 1 if the input could not be read.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            _ if self.input_error.is_some() => 1,
            Verdict::Verified => 0,
            Verdict::Failed => 5,
            Verdict::Incomplete => 6,
        }
    }
}
