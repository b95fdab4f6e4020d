//! Verification records: recorded decisions, judged as an auditor would, and that recorded (formats §4.4).
//!
//! ```text
//! decisions ── export of some, in memory ──> the judge of chancery-verify ──> a report
//!              nothing against any of them: it holds for each          something: each is exported and judged alone
//!                            └──────────── verification/v1, signed, logged ────────────┘
//! ```
//! What is judged is always what the log itself has about a decision, never a copy that somebody hands in: a spoilt copy
//! says nothing about the record. Decisions to which more has happened than being decided are judged alone, since a
//! check of an override case says nothing about a decision without one.
//!
//! A decision that cannot even be exported is named as one that could not be judged, and the others go on.
//!
//! A backfill keeps no state of its own: what is left to do are the decisions without a verification. So it goes on
//! where it stopped, whatever stopped it, and doing it twice does nothing: what it records is taken only where there is
//! still none, whichever node comes first. A [turn](BackfillTurn) keeps two nodes from doing the same work at once.

use crate::confirm::SignedAboutError;
use crate::error::{store_cause, store_code, store_detail};
use crate::export::{Disclosure, ExportError, ExportRequest, Selection};
use crate::failure::{Cause, Failure};
use crate::records::{Records, RecordsError};
use crate::runtime::Runtime;
use chancery_core::digest::{Fingerprint, RecordId};
use chancery_core::evidence::Filter;
use chancery_core::ids::{ExecutionId, PolicyId};
use chancery_core::statement::{CheckOutcome, CheckResult, Environment, Verdict, Verification};
use chancery_core::time::Timestamp;
use chancery_store::{
    Body, Cursor, NewVerification, Rejected, StoreError, SubmitError, Unverified, VerdictCounts,
    VerificationRow,
};
use chancery_verify::{Ask, CheckId, Report, VERIFIER};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use zeroize::Zeroizing;

pub use chancery_store::VerificationFilter;

mod job;
mod turn;

pub use job::{BackfillJob, BackfillProgress, BackfillStep, ParseJobError, Unjudged};
pub use turn::{BackfillTurn, TurnError};

/// Decisions that are exported and judged at once: few enough that their inputs fit into memory.
const CHUNK: u32 = 64;

/// The longest reason of a check, in characters; the rest stands in the report of whoever verifies.
const REASON_CHARS_MAX: usize = 1_000;

/// A verification in a list.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ListedVerification {
    /// The decision.
    pub execution_id: ExecutionId,
    /// Its fingerprint.
    pub execution_fingerprint: Fingerprint,
    /// What all checks came to.
    pub verdict: Verdict,
    /// Whether the attestation's signature holds; absent where that was not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature_verified: Option<bool>,
    /// Whether the program that decided is of a recorded build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_verified: Option<bool>,
    /// Whether the statement is of its schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_compatible: Option<bool>,
    /// When it was verified.
    pub verified_at: Timestamp,
    /// By which verifier.
    pub verifier: String,
    /// Its index in the log.
    pub index: u64,
}

impl From<VerificationRow> for ListedVerification {
    fn from(row: VerificationRow) -> Self {
        Self {
            execution_id: row.execution_id,
            execution_fingerprint: row.fingerprint,
            verdict: row.verdict,
            signature_verified: row.signature_verified,
            runtime_verified: row.runtime_verified,
            schema_compatible: row.schema_compatible,
            verified_at: row.verified_at,
            verifier: row.verifier,
            index: row.index,
        }
    }
}

/// A page of verifications.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct VerificationList {
    /// The verifications, the newest first.
    pub items: Vec<ListedVerification>,
    /// Where the next page begins, if there is one: opaque.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A verification that was just recorded.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct RecordedVerification {
    /// The decision.
    pub execution_id: ExecutionId,
    /// What all checks came to.
    pub verdict: Verdict,
    /// The verification's index in the log.
    pub index: u64,
}

