//! What the vectors do not have: files of a small runtime that does something wrong, or leaves something out.

use chancery_core::digest::BundleHash;
use chancery_core::evidence::Disclosure;
use chancery_core::keyring::{KeyEntry, Revocation, Role};
use chancery_core::statement::{
    Environment, ErasedFields, ExecutionState, OverrideResolution, ResolutionStatus,
};

use super::judge;
use super::world::{Plan, World, at, claims};
use crate::{Ask, CheckId, CheckResult, Report, Verdict};

const SMALL: &str = "{\"amount\":500}";
const LARGE: &str = "{\"amount\":5000}";

fn report(world: &World, plan: &Plan, ask: &Ask) -> Report {
    judge(&world.export_as(plan), Some(&world.root_pub()), ask)
}

#[track_caller]
pub(super) fn assert_verified(world: &World) {
    let report = report(world, &Plan::default(), &Ask::default());
    assert_eq!(report.verdict, Verdict::Verified, "{report}");
}

/// Exactly these checks fail.
#[track_caller]
pub(super) fn assert_fails(world: &World, checks: &[CheckId]) {
    let report = report(world, &Plan::default(), &Ask::default());
    let failed: Vec<CheckId> = report
        .checks
        .iter()
        .filter(|check| check.result == CheckResult::Fail)
        .map(|check| check.id)
        .collect();
    assert_eq!(failed, checks, "{report}");
    assert_eq!(report.exit_code(), 5);
}

/// Nothing fails, and exactly these checks are required and unknown.
#[track_caller]
fn assert_incomplete(report: &Report, checks: &[CheckId]) {
    let open = |check: &&crate::Check| check.result == CheckResult::Unknown && check.required;
    let unknown: Vec<CheckId> = report.checks.iter().filter(open).map(|check| check.id).collect();
    assert_eq!(unknown, checks, "{report}");
    assert_eq!((report.verdict, report.exit_code()), (Verdict::Incomplete, 6), "{report}");
}

/// A world with one decision that waits, and its record.
pub(super) fn waiting() -> (World, chancery_core::digest::RecordId) {
    let mut world = World::new(claims());
    world.decide("claim-0", SMALL);
    let waits = world.decide("claim-1", LARGE);
    (world, waits)
}

#[test]
fn an_approved_case_is_verified_and_confirmed() {
    let (mut world, waits) = waiting();
    let answers = vec![world.answer(&waits, "ann", |_| {}), world.answer(&waits, "bob", |_| {})];
    world.resolve(&waits, answers, |_| {});
    world.confirm(&waits, "approve");
    assert_verified(&world);
    // A second act upon the same decision, though it is the right one.
    world.confirm(&waits, "approve");
    assert_fails(&world, &[CheckId::Resolution]);
}

#[test]
fn nothing_is_done_before_it_was_decided() {
    // The end of a case may be dated ten seconds ahead of the clock by which it is acted upon.
    for (early, ahead, fails) in [(0, 10_000, false), (1, 10_001, true)] {
        let judged = |world: &World| {
            if fails { assert_fails(world, &[CheckId::Resolution]) } else { assert_verified(world) }
        };
        let mut world = World::new(claims());
        let decided = world.decide("claim-0", SMALL);
        let decided_at = world.decided_at(&decided);
        world.now += 60;
        world.confirm_at(&decided, "approve", decided_at.checked_add_ms(-early).unwrap());
        judged(&world);
        // A minute after the decision: it was not allowed before that.
        let (mut world, waits) = waiting();
        world.now += 60;
        let answers = vec![world.answer(&waits, "ann", |_| {}), world.answer(&waits, "bob", |_| {})];
        let mut resolved_at = None;
        world.resolve(&waits, answers, |resolution| resolved_at = Some(resolution.resolved_at));
        world.now += 60;
        world.confirm_at(&waits, "approve", resolved_at.unwrap().checked_add_ms(-ahead).unwrap());
        judged(&world);
        // However soon the case was ended, nothing was done before the decision.
        let (mut world, waits) = waiting();
        let decided_at = world.decided_at(&waits);
        let at_once = |it: &mut chancery_core::statement::Override| it.issued_at = decided_at;
        let answers = vec![world.answer(&waits, "ann", at_once), world.answer(&waits, "bob", at_once)];
        let soon = decided_at.checked_add_ms(5_000).unwrap();
        world.resolve(&waits, answers, |resolution| resolution.resolved_at = soon);
        world.confirm_at(&waits, "approve", decided_at.checked_add_ms(-early).unwrap());
        judged(&world);
    }
}

