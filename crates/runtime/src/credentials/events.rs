//! Security events: what was refused at the door, counted in memory and written in the background.
//!
//! ```text
//! request ─► record: one look into a table in memory          flush, every second: rows for what is new
//!                    kind × code × route × caller ─► count      the first of its sort at once, the rest of its window as one
//! ```
//! A flood costs a request nothing but that look. The database gets a row for each sort and window, and those of one caller
//! are counted: beyond [`ROWS_A_DAY`] of them, or [`ANONYMOUS_MAX`] and [`KNOWN_MAX`] sorts in a window, only a number is
//! kept (`dropped`). Whoever is not known is one caller with all others of that kind, and their routes are not told apart,
//! so that what strangers can make this write is [`ROWS_A_DAY`] and a few.

use crate::edge::{self, Clock, Entropy};
use crate::runtime::Runtime;
use chancery_core::ids::TenantId;
use chancery_core::time::Timestamp;
use chancery_store::{Location, SecurityEventRow, Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

pub use chancery_store::{EventKind, SecurityEventFilter};

use super::CredentialError;
use super::keys::open_beside;
use crate::records::{Records, RecordsError};

/// Sorts of events in a window whose caller is not known: kinds × codes × addresses, far fewer than an attacker can make up.
const ANONYMOUS_MAX: usize = 128;
/// Sorts of events in a window of callers who are known.
const KNOWN_MAX: usize = 256;
/// Rows a day for one caller, and for all together who are not known. What has begun to be counted is written beyond it.
const ROWS_A_DAY: u32 = 2_000;
const DAY_MICROS: i64 = 86_400 * 1_000_000;
/// How long events of one sort are counted before a row is written for them, ms: of a caller who is known, and of others.
const KNOWN_WINDOW_MS: i64 = 60_000;
const WINDOW_MS: i64 = 600_000;
/// No event that is younger than this, ms, goes: 90 days, as the database has it.
const KEPT_MS: i64 = 90 * 86_400_000;
/// The most events of a page.
pub const EVENTS_PAGE_MAX: u32 = 1_000;

/// Something that was refused.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct SecurityEvent {
    /// The sort.
    pub kind: EventKind,
    /// The stable code that the caller was answered.
    pub code: &'static str,
    /// The method of the route.
    pub method: &'static str,
    /// The template of the route, never the path: that is the caller's text.
    pub route: &'static str,
    /// Who called, where the credential was good.
    pub principal: Option<Arc<str>>,
    /// With which key, where its secret was right.
    pub key_id: Option<Arc<str>>,
    /// From where, where that is recorded.
    pub address: Option<IpAddr>,
}

impl SecurityEvent {
    fn dropped() -> Self {
        Self {
            kind: EventKind::Dropped,
            code: "events.dropped",
            method: "",
            route: "-",
            principal: None,
            key_id: None,
            address: None,
        }
    }

    fn is_known(&self) -> bool {
        self.principal.is_some()
    }

    fn window_ms(&self) -> i64 {
        if self.is_known() { KNOWN_WINDOW_MS } else { WINDOW_MS }
    }

    /// As it is counted: of a stranger neither the route nor the second half of an IPv6 address, which are theirs to choose.
    fn folded(self) -> Self {
        let (method, route) = if self.is_known() { (self.method, self.route) } else { ("", "-") };
        Self { method, route, address: self.address.map(network), ..self }
    }
}

/// Whoever has one IPv6 address has the 2^64 beside it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Events of one sort that are not written yet.
#[derive(Clone, Copy, Debug)]
struct Slot {
    window: Timestamp,
    /// Whether this window has a row already.
    written: bool,
    first_at: Timestamp,
    last_at: Timestamp,
    times: u64,
}

/// What is counted, and what was written of it today.
#[derive(Debug, Default)]
struct Counted {
    slots: HashMap<SecurityEvent, Slot>,
    /// Days since 1970.
    day: i64,
    /// Rows of that day: of each principal, and of nobody whom one knows.
    rows: HashMap<Option<Arc<str>>, u32>,
}

