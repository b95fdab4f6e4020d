//! `chancery build verify FILE --bundle|--signature`: any file, and what one key signed about it.

use std::path::{Path, PathBuf};

use chancery_core::digest::Digest;
use chancery_core::key::PublicKey;
use chancery_supply::blob;
use serde_json::json;

use super::super::open::Home;
use super::super::{Exit, Failure};
use super::read;

/// Where the signature is. With none of them it is a release that is verified.
#[derive(Debug, clap::Args)]
#[group(id = "proof", multiple = false)]
pub(in crate::cli) struct Proof {
    /// Verify any file: its sigstore bundle, by `cosign sign-blob`, `cosign attest-blob` or `build sign`.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Verify any file: its signature in base64.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
}

impl Proof {
    /// Whether a file is to be verified, and not a release.
    pub(super) fn is_given(&self) -> bool {
        self.bundle.is_some() || self.signature.is_some()
    }
}

/// `kind` is the type of the statement that the bundle has to have; without one it signs the file itself.
pub(super) fn verify(
    path: &Path,
    proof: &Proof,
    kind: Option<&str>,
    key: &PublicKey,
    home: &Home<'_>,
) -> Result<Exit, Failure> {
    let bytes = read(path)?;
    let verified = match (&proof.bundle, &proof.signature, kind) {
        (Some(bundle), _, Some(kind)) => {
            blob::verify_attestation(&bytes, &read(bundle)?, kind, key).map(Some)
        }
        (Some(bundle), _, None) => blob::verify_bundle(&bytes, &read(bundle)?, key).map(|()| None),
        (None, Some(signature), _) => blob::verify_signature(&bytes, &read(signature)?, key).map(|()| None),
        (None, None, _) => {
            return Err(Failure::usage("there is no signature").help("give `--bundle` or `--signature`"));
        }
    };
    let signer = key.key_id();
    let predicate = verified.map_err(|error| {
        let what = format!("`{}` is not verified with the key {signer}", path.display());
        Failure::because(Exit::VerificationFailed, what, &error)
            .help("get the file, its signature and the key again, each from where it is made; `--type` is for attestations")
    })?;
    let sha256 = Digest::of(&bytes);
    let shown = json!({
        "verdict": "verified", "file": path, "sha256": sha256, "signer": signer,
        "predicateType": kind, "predicate": predicate,
    });
    home.output.print(&shown, |_| {
        let about = kind.map(|kind| format!("a statement `{kind}` about it ")).unwrap_or_default();
        format!("{} sha256:{sha256}\n{about}signed by {signer}\nverified", path.display())
    })?;
    Ok(Exit::Ok)
}
