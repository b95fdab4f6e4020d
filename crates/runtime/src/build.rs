//! The build that decides: its identity is verified, bound to the running program, and logged, before it decides.
//!
//! ```text
//! build-identity.json ── blob signature by a build key, DSSE envelope by the same key
//!   ├ subject digest   = SHA-256 of the running program
//!   └ sbom.sha256      = SHA-256 of the CycloneDX document
//!         │ logged once (kind 8)
//!         ▼
//! runtime.buildIdentity of every decision = SHA-256(build-identity.json)
//! ```
//! Files that are there are verified, all of them, and every fault is told with what mends it. A log for production
//! decides with nothing else; a log for tests may decide without a build, and its decisions then name none.
//! Sources: formats §8 and §10 (`build.signature`, `build.binding`, `build.sbom`).

use crate::answer::LogPosition;
use crate::error::ExecuteError;
use crate::runtime::{Inner, OpenError, Runtime};
use chancery_core::digest::{Digest, RecordId, sha256};
use chancery_core::dsse::Envelope;
use chancery_core::keyring::{Keyring, Role};
use chancery_core::log::Kind;
use chancery_core::sigstore::MessageBundle;
use chancery_core::statement::{BuildIdentity, Environment, Statement};
use chancery_store::{
    Body, BuildIdentityRecord, Entry, NewBuildIdentity, NewEntry, Reader, Rejected, Store, StoreError,
    SubmitError,
};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, PoisonError};

mod fault;

use chancery_supply::release::{self, Outcome};

pub use chancery_supply::release::{BUNDLE, ENVELOPE, IDENTITY, SBOM, SIGNATURE};
pub use fault::{BuildError, BuildFault};

/// The longest identity and signature files, bytes: provenance predicates are long, but not that long.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The longest CycloneDX document, bytes: with the identity it has to fit into a line of evidence (64 MiB) in base64.
pub const SBOM_BYTES_MAX: u64 = 40 * 1024 * 1024;

/// The files of a release, as they lie beside its program (formats §8). Nothing about them is verified yet.
#[derive(Clone, Debug, Default)]
pub struct BuildFiles {
    /// [`IDENTITY`].
    pub identity: Vec<u8>,
    /// [`SIGNATURE`]; the one file that may be missing.
    pub signature: Option<Vec<u8>>,
    /// [`BUNDLE`].
    pub bundle: Option<Vec<u8>>,
    /// [`ENVELOPE`].
    pub envelope: Option<Vec<u8>>,
    /// [`SBOM`].
    pub sbom: Option<Vec<u8>>,
}

impl BuildFiles {
    /// Reads the files of a folder; none where there is neither [`IDENTITY`] nor a signature of it.
    ///
    /// # Errors
    /// The system's, with the path; also for a file that is too long, for one that is no regular file, and for
    /// signatures without what they sign.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        let read = |name: &str, max: u64| -> io::Result<Option<Vec<u8>>> {
            let path = folder.join(name);
            let told =
                |error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
            // Looked at before it is opened: opening a named pipe waits for a writer.
            match path.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(told(error)),
                Ok(found) if !found.is_file() => {
                    return Err(told(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
                }
                Ok(_) => {}
            }
            let file = File::open(&path).map_err(told)?;
            let mut bytes = Vec::new();
            file.take(max + 1).read_to_end(&mut bytes).map_err(told)?;
            if u64::try_from(bytes.len()).is_ok_and(|length| length > max) {
                let error = io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {max} bytes"));
                return Err(told(error));
            }
            Ok(Some(bytes))
        };
        let identity = read(IDENTITY, FILE_BYTES_MAX)?;
        let signature = read(SIGNATURE, FILE_BYTES_MAX)?;
        let bundle = read(BUNDLE, FILE_BYTES_MAX)?;
        // Base64 of the payload, and a signature.
        let envelope = read(ENVELOPE, 2 * FILE_BYTES_MAX)?;
        let signatures = [(SIGNATURE, &signature), (BUNDLE, &bundle), (ENVELOPE, &envelope)];
        let Some(identity) = identity else {
            let Some((name, _)) = signatures.into_iter().find(|(_, file)| file.is_some()) else {
                return Ok(None);
            };
            let what =
                format!("`{}` is there without `{IDENTITY}`, which it signs", folder.join(name).display());
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        };
        Ok(Some(Self { identity, signature, bundle, envelope, sbom: read(SBOM, SBOM_BYTES_MAX)? }))
    }
}

