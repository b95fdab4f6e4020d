//! Signed notes: text with signature lines below it (C2SP signed-note v1.0.0).
//!
//! ```text
//! text, one or more lines, control characters refused
//!                                                          one empty line, the last of the note
//! — <key name> base64(key id, 4 bytes ‖ signature)
//! …
//! ```
//!
//! Two signature types are known, both Ed25519: plain (0x01), as a log signs, and timestamped cosignatures
//! (0x04, C2SP tlog-cosignature), as a witness signs. A key is found by its name and its 4-byte id; a signature
//! of an unknown key is kept and not looked at, and one of a known key that does not hold refuses the note.

mod key;

use std::fmt;

use thiserror::Error;

pub use self::key::{NoteKey, NoteKeyError, SignatureType};
use crate::b64;
use crate::key::{SignError, SignatureError, Signer};

/// The largest note that is read: room for 16 signatures of any algorithm that is in sight (C2SP asks for so
/// many), and no more.
pub const NOTE_BYTES_MAX: usize = 256 * 1024;

/// The most signature lines that are read.
pub const NOTE_SIGNATURES_MAX: usize = 64;

/// The largest time in a cosignature (C2SP tlog-cosignature: at most 2^63 − 1).
const TIME_MAX: u64 = (1 << 63) - 1;

/// A note, its signatures not yet verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// A signature line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NoteSignature {
    name: String,
    id: [u8; 4],
    signature: Vec<u8>,
}

/// What a verified signature says beyond the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Signed {
    /// For a cosignature: when it was made, in seconds since the Unix epoch. `None` for a plain signature.
    pub unix_seconds: Option<u64>,
}

/// Why a note is refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum NoteError {
    /// Larger than [`NOTE_BYTES_MAX`].
    #[error("the note has {got} bytes, at most {NOTE_BYTES_MAX} are read")]
    Size {
        /// Its bytes.
        got: usize,
    },
    /// A control character other than the newline.
    #[error("the note has a control character at byte {at}")]
    Control {
        /// Its place.
        at: usize,
    },
    /// No empty line between the text and the signatures.
    #[error("the note has no empty line before its signatures")]
    NoSignatures,
    /// The text of a new note does not end in a newline.
    #[error("the text of a note ends in a newline")]
    Text,
    /// The last line does not end in a newline.
    #[error("the note does not end in a newline")]
    LastNewline,
    /// A line below the text is no signature line.
    #[error("line {number} of the signatures is not `— name base64`")]
    SignatureLine {
        /// Which of the signature lines, from 1.
        number: usize,
    },
    /// More than [`NOTE_SIGNATURES_MAX`] signature lines.
    #[error("the note has more than {NOTE_SIGNATURES_MAX} signatures")]
    TooManySignatures,
    /// A signature under a known name and key id that is not by that key.
    #[error("the signature of `{name}` does not hold")]
    Signature {
        /// The key's name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: SignatureError,
    },
    /// A cosignature that is not a time and a signature.
    #[error("the cosignature of `{name}` has no time that is below 2^63")]
    Time {
        /// The key's name.
        name: String,
    },
    /// None of the signatures is by the key that was asked for.
    #[error("the note is not signed by `{name}` with the key that is known for it")]
    Unsigned {
        /// The key's name.
        name: String,
    },
}

