//! Tables of short digests: what has to be remembered of every record, in as little memory as it takes.
//!
//! ```text
//! slot of N bytes = key (16) ‖ whatever belongs to it (N − 16)         key 0…0 = free
//! ```
//!
//! Open addressing in 64 shards that each grow by a fifth when they are 85 % full, so that a table is always at
//! least 70 % full and never needs twice its memory to grow. Keys are digests already and need no hashing.

use chancery_core::digest::{Fingerprint, RecordId, sha256_parts};

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 16;

/// A key: the first bytes of a digest that [`Tags`] made.
pub(crate) type Key = [u8; KEY_BYTES];

/// A shorter digest that is compared with another one only.
pub(crate) type Tag = [u8; 12];

/// Makes the short digests of one file.
///
/// They are keyed with the root hash of the file's checkpoint. Whoever wants two records to look alike would have
/// to find them for a root that depends on both, which is a search for a second preimage, not for a collision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tags([u8; 32]);

impl Tags {
    pub(crate) fn new(root: [u8; 32]) -> Self {
        Self(root)
    }

    pub(crate) fn execution(&self, id: &str) -> Key {
        self.first(b"execution", id.as_bytes())
    }

    pub(crate) fn record_key(&self, record: &RecordId) -> Key {
        self.first(b"record", record.as_bytes())
    }

    pub(crate) fn record(&self, record: &RecordId) -> Tag {
        self.first(b"record", record.as_bytes())
    }

    pub(crate) fn fingerprint(&self, fingerprint: &Fingerprint) -> Tag {
        self.first(b"fingerprint", fingerprint.as_bytes())
    }

    fn first<const N: usize>(&self, what: &[u8], value: &[u8]) -> [u8; N] {
        let digest = sha256_parts(&[&self.0, what, value]);
        digest.first_chunk().copied().unwrap_or([0; N])
    }
}

const SHARDS: usize = 64;
const SHARD_MIN: usize = 16;

/// A set of keys, each with `N − 16` bytes that belong to it.
#[derive(Clone, Debug)]
pub(crate) struct Table<const N: usize> {
    shards: Vec<Shard<N>>,
}

#[derive(Clone, Debug, Default)]
struct Shard<const N: usize> {
    slots: Vec<[u8; N]>,
    used: usize,
}

/// What an insertion found.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Inserted<'a, const N: usize> {
    /// The key was not there.
    New,
    /// The key was there, and this is its slot, unchanged.
    Old(&'a mut [u8; N]),
}

impl<const N: usize> Table<N> {
    pub(crate) fn new() -> Self {
        Self { shards: vec![Shard::default(); SHARDS] }
    }

    /// The slot of `key`.
    pub(crate) fn get_mut(&mut self, key: &Key) -> Option<&mut [u8; N]> {
        let key = nonzero(*key);
        self.shard(&key).find(&key).ok()
    }

    /// Adds a slot, whose first bytes are the key, unless that is there.
    pub(crate) fn insert(&mut self, mut slot: [u8; N]) -> Inserted<'_, N> {
        let key = nonzero(key_of(&slot));
        if let Some(first) = slot.first_chunk_mut() {
            *first = key;
        }
        self.shard(&key).insert(&key, slot)
    }

    #[expect(clippy::indexing_slicing, reason = "there are 64 shards, and the number is taken modulo 64")]
    fn shard(&mut self, key: &Key) -> &mut Shard<N> {
        let [.., last] = *key;
        &mut self.shards[usize::from(last) % SHARDS]
    }
}

/// The all-zero key marks free slots; it is as good as never met, and means its neighbour then.
fn nonzero(key: Key) -> Key {
    if key == [0; KEY_BYTES] { [1; KEY_BYTES] } else { key }
}

fn key_of<const N: usize>(slot: &[u8; N]) -> Key {
    slot.first_chunk().copied().unwrap_or_default()
}

