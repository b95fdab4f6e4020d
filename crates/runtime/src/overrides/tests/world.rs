//! A log with approvers in its keyring, and a rule that asks for two of them within an hour.

use crate::answer::Answer;
use crate::bundles::{self, ActivationRequest, SignedBundle};
use crate::export::{Disclosure, ExportRequest, Selection};
use crate::overrides::{OverrideError, OverrideRequest, Submitted};
use crate::runtime::Runtime;
use crate::testing::{POLICY, TestLog, caller, request, small_bundle};
use chancery_core::digest::sha256;
use chancery_core::dsse::{Envelope, IN_TOTO};
use chancery_core::ids::ExecutionId;
use chancery_core::key::{Signer as _, SigningKey};
use chancery_core::keyring::{KeyEntry, KeyringVersion, Role};
use chancery_core::statement::{Override, OverrideResolution, Statement};
use chancery_core::time::Timestamp;
use chancery_store::{Body, NewEntry, NewKeyring};
use chancery_verify::{Ask, Part, Report, Verdict, Without};
use std::sync::Arc;

pub(super) const HOUR_MS: i64 = 3_600_000;

/// Key, subject, roles.
const APPROVERS: [(&str, &str, &[&str]); 7] = [
    ("ann", "ann", &["approver:claims-manager"]),
    ("bob", "bob", &["approver:claims-manager"]),
    ("carl", "carl", &["approver:claims-manager", "approver:clerk"]),
    ("ann's other key", "ann", &["approver:claims-manager"]),
    ("clerk", "clerk", &["approver:clerk"]),
    ("submitter", "claims-core", &["approver:claims-manager"]),
    ("machine", "machine", &["approver:claims-manager", "runtime"]),
];

pub(super) struct World {
    pub(super) log: Arc<TestLog>,
    pub(super) runtime: Runtime,
}

pub(super) fn key(name: &str) -> SigningKey {
    SigningKey::generate_ed25519(sha256(name.as_bytes()))
}

pub(super) fn id(text: &str) -> ExecutionId {
    text.parse().unwrap()
}

impl World {
    pub(super) fn new() -> Self {
        Self::of(TestLog::new().into())
    }

    /// A log that is prepared and has nothing of this in it yet.
    pub(super) fn of(log: Arc<TestLog>) -> Self {
        let runtime = log.open();
        let world = Self { log, runtime };
        let now = world.now();
        world.rotate(|keyring| {
            keyring.keys.extend(APPROVERS.iter().map(|(name, subject, roles)| KeyEntry {
                key: key(name).public_key().clone(),
                revoked: None,
                roles: roles.iter().map(|role| role.parse::<Role>().unwrap()).collect(),
                subject: (*subject).to_owned(),
                valid_from: now.checked_add_ms(-HOUR_MS).unwrap(),
                valid_until: now.checked_add_ms(10_000 * HOUR_MS).unwrap(),
            }));
        });
        world.rule("2.0.0", |manifest| {
            manifest.replace("quorum = 1", "quorum = 2").replace("\"3d\"", "\"1h\"")
        });
        world
    }

    /// Puts a version in force whose manifest `edit` makes.
    pub(super) fn rule(&self, version: &str, edit: impl FnOnce(String) -> String) {
        let mut files = small_bundle(version);
        let manifest = files.get_mut("bundle.toml").unwrap();
        *manifest = edit(String::from_utf8(manifest.clone()).unwrap()).into_bytes();
        let signature = bundles::sign(&files, &self.log.policy_key).unwrap().signature;
        self.runtime.publish(SignedBundle { files, signature }).unwrap();
        let request = ActivationRequest {
            policy: POLICY.parse().unwrap(),
            version: version.parse().unwrap(),
            reason: "a test".to_owned(),
            requested_by: "tester".to_owned(),
        };
        let activation = self.runtime.sign_activation(&request, &self.log.policy_key).unwrap();
        self.runtime.activate(&activation).unwrap();
    }

