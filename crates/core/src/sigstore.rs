//! Sigstore bundles, v0.3, with public-key material: signatures that cosign checks (formats §7, §8).
//!
//! Source: sigstore protobuf-specs, `sigstore_bundle.proto` in its JSON form. Only the part that a signature by
//! a known key needs: no certificates, no transparency log, no timestamps.
//!
//! ```text
//! {"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json",
//!  "messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":"b64"},"signature":"b64"},
//!  "verificationMaterial":{"publicKey":{"hint":"b64 of SHA-256(SPKI)"},"tlogEntries":[]}}
//!
//! the same with "dsseEnvelope":{…} in place of "messageSignature"
//! ```
//!
//! The hint only says which key to fetch; the signature is checked with a key that is trusted otherwise. What other
//! tools write is read too, where it says the same: an absent `tlogEntries`, an envelope whose one signature has no
//! `keyid`, and the media type's older spelling. Legacy bundles and Ed25519ph signatures never are.

use serde::{Deserialize, Serialize};

use crate::b64;
use crate::digest::sha256;
use crate::dsse::{self, Envelope, EnvelopeError, VerifiedPayload};
use crate::key::{KeyId, PublicKey, SignError, SignatureError, Signer};

/// The media type of bundles of this version.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A signature over a file, as `cosign sign-blob --bundle` and `cosign verify-blob --bundle` have it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MessageBundle {
    media_type: MediaType,
    message_signature: MessageSignature,
    verification_material: Material,
}

/// A DSSE envelope, as `cosign verify-blob-attestation --bundle` has it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DsseBundle {
    dsse_envelope: BundledEnvelope,
    media_type: MediaType,
    verification_material: Material,
}

/// The one version. Its older spelling is read, because `cosign bundle create` writes it, and never written.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum MediaType {
    #[serde(
        rename = "application/vnd.dev.sigstore.bundle.v0.3+json",
        alias = "application/vnd.dev.sigstore.bundle+json;version=0.3"
    )]
    V03,
}

/// An envelope in a bundle. Its signature need not name the key, which the hint does already.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BundledEnvelope {
    payload: b64::Bytes,
    payload_type: String,
    signatures: Vec<BundledSignature>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct BundledSignature {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyid: Option<KeyId>,
    sig: b64::Bytes,
}

impl From<Envelope> for BundledEnvelope {
    fn from(Envelope { payload, payload_type, signatures }: Envelope) -> Self {
        let named = |dsse::Signature { keyid, sig }| BundledSignature { keyid: Some(keyid), sig };
        Self { payload, payload_type, signatures: signatures.into_iter().map(named).collect() }
    }
}