impl<const N: usize> Shard<N> {
    /// The slot with this key, or else the free one where it belongs.
    fn position(&self, key: &Key) -> Option<usize> {
        let length = u64::try_from(self.slots.len()).ok().filter(|length| *length > 0)?;
        let digest = u64::from_le_bytes(key.first_chunk().copied().unwrap_or_default());
        // The upper half of the product spreads the digest evenly over the slots.
        let scaled = (u128::from(digest) * u128::from(length)) >> 64;
        let mut at = usize::try_from(scaled).ok()?;
        loop {
            let found = key_of(self.slots.get(at)?);
            if found == *key || found == Key::default() {
                return Some(at);
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
    }

    fn find(&mut self, key: &Key) -> Result<&mut [u8; N], ()> {
        let slot = self.position(key).and_then(|at| self.slots.get_mut(at)).ok_or(())?;
        if key_of(slot) == *key { Ok(slot) } else { Err(()) }
    }

    fn insert(&mut self, key: &Key, slot: [u8; N]) -> Inserted<'_, N> {
        if (self.used + 1) * 20 > self.slots.len() * 17 {
            self.grow();
        }
        let found = self.position(key).and_then(|at| self.slots.get_mut(at));
        match found {
            Some(old) if key_of(old) == *key => Inserted::Old(old),
            Some(free) => {
                *free = slot;
                self.used += 1;
                Inserted::New
            }
            None => Inserted::New,
        }
    }

    fn grow(&mut self) {
        let length = (self.slots.len() * 6 / 5).max(SHARD_MIN);
        let old = std::mem::replace(&mut self.slots, vec![[0; N]; length]);
        for slot in old {
            let key = key_of(&slot);
            if key != Key::default()
                && let Some(free) = self.position(&key).and_then(|at| self.slots.get_mut(at))
            {
                *free = slot;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn key(number: u64) -> Key {
        Tags::new([7; 32]).execution(&number.to_string())
    }

    fn slot(number: u64) -> [u8; 24] {
        let mut slot = [0; 24];
        slot[..16].copy_from_slice(&key(number));
        slot[16..].copy_from_slice(&number.to_le_bytes());
        slot
    }

    #[test]
    fn a_table_keeps_what_a_map_keeps() {
        let mut table = Table::<24>::new();
        let mut map = HashMap::new();
        for number in 0..20_000_u64 {
            let number = number % 15_000;
            let inserted = table.insert(slot(number));
            match map.insert(key(number), number) {
                None => assert_eq!(inserted, Inserted::New),
                Some(_) => assert_eq!(inserted, Inserted::Old(&mut slot(number))),
            }
        }
        for number in 0..15_000 {
            assert_eq!(table.get_mut(&key(number)), Some(&mut slot(number)));
        }
        assert_eq!(table.get_mut(&key(15_000)), None);
        table.get_mut(&key(3)).unwrap()[16] = 9;
        assert_eq!(table.get_mut(&key(3)).unwrap()[16], 9);
    }

    #[test]
    fn a_slot_takes_at_most_a_half_more_than_its_bytes() {
        let mut table = Table::<44>::new();
        for number in 0..200_000_u64 {
            let mut slot = [0; 44];
            slot[..16].copy_from_slice(&key(number));
            table.insert(slot);
        }
        let slots: usize = table.shards.iter().map(|shard| shard.slots.capacity()).sum();
        assert!(slots * 44 <= 200_000 * 64, "{slots} slots");
    }

    #[test]
    fn the_free_key_is_a_key_like_any_other() {
        let mut table = Table::<16>::new();
        assert_eq!(table.get_mut(&[0; 16]), None);
        assert_eq!(table.insert([0; 16]), Inserted::New);
        assert!(matches!(table.insert([0; 16]), Inserted::Old(_)));
        assert!(table.get_mut(&[0; 16]).is_some());
    }

    #[test]
    fn tags_depend_on_the_root_and_on_what_is_tagged() {
        let (a, b) = (Tags::new([1; 32]), Tags::new([2; 32]));
        assert_ne!(a.execution("x"), b.execution("x"));
        let record = RecordId::from_bytes([9; 32]);
        assert_ne!(a.record(&record), a.fingerprint(&Fingerprint::from_bytes([9; 32])));
        assert_eq!(a.record_key(&record)[..12], a.record(&record));
    }
}
