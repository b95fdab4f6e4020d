//! The files of a release: signed, and checked down to the commit (formats §8).
//!
//! ```text
//! build-identity.json                   the statement, canonical JSON
//!   ├ build-identity.json.sig           base64 of the DER signature over those bytes, as `cosign sign-blob` writes it
//!   ├ build-identity.sigstore.json      the same kind of signature in a sigstore bundle v0.3
//!   └ build-identity.dsse.json          the statement in a DSSE envelope: the log entry
//! sbom.cdx.json                         the bill of materials that it names
//! <program>                             the program that it names
//! ```
//!
//! Three signatures by one key, since each has readers that know no other: plain cosign and OpenSSL, tools of
//! sigstore, in-toto verifiers and the log. Functions over bytes; the caller reads and writes files.

use std::fmt;

use chancery_core::b64;
use chancery_core::canonical::{CanonicalError, to_canonical};
use chancery_core::digest::Digest;
use chancery_core::dsse::{self, Envelope, EnvelopeError};
use chancery_core::key::{KeyId, PublicKey, SignError, SignatureError, Signer};
use chancery_core::sigstore::{BundleError, MessageBundle};
use chancery_core::statement::{BuildIdentity, Statement, StatementError};
use serde::Serialize;

use crate::identity::{IdentityError, check_key};

/// The statement.
pub const IDENTITY: &str = "build-identity.json";
/// Its signature alone.
pub const SIGNATURE: &str = "build-identity.json.sig";
/// Its signature in a sigstore bundle.
pub const BUNDLE: &str = "build-identity.sigstore.json";
/// The statement in its envelope.
pub const ENVELOPE: &str = "build-identity.dsse.json";
/// The bill of materials.
pub const SBOM: &str = "sbom.cdx.json";

/// A file's signature, in the two forms that cosign reads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BlobSignature {
    /// Base64 of the signature.
    pub base64: String,
    /// A sigstore bundle v0.3 in JSON, with the same signature.
    pub bundle: Vec<u8>,
}

/// Signs the bytes of any file.
///
/// # Errors
/// [`SignReleaseError`] of the key.
pub fn sign_blob(bytes: &[u8], signer: &dyn Signer) -> Result<BlobSignature, SignReleaseError> {
    let bundle = MessageBundle::sign(bytes, signer)?;
    let base64 = bundle.signature().to_string();
    Ok(BlobSignature { base64, bundle: to_canonical(&bundle)?.into_bytes() })
}

/// Signs a build identity: as a file, and as the envelope that is logged.
///
/// # Errors
/// [`SignReleaseError`]: a statement of another shape, or another key than the one that it names.
pub fn sign_identity(
    bytes: &[u8],
    signer: &dyn Signer,
) -> Result<(BlobSignature, Vec<u8>), SignReleaseError> {
    let statement = Statement::<BuildIdentity>::parse_unverified(bytes)?;
    check_key(signer.public_key())?;
    let (named, own) = (&statement.predicate.signer, signer.public_key().key_id());
    if named != own {
        return Err(SignReleaseError::Signer { named: named.clone(), own: own.clone() });
    }
    let envelope = Envelope::sign(dsse::IN_TOTO, bytes.to_vec(), signer)?;
    Ok((sign_blob(bytes, signer)?, to_canonical(&envelope)?.into_bytes()))
}

/// What could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignReleaseError {
    /// Not a build identity.
    #[error("the file is not the build identity that its name promises")]
    Statement(#[from] StatementError),
    /// A key that is no build key.
    #[error(transparent)]
    Key(#[from] IdentityError),
    /// Another key than the identity names.
    #[error(
        "the build identity names the key {named}, this one is {own}; make the identity with `--key` of this one"
    )]
    Signer {
        /// The key that the identity names.
        named: KeyId,
        /// The key that was given.
        own: KeyId,
    },
    /// The key failed.
    #[error("the key could not sign")]
    Sign(#[from] SignError),
    /// A signature that JSON cannot hold.
    #[error("the signature has no canonical form")]
    Canonical(#[from] CanonicalError),
}

/// A release as it was found. `None` is a file that is not there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files<'a> {
    /// [`IDENTITY`].
    pub identity: &'a [u8],
    /// [`SIGNATURE`].
    pub signature: Option<&'a [u8]>,
    /// [`BUNDLE`].
    pub bundle: Option<&'a [u8]>,
    /// [`ENVELOPE`].
    pub envelope: Option<&'a [u8]>,
    /// [`SBOM`].
    pub sbom: Option<&'a [u8]>,
    /// SHA-256 of the program.
    pub binary: Option<Digest>,
}

