//! A bundle: loaded from bytes, checked as a whole, ready to evaluate (formats §7).
//!
//! ```text
//! bundle.toml            manifest                       bundle.sum                 beside the content:
//! schema.cedarschema     actions, entity types, signals bundle.sum.sigstore.json   not in the hash
//! *.cedar                policies, in any folder
//! entities.json          optional                       cases/…/*.json             tests, part of the content
//! ```
//!
//! Loading fails closed: with one fault anywhere there is no bundle. It reports all the faults that it can find at
//! once. Text is handed to Cedar only after its size and nesting were checked.

use std::collections::BTreeMap;
use std::fmt;

use cedar_policy::Entities;
use cedar_policy_core::ast::EntityUIDEntry;
use chancery_core::commitment::Candidate;
use chancery_core::digest::BundleHash;
use chancery_core::ids::{EntityUid, ParseEntityUidError};
use chancery_core::json::{Code, Fault as JsonFault, Members, Pointer, Value};
use chancery_core::signal::{Attributes, Signals, type_signals, type_some_signals};
use chancery_core::statement::CANDIDATES_MAX;

use crate::cases::{self, Case};
use crate::describe::OutcomePolicies;
use crate::evaluate::{Names, Slice};
use crate::fault::{BundleError, Cause, Fault, Place};
use crate::limits::{BUNDLE_BYTES_MAX, FILE_BYTES_MAX, FILES_MAX};
use crate::manifest::{self, Draft, Manifest};
use crate::policies::{self, Named};
use crate::{entities, schema, sum};

/// A policy bundle without faults.
///
/// It does not change. Evaluation takes `&self` and may run on many threads at once; share it in an `Arc`.
pub struct Bundle {
    files: BTreeMap<String, Vec<u8>>,
    sum: String,
    hash: BundleHash,
    manifest: Manifest,
    attributes: Attributes,
    entities: Entities,
    slices: Vec<Slice>,
    outcomes: Vec<OutcomePolicies>,
    names: Names,
    cases: Vec<Case>,
    warnings: Vec<Fault>,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("id", self.manifest.id())
            .field("version", self.manifest.version())
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

impl Bundle {
    /// Loads a bundle from its files (path in the bundle to content).
    ///
    /// `bundle.sum` and `bundle.sum.sigstore.json` may be among them; they are kept apart and not trusted: whoever
    /// loads a published bundle compares [`Bundle::sum`] with what is signed. Needs about 1.5 MiB of stack.
    ///
    /// # Errors
    /// [`BundleError`] with every fault that was found.
    pub fn from_files(mut files: BTreeMap<String, Vec<u8>>) -> Result<Self, BundleError> {
        let stale = files.remove(sum::SUM);
        files.remove(sum::SIGNATURE);
        let mut faults = check_files(&files);
        let sum = match sum::sum(&files) {
            Ok(sum) if faults.is_empty() => sum,
            _ => return Err(BundleError::new(faults)),
        };
        let mut warnings = Vec::new();
        if stale.is_some_and(|text| text != sum.as_bytes()) {
            warnings.push(Fault::new(sum::SUM, Cause::SumStale));
        }
        let odd = files.keys().filter(|path| !has_meaning(path));
        warnings.extend(odd.map(|path| Fault::new(path, Cause::NoMeaning)));
        let texts = texts(&files, &mut faults);
        let parts = load(&texts, &mut faults, &mut warnings);
        match parts {
            Some(parts) if faults.is_empty() => {
                warnings.sort_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
                let Parts { manifest, attributes, entities, slices, outcomes, names, cases } = parts;
                let hash = sum::hash_of(&sum);
                Ok(Self {
                    files,
                    sum,
                    hash,
                    manifest,
                    attributes,
                    entities,
                    slices,
                    outcomes,
                    names,
                    cases,
                    warnings,
                })
            }
            _ => Err(BundleError::new(faults)),
        }
    }

    /// SHA-256 of [`Bundle::sum`].
    #[must_use]
    pub const fn hash(&self) -> BundleHash {
        self.hash
    }

