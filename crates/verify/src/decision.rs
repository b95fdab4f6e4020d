//! Judges a decision by itself: what it commits to, what is disclosed of it, and whether policy says it again.

use chancery_core::commitment::{Candidate, Opening, fingerprint};
use chancery_core::evidence::Disclosure;
use chancery_core::json::{Pointer, Value};
use chancery_core::signal::Signals;
use chancery_core::statement::Decision;
use chancery_policy::{Bundle, ENGINE, Evaluation};

use crate::artefact::Policy;
use crate::canonical::{all_canonical, is_canonical};
use crate::check::CheckId;
use crate::context::Context;
use crate::entry::{BuildFact, DecisionFacts, Link, Opened};
use crate::tally::{Findings, told};

pub(crate) fn judge(
    context: &Context<'_>,
    decision: Decision,
    opening: Option<Opening>,
    link: Link,
    findings: &mut Findings,
) -> DecisionFacts {
    judge_environment(context, &decision, findings);
    judge_fingerprint(&decision, findings);
    let opened = match &opening {
        None => Opened::No,
        Some(Opening::Partial { .. }) => Opened::Partly,
        Some(Opening::Full { .. }) => Opened::Fully,
    };
    judge_disclosure(context, opened, findings);
    let opens = opening.as_ref().is_some_and(|opening| judge_opening(&decision, opening, findings));
    let policy = judge_bundle(context, &decision, findings);
    let mut reproduced = false;
    if opens && let Some(Opening::Full { signals, candidates, .. }) = &opening {
        reproduced = judge_outcome(policy, &decision, signals, candidates.as_ref(), findings);
    }
    let build = judge_build(context, &decision, findings);
    let Decision { decision: body, execution_state, executed_at, principal, policy: named, .. } = decision;
    DecisionFacts {
        link,
        policy_id: named.id,
        bundle_hash: named.bundle_hash,
        policy: context.policy_by_hash.get(&named.bundle_hash).copied(),
        outcome: body.outcome,
        state: execution_state,
        executed_at,
        principal,
        opening: opened,
        reproduced,
        build,
    }
}

fn judge_environment(context: &Context<'_>, decision: &Decision, findings: &mut Findings) {
    if decision.environment.as_str() == context.ask.environment.as_str() {
        findings.pass(CheckId::Environment);
    } else {
        let reason = format!(
            "the decision was made in the environment `{}`, `{}` was asked for",
            decision.environment, context.ask.environment
        );
        findings.unknown(CheckId::Environment, reason);
    }
}

fn judge_fingerprint(decision: &Decision, findings: &mut Findings) {
    let policy = &decision.policy;
    let found = fingerprint(
        &policy.bundle_hash,
        &policy.id,
        &policy.version,
        &decision.principal,
        &decision.resource,
        &decision.signals_root,
        decision.candidates.as_ref().map(|candidates| &candidates.candidates_root),
    );
    findings.require(CheckId::Fingerprint, found == decision.execution_fingerprint, || {
        format!("what the decision says has the fingerprint {found}")
    });
}

/// The header says `full` or `none` only where that holds for every decision.
fn judge_disclosure(context: &Context<'_>, opened: Opened, findings: &mut Findings) {
    let agrees = match context.header.disclosure {
        Disclosure::Full => opened == Opened::Fully,
        Disclosure::None => opened == Opened::No,
        Disclosure::Partial => true,
    };
    if !agrees {
        let reason = "the header's `disclosure` does not agree with the opening of this decision";
        findings.fail(CheckId::EvidenceFormat, reason);
    }
}

fn judge_opening(decision: &Decision, opening: &Opening, findings: &mut Findings) -> bool {
    let check = CheckId::Opening;
    let (signals, candidates) = match opening.roots() {
        Ok(roots) => roots,
        Err(error) => {
            findings.fail(check, told(&error));
            return false;
        }
    };
    let recorded = decision.candidates.as_ref().map(|candidates| candidates.candidates_root);
    if signals != decision.signals_root {
        findings.fail(check, "the signals are not those that the decision commits to");
        false
    } else if candidates != recorded {
        findings.fail(check, "the candidates are not those that the decision commits to");
        false
    } else {
        findings.pass(check);
        true
    }
}

