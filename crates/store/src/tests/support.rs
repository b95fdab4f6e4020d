//! A log with keys, a keyring, two bundles and decisions, and a hook that holds the writer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use chancery_core::b64;
use chancery_core::digest::{BundleHash, Fingerprint, RecordId, SignalsRoot, sha256};
use chancery_core::dsse::{Envelope, IN_TOTO, Signature, record_id};
use chancery_core::key::{KeyId, Signer, SigningKey};
use chancery_core::keyring::{KeyEntry, KeyringVersion, RootKey};
use chancery_core::statement::{Environment, ExecutionState, Statement};
use chancery_core::time::Timestamp;
use tempfile::TempDir;

use crate::{
    Body, Clock, EncryptedOpening, NewActivation, NewDecision, NewEntry, NewKeyring, OnStep, Options,
    PostgresUrl, Settings, Step, Store, StoreError, StoredBundle,
};

pub(crate) const START: &str = "2026-03-01T12:00:00.000000Z";

pub(crate) fn at(seconds: i64) -> Timestamp {
    START.parse::<Timestamp>().unwrap().checked_add_ms(seconds * 1_000).unwrap()
}

/// One microsecond later each time it is read.
pub(crate) fn clock() -> Clock {
    let micros = AtomicI64::new(at(0).unix_micros());
    Arc::new(move || Timestamp::from_unix_micros(micros.fetch_add(1, Ordering::Relaxed)).unwrap())
}

pub(crate) fn options() -> Options {
    Options::new(clock())
}

/// Whose key is which; `anna` has two.
pub(crate) const APPROVERS: [(&str, u8); 3] = [("anna", 10), ("bert", 11), ("anna", 12)];

/// An approver's key, by its number.
pub(crate) fn approver(number: u8) -> SigningKey {
    SigningKey::generate_ed25519([number; 32])
}

