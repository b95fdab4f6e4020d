//! Random interleavings: approvals, rejections, retries, races, time, and a process that ends in the middle.
//!
//! Whatever happens, a case has at most one end and never leaves it, what an approver was told to be logged is in the
//! log, nothing stands behind the end, and an auditor agrees with all of it.

use super::world::{World, approval, id, key, rejection};
use crate::edge::{Entropy, EntropyError};
use crate::failure::{Cause, Failure as _};
use crate::overrides::{CaseState, OverrideError, OverrideRequest, Submitted};
use crate::runtime::{Options, Runtime, read_root};
use crate::testing::TestLog;
use chancery_core::digest::{RecordId, sha256};
use chancery_core::dsse::{Envelope, IN_TOTO};
use chancery_core::key::Signer as _;
use chancery_core::log::Kind;
use chancery_store::{OnStep, Step, Store};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const CASE: &str = "c-1";
const NAMES: [&str; 4] = ["ann", "bob", "carl", "ann's other key"];
const STEPS: [Step; 6] =
    [Step::Taken, Step::Begun, Step::RowInserted, Step::EntryInserted, Step::HeadMoved, Step::Committed];

#[derive(Clone, Copy, Debug)]
enum Answer {
    Approve,
    Deny,
    Reject,
}

#[derive(Clone, Debug)]
enum Op {
    /// Somebody signs and hands in.
    Say(usize, Answer),
    /// Two do so at the same time.
    Race((usize, Answer), (usize, Answer)),
    /// What was handed in before is handed in again.
    Retry(usize),
    /// Minutes pass.
    Wait(i64),
    /// The scheduler looks.
    Expire,
    /// The process ends while it writes what this one hands in.
    Crash(usize, usize, Answer),
    /// The process ends between two requests.
    Restart,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let who = 0..NAMES.len();
    let answer = prop_oneof![
        6 => Just(Answer::Approve),
        2 => Just(Answer::Deny),
        1 => Just(Answer::Reject),
    ];
    let say = (who.clone(), answer.clone());
    let op = prop_oneof![
        4 => say.clone().prop_map(|(who, answer)| Op::Say(who, answer)),
        2 => (say.clone(), say).prop_map(|(one, other)| Op::Race(one, other)),
        2 => (0_usize..8).prop_map(Op::Retry),
        2 => (1_i64..40).prop_map(Op::Wait),
        2 => Just(Op::Expire),
        2 => (0..STEPS.len(), who, answer).prop_map(|(step, who, answer)| Op::Crash(step, who, answer)),
        1 => Just(Op::Restart),
    ];
    proptest::collection::vec(op, 1..10)
}

struct Machine {
    world: World,
    /// Everything that was ever signed.
    signed: Vec<Envelope>,
    /// What approvers were told to be in the log.
    told: Vec<RecordId>,
    end: Option<RecordId>,
}

impl Machine {
    /// Somebody signs; nothing where they are not given a draft, and then the case has to say why.
    fn sign(&mut self, who: usize, answer: Answer) -> Option<Envelope> {
        let signer = key(NAMES[who]);
        let request = match answer {
            Answer::Approve => approval(),
            Answer::Deny => OverrideRequest { outcome: Some("deny".to_owned()), ..approval() },
            Answer::Reject => rejection(),
        };
        let request = OverrideRequest { signer: signer.public_key().key_id().clone(), ..request };
        match self.world.runtime.override_statement(&id(CASE), request) {
            Ok(draft) => {
                let envelope = Envelope::sign(IN_TOTO, draft.payload.0, &signer).unwrap();
                self.signed.push(envelope.clone());
                Some(envelope)
            }
            Err(error) => {
                expected(&error);
                None
            }
        }
    }

    fn heard(&mut self, envelope: &Envelope, result: Result<Submitted, OverrideError>) {
        match result {
            Ok(submitted) => {
                assert!(submitted.case.overrides.iter().any(|given| given.record_id == envelope.record_id()));
                self.told.push(envelope.record_id());
            }
            Err(error) => expected(&error),
        }
    }

