//! Openings: what shows the signals behind the roots of a decision (formats §3).
//!
//! ```text
//! full      {"candidates"?:[{"id","signals"},…],"secret","signals":{…}}
//! partial   {"candidates"?:[{"id","key","signals"} | {"commitment"},…],"fields":[{"key","name","value"} | {"commitment"},…]}
//! ```
//!
//! A partial opening has an element for every signal, in the order of their names, so that it comes to the same
//! root; it shows how many are hidden, and where they stand, but not what they are called.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use super::{
    CANDIDATES_MAX, Candidate, Commitment, Committer, FieldKey, Secret, candidates_hasher, signals_hasher,
};
use crate::canonical::{Canonical, CanonicalError, to_canonical};
use crate::digest::{CandidatesRoot, ParseHashError, SignalsRoot};
use crate::json::{Fault, Limits, Members, Object, Pointer, Value, parse};
use crate::signal::Signals;

/// A disclosure of an execution's signals. [`Opening::roots`] says what it opens.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Opening {
    /// Everything. Only this can be evaluated again.
    Full {
        /// The array of candidates, each with its id and its own signals, where the request had any.
        #[serde(skip_serializing_if = "Option::is_none")]
        candidates: Option<Value>,
        /// What all keys are derived from.
        secret: Secret,
        /// The object of all signals, canonical values.
        signals: Value,
    },
    /// Some of it.
    Partial {
        /// One element for each candidate, in request order, where the request had any.
        #[serde(skip_serializing_if = "Option::is_none")]
        candidates: Option<Vec<CandidateField>>,
        /// One element for each signal, in the order of their names.
        fields: Vec<Field>,
    },
}

/// A signal in a partial opening.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Field {
    /// It is shown.
    Shown {
        /// The key of its commitment.
        key: FieldKey,
        /// Its name.
        name: String,
        /// Its canonical value.
        value: Value,
    },
    /// It is hidden.
    Hidden {
        /// Its commitment.
        commitment: Commitment,
    },
}

/// A candidate in a partial opening.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum CandidateField {
    /// It is shown.
    Shown {
        /// Its id.
        id: String,
        /// The key of its commitment.
        key: FieldKey,
        /// The object of its own signals, canonical values.
        signals: Value,
    },
    /// It is hidden.
    Hidden {
        /// Its commitment.
        commitment: Commitment,
    },
}

/// What is no opening.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum OpeningError {
    /// Something has another type, or is missing.
    #[error("`{at}` of the opening: expected {expected}, found {found}")]
    Form {
        /// The place, as a JSON pointer.
        at: String,
        /// What should be there.
        expected: &'static str,
        /// What is there, without its value.
        found: String,
    },
    /// A member that openings do not have there.
    #[error("`{at}` of the opening: there is no such member, or not beside the others")]
    Unknown {
        /// The place, as a JSON pointer.
        at: String,
    },
    /// A secret, a key or a commitment is no hash.
    #[error("`{at}` of the opening")]
    Hash {
        /// The place, as a JSON pointer.
        at: String,
        /// What is wrong with it.
        #[source]
        source: ParseHashError,
    },
    /// The names of the fields that are shown are not strictly ascending.
    #[error("`{at}` of the opening: its name does not come after those before it")]
    Order {
        /// The place, as a JSON pointer.
        at: String,
    },
    /// Two candidates have the same id.
    #[error("`{at}` of the opening: a candidate before it has the same id")]
    CandidateTwice {
        /// The place, as a JSON pointer.
        at: String,
    },
    /// There are no candidates, or too many, in a list of them.
    #[error("a list of candidates has 1 to {CANDIDATES_MAX} elements, this has {got}")]
    CandidateCount {
        /// How many there are.
        got: usize,
    },
    /// A value has no canonical form, and so cannot be a signal's.
    #[error("a value in the opening has no canonical form")]
    Canonical(#[from] CanonicalError),
    /// The opening as a whole is no JSON that is read here.
    #[error("the opening cannot be read")]
    Json(#[from] Fault),
}

/// A full opening, borrowed.
#[derive(Serialize)]
struct FullBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates: Option<&'a [Candidate]>,
    secret: &'a Secret,
    signals: &'a Signals,
}

impl Opening {
    /// The canonical bytes of the full opening, without making an [`Opening`] first.
    ///
    /// # Errors
    /// [`CanonicalError`] if a signal has no canonical form; one that was typed has.
    pub fn full_canonical(
        secret: &Secret,
        signals: &Signals,
        candidates: Option<&[Candidate]>,
    ) -> Result<Canonical, CanonicalError> {
        to_canonical(&FullBody { candidates, secret, signals })
    }

    /// The full opening.
    ///
    /// # Errors
    /// [`OpeningError`] if a signal has no canonical form, or there are no or too many candidates in the list.
    pub fn full(
        secret: &Secret,
        signals: &Signals,
        candidates: Option<&[Candidate]>,
    ) -> Result<Self, OpeningError> {
        let canonical = Self::full_canonical(secret, signals, candidates)?;
        let limits = Limits { bytes: usize::MAX, ..Limits::EVIDENCE_LINE };
        Self::parse(&parse(canonical.as_bytes(), limits)?)
    }

