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

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, EntityUid as CedarUid, EvaluationError, Request,
};
use chancery_core::commitment::Candidate;
use chancery_core::digest::CandidatesRoot;
use chancery_core::ids::EntityUid;
use chancery_core::signal::Signals;
use chancery_core::statement::{
    self, Candidates, DecisionBody, EXCLUDED_MAX, ErrorCode, Excluded, ExecutionState, Reason, Selected,
};

use crate::Bundle;
use crate::context::{context, uid};

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
    allowed: Option<(&'b str, BTreeSet<&'b str>)>,
    /// The forbids that were satisfied, for any outcome.
    forbids: BTreeSet<&'b str>,
    errors: BTreeSet<(String, ErrorCode)>,
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
        let uids = (
            uid(principal.type_name(), principal.id()),
            uid(resource.type_name(), resource.id()),
            context(signals),
        );
        let (Some(principal), Some(resource), Some(context)) = uids else {
            verdict.errors.insert((NO_POLICY.to_owned(), ErrorCode::Other));
            return verdict;
        };
        for slice in self.slices() {
            let answer = self.ask(&principal, &slice.action, &resource, &context, &slice.policies);
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

    fn ask(
        &self,
        principal: &CedarUid,
        action: &CedarUid,
        resource: &CedarUid,
        context: &Context,
        policies: &cedar_policy::PolicySet,
    ) -> Answer<'_> {
        // The signals are typed already; Cedar would only do the same again.
        let request =
            Request::new(principal.clone(), action.clone(), resource.clone(), context.clone(), None);
        let Ok(request) = request else {
            let errors = BTreeSet::from([(NO_POLICY.to_owned(), ErrorCode::Other)]);
            return Answer { decision: Decision::Deny, reasons: BTreeSet::new(), errors };
        };
        let response = Authorizer::new().is_authorized(&request, policies, self.entities());
        let diagnostics = response.diagnostics();
        // Names come from the bundle, which lives longer than the response.
        let reasons = diagnostics.reason().filter_map(|id| self.own_name(id.as_ref())).collect();
        let errors = diagnostics.errors().map(|error| match error {
            AuthorizationError::PolicyEvaluationError(error) => {
                let policy: &str = error.policy_id().as_ref();
                (policy.to_owned(), code(error.inner()))
            }
        });
        Answer { decision: response.decision(), reasons, errors: errors.collect() }
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
    fn body(&self, request: &Verdict<'_>, errors: BTreeSet<(String, ErrorCode)>) -> DecisionBody {
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
                .map(|(policy, code)| statement::EvaluationError::new(code, policy))
                .collect(),
        }
    }
}

struct Answer<'b> {
    decision: Decision,
    reasons: BTreeSet<&'b str>,
    errors: BTreeSet<(String, ErrorCode)>,
}

/// The code of what Cedar reports (formats §4.1). Cedar's own words never get into a record.
fn code(error: &EvaluationError) -> ErrorCode {
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

/// Policies by the action that their scope can match.
pub(crate) struct Slice {
    pub(crate) outcome: String,
    pub(crate) action: CedarUid,
    pub(crate) policies: cedar_policy::PolicySet,
}

/// The code of each policy's `@reason`, by the policy's name.
pub(crate) type Names = BTreeMap<String, Option<String>>;

#[cfg(test)]
mod tests;