impl BundledEnvelope {
    /// The envelope as Chancery writes it: a signature that names no key is said to be of `key`.
    fn said_to_be_of(&self, key: &PublicKey) -> Envelope {
        let named = |BundledSignature { keyid, sig }: BundledSignature| dsse::Signature {
            keyid: keyid.unwrap_or_else(|| key.key_id().clone()),
            sig,
        };
        let Self { payload, payload_type, signatures } = self.clone();
        Envelope { payload, payload_type, signatures: signatures.into_iter().map(named).collect() }
    }
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MessageSignature {
    message_digest: MessageDigest,
    signature: b64::Bytes,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct MessageDigest {
    algorithm: HashAlgorithm,
    digest: b64::Bytes,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum HashAlgorithm {
    #[serde(rename = "SHA2_256")]
    Sha2_256,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Material {
    public_key: PublicKeyHint,
    /// Always written and always empty; JSON writers of protobuf leave empty lists out.
    #[serde(default)]
    tlog_entries: Vec<NoEntry>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct PublicKeyHint {
    hint: b64::Bytes,
}

/// A log entry, of which there are none: nothing deserialises to it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum NoEntry {}

impl Material {
    fn of(key: &PublicKey) -> Self {
        let hint = b64::Bytes(key.spki_hint().to_vec());
        Self { public_key: PublicKeyHint { hint }, tlog_entries: Vec::new() }
    }

    fn check(&self, key: &PublicKey) -> Result<(), BundleError> {
        if self.public_key.hint.0 == key.spki_hint() { Ok(()) } else { Err(BundleError::Hint) }
    }
}

impl MessageBundle {
    /// Signs the bytes of a file.
    ///
    /// # Errors
    /// [`SignError`] of the signer.
    pub fn sign(bytes: &[u8], signer: &dyn Signer) -> Result<Self, SignError> {
        let signature = b64::Bytes(signer.sign(bytes)?);
        let digest = b64::Bytes(sha256(bytes).to_vec());
        let message_digest = MessageDigest { algorithm: HashAlgorithm::Sha2_256, digest };
        Ok(Self {
            media_type: MediaType::V03,
            message_signature: MessageSignature { message_digest, signature },
            verification_material: Material::of(signer.public_key()),
        })
    }

    /// Reads a bundle's JSON; white space is free.
    ///
    /// # Errors
    /// [`BundleError::Json`] for another media type, other material, or members that are not known.
    pub fn parse(text: &[u8]) -> Result<Self, BundleError> {
        serde_json::from_slice(text).map_err(BundleError::Json)
    }

    /// Checks that `key` signed exactly these bytes, and that digest and hint say so too.
    ///
    /// # Errors
    /// [`BundleError::Hint`], [`BundleError::Digest`] or [`BundleError::Signature`].
    pub fn verify(&self, bytes: &[u8], key: &PublicKey) -> Result<(), BundleError> {
        self.verification_material.check(key)?;
        if self.message_signature.message_digest.digest.0 != sha256(bytes) {
            return Err(BundleError::Digest);
        }
        key.verify(bytes, &self.message_signature.signature.0).map_err(BundleError::Signature)
    }

    /// SHA-256 of the SPKI of the key that is said to have signed.
    #[must_use]
    pub fn hint(&self) -> &[u8] {
        &self.verification_material.public_key.hint.0
    }

    /// The signature alone: in base64 it is what `cosign sign-blob` prints.
    #[must_use]
    pub fn signature(&self) -> &b64::Bytes {
        &self.message_signature.signature
    }
}

impl DsseBundle {
    /// Wraps an envelope that `key` signed.
    #[must_use]
    pub fn new(envelope: Envelope, key: &PublicKey) -> Self {
        Self {
            dsse_envelope: envelope.into(),
            media_type: MediaType::V03,
            verification_material: Material::of(key),
        }
    }

    /// Reads a bundle's JSON; white space is free.
    ///
    /// # Errors
    /// [`BundleError::Json`], as [`MessageBundle::parse`].
    pub fn parse(text: &[u8]) -> Result<Self, BundleError> {
        serde_json::from_slice(text).map_err(BundleError::Json)
    }

    /// Checks that `key` signed the envelope, alone.
    ///
    /// # Errors
    /// [`BundleError::Hint`] or [`BundleError::Envelope`].
    pub fn verify(&self, key: &PublicKey) -> Result<VerifiedPayload, BundleError> {
        self.verification_material.check(key)?;
        self.dsse_envelope.said_to_be_of(key).verify_single(key).map_err(BundleError::Envelope)
    }

    /// SHA-256 of the SPKI of the key that is said to have signed.
    #[must_use]
    pub fn hint(&self) -> &[u8] {
        &self.verification_material.public_key.hint.0
    }
}

/// A sigstore bundle that proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Another shape.
    #[error("not a sigstore bundle v0.3 with public-key material")]
    Json(#[source] serde_json::Error),
    /// The hint is that of another key.
    #[error("the bundle's hint names another key")]
    Hint,
    /// The digest is that of other bytes.
    #[error("the bundle's digest is not that of the file")]
    Digest,
    /// The signature does not hold.
    #[error("the bundle's signature does not hold")]
    Signature(#[source] SignatureError),
    /// The envelope's signature does not hold.
    #[error("the bundle's envelope does not hold")]
    Envelope(#[source] EnvelopeError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::to_canonical;
    use crate::key::Algorithm;
    use crate::key::tests::{text, vector_key, vectors};

    #[test]
    fn bundle_of_the_vectors_verifies() {
        let all = vectors("bundle-sum.json");
        let bytes = text(&all, "bundleSum").as_bytes();
        let key = PublicKey::from_spki_pem(text(&all["sigstore"], "publicKey")).unwrap();
        let json = all["sigstore"]["bundle"].to_string();
        let bundle = MessageBundle::parse(json.as_bytes()).unwrap();
        bundle.verify(bytes, &key).unwrap();
        assert_eq!(bundle.hint(), key.spki_hint());
        let again: serde_json::Value =
            serde_json::from_slice(to_canonical(&bundle).unwrap().as_bytes()).unwrap();
        assert_eq!(again, all["sigstore"]["bundle"]);

        assert!(matches!(bundle.verify(&bytes[1..], &key), Err(BundleError::Digest)));
        let other = vector_key(Algorithm::Ed25519, "other");
        assert!(matches!(bundle.verify(bytes, other.public_key()), Err(BundleError::Hint)));
        let mut other = bundle.clone();
        other.message_signature.signature.0[0] ^= 1;
        assert!(matches!(other.verify(bytes, &key), Err(BundleError::Signature(_))));
    }

    #[test]
    fn what_is_signed_verifies_with_either_algorithm() {
        for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
            let key = vector_key(algorithm, "a");
            let bundle = MessageBundle::sign(b"bytes", &key).unwrap();
            bundle.verify(b"bytes", key.public_key()).unwrap();
            let envelope = Envelope::sign("text/plain", b"x".to_vec(), &key).unwrap();
            let bundle = DsseBundle::new(envelope.clone(), key.public_key());
            let bundle = DsseBundle::parse(to_canonical(&bundle).unwrap().as_bytes()).unwrap();
            assert_eq!(bundle.verify(key.public_key()).unwrap().bytes(), b"x");
            let other = vector_key(algorithm, "b");
            assert!(matches!(bundle.verify(other.public_key()), Err(BundleError::Hint)));
            let forged = DsseBundle::new(envelope, other.public_key());
            assert!(matches!(forged.verify(other.public_key()), Err(BundleError::Envelope(_))));
        }
    }

    #[test]
    fn an_envelope_that_names_no_key_verifies_with_the_key_of_the_hint() {
        let key = vector_key(Algorithm::EcdsaP256, "a");
        let envelope = Envelope::sign("text/plain", b"x".to_vec(), &key).unwrap();
        let named = to_canonical(&DsseBundle::new(envelope, key.public_key())).unwrap().into_string();
        let keyid = format!("\"keyid\":\"{}\",", key.public_key().key_id());
        let nameless = named.replace(&keyid, "");
        assert_ne!(nameless, named);
        let bundle = DsseBundle::parse(nameless.as_bytes()).unwrap();
        assert_eq!(bundle.verify(key.public_key()).unwrap().bytes(), b"x");
        assert_eq!(to_canonical(&bundle).unwrap().as_bytes(), nameless.as_bytes());
        let other = vector_key(Algorithm::EcdsaP256, "b");
        assert!(matches!(bundle.verify(other.public_key()), Err(BundleError::Hint)));

        let other = named.replace(&keyid, &format!("\"keyid\":\"{}\",", other.public_key().key_id()));
        let bundle = DsseBundle::parse(other.as_bytes()).unwrap();
        assert!(matches!(bundle.verify(key.public_key()), Err(BundleError::Envelope(_))));
        let signature = nameless.split_once("\"signatures\":[").unwrap().1.split_once(']').unwrap().0;
        let twice = nameless.replace(signature, &format!("{signature},{signature}"));
        let bundle = DsseBundle::parse(twice.as_bytes()).unwrap();
        assert!(matches!(bundle.verify(key.public_key()), Err(BundleError::Envelope(_))));
        let empty = named.replace(&keyid, "\"keyid\":\"\",");
        assert!(matches!(DsseBundle::parse(empty.as_bytes()), Err(BundleError::Json(_))));
    }

    #[test]
    fn bundles_with_other_material_are_refused() {
        let bundle = MessageBundle::sign(b"bytes", &vector_key(Algorithm::Ed25519, "a")).unwrap();
        let good = to_canonical(&bundle).unwrap().into_string();
        MessageBundle::parse(good.as_bytes()).unwrap();
        // Protobuf's JSON leaves an empty list out.
        MessageBundle::parse(good.replace(",\"tlogEntries\":[]", "").as_bytes()).unwrap();
        // What `cosign bundle create` writes; it is written anew as ours.
        let older = good.replace("bundle.v0.3+json", "bundle+json;version=0.3");
        assert_ne!(older, good);
        let bundle = MessageBundle::parse(older.as_bytes()).unwrap();
        assert_eq!(to_canonical(&bundle).unwrap().as_bytes(), good.as_bytes());
        for (from, to) in [
            ("v0.3", "v0.2"),
            ("bundle.v0.3+json", "bundle+json;version=0.2"),
            // What `cosign sign-blob` writes with an Ed25519 key, and refuses itself.
            ("\"algorithm\":\"SHA2_256\",", ""),
            ("SHA2_256", "SHA2_512"),
            ("\"tlogEntries\":[]", "\"tlogEntries\":[{}]"),
            ("\"tlogEntries\":[]", "\"tlogEntries\":[],\"timestampVerificationData\":{}"),
            ("\"hint\"", "\"x\":1,\"hint\""),
            ("\"publicKey\"", "\"certificate\""),
            ("\"messageSignature\"", "\"dsseEnvelope\""),
            ("\"mediaType\"", "\"mediatype\""),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert!(matches!(MessageBundle::parse(bad.as_bytes()), Err(BundleError::Json(_))), "{bad}");
        }
    }
}
