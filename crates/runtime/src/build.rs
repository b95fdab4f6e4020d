//! The build that decides: its identity is verified, bound to the running program, and logged, before it decides.
//!
//! ```text
//! build-identity.json ── blob signature by a build key, DSSE by the same key
//!   ├ subject digest   = SHA-256 of the running program
//!   └ sbom.sha256      = SHA-256 of the CycloneDX document
//!         │ logged once (kind 8)
//!         ▼
//! runtime.buildIdentity of every decision = SHA-256(build-identity.json)
//! ```

use chancery_core::dsse::Envelope;
use chancery_core::sigstore::MessageBundle;

/// The files of a release, as they lie beside its program (formats §8). Nothing about them is verified yet.
#[derive(Clone, Debug)]
pub struct BuildFiles {
    /// `build-identity.json`: the payload that is signed and that decisions name by hash.
    pub identity: Vec<u8>,
    /// `build-identity.sigstore.json`: the signature over it as a blob.
    pub signature: MessageBundle,
    /// `build-identity.dsse.json`: the same payload in an envelope, the log entry.
    pub envelope: Envelope,
    /// The CycloneDX document that the identity names.
    pub sbom: Vec<u8>,
}
