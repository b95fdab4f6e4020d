//! What goes wrong with credentials: whoever shows one, and whoever looks after them.

use crate::edge::EntropyError;
use crate::error::{store_cause, store_code, store_detail};
use crate::failure::{Cause, Failure, Fault, summary};
use crate::keys::KeyError;
use crate::runtime::OpenError;
use chancery_core::time::Timestamp;
use chancery_store::StoreError;
use std::sync::Arc;

use super::key::MalformedKey;

/// Whose key it is, where its secret was right and it is refused nevertheless.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KnownKey {
    /// Its name.
    pub key_id: Arc<str>,
    /// Who calls with it.
    pub principal: Arc<str>,
}

/// Why a credential is refused.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticateError {
    /// No API key, or one with a typo.
    #[error(transparent)]
    Malformed(#[from] MalformedKey),
    /// No key of this log has this text. Whether its id or its secret is wrong is not said.
    #[error("there is no such API key")]
    Unknown,
    /// Its time has not begun.
    #[error("the API key `{}` is good from {not_before} on", key.key_id)]
    NotYet {
        /// Which.
        key: KnownKey,
        /// From when on it is good.
        not_before: Timestamp,
    },
    /// Its time is over.
    #[error("the API key `{}` has expired at {expires_at}; `chancery apikey rotate` makes its successor", key.key_id)]
    Expired {
        /// Which.
        key: KnownKey,
        /// When.
        expires_at: Timestamp,
    },
    /// It was revoked.
    #[error("the API key `{}` was revoked", key.key_id)]
    Revoked {
        /// Which.
        key: KnownKey,
    },
    /// Whether it is good cannot be found out at the moment, so it is not.
    #[error("the API keys cannot be read")]
    Store(#[from] StoreError),
    /// Somebody has tried in vain a moment ago; that one is told why.
    #[error("the API keys could not be read a moment ago")]
    JustTried,
}

impl AuthenticateError {
    /// Whose key it is, where its secret was right.
    #[must_use]
    pub fn known(&self) -> Option<&KnownKey> {
        match self {
            Self::NotYet { key, .. } | Self::Expired { key, .. } | Self::Revoked { key } => Some(key),
            Self::Malformed(_) | Self::Unknown | Self::Store(_) | Self::JustTried => None,
        }
    }
}

impl Failure for AuthenticateError {
    fn whose(&self) -> Cause {
        match self {
            Self::Store(error) => store_cause(error),
            Self::JustTried => Cause::Unavailable,
            _ => Cause::Refused,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "auth.malformed",
            Self::Unknown => "auth.unknown",
            Self::NotYet { .. } => "auth.not_yet",
            Self::Expired { .. } => "auth.expired",
            Self::Revoked { .. } => "auth.revoked",
            Self::JustTried => "store.unavailable",
            Self::Store(error) => store_code(error),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Store(error) => store_detail(error),
            other => other.to_string(),
        }
    }
}

/// Why API keys or security events cannot be looked after.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// What is asked for has faults.
    #[error("the key cannot be made: {}", summary(faults))]
    Request {
        /// All of them.
        faults: Vec<Fault>,
    },
    /// Somebody would both approve and change the rules of approving.
    #[error(
        "`{principal}` would have `approver` and an administrative role: administrators do not approve, so make the key \
         for another principal, or revoke the other one first"
    )]
    Separation {
        /// Who.
        principal: String,
    },
    /// There are so many keys that servers could not keep them in memory.
    #[error("the log has {max} API keys already: revoked and unused keys count until they expire")]
    Limit {
        /// The most that there may be.
        max: usize,
    },
    /// There is no such key.
    #[error("there is no API key `{key_id}`; `chancery apikey list --all` has all of them")]
    Unknown {
        /// Its name.
        key_id: String,
    },
    /// It has ended, so that it can have no successor.
    #[error(
        "the API key `{key_id}` has expired or was revoked: make a new one with `chancery apikey create`"
    )]
    Ended {
        /// Its name.
        key_id: String,
    },
    /// Somebody may still ask for these events.
    #[error("security events are kept for 90 days: name an earlier time")]
    Young,
    /// The vault's key cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyError),
    /// The vault is not the one of this log.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There are no random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Failure for CredentialError {
    fn whose(&self) -> Cause {
        match self {
            Self::Request { .. } | Self::Young => Cause::Caller,
            Self::Separation { .. } => Cause::Refused,
            Self::Limit { .. } | Self::Ended { .. } => Cause::Conflict,
            Self::Unknown { .. } => Cause::NotFound,
            Self::KeyFile(error) => error.whose(),
            Self::Open(error) => error.whose(),
            Self::Entropy(_) => Cause::Unavailable,
            Self::Store(error) => store_cause(error),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Request { .. } => "request.invalid",
            Self::Separation { .. } => "apikey.separation",
            Self::Limit { .. } => "apikey.limit",
            Self::Unknown { .. } => "apikey.unknown",
            Self::Ended { .. } => "apikey.ended",
            Self::Young => "events.young",
            Self::KeyFile(error) => error.code(),
            Self::Open(error) => error.code(),
            Self::Entropy(_) => "runtime.entropy",
            Self::Store(error) => store_code(error),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Request { faults } if faults.len() == 1 => "the key cannot be made".to_owned(),
            Self::Request { faults } => format!("the key cannot be made, for {} reasons", faults.len()),
            Self::KeyFile(error) => error.detail(),
            Self::Open(error) => error.detail(),
            Self::Store(error) => store_detail(error),
            other => other.to_string(),
        }
    }

    fn faults(&self) -> &[Fault] {
        match self {
            Self::Request { faults } => faults,
            _ => &[],
        }
    }
}
