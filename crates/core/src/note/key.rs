//! The keys of signed notes and their text form, the *vkey*.
//!
//! ```text
//! key id   first 4 bytes of H(name ‖ 0x0A ‖ type ‖ 32-byte Ed25519 key)
//! vkey     <name>+<key id, 8 hex digits>+base64(type ‖ 32-byte Ed25519 key)
//! ```

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::NoteSignature;
use crate::b64;
use crate::digest::sha256_parts;
use crate::key::{KeyError, PublicKey};

/// How a key signs notes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SignatureType {
    /// 0x01: Ed25519 over the text.
    Ed25519,
    /// 0x04: a witness's timestamped Ed25519 (`cosignature/v1`).
    Cosignature,
}

impl SignatureType {
    const fn as_u8(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::Cosignature => 0x04,
        }
    }
}

/// A public key with the name and the type under which it signs notes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NoteKey {
    name: String,
    signature_type: SignatureType,
    key: PublicKey,
    id: [u8; 4],
}

/// A name, key or vkey that cannot be a note key.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum NoteKeyError {
    /// Empty, or with a space, a plus or a control character.
    #[error("`{name}` cannot name a note key; a name has no spaces, no `+` and no control characters")]
    Name {
        /// The name.
        name: String,
    },
    /// Notes are signed with Ed25519 only.
    #[error("notes are signed with Ed25519 keys, not with `{key_id}`")]
    NotEd25519 {
        /// The key.
        key_id: String,
    },
    /// The vkey has not the three parts.
    #[error("a verifier key is `name+id+base64`")]
    Form,
    /// The vkey is of a type that is not known.
    #[error("signature type {got:#04x} of a verifier key is unknown; 0x01 and 0x04 are known")]
    Type {
        /// The type byte.
        got: u8,
    },
    /// The key id is not that of name and key.
    #[error("the id of the verifier key does not belong to its name and key")]
    Id,
    /// The bytes are no public key that may be used.
    #[error("the verifier key holds no usable Ed25519 key")]
    Key(#[from] KeyError),
}

/// Key names are not empty and have neither spaces nor plus (C2SP signed-note, "Format").
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c == '+' || c.is_ascii_control())
}

impl NoteKey {
    /// The key under a name.
    ///
    /// # Errors
    /// [`NoteKeyError::Name`], or [`NoteKeyError::NotEd25519`] for a P-256 key.
    pub fn new(
        name: impl Into<String>,
        signature_type: SignatureType,
        key: &PublicKey,
    ) -> Result<Self, NoteKeyError> {
        let name = name.into();
        if !is_name(&name) {
            return Err(NoteKeyError::Name { name });
        }
        let not_ed25519 = || NoteKeyError::NotEd25519 { key_id: key.key_id().to_string() };
        let bytes = key.as_ed25519().ok_or_else(not_ed25519)?;
        let hash = sha256_parts(&[name.as_bytes(), b"\n", &[signature_type.as_u8()], bytes]);
        let [a, b, c, d, ..] = hash;
        Ok(Self { name, signature_type, key: key.clone(), id: [a, b, c, d] })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the key signs.
    #[must_use]
    pub const fn signature_type(&self) -> SignatureType {
        self.signature_type
    }

    /// The key itself.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// The 4 bytes that, with the name, find the key.
    #[must_use]
    pub const fn id(&self) -> [u8; 4] {
        self.id
    }

    pub(super) fn made(&self, signature: &NoteSignature) -> bool {
        signature.id == self.id && signature.name == self.name
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.signature_type.as_u8()];
        bytes.extend(self.key.as_ed25519().into_iter().flatten());
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id), b64::encode(&bytes))
    }
}

impl FromStr for NoteKey {
    type Err = NoteKeyError;

    fn from_str(vkey: &str) -> Result<Self, NoteKeyError> {
        let mut parts = vkey.splitn(3, '+');
        let (Some(name), Some(_), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteKeyError::Form);
        };
        let bytes = b64::decode(encoded).map_err(|_| NoteKeyError::Form)?;
        let (number, key) = bytes.split_first().ok_or(NoteKeyError::Form)?;
        let signature_type = match *number {
            0x01 => SignatureType::Ed25519,
            0x04 => SignatureType::Cosignature,
            got => return Err(NoteKeyError::Type { got }),
        };
        let key = PublicKey::from_ed25519(key.try_into().map_err(|_| NoteKeyError::Form)?)?;
        let parsed = Self::new(name, signature_type, &key)?;
        // One text for one key: the id has to be the right one, in lower case.
        if parsed.to_string() == vkey { Ok(parsed) } else { Err(NoteKeyError::Id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Signer, SigningKey};

    #[test]
    fn print_then_parse_is_identity() {
        let signer = SigningKey::generate_ed25519([1; 32]);
        for kind in [SignatureType::Ed25519, SignatureType::Cosignature] {
            let key = NoteKey::new("a.example/b", kind, signer.public_key()).unwrap();
            assert_eq!(key.to_string().parse(), Ok(key));
        }
    }

    #[test]
    fn another_text_is_no_verifier_key() {
        let signer = SigningKey::generate_ed25519([1; 32]);
        let key = NoteKey::new("a.example/b", SignatureType::Ed25519, signer.public_key()).unwrap();
        let good = key.to_string();
        let id = hex::encode(key.id());
        let cases = [
            ("", NoteKeyError::Form),
            ("a.example/b", NoteKeyError::Form),
            (&format!("a.example/b+{id}+"), NoteKeyError::Form),
            (&format!("a.example/b+{id}+AQ=="), NoteKeyError::Form),
            (&format!("a.example/b+{id}+Ag=="), NoteKeyError::Type { got: 2 }),
            (&good.replace(&id, "00000000"), NoteKeyError::Id),
            (&good.replace(&id, &format!("+{id}")), NoteKeyError::Form),
            (&good.replace("a.example", "c.example"), NoteKeyError::Id),
            (&good.replace("a.example", "a example"), NoteKeyError::Name { name: "a example/b".to_owned() }),
            (&good[..good.len() - 1], NoteKeyError::Form),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<NoteKey>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_p256_key_signs_no_notes() {
        let signer = SigningKey::generate_p256([1; 32]).unwrap();
        let result = NoteKey::new("n", SignatureType::Ed25519, signer.public_key());
        assert!(matches!(result, Err(NoteKeyError::NotEd25519 { .. })));
    }
}
