//! Secrets at rest: the tenant's keys, and the openings that hold the values of signals.
//!
//! ```text
//! vault key (keys/vault.key)
//!   └─ wraps, in the database: commitment key K, opening key         AES-256-GCM, AAD = tenant ‖ 0x00 ‖ purpose
//!        wrapped = 0x01 ‖ nonce (12) ‖ ciphertext (32) ‖ tag (16)
//!   opening key
//!     └─ data key = HMAC(opening key, "chancery/v1/opening" ‖ 0x00 ‖ salt (32))      one for each opening
//!          sealed  = AES-256-GCM(data key, nonce (12), opening), AAD = tenant ‖ 0x00 ‖ H(PAE)
//!   └─ HMAC(vault key, "chancery/v1/api-key" ‖ 0x00 ‖ tenant)     keys the hashes of the tenant's API keys
//! ```
//! A sealed opening belongs to one record of one tenant: moved to another row it does not open. AES-256-GCM is
//! NIST SP 800-38D; a data key seals once, so its nonce could never repeat anyway.

use aes_gcm::aead::{Aead, AeadInOut, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use chancery_core::digest::{Digest, HmacKey, RecordId, hmac_sha256};
use chancery_core::ids::TenantId;
use chancery_store::EncryptedOpening;
use std::{fmt, mem};
use zeroize::Zeroizing;

const WRAPPED_VERSION: u8 = 1;
const OPENING_TAG: &[u8] = b"chancery/v1/opening\0";
const API_KEY_TAG: &[u8] = b"chancery/v1/api-key\0";

/// What a wrapped key is for; part of what is authenticated, so that one cannot stand in for another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// The tenant's commitment key K (formats §3). Never rotated.
    Commitment,
    /// The key from which every opening's data key is derived.
    Opening,
}

impl Purpose {
    /// The text in the database and in the associated data.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Commitment => "commitment",
            Self::Opening => "opening",
        }
    }
}

/// Wraps and unwraps the keys of tenants.
pub struct Vault {
    cipher: Aes256Gcm,
    derive: HmacKey,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(…)")
    }
}

impl Vault {
    /// The vault of the 32 secret bytes in `vault.key`.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self { cipher: Aes256Gcm::new(&(*secret).into()), derive: HmacKey::new(secret) }
    }

    /// The key that hashes a tenant's API keys. Derived, so that it lies nowhere; nodes that share a vault agree on it.
    #[must_use]
    pub fn api_key_hasher(&self, tenant: &TenantId) -> ApiKeyHasher {
        let key = Zeroizing::new(self.derive.tag(&[API_KEY_TAG, tenant.as_str().as_bytes()]));
        ApiKeyHasher(HmacKey::new(key.as_slice()))
    }

    /// Wraps a tenant's key under a fresh random `nonce`.
    ///
    /// # Errors
    /// [`VaultError::Seal`]; does not happen for 32 bytes.
    pub fn wrap(
        &self,
        tenant: &TenantId,
        purpose: Purpose,
        key: &[u8; 32],
        nonce: [u8; 12],
    ) -> Result<Vec<u8>, VaultError> {
        let aad = key_aad(tenant, purpose);
        let sealed = self
            .cipher
            .encrypt(&nonce.into(), Payload { msg: key, aad: &aad })
            .map_err(|_| VaultError::Seal)?;
        let mut wrapped = Vec::with_capacity(1 + nonce.len() + sealed.len());
        wrapped.push(WRAPPED_VERSION);
        wrapped.extend_from_slice(&nonce);
        wrapped.extend_from_slice(&sealed);
        Ok(wrapped)
    }

    /// Unwraps a tenant's key.
    ///
    /// # Errors
    /// [`VaultError::OtherVault`] when another vault wrapped it, for another tenant or purpose, or it was changed;
    /// [`VaultError::Shape`] when it is no wrapped key.
    pub fn unwrap(
        &self,
        tenant: &TenantId,
        purpose: Purpose,
        wrapped: &[u8],
    ) -> Result<Zeroizing<[u8; 32]>, VaultError> {
        let shape = || VaultError::Shape { purpose: purpose.as_str() };
        let (version, rest) = wrapped.split_first().ok_or_else(shape)?;
        let (nonce, sealed) = rest.split_first_chunk::<12>().ok_or_else(shape)?;
        if *version != WRAPPED_VERSION {
            return Err(shape());
        }
        let aad = key_aad(tenant, purpose);
        let key = Zeroizing::new(
            self.cipher
                .decrypt(&(*nonce).into(), Payload { msg: sealed, aad: &aad })
                .map_err(|_| VaultError::OtherVault { purpose: purpose.as_str() })?,
        );
        let key: [u8; 32] = key.as_slice().try_into().map_err(|_| shape())?;
        Ok(Zeroizing::new(key))
    }
}