    /// The text of `bundle.sum` for the files as they were loaded: what is signed.
    #[must_use]
    pub fn sum(&self) -> &str {
        &self.sum
    }

    /// The manifest.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The signals and their types.
    #[must_use]
    pub const fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// The content: every file but `bundle.sum` and its signature.
    #[must_use]
    pub const fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }

    /// What is odd, but no fault: unused reasons, impossible policies, files without a meaning, a stale sum.
    #[must_use]
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }

    /// The ids of all policies, in byte order.
    pub fn policy_ids(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// The policies for each outcome, in the manifest's order of outcomes.
    #[must_use]
    pub fn outcome_policies(&self) -> &[OutcomePolicies] {
        &self.outcomes
    }

    /// The cases, in the order of their files.
    #[must_use]
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// The principal with this id, of the manifest's type.
    ///
    /// # Errors
    /// None: a manifest has only types that Cedar takes.
    pub fn principal(&self, id: &str) -> Result<EntityUid, ParseEntityUidError> {
        EntityUid::new(self.manifest.principal(), id)
    }

    /// The resource with this id, of the manifest's type.
    ///
    /// # Errors
    /// None: a manifest has only types that Cedar takes.
    pub fn resource(&self, id: &str) -> Result<EntityUid, ParseEntityUidError> {
        EntityUid::new(self.manifest.resource(), id)
    }

    /// Do these have the manifest's types?
    #[must_use]
    pub fn accepts(&self, principal: &EntityUid, resource: &EntityUid) -> bool {
        principal.type_name() == self.manifest.principal() && resource.type_name() == self.manifest.resource()
    }

    /// Types the signals of a request that stand at `at` (formats §2).
    ///
    /// # Errors
    /// Every fault, in the order of the schema and the request.
    pub fn type_signals(&self, value: &Value, at: &Pointer<'_>) -> Result<Signals, Vec<JsonFault>> {
        type_signals(&self.attributes, value, at)
    }

    /// Types the candidates of a request that stand at `at`: `[{"id", "signals"}]`, 1 to 10,000 (formats §4.5).
    ///
    /// A candidate may leave out signals that are required, since the request has them.
    ///
    /// # Errors
    /// Every fault of all candidates.
    pub fn type_candidates(&self, value: &Value, at: &Pointer<'_>) -> Result<Vec<Candidate>, Vec<JsonFault>> {
        let Some(elements) = value.as_array() else {
            return Err(vec![JsonFault::new(
                at,
                Code::SignalType,
                "an array of candidates",
                value.describe(),
            )]);
        };
        if elements.is_empty() || elements.len() > CANDIDATES_MAX {
            let expected = format!("1 to {CANDIDATES_MAX} candidates");
            return Err(vec![JsonFault::new(at, Code::SignalRange, expected, value.describe())]);
        }
        let mut faults = Vec::new();
        let mut candidates = Vec::with_capacity(elements.len());
        let mut ids = std::collections::HashSet::new();
        for (index, element) in elements.iter().enumerate() {
            let at = at.index(index);
            let (id, signals) = self.type_candidate(element, &at, &mut faults);
            if let Some(id) = id
                && !ids.insert(id)
            {
                let expected = "an id that no other candidate has";
                let found = "that of an earlier candidate";
                faults.push(JsonFault::new(&at.member("id"), Code::SignalRange, expected, found));
            }
            if let (Some(id), Some(signals)) = (id, signals) {
                candidates.push(Candidate { id: id.to_owned(), signals });
            }
        }
        if faults.is_empty() { Ok(candidates) } else { Err(faults) }
    }

    fn type_candidate<'v>(
        &self,
        element: &'v Value,
        at: &Pointer<'_>,
        faults: &mut Vec<JsonFault>,
    ) -> (Option<&'v str>, Option<Signals>) {
        let Some(object) = element.as_object() else {
            let expected = "a candidate with id and signals";
            faults.push(JsonFault::new(at, Code::SignalType, expected, element.describe()));
            return (None, None);
        };
        let mut members = Members::new(object, at);
        let mut take = |name: &'static str, faults: &mut Vec<JsonFault>| {
            let value = members.take(name);
            if value.is_none() {
                let fault = JsonFault::new(&at.member(name), Code::SignalMissing, "this member", "nothing");
                faults.push(fault);
            }
            value
        };
        let id = take("id", faults);
        let signals = take("signals", faults);
        members.finish(faults);
        let id = id.and_then(|id| match id.as_str() {
            Some(text) if !text.is_empty() => Some(text),
            _ => {
                let fault = JsonFault::new(&at.member("id"), Code::SignalType, "a text", id.describe());
                faults.push(fault);
                None
            }
        });
        let signals = signals.and_then(|signals| {
            let typed = type_some_signals(&self.attributes, signals, &at.member("signals"));
            typed.map_err(|found| faults.extend(found)).ok()
        });
        (id, signals)
    }

    pub(crate) fn slices(&self) -> &[Slice] {
        &self.slices
    }

    pub(crate) const fn entities(&self) -> &Entities {
        &self.entities
    }

    /// The code of the policy's `@reason`.
    pub(crate) fn reason_of(&self, policy: &str) -> Option<&str> {
        self.names.get(policy)?.as_deref()
    }
}

