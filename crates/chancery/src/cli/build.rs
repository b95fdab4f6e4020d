//! `chancery build sbom|identity|sign|verify`: the files of a release (formats §8), for its pipeline and its readers.

mod blob;
mod release;

use std::io::Write;
use std::path::{Path, PathBuf};

use chancery_core::digest::Digest;
use chancery_core::key::{PublicKey, pem};
use chancery_core::statement::{Image, Subject};
use chancery_core::time::Timestamp;
use chancery_supply::cargo::{self, CargoError, Question};
use chancery_supply::identity::{self, Facts};
use chancery_supply::source::{self, Source, SourceError};
use chancery_supply::{image, sbom};
use serde_json::json;

use super::open::Home;
use super::{Exit, Failure, signer};
use crate::instant::parse_instant;

/// The variable that fixes every time in a build (reproducible-builds.org).
const EPOCH_VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// The builder of whoever names none: a person, on a machine that nobody vouches for.
const BY_HAND: &str = "https://chancery.dev/builder/by-hand/v1";

/// Subcommands of `build`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Write the bill of materials of a program: CycloneDX 1.5, everything that it links, and nothing else.
    Sbom(SbomArguments),
    /// Write the build identity: what a program was made from, for a build key to sign.
    Identity(IdentityArguments),
    /// Sign a build identity, or any other file, so that cosign can check it.
    Sign(release::SignArguments),
    /// Check a release: its signatures, its program, its bill of materials. Or any file with a signature.
    Verify(release::VerifyArguments),
}

/// Arguments of `build sbom`.
#[derive(Debug, clap::Args)]
pub(super) struct SbomArguments {
    /// The file to write; nothing is overwritten.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The workspace's manifest.
    #[arg(long, value_name = "FILE", default_value = "Cargo.toml")]
    manifest_path: PathBuf,
    /// The package of the program.
    #[arg(long, default_value = "chancery")]
    package: String,
    /// The program.
    #[arg(long, default_value = "chancery")]
    bin: String,
    /// The platform that it is built for. Default: this one.
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Features that it is built with, beside the default ones.
    #[arg(long, value_delimiter = ',')]
    features: Vec<String>,
    /// It is built without the default features.
    #[arg(long)]
    no_default_features: bool,
    /// Fetch nothing: all crates have to be here.
    #[arg(long)]
    offline: bool,
}

/// Arguments of `build identity`.
#[derive(Debug, clap::Args)]
pub(super) struct IdentityArguments {
    /// The program.
    #[arg(long, value_name = "FILE")]
    binary: PathBuf,
    /// Its bill of materials.
    #[arg(long, value_name = "FILE")]
    sbom: PathBuf,
    /// The key that is going to sign: its public half, or the private one, which asks for its password.
    #[arg(long, value_name = "KEY")]
    key: String,
    /// A file with the password of a private key.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The file to write; nothing is overwritten.
    #[arg(long, value_name = "FILE", default_value = chancery_supply::release::IDENTITY)]
    out: PathBuf,
    /// The workspace's manifest, beside Cargo.lock and in the git repository that was built.
    #[arg(long, value_name = "FILE", default_value = "Cargo.toml")]
    manifest_path: PathBuf,
    /// Who or what built it, a URI.
    #[arg(long, value_name = "URI", default_value = BY_HAND)]
    builder: String,
    /// The builder's own name for this run, a URL of a job for example.
    #[arg(long, value_name = "URI")]
    invocation: Option<String>,
    /// The container image's name.
    #[arg(long, value_name = "NAME", requires = "image")]
    image_name: Option<String>,
    /// The container image's digest.
    #[arg(long, value_name = "sha256:HEX", requires = "image_name", group = "image")]
    image_digest: Option<String>,
    /// The folder of an OCI image layout, which has the digest.
    #[arg(long, value_name = "DIR", requires = "image_name", group = "image")]
    oci_layout: Option<PathBuf>,
    /// Where the source lies. Default: git's `origin`.
    #[arg(long, value_name = "URL")]
    repository: Option<String>,
    /// The tag, where the commit has several.
    #[arg(long)]
    tag: Option<String>,
    /// The commit that was built: refused where another is checked out by now.
    #[arg(long, value_name = "HASH")]
    commit: Option<String>,
    /// Refuse a tree that differs from the commit, in place of saying so in the identity.
    #[arg(long)]
    clean: bool,
    /// When it was built. Default: SOURCE_DATE_EPOCH, else now.
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    built_at: Option<Timestamp>,
}

