//! The home folder: where keys, trust and the publisher's memory lie.
//!
//! ```text
//! <home>/
//!   keys/            0700, every file 0600
//!     root.key       its own password; no server reads it
//!     runtime.key    signs decisions, trailers
//!     log.key        signs checkpoints
//!     policy.key     signs bundles and activations
//!     vault.key      wraps the tenants' keys
//!   trust/root.pub   what auditors are given
//!   state/checkpoint the last checkpoint that was signed, outside the database on purpose
//! ```
//! `chancery.toml` and the database are the program's choice and may lie elsewhere.

use std::path::{Path, PathBuf};

/// The paths under one home folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Home {
    keys: PathBuf,
    root_pub: PathBuf,
    checkpoint: PathBuf,
}

impl Home {
    /// The usual layout under `folder`.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            keys: folder.join("keys"),
            root_pub: folder.join("trust").join("root.pub"),
            checkpoint: folder.join("state").join("checkpoint"),
        }
    }

    /// The same with the keys in another folder.
    #[must_use]
    pub fn with_keys(mut self, folder: PathBuf) -> Self {
        self.keys = folder;
        self
    }

    /// The same with `root.pub` in another place.
    #[must_use]
    pub fn with_root_pub(mut self, file: PathBuf) -> Self {
        self.root_pub = file;
        self
    }

    /// The same with the publisher's memory in another place. It must not lie where the database is restored from.
    #[must_use]
    pub fn with_checkpoint(mut self, file: PathBuf) -> Self {
        self.checkpoint = file;
        self
    }

    /// The folder of the private files.
    #[must_use]
    pub fn keys(&self) -> &Path {
        &self.keys
    }

    /// The file of one private key.
    #[must_use]
    pub fn key(&self, name: crate::keys::KeyName) -> PathBuf {
        self.keys.join(name.file())
    }

    /// What auditors are given.
    #[must_use]
    pub fn root_pub(&self) -> &Path {
        &self.root_pub
    }

    /// Where the last checkpoint that was signed is kept.
    #[must_use]
    pub fn checkpoint(&self) -> &Path {
        &self.checkpoint
    }
}
