//! Random interleavings: approvals, rejections, retries, races, time, schedulers, and a process that ends in the
//! middle; on one node with a file, and on two nodes of one PostgreSQL database.
//!
//! ```text
//! node 0 ── say, hand in, expire, crash ─┐
//!                                        ├─► one log: ≤ 1 end, nothing behind it, every signature that was taken
//! node 1 ── at the same time ────────────┘
//! ```
//! Each node has a clock of its own, some seconds from the other's.
//!
//! Whatever happens, a case has at most one end and never leaves it, nobody is told of another one, what an approver
//! was told to be logged is in the log and in the export byte for byte, all nodes tell the same, and an auditor and
//! `fsck` agree with all of it.

use super::world::{World, approval, id, key, rejection};
use crate::edge::{Clock, Entropy, EntropyError};
use crate::failure::{Cause, Failure as _};
use crate::fsck::FsckRequest;
use crate::overrides::{CaseState, Expired, OverrideError, OverrideRequest, Submitted};
use crate::runtime::{Options, Runtime, read_root};
use crate::testing::{TestClock, TestLog};
use chancery_core::digest::{RecordId, sha256};
use chancery_core::dsse::{Envelope, IN_TOTO};
use chancery_core::key::Signer as _;
use chancery_core::log::Kind;
use chancery_core::statement::{Override, Statement};
use chancery_core::time::Timestamp;
use chancery_store::{OnStep, Step, Store};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

const NAMES: [&str; 4] = ["ann", "bob", "carl", "ann's other key"];
const STEPS: [Step; 6] =
    [Step::Taken, Step::Begun, Step::RowInserted, Step::EntryInserted, Step::HeadMoved, Step::Committed];

#[derive(Clone, Copy, Debug)]
enum Answer {
    Approve,
    Deny,
    Reject,
}

/// What is done at a node.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Somebody asks for a statement, signs it and hands it in.
    Say(usize, Answer),
    /// What was signed before is handed in, for the first time or again; 0 is what was signed last.
    HandIn(usize),
    /// The scheduler looks.
    Expire,
    /// A millisecond passes.
    Tick,
}

#[derive(Clone, Debug)]
enum Op {
    /// All of this at the same time, each at its node.
    Together(Vec<(usize, Act)>),
    /// The same, while this node ends at a step of writing, and is opened again.
    Crash(usize, usize, Vec<(usize, Act)>),
    /// Somebody signs at a node and keeps what they signed.
    Sign(usize, usize, Answer),
    /// A node ends between two requests.
    Restart(usize),
    /// Minutes pass.
    Wait(i64),
    /// At this node it is so many milliseconds after the end of the case's time, if it is not later.
    ToTheEnd(usize, i64),
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![6 => Just(Answer::Approve), 2 => Just(Answer::Deny), 1 => Just(Answer::Reject)]
}

fn acts(most: usize) -> impl Strategy<Value = Vec<(usize, Act)>> {
    let act = prop_oneof![
        4 => (0..NAMES.len(), answer()).prop_map(|(who, answer)| Act::Say(who, answer)),
        4 => (0_usize..8).prop_map(Act::HandIn),
        2 => Just(Act::Expire),
        1 => Just(Act::Tick),
    ];
    proptest::collection::vec((0_usize..2, act), 1..=most)
}

/// At the end of the time, as one node has it, everybody comes at once; often with two who signed before, while the
/// clock moves.
fn rush() -> impl Strategy<Value = Vec<Op>> {
    let end = || (0_usize..2, -1_i64..=1).prop_map(|(node, after)| Op::ToTheEnd(node, after));
    let two = [Op::Sign(0, 0, Answer::Approve), Op::Sign(1, 1, Answer::Approve)];
    let come = [(0, Act::HandIn(0)), (1, Act::Tick), (1, Act::HandIn(1))];
    prop_oneof![
        (end(), acts(5)).prop_map(|(end, acts)| vec![end, Op::Together(acts)]),
        (end(), acts(3)).prop_map(move |(end, acts)| {
            let together = Op::Together(come.into_iter().chain(acts).collect());
            two.iter().cloned().chain([end, together]).collect()
        }),
    ]
}

/// Some sign, this and that happens, and then there is the end.
fn ops() -> impl Strategy<Value = Vec<Op>> {
    let sign =
        || (0_usize..2, 0..NAMES.len(), answer()).prop_map(|(node, who, answer)| Op::Sign(node, who, answer));
    let op = prop_oneof![
        4 => acts(1).prop_map(Op::Together),
        3 => acts(3).prop_map(Op::Together),
        2 => (0_usize..2, 0..STEPS.len(), acts(2)).prop_map(|(node, step, acts)| Op::Crash(node, step, acts)),
        1 => sign(),
        1 => (0_usize..2).prop_map(Op::Restart),
        1 => (1_i64..40).prop_map(Op::Wait),
    ];
    let signs = proptest::collection::vec(sign(), 0..4);
    let ops = proptest::collection::vec(op, 0..7);
    (signs, ops, rush()).prop_map(|(signs, ops, rush)| signs.into_iter().chain(ops).chain(rush).collect())
}

