//! Where a store is: a file, or a database on a server.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::postgres::{PostgresUrl, PostgresUrlError};

/// A SQLite file, or a PostgreSQL database in which a tenant has its part.
///
/// Text: a path, or a URL that begins with `postgres://` or `postgresql://`. Shown without a password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Location {
    /// SQLite.
    File(PathBuf),
    /// PostgreSQL.
    Server(Box<PostgresUrl>),
}

impl Location {
    /// The SQLite file.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Server(_) => None,
        }
    }

    /// The same with the password of `other`, where that is the same database with a password and this has none.
    #[must_use]
    pub fn with_password_of(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Server(url), Self::Server(other)) => Self::Server(Box::new(url.with_password_of(other))),
            (own, _) => own,
        }
    }

    /// A relative path of a file is meant from `folder`.
    #[must_use]
    pub fn within(self, folder: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(folder.join(path)),
            server @ Self::Server(_) => server,
        }
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl FromStr for Location {
    type Err = PostgresUrlError;

    fn from_str(text: &str) -> Result<Self, PostgresUrlError> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return text.parse().map(|url| Self::Server(Box::new(url)));
        }
        Ok(Self::File(PathBuf::from(text)))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Server(url) => write!(f, "{url}"),
        }
    }
}

impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_file_and_a_url_a_server() {
        let file: Location = "data/chancery.db".parse().unwrap();
        assert_eq!(file.clone().within(Path::new("/home")).file(), Some(Path::new("/home/data/chancery.db")));
        let server: Location = "postgresql://u:secret@localhost/d".parse().unwrap();
        assert_eq!(server.clone().within(Path::new("/home")), server);
        assert_eq!((server.file(), server.to_string().as_str()), (None, "postgres://localhost/d"));
        assert!("postgres://u@db.example/d?sslmode=disable".parse::<Location>().is_err());
    }

    #[test]
    fn a_password_is_taken_over_from_the_same_database_and_from_no_other() {
        let location = |text: &str| text.parse::<Location>().unwrap();
        let first = location("postgres://u:secret@localhost/d");
        assert_eq!(location("postgres://u@localhost/d").with_password_of(&first), first);
        for other in [
            "postgres://u@localhost/e",
            "postgres://v@localhost/d",
            "postgres://u@localhost:5433/d",
            "postgres://u:own@localhost/d",
            "chancery.db",
        ] {
            assert_eq!(location(other).with_password_of(&first), location(other), "{other}");
        }
    }
}
