//! Signals: the observed facts of a request, typed, each with one canonical value (formats §2).
//!
//! ```text
//! submitted JSON ── type ──> Signal ── JCS ──> bytes that are committed to
//! 18, "18.00", 1.8e1   decimal    18.0         "18.0"
//! ```
//!
//! A bundle's Cedar schema gives each signal its type. Whatever way a value was written in the request, the same
//! typed value gives the same bytes, and so the same fingerprint. No value passes through a binary float. What is
//! printed for debugging names types and never values: signals do not belong into logs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use thiserror::Error;

mod datetime;
mod decimal;
mod duration;
mod ip;
mod typing;

pub use datetime::Datetime;
pub use decimal::Decimal;
pub use duration::Duration;
pub use ip::Ip;
pub use typing::{type_signals, type_some_signals};

/// The type of a signal, one of Cedar's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Type {
    /// Cedar's `Bool`.
    Bool,
    /// Cedar's `Long`, here within ±(2^53 − 1).
    Long,
    /// Cedar's `String`.
    String,
    /// Cedar's extension type `decimal`.
    Decimal,
    /// Cedar's extension type `datetime`.
    Datetime,
    /// Cedar's extension type `duration`.
    Duration,
    /// Cedar's extension type `ipaddr`.
    Ipaddr,
    /// An entity of this type.
    Entity(Arc<str>),
    /// A set whose elements have all the same type.
    Set(Box<Type>),
    /// A record.
    Record(Attributes),
}

impl fmt::Display for Type {
    /// The name as Cedar schemas write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "Bool",
            Self::Long => "Long",
            Self::String => "String",
            Self::Decimal => "decimal",
            Self::Datetime => "datetime",
            Self::Duration => "duration",
            Self::Ipaddr => "ipaddr",
            Self::Entity(name) => name,
            Self::Set(element) => return write!(f, "Set<{element}>"),
            Self::Record(_) => "record",
        })
    }
}

/// The type of one member of a record, and whether it must be there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attribute {
    /// Its type.
    pub ty: Type,
    /// Whether it must be there.
    pub required: bool,
}

/// The members that a record, or a whole request, may have; ordered by the UTF-8 bytes of their names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Attributes(pub BTreeMap<Arc<str>, Attribute>);

impl Attributes {
    /// The attribute `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.0.get(name)
    }

    /// All of them, ordered by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Attribute)> {
        self.0.iter()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Arc<str>, Attribute)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Attribute)>>(attributes: I) -> Self {
        Self(attributes.into_iter().collect())
    }
}

/// Why a text is no value of a type.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ParseSignalError {
    /// It is not written as values of the type are (`signal.type`).
    #[error("not written as a value of this type")]
    Form,
    /// It is written right, but is beyond what the type can hold (`signal.range`).
    #[error("beyond what this type can hold")]
    Range,
    /// It has more fraction digits than the type holds (`signal.precision`).
    #[error("more fraction digits than this type holds")]
    Precision,
}

/// A typed value. Serializes to its canonical value.
#[derive(Clone, Eq, PartialEq)]
pub enum Signal {
    /// `true` or `false`.
    Bool(bool),
    /// An integer within ±(2^53 − 1); a larger one has no canonical form.
    Long(i64),
    /// Any text, not normalised.
    String(Arc<str>),
    /// `"18.0"`
    Decimal(Decimal),
    /// `"2026-03-01T10:20:30.000Z"`
    Datetime(Datetime),
    /// `"93600000ms"`
    Duration(Duration),
    /// `"10.0.0.0/8"`
    Ipaddr(Ip),
    /// `{"id":"p-77","type":"Provider"}`
    Entity {
        /// Its type.
        type_name: Arc<str>,
        /// Its id, without quotes or escapes.
        id: Arc<str>,
    },
    /// Distinct elements in the order of their canonical bytes.
    Set(Vec<Signal>),
    /// The members that are there.
    Record(Signals),
}

impl Signal {
    /// What kind of value this is, in the words of Cedar schemas.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "Bool",
            Self::Long(_) => "Long",
            Self::String(_) => "String",
            Self::Decimal(_) => "decimal",
            Self::Datetime(_) => "datetime",
            Self::Duration(_) => "duration",
            Self::Ipaddr(_) => "ipaddr",
            Self::Entity { .. } => "entity",
            Self::Set(_) => "Set",
            Self::Record(_) => "record",
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl Serialize for Signal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Long(value) => serializer.serialize_i64(*value),
            Self::String(text) => serializer.serialize_str(text),
            Self::Decimal(value) => serializer.collect_str(value),
            Self::Datetime(value) => serializer.collect_str(value),
            Self::Duration(value) => serializer.collect_str(value),
            Self::Ipaddr(value) => serializer.collect_str(value),
            Self::Entity { type_name, id } => {
                let mut entity = serializer.serialize_map(Some(2))?;
                entity.serialize_entry("id", &**id)?;
                entity.serialize_entry("type", &**type_name)?;
                entity.end()
            }
            Self::Set(elements) => serializer.collect_seq(elements),
            Self::Record(members) => members.serialize(serializer),
        }
    }
}

/// Signals by name, ordered by the UTF-8 bytes of their names, none twice.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Signals(Vec<(Arc<str>, Signal)>);

impl Signals {
    /// All of them, ordered by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Signal)> {
        self.0.iter().map(|(name, signal)| (name, signal))
    }

    /// The signal `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Signal> {
        let at = self.0.binary_search_by(|(own, _)| (**own).cmp(name)).ok()?;
        self.0.get(at).map(|(_, signal)| signal)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These and those of `base` that are not among these.
    #[must_use]
    pub fn merged_over(&self, base: &Self) -> Self {
        let mut merged = Vec::with_capacity(self.len() + base.len());
        let (mut own, mut under) = (self.0.iter().peekable(), base.0.iter().peekable());
        while let Some((name, _)) = own.peek() {
            while let Some(entry) = under.next_if(|(base_name, _)| base_name < name) {
                merged.push(entry.clone());
            }
            under.next_if(|(base_name, _)| base_name == name);
            merged.extend(own.next().cloned());
        }
        merged.extend(under.cloned());
        Self(merged)
    }
}

/// Of two entries with one name the later one counts.
impl FromIterator<(Arc<str>, Signal)> for Signals {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Signal)>>(entries: I) -> Self {
        let sorted: BTreeMap<Arc<str>, Signal> = entries.into_iter().collect();
        Self(sorted.into_iter().collect())
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Signals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, signal)| (&**name, signal)))
    }
}

#[cfg(test)]
mod tests;
