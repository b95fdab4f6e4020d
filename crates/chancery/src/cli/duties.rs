//! What a server does beside requests, for every tenant, on threads of their own: signing checkpoints, ending override
//! cases, going by what other nodes have put in force, writing what was refused.
//!
//! ```text
//! every interval ── lease? ── held here ──► the work
//!                      └───── elsewhere ──► nothing; for checkpoints: follow what was signed
//! ```
//! On a database that several nodes share a work is one node's at a time, by a lease. A lease is counted from before it was
//! asked for, on a clock that nobody sets, and its last fifth is not used: this node has stopped before another begins. It
//! saves work; that nothing happens twice is the log's own business.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use chancery_runtime::{Runtime, Work};

use super::Failure;
use super::failure::chain;
use crate::config::Config;

/// How often a node looks for what others have put in force.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(250);

/// How often what was refused is written.
const EVENTS_INTERVAL: Duration = Duration::from_secs(1);

/// The least time of a lease: shorter ones would change hands whenever a database is slow for a moment.
const LEASE_MIN: Duration = Duration::from_secs(3);

/// The threads of a server's own work.
pub(super) struct Duties(Vec<Periodic>);

impl Duties {
    /// Begins. `holder` is a name that no other process has.
    pub(super) fn start(config: &Config, runtimes: &[Runtime], holder: &str) -> Result<Self, Failure> {
        let leases = |work, interval: Duration| -> Vec<Lease> {
            let lease = |runtime: &Runtime| Lease::new(runtime, work, holder, interval);
            runtimes.iter().map(lease).collect()
        };
        let interval = Duration::from_millis(config.checkpoint_interval_ms);
        let checkpoints = leases(Work::Checkpoints, interval);
        let publish = Periodic::start("checkpoints", interval, checkpoints, |lease| {
            let runtime = &lease.runtime;
            let done = if lease.take() {
                runtime.publish_checkpoint().map(drop)
            } else {
                runtime.follow_checkpoints()
            };
            if let Err(error) = done {
                let tenant = &runtime.settings().tenant;
                tracing::error!(%tenant, error = chain(&error), "no checkpoint could be signed");
            }
        })?;
        let interval = Duration::from_millis(config.override_interval_ms);
        let overrides = leases(Work::Overrides, interval);
        let expire = Periodic::start("overrides", interval, overrides, |lease| {
            let runtime = &lease.runtime;
            if lease.take()
                && let Err(error) = runtime.expire_due_while(&|| lease.holds())
            {
                let tenant = &runtime.settings().tenant;
                tracing::error!(%tenant, error = chain(&error), "override cases could not be ended");
            }
        })?;
        let mut duties = vec![publish, expire];
        let shared: Vec<Runtime> = runtimes.iter().filter(|runtime| runtime.is_shared()).cloned().collect();
        if !shared.is_empty() {
            duties.push(Periodic::start("rules", FOLLOW_INTERVAL, shared, |runtime| {
                let tenant = &runtime.settings().tenant;
                match runtime.follow_rules() {
                    Ok(true) => tracing::info!(%tenant, "going by what another node has put in force"),
                    Ok(false) => {}
                    // Whatever is wrong, the other duties say so at their own, slower pace.
                    Err(error) => tracing::debug!(%tenant, error = chain(&error), "no look at the rules"),
                }
            })?);
        }
        let counted = runtimes.to_vec();
        duties.push(Periodic::start("security-events", EVENTS_INTERVAL, counted, |runtime| {
            if let Err(error) = runtime.security_events().flush() {
                let tenant = &runtime.settings().tenant;
                tracing::error!(%tenant, error = chain(&error), "security events could not be written");
            }
        })?);
        Ok(Self(duties))
    }

    /// Ends it, and gives the leases back.
    pub(super) fn stop(self) {
        self.0.into_iter().for_each(Periodic::stop);
    }
}

/// Whether a work is this node's.
struct Lease {
    runtime: Runtime,
    work: Work,
    holder: String,
    lasts: Duration,
    /// Until when; none while another node has it.
    until: Mutex<Option<Instant>>,
}

impl Lease {
    fn new(runtime: &Runtime, work: Work, holder: &str, interval: Duration) -> Self {
        let lasts = (3 * interval).max(LEASE_MIN);
        Self { runtime: runtime.clone(), work, holder: holder.to_owned(), lasts, until: None.into() }
    }

    /// Takes or renews it, where that is possible; whether it is held.
    fn take(&self) -> bool {
        let asked = Instant::now();
        let held = self.holds();
        let lasts_ms = u32::try_from(self.lasts.as_millis()).unwrap_or(u32::MAX);
        let tenant = &self.runtime.settings().tenant;
        match self.runtime.hold_lease(self.work, &self.holder, lasts_ms) {
            Ok(Some(fence)) => {
                self.set(Some(asked + self.lasts - self.lasts / 5));
                if !held && self.runtime.is_shared() {
                    tracing::info!(%tenant, work = self.work.name(), fence, "this node does it from now on");
                }
            }
            Ok(None) => {
                self.set(None);
                if held {
                    tracing::info!(%tenant, work = self.work.name(), "another node does it from now on");
                }
            }
            // What is held is held until its time is over.
            Err(error) => {
                tracing::warn!(%tenant, work = self.work.name(), error = chain(&error), "no lease");
            }
        }
        self.holds()
    }

    fn holds(&self) -> bool {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn set(&self, until: Option<Instant>) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.holds()
            && let Err(error) = self.runtime.release_lease(self.work, &self.holder)
        {
            tracing::debug!(error = chain(&error), "a lease ends by itself");
        }
    }
}

/// A thread that does something for each of some things again and again, so that no request waits for it.
struct Periodic {
    stop: mpsc::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Periodic {
    fn start<T: Send + 'static>(
        name: &'static str,
        interval: Duration,
        things: Vec<T>,
        work: impl Fn(&T) + Send + 'static,
    ) -> Result<Self, Failure> {
        let (stop, stopped) = mpsc::channel();
        let run = move || {
            loop {
                things.iter().for_each(&work);
                if stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
        let thread = thread.map_err(|error| Failure::system("cannot start a thread", &error))?;
        Ok(Self { stop, thread })
    }

    fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("a thread of the server had failed");
        }
    }
}
