//! Whoever shows bad credentials is slowed down: twenty at once, then one a second for each address.
//!
//! Behind one address there may be many callers. So a credential that was good a while ago is judged even where the
//! address has too many bad ones: a program that goes on with an expired key does not lock out its neighbours.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use chancery_core::time::Timestamp;

use super::bucket::{Keyed, Rate, Wait};

const PER_SECOND: u32 = 1;
const BURST: u32 = 20;
/// For how long a good credential is remembered, µs.
const GOOD_MICROS: i64 = 3_600 * 1_000_000;
/// The most that are.
const GOOD_MAX: usize = 16_384;

/// Bad credentials by address, and good ones of addresses that have bad ones.
#[derive(Debug)]
pub(crate) struct Guesses {
    bad: Keyed<IpAddr>,
    /// By a hash that only this process can make; until when.
    good: Mutex<HashMap<u64, i64>>,
    hasher: RandomState,
}

impl Default for Guesses {
    fn default() -> Self {
        Self {
            bad: Keyed::new(Rate::new(PER_SECOND, BURST)),
            good: Mutex::default(),
            hasher: RandomState::new(),
        }
    }
}

/// An address as it is counted: whoever has one IPv6 address has the 2^64 beside it.
fn counted(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        },
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Guesses {
    /// Whether a credential from there is looked at now.
    pub(crate) fn may_try(&self, address: IpAddr, credential: &str, now: Timestamp) -> Result<(), Wait> {
        let Err(wait) = self.bad.room(&counted(address), now) else { return Ok(()) };
        let good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        match good.get(&self.hasher.hash_one(credential)) {
            Some(until) if *until > now.unix_micros() => Ok(()),
            _ => Err(wait),
        }
    }

    /// It was bad.
    pub(crate) fn was_bad(&self, address: IpAddr, now: Timestamp) {
        // Where there is no room it has been let through for having been good once.
        let _ = self.bad.take(&counted(address), now);
    }

    /// It was good.
    pub(crate) fn was_good(&self, address: IpAddr, credential: &str, now: Timestamp) {
        if !self.bad.is_touched(&counted(address), now) {
            return;
        }
        let now = now.unix_micros();
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if good.len() >= GOOD_MAX {
            good.retain(|_, until| *until > now);
        }
        if good.len() < GOOD_MAX {
            good.insert(self.hasher.hash_one(credential), now.saturating_add(GOOD_MICROS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_unix_micros((1_700_000_000 + s) * 1_000_000).unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn guessing_is_slow_and_only_from_where_it_comes() {
        let guesses = Guesses::default();
        let (here, there) = (address("192.0.2.1"), address("192.0.2.2"));
        let tried = |s| {
            let tries = (0..100).filter(|at_| {
                let may = guesses.may_try(here, &format!("guess {s} {at_}"), at(s)).is_ok();
                if may {
                    guesses.was_bad(here, at(s));
                }
                may
            });
            tries.count()
        };
        assert_eq!((tried(0), tried(1), tried(11)), (20, 1, 10));
        assert!(guesses.may_try(here, "x", at(11)).is_err_and(|wait| wait.seconds() == 1));
        assert!(guesses.may_try(there, "x", at(11)).is_ok());
    }

    #[test]
    fn a_neighbour_with_a_good_credential_is_not_locked_out() {
        let guesses = Guesses::default();
        let here = address("2001:db8::1");
        guesses.was_bad(here, at(0));
        guesses.was_good(here, "good", at(0));
        for _ in 0..100 {
            guesses.was_bad(address("2001:db8::2"), at(0));
        }
        assert!(guesses.may_try(here, "other", at(0)).is_err(), "the network is one");
        assert!(guesses.may_try(address("2001:db8:0:1::1"), "other", at(0)).is_ok());
        assert!(guesses.may_try(here, "good", at(0)).is_ok());
        for _ in 0..100 {
            guesses.was_bad(here, at(3_600));
        }
        assert!(guesses.may_try(here, "good", at(3_600)).is_err(), "it is forgotten after an hour");
    }

    #[test]
    fn an_address_in_another_form_is_the_same() {
        assert_eq!(counted(address("::ffff:192.0.2.1")), address("192.0.2.1"));
        assert_eq!(counted(address("2001:db8::1:2:3:4")), address("2001:db8::"));
    }
}
