//! An open log with its keys: what every use case works on.
//!
//! Opening checks everything that decisions depend on before the first one is made: the keyring leads to
//! `root.pub`, this runtime's keys are in it and good now, the vault is the one that the database was made with,
//! and every bundle in force has the content, the signature and the activation that its log entry says.

use crate::build::{self, BuildError, BuildFiles, DecidingBuild, LoggedBuild, RecordedBuildError};
use crate::bundles::{BundleError, LoadedBundle};
use crate::checkpoint::{CheckpointError, Publisher};
use crate::credentials::{Credentials, SecurityEvents};
use crate::edge::{Clock, Entropy};
use crate::error::{ExecuteError, RuntimeKeyError, store_cause, store_code, store_detail};
use crate::failure::{Cause, Failure};
use crate::home::Home;
use crate::keys::{KeyError, ServerKeys};
use crate::overrides::Due;
use crate::pool::Pool;
use crate::provenance::Chains;
use crate::vault::{OpeningKey, Purpose, Vault, VaultError};
use chancery_core::commitment::TenantKey;
use chancery_core::digest::{BundleHash, Digest};
use chancery_core::ids::{PolicyId, TenantId};
use chancery_core::key::{KeyId, PublicKey, SignError, Signer};
use chancery_core::keyring::{KeyEntry, Keyring, KeyringError, Role, RootPub, RootPubError, Standing};
use chancery_core::statement::Environment;
use chancery_core::time::Timestamp;
use chancery_store::{Location, Reader, Settings, Store, StoreError, SubmitError};
use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// What a runtime is opened with.
pub struct Options {
    /// Where `root.pub` and the publisher's memory lie.
    pub home: Home,
    /// The database.
    pub database: Location,
    /// The private keys, read by [`ServerKeys::load`].
    pub keys: ServerKeys,
    /// The tenant that the configuration names; another one in the database is refused.
    pub tenant: Option<TenantId>,
    /// The environment that the program was started for; another one in the log is refused.
    pub environment: Option<Environment>,
    /// SHA-256 of the running program's file.
    pub binary: Digest,
    /// The files of the release that this program is, to decide with: they are verified, and logged. Without them a
    /// production log can be administered, exported and read, and decides nothing.
    pub build: Option<BuildFiles>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The random source.
    pub entropy: Arc<dyn Entropy>,
    /// Threads for evaluating and signing; as many as processors where nothing is said.
    pub threads: Option<NonZeroUsize>,
}

/// An open log with its keys. Cheap to clone; all clones are the same runtime.
///
/// Dropping the last clone waits until what is queued is recorded. That must not happen on a thread that polls
/// futures: it blocks.
#[derive(Clone)]
pub struct Runtime {
    // The pool first: its jobs end before the store does.
    pub(crate) pool: Arc<Pool>,
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<Store>,
    pub(crate) settings: Settings,
    pub(crate) root: RootPub,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) runtime_key: Arc<dyn Signer>,
    pub(crate) log_key: Arc<dyn Signer>,
    pub(crate) commitment_key: TenantKey,
    pub(crate) opening_key: OpeningKey,
    pub(crate) binary: Digest,
    pub(crate) build: Option<DecidingBuild>,
    pub(crate) chains: Arc<Chains>,
    /// Builds that recorded decisions name, verified once. INVARIANT: content never changes under a hash.
    pub(crate) builds: Mutex<HashMap<Digest, Arc<LoggedBuild>>>,
    pub(crate) publisher: Mutex<Publisher>,
    pub(crate) due: Mutex<Due>,
    /// The holder of the turn to backfill that this process took last, until it gave it back.
    pub(crate) turn: Mutex<Option<String>>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) events: Arc<SecurityEvents>,
    snapshot: RwLock<Arc<Snapshot>>,
    /// Bundles that recorded decisions name, verified once. INVARIANT: content never changes under a hash.
    pub(crate) bundles: Mutex<HashMap<BundleHash, Arc<LoadedBundle>>>,
}

/// What decisions are made with, as of one moment.
pub(crate) struct Snapshot {
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) in_force: HashMap<PolicyId, Arc<LoadedBundle>>,
    /// The index of the newest entry that it was made from.
    pub(crate) rules: Option<u64>,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Runtime({})", self.inner.settings.log_origin)
    }
}

