//! What the auditor asks for: everything, unless something is taken out by name.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use chancery_core::statement::{BuildIdentity, Decision};
use serde::Serialize;

/// What an auditor asks of a file of evidence (formats §10).
///
/// The default asks for everything, of a production log, on as many threads as the machine has.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// What every decision must say about where it ran.
    pub environment: Environment,
    /// The parts that are not asked for. The report says so in its verdict line.
    pub without: Without,
    /// The lowest version of the keyring that is accepted.
    pub min_keyring: Option<u64>,
    /// The text of an older checkpoint of the same log, which the file's log must continue.
    pub since: Option<String>,
    /// Builds that must not have decided.
    pub revoked_builds: Option<RevokedBuilds>,
    /// Worker threads; as many as the machine has processors where nothing is said.
    pub threads: Option<NonZeroUsize>,
}

/// Where a decision was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// A real decision.
    #[default]
    Production,
    /// A decision of a log that was set up for tests.
    Test,
}

impl Environment {
    /// `production` or `test`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Environment {
    type Err = AskError;

    fn from_str(text: &str) -> Result<Self, AskError> {
        match text {
            "production" => Ok(Self::Production),
            "test" => Ok(Self::Test),
            other => Err(AskError::Environment(other.to_owned())),
        }
    }
}

/// A part of the verification that can be left out.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// `build.signature`, `build.binding` and `build.sbom`.
    Build,
    /// `log.witness`.
    Witness,
    /// `decision.reproduced`.
    Reproduce,
    /// Openings that are not there and that no erasure explains.
    Opening,
}

impl Part {
    /// Every part, in the order in which reports name them.
    pub const ALL: [Self; 4] = [Self::Build, Self::Witness, Self::Reproduce, Self::Opening];

    /// The name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Witness => "witness",
            Self::Reproduce => "reproduce",
            Self::Opening => "opening",
        }
    }
}

impl FromStr for Part {
    type Err = AskError;

    fn from_str(text: &str) -> Result<Self, AskError> {
        Self::ALL
            .into_iter()
            .find(|part| part.as_str() == text)
            .ok_or_else(|| AskError::Part(text.to_owned()))
    }
}

/// The parts that are left out. As text: their names with commas between, in any order.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Without(Vec<Part>);

impl Without {
    /// Leaves `parts` out.
    pub fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        let mut parts: Vec<Part> = parts.into_iter().collect();
        parts.sort_unstable();
        parts.dedup();
        Self(parts)
    }

    /// True if `part` is left out.
    #[must_use]
    pub fn has(&self, part: Part) -> bool {
        self.0.contains(&part)
    }

    /// The parts that are left out, in the order of [`Part::ALL`].
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.0
    }
}

impl FromStr for Without {
    type Err = AskError;

    fn from_str(text: &str) -> Result<Self, AskError> {
        text.split(',').map(str::parse).collect::<Result<Vec<Part>, _>>().map(Self::new)
    }
}

/// Builds that an auditor does not accept: a decision by one of them fails `build.binding`.
///
/// As text an entry a line, in lowercase hexadecimal: the SHA-256 of a build identity's payload or of a program (64
/// digits), or the commit that was built (40 digits, or 64). What follows `#` is a comment; blank lines are allowed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RevokedBuilds(BTreeSet<String>);

impl RevokedBuilds {
    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if nothing is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Why a decision is by a build of the list; `build` is the identity that it names, where the file has it.
    pub(crate) fn reason(&self, decision: &Decision, build: Option<&BuildIdentity>) -> Option<String> {
        let runtime = &decision.runtime;
        let identity = runtime.build_identity.map(|hash| ("build identity", hash.to_string()));
        let commit = build.map(|build| ("commit", build.git.commit.clone()));
        let mut names = identity.into_iter().chain([("program", runtime.binary.to_string())]).chain(commit);
        let (what, name) = names.find(|(_, name)| self.0.contains(name))?;
        Some(format!("the {what} {name} is on the list of revoked builds"))
    }
}

impl FromStr for RevokedBuilds {
    type Err = AskError;

    fn from_str(text: &str) -> Result<Self, AskError> {
        let mut entries = BTreeSet::new();
        for (number, line) in (1..).zip(text.lines()) {
            let entry = line.split('#').next().unwrap_or_default().trim();
            if entry.is_empty() {
                continue;
            }
            let hex = entry.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if !hex || !matches!(entry.len(), 40 | 64) {
                return Err(AskError::RevokedBuild { line: number, found: entry.chars().take(80).collect() });
            }
            entries.insert(entry.to_owned());
        }
        Ok(Self(entries))
    }
}

/// A word of the question that is not known.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AskError {
    /// Neither `production` nor `test`.
    #[error("unknown environment `{0}`: give `production` or `test`")]
    Environment(String),
    /// Not a part that can be left out.
    #[error("unknown part `{0}`: `build`, `witness`, `reproduce` and `opening` can be left out")]
    Part(String),
    /// Not an entry of a list of revoked builds.
    #[error("line {line}: `{found}` names no build: give a SHA-256 or a commit in lowercase hexadecimal")]
    RevokedBuild {
        /// The line, from 1.
        line: u64,
        /// What stands there.
        found: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_in_any_order_and_kept_in_one() {
        let without: Without = "opening,build,opening".parse().unwrap();
        assert_eq!(without.parts(), [Part::Build, Part::Opening]);
        assert!(without.has(Part::Build) && !without.has(Part::Witness));
    }

    #[test]
    fn lists_of_revoked_builds_are_read_strictly() {
        let (sha256, commit) = ("0a".repeat(32), "1b".repeat(20));
        let text = format!("# withdrawn\n\n{sha256} # the one of May\r\n  {commit}\n{sha256}\n");
        assert_eq!(text.parse::<RevokedBuilds>().unwrap().len(), 2);
        assert!("".parse::<RevokedBuilds>().unwrap().is_empty());
        for bad in [
            "v1.0.0",
            &sha256[1..],
            &sha256.to_uppercase(),
            &format!("sha256:{sha256}"),
            &format!("{commit} {commit}"),
        ] {
            let error = format!("{commit}\n{bad}\n").parse::<RevokedBuilds>().unwrap_err();
            assert!(matches!(&error, AskError::RevokedBuild { line: 2, .. }), "{error:?}");
        }
    }

    #[test]
    fn unknown_words_are_refused_by_name() {
        assert_eq!("build,".parse::<Without>(), Err(AskError::Part(String::new())));
        assert_eq!("Build".parse::<Without>(), Err(AskError::Part("Build".to_owned())));
        assert_eq!("prod".parse::<Environment>(), Err(AskError::Environment("prod".to_owned())));
    }
}
