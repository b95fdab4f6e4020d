//! `POST /v1/policies/{id}/{version}` and `…/activation`: a signed bundle comes in, and is put in force.
//!
//! The server holds no policy key. A bundle comes with the signature over its `bundle.sum`, and an activation is an
//! envelope that its publisher signed: `chancery bundle sign` and `activate` make them.

use std::collections::BTreeMap;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use chancery_core::b64;
use chancery_core::digest::BundleHash;
use chancery_core::dsse::Envelope;
use chancery_core::ids::{PolicyId, PolicyVersion};
use chancery_core::json::{self, Limits, Members, Pointer, Value};
use chancery_core::statement::{Activation, Statement};
use chancery_core::time::Timestamp;
use chancery_policy::limits;
use chancery_runtime::Fault;
use chancery_runtime::answer::LogPosition;
use chancery_runtime::bundles::{BundleError, SignedBundle};
use serde::Serialize;

use super::access::{Identity, Tenant};
use super::decisions::json as answer;
use super::error::Problem;
use super::parameters::{Query, Segments};
use super::{body, schema};

/// The longest bundle as JSON: base64 is a third longer than the files, and there are their names.
const BUNDLE: Limits = Limits { bytes: limits::BUNDLE_BYTES_MAX / 2 * 3, depth: 4 };

/// The longest envelope: a decision on ten thousand candidates names the selected ones.
pub(super) const ENVELOPE: Limits = Limits { bytes: 8 * 1024 * 1024, depth: 4 };

/// What publishing came to.
#[derive(Debug, Serialize)]
struct Published {
    id: PolicyId,
    version: PolicyVersion,
    bundle_hash: BundleHash,
}

/// Publish a version.
///
/// The files of the bundle's folder, each in base64, `bundle.sum.sigstore.json` among them. It decides nothing before
/// it is activated. Publishing the same content again answers 200; other content under the same version is a
/// conflict.
#[utoipa::path(
    post, path = "/v1/policies/{id}/{version}", operation_id = "publishPolicy", tag = "policies", request_body = schema::BundleFiles,
    params(
        ("id" = String, Path, description = "The policy id, as in the bundle's manifest"),
        ("version" = String, Path, description = "The version, as in the bundle's manifest"),
    ),
    responses(
        (status = 201, description = "Published", body = schema::Published),
        (status = 200, description = "Published before, with the same content", body = schema::Published),
    )
)]
pub(super) async fn publish(
    tenant: Tenant,
    _: Identity,
    segments: Segments,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    query.finish()?;
    let (id, version): (PolicyId, PolicyVersion) = (segments.get("id")?, segments.get("version")?);
    body::check_type(request.headers(), body::JSON)?;
    let body = body::read(request, BUNDLE.bytes, tenant.request_timeout()).await?;
    let published = tenant.blocking(move |runtime| {
        let body = json::parse(&body, BUNDLE)
            .map_err(|fault| Problem::faults("request.invalid", vec![fault.into()]))?;
        let files = files(&body).map_err(|faults| Problem::faults("bundle.invalid", faults))?;
        let signed = SignedBundle::from_folder(files).map_err(refused)?;
        check_name(&signed, &id, &version)?;
        runtime.publish(signed).map_err(refused)
    });
    let published = published.await?;
    let status = if published.new { StatusCode::CREATED } else { StatusCode::OK };
    answer(
        status,
        &Published { id: published.policy, version: published.version, bundle_hash: published.hash },
    )
}

/// A bundle that is not valid was read well enough: 422, and its faults are told.
fn refused(error: BundleError) -> Problem {
    match error {
        BundleError::Invalid(invalid) => Problem::faults(
            "bundle.invalid",
            invalid
                .faults()
                .iter()
                .map(|fault| Fault {
                    pointer: Some(Pointer::root().member("files").member(&fault.file).to_string()),
                    code: "bundle.invalid",
                    expected: fault.cause.fix().into_owned(),
                    found: found(fault),
                })
                .collect(),
        ),
        error @ (BundleError::Path(_) | BundleError::Sum | BundleError::NotSigned) => {
            Problem::from(error).with_status(StatusCode::UNPROCESSABLE_ENTITY)
        }
        error => error.into(),
    }
}

