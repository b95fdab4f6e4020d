//! Private keys at rest, in cosign's own key files (formats §8).
//!
//! Source: cosign's `cosign.key`, which is go-securesystemslib's `encrypted` in PEM armour. scrypt (RFC 7914)
//! turns the password into a key, NaCl's secretbox (XSalsa20-Poly1305) seals a PKCS#8 document with it.
//!
//! ```text
//! -----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----
//! base64 of {"kdf":{"name":"scrypt","params":{"N":32768,"r":8,"p":1},"salt":b64},
//!            "cipher":{"name":"nacl/secretbox","nonce":b64 of 24 bytes},"ciphertext":b64}
//! -----END ENCRYPTED SIGSTORE PRIVATE KEY-----
//! ```
//!
//! Older files with the label `ENCRYPTED COSIGN PRIVATE KEY` are read as well. Where the file lies and who may
//! read it is the caller's business.

use chancery_core::b64;
use chancery_core::key::pem::{self, PemError};
use chancery_core::key::{KeyError, SigningKey};
use serde::Deserialize;
use sigstore::crypto::signing_key::{COSIGN_PRIVATE_KEY_PEM_LABEL, SIGSTORE_PRIVATE_KEY_PEM_LABEL, kdf};
use sigstore::errors::SigstoreError;
use zeroize::Zeroizing;

