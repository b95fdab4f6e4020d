//! What the writer knows of the log without asking the database.

use std::collections::HashMap;

use chancery_core::digest::ChainHash;
use chancery_core::ids::{PolicyId, TenantId};
use chancery_core::keyring::Keyring;
use chancery_core::log::{Kind, chain_next};
use chancery_core::tile::Edge;
use chancery_core::time::Timestamp;

use crate::database::{Begin, Connection};
use crate::error::StoreError;
use crate::read::{Head, InForce, Reader, frontier, head, leaves, lock_head, right_edge};

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
    pub(super) fn load(connection: &mut Connection, tenant: &TenantId) -> Result<Self, StoreError> {
        connection.transaction(Begin::Read, |connection| {
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

    /// The state once the head is this transaction's alone. On SQLite it always is; on PostgreSQL the row is locked, and
    /// what other writers have logged since is taken in.
    pub(super) fn locked(self, connection: &mut Connection, tenant: &TenantId) -> Result<Self, StoreError> {
        if !connection.is_shared() {
            return Ok(self);
        }
        let head = lock_head(connection, tenant)?;
        if head == self.head() { Ok(self) } else { self.caught_up(connection, tenant, &head) }
    }

    /// Adds the entries that others have logged.
    fn caught_up(
        mut self,
        connection: &mut Connection,
        tenant: &TenantId,
        head: &Head,
    ) -> Result<Self, StoreError> {
        let mut rules_changed = false;
        for (kind, leaf_hash) in leaves(connection, tenant, self.size()..head.size)? {
            self.edge.push(&leaf_hash, &mut Vec::new());
            self.chain = chain_next(&self.chain, &leaf_hash);
            rules_changed |= matches!(kind, Kind::Activation | Kind::Keyring);
        }
        self.newest_claimed_at = head.newest_claimed_at;
        if self.head() != *head {
            return Err(StoreError::corrupt("log_head", tenant, Disagreement::Root));
        }
        if rules_changed {
            let mut reader = Reader::new(connection, tenant);
            self.in_force = reader.in_force()?.into_iter().collect();
            self.keyring = reader.keyring()?;
        }
        Ok(self)
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
