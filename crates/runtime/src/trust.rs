//! Keyring life: a drafted version is signed by root keys, in as many places as it takes, and logged.
//!
//! ```text
//! newest version ─ draft (core) ─► unsigned envelope ─ sign, sign, … ─► submit: checked, logged, in force
//!                                   travels as a file                   by a server, or by [`Custody`] without one
//! ```
//! What is submitted has to follow from the log's keyring by hash, number and signatures, and to stand the review
//! (formats §6). Nobody needs a server's key for that: a log whose own keys have expired can still be mended by those
//! who hold its root keys.

use crate::answer::LogPosition;
use crate::bundles::position;
use crate::edge::Clock;
use crate::failure::Fault;
use crate::home::Home;
use crate::runtime::{OpenError, Runtime, read_keyring, read_root};
use chancery_core::b64;
use chancery_core::checkpoint::SignedCheckpoint;
use chancery_core::dsse::{self, Envelope, Signature};
use chancery_core::ids::{PolicyId, TenantId};
use chancery_core::key::{KeyId, PublicKey, Signer};
use chancery_core::keyring::{
    Keyring, KeyringVersion, Moment, Objection, Role, RootKey, RootPub, RootPubError,
};
use chancery_core::sigstore::MessageBundle;
use chancery_core::statement::{Statement, StatementError};
use chancery_core::time::Timestamp;
use chancery_store::{Appended, Body, Location, NewEntry, NewKeyring, Reader, Store, StoreError};
use std::fmt;
use std::sync::{Arc, PoisonError};

mod error;
mod loss;

pub use error::TrustError;
pub use loss::{Loss, revokes};

use loss::LossCount;

/// An envelope for a drafted version, without signatures.
///
/// # Errors
/// [`TrustError::Statement`]; does not happen for what was drafted.
pub fn unsigned(statement: &Statement<KeyringVersion>) -> Result<Envelope, TrustError> {
    let payload = b64::Bytes(statement.to_payload()?.into_bytes());
    Ok(Envelope { payload, payload_type: dsse::IN_TOTO.to_owned(), signatures: Vec::new() })
}

/// What an envelope says, before anybody has verified its signatures.
///
/// # Errors
/// [`TrustError::Statement`] when it is no keyring version.
pub fn read(envelope: &Envelope) -> Result<Statement<KeyringVersion>, TrustError> {
    if envelope.payload_type != dsse::IN_TOTO {
        return Err(StatementError::PayloadType(envelope.payload_type.clone()).into());
    }
    Ok(Statement::parse_unverified(&envelope.payload.0)?)
}

/// Adds the signature of a root key, of the version before or of the version itself. Its earlier one is replaced.
///
/// # Errors
/// [`TrustError::NotRoot`] for another key, [`TrustError::Sign`] when it does not sign.
pub fn sign(keyring: &Keyring, envelope: &mut Envelope, key: &dyn Signer) -> Result<(), TrustError> {
    let next = read(envelope)?.predicate;
    let public = key.public_key();
    let mut roots = next.root_keys.iter().chain(&keyring.newest().predicate().root_keys);
    if !roots.any(|root| root.key() == public) {
        return Err(TrustError::NotRoot { key: public.key_id().clone() });
    }
    let sig = b64::Bytes(key.sign(&dsse::pae(&envelope.payload_type, &envelope.payload.0))?);
    let keyid = public.key_id().clone();
    envelope.signatures.retain(|signature| signature.keyid != keyid);
    envelope.signatures.push(Signature { keyid, sig });
    envelope.signatures.sort_by(|a, b| a.keyid.cmp(&b.keyid));
    Ok(())
}

/// Who has signed a version, and how many have to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Quorum {
    /// How many of the root keys have to sign.
    pub threshold: u32,
    /// The root keys.
    pub keys: Vec<KeyId>,
    /// Those whose signatures hold, each once.
    pub signed: Vec<KeyId>,
}

