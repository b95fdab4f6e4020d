//! cosign: blobs, attestations and key files, both ways.
//!
//! Nothing is sent anywhere: signing works under a configuration that names no service, checking with
//! `--insecure-ignore-tlog`, as trust comes from the key alone, and the way to the internet is a closed port.

use std::fs;

use chancery_core::b64;
use chancery_core::key::pem;
use chancery_tests::home::{Home, PASSWORD};
use chancery_tests::program::{Said, chancery, run};
use chancery_tests::tools::{self, Tool};

use super::files::{Folder, algorithm, attest_decision, provenance, public_half, release};
use super::table::{Direction, Rows};

const DECISION: &str = "https://chancery.dev/decision/v1";
const SIGNATURE_FAILS: &str = "failed to verify signature";

struct Cosign {
    tool: Tool,
    folder: Folder,
}

impl Cosign {
    fn new() -> Option<Self> {
        let cosign = Self { tool: tools::cosign()?, folder: Folder::new() };
        cosign.run(&["signing-config", "create", "--out", "no-services.json"]).expect(0);
        cosign.run(&["trusted-root", "create", "--out", "nobody.json"]).expect(0);
        Some(cosign)
    }

    fn run(&self, arguments: &[&str]) -> Said {
        self.run_as(PASSWORD, arguments)
    }

    fn run_as(&self, password: &str, arguments: &[&str]) -> Said {
        let variables = [("COSIGN_PASSWORD", password), ("HTTPS_PROXY", "http://127.0.0.1:9")];
        self.tool.run_with(self.folder.path(), arguments, &variables)
    }

    fn verify_blob(&self, key: &str, bundle: &str, file: &str) -> Said {
        self.verify_blob_by("--bundle", key, bundle, file)
    }

    fn verify_blob_by(&self, by: &str, key: &str, signature: &str, file: &str) -> Said {
        let key = format!("{key}.pub");
        self.run(&["verify-blob", "--key", &key, by, signature, "--insecure-ignore-tlog", file])
    }

    fn verify_attestation(&self, key: &str, bundle: &str, kind: &str, digest: &str) -> Said {
        let key = format!("{key}.pub");
        self.run(&[
            "verify-blob-attestation",
            "--key",
            &key,
            "--bundle",
            bundle,
            "--insecure-ignore-tlog",
            "--type",
            kind,
            "--digest",
            digest,
            "--digestAlg",
            "sha256",
        ])
    }

    /// Signs `file` and gives the bundle.
    fn sign_blob(&self, key: &str) -> Vec<u8> {
        self.sign(key, &["sign-blob"])
    }

    /// Signs a statement about `file` and gives the bundle.
    fn attest_blob(&self, key: &str) -> Vec<u8> {
        self.folder.write("predicate.json", "{\"a\":1}");
        self.sign(key, &["attest-blob", "--predicate", "predicate.json", "--type", DECISION])
    }

    fn sign(&self, key: &str, what: &[&str]) -> Vec<u8> {
        let how = ["--signing-config", "no-services.json", "--bundle", "signed.json", "--yes", "--key", key];
        // With a trusted root it checks what it has signed, and does not accept its own Ed25519.
        let check: &[&str] = if key == "ed25519" { &[] } else { &["--trusted-root", "nobody.json"] };
        self.run(&[what, &how, check, &["file"]].concat()).expect(0);
        fs::read(self.folder.file("signed.json")).unwrap()
    }

    /// The form of cosign before version 3: no signing configuration, bundles of its own.
    fn sign_blob_the_old_way(&self, key: &str, file: &str) {
        self.run(&[
            "sign-blob",
            "--key",
            key,
            "--use-signing-config=false",
            "--tlog-upload=false",
            "--new-bundle-format=false",
            "--output-signature",
            "old.sig",
            "--bundle",
            "old.json",
            "--yes",
            file,
        ])
        .expect(0);
    }
}

