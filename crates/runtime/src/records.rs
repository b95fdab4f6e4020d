//! Reading what was recorded: decisions with their state, the log, its proofs and tiles.
//!
//! [`Records`] needs no key and writes nothing, so it also opens a log beside the process that serves it. Whatever it
//! gives out was parsed and hashed on the way out of the store. The serialised forms are those of the HTTP API.

use crate::answer::{AnswerPolicy, LogPosition};
use crate::edge::Clock;
use crate::error::{store_cause, store_code, store_detail};
use crate::failure::{Cause, Failure};
use crate::provenance::Chains;
use crate::runtime::Runtime;
use chancery_core::checkpoint::{CheckpointError, SignedCheckpoint};
use chancery_core::digest::{ChainHash, Fingerprint, LeafHash, RecordId, RootHash, SignalsRoot};
use chancery_core::dsse::Envelope;
use chancery_core::ids::{EntityUid, ExecutionId, PolicyId, TenantId};
use chancery_core::key::KeyId;
use chancery_core::log::Kind;
use chancery_core::merkle::{ProofError, verify_inclusion};
use chancery_core::statement::{Decision, ExecutionState, ResolutionStatus, Statement, StatementError};
use chancery_core::tile::Tile;
use chancery_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

use chancery_store::Location;
pub use chancery_store::{
    Activation, ConfirmationState, Cursor, DecisionFilter, DecisionRecord, DecisionSummary, Entry, Finding,
    Grade, Head, Order, PublishedBundle, SchemaStep, Settings, Stats, StatsRow, Store, StoreError,
    StoredCheckpoint, measure,
};

/// Everything that can be read of a log.
#[derive(Clone)]
pub struct Records {
    pub(crate) store: Arc<Store>,
    pub(crate) chains: Arc<Chains>,
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Records({})", self.store.settings().log_origin)
    }
}

/// A decision in a list.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ListedDecision {
    /// The caller's id.
    pub execution_id: ExecutionId,
    /// The fingerprint.
    pub execution_fingerprint: Fingerprint,
    /// The outcome, as decided.
    pub decision: String,
    /// The state, as decided.
    pub execution_state: ExecutionState,
    /// What became of it.
    pub current: Current,
    /// Which bundle decided.
    pub policy: AnswerPolicy,
    /// When it was decided.
    pub executed_at: Timestamp,
    /// Who submitted.
    pub principal: EntityUid,
    /// What was decided on.
    pub resource: EntityUid,
    /// The commitment to the signals.
    pub signals_root: SignalsRoot,
    /// The caller's labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its index in the log.
    pub index: u64,
}

/// A decision's state now, derived from later entries.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Current {
    /// `completed` once an override case is resolved.
    pub state: ExecutionState,
    /// The outcome that holds.
    pub outcome: String,
    /// How the override case ended, where there was one and it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<ResolutionStatus>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
}

/// A page of a list.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DecisionList {
    /// The decisions.
    pub items: Vec<ListedDecision>,
    /// Where the next page begins, if there is one: opaque.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One decision, whole.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DecisionDetail {
    /// What a list shows.
    #[serde(flatten)]
    pub listed: ListedDecision,
    /// What was signed, readable.
    pub statement: Decision,
    /// What was signed, exactly.
    pub attestation: Envelope,
    /// H(PAE) of it.
    pub record_id: RecordId,
    /// The key that signed.
    pub signer: KeyId,
    /// Where it stands in the log.
    pub log: LogPosition,
    /// When it became durable.
    pub recorded_at: Timestamp,
}

