//! Private keys on disk: made, locked away, and read back.
//!
//! Every file is PEM in cosign's key-file format (scrypt and secretbox around PKCS#8, formats §8), mode 0600. A file that
//! others can read is refused before it is opened; so is the folder of a home's keys, which is of mode 0700. A key that
//! is named by its path may lie in any folder. `vault.key` holds
//! 32 random bytes that are no signing key; they lie in the same format, as the seed of an Ed25519 key, so that
//! one password and one format guard everything.

use crate::edge::{self, Entropy, EntropyError};
use crate::failure::{Cause, Failure};
use crate::home::Home;
use chancery_core::key::{KeyError as CoreKeyError, PublicKey, Signer, SigningKey};
use chancery_supply::keyfile::{self, KeyFileError};
use chancery_supply::signer::{self, SignerError};
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The private files of a home folder.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KeyName {
    /// Signs keyring versions. Has its own password; no server reads it.
    Root,
    /// Signs decisions and trailers.
    Runtime,
    /// Signs checkpoints.
    Log,
    /// Signs bundles and activations.
    Policy,
    /// Wraps the tenants' keys in the database.
    Vault,
}

impl KeyName {
    /// All of them, in the order in which `init` makes them.
    pub const ALL: [Self; 5] = [Self::Root, Self::Runtime, Self::Log, Self::Policy, Self::Vault];

    /// The file name in the folder of keys.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            Self::Root => "root.key",
            Self::Runtime => "runtime.key",
            Self::Log => "log.key",
            Self::Policy => "policy.key",
            Self::Vault => "vault.key",
        }
    }
}

/// Makes a fresh Ed25519 key from 32 random bytes.
///
/// # Errors
/// [`EntropyError`] when there are none.
pub fn generate(entropy: &dyn Entropy) -> Result<SigningKey, EntropyError> {
    let seed = Zeroizing::new(edge::random::<32>(entropy)?);
    Ok(SigningKey::generate_ed25519(*seed))
}

/// Reads a private key file and opens it with its password.
///
/// # Errors
/// [`KeyError`]: not there, readable by others, the wrong password, or no key file.
pub fn load(path: &Path, password: &[u8]) -> Result<SigningKey, KeyError> {
    check_mode(path)?;
    let pem = match fs::read_to_string(path) {
        Ok(pem) => Zeroizing::new(pem),
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            return Err(KeyError::Missing { path: path.to_owned() });
        }
        Err(source) => return Err(KeyError::Io { path: path.to_owned(), source }),
    };
    keyfile::decrypt(&pem, password).map_err(|source| match source {
        KeyFileError::WrongPassword => KeyError::WrongPassword { path: path.to_owned() },
        source => KeyError::Invalid { path: path.to_owned(), source },
    })
}

/// Reads a private key file as [`load`] does, to sign with it.
///
/// # Errors
/// As [`load`], and [`KeyError::Signer`].
pub fn load_signer(path: &Path, password: &[u8]) -> Result<Arc<dyn Signer>, KeyError> {
    signer::quickest(load(path, password)?)
        .map_err(|source| KeyError::Signer { path: path.to_owned(), source })
}

/// Encrypts `key` and writes it to a new file of mode 0600, through to the disk.
///
/// # Errors
/// [`KeyError::Exists`] when there is a file already: no key is ever overwritten. [`KeyError::Io`], and
/// [`KeyError::Invalid`] when the key cannot be encrypted.
pub fn store(path: &Path, key: &SigningKey, password: &[u8]) -> Result<(), KeyError> {
    let pem = keyfile::encrypt(key, password)
        .map_err(|source| KeyError::Invalid { path: path.to_owned(), source })?;
    write_new(path, pem.as_bytes(), 0o600)
}

/// Writes public material to a new file of mode 0644, through to the disk.
///
/// # Errors
/// [`KeyError::Exists`] and [`KeyError::Io`].
pub fn store_public(path: &Path, text: &str) -> Result<(), KeyError> {
    write_new(path, text.as_bytes(), 0o644)
}

/// Makes the folder of private files, mode 0700, unless it is there; a folder that others can read is refused.
///
/// # Errors
/// [`KeyError::Mode`] and [`KeyError::Io`].
pub fn make_folder(path: &Path) -> Result<(), KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    if !path.exists() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
    }
    check_mode_of(path, "700")
}

