//! Explanations: what a recorded decision says, in words for the person who reads it.
//!
//! ```text
//! statement ─┐                      customer    what it means for them: the reasons' own texts, nothing of the inside
//! bundle    ─┼─ explain ─> words    agent       the reasons, and every policy with matched or not
//! signals   ─┘                      regulator   the same with the recorded texts
//! ```
//!
//! Pure, and of nothing but these three: the same bytes on every machine and at any later time. What became of the
//! decision afterwards is not in it. Without the signals (erased, or only a part of them is left) every policy is
//! `unknown`, and the explanation says why. The values of signals are never in it.
//!
//! Why a policy did not match is the first of its conditions that is not true: the clauses are taken apart at their
//! `&&`, and each part is evaluated by itself on the same request, in the order in which Cedar does it. That changes
//! nothing, for `&&` asks its right side only where the left one is true. An `unless` clause is one part.
//!
//! Follows Cedar 4.14.1 and formats §4.1.

use std::collections::BTreeSet;
use std::fmt;

use cedar_policy_core::ast::{Literal, Request, SlotEnv, Value, ValueKind};
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;
use chancery_core::commitment::Candidate;
use chancery_core::digest::{BundleHash, Fingerprint};
use chancery_core::ids::{EntityUid, ExecutionId, PolicyId, PolicyVersion};
use chancery_core::signal::Signals;
use chancery_core::statement::{Decision, ErrorCode, ExecutionState};
use serde::Serialize;

use crate::condition::conjuncts;
use crate::context::{entry, whole};
use crate::evaluate::{Slice, Sliced, code};
use crate::manifest::ReasonTexts;
use crate::{Bundle, Evaluation};

mod words;

/// Who an explanation is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// The person that the decision is about.
    Customer,
    /// The person who talks to the customer.
    Agent,
    /// Auditors and supervisors.
    Regulator,
}

impl Audience {
    /// Every audience.
    pub const ALL: [Self; 3] = [Self::Customer, Self::Agent, Self::Regulator];

    /// `customer`, `agent` or `regulator`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Agent => "agent",
            Self::Regulator => "regulator",
        }
    }

    fn of(self, texts: &ReasonTexts) -> &str {
        match self {
            Self::Customer => &texts.customer,
            Self::Agent => &texts.agent,
            Self::Regulator => &texts.regulator,
        }
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not the name of an audience.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an audience is `customer`, `agent` or `regulator`")]
pub struct ParseAudienceError;

impl std::str::FromStr for Audience {
    type Err = ParseAudienceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|audience| audience.as_str() == text).ok_or(ParseAudienceError)
    }
}

/// How much of a decision's signals is there.
#[derive(Clone, Copy, Debug)]
pub enum Disclosed<'a> {
    /// Everything, typed by the bundle that decided.
    Full {
        /// The signals.
        signals: &'a Signals,
        /// The candidates, where the request had any.
        candidates: Option<&'a [Candidate]>,
    },
    /// Some signals were erased.
    Partial,
    /// All signals were erased.
    Erased,
}

/// An explanation of one decision for one audience.
///
/// Its canonical JSON is what is given out. Members that an audience does not see are absent.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Explanation {
    /// Who it is for.
    pub audience: Audience,
    /// What became of the candidates. Not for customers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<CandidatesExplained>,
    /// The outcome as it was decided.
    pub decision: String,
    /// What went wrong in the evaluation. Not for customers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ErrorExplained>,
    /// The execution's fingerprint.
    pub execution_fingerprint: Fingerprint,
    /// The execution.
    pub execution_id: ExecutionId,
    /// The state as it was decided.
    pub execution_state: ExecutionState,
    /// Every outcome in the order in which they are asked. Not for customers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcomes: Option<Vec<OutcomeExplained>>,
    /// The bundle that decided. Not for customers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyNamed>,
    /// The reasons, in the order of the statement; for customers each text once.
    pub reasons: Vec<ReasonExplained>,
    /// Whether evaluating again gives what was recorded; absent without the signals, and for customers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reproduced: Option<bool>,
    /// All of this in sentences, lines ended by LF.
    pub text: String,
    /// Why nothing can be said of single policies. Not for customers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<&'static str>,
}

/// The bundle that decided.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct PolicyNamed {
    /// SHA-256 of its content.
    pub bundle_hash: BundleHash,
    /// The policy.
    pub id: PolicyId,
    /// The version.
    pub version: PolicyVersion,
}

/// One reason.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ReasonExplained {
    /// Its code. Not for customers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The policy that gave it. Not for customers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The bundle's text for the audience.
    pub text: String,
}

/// One evaluation error.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ErrorExplained {
    /// What went wrong.
    pub code: ErrorCode,
    /// In which policy.
    pub policy: String,
    /// The code's text.
    pub text: String,
}