#[test]
fn cosign_checks_what_chancery_signed() {
    let Some(cosign) = Cosign::new() else { return };
    let mut rows = Rows::of(&cosign.tool, Direction::Ours);
    for key in ["p256", "ed25519"] {
        check_blobs(&cosign, key, &mut rows);
    }
    check_build_and_provenance(&cosign, &mut rows);
    check_policy_bundle(&cosign, &mut rows);
    check_attestation(&cosign, &mut rows);
    for key in ["p256", "ed25519"] {
        check_key_file(&cosign, key, &mut rows);
    }
    rows.finish();
}

fn check_blobs(cosign: &Cosign, key: &str, rows: &mut Rows) {
    let (bundle, signature) = (format!("file.{key}.json"), format!("file.{key}.sig"));
    let (kind, other) = (algorithm(key), format!("{key}-other"));
    cosign.folder.sign_file(key);
    rows.accepted(&format!("blob, sigstore bundle, {kind}"), &cosign.verify_blob(key, &bundle, "file"));
    let by_signature = |key: &str, file: &str| cosign.verify_blob_by("--signature", key, &signature, file);
    rows.accepted(&format!("blob, `.sig`, {kind}"), &by_signature(key, "file"));
    let another_key = cosign.verify_blob(&other, &bundle, "file");
    rows.refused(&format!("blob, sigstore bundle, {kind}, another key"), &another_key, SIGNATURE_FAILS);
    let another_file = cosign.verify_blob(key, &bundle, "other");
    rows.refused(&format!("blob, sigstore bundle, {kind}, another blob"), &another_file, SIGNATURE_FAILS);
    let fails = if key == "ed25519" { SIGNATURE_FAILS } else { "invalid signature" };
    rows.refused(&format!("blob, `.sig`, {kind}, another key"), &by_signature(&other, "file"), fails);
    rows.refused(&format!("blob, `.sig`, {kind}, another blob"), &by_signature(key, "other"), fails);
}

fn check_build_and_provenance(cosign: &Cosign, rows: &mut Rows) {
    let release = release(None);
    release.sign("out/build-identity.json", "keys/build.key").expect(0);
    for file in ["build-identity.json", "build-identity.json.sig", "build-identity.sigstore.json"] {
        fs::copy(release.file("out").join(file), cosign.folder.file(file)).unwrap();
    }
    fs::copy(release.file("keys/build.key.pub"), cosign.folder.file("build.pub")).unwrap();
    let check = |key: &str| cosign.verify_blob(key, "build-identity.sigstore.json", "build-identity.json");
    rows.accepted("build identity, `build-identity.sigstore.json`", &check("build"));
    let by_signature =
        cosign.verify_blob_by("--signature", "build", "build-identity.json.sig", "build-identity.json");
    rows.accepted("build identity, `build-identity.json.sig`", &by_signature);
    rows.refused("build identity, another key", &check("p256"), SIGNATURE_FAILS);
    let changed = cosign.folder.read("build-identity.json").replace("\"dirty\":false", "\"dirty\":true");
    cosign.folder.write("build-identity.json", changed);
    rows.refused("build identity, a changed one", &check("build"), SIGNATURE_FAILS);

    provenance(&cosign.folder, &release);
    let check = || cosign.verify_blob_by("--signature", "provenance", "provenance.sig", "provenance.json");
    rows.accepted("provenance document, `X-Provenance-Signature`", &check());
    let changed = cosign.folder.read("provenance.json").replacen("approve", "Approve", 1);
    cosign.folder.write("provenance.json", changed);
    rows.refused("provenance document, a changed one", &check(), SIGNATURE_FAILS);
}

fn check_policy_bundle(cosign: &Cosign, rows: &mut Rows) {
    let home = Home::new();
    let policy = home.file("policies/claim-approval/1.0.0");
    run(chancery(home.path()).args(["bundle", "sign"]), [&policy]).expect(0);
    for file in ["bundle.sum", "bundle.sum.sigstore.json"] {
        fs::copy(policy.join(file), cosign.folder.file(file)).unwrap();
    }
    cosign.folder.write("policy.pub", public_half(home.path(), "keys/policy.key"));
    let check = |key: &str, file: &str| cosign.verify_blob(key, "bundle.sum.sigstore.json", file);
    rows.accepted("policy bundle, `bundle.sum.sigstore.json`", &check("policy", "bundle.sum"));
    rows.refused("policy bundle, another key", &check("ed25519", "bundle.sum"), SIGNATURE_FAILS);
    let changed = cosign.folder.read("bundle.sum").replacen('a', "b", 1);
    cosign.folder.write("bundle.sum", changed);
    rows.refused("policy bundle, a changed `bundle.sum`", &check("policy", "bundle.sum"), SIGNATURE_FAILS);
}

