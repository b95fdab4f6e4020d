//! What is wrong with a bundle: file, place, problem, and what to do.
//!
//! ```text
//! claims.cedar:12:7: policy `deny-large` has the reason `LARGE`, which the manifest does not have; add …
//! └── file ──┘ │  └ column, in characters, from 1        └───────── problem ────────┘  └─ fix ─┘
//!              └─── line, from 1
//! ```

use std::borrow::Cow;
use std::fmt;

use chancery_core::ids::ParseIdError;
use chancery_core::json;
use thiserror::Error;

use crate::sum::PathError;

/// A place in a text, both numbers from 1; the column counts characters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Place {
    /// The place of the byte `offset` of `text`; one beyond the end is the end.
    pub(crate) fn of(text: &str, offset: usize) -> Self {
        let mut end = offset.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = text.get(..end).unwrap_or_default();
        let line = before.bytes().filter(|&b| b == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One fault (or warning) of one file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// Path in the bundle; the name that is missing, where a file is missing.
    pub file: String,
    /// Where in the file, if that is known.
    pub place: Option<Place>,
    /// What is wrong.
    pub cause: Cause,
}

impl Fault {
    pub(crate) fn new(file: impl Into<String>, cause: Cause) -> Self {
        Self { file: file.into(), place: None, cause }
    }

    pub(crate) fn at(file: impl Into<String>, text: &str, offset: usize, cause: Cause) -> Self {
        Self { file: file.into(), place: Some(Place::of(text, offset)), cause }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The path may be the fault: control characters are printed escaped.
        write!(f, "{}", self.file.escape_debug())?;
        if let Some(place) = self.place {
            write!(f, ":{place}")?;
        }
        write!(f, ": {}; {}", self.cause, self.cause.fix())
    }
}

/// Why a bundle is refused: all of its faults, at least one, by file and place.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("the bundle has {}", Lines(.faults))]
pub struct BundleError {
    faults: Vec<Fault>,
}

impl BundleError {
    pub(crate) fn new(mut faults: Vec<Fault>) -> Self {
        faults.sort_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
        faults.dedup();
        Self { faults }
    }

    /// The faults, ordered by file and place.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

struct Lines<'f>(&'f [Fault]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("1 fault:")?,
            count => write!(f, "{count} faults:")?,
        }
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

/// What is wrong. The text is the problem alone; [`Cause::fix`] says what to do.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Cause {
    /// A path that no bundle may have.
    #[error(transparent)]
    Path(#[from] PathError),
    /// More files than [`crate::limits::FILES_MAX`].
    #[error("a bundle has at most {max} files, this has {got}")]
    Files {
        /// The limit.
        max: usize,
        /// What was given.
        got: usize,
    },
    /// More bytes than [`crate::limits::BUNDLE_BYTES_MAX`].
    #[error("the files of a bundle have at most {max} bytes together, these have {got}")]
    BundleBytes {
        /// The limit.
        max: usize,
        /// What was given.
        got: usize,
    },
    /// More bytes than a file of its kind may have.
    #[error("the file may have at most {max} bytes, it has {got}")]
    FileBytes {
        /// The limit.
        max: usize,
        /// What was given.
        got: usize,
    },
    /// Bytes that are no text.
    #[error("the file is not UTF-8 text")]
    NotUtf8,
    /// A file that every bundle has.
    #[error("the file is not there")]
    Missing,
    /// More brackets in each other than [`crate::limits::NESTING_MAX`].
    #[error("brackets nest more than {max} deep")]
    Nesting {
        /// The limit.
        max: usize,
    },
    /// An expression deeper than [`crate::limits::DEPTH_MAX`].
    #[error("the expression is {got} deep, brackets and chained operators together; the limit is {max}")]
    Depth {
        /// The limit.
        max: usize,
        /// What was found.
        got: usize,
    },
    /// A closing bracket that does not fit.
    #[error("the bracket `{found}` closes nothing that is open")]
    Bracket {
        /// The bracket.
        found: char,
    },
    /// Not TOML.
    #[error("not TOML: {message}")]
    Toml {
        /// The TOML parser's words.
        message: String,
    },
    /// A member that the manifest must have.
    #[error("`{member}` is missing")]
    MemberMissing {
        /// The member.
        member: String,
    },
    /// A member that no manifest has.
    #[error("a manifest has no member `{member}`")]
    MemberUnknown {
        /// The member.
        member: String,
    },
    /// A member of another type.
    #[error("`{member}` has to be {expected}, this is {found}")]
    MemberType {
        /// The member.
        member: String,
        /// What it has to be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A text without a letter.
    #[error("`{member}` is empty")]
    MemberEmpty {
        /// The member.
        member: String,
    },
    /// An id or version that is none.
    #[error(transparent)]
    Id(#[from] ParseIdError),
    /// No name of a Cedar entity type.
    #[error("`{member}` has to be a Cedar entity type such as `Claim`, not `{found}`")]
    EntityType {
        /// The member.
        member: &'static str,
        /// What was found.
        found: String,
    },
    /// A name that is too long or has control characters.
    #[error("`{member}` has a name that is too long or has white space at its ends or control characters: `{}`", .found.escape_debug())]
    Name {
        /// The member.
        member: String,
        /// What was found.
        found: String,
    },
    /// More elements than a list may have.
    #[error("`{member}` has {got} elements, the limit is {max}")]
    Many {
        /// The member.
        member: &'static str,
        /// The limit.
        max: usize,
        /// What was found.
        got: usize,
    },
    /// An element of a list, or a reason's code, that is there twice.
    #[error("`{found}` is in `{member}` twice")]
    Twice {
        /// The member.
        member: String,
        /// The element.
        found: String,
    },
    /// An outcome that is none.
    #[error("`{member}` names `{found}`, which is not among `outcomes`")]
    NotAnOutcome {
        /// The member.
        member: String,
        /// What was found.
        found: String,
    },
    /// A number of approvers that makes no sense.
    #[error("`override.quorum` has to be 1 to {max}, not {found}")]
    Quorum {
        /// The limit.
        max: u32,
        /// What was found.
        found: String,
    },
    /// No duration, or none that lasts.
    #[error(
        "`override.expires` has to be a Cedar duration longer than 0, such as `3d` or `1h30m`, not `{found}`"
    )]
    Expires {
        /// What was found.
        found: String,
    },
    /// What Cedar's parser or its schema resolver refuses.
    #[error("{message}")]
    Cedar {
        /// Cedar's words.
        message: String,
        /// Cedar's hint.
        hint: Option<String>,
    },
    /// A declaration that leaves its meaning to another schema.
    #[error("`{name}` is declared `external`, so the schema is not complete")]
    External {
        /// The entity type or action.
        name: String,
    },
    /// A type that nests too deeply, or refers to itself.
    #[error("the type of {of} nests more than {max} deep")]
    TypeDepth {
        /// What has the type.
        of: String,
        /// The limit.
        max: usize,
    },
    /// Types that are too large when they are written out.
    #[error("written out, the types of the schema have more than {max} attributes")]
    TypeNodes {
        /// The limit.
        max: usize,
    },
    /// An outcome without an action.
    #[error("the outcome `{outcome}` is no action of the schema")]
    ActionMissing {
        /// The outcome.
        outcome: String,
    },
    /// An action that is no outcome.
    #[error("the action `{action}` is not among the manifest's `outcomes`")]
    ActionExtra {
        /// The action.
        action: String,
    },
    /// An outcome with an action in more than one namespace.
    #[error("the outcome `{outcome}` is an action in more than one namespace")]
    ActionTwice {
        /// The outcome.
        outcome: String,
    },
    /// An action that applies to other entity types than the manifest says.
    #[error("the action `{action}` applies to {member} {found}, but the manifest says `{expected}`")]
    ActionApplies {
        /// The action.
        action: String,
        /// `principal` or `resource`.
        member: &'static str,
        /// The manifest's type.
        expected: String,
        /// The schema's types.
        found: String,
    },
    /// Two actions whose contexts differ.
    #[error("the actions `{action}` and `{other}` differ in `context` at `{attribute}`")]
    ActionContext {
        /// The action.
        action: String,
        /// The one that it is compared with.
        other: String,
        /// The first attribute that is not the same.
        attribute: String,
    },
    /// A context that is no record.
    #[error("the context of the action `{action}` is no record")]
    ContextType {
        /// The action.
        action: String,
    },
    /// An enumerated entity type where any id has to be possible.
    #[error("{of} is of the enumerated entity type `{name}`, which is not supported there")]
    Enumerated {
        /// What has the type.
        of: String,
        /// The type.
        name: String,
    },
    /// A type that signals cannot have.
    #[error("the signal `{signal}` is of the type `{name}`, which is not supported")]
    SignalType {
        /// The signal.
        signal: String,
        /// The type.
        name: String,
    },
    /// A template.
    #[error("a template (with `?principal` or `?resource`) is no policy of a bundle")]
    Template,
    /// A policy without a name.
    #[error("the policy has no `@id`")]
    IdMissing,
    /// A name that is too long or has control characters.
    #[error("the `@id` of a policy has 1 to {max} characters, without white space at its ends or control characters; this is `{}`", .id.escape_debug())]
    IdForm {
        /// The limit.
        max: usize,
        /// What was found.
        id: String,
    },
    /// Two policies with one name.
    #[error("the `@id` `{id}` is there already, at {first}")]
    IdTwice {
        /// The id.
        id: String,
        /// File, line and column of the first.
        first: String,
    },
    /// A reason that the manifest does not have.
    #[error("policy `{policy}` has the reason `{code}`, which the manifest does not have")]
    ReasonUnknown {
        /// The policy.
        policy: String,
        /// The code.
        code: String,
    },
    /// What Cedar's strict validation says.
    #[error("policy `{policy}` does not fit the schema: {message}")]
    Invalid {
        /// The policy.
        policy: String,
        /// Cedar's words.
        message: String,
        /// Cedar's hint.
        hint: Option<String>,
    },
    /// More than a limit of policies, entities, types or cases.
    #[error("a bundle has at most {max} {what}, this has {got}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
        /// What was given.
        got: usize,
    },
    /// Entities whose parents chain too far, or in a circle.
    #[error("the parents of the entity `{entity}` form a circle or a chain of more than {max}")]
    EntityLevels {
        /// The entity.
        entity: String,
        /// The limit.
        max: usize,
    },
    /// No strict JSON, or not of the shape that the file has to have.
    #[error(transparent)]
    Json(#[from] json::Fault),
    /// Two cases with one name.
    #[error("the name `{name}` is that of another case in this file")]
    CaseTwice {
        /// The name.
        name: String,
    },
    /// Warning: a file that has no meaning in a bundle.
    #[error("the file has no meaning in a bundle, though it counts for its hash")]
    NoMeaning,
    /// Warning: a `bundle.sum` that is not that of the files.
    #[error("it is not the sum of the files")]
    SumStale,
    /// Warning: a reason that no policy names.
    #[error("no policy has the reason `{code}`")]
    ReasonUnused {
        /// The code.
        code: String,
    },
    /// Warning: Cedar finds a policy odd.
    #[error("policy `{policy}`: {message}")]
    Odd {
        /// The policy.
        policy: String,
        /// Cedar's words.
        message: String,
    },
    /// Warning: an outcome that no policy permits and that is not the fallback.
    #[error("no policy permits the outcome `{outcome}`")]
    NeverPermitted {
        /// The outcome.
        outcome: String,
    },
}

impl Cause {
    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> Cow<'_, str> {
        let fixed = match self {
            Self::Path(_) => "rename it",
            Self::Files { .. } => "put several policies or cases into one file",
            Self::BundleBytes { .. } | Self::FileBytes { .. } => "make it smaller or split it",
            Self::NotUtf8 => "save it as UTF-8",
            Self::Missing => {
                "a bundle has `bundle.toml`, `schema.cedarschema` and at least one `*.cedar` file with a policy"
            }
            Self::Nesting { .. } | Self::Depth { .. } => {
                "split the policy into several, or use a set with `contains`"
            }
            Self::Bracket { .. } => "remove it, or open what it closes",
            Self::Toml { .. } => "correct the syntax (TOML 1.0)",
            Self::MemberMissing { .. } => "add it",
            Self::MemberUnknown { .. } => "remove it, or correct its spelling",
            Self::MemberType { .. } => "write it as such",
            Self::MemberEmpty { .. } => "write the text",
            Self::Id(_) => "choose another",
            Self::EntityType { .. } => "name an entity type of the schema",
            Self::Name { .. } | Self::IdForm { .. } => "choose a shorter and plainer one",
            Self::Many { .. } => "leave some out",
            Self::Twice { .. } => "remove one of the two",
            Self::NotAnOutcome { .. } => {
                "use one of `outcomes`, or add it there and as an action of the schema"
            }
            Self::Quorum { .. } => "say how many approvers have to agree",
            Self::Expires { .. } => "say how long approvers have",
            Self::Cedar { hint, .. } | Self::Invalid { hint, .. } => match hint {
                Some(hint) => hint,
                None => "correct the text at this place",
            },
            Self::External { .. } => "declare it here",
            Self::TypeDepth { .. } => "flatten the type, and let no type refer to itself",
            Self::TypeNodes { .. } => "leave out what no policy reads",
            Self::ActionMissing { .. } => {
                "add the action to the schema, or take the outcome out of `outcomes`"
            }
            Self::ActionExtra { .. } => "add it to `outcomes`, or take it out of the schema",
            Self::ActionTwice { .. } => "declare it once",
            Self::ActionApplies { .. } => "make the two agree, with exactly one type",
            Self::ActionContext { .. } => "give all actions the same record, best as one common type",
            Self::ContextType { .. } => "make it a record",
            Self::Enumerated { .. } => "use an entity type without `enum`, or a String",
            Self::SignalType { .. } => "use a type of the formats, section 2",
            Self::Template => "write the entity into the policy",
            Self::IdMissing => "name it with an annotation such as `@id(\"deny-large\")`",
            Self::IdTwice { .. } => "rename one of the two",
            Self::ReasonUnknown { .. } => {
                "add a `[[reason]]` with this code to `bundle.toml`, or correct the code"
            }
            Self::TooMany { .. } => "split the bundle",
            Self::EntityLevels { .. } => "shorten the hierarchy",
            Self::Json(_) => "correct it at this place",
            Self::CaseTwice { .. } => "rename one of the two",
            Self::NoMeaning => "check its name, or keep it elsewhere",
            Self::SumStale => "run `chancery bundle sum` and sign again",
            Self::ReasonUnused { .. } => "remove it, or annotate the policy that it is for",
            Self::Odd { .. } => "check whether this is meant",
            Self::NeverPermitted { .. } => "write a policy that permits it, or take it out of `outcomes`",
        };
        Cow::Borrowed(fixed)
    }
}
