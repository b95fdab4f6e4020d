//! Hashes: SHA-256 (FIPS 180-4), HMAC-SHA-256 (RFC 2104), and one type for each kind of 32-byte value.
//!
//! ```text
//! value   32 bytes
//! text    64 lowercase hexadecimal digits, nothing else is accepted
//! ```
//!
//! All of them are 32 bytes, but a fingerprint is no leaf hash: the compiler keeps them apart. What goes into
//! each of them is said where it is made (formats §3, §5, §7).

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-256 of the concatenation of `parts`, without building it.
#[must_use]
pub fn sha256_parts(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// SHA-256 of what comes piece by piece.
#[derive(Clone)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn new(first: &[u8]) -> Self {
        Self(Sha256::new_with_prefix(first))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// HMAC-SHA-256 under `key` (any length) of the concatenation of `parts`.
#[must_use]
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    tag_of(HmacKey::new(key).0, parts)
}

/// A key of HMAC-SHA-256 that is used more than once: its two key blocks are hashed only at the start.
#[derive(Clone)]
pub struct HmacKey(Hmac<Sha256>);

impl HmacKey {
    /// Takes a key of any length.
    #[must_use]
    #[expect(clippy::expect_used, reason = "HMAC is defined for keys of every length (RFC 2104, section 2)")]
    pub fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("a key of any length"))
    }

    /// The tag of the concatenation of `parts`.
    #[must_use]
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        tag_of(self.0.clone(), parts)
    }

    /// Whether `tag` is the tag of the concatenation of `parts`. Takes the same time wherever they differ.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8; 32]) -> bool {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.verify_slice(tag).is_ok()
    }
}

fn tag_of(mut mac: Hmac<Sha256>, parts: &[&[u8]]) -> [u8; 32] {
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacKey(…)")
    }
}

/// A text that is not 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ParseHashError {
    /// The text has another length.
    #[error("a hash has 64 characters, this has {got}")]
    Length {
        /// Its length in bytes.
        got: usize,
    },
    /// A character is none of `0` to `9` and `a` to `f`; capitals are refused too.
    #[error("a hash has only the digits 0-9 and a-f, in lower case")]
    NotLowercaseHex,
}

/// Reads 64 lowercase hexadecimal digits.
///
/// # Errors
/// [`ParseHashError`] for any other text.
pub fn parse_hex32(text: &str) -> Result<[u8; 32], ParseHashError> {
    if text.len() != 64 {
        return Err(ParseHashError::Length { got: text.len() });
    }
    let mut bytes = [0; 32];
    let mut all = 0;
    for (byte, [high, low]) in bytes.iter_mut().zip(text.as_bytes().as_chunks::<2>().0) {
        let (high, low) = (digit(*high), digit(*low));
        *byte = high << 4 | low;
        all |= high | low;
    }
    if all < NO_DIGIT { Ok(bytes) } else { Err(ParseHashError::NotLowercaseHex) }
}

/// More than the value of any hexadecimal digit, also where others are or-ed to it.
const NO_DIGIT: u8 = 0x10;

/// The value of a lowercase hexadecimal digit.
const fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => NO_DIGIT,
    }
}

/// The 64 lowercase hexadecimal digits of 32 bytes.
pub(crate) struct Hex32([u8; 64]);

impl Hex32 {
    pub(crate) fn of(bytes: &[u8; 32]) -> Self {
        let mut digits = [0; 64];
        // There is room for them.
        let _ = hex::encode_to_slice(bytes, &mut digits);
        Self(digits)
    }
}

impl AsRef<str> for Hex32 {
    fn as_ref(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Serde for a type that is written as its `Display` text, or as the text that `$text` makes of it where that costs
/// less, and read with its `FromStr`.
macro_rules! text_serde {
    ($name:ident, $expecting:literal) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        crate::digest::text_serde!(read $name, $expecting);
    };
    ($name:ident, $expecting:literal, $text:expr) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let text = $text;
                serializer.serialize_str(text(self).as_ref())
            }
        }

        crate::digest::text_serde!(read $name, $expecting);
    };
    (read $name:ident, $expecting:literal) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;

                impl serde::de::Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Text)
            }
        }
    };
}
pub(crate) use text_serde;

