//! The log's head, its tree and its checkpoints.
//!
//! Nothing of the tree is given out on the word of `log_tiles`: a root is proved to be a beginning of the head's, a
//! proof is verified against the root that it claims, and a tile has to give the hash that the level above holds.

use std::collections::BTreeMap;
use std::ops::Range;

use chancery_core::digest::{LeafHash, RootHash};
use chancery_core::ids::TenantId;
use chancery_core::log;
use chancery_core::merkle::{self, Frontier, ProveError};
use chancery_core::tile::{
    Content, Edge, TILE_WIDTH, Tile, TileNodes, full_root, write_entries, write_hashes,
};
use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, QueryResult};

use super::decisions::Missing;
use super::{Head, Reader, StoredCheckpoint};
use crate::database::{Connection, RunQuery as _};
use crate::error::StoreError;
use crate::schema::{checkpoints, log_entries, log_head, log_tiles};
use crate::value::{from_sql, parse, parse_some, to_sql};

const HEAD: &str = "log_head";
const TILES: &str = "log_tiles";

/// How many leaves are asked for in one statement.
const LEAVES: usize = 256;

/// What was made from the tree is not what the rest of the log says.
#[derive(Debug, thiserror::Error)]
enum Mismatch {
    #[error("the tile's hashes do not give its root")]
    Tile,
    #[error("the entry's kind and record id do not hash to its leaf")]
    Leaf,
    #[error("the tiles give another root than the checkpoint of this size")]
    Checkpoint,
}

type HeadRow = (i64, String, String, String, Option<String>);

const HEAD_COLUMNS: (
    log_head::size,
    log_head::root_hash,
    log_head::chain_hash,
    log_head::frontier,
    log_head::newest_claimed_at,
) = (
    log_head::size,
    log_head::root_hash,
    log_head::chain_hash,
    log_head::frontier,
    log_head::newest_claimed_at,
);

fn head_row(connection: &mut Connection, tenant: &TenantId) -> Result<HeadRow, StoreError> {
    let query = log_head::table.filter(log_head::tenant.eq(tenant.as_str())).select(HEAD_COLUMNS);
    found(query.get_result(connection).optional(), tenant)
}

fn found(row: QueryResult<Option<HeadRow>>, tenant: &TenantId) -> Result<HeadRow, StoreError> {
    row.map_err(|error| StoreError::database("read the log's head", error))?
        .ok_or_else(|| StoreError::corrupt(HEAD, tenant, Missing))
}

/// Where the log stands.
pub(crate) fn head(connection: &mut Connection, tenant: &TenantId) -> Result<Head, StoreError> {
    parse_head(head_row(connection, tenant)?, tenant)
}

fn parse_head(row: HeadRow, tenant: &TenantId) -> Result<Head, StoreError> {
    let (size, root_hash, chain_hash, _, newest) = row;
    Ok(Head {
        size: from_sql(HEAD, tenant, size)?,
        root_hash: parse(HEAD, tenant, &root_hash)?,
        chain_hash: parse(HEAD, tenant, &chain_hash)?,
        newest_claimed_at: parse_some(HEAD, tenant, newest.as_deref())?,
    })
}

/// Waits until the head is this transaction's to move, and reads it. Only PostgreSQL has to wait: SQLite has one writer.
pub(crate) fn lock_head(connection: &mut Connection, tenant: &TenantId) -> Result<Head, StoreError> {
    if let Connection::Postgres(postgres) = connection {
        let row =
            log_head::table.filter(log_head::tenant.eq(tenant.as_str())).select(HEAD_COLUMNS).for_update();
        let row = diesel::RunQueryDsl::get_result(row, &mut **postgres).optional();
        return parse_head(found(row, tenant)?, tenant);
    }
    head(connection, tenant)
}

