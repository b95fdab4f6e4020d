//! Evaluation: every outcome is asked, in the manifest's order (formats §4.1), for the request and for each of its
//! candidates (§4.5).
//!
//! ```text
//! outcome      deny      refer     approve        each is an action with its own policy set
//! Cedar says   Deny      Allow     Allow          the first Allow is the outcome, else the fallback
//! determining            └ its permits            for a fallback: the forbids that were satisfied for any outcome
//! ```
//!
//! - A forbid permits nothing: an outcome is allowed only where Cedar's answer is Allow, so that a satisfied forbid
//!   takes its outcome out, whatever permits there are.
//! - Cedar skips a policy that errors. Here any error, of any outcome, blocks: the outcome is the fallback, and
//!   `determining` and `reasons` are those of a fallback, even where some outcome was allowed.
//! - `reasons` are those of the determining policies; a policy without `@reason` gives none.
//! - A candidate is evaluated with its signals over the request's. Its errors go into the decision's list and block
//!   the execution; what the candidates came to is recorded nevertheless. A candidate with an error counts as one
//!   with the fallback as its outcome.
//! - All lists are sorted by policy id and then code, each element once, so that evaluating again gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Decision, EvaluationError};
use cedar_policy_core::ast::{EntityUIDEntry, Expr, Literal, Request, SlotEnv, Value, ValueKind};
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;
use chancery_core::commitment::Candidate;
use chancery_core::digest::CandidatesRoot;
use chancery_core::ids::EntityUid;
use chancery_core::signal::Signals;
use chancery_core::statement::{
    self, Candidates, DecisionBody, EXCLUDED_MAX, ErrorCode, Excluded, ExecutionState, Reason, Selected,
};

use crate::Bundle;
use crate::context::{entry, only, representable, whole};
use crate::guard::{Guard, Slots};

/// What a bundle says to a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Evaluation {
    /// The member `decision` of the statement.
    pub decision: DecisionBody,
    /// Its member `executionState`.
    pub state: ExecutionState,
    /// What the candidates came to; `None` where the request had none.
    pub candidates: Option<CandidateVerdicts>,
}

/// What the candidates of a request came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CandidateVerdicts {
    /// How many there were.
    pub count: u64,
    /// Those whose outcome is the one that selects, in request order.
    pub selected: Vec<Selected>,
    /// The first [`EXCLUDED_MAX`] of the others, in request order.
    pub excluded: Vec<Excluded>,
    /// How many were not selected.
    pub excluded_total: u64,
    /// Whether `excluded` was cut.
    pub truncated: bool,
}

impl CandidateVerdicts {
    /// The member `candidates` of the statement, with the commitment to them (formats §3).
    #[must_use]
    pub fn into_statement(self, candidates_root: CandidatesRoot) -> Candidates {
        Candidates {
            candidates_root,
            count: self.count,
            excluded: self.excluded,
            excluded_total: self.excluded_total,
            selected: self.selected,
            truncated: self.truncated,
        }
    }
}

/// What the outcomes came to for one set of signals. Names borrow from the bundle.
#[derive(Debug, Default)]
pub(crate) struct Verdict<'b> {
    /// The first outcome that Cedar allows, with the permits that did so.
    pub(crate) allowed: Option<(&'b str, BTreeSet<&'b str>)>,
    /// The forbids that were satisfied, for any outcome.
    forbids: BTreeSet<&'b str>,
    errors: BTreeSet<(&'b str, ErrorCode)>,
    /// Every policy that was a reason for Cedar's answer to any outcome.
    pub(crate) satisfied: BTreeSet<&'b str>,
}

impl<'b> Verdict<'b> {
    /// The outcome and what determined it; `blocked`: the fallback, whatever was allowed.
    fn decided(&self, fallback: &'b str, blocked: bool) -> (&'b str, &BTreeSet<&'b str>) {
        match &self.allowed {
            Some((outcome, permits)) if !blocked => (outcome, permits),
            _ => (fallback, &self.forbids),
        }
    }
}

/// The policy that stands for the signals as a whole in an error that is no policy's.
const NO_POLICY: &str = "*";

