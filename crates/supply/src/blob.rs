//! Any file and what somebody signed about it: the other side of `cosign sign-blob` and `cosign attest-blob`.
//!
//! ```text
//! file ─┬─ signature        base64 of the signature over the file's bytes
//!       ├─ sigstore bundle  the same kind of signature, and the file's digest
//!       └─ sigstore bundle  a DSSE envelope: a statement of a type, one of whose subjects has the file's SHA-256
//! ```
//!
//! A statement about a file is not the file's approval: it may say that the file is bad. So whoever asks says which type
//! of statement they want. Source: in-toto attestation framework, Statement v1; cosign writes v0.1 too.

use std::collections::BTreeMap;

use chancery_core::b64;
use chancery_core::digest::Digest;
use chancery_core::key::{PublicKey, SignatureError};
use chancery_core::sigstore::{BundleError, DsseBundle, MessageBundle};
use chancery_core::statement::STATEMENT_TYPE;
use serde::Deserialize;
use serde_json::Value;

/// The `_type` that cosign wrote before Statement v1.
const OLDER_STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v0.1";

/// Checks that `key` signed exactly these bytes. `text` is base64; a line ending is no part of it.
///
/// # Errors
/// [`BlobError::Base64`], [`BlobError::Signature`].
pub fn verify_signature(bytes: &[u8], text: &[u8], key: &PublicKey) -> Result<(), BlobError> {
    let text = std::str::from_utf8(text).map_err(|_| BlobError::Base64)?;
    let signature = b64::decode(text.trim_end_matches(['\r', '\n'])).map_err(|_| BlobError::Base64)?;
    Ok(key.verify(bytes, &signature)?)
}

/// Checks a bundle in whose message signature `key` signed exactly these bytes.
///
/// # Errors
/// [`BlobError::Bundle`].
pub fn verify_bundle(bytes: &[u8], bundle: &[u8], key: &PublicKey) -> Result<(), BlobError> {
    Ok(MessageBundle::parse(bundle)?.verify(bytes, key)?)
}

/// Checks a bundle in whose envelope `key` signed a statement of the type `wanted` about a file of these bytes, and
/// gives what it says: its predicate.
///
/// # Errors
/// [`BlobError`]: the envelope does not hold, or its payload is another statement or about other files.
pub fn verify_attestation(
    bytes: &[u8],
    bundle: &[u8],
    wanted: &str,
    key: &PublicKey,
) -> Result<Value, BlobError> {
    let payload = DsseBundle::parse(bundle)?.verify(key)?;
    let statement: Attested = serde_json::from_slice(payload.bytes()).map_err(BlobError::Statement)?;
    if ![STATEMENT_TYPE, OLDER_STATEMENT_TYPE].contains(&statement.statement_type.as_str()) {
        return Err(BlobError::StatementType(statement.statement_type));
    }
    if statement.predicate_type != wanted {
        return Err(BlobError::PredicateType { wanted: wanted.to_owned(), found: statement.predicate_type });
    }
    let sha256 = Digest::of(bytes).to_string();
    let about = statement.subject.iter().any(|subject| subject.digest.get("sha256") == Some(&sha256));
    if about { Ok(statement.predicate) } else { Err(BlobError::Subject { sha256 }) }
}

/// A statement of anybody's.
#[derive(Deserialize)]
struct Attested {
    #[serde(rename = "_type")]
    statement_type: String,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    subject: Vec<AttestedSubject>,
    #[serde(default)]
    predicate: Value,
}

#[derive(Deserialize)]
struct AttestedSubject {
    digest: BTreeMap<String, String>,
}

