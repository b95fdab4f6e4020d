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
use crate::failure::{Cause, Failure};
use crate::runtime::{Inner, OpenError, Runtime};
use chancery_core::b64;
use chancery_core::digest::{Digest, sha256};
use chancery_core::dsse::{Envelope, EnvelopeError};
use chancery_core::key::{Algorithm, KeyId, PublicKey, SignatureError};
use chancery_core::keyring::{Keyring, Role, Standing};
use chancery_core::log::Kind;
use chancery_core::sigstore::{self, MessageBundle};
use chancery_core::statement::{BuildIdentity, Environment, Statement, StatementError};
use chancery_store::{
    Body, BuildIdentityRecord, Entry, NewBuildIdentity, NewEntry, Reader, Rejected, Store, StoreError,
    SubmitError,
};
use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

pub use chancery_supply::release::{BUNDLE, ENVELOPE, IDENTITY, SBOM, SIGNATURE};

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
    /// Reads the files of a folder; none where [`IDENTITY`] is not there.
    ///
    /// # Errors
    /// The system's, with the path; also for a file that is too long.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        let read = |name: &str, max: u64| -> io::Result<Option<Vec<u8>>> {
            let path = folder.join(name);
            let told =
                |error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
            let file = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                opened => opened.map_err(told)?,
            };
            let mut bytes = Vec::new();
            file.take(max + 1).read_to_end(&mut bytes).map_err(told)?;
            if u64::try_from(bytes.len()).is_ok_and(|length| length > max) {
                let error = io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {max} bytes"));
                return Err(told(error));
            }
            Ok(Some(bytes))
        };
        let Some(identity) = read(IDENTITY, FILE_BYTES_MAX)? else { return Ok(None) };
        Ok(Some(Self {
            identity,
            signature: read(SIGNATURE, FILE_BYTES_MAX)?,
            bundle: read(BUNDLE, FILE_BYTES_MAX)?,
            // Base64 of the payload, and a signature.
            envelope: read(ENVELOPE, 2 * FILE_BYTES_MAX)?,
            sbom: read(SBOM, SBOM_BYTES_MAX)?,
        }))
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
    /// The bytes of the CycloneDX document.
    pub sbom: Vec<u8>,
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
    let mut faults = Vec::new();
    let statement = Statement::<BuildIdentity>::parse_unverified(&files.identity)
        .map_err(|source| faults.push(BuildFault::Identity(source)))
        .ok();
    let (bundle, key) = verify_blob(files, keyring, &mut faults);
    let envelope = verify_envelope(files, keyring, &mut faults);
    let signed_by = [
        (BUNDLE, key.map(|key| key.key_id().clone())),
        (ENVELOPE, envelope.as_ref().and_then(|envelope| Some(envelope.single().ok()?.keyid.clone()))),
    ];
    if let Some(statement) = &statement {
        let predicate = &statement.predicate;
        for (file, signed) in signed_by {
            if let Some(signed) = signed.filter(|signed| *signed != predicate.signer) {
                faults.push(BuildFault::Signer { file, named: predicate.signer.clone(), signed });
            }
        }
        let (signer, at) = (&predicate.signer, predicate.built_at);
        match keyring.find_key(signer) {
            Some(key) if key.algorithm() != Algorithm::EcdsaP256 => {
                faults.push(BuildFault::Algorithm { key: signer.clone() });
            }
            // An unknown one is told where its signature is looked at.
            _ => {}
        }
        let standings = keyring.faults(signer, &Role::Build, index, at).into_iter();
        let standings = standings.filter(|_| keyring.find_key(signer).is_some());
        faults.extend(standings.map(|standing| BuildFault::Key { key: signer.clone(), standing }));
        let named = statement.subject.first().map(|subject| subject.digest.sha256);
        if let Some(named) = named.filter(|named| *named != binary) {
            faults.push(BuildFault::Binary { named, running: binary });
        }
        let found = files.sbom.as_deref().map(Digest::of);
        if let Some(found) = found.filter(|found| *found != predicate.sbom.sha256) {
            faults.push(BuildFault::Sbom { named: predicate.sbom.sha256, found });
        }
    }
    if files.sbom.is_none() {
        faults.push(BuildFault::Missing { file: SBOM });
    }
    match (statement, bundle, envelope, &files.sbom) {
        (Some(statement), Some(signature), Some(envelope), Some(sbom)) if faults.is_empty() => Ok(Build {
            hash: Digest::of(&files.identity),
            statement,
            payload: files.identity.clone(),
            signature,
            envelope,
            sbom: sbom.clone(),
        }),
        _ => Err(BuildError { faults }),
    }
}

