//! A new log: keys, keyring, settings, the tenant's secrets, and the first bundles in force.
//!
//! ```text
//! nothing there? ─► bundles valid? ─► keys on disk ─► database: settings, wrapped tenant keys
//!   ─► keyring version 1, signed by the roots (log entry 0) ─► bundles signed, published, activated ─► one checkpoint
//! ```
//! The root key is made here, or several custodians' keys are given. So may be the runtime's and the log's key, which
//! then live somewhere else than in a file. Policy and vault keys are always made.
//! Whatever goes wrong on the way, what was made is taken away again, and what was there before is not touched.

use crate::bundles::{self, Activated, ActivationRequest, BundleError, Files, SignedBundle};
use crate::edge::{self, Clock, Entropy, EntropyError};
use crate::failure::Fault;
use crate::home::Home;
use crate::keys::{self, KeyError, KeyName, ServerKeys};
use crate::runtime::{Options, Runtime};
use crate::vault::{Purpose, Vault};
use chancery_core::checkpoint::{SignedCheckpoint, log_vkey};
use chancery_core::digest::Digest;
use chancery_core::dsse::{self, Envelope};
use chancery_core::ids::{PolicyId, TenantId};
use chancery_core::key::{KeyId, PublicKey, Signer, SigningKey};
use chancery_core::keyring::{
    KeyEntry, Keyring, KeyringVersion, Moment, Role, RootKey, RootPub, review_first,
};
use chancery_core::statement::{Environment, Statement};
use chancery_core::time::Timestamp;
use chancery_policy::Bundle;
use chancery_store::{Body, Location, NewEntry, NewKeyring, Settings, Store};
use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

mod error;

pub use error::InitError;

/// How long the first keyring version and its keys are valid: two years of 366 days, ms. A new version has to come
/// before; after that nothing is signed any more.
pub const KEYRING_VALIDITY_MS: i64 = 2 * 366 * 24 * 60 * 60 * 1_000;

/// How much older than the log the release may be that decides in it, ms: a year of 366 days. A build is made before
/// its key is enrolled, and the key has to be valid at the time of the build.
pub const BUILD_AGE_MS: i64 = 366 * 24 * 60 * 60 * 1_000;

/// Whether a stranger can test guesses about signals (formats §3).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Commitments {
    /// The commitment key is random and stays in the vault.
    #[default]
    Blinded,
    /// The commitment key is zero: anybody can recompute a fingerprint from the inputs.
    Open,
}

/// The keys that sign keyring versions.
pub enum Roots {
    /// One fresh key, in `root.key`.
    Generated {
        /// Its own password.
        password: Zeroizing<Vec<u8>>,
    },
    /// Keys that their holders made.
    Given {
        /// All of them, and how many have to sign.
        root: RootPub,
        /// At least as many of them as have to sign.
        signers: Vec<Arc<dyn Signer>>,
    },
}

/// A public key, what it may sign, and who holds it.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The key.
    pub key: PublicKey,
    /// Its roles.
    pub roles: Vec<Role>,
    /// Who holds it.
    pub subject: String,
}

/// What a log is made with.
pub struct InitRequest {
    /// Where keys, trust and the publisher's memory go.
    pub home: Home,
    /// The database; a file must not be there yet.
    pub database: Location,
    /// The tenant whose log it is.
    pub tenant: TenantId,
    /// The first part of the log's origin, such as `log.acme.example`.
    pub log_host: String,
    /// Whether its decisions count. For ever.
    pub environment: Environment,
    /// Blinded or open.
    pub commitments: Commitments,
    /// The bundles to sign, publish and activate. Of several versions of a policy the highest is activated.
    pub bundles: Vec<Files>,
    /// Why they are put in force.
    pub reason: String,
    /// Who asks for that.
    pub requested_by: String,
    /// The keys that sign the keyring.
    pub roots: Roots,
    /// The key that signs decisions; one is made, in a file, where none is given.
    pub runtime_key: Option<Arc<dyn Signer>>,
    /// The key that signs checkpoints, an Ed25519 key; one is made, in a file, where none is given.
    pub log_key: Option<Arc<dyn Signer>>,
    /// Further keys of version 1: those of builds, approvers, witnesses, erasures.
    pub enrol: Vec<Holder>,
    /// The password of the key files but `root.key`.
    pub password: Zeroizing<Vec<u8>>,
    /// SHA-256 of the running program's file.
    pub binary: Digest,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The random source.
    pub entropy: Arc<dyn Entropy>,
    /// Threads of the runtime that is returned; as many as processors where nothing is said.
    pub threads: Option<NonZeroUsize>,
}

