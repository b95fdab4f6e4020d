//! The generic cell rate algorithm (ITU-T I.371): a bucket is one instant, the one at which it would be full again.
//!
//! ```text
//! now ────────── full again ─────┤ now + burst × interval
//!      taken: each an interval    left
//! ```
//! Nothing runs in the background. A clock that was set back is no debt: no bucket is fuller than full.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use chancery_core::time::Timestamp;

/// Keys in memory before those that have nothing taken are looked for.
const SWEEP_MIN: usize = 1_024;
/// The most keys in memory. Those beyond share one bucket.
const KEYS_MAX: usize = 65_536;

const NANOS: i128 = 1_000_000_000;

/// How much, how fast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    interval_nanos: i128,
    window_nanos: i128,
}

/// How long until there is room again: more than nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Wait {
    nanos: i128,
}

impl Wait {
    pub(super) fn micros(micros: i64) -> Self {
        Self { nanos: i128::from(micros) * 1_000 }
    }

    /// Whole seconds, at least one.
    pub(crate) fn seconds(self) -> u32 {
        let seconds = (self.nanos + NANOS - 1) / NANOS;
        u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)
    }
}

impl Rate {
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let interval_nanos = NANOS / i128::from(per_second.max(1));
        Self { interval_nanos, window_nanos: interval_nanos * i128::from(burst.max(1)) }
    }
}

/// What was taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    full_again_nanos: i128,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { full_again_nanos: i128::MIN }
    }
}

fn nanos(at: Timestamp) -> i128 {
    i128::from(at.unix_micros()) * 1_000
}

impl Bucket {
    /// Takes one, or says how long there is none.
    pub(super) fn take(&mut self, rate: Rate, now: Timestamp) -> Result<(), Wait> {
        self.room(rate, now)?;
        self.full_again_nanos += rate.interval_nanos;
        Ok(())
    }

    /// Whether there is one.
    pub(super) fn room(&mut self, rate: Rate, now: Timestamp) -> Result<(), Wait> {
        let now = nanos(now);
        self.full_again_nanos = self.full_again_nanos.clamp(now, now + rate.window_nanos);
        let over = self.full_again_nanos + rate.interval_nanos - (now + rate.window_nanos);
        if over > 0 { Err(Wait { nanos: over }) } else { Ok(()) }
    }

    /// Whether nothing of it is taken.
    fn is_full(&self, now: Timestamp) -> bool {
        self.full_again_nanos <= nanos(now)
    }
}

/// A bucket for each key that something was taken for.
#[derive(Debug)]
pub(super) struct Keyed<K> {
    rate: Rate,
    buckets: Mutex<Buckets<K>>,
}

#[derive(Debug)]
struct Buckets<K> {
    by_key: HashMap<K, Bucket>,
    beyond: Bucket,
    sweep_at: usize,
}

impl<K: Clone + Eq + Hash> Keyed<K> {
    pub(super) fn new(rate: Rate) -> Self {
        let buckets = Buckets { by_key: HashMap::new(), beyond: Bucket::default(), sweep_at: SWEEP_MIN };
        Self { rate, buckets: Mutex::new(buckets) }
    }

    /// Takes one for a key.
    pub(super) fn take(&self, key: &K, now: Timestamp) -> Result<(), Wait> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.by_key.get_mut(key) {
            return bucket.take(self.rate, now);
        }
        if buckets.by_key.len() >= buckets.sweep_at {
            // A full bucket is as good as none.
            buckets.by_key.retain(|_, bucket| !bucket.is_full(now));
            buckets.sweep_at = (2 * buckets.by_key.len()).clamp(SWEEP_MIN, KEYS_MAX);
        }
        if buckets.by_key.len() >= KEYS_MAX {
            return buckets.beyond.take(self.rate, now);
        }
        buckets.by_key.entry(key.clone()).or_default().take(self.rate, now)
    }

    /// Whether there is one for a key; takes nothing.
    pub(super) fn room(&self, key: &K, now: Timestamp) -> Result<(), Wait> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.by_key.get_mut(key) {
            return bucket.room(self.rate, now);
        }
        if buckets.by_key.len() >= KEYS_MAX { buckets.beyond.room(self.rate, now) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_micros(1_700_000_000_000_000 + ms * 1_000).unwrap()
    }

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_then_its_rate() {
        let rate = Rate::new(10, 5);
        let mut bucket = Bucket::default();
        let mut took = |ms| (0..100).filter(|_| bucket.take(rate, at(ms)).is_ok()).count();
        assert_eq!(took(0), 5);
        assert_eq!(took(99), 0);
        assert_eq!(took(100), 1);
        assert_eq!(took(350), 2, "250 ms, of which half an interval is kept");
        assert_eq!(took(400), 1);
        assert_eq!(took(3_600_000), 5, "no more than its burst, however long it waited");
        let wait = bucket.take(rate, at(3_600_000)).unwrap_err();
        assert_eq!((wait.nanos, wait.seconds()), (100_000_000, 1));
    }

    #[test]
    fn slow_rates_wait_for_whole_seconds() {
        let rate = Rate::new(1, 1);
        let mut bucket = Bucket::default();
        bucket.take(rate, at(0)).unwrap();
        for (ms, seconds) in [(0, 1), (1, 1), (999, 1)] {
            assert_eq!(bucket.take(rate, at(ms)).unwrap_err().seconds(), seconds);
        }
        assert_eq!(Wait::micros(1_000_001).seconds(), 2);
    }

    #[test]
    fn a_clock_that_was_set_back_is_no_debt() {
        let rate = Rate::new(1, 10);
        let mut bucket = Bucket::default();
        bucket.take(rate, at(86_400_000)).unwrap();
        assert_eq!(bucket.take(rate, at(0)).unwrap_err().seconds(), 1);
        assert!(bucket.take(rate, at(1_000)).is_ok(), "a second later there is room");
    }

    #[test]
    fn memory_is_bounded_and_keys_beyond_it_are_limited_together() {
        let keyed = Keyed::new(Rate::new(1, 1));
        for key in 0..KEYS_MAX {
            assert!(keyed.take(&key, at(0)).is_ok());
        }
        assert!(keyed.take(&KEYS_MAX, at(0)).is_ok());
        assert!(keyed.take(&(KEYS_MAX + 1), at(0)).is_err() && keyed.room(&(KEYS_MAX + 2), at(0)).is_err());
        assert!(keyed.take(&(KEYS_MAX + 3), at(1_000)).is_ok());
        assert_eq!(keyed.buckets.lock().unwrap().by_key.len(), 1, "what is full again is swept out");
    }
}
