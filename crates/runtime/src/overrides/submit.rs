//! Drafting an approver's statement, and taking it once it is signed.
//!
//! ```text
//! draft ──(approver signs)── envelope ─► signature, shape, tenant, binding ─► the case ─► key, separation, rule, time
//!                                                                                             │ one transaction
//!                                                 override (kind 2) [+ resolution (kind 3)] ◄─┘
//! ```
//! Everything is read in one moment of the log. What moved on before the record was written is found by the log
//! writer, and then the case is looked at again.

use super::case::{Case, Ending, Given};
use super::error::OverrideError;
use crate::answer::LogPosition;
use crate::edge;
use crate::execute::TRIES_MAX;
use crate::runtime::{Inner, Runtime};
use chancery_core::b64;
use chancery_core::dsse::{self, Envelope};
use chancery_core::ids::{ExecutionId, TenantId};
use chancery_core::key::KeyId;
use chancery_core::keyring::{Keyring, Role, Standing};
use chancery_core::log::{Kind, leaf_hash_of};
use chancery_core::statement::{
    Nonce, Override, OverrideResolution, Resolution, ResolutionStatus, Statement, StatementError,
};
use chancery_core::terminal::steers;
use chancery_core::time::Timestamp;
use chancery_store::{Body, CaseRecord, NewEntry, NewOverride, NewResolution, Rejected, SubmitError};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How far ahead of this runtime's clock an override may have been issued, ms: approvers' clocks differ. Less than
/// what the log writer lets the time of later records fall back, since a resolution is not dated before what it counts.
pub const AHEAD_MS: i64 = 10_000;

/// What an approver wants to say.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OverrideRequest {
    /// Approve or reject.
    pub resolution: OverrideResolution,
    /// What the decision is to be turned into; exactly with an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Why, in words: 1 to 4,000 characters, no control characters but line feeds.
    pub reason: String,
    /// Why, as a code, without control characters.
    pub reason_code: String,
    /// The role in which the approver answers, without `approver:`.
    pub role: String,
    /// The approver's key.
    pub signer: KeyId,
}

/// An override that is in the log.
#[derive(Clone, Debug, Serialize)]
pub struct Submitted {
    /// Where it stands.
    pub log: LogPosition,
    /// The case with it.
    #[serde(flatten)]
    pub case: Case,
    /// True when this very statement had been logged before.
    #[serde(skip)]
    pub replayed: bool,
}

/// What one moment of the log has of a case.
pub(super) struct View {
    pub(super) record: CaseRecord,
    pub(super) keyring: Arc<Keyring>,
    /// How many entries there are.
    size: u64,
}

impl Runtime {
    /// The case of an execution, derived from the log as it is now.
    ///
    /// # Errors
    /// [`OverrideError::Unknown`], [`OverrideError::NotWaiting`] for a decision that was not left to approvers.
    pub fn override_case(&self, execution_id: &ExecutionId) -> Result<Case, OverrideError> {
        let inner = &self.inner;
        let view = inner.view(execution_id)?;
        inner.case(view.record, &view.keyring, inner.clock.now())
    }

    /// The statement that the holder of `request.signer` is asked to sign, as an envelope without signatures. It is
    /// judged as [`Runtime::submit_override`] judges it, so that nobody signs in vain; nothing is recorded.
    ///
    /// # Errors
    /// [`OverrideError`].
    pub fn override_statement(
        &self,
        execution_id: &ExecutionId,
        request: OverrideRequest,
    ) -> Result<Envelope, OverrideError> {
        plain(&request.reason, &request.reason_code)?;
        let inner = &self.inner;
        let now = inner.clock.now();
        let nonce = edge::random::<16>(inner.entropy.as_ref())?;
        let View { record, keyring, size } = inner.view(execution_id)?;
        let case = inner.waiting(record, &keyring, now)?;
        let holder = keyring.newest().key(&request.signer);
        let holder = holder.ok_or_else(|| OverrideError::Key {
            key: request.signer.clone(),
            role: request.role.clone(),
            standing: Standing::Unknown,
        })?;
        let predicate = Override {
            approver: holder.subject.clone(),
            execution_fingerprint: case.execution_fingerprint,
            execution_id: case.execution_id.clone(),
            expires_at: case.due,
            // The node that decided may have a clock that is ahead of this one's.
            issued_at: now.max(case.executed_at),
            nonce: Nonce::from_bytes(nonce),
            outcome: request.outcome,
            reason: request.reason,
            reason_code: request.reason_code,
            resolution: request.resolution,
            role: request.role,
            signer: request.signer,
            tenant: inner.settings.tenant.clone(),
        };
        let statement =
            Statement::about(&case.decision_record, predicate).map_err(OverrideError::Statement)?;
        judge(&case, &statement.predicate, &keyring, size, now)?;
        let payload = statement.to_payload().map_err(OverrideError::Statement)?;
        Ok(Envelope {
            payload: b64::Bytes(payload.into_bytes()),
            payload_type: dsse::IN_TOTO.to_owned(),
            signatures: Vec::new(),
        })
    }

