//! The source of a build: the git commit, where it comes from, and whether the tree is that commit (formats §8).
//!
//! Asks `git` itself, so that every layout of a repository that git understands is understood here.

use std::path::{Path, PathBuf};
use std::process::Command;

use chancery_core::statement::Git;
use chancery_core::time::Timestamp;

use crate::process::{self, ProcessError};

/// Changed files and those that git neither tracks nor ignores, whatever the user's configuration hides.
const STATUS: [&str; 4] = ["status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=none"];

/// What git knows about a working tree.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Source {
    /// The commit that is checked out: 40 hexadecimal digits, 64 in a repository with SHA-256.
    pub commit: String,
    /// The committer's time, in seconds.
    pub committed_at: Timestamp,
    /// Whether a file was changed, or is there that git neither tracks nor ignores.
    pub dirty: bool,
    /// The address of `origin`, without password, query and fragment.
    pub origin: Option<String>,
    /// The tags at the commit, in order of name.
    pub tags: Vec<String>,
}

impl Source {
    /// Asks git about the working tree that `folder` lies in.
    ///
    /// # Errors
    /// [`SourceError::Repository`] and [`SourceError::Commit`] where there is none, [`SourceError::Git`] for git's own
    /// trouble, its absence included.
    pub fn read(folder: &Path) -> Result<Self, SourceError> {
        let git = |arguments: &[&str]| {
            let mut command = Command::new("git");
            // `GIT_DIR`, `GIT_WORK_TREE` and others, as hooks have them, would name another repository than the folder.
            for (name, _) in
                std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"GIT_"))
            {
                command.env_remove(name);
            }
            // Without optional locks `status` writes nothing into a repository that others work in.
            command.env("GIT_OPTIONAL_LOCKS", "0").arg("-C").arg(folder);
            // What a user's configuration would change about the output.
            command.args(["-c", "log.showSignature=false", "-c", "column.ui=never"]);
            process::run(command.args(arguments))
        };
        let inside = git(&["rev-parse", "--is-inside-work-tree"]);
        if let Err(ProcessError::Failed { message, .. }) = &inside
            && message.contains("not a git repository")
        {
            return Err(SourceError::Repository { folder: folder.to_owned() });
        }
        inside?;
        let commit = git(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])
            .map_err(|_| SourceError::Commit { folder: folder.to_owned() })?;
        let committed_at = git(&["show", "--no-patch", "--format=%ct", "HEAD"])?;
        let committed_at = parse_seconds(&committed_at).ok_or(SourceError::Time(committed_at))?;
        let dirty = !git(&STATUS)?.is_empty();
        let origin = git(&["config", "--get", "remote.origin.url"]).ok().map(|url| without_credentials(&url));
        let tags = git(&["tag", "--points-at", "HEAD"])?.lines().map(str::to_owned).collect();
        Ok(Self { commit, committed_at, dirty, origin, tags })
    }

    /// The same source, where it is still what was built: at `commit`, and with `clean` without any change.
    ///
    /// # Errors
    /// [`SourceError::Moved`], [`SourceError::Dirty`].
    pub fn is(self, commit: Option<&str>, clean: bool) -> Result<Self, SourceError> {
        match commit {
            Some(built) if built != self.commit => {
                Err(SourceError::Moved { built: built.to_owned(), now: self.commit })
            }
            _ if clean && self.dirty => Err(SourceError::Dirty { commit: self.commit }),
            _ => Ok(self),
        }
    }

    /// The source as a build identity names it: `repository` in place of git's `origin`, and the tag.
    ///
    /// Without `tag` it is the only one at the commit, or none.
    ///
    /// # Errors
    /// [`SourceError::Origin`], [`SourceError::Tag`] for one that is not at the commit, [`SourceError::Tags`] for
    /// several to choose from.
    pub fn named(&self, repository: Option<&str>, tag: Option<&str>) -> Result<Git, SourceError> {
        let repository =
            repository.map(without_credentials).or_else(|| self.origin.clone()).ok_or(SourceError::Origin)?;
        let tag = match (tag, self.tags.as_slice()) {
            (Some(tag), tags) if tags.iter().any(|known| known == tag) => Some(tag.to_owned()),
            (Some(tag), _) => {
                return Err(SourceError::Tag { tag: tag.to_owned(), commit: self.commit.clone() });
            }
            (None, [] | [_]) => self.tags.first().cloned(),
            (None, tags) => return Err(SourceError::Tags(tags.to_vec())),
        };
        Ok(Git { commit: self.commit.clone(), dirty: self.dirty, repository, tag })
    }
}