impl Runtime {
    /// Opens the log, and refuses unless everything holds together.
    ///
    /// # Errors
    /// [`OpenError`] says what does not.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let root = read_root(options.home.root_pub())?;
        let clock = Arc::clone(&options.clock);
        let store_options = chancery_store::Options::new(Arc::new(move || clock.now()));
        let store = Store::open_at(&options.database, options.tenant.as_ref(), store_options)?;
        Self::assemble(store, root, options)
    }

    /// Puts an open store and its keys together.
    pub(crate) fn assemble(store: Store, root: RootPub, options: Options) -> Result<Self, OpenError> {
        let settings = store.settings().clone();
        check_settings(&settings, &options)?;
        let now = options.clock.now();
        let (keyring, size) = store.read(|reader| Ok((read_keyring(reader)?, reader.head()?.size)))?;
        let keyring = keyring?;
        keyring.check_root(&root)?;
        judge_key(&keyring, options.keys.runtime.as_ref(), Role::Runtime, size, now)?;
        judge_key(&keyring, options.keys.log.as_ref(), Role::Log, size, now)?;

        let (commitment_key, opening_key) = tenant_keys(&store, &settings.tenant, &options.keys.vault)?;
        let publisher = Publisher::open(options.home.checkpoint(), &store, &settings, &keyring)?;
        let ServerKeys { runtime, log, vault } = options.keys;
        let hasher = Vault::new(&vault).api_key_hasher(&settings.tenant);
        let store = Arc::new(store);
        let mut inner = Inner {
            credentials: Arc::new(Credentials::new(Arc::clone(&store), Arc::clone(&options.clock), hasher)),
            events: Arc::new(SecurityEvents::new(
                Arc::clone(&store),
                Arc::clone(&options.clock),
                Arc::clone(&options.entropy),
            )),
            root,
            clock: options.clock,
            entropy: options.entropy,
            runtime_key: runtime,
            log_key: log,
            commitment_key,
            opening_key,
            binary: options.binary,
            build: None,
            chains: Arc::default(),
            builds: Mutex::default(),
            publisher: Mutex::new(publisher),
            due: Mutex::default(),
            turn: Mutex::default(),
            snapshot: RwLock::new(Arc::new(Snapshot {
                keyring: Arc::new(keyring),
                in_force: HashMap::new(),
                rules: None,
            })),
            bundles: Mutex::default(),
            settings,
            store,
        };
        inner.refresh()?;
        let pool = Pool::new(options.threads).map_err(OpenError::Threads)?;
        // Last, because it writes: a start that is refused for something else has logged nothing.
        if let Some(files) = &options.build {
            let keyring = Arc::clone(&inner.snapshot().keyring);
            inner.build = Some(build::admit(&inner.store, &keyring, files, inner.binary)?);
        }
        Ok(Self { pool: Arc::new(pool), inner: Arc::new(inner) })
    }

    /// Which log this is.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// What auditors are handed.
    #[must_use]
    pub fn root_pub(&self) -> &RootPub {
        &self.inner.root
    }

    /// The key that signs checkpoints.
    #[must_use]
    pub fn log_key(&self) -> &PublicKey {
        self.inner.log_key.public_key()
    }

    /// The key that signs decisions.
    #[must_use]
    pub fn runtime_key(&self) -> &PublicKey {
        self.inner.runtime_key.public_key()
    }

    /// SHA-256 of the running program's file, as decisions name it.
    #[must_use]
    pub fn binary(&self) -> Digest {
        self.inner.binary
    }

    /// The keyring in force.
    #[must_use]
    pub fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.inner.snapshot().keyring)
    }

    /// Whether decisions could be made and recorded now: the keys are good at this instant, they sign (a probe, no
    /// statement), and the store answers. Blocks.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn ready(&self) -> Result<(), OpenError> {
        let inner = &self.inner;
        let size = inner.store.read(|reader| Ok(reader.head()?.size))?;
        let keyring = self.keyring();
        let now = inner.clock.now();
        for (key, role) in [(&inner.runtime_key, Role::Runtime), (&inner.log_key, Role::Log)] {
            judge_key(&keyring, key.as_ref(), role.clone(), size, now)?;
            key.check().map_err(|source| OpenError::Sign { role, source })?;
        }
        Ok(self.may_decide()?)
    }
}

