//! What the log writer counts, for whoever has installed a recorder of the `metrics` facade; without one it costs
//! nothing.
//!
//! The only label is the tenant.

use std::time::Duration;

use chancery_core::ids::TenantId;
use metrics::{Counter, Histogram, counter, histogram};

/// Histogram, seconds: from the beginning of a transaction to its commit, synced.
pub const COMMIT_SECONDS: &str = "chancery_commit_seconds";
/// Histogram: records of a transaction.
pub const BATCH_ENTRIES: &str = "chancery_commit_entries";
/// Counter: transactions that were not written.
pub const STORE_ERRORS: &str = "chancery_store_errors_total";
/// Counter: transactions whose answer was lost, so that their records had to be looked up.
pub const COMMITS_UNKNOWN: &str = "chancery_commits_unknown_total";

/// The handles of one writer.
pub(crate) struct Measures {
    commit_seconds: Histogram,
    batch_entries: Histogram,
    errors: Counter,
    unknown: Counter,
}

impl Measures {
    pub(crate) fn new(tenant: &TenantId) -> Self {
        let tenant = || tenant.to_string();
        let measures = Self {
            commit_seconds: histogram!(COMMIT_SECONDS, "tenant" => tenant()),
            batch_entries: histogram!(BATCH_ENTRIES, "tenant" => tenant()),
            errors: counter!(STORE_ERRORS, "tenant" => tenant()),
            unknown: counter!(COMMITS_UNKNOWN, "tenant" => tenant()),
        };
        // There from the start: an alert on a counter that is not there yet never fires.
        measures.errors.increment(0);
        measures.unknown.increment(0);
        measures
    }

    /// A transaction of so many records was committed.
    pub(crate) fn committed(&self, entries: usize, took: Duration) {
        self.commit_seconds.record(took);
        // At most 1,024: exact.
        self.batch_entries.record(f64::from(u32::try_from(entries).unwrap_or(u32::MAX)));
    }

    /// A transaction was not written.
    pub(crate) fn failed(&self) {
        self.errors.increment(1);
    }

    /// What became of a transaction was not known.
    pub(crate) fn in_doubt(&self) {
        self.unknown.increment(1);
    }
}
