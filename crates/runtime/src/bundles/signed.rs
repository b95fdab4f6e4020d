//! A bundle with its signature: `bundle.sum` signed by a policy key (formats §7), and the folder that holds both.

use super::BundleError;
use chancery_core::digest::BundleHash;
use chancery_core::key::{PublicKey, Signer};
use chancery_core::sigstore::MessageBundle;
use chancery_policy::Bundle;
use chancery_policy::sum::{SIGNATURE, SUM, is_beside};
use std::collections::BTreeMap;

/// The files of a bundle: path to content.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A bundle with the signature over its `bundle.sum`.
#[derive(Clone, Debug)]
pub struct SignedBundle {
    /// The content, without `bundle.sum` and its signature.
    pub files: Files,
    /// The signature.
    pub signature: MessageBundle,
}

/// What signing a bundle makes.
#[derive(Clone, Debug)]
pub struct BundleSignature {
    /// The text for `bundle.sum`.
    pub sum: String,
    /// Its hash, which decisions name.
    pub hash: BundleHash,
    /// For `bundle.sum.sigstore.json`.
    pub signature: MessageBundle,
}

impl BundleSignature {
    /// The bytes for `bundle.sum.sigstore.json`.
    ///
    /// # Errors
    /// [`BundleError::Written`]; does not happen.
    pub fn to_json(&self) -> Result<Vec<u8>, BundleError> {
        signature_json(&self.signature)
    }
}

pub(super) fn signature_json(signature: &MessageBundle) -> Result<Vec<u8>, BundleError> {
    let canonical = chancery_core::canonical::to_canonical(signature)?;
    Ok(canonical.into_bytes())
}

/// Checks a bundle and signs its `bundle.sum`. Files beside the content are ignored.
///
/// # Errors
/// [`BundleError::Invalid`] with every fault of the bundle, [`BundleError::Sign`].
pub fn sign(files: &Files, key: &dyn Signer) -> Result<BundleSignature, BundleError> {
    let bundle = Bundle::from_files(content(files))?;
    let signature = MessageBundle::sign(bundle.sum().as_bytes(), key)?;
    Ok(BundleSignature { sum: bundle.sum().to_owned(), hash: bundle.hash(), signature })
}

/// Checks a bundle and that `key` signed it.
///
/// # Errors
/// [`BundleError::Invalid`], [`BundleError::Signature`].
pub fn verify(signed: &SignedBundle, key: &PublicKey) -> Result<Bundle, BundleError> {
    let bundle = Bundle::from_files(content(&signed.files))?;
    signed.signature.verify(bundle.sum().as_bytes(), key)?;
    Ok(bundle)
}

impl SignedBundle {
    /// Takes a bundle's folder apart: content, and `bundle.sum.sigstore.json`. Where there is a `bundle.sum`, it has
    /// to be the one that the content gives.
    ///
    /// # Errors
    /// [`BundleError::NotSigned`], [`BundleError::Sum`], [`BundleError::Path`], [`BundleError::Signature`] for a
    /// signature file that is none.
    pub fn from_folder(mut files: Files) -> Result<Self, BundleError> {
        let signature = files.remove(SIGNATURE).ok_or(BundleError::NotSigned)?;
        let signature = MessageBundle::parse(&signature)?;
        let given = files.remove(SUM);
        let sum = chancery_policy::sum(&files)?;
        if given.is_some_and(|given| given != sum.as_bytes()) {
            return Err(BundleError::Sum);
        }
        Ok(Self { files, signature })
    }
}

/// The files without `bundle.sum` and its signature.
pub(super) fn content(files: &Files) -> Files {
    files
        .iter()
        .filter(|(path, _)| !is_beside(path))
        .map(|(path, bytes)| (path.clone(), bytes.clone()))
        .collect()
}
