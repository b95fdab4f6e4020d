//! `GET /v1/policies…`: what is in force, what was, and the files of a version.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::Response;
use chancery_core::b64::Bytes;
use chancery_core::digest::BundleHash;
use chancery_core::ids::{PolicyId, PolicyVersion};
use chancery_core::key::KeyId;
use chancery_core::time::Timestamp;
use chancery_policy::sum::{SIGNATURE, SUM};
use chancery_runtime::records::{Activation, PublishedBundle, Records, RecordsError};
use serde::Serialize;

use super::access::{Identity, Tenant};
use super::decisions::json;
use super::error::Problem;
use super::parameters::{Query, Segments};
use super::schema;

#[derive(Debug, Serialize)]
struct PolicyList {
    items: Vec<Policy>,
}

/// One policy.
#[derive(Debug, Serialize)]
struct Policy {
    id: PolicyId,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_force: Option<Activated>,
    versions: Vec<Version>,
}

/// One policy with its history.
#[derive(Debug, Serialize)]
struct PolicyHistory {
    #[serde(flatten)]
    policy: Policy,
    /// Oldest first.
    activations: Vec<Activated>,
}

#[derive(Debug, Serialize)]
struct Version {
    version: PolicyVersion,
    bundle_hash: BundleHash,
    published_at: Timestamp,
}

#[derive(Clone, Debug, Serialize)]
struct Activated {
    version: PolicyVersion,
    bundle_hash: BundleHash,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<BundleHash>,
    activated_at: Timestamp,
    requested_by: String,
    reason: String,
    index: u64,
}

impl From<Activation> for Activated {
    fn from(activation: Activation) -> Self {
        Self {
            version: activation.policy_version,
            bundle_hash: activation.bundle_hash,
            previous: activation.previous,
            activated_at: activation.activated_at,
            requested_by: activation.requested_by,
            reason: activation.reason,
            index: activation.index,
        }
    }
}

/// Every policy with its versions and activations, by id.
fn histories(records: &Records, only: Option<&PolicyId>) -> Result<Vec<PolicyHistory>, RecordsError> {
    let mut all: BTreeMap<PolicyId, (Vec<Version>, Vec<Activated>)> = BTreeMap::new();
    for PublishedBundle { policy_id, policy_version: version, bundle_hash, published_at } in
        records.bundles()?
    {
        if only.is_some_and(|only| *only != policy_id) {
            continue;
        }
        all.entry(policy_id).or_default().0.push(Version { version, bundle_hash, published_at });
    }
    for activation in records.activations(only)? {
        all.entry(activation.policy_id.clone()).or_default().1.push(activation.into());
    }
    let histories = all.into_iter().map(|(id, (versions, activations))| PolicyHistory {
        policy: Policy { id, in_force: activations.last().cloned(), versions },
        activations,
    });
    Ok(histories.collect())
}

/// List policies.
///
/// Each with the version in force and every version that was published.
#[utoipa::path(
    get, path = "/v1/policies", operation_id = "listPolicies", tag = "policies",
    responses((status = 200, description = "The policies", body = schema::PolicyList))
)]
pub(super) async fn list(tenant: Tenant, _: Identity, query: Query) -> Result<Response, Problem> {
    query.finish()?;
    let histories = tenant.read(|records| histories(records, None)).await?;
    let items = histories.into_iter().map(|history| history.policy).collect();
    json(StatusCode::OK, &PolicyList { items })
}

/// One policy: its versions, and which was in force when.
#[utoipa::path(
    get, path = "/v1/policies/{id}", operation_id = "getPolicy", tag = "policies",
    params(("id" = String, Path, description = "The policy id")),
    responses(
        (status = 200, description = "The policy", body = schema::PolicyHistory),
    )
)]
pub(super) async fn history(
    tenant: Tenant,
    _: Identity,
    segments: Segments,
    query: Query,
) -> Result<Response, Problem> {
    query.finish()?;
    let id: PolicyId = segments.get("id")?;
    let wanted = id.clone();
    let mut histories = tenant.read(move |records| histories(records, Some(&wanted))).await?;
    match histories.pop() {
        Some(history) => json(StatusCode::OK, &history),
        None => Err(Problem::not_found("policy.unknown", format!("no version of `{id}` was ever published"))),
    }
}

/// One version, with its files.
#[derive(Debug, Serialize)]
struct PolicyFiles {
    id: PolicyId,
    version: PolicyVersion,
    bundle_hash: BundleHash,
    signer: KeyId,
    files: BTreeMap<String, Bytes>,
}

/// One version's files, in base64, `bundle.sum` and its signature among them.
///
/// Written into a folder they are what `sha256sum -c bundle.sum` and `cosign verify-blob` check, and what
/// publishing takes.
#[utoipa::path(
    get, path = "/v1/policies/{id}/{version}", operation_id = "getPolicyFiles", tag = "policies",
    params(
        ("id" = String, Path, description = "The policy id"),
        ("version" = String, Path, description = "The version"),
    ),
    responses(
        (status = 200, description = "The bundle", body = schema::PolicyFiles),
    )
)]
pub(super) async fn files(
    tenant: Tenant,
    _: Identity,
    segments: Segments,
    query: Query,
) -> Result<Response, Problem> {
    query.finish()?;
    let (id, version): (PolicyId, PolicyVersion) = (segments.get("id")?, segments.get("version")?);
    let loaded = tenant.blocking(move |runtime| Ok(runtime.bundle(&id, &version)?)).await?;
    let signature = chancery_core::canonical::to_canonical(&loaded.signature).map_err(|error| {
        tracing::error!(%error, "a bundle's signature cannot be written");
        Problem::internal()
    })?;
    let mut files: BTreeMap<String, Bytes> =
        loaded.bundle.files().iter().map(|(path, content)| (path.clone(), Bytes(content.clone()))).collect();
    files.insert(SUM.to_owned(), Bytes(loaded.bundle.sum().as_bytes().to_vec()));
    files.insert(SIGNATURE.to_owned(), Bytes(signature.into_bytes()));
    json(
        StatusCode::OK,
        &PolicyFiles {
            id: loaded.policy.clone(),
            version: loaded.version.clone(),
            bundle_hash: loaded.hash,
            signer: loaded.signer.clone(),
            files,
        },
    )
}
