//! What is refused: answered to the caller, and counted as a security event of the tenant that it is about.
//!
//! | kind | codes |
//! |---|---|
//! | `credential` | every other `auth.…` |
//! | `tenant` | `auth.tenant` |
//! | `role` | `auth.role` |
//! | `signature` | those of what is handed in signed, see [`SIGNATURES`] |

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use chancery_runtime::credentials::{EventKind, SecurityEvent};

use super::routes::Route;
use super::{Identity, Tenant, throttle};
use crate::http::error::{Problem, ProblemCode};
use crate::http::state::State;

/// Signatures that do not hold, and keys that may not have made them.
const SIGNATURES: [&str; 16] = [
    "activation.signature",
    "bundle.key",
    "bundle.signature",
    "keyring.root",
    "override.approver",
    "override.binding",
    "override.execution",
    "override.key_revoked",
    "override.key_role",
    "override.key_twice",
    "override.key_unknown",
    "override.key_validity",
    "override.role",
    "override.separation",
    "override.signature",
    "override.tenant",
];

/// Why a request did not come to its handler, and as far as that is known, whose it was.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) problem: Problem,
    /// Whose credential it says it is.
    pub(super) tenant: Option<Tenant>,
    /// Who calls, where the credential is, or was, a good one.
    pub(super) caller: Option<Arc<str>>,
    /// With which API key.
    pub(super) key_id: Option<Arc<str>>,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, tenant: None, caller: None, key_id: None }
    }
}

/// Where something is refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    route: &'static Route,
    /// Where the caller is, where addresses are recorded.
    address: Option<IpAddr>,
}

impl Place {
    pub(super) fn of(state: &State, route: &'static Route, parts: &Parts) -> Self {
        let address = throttle::address(parts, state.behind_proxy()).filter(|_| state.record_addresses());
        Self { route, address }
    }

    /// The answer. What nobody's credential belongs to is counted for the tenant that the server was started with.
    pub(super) fn answer(self, state: &State, refusal: Refusal) -> Response {
        let Refusal { problem, tenant, caller, key_id } = refusal;
        self.count(
            tenant.as_ref().unwrap_or_else(|| state.tenants().first()),
            problem.code(),
            caller,
            key_id,
        );
        problem.into_response()
    }

    /// Counts what a handler has refused.
    pub(super) fn count_answered(self, identity: Option<&Identity>, response: &Response) {
        let Some(identity) = identity else { return };
        if let Some(ProblemCode(code)) = response.extensions().get::<ProblemCode>() {
            let caller = Some(Arc::clone(&identity.caller.principal));
            self.count(&identity.tenant, code, caller, identity.key_id.clone());
        }
    }

    fn count(
        self,
        tenant: &Tenant,
        code: &'static str,
        principal: Option<Arc<str>>,
        key_id: Option<Arc<str>>,
    ) {
        let Some(kind) = kind_of(code) else { return };
        let Route { method, path, .. } = *self.route;
        let address = self.address;
        let event = SecurityEvent { kind, code, method, route: path, principal, key_id, address };
        tenant.runtime().security_events().record(event);
    }
}

fn kind_of(code: &str) -> Option<EventKind> {
    match code {
        "auth.tenant" => Some(EventKind::Tenant),
        "auth.role" => Some(EventKind::Role),
        _ if code.starts_with("auth.") => Some(EventKind::Credential),
        _ if SIGNATURES.contains(&code) => Some(EventKind::Signature),
        _ => None,
    }
}
