//! Bundles and builds: signed files that decisions name by hash.

use std::collections::BTreeMap;

use chancery_core::b64;
use chancery_core::digest::{BundleHash, Digest, sha256};
use chancery_core::evidence::{BuildLine, BundleLine};
use chancery_core::ids::{PolicyId, PolicyVersion};
use chancery_core::key::{Algorithm, KeyId};
use chancery_core::keyring::{Keyring, Role, Standing};
use chancery_core::sigstore::MessageBundle;
use chancery_core::statement::{BuildIdentity, OverrideRule, Statement};
use chancery_core::time::Timestamp;
use chancery_policy::Bundle;

use crate::check::CheckId;
use crate::report::BuildSource;
use crate::tally::{Findings, told};

/// A bundle of the file.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) line: u64,
    pub(crate) hash: BundleHash,
    pub(crate) id: PolicyId,
    pub(crate) version: PolicyVersion,
    /// The key whose signature over it holds and that has, in some keyring version, the role for it.
    pub(crate) signer: Option<KeyId>,
    /// The bundle, parsed only once its files are those of its hash and its signature holds.
    pub(crate) bundle: Option<Bundle>,
    /// Whether its hash and signature hold but it cannot be used all the same.
    pub(crate) refused: bool,
}

impl Policy {
    /// Judges a bundle line. When its signature was made is judged where it is put in force.
    pub(crate) fn judge(
        line: BundleLine,
        number: u64,
        keyring: Option<&Keyring>,
        findings: &mut Findings,
    ) -> Self {
        let BundleLine { bundle_hash, files, policy_id, signature, version, .. } = line;
        let mut policy = Self {
            line: number,
            hash: bundle_hash,
            id: policy_id,
            version,
            signer: None,
            bundle: None,
            refused: false,
        };
        let files: BTreeMap<String, Vec<u8>> =
            files.into_iter().map(|(path, b64::Bytes(bytes))| (path, bytes)).collect();
        let sum = match chancery_policy::sum(&files) {
            Ok(sum) => sum,
            Err(error) => {
                findings.fail(CheckId::BundleHash, format!("the bundle has no sum: {}", told(&error)));
                return policy;
            }
        };
        let found = chancery_policy::hash_of(&sum);
        let hash_holds = found == bundle_hash;
        if !hash_holds {
            findings.fail(CheckId::BundleHash, format!("the files of the bundle have the hash {found}"));
        }
        policy.signer =
            signer_of(&signature, sum.as_bytes(), &Role::Policy, keyring, CheckId::BundleSignature, findings);
        if !hash_holds || policy.signer.is_none() {
            return policy;
        }
        match Bundle::from_files(files) {
            Ok(bundle) => {
                let manifest = bundle.manifest();
                let named = *manifest.id() == policy.id && *manifest.version() == policy.version;
                findings.require(CheckId::BundleHash, named, || {
                    format!("the bundle is {} {}", manifest.id(), manifest.version())
                });
                policy.bundle = Some(bundle);
            }
            Err(error) => {
                findings.pass(CheckId::BundleHash);
                findings
                    .fail(CheckId::DecisionReproduced, format!("the bundle is refused: {}", told(&error)));
                policy.refused = true;
            }
        }
        policy
    }

    /// The rule under which its outcomes can be overridden.
    pub(crate) fn rule(&self) -> Option<&OverrideRule> {
        Some(self.bundle.as_ref()?.manifest().overrides()?.rule())
    }
}

/// A build of the file.
#[derive(Debug)]
pub(crate) struct Build {
    pub(crate) line: u64,
    /// SHA-256 of its payload: what decisions name.
    pub(crate) hash: Digest,
    /// SHA-256 of the program.
    pub(crate) binary: Option<Digest>,
    /// The key whose signature over it holds and that has, in some keyring version, the role for it.
    pub(crate) signer: Option<KeyId>,
    /// What it says; none where it is no build identity.
    pub(crate) identity: Option<BuildIdentity>,
}