impl Quorum {
    fn of(version: &KeyringVersion, envelope: &Envelope) -> Self {
        let keys: Vec<&PublicKey> = version.root_keys.iter().map(RootKey::key).collect();
        let signed =
            envelope.verify(&keys, 1).map(|verified| verified.signers().to_vec()).unwrap_or_default();
        let keys = keys.iter().map(|key| key.key_id().clone()).collect();
        Self { threshold: version.threshold, keys, signed }
    }

    /// Whether enough have signed.
    #[must_use]
    pub fn is_met(&self) -> bool {
        u32::try_from(self.signed.len()).is_ok_and(|signed| signed >= self.threshold)
    }
}

/// The signatures that the version before asks for, and those that the version itself asks for.
///
/// # Errors
/// [`TrustError::Statement`] when the envelope holds no keyring version.
pub fn quorums(keyring: &Keyring, envelope: &Envelope) -> Result<[Quorum; 2], TrustError> {
    let next = read(envelope)?.predicate;
    Ok([Quorum::of(keyring.newest().predicate(), envelope), Quorum::of(&next, envelope)])
}

/// A keyring version in the log.
#[derive(Clone, Debug)]
pub struct LoggedVersion {
    /// Its number.
    pub version: u64,
    /// Where it stands.
    pub log: LogPosition,
    /// What it took away.
    pub loss: Loss,
    /// A checkpoint that covers it; none where the log's key is not good any more, or nobody has it here.
    pub checkpoint: Option<SignedCheckpoint>,
}

/// Judges a version against the keyring that it has to follow, its signatures included.
///
/// # Errors
/// [`TrustError`]: of another log, logged already, not the next one, signed by too few, or against the rules.
pub fn check(keyring: &Keyring, envelope: &Envelope, at: Moment) -> Result<(), TrustError> {
    judge(keyring, envelope, at, true).map(drop)
}

/// The keyring with the next version. The chain first: what does not follow was made for another keyring, and its
/// faults are none of its own.
fn judge(keyring: &Keyring, envelope: &Envelope, at: Moment, signed: bool) -> Result<Keyring, TrustError> {
    let next = read(envelope)?.predicate;
    let newest = keyring.newest().predicate();
    if next.tenant != newest.tenant || next.log_origin != newest.log_origin {
        return Err(TrustError::OtherLog { tenant: next.tenant, origin: next.log_origin });
    }
    let record = envelope.record_id();
    let versions = keyring.versions();
    if let Some(version) = versions.iter().find(|version| version.record() == record) {
        return Err(TrustError::Logged {
            version: version.predicate().version,
            index: version.index(),
            record,
        });
    }
    let versions = versions.iter().map(|version| (version.index(), version.envelope().clone()));
    let after = Keyring::chain(&versions.chain([(at.size, envelope.clone())]).collect::<Vec<_>>())?;
    if signed {
        after.check_signatures()?;
    }
    let faults: Vec<Fault> = keyring.review(&next, at).into_iter().map(Fault::from).collect();
    if faults.is_empty() { Ok(after) } else { Err(TrustError::Rules { faults }) }
}

impl Runtime {
    /// As [`Runtime::append_keyring_within`], however many entries it takes away.
    ///
    /// # Errors
    /// The same, but for [`TrustError::Loss`].
    pub fn append_keyring(&self, envelope: &Envelope) -> Result<LoggedVersion, TrustError> {
        self.append_keyring_within(envelope, u64::MAX)
    }

