//! Credentials: API keys, what they allow, and what was refused.
//!
//! ```text
//! chancery apikey create ─► api_keys: hash over (secret, principal, roles, times)      the secret is shown once
//!
//! Authorization: Bearer chy_… ─► checksum ─► table in memory ─► hash ─► times, revocation ─► principal and roles
//!                                              │ younger than 0.3 s: used
//!                                              │ younger than 0.9 s: used, and read anew in the background
//!                                              └ older, or the id is not in it: read first; if that fails, refused
//! ```
//! Administrators do not approve, whatever they show: a principal of a certificate or a token with an administrative role
//! is remembered, and `approver` of one that has such an API key, or is remembered, counts for nothing.
//!
//! So a request reads no database, and a revocation holds on every server within a second. Keys and revocations are
//! never deleted, so that their numbers say whether anything is new: reading anew is two counts mostly.

mod error;
mod events;
mod key;
mod keys;
mod role;

#[cfg(test)]
mod tests;

use crate::edge::Clock;
use crate::runtime::Runtime;
use crate::vault::ApiKeyHasher;
use chancery_core::digest::Digest;
use chancery_core::ids::TenantId;
use chancery_core::time::Timestamp;
use chancery_store::{ApiKeyRow, ApiKeyStamp, Revocation, Store, StoreError};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub use self::error::{AuthenticateError, CredentialError, KnownKey};
pub use self::events::{
    EVENTS_PAGE_MAX, EventKind, ListedEvent, SecurityEvent, SecurityEventFilter, SecurityEventList,
    SecurityEvents, forget_security_events,
};
pub use self::key::{ApiKey, MalformedKey, PREFIX};
pub use self::keys::{ApiKeys, KEYS_MAX, LIFETIME_MS_MAX, ListedApiKey, NewApiKey};
pub use self::role::{Role, Roles, UnknownRole};

/// A table of this age, ms, is read anew in the background.
const AGEING_MS: i64 = 300;
/// A table of this age, ms, is used no more. With the time that reading takes: less than a second.
const STALE_MS: i64 = 900;
/// A key that is not in the table may be newer than it, unless the table is younger than this, ms. Whoever tries ids
/// makes the database read no more often.
const MISSING_MS: i64 = 100;
/// How long nobody tries to read the keys after somebody has in vain, ms: those who wait do not try one after the other.
const FAILED_MS: i64 = 100;
/// Whoever has claimed to read the keys and has not in this time, µs, does not any more: the task was dropped or panicked.
const CLAIM_MICROS: i64 = 10 * 1_000_000;
/// How long a key whose time is over is still told from an unknown one, ms: 30 days.
const REMEMBERED_MS: i64 = 30 * 86_400_000;
/// The most principals that are remembered as administrators.
const ADMINISTRATORS_MAX: usize = 20_000;
/// The most keys in memory: those of [`KEYS_MAX`], and as many that have expired.
const TABLE_MAX: u32 = 20_000;

/// A credential that was found good.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credential {
    /// Which key.
    pub key_id: Arc<str>,
    /// Who calls.
    pub principal: Arc<str>,
    /// What they may do; administrators do not approve.
    pub roles: Roles,
}

/// Tells whose an API key is: the keys of one log, in memory.
pub struct Credentials {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    hasher: ApiKeyHasher,
    table: RwLock<Option<Arc<Table>>>,
    /// One reads, the others wait for what it finds: when reading has failed last.
    reading: Mutex<Option<Timestamp>>,
    /// Since when somebody reads in the background, µs since 1970; [`UNCLAIMED`].
    claimed_at: AtomicI64,
    /// Principals that have an administrative role by something else than an API key; at most [`ADMINISTRATORS_MAX`].
    administrators: RwLock<HashSet<Arc<str>>>,
}

const UNCLAIMED: i64 = i64::MIN;

/// The keys as they were at one moment.
struct Table {
    /// Before the database was asked.
    read_at: Timestamp,
    stamp: ApiKeyStamp,
    keys: Arc<HashMap<String, Entry>>,
}

struct Entry {
    credential: Credential,
    about: Vec<u8>,
    hash: Digest,
    not_before: Option<Timestamp>,
    expires_at: Timestamp,
    revocation: Option<Revocation>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.tenant())
    }
}

impl Credentials {
    pub(crate) fn new(store: Arc<Store>, clock: Arc<dyn Clock>, hasher: ApiKeyHasher) -> Self {
        Self {
            store,
            clock,
            hasher,
            table: RwLock::default(),
            reading: Mutex::default(),
            claimed_at: AtomicI64::new(UNCLAIMED),
            administrators: RwLock::default(),
        }
    }

