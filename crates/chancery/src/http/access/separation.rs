//! Administrators do not approve, whatever they show: an API key, a token or a certificate.
//!
//! The credential alone does not say it: a principal may have another one. What is known in memory is held against it,
//! and where nobody knows, nobody approves.

use std::sync::Arc;

use super::Identity;
use crate::http::error::Problem;

/// Takes `approver` from whoever has an administrative role by another credential.
pub(super) async fn hold(identity: Identity) -> Result<Identity, Problem> {
    let credentials = identity.tenant.runtime().credentials();
    let (principal, roles) = (&identity.caller.principal, identity.roles);
    // API keys are looked up, so that one that was revoked is forgotten; of tokens nobody has a list.
    if identity.key_id.is_none() && roles.is_administrative() {
        credentials.administers(principal);
    }
    let roles = match credentials.known_separated(principal, roles) {
        Some(roles) => roles,
        None => {
            let (credentials, principal) = (Arc::clone(credentials), Arc::clone(principal));
            let read = tokio::task::spawn_blocking(move || credentials.separated(&principal, roles));
            read.await.map_err(|_| Problem::internal())?.map_err(Problem::from)?
        }
    };
    Ok(Identity { roles, ..identity })
}
