//! Tools that only check: npm's `@sigstore/verify`, `ssh-keygen`, `sha256sum`.

use std::fs;

use chancery_core::b64;
use chancery_core::key::Algorithm;
use chancery_tests::home::Home;
use chancery_tests::program::{chancery, run};
use chancery_tests::tools;

use super::files::{Folder, algorithm, attest_decision};
use super::table::{Direction, Rows};

#[test]
fn sigstore_for_javascript_checks_what_chancery_signed() {
    let Some(npm) = tools::sigstore_verify() else { return };
    let folder = Folder::new();
    let mut rows = Rows::of(&npm, Direction::Ours);
    let verify = |arguments: &[&str]| npm.run(folder.path(), arguments);
    let fails = "signature verification failed";
    folder.sign_file("p256");
    folder.sign_file("ed25519");
    rows.accepted("blob, sigstore bundle, P-256", &verify(&["p256.pub", "file.p256.json", "file"]));
    let another_key = verify(&["p256-other.pub", "file.p256.json", "file"]);
    rows.refused("blob, sigstore bundle, P-256, another key", &another_key, fails);
    let another_blob = verify(&["p256.pub", "file.p256.json", "other"]);
    rows.refused("blob, sigstore bundle, P-256, another blob", &another_blob, fails);
    // It tells Node.js a hash for every blob, and there is none for Ed25519. No attestation is concerned.
    let ed25519 = verify(&["ed25519.pub", "file.ed25519.json", "file"]);
    rows.refused("blob, sigstore bundle, Ed25519 (the package knows no such blobs)", &ed25519, fails);

    attest_decision(&folder);
    rows.accepted("decision attestation", &verify(&["runtime.pub", "attestation.json"]));
    let another_key = verify(&["ed25519.pub", "attestation.json"]);
    rows.refused("decision attestation, another key", &another_key, fails);
    rows.finish();
}

#[test]
fn ssh_keygen_agrees_on_key_ids() {
    let Some(ssh_keygen) = tools::ssh_keygen() else { return };
    let folder = Folder::new();
    let mut rows = Rows::of(&ssh_keygen, Direction::Ours);
    for (name, kind) in [("p256", Algorithm::EcdsaP256), ("ed25519", Algorithm::Ed25519)] {
        let key = folder.public_key(name);
        assert_eq!(key.algorithm(), kind);
        let ssh = if kind == Algorithm::Ed25519 { "ssh-ed25519" } else { "ecdsa-sha2-nistp256" };
        folder.write("ssh.pub", format!("{ssh} {}\n", b64::encode(&key.ssh_wire())));
        let said = ssh_keygen.run(folder.path(), &["-l", "-f", "ssh.pub"]);
        let shown = run(&mut chancery(folder.path()), ["key", "show", &format!("{name}.pub"), "-o", "json"]);
        let id = shown.expect(0).json()["keyId"].as_str().unwrap().to_owned();
        assert_eq!(said.out.split(' ').nth(1), Some(id.as_str()));
        rows.accepted(&format!("key id, {}", algorithm(name)), &said);
    }
    // Older versions do not read Ed25519 in this form.
    let converted = ssh_keygen.run(folder.path(), &["-i", "-m", "PKCS8", "-f", "p256.pub"]);
    let wire = b64::encode(&folder.public_key("p256").ssh_wire());
    assert_eq!(converted.out.trim_end(), format!("ecdsa-sha2-nistp256 {wire}"));
    rows.accepted("public key, P-256", &converted);
    rows.finish();
}

#[test]
fn sha256sum_checks_bundle_sums() {
    let Some(sha256sum) = tools::sha256sum() else { return };
    let mut rows = Rows::of(&sha256sum, Direction::Ours);
    let home = Home::new();
    let policy = home.file("policies/claim-approval/1.0.0");
    run(chancery(home.path()).args(["bundle", "sign"]), [&policy]).expect(0);
    let check = || sha256sum.run(&policy, &["--check", "--strict", "bundle.sum"]);
    let good = check();
    let files = fs::read_to_string(policy.join("bundle.sum")).unwrap();
    assert_eq!(good.out.lines().count(), files.lines().count());
    rows.accepted("policy bundle, `bundle.sum`", &good);
    let cedar = policy.join("review.cedar");
    let text = fs::read_to_string(&cedar).unwrap();
    fs::write(&cedar, format!("{text} ")).unwrap();
    rows.refused("policy bundle, a changed policy", &check(), "review.cedar: FAILED");
    fs::remove_file(&cedar).unwrap();
    rows.refused("policy bundle, a missing policy", &check(), "No such file or directory");
    rows.finish();
}
