//! A small runtime for tests and benches: makes a log with real keys, bundles and decisions, and exports it.
//!
//! It can do what a runtime must not, so that the verifier has something to find.

use std::collections::BTreeMap;
use std::convert::Infallible;

use chancery_core::b64;
use chancery_core::checkpoint::{Checkpoint, cosign};
use chancery_core::commitment::{Inputs, Opening, TenantKey, commit};
use chancery_core::digest::{Digest, RecordId, RootHash, sha256};
use chancery_core::dsse::{Envelope, IN_TOTO};
use chancery_core::evidence::{
    BuildLine, BuildTag, BundleLine, BundleTag, Disclosure, EntryLine, Header, KeyringLine, KeyringTag,
    Proof, Range, Scope, Writer,
};
use chancery_core::ids::{EntityUid, ExecutionId, TenantId};
use chancery_core::json::{Limits, Pointer, parse};
use chancery_core::key::{Signer, SigningKey};
use chancery_core::keyring::{KeyEntry, KeyringVersion, Role, RootKey, RootPub};
use chancery_core::log::{Kind, leaf_hash_of};
use chancery_core::merkle::{Frontier, NodeSource, inclusion_proof, node_hash};
use chancery_core::sigstore::MessageBundle;
use chancery_core::statement::{
    Activation, BuildIdentity, Confirmation, Decision, Environment, ErasedFields, Erasure, Git, Nonce,
    Override, OverrideResolution, PolicyRef, Predicate, Resolution, ResolutionStatus, Runtime, Sbom,
    Statement, Subject,
};
use chancery_core::time::Timestamp;
use chancery_policy::{Bundle, ENGINE};

pub(crate) const ORIGIN: &str = "log.example/acme";

/// 2026-06-01T00:00:00Z.
const START_MICROS: i64 = 1_780_272_000_000_000;
const SBOM: &[u8] = b"{\"bomFormat\":\"CycloneDX\"}";

/// The key of this name: ECDSA P-256 for builds, else Ed25519.
pub(crate) fn key(name: &str) -> SigningKey {
    let secret = sha256(format!("chancery-verify/tests/{name}").as_bytes());
    if name.starts_with("build") {
        SigningKey::generate_p256(secret).unwrap()
    } else {
        SigningKey::generate_ed25519(secret)
    }
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_micros(START_MICROS + seconds * 1_000_000).unwrap()
}

pub(crate) fn tenant() -> TenantId {
    "acme".parse().unwrap()
}

/// A log in the making.
pub(crate) struct World {
    pub(crate) bundle: Bundle,
    pub(crate) entries: Vec<Logged>,
    /// Seconds since the start; every entry is made ten seconds after the one before.
    pub(crate) now: i64,
    identity: Vec<u8>,
    /// The name of the key that signed the identity.
    builder: &'static str,
    keyring: KeyringVersion,
}

pub(crate) struct Logged {
    pub(crate) kind: Kind,
    pub(crate) envelope: Envelope,
    pub(crate) opening: Option<Opening>,
}

/// What an export has.
pub(crate) struct Plan {
    pub(crate) range: Option<(u64, u64)>,
    /// The indexes of a filtered export.
    pub(crate) chosen: Option<Vec<u64>>,
    pub(crate) disclosure: Disclosure,
    pub(crate) bundle: bool,
    pub(crate) build: bool,
    pub(crate) sbom: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            range: None,
            chosen: None,
            disclosure: Disclosure::Partial,
            bundle: true,
            build: true,
            sbom: true,
        }
    }
}

/// The bundle of the vectors' kind: small claims are approved.
pub(crate) fn claims() -> BTreeMap<String, Vec<u8>> {
    let toml = "id = \"claims\"\nversion = \"1.0.0\"\nprincipal = \"System\"\nresource = \"Claim\"\n\
        outcomes = [\"deny\", \"refer\", \"approve\"]\nfallback = \"refer\"\n\
        [override]\noutcomes = [\"refer\"]\nto = [\"approve\", \"deny\"]\nroles = [\"manager\"]\nquorum = 2\n\
        expires = \"1h\"\n";
    let schema = "entity System; entity Claim; type Signals = { amount: Long };\n\
        action \"deny\", \"refer\", \"approve\" appliesTo { principal: System, resource: Claim, context: Signals };\n";
    let policy = "@id(\"small\") permit (principal, action == Action::\"approve\", resource) \
        when { context.amount <= 1000 };\n";
    [("bundle.toml", toml), ("schema.cedarschema", schema), ("claims.cedar", policy)]
        .into_iter()
        .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))
        .collect()
}