struct Signed {
    envelope: Envelope,
    /// Somebody was told that it is in the log.
    told: bool,
}

/// An act that everything is ready for.
#[derive(Clone, Copy)]
enum Job {
    HandIn(usize),
    Expire,
    Tick,
}

enum Done {
    HandedIn(usize, Box<Result<Submitted, OverrideError>>),
    Looked(Result<Expired, OverrideError>),
    Ticked,
}

struct Machine {
    /// One or more on one log, each with its own clock.
    nodes: Vec<World>,
    case: String,
    signed: Vec<Signed>,
    /// The ends that anybody was told of.
    heard: Vec<CaseState>,
    end: Option<RecordId>,
}

impl Machine {
    fn new(nodes: Vec<World>, case: String) -> Self {
        nodes[0].refer(&case);
        Self { nodes, case, signed: Vec::new(), heard: Vec::new(), end: None }
    }

    fn node(&self, node: usize) -> usize {
        node % self.nodes.len()
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Together(acts) => self.together(acts, None),
            Op::Crash(node, step, acts) => self.together(acts, Some((self.node(*node), STEPS[*step]))),
            Op::Sign(node, who, answer) => {
                self.sign(self.node(*node), *who, *answer);
            }
            Op::Restart(node) => self.reopen(self.node(*node), None),
            Op::Wait(minutes) => self.nodes[0].log.clock.advance_ms(minutes * 60_000),
            Op::ToTheEnd(node, after) => {
                let now = self.nodes[0].now().unix_micros() + OFF_MS[self.node(*node)] * 1_000;
                let due = self.nodes[0].runtime.override_case(&id(&self.case)).unwrap().due;
                let left = (due.unix_micros() - now) / 1_000 + after;
                self.nodes[0].log.clock.advance_ms(left.max(0));
            }
        }
        self.check();
    }

    /// Somebody signs; nothing where they are not given a draft, and then the case has to say why.
    fn sign(&mut self, node: usize, who: usize, answer: Answer) -> Option<usize> {
        let signer = key(NAMES[who]);
        let request = match answer {
            Answer::Approve => approval(),
            Answer::Deny => OverrideRequest { outcome: Some("deny".to_owned()), ..approval() },
            Answer::Reject => rejection(),
        };
        let request = OverrideRequest { signer: signer.public_key().key_id().clone(), ..request };
        match self.nodes[node].runtime.override_statement(&id(&self.case), request) {
            Ok(draft) => {
                let envelope = Envelope::sign(IN_TOTO, draft.payload.0, &signer).unwrap();
                self.signed.push(Signed { envelope, told: false });
                Some(self.signed.len() - 1)
            }
            Err(error) => {
                self.refused(&error, NAMES[who].split('\'').next().unwrap());
                None
            }
        }
    }

    fn job(&mut self, node: usize, act: Act) -> Option<Job> {
        match act {
            Act::Say(who, answer) => self.sign(node, who, answer).map(Job::HandIn),
            Act::HandIn(back) => {
                let back = back.checked_rem(self.signed.len())?;
                Some(Job::HandIn(self.signed.len() - 1 - back))
            }
            Act::Expire => Some(Job::Expire),
            Act::Tick => Some(Job::Tick),
        }
    }

    fn together(&mut self, acts: &[(usize, Act)], crash: Option<(usize, Step)>) {
        let mut jobs = Vec::new();
        for (node, act) in acts {
            let node = self.node(*node);
            jobs.extend(self.job(node, *act).map(|job| (node, job)));
        }
        if let Some((node, step)) = crash {
            self.reopen(node, Some(step));
        }
        let told: Vec<bool> = self.signed.iter().map(|signed| signed.told).collect();
        let machine = &*self;
        let done: Vec<(usize, Done)> = thread::scope(|scope| {
            let begin = |(node, job): (usize, Job)| (node, scope.spawn(move || machine.perform(node, job)));
            let threads: Vec<_> = jobs.into_iter().map(begin).collect();
            threads.into_iter().map(|(node, thread)| (node, thread.join().unwrap())).collect()
        });
        for (node, done) in done {
            // Of the node that failed nobody needs an answer; what it was asked may have been done all the same.
            let may_fail = |error: &OverrideError| {
                crash.is_some_and(|(failing, _)| failing == node) && error.whose() == Cause::Unavailable
            };
            match done {
                Done::Ticked | Done::Looked(Ok(_)) => {}
                Done::Looked(Err(error)) => assert!(may_fail(&error), "{error:?}"),
                Done::HandedIn(which, result) => match *result {
                    Ok(submitted) => {
                        assert!(submitted.replayed || !told[which], "the same was logged twice");
                        self.accepted(which, &submitted);
                    }
                    Err(error) if may_fail(&error) => {}
                    Err(error) => {
                        assert!(!told[which], "what is in the log was refused: {error:?}");
                        let payload = &self.signed[which].envelope.payload.0;
                        let statement = Statement::<Override>::parse_unverified(payload).unwrap();
                        self.refused(&error, &statement.predicate.approver);
                    }
                },
            }
        }
        if let Some((node, _)) = crash {
            self.reopen(node, None);
        }
    }

    fn perform(&self, node: usize, job: Job) -> Done {
        let world = &self.nodes[node];
        match job {
            Job::HandIn(which) => {
                let result = world.submit(&self.case, &self.signed[which].envelope);
                Done::HandedIn(which, Box::new(result))
            }
            Job::Expire => Done::Looked(world.runtime.expire_due()),
            Job::Tick => {
                world.log.clock.advance_ms(1);
                Done::Ticked
            }
        }
    }

    fn accepted(&mut self, which: usize, submitted: &Submitted) {
        let signed = &mut self.signed[which];
        let record = signed.envelope.record_id();
        assert!(submitted.case.overrides.iter().any(|given| given.record_id == record));
        signed.told = true;
        self.heard.extend(Some(submitted.case.state).filter(|state| *state != CaseState::Pending));
    }

    /// What approvers may be refused for here, none of which is the server's fault.
    #[track_caller]
    fn refused(&mut self, error: &OverrideError, approver: &str) {
        match error {
            OverrideError::Resolved { status, .. } => self.heard.push((*status).into()),
            OverrideError::Expired { .. } => self.heard.push(CaseState::Expired),
            OverrideError::ApproverTwice { index } => {
                let entries = self.nodes[0].runtime.records().entries_about(&id(&self.case)).unwrap();
                let entry =
                    entries.iter().find(|entry| entry.index == *index).expect("there is no such answer");
                assert_eq!(entry.kind, Kind::Override);
                let statement = Statement::<Override>::parse_unverified(&entry.payload).unwrap();
                assert_eq!(statement.predicate.approver, approver, "somebody else had answered");
            }
            other => panic!("{other:?}"),
        }
    }

    /// The process of a node ends, and another one is there on the same log, which may fail once.
    fn reopen(&mut self, node: usize, fails: Option<Step>) {
        let World { log, runtime } = self.nodes.remove(node);
        drop(runtime);
        let runtime = open(&log, node, fails);
        self.nodes.insert(node, World { log, runtime });
    }

    fn check(&mut self) {
        let entries = self.nodes[0].runtime.records().entries_about(&id(&self.case)).unwrap();
        let case = self.nodes[0].runtime.override_case(&id(&self.case)).unwrap();
        let ends: Vec<_> = entries.iter().filter(|entry| entry.kind == Kind::Resolution).collect();
        assert!(ends.len() <= 1, "two terminal states");
        if let Some(end) = self.end {
            assert_eq!(ends[0].record_id, end, "a terminal state was left");
        }
        if let [end] = ends[..] {
            self.end = Some(end.record_id);
            assert_eq!(entries.last().map(|entry| entry.index), Some(end.index), "something behind the end");
        }
        assert_eq!(case.state == CaseState::Pending, self.end.is_none());
        let heard = &self.heard;
        assert!(heard.iter().all(|heard| *heard == case.state), "told {heard:?}, and it is {:?}", case.state);
        for Signed { envelope, .. } in self.signed.iter().filter(|signed| signed.told) {
            let there = |entry: &&chancery_store::Entry| entry.record_id == envelope.record_id();
            let entry = entries.iter().find(there).expect("a signature was lost");
            assert_eq!((&entry.payload, &entry.signatures), (&envelope.payload.0, &envelope.signatures));
        }
        for other in &self.nodes[1..] {
            let (told, theirs) =
                (other.runtime.records(), other.runtime.override_case(&id(&self.case)).unwrap());
            let records = |entries: &[chancery_store::Entry]| -> Vec<_> {
                entries.iter().map(|entry| (entry.index, entry.kind, entry.record_id)).collect()
            };
            assert_eq!(records(&told.entries_about(&id(&self.case)).unwrap()), records(&entries));
            assert_eq!(serde_json::to_value(&theirs).unwrap(), serde_json::to_value(&case).unwrap());
        }
    }

    /// Everything is handed in again, time passes, and every case has its end.
    fn finish(mut self) {
        for again in 0..self.signed.len() {
            self.apply(&Op::Together(vec![(again, Act::HandIn(again))]));
        }
        self.apply(&Op::Wait(61));
        let all = 0..self.nodes.len();
        all.clone().for_each(|node| self.reopen(node, None));
        self.apply(&Op::Together(all.map(|node| (node, Act::Expire)).collect()));
        assert!(self.end.is_some(), "the case never ended");

        let files: Vec<Vec<u8>> = self.nodes.iter().map(World::exported).collect();
        // The first line and the last have the time at which a node made the file.
        let lines = |file: &[u8]| -> Vec<Vec<u8>> {
            let lines: Vec<_> =
                file.trim_ascii_end().split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            lines[1..lines.len() - 1].to_vec()
        };
        assert!(files.iter().all(|file| lines(file) == lines(&files[0])), "two nodes export two logs");
        let report = self.nodes[0].judged(&files[0]);
        assert_eq!((report.counts.resolutions, report.counts.cases_open), (report.counts.decisions, 0));
        let exported: Vec<Envelope> = files[0]
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice::<serde_json::Value>(line).unwrap())
            .filter(|line| line["kind"] == "override")
            .map(|line| serde_json::from_value(line["envelope"].clone()).unwrap())
            .collect();
        for Signed { envelope, .. } in self.signed.iter().filter(|signed| signed.told) {
            assert!(exported.contains(envelope), "a signature is not in the export");
        }
        for node in &self.nodes {
            let (home, keys) = (node.log.home(), node.log.keys());
            let request = FsckRequest {
                root: node.runtime.root_pub(),
                keys: Some(&keys),
                checkpoint: Some(home.checkpoint()),
                full: true,
            };
            let report = node.runtime.records().fsck(&request, |_, _| {}).unwrap();
            assert!(report.is_clean() && report.left_out.is_empty(), "{report:?}");
        }
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