#[test]
fn a_rejected_case_keeps_the_decisions_own_outcome() {
    for (outcome, fails) in [("refer", None), ("approve", Some(CheckId::Resolution))] {
        let (mut world, waits) = waiting();
        let reject = |answer: &mut chancery_core::statement::Override| {
            answer.resolution = OverrideResolution::Reject;
            answer.outcome = None;
        };
        world.answer(&waits, "ann", |_| {});
        let rejection = world.answer(&waits, "bob", reject);
        world.resolve(&waits, vec![rejection], |resolution| {
            resolution.resolution = ResolutionStatus::Rejected;
            resolution.final_outcome = outcome.to_owned();
        });
        match fails {
            None => assert_verified(&world),
            Some(check) => assert_fails(&world, &[check]),
        }
    }
}

#[test]
fn a_case_expires_when_its_time_is_over_and_nobody_ended_it() {
    let expire = |world: &mut World, waits, approvers: &[&str], seconds: i64| {
        for approver in approvers {
            let limit = world.decided_at(&waits).checked_add_ms(3_600_000).unwrap();
            world.answer(&waits, approver, |answer| answer.expires_at = limit);
        }
        world.now += seconds;
        world.resolve(&waits, Vec::new(), |resolution| {
            resolution.resolution = ResolutionStatus::Expired;
            resolution.final_outcome = "refer".to_owned();
        });
    };
    let (mut world, waits) = waiting();
    expire(&mut world, waits, &["ann"], 3600);
    assert_verified(&world);
    let (mut world, waits) = waiting();
    expire(&mut world, waits, &[], 3000);
    assert_fails(&world, &[CheckId::OverrideExpiry]);
    let (mut world, waits) = waiting();
    expire(&mut world, waits, &["ann", "bob"], 3600);
    assert_fails(&world, &[CheckId::Resolution]);
}

#[test]
fn an_override_that_cannot_count_fails_the_file() {
    type Edit = fn(&mut chancery_core::statement::Override);
    let cases: [(&str, Edit, &[CheckId]); 5] = [
        ("clerk", |it| it.role = "clerk".to_owned(), &[CheckId::OverrideQuorum]),
        ("clerk", |_| {}, &[CheckId::KeyRole, CheckId::OverrideSignature]),
        ("ann", |it| it.outcome = Some("refer".to_owned()), &[CheckId::OverrideQuorum]),
        ("ann", |it| it.issued_at = at(0), &[CheckId::OverrideExpiry]),
        ("ann", |it| it.approver = "bob".to_owned(), &[CheckId::OverrideSignature]),
    ];
    for (approver, edit, checks) in cases {
        let (mut world, waits) = waiting();
        world.answer(&waits, approver, edit);
        assert_fails(&world, checks);
    }
    let (mut world, waits) = waiting();
    world.now += 3600;
    world.answer(&waits, "ann", |_| {});
    assert_fails(&world, &[CheckId::OverrideExpiry]);
}

/// The key is the approver's own and has the role; who they are besides is all that is wrong.
#[test]
fn an_approver_is_neither_the_submitter_nor_a_runtime() {
    type Edit = fn(&mut Vec<KeyEntry>, usize);
    let cases: [(&str, Edit); 4] = [
        ("core", |keys, ann| keys[ann].subject = "core".to_owned()),
        ("System::\"core\"", |keys, ann| keys[ann].subject = "System::\"core\"".to_owned()),
        ("ann", |keys, ann| keys[ann].roles.push(Role::Runtime)),
        ("ann", |keys, _| {
            let clerk = keys.iter_mut().find(|key| key.subject == "clerk").unwrap();
            (clerk.subject, clerk.roles) = ("ann".to_owned(), vec![Role::Runtime]);
        }),
    ];
    for (name, edit) in cases {
        let (mut world, waits) = waiting();
        world.rotate(|keyring| {
            let ann = keyring.keys.iter().position(|key| key.subject == "ann").unwrap();
            edit(&mut keyring.keys, ann);
        });
        world.answer(&waits, "ann", |it| it.approver = name.to_owned());
        assert_fails(&world, &[CheckId::OverrideSeparation]);
    }
}

