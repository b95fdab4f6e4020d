//! Cases from their beginning to their end.

use super::world::{HOUR_MS, World, approval, id, key, rejection};
use crate::confirm::Executed;
use crate::failure::{Cause, Failure as _};
use crate::fsck::FsckRequest;
use crate::overrides::{BriefSignals, CaseState, Expired, OverrideRequest, QueueFilter};
use crate::testing::caller;
use chancery_core::key::Signer as _;
use chancery_core::keyring::Revocation;
use chancery_core::log::Kind;
use chancery_core::statement::{ExecutionState, Override, OverrideResolution, ResolutionStatus};

#[test]
fn two_approvers_end_a_case_and_an_auditor_agrees() {
    let world = World::new();
    world.refer("c-1");
    let case = world.runtime.override_case(&id("c-1")).unwrap();
    assert_eq!((case.state, case.progress.as_str()), (CaseState::Pending, "0 of 2"));
    assert_eq!(case.due, case.executed_at.checked_add_ms(HOUR_MS).unwrap());

    let first = world.answer("c-1", "ann", approval()).unwrap();
    assert_eq!((first.case.state, first.case.progress.as_str()), (CaseState::Pending, "1 of 2"));
    world.log.clock.advance_ms(60_000);
    let second = world.answer("c-1", "bob", approval()).unwrap();
    assert_eq!((second.case.state, second.case.progress.as_str()), (CaseState::Approved, "2 of 2"));
    let ended = second.case.resolution.unwrap();
    assert_eq!((ended.final_outcome.as_str(), ended.resolved_at), ("approve", world.now()));
    assert_eq!(ended.index, second.log.index + 1, "the resolution stands right behind the last override");
    assert_eq!(ended.overrides.len(), 2);
    assert!(ended.overrides.is_sorted());

    let detail = world.runtime.records().get(&id("c-1")).unwrap().unwrap();
    assert_eq!(detail.listed.decision, "refer", "the decision itself never changes");
    assert_eq!(detail.listed.current.outcome, "approve");
    assert_eq!(detail.listed.current.state, ExecutionState::Completed);
    let kinds: Vec<Kind> =
        world.runtime.records().entries_about(&id("c-1")).unwrap().iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [Kind::Decision, Kind::Override, Kind::Override, Kind::Resolution]);
    let report = world.verified();
    assert_eq!((report.counts.overrides, report.counts.resolutions, report.counts.cases_open), (2, 1, 0));

    let late = world.answer("c-1", "carl", approval()).unwrap_err();
    assert_eq!((late.whose(), late.code()), (Cause::Conflict, "override.resolved"));
}

#[test]
fn the_same_statement_again_is_answered_and_not_logged() {
    let world = World::new();
    world.refer("c-1");
    let envelope = world.signed("c-1", "ann", |_| ());
    let first = world.submit("c-1", &envelope).unwrap();
    assert!(!first.replayed);
    world.answer("c-1", "bob", approval()).unwrap();
    let again = world.submit("c-1", &envelope).unwrap();
    assert!(again.replayed);
    assert_eq!(again.log, first.log);
    assert_eq!(again.case.state, CaseState::Approved);
    assert_eq!(world.verified().counts.overrides, 2);
}

#[test]
fn one_rejection_ends_a_case_with_the_decisions_own_outcome() {
    let world = World::new();
    world.refer("c-1");
    world.answer("c-1", "ann", approval()).unwrap();
    let ended = world.answer("c-1", "bob", rejection()).unwrap().case;
    assert_eq!(ended.state, CaseState::Rejected);
    assert_eq!(ended.resolution.unwrap().final_outcome, "refer");
    world.verified();
}

#[test]
fn approvals_of_different_outcomes_do_not_add_up() {
    let world = World::new();
    world.refer("c-1");
    world.answer("c-1", "ann", approval()).unwrap();
    let deny = OverrideRequest { outcome: Some("deny".to_owned()), ..approval() };
    let second = world.answer("c-1", "bob", deny.clone()).unwrap().case;
    assert_eq!((second.state, second.progress.as_str()), (CaseState::Pending, "1 of 2"));
    let third = world.answer("c-1", "carl", deny).unwrap().case;
    assert_eq!(third.resolution.unwrap().final_outcome, "deny");
    world.verified();
}

