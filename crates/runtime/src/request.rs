//! An execution request: strict JSON taken apart, every fault at once.
//!
//! ```text
//! {"execution_id", "policy", "version"?, "resource"?, "signals", "candidates"?, "labels"?, "models"?}
//! ```
//! What signals mean depends on the bundle; they stay JSON values until [`crate::execute`] has chosen it. Parsing
//! is formats §1; the members are those of `POST /v1/decisions`.

use crate::failure::Fault;
use chancery_core::digest::Digest;
use chancery_core::ids::{ExecutionId, PolicyId, PolicyVersion};
use chancery_core::json::{self, Limits, Members, Object, Pointer, Value};
use chancery_core::statement::{LABELS_MAX, Model};
use std::collections::BTreeMap;
use std::str::FromStr;

/// The longest label name or value, in characters: labels are for finding, not for documents.
pub const LABEL_CHARS_MAX: usize = 256;

/// The longest id of a resource or model, in characters.
pub const NAME_CHARS_MAX: usize = 512;

/// The id of the resource of a request that names none (formats §3).
pub const NO_RESOURCE: &str = "-";

/// A request whose own members are right. Its signals are not typed yet.
#[derive(Clone, Debug)]
pub struct Request {
    /// The caller's name for this execution, unique in the log.
    pub execution_id: ExecutionId,
    /// Which policy decides.
    pub policy: PolicyId,
    /// The version that the caller insists on.
    pub version: Option<PolicyVersion>,
    /// The id of what is decided on; `-` where the request names none.
    pub resource: String,
    /// Names and values that the caller wants to find the decision by.
    pub labels: Option<BTreeMap<String, String>>,
    /// Model snapshots that the caller names.
    pub models: Option<Vec<Model>>,
    /// The whole request: signals and candidates stay where they were parsed.
    body: Body,
}

/// The parsed object, which holds the signals and the candidates.
#[derive(Clone, Debug, Default)]
struct Body(Option<Object>);

impl Body {
    fn signals(&self) -> Option<&Value> {
        self.0.as_ref()?.get(SIGNALS).filter(|value| value.as_object().is_some())
    }

    fn candidates(&self) -> Option<&Value> {
        self.0.as_ref()?.get(CANDIDATES).filter(|value| value.as_array().is_some())
    }
}

const SIGNALS: &str = "signals";
const CANDIDATES: &str = "candidates";

/// What could be read of a request, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    pub(crate) execution_id: Option<ExecutionId>,
    pub(crate) policy: Option<PolicyId>,
    pub(crate) version: Option<PolicyVersion>,
    resource: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    models: Option<Vec<Model>>,
    body: Body,
    pub(crate) faults: Vec<Fault>,
}

impl Request {
    /// Reads one request, at most 256 KiB and 32 containers deep.
    ///
    /// # Errors
    /// Every fault that can be seen without a bundle, in the order of the members.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<Fault>> {
        Draft::parse(bytes).finish()
    }

    /// The signals, an object.
    #[must_use]
    pub fn signals(&self) -> &Value {
        // INVARIANT: `Draft::finish` makes no request without them.
        self.body.signals().unwrap_or(&Value::Null)
    }

    /// The candidates, an array.
    #[must_use]
    pub fn candidates(&self) -> Option<&Value> {
        self.body.candidates()
    }
}

impl Draft {
    /// A request to decide.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        Self::read(bytes, true)
    }

    /// Whether there are candidates, each of which is evaluated.
    pub(crate) fn has_candidates(&self) -> bool {
        self.body.candidates().is_some()
    }

    /// A request to evaluate, which needs no id: nothing is recorded under one.
    pub(crate) fn parse_evaluation(bytes: &[u8]) -> Self {
        Self::read(bytes, false)
    }

    fn read(bytes: &[u8], id_is_required: bool) -> Self {
        let mut draft = Self::default();
        match json::parse(bytes, Limits::REQUEST) {
            Ok(Value::Object(object)) => {
                draft.members(&object, id_is_required);
                draft.body = Body(Some(object));
            }
            Ok(other) => draft.faults.push(wrong_type(Pointer::root(), "an object", &other)),
            Err(fault) => draft.faults.push(fault.into()),
        }
        draft
    }

    pub(crate) fn signals(&self) -> Option<&Value> {
        self.body.signals()
    }

    pub(crate) fn candidates(&self) -> Option<&Value> {
        self.body.candidates()
    }

    fn members(&mut self, object: &Object, id_is_required: bool) {
        let root = Pointer::root();
        let mut members = Members::new(object, root);
        let faults = &mut self.faults;
        self.execution_id = text(&mut members, "execution_id", id_is_required, EXECUTION_ID, faults);
        self.policy = text(&mut members, "policy", true, POLICY_ID, faults);
        self.version = text(&mut members, "version", false, VERSION, faults);
        self.resource = match members.take("resource") {
            None => Some(NO_RESOURCE.to_owned()),
            Some(value) => name(value, &root.member("resource"), faults),
        };
        match members.take(SIGNALS) {
            None => faults.push(missing(&root.member(SIGNALS), "an object")),
            Some(Value::Object(_)) => {}
            Some(other) => faults.push(wrong_type(&root.member(SIGNALS), "an object", other)),
        }
        match members.take(CANDIDATES) {
            None | Some(Value::Array(_)) => {}
            Some(other) => faults.push(wrong_type(&root.member(CANDIDATES), "an array", other)),
        }
        self.labels = members.take("labels").and_then(|value| labels(value, &root.member("labels"), faults));
        self.models = members.take("models").and_then(|value| models(value, &root.member("models"), faults));
        unknown(members, faults);
    }

    /// The request, if nothing was wrong with it.
    pub(crate) fn finish(self) -> Result<Request, Vec<Fault>> {
        match (self.execution_id, self.policy, self.resource) {
            (Some(execution_id), Some(policy), Some(resource))
                if self.faults.is_empty() && self.body.signals().is_some() =>
            {
                Ok(Request {
                    execution_id,
                    policy,
                    version: self.version,
                    resource,
                    labels: self.labels,
                    models: self.models,
                    body: self.body,
                })
            }
            _ => Err(self.faults),
        }
    }
}

