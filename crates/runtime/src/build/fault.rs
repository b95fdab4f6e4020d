//! What is wrong with the files of a release, and what mends it. All faults are told at once.

use super::{BUNDLE, ENVELOPE, IDENTITY, SBOM, SIGNATURE};
use crate::failure::{Cause, Failure};
use chancery_core::digest::Digest;
use chancery_core::dsse::EnvelopeError;
use chancery_core::key::{KeyId, SignatureError};
use chancery_core::keyring::Standing;
use chancery_core::sigstore;
use chancery_core::statement::StatementError;
use std::error::Error;
use std::fmt;

/// The files of a release do not hold; nothing is decided with them.
#[derive(Debug)]
pub struct BuildError {
    /// Everything that is wrong; at least one.
    pub faults: Vec<BuildFault>,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the build identity does not hold, so nothing is decided")?;
        for fault in &self.faults {
            write!(f, "\n  {}: {fault}", fault.check())?;
            let mut source = fault.source();
            while let Some(error) = source {
                write!(f, ": {error}")?;
                source = error.source();
            }
            write!(f, "\n    to mend it, {}", fault.mend())?;
        }
        Ok(())
    }
}

impl Error for BuildError {}

/// One thing that is wrong with the files of a release.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildFault {
    /// A file is not there.
    #[error("`{file}` is missing")]
    Missing {
        /// Its name.
        file: &'static str,
    },
    /// The identity has another shape.
    #[error("`{IDENTITY}` is no build identity")]
    Identity(#[source] StatementError),
    /// The sigstore bundle does not hold, or is none.
    #[error("the signature `{BUNDLE}` does not hold for `{IDENTITY}`")]
    Bundle(#[source] sigstore::BundleError),
    /// The plain signature does not hold, or is none.
    #[error("the signature `{SIGNATURE}` does not hold for `{IDENTITY}`")]
    Signature {
        /// Why; none where it is no base64.
        #[source]
        source: Option<SignatureError>,
    },
    /// There is no envelope in the file.
    #[error("`{ENVELOPE}` is no DSSE envelope")]
    NoEnvelope(#[source] serde_json::Error),
    /// The envelope has another payload.
    #[error("`{ENVELOPE}` has another payload than `{IDENTITY}`")]
    OtherPayload,
    /// The envelope's signature does not hold.
    #[error("the signature of `{ENVELOPE}` does not hold")]
    Envelope(#[source] EnvelopeError),
    /// The key is in no keyring version.
    #[error("the key {key} that signed `{file}` is not in the keyring")]
    UnknownKey {
        /// The file.
        file: &'static str,
        /// The key, as the file names it.
        key: String,
    },
    /// The identity names another key.
    #[error("`{file}` is signed by {signed}, and `{IDENTITY}` names the signer {named}")]
    Signer {
        /// The file.
        file: &'static str,
        /// The key that is named.
        named: KeyId,
        /// The key that signed.
        signed: KeyId,
    },
    /// The key may not sign this.
    #[error("the key {key} is not good as `build` here")]
    Key {
        /// The key.
        key: KeyId,
        /// What is wrong with it.
        #[source]
        standing: Standing,
    },
    /// A key of another algorithm.
    #[error("the key {key} is no ECDSA P-256 key, which builds are signed with")]
    Algorithm {
        /// The key.
        key: KeyId,
    },
    /// Another program runs.
    #[error("the running program has the SHA-256 {running}, `{IDENTITY}` is about {named}")]
    Binary {
        /// The program that was signed.
        named: Digest,
        /// The program that runs.
        running: Digest,
    },
    /// Another bill of materials.
    #[error("`{SBOM}` has the SHA-256 {found}, `{IDENTITY}` names {named}")]
    Sbom {
        /// The one that was signed.
        named: Digest,
        /// The one that is there.
        found: Digest,
    },
}

impl BuildFault {
    /// The auditor's check that fails for the same reason (formats §10).
    #[must_use]
    pub fn check(&self) -> &'static str {
        match self {
            Self::Binary { .. } => "build.binding",
            Self::Sbom { .. } | Self::Missing { file: SBOM } => "build.sbom",
            _ => "build.signature",
        }
    }

    /// What helps.
    #[must_use]
    pub fn mend(&self) -> &'static str {
        match self {
            Self::Missing { .. } => {
                "copy every file of the release into one folder, and name it with `build` in chancery.toml where it is \
                 not the program's own"
            }
            Self::Identity(_) => {
                "make it with `chancery build identity`, and sign it with `chancery build sign`"
            }
            Self::Bundle(_) | Self::Signature { .. } | Self::NoEnvelope(_) | Self::Envelope(_) => {
                "fetch the release's files again: one of the two was changed, or sign anew with `chancery build sign`"
            }
            Self::OtherPayload | Self::Signer { .. } => {
                "sign both with one key and in one go: `chancery build sign`"
            }
            Self::UnknownKey { .. } | Self::Key { standing: Standing::Unknown | Standing::Role, .. } => {
                "have the builder's public key enrolled with the role `build`: `chancery key enroll`; on a log for \
                 tests `build = \"none\"` in chancery.toml decides without a build instead"
            }
            Self::Key { standing: Standing::Validity, .. } => {
                "have the key enrolled with a validity that begins before the build's `builtAt`, or make the build anew"
            }
            Self::Key { standing: Standing::Revoked, .. } => {
                "install a release that was signed with a key that is not revoked"
            }
            Self::Algorithm { .. } => "sign with an ECDSA P-256 key: `chancery build sign`",
            Self::Binary { .. } => {
                "install the program that these files were made for, or the files of this program's release"
            }
            Self::Sbom { .. } => "put the release's own bill of materials back",
        }
    }
}

impl Failure for BuildError {
    fn whose(&self) -> Cause {
        Cause::Refused
    }

    fn code(&self) -> &'static str {
        self.faults.first().map_or("build.signature", BuildFault::check)
    }

    fn detail(&self) -> String {
        "the program is not the build that was signed; the operator's log says why".to_owned()
    }
}