#[test]
fn a_case_expires_whoever_looks_after_its_time() {
    let world = World::new();
    for execution in ["c-1", "c-2", "c-3"] {
        world.refer(execution);
    }
    world.answer("c-2", "ann", approval()).unwrap();
    let early = world.signed("c-3", "ann", |_| ());
    world.log.clock.advance_ms(HOUR_MS - 1);
    assert_eq!(world.runtime.expire_due().unwrap(), Expired::default());
    world.log.clock.advance_ms(1);
    // Somebody who comes too late ends the case that they find.
    let late = world.submit("c-3", &early).unwrap_err();
    assert_eq!((late.whose(), late.code()), (Cause::Conflict, "override.expired"));
    assert_eq!(world.runtime.override_case(&id("c-3")).unwrap().state, CaseState::Expired);
    // The scheduler ends the others; what it keeps in memory is not needed for it.
    drop(world.runtime.clone());
    let World { log, runtime } = world;
    drop(runtime);
    let runtime = log.open();
    let world = World { log, runtime };
    assert_eq!(world.runtime.expire_due().unwrap(), Expired { expired: 2, ended: 0 });
    assert_eq!(world.runtime.expire_due().unwrap(), Expired::default());
    let case = world.runtime.override_case(&id("c-2")).unwrap();
    assert_eq!((case.state, case.progress.as_str()), (CaseState::Expired, "1 of 2"));
    assert_eq!(case.resolution.unwrap().final_outcome, "refer");
    let report = world.verified();
    assert_eq!((report.counts.resolutions, report.counts.cases_open), (3, 0));
}

#[test]
fn a_case_whose_bundle_could_not_be_read_for_a_while_ends_in_its_time() {
    let world = World::new();
    world.refer("c-1");
    world.rule("3.0.0", |manifest| manifest.replace("\"3d\"", "\"2h\""));
    let World { log, runtime } = world;
    drop(runtime);
    let version = |from: &str, to: &str| {
        log.tamper(&format!(
            "UPDATE bundles SET bundle_hash = {to}(bundle_hash) WHERE policy_version = '{from}'"
        ));
    };
    version("2.0.0", "upper");
    let runtime = log.open();
    let error = runtime.expire_due().unwrap_err();
    assert_eq!(error.whose(), Cause::Corrupt, "{error}");
    assert_eq!(runtime.expire_due().unwrap_err().whose(), Cause::Corrupt, "said at every look");
    version("2.0.0", "lower");
    assert_eq!(runtime.expire_due().unwrap(), Expired::default(), "it can be read, and waits");
    log.clock.advance_ms(HOUR_MS - 1);
    assert_eq!(runtime.expire_due().unwrap(), Expired::default());
    log.clock.advance_ms(1);
    assert_eq!(runtime.expire_due().unwrap(), Expired { expired: 1, ended: 0 });
}

#[test]
fn the_rule_is_that_of_the_bundle_that_decided() {
    let world = World::new();
    world.refer("c-1");
    world.rule("3.0.0", |manifest| manifest.replace("\"3d\"", "\"1m\"").replace("claims-manager", "clerk"));
    world.refer("c-2");
    world.log.clock.advance_ms(60_000);
    assert_eq!(world.runtime.expire_due().unwrap().expired, 1, "c-2, whose rule says a minute");
    assert_eq!(world.runtime.override_case(&id("c-2")).unwrap().state, CaseState::Expired);
    world.answer("c-1", "ann", approval()).unwrap();
    assert_eq!(world.answer("c-1", "bob", approval()).unwrap().case.state, CaseState::Approved);
    world.verified();
}

#[test]
fn an_approval_that_lapsed_is_not_counted() {
    let world = World::new();
    world.refer("c-1");
    let expires = world.now().checked_add_ms(5_000).unwrap();
    world.submit("c-1", &world.signed("c-1", "ann", |it| it.expires_at = expires)).unwrap();
    world.log.clock.advance_ms(5_000);
    let second = world.answer("c-1", "bob", approval()).unwrap().case;
    assert_eq!((second.state, second.progress.as_str()), (CaseState::Pending, "1 of 2"));
    assert_eq!(world.answer("c-1", "carl", approval()).unwrap().case.state, CaseState::Approved);
    world.verified();
}