/// One thing that has to hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Check {
    /// The statement has the shape of a build identity and is canonical.
    Statement,
    /// The key is an ECDSA P-256 key and the one that the statement names.
    Key,
    /// The signature alone holds.
    Signature,
    /// The sigstore bundle holds.
    Bundle,
    /// The envelope holds, and its payload is the statement.
    Envelope,
    /// The program is the statement's first subject.
    Binary,
    /// The bill of materials is the one that the statement names.
    Sbom,
}

impl Check {
    /// The auditor's check that asks the same of evidence (formats §10). This list is the finer one: each file by itself.
    #[must_use]
    pub const fn in_evidence(self) -> &'static str {
        match self {
            Self::Binary => "build.binding",
            Self::Sbom => "build.sbom",
            Self::Statement | Self::Key | Self::Signature | Self::Bundle | Self::Envelope => {
                "build.signature"
            }
        }
    }

    /// Its stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Statement => "build.statement",
            Self::Key => "build.key",
            Self::Signature => "build.signature",
            Self::Bundle => "build.bundle",
            Self::Envelope => "build.envelope",
            Self::Binary => "build.binding",
            Self::Sbom => "build.sbom",
        }
    }
}

impl Serialize for Check {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// How a check ended.
#[derive(Debug)]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It does not.
    Fail(Fault),
    /// What it needs is not there.
    Missing,
}

/// Every check, in order, and what the release says about itself.
#[derive(Debug)]
pub struct Report {
    /// SHA-256 of the statement, by which decisions name the build.
    pub identity: Digest,
    /// What it says; to be believed where [`Report::failed`] is false.
    pub statement: Option<Statement<BuildIdentity>>,
    /// One outcome for each check.
    pub checks: Vec<(Check, Outcome)>,
}

impl Report {
    /// Whether something is wrong.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.checks.iter().any(|(_, outcome)| matches!(outcome, Outcome::Fail(_)))
    }

    /// Whether something could not be checked.
    #[must_use]
    pub fn incomplete(&self) -> bool {
        self.checks.iter().any(|(_, outcome)| matches!(outcome, Outcome::Missing))
    }
}

/// Checks a release with the key that is trusted to have signed it. Every fault is found, not only the first.
#[must_use]
pub fn verify(files: &Files<'_>, key: &PublicKey) -> Report {
    verify_by(files, |_| Some(key))
}

/// The same with the key that `trusted` has for the identity, as far as that can be read; with none, what needs it is
/// [`Outcome::Missing`].
#[must_use]
pub fn verify_by<'k>(
    files: &Files<'_>,
    trusted: impl FnOnce(Option<&Statement<BuildIdentity>>) -> Option<&'k PublicKey>,
) -> Report {
    let parsed = Statement::<BuildIdentity>::parse_unverified(files.identity);
    let statement = parsed.as_ref().ok();
    let key = trusted(statement);
    type Signed = fn(&[u8], &[u8], &PublicKey) -> Result<(), Fault>;
    let given = |bytes: Option<&[u8]>, check: Signed| match bytes.zip(key) {
        None => Outcome::Missing,
        Some((bytes, key)) => outcome(check(bytes, files.identity, key)),
    };
    let key_check = match statement.zip(key) {
        None => Outcome::Missing,
        Some((statement, key)) => outcome(check_signer(statement, key)),
    };
    let binary = match (files.binary, statement.and_then(|statement| statement.subject.first())) {
        (Some(found), Some(named)) => outcome(same(named.digest.sha256, found)),
        _ => Outcome::Missing,
    };
    let sbom = match (files.sbom, statement) {
        (Some(bytes), Some(statement)) => outcome(same(statement.predicate.sbom.sha256, Digest::of(bytes))),
        _ => Outcome::Missing,
    };
    let mut checks = vec![
        (Check::Key, key_check),
        (Check::Signature, given(files.signature, check_signature)),
        (Check::Bundle, given(files.bundle, check_bundle)),
        (Check::Envelope, given(files.envelope, check_envelope)),
        (Check::Binary, binary),
        (Check::Sbom, sbom),
    ];
    let identity = Digest::of(files.identity);
    let (statement, first) = match parsed {
        Ok(statement) => (Some(statement), Outcome::Pass),
        Err(error) => (None, Outcome::Fail(Fault::Statement(error))),
    };
    checks.insert(0, (Check::Statement, first));
    Report { identity, statement, checks }
}