fn check_attestation(cosign: &Cosign, rows: &mut Rows) {
    let fingerprint = attest_decision(&cosign.folder);
    let check = |key: &str, bundle: &str, kind: &str, digest: &str| {
        cosign.verify_attestation(key, bundle, kind, digest)
    };
    let good = check("runtime", "attestation.json", DECISION, &fingerprint);
    rows.accepted("decision attestation, subject is the fingerprint", &good);
    rows.refused(
        "decision attestation, another key",
        &check("ed25519", "attestation.json", DECISION, &fingerprint),
        "accepted signatures do not match threshold",
    );
    rows.refused(
        "decision attestation, another type",
        &check("runtime", "attestation.json", "https://chancery.dev/override/v1", &fingerprint),
        "invalid predicate type",
    );
    rows.refused(
        "decision attestation, another fingerprint",
        &check("runtime", "attestation.json", DECISION, &"0".repeat(64)),
        "provided artifact digest does not match any digest in statement",
    );
    let mut bundle: serde_json::Value =
        serde_json::from_str(&cosign.folder.read("attestation.json")).unwrap();
    let payload = b64::decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
    let changed = String::from_utf8(payload).unwrap().replacen("completed", "Completed", 1);
    bundle["dsseEnvelope"]["payload"] = b64::encode(changed.as_bytes()).into();
    cosign.folder.write("changed.json", bundle.to_string());
    rows.refused(
        "decision attestation, a changed payload",
        &check("runtime", "changed.json", DECISION, &fingerprint),
        "accepted signatures do not match threshold",
    );
}

fn check_key_file(cosign: &Cosign, key: &str, rows: &mut Rows) {
    let kind = algorithm(key);
    let public = cosign.run(&["public-key", "--key", key]);
    assert_eq!(public.out, cosign.folder.read(&format!("{key}.pub")));
    rows.accepted(&format!("encrypted key file, {kind}"), &public);
    let wrong = cosign.run_as("wrong", &["public-key", "--key", key]);
    rows.refused(&format!("encrypted key file, {kind}, wrong password"), &wrong, "decryption failed");
}

#[test]
fn chancery_checks_what_cosign_signed() {
    let Some(cosign) = Cosign::new() else { return };
    let mut rows = Rows::of(&cosign.tool, Direction::Theirs);
    for name in ["cosign", "another"] {
        cosign.run(&["generate-key-pair", "--output-key-prefix", name]).expect(0);
    }
    open_key_file(&cosign, &mut rows);
    check_their_blob(&cosign, &mut rows);
    check_their_attestation(&cosign, &mut rows);
    refuse_their_ed25519(&cosign, &mut rows);
    publish_what_cosign_signed(&cosign, &mut rows);
    release_what_cosign_signed(&cosign, &mut rows);
    rows.finish();
}