fn entry(name: &str, roles: &[Role], subject: &str) -> KeyEntry {
    KeyEntry {
        key: key(name).public_key().clone(),
        revoked: None,
        roles: roles.to_vec(),
        subject: subject.to_owned(),
        valid_from: at(-3600),
        valid_until: at(100_000_000),
    }
}

impl World {
    /// A log with a keyring, a build and an activation of `files`.
    pub(crate) fn new(files: BTreeMap<String, Vec<u8>>) -> Self {
        let manager = Role::Approver("manager".to_owned());
        let clerk = Role::Approver("clerk".to_owned());
        let mut keys = vec![
            entry("runtime", &[Role::Runtime], "runtime"),
            entry("log", &[Role::Log], ORIGIN),
            entry("policy", &[Role::Policy], "policy"),
            entry("build", &[Role::Build], "ci"),
            entry("erasure", &[Role::Erasure], "privacy"),
            entry("witness", &[Role::Witness], "witness.example"),
            entry("clerk", &[clerk], "clerk"),
        ];
        for name in ["ann", "bob", "eve"] {
            keys.push(entry(name, std::slice::from_ref(&manager), name));
        }
        let keyring = KeyringVersion {
            expires_at: at(100_000_000),
            issued_at: at(0),
            keys,
            log_origin: ORIGIN.to_owned(),
            previous: None,
            root_keys: vec![RootKey::new(key("root").public_key().clone())],
            tenant: tenant(),
            threshold: 1,
            version: 1,
            witness_quorum: None,
        };
        let bundle = Bundle::from_files(files).unwrap();
        let mut world =
            Self { bundle, entries: Vec::new(), now: 0, identity: Vec::new(), builder: "build", keyring };
        world.log_keyring();
        let logged = world.build("build", |_| {});
        world.log_build(&logged);
        world.activate(|_| {});
        world
    }

    pub(crate) fn root_pub(&self) -> String {
        RootPub::new(vec![key("root").public_key().clone()], 1).unwrap().to_string()
    }

    /// The next version of the keyring, as `edit` makes it of the newest.
    pub(crate) fn rotate(&mut self, edit: impl FnOnce(&mut KeyringVersion)) {
        let newest = self.entries.iter().rev().find(|entry| entry.kind == Kind::Keyring).unwrap();
        self.keyring.previous = Some(newest.envelope.record_id());
        self.keyring.version += 1;
        self.keyring.issued_at = at(self.now);
        edit(&mut self.keyring);
        self.log_keyring();
    }

    fn log_keyring(&mut self) {
        let statement = Statement::keyring_of(self.keyring.clone()).unwrap();
        self.log(&statement, &key("root"), None);
    }

    /// From here on another build decides. It is not logged yet.
    pub(crate) fn build(
        &mut self,
        builder: &'static str,
        edit: impl FnOnce(&mut BuildIdentity),
    ) -> Statement<BuildIdentity> {
        let signer = key(builder);
        let mut predicate = BuildIdentity {
            builder: "https://ci.example".to_owned(),
            built_at: at(-60),
            git: Git {
                commit: "0".repeat(40),
                dirty: false,
                repository: "https://git.example".to_owned(),
                tag: None,
            },
            image: None,
            lockfile_sha256: Digest::from_bytes(sha256(b"lock")),
            sbom: Sbom {
                format: "CycloneDX".to_owned(),
                sha256: Digest::from_bytes(sha256(SBOM)),
                spec_version: "1.5".to_owned(),
            },
            signer: signer.public_key().key_id().clone(),
            slsa_provenance: None,
            toolchain: "rustc 1.95.0".to_owned(),
        };
        edit(&mut predicate);
        let statement = Statement::build_of(Subject::new("chancery", sha256(b"program")), predicate).unwrap();
        self.identity = statement.to_payload().unwrap().into_bytes();
        self.builder = builder;
        statement
    }

    pub(crate) fn log_build(&mut self, build: &Statement<BuildIdentity>) {
        self.log(build, &key(self.builder), None);
    }