/// `{"files": {path: base64, …}}`.
fn files(value: &Value) -> Result<BTreeMap<String, Vec<u8>>, Vec<Fault>> {
    let shape = |at: &Pointer<'_>, expected: &str, found: &Value| {
        vec![Fault {
            pointer: Some(at.to_string()),
            code: "request.type",
            expected: expected.to_owned(),
            found: found.describe(),
        }]
    };
    let root = Pointer::root();
    let object = value.as_object().ok_or_else(|| shape(root, "an object", value))?;
    let mut members = Members::new(object, root);
    let given = members.take("files");
    let mut unknown = Vec::new();
    members.finish(&mut unknown);
    let mut faults: Vec<Fault> = unknown.into_iter().map(Fault::from).collect();
    let at = root.member("files");
    let given = given.unwrap_or(&Value::Null);
    let Some(given) = given.as_object() else {
        faults.extend(shape(&at, "an object of paths and base64", given));
        return Err(faults);
    };
    let mut files = BTreeMap::new();
    for (path, content) in given.iter() {
        match content.as_str().map(b64::decode) {
            Some(Ok(bytes)) => {
                files.insert(path.to_owned(), bytes);
            }
            _ => faults.extend(shape(&at.member(path), "the file in base64", content)),
        }
    }
    if faults.is_empty() { Ok(files) } else { Err(faults) }
}

/// What is wrong, with its line and column.
fn found(fault: &chancery_policy::Fault) -> String {
    match fault.place {
        Some(place) => format!("{place}: {}", fault.cause),
        None => fault.cause.to_string(),
    }
}

/// Refuses a bundle that is published under another name than its own. A manifest that cannot be read is refused
/// later, with its faults.
fn check_name(signed: &SignedBundle, id: &PolicyId, version: &PolicyVersion) -> Result<(), Problem> {
    let manifest = signed.files.get("bundle.toml").and_then(|bytes| std::str::from_utf8(bytes).ok());
    let Some(Ok(manifest)) = manifest.map(str::parse::<toml::Table>) else { return Ok(()) };
    let says = |key: &str, path: &str| match manifest.get(key).and_then(toml::Value::as_str) {
        Some(value) if value != path => Some(Fault {
            pointer: Some("/files/bundle.toml".to_owned()),
            code: "bundle.invalid",
            expected: format!("`{key}` to be `{path}`, as the path says"),
            found: format!("`{}`", value.chars().take(80).collect::<String>()),
        }),
        _ => None,
    };
    let faults: Vec<Fault> =
        says("id", id.as_str()).into_iter().chain(says("version", version.as_str())).collect();
    if faults.is_empty() { Ok(()) } else { Err(Problem::faults("bundle.invalid", faults)) }
}

/// What activating came to.
#[derive(Debug, Serialize)]
struct InForce {
    id: PolicyId,
    version: PolicyVersion,
    bundle_hash: BundleHash,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<BundleHash>,
    activated_at: Timestamp,
    log: LogPosition,
}

/// Put a published version in force.
///
/// The body is an activation statement in a DSSE envelope, signed with the publisher's own key. It is logged, and
/// decides from the next request on.
#[utoipa::path(
    post, path = "/v1/policies/{id}/{version}/activation", operation_id = "activatePolicy", tag = "policies", request_body = schema::Envelope,
    params(
        ("id" = String, Path, description = "The policy id, as in the statement"),
        ("version" = String, Path, description = "The version, as in the statement"),
    ),
    responses(
        (status = 201, description = "In force", body = schema::InForce),
    )
)]
pub(super) async fn activate(
    tenant: Tenant,
    _: Identity,
    segments: Segments,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    query.finish()?;
    let (id, version): (PolicyId, PolicyVersion) = (segments.get("id")?, segments.get("version")?);
    let body = body::json(request, tenant.request_timeout()).await?;
    let envelope = envelope(&body)?;
    // Only to see whether it is about this path; what it says is verified before it counts.
    let statement = Statement::<Activation>::parse_unverified(&envelope.payload.0).map_err(|error| {
        unprocessable("activation.statement", format!("the payload is no activation: {error}"))
    })?;
    let Activation { policy_id, policy_version, .. } = &statement.predicate;
    if (policy_id, policy_version) != (&id, &version) {
        let detail =
            format!("the statement is about `{policy_id}@{policy_version}`, the path about `{id}@{version}`");
        return Err(unprocessable("activation.statement", detail));
    }
    let activated = tenant.blocking(move |runtime| Ok(runtime.activate(&envelope)?)).await?;
    let Activation { policy_id: id, policy_version: version, bundle_hash, previous, activated_at, .. } =
        activated.activation;
    answer(
        StatusCode::CREATED,
        &InForce { id, version, bundle_hash, previous, activated_at, log: activated.log },
    )
}

fn unprocessable(code: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
}

/// A DSSE envelope: strict JSON first, its members after that.
pub(super) fn envelope(body: &[u8]) -> Result<Envelope, Problem> {
    json::parse(body, ENVELOPE).map_err(|fault| Problem::faults("request.invalid", vec![fault.into()]))?;
    serde_json::from_slice(body).map_err(|error| {
        // Of serde's own words only the place: the rest may repeat what was sent.
        let detail = format!("not a DSSE envelope: line {}, column {}", error.line(), error.column());
        unprocessable("envelope.invalid", detail)
    })
}
