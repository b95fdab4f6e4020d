//! `schema.cedarschema`: which actions there are, what they apply to, and which signals they have (formats §2, §7).
//!
//! ```text
//! text ── Cedar ──> JSON form ── sizes and depths ──> Cedar's schema, for validation
//!                       └─────── resolved ─────────> Attributes, for typing signals
//! ```
//!
//! Cedar does not hand out the resolved type of a context, so that it is resolved here, from the JSON form in which
//! Cedar has already resolved what each name means. That form is measured before Cedar writes the types out, which
//! can take time and memory exponential in the text.

use std::collections::BTreeMap;

use cedar_policy::ffi::DetailedError;
use cedar_policy::{EntityUid, Schema, schema_str_to_json_with_resolved_types};
use chancery_core::signal::Attributes;

use crate::fault::{Cause, Fault};
use crate::limits::{SCHEMA_BYTES_MAX, SCHEMA_TYPES_MAX, TYPE_NODES_MAX};
use crate::manifest::Draft;
use crate::text::{self, Language};

mod json;
mod types;

use json::{Action, Fragment};
use types::{Resolved, Types};

pub(crate) const FILE: &str = "schema.cedarschema";

/// A complete schema, and what the manifest needs of it. It fits the manifest if it came without faults.
pub(crate) struct Loaded {
    pub(crate) schema: Schema,
    pub(crate) attributes: Attributes,
    /// The action of each outcome, in the manifest's order.
    pub(crate) actions: Vec<EntityUid>,
}

/// Reads the schema and adds its faults. `None` if policies cannot even be validated against it.
pub(crate) fn load(text: &str, draft: &Draft, faults: &mut Vec<Fault>) -> Option<Loaded> {
    if text.len() > SCHEMA_BYTES_MAX {
        faults.push(Fault::new(FILE, Cause::FileBytes { max: SCHEMA_BYTES_MAX, got: text.len() }));
        return None;
    }
    if let Err((at, cause)) = text::check(text, Language::Schema) {
        faults.push(Fault::at(FILE, text, at, cause));
        return None;
    }
    let json = match schema_str_to_json_with_resolved_types(text) {
        Ok((json, _)) => json,
        Err(error) => {
            faults.extend(cedar(FILE, text, &DetailedError::from(&error)));
            return None;
        }
    };
    let fragment: Fragment = match serde_json::from_value(json) {
        Ok(fragment) => fragment,
        Err(error) => {
            let cause = Cause::Cedar { message: format!("not understood: {error}"), hint: None };
            faults.push(Fault::new(FILE, cause));
            return None;
        }
    };
    let mut types = measure(&fragment, faults)?;
    let (schema, _) = match Schema::from_cedarschema_str(text) {
        Ok(schema) => schema,
        Err(error) => {
            faults.extend(cedar(FILE, text, &DetailedError::from(&error)));
            return None;
        }
    };
    let (attributes, actions) = fit(&fragment, &mut types, draft, faults);
    // Cedar validates only against a complete schema.
    schema.is_complete().then_some(Loaded { schema, attributes, actions })
}

/// What Cedar says, with the place of the first label in `text`.
pub(crate) fn cedar(file: &str, text: &str, error: &DetailedError) -> Vec<Fault> {
    let mut faults = Vec::new();
    let label = error.source_locations.first();
    let mut message = error.message.replace('\n', ", ");
    if let Some(label) = label.and_then(|location| location.label.as_deref()) {
        message = format!("{message} ({label})");
    }
    let cause = Cause::Cedar { message, hint: error.help.clone() };
    faults.push(match label {
        Some(location) => Fault::at(file, text, location.loc.start, cause),
        None => Fault::new(file, cause),
    });
    for related in &error.related {
        faults.extend(cedar(file, text, related));
    }
    faults
}

/// Counts and measures everything that Cedar will write out; `None` if it is too much.
fn measure<'f>(fragment: &'f Fragment, faults: &mut Vec<Fault>) -> Option<Types<'f>> {
    let before = faults.len();
    let count = |of: fn(&json::Namespace) -> usize| fragment.0.values().map(of).sum::<usize>();
    for (what, got) in [
        ("entity types", count(|namespace| namespace.entity_types.len())),
        ("common types", count(|namespace| namespace.common_types.len())),
        ("actions", count(|namespace| namespace.actions.len())),
    ] {
        if got > SCHEMA_TYPES_MAX {
            faults.push(Fault::new(FILE, Cause::TooMany { what, max: SCHEMA_TYPES_MAX, got }));
        }
    }
    if faults.len() > before {
        return None;
    }
    let mut types = Types::new(fragment);
    let mut nodes = 0_usize;
    let mut add = |of: String, ty, faults: &mut Vec<Fault>| match types.measure(ty) {
        Ok(size) => nodes = nodes.saturating_add(size.nodes),
        Err(max) => faults.push(Fault::new(FILE, Cause::TypeDepth { of, max })),
    };
    for (namespace, content) in &fragment.0 {
        for (name, ty) in &content.common_types {
            add(format!("the common type `{}`", json::qualified(namespace, name)), ty, faults);
        }
        for (name, entity) in &content.entity_types {
            for ty in entity.shape.iter().chain(&entity.tags) {
                add(format!("the entity type `{}`", json::qualified(namespace, name)), ty, faults);
            }
        }
        for (name, action) in &content.actions {
            for ty in action.applies_to.iter().filter_map(|applies| applies.context.as_ref()) {
                add(format!("the context of the action `{name}`"), ty, faults);
            }
        }
    }
    if nodes > TYPE_NODES_MAX {
        faults.push(Fault::new(FILE, Cause::TypeNodes { max: TYPE_NODES_MAX }));
    }
    (faults.len() == before).then_some(types)
}

