//! `[tls]` of the server's configuration, and `[[clients]]` of a tenant's.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::oidc::GrantedRole;

/// What the server shows, and whose client certificates it looks at. Each field: its meaning.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// The server's certificate with those between it and its authority, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM, readable for nobody else.
    pub key: PathBuf,
    /// The authorities whose client certificates are taken, PEM. Without it none is asked for.
    pub client_ca: Option<PathBuf>,
}

/// Who a client certificate is. One of the first four fields says which certificate is meant.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSettings {
    /// The common name of its subject.
    pub subject_cn: Option<String>,
    /// A URI among its alternative names, such as a SPIFFE id.
    pub san_uri: Option<String>,
    /// A DNS name among its alternative names.
    pub san_dns: Option<String>,
    /// SHA-256 of the certificate (DER), 64 lowercase hex digits.
    pub sha256: Option<String>,
    /// Who that is: the id of the principal.
    pub principal: String,
    /// What they may do.
    pub roles: Vec<GrantedRole>,
}

/// What is wrong with `[[clients]]`.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    /// None or several.
    #[error(
        "`[[clients]]` for `{principal}` needs one of `subject_cn`, `san_uri`, `san_dns` and `sha256`, and no other of \
         them"
    )]
    Which {
        /// For whom.
        principal: String,
    },
    /// No hash.
    #[error("`sha256` of `[[clients]]` for `{principal}` has to be 64 lowercase hex digits")]
    Hash {
        /// For whom.
        principal: String,
    },
    /// Nobody could do anything.
    #[error("`[[clients]]` for `{principal}` has no `roles`")]
    Roles {
        /// For whom.
        principal: String,
    },
    /// Administrators do not approve.
    #[error(
        "`[[clients]]` for `{principal}` has `approver` and an administrative role: administrators do not approve, so \
         give the other role to another principal"
    )]
    Separation {
        /// Who.
        principal: String,
    },
    /// Not a name.
    #[error("`principal` of `[[clients]]` has to be 1 to 200 bytes without control characters")]
    Principal,
    /// The same certificate would be two.
    #[error("two `[[clients]]` are for the same certificate: {which}")]
    Twice {
        /// Which.
        which: String,
    },
}