#[test]
fn an_override_answers_a_decision_that_waits() {
    let (mut world, waits) = waiting();
    let answers = vec![world.answer(&waits, "ann", |_| {}), world.answer(&waits, "bob", |_| {})];
    world.resolve(&waits, answers.clone(), |_| {});
    world.answer(&waits, "eve", |_| {});
    assert_fails(&world, &[CheckId::OverrideBinding]);
    let mut world = World::new(claims());
    let completed = world.decide("claim-1", SMALL);
    world.answer(&completed, "ann", |_| {});
    assert_fails(&world, &[CheckId::OverrideBinding]);
}

#[test]
fn one_nonce_is_one_override() {
    let (mut world, waits) = waiting();
    let nonce = chancery_core::statement::Nonce::from_bytes([5; 16]);
    world.answer(&waits, "ann", |answer| answer.nonce = nonce);
    world.answer(&waits, "bob", |answer| answer.nonce = nonce);
    assert_fails(&world, &[CheckId::StatementSchema]);
}

#[test]
fn a_resolution_applies_the_rule_of_the_bundle_once() {
    let (mut world, waits) = waiting();
    let answer = world.answer(&waits, "ann", |_| {});
    world.resolve(&waits, vec![answer], |resolution| resolution.rule.quorum = 1);
    assert_fails(&world, &[CheckId::Resolution]);
    let (mut world, waits) = waiting();
    let answer = world.answer(&waits, "ann", |_| {});
    world.resolve(&waits, vec![answer], |_| {});
    assert_fails(&world, &[CheckId::OverrideQuorum]);
    let (mut world, waits) = waiting();
    let answers = vec![world.answer(&waits, "ann", |_| {}), world.answer(&waits, "bob", |_| {})];
    world.resolve(&waits, answers.clone(), |_| {});
    world.resolve(&waits, answers, |_| {});
    assert_fails(&world, &[CheckId::Resolution]);
}

#[test]
fn a_resolution_is_not_dated_before_its_overrides() {
    for (seconds, fails) in [(0, None), (-1, Some(CheckId::Resolution))] {
        let (mut world, waits) = waiting();
        let answers = vec![world.answer(&waits, "ann", |_| {}), world.answer(&waits, "bob", |_| {})];
        let last = world.now - 10;
        world.resolve(&waits, answers, |resolution| resolution.resolved_at = at(last + seconds));
        match fails {
            None => assert_verified(&world),
            Some(check) => assert_fails(&world, &[check]),
        }
    }
}

#[test]
fn what_is_not_in_the_file_is_never_taken_for_checked() {
    let (mut world, waits) = waiting();
    let answers = vec![world.answer(&waits, "ann", |_| {}), world.answer(&waits, "bob", |_| {})];
    world.resolve(&waits, answers, |_| {});
    let ask = Ask::default();
    let without_bundle = report(&world, &Plan { bundle: false, ..Plan::default() }, &ask);
    assert_incomplete(
        &without_bundle,
        &[
            CheckId::BundleHash,
            CheckId::DecisionReproduced,
            CheckId::OverrideQuorum,
            CheckId::OverrideExpiry,
            CheckId::Resolution,
        ],
    );
    assert_incomplete(
        &report(&world, &Plan { build: false, ..Plan::default() }, &ask),
        &[CheckId::BuildBinding],
    );
    assert_incomplete(&report(&world, &Plan { sbom: false, ..Plan::default() }, &ask), &[CheckId::BuildSbom]);
    let closed = Plan { disclosure: Disclosure::None, ..Plan::default() };
    assert_incomplete(&report(&world, &closed, &ask), &[CheckId::Opening]);
    let lenient = Ask { without: "opening".parse().unwrap(), ..Ask::default() };
    let without = report(&world, &closed, &lenient);
    assert_eq!(without.verdict, Verdict::Verified, "{without}");
    assert!(without.summary.starts_with("verified, without opening: "), "{}", without.summary);
    assert!(without.summary.ends_with("0 reproduced, 2 not opened"), "{}", without.summary);
    let empty = World::new(claims());
    let empty = report(&empty, &Plan { bundle: false, build: false, ..Plan::default() }, &ask);
    assert_incomplete(&empty, &[CheckId::Fingerprint]);
}

