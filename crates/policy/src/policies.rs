//! The `*.cedar` files: named policies with reasons, strictly validated, and sliced by action (formats §7).
//!
//! ```text
//! @id("refer-high-fraud")                                       required, unique in the bundle
//! @reason("FRAUD_SCORE")                                        optional, a code of the manifest
//! permit (principal, action == Action::"refer", resource)       its action says in which slice it goes
//! when { context.fraudScore.greaterThan(decimal("0.8")) };
//! ```
//!
//! Cedar evaluates every policy of a set for every request, and names policies by their position. So each action
//! has a set of its own, with the policies whose scope can match it, and policies are renamed to their `@id`.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::ffi::DetailedError;
use cedar_policy::{
    ActionConstraint, Effect, Entities, EntityUid, Policy, PolicyId, PolicySet, Schema, ValidationMode,
    Validator,
};
use chancery_core::signal::Attributes;

use crate::condition::reads;
use crate::evaluate::Sliced;
use crate::fault::{Cause, Fault, Place};
use crate::guard::Guard;
use crate::limits::{NAME_BYTES_MAX, POLICIES_MAX};
use crate::manifest::{Draft, is_name};
use crate::schema::cedar;
use crate::text::{self, Language};

/// A policy with its name, and where it stands.
pub(crate) struct Named {
    pub(crate) id: String,
    pub(crate) file: String,
    pub(crate) place: Option<Place>,
    pub(crate) reason: Option<String>,
    pub(crate) policy: Policy,
}

/// Parses the files (path, text). Adds faults; returns what has a name of its own.
pub(crate) fn load(
    files: &[(&str, &str)],
    draft: &Draft,
    faults: &mut Vec<Fault>,
) -> BTreeMap<String, Named> {
    let mut named: BTreeMap<String, Named> = BTreeMap::new();
    let mut count = 0_usize;
    for (file, text) in files {
        let starts = match text::check(text, Language::Policies) {
            Ok(starts) => starts,
            Err((at, cause)) => {
                faults.push(Fault::at(*file, text, at, cause));
                continue;
            }
        };
        count += starts.len();
        if count > POLICIES_MAX {
            // Before the parser: its work should be bounded, too.
            faults
                .push(Fault::new(*file, Cause::TooMany { what: "policies", max: POLICIES_MAX, got: count }));
            return named;
        }
        let set: PolicySet = match text.parse() {
            Ok(set) => set,
            Err(errors) => {
                let errors: cedar_policy::ParseErrors = errors;
                faults.extend(errors.iter().flat_map(|error| cedar(file, text, &DetailedError::from(error))));
                continue;
            }
        };
        let offset = |id: &PolicyId| offset_of(id, &starts);
        for template in set.templates() {
            faults.push(Fault::at(*file, text, offset(template.id()), Cause::Template));
        }
        // The order of the set is not that of the text.
        let mut policies: Vec<_> = set.policies().map(|policy| (offset(policy.id()), policy)).collect();
        policies.sort_by_key(|(at, _)| *at);
        for (at, policy) in policies {
            match name(policy, draft) {
                Ok((id, reason)) => {
                    if let Some(first) = named.get(&id) {
                        let place = first.place.map(|place| format!(":{place}")).unwrap_or_default();
                        let first = format!("{}{place}", first.file);
                        faults.push(Fault::at(*file, text, at, Cause::IdTwice { id, first }));
                        continue;
                    }
                    let policy = policy.new_id(PolicyId::new(&id));
                    let (place, file) = (Some(Place::of(text, at)), (*file).to_owned());
                    named.insert(id.clone(), Named { id, file, place, reason, policy });
                }
                Err(causes) => {
                    faults.extend(causes.into_iter().map(|cause| Fault::at(*file, text, at, cause)));
                }
            }
        }
    }
    if count == 0 && !faults.iter().any(|fault| fault.file.ends_with(".cedar")) {
        faults.push(Fault::new("*.cedar", Cause::Missing));
    }
    named
}

