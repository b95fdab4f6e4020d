//! What a resolution says is what the overrides before it come to, and it lists what makes it so and nothing else.

use chancery_core::digest::RecordId;
use chancery_core::keyring::Role;
use chancery_core::statement::{Override, OverrideResolution, ResolutionStatus};

use super::judge;
use super::rules::{assert_fails, assert_verified, waiting};
use super::world::{Plan, World, at};
use crate::{Ask, CheckId, Fault, Verdict};

/// An answer in a case: who, what, and whether it stands to the end or for a few seconds.
#[derive(Clone, Copy)]
struct Said(&'static str, What, bool);

#[derive(Clone, Copy)]
enum What {
    Approve,
    Deny,
    Reject,
}

use What::{Approve, Deny, Reject};

/// One that stands.
const fn said(who: &'static str, what: What) -> Said {
    Said(who, what, true)
}

/// One that had expired when the case was ended.
const fn lapsed(who: &'static str, what: What) -> Said {
    Said(who, what, false)
}

/// A case with these answers, which ends half an hour later with `final_outcome`, listing those of these numbers.
fn ended(answers: &[Said], listed: &[usize], status: ResolutionStatus, final_outcome: &str) -> World {
    let (mut world, waits) = waiting();
    // Two times two have to agree, and there are three managers.
    world.rotate(|keyring| {
        let clerk = keyring.keys.iter_mut().find(|key| key.subject == "clerk").unwrap();
        clerk.roles = vec![Role::Approver("manager".to_owned())];
    });
    // Servers draft statements that stand to the end of the case's time, and no longer.
    let limit = world.decided_at(&waits).checked_add_ms(3_600_000).unwrap();
    let records: Vec<RecordId> = answers
        .iter()
        .map(|Said(who, what, stands)| {
            let until = if *stands { limit } else { at(world.now + 600) };
            world.answer(&waits, who, |it: &mut Override| {
                it.expires_at = until;
                match what {
                    Approve => {}
                    Deny => it.outcome = Some("deny".to_owned()),
                    Reject => (it.resolution, it.outcome) = (OverrideResolution::Reject, None),
                }
            })
        })
        .collect();
    world.now += if status == ResolutionStatus::Expired { 3_600 } else { 1_800 };
    world.resolve(&waits, listed.iter().map(|number| records[*number]).collect(), |resolution| {
        resolution.resolution = status;
        resolution.final_outcome = final_outcome.to_owned();
    });
    world
}

type Case<'a> = (&'a [Said], &'a [usize], &'a [CheckId]);