/// Kinds and leaf hashes of the entries of `range`, which has to be in the log.
pub(crate) fn leaves(
    connection: &mut Connection,
    tenant: &TenantId,
    range: std::ops::Range<u64>,
) -> Result<Vec<(log::Kind, chancery_core::digest::LeafHash)>, StoreError> {
    let rows: Vec<(i32, String)> = log_entries::table
        .filter(log_entries::tenant.eq(tenant.as_str()))
        .filter(log_entries::log_index.ge(to_sql(range.start)))
        .filter(log_entries::log_index.lt(to_sql(range.end)))
        .order(log_entries::log_index)
        .select((log_entries::kind, log_entries::leaf_hash))
        .load(connection)
        .map_err(|error| StoreError::database("read the tree", error))?;
    let kind = |kind: i32| u8::try_from(kind).ok().and_then(log::Kind::from_u8);
    let corrupt = || StoreError::corrupt("log_entries", format!("{}..{}", range.start, range.end), Missing);
    let leaves = rows
        .into_iter()
        .map(|(number, leaf)| Ok((kind(number).ok_or_else(corrupt)?, parse("log_entries", number, &leaf)?)));
    leaves.collect()
}

/// The complete subtrees that the head row holds.
pub(crate) fn frontier(connection: &mut Connection, tenant: &TenantId) -> Result<Frontier, StoreError> {
    let (size, _, _, text, _) = head_row(connection, tenant)?;
    let parts = text
        .as_bytes()
        .chunks(64)
        .map(|digits| parse(HEAD, tenant, &String::from_utf8_lossy(digits)))
        .collect::<Result<Vec<RootHash>, _>>()?;
    Frontier::from_parts(from_sql(HEAD, tenant, size)?, parts)
        .map_err(|error| StoreError::corrupt(HEAD, tenant, error))
}

/// The partial tiles of the tree of `size` leaves, from leaf hashes and the roots of full tiles.
pub(crate) fn right_edge(
    connection: &mut Connection,
    tenant: &TenantId,
    size: u64,
) -> Result<Edge, StoreError> {
    let mut partials = Vec::new();
    let (mut level, mut width) = (0_u8, size);
    while width > 0 {
        let full = width / TILE_WIDTH;
        partials.push(nodes(connection, tenant, level, full * TILE_WIDTH, width % TILE_WIDTH)?);
        level += 1;
        width = full;
    }
    Edge::from_partials(size, partials).map_err(|error| StoreError::corrupt("log_tiles", size, error))
}

/// `count` hashes of a level of tiles, from node `first` of that level on.
fn nodes(
    connection: &mut Connection,
    tenant: &TenantId,
    level: u8,
    first: u64,
    count: u64,
) -> Result<Vec<RootHash>, StoreError> {
    let end = first.saturating_add(count);
    let table = if level == 0 { "log_entries" } else { "log_tiles" };
    let texts: Vec<String> = match level.checked_sub(1) {
        None => log_entries::table
            .filter(log_entries::tenant.eq(tenant.as_str()))
            .filter(log_entries::log_index.ge(to_sql(first)))
            .filter(log_entries::log_index.lt(to_sql(end)))
            .order(log_entries::log_index)
            .select(log_entries::leaf_hash)
            .load(connection),
        Some(below) => log_tiles::table
            .filter(log_tiles::tenant.eq(tenant.as_str()))
            .filter(log_tiles::level.eq(i32::from(below)))
            .filter(log_tiles::tile_index.ge(to_sql(first)))
            .filter(log_tiles::tile_index.lt(to_sql(end)))
            .order(log_tiles::tile_index)
            .select(log_tiles::root_hash)
            .load(connection),
    }
    .map_err(|error| StoreError::database("read the tree", error))?;
    if u64::try_from(texts.len()).is_ok_and(|found| found == count) {
        texts.iter().map(|text| parse(table, first, text)).collect()
    } else {
        Err(StoreError::corrupt(table, format!("{first}..{end}"), Missing))
    }
}

/// The row of a full tile, as it is: the root that it says, and the bytes.
fn full_tile(
    connection: &mut Connection,
    tenant: &TenantId,
    level: u8,
    index: u64,
) -> Result<Option<(RootHash, Vec<u8>)>, StoreError> {
    let row: Option<(String, Vec<u8>)> = log_tiles::table
        .filter(log_tiles::tenant.eq(tenant.as_str()))
        .filter(log_tiles::level.eq(i32::from(level)))
        .filter(log_tiles::tile_index.eq(to_sql(index)))
        .select((log_tiles::root_hash, log_tiles::hashes))
        .get_result(connection)
        .optional()
        .map_err(|error| StoreError::database("read a tile", error))?;
    row.map(|(root, bytes)| Ok((parse(TILES, format!("{level}/{index}"), &root)?, bytes))).transpose()
}

