//! What is stored about callers beside the log: API keys, their revocations, and what was refused at the door.
//!
//! None of it is a log entry, so it needs no place in the log's order. A process that serves the log writes it on the
//! log writer's thread, between two batches; the command line writes it beside that process
//! ([`Store::open_beside_at`]), in transactions of a few rows.
//!
//! Rows are inserted and never changed, and those of keys never deleted. So the numbers of keys and revocations tell whether
//! anything is new. Events go when they are old and somebody says so.

use std::collections::HashMap;

use chancery_core::digest::Digest;
use chancery_core::time::Timestamp;
use diesel::dsl::max;
use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, QueryableByName};

use crate::database::{Begin, RunQuery as _, SqlText, Value};
use crate::error::StoreError;
use crate::open::Store;
use crate::read::Reader;
use crate::schema::{api_key_revocations, api_keys, security_events};
use crate::value::{Word, from_sql, from_word, parse, parse_some, to_sql};

const KEYS: &str = "api_keys";
const REVOCATIONS: &str = "api_key_revocations";
const EVENTS: &str = "security_events";
/// A lock until the end of the transaction, for whoever makes an API key: "chancery api keys" in a number.
const LOCK_KEYS: &str = "SELECT pg_advisory_xact_lock(7163204412)";
/// How many events go in one transaction.
const FORGET_ROWS: i64 = 1_000;

/// An API key as it is stored: everything but its secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiKeyRow {
    /// Its name: 16 lower-case hex digits.
    pub key_id: String,
    /// Who calls with it: the id of a principal.
    pub principal: String,
    /// Names of roles with a space between them, in the order of the texts.
    pub roles: String,
    /// The keyed hash over the secret and over what the key may do.
    pub hash: Digest,
    /// What people call it.
    pub label: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// From when on it is good; from the beginning where nothing is said.
    pub not_before: Option<Timestamp>,
    /// When its time is over.
    pub expires_at: Timestamp,
    /// Its earliest revocation, if there is one.
    pub revocation: Option<Revocation>,
}

/// A key was revoked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Revocation {
    /// When somebody said so.
    pub revoked_at: Timestamp,
    /// From when on; not after `revoked_at` means at once.
    pub effective_at: Timestamp,
    /// Who said so.
    pub revoked_by: String,
}

/// How many keys and revocations there are. Both only grow.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ApiKeyStamp {
    keys: i64,
    revocations: i64,
}

/// What sort of thing was refused.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum EventKind {
    /// A credential, or the lack of one.
    Credential,
    /// The log of another tenant was asked for.
    Tenant,
    /// A credential without the role.
    Role,
    /// Something that was handed in, whose signature or key does not hold.
    Signature,
    /// Events of which there were too many to tell apart.
    Dropped,
}

impl Word for EventKind {
    const ALL: &'static [Self] =
        &[Self::Credential, Self::Tenant, Self::Role, Self::Signature, Self::Dropped];

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl EventKind {
    /// The word in the database and in lists.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Tenant => "tenant",
            Self::Role => "role",
            Self::Signature => "signature",
            Self::Dropped => "dropped",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }
}

/// Refusals that were alike within a minute.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SecurityEventRow {
    /// 32 lower-case hex digits; the order of ids is the order in which rows were written.
    pub event_id: String,
    /// The sort.
    pub kind: EventKind,
    /// The stable code that the caller was answered.
    pub code: String,
    /// Method and template of the route.
    pub route: String,
    /// Who called, where that was known.
    pub principal: Option<String>,
    /// With which key, where that is one of the log's.
    pub key_id: Option<String>,
    /// From which address, where addresses are recorded.
    pub address: Option<String>,
    /// The first of them.
    pub first_at: Timestamp,
    /// The last of them.
    pub last_at: Timestamp,
    /// How many.
    pub times: u64,
}

/// Which security events are meant. Everything that is given has to hold; [`Default`] means all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SecurityEventFilter {
    /// Of this sort.
    pub kind: Option<EventKind>,
    /// The last of them then or later.
    pub from: Option<Timestamp>,
    /// The first of them before then.
    pub to: Option<Timestamp>,
}

