//! One execution: from the bytes of a request to an attestation that is in the log.
//!
//! ```text
//! parse ─► bundle in force ─► typed signals ─► fingerprint ─► evaluate ─► statement ─► JCS, PAE, sign ─► log writer
//!                                                                                                  new: durable, answer
//!   known ─► the recorded decision's bundle ─► fingerprint ─► same: that answer; other: conflict ◄── the id is known
//! ```
//! An id is taken to be new, which it mostly is; the log writer tells, at no cost, in the transaction that counts. Where
//! it is known, or deciding fails, the record is looked up and decides what a repeat is answered.
//! Preparing is pure: time and random bytes are arguments, so it runs on any thread, and as many at a time as there are
//! processors. A batch, and whoever blocks, looks ids up first.
//! Sources: formats §3 and §4.1.

#[cfg(test)]
mod tests;
mod typed;

pub(crate) use typed::Typed;

use crate::answer::{Answer, AnswerPolicy, Evaluated, LogPosition};
use crate::bundles::{BundleError, LoadedBundle};
use crate::error::ExecuteError;
use crate::request::Draft;
use crate::runtime::{Inner, Runtime};
use crate::span::Spanned as _;
use crate::vitals::REDECISIONS;
use chancery_core::b64;
use chancery_core::commitment::Committed;
use chancery_core::digest::{Digest, Fingerprint, RecordId, sha256};
use chancery_core::dsse::{self, Envelope, Signature};
use chancery_core::ids::ExecutionId;
use chancery_core::statement::{
    Candidates, Decision, DecisionBody, ExecutionState, PolicyRef, Runtime as RuntimeRef, Statement,
};
use chancery_core::time::Timestamp;
use chancery_policy::{CandidateVerdicts, Evaluation};
use chancery_store::{Appended, Body, DecisionRecord, NewDecision, NewEntry, Rejected, SubmitError, Ticket};
use std::sync::Arc;
use zeroize::Zeroizing;

/// How often a decision is made again when the bundle in force changes under it.
pub const TRIES_MAX: u32 = 5;

/// The longest request that is decided on the thread that polls the future. Handing it to another thread and back would
/// cost as much as a tenth of the decision; a longer one would keep others waiting.
const AT_ONCE_BYTES_MAX: usize = 16 * 1024;

/// Who submits. The edge takes it from the credential and from nothing else.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Caller {
    /// The id of the principal, such as `claims-core`; its type is the bundle's.
    pub principal: Arc<str>,
}

impl Caller {
    /// The caller with this principal id.
    #[must_use]
    pub fn new(principal: &str) -> Self {
        Self { principal: principal.into() }
    }
}

/// Random bytes for one decision: the salt and the nonce of its opening.
pub(crate) type Chance = [u8; 44];

/// A decision that is signed and not yet recorded.
pub(crate) struct Prepared {
    /// What the log writer gets.
    pub(crate) entry: NewEntry,
    /// What the answer is made of, once the place in the log is known.
    pub(crate) draft: AnswerDraft,
}

/// An answer without its place in the log.
pub(crate) struct AnswerDraft {
    execution_id: ExecutionId,
    fingerprint: Fingerprint,
    body: DecisionBody,
    state: ExecutionState,
    policy: AnswerPolicy,
    attestation: Envelope,
}

impl AnswerDraft {
    fn finish(self, log: LogPosition) -> Answer {
        Answer {
            execution_id: self.execution_id,
            execution_fingerprint: self.fingerprint,
            decision: self.body.outcome,
            execution_state: self.state,
            reasons: self.body.reasons,
            errors: self.body.errors,
            policy: self.policy,
            attestation: self.attestation,
            log,
            replayed: false,
        }
    }
}

/// How far an execution has come.
pub(crate) enum Progress {
    /// It needs the log no more.
    Done(Box<Result<Answer, ExecuteError>>),
    /// It waits for the log writer.
    Waiting(Box<Waiting>),
}

impl Progress {
    pub(crate) fn done(result: Result<Answer, ExecuteError>) -> Self {
        Self::Done(Box::new(result))
    }
}

impl Settled {
    fn done(result: Result<Answer, ExecuteError>) -> Self {
        Self::Done(Box::new(result))
    }
}

/// What waits for the log writer.
pub(crate) struct Waiting {
    pub(crate) ticket: Ticket,
    pub(crate) draft: AnswerDraft,
}