/// Names, number and sizes, before anything is read.
fn check_files(files: &BTreeMap<String, Vec<u8>>) -> Vec<Fault> {
    let mut faults = Vec::new();
    if files.len() > FILES_MAX {
        // Not a fault for each of a million paths.
        return vec![Fault::new("bundle", Cause::Files { max: FILES_MAX, got: files.len() })];
    }
    for (path, content) in files {
        if let Err(error) = sum::check_path(path) {
            faults.push(Fault::new(path, Cause::Path(error)));
        }
        if content.len() > FILE_BYTES_MAX {
            faults.push(Fault::new(path, Cause::FileBytes { max: FILE_BYTES_MAX, got: content.len() }));
        }
    }
    let got = files.values().map(Vec::len).sum();
    if got > BUNDLE_BYTES_MAX {
        faults.push(Fault::new("bundle", Cause::BundleBytes { max: BUNDLE_BYTES_MAX, got }));
    }
    faults
}

/// The files that have a meaning, as text.
fn texts<'f>(files: &'f BTreeMap<String, Vec<u8>>, faults: &mut Vec<Fault>) -> BTreeMap<&'f str, &'f str> {
    let mut texts = BTreeMap::new();
    for (path, content) in files.iter().filter(|(path, _)| has_meaning(path)) {
        match std::str::from_utf8(content) {
            Ok(text) => {
                texts.insert(path.as_str(), text);
            }
            Err(error) => {
                let valid = content.get(..error.valid_up_to()).unwrap_or_default();
                let valid = String::from_utf8_lossy(valid);
                let place = Place::of(&valid, valid.len());
                faults.push(Fault { file: path.clone(), place: Some(place), cause: Cause::NotUtf8 });
            }
        }
    }
    texts
}

fn has_meaning(path: &str) -> bool {
    matches!(path, manifest::FILE | schema::FILE | entities::FILE)
        || path.ends_with(".cedar")
        || is_cases(path)
}

fn is_cases(path: &str) -> bool {
    path.starts_with("cases/") && path.ends_with(".json")
}

struct Parts {
    manifest: Manifest,
    attributes: Attributes,
    entities: Entities,
    slices: Vec<Slice>,
    outcomes: Vec<OutcomePolicies>,
    names: Names,
    cases: Vec<Case>,
}