/// One newtype of 32 bytes with its only text form.
macro_rules! hash_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Takes the 32 bytes as they are.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(Hex32::of(&self.0).as_ref())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = ParseHashError;

            fn from_str(text: &str) -> Result<Self, ParseHashError> {
                parse_hex32(text).map(Self)
            }
        }

        text_serde!($name, "64 lowercase hexadecimal digits", |hash: &$name| Hex32::of(&hash.0));
    };
}

hash_type! {
    /// SHA-256 of some bytes that have no type of their own: a file, a payload, a binary.
    Digest
}
hash_type! {
    /// The fingerprint of an execution: one value for one set of inputs under one tenant key (formats §3).
    Fingerprint
}
hash_type! {
    /// The hash over the commitments to all signals, in name order (formats §3).
    SignalsRoot
}
hash_type! {
    /// The hash over the commitments to all candidates, in request order (formats §3).
    CandidatesRoot
}
hash_type! {
    /// SHA-256 of a bundle's `bundle.sum` (formats §7).
    BundleHash
}
hash_type! {
    /// What names a record: SHA-256 of the PAE of its envelope, never of a signature (formats §4).
    RecordId
}
hash_type! {
    /// The hash of one log entry as a leaf of the Merkle tree: `H(0x00 ‖ entry)` (RFC 6962, section 2.1).
    LeafHash
}
hash_type! {
    /// The hash of an inner node or of a whole tree (RFC 6962, section 2.1).
    RootHash
}
hash_type! {
    /// A link of the chain that runs over the leaf hashes of a log (formats §5).
    ChainHash
}

impl Digest {
    /// SHA-256 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha256(bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn sha256_of_abc_is_the_published_value() {
        assert_eq!(Digest::of(b"abc").to_string(), ABC);
        assert_eq!(sha256_parts(&[b"a", b"", b"bc"]), sha256(b"abc"));
    }

    #[test]
    fn hmac_gives_the_published_values() {
        // RFC 4231, test cases 2 and 6: a short key, and one longer than a block.
        let tag = hmac_sha256(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(hex::encode(tag), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let tag = hmac_sha256(&[0xaa; 131], &[b"Test Using Larger Than Block-Size Key - Hash Key First"]);
        assert_eq!(hex::encode(tag), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn another_text_of_a_hash_is_refused() {
        let cases = [
            ("", ParseHashError::Length { got: 0 }),
            (&ABC[1..], ParseHashError::Length { got: 63 }),
            (&format!("{ABC} "), ParseHashError::Length { got: 65 }),
            (&format!("0x{}", &ABC[2..]), ParseHashError::NotLowercaseHex),
            (&ABC.to_uppercase(), ParseHashError::NotLowercaseHex),
            (&"g".repeat(64), ParseHashError::NotLowercaseHex),
            (&"é".repeat(32), ParseHashError::NotLowercaseHex),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Digest>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_byte_is_a_digit_exactly_where_it_should_be_one() {
        for byte in 0..128_u8 {
            for at in [0, 1, 62, 63] {
                let mut text = ABC.as_bytes().to_vec();
                text[at] = byte;
                let text = String::from_utf8(text).unwrap();
                let expected = match byte {
                    b'0'..=b'9' | b'a'..=b'f' => Ok(hex::decode(&text).unwrap()),
                    _ => Err(ParseHashError::NotLowercaseHex),
                };
                assert_eq!(parse_hex32(&text).map(Vec::from), expected, "{text}");
            }
        }
    }

    #[test]
    fn a_hash_in_json_is_its_text() {
        let hash: BundleHash = serde_json::from_str(&format!("\"{ABC}\"")).unwrap();
        assert_eq!(serde_json::to_string(&hash).unwrap(), format!("\"{ABC}\""));
        assert_eq!(format!("{hash:?}"), format!("BundleHash({ABC})"));
        for bad in ["null", "7", "\"ba78\"", "[]"] {
            assert!(serde_json::from_str::<BundleHash>(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(bytes in any::<[u8; 32]>()) {
            let hash = Fingerprint::from_bytes(bytes);
            prop_assert_eq!(hash.to_string().parse::<Fingerprint>(), Ok(hash));
        }
    }
}
