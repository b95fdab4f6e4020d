//! A memory for a node that has none, while the database has checkpoints.
//!
//! The memory is the only thing that would notice an older or a changed database, so it is not made from the database's
//! word alone: whoever adopts a log shows a checkpoint that somebody else holds (another node, an auditor, the header of
//! an evidence file), or says in so many words that the database is trusted.

use super::{CheckpointError, Signed, check_signer, check_stored, grow, memory};
use crate::records::Records;
use crate::runtime::read_keyring;
use chancery_core::checkpoint::SignedCheckpoint;
use chancery_core::digest::RootHash;
use chancery_core::keyring::RootPub;
use chancery_core::merkle::Frontier;
use serde::Serialize;
use std::path::Path;

/// What a node now knows of its log.
#[derive(Clone, Debug, Serialize)]
pub struct Adopted {
    /// The size of the newest checkpoint, which is the node's memory from now on.
    pub size: u64,
    /// Its root.
    pub root_hash: RootHash,
    /// The size of the checkpoint that was shown, which the log continues; none where the database was trusted.
    pub held: Option<u64>,
}

/// Makes the memory in `path` from the newest checkpoint of the database, after every leaf of the log was read.
///
/// `held` is a checkpoint that somebody else holds: signed by a log key of the keyring at its size, and a beginning of
/// this log. The newest checkpoint has to be signed, too, and the leaves have to lead from the first one over both to the
/// head. Durable once it returns.
///
/// # Errors
/// [`CheckpointError::There`] where there is a memory; [`CheckpointError::Held`], [`CheckpointError::Older`] and
/// [`CheckpointError::Fork`] where the database is not the log that `held` is of.
pub fn adopt(
    records: &Records,
    root: &RootPub,
    path: &Path,
    held: Option<&str>,
) -> Result<Adopted, CheckpointError> {
    let turn = memory::turn(path)?;
    if path.try_exists().map_err(|source| CheckpointError::Io { path: path.to_owned(), source })? {
        return Err(CheckpointError::There { path: path.to_owned() });
    }
    let (store, settings) = (&records.store, records.store.settings());
    let (keyring, head, newest) =
        store.read(|reader| Ok((read_keyring(reader)?, reader.head()?, reader.checkpoint_newest()?)))?;
    let keyring = keyring?;
    keyring.check_root(root)?;
    let newest = newest.ok_or(CheckpointError::Nothing)?;
    let checkpoint = check_stored(&newest, &keyring, settings)?;

    let mut frontier = Frontier::default();
    let mut held_size = None;
    if let Some(text) = held {
        let none_of_this = |error: Box<dyn std::error::Error + Send + Sync>| CheckpointError::Held(error);
        let signed =
            SignedCheckpoint::parse_unverified(text).map_err(|error| none_of_this(Box::new(error)))?;
        check_signer(&signed, &keyring, &settings.log_origin)
            .map_err(|error| none_of_this(Box::new(error)))?;
        let known = signed.checkpoint();
        if known.size > newest.size {
            return Err(CheckpointError::Older { held: known.size, newest: newest.size });
        }
        grow(&mut frontier, store, known.size)?;
        if frontier.root() != known.root {
            return Err(CheckpointError::Fork { size: known.size });
        }
        held_size = Some(known.size);
    }
    grow(&mut frontier, store, newest.size)?;
    if frontier.root() != newest.root_hash {
        return Err(CheckpointError::Fork { size: newest.size });
    }
    let signed = Signed { checkpoint, frontier: frontier.clone() };
    grow(&mut frontier, store, head.size)?;
    if frontier.root() != head.root_hash {
        return Err(CheckpointError::Fork { size: head.size });
    }
    turn.write(&signed)?;
    Ok(Adopted { size: newest.size, root_hash: newest.root_hash, held: held_size })
}