/// The bytes of a tile that lies within the log.
fn tile(connection: &mut Connection, tenant: &TenantId, tile: &Tile) -> Result<Vec<u8>, StoreError> {
    let (first, width) = (tile.first(), u64::from(tile.width()));
    match tile.content() {
        Content::Entries => {
            let rows: Vec<(i32, String, String)> = log_entries::table
                .filter(log_entries::tenant.eq(tenant.as_str()))
                .filter(log_entries::log_index.ge(to_sql(first)))
                .filter(log_entries::log_index.lt(to_sql(first + width)))
                .order(log_entries::log_index)
                .select((log_entries::kind, log_entries::record_id, log_entries::leaf_hash))
                .load(connection)
                .map_err(|error| StoreError::database("read entries", error))?;
            if u64::try_from(rows.len()).ok() != Some(width) {
                return Err(StoreError::corrupt("log_entries", tile, Missing));
            }
            let entries = rows.into_iter().map(|(kind, record, leaf)| {
                let kind = u8::try_from(kind).ok().and_then(log::Kind::from_u8);
                let kind = kind.ok_or_else(|| StoreError::corrupt("log_entries", tile, Missing))?;
                let record = parse("log_entries", tile, &record)?;
                if log::leaf_hash_of(kind, &record) != parse::<LeafHash>("log_entries", tile, &leaf)? {
                    return Err(StoreError::corrupt("log_entries", tile, Mismatch::Leaf));
                }
                Ok(log::entry(kind, &record))
            });
            Ok(write_entries(&entries.collect::<Result<Vec<_>, StoreError>>()?))
        }
        Content::Hashes { level } => {
            // A full tile is one row; of a tile that has become full since, the first hashes are what is asked.
            match full_tile(connection, tenant, level, tile.index())? {
                Some((root, bytes)) if full_root(&bytes) != Some(root) => {
                    Err(StoreError::corrupt(TILES, tile, Mismatch::Tile))
                }
                Some((_, mut bytes)) => {
                    bytes.truncate(usize::from(tile.width()) * 32);
                    Ok(bytes)
                }
                None if tile.is_full() => Err(StoreError::corrupt("log_tiles", tile, Missing)),
                None => Ok(write_hashes(&nodes(connection, tenant, level, first, width)?)),
            }
        }
    }
}

type CheckpointRow = (i64, String, Vec<u8>, String);

fn checkpoint((size, root_hash, note, created_at): CheckpointRow) -> Result<StoredCheckpoint, StoreError> {
    let table = "checkpoints";
    Ok(StoredCheckpoint {
        size: from_sql(table, size, size)?,
        root_hash: parse(table, size, &root_hash)?,
        note: String::from_utf8(note).map_err(|error| StoreError::corrupt(table, size, error))?,
        created_at: parse(table, size, &created_at)?,
    })
}

const CHECKPOINT: (checkpoints::size, checkpoints::root_hash, checkpoints::note, checkpoints::created_at) =
    (checkpoints::size, checkpoints::root_hash, checkpoints::note, checkpoints::created_at);

