//! The tenants of a process: one log each, and the only way from a request to one of them.
//!
//! ```text
//! request ─ authorise: credential (or a public route's own word) ─ Tenants ─► Tenant in the request ─ handler
//! ```
//! Handlers are made without any state: what they work with is the [`Tenant`] that was put into their request here. So
//! no handler can reach another tenant's log, whatever it is asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use chancery_core::ids::TenantId;
use chancery_core::time::Timestamp;
use chancery_runtime::credentials::Roles;
use chancery_runtime::records::{Records, RecordsError};
use chancery_runtime::{Clock, Location, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::error::Problem;
use crate::http::latency::Latency;
use crate::http::verifications::Backfills;
use crate::limits::Limits;
use crate::oidc::{Claimed, Oidc};
use crate::tls::{ClientCertificate, Clients};

/// Batches, exports and verifications at the same time. Each holds a thread, and an export a read snapshot that
/// keeps the write-ahead log from being emptied; more of them are asked to come again.
const STREAMS_MAX: usize = 32;
/// How many of them one tenant may have where there are several, so that none takes all.
const TENANT_STREAMS_MAX: usize = 16;

/// One tenant's log, and how it is served.
pub struct Log {
    /// The open log. Whoever drops its last clone waits for what is queued: keep one outside the asynchronous
    /// runtime, and drop it there.
    pub runtime: Runtime,
    /// Its database, whose disk must have room.
    pub database: Location,
    /// Whether checkpoints and tiles need no credential.
    pub public_log: bool,
    /// The identity provider whose tokens are its credentials.
    pub oidc: Option<Oidc>,
    /// The client certificates that are its credentials.
    pub clients: Clients,
    /// What it and its credentials may.
    pub limits: Limits,
}

/// Why logs cannot be served together.
#[derive(Debug, thiserror::Error)]
pub enum TenantsError {
    /// There is none.
    #[error("there is no log to serve")]
    None,
    /// Two are of one tenant: a credential would not say which is meant.
    #[error("two logs are of the tenant `{tenant}`; a server has one for each")]
    Twice {
        /// Whose.
        tenant: TenantId,
    },
    /// One token would be of both.
    #[error(
        "`{one}` and `{other}` have the same `oidc.issuer` and `oidc.audience`; a token is of one tenant"
    )]
    SameIssuer {
        /// A tenant.
        one: TenantId,
        /// Another.
        other: TenantId,
    },
}

/// Every tenant of the process. INVARIANT: there is at least one.
pub(in crate::http) struct Tenants {
    first: Tenant,
    by_name: HashMap<TenantId, Tenant>,
}

impl Tenants {
    pub(in crate::http) fn new(
        logs: Vec<Log>,
        request_timeout: Duration,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, TenantsError> {
        let streams = Arc::new(Semaphore::new(STREAMS_MAX));
        let streams_max = if logs.len() > 1 { TENANT_STREAMS_MAX } else { STREAMS_MAX };
        let (mut first, mut by_name) = (None, HashMap::new());
        for log in logs {
            let tenant = Tenant(Arc::new(Shared {
                name: log.runtime.settings().tenant.clone(),
                log,
                own_streams: Arc::new(Semaphore::new(streams_max)),
                streams: Arc::clone(&streams),
                latency: Latency::default(),
                backfills: Backfills::default(),
                request_timeout,
                clock: Arc::clone(clock),
            }));
            if let Some(other) = by_name.values().find(|other| tenant.has_tokens_of(other)) {
                return Err(TenantsError::SameIssuer {
                    one: other.name().clone(),
                    other: tenant.name().clone(),
                });
            }
            first.get_or_insert_with(|| tenant.clone());
            if let Some(tenant) = by_name.insert(tenant.name().clone(), tenant) {
                return Err(TenantsError::Twice { tenant: tenant.name().clone() });
            }
        }
        Ok(Self { first: first.ok_or(TenantsError::None)?, by_name })
    }

    /// Everybody's, by name: for the operator's port.
    pub(in crate::http) fn all(&self) -> Vec<Tenant> {
        let mut all: Vec<Tenant> = self.by_name.values().cloned().collect();
        all.sort_by(|a, b| a.name().as_str().cmp(b.name().as_str()));
        all
    }

    /// The one whose configuration the process was started with.
    pub(super) fn first(&self) -> &Tenant {
        &self.first
    }

    /// The only one, where there are no others.
    pub(super) fn only(&self) -> Option<&Tenant> {
        (self.by_name.len() == 1).then_some(&self.first)
    }

    /// The one whose provider and audience a token names: none where they are several.
    pub(super) fn of_token(&self, claimed: &Claimed) -> Option<(&Tenant, &Oidc)> {
        let meant = |tenant: &'_ Tenant| tenant.oidc().is_some_and(|oidc| oidc.is_meant(claimed));
        let mut meant = self.by_name.values().filter(|tenant| meant(tenant));
        let found = meant.next()?;
        if meant.next().is_some() { None } else { Some((found, found.oidc()?)) }
    }

    /// Whose client a certificate is of: nobody's where several tenants say that it is theirs.
    pub(super) fn of_certificate(&self, shown: &ClientCertificate) -> Option<(&Tenant, Arc<str>, Roles)> {
        let mut found = self.by_name.values().filter_map(|tenant| {
            let (principal, roles) = tenant.0.log.clients.find(shown)?;
            Some((tenant, Arc::clone(principal), roles))
        });
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// The one of this name.
    pub(super) fn named(&self, name: &str) -> Option<&Tenant> {
        self.by_name.get(&name.parse::<TenantId>().ok()?)
    }
}

/// The log that a request is about: what handlers work with. Cheap to clone.
#[derive(Clone)]
pub(in crate::http) struct Tenant(Arc<Shared>);

struct Shared {
    name: TenantId,
    log: Log,
    /// Of this tenant, and of all of them.
    own_streams: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    latency: Latency,
    backfills: Backfills,
    request_timeout: Duration,
    clock: Arc<dyn Clock>,
}

/// A place among those that hold a thread for long, kept for as long as the value lives.
pub(in crate::http) struct StreamPermit {
    _own: OwnedSemaphorePermit,
    _shared: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Tenant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tenant({})", self.0.name)
    }
}

impl Tenant {
    pub(in crate::http) fn name(&self) -> &TenantId {
        &self.0.name
    }

