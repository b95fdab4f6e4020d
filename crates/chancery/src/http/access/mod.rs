//! Who calls, and what they may do: every route with its role, in one table.
//!
//! No credentials exist yet. [`Authentication::Dev`] takes every caller for one configured principal with every
//! role that a route asks for, and so it may only listen where nobody else can reach it; what approvers and publishers
//! hand in is signed with keys of their own besides. API keys are another variant: they find an [`Identity`] for a bearer token, and nothing else here changes.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, Request, State as Extract};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chancery_runtime::Caller;

use super::error::Problem;
use super::state::State;

/// How callers are told apart.
#[derive(Clone, Debug)]
pub enum Authentication {
    /// Nobody shows anything: whoever reaches the server is this principal. Loopback only.
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

    /// Who sends a request.
    fn identify(&self, headers: &HeaderMap) -> Result<Identity, Problem> {
        match self {
            Self::Dev { principal } => {
                // A web page whose name was pointed at 127.0.0.1 is not a caller on this machine.
                if headers.get(header::HOST).is_some_and(|host| !is_loopback_host(host.as_bytes())) {
                    return Err(Problem::new(
                        StatusCode::FORBIDDEN,
                        "auth.host",
                        "without credentials only requests to `localhost`, `127.0.0.1` or `[::1]` are taken",
                    ));
                }
                Ok(Identity { caller: Caller::new(principal), roles: DEV_ROLES })
            }
        }
    }
}

/// Whether a `Host` header names this machine.
fn is_loopback_host(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What a credential allows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    /// Submits executions.
    Submitter,
    /// Reads decisions.
    Reader,
    /// Exports evidence.
    Auditor,
    /// Publishes and activates bundles; what they hand in is signed with their own key besides.
    PolicyPublisher,
    /// Hands in keyring versions, which root keys have signed.
    KeyCustodian,
    /// Looks at override cases and hands overrides in; those are signed with their own key besides.
    Approver,
}

/// Whoever starts a server with `--dev` holds the keys and the database anyway.
const DEV_ROLES: &[Role] = &[
    Role::Submitter,
    Role::Reader,
    Role::Auditor,
    Role::PolicyPublisher,
    Role::KeyCustodian,
    Role::Approver,
];

/// Who may use a route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Access {
    /// Everybody: it gives out public material only.
    Public,
    /// Everybody where the log is public by configuration, else readers and auditors.
    Log,
    /// Every credential.
    Any,
    /// Credentials with one of these roles.
    Roles(&'static [Role]),
    /// Not on the API's port at all.
    OperatorPort,
}

/// One route.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    /// `GET` stands for `HEAD` as well.
    pub(super) method: &'static str,
    /// The template.
    pub(super) path: &'static str,
    /// Who may use it.
    pub(super) access: Access,
    /// Whether an answer has to begin within the request time-out. Where not, silence is what times out.
    pub(super) timed: bool,
}

const SUBMITTERS: Access = Access::Roles(&[Role::Submitter]);
const EVALUATORS: Access = Access::Roles(&[Role::Submitter, Role::Reader]);
const READERS: Access = Access::Roles(&[Role::Reader]);
const AUDITORS: Access = Access::Roles(&[Role::Auditor]);
const PUBLISHERS: Access = Access::Roles(&[Role::PolicyPublisher]);
const APPROVERS: Access = Access::Roles(&[Role::Approver]);
const CUSTODIANS: Access = Access::Roles(&[Role::KeyCustodian]);

const fn route(method: &'static str, path: &'static str, access: Access) -> Route {
    Route { method, path, access, timed: true }
}

const fn untimed(method: &'static str, path: &'static str, access: Access) -> Route {
    Route { method, path, access, timed: false }
}