impl Records {
    /// A page of verifications, the newest first, at most `limit` (and at most 1,000), from where `after` says.
    ///
    /// # Errors
    /// [`RecordsError`]; a cursor that this list did not give out is the caller's.
    pub fn verifications(
        &self,
        filter: &VerificationFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<VerificationList, RecordsError> {
        let after = after.map(str::parse::<Cursor>).transpose()?;
        let page = self.store.read(|reader| reader.verifications(filter, after, limit))?;
        Ok(VerificationList {
            items: page.items.into_iter().map(ListedVerification::from).collect(),
            next: page.next.map(|cursor| cursor.to_string()),
        })
    }

    /// How far a backfill has come, as the log has it.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn backfill_progress(&self, job: &BackfillJob) -> Result<BackfillProgress, RecordsError> {
        let (filter, range) = job.decisions();
        let (total, counts) = self.store.read(|reader| {
            Ok((reader.count(&filter, range.clone())?, reader.count_verdicts(&filter, range)?))
        })?;
        let VerdictCounts { recorded, verified, failed, incomplete } = counts;
        Ok(BackfillProgress { total, recorded, verified, failed, incomplete })
    }

    /// The backfill of every decision that is recorded by now, decided in that time by that policy.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn backfill(
        &self,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        policy: Option<PolicyId>,
    ) -> Result<BackfillJob, RecordsError> {
        let until = self.store.read(|reader| Ok(reader.head()?.size))?;
        Ok(BackfillJob { until, from, to, policy })
    }
}

/// A decision that is to be judged.
struct Wanted {
    execution_id: ExecutionId,
    fingerprint: Fingerprint,
    record_id: RecordId,
}

impl From<Unverified> for Wanted {
    fn from(row: Unverified) -> Self {
        let Unverified { execution_id, fingerprint, record_id, .. } = row;
        Self { execution_id, fingerprint, record_id }
    }
}

impl Runtime {
    /// Judges recorded decisions and records what that came to, one verification each, in the order of the ids. An id that
    /// was never decided is passed over, and one that is given twice may be judged once. Blocks; what is returned is
    /// durable.
    ///
    /// # Errors
    /// [`VerificationError`]; what was recorded before it stays.
    pub fn verify_recorded(
        &self,
        execution_ids: &[ExecutionId],
    ) -> Result<Vec<RecordedVerification>, VerificationError> {
        let mut recorded = Vec::with_capacity(execution_ids.len());
        for ids in execution_ids.chunks(usize::try_from(CHUNK).unwrap_or(1)) {
            let rows = self.inner.store.read(|reader| reader.to_verify(ids))?;
            let (plain, eventful) = sorted(rows);
            let mut judged = Vec::with_capacity(ids.len());
            match self.judge_together(&plain, Unless::Never)? {
                Some(together) => judged.extend(together.recorded),
                None => {
                    for wanted in &plain {
                        judged.extend(self.judge(wanted, Unless::Never)?.recorded);
                    }
                }
            }
            for wanted in &eventful {
                judged.extend(self.judge(wanted, Unless::Never)?.recorded);
            }
            let places: HashMap<_, _> = ids.iter().zip(0_usize..).collect();
            judged.sort_by_key(|it| places.get(&it.execution_id).copied());
            recorded.extend(judged);
        }
        Ok(recorded)
    }

    /// Does the next step of a backfill: judges some decisions without a verification, from the index `from` on, and
    /// records that. Begin with 0; `from` is moved beyond them. Nothing is left to do once a step is empty.
    ///
    /// Blocks for as long as a few dozen decisions take; what was recorded is durable once it returns.
    ///
    /// # Errors
    /// [`VerificationError`] of the runtime or the store; the same step can be done again. A decision that is damaged
    /// is none: it is told in the step.
    pub fn backfill_step(
        &self,
        job: &BackfillJob,
        from: &mut u64,
    ) -> Result<BackfillStep, VerificationError> {
        let (filter, range) = job.decisions();
        let rows = self.inner.store.read(|reader| reader.unverified(&filter, *from..range.end, CHUNK))?;
        let next = rows.last().map_or(*from, |row| row.index + 1);
        let (plain, eventful) = sorted(rows);
        let mut step = BackfillStep::default();
        match self.judge_together(&plain, Unless::Verified)? {
            Some(together) => step = together,
            None => self.judge_each(&plain, &mut step)?,
        }
        self.judge_each(&eventful, &mut step)?;
        *from = next;
        Ok(step)
    }

