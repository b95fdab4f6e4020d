//! `chancery bundle check|test|sum|sign|verify|publish|activate|history`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chancery_core::b64;
use chancery_core::ids::{PolicyId, TenantId};
use chancery_core::key::{PublicKey, Signer};
use chancery_policy::sum::{SIGNATURE, SUM, is_beside};
use chancery_policy::{Bundle, BundleError};
use chancery_runtime::KeyName;
use chancery_runtime::answer::LogPosition;
use chancery_runtime::bundles::{self, Activated, ActivationRequest, Files, Published, SignedBundle};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::json;
use ureq::http::StatusCode;

use super::decide::parse_policy;
use super::open::{Home, home_of};
use super::remote::Remote;
use super::{Exit, Failure, folder, signer};

/// Subcommands of `bundle`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check a bundle: every fault at once, with its place.
    Check {
        /// The folder of one version.
        folder: PathBuf,
    },
    /// Run a bundle's cases, and name the policies that no case covers.
    Test {
        /// The folder of one version.
        folder: PathBuf,
        /// Let policies pass that no case satisfies, and a bundle without cases.
        #[arg(long)]
        allow_uncovered: bool,
    },
    /// Print the bundle's `bundle.sum`, as `sha256sum -c` reads it.
    Sum {
        /// The folder of one version.
        folder: PathBuf,
    },
    /// Sign a bundle: writes bundle.sum and bundle.sum.sigstore.json into its folder.
    Sign {
        /// The folder of one version.
        folder: PathBuf,
        /// The policy key. Default: the one in the folder of keys.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// Check a bundle's signature with a public key.
    Verify {
        /// The folder of one version.
        folder: PathBuf,
        /// The public key (SPKI PEM).
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Store a signed bundle. It decides nothing before it is activated.
    Publish {
        /// The folder of one version.
        folder: PathBuf,
    },
    /// Put a published version in force; the activation is signed and logged.
    Activate {
        /// The policy and its version.
        #[arg(value_name = "POLICY@VERSION")]
        policy: String,
        /// Why, for whoever reads the log.
        #[arg(long)]
        reason: String,
        /// The policy key. Default: the one in the folder of keys.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// List what was in force, when, and why.
    History {
        /// Only this policy.
        policy: Option<String>,
    },
}

pub(super) fn run(command: Command, home: &Home<'_>) -> Result<Exit, Failure> {
    match command {
        Command::Check { folder } => check(&folder, home),
        Command::Test { folder, allow_uncovered } => test(&folder, allow_uncovered, home),
        Command::Sum { folder } => {
            let sum = chancery_policy::sum(&content(folder::read(&folder)?)).map_err(|error| {
                Failure::because(Exit::PolicyInvalid, "no bundle can have this path", &error)
                    .help("rename the file: letters, digits, `.`, `_` and `-` are always good")
            })?;
            home.output.line(&sum)?;
            Ok(Exit::Ok)
        }
        Command::Sign { folder, key } => sign(&folder, key, home),
        Command::Verify { folder, key } => verify(&folder, &key, home),
        Command::Publish { folder } => publish(&folder, home),
        Command::Activate { policy, reason, key } => activate(&policy, reason, key, home),
        Command::History { policy } => history(policy.as_deref(), home),
    }
}

fn content(mut files: Files) -> Files {
    files.retain(|path, _| !is_beside(path));
    files
}

fn load(folder: &Path) -> Result<Bundle, Failure> {
    Bundle::from_files(content(folder::read(folder)?)).map_err(|error| invalid(folder, &error))
}

fn invalid(folder: &Path, error: &BundleError) -> Failure {
    Failure::new(Exit::PolicyInvalid, format!("`{}`: {error}", folder.display()))
        .help("each line says what to do; then run `chancery bundle check` again")
}

fn check(folder: &Path, home: &Home<'_>) -> Result<Exit, Failure> {
    let bundle = load(folder)?;
    for warning in bundle.warnings() {
        home.output.say(&format!("warning: {warning}"));
    }
    let shown = json!({
        "id": bundle.manifest().id(),
        "version": bundle.manifest().version(),
        "bundleHash": bundle.hash(),
        "policies": bundle.policy_ids().len(),
        "cases": bundle.cases().len(),
        "warnings": bundle.warnings().len(),
    });
    home.output.print(&shown, |_| {
        format!(
            "{}@{} is valid: {} policies, {} cases, hash {}",
            bundle.manifest().id(),
            bundle.manifest().version(),
            bundle.policy_ids().len(),
            bundle.cases().len(),
            bundle.hash()
        )
    })?;
    Ok(Exit::Ok)
}

fn test(folder: &Path, allow_uncovered: bool, home: &Home<'_>) -> Result<Exit, Failure> {
    let bundle = load(folder)?;
    let report = bundle.run_cases();
    let shown = json!({
        "cases": report.results.len(),
        "failed": report.failures().map(ToString::to_string).collect::<Vec<_>>(),
        "policies": report.policies,
        "notCovered": report.unsatisfied,
    });
    home.output.print(&shown, |_| report.to_string())?;
    let covered = report.is_covered() && !report.results.is_empty();
    if !covered && !allow_uncovered {
        home.output.say("write a case for each policy that is not covered, or give `--allow-uncovered`");
    }
    Ok(if report.passed() && (covered || allow_uncovered) { Exit::Ok } else { Exit::PolicyTests })
}

/// The policy key: the one named, else the one in the folder of keys.
fn policy_key(key: Option<PathBuf>, home: &Home<'_>) -> Result<Arc<dyn Signer>, Failure> {
    let config = home.configuration(&[])?.config;
    let path = key.unwrap_or_else(|| home_of(&config).key(KeyName::Policy));
    signer::open(&path.to_string_lossy(), config.password_file.as_deref(), home)
}

fn sign(folder: &Path, key: Option<PathBuf>, home: &Home<'_>) -> Result<Exit, Failure> {
    let files = folder::read(folder)?;
    let key = policy_key(key, home)?;
    let signed = bundles::sign(&files, key.as_ref())?;
    for (name, bytes) in [(SUM, signed.sum.clone().into_bytes()), (SIGNATURE, signed.to_json()?)] {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(|error| {
            Failure::because(Exit::Runtime, format!("cannot write `{}`", path.display()), &error)
                .help("make the bundle's folder writable, or sign a copy of it")
        })?;
    }
    home.output.print(&json!({"bundleHash": signed.hash}), |_| format!("signed, hash {}", signed.hash))?;
    Ok(Exit::Ok)
}

fn verify(folder: &Path, key: &Path, home: &Home<'_>) -> Result<Exit, Failure> {
    let text = std::fs::read_to_string(key).map_err(|error| Failure::unreadable(key, &error))?;
    let key = PublicKey::from_spki_pem(&text).map_err(|error| {
        Failure::because(Exit::Usage, format!("`{}` is no public key", key.display()), &error)
            .help("public keys are SPKI PEM, Ed25519 or ECDSA P-256")
    })?;
    let signed = SignedBundle::from_folder(folder::read(folder)?)?;
    let bundle = bundles::verify(&signed, &key)
        .map_err(|error| Failure::from(error).ending_with(Exit::VerificationFailed))?;
    let shown = json!({"verified": true, "bundleHash": bundle.hash(), "keyId": key.key_id()});
    home.output.print(&shown, |_| format!("verified: {} is signed by {}", bundle.hash(), key.key_id()))?;
    Ok(Exit::Ok)
}

fn publish(folder: &Path, home: &Home<'_>) -> Result<Exit, Failure> {
    let signed = SignedBundle::from_folder(folder::read(folder)?)?;
    let published = match &home.server {
        Some(server) => publish_at(server, folder, &signed)?,
        None => home.runtime()?.publish(signed)?,
    };
    let shown = json!({
        "id": published.policy, "version": published.version, "bundleHash": published.hash, "new": published.new,
    });
    home.output.print(&shown, |_| {
        let what = if published.new { "published" } else { "was published before" };
        format!("{}@{} {what}, hash {}", published.policy, published.version, published.hash)
    })?;
    Ok(Exit::Ok)
}

fn activate(policy: &str, reason: String, key: Option<PathBuf>, home: &Home<'_>) -> Result<Exit, Failure> {
    let (policy, Some(version)) = parse_policy(policy)? else {
        return Err(Failure::usage("an activation needs a version").help("write it as claim-approval@1.0.0"));
    };
    let key = policy_key(key, home)?;
    let config = home.configuration(&[])?.config;
    let request = ActivationRequest { policy, version, reason, requested_by: config.principal };
    let activated = match &home.server {
        Some(server) => activate_at(server, &request, &config.tenant, key.as_ref(), home)?,
        None => {
            let runtime = home.runtime()?;
            let activated = runtime.activate(&runtime.sign_activation(&request, key.as_ref())?)?;
            home.finish(&runtime)?;
            activated
        }
    };
    let shown = json!({"activation": activated.activation, "log": activated.log});
    home.output.print(&shown, |_| {
        format!(
            "{}@{} is in force from log index {} on",
            request.policy, request.version, activated.log.index
        )
    })?;
    Ok(Exit::Ok)
}

/// Publishes the bundle in a folder to a server. It is checked here first, with the words of `bundle check`.
fn publish_at(server: &Remote, folder: &Path, signed: &SignedBundle) -> Result<Published, Failure> {
    let bundle = Bundle::from_files(signed.files.clone()).map_err(|error| invalid(folder, &error))?;
    let (policy, version) = (bundle.manifest().id().clone(), bundle.manifest().version().clone());
    let files: BTreeMap<String, b64::Bytes> =
        folder::read(folder)?.into_iter().map(|(path, bytes)| (path, b64::Bytes(bytes))).collect();
    let (status, _): (_, IgnoredAny) = server
        .post_json(&format!("/v1/policies/{policy}/{version}"), &json!({"files": files}).to_string())?;
    Ok(Published { policy, version, hash: bundle.hash(), new: status == StatusCode::CREATED })
}

/// Puts a version in force at a server: the statement is made and signed here, about the content that the server has.
fn activate_at(
    server: &Remote,
    request: &ActivationRequest,
    tenant: &TenantId,
    key: &dyn Signer,
    home: &Home<'_>,
) -> Result<Activated, Failure> {
    #[derive(Deserialize)]
    struct InForce {
        log: LogPosition,
    }
    let hash = server.bundle(&request.policy, &request.version)?.hash();
    let previous = server.policy(&request.policy)?.and_then(|policy| policy.in_force);
    let previous = previous.map(|active| active.bundle_hash);
    let now = home.edge.clock.now();
    let (activation, envelope) = request.sign(tenant, hash, previous, now, key)?;
    let path = format!("/v1/policies/{}/{}/activation", request.policy, request.version);
    let (_, InForce { log }) = server.post_json(&path, &json!(envelope).to_string())?;
    Ok(Activated { activation, log })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    index: u64,
    policy: String,
    activated_at: String,
    requested_by: String,
    reason: String,
    bundle_hash: String,
}

fn history(policy: Option<&str>, home: &Home<'_>) -> Result<Exit, Failure> {
    let wanted = policy.map(|policy| parse_policy(policy).map(|(id, _)| id)).transpose()?;
    let shown = match &home.server {
        Some(server) => history_at(server, wanted.as_ref())?,
        None => history_here(home, wanted.as_ref())?,
    };
    home.output.print_list(&shown, &["index", "policy", "activated at", "by", "reason"], |row| {
        vec![
            row.index.to_string(),
            row.policy.clone(),
            row.activated_at.clone(),
            row.requested_by.clone(),
            row.reason.clone(),
        ]
    })?;
    Ok(Exit::Ok)
}

fn history_here(home: &Home<'_>, wanted: Option<&PolicyId>) -> Result<Vec<Shown>, Failure> {
    Ok(home
        .records()?
        .activations(wanted)?
        .into_iter()
        .map(|activation| Shown {
            index: activation.index,
            policy: format!("{}@{}", activation.policy_id, activation.policy_version),
            activated_at: activation.activated_at.to_string(),
            requested_by: activation.requested_by,
            reason: activation.reason,
            bundle_hash: activation.bundle_hash.to_string(),
        })
        .collect())
}

fn history_at(server: &Remote, wanted: Option<&PolicyId>) -> Result<Vec<Shown>, Failure> {
    let mut shown = Vec::new();
    for id in server.policy_ids()?.into_iter().filter(|id| wanted.is_none_or(|wanted| wanted == id)) {
        let Some(policy) = server.policy(&id)? else { continue };
        shown.extend(policy.activations.into_iter().map(|activation| Shown {
            index: activation.index,
            policy: format!("{}@{}", policy.id, activation.version),
            activated_at: activation.activated_at,
            requested_by: activation.requested_by,
            reason: activation.reason,
            bundle_hash: activation.bundle_hash.to_string(),
        }));
    }
    shown.sort_by_key(|shown| shown.index);
    Ok(shown)
}
