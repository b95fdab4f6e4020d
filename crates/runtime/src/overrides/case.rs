//! A case as its log entries have it, and how the rule of its bundle ends it.
//!
//! Pure: entries, rule, keyring and an instant go in. The verifier judges resolutions by the same rules from the
//! other side (`chancery-verify`, `cases.rs`); what is made here passes there.

use super::OverrideError;
use crate::answer::AnswerPolicy;
use crate::bundles::LoadedBundle;
use chancery_core::digest::{Fingerprint, RecordId};
use chancery_core::ids::{EntityUid, ExecutionId};
use chancery_core::key::KeyId;
use chancery_core::keyring::Keyring;
use chancery_core::statement::{
    ExecutionState, Override, OverrideResolution, OverrideRule, Resolution, ResolutionStatus, Statement,
};
use chancery_core::time::Timestamp;
use chancery_store::{CaseRecord, Entry};
use serde::Serialize;

/// An override case.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Its fingerprint.
    pub execution_fingerprint: Fingerprint,
    /// `H(PAE)` of the decision: what overrides are about.
    pub decision_record: RecordId,
    /// The decision's own outcome.
    pub decision: String,
    /// Which bundle decided.
    pub policy: AnswerPolicy,
    /// Who submitted; they cannot approve.
    pub principal: EntityUid,
    /// What was decided on.
    pub resource: EntityUid,
    /// When it was decided.
    pub executed_at: Timestamp,
    /// From this instant on nobody can answer: `executed_at` and the rule's `expires`.
    pub due: Timestamp,
    /// What it is in.
    pub state: CaseState,
    /// Approvals that stand for one outcome, or stood when the case ended, of how many are needed, such as `1 of 2`.
    pub progress: String,
    /// The bundle's rule.
    pub rule: OverrideRule,
    /// What approvers said, in order of the log.
    pub overrides: Vec<Given>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<Ended>,
}

/// What a case is in.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CaseState {
    /// It waits for approvers.
    Pending,
    /// A quorum approved.
    Approved,
    /// An approver rejected.
    Rejected,
    /// Nobody ended it in time.
    Expired,
}

impl CaseState {
    /// `pending`, `approved`, `rejected` or `expired`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }
}

impl From<ResolutionStatus> for CaseState {
    fn from(status: ResolutionStatus) -> Self {
        match status {
            ResolutionStatus::Approved => Self::Approved,
            ResolutionStatus::Rejected => Self::Rejected,
            ResolutionStatus::Expired => Self::Expired,
        }
    }
}

/// One approver's answer.
#[derive(Clone, Debug, Serialize)]
pub struct Given {
    /// `H(PAE)` of the override.
    pub record_id: RecordId,
    /// Its place in the log.
    pub index: u64,
    /// Whose it is.
    pub approver: String,
    /// Their role.
    pub role: String,
    /// Their key.
    pub signer: KeyId,
    /// Approve or reject.
    pub resolution: OverrideResolution,
    /// What the decision is to be turned into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Why, in words.
    pub reason: String,
    /// Why, as a code.
    pub reason_code: String,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// Until when it stands.
    pub expires_at: Timestamp,
    /// False where the key was revoked for this entry later.
    pub counts: bool,
}

/// How a case ended.
#[derive(Clone, Debug, Serialize)]
pub struct Ended {
    /// `H(PAE)` of the resolution.
    pub record_id: RecordId,
    /// Its place in the log.
    pub index: u64,
    /// How.
    pub resolution: ResolutionStatus,
    /// The outcome that holds.
    pub final_outcome: String,
    /// The overrides that were counted.
    pub overrides: Vec<RecordId>,
    /// When.
    pub resolved_at: Timestamp,
}

/// What the rule makes of a case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Ending {
    pub(crate) status: ResolutionStatus,
    pub(crate) final_outcome: String,
    pub(crate) overrides: Vec<RecordId>,
    pub(crate) resolved_at: Timestamp,
}

impl Case {
    /// Puts a case together from its entries.
    ///
    /// # Errors
    /// [`OverrideError::NotWaiting`] for a decision that was not left to approvers, [`OverrideError::Damaged`].
    pub(crate) fn read(
        record: CaseRecord,
        loaded: &LoadedBundle,
        keyring: &Keyring,
        now: Timestamp,
    ) -> Result<Self, OverrideError> {
        let CaseRecord { decision, overrides, resolution } = record;
        let (summary, decision_record) = (decision.summary, decision.entry.record_id);
        let execution_id = summary.execution_id;
        if summary.state != ExecutionState::PendingOverride {
            return Err(OverrideError::NotWaiting { execution_id, state: summary.state });
        }
        let rule = loaded.bundle.manifest().overrides();
        let due = rule.and_then(|rule| summary.executed_at.checked_add_ms(rule.expires_ms()));
        // INVARIANT: a decision waits only where its bundle has a rule, and a rule's time is far from year 9999.
        let (Some(rule), Some(due)) = (rule, due) else {
            return Err(OverrideError::Rule { execution_id });
        };
        let mut given = Vec::with_capacity(overrides.len());
        for entry in overrides {
            given.push(Given::read(entry, keyring)?);
        }
        let mut case = Self {
            execution_id,
            execution_fingerprint: summary.fingerprint,
            decision_record,
            decision: summary.outcome,
            policy: AnswerPolicy {
                id: summary.policy_id,
                version: summary.policy_version,
                bundle_hash: summary.bundle_hash,
            },
            principal: summary.principal,
            resource: summary.resource,
            executed_at: summary.executed_at,
            due,
            state: CaseState::Pending,
            progress: String::new(),
            rule: rule.rule().clone(),
            overrides: given,
            resolution: None,
        };
        if let Some(entry) = resolution {
            let ended = Ended::read(&entry)?;
            case.state = ended.resolution.into();
            case.resolution = Some(ended);
        }
        let at = case.resolution.as_ref().map_or(now, |ended| ended.resolved_at);
        let standing =
            case.agreeing(at.min(case.last())).map(|(_, agreeing)| agreeing.len()).max().unwrap_or_default();
        case.progress = format!("{standing} of {}", case.rule.quorum);
        Ok(case)
    }