#[test]
fn a_decision_without_build_identity_needs_to_be_asked_for() {
    let mut world = World::new(claims());
    world.decide_as("claim-1", SMALL, |decision| decision.runtime.build_identity = None);
    let plan = Plan { build: false, ..Plan::default() };
    let strict = report(&world, &plan, &Ask::default());
    assert_incomplete(&strict, &[CheckId::BuildBinding]);
    assert!(strict.to_string().contains("\nplaces\n"), "{strict}");
    let lenient = Ask { without: "build".parse().unwrap(), ..Ask::default() };
    let lenient = report(&world, &plan, &lenient);
    assert_eq!(lenient.summary, "verified, without build: 1 decision, 1 reproduced");
    assert!(!lenient.to_string().contains("\nplaces\n"), "{lenient}");
}

#[test]
fn a_fail_in_what_was_left_out_is_still_a_fail() {
    let mut world = World::new(claims());
    world.decide_as("claim-1", SMALL, |decision| decision.decision.outcome = "deny".to_owned());
    let lenient = Ask { without: "reproduce".parse().unwrap(), ..Ask::default() };
    let report = report(&world, &Plan::default(), &lenient);
    assert_eq!(report.verdict, Verdict::Failed);
    assert_eq!(report.check(CheckId::DecisionReproduced).unwrap().result, CheckResult::Fail);
}

#[test]
fn a_blocked_decision_is_neither_overridden_nor_acted_upon() {
    // Policy that reads an attribute that an entity does not have, which the schema calls optional no more.
    let mut files = claims();
    let policy = "@id(\"sum\") permit (principal, action == Action::\"approve\", resource) \
        when { context.amount * 2 > 0 };\n";
    files.insert("claims.cedar".to_owned(), policy.as_bytes().to_vec());
    let mut world = World::new(files);
    let overflows = "{\"amount\":9007199254740991}";
    world.decide("claim-1", overflows);
    assert_verified(&world);
    // 2^53 − 1 does not overflow; so the runtime says that it did.
    let blocked = world.decide_as("claim-2", overflows, |decision| {
        use chancery_core::statement::{ErrorCode, EvaluationError};
        decision.decision.errors = vec![EvaluationError::new(ErrorCode::Overflow, "sum")];
        decision.execution_state = ExecutionState::Blocked;
        decision.decision.requires_override = false;
    });
    assert_fails(&world, &[CheckId::DecisionReproduced]);
    world.confirm(&blocked, "approve");
    assert_fails(&world, &[CheckId::DecisionReproduced, CheckId::Resolution]);
}

#[test]
fn only_the_erasure_of_all_explains_a_missing_opening() {
    let mut world = World::new(claims());
    let decision = world.decide("claim-1", SMALL);
    world.decide("claim-2", SMALL);
    world.erase(&decision, ErasedFields::Names(vec!["amount".to_owned()]));
    assert_incomplete(&report(&world, &Plan::default(), &Ask::default()), &[CheckId::Opening]);
    world.erase(&decision, ErasedFields::All);
    let report = report(&world, &Plan::default(), &Ask::default());
    assert_eq!(report.summary, "verified: 2 decisions, 1 reproduced, 1 redacted");
    assert_eq!((report.counts.redacted, report.counts.unopened), (1, 0));
}

#[test]
fn the_header_says_of_the_openings_what_is_so() {
    let mut world = World::new(claims());
    let decision = world.decide("claim-1", SMALL);
    world.decide("claim-2", SMALL);
    let full = Plan { disclosure: Disclosure::Full, ..Plan::default() };
    assert_eq!(report(&world, &full, &Ask::default()).verdict, Verdict::Verified);
    world.erase(&decision, ErasedFields::All);
    let report = report(&world, &full, &Ask::default());
    assert_eq!(report.check(CheckId::EvidenceFormat).unwrap().result, CheckResult::Fail);
}

