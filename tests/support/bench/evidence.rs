//! A file of evidence of any length, made as it is read: nothing of it is kept.
//!
//! The header's checkpoint has the root over everything that follows, so the decisions are made twice: once to hash
//! them, and once more, signed, to write them. Making them is deterministic.

use std::io::Write;

use chancery_core::b64;
use chancery_core::checkpoint::Checkpoint;
use chancery_core::digest::sha256;
use chancery_core::dsse::{Envelope, IN_TOTO, record_id};
use chancery_core::evidence::{
    BundleLine, BundleTag, Disclosure, EntryLine, Header, KeyringLine, KeyringTag, Range, Scope, Writer,
};
use chancery_core::ids::TenantId;
use chancery_core::key::{Signer as _, SigningKey};
use chancery_core::keyring::{KeyEntry, KeyringVersion, Role, RootKey, RootPub};
use chancery_core::log::{Kind, leaf_hash_of};
use chancery_core::merkle::Frontier;
use chancery_core::sigstore::MessageBundle;
use chancery_core::statement::{Activation, Statement};
use chancery_core::time::Timestamp;

use super::claims::{Claims, Decided};
use super::on_all_cores;

/// The log's origin.
pub const ORIGIN: &str = "log.example/acme";

/// 2026-06-01T00:00:00Z.
const START_MICROS: i64 = 1_780_272_000_000_000;

/// Entries before the first decision: the keyring and the activation.
const BEFORE: usize = 2;

/// Decisions that are made at a time, on all cores.
const BLOCK: usize = 8_192;

/// A log with this many decisions.
pub struct Evidence {
    /// What is decided, and by which bundle.
    pub claims: Claims,
    /// The key that signs decisions.
    pub runtime: SigningKey,
    decisions: usize,
    first: [Envelope; BEFORE],
}

fn key(name: &str) -> SigningKey {
    SigningKey::generate_ed25519(sha256(format!("chancery/bench/{name}").as_bytes()))
}

fn at(ms: usize) -> Timestamp {
    let ms = i64::try_from(ms).unwrap();
    Timestamp::from_unix_micros(START_MICROS + ms * 1_000).unwrap()
}

impl Evidence {
    /// Prepares a log of this many decisions.
    #[must_use]
    pub fn new(decisions: usize) -> Self {
        let claims = Claims::load();
        let (root, runtime, policy) = (key("root"), key("runtime"), key("policy"));
        let manifest = claims.bundle.manifest();
        let activation = Activation {
            activated_at: at(0),
            bundle_hash: claims.bundle.hash(),
            policy_id: manifest.id().clone(),
            policy_version: manifest.version().clone(),
            previous: None,
            reason: "for the bench".to_owned(),
            requested_by: "bench".to_owned(),
            signer: policy.public_key().key_id().clone(),
            tenant: claims.tenant(),
        };
        let keyring = Statement::keyring_of(keyring(claims.tenant(), &root, &runtime, &policy)).unwrap();
        let activation = Statement::activation_of(activation).unwrap();
        let first = [
            Envelope::sign(IN_TOTO, keyring.to_payload().unwrap().into_bytes(), &root).unwrap(),
            Envelope::sign(IN_TOTO, activation.to_payload().unwrap().into_bytes(), &policy).unwrap(),
        ];
        Self { claims, runtime, decisions, first }
    }

    /// The text of `root.pub`.
    #[must_use]
    pub fn root_pub(&self) -> String {
        RootPub::new(vec![key("root").public_key().clone()], 1).unwrap().to_string()
    }

    /// The entries before the first decision: the keyring and the activation of the bundle.
    #[must_use]
    pub fn first(&self) -> &[Envelope; BEFORE] {
        &self.first
    }

    /// Decision `number`, not signed yet.
    #[must_use]
    pub fn decide(&self, number: usize) -> Decided {
        self.claims.decide(number, at(number), self.runtime.public_key().key_id())
    }

    /// The envelope of a decision.
    #[must_use]
    pub fn sign(&self, decided: &Decided) -> Envelope {
        let payload = decided.statement.to_payload().unwrap().into_bytes();
        Envelope::sign(IN_TOTO, payload, &self.runtime).unwrap()
    }

