//! Bearer tokens of an identity provider: OpenID Connect, JSON web tokens (RFC 7519, RFC 8725).
//!
//! ```text
//! header.payload.signature                                   base64url, with dots
//!   header   alg: one that the configuration allows and the key is for · kid: which key · typ: JWT, at+jwt or none
//!   payload  iss, aud: which tenant's configuration · exp, nbf (else iat): when · two claims: who, and what they may
//! ```
//! A token is judged by the configuration of one tenant: the one that names its issuer and audience. No claim names a
//! tenant. Keys come from the provider's key set (`keys`), never from the token; algorithms with a shared secret and
//! `none` cannot be configured. What cannot be checked is refused.

pub(crate) mod keys;
mod settings;
mod source;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use chancery_core::time::Timestamp;
use chancery_runtime::credentials::{PREFIX, Roles};
use jsonwebtoken::Validation;
use serde_json::{Map, Value};

pub use settings::{Algorithm, GrantedRole, Granting, OidcSettings, SettingsError};
pub use source::{FetchError, Source};

use keys::NoKey;
use source::Keys;

/// The longest token: the header of a request has no room for much more.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// The longest name of a principal.
const PRINCIPAL_BYTES_MAX: usize = 200;
/// What a token may say that it is. An ID token, an access token (RFC 9068), or nothing.
const TYPES: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];

/// Whoever a good token is of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Holder {
    pub(crate) principal: Arc<str>,
    pub(crate) roles: Roles,
    /// Until when the token is good, leeway included, in seconds since 1970.
    pub(crate) until_s: i64,
}

/// Why a token is refused. None of them shows a part of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// Not three parts, not base64url, not JSON, or a claim is of another type than it has to be.
    #[error("the token is no JSON web token as it has to be: {0}")]
    Malformed(&'static str),
    /// Nothing that this server trusts has made it.
    #[error("the token is not one that is trusted here: {0}")]
    Unknown(&'static str),
    /// Its time has not begun.
    #[error("the token is not valid yet")]
    NotYet,
    /// Its time is over.
    #[error("the token has expired: get a new one")]
    Expired,
    /// Its holder may do nothing here.
    #[error("none of the token's roles means anything here: `[[oidc.roles]]` of the tenant says which do")]
    NoRole,
    /// Whether it is good cannot be found out at the moment.
    #[error("the identity provider's keys cannot be read at the moment; retry")]
    Unavailable,
}

/// What a token says about whose it is, before anything is verified.
pub(crate) struct Claimed {
    issuer: String,
    audiences: Vec<String>,
}

/// Judges the tokens of one provider for one tenant.
pub struct Oidc {
    settings: OidcSettings,
    keys: Keys,
}

impl std::fmt::Debug for Oidc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Oidc({} for {})", self.settings.issuer, self.settings.audience)
    }
}

impl Oidc {
    /// With the keys that `source` has. They are read when they are first needed, or by [`Oidc::prefetch`].
    #[must_use]
    pub fn new(settings: OidcSettings, source: Source) -> Self {
        let keys = Keys::new(source, settings.algorithms.iter().map(|algorithm| algorithm.0).collect());
        Self { settings, keys }
    }

    /// Reads the keys, so that the first request need not. Blocks.
    ///
    /// # Errors
    /// [`FetchError`] when there are none; later requests try again.
    pub fn prefetch(&self, now: Timestamp) -> Result<(), FetchError> {
        self.keys.prefetch(now)
    }

    /// Whose tokens it judges.
    pub(crate) fn issuer_and_audience(&self) -> (&str, &str) {
        (&self.settings.issuer, &self.settings.audience)
    }

    /// Whether a token may be one of these.
    pub(crate) fn is_meant(&self, claimed: &Claimed) -> bool {
        claimed.issuer == self.settings.issuer && claimed.audiences.contains(&self.settings.audience)
    }

