//! Bills of materials: CycloneDX 1.5 in JSON (formats §8).
//!
//! ```text
//! metadata.component   the program             bom-ref = purl = pkg:cargo/<name>@<version>
//! components           every crate it links    ordered by bom-ref; SHA-256 and licence of each
//!                      the C that crates bring under its own name and version, used by the crate
//! dependencies         who uses whom           ordered by bom-ref
//! serialNumber         UUID version 8 (RFC 9562) from the SHA-256 of the document without it
//! ```
//!
//! Equal input gives equal bytes: nothing is random, nothing depends on the clock or on the folder of the build.
//! The standard library is no component; the build identity names the compiler that it came with.

use std::fmt;
use std::str::FromStr;

use chancery_core::digest::Digest;
use chancery_core::time::Timestamp;
use cyclonedx_bom::errors::{JsonReadError, JsonWriteError};
use cyclonedx_bom::external_models::spdx::SpdxExpression;
use cyclonedx_bom::models::component::{Classification, Component, Components, Cpe};
use cyclonedx_bom::models::dependency::{Dependencies, Dependency};
use cyclonedx_bom::models::hash::{Hash, HashAlgorithm, HashValue, Hashes};
use cyclonedx_bom::models::license::{LicenseChoice, Licenses};
use cyclonedx_bom::models::lifecycle::{Lifecycle, Lifecycles, Phase};
use cyclonedx_bom::models::property::{Properties, Property};
use cyclonedx_bom::models::tool::Tools;
use cyclonedx_bom::prelude::{Bom, DateTime, Metadata, Purl, SpecVersion, UrnUuid, Validate};

use crate::cargo::{Crate, Id, Linked};
use crate::native::Native;
use crate::source::without_credentials;

/// The name that build identities give to the format.
pub const FORMAT: &str = "CycloneDX";

/// The version of the format that is written and read.
pub const SPEC_VERSION: &str = "1.5";

/// The platform, by the name that the CycloneDX property taxonomy has for Rust (`cdx:rustc`).
const TARGET_PROPERTY: &str = "cdx:rustc:sbom:target:triple";

/// Writes the document of the program `bin`, compiled for `target`. `at` is when its source was committed, or
/// SOURCE_DATE_EPOCH.
///
/// # Errors
/// [`SbomError`]: what was put together breaks a rule of the format.
pub fn write(linked: &Linked, bin: &str, target: &str, at: Timestamp) -> Result<Vec<u8>, SbomError> {
    let mut program = None;
    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    for (id, package) in &linked.crates {
        let mut component = component(id, package);
        let reference = component.bom_ref.clone().unwrap_or_default();
        let mut uses: Vec<String> = package
            .dependencies
            .iter()
            .filter_map(|id| linked.crates.get(id).map(|package| purl(id, package)))
            .collect();
        if let Some(native) = &package.native {
            uses.push(native.purl.clone());
            dependencies.push(Dependency { dependency_ref: native.purl.clone(), dependencies: Vec::new() });
            components.push(native_component(native));
        }
        uses.sort_unstable();
        dependencies.push(Dependency { dependency_ref: reference, dependencies: uses });
        if *id == linked.root {
            component.component_type = Classification::Application;
            component.name = cyclonedx_bom::prelude::NormalizedString::new(bin);
            program = Some(component);
        } else {
            components.push(component);
        }
    }
    components.sort_by(|a, b| a.bom_ref.cmp(&b.bom_ref));
    dependencies.sort_by(|a, b| a.dependency_ref.cmp(&b.dependency_ref));
    let tool =
        Component::new(Classification::Application, "chancery build sbom", env!("CARGO_PKG_VERSION"), None);
    let metadata = Metadata {
        timestamp: Some(DateTime::try_from(at.to_string()).map_err(|_| SbomError::Time(at))?),
        tools: Some(Tools::Object { services: None, components: Some(Components(vec![tool])) }),
        component: program,
        properties: Some(Properties(vec![Property::new(TARGET_PROPERTY, target)])),
        lifecycles: Some(Lifecycles(vec![Lifecycle::Phase(Phase::Build)])),
        ..Metadata::default()
    };
    // Every member is named: the default has a random serial number.
    let bom = Bom {
        version: 1,
        serial_number: None,
        metadata: Some(metadata),
        components: Some(Components(components)),
        services: None,
        external_references: None,
        dependencies: Some(Dependencies(dependencies)),
        compositions: None,
        properties: None,
        vulnerabilities: None,
        signature: None,
        annotations: None,
        formulation: None,
        spec_version: SpecVersion::V1_5,
    };
    let serial = serial_number(&Digest::of(&json(bom.clone())?))?;
    let bom = Bom { serial_number: Some(serial), ..bom };
    validate(&bom)?;
    json(bom)
}

