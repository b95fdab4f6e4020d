//! OpenSSL's command: public keys, PKCS#8, signatures, both ways.

use std::fs;

use chancery_core::b64;
use chancery_core::dsse::pae;
use chancery_core::key::{Signer as _, SigningKey};
use chancery_tests::program::{Said, chancery, run};
use chancery_tests::tools::{self, Tool};

use super::files::{Folder, algorithm, attest_decision};
use super::table::{Direction, Rows};

/// Checks a raw signature over a file.
fn verify(openssl: &Tool, folder: &Folder, key: &str, signature: &str, file: &str) -> Said {
    let key = format!("{key}.pub");
    let prehash: &[&str] = if key.starts_with("p256") { &["-digest", "sha256"] } else { &[] };
    let check =
        ["pkeyutl", "-verify", "-pubin", "-inkey", &key, "-rawin", "-in", file, "-sigfile", signature];
    openssl.run(folder.path(), &[&check[..], prehash].concat())
}

#[test]
fn openssl_checks_what_chancery_signed() {
    let Some(openssl) = tools::openssl() else { return };
    let folder = Folder::new();
    let mut rows = Rows::of(&openssl, Direction::Ours);
    for key in ["p256", "ed25519"] {
        let (kind, public) = (algorithm(key), format!("{key}.pub"));
        let read = openssl.run(folder.path(), &["pkey", "-pubin", "-in", &public]);
        assert!(
            read.out.starts_with(&folder.read(&public)),
            "OpenSSL writes the key in the same way: {read:?}"
        );
        rows.accepted(&format!("public key, {kind}"), &read);

        folder.write("private.der", folder.private_key(key).to_pkcs8_der());
        let private =
            openssl.run(folder.path(), &["pkey", "-inform", "DER", "-in", "private.der", "-pubout"]);
        assert_eq!(private.out, folder.read(&public));
        rows.accepted(&format!("PKCS#8 of an opened key file, {kind}"), &private);

        folder.sign_file(key);
        folder.write("raw", folder.signature(key));
        rows.accepted(&format!("blob, `.sig`, {kind}"), &verify(&openssl, &folder, key, "raw", "file"));
        let another_key = verify(&openssl, &folder, &format!("{key}-other"), "raw", "file");
        rows.refused(&format!("blob, `.sig`, {kind}, another key"), &another_key, "Verification Failure");
        let another_blob = verify(&openssl, &folder, key, "raw", "other");
        rows.refused(&format!("blob, `.sig`, {kind}, another blob"), &another_blob, "Verification Failure");
    }

    attest_decision(&folder);
    let bundle: serde_json::Value = serde_json::from_str(&folder.read("attestation.json")).unwrap();
    let envelope = &bundle["dsseEnvelope"];
    let decoded = |member: &serde_json::Value| b64::decode(member.as_str().unwrap()).unwrap();
    folder.write("pae", pae(envelope["payloadType"].as_str().unwrap(), &decoded(&envelope["payload"])));
    folder.write("raw", decoded(&envelope["signatures"][0]["sig"]));
    let good = verify(&openssl, &folder, "runtime", "raw", "pae");
    rows.accepted("decision attestation, pre-authentication encoding", &good);
    folder.write("payload", decoded(&envelope["payload"]));
    let payload = verify(&openssl, &folder, "runtime", "raw", "payload");
    rows.refused("decision attestation, the payload alone", &payload, "Verification Failure");
    rows.finish();
}

#[test]
fn chancery_checks_what_openssl_signed() {
    let Some(openssl) = tools::openssl() else { return };
    let folder = Folder::new();
    let mut rows = Rows::of(&openssl, Direction::Theirs);
    let make = |arguments: &[&str]| openssl.run(folder.path(), arguments).expect(0);
    let show = |file: &str| run(&mut chancery(folder.path()), ["key", "show", file]);
    for (name, options) in
        [("p256", &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..]), ("ed25519", &["ED25519"])]
    {
        let kind = algorithm(name);
        make(&[&["genpkey", "-out", "theirs.pem", "-algorithm"], options].concat());
        make(&["pkcs8", "-topk8", "-nocrypt", "-in", "theirs.pem", "-outform", "DER", "-out", "theirs.der"]);
        make(&["pkey", "-inform", "DER", "-in", "theirs.der", "-pubout", "-out", "theirs.pub"]);
        rows.accepted(&format!("public key, {kind}"), &show("theirs.pub"));
        let private = SigningKey::from_pkcs8_der(&fs::read(folder.file("theirs.der")).unwrap());
        rows.accepted(&format!("PKCS#8, {kind}"), &private);
        let key = folder.public_key("theirs");
        assert_eq!(private.unwrap().public_key(), &key);
        let prehash: &[&str] = if name == "p256" { &["-digest", "sha256"] } else { &[] };
        let sign = [
            "pkeyutl",
            "-sign",
            "-rawin",
            "-in",
            "file",
            "-out",
            "raw",
            "-keyform",
            "DER",
            "-inkey",
            "theirs.der",
        ];
        make(&[&sign[..], prehash].concat());
        folder.write("theirs.sig", b64::encode(&fs::read(folder.file("raw")).unwrap()));
        let by = ["--signature", "theirs.sig"];
        rows.accepted(&format!("signature, {kind}"), &folder.verify("file", "theirs", &by));
        let another = folder.verify("file", name, &by);
        rows.refused(&format!("signature, {kind}, another key"), &another, "does not match");
    }

    make(&[
        "ec",
        "-pubin",
        "-in",
        "p256.pub",
        "-conv_form",
        "compressed",
        "-pubout",
        "-out",
        "compressed.pub",
    ]);
    rows.refused(
        "public key, P-256, compressed point",
        &show("compressed.pub"),
        "not the public key of an Ed25519 or P-256 key",
    );
    for (what, name, options) in [
        ("RSA 3072", "rsa", &["RSA", "-pkeyopt", "rsa_keygen_bits:3072"][..]),
        ("P-384", "p384", &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
        ("Ed448", "ed448", &["ED448"]),
    ] {
        make(&[&["genpkey", "-out", "theirs.pem", "-algorithm"], options].concat());
        let public = format!("{name}.pub");
        make(&["pkey", "-in", "theirs.pem", "-pubout", "-out", &public]);
        rows.refused(
            &format!("public key, {what}"),
            &show(&public),
            "not the public key of an Ed25519 or P-256 key",
        );
    }
    rows.finish();
}