    /// Logs a keyring version that its root keys have signed, puts it in force and signs a checkpoint. Blocks.
    ///
    /// At most `accepted` entries of the log may be lost by it; those that are recorded at the very moment are counted
    /// in the answer. Durable once it returns, and every later record is judged by it.
    ///
    /// # Errors
    /// [`TrustError`] says everything that speaks against it; nothing is logged then.
    pub fn append_keyring_within(
        &self,
        envelope: &Envelope,
        accepted: u64,
    ) -> Result<LoggedVersion, TrustError> {
        let inner = &self.inner;
        // A long log is counted before checkpoints have to wait for it.
        let mut weighed = weigh(&inner.store, inner.clock.now(), envelope, true)?;
        // Nothing is signed between the entry and the moment from which it is known here.
        let mut publisher = inner.publisher.lock().unwrap_or_else(PoisonError::into_inner);
        let (version, appended, loss) =
            log(&inner.store, inner.clock.now(), envelope, &mut weighed.count, accepted)?;
        inner.refresh()?;
        let checkpoint = inner.publish_with(&mut publisher).unwrap_or_else(|error| {
            tracing::warn!(%error, version, "the keyring version is logged, and no checkpoint covers it yet");
            None
        });
        Ok(LoggedVersion { version, log: position(&appended), loss, checkpoint })
    }

    /// What logging a version would come to now, whoever has signed it so far. Nothing is logged. Blocks.
    ///
    /// # Errors
    /// As [`Runtime::append_keyring`], missing signatures aside.
    pub fn rehearse_keyring(&self, envelope: &Envelope) -> Result<Rehearsal, TrustError> {
        let inner = &self.inner;
        let Weighed { version, size, loss, .. } = weigh(&inner.store, inner.clock.now(), envelope, false)?;
        Ok(Rehearsal { version, index: size, loss })
    }
}

/// What logging a keyring version would come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rehearsal {
    /// Its number.
    pub version: u64,
    /// Where it would stand now.
    pub index: u64,
    /// What it takes away.
    pub loss: Loss,
}

/// A log in the hands of those who hold its root keys: no key of a server is needed, and none is used.
pub struct Custody {
    store: Store,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Custody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Custody({})", self.store.settings().log_origin)
    }
}

impl Custody {
    /// Opens the log for writing; its server has to be stopped. The keyring has to lead to `root.pub`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        home: &Home,
        database: &Location,
        tenant: &TenantId,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let root = read_root(home.root_pub())?;
        let store_clock = Arc::clone(&clock);
        let options = chancery_store::Options::new(Arc::new(move || store_clock.now()));
        let store = Store::open_at(database, Some(tenant), options)?;
        if store.settings().tenant != *tenant {
            let log = store.settings().tenant.clone();
            return Err(OpenError::Tenant { asked: tenant.clone(), log });
        }
        store.read(read_keyring)??.check_root(&root)?;
        Ok(Self { store, clock })
    }

    /// Logs a keyring version that its root keys have signed. The server signs the checkpoint when it starts. Blocks.
    ///
    /// Durable once it returns.
    ///
    /// # Errors
    /// As [`Runtime::append_keyring_within`].
    pub fn submit(&self, envelope: &Envelope, accepted: u64) -> Result<LoggedVersion, TrustError> {
        let mut weighed = weigh(&self.store, self.clock.now(), envelope, true)?;
        let (version, appended, loss) =
            log(&self.store, self.clock.now(), envelope, &mut weighed.count, accepted)?;
        Ok(LoggedVersion { version, log: position(&appended), loss, checkpoint: None })
    }
}

/// A version that nothing speaks against, with what it takes away from the log as it was then.
struct Weighed {
    version: u64,
    size: u64,
    count: LossCount,
    loss: Loss,
}

/// Judges a version as the next one of the log, and counts what it takes away.
fn weigh(store: &Store, now: Timestamp, envelope: &Envelope, signed: bool) -> Result<Weighed, TrustError> {
    let (before, after, size) = judge_here(store, now, envelope, signed)?;
    let next = after.newest().predicate();
    let mut count = LossCount::new(&before, next);
    let loss = count.read_to(store, size)?;
    Ok(Weighed { version: next.version, size, count, loss })
}

