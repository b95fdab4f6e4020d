//! What Chancery makes for the tools: keys, signed files, a signed decision.

use std::fs;
use std::path::{Path, PathBuf};

use chancery_core::canonical::to_canonical;
use chancery_core::key::{PublicKey, SigningKey};
use chancery_core::sigstore::MessageBundle;
use chancery_tests::home::{Home, PASSWORD};
use chancery_tests::program::{chancery, run};
use chancery_tests::server::Server;
use tempfile::TempDir;

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
    pub(super) fn sign_file(&self, key: &str) {
        let bundle = MessageBundle::sign(FILE.as_bytes(), &self.private_key(key)).unwrap();
        self.write(&format!("file.{key}.json"), to_canonical(&bundle).unwrap().as_bytes());
        self.write(&format!("file.{key}.sig"), chancery_core::b64::encode(&bundle.signature().0));
    }
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
    folder.write("runtime.pub", public_half(&home, "keys/runtime.key"));
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    answer["execution_fingerprint"].as_str().unwrap().to_owned()
}

/// The public half of a key file of a home, in PEM.
pub(super) fn public_half(home: &Home, key: &str) -> String {
    let shown = run(&mut chancery(home.path()), ["key", "show", key, "-o", "json"]).expect(0).json();
    shown["publicKey"].as_str().unwrap().to_owned()
}

/// What the table calls the algorithm of a key of the folder.
pub(super) fn algorithm(key: &str) -> &'static str {
    if key == "ed25519" { "Ed25519" } else { "P-256" }
}