    pub(crate) fn activate(&mut self, edit: impl FnOnce(&mut Activation)) {
        let signer = key("policy");
        let manifest = self.bundle.manifest();
        let mut predicate = Activation {
            activated_at: at(self.now),
            bundle_hash: self.bundle.hash(),
            policy_id: manifest.id().clone(),
            policy_version: manifest.version().clone(),
            previous: None,
            reason: "It was time.".to_owned(),
            requested_by: "the board".to_owned(),
            signer: signer.public_key().key_id().clone(),
            tenant: tenant(),
        };
        edit(&mut predicate);
        self.log(&Statement::activation_of(predicate).unwrap(), &signer, None);
    }

    /// Signs and logs a statement; ten seconds pass.
    pub(crate) fn log<P: Predicate>(
        &mut self,
        statement: &Statement<P>,
        signer: &SigningKey,
        opening: Option<Opening>,
    ) -> RecordId {
        let payload = statement.to_payload().unwrap().into_bytes();
        let envelope = Envelope::sign(IN_TOTO, payload, signer).unwrap();
        let record = envelope.record_id();
        self.entries.push(Logged { kind: P::KIND, envelope, opening });
        self.now += 10;
        record
    }

    pub(crate) fn decide(&mut self, id: &str, signals: &str) -> RecordId {
        self.decide_as(id, signals, |_| {})
    }

    /// Decides as the bundle says, and then as `edit` says.
    pub(crate) fn decide_as(
        &mut self,
        id: &str,
        signals: &str,
        edit: impl FnOnce(&mut Decision),
    ) -> RecordId {
        let signer = key("runtime");
        let value = parse(signals.as_bytes(), Limits::REQUEST).unwrap();
        let typed = self.bundle.type_signals(&value, Pointer::root()).unwrap();
        let manifest = self.bundle.manifest();
        let principal = EntityUid::new(manifest.principal(), "core").unwrap();
        let resource = EntityUid::new(manifest.resource(), id).unwrap();
        let hash = self.bundle.hash();
        let inputs = Inputs {
            bundle_hash: &hash,
            policy_id: manifest.id(),
            policy_version: manifest.version(),
            principal: &principal,
            resource: &resource,
            signals: &typed,
            candidates: None,
        };
        let committed = commit(&TenantKey::from_bytes([7; 32]), &inputs).unwrap();
        let evaluation = self.bundle.evaluate(&principal, &resource, &typed, None);
        let mut decision = Decision {
            candidates: None,
            decision: evaluation.decision,
            environment: Environment::Production,
            executed_at: at(self.now),
            execution_fingerprint: committed.fingerprint,
            execution_id: id.parse::<ExecutionId>().unwrap(),
            execution_state: evaluation.state,
            labels: None,
            models: None,
            policy: PolicyRef {
                bundle_hash: hash,
                engine: ENGINE.to_owned(),
                id: manifest.id().clone(),
                version: manifest.version().clone(),
            },
            principal,
            resource,
            runtime: Runtime {
                binary: Digest::from_bytes(sha256(b"program")),
                build_identity: Some(Digest::from_bytes(sha256(&self.identity))),
                version: "0.1.0".to_owned(),
            },
            signals_root: committed.signals_root,
            signer: signer.public_key().key_id().clone(),
            tenant: tenant(),
        };
        edit(&mut decision);
        let opening = Opening::full(&committed.secret, &typed, None).unwrap();
        self.log(&Statement::decision_of(decision).unwrap(), &signer, Some(opening))
    }

    pub(crate) fn decided_at(&self, record: &RecordId) -> Timestamp {
        self.decision(record).executed_at
    }

    fn decision(&self, record: &RecordId) -> Decision {
        let entry = self.entries.iter().find(|entry| entry.envelope.record_id() == *record).unwrap();
        Statement::<Decision>::parse_unverified(&entry.envelope.payload.0).unwrap().predicate
    }

    /// `approver` approves `approve`, or does what `edit` makes of it.
    pub(crate) fn answer(
        &mut self,
        decision: &RecordId,
        approver: &str,
        edit: impl FnOnce(&mut Override),
    ) -> RecordId {
        self.answer_about(decision, decision, approver, edit)
    }

