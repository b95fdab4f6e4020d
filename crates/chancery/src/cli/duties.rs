//! What a server does beside requests, for every tenant, on threads of their own: signing checkpoints, ending override
//! cases, going by what other nodes have put in force, writing what was refused. No tenant shares a thread with another:
//! a database that hangs keeps nobody else waiting. A duty that fails for good is tried again at its next turn.
//!
//! ```text
//! every interval ── lease? ── held here ──► the work
//!                      └───── elsewhere ──► nothing; for checkpoints: follow what was signed
//! ```
//! On a database that several nodes share a work is one node's at a time, by a lease. A lease is counted from before it was
//! asked for, on a clock that nobody sets, and its last fifth is not used: this node has stopped before another begins. It
//! saves work; that nothing happens twice is the log's own business.

use std::panic::{self, AssertUnwindSafe};
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

/// The threads of a server's own work for one tenant.
pub(super) struct Duties(Vec<Periodic>);

impl Duties {
    /// Begins. `holder` is a name that no other process has.
    pub(super) fn start(config: &Config, runtime: &Runtime, holder: &str) -> Result<Self, Failure> {
        let interval = Duration::from_millis(config.checkpoint_interval_ms);
        let lease = Lease::new(runtime, Work::Checkpoints, holder, interval);
        let publish = Periodic::start("checkpoints", interval, lease, |lease| {
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
        let lease = Lease::new(runtime, Work::Overrides, holder, interval);
        let expire = Periodic::start("overrides", interval, lease, |lease| {
            let runtime = &lease.runtime;
            if lease.take()
                && let Err(error) = runtime.expire_due_while(&|| lease.holds())
            {
                let tenant = &runtime.settings().tenant;
                tracing::error!(%tenant, error = chain(&error), "override cases could not be ended");
            }
        })?;
        let mut duties = vec![publish, expire];
        if runtime.is_shared() {
            duties.push(Periodic::start("rules", FOLLOW_INTERVAL, runtime.clone(), |runtime| {
                let tenant = &runtime.settings().tenant;
                match runtime.follow_rules() {
                    Ok(true) => tracing::info!(%tenant, "going by what another node has put in force"),
                    Ok(false) => {}
                    // Whatever is wrong, the other duties say so at their own, slower pace.
                    Err(error) => tracing::debug!(%tenant, error = chain(&error), "no look at the rules"),
                }
            })?);
        }
        duties.push(Periodic::start("security-events", EVENTS_INTERVAL, runtime.clone(), |runtime| {
            if let Err(error) = runtime.security_events().flush() {
                let tenant = &runtime.settings().tenant;
                tracing::error!(%tenant, error = chain(&error), "security events could not be written");
            }
        })?);
        Ok(Self(duties))
    }

    /// Ends it, and gives the leases back. Blocks until the last of them has come to its end.
    pub(super) fn stop(self) {
        let threads: Vec<_> = self.0.into_iter().map(Periodic::tell).collect();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the server had failed");
            }
        }
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

/// A thread that does something again and again, so that no request waits for it.
struct Periodic {
    stop: mpsc::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Periodic {
    fn start<T: Send + 'static>(
        name: &'static str,
        interval: Duration,
        thing: T,
        work: impl Fn(&T) + Send + 'static,
    ) -> Result<Self, Failure> {
        let (stop, stopped) = mpsc::channel();
        let run = move || {
            loop {
                // What a panic says is on stderr; what it leaves half done, the next turn takes up like a crash's.
                if panic::catch_unwind(AssertUnwindSafe(|| work(&thing))).is_err() {
                    tracing::error!(duty = name, "a duty has panicked; it is tried again at its next turn");
                }
                if stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
        let thread = thread.map_err(|error| Failure::system("cannot start a thread", &error))?;
        Ok(Self { stop, thread })
    }

    /// Tells it to end, and gives what to wait for.
    fn tell(self) -> thread::JoinHandle<()> {
        drop(self.stop);
        self.thread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duty_that_panics_is_tried_again() {
        let (turns, turned) = mpsc::channel();
        let periodic = Periodic::start("test", Duration::from_millis(1), turns, |turns| {
            // Nobody listens any more once the test is over.
            let _ = turns.send(());
            panic!("on purpose");
        })
        .unwrap();
        for _ in 0..3 {
            turned.recv().unwrap();
        }
        Duties(vec![periodic]).stop();
        // Its thread has ended, and with it what it sent by: this comes to an end.
        turned.iter().for_each(drop);
    }

    #[test]
    fn a_duty_that_hangs_keeps_no_other_waiting() {
        let (release, held) = mpsc::channel::<()>();
        let hanging = Periodic::start("hanging", Duration::ZERO, held, |held| _ = held.recv()).unwrap();
        let (turns, turned) = mpsc::channel();
        let other = Periodic::start("other", Duration::from_millis(1), turns, |turns| _ = turns.send(()));
        for _ in 0..3 {
            turned.recv().unwrap();
        }
        Duties(vec![other.unwrap()]).stop();
        drop(release);
        Duties(vec![hanging]).stop();
    }
}