impl Counted {
    /// Whether another sort of this kind of caller can be told apart, and another row of this caller written.
    fn has_room(&self, event: &SecurityEvent) -> bool {
        let is_known = event.is_known();
        let max = if is_known { KNOWN_MAX } else { ANONYMOUS_MAX };
        self.rows.get(&event.principal).is_none_or(|rows| *rows < ROWS_A_DAY)
            && (self.slots.contains_key(event)
                || self.slots.keys().filter(|other| other.is_known() == is_known).count() < max)
    }

    fn begin_day(&mut self, now: Timestamp) {
        let day = now.unix_micros().div_euclid(DAY_MICROS);
        if self.day != day {
            self.day = day;
            self.rows.clear();
        }
    }
}

/// Counts what was refused, for one log.
pub struct SecurityEvents {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    counted: Mutex<Counted>,
}

impl std::fmt::Debug for SecurityEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecurityEvents({})", self.store.settings().tenant)
    }
}

impl SecurityEvents {
    pub(crate) fn new(store: Arc<Store>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { store, clock, entropy, counted: Mutex::default() }
    }

    /// Counts an event. Neither waits for the database nor fails.
    pub fn record(&self, event: SecurityEvent) {
        let now = self.clock.now();
        let event = event.folded();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.begin_day(now);
        let event = if counted.has_room(&event) { event } else { SecurityEvent::dropped() };
        let slot = counted.slots.entry(event).or_insert(Slot {
            window: now,
            written: false,
            first_at: now,
            last_at: now,
            times: 0,
        });
        if slot.times == 0 {
            slot.first_at = now;
        }
        slot.last_at = now;
        slot.times = slot.times.saturating_add(1);
    }

    /// Writes what is due: what is the first of its sort, and what has been counted for a window. Blocks.
    ///
    /// # Errors
    /// The store's or the random source's; what was counted is kept for the next time.
    pub fn flush(&self) -> Result<(), CredentialError> {
        self.write(false)
    }

    /// Writes everything, before the process ends. Blocks.
    ///
    /// # Errors
    /// As [`SecurityEvents::flush`].
    pub fn drain(&self) -> Result<(), CredentialError> {
        self.write(true)
    }

    fn write(&self, all: bool) -> Result<(), CredentialError> {
        let now = self.clock.now();
        let due = self.take_due(now, all);
        if due.is_empty() {
            return Ok(());
        }
        let written = self.rows(now, &due).and_then(|rows| Ok(self.store.insert_security_events(rows)?));
        if written.is_err() {
            self.put_back(due);
        }
        written
    }

    /// What is to be written, taken out of the table; windows that are over and empty go.
    fn take_due(&self, now: Timestamp, all: bool) -> Vec<(SecurityEvent, Slot)> {
        let mut due = Vec::new();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.begin_day(now);
        let Counted { slots, rows, .. } = &mut *counted;
        slots.retain(|event, slot| {
            let age = now.saturating_diff_ms(slot.window);
            let is_over = !(0..event.window_ms()).contains(&age);
            if slot.times == 0 {
                return !is_over;
            }
            if all || is_over || !slot.written {
                due.push((event.clone(), *slot));
                let window = if is_over { now } else { slot.window };
                *slot = Slot { window, written: true, times: 0, ..*slot };
                // What was dropped is one row in a window anyway.
                if event.kind != EventKind::Dropped {
                    let written = rows.entry(event.principal.clone()).or_default();
                    *written = written.saturating_add(1);
                }
            }
            true
        });
        due
    }

