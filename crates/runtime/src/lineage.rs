//! Lineage: everything that the log has about an execution, in one answer.
//!
//! ```text
//! activation ── bundle ──┐                           ┌── overrides ── resolution ── confirmation
//! build identity ────────┴── decision ───────────────┼── verifications
//!                            (id, fingerprint)       └── erasures
//! ```
//! Each record comes with what was signed, exactly, and the proof that it is in the newest checkpoint. It is read in one
//! transaction, so that all of it is of one moment. It needs no key, and holds no signal's value.

use crate::answer::AnswerPolicy;
use crate::records::{Current, ListedDecision, Records, RecordsError};
use chancery_core::digest::{Digest, Fingerprint, LeafHash, RecordId, RootHash};
use chancery_core::dsse::Envelope;
use chancery_core::ids::{ExecutionId, PolicyId};
use chancery_core::log::Kind;
use chancery_core::time::Timestamp;
use chancery_store::{
    Activation, Cursor, DecisionFilter, DecisionSummary, Entry, Order, Reader, StoreError, StoredCheckpoint,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The most executions of a page.
pub const LINEAGES_MAX: u32 = 100;

/// The most verifications that are shown of one execution, and of each in a page: anybody may verify as often as they want.
pub const VERIFICATIONS_MAX: u32 = 1_000;
/// See [`VERIFICATIONS_MAX`].
pub const PAGE_VERIFICATIONS_MAX: u32 = 20;

/// Everything about one execution.
#[derive(Clone, Debug, Serialize)]
pub struct Lineage {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Its fingerprint, which executions on the same inputs share.
    pub execution_fingerprint: Fingerprint,
    /// What holds now.
    pub current: Current,
    /// The decision.
    pub decision: Record,
    /// What approvers said to it, in order.
    pub overrides: Vec<Record>,
    /// How its override case ended.
    pub resolution: Option<Record>,
    /// What was really done.
    pub confirmation: Option<Record>,
    /// The recorded checks of it, in order: the newest [`VERIFICATIONS_MAX`], in a page [`PAGE_VERIFICATIONS_MAX`].
    pub verifications: Vec<Record>,
    /// How many older ones there are; the list of verifications has all.
    pub verifications_left_out: u64,
    /// Erasures of its signals, in order.
    pub erasures: Vec<Record>,
    /// The bundle that decided.
    pub policy: PolicyLineage,
    /// The build that decided; none on a log for tests without one.
    pub build: Option<Record>,
    /// The log.
    pub log: LogLineage,
}

/// A record with its place in the log.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// What it is.
    pub kind: Kind,
    /// Its index.
    pub index: u64,
    /// H(PAE) of it.
    pub record_id: RecordId,
    /// The hash of its entry.
    pub leaf_hash: LeafHash,
    /// When it was made, as it says.
    pub claimed_at: Timestamp,
    /// When it became durable.
    pub recorded_at: Timestamp,
    /// What was signed, readable.
    pub statement: serde_json::Value,
    /// What was signed, exactly.
    pub attestation: Envelope,
    /// RFC 6962 inclusion path to the root of `log.checkpoint`; none where that does not cover it yet.
    pub proof: Option<Vec<RootHash>>,
}

/// The bundle that decided, and what put it in force.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyLineage {
    /// The bundle.
    #[serde(flatten)]
    pub bundle: AnswerPolicy,
    /// The activation that was the newest when it was decided.
    pub activation: Option<Record>,
}

/// What the proofs lead to.
#[derive(Clone, Debug, Serialize)]
pub struct LogLineage {
    /// The log's origin.
    pub origin: String,
    /// The size of the newest checkpoint; 0 before the first one.
    pub size: u64,
    /// The newest checkpoint, a signed note.
    pub checkpoint: Option<String>,
}