/// Why a note was not signed.
#[derive(Debug, Error)]
pub enum NoteSignError {
    /// The note or its key cannot be.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The key cannot sign notes, or not under this name.
    #[error(transparent)]
    Key(#[from] NoteKeyError),
    /// The signer failed.
    #[error("the note was not signed")]
    Sign(#[from] SignError),
}

impl Note {
    /// A note without signatures. The text ends in a newline and has no other control character.
    ///
    /// # Errors
    /// [`NoteError::Text`], [`NoteError::Control`], [`NoteError::Size`].
    pub fn new(text: impl Into<String>) -> Result<Self, NoteError> {
        let text = text.into();
        check_characters(&text)?;
        if !text.ends_with('\n') {
            return Err(NoteError::Text);
        }
        Ok(Self { text, signatures: Vec::new() })
    }

    /// Reads a note; printing it gives the same characters back. No signature is verified.
    ///
    /// # Errors
    /// [`NoteError`] that says where the form is broken.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        check_characters(note)?;
        let split = note.rfind("\n\n").ok_or(NoteError::NoSignatures)?;
        let (text, below) = note.split_at(split + 1);
        let lines = below.get(1..).unwrap_or_default();
        let lines = lines.strip_suffix('\n').ok_or(NoteError::LastNewline)?;
        let mut signatures = Vec::new();
        for (i, line) in lines.split('\n').enumerate() {
            if i == NOTE_SIGNATURES_MAX {
                return Err(NoteError::TooManySignatures);
            }
            signatures.push(NoteSignature::parse(line).ok_or(NoteError::SignatureLine { number: i + 1 })?);
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// What is signed, with its last newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines in their order.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds a plain signature under `name`, in place of one by the same key.
    ///
    /// # Errors
    /// [`NoteSignError`] when the name cannot be a key's, the key is not Ed25519, or signing fails.
    pub fn sign(&mut self, name: &str, signer: &dyn Signer) -> Result<(), NoteSignError> {
        let key = NoteKey::new(name, SignatureType::Ed25519, signer.public_key())?;
        let signature = signer.sign(self.text.as_bytes())?;
        self.put(&key, signature);
        Ok(())
    }

    /// Adds a cosignature under `name` made at `unix_seconds`, in place of one by the same key.
    ///
    /// # Errors
    /// As [`Note::sign`], and [`NoteError::Time`] for a time of 2^63 or more.
    pub fn cosign(
        &mut self,
        name: &str,
        signer: &dyn Signer,
        unix_seconds: u64,
    ) -> Result<(), NoteSignError> {
        let key = NoteKey::new(name, SignatureType::Cosignature, signer.public_key())?;
        if unix_seconds > TIME_MAX {
            return Err(NoteError::Time { name: name.to_owned() }.into());
        }
        let mut signature = unix_seconds.to_be_bytes().to_vec();
        signature.extend(signer.sign(cosigned(&self.text, unix_seconds).as_bytes())?);
        self.put(&key, signature);
        Ok(())
    }

    /// Appends a signature line that somebody else made (without its newline), in place of one under the same
    /// name and id.
    ///
    /// # Errors
    /// [`NoteError::SignatureLine`], [`NoteError::TooManySignatures`].
    pub fn push_line(&mut self, line: &str) -> Result<(), NoteError> {
        check_characters(line)?;
        let new = NoteSignature::parse(line).ok_or(NoteError::SignatureLine { number: 1 })?;
        self.signatures.retain(|old| old.name != new.name || old.id != new.id);
        if self.signatures.len() >= NOTE_SIGNATURES_MAX {
            return Err(NoteError::TooManySignatures);
        }
        self.signatures.push(new);
        Ok(())
    }

    fn put(&mut self, key: &NoteKey, signature: Vec<u8>) {
        self.signatures.retain(|old| !key.made(old));
        self.signatures.push(NoteSignature { name: key.name().to_owned(), id: key.id(), signature });
    }

    /// Looks for signatures by `key` and checks every one of them. `None` when there is none; of several
    /// cosignatures the newest time.
    ///
    /// # Errors
    /// [`NoteError::Signature`] or [`NoteError::Time`] when one under the key's name and id does not hold: then
    /// the whole note is not to be used.
    pub fn find(&self, key: &NoteKey) -> Result<Option<Signed>, NoteError> {
        let mut found: Option<Signed> = None;
        for signature in self.signatures.iter().filter(|signature| key.made(signature)) {
            let signed = signature.verify(&self.text, key)?;
            found = Some(match found {
                Some(other) if other.unix_seconds > signed.unix_seconds => other,
                _ => signed,
            });
        }
        Ok(found)
    }

    /// As [`Note::find`], but the signature has to be there.
    ///
    /// # Errors
    /// Those of [`Note::find`], and [`NoteError::Unsigned`].
    pub fn verify(&self, key: &NoteKey) -> Result<Signed, NoteError> {
        self.find(key)?.ok_or_else(|| NoteError::Unsigned { name: key.name().to_owned() })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

impl NoteSignature {
    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix("— ")?.split_once(' ')?;
        if !key::is_name(name) {
            return None;
        }
        let bytes = b64::decode(encoded).ok()?;
        let (id, signature) = bytes.split_first_chunk::<4>()?;
        if signature.is_empty() {
            return None;
        }
        Some(Self { name: name.to_owned(), id: *id, signature: signature.to_vec() })
    }

    /// The name of the key that is said to have signed.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of that key.
    #[must_use]
    pub const fn id(&self) -> [u8; 4] {
        self.id
    }

    fn verify(&self, text: &str, key: &NoteKey) -> Result<Signed, NoteError> {
        let invalid = |source| NoteError::Signature { name: self.name.clone(), source };
        match key.signature_type() {
            SignatureType::Ed25519 => {
                key.public_key().verify(text.as_bytes(), &self.signature).map_err(invalid)?;
                Ok(Signed { unix_seconds: None })
            }
            SignatureType::Cosignature => {
                let no_time = || NoteError::Time { name: self.name.clone() };
                let (time, signature) = self.signature.split_first_chunk::<8>().ok_or_else(no_time)?;
                let unix_seconds = u64::from_be_bytes(*time);
                if unix_seconds > TIME_MAX {
                    return Err(no_time());
                }
                let message = cosigned(text, unix_seconds);
                key.public_key().verify(message.as_bytes(), signature).map_err(invalid)?;
                Ok(Signed { unix_seconds: Some(unix_seconds) })
            }
        }
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.id, self.signature.as_slice()].concat();
        write!(f, "— {} {}", self.name, b64::encode(&bytes))
    }
}

/// What a witness signs (C2SP tlog-cosignature, "Ed25519 signed message").
fn cosigned(text: &str, unix_seconds: u64) -> String {
    format!("cosignature/v1\ntime {unix_seconds}\n{text}")
}

fn check_characters(text: &str) -> Result<(), NoteError> {
    if text.len() > NOTE_BYTES_MAX {
        return Err(NoteError::Size { got: text.len() });
    }
    match text.bytes().position(|byte| byte < 0x20 && byte != b'\n') {
        Some(at) => Err(NoteError::Control { at }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use signed_note::{StandardVerifier, VerifierList};

    use super::*;
    use crate::key::SigningKey;

    fn signer() -> SigningKey {
        SigningKey::generate_ed25519([7; 32])
    }

    fn key(name: &str, kind: SignatureType) -> NoteKey {
        NoteKey::new(name, kind, signer().public_key()).unwrap()
    }

    fn note() -> Note {
        let mut note = Note::new("a line\n\nanother\n").unwrap();
        note.sign("example.com/log", &signer()).unwrap();
        note
    }

    #[test]
    fn a_note_verifies_here_and_with_an_independent_implementation() {
        let note = note();
        let key = key("example.com/log", SignatureType::Ed25519);
        assert_eq!(note.verify(&key), Ok(Signed { unix_seconds: None }));
        assert_eq!(Note::parse(&note.to_string()), Ok(note.clone()));

        let theirs = signed_note::Note::from_bytes(note.to_string().as_bytes()).unwrap();
        let verifier = StandardVerifier::new(&key.to_string()).unwrap();
        let (verified, unverified) = theirs.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
        assert_eq!((verified.len(), unverified.len()), (1, 0));
        assert_eq!(theirs.text(), note.text().as_bytes());
    }

    #[test]
    fn a_signature_of_another_name_or_type_is_not_looked_at() {
        let note = note();
        for other in [
            key("example.com/other", SignatureType::Ed25519),
            key("example.com/log", SignatureType::Cosignature),
        ] {
            assert_eq!(note.find(&other), Ok(None));
            assert!(matches!(note.verify(&other), Err(NoteError::Unsigned { .. })));
        }
    }

    #[test]
    fn a_cosignature_carries_its_time_and_is_replaced_by_a_newer_one() {
        let mut note = note();
        let witness = key("w.example", SignatureType::Cosignature);
        note.cosign("w.example", &signer(), 12).unwrap();
        assert_eq!(note.verify(&witness), Ok(Signed { unix_seconds: Some(12) }));
        note.cosign("w.example", &signer(), 13).unwrap();
        assert_eq!(note.verify(&witness), Ok(Signed { unix_seconds: Some(13) }));
        assert_eq!(note.signatures().len(), 2);
        assert!(matches!(
            note.cosign("w.example", &signer(), 1 << 63),
            Err(NoteSignError::Note(NoteError::Time { .. }))
        ));

        let line = note.signatures()[1].to_string();
        let mut other = super::tests::note();
        other.push_line(&line).unwrap();
        assert_eq!(other, note);
        assert_eq!(other.push_line("— w.example"), Err(NoteError::SignatureLine { number: 1 }));
    }

    #[test]
    fn a_cosignature_over_another_time_is_refused() {
        let mut note = note();
        let witness = key("w.example", SignatureType::Cosignature);
        note.cosign("w.example", &signer(), 12).unwrap();
        note.signatures[1].signature[7] ^= 1;
        assert!(matches!(note.verify(&witness), Err(NoteError::Signature { .. })));
        note.signatures[1].signature[0] = 0x80;
        assert!(matches!(note.verify(&witness), Err(NoteError::Time { .. })));
        note.signatures[1].signature.truncate(7);
        assert!(matches!(note.verify(&witness), Err(NoteError::Time { .. })));
    }

    #[test]
    fn what_is_not_a_note_is_refused_by_name() {
        let good = note().to_string();
        let many = format!("a\n\n{}", "— n AAAAAAA=\n".repeat(NOTE_SIGNATURES_MAX + 1));
        let cases = [
            ("", NoteError::NoSignatures),
            ("text\n", NoteError::NoSignatures),
            ("text\n\n", NoteError::LastNewline),
            ("text\n\n\n", NoteError::LastNewline),
            ("text\n\nmore\n", NoteError::SignatureLine { number: 1 }),
            (good.trim_end(), NoteError::LastNewline),
            (&good.replace('—', "-"), NoteError::SignatureLine { number: 1 }),
            (&good.replace("a line", "a\tline"), NoteError::Control { at: 1 }),
            (&good.replace('\n', "\r\n"), NoteError::Control { at: 6 }),
            ("a\n\n— n+m AAAAAAA=\n", NoteError::SignatureLine { number: 1 }),
            ("a\n\n— n\u{a0}m AAAAAAA=\n", NoteError::SignatureLine { number: 1 }),
            ("a\n\n—  AAAAAAA=\n", NoteError::SignatureLine { number: 1 }),
            ("a\n\n— n AAAAAA==\n", NoteError::SignatureLine { number: 1 }),
            ("a\n\n— n AAAAAAA\n", NoteError::SignatureLine { number: 1 }),
            ("a\n\n— n AAAAAAA=\n— n AAAAAAB=\n", NoteError::SignatureLine { number: 2 }),
            ("a\n\n— n AAAAAAA= \n", NoteError::SignatureLine { number: 1 }),
            (&many, NoteError::TooManySignatures),
            (&"a".repeat(NOTE_BYTES_MAX + 1), NoteError::Size { got: NOTE_BYTES_MAX + 1 }),
        ];
        for (text, error) in cases {
            assert_eq!(Note::parse(text), Err(error), "{}", text.get(..60).unwrap_or(text));
        }
        assert_eq!(Note::new("no newline"), Err(NoteError::Text));
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_refused(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let key = key("example.com/log", SignatureType::Ed25519);
            let mut bytes = note().to_string().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let holds = String::from_utf8(bytes)
                .ok()
                .and_then(|text| Note::parse(&text).ok())
                .is_some_and(|note| note.verify(&key).is_ok());
            prop_assert!(!holds);
        }

        #[test]
        fn what_parses_prints_to_the_same_and_parses_elsewhere(
            text in "[a-c \n]{0,9}\n{1,2}(— [a-c+ ]{0,2} [A-B/]{0,7}=?\n){0,2}\n?",
        ) {
            if let Ok(note) = Note::parse(&text) {
                prop_assert_eq!(note.to_string(), text.clone());
                prop_assert!(signed_note::Note::from_bytes(text.as_bytes()).is_ok());
            } else if let Ok(theirs) = signed_note::Note::from_bytes(text.as_bytes()) {
                prop_assert!(false, "refused here only: {:?}", String::from_utf8(theirs.to_bytes()));
            }
        }
    }
}
