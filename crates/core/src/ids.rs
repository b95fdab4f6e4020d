//! Names that users and records use: executions, tenants, policies, versions, Cedar entities.
//!
//! ```text
//! ExecutionId    1 to 200 of [A-Za-z0-9._:-], the first a letter or digit     claim-CLM-2024-00443
//! TenantId       1 to  63 of [a-z0-9._-],     the first a letter or digit     acme
//! PolicyId       1 to 100 of [a-z0-9._-],     the first a letter or digit     claim-approval
//! PolicyVersion  a semantic version (SemVer 2.0.0), at most 100 characters    1.0.0
//! EntityUid      Cedar's text form of an entity uid                           Claim::"CLM-2024-00443"
//! ```
//!
//! All are compared byte by byte, case matters, nothing is normalised. A value holds its text once and is
//! cheap to clone.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::digest::text_serde;

mod entity;

pub use entity::{EntityUid, ParseEntityUidError, is_entity_type_name};

/// A text that is no identifier of the kind that was asked for.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ParseIdError {
    /// Empty, or longer than the kind allows.
    #[error("{what} has 1 to {max} characters, this has {got}")]
    Length {
        /// The kind, with its article.
        what: &'static str,
        /// The most characters that it may have.
        max: usize,
        /// The length of the text in bytes.
        got: usize,
    },
    /// A character that the kind does not have.
    #[error("{what} has only characters of {set}, this has `{found}`")]
    Character {
        /// The kind, with its article.
        what: &'static str,
        /// The characters that it may have.
        set: &'static str,
        /// The first other character.
        found: char,
    },
    /// The first character is neither a letter nor a digit.
    #[error("{what} begins with a letter or digit, this with `{found}`")]
    First {
        /// The kind, with its article.
        what: &'static str,
        /// The first character.
        found: char,
    },
    /// Not a semantic version.
    #[error("a policy version is a semantic version such as `1.0.0`, not `{0}`")]
    Version(String),
}

/// The rule of one kind of identifier.
struct Rule {
    what: &'static str,
    max: usize,
    set: &'static str,
    allows: fn(u8) -> bool,
}

impl Rule {
    fn check(&self, text: &str) -> Result<(), ParseIdError> {
        let what = self.what;
        if text.is_empty() || text.len() > self.max {
            return Err(ParseIdError::Length { what, max: self.max, got: text.len() });
        }
        let allowed = |c: char| u8::try_from(c).is_ok_and(self.allows);
        if let Some(found) = text.chars().find(|&c| !allowed(c)) {
            return Err(ParseIdError::Character { what, set: self.set, found });
        }
        match text.chars().next() {
            Some(found) if !found.is_ascii_alphanumeric() => Err(ParseIdError::First { what, found }),
            _ => Ok(()),
        }
    }
}

/// The traits that a type with a field `text: Arc<str>` needs to be used as its text.
macro_rules! text_traits {
    ($name:ident, $expecting:literal) => {
        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.text
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.text)
            }
        }

        text_serde!($name, $expecting, $name::as_str);
    };
}
pub(crate) use text_traits;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $expecting:literal, $rule:expr) => {
        $(#[$doc])*
        #[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name {
            text: Arc<str>,
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                const RULE: Rule = $rule;
                RULE.check(text)?;
                Ok(Self { text: text.into() })
            }
        }

        text_traits!($name, $expecting);
    };
}

id_type! {
    /// The caller's name of one execution, unique in a tenant's log: 1 to 200 of `[A-Za-z0-9._:-]`.
    ExecutionId,
    "an execution id of 1 to 200 characters of [A-Za-z0-9._:-]",
    Rule {
        what: "an execution id",
        max: 200,
        set: "[A-Za-z0-9._:-]",
        allows: |c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b':' | b'-'),
    }
}
id_type! {
    /// The name of a tenant: 1 to 63 of `[a-z0-9._-]`.
    TenantId,
    "a tenant of 1 to 63 characters of [a-z0-9._-]",
    Rule {
        what: "a tenant",
        max: 63,
        set: "[a-z0-9._-]",
        allows: |c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'_' | b'-'),
    }
}
id_type! {
    /// The name of a policy, which all versions of its bundle share: 1 to 100 of `[a-z0-9._-]`.
    PolicyId,
    "a policy id of 1 to 100 characters of [a-z0-9._-]",
    Rule {
        what: "a policy id",
        max: 100,
        set: "[a-z0-9._-]",
        allows: |c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'_' | b'-'),
    }
}

/// The version of a bundle: a semantic version, ordered by precedence (SemVer 2.0.0, section 11).
#[derive(Clone)]
pub struct PolicyVersion {
    text: Arc<str>,
    version: Arc<semver::Version>,
}

impl PolicyVersion {
    const MAX: usize = 100;

    /// The version in its parts.
    #[must_use]
    pub fn semver(&self) -> &semver::Version {
        &self.version
    }
}