fn outcome(result: Result<(), Fault>) -> Outcome {
    result.map_or_else(Outcome::Fail, |()| Outcome::Pass)
}

fn check_signer(statement: &Statement<BuildIdentity>, key: &PublicKey) -> Result<(), Fault> {
    check_key(key).map_err(Fault::Key)?;
    let named = &statement.predicate.signer;
    if named == key.key_id() {
        Ok(())
    } else {
        Err(Fault::Signer { named: named.clone(), trusted: key.key_id().clone() })
    }
}

fn same(named: Digest, found: Digest) -> Result<(), Fault> {
    if named == found { Ok(()) } else { Err(Fault::Digest { named, found }) }
}

/// The file is base64; a line ending, which other tools write, is no part of it.
fn check_signature(text: &[u8], identity: &[u8], key: &PublicKey) -> Result<(), Fault> {
    let text = std::str::from_utf8(text).map_err(|_| Fault::Base64)?;
    let signature = b64::decode(text.trim_end_matches(['\r', '\n'])).map_err(|_| Fault::Base64)?;
    key.verify(identity, &signature).map_err(Fault::Signature)
}

fn check_bundle(text: &[u8], identity: &[u8], key: &PublicKey) -> Result<(), Fault> {
    MessageBundle::parse(text).and_then(|bundle| bundle.verify(identity, key)).map_err(Fault::Bundle)
}

fn check_envelope(text: &[u8], identity: &[u8], key: &PublicKey) -> Result<(), Fault> {
    let envelope: Envelope = serde_json::from_slice(text).map_err(Fault::EnvelopeJson)?;
    let payload = envelope.verify_single(key).map_err(Fault::Envelope)?;
    if payload.bytes() != identity {
        return Err(Fault::Payload);
    }
    Statement::<BuildIdentity>::parse(&payload).map(drop).map_err(Fault::Statement)
}