/// Judges a version as the next one of the log: its keyring before and after, and the log's size.
fn judge_here(
    store: &Store,
    now: Timestamp,
    envelope: &Envelope,
    signed: bool,
) -> Result<(Keyring, Keyring, u64), TrustError> {
    let (before, size) = store.read(|reader| Ok((read_keyring(reader)?, reader.head()?.size)))?;
    let before = before.map_err(TrustError::Damaged)?;
    let after = judge(&before, envelope, Moment { now, size }, signed)?;
    let lost = store.read(|reader| policies_lost(reader, &before, &after))?;
    if lost.is_empty() { Ok((before, after, size)) } else { Err(TrustError::InForce { policies: lost }) }
}

/// Logs a version that was weighed; it is judged again, because the log may have gone on.
fn log(
    store: &Store,
    now: Timestamp,
    envelope: &Envelope,
    count: &mut LossCount,
    accepted: u64,
) -> Result<(u64, Appended, Loss), TrustError> {
    let (_, after, size) = judge_here(store, now, envelope, true)?;
    let loss = count.read_to(store, size)?;
    if loss.total() > accepted {
        return Err(TrustError::Loss { loss, accepted });
    }
    let next = after.newest().predicate();
    let appended = store.submit_blocking(NewEntry {
        payload: envelope.payload.0.clone(),
        signatures: envelope.signatures.clone(),
        record_id: envelope.record_id(),
        claimed_at: next.issued_at,
        body: Body::Keyring(NewKeyring { version: next.version, expires_at: next.expires_at }),
    })?;
    tracing::info!(
        version = next.version,
        index = appended.index(),
        lost = loss.total(),
        "keyring version logged"
    );
    // It is logged whatever comes of this.
    let loss = count.read_to(store, appended.index()).unwrap_or(loss);
    Ok((next.version, appended, loss))
}

/// The policies in force whose activation or bundle would not hold any more: a server could not start with them.
fn policies_lost(
    reader: &mut Reader<'_>,
    before: &Keyring,
    after: &Keyring,
) -> Result<Vec<PolicyId>, StoreError> {
    let mut lost = Vec::new();
    for (policy, active) in reader.in_force()? {
        let Some(entry) = reader.entry(active.index)? else { continue };
        let mut signers: Vec<KeyId> =
            entry.signatures.iter().map(|signature| signature.keyid.clone()).collect();
        let bundle = reader.bundle_by_hash(&active.bundle_hash)?;
        let signature = bundle.and_then(|bundle| MessageBundle::parse(&bundle.signature).ok());
        let key = signature.and_then(|signature| after.find_hint(signature.hint()).cloned());
        signers.extend(key.map(|key| key.key_id().clone()));
        let good = |keyring: &Keyring| {
            let mut standings =
                signers.iter().map(|key| keyring.judge(key, &Role::Policy, active.index, entry.claimed_at));
            standings.all(|standing| standing.is_ok())
        };
        if good(before) && !good(after) {
            lost.push(policy);
        }
    }
    Ok(lost)
}

impl From<Objection> for Fault {
    fn from(objection: Objection) -> Self {
        let Objection { code, pointer, expected, found } = objection;
        Self { pointer: Some(pointer), code, expected, found }
    }
}

/// Makes `root.pub` of the holders' public keys.
///
/// # Errors
/// [`TrustError::Rules`]: no key, one twice, too many, or a threshold that is none of theirs.
pub fn root_pub(keys: Vec<PublicKey>, threshold: u32) -> Result<RootPub, TrustError> {
    let count = keys.len();
    let rule = |expected: String, found: String| {
        let fault = Fault { pointer: None, code: "keyring.root_keys", expected, found };
        TrustError::Rules { faults: vec![fault] }
    };
    let most = chancery_core::keyring::ROOT_KEYS_MAX;
    if count > most {
        return Err(rule(format!("at most {most} root keys"), count.to_string()));
    }
    RootPub::new(keys, threshold).map_err(|error| match error {
        RootPubError::Threshold { .. } => {
            rule(format!("a threshold from 1 to {count}, the number of keys"), threshold.to_string())
        }
        other => rule("keys of which none is there twice, at least one".to_owned(), other.to_string()),
    })
}

#[cfg(test)]
mod tests;
