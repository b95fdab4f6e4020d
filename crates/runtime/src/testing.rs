//! A prepared log for the tests of this crate: real SQLite in a temporary folder, a clock that stands still, and random
//! bytes that are the same each time.

use crate::build::BuildFiles;
use crate::bundles::{self, Activated, ActivationRequest, Files, SignedBundle};
use crate::edge::{Clock, Entropy, EntropyError};
use crate::execute::Caller;
use crate::home::Home;
use crate::init::{Commitments, Holder, InitRequest, Roots, init};
use crate::keys::{self, KeyName, ServerKeys};
use crate::runtime::{OpenError, Options, Runtime};
use chancery_core::b64;
use chancery_core::digest::{Digest, sha256};
use chancery_core::dsse::{Envelope, IN_TOTO};
use chancery_core::key::{Signer as _, SigningKey};
use chancery_core::keyring::Role;
use chancery_core::sigstore::MessageBundle;
use chancery_core::statement::{BuildIdentity, Environment, Git, Sbom, Statement, Subject};
use chancery_core::time::Timestamp;
use chancery_store::Location;
use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use tempfile::TempDir;
use zeroize::Zeroizing;

pub(crate) const PASSWORD: &[u8] = b"the servers' password";
pub(crate) const ROOT_PASSWORD: &[u8] = b"the custodian's password";
/// SHA-256 of the program that runs.
pub(crate) const PROGRAM: Digest = Digest::from_bytes([0xab; 32]);
pub(crate) const POLICY: &str = "small-claims";

/// A clock that moves only when it is told to.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn at(text: &str) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(text.parse::<Timestamp>().unwrap().unix_micros())))
    }

    pub(crate) fn advance_ms(&self, ms: i64) {
        self.0.fetch_add(ms * 1_000, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.0.load(Ordering::Relaxed)).unwrap()
    }
}

/// SHA-256 of a counter.
#[derive(Debug, Default)]
pub(crate) struct TestEntropy(AtomicU64);

impl Entropy for TestEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in bytes.chunks_mut(32) {
            let block = sha256(&self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes());
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        Ok(())
    }
}

/// A folder with a log in it.
pub(crate) struct TestLog {
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) policy_key: SigningKey,
    pub(crate) root_key: SigningKey,
    location: Location,
    prepared: &'static Prepared,
}

/// The folder as `init` made it, and the keys in the clear: opening a key file takes a while on purpose.
struct Prepared {
    files: BTreeMap<PathBuf, (Vec<u8>, u32)>,
    keys: BTreeMap<&'static str, Zeroizing<Vec<u8>>>,
    environment: Environment,
}

static PREPARED: OnceLock<Prepared> = OnceLock::new();
static PRODUCTION: OnceLock<Prepared> = OnceLock::new();

const START: &str = "2026-03-01T10:00:00.000000Z";

impl TestLog {
    /// A copy of the prepared log: version 1.0.0 of the small bundle is in force.
    pub(crate) fn new() -> Self {
        Self::of(PREPARED.get_or_init(|| prepare(|_| {})))
    }

    /// The same for production, with [`build_key`] enrolled for builds and [`other_key`] for erasures.
    pub(crate) fn production() -> Self {
        Self::of(PRODUCTION.get_or_init(|| {
            prepare(|request| {
                request.environment = Environment::Production;
                let holder = |key: SigningKey, role: Role| Holder {
                    key: key.public_key().clone(),
                    subject: role.to_string(),
                    roles: vec![role],
                };
                request.enrol = vec![holder(build_key(), Role::Build), holder(other_key(), Role::Erasure)];
            })
        }))
    }

    /// Two nodes under one clock: folders with the same keys, and one new database on a server. None where there is no
    /// PostgreSQL.
    pub(crate) fn on_postgres() -> Option<[Self; 2]> {
        let location: Location = chancery_tests::postgres::database()?.parse().unwrap();
        let prepared = prepare(|request| request.database = location.clone());
        // As long-lived as those that are made once.
        let prepared: &'static Prepared = Box::leak(Box::new(prepared));
        let one = Self { location: location.clone(), ..Self::of(prepared) };
        let other = Self { location, clock: Arc::clone(&one.clock), ..Self::of(prepared) };
        Some([one, other])
    }

