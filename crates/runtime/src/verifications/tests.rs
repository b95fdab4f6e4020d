use super::*;
use crate::confirm::Executed;
use crate::testing::{TestLog, caller, request};
use chancery_core::log::Kind;
use chancery_core::statement::Statement;

fn decide(runtime: &Runtime, ids: std::ops::Range<u32>) {
    for id in ids {
        let amount = if id % 10 == 9 { "20000" } else { "5" };
        runtime.execute_blocking(&caller(), &request(&format!("e-{id}"), amount, "0.1")).unwrap();
    }
}

fn all(runtime: &Runtime) -> BackfillJob {
    runtime.records().backfill(None, None, None).unwrap()
}

/// Steps until there is nothing left to do.
fn finish(runtime: &Runtime, job: &BackfillJob) -> usize {
    let (mut recorded, mut from) = (0, 0);
    loop {
        let step = runtime.backfill_step(job, &mut from).unwrap();
        assert_eq!(step.unjudged, []);
        recorded += step.recorded.len();
        if step.is_empty() {
            return recorded;
        }
    }
}

#[test]
fn every_decision_of_the_job_gets_one_verification_and_no_other_does() {
    let log = TestLog::new();
    let runtime = log.open();
    decide(&runtime, 0..75);
    let job = all(&runtime);
    decide(&runtime, 75..80);
    log.clock.advance_ms(1_000);
    assert_eq!(
        runtime.records().backfill_progress(&job).unwrap(),
        BackfillProgress { total: 75, ..BackfillProgress::default() }
    );
    assert_eq!(finish(&runtime, &job), 75);
    assert!(runtime.records().backfill_progress(&job).unwrap().is_done());
    assert_eq!(finish(&runtime, &job), 0, "again is nothing");
    let list = runtime.records().verifications(&VerificationFilter::default(), None, 1_000).unwrap();
    assert_eq!(list.items.len(), 75);
    assert_eq!(finish(&runtime, &all(&runtime)), 5, "a later job has the later ones");
    // A test log names no build: that cannot be checked, and nothing else is missing.
    for item in &list.items {
        assert_eq!(item.verdict, Verdict::Incomplete, "{item:?}");
        assert_eq!(
            (item.signature_verified, item.runtime_verified, item.schema_compatible),
            (Some(true), None, Some(true))
        );
    }
}

#[test]
fn two_nodes_that_backfill_at_once_record_each_decision_once() {
    let Some(logs) = TestLog::on_postgres() else { return };
    let nodes = logs.each_ref().map(TestLog::open);
    // Cheap to decide: as many as make several steps.
    decide(&nodes[0], 0..600);
    let job = all(&nodes[0]);
    let recorded: usize = std::thread::scope(|scope| {
        let racing = nodes.each_ref().map(|node| {
            let (job, clock) = (&job, &logs[0].clock);
            scope.spawn(move || {
                let (mut recorded, mut from) = (0, 0);
                loop {
                    // The time makes another record of each.
                    clock.advance_ms(1);
                    let step = node.backfill_step(job, &mut from).unwrap();
                    assert_eq!(step.unjudged, []);
                    recorded += step.recorded.len();
                    // Without a turn: as two that both believe to have it.
                    if step.is_empty() {
                        return recorded;
                    }
                }
            })
        });
        racing.into_iter().map(|racing| racing.join().unwrap()).sum()
    });
    assert_eq!(recorded, 600);
    let list = nodes[1].records().verifications(&VerificationFilter::default(), None, 1_000).unwrap();
    assert_eq!(list.items.len(), 600);
    let ids: std::collections::HashSet<_> = list.items.iter().map(|item| &item.execution_id).collect();
    assert_eq!(ids.len(), 600, "once each");
}

