//! The work that nobody can do without, done by the libraries alone: Cedar, canonical JSON, SHA-256, Ed25519, SQLite.
//!
//! | | to decide | to verify |
//! |---|---|---|
//! | Cedar | context from typed values, each outcome with the policies of its action | the same |
//! | JCS | inputs, each `[name, value]`, statement, opening | line, statement, each `[name, value]`, fingerprint |
//! | SHA-256 | inputs, two HMACs a signal, fingerprint, PAE, leaf, node, chain | line, and all but the inputs |
//! | Ed25519 | signature over the PAE | strict verification |
//! | SQLite | one plain table, 1,024 rows a transaction | |
//!
//! Left out, though the product has to do it: parsing, typing, base64, encryption of the opening, indexes, tiles.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::str::FromStr as _;
use std::time::Instant;

use cedar_policy::{
    ActionConstraint, Authorizer, Context, Entities, EntityUid, Policy, PolicyId, PolicySet, Request,
    RestrictedExpression, Schema,
};
use chancery_core::canonical::to_canonical;
use chancery_core::commitment::{Inputs, Opening};
use chancery_core::digest::{HmacKey, sha256};
use chancery_core::dsse::{IN_TOTO, pae};
use chancery_core::evidence::EntryLine;
use chancery_core::key::Signer as _;
use chancery_core::signal::Signal;
use rusqlite::Connection;

use super::claims::{Claims, Decided};
use super::core_seconds;
use super::evidence::Evidence;

/// Rows of one transaction.
pub const BATCH_ROWS: usize = 1_024;

/// Decisions that are measured with. Few enough to stay in the processor's caches, where the product has them when it
/// needs them: it has just made them.
const SAMPLES: usize = 128;

/// How often each of them is worked on in a round.
const REPEATS: usize = 20;

/// What the encryption of an opening adds to it: salt, nonce and tag.
const OPENING_OVERHEAD: usize = 32 + 12 + 16;

/// Decisions to measure with, and what the primitives need of them.
pub struct Primitives {
    evidence: Evidence,
    slices: Vec<(EntityUid, PolicySet)>,
    entities: Entities,
    principal: EntityUid,
    samples: Vec<Sample>,
}

struct Sample {
    decided: Decided,
    /// Its line with the inputs, and without.
    opened: Written,
    closed: Written,
    inputs: Vec<u8>,
    /// `[name, value]` of each signal.
    fields: Vec<(String, Vec<u8>)>,
    fingerprint: BTreeMap<&'static str, String>,
    fingerprint_bytes: Vec<u8>,
    message: Vec<u8>,
    resource: EntityUid,
    context: Vec<(String, RestrictedExpression)>,
}

/// A line and its bytes.
struct Written {
    line: EntryLine,
    bytes: Vec<u8>,
}

/// What a record takes of one core, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Costs {
    /// Cedar, all outcomes.
    pub cedar: f64,
    /// Canonical JSON.
    pub jcs: f64,
    /// SHA-256 and HMAC.
    pub sha256: f64,
    /// One signature made or verified.
    pub ed25519: f64,
}

impl Costs {
    /// Their sum.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.cedar + self.jcs + self.sha256 + self.ed25519
    }
}

