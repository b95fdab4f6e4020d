//! `chancery build sign` and `chancery build verify`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use chancery_core::digest::Digest;
use chancery_core::statement::{BuildIdentity, Statement};
use chancery_supply::release::{self, Check, Files, Outcome, Report, SignReleaseError};
use chancery_supply::sbom;
use serde_json::{Value, json};

use super::super::failure::chain;
use super::super::open::Home;
use super::super::{Exit, Failure, signer};
use super::blob::{self, Proof};
use super::{existing, folder_of, parse_public, read, write_new};

/// Arguments of `build sign`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct SignArguments {
    /// build-identity.json, or any other file.
    file: PathBuf,
    /// The private key: a key file of cosign or `chancery key generate`, or another reference to a key.
    #[arg(long, value_name = "KEY")]
    key: String,
    /// A file with its password, /dev/fd/N included. Default: CHANCERY_PASSWORD, else a prompt.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Arguments of `build verify`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct VerifyArguments {
    /// The folder of the release, or its build-identity.json, with the signatures beside it; or any file, with
    /// `--bundle` or `--signature`.
    #[arg(default_value = ".")]
    release: PathBuf,
    /// The key that is trusted: its public half, got by another way.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    proof: Proof,
    /// The bundle is an attestation: a statement of this type about the file.
    #[arg(long = "type", value_name = "URI", requires = "bundle")]
    kind: Option<String>,
    /// The program. Default: the file of the name that was signed, in the same folder.
    #[arg(long, value_name = "FILE", conflicts_with = "proof")]
    binary: Option<PathBuf>,
    /// The bill of materials. Default: sbom.cdx.json in the same folder.
    #[arg(long, value_name = "FILE", conflicts_with = "proof")]
    sbom: Option<PathBuf>,
}

pub(in crate::cli) fn sign(arguments: &SignArguments, home: &Home<'_>) -> Result<Exit, Failure> {
    let bytes = read(&arguments.file)?;
    let is_identity = arguments.file.file_name().is_some_and(|name| name == release::IDENTITY)
        || Statement::<BuildIdentity>::parse_unverified(&bytes).is_ok();
    let named = |from: &str, ending: &str| {
        let name = arguments.file.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.strip_suffix(from).unwrap_or(&name);
        arguments.file.with_file_name(format!("{stem}{ending}"))
    };
    // Of build-identity.json the other two are build-identity.…: they are no files about a JSON file.
    let stem = if is_identity { ".json" } else { "" };
    let mut paths = vec![named("", ".sig"), named(stem, ".sigstore.json")];
    if is_identity {
        paths.push(named(stem, ".dsse.json"));
    }
    if let Some(path) = paths.iter().find(|path| path.exists()) {
        return Err(existing(path));
    }
    let signer = signer::open(&arguments.key, arguments.password_file.as_deref(), home)?;
    let signed = if is_identity {
        release::sign_identity(&bytes, signer.as_ref()).map(|(blob, envelope)| (blob, Some(envelope)))
    } else {
        release::sign_blob(&bytes, signer.as_ref()).map(|blob| (blob, None))
    };
    let (blob, envelope) = signed.map_err(|error| {
        let exit = if matches!(error, SignReleaseError::Sign(_)) { Exit::Runtime } else { Exit::Usage };
        Failure::because(exit, format!("`{}` is not signed", arguments.file.display()), &error)
            .help("docs/guides/release.md has the whole way, from the build to the signatures")
    })?;
    let contents = [Some(blob.base64.into_bytes()), Some(blob.bundle), envelope];
    for (path, content) in paths.iter().zip(contents.into_iter().flatten()) {
        write_new(path, &content)?;
    }
    let key = signer.public_key().key_id();
    home.output.print(&json!({"signer": key, "files": paths}), |_| {
        let files: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        format!("signed by {key}\n{}", files.join("\n"))
    })?;
    Ok(Exit::Ok)
}

