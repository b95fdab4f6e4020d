//! Build identities put together: from facts to the statement that a build key signs (formats §8).
//!
//! Two documents in one. The predicate is ours: commit, image, bill of materials, lock file, compiler. Inside of it
//! `slsaProvenance` says the same in SLSA's words, for tools that read those:
//!
//! ```text
//! buildDefinition    buildType             https://chancery.dev/build/cargo/v1
//!                    externalParameters    what was asked for: repository, ref, program, platform
//!                    internalParameters    the compiler
//!                    resolvedDependencies  the commit, annotated `dirty` where the tree differed; Cargo.lock
//! runDetails         builder.id            who built
//!                    metadata              invocationId, where the builder has one
//!                    byproducts            the bill of materials
//! ```
//!
//! Source: SLSA provenance v1, <https://slsa.dev/spec/v1.0/provenance>. Equal facts give equal bytes.

use chancery_core::digest::Digest;
use chancery_core::key::{Algorithm, PublicKey};
use chancery_core::statement::{BuildIdentity, Git, Image, Sbom, Statement, StatementError, Subject};
use chancery_core::time::Timestamp;
use serde_json::{Map, Value, json};

use crate::sbom::{self, SbomError, Summary};

/// The type of builds that `docs/guides/release.md` describes: `cargo build --release --locked` of one commit.
pub const BUILD_TYPE: &str = "https://chancery.dev/build/cargo/v1";

/// What a build identity is made of.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The program's name and the SHA-256 of its file.
    pub binary: Subject,
    /// Who or what built it; a URI, of a workflow for example.
    pub builder: String,
    /// The name that the builder has for this one run, where it has names.
    pub invocation: Option<String>,
    /// When it was built.
    pub built_at: Timestamp,
    /// The source.
    pub git: Git,
    /// The container image, where there is one.
    pub image: Option<Image>,
    /// SHA-256 of `Cargo.lock`.
    pub lockfile: Digest,
    /// The bill of materials, as it is in its file.
    pub sbom: &'a [u8],
    /// The compiler, as `rustc --version` prints it.
    pub toolchain: String,
    /// The key that is going to sign.
    pub signer: &'a PublicKey,
}

/// The statement to sign.
///
/// # Errors
/// [`IdentityError`]: a key of another algorithm, a bill of materials that is none, or a fact that breaks a rule.
pub fn statement(facts: Facts<'_>) -> Result<Statement<BuildIdentity>, IdentityError> {
    check_key(facts.signer)?;
    let bill = sbom::read(facts.sbom)?;
    let sbom = Sbom {
        format: sbom::FORMAT.to_owned(),
        sha256: Digest::of(facts.sbom),
        spec_version: sbom::SPEC_VERSION.to_owned(),
    };
    let predicate = BuildIdentity {
        slsa_provenance: Some(provenance(&facts, &bill, &sbom)),
        builder: facts.builder,
        built_at: facts.built_at,
        git: facts.git,
        image: facts.image,
        lockfile_sha256: facts.lockfile,
        sbom,
        signer: facts.signer.key_id().clone(),
        toolchain: facts.toolchain,
    };
    Ok(Statement::build_of(facts.binary, predicate)?)
}

/// Refuses a key that cannot be a build key: ECDSA P-256 is what every version of cosign verifies.
///
/// # Errors
/// [`IdentityError::Algorithm`].
pub fn check_key(key: &PublicKey) -> Result<(), IdentityError> {
    match key.algorithm() {
        Algorithm::EcdsaP256 => Ok(()),
        other => Err(IdentityError::Algorithm(other)),
    }
}