/// A file that is not what the key signed.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The signature is no base64.
    #[error("the signature is not base64")]
    Base64,
    /// The signature does not hold.
    #[error("the signature does not hold")]
    Signature(#[from] SignatureError),
    /// The bundle does not hold.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The envelope has something else in it.
    #[error("what was signed is no in-toto statement")]
    Statement(#[source] serde_json::Error),
    /// The envelope has a statement of a version that is not known.
    #[error("what was signed is a `{0}`, not a `{STATEMENT_TYPE}`")]
    StatementType(String),
    /// The statement says something of another kind.
    #[error("the statement is a `{found}`, and a `{wanted}` was asked for")]
    PredicateType {
        /// The type that was asked for.
        wanted: String,
        /// The type that was signed.
        found: String,
    },
    /// The statement is about other files.
    #[error("the statement is about other files: none of its subjects has SHA-256 {sha256}")]
    Subject {
        /// The file's.
        sha256: String,
    },
}

#[cfg(test)]
mod tests {
    use chancery_core::dsse::{Envelope, IN_TOTO};
    use chancery_core::key::{Signer as _, SigningKey};
    use serde_json::json;

    use super::*;

    const KIND: &str = "https://example.org/reviewed/v1";

    fn attested(statement: &Value, key: &SigningKey) -> Vec<u8> {
        let envelope = Envelope::sign(IN_TOTO, statement.to_string().into_bytes(), key).unwrap();
        serde_json::to_vec(&DsseBundle::new(envelope, key.public_key())).unwrap()
    }

    #[test]
    fn signatures_hold_for_their_bytes_and_key_alone() {
        let (key, other) =
            (SigningKey::generate_p256([7; 32]).unwrap(), SigningKey::generate_ed25519([8; 32]));
        for key in [&key, &other] {
            let blob = crate::release::sign_blob(b"bytes", key).unwrap();
            let public = key.public_key();
            verify_signature(b"bytes", format!("{}\r\n", blob.base64).as_bytes(), public).unwrap();
            verify_bundle(b"bytes", &blob.bundle, public).unwrap();
            let changed = verify_signature(b"bytez", blob.base64.as_bytes(), public);
            assert!(matches!(changed, Err(BlobError::Signature(_))));
            assert!(matches!(verify_signature(b"bytes", b"%", public), Err(BlobError::Base64)));
            assert!(matches!(verify_signature(b"bytes", b"\xff", public), Err(BlobError::Base64)));
            assert!(matches!(verify_bundle(b"bytez", &blob.bundle, public), Err(BlobError::Bundle(_))));
        }
        let blob = crate::release::sign_blob(b"bytes", &key).unwrap();
        assert!(verify_signature(b"bytes", blob.base64.as_bytes(), other.public_key()).is_err());
        assert!(verify_bundle(b"bytes", &blob.bundle, other.public_key()).is_err());
    }

    #[test]
    fn an_attestation_is_of_the_type_that_was_asked_for_and_about_the_file() {
        let key = SigningKey::generate_p256([7; 32]).unwrap();
        let verify = |statement: &Value, bytes: &[u8], wanted: &str| {
            verify_attestation(bytes, &attested(statement, &key), wanted, key.public_key())
        };
        let good = json!({
            "_type": STATEMENT_TYPE, "predicateType": KIND, "predicate": {"by": "us"},
            "subject": [{"name": "x", "digest": {"sha512": "00"}},
                        {"name": "file", "digest": {"sha256": Digest::of(b"bytes")}}],
        });
        assert_eq!(verify(&good, b"bytes", KIND).unwrap(), json!({"by": "us"}));
        let mut older = good.clone();
        older["_type"] = json!(OLDER_STATEMENT_TYPE);
        verify(&older, b"bytes", KIND).unwrap();

        assert!(matches!(verify(&good, b"bytez", KIND), Err(BlobError::Subject { .. })));
        let other = verify(&good, b"bytes", "https://example.org/bad/v1");
        assert!(matches!(other, Err(BlobError::PredicateType { .. })));
        let mut newer = good.clone();
        newer["_type"] = json!("https://in-toto.io/Statement/v2");
        assert!(matches!(verify(&newer, b"bytes", KIND), Err(BlobError::StatementType(_))));
        assert!(matches!(verify(&json!({"subject": []}), b"bytes", KIND), Err(BlobError::Statement(_))));

        let blob = crate::release::sign_blob(b"bytes", &key).unwrap();
        let as_statement = verify_attestation(b"bytes", &blob.bundle, KIND, key.public_key());
        assert!(matches!(as_statement, Err(BlobError::Bundle(BundleError::Json(_)))));
        let as_blob = verify_bundle(b"bytes", &attested(&good, &key), key.public_key());
        assert!(matches!(as_blob, Err(BlobError::Bundle(BundleError::Json(_)))));
    }
}