/// The sigstore bundle and the key that it names, and the plain signature where there is one.
fn verify_blob<'k>(
    files: &BuildFiles,
    keyring: &'k Keyring,
    faults: &mut Vec<BuildFault>,
) -> (Option<MessageBundle>, Option<&'k PublicKey>) {
    let Some(bytes) = &files.bundle else {
        faults.push(BuildFault::Missing { file: BUNDLE });
        return (None, None);
    };
    let bundle = match MessageBundle::parse(bytes) {
        Ok(bundle) => bundle,
        Err(source) => {
            faults.push(BuildFault::Bundle(source));
            return (None, None);
        }
    };
    let Some(key) = keyring.find_hint(bundle.hint()) else {
        let key = format!("with the hint {}", b64::encode(bundle.hint()));
        faults.push(BuildFault::UnknownKey { file: BUNDLE, key });
        return (Some(bundle), None);
    };
    if let Err(source) = bundle.verify(&files.identity, key) {
        faults.push(BuildFault::Bundle(source));
    }
    if let Some(text) = &files.signature {
        let decoded = std::str::from_utf8(text).ok().and_then(|text| b64::decode(text.trim_end()).ok());
        match decoded.map(|signature| key.verify(&files.identity, &signature)) {
            Some(Ok(())) => {}
            Some(Err(source)) => faults.push(BuildFault::Signature { source: Some(source) }),
            None => faults.push(BuildFault::Signature { source: None }),
        }
    }
    (Some(bundle), Some(key))
}

/// The envelope: the same payload, and one signature that holds.
fn verify_envelope(files: &BuildFiles, keyring: &Keyring, faults: &mut Vec<BuildFault>) -> Option<Envelope> {
    let Some(bytes) = &files.envelope else {
        faults.push(BuildFault::Missing { file: ENVELOPE });
        return None;
    };
    let envelope: Envelope = match serde_json::from_slice(bytes) {
        Ok(envelope) => envelope,
        Err(source) => {
            faults.push(BuildFault::NoEnvelope(source));
            return None;
        }
    };
    if envelope.payload_type != chancery_core::dsse::IN_TOTO || envelope.payload.0 != files.identity {
        faults.push(BuildFault::OtherPayload);
    }
    let keyid = match envelope.single() {
        Ok(signature) => &signature.keyid,
        Err(source) => {
            faults.push(BuildFault::Envelope(source));
            return Some(envelope);
        }
    };
    match keyring.find_key(keyid) {
        None => faults.push(BuildFault::UnknownKey { file: ENVELOPE, key: keyid.to_string() }),
        Some(key) => {
            if let Err(source) = envelope.verify_single(key) {
                faults.push(BuildFault::Envelope(source));
            }
        }
    }
    Some(envelope)
}

/// Verifies the files and makes sure that the identity is in the log. Durable once it returns.
pub(crate) fn admit(
    store: &Store,
    keyring: &Keyring,
    files: &BuildFiles,
    binary: Digest,
) -> Result<DecidingBuild, OpenError> {
    let hash = Digest::of(&files.identity);
    let look = || store.read(|reader| read_recorded(reader, &hash));
    let recorded = look()?;
    let index = match &recorded {
        Some((record, _)) => record.index,
        None => store.read(|reader| Ok(reader.head()?.size))?,
    };
    let build = verify(files, keyring, index, binary)?;
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
            sbom: Some(build.sbom.clone()),
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

/// What is stored of a build is not what was logged.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the stored build {build} is not what was logged: {what}; run `chancery fsck --full`")]
pub struct RecordedBuildError {
    /// SHA-256 of its payload.
    pub build: Digest,
    /// What does not hold.
    pub what: &'static str,
}

/// The files of a release do not hold; nothing is decided with them.
#[derive(Debug)]
pub struct BuildError {
    /// Everything that is wrong; at least one.
    pub faults: Vec<BuildFault>,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the build identity does not hold, so nothing is decided")?;
        for fault in &self.faults {
            write!(f, "\n  {}: {fault}", fault.check())?;
            let mut source = fault.source();
            while let Some(error) = source {
                write!(f, ": {error}")?;
                source = error.source();
            }
            write!(f, "\n    to mend it, {}", fault.mend())?;
        }
        Ok(())
    }
}

impl Error for BuildError {}

