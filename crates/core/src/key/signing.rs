//! Private keys: the [`Signer`] face and the keys that Chancery holds itself.
//!
//! ```text
//! Ed25519 PKCS#8, version 1   30 2e 02 01 00 30 05 06 03 2b 65 70 04 22 04 20 || seed (32)    RFC 8410 §7
//! P-256 PKCS#8, version 1     PrivateKeyInfo around RFC 5915's ECPrivateKey                    RFC 5208
//! ```
//!
//! Version 1 is written because OpenSSL 3.0 and cosign read it; version 2 is read as well.

use std::fmt;

use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use p256::pkcs8::EncodePrivateKey as _;
use zeroize::Zeroizing;

use super::{KeyError, PublicKey};

const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Something that signs: a key in memory, or one that is kept elsewhere.
pub trait Signer: Send + Sync {
    /// The public half; its key id is what envelopes name.
    fn public_key(&self) -> &PublicKey;

    /// Signs exactly these bytes, in the encoding that [`PublicKey::verify`] takes.
    ///
    /// # Errors
    /// [`SignError`] where the key cannot be used at the moment.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;

    /// Whether signing needs a processor and nothing else: no device, no other process is waited for.
    fn is_local(&self) -> bool {
        false
    }

    /// Whether the key can sign now: it signs [`PROBE`], and the signature has to verify.
    ///
    /// # Errors
    /// [`SignError`] where it cannot, or where what it answers is no signature by this key.
    fn check(&self) -> Result<(), SignError> {
        let signature = self.sign(PROBE)?;
        self.public_key().verify(PROBE, &signature).map_err(SignError::new)
    }
}

/// What a key signs to show that it can. It is nothing that a signature is looked for on: an envelope's message begins
/// with `DSSEv1` (formats §4), and a note is lines of text without control characters, which a NUL is.
pub const PROBE: &[u8] = b"chancery/v1/probe\0";

/// The key did not sign.
#[derive(Debug, thiserror::Error)]
#[error("the key did not sign")]
pub struct SignError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl SignError {
    /// Wraps what the holder of the key says.
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(source.into())
    }
}

/// A private key in memory. It is wiped when dropped, and its debug text shows the public half alone.
pub struct SigningKey {
    secret: Secret,
    public: PublicKey,
}

enum Secret {
    Ed25519(ed25519_dalek::SigningKey),
    P256(p256::ecdsa::SigningKey),
}

impl SigningKey {
    /// The Ed25519 key of 32 random bytes, its seed (RFC 8032 §5.1.5).
    #[must_use]
    pub fn generate_ed25519(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        let key = ed25519_dalek::SigningKey::from_bytes(&seed);
        #[expect(
            clippy::expect_used,
            reason = "clamping makes every seed's point canonical and of large order"
        )]
        let public = PublicKey::from_ed25519(key.verifying_key().as_bytes()).expect("a seed's public key");
        Self { secret: Secret::Ed25519(key), public }
    }

    /// The P-256 key of 32 random bytes, its private scalar in big-endian order.
    ///
    /// # Errors
    /// [`KeyError::Scalar`] for zero and for values of the group order and above (a chance of 2^-32): draw again.
    pub fn generate_p256(scalar: [u8; 32]) -> Result<Self, KeyError> {
        let scalar = Zeroizing::new(scalar);
        let key = p256::ecdsa::SigningKey::from_slice(&scalar[..]).map_err(|_| KeyError::Scalar)?;
        Ok(Self::of_p256(key))
    }

    fn of_p256(key: p256::ecdsa::SigningKey) -> Self {
        let public = PublicKey::from_p256(*key.verifying_key());
        Self { secret: Secret::P256(key), public }
    }

    /// Reads a PKCS#8 private key, version 1 or 2, of either algorithm.
    ///
    /// # Errors
    /// [`KeyError::Pkcs8`] where it is neither, or where a public key inside is not its own.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        if let Ok(key) = ed25519_dalek::SigningKey::from_pkcs8_der(der) {
            return Ok(Self::generate_ed25519(key.to_bytes()));
        }
        let key = p256::ecdsa::SigningKey::from_pkcs8_der(der).map_err(|_| KeyError::Pkcs8)?;
        Ok(Self::of_p256(key))
    }

    /// PKCS#8, version 1; wiped when dropped.
    #[must_use]
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        match &self.secret {
            Secret::Ed25519(key) => Zeroizing::new([&ED25519_PKCS8[..], key.as_bytes()].concat()),
            Secret::P256(key) => {
                #[expect(clippy::expect_used, reason = "the lengths of a P-256 key are fixed and fit DER")]
                let der = key.to_pkcs8_der().expect("a P-256 key in DER");
                Zeroizing::new(der.as_bytes().to_vec())
            }
        }
    }
}

impl Signer for SigningKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn is_local(&self) -> bool {
        true
    }

    /// Deterministic for both algorithms (RFC 8032; RFC 6979 for P-256).
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.secret {
            Secret::Ed25519(key) => Ok(key.sign(message).to_bytes().to_vec()),
            Secret::P256(key) => {
                let signature: p256::ecdsa::Signature = key.try_sign(message).map_err(SignError::new)?;
                Ok(signature.to_der().as_bytes().to_vec())
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.public)
    }
}
