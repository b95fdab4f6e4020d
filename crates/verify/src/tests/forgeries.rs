//! The forgeries of `docs/threat-model.md`, one by one: the auditor's column. The server's is in `chancery-runtime`.

use std::collections::HashSet;

use chancery_core::digest::RecordId;
use chancery_core::keyring::{KeyEntry, Revocation};
use chancery_core::statement::{Nonce, Override, ResolutionStatus};

use super::judge;
use super::world::{World, at, claims};
use crate::{Ask, CheckResult, Fault, Report};

/// Forgery, check, code; what has no code of its own has an empty one.
fn rows() -> Vec<(&'static str, &'static str, &'static str)> {
    let page = include_str!("../../../../docs/threat-model.md");
    let section = page.split("## Forged overrides").nth(1).unwrap().split("\n## ").next().unwrap();
    let row = |line: &'static str| {
        let (forgery, rest) = line.strip_prefix("| ")?.split_once(" | ")?;
        let fails = rest.strip_suffix(" |")?.rsplit(" | ").next()?;
        let mut names = fails.split('`').skip(1).step_by(2);
        Some((forgery, names.next()?, names.next().unwrap_or_default()))
    };
    section.lines().filter_map(row).collect()
}

/// A world with a case that waits and a decision that does not.
fn waiting() -> (World, RecordId, RecordId) {
    let mut world = World::new(claims());
    let done = world.decide("claim-0", "{\"amount\":500}");
    let waits = world.decide("claim-1", "{\"amount\":5000}");
    (world, waits, done)
}

fn forged(approver: &str, edit: impl FnOnce(&mut Override)) -> World {
    let (mut world, waits, _) = waiting();
    world.answer(&waits, approver, edit);
    world
}

/// An override by a key that a keyring version has changed before.
fn rotated(edit: impl FnOnce(&mut KeyEntry)) -> World {
    let (mut world, waits, _) = waiting();
    world.rotate(|keyring| edit(keyring.keys.iter_mut().find(|key| key.subject == "ann").unwrap()));
    world.answer(&waits, "ann", |_| {});
    world
}

/// A case that is approved by `ann`, and by a key of `of` that belongs to `subject` by then.
fn approved_with_another_key(of: &str, subject: &str) -> World {
    let (mut world, waits, _) = waiting();
    let first = world.answer(&waits, "ann", |_| {});
    world.rotate(|keyring| {
        keyring.keys.iter_mut().find(|key| key.subject == of).unwrap().subject = subject.to_owned();
    });
    let second = world.answer(&waits, of, |it| it.approver = subject.to_owned());
    world.resolve(&waits, vec![first, second], |_| {});
    world
}