    /// Takes a signed override, and ends the case where it is the one that was missing. The same statement again is
    /// answered with what the case is in by now. Blocks.
    ///
    /// Durable once it returns: the override, and with it the resolution, are in the log. Of concurrent calls that
    /// could end a case one does; the others fail with [`OverrideError::Resolved`].
    ///
    /// # Errors
    /// [`OverrideError`], a code for each fault.
    pub fn submit_override(
        &self,
        execution_id: &ExecutionId,
        envelope: &Envelope,
    ) -> Result<Submitted, OverrideError> {
        for _ in 0..TRIES_MAX {
            match self.inner.try_submit(execution_id, envelope) {
                Err(OverrideError::Busy { .. }) => {}
                done => return done,
            }
        }
        Err(OverrideError::Busy { execution_id: execution_id.clone() })
    }
}

impl Inner {
    pub(super) fn view(&self, execution_id: &ExecutionId) -> Result<View, OverrideError> {
        let (record, versions, size) = self.store.read(|reader| {
            Ok((reader.case(execution_id)?, reader.keyring_versions()?, reader.head()?.size))
        })?;
        let record = record.ok_or_else(|| OverrideError::Unknown { execution_id: execution_id.clone() })?;
        Ok(View { record, keyring: self.keyring_of(&versions)?, size })
    }

    /// The keyring of these versions: the one at hand, which was verified, where they are its own.
    pub(super) fn keyring_of(&self, versions: &[(u64, Envelope)]) -> Result<Arc<Keyring>, OverrideError> {
        let known = Arc::clone(&self.snapshot().keyring);
        let same = known.versions().iter().map(|version| (version.index(), version.envelope()));
        if same.eq(versions.iter().map(|(index, envelope)| (*index, envelope))) {
            return Ok(known);
        }
        Ok(Arc::new(Keyring::walk(versions)?))
    }

    pub(super) fn case(
        &self,
        record: CaseRecord,
        keyring: &Keyring,
        now: Timestamp,
    ) -> Result<Case, OverrideError> {
        let loaded = self.bundle_of(&record.decision.summary)?;
        Case::read(record, &loaded, keyring, now)
    }

    /// A case that can be answered; one whose time has come is ended first.
    fn waiting(&self, record: CaseRecord, keyring: &Keyring, now: Timestamp) -> Result<Case, OverrideError> {
        let case = self.case(record, keyring, now)?;
        self.check_waits(&case, now)?;
        Ok(case)
    }

    fn check_waits(&self, case: &Case, now: Timestamp) -> Result<(), OverrideError> {
        let status = match (&case.resolution, case.ending(now)) {
            (Some(ended), _) => ended.resolution,
            (None, None) => return Ok(()),
            // Its time is over; any other end is a guard, as `Expired::ended` is.
            (None, Some(ending)) => self.end(case, ending, now)?,
        };
        let execution_id = case.execution_id.clone();
        Err(match status {
            ResolutionStatus::Expired => OverrideError::Expired { execution_id, due: case.due },
            status => OverrideError::Resolved { execution_id, status },
        })
    }