pub(super) fn run(command: Command, home: &Home<'_>) -> Result<Exit, Failure> {
    match command {
        Command::Sbom(arguments) => sbom(&arguments, home),
        Command::Identity(arguments) => identity(arguments, home),
        Command::Sign(arguments) => release::sign(&arguments, home),
        Command::Verify(arguments) => release::verify(&arguments, home),
    }
}

fn sbom(arguments: &SbomArguments, home: &Home<'_>) -> Result<Exit, Failure> {
    refuse_existing(&arguments.out)?;
    let at = match source_date_epoch()? {
        Some(at) => at,
        None => Source::read(folder_of(&arguments.manifest_path)).map_err(no_source)?.committed_at,
    };
    let question = Question {
        manifest: arguments.manifest_path.clone(),
        package: arguments.package.clone(),
        bin: arguments.bin.clone(),
        target: arguments.target.clone(),
        features: arguments.features.clone(),
        no_default_features: arguments.no_default_features,
        offline: arguments.offline,
    };
    let refused = |error: CargoError| {
        let exit = if matches!(error, CargoError::Process(_)) { Exit::Runtime } else { Exit::Usage };
        Failure::because(exit, "no bill of materials", &error).help(
            "run it where `cargo build --locked` works; `--manifest-path`, `--package` and `--bin` say what is built",
        )
    };
    let answer = cargo::ask(&question).map_err(refused)?;
    let linked = cargo::linked(&answer, &question.package, &question.bin).map_err(refused)?;
    let bytes = sbom::write(&linked, &question.bin, &answer.target, at)
        .and_then(|bytes| sbom::read(&bytes).map(|summary| (bytes, summary)));
    let (bytes, summary) = bytes.map_err(|error| {
        Failure::because(Exit::Runtime, "no bill of materials", &error).help(
            "a crate's manifest says something that CycloneDX has no words for; the message names the member",
        )
    })?;
    write_new(&arguments.out, &bytes)?;
    let sha256 = Digest::of(&bytes);
    let shown = json!({
        "file": arguments.out, "sha256": sha256, "name": summary.name, "version": summary.version,
        "target": summary.target, "components": summary.components,
    });
    home.output.print(&shown, |_| format!("{summary}\nSHA-256 {sha256}"))?;
    Ok(Exit::Ok)
}

fn identity(arguments: IdentityArguments, home: &Home<'_>) -> Result<Exit, Failure> {
    refuse_existing(&arguments.out)?;
    let folder = folder_of(&arguments.manifest_path);
    let binary = read(&arguments.binary)?;
    let bill = read(&arguments.sbom)?;
    let lockfile = Digest::of(&read(&folder.join("Cargo.lock"))?);
    let image = image_of(&arguments)?;
    let git = Source::read(folder)
        .and_then(|source| source.is(arguments.commit.as_deref(), arguments.clean))
        .and_then(|source| source.named(arguments.repository.as_deref(), arguments.tag.as_deref()))
        .map_err(no_source)?;
    let toolchain = cargo::toolchain(folder).map_err(|error| {
        Failure::because(Exit::Runtime, "cannot name the compiler", &error)
            .help("run it where the program was built, with the same `rustc`")
    })?;
    let built_at = match (arguments.built_at, source_date_epoch()?) {
        (Some(at), _) | (None, Some(at)) => at,
        (None, None) => home.edge.clock.now(),
    };
    let name = arguments.binary.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let signer = public_key(&arguments.key, arguments.password_file.as_deref(), home)?;
    let facts = Facts {
        binary: Subject::new(name, *Digest::of(&binary).as_bytes()),
        builder: arguments.builder,
        invocation: arguments.invocation,
        built_at,
        git,
        image,
        lockfile,
        sbom: &bill,
        toolchain,
        signer: &signer,
    };
    let statement = identity::statement(facts).map_err(|error| {
        Failure::because(Exit::Usage, "no build identity", &error)
            .help("docs/guides/release.md has the whole way")
    })?;
    let payload = statement.to_payload().map_err(|error| {
        Failure::because(Exit::Usage, "no build identity", &error)
            .help("docs/guides/release.md has the whole way")
    })?;
    write_new(&arguments.out, payload.as_bytes())?;
    let git = &statement.predicate.git;
    if git.dirty {
        home.output
            .say("warning: the tree differs from the commit, and the build identity says so (`git.dirty`)");
    }
    let hash = Digest::of(payload.as_bytes());
    let shown =
        json!({"file": arguments.out, "sha256": hash, "git": git, "signer": statement.predicate.signer});
    home.output.print(&shown, |_| {
        format!("build {hash}\ncommit {}\nto be signed by {}", git.commit, statement.predicate.signer)
    })?;
    Ok(Exit::Ok)
}