/// One thing that is wrong with the files of a release.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildFault {
    /// A file is not there.
    #[error("`{file}` is missing")]
    Missing {
        /// Its name.
        file: &'static str,
    },
    /// The identity has another shape.
    #[error("`{IDENTITY}` is no build identity")]
    Identity(#[source] StatementError),
    /// The sigstore bundle does not hold, or is none.
    #[error("the signature `{BUNDLE}` does not hold for `{IDENTITY}`")]
    Bundle(#[source] sigstore::BundleError),
    /// The plain signature does not hold, or is none.
    #[error("the signature `{SIGNATURE}` does not hold for `{IDENTITY}`")]
    Signature {
        /// Why; none where it is no base64.
        #[source]
        source: Option<SignatureError>,
    },
    /// There is no envelope in the file.
    #[error("`{ENVELOPE}` is no DSSE envelope")]
    NoEnvelope(#[source] serde_json::Error),
    /// The envelope has another payload.
    #[error("`{ENVELOPE}` has another payload than `{IDENTITY}`")]
    OtherPayload,
    /// The envelope's signature does not hold.
    #[error("the signature of `{ENVELOPE}` does not hold")]
    Envelope(#[source] EnvelopeError),
    /// The key is in no keyring version.
    #[error("the key {key} that signed `{file}` is not in the keyring")]
    UnknownKey {
        /// The file.
        file: &'static str,
        /// The key, as the file names it.
        key: String,
    },
    /// The identity names another key.
    #[error("`{file}` is signed by {signed}, and `{IDENTITY}` names the signer {named}")]
    Signer {
        /// The file.
        file: &'static str,
        /// The key that is named.
        named: KeyId,
        /// The key that signed.
        signed: KeyId,
    },
    /// The key may not sign this.
    #[error("the key {key} is not good as `build` here")]
    Key {
        /// The key.
        key: KeyId,
        /// What is wrong with it.
        #[source]
        standing: Standing,
    },
    /// A key of another algorithm.
    #[error("the key {key} is no ECDSA P-256 key, which builds are signed with")]
    Algorithm {
        /// The key.
        key: KeyId,
    },
    /// Another program runs.
    #[error("the running program has the SHA-256 {running}, `{IDENTITY}` is about {named}")]
    Binary {
        /// The program that was signed.
        named: Digest,
        /// The program that runs.
        running: Digest,
    },
    /// Another bill of materials.
    #[error("`{SBOM}` has the SHA-256 {found}, `{IDENTITY}` names {named}")]
    Sbom {
        /// The one that was signed.
        named: Digest,
        /// The one that is there.
        found: Digest,
    },
}

impl BuildFault {
    /// The auditor's check that fails for the same reason (formats §10).
    #[must_use]
    pub fn check(&self) -> &'static str {
        match self {
            Self::Binary { .. } => "build.binding",
            Self::Sbom { .. } | Self::Missing { file: SBOM } => "build.sbom",
            _ => "build.signature",
        }
    }

    /// What helps.
    #[must_use]
    pub fn mend(&self) -> &'static str {
        match self {
            Self::Missing { .. } => {
                "copy every file of the release into one folder, and name it with `build` in chancery.toml where it is \
                 not the program's own"
            }
            Self::Identity(_) => {
                "make it with `chancery build identity`, and sign it with `chancery build sign`"
            }
            Self::Bundle(_) | Self::Signature { .. } | Self::NoEnvelope(_) | Self::Envelope(_) => {
                "fetch the release's files again: one of the two was changed, or sign anew with `chancery build sign`"
            }
            Self::OtherPayload | Self::Signer { .. } => {
                "sign both with one key and in one go: `chancery build sign`"
            }
            Self::UnknownKey { .. } | Self::Key { standing: Standing::Unknown | Standing::Role, .. } => {
                "have the builder's public key enrolled with the role `build`: `chancery key enroll`; on a log for \
                 tests `build` in chancery.toml may name a folder without these files instead"
            }
            Self::Key { standing: Standing::Validity, .. } => {
                "have the key enrolled with a validity that begins before the build's `builtAt`, or make the build anew"
            }
            Self::Key { standing: Standing::Revoked, .. } => {
                "install a release that was signed with a key that is not revoked"
            }
            Self::Algorithm { .. } => "sign with an ECDSA P-256 key: `chancery build sign`",
            Self::Binary { .. } => {
                "install the program that these files were made for, or the files of this program's release"
            }
            Self::Sbom { .. } => "put the release's own bill of materials back",
        }
    }
}

impl Failure for BuildError {
    fn whose(&self) -> Cause {
        Cause::Refused
    }

    fn code(&self) -> &'static str {
        self.faults.first().map_or("build.signature", BuildFault::check)
    }

    fn detail(&self) -> String {
        "the program is not the build that was signed; the operator's log says why".to_owned()
    }
}

#[cfg(test)]
mod tests;
