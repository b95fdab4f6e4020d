//! A proof that one entry is in a log, as a text that needs nothing else (C2SP `c2sp.org/tlog-proof@v1`).
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64>                 optional; nothing authenticates it
//! index <decimal, from 0>
//! <base64 of a hash>             the inclusion proof, from the leaf's sibling upwards, none or more lines
//!
//! <the checkpoint, a signed note>
//! ```
//!
//! The entry itself is not in the text: whoever checks it makes the leaf hash from the record that is at hand.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::b64;
use crate::checkpoint::{CheckpointError, SignedCheckpoint, parse_decimal, parse_hash};
use crate::digest::{LeafHash, RootHash};
use crate::key::PublicKey;
use crate::merkle::{PROOF_HASHES_MAX, ProofError, verify_inclusion};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// An inclusion proof with the checkpoint that it leads to. Reading it verifies nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlogProof {
    /// Bytes for the application, not authenticated.
    pub extra: Option<Vec<u8>>,
    /// The entry's index, from 0.
    pub index: u64,
    /// The audit path, from the leaf's sibling upwards.
    pub proof: Vec<RootHash>,
    /// The checkpoint as it was issued.
    pub checkpoint: SignedCheckpoint,
}

/// Why a proof is refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum TlogProofError {
    /// The first line is another one.
    #[error("the text does not begin with the line `{FIRST_LINE}`")]
    FirstLine,
    /// The extra line does not hold canonical base64.
    #[error("the extra data is not canonical base64")]
    Extra,
    /// There is no index line, or the index is not a decimal number in its one form.
    #[error("there is no line `index` with a decimal number where one has to be")]
    Index,
    /// A line of the proof is not the base64 form of a hash.
    #[error("line {number} of the proof is not the base64 form of a hash")]
    Hash {
        /// Which of the proof's lines, from 1.
        number: usize,
    },
    /// More hashes than any tree needs.
    #[error("the proof has more than {PROOF_HASHES_MAX} hashes")]
    TooLong,
    /// No empty line after the proof.
    #[error("there is no empty line before the checkpoint")]
    NoCheckpoint,
    /// The checkpoint is not one, or not signed as it has to be.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The entry is not in the tree.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl TlogProof {
    /// Checks that `leaf` is in the log `origin` at this proof's index, by a checkpoint that `log` signed.
    ///
    /// # Errors
    /// [`TlogProofError::Checkpoint`] or [`TlogProofError::Proof`].
    pub fn verify(&self, leaf: &LeafHash, log: &PublicKey, origin: &str) -> Result<(), TlogProofError> {
        self.checkpoint.verify(log, origin)?;
        let checkpoint = self.checkpoint.checkpoint();
        verify_inclusion(leaf, self.index, checkpoint.size, &self.proof, &checkpoint.root)?;
        Ok(())
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", b64::encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.proof {
            writeln!(f, "{}", b64::encode(hash.as_bytes()))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for TlogProof {
    type Err = TlogProofError;

    fn from_str(text: &str) -> Result<Self, TlogProofError> {
        let (head, checkpoint) = text.split_once("\n\n").ok_or(TlogProofError::NoCheckpoint)?;
        let mut lines = head.split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return Err(TlogProofError::FirstLine);
        }
        let mut line = lines.next().unwrap_or_default();
        let mut extra = None;
        if let Some(encoded) = line.strip_prefix("extra ") {
            extra = Some(b64::decode(encoded).map_err(|_| TlogProofError::Extra)?);
            line = lines.next().unwrap_or_default();
        }
        let index = line.strip_prefix("index ").and_then(parse_decimal).ok_or(TlogProofError::Index)?;
        let mut proof = Vec::new();
        for (i, line) in lines.enumerate() {
            if i == PROOF_HASHES_MAX {
                return Err(TlogProofError::TooLong);
            }
            proof.push(parse_hash(line).ok_or(TlogProofError::Hash { number: i + 1 })?);
        }
        let checkpoint = SignedCheckpoint::parse_unverified(checkpoint)?;
        Ok(Self { extra, index, proof, checkpoint })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::key::PublicKey;
    use crate::merkle::inclusion_proof;
    use crate::merkle::tests::{Nodes, leaf};

    const ORIGIN: &str = "log.example/acme";

    fn vectors() -> Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/chancery/checkpoint.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    fn log_key(vectors: &Value) -> PublicKey {
        PublicKey::from_spki_pem(vectors["publicKey"].as_str().unwrap()).unwrap()
    }

    #[test]
    fn the_proof_of_the_vectors_is_made_read_and_verified() {
        let vectors = vectors();
        let key = log_key(&vectors);
        let case = &vectors["tlogProof"];
        let text = case["text"].as_str().unwrap();
        let index = case["index"].as_u64().unwrap();
        let nodes = Nodes::of((0..33).map(leaf));
        let made = TlogProof {
            extra: None,
            index,
            proof: inclusion_proof(index, 33, &nodes).unwrap(),
            checkpoint: SignedCheckpoint::parse_unverified(
                vectors["checkpoints"][2]["note"].as_str().unwrap(),
            )
            .unwrap(),
        };
        assert_eq!(made.to_string(), text);
        let read: TlogProof = text.parse().unwrap();
        assert_eq!(read, made);
        assert_eq!(case["leafHash"], leaf(index).to_string());
        assert_eq!(read.verify(&leaf(index), &key, ORIGIN), Ok(()));
        assert_eq!(read.verify(&leaf(index + 1), &key, ORIGIN), Err(TlogProofError::Proof(ProofError::Root)));
        assert!(matches!(read.verify(&leaf(index), &key, "p"), Err(TlogProofError::Checkpoint(_))));

        let extra = TlogProof { extra: Some(b"more".to_vec()), ..made };
        assert_eq!(extra.to_string().parse(), Ok(extra));
    }

    #[test]
    fn another_text_is_refused_by_name() {
        let vectors = vectors();
        let good = vectors["tlogProof"]["text"].as_str().unwrap();
        let change = |from: &str, to: &str| good.replacen(from, to, 1);
        let hash = "vQE2ra7U1/zvglKemJoAD1mTGieqD9DYrzUcp2sozyE=\n";
        let cases = [
            (String::new(), TlogProofError::NoCheckpoint),
            (change("\n\n", "\n"), TlogProofError::Hash { number: 7 }),
            (change("@v1", "@v2"), TlogProofError::FirstLine),
            (change("index 17", "index 017"), TlogProofError::Index),
            (change("index 17", "Index 17"), TlogProofError::Index),
            (change("index 17\n", ""), TlogProofError::Index),
            (change("index 17", "extra AB==\nindex 17"), TlogProofError::Extra),
            (change("index 17", "extra \nextra \nindex 17"), TlogProofError::Index),
            (change("index 17", "index 17\nextra AA=="), TlogProofError::Hash { number: 1 }),
            (change("vQE2", "vQE"), TlogProofError::Hash { number: 2 }),
            (change(hash, &hash.repeat(64)), TlogProofError::TooLong),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<TlogProof>(), Err(error), "{text}");
        }
        assert!(matches!(
            change("\n33\n", "\n033\n").parse::<TlogProof>(),
            Err(TlogProofError::Checkpoint(_))
        ));
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_refused(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let vectors = vectors();
            let key = log_key(&vectors);
            let mut bytes = vectors["tlogProof"]["text"].as_str().unwrap().as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let holds = String::from_utf8(bytes)
                .ok()
                .and_then(|text| text.parse::<TlogProof>().ok())
                .is_some_and(|proof| proof.verify(&leaf(17), &key, ORIGIN).is_ok());
            prop_assert!(!holds);
        }
    }
}
