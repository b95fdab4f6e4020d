//! Override cases: from a decision that waits for approvers to the resolution that ends it (formats §4.2, §4.3).
//!
//! ```text
//! decision pending_override ── override … override ── resolution ── (confirmation)
//! │                            each counts or the file fails │
//! └─ case opens                                              └─ case ends, and is forgotten
//! ```
//! Whatever a file says costs time in proportion to its length: names, keys and records of a case are looked up.

use std::collections::{HashMap, HashSet};

use chancery_core::digest::RecordId;
use chancery_core::ids::EntityUid;
use chancery_core::key::KeyId;
use chancery_core::statement::{Override, OverrideResolution, OverrideRule, Resolution, ResolutionStatus};
use chancery_core::time::Timestamp;

use crate::check::CheckId;
use crate::context::Context;
use crate::fault::Fault;
use crate::table::Key;
use crate::tally::Findings;

/// A case that has not ended.
pub(crate) struct Case<'a> {
    /// The decision's own outcome.
    pub(crate) outcome: &'a str,
    pub(crate) executed_at: Timestamp,
    pub(crate) principal: &'a EntityUid,
    pub(crate) rule: Rule<'a>,
    pub(crate) answers: &'a mut Answers,
}

/// What is remembered of a case: 24 bytes until the first override comes.
#[derive(Clone, Copy)]
struct Open {
    executed_at: Timestamp,
    /// Among the principals.
    principal: u32,
    /// The place of its bundle in the file.
    policy: Option<u32>,
}

/// The cases of a file that have not ended.
#[derive(Default)]
pub(crate) struct Cases {
    open: HashMap<Key, Open>,
    answers: HashMap<Key, Answers>,
    principals: Vec<EntityUid>,
    principal_numbers: HashMap<String, u32>,
}

impl Cases {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// A decision waits for approvers.
    pub(crate) fn begin(
        &mut self,
        key: Key,
        executed_at: Timestamp,
        principal: EntityUid,
        policy: Option<usize>,
    ) {
        let text = principal.to_string();
        let principal = match self.principal_numbers.get(&text) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(self.principals.len()).unwrap_or(u32::MAX);
                self.principals.push(principal);
                self.principal_numbers.insert(text, number);
                number
            }
        };
        let policy = policy.and_then(|at| u32::try_from(at).ok());
        self.open.insert(key, Open { executed_at, principal, policy });
    }

    /// The case of a decision, whose own outcome is `outcome`; `None` where it has ended.
    pub(crate) fn get<'a>(
        &'a mut self,
        key: &Key,
        outcome: &'a str,
        context: &'a Context<'_>,
    ) -> Option<Case<'a>> {
        let open = *self.open.get(key)?;
        let principal = usize::try_from(open.principal).ok().and_then(|at| self.principals.get(at))?;
        let answers = self.answers.entry(*key).or_default();
        Some(Case { outcome, executed_at: open.executed_at, principal, rule: open.rule(context), answers })
    }

    /// The case has ended.
    pub(crate) fn end(&mut self, key: &Key) {
        self.open.remove(key);
        self.answers.remove(key);
    }

    /// The overrides that ended cases which have no resolution, in order of the file.
    pub(crate) fn unresolved(&self, context: &Context<'_>) -> Vec<(At, &str)> {
        let ended = self.answers.iter().filter_map(|(key, answers)| {
            let open = self.open.get(key)?;
            let Rule::Some(rule) = open.rule(context) else { return None };
            let limit = limit(open.executed_at, rule)?;
            Some((answers.ended_by(rule, limit)?.at, answers.execution_id.as_str()))
        });
        let mut ended: Vec<_> = ended.collect();
        ended.sort_unstable();
        ended
    }

    /// How many have had their time, as of then.
    pub(crate) fn overdue(&self, context: &Context<'_>, now: Timestamp) -> u64 {
        let over = |open: &&Open| match open.rule(context) {
            Rule::Some(rule) => limit(open.executed_at, rule).is_some_and(|limit| limit <= now),
            Rule::None | Rule::Unknown => false,
        };
        u64::try_from(self.open.values().filter(over).count()).unwrap_or(u64::MAX)
    }
}

impl Open {
    fn rule<'a>(&self, context: &'a Context<'_>) -> Rule<'a> {
        let policy = self.policy.and_then(|at| context.policies.get(usize::try_from(at).ok()?));
        match policy.filter(|policy| policy.bundle.is_some()) {
            None => Rule::Unknown,
            Some(policy) => policy.rule().map_or(Rule::None, Rule::Some),
        }
    }
}

/// Until when an override can be issued, and a case be approved or rejected.
fn limit(executed_at: Timestamp, rule: &OverrideRule) -> Option<Timestamp> {
    executed_at.checked_add_ms(rule.expires_ms()?)
}