#[test]
fn a_resolution_is_not_dated_before_what_it_counts() {
    let world = World::new();
    world.refer("c-1");
    let ahead = world.now().checked_add_ms(9_000).unwrap();
    world.submit("c-1", &world.signed("c-1", "ann", |it| it.issued_at = ahead)).unwrap();
    let ended = world.answer("c-1", "bob", approval()).unwrap().case;
    assert_eq!(ended.resolution.unwrap().resolved_at, ahead);
    // What is done at once is done before that, and can be confirmed with the time at which it was.
    let done = |at| Executed { outcome: "approve".to_owned(), reference: "pay-1".to_owned(), at };
    let before = done(world.now().checked_add_ms(-1).unwrap());
    let error = world.runtime.confirm(&caller(), &id("c-1"), &before).unwrap_err();
    assert_eq!(error.faults()[0].code, "confirmation.time", "before the decision: {error}");
    world.runtime.confirm(&caller(), &id("c-1"), &done(world.now())).unwrap();
    world.verified();
}

#[test]
fn a_case_whose_approver_is_ahead_at_its_last_moment_ends_within_its_time() {
    let world = World::new();
    world.refer("c-1");
    let due = world.runtime.override_case(&id("c-1")).unwrap().due;
    world.log.clock.advance_ms(HOUR_MS - 9_000);
    let (last, far) = (due.checked_add_ms(-1).unwrap(), due.checked_add_ms(HOUR_MS).unwrap());
    let late = |it: &mut Override| (it.issued_at, it.expires_at) = (last, far);
    world.submit("c-1", &world.signed("c-1", "ann", late)).unwrap();
    let ended = world.submit("c-1", &world.signed("c-1", "bob", late)).unwrap().case.resolution.unwrap();
    assert_eq!((ended.resolution, ended.resolved_at), (ResolutionStatus::Approved, last));
    world.verified();
}

