//! Looking after API keys: made, listed, revoked, replaced. Works beside a running server.

use crate::edge::{Clock, Entropy};
use crate::failure::Fault;
use crate::runtime::{Runtime, tenant_keys};
use crate::vault::Vault;
use chancery_core::ids::TenantId;
use chancery_core::terminal::steers;
use chancery_core::time::Timestamp;
use chancery_store::{ApiKeyRow, Location, Revocation, Store};
use serde::Serialize;
use std::sync::Arc;

use super::error::CredentialError;
use super::key::ApiKey;
use super::role::{Role, Roles};
use super::{TABLE_MAX, about};

/// The most keys of a log whose time is not over: every server keeps all of them in memory.
pub const KEYS_MAX: usize = 10_000;
/// The longest that a key is good for, ms: five years.
pub const LIFETIME_MS_MAX: i64 = 5 * 366 * 86_400_000;
/// Characters of a principal's id, and of a label.
const PRINCIPAL_MAX: usize = 200;
const LABEL_MAX: usize = 200;

/// The API keys of a log.
#[derive(Clone)]
pub struct ApiKeys {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKeys({})", self.store.settings().tenant)
    }
}

/// What a new key is to be.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// Who calls with it: the id of a principal, as decisions will name it.
    pub principal: String,
    /// What it allows.
    pub roles: Roles,
    /// What people call it.
    pub label: Option<String>,
    /// From when on it is good; at once where nothing is said.
    pub not_before: Option<Timestamp>,
    /// When its time is over.
    pub expires_at: Timestamp,
    /// Who makes it.
    pub created_by: String,
}

/// A key in a list: everything but its secret, which nobody has but its holder.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ListedApiKey {
    /// Its name.
    pub key_id: String,
    /// Who calls with it.
    pub principal: String,
    /// What it allows: names of roles.
    pub roles: Vec<String>,
    /// `good`, `not_yet`, `expired` or `revoked`.
    pub state: &'static str,
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// From when on it is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// When its time is over.
    pub expires_at: Timestamp,
    /// When its revocation begins or began to hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_from: Option<Timestamp>,
}