/// Everything behind names and sizes. `None` after adding faults.
fn load(texts: &BTreeMap<&str, &str>, faults: &mut Vec<Fault>, warnings: &mut Vec<Fault>) -> Option<Parts> {
    let unreadable: Vec<String> = faults.iter().map(|fault| fault.file.clone()).collect();
    let mut file = |name: &'static str| {
        let text = texts.get(name).copied();
        if text.is_none() && !unreadable.iter().any(|path| path == name) {
            faults.push(Fault::new(name, Cause::Missing));
        }
        text
    };
    let (toml, cedarschema) = (file(manifest::FILE), file(schema::FILE));
    let draft = match toml {
        Some(text) => {
            let (draft, found) = manifest::read(text);
            faults.extend(found);
            draft
        }
        None => Draft::nothing(),
    };
    let schema = cedarschema.and_then(|text| schema::load(text, &draft, faults));
    let cedar: Vec<(&str, &str)> = texts
        .iter()
        .filter(|(path, _)| path.ends_with(".cedar"))
        .map(|(path, text)| (*path, *text))
        .collect();
    let named = policies::load(&cedar, &draft, faults);
    let entities_text = texts.get(entities::FILE).copied();
    let before = faults.len();
    if let Some(text) = entities_text {
        entities::check(text, faults);
    }
    let entities_text_is_fit = faults.len() == before;
    let mut all = None;
    if let Some(schema) = &schema {
        policies::validate(&named, texts, &schema.schema, faults, warnings);
        if entities_text_is_fit {
            all = entities::load(entities_text, &schema.schema, faults);
        }
    }
    let cases_texts = texts.iter().filter(|(path, _)| is_cases(path)).map(|(path, text)| (*path, *text));
    let cases = cases::load(cases_texts, faults);
    if !faults.is_empty() {
        return None;
    }
    let (schema, entities) = (schema?, all?);
    warn(toml.unwrap_or_default(), &draft, &named, warnings);
    let manifest = draft.build()?;
    let slices = slices(&manifest, &schema, &named, &entities);
    let outcomes = outcomes(&manifest, &schema, &named, &entities);
    for slice in &slices {
        let permitted = slice.policies.iter().any(|policy| policy.permits);
        if !permitted && slice.outcome != manifest.fallback() {
            let cause = Cause::NeverPermitted { outcome: slice.outcome.clone() };
            warnings.push(Fault::new(manifest::FILE, cause));
        }
    }
    let names = named.into_values().map(|named| (named.id, named.reason));
    Some(Parts {
        manifest,
        attributes: schema.attributes,
        entities,
        slices,
        outcomes,
        names: names.collect(),
        cases,
    })
}

fn slices(
    manifest: &Manifest,
    schema: &schema::Loaded,
    named: &BTreeMap<String, Named>,
    entities: &Entities,
) -> Vec<Slice> {
    let slice = |(outcome, action): (&String, &cedar_policy::EntityUid)| {
        let own = named.values().filter(|named| policies::applies(&named.policy, action, entities));
        let policies = own.map(|named| policies::sliced(named, &schema.attributes)).collect();
        let action = EntityUIDEntry::known(action.clone().into(), None);
        Slice { outcome: outcome.clone(), action, policies }
    };
    manifest.outcomes().iter().zip(&schema.actions).map(slice).collect()
}

fn outcomes(
    manifest: &Manifest,
    schema: &schema::Loaded,
    named: &BTreeMap<String, Named>,
    entities: &Entities,
) -> Vec<OutcomePolicies> {
    let describe = |(outcome, action): (&String, &cedar_policy::EntityUid)| {
        let own = named.values().filter(|named| policies::applies(&named.policy, action, entities));
        OutcomePolicies { outcome: outcome.clone(), policies: own.map(Into::into).collect() }
    };
    manifest.outcomes().iter().zip(&schema.actions).map(describe).collect()
}

fn warn(toml: &str, draft: &Draft, named: &BTreeMap<String, Named>, warnings: &mut Vec<Fault>) {
    for (code, at) in &draft.reason_offsets {
        if !named.values().any(|named| named.reason.as_ref() == Some(code)) {
            warnings.push(Fault::at(manifest::FILE, toml, *at, Cause::ReasonUnused { code: code.clone() }));
        }
    }
}

#[cfg(test)]
mod tests;
