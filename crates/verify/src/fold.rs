//! Puts the judged lines together in their order: what only many lines together can show.
//!
//! ```text
//! judged line ── index, tree ── unique? ── time ── by kind: decisions, cases, activations, erasures …
//! ```
//!
//! Memory: 52 bytes of slot for a decision (at most 76 with what a table keeps free), 16 for any other record, and
//! for the cases that are open as much again, and what was said in them.

mod finish;

pub(crate) use finish::Finished;

use std::collections::{HashMap, HashSet};

use chancery_core::digest::{BundleHash, Digest, RecordId};
use chancery_core::dsse::pae;
use chancery_core::evidence::Trailer;
use chancery_core::ids::{ExecutionId, PolicyId};
use chancery_core::keyring::Role;
use chancery_core::log::Kind;
use chancery_core::statement::{
    Activation, Confirmation, ErasedFields, Erasure, ExecutionState, Nonce, Override, Resolution, Statement,
};
use chancery_core::time::Timestamp;

use crate::artefact::standing;
use crate::cases::{At, Cases};
use crate::check::CheckId;
use crate::context::{Context, Scope};
use crate::entry::{Body, BuildFact, DecisionFacts, Entry, Judged, Link, Opened, What};
use crate::fault::Fault;
use crate::order::Order;
use crate::preamble::KeyringLeaf;
use crate::report::Counts;
use crate::slot::{Outcomes, SLOT_BYTES, Slot};
use crate::table::{Inserted, KEY_BYTES, Key, Table};
use crate::tally::{Findings, Spot, Tally, told};

/// How far the time that a runtime claims may fall behind one that was claimed before.
const FALL_BACK_MICROS: i64 = 60_000_000;

/// How many decisions without opening are remembered by place, until an erasure explains them.
const UNOPENED_MAX: usize = 1_000;

/// The state of a file, up to the line that was added last.
pub(crate) struct Fold<'a> {
    context: &'a Context<'a>,
    pub(crate) tally: Tally,
    pub(crate) counts: Counts,
    order: Order<'a>,
    decisions: Table<SLOT_BYTES>,
    records: Table<KEY_BYTES>,
    nonces: HashSet<Nonce>,
    outcomes: Outcomes,
    cases: Cases,
    in_force: HashMap<PolicyId, BundleHash>,
    logged_builds: HashSet<Digest>,
    policy_uses: Vec<Use>,
    build_uses: Vec<Use>,
    unopened: HashMap<Key, Unopened>,
    newest: Option<Timestamp>,
    trailer: bool,
    /// Confirmations and verifications of decisions that are not in the file.
    pub(crate) outside: u64,
}

/// What is known of the use of a bundle or a build.
#[derive(Clone, Copy, Default)]
struct Use {
    /// The first decision that names it.
    first: Option<u64>,
    /// How many do.
    decisions: u64,
    /// Whether an entry showed when it was signed.
    logged: bool,
}

impl Use {
    fn by(&mut self, index: u64) {
        self.first.get_or_insert(index);
        self.decisions += 1;
    }
}

struct Unopened {
    line: u64,
    index: u64,
    execution_id: String,
}

