//! Measures and resolves the types of a schema.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chancery_core::signal::{Attribute, Attributes, Type as SignalType};

use super::json::{Fragment, Type, qualified};
use crate::fault::Cause;
use crate::limits::TYPE_DEPTH_MAX;

/// How large a type is when it is written out.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) nodes: usize,
    /// Records, sets and references in each other.
    depth: usize,
}

pub(super) struct Types<'f> {
    common: BTreeMap<String, &'f Type>,
    enumerated: BTreeSet<String>,
    sizes: BTreeMap<String, Size>,
    /// Common types that are being measured: one that is met again refers to itself.
    open: BTreeSet<String>,
}

pub(super) enum Resolved {
    Record(Attributes),
    Other,
}

impl<'f> Types<'f> {
    pub(super) fn new(fragment: &'f Fragment) -> Self {
        let mut common = BTreeMap::new();
        let mut enumerated = BTreeSet::new();
        for (namespace, content) in &fragment.0 {
            common.extend(content.common_types.iter().map(|(name, ty)| (qualified(namespace, name), ty)));
            let choices = content.entity_types.iter().filter(|(_, entity)| entity.choices.is_some());
            enumerated.extend(choices.map(|(name, _)| qualified(namespace, name)));
        }
        Self { common, enumerated, sizes: BTreeMap::new(), open: BTreeSet::new() }
    }

    /// The common type that a type refers to. Cedar reserves the names of these four.
    fn referred(&self, ty: &Type) -> Option<&'f Type> {
        match ty.kind.as_str() {
            "Set" | "Record" | "Entity" | "Extension" => None,
            name => self.common.get(name).copied(),
        }
    }

    /// Measures a type without writing it out. Recurses at most [`TYPE_DEPTH_MAX`] deep.
    ///
    /// The error is the depth that it exceeds.
    pub(super) fn measure(&mut self, ty: &Type) -> Result<Size, usize> {
        self.measure_at(ty, 0)
    }

    fn measure_at(&mut self, ty: &Type, level: usize) -> Result<Size, usize> {
        if level > TYPE_DEPTH_MAX {
            return Err(TYPE_DEPTH_MAX);
        }
        let mut size = Size { nodes: 1, depth: 0 };
        if let Some(common) = self.referred(ty) {
            if !self.sizes.contains_key(&ty.kind) {
                if !self.open.insert(ty.kind.clone()) {
                    return Err(TYPE_DEPTH_MAX);
                }
                let inner = self.measure_at(common, level + 1);
                self.open.remove(&ty.kind);
                self.sizes.insert(ty.kind.clone(), inner?);
            }
            if let Some(inner) = self.sizes.get(&ty.kind) {
                size = Size { nodes: inner.nodes.saturating_add(1), depth: inner.depth + 1 };
            }
        }
        for inner in
            ty.element.iter().map(AsRef::as_ref).chain(ty.attributes.iter().flat_map(BTreeMap::values))
        {
            let inner = self.measure_at(inner, level + 1)?;
            size.nodes = size.nodes.saturating_add(inner.nodes);
            size.depth = size.depth.max(inner.depth + 1);
        }
        // Types that were measured before are not walked again, so that the level alone does not bound the depth.
        if level + size.depth > TYPE_DEPTH_MAX { Err(TYPE_DEPTH_MAX) } else { Ok(size) }
    }

    /// Writes out the type of a context; it has been measured.
    pub(super) fn resolve(&self, signal: &str, ty: &Type) -> Result<Resolved, Vec<Cause>> {
        let mut causes = Vec::new();
        let resolved = self.written_out(signal, ty, &mut causes);
        if !causes.is_empty() {
            return Err(causes);
        }
        Ok(match resolved {
            Some(SignalType::Record(attributes)) => Resolved::Record(attributes),
            _ => Resolved::Other,
        })
    }

    fn written_out(&self, signal: &str, ty: &Type, causes: &mut Vec<Cause>) -> Option<SignalType> {
        if let Some(common) = self.referred(ty) {
            return self.written_out(signal, common, causes);
        }
        let builtin = match ty.kind.as_str() {
            "Set" => {
                let element = self.written_out(signal, ty.element.as_deref()?, causes)?;
                return Some(SignalType::Set(Box::new(element)));
            }
            "Record" => {
                let mut attributes = Attributes::default();
                for (name, member) in ty.attributes.iter().flatten() {
                    let path = if signal.is_empty() { name.clone() } else { format!("{signal}.{name}") };
                    if let Some(ty) = self.written_out(&path, member, causes) {
                        let required = member.required.unwrap_or(true);
                        attributes.0.insert(name.as_str().into(), Attribute { ty, required });
                    }
                }
                return Some(SignalType::Record(attributes));
            }
            "Entity" => {
                let name = ty.name.as_deref()?;
                if self.enumerated.contains(name) {
                    let of = format!("the signal `{signal}`");
                    causes.push(Cause::Enumerated { of, name: name.to_owned() });
                    return None;
                }
                return Some(SignalType::Entity(Arc::from(name)));
            }
            "Extension" => ty.name.as_deref()?,
            name => name.strip_prefix("__cedar::").unwrap_or(name),
        };
        Some(match builtin {
            "Bool" | "Boolean" => SignalType::Bool,
            "Long" => SignalType::Long,
            "String" => SignalType::String,
            "decimal" => SignalType::Decimal,
            "datetime" => SignalType::Datetime,
            "duration" => SignalType::Duration,
            "ipaddr" => SignalType::Ipaddr,
            name => {
                causes.push(Cause::SignalType { signal: signal.to_owned(), name: name.to_owned() });
                return None;
            }
        })
    }
}

/// The first attribute that the two do not have in common, with the same type.
pub(super) fn first_difference(a: &Attributes, b: &Attributes) -> Option<String> {
    let names: BTreeSet<_> = a.iter().chain(b.iter()).map(|(name, _)| name).collect();
    names.into_iter().find(|name| a.get(name) != b.get(name)).map(ToString::to_string)
}
