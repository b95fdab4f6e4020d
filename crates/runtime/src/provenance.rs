//! Where a decision comes from: one document with everything that stood behind it when it was made.
//!
//! ```text
//! decision   statement, record id, signature          what was signed, models and labels included
//! policy     bundle, its signature, its activation, and for each outcome its policies: effect, reason, determined
//! keyring    the version in force                     who was trusted
//! build      identity as signed                       which source, tools and dependencies; null on a log for tests
//! log        the entry before, and its own            leaf hashes and chain hashes
//! ```
//! The body is canonical JSON (RFC 8785) of what was recorded up to the decision's own entry, and of nothing later:
//! no next entry, no state of now, no clock. So its bytes are the same from every node and for ever, whatever is
//! logged, activated, rotated or erased afterwards. It has no signal and no opening. What identifies somebody can
//! only be what the submitter wrote into ids and labels, and those are in the signed statement, which cannot be cut.
//!
//! The signature over the body is made when it is asked for, by the runtime key of that moment.
//! Sources: formats §4.1, §5, §7 and §8.

use crate::build::{LoggedBuild, LoggedBuildError, RecordedBuildError, read_logged};
use crate::bundles::{BundleError, LoadedBundle, verify_stored};
use crate::error::{RuntimeKeyError, store_cause, store_code, store_detail};
use crate::failure::{Cause, Failure};
use crate::records::{Activation, Entry, Records, StoreError};
use crate::runtime::{Runtime, read_keyring};
use chancery_core::b64;
use chancery_core::canonical::{Canonical, CanonicalError, to_canonical};
use chancery_core::digest::{BundleHash, ChainHash, Digest, LeafHash, RecordId};
use chancery_core::dsse::Signature;
use chancery_core::ids::{ExecutionId, PolicyId, PolicyVersion};
use chancery_core::key::{KeyId, SignError};
use chancery_core::keyring::{Keyring, KeyringError};
use chancery_core::log::{Kind, chain_next};
use chancery_core::sigstore::MessageBundle;
use chancery_core::statement::{Decision, Environment, Statement, StatementError};
use chancery_core::tile::{Content, Tile};
use chancery_policy::DescribedPolicy;
use chancery_store::Reader;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The name and version of the document.
pub const FORMAT: &str = "chancery.provenance/v1";

/// Leaves between two chain hashes that are kept: a multiple of a tile's 256.
const CHAIN_STEP: u64 = 65_536;

/// The document on one decision.
#[derive(Debug)]
pub struct Provenance {
    body: Canonical,
    trial: bool,
    signature: Option<ProvenanceSignature>,
}

/// A signature over the bytes of the body.
#[derive(Clone, Debug)]
pub struct ProvenanceSignature {
    /// The key: the runtime's, at the time when the document was asked for.
    pub key: KeyId,
    /// 64 bytes for Ed25519, DER for P-256: what `cosign verify-blob` takes in base64.
    pub signature: Vec<u8>,
}