impl<'a> Fold<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        keyring: Vec<KeyringLeaf>,
        mut tally: Tally,
        counts: Counts,
    ) -> Self {
        let order = Order::new(context, keyring, &mut tally);
        Self {
            context,
            tally,
            counts,
            order,
            decisions: Table::new(),
            records: Table::new(),
            nonces: HashSet::new(),
            outcomes: Outcomes::default(),
            cases: Cases::default(),
            in_force: HashMap::new(),
            logged_builds: HashSet::new(),
            policy_uses: vec![Use::default(); context.policies.len()],
            build_uses: vec![Use::default(); context.builds.len()],
            unopened: HashMap::new(),
            newest: None,
            trailer: false,
            outside: 0,
        }
    }

    /// The next line.
    pub(crate) fn add(&mut self, judged: Judged) {
        let Judged { line, index, execution_id, mut findings, body } = judged;
        let spot =
            Spot { line: Some(line), index, execution_id: execution_id.as_ref().map(ExecutionId::as_str) };
        if self.trailer {
            findings.fail(CheckId::EvidenceFormat, "a line stands after the trailer");
        }
        match body {
            Body::Nothing => {}
            Body::Entry(entry) => self.entry(entry, spot, &mut findings),
            Body::Trailer(trailer, before) => {
                if !self.trailer {
                    self.judge_trailer(&trailer, line, before, &mut findings);
                }
                self.trailer = true;
            }
        }
        self.tally.record(findings, spot);
    }

    fn entry(&mut self, entry: Entry, spot: Spot<'_>, findings: &mut Findings) {
        self.counts.entries += 1;
        let Entry { index, kind, record, leaf, claimed_at, trusted, what } = entry;
        self.order.entry(index, &leaf, findings, &mut self.tally);
        if let Some(at) = claimed_at {
            self.judge_time(kind, at, findings);
        }
        let new = matches!(what, What::Decision(_)) || {
            let inserted = self.records.insert(self.context.tags.record_key(&record));
            matches!(inserted, Inserted::New)
        };
        if !new {
            findings.fail(CheckId::LogEntry, "the same record is in the log twice");
        }
        match what {
            What::Unreadable => {}
            What::Decision(facts) => self.decision(*facts, index, spot, findings),
            What::Override(statement, link) => {
                self.counts.overrides += 1;
                let at = At { line: spot.line.unwrap_or_default(), index };
                self.judge_override(*statement, link, (at, record), trusted, findings);
            }
            What::Resolution(statement, link) => {
                self.counts.resolutions += 1;
                self.judge_resolution(&statement, link, findings);
            }
            What::Confirmation(statement, link) => {
                self.counts.confirmations += 1;
                self.judge_confirmation(&statement, link, findings);
            }
            What::Verification(link) => {
                self.counts.verifications += 1;
                self.judge_verification(link, findings);
            }
            What::Activation(activation) => {
                self.counts.activations += 1;
                if trusted {
                    self.judge_activation(*activation, index, findings);
                }
            }
            What::Erasure(statement) => {
                self.counts.erasures += 1;
                if trusted {
                    self.erase(&statement);
                }
            }
            What::Build(payload) => self.build(payload, trusted, findings),
        }
    }

    /// `log.time`.
    fn judge_time(&mut self, kind: Kind, at: Timestamp, findings: &mut Findings) {
        let by_runtime =
            matches!(kind, Kind::Decision | Kind::Resolution | Kind::Verification | Kind::Confirmation);
        if !by_runtime || self.context.scope == Scope::Filtered {
            return;
        }
        let fell = self.newest.map_or(0, |newest| newest.unix_micros().saturating_sub(at.unix_micros()));
        findings.require(CheckId::LogTime, fell <= FALL_BACK_MICROS, || {
            format!("{at} is more than 60 s before a time that an earlier entry claims")
        });
        self.newest = self.newest.max(Some(at));
    }

    fn decision(&mut self, facts: DecisionFacts, index: u64, spot: Spot<'_>, findings: &mut Findings) {
        self.counts.decisions += 1;
        self.counts.reproduced += u64::from(facts.reproduced);
        match facts.opening {
            Opened::Fully => self.counts.opened += 1,
            Opened::Partly => self.counts.partial += 1,
            Opened::No => self.counts.unopened += 1,
        }
        self.judge_in_force(&facts, findings);
        self.judge_build(&facts, index, findings);
        if let Some(used) = facts.policy.and_then(|at| self.policy_uses.get_mut(at)) {
            used.by(index);
        }
        let outcome = self.outcomes.number(&facts.outcome);
        let slot =
            Slot::new(&facts.link, facts.state, outcome, facts.executed_at, facts.opening == Opened::No);
        if let Inserted::Old(old) = self.decisions.insert(slot.into_bytes()) {
            if Slot::from_bytes(*old).record() == facts.link.record {
                findings.fail(CheckId::LogEntry, "the same record is in the log twice");
            } else {
                findings.fail(CheckId::StatementSchema, "another decision of the log has this execution id");
            }
            return;
        }
        if facts.opening == Opened::No && self.unopened.len() < UNOPENED_MAX {
            let execution_id = spot.execution_id.unwrap_or_default().to_owned();
            let line = spot.line.unwrap_or_default();
            self.unopened.insert(facts.link.key, Unopened { line, index, execution_id });
        }
        if facts.state == ExecutionState::PendingOverride {
            self.cases.begin(facts.link.key, facts.executed_at, facts.principal, facts.policy);
        }
    }

    /// `policy.activated`: the newest activation of the policy before the decision names its bundle.
    fn judge_in_force(&self, facts: &DecisionFacts, findings: &mut Findings) {
        let check = CheckId::PolicyActivated;
        match self.in_force.get(&facts.policy_id) {
            Some(hash) if *hash == facts.bundle_hash => findings.pass(check),
            Some(hash) => findings.fail(check, format!("the bundle in force was {hash}")),
            None if self.context.is_complete() => {
                findings.fail(check, format!("no bundle of `{}` was in force", facts.policy_id));
            }
            None => {}
        }
    }

    /// `build.binding`.
    fn judge_build(&mut self, facts: &DecisionFacts, index: u64, findings: &mut Findings) {
        let check = CheckId::BuildBinding;
        match facts.build {
            BuildFact::Null => self.no_build(findings, "the decision names no build identity"),
            BuildFact::Missing => {
                self.no_build(findings, "the build that the decision names is not in the file");
            }
            BuildFact::OtherBinary(at) => {
                if let Some(used) = self.build_uses.get_mut(at) {
                    used.by(index);
                }
                findings.fail(check, "the program that decided is not the one of the build that it names");
            }
            BuildFact::Known(at) => {
                if let Some(used) = self.build_uses.get_mut(at) {
                    used.by(index);
                }
                let logged =
                    self.context.builds.get(at).is_some_and(|build| self.logged_builds.contains(&build.hash));
                findings.require(check, logged || !self.context.is_complete(), || {
                    "the build was not logged before the decision".to_owned()
                });
            }
        }
    }

    /// A list of refused builds cannot be held against a commit that is not known, whatever else is left out.
    fn no_build(&self, findings: &mut Findings, reason: &'static str) {
        if self.context.ask.revoked_builds.is_some() {
            let reason = format!("{reason}, so that the commits of the list cannot be looked for");
            findings.unknown_always(CheckId::BuildBinding, reason);
        } else {
            findings.unknown(CheckId::BuildBinding, reason);
        }
    }

    fn build(&mut self, payload: Digest, trusted: bool, findings: &mut Findings) {
        if !trusted {
            findings
                .fail(CheckId::BuildSignature, "the log entry of the build is not signed as it has to be");
            return;
        }
        self.logged_builds.insert(payload);
        if let Some(at) = self.context.build_by_hash.get(&payload).copied()
            && let Some(used) = self.build_uses.get_mut(at)
        {
            used.logged = true;
            if self.context.builds.get(at).is_some_and(|build| build.signer.is_some()) {
                findings.pass(CheckId::BuildSignature);
            }
        }
    }

    fn judge_activation(&mut self, activation: Activation, index: u64, findings: &mut Findings) {
        let check = CheckId::PolicyActivated;
        let before = self.in_force.get(&activation.policy_id);
        let known = before.is_some() || self.context.is_complete();
        if known && self.context.scope != Scope::Filtered && before != activation.previous.as_ref() {
            findings.fail(check, "`previous` is not the bundle that was in force before");
        }
        if let Some(at) = self.context.policy_by_hash.get(&activation.bundle_hash).copied() {
            self.activate(at, &activation, index, findings);
        }
        self.in_force.insert(activation.policy_id, activation.bundle_hash);
    }

    /// `bundle.signature`: judged where the bundle is put in force.
    fn activate(&mut self, at: usize, activation: &Activation, index: u64, findings: &mut Findings) {
        let Some(policy) = self.context.policies.get(at) else { return };
        if policy.id != activation.policy_id || policy.version != activation.policy_version {
            let reason = format!("the bundle is {} {}, not what is activated", policy.id, policy.version);
            findings.fail(CheckId::PolicyActivated, reason);
        }
        if let Some(used) = self.policy_uses.get_mut(at) {
            used.logged = true;
        }
        if let (Some(signer), Some(keyring)) = (&policy.signer, &self.context.keyring) {
            match standing(keyring, signer, &Role::Policy, index, activation.activated_at) {
                None => findings.pass(CheckId::BundleSignature),
                Some(reason) => findings.fail(CheckId::BundleSignature, reason),
            }
        }
    }

    fn erase(&mut self, statement: &Statement<Erasure>) {
        if statement.predicate.fields != ErasedFields::All {
            return;
        }
        for (execution_id, fingerprint) in statement.executions() {
            let key = self.context.tags.execution(execution_id);
            let Some(bytes) = self.decisions.get_mut(&key) else { continue };
            let mut slot = Slot::from_bytes(*bytes);
            let same = slot.fingerprint() == self.context.tags.fingerprint(&fingerprint);
            if same && slot.is_unopened() {
                slot.erase();
                *bytes = slot.into_bytes();
                self.counts.unopened -= 1;
                self.counts.redacted += 1;
                self.unopened.remove(&key);
            }
        }
    }

    /// The decision that a record of `kind` is about. Says under `check` why there is none.
    fn linked(&mut self, link: &Link, check: CheckId, kind: Kind, findings: &mut Findings) -> Option<Slot> {
        let code = |fault| (kind == Kind::Override).then_some(fault);
        let Some(slot) = self.decisions.get_mut(&link.key).map(|bytes| Slot::from_bytes(*bytes)) else {
            if self.context.is_complete() {
                let reason = "the decision that it is about is not in the log before it";
                findings.fault(check, code(Fault::Execution), reason);
            } else if matches!(kind, Kind::Override | Kind::Resolution) {
                findings.unknown(check, "the decision that it is about is not in the file");
            } else {
                self.outside += 1;
            }
            return None;
        };
        if slot.record() == link.record && slot.fingerprint() == link.fingerprint {
            Some(slot)
        } else {
            let reason = "it is about another decision than the one with this execution id";
            findings.fault(check, code(Fault::Binding), reason);
            None
        }
    }

    fn put(&mut self, key: &Key, slot: Slot) {
        if let Some(bytes) = self.decisions.get_mut(key) {
            *bytes = slot.into_bytes();
        }
    }

    fn judge_override(
        &mut self,
        statement: Statement<Override>,
        link: Link,
        (at, record): (At, RecordId),
        trusted: bool,
        findings: &mut Findings,
    ) {
        let check = CheckId::OverrideBinding;
        if !self.nonces.insert(statement.predicate.nonce) {
            let reason = "another override of the log has this nonce";
            findings.fault(CheckId::StatementSchema, Fault::Nonce, reason);
        }
        let Some(slot) = self.linked(&link, check, Kind::Override, findings) else { return };
        if slot.state() != ExecutionState::PendingOverride {
            let reason = format!("the decision is `{}` and waits for nobody", slot.state());
            findings.fault(check, Fault::NotWaiting, reason);
            return;
        }
        let outcome = self.outcomes.name(slot.outcome()).unwrap_or_default();
        let Some(mut case) = self.cases.get(&link.key, outcome, self.context) else {
            findings.fault(check, Fault::Resolved, "the case had ended before");
            return;
        };
        findings.pass(check);
        case.answer(at, record, statement.predicate, trusted, findings);
    }

    fn judge_resolution(&mut self, statement: &Statement<Resolution>, link: Link, findings: &mut Findings) {
        let check = CheckId::Resolution;
        let Some(mut slot) = self.linked(&link, check, Kind::Resolution, findings) else { return };
        if slot.state() != ExecutionState::PendingOverride {
            findings.fail(check, format!("the decision is `{}` and waits for nobody", slot.state()));
            return;
        }
        let outcome = self.outcomes.name(slot.outcome()).unwrap_or_default();
        let Some(case) = self.cases.get(&link.key, outcome, self.context) else {
            findings.fail(check, "the case had ended before");
            return;
        };
        case.resolve(&statement.predicate, findings);
        self.cases.end(&link.key);
        let outcome = self.outcomes.number(&statement.predicate.final_outcome);
        slot.resolve(outcome, statement.predicate.resolved_at);
        self.put(&link.key, slot);
    }

    fn judge_confirmation(
        &mut self,
        statement: &Statement<Confirmation>,
        link: Link,
        findings: &mut Findings,
    ) {
        let check = CheckId::Resolution;
        let Some(mut slot) = self.linked(&link, check, Kind::Confirmation, findings) else { return };
        if slot.is_confirmed() {
            findings.fail(check, "the decision was confirmed before");
        } else if slot.state() == ExecutionState::Blocked {
            findings.fail(check, "a blocked decision was acted upon");
        } else if slot.state() == ExecutionState::PendingOverride && !slot.is_resolved() {
            findings.fail(check, "the decision was acted upon before its case had ended");
        } else if slot.is_before(statement.predicate.executed_at) {
            findings.fail(check, "the act is dated before the decision or resolution that allowed it");
        } else {
            let outcome = &statement.predicate.outcome;
            let effective = self.outcomes.name(slot.outcome());
            findings.require(check, effective == Some(outcome.as_str()), || {
                format!("`{outcome}` was done, `{}` was decided", effective.unwrap_or("another outcome"))
            });
        }
        slot.confirm();
        self.put(&link.key, slot);
    }

    fn judge_verification(&mut self, link: Link, findings: &mut Findings) {
        self.linked(&link, CheckId::StatementSchema, Kind::Verification, findings);
    }

    /// `evidence.trailer`.
    fn judge_trailer(&self, trailer: &Trailer, line: u64, before: Digest, findings: &mut Findings) {
        let check = CheckId::EvidenceTrailer;
        if let Err(error) = trailer.check(line.saturating_sub(1), &before) {
            findings.fail(check, error.to_string());
            return;
        }
        let envelope = &trailer.signature;
        let signature = match envelope.single() {
            Ok(signature) => signature,
            Err(error) => return findings.fail(check, error.to_string()),
        };
        let Some(keyring) = &self.context.keyring else {
            return findings.unknown(check, "there is no keyring to find the key in");
        };
        let Some(key) = keyring.find_key(&signature.keyid) else {
            let reason = format!("the key `{}` is in no version of the keyring", signature.keyid);
            return findings.fail(check, reason);
        };
        let message = pae(&envelope.payload_type, envelope.payload.as_slice());
        if let Err(error) = key.verify(&message, signature.sig.as_slice()) {
            return findings.fail(check, told(&error));
        }
        let at = self.context.header.exported_at;
        match standing(keyring, key.key_id(), &Role::Runtime, self.context.end(), at) {
            None => findings.pass(check),
            Some(reason) => findings.fail(check, reason),
        }
    }
}
