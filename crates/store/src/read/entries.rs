//! Log entries with their payloads, and the openings of decisions.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use chancery_core::b64;
use chancery_core::digest::{LeafHash, RecordId};
use chancery_core::dsse::{IN_TOTO, Signature, record_id};
use chancery_core::ids::{ExecutionId, TenantId};
use chancery_core::log::{Kind, leaf_hash_of};
use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, Queryable};

use super::{Entry, Reader, StoredOpening};
use crate::database::{Connection, RunQuery as _, Value};
use crate::entry::{Appended, EncryptedOpening};
use crate::error::StoreError;
use crate::schema::{log_entries, log_signatures, openings};
use crate::value::{from_sql, parse, to_sql};

const TABLE: &str = "log_entries";

/// Entries that one query asks for by their indexes: fewer than a statement may have values.
const AT_ONCE: usize = 500;

#[derive(Queryable)]
struct Row {
    log_index: i64,
    kind: i32,
    record_id: String,
    leaf_hash: String,
    claimed_at: String,
    recorded_at: String,
    keyid: String,
    signature: Vec<u8>,
    payload: Vec<u8>,
}

type Columns = (
    log_entries::log_index,
    log_entries::kind,
    log_entries::record_id,
    log_entries::leaf_hash,
    log_entries::claimed_at,
    log_entries::recorded_at,
    log_entries::keyid,
    log_entries::signature,
    log_entries::payload,
);

const COLUMNS: Columns = (
    log_entries::log_index,
    log_entries::kind,
    log_entries::record_id,
    log_entries::leaf_hash,
    log_entries::claimed_at,
    log_entries::recorded_at,
    log_entries::keyid,
    log_entries::signature,
    log_entries::payload,
);

/// What an entry holds and what it says of itself are two things.
#[derive(Debug, thiserror::Error)]
enum Mismatch {
    #[error("{0} is not a kind of entry")]
    Kind(i32),
    #[error("the payload does not hash to the record id")]
    RecordId,
    #[error("kind and record id do not hash to the leaf hash")]
    LeafHash,
    #[error("its length is wrong")]
    Length,
}

impl Row {
    fn parse(self) -> Result<Entry, StoreError> {
        let key = self.log_index;
        let corrupt = |mismatch: Mismatch| StoreError::corrupt(TABLE, key, mismatch);
        let kind = u8::try_from(self.kind).ok().and_then(Kind::from_u8);
        let entry = Entry {
            index: from_sql(TABLE, key, key)?,
            kind: kind.ok_or_else(|| corrupt(Mismatch::Kind(self.kind)))?,
            record_id: parse(TABLE, key, &self.record_id)?,
            leaf_hash: parse(TABLE, key, &self.leaf_hash)?,
            claimed_at: parse(TABLE, key, &self.claimed_at)?,
            recorded_at: parse(TABLE, key, &self.recorded_at)?,
            signatures: vec![Signature {
                keyid: parse(TABLE, key, &self.keyid)?,
                sig: b64::Bytes(self.signature),
            }],
            payload: self.payload,
        };
        if record_id(IN_TOTO, &entry.payload) != entry.record_id {
            return Err(corrupt(Mismatch::RecordId));
        }
        if leaf_hash_of(entry.kind, &entry.record_id) != entry.leaf_hash {
            return Err(corrupt(Mismatch::LeafHash));
        }
        Ok(entry)
    }
}

/// The entry at `index`.
pub(super) fn entry(
    connection: &mut Connection,
    tenant: &TenantId,
    index: u64,
) -> Result<Option<Entry>, StoreError> {
    let row: Option<Row> = log_entries::table
        .filter(log_entries::tenant.eq(tenant.as_str()))
        .filter(log_entries::log_index.eq(to_sql(index)))
        .select(COLUMNS)
        .get_result(connection)
        .optional()
        .map_err(|error| StoreError::database("read an entry", error))?;
    let mut entries = complete(connection, tenant, row.into_iter().collect())?;
    Ok(entries.pop())
}

/// Which of these records were logged at `from` or later, by their ids.
pub(crate) fn recorded_since(
    connection: &mut Connection,
    tenant: &TenantId,
    from: u64,
    ids: impl Iterator<Item = RecordId>,
) -> Result<HashMap<RecordId, Appended>, StoreError> {
    let ids: Vec<String> = ids.map(|id| id.to_string()).collect();
    let rows: Vec<(i64, String, String, String)> = log_entries::table
        .filter(log_entries::tenant.eq(tenant.as_str()))
        .filter(log_entries::log_index.ge(to_sql(from)))
        .filter(log_entries::record_id.eq_any(&ids))
        .order(log_entries::log_index)
        .select((
            log_entries::log_index,
            log_entries::record_id,
            log_entries::leaf_hash,
            log_entries::recorded_at,
        ))
        .load(connection)
        .map_err(|error| StoreError::database("look for records", error))?;
    rows.into_iter()
        .map(|(key, id, leaf_hash, recorded_at)| {
            let appended = Appended::New {
                index: from_sql(TABLE, key, key)?,
                leaf_hash: parse(TABLE, key, &leaf_hash)?,
                recorded_at: parse(TABLE, key, &recorded_at)?,
            };
            Ok((parse(TABLE, key, &id)?, appended))
        })
        .collect()
}