/// Every route of both ports. One that is not here is refused.
pub(super) const ROUTES: &[Route] = &[
    route("POST", "/v1/decisions", SUBMITTERS),
    untimed("POST", "/v1/decisions:batch", SUBMITTERS),
    route("POST", "/v1/decisions:evaluate", EVALUATORS),
    route("GET", "/v1/decisions", READERS),
    route("GET", "/v1/decisions:stats", READERS),
    untimed("GET", "/v1/decisions:export", AUDITORS),
    route("GET", "/v1/decisions/{id}", READERS),
    untimed("GET", "/v1/decisions/{id}/attestation", READERS),
    route("GET", "/v1/decisions/{id}/provenance", AUDITORS),
    route("GET", "/v1/decisions/{id}/lineage", READERS),
    route("GET", "/v1/decisions/{id}/explanation", READERS),
    route("POST", "/v1/decisions/{id}/replay", AUDITORS),
    route("POST", "/v1/decisions/{id}/confirmation", SUBMITTERS),
    route("GET", "/v1/overrides", APPROVERS),
    route("GET", "/v1/overrides/{execution_id}", APPROVERS),
    route("POST", "/v1/overrides/{execution_id}/statement", APPROVERS),
    route("POST", "/v1/overrides/{execution_id}", APPROVERS),
    route("GET", "/v1/policies", READERS),
    route("GET", "/v1/policies/{id}", READERS),
    route("GET", "/v1/policies/{id}/{version}", READERS),
    route("POST", "/v1/policies/{id}/{version}", PUBLISHERS),
    route("POST", "/v1/policies/{id}/{version}/activation", PUBLISHERS),
    route("GET", "/v1/build", Access::Public),
    route("GET", "/v1/trust/root.pub", Access::Public),
    route("GET", "/v1/trust/keyring", Access::Public),
    route("POST", "/v1/trust/keyring", CUSTODIANS),
    route("GET", "/v1/log/{tenant}/checkpoint", Access::Log),
    route("GET", "/v1/log/{tenant}/tile/{*path}", Access::Log),
    route("GET", "/v1/log/{tenant}/proof", Access::Log),
    untimed("POST", "/v1/verify", Access::Any),
    route("GET", "/v1/verifications", READERS),
    route("POST", "/v1/verifications:backfill", AUDITORS),
    route("GET", "/v1/verifications:backfill/{job}", AUDITORS),
    route("GET", "/v1/openapi.json", Access::Public),
    route("GET", "/docs", Access::Public),
    route("GET", "/docs/", Access::Public),
    route("GET", "/docs/{*rest}", Access::Public),
    route("GET", "/healthz", Access::OperatorPort),
    route("GET", "/readyz", Access::OperatorPort),
    route("GET", "/metrics", Access::OperatorPort),
];

/// The route that a request has matched.
pub(super) fn find(method: &Method, path: &str) -> Option<&'static Route> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    ROUTES.iter().find(|route| route.path == path && route.method == method)
}

/// Who sends a request, and what they may do.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// The principal that decisions name.
    pub(super) caller: Caller,
    roles: &'static [Role],
}

impl Identity {
    /// Refuses a credential that lacks a role, where the route alone does not ask for it.
    pub(super) fn require(&self, role: Role) -> Result<(), Problem> {
        if self.roles.contains(&role) { Ok(()) } else { Err(lacking()) }
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
pub(super) async fn authorise(Extract(state): Extract<State>, mut request: Request, next: Next) -> Response {
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
    match admit(&state, route.access, request.headers()) {
        Ok(Some(identity)) => {
            request.extensions_mut().insert(identity);
        }
        Ok(None) => {}
        Err(problem) => return problem.into_response(),
    }
    next.run(request).await
}

/// Who is let through; nobody in particular where the route is for everybody.
fn admit(state: &State, access: Access, headers: &HeaderMap) -> Result<Option<Identity>, Problem> {
    let options = state.options();
    let roles: Option<&[Role]> = match access {
        Access::Public => return Ok(None),
        Access::Log if options.public_log => return Ok(None),
        Access::Log => Some(&[Role::Reader, Role::Auditor]),
        Access::Any => None,
        Access::Roles(roles) => Some(roles),
        Access::OperatorPort => Some(&[]),
    };
    let identity = options.authentication.identify(headers)?;
    match roles {
        Some(roles) if !roles.iter().any(|role| identity.roles.contains(role)) => Err(lacking()),
        _ => Ok(Some(identity)),
    }
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

    #[test]
    fn a_name_that_was_pointed_at_loopback_is_not_loopback() {
        for host in ["localhost", "LocalHost:8080", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080"] {
            assert!(is_loopback_host(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "localhost.evil:80",
            "0.0.0.0",
        ] {
            assert!(!is_loopback_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn no_route_is_classified_twice() {
        for (place, route) in ROUTES.iter().enumerate() {
            let again = ROUTES.iter().skip(place + 1);
            assert!(
                !again.clone().any(|other| (other.path, other.method) == (route.path, route.method)),
                "{route:?}"
            );
        }
    }
}
