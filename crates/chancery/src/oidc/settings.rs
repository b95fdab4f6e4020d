//! `[oidc]` of a tenant's configuration.

use std::fmt;
use std::path::PathBuf;

use chancery_runtime::credentials::Role;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The identity provider whose tokens are this tenant's credentials. Each field: its meaning, unit and range.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OidcSettings {
    /// `iss` of its tokens, byte for byte.
    pub issuer: String,
    /// What `aud` of its tokens has to contain: this server, as the provider knows it.
    pub audience: String,
    /// Where its key set is (RFC 7517): `https://…`. Either this or `jwks_file`.
    pub jwks_url: Option<String>,
    /// A file with its key set.
    pub jwks_file: Option<PathBuf>,
    /// Signature algorithms, of which a token may have one.
    #[serde(default = "algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// How far the provider's clock may be off, seconds (0 to 300).
    #[serde(default = "leeway_s")]
    pub leeway_s: u32,
    /// The claim with the id of the principal; `a.b` is `b` in `a`.
    #[serde(default = "principal_claim")]
    pub principal_claim: String,
    /// The claim with the provider's roles: a list of texts, or one text with spaces.
    #[serde(default = "roles_claim")]
    pub roles_claim: String,
    /// What its roles mean here. What is not in it means nothing.
    #[serde(default)]
    pub roles: Vec<Granting>,
}

fn algorithms() -> Vec<Algorithm> {
    vec![Algorithm(jsonwebtoken::Algorithm::RS256), Algorithm(jsonwebtoken::Algorithm::ES256)]
}

fn leeway_s() -> u32 {
    30
}

fn principal_claim() -> String {
    "sub".to_owned()
}

fn roles_claim() -> String {
    "roles".to_owned()
}

/// What one of the provider's roles means here.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Granting {
    /// The provider's word.
    pub value: String,
    /// Roles of this server.
    pub roles: Vec<GrantedRole>,
}

impl Granting {
    pub(super) fn roles(&self) -> impl Iterator<Item = Role> {
        self.roles.iter().map(|role| role.0)
    }
}

/// A role as it stands in a configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GrantedRole(pub Role);

impl Serialize for GrantedRole {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for GrantedRole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// An algorithm of a signature with a public key (RFC 7518 §3.1, RFC 8037). Others cannot be said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Algorithm(pub(super) jsonwebtoken::Algorithm);

impl Algorithm {
    const ALL: [(&'static str, jsonwebtoken::Algorithm); 9] = [
        ("RS256", jsonwebtoken::Algorithm::RS256),
        ("RS384", jsonwebtoken::Algorithm::RS384),
        ("RS512", jsonwebtoken::Algorithm::RS512),
        ("PS256", jsonwebtoken::Algorithm::PS256),
        ("PS384", jsonwebtoken::Algorithm::PS384),
        ("PS512", jsonwebtoken::Algorithm::PS512),
        ("ES256", jsonwebtoken::Algorithm::ES256),
        ("ES384", jsonwebtoken::Algorithm::ES384),
        ("EdDSA", jsonwebtoken::Algorithm::EdDSA),
    ];
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, algorithm)| *algorithm == self.0).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl Serialize for Algorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Algorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, algorithm)| Self(*algorithm)).ok_or_else(|| {
            let names = Self::ALL.map(|(name, _)| format!("`{name}`")).join(", ");
            serde::de::Error::custom(format!(
                "an algorithm is one of {names}; `{text}` is none with a public key"
            ))
        })
    }
}

/// What is wrong with `[oidc]`.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Both places for the keys, or none.
    #[error("`[oidc]` needs `jwks_url` or `jwks_file`, one of them")]
    Place,
    /// Keys that come over an open line are anybody's.
    #[error("`oidc.jwks_url` has to begin with `https://`, or be on this machine")]
    Url,
    /// Empty where there has to be something.
    #[error("`oidc.{key}` is empty")]
    Empty {
        /// The key.
        key: &'static str,
    },
    /// Clocks that are so far off are to be set.
    #[error("`oidc.leeway_s` is {value}, and has to be 0 to 300")]
    Leeway {
        /// What it was.
        value: u32,
    },
    /// Nobody could do anything.
    #[error("`[[oidc.roles]]` is missing: say what the provider's roles mean here, as `value` and `roles`")]
    Roles,
}

impl OidcSettings {
    /// Refuses what could not work, or would trust too much.
    ///
    /// # Errors
    /// [`SettingsError`] names the key.
    pub fn check(&self) -> Result<(), SettingsError> {
        let texts = [
            ("issuer", self.issuer.is_empty()),
            ("audience", self.audience.is_empty()),
            ("principal_claim", self.principal_claim.is_empty()),
            ("roles_claim", self.roles_claim.is_empty()),
            ("algorithms", self.algorithms.is_empty()),
        ];
        if let Some((key, _)) = texts.into_iter().find(|(_, empty)| *empty) {
            return Err(SettingsError::Empty { key });
        }
        match (&self.jwks_url, &self.jwks_file) {
            (Some(url), None) if !is_private_way(url) => return Err(SettingsError::Url),
            (Some(_), None) | (None, Some(_)) => {}
            _ => return Err(SettingsError::Place),
        }
        if self.leeway_s > 300 {
            return Err(SettingsError::Leeway { value: self.leeway_s });
        }
        if self.roles.iter().all(|granting| granting.roles.is_empty()) {
            return Err(SettingsError::Roles);
        }
        Ok(())
    }
}

/// Whether nobody on the way can change what comes from there.
fn is_private_way(url: &str) -> bool {
    let Ok(uri) = url.parse::<axum::http::Uri>() else { return false };
    let Some(host) = uri.host() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => host == "localhost" || address.is_ok_and(|address| address.is_loopback()),
        _ => false,
    }
}
