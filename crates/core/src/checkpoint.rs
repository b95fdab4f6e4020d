//! Checkpoints: a log's signed statement of its size and root (C2SP tlog-checkpoint v1.0.0, without extension
//! lines) with the cosignatures of witnesses (C2SP tlog-cosignature, `cosignature/v1`).
//!
//! ```text
//! <origin>                                  log.example/acme
//! <size, decimal>                           33
//! base64(root hash)                         rU/ClrylqKWZHiEYd6ABFrmwpRWKf+0Cqy38PA85K2g=
//!
//! — <origin> base64(id ‖ signature)         by the log's key, its name is the origin
//! — <witness> base64(id ‖ time ‖ signature)
//! ```

use std::fmt;

use thiserror::Error;

use crate::b64;
use crate::digest::RootHash;
use crate::key::{PublicKey, Signer};
use crate::merkle::{SIZE_MAX, empty_root};
use crate::note::{Note, NoteError, NoteKey, NoteKeyError, NoteSignError, SignatureType};

/// What a log says of itself: so many leaves, this root.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Checkpoint {
    /// The log: `<log host>/<tenant>`.
    pub origin: String,
    /// The number of leaves.
    pub size: u64,
    /// The root hash of the tree of that size.
    pub root: RootHash,
}

/// A checkpoint with the note that it stands in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: Note,
}

/// Why a checkpoint is refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum CheckpointError {
    /// The note has not its form, or is not signed as it has to be.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The origin or the key cannot be those of a log.
    #[error(transparent)]
    Key(#[from] NoteKeyError),
    /// The text has not exactly three lines.
    #[error("a checkpoint has three lines, this has {got}; extension lines are not used here")]
    Lines {
        /// Lines found.
        got: usize,
    },
    /// The first line is empty or has spaces.
    #[error("`{origin}` is not the origin of a log")]
    OriginText {
        /// The first line.
        origin: String,
    },
    /// The second line is not a number in its one form, at most 2^53 − 1.
    #[error("`{text}` is not the size of a log")]
    Size {
        /// The second line.
        text: String,
    },
    /// The third line is not the base64 form of 32 bytes.
    #[error("`{text}` is not the base64 form of a root hash")]
    Root {
        /// The third line.
        text: String,
    },
    /// Size 0 with a root that is not that of the empty tree.
    #[error("a log without entries has the root hash of the empty tree")]
    EmptyRoot,
    /// The checkpoint is of another log.
    #[error("the checkpoint is of `{found}`, not of `{expected}`")]
    Origin {
        /// The log that was asked for.
        expected: String,
        /// The log that it is of.
        found: String,
    },
}

impl Checkpoint {
    /// Reads the three lines of the text, each with its newline. Printing gives them back.
    ///
    /// # Errors
    /// [`CheckpointError`] that names the line.
    pub fn from_text(text: &str) -> Result<Self, CheckpointError> {
        let lines: Vec<&str> = text.split_terminator('\n').collect();
        let [origin, size_text, root_text] = lines.as_slice() else {
            return Err(CheckpointError::Lines { got: lines.len() });
        };
        if origin.is_empty() || origin.chars().any(char::is_whitespace) {
            return Err(CheckpointError::OriginText { origin: (*origin).to_owned() });
        }
        let size = parse_decimal(size_text)
            .ok_or_else(|| CheckpointError::Size { text: (*size_text).to_owned() })?;
        let root =
            parse_hash(root_text).ok_or_else(|| CheckpointError::Root { text: (*root_text).to_owned() })?;
        if size == 0 && root != empty_root() {
            return Err(CheckpointError::EmptyRoot);
        }
        Ok(Self { origin: (*origin).to_owned(), size, root })
    }

    /// The note of this checkpoint, signed by the log's key under the origin as its name.
    ///
    /// # Errors
    /// [`NoteSignError`] when the origin cannot be a key name, the key is not Ed25519, or signing fails.
    pub fn sign(&self, log: &dyn Signer) -> Result<String, NoteSignError> {
        let mut note = Note::new(self.to_string())?;
        note.sign(&self.origin, log)?;
        Ok(note.to_string())
    }