fn forge(forgery: &str) -> World {
    match forgery {
        "it was signed for another execution" => {
            forged("ann", |it| it.execution_id = "claim-9".parse().unwrap())
        }
        "it was signed for another tenant" => forged("ann", |it| it.tenant = "other".parse().unwrap()),
        "it was signed for another decision with the same id" => {
            let (mut world, waits, _) = waiting();
            world.answer_about(&RecordId::from_bytes([7; 32]), &waits, "ann", |_| {});
            world
        }
        "it is by the submitter" => {
            let (mut world, waits, _) = waiting();
            // The keyring gives somebody the submitter's name.
            world.rotate(|keyring| {
                keyring.keys.iter_mut().find(|key| key.subject == "ann").unwrap().subject = "core".to_owned();
            });
            world.answer(&waits, "ann", |it| it.approver = "core".to_owned());
            world
        }
        "it is by a key without the role" => forged("clerk", |_| {}),
        "it is by a revoked key" => rotated(|key| {
            key.revoked = Some(Revocation { at: at(0), from_index: 5, reason: "lost".to_owned() });
        }),
        "it is by an expired key" => rotated(|key| key.valid_until = at(20)),
        "it is by a key that nobody enrolled" => forged("stranger", |_| {}),
        "it names somebody else as the approver" => forged("ann", |it| it.approver = "bob".to_owned()),
        "its role is none that the rule counts" => forged("clerk", |it| it.role = "clerk".to_owned()),
        "its outcome is none that the bundle allows" => {
            forged("ann", |it| it.outcome = Some("refer".to_owned()))
        }
        "its nonce was used before" => {
            let (mut world, waits, _) = waiting();
            let nonce = Nonce::from_bytes([5; 16]);
            world.answer(&waits, "ann", |it| it.nonce = nonce);
            world.answer(&waits, "bob", |it| it.nonce = nonce);
            world
        }
        "its reason was edited" => {
            let mut world = forged("ann", |_| {});
            world.edit_last("Looked at by hand.", "Looked at by some.");
            world
        }
        "it was issued before the decision" => forged("ann", |it| it.issued_at = at(0)),
        "it comes after the case has expired" => {
            let (mut world, waits, _) = waiting();
            world.now += 3600;
            world.answer(&waits, "ann", |_| {});
            world
        }
        "it has itself expired" => {
            let (mut world, waits, _) = waiting();
            let soon = at(world.now + 15);
            let first = world.answer(&waits, "ann", |it| it.expires_at = soon);
            let second = world.answer(&waits, "bob", |_| {});
            world.resolve(&waits, vec![first, second], |_| {});
            world
        }
        "it comes after the case has ended" => {
            let (mut world, waits, _) = waiting();
            let answers = vec![world.answer(&waits, "ann", |_| {}), world.answer(&waits, "bob", |_| {})];
            world.resolve(&waits, answers, |_| {});
            world.answer(&waits, "eve", |_| {});
            world
        }
        "it answers a decision that waits for nobody" => {
            let (mut world, _, done) = waiting();
            world.answer(&done, "ann", |_| {});
            world
        }
        "the same approver answers twice, with two keys" => approved_with_another_key("eve", "ann"),
        "two approvers share a key" => approved_with_another_key("ann", "dora"),
        "it is a resolution" => {
            let (mut world, waits, _) = waiting();
            let answers = vec![world.answer(&waits, "ann", |_| {}), world.answer(&waits, "bob", |_| {})];
            world.resolve_as("ann", &waits, answers, |_| {});
            world
        }
        "a case is approved or rejected after its time" => {
            let (mut world, waits, _) = waiting();
            let far = |it: &mut Override| it.expires_at = at(1_000_000);
            let answers = vec![world.answer(&waits, "ann", far), world.answer(&waits, "bob", far)];
            world.now += 3_600;
            world.resolve(&waits, answers, |_| {});
            world
        }
        "a case ends otherwise than approvers ended it" => {
            let (mut world, waits, _) = waiting();
            let limit = world.decided_at(&waits).checked_add_ms(3_600_000).unwrap();
            for approver in ["ann", "bob"] {
                world.answer(&waits, approver, |it| it.expires_at = limit);
            }
            world.now += 3_600;
            world.resolve(&waits, Vec::new(), |it| {
                it.resolution = ResolutionStatus::Expired;
                it.final_outcome = "refer".to_owned();
            });
            world
        }
        "a case that approvers ended has no resolution" => {
            let (mut world, waits, _) = waiting();
            let limit = world.decided_at(&waits).checked_add_ms(3_600_000).unwrap();
            for approver in ["ann", "bob"] {
                world.answer(&waits, approver, |it| it.expires_at = limit);
            }
            world
        }
        "a resolution has no quorum" => {
            let (mut world, waits, _) = waiting();
            let only = world.answer(&waits, "ann", |_| {});
            world.resolve(&waits, vec![only], |_| {});
            world
        }
        "a resolution is dated before its overrides" => {
            let (mut world, waits, _) = waiting();
            let answers = vec![world.answer(&waits, "ann", |_| {}), world.answer(&waits, "bob", |_| {})];
            let before = at(world.now - 11);
            world.resolve(&waits, answers, |it| it.resolved_at = before);
            world
        }
        "a resolution counts an override of another case" => {
            let (mut world, waits, _) = waiting();
            let other = world.decide("claim-2", "{\"amount\":6000}");
            let answers = vec![world.answer(&waits, "ann", |_| {}), world.answer(&other, "bob", |_| {})];
            world.resolve(&waits, answers, |_| {});
            world
        }
        other => panic!("nobody tries that here: {other}"),
    }
}

/// Check and code of every place that fails.
fn failures(report: &Report) -> Vec<(&'static str, &'static str)> {
    let failed = |check: &&crate::Check| check.result == CheckResult::Fail;
    let places = report.checks.iter().filter(failed).flat_map(|check| {
        check.places.iter().map(|place| (check.id.as_str(), place.code.map_or("", Fault::as_str)))
    });
    places.collect()
}

#[test]
fn every_forgery_of_the_threat_model_fails_its_check_with_its_code() {
    let rows = rows();
    assert!(rows.len() > 20, "{rows:?}");
    for (forgery, check, code) in &rows {
        let world = forge(forgery);
        let report = judge(&world.export(), Some(&world.root_pub()), &Ask::default());
        assert_eq!(report.exit_code(), 5, "{forgery}: {report}");
        let failures = failures(&report);
        assert!(failures.contains(&(*check, *code)), "{forgery}: {check} {code}: {report}");
        // What else fails follows from it: the key does not count, and then the quorum may be missing.
        let follows = [("override.signature", ""), ("override.quorum", "resolution.quorum")];
        let others = failures.iter().filter(|other| **other != (*check, *code));
        let others: Vec<_> = others.filter(|other| !follows.contains(other)).collect();
        assert!(others.is_empty(), "{forgery}: {others:?}: {report}");
        let shown = if code.is_empty() { check.to_string() } else { format!(", {code}: ") };
        assert!(report.to_string().contains(&shown), "{report}");
    }
    let distinct: HashSet<_> = rows.iter().map(|(_, check, code)| (check, code)).collect();
    assert_eq!(distinct.len(), rows.len(), "two forgeries look the same to an auditor");
}

#[test]
fn every_code_is_in_the_pages_about_formats_and_threats() {
    let formats = include_str!("../../../../docs/spec/formats.md");
    let threats = include_str!("../../../../docs/threat-model.md");
    for fault in Fault::ALL {
        let code = format!("`{}`", fault.as_str());
        assert!(formats.contains(&code) && threats.contains(&code), "{code}");
    }
}
