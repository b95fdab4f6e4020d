//! `bundle.sum` and the bundle hash (formats §7).
//!
//! ```text
//! <64 hex digits of SHA-256>␠␠<path>\n      one line a file, ordered by the bytes of the path
//! bundle hash = SHA-256 of this text        `sha256sum -c bundle.sum` checks it by hand
//! ```
//!
//! `bundle.sum` and `bundle.sum.sigstore.json` at the top stand beside the content and are not in the sum.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chancery_core::digest::{BundleHash, Digest, sha256};
use thiserror::Error;

use crate::limits::PATH_BYTES_MAX;

/// The name of the sum, at the top of a bundle.
pub const SUM: &str = "bundle.sum";

/// The name of the signature over the sum, at the top of a bundle.
pub const SIGNATURE: &str = "bundle.sum.sigstore.json";

/// Why a path cannot be in a bundle.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum PathError {
    /// Empty, or with an empty part (a `/` at either end or two in a row).
    #[error("the path has an empty part")]
    EmptyPart,
    /// A part `.` or `..`.
    #[error("the path has a part `.` or `..`")]
    DotPart,
    /// `\`: a separator on some systems, and an escape in `sha256sum`'s format.
    #[error("the path has a backslash")]
    Backslash,
    /// A control character, which would break the line format.
    #[error("the path has a control character")]
    Control,
    /// Longer than [`PATH_BYTES_MAX`].
    #[error("the path has {got} bytes, more than {PATH_BYTES_MAX}")]
    Long {
        /// Its length.
        got: usize,
    },
    /// Begins with `bundle.sum`, but is neither the sum nor its signature.
    #[error("only `bundle.sum` and `bundle.sum.sigstore.json` may begin with `bundle.sum`")]
    Reserved,
}

/// Does the file at `path` stand beside the content: the sum itself, or its signature?
#[must_use]
pub fn is_beside(path: &str) -> bool {
    path == SUM || path == SIGNATURE
}

/// Checks the path of a file in a bundle (formats §7).
///
/// # Errors
/// [`PathError`], the first rule that the path breaks.
pub fn check_path(path: &str) -> Result<(), PathError> {
    if path.contains('\\') {
        return Err(PathError::Backslash);
    }
    if path.chars().any(char::is_control) {
        return Err(PathError::Control);
    }
    for part in path.split('/') {
        match part {
            "" => return Err(PathError::EmptyPart),
            "." | ".." => return Err(PathError::DotPart),
            _ => {}
        }
    }
    if path.starts_with(SUM) && !is_beside(path) {
        return Err(PathError::Reserved);
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(PathError::Long { got: path.len() });
    }
    Ok(())
}

/// The text of `bundle.sum` for these files (path to content).
///
/// `bundle.sum` and its signature may be among them and are left out.
///
/// # Errors
/// [`PathError`] for the first path, in byte order, that no bundle may have.
pub fn sum(files: &BTreeMap<String, Vec<u8>>) -> Result<String, PathError> {
    let mut text = String::new();
    // `String` is ordered by its UTF-8 bytes, and so is the map.
    for (path, content) in files {
        check_path(path)?;
        if !is_beside(path) {
            let digest = Digest::from_bytes(sha256(content));
            // INVARIANT: writing to a String never fails.
            let _ = writeln!(text, "{digest}  {path}");
        }
    }
    Ok(text)
}

/// The bundle hash: SHA-256 of the text of `bundle.sum`.
#[must_use]
pub fn hash_of(sum: &str) -> BundleHash {
    BundleHash::from_bytes(sha256(sum.as_bytes()))
}

#[cfg(test)]
mod tests {
    use chancery_core::b64;
    use proptest::prelude::*;

    use super::*;

    fn vector() -> serde_json::Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/chancery/bundle-sum.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    fn files(vector: &serde_json::Value) -> BTreeMap<String, Vec<u8>> {
        let files = vector["files"].as_object().unwrap();
        files.iter().map(|(path, b)| (path.clone(), b64::decode(b.as_str().unwrap()).unwrap())).collect()
    }

    #[test]
    fn the_vector_has_this_sum_and_hash() {
        let vector = vector();
        let files = files(&vector);
        let text = sum(&files).unwrap();
        assert_eq!(text, vector["bundleSum"].as_str().unwrap());
        assert_eq!(hash_of(&text).to_string(), vector["bundleHash"].as_str().unwrap());
        assert_eq!(text.as_bytes(), files[SUM]);
    }

    #[test]
    fn what_stands_beside_the_content_does_not_change_the_hash() {
        let mut files = files(&vector());
        let before = sum(&files).unwrap();
        files.insert(SIGNATURE.into(), b"other".to_vec());
        files.remove(SUM);
        assert_eq!(sum(&files).unwrap(), before);
        // Only at the top are these names special.
        files.insert("cases/bundle.sum".into(), Vec::new());
        assert!(sum(&files).unwrap().contains("cases/bundle.sum\n"));
    }

    #[test]
    fn refused_paths_of_the_vector_are_refused() {
        let vector = vector();
        let good = files(&vector);
        for path in vector["refusedPaths"].as_array().unwrap() {
            let path = path.as_str().unwrap();
            let mut files = good.clone();
            files.insert(path.to_owned(), Vec::new());
            assert!(sum(&files).is_err(), "{path:?}");
        }
    }

    #[test]
    fn each_refusal_names_its_rule() {
        use PathError::*;
        for (path, error) in [
            ("", EmptyPart),
            ("/a", EmptyPart),
            ("a/", EmptyPart),
            ("a//b", EmptyPart),
            (".", DotPart),
            ("a/../b", DotPart),
            ("a\\b", Backslash),
            ("a\nb", Control),
            ("a\u{0}", Control),
            ("a\u{7f}", Control),
            ("a\u{85}b", Control),
            ("bundle.summary", Reserved),
            ("bundle.sum/x", Reserved),
            ("bundle.sum.sig", Reserved),
        ] {
            assert_eq!(check_path(path), Err(error), "{path:?}");
        }
        assert_eq!(check_path(&"a".repeat(256)), Err(Long { got: 256 }));
        for path in ["bundle.su", "a/bundle.summary", "Zü.cedar", "..a", "a b", "~", "-x"] {
            assert_eq!(check_path(path), Ok(()), "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn any_changed_content_changes_the_hash(content: Vec<u8>, other: Vec<u8>, path in "[a-z]{1,8}") {
            prop_assume!(content != other);
            let hash = |c: &Vec<u8>| hash_of(&sum(&BTreeMap::from([(path.clone(), c.clone())])).unwrap());
            prop_assert_ne!(hash(&content), hash(&other));
        }
    }
}