impl Provenance {
    /// Canonical JSON.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.body.as_bytes()
    }

    /// SHA-256 of the body.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.body.as_bytes())
    }

    /// The signature. A decision of a log for tests that was made without a build has none, and neither has a
    /// document that was read without the runtime's key.
    #[must_use]
    pub fn signature(&self) -> Option<&ProvenanceSignature> {
        self.signature.as_ref()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    build: Option<BuildPart<'a>>,
    decision: DecisionPart<'a>,
    format: &'static str,
    keyring: KeyringPart,
    log: LogPart<'a>,
    policy: PolicyPart<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BuildPart<'a> {
    index: u64,
    payload: b64::Bytes,
    record_id: RecordId,
    signature: &'a MessageBundle,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DecisionPart<'a> {
    record_id: RecordId,
    signature: &'a Signature,
    statement: &'a Statement<Decision>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyringPart {
    index: u64,
    record_id: RecordId,
    version: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogPart<'a> {
    entry: EntryPart,
    origin: &'a str,
    previous: Option<EntryPart>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryPart {
    chain_hash: ChainHash,
    index: u64,
    kind: Kind,
    leaf_hash: LeafHash,
    record_id: RecordId,
}

impl EntryPart {
    fn of(entry: &Entry, chain_hash: ChainHash) -> Self {
        Self {
            chain_hash,
            index: entry.index,
            kind: entry.kind,
            leaf_hash: entry.leaf_hash,
            record_id: entry.record_id,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PolicyPart<'a> {
    activation: ActivationPart,
    bundle_hash: BundleHash,
    engine: &'a str,
    id: &'a PolicyId,
    outcomes: Vec<OutcomePart<'a>>,
    signature: &'a MessageBundle,
    signer: &'a KeyId,
    version: &'a PolicyVersion,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ActivationPart {
    index: u64,
    record_id: RecordId,
}

#[derive(Serialize)]
struct OutcomePart<'a> {
    outcome: &'a str,
    policies: Vec<PolicyUse<'a>>,
}

#[derive(Serialize)]
struct PolicyUse<'a> {
    determined: bool,
    #[serde(flatten)]
    policy: &'a DescribedPolicy,
}

/// What one read of the store has about a decision.
struct Facts {
    entry: Entry,
    previous: Option<Entry>,
    /// The chain hash before its own entry.
    chain: ChainHash,
    activation: Option<Activation>,
    statement: Statement<Decision>,
}

impl Runtime {
    /// The document on a decision, signed by the runtime's key; none where the id was never used.
    ///
    /// The body is the same at any time. A decision of a log for tests that names no build is not signed for.
    ///
    /// # Errors
    /// [`ProvenanceError`]; a key that does not sign, or may not any more, refuses, and an unsigned document is never given instead.
    pub fn provenance(&self, execution_id: &ExecutionId) -> Result<Option<Provenance>, ProvenanceError> {
        let inner = &self.inner;
        let keyring = inner.snapshot().keyring.clone();
        let load = |hash: &BundleHash| inner.load(&keyring, hash);
        let build = |hash: &Digest| inner.logged_build(&keyring, hash);
        let found = self.records().compose(&keyring, execution_id, load, build)?;
        let Some(mut provenance) = found else { return Ok(None) };
        if !provenance.trial {
            let key = inner.good_runtime_key::<ProvenanceError>()?;
            provenance.signature = Some(ProvenanceSignature {
                key: key.public_key().key_id().clone(),
                signature: key.sign(provenance.body())?,
            });
        }
        Ok(Some(provenance))
    }
}

impl Records {
    /// The document on a decision, without a signature; none where the id was never used.
    ///
    /// # Errors
    /// [`ProvenanceError`].
    pub fn provenance(&self, execution_id: &ExecutionId) -> Result<Option<Provenance>, ProvenanceError> {
        let keyring = self.store.read(read_keyring)??;
        let load = |hash: &BundleHash| {
            let stored = self.store.read(|reader| reader.bundle_by_hash(hash))?;
            stored.map(|stored| verify_stored(&keyring, stored, hash).map(Arc::new)).transpose()
        };
        self.compose(&keyring, execution_id, load, |hash| read_logged(&self.store, &keyring, hash))
    }

    fn compose(
        &self,
        keyring: &Keyring,
        execution_id: &ExecutionId,
        load: impl FnOnce(&BundleHash) -> Result<Option<Arc<LoadedBundle>>, BundleError>,
        load_build: impl FnOnce(&Digest) -> Result<Option<Arc<LoggedBuild>>, LoggedBuildError>,
    ) -> Result<Option<Provenance>, ProvenanceError> {
        let Some(facts) = self.store.read(|reader| Ok(self.facts(reader, execution_id)))?? else {
            return Ok(None);
        };
        let decision = &facts.statement.predicate;
        let index = facts.entry.index;
        let damaged = |what| ProvenanceError::Damaged { index, what };
        let version = keyring.version_before(index).ok_or(damaged("no keyring stands before it"))?;
        let activation = facts.activation.as_ref();
        let activation = activation
            .filter(|activation| activation.bundle_hash == decision.policy.bundle_hash)
            .ok_or(damaged("its bundle was not in force"))?;
        let loaded = load(&decision.policy.bundle_hash)?.ok_or(damaged("its bundle is not in the store"))?;
        let build = match &decision.runtime.build_identity {
            None => None,
            Some(hash) => Some(load_build(hash)?.ok_or(damaged("its build is not in the store"))?),
        };
        let build = build.as_deref().map(|build| BuildPart {
            index: build.index,
            payload: b64::Bytes(build.payload.clone()),
            record_id: build.record_id,
            signature: &build.signature,
        });
        let signature = facts.entry.signatures.first().ok_or(damaged("it has no signature"))?;
        let trial = decision.environment == Environment::Test && build.is_none();
        let body = Body {
            build,
            decision: DecisionPart {
                record_id: facts.entry.record_id,
                signature,
                statement: &facts.statement,
            },
            format: FORMAT,
            keyring: KeyringPart {
                index: version.index(),
                record_id: version.record(),
                version: version.predicate().version,
            },
            log: LogPart {
                entry: EntryPart::of(&facts.entry, chain_next(&facts.chain, &facts.entry.leaf_hash)),
                origin: &self.settings().log_origin,
                previous: facts.previous.as_ref().map(|entry| EntryPart::of(entry, facts.chain)),
            },
            policy: PolicyPart {
                activation: ActivationPart { index: activation.index, record_id: activation.record_id },
                bundle_hash: decision.policy.bundle_hash,
                engine: &decision.policy.engine,
                id: &decision.policy.id,
                outcomes: outcomes(&loaded, decision),
                signature: &loaded.signature,
                signer: &loaded.signer,
                version: &decision.policy.version,
            },
        };
        Ok(Some(Provenance { body: to_canonical(&body)?, trial, signature: None }))
    }

    fn facts(
        &self,
        reader: &mut Reader<'_>,
        execution_id: &ExecutionId,
    ) -> Result<Option<Facts>, ProvenanceError> {
        let Some(entry) = reader.decision(execution_id)?.map(|record| record.entry) else { return Ok(None) };
        let statement = Statement::<Decision>::parse_unverified(&entry.payload)
            .map_err(|source| ProvenanceError::Statement { index: entry.index, source })?;
        let policy = &statement.predicate.policy.id;
        let activations = reader.activations(Some(policy))?.into_iter();
        let activation = activations.take_while(|activation| activation.index < entry.index).last();
        let previous = match entry.index.checked_sub(1) {
            Some(before) => reader.entry(before)?,
            None => None,
        };
        let chain = self.chains.before(reader, entry.index)?;
        Ok(Some(Facts { entry, previous, chain, activation, statement }))
    }
}

/// What each outcome was asked of, and which policies determined the decision. Permits determine the outcome that
/// they allowed; forbids, where nothing was allowed, the fallback.
fn outcomes<'a>(loaded: &'a LoadedBundle, decision: &Decision) -> Vec<OutcomePart<'a>> {
    let body = &decision.decision;
    let outcomes = loaded.bundle.outcome_policies().iter().map(|asked| OutcomePart {
        outcome: &asked.outcome,
        policies: asked
            .policies
            .iter()
            .map(|policy| PolicyUse {
                determined: body.determining.contains(&policy.id)
                    && (policy.effect == "forbid" || asked.outcome == body.outcome),
                policy,
            })
            .collect(),
    });
    outcomes.collect()
}

