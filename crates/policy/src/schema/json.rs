//! Cedar's JSON form of a schema, as much of it as is read here.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Namespaces by name; the unnamed one is `""`.
#[derive(Deserialize)]
pub(super) struct Fragment(pub(super) BTreeMap<String, Namespace>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Namespace {
    #[serde(default)]
    pub(super) common_types: BTreeMap<String, Type>,
    pub(super) entity_types: BTreeMap<String, EntityType>,
    pub(super) actions: BTreeMap<String, Action>,
}

#[derive(Deserialize)]
pub(super) struct EntityType {
    pub(super) shape: Option<Type>,
    pub(super) tags: Option<Type>,
    /// The only ids, for an enumerated type.
    #[serde(rename = "enum")]
    pub(super) choices: Option<Vec<String>>,
    #[serde(default)]
    pub(super) external: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Action {
    pub(super) applies_to: Option<AppliesTo>,
    #[serde(default)]
    pub(super) external: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AppliesTo {
    pub(super) principal_types: Vec<String>,
    pub(super) resource_types: Vec<String>,
    pub(super) context: Option<Type>,
}

impl Action {
    /// Can anybody ask for this action, or is it only a group of others?
    pub(super) fn is_asked(&self) -> bool {
        self.applies_to
            .as_ref()
            .is_some_and(|applies| !applies.principal_types.is_empty() || !applies.resource_types.is_empty())
    }
}

/// A type: `type` is `Set`, `Record`, `Entity`, `Extension`, the name of a common type, or that of a built-in one.
#[derive(Deserialize)]
pub(super) struct Type {
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Of a `Set`.
    pub(super) element: Option<Box<Type>>,
    /// Of a `Record`.
    pub(super) attributes: Option<BTreeMap<String, Type>>,
    /// Of an `Entity` or `Extension`.
    pub(super) name: Option<String>,
    /// Of an attribute; absent: required.
    pub(super) required: Option<bool>,
}

/// `name` in `namespace`, as references write it.
pub(super) fn qualified(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}::{name}") }
}