    /// The same with the members of `decision`, about `subject`.
    pub(crate) fn answer_about(
        &mut self,
        subject: &RecordId,
        decision: &RecordId,
        approver: &str,
        edit: impl FnOnce(&mut Override),
    ) -> RecordId {
        let signer = key(approver);
        let of = self.decision(decision);
        let mut nonce = [0; 16];
        nonce[0] = u8::try_from(self.entries.len() % 251).unwrap();
        let mut predicate = Override {
            approver: approver.to_owned(),
            execution_fingerprint: of.execution_fingerprint,
            execution_id: of.execution_id,
            expires_at: at(self.now + 1800),
            issued_at: at(self.now),
            nonce: Nonce::from_bytes(nonce),
            outcome: Some("approve".to_owned()),
            reason: "Looked at by hand.".to_owned(),
            reason_code: "REVIEWED".to_owned(),
            resolution: OverrideResolution::Approve,
            role: "manager".to_owned(),
            signer: signer.public_key().key_id().clone(),
            tenant: tenant(),
        };
        edit(&mut predicate);
        self.log(&Statement::about(subject, predicate).unwrap(), &signer, None)
    }

    /// Changes the text of the last record, and leaves its signature as it is.
    pub(crate) fn edit_last(&mut self, from: &str, to: &str) {
        let payload = &mut self.entries.last_mut().unwrap().envelope.payload.0;
        let text = String::from_utf8(payload.clone()).unwrap();
        assert!(text.contains(from));
        *payload = text.replace(from, to).into_bytes();
    }

    /// The case is approved by `overrides`, or ends as `edit` makes it.
    pub(crate) fn resolve(
        &mut self,
        decision: &RecordId,
        overrides: Vec<RecordId>,
        edit: impl FnOnce(&mut Resolution),
    ) -> RecordId {
        self.resolve_as("runtime", decision, overrides, edit)
    }

    /// The same, signed by somebody else.
    pub(crate) fn resolve_as(
        &mut self,
        signer: &str,
        decision: &RecordId,
        mut overrides: Vec<RecordId>,
        edit: impl FnOnce(&mut Resolution),
    ) -> RecordId {
        let signer = key(signer);
        let of = self.decision(decision);
        overrides.sort();
        let rule = self.bundle.manifest().overrides().unwrap().rule().clone();
        let mut predicate = Resolution {
            execution_fingerprint: of.execution_fingerprint,
            execution_id: of.execution_id,
            final_outcome: "approve".to_owned(),
            overrides,
            resolution: ResolutionStatus::Approved,
            resolved_at: at(self.now),
            rule,
            signer: signer.public_key().key_id().clone(),
            tenant: tenant(),
        };
        edit(&mut predicate);
        self.log(&Statement::about(decision, predicate).unwrap(), &signer, None)
    }

    pub(crate) fn confirm(&mut self, decision: &RecordId, outcome: &str) {
        self.confirm_at(decision, outcome, at(self.now));
    }

    /// Confirms what was done then.
    pub(crate) fn confirm_at(&mut self, decision: &RecordId, outcome: &str, executed_at: Timestamp) {
        let signer = key("runtime");
        let of = self.decision(decision);
        let predicate = Confirmation {
            confirmed_at: at(self.now),
            confirmed_by: "core".to_owned(),
            executed_at,
            execution_fingerprint: of.execution_fingerprint,
            execution_id: of.execution_id,
            outcome: outcome.to_owned(),
            reference: "payment-1".to_owned(),
            signer: signer.public_key().key_id().clone(),
            tenant: tenant(),
        };
        self.log(&Statement::about(decision, predicate).unwrap(), &signer, None);
    }

    /// Logs the erasure and takes the opening away.
    pub(crate) fn erase(&mut self, decision: &RecordId, fields: ErasedFields) {
        let signer = key("erasure");
        let of = self.decision(decision);
        let predicate = Erasure {
            basis: "A request.".to_owned(),
            erased_at: at(self.now),
            fields,
            requested_by: "privacy".to_owned(),
            signer: signer.public_key().key_id().clone(),
            tenant: tenant(),
        };
        let executions = [(&of.execution_id, &of.execution_fingerprint)];
        self.log(&Statement::erasure_of(executions, predicate).unwrap(), &signer, None);
        self.close(decision);
    }

    /// Takes the opening of a decision away.
    pub(crate) fn close(&mut self, decision: &RecordId) {
        let entry = self.entries.iter_mut().find(|entry| entry.envelope.record_id() == *decision).unwrap();
        entry.opening = None;
    }

