//! Limits of a tenant, of its credentials, and of whoever guesses credentials.
//!
//! | limit | of | where it is said |
//! |---|---|---|
//! | requests a second | a tenant | `[limits]` of the tenant |
//! | requests a second | each of its credentials; without one, each address | the same |
//! | decisions a day (UTC), lines of batches among them | a tenant | the same |
//! | bad credentials | an address, of IPv6 its first 64 bits | `Guesses`, always |
//!
//! What is not said is not limited. Each server counts for itself; how many decisions a day has had before it began, it
//! reads from the log. The instant is an argument everywhere, so that a test needs no clock.

mod bucket;
mod guesses;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use chancery_core::time::Timestamp;
use serde::{Deserialize, Serialize};

pub(crate) use bucket::Wait;
use bucket::{Bucket, Keyed, Rate};
pub(crate) use guesses::Guesses;

const DAY_MICROS: i64 = 86_400 * 1_000_000;
/// The most that can be said for a rate.
const RATE_MAX: u32 = 1_000_000;

/// `[limits]` of a tenant. Each field: its meaning, unit and range.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// Requests a second for the tenant as a whole (1 to 1,000,000).
    pub requests_per_second: Option<u32>,
    /// How many of them at once (1 to 1,000,000); `requests_per_second` where nothing is said.
    pub burst: Option<u32>,
    /// Requests a second for each credential (1 to 1,000,000).
    pub credential_requests_per_second: Option<u32>,
    /// How many of them at once; `credential_requests_per_second` where nothing is said.
    pub credential_burst: Option<u32>,
    /// Decisions a day, UTC (from 1).
    pub decisions_per_day: Option<u64>,
}

/// What is wrong with `[limits]`.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    /// A number.
    #[error("`limits.{key}` is {value}, and has to be 1 to {RATE_MAX}")]
    Range {
        /// The key.
        key: &'static str,
        /// What it was.
        value: u32,
    },
    /// Nothing could be decided.
    #[error("`limits.decisions_per_day` is 0: leave it out where there is no limit")]
    Nothing,
    /// How many at once, of nothing.
    #[error("`limits.{key}` says how many at once, and `limits.{of}` is missing")]
    Burst {
        /// The key.
        key: &'static str,
        /// The one that it belongs to.
        of: &'static str,
    },
}

impl LimitSettings {
    /// Refuses numbers that mean nothing.
    ///
    /// # Errors
    /// [`LimitsError`] names the key.
    pub fn check(&self) -> Result<(), LimitsError> {
        self.rates().map(drop)
    }

    fn rates(&self) -> Result<(Option<Rate>, Option<Rate>), LimitsError> {
        if self.decisions_per_day == Some(0) {
            return Err(LimitsError::Nothing);
        }
        let tenant = rate(("requests_per_second", self.requests_per_second), ("burst", self.burst))?;
        let credential = rate(
            ("credential_requests_per_second", self.credential_requests_per_second),
            ("credential_burst", self.credential_burst),
        )?;
        Ok((tenant, credential))
    }
}

type Said = (&'static str, Option<u32>);

fn rate(per_second: Said, burst: Said) -> Result<Option<Rate>, LimitsError> {
    let in_range = |(key, value): (&'static str, u32)| match value {
        1..=RATE_MAX => Ok(value),
        _ => Err(LimitsError::Range { key, value }),
    };
    match (per_second.1, burst.1) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(LimitsError::Burst { key: burst.0, of: per_second.0 }),
        (Some(value), at_once) => {
            let value = in_range((per_second.0, value))?;
            let at_once = at_once.map(|value| in_range((burst.0, value))).transpose()?;
            Ok(Some(Rate::new(value, at_once.unwrap_or(value))))
        }
    }
}

/// Why a request or a decision has to wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Limited {
    /// Too many requests of the tenant.
    Tenant(Wait),
    /// Too many requests with the credential.
    Credential(Wait),
    /// Too many requests for what is public.
    Address(Wait),
    /// As many decisions as the day may have.
    Day(Wait),
}

/// What one tenant may.
#[derive(Debug, Default)]
pub struct Limits {
    tenant: Option<(Rate, Mutex<Bucket>)>,
    credentials: Option<Keyed<Arc<str>>>,
    /// Of those who show none. They take nothing from whoever does.
    addresses: Option<Keyed<IpAddr>>,
    day: Option<Day>,
}

#[derive(Debug)]
struct Day {
    most: u64,
    /// Which day, and how many decisions it has had.
    used: Mutex<(i64, u64)>,
}

impl Limits {
    /// By its configuration. `decided` decisions were recorded since the day of `now` began.
    ///
    /// # Errors
    /// [`LimitsError`].
    pub fn new(settings: &LimitSettings, now: Timestamp, decided: u64) -> Result<Self, LimitsError> {
        let (tenant, credential) = settings.rates()?;
        Ok(Self {
            tenant: tenant.map(|rate| (rate, Mutex::default())),
            credentials: credential.map(Keyed::new),
            addresses: credential.map(Keyed::new),
            day: settings
                .decisions_per_day
                .map(|most| Day { most, used: Mutex::new((day_of(now), decided)) }),
        })
    }