/// Line and log index of an override.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct At {
    pub(crate) line: u64,
    pub(crate) index: u64,
}

/// What approvers said in a case.
#[derive(Default)]
pub(crate) struct Answers {
    execution_id: String,
    /// In order of the log.
    list: Vec<Answer>,
    /// The place of each in the list.
    places: HashMap<RecordId, usize>,
    /// Who has answered, and with which keys.
    names: HashSet<String>,
    keys: HashSet<KeyId>,
}

impl Answers {
    fn get(&self, record: &RecordId) -> Option<&Answer> {
        self.list.get(*self.places.get(record)?)
    }

    /// Those before it in the log.
    fn before(&self, record: &RecordId) -> &[Answer] {
        self.places.get(record).and_then(|at| self.list.get(..*at)).unwrap_or_default()
    }

    fn push(&mut self, answer: Answer) {
        self.places.insert(answer.record, self.list.len());
        self.list.push(answer);
    }

    /// A person answers once in a case, and a key does.
    fn twice(&mut self, approver: &str, key: &KeyId) -> Option<(Fault, &'static str)> {
        let new = (self.names.insert(approver.to_owned()), self.keys.insert(key.clone()));
        match new {
            (false, _) => Some((Fault::ApproverTwice, "the approver had answered in this case before")),
            (true, false) => {
                Some((Fault::KeyTwice, "the key had answered in this case before, for another approver"))
            }
            (true, true) => None,
        }
    }

    fn rejection(&self) -> Option<&Answer> {
        self.list.iter().find(|answer| answer.counts && answer.resolution == OverrideResolution::Reject)
    }

    /// The override that ended the case: a rejection, or the last one of a quorum that stood to the end of its time.
    fn ended_by(&self, rule: &OverrideRule, limit: Timestamp) -> Option<&Answer> {
        self.rejection().or_else(|| quorum(&self.list, rule, |answer| limit <= answer.expires_at))
    }
}

/// An override in a case.
pub(crate) struct Answer {
    at: At,
    record: RecordId,
    approver: String,
    key: KeyId,
    resolution: OverrideResolution,
    outcome: Option<String>,
    issued_at: Timestamp,
    expires_at: Timestamp,
    /// Whether its signature holds and the rule lets it count.
    counts: bool,
}

/// What the bundle says about overriding.
#[derive(Clone, Copy)]
pub(crate) enum Rule<'a> {
    /// The bundle is not there, or cannot be trusted.
    Unknown,
    /// The bundle lets nobody override.
    None,
    Some(&'a OverrideRule),
}