/// Parses rows in order of their indexes and adds the signatures from the second on.
fn complete(
    connection: &mut Connection,
    tenant: &TenantId,
    rows: Vec<Row>,
) -> Result<Vec<Entry>, StoreError> {
    let mut entries = rows.into_iter().map(Row::parse).collect::<Result<Vec<_>, _>>()?;
    // Only keyrings have several.
    if !entries.iter().any(|entry| entry.kind == Kind::Keyring) {
        return Ok(entries);
    }
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(entries) };
    let more: Vec<(i64, String, Vec<u8>)> = log_signatures::table
        .filter(log_signatures::tenant.eq(tenant.as_str()))
        .filter(log_signatures::log_index.between(to_sql(first.index), to_sql(last.index)))
        .order((log_signatures::log_index, log_signatures::position))
        .select((log_signatures::log_index, log_signatures::keyid, log_signatures::signature))
        .load(connection)
        .map_err(|error| StoreError::database("read signatures", error))?;
    let mut by_index: BTreeMap<u64, Vec<Signature>> = BTreeMap::new();
    for (index, keyid, signature) in more {
        let keyid = parse("log_signatures", index, &keyid)?;
        let index = from_sql("log_signatures", index, index)?;
        by_index.entry(index).or_default().push(Signature { keyid, sig: b64::Bytes(signature) });
    }
    for entry in &mut entries {
        entry.signatures.extend(by_index.remove(&entry.index).unwrap_or_default());
    }
    Ok(entries)
}

type OpeningRow = (i64, Vec<u8>, Vec<u8>, Vec<u8>, bool);

fn opening((index, salt, nonce, ciphertext, partial): OpeningRow) -> Result<StoredOpening, StoreError> {
    let corrupt = |_| StoreError::corrupt("openings", index, Mismatch::Length);
    Ok(StoredOpening {
        index: from_sql("openings", index, index)?,
        opening: EncryptedOpening {
            salt: salt.try_into().map_err(corrupt)?,
            nonce: nonce.try_into().map_err(corrupt)?,
            ciphertext,
            partial,
        },
    })
}

const OPENING: (
    openings::log_index,
    openings::salt,
    openings::nonce,
    openings::ciphertext,
    openings::partial,
) = (openings::log_index, openings::salt, openings::nonce, openings::ciphertext, openings::partial);

