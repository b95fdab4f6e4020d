//! `root.pub`: the one file that an auditor is handed out of band (formats §6).
//!
//! ```text
//! # threshold: 2
//! -----BEGIN PUBLIC KEY-----
//! …
//! -----END PUBLIC KEY-----
//! -----BEGIN PUBLIC KEY-----
//! …
//! ```
//!
//! Comment lines begin with `#`. Only the one that says `threshold:` means something; without it the threshold
//! is 1. Anything else outside the blocks is refused: a file that was cut or pasted wrongly should not pass.

use std::fmt;
use std::str::FromStr;

use crate::key::{KeyError, PublicKey, pem};

/// Root keys and how many of them have to sign a keyring version.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RootPub {
    keys: Vec<PublicKey>,
    threshold: u32,
}

impl RootPub {
    /// Root keys and a threshold.
    ///
    /// # Errors
    /// [`RootPubError::Empty`], [`RootPubError::Twice`] or [`RootPubError::Threshold`].
    pub fn new(keys: Vec<PublicKey>, threshold: u32) -> Result<Self, RootPubError> {
        if keys.is_empty() {
            return Err(RootPubError::Empty);
        }
        for (at, key) in keys.iter().enumerate() {
            if keys.iter().take(at).any(|other| other == key) {
                return Err(RootPubError::Twice(key.key_id().to_string()));
            }
        }
        let most = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        if !(1..=most).contains(&threshold) {
            return Err(RootPubError::Threshold { threshold: threshold.to_string(), keys: keys.len() });
        }
        Ok(Self { keys, threshold })
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// [`RootPubError`], which says what is wrong.
    pub fn parse(text: &str) -> Result<Self, RootPubError> {
        let mut keys = Vec::new();
        let mut threshold: Option<&str> = None;
        let mut block: Option<String> = None;
        for (number, line) in text.lines().map(str::trim_end).enumerate() {
            if let Some(open) = &mut block {
                open.push_str(line);
                open.push('\n');
                if pem::end(line).is_some() {
                    keys.push(PublicKey::from_spki_pem(open)?);
                    block = None;
                }
            } else if pem::begin(line).is_some() {
                block = Some(format!("{line}\n"));
            } else if let Some(comment) = line.strip_prefix('#') {
                if let Some(value) = comment.trim_start().strip_prefix("threshold:")
                    && threshold.replace(value.trim()).is_some()
                {
                    return Err(RootPubError::ThresholdTwice);
                }
            } else if !line.is_empty() {
                return Err(RootPubError::Line { number: number.saturating_add(1) });
            }
        }
        if block.is_some() {
            return Err(KeyError::from(pem::PemError::End).into());
        }
        let threshold = match threshold {
            None => 1,
            Some(text) => text
                .parse()
                .ok()
                .filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or_else(|| RootPubError::Threshold { threshold: text.to_owned(), keys: keys.len() })?,
        };
        Self::new(keys, threshold)
    }

    /// The root keys, each once, in the file's order.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// How many of them have to sign; at least 1 and at most all.
    #[must_use]
    pub fn threshold(&self) -> u32 {
        self.threshold
    }
}

impl FromStr for RootPub {
    type Err = RootPubError;

    fn from_str(text: &str) -> Result<Self, RootPubError> {
        Self::parse(text)
    }
}

/// The text of the file; the threshold is always written.
impl fmt::Display for RootPub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# threshold: {}", self.threshold)?;
        self.keys.iter().try_for_each(|key| f.write_str(&key.to_spki_pem()))
    }
}

/// A `root.pub` that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RootPubError {
    /// No key in it.
    #[error("root.pub holds no public key")]
    Empty,
    /// A line that is no comment and in no block.
    #[error("line {number} of root.pub is neither a comment nor part of a public key")]
    Line {
        /// Counted from 1.
        number: usize,
    },
    /// A block that is no public key.
    #[error("root.pub holds something that is not a public key")]
    Key(#[from] KeyError),
    /// One key under two blocks.
    #[error("root.pub holds the key `{0}` twice")]
    Twice(String),
    /// The threshold is no number from 1 to the number of keys.
    #[error("the threshold `{threshold}` of root.pub has to be 1 to {keys}, the number of its keys")]
    Threshold {
        /// What the comment says.
        threshold: String,
        /// How many keys there are.
        keys: usize,
    },
    /// Two comments give a threshold.
    #[error("root.pub gives a threshold twice")]
    ThresholdTwice,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::tests::vector_key;
    use crate::key::{Algorithm, Signer as _};

    fn key(label: &str) -> PublicKey {
        vector_key(Algorithm::Ed25519, label).public_key().clone()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let root = RootPub::new(vec![key("a"), key("b"), key("c")], 2).unwrap();
        let text = root.to_string();
        assert_eq!(RootPub::parse(&text).unwrap(), root);
        let edited = format!("# our root keys\n\n{}\n#end", text.replace('\n', "\r\n"));
        assert_eq!(RootPub::parse(&edited).unwrap(), root);
    }

    #[test]
    fn threshold_is_one_where_none_is_given() {
        let text = key("a").to_spki_pem();
        assert_eq!(RootPub::parse(&text).unwrap().threshold(), 1);
    }

    #[test]
    fn other_files_are_refused() {
        let pem = key("a").to_spki_pem();
        let threshold = |text: &str, keys| RootPubError::Threshold { threshold: text.to_owned(), keys };
        for (text, error) in [
            (String::new(), RootPubError::Empty),
            ("# threshold: 1\n".to_owned(), RootPubError::Empty),
            (format!("{pem}{pem}"), RootPubError::Twice(key("a").key_id().to_string())),
            (format!("# threshold: 0\n{pem}"), threshold("0", 1)),
            (format!("# threshold: 2\n{pem}"), threshold("2", 1)),
            (format!("# threshold: two\n{pem}"), threshold("two", 1)),
            (format!("# threshold: +1\n{pem}"), threshold("+1", 1)),
            (format!("# threshold: 1\n# threshold: 1\n{pem}"), RootPubError::ThresholdTwice),
            (format!("threshold: 1\n{pem}"), RootPubError::Line { number: 1 }),
            (format!("{pem}x"), RootPubError::Line { number: 4 }),
            (pem.replace("-----END PUBLIC KEY-----\n", ""), KeyError::Pem(pem::PemError::End).into()),
            (
                pem.replace("PUBLIC", "PRIVATE"),
                KeyError::Label { expected: "PUBLIC KEY", found: "PRIVATE KEY".to_owned() }.into(),
            ),
        ] {
            assert_eq!(RootPub::parse(&text), Err(error), "{text}");
        }
    }
}