/// A log that was made.
#[derive(Debug)]
pub struct Initialised {
    /// The log, open.
    pub runtime: Runtime,
    /// The ids of the signing keys.
    pub keys: Vec<(KeyName, KeyId)>,
    /// The bundles in force.
    pub activated: Vec<Activated>,
    /// The first checkpoint.
    pub checkpoint: Option<SignedCheckpoint>,
}

/// Makes a log. Blocks, for about a second: each key file's password is made expensive to guess.
///
/// # Errors
/// [`InitError`]. Nothing that it made is left then; [`InitError::Exists`] when something is there already.
pub fn init(request: InitRequest) -> Result<Initialised, InitError> {
    for path in paths(&request) {
        if path.exists() {
            return Err(InitError::Exists { path });
        }
    }
    for files in &request.bundles {
        // A bundle that is not valid is found before any key is made.
        Bundle::from_files(files.clone()).map_err(BundleError::from)?;
    }
    let mut made = Made::new(&request);
    let initialised = make(&request, &mut made)?;
    made.keep();
    Ok(initialised)
}

/// Everything that `init` makes, none of which may be there.
fn paths(request: &InitRequest) -> Vec<PathBuf> {
    let home = &request.home;
    let keys = KeyName::ALL.iter().filter(|name| request.makes(**name)).map(|name| home.key(*name));
    keys.chain([home.root_pub().to_owned(), home.checkpoint().to_owned()])
        .chain(request.database.file().map(Path::to_owned))
        .collect()
}

impl InitRequest {
    /// Whether a key is made, and not given.
    fn makes(&self, name: KeyName) -> bool {
        match name {
            KeyName::Root => matches!(self.roots, Roots::Generated { .. }),
            KeyName::Runtime => self.runtime_key.is_none(),
            KeyName::Log => self.log_key.is_none(),
            KeyName::Policy | KeyName::Vault => true,
        }
    }
}

/// The keys that go into files.
struct Fresh(BTreeMap<KeyName, Arc<SigningKey>>);

impl Fresh {
    fn generate(request: &InitRequest) -> Result<Self, EntropyError> {
        let names = KeyName::ALL.into_iter().filter(|name| request.makes(*name));
        let keys = names.map(|name| Ok((name, Arc::new(keys::generate(request.entropy.as_ref())?))));
        Ok(Self(keys.collect::<Result<_, EntropyError>>()?))
    }

    /// The key that was given, else the fresh one of that name.
    fn or(&self, given: Option<&Arc<dyn Signer>>, name: KeyName) -> Result<Arc<dyn Signer>, InitError> {
        match given {
            Some(key) => Ok(Arc::clone(key)),
            None => Ok(self.get(name)?),
        }
    }

    fn get(&self, name: KeyName) -> Result<Arc<SigningKey>, InitError> {
        self.0.get(&name).cloned().ok_or(InitError::NotMade { name })
    }
}

/// All the keys of a new log.
struct Keys {
    root: RootPub,
    roots: Vec<Arc<dyn Signer>>,
    runtime: Arc<dyn Signer>,
    log: Arc<dyn Signer>,
    policy: Arc<SigningKey>,
    vault: Arc<SigningKey>,
}

impl Keys {
    fn of(request: &InitRequest, fresh: &Fresh) -> Result<Self, InitError> {
        let (root, roots) = match &request.roots {
            Roots::Generated { .. } => {
                let key = fresh.get(KeyName::Root)?;
                let root = RootPub::new(vec![key.public_key().clone()], 1)?;
                let signer: Arc<dyn Signer> = key;
                (root, vec![signer])
            }
            Roots::Given { root, signers } => (root.clone(), signers.clone()),
        };
        Ok(Self {
            root,
            roots,
            runtime: fresh.or(request.runtime_key.as_ref(), KeyName::Runtime)?,
            log: fresh.or(request.log_key.as_ref(), KeyName::Log)?,
            policy: fresh.get(KeyName::Policy)?,
            vault: fresh.get(KeyName::Vault)?,
        })
    }