    fn tree(&self, size: u64) -> Tree {
        let mut tree = Tree { leaves: Vec::new(), frontier: Frontier::new() };
        for entry in self.entries.iter().take(usize::try_from(size).unwrap()) {
            let leaf = leaf_hash_of(entry.kind, &entry.envelope.record_id());
            tree.leaves.push(RootHash::from(leaf));
            tree.frontier.push(&leaf);
        }
        tree
    }

    /// The checkpoint of the first `size` entries, cosigned by the witness.
    pub(crate) fn checkpoint(&self, size: u64) -> String {
        let root = self.tree(size).frontier.root();
        let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size, root };
        let note = checkpoint.sign(&key("log")).unwrap();
        let seconds = u64::try_from(at(0).unix_seconds()).unwrap();
        cosign(&note, &key("witness"), "witness.example", seconds).unwrap()
    }

    /// Everything.
    pub(crate) fn export(&self) -> Vec<u8> {
        self.export_as(&Plan::default())
    }

    pub(crate) fn export_as(&self, plan: &Plan) -> Vec<u8> {
        let size = u64::try_from(self.entries.len()).unwrap();
        let scope = match (&plan.chosen, plan.range) {
            (Some(_), _) => Scope::Filter(Box::default()),
            (None, Some((from, to))) => Scope::Range(Range { from, to }),
            (None, None) => Scope::Range(Range { from: 0, to: size }),
        };
        let tree = (plan.chosen.is_some() || plan.range.is_some()).then(|| self.tree(size));
        let proof = |index: u64| tree.as_ref().map(|tree| Proof(inclusion_proof(index, size, tree).unwrap()));
        let within = |index: u64| match (&plan.chosen, plan.range) {
            (Some(chosen), _) => chosen.contains(&index),
            (None, Some((from, to))) => (from..to).contains(&index),
            (None, None) => true,
        };
        let header =
            Header::new(tenant(), ORIGIN, self.checkpoint(size), at(self.now), plan.disclosure, scope);
        let mut writer = Writer::new(Vec::new(), &header).unwrap();
        let indexed = || (0..).zip(&self.entries);
        for (index, entry) in indexed().filter(|(_, entry)| entry.kind == Kind::Keyring) {
            let envelope = entry.envelope.clone();
            writer.keyring(&KeyringLine { envelope, index, kind: KeyringTag, proof: proof(index) }).unwrap();
        }
        if plan.bundle {
            writer.bundle(&self.bundle_line()).unwrap();
        }
        if plan.build {
            let sbom = plan.sbom.then(|| b64::Bytes(SBOM.to_vec()));
            let signature = MessageBundle::sign(&self.identity, &key(self.builder)).unwrap();
            let payload = b64::Bytes(self.identity.clone());
            writer.build(&BuildLine { kind: BuildTag, payload, sbom, signature }).unwrap();
        }
        for (index, entry) in indexed().filter(|(index, entry)| entry.kind != Kind::Keyring && within(*index))
        {
            let opening = if plan.disclosure == Disclosure::None { None } else { entry.opening.clone() };
            let (envelope, kind) = (entry.envelope.clone(), entry.kind);
            writer.entry(&EntryLine { envelope, index, kind, opening, proof: proof(index) }).unwrap();
        }
        writer.finish(&key("runtime")).unwrap().0
    }

    fn bundle_line(&self) -> BundleLine {
        let files = self.bundle.files().iter().map(|(path, bytes)| (path.clone(), b64::Bytes(bytes.clone())));
        BundleLine {
            bundle_hash: self.bundle.hash(),
            files: files.collect(),
            kind: BundleTag,
            policy_id: self.bundle.manifest().id().clone(),
            signature: MessageBundle::sign(self.bundle.sum().as_bytes(), &key("policy")).unwrap(),
            version: self.bundle.manifest().version().clone(),
        }
    }
}

struct Tree {
    leaves: Vec<RootHash>,
    frontier: Frontier,
}

impl NodeSource for Tree {
    type Error = Infallible;

    fn node(&self, level: u8, index: u64) -> Result<RootHash, Infallible> {
        if level == 0 {
            return Ok(self.leaves[usize::try_from(index).unwrap()]);
        }
        Ok(node_hash(&self.node(level - 1, 2 * index)?, &self.node(level - 1, 2 * index + 1)?))
    }
}
