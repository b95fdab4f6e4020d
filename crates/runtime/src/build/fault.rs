//! What is wrong with the files of a release, and what mends it. All faults are told at once.

use super::{BUNDLE, ENVELOPE, IDENTITY, SBOM, SIGNATURE};
use crate::failure::{Cause, Failure};
use chancery_core::key::KeyId;
use chancery_core::keyring::Standing;
use chancery_supply::release::{self, Check};
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
    /// A file is not what it has to be.
    #[error("{} is not what it has to be", place(*check))]
    Release {
        /// Which one, and what was asked of it.
        check: Check,
        /// What is wrong.
        #[source]
        source: release::Fault,
    },
    /// The key is in no keyring version.
    #[error("the key {key} that `{IDENTITY}` names is not in the keyring")]
    UnknownKey {
        /// The key.
        key: KeyId,
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
}

impl BuildFault {
    /// The auditor's check that fails for the same reason (formats §10).
    #[must_use]
    pub fn check(&self) -> &'static str {
        match self {
            Self::Release { check, .. } => check.in_evidence(),
            Self::Missing { file: SBOM } => "build.sbom",
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
            Self::Release { check: Check::Statement, .. } => {
                "make it with `chancery build identity`, and sign it with `chancery build sign`"
            }
            Self::Release { source: release::Fault::Payload, .. } => {
                "sign both with one key and in one go: `chancery build sign`"
            }
            Self::Release { check: Check::Signature | Check::Bundle | Check::Envelope, .. } => {
                "fetch the release's files again: one of the two was changed, or sign anew with `chancery build sign`"
            }
            Self::Release { check: Check::Key, .. } => "sign with an ECDSA P-256 key: `chancery build sign`",
            Self::Release { check: Check::Binary, .. } => {
                "install the program that these files were made for, or the files of this program's release"
            }
            Self::Release { check: Check::Sbom, .. } => "put the release's own bill of materials back",
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
        }
    }
}

/// The file, or the program, that a check is about.
fn place(check: Check) -> String {
    let file = match check {
        Check::Statement | Check::Key => IDENTITY,
        Check::Signature => SIGNATURE,
        Check::Bundle => BUNDLE,
        Check::Envelope => ENVELOPE,
        Check::Sbom => SBOM,
        Check::Binary => return "the running program".to_owned(),
    };
    format!("`{file}`")
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