/// Refuses a private file that anybody but its owner can read or write.
///
/// # Errors
/// [`KeyError::Mode`] with the command that mends it, [`KeyError::Missing`], [`KeyError::Io`].
pub fn check_mode(path: &Path) -> Result<(), KeyError> {
    check_mode_of(path, "600")
}

/// Refuses a home's folder of keys that anybody but its owner can read or write.
///
/// # Errors
/// As [`check_mode`].
pub fn check_folder(home: &Home) -> Result<(), KeyError> {
    check_mode_of(home.keys(), "700")
}

fn check_mode_of(path: &Path, right: &'static str) -> Result<(), KeyError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            return Err(KeyError::Missing { path: path.to_owned() });
        }
        Err(source) => return Err(KeyError::Io { path: path.to_owned(), source }),
    };
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Mode { path: path.to_owned(), mode, right });
    }
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let mut file = match fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
        Ok(file) => file,
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
            return Err(KeyError::Exists { path: path.to_owned() });
        }
        Err(source) => return Err(io(source)),
    };
    file.write_all(bytes).map_err(io)?;
    file.sync_all().map_err(io)
}

/// The keys that a server holds: never the root key, never the policy key.
pub struct ServerKeys {
    pub(crate) runtime: Arc<dyn Signer>,
    pub(crate) log: Arc<dyn Signer>,
    pub(crate) vault: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for ServerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = |key: &Arc<dyn Signer>| key.public_key().key_id().clone();
        write!(f, "ServerKeys({}, {}, …)", id(&self.runtime), id(&self.log))
    }
}

impl ServerKeys {
    /// Puts together keys that were opened one by one: those that sign, wherever they live, and [`vault_key`].
    #[must_use]
    pub fn new(runtime: Arc<dyn Signer>, log: Arc<dyn Signer>, vault: Zeroizing<[u8; 32]>) -> Self {
        Self { runtime, log, vault }
    }

    /// Reads `runtime.key`, `log.key` and `vault.key` of `home`.
    ///
    /// # Errors
    /// [`KeyError`] of the first one that cannot be used.
    pub fn load(home: &Home, password: &[u8]) -> Result<Self, KeyError> {
        // Permissions first: they are cheap to see, and each decryption takes a tenth of a second on purpose.
        check_folder(home)?;
        for name in [KeyName::Runtime, KeyName::Log, KeyName::Vault] {
            check_mode(&home.key(name))?;
        }
        let vault = vault_key(home, password)?;
        let runtime = load_signer(&home.key(KeyName::Runtime), password)?;
        let log = load_signer(&home.key(KeyName::Log), password)?;
        Ok(Self::new(runtime, log, vault))
    }

    /// The key that signs decisions.
    #[must_use]
    pub fn runtime(&self) -> &PublicKey {
        self.runtime.public_key()
    }
}

/// Reads `vault.key` of `home`: 32 bytes, which are always in a file.
///
/// # Errors
/// [`KeyError`] when it cannot be used, and [`KeyError::NotAVaultKey`] when it is a key of another kind.
pub fn vault_key(home: &Home, password: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let path = home.key(KeyName::Vault);
    let key = load(&path, password)?;
    seed(&key).ok_or(KeyError::NotAVaultKey { path })
}

/// The 32 bytes inside an Ed25519 key: the end of its PKCS#8 form (RFC 8410 §7).
pub(crate) fn seed(key: &SigningKey) -> Option<Zeroizing<[u8; 32]>> {
    use chancery_core::key::Algorithm;
    if key.public_key().algorithm() != Algorithm::Ed25519 {
        return None;
    }
    let der = key.to_pkcs8_der();
    der.last_chunk::<32>().map(|seed| Zeroizing::new(*seed))
}