/// Whole seconds since 1970 in decimal digits, as `git` and `SOURCE_DATE_EPOCH` have them.
///
/// Source: reproducible-builds.org, "SOURCE_DATE_EPOCH specification" 1.1.
#[must_use]
pub fn parse_seconds(text: &str) -> Option<Timestamp> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: i64 = digits.then(|| text.parse().ok())??;
    Timestamp::from_unix_micros(seconds.checked_mul(1_000_000)?)
}

/// A URL as it may be told to everybody: without password, query and fragment, and over http without the user, whose
/// name is a token at times. The short form of ssh, `git@host:path`, has no place for a password.
pub(crate) fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let Some((user, host)) = authority.rsplit_once('@') else { return format!("{scheme}://{rest}") };
    let name = user.split(':').next().unwrap_or(user);
    // Also `git+https` of cargo, and `helper::https` of git.
    let lower = scheme.to_ascii_lowercase();
    if name.is_empty() || lower.ends_with("http") || lower.ends_with("https") {
        format!("{scheme}://{host}{path}")
    } else {
        format!("{scheme}://{name}@{host}{path}")
    }
}

/// A source that cannot be named.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No working tree of git.
    #[error("`{}` is in no git repository; a build identity names a commit, so build from a clone", .folder.display())]
    Repository {
        /// The folder that was asked about.
        folder: PathBuf,
    },
    /// A repository without a commit.
    #[error("the git repository of `{}` has no commit; commit first", .folder.display())]
    Commit {
        /// The folder that was asked about.
        folder: PathBuf,
    },
    /// A commit's time outside of the calendar.
    #[error("the commit's time `{0}` is no time; commit again with the right clock")]
    Time(String),
    /// Another commit was checked out after the build.
    #[error(
        "{built} was built, and by now {now} is checked out; build again, and leave the tree alone meanwhile"
    )]
    Moved {
        /// The commit that was built.
        built: String,
        /// The commit that is checked out.
        now: String,
    },
    /// A tree that is not the commit.
    #[error("the tree differs from {commit}; commit, build again, and leave the tree alone meanwhile")]
    Dirty {
        /// The commit that is checked out.
        commit: String,
    },
    /// Nobody said where the source lies.
    #[error("the git repository has no remote `origin`; say where the source lies with `--repository URL`")]
    Origin,
    /// Another commit's tag, or nobody's.
    #[error("the tag `{tag}` is not at the commit {commit}; check that tag out, or leave `--tag` out")]
    Tag {
        /// The tag that was asked for.
        tag: String,
        /// The commit that is checked out.
        commit: String,
    },
    /// More than one tag.
    #[error("the commit has the tags {}; choose one with `--tag`", list(.0))]
    Tags(Vec<String>),
    /// Git did not answer.
    #[error("git cannot tell which source this is")]
    Git(#[from] ProcessError),
}

