//! Keys: key ids, public keys that check signatures, private keys that make them (formats §4).
//!
//! Two algorithms: `ed25519` (RFC 8032, pure, checked strictly) and `ecdsa-p256` (FIPS 186-5 with SHA-256,
//! signatures in DER). Which one it is belongs to the key and is never read from a message.
//!
//! ```text
//! key id    "SHA256:" || unpadded base64 of SHA-256(ssh)        the OpenSSH fingerprint
//! ssh       string "ssh-ed25519"          || string key(32)
//!           string "ecdsa-sha2-nistp256"  || string "nistp256" || string 04 x(32) y(32)
//!           where string = uint32 length, big endian || bytes   RFC 4251 §5, RFC 5656 §3.1, RFC 8709 §4
//! SPKI      Ed25519 12 + 32 bytes, P-256 26 + 65 bytes          RFC 8410, RFC 5480
//! ```
//!
//! It makes no randomness: whoever generates a key brings 32 random bytes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod ed25519;
pub mod pem;
mod public;
mod signing;

pub use public::{PublicKey, SignatureError};
pub use signing::{PROBE, SignError, Signer, SigningKey};

/// Signature algorithm of a key; as text `ed25519` or `ecdsa-p256`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Algorithm {
    /// Pure Ed25519 (RFC 8032), 64-byte signatures.
    #[serde(rename = "ed25519")]
    Ed25519,
    /// ECDSA on P-256 with SHA-256 (FIPS 186-5), signatures in DER.
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
}

impl Algorithm {
    /// The text form, as the keyring writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        match text {
            "ed25519" => Ok(Self::Ed25519),
            "ecdsa-p256" => Ok(Self::EcdsaP256),
            other => Err(KeyError::Algorithm(other.to_owned())),
        }
    }
}

const KEY_ID_PREFIX: &str = "SHA256:";

/// OpenSSH fingerprint of a public key: `SHA256:` and 43 characters of base64 (formats §4).
///
/// Parsing takes that one form and no other: the last character has no stray bits, there is no padding.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId(Arc<str>);

impl KeyId {
    /// The key id of SSH wire bytes, of which it is the SHA-256.
    fn of_wire(wire: &[u8]) -> Self {
        let hash = STANDARD_NO_PAD.encode(crate::digest::sha256(wire));
        Self(format!("{KEY_ID_PREFIX}{hash}").into())
    }

    /// The text form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for KeyId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let wrong = || KeyError::KeyId(text.to_owned());
        let hash = text.strip_prefix(KEY_ID_PREFIX).ok_or_else(wrong)?;
        let mut bytes = [0; 33];
        match STANDARD_NO_PAD.decode_slice(hash, &mut bytes) {
            Ok(32) => Ok(Self(text.into())),
            _ => Err(wrong()),
        }
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = KeyId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key id such as `SHA256:` and 43 characters of base64")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<KeyId, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

/// A key, a key id or an algorithm name that is not what it should be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// Not the name of an algorithm.
    #[error("unknown key algorithm `{0}`; `ed25519` and `ecdsa-p256` are known")]
    Algorithm(String),
    /// Not a key id.
    #[error("`{0}` is not a key id; one is `SHA256:` and 43 characters of unpadded base64")]
    KeyId(String),
    /// The PEM armour is not right.
    #[error(transparent)]
    Pem(#[from] pem::PemError),
    /// The PEM block holds something else.
    #[error("the PEM block is a `{found}`, not a `{expected}`")]
    Label {
        /// What was needed.
        expected: &'static str,
        /// What the block says that it is.
        found: String,
    },
    /// The DER bytes are not a public key of a known kind in its one encoding.
    #[error("not the public key of an Ed25519 or P-256 key ({got} bytes of SPKI)")]
    Spki {
        /// How many bytes there were.
        got: usize,
    },
    /// The bytes name no point of the curve, or not in the one canonical way.
    #[error("the {0} public key is not a canonical point of its curve")]
    Point(Algorithm),
    /// A small-order point: it would verify signatures that nobody made.
    #[error("the Ed25519 public key is weak (small order)")]
    Weak,
    /// The bytes are not a P-256 private scalar; other random bytes will do.
    #[error("the bytes are not a P-256 private key: zero, or not below the group order")]
    Scalar,
    /// The DER bytes are not a private key of a known kind.
    #[error("not the PKCS#8 private key of an Ed25519 or P-256 key")]
    Pkcs8,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::b64;
    use crate::digest::sha256;

    /// The vectors' key of a label: a seed, or for P-256 a scalar (vectors' README).
    pub(crate) fn vector_key(algorithm: Algorithm, label: &str) -> SigningKey {
        let mut secret = sha256(label.as_bytes());
        match algorithm {
            Algorithm::Ed25519 => SigningKey::generate_ed25519(secret),
            Algorithm::EcdsaP256 => {
                // h mod (n-1) + 1 is h + 1 but for a chance of 2^-32.
                for byte in secret.iter_mut().rev() {
                    let (sum, carry) = byte.overflowing_add(1);
                    *byte = sum;
                    if !carry {
                        break;
                    }
                }
                SigningKey::generate_p256(secret).unwrap()
            }
        }
    }

    /// A file of the vectors, parsed.
    pub(crate) fn vectors(name: &str) -> serde_json::Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/chancery/");
        serde_json::from_slice(&std::fs::read(format!("{path}{name}")).unwrap()).unwrap()
    }