impl FromStr for PolicyVersion {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.is_empty() || text.len() > Self::MAX {
            return Err(ParseIdError::Length { what: "a policy version", max: Self::MAX, got: text.len() });
        }
        match semver::Version::parse(text) {
            Ok(version) if version.to_string() == text => {
                Ok(Self { text: text.into(), version: Arc::new(version) })
            }
            _ => Err(ParseIdError::Version(text.to_owned())),
        }
    }
}

impl PartialEq for PolicyVersion {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PolicyVersion {}

impl Hash for PolicyVersion {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Ord for PolicyVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        self.version.cmp(&other.version).then_with(|| self.text.cmp(&other.text))
    }
}

impl PartialOrd for PolicyVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

text_traits!(PolicyVersion, "a semantic version");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_wrong_length_is_refused() {
        assert!("a".repeat(200).parse::<ExecutionId>().is_ok());
        for (result, max, got) in [
            ("".parse::<ExecutionId>().map(drop), 200, 0),
            ("a".repeat(201).parse::<ExecutionId>().map(drop), 200, 201),
            ("a".repeat(64).parse::<TenantId>().map(drop), 63, 64),
            ("a".repeat(101).parse::<PolicyId>().map(drop), 100, 101),
            (format!("1.0.0-{}", "a".repeat(95)).parse::<PolicyVersion>().map(drop), 100, 101),
        ] {
            let error = result.unwrap_err();
            assert!(
                matches!(error, ParseIdError::Length { max: m, got: g, .. } if m == max && g == got),
                "{error:?}"
            );
        }
    }

    #[test]
    fn a_character_outside_of_the_set_is_refused_by_name() {
        for (text, found) in
            [("a b", ' '), ("a/b", '/'), ("é", 'é'), ("a\0", '\0'), ("a\n", '\n'), ("ａ", 'ａ')]
        {
            let error = text.parse::<ExecutionId>().unwrap_err();
            assert!(matches!(error, ParseIdError::Character { found: f, .. } if f == found), "{text}");
        }
        assert!("A".parse::<ExecutionId>().is_ok());
        assert!("A".parse::<TenantId>().is_err());
        assert!("a:b".parse::<PolicyId>().is_err());
    }

    #[test]
    fn the_first_character_is_a_letter_or_digit() {
        for bad in [".", "-a", "_a", "..", ".git"] {
            assert!(matches!(bad.parse::<TenantId>(), Err(ParseIdError::First { .. })), "{bad}");
            assert!(matches!(bad.parse::<PolicyId>(), Err(ParseIdError::First { .. })), "{bad}");
        }
        assert!(matches!(":a".parse::<ExecutionId>(), Err(ParseIdError::First { found: ':', .. })));
        assert!("0-._".parse::<PolicyId>().is_ok());
    }

    #[test]
    fn a_version_is_semantic_and_ordered_by_precedence() {
        for bad in
            ["1", "1.0", "v1.0.0", "01.0.0", "1.0.0-01", "1.0.0 ", " 1.0.0", "1.0.0-", "1.0.0+", "1..0", "x"]
        {
            assert!(matches!(bad.parse::<PolicyVersion>(), Err(ParseIdError::Version(_))), "{bad}");
        }
        let order =
            ["0.9.0", "1.0.0-alpha", "1.0.0-rc.2", "1.0.0-rc.10", "1.0.0", "1.0.0+b", "1.2.0", "1.10.0"];
        let versions: Vec<PolicyVersion> = order.iter().map(|text| text.parse().unwrap()).collect();
        assert!(versions.is_sorted());
    }

    #[test]
    fn an_id_in_json_is_its_text() {
        let id: ExecutionId = serde_json::from_str("\"claim-1\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"claim-1\"");
        assert!(serde_json::from_str::<ExecutionId>("\"-\"").is_err());
        assert!(serde_json::from_str::<ExecutionId>("1").is_err());
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(
            execution in "[A-Za-z0-9][A-Za-z0-9._:-]{0,199}",
            tenant in "[a-z0-9][a-z0-9._-]{0,62}",
            version in "(0|[1-9][0-9]{0,3})\\.(0|[1-9][0-9]{0,3})\\.(0|[1-9][0-9]{0,3})(-[a-z]{1,5}(\\.[1-9][0-9]{0,2})?)?(\\+[0-9a-z]{1,4})?",
        ) {
            prop_assert_eq!(execution.parse::<ExecutionId>().unwrap().to_string(), execution);
            prop_assert_eq!(tenant.parse::<TenantId>().unwrap().to_string(), tenant.clone());
            prop_assert_eq!(tenant.parse::<PolicyId>().unwrap().to_string(), tenant);
            prop_assert_eq!(version.parse::<PolicyVersion>().unwrap().to_string(), version);
        }
    }
}