/// What has become of a log: its keys and where it is.
pub(crate) struct Fixture {
    pub(crate) folder: TempDir,
    /// A database on a server, in place of a file in the folder.
    pub(crate) url: Option<String>,
    pub(crate) root: SigningKey,
    pub(crate) runtime: SigningKey,
    pub(crate) policy: SigningKey,
    pub(crate) other: SigningKey,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            url: None,
            root: SigningKey::generate_ed25519([1; 32]),
            runtime: SigningKey::generate_ed25519([2; 32]),
            policy: SigningKey::generate_ed25519([3; 32]),
            other: SigningKey::generate_ed25519([4; 32]),
        }
    }

    /// In a new database of a real PostgreSQL; none where there is none.
    pub(crate) fn on_postgres() -> Option<Self> {
        let url = chancery_tests::postgres::database()?;
        Some(Self { url: Some(url), ..Self::new() })
    }

    pub(crate) fn postgres_url(&self) -> Option<PostgresUrl> {
        self.url.as_ref().map(|url| url.parse().unwrap())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("log.db")
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            tenant: "acme".parse().unwrap(),
            log_origin: "log.example/acme".to_owned(),
            environment: Environment::Test,
        }
    }

    /// A new log without entries.
    pub(crate) fn create(&self) -> Store {
        match self.postgres_url() {
            Some(url) => Store::create_postgres(&url, &self.settings(), options()).unwrap(),
            None => Store::create(&self.path(), &self.settings(), options()).unwrap(),
        }
    }

    pub(crate) fn open(&self) -> Store {
        self.try_open(options()).unwrap()
    }

    pub(crate) fn try_open(&self, options: Options) -> Result<Store, StoreError> {
        match self.postgres_url() {
            Some(url) => Store::open_postgres(&url, &self.settings().tenant, options),
            None => Store::open(&self.path(), options),
        }
    }

    pub(crate) fn open_with(&self, hook: impl Fn(Step) -> OnStep + Send + Sync + 'static) -> Store {
        let mut options = options();
        options.hook = Some(Arc::new(hook));
        self.try_open(options).unwrap()
    }

    /// A log with a keyring at index 0 and version 1.0.0 of the policy in force since index 1.
    pub(crate) fn begun(&self) -> Store {
        let store = self.create();
        self.begin(&store);
        store
    }

    pub(crate) fn begin(&self, store: &Store) {
        assert_eq!(store.submit_blocking(self.keyring(1, None)).unwrap().index(), 0);
        for version in ["1.0.0", "1.1.0"] {
            assert!(store.publish_bundle(bundle(version), at(0)).unwrap());
        }
        let activation = self.activation("1.0.0", None);
        assert_eq!(store.submit_blocking(activation).unwrap().index(), 1);
    }

    pub(crate) fn keyring(&self, version: u64, previous: Option<RecordId>) -> NewEntry {
        let entry = |key: &SigningKey, role: &str| KeyEntry {
            key: key.public_key().clone(),
            revoked: None,
            roles: vec![role.parse().unwrap()],
            subject: role.to_owned(),
            valid_from: at(-1_000),
            valid_until: at(1_000_000),
        };
        let mut other = entry(&self.other, "approver:manager");
        other.roles.extend(["build".parse().unwrap(), "erasure".parse().unwrap()]);
        let mut keys = vec![entry(&self.runtime, "runtime"), entry(&self.policy, "policy"), other];
        for (name, key) in APPROVERS {
            let mut approver = entry(&approver(key), "approver:manager");
            approver.subject = name.to_owned();
            keys.push(approver);
        }
        let predicate = KeyringVersion {
            expires_at: at(2_000_000),
            issued_at: at(-1_000),
            keys,
            log_origin: "log.example/acme".to_owned(),
            previous,
            root_keys: vec![RootKey::new(self.root.public_key().clone())],
            tenant: "acme".parse().unwrap(),
            threshold: 1,
            version,
            witness_quorum: None,
        };
        let expires_at = predicate.expires_at;
        let payload = Statement::keyring_of(predicate).unwrap().to_payload().unwrap();
        let envelope = Envelope::sign(IN_TOTO, payload.as_bytes().to_vec(), &self.root).unwrap();
        NewEntry {
            record_id: envelope.record_id(),
            payload: envelope.payload.0,
            signatures: envelope.signatures,
            claimed_at: at(-1_000),
            body: Body::Keyring(NewKeyring { version, expires_at }),
        }
    }

    pub(crate) fn activation(&self, version: &str, previous: Option<&str>) -> NewEntry {
        let body = NewActivation {
            policy_id: "claims".parse().unwrap(),
            policy_version: version.parse().unwrap(),
            bundle_hash: bundle(version).bundle_hash,
            previous: previous.map(|version| bundle(version).bundle_hash),
            requested_by: "anna".to_owned(),
            reason: "a test".to_owned(),
        };
        record(
            &self.policy,
            &format!("activation of {version} after {previous:?}"),
            at(0),
            Body::Activation(body),
        )
    }

    /// A decision under version 1.0.0, its fingerprint that of `inputs`.
    pub(crate) fn decision(&self, id: &str, inputs: &str) -> NewEntry {
        self.decision_by(id, inputs, |_| ())
    }

    pub(crate) fn decision_by(
        &self,
        id: &str,
        inputs: &str,
        change: impl FnOnce(&mut NewDecision),
    ) -> NewEntry {
        let mut body = NewDecision {
            execution_id: id.parse().unwrap(),
            fingerprint: fingerprint(inputs),
            policy_id: "claims".parse().unwrap(),
            policy_version: "1.0.0".parse().unwrap(),
            bundle_hash: bundle("1.0.0").bundle_hash,
            outcome: "approve".to_owned(),
            state: ExecutionState::Completed,
            principal: "System::\"core\"".parse().unwrap(),
            resource: "Claim::\"c-1\"".parse().unwrap(),
            signals_root: SignalsRoot::from_bytes(sha256(inputs.as_bytes())),
            build_identity: None,
            labels: BTreeMap::new(),
            opening: Some(EncryptedOpening {
                salt: [7; 32],
                nonce: [8; 12],
                ciphertext: inputs.as_bytes().to_vec(),
                partial: false,
            }),
        };
        change(&mut body);
        record(&self.runtime, &format!("{id} {inputs}"), at(1), Body::Decision(Box::new(body)))
    }
}

pub(crate) fn fingerprint(inputs: &str) -> Fingerprint {
    Fingerprint::from_bytes(sha256(inputs.as_bytes()))
}