fn open_key_file(cosign: &Cosign, rows: &mut Rows) {
    let folder = &cosign.folder;
    let show = |name: &str, password: &str| {
        run(chancery(folder.path()).env("CHANCERY_PASSWORD", password), ["key", "show", name, "-o", "json"])
    };
    let text = folder.read("cosign.key");
    let (label, json) = pem::decode(&text).unwrap();
    let inside: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(
        (label.as_str(), &inside["kdf"]["params"]["N"]),
        ("ENCRYPTED SIGSTORE PRIVATE KEY", &65_536.into())
    );

    let shown = show("cosign.key", PASSWORD);
    rows.accepted("`generate-key-pair`, encrypted key file, P-256", &shown);
    assert_eq!(shown.json()["publicKey"], folder.read("cosign.pub"));
    folder.write("older.key", pem::encode("ENCRYPTED COSIGN PRIVATE KEY", &json));
    // The folder is this user's alone; so must the files be.
    private(folder, "older.key");
    rows.accepted("the same under the older label", &show("older.key", PASSWORD));
    rows.refused("the same, wrong password", &show("cosign.key", "wrong"), "the password does not open");
    for (what, name, text, because) in [
        ("truncated", "truncated.key", text[..text.len() / 2].to_owned(), "the block has no"),
        (
            "a shorter box",
            "shorter.key",
            pem::encode(&label, &shorter(&inside)),
            "the password does not open",
        ),
        (
            "relabelled as unencrypted",
            "relabelled.key",
            pem::encode("PRIVATE KEY", &json),
            "not an `ENCRYPTED SIGSTORE PRIVATE KEY`",
        ),
    ] {
        folder.write(name, text);
        private(folder, name);
        rows.refused(&format!("the same, {what}"), &show(name, PASSWORD), because);
    }

    let der = folder.private_key("ed25519").to_pkcs8_der();
    folder.write("plain.pem", pem::encode("PRIVATE KEY", &der));
    cosign.run(&["import-key-pair", "--key", "plain.pem", "--output-key-prefix", "imported"]).expect(0);
    let shown = show("imported.key", PASSWORD);
    rows.accepted("`import-key-pair`, encrypted key file, Ed25519", &shown);
    assert_eq!(shown.json()["publicKey"], folder.read("ed25519.pub"));
}

/// A key file whose box lacks its last bytes.
fn shorter(key_file: &serde_json::Value) -> Vec<u8> {
    let mut shorter = key_file.clone();
    let mut sealed = b64::decode(shorter["ciphertext"].as_str().unwrap()).unwrap();
    sealed.truncate(sealed.len() - 3);
    shorter["ciphertext"] = b64::encode(&sealed).into();
    shorter.to_string().into_bytes()
}

fn private(folder: &Folder, name: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder.file(name), fs::Permissions::from_mode(0o600)).unwrap();
}

fn check_their_blob(cosign: &Cosign, rows: &mut Rows) {
    let verify = |file: &str, key: &str, how: [&str; 2]| cosign.folder.verify(file, key, &how);
    let bundle = ["--bundle", "signed.json"];
    cosign.sign_blob("cosign.key");
    rows.accepted("blob, sigstore bundle, their key", &verify("file", "cosign", bundle));
    rows.refused("blob, another key", &verify("file", "another", bundle), "the bundle's hint");
    rows.refused("blob, another blob", &verify("other", "cosign", bundle), "the bundle's digest");

    cosign.sign_blob("p256");
    rows.accepted("blob, sigstore bundle, our key file", &verify("file", "p256", bundle));

    cosign.sign_blob_the_old_way("cosign.key", "file");
    let signature = ["--signature", "old.sig"];
    rows.accepted("blob, `.sig`", &verify("file", "cosign", signature));
    rows.refused("blob, `.sig`, another blob", &verify("other", "cosign", signature), "does not match");
    let legacy = verify("file", "cosign", ["--bundle", "old.json"]);
    rows.refused("blob, legacy bundle", &legacy, "not a sigstore bundle v0.3");
}

fn check_their_attestation(cosign: &Cosign, rows: &mut Rows) {
    let folder = &cosign.folder;
    let text = String::from_utf8(cosign.attest_blob("cosign.key")).unwrap();
    let verify = |file: &str, key: &str, bundle: &str, kind: &str| {
        folder.verify(file, key, &["--bundle", bundle, "--type", kind, "-o", "json"])
    };
    let verified = verify("file", "cosign", "signed.json", DECISION);
    rows.accepted("attestation, DSSE in a sigstore bundle", &verified);
    assert_eq!(verified.json()["predicate"]["a"], 1);
    let another = verify("file", "another", "signed.json", DECISION);
    rows.refused("attestation, another key", &another, "the bundle's hint");
    let another = verify("other", "cosign", "signed.json", DECISION);
    rows.refused("attestation, another blob", &another, "the statement is about other files");
    let another = verify("file", "cosign", "signed.json", "https://chancery.dev/override/v1");
    rows.refused("attestation, another type", &another, "was asked for");
    folder.write("changed.json", text.replacen("application/vnd.in-toto+json", "text/plain", 1));
    let changed = verify("file", "cosign", "changed.json", DECISION);
    rows.refused("attestation, another payload type", &changed, "the bundle's envelope does not hold");
    let as_blob = folder.verify("file", "cosign", &["--bundle", "signed.json"]);
    rows.refused("attestation, read as a blob's bundle", &as_blob, "not a sigstore bundle v0.3");
}

