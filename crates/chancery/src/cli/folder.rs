//! Bundles on disk: a folder becomes paths and bytes. Symbolic links are refused (formats §7).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use chancery_policy::limits;
use chancery_runtime::bundles::Files;

use super::{Exit, Failure};

/// Reads the bundle in `folder`: every file in it, with `/` between the parts of a path.
///
/// # Errors
/// No folder, a file that cannot be read, a symbolic link, or far more than a bundle may hold.
pub(super) fn read(folder: &Path) -> Result<Files, Failure> {
    let mut files = Files::new();
    let mut bytes = 0;
    collect(folder, "", &mut files, &mut bytes)?;
    if files.is_empty() {
        return Err(Failure::usage(format!("`{}` has no files", folder.display()))
            .help("name a folder such as policies/claim-approval/1.0.0"));
    }
    Ok(files)
}

fn collect(folder: &Path, prefix: &str, files: &mut Files, bytes: &mut usize) -> Result<(), Failure> {
    let unreadable = |path: &Path, error: &io::Error| {
        Failure::because(Exit::Usage, format!("cannot read `{}`", path.display()), error)
            .help("name the folder of a bundle, such as policies/claim-approval/1.0.0")
    };
    for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        let path = entry.path();
        let name = entry.file_name().into_string().map_err(|name| {
            Failure::usage(format!("the name of `{}` is not UTF-8", Path::new(&name).display()))
                .help("rename the file")
        })?;
        let kind = entry.file_type().map_err(|error| unreadable(&path, &error))?;
        let inside = format!("{prefix}{name}");
        if kind.is_symlink() {
            return Err(Failure::usage(format!("`{}` is a symbolic link", path.display()))
                .help("a bundle has plain files only: put a copy in its place"));
        }
        if kind.is_dir() {
            collect(&path, &format!("{inside}/"), files, bytes)?;
            continue;
        }
        let content = fs::read(&path).map_err(|error| unreadable(&path, &error))?;
        *bytes += content.len();
        files.insert(inside, content);
        if files.len() > 2 * limits::FILES_MAX || *bytes > 2 * limits::BUNDLE_BYTES_MAX {
            return Err(Failure::usage(format!("`{}` holds far more than a bundle may", folder.display()))
                .help("name the folder of one version, such as policies/claim-approval/1.0.0"));
        }
    }
    Ok(())
}

/// The bundles below `policies`, as `<policy id>/<version>/bundle.toml` shows them, ordered by path.
///
/// # Errors
/// A folder that cannot be read.
pub(super) fn find(policies: &Path) -> Result<Vec<PathBuf>, Failure> {
    let folders = |path: &Path| -> Result<Vec<PathBuf>, Failure> {
        let listed = fs::read_dir(path).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
        let mut paths: Vec<PathBuf> = listed.map_err(|error: io::Error| {
            Failure::because(Exit::Usage, format!("cannot read `{}`", path.display()), &error)
                .help("name a folder of policies with `--policies`")
        })?;
        paths.retain(|path| path.is_dir());
        paths.sort();
        Ok(paths)
    };
    let mut found = Vec::new();
    for policy in folders(policies)? {
        found.extend(folders(&policy)?.into_iter().filter(|version| version.join("bundle.toml").is_file()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbolic_link_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "x").unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("b")).unwrap();
        let failure = read(folder.path()).unwrap_err();
        assert!(failure.to_string().contains("symbolic link"), "{failure}");
    }

    #[test]
    fn files_have_paths_with_slashes() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("cases")).unwrap();
        fs::write(folder.path().join("cases/one.json"), "{}").unwrap();
        assert_eq!(read(folder.path()).unwrap().keys().collect::<Vec<_>>(), ["cases/one.json"]);
    }

    #[test]
    fn an_empty_or_missing_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).is_err());
        assert!(read(&folder.path().join("none")).is_err());
    }
}