    /// Takes a request of a credential.
    pub(crate) fn request(&self, credential: &Arc<str>, now: Timestamp) -> Result<(), Limited> {
        // The credential's own first: what it has too many takes nothing from the tenant's other ones.
        if let Some(credentials) = &self.credentials {
            credentials.take(credential, now).map_err(Limited::Credential)?;
        }
        match &self.tenant {
            Some((rate, bucket)) => {
                let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
                bucket.take(*rate, now).map_err(Limited::Tenant)
            }
            None => Ok(()),
        }
    }

    /// Takes a request for what is public, from an address.
    pub(crate) fn public(&self, address: IpAddr, now: Timestamp) -> Result<(), Limited> {
        match &self.addresses {
            Some(addresses) => addresses.take(&guesses::counted(address), now).map_err(Limited::Address),
            None => Ok(()),
        }
    }

    /// Takes a decision.
    pub(crate) fn decision(&self, now: Timestamp) -> Result<(), Limited> {
        let Some(Day { most, used }) = &self.day else { return Ok(()) };
        let mut used = used.lock().unwrap_or_else(PoisonError::into_inner);
        let day = day_of(now);
        // A clock that was set back by a moment at midnight begins no day anew.
        if day > used.0 {
            *used = (day, 0);
        }
        if used.1 >= *most {
            let left = DAY_MICROS - now.unix_micros().rem_euclid(DAY_MICROS);
            return Err(Limited::Day(Wait::micros(left)));
        }
        used.1 += 1;
        Ok(())
    }
}

fn day_of(now: Timestamp) -> i64 {
    now.unix_micros().div_euclid(DAY_MICROS)
}

/// When the day of `now` began, UTC.
#[must_use]
pub fn midnight(now: Timestamp) -> Timestamp {
    Timestamp::from_unix_micros(day_of(now) * DAY_MICROS).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        let start: Timestamp = "2026-03-01T23:59:50.000000Z".parse().unwrap();
        Timestamp::from_unix_micros(start.unix_micros() + ms * 1_000).unwrap()
    }

    fn limits(settings: LimitSettings) -> Limits {
        Limits::new(&settings, at(0), 0).unwrap()
    }

    #[test]
    fn what_is_not_said_is_not_limited() {
        let limits = limits(LimitSettings::default());
        assert!(
            (0..10_000).all(|_| limits.request(&"k".into(), at(0)).is_ok() && limits.decision(at(0)).is_ok())
        );
    }

    #[test]
    fn a_credential_that_asks_too_much_takes_nothing_from_the_others() {
        let limits = limits(LimitSettings {
            requests_per_second: Some(10),
            credential_requests_per_second: Some(2),
            credential_burst: Some(3),
            ..LimitSettings::default()
        });
        let took = |name: &str, ms| (0..100).filter(|_| limits.request(&name.into(), at(ms)).is_ok()).count();
        assert_eq!((took("a", 0), took("b", 0), took("c", 0)), (3, 3, 3));
        assert_eq!(took("d", 0), 1, "the tenant's ten are over");
        assert!(matches!(limits.request(&"e".into(), at(0)), Err(Limited::Tenant(_))));
        assert!(
            matches!(limits.request(&"a".into(), at(0)), Err(Limited::Credential(wait)) if wait.seconds() == 1)
        );
        assert_eq!(took("a", 500), 1);
    }

    #[test]
    fn a_day_has_its_decisions_and_the_next_has_its_own() {
        let settings = LimitSettings { decisions_per_day: Some(5), ..LimitSettings::default() };
        let limits = Limits::new(&settings, at(0), 2).unwrap();
        let took = |ms| (0..10).filter(|_| limits.decision(at(ms)).is_ok()).count();
        assert_eq!(took(0), 3, "two were there before");
        assert!(matches!(limits.decision(at(1)), Err(Limited::Day(wait)) if wait.seconds() == 10));
        assert_eq!(took(10_000), 5);
        assert_eq!(took(9_999), 0, "the clock was set back");
    }

    #[test]
    fn numbers_that_mean_nothing_are_refused() {
        let base = LimitSettings::default();
        for (settings, words) in [
            (LimitSettings { requests_per_second: Some(0), ..base }, "`limits.requests_per_second`"),
            (LimitSettings { requests_per_second: Some(1_000_001), ..base }, "1 to 1000000"),
            (LimitSettings { requests_per_second: Some(1), burst: Some(0), ..base }, "`limits.burst`"),
            (LimitSettings { burst: Some(1), ..base }, "`limits.requests_per_second` is missing"),
            (LimitSettings { credential_burst: Some(1), ..base }, "`limits.credential_requests_per_second`"),
            (LimitSettings { decisions_per_day: Some(0), ..base }, "`limits.decisions_per_day`"),
        ] {
            let error = settings.check().unwrap_err().to_string();
            assert!(error.contains(words), "`{error}` does not say `{words}`");
        }
    }

    #[test]
    fn a_day_begins_at_midnight() {
        assert_eq!(midnight(at(0)).to_string(), "2026-03-01T00:00:00.000000Z");
    }
}
