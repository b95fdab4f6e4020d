//! One batch, one transaction.

use std::sync::Arc;

use chancery_core::digest::LeafHash;
use chancery_core::keyring::{Keyring, Role};
use chancery_core::log;
use chancery_core::time::Timestamp;

use super::admit::{self, Refusal};
use super::bulk::Bulk;
use super::cases;
use super::rows::{self, Place};
use super::single;
use super::state::State;
use super::{Answer, check};
use crate::database::{Begin, Connection};
use crate::entry::{Appended, Body, NewDecision, NewEntry};
use crate::error::StoreError;
use crate::hook::Step;
use crate::open::{Options, Settings};
use crate::read::{InForce, known_decision};
use crate::reject::{Rejected, SubmitError};

/// A committed batch.
pub(super) struct Written {
    pub(super) state: State,
    /// One for each entry, in order.
    pub(super) answers: Vec<Answer>,
}

/// Writes `entries`; everything is committed and synced when this returns, or nothing was written.
pub(super) fn write(
    connection: &mut Connection,
    settings: &Settings,
    options: &Options,
    state: State,
    entries: &[NewEntry],
) -> Result<Written, StoreError> {
    connection
        .transaction(Begin::Write, |connection| write_within(connection, settings, options, state, entries))
}

/// The batch, inside its transaction.
fn write_within(
    connection: &mut Connection,
    settings: &Settings,
    options: &Options,
    state: State,
    entries: &[NewEntry],
) -> Result<Written, StoreError> {
    check(options, Step::Begun)?;
    let state = state.locked(connection, &settings.tenant)?;
    let before = state.head();
    let recorded_at = (options.clock)();
    let recorded_at_text = recorded_at.to_string();
    let bulk = Bulk::begin(connection, &settings.tenant, entries)?;
    let mut batch = Batch {
        connection,
        bulk,
        plans_anew: false,
        settings,
        options,
        recorded_at,
        recorded_at_text: &recorded_at_text,
        state,
        full: Vec::new(),
    };
    let mut answers = Vec::with_capacity(entries.len());
    for entry in entries {
        match batch.append(entry) {
            Ok(appended) => answers.push(Ok(appended)),
            Err(Refusal::Rejected(rejected)) => answers.push(Err(SubmitError::Rejected(rejected))),
            Err(Refusal::Store(error)) => return Err(error),
        }
    }
    batch.flush()?;
    let Batch { connection, state, full, .. } = batch;
    if state.size() > before.size {
        for tile in &full {
            rows::insert_tile(connection, &settings.tenant, tile)?;
        }
        check(options, Step::TilesInserted)?;
        rows::move_head(connection, &settings.tenant, &before, &state)?;
        check(options, Step::HeadMoved)?;
    }
    Ok(Written { state, answers })
}

struct Batch<'a> {
    connection: &'a mut Connection,
    /// What is not written yet; for PostgreSQL.
    bulk: Bulk,
    /// Whether statements are planned anew by now.
    plans_anew: bool,
    settings: &'a Settings,
    options: &'a Options,
    recorded_at: Timestamp,
    recorded_at_text: &'a str,
    state: State,
    full: Vec<rows::TileRow>,
}

impl<'a> Batch<'a> {
    /// Inserts one entry, or says why not. A rejected one has left nothing behind.
    fn append(&mut self, entry: &NewEntry) -> Result<Appended, Refusal> {
        if let Body::Decision(decision) = &entry.body {
            return self.append_decision(entry, decision);
        }
        let index = self.state.size();
        admit::admit_signer(&self.state, entry, index)?;
        self.ready_to_look_up()?;
        let ends = match &entry.body {
            Body::Override(row) => row.ends.as_deref(),
            _ => None,
        };
        if let Some(ends) = ends {
            // Before the first row goes in: the two are logged together, or neither is.
            admit::admit_signer(&self.state, ends, index.saturating_add(1))?;
        }
        let keyring = self.admit(entry)?;
        let appended = self.insert(entry)?;
        if let Some(ends) = ends {
            self.insert(ends)?;
        }
        if let Some(keyring) = keyring {
            self.state.keyring = Some(keyring);
        }
        if let (Body::Activation(row), Appended::New { index, .. }) = (&entry.body, &appended) {
            let in_force = InForce {
                bundle_hash: row.bundle_hash,
                policy_version: row.policy_version.clone(),
                index: *index,
            };
            self.state.in_force.insert(row.policy_id.clone(), in_force);
        }
        Ok(appended)
    }

    /// Inserts a record that was admitted.
    fn insert(&mut self, entry: &NewEntry) -> Result<Appended, Refusal> {
        let place = self.place(entry);
        rows::insert_entry(self.connection, &place, entry)?;
        self.insert_body(entry, &place)?;
        self.step(Step::RowInserted)?;
        self.grow(entry, place.leaf_hash)
    }

    /// The row goes in first: whether its execution id was free is known by the number of rows inserted, without
    /// a look-up for each decision.
    fn append_decision(&mut self, entry: &NewEntry, decision: &NewDecision) -> Result<Appended, Refusal> {
        let admitted = admit::admit_signer(&self.state, entry, self.state.size())
            .and_then(|()| admit::admit_decision(&self.state, decision));
        if let Err(rejected) = admitted {
            // A repeat gets its first answer, whatever has changed since.
            return self.known(decision)?.ok_or(Refusal::Rejected(rejected));
        }
        let place = self.place(entry);
        if !self.insert_decision(&place, entry, decision)? {
            return self.known(decision)?.ok_or_else(|| self.vanished(decision).into());
        }
        self.grow(entry, place.leaf_hash)
    }