/// A record whose payload is a JSON object with `text` in it. The store does not look at the signature.
pub(crate) fn record(key: &SigningKey, text: &str, claimed_at: Timestamp, body: Body) -> NewEntry {
    let text = serde_json::to_string(text).unwrap();
    let payload =
        format!(r#"{{"predicate":{{"runtime":{{"binary":"b1","version":"0.1.0"}}}},"text":{text}}}"#)
            .into_bytes();
    let keyid: KeyId = key.public_key().key_id().clone();
    NewEntry {
        record_id: record_id(IN_TOTO, &payload),
        payload,
        signatures: vec![Signature { keyid, sig: b64::Bytes(vec![0xab; 64]) }],
        claimed_at,
        body,
    }
}

pub(crate) fn bundle(version: &str) -> StoredBundle {
    let sum = format!("sum of {version}\n").into_bytes();
    StoredBundle {
        policy_id: "claims".parse().unwrap(),
        policy_version: version.parse().unwrap(),
        bundle_hash: BundleHash::from_bytes(sha256(&sum)),
        sum,
        signature: b"{}".to_vec(),
        files: BTreeMap::from([("bundle.toml".to_owned(), version.as_bytes().to_vec())]),
    }
}

/// Holds the writer at the beginning of a batch until it is let go, so that a test says what is in the next one.
#[derive(Clone, Default)]
pub(crate) struct Hold {
    held: Arc<(Mutex<Held>, Condvar)>,
}

#[derive(Default)]
struct Held {
    closed: bool,
    waiting: bool,
}

impl Hold {
    /// Called in the hook.
    pub(crate) fn pass(&self, step: Step) {
        if step != Step::Taken {
            return;
        }
        let (held, changed) = &*self.held;
        let mut held = held.lock().unwrap();
        while held.closed {
            held.waiting = true;
            changed.notify_all();
            held = changed.wait(held).unwrap();
        }
        held.waiting = false;
    }

    pub(crate) fn close(&self) {
        self.held.0.lock().unwrap().closed = true;
    }

    pub(crate) fn wait_until_held(&self) {
        let (held, changed) = &*self.held;
        drop(changed.wait_while(held.lock().unwrap(), |held| !held.waiting).unwrap());
    }

    pub(crate) fn open(&self) {
        let (held, changed) = &*self.held;
        held.lock().unwrap().closed = false;
        changed.notify_all();
    }
}

/// Makes a test of each function for both databases: it gets a fixture.
macro_rules! on_each_database {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[test] fn $name() { super::$name(super::Fixture::new()); })*
        }
        mod on_postgres {
            $(#[test] fn $name() {
                if let Some(fixture) = super::Fixture::on_postgres() {
                    super::$name(fixture);
                }
            })*
        }
    };
}
pub(crate) use on_each_database;

/// Runs SQL as an auditor with the system's tools would, on a connection of its own.
pub(crate) fn sql(path: &Path, sql: &str) -> Result<(), String> {
    use diesel::Connection as _;
    use diesel::connection::SimpleConnection as _;
    let mut connection = diesel::SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection.batch_execute(sql).map_err(|error| error.to_string())
}

/// SQL that takes a file back to the schema before decisions were written with less.
pub(crate) const BEFORE_WRITE_LESS: &str = concat!(
    include_str!("../../../../migrations/sqlite/2026-11-21-150000_write_less/down.sql"),
    "DELETE FROM __diesel_schema_migrations WHERE version = '20261121150000';"
);

/// Checks everything that has to hold in any log: entries without gaps, and a tree that is core's.
pub(crate) fn check_log(store: &Store) -> u64 {
    use chancery_core::log::chain_next;
    let snapshot = store.snapshot().unwrap();
    let head = snapshot.head();
    let mut frontier = chancery_core::merkle::Frontier::new();
    let mut chain = chancery_core::digest::ChainHash::ZERO;
    for entry in snapshot.entries(0..u64::MAX) {
        let entry = entry.unwrap();
        assert_eq!(entry.index, frontier.size());
        frontier.push(&entry.leaf_hash);
        chain = chain_next(&chain, &entry.leaf_hash);
    }
    assert_eq!(frontier.size(), head.size);
    assert_eq!(frontier.root(), head.root_hash);
    assert_eq!(chain, head.chain_hash);
    snapshot
        .read(|reader| {
            assert_eq!(reader.frontier()?, frontier);
            assert_eq!(reader.root(head.size)?, head.root_hash);
            Ok(())
        })
        .unwrap();
    head.size
}

/// A bundle of a megabyte.
pub(crate) fn large_bundle() -> StoredBundle {
    let mut large = bundle("2.0.0");
    large.files.insert("large.cedar".to_owned(), vec![b' '; 1_000_000]);
    large
}