    fn of(prepared: &'static Prepared) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (path, (bytes, mode)) in &prepared.files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        fs::set_permissions(folder.path().join("keys"), fs::Permissions::from_mode(0o700)).unwrap();
        let clock = TestClock::at(START);
        clock.advance_ms(60_000);
        let (policy_key, root_key) = (prepared.key(KeyName::Policy), prepared.key(KeyName::Root));
        let location = folder.path().join("chancery.db").into();
        Self { folder, clock, policy_key, root_key, location, prepared }
    }

    pub(crate) fn home(&self) -> Home {
        Home::new(self.folder.path())
    }

    /// The file, of a log that is in one.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("chancery.db")
    }

    pub(crate) fn keys(&self) -> ServerKeys {
        ServerKeys {
            runtime: Arc::new(self.prepared.key(KeyName::Runtime)),
            log: Arc::new(self.prepared.key(KeyName::Log)),
            vault: keys::seed(&self.prepared.key(KeyName::Vault)).unwrap(),
        }
    }

    pub(crate) fn runtime_key(&self) -> SigningKey {
        self.prepared.key(KeyName::Runtime)
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            home: self.home(),
            database: self.location.clone(),
            keys: self.keys(),
            tenant: self.location.file().is_none().then(|| "acme".parse().unwrap()),
            environment: Some(self.prepared.environment),
            binary: PROGRAM,
            build: None,
            clock: self.clock.clone(),
            entropy: Arc::new(TestEntropy(AtomicU64::new(1_000_000))),
            threads: NonZeroUsize::new(2),
        }
    }

    pub(crate) fn open(&self) -> Runtime {
        self.try_open().unwrap()
    }

    pub(crate) fn try_open(&self) -> Result<Runtime, OpenError> {
        Runtime::open(self.options())
    }

    /// Signs, publishes and activates a version of the small bundle.
    pub(crate) fn activate(&self, runtime: &Runtime, version: &str) -> Activated {
        self.publish(runtime, version);
        let request = ActivationRequest {
            policy: POLICY.parse().unwrap(),
            version: version.parse().unwrap(),
            reason: "a test".to_owned(),
            requested_by: "tester".to_owned(),
        };
        runtime.activate(&runtime.sign_activation(&request, &self.policy_key).unwrap()).unwrap()
    }

    pub(crate) fn publish(&self, runtime: &Runtime, version: &str) {
        let files = small_bundle(version);
        let signature = bundles::sign(&files, &self.policy_key).unwrap().signature;
        runtime.publish(SignedBundle { files, signature }).unwrap();
    }

    /// Changes the database behind everybody's back, with the triggers out of the way.
    pub(crate) fn tamper(&self, sql: &str) {
        #[derive(diesel::QueryableByName)]
        struct Trigger {
            #[diesel(sql_type = diesel::sql_types::Text)]
            name: String,
        }
        let mut connection = SqliteConnection::establish(self.database().to_str().unwrap()).unwrap();
        let triggers = diesel::RunQueryDsl::load::<Trigger>(
            diesel::sql_query("SELECT name FROM sqlite_master WHERE type = 'trigger'"),
            &mut connection,
        )
        .unwrap();
        connection.batch_execute("PRAGMA foreign_keys=OFF;").unwrap();
        for trigger in triggers {
            connection.batch_execute(&format!("DROP TRIGGER \"{}\"", trigger.name)).unwrap();
        }
        connection.batch_execute(sql).unwrap();
    }
}

impl Prepared {
    fn key(&self, name: KeyName) -> SigningKey {
        SigningKey::from_pkcs8_der(&self.keys[name.file()]).unwrap()
    }
}

pub(crate) fn init_request(folder: &Path) -> InitRequest {
    InitRequest {
        home: Home::new(folder),
        database: folder.join("chancery.db").into(),
        tenant: "acme".parse().unwrap(),
        log_host: "log.example.com".to_owned(),
        environment: Environment::Test,
        commitments: Commitments::Blinded,
        bundles: vec![small_bundle("1.0.0")],
        reason: "the first".to_owned(),
        requested_by: "tester".to_owned(),
        roots: Roots::Generated { password: Zeroizing::new(ROOT_PASSWORD.to_vec()) },
        runtime_key: None,
        log_key: None,
        enrol: Vec::new(),
        password: Zeroizing::new(PASSWORD.to_vec()),
        binary: PROGRAM,
        clock: TestClock::at(START),
        entropy: Arc::new(TestEntropy::default()),
        threads: NonZeroUsize::new(1),
    }
}