impl Primitives {
    /// Takes the first decisions of a log.
    #[must_use]
    pub fn new() -> Self {
        let evidence = Evidence::new(SAMPLES);
        let samples = super::on_all_cores(SAMPLES, |number| Sample::new(&evidence, number));
        let files = Claims::files();
        let text = |path: &str| std::str::from_utf8(files.get(path).expect("a file of the bundle")).unwrap();
        let (schema, _) = Schema::from_cedarschema_str(text("schema.cedarschema")).unwrap();
        let entities = Entities::from_json_str(text("entities.json"), Some(&schema)).unwrap();
        let policies: Vec<Policy> = files
            .keys()
            .filter(|path| path.ends_with(".cedar"))
            .flat_map(|path| {
                let set = PolicySet::from_str(text(path)).unwrap();
                set.policies()
                    .map(|policy| policy.new_id(PolicyId::new(format!("{path}/{}", policy.id()))))
                    .collect::<Vec<_>>()
            })
            .collect();
        let outcomes = evidence.claims.bundle.manifest().outcomes();
        let slices = outcomes.iter().map(|outcome| {
            let action = uid("Action", outcome);
            let of = policies.iter().filter(|policy| match policy.action_constraint() {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(only) => only == action,
                ActionConstraint::In(list) => list.contains(&action),
            });
            (action.clone(), PolicySet::from_policies(of.cloned()).unwrap())
        });
        let slices = slices.collect();
        Self { slices, entities, principal: uid("System", super::claims::PRINCIPAL), samples, evidence }
    }

    /// The log that they are of.
    #[must_use]
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// What a decision costs but for the insert, on `threads` threads at once.
    #[must_use]
    pub fn to_decide(&self, threads: usize) -> Costs {
        let each = |work: fn(&Self, &Sample)| self.each(threads, work);
        Costs {
            cedar: each(Self::authorize),
            jcs: each(|_, sample| sample.canonicalise_decision()),
            sha256: each(|_, sample| {
                sample.hash_inputs();
                sample.hash_fields();
                sample.hash_record();
            }),
            ed25519: each(|this, sample| {
                black_box(this.evidence.runtime.sign(&sample.message).unwrap());
            }),
        }
    }

    /// What the verification of a line with its inputs costs, evaluated again, on `threads` threads at once.
    #[must_use]
    pub fn to_verify_opened(&self, threads: usize) -> Costs {
        let each = |work: fn(&Self, &Sample)| self.each(threads, work);
        Costs {
            cedar: each(Self::authorize),
            jcs: each(|_, sample| {
                sample.canonicalise_line(&sample.opened);
                sample.canonicalise_fields();
            }),
            sha256: each(|_, sample| {
                sample.hash_fields();
                sample.hash_record();
                black_box(sha256(&sample.opened.bytes));
            }),
            ed25519: each(Self::verify),
        }
    }

    /// The same of a line without inputs, of which nothing can be evaluated.
    #[must_use]
    pub fn to_verify_closed(&self, threads: usize) -> Costs {
        let each = |work: fn(&Self, &Sample)| self.each(threads, work);
        Costs {
            cedar: 0.0,
            jcs: each(|_, sample| sample.canonicalise_line(&sample.closed)),
            sha256: each(|_, sample| {
                sample.hash_record();
                black_box(sha256(&sample.closed.bytes));
            }),
            ed25519: each(Self::verify),
        }
    }

    fn verify(&self, sample: &Sample) {
        let signature = sample.closed.line.envelope.signatures.first().expect("a signature");
        self.evidence.runtime.public_key().verify(&sample.message, signature.sig.as_slice()).unwrap();
    }

    fn each(&self, threads: usize, work: fn(&Self, &Sample)) -> f64 {
        core_seconds(threads, REPEATS * self.samples.len(), |at| {
            work(self, self.samples.get(at % self.samples.len()).expect("a remainder"));
        })
    }

    fn authorize(&self, sample: &Sample) {
        let context = Context::from_pairs(sample.context.iter().cloned()).unwrap();
        for (action, policies) in &self.slices {
            let (principal, resource) = (self.principal.clone(), sample.resource.clone());
            let request = Request::new(principal, action.clone(), resource, context.clone(), None).unwrap();
            black_box(Authorizer::new().is_authorized(&request, policies, &self.entities));
        }
    }
}

impl Default for Primitives {
    fn default() -> Self {
        Self::new()
    }
}