fn provenance(facts: &Facts<'_>, bill: &Summary, sbom: &Sbom) -> Map<String, Value> {
    let Git { commit, repository, tag, dirty } = &facts.git;
    let uri = source_uri(repository);
    let reference = tag.as_ref().map(|tag| format!("refs/tags/{tag}"));
    let at = reference.as_ref().unwrap_or(commit);
    let mut external = json!({"program": bill.name, "ref": at, "repository": uri, "version": bill.version});
    if let (Some(target), Value::Object(members)) = (&bill.target, &mut external) {
        members.insert("target".to_owned(), json!(target));
    }
    let mut run = json!({
        "builder": {"id": facts.builder},
        "byproducts": [{
            "digest": {"sha256": sbom.sha256},
            "mediaType": "application/vnd.cyclonedx+json; version=1.5",
            "name": crate::release::SBOM,
        }],
    });
    if let (Some(invocation), Value::Object(members)) = (&facts.invocation, &mut run) {
        members.insert("metadata".to_owned(), json!({"invocationId": invocation}));
    }
    let mut source = json!({"digest": {"gitCommit": commit}, "uri": format!("{uri}@{at}")});
    if let (true, Value::Object(members)) = (*dirty, &mut source) {
        members.insert("annotations".to_owned(), json!({"dirty": true}));
    }
    let definition = json!({
        "buildType": BUILD_TYPE,
        "externalParameters": external,
        "internalParameters": {"toolchain": facts.toolchain},
        "resolvedDependencies": [
            source,
            {"digest": {"sha256": facts.lockfile}, "name": "Cargo.lock"},
        ],
    });
    Map::from_iter([("buildDefinition".to_owned(), definition), ("runDetails".to_owned(), run)])
}

/// The repository as an SPDX download location: `git+https://…`, `git+ssh://…`.
fn source_uri(repository: &str) -> String {
    match repository.split_once(':') {
        Some((_, rest)) if rest.starts_with("//") => format!("git+{repository}"),
        // The short form of ssh: `git@host:path`.
        Some((host, path)) if !host.contains('/') => format!("git+ssh://{host}/{path}"),
        _ => format!("git+file://{repository}"),
    }
}

