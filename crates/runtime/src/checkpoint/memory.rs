//! The publisher's file: the last checkpoint that this node knows to be of its log, and the tree's right edge there.
//!
//! On a database that is shared several processes may use one folder. Who changes the file has its [`Turn`].

use super::{CheckpointError, Signed, check_signer};
use chancery_core::canonical::to_canonical;
use chancery_core::checkpoint::SignedCheckpoint;
use chancery_core::digest::RootHash;
use chancery_core::keyring::Keyring;
use chancery_core::merkle::{Frontier, FrontierError};
use chancery_store::Settings;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Memory {
    pub(super) checkpoint: String,
    frontier: Vec<RootHash>,
}

/// Reads the file, and holds it against the keyring.
pub(super) fn read(
    path: &Path,
    keyring: &Keyring,
    settings: &Settings,
) -> Result<Option<Signed>, CheckpointError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CheckpointError::Io { path: path.to_owned(), source }),
    };
    let broken = |source: Box<dyn std::error::Error + Send + Sync>| CheckpointError::Broken {
        path: path.to_owned(),
        source,
    };
    let memory: Memory = serde_json::from_slice(&bytes).map_err(|error| broken(error.into()))?;
    let checkpoint =
        SignedCheckpoint::parse_unverified(&memory.checkpoint).map_err(|error| broken(error.into()))?;
    let size = checkpoint.checkpoint().size;
    check_signer(&checkpoint, keyring, &settings.log_origin).map_err(|error| broken(error.into()))?;
    let frontier =
        Frontier::from_parts(size, memory.frontier).map_err(|error: FrontierError| broken(error.into()))?;
    if frontier.root() != checkpoint.checkpoint().root {
        return Err(broken("its hashes do not give the root that was signed".into()));
    }
    Ok(Some(Signed { checkpoint, frontier }))
}

/// The note in the publisher's file, as it is there.
pub(crate) fn remembered(path: &Path) -> Result<Option<String>, CheckpointError> {
    match fs::read(path) {
        Ok(bytes) => match serde_json::from_slice::<Memory>(&bytes) {
            Ok(memory) => Ok(Some(memory.checkpoint)),
            Err(error) => Err(CheckpointError::Broken { path: path.to_owned(), source: error.into() }),
        },
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CheckpointError::Io { path: path.to_owned(), source }),
    }
}

/// The right to change the file: no other process reads it to change it meanwhile. Ends when it is dropped, or the
/// process ends.
pub(super) struct Turn {
    path: PathBuf,
    _lock: File,
}

/// Waits until it is this process's turn, by `flock` on `<path>.lock`. Makes the folder where there is none.
pub(super) fn turn(path: &Path) -> Result<Turn, CheckpointError> {
    fs::create_dir_all(folder_of(path)).map_err(|source| failed(path, source))?;
    let lock = beside(path, ".lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&lock).map_err(|source| failed(&lock, source))?;
    file.lock().map_err(|source| failed(&lock, source))?;
    Ok(Turn { path: path.to_owned(), _lock: file })
}

impl Turn {
    /// What the file says by now.
    pub(super) fn read(
        &self,
        keyring: &Keyring,
        settings: &Settings,
    ) -> Result<Option<Signed>, CheckpointError> {
        read(&self.path, keyring, settings)
    }

    /// Replaces the file: the new one is whole and on the disk before it takes the old one's name.
    pub(super) fn write(&self, signed: &Signed) -> Result<(), CheckpointError> {
        let io = |source| failed(&self.path, source);
        let memory =
            Memory { checkpoint: signed.checkpoint.to_string(), frontier: signed.frontier.parts().to_vec() };
        let bytes = to_canonical(&memory)?;
        let new = beside(&self.path, ".new");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(io)?;
        file.write_all(bytes.as_bytes()).map_err(io)?;
        file.sync_all().map_err(io)?;
        fs::rename(&new, &self.path).map_err(io)?;
        File::open(folder_of(&self.path)).and_then(|folder| folder.sync_all()).map_err(io)
    }
}

fn failed(path: &Path, source: io::Error) -> CheckpointError {
    CheckpointError::Io { path: path.to_owned(), source }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The same path with something more at its end.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}
