//! Build identities: which source, tools and dependencies a release was made from (formats §8).
//!
//! ```text
//! subject   the release binary, and after it the container image where there is one
//! image     {"digest":"sha256:<hex>","name":…}: the digest as registries write it, that of the second subject
//! ```

use serde::{Deserialize, Serialize};

use super::{Predicate, Statement, StatementError, Subject, check};
use crate::digest::Digest;
use crate::ids::TenantId;
use crate::key::KeyId;
use crate::keyring::Role;
use crate::log::Kind;
use crate::time::Timestamp;

/// `https://chancery.dev/build-identity/v1`, signed by a build key. It belongs to no tenant.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BuildIdentity {
    /// Who or what built it.
    pub builder: String,
    /// When it was built.
    pub built_at: Timestamp,
    /// The source.
    pub git: Git,
    /// The container image; null where there is none.
    pub image: Option<Image>,
    /// SHA-256 of `Cargo.lock`.
    pub lockfile_sha256: Digest,
    /// The bill of materials.
    pub sbom: Sbom,
    /// The build key.
    pub signer: KeyId,
    /// A SLSA v1 provenance predicate; null where there is none.
    pub slsa_provenance: Option<serde_json::Map<String, serde_json::Value>>,
    /// The compiler's version, as `rustc --version` begins.
    pub toolchain: String,
}

/// The source that was built.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Git {
    /// The commit: 40 or 64 lowercase hexadecimal digits.
    pub commit: String,
    /// Whether the tree differed from the commit.
    pub dirty: bool,
    /// Where it lies.
    pub repository: String,
    /// The tag that was built; null where there is none.
    pub tag: Option<String>,
}

/// A container image.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// `sha256:` and the manifest's digest in hexadecimal (OCI image specification, "Digests").
    pub digest: String,
    /// Its name; also the second subject's.
    pub name: String,
}

/// The bill of materials that belongs to a release.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sbom {
    /// `CycloneDX`.
    pub format: String,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// `1.5`.
    pub spec_version: String,
}

impl Statement<BuildIdentity> {
    /// The statement of a build: the binary's name and SHA-256, and the predicate; an image becomes the second
    /// subject.
    ///
    /// # Errors
    /// [`StatementError::Member`] or [`StatementError::Subject`] for what is not as it should be.
    pub fn build_of(binary: Subject, predicate: BuildIdentity) -> Result<Self, StatementError> {
        let mut subject = vec![binary];
        if let Some(image) = &predicate.image {
            let digest = image.sha256().ok_or(IMAGE_DIGEST)?;
            subject.push(Subject::new(image.name.clone(), *digest.as_bytes()));
        }
        Self::checked(subject, predicate)
    }
}

const IMAGE_DIGEST: StatementError = StatementError::Member {
    member: "image.digest",
    rule: "it has to be `sha256:` and 64 hexadecimal digits",
};

impl Image {
    /// The digest without its algorithm.
    #[must_use]
    pub fn sha256(&self) -> Option<Digest> {
        self.digest.strip_prefix("sha256:")?.parse().ok()
    }
}

impl Predicate for BuildIdentity {
    const TYPE: &'static str = "https://chancery.dev/build-identity/v1";
    const KIND: Kind = Kind::BuildIdentity;

    fn signer(&self) -> Option<&KeyId> {
        Some(&self.signer)
    }

    fn tenant(&self) -> Option<&TenantId> {
        None
    }

    fn claimed_at(&self) -> Timestamp {
        self.built_at
    }

    fn role(&self) -> Option<Role> {
        Some(Role::Build)
    }

    fn check(&self, subject: &[Subject]) -> Result<(), StatementError> {
        match (subject, &self.image) {
            ([binary], None) => check::text(&binary.name, "subject.name")?,
            ([binary, second], Some(image)) => {
                check::text(&binary.name, "subject.name")?;
                check::text(&image.name, "image.name")?;
                let digest = image.sha256().ok_or(IMAGE_DIGEST)?;
                if second.name != image.name || second.digest.sha256 != digest {
                    return Err(StatementError::Subject { rule: "the second one is not the image" });
                }
            }
            _ => {
                return Err(StatementError::Subject { rule: "the binary, and the image where there is one" });
            }
        }
        check::text(&self.builder, "builder")?;
        check::text(&self.toolchain, "toolchain")?;
        check::text(&self.git.repository, "git.repository")?;
        let commit = &self.git.commit;
        let hex = commit.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        check::require(
            hex && matches!(commit.len(), 40 | 64),
            "git.commit",
            "it has to be 40 or 64 lowercase hexadecimal digits",
        )?;
        if let Some(tag) = &self.git.tag {
            check::text(tag, "git.tag")?;
        }
        check::require(self.sbom.format == "CycloneDX", "sbom.format", "it has to be `CycloneDX`")?;
        check::require(self.sbom.spec_version == "1.5", "sbom.specVersion", "it has to be `1.5`")
    }
}
