//! Between the database's integers and texts and the types of the core.

use std::error::Error as StdError;
use std::str::FromStr;

use chancery_core::statement::{Environment, ExecutionState, OverrideResolution, ResolutionStatus, Verdict};

use crate::error::StoreError;

/// A log index, size or version as SQLite holds it. Sizes end at 2^53 − 1, so that this never saturates.
pub(crate) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The other way; a negative number is damage.
pub(crate) fn from_sql(table: &'static str, key: impl ToString, number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|error| StoreError::corrupt(table, key, error))
}

/// Text as one of the core's types.
pub(crate) fn parse<T>(table: &'static str, key: impl ToString, text: &str) -> Result<T, StoreError>
where
    T: FromStr,
    T::Err: StdError + Send + Sync + 'static,
{
    text.parse().map_err(|error: T::Err| StoreError::corrupt(table, key, error))
}

/// The same for a column that may be null.
pub(crate) fn parse_some<T>(
    table: &'static str,
    key: impl ToString,
    text: Option<&str>,
) -> Result<Option<T>, StoreError>
where
    T: FromStr,
    T::Err: StdError + Send + Sync + 'static,
{
    text.map(|text| parse(table, key, text)).transpose()
}

/// A column holds a word that this program does not know.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not one of its words")]
pub(crate) struct UnknownWord(String);

/// An enum of the core that has a word for each value.
pub(crate) trait Word: Copy + Sized + 'static {
    /// Every value.
    const ALL: &'static [Self];

    /// The word for it.
    fn word(self) -> &'static str;
}

/// A word of the database as its value.
pub(crate) fn from_word<T: Word>(
    table: &'static str,
    key: impl ToString,
    word: &str,
) -> Result<T, StoreError> {
    let found = T::ALL.iter().find(|value| value.word() == word);
    found.copied().ok_or_else(|| StoreError::corrupt(table, key, UnknownWord(word.to_owned())))
}

impl Word for Environment {
    const ALL: &'static [Self] = &[Self::Production, Self::Test];

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Word for ExecutionState {
    const ALL: &'static [Self] = &[Self::Completed, Self::PendingOverride, Self::Blocked];

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Word for ResolutionStatus {
    const ALL: &'static [Self] = &[Self::Approved, Self::Rejected, Self::Expired];

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Word for OverrideResolution {
    const ALL: &'static [Self] = &[Self::Approve, Self::Reject];

    fn word(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
        }
    }
}

impl Word for Verdict {
    const ALL: &'static [Self] = &[Self::Verified, Self::Failed, Self::Incomplete];

    fn word(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Failed => "failed",
            Self::Incomplete => "incomplete",
        }
    }
}