impl Bundle {
    /// Evaluates a request, and each of its candidates. Pure: equal arguments give equal results.
    ///
    /// `principal` and `resource` have the manifest's types ([`Bundle::principal`], [`Bundle::resource`]), and the
    /// signals are typed by this bundle ([`Bundle::type_signals`], [`Bundle::type_candidates`]). Others are evaluated,
    /// too, as Cedar evaluates them. Takes the time of one Cedar authorization for each outcome and set of signals.
    #[must_use]
    pub fn evaluate(
        &self,
        principal: &EntityUid,
        resource: &EntityUid,
        signals: &Signals,
        candidates: Option<&[Candidate]>,
    ) -> Evaluation {
        let request = self.verdict(principal, resource, signals);
        let mut errors = request.errors.clone();
        let candidates = candidates.map(|candidates| {
            let mut verdicts = CandidateVerdicts {
                count: u64::try_from(candidates.len()).unwrap_or(u64::MAX),
                selected: Vec::new(),
                excluded: Vec::new(),
                excluded_total: 0,
                truncated: false,
            };
            for candidate in candidates {
                let verdict = self.verdict(principal, resource, &candidate.signals.merged_over(signals));
                self.judge(candidate, &verdict, &mut verdicts);
                errors.extend(verdict.errors);
            }
            verdicts
        });
        let decision = self.body(&request, errors);
        let state = statement::Decision::state_of(&decision);
        Evaluation { decision, state, candidates }
    }

    /// Asks Cedar for every outcome.
    pub(crate) fn verdict(
        &self,
        principal: &EntityUid,
        resource: &EntityUid,
        signals: &Signals,
    ) -> Verdict<'_> {
        let mut verdict = Verdict::default();
        let Some(answers) = self.answers(principal, resource, signals) else {
            verdict.errors.insert((NO_POLICY, ErrorCode::Other));
            return verdict;
        };
        for (slice, answer) in self.slices().iter().zip(answers) {
            verdict.errors.extend(answer.errors);
            verdict.satisfied.extend(&answer.reasons);
            match answer.decision {
                Decision::Deny => verdict.forbids.extend(answer.reasons),
                Decision::Allow => {
                    verdict.allowed.get_or_insert((&slice.outcome, answer.reasons));
                }
            }
        }
        verdict
    }

    /// Cedar's answer to each action, in the order of the slices. `None` for texts that Cedar refuses, whether or
    /// not a policy reads them.
    ///
    /// Cedar evaluates every policy that is not certain to be unsatisfied, with those signals that these can read.
    fn answers<'b>(
        &'b self,
        principal: &EntityUid,
        resource: &EntityUid,
        signals: &Signals,
    ) -> Option<Vec<Answer<'b>>> {
        let (principal, resource) = (entry(principal)?, entry(resource)?);
        if !representable(signals) {
            return None;
        }
        let slots = Slots::new(self.attributes(), signals);
        let open = |slice: &'b Slice| -> Vec<&'b Sliced> {
            slice.policies.iter().filter(|policy| !policy.guard.rules_out(&slots)).collect()
        };
        let open: Vec<_> = self.slices().iter().map(open).collect();
        let reads: Option<Vec<_>> = open.iter().flatten().map(|policy| policy.reads.as_ref()).collect();
        let context = match reads {
            Some(reads) => {
                let names: BTreeSet<&str> = reads.into_iter().flatten().map(String::as_str).collect();
                only(names.into_iter(), signals)?
            }
            None => whole(signals)?,
        };
        let ask = |(slice, open): (&'b Slice, Vec<&'b Sliced>)| {
            let (principal, action, resource) = (principal.clone(), slice.action.clone(), resource.clone());
            // The signals are typed already; Cedar would only do the same again.
            self.ask(Request::new_unchecked(principal, action, resource, Some(context.clone())), &open)
        };
        Some(self.slices().iter().zip(open).map(ask).collect())
    }

    /// Cedar's answer to one action: allowed where a permit is satisfied and no forbid is.
    fn ask<'b>(&self, request: Request, open: &[&'b Sliced]) -> Answer<'b> {
        let mut answer = Answer::default();
        let evaluator = Evaluator::new(request, self.entities().as_ref(), Extensions::all_available());
        let mut forbids = BTreeSet::new();
        for policy in open {
            match evaluator.interpret(&policy.condition, &SlotEnv::new()) {
                Ok(Value { value: ValueKind::Lit(Literal::Bool(satisfied)), .. }) => {
                    let reasons = if policy.permits { &mut answer.reasons } else { &mut forbids };
                    reasons.extend(satisfied.then_some(policy.id.as_str()));
                }
                Ok(_) => {
                    answer.errors.insert((&policy.id, ErrorCode::Type));
                }
                Err(error) => {
                    answer.errors.insert((&policy.id, code(&error)));
                }
            }
        }
        if !forbids.is_empty() {
            answer.reasons = forbids;
        } else if !answer.reasons.is_empty() {
            answer.decision = Decision::Allow;
        }
        answer
    }

    fn judge(&self, candidate: &Candidate, verdict: &Verdict<'_>, verdicts: &mut CandidateVerdicts) {
        let (outcome, determining) = verdict.decided(self.manifest().fallback(), !verdict.errors.is_empty());
        if outcome == self.manifest().select() {
            verdicts.selected.push(Selected {
                determining: determining.iter().map(ToString::to_string).collect(),
                id: candidate.id.clone(),
                outcome: outcome.to_owned(),
            });
            return;
        }
        verdicts.excluded_total += 1;
        if verdicts.excluded.len() == EXCLUDED_MAX {
            verdicts.truncated = true;
            return;
        }
        let first = determining.iter().find_map(|policy| Some((*policy, self.reason_of(policy)?)));
        verdicts.excluded.push(Excluded {
            code: first.map(|(_, code)| code.to_owned()),
            id: candidate.id.clone(),
            policy: first.map(|(policy, _)| policy.to_owned()),
        });
    }

    /// The decision on the request, with the errors of the request and of all its candidates.
    fn body(&self, request: &Verdict<'_>, errors: BTreeSet<(&str, ErrorCode)>) -> DecisionBody {
        let blocked = !errors.is_empty();
        let (outcome, determining) = request.decided(self.manifest().fallback(), blocked);
        let reasons = determining.iter().filter_map(|policy| {
            let code = self.reason_of(policy)?;
            let text = self.manifest().reason(code)?.regulator.clone();
            Some(Reason { code: code.to_owned(), policy: (*policy).to_owned(), text })
        });
        DecisionBody {
            determining: determining.iter().map(ToString::to_string).collect(),
            outcome: outcome.to_owned(),
            reasons: reasons.collect(),
            requires_override: !blocked && self.manifest().needs_override(outcome),
            errors: errors
                .into_iter()
                .map(|(policy, code)| statement::EvaluationError::new(code, policy.to_owned()))
                .collect(),
        }
    }
}

