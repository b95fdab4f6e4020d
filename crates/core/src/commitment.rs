//! Commitments to the inputs of an execution, and its fingerprint (formats §3).
//!
//! ```text
//! inputs       = JCS {bundleHash, candidates?, policyId, policyVersion, principal, resource, signals}
//! secret       = HMAC(K, "chancery/v1/secret" 00 H(inputs))               K: the tenant's commitment key
//! key(name)    = HMAC(secret, "chancery/v1/field" 00 name)
//! commit(name) = HMAC(key(name), JCS [name, value])
//! signalsRoot  = H("chancery/v1/signals" 00 commit(n1) commit(n2) …)      names in UTF-8 order
//! ckey(i)      = HMAC(secret, "chancery/v1/candidate" 00 decimal(i))
//! ccommit(i)   = HMAC(ckey(i), JCS [id, signals])
//! candidatesRoot = H("chancery/v1/candidates" 00 ccommit(0) ccommit(1) …) request order
//! fingerprint  = H("chancery/v1/fingerprint" 00
//!                  JCS {bundleHash, candidatesRoot?, policyId, policyVersion, principal, resource, signalsRoot})
//! ```
//!
//! The roots show nothing of the signals to one who does not hold their keys, and an [`Opening`] gives out the keys
//! of just those that are to be seen. In *open* mode K is zero and everybody can guess; in *blinded* mode only a
//! holder of K can. That `secret` was really derived from K is the runtime's promise: nobody without K can check it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use thiserror::Error;
use zeroize::Zeroize as _;

use crate::canonical::{Canonical, CanonicalError, append_canonical, to_canonical};
use crate::digest::{
    BundleHash, CandidatesRoot, Fingerprint, Hasher, Hex32, HmacKey, ParseHashError, SignalsRoot,
    hmac_sha256, parse_hex32, sha256, sha256_parts, text_serde,
};
use crate::ids::{EntityUid, PolicyId, PolicyVersion};
use crate::signal::Signals;

mod opening;

pub use opening::{CandidateField, Field, Opening, OpeningError};

/// The most candidates that a request may have (formats §4.5).
pub const CANDIDATES_MAX: usize = 10_000;

/// A tenant's commitment key K. Never rotated: a repeat of a request must come to the same fingerprint. It is wiped
/// when it is dropped.
#[derive(Clone, Eq, PartialEq)]
pub struct TenantKey([u8; 32]);

impl TenantKey {
    /// The key of *open* mode, 32 zero bytes: anybody can recompute fingerprints from inputs.
    pub const OPEN: Self = Self([0; 32]);

    /// Takes the 32 bytes as they are.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes. They are a secret.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Drop for TenantKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for TenantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TenantKey(…)")
    }
}

/// A 32-byte value that is hexadecimal text in openings and is not shown otherwise.
macro_rules! disclosable {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Eq, PartialEq)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Takes the 32 bytes as they are.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }

        /// 64 lowercase hexadecimal digits. Only openings, which disclose it, should print it.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Hex32::of(&self.0).as_ref())
            }
        }

        impl FromStr for $name {
            type Err = ParseHashError;

            fn from_str(text: &str) -> Result<Self, ParseHashError> {
                parse_hex32(text).map(Self)
            }
        }

        text_serde!($name, "64 lowercase hexadecimal digits", |value: &$name| Hex32::of(&value.0));
    };
}

disclosable! {
    /// What all keys of one execution are derived from. Whoever has it can open every field. It is wiped when it is
    /// dropped.
    Secret
}
disclosable! {
    /// The key of one field or candidate. Whoever has it can test guesses of that one value.
    FieldKey
}
disclosable! {
    /// The commitment to one field or candidate. Says nothing without the key.
    Commitment
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Secret {
    /// The secret of an execution, from the tenant's key and the canonical bytes of its inputs.
    #[must_use]
    pub fn derive(key: &TenantKey, inputs: &Canonical) -> Self {
        Self(hmac_sha256(&key.0, &[b"chancery/v1/secret\0", &sha256(inputs.as_bytes())]))
    }
}

/// One of several things that a request asks to choose among (formats §4.5).
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Candidate {
    /// Its name, different from those of the request's other candidates.
    pub id: String,
    /// Its own signals, which stand before the request's.
    pub signals: Signals,
}

/// Everything that decides what comes out of an execution.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The content of the bundle.
    pub bundle_hash: &'a BundleHash,
    /// Its policy.
    pub policy_id: &'a PolicyId,
    /// Its version.
    pub policy_version: &'a PolicyVersion,
    /// Who asks.
    pub principal: &'a EntityUid,
    /// What is decided on.
    pub resource: &'a EntityUid,
    /// The facts.
    pub signals: &'a Signals,
    /// Between 1 and [`CANDIDATES_MAX`] candidates with different ids, or `None` if the request had none.
    pub candidates: Option<&'a [Candidate]>,
}