#[test]
fn one_node_has_the_turn_and_the_others_know_its_job() {
    let Some(logs) = TestLog::on_postgres() else { return };
    let [one, other] = logs.each_ref().map(TestLog::open);
    decide(&one, 0..1);
    let running = || other.records().running_backfill().unwrap();
    assert_eq!(running(), None);
    let job = one.records().backfill(None, None, Some("small-claims".parse().unwrap())).unwrap();
    let turn = one.begin_backfill(&job).unwrap().unwrap();
    assert_eq!(running(), Some(job.clone()));
    assert!(other.begin_backfill(&all(&other)).unwrap().is_none());
    assert!(one.begin_backfill(&job).unwrap().is_none(), "one turn at a time, here as well");
    assert!(turn.renew().unwrap());
    turn.end();
    assert_eq!(running(), None);
    let next = other.begin_backfill(&all(&other)).unwrap().unwrap();
    assert!(!turn.renew().unwrap(), "it is another's by now");
    turn.end();
    assert!(next.renew().unwrap(), "who has none gives none back");
}

#[test]
fn what_was_asked_for_is_answered_in_its_order() {
    let log = TestLog::new();
    let runtime = log.open();
    decide(&runtime, 0..5);
    log.clock.advance_ms(1_000);
    let executed = Executed {
        outcome: "approve".to_owned(),
        reference: "p".to_owned(),
        at: "2026-03-01T10:01:00.500000Z".parse().unwrap(),
    };
    runtime.confirm(&caller(), &"e-3".parse().unwrap(), &executed).unwrap();
    let ids = ["e-3", "e-4", "never", "e-0", "e-2"].map(|id| id.parse::<ExecutionId>().unwrap());
    let recorded = runtime.verify_recorded(&ids).unwrap();
    let order: Vec<_> = recorded.iter().map(|it| it.execution_id.as_str()).collect();
    assert_eq!(order, ["e-3", "e-4", "e-0", "e-2"]);
}

#[test]
fn what_is_recorded_is_a_statement_about_its_decision() {
    let log = TestLog::new();
    let runtime = log.open();
    decide(&runtime, 0..3);
    let id: ExecutionId = "e-1".parse().unwrap();
    let recorded = runtime.verify_recorded(&[id.clone(), "never".parse().unwrap()]).unwrap();
    assert_eq!(recorded.len(), 1);
    let entry = runtime.records().entry(recorded[0].index).unwrap().unwrap();
    assert_eq!(entry.kind, Kind::Verification);
    let payload = entry.envelope().verify_single(runtime.runtime_key()).unwrap();
    let statement = Statement::<Verification>::parse(&payload).unwrap();
    let decision = runtime.records().get(&id).unwrap().unwrap();
    assert_eq!(statement.decision(), Some(decision.record_id));
    assert_eq!(statement.predicate.execution_fingerprint, decision.listed.execution_fingerprint);
    let result = |id: &str| statement.predicate.checks.iter().find(|check| check.id == id).unwrap().result;
    assert_eq!(statement.predicate.checks.len(), CheckId::ALL.len());
    for passed in ["envelope.signature", "fingerprint", "opening", "decision.reproduced", "log.inclusion"] {
        assert_eq!(result(passed), CheckResult::Pass, "{passed}");
    }
    assert_eq!(result("override.quorum"), CheckResult::Unknown);
    assert_eq!(statement.predicate.verifier, VERIFIER);
}

#[test]
fn a_job_goes_on_where_it_was_stopped() {
    let log = TestLog::new();
    let runtime = log.open();
    decide(&runtime, 0..70);
    let job = all(&runtime);
    let first = runtime.backfill_step(&job, &mut 0).unwrap().len();
    drop(runtime);
    let runtime = log.open();
    let again: BackfillJob = job.to_string().parse().unwrap();
    let progress = runtime.records().backfill_progress(&again).unwrap();
    let done = u64::try_from(first).unwrap();
    let expected =
        BackfillProgress { total: 70, recorded: done, incomplete: done, ..BackfillProgress::default() };
    assert_eq!(progress, expected);
    assert_eq!(first + finish(&runtime, &again), 70);
}

