//! A JSON value that passed the strict parser.

use std::borrow::Cow;
use std::{fmt, mem};

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Number;
use crate::canonical::CanonicalError;

/// A JSON value. Its numbers keep their source text, its objects their order.
///
/// Serializes to the same value if all its numbers are integer literals; others have no canonical form.
#[derive(Clone, Eq, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number within ±(2^53 − 1), as it was written.
    Number(Number),
    /// A string without its escapes.
    String(String),
    /// An array.
    Array(Vec<Value>),
    /// An object.
    Object(Object),
}

/// Why a value has no canonical form.
const NO_INTEGER: &str = "a number that is no integer literal has no canonical form";

impl Value {
    /// Whether it has a canonical form, which is not written.
    ///
    /// # Errors
    /// [`CanonicalError`] where writing it fails.
    pub(crate) fn check_canonical(&self) -> Result<(), CanonicalError> {
        match self {
            Self::Null | Self::Bool(_) | Self::String(_) => Ok(()),
            Self::Number(number) => match number.as_i64() {
                Some(_) => Ok(()),
                None => Err(CanonicalError::Custom(NO_INTEGER.to_owned())),
            },
            Self::Array(elements) => elements.iter().try_for_each(Self::check_canonical),
            Self::Object(object) => object.members.iter().try_for_each(|(_, value)| value.check_canonical()),
        }
    }

    /// The text, if this is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The truth value, if this is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// The number, if this is one.
    #[must_use]
    pub fn as_number(&self) -> Option<&Number> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    /// The elements, if this is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Value]> {
        if let Self::Array(elements) = self { Some(elements) } else { None }
    }

    /// The object, if this is one.
    #[must_use]
    pub fn as_object(&self) -> Option<&Object> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// Is this `null`?
    #[must_use]
    pub fn is_null(&self) -> bool {
        *self == Self::Null
    }

    /// What this is, in words that give its type and size but not what it says: for faults and logs.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(_) => "true or false".to_owned(),
            Self::Number(number) => number.describe().to_owned(),
            Self::String(text) => match text.chars().count() {
                0 => "an empty string".to_owned(),
                1 => "a string of 1 character".to_owned(),
                count => format!("a string of {count} characters"),
            },
            Self::Array(elements) => match elements.len() {
                0 => "an empty array".to_owned(),
                1 => "an array of 1 element".to_owned(),
                count => format!("an array of {count} elements"),
            },
            Self::Object(object) => match object.len() {
                0 => "an empty object".to_owned(),
                1 => "an object of 1 member".to_owned(),
                count => format!("an object of {count} members"),
            },
        }
    }
}

/// The type and size alone: what was sent does not belong into logs.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({})", self.describe())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => match number.as_i64() {
                Some(value) => serializer.serialize_i64(value),
                None => Err(S::Error::custom(NO_INTEGER)),
            },
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(elements) => serializer.collect_seq(elements),
            Self::Object(object) => object.serialize(serializer),
        }
    }
}

/// Reads what [`Serialize`] writes: numbers must be integers within ±(2^53 − 1), names come once.
///
/// For values inside of typed structures; what comes from outside goes through [`parse`](super::parse) first.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;

        impl<'de> Visitor<'de> for AnyValue {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON with integers only")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
                let number = Number::new(&value.to_string());
                number.map(Value::Number).ok_or_else(|| E::custom("an integer beyond ±9007199254740991"))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
                self.visit_i64(i64::try_from(value).unwrap_or(i64::MAX))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::String(text.to_owned()))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Value, E> {
                Ok(Value::String(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = access.next_element()? {
                    elements.push(element);
                }
                Ok(Value::Array(elements))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = access.next_entry()? {
                    members.push(member);
                }
                let twice = |name| de::Error::custom(format_args!("the member `{name}` is there twice"));
                Object::new(members).map(Value::Object).map_err(twice)
            }
        }

        deserializer.deserialize_any(AnyValue)
    }
}

/// Up to this many members are looked through one by one; more are found by binary search.
const FEW: usize = 8;

/// A JSON object, its members in source order, no name twice.
#[derive(Clone, Eq, PartialEq)]
pub struct Object {
    members: Vec<(String, Value)>,
    /// Positions in `members`, ordered by name; empty where the members are few.
    by_name: Vec<usize>,
}

impl Object {
    /// Takes members as they came.
    ///
    /// Sorts rather than compares all with all: an object of a million members must not take a million times
    /// as long as one of a thousand.
    ///
    /// # Errors
    /// The first name that was there before.
    pub(super) fn new(members: Vec<(String, Value)>) -> Result<Self, String> {
        let name = |at: usize| members.get(at).map(|(name, _)| name.as_str());
        let mut by_name = Vec::new();
        let repeated = if members.len() <= FEW {
            (1..members.len()).find(|&at| (0..at).any(|earlier| name(earlier) == name(at)))
        } else {
            by_name.extend(0..members.len());
            // The sort is stable: of equal names, the later one comes second.
            by_name.sort_by(|&a, &b| name(a).cmp(&name(b)));
            let neighbours = by_name.iter().zip(by_name.iter().skip(1));
            neighbours.filter(|&(&a, &b)| name(a) == name(b)).map(|(_, &at)| at).min()
        };
        match repeated {
            Some(at) => Err(name(at).unwrap_or_default().to_owned()),
            None => Ok(Self { members, by_name }),
        }
    }

    /// The value of the member `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        let at = self.position(name)?;
        self.members.get(at).map(|(_, value)| value)
    }

    /// Where the member `name` stands in source order, from 0.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        if self.by_name.is_empty() {
            return self.members.iter().position(|(own, _)| own == name);
        }
        let own = |at: &usize| self.members.get(*at).map(|(own, _)| own.as_str());
        let found = self.by_name.binary_search_by(|at| own(at).cmp(&Some(name))).ok()?;
        self.by_name.get(found).copied()
    }

    /// The members in the order of their names.
    pub(crate) fn by_name(&self) -> impl Iterator<Item = (&str, &Value)> {
        let order = if self.by_name.is_empty() {
            let mut few: Vec<usize> = (0..self.members.len()).collect();
            few.sort_by_key(|at| self.member(*at).map(|(name, _)| name));
            Cow::Owned(few)
        } else {
            Cow::Borrowed(self.by_name.as_slice())
        };
        (0..order.len()).filter_map(move |at| self.member(*order.get(at)?))
    }

    fn member(&self, at: usize) -> Option<(&str, &Value)> {
        self.members.get(at).map(|(name, value)| (name.as_str(), value))
    }

    /// Takes the value of the member `name` out and leaves null in its place.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.position(name)?;
        self.members.get_mut(at).map(|(_, value)| mem::replace(value, Value::Null))
    }

    /// The members in source order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.members.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Is it `{}`?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

/// The size alone: what was sent does not belong into logs.
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({} members)", self.len())
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}