/// The wire form of [`Inputs`] without the last member, the signals.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InputsHead<'a> {
    bundle_hash: &'a BundleHash,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates: Option<&'a [Candidate]>,
    policy_id: &'a PolicyId,
    policy_version: &'a PolicyVersion,
    principal: &'a EntityUid,
    resource: &'a EntityUid,
}

impl Inputs<'_> {
    /// The canonical bytes of the inputs.
    ///
    /// # Errors
    /// [`CanonicalError`] if a signal has no canonical form; one that was typed has.
    pub fn to_canonical(&self) -> Result<Canonical, CanonicalError> {
        self.with(&to_canonical(self.signals)?)
    }

    /// The canonical bytes of the inputs, those of the signals being there already.
    fn with(&self, signals: &Canonical) -> Result<Canonical, CanonicalError> {
        let head = to_canonical(&InputsHead {
            bundle_hash: self.bundle_hash,
            candidates: self.candidates,
            policy_id: self.policy_id,
            policy_version: self.policy_version,
            principal: self.principal,
            resource: self.resource,
        })?;
        Ok(head.with_last("signals", signals))
    }
}

/// What [`commit`] makes of inputs. The secret is wiped when it is dropped; the inputs are not, as the request that they
/// came in is not.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The canonical bytes of the inputs.
    pub inputs: Canonical,
    /// Those of the signals among them.
    signals: Canonical,
    /// What the keys of all fields are derived from; goes into the opening and nowhere else.
    pub secret: Secret,
    /// Commits to all signals.
    pub signals_root: SignalsRoot,
    /// Commits to all candidates, if the request had any.
    pub candidates_root: Option<CandidatesRoot>,
    /// Names the execution by its inputs.
    pub fingerprint: Fingerprint,
}

/// Inputs that cannot be committed to.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum CommitError {
    /// Candidates are given, but none or too many.
    #[error("a request has 1 to {CANDIDATES_MAX} candidates or does not mention any, this has {got}")]
    CandidateCount {
        /// How many there are.
        got: usize,
    },
    /// Two candidates have the same id.
    #[error("the candidate `{0}` is there twice")]
    CandidateTwice(String),
    /// A signal has no canonical form.
    #[error("a signal has no canonical form")]
    Canonical(#[from] CanonicalError),
}

/// Commits to `inputs` under the tenant's key. Equal inputs under one key give equal results.
///
/// # Errors
/// [`CommitError`] if there are no, too many or repeated candidates, or a signal without a canonical form.
pub fn commit(key: &TenantKey, inputs: &Inputs<'_>) -> Result<Committed, CommitError> {
    if let Some(candidates) = inputs.candidates {
        check_candidates(candidates)?;
    }
    let signals = to_canonical(inputs.signals)?;
    let canonical = inputs.with(&signals)?;
    let secret = Secret::derive(key, &canonical);
    let mut committer = Committer::new(&secret);
    let signals_root = committer.signals_root(inputs.signals.iter().map(|(name, value)| (&**name, value)))?;
    let candidates_root = match inputs.candidates {
        Some(candidates) => Some(committer.candidates_root(candidates.iter().map(|c| (&*c.id, &c.signals)))?),
        None => None,
    };
    let fingerprint = fingerprint(
        inputs.bundle_hash,
        inputs.policy_id,
        inputs.policy_version,
        inputs.principal,
        inputs.resource,
        &signals_root,
        candidates_root.as_ref(),
    );
    Ok(Committed { inputs: canonical, signals, secret, signals_root, candidates_root, fingerprint })
}