#[test]
fn a_job_has_the_time_and_the_policy_that_were_asked_for() {
    let log = TestLog::new();
    let runtime = log.open();
    for id in 0..3 {
        decide(&runtime, id..id + 1);
        log.clock.advance_ms(60_000);
    }
    let at = |text: &str| Some(text.parse().unwrap());
    let records = runtime.records();
    let job =
        records.backfill(at("2026-03-01T10:02:00.000000Z"), at("2026-03-01T10:03:00.000000Z"), None).unwrap();
    assert_eq!(records.backfill_progress(&job).unwrap().total, 1);
    let recorded = runtime.backfill_step(&job, &mut 0).unwrap().recorded;
    assert_eq!(recorded[0].execution_id.as_str(), "e-1");
    let other = records.backfill(None, None, Some("other".parse().unwrap())).unwrap();
    assert!(records.backfill_progress(&other).unwrap().is_done());
    assert!(runtime.backfill_step(&other, &mut 0).unwrap().is_empty());
}

#[test]
fn one_bad_record_is_told_of_itself_alone() {
    let log = TestLog::new();
    let runtime = log.open();
    decide(&runtime, 0..9);
    drop(runtime);
    // The signature of one, which no hash covers.
    log.tamper("UPDATE log_entries SET signature = zeroblob(64) WHERE log_index = (SELECT log_index FROM decisions WHERE execution_id = 'e-4')");
    let runtime = log.open();
    assert_eq!(finish(&runtime, &all(&runtime)), 9);
    let failed = VerificationFilter { verdict: Some(Verdict::Failed), ..VerificationFilter::default() };
    let failed = runtime.records().verifications(&failed, None, 10).unwrap().items;
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].execution_id.as_str(), failed[0].signature_verified), ("e-4", Some(false)));
    let rest = VerificationFilter { verdict: Some(Verdict::Incomplete), ..VerificationFilter::default() };
    assert_eq!(runtime.records().verifications(&rest, None, 10).unwrap().items.len(), 8);
}

#[test]
fn damaged_records_are_named_and_those_after_them_are_judged() {
    let log = TestLog::new();
    let runtime = log.open();
    decide(&runtime, 0..70);
    drop(runtime);
    // One more in each chunk that cannot be opened, one that is no statement, and one whose signature is wrong.
    let of = |id: &str| format!("(SELECT log_index FROM decisions WHERE execution_id = '{id}')");
    for id in ["e-3", "e-66"] {
        log.tamper(&format!(
            "UPDATE openings SET nonce = zeroblob(length(nonce)) WHERE log_index = {}",
            of(id)
        ));
    }
    for id in ["e-5", "e-19"] {
        log.tamper(&format!(
            "UPDATE log_entries SET payload = CAST('{{' AS BLOB) WHERE log_index = {}",
            of(id)
        ));
    }
    log.tamper(&format!("UPDATE log_entries SET signature = zeroblob(64) WHERE log_index = {}", of("e-7")));
    let runtime = log.open();
    let job = all(&runtime);
    for (round, recorded) in [(0, 66), (1, 0)] {
        let (mut from, mut whole) = (0, BackfillStep::default());
        loop {
            let step = runtime.backfill_step(&job, &mut from).unwrap();
            if step.is_empty() {
                break;
            }
            whole.recorded.extend(step.recorded);
            whole.unjudged.extend(step.unjudged);
        }
        assert_eq!(whole.recorded.len(), recorded, "round {round}");
        let mut unjudged: Vec<_> = whole.unjudged.iter().map(|it| it.execution_id.as_str()).collect();
        unjudged.sort_unstable();
        assert_eq!(unjudged, ["e-19", "e-3", "e-5", "e-66"], "round {round}");
        assert!(whole.unjudged.iter().all(|it| it.code == "store.corrupt"), "{:?}", whole.unjudged);
    }
    let progress = runtime.records().backfill_progress(&job).unwrap();
    assert_eq!(
        progress,
        BackfillProgress { total: 70, recorded: 66, verified: 0, failed: 1, incomplete: 65 }
    );
    assert!(!progress.is_done());
}

