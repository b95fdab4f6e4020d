//! The lines as types. Members stand in canonical order, which costs the encoder nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::LineError;
use crate::b64;
use crate::commitment::Opening;
use crate::digest::{BundleHash, RootHash};
use crate::dsse::Envelope;
use crate::ids::{ExecutionId, PolicyId, PolicyVersion, TenantId};
use crate::log::Kind;
use crate::merkle::PROOF_HASHES_MAX;
use crate::sigstore::MessageBundle;
use crate::time::Timestamp;

/// A member that always has one and the same text.
macro_rules! tag {
    ($(#[$doc:meta])* $name:ident, $text:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
        pub struct $name;

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text($text)).map(|()| Self)
            }
        }
    };
}

tag!(
    /// `"header"`.
    HeaderTag, "header"
);
tag!(
    /// `"keyring"`.
    KeyringTag, "keyring"
);
tag!(
    /// `"bundle"`.
    BundleTag, "bundle"
);
tag!(
    /// `"build"`.
    BuildTag, "build"
);
tag!(
    /// `"trailer"`.
    TrailerTag, "trailer"
);
tag!(
    /// The format's name and version.
    FormatTag, "chancery.evidence/v1"
);

/// Accepts one text.
struct Text(&'static str);

impl Visitor<'_> for Text {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if text == self.0 { Ok(()) } else { Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)) }
    }
}

/// Line 1: what was exported, from which log, when.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Header {
    /// The checkpoint that all proofs lead to, a signed note with its cosignatures.
    pub checkpoint: String,
    /// What of the decisions' inputs is disclosed.
    pub disclosure: Disclosure,
    /// When the export was made; the trailer's key is judged at this time.
    pub exported_at: Timestamp,
    /// What was chosen. Empty where there is a range.
    pub filter: Filter,
    /// Always [`super::FORMAT`].
    pub format: FormatTag,
    /// Always `header`.
    pub kind: HeaderTag,
    /// The log's origin.
    pub log_origin: String,
    /// The entries that are here, without a gap; `None` where a filter chose.
    #[serde(deserialize_with = "nullable")]
    pub range: Option<Range>,
    /// Whose log it is.
    pub tenant: TenantId,
}

impl Header {
    /// A header of this version of the format.
    #[must_use]
    pub fn new(
        tenant: TenantId,
        log_origin: impl Into<String>,
        checkpoint: impl Into<String>,
        exported_at: Timestamp,
        disclosure: Disclosure,
        scope: Scope,
    ) -> Self {
        let (range, filter) = match scope {
            Scope::Range(range) => (Some(range), Filter::default()),
            Scope::Filter(filter) => (None, *filter),
        };
        Self {
            checkpoint: checkpoint.into(),
            disclosure,
            exported_at,
            filter,
            format: FormatTag,
            kind: HeaderTag,
            log_origin: log_origin.into(),
            range,
            tenant,
        }
    }

    pub(super) fn check(&self) -> Result<(), LineError> {
        let Some(Range { from, to }) = self.range else { return Ok(()) };
        if !self.filter.is_empty() {
            return Err(LineError::RangeAndFilter);
        }
        if from > to { Err(LineError::Range { from, to }) } else { Ok(()) }
    }
}

/// Which entries a file has: a stretch of the log, or those of chosen decisions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Every entry of a stretch.
    Range(Range),
    /// Every entry about the decisions that a filter chose, and their activations.
    Filter(Box<Filter>),
}

/// A stretch of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The first index.
    pub from: u64,
    /// The index after the last one.
    pub to: u64,
}

/// How much of the inputs a file discloses.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Disclosure {
    /// Every decision has its full opening.
    Full,
    /// Some decisions, or some fields.
    Partial,
    /// No decision has an opening.
    None,
}

/// What chose the decisions of a filtered export. All that is given has to hold.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Filter {
    /// These executions and no others.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub execution_ids: Option<Vec<ExecutionId>>,
    /// Executed at this instant or later.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub from: Option<Timestamp>,
    /// With this outcome.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub outcome: Option<String>,
    /// Under this policy.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub policy: Option<PolicyId>,
    /// In this state.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub state: Option<String>,
    /// Executed before this instant.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub to: Option<Timestamp>,
    /// Under this version of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub version: Option<PolicyVersion>,
}

impl Filter {
    /// Does it choose nothing out?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A keyring version, which is a log entry too.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyringLine {
    /// The statement with the root keys' signatures.
    pub envelope: Envelope,
    /// Its index in the log.
    pub index: u64,
    /// Always `keyring`.
    pub kind: KeyringTag,
    /// Its inclusion proof; absent in a complete export.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub proof: Option<Proof>,
}

/// A policy bundle with all its files.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleLine {
    /// The hash of its `bundle.sum`.
    pub bundle_hash: BundleHash,
    /// Path to content.
    #[serde(deserialize_with = "distinct")]
    pub files: BTreeMap<String, b64::Bytes>,
    /// Always `bundle`.
    pub kind: BundleTag,
    /// The policy.
    pub policy_id: PolicyId,
    /// The signature over `bundle.sum`.
    pub signature: MessageBundle,
    /// The policy's version.
    pub version: PolicyVersion,
}

/// A build identity.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildLine {
    /// Always `build`.
    pub kind: BuildTag,
    /// The bytes of `build-identity.json`.
    pub payload: b64::Bytes,
    /// The bill of materials, where it is there.
    #[serde(deserialize_with = "nullable")]
    pub sbom: Option<b64::Bytes>,
    /// The signature over the payload.
    pub signature: MessageBundle,
}

/// A log entry of any kind but `keyring`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EntryLine {
    /// The record.
    pub envelope: Envelope,
    /// Its index in the log.
    pub index: u64,
    /// What sort of record it is. Never [`Kind::Keyring`].
    pub kind: Kind,
    /// A decision's inputs, as far as they are disclosed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opening: Option<Opening>,
    /// Its inclusion proof; absent in a complete export.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// An entry line with its opening not yet read.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEntry<'a> {
    pub(super) envelope: Envelope,
    pub(super) index: u64,
    pub(super) kind: Kind,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) opening: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "present")]
    pub(super) proof: Option<Proof>,
}

/// An inclusion proof: base64 hashes from the leaf's sibling upwards, at most [`PROOF_HASHES_MAX`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Proof(pub Vec<RootHash>);

impl Serialize for Proof {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|hash| b64::encode(hash.as_bytes())))
    }
}

impl<'de> Deserialize<'de> for Proof {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<b64::Bytes>::deserialize(deserializer)?;
        if texts.len() > PROOF_HASHES_MAX {
            return Err(D::Error::invalid_length(texts.len(), &"at most 64 hashes"));
        }
        let hash = |b64::Bytes(bytes)| {
            let bytes: [u8; 32] =
                bytes.try_into().map_err(|_| D::Error::custom("a hash of a proof has 32 bytes"))?;
            Ok(RootHash::from_bytes(bytes))
        };
        texts.into_iter().map(hash).collect::<Result<_, _>>().map(Self)
    }
}

/// A member that may be left out but is never `null`.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A member that may be `null` but is never left out.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// An object whose names are distinct: a plain map would keep the last of two.
fn distinct<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    struct Distinct<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Distinct<T> {
        type Value = BTreeMap<String, T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((name, value)) = members.next_entry::<String, T>()? {
                if map.contains_key(&name) {
                    return Err(A::Error::custom(format_args!("duplicate member `{name}`")));
                }
                map.insert(name, value);
            }
            Ok(map)
        }
    }

    deserializer.deserialize_map(Distinct(PhantomData))
}
