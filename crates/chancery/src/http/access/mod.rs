//! Who calls, what they may do, and whose log it is about: every route with its roles, in one table.
//!
//! ```text
//! routes       the table: method, path, who may
//! tenants      one log each; the map of them is reached from here alone
//! dev          no credentials: loopback, one principal
//! credentials  what a request shows
//! certificate    that of the connection
//! keys           an API key
//! token          a token of an identity provider
//! throttle     how much, and how fast credentials can be guessed
//! refusal      what was refused: answered, and counted as a security event
//! ```
//! [`authorise`] stands before every handler. It finds the route in the table, asks who sends the request, and puts the
//! [`Identity`] and the [`Tenant`] into it. A request's tenant comes from its credential. Where none is needed it is in
//! the path (`/v1/log/{tenant}/…`) or is the only one, or the one that `tenant` in the query names.

mod certificate;
mod credentials;
mod dev;
mod keys;
mod refusal;
mod routes;
mod separation;
mod tenants;
mod throttle;
mod token;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chancery_core::time::Timestamp;
use chancery_runtime::Caller;
pub(super) use chancery_runtime::credentials::{Role, Roles};
use tokio::time::timeout;

use super::error::Problem;
use super::layers::{in_time, late};
use super::parameters::{Query, Segments, TenantInQuery};
use super::state::State;

use credentials::Shown;
use refusal::{Place, Refusal};
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
    /// Each request shows a credential, which says whose log it is about.
    Credentials,
}

/// Why a server must not listen on an address.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Anybody could call.
    #[error(
        "without credentials the server listens on loopback only, and `{address}` can be reached from elsewhere: \
         listen on 127.0.0.1 or ::1"
    )]
    Open {
        /// The address.
        address: SocketAddr,
    },
    /// Credentials and records would cross a network in the clear.
    #[error(
        "without TLS the server listens on loopback only, and `{address}` can be reached from elsewhere: credentials \
         would be read on the way"
    )]
    Clear {
        /// The address.
        address: SocketAddr,
    },
}

