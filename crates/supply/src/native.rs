//! C and assembly that crates bring along and compile: SQLite, AWS-LC (formats §8).
//!
//! Lists of vulnerabilities know such code by its own name and version, which the crate's are not. The version is read
//! from the header that the crate ships, and so is that of the code that is compiled:
//!
//! ```text
//! libsqlite3-sys 0.38.2/sqlite3/sqlite3.h    #define SQLITE_VERSION        "3.53.2"  ─►  pkg:generic/sqlite@3.53.2
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Foreign code of one crate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Native {
    /// What its makers call it.
    pub name: &'static str,
    /// Its version, as they write it.
    pub version: String,
    /// Its package URL.
    pub purl: String,
    /// Its name in the National Vulnerability Database, where it has one there.
    pub cpe: Option<String>,
    /// Its licence, an SPDX expression.
    pub license: &'static str,
}

/// Which crate brings what.
struct Known {
    package: &'static str,
    /// The feature without which the system's library is used in its place.
    feature: Option<&'static str>,
    /// The header with the version, in the crate's folder, and the macro that is the version.
    header: &'static str,
    version: &'static str,
    name: &'static str,
    /// What stands before and after the version.
    purl: &'static str,
    cpe: Option<(&'static str, &'static str)>,
    license: &'static str,
}

const KNOWN: [Known; 2] = [
    Known {
        package: "aws-lc-sys",
        feature: None,
        header: "aws-lc/include/openssl/base.h",
        version: "AWSLC_VERSION_NUMBER_STRING",
        name: "aws-lc",
        purl: "pkg:github/aws/aws-lc@v",
        cpe: None,
        license: "ISC AND (Apache-2.0 OR ISC) AND Apache-2.0 AND MIT AND BSD-3-Clause",
    },
    Known {
        package: "libsqlite3-sys",
        feature: Some("bundled"),
        header: "sqlite3/sqlite3.h",
        version: "SQLITE_VERSION",
        name: "sqlite",
        purl: "pkg:generic/sqlite@",
        cpe: Some(("cpe:2.3:a:sqlite:sqlite:", ":*:*:*:*:*:*:*")),
        license: "blessing",
    },
];

fn known(package: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.package == package)
}

/// Whether `package`, linked with these features, brings code along.
#[must_use]
pub fn brings(package: &str, features: &BTreeSet<String>) -> bool {
    known(package).is_some_and(|known| known.feature.is_none_or(|feature| features.contains(feature)))
}

/// What the crate `package`, unpacked in `folder`, has; none where it has nothing, or its header is not as it was.
#[must_use]
pub fn read(package: &str, folder: &Path) -> Option<Native> {
    let known = known(package)?;
    let header = fs::read(folder.join(known.header)).ok()?;
    known.with(defined(&String::from_utf8_lossy(&header), known.version)?)
}

impl Known {
    /// `None` for a version that no URL could hold as it is.
    fn with(&self, version: &str) -> Option<Native> {
        let plain =
            !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
        plain.then(|| Native {
            name: self.name,
            version: version.to_owned(),
            purl: format!("{}{version}", self.purl),
            cpe: self.cpe.map(|(before, after)| format!("{before}{version}{after}")),
            license: self.license,
        })
    }
}

/// The text of a macro: `#define NAME "text"`.
fn defined<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.lines().find_map(|line| {
        let rest = line.strip_prefix("#define ")?.strip_prefix(name)?;
        rest.starts_with([' ', '\t']).then(|| rest.trim().strip_prefix('"')?.strip_suffix('"')).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_text_of_its_macro() {
        let header = "#define SQLITE_VERSION_NUMBER 3053002\n/* SQLITE_VERSION */\n#define SQLITE_VERSION        \"3.53.2\"\n";
        assert_eq!(defined(header, "SQLITE_VERSION"), Some("3.53.2"));
        for bad in
            ["", "#define SQLITE_VERSION 3", "#define SQLITE_VERSION_X \"3\"", "# SQLITE_VERSION \"3\""]
        {
            assert_eq!(defined(bad, "SQLITE_VERSION"), None, "{bad}");
        }
    }

    #[test]
    fn the_systems_library_is_nothing_that_the_crate_brings() {
        let features = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert!(brings("libsqlite3-sys", &features(&["bundled", "cc"])));
        assert!(!brings("libsqlite3-sys", &features(&["pkg-config"])));
        assert!(brings("aws-lc-sys", &features(&[])));
        assert!(!brings("serde", &features(&["bundled"])));
    }

    #[test]
    fn a_version_that_could_be_something_else_is_none() {
        let sqlite = known("libsqlite3-sys").unwrap();
        let native = sqlite.with("3.53.2").unwrap();
        assert_eq!(native.purl, "pkg:generic/sqlite@3.53.2");
        assert_eq!(native.cpe.as_deref(), Some("cpe:2.3:a:sqlite:sqlite:3.53.2:*:*:*:*:*:*:*"));
        for bad in ["", "3?x=y", "3:*", "3 4"] {
            assert_eq!(sqlite.with(bad), None, "{bad}");
        }
        assert_eq!(read("libsqlite3-sys", Path::new("/nowhere")), None);
    }
}
