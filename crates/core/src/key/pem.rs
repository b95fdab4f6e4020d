//! PEM armour (RFC 7468): one labelled block of base64.
//!
//! ```text
//! -----BEGIN PUBLIC KEY-----
//! base64, 64 characters a line
//! -----END PUBLIC KEY-----
//! ```
//!
//! Written in exactly that form. Read with LF or CRLF and any line width, since people edit such files; the
//! base64 itself has to be canonical.

use crate::b64;

/// The label of public keys (SPKI).
pub const PUBLIC_KEY: &str = "PUBLIC KEY";

const LINE: usize = 64;

/// Armours `bytes` under `label`, ended by a newline.
#[must_use]
pub fn encode(label: &str, bytes: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for (at, c) in b64::encode(bytes).chars().enumerate() {
        if at > 0 && at % LINE == 0 {
            text.push('\n');
        }
        text.push(c);
    }
    text.push_str("\n-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// Takes one block apart: its label and its bytes. Only blank lines may stand around it.
///
/// # Errors
/// [`PemError`], which says what is wrong with it.
pub fn decode(text: &str) -> Result<(String, Vec<u8>), PemError> {
    let mut lines = text.lines().map(str::trim_end).skip_while(|line| line.is_empty());
    let label = lines.next().and_then(begin).ok_or(PemError::Begin)?;
    let mut body = String::with_capacity(text.len());
    loop {
        let line = lines.next().ok_or(PemError::End)?;
        if let Some(ended) = end(line) {
            if ended != label {
                return Err(PemError::End);
            }
            break;
        }
        body.push_str(line);
    }
    if lines.any(|line| !line.is_empty()) {
        return Err(PemError::Trailing);
    }
    let bytes = b64::decode(&body).map_err(|_| PemError::Body)?;
    if bytes.is_empty() {
        return Err(PemError::Body);
    }
    Ok((label.to_owned(), bytes))
}

/// The label of a line that begins a block.
pub(crate) fn begin(line: &str) -> Option<&str> {
    line.strip_prefix("-----BEGIN ")?.strip_suffix("-----")
}

/// The label of a line that ends a block.
pub(crate) fn end(line: &str) -> Option<&str> {
    line.strip_prefix("-----END ")?.strip_suffix("-----")
}

/// Text that is not one PEM block.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PemError {
    /// It does not start with a `BEGIN` line.
    #[error("not PEM: there is no `-----BEGIN …-----` line at the start")]
    Begin,
    /// There is no `END` line with the label of the `BEGIN` line.
    #[error("not PEM: the block has no `-----END …-----` line of its own")]
    End,
    /// Something follows the block.
    #[error("there is text after the PEM block")]
    Trailing,
    /// The body is not canonical base64, or empty.
    #[error("the body of the PEM block is not base64")]
    Body,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_armoured_comes_back() {
        for length in [1, 47, 48, 49, 96, 200] {
            let bytes: Vec<u8> = (0..=255).cycle().take(length).collect();
            let text = encode("A LABEL", &bytes);
            assert!(text.lines().all(|line| line.len() <= 64));
            assert_eq!(decode(&text), Ok(("A LABEL".to_owned(), bytes.clone())));
            assert_eq!(decode(&format!("\r\n{}\r\n", text.replace('\n', "\r\n"))).unwrap().1, bytes);
        }
    }

    #[test]
    fn broken_armour_is_refused() {
        let good = encode("X", b"bytes");
        for (text, error) in [
            (String::new(), PemError::Begin),
            ("Ynl0ZXM=".to_owned(), PemError::Begin),
            (format!("text\n{good}"), PemError::Begin),
            (good.replace("BEGIN X", "BEGIN Y"), PemError::End),
            (good.replace("-----END X-----", ""), PemError::End),
            (format!("{good}{good}"), PemError::Trailing),
            (good.replace("YnL", "Yn L"), PemError::Body),
            (good.replace("ZXM=", "ZXN="), PemError::Body),
            (good.replace("ZXM=", "ZXM"), PemError::Body),
            (good.replace("Ynl0ZXM=\n", ""), PemError::Body),
            (good.replace("Ynl0", "Yn*0"), PemError::Body),
        ] {
            if text != good {
                assert_eq!(decode(&text), Err(error), "{text}");
            }
        }
    }
}
