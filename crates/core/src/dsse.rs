//! DSSE envelopes: a payload and the signatures over its pre-authentication encoding (formats §4).
//!
//! Source: DSSE v1.0.2, protocol and envelope. `keyid` and `sig` are both present here, though DSSE lets the
//! first be left out.
//!
//! ```text
//! {"payload":"base64","payloadType":"…","signatures":[{"keyid":"SHA256:…","sig":"base64"}]}
//!
//! PAE = "DSSEv1" SP len(type) SP type SP len(payload) SP payload        lengths in bytes, decimal
//! ```
//!
//! A record is identified by the SHA-256 of its PAE, never by a signature. The payload bytes are kept as they
//! are; nothing here writes them anew.

use serde::{Deserialize, Serialize};

use crate::b64;
use crate::digest::{RecordId, sha256_parts};
use crate::key::{KeyId, PublicKey, SignError, Signer};

/// The payload type of in-toto statements.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// How many signatures an envelope may have: more than any keyring needs, few enough to be checked always.
pub const MAX_SIGNATURES: usize = 64;

/// The bytes that are signed.
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    [pae_head(payload_type, payload).as_bytes(), payload].concat()
}

fn pae_head(payload_type: &str, payload: &[u8]) -> String {
    format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len())
}

/// The id of the record that a payload is: SHA-256 of its PAE.
#[must_use]
pub fn record_id(payload_type: &str, payload: &[u8]) -> RecordId {
    RecordId::from_bytes(sha256_parts(&[pae_head(payload_type, payload).as_bytes(), payload]))
}

/// A payload with its signatures. It exists before it is verified; what it says is not to be believed yet.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope {
    /// The exact bytes that were signed.
    pub payload: b64::Bytes,
    /// What the payload is; part of what is signed.
    pub payload_type: String,
    /// The signatures over [`pae`], in any order.
    pub signatures: Vec<Signature>,
}

/// One signature of an envelope.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The key that is said to have made it.
    pub keyid: KeyId,
    /// The signature in the form of the key's algorithm: 64 bytes for Ed25519, DER for P-256.
    pub sig: b64::Bytes,
}

impl Envelope {
    /// Signs `payload` with one key.
    ///
    /// # Errors
    /// [`SignError`] of the signer.
    pub fn sign(payload_type: &str, payload: Vec<u8>, signer: &dyn Signer) -> Result<Self, SignError> {
        Self::sign_all(payload_type, payload, &[signer])
    }

    /// Signs `payload` with several keys; the signatures stand in order of their key ids.
    ///
    /// # Errors
    /// [`SignError`] of the first signer that fails.
    pub fn sign_all(
        payload_type: &str,
        payload: Vec<u8>,
        signers: &[&dyn Signer],
    ) -> Result<Self, SignError> {
        let message = pae(payload_type, &payload);
        let mut signatures = signers
            .iter()
            .map(|signer| {
                let sig = b64::Bytes(signer.sign(&message)?);
                Ok(Signature { keyid: signer.public_key().key_id().clone(), sig })
            })
            .collect::<Result<Vec<_>, SignError>>()?;
        signatures.sort_by(|a, b| a.keyid.cmp(&b.keyid));
        Ok(Self { payload: b64::Bytes(payload), payload_type: payload_type.to_owned(), signatures })
    }

    /// SHA-256 of the PAE: what the log entry holds and what later records name.
    #[must_use]
    pub fn record_id(&self) -> RecordId {
        record_id(&self.payload_type, &self.payload.0)
    }

    /// Checks the signatures against `keys` and hands back the payload once `threshold` distinct keys signed.
    ///
    /// `keyid` only picks which key a signature is tried against; it is never trusted. Signatures of other keys
    /// and invalid ones do not count, and a key counts once however often it signed.
    ///
    /// # Errors
    /// [`EnvelopeError::TooManySignatures`], or [`EnvelopeError::Threshold`] where too few keys verify; the first
    /// signature that failed under its own key is its source.
    pub fn verify(&self, keys: &[&PublicKey], threshold: usize) -> Result<VerifiedPayload, EnvelopeError> {
        if self.signatures.len() > MAX_SIGNATURES {
            return Err(EnvelopeError::TooManySignatures { got: self.signatures.len() });
        }
        let message = pae(&self.payload_type, &self.payload.0);
        let mut signers: Vec<KeyId> = Vec::with_capacity(1);
        let mut first_failure = None;
        for signature in &self.signatures {
            let Some(key) = keys.iter().find(|key| *key.key_id() == signature.keyid) else { continue };
            if signers.contains(&signature.keyid) {
                continue;
            }
            match key.verify(&message, &signature.sig.0) {
                Ok(()) => signers.push(signature.keyid.clone()),
                Err(error) => first_failure = first_failure.or(Some(error)),
            }
        }
        if signers.len() < threshold.max(1) {
            return Err(EnvelopeError::Threshold {
                need: threshold.max(1),
                got: signers.len(),
                source: first_failure,
            });
        }
        Ok(VerifiedPayload {
            bytes: self.payload.0.clone(),
            payload_type: self.payload_type.clone(),
            signers,
        })
    }

