//! What Chancery makes for the tools: keys, signed files, a signed decision.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use chancery_core::canonical::to_canonical;
use chancery_core::key::{PublicKey, SigningKey};
use chancery_core::sigstore::MessageBundle;
use chancery_tests::home::{Home, PASSWORD};
use chancery_tests::program::{self, Said, chancery, run};
use chancery_tests::server::Server;
use tempfile::TempDir;

use crate::build::Release;

/// What is signed, and another file.
pub(super) const FILE: &str = "what is signed\n";
pub(super) const OTHER_FILE: &str = "what is not\n";

/// A folder with `file`, `other` and key pairs that the program made: `p256`, `ed25519`, and for each another one,
/// `p256-other` and `ed25519-other`; each with `.pub`.
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::write(folder.file("file"), FILE).unwrap();
        fs::write(folder.file("other"), OTHER_FILE).unwrap();
        for (name, algorithm) in [
            ("p256", "ecdsa-p256"),
            ("p256-other", "ecdsa-p256"),
            ("ed25519", "ed25519"),
            ("ed25519-other", "ed25519"),
        ] {
            let generate = ["key", "generate", name, "--algorithm", algorithm];
            run(&mut chancery(folder.path()), generate).expect(0);
        }
        folder
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(super) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.file(name), bytes).unwrap();
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap()
    }

    /// The private key in an encrypted file.
    pub(super) fn private_key(&self, name: &str) -> SigningKey {
        chancery_supply::keyfile::decrypt(&self.read(name), PASSWORD.as_bytes()).unwrap()
    }

    /// The key in `name.pub`.
    pub(super) fn public_key(&self, name: &str) -> PublicKey {
        PublicKey::from_spki_pem(&self.read(&format!("{name}.pub"))).unwrap()
    }

    /// Signs `file` with a key: `file.KEY.json`, a sigstore bundle, and `file.KEY.sig`, its signature in base64.
    ///
    /// P-256 keys sign as the builder's do; files are not what Chancery signs with Ed25519, `bundle.sum` apart.
    pub(super) fn sign_file(&self, key: &str) {
        if algorithm(key) == "P-256" {
            run(&mut chancery(self.path()), ["build", "sign", "file", "--key", key]).expect(0);
            fs::rename(self.file("file.sigstore.json"), self.file(&format!("file.{key}.json"))).unwrap();
            fs::rename(self.file("file.sig"), self.file(&format!("file.{key}.sig"))).unwrap();
            return;
        }
        let bundle = MessageBundle::sign(FILE.as_bytes(), &self.private_key(key)).unwrap();
        self.write(&format!("file.{key}.json"), to_canonical(&bundle).unwrap().as_bytes());
        self.write(&format!("file.{key}.sig"), chancery_core::b64::encode(&bundle.signature().0));
    }

    /// What the program says of a file, `key.pub` and a signature.
    pub(super) fn verify(&self, file: &str, key: &str, how: &[&str]) -> Said {
        let key = format!("{key}.pub");
        run(chancery(self.path()).args(["build", "verify", file, "--key", &key]), how)
    }

    /// The bytes of `file.KEY.sig`.
    pub(super) fn signature(&self, key: &str) -> Vec<u8> {
        chancery_core::b64::decode(self.read(&format!("file.{key}.sig")).trim_end()).unwrap()
    }
}

/// A release of the program under test, not yet signed.
///
/// `key` of the folder, with `key.pub`, is its build key; without one it is a new key.
pub(super) fn release(key: Option<(&Folder, &str)>) -> Release {
    let release = Release::new();
    if let Some((folder, key)) = key {
        fs::copy(folder.file(&format!("{key}.key")), release.file("keys/build.key")).unwrap();
        fs::copy(folder.file(&format!("{key}.pub")), release.file("keys/build.key.pub")).unwrap();
    }
    release.sbom().expect(0);
    let mut identity = release.chancery();
    identity.args(["build", "identity", "--sbom", "out/sbom.cdx.json", "--key", "keys/build.key.pub"]);
    identity.args(["--manifest-path", "source/Cargo.toml", "--out", "out/build-identity.json", "--binary"]);
    run(&mut identity, [program::path("chancery")]).expect(0);
    release
}

/// Where a decision comes from, as a server of a signed release tells it: `provenance.json`, `provenance.sig`, and
/// `provenance.pub`, the key of the runtime.
pub(super) fn provenance(folder: &Folder, release: &Release) {
    let home = tempfile::tempdir().unwrap();
    let policies = program::repository().join("policies");
    assert!(Command::new("cp").arg("-r").args([&policies, home.path()]).status().unwrap().success());
    let init = ["init", "--no-input", "--environment", "test", "--tenant", "acme", "--build-key"];
    run(chancery(home.path()).args(init), [release.file("keys/build.key.pub")]).expect(0);
    let server = Server::start_with(home.path(), &mut |command| {
        command.env("CHANCERY_BUILD", release.file("out"));
    });
    let url = format!("{}/v1/decisions", server.url);
    let (status, _, answer) = crate::http::post(&url, crate::http::claim("claim-1").to_string().as_bytes());
    assert_eq!(status, 201, "{answer}");
    let mut answer = ureq::get(&format!("{url}/claim-1/provenance")).call().unwrap();
    let signature = answer.headers()["x-provenance-signature"].to_str().unwrap().to_owned();
    folder.write("provenance.sig", signature);
    folder.write("provenance.json", answer.body_mut().read_to_string().unwrap());
    folder.write("provenance.pub", public_half(home.path(), "keys/runtime.key"));
}

/// A decision's attestation as a server exports it: `attestation.json`, and `runtime.pub`, the key that signed it.
///
/// Gives the execution's fingerprint, which is the digest of the attestation's subject.
pub(super) fn attest_decision(folder: &Folder) -> String {
    let home = Home::new();
    let server = Server::start(home.path());
    let request = crate::http::claim("claim-1").to_string();
    let (status, _, answer) = crate::http::post(&format!("{}/v1/decisions", server.url), request.as_bytes());
    assert_eq!(status, 201, "{answer}");
    let url = format!("{}/v1/decisions/claim-1/attestation?format=sigstore", server.url);
    let (status, attestation) = crate::http::get(&url);
    assert_eq!(status, 200, "{attestation}");
    folder.write("attestation.json", attestation);
    folder.write("runtime.pub", public_half(home.path(), "keys/runtime.key"));
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    answer["execution_fingerprint"].as_str().unwrap().to_owned()
}

/// The public half of a key file of a home, in PEM.
pub(super) fn public_half(home: &Path, key: &str) -> String {
    let shown = run(&mut chancery(home), ["key", "show", key, "-o", "json"]).expect(0).json();
    shown["publicKey"].as_str().unwrap().to_owned()
}

/// What the table calls the algorithm of a key of the folder.
pub(super) fn algorithm(key: &str) -> &'static str {
    if key == "ed25519" { "Ed25519" } else { "P-256" }
}
