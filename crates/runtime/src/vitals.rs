//! What an operator watches of an open log: how far it is, what waits, what ends soon.
//!
//! Numbers alone: no id, no name, no value of anybody.

use crate::runtime::{Inner, Runtime};
use chancery_core::keyring::{KeyEntry, Role};
use chancery_core::time::Timestamp;
use chancery_store::{OpenCases, StoreError};

/// Counter: decisions that were made again, because the bundle in force changed while they waited for the log.
pub const REDECISIONS: &str = "chancery_redecisions_total";

/// A log at one moment.
#[derive(Clone, Debug)]
pub struct Vitals {
    /// Entries of the log.
    pub entries: u64,
    /// Entries under the newest checkpoint.
    pub checkpoint_entries: u64,
    /// When the newest checkpoint was stored.
    pub checkpoint_at: Option<Timestamp>,
    /// When the first entry was recorded that no checkpoint covers.
    pub waiting_since: Option<Timestamp>,
    /// Records that wait for the log writer.
    pub queued: usize,
    /// Override cases that nobody has ended.
    pub open_cases: OpenCases,
    /// What ends when: `keyring`, `runtime`, `log` and, where there is a build, `build`.
    pub ends: Vec<(&'static str, Timestamp)>,
}

impl Runtime {
    /// Looks. Blocks; the reading is of one moment.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn vitals(&self) -> Result<Vitals, StoreError> {
        let inner = &self.inner;
        let queued = inner.store.waiting();
        let ends = inner.ends();
        let first_open = inner.store.first_open_case()?;
        inner.store.read(|reader| {
            let entries = reader.head()?.size;
            let newest = reader.checkpoint_newest()?;
            let checkpoint_entries = newest.as_ref().map_or(0, |newest| newest.size);
            Ok(Vitals {
                entries,
                checkpoint_entries,
                checkpoint_at: newest.map(|newest| newest.created_at),
                waiting_since: reader.entry(checkpoint_entries)?.map(|first| first.recorded_at),
                queued,
                open_cases: reader.open_cases(first_open)?,
                ends,
            })
        })
    }
}

impl Inner {
    /// When the keys of this process end, by the newest keyring version; one that is not in it has ended.
    fn ends(&self) -> Vec<(&'static str, Timestamp)> {
        let snapshot = self.snapshot();
        let newest = snapshot.keyring.newest();
        let mut ends = vec![("keyring", newest.predicate().expires_at)];
        let own = [("runtime", Role::Runtime, &self.runtime_key), ("log", Role::Log, &self.log_key)];
        for (name, role, key) in own {
            let until = |entry: &KeyEntry| entry.roles.contains(&role).then_some(entry.valid_until);
            let entry = newest.key(key.public_key().key_id());
            ends.push((name, entry.and_then(until).unwrap_or(Timestamp::UNIX_EPOCH)));
        }
        if let Some(deciding) = &self.build {
            let entry = newest.key(&deciding.build.statement.predicate.signer);
            ends.push(("build", entry.map_or(Timestamp::UNIX_EPOCH, |entry| entry.valid_until)));
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{TestLog, caller, request};

    #[test]
    fn what_is_recorded_and_what_waits_is_told() {
        let log = TestLog::new();
        let runtime = log.open();
        runtime.publish_checkpoint().unwrap();
        let before = runtime.vitals().unwrap();
        assert_eq!((before.entries, before.queued), (before.checkpoint_entries, 0));
        assert!(before.checkpoint_at.is_some() && before.waiting_since.is_none());
        assert_eq!(before.open_cases.count, 0);
        let ends: Vec<_> = before.ends.iter().map(|(name, _)| *name).collect();
        assert_eq!(ends, ["keyring", "runtime", "log"]);
        assert!(before.ends.iter().all(|(_, at)| *at > runtime.inner.clock.now()));
        runtime.execute_blocking(&caller(), &request("e-1", "1", "0.1")).unwrap();
        let after = runtime.vitals().unwrap();
        assert_eq!(after.entries, before.entries + 1);
        assert!(after.waiting_since.is_some());
    }
}