    /// The identity provider whose tokens are its credentials.
    pub(super) fn oidc(&self) -> Option<&Oidc> {
        self.0.log.oidc.as_ref()
    }

    fn has_tokens_of(&self, other: &Self) -> bool {
        let tokens = |tenant: &Self| {
            let (issuer, audience) = tenant.oidc()?.issuer_and_audience();
            Some((issuer.to_owned(), audience.to_owned()))
        };
        tokens(self).is_some_and(|own| Some(own) == tokens(other))
    }

    /// What time it is, by the clock of the process.
    pub(in crate::http) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Counts a decision, or refuses it where the day has had as many as it may.
    pub(in crate::http) fn take_decision(&self) -> Result<(), Problem> {
        self.0.log.limits.decision(self.now()).map_err(super::throttle::limited)
    }

    /// What it and its credentials may.
    pub(super) fn limits(&self) -> &Limits {
        &self.0.log.limits
    }

    pub(in crate::http) fn runtime(&self) -> &Runtime {
        &self.0.log.runtime
    }

    pub(in crate::http) fn database(&self) -> &Location {
        &self.0.log.database
    }

    /// Whether its checkpoints and tiles need no credential.
    pub(in crate::http) fn public_log(&self) -> bool {
        self.0.log.public_log
    }

    /// Longest time for a request other than a batch, an export or a verification, and longest silence in those.
    pub(in crate::http) fn request_timeout(&self) -> Duration {
        self.0.request_timeout
    }

    /// How long decisions took.
    pub(in crate::http) fn latency(&self) -> &Latency {
        &self.0.latency
    }

    /// The job that verifies old records, if there is one.
    pub(in crate::http) fn backfills(&self) -> &Backfills {
        &self.0.backfills
    }

    /// A place among those that hold a thread for long.
    pub(in crate::http) fn stream_permit(&self) -> Result<StreamPermit, Problem> {
        let take = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().map_err(|_| busy());
        // One's own first: a tenant that has too many takes no place from others, not even for a moment.
        Ok(StreamPermit { _own: take(&self.0.own_streams)?, _shared: take(&self.0.streams)? })
    }

    /// Reads records on a thread that may block.
    pub(in crate::http) async fn read<T, F>(&self, work: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce(&Records) -> Result<T, RecordsError> + Send + 'static,
    {
        self.blocking(move |runtime| Ok(work(&runtime.records())?)).await
    }

    /// Works on a thread that may block.
    pub(in crate::http) async fn blocking<T, F>(&self, work: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce(&Runtime) -> Result<T, Problem> + Send + 'static,
    {
        let runtime = self.runtime().clone();
        tokio::task::spawn_blocking(move || work(&runtime)).await.unwrap_or_else(|_| Err(Problem::internal()))
    }
}

fn busy() -> Problem {
    let detail = "as many batches, exports and verifications as there may be are under way already; retry";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "server.busy", detail).retry_after(5)
}

impl<S: Sync> FromRequestParts<S> for Tenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Only the table of routes puts it there.
        parts.extensions.get::<Self>().cloned().ok_or_else(super::unauthenticated)
    }
}