/// What the log writer's answer comes to.
pub(crate) enum Settled {
    /// The execution is answered.
    Done(Box<Result<Answer, ExecuteError>>),
    /// Something changed while it waited; it has to be looked at from the beginning.
    Again(ExecuteError),
}

impl Runtime {
    /// Decides, records durably, and answers; or answers what was recorded under the same id before.
    ///
    /// Durable once it returns an [`Answer`]. Concurrent calls share transactions. Dropping the future does not
    /// undo anything: the decision may have been recorded, and a repeat of the request tells.
    ///
    /// # Errors
    /// [`ExecuteError`]; nothing is recorded then, except that after [`ExecuteError::Store`] with a writer that is
    /// gone only a repeat can tell.
    pub async fn execute(&self, caller: &Caller, body: Vec<u8>) -> Result<Answer, ExecuteError> {
        let body: Arc<[u8]> = body.into();
        let mut last = ExecuteError::Abandoned;
        let expected = self.inner.store.expect();
        let decided = self.decide(caller, &body).deciding().await?;
        // Before it is queued: the writer would wait for the very record that has woken it.
        drop(expected);
        if let Some(Prepared { entry, draft }) = decided {
            let recording = async {
                match self.inner.store.enqueue(entry).await {
                    Ok(ticket) => ticket.await,
                    Err(error) => Err(error),
                }
            };
            let recorded = recording.committing(self.is_shared()).await;
            match self.settle(draft, recorded).await? {
                Settled::Done(answer) => match *answer {
                    // Nothing can be recorded, but a repeat can be answered.
                    Err(error @ ExecuteError::Store(_)) => {
                        let (inner, caller) = (Arc::clone(&self.inner), caller.clone());
                        return self.on_pool(move || inner.repeat_or(&caller, &body, error)).await?;
                    }
                    answer => return answer,
                },
                Settled::Again(error) => last = error,
            }
        }
        for _ in 1..TRIES_MAX {
            let (inner, caller, request) = (Arc::clone(&self.inner), caller.clone(), Arc::clone(&body));
            let progress = self.on_pool(move || inner.begin(&caller, &request)).deciding().await?;
            let Waiting { ticket, draft } = match progress {
                Progress::Done(answer) => return *answer,
                Progress::Waiting(waiting) => *waiting,
            };
            let recorded = ticket.committing(self.is_shared()).await;
            match self.settle(draft, recorded).await? {
                Settled::Done(answer) => return *answer,
                Settled::Again(error) => last = error,
            }
        }
        Err(last)
    }

    /// Decides as if the id were new, which it mostly is: the log writer finds out, at no cost, in the transaction that
    /// counts. None where that fails, because a repeat has to be answered whatever stands in its way now.
    async fn decide(&self, caller: &Caller, body: &Arc<[u8]>) -> Result<Option<Prepared>, ExecuteError> {
        if body.len() <= AT_ONCE_BYTES_MAX && self.inner.runtime_key.is_local() {
            let draft = Draft::parse(body);
            if !draft.has_candidates() {
                return Ok(self.inner.decide(caller, draft));
            }
        }
        let (inner, caller, body) = (Arc::clone(&self.inner), caller.clone(), Arc::clone(body));
        self.on_pool(move || inner.decide(&caller, Draft::parse(&body))).await
    }

    async fn settle(
        &self,
        draft: AnswerDraft,
        recorded: Result<Appended, SubmitError>,
    ) -> Result<Settled, ExecuteError> {
        if matches!(recorded, Ok(Appended::New { .. })) {
            return Ok(self.inner.settle(draft, recorded));
        }
        // Reads the store, perhaps bundles: nothing for a thread that polls futures.
        let inner = Arc::clone(&self.inner);
        self.on_pool(move || inner.settle(draft, recorded)).await
    }

    /// [`Runtime::execute`] on the calling thread, which must not be one that polls futures.
    ///
    /// # Errors
    /// As [`Runtime::execute`].
    pub fn execute_blocking(&self, caller: &Caller, body: &[u8]) -> Result<Answer, ExecuteError> {
        self.inner.execute_blocking(caller, body)
    }

    /// The same evaluation, with nothing recorded and nothing signed. `version` may name any published version.
    ///
    /// # Errors
    /// [`ExecuteError`] of the request, the policy or the store.
    pub async fn evaluate(&self, caller: &Caller, body: Vec<u8>) -> Result<Evaluated, ExecuteError> {
        let (inner, caller) = (Arc::clone(&self.inner), caller.clone());
        self.on_pool(move || inner.evaluate(&caller, &body)).await?
    }