fn unknown(members: Members<'_, '_>, faults: &mut Vec<Fault>) {
    let mut unknown = Vec::new();
    members.finish(&mut unknown);
    faults.extend(unknown.into_iter().map(Fault::from));
}

const EXECUTION_ID: &str = "1 to 200 characters of `[A-Za-z0-9._:-]`, the first a letter or digit";
const POLICY_ID: &str = "1 to 100 characters of `[a-z0-9._-]`, the first a letter or digit";
const VERSION: &str = "a version such as `1.0.0` (semver)";

fn text<T: FromStr>(
    members: &mut Members<'_, '_>,
    member: &'static str,
    required: bool,
    expected: &str,
    faults: &mut Vec<Fault>,
) -> Option<T> {
    let root = Pointer::root();
    let at = root.member(member);
    match members.take(member) {
        None => {
            if required {
                faults.push(missing(&at, expected));
            }
            None
        }
        Some(Value::String(text)) => {
            let parsed = text.parse().ok();
            if parsed.is_none() {
                faults.push(wrong_value(&at, expected, "other text"));
            }
            parsed
        }
        Some(other) => {
            faults.push(wrong_type(&at, expected, other));
            None
        }
    }
}

fn name(value: &Value, at: &Pointer<'_>, faults: &mut Vec<Fault>) -> Option<String> {
    let expected = || format!("a string of 1 to {NAME_CHARS_MAX} characters");
    match value {
        Value::String(text) => {
            let count = text.chars().count();
            if (1..=NAME_CHARS_MAX).contains(&count) {
                return Some(text.clone());
            }
            faults.push(wrong_value(at, &expected(), &format!("{count} characters")));
        }
        other => faults.push(wrong_type(at, &expected(), other)),
    }
    None
}

fn labels(value: &Value, at: &Pointer<'_>, faults: &mut Vec<Fault>) -> Option<BTreeMap<String, String>> {
    let Value::Object(object) = value else {
        faults.push(wrong_type(at, "an object of strings", value));
        return None;
    };
    if !(1..=LABELS_MAX).contains(&object.len()) {
        let expected = format!("1 to {LABELS_MAX} labels, or the member left out");
        faults.push(Fault { code: COUNT, ..wrong_value(at, &expected, &format!("{} labels", object.len())) });
    }
    let mut labels = BTreeMap::new();
    for (label, value) in object.iter() {
        let at = at.member(label);
        let count = label.chars().count();
        if !(1..=LABEL_CHARS_MAX).contains(&count) {
            let expected = format!("a name of 1 to {LABEL_CHARS_MAX} characters");
            faults.push(wrong_value(&at, &expected, &format!("{count} characters")));
        }
        let expected = || format!("a string of at most {LABEL_CHARS_MAX} characters");
        match value {
            Value::String(text) if text.chars().count() <= LABEL_CHARS_MAX => {
                labels.insert(label.to_owned(), text.clone());
            }
            Value::String(text) => {
                let found = format!("{} characters", text.chars().count());
                faults.push(wrong_value(&at, &expected(), &found));
            }
            other => faults.push(wrong_type(&at, &expected(), other)),
        }
    }
    Some(labels)
}

fn models(value: &Value, at: &Pointer<'_>, faults: &mut Vec<Fault>) -> Option<Vec<Model>> {
    let Value::Array(items) = value else {
        faults.push(wrong_type(at, "an array", value));
        return None;
    };
    if items.is_empty() {
        let expected = "at least one model, or the member left out";
        faults.push(Fault { code: COUNT, ..wrong_value(at, expected, "no model") });
    }
    let mut models = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let at = at.index(index);
        let Value::Object(object) = item else {
            faults.push(wrong_type(&at, "an object", item));
            continue;
        };
        let mut members = Members::new(object, &at);
        let mut string = |member: &'static str| match members.take(member) {
            Some(value) => name(value, &at.member(member), faults),
            None => {
                faults.push(missing(&at.member(member), "a string"));
                None
            }
        };
        let (id, version, state) = (string("id"), string("version"), string("stateSha256"));
        let state_sha256 = state.and_then(|text| {
            let parsed = Digest::from_str(&text).ok();
            if parsed.is_none() {
                faults.push(wrong_value(&at.member("stateSha256"), "64 lowercase hex digits", "other text"));
            }
            parsed
        });
        unknown(members, faults);
        if let (Some(id), Some(version), Some(state_sha256)) = (id, version, state_sha256) {
            models.push(Model { id, state_sha256, version });
        }
    }
    Some(models)
}

const COUNT: &str = "request.count";

fn missing(at: &Pointer<'_>, expected: &str) -> Fault {
    Fault {
        pointer: Some(at.to_string()),
        code: "request.missing",
        expected: expected.to_owned(),
        found: "nothing".to_owned(),
    }
}

fn wrong_type(at: &Pointer<'_>, expected: &str, found: &Value) -> Fault {
    Fault {
        pointer: Some(at.to_string()),
        code: "request.type",
        expected: expected.to_owned(),
        found: found.describe(),
    }
}

fn wrong_value(at: &Pointer<'_>, expected: &str, found: &str) -> Fault {
    Fault {
        pointer: Some(at.to_string()),
        code: "request.value",
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}