/// A build whose files hold together, signed by a key that is good for it.
#[derive(Clone, Debug)]
pub struct Build {
    /// SHA-256 of the payload: what decisions name.
    pub hash: Digest,
    /// What it says.
    pub statement: Statement<BuildIdentity>,
    /// The bytes of [`IDENTITY`].
    pub payload: Vec<u8>,
    /// The signature over them as a blob.
    pub signature: MessageBundle,
    /// The same payload, signed as a log entry.
    pub envelope: Envelope,
    /// The bytes of the CycloneDX document; shared, because they are long and given out to anybody.
    pub sbom: Arc<[u8]>,
}

/// The build that decides, and where it is logged.
#[derive(Clone, Debug)]
pub struct DecidingBuild {
    /// The build.
    pub build: Build,
    /// Its log entry, which stands before the first decision that names it.
    pub log: LogPosition,
}

/// Verifies the files of a release for the program whose SHA-256 is `binary`.
///
/// `index` is that of the log entry where the identity is logged already, else the one that it would get; the key is
/// judged there, at the time at which the build says that it was made.
///
/// # Errors
/// [`BuildError`] with every fault.
pub fn verify(
    files: &BuildFiles,
    keyring: &Keyring,
    index: u64,
    binary: Digest,
) -> Result<Build, BuildError> {
    let given = release::Files {
        identity: &files.identity,
        signature: files.signature.as_deref(),
        bundle: files.bundle.as_deref(),
        envelope: files.envelope.as_deref(),
        sbom: files.sbom.as_deref(),
        binary: Some(binary),
    };
    let named = |statement: Option<&Statement<BuildIdentity>>| keyring.find_key(&statement?.predicate.signer);
    let report = release::verify_by(&given, named);
    let mut faults: Vec<BuildFault> = [
        (BUNDLE, files.bundle.is_none()),
        (ENVELOPE, files.envelope.is_none()),
        (SBOM, files.sbom.is_none()),
    ]
    .into_iter()
    .filter_map(|(file, missing)| missing.then_some(BuildFault::Missing { file }))
    .collect();
    for (check, outcome) in report.checks {
        if let Outcome::Fail(source) = outcome {
            faults.push(BuildFault::Release { check, source });
        }
    }
    if let Some(statement) = &report.statement {
        let BuildIdentity { signer, built_at, .. } = &statement.predicate;
        if keyring.find_key(signer).is_some() {
            let standings = keyring.faults(signer, &Role::Build, index, *built_at).into_iter();
            faults.extend(standings.map(|standing| BuildFault::Key { key: signer.clone(), standing }));
        } else {
            faults.push(BuildFault::UnknownKey { key: signer.clone() });
        }
    }
    let signature = files.bundle.as_deref().and_then(|bytes| MessageBundle::parse(bytes).ok());
    let envelope = files.envelope.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok());
    match (report.statement, signature, envelope, &files.sbom) {
        (Some(statement), Some(signature), Some(envelope), Some(sbom)) if faults.is_empty() => Ok(Build {
            hash: report.identity,
            statement,
            payload: files.identity.clone(),
            signature,
            envelope,
            sbom: sbom.as_slice().into(),
        }),
        _ => Err(BuildError { faults }),
    }
}

/// Verifies the files at the index of the log that the identity has or would get.
pub(crate) fn judge(
    store: &Store,
    keyring: &Keyring,
    files: &BuildFiles,
    binary: Digest,
) -> Result<(Build, Option<Recorded>), OpenError> {
    let hash = Digest::of(&files.identity);
    let recorded = store.read(|reader| read_recorded(reader, &hash))?;
    let index = match &recorded {
        Some((record, _)) => record.index,
        None => store.read(|reader| Ok(reader.head()?.size))?,
    };
    Ok((verify(files, keyring, index, binary)?, recorded))
}

