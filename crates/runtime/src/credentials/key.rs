//! The text of an API key.
//!
//! ```text
//! chy_acme_9f0c2b7d1a3e5f60_<64 hex digits><8 hex digits>
//! │   │    │                │               └ checksum: a typo is told without a look-up
//! │   │    │                └ secret, 256 random bits
//! │   │    └ key id, 64 random bits: what people and lists call it
//! │   └ tenant: whose store is asked. It proves nothing, the hash in that store does
//! └ what scanners for secrets look for: chy_[a-z0-9._-]+_[0-9a-f]{16}_[0-9a-f]{72}
//! ```
//! The checksum is the beginning of `H("chancery/v1/api-key-checksum" ‖ 0x00 ‖ the text before it)`.

use crate::edge::{self, Entropy, EntropyError};
use chancery_core::digest::{Digest, parse_hex32, sha256_parts};
use chancery_core::ids::TenantId;
use std::fmt;
use zeroize::Zeroizing;

/// What every API key begins with.
pub const PREFIX: &str = "chy_";
/// Digits of a key id.
const ID_DIGITS: usize = 16;
const SECRET_DIGITS: usize = 64;
const CHECKSUM_DIGITS: usize = 8;
const CHECKSUM_TAG: &[u8] = b"chancery/v1/api-key-checksum\0";

/// An API key with its secret. Nothing shows the secret but [`ApiKey::text`].
#[derive(Clone)]
pub struct ApiKey {
    tenant: TenantId,
    id: String,
    secret: Zeroizing<[u8; 32]>,
}

/// A text that is no API key. It is not repeated: it may be one with a typo.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MalformedKey {
    /// Not of the form of one.
    #[error("not an API key: one has the form `chy_<tenant>_<key id>_<secret>`")]
    Form,
    /// A character is wrong, missing or too many.
    #[error("the API key has a typo: its checksum does not fit")]
    Checksum,
}

impl ApiKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`EntropyError`] when there are no random bytes.
    pub(crate) fn generate(tenant: TenantId, entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let id: [u8; ID_DIGITS / 2] = edge::random(entropy)?;
        let id = id.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { tenant, id, secret: Zeroizing::new(edge::random(entropy)?) })
    }

    /// Reads what a caller has shown.
    ///
    /// # Errors
    /// [`MalformedKey`].
    pub fn parse(text: &str) -> Result<Self, MalformedKey> {
        // The tenant may have the mark that divides the parts, the other two cannot.
        let rest = text.strip_prefix(PREFIX).ok_or(MalformedKey::Form)?;
        let mut parts = rest.rsplitn(3, '_');
        let (Some(digits), Some(id), Some(tenant)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(MalformedKey::Form);
        };
        let tenant: TenantId = tenant.parse().map_err(|_| MalformedKey::Form)?;
        let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if id.len() != ID_DIGITS || !is_hex(id) {
            return Err(MalformedKey::Form);
        }
        // Whatever the length of what stands there, a typo is what it most likely is.
        let (before, checksum) = text
            .len()
            .checked_sub(CHECKSUM_DIGITS)
            .and_then(|at| text.split_at_checked(at))
            .ok_or(MalformedKey::Form)?;
        let secret = digits.get(..SECRET_DIGITS).ok_or(MalformedKey::Checksum)?;
        if digits.len() != SECRET_DIGITS + CHECKSUM_DIGITS || checksum_of(before) != checksum {
            return Err(MalformedKey::Checksum);
        }
        let secret = parse_hex32(secret).map_err(|_| MalformedKey::Checksum)?;
        Ok(Self { tenant, id: id.to_owned(), secret: Zeroizing::new(secret) })
    }

    /// Whose key it says it is.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Its name: 16 lower-case hex digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The same key id with another secret.
    #[cfg(test)]
    pub(super) fn with_secret(&self, secret: [u8; 32]) -> Self {
        Self { secret: Zeroizing::new(secret), ..self.clone() }
    }

    /// The whole text, with the secret.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        // A digest's text is that of any 32 bytes.
        let before = Zeroizing::new(format!(
            "{PREFIX}{}_{}_{}",
            self.tenant,
            self.id,
            Digest::from_bytes(*self.secret)
        ));
        Zeroizing::new(format!("{}{}", before.as_str(), checksum_of(&before)))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}, {}, …)", self.tenant, self.id)
    }
}

fn checksum_of(before: &str) -> String {
    let hash = Digest::from_bytes(sha256_parts(&[CHECKSUM_TAG, before.as_bytes()])).to_string();
    hash.get(..CHECKSUM_DIGITS).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestEntropy;

    fn key(tenant: &str) -> ApiKey {
        ApiKey::generate(tenant.parse().unwrap(), &TestEntropy::default()).unwrap()
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        for tenant in ["acme", "a", "under_score", "a.b-c_d"] {
            let key = key(tenant);
            let read = ApiKey::parse(&key.text()).unwrap();
            assert_eq!((read.tenant().as_str(), read.id()), (tenant, key.id()));
            assert_eq!(read.secret(), key.secret());
            assert!(!format!("{key:?}").contains(&key.text().as_str()[30..60]));
        }
    }

    #[test]
    fn every_typo_is_told_by_the_text_alone() {
        let text = key("acme").text();
        for at in 0..text.len() {
            for other in ['0', '1', 'a', 'z', '_', 'A', ' '] {
                let mut typo: Vec<char> = text.chars().collect();
                if typo[at] == other {
                    continue;
                }
                typo[at] = other;
                let typo: String = typo.into_iter().collect();
                assert!(ApiKey::parse(&typo).is_err(), "{at} {other}");
            }
            assert!(ApiKey::parse(&text[..at]).is_err(), "{at}");
        }
        for added in [format!("{}0", *text), format!("{} ", *text), format!(" {}", *text)] {
            assert!(ApiKey::parse(&added).is_err());
        }
        for other in ["", "chy_", "chy___", "chy_acme", "eyJhbGciOiJFZERTQSJ9.e30.c2ln", "chy_é_0_0"] {
            assert_eq!(ApiKey::parse(other).unwrap_err(), MalformedKey::Form, "{other}");
        }
    }
}
