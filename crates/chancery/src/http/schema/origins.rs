//! The build, and where decisions come from.

use serde_json::Value;
use utoipa::ToSchema;

use super::{Envelope, LogPosition, SigstoreBundle};

/// The build that decides.
#[derive(Debug, ToSchema)]
pub struct Build {
    /// SHA-256 of the payload: what decisions name as `runtime.buildIdentity`.
    pub build_identity: String,
    /// The same payload in a DSSE envelope: its log entry.
    pub envelope: Envelope,
    /// The identity, readable.
    pub identity: Statement,
    /// Where it is logged.
    pub log: LogPosition,
    /// The exact bytes that were signed, base64.
    pub payload: String,
    /// SHA-256 of the bill of materials, which `part=sbom` gives.
    pub sbom_sha256: String,
    /// The signature over the payload as a blob.
    pub signature: SigstoreBundle,
}

/// An in-toto Statement v1.
#[derive(Debug, ToSchema)]
pub struct Statement {
    /// `https://in-toto.io/Statement/v1`.
    #[schema(rename = "_type")]
    pub statement_type: String,
    /// What it says.
    pub predicate: Value,
    /// What kind of statement it is.
    #[schema(rename = "predicateType")]
    pub predicate_type: String,
    /// What it is about: `[{"digest": {"sha256"}, "name"}]`.
    pub subject: Vec<Value>,
}

/// Where a decision comes from.
#[derive(Debug, ToSchema)]
pub struct Provenance {
    /// The build that decided, as it is logged: `{"index","payload","recordId","signature"}`. Null for none.
    #[schema(required = true)]
    pub build: Option<Value>,
    /// `{"recordId","signature","statement"}`: the attestation, readable.
    pub decision: Value,
    /// `chancery.provenance/v1`.
    pub format: String,
    /// The version in force: `{"index","recordId","version"}`.
    pub keyring: Value,
    /// `{"entry","origin","previous"}`: the decision's log entry and the one before it, each
    /// `{"chainHash","index","kind","leafHash","recordId"}`.
    pub log: Value,
    /// The bundle with its signature, its activation, and for each outcome its policies.
    pub policy: Value,
}
