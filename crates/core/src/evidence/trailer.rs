//! The last line: how many lines and which bytes stand before it, signed.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{TRAILER_PAYLOAD_TYPE, TrailerTag};
use crate::canonical::{Canonical, CanonicalError, to_canonical};
use crate::digest::Digest;
use crate::dsse::Envelope;
use crate::key::{SignError, Signer};

/// The last line.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Trailer {
    /// Always `trailer`.
    pub kind: TrailerTag,
    /// How many lines stand before it.
    pub lines: u64,
    /// SHA-256 of every byte before it.
    pub sha256: Digest,
    /// The exporter's signature over this line without this member.
    pub signature: Envelope,
}

/// What a trailer's signature covers.
#[derive(Serialize)]
struct Payload {
    kind: TrailerTag,
    lines: u64,
    sha256: Digest,
}

/// Why a trailer does not fit its file, before any key is looked at.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum TrailerError {
    /// Another number of lines.
    #[error("the trailer counts {claimed} lines before it, there are {found}")]
    Lines {
        /// What it says.
        claimed: u64,
        /// What there is.
        found: u64,
    },
    /// Other bytes.
    #[error("the bytes before the trailer are not those that it was made for")]
    Sha256,
    /// The signed payload is not this line.
    #[error("what is signed is not what the trailer says")]
    Payload,
    /// The payload type is not that of a trailer.
    #[error("the trailer is signed as something else than a trailer")]
    PayloadType,
}

/// Why a trailer could not be signed.
#[derive(Debug, Error)]
pub enum TrailerSignError {
    /// More lines than JSON can count.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// The signer failed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl Trailer {
    /// The trailer of a file.
    ///
    /// # Errors
    /// [`TrailerSignError`] when signing fails.
    pub fn sign(lines: u64, sha256: Digest, signer: &dyn Signer) -> Result<Self, TrailerSignError> {
        let payload = payload(lines, sha256)?.into_bytes();
        let signature = Envelope::sign(TRAILER_PAYLOAD_TYPE, payload, signer)?;
        Ok(Self { kind: TrailerTag, lines, sha256, signature })
    }

    /// Compares the trailer with the `lines` and the `sha256` of what stands before it, and its payload with
    /// itself. The signature over that payload is still to be verified.
    ///
    /// # Errors
    /// [`TrailerError`] for the first that differs.
    pub fn check(&self, lines: u64, sha256: &Digest) -> Result<(), TrailerError> {
        if self.lines != lines {
            return Err(TrailerError::Lines { claimed: self.lines, found: lines });
        }
        if self.sha256 != *sha256 {
            return Err(TrailerError::Sha256);
        }
        if self.signature.payload_type != TRAILER_PAYLOAD_TYPE {
            return Err(TrailerError::PayloadType);
        }
        match payload(self.lines, self.sha256) {
            Ok(payload) if payload.as_bytes() == self.signature.payload.as_slice() => Ok(()),
            _ => Err(TrailerError::Payload),
        }
    }
}

fn payload(lines: u64, sha256: Digest) -> Result<Canonical, CanonicalError> {
    to_canonical(&Payload { kind: TrailerTag, lines, sha256 })
}