impl Case<'_> {
    /// An override of this case was logged.
    pub(crate) fn answer(
        &mut self,
        at: At,
        record: RecordId,
        predicate: Override,
        trusted: bool,
        findings: &mut Findings,
    ) {
        let principal = self.principal;
        if predicate.approver == principal.id() || predicate.approver == principal.to_string() {
            let reason = format!("the approver `{}` submitted the execution", predicate.approver);
            findings.fault(CheckId::OverrideSeparation, Fault::Separation, reason);
        }
        let counts = match self.rule {
            Rule::Unknown => {
                let reason = "the bundle with the rule for overrides is not there";
                findings.unknown(CheckId::OverrideQuorum, reason);
                findings.unknown(CheckId::OverrideExpiry, reason);
                true
            }
            Rule::None => {
                findings.fail(CheckId::OverrideQuorum, "the bundle lets nobody override");
                false
            }
            Rule::Some(rule) => self.counts(&predicate, rule, findings),
        };
        // What is not signed as it has to be is nobody's answer.
        let twice = trusted.then(|| self.answers.twice(&predicate.approver, &predicate.signer)).flatten();
        if let Some((fault, reason)) = twice {
            findings.fault(CheckId::OverrideSeparation, fault, reason);
        }
        if !findings.failed(CheckId::OverrideSeparation) {
            findings.pass(CheckId::OverrideSeparation);
        }
        self.answers.execution_id = predicate.execution_id.to_string();
        self.answers.push(Answer {
            at,
            record,
            approver: predicate.approver,
            key: predicate.signer,
            resolution: predicate.resolution,
            outcome: predicate.outcome,
            issued_at: predicate.issued_at,
            expires_at: predicate.expires_at,
            counts: counts && trusted && !findings.failed(CheckId::OverrideSeparation),
        });
    }

    /// One that cannot count is never logged: a file that holds one fails.
    fn counts(&self, predicate: &Override, rule: &OverrideRule, findings: &mut Findings) -> bool {
        let mut counts = true;
        if !rule.roles.contains(&predicate.role) {
            let reason = format!("the rule does not count the role `{}`", predicate.role);
            findings.fault(CheckId::OverrideQuorum, Fault::Role, reason);
            counts = false;
        }
        if let Some(outcome) = predicate.outcome.as_ref().filter(|outcome| !rule.to.contains(outcome)) {
            let reason = format!("the rule does not let an approver decide `{outcome}`");
            findings.fault(CheckId::OverrideQuorum, Fault::Outcome, reason);
            counts = false;
        }
        let in_time = limit(self.executed_at, rule).is_some_and(|limit| predicate.issued_at < limit);
        if predicate.issued_at < self.executed_at {
            let reason = "the override was issued before the decision was made";
            findings.fault(CheckId::OverrideExpiry, Fault::IssuedEarly, reason);
            counts = false;
        } else if !in_time {
            let reason = "the override was issued after the case had expired";
            findings.fault(CheckId::OverrideExpiry, Fault::IssuedLate, reason);
            counts = false;
        } else {
            findings.pass(CheckId::OverrideExpiry);
        }
        counts
    }

    /// The case was resolved.
    pub(crate) fn resolve(&self, predicate: &Resolution, findings: &mut Findings) {
        let check = CheckId::Resolution;
        match self.rule {
            Rule::Unknown => findings.unknown(check, "the bundle with the rule for overrides is not there"),
            Rule::None => findings.fail(check, "the bundle lets nobody override"),
            Rule::Some(rule) if *rule != predicate.rule => {
                findings.fail(check, "the rule that was applied is not that of the bundle");
            }
            Rule::Some(_) => {}
        }
        match predicate.resolution {
            ResolutionStatus::Approved => self.approved(predicate, findings),
            ResolutionStatus::Rejected => self.rejected(predicate, findings),
            ResolutionStatus::Expired => self.expired(predicate, findings),
        }
        if !findings.failed(check) {
            findings.pass(check);
        }
    }

    /// The answers that a resolution lists; those that are not in the case are a fault.
    fn counted(&self, predicate: &Resolution, findings: &mut Findings) -> Vec<&Answer> {
        let mut counted = Vec::new();
        for record in &predicate.overrides {
            match self.answers.get(record) {
                Some(answer) => counted.push(answer),
                None => findings.fault(
                    CheckId::Resolution,
                    Fault::Foreign,
                    format!("the override {record} is not in the log before it, or answers something else"),
                ),
            }
        }
        counted
    }

    fn approved(&self, predicate: &Resolution, findings: &mut Findings) {
        let check = CheckId::Resolution;
        let counted = self.counted(predicate, findings);
        let agrees = |answer: &&&Answer| {
            answer.resolution == OverrideResolution::Approve
                && answer.outcome.as_ref() == Some(&predicate.final_outcome)
        };
        if !counted.iter().all(|answer| agrees(&answer)) {
            let reason = format!("not all overrides that were counted approve `{}`", predicate.final_outcome);
            findings.fail(check, reason);
        }
        if self.answers.list.iter().any(|answer| answer.resolution == OverrideResolution::Reject) {
            let reason = "the case was approved although an approver had rejected it";
            findings.fault(check, Fault::Contrary, reason);
        }
        let first = self.quorum(&self.answers.list, predicate);
        if let Some(outcome) = first.filter(|outcome| *outcome != predicate.final_outcome) {
            let reason = format!("enough approvers had approved `{outcome}` before");
            findings.fault(check, Fault::Contrary, reason);
        }
        let good: Vec<&Answer> =
            counted.iter().filter(|answer| answer.counts && agrees(answer)).copied().collect();
        let distinct = distinct(&good);
        let needed = usize::try_from(predicate.rule.quorum).unwrap_or(usize::MAX);
        findings.require_or(CheckId::OverrideQuorum, Fault::Quorum, distinct >= needed, || {
            format!("{distinct} of the {needed} approvers needed can be counted")
        });
        self.in_time(&counted, predicate, findings);
    }

    fn rejected(&self, predicate: &Resolution, findings: &mut Findings) {
        let check = CheckId::Resolution;
        let rejects: Vec<&Answer> = self
            .counted(predicate, findings)
            .into_iter()
            .filter(|answer| answer.resolution == OverrideResolution::Reject)
            .collect();
        findings.require(CheckId::OverrideQuorum, rejects.iter().any(|answer| answer.counts), || {
            "no rejection that can be counted is among the overrides".to_owned()
        });
        if predicate.overrides.len() > 1 {
            let reason = "one rejection ends a case by itself, and other overrides are counted with it";
            findings.fail(check, reason);
        }
        // The log's order decides: what enough approvers had approved cannot be rejected any more.
        let first =
            rejects.iter().map(|reject| self.answers.before(&reject.record)).min_by_key(|all| all.len());
        if let Some(outcome) = first.and_then(|before| self.quorum(before, predicate)) {
            let reason = format!("enough approvers had approved `{outcome}` before it was rejected");
            findings.fault(check, Fault::Contrary, reason);
        }
        self.in_time(&rejects, predicate, findings);
        self.own_outcome(predicate, findings);
    }

    fn expired(&self, predicate: &Resolution, findings: &mut Findings) {
        let check = CheckId::Resolution;
        let limit = limit(self.executed_at, &predicate.rule);
        if limit.is_none_or(|limit| predicate.resolved_at < limit) {
            findings.fail(CheckId::OverrideExpiry, "the case was ended as expired before its limit");
        } else {
            findings.pass(CheckId::OverrideExpiry);
        }
        if self.answers.rejection().is_some() {
            let reason = "the case was ended as expired although an approver had rejected it";
            findings.fault(check, Fault::Contrary, reason);
        }
        if self.quorum(&self.answers.list, predicate).is_some() {
            let reason = "the case was ended as expired although enough approvers had approved it";
            findings.fault(check, Fault::Contrary, reason);
        }
        self.own_outcome(predicate, findings);
    }

    /// The outcome that enough of these answers approve, by approvals that stood when the case was ended, or to the
    /// end of its time where it was ended later: approvals are seldom made to stand any longer.
    fn quorum<'a>(&self, answers: &'a [Answer], predicate: &Resolution) -> Option<&'a str> {
        let limit = limit(self.executed_at, &predicate.rule);
        let stands = |answer: &Answer| {
            predicate.resolved_at < answer.expires_at || limit.is_some_and(|limit| limit <= answer.expires_at)
        };
        quorum(answers, &predicate.rule, stands)?.outcome.as_deref()
    }

    /// Every override that was counted was there, and still stood, when the case was resolved; the case did, too.
    fn in_time(&self, counted: &[&Answer], predicate: &Resolution, findings: &mut Findings) {
        let resolved_at = predicate.resolved_at;
        if let Some(later) = counted.iter().find(|answer| resolved_at < answer.issued_at) {
            let reason =
                format!("the resolution is dated before the override by `{}` that it counts", later.approver);
            findings.fault(CheckId::Resolution, Fault::Early, reason);
        }
        if limit(self.executed_at, &predicate.rule).is_none_or(|limit| limit <= resolved_at) {
            let reason = "the case was approved or rejected when its time was over";
            return findings.fault(CheckId::OverrideExpiry, Fault::Late, reason);
        }
        let lapsed = counted.iter().find(|answer| answer.expires_at <= resolved_at);
        findings.require_or(CheckId::OverrideExpiry, Fault::Lapsed, lapsed.is_none(), || {
            let approver = lapsed.map_or("", |answer| answer.approver.as_str());
            format!("the override by `{approver}` had expired when it was counted")
        });
    }

    fn own_outcome(&self, predicate: &Resolution, findings: &mut Findings) {
        if predicate.final_outcome != self.outcome {
            let reason = format!(
                "the decision's own outcome `{}` has to hold, not `{}`",
                self.outcome, predicate.final_outcome
            );
            findings.fail(CheckId::Resolution, reason);
        }
    }
}

