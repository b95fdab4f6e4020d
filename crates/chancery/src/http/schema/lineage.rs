//! Lineage.

use serde_json::Value;
use utoipa::ToSchema;

use super::decisions::Envelope;
use super::records::Current;

/// Everything that the log has about a decision.
#[derive(Debug, ToSchema)]
pub struct Lineage {
    /// The execution.
    pub execution_id: String,
    /// Its fingerprint.
    pub execution_fingerprint: String,
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
    /// The recorded checks of it, in order: the newest 1,000, in a page of several executions the newest 20.
    pub verifications: Vec<Record>,
    /// How many older ones there are: `GET /v1/verifications` has all.
    pub verifications_left_out: u64,
    /// Erasures of its signals, in order.
    pub erasures: Vec<Record>,
    /// The bundle that decided.
    pub policy: PolicyLineage,
    /// The build that decided.
    pub build: Option<Record>,
    /// What the proofs lead to.
    pub log: LogLineage,
}

/// Executions on the same inputs, everything about each.
#[derive(Debug, ToSchema)]
pub struct LineageList {
    /// Those that were decided first come first.
    pub items: Vec<Lineage>,
    /// `after` of the next page, where there is one.
    pub next: Option<String>,
}

/// A record with its place in the log.
#[derive(Debug, ToSchema)]
pub struct Record {
    /// The kind of its entry.
    pub kind: Value,
    /// Its index.
    pub index: u64,
    /// SHA-256 of the envelope's PAE, hex.
    pub record_id: String,
    /// The hash of its entry, hex.
    pub leaf_hash: String,
    /// When it was made, as it says.
    pub claimed_at: String,
    /// When it became durable.
    pub recorded_at: String,
    /// What was signed, readable.
    pub statement: Value,
    /// What was signed, exactly.
    pub attestation: Envelope,
    /// RFC 6962 inclusion path to the checkpoint, hex; null where that does not cover it yet.
    pub proof: Option<Vec<String>>,
}

/// The bundle that decided, and what put it in force.
#[derive(Debug, ToSchema)]
pub struct PolicyLineage {
    /// The policy.
    pub id: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of `bundle.sum`, hex.
    pub bundle_hash: String,
    /// Its activation.
    pub activation: Option<Record>,
}

/// What the proofs lead to.
#[derive(Debug, ToSchema)]
pub struct LogLineage {
    /// The log's origin.
    pub origin: String,
    /// The size of the newest checkpoint.
    pub size: u64,
    /// The newest checkpoint, a signed note.
    pub checkpoint: Option<String>,
}
