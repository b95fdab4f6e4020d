//! How a log stands, without opening it to write: for `chancery doctor`, beside whoever serves it.
//!
//! Every judgement is that of the start of a server ([`Runtime::open`](crate::Runtime::open)): the same functions, one
//! by one, so that one fault hides no other.

use crate::build::{self, Build, BuildFiles};
use crate::checkpoint::{CheckpointError, Publisher};
use crate::edge::Clock;
use crate::records::{Records, RecordsError};
use crate::runtime::{OpenError, read_keyring, tenant_keys};
use chancery_core::digest::Digest;
use chancery_core::ids::TenantId;
use chancery_core::keyring::{Keyring, RootPub};
use chancery_core::time::Timestamp;
use chancery_store::{Finding, Location, Options, SchemaStep, Store};
use std::path::Path;
use std::sync::Arc;

/// API keys that are looked at.
const API_KEYS_MAX: u32 = 10_000;

/// How far checkpoints go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Covered {
    /// Entries of the log.
    pub entries: u64,
    /// Entries under the newest checkpoint.
    pub size: u64,
    /// When the first entry that is under none was recorded.
    pub waiting_since: Option<Timestamp>,
}

impl Records {
    /// Looks at the database as such: its file or server, settings, triggers, migrations.
    ///
    /// # Errors
    /// [`RecordsError`] when it cannot be looked at.
    pub fn examine(
        database: &Location,
        tenant: &TenantId,
        clock: Arc<dyn Clock>,
    ) -> Result<Vec<Finding>, RecordsError> {
        let options = Options::new(Arc::new(move || clock.now()));
        Ok(Store::examine(database, tenant, &options)?)
    }

    /// The steps of the database's schema, and which it has.
    ///
    /// # Errors
    /// [`RecordsError`] when it cannot be looked at.
    pub fn schema(
        database: &Location,
        tenant: &TenantId,
        clock: Arc<dyn Clock>,
    ) -> Result<Vec<SchemaStep>, RecordsError> {
        Ok(Store::schema_at(database, tenant, &Options::new(Arc::new(move || clock.now())))?)
    }

    /// Brings the database's schema up to date. On PostgreSQL the role has to own the tables; servers go on meanwhile.
    ///
    /// # Errors
    /// [`RecordsError`], for one where the role may not.
    pub fn migrate(
        database: &Location,
        tenant: &TenantId,
        clock: Arc<dyn Clock>,
    ) -> Result<(), RecordsError> {
        Ok(Store::migrate_at(database, tenant, Options::new(Arc::new(move || clock.now())))?)
    }

    /// The keyring of the log, which leads to `root`.
    ///
    /// # Errors
    /// [`OpenError::Store`] and [`OpenError::Keyring`].
    pub fn keyring(&self, root: &RootPub) -> Result<Keyring, OpenError> {
        let keyring = self.store.read(read_keyring)??;
        keyring.check_root(root)?;
        Ok(keyring)
    }

    /// Whether a vault key opens the keys of the tenant.
    ///
    /// # Errors
    /// [`OpenError::Vault`], [`OpenError::TenantKeyMissing`], [`OpenError::Store`].
    pub fn check_vault(&self, vault: &[u8; 32]) -> Result<(), OpenError> {
        tenant_keys(&self.store, &self.settings().tenant, vault).map(|_| ())
    }

    /// API keys that are good or will be, each with its principal and its end; those that live longest first.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn api_keys(&self, now: Timestamp) -> Result<Vec<(String, String, Timestamp)>, RecordsError> {
        let rows = self.store.read(|reader| reader.api_keys(now, API_KEYS_MAX))?;
        let held = rows.into_iter().filter(|row| row.revocation.is_none());
        Ok(held.map(|row| (row.key_id, row.principal, row.expires_at)).collect())
    }

    /// Whether log, stored checkpoints and the publisher's memory at `path` go together.
    ///
    /// # Errors
    /// [`CheckpointError`], as at a start; nothing would be signed then.
    pub fn check_checkpoint(&self, path: &Path, keyring: &Keyring) -> Result<Covered, CheckpointError> {
        Publisher::open(path, &self.store, self.settings(), keyring)?;
        let covered = self.store.read(|reader| {
            let entries = reader.head()?.size;
            let size = reader.checkpoint_newest()?.map_or(0, |newest| newest.size);
            let waiting_since = reader.entry(size)?.map(|first| first.recorded_at);
            Ok(Covered { entries, size, waiting_since })
        })?;
        Ok(covered)
    }

    /// Whether the files of a release hold, for the program whose SHA-256 is `binary`. Nothing is logged.
    ///
    /// # Errors
    /// [`OpenError::Build`] with every fault, [`OpenError::BuildRecorded`], [`OpenError::Store`].
    pub fn check_build(
        &self,
        keyring: &Keyring,
        files: &BuildFiles,
        binary: Digest,
    ) -> Result<Build, OpenError> {
        let (build, recorded) = build::judge(&self.store, keyring, files, binary)?;
        if let Some(recorded) = recorded {
            build::RecordedBuild::verify(keyring, recorded, &build.hash)?;
        }
        Ok(build)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use crate::testing::{TestLog, caller, request};
    use chancery_core::key::{Signer as _, SigningKey};

    #[test]
    fn what_waits_for_a_checkpoint_is_told() {
        let log = TestLog::new();
        let runtime = log.open();
        runtime.publish_checkpoint().unwrap();
        let records = runtime.records();
        let keyring = records.keyring(runtime.root_pub()).unwrap();
        let look = || records.check_checkpoint(log.home().checkpoint(), &keyring);
        let covered = look().unwrap();
        assert_eq!((covered.entries, covered.waiting_since), (covered.size, None));
        runtime.execute_blocking(&caller(), &request("e-1", "1", "0.1")).unwrap();
        let waiting = look().unwrap();
        assert_eq!((waiting.entries, waiting.size), (covered.entries + 1, covered.size));
        assert!(waiting.waiting_since.is_some());
        std::fs::remove_file(log.home().checkpoint()).unwrap();
        assert_eq!(look().unwrap_err().code(), "checkpoint.missing");
    }

    #[test]
    fn another_vault_and_another_root_are_refused() {
        let log = TestLog::new();
        let records = log.open().records();
        assert_eq!(records.check_vault(&[7; 32]).unwrap_err().code(), "vault.other");
        let other = SigningKey::generate_ed25519([9; 32]).public_key().clone();
        let other = RootPub::new(vec![other], 1).unwrap();
        assert_eq!(records.keyring(&other).unwrap_err().code(), "trust.keyring");
    }
}