    /// Checks an envelope that has to carry one signature and no more, that of `key`: every record but a
    /// keyring version.
    ///
    /// # Errors
    /// [`EnvelopeError::NotSingle`] for another number of signatures, else as [`Envelope::verify`].
    pub fn verify_single(&self, key: &PublicKey) -> Result<VerifiedPayload, EnvelopeError> {
        self.single()?;
        self.verify(&[key], 1)
    }

    /// The only signature.
    ///
    /// # Errors
    /// [`EnvelopeError::NotSingle`] where there is none or more than one.
    pub fn single(&self) -> Result<&Signature, EnvelopeError> {
        match self.signatures.as_slice() {
            [signature] => Ok(signature),
            other => Err(EnvelopeError::NotSingle { got: other.len() }),
        }
    }
}

/// Payload bytes whose signatures met the threshold. Only [`Envelope::verify`] makes one.
#[derive(Clone, Debug)]
pub struct VerifiedPayload {
    bytes: Vec<u8>,
    payload_type: String,
    signers: Vec<KeyId>,
}

impl VerifiedPayload {
    /// The bytes that were signed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The type that was signed with them.
    #[must_use]
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// The keys whose signatures hold, each once, in the envelope's order.
    #[must_use]
    pub fn signers(&self) -> &[KeyId] {
        &self.signers
    }
}

