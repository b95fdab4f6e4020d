//! Reading openings, which come from outside, as strictly as they are written.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};

use super::{CandidateField, Field, Opening, OpeningError};
use crate::commitment::CANDIDATES_MAX;
use crate::digest::ParseHashError;
use crate::json::{Members, Object, Pointer, Value};

impl Opening {
    /// Reads an opening. The roots are another question.
    ///
    /// # Errors
    /// [`OpeningError`]: the first thing that is not as openings are.
    pub fn parse(value: Value) -> Result<Self, OpeningError> {
        let root = Pointer::root();
        let Value::Object(mut object) = value else { return Err(form(root, "an object", Some(&value))) };
        let mut members = Members::new(&object, root);
        let candidates = members.take("candidates");
        if let Some(fields) = members.take("fields") {
            let candidates = candidates.map(|list| partial_candidates(list, root)).transpose()?;
            let fields = partial_fields(fields, root)?;
            nothing_else(members)?;
            return Ok(Self::Partial { candidates, fields });
        }
        let secret = hash(&mut members, "secret", root)?;
        signals(&mut members, root)?;
        if let Some(list) = candidates {
            full_candidates(list, root)?;
        }
        nothing_else(members)?;
        let candidates = object.take("candidates");
        Ok(Self::Full { candidates, secret, signals: object.take("signals").unwrap_or(Value::Null) })
    }
}

/// Reads as [`Opening::parse`] does, inside of a typed structure.
impl<'de> Deserialize<'de> for Opening {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::parse(value).map_err(serde::de::Error::custom)
    }
}

fn partial_fields(list: &Value, root: &Pointer<'_>) -> Result<Vec<Field>, OpeningError> {
    let at = root.member("fields");
    let mut last_name: Option<&str> = None;
    let mut fields = Vec::new();
    for (index, element) in array(list, &at)?.iter().enumerate() {
        let at = at.index(index);
        let mut members = Members::new(object(element, &at)?, &at);
        if members.take("commitment").is_some() {
            fields.push(Field::Hidden { commitment: hash(&mut members, "commitment", &at)? });
        } else {
            let name = text(&mut members, "name", &at)?;
            let value = required(&mut members, "value", &at)?;
            value.check_canonical()?;
            if last_name.is_some_and(|last| last >= name) {
                return Err(OpeningError::Order { at: at.to_string() });
            }
            last_name = Some(name);
            let key = hash(&mut members, "key", &at)?;
            fields.push(Field::Shown { key, name: name.to_owned(), value: value.clone() });
        }
        nothing_else(members)?;
    }
    Ok(fields)
}

fn partial_candidates(list: &Value, root: &Pointer<'_>) -> Result<Vec<CandidateField>, OpeningError> {
    let at = root.member("candidates");
    let mut ids = BTreeSet::new();
    let mut candidates = Vec::new();
    for (index, element) in counted(list, &at)?.iter().enumerate() {
        let at = at.index(index);
        let mut members = Members::new(object(element, &at)?, &at);
        if members.take("commitment").is_some() {
            candidates.push(CandidateField::Hidden { commitment: hash(&mut members, "commitment", &at)? });
        } else {
            let (id, signals) = candidate(&mut members, &at, &mut ids)?;
            let key = hash(&mut members, "key", &at)?;
            candidates.push(CandidateField::Shown { id: id.to_owned(), key, signals: signals.clone() });
        }
        nothing_else(members)?;
    }
    Ok(candidates)
}

fn full_candidates(list: &Value, root: &Pointer<'_>) -> Result<(), OpeningError> {
    let at = root.member("candidates");
    let mut ids = BTreeSet::new();
    for (index, element) in counted(list, &at)?.iter().enumerate() {
        let at = at.index(index);
        let mut members = Members::new(object(element, &at)?, &at);
        candidate(&mut members, &at, &mut ids)?;
        nothing_else(members)?;
    }
    Ok(())
}

