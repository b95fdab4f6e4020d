//! Policies, and the keyring that signs them.

use std::collections::BTreeMap;

use utoipa::ToSchema;

use super::decisions::{Envelope, LogPosition};

/// The policies.
#[derive(Debug, ToSchema)]
pub struct PolicyList {
    /// By id.
    pub items: Vec<Policy>,
}

/// A policy.
#[derive(Debug, ToSchema)]
pub struct Policy {
    /// Its id.
    pub id: String,
    /// What decides now.
    #[schema(required = false)]
    pub in_force: Option<Activation>,
    /// What was published.
    pub versions: Vec<PublishedVersion>,
}

/// A policy with its history.
#[derive(Debug, ToSchema)]
pub struct PolicyHistory {
    /// The policy.
    #[serde(flatten)]
    pub policy: Policy,
    /// What was in force when, oldest first.
    pub activations: Vec<Activation>,
}

/// A version that was put in force.
#[derive(Debug, ToSchema)]
pub struct Activation {
    /// The version.
    pub version: String,
    /// Its bundle.
    pub bundle_hash: String,
    /// The bundle before.
    #[schema(required = false)]
    pub previous: Option<String>,
    /// When it was signed.
    pub activated_at: String,
    /// Who asked for it.
    pub requested_by: String,
    /// Why.
    pub reason: String,
    /// Its index in the log.
    pub index: u64,
}

/// A version that was published.
#[derive(Debug, ToSchema)]
pub struct PublishedVersion {
    /// The version.
    pub version: String,
    /// Its bundle.
    pub bundle_hash: String,
    /// When.
    pub published_at: String,
}

/// A version's files.
#[derive(Debug, ToSchema)]
pub struct PolicyFiles {
    /// The policy.
    pub id: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of `bundle.sum`, hex.
    pub bundle_hash: String,
    /// The key that signed `bundle.sum`.
    pub signer: String,
    /// Path to content in base64.
    pub files: BTreeMap<String, String>,
}

/// The files of a bundle's folder.
#[derive(Debug, ToSchema)]
pub struct BundleFiles {
    /// Path to content in base64, `bundle.sum.sigstore.json` among them.
    pub files: BTreeMap<String, String>,
}

/// A version that is published.
#[derive(Debug, ToSchema)]
pub struct Published {
    /// The policy.
    pub id: String,
    /// The version.
    pub version: String,
    /// SHA-256 of `bundle.sum`, hex.
    pub bundle_hash: String,
}

/// A version that is in force.
#[derive(Debug, ToSchema)]
pub struct InForce {
    /// The policy.
    pub id: String,
    /// The version.
    pub version: String,
    /// SHA-256 of `bundle.sum`, hex.
    pub bundle_hash: String,
    /// The bundle before.
    #[schema(required = false)]
    pub previous: Option<String>,
    /// When it was signed.
    pub activated_at: String,
    /// Its place in the log.
    pub log: LogPosition,
}

/// The keyring.
#[derive(Debug, ToSchema)]
pub struct Keyring {
    /// Oldest first.
    pub versions: Vec<KeyringVersion>,
}

/// A version of the keyring.
#[derive(Debug, ToSchema)]
pub struct KeyringVersion {
    /// Its index in the log.
    pub index: u64,
    /// Signed by the root keys.
    pub envelope: Envelope,
}

/// What logging a keyring version came to, or would come to.
#[derive(Debug, ToSchema)]
pub struct LoggedKeyring {
    /// The version.
    pub version: u64,
    /// Its index in the log; in a dry run, the one that it would have now.
    pub index: u64,
    /// What it takes away.
    pub lost: KeyringLoss,
}

/// Entries of the log that count for nothing after a keyring version; each is counted once.
#[derive(Debug, ToSchema)]
pub struct KeyringLoss {
    /// Entries that a revoked key signed.
    pub signed: u64,
    /// Decisions that others signed, by a build or under a bundle that a revoked key signed.
    pub decisions: u64,
}