    /// Reads a note that has to be a checkpoint of `origin`, signed by `log`. Cosignatures are kept and not
    /// looked at; [`SignedCheckpoint::cosigned_by`] does.
    ///
    /// # Errors
    /// [`CheckpointError`] that says what is wrong.
    pub fn parse_and_verify(
        note: &str,
        log: &PublicKey,
        origin: &str,
    ) -> Result<SignedCheckpoint, CheckpointError> {
        let signed = SignedCheckpoint::parse_unverified(note)?;
        signed.verify(log, origin)?;
        Ok(signed)
    }
}

impl fmt::Display for Checkpoint {
    /// The text that is signed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, b64::encode(self.root.as_bytes()))
    }
}

impl SignedCheckpoint {
    /// Reads a note in the form of a checkpoint and believes nothing of it: for finding out which key has to
    /// verify it.
    ///
    /// # Errors
    /// [`CheckpointError`] when the form is broken.
    pub fn parse_unverified(note: &str) -> Result<Self, CheckpointError> {
        let note = Note::parse(note)?;
        let checkpoint = Checkpoint::from_text(note.text())?;
        Ok(Self { checkpoint, note })
    }

    /// Checks that the checkpoint is of `origin` and signed by `log`.
    ///
    /// # Errors
    /// [`CheckpointError::Origin`], or [`CheckpointError::Note`] for the signature.
    pub fn verify(&self, log: &PublicKey, origin: &str) -> Result<(), CheckpointError> {
        if self.checkpoint.origin != origin {
            return Err(CheckpointError::Origin {
                expected: origin.to_owned(),
                found: self.checkpoint.origin.clone(),
            });
        }
        self.note.verify(&NoteKey::new(origin, SignatureType::Ed25519, log)?)?;
        Ok(())
    }

    /// When the witness of that name and key cosigned, in seconds since the Unix epoch; `None` when it did not.
    ///
    /// # Errors
    /// [`CheckpointError::Note`] when a cosignature under its name and key id does not hold,
    /// [`CheckpointError::Key`] when the name or key cannot be a witness's.
    pub fn cosigned_by(&self, name: &str, witness: &PublicKey) -> Result<Option<u64>, CheckpointError> {
        let key = NoteKey::new(name, SignatureType::Cosignature, witness)?;
        Ok(self.note.find(&key)?.and_then(|signed| signed.unix_seconds))
    }

    /// What is said.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note with all its signatures; prints to the text that was read.
    #[must_use]
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// Appends a witness's signature line (without its newline), in place of an older one by the same key.
    ///
    /// # Errors
    /// [`CheckpointError::Note`] when it is no signature line.
    pub fn push_line(&mut self, line: &str) -> Result<(), CheckpointError> {
        Ok(self.note.push_line(line)?)
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}

/// Why a checkpoint was not cosigned.
#[derive(Debug, Error)]
pub enum CosignError {
    /// It is not a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The cosignature was not made.
    #[error(transparent)]
    Sign(#[from] NoteSignError),
}

/// The checkpoint note with the cosignature of a witness below it, made at `unix_seconds`. A witness has to have
/// checked the log's signature and the consistency with what it cosigned before.
///
/// # Errors
/// [`CosignError`] when the note is no checkpoint, or name, key or time cannot be.
pub fn cosign(
    note: &str,
    witness: &dyn Signer,
    name: &str,
    unix_seconds: u64,
) -> Result<String, CosignError> {
    let SignedCheckpoint { mut note, .. } = SignedCheckpoint::parse_unverified(note)?;
    note.cosign(name, witness, unix_seconds)?;
    Ok(note.to_string())
}

/// The text form of a log's key, as other C2SP tools take it.
///
/// # Errors
/// [`NoteKeyError`] when the origin cannot be a key name or the key is not Ed25519.
pub fn log_vkey(origin: &str, log: &PublicKey) -> Result<String, NoteKeyError> {
    Ok(NoteKey::new(origin, SignatureType::Ed25519, log)?.to_string())
}

/// The text form of a witness's key.
///
/// # Errors
/// As [`log_vkey`].
pub fn witness_vkey(name: &str, witness: &PublicKey) -> Result<String, NoteKeyError> {
    Ok(NoteKey::new(name, SignatureType::Cosignature, witness)?.to_string())
}

/// Decimal digits without leading zeroes, at most [`SIZE_MAX`].
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|number| plain && *number <= SIZE_MAX)
}

