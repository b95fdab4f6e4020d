//! How long decisions took since the process began: counts in buckets that each are a quarter longer.
//!
//! Prometheus has its own histogram; this one answers `GET /v1/decisions:stats` without it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// The upper bound of the first bucket, µs.
const FIRST_US: u64 = 50;
/// From 50 µs by quarters to beyond a minute.
const BUCKETS: usize = 64;

/// Counts of durations.
#[derive(Debug)]
pub(super) struct Latency {
    buckets: [AtomicU64; BUCKETS],
}

/// What the counts come to. Each percentile is the upper bound of its bucket, at most a quarter too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Percentiles {
    /// How many decisions were timed.
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p90_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_us: Option<u64>,
}

impl Default for Latency {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

/// The upper bounds, µs, ascending.
fn bounds() -> impl Iterator<Item = u64> {
    std::iter::successors(Some(FIRST_US), |bound| Some(bound + bound / 4)).take(BUCKETS)
}

impl Latency {
    /// Counts one decision.
    pub(super) fn record(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // What is longer than the last bound is counted with it.
        let place = bounds().position(|bound| took_us <= bound).unwrap_or(BUCKETS - 1);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What has been counted until now.
    pub(super) fn percentiles(&self) -> Percentiles {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let count: u64 = counts.iter().sum();
        let at = |percent: u64| {
            // The smallest bound that at least `percent` of all are below, counted in whole decisions.
            let rank = (count * percent).div_ceil(100).max(1);
            let mut seen = 0;
            bounds().zip(&counts).find_map(|(bound, here)| {
                seen += here;
                (seen >= rank).then_some(bound)
            })
        };
        Percentiles { count, p50_us: at(50), p90_us: at(90), p99_us: at(99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_bounds_of_what_was_counted() {
        let latency = Latency::default();
        assert_eq!(latency.percentiles(), Percentiles { count: 0, p50_us: None, p90_us: None, p99_us: None });
        for _ in 0..98 {
            latency.record(Duration::from_micros(40));
        }
        latency.record(Duration::from_micros(60));
        latency.record(Duration::from_secs(3_600));
        let last = bounds().last();
        let found = latency.percentiles();
        assert_eq!(
            (found.count, found.p50_us, found.p90_us, found.p99_us),
            (100, Some(50), Some(50), Some(62))
        );
        latency.record(Duration::from_secs(3_600));
        assert_eq!(latency.percentiles().p99_us, last);
        assert!(last.is_some_and(|last| last > 60_000_000));
    }
}