/// How far the nodes' clocks are from the hour, in milliseconds.
const OFF_MS: [i64; 2] = [2_500, -3_000];

/// The clock of a node.
struct Off(Arc<TestClock>, i64);

impl Clock for Off {
    fn now(&self) -> Timestamp {
        self.0.now().checked_add_ms(self.1).unwrap()
    }
}

/// The runtime of a node, whose log writer fails at a step, once.
fn open(log: &TestLog, node: usize, fails: Option<Step>) -> Runtime {
    let clock = Arc::new(Off(Arc::clone(&log.clock), OFF_MS[node]));
    let options = Options { entropy: Arc::new(Chance), clock, ..log.options() };
    let Some(step) = fails else { return Runtime::open(options).unwrap() };
    let clock = Arc::clone(&options.clock);
    let mut store_options = chancery_store::Options::new(Arc::new(move || clock.now()));
    let armed = AtomicBool::new(true);
    store_options.hook = Some(Arc::new(move |at: Step| {
        if at == step && armed.swap(false, Ordering::Relaxed) { OnStep::Fail } else { OnStep::Go }
    }));
    let store = Store::open_at(&options.database, options.tenant.as_ref(), store_options).unwrap();
    let root = read_root(options.home.root_pub()).unwrap();
    Runtime::assemble(store, root, options).unwrap()
}