/// Where the log stands.
#[derive(Clone, Debug, Serialize)]
pub struct LogHead {
    /// The log's origin.
    pub origin: String,
    /// How many entries there are.
    pub size: u64,
    /// The root of the tree.
    pub root_hash: RootHash,
    /// The chain after the last entry.
    pub chain_hash: ChainHash,
    /// The newest checkpoint, a signed note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

/// The proof that a record is in the log.
#[derive(Clone, Debug, Serialize)]
pub struct Inclusion {
    /// The record's index.
    pub index: u64,
    /// The size of the tree that the proof leads to: that of `checkpoint`.
    pub size: u64,
    /// What the entry is.
    pub kind: Kind,
    /// The record.
    pub record_id: RecordId,
    /// The entry's leaf hash.
    pub leaf_hash: LeafHash,
    /// RFC 6962 inclusion path.
    pub hashes: Vec<RootHash>,
    /// The checkpoint, a signed note.
    pub checkpoint: String,
}

/// The proof that one tree continues another.
#[derive(Clone, Debug, Serialize)]
pub struct Consistency {
    /// The size of the older tree.
    pub from: u64,
    /// The size of the newer tree.
    pub to: u64,
    /// The root of the older tree.
    pub from_root: RootHash,
    /// The root of the newer tree.
    pub to_root: RootHash,
    /// RFC 6962 consistency path.
    pub hashes: Vec<RootHash>,
}

impl From<DecisionSummary> for ListedDecision {
    fn from(summary: DecisionSummary) -> Self {
        Self {
            execution_id: summary.execution_id,
            execution_fingerprint: summary.fingerprint,
            decision: summary.outcome,
            execution_state: summary.state,
            current: Current {
                state: summary.current.state,
                outcome: summary.current.outcome,
                resolution: summary.current.resolution,
                resolved_at: summary.current.resolved_at,
            },
            policy: AnswerPolicy {
                id: summary.policy_id,
                version: summary.policy_version,
                bundle_hash: summary.bundle_hash,
            },
            executed_at: summary.executed_at,
            principal: summary.principal,
            resource: summary.resource,
            signals_root: summary.signals_root,
            labels: summary.labels,
            index: summary.index,
        }
    }
}

impl Runtime {
    /// What was recorded.
    #[must_use]
    pub fn records(&self) -> Records {
        Records { store: Arc::clone(&self.inner.store), chains: Arc::clone(&self.inner.chains) }
    }
}

impl Records {
    /// Opens a log for reading alone, beside whoever writes it.
    ///
    /// # Errors
    /// [`RecordsError`] when there is no store, or none of ours.
    pub fn open(
        database: &Location,
        tenant: Option<&TenantId>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RecordsError> {
        let options = chancery_store::Options::new(Arc::new(move || clock.now()));
        Ok(Self {
            store: Arc::new(Store::open_reading_at(database, tenant, &options)?),
            chains: Arc::default(),
        })
    }

    /// Which log this is.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        self.store.settings()
    }

    /// A page of decisions, at most `limit` of them (and at most 1,000), from where `after` says.
    ///
    /// # Errors
    /// [`RecordsError`]; a cursor that this list did not give out is the caller's.
    pub fn list(
        &self,
        filter: &DecisionFilter,
        order: Order,
        after: Option<&str>,
        limit: u32,
    ) -> Result<DecisionList, RecordsError> {
        let after = after.map(str::parse::<Cursor>).transpose()?;
        let page = self.store.read(|reader| reader.decisions(filter, order, after, limit))?;
        Ok(DecisionList {
            items: page.items.into_iter().map(ListedDecision::from).collect(),
            next: page.next.map(|cursor| cursor.to_string()),
        })
    }

    /// One decision; none where the id was never used.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn get(&self, execution_id: &ExecutionId) -> Result<Option<DecisionDetail>, RecordsError> {
        let Some(DecisionRecord { summary, entry }) =
            self.store.read(|reader| reader.decision(execution_id))?
        else {
            return Ok(None);
        };
        let statement = Statement::<Decision>::parse_unverified(&entry.payload)
            .map_err(|source| RecordsError::Statement { index: entry.index, source })?;
        Ok(Some(DecisionDetail {
            log: LogPosition { index: entry.index, leaf_hash: entry.leaf_hash },
            recorded_at: entry.recorded_at,
            record_id: entry.record_id,
            signer: statement.predicate.signer.clone(),
            statement: statement.predicate,
            attestation: entry.into_envelope(),
            listed: summary.into(),
        }))
    }

