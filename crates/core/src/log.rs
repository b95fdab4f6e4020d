//! Log entries and the chain hash (formats §5; leaf hashes after RFC 6962, section 2.1).
//!
//! ```text
//! entry     0x01 ‖ kind ‖ record id          1 + 1 + 32 = 34 bytes
//! leaf      H(0x00 ‖ entry)
//! chain_0   32 zero bytes
//! chain_i+1 H(chain_i ‖ leaf_i)
//! ```
//!
//! An entry names a record by the hash of its PAE, so that whoever holds an envelope can make the entry again.
//! The tree over the leaves is in [`crate::merkle`].

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::digest::{ChainHash, LeafHash, RecordId, sha256_parts, text_serde};
use crate::merkle::leaf_hash;

/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 34;

/// The first byte of an entry of this version of the format.
pub const ENTRY_VERSION: u8 = 0x01;

/// What sort of record an entry is about. The number is part of the entry, the name is the `kind` of an
/// evidence line.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// 1, `decision`.
    Decision,
    /// 2, `override`.
    Override,
    /// 3, `resolution`.
    Resolution,
    /// 4, `verification`.
    Verification,
    /// 5, `activation`.
    Activation,
    /// 6, `keyring`.
    Keyring,
    /// 7, `erasure`.
    Erasure,
    /// 8, `build-identity`.
    BuildIdentity,
    /// 9, `confirmation`.
    Confirmation,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Decision,
        Self::Override,
        Self::Resolution,
        Self::Verification,
        Self::Activation,
        Self::Keyring,
        Self::Erasure,
        Self::BuildIdentity,
        Self::Confirmation,
    ];

    /// The number in the entry, 1 to 9.
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        match self {
            Self::Decision => 1,
            Self::Override => 2,
            Self::Resolution => 3,
            Self::Verification => 4,
            Self::Activation => 5,
            Self::Keyring => 6,
            Self::Erasure => 7,
            Self::BuildIdentity => 8,
            Self::Confirmation => 9,
        }
    }

    /// The kind with this number, `None` for a number that has none.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Decision,
            2 => Self::Override,
            3 => Self::Resolution,
            4 => Self::Verification,
            5 => Self::Activation,
            6 => Self::Keyring,
            7 => Self::Erasure,
            8 => Self::BuildIdentity,
            9 => Self::Confirmation,
            _ => return None,
        })
    }

    /// The name in lower case, words joined by hyphens.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::Override => "override",
            Self::Resolution => "resolution",
            Self::Verification => "verification",
            Self::Activation => "activation",
            Self::Keyring => "keyring",
            Self::Erasure => "erasure",
            Self::BuildIdentity => "build-identity",
            Self::Confirmation => "confirmation",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no kind of record.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("not a kind of log entry")]
pub struct UnknownKind;

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or(UnknownKind)
    }
}

text_serde!(Kind, "a kind of log entry");

/// The 34 bytes of the entry for a record.
#[must_use]
pub fn entry(kind: Kind, record: &RecordId) -> [u8; ENTRY_BYTES] {
    let mut bytes = [0; ENTRY_BYTES];
    let [version, number, id @ ..] = &mut bytes;
    *version = ENTRY_VERSION;
    *number = kind.as_u8();
    id.copy_from_slice(record.as_bytes());
    bytes
}

/// Bytes that are no entry of this version.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum EntryError {
    /// The length is not 34.
    #[error("a log entry has 34 bytes, this has {got}")]
    Length {
        /// Bytes found.
        got: usize,
    },
    /// The first byte is not 1.
    #[error("log entry version {got} is unknown")]
    Version {
        /// The first byte.
        got: u8,
    },
    /// The second byte is no kind.
    #[error("log entry kind {got} is unknown")]
    Kind {
        /// The second byte.
        got: u8,
    },
}

/// Takes an entry apart: the inverse of [`entry`].
///
/// # Errors
/// [`EntryError`] for bytes that [`entry`] does not make.
pub fn parse_entry(bytes: &[u8]) -> Result<(Kind, RecordId), EntryError> {
    let length = EntryError::Length { got: bytes.len() };
    let [version, number, id @ ..] = bytes else { return Err(length) };
    let id: [u8; 32] = id.try_into().map_err(|_| length)?;
    if *version != ENTRY_VERSION {
        return Err(EntryError::Version { got: *version });
    }
    let kind = Kind::from_u8(*number).ok_or(EntryError::Kind { got: *number })?;
    Ok((kind, RecordId::from_bytes(id)))
}

/// The leaf hash of the entry for a record.
#[must_use]
pub fn leaf_hash_of(kind: Kind, record: &RecordId) -> LeafHash {
    leaf_hash(&entry(kind, record))
}

impl ChainHash {
    /// The chain before the first entry.
    pub const ZERO: Self = Self::from_bytes([0; 32]);
}

/// The chain after one more leaf.
#[must_use]
pub fn chain_next(chain: &ChainHash, leaf: &LeafHash) -> ChainHash {
    ChainHash::from_bytes(sha256_parts(&[chain.as_bytes(), leaf.as_bytes()]))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::digest::sha256;
    use crate::merkle::Frontier;

    fn vectors() -> Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/chancery/log.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn entries_leaves_roots_and_chain_are_those_of_the_vectors() {
        let vectors = vectors();
        let mut chain = ChainHash::ZERO;
        let mut tree = Frontier::new();
        let entries = vectors["entries"].as_array().unwrap();
        assert_eq!(entries.len(), 10);
        for (i, case) in entries.iter().enumerate() {
            assert_eq!(vectors["chain"][i], chain.to_string());
            let kind = Kind::from_u8(u8::try_from(case["kind"].as_u64().unwrap()).unwrap()).unwrap();
            let record = RecordId::from_bytes(sha256(format!("pae-{i}").as_bytes()));
            assert_eq!(case["paeHash"], record.to_string());
            assert_eq!(case["entry"], hex::encode(entry(kind, &record)));
            assert_eq!(parse_entry(&entry(kind, &record)), Ok((kind, record)));
            let leaf = leaf_hash_of(kind, &record);
            assert_eq!(case["leafHash"], leaf.to_string());
            chain = chain_next(&chain, &leaf);
            tree.push(&leaf);
            assert_eq!(case["root"], tree.root().to_string());
        }
        assert_eq!(vectors["chain"][10], chain.to_string());
    }

    #[test]
    fn number_and_name_of_every_kind_lead_back_to_it() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_u8(kind.as_u8()), Some(kind));
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        for number in (0..=255).filter(|n| !(1..=9).contains(n)) {
            assert_eq!(Kind::from_u8(number), None);
        }
        for name in ["", "Decision", "build_identity", "header", "decision "] {
            assert_eq!(name.parse::<Kind>(), Err(UnknownKind), "{name}");
        }
    }

    #[test]
    fn other_bytes_are_no_entry() {
        let good = entry(Kind::Erasure, &RecordId::from_bytes([9; 32]));
        assert_eq!(parse_entry(&[]), Err(EntryError::Length { got: 0 }));
        assert_eq!(parse_entry(&good[..33]), Err(EntryError::Length { got: 33 }));
        assert_eq!(parse_entry(&[&good[..], &[0]].concat()), Err(EntryError::Length { got: 35 }));
        let mut bad = good;
        bad[0] = 2;
        assert_eq!(parse_entry(&bad), Err(EntryError::Version { got: 2 }));
        let mut bad = good;
        bad[1] = 10;
        assert_eq!(parse_entry(&bad), Err(EntryError::Kind { got: 10 }));
    }
}