/// What a key file says about itself; all of it is checked before the password is tried.
#[derive(Deserialize)]
struct KeyFile {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: b64::Bytes,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: Params,
    #[serde(rename = "salt")]
    _salt: b64::Bytes,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
struct Params {
    #[serde(rename = "N")]
    n: u32,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: b64::Bytes,
}

/// Poly1305's tag: no sealed box is shorter.
const TAG_BYTES: usize = 16;

impl KeyFile {
    fn check(&self) -> Result<(), KeyFileError> {
        if self.kdf.name != kdf::NAME_SCRYPT || self.cipher.name != kdf::NAME_SECRET_BOX {
            let name = format!("{} with {}", self.kdf.name, self.cipher.name);
            return Err(KeyFileError::Scheme(name));
        }
        // Costs that cosign has ever written; another file could ask for any amount of memory.
        let Params { n, r, p } = self.kdf.params;
        let known = matches!(n, kdf::SCRYPT_N_LOW | kdf::SCRYPT_N_HIGH);
        if !known || r != kdf::SCRYPT_R || p != kdf::SCRYPT_P {
            return Err(KeyFileError::Cost { n, r, p });
        }
        // The crate that opens the box panics at a nonce of another length.
        let nonce_bytes = self.cipher.nonce.0.len();
        if u32::try_from(nonce_bytes) != Ok(kdf::BOX_NONCE_SIZE) || self.ciphertext.0.len() < TAG_BYTES {
            return Err(KeyFileError::Lengths { nonce: nonce_bytes, ciphertext: self.ciphertext.0.len() });
        }
        Ok(())
    }
}

/// Seals a private key under a password and gives the text of its file.
///
/// Salt and nonce are fresh from the operating system. Takes tens of milliseconds and 32 MiB: that is what
/// makes guessing a password expensive. Any password is taken, the empty one too, as cosign does.
///
/// # Errors
/// [`KeyFileError::Encrypt`].
pub fn encrypt(key: &SigningKey, password: &[u8]) -> Result<String, KeyFileError> {
    let der = key.to_pkcs8_der();
    let sealed = kdf::encrypt(&der, password).map_err(|error| KeyFileError::Encrypt(Box::new(error)))?;
    Ok(pem::encode(SIGSTORE_PRIVATE_KEY_PEM_LABEL, &sealed))
}

/// Opens the text of a key file. It takes as long as [`encrypt`], twice that for files that cosign wrote.
///
/// # Errors
/// [`KeyFileError::WrongPassword`] where the box does not open; the other variants say what is not as in a key
/// file, before the password is tried, or that it holds a key of another kind.
pub fn decrypt(text: &str, password: &[u8]) -> Result<SigningKey, KeyFileError> {
    let (label, sealed) = pem::decode(text)?;
    if label != SIGSTORE_PRIVATE_KEY_PEM_LABEL && label != COSIGN_PRIVATE_KEY_PEM_LABEL {
        return Err(KeyFileError::Label(label));
    }
    serde_json::from_slice::<KeyFile>(&sealed).map_err(KeyFileError::Json)?.check()?;
    // Everything else was checked: what can still fail is the authentication of the box.
    let der = kdf::decrypt(&sealed, password).map(Zeroizing::new).map_err(|_| KeyFileError::WrongPassword)?;
    Ok(SigningKey::from_pkcs8_der(&der)?)
}

/// A key file that does not open.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// No PEM block.
    #[error("the key file is not a PEM block")]
    Pem(#[from] PemError),
    /// A PEM block of something else, an unencrypted private key for example.
    #[error("the key file holds a `{0}`, not an `ENCRYPTED SIGSTORE PRIVATE KEY`")]
    Label(String),
    /// Not the JSON of an encrypted key.
    #[error("the key file's content is not that of an encrypted key")]
    Json(#[source] serde_json::Error),
    /// Another way of encrypting.
    #[error("the key file is encrypted by `{0}`; only scrypt with nacl/secretbox is known")]
    Scheme(String),
    /// A cost of scrypt that cosign never wrote.
    #[error("the key file asks for scrypt with N = {n}, r = {r}, p = {p}, which no cosign writes")]
    Cost {
        /// The cost of memory and time.
        n: u32,
        /// The block size.
        r: u32,
        /// The parallelism.
        p: u32,
    },
    /// A nonce or ciphertext that cannot be one.
    #[error("the key file has a nonce of {nonce} bytes and {ciphertext} bytes of ciphertext; it is damaged")]
    Lengths {
        /// Bytes of the nonce; 24 is right.
        nonce: usize,
        /// Bytes of the ciphertext; at least 16.
        ciphertext: usize,
    },
    /// The box does not open. A changed ciphertext looks the same as another password.
    #[error("wrong password, or the key file was changed")]
    WrongPassword,
    /// The password is right, but what is inside is no key that Chancery uses.
    #[error("the key file opens, but its key is not one that can be used")]
    Key(#[from] KeyError),
    /// The key could not be sealed.
    #[error("the key could not be encrypted")]
    Encrypt(#[source] Box<SigstoreError>),
}

#[cfg(test)]
mod tests {
    use chancery_core::key::{Algorithm, Signer as _};

    use super::*;

    const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/sigstore/");

    fn vector(name: &str) -> String {
        std::fs::read_to_string(format!("{VECTORS}{name}")).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_its_password_alone() {
        let ed25519 = SigningKey::generate_ed25519([7; 32]);
        let text = encrypt(&ed25519, b"correct horse").unwrap();
        assert!(text.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"));
        assert_eq!(decrypt(&text, b"correct horse").unwrap().public_key(), ed25519.public_key());
        assert!(matches!(decrypt(&text, b"correct horsf"), Err(KeyFileError::WrongPassword)));

        let p256 = SigningKey::generate_p256([7; 32]).unwrap();
        let text = encrypt(&p256, b"").unwrap();
        assert_eq!(decrypt(&text, b"").unwrap().public_key(), p256.public_key());
    }

    #[test]
    fn files_of_cosign_open() {
        let key = decrypt(&vector("cosign-empty-password.key"), b"").unwrap();
        assert_eq!(key.public_key().algorithm(), Algorithm::EcdsaP256);
        let key = decrypt(&vector("cosign-password-123.key"), b"123").unwrap();
        let signature = key.sign(b"message").unwrap();
        key.public_key().verify(b"message", &signature).unwrap();
        assert!(matches!(decrypt(&vector("cosign-password-123.key"), b""), Err(KeyFileError::WrongPassword)));
    }

    #[test]
    fn the_key_inside_has_to_be_one_of_ours() {
        let sealed = kdf::encrypt(b"not a key", b"x").unwrap();
        let text = pem::encode(SIGSTORE_PRIVATE_KEY_PEM_LABEL, &sealed);
        assert!(matches!(decrypt(&text, b"x"), Err(KeyFileError::Key(KeyError::Pkcs8))));
    }

    /// None of these tries the password: each would take as long as an attacker likes, or panic.
    #[test]
    fn other_files_are_refused_before_the_password_is_tried() {
        let good = vector("cosign-password-123.key");
        let (label, json) = pem::decode(&good).unwrap();
        let json = String::from_utf8(json).unwrap();
        let refused = |from: &str, to: &str| {
            let bad = json.replacen(from, to, 1);
            assert_ne!(bad, json);
            decrypt(&pem::encode(&label, bad.as_bytes()), b"123").unwrap_err()
        };
        assert!(matches!(
            refused("\"N\":32768", "\"N\":1073741824"),
            KeyFileError::Cost { n: 1_073_741_824, r: 8, p: 1 }
        ));
        assert!(matches!(refused("\"r\":8", "\"r\":64"), KeyFileError::Cost { .. }));
        assert!(matches!(refused("\"p\":1", "\"p\":9"), KeyFileError::Cost { .. }));
        assert!(matches!(refused("\"N\":32768", "\"N\":-1"), KeyFileError::Json(_)));
        assert!(matches!(refused("\"scrypt\"", "\"argon2\""), KeyFileError::Scheme(_)));
        assert!(matches!(refused("nacl/secretbox", "aes-gcm"), KeyFileError::Scheme(_)));
        assert!(matches!(
            refused("\"nonce\":\"g51N", "\"nonce\":\""),
            KeyFileError::Lengths { nonce: 21, .. }
        ));
        assert!(matches!(refused("\"ciphertext\":\"", "\"ciphertext\":\"=="), KeyFileError::Json(_)));
        assert!(matches!(refused("\"kdf\"", "\"kdg\""), KeyFileError::Json(_)));

        assert!(matches!(decrypt("", b""), Err(KeyFileError::Pem(PemError::Begin))));
        assert!(matches!(decrypt(&good[..good.len() / 2], b""), Err(KeyFileError::Pem(PemError::End))));
        // Cut inside, with the last line intact; and other things under the right label.
        let truncated = |json: &str| decrypt(&pem::encode(&label, json.as_bytes()), b"123").unwrap_err();
        assert!(matches!(truncated(&json[..json.len() / 2]), KeyFileError::Json(_)));
        let start = json.find("\"ciphertext\":\"").unwrap() + 14;
        let short = format!("{}{}", &json[..start + 16], "\"}");
        assert!(matches!(truncated(&short), KeyFileError::Lengths { ciphertext: 12, .. }));
        let shorter = format!("{}{}", &json[..start + 64], "\"}");
        assert!(matches!(truncated(&shorter), KeyFileError::WrongPassword));
        let relabelled = pem::encode(&label, &SigningKey::generate_ed25519([7; 32]).to_pkcs8_der());
        assert!(matches!(decrypt(&relabelled, b"123"), Err(KeyFileError::Json(_))));
        let plain = pem::encode("PRIVATE KEY", &SigningKey::generate_ed25519([7; 32]).to_pkcs8_der());
        assert!(matches!(decrypt(&plain, b""), Err(KeyFileError::Label(label)) if label == "PRIVATE KEY"));
    }
}
