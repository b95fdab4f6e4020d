//! What the writer knows of the log without asking the database.

use std::collections::HashMap;

use chancery_core::digest::ChainHash;
use chancery_core::ids::{PolicyId, TenantId};
use chancery_core::keyring::Keyring;
use chancery_core::tile::Edge;
use chancery_core::time::Timestamp;
use diesel::SqliteConnection;

use crate::error::StoreError;
use crate::read::{Head, InForce, Reader, frontier, head, right_edge};

/// The log's head with its right edge, and the rules of admission.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) edge: Edge,
    pub(super) chain: ChainHash,
    pub(super) newest_claimed_at: Option<Timestamp>,
    pub(super) in_force: HashMap<PolicyId, InForce>,
    pub(super) keyring: Option<Keyring>,
}

/// Two places of the database say different things of the same tree.
#[derive(Debug, thiserror::Error)]
enum Disagreement {
    #[error("leaf hashes and tiles do not give the root hash")]
    Root,
    #[error("the frontier is not that of the tiles")]
    Frontier,
}

impl State {
    /// Reads it, and refuses to go on when the head and the tree do not belong together.
    pub(super) fn load(connection: &mut SqliteConnection, tenant: &TenantId) -> Result<Self, StoreError> {
        diesel::Connection::transaction(connection, |connection| {
            let head = head(connection, tenant)?;
            let edge = right_edge(connection, tenant, head.size)?;
            if edge.root() != head.root_hash {
                return Err(StoreError::corrupt("log_head", tenant, Disagreement::Root));
            }
            if *edge.frontier() != frontier(connection, tenant)? {
                return Err(StoreError::corrupt("log_head", tenant, Disagreement::Frontier));
            }
            let mut reader = Reader::new(connection, tenant);
            Ok(Self {
                edge,
                chain: head.chain_hash,
                newest_claimed_at: head.newest_claimed_at,
                in_force: reader.in_force()?.into_iter().collect(),
                keyring: reader.keyring()?,
            })
        })
    }

    pub(super) fn size(&self) -> u64 {
        self.edge.size()
    }

    pub(super) fn head(&self) -> Head {
        Head {
            size: self.edge.size(),
            root_hash: self.edge.root(),
            chain_hash: self.chain,
            newest_claimed_at: self.newest_claimed_at,
        }
    }
}
