//! A public key, parsed once, that checks signatures strictly.
//!
//! ```text
//! Ed25519 SPKI   30 2a 30 05 06 03 2b 65 70 03 21 00 || y and sign of x (32, little endian)
//! P-256 SPKI     30 59 30 13 06 07 2a 86 48 ce 3d 02 01 06 08 2a 86 48 ce 3d 03 01 07 03 42 00 || 04 x y
//! ```
//!
//! Each key has one encoding here: DER of exactly this form, P-256 points uncompressed, Ed25519 points reduced.
//! A second spelling would be a second key id for one key.

use std::fmt;

use p256::ecdsa::signature::Verifier as _;

use super::ed25519::Ed25519Key;
use super::{Algorithm, KeyError, KeyId, pem};
use crate::digest::sha256;

const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// An Ed25519 or P-256 public key that is on its curve, canonical and not weak.
///
/// Holds the decompressed point, so that checking many signatures parses the key once. An Ed25519 key that checks many
/// makes itself a table of 30 KiB, which its clones share: the answers are the same, and come sooner. Equality is that
/// of the key, not of some text of it.
#[derive(Clone)]
pub struct PublicKey {
    point: Point,
    key_id: KeyId,
}

#[derive(Clone)]
enum Point {
    Ed25519(Ed25519Key),
    P256(p256::ecdsa::VerifyingKey),
}

impl PublicKey {
    /// Reads one `PUBLIC KEY` block.
    ///
    /// # Errors
    /// [`KeyError::Pem`], [`KeyError::Label`], and what [`PublicKey::from_spki_der`] has.
    pub fn from_spki_pem(text: &str) -> Result<Self, KeyError> {
        let (label, der) = pem::decode(text)?;
        if label != pem::PUBLIC_KEY {
            return Err(KeyError::Label { expected: pem::PUBLIC_KEY, found: label });
        }
        Self::from_spki_der(&der)
    }

    /// Reads SubjectPublicKeyInfo (RFC 8410, RFC 5480), in the one form that this module's head shows.
    ///
    /// # Errors
    /// [`KeyError::Spki`] for other algorithms and encodings, [`KeyError::Point`] off the curve,
    /// [`KeyError::Weak`] for a small-order Ed25519 point.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let wrong = KeyError::Spki { got: der.len() };
        if let Some(point) = der.strip_prefix(&ED25519_SPKI) {
            Self::from_ed25519(point.try_into().map_err(|_| wrong)?)
        } else if let Some(point) = der.strip_prefix(&P256_SPKI) {
            if point.len() != 65 || point.first() != Some(&0x04) {
                return Err(wrong);
            }
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point)
                .map_err(|_| KeyError::Point(Algorithm::EcdsaP256))?;
            Ok(Self::from_point(Point::P256(key)))
        } else {
            Err(wrong)
        }
    }

    /// Reads the 32 bytes of an Ed25519 public key (RFC 8032 §5.1.5), as signed notes carry them.
    ///
    /// # Errors
    /// [`KeyError::Point`] and [`KeyError::Weak`].
    pub fn from_ed25519(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        Ok(Self::from_point(Point::Ed25519(Ed25519Key::from_bytes(bytes)?)))
    }

    pub(super) fn from_p256(key: p256::ecdsa::VerifyingKey) -> Self {
        Self::from_point(Point::P256(key))
    }

    fn from_point(point: Point) -> Self {
        let key_id = KeyId::of_wire(&ssh_wire(&point));
        Self { point, key_id }
    }

    /// The 32 bytes of an Ed25519 key; nothing for another algorithm.
    #[must_use]
    pub fn as_ed25519(&self) -> Option<&[u8; 32]> {
        match &self.point {
            Point::Ed25519(key) => Some(key.as_bytes()),
            Point::P256(_) => None,
        }
    }

    /// The algorithm that its signatures have to be of.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.point {
            Point::Ed25519(_) => Algorithm::Ed25519,
            Point::P256(_) => Algorithm::EcdsaP256,
        }
    }

    /// The OpenSSH fingerprint, computed when the key was read.
    #[must_use]
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// DER of its SubjectPublicKeyInfo: 44 bytes for Ed25519, 91 for P-256.
    #[must_use]
    pub fn spki_der(&self) -> Vec<u8> {
        match &self.point {
            Point::Ed25519(key) => [&ED25519_SPKI[..], key.as_bytes()].concat(),
            Point::P256(key) => [&P256_SPKI[..], &key.to_sec1_point(false).to_bytes()].concat(),
        }
    }

    /// The same as a PEM block, ended by a newline.
    #[must_use]
    pub fn to_spki_pem(&self) -> String {
        pem::encode(pem::PUBLIC_KEY, &self.spki_der())
    }

    /// SHA-256 of the SPKI: what a sigstore bundle's `publicKey.hint` holds.
    #[must_use]
    pub fn spki_hint(&self) -> [u8; 32] {
        sha256(&self.spki_der())
    }

    /// The key as SSH writes it (RFC 8709 §4, RFC 5656 §3.1); its SHA-256 is the key id.
    #[must_use]
    pub fn ssh_wire(&self) -> Vec<u8> {
        ssh_wire(&self.point)
    }

    /// Checks a signature over exactly these bytes.
    ///
    /// Ed25519: 64 bytes, verified strictly (S reduced, no small-order R). P-256: DER with minimal lengths and
    /// integers and nothing after it; high and low S both count, so a signature never identifies a record.
    ///
    /// # Errors
    /// [`SignatureError::Malformed`] or [`SignatureError::Invalid`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        match &self.point {
            Point::Ed25519(key) => {
                let signature =
                    signature.try_into().map_err(|_| SignatureError::Malformed(Algorithm::Ed25519))?;
                if key.accepts(message, signature) { Ok(()) } else { Err(SignatureError::Invalid) }
            }
            Point::P256(key) => {
                let malformed = || SignatureError::Malformed(Algorithm::EcdsaP256);
                let parsed = p256::ecdsa::Signature::from_der(signature).map_err(|_| malformed())?;
                // The reader may be laxer than DER; what it would write itself decides.
                if parsed.to_der().as_bytes() != signature {
                    return Err(malformed());
                }
                key.verify(message, &parsed).map_err(|_| SignatureError::Invalid)
            }
        }
    }
}

fn ssh_wire(point: &Point) -> Vec<u8> {
    fn string(out: &mut Vec<u8>, bytes: &[u8]) {
        // At most 65 bytes: the length is the last of four bytes.
        out.extend([0, 0, 0, u8::try_from(bytes.len()).unwrap_or(u8::MAX)]);
        out.extend(bytes);
    }

    let mut out = Vec::with_capacity(104);
    match point {
        Point::Ed25519(key) => {
            string(&mut out, b"ssh-ed25519");
            string(&mut out, key.as_bytes());
        }
        Point::P256(key) => {
            string(&mut out, b"ecdsa-sha2-nistp256");
            string(&mut out, b"nistp256");
            string(&mut out, &key.to_sec1_point(false).to_bytes());
        }
    }
    out
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        match (&self.point, &other.point) {
            (Point::Ed25519(a), Point::Ed25519(b)) => a == b,
            (Point::P256(a), Point::P256(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.algorithm(), self.key_id)
    }
}

/// A signature that does not count.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SignatureError {
    /// Not the encoding of a signature of the key's algorithm.
    #[error("the signature is not a well-formed {0} signature")]
    Malformed(Algorithm),
    /// Well-formed, but not by this key over these bytes.
    #[error("the signature does not match the bytes and the key")]
    Invalid,
}