    /// Does it show everything?
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    /// The partial opening that hides what has one of `names`: the signals of these names, and every candidate that
    /// has such a signal of its own. It does not hold the secret, so that nothing hidden can be opened with it.
    ///
    /// # Errors
    /// [`OpeningError`] if this opening was not made by [`Opening::parse`] or [`Opening::full`] and has no roots.
    pub fn redact<N: AsRef<str>>(&self, names: &[N]) -> Result<Self, OpeningError> {
        let names: BTreeSet<&str> = names.iter().map(AsRef::as_ref).collect();
        let hides = |signals: &Object| signals.iter().any(|(name, _)| names.contains(name));
        let mut message = String::new();
        let (mut fields, mut candidates) = self.to_partial()?;
        for field in &mut fields {
            if let Field::Shown { key, name, value } = field
                && names.contains(name.as_str())
            {
                let commitment = Committer::commitment(&mut message, key, name, value)?;
                *field = Field::Hidden { commitment };
            }
        }
        for candidate in candidates.iter_mut().flatten() {
            if let CandidateField::Shown { id, key, signals } = candidate
                && signals.as_object().is_some_and(hides)
            {
                let commitment = Committer::commitment(&mut message, key, id, signals)?;
                *candidate = CandidateField::Hidden { commitment };
            }
        }
        Ok(Self::Partial { candidates, fields })
    }

    /// The same disclosure in the form of a partial opening.
    fn to_partial(&self) -> Result<(Vec<Field>, Option<Vec<CandidateField>>), OpeningError> {
        let (secret, signals, candidates) = match self {
            Self::Partial { candidates, fields } => return Ok((fields.clone(), candidates.clone())),
            Self::Full { candidates, secret, signals } => (secret, signals, candidates),
        };
        let committer = Committer::new(secret);
        let shown = |(name, value): (&str, &Value)| Field::Shown {
            key: committer.field_key(name),
            name: name.to_owned(),
            value: value.clone(),
        };
        let fields = in_order(signals)?.into_iter().map(shown).collect();
        let shown = |(index, (id, signals)): (usize, (&str, &Value))| CandidateField::Shown {
            id: id.to_owned(),
            key: committer.candidate_key(index),
            signals: signals.clone(),
        };
        let candidates = match candidates {
            Some(list) => Some(listed(list)?.into_iter().enumerate().map(shown).collect()),
            None => None,
        };
        Ok((fields, candidates))
    }

    /// The roots that this opening comes to. It opens a decision if they are the decision's: both, and the second
    /// is there only if it has one.
    ///
    /// # Errors
    /// [`OpeningError`] if this opening was not made by [`Opening::parse`] or [`Opening::full`] and has no roots.
    pub fn roots(&self) -> Result<(SignalsRoot, Option<CandidatesRoot>), OpeningError> {
        match self {
            Self::Full { candidates, secret, signals } => {
                let mut committer = Committer::new(secret);
                let signals_root = committer.signals_root(in_order(signals)?.into_iter())?;
                let candidates_root = match candidates {
                    Some(list) => Some(committer.candidates_root(listed(list)?.into_iter())?),
                    None => None,
                };
                Ok((signals_root, candidates_root))
            }
            Self::Partial { candidates, fields } => {
                let mut message = String::new();
                let mut root = signals_hasher();
                for field in fields {
                    root.update(field.commitment(&mut message)?.as_bytes());
                }
                let signals_root = SignalsRoot::from_bytes(root.finish());
                let Some(candidates) = candidates else { return Ok((signals_root, None)) };
                let mut root = candidates_hasher();
                for candidate in candidates {
                    root.update(candidate.commitment(&mut message)?.as_bytes());
                }
                Ok((signals_root, Some(CandidatesRoot::from_bytes(root.finish()))))
            }
        }
    }

    /// Reads an opening. The roots are another question.
    ///
    /// # Errors
    /// [`OpeningError`]: the first thing that is not as openings are.
    pub fn parse(value: &Value) -> Result<Self, OpeningError> {
        let root = Pointer::root();
        let object = object(value, root)?;
        let mut members = Members::new(object, root);
        let candidates = members.take("candidates");
        let opening = if object.get("fields").is_some() {
            let fields = required(&mut members, "fields", root)?;
            Self::Partial {
                candidates: candidates.map(|list| partial_candidates(list, root)).transpose()?,
                fields: partial_fields(fields, root)?,
            }
        } else {
            let secret = hash(&mut members, "secret", root)?;
            let signals = required(&mut members, "signals", root)?;
            in_order(signals)?;
            to_canonical(signals)?;
            if let Some(list) = candidates {
                full_candidates(list, root)?;
            }
            Self::Full { candidates: candidates.cloned(), secret, signals: signals.clone() }
        };
        nothing_else(members)?;
        Ok(opening)
    }
}

/// Reads as [`Opening::parse`] does, inside of a typed structure.
impl<'de> Deserialize<'de> for Opening {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::parse(&value).map_err(serde::de::Error::custom)
    }
}

impl Field {
    fn commitment(&self, message: &mut String) -> Result<Commitment, CanonicalError> {
        match self {
            Self::Shown { key, name, value } => Committer::commitment(message, key, name, value),
            Self::Hidden { commitment } => Ok(commitment.clone()),
        }
    }
}

impl CandidateField {
    fn commitment(&self, message: &mut String) -> Result<Commitment, CanonicalError> {
        match self {
            Self::Shown { id, key, signals } => Committer::commitment(message, key, id, signals),
            Self::Hidden { commitment } => Ok(commitment.clone()),
        }
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
            to_canonical(value)?;
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
    let signals = required(members, "signals", at)?;
    object(signals, &at.member("signals"))?;
    to_canonical(signals)?;
    Ok((id, signals))
}

/// The members of the object `signals` in the order of their names.
fn in_order(signals: &Value) -> Result<Vec<(&str, &Value)>, OpeningError> {
    let mut fields: Vec<_> = object(signals, &Pointer::root().member("signals"))?.iter().collect();
    fields.sort_by_key(|(name, _)| *name);
    Ok(fields)
}

/// Ids and signals of a list of candidates.
fn listed(list: &Value) -> Result<Vec<(&str, &Value)>, OpeningError> {
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