/// Hashes API keys with a key that only the vault gives.
#[derive(Clone, Debug)]
pub struct ApiKeyHasher(HmacKey);

impl ApiKeyHasher {
    /// The hash that is stored: over what the key may do, `about`, and over its secret.
    #[must_use]
    pub fn hash(&self, about: &[u8], secret: &[u8; 32]) -> Digest {
        Digest::from_bytes(self.0.tag(&[about, &[0], secret]))
    }

    /// Whether `hash` is of them. Takes the same time wherever it differs.
    #[must_use]
    pub fn verify(&self, about: &[u8], secret: &[u8; 32], hash: &Digest) -> bool {
        self.0.verify(&[about, &[0], secret], hash.as_bytes())
    }
}

fn key_aad(tenant: &TenantId, purpose: Purpose) -> Vec<u8> {
    [tenant.as_ref().as_bytes(), &[0], purpose.as_str().as_bytes()].concat()
}

/// Seals and opens one tenant's openings.
pub struct OpeningKey {
    key: Zeroizing<[u8; 32]>,
    tenant: TenantId,
}

impl fmt::Debug for OpeningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpeningKey(…, {})", self.tenant)
    }
}

impl OpeningKey {
    /// The opening key of `tenant`.
    #[must_use]
    pub fn new(tenant: TenantId, key: Zeroizing<[u8; 32]>) -> Self {
        Self { key, tenant }
    }

    /// Seals `opening`, the JCS form of an opening, for one record. `salt` and `nonce` are fresh random bytes. It is
    /// encrypted where it stands, and wiped where that fails: it is not left in memory that is free.
    ///
    /// # Errors
    /// [`VaultError::Seal`] beyond 64 GiB.
    pub fn seal(
        &self,
        record: &RecordId,
        mut opening: Zeroizing<Vec<u8>>,
        partial: bool,
        salt: [u8; 32],
        nonce: [u8; 12],
    ) -> Result<EncryptedOpening, VaultError> {
        let aad = self.aad(record);
        self.cipher(&salt)
            .encrypt_in_place(&nonce.into(), &aad, &mut *opening)
            .map_err(|_| VaultError::Seal)?;
        Ok(EncryptedOpening { salt, nonce, ciphertext: mem::take(&mut *opening), partial })
    }

    /// Opens what [`OpeningKey::seal`] sealed for the same record.
    ///
    /// # Errors
    /// [`VaultError::Opening`] when it was changed or belongs to another record, tenant or key.
    pub fn open(
        &self,
        record: &RecordId,
        sealed: &EncryptedOpening,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let aad = self.aad(record);
        self.cipher(&sealed.salt)
            .decrypt(&sealed.nonce.into(), Payload { msg: &sealed.ciphertext, aad: &aad })
            .map(Zeroizing::new)
            .map_err(|_| VaultError::Opening { record: *record })
    }

    fn cipher(&self, salt: &[u8; 32]) -> Aes256Gcm {
        let data_key = Zeroizing::new(hmac_sha256(self.key.as_slice(), &[OPENING_TAG, salt]));
        Aes256Gcm::new(&(*data_key).into())
    }

    fn aad(&self, record: &RecordId) -> Vec<u8> {
        [self.tenant.as_ref().as_bytes(), &[0], record.as_bytes()].concat()
    }
}