/// Executions on the same inputs, everything about each.
#[derive(Clone, Debug, Serialize)]
pub struct LineageList {
    /// Those that were decided first come first.
    pub items: Vec<Lineage>,
    /// Where the next page begins, if there is one: opaque.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Records {
    /// Everything about the executions with this fingerprint, a page of at most `limit` (1 to 100), from where `after`
    /// says. A page is of one moment; two pages are of two.
    ///
    /// # Errors
    /// [`RecordsError`]; a cursor that this list did not give out is the caller's.
    pub fn lineages(
        &self,
        fingerprint: &Fingerprint,
        after: Option<&str>,
        limit: u32,
    ) -> Result<LineageList, RecordsError> {
        let filter = DecisionFilter { fingerprint: Some(*fingerprint), ..DecisionFilter::default() };
        let after = after.map(str::parse::<Cursor>).transpose()?;
        let (limit, origin) = (limit.clamp(1, LINEAGES_MAX), &self.settings().log_origin);
        let list = self.store.read(|reader| {
            let page = reader.decisions(&filter, Order::OldestFirst, after, limit)?;
            let items = read(reader, page.items, PAGE_VERIFICATIONS_MAX, origin)?;
            Ok(LineageList { items, next: page.next.map(|cursor| cursor.to_string()) })
        })?;
        Ok(list)
    }

    /// Everything about an execution; none where the id was never used.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn lineage(&self, execution_id: &ExecutionId) -> Result<Option<Lineage>, RecordsError> {
        let origin = &self.settings().log_origin;
        let filter =
            DecisionFilter { execution_ids: vec![execution_id.clone()], ..DecisionFilter::default() };
        Ok(self.store.read(|reader| {
            let page = reader.decisions(&filter, Order::OldestFirst, None, 1)?;
            Ok(read(reader, page.items, VERIFICATIONS_MAX, origin)?.pop())
        })?)
    }
}

/// Where the records of one execution are.
struct Places {
    about: Vec<u64>,
    verifications_left_out: u64,
    activation: Option<u64>,
    build: Option<u64>,
}

/// The lineages of some decisions. What they share (checkpoint, activations, builds) is read once, and the proofs come from
/// one walk over the tree.
fn read(
    reader: &mut Reader<'_>,
    decisions: Vec<DecisionSummary>,
    verifications_max: u32,
    origin: &str,
) -> Result<Vec<Lineage>, StoreError> {
    let checkpoint = reader.checkpoint_newest()?;
    let mut activations: HashMap<PolicyId, Vec<Activation>> = HashMap::new();
    let mut builds: HashMap<Digest, Option<u64>> = HashMap::new();
    let mut places = Vec::with_capacity(decisions.len());
    for summary in &decisions {
        let policy = &summary.policy_id;
        if !activations.contains_key(policy) {
            activations.insert(policy.clone(), reader.activations(Some(policy))?);
        }
        let activation = activations
            .get(policy)
            .and_then(|all| all.iter().rfind(|activation| activation.index < summary.index));
        if let Some(payload) = summary.build_identity.filter(|payload| !builds.contains_key(payload)) {
            builds.insert(payload, reader.build_identity(&payload)?.map(|build| build.index));
        }
        let build = summary.build_identity.and_then(|payload| builds.get(&payload).copied().flatten());
        places.push(Places {
            about: reader.indexes_about(&summary.execution_id, Some(verifications_max))?,
            verifications_left_out: reader
                .count_verifications(&summary.execution_id)?
                .saturating_sub(verifications_max.into()),
            activation: activation.map(|activation| activation.index),
            build,
        });
    }
    let records = records(reader, &places, checkpoint.as_ref())?;
    decisions
        .into_iter()
        .zip(places)
        .map(|(summary, places)| lineage(summary, places, &records, checkpoint.as_ref(), origin))
        .collect()
}

