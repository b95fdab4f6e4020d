//! Real claims and loans, which the repository does not hold.

use std::path::PathBuf;

use crate::program::repository;
use crate::skip;

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
    skip::without_data(&format!("{} (set CHANCERY_SHARED to the folder above data/)", path.display()));
    None
}
