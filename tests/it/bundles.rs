//! The life of a bundle from the command line: sign, check by hand, publish, activate, and what is refused.

use std::process::Command;

use chancery_tests::home::Home;
use chancery_tests::program::{chancery, repository, run};

/// A copy of claim-approval as another version.
pub(crate) fn next_version(home: &Home, version: &str) -> std::path::PathBuf {
    let folder = home.file(&format!("policies/claim-approval/{version}"));
    let from = repository().join("policies/claim-approval/1.0.0");
    assert!(Command::new("cp").arg("-r").arg(from).arg(&folder).status().unwrap().success());
    let manifest = folder.join("bundle.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("version = \"1.0.0\"", &format!("version = \"{version}\"")))
        .unwrap();
    folder
}

#[test]
fn every_sample_bundle_passes_its_own_cases() {
    for policy in ["claim-approval", "loan-approval", "payment-release"] {
        let folder = repository().join("policies").join(policy).join("1.0.0");
        let home = tempfile::tempdir().unwrap();
        run(chancery(home.path()).args(["bundle", "check"]), [&folder]).expect(0);
        run(chancery(home.path()).args(["bundle", "test"]), [&folder]).expect(0);
    }
}

#[test]
fn policies_that_no_case_covers_fail_the_test_unless_that_is_said() {
    let home = Home::new();
    let folder = next_version(&home, "1.1.0");
    let policy = folder.join("cover.cedar");
    let text = std::fs::read_to_string(&policy).unwrap();
    let more = "@id(\"never\")\npermit (principal, action == Action::\"deny\", resource) when { false };\n";
    std::fs::write(&policy, format!("{text}\n{more}")).unwrap();
    let said = run(chancery(home.path()).args(["bundle", "test"]), [&folder]).expect(4);
    assert!(said.out.contains("not covered") && said.out.contains("`never`"), "{}", said.out);
    run(chancery(home.path()).args(["bundle", "test", "--allow-uncovered"]), [&folder]).expect(0);
    std::fs::write(&policy, text).unwrap();
    std::fs::remove_dir_all(folder.join("cases")).unwrap();
    let said = run(chancery(home.path()).args(["bundle", "test"]), [&folder]).expect(4);
    assert!(said.out.contains("0 of 0 cases") && said.err.contains("--allow-uncovered"), "{said:?}");
}

#[test]
fn a_new_version_is_signed_published_and_decides() {
    let home = Home::new();
    let folder = next_version(&home, "1.1.0");
    let publish = run(chancery(home.path()).args(["bundle", "publish"]), [&folder]);
    assert!(
        publish.code != 0 && publish.err.contains("sign"),
        "an unsigned bundle was published: {publish:?}"
    );
    run(chancery(home.path()).args(["bundle", "sign"]), [&folder]).expect(0);
    let sums =
        Command::new("sha256sum").args(["--check", "--quiet", "bundle.sum"]).current_dir(&folder).status();
    assert!(sums.unwrap().success(), "sha256sum does not agree with bundle.sum");
    run(chancery(home.path()).args(["bundle", "publish"]), [&folder]).expect(0);
    let activate = ["bundle", "activate", "claim-approval@1.1.0", "--reason", "a new version"];
    run(&mut chancery(home.path()), activate).expect(0);
    let again = run(&mut chancery(home.path()), activate).expect(11);
    assert!(again.err.contains("in force since log index"), "{}", again.err);
    let history = run(&mut chancery(home.path()), ["bundle", "history", "claim-approval", "-o", "json"])
        .expect(0)
        .json();
    assert_eq!(history.as_array().unwrap().len(), 2);
    let signals = home.file("signals.json");
    std::fs::write(&signals, crate::http::claim_signals().to_string()).unwrap();
    let old = run(chancery(home.path()).args(["decide", "claim-approval@1.0.0", "--signals"]), [&signals])
        .expect(11);
    assert!(old.err.contains("1.1.0"), "{}", old.err);
    let new = ["decide", "claim-approval", "-o", "json", "--signals"];
    assert_eq!(
        run(chancery(home.path()).args(new), [&signals]).expect(0).json()["policy"]["version"],
        "1.1.0"
    );
}

#[test]
fn a_changed_bundle_is_refused_wherever_it_turns_up() {
    let home = Home::new();
    let folder = next_version(&home, "1.1.0");
    run(chancery(home.path()).args(["bundle", "sign"]), [&folder]).expect(0);
    let policy = folder.join("cover.cedar");
    let text = std::fs::read_to_string(&policy).unwrap();
    std::fs::write(&policy, text.replace("365d", "9999d")).unwrap();
    let publish = run(chancery(home.path()).args(["bundle", "publish"]), [&folder]);
    assert_ne!(publish.code, 0, "a tampered bundle was published");
    std::fs::write(&policy, text.replace("when {", "when { (")).unwrap();
    let check = run(chancery(home.path()).args(["bundle", "check"]), [&folder]).expect(3);
    assert!(check.err.contains("cover.cedar:"), "{}", check.err);
}
