//! Builds that must not have decided: another program, another bill of materials, keys that may not, no log entry.

use chancery_core::digest::{Digest, sha256};
use chancery_core::key::Signer as _;
use chancery_core::keyring::{KeyEntry, Revocation, Role};
use chancery_core::statement::BuildIdentity;

use super::judge;
use super::world::{Plan, World, at, claims, key};
use crate::{Ask, CheckId, CheckResult, Report, RevokedBuilds, Verdict};

const SMALL: &str = "{\"amount\":500}";

fn report(world: &World, plan: &Plan, ask: &Ask) -> Report {
    judge(&world.export_as(plan), Some(&world.root_pub()), ask)
}

/// The checks that fail.
fn failed(report: &Report) -> Vec<CheckId> {
    let failed = report.checks.iter().filter(|check| check.result == CheckResult::Fail);
    failed.map(|check| check.id).collect()
}

#[track_caller]
fn assert_fails(world: &World, checks: &[CheckId]) {
    let report = report(world, &Plan::default(), &Ask::default());
    assert_eq!(failed(&report), checks, "{report}");
    assert_eq!(report.exit_code(), 5);
}

/// Another build, logged before a decision that names it.
fn built(builder: &'static str, edit: impl FnOnce(&mut BuildIdentity)) -> World {
    let mut world = World::new(claims());
    let build = world.build(builder, edit);
    world.log_build(&build);
    world.decide("claim-1", SMALL);
    world
}

fn enrol(world: &mut World, name: &str, role: Role) {
    world.rotate(|keyring| {
        keyring.keys.push(KeyEntry {
            key: key(name).public_key().clone(),
            revoked: None,
            roles: vec![role],
            subject: name.to_owned(),
            valid_from: at(-1_000),
            valid_until: at(100_000_000),
        });
    });
}

#[test]
fn a_build_that_holds_is_verified() {
    let world = built("build", |build| build.git.dirty = true);
    let report = report(&world, &Plan::default(), &Ask::default());
    assert_eq!(report.verdict, Verdict::Verified, "{report}");
}

#[test]
fn a_report_says_what_each_build_was_made_of() {
    let commit = "ab".repeat(20);
    let mut world = built("build", |build| {
        build.git.commit = "ab".repeat(20);
        build.git.dirty = true;
        build.git.repository = "https://git.example/x\nbuild  forged".to_owned();
        build.git.tag = Some("v9".to_owned());
    });
    world.decide("claim-2", SMALL);
    let report = report(&world, &Plan::default(), &Ask::default());
    let [build] = report.builds.as_slice() else { panic!("{report}") };
    let source = build.source.as_ref().unwrap();
    assert_eq!((build.decisions, source.commit.as_str(), source.dirty), (2, commit.as_str(), true));
    assert_eq!(source.program, Some(Digest::from_bytes(sha256(b"program"))));
    let text = report.to_string();
    let line = format!(
        "\nbuild     {}  commit {commit}, with changes that are in no commit  program {}  repository https://git.example/x\\u{{a}}",
        build.hash,
        source.program.unwrap(),
    );
    assert!(text.contains(&line) && text.contains("2 decisions, tag v9, SBOM "), "{text}");
    assert!(report.limits.iter().any(|limit| limit.contains("in no commit")), "{:?}", report.limits);
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    let told = &json["builds"][0];
    assert_eq!((&told["commit"], &told["dirty"]), (&commit.into(), &true.into()), "{told}");
    assert_eq!(told["hash"], build.hash.to_string());
}

#[test]
fn what_no_build_key_signed_is_not_told_of_a_build() {
    let report = report(&built("build-stranger", |_| {}), &Plan::default(), &Ask::default());
    assert!(report.builds.iter().all(|build| build.source.is_none()), "{report}");
    assert!(report.to_string().contains("says nothing that a build key signed"), "{report}");
    assert!(!report.to_json().contains("\"commit\""), "{}", report.to_json());
}

#[test]
fn a_list_that_cannot_be_applied_is_required_though_builds_are_left_out() {
    let world = built("build", |build| build.git.dirty = true);
    let plan = Plan { build: false, ..Plan::default() };
    let mut ask = Ask { without: "build".parse().unwrap(), ..Ask::default() };
    let without_list = report(&world, &plan, &ask);
    assert_eq!(without_list.verdict, Verdict::Verified, "{without_list}");
    ask.revoked_builds = Some("d1".repeat(20).parse().unwrap());
    let with_list = report(&world, &plan, &ask);
    let check = with_list.check(CheckId::BuildBinding).unwrap();
    assert_eq!((with_list.exit_code(), check.result, check.required), (6, CheckResult::Unknown, true));
    assert!(check.reason.as_ref().unwrap().contains("commits of the list"), "{check:?}");
}