    fn put_back(&self, due: Vec<(SecurityEvent, Slot)>) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        for (event, taken) in due {
            counted
                .slots
                .entry(event)
                .and_modify(|slot| {
                    let last_at = if slot.times == 0 { taken.last_at } else { slot.last_at };
                    *slot = Slot { last_at, times: slot.times.saturating_add(taken.times), ..taken };
                })
                .or_insert(taken);
        }
    }

    fn rows(
        &self,
        now: Timestamp,
        due: &[(SecurityEvent, Slot)],
    ) -> Result<Vec<SecurityEventRow>, CredentialError> {
        let micros = u64::try_from(now.unix_micros()).unwrap_or(0);
        due.iter()
            .map(|(event, slot)| {
                // Ids in the order of time, which two nodes cannot both take.
                let chance = u64::from_be_bytes(edge::random(self.entropy.as_ref())?);
                let route = format!("{} {}", event.method, event.route);
                Ok(SecurityEventRow {
                    event_id: format!("{micros:016x}{chance:016x}"),
                    kind: event.kind,
                    code: event.code.to_owned(),
                    route: route.trim_start().to_owned(),
                    principal: event.principal.as_deref().map(str::to_owned),
                    key_id: event.key_id.as_deref().map(str::to_owned),
                    address: event.address.map(|address| address.to_string()),
                    first_at: slot.first_at,
                    last_at: slot.last_at,
                    times: slot.times,
                })
            })
            .collect()
    }
}

/// Takes away the events of a log that were written before `before`, and says how many. Works beside a running server.
/// Blocks.
///
/// # Errors
/// [`CredentialError::Young`] for a time less than ninety days ago; [`CredentialError::Store`].
pub fn forget_security_events(
    database: &Location,
    tenant: &TenantId,
    clock: Arc<dyn Clock>,
    before: Timestamp,
) -> Result<u64, CredentialError> {
    if clock.now().saturating_diff_ms(before) < KEPT_MS {
        return Err(CredentialError::Young);
    }
    Ok(open_beside(database, tenant, &clock)?.forget_security_events(before)?)
}

impl Runtime {
    /// Where refusals are counted.
    #[must_use]
    pub fn security_events(&self) -> &Arc<SecurityEvents> {
        &self.inner.events
    }
}

/// Refusals that were alike within a minute, or within ten of callers whom nobody knows.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ListedEvent {
    /// `credential`, `tenant`, `role`, `signature`, or `dropped`.
    pub kind: String,
    /// The stable code that the caller was answered.
    pub code: String,
    /// Method and template of the route; `-` where nobody knows the caller.
    pub route: String,
    /// Who called, where the credential was good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// With which key, where its secret was right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// From where, where that is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The first of them.
    pub first_at: Timestamp,
    /// The last of them.
    pub last_at: Timestamp,
    /// How many.
    pub count: u64,
}

/// A page of security events.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SecurityEventList {
    /// The events, the newest first.
    pub items: Vec<ListedEvent>,
    /// Where the next page begins, if there is one: opaque.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Records {
    /// A page of security events, at most `limit` of them (and at most [`EVENTS_PAGE_MAX`]), from where `after` says.
    ///
    /// # Errors
    /// [`RecordsError`]; a cursor that this list did not give out is the caller's.
    pub fn security_events(
        &self,
        filter: &SecurityEventFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<SecurityEventList, RecordsError> {
        let is_id =
            |text: &str| text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if let Some(cursor) = after.filter(|after| !is_id(after)) {
            return Err(StoreError::Cursor { cursor: cursor.to_owned() }.into());
        }
        let limit = limit.clamp(1, EVENTS_PAGE_MAX);
        // One more than asked for says whether there are more.
        let mut rows = self.store.read(|reader| reader.security_events(filter, after, limit + 1))?;
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > wanted;
        rows.truncate(wanted);
        let next = rows.last().filter(|_| has_more).map(|row| row.event_id.clone());
        Ok(SecurityEventList { items: rows.into_iter().map(ListedEvent::from).collect(), next })
    }
}

impl From<SecurityEventRow> for ListedEvent {
    fn from(row: SecurityEventRow) -> Self {
        Self {
            kind: row.kind.as_str().to_owned(),
            code: row.code,
            route: row.route,
            principal: row.principal,
            key_id: row.key_id,
            address: row.address,
            first_at: row.first_at,
            last_at: row.last_at,
            count: row.times,
        }
    }
}