    /// [`Runtime::evaluate`] on the calling thread.
    ///
    /// # Errors
    /// As [`Runtime::evaluate`].
    pub fn evaluate_blocking(&self, caller: &Caller, body: &[u8]) -> Result<Evaluated, ExecuteError> {
        self.inner.evaluate(caller, body)
    }

    /// Runs `job` on a thread of the pool.
    pub(crate) async fn on_pool<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ExecuteError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.pool.spawn(move || {
            // Nobody waits any more when the caller has gone away.
            let _ = sender.send(job());
        });
        receiver.await.map_err(|_| ExecuteError::Abandoned)
    }
}

impl Inner {
    pub(crate) fn execute_blocking(&self, caller: &Caller, body: &[u8]) -> Result<Answer, ExecuteError> {
        let mut last = ExecuteError::Abandoned;
        for _ in 0..TRIES_MAX {
            let waiting = match self.begin(caller, body) {
                Progress::Done(answer) => return *answer,
                Progress::Waiting(waiting) => *waiting,
            };
            match self.settle(waiting.draft, waiting.ticket.wait()) {
                Settled::Done(answer) => return *answer,
                Settled::Again(error) => last = error,
            }
        }
        Err(last)
    }

    /// Parses, looks the id up, decides, and queues the record.
    fn begin(&self, caller: &Caller, body: &[u8]) -> Progress {
        let draft = Draft::parse(body);
        let prepared = match self.known(&draft) {
            Err(error) => Err(error),
            Ok(Some(record)) => return Progress::done(self.replay(caller, draft, &record)),
            Ok(None) => {
                self.chance().and_then(|chance| self.prepare(caller, draft, self.clock.now(), &chance))
            }
        };
        match prepared {
            Ok(Prepared { entry, draft }) => match self.store.enqueue_blocking(entry) {
                Ok(ticket) => Progress::Waiting(Box::new(Waiting { ticket, draft })),
                Err(error) => Progress::done(Err(error.into())),
            },
            Err(error) => Progress::done(Err(error)),
        }
    }

    /// Decides a request whose id is taken to be new; None where that fails, for whatever reason.
    fn decide(&self, caller: &Caller, draft: Draft) -> Option<Prepared> {
        let chance = self.chance().ok()?;
        self.prepare(caller, draft, self.clock.now(), &chance).ok()
    }

    /// The recorded decision under the id of a request.
    fn known(&self, draft: &Draft) -> Result<Option<DecisionRecord>, ExecuteError> {
        let Some(id) = &draft.execution_id else { return Ok(None) };
        Ok(self.store.read(|reader| reader.decision(id))?)
    }

    /// What a repeat is answered; `error` where the request is none.
    fn repeat_or(&self, caller: &Caller, body: &[u8], error: ExecuteError) -> Result<Answer, ExecuteError> {
        let draft = Draft::parse(body);
        match self.known(&draft) {
            Ok(Some(record)) => self.replay(caller, draft, &record),
            _ => Err(error),
        }
    }

    /// Makes the log writer's answer the caller's.
    pub(crate) fn settle(&self, draft: AnswerDraft, answer: Result<Appended, SubmitError>) -> Settled {
        match answer {
            Ok(Appended::New { index, leaf_hash, .. }) => {
                Settled::done(Ok(draft.finish(LogPosition { index, leaf_hash })))
            }
            // The same fingerprint, from the same inputs: the record is the answer.
            Ok(Appended::Known(record)) => Settled::done(replayed(&record)),
            // Decided meanwhile, perhaps under another bundle: the recorded one's tells a repeat from a conflict.
            Err(SubmitError::Rejected(Rejected::Execution { execution_id, index, .. })) => {
                Settled::Again(ExecuteError::Conflict { execution_id, index })
            }
            Err(SubmitError::Rejected(Rejected::Stale { policy, .. })) => match self.stale() {
                Ok(()) => Settled::Again(ExecuteError::Stale { policy, tries: TRIES_MAX }),
                Err(error) => Settled::done(Err(ExecuteError::Bundle(Arc::new(error)))),
            },
            Err(error) => Settled::done(Err(error.into())),
        }
    }

    /// What is in force has changed under a decision, which is made again.
    fn stale(&self) -> Result<(), BundleError> {
        metrics::counter!(REDECISIONS, "tenant" => self.settings.tenant.to_string()).increment(1);
        self.refresh()
    }