    /// Logs the next keyring version as it is, past the custodians' tools, which would not make all of these.
    pub(super) fn rotate(&self, edit: impl FnOnce(&mut KeyringVersion)) {
        let keyring = self.runtime.keyring();
        let newest = keyring.newest();
        let mut next = newest.predicate().clone();
        next.previous = Some(newest.record());
        next.version += 1;
        next.issued_at = self.now();
        edit(&mut next);
        let row = NewKeyring { version: next.version, expires_at: next.expires_at };
        let payload = Statement::keyring_of(next).unwrap().to_payload().unwrap().into_bytes();
        let envelope = Envelope::sign(IN_TOTO, payload, &self.log.root_key).unwrap();
        let entry = NewEntry {
            record_id: envelope.record_id(),
            payload: envelope.payload.0,
            signatures: envelope.signatures,
            claimed_at: self.now(),
            body: Body::Keyring(row),
        };
        self.runtime.inner.store.submit_blocking(entry).unwrap();
        self.runtime.inner.refresh().unwrap();
    }

    pub(super) fn now(&self) -> Timestamp {
        use crate::edge::Clock as _;
        self.log.clock.now()
    }

    /// A decision that is left to approvers.
    pub(super) fn refer(&self, execution_id: &str) -> Answer {
        self.decide(execution_id, "20000")
    }

    pub(super) fn decide(&self, execution_id: &str, amount: &str) -> Answer {
        self.runtime.execute_blocking(&caller(), &request(execution_id, amount, "0.1")).unwrap()
    }

    /// What `name` signs when asked to, changed by `edit` before it is signed.
    pub(super) fn signed(
        &self,
        execution_id: &str,
        name: &str,
        edit: impl FnOnce(&mut Override),
    ) -> Envelope {
        // Drafted for somebody who has not answered, so that what nobody is given to sign can be signed.
        let carl = OverrideRequest { signer: key("carl").public_key().key_id().clone(), ..approval() };
        let payload = self.runtime.override_statement(&id(execution_id), carl).unwrap().payload.0;
        let mut statement = Statement::<Override>::parse_unverified(&payload).unwrap();
        let signer = key(name);
        let (_, subject, _) = APPROVERS.iter().find(|(known, ..)| *known == name).unwrap_or(&APPROVERS[0]);
        statement.predicate.approver = (*subject).to_owned();
        statement.predicate.signer = signer.public_key().key_id().clone();
        edit(&mut statement.predicate);
        Envelope::sign(IN_TOTO, statement.to_payload().unwrap().into_bytes(), &signer).unwrap()
    }

    pub(super) fn submit(&self, execution_id: &str, envelope: &Envelope) -> Result<Submitted, OverrideError> {
        self.runtime.submit_override(&id(execution_id), envelope)
    }

    /// `name` drafts, signs and submits.
    pub(super) fn answer(
        &self,
        execution_id: &str,
        name: &str,
        request: OverrideRequest,
    ) -> Result<Submitted, OverrideError> {
        let signer = key(name);
        let request = OverrideRequest { signer: signer.public_key().key_id().clone(), ..request };
        let mut envelope = self.runtime.override_statement(&id(execution_id), request)?;
        let signed = Envelope::sign(IN_TOTO, envelope.payload.0.clone(), &signer).unwrap();
        envelope.signatures = signed.signatures;
        self.submit(execution_id, &envelope)
    }

    /// Exports everything, and lets an auditor judge it.
    pub(super) fn verified(&self) -> Report {
        self.judged(&self.exported())
    }

    pub(super) fn exported(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let whole = ExportRequest { selection: Selection::Complete, disclosure: Disclosure::Full };
        self.runtime.export(&whole, &mut file).unwrap();
        file
    }

    /// What an auditor says to a file.
    pub(super) fn judged(&self, file: &[u8]) -> Report {
        let ask = Ask {
            environment: chancery_verify::Environment::Test,
            without: Without::new([Part::Build]),
            ..Ask::default()
        };
        let report = chancery_verify::verify(file, Some(&self.runtime.root_pub().to_string()), &ask);
        assert_eq!(report.verdict, Verdict::Verified, "{report}");
        report
    }
}

pub(super) fn approval() -> OverrideRequest {
    OverrideRequest {
        resolution: OverrideResolution::Approve,
        outcome: Some("approve".to_owned()),
        reason: "Looked at by hand.".to_owned(),
        reason_code: "REVIEWED".to_owned(),
        role: "claims-manager".to_owned(),
        signer: key("ann").public_key().key_id().clone(),
    }
}

pub(super) fn rejection() -> OverrideRequest {
    OverrideRequest { resolution: OverrideResolution::Reject, outcome: None, ..approval() }
}
