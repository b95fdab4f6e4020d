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

use serde::Serialize;
use thiserror::Error;

use super::{
    CANDIDATES_MAX, Candidate, Commitment, Committed, Committer, FieldKey, Secret, candidates_hasher,
    signals_hasher,
};
use crate::canonical::{Canonical, CanonicalError, to_canonical};
use crate::digest::{CandidatesRoot, Hex32, ParseHashError, SignalsRoot};
use crate::json::{Fault, Limits, Object, Value, parse};
use crate::signal::Signals;

mod reading;

use reading::{in_order, listed};

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

/// The canonical bytes of a full opening. They are put together at once: text that grows leaves what it was behind in
/// memory that is free, and this has the secret in it.
fn full(
    candidates: Option<&[Candidate]>,
    secret: &Secret,
    signals: &Canonical,
) -> Result<Canonical, CanonicalError> {
    let candidates = candidates.map(to_canonical).transpose()?;
    let [name, list, comma] =
        candidates.as_ref().map_or([""; 3], |list| ["\"candidates\":", list.as_str(), ","]);
    let (secret, signals) = (Hex32::of(&secret.0), signals.as_str());
    let parts = ["{", name, list, comma, "\"secret\":\"", secret.as_ref(), "\",\"signals\":", signals, "}"];
    Ok(Canonical::of_parts(&parts))
}

impl Committed {
    /// The canonical bytes of the full opening, of the signals that were committed to and the candidates beside them.
    ///
    /// # Errors
    /// [`CanonicalError`] if a signal of a candidate has no canonical form; one that was typed has.
    pub fn opening(&self, candidates: Option<&[Candidate]>) -> Result<Canonical, CanonicalError> {
        full(candidates, &self.secret, &self.signals)
    }
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
        full(candidates, secret, &to_canonical(signals)?)
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
        Self::parse(parse(canonical.as_bytes(), limits)?)
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
