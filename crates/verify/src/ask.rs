//! What the auditor asks for: everything, unless something is taken out by name.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

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

/// A word of the question that is not known.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AskError {
    /// Neither `production` nor `test`.
    #[error("unknown environment `{0}`: give `production` or `test`")]
    Environment(String),
    /// Not a part that can be left out.
    #[error("unknown part `{0}`: `build`, `witness`, `reproduce` and `opening` can be left out")]
    Part(String),
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
    fn unknown_words_are_refused_by_name() {
        assert_eq!("build,".parse::<Without>(), Err(AskError::Part(String::new())));
        assert_eq!("Build".parse::<Without>(), Err(AskError::Part("Build".to_owned())));
        assert_eq!("prod".parse::<Environment>(), Err(AskError::Environment("prod".to_owned())));
    }
}
