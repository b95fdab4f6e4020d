//! The publisher's file: the last checkpoint that this node knows to be of its log, and the tree's right edge there.

use super::{CheckpointError, Signed, check_signer};
use chancery_core::canonical::to_canonical;
use chancery_core::checkpoint::SignedCheckpoint;
use chancery_core::digest::RootHash;
use chancery_core::keyring::Keyring;
use chancery_core::merkle::{Frontier, FrontierError};
use chancery_store::{Head, Settings};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Memory {
    pub(super) checkpoint: String,
    frontier: Vec<RootHash>,
}

/// Reads the file, and holds it against the log.
pub(super) fn read(
    path: &Path,
    head: &Head,
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
    if size > head.size {
        return Err(CheckpointError::Ahead { path: path.to_owned(), signed: size, log: head.size });
    }
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

/// Replaces the file: the new one is whole and on the disk before it takes the old one's name.
pub(super) fn write(path: &Path, signed: &Signed) -> Result<(), CheckpointError> {
    let io = |source| CheckpointError::Io { path: path.to_owned(), source };
    let memory =
        Memory { checkpoint: signed.checkpoint.to_string(), frontier: signed.frontier.parts().to_vec() };
    let bytes = to_canonical(&memory)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(io)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(io)?;
    file.write_all(bytes.as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    fs::rename(&new, path).map_err(io)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}