/// What a document says about its program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Summary {
    /// The program's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The platform, where the document names it.
    pub target: Option<String>,
    /// How many components are linked with it.
    pub components: usize,
}

/// Reads a document and checks it against the rules of its format.
///
/// # Errors
/// [`SbomError`]: no CycloneDX 1.5, or one that breaks its rules or names no program.
pub fn read(bytes: &[u8]) -> Result<Summary, SbomError> {
    let bom = Bom::parse_from_json(bytes).map_err(|error| SbomError::Json(Box::new(error)))?;
    if bom.spec_version != SpecVersion::V1_5 {
        return Err(SbomError::Version(bom.spec_version.to_string()));
    }
    validate(&bom)?;
    let metadata = bom.metadata.unwrap_or_default();
    let program = metadata.component.ok_or(SbomError::NoProgram)?;
    let properties = metadata.properties.map(|properties| properties.0).unwrap_or_default();
    let target = properties.iter().find(|property| property.name == TARGET_PROPERTY);
    Ok(Summary {
        name: program.name.to_string(),
        version: program.version.map(|version| version.to_string()).unwrap_or_default(),
        target: target.map(|property| property.value.to_string()),
        components: bom.components.map_or(0, |components| components.0.len()),
    })
}

fn component(id: &Id, package: &Crate) -> Component {
    let (name, version) = id;
    let purl = purl(id, package);
    let mut component = Component::new(Classification::Library, name, version, Some(purl.clone()));
    component.purl = Purl::from_str(&purl).ok();
    component.licenses = license(package).map(|choice| Licenses(vec![choice]));
    component.hashes = package.checksum.map(|checksum| {
        Hashes(vec![Hash { alg: HashAlgorithm::SHA_256, content: HashValue(checksum.to_string()) }])
    });
    component
}

/// It has no archive of its own, and so no hash: the crate's covers it.
fn native_component(native: &Native) -> Component {
    let purl = native.purl.clone();
    let mut component = Component::new(Classification::Library, native.name, &native.version, Some(purl));
    component.purl = Purl::from_str(&native.purl).ok();
    component.cpe = native.cpe.clone().map(Cpe::from);
    component.licenses = Some(Licenses(vec![LicenseChoice::expression(native.license)]));
    component
}

/// The package URL. A crate that is not on crates.io says where it is: else a scanner would take a stranger's crate
/// of the same name for it.
///
/// Source: package-url specification, type `cargo`, and its qualifiers `vcs_url` and `repository_url`.
fn purl((name, version): &Id, package: &Crate) -> String {
    let plain = format!("pkg:cargo/{name}@{}", percent_encoded(version));
    let qualifier = match package.source.as_deref() {
        Some("registry+https://github.com/rust-lang/crates.io-index") => return plain,
        Some(source) => match source.strip_prefix("git+") {
            // `git+https://host/repository?branch=main#commit`
            Some(git) => {
                let (url, commit) = git.split_once('#').unwrap_or((git, ""));
                let url = url.split('?').next().unwrap_or(url);
                let url = without_credentials(url);
                format!("vcs_url={}", percent_encoded(&format!("git+{url}@{commit}")))
            }
            None => {
                let url = source.split_once('+').map_or(source, |(_, url)| url);
                format!("repository_url={}", percent_encoded(&without_credentials(url)))
            }
        },
        None => match &package.repository {
            Some(repository) => format!("vcs_url={}", percent_encoded(&format!("git+{repository}"))),
            None => return plain,
        },
    };
    format!("{plain}?{qualifier}")
}