impl Sample {
    fn new(evidence: &Evidence, number: usize) -> Self {
        let [opened, closed] = [true, false].map(|opened| {
            let line = evidence.line(number, opened);
            Written { bytes: to_canonical(&line).unwrap().into_bytes(), line }
        });
        let executed_at = chancery_core::time::Timestamp::UNIX_EPOCH;
        let decided = evidence.claims.decide(number, executed_at, evidence.runtime.public_key().key_id());
        let predicate = &decided.statement.predicate;
        let fields = decided
            .signals
            .iter()
            .map(|(name, value)| (name.to_string(), to_canonical(&(&**name, value)).unwrap().into_bytes()));
        let fingerprint = BTreeMap::from([
            ("bundleHash", predicate.policy.bundle_hash.to_string()),
            ("policyId", predicate.policy.id.to_string()),
            ("policyVersion", predicate.policy.version.to_string()),
            ("principal", predicate.principal.to_string()),
            ("resource", predicate.resource.to_string()),
            ("signalsRoot", predicate.signals_root.to_string()),
        ]);
        Self {
            inputs: decided.committed.inputs.as_bytes().to_vec(),
            fields: fields.collect(),
            fingerprint_bytes: to_canonical(&fingerprint).unwrap().into_bytes(),
            fingerprint,
            message: pae(IN_TOTO, closed.line.envelope.payload.as_slice()),
            resource: uid("Claim", predicate.resource.id()),
            context: decided
                .signals
                .iter()
                .map(|(name, value)| (name.to_string(), expression(value)))
                .collect(),
            opened,
            closed,
            decided,
        }
    }

    fn canonicalise_decision(&self) {
        let Decided { signals, committed, statement } = &self.decided;
        let predicate = &statement.predicate;
        let inputs = Inputs {
            bundle_hash: &predicate.policy.bundle_hash,
            policy_id: &predicate.policy.id,
            policy_version: &predicate.policy.version,
            principal: &predicate.principal,
            resource: &predicate.resource,
            signals,
            candidates: None,
        };
        black_box(inputs.to_canonical().unwrap());
        self.canonicalise_fields();
        black_box(to_canonical(statement).unwrap());
        black_box(Opening::full_canonical(&committed.secret, signals, None).unwrap());
    }

    fn canonicalise_line(&self, written: &Written) {
        black_box(to_canonical(&written.line).unwrap());
        black_box(to_canonical(&self.decided.statement).unwrap());
        black_box(to_canonical(&self.fingerprint).unwrap());
    }

    fn canonicalise_fields(&self) {
        for (name, value) in self.decided.signals.iter() {
            black_box(to_canonical(&(&**name, value)).unwrap());
        }
    }

    fn hash_inputs(&self) {
        let tenant = HmacKey::new(&[7; 32]);
        black_box(tenant.tag(&[b"chancery/v1/secret\0", &sha256(&self.inputs)]));
    }

    fn hash_fields(&self) {
        let secret = HmacKey::new(self.decided.committed.secret.as_bytes());
        let mut commitments = Vec::with_capacity(32 * self.fields.len());
        for (name, field) in &self.fields {
            let key = secret.tag(&[b"chancery/v1/field\0", name.as_bytes()]);
            commitments.extend(HmacKey::new(&key).tag(&[field]));
        }
        black_box(sha256(&commitments));
    }

    /// The fingerprint, the record and its place in the log.
    fn hash_record(&self) {
        black_box(sha256(&self.fingerprint_bytes));
        hash_into_log(&sha256(&self.message));
    }
}

/// What an entry of the log costs in hashes: its leaf, on average one inner node, and the chain.
pub fn hash_into_log(record: &[u8; 32]) {
    black_box((sha256(&[0; 35]), sha256(&[1; 65]), sha256(&[*record, *record].concat())));
}

fn uid(type_name: &str, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(type_name.parse().unwrap(), cedar_policy::EntityId::new(id))
}