/// What became of the candidates, as recorded.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct CandidatesExplained {
    /// How many there were.
    pub count: u64,
    /// The first of those that were not selected.
    pub excluded: Vec<ExcludedExplained>,
    /// How many were not selected.
    pub excluded_total: u64,
    /// The ids of those that were selected, in request order.
    pub selected: Vec<String>,
    /// Whether `excluded` was cut.
    pub truncated: bool,
}

/// A candidate that was not selected.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ExcludedExplained {
    /// The code of the first reason, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The candidate.
    pub id: String,
    /// The policy that gave the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The reason's text for the audience.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// One outcome with the policies of its action.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct OutcomeExplained {
    /// Whether policy allows it: a permit matched and no forbid did. Absent without the signals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<bool>,
    /// Whether it is the decision's outcome.
    pub chosen: bool,
    /// The outcome.
    pub outcome: String,
    /// Every policy whose scope can match the outcome's action, by id.
    pub policies: Vec<PolicyExplained>,
}

/// One policy on one outcome.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct PolicyExplained {
    /// The first condition that was not true, or that could not be evaluated: Cedar text on one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// What went wrong where `result` is `error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorCode>,
    /// The policy's `@id`.
    pub policy: String,
    /// The code of its `@reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it came to.
    pub result: PolicyResult,
}

/// What a policy came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyResult {
    /// All of its conditions were true.
    Matched,
    /// One of its conditions was not.
    NotMatched,
    /// One of its conditions could not be evaluated, which blocks the execution.
    Error,
    /// The signals are not there.
    Unknown,
}

impl Bundle {
    /// Explains a decision that this bundle made.
    ///
    /// `decision` names this bundle's hash, and the signals are those that it commits to; the caller sees to both.
    #[must_use]
    pub fn explain(&self, decision: &Decision, disclosed: Disclosed<'_>, audience: Audience) -> Explanation {
        let inside = audience != Audience::Customer;
        let (outcomes, reproduced, unavailable) = match disclosed {
            _ if !inside => (None, None, None),
            Disclosed::Full { signals, candidates } => {
                let again = self.evaluate(&decision.principal, &decision.resource, signals, candidates);
                let outcomes = self.outcomes(decision, Some(signals));
                (Some(outcomes), Some(again.reproduces(decision)), None)
            }
            Disclosed::Partial => (Some(self.outcomes(decision, None)), None, Some(words::PARTIAL)),
            Disclosed::Erased => (Some(self.outcomes(decision, None)), None, Some(words::ERASED)),
        };
        let body = &decision.decision;
        let errors = body.errors.iter().filter(|_| inside).map(|error| ErrorExplained {
            code: error.code,
            policy: error.policy.clone(),
            text: error.text.clone(),
        });
        let policy = inside.then(|| PolicyNamed {
            bundle_hash: decision.policy.bundle_hash,
            id: decision.policy.id.clone(),
            version: decision.policy.version.clone(),
        });
        let mut explanation = Explanation {
            audience,
            candidates: self.candidates_explained(decision, audience),
            decision: body.outcome.clone(),
            errors: errors.collect(),
            execution_fingerprint: decision.execution_fingerprint,
            execution_id: decision.execution_id.clone(),
            execution_state: decision.execution_state,
            outcomes,
            policy,
            reasons: self.reasons_explained(decision, audience),
            reproduced,
            text: String::new(),
            unavailable,
        };
        explanation.text = words::text(&explanation);
        explanation
    }

    fn reasons_explained(&self, decision: &Decision, audience: Audience) -> Vec<ReasonExplained> {
        let texts = decision.decision.reasons.iter().map(|reason| {
            // The recorded text is the bundle's own for regulators.
            let text = match (audience, self.manifest().reason(&reason.code)) {
                (Audience::Regulator, _) | (_, None) => &reason.text,
                (_, Some(texts)) => audience.of(texts),
            };
            (reason, text.to_owned())
        });
        if audience != Audience::Customer {
            let named = texts.map(|(reason, text)| ReasonExplained {
                code: Some(reason.code.clone()),
                policy: Some(reason.policy.clone()),
                text,
            });
            return named.collect();
        }
        // What a blocked execution would have come to is nothing to tell a customer.
        if decision.execution_state == ExecutionState::Blocked {
            return Vec::new();
        }
        let mut told = BTreeSet::new();
        texts
            .filter(|(_, text)| told.insert(text.clone()))
            .map(|(_, text)| ReasonExplained { code: None, policy: None, text })
            .collect()
    }

    fn candidates_explained(&self, decision: &Decision, audience: Audience) -> Option<CandidatesExplained> {
        let recorded = decision.candidates.as_ref().filter(|_| audience != Audience::Customer)?;
        let excluded = recorded.excluded.iter().map(|excluded| {
            let texts = excluded.code.as_deref().and_then(|code| self.manifest().reason(code));
            ExcludedExplained {
                code: excluded.code.clone(),
                id: excluded.id.clone(),
                policy: excluded.policy.clone(),
                text: texts.map(|texts| audience.of(texts).to_owned()),
            }
        });
        Some(CandidatesExplained {
            count: recorded.count,
            excluded: excluded.collect(),
            excluded_total: recorded.excluded_total,
            selected: recorded.selected.iter().map(|selected| selected.id.clone()).collect(),
            truncated: recorded.truncated,
        })
    }