/// A version, or the value of a qualifier: all but RFC 3986's unreserved characters, `:` and `/`.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// An SPDX expression where the manifest has one, the old way with `/` included; else the manifest's own words.
fn license(package: &Crate) -> Option<LicenseChoice> {
    if let Some(text) = &package.license {
        return Some(match SpdxExpression::parse_lax(text.clone()) {
            Ok(expression) => {
                let words = expression.to_string();
                LicenseChoice::expression(&words.split_whitespace().collect::<Vec<_>>().join(" "))
            }
            Err(_) => LicenseChoice::license(text),
        });
    }
    package.license_file.as_ref().map(|file| LicenseChoice::license(&format!("see {file} in the crate")))
}

/// 122 bits of a digest in the form of a UUID, version 8.
fn serial_number(digest: &Digest) -> Result<UrnUuid, SbomError> {
    let mut digits: Vec<char> = digest.to_string().chars().take(32).collect();
    if let Some(version) = digits.get_mut(12) {
        *version = '8';
    }
    if let Some(variant) = digits.get_mut(16) {
        let two_bits = variant.to_digit(16).unwrap_or_default() & 0b11;
        *variant = char::from_digit(0b1000 | two_bits, 16).unwrap_or('8');
    }
    for place in [20, 16, 12, 8] {
        digits.insert(place, '-');
    }
    let text = digits.into_iter().collect::<String>();
    UrnUuid::new(format!("urn:uuid:{text}")).map_err(|_| SbomError::Invalid(vec!["serial_number".to_owned()]))
}

fn validate(bom: &Bom) -> Result<(), SbomError> {
    let result = bom.validate_version(SpecVersion::V1_5);
    if result.passed() {
        return Ok(());
    }
    Err(SbomError::Invalid(result.errors().map(|(member, kind)| format!("{member}: {kind:?}")).collect()))
}

fn json(bom: Bom) -> Result<Vec<u8>, SbomError> {
    let mut bytes = Vec::new();
    bom.output_as_json(&mut bytes, SpecVersion::V1_5).map_err(|error| SbomError::Write(Box::new(error)))?;
    bytes.push(b'\n');
    Ok(bytes)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, {} components", self.name, self.version, self.components)?;
        match &self.target {
            Some(target) => write!(f, ", {target}"),
            None => Ok(()),
        }
    }
}