/// `bundle.hash`, as far as it is about this decision. Gives the bundle where it is in the file.
fn judge_bundle<'a>(
    context: &'a Context<'_>,
    decision: &Decision,
    findings: &mut Findings,
) -> Option<&'a Policy> {
    let named = &decision.policy;
    let at = context.policy_by_hash.get(&named.bundle_hash).copied();
    let Some(policy) = at.and_then(|at| context.policies.get(at)) else {
        let reason = format!("the bundle {} of the decision is not in the file", named.bundle_hash);
        findings.unknown(CheckId::BundleHash, reason);
        return None;
    };
    if policy.id != named.id || policy.version != named.version {
        let reason = format!(
            "the decision names {} {}, but its bundle is {} {}",
            named.id, named.version, policy.id, policy.version
        );
        findings.fail(CheckId::BundleHash, reason);
    }
    Some(policy)
}

fn judge_build(context: &Context<'_>, decision: &Decision, findings: &mut Findings) -> BuildFact {
    if let Some(revoked) = &context.ask.revoked_builds {
        let named = decision.runtime.build_identity.and_then(|hash| context.build_by_hash.get(&hash));
        let build = named.and_then(|at| context.builds.get(*at)?.identity.as_ref());
        if let Some(reason) = revoked.reason(decision, build) {
            findings.fail(CheckId::BuildBinding, reason);
        }
    }
    let Some(named) = &decision.runtime.build_identity else { return BuildFact::Null };
    let Some(at) = context.build_by_hash.get(named).copied() else { return BuildFact::Missing };
    match context.builds.get(at).map(|build| build.binary) {
        Some(Some(binary)) if binary != decision.runtime.binary => BuildFact::OtherBinary(at),
        _ => BuildFact::Known(at),
    }
}

/// `decision.reproduced`: the disclosed signals, typed by the bundle's schema and evaluated by its policies, give
/// what the decision says.
fn judge_outcome(
    policy: Option<&Policy>,
    decision: &Decision,
    signals: &Value,
    candidates: Option<&Value>,
    findings: &mut Findings,
) -> bool {
    let check = CheckId::DecisionReproduced;
    let Some(bundle) = policy.and_then(|policy| policy.bundle.as_ref()) else {
        let reason = "the bundle that decided is not there, or cannot be used";
        findings.unknown(check, reason);
        return false;
    };
    let (typed, typed_candidates) = match typed(bundle, signals, candidates) {
        Ok(typed) => typed,
        Err(fault) => {
            findings.fail(check, format!("the signals are not of the bundle's schema: {fault}"));
            return false;
        }
    };
    let canonical = is_canonical(&typed, signals)
        && typed_candidates
            .as_deref()
            .zip(candidates)
            .is_none_or(|(typed, given)| all_canonical(typed, given));
    if !canonical {
        findings.fail(CheckId::Opening, "a value that was committed to is not the canonical one of its type");
        return false;
    }
    if !bundle.accepts(&decision.principal, &decision.resource) {
        findings.fail(check, "principal and resource are not of the types that the bundle decides on");
        return false;
    }
    let evaluation =
        bundle.evaluate(&decision.principal, &decision.resource, &typed, typed_candidates.as_deref());
    match difference(decision, &evaluation) {
        None => {
            findings.pass(check);
            true
        }
        // Another engine may well have said something else; this one cannot judge it.
        Some(_) if decision.policy.engine != ENGINE => {
            let reason = format!("decided by `{}`; `{ENGINE}` decides otherwise", decision.policy.engine);
            findings.unknown(check, reason);
            false
        }
        Some(difference) => {
            findings.fail(check, difference);
            false
        }
    }
}

type Typed = (Signals, Option<Vec<Candidate>>);

fn typed(bundle: &Bundle, signals: &Value, candidates: Option<&Value>) -> Result<Typed, String> {
    let first =
        |faults: Vec<chancery_core::json::Fault>| faults.first().map(ToString::to_string).unwrap_or_default();
    let root = Pointer::root();
    let typed = bundle.type_signals(signals, &root.member("signals")).map_err(first)?;
    let candidates = candidates
        .map(|list| bundle.type_candidates(list, &root.member("candidates")).map_err(first))
        .transpose()?;
    Ok((typed, candidates))
}

/// What the decision says otherwise than the evaluation; `None` where they agree.
fn difference(decision: &Decision, evaluation: &Evaluation) -> Option<String> {
    Some(match evaluation.difference(decision)? {
        "outcome" => {
            let (said, found) = (&decision.decision.outcome, &evaluation.decision.outcome);
            format!("the decision says `{said}`, policy says `{found}`")
        }
        member => format!("running the policy again gives another `{member}`"),
    })
}