impl Store {
    /// Stores an API key, where `judge` has nothing against it: what that says of the keys whose time is not over at
    /// `now`, at most `limit` of them, is of the same moment, whoever else makes keys. Durable once it returns. Blocks.
    ///
    /// # Errors
    /// [`StoreError::ReadingOnly`], or the database fails; a key id that is taken is refused by the database. Inside:
    /// what `judge` says.
    ///
    /// # Panics
    /// Inside an asynchronous task.
    pub fn insert_api_key<E: Send + 'static>(
        &self,
        key: ApiKeyRow,
        now: Timestamp,
        limit: u32,
        judge: impl FnOnce(&[ApiKeyRow]) -> Result<(), E> + Send + 'static,
    ) -> Result<Result<(), E>, StoreError> {
        let tenant = self.settings().tenant.clone();
        self.aside(move |connection| {
            connection.transaction(Begin::Write, |connection| {
                if connection.is_shared() {
                    // One makes a key at a time. SQLite has one writer anyway.
                    connection.batch("wait for others who make API keys", LOCK_KEYS)?;
                }
                let held = Reader::new(connection, &tenant).api_keys(now, limit)?;
                if let Err(why) = judge(&held) {
                    return Ok(Err(why));
                }
                diesel::insert_into(api_keys::table)
                    .values((
                        api_keys::tenant.eq(tenant.as_str()),
                        api_keys::key_id.eq(&key.key_id),
                        api_keys::principal.eq(&key.principal),
                        api_keys::roles.eq(&key.roles),
                        api_keys::hash.eq(key.hash.to_string()),
                        api_keys::label.eq(key.label.as_deref()),
                        api_keys::created_at.eq(key.created_at.to_string()),
                        api_keys::created_by.eq(&key.created_by),
                        api_keys::not_before.eq(key.not_before.map(|time| time.to_string())),
                        api_keys::expires_at.eq(key.expires_at.to_string()),
                    ))
                    .execute(connection)
                    .map_err(|error| StoreError::database("store an API key", error))?;
                Ok(Ok(()))
            })
        })
    }

    /// Stores a revocation; the earliest of a key holds. False when there is no such key. Durable once it returns.
    /// Blocks.
    ///
    /// # Errors
    /// [`StoreError::ReadingOnly`], or the database fails.
    ///
    /// # Panics
    /// Inside an asynchronous task.
    pub fn insert_api_key_revocation(
        &self,
        key_id: String,
        revocation: Revocation,
    ) -> Result<bool, StoreError> {
        let tenant = self.settings().tenant.clone();
        self.aside(move |connection| {
            connection.transaction(Begin::Write, |connection| {
                let known: Option<String> = api_keys::table
                    .filter(api_keys::tenant.eq(tenant.as_str()))
                    .filter(api_keys::key_id.eq(&key_id))
                    .select(api_keys::key_id)
                    .get_result(connection)
                    .optional()
                    .map_err(|error| StoreError::database("look for an API key", error))?;
                if known.is_none() {
                    return Ok(false);
                }
                let last: Option<i64> = api_key_revocations::table
                    .filter(api_key_revocations::tenant.eq(tenant.as_str()))
                    .filter(api_key_revocations::key_id.eq(&key_id))
                    .select(max(api_key_revocations::number))
                    .get_result(connection)
                    .map_err(|error| StoreError::database("count revocations", error))?;
                diesel::insert_into(api_key_revocations::table)
                    .values((
                        api_key_revocations::tenant.eq(tenant.as_str()),
                        api_key_revocations::key_id.eq(&key_id),
                        api_key_revocations::number.eq(last.unwrap_or(0).saturating_add(1)),
                        api_key_revocations::revoked_at.eq(revocation.revoked_at.to_string()),
                        api_key_revocations::effective_at.eq(revocation.effective_at.to_string()),
                        api_key_revocations::revoked_by.eq(&revocation.revoked_by),
                    ))
                    .execute(connection)
                    .map_err(|error| StoreError::database("store a revocation", error))?;
                Ok(true)
            })
        })
    }

    /// Stores security events, all or none. Durable once it returns. Blocks.
    ///
    /// # Errors
    /// [`StoreError::ReadingOnly`], or the database fails.
    ///
    /// # Panics
    /// Inside an asynchronous task.
    pub fn insert_security_events(&self, events: Vec<SecurityEventRow>) -> Result<(), StoreError> {
        let tenant = self.settings().tenant.clone();
        self.aside(move |connection| {
            connection.transaction(Begin::Write, |connection| {
                let rows: Vec<_> = events
                    .iter()
                    .map(|event| {
                        (
                            security_events::tenant.eq(tenant.as_str()),
                            security_events::event_id.eq(&event.event_id),
                            security_events::kind.eq(event.kind.as_str()),
                            security_events::code.eq(&event.code),
                            security_events::route.eq(&event.route),
                            security_events::principal.eq(event.principal.as_deref()),
                            security_events::key_id.eq(event.key_id.as_deref()),
                            security_events::address.eq(event.address.as_deref()),
                            security_events::first_at.eq(event.first_at.to_string()),
                            security_events::last_at.eq(event.last_at.to_string()),
                            security_events::times.eq(to_sql(event.times)),
                        )
                    })
                    .collect();
                diesel::insert_into(security_events::table)
                    .values(rows)
                    .execute(connection)
                    .map_err(|error| StoreError::database("store security events", error))?;
                Ok(())
            })
        })
    }

    /// Takes away the security events that were written before `before`, and says how many. The database lets none go
    /// that is younger than ninety days. In steps of a thousand, so that nobody waits long. Blocks.
    ///
    /// # Errors
    /// [`StoreError::ReadingOnly`], or the database fails, or refuses; the steps before that stay done.
    ///
    /// # Panics
    /// Inside an asynchronous task.
    pub fn forget_security_events(&self, before: Timestamp) -> Result<u64, StoreError> {
        let failed = |error| StoreError::database("forget security events", error);
        // Ids begin with the time at which they were written.
        let end = format!("{:016x}", u64::try_from(before.unix_micros()).unwrap_or(0));
        let mut forgotten = 0_u64;
        loop {
            let (tenant, end) = (self.settings().tenant.clone(), end.clone());
            let gone = self.aside(move |connection| {
                connection.transaction(Begin::Write, |connection| {
                    let last: Option<String> = security_events::table
                        .filter(security_events::tenant.eq(tenant.as_str()))
                        .filter(security_events::event_id.lt(&end))
                        .order(security_events::event_id)
                        .offset(FORGET_ROWS - 1)
                        .limit(1)
                        .select(security_events::event_id)
                        .get_result(connection)
                        .optional()
                        .map_err(failed)?;
                    diesel::delete(security_events::table)
                        .filter(security_events::tenant.eq(tenant.as_str()))
                        .filter(security_events::event_id.lt(&end))
                        .filter(security_events::event_id.le(last.as_ref().unwrap_or(&end)))
                        .execute(connection)
                        .map_err(failed)
                })
            })?;
            if gone == 0 {
                return Ok(forgotten);
            }
            forgotten = forgotten.saturating_add(u64::try_from(gone).unwrap_or(u64::MAX));
        }
    }
}