    /// Judges plain decisions at once and records that for each. None where something speaks against one of them, or one
    /// is damaged: then each has to be judged by itself.
    fn judge_together(
        &self,
        plain: &[Wanted],
        unless: Unless,
    ) -> Result<Option<BackfillStep>, VerificationError> {
        if plain.is_empty() {
            return Ok(Some(BackfillStep::default()));
        }
        match self.report(plain) {
            Ok(report) if holds_for_each(&report) => self.record(plain, &report, unless).map(Some),
            Ok(_) => Ok(None),
            Err(error) if error.is_of_the_record() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Judges decisions one by one; those that are damaged beyond that are named.
    fn judge_each(&self, wanted: &[Wanted], step: &mut BackfillStep) -> Result<(), VerificationError> {
        for wanted in wanted {
            match self.judge(wanted, Unless::Verified) {
                Ok(judged) => step.add(judged),
                Err(error) if error.is_of_the_record() => {
                    let execution_id = wanted.execution_id.clone();
                    tracing::error!(%execution_id, code = error.code(), %error, "a decision cannot be judged");
                    let (code, detail) = (error.code().to_owned(), error.detail());
                    step.unjudged.push(Unjudged { execution_id, code, detail });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Judges one decision and records that.
    fn judge(&self, wanted: &Wanted, unless: Unless) -> Result<BackfillStep, VerificationError> {
        let wanted = std::slice::from_ref(wanted);
        self.record(wanted, &self.report(wanted)?, unless)
    }

    /// The judge's report on everything that the log has about these decisions.
    fn report(&self, wanted: &[Wanted]) -> Result<Report, VerificationError> {
        let ids = wanted.iter().map(|wanted| wanted.execution_id.clone()).collect();
        let filter = Filter { execution_ids: Some(ids), ..Filter::default() };
        let request = ExportRequest { selection: Selection::Filter(filter), disclosure: Disclosure::Full };
        // It holds the values of signals.
        let mut evidence = Zeroizing::new(Vec::new());
        self.export(&request, &mut *evidence).map_err(Box::new)?;
        Ok(chancery_verify::verify(evidence.as_slice(), Some(&self.root_pub().to_string()), &self.ask()))
    }

    fn ask(&self) -> Ask {
        Ask {
            environment: match self.settings().environment {
                Environment::Production => chancery_verify::Environment::Production,
                Environment::Test => chancery_verify::Environment::Test,
            },
            // Decisions that wait for an answer need the other processors more.
            threads: Some(NonZeroUsize::MIN),
            ..Ask::default()
        }
    }

    fn record(
        &self,
        wanted: &[Wanted],
        report: &Report,
        unless: Unless,
    ) -> Result<BackfillStep, VerificationError> {
        let inner = &self.inner;
        let verified_at = inner.clock.now();
        let checks: Vec<CheckOutcome> = report.checks.iter().map(outcome).collect();
        let passed = |id: CheckId| match report.check(id)?.result {
            chancery_verify::CheckResult::Pass => Some(true),
            chancery_verify::CheckResult::Fail => Some(false),
            chancery_verify::CheckResult::Unknown => None,
        };
        let verdict = match report.verdict {
            chancery_verify::Verdict::Verified => Verdict::Verified,
            chancery_verify::Verdict::Failed => Verdict::Failed,
            chancery_verify::Verdict::Incomplete => Verdict::Incomplete,
        };
        let mut tickets = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let predicate = Verification {
                checks: checks.clone(),
                execution_fingerprint: wanted.fingerprint,
                execution_id: wanted.execution_id.clone(),
                signer: inner.runtime_key.public_key().key_id().clone(),
                tenant: inner.settings.tenant.clone(),
                verdict,
                verified_at,
                verifier: VERIFIER.to_owned(),
            };
            let body = Body::Verification(NewVerification {
                execution_id: wanted.execution_id.clone(),
                fingerprint: wanted.fingerprint,
                verdict,
                signature_verified: passed(CheckId::EnvelopeSignature),
                runtime_verified: passed(CheckId::BuildBinding),
                schema_compatible: passed(CheckId::StatementSchema),
                verifier: VERIFIER.to_owned(),
                only_first: unless == Unless::Verified,
            });
            let (entry, _) = inner.signed_about(&wanted.record_id, predicate, body)?;
            tickets.push((&wanted.execution_id, inner.store.enqueue_blocking(entry)?));
        }
        let mut step = BackfillStep::default();
        for (execution_id, ticket) in tickets {
            let index = match ticket.wait() {
                Ok(appended) => appended.index(),
                // Somebody else came to the same in this very microsecond: it is the same record.
                Err(SubmitError::Rejected(Rejected::Recorded { index, .. })) if unless == Unless::Never => {
                    index
                }
                // Another node was faster.
                Err(SubmitError::Rejected(Rejected::Verified { .. } | Rejected::Recorded { .. })) => {
                    step.already += 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            step.recorded.push(RecordedVerification { execution_id: execution_id.clone(), verdict, index });
        }
        Ok(step)
    }
}

/// When a verification is not to be recorded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unless {
    /// Whatever there is already: somebody has asked for this one.
    Never,
    /// Where the decision has one by then.
    Verified,
}

/// Those that can be judged together, and those to which more has happened.
fn sorted(rows: Vec<Unverified>) -> (Vec<Wanted>, Vec<Wanted>) {
    let (plain, eventful): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.is_plain);
    let wanted = |rows: Vec<Unverified>| rows.into_iter().map(Wanted::from).collect();
    (wanted(plain), wanted(eventful))
}

/// Whether a report on several plain decisions says the same of each: nothing fails, and what is unknown is so for
/// all of them, or is about the file, which is the same for all.
fn holds_for_each(report: &Report) -> bool {
    let of_the_file =
        [CheckId::KeyringRoot, CheckId::LogCheckpoint, CheckId::LogConsistency, CheckId::LogWitness];
    report.checks.iter().all(|check| {
        let for_all = check.passed == 0 && check.unknown == report.counts.decisions;
        check.failed == 0 && (check.unknown == 0 || for_all || of_the_file.contains(&check.id))
    })
}

/// A check of a report as a statement has it.
fn outcome(check: &chancery_verify::Check) -> CheckOutcome {
    let result = match check.result {
        chancery_verify::CheckResult::Pass => CheckResult::Pass,
        chancery_verify::CheckResult::Fail => CheckResult::Fail,
        chancery_verify::CheckResult::Unknown => CheckResult::Unknown,
    };
    let reason = check.reason.as_deref().filter(|reason| !reason.is_empty() && result != CheckResult::Pass);
    CheckOutcome {
        id: check.id.as_str().to_owned(),
        reason: reason.map(|reason| reason.chars().take(REASON_CHARS_MAX).collect()),
        result,
    }
}

/// Why decisions cannot be verified, or that not recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerificationError {
    /// The log does not give out what is to be judged.
    #[error("the evidence cannot be put together")]
    Export(#[from] Box<ExportError>),
    /// The log does not take what this runtime signs.
    #[error("the log does not take this runtime's verification")]
    Rejected(#[source] Rejected),
    /// The runtime did not make the statement.
    #[error(transparent)]
    Signed(#[from] SignedAboutError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] Arc<StoreError>),
}

impl VerificationError {
    /// Whether what the log holds of a decision is at fault, and not the runtime, which others would meet as well.
    fn is_of_the_record(&self) -> bool {
        match self {
            Self::Export(error) => matches!(error.whose(), Cause::Corrupt | Cause::NotFound),
            _ => false,
        }
    }
}

impl From<StoreError> for VerificationError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<SubmitError> for VerificationError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Rejected(rejected) => Self::Rejected(rejected),
            SubmitError::Store(error) => Self::Store(error),
        }
    }
}

impl Failure for VerificationError {
    fn whose(&self) -> Cause {
        match self {
            Self::Export(error) => error.whose(),
            Self::Rejected(_) => Cause::Unavailable,
            Self::Signed(error) => error.whose(),
            Self::Store(error) => store_cause(error),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Export(error) => error.code(),
            Self::Rejected(Rejected::Clock { .. }) => "runtime.clock",
            Self::Rejected(Rejected::Key { .. } | Rejected::NoKeyring) => "runtime.key",
            Self::Rejected(_) => "log.refused",
            Self::Signed(error) => error.code(),
            Self::Store(error) => store_code(error),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Export(error) => error.detail(),
            Self::Store(error) => store_detail(error),
            _ => "the runtime cannot record at the moment; what was recorded before stays".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