impl ApiKeys {
    /// Opens the keys of a log, beside the process that has it open.
    ///
    /// # Errors
    /// [`CredentialError::Store`].
    pub fn open(
        database: &Location,
        tenant: &TenantId,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CredentialError> {
        let store = open_beside(database, tenant, &clock)?;
        Ok(Self { store, clock })
    }

    /// Makes a key. What is returned has its secret, which is stored nowhere.
    ///
    /// Durable once it returns. Servers take it within a second. Blocks.
    ///
    /// # Errors
    /// [`CredentialError::Request`] with every fault, [`CredentialError::Separation`], [`CredentialError::Limit`]; the
    /// vault key is not that of this log.
    pub fn create(
        &self,
        wanted: NewApiKey,
        vault: &[u8; 32],
        entropy: &dyn Entropy,
    ) -> Result<ApiKey, CredentialError> {
        let now = self.clock.now();
        let faults = faults(&wanted, now);
        if !faults.is_empty() {
            return Err(CredentialError::Request { faults });
        }
        let tenant = self.store.settings().tenant.clone();
        // Another vault would make keys that no server of this log takes.
        tenant_keys(&self.store, &tenant, vault)?;
        let key = ApiKey::generate(tenant.clone(), entropy)?;
        let mut row = ApiKeyRow {
            key_id: key.id().to_owned(),
            principal: wanted.principal,
            roles: wanted.roles.to_string(),
            hash: chancery_core::digest::Digest::from_bytes([0; 32]),
            label: wanted.label,
            created_at: now,
            created_by: wanted.created_by,
            not_before: wanted.not_before,
            expires_at: wanted.expires_at,
            revocation: None,
        };
        row.hash = Vault::new(vault).api_key_hasher(&tenant).hash(&about(&row), key.secret());
        let wanted = row.clone();
        let judge = move |held: &[ApiKeyRow]| check_separation(held, &wanted, now);
        self.store.insert_api_key(row, now, TABLE_MAX, judge)??;
        Ok(key)
    }

    /// Every key whose time is not over, or every key there is; those that live longest first. Blocks.
    ///
    /// # Errors
    /// [`CredentialError::Store`].
    pub fn list(&self, all: bool) -> Result<Vec<ListedApiKey>, CredentialError> {
        let now = self.clock.now();
        let after = if all { Timestamp::UNIX_EPOCH } else { now };
        let limit = if all { u32::MAX } else { TABLE_MAX };
        let rows = self.store.read(|reader| reader.api_keys(after, limit))?;
        Ok(rows.into_iter().map(|row| listed(row, now)).collect())
    }

    /// Whether there is a key that a server would take now or later. Blocks.
    ///
    /// # Errors
    /// [`CredentialError::Store`].
    pub fn is_there_one(&self) -> Result<bool, CredentialError> {
        Ok(self.list(false)?.iter().any(|key| key.state != "revoked"))
    }

    /// Revokes a key: at once, or after `after_ms`. One that is revoked as early already stays as it is.
    ///
    /// Durable once it returns; holds on every server of this database within a second. Blocks.
    ///
    /// # Errors
    /// [`CredentialError::Unknown`], [`CredentialError::Store`].
    pub fn revoke(&self, key_id: &str, after_ms: i64, by: &str) -> Result<ListedApiKey, CredentialError> {
        let now = self.clock.now();
        let effective_at = now.checked_add_ms(after_ms.max(0)).unwrap_or(now);
        let found = self.find(key_id)?;
        let is_revoked = found.revocation.as_ref().is_some_and(|old| old.holds_at(effective_at));
        if !is_revoked {
            let revocation = Revocation { revoked_at: now, effective_at, revoked_by: by.to_owned() };
            self.store.insert_api_key_revocation(key_id.to_owned(), revocation)?;
        }
        Ok(listed(self.find(key_id)?, now))
    }

    /// What the successor of a key has to be: the same principal, roles and label.
    ///
    /// # Errors
    /// [`CredentialError::Unknown`]; [`CredentialError::Ended`] where its time is over or it is revoked already: a
    /// key that was taken away is not given back in this way.
    pub fn successor_of(
        &self,
        key_id: &str,
        expires_at: Timestamp,
        by: &str,
    ) -> Result<NewApiKey, CredentialError> {
        let now = self.clock.now();
        let found = self.find(key_id)?;
        if found.expires_at <= now || found.revocation.as_ref().is_some_and(|old| old.holds_at(now)) {
            return Err(CredentialError::Ended { key_id: key_id.to_owned() });
        }
        Ok(NewApiKey {
            roles: found.roles.parse().unwrap_or_default(),
            principal: found.principal,
            label: found.label,
            not_before: None,
            expires_at,
            created_by: by.to_owned(),
        })
    }

    fn find(&self, key_id: &str) -> Result<ApiKeyRow, CredentialError> {
        let rows = self.store.read(|reader| reader.api_keys(Timestamp::UNIX_EPOCH, u32::MAX))?;
        let unknown = || CredentialError::Unknown { key_id: key_id.chars().take(80).collect() };
        rows.into_iter().find(|row| row.key_id == key_id).ok_or_else(unknown)
    }
}

/// Administrators do not approve: neither with one key, nor with two of the same principal.
fn check_separation(rows: &[ApiKeyRow], wanted: &ApiKeyRow, now: Timestamp) -> Result<(), CredentialError> {
    if rows.len() >= KEYS_MAX {
        return Err(CredentialError::Limit { max: KEYS_MAX });
    }
    let held = rows
        .iter()
        .filter(|row| row.principal == wanted.principal)
        .filter(|row| row.revocation.as_ref().is_none_or(|old| !old.holds_at(now)))
        .filter_map(|row| row.roles.parse::<Roles>().ok())
        .flat_map(Roles::iter);
    let roles: Roles = wanted.roles.parse().unwrap_or_default();
    let together: Roles = held.chain(roles.iter()).collect();
    let is_concerned = roles.has(Role::Approver) || roles.is_administrative();
    if is_concerned && together.is_conflicting() {
        return Err(CredentialError::Separation { principal: wanted.principal.clone() });
    }
    Ok(())
}

/// Opens the store of a tenant to write what is no log entry, beside the process that has the log open.
pub(super) fn open_beside(
    database: &Location,
    tenant: &TenantId,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<Store>, CredentialError> {
    let reading = Arc::clone(clock);
    let options = chancery_store::Options::new(Arc::new(move || reading.now()));
    let store = Arc::new(Store::open_beside_at(database, Some(tenant), &options)?);
    let found = &store.settings().tenant;
    if found != tenant {
        return Err(crate::OpenError::Tenant { asked: tenant.clone(), log: found.clone() }.into());
    }
    Ok(store)
}

impl Runtime {
    /// The API keys of the log, to look after them.
    #[must_use]
    pub fn api_keys(&self) -> ApiKeys {
        ApiKeys { store: Arc::clone(&self.inner.store), clock: Arc::clone(&self.inner.clock) }
    }
}

fn listed(row: ApiKeyRow, now: Timestamp) -> ListedApiKey {
    let state = if row.revocation.as_ref().is_some_and(|revocation| revocation.holds_at(now)) {
        "revoked"
    } else if row.expires_at <= now {
        "expired"
    } else if row.not_before.is_some_and(|start| now < start) {
        "not_yet"
    } else {
        "good"
    };
    ListedApiKey {
        key_id: row.key_id,
        principal: row.principal,
        roles: row.roles.split(' ').map(str::to_owned).collect(),
        state,
        label: row.label,
        created_at: row.created_at,
        created_by: row.created_by,
        not_before: row.not_before,
        expires_at: row.expires_at,
        revoked_from: row.revocation.map(|revocation| revocation.effective_at),
    }
}

/// Everything that is wrong with what a key is to be.
fn faults(wanted: &NewApiKey, now: Timestamp) -> Vec<Fault> {
    let fault = |name: &str, expected: &str, found: &str| Fault {
        pointer: Some(format!("/{name}")),
        code: "request.value",
        expected: expected.to_owned(),
        found: found.to_owned(),
    };
    let is_text =
        |text: &str, max: usize| !text.is_empty() && text.chars().count() <= max && !text.chars().any(steers);
    let mut faults = Vec::new();
    if !is_text(&wanted.principal, PRINCIPAL_MAX) {
        faults.push(fault("principal", "an id of 1 to 200 characters", "something else"));
    }
    if wanted.roles.is_empty() {
        faults.push(fault("roles", "at least one role", "none"));
    }
    if wanted.label.as_deref().is_some_and(|label| !is_text(label, LABEL_MAX)) {
        faults.push(fault("label", "1 to 200 characters on one line", "something else"));
    }
    let start = wanted.not_before.unwrap_or(now);
    if wanted.expires_at <= start.max(now) {
        faults.push(fault("expires_at", "a time after its beginning", "one before it"));
    } else if wanted.expires_at.saturating_diff_ms(now) > LIFETIME_MS_MAX {
        faults.push(fault("expires_at", "a time within five years", "a later one"));
    }
    faults
}