    /// Every log entry about an execution, the decision first.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn entries_about(&self, execution_id: &ExecutionId) -> Result<Vec<Entry>, RecordsError> {
        Ok(self.store.read(|reader| reader.entries_about(execution_id))?)
    }

    /// How many decisions there are of each policy, outcome, state and day.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn stats(&self, filter: &DecisionFilter) -> Result<Stats, RecordsError> {
        Ok(self.store.read(|reader| reader.stats(filter))?)
    }

    /// The history of what was in force, of one policy or of all, oldest first.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn activations(&self, policy: Option<&PolicyId>) -> Result<Vec<Activation>, RecordsError> {
        Ok(self.store.read(|reader| reader.activations(policy))?)
    }

    /// Every published bundle, by policy and in order of publication.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn bundles(&self) -> Result<Vec<PublishedBundle>, RecordsError> {
        Ok(self.store.read(|reader| reader.bundles())?)
    }

    /// Every keyring version with its log index, oldest first.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn keyring_versions(&self) -> Result<Vec<(u64, Envelope)>, RecordsError> {
        Ok(self.store.read(|reader| reader.keyring_versions())?)
    }

    /// Where the log stands, with its newest checkpoint.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn head(&self) -> Result<LogHead, RecordsError> {
        let (head, checkpoint) =
            self.store.read(|reader| Ok((reader.head()?, reader.checkpoint_newest()?)))?;
        Ok(LogHead {
            origin: self.store.settings().log_origin.clone(),
            size: head.size,
            root_hash: head.root_hash,
            chain_hash: head.chain_hash,
            checkpoint: checkpoint.map(|checkpoint| checkpoint.note),
        })
    }

    /// The newest checkpoint, a signed note; none before the first one.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn checkpoint(&self) -> Result<Option<StoredCheckpoint>, RecordsError> {
        Ok(self.store.read(|reader| reader.checkpoint_newest())?)
    }

    /// The entry at an index.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn entry(&self, index: u64) -> Result<Option<Entry>, RecordsError> {
        Ok(self.store.read(|reader| reader.entry(index))?)
    }

    /// The proof that the entry at `index` is in the newest checkpoint; none where that does not cover it yet. It
    /// was verified against the root in that checkpoint's note.
    ///
    /// # Errors
    /// [`RecordsError`]; one of the operator's when the proof would not hold.
    pub fn inclusion(&self, index: u64) -> Result<Option<Inclusion>, RecordsError> {
        let inclusion = self.store.read(|reader| {
            let (entry, checkpoint) = (reader.entry(index)?, reader.checkpoint_newest()?);
            let (Some(entry), Some(checkpoint)) = (entry, checkpoint) else { return Ok(None) };
            if index >= checkpoint.size {
                return Ok(None);
            }
            Ok(Some(Inclusion {
                index,
                size: checkpoint.size,
                kind: entry.kind,
                record_id: entry.record_id,
                leaf_hash: entry.leaf_hash,
                hashes: reader.inclusion_proof(index, checkpoint.size)?,
                checkpoint: checkpoint.note,
            }))
        })?;
        if let Some(Inclusion { size, leaf_hash, hashes, checkpoint, .. }) = &inclusion {
            let signed = SignedCheckpoint::parse_unverified(checkpoint)
                .map_err(|source| RecordsError::Checkpoint { size: *size, source })?;
            verify_inclusion(leaf_hash, index, *size, hashes, &signed.checkpoint().root)
                .map_err(|source| RecordsError::Proof { index, source })?;
        }
        Ok(inclusion)
    }

    /// The proof that the tree of `to` entries continues the tree of `from`; to the head where nothing is said. It was
    /// verified, and both trees are those of this log's head.
    ///
    /// # Errors
    /// [`RecordsError`]; sizes beyond the log are the caller's.
    pub fn consistency(&self, from: u64, to: Option<u64>) -> Result<Consistency, RecordsError> {
        Ok(self.store.read(|reader| {
            let to = match to {
                Some(to) => to,
                None => reader.head()?.size,
            };
            Ok(Consistency {
                from,
                to,
                from_root: reader.root(from)?,
                to_root: reader.root(to)?,
                hashes: reader.consistency_proof(from, to)?,
            })
        })?)
    }

    /// A tile of hashes or of entries (C2SP tlog-tiles), by its path `tile/…`; none where the log has not got so far.
    ///
    /// # Errors
    /// [`RecordsError`]; a path that is none is the caller's.
    pub fn tile(&self, path: &str) -> Result<Option<Vec<u8>>, RecordsError> {
        let tile: Tile = path.parse().map_err(|_| RecordsError::TilePath { path: path.to_owned() })?;
        Ok(self.store.read(|reader| reader.tile(&tile))?)
    }
}