#[test]
fn activations_name_what_was_in_force_and_bundles_are_judged_where_they_come_into_force() {
    let mut world = World::new(claims());
    world.decide("claim-1", SMALL);
    let own = world.bundle.hash();
    world.activate(|activation| activation.previous = Some(own));
    world.decide("claim-2", SMALL);
    assert_verified(&world);
    world.activate(|activation| activation.previous = Some(BundleHash::from_bytes([1; 32])));
    assert_fails(&world, &[CheckId::PolicyActivated]);
    // The key is revoked from the next entry on, and signs an activation all the same.
    let mut world = World::new(claims());
    world.decide("claim-1", SMALL);
    revoke(&mut world, &Role::Policy, 5);
    assert_verified(&world);
    let own = world.bundle.hash();
    world.activate(|activation| activation.previous = Some(own));
    assert_fails(&world, &[CheckId::KeyRevoked]);
}

#[test]
fn times_may_fall_back_by_a_minute_and_no_more() {
    for (back, verdict) in [(60, Verdict::Verified), (61, Verdict::Failed)] {
        let mut world = World::new(claims());
        world.now = 1_000;
        world.decide("claim-1", SMALL);
        world.decide_as("claim-2", SMALL, |decision| decision.executed_at = at(1_000 - back));
        let report = report(&world, &Plan::default(), &Ask::default());
        assert_eq!(report.verdict, verdict, "{report}");
        let chosen = Plan { chosen: Some(vec![2, 3, 4]), ..Plan::default() };
        let filtered = judge(&world.export_as(&chosen), Some(&world.root_pub()), &Ask::default());
        assert_eq!(filtered.verdict, Verdict::Verified, "{filtered}");
    }
}

#[test]
fn a_range_or_filter_that_leaves_a_case_behind_is_incomplete() {
    let (mut world, waits) = waiting();
    let answers = vec![world.answer(&waits, "ann", |_| {}), world.answer(&waits, "bob", |_| {})];
    world.resolve(&waits, answers, |_| {});
    world.confirm(&waits, "approve");
    world.decide("claim-2", SMALL);
    let size = u64::try_from(world.entries.len()).unwrap();
    let of = |from| report(&world, &Plan { range: Some((from, size)), ..Plan::default() }, &Ask::default());
    let whole = of(3);
    assert_eq!(whole.verdict, Verdict::Verified, "{whole}");
    assert!(whole.summary.ends_with("of a range of the log"), "{}", whole.summary);
    assert!(whole.limits.iter().any(|limit| limit.contains("newer one")), "{whole}");
    assert_incomplete(&of(5), &[CheckId::OverrideBinding, CheckId::Resolution]);
    // A confirmation alone says nothing about the decisions that the file has.
    let after = of(8);
    assert_eq!(after.verdict, Verdict::Verified, "{after}");
    assert!(after.limits.iter().any(|limit| limit.contains("1 confirmation or verification")), "{after}");
    let chosen = Plan { chosen: Some(vec![2, 5, 6, 9]), ..Plan::default() };
    assert_incomplete(&report(&world, &chosen, &Ask::default()), &[CheckId::OverrideBinding]);
}

#[test]
fn the_log_continues_an_older_checkpoint_or_the_file_fails() {
    let mut world = World::new(claims());
    world.decide("claim-1", SMALL);
    let old = world.checkpoint(4);
    world.decide("claim-2", SMALL);
    let new = world.checkpoint(5);
    let since = |text: &str| Ask { since: Some(text.to_owned()), ..Ask::default() };
    for checkpoint in [&old, &new] {
        assert_eq!(report(&world, &Plan::default(), &since(checkpoint)).verdict, Verdict::Verified);
    }
    let range = Plan { range: Some((3, 5)), ..Plan::default() };
    assert_incomplete(&report(&world, &range, &since(&old)), &[CheckId::LogConsistency]);
    assert_eq!(report(&world, &range, &since(&new)).verdict, Verdict::Verified);
    assert_incomplete(&report(&world, &Plan::default(), &since("log\n")), &[CheckId::LogConsistency]);
    // Another history of the same length, and a longer one.
    let mut other = World::new(claims());
    other.decide("claim-3", SMALL);
    for fork in [other.checkpoint(4), {
        other.decide("claim-4", SMALL);
        other.decide("claim-5", SMALL);
        other.checkpoint(6)
    }] {
        let report = report(&world, &Plan::default(), &since(&fork));
        assert_eq!(report.check(CheckId::LogConsistency).unwrap().result, CheckResult::Fail, "{report}");
    }
}