/// Runs `cases` random machines, each on the nodes and the case that `begin` gives. It is told whether the machine
/// before came to its end; one that did not may have left anything behind, and what comes after it is to fail by itself
/// or not at all.
fn run(cases: u32, begin: impl Fn(bool) -> (Vec<World>, String)) {
    let config = ProptestConfig {
        cases,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let ended = Cell::new(true);
    let ran = TestRunner::new(config).run(&ops(), |ops| {
        let (nodes, case) = begin(ended.replace(false));
        let mut machine = Machine::new(nodes, case);
        ops.iter().for_each(|op| machine.apply(op));
        machine.finish();
        ended.set(true);
        Ok(())
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
}

#[test]
fn a_case_has_one_end_and_loses_no_signature() {
    run(16, |_| {
        let World { log, runtime } = World::new();
        drop(runtime);
        (vec![World { runtime: open(&log, 0, None), log }], "c-1".to_owned())
    });
}

/// Every machine is a case of one log: making a log takes longer than all that happens to a case.
#[test]
fn two_nodes_on_one_database_give_a_case_one_end() {
    let new = || {
        let logs = TestLog::on_postgres()?.map(Arc::new);
        drop(World::of(Arc::clone(&logs[0])));
        Some(logs)
    };
    let Some(logs) = new() else { return };
    let (logs, number) = (RefCell::new(logs), Cell::new(0));
    run(16, |ended| {
        if !ended {
            *logs.borrow_mut() = new().unwrap();
        }
        number.set(number.get() + 1);
        let node = |(node, log): (usize, &Arc<TestLog>)| World {
            log: Arc::clone(log),
            runtime: open(log, node, None),
        };
        (logs.borrow().iter().enumerate().map(node).collect(), format!("c-{}", number.get()))
    });
}