    fn try_submit(
        &self,
        execution_id: &ExecutionId,
        envelope: &Envelope,
    ) -> Result<Submitted, OverrideError> {
        let now = self.clock.now();
        let View { record, keyring, size } = self.view(execution_id)?;
        let predicate = verify(&keyring, envelope, &record, &self.settings.tenant)?;
        let record_id = envelope.record_id();
        let case = self.case(record, &keyring, now)?;
        if let Some(given) = case.overrides.iter().find(|given| given.record_id == record_id) {
            let log = LogPosition { index: given.index, leaf_hash: leaf_hash_of(Kind::Override, &record_id) };
            return Ok(Submitted { log, case, replayed: true });
        }
        self.check_waits(&case, now)?;
        judge(&case, &predicate, &keyring, size, now)?;
        plain(&predicate.reason, &predicate.reason_code)?;

        let answers_before = u32::try_from(case.overrides.len()).unwrap_or(u32::MAX);
        let mut with = case.clone();
        with.overrides.push(Given::new(record_id, size, predicate.clone(), &keyring));
        let ends = with.ending(now).map(|ending| self.resolution(&case, ending)).transpose()?;
        let status = ends.is_some();
        let signer = predicate.signer.clone();
        let appended = self.store.submit_blocking(NewEntry {
            payload: envelope.payload.0.clone(),
            signatures: envelope.signatures.clone(),
            record_id,
            claimed_at: predicate.issued_at,
            body: Body::Override(Box::new(NewOverride {
                execution_id: predicate.execution_id,
                fingerprint: predicate.execution_fingerprint,
                approver: predicate.approver,
                role: predicate.role.clone(),
                resolution: predicate.resolution,
                outcome: predicate.outcome,
                reason: predicate.reason,
                reason_code: predicate.reason_code,
                expires_at: predicate.expires_at,
                nonce: predicate.nonce,
                answers_before,
                ends: ends.map(Box::new),
            })),
        });
        let appended = appended.map_err(|error| match error {
            // Somebody was faster, or the keyring is another one by now: what that means, a second look tells.
            SubmitError::Rejected(
                Rejected::Recorded { .. } | Rejected::Second { .. } | Rejected::Approver { .. },
            ) => OverrideError::Busy { execution_id: execution_id.clone() },
            SubmitError::Rejected(Rejected::Key { signer: key, standing }) if key == signer => {
                OverrideError::Key { key, role: predicate.role, standing }
            }
            error => error.into(),
        })?;
        let log = LogPosition { index: appended.index(), leaf_hash: appended.leaf_hash() };
        tracing::info!(%execution_id, index = log.index, ends = status, "override logged");
        let view = self.view(execution_id)?;
        Ok(Submitted { log, case: self.case(view.record, &view.keyring, now)?, replayed: false })
    }

