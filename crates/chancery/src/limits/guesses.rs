//! Whoever shows bad credentials is told so twenty times at once, then once a second for each address.
//!
//! Behind one address there may be many callers. So a credential is judged first, and only where it is bad its caller
//! may be told to wait instead: nobody's guesses lock out a neighbour. API keys are a look in memory. The signature of a
//! token is more: where the address has too many bad ones, tokens are judged one at a time, but for those that were good
//! within the hour.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use chancery_core::time::Timestamp;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::bucket::{Keyed, Rate, Wait};

const PER_SECOND: u32 = 1;
const BURST: u32 = 20;
/// For how long a good token is remembered, µs.
const GOOD_MICROS: i64 = 3_600 * 1_000_000;
/// The most that are.
const GOOD_MAX: usize = 16_384;

/// Bad credentials by address, and good tokens.
#[derive(Debug)]
pub(crate) struct Guesses {
    bad: Keyed<IpAddr>,
    /// By a hash that only this process can make; until when.
    good: Mutex<HashMap<u64, i64>>,
    hasher: RandomState,
    turns: Semaphore,
}

impl Default for Guesses {
    fn default() -> Self {
        Self {
            bad: Keyed::new(Rate::new(PER_SECOND, BURST)),
            good: Mutex::default(),
            hasher: RandomState::new(),
            turns: Semaphore::new(1),
        }
    }
}

/// An address as it is counted: whoever has one IPv6 address has the 2^64 beside it.
pub(super) fn counted(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        },
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Guesses {
    /// Waits for a turn to judge a token, which costs more than a look in memory: where the address has too many bad
    /// ones, and the token is none that was good, one is judged at a time.
    pub(crate) async fn turn(
        &self,
        address: IpAddr,
        token: &str,
        now: Timestamp,
    ) -> Option<SemaphorePermit<'_>> {
        if self.bad.room(&counted(address), now).is_ok() || self.is_known(token, now) {
            return None;
        }
        self.turns.acquire().await.ok()
    }

    fn is_known(&self, token: &str, now: Timestamp) -> bool {
        let good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        good.get(&self.hasher.hash_one(token)).is_some_and(|until| *until > now.unix_micros())
    }

    /// A credential from there was bad: whether its caller is told why, or to wait.
    pub(crate) fn was_bad(&self, address: IpAddr, now: Timestamp) -> Result<(), Wait> {
        self.bad.take(&counted(address), now)
    }

    /// A token was good.
    pub(crate) fn was_good(&self, token: &str, now: Timestamp) {
        let now = now.unix_micros();
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if good.len() >= GOOD_MAX {
            good.retain(|_, until| *until > now);
        }
        if good.len() < GOOD_MAX {
            good.insert(self.hasher.hash_one(token), now.saturating_add(GOOD_MICROS));
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
        let (here, there) = (address("2001:db8::1"), address("2001:db8:0:1::1"));
        let told = |s| (0..100).filter(|_| guesses.was_bad(here, at(s)).is_ok()).count();
        assert_eq!((told(0), told(1), told(11)), (20, 1, 10));
        assert!(guesses.was_bad(address("2001:db8::2"), at(11)).is_err_and(|wait| wait.seconds() == 1));
        assert!(guesses.was_bad(there, at(11)).is_ok());
    }

    #[tokio::test]
    async fn only_unknown_tokens_from_where_bad_ones_come_wait_for_their_turn() {
        let guesses = Guesses::default();
        let here = address("192.0.2.1");
        guesses.was_good("good", at(0));
        assert!(guesses.turn(here, "other", at(0)).await.is_none());
        while guesses.was_bad(here, at(0)).is_ok() {}
        let turn = guesses.turn(here, "other", at(0)).await;
        assert!(turn.is_some() && guesses.turns.try_acquire().is_err(), "there is one");
        assert!(guesses.turn(here, "good", at(0)).await.is_none(), "it was good before");
        assert!(guesses.turn(address("192.0.2.2"), "other", at(0)).await.is_none());
        drop(turn);
        while guesses.was_bad(here, at(3_600)).is_ok() {}
        assert!(guesses.turn(here, "good", at(3_600)).await.is_some(), "it is forgotten after an hour");
    }

    #[test]
    fn an_address_in_another_form_is_the_same() {
        assert_eq!(counted(address("::ffff:192.0.2.1")), address("192.0.2.1"));
        assert_eq!(counted(address("2001:db8::1:2:3:4")), address("2001:db8::"));
    }
}
