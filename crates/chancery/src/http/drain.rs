//! How a server ends without a failed request.
//!
//! ```text
//! serving ── signal ──► leaving ── drain_delay_ms ──► closed ── drain_timeout_ms ──► cut ── 5 s ──► gone
//! ```
//! - **leaving**: `/readyz` says no, so that balancers send nothing new; connections are still taken, and every answer
//!   says `Connection: close`, so that clients that keep theirs go elsewhere with the next request.
//! - **closed**: nothing listens on the API's port; idle connections are closed, requests under way go on.
//! - **cut**: batches take no further line, and end with a problem that says so, after the answers to all lines that they
//!   took. What has not ended 5 s later is cut off.

use std::fmt;

use tokio::sync::watch;

/// How far the end has come.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// There is no end in sight.
    Serving,
    /// Whoever asks is sent elsewhere.
    Leaving,
    /// Nothing listens any more.
    Closed,
    /// What can be continued elsewhere is ended.
    Cut,
}

/// The end of a server, as its parts see it. Cheap to clone; the default is a server that does not end.
#[derive(Clone)]
pub struct Drain(watch::Sender<Phase>);

impl Default for Drain {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Serving))
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Drain({:?})", self.phase())
    }
}

impl Drain {
    /// How far it has come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Goes on to `phase`; never back.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|current| {
            let later = *current < phase;
            *current = phase.max(*current);
            later
        });
    }

    /// Waits until it has come to `phase`.
    pub async fn reached(&self, phase: Phase) {
        // The sender is here, so the wait does not fail.
        let _ = self.0.subscribe().wait_for(|current| *current >= phase).await;
    }
}

/// Why a body is read no further.
#[derive(Debug, thiserror::Error)]
#[error("the server is stopping")]
pub(super) struct Stopping;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_goes_forward_only() {
        let drain = Drain::default();
        assert_eq!(drain.phase(), Phase::Serving);
        drain.advance(Phase::Closed);
        drain.advance(Phase::Leaving);
        assert_eq!(drain.phase(), Phase::Closed);
        drain.reached(Phase::Leaving).await;
        let other = drain.clone();
        let waits = tokio::spawn(async move { other.reached(Phase::Cut).await });
        drain.advance(Phase::Cut);
        waits.await.unwrap();
    }
}