/// Chain hashes that were computed before (formats §5): none of them ever changes. Each is 32 bytes for 65,536
/// entries; the first document on a late entry reads the leaf hashes before it, 256 at a time.
#[derive(Debug, Default)]
pub(crate) struct Chains(Mutex<BTreeMap<u64, ChainHash>>);

impl Chains {
    /// The chain hash over the first `size` entries.
    fn before(&self, reader: &mut Reader<'_>, size: u64) -> Result<ChainHash, StoreError> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut at, mut chain) =
            known.range(..=size).next_back().map_or((0, ChainHash::ZERO), |(at, chain)| (*at, *chain));
        drop(known);
        while at < size {
            // INVARIANT: `at` is a multiple of a tile's width, and a tile has at least one hash.
            let tile =
                Tile::of_tree(Content::Hashes { level: 0 }, at / chancery_core::tile::TILE_WIDTH, size);
            let hashes = tile.map(|tile| reader.tile(&tile)).transpose()?.flatten();
            let hashes = hashes.ok_or(StoreError::OutOfRange { asked: size, size: at })?;
            let (hashes, _) = hashes.as_chunks::<32>();
            for hash in hashes {
                chain = chain_next(&chain, &LeafHash::from_bytes(*hash));
                at += 1;
            }
            if at.is_multiple_of(CHAIN_STEP) {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(at, chain);
            }
        }
        Ok(chain)
    }
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvenanceError {
    /// What is recorded does not hold together.
    #[error("the decision at {index} cannot be traced: {what}; run `chancery fsck --full`")]
    Damaged {
        /// The decision's index.
        index: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// The decision does not parse.
    #[error("the record at {index} is damaged: run `chancery fsck`")]
    Statement {
        /// Its index.
        index: u64,
        /// What is wrong.
        #[source]
        source: StatementError,
    },
    /// The build does not hold.
    #[error(transparent)]
    Build(#[from] RecordedBuildError),
    /// The bundle does not hold.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The keyring does not hold.
    #[error("the keyring of the log cannot be trusted")]
    Keyring(#[from] KeyringError),
    /// The document has no canonical form.
    #[error("the document cannot be written down")]
    Canonical(#[from] CanonicalError),
    /// The runtime's key may not sign.
    #[error(transparent)]
    RuntimeKey(#[from] RuntimeKeyError),
    /// The runtime's key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<LoggedBuildError> for ProvenanceError {
    fn from(error: LoggedBuildError) -> Self {
        match error {
            LoggedBuildError::Recorded(error) => Self::Build(error),
            LoggedBuildError::Store(error) => Self::Store(error),
        }
    }
}

impl Failure for ProvenanceError {
    fn whose(&self) -> Cause {
        match self {
            Self::Damaged { .. }
            | Self::Statement { .. }
            | Self::Build(_)
            | Self::Keyring(_)
            | Self::Canonical(_) => Cause::Corrupt,
            Self::Bundle(error) => error.whose(),
            Self::RuntimeKey(_) | Self::Sign(_) => Cause::Unavailable,
            Self::Store(error) => store_cause(error),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Damaged { .. } | Self::Statement { .. } | Self::Build(_) => "store.corrupt",
            Self::Keyring(_) => "trust.keyring",
            Self::Canonical(_) => "runtime.internal",
            Self::Bundle(error) => error.code(),
            Self::RuntimeKey(_) | Self::Sign(_) => "runtime.key",
            Self::Store(error) => store_code(error),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::RuntimeKey(_) | Self::Sign(_) => {
                "the runtime's key cannot sign at the moment; retry".to_owned()
            }
            Self::Bundle(error) => error.detail(),
            Self::Store(error) => store_detail(error),
            _ => "what is recorded of the decision is damaged; the operator has to look at it".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