    fn outcomes(&self, decision: &Decision, signals: Option<&Signals>) -> Vec<OutcomeExplained> {
        let slices = self.slices().iter();
        let explained = slices.map(|slice| {
            let request =
                signals.and_then(|signals| request(&decision.principal, slice, &decision.resource, signals));
            let policies =
                slice.policies.iter().map(|policy| self.policy_explained(policy, request.as_ref()));
            let mut policies: Vec<_> = policies.collect();
            policies.sort_by(|a, b| a.policy.cmp(&b.policy));
            let matched =
                |effect| policies.iter().any(|p| p.effect == effect && p.result == PolicyResult::Matched);
            OutcomeExplained {
                allowed: request.is_some().then(|| matched(PERMIT) && !matched(FORBID)),
                chosen: slice.outcome == decision.decision.outcome,
                outcome: slice.outcome.clone(),
                policies,
            }
        });
        explained.collect()
    }

    fn policy_explained(&self, policy: &Sliced, request: Option<&Request>) -> PolicyExplained {
        let (result, condition, error) = match request.map(|request| self.first_unmet(policy, request)) {
            None => (PolicyResult::Unknown, None, None),
            Some(None) => (PolicyResult::Matched, None, None),
            Some(Some(Unmet { condition, error: None })) => (PolicyResult::NotMatched, Some(condition), None),
            Some(Some(Unmet { condition, error })) => (PolicyResult::Error, Some(condition), error),
        };
        PolicyExplained {
            condition,
            effect: if policy.permits { PERMIT } else { FORBID },
            error,
            policy: policy.id.clone(),
            reason: self.reason_of(&policy.id).map(str::to_owned),
            result,
        }
    }

    /// The first condition of the policy, its scope included, that does not hold; none where the policy matches.
    fn first_unmet(&self, policy: &Sliced, request: &Request) -> Option<Unmet> {
        let evaluator =
            Evaluator::new(request.clone(), self.entities().as_ref(), Extensions::all_available());
        conjuncts(&policy.condition).into_iter().find_map(|part| {
            let error = match evaluator.interpret(part, &SlotEnv::new()) {
                Ok(Value { value: ValueKind::Lit(Literal::Bool(true)), .. }) => return None,
                Ok(Value { value: ValueKind::Lit(Literal::Bool(false)), .. }) => None,
                Ok(_) => Some(ErrorCode::Type),
                Err(error) => Some(code(&error)),
            };
            Some(Unmet { condition: words::source(part), error })
        })
    }
}

const PERMIT: &str = "permit";
const FORBID: &str = "forbid";

/// A condition that does not hold, and what went wrong if it could not be evaluated.
struct Unmet {
    condition: String,
    error: Option<ErrorCode>,
}

/// What Cedar was asked for the outcome; `None` as [`Bundle::evaluate`] would record it, for texts that Cedar refuses.
fn request(principal: &EntityUid, slice: &Slice, resource: &EntityUid, signals: &Signals) -> Option<Request> {
    let (principal, action, resource) = (entry(principal)?, slice.action.clone(), entry(resource)?);
    Some(Request::new_unchecked(principal, action, resource, Some(whole(signals)?)))
}

impl Evaluation {
    /// Is this what the decision says: outcome, state, all lists, and the candidates?
    #[must_use]
    pub fn reproduces(&self, decision: &Decision) -> bool {
        self.difference(decision).is_none()
    }

    /// The first member of the statement that the evaluation gives otherwise; none where they agree.
    #[must_use]
    pub fn difference(&self, decision: &Decision) -> Option<&'static str> {
        let (said, found) = (&decision.decision, &self.decision);
        let same_candidates = match (&decision.candidates, &self.candidates) {
            (None, None) => true,
            (Some(said), Some(found)) => {
                said.count == found.count
                    && said.excluded_total == found.excluded_total
                    && said.truncated == found.truncated
                    && said.selected == found.selected
                    && said.excluded == found.excluded
            }
            _ => false,
        };
        let members = [
            ("outcome", said.outcome == found.outcome),
            ("determining", said.determining == found.determining),
            ("reasons", said.reasons == found.reasons),
            ("errors", said.errors == found.errors),
            ("requiresOverride", said.requires_override == found.requires_override),
            ("executionState", decision.execution_state == self.state),
            ("candidates", same_candidates),
        ];
        members.into_iter().find_map(|(name, same)| (!same).then_some(name))
    }
}

#[cfg(test)]
mod tests;