    /// Whose keys these are.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.store.settings().tenant
    }

    /// Whose key this is, if that can be told from memory; else [`Credentials::authenticate`] has to read first.
    #[must_use]
    pub fn known(&self, key: &ApiKey) -> Option<Result<Credential, AuthenticateError>> {
        let now = self.clock.now();
        let table = self.table()?;
        let age = table.age_ms(now);
        if !(0..STALE_MS).contains(&age) || age >= MISSING_MS && !table.keys.contains_key(key.id()) {
            return None;
        }
        Some(self.judge(&table, key, now))
    }

    /// Whose key this is. Blocks where the keys have to be read first.
    ///
    /// # Errors
    /// [`AuthenticateError`]; when the keys are too old and cannot be read, nobody is let in.
    pub fn authenticate(&self, key: &ApiKey) -> Result<Credential, AuthenticateError> {
        if let Some(known) = self.known(key) {
            return known;
        }
        let now = self.clock.now();
        let table = self.read_since(now)?;
        self.judge(&table, key, now)
    }

    /// Whether the caller of this is to call [`Credentials::refresh`] on a thread that may block: once for all who ask
    /// while the table ages.
    #[must_use]
    pub fn claim_refresh(&self) -> bool {
        let is_ageing =
            self.table().is_none_or(|table| !(0..AGEING_MS).contains(&table.age_ms(self.clock.now())));
        let (now, claimed_at) = (self.clock.now().unix_micros(), self.claimed_at.load(Ordering::Acquire));
        let is_free = !(0..CLAIM_MICROS).contains(&now.saturating_sub(claimed_at));
        let claim =
            || self.claimed_at.compare_exchange(claimed_at, now, Ordering::AcqRel, Ordering::Acquire).is_ok();
        is_ageing && is_free && claim()
    }

    /// Reads the keys anew. Blocks.
    ///
    /// # Errors
    /// [`AuthenticateError::Store`]; what was read before stays until it is too old.
    pub fn refresh(&self) -> Result<(), AuthenticateError> {
        let read = self.read_since(self.clock.now());
        self.claimed_at.store(UNCLAIMED, Ordering::Release);
        read.map(drop)
    }

    /// Remembers until the process ends that this principal has an administrative role, by a certificate or a token.
    pub fn administers(&self, principal: &Arc<str>) {
        let remembered = |who: &HashSet<Arc<str>>| who.contains(principal) || who.len() >= ADMINISTRATORS_MAX;
        if !remembered(&self.administrators.read().unwrap_or_else(PoisonError::into_inner)) {
            let mut administrators = self.administrators.write().unwrap_or_else(PoisonError::into_inner);
            administrators.insert(Arc::clone(principal));
        }
    }

    /// What a principal may do with `roles` if it may approve with nothing that it has where it administers with something
    /// else; `None` where [`Credentials::separated`] has to read the keys first.
    #[must_use]
    pub fn known_separated(&self, principal: &str, roles: Roles) -> Option<Roles> {
        if !roles.has(Role::Approver) {
            return Some(roles);
        }
        let now = self.clock.now();
        let table = self.table().filter(|table| (0..STALE_MS).contains(&table.age_ms(now)))?;
        Some(self.separate(&table, principal, roles, now))
    }

    /// The same. Blocks where the keys have to be read first.
    ///
    /// # Errors
    /// [`AuthenticateError::Store`]: nobody approves whose other keys cannot be looked at.
    pub fn separated(&self, principal: &str, roles: Roles) -> Result<Roles, AuthenticateError> {
        if let Some(known) = self.known_separated(principal, roles) {
            return Ok(known);
        }
        let now = self.clock.now();
        let table = self.read_since(now)?;
        Ok(self.separate(&table, principal, roles, now))
    }

    fn separate(&self, table: &Table, principal: &str, roles: Roles, now: Timestamp) -> Roles {
        let administrators = self.administrators.read().unwrap_or_else(PoisonError::into_inner);
        let administers = |entry: &Entry| {
            &*entry.credential.principal == principal
                && entry.credential.roles.is_administrative()
                && entry.expires_at > now
                && entry.revocation.as_ref().is_none_or(|revocation| !revocation.holds_at(now))
        };
        if administrators.contains(principal) || table.keys.values().any(administers) {
            roles.without(Role::Approver)
        } else {
            roles
        }
    }

    fn table(&self) -> Option<Arc<Table>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A table that was read at `asked` or later.
    fn read_since(&self, asked: Timestamp) -> Result<Arc<Table>, AuthenticateError> {
        let mut failed_at = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let before = self.table();
        // Somebody else has read while this one waited for the lock.
        if let Some(table) = before.as_ref().filter(|table| asked < table.read_at && table.read_at <= now) {
            return Ok(Arc::clone(table));
        }
        if failed_at.is_some_and(|failed_at| (0..FAILED_MS).contains(&now.saturating_diff_ms(failed_at))) {
            return Err(AuthenticateError::JustTried);
        }
        let read = self.read(before, now);
        // The time after a try: a database that does not answer is waited for by one.
        *failed_at = read.is_err().then(|| self.clock.now());
        Ok(read?)
    }

    fn read(&self, before: Option<Arc<Table>>, now: Timestamp) -> Result<Arc<Table>, StoreError> {
        let since = now.checked_add_ms(-REMEMBERED_MS).unwrap_or(Timestamp::UNIX_EPOCH);
        let known = before.as_ref().map(|table| table.stamp);
        let (stamp, rows) = self.store.read(|reader| {
            let stamp = reader.api_key_stamp()?;
            let rows = if known == Some(stamp) { None } else { Some(reader.api_keys(since, TABLE_MAX)?) };
            Ok((stamp, rows))
        })?;
        let keys = match (rows, before) {
            (None, Some(before)) => Arc::clone(&before.keys),
            (rows, _) => Arc::new(rows.into_iter().flatten().filter_map(entry).collect()),
        };
        let table = Arc::new(Table { read_at: now, stamp, keys });
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&table));
        Ok(table)
    }

    fn judge(&self, table: &Table, key: &ApiKey, now: Timestamp) -> Result<Credential, AuthenticateError> {
        let entry = table.keys.get(key.id()).filter(|_| key.tenant() == self.tenant());
        let entry = entry.ok_or(AuthenticateError::Unknown)?;
        if !self.hasher.verify(&entry.about, key.secret(), &entry.hash) {
            return Err(AuthenticateError::Unknown);
        }
        let Credential { key_id, principal, .. } = &entry.credential;
        let key = KnownKey { key_id: Arc::clone(key_id), principal: Arc::clone(principal) };
        if entry.revocation.as_ref().is_some_and(|revocation| revocation.holds_at(now)) {
            return Err(AuthenticateError::Revoked { key });
        }
        if entry.expires_at <= now {
            return Err(AuthenticateError::Expired { key, expires_at: entry.expires_at });
        }
        match entry.not_before {
            Some(not_before) if now < not_before => Err(AuthenticateError::NotYet { key, not_before }),
            _ => Ok(entry.credential.clone()),
        }
    }
}