/// A hash as canonical base64.
pub(crate) fn parse_hash(text: &str) -> Option<RootHash> {
    let bytes = b64::decode(text).ok()?;
    Some(RootHash::from_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::digest::sha256;
    use crate::key::SigningKey;

    fn vectors() -> Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/chancery/checkpoint.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    fn signer(label: &str) -> SigningKey {
        SigningKey::generate_ed25519(sha256(label.as_bytes()))
    }

    fn log() -> SigningKey {
        signer("chancery-vectors/log")
    }

    fn witness() -> SigningKey {
        signer("chancery-vectors/witness")
    }

    #[test]
    fn notes_and_cosignatures_are_those_of_the_vectors() {
        let vectors = vectors();
        let origin = vectors["origin"].as_str().unwrap();
        let (log, witness) = (log(), witness());
        assert_eq!(vectors["publicKey"], log.public_key().to_spki_pem());
        assert_eq!(vectors["vkey"], log_vkey(origin, log.public_key()).unwrap());
        let name = vectors["witness"]["name"].as_str().unwrap();
        let time = vectors["witness"]["timestamp"].as_u64().unwrap();
        assert_eq!(vectors["witness"]["publicKey"], witness.public_key().to_spki_pem());
        assert_eq!(vectors["witness"]["vkey"], witness_vkey(name, witness.public_key()).unwrap());
        let cases = vectors["checkpoints"].as_array().unwrap();
        assert_eq!(cases.len(), 3);
        for case in cases {
            let checkpoint = Checkpoint {
                origin: origin.to_owned(),
                size: case["size"].as_u64().unwrap(),
                root: case["root"].as_str().unwrap().parse().unwrap(),
            };
            let note = checkpoint.sign(&log).unwrap();
            assert_eq!(case["note"], note);
            let signed = Checkpoint::parse_and_verify(&note, log.public_key(), origin).unwrap();
            assert_eq!(*signed.checkpoint(), checkpoint);
            assert_eq!(signed.cosigned_by(name, witness.public_key()), Ok(None));

            let cosigned = cosign(&note, &witness, name, time).unwrap();
            assert_eq!(case["cosigned"], cosigned);
            let mut signed_again = signed;
            let signed = Checkpoint::parse_and_verify(&cosigned, log.public_key(), origin).unwrap();
            assert_eq!(signed.cosigned_by(name, witness.public_key()), Ok(Some(time)));
            assert_eq!(signed.to_string(), cosigned);
            // Another name, another key, the log's key as a witness: not cosigned by them.
            assert_eq!(signed.cosigned_by("witness.example/w2", witness.public_key()), Ok(None));
            assert_eq!(signed.cosigned_by(name, log.public_key()), Ok(None));
            signed_again.push_line(cosigned.lines().last().unwrap()).unwrap();
            assert_eq!(signed_again, signed);

            let theirs = tlog_tiles::Checkpoint::from_bytes(checkpoint.to_string().as_bytes()).unwrap();
            assert_eq!((theirs.size(), theirs.hash().0), (checkpoint.size, *checkpoint.root.as_bytes()));
        }
    }

    #[test]
    fn notes_that_must_be_refused_are() {
        let vectors = vectors();
        let cases = vectors["refused"].as_array().unwrap();
        assert_eq!(cases.len(), 10);
        for case in cases {
            let (note, log) = (case["note"].as_str().unwrap(), log());
            let error = Checkpoint::parse_and_verify(note, log.public_key(), "log.example/acme").unwrap_err();
            let name = case["name"].as_str().unwrap();
            let right = match name {
                "size with a leading zero" => matches!(error, CheckpointError::Size { .. }),
                "other size" | "signature does not verify beside a good one" => {
                    matches!(error, CheckpointError::Note(NoteError::Signature { .. }))
                }
                "no blank line" => matches!(error, CheckpointError::Note(NoteError::NoSignatures)),
                "signature of another key" => {
                    matches!(error, CheckpointError::Note(NoteError::Unsigned { .. }))
                }
                "no last newline" => matches!(error, CheckpointError::Note(NoteError::LastNewline)),
                "root in URL base64" => matches!(error, CheckpointError::Root { .. }),
                "carriage return" => matches!(error, CheckpointError::Note(NoteError::Control { .. })),
                "hyphen instead of the em dash" => {
                    matches!(error, CheckpointError::Note(NoteError::SignatureLine { number: 1 }))
                }
                "extension line" => matches!(error, CheckpointError::Lines { got: 4 }),
                _ => false,
            };
            assert!(right, "{name}: {error:?}");
        }
    }

    #[test]
    fn a_text_that_is_no_checkpoint_is_refused_by_line() {
        let root = b64::encode(&[1; 32]);
        let size = |text: &str| CheckpointError::Size { text: text.to_owned() };
        let cases = [
            (String::new(), CheckpointError::Lines { got: 0 }),
            (format!("o\n1\n{root}\n\n"), CheckpointError::Lines { got: 4 }),
            (format!("\n1\n{root}\n"), CheckpointError::OriginText { origin: String::new() }),
            (format!("o o\n1\n{root}\n"), CheckpointError::OriginText { origin: "o o".to_owned() }),
            (format!("o\n\n{root}\n"), size("")),
            (format!("o\n+1\n{root}\n"), size("+1")),
            (format!("o\n-0\n{root}\n"), size("-0")),
            (format!("o\n00\n{root}\n"), size("00")),
            (format!("o\n1 \n{root}\n"), size("1 ")),
            (format!("o\n9007199254740992\n{root}\n"), size("9007199254740992")),
            (format!("o\n99999999999999999999\n{root}\n"), size("99999999999999999999")),
            ("o\n1\nAA==\n".to_owned(), CheckpointError::Root { text: "AA==".to_owned() }),
            (format!("o\n0\n{root}\n"), CheckpointError::EmptyRoot),
        ];
        for (text, error) in cases {
            assert_eq!(Checkpoint::from_text(&text), Err(error), "{text}");
        }
        let checkpoint = Checkpoint { origin: "o".to_owned(), size: 1, root: RootHash::from_bytes([1; 32]) };
        let note = checkpoint.sign(&log()).unwrap();
        assert_eq!(
            Checkpoint::parse_and_verify(&note, log().public_key(), "p"),
            Err(CheckpointError::Origin { expected: "p".to_owned(), found: "o".to_owned() })
        );
        let p256 = SigningKey::generate_p256([1; 32]).unwrap();
        assert!(matches!(checkpoint.sign(&p256), Err(NoteSignError::Key(NoteKeyError::NotEd25519 { .. }))));
        let plus = Checkpoint { origin: "a+b".to_owned(), ..checkpoint };
        assert!(matches!(plus.sign(&log()), Err(NoteSignError::Key(NoteKeyError::Name { .. }))));
    }

    #[test]
    fn a_changed_cosignature_is_refused() {
        let checkpoint = Checkpoint { origin: "o".to_owned(), size: 1, root: RootHash::from_bytes([1; 32]) };
        let note = cosign(&checkpoint.sign(&log()).unwrap(), &witness(), "w", 99).unwrap();
        let other = Checkpoint { size: 2, ..checkpoint }.sign(&log()).unwrap();
        // The cosignature of one checkpoint below another.
        let moved = format!("{other}{}\n", note.lines().last().unwrap());
        let signed = Checkpoint::parse_and_verify(&moved, log().public_key(), "o").unwrap();
        assert!(matches!(
            signed.cosigned_by("w", witness().public_key()),
            Err(CheckpointError::Note(NoteError::Signature { .. }))
        ));
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(size in 1..=SIZE_MAX, root in any::<[u8; 32]>()) {
            let checkpoint = Checkpoint {
                origin: "log.example/acme".to_owned(), size, root: RootHash::from_bytes(root) };
            prop_assert_eq!(Checkpoint::from_text(&checkpoint.to_string()), Ok(checkpoint));
        }

        #[test]
        fn any_flipped_bit_is_refused(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let vectors = vectors();
            let note = vectors["checkpoints"][2]["cosigned"].as_str().unwrap();
            let mut bytes = note.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let (log, witness) = (log(), witness());
            let holds = String::from_utf8(bytes)
                .ok()
                .and_then(|text| {
                    Checkpoint::parse_and_verify(&text, log.public_key(), "log.example/acme").ok()
                })
                .and_then(|signed| {
                    signed.cosigned_by("witness.example/w1", witness.public_key()).ok().flatten()
                });
            prop_assert_eq!(holds, None);
        }
    }
}