    /// Decides a request whose id is new, by the bundle in force. Pure but for the key's signature.
    pub(crate) fn prepare(
        &self,
        caller: &Caller,
        draft: Draft,
        now: Timestamp,
        chance: &Chance,
    ) -> Result<Prepared, ExecuteError> {
        let build = self.deciding_build()?;
        // Before the signals are typed: another version's schema has nothing to say about them.
        let loaded = self.in_force(&draft).and_then(|loaded| match &draft.version {
            Some(asked) if *asked != loaded.version => Err(ExecuteError::NotInForce {
                policy: loaded.policy.clone(),
                asked: asked.clone(),
                in_force: loaded.version.clone(),
            }),
            _ => Ok(loaded),
        });
        let typed = Typed::new(caller, draft, loaded)?;
        let committed = typed.commit(&self.commitment_key)?;
        let evaluation = typed.evaluate();
        self.sign(typed, &committed, evaluation, build, now, chance)
    }

    fn in_force(&self, draft: &Draft) -> Result<Arc<LoadedBundle>, ExecuteError> {
        let Some(policy) = &draft.policy else { return Err(ExecuteError::Request { faults: Vec::new() }) };
        self.snapshot()
            .in_force
            .get(policy)
            .cloned()
            .ok_or_else(|| ExecuteError::PolicyUnknown { policy: policy.clone() })
    }

    fn sign(
        &self,
        typed: Typed,
        committed: &Committed,
        evaluation: Evaluation,
        build: Option<Digest>,
        now: Timestamp,
        chance: &Chance,
    ) -> Result<Prepared, ExecuteError> {
        let Typed { request, loaded, principal, resource, candidates: typed_candidates, .. } = typed;
        let predicate = Decision {
            candidates: candidates(evaluation.candidates, committed),
            decision: evaluation.decision,
            environment: self.settings.environment,
            executed_at: now,
            execution_fingerprint: committed.fingerprint,
            execution_id: request.execution_id,
            execution_state: evaluation.state,
            labels: request.labels,
            models: request.models,
            policy: PolicyRef {
                bundle_hash: loaded.hash,
                engine: chancery_policy::ENGINE.to_owned(),
                id: loaded.policy.clone(),
                version: loaded.version.clone(),
            },
            principal,
            resource,
            runtime: RuntimeRef {
                binary: self.binary,
                build_identity: build,
                version: crate::VERSION.to_owned(),
            },
            signals_root: committed.signals_root,
            signer: self.runtime_key.public_key().key_id().clone(),
            tenant: self.settings.tenant.clone(),
        };
        let statement = Statement::decision_of(predicate)?;
        let payload = statement.to_payload()?.into_bytes();
        let message = dsse::pae(dsse::IN_TOTO, &payload);
        let record_id = RecordId::from_bytes(sha256(&message));
        let signature = Signature {
            keyid: statement.predicate.signer.clone(),
            sig: b64::Bytes(self.runtime_key.sign(&message)?),
        };

        let opening = committed
            .opening(typed_candidates.as_deref())
            .map_err(|error| ExecuteError::Commitment(Box::new(error)))?;
        let opening = Zeroizing::new(opening.into_bytes());
        let (salt, nonce) = split(chance);
        let sealed = self.opening_key.seal(&record_id, opening, false, salt, nonce)?;

        let Decision { decision, execution_id, execution_state, labels, policy, principal, resource, .. } =
            statement.predicate;
        let draft = AnswerDraft {
            fingerprint: committed.fingerprint,
            state: execution_state,
            policy: AnswerPolicy::from(&policy),
            attestation: Envelope {
                payload: b64::Bytes(payload.clone()),
                payload_type: dsse::IN_TOTO.to_owned(),
                signatures: vec![signature.clone()],
            },
            execution_id: execution_id.clone(),
            body: decision,
        };
        let row = NewDecision {
            execution_id,
            fingerprint: committed.fingerprint,
            policy_id: policy.id,
            policy_version: policy.version,
            bundle_hash: policy.bundle_hash,
            outcome: draft.body.outcome.clone(),
            state: execution_state,
            principal,
            resource,
            signals_root: committed.signals_root,
            build_identity: build,
            labels: labels.unwrap_or_default(),
            opening: Some(sealed),
        };
        let entry = NewEntry {
            payload,
            signatures: vec![signature],
            record_id,
            claimed_at: now,
            body: Body::Decision(Box::new(row)),
        };
        Ok(Prepared { entry, draft })
    }

