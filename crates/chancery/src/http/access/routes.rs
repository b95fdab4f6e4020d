//! Every route with who may use it: one table.

use axum::http::Method;

use super::Role;

/// Who may use a route, and whose log it is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::http) enum Access {
    /// Everybody: it is about no log.
    Page,
    /// Everybody: public material of one log, the only one or the one that `tenant` in the query names.
    Public,
    /// The log in the path: everybody where it is public by configuration, else its readers and auditors.
    Log,
    /// Every credential.
    Any,
    /// Credentials with one of these roles.
    Roles(&'static [Role]),
    /// Not on the API's port at all.
    OperatorPort,
}

impl Access {
    /// Whether a credential may be asked for.
    pub(in crate::http) fn is_guarded(self) -> bool {
        !matches!(self, Self::Page | Self::Public)
    }
}

/// One route.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Route {
    /// `GET` stands for `HEAD` as well.
    pub(in crate::http) method: &'static str,
    /// The template.
    pub(in crate::http) path: &'static str,
    /// Who may use it.
    pub(in crate::http) access: Access,
    /// Whether an answer has to begin within the request time-out. Where not, silence is what times out.
    pub(in crate::http) timed: bool,
}

const SUBMITTERS: Access = Access::Roles(&[Role::Submitter]);
const EVALUATORS: Access = Access::Roles(&[Role::Submitter, Role::Reader]);
const READERS: Access = Access::Roles(&[Role::Reader]);
const AUDITORS: Access = Access::Roles(&[Role::Auditor]);
const PUBLISHERS: Access = Access::Roles(&[Role::PolicyPublisher]);
const APPROVERS: Access = Access::Roles(&[Role::Approver]);
const WATCHERS: Access = Access::Roles(&[Role::Auditor, Role::Operator]);
const CUSTODIANS: Access = Access::Roles(&[Role::KeyCustodian]);

const fn route(method: &'static str, path: &'static str, access: Access) -> Route {
    Route { method, path, access, timed: true }
}

const fn untimed(method: &'static str, path: &'static str, access: Access) -> Route {
    Route { method, path, access, timed: false }
}

/// Every route of both ports. One that is not here is refused.
pub(in crate::http) const ROUTES: &[Route] = &[
    route("POST", "/v1/decisions", SUBMITTERS),
    untimed("POST", "/v1/decisions:batch", SUBMITTERS),
    route("POST", "/v1/decisions:evaluate", EVALUATORS),
    route("GET", "/v1/decisions", READERS),
    route("GET", "/v1/decisions:stats", READERS),
    route("GET", "/v1/decisions:lineage", READERS),
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
    route("GET", "/v1/security-events", WATCHERS),
    route("GET", "/v1/openapi.json", Access::Page),
    route("GET", "/docs", Access::Page),
    route("GET", "/docs/", Access::Page),
    route("GET", "/docs/{*rest}", Access::Page),
    route("GET", "/healthz", Access::OperatorPort),
    route("GET", "/readyz", Access::OperatorPort),
    route("GET", "/metrics", Access::OperatorPort),
];

/// The route that a request has matched.
pub(in crate::http) fn find(method: &Method, path: &str) -> Option<&'static Route> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    ROUTES.iter().find(|route| route.path == path && route.method == method)
}

#[cfg(test)]
mod tests {
    use super::*;

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