#[track_caller]
fn judge_all(cases: &[Case<'_>], status: ResolutionStatus, final_outcome: &str) {
    for (number, (answers, listed, checks)) in cases.iter().enumerate() {
        println!("{} {number}", status.as_str());
        let world = ended(answers, listed, status, final_outcome);
        if checks.is_empty() { assert_verified(&world) } else { assert_fails(&world, checks) }
    }
}

const RESOLUTION: &[CheckId] = &[CheckId::Resolution];
const QUORUM: &[CheckId] = &[CheckId::OverrideQuorum];

#[test]
fn a_rejection_is_listed_alone_and_comes_before_any_quorum() {
    let (ann, bob) = (said("ann", Approve), said("bob", Approve));
    let (eve, clerk) = (said("eve", Reject), said("clerk", Reject));
    let cases: [Case<'_>; 13] = [
        (&[eve], &[0], &[]),
        (&[ann, eve], &[1], &[]),
        // Approvals of two outcomes are no quorum, and what had lapsed is none either.
        (&[ann, said("bob", Deny), eve], &[2], &[]),
        (&[lapsed("ann", Approve), bob, eve], &[2], &[]),
        // What comes after the rejection changes nothing.
        (&[eve, ann, bob], &[0], &[]),
        // Something else beside the one rejection.
        (&[ann, eve], &[0, 1], RESOLUTION),
        (&[eve, ann], &[0, 1], RESOLUTION),
        (&[eve, clerk], &[0, 1], RESOLUTION),
        // It had been approved.
        (&[ann, bob, eve], &[2], RESOLUTION),
        (&[said("ann", Deny), said("bob", Deny), eve], &[2], RESOLUTION),
        (&[ann, bob, eve], &[0, 1, 2], RESOLUTION),
        // Nobody rejected it, as far as it says.
        (&[ann], &[0], QUORUM),
        (&[ann, eve], &[0], QUORUM),
    ];
    judge_all(&cases, ResolutionStatus::Rejected, "refer");
    let lapsed: [Case<'_>; 1] = [(&[lapsed("eve", Reject)], &[0], &[CheckId::OverrideExpiry])];
    judge_all(&lapsed, ResolutionStatus::Rejected, "refer");
}

#[test]
fn an_approval_lists_the_first_quorum_and_nothing_that_says_otherwise() {
    let (ann, bob, eve) = (said("ann", Approve), said("bob", Approve), said("eve", Approve));
    let cases: [Case<'_>; 12] = [
        (&[ann, bob], &[0, 1], &[]),
        (&[said("eve", Deny), ann, bob], &[1, 2], &[]),
        (&[ann, lapsed("bob", Approve), eve], &[0, 2], &[]),
        // Later approvals do not take it back, whatever they are for.
        (&[ann, bob, eve], &[0, 1, 2], &[]),
        (&[ann, bob, said("eve", Deny), said("clerk", Deny)], &[0, 1], &[]),
        // Another outcome had a quorum before, unless that had lapsed.
        (&[said("eve", Deny), said("clerk", Deny), ann, bob], &[2, 3], RESOLUTION),
        (&[said("eve", Deny), ann, said("clerk", Deny), bob], &[1, 3], RESOLUTION),
        (&[lapsed("eve", Deny), said("clerk", Deny), ann, bob], &[2, 3], &[]),
        // What it lists has to say the same.
        (&[ann, bob, said("eve", Deny)], &[0, 1, 2], RESOLUTION),
        (&[ann, bob, said("eve", Reject)], &[0, 1, 2], RESOLUTION),
        // Somebody rejected it, whether that is listed or not.
        (&[ann, said("eve", Reject), bob], &[0, 2], RESOLUTION),
        (&[ann, bob], &[0], QUORUM),
    ];
    judge_all(&cases, ResolutionStatus::Approved, "approve");
    let lapsed: [Case<'_>; 1] =
        [(&[lapsed("ann", Approve), bob, eve], &[0, 1, 2], &[CheckId::OverrideExpiry])];
    judge_all(&lapsed, ResolutionStatus::Approved, "approve");
}

#[test]
fn a_case_that_approvers_had_ended_does_not_expire() {
    let (ann, bob) = (said("ann", Approve), said("bob", Approve));
    let cases: [Case<'_>; 7] = [
        (&[], &[], &[]),
        (&[ann], &[], &[]),
        (&[ann, said("bob", Deny)], &[], &[]),
        (&[ann, lapsed("bob", Approve)], &[], &[]),
        (&[ann, bob], &[], RESOLUTION),
        (&[ann, said("eve", Deny), said("bob", Deny)], &[], RESOLUTION),
        (&[said("ann", Reject)], &[], RESOLUTION),
    ];
    judge_all(&cases, ResolutionStatus::Expired, "refer");
}

/// What ends a case is in one transaction with the resolution: where the whole log is there, both are.
#[test]
fn a_case_that_approvers_ended_has_its_resolution() {
    let open = |answers: &[(&str, What)], seconds: i64, after: i64| {
        let (mut world, waits) = waiting();
        let limit = world.decided_at(&waits).checked_add_ms(3_600_000).unwrap();
        for (who, what) in answers {
            world.answer(&waits, who, |it: &mut Override| {
                it.expires_at = limit.checked_add_ms(seconds * 1_000).unwrap();
                match what {
                    Approve => {}
                    Deny => it.outcome = Some("deny".to_owned()),
                    Reject => (it.resolution, it.outcome) = (OverrideResolution::Reject, None),
                }
            });
        }
        world.now += after;
        world
    };
    let (ann, bob, eve) = (("ann", Approve), ("bob", Approve), ("eve", Reject));
    let ended: [&[_]; 4] = [&[ann, bob], &[eve], &[ann, eve], &[("eve", Deny), ann, bob]];
    for answers in ended {
        for seconds in [0, 60] {
            assert_fails(&open(answers, seconds, 10), RESOLUTION);
        }
    }
    // Two that agree, and one of them may have lapsed before the other was there: nobody can tell.
    assert_verified(&open(&[ann, bob], -1, 10));
    let waits: [&[_]; 3] = [&[], &[ann], &[ann, ("bob", Deny)]];
    for answers in waits {
        for (after, overdue) in [(10, 0), (3_500, 0), (3_600, 1), (100_000, 1)] {
            let world = open(answers, 0, after);
            let report = judge(&world.export(), Some(&world.root_pub()), &Ask::default());
            assert_eq!(report.verdict, Verdict::Verified, "{report}");
            assert_eq!((report.counts.cases_open, report.counts.cases_overdue), (1, overdue), "{report}");
            assert_eq!(
                report.to_string().contains("Overdue: the time of 1 was over"),
                overdue > 0,
                "{report}"
            );
        }
    }
    // A part of the log need not have the end.
    let world = open(&[ann, bob], 0, 10);
    let size = u64::try_from(world.entries.len()).unwrap();
    let part = Plan { range: Some((1, size)), ..Plan::default() };
    let report = judge(&world.export_as(&part), Some(&world.root_pub()), &Ask::default());
    assert_eq!(report.verdict, Verdict::Verified, "{report}");
    // Where it ended is named.
    let report = judge(&world.export(), Some(&world.root_pub()), &Ask::default());
    let [place] = report.check(CheckId::Resolution).unwrap().places.as_slice() else { panic!("{report}") };
    assert_eq!((place.index, place.execution_id.as_deref()), (Some(size - 1), Some("claim-1")));
    assert_eq!(place.code, Some(Fault::Missing));
}

/// Whatever an approval says of itself, it ends no case whose time is over.
#[test]
fn approvers_end_a_case_within_its_time() {
    for (seconds, fails) in [(-1, false), (0, true), (1, true), (100_000, true)] {
        for status in [ResolutionStatus::Approved, ResolutionStatus::Rejected] {
            let (mut world, waits) = waiting();
            let limit = world.decided_at(&waits).checked_add_ms(3_600_000).unwrap();
            let far = limit.checked_add_ms(1_000_000_000).unwrap();
            let approved = status == ResolutionStatus::Approved;
            let approvers: &[&str] = if approved { &["ann", "bob"] } else { &["ann"] };
            let records = approvers.iter().map(|approver| {
                world.answer(&waits, approver, |it| {
                    it.expires_at = far;
                    if !approved {
                        (it.resolution, it.outcome) = (OverrideResolution::Reject, None);
                    }
                })
            });
            let records = records.collect();
            world.resolve(&waits, records, |it| {
                it.resolution = status;
                it.resolved_at = limit.checked_add_ms(seconds * 1_000).unwrap();
                it.final_outcome = if approved { "approve" } else { "refer" }.to_owned();
            });
            if fails { assert_fails(&world, &[CheckId::OverrideExpiry]) } else { assert_verified(&world) }
        }
    }
}

/// A second answer of a person or a key fails the file, whether or not it is counted, and whatever it says.
#[test]
fn a_person_and_a_key_answer_once() {
    type Edit = fn(&mut Override);
    let other: [Edit; 3] = [
        |_| {},
        |it| it.outcome = Some("deny".to_owned()),
        |it| (it.resolution, it.outcome) = (OverrideResolution::Reject, None),
    ];
    for edit in other {
        for (of, subject, fault) in [("eve", "ann", Fault::ApproverTwice), ("ann", "dora", Fault::KeyTwice)] {
            let (mut world, waits) = waiting();
            let first = world.answer(&waits, "ann", |_| {});
            world.rotate(|keyring| {
                keyring.keys.iter_mut().find(|key| key.subject == of).unwrap().subject = subject.to_owned();
            });
            world.answer(&waits, of, |it| {
                it.approver = subject.to_owned();
                edit(it);
            });
            let second = world.answer(&waits, "bob", |_| {});
            world.resolve(&waits, vec![first, second], |_| {});
            let report = judge(&world.export(), Some(&world.root_pub()), &Ask::default());
            assert_eq!(report.verdict, Verdict::Failed, "{report}");
            let check = report.check(CheckId::OverrideSeparation).unwrap();
            let [place] = check.places.as_slice() else { panic!("{report}") };
            assert_eq!(place.code, Some(fault), "{report}");
        }
    }
}