fn list(tags: &[String]) -> String {
    tags.iter().map(|tag| format!("`{tag}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A repository with one commit of 2026-01-01T00:00:00Z.
    fn repository() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "--quiet"]);
        fs::write(folder.path().join("file"), "one").unwrap();
        git(folder.path(), &["add", "file"]);
        git(folder.path(), &["commit", "--quiet", "--message", "one"]);
        folder
    }

    fn git(folder: &Path, arguments: &[&str]) {
        let mut command = Command::new("git");
        command.arg("-C").arg(folder).args(["-c", "user.name=T", "-c", "user.email=t@example.org"]);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_COMMITTER_DATE", "1767225600 +0000");
        process::run(command.args(arguments)).unwrap();
    }

    #[test]
    fn a_clean_commit_and_what_makes_it_dirty() {
        let folder = repository();
        let source = Source::read(folder.path()).unwrap();
        assert_eq!(source.commit.len(), 40);
        assert_eq!(source.committed_at.to_string(), "2026-01-01T00:00:00.000000Z");
        assert_eq!((source.dirty, source.origin, source.tags), (false, None, vec![]));

        fs::write(folder.path().join("new"), "").unwrap();
        assert!(Source::read(folder.path()).unwrap().dirty, "an untracked file may take part in a build");
        fs::write(folder.path().join(".git/info/exclude"), "new").unwrap();
        assert!(!Source::read(folder.path()).unwrap().dirty, "an ignored one is what builds write");
        fs::write(folder.path().join("file"), "two").unwrap();
        assert!(Source::read(folder.path()).unwrap().dirty);
    }

    #[test]
    fn a_source_that_moved_since_the_build_is_refused() {
        let folder = repository();
        let read = || Source::read(folder.path()).unwrap();
        let commit = read().commit;
        assert!(read().is(Some(&commit), true).is_ok() && read().is(None, true).is_ok());
        fs::write(folder.path().join("file"), "two").unwrap();
        assert!(read().is(Some(&commit), false).is_ok());
        assert!(matches!(read().is(Some(&commit), true), Err(SourceError::Dirty { .. })));
        git(folder.path(), &["commit", "--quiet", "--all", "--message", "two"]);
        let moved = read().is(Some(&commit), false).unwrap_err().to_string();
        assert!(moved.contains(&commit) && moved.contains(&read().commit), "{moved}");
    }

    #[test]
    fn no_repository_and_no_commit_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Source::read(folder.path()), Err(SourceError::Repository { .. })));
        git(folder.path(), &["init", "--quiet"]);
        assert!(matches!(Source::read(folder.path()), Err(SourceError::Commit { .. })));
        let missing = folder.path().join("nowhere");
        assert!(matches!(Source::read(&missing), Err(SourceError::Git(ProcessError::Failed { .. }))));
    }

    #[test]
    fn the_tag_is_at_the_commit_and_the_only_one_or_chosen() {
        let folder = repository();
        let named =
            |tag| Source::read(folder.path()).unwrap().named(Some("https://x:token@example.org/r"), tag);
        assert_eq!(named(None).unwrap().tag, None);
        assert_eq!(named(None).unwrap().repository, "https://example.org/r");
        git(folder.path(), &["tag", "v1"]);
        assert_eq!(named(None).unwrap().tag.as_deref(), Some("v1"));
        assert!(matches!(named(Some("v2")), Err(SourceError::Tag { .. })));
        git(folder.path(), &["tag", "v2"]);
        assert!(named(None).unwrap_err().to_string().contains("`v1`, `v2`"));
        assert_eq!(named(Some("v2")).unwrap().tag.as_deref(), Some("v2"));

        assert!(matches!(
            Source::read(folder.path()).unwrap().named(None, Some("v1")),
            Err(SourceError::Origin)
        ));
        git(folder.path(), &["remote", "add", "origin", "git@example.org:a/b.git"]);
        let git = Source::read(folder.path()).unwrap().named(None, Some("v1")).unwrap();
        assert_eq!(git.repository, "git@example.org:a/b.git");
    }

    #[test]
    fn seconds_are_digits_alone() {
        assert_eq!(parse_seconds("0"), Some(Timestamp::UNIX_EPOCH));
        for bad in ["", "-1", "+1", "1.5", " 1", "1767225600Z", "99999999999999", "99999999999999999999"] {
            assert_eq!(parse_seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn credentials_never_leave_the_build_machine() {
        for (url, public) in [
            ("https://user:secret@example.org/r.git", "https://example.org/r.git"),
            ("https://token@example.org", "https://example.org"),
            ("http://a:b@c@example.org/x@y", "http://example.org/x@y"),
            ("https://example.org/a@b", "https://example.org/a@b"),
            ("HTTPS://user:secret@example.org/r", "HTTPS://example.org/r"),
            ("git+Https://token@example.org/r", "git+Https://example.org/r"),
            ("https://example.org/r?private_token=secret", "https://example.org/r"),
            ("https://example.org?private_token=a/b@c", "https://example.org"),
            ("https://example.org/r#access_token=secret", "https://example.org/r"),
            ("https://example.org:8443/r.git", "https://example.org:8443/r.git"),
            ("ssh://git@example.org/r", "ssh://git@example.org/r"),
            ("ssh://git@example.org:2222/r", "ssh://git@example.org:2222/r"),
            ("ssh://u:secret@example.org/r", "ssh://u@example.org/r"),
            ("ssh://:secret@example.org/r", "ssh://example.org/r"),
            ("ftp://u:a:b@c@example.org/r?x", "ftp://u@example.org/r"),
            ("git@example.org:a/b.git", "git@example.org:a/b.git"),
            ("file:///srv/git/r", "file:///srv/git/r"),
            ("/srv/git/r", "/srv/git/r"),
        ] {
            assert_eq!(without_credentials(url), public);
        }
    }
}