/// With an Ed25519 key this cosign writes bundles that it does not accept itself.
fn refuse_their_ed25519(cosign: &Cosign, rows: &mut Rows) {
    let folder = &cosign.folder;
    cosign.sign_blob("ed25519");
    cosign.verify_blob("ed25519", "signed.json", "file").expect(1);
    let without_digest = folder.verify("file", "ed25519", &["--bundle", "signed.json"]);
    rows.refused(
        "blob, sigstore bundle without a digest (Ed25519)",
        &without_digest,
        "not a sigstore bundle v0.3",
    );
    cosign.attest_blob("ed25519");
    let prehashed = folder.verify("file", "ed25519", &["--bundle", "signed.json", "--type", DECISION]);
    rows.refused("attestation, Ed25519ph", &prehashed, "the bundle's envelope does not hold");
}

/// A policy bundle whose signature cosign made, with the key file of a log.
fn publish_what_cosign_signed(cosign: &Cosign, rows: &mut Rows) {
    let home = Home::new();
    let policy = crate::bundles::next_version(&home, "1.1.0");
    run(chancery(home.path()).args(["bundle", "sign"]), [&policy]).expect(0);
    let signature = policy.join("bundle.sum.sigstore.json");
    let chancerys = fs::read(&signature).unwrap();
    fs::copy(policy.join("bundle.sum"), cosign.folder.file("bundle.sum")).unwrap();
    cosign.folder.write("policy.pub", public_half(home.path(), "keys/policy.key"));
    let create = |key: &str, public: &str| {
        cosign.sign_blob_the_old_way(key, "bundle.sum");
        let made =
            ["bundle", "create", "--artifact", "bundle.sum", "--signature", "old.sig", "--ignore-tlog"];
        cosign.run(&[&made[..], &["--key", public, "--out", "made.json"]].concat()).expect(0);
        fs::copy(cosign.folder.file("made.json"), &signature).unwrap();
        run(chancery(home.path()).args(["bundle", "publish"]), [&policy])
    };
    rows.refused(
        "policy bundle, `bundle create`, a key without the role",
        &create("p256", "p256.pub"),
        "keyring",
    );
    let key = home.file("keys/policy.key");
    let published = create(key.to_str().unwrap(), "policy.pub");
    rows.accepted("policy bundle, `bundle create`, Ed25519 policy key", &published);
    assert_ne!(fs::read(&signature).unwrap(), chancerys);
}

/// A key of cosign's as the builder's, which signs here and there.
fn release_what_cosign_signed(cosign: &Cosign, rows: &mut Rows) {
    let release = release(Some((&cosign.folder, "cosign")));
    let out = release.file("out");
    let verify =
        || release.verify(&["--binary", chancery_tests::program::path("chancery").to_str().unwrap()]);
    rows.accepted(
        "`generate-key-pair`, as build key",
        &release.sign("out/build-identity.json", "keys/build.key"),
    );
    verify().expect(0);

    let identity = out.join("build-identity.json");
    fs::copy(&identity, cosign.folder.file("file")).unwrap();
    fs::write(out.join("build-identity.sigstore.json"), cosign.sign_blob("cosign.key")).unwrap();
    cosign.sign_blob_the_old_way("cosign.key", "file");
    fs::copy(cosign.folder.file("old.sig"), out.join("build-identity.json.sig")).unwrap();
    rows.accepted("build identity, sigstore bundle and `.sig`", &verify());
    fs::write(out.join("build-identity.sigstore.json"), cosign.sign_blob("another.key")).unwrap();
    rows.refused("build identity, sigstore bundle, another key", &verify(), "build.bundle");
    fs::copy(cosign.folder.file("old.json"), out.join("build-identity.sigstore.json")).unwrap();
    rows.refused("build identity, legacy bundle", &verify(), "build.bundle");
}