/// An envelope whose signatures do not suffice.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EnvelopeError {
    /// Too few distinct keys signed.
    #[error("{got} of the {need} signatures needed hold")]
    Threshold {
        /// How many keys have to sign.
        need: usize,
        /// How many did.
        got: usize,
        /// Why the first signature that names a known key does not hold.
        #[source]
        source: Option<crate::key::SignatureError>,
    },
    /// More signatures than anybody needs.
    #[error("{got} signatures, of which at most {MAX_SIGNATURES} are looked at")]
    TooManySignatures {
        /// How many there are.
        got: usize,
    },
    /// One signature was expected.
    #[error("{got} signatures where there has to be exactly one")]
    NotSingle {
        /// How many there are.
        got: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::to_canonical;
    use crate::key::tests::{text, vector_key, vectors};
    use crate::key::{Algorithm, SignatureError};

    #[test]
    fn envelopes_of_the_vectors() {
        for case in vectors("dsse.json")["cases"].as_array().unwrap() {
            let name = text(case, "name");
            let payload = b64::decode(text(case, "payload")).unwrap();
            let payload_type = text(case, "payloadType");
            assert_eq!(b64::encode(&pae(payload_type, &payload)), text(case, "pae"), "{name}");
            let envelope: Envelope = serde_json::from_str(text(case, "envelope")).unwrap();
            assert_eq!(envelope.payload.0, payload, "{name}");
            assert_eq!(envelope.record_id().to_string(), text(case, "paeHash"), "{name}");
            assert_eq!(to_canonical(&envelope).unwrap().as_str(), text(case, "envelope"), "{name}");
            let key = PublicKey::from_spki_pem(text(case, "publicKey")).unwrap();
            let verified = envelope.verify_single(&key).unwrap();
            assert_eq!(verified.bytes(), payload, "{name}");
            assert_eq!(verified.payload_type(), payload_type, "{name}");
            assert_eq!(verified.signers(), [key.key_id().clone()], "{name}");
        }
    }

    #[test]
    fn signing_is_deterministic_and_matches_the_vectors() {
        let all = vectors("dsse.json");
        let signers = [
            vector_key(Algorithm::Ed25519, "chancery-vectors/key-1"),
            vector_key(Algorithm::Ed25519, "chancery-vectors/key-2"),
            vector_key(Algorithm::EcdsaP256, "chancery-vectors/build"),
        ];
        for case in all["cases"].as_array().unwrap() {
            let public = PublicKey::from_spki_pem(text(case, "publicKey")).unwrap();
            let signer = signers.iter().find(|signer| *signer.public_key() == public).unwrap();
            let payload = b64::decode(text(case, "payload")).unwrap();
            let made = Envelope::sign(text(case, "payloadType"), payload, signer).unwrap();
            assert_eq!(to_canonical(&made).unwrap().as_str(), text(case, "envelope"));
        }
    }

    #[test]
    fn what_was_changed_after_signing_is_refused() {
        let key = vector_key(Algorithm::Ed25519, "a");
        let other = vector_key(Algorithm::Ed25519, "b");
        let good = Envelope::sign(IN_TOTO, b"payload".to_vec(), &key).unwrap();
        let refused = |envelope: &Envelope| envelope.verify(&[key.public_key()], 1).unwrap_err();
        let invalid = EnvelopeError::Threshold { need: 1, got: 0, source: Some(SignatureError::Invalid) };

        let mut changed = good.clone();
        changed.payload.0.push(b' ');
        assert_eq!(refused(&changed), invalid);
        let mut changed = good.clone();
        changed.payload_type.push('x');
        assert_eq!(refused(&changed), invalid);
        // The boundary between type and payload is signed too.
        let mut changed = good.clone();
        changed.payload_type.pop();
        changed.payload.0.insert(0, b'n');
        assert_eq!(refused(&changed), invalid);
        let mut changed = good.clone();
        changed.signatures[0].keyid = other.public_key().key_id().clone();
        assert_eq!(refused(&changed), EnvelopeError::Threshold { need: 1, got: 0, source: None });
        assert_eq!(
            changed.verify(&[key.public_key(), other.public_key()], 1).unwrap_err(),
            invalid,
            "a signature counts for the key that it names alone"
        );
        let mut changed = good.clone();
        changed.signatures.clear();
        assert_eq!(refused(&changed), EnvelopeError::Threshold { need: 1, got: 0, source: None });
        assert_eq!(changed.single().unwrap_err(), EnvelopeError::NotSingle { got: 0 });
        let mut changed = good.clone();
        changed.signatures = vec![good.signatures[0].clone(); MAX_SIGNATURES + 1];
        assert_eq!(refused(&changed), EnvelopeError::TooManySignatures { got: MAX_SIGNATURES + 1 });
    }

    #[test]
    fn a_key_counts_once() {
        let (a, b) = (vector_key(Algorithm::Ed25519, "a"), vector_key(Algorithm::EcdsaP256, "b"));
        let keys = [a.public_key(), b.public_key()];
        let mut twice = Envelope::sign(IN_TOTO, b"x".to_vec(), &a).unwrap();
        twice.signatures.push(twice.signatures[0].clone());
        assert_eq!(
            twice.verify(&keys, 2).unwrap_err(),
            EnvelopeError::Threshold { need: 2, got: 1, source: None }
        );
        assert_eq!(twice.verify_single(a.public_key()).unwrap_err(), EnvelopeError::NotSingle { got: 2 });
        let both = Envelope::sign_all(IN_TOTO, b"x".to_vec(), &[&b, &a]).unwrap();
        assert!(both.signatures.is_sorted_by(|x, y| x.keyid < y.keyid));
        assert_eq!(both.verify(&keys, 2).unwrap().signers().len(), 2);
    }

    #[test]
    fn a_threshold_of_zero_still_asks_for_a_signature() {
        let mut envelope =
            Envelope::sign(IN_TOTO, b"x".to_vec(), &vector_key(Algorithm::Ed25519, "a")).unwrap();
        envelope.signatures.clear();
        assert!(envelope.verify(&[], 0).is_err());
    }

    #[test]
    fn json_of_another_shape_is_refused() {
        let key = vector_key(Algorithm::Ed25519, "a");
        let good = to_canonical(&Envelope::sign(IN_TOTO, b"x".to_vec(), &key).unwrap()).unwrap();
        let good = good.as_str();
        serde_json::from_str::<Envelope>(good).unwrap();
        for (from, to) in [
            ("\"eA==\"", "\"eA\""),
            ("\"eA==\"", "\"eB==\""),
            ("{\"payload\"", "{\"x\":1,\"payload\""),
            ("{\"keyid\"", "{\"x\":1,\"keyid\""),
            ("\"payload\":\"eA==\",", ""),
            ("\"payload\":\"eA==\",", "\"payload\":\"eA==\",\"payload\":\"eA==\","),
            ("SHA256:", "SHA512:"),
            ("\"sig\"", "\"signature\""),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert!(serde_json::from_str::<Envelope>(&bad).is_err(), "{bad}");
        }
    }
}