/// A bill of materials that is none.
#[derive(Debug, thiserror::Error)]
pub enum SbomError {
    /// Not JSON, or not a CycloneDX document.
    #[error("not a CycloneDX document")]
    Json(#[source] Box<JsonReadError>),
    /// Another version.
    #[error("the bill of materials is CycloneDX {0}; {SPEC_VERSION} is needed")]
    Version(String),
    /// The document breaks rules of the format.
    #[error("the bill of materials breaks the rules of CycloneDX {SPEC_VERSION}: {}", .0.join("; "))]
    Invalid(Vec<String>),
    /// Nobody knows what it is a bill of.
    #[error("the bill of materials has no `metadata.component`, so it names no program")]
    NoProgram,
    /// A time that the format cannot hold.
    #[error("{0} cannot be the time of a bill of materials")]
    Time(Timestamp),
    /// The document cannot be written.
    #[error("the bill of materials cannot be written")]
    Write(#[source] Box<JsonWriteError>),
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::{Value, json};

    use super::*;

    const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

    fn package(source: Option<&str>, license: Option<&str>, dependencies: &[&str]) -> Crate {
        Crate {
            source: source.map(str::to_owned),
            checksum: source.map(|source| Digest::of(source.as_bytes())),
            license: license.map(str::to_owned),
            license_file: None,
            repository: Some("https://github.com/acme/app".to_owned()),
            dependencies: dependencies.iter().map(|name| ((*name).to_owned(), "1.0.0".to_owned())).collect(),
            native: None,
        }
    }

    fn sample() -> Linked {
        let git = "git+https://token@example.org/forks/b?branch=x#0123456789abcdef0123456789abcdef01234567";
        let crates = BTreeMap::from(
            [
                ("app", package(None, Some("Apache-2.0"), &["b", "a", "c"])),
                ("a", package(Some(CRATES_IO), Some("MIT/Apache-2.0"), &["c"])),
                ("b", package(Some(git), Some("Apache-2.0 / MIT"), &[])),
                ("c", package(Some("sparse+https://crates.example.org/"), Some("Acme's own"), &[])),
            ]
            .map(|(name, package)| ((name.to_owned(), "1.0.0".to_owned()), package)),
        );
        Linked { root: ("app".to_owned(), "1.0.0".to_owned()), crates }
    }

    fn at(seconds: &str) -> Timestamp {
        crate::source::parse_seconds(seconds).unwrap()
    }

    #[test]
    fn a_document_says_what_is_linked_and_where_it_comes_from() {
        let bytes = write(&sample(), "application", "x86_64-unknown-linux-gnu", at("1767225600")).unwrap();
        let bom: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(bom["bomFormat"], "CycloneDX");
        assert_eq!(bom["specVersion"], "1.5");
        assert_eq!(bom["metadata"]["timestamp"], "2026-01-01T00:00:00.000000Z");
        assert_eq!(bom["metadata"]["component"]["name"], "application");
        assert_eq!(bom["metadata"]["component"]["type"], "application");
        let root = "pkg:cargo/app@1.0.0?vcs_url=git%2Bhttps://github.com/acme/app";
        assert_eq!(bom["metadata"]["component"]["bom-ref"], root);
        let purls: Vec<_> =
            bom["components"].as_array().unwrap().iter().map(|one| one["purl"].as_str().unwrap()).collect();
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let b = format!("pkg:cargo/b@1.0.0?vcs_url=git%2Bhttps://example.org/forks/b%40{commit}");
        let c = "pkg:cargo/c@1.0.0?repository_url=https://crates.example.org/";
        assert_eq!(purls, ["pkg:cargo/a@1.0.0", &b, c]);
        let of = |number: usize, pointer: &str| bom["components"][number].pointer(pointer).cloned().unwrap();
        assert_eq!(of(0, "/licenses/0/expression"), "MIT OR Apache-2.0");
        assert_eq!(of(1, "/licenses/0/expression"), "Apache-2.0 OR MIT");
        assert_eq!(of(2, "/licenses/0/license/name"), "Acme's own");
        assert_eq!(
            of(0, "/hashes"),
            json!([{"alg": "SHA-256", "content": Digest::of(CRATES_IO.as_bytes()).to_string()}])
        );
        let uses = bom["dependencies"].as_array().unwrap();
        assert_eq!(uses[0], json!({"ref": "pkg:cargo/a@1.0.0", "dependsOn": [c]}));
        assert_eq!(uses[1], json!({"ref": root, "dependsOn": ["pkg:cargo/a@1.0.0", b, c]}));

        let summary = read(&bytes).unwrap();
        assert_eq!(summary.to_string(), "application 1.0.0, 3 components, x86_64-unknown-linux-gnu");
    }

    #[test]
    fn c_that_a_crate_brings_has_its_own_name_and_version() {
        let mut linked = sample();
        let a = linked.crates.get_mut(&("a".to_owned(), "1.0.0".to_owned())).unwrap();
        let purl = "pkg:generic/sqlite@3.53.2".to_owned();
        let cpe = "cpe:2.3:a:sqlite:sqlite:3.53.2:*:*:*:*:*:*:*".to_owned();
        let (version, license) = ("3.53.2".to_owned(), "blessing");
        a.native =
            Some(Native { name: "sqlite", version, purl: purl.clone(), cpe: Some(cpe.clone()), license });
        let bytes = write(&linked, "app", "x", at("1")).unwrap();
        let bom: Value = serde_json::from_slice(&bytes).unwrap();
        let sqlite =
            bom["components"].as_array().unwrap().iter().find(|one| one["name"] == "sqlite").unwrap();
        assert_eq!((&sqlite["purl"], &sqlite["cpe"]), (&json!(purl), &json!(cpe)));
        assert_eq!(
            (&sqlite["version"], &sqlite["licenses"][0]["expression"]),
            (&json!("3.53.2"), &json!("blessing"))
        );
        let uses = bom["dependencies"].as_array().unwrap();
        let uses = uses.iter().find(|one| one["ref"] == "pkg:cargo/a@1.0.0").unwrap();
        assert!(uses["dependsOn"].as_array().unwrap().contains(&json!(purl)), "{uses}");
        assert_eq!(read(&bytes).unwrap().components, 4);
    }

    #[test]
    fn equal_input_gives_equal_bytes_and_any_change_another_serial_number() {
        let of = |linked: &Linked, time| write(linked, "app", "x86_64-unknown-linux-gnu", at(time)).unwrap();
        let bytes = of(&sample(), "1");
        assert_eq!(bytes, of(&sample(), "1"));
        let serial = |bytes: &[u8]| {
            serde_json::from_slice::<Value>(bytes).unwrap()["serialNumber"].as_str().unwrap().to_owned()
        };
        let mut other = sample();
        other.crates.retain(|(name, _), _| name != "c");
        let serials = BTreeSet::from([serial(&bytes), serial(&of(&sample(), "2")), serial(&of(&other, "1"))]);
        assert_eq!(serials.len(), 3);
        for serial in serials {
            let uuid = serial.strip_prefix("urn:uuid:").unwrap().as_bytes();
            assert_eq!(uuid[14], b'8', "the version of {serial}");
            assert!(b"89ab".contains(&uuid[19]), "the variant of {serial}");
        }
    }

    #[test]
    fn versions_with_build_metadata_are_escaped() {
        let id = ("toml".to_owned(), "1.2.1+spec-1.1.0".to_owned());
        let purl = purl(&id, &package(Some(CRATES_IO), None, &[]));
        assert_eq!(purl, "pkg:cargo/toml@1.2.1%2Bspec-1.1.0");
    }

    #[test]
    fn other_documents_are_refused() {
        let good = String::from_utf8(write(&sample(), "app", "x", at("1")).unwrap()).unwrap();
        let refused = |from: &str, to: &str| {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            read(bad.as_bytes()).unwrap_err()
        };
        let older = r#"{"bomFormat":"CycloneDX","specVersion":"1.4","version":1}"#;
        assert!(matches!(read(older.as_bytes()), Err(SbomError::Version(_))));
        assert!(matches!(refused("\"1.5\"", "\"1.6\""), SbomError::Json(_)));
        assert!(matches!(refused("\"specVersion\"", "\"spdxVersion\""), SbomError::Json(_)));
        assert!(matches!(refused("\"library\"", "\"libary\""), SbomError::Invalid(_)));
        assert!(matches!(refused("\"SHA-256\"", "\"SHA-257\""), SbomError::Invalid(_)));
        assert!(matches!(
            refused("pkg:cargo/a@1.0.0\",\n      \"name", "pkg:cargo/z@1.0.0\",\n      \"name"),
            SbomError::Invalid(_)
        ));
        assert!(matches!(read(b""), Err(SbomError::Json(_))));
        assert!(matches!(read(&good.as_bytes()[..good.len() / 2]), Err(SbomError::Json(_))));
        let mut bare: Value = serde_json::from_str(&good).unwrap();
        bare["metadata"].as_object_mut().unwrap().remove("component");
        bare.as_object_mut().unwrap().remove("dependencies");
        assert!(matches!(read(bare.to_string().as_bytes()), Err(SbomError::NoProgram)));
    }
}