    fn apply(mut self, op: &Op) -> Self {
        match *op {
            Op::Say(who, answer) => {
                if let Some(envelope) = self.sign(who, answer) {
                    let result = self.world.submit(CASE, &envelope);
                    self.heard(&envelope, result);
                }
            }
            Op::Race(one, other) => {
                let both = [one, other].map(|(who, answer)| self.sign(who, answer));
                let world = &self.world;
                let results = std::thread::scope(|scope| {
                    let submit = |envelope: Option<Envelope>| {
                        scope
                            .spawn(move || envelope.map(|envelope| (world.submit(CASE, &envelope), envelope)))
                    };
                    both.map(submit).map(|thread| thread.join().unwrap())
                });
                for (result, envelope) in results.into_iter().flatten() {
                    self.heard(&envelope, result);
                }
            }
            Op::Retry(which) => {
                if let Some(envelope) = self.signed.get(which).cloned() {
                    let result = self.world.submit(CASE, &envelope);
                    let told = self.told.contains(&envelope.record_id());
                    assert!(!told || result.as_ref().is_ok_and(|submitted| submitted.replayed), "{result:?}");
                    self.heard(&envelope, result);
                }
            }
            Op::Wait(minutes) => self.world.log.clock.advance_ms(minutes * 60_000),
            Op::Expire => {
                self.world.runtime.expire_due().unwrap();
            }
            Op::Crash(step, who, answer) => {
                if let Some(envelope) = self.sign(who, answer) {
                    self.world = self.world.reopen(|log| failing(log, STEPS[step]));
                    match self.world.submit(CASE, &envelope) {
                        // Not the one who was asked to wait for the writer: judged before.
                        Err(error) if error.whose() != Cause::Unavailable => expected(&error),
                        Err(_) => {}
                        Ok(_) => self.told.push(envelope.record_id()),
                    }
                    self.world = self.world.reopen(|log| Runtime::open(options(log)).unwrap());
                }
            }
            Op::Restart => self.world = self.world.reopen(|log| Runtime::open(options(log)).unwrap()),
        }
        self.check();
        self
    }

    fn check(&mut self) {
        let entries = self.world.runtime.records().entries_about(&id(CASE)).unwrap();
        let ends: Vec<_> = entries.iter().filter(|entry| entry.kind == Kind::Resolution).collect();
        assert!(ends.len() <= 1, "two terminal states");
        if let Some(end) = self.end {
            assert_eq!(ends[0].record_id, end, "a terminal state was left");
        }
        if let [end] = ends[..] {
            self.end = Some(end.record_id);
            assert_eq!(entries.last().map(|entry| entry.index), Some(end.index), "something behind the end");
        }
        for told in &self.told {
            assert!(entries.iter().any(|entry| entry.record_id == *told), "a signature was lost");
        }
        let case = self.world.runtime.override_case(&id(CASE)).unwrap();
        assert_eq!(case.state == CaseState::Pending, self.end.is_none());
    }
}

/// Random bytes of the whole test: another process draws others.
struct Chance;

static DRAWN: AtomicU64 = AtomicU64::new(0);

impl Entropy for Chance {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        let block = sha256(&DRAWN.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        bytes.iter_mut().zip(block.iter().cycle()).for_each(|(byte, drawn)| *byte = *drawn);
        Ok(())
    }
}

fn options(log: &TestLog) -> Options {
    Options { entropy: Arc::new(Chance), ..log.options() }
}

/// A runtime whose log writer fails at `step`, once.
fn failing(log: &TestLog, step: Step) -> Runtime {
    let options = options(log);
    let clock = Arc::clone(&options.clock);
    let mut store_options = chancery_store::Options::new(Arc::new(move || clock.now()));
    let armed = AtomicBool::new(true);
    store_options.hook = Some(Arc::new(move |at: Step| {
        if at == step && armed.swap(false, Ordering::Relaxed) { OnStep::Fail } else { OnStep::Go }
    }));
    let store = Store::open_at(&options.database, None, store_options).unwrap();
    let root = read_root(options.home.root_pub()).unwrap();
    Runtime::assemble(store, root, options).unwrap()
}

/// The failures that approvers may meet here, none of which is the server's fault.
#[track_caller]
fn expected(error: &OverrideError) {
    let codes = [
        "override.resolved",
        "override.expired",
        "override.approver_twice",
        "override.lapsed",
        "override.issued_early",
    ];
    assert!(codes.contains(&error.code()), "{error:?}");
}

impl World {
    /// Another process on the same log.
    fn reopen(self, open: impl FnOnce(&TestLog) -> Runtime) -> Self {
        let Self { log, runtime } = self;
        drop(runtime);
        let runtime = open(&log);
        Self { log, runtime }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_case_has_one_end_and_loses_no_signature(ops in ops()) {
        let world = World::new();
        world.refer(CASE);
        let mut machine = Machine { world, signed: Vec::new(), told: Vec::new(), end: None };
        for op in &ops {
            machine = machine.apply(op);
        }
        for again in 0..machine.signed.len() {
            machine = machine.apply(&Op::Retry(again));
        }
        machine = machine.apply(&Op::Wait(61)).apply(&Op::Restart).apply(&Op::Expire);
        prop_assert!(machine.end.is_some(), "the case never ended");
        let report = machine.world.verified();
        prop_assert_eq!((report.counts.resolutions, report.counts.cases_open), (1, 0));
    }
}