/// A build identity that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A key that is no build key.
    #[error(
        "the key is {}, and build keys are ecdsa-p256; make one with `chancery key generate --algorithm ecdsa-p256`",
        .0.as_str()
    )]
    Algorithm(Algorithm),
    /// The bill of materials is none.
    #[error("the bill of materials cannot be named")]
    Sbom(#[from] SbomError),
    /// A fact breaks a rule of the statement.
    #[error("the build identity would not be valid")]
    Statement(#[from] StatementError),
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use chancery_core::key::{Signer as _, SigningKey};

    use super::*;
    use crate::cargo::{Crate, Linked};

    /// A build key.
    pub(crate) fn key() -> SigningKey {
        SigningKey::generate_p256([7; 32]).unwrap()
    }

    /// A bill of materials of one crate.
    pub(crate) fn bill() -> Vec<u8> {
        let root = ("chancery".to_owned(), "0.1.0".to_owned());
        let package = Crate {
            source: None,
            checksum: None,
            license: Some("Apache-2.0".to_owned()),
            license_file: None,
            repository: None,
            dependencies: std::collections::BTreeSet::new(),
            native: None,
        };
        let linked = Linked { crates: BTreeMap::from([(root.clone(), package)]), root };
        sbom::write(&linked, "chancery", "x86_64-unknown-linux-gnu", Timestamp::UNIX_EPOCH).unwrap()
    }

    /// The identity of a program with the given bytes.
    pub(crate) fn identity(program: &[u8], sbom: &[u8], key: &PublicKey) -> Statement<BuildIdentity> {
        statement(facts(program, sbom, key)).unwrap()
    }

    fn facts<'a>(program: &[u8], sbom: &'a [u8], signer: &'a PublicKey) -> Facts<'a> {
        Facts {
            binary: Subject::new("chancery", *Digest::of(program).as_bytes()),
            builder: "https://ci.example.org/release".to_owned(),
            invocation: None,
            built_at: Timestamp::UNIX_EPOCH,
            git: Git {
                commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
                dirty: false,
                repository: "https://example.org/chancery.git".to_owned(),
                tag: Some("v0.1.0".to_owned()),
            },
            image: None,
            lockfile: Digest::of(b"lock"),
            sbom,
            toolchain: "rustc 1.95.0 (0123456789 2026-03-21)".to_owned(),
            signer,
        }
    }

    #[test]
    fn the_provenance_is_slsa_v1_and_agrees_with_the_predicate() {
        let (key, bill) = (key(), bill());
        let statement = statement(Facts {
            invocation: Some("https://ci.example.org/runs/7".to_owned()),
            ..facts(b"program", &bill, key.public_key())
        })
        .unwrap();
        let slsa = json!(statement.predicate.slsa_provenance);
        let commit = &statement.predicate.git.commit;
        let uri = "git+https://example.org/chancery.git";
        assert_eq!(
            slsa["buildDefinition"],
            json!({
                "buildType": "https://chancery.dev/build/cargo/v1",
                "externalParameters": {
                    "program": "chancery", "ref": "refs/tags/v0.1.0", "repository": uri,
                    "target": "x86_64-unknown-linux-gnu", "version": "0.1.0",
                },
                "internalParameters": {"toolchain": statement.predicate.toolchain},
                "resolvedDependencies": [
                    {"digest": {"gitCommit": commit}, "uri": format!("{uri}@refs/tags/v0.1.0")},
                    {"digest": {"sha256": Digest::of(b"lock")}, "name": "Cargo.lock"},
                ],
            })
        );
        assert_eq!(slsa["runDetails"]["builder"]["id"], "https://ci.example.org/release");
        assert_eq!(slsa["runDetails"]["metadata"]["invocationId"], "https://ci.example.org/runs/7");
        assert_eq!(slsa["runDetails"]["byproducts"][0]["digest"]["sha256"], json!(Digest::of(&bill)));
        let payload = statement.to_payload().unwrap();
        assert_eq!(Statement::<BuildIdentity>::parse_unverified(payload.as_bytes()).unwrap(), statement);
    }

    #[test]
    fn a_changed_tree_is_told_in_slsas_words_too() {
        let (key, bill) = (key(), bill());
        let mut facts = facts(b"program", &bill, key.public_key());
        facts.git.dirty = true;
        let slsa = json!(statement(facts).unwrap().predicate.slsa_provenance);
        assert_eq!(slsa["buildDefinition"]["resolvedDependencies"][0]["annotations"], json!({"dirty": true}));
    }

    #[test]
    fn an_image_is_the_second_subject() {
        let (key, bill) = (key(), bill());
        let image = crate::image::given("chancery", &format!("sha256:{}", "ab".repeat(32))).unwrap();
        let facts = Facts { image: Some(image), ..facts(b"program", &bill, key.public_key()) };
        assert_eq!(statement(facts).unwrap().subject.len(), 2);
    }

    #[test]
    fn what_cannot_be_signed_as_a_build_is_refused() {
        let (key, bill) = (key(), bill());
        let ed25519 = SigningKey::generate_ed25519([7; 32]);
        let error = statement(facts(b"program", &bill, ed25519.public_key())).unwrap_err();
        assert!(error.to_string().contains("chancery key generate --algorithm ecdsa-p256"), "{error}");
        assert!(matches!(
            statement(facts(b"program", b"{\"spdxVersion\":\"SPDX-2.3\"}", key.public_key())),
            Err(IdentityError::Sbom(_))
        ));
        let nameless = Facts { builder: String::new(), ..facts(b"program", &bill, key.public_key()) };
        assert!(matches!(statement(nameless), Err(IdentityError::Statement(_))));
    }

    #[test]
    fn repositories_become_download_locations() {
        for (repository, uri) in [
            ("https://example.org/r.git", "git+https://example.org/r.git"),
            ("ssh://git@example.org/r", "git+ssh://git@example.org/r"),
            ("git@example.org:a/r.git", "git+ssh://git@example.org/a/r.git"),
            ("/srv/git/r", "git+file:///srv/git/r"),
        ] {
            assert_eq!(source_uri(repository), uri);
        }
    }
}