/// Why a key file cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is no such file.
    #[error("there is no key file `{}`; `chancery init` makes it, or restore it from your backup", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// A key is never overwritten.
    #[error("`{}` exists already; no key is ever overwritten", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// Others than the owner can read or write it.
    #[error("`{}` is open to others (mode {mode:04o}); run `chmod {right} {}`", path.display(), path.display())]
    Mode {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The octal mode that it should have.
        right: &'static str,
    },
    /// The password does not open it.
    #[error("the password does not open `{}`", path.display())]
    WrongPassword {
        /// The key file.
        path: PathBuf,
    },
    /// It is no key file, or it holds no key that is known here.
    #[error("`{}` is no usable key file", path.display())]
    Invalid {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KeyFileError,
    },
    /// Its signatures on this machine are not what they have to be.
    #[error("the key of `{}` does not sign as it should", path.display())]
    Signer {
        /// The key file.
        path: PathBuf,
        /// What is wrong with them.
        #[source]
        source: SignerError,
    },
    /// `vault.key` is a key of another kind.
    #[error("`{}` is not a vault key", path.display())]
    NotAVaultKey {
        /// The key file.
        path: PathBuf,
    },
    /// The file system failed.
    #[error("cannot use `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The public half is no key.
    #[error("`{}` holds no public key", path.display())]
    Public {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: CoreKeyError,
    },
}

impl Failure for KeyError {
    fn whose(&self) -> Cause {
        match self {
            Self::Exists { .. } => Cause::Conflict,
            Self::Missing { .. } => Cause::NotFound,
            Self::Mode { .. } | Self::WrongPassword { .. } => Cause::Refused,
            Self::Invalid { .. } | Self::Signer { .. } | Self::NotAVaultKey { .. } | Self::Public { .. } => {
                Cause::Corrupt
            }
            Self::Io { .. } => Cause::Unavailable,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "key.missing",
            Self::Exists { .. } => "key.exists",
            Self::Mode { .. } => "key.mode",
            Self::WrongPassword { .. } => "key.password",
            Self::Invalid { .. } | Self::NotAVaultKey { .. } | Self::Public { .. } => "key.invalid",
            Self::Signer { .. } => "key.signature",
            Self::Io { .. } => "key.io",
        }
    }

    fn detail(&self) -> String {
        "a key of the server cannot be used; its log says which".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PASSWORD, TestLog};

    #[test]
    fn a_wrong_password_is_told_apart() {
        let log = TestLog::new();
        let path = log.home().key(KeyName::Runtime);
        let error = load(&path, b"wrong").unwrap_err();
        assert!(matches!(error, KeyError::WrongPassword { .. }), "{error:?}");
        assert_eq!((error.whose(), error.code()), (Cause::Refused, "key.password"));
        // The root key has its own.
        assert_eq!(load(&log.home().key(KeyName::Root), PASSWORD).unwrap_err().code(), "key.password");
    }

    #[test]
    fn files_and_folders_open_to_others_are_refused_with_the_command() {
        let log = TestLog::new();
        let path = log.home().key(KeyName::Log);
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = ServerKeys::load(&log.home(), b"never asked for").unwrap_err();
            assert!(error.to_string().contains(&format!("chmod 600 {}", path.display())), "{error}");
            assert_eq!((error.whose(), error.code()), (Cause::Refused, "key.mode"));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        fs::set_permissions(log.home().keys(), fs::Permissions::from_mode(0o755)).unwrap();
        let error = ServerKeys::load(&log.home(), b"never asked for").unwrap_err();
        assert!(error.to_string().contains("chmod 700"), "{error}");
    }

    #[test]
    fn a_key_that_is_named_may_lie_in_any_folder_however_its_path_is_written() {
        let log = TestLog::new();
        let folder = log.folder.path();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        let path = folder.join("own.key");
        store(&path, &log.policy_key, PASSWORD).unwrap();
        for path in [path.clone(), folder.join("./keys/../own.key")] {
            assert_eq!(load(&path, PASSWORD).unwrap().public_key(), log.policy_key.public_key());
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(load(&path, PASSWORD).unwrap_err().code(), "key.mode");
    }

    #[test]
    fn missing_and_broken_files_are_named() {
        let log = TestLog::new();
        let path = log.home().key(KeyName::Vault);
        fs::write(&path, "not a key").unwrap();
        assert!(matches!(load(&path, PASSWORD).unwrap_err(), KeyError::Invalid { .. }));
        fs::remove_file(&path).unwrap();
        let error = ServerKeys::load(&log.home(), PASSWORD).unwrap_err();
        assert!(matches!(&error, KeyError::Missing { path: missing } if *missing == path), "{error:?}");
    }

    #[test]
    fn no_key_is_overwritten() {
        let log = TestLog::new();
        let path = log.home().key(KeyName::Runtime);
        let before = fs::read(&path).unwrap();
        let error = store(&path, &log.policy_key, PASSWORD).unwrap_err();
        assert!(matches!(error, KeyError::Exists { .. }));
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}