fn prepare(change: impl FnOnce(&mut InitRequest)) -> Prepared {
    let folder = tempfile::tempdir().unwrap();
    let mut request = init_request(folder.path());
    change(&mut request);
    let environment = request.environment;
    drop(init(request).unwrap());
    let home = Home::new(folder.path());
    let password = |name| if name == KeyName::Root { ROOT_PASSWORD } else { PASSWORD };
    let keys = KeyName::ALL
        .map(|name| (name.file(), keys::load(&home.key(name), password(name)).unwrap().to_pkcs8_der()));
    let mut files = BTreeMap::new();
    collect(folder.path(), folder.path(), &mut files);
    Prepared { files, keys: keys.into(), environment }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, (Vec<u8>, u32)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            let relative = path.strip_prefix(root).unwrap().to_owned();
            files.insert(relative, (fs::read(&path).unwrap(), mode));
        }
    }
}

/// A key that signs builds.
pub(crate) fn build_key() -> SigningKey {
    SigningKey::generate_p256([7; 32]).unwrap()
}

/// A key of the same algorithm that has another role.
pub(crate) fn other_key() -> SigningKey {
    SigningKey::generate_p256([8; 32]).unwrap()
}

/// The bill of materials of [`release`].
pub(crate) const BOM: &[u8] = br#"{"bomFormat":"CycloneDX","specVersion":"1.5"}"#;

/// The files of a release of [`PROGRAM`], signed by `key` after `edit`.
pub(crate) fn release(key: &SigningKey, edit: impl FnOnce(&mut BuildIdentity)) -> BuildFiles {
    let mut predicate = BuildIdentity {
        builder: "https://ci.example".to_owned(),
        built_at: "2026-02-01T00:00:00.000000Z".parse().unwrap(),
        git: Git {
            commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            dirty: false,
            repository: "https://git.example/chancery".to_owned(),
            tag: None,
        },
        image: None,
        lockfile_sha256: Digest::of(b"lock"),
        sbom: Sbom {
            format: "CycloneDX".to_owned(),
            sha256: Digest::of(BOM),
            spec_version: "1.5".to_owned(),
        },
        signer: key.public_key().key_id().clone(),
        slsa_provenance: None,
        toolchain: "rustc 1.95.0".to_owned(),
    };
    edit(&mut predicate);
    let statement = Statement::build_of(Subject::new("chancery", *PROGRAM.as_bytes()), predicate).unwrap();
    sign_release(statement.to_payload().unwrap().into_bytes(), key)
}

/// The files around an identity.
pub(crate) fn sign_release(identity: Vec<u8>, key: &SigningKey) -> BuildFiles {
    let bundle = MessageBundle::sign(&identity, key).unwrap();
    let envelope = Envelope::sign(IN_TOTO, identity.clone(), key).unwrap();
    BuildFiles {
        signature: Some(format!("{}\n", b64::encode(&bundle.signature().0)).into_bytes()),
        bundle: Some(serde_json::to_vec(&bundle).unwrap()),
        envelope: Some(serde_json::to_vec(&envelope).unwrap()),
        sbom: Some(BOM.to_vec()),
        identity,
    }
}

pub(crate) fn caller() -> Caller {
    Caller::new("claims-core")
}