    /// The names and ids of the keys that sign.
    fn ids(&self, request: &InitRequest) -> Vec<(KeyName, KeyId)> {
        let root = if request.makes(KeyName::Root) { self.roots.first() } else { None };
        let root = root.map(|key| (KeyName::Root, key.public_key()));
        let others = [
            (KeyName::Runtime, self.runtime.public_key()),
            (KeyName::Log, self.log.public_key()),
            (KeyName::Policy, self.policy.public_key()),
        ];
        root.into_iter().chain(others).map(|(name, key)| (name, key.key_id().clone())).collect()
    }
}

fn make(request: &InitRequest, made: &mut Made) -> Result<Initialised, InitError> {
    let origin = format!("{}/{}", request.log_host, request.tenant);
    let fresh = Fresh::generate(request)?;
    let keys = Keys::of(request, &fresh)?;
    log_vkey(&origin, keys.log.public_key())
        .map_err(|source| InitError::LogHost { host: request.log_host.clone(), source })?;
    let now = request.clock.now();
    let (keyring, expires_at) = keyring(&keys, request, &origin, now)?;

    write_files(request, &fresh, &keys.root, made)?;
    let clock = Arc::clone(&request.clock);
    let settings =
        Settings { tenant: request.tenant.clone(), log_origin: origin, environment: request.environment };
    if let Some(file) = request.database.file() {
        made.will_make(file);
    }
    let store = Store::create_at(
        &request.database,
        &settings,
        chancery_store::Options::new(Arc::new(move || clock.now())),
    )?;
    let vault = keys::seed(&keys.vault)
        .ok_or_else(|| KeyError::NotAVaultKey { path: request.home.key(KeyName::Vault) })?;
    tenant_keys(&store, request, &Vault::new(&vault))?;
    store.submit_blocking(NewEntry {
        record_id: keyring.record_id(),
        payload: keyring.payload.0,
        signatures: keyring.signatures,
        claimed_at: now,
        body: Body::Keyring(NewKeyring { version: 1, expires_at }),
    })?;

    let ids = keys.ids(request);
    let Keys { root, runtime, log, policy, .. } = keys;
    let options = Options {
        home: request.home.clone(),
        database: request.database.clone(),
        keys: ServerKeys { runtime, log, vault },
        tenant: Some(request.tenant.clone()),
        environment: Some(request.environment),
        binary: request.binary,
        build: None,
        clock: Arc::clone(&request.clock),
        entropy: Arc::clone(&request.entropy),
        threads: request.threads,
    };
    made.will_make(request.home.checkpoint());
    let runtime = Runtime::assemble(store, root, options)?;
    let activated = activate(request, &runtime, &policy)?;
    let checkpoint = runtime.publish_checkpoint()?;
    Ok(Initialised { runtime, keys: ids, activated, checkpoint })
}

/// Version 1 of the keyring, signed by the roots.
fn keyring(
    keys: &Keys,
    request: &InitRequest,
    origin: &str,
    now: Timestamp,
) -> Result<(Envelope, Timestamp), InitError> {
    let valid_until = now.checked_add_ms(KEYRING_VALIDITY_MS).ok_or(InitError::Clock { now })?;
    let entry = |key: &PublicKey, roles: &[Role], subject: &str| KeyEntry {
        key: key.clone(),
        revoked: None,
        roles: roles.to_vec(),
        subject: subject.to_owned(),
        valid_from: now,
        valid_until,
    };
    let mut entries = vec![
        entry(keys.runtime.public_key(), &[Role::Runtime], "chancery-runtime"),
        entry(keys.log.public_key(), &[Role::Log], origin),
        entry(keys.policy.public_key(), &[Role::Policy], "policy-publisher"),
    ];
    let earlier = now.checked_add_ms(-BUILD_AGE_MS).ok_or(InitError::Clock { now })?;
    entries.extend(request.enrol.iter().map(|holder| {
        let builds = holder.roles == [Role::Build];
        let valid_from = if builds { earlier } else { now };
        KeyEntry { valid_from, ..entry(&holder.key, &holder.roles, &holder.subject) }
    }));
    let first = KeyringVersion {
        expires_at: valid_until,
        issued_at: now,
        keys: entries,
        log_origin: origin.to_owned(),
        previous: None,
        root_keys: keys.root.keys().iter().cloned().map(RootKey::new).collect(),
        tenant: request.tenant.clone(),
        threshold: keys.root.threshold(),
        version: 1,
        witness_quorum: None,
    };
    let objections = review_first(&first, Moment { now, size: 0 });
    if !objections.is_empty() {
        return Err(InitError::Rules { faults: objections.into_iter().map(Fault::from).collect() });
    }
    let statement = Statement::keyring_of(first)?;
    let signers: Vec<&dyn Signer> = keys.roots.iter().map(AsRef::as_ref).collect();
    let envelope = Envelope::sign_all(dsse::IN_TOTO, statement.to_payload()?.into_bytes(), &signers)?;
    // Before anything is made: whether the given keys are root keys, and enough of them.
    Keyring::walk(&[(0, envelope.clone())])?;
    Ok((envelope, valid_until))
}