    /// A decision that was admitted; false when its execution id is taken, and then nothing was inserted.
    fn insert_decision(
        &mut self,
        place: &Place<'_>,
        entry: &NewEntry,
        decision: &NewDecision,
    ) -> Result<bool, StoreError> {
        match &mut *self.connection {
            Connection::Sqlite(sqlite) => {
                if !single::insert_decision(sqlite, place, entry, decision)? {
                    return Ok(false);
                }
                check(self.options, Step::RowInserted)?;
                single::insert_entry(sqlite, place, entry, decision.opening.as_ref())?;
            }
            Connection::Postgres(_) => {
                if self.bulk.is_taken(decision) {
                    return Ok(false);
                }
                self.bulk.push(place, entry, decision)?;
                check(self.options, Step::RowInserted)?;
            }
        }
        Ok(true)
    }

    /// Writes what is waiting.
    fn flush(&mut self) -> Result<(), StoreError> {
        self.bulk.flush(self.connection, &self.settings.tenant, self.recorded_at_text)
    }

    /// From here on what is looked up is found, also what was waiting, and by the index that fits. Most batches look up
    /// nothing.
    fn ready_to_look_up(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        if !self.plans_anew {
            self.connection.plan_anew()?;
            self.plans_anew = true;
        }
        Ok(())
    }

    fn vanished(&self, decision: &NewDecision) -> StoreError {
        StoreError::corrupt("decisions", &decision.execution_id, VanishedId)
    }

    /// The answer to a repeat; none when the execution id is new.
    fn known(&mut self, decision: &NewDecision) -> Result<Option<Appended>, Refusal> {
        self.ready_to_look_up()?;
        let id = &decision.execution_id;
        let Some((index, recorded)) = admit::recorded(self.connection, &self.settings.tenant, id)? else {
            return Ok(None);
        };
        if recorded != decision.fingerprint {
            return Err(Rejected::Execution { execution_id: id.clone(), recorded, index }.into());
        }
        let record = known_decision(self.connection, &self.settings.tenant, id)?;
        Ok(record.map(|record| Appended::Known(Arc::new(record))))
    }

    /// What only its kind asks for; a keyring version gives the keyring that holds once it is logged.
    fn admit(&mut self, entry: &NewEntry) -> Result<Option<Keyring>, Refusal> {
        let (connection, tenant) = (&mut *self.connection, &self.settings.tenant);
        match &entry.body {
            Body::Activation(row) => {
                admit::admit_activation(connection, tenant, &self.state, entry, row)?;
            }
            Body::Keyring(row) => {
                let keyring = admit::extend_keyring(self.settings, &self.state, entry, row)?;
                return Ok(Some(keyring));
            }
            Body::BuildIdentity(row) => admit::admit_build(connection, tenant, entry, row)?,
            Body::Override(row) => cases::admit_override(connection, tenant, &self.state, entry, row)?,
            Body::Resolution(row) => cases::admit_resolution(connection, tenant, row)?,
            Body::Confirmation(row) => {
                admit::decision_index(connection, tenant, &row.execution_id, &row.fingerprint)?;
                admit::admit_confirmation(connection, tenant, row)?;
            }
            Body::Verification(row) => {
                admit::decision_index(connection, tenant, &row.execution_id, &row.fingerprint)?;
                admit::admit_verification(connection, tenant, entry, row)?;
            }
            Body::Erasure(row) => {
                for execution in &row.executions {
                    admit::decision_index(
                        connection,
                        tenant,
                        &execution.execution_id,
                        &execution.fingerprint,
                    )?;
                }
            }
            Body::Decision(_) => {}
        }
        Ok(None)
    }

    /// The row of a kind that is not a decision.
    fn insert_body(&mut self, entry: &NewEntry, place: &Place<'_>) -> Result<(), StoreError> {
        let connection = &mut *self.connection;
        match &entry.body {
            Body::Decision(_) => Ok(()),
            Body::Override(row) => rows::insert_override(connection, place, entry, row),
            Body::Resolution(row) => rows::insert_resolution(connection, place, entry, row),
            Body::Verification(row) => rows::insert_verification(connection, place, entry, row),
            Body::Activation(row) => rows::insert_activation(connection, place, entry, row),
            Body::Keyring(row) => rows::insert_keyring(connection, place, entry, row),
            Body::Erasure(row) => rows::insert_erasure(connection, place, entry, row),
            Body::BuildIdentity(row) => rows::insert_build(connection, place, row),
            Body::Confirmation(row) => rows::insert_confirmation(connection, place, entry, row),
        }
    }

    /// The index and hash that the entry gets.
    fn place(&self, entry: &NewEntry) -> Place<'a> {
        Place {
            tenant: &self.settings.tenant,
            index: self.state.size(),
            leaf_hash: log::leaf_hash_of(entry.kind(), &entry.record_id),
            recorded_at: self.recorded_at_text,
        }
    }

    /// Takes the entry into the tree and the chain.
    fn grow(&mut self, entry: &NewEntry, leaf_hash: LeafHash) -> Result<Appended, Refusal> {
        let index = self.state.size();
        let mut full = Vec::new();
        self.state.edge.push(&leaf_hash, &mut full);
        self.full.extend(rows::tile_rows(&self.state.edge, full));
        self.state.chain = log::chain_next(&self.state.chain, &leaf_hash);
        if entry.role() == Some(Role::Runtime) {
            self.state.newest_claimed_at = self.state.newest_claimed_at.max(Some(entry.claimed_at));
        }
        self.step(Step::EntryInserted)?;
        Ok(Appended::New { index, leaf_hash, recorded_at: self.recorded_at })
    }

    fn step(&self, step: Step) -> Result<(), StoreError> {
        check(self.options, step)
    }
}

/// A row that was in the way a moment ago is not there.
#[derive(Debug, thiserror::Error)]
#[error("the execution id is taken, but by no row")]
struct VanishedId;