/// Why something cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordsError {
    /// Not the path of a tile.
    #[error("`{path}` is not the path of a tile")]
    TilePath {
        /// What was given.
        path: String,
    },
    /// A record does not parse.
    #[error("the record at {index} is damaged: run `chancery fsck`")]
    Statement {
        /// Its index.
        index: u64,
        /// What is wrong.
        #[source]
        source: StatementError,
    },
    /// The note of a stored checkpoint does not parse.
    #[error("the stored checkpoint of size {size} is damaged: run `chancery fsck`")]
    Checkpoint {
        /// Its size.
        size: u64,
        /// What is wrong.
        #[source]
        source: CheckpointError,
    },
    /// The tree does not lead to the newest checkpoint.
    #[error("the entry {index} cannot be proved to be in the newest checkpoint: run `chancery fsck`")]
    Proof {
        /// The entry's index.
        index: u64,
        /// What is wrong.
        #[source]
        source: ProofError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Failure for RecordsError {
    fn whose(&self) -> Cause {
        match self {
            Self::TilePath { .. } => Cause::NotFound,
            Self::Statement { .. } | Self::Checkpoint { .. } | Self::Proof { .. } => Cause::Corrupt,
            Self::Store(error) => store_cause(error),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::TilePath { .. } => "log.tile",
            Self::Statement { .. } | Self::Checkpoint { .. } | Self::Proof { .. } => "store.corrupt",
            Self::Store(error) => store_code(error),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::TilePath { .. } => self.to_string(),
            Self::Statement { .. } => "a record is damaged; the operator has to look at it".to_owned(),
            Self::Checkpoint { .. } | Self::Proof { .. } => {
                "the log does not lead to its checkpoint; the operator has to look at it".to_owned()
            }
            Self::Store(error) => store_detail(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestLog, caller, request};
    use chancery_core::checkpoint::SignedCheckpoint;
    use chancery_core::merkle::verify_inclusion;

    fn filled(log: &TestLog) -> Runtime {
        let runtime = log.open();
        for number in 0..10 {
            let score = if number < 3 { "0.95" } else { "0.1" };
            runtime.execute_blocking(&caller(), &request(&format!("e-{number}"), "20000", score)).unwrap();
        }
        runtime
    }

    #[test]
    fn lists_are_paged_and_filtered() {
        let log = TestLog::new();
        let runtime = filled(&log);
        let records = runtime.records();
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page =
                records.list(&DecisionFilter::default(), Order::NewestFirst, after.as_deref(), 4).unwrap();
            seen.extend(page.items.iter().map(|item| item.execution_id.to_string()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let expected: Vec<String> = (0..10).rev().map(|number| format!("e-{number}")).collect();
        assert_eq!(seen, expected);

        let denied = DecisionFilter { outcome: Some("deny".to_owned()), ..DecisionFilter::default() };
        assert_eq!(records.list(&denied, Order::OldestFirst, None, 100).unwrap().items.len(), 3);
        assert_eq!(records.stats(&denied).unwrap().total(), 3);
        let error = records.list(&denied, Order::OldestFirst, Some("page two"), 100).unwrap_err();
        assert_eq!((error.whose(), error.code()), (Cause::Caller, "list.cursor"));
        assert!(records.get(&"nobody".parse().unwrap()).unwrap().is_none());
    }

    #[test]
    fn proofs_lead_to_the_newest_checkpoint() {
        let log = TestLog::new();
        let runtime = filled(&log);
        let records = runtime.records();
        // Not covered yet, and not there at all.
        assert!(records.inclusion(11).unwrap().is_none());
        let checkpoint = runtime.publish_checkpoint().unwrap().unwrap();
        assert!(records.inclusion(12).unwrap().is_none());
        for index in 0..12 {
            let proof = records.inclusion(index).unwrap().unwrap();
            let signed = SignedCheckpoint::parse_unverified(&proof.checkpoint).unwrap();
            assert_eq!(signed, checkpoint);
            let root = &signed.checkpoint().root;
            verify_inclusion(&proof.leaf_hash, index, proof.size, &proof.hashes, root).unwrap();
        }
        let error = records.consistency(5, Some(13)).unwrap_err();
        assert_eq!((error.whose(), error.code()), (Cause::Caller, "log.range"));
    }

    #[test]
    fn what_does_not_lead_to_the_checkpoint_is_not_proved() {
        for sql in [
            // The note's root is other than the log's: the text after the size, in base64.
            "UPDATE checkpoints SET note = CAST(replace(note, substr(note, instr(note, char(10) || '12' || char(10)) + 4, 8), \
             'AAAAAAAA') AS BLOB)",
            "UPDATE checkpoints SET note = CAST('none' AS BLOB)",
            "UPDATE checkpoints SET root_hash = lower(hex(zeroblob(32)))",
            "UPDATE log_head SET root_hash = chain_hash",
            "UPDATE log_entries SET leaf_hash = (SELECT leaf_hash FROM log_entries WHERE log_index = 5) WHERE log_index = 4",
        ] {
            let log = TestLog::new();
            let runtime = filled(&log);
            runtime.publish_checkpoint().unwrap().unwrap();
            drop(runtime);
            log.tamper(sql);
            let records = Records::open(&log.database().into(), None, log.clock.clone()).unwrap();
            let error = records.inclusion(4).unwrap_err();
            assert_eq!((error.whose(), error.code()), (Cause::Corrupt, "store.corrupt"), "{sql}: {error:?}");
        }
    }

    #[test]
    fn tiles_are_found_by_their_paths() {
        let log = TestLog::new();
        let runtime = filled(&log);
        let records = runtime.records();
        assert_eq!(records.tile("tile/0/000.p/12").unwrap().unwrap().len(), 12 * 32);
        let entries = records.tile("tile/entries/000.p/12").unwrap().unwrap();
        assert_eq!(chancery_core::tile::parse_entries(&entries).unwrap().len(), 12);
        for absent in ["tile/0/000", "tile/0/000.p/13", "tile/1/000.p/1"] {
            assert!(records.tile(absent).unwrap().is_none(), "{absent}");
        }
        for bad in ["tile/0/0", "tile/0/000.p/256", "checkpoint", "tile/../secret"] {
            let error = records.tile(bad).unwrap_err();
            assert_eq!((error.whose(), error.code()), (Cause::NotFound, "log.tile"), "{bad}");
        }
    }

    #[test]
    fn a_log_is_read_beside_its_writer() {
        let log = TestLog::new();
        let runtime = filled(&log);
        let beside = Records::open(&log.database().into(), None, log.clock.clone()).unwrap();
        assert_eq!(beside.head().unwrap().size, runtime.records().head().unwrap().size);
        runtime.execute_blocking(&caller(), &request("one-more", "1", "0.1")).unwrap();
        assert!(beside.get(&"one-more".parse().unwrap()).unwrap().is_some());
        // But nobody else writes.
        assert_eq!(log.try_open().unwrap_err().code(), "store.locked");
        assert_eq!(
            Records::open(&log.folder.path().join("none.db").into(), None, log.clock.clone())
                .unwrap_err()
                .whose(),
            Cause::Caller
        );
    }
}