type KeyColumns = (String, String, String, String, Option<String>, String, String, Option<String>, String);

impl Reader<'_> {
    /// How many keys and revocations there are: the same again means that nothing has changed.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub fn api_key_stamp(&mut self) -> Result<ApiKeyStamp, StoreError> {
        let failed = |error| StoreError::database("count API keys", error);
        let tenant = self.tenant.as_str();
        Ok(ApiKeyStamp {
            keys: api_keys::table
                .filter(api_keys::tenant.eq(tenant))
                .count()
                .get_result(self.connection)
                .map_err(failed)?,
            revocations: api_key_revocations::table
                .filter(api_key_revocations::tenant.eq(tenant))
                .count()
                .get_result(self.connection)
                .map_err(failed)?,
        })
    }

    /// The keys that expire after `after`, those that live longest first, at most `limit`, each with its earliest
    /// revocation.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn api_keys(&mut self, after: Timestamp, limit: u32) -> Result<Vec<ApiKeyRow>, StoreError> {
        let after = after.to_string();
        let rows: Vec<KeyColumns> = api_keys::table
            .filter(api_keys::tenant.eq(self.tenant.as_str()))
            .filter(api_keys::expires_at.gt(&after))
            .order((api_keys::expires_at.desc(), api_keys::key_id))
            .limit(i64::from(limit))
            .select((
                api_keys::key_id,
                api_keys::principal,
                api_keys::roles,
                api_keys::hash,
                api_keys::label,
                api_keys::created_at,
                api_keys::created_by,
                api_keys::not_before,
                api_keys::expires_at,
            ))
            .load(self.connection)
            .map_err(|error| StoreError::database("read the API keys", error))?;
        let mut revocations = self.revocations()?;
        rows.into_iter()
            .map(|(key_id, principal, roles, hash, label, created_at, created_by, not_before, expires_at)| {
                Ok(ApiKeyRow {
                    principal,
                    roles,
                    hash: parse(KEYS, &key_id, &hash)?,
                    label,
                    created_at: parse(KEYS, &key_id, &created_at)?,
                    created_by,
                    not_before: parse_some(KEYS, &key_id, not_before.as_deref())?,
                    expires_at: parse(KEYS, &key_id, &expires_at)?,
                    revocation: revocations.remove(&key_id),
                    key_id,
                })
            })
            .collect()
    }

    /// The earliest revocation of each key that has one.
    fn revocations(&mut self) -> Result<HashMap<String, Revocation>, StoreError> {
        let rows: Vec<(String, String, String, String)> = api_key_revocations::table
            .filter(api_key_revocations::tenant.eq(self.tenant.as_str()))
            .select((
                api_key_revocations::key_id,
                api_key_revocations::revoked_at,
                api_key_revocations::effective_at,
                api_key_revocations::revoked_by,
            ))
            .load(self.connection)
            .map_err(|error| StoreError::database("read the revocations", error))?;
        let mut earliest: HashMap<String, Revocation> = HashMap::with_capacity(rows.len());
        for (key_id, revoked_at, effective_at, revoked_by) in rows {
            let revocation = Revocation {
                revoked_at: parse(REVOCATIONS, &key_id, &revoked_at)?,
                effective_at: parse(REVOCATIONS, &key_id, &effective_at)?,
                revoked_by,
            };
            let holds = earliest.get(&key_id).is_none_or(|other| revocation.holds_before(other));
            if holds {
                earliest.insert(key_id, revocation);
            }
        }
        Ok(earliest)
    }

    /// Security events, the newest first: at most `limit`, and those before the one with the id `before`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn security_events(
        &mut self,
        filter: &SecurityEventFilter,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<SecurityEventRow>, StoreError> {
        let mut sql =
            "SELECT event_id, kind, code, route, principal, key_id, address, first_at, last_at, times \
                       FROM security_events WHERE tenant = ?"
                .to_owned();
        let mut values = vec![Value::Text(self.tenant.to_string())];
        let mut and = |condition: &str, value: String| {
            sql.push_str(condition);
            values.push(Value::Text(value));
        };
        if let Some(kind) = filter.kind {
            and(" AND kind = ?", kind.as_str().to_owned());
        }
        if let Some(from) = filter.from {
            and(" AND last_at >= ?", from.to_string());
        }
        if let Some(to) = filter.to {
            and(" AND first_at < ?", to.to_string());
        }
        if let Some(before) = before {
            and(" AND event_id < ?", before.to_owned());
        }
        sql.push_str(" ORDER BY event_id DESC LIMIT ?");
        values.push(Value::Number(i64::from(limit)));
        let rows: Vec<EventColumns> = SqlText { sql, values }
            .load(self.connection)
            .map_err(|error| StoreError::database("list security events", error))?;
        rows.into_iter().map(EventColumns::parse).collect()
    }
}