#[test]
fn what_happened_to_one_decision_is_not_said_of_another() {
    let log = TestLog::new();
    let runtime = log.open();
    decide(&runtime, 0..4);
    log.clock.advance_ms(1_000);
    let executed = Executed {
        outcome: "approve".to_owned(),
        reference: "p".to_owned(),
        at: "2026-03-01T10:01:00.500000Z".parse().unwrap(),
    };
    runtime.confirm(&caller(), &"e-2".parse().unwrap(), &executed).unwrap();
    finish(&runtime, &all(&runtime));
    for (id, expected) in [("e-1", CheckResult::Unknown), ("e-2", CheckResult::Pass)] {
        let filter =
            VerificationFilter { execution_id: Some(id.parse().unwrap()), ..VerificationFilter::default() };
        let index = runtime.records().verifications(&filter, None, 1).unwrap().items[0].index;
        let entry = runtime.records().entry(index).unwrap().unwrap();
        let statement = Statement::<Verification>::parse_unverified(&entry.payload).unwrap();
        let check = statement.predicate.checks.iter().find(|check| check.id == "resolution").unwrap();
        assert_eq!(check.result, expected, "{id}: {check:?}");
    }
}

#[test]
fn the_same_verification_is_recorded_once() {
    let log = TestLog::new();
    let runtime = log.open();
    decide(&runtime, 0..1);
    let ids = ["e-0".parse().unwrap(), "e-0".parse().unwrap()];
    for _ in 0..2 {
        let recorded = runtime.verify_recorded(&ids).unwrap();
        assert_eq!(recorded.iter().map(|it| it.index).collect::<Vec<_>>(), [3], "the clock stands still");
    }
    assert_eq!(runtime.records().head().unwrap().size, 4);
    log.clock.advance_ms(1);
    assert_eq!(runtime.verify_recorded(&ids[..1]).unwrap()[0].index, 4);
}

#[test]
fn what_a_recorded_build_decided_is_verified_without_a_doubt() {
    let log = TestLog::production();
    let mut options = log.options();
    options.build = Some(crate::testing::release(&crate::testing::build_key(), |_| {}));
    let runtime = Runtime::open(options).unwrap();
    decide(&runtime, 0..5);
    crate::testing::erase(&runtime, &log, "e-2", &[]);
    assert_eq!(finish(&runtime, &all(&runtime)), 5);
    let list = runtime.records().verifications(&VerificationFilter::default(), None, 10).unwrap();
    for item in &list.items {
        let answers = (item.signature_verified, item.runtime_verified, item.schema_compatible);
        assert_eq!(
            (item.verdict, answers),
            (Verdict::Verified, (Some(true), Some(true), Some(true))),
            "{item:?}"
        );
    }
    let erased = list.items.iter().find(|item| item.execution_id.as_str() == "e-2").unwrap();
    let entry = runtime.records().entry(erased.index).unwrap().unwrap();
    let statement = Statement::<Verification>::parse_unverified(&entry.payload).unwrap();
    let opening = statement.predicate.checks.iter().find(|check| check.id == "opening").unwrap();
    assert_eq!(opening.result, CheckResult::Unknown, "there is nothing left to check");
}

#[test]
fn pages_of_verifications_lead_to_the_end() {
    let log = TestLog::new();
    let runtime = log.open();
    decide(&runtime, 0..5);
    finish(&runtime, &all(&runtime));
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page =
            runtime.records().verifications(&VerificationFilter::default(), after.as_deref(), 2).unwrap();
        seen.extend(page.items.into_iter().map(|item| item.index));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.is_sorted_by(|a, b| a > b), "the newest first: {seen:?}");
    let error = runtime.records().verifications(&VerificationFilter::default(), Some("x"), 2).unwrap_err();
    assert_eq!(error.code(), "list.cursor");
}