    pub(crate) fn text<'a>(value: &'a serde_json::Value, member: &str) -> &'a str {
        value[member].as_str().unwrap()
    }

    #[test]
    fn keys_of_the_vectors_have_their_ids() {
        let all = vectors("keyid.json");
        for case in all["keys"].as_array().unwrap() {
            let algorithm: Algorithm = text(case, "algorithm").parse().unwrap();
            let private = <[u8; 32]>::try_from(hex::decode(text(case, "privateHex")).unwrap()).unwrap();
            let key = match algorithm {
                Algorithm::Ed25519 => SigningKey::generate_ed25519(private),
                Algorithm::EcdsaP256 => SigningKey::generate_p256(private).unwrap(),
            };
            let same = vector_key(algorithm, text(case, "label"));
            assert_eq!(key.public_key(), same.public_key());
            let public = PublicKey::from_spki_pem(text(case, "publicKey")).unwrap();
            assert_eq!(&public, key.public_key());
            assert_eq!(public.algorithm(), algorithm);
            assert_eq!(public.to_spki_pem(), text(case, "publicKey"));
            assert_eq!(hex::encode(public.ssh_wire()), text(case, "sshWire"));
            assert_eq!(public.key_id().as_str(), text(case, "keyId"));
            assert_eq!(b64::encode(&public.spki_hint()), text(case, "spkiHint"));
            assert_eq!(PublicKey::from_spki_der(&public.spki_der()).unwrap(), public);
        }
    }

    #[test]
    fn signatures_of_the_vectors_are_judged_strictly() {
        let all = vectors("keyid.json");
        let message = text(&all, "message").as_bytes();
        for case in all["signatures"].as_array().unwrap() {
            let name = text(case, "name");
            let signature = b64::decode(text(case, "signature")).unwrap();
            let verified = PublicKey::from_spki_pem(text(case, "publicKey"))
                .is_ok_and(|key| key.verify(message, &signature).is_ok());
            assert_eq!(verified, case["valid"].as_bool().unwrap(), "{name}");
        }
    }

    #[test]
    fn small_order_key_is_refused_as_weak() {
        for point in [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        ] {
            let der = hex::decode(format!("302a300506032b6570032100{point}")).unwrap();
            assert_eq!(PublicKey::from_spki_der(&der), Err(KeyError::Weak), "{point}");
        }
    }

    #[test]
    fn public_keys_in_another_form_are_refused() {
        let ed25519 = vector_key(Algorithm::Ed25519, "chancery-vectors/key-1").public_key().spki_der();
        let p256 = vector_key(Algorithm::EcdsaP256, "chancery-vectors/build").public_key().spki_der();
        for der in [&ed25519, &p256] {
            let mut longer = der.clone();
            longer.push(0);
            assert_eq!(PublicKey::from_spki_der(&longer), Err(KeyError::Spki { got: longer.len() }));
            assert!(matches!(PublicKey::from_spki_der(&der[..der.len() - 1]), Err(KeyError::Spki { .. })));
        }
        // y = p + 3: another spelling of a point, if it is one at all.
        let mut spelled = ed25519[..12].to_vec();
        spelled
            .extend(hex::decode("f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f").unwrap());
        assert_eq!(PublicKey::from_spki_der(&spelled), Err(KeyError::Point(Algorithm::Ed25519)));
        let mut off_curve = p256.clone();
        *off_curve.last_mut().unwrap() ^= 1;
        assert_eq!(PublicKey::from_spki_der(&off_curve), Err(KeyError::Point(Algorithm::EcdsaP256)));
        // The compressed form of the same point is a second spelling.
        let mut compressed = hex::decode("3039301306072a8648ce3d020106082a8648ce3d030107032200").unwrap();
        compressed.push(2 + (p256.last().unwrap() & 1));
        compressed.extend(&p256[27..59]);
        assert!(matches!(PublicKey::from_spki_der(&compressed), Err(KeyError::Spki { .. })));
        let other = pem::encode("PRIVATE KEY", &ed25519);
        assert!(matches!(PublicKey::from_spki_pem(&other), Err(KeyError::Label { .. })));
    }

    #[test]
    fn key_ids_have_one_form() {
        let good = "SHA256:5bCz+1fQAyQSwx8HOv5OmXyrtCyGtKTQM7hnAqVs5HM";
        assert_eq!(good.parse::<KeyId>().unwrap().to_string(), good);
        for bad in [
            "",
            "SHA256:",
            "5bCz+1fQAyQSwx8HOv5OmXyrtCyGtKTQM7hnAqVs5HM",
            "sha256:5bCz+1fQAyQSwx8HOv5OmXyrtCyGtKTQM7hnAqVs5HM",
            "SHA256:5bCz+1fQAyQSwx8HOv5OmXyrtCyGtKTQM7hnAqVs5HM=",
            "SHA256:5bCz+1fQAyQSwx8HOv5OmXyrtCyGtKTQM7hnAqVs5HN",
            "SHA256:5bCz+1fQAyQSwx8HOv5OmXyrtCyGtKTQM7hnAqVs5H",
            "SHA256:5bCz+1fQAyQSwx8HOv5OmXyrtCyGtKTQM7hnAqVs5HMAA",
            "SHA256:5bCz-1fQAyQSwx8HOv5OmXyrtCyGtKTQM7hnAqVs5HM",
            " SHA256:5bCz+1fQAyQSwx8HOv5OmXyrtCyGtKTQM7hnAqVs5HM",
        ] {
            assert_eq!(bad.parse::<KeyId>(), Err(KeyError::KeyId(bad.to_owned())));
        }
    }

    #[test]
    fn private_keys_survive_pkcs8_and_sign_the_same() {
        for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
            let key = vector_key(algorithm, "a test");
            let der = key.to_pkcs8_der();
            // Version 1 of PKCS#8 (INTEGER 0): OpenSSL 3.0 cannot read version 2.
            assert_eq!(der.windows(3).position(|w| w == [2, 1, 0]), Some(if der[1] < 128 { 2 } else { 3 }));
            let again = SigningKey::from_pkcs8_der(&der).unwrap();
            assert_eq!(again.public_key(), key.public_key());
            let signature = again.sign(b"message").unwrap();
            assert_eq!(signature, key.sign(b"message").unwrap());
            key.public_key().verify(b"message", &signature).unwrap();
            assert!(key.public_key().verify(b"messagf", &signature).is_err());
            assert!(SigningKey::from_pkcs8_der(&der[..der.len() - 1]).is_err());
            assert!(!format!("{key:?}").contains(&hex::encode(&der[16..48])));
        }
        assert_eq!(SigningKey::from_pkcs8_der(b"").unwrap_err(), KeyError::Pkcs8);
        assert_eq!(SigningKey::generate_p256([0; 32]).unwrap_err(), KeyError::Scalar);
        assert_eq!(SigningKey::generate_p256([0xff; 32]).unwrap_err(), KeyError::Scalar);
    }

    /// Answers for one key with the signatures of another.
    struct Impostor(SigningKey, PublicKey);

    impl Signer for Impostor {
        fn public_key(&self) -> &PublicKey {
            &self.1
        }

        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
            self.0.sign(message)
        }
    }

    #[test]
    fn a_check_wants_a_signature_by_the_key_itself() {
        for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
            let (key, other) = (vector_key(algorithm, "a test"), vector_key(algorithm, "another"));
            key.check().unwrap();
            Impostor(key, other.public_key().clone()).check().unwrap_err();
        }
        // No note has such a text, and no envelope's message begins so.
        assert!(crate::note::Note::new(std::str::from_utf8(PROBE).unwrap().to_owned()).is_err());
        assert!(!PROBE.starts_with(b"DSSEv1"));
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(64))]

        #[test]
        fn a_flipped_bit_of_a_signature_is_refused(bit in 0usize..512, byte in proptest::num::u8::ANY) {
            for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
                let key = vector_key(algorithm, "a test");
                let message = [byte; 40];
                let mut signature = key.sign(&message).unwrap();
                signature[bit / 8] ^= 1 << (bit % 8);
                proptest::prop_assert!(key.public_key().verify(&message, &signature).is_err());
            }
        }
    }
}