/// Cedar names the policies of a text `policy0`, `policy1`, … in their order.
fn offset_of(id: &PolicyId, starts: &[usize]) -> usize {
    let text: &str = id.as_ref();
    let index = text.strip_prefix("policy").and_then(|number| number.parse::<usize>().ok());
    index.and_then(|index| starts.get(index)).copied().unwrap_or(0)
}

/// `@id` and `@reason`.
fn name(policy: &Policy, draft: &Draft) -> Result<(String, Option<String>), Vec<Cause>> {
    let mut causes = Vec::new();
    let id = policy.annotation("id");
    match id {
        None => causes.push(Cause::IdMissing),
        Some(id) if !is_name(id) => causes.push(Cause::IdForm { max: NAME_BYTES_MAX, id: id.to_owned() }),
        Some(_) => {}
    }
    let reason = policy.annotation("reason");
    if let (Some(code), Some(reasons)) = (reason, &draft.reasons)
        && !reasons.contains_key(code)
    {
        let policy = id.unwrap_or("without @id").to_owned();
        causes.push(Cause::ReasonUnknown { policy, code: code.to_owned() });
    }
    match id {
        Some(id) if causes.is_empty() => Ok((id.to_owned(), reason.map(str::to_owned))),
        _ => Err(causes),
    }
}

/// Validates all policies strictly. Adds faults, and warnings where Cedar has them.
pub(crate) fn validate(
    named: &BTreeMap<String, Named>,
    texts: &BTreeMap<&str, &str>,
    schema: &Schema,
    faults: &mut Vec<Fault>,
    warnings: &mut Vec<Fault>,
) {
    let set = set(named.values().map(|named| &named.policy));
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    // One fault is reported once for each action that the policy applies to.
    let mut seen = BTreeSet::new();
    let mut report = |id: &PolicyId, error: DetailedError, odd: bool, into: &mut Vec<Fault>| {
        let policy: &str = id.as_ref();
        let prefix = format!("for policy `{policy}`, ");
        let message = error.message.strip_prefix(&prefix).unwrap_or(&error.message).replace('\n', ", ");
        let named = named.get(policy);
        let file = named.map_or("*.cedar", |named| named.file.as_str());
        let offset = error.source_locations.first().map(|location| location.loc.start);
        if !seen.insert((policy.to_owned(), offset, odd)) {
            return;
        }
        let policy = policy.to_owned();
        let cause = if odd {
            Cause::Odd { policy, message }
        } else {
            Cause::Invalid { policy, message, hint: error.help }
        };
        let place = match (offset, texts.get(file)) {
            (Some(offset), Some(text)) => Some(Place::of(text, offset)),
            _ => named.and_then(|named| named.place),
        };
        into.push(Fault { file: file.to_owned(), place, cause });
    };
    for error in result.validation_errors() {
        report(error.policy_id(), DetailedError::from(error), false, faults);
    }
    for warning in result.validation_warnings() {
        report(warning.policy_id(), DetailedError::from(warning), true, warnings);
    }
}

/// A set of policies with distinct names.
pub(crate) fn set<'p>(policies: impl Iterator<Item = &'p Policy>) -> PolicySet {
    let mut set = PolicySet::new();
    for policy in policies {
        // INVARIANT: names are distinct, and `add` refuses nothing else: templates were refused before.
        let _ = set.add(policy.clone());
    }
    set
}

/// Can the scope of `policy` match the action? `actions` holds the schema's action hierarchy.
pub(crate) fn applies(policy: &Policy, action: &EntityUid, actions: &Entities) -> bool {
    let within = |group: &EntityUid| group == action || actions.is_ancestor_of(group, action);
    match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(only) => only == *action,
        ActionConstraint::In(groups) => groups.iter().any(within),
    }
}

/// The policy as evaluation wants it.
pub(crate) fn sliced(named: &Named, attributes: &Attributes) -> Sliced {
    let policy: &cedar_policy_core::ast::Policy = named.policy.as_ref();
    let condition = policy.condition();
    Sliced {
        id: named.id.clone(),
        permits: named.policy.effect() == Effect::Permit,
        reads: reads(&condition),
        condition,
        guard: Guard::new(policy.non_scope_constraints(), attributes),
    }
}