impl Revocation {
    /// Whether the key is refused at `now`. A revocation without a date to come holds at once, whatever the clocks of
    /// two machines say.
    #[must_use]
    pub fn holds_at(&self, now: Timestamp) -> bool {
        self.effective_at <= self.revoked_at || self.effective_at <= now
    }

    fn holds_before(&self, other: &Self) -> bool {
        let start = |revocation: &Self| {
            if revocation.effective_at <= revocation.revoked_at {
                Timestamp::UNIX_EPOCH
            } else {
                revocation.effective_at
            }
        };
        (start(self), self.revoked_at) < (start(other), other.revoked_at)
    }
}

#[derive(QueryableByName)]
struct EventColumns {
    #[diesel(sql_type = diesel::sql_types::Text)]
    event_id: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    kind: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    code: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    route: String,
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Text>)]
    principal: Option<String>,
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Text>)]
    key_id: Option<String>,
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Text>)]
    address: Option<String>,
    #[diesel(sql_type = diesel::sql_types::Text)]
    first_at: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    last_at: String,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    times: i64,
}

impl EventColumns {
    fn parse(self) -> Result<SecurityEventRow, StoreError> {
        let key = self.event_id.clone();
        Ok(SecurityEventRow {
            kind: from_word(EVENTS, &key, &self.kind)?,
            code: self.code,
            route: self.route,
            principal: self.principal,
            key_id: self.key_id,
            address: self.address,
            first_at: parse(EVENTS, &key, &self.first_at)?,
            last_at: parse(EVENTS, &key, &self.last_at)?,
            times: from_sql(EVENTS, &key, self.times)?,
            event_id: self.event_id,
        })
    }
}