    /// The line of decision `number`, with its inputs or without them.
    #[must_use]
    pub fn line(&self, number: usize, opened: bool) -> EntryLine {
        let decided = self.decide(number);
        EntryLine {
            envelope: self.sign(&decided),
            index: u64::try_from(BEFORE + number).unwrap(),
            kind: Kind::Decision,
            opening: opened.then(|| decided.opening()),
            proof: None,
        }
    }

    /// Writes the whole file, with the inputs of every decision or without any.
    pub fn write<W: Write>(&self, out: W, opened: bool) -> W {
        let size = u64::try_from(BEFORE + self.decisions).unwrap();
        let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size, root: self.frontier().root() };
        let header = Header::new(
            self.claims.tenant(),
            ORIGIN,
            checkpoint.sign(&key("log")).unwrap(),
            at(self.decisions),
            if opened { Disclosure::Full } else { Disclosure::None },
            Scope::Range(Range { from: 0, to: size }),
        );
        let [keyring, activation] = self.first.clone();
        let mut writer = Writer::new(out, &header).unwrap();
        writer.keyring(&KeyringLine { envelope: keyring, index: 0, kind: KeyringTag, proof: None }).unwrap();
        writer.bundle(&self.bundle_line()).unwrap();
        let activation =
            EntryLine { envelope: activation, index: 1, kind: Kind::Activation, opening: None, proof: None };
        writer.entry(&activation).unwrap();
        self.in_blocks(|number| self.line(number, opened), |line| writer.entry(&line).unwrap());
        writer.finish(&self.runtime).unwrap().0
    }

    fn frontier(&self) -> Frontier {
        let mut frontier = Frontier::new();
        for (kind, envelope) in [Kind::Keyring, Kind::Activation].into_iter().zip(&self.first) {
            frontier.push(&leaf_hash_of(kind, &envelope.record_id()));
        }
        let leaf = |number| {
            let payload = self.decide(number).statement.to_payload().unwrap();
            leaf_hash_of(Kind::Decision, &record_id(IN_TOTO, payload.as_bytes()))
        };
        self.in_blocks(leaf, |leaf| frontier.push(&leaf));
        frontier
    }

    fn in_blocks<T: Send>(&self, make: impl Fn(usize) -> T + Sync, mut take: impl FnMut(T)) {
        for from in (0..self.decisions).step_by(BLOCK) {
            let count = BLOCK.min(self.decisions - from);
            on_all_cores(count, |number| make(from + number)).into_iter().for_each(&mut take);
        }
    }

    fn bundle_line(&self) -> BundleLine {
        let bundle = &self.claims.bundle;
        let files = bundle.files().iter().map(|(path, bytes)| (path.clone(), b64::Bytes(bytes.clone())));
        BundleLine {
            bundle_hash: bundle.hash(),
            files: files.collect(),
            kind: BundleTag,
            policy_id: bundle.manifest().id().clone(),
            signature: MessageBundle::sign(bundle.sum().as_bytes(), &key("policy")).unwrap(),
            version: bundle.manifest().version().clone(),
        }
    }
}

fn keyring(tenant: TenantId, root: &SigningKey, runtime: &SigningKey, policy: &SigningKey) -> KeyringVersion {
    let far = at(10 * 365 * 24 * 3_600_000);
    let entry = |key: &SigningKey, role: Role, subject: &str| KeyEntry {
        key: key.public_key().clone(),
        revoked: None,
        roles: vec![role],
        subject: subject.to_owned(),
        valid_from: at(0),
        valid_until: far,
    };
    KeyringVersion {
        expires_at: far,
        issued_at: at(0),
        keys: vec![
            entry(runtime, Role::Runtime, "chancery-runtime"),
            entry(&key("log"), Role::Log, ORIGIN),
            entry(policy, Role::Policy, "policy-publisher"),
        ],
        log_origin: ORIGIN.to_owned(),
        previous: None,
        root_keys: vec![RootKey::new(root.public_key().clone())],
        tenant,
        threshold: 1,
        version: 1,
        witness_quorum: None,
    }
}
