//! Releases for the tests: a home of a production log with a builder's key, and signed files for the built program.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use chancery_core::b64;
use chancery_core::digest::Digest;
use chancery_core::dsse::{Envelope, IN_TOTO};
use chancery_core::key::{Signer, SigningKey};
use chancery_core::sigstore::MessageBundle;
use chancery_core::statement::{BuildIdentity, Git, Sbom, Statement, Subject};
use chancery_core::time::Timestamp;
use tempfile::TempDir;

use crate::home::{Home, Template, copy_folder};
use crate::program::{self, chancery, repository, run};

/// The commit that the releases say they were built from.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The bill of materials of the releases.
pub const SBOM: &[u8] = br#"{"bomFormat":"CycloneDX","specVersion":"1.5"}"#;

/// The builder's key, which the keyring of a [`Production`] has.
#[must_use]
pub fn build_key() -> SigningKey {
    SigningKey::generate_p256([7; 32]).unwrap()
}

/// A home folder with a log for production, its release in `release/`, which the configuration names.
pub struct Production(TempDir);

impl Production {
    /// A fresh copy, with the release of the built program.
    #[must_use]
    pub fn new() -> Self {
        static TEMPLATE: OnceLock<Template> = OnceLock::new();
        let template = TEMPLATE.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let policies = folder.path().join("policies");
            fs::create_dir(&policies).unwrap();
            copy_folder(&repository().join("policies"), &policies);
            fs::write(folder.path().join("build.pub"), build_key().public_key().to_spki_pem()).unwrap();
            let init = ["init", "--no-input", "--tenant", "acme", "--build-key", "build.pub"];
            run(&mut chancery(folder.path()), init).expect(0);
            let release = folder.path().join("release");
            fs::create_dir(&release).unwrap();
            write_release(&release, &program::path("chancery"), |_| {});
            let config = folder.path().join("chancery.toml");
            let text = fs::read_to_string(&config).unwrap();
            fs::write(&config, format!("{text}build = \"release\"\n")).unwrap();
            Template::of(folder.path())
        });
        Self(template.copy())
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file of the release.
    #[must_use]
    pub fn release(&self, name: &str) -> PathBuf {
        self.file("release").join(name)
    }
}

impl Default for Production {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes the files of a release of `binary` into `folder`, built an hour ago; `edit` changes what is signed.
pub fn write_release(folder: &Path, binary: &Path, edit: impl FnOnce(&mut BuildIdentity)) {
    let key = build_key();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    let built_at = Timestamp::from_unix_micros(i64::try_from(now).unwrap()).unwrap();
    let mut predicate = BuildIdentity {
        builder: "https://ci.example".to_owned(),
        built_at: built_at.checked_add_ms(-3_600_000).unwrap(),
        git: Git {
            commit: COMMIT.to_owned(),
            dirty: false,
            repository: "https://git.example/chancery".to_owned(),
            tag: None,
        },
        image: None,
        lockfile_sha256: Digest::of(b"lock"),
        sbom: Sbom {
            format: "CycloneDX".to_owned(),
            sha256: Digest::of(SBOM),
            spec_version: "1.5".to_owned(),
        },
        signer: key.public_key().key_id().clone(),
        slsa_provenance: None,
        toolchain: "rustc 1.95.0".to_owned(),
    };
    edit(&mut predicate);
    let digest = Digest::of(&fs::read(binary).unwrap());
    let statement = Statement::build_of(Subject::new("chancery", *digest.as_bytes()), predicate).unwrap();
    let identity = statement.to_payload().unwrap().into_bytes();
    let bundle = MessageBundle::sign(&identity, &key).unwrap();
    let envelope = Envelope::sign(IN_TOTO, identity.clone(), &key).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
    write("build-identity.json.sig", b64::encode(&bundle.signature().0).as_bytes());
    write("build-identity.sigstore.json", &serde_json::to_vec(&bundle).unwrap());
    write("build-identity.dsse.json", &serde_json::to_vec(&envelope).unwrap());
    write("build-identity.json", &identity);
    write("sbom.cdx.json", SBOM);
}

/// Has the root key of a test home enrol the builder's key.
pub fn enrol_builder(home: &Home) {
    fs::write(home.file("build.pub"), build_key().public_key().to_spki_pem()).unwrap();
    let password = fs::read_to_string(home.file("keys/root.password")).unwrap();
    let mut command = chancery(home.path());
    command.env("CHANCERY_ROOT_PASSWORD", password);
    let enroll = ["key", "enroll", "--key", "build.pub", "--role", "build", "--subject", "builder"];
    run(&mut command, enroll).expect(0);
}