/// Verifies the files and makes sure that the identity is in the log. Durable once it returns.
pub(crate) fn admit(
    store: &Store,
    keyring: &Keyring,
    files: &BuildFiles,
    binary: Digest,
) -> Result<DecidingBuild, OpenError> {
    let (build, recorded) = judge(store, keyring, files, binary)?;
    let hash = build.hash;
    let look = || store.read(|reader| read_recorded(reader, &hash));
    if build.statement.predicate.git.dirty {
        tracing::warn!(build = %hash, "this build was not made of its commit alone: the source had been changed");
    }
    let recorded = match recorded {
        Some(recorded) => recorded,
        None => {
            match store.submit_blocking(entry(&build)?) {
                // Another process that opened the log just now was first.
                Ok(_) | Err(SubmitError::Rejected(Rejected::Recorded { .. })) => {}
                Err(error) => return Err(OpenError::BuildNotLogged(error)),
            }
            let identity = &build.statement.predicate;
            tracing::info!(build = %hash, commit = %identity.git.commit, "the build is logged");
            look()?.ok_or(RecordedBuildError { build: hash, what: "it is not in the store" })?
        }
    };
    let log = LogPosition { index: recorded.1.index, leaf_hash: recorded.1.leaf_hash };
    RecordedBuild::verify(keyring, recorded, &hash)?;
    Ok(DecidingBuild { build, log })
}

fn entry(build: &Build) -> Result<NewEntry, OpenError> {
    let [binary, ..] = build.statement.subject.as_slice() else {
        return Err(RecordedBuildError { build: build.hash, what: "it has no subject" }.into());
    };
    let signature = chancery_core::canonical::to_canonical(&build.signature)
        .map_err(|_| RecordedBuildError { build: build.hash, what: "its signature cannot be written" })?;
    Ok(NewEntry {
        payload: build.payload.clone(),
        signatures: build.envelope.signatures.clone(),
        record_id: build.envelope.record_id(),
        claimed_at: build.statement.predicate.built_at,
        body: Body::BuildIdentity(NewBuildIdentity {
            payload_sha256: build.hash,
            binary_sha256: binary.digest.sha256,
            signature: signature.into_bytes(),
            sbom: Some(build.sbom.to_vec()),
        }),
    })
}

impl Runtime {
    /// The build that decides; none where there is none.
    #[must_use]
    pub fn build(&self) -> Option<&DecidingBuild> {
        self.inner.build.as_ref()
    }

    /// Whether this runtime may decide: with a verified build whose key is still good, or on a log for tests.
    ///
    /// # Errors
    /// [`ExecuteError::BuildMissing`] and [`ExecuteError::BuildKey`].
    pub fn may_decide(&self) -> Result<(), ExecuteError> {
        self.inner.deciding_build().map(|_| ())
    }
}

impl Inner {
    /// The build that a decision names, as far as the keyring of this moment lets it decide.
    pub(crate) fn deciding_build(&self) -> Result<Option<Digest>, ExecuteError> {
        let Some(DecidingBuild { build, log }) = &self.build else {
            return match self.settings.environment {
                Environment::Test => Ok(None),
                Environment::Production => Err(ExecuteError::BuildMissing),
            };
        };
        let BuildIdentity { signer, built_at, .. } = &build.statement.predicate;
        match self.snapshot().keyring.judge(signer, &Role::Build, log.index, *built_at) {
            Ok(_) => Ok(Some(build.hash)),
            Err(standing) => Err(ExecuteError::BuildKey { key: signer.clone(), standing }),
        }
    }
}

/// What the log and the table beside it have of a build, verified.
pub(crate) struct RecordedBuild {
    pub(crate) entry: Entry,
    pub(crate) signature: MessageBundle,
    pub(crate) sbom: Option<Vec<u8>>,
}

/// The row of a build and its log entry, unverified.
pub(crate) type Recorded = (BuildIdentityRecord, Entry);