/// The approval that makes enough of one outcome, the first in order of the log, of those that stand.
fn quorum<'a>(
    answers: &'a [Answer],
    rule: &OverrideRule,
    stands: impl Fn(&Answer) -> bool,
) -> Option<&'a Answer> {
    let needed = usize::try_from(rule.quorum).unwrap_or(usize::MAX);
    let approves = |answer: &&Answer| {
        answer.counts && answer.resolution == OverrideResolution::Approve && stands(answer)
    };
    let mut agreeing: HashMap<&str, Approvers<'_>> = HashMap::new();
    answers.iter().filter(approves).find(|answer| {
        let Some(outcome) = answer.outcome.as_deref() else { return false };
        let approvers = agreeing.entry(outcome).or_default();
        approvers.add(answer);
        approvers.len() >= needed
    })
}

/// Distinct approvers: both name and key have to be new for one more.
#[derive(Default)]
struct Approvers<'a> {
    names: HashSet<&'a str>,
    keys: HashSet<&'a KeyId>,
}

impl<'a> Approvers<'a> {
    fn add(&mut self, answer: &'a Answer) {
        if !self.names.contains(answer.approver.as_str()) && !self.keys.contains(&answer.key) {
            self.names.insert(&answer.approver);
            self.keys.insert(&answer.key);
        }
    }

    fn len(&self) -> usize {
        self.keys.len()
    }
}

/// How many approvers there are.
fn distinct(answers: &[&Answer]) -> usize {
    let mut approvers = Approvers::default();
    answers.iter().for_each(|answer| approvers.add(answer));
    approvers.len()
}