/// What Cedar's authorizer would say about one action.
#[derive(Debug, Eq, PartialEq)]
struct Answer<'b> {
    decision: Decision,
    /// The forbids that are satisfied, else the permits.
    reasons: BTreeSet<&'b str>,
    errors: BTreeSet<(&'b str, ErrorCode)>,
}

impl Default for Answer<'_> {
    fn default() -> Self {
        Self { decision: Decision::Deny, reasons: BTreeSet::new(), errors: BTreeSet::new() }
    }
}

/// The code of what Cedar reports (formats §4.1). Cedar's own words never get into a record.
pub(crate) fn code(error: &EvaluationError) -> ErrorCode {
    match error {
        EvaluationError::EntityDoesNotExist(_) => ErrorCode::Entity,
        EvaluationError::EntityAttrDoesNotExist(_) | EvaluationError::RecordAttrDoesNotExist(_) => {
            ErrorCode::Attribute
        }
        EvaluationError::TypeError(_) => ErrorCode::Type,
        EvaluationError::IntegerOverflow(_) => ErrorCode::Overflow,
        EvaluationError::FailedExtensionFunctionLookup(_)
        | EvaluationError::FailedExtensionFunctionExecution(_)
        | EvaluationError::WrongNumArguments(_) => ErrorCode::Extension,
        EvaluationError::RecursionLimit(_) => ErrorCode::Recursion,
        EvaluationError::UnlinkedSlot(_) | EvaluationError::NonValue(_) => ErrorCode::Other,
    }
}

/// The policies whose scope can match an action.
pub(crate) struct Slice {
    pub(crate) outcome: String,
    pub(crate) action: EntityUIDEntry,
    pub(crate) policies: Vec<Sliced>,
}

/// A policy, ready to be evaluated.
pub(crate) struct Sliced {
    pub(crate) id: String,
    pub(crate) permits: bool,
    /// Scope and conditions in one expression. Cedar would put it together for every request.
    pub(crate) condition: Expr,
    /// The attributes of the context that the condition can read; `None`: any.
    pub(crate) reads: Option<Vec<String>>,
    pub(crate) guard: Guard,
}

/// The code of each policy's `@reason`, by the policy's name.
pub(crate) type Names = BTreeMap<String, Option<String>>;

#[cfg(test)]
pub(crate) mod tests;