impl Reader<'_> {
    /// Where the log stands.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn head(&mut self) -> Result<Head, StoreError> {
        head(self.connection, self.tenant)
    }

    /// The complete subtrees of the tree as the head row holds them, to be compared by `fsck`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn frontier(&mut self) -> Result<Frontier, StoreError> {
        frontier(self.connection, self.tenant)
    }

    /// The root of the tree of the first `size` leaves, from its tiles; it is proved to be a beginning of the head's
    /// tree, and compared with the checkpoint of that size, where there is one.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`], [`StoreError::Corrupt`].
    pub fn root(&mut self, size: u64) -> Result<RootHash, StoreError> {
        self.with_tree(size, |_, root| Ok(*root))
    }

    /// The inclusion proof of leaf `index` in the tree of the first `size` leaves, verified.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`], [`StoreError::Corrupt`].
    pub fn inclusion_proof(&mut self, index: u64, size: u64) -> Result<Vec<RootHash>, StoreError> {
        Ok(self.inclusion_proofs(&[index], size)?.pop().unwrap_or_default())
    }

    /// The inclusion proofs of several leaves in one tree, each verified against [`Reader::root`]; tiles that they
    /// share are read once when the indexes ascend.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`], [`StoreError::Corrupt`].
    pub fn inclusion_proofs(&mut self, indexes: &[u64], size: u64) -> Result<Vec<Vec<RootHash>>, StoreError> {
        if let Some(index) = indexes.iter().find(|index| **index >= size) {
            return Err(StoreError::OutOfRange { asked: *index, size });
        }
        let leaves = self.leaves_at(indexes)?;
        self.with_tree(size, |tree, root| {
            let prove = |index: &u64| {
                let proof = merkle::inclusion_proof(*index, size, &tree).map_err(unreadable)?;
                let leaf =
                    leaves.get(index).ok_or_else(|| StoreError::corrupt("log_entries", index, Missing))?;
                merkle::verify_inclusion(leaf, *index, size, &proof, root)
                    .map_err(|error| StoreError::corrupt(TILES, format!("the proof of {index}"), error))?;
                Ok(proof)
            };
            indexes.iter().map(prove).collect()
        })
    }

    /// The leaf hashes that the entries themselves have.
    fn leaves_at(&mut self, indexes: &[u64]) -> Result<BTreeMap<u64, LeafHash>, StoreError> {
        let mut leaves = BTreeMap::new();
        for indexes in indexes.chunks(LEAVES) {
            let rows: Vec<(i64, String)> = log_entries::table
                .filter(log_entries::tenant.eq(self.tenant.as_str()))
                .filter(log_entries::log_index.eq_any(indexes.iter().map(|index| to_sql(*index))))
                .select((log_entries::log_index, log_entries::leaf_hash))
                .load(self.connection)
                .map_err(|error| StoreError::database("read leaves", error))?;
            for (index, leaf) in rows {
                let leaf = parse("log_entries", index, &leaf)?;
                leaves.insert(from_sql("log_entries", index, index)?, leaf);
            }
        }
        Ok(leaves)
    }

    /// The proof that the tree of `old` leaves is the beginning of that of `new` leaves, verified.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`], [`StoreError::Corrupt`].
    pub fn consistency_proof(&mut self, old: u64, new: u64) -> Result<Vec<RootHash>, StoreError> {
        if old > new {
            return Err(StoreError::OutOfRange { asked: old, size: new });
        }
        self.with_tree(new, |tree, new_root| {
            let old_root = merkle::root(old, &tree).map_err(unreadable)?;
            let proof = merkle::consistency_proof(old, new, &tree).map_err(unreadable)?;
            merkle::verify_consistency(old, &old_root, new, new_root, &proof).map_err(|error| {
                StoreError::corrupt(TILES, format!("the proof from {old} to {new}"), error)
            })?;
            Ok(proof)
        })
    }

    /// The row of a full tile as it is, unverified, to be compared by `fsck`: its root and its bytes.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the root is none.
    pub fn full_tile(&mut self, level: u8, index: u64) -> Result<Option<(RootHash, Vec<u8>)>, StoreError> {
        full_tile(self.connection, self.tenant, level, index)
    }

    /// How many rows of full tiles there are.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub fn full_tiles(&mut self) -> Result<u64, StoreError> {
        let count: i64 = log_tiles::table
            .filter(log_tiles::tenant.eq(self.tenant.as_str()))
            .count()
            .get_result(self.connection)
            .map_err(|error| StoreError::database("count tiles", error))?;
        from_sql(TILES, "all", count)
    }

    /// The bytes of a tile of hashes or entries (C2SP tlog-tiles), full or partial, none if the log does not
    /// have it (yet).
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn tile(&mut self, wanted: &Tile) -> Result<Option<Vec<u8>>, StoreError> {
        let size = self.head()?.size;
        if !wanted.is_in_tree(size) {
            return Ok(None);
        }
        tile(self.connection, self.tenant, wanted).map(Some)
    }

    /// The newest checkpoint.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn checkpoint_newest(&mut self) -> Result<Option<StoredCheckpoint>, StoreError> {
        let row: Option<CheckpointRow> = checkpoints::table
            .filter(checkpoints::tenant.eq(self.tenant.as_str()))
            .order(checkpoints::size.desc())
            .select(CHECKPOINT)
            .limit(1)
            .get_result(self.connection)
            .optional()
            .map_err(|error| StoreError::database("read a checkpoint", error))?;
        row.map(checkpoint).transpose()
    }

    /// Whether there is any checkpoint, readable or not.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub fn has_checkpoint(&mut self) -> Result<bool, StoreError> {
        let rows = checkpoints::table.filter(checkpoints::tenant.eq(self.tenant.as_str()));
        diesel::select(diesel::dsl::exists(rows))
            .get_result(self.connection)
            .map_err(|error| StoreError::database("look for a checkpoint", error))
    }

    /// The checkpoints of these sizes, ascending, at most 256 of them.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn checkpoints(&mut self, sizes: Range<u64>) -> Result<Vec<StoredCheckpoint>, StoreError> {
        let rows: Vec<CheckpointRow> = checkpoints::table
            .filter(checkpoints::tenant.eq(self.tenant.as_str()))
            .filter(checkpoints::size.ge(to_sql(sizes.start)))
            .filter(checkpoints::size.lt(to_sql(sizes.end)))
            .order(checkpoints::size)
            .limit(256)
            .select(CHECKPOINT)
            .load(self.connection)
            .map_err(|error| StoreError::database("read checkpoints", error))?;
        rows.into_iter().map(checkpoint).collect()
    }

    /// The checkpoint of exactly this size.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn checkpoint_at(&mut self, size: u64) -> Result<Option<StoredCheckpoint>, StoreError> {
        let row: Option<CheckpointRow> = checkpoints::table
            .filter(checkpoints::tenant.eq(self.tenant.as_str()))
            .filter(checkpoints::size.eq(to_sql(size)))
            .select(CHECKPOINT)
            .get_result(self.connection)
            .optional()
            .map_err(|error| StoreError::database("read a checkpoint", error))?;
        row.map(checkpoint).transpose()
    }

    /// Works on the tree with its root over the first `size` leaves, once that is known to belong to this log.
    fn with_tree<T>(
        &mut self,
        size: u64,
        work: impl FnOnce(&dyn Tree, &RootHash) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let head = self.head()?;
        if size > head.size {
            return Err(StoreError::OutOfRange { asked: size, size: head.size });
        }
        let signed = self.checkpoint_at(size)?;
        let (connection, tenant) = (&mut *self.connection, self.tenant);
        // A smaller tree is the beginning of this one, so one set of tiles serves for both.
        let tree = TileNodes::new(head.size, |wanted: &Tile| tile(connection, tenant, wanted));
        let root = merkle::root(size, &tree).map_err(unreadable)?;
        let proof = merkle::consistency_proof(size, head.size, &tree).map_err(unreadable)?;
        merkle::verify_consistency(size, &root, head.size, &head.root_hash, &proof)
            .map_err(|error| StoreError::corrupt(TILES, format!("the tree of {size}"), error))?;
        if signed.is_some_and(|signed| signed.root_hash != root) {
            return Err(StoreError::corrupt("checkpoints", size, Mismatch::Checkpoint));
        }
        work(&tree, &root)
    }
}

type TreeError = chancery_core::tile::TileNodesError<StoreError>;

/// A part of the tree that cannot be read.
fn unreadable(error: ProveError<TreeError>) -> StoreError {
    match error {
        ProveError::Node { source: TreeError::Fetch { source, .. }, .. } => source,
        other => StoreError::corrupt(TILES, "tree", other),
    }
}

/// The tree that proofs are made from.
trait Tree: merkle::NodeSource<Error = TreeError> {}

impl<T: merkle::NodeSource<Error = TreeError>> Tree for T {}