/// The members `id` and `signals` of a candidate whose id is not among `ids` yet.
fn candidate<'v>(
    members: &mut Members<'v, '_>,
    at: &Pointer<'_>,
    ids: &mut BTreeSet<&'v str>,
) -> Result<(&'v str, &'v Value), OpeningError> {
    let id = text(members, "id", at)?;
    if !ids.insert(id) {
        return Err(OpeningError::CandidateTwice { at: at.to_string() });
    }
    Ok((id, signals(members, at)?))
}

/// The member `signals`, an object of canonical values.
fn signals<'v>(members: &mut Members<'v, '_>, at: &Pointer<'_>) -> Result<&'v Value, OpeningError> {
    let signals = required(members, "signals", at)?;
    object(signals, &at.member("signals"))?;
    signals.check_canonical()?;
    Ok(signals)
}

/// The members of the object `signals` in the order of their names.
pub(super) fn in_order(signals: &Value) -> Result<Vec<(&str, &Value)>, OpeningError> {
    Ok(object(signals, &Pointer::root().member("signals"))?.by_name().collect())
}

/// Ids and signals of a list of candidates.
pub(super) fn listed(list: &Value) -> Result<Vec<(&str, &Value)>, OpeningError> {
    let at = Pointer::root().member("candidates");
    let mut candidates = Vec::new();
    for (index, element) in array(list, &at)?.iter().enumerate() {
        let at = at.index(index);
        let candidate = object(element, &at)?;
        match (candidate.get("id").and_then(Value::as_str), candidate.get("signals")) {
            (Some(id), Some(signals)) => candidates.push((id, signals)),
            _ => return Err(form(&at, "an id and signals", Some(element))),
        }
    }
    Ok(candidates)
}

fn form(at: &Pointer<'_>, expected: &'static str, found: Option<&Value>) -> OpeningError {
    let found = found.map_or_else(|| "nothing".to_owned(), Value::describe);
    OpeningError::Form { at: at.to_string(), expected, found }
}

fn object<'v>(value: &'v Value, at: &Pointer<'_>) -> Result<&'v Object, OpeningError> {
    value.as_object().ok_or_else(|| form(at, "an object", Some(value)))
}

fn array<'v>(value: &'v Value, at: &Pointer<'_>) -> Result<&'v [Value], OpeningError> {
    value.as_array().ok_or_else(|| form(at, "an array", Some(value)))
}

/// The elements of a list of candidates, as many as there may be.
fn counted<'v>(value: &'v Value, at: &Pointer<'_>) -> Result<&'v [Value], OpeningError> {
    let elements = array(value, at)?;
    let count = elements.len();
    if (1..=CANDIDATES_MAX).contains(&count) {
        Ok(elements)
    } else {
        Err(OpeningError::CandidateCount { got: count })
    }
}

fn required<'v>(
    members: &mut Members<'v, '_>,
    name: &'static str,
    at: &Pointer<'_>,
) -> Result<&'v Value, OpeningError> {
    members.take(name).ok_or_else(|| form(&at.member(name), "a value", None))
}

fn text<'v>(
    members: &mut Members<'v, '_>,
    name: &'static str,
    at: &Pointer<'_>,
) -> Result<&'v str, OpeningError> {
    let value = required(members, name, at)?;
    value.as_str().ok_or_else(|| form(&at.member(name), "a string", Some(value)))
}

fn hash<T: std::str::FromStr<Err = ParseHashError>>(
    members: &mut Members<'_, '_>,
    name: &'static str,
    at: &Pointer<'_>,
) -> Result<T, OpeningError> {
    let hash = text(members, name, at)?.parse();
    hash.map_err(|source| OpeningError::Hash { at: at.member(name).to_string(), source })
}

fn nothing_else(members: Members<'_, '_>) -> Result<(), OpeningError> {
    let mut faults = Vec::new();
    members.finish(&mut faults);
    match faults.into_iter().next() {
        Some(fault) => Err(OpeningError::Unknown { at: fault.pointer.unwrap_or_default() }),
        None => Ok(()),
    }
}