impl Build {
    pub(crate) fn judge(
        line: &BuildLine,
        number: u64,
        keyring: Option<&Keyring>,
        findings: &mut Findings,
    ) -> Self {
        let payload = line.payload.as_slice();
        let hash = Digest::from_bytes(sha256(payload));
        let mut build = Self { line: number, hash, binary: None, signer: None, identity: None };
        let statement = match Statement::<BuildIdentity>::parse_unverified(payload) {
            Ok(statement) => statement,
            Err(error) => {
                findings.fail(
                    CheckId::BuildSignature,
                    format!("what is signed is no build identity: {}", told(&error)),
                );
                return build;
            }
        };
        build.binary = statement.subject.first().map(|subject| subject.digest.sha256);
        let signer =
            signer_of(&line.signature, payload, &Role::Build, keyring, CheckId::BuildSignature, findings);
        if let Some(signer) = signer {
            let key = keyring.and_then(|keyring| keyring.find_key(&signer));
            if key.is_some_and(|key| key.algorithm() != Algorithm::EcdsaP256) {
                findings.fail(
                    CheckId::BuildSignature,
                    "builds are signed with ECDSA P-256, and the key is another",
                );
            } else if signer == statement.predicate.signer {
                build.signer = Some(signer);
            } else {
                findings.fail(
                    CheckId::BuildSignature,
                    "the build identity names another key than the one that signed it",
                );
            }
        }
        match &line.sbom {
            None => findings.unknown(CheckId::BuildSbom, "the build's bill of materials is not in the file"),
            Some(sbom) => {
                let holds = *statement.predicate.sbom.sha256.as_bytes() == sha256(sbom.as_slice());
                findings.require(CheckId::BuildSbom, holds, || {
                    "the bill of materials is not the one that the build identity names".to_owned()
                });
            }
        }
        build.identity = Some(statement.predicate);
        build
    }

    /// What it says of itself, where it is signed.
    pub(crate) fn source(&self) -> Option<BuildSource> {
        let identity = self.identity.as_ref().filter(|_| self.signer.is_some())?;
        let git = &identity.git;
        Some(BuildSource {
            commit: git.commit.clone(),
            dirty: git.dirty,
            repository: git.repository.clone(),
            tag: git.tag.clone(),
            program: self.binary,
            image: identity.image.as_ref().map(|image| format!("{}@{}", image.name, image.digest)),
            sbom: identity.sbom.sha256,
        })
    }
}

/// The key that signed `bytes`, if it is one of the keyring's and has `role` in one of the versions.
fn signer_of(
    signature: &MessageBundle,
    bytes: &[u8],
    role: &Role,
    keyring: Option<&Keyring>,
    check: CheckId,
    findings: &mut Findings,
) -> Option<KeyId> {
    let Some(keyring) = keyring else {
        findings.unknown(check, "there is no keyring to find the key in");
        return None;
    };
    let Some(key) = keyring.find_hint(signature.hint()) else {
        findings.fail(check, "the key that signed is not in the keyring");
        return None;
    };
    if let Err(error) = signature.verify(bytes, key) {
        findings.fail(check, told(&error));
        return None;
    }
    let id = key.key_id();
    let granted = |version: &chancery_core::keyring::Version| {
        version.key(id).is_some_and(|entry| entry.roles.contains(role))
    };
    if !keyring.versions().iter().any(granted) {
        findings.fail(check, format!("the key `{id}` has not the role `{role}` in any keyring version"));
        return None;
    }
    Some(id.clone())
}

/// What speaks against a key at an entry, in words; `None` for a good key.
pub(crate) fn standing(
    keyring: &Keyring,
    id: &KeyId,
    role: &Role,
    index: u64,
    at: Timestamp,
) -> Option<String> {
    keyring.judge(id, role, index, at).err().map(|standing| format!("key `{id}`: {standing}"))
}

/// How a signature stands whose own entry is not in the file. It was made before entry `used`, and nothing else
/// is known about when.
pub(crate) fn standing_unlogged(
    keyring: &Keyring,
    id: &KeyId,
    role: &Role,
    used: u64,
) -> Result<(), Standing> {
    if keyring.is_revoked(id, used) {
        return Err(Standing::Revoked);
    }
    let mut before = keyring.versions().iter().take_while(|version| version.index() < used);
    let granted = before.any(|v| v.key(id).is_some_and(|entry| entry.roles.contains(role)));
    if granted { Ok(()) } else { Err(Standing::Role) }
}
