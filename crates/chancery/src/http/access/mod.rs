//! Who calls, what they may do, and whose log it is about: every route with its roles, in one table.
//!
//! ```text
//! routes   the table: method, path, who may
//! role     what credentials allow
//! tenants  one log each; the map of them is reached from here alone
//! dev      no credentials: loopback, one principal
//! ```
//! [`authorise`] stands before every handler. It finds the route in the table, asks who sends the request, and puts the
//! [`Identity`] and the [`Tenant`] into it. A request's tenant comes from its credential. Where none is needed it is in
//! the path (`/v1/log/{tenant}/…`) or is the only one, or the one that `tenant` in the query names.

mod dev;
mod role;
mod routes;
mod tenants;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, Request, State as Extract};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chancery_runtime::Caller;

use super::error::Problem;
use super::parameters::{Query, Segments, TenantInQuery};
use super::state::State;

pub(super) use role::{Role, Roles};
pub(super) use routes::{Access, ROUTES, find};
pub use tenants::{Log, TenantsError};
pub(super) use tenants::{Tenant, Tenants};

/// How callers are told apart.
#[derive(Clone, Debug)]
pub enum Authentication {
    /// Nobody shows anything: whoever reaches the server is this principal of its first tenant. Loopback only.
    Dev {
        /// The id of the principal entity.
        principal: Arc<str>,
    },
}

/// Why a server must not listen on an address.
#[derive(Debug, thiserror::Error)]
#[error(
    "without credentials the server listens on loopback only, and `{address}` can be reached from elsewhere: \
     listen on 127.0.0.1 or ::1"
)]
pub struct ListenError {
    address: SocketAddr,
}

impl Authentication {
    /// Whether a server with this authentication may listen there.
    ///
    /// # Errors
    /// [`ListenError`] for an address beyond loopback when there are no credentials.
    pub fn may_listen_on(&self, address: SocketAddr) -> Result<(), ListenError> {
        match self {
            Self::Dev { .. } if address.ip().is_loopback() => Ok(()),
            Self::Dev { .. } => Err(ListenError { address }),
        }
    }
}

/// Who sends a request, and what they may do.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// The principal that decisions name.
    pub(super) caller: Caller,
    tenant: Tenant,
    roles: Roles,
}

impl Identity {
    /// Refuses a credential that lacks a role, where the route alone does not ask for it.
    pub(super) fn require(&self, role: Role) -> Result<(), Problem> {
        self.require_any(&[role])
    }

    fn require_any(&self, roles: &[Role]) -> Result<(), Problem> {
        if self.roles.has_any(roles) { Ok(()) } else { Err(lacking()) }
    }
}

fn lacking() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "auth.role", "the credential lacks the role for this")
}

impl<S: Sync> FromRequestParts<S> for Identity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Only the table puts it there, so a handler that asks for it cannot be reached around the table.
        parts.extensions.get::<Self>().cloned().ok_or_else(unauthenticated)
    }
}

fn unauthenticated() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "auth.required", "this needs a credential")
}

/// Lets a request through to its handler if the table says so.
pub(super) async fn authorise(Extract(state): Extract<State>, request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>().cloned();
    // Without a path there is no handler behind it but the one that says 404.
    let Some(matched) = matched else { return next.run(request).await };
    let Some(route) = find(request.method(), matched.as_str()) else {
        if ROUTES.iter().any(|route| route.path == matched.as_str()) {
            // The path is known and the method is not: the answer is 405.
            return next.run(request).await;
        }
        return Problem::new(StatusCode::FORBIDDEN, "auth.unclassified", "nobody may use this route")
            .into_response();
    };
    let (mut parts, body) = request.into_parts();
    match admit(&state, route.access, &mut parts).await {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(problem) => problem.into_response(),
    }
}

/// Puts into the request whose log it is about, and who sends it where somebody has to.
async fn admit(state: &State, access: Access, parts: &mut Parts) -> Result<(), Problem> {
    match access {
        Access::Page => Ok(()),
        Access::Public => {
            let tenant = asked_for(state.tenants(), parts).await?;
            parts.extensions.insert(TenantInQuery);
            parts.extensions.insert(tenant);
            Ok(())
        }
        Access::Log => {
            let segments = Segments::from_request_parts(parts, &()).await?;
            let wanted = segments.text("tenant");
            if let Some(tenant) = state.tenants().named(wanted).filter(|tenant| tenant.public_log()) {
                parts.extensions.insert(tenant.clone());
                return Ok(());
            }
            let identity = identify(state, parts).await?;
            identity.require_any(&[Role::Reader, Role::Auditor])?;
            if identity.tenant.name().as_str() != wanted {
                return Err(unknown_log());
            }
            enter(parts, identity);
            Ok(())
        }
        Access::Any => {
            let identity = identify(state, parts).await?;
            enter(parts, identity);
            Ok(())
        }
        Access::Roles(roles) => {
            let identity = identify(state, parts).await?;
            identity.require_any(roles)?;
            enter(parts, identity);
            Ok(())
        }
        Access::OperatorPort => Err(lacking()),
    }
}

fn enter(parts: &mut Parts, identity: Identity) {
    parts.extensions.insert(identity.tenant.clone());
    parts.extensions.insert(identity);
}

/// Who sends a request.
async fn identify(state: &State, parts: &Parts) -> Result<Identity, Problem> {
    match state.authentication() {
        Authentication::Dev { principal } => {
            dev::check_host(&parts.headers)?;
            Ok(Identity {
                caller: Caller { principal: Arc::clone(principal) },
                tenant: state.tenants().first().clone(),
                roles: dev::ROLES.into_iter().collect(),
            })
        }
    }
}

/// The tenant that a public route is asked about.
async fn asked_for(tenants: &Tenants, parts: &mut Parts) -> Result<Tenant, Problem> {
    let mut query = Query::from_request_parts(parts, &()).await?;
    let names = query.all("tenant");
    let tenant = match names.as_slice() {
        [] => {
            return tenants.only().cloned().ok_or_else(|| {
                let detail =
                    "this server has the logs of several tenants: say whose is meant with `?tenant=`";
                Problem::new(StatusCode::BAD_REQUEST, "request.tenant", detail)
            });
        }
        [name] => tenants.named(name),
        _ => {
            let detail = "`tenant` is given more than once";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "request.tenant", detail));
        }
    };
    tenant.cloned().ok_or_else(unknown_log)
}

fn unknown_log() -> Problem {
    Problem::not_found("log.unknown", "there is no log of this tenant here for you")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_credentials_only_loopback_is_listened_on() {
        let dev = Authentication::Dev { principal: "local".into() };
        for address in ["127.0.0.1:80", "127.8.8.8:1", "[::1]:80"] {
            assert!(dev.may_listen_on(address.parse().unwrap()).is_ok(), "{address}");
        }
        for address in ["0.0.0.0:80", "192.0.2.1:80", "[::]:80", "[2001:db8::1]:80"] {
            assert!(dev.may_listen_on(address.parse().unwrap()).is_err(), "{address}");
        }
    }
}