/// Everything that these places name, each read and proved once.
fn records(
    reader: &mut Reader<'_>,
    places: &[Places],
    checkpoint: Option<&StoredCheckpoint>,
) -> Result<BTreeMap<u64, Record>, StoreError> {
    let named =
        |places: &Places| places.about.iter().copied().chain(places.activation).chain(places.build).collect();
    let indexes: BTreeSet<u64> = places.iter().flat_map(|places| -> Vec<u64> { named(places) }).collect();
    let indexes: Vec<u64> = indexes.into_iter().collect();
    let size = checkpoint.map_or(0, |checkpoint| checkpoint.size);
    let covered: Vec<u64> = indexes.iter().copied().filter(|index| *index < size).collect();
    let proofs = if covered.is_empty() { Vec::new() } else { reader.inclusion_proofs(&covered, size)? };
    let mut proofs: HashMap<u64, Vec<RootHash>> = covered.into_iter().zip(proofs).collect();
    let entries = reader.entries_at(&indexes)?;
    Ok(entries.into_iter().map(|entry| (entry.index, record(entry, &mut proofs))).collect())
}

fn record(entry: Entry, proofs: &mut HashMap<u64, Vec<RootHash>>) -> Record {
    Record {
        kind: entry.kind,
        index: entry.index,
        record_id: entry.record_id,
        leaf_hash: entry.leaf_hash,
        claimed_at: entry.claimed_at,
        recorded_at: entry.recorded_at,
        // Bytes that hash to their record id were JSON when they were signed.
        statement: serde_json::from_slice(&entry.payload).unwrap_or_default(),
        proof: proofs.remove(&entry.index),
        attestation: entry.into_envelope(),
    }
}