pub(in crate::cli) fn verify(arguments: &VerifyArguments, home: &Home<'_>) -> Result<Exit, Failure> {
    let pem = read(&arguments.key)?;
    let key = parse_public(&arguments.key, &String::from_utf8_lossy(&pem))?;
    if arguments.proof.is_given() {
        let kind = arguments.kind.as_deref();
        return blob::verify(&arguments.release, &arguments.proof, kind, &key, home);
    }
    let file = if arguments.release.is_dir() {
        arguments.release.join(release::IDENTITY)
    } else {
        arguments.release.clone()
    };
    let folder = folder_of(&file);
    let identity = read(&file)?;
    let signature = beside(folder, release::SIGNATURE)?;
    let bundle = beside(folder, release::BUNDLE)?;
    let envelope = beside(folder, release::ENVELOPE)?;
    let bill = match &arguments.sbom {
        Some(path) => Some(read(path)?),
        None => beside(folder, release::SBOM)?,
    };
    let binary = match &arguments.binary {
        Some(path) => Some(read(path)?),
        None => match signed_name(&identity) {
            Some(name) => beside(folder, &name)?,
            None => None,
        },
    };
    let files = Files {
        identity: &identity,
        signature: signature.as_deref(),
        bundle: bundle.as_deref(),
        envelope: envelope.as_deref(),
        sbom: bill.as_deref(),
        binary: binary.as_deref().map(Digest::of),
    };
    let report = release::verify(&files, &key);
    let exit = match (report.failed(), report.incomplete()) {
        (true, _) => Exit::VerificationFailed,
        (false, true) => Exit::Incomplete,
        (false, false) => Exit::Ok,
    };
    home.output.print(&as_json(&report, exit), |_| as_text(&report, bill.as_deref(), exit))?;
    Ok(exit)
}

/// The program's name as it was signed, where it is a file name and no way out of the folder.
fn signed_name(identity: &[u8]) -> Option<String> {
    let statement = Statement::<BuildIdentity>::parse_unverified(identity).ok()?;
    let name = &statement.subject.first()?.name;
    (Path::new(name).file_name()? == name.as_str()).then(|| name.clone())
}

/// A file of the release; none where it is not there.
fn beside(folder: &Path, name: &str) -> Result<Option<Vec<u8>>, Failure> {
    let path = folder.join(name);
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        _ => read(&path).map(Some),
    }
}

fn verdict(exit: Exit) -> &'static str {
    match exit {
        Exit::Ok => "verified",
        Exit::Incomplete => "incomplete",
        _ => "failed",
    }
}

/// The status of a check, and what is to be said about it.
fn told((check, outcome): &(Check, Outcome)) -> (&'static str, String) {
    match outcome {
        Outcome::Pass => ("pass", check.to_string()),
        Outcome::Missing => ("unknown", format!("{check}: what it needs is not there")),
        Outcome::Fail(fault) => ("fail", format!("{check}: {}", chain(fault))),
    }
}

fn as_json(report: &Report, exit: Exit) -> Value {
    let checks: Vec<Value> = report
        .checks
        .iter()
        .map(|line| {
            let (status, detail) = told(line);
            json!({"check": line.0, "status": status, "detail": detail})
        })
        .collect();
    json!({
        "verdict": verdict(exit),
        "buildIdentity": report.identity,
        "checks": checks,
        "subject": report.statement.as_ref().map(|statement| &statement.subject),
        "predicate": report.statement.as_ref().map(|statement| &statement.predicate),
    })
}

/// The checks, and below them the chain: from the program down to the commit.
fn as_text(report: &Report, bill: Option<&[u8]>, exit: Exit) -> String {
    let mut lines: Vec<String> = report
        .checks
        .iter()
        .map(|line| {
            let (status, detail) = told(line);
            format!("{status:<8}{detail}")
        })
        .collect();
    if let Some(statement) = &report.statement {
        let build = &statement.predicate;
        // Text of somebody who may have forged it: it must not look like a line of ours.
        let mut row = |name: &str, text: String| {
            lines.push(format!("  {name:<11}{}", text.replace(char::is_control, "\u{fffd}")));
        };
        for subject in &statement.subject {
            let what = if statement.subject.first() == Some(subject) { "program" } else { "image" };
            row(what, format!("{} sha256:{}", subject.name, subject.digest.sha256));
        }
        row("build", report.identity.to_string());
        row("signer", build.signer.to_string());
        // Nobody vouches for the inside of another document than the one that was signed.
        let signed = report.checks.iter().any(|line| matches!(line, (Check::Sbom, Outcome::Pass)));
        let summary = bill.filter(|_| signed).and_then(|bill| sbom::read(bill).ok());
        let components = summary.map(|summary| format!(" ({summary})")).unwrap_or_default();
        row("materials", format!("sha256:{}{components}", build.sbom.sha256));
        row("Cargo.lock", format!("sha256:{}", build.lockfile_sha256));
        row("compiler", build.toolchain.clone());
        row("builder", format!("{}, {}", build.builder, build.built_at));
        let tag = build.git.tag.as_ref().map(|tag| format!(", tag {tag}")).unwrap_or_default();
        let dirty = if build.git.dirty { ", with changes that are in no commit" } else { "" };
        row("source", build.git.repository.clone());
        row("commit", format!("{}{tag}{dirty}", build.git.commit));
    }
    lines.push(verdict(exit).to_owned());
    lines.join("\n")
}