fn write_files(
    request: &InitRequest,
    fresh: &Fresh,
    root: &RootPub,
    made: &mut Made,
) -> Result<(), InitError> {
    let home = &request.home;
    made.will_make_folder(home.keys());
    keys::make_folder(home.keys())?;
    for (name, key) in &fresh.0 {
        let password = match (name, &request.roots) {
            (KeyName::Root, Roots::Generated { password }) => password,
            _ => &request.password,
        };
        let path = home.key(*name);
        made.will_make(&path);
        keys::store(&path, key, password)?;
    }
    for path in [home.root_pub(), home.checkpoint()].into_iter().chain(request.database.file()) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            made.will_make_folder(folder);
            fs::create_dir_all(folder).map_err(|source| KeyError::Io { path: folder.to_owned(), source })?;
        }
    }
    made.will_make(home.root_pub());
    keys::store_public(home.root_pub(), &root.to_string())?;
    Ok(())
}

fn tenant_keys(store: &Store, request: &InitRequest, vault: &Vault) -> Result<(), InitError> {
    let entropy = request.entropy.as_ref();
    let commitment = match request.commitments {
        Commitments::Blinded => Zeroizing::new(edge::random::<32>(entropy)?),
        Commitments::Open => Zeroizing::new([0; 32]),
    };
    let opening = Zeroizing::new(edge::random::<32>(entropy)?);
    for (purpose, key) in [(Purpose::Commitment, &commitment), (Purpose::Opening, &opening)] {
        let wrapped = vault.wrap(&request.tenant, purpose, key, edge::random(entropy)?)?;
        store.insert_tenant_key(purpose.as_str().to_owned(), wrapped, request.clock.now())?;
    }
    Ok(())
}

fn activate(request: &InitRequest, runtime: &Runtime, key: &SigningKey) -> Result<Vec<Activated>, InitError> {
    let mut newest = BTreeMap::<PolicyId, _>::new();
    for files in &request.bundles {
        let signature = bundles::sign(files, key)?.signature;
        let published = runtime.publish(SignedBundle { files: files.clone(), signature })?;
        let version = newest.entry(published.policy).or_insert_with(|| published.version.clone());
        if published.version.semver() > version.semver() {
            *version = published.version;
        }
    }
    let mut activated = Vec::with_capacity(newest.len());
    for (policy, version) in newest {
        let request = ActivationRequest {
            policy,
            version,
            reason: request.reason.clone(),
            requested_by: request.requested_by.clone(),
        };
        activated.push(runtime.activate(&runtime.sign_activation(&request, key)?)?);
    }
    Ok(activated)
}

/// What was made so far; taken away again when it is dropped before it is kept.
struct Made {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    database: Option<PathBuf>,
}

impl Made {
    fn new(request: &InitRequest) -> Self {
        Self { files: Vec::new(), folders: Vec::new(), database: request.database.file().map(Path::to_owned) }
    }

    fn will_make(&mut self, file: &Path) {
        self.files.push(file.to_owned());
    }

    /// Remembers `folder` and those above it that are not there yet, the outermost first.
    fn will_make_folder(&mut self, folder: &Path) {
        let missing =
            folder.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
        let mut missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        missing.reverse();
        self.folders.extend(missing);
    }

    fn keep(mut self) {
        self.files.clear();
        self.folders.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for file in &self.files {
            // What cannot be removed is named by the next attempt, which finds it.
            let _ = fs::remove_file(file);
            if self.database.as_ref() == Some(file) {
                for suffix in ["-wal", "-shm", "-journal", ".lock"] {
                    let mut beside = file.clone().into_os_string();
                    beside.push(suffix);
                    let _ = fs::remove_file(beside);
                }
            }
        }
        for folder in self.folders.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests;
