//! The container image of a release, read from an OCI image layout (formats §8).
//!
//! Source: OCI image specification 1.1, `image-layout.md` and `image-index.md`.
//!
//! ```text
//! DIR/oci-layout               {"imageLayoutVersion":"1.0.0"}
//! DIR/index.json               {"manifests":[{"digest":"sha256:<hex>","size":…,"annotations":{…ref.name…}},…]}
//! DIR/blobs/sha256/<hex>       the manifest, whose SHA-256 is its name
//! ```
//!
//! Layers are not read: the manifest's digest covers them, and the registry checks them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use chancery_core::digest::{Digest, ParseHashError};
use chancery_core::statement::Image;
use serde::Deserialize;

/// Names a manifest among several (OCI image specification, "Pre-Defined Annotation Keys").
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The one version of layouts that there is.
const LAYOUT_VERSION: &str = "1.0.0";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layout {
    image_layout_version: String,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Descriptor {
    fn ref_name(&self) -> Option<&str> {
        self.annotations.get(REF_NAME).map(String::as_str)
    }
}

/// An image by its name and digest, as a registry shows them.
///
/// # Errors
/// [`ImageError::Digest`].
pub fn given(name: &str, digest: &str) -> Result<Image, ImageError> {
    sha256_of(digest)?;
    Ok(Image { digest: digest.to_owned(), name: name.to_owned() })
}

/// The image called `name` in the layout at `folder`: the only manifest of its index, or the one whose reference is
/// `name` or the tag at the end of it.
///
/// # Errors
/// [`ImageError`]: no layout, no such manifest or several, or a manifest whose bytes have another digest.
pub fn from_layout(folder: &Path, name: &str) -> Result<Image, ImageError> {
    let layout: Layout = json(&folder.join("oci-layout"))?;
    if layout.image_layout_version != LAYOUT_VERSION {
        return Err(ImageError::Version(layout.image_layout_version));
    }
    let index: Index = json(&folder.join("index.json"))?;
    let tag = name.rsplit_once(':').map(|(_, tag)| tag);
    let named = |descriptor: &&Descriptor| {
        descriptor.ref_name().is_some_and(|reference| reference == name || Some(reference) == tag)
    };
    let candidates: Vec<&Descriptor> = match index.manifests.as_slice() {
        [one] => vec![one],
        several => several.iter().filter(named).collect(),
    };
    let [descriptor] = candidates.as_slice() else {
        let known = index.manifests.iter().filter_map(Descriptor::ref_name).map(str::to_owned).collect();
        return Err(ImageError::Choice { name: name.to_owned(), known });
    };
    let digest = sha256_of(&descriptor.digest)?;
    let manifest = read(&folder.join("blobs/sha256").join(digest.to_string()))?;
    let found = Digest::of(&manifest);
    if found != digest {
        return Err(ImageError::Manifest { named: digest, found });
    }
    Ok(Image { digest: descriptor.digest.clone(), name: name.to_owned() })
}

fn sha256_of(digest: &str) -> Result<Digest, ImageError> {
    let wrong = |source| ImageError::Digest { digest: digest.to_owned(), source };
    let hex = digest.strip_prefix("sha256:").ok_or_else(|| wrong(None))?;
    hex.parse().map_err(|error| wrong(Some(error)))
}

fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    fs::read(path).map_err(|source| ImageError::Read { path: path.to_owned(), source })
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ImageError> {
    serde_json::from_slice(&read(path)?).map_err(|source| ImageError::Json { path: path.to_owned(), source })
}

/// An image that cannot be named.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file of the layout is not there.
    #[error("cannot read `{}`; name the folder of an OCI image layout, as `skopeo copy … oci:DIR` writes it", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file of the layout is not what its name says.
    #[error("`{}` is no file of an OCI image layout", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// Another version of the layout.
    #[error("the OCI image layout has version `{0}`; only {LAYOUT_VERSION} is known")]
    Version(String),
    /// No manifest, or several, that can be meant.
    #[error("the OCI image layout has not exactly one manifest called `{name}`; it has {}", list(.known))]
    Choice {
        /// The name that was asked for.
        name: String,
        /// The references in the index.
        known: Vec<String>,
    },
    /// The manifest's bytes are not those that the index names.
    #[error("the image's manifest has SHA-256 {found}, the index names {named}; the layout was changed")]
    Manifest {
        /// The digest in the index.
        named: Digest,
        /// The digest of the file.
        found: Digest,
    },
    /// No digest that a build identity can name.
    #[error("`{digest}` is no image digest; write `sha256:` and 64 lowercase hexadecimal digits")]
    Digest {
        /// The text.
        digest: String,
        /// What is wrong with the digits.
        #[source]
        source: Option<ParseHashError>,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none with a name".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A layout with a manifest for each reference; the digests follow from the reference alone.
    fn layout(references: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let blobs = folder.path().join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let manifests: Vec<_> = references
            .iter()
            .map(|reference| {
                let manifest = json!({"schemaVersion": 2, "of": reference}).to_string();
                let digest = Digest::of(manifest.as_bytes()).to_string();
                fs::write(blobs.join(&digest), &manifest).unwrap();
                let annotations = json!({REF_NAME: reference});
                json!({"digest": format!("sha256:{digest}"), "size": manifest.len(), "annotations": annotations})
            })
            .collect();
        fs::write(folder.path().join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string())
            .unwrap();
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        fs::write(folder.path().join("index.json"), index.to_string()).unwrap();
        folder
    }

    #[test]
    fn the_manifest_is_the_only_one_or_the_one_that_is_named() {
        let one = layout(&["latest"]);
        let image = from_layout(one.path(), "ghcr.io/acme/chancery:1.0").unwrap();
        assert_eq!(image.name, "ghcr.io/acme/chancery:1.0");
        assert_eq!(given(&image.name, &image.digest).unwrap(), image);

        let two = layout(&["1.0", "1.1"]);
        let of = |name| from_layout(two.path(), name);
        assert_ne!(of("chancery:1.0").unwrap().digest, of("chancery:1.1").unwrap().digest);
        assert_eq!(of("1.0").unwrap().digest, of("chancery:1.0").unwrap().digest);
        let error = of("chancery:2.0").unwrap_err();
        assert!(error.to_string().ends_with("it has `1.0`, `1.1`"), "{error}");
        assert!(matches!(from_layout(layout(&[]).path(), "x"), Err(ImageError::Choice { .. })));
    }

    #[test]
    fn a_layout_that_was_changed_is_refused() {
        let folder = layout(&["1.0"]);
        let image = from_layout(folder.path(), "c").unwrap();
        let blob = folder.path().join("blobs/sha256").join(&image.digest[7..]);
        let mut bytes = fs::read(&blob).unwrap();
        bytes[0] ^= 1;
        fs::write(&blob, bytes).unwrap();
        assert!(matches!(from_layout(folder.path(), "c"), Err(ImageError::Manifest { .. })));
        fs::remove_file(&blob).unwrap();
        assert!(matches!(from_layout(folder.path(), "c"), Err(ImageError::Read { .. })));
        fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
        assert!(matches!(from_layout(folder.path(), "c"), Err(ImageError::Version(_))));
        fs::write(folder.path().join("oci-layout"), "{}").unwrap();
        assert!(matches!(from_layout(folder.path(), "c"), Err(ImageError::Json { .. })));
    }

    #[test]
    fn a_digest_has_one_form() {
        let hex = "ab".repeat(32);
        given("c", &format!("sha256:{hex}")).unwrap();
        for bad in
            [hex.clone(), format!("sha512:{hex}"), format!("sha256:{}", hex.to_uppercase()), "sha256:".into()]
        {
            assert!(matches!(given("c", &bad), Err(ImageError::Digest { .. })), "{bad}");
        }
        // A path in the place of a digest leads nowhere.
        let folder = layout(&["1.0"]);
        let index = json!({"manifests": [{"digest": "sha256:../../oci-layout"}]}).to_string();
        fs::write(folder.path().join("index.json"), index).unwrap();
        assert!(matches!(from_layout(folder.path(), "c"), Err(ImageError::Digest { .. })));
    }
}