#[test]
fn an_older_keyring_than_asked_for_is_refused() {
    let mut world = World::new(claims());
    world.decide("claim-1", SMALL);
    let ask = |least| Ask { min_keyring: Some(least), ..Ask::default() };
    assert_eq!(report(&world, &Plan::default(), &ask(1)).verdict, Verdict::Verified);
    let refused = report(&world, &Plan::default(), &ask(2));
    assert_eq!(refused.check(CheckId::KeyringChain).unwrap().result, CheckResult::Fail);
    world.rotate(|_| {});
    let report = report(&world, &Plan::default(), &ask(2));
    assert_eq!(report.verdict, Verdict::Verified, "{report}");
    assert_eq!(report.evidence.unwrap().keyring_version, Some(2));
}

/// The keyring's next version revokes the key of `role` from an index on.
fn revoke(world: &mut World, role: &Role, from_index: u64) {
    world.rotate(|keyring| {
        let entry = keyring.keys.iter_mut().find(|entry| entry.roles.contains(role)).unwrap();
        entry.revoked = Some(Revocation { at: at(0), from_index, reason: "left".to_owned() });
    });
}

#[test]
fn a_revoked_key_counts_before_its_index_and_not_from_there_on() {
    for (from_index, revoked) in [(5, false), (4, true)] {
        let mut world = World::new(claims());
        let decision = world.decide("claim-1", SMALL);
        world.erase(&decision, ErasedFields::All);
        revoke(&mut world, &Role::Erasure, from_index);
        if revoked {
            assert_fails(&world, &[CheckId::KeyRevoked]);
        } else {
            assert_verified(&world);
        }
        // A later version that does not say it any more changes nothing.
        world.rotate(|keyring| keyring.keys.iter_mut().for_each(|entry| entry.revoked = None));
        let report = report(&world, &Plan::default(), &Ask::default());
        assert_eq!(report.verdict == Verdict::Failed, revoked, "{report}");
    }
    for (role, check) in [(Role::Log, CheckId::LogCheckpoint), (Role::Runtime, CheckId::EvidenceTrailer)] {
        let mut world = World::new(claims());
        world.decide("claim-1", SMALL);
        revoke(&mut world, &role, 4);
        assert_fails(&world, &[check]);
    }
}

#[test]
fn a_decision_of_a_test_log_does_not_count_for_production() {
    let mut world = World::new(claims());
    world.decide_as("claim-1", SMALL, |decision| decision.environment = Environment::Test);
    assert_incomplete(&report(&world, &Plan::default(), &Ask::default()), &[CheckId::Environment]);
    let ask = Ask { environment: crate::Environment::Test, ..Ask::default() };
    assert_eq!(report(&world, &Plan::default(), &ask).verdict, Verdict::Verified);
}

#[test]
fn an_input_that_breaks_off_is_neither_verified_nor_failed() {
    struct Broken(std::io::Cursor<Vec<u8>>);
    impl std::io::Read for Broken {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(into)? {
                0 => Err(std::io::Error::other("the disk is gone")),
                read => Ok(read),
            }
        }
    }
    let mut world = World::new(claims());
    world.decide("claim-1", SMALL);
    let file = world.export();
    for cut in [0, 10, file.len() / 2, file.len()] {
        let input = std::io::BufReader::new(Broken(std::io::Cursor::new(file[..cut].to_vec())));
        let report = crate::verify(input, Some(&world.root_pub()), &Ask::default());
        assert_eq!(report.exit_code(), 1, "{report}");
        assert_ne!(report.verdict, Verdict::Verified, "{report}");
        assert!(report.input_error.unwrap().contains("the disk is gone"));
    }
}

#[test]
fn a_log_of_many_batches_is_verified_on_any_number_of_threads() {
    let mut world = World::new(claims());
    for number in 0..300 {
        world.decide(&format!("claim-{number}"), if number % 3 == 0 { LARGE } else { SMALL });
    }
    let file = world.export();
    for threads in [1, 2, 5] {
        let ask = Ask { threads: std::num::NonZeroUsize::new(threads), ..Ask::default() };
        let report = judge(&file, Some(&world.root_pub()), &ask);
        assert_eq!(report.summary, "verified: 300 decisions, 300 reproduced");
        assert_eq!(report.counts.cases_open, 100);
    }
}