/// Reads what is recorded under the hash that decisions name.
pub(crate) fn read_recorded(reader: &mut Reader<'_>, hash: &Digest) -> Result<Option<Recorded>, StoreError> {
    let Some(record) = reader.build_identity(hash)? else { return Ok(None) };
    let entry = reader.entry(record.index)?;
    Ok(entry.map(|entry| (record, entry)))
}

impl RecordedBuild {
    /// Whether row and entry hold together under the hash that decisions name.
    pub(crate) fn verify(
        keyring: &Keyring,
        (record, entry): Recorded,
        hash: &Digest,
    ) -> Result<Self, RecordedBuildError> {
        let tampered = |what| RecordedBuildError { build: *hash, what };
        if entry.kind != Kind::BuildIdentity
            || record.payload_sha256 != *hash
            || sha256(&entry.payload) != *hash.as_bytes()
        {
            return Err(tampered("its log entry is another one"));
        }
        let statement = Statement::<BuildIdentity>::parse_unverified(&entry.payload)
            .map_err(|_| tampered("its log entry is no build identity"))?;
        let named = statement.subject.first().map(|subject| subject.digest.sha256);
        if named != Some(record.binary_sha256) {
            return Err(tampered("its column `binary_sha256` is not what was signed"));
        }
        let signature =
            MessageBundle::parse(&record.signature).map_err(|_| tampered("its signature cannot be read"))?;
        let signed = keyring.find_hint(signature.hint()).is_some_and(|key| {
            *key.key_id() == statement.predicate.signer && signature.verify(&entry.payload, key).is_ok()
        });
        if !signed {
            return Err(tampered("its signature does not hold"));
        }
        let other = |sbom: &Vec<u8>| sha256(sbom) != *statement.predicate.sbom.sha256.as_bytes();
        if record.sbom.as_ref().is_some_and(other) {
            return Err(tampered("its bill of materials is not the one that it names"));
        }
        Ok(Self { entry, signature, sbom: record.sbom })
    }
}

/// A build as provenance names it: verified, and without its bill of materials, which may be long.
#[derive(Clone, Debug)]
pub(crate) struct LoggedBuild {
    pub(crate) index: u64,
    pub(crate) record_id: RecordId,
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: MessageBundle,
}

impl From<RecordedBuild> for LoggedBuild {
    fn from(RecordedBuild { entry, signature, .. }: RecordedBuild) -> Self {
        Self { index: entry.index, record_id: entry.record_id, payload: entry.payload, signature }
    }
}

impl Inner {
    /// The build that decisions name by `hash`, verified the first time that it is asked for.
    pub(crate) fn logged_build(
        &self,
        keyring: &Keyring,
        hash: &Digest,
    ) -> Result<Option<Arc<LoggedBuild>>, LoggedBuildError> {
        let known = || self.builds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(build) = known().get(hash) {
            return Ok(Some(Arc::clone(build)));
        }
        let Some(build) = read_logged(&self.store, keyring, hash)? else { return Ok(None) };
        known().insert(*hash, Arc::clone(&build));
        Ok(Some(build))
    }
}

/// The build that decisions name by `hash`, read and verified.
pub(crate) fn read_logged(
    store: &Store,
    keyring: &Keyring,
    hash: &Digest,
) -> Result<Option<Arc<LoggedBuild>>, LoggedBuildError> {
    let Some(recorded) = store.read(|reader| read_recorded(reader, hash))? else { return Ok(None) };
    Ok(Some(Arc::new(RecordedBuild::verify(keyring, recorded, hash)?.into())))
}

/// Why a build that was logged cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoggedBuildError {
    #[error(transparent)]
    Recorded(#[from] RecordedBuildError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is stored of a build is not what was logged.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the stored build {build} is not what was logged: {what}; run `chancery fsck --full`")]
pub struct RecordedBuildError {
    /// SHA-256 of its payload.
    pub build: Digest,
    /// What does not hold.
    pub what: &'static str,
}

#[cfg(test)]
mod tests;
