//! Base64: the standard alphabet with padding (RFC 4648, section 4), in its one canonical spelling.
//!
//! Refused: another alphabet, missing or superfluous padding, line breaks, and last characters whose unused
//! bits are not zero. So two texts are never the same bytes.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::digest::text_serde;

/// A text that is not canonical base64.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("not canonical base64 with padding")]
pub struct Base64Error(#[source] base64::DecodeError);

/// The base64 text of `bytes`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of a canonical base64 `text`.
///
/// # Errors
/// [`Base64Error`] for any text that [`encode`] does not write.
pub fn decode(text: &str) -> Result<Vec<u8>, Base64Error> {
    STANDARD.decode(text).map_err(Base64Error)
}

/// Bytes that are base64 text in JSON.
#[derive(Clone, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&base64::display::Base64Display::new(&self.0, &STANDARD), f)
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({self})")
    }
}

impl FromStr for Bytes {
    type Err = Base64Error;

    fn from_str(text: &str) -> Result<Self, Base64Error> {
        decode(text).map(Self)
    }
}

text_serde!(Bytes, "canonical base64 with padding", |bytes: &Bytes| encode(&bytes.0));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_published_examples_hold() {
        // RFC 4648, section 10.
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
        }
    }

    #[test]
    fn any_other_spelling_is_refused() {
        for bad in [
            "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Zm9v\n", " Zm9v", "Zm 9v", "-_-_", "Zm9v=", "=",
            "Zg==Zg==", "Zé==",
        ] {
            assert!(decode(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn decode_of_encode_is_identity(bytes in any::<Vec<u8>>()) {
            let json = serde_json::to_string(&Bytes(bytes.clone())).unwrap();
            prop_assert_eq!(&json, &format!("\"{}\"", encode(&bytes)));
            prop_assert_eq!(serde_json::from_str::<Bytes>(&json).unwrap().0, bytes);
        }

        #[test]
        fn what_decodes_encodes_to_itself(text in "[A-D/+=g]{0,9}") {
            if let Ok(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