/// Compares the schema with the manifest. What it returns counts only if it adds no fault.
fn fit(
    fragment: &Fragment,
    types: &mut Types<'_>,
    draft: &Draft,
    faults: &mut Vec<Fault>,
) -> (Attributes, Vec<EntityUid>) {
    let mut add = |cause| faults.push(Fault::new(FILE, cause));
    for (namespace, content) in &fragment.0 {
        for (name, entity) in &content.entity_types {
            let name = json::qualified(namespace, name);
            if entity.external {
                add(Cause::External { name });
            } else if entity.choices.is_some() {
                for (member, own) in [("principal", &draft.principal), ("resource", &draft.resource)] {
                    if own.as_ref() == Some(&name) {
                        let of = format!("the manifest's `{member}`");
                        add(Cause::Enumerated { of, name: name.clone() });
                    }
                }
            }
        }
        for (name, _) in content.actions.iter().filter(|(_, action)| action.external) {
            add(Cause::External { name: name.clone() });
        }
    }

    // Actions that apply to nothing are groups of actions.
    let mut found: BTreeMap<&str, Vec<(&str, &Action)>> = BTreeMap::new();
    for (namespace, content) in &fragment.0 {
        for (name, action) in content.actions.iter().filter(|(_, action)| action.is_asked()) {
            found.entry(name).or_default().push((namespace, action));
        }
    }
    let outcomes = draft.outcomes.as_deref();
    if let Some(outcomes) = outcomes {
        for outcome in outcomes.iter().filter(|outcome| !found.contains_key(outcome.as_str())) {
            add(Cause::ActionMissing { outcome: outcome.clone() });
        }
        for action in found.keys().filter(|name| !outcomes.iter().any(|outcome| outcome == *name)) {
            add(Cause::ActionExtra { action: (*action).to_owned() });
        }
    }
    for (outcome, _) in found.iter().filter(|(_, actions)| actions.len() > 1) {
        add(Cause::ActionTwice { outcome: (*outcome).to_owned() });
    }

    let mut first: Option<(&str, Attributes)> = None;
    for (name, action) in
        found.iter().flat_map(|(name, actions)| actions.iter().map(move |(_, a)| (*name, *a)))
    {
        let Some(applies) = &action.applies_to else { continue };
        for (member, expected, own) in [
            ("principal", &draft.principal, &applies.principal_types),
            ("resource", &draft.resource, &applies.resource_types),
        ] {
            let Some(expected) = expected else { continue };
            if own.len() != 1 || own.first() != Some(expected) {
                let found = match own.as_slice() {
                    [] => "none".to_owned(),
                    types => format!("`{}`", types.join("`, `")),
                };
                let (action, expected) = (name.to_owned(), expected.clone());
                add(Cause::ActionApplies { action, member, expected, found });
            }
        }
        let attributes = match applies.context.as_ref().map(|context| types.resolve("", context)) {
            None => Attributes::default(),
            Some(Ok(Resolved::Record(attributes))) => attributes,
            Some(Ok(Resolved::Other)) => {
                add(Cause::ContextType { action: name.to_owned() });
                continue;
            }
            Some(Err(causes)) => {
                // All actions have the same context, so that one list of faults will do.
                if first.is_none() {
                    causes.into_iter().for_each(&mut add);
                }
                first.get_or_insert_with(|| (name, Attributes::default()));
                continue;
            }
        };
        match &first {
            None => first = Some((name, attributes)),
            Some((other, expected)) => {
                if let Some(attribute) = types::first_difference(expected, &attributes) {
                    let (action, other) = (name.to_owned(), (*other).to_owned());
                    add(Cause::ActionContext { action, other, attribute });
                }
            }
        }
    }

    let actions = outcomes.unwrap_or_default().iter().filter_map(|outcome| {
        let (namespace, _) = found.get(outcome.as_str())?.first()?;
        let type_name = json::qualified(namespace, "Action").parse().ok()?;
        Some(EntityUid::from_type_name_and_id(type_name, cedar_policy::EntityId::new(outcome)))
    });
    let actions: Vec<EntityUid> = actions.collect();
    (first.map(|(_, attributes)| attributes).unwrap_or_default(), actions)
}

#[cfg(test)]
mod tests;