    /// Logs how a case ends, and says how it did: somebody else may have ended it in another way. Blocks.
    fn end(&self, case: &Case, ending: Ending, now: Timestamp) -> Result<ResolutionStatus, OverrideError> {
        let status = ending.status;
        match self.store.submit_blocking(self.resolution(case, ending)?) {
            Ok(_) => Ok(status),
            Err(SubmitError::Rejected(Rejected::Second { .. })) => {
                let view = self.view(&case.execution_id)?;
                let ended = self.case(view.record, &view.keyring, now)?.resolution;
                ended
                    .map(|ended| ended.resolution)
                    .ok_or_else(|| OverrideError::Busy { execution_id: case.execution_id.clone() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The signed resolution.
    pub(super) fn resolution(&self, case: &Case, ending: Ending) -> Result<NewEntry, OverrideError> {
        let predicate = Resolution {
            execution_fingerprint: case.execution_fingerprint,
            execution_id: case.execution_id.clone(),
            final_outcome: ending.final_outcome,
            overrides: ending.overrides,
            resolution: ending.status,
            resolved_at: ending.resolved_at,
            rule: case.rule.clone(),
            signer: self.runtime_key.public_key().key_id().clone(),
            tenant: self.settings.tenant.clone(),
        };
        let statement =
            Statement::about(&case.decision_record, predicate).map_err(OverrideError::Statement)?;
        let payload = statement.to_payload().map_err(OverrideError::Statement)?.into_bytes();
        let envelope = Envelope::sign(dsse::IN_TOTO, payload, self.runtime_key.as_ref())?;
        Ok(NewEntry {
            record_id: envelope.record_id(),
            payload: envelope.payload.0,
            signatures: envelope.signatures,
            claimed_at: ending.resolved_at,
            body: Body::Resolution(NewResolution {
                execution_id: case.execution_id.clone(),
                fingerprint: case.execution_fingerprint,
                resolution: ending.status,
                final_outcome: statement.predicate.final_outcome,
            }),
        })
    }
}

/// Refuses words that would steer the terminals on which they are read; a reason may have lines.
fn plain(reason: &str, reason_code: &str) -> Result<(), OverrideError> {
    let found = |text: &str, kept: &[char]| text.chars().find(|c| steers(*c) && !kept.contains(c));
    let reason = found(reason, &['\n']).map(|character| ("reason", character));
    match reason.or_else(|| found(reason_code, &[]).map(|character| ("reason code", character))) {
        Some((what, character)) => Err(OverrideError::Words { what, character }),
        None => Ok(()),
    }
}

/// What a signature and the statement alone decide: whose it is, and what it is about.
fn verify(
    keyring: &Keyring,
    envelope: &Envelope,
    record: &CaseRecord,
    tenant: &TenantId,
) -> Result<Override, OverrideError> {
    if envelope.payload_type != dsse::IN_TOTO {
        let what = StatementError::PayloadType(envelope.payload_type.clone()).to_string();
        return Err(OverrideError::Envelope { what });
    }
    let signature = envelope.single().map_err(|error| OverrideError::Envelope { what: error.to_string() })?;
    let Some(key) = keyring.find_key(&signature.keyid) else {
        return Err(OverrideError::KeyUnknown { key: signature.keyid.clone() });
    };
    let payload = envelope.verify_single(key).map_err(OverrideError::Signature)?;
    let statement = Statement::<Override>::parse(&payload).map_err(|error| {
        match Statement::<Resolution>::parse_unverified(&envelope.payload.0) {
            Ok(_) => OverrideError::Resolution,
            Err(_) => OverrideError::Statement(error),
        }
    })?;
    if statement.predicate.tenant != *tenant {
        return Err(OverrideError::Tenant { found: statement.predicate.tenant });
    }
    let summary = &record.decision.summary;
    let (execution_id, found) = (&summary.execution_id, &statement.predicate.execution_id);
    if found != execution_id {
        return Err(OverrideError::Execution { execution_id: execution_id.clone(), found: found.clone() });
    }
    let bound = statement.decision() == Some(record.decision.entry.record_id)
        && statement.predicate.execution_fingerprint == summary.fingerprint;
    if bound {
        Ok(statement.predicate)
    } else {
        Err(OverrideError::Binding { execution_id: summary.execution_id.clone() })
    }
}

/// Whether an override of a case that waits can count, at the index that it would get.
fn judge(
    case: &Case,
    predicate: &Override,
    keyring: &Keyring,
    index: u64,
    now: Timestamp,
) -> Result<(), OverrideError> {
    judge_key(case, predicate, keyring, index, now)?;
    if !case.rule.roles.contains(&predicate.role) {
        return Err(OverrideError::Role { role: predicate.role.clone(), counted: case.rule.roles.clone() });
    }
    if let Some(outcome) = predicate.outcome.as_ref().filter(|outcome| !case.rule.to.contains(outcome)) {
        return Err(OverrideError::Outcome { outcome: outcome.clone(), allowed: case.rule.to.clone() });
    }
    judge_time(case, predicate, now)?;
    for given in &case.overrides {
        if given.approver == predicate.approver {
            return Err(OverrideError::ApproverTwice { index: given.index });
        }
        if given.signer == predicate.signer {
            return Err(OverrideError::KeyTwice { index: given.index });
        }
    }
    Ok(())
}

fn judge_key(
    case: &Case,
    predicate: &Override,
    keyring: &Keyring,
    index: u64,
    now: Timestamp,
) -> Result<(), OverrideError> {
    let (approver, signer) = (&predicate.approver, &predicate.signer);
    let role = Role::Approver(predicate.role.clone());
    let refused =
        |standing| OverrideError::Key { key: signer.clone(), role: predicate.role.clone(), standing };
    let holder = keyring.judge(signer, &role, index, predicate.issued_at).map_err(refused)?;
    // The time in the statement is the approver's word; a key that is not valid any more could name an earlier one.
    keyring.judge(signer, &role, index, now).map_err(refused)?;
    if holder.subject != *approver {
        return Err(OverrideError::Approver { holder: holder.subject.clone(), approver: approver.clone() });
    }
    if *approver == case.principal.id() || *approver == case.principal.to_string() {
        let why = "submitted the execution";
        return Err(OverrideError::Separation { approver: approver.clone(), why });
    }
    let mut runtimes = keyring
        .version_before(index)
        .into_iter()
        .flat_map(|version| version.predicate().keys_with(&Role::Runtime));
    if runtimes.any(|key| key.subject == *approver || key.key.key_id() == signer) {
        return Err(OverrideError::Separation { approver: approver.clone(), why: "is a runtime" });
    }
    Ok(())
}

fn judge_time(case: &Case, predicate: &Override, now: Timestamp) -> Result<(), OverrideError> {
    let issued_at = predicate.issued_at;
    if issued_at < case.executed_at {
        return Err(OverrideError::IssuedEarly { issued_at });
    }
    if issued_at >= case.due {
        return Err(OverrideError::IssuedLate { issued_at, due: case.due });
    }
    if now.checked_add_ms(AHEAD_MS).is_none_or(|latest| issued_at > latest) {
        return Err(OverrideError::IssuedAhead { issued_at, now });
    }
    if predicate.expires_at <= case.at(now) {
        return Err(OverrideError::Lapsed { expires_at: predicate.expires_at });
    }
    Ok(())
}
