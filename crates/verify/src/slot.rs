//! What is remembered of every decision, in 52 bytes.
//!
//! ```text
//! key of the execution id (16) ‖ tag of H(PAE) (12) ‖ tag of the fingerprint (12) ‖ outcome (2) ‖ flags (2)
//!     ‖ since when the outcome holds, in µs since 1970 (8)
//! ```

use std::collections::HashMap;

use chancery_core::statement::ExecutionState;
use chancery_core::time::Timestamp;

use crate::entry::Link;
use crate::table::{Key, Tag};

/// Bytes of a slot.
pub(crate) const SLOT_BYTES: usize = 52;

/// How far the clock of an approver may be ahead of the runtime's.
const AHEAD_MICROS: i64 = 10_000_000;

const PENDING: u8 = 1;
const BLOCKED: u8 = 2;
const RESOLVED: u8 = 4;
const CONFIRMED: u8 = 8;
const UNOPENED: u8 = 16;

/// A decision, as it is remembered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Slot {
    key: Key,
    record: Tag,
    fingerprint: Tag,
    outcome: u16,
    flags: u8,
    since: i64,
}

impl Slot {
    pub(crate) fn new(
        link: &Link,
        state: ExecutionState,
        outcome: u16,
        since: Timestamp,
        unopened: bool,
    ) -> Self {
        let state = match state {
            ExecutionState::Completed => 0,
            ExecutionState::PendingOverride => PENDING,
            ExecutionState::Blocked => BLOCKED,
        };
        let flags = if unopened { state | UNOPENED } else { state };
        let since = since.unix_micros();
        Self { key: link.key, record: link.record, fingerprint: link.fingerprint, outcome, flags, since }
    }

    pub(crate) fn into_bytes(self) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        let mut rest = bytes.as_mut_slice();
        for part in [
            self.key.as_slice(),
            self.record.as_slice(),
            self.fingerprint.as_slice(),
            self.outcome.to_le_bytes().as_slice(),
            [self.flags, 0].as_slice(),
            self.since.to_le_bytes().as_slice(),
        ] {
            let (here, after) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = after;
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: [u8; SLOT_BYTES]) -> Self {
        fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
            let Some((first, after)) = rest.split_first_chunk() else { return [0; N] };
            *rest = after;
            *first
        }
        let mut rest = bytes.as_slice();
        let (key, record, fingerprint) = (take(&mut rest), take(&mut rest), take(&mut rest));
        let outcome = u16::from_le_bytes(take(&mut rest));
        let [flags, _] = take(&mut rest);
        let since = i64::from_le_bytes(take(&mut rest));
        Self { key, record, fingerprint, outcome, flags, since }
    }

    pub(crate) fn record(&self) -> Tag {
        self.record
    }

    pub(crate) fn fingerprint(&self) -> Tag {
        self.fingerprint
    }

    /// The number of the effective outcome.
    pub(crate) fn outcome(&self) -> u16 {
        self.outcome
    }

    /// The state that the decision recorded.
    pub(crate) fn state(&self) -> ExecutionState {
        if self.has(PENDING) {
            ExecutionState::PendingOverride
        } else if self.has(BLOCKED) {
            ExecutionState::Blocked
        } else {
            ExecutionState::Completed
        }
    }

    pub(crate) fn is_resolved(&self) -> bool {
        self.has(RESOLVED)
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.has(CONFIRMED)
    }

    /// Its opening is not there, and no erasure has explained that.
    pub(crate) fn is_unopened(&self) -> bool {
        self.has(UNOPENED)
    }

    /// Whether this is before the effective outcome was decided.
    pub(crate) fn is_before(&self, at: Timestamp) -> bool {
        at.unix_micros() < self.since
    }

    /// A resolution may be dated as far ahead of the runtime's clock as an approver's clock was.
    pub(crate) fn resolve(&mut self, outcome: u16, at: Timestamp) {
        self.outcome = outcome;
        self.since = self.since.max(at.unix_micros().saturating_sub(AHEAD_MICROS));
        self.flags |= RESOLVED;
    }

    pub(crate) fn confirm(&mut self) {
        self.flags |= CONFIRMED;
    }

    pub(crate) fn erase(&mut self) {
        self.flags &= !UNOPENED;
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The outcomes of a file, numbered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcomes {
    numbers: HashMap<String, u16>,
    names: Vec<String>,
}

impl Outcomes {
    /// The number of an outcome; 65,535 for all that come after as many others, which then match no name.
    pub(crate) fn number(&mut self, name: &str) -> u16 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u16::try_from(self.names.len()).unwrap_or(u16::MAX);
        if number < u16::MAX {
            self.numbers.insert(name.to_owned(), number);
            self.names.push(name.to_owned());
        }
        number
    }

    pub(crate) fn name(&self, number: u16) -> Option<&str> {
        self.names.get(usize::from(number)).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_comes_back_from_its_bytes() {
        let at = |micros| Timestamp::from_unix_micros(micros).unwrap();
        let link = Link { key: [1; 16], record: [2; 12], fingerprint: [3; 12] };
        for state in [ExecutionState::Completed, ExecutionState::PendingOverride, ExecutionState::Blocked] {
            let mut slot = Slot::new(&link, state, 513, at(-5), true);
            assert_eq!(Slot::from_bytes(slot.into_bytes()), slot);
            assert_eq!((slot.state(), slot.outcome(), slot.record()), (state, 513, [2; 12]));
            assert!(slot.is_unopened() && !slot.is_resolved() && !slot.is_confirmed());
            assert!(slot.is_before(at(-6)) && !slot.is_before(at(-5)));
            slot.resolve(6, at(AHEAD_MICROS - 7));
            assert!(slot.is_before(at(-6)) && !slot.is_before(at(-5)), "nothing holds before the decision");
            slot.resolve(7, at(AHEAD_MICROS + 3));
            slot.confirm();
            slot.erase();
            let slot = Slot::from_bytes(slot.into_bytes());
            assert!(!slot.is_unopened() && slot.is_resolved() && slot.is_confirmed());
            assert!(slot.is_before(at(2)) && !slot.is_before(at(3)));
            assert_eq!((slot.state(), slot.outcome()), (state, 7));
        }
    }

    #[test]
    fn outcomes_are_numbered_as_they_come_and_never_mixed_up() {
        let mut outcomes = Outcomes::default();
        assert_eq!(outcomes.number("deny"), 0);
        assert_eq!(outcomes.number("approve"), 1);
        assert_eq!(outcomes.number("deny"), 0);
        for number in 0..70_000 {
            outcomes.number(&number.to_string());
        }
        assert_eq!(outcomes.name(1), Some("approve"));
        assert_eq!(outcomes.number("one too many"), u16::MAX);
        assert_eq!(outcomes.name(u16::MAX), None);
    }
}