    /// The approvals that stand at `at`, by outcome in order of the log; approvers and keys are distinct.
    fn agreeing(&self, at: Timestamp) -> impl Iterator<Item = (&str, Vec<&Given>)> {
        let mut outcomes: Vec<(&str, Vec<&Given>)> = Vec::new();
        for given in self.overrides.iter().filter(|given| given.stands(at)) {
            let Some(outcome) = given.outcome.as_deref() else { continue };
            match outcomes.iter_mut().find(|(other, _)| *other == outcome) {
                None => outcomes.push((outcome, vec![given])),
                Some((_, agreeing)) => {
                    let same =
                        |other: &&Given| other.approver == given.approver || other.signer == given.signer;
                    if !agreeing.iter().any(same) {
                        agreeing.push(given);
                    }
                }
            }
        }
        outcomes.into_iter()
    }

    /// How the case ends at `now`, if it does: by a rejection, by a quorum, or because its time is over. What approvers
    /// end is dated within the case's time: their overrides are taken in it, and signed in it.
    pub(crate) fn ending(&self, now: Timestamp) -> Option<Ending> {
        if self.resolution.is_some() {
            return None;
        }
        let at = self.at(now);
        let within = at.min(self.last());
        let reject = self
            .overrides
            .iter()
            .find(|given| given.resolution == OverrideResolution::Reject && given.stands(within));
        if let Some(given) = reject {
            return Some(self.end(ResolutionStatus::Rejected, &self.decision, &[given], within));
        }
        // Of two outcomes with enough approvals the one counts that had them first.
        let last = usize::try_from(self.rule.quorum).unwrap_or(usize::MAX).saturating_sub(1);
        let quorums = self.agreeing(within).filter_map(|(outcome, agreeing)| {
            let complete = agreeing.get(last)?.index;
            Some((complete, outcome, agreeing))
        });
        if let Some((_, outcome, agreeing)) = quorums.min_by_key(|(complete, ..)| *complete) {
            return Some(self.end(ResolutionStatus::Approved, outcome, &agreeing, within));
        }
        (now >= self.due).then(|| self.end(ResolutionStatus::Expired, &self.decision, &[], at))
    }

    /// The instant of a resolution that is made now: not before what approvers have signed, whose clocks may be ahead.
    pub(crate) fn at(&self, now: Timestamp) -> Timestamp {
        self.overrides.iter().map(|given| given.issued_at).fold(now, Timestamp::max)
    }

    /// The last instant of the case's time, a microsecond before it is over: what stands then stands to its end.
    fn last(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.due.unix_micros() - 1).unwrap_or(self.due)
    }

    fn end(&self, status: ResolutionStatus, outcome: &str, counted: &[&Given], at: Timestamp) -> Ending {
        let mut overrides: Vec<RecordId> = counted.iter().map(|given| given.record_id).collect();
        overrides.sort();
        Ending { status, final_outcome: outcome.to_owned(), overrides, resolved_at: at }
    }
}

impl Given {
    fn read(entry: Entry, keyring: &Keyring) -> Result<Self, OverrideError> {
        let statement = Statement::<Override>::parse_unverified(&entry.payload)
            .map_err(|source| OverrideError::Damaged { index: entry.index, source })?;
        Ok(Self::new(entry.record_id, entry.index, statement.predicate, keyring))
    }

    pub(crate) fn new(record_id: RecordId, index: u64, predicate: Override, keyring: &Keyring) -> Self {
        Self {
            record_id,
            index,
            counts: !keyring.is_revoked(&predicate.signer, index),
            approver: predicate.approver,
            role: predicate.role,
            signer: predicate.signer,
            resolution: predicate.resolution,
            outcome: predicate.outcome,
            reason: predicate.reason,
            reason_code: predicate.reason_code,
            issued_at: predicate.issued_at,
            expires_at: predicate.expires_at,
        }
    }

    /// Whether it can be counted in a case that ends at `at`.
    fn stands(&self, at: Timestamp) -> bool {
        self.counts && at < self.expires_at
    }
}

impl Ended {
    fn read(entry: &Entry) -> Result<Self, OverrideError> {
        let statement = Statement::<Resolution>::parse_unverified(&entry.payload)
            .map_err(|source| OverrideError::Damaged { index: entry.index, source })?;
        let Resolution { final_outcome, overrides, resolution, resolved_at, .. } = statement.predicate;
        Ok(Self {
            record_id: entry.record_id,
            index: entry.index,
            resolution,
            final_outcome,
            overrides,
            resolved_at,
        })
    }
}