fn check_candidates(candidates: &[Candidate]) -> Result<(), CommitError> {
    if candidates.is_empty() || candidates.len() > CANDIDATES_MAX {
        return Err(CommitError::CandidateCount { got: candidates.len() });
    }
    let mut ids = BTreeSet::new();
    match candidates.iter().find(|candidate| !ids.insert(&candidate.id)) {
        Some(candidate) => Err(CommitError::CandidateTwice(candidate.id.clone())),
        None => Ok(()),
    }
}

/// What the fingerprint is the hash of, its members in order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FingerprintBody<'a> {
    bundle_hash: &'a BundleHash,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates_root: Option<&'a CandidatesRoot>,
    policy_id: &'a PolicyId,
    policy_version: &'a PolicyVersion,
    principal: &'a EntityUid,
    resource: &'a EntityUid,
    signals_root: &'a SignalsRoot,
}

/// The fingerprint of an execution, from what its record says. Needs no secret: everybody can recompute it.
#[must_use]
#[expect(clippy::expect_used, reason = "an object of strings with different names has a canonical form")]
pub fn fingerprint(
    bundle_hash: &BundleHash,
    policy_id: &PolicyId,
    policy_version: &PolicyVersion,
    principal: &EntityUid,
    resource: &EntityUid,
    signals_root: &SignalsRoot,
    candidates_root: Option<&CandidatesRoot>,
) -> Fingerprint {
    let body = to_canonical(&FingerprintBody {
        bundle_hash,
        candidates_root,
        policy_id,
        policy_version,
        principal,
        resource,
        signals_root,
    })
    .expect("strings only");
    Fingerprint::from_bytes(sha256_parts(&[b"chancery/v1/fingerprint\0", body.as_bytes()]))
}

/// The hash over commitments to signals that the root of all signals begins with.
fn signals_hasher() -> Hasher {
    Hasher::new(b"chancery/v1/signals\0")
}

/// The hash over commitments to candidates that the root of all candidates begins with.
fn candidates_hasher() -> Hasher {
    Hasher::new(b"chancery/v1/candidates\0")
}

/// Derives keys from one secret and commits with them, in one buffer.
struct Committer {
    secret: HmacKey,
    message: String,
}

impl Committer {
    fn new(secret: &Secret) -> Self {
        Self { secret: HmacKey::new(&secret.0), message: String::new() }
    }

    fn field_key(&self, name: &str) -> FieldKey {
        FieldKey(self.secret.tag(&[b"chancery/v1/field\0", name.as_bytes()]))
    }

    fn candidate_key(&self, index: usize) -> FieldKey {
        FieldKey(self.secret.tag(&[b"chancery/v1/candidate\0", index.to_string().as_bytes()]))
    }

    /// The commitment to `[name, value]`: of a field its name and value, of a candidate its id and signals.
    fn commitment<T: Serialize + ?Sized>(
        message: &mut String,
        key: &FieldKey,
        name: &str,
        value: &T,
    ) -> Result<Commitment, CanonicalError> {
        message.clear();
        append_canonical(&(name, value), message)?;
        Ok(Commitment(hmac_sha256(&key.0, &[message.as_bytes()])))
    }

    /// The root of fields that come in the order of their names.
    fn signals_root<'v, T: Serialize + 'v>(
        &mut self,
        fields: impl Iterator<Item = (&'v str, &'v T)>,
    ) -> Result<SignalsRoot, CanonicalError> {
        let mut root = signals_hasher();
        for (name, value) in fields {
            let key = self.field_key(name);
            root.update(&Self::commitment(&mut self.message, &key, name, value)?.0);
        }
        Ok(SignalsRoot::from_bytes(root.finish()))
    }

    /// The root of candidates that come in request order.
    fn candidates_root<'v, T: Serialize + 'v>(
        &mut self,
        candidates: impl Iterator<Item = (&'v str, &'v T)>,
    ) -> Result<CandidatesRoot, CanonicalError> {
        let mut root = candidates_hasher();
        for (index, (id, signals)) in candidates.enumerate() {
            let key = self.candidate_key(index);
            root.update(&Self::commitment(&mut self.message, &key, id, signals)?.0);
        }
        Ok(CandidatesRoot::from_bytes(root.finish()))
    }
}

#[cfg(test)]
mod tests;