impl Inner {
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The runtime's key, where it is good at the head of the log and at this instant: what it signs beside the log is
    /// judged by nobody else before it is handed out.
    pub(crate) fn good_runtime_key<E>(&self) -> Result<&dyn Signer, E>
    where
        E: From<StoreError> + From<RuntimeKeyError>,
    {
        let size = self.store.read(|reader| Ok(reader.head()?.size))?;
        let key = self.runtime_key.as_ref();
        let id = key.public_key().key_id();
        match self.snapshot().keyring.judge(id, &Role::Runtime, size, self.clock.now()) {
            Ok(_) => Ok(key),
            Err(standing) => Err(RuntimeKeyError { key: id.clone(), standing }.into()),
        }
    }

    /// Reads keyring and activations again and verifies whatever is new. The old snapshot stays if that fails.
    pub(crate) fn refresh(&self) -> Result<(), BundleError> {
        let (keyring, active, rules) = self
            .store
            .read(|reader| Ok((read_keyring(reader)?, reader.in_force()?, reader.rules_index()?)))
            .map_err(BundleError::from)?;
        let keyring = keyring?;
        keyring.check_root(&self.root)?;
        let mut in_force = HashMap::with_capacity(active.len());
        for (policy, active) in active {
            let loaded = self.load_in_force(&keyring, &policy, &active)?;
            in_force.insert(policy, loaded);
        }
        let fresh = Arc::new(Snapshot { keyring: Arc::new(keyring), in_force, rules });
        let mut snapshot = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        // Who has read earlier and comes later has nothing to say.
        if snapshot.rules <= fresh.rules {
            *snapshot = fresh;
        }
        Ok(())
    }
}

/// All keyring versions of the log. Two results: what the store says, and what the keyring is worth.
pub(crate) fn read_keyring(reader: &mut Reader<'_>) -> Result<Result<Keyring, KeyringError>, StoreError> {
    Ok(Keyring::walk(&reader.keyring_versions()?))
}

/// Reads `root.pub`.
///
/// # Errors
/// [`OpenError::RootPub`] and [`OpenError::RootPubFile`].
pub fn read_root(path: &Path) -> Result<RootPub, OpenError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| OpenError::RootPubFile { path: path.to_owned(), source })?;
    RootPub::parse(&text).map_err(|source| OpenError::RootPub { path: path.to_owned(), source })
}

fn check_settings(settings: &Settings, options: &Options) -> Result<(), OpenError> {
    if let Some(asked) = options.environment
        && asked != settings.environment
    {
        return Err(OpenError::Environment { asked, log: settings.environment });
    }
    if let Some(asked) = &options.tenant
        && *asked != settings.tenant
    {
        return Err(OpenError::Tenant { asked: asked.clone(), log: settings.tenant.clone() });
    }
    Ok(())
}

/// How the keyring has a key that is to sign at the head, of `size` entries, at this instant.
///
/// # Errors
/// [`OpenError::Key`] with what speaks against it.
pub fn judge_key<'a>(
    keyring: &'a Keyring,
    key: &dyn Signer,
    role: Role,
    size: u64,
    now: Timestamp,
) -> Result<&'a KeyEntry, OpenError> {
    let id = key.public_key().key_id();
    keyring.judge(id, &role, size, now).map_err(|standing| OpenError::Key { key: id.clone(), role, standing })
}

/// The tenant's keys, unwrapped.
pub(crate) fn tenant_keys(
    store: &Store,
    tenant: &TenantId,
    vault: &[u8; 32],
) -> Result<(TenantKey, OpeningKey), OpenError> {
    let vault = Vault::new(vault);
    let key = |purpose: Purpose| -> Result<_, OpenError> {
        let wrapped = store
            .read(|reader| reader.tenant_key(purpose.as_str()))?
            .ok_or(OpenError::TenantKeyMissing { purpose: purpose.as_str() })?;
        Ok(vault.unwrap(tenant, purpose, &wrapped.wrapped)?)
    };
    let commitment = TenantKey::from_bytes(*key(Purpose::Commitment)?);
    Ok((commitment, OpeningKey::new(tenant.clone(), key(Purpose::Opening)?)))
}

