//! From a private key in memory to what signs with it, for a server as for a command.
//!
//! ```text
//! SigningKey ─ Ed25519 ─ PKCS#8 ─► aws-lc ─► the probe is signed by both ─ the same bytes ─► signs
//!            └ P-256 ────────────────────────────────────────────────────────────────────► signs itself
//! ```
//! Ed25519 leaves nothing to chance (RFC 8032 §5.1.6): whoever signs with a key makes the same bytes, and aws-lc
//! needs little more than half the time. It is C, which `chancery-core` does not link; there ed25519-dalek makes,
//! reads and checks keys, here as everywhere.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::signature::Ed25519KeyPair;
use chancery_core::key::{Algorithm, PROBE, PublicKey, SignError, Signer, SigningKey};

/// What signs as `key` does, byte for byte, in the shortest time. It is wiped when dropped, as `key` is.
///
/// # Errors
/// [`SignerError`] where an Ed25519 key does not sign as ed25519-dalek does: this machine is not to be trusted.
pub fn quickest(key: SigningKey) -> Result<Arc<dyn Signer>, SignerError> {
    Ok(match key.public_key().algorithm() {
        Algorithm::Ed25519 => Arc::new(Ed25519Signer::new(&key)?),
        Algorithm::EcdsaP256 => Arc::new(key),
    })
}

/// An Ed25519 key in aws-lc's memory. That wipes whatever it frees, and the nonces before a signature is returned.
struct Ed25519Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl Ed25519Signer {
    /// Hands the key over and compares the signatures of [`PROBE`].
    fn new(key: &SigningKey) -> Result<Self, SignerError> {
        let pair = Ed25519KeyPair::from_pkcs8(&key.to_pkcs8_der()).map_err(SignerError::Rejected)?;
        let signer = Self { pair, public: key.public_key().clone() };
        if signer.sign(PROBE)? != key.sign(PROBE)? {
            return Err(SignerError::Differs);
        }
        Ok(signer)
    }
}

impl Signer for Ed25519Signer {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn is_local(&self) -> bool {
        true
    }

    /// Deterministic (RFC 8032).
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self.pair.try_sign(message).map_err(SignError::new)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl fmt::Debug for Ed25519Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ed25519Signer({:?})", self.public)
    }
}

/// An Ed25519 key that aws-lc does not use as ed25519-dalek does.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// aws-lc does not take the key.
    #[error("aws-lc does not take the private key")]
    Rejected(#[source] KeyRejected),
    /// One of the two did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The signatures of one message differ, though there is but one.
    #[error("aws-lc and ed25519-dalek make different signatures of one message with the private key")]
    Differs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_ed25519_key_is_handed_over_and_a_p256_key_stays_itself() {
        for key in [SigningKey::generate_ed25519([1; 32]), SigningKey::generate_p256([1; 32]).unwrap()] {
            let (public, signature) = (key.public_key().clone(), key.sign(b"message").unwrap());
            let signer = quickest(key).unwrap();
            assert_eq!(signer.public_key(), &public);
            assert!(signer.is_local());
            assert_eq!(signer.sign(b"message").unwrap(), signature);
            signer.check().unwrap();
        }
    }

    #[test]
    fn a_p256_key_is_none_for_ed25519() {
        let key = SigningKey::generate_p256([1; 32]).unwrap();
        let error = Ed25519Signer::new(&key).unwrap_err();
        assert!(matches!(error, SignerError::Rejected(_)), "{error:?}");
    }

    #[test]
    fn its_debug_text_shows_the_public_half_alone() {
        let key = SigningKey::generate_ed25519([0xa5; 32]);
        let text = format!("{:?}", Ed25519Signer::new(&key).unwrap());
        assert_eq!(text, format!("Ed25519Signer({:?})", key.public_key()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn the_signature_is_the_one_that_there_is(
            seed: [u8; 32],
            message in proptest::collection::vec(any::<u8>(), 0..4_000),
        ) {
            let key = SigningKey::generate_ed25519(seed);
            let signature = Ed25519Signer::new(&key).unwrap().sign(&message).unwrap();
            prop_assert_eq!(&signature, &key.sign(&message).unwrap());
            key.public_key().verify(&message, &signature).unwrap();
        }
    }
}