/// Why a check does not hold.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Not a build identity.
    #[error("the file is no build identity")]
    Statement(#[source] StatementError),
    /// The trusted key is no build key.
    #[error("the key is no build key")]
    Key(#[source] IdentityError),
    /// Another key is named.
    #[error("the build identity names the key {named}; the trusted one is {trusted}")]
    Signer {
        /// The key that the identity names.
        named: KeyId,
        /// The key that was given.
        trusted: KeyId,
    },
    /// The signature file is not base64.
    #[error("the file is not base64 of a signature")]
    Base64,
    /// The signature does not hold.
    #[error("the signature does not hold")]
    Signature(#[source] SignatureError),
    /// The bundle does not hold.
    #[error("the bundle does not hold")]
    Bundle(#[source] BundleError),
    /// The envelope cannot be read.
    #[error("the file is no DSSE envelope")]
    EnvelopeJson(#[source] serde_json::Error),
    /// The envelope does not hold.
    #[error("the envelope does not hold")]
    Envelope(#[source] EnvelopeError),
    /// The envelope holds another payload.
    #[error("the envelope's payload is not the bytes of {IDENTITY}")]
    Payload,
    /// Other bytes than those that are named.
    #[error("the file has SHA-256 {found}; the build identity names {named}")]
    Digest {
        /// What is signed.
        named: Digest,
        /// What is there.
        found: Digest,
    },
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use chancery_core::key::SigningKey;

    use super::*;
    use crate::identity::tests::{bill, identity, key};

    /// The files of a signed release of a program of seven bytes.
    struct Release {
        identity: Vec<u8>,
        signature: Vec<u8>,
        bundle: Vec<u8>,
        envelope: Vec<u8>,
        sbom: Vec<u8>,
    }

    impl Release {
        fn new() -> Self {
            let sbom = bill();
            let identity = identity(b"program", &sbom, key().public_key()).to_payload().unwrap().into_bytes();
            let (blob, envelope) = sign_identity(&identity, &key()).unwrap();
            Self { identity, signature: blob.base64.into_bytes(), bundle: blob.bundle, envelope, sbom }
        }

        fn files(&self) -> Files<'_> {
            Files {
                identity: &self.identity,
                signature: Some(&self.signature),
                bundle: Some(&self.bundle),
                envelope: Some(&self.envelope),
                sbom: Some(&self.sbom),
                binary: Some(Digest::of(b"program")),
            }
        }
    }

    /// The names of the checks that failed and of those that could not be made.
    fn wrong(files: &Files<'_>, key: &PublicKey) -> (Vec<&'static str>, Vec<&'static str>) {
        let report = verify(files, key);
        let of = |which: fn(&Outcome) -> bool| {
            let chosen = report.checks.iter().filter(|(_, outcome)| which(outcome));
            chosen.map(|(check, _)| check.as_str()).collect()
        };
        (of(|outcome| matches!(outcome, Outcome::Fail(_))), of(|outcome| matches!(outcome, Outcome::Missing)))
    }

    #[test]
    fn a_release_verifies_and_names_its_commit() {
        let release = Release::new();
        let report = verify(&release.files(), key().public_key());
        assert!(!report.failed() && !report.incomplete(), "{:?}", report.checks);
        assert_eq!(report.identity, Digest::of(&release.identity));
        assert_eq!(report.statement.unwrap().predicate.git.tag.as_deref(), Some("v0.1.0"));
    }

    #[test]
    fn each_changed_file_fails_its_own_check() {
        let release = Release::new();
        let (key, good) = (key(), release.files());
        let fails = |files: Files<'_>, checks: &[&str]| assert_eq!(wrong(&files, key.public_key()).0, checks);
        fails(Files { binary: Some(Digest::of(b"prograM")), ..good }, &["build.binding"]);
        let mut sbom = release.sbom.clone();
        sbom[10] ^= 1;
        fails(Files { sbom: Some(&sbom), ..good }, &["build.sbom"]);
        fails(Files { signature: Some(b"AAAA"), ..good }, &["build.signature"]);
        fails(Files { signature: Some(b"not base64"), ..good }, &["build.signature"]);
        fails(Files { bundle: Some(b"{}"), ..good }, &["build.bundle"]);
        fails(Files { envelope: Some(b"{}"), ..good }, &["build.envelope"]);
        let with_newline = [release.signature.as_slice(), b"\n"].concat();
        fails(Files { signature: Some(&with_newline), ..good }, &[]);

        // The signatures of one identity beside another.
        let other = identity(b"other", &release.sbom, key.public_key()).to_payload().unwrap();
        let files = Files { identity: other.as_bytes(), binary: Some(Digest::of(b"other")), ..good };
        fails(files, &["build.signature", "build.bundle", "build.envelope"]);

        // Not even a statement.
        let cut = &release.identity[..release.identity.len() - 1];
        let all = ["build.statement", "build.signature", "build.bundle", "build.envelope"];
        assert_eq!(
            wrong(&Files { identity: cut, ..good }, key.public_key()),
            (all.to_vec(), vec!["build.key", "build.binding", "build.sbom"])
        );
    }

    #[test]
    fn another_key_fails_everything_that_is_signed() {
        let release = Release::new();
        let signed = vec!["build.key", "build.signature", "build.bundle", "build.envelope"];
        let other = SigningKey::generate_p256([8; 32]).unwrap();
        assert_eq!(wrong(&release.files(), other.public_key()), (signed.clone(), vec![]));
        let ed25519 = SigningKey::generate_ed25519([7; 32]);
        assert_eq!(wrong(&release.files(), ed25519.public_key()), (signed, vec![]));
    }

    #[test]
    fn what_is_not_there_is_not_checked_and_said_to_be_so() {
        let release = Release::new();
        let files = Files { identity: &release.identity, ..Files::default() };
        let missing = ["build.signature", "build.bundle", "build.envelope", "build.binding", "build.sbom"];
        assert_eq!(wrong(&files, key().public_key()), (vec![], missing.to_vec()));
    }

    #[test]
    fn identities_are_signed_by_the_key_that_they_name() {
        let release = Release::new();
        let other = SigningKey::generate_p256([8; 32]).unwrap();
        assert!(matches!(sign_identity(&release.identity, &other), Err(SignReleaseError::Signer { .. })));
        let ed25519 = SigningKey::generate_ed25519([7; 32]);
        assert!(matches!(sign_identity(&release.identity, &ed25519), Err(SignReleaseError::Key(_))));
        assert!(matches!(sign_identity(b"{}", &key()), Err(SignReleaseError::Statement(_))));
        sign_blob(b"any bytes", &ed25519).unwrap();
    }
}