/// What helps against a key that is not good.
fn way_out(standing: Standing) -> &'static str {
    match standing {
        Standing::Unknown => "enrol it in a new keyring version",
        Standing::Role => "use one that has the role, or enrol another key with it",
        Standing::Validity => "renew the keyring and the key: `chancery trust keyring renew`",
        Standing::Revoked => "a revocation is never lifted: enrol a new key and use that",
    }
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `root.pub` cannot be read.
    #[error("cannot read `{}`; without it nothing in the log can be trusted", path.display())]
    RootPubFile {
        /// Where it should be.
        path: PathBuf,
        /// What the file system says.
        #[source]
        source: std::io::Error,
    },
    /// `root.pub` is no `root.pub`.
    #[error("`{}` holds no root keys", path.display())]
    RootPub {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: RootPubError,
    },
    /// The keyring does not hold, or does not lead to `root.pub`.
    #[error("the keyring of the log cannot be trusted")]
    Keyring(#[from] KeyringError),
    /// A private key of this runtime is not good.
    #[error("the key {key} is not good as `{role}`; {}", way_out(*standing))]
    Key {
        /// The key.
        key: KeyId,
        /// What it is needed for.
        role: Role,
        /// What is wrong.
        #[source]
        standing: Standing,
    },
    /// A key is good, and does not sign: its token is gone, say.
    #[error("the `{role}` key cannot be used at the moment")]
    Sign {
        /// What it is needed for.
        role: Role,
        /// What its holder says.
        #[source]
        source: SignError,
    },
    /// A key file cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyError),
    /// The vault is not the one that the database was made with.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The database has no such key.
    #[error("the database has no {purpose} key for its tenant: `chancery init` did not finish")]
    TenantKeyMissing {
        /// What the key is for.
        purpose: &'static str,
    },
    /// The log was made for another environment.
    #[error(
        "this is a {log} log, and the program was started for {asked}; a log keeps its environment for ever"
    )]
    Environment {
        /// What was asked for.
        asked: Environment,
        /// What the log is.
        log: Environment,
    },
    /// The log is another tenant's.
    #[error("this is the log of `{log}`, the configuration says `{asked}`")]
    Tenant {
        /// What was asked for.
        asked: TenantId,
        /// Whose log it is.
        log: TenantId,
    },
    /// A bundle in force cannot be used.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The publisher's memory and the database do not go together.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The files of the release do not hold.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The build was logged before, and what is stored of it does not hold.
    #[error(transparent)]
    BuildRecorded(#[from] RecordedBuildError),
    /// The log does not take the build identity.
    #[error("the build identity cannot be logged")]
    BuildNotLogged(#[source] SubmitError),
    /// Nothing may be decided.
    #[error(transparent)]
    Decide(#[from] ExecuteError),
    /// There are no threads.
    #[error("cannot start worker threads")]
    Threads(#[source] std::io::Error),
}

impl Failure for OpenError {
    fn whose(&self) -> Cause {
        match self {
            Self::Store(error) => store_cause(error),
            Self::RootPubFile { .. } => Cause::NotFound,
            Self::RootPub { .. } | Self::Keyring(_) | Self::TenantKeyMissing { .. } => Cause::Corrupt,
            Self::Key { .. } | Self::Vault(_) | Self::Environment { .. } | Self::Tenant { .. } => {
                Cause::Refused
            }
            Self::KeyFile(error) => error.whose(),
            Self::Bundle(error) => error.whose(),
            Self::Checkpoint(error) => error.whose(),
            Self::Build(error) => error.whose(),
            Self::BuildRecorded(_) => Cause::Corrupt,
            Self::BuildNotLogged(SubmitError::Rejected(_)) => Cause::Refused,
            Self::BuildNotLogged(SubmitError::Store(error)) => store_cause(error),
            Self::Decide(error) => error.whose(),
            Self::Sign { .. } | Self::Threads(_) => Cause::Unavailable,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => store_code(error),
            Self::RootPubFile { .. } | Self::RootPub { .. } => "trust.root",
            Self::Keyring(_) => "trust.keyring",
            Self::Key { .. } | Self::Sign { .. } => "runtime.key",
            Self::KeyFile(error) => error.code(),
            Self::Vault(_) => "vault.other",
            Self::TenantKeyMissing { .. } => "vault.missing",
            Self::Environment { .. } => "log.environment",
            Self::Tenant { .. } => "log.tenant",
            Self::Bundle(error) => error.code(),
            Self::Checkpoint(error) => error.code(),
            Self::Build(error) => error.code(),
            Self::BuildRecorded(_) => "store.corrupt",
            Self::BuildNotLogged(SubmitError::Rejected(_)) => "log.refused",
            Self::BuildNotLogged(SubmitError::Store(error)) => store_code(error),
            Self::Decide(error) => error.code(),
            Self::Threads(_) => "runtime.unavailable",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Store(error) => store_detail(error),
            Self::Bundle(error) => error.detail(),
            Self::Build(error) => error.detail(),
            Self::Decide(error) => error.detail(),
            _ => "the runtime cannot be used; the operator's log says why".to_owned(),
        }
    }
}