fn lineage(
    summary: DecisionSummary,
    places: Places,
    records: &BTreeMap<u64, Record>,
    checkpoint: Option<&StoredCheckpoint>,
    origin: &str,
) -> Result<Lineage, StoreError> {
    let at = |index: u64| records.get(&index).cloned();
    let of_kind = |kind: Kind| -> Vec<Record> {
        let own = places.about.iter().filter_map(|index| records.get(index));
        own.filter(|record| record.kind == kind).cloned().collect()
    };
    let decision =
        at(summary.index).ok_or(StoreError::OutOfRange { asked: summary.index, size: summary.index })?;
    let listed = ListedDecision::from(summary);
    Ok(Lineage {
        execution_id: listed.execution_id,
        execution_fingerprint: listed.execution_fingerprint,
        current: listed.current,
        decision,
        overrides: of_kind(Kind::Override),
        resolution: of_kind(Kind::Resolution).pop(),
        confirmation: of_kind(Kind::Confirmation).pop(),
        verifications: of_kind(Kind::Verification),
        verifications_left_out: places.verifications_left_out,
        erasures: of_kind(Kind::Erasure),
        policy: PolicyLineage { bundle: listed.policy, activation: places.activation.and_then(at) },
        build: places.build.and_then(at),
        log: LogLineage {
            origin: origin.to_owned(),
            size: checkpoint.map_or(0, |checkpoint| checkpoint.size),
            checkpoint: checkpoint.map(|checkpoint| checkpoint.note.clone()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confirm::Executed;
    use crate::testing::{TestLog, caller, request};
    use chancery_core::checkpoint::SignedCheckpoint;
    use chancery_core::merkle::verify_inclusion;

    #[test]
    fn everything_about_an_execution_is_in_one_answer_with_proofs() {
        let log = TestLog::new();
        let runtime = log.open();
        for id in ["e-1", "e-2"] {
            runtime.execute_blocking(&caller(), &request(id, "1", "0.1")).unwrap();
        }
        log.clock.advance_ms(1_000);
        let id = "e-1".parse().unwrap();
        let executed = Executed {
            outcome: "approve".to_owned(),
            reference: "p".to_owned(),
            at: "2026-03-01T10:01:00.500000Z".parse().unwrap(),
        };
        runtime.confirm(&caller(), &id, &executed).unwrap();
        runtime.verify_recorded(std::slice::from_ref(&id)).unwrap();
        runtime.publish_checkpoint().unwrap();
        let lineage = runtime.records().lineage(&id).unwrap().unwrap();
        let note = lineage.log.checkpoint.as_ref().unwrap();
        let root = SignedCheckpoint::parse_unverified(note).unwrap().checkpoint().root;
        let parts = [
            Some(&lineage.decision),
            lineage.confirmation.as_ref(),
            lineage.verifications.first(),
            lineage.policy.activation.as_ref(),
        ];
        for (record, kind) in
            parts.into_iter().zip([Kind::Decision, Kind::Confirmation, Kind::Verification, Kind::Activation])
        {
            let record = record.unwrap();
            assert_eq!((record.kind, record.attestation.record_id()), (kind, record.record_id));
            let proof = record.proof.as_ref().unwrap();
            verify_inclusion(&record.leaf_hash, record.index, lineage.log.size, proof, &root).unwrap();
        }
        assert_eq!((lineage.verifications.len(), lineage.verifications_left_out), (1, 0));
        assert!(lineage.overrides.is_empty() && lineage.resolution.is_none() && lineage.erasures.is_empty());
        assert!(lineage.build.is_none());
        // The other one on the same inputs has the same fingerprint, and a lineage of its own.
        let other = runtime.records().lineage(&"e-2".parse().unwrap()).unwrap().unwrap();
        assert_eq!(other.execution_fingerprint, lineage.execution_fingerprint);
        assert!(other.confirmation.is_none() && other.verifications.is_empty());
        assert!(runtime.records().lineage(&"e-3".parse().unwrap()).unwrap().is_none());
    }

    #[test]
    fn executions_on_the_same_inputs_come_in_pages() {
        let log = TestLog::new();
        let runtime = log.open();
        let fingerprint =
            runtime.execute_blocking(&caller(), &request("e-1", "1", "0.1")).unwrap().execution_fingerprint;
        for (id, amount) in [("e-2", "1"), ("other", "2"), ("e-3", "1")] {
            runtime.execute_blocking(&caller(), &request(id, amount, "0.1")).unwrap();
        }
        let records = runtime.records();
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = records.lineages(&fingerprint, after.as_deref(), 2).unwrap();
            seen.extend(
                page.items.into_iter().map(|it| (it.execution_id.to_string(), it.execution_fingerprint)),
            );
            let Some(next) = page.next else { break };
            after = Some(next);
        }
        assert_eq!(seen, ["e-1", "e-2", "e-3"].map(|id| (id.to_owned(), fingerprint)));
        let nobody = Fingerprint::from_bytes([0; 32]);
        assert!(records.lineages(&nobody, None, 2).unwrap().items.is_empty());
        assert!(records.lineages(&fingerprint, Some("c-1"), 2).is_err());
    }

    #[test]
    fn of_many_verifications_a_page_shows_the_newest_and_says_how_many_are_older() {
        let log = TestLog::new();
        let runtime = log.open();
        let fingerprint =
            runtime.execute_blocking(&caller(), &request("e-1", "1", "0.1")).unwrap().execution_fingerprint;
        let id: ExecutionId = "e-1".parse().unwrap();
        let mut newest = 0;
        for _ in 0..PAGE_VERIFICATIONS_MAX + 3 {
            log.clock.advance_ms(1);
            newest = runtime.verify_recorded(std::slice::from_ref(&id)).unwrap()[0].index;
        }
        let records = runtime.records();
        let page = records.lineages(&fingerprint, None, 1).unwrap().items.pop().unwrap();
        let shown = (page.verifications.len(), page.verifications_left_out);
        assert_eq!(shown, (usize::try_from(PAGE_VERIFICATIONS_MAX).unwrap(), 3));
        assert!(page.verifications.is_sorted_by_key(|record| record.index));
        assert_eq!(page.verifications.last().unwrap().index, newest);
        let alone = records.lineage(&id).unwrap().unwrap();
        assert_eq!((alone.verifications.len(), alone.verifications_left_out), (23, 0));
    }

    #[test]
    fn what_no_checkpoint_covers_has_no_proof_yet() {
        let log = TestLog::new();
        let runtime = log.open();
        runtime.execute_blocking(&caller(), &request("e-1", "1", "0.1")).unwrap();
        let lineage = runtime.records().lineage(&"e-1".parse().unwrap()).unwrap().unwrap();
        assert_eq!(lineage.decision.proof, None);
        assert!(lineage.policy.activation.unwrap().proof.is_some(), "the log was made with a checkpoint");
    }
}
