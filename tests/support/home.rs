//! A home folder with keys, trust and an empty log: made once for each test run, copied for each test.

use std::fs::{self, Permissions};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::program::{chancery, repository, run};

/// The password of the key files in every test home.
pub const PASSWORD: &str = "test password";

/// A home folder of a test log, removed when it is dropped.
pub struct Home(TempDir);

impl Home {
    /// A fresh copy. Making the keys takes a second (scrypt), copying them does not.
    #[must_use]
    pub fn new() -> Self {
        static TEMPLATE: OnceLock<Template> = OnceLock::new();
        let template = TEMPLATE.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let policies = folder.path().join("policies");
            fs::create_dir(&policies).unwrap();
            copy_folder(&repository().join("policies"), &policies);
            run(
                &mut chancery(folder.path()),
                ["init", "--no-input", "--environment", "test", "--tenant", "acme"],
            )
            .expect(0);
            Template::of(folder.path())
        });
        Self(template.copy())
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.file("chancery.db")
    }

    /// `root.pub`.
    #[must_use]
    pub fn root_pub(&self) -> PathBuf {
        self.file("trust/root.pub")
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

/// A folder with all that is in it, in memory: a folder that is kept for the whole process would stay behind it.
pub(crate) struct Template(Vec<(PathBuf, Permissions, Option<Vec<u8>>)>);

impl Template {
    pub(crate) fn of(folder: &Path) -> Self {
        let mut entries = Vec::new();
        read_folder(folder, Path::new(""), &mut entries);
        Self(entries)
    }

    /// A new folder with the same in it.
    pub(crate) fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        self.write(copy.path());
        copy
    }

    fn write(&self, to: &Path) {
        for (path, permissions, content) in &self.0 {
            let path = to.join(path);
            match content {
                None => fs::create_dir(&path).unwrap(),
                Some(content) => fs::write(&path, content).unwrap(),
            }
            fs::set_permissions(&path, permissions.clone()).unwrap();
        }
    }
}

/// A folder comes before what is in it.
fn read_folder(folder: &Path, within: &Path, entries: &mut Vec<(PathBuf, Permissions, Option<Vec<u8>>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, within) = (entry.path(), within.join(entry.file_name()));
        let content = if path.is_dir() { None } else { Some(fs::read(&path).unwrap()) };
        let is_folder = content.is_none();
        entries.push((within.clone(), entry.metadata().unwrap().permissions(), content));
        if is_folder {
            read_folder(&path, &within, entries);
        }
    }
}

/// Copies what is in a folder, with its modes, into another.
pub fn copy_folder(from: &Path, to: &Path) {
    Template::of(from).write(to);
}
