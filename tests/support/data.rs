//! Real claims and loans, which the repository does not hold.

use std::path::PathBuf;

use crate::program::repository;

/// Where the real data lies: `$CHANCERY_SHARED/data`, or `../shared/data` beside the repository.
///
/// `None` where it is not there, said loudly: the tests that need it then show nothing.
#[must_use]
pub fn file(name: &str) -> Option<PathBuf> {
    let shared =
        std::env::var_os("CHANCERY_SHARED").map_or_else(|| repository().join("../shared"), PathBuf::from);
    let path = shared.join("data").join(name);
    if path.is_file() {
        return Some(path);
    }
    eprintln!(
        "\n**** SKIPPED: there is no {} (set CHANCERY_SHARED to the folder above data/) ****\n",
        path.display()
    );
    assert!(std::env::var_os("CI").is_none(), "the real data has to be there in CI: {}", path.display());
    None
}
