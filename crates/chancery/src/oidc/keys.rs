//! A key set (RFC 7517), with what each key may be used for.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// The most keys of a set: providers have a few.
const KEYS_MAX: usize = 100;
/// RSA moduli, bytes: 2,048 to 8,192 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// Why there is no key for a token.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum NoKey {
    /// The set has none for it.
    Unknown,
    /// There is no set.
    Unavailable,
}

/// The public keys of a provider that the configured algorithms can use.
pub(super) struct KeySet(Vec<Key>);

struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// What is wrong with a key set.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// Not JSON with a list `keys`.
    #[error("it is no JSON object with a list `keys`")]
    Form,
    /// Too many.
    #[error("it has {got} keys, and may have {KEYS_MAX}")]
    Many {
        /// How many it has.
        got: usize,
    },
    /// None that could be used.
    #[error("none of its keys is for a signature with one of the configured algorithms")]
    Useless,
}

impl KeySet {
    /// Reads a set. Keys of other kinds are passed over, as RFC 7517 §5 says.
    pub(super) fn parse(bytes: &[u8], allowed: &[Algorithm]) -> Result<Self, KeySetError> {
        let value: Value = serde_json::from_slice(bytes).map_err(|_| KeySetError::Form)?;
        let keys = value.get("keys").and_then(Value::as_array).ok_or(KeySetError::Form)?;
        if keys.len() > KEYS_MAX {
            return Err(KeySetError::Many { got: keys.len() });
        }
        let usable = |key: &Value| Key::of(&serde_json::from_value(key.clone()).ok()?, allowed);
        let keys: Vec<Key> = keys.iter().filter_map(usable).collect();
        if keys.is_empty() { Err(KeySetError::Useless) } else { Ok(Self(keys)) }
    }

    /// The key of this id for this algorithm. Without an id it has to be the only one for it.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
        let mut fitting = self.0.iter().filter(|key| {
            key.algorithms.contains(&algorithm) && id.is_none_or(|id| key.id.as_deref() == Some(id))
        });
        // Two keys of one id are none: it would not be said which signed.
        let found = fitting.next()?;
        fitting.next().is_none().then(|| found.key.clone())
    }
}

impl Key {
    fn of(jwk: &Jwk, allowed: &[Algorithm]) -> Option<Self> {
        let common = &jwk.common;
        if common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
            return None;
        }
        let possible: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(parameters) => {
                // Base64url has four characters for three bytes; a leading zero byte is allowed for nobody.
                if !MODULUS_BYTES.contains(&(parameters.n.len() * 3 / 4)) {
                    return None;
                }
                &[
                    Algorithm::RS256,
                    Algorithm::RS384,
                    Algorithm::RS512,
                    Algorithm::PS256,
                    Algorithm::PS384,
                    Algorithm::PS512,
                ]
            }
            AlgorithmParameters::EllipticCurve(parameters) => match parameters.curve {
                EllipticCurve::P256 => &[Algorithm::ES256],
                EllipticCurve::P384 => &[Algorithm::ES384],
                _ => &[],
            },
            AlgorithmParameters::OctetKeyPair(parameters) if parameters.curve == EllipticCurve::Ed25519 => {
                &[Algorithm::EdDSA]
            }
            // A shared secret in a key set is everybody's.
            _ => &[],
        };
        let said = common.key_algorithm.map(|algorithm| algorithm.to_string());
        let fits = |algorithm: &&Algorithm| {
            allowed.contains(algorithm) && said.as_ref().is_none_or(|said| *said == format!("{algorithm:?}"))
        };
        let algorithms: Vec<Algorithm> = possible.iter().filter(fits).copied().collect();
        if algorithms.is_empty() {
            return None;
        }
        Some(Self { id: common.key_id.clone(), algorithms, key: DecodingKey::from_jwk(jwk).ok()? })
    }
}

/// For tests: what a set of these keys looks like.
#[cfg(test)]
pub(crate) fn set_of(keys: Vec<Value>) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!({ "keys": keys })).unwrap()
}