impl Reader<'_> {
    /// The entry at `index`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the payload does not hash to the leaf.
    pub fn entry(&mut self, index: u64) -> Result<Option<Entry>, StoreError> {
        entry(self.connection, self.tenant, index)
    }

    /// The entries of `range`, ascending. All of them are in memory at once: ask for pages.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a payload does not hash to its leaf.
    pub fn entries(&mut self, range: Range<u64>) -> Result<Vec<Entry>, StoreError> {
        let rows: Vec<Row> = log_entries::table
            .filter(log_entries::tenant.eq(self.tenant.as_str()))
            .filter(log_entries::log_index.ge(to_sql(range.start)))
            .filter(log_entries::log_index.lt(to_sql(range.end)))
            .order(log_entries::log_index)
            .select(COLUMNS)
            .load(self.connection)
            .map_err(|error| StoreError::database("read entries", error))?;
        complete(self.connection, self.tenant, rows)
    }

    /// The entries at `indexes`, which are distinct, in that order.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] for an index that is not there; [`StoreError::Corrupt`].
    pub fn entries_at(&mut self, indexes: &[u64]) -> Result<Vec<Entry>, StoreError> {
        let mut found = HashMap::with_capacity(indexes.len());
        for indexes in indexes.chunks(AT_ONCE) {
            match indexes {
                // The statement for one is prepared already.
                [index] => found.extend(self.entry(*index)?.map(|entry| (*index, entry))),
                _ => found.extend(self.some(indexes)?.into_iter().map(|entry| (entry.index, entry))),
            }
        }
        let mut entries = Vec::with_capacity(indexes.len());
        for index in indexes {
            match found.remove(index) {
                Some(entry) => entries.push(entry),
                None => return Err(StoreError::OutOfRange { asked: *index, size: self.head()?.size }),
            }
        }
        Ok(entries)
    }

    /// Those of `indexes` that are there, ascending.
    fn some(&mut self, indexes: &[u64]) -> Result<Vec<Entry>, StoreError> {
        let indexes: Vec<i64> = indexes.iter().map(|index| to_sql(*index)).collect();
        let rows: Vec<Row> = log_entries::table
            .filter(log_entries::tenant.eq(self.tenant.as_str()))
            .filter(log_entries::log_index.eq_any(indexes))
            .order(log_entries::log_index)
            .select(COLUMNS)
            .load(self.connection)
            .map_err(|error| StoreError::database("read entries", error))?;
        complete(self.connection, self.tenant, rows)
    }

    /// Everything that the log has about an execution, ascending: the decision first.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn entries_about(&mut self, execution_id: &ExecutionId) -> Result<Vec<Entry>, StoreError> {
        let indexes = self.indexes_about(execution_id, None)?;
        self.entries_at(&indexes)
    }

    /// Where everything is that the log has about an execution, ascending: the decision first. Of verifications, of which
    /// there may be any number, only the newest `verifications_max`, where that is given.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub fn indexes_about(
        &mut self,
        execution_id: &ExecutionId,
        verifications_max: Option<u32>,
    ) -> Result<Vec<u64>, StoreError> {
        let tables =
            ["decisions", "overrides", "resolutions", "confirmations", "erasure_subjects", "verifications"];
        let selects = tables.map(|table| {
            let all = format!("SELECT log_index AS value FROM {table} WHERE tenant = ? AND execution_id = ?");
            match verifications_max {
                Some(most) if table == "verifications" => {
                    format!("SELECT value FROM ({all} ORDER BY log_index DESC LIMIT {most}) newest")
                }
                _ => all,
            }
        });
        let values = tables
            .iter()
            .flat_map(|_| [Value::Text(self.tenant.to_string()), Value::Text(execution_id.to_string())]);
        let sql = format!("{} ORDER BY 1", selects.join(" UNION "));
        self.numbers(sql, values.collect(), "find an execution's entries")
    }

    /// How many verifications an execution has.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub fn count_verifications(&mut self, execution_id: &ExecutionId) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) AS value FROM verifications WHERE tenant = ? AND execution_id = ?";
        let values = [self.tenant.to_string(), execution_id.to_string()].map(Value::Text).into();
        let counted = self.numbers(sql.to_owned(), values, "count verifications")?;
        Ok(counted.first().copied().unwrap_or(0))
    }

    /// The stored leaf hashes of `range`, ascending, unchecked: for `fsck`. Ask for pages.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when one does not parse.
    pub fn leaf_hashes(&mut self, range: Range<u64>) -> Result<Vec<(u64, LeafHash)>, StoreError> {
        let rows: Vec<(i64, String)> = log_entries::table
            .filter(log_entries::tenant.eq(self.tenant.as_str()))
            .filter(log_entries::log_index.ge(to_sql(range.start)))
            .filter(log_entries::log_index.lt(to_sql(range.end)))
            .order(log_entries::log_index)
            .select((log_entries::log_index, log_entries::leaf_hash))
            .load(self.connection)
            .map_err(|error| StoreError::database("read leaf hashes", error))?;
        rows.into_iter()
            .map(|(index, hash)| Ok((from_sql(TABLE, index, index)?, parse(TABLE, index, &hash)?)))
            .collect()
    }

    /// The encrypted opening of the decision at `index`; none when there never was one or it was erased.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn opening(&mut self, index: u64) -> Result<Option<StoredOpening>, StoreError> {
        let row: Option<OpeningRow> = openings::table
            .filter(openings::tenant.eq(self.tenant.as_str()))
            .filter(openings::log_index.eq(to_sql(index)))
            .select(OPENING)
            .get_result(self.connection)
            .optional()
            .map_err(|error| StoreError::database("read an opening", error))?;
        row.map(opening).transpose()
    }

    /// The encrypted openings of the decisions in `range`, ascending. Ask for pages.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn openings(&mut self, range: Range<u64>) -> Result<Vec<StoredOpening>, StoreError> {
        let rows: Vec<OpeningRow> = openings::table
            .filter(openings::tenant.eq(self.tenant.as_str()))
            .filter(openings::log_index.ge(to_sql(range.start)))
            .filter(openings::log_index.lt(to_sql(range.end)))
            .order(openings::log_index)
            .select(OPENING)
            .load(self.connection)
            .map_err(|error| StoreError::database("read openings", error))?;
        rows.into_iter().map(opening).collect()
    }
}
