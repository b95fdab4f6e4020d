//! Private keys: their files, whether the password opens them, and how they stand in the keyring.

use std::path::PathBuf;
use std::sync::Arc;

use chancery_core::key::Signer;
use chancery_core::keyring::{KeyEntry, Keyring, Role};
use chancery_core::statement::Environment;
use chancery_core::time::Timestamp;
use chancery_runtime::records::Records;
use chancery_runtime::runtime::judge_key;
use chancery_runtime::{KeyName, keys};
use chancery_supply::pkcs11;
use zeroize::Zeroizing;

use super::{Diagnosis, Doctor, EXPIRY_DAYS, days_until};
use crate::cli::open::home_of;
use crate::cli::password::Password;
use crate::cli::{Failure, signer};

const RENEW: &str =
    "`chancery trust keyring renew`, which the root keys sign: docs/guides/keys.md, \"Renewal\"";

/// The keys that could be opened.
pub(super) struct Opened {
    signers: Vec<(Role, Arc<dyn Signer>)>,
    pub(super) vault: Option<Zeroizing<[u8; 32]>>,
}

impl Doctor<'_> {
    /// Modes first, then the password, then each key.
    pub(super) fn keys(&self, diagnosis: &mut Diagnosis) -> Opened {
        let home = home_of(self.config);
        match keys::check_folder(&home) {
            Ok(()) => diagnosis.ok("keys", format!("`{}` is for its owner alone", home.keys().display())),
            Err(error) => diagnosis.failure("keys", &Failure::of(&error)),
        }
        let mut opened = Opened { signers: Vec::new(), vault: None };
        // A key that no server reads may be elsewhere, and should be; where it is here, it is for one user alone.
        for file in [KeyName::Root, KeyName::Policy].map(|name| home.key(name)) {
            if file.exists()
                && let Err(error) = keys::check_mode(&file)
            {
                diagnosis.failure("keys", &Failure::of(&error));
            }
        }
        let password = match self.home.password(self.config) {
            Ok(password) => password,
            Err(failure) => {
                diagnosis.failure("password", &failure);
                diagnosis.skipped("keys", "the password");
                return opened;
            }
        };
        let found = match &self.config.password_file {
            Some(file) => format!("in `{}`, which is for its owner alone", file.display()),
            None => {
                "given to this command; a server needs it too, from `password_file` or `CHANCERY_PASSWORD`"
                    .to_owned()
            }
        };
        diagnosis.ok("password", found);
        let named = |key: &Option<PathBuf>, name| key.clone().unwrap_or_else(|| home.key(name));
        for (role, key) in [
            (Role::Runtime, named(&self.config.runtime_key, KeyName::Runtime)),
            (Role::Log, named(&self.config.log_key, KeyName::Log)),
        ] {
            match self.signer(&key, &password) {
                Ok(signer) => opened.signers.push((role, signer)),
                Err(failure) => diagnosis.failure("keys", &failure),
            }
        }
        match keys::vault_key(&home, &password) {
            Ok(vault) => opened.vault = Some(vault),
            Err(error) => diagnosis.failure("keys", &Failure::of(&error)),
        }
        opened
    }

    /// A key that was opened, and that signs.
    fn signer(&self, key: &std::path::Path, password: &Password) -> Result<Arc<dyn Signer>, Failure> {
        if !pkcs11::is_uri(key) {
            keys::check_mode(key)?;
        }
        let signer = signer::open_with(key, password, self.home)?;
        signer.check().map_err(|error| {
            Failure::because(
                crate::cli::Exit::NotAuthorised,
                format!("`{}` does not sign", key.display()),
                &error,
            )
            .help("see that its token is there and takes the PIN: docs/guides/hsm.md")
        })?;
        Ok(signer)
    }

    /// How keys and keyring stand, and when they end.
    pub(super) fn standing(
        &self,
        records: &Records,
        keyring: &Keyring,
        keys: &Opened,
        diagnosis: &mut Diagnosis,
    ) {
        self.keyring_version(records, keyring, diagnosis);
        let size = match records.head() {
            Ok(head) => head.size,
            Err(error) => return diagnosis.failure("keys", &Failure::of(&error)),
        };
        for (role, key) in &keys.signers {
            match judge_key(keyring, key.as_ref(), role.clone(), size, self.now) {
                Ok(entry) => own(role, entry, self.now, diagnosis),
                Err(error) => diagnosis.failure("keys", &Failure::of(&error)),
            }
        }
        let others = ending(keyring, keys, self.now);
        if !others.is_empty() {
            let what = format!("keys of others end within {EXPIRY_DAYS} days: {}", others.join(", "));
            diagnosis.warn("keys", what, RENEW);
        }
    }

    /// Callers' credentials that end.
    pub(super) fn api_keys(&self, records: &Records, diagnosis: &mut Diagnosis) {
        let keys = match records.api_keys(self.now) {
            Ok(keys) => keys,
            Err(error) => return diagnosis.failure("credentials", &Failure::of(&error)),
        };
        let days = |until| days_until(self.now, until);
        let ending = keys.iter().filter(|(_, _, until)| days(*until) < EXPIRY_DAYS);
        let ending: Vec<String> = ending
            .map(|(id, principal, until)| format!("`{id}` of `{principal}` ({} days)", days(*until)))
            .collect();
        if ending.is_empty() {
            return diagnosis.ok("credentials", format!("{} API keys, none of which ends soon", keys.len()));
        }
        diagnosis.warn(
            "credentials",
            format!("API keys end within {EXPIRY_DAYS} days: {}", ending.join(", ")),
            "`chancery apikey rotate ID` makes the next one; both hold until the caller has changed over",
        );
    }

    fn keyring_version(&self, records: &Records, keyring: &Keyring, diagnosis: &mut Diagnosis) {
        let version = keyring.newest().predicate();
        let days = days_until(self.now, version.expires_at);
        let what = format!("version {} leads to root.pub", version.version);
        match days {
            ..0 => diagnosis.fail("keyring", format!("{what}, and ended on {}", version.expires_at), RENEW),
            0..EXPIRY_DAYS => diagnosis.warn("keyring", format!("{what}, and ends in {days} days"), RENEW),
            _ => diagnosis.ok("keyring", format!("{what}, and is good for {days} days")),
        }
        let root = home_of(self.config).key(KeyName::Root);
        if records.settings().environment == Environment::Production && root.exists() {
            diagnosis.warn(
                "keys",
                format!(
                    "`{}` lies where the server runs: whoever takes it over can make its own keyring",
                    root.display()
                ),
                "move it and its password offline: docs/guides/first-log.md, \"Put root.key away\"",
            );
        }
    }
}

fn own(role: &Role, entry: &KeyEntry, now: Timestamp, diagnosis: &mut Diagnosis) {
    let days = days_until(now, entry.valid_until);
    let what = format!("the `{role}` key {} is in the keyring and signs", entry.key.key_id());
    if days < EXPIRY_DAYS {
        diagnosis.warn("keys", format!("{what}, and ends in {days} days"), RENEW);
    } else {
        diagnosis.ok("keys", format!("{what}; good for {days} days"));
    }
}

/// Who else has a key that ends soon: approvers, builders, publishers.
fn ending(keyring: &Keyring, own: &Opened, now: Timestamp) -> Vec<String> {
    let keys = keyring.newest().predicate().keys.iter();
    keys.filter(|entry| entry.revoked.is_none() && entry.is_valid_at(now))
        .filter(|entry| days_until(now, entry.valid_until) < EXPIRY_DAYS)
        .filter(|entry| {
            !own.signers.iter().any(|(_, signer)| signer.public_key().key_id() == entry.key.key_id())
        })
        .map(|entry| format!("`{}` ({} days)", entry.subject, days_until(now, entry.valid_until)))
        .collect()
}