fn expression(signal: &Signal) -> RestrictedExpression {
    match signal {
        Signal::Bool(value) => RestrictedExpression::new_bool(*value),
        Signal::Long(value) => RestrictedExpression::new_long(*value),
        Signal::String(text) => RestrictedExpression::new_string(text.to_string()),
        Signal::Decimal(value) => RestrictedExpression::new_decimal(value.to_string()),
        Signal::Datetime(value) => RestrictedExpression::new_datetime(value.to_string()),
        Signal::Duration(value) => RestrictedExpression::new_duration(value.to_string()),
        Signal::Ipaddr(value) => RestrictedExpression::new_ip(value.to_string()),
        Signal::Entity { type_name, id } => RestrictedExpression::new_entity_uid(uid(type_name, id)),
        Signal::Set(elements) => RestrictedExpression::new_set(elements.iter().map(expression)),
        Signal::Record(members) => RestrictedExpression::new_record(
            members.iter().map(|(name, signal)| (name.to_string(), expression(signal))),
        )
        .unwrap(),
    }
}

/// What a record brings into a database.
#[derive(Clone, Debug)]
pub struct Row {
    /// By which it is found.
    pub execution_id: String,
    /// Every other column that is text, one after the other.
    pub text: String,
    /// The signature.
    pub signature: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
    /// The encrypted opening, its salt and nonce.
    pub opening: Vec<u8>,
}

impl Row {
    /// The bytes of decision `number` that a store has to keep.
    #[must_use]
    pub fn of(evidence: &Evidence, number: usize) -> Self {
        let decided = evidence.decide(number);
        let envelope = evidence.sign(&decided);
        let predicate = &decided.statement.predicate;
        let (record, at) = (envelope.record_id().to_string(), predicate.executed_at.to_string());
        let text = [
            predicate.execution_fingerprint.to_string(),
            predicate.policy.id.to_string(),
            predicate.policy.version.to_string(),
            predicate.policy.bundle_hash.to_string(),
            predicate.decision.outcome.clone(),
            predicate.execution_state.as_str().to_owned(),
            predicate.principal.to_string(),
            predicate.resource.to_string(),
            predicate.signals_root.to_string(),
            predicate.signer.to_string(),
            // The record's id and its leaf hash; the time of the decision and that of its recording.
            record.repeat(2),
            at.repeat(2),
        ];
        let opening = Opening::full_canonical(&decided.committed.secret, &decided.signals, None).unwrap();
        let signature = envelope.signatures.first().expect("a signature").sig.0.clone();
        Self {
            execution_id: predicate.execution_id.to_string(),
            text: text.concat(),
            signature,
            payload: envelope.payload.0,
            opening: [opening.as_bytes(), &[0; OPENING_OVERHEAD]].concat(),
        }
    }

    /// How many bytes it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let Self { execution_id, text, signature, payload, opening } = self;
        execution_id.len() + text.len() + signature.len() + payload.len() + opening.len()
    }
}

/// Inserts the rows into one plain table of a new database and says how many seconds each took: a prepared
/// statement, [`BATCH_ROWS`] rows a transaction, WAL, synced at each commit. No index but the row number.
#[must_use]
pub fn bulk_insert(database: &Path, rows: &[Row]) -> f64 {
    let mut connection = Connection::open(database).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.pragma_update(None, "synchronous", "FULL").unwrap();
    let table =
        "CREATE TABLE records (number INTEGER PRIMARY KEY, execution_id TEXT NOT NULL, text TEXT NOT NULL,
        signature BLOB NOT NULL, payload BLOB NOT NULL, opening BLOB NOT NULL) STRICT";
    connection.execute_batch(table).unwrap();
    let begun = Instant::now();
    for batch in rows.chunks(BATCH_ROWS) {
        let transaction = connection.transaction().unwrap();
        {
            let sql = "INSERT INTO records (execution_id, text, signature, payload, opening) VALUES (?1, ?2, ?3, ?4, ?5)";
            let mut insert = transaction.prepare(sql).unwrap();
            for row in batch {
                let Row { execution_id, text, signature, payload, opening } = row;
                insert.execute((execution_id, text, signature, payload, opening)).unwrap();
            }
        }
        transaction.commit().unwrap();
    }
    begun.elapsed().as_secs_f64() / super::number(rows.len())
}