/// A request for the small bundle.
pub(crate) fn request(id: &str, amount: &str, score: &str) -> Vec<u8> {
    let signals = format!(r#"{{"amount":{amount},"score":{score}}}"#);
    format!(r#"{{"execution_id":"{id}","policy":"{POLICY}","resource":"CLM-1","signals":{signals}}}"#)
        .into_bytes()
}

/// Few policies, one of which can overflow. Versions differ in a comment, and so in their hash.
pub(crate) fn small_bundle(version: &str) -> Files {
    let manifest = format!(
        r#"
id = "{POLICY}"
version = "{version}"
description = "claims, as few policies as a test needs"
principal = "System"
resource = "Claim"
outcomes = ["deny", "refer", "approve"]
fallback = "refer"
[override]
outcomes = ["refer"]
to = ["approve", "deny"]
roles = ["claims-manager"]
quorum = 1
expires = "3d"
[[reason]]
code = "FRAUD_SCORE"
customer = "we look at this again"
agent = "high score"
regulator = "fraud score at or above the limit"
[[reason]]
code = "SMALL"
customer = "paid"
agent = "small amount"
regulator = "amount within the limit of automatic payment"
"#
    );
    let schema = r#"
entity System;
entity Claim;
type Facts = { "amount": Long, "score": decimal, "note"?: String, "days"?: Long };
action "deny", "refer", "approve" appliesTo { principal: [System], resource: [Claim], context: Facts };
"#;
    let policies = r#"
@id("deny-fraud")
@reason("FRAUD_SCORE")
permit (principal, action == Action::"deny", resource)
when { context.score.greaterThanOrEqual(decimal("0.9")) };

@id("refer-large")
permit (principal, action == Action::"refer", resource)
when { context.amount * 1000000 > 10000000000 };

@id("approve-small")
@reason("SMALL")
permit (principal, action == Action::"approve", resource)
when { context.amount <= 10000 };
"#;
    [("bundle.toml", manifest.as_str()), ("schema.cedarschema", schema), ("policies.cedar", policies)]
        .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))
        .into()
}

/// Drives a future on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Erases the signals of these names of a decision, all of them where none is named. The log is [`TestLog::production`].
pub(crate) fn erase(runtime: &Runtime, log: &TestLog, execution_id: &str, names: &[&str]) {
    use chancery_core::statement::{ErasedFields, Erasure, Statement};
    use chancery_store::{Body, ErasedExecution, NewEntry, NewErasure};
    let found = runtime.records().get(&execution_id.parse().unwrap()).unwrap().unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let remaining = (!names.is_empty()).then(|| {
        let sealed = runtime.inner.store.read(|reader| reader.opening(found.log.index)).unwrap().unwrap();
        let plain = runtime.inner.opening_key.open(&found.record_id, &sealed.opening).unwrap();
        let value = chancery_core::json::parse(&plain, chancery_core::json::Limits::EVIDENCE_LINE).unwrap();
        let opening = chancery_core::commitment::Opening::parse(value).unwrap().redact(&names).unwrap();
        let left = chancery_core::canonical::to_canonical(&opening).unwrap();
        let left = zeroize::Zeroizing::new(left.into_bytes());
        runtime.inner.opening_key.seal(&found.record_id, left, true, [3; 32], [4; 12]).unwrap()
    });
    let statement = found.statement;
    let executions = [(&statement.execution_id, &statement.execution_fingerprint)];
    let erased_at = log.clock.now();
    let erasure = Erasure {
        basis: "a request".to_owned(),
        erased_at,
        fields: if names.is_empty() { ErasedFields::All } else { ErasedFields::Names(names.clone()) },
        requested_by: "privacy".to_owned(),
        signer: chancery_core::key::Signer::public_key(&other_key()).key_id().clone(),
        tenant: statement.tenant.clone(),
    };
    let payload = Statement::erasure_of(executions, erasure).unwrap().to_payload().unwrap().into_bytes();
    let envelope =
        chancery_core::dsse::Envelope::sign(chancery_core::dsse::IN_TOTO, payload, &other_key()).unwrap();
    let body = NewErasure {
        basis: "a request".to_owned(),
        fields: (!names.is_empty()).then_some(names),
        requested_by: "privacy".to_owned(),
        executions: vec![ErasedExecution {
            execution_id: statement.execution_id,
            fingerprint: statement.execution_fingerprint,
            remaining,
        }],
    };
    let entry = NewEntry {
        record_id: envelope.record_id(),
        payload: envelope.payload.0,
        signatures: envelope.signatures,
        claimed_at: erased_at,
        body: Body::Erasure(body),
    };
    runtime.inner.store.submit_blocking(entry).unwrap();
}
