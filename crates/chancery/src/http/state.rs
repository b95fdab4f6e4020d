//! What the process shares: the clock, the metrics, who callers are, and its tenants.
//!
//! The layers and the operator's port have it. Handlers of the API do not: they get one [`super::access::Tenant`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chancery_runtime::Clock;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::limits::Guesses;

use super::access::{Authentication, Log, Tenants, TenantsError};
use super::health::Looks;

/// What the routers are made from.
pub struct Options {
    /// The logs. The first is the one that `--dev` is about.
    pub logs: Vec<Log>,
    /// Who callers are.
    pub authentication: Authentication,
    /// The clock, for readiness and request ids.
    pub clock: Arc<dyn Clock>,
    /// Where `/metrics` reads, from [`super::metrics::install`].
    pub metrics: PrometheusHandle,
    /// Longest time for a request other than a batch, an export or a verification, and longest silence in those.
    pub request_timeout: Duration,
    /// Whether callers are behind a proxy that says where they come from, in `X-Forwarded-For`.
    pub behind_proxy: bool,
    /// Whether security events have the address of whoever was refused.
    pub record_addresses: bool,
}

/// What the layers work with. Cheap to clone.
#[derive(Clone)]
pub struct State(Arc<Shared>);

struct Shared {
    tenants: Tenants,
    authentication: Authentication,
    guesses: Guesses,
    looks: Looks,
    behind_proxy: bool,
    clock: Arc<dyn Clock>,
    metrics: PrometheusHandle,
    request_timeout: Duration,
    record_addresses: bool,
    started_micros: i64,
    requests: AtomicU64,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State({:?})", self.0.tenants.all())
    }
}

impl State {
    /// Puts it together.
    ///
    /// # Errors
    /// [`TenantsError`] for logs that cannot be served together.
    pub fn new(options: Options) -> Result<Self, TenantsError> {
        let Options { logs, authentication, clock, metrics, request_timeout, behind_proxy, record_addresses } =
            options;
        Ok(Self(Arc::new(Shared {
            tenants: Tenants::new(logs, request_timeout, &clock)?,
            authentication,
            guesses: Guesses::default(),
            looks: Looks::default(),
            behind_proxy,
            started_micros: clock.now().unix_micros(),
            clock,
            metrics,
            request_timeout,
            record_addresses,
            requests: AtomicU64::new(0),
        })))
    }

    pub(super) fn tenants(&self) -> &Tenants {
        &self.0.tenants
    }

    pub(super) fn authentication(&self) -> &Authentication {
        &self.0.authentication
    }

    /// Bad credentials, by where they come from.
    pub(super) fn guesses(&self) -> &Guesses {
        &self.0.guesses
    }

    /// The operator's looks at tenants.
    pub(super) fn looks(&self) -> &Looks {
        &self.0.looks
    }

    pub(super) fn behind_proxy(&self) -> bool {
        self.0.behind_proxy
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        self.0.clock.as_ref()
    }

    pub(super) fn metrics(&self) -> &PrometheusHandle {
        &self.0.metrics
    }

    /// Whether security events have the address of whoever was refused.
    pub(super) fn record_addresses(&self) -> bool {
        self.0.record_addresses
    }

    pub(super) fn request_timeout(&self) -> Duration {
        self.0.request_timeout
    }

    /// A name for one request that no other request of this or an earlier process has.
    pub(super) fn request_id(&self) -> String {
        let number = self.0.requests.fetch_add(1, Ordering::Relaxed);
        format!("{:x}-{number:x}", self.0.started_micros)
    }
}