#[test]
fn a_key_that_is_revoked_from_before_its_answer_does_not_count() {
    let world = World::new();
    world.refer("c-1");
    let first = world.answer("c-1", "ann", approval()).unwrap();
    let (revoked, now) = (key("ann").public_key().key_id().clone(), world.now());
    world.rotate(|keyring| {
        let entry = keyring.keys.iter_mut().find(|entry| *entry.key.key_id() == revoked).unwrap();
        let reason = "stolen".to_owned();
        entry.revoked = Some(Revocation { at: now, from_index: first.log.index, reason });
    });
    let case = world.answer("c-1", "bob", approval()).unwrap().case;
    assert_eq!((case.state, case.progress.as_str()), (CaseState::Pending, "1 of 2"));
    assert_eq!(case.overrides.iter().map(|given| given.counts).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn the_queue_shows_what_waits_for_a_role() {
    let world = World::new();
    for number in 0..5 {
        world.refer(&format!("c-{number}"));
        world.log.clock.advance_ms(60_000);
    }
    world.answer("c-1", "ann", rejection()).unwrap();
    let queue = |filter: &QueueFilter| -> Vec<String> {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = world.runtime.override_queue(filter, after.as_deref(), 2).unwrap();
            seen.extend(page.items.iter().map(|case| case.execution_id.to_string()));
            after = page.next;
            if after.is_none() {
                return seen;
            }
        }
    };
    assert_eq!(queue(&QueueFilter::default()), ["c-0", "c-2", "c-3", "c-4"]);
    let of = |role: &str| QueueFilter { role: Some(role.to_owned()), ..QueueFilter::default() };
    assert_eq!(queue(&of("claims-manager")).len(), 4);
    assert!(queue(&of("clerk")).is_empty());
    let due = world.runtime.override_case(&id("c-3")).unwrap().due;
    assert_eq!(queue(&QueueFilter { due_before: Some(due), ..QueueFilter::default() }), ["c-0", "c-2"]);
    assert_eq!(queue(&QueueFilter { state: CaseState::Rejected, ..QueueFilter::default() }), ["c-1"]);
    assert!(queue(&QueueFilter { state: CaseState::Approved, ..QueueFilter::default() }).is_empty());
    let bad = world.runtime.override_queue(&QueueFilter::default(), Some("page two"), 2).unwrap_err();
    assert_eq!((bad.whose(), bad.code()), (Cause::Caller, "list.cursor"));
}

#[test]
fn an_approver_is_shown_what_they_need() {
    let world = World::new();
    world.decide("earlier", "5");
    world.log.clock.advance_ms(60_000);
    world.refer("c-1");
    world.log.clock.advance_ms(60_000);
    let brief = world.runtime.override_brief(&id("c-1")).unwrap();
    assert_eq!((brief.age_ms, brief.left_ms), (60_000, HOUR_MS - 60_000));
    let [policy] = brief.policies.as_slice() else { panic!("{:?}", brief.policies) };
    assert_eq!((policy.id.as_str(), policy.file.as_str()), ("refer-large", "policies.cedar"));
    assert!(policy.text.contains("context.amount * 1000000"), "{}", policy.text);
    let BriefSignals::All { values, .. } = &brief.signals else { panic!("{:?}", brief.signals) };
    assert_eq!(serde_json::to_value(values).unwrap(), serde_json::json!({"amount": 20_000, "score": "0.1"}));
    assert_eq!(brief.earlier.len(), 1);
    assert_eq!(
        (brief.earlier[0].execution_id.as_str(), brief.earlier[0].outcome.as_str()),
        ("earlier", "approve")
    );
    let json = serde_json::to_value(&brief).unwrap();
    assert_eq!((&json["progress"], &json["signals"]["left"]), (&"0 of 2".into(), &"all".into()));
}

#[test]
fn nobody_is_given_to_sign_what_would_be_refused() {
    let world = World::new();
    world.refer("c-1");
    world.decide("done", "5");
    type Edit = fn(&mut OverrideRequest);
    let cases: [(&str, Edit, &str); 9] = [
        ("ann", |it| it.reason = String::new(), "override.statement"),
        ("ann", |it| it.outcome = None, "override.statement"),
        ("ann", |it| it.resolution = OverrideResolution::Reject, "override.statement"),
        ("ann", |it| it.outcome = Some("refer".to_owned()), "override.outcome"),
        ("ann", |it| it.role = "clerk".to_owned(), "override.key_role"),
        ("clerk", |it| it.role = "clerk".to_owned(), "override.role"),
        ("submitter", |_| (), "override.separation"),
        ("machine", |_| (), "override.separation"),
        ("stranger", |_| (), "override.key_unknown"),
    ];
    for (name, edit, code) in cases {
        let mut request = approval();
        edit(&mut request);
        assert_eq!(world.answer("c-1", name, request).unwrap_err().code(), code, "{name}");
    }
    assert_eq!(world.answer("done", "ann", approval()).unwrap_err().code(), "override.not_waiting");
    assert_eq!(world.answer("never", "ann", approval()).unwrap_err().code(), "execution.unknown");
    assert!(world.runtime.override_case(&id("c-1")).unwrap().overrides.is_empty());
}

#[test]
fn rows_that_say_something_else_are_found() {
    let world = World::new();
    world.refer("c-1");
    world.answer("c-1", "ann", approval()).unwrap();
    world.answer("c-1", "bob", approval()).unwrap();
    let problems = |world: &World| {
        let root = world.runtime.root_pub();
        let request = FsckRequest { root, keys: None, checkpoint: None, full: false };
        let report = world.runtime.records().fsck(&request, |_, _| {}).unwrap();
        report.problems.into_iter().map(|problem| problem.what).collect::<Vec<_>>()
    };
    assert!(problems(&world).is_empty());
    world.log.tamper(
        "UPDATE overrides SET approver = 'eve' WHERE approver = 'ann'; DELETE FROM overrides WHERE approver = 'bob'; \
         UPDATE resolutions SET final_outcome = 'deny'",
    );
    assert_eq!(
        problems(&world),
        [
            "the column `approver` of `overrides` is not what was signed",
            "the entry has no row in `overrides`",
            "the column `final_outcome` of `resolutions` is not what was signed",
        ]
    );
}