impl Table {
    fn age_ms(&self, now: Timestamp) -> i64 {
        now.saturating_diff_ms(self.read_at)
    }
}

/// A row as it is used. What this program does not understand is no key.
fn entry(row: ApiKeyRow) -> Option<(String, Entry)> {
    let Ok(roles) = row.roles.parse::<Roles>() else {
        tracing::warn!(key_id = row.key_id, "an API key has a role that this program does not know");
        return None;
    };
    let credential = Credential {
        key_id: row.key_id.as_str().into(),
        principal: row.principal.as_str().into(),
        roles: roles.separated(),
    };
    let entry = Entry {
        credential,
        about: about(&row),
        hash: row.hash,
        not_before: row.not_before,
        expires_at: row.expires_at,
        revocation: row.revocation,
    };
    Some((row.key_id, entry))
}

/// What a key's hash is about, besides its secret: whoever changes one of these in the database has no key any more.
///
/// `key id ‖ 0x00 ‖ principal ‖ 0x00 ‖ roles ‖ 0x00 ‖ not_before or nothing ‖ 0x00 ‖ expires_at`
fn about(row: &ApiKeyRow) -> Vec<u8> {
    let not_before = row.not_before.map(|time| time.to_string()).unwrap_or_default();
    [&row.key_id, &row.principal, &row.roles, &not_before, &row.expires_at.to_string()]
        .map(String::as_str)
        .join("\0")
        .into_bytes()
}

impl Runtime {
    /// Whose API keys are whose.
    #[must_use]
    pub fn credentials(&self) -> &Arc<Credentials> {
        &self.inner.credentials
    }
}