impl Authentication {
    /// Whether a server with this authentication may listen there; `is_private` says that nobody reads what comes over
    /// the network on the way: there is TLS, here or in a proxy.
    ///
    /// # Errors
    /// [`ListenError`] for an address beyond loopback when there are no credentials, or no TLS.
    pub fn may_listen_on(&self, address: SocketAddr, is_private: bool) -> Result<(), ListenError> {
        match self {
            _ if address.ip().is_loopback() => Ok(()),
            Self::Dev { .. } => Err(ListenError::Open { address }),
            Self::Credentials if is_private => Ok(()),
            Self::Credentials => Err(ListenError::Clear { address }),
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
    /// The API key, where it is one.
    key_id: Option<Arc<str>>,
    shown: Shown,
}

impl Identity {
    /// Refuses a credential that was good and is not any more, where a request goes on for long. Blocks where API keys
    /// have to be read.
    pub(super) fn check_again(&self, now: Timestamp) -> Result<(), Problem> {
        self.shown.check(&self.tenant, now)
    }

    /// Refuses a credential that lacks a role, where the route alone does not ask for it.
    pub(super) fn require(&self, role: Role) -> Result<(), Problem> {
        self.require_any(&[role])
    }

    fn require_any(&self, roles: &[Role]) -> Result<(), Problem> {
        if self.roles.has_any(roles) { Ok(()) } else { Err(lacking(roles)) }
    }
}

/// Names the roles that would do, one of which is enough.
fn lacking(roles: &[Role]) -> Problem {
    let named: Vec<String> = roles.iter().map(|role| format!("`{role}`")).collect();
    let mut detail = format!("the credential lacks the role for this: {} would do", named.join(" or "));
    if roles == [Role::Approver] {
        detail.push_str(", in a credential without an administrative role");
    }
    Problem::new(StatusCode::FORBIDDEN, "auth.role", detail)
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

/// Lets a request through to its handler if the table says so, for as long as the table says.
pub(super) async fn authorise(state: &State, request: Request, next: Next) -> Response {
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
    let place = Place::of(state, route, &parts);
    // Batches and the like have no other time-out for this.
    let limit = state.request_timeout();
    let admitted = match timeout(limit, admit(state, route.access, &mut parts)).await {
        Ok(admitted) => admitted,
        Err(_) => Err(late(limit, false).into()),
    };
    match admitted {
        Ok(()) => {
            let identity = parts.extensions.get::<Identity>().cloned();
            let request = Request::from_parts(parts, body);
            let response =
                if route.timed { in_time(state, request, next).await } else { next.run(request).await };
            place.count_answered(identity.as_ref(), &response);
            response
        }
        Err(refusal) => place.answer(state, refusal),
    }
}

/// Puts into the request whose log it is about, and who sends it where somebody has to.
async fn admit(state: &State, access: Access, parts: &mut Parts) -> Result<(), Refusal> {
    let identity = match access {
        Access::Page => return Ok(()),
        Access::Public => {
            let tenant = asked_for(state.tenants(), parts).await?;
            throttle::public(state, &tenant, parts)?;
            parts.extensions.insert(TenantInQuery);
            parts.extensions.insert(tenant);
            return Ok(());
        }
        Access::Log => {
            let segments = Segments::from_request_parts(parts, &()).await?;
            let wanted = segments.text("tenant");
            if let Some(tenant) = state.tenants().named(wanted).filter(|tenant| tenant.public_log()) {
                throttle::public(state, tenant, parts)?;
                parts.extensions.insert(tenant.clone());
                return Ok(());
            }
            let identity = identify(state, parts).await?;
            identity
                .require_any(&[Role::Reader, Role::Auditor])
                .map_err(|problem| refused(problem, &identity))?;
            if identity.tenant.name().as_str() != wanted {
                return Err(refused(another_log(&identity), &identity));
            }
            identity
        }
        Access::Any => identify(state, parts).await?,
        Access::Roles(roles) => {
            let identity = identify(state, parts).await?;
            identity.require_any(roles).map_err(|problem| refused(problem, &identity))?;
            identity
        }
        Access::OperatorPort => return Err(lacking(&[]).into()),
    };
    parts.extensions.insert(identity.tenant.clone());
    parts.extensions.insert(identity);
    Ok(())
}

/// A refusal of somebody whose credential is good.
fn refused(problem: Problem, identity: &Identity) -> Refusal {
    Refusal {
        problem,
        tenant: Some(identity.tenant.clone()),
        caller: Some(identity.caller.principal.clone()),
        key_id: identity.key_id.clone(),
    }
}

/// Who sends a request, which is counted: also where it is refused for what it asks.
async fn identify(state: &State, parts: &Parts) -> Result<Identity, Refusal> {
    let identity = match state.authentication() {
        Authentication::Dev { principal } => {
            dev::check_host(parts)?;
            Identity {
                caller: Caller { principal: Arc::clone(principal) },
                tenant: state.tenants().first().clone(),
                roles: Roles::all(),
                key_id: None,
                shown: Shown::Nothing,
            }
        }
        Authentication::Credentials => separation::hold(credentials::identify(state, parts).await?).await?,
    };
    throttle::request(&identity, state.clock().now())?;
    Ok(identity)
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

/// Says the same of a log that is here and of one that is not.
fn another_log(identity: &Identity) -> Problem {
    let detail = format!(
        "the credential is one of `{}`: the log of another tenant needs one of that tenant's, with the role `reader` or \
         `auditor`",
        identity.tenant.name()
    );
    Problem::new(StatusCode::FORBIDDEN, "auth.tenant", detail)
}

fn unknown_log() -> Problem {
    Problem::not_found("log.unknown", "there is no log of this tenant here for you")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_credentials_or_tls_only_loopback_is_listened_on() {
        let (dev, keys) = (Authentication::Dev { principal: "local".into() }, Authentication::Credentials);
        for address in ["127.0.0.1:80", "127.8.8.8:1", "[::1]:80"] {
            for authentication in [&dev, &keys] {
                assert!(authentication.may_listen_on(address.parse().unwrap(), false).is_ok(), "{address}");
            }
        }
        for address in ["0.0.0.0:80", "192.0.2.1:80", "[::]:80", "[2001:db8::1]:80"] {
            let address = address.parse().unwrap();
            for is_private in [false, true] {
                assert!(matches!(dev.may_listen_on(address, is_private), Err(ListenError::Open { .. })));
            }
            assert!(matches!(keys.may_listen_on(address, false), Err(ListenError::Clear { .. })));
            assert!(keys.may_listen_on(address, true).is_ok());
        }
    }
}