#[test]
fn another_program_or_bill_of_materials_fails() {
    let mut world = World::new(claims());
    world.decide_as("claim-1", SMALL, |decision| {
        decision.runtime.binary = Digest::from_bytes(sha256(b"another program"));
    });
    assert_fails(&world, &[CheckId::BuildBinding]);
    let other = |build: &mut BuildIdentity| build.sbom.sha256 = Digest::from_bytes(sha256(b"another"));
    assert_fails(&built("build", other), &[CheckId::BuildSbom]);
}

#[test]
fn a_build_is_logged_before_its_decisions() {
    let mut world = World::new(claims());
    let build = world.build("build", |build| build.git.dirty = true);
    world.decide("claim-1", SMALL);
    assert_fails(&world, &[CheckId::BuildBinding]);
    world.log_build(&build);
    assert_fails(&world, &[CheckId::BuildBinding]);
}

#[test]
fn only_a_key_for_builds_signs_them() {
    // Nobody enrolled it.
    let world = built("build-stranger", |_| {});
    let found = failed(&report(&world, &Plan::default(), &Ask::default()));
    assert!(found.contains(&CheckId::BuildSignature) && found.contains(&CheckId::KeyRole), "{found:?}");

    let mut world = World::new(claims());
    enrol(&mut world, "build-eraser", Role::Erasure);
    let build = world.build("build-eraser", |_| {});
    world.log_build(&build);
    world.decide("claim-1", SMALL);
    assert_fails(&world, &[CheckId::KeyRole, CheckId::BuildSignature, CheckId::BuildBinding]);

    // An Ed25519 key, whatever its role.
    let mut world = World::new(claims());
    enrol(&mut world, "ed25519", Role::Build);
    let build = world.build("ed25519", |_| {});
    world.log_build(&build);
    world.decide("claim-1", SMALL);
    assert_fails(&world, &[CheckId::BuildSignature]);

    // The blob is another key's than the one that the identity names.
    let mut world = World::new(claims());
    enrol(&mut world, "build-second", Role::Build);
    let second = key("build-second").public_key().key_id().clone();
    world.build("build", |build| build.signer = second);
    world.decide("claim-1", SMALL);
    assert_fails(&world, &[CheckId::BuildSignature, CheckId::BuildBinding]);
}

#[test]
fn a_revoked_builder_fails_from_its_index_on() {
    // The build is entry 1, a decision entry 3, the version that revokes the key entry 4.
    for (from_index, fails) in
        [(4, [].as_slice()), (1, &[CheckId::KeyRevoked, CheckId::BuildSignature, CheckId::BuildBinding])]
    {
        let mut world = World::new(claims());
        world.decide("claim-1", SMALL);
        world.rotate(|keyring| {
            let builder = keyring.keys.iter_mut().find(|entry| entry.subject == "ci").unwrap();
            builder.revoked = Some(Revocation { at: at(30), from_index, reason: "stolen".to_owned() });
        });
        world.decide("claim-2", SMALL);
        assert_eq!(failed(&report(&world, &Plan::default(), &Ask::default())), fails, "{from_index}");
    }
}

#[test]
fn a_listed_build_fails_with_or_without_its_line() {
    let world = built("build", |build| build.git.commit = "c0".repeat(20));
    let ask =
        |text: String| Ask { revoked_builds: Some(text.parse::<RevokedBuilds>().unwrap()), ..Ask::default() };
    let program = Digest::from_bytes(sha256(b"program")).to_string();
    for entry in ["c0".repeat(20), program.clone()] {
        let report = report(&world, &Plan::default(), &ask(format!("{entry}\n")));
        assert_eq!(failed(&report), [CheckId::BuildBinding], "{report}");
        assert!(report.to_string().contains("refusing 1 listed build,"), "{report}");
    }
    // Taken out of what is asked, it is still found; and the program needs no line of the build.
    let mut without = ask(program);
    without.without = "build".parse().unwrap();
    let report_without = report(&world, &Plan { build: false, ..Plan::default() }, &without);
    assert_eq!(failed(&report_without), [CheckId::BuildBinding], "{report_without}");
    let other = report(&world, &Plan::default(), &ask("d1".repeat(20)));
    assert_eq!(other.verdict, Verdict::Verified, "{other}");
}