    /// Answers a request whose id is recorded: the recorded answer, or a conflict.
    ///
    /// The request is typed and compared under the bundle of the *recorded* decision, so that an honest retry
    /// after an activation gets its first answer. `labels` and `models` are not compared.
    pub(crate) fn replay(
        &self,
        caller: &Caller,
        draft: Draft,
        record: &DecisionRecord,
    ) -> Result<Answer, ExecuteError> {
        let summary = &record.summary;
        let conflict =
            || ExecuteError::Conflict { execution_id: summary.execution_id.clone(), index: summary.index };
        let other_version = draft.version.as_ref().is_some_and(|asked| *asked != summary.policy_version);
        if draft.policy.as_ref().is_some_and(|policy| *policy != summary.policy_id) || other_version {
            // Faults of its own come first: they are the caller's to see.
            return if draft.faults.is_empty() {
                Err(conflict())
            } else {
                Err(ExecuteError::Request { faults: draft.faults })
            };
        }
        let loaded = self.bundle_of(summary)?;
        let typed = Typed::new(caller, draft, Ok(loaded))?;
        let committed = typed.commit(&self.commitment_key)?;
        if committed.fingerprint == summary.fingerprint { replayed(record) } else { Err(conflict()) }
    }

    /// Evaluates and forgets.
    fn evaluate(&self, caller: &Caller, body: &[u8]) -> Result<Evaluated, ExecuteError> {
        let mut draft = Draft::parse_evaluation(body);
        let execution_id = draft.execution_id.clone();
        // No input of the fingerprint; it only makes the request whole.
        draft.execution_id = draft.execution_id.or_else(|| "evaluation".parse().ok());
        let loaded = match (&draft.policy, &draft.version) {
            (Some(policy), Some(version)) => self.published(policy, version),
            _ => self.in_force(&draft),
        };
        let typed = Typed::new(caller, draft, loaded)?;
        let committed = typed.commit(&self.commitment_key)?;
        let Evaluation { decision, state, candidates: verdicts } = typed.evaluate();
        let DecisionBody { determining, errors, outcome, reasons, .. } = decision;
        let Typed { loaded, .. } = typed;
        Ok(Evaluated {
            recorded: false,
            execution_id,
            execution_fingerprint: committed.fingerprint,
            decision: outcome,
            execution_state: state,
            reasons,
            determining,
            errors,
            candidates: candidates(verdicts, &committed),
            policy: AnswerPolicy {
                id: loaded.policy.clone(),
                version: loaded.version.clone(),
                bundle_hash: loaded.hash,
            },
        })
    }

    fn chance(&self) -> Result<Chance, ExecuteError> {
        Ok(crate::edge::random(self.entropy.as_ref())?)
    }
}

fn split(chance: &Chance) -> ([u8; 32], [u8; 12]) {
    let (mut salt, mut nonce) = ([0; 32], [0; 12]);
    salt.iter_mut().chain(nonce.iter_mut()).zip(chance).for_each(|(to, from)| *to = *from);
    (salt, nonce)
}

/// `candidates` of the statement: the verdicts with the commitment, where the request had candidates.
fn candidates(verdicts: Option<CandidateVerdicts>, committed: &Committed) -> Option<Candidates> {
    verdicts.zip(committed.candidates_root).map(|(verdicts, root)| verdicts.into_statement(root))
}

/// The recorded answer, from the recorded bytes.
pub(crate) fn replayed(record: &DecisionRecord) -> Result<Answer, ExecuteError> {
    let envelope = record.entry.envelope();
    let damaged = |source: Box<dyn std::error::Error + Send + Sync>| ExecuteError::Damaged {
        execution_id: record.summary.execution_id.clone(),
        source,
    };
    let statement = Statement::<Decision>::parse_unverified(&envelope.payload.0)
        .map_err(|error| damaged(Box::new(error)))?;
    let Decision { decision, execution_id, execution_fingerprint, execution_state, policy, .. } =
        statement.predicate;
    let draft = AnswerDraft {
        execution_id,
        fingerprint: execution_fingerprint,
        body: decision,
        state: execution_state,
        policy: AnswerPolicy::from(&policy),
        attestation: envelope,
    };
    let log = LogPosition { index: record.entry.index, leaf_hash: record.entry.leaf_hash };
    Ok(Answer { replayed: true, ..draft.finish(log) })
}