/// Why a secret cannot be wrapped or read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum VaultError {
    /// Another `vault.key` wrapped this tenant's key, or the row was changed.
    #[error(
        "the tenant's {purpose} key was not wrapped with this `vault.key`; use the vault key that the database was made with"
    )]
    OtherVault {
        /// Which key.
        purpose: &'static str,
    },
    /// Not the bytes of a wrapped key.
    #[error("the tenant's {purpose} key in the database is no wrapped key")]
    Shape {
        /// Which key.
        purpose: &'static str,
    },
    /// The sealed opening was changed or moved.
    #[error("the opening of record {record} does not open: it was changed, or sealed with another key")]
    Opening {
        /// The record.
        record: RecordId,
    },
    /// The cipher refused the input.
    #[error("the cipher cannot seal this")]
    Seal,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    #[test]
    fn a_wrapped_key_opens_for_its_tenant_and_purpose_alone() {
        let vault = Vault::new(&[7; 32]);
        let key = [9; 32];
        let wrapped = vault.wrap(&tenant("acme"), Purpose::Commitment, &key, [1; 12]).unwrap();
        assert_eq!(wrapped.len(), 61);
        assert_eq!(*vault.unwrap(&tenant("acme"), Purpose::Commitment, &wrapped).unwrap(), key);
        let other = VaultError::OtherVault { purpose: "commitment" };
        assert_eq!(vault.unwrap(&tenant("acmf"), Purpose::Commitment, &wrapped).unwrap_err(), other);
        assert_eq!(
            Vault::new(&[8; 32]).unwrap(&tenant("acme"), Purpose::Commitment, &wrapped).unwrap_err(),
            other
        );
        assert!(vault.unwrap(&tenant("acme"), Purpose::Opening, &wrapped).is_err());
    }

    #[test]
    fn every_changed_byte_of_a_wrapped_key_is_refused() {
        let vault = Vault::new(&[7; 32]);
        let wrapped = vault.wrap(&tenant("acme"), Purpose::Opening, &[9; 32], [1; 12]).unwrap();
        for at in 0..wrapped.len() {
            let mut changed = wrapped.clone();
            changed[at] ^= 1;
            assert!(vault.unwrap(&tenant("acme"), Purpose::Opening, &changed).is_err(), "{at}");
            assert!(vault.unwrap(&tenant("acme"), Purpose::Opening, &wrapped[..at]).is_err(), "{at}");
        }
    }

    #[test]
    fn an_opening_opens_for_its_record_and_tenant_alone() {
        let record = RecordId::from_bytes([3; 32]);
        let key = OpeningKey::new(tenant("acme"), Zeroizing::new([5; 32]));
        let opening = Zeroizing::new(b"{}".to_vec());
        let sealed = key.seal(&record, opening, false, [6; 32], [2; 12]).unwrap();
        assert_eq!(key.open(&record, &sealed).unwrap().as_slice(), b"{}");
        assert_eq!(sealed.ciphertext.len(), 2 + 16, "the text and the tag");
        let refused = |key: &OpeningKey, record: [u8; 32], sealed: &EncryptedOpening| {
            key.open(&RecordId::from_bytes(record), sealed).unwrap_err()
        };
        let moved = VaultError::Opening { record: RecordId::from_bytes([4; 32]) };
        assert_eq!(refused(&key, [4; 32], &sealed), moved);
        let elsewhere = OpeningKey::new(tenant("other"), Zeroizing::new([5; 32]));
        refused(&elsewhere, [3; 32], &sealed);
        let rekeyed = OpeningKey::new(tenant("acme"), Zeroizing::new([4; 32]));
        refused(&rekeyed, [3; 32], &sealed);
        for change in [
            |sealed: &mut EncryptedOpening| sealed.salt[0] ^= 1,
            |sealed: &mut EncryptedOpening| sealed.nonce[0] ^= 1,
            |sealed: &mut EncryptedOpening| sealed.ciphertext[0] ^= 1,
        ] {
            let mut changed = sealed.clone();
            change(&mut changed);
            refused(&key, [3; 32], &changed);
        }
    }
}