    /// Judges a token at `now`.
    pub(crate) async fn judge(&self, token: &str, now: Timestamp) -> Result<Holder, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed("its header"))?;
        if header.crit.is_some() {
            return Err(TokenError::Unknown("its header has critical extensions"));
        }
        if header.typ.as_deref().is_some_and(|typ| !TYPES.iter().any(|known| typ.eq_ignore_ascii_case(known)))
        {
            return Err(TokenError::Unknown("it is of another type than `JWT` or `at+jwt`"));
        }
        if !self.settings.algorithms.iter().any(|allowed| allowed.0 == header.alg) {
            return Err(TokenError::Unknown("its algorithm is none of the configured ones"));
        }
        let key =
            self.keys.find(header.kid.as_deref(), header.alg, now).await.map_err(|error| match error {
                NoKey::Unknown => TokenError::Unknown("no key of the issuer has its `kid` and `alg`"),
                NoKey::Unavailable => TokenError::Unavailable,
            })?;
        // Claims are judged below, by this program's clock.
        let mut validation = Validation::new(header.alg);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation)
            .map_err(|_| TokenError::Unknown("its signature does not hold"))?
            .claims;
        self.check(&claims, now)
    }

    /// Judges what is in a token whose signature holds.
    fn check(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<Holder, TokenError> {
        if !self.is_meant(&Claimed::of(claims)?) {
            return Err(TokenError::Unknown("its issuer or its audience is another one"));
        }
        let now_s = now.unix_micros().div_euclid(1_000_000);
        let leeway_s = i64::from(self.settings.leeway_s);
        let expires = instant(claims, "exp")?.ok_or(TokenError::Malformed("it has no `exp`"))?;
        // Many providers leave `nbf` out; then a token is good from when it was issued.
        let begins = match instant(claims, "nbf")? {
            Some(begins) => begins,
            None => instant(claims, "iat")?.ok_or(TokenError::Malformed("it has neither `nbf` nor `iat`"))?,
        };
        let until_s = expires.saturating_add(leeway_s);
        if now_s >= until_s {
            return Err(TokenError::Expired);
        }
        if now_s < begins.saturating_sub(leeway_s) {
            return Err(TokenError::NotYet);
        }
        let principal = find(claims, &self.settings.principal_claim)
            .and_then(Value::as_str)
            .filter(|name| (1..=PRINCIPAL_BYTES_MAX).contains(&name.len()))
            .filter(|name| !name.chars().any(char::is_control))
            .ok_or(TokenError::Malformed("the claim for the principal is missing, or no name"))?;
        let roles = self.roles(find(claims, &self.settings.roles_claim));
        if roles.is_empty() {
            return Err(TokenError::NoRole);
        }
        Ok(Holder { principal: principal.into(), roles, until_s })
    }

    /// What the values of the claim for roles are mapped to. A value that is not mapped means nothing.
    fn roles(&self, claim: Option<&Value>) -> Roles {
        let values: Vec<&str> = match claim {
            // A text is a list with spaces, as `scope` is (RFC 8693 §4.2).
            Some(Value::String(text)) => text.split(' ').collect(),
            Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let granted = self.settings.roles.iter().filter(|granting| values.contains(&granting.value.as_str()));
        granted.flat_map(Granting::roles).collect::<Roles>().separated()
    }
}

impl Claimed {
    /// Reads it from a token. Nothing of it is verified: it only tells whose configuration judges.
    pub(crate) fn read(token: &str) -> Result<Self, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed("it is too long"));
        }
        let claims = jsonwebtoken::dangerous::insecure_decode_claims::<Map<String, Value>>(token)
            .map_err(|_| TokenError::Malformed("its payload"))?;
        Self::of(&claims)
    }

    fn of(claims: &Map<String, Value>) -> Result<Self, TokenError> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let issuer = claims
            .get("iss")
            .and_then(text)
            .ok_or(TokenError::Malformed("it has no `iss`, or no text there"))?;
        let audiences = match claims.get("aud") {
            Some(Value::String(one)) => Some(vec![one.clone()]),
            Some(Value::Array(many)) => many.iter().map(text).collect(),
            _ => None,
        };
        let audiences = audiences.ok_or(TokenError::Malformed("it has no `aud`, or something else there"))?;
        Ok(Self { issuer, audiences })
    }
}

/// An instant in seconds since 1970, whole or not (RFC 7519 §2, NumericDate).
fn instant(claims: &Map<String, Value>, name: &'static str) -> Result<Option<i64>, TokenError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let whole = value.as_i64().or_else(|| {
        let text = value.as_number()?.to_string();
        // A fraction of a second makes no difference that the leeway does not make.
        text.split_once('.').filter(|(_, rest)| rest.bytes().all(|b| b.is_ascii_digit()))?.0.parse().ok()
    });
    whole.map(Some).ok_or(TokenError::Malformed("a time in it is no number of seconds"))
}

/// A claim by its name, else by its path: `realm_access.roles`.
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    find(claims.get(first)?.as_object()?, rest)
}

/// Whether a bearer credential is a JSON web token: three parts with dots. An API key has those of its tenant's name.
pub(crate) fn is_token(text: &str) -> bool {
    !text.starts_with(PREFIX) && text.bytes().filter(|byte| *byte == b'.').count() == 2
}