fn image_of(arguments: &IdentityArguments) -> Result<Option<Image>, Failure> {
    let Some(name) = &arguments.image_name else { return Ok(None) };
    let image = match (&arguments.oci_layout, &arguments.image_digest) {
        (Some(layout), _) => image::from_layout(layout, name),
        (None, digest) => image::given(name, digest.as_deref().unwrap_or_default()),
    };
    image.map(Some).map_err(|error| {
        Failure::because(Exit::Usage, "cannot name the image", &error)
            .help("give `--image-digest sha256:…` as the registry shows it, or `--oci-layout DIR`")
    })
}

/// The public half of a key: its file, or that of the private key that `reference` names.
fn public_key(reference: &str, password_file: Option<&Path>, home: &Home<'_>) -> Result<PublicKey, Failure> {
    match std::fs::read_to_string(reference) {
        Ok(text) if text.contains(pem::PUBLIC_KEY) => parse_public(Path::new(reference), &text),
        _ => Ok(signer::open(reference, password_file, home)?.public_key().clone()),
    }
}

fn parse_public(path: &Path, text: &str) -> Result<PublicKey, Failure> {
    PublicKey::from_spki_pem(text).map_err(|error| {
        Failure::because(Exit::Usage, format!("`{}` is no public key", path.display()), &error)
            .help("public keys are SPKI PEM; those of builds are ECDSA P-256, as `cosign generate-key-pair` makes them")
    })
}

fn source_date_epoch() -> Result<Option<Timestamp>, Failure> {
    let Some(value) = std::env::var_os(EPOCH_VARIABLE) else { return Ok(None) };
    let text = value.to_string_lossy();
    source::parse_seconds(&text).map(Some).ok_or_else(|| {
        Failure::usage(format!("`{EPOCH_VARIABLE}` is `{text}`"))
            .help("it has to be seconds since 1970, such as `git log -1 --format=%ct` prints, or not be set")
    })
}

fn no_source(error: SourceError) -> Failure {
    let exit = if matches!(error, SourceError::Git(_)) { Exit::Runtime } else { Exit::Usage };
    Failure::because(exit, "cannot name the source", &error)
        .help("run it in a git clone of the source, or name its manifest with `--manifest-path`")
}

/// The folder that a file lies in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let exit = if missing { Exit::NotFound } else { Exit::Usage };
        Failure::because(exit, format!("cannot read `{}`", path.display()), &error)
            .help("give the path of a file that this user can read")
    })
}

/// Refuses before the work what [`write_new`] would refuse after it.
fn refuse_existing(path: &Path) -> Result<(), Failure> {
    if path.exists() { Err(existing(path)) } else { Ok(()) }
}

fn existing(path: &Path) -> Failure {
    Failure::new(Exit::Conflict, format!("`{}` is there already", path.display()))
        .help("nothing is overwritten: remove it, or write into another folder")
}

/// Writes a new file that everybody may read; nobody ever finds half of it.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    let write = || {
        let mode = std::fs::Permissions::from_mode(0o644);
        let mut file = tempfile::Builder::new().permissions(mode).tempfile_in(folder_of(path))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path).map(drop).map_err(|error| error.error)
    };
    write().map_err(|error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => existing(path),
        _ => Failure::because(Exit::Runtime, format!("cannot write `{}`", path.display()), &error)
            .help("name a new file in a folder that this user can write into"),
    })
}
