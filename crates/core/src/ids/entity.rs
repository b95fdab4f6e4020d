//! Entity uids in Cedar's own text form.
//!
//! ```text
//! Claim::"CLM-2024-00443"        type name :: quoted id
//! Shop::User::"O\'Brien"         a namespaced type; Cedar escapes both quotes, the backslash and controls
//! ```
//!
//! The text is what is committed to, hashed and compared. For ASCII there is exactly one text for each id; for
//! other characters Cedar writes those that its Unicode tables call unprintable as `\u{…}`, and those tables
//! grow. So a record that an older or newer engine wrote is read as well as our own: a character beyond ASCII
//! may stand as itself or as `\u{…}`.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::digest::text_serde;

use super::text_traits;

/// Words of the Cedar language that no part of a type name can be.
const RESERVED: [&str; 10] = ["true", "false", "if", "then", "else", "in", "is", "like", "has", "__cedar"];

/// A text that is no entity uid.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ParseEntityUidError {
    /// No `::"…"` at the end.
    #[error("an entity is written `Type::\"id\"`")]
    Form,
    /// The part before the id is no Cedar type name.
    #[error("`{0}` is no Cedar entity type: identifiers joined by `::`, none of them a reserved word")]
    TypeName(String),
    /// The id has an escape that Cedar does not write, or a character that it would have escaped.
    #[error("the id of the entity is not in Cedar's text form, from byte {at} of it on")]
    Escape {
        /// Byte offset in the quoted id.
        at: usize,
    },
}

/// The uid of a Cedar entity. Two are equal if their texts are.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EntityUid {
    text: Arc<str>,
    /// Where the type name ends.
    type_end: usize,
    /// The id, where its text has escapes.
    unescaped: Option<Arc<str>>,
}

impl EntityUid {
    /// The uid of the entity `id` (any text, as it is, unescaped) of the type `type_name`.
    ///
    /// # Errors
    /// [`ParseEntityUidError::TypeName`] if `type_name` is no Cedar type name.
    pub fn new(type_name: &str, id: &str) -> Result<Self, ParseEntityUidError> {
        if !is_entity_type_name(type_name) {
            return Err(ParseEntityUidError::TypeName(type_name.to_owned()));
        }
        let mut text = String::with_capacity(type_name.len() + id.len() + 4);
        text.push_str(type_name);
        text.push_str("::\"");
        let start = text.len();
        let as_it_is = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\'' | b'\\');
        if id.bytes().all(as_it_is) {
            text.push_str(id);
        } else {
            text.extend(id.escape_debug());
        }
        let escaped = text.get(start..) != Some(id);
        text.push('"');
        Ok(Self { text: text.into(), type_end: type_name.len(), unescaped: escaped.then(|| id.into()) })
    }

    /// The type name, such as `Claim` or `Shop::User`.
    #[must_use]
    pub fn type_name(&self) -> &str {
        self.text.get(..self.type_end).unwrap_or_default()
    }

    /// The id as it was given, without quotes and escapes.
    #[must_use]
    pub fn id(&self) -> &str {
        match &self.unescaped {
            Some(id) => id,
            None => self.text.get(self.quoted()).unwrap_or_default(),
        }
    }

    /// Where the text between the quotes stands.
    fn quoted(&self) -> Range<usize> {
        self.type_end + 3..self.text.len().saturating_sub(1)
    }
}

impl FromStr for EntityUid {
    type Err = ParseEntityUidError;

    fn from_str(text: &str) -> Result<Self, ParseEntityUidError> {
        let (type_name, rest) = text.split_once("::\"").ok_or(ParseEntityUidError::Form)?;
        let quoted = rest.strip_suffix('"').ok_or(ParseEntityUidError::Form)?;
        if !is_entity_type_name(type_name) {
            return Err(ParseEntityUidError::TypeName(type_name.to_owned()));
        }
        let unescaped = unescape(quoted).map_err(|at| ParseEntityUidError::Escape { at })?;
        Ok(Self { text: text.into(), type_end: type_name.len(), unescaped: unescaped.map(Into::into) })
    }
}

text_traits!(EntityUid, "an entity as `Type::\"id\"`");

/// Is this a Cedar entity type: identifiers of `[A-Za-z0-9_]`, none beginning with a digit, joined by `::`?
#[must_use]
pub fn is_entity_type_name(text: &str) -> bool {
    text.split("::").all(|part| {
        let mut bytes = part.bytes();
        let first = bytes.next();
        first.is_some_and(|c| c.is_ascii_alphabetic() || c == b'_')
            && bytes.all(|c| c.is_ascii_alphanumeric() || c == b'_')
            && !RESERVED.contains(&part)
    })
}

/// Takes the escapes out; `None` if there are none. The error is the byte offset of what is not in form.
fn unescape(quoted: &str) -> Result<Option<String>, usize> {
    let plain = |c: char| !c.is_ascii_control() && !matches!(c, '"' | '\'' | '\\');
    if quoted.chars().all(plain) {
        return Ok(None);
    }
    let mut id = String::with_capacity(quoted.len());
    let mut rest = quoted;
    while let Some(c) = rest.chars().next() {
        let at = quoted.len() - rest.len();
        if plain(c) {
            id.push(c);
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        } else {
            let (unescaped, after) = escape_sequence(rest).ok_or(at)?;
            id.push(unescaped);
            rest = after;
        }
    }
    Ok(Some(id))
}

/// The character of the escape that `text` begins with, and what follows it.
fn escape_sequence(text: &str) -> Option<(char, &str)> {
    let text = text.strip_prefix('\\')?;
    let mut chars = text.chars();
    let c = match chars.next()? {
        '0' => '\0',
        't' => '\t',
        'n' => '\n',
        'r' => '\r',
        c @ ('"' | '\'' | '\\') => c,
        'u' => return hexadecimal_escape(chars.as_str()),
        _ => return None,
    };
    Some((c, chars.as_str()))
}

/// The character of `{1f}`: lowercase digits without leading zeros, of no character that is written otherwise.
fn hexadecimal_escape(text: &str) -> Option<(char, &str)> {
    let (digits, after) = text.strip_prefix('{')?.split_once('}')?;
    if digits.len() > 6 || digits.bytes().any(|c| !matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let code = u32::from_str_radix(digits, 16).ok()?;
    let c = char::from_u32(code)?;
    let has_own_escape = matches!(c, '\0' | '\t' | '\n' | '\r');
    let printable = c.is_ascii() && !c.is_ascii_control();
    (!has_own_escape && !printable && !digits.starts_with('0')).then_some((c, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_cedars() {
        for (type_name, id, text) in [
            ("System", "claims-core", r#"System::"claims-core""#),
            ("Claim", "-", r#"Claim::"-""#),
            ("Shop::User", "O'Brien", r#"Shop::User::"O\'Brien""#),
            ("A", "", r#"A::"""#),
            ("A", "a\"b\\c", r#"A::"a\"b\\c""#),
            ("A", "\0\t\r\n\u{1}\u{7f}", r#"A::"\0\t\r\n\u{1}\u{7f}""#),
            ("A", "Zürich 𝄞", r#"A::"Zürich 𝄞""#),
            ("A", "x\u{200b}", r#"A::"x\u{200b}""#),
            ("A", r#"B::"c""#, r#"A::"B::\"c\"""#),
        ] {
            let uid = EntityUid::new(type_name, id).unwrap();
            assert_eq!(uid.to_string(), text);
            let read: EntityUid = text.parse().unwrap();
            assert_eq!((read.type_name(), read.id()), (type_name, id));
            assert_eq!(read, uid);
        }
    }

    #[test]
    fn a_wrong_form_is_refused() {
        for bad in ["", "A", "A::", "A::x", "A::\"", "A::\"x", "A:\"x\"", "\"x\"", "A::'x'", "A::\"x\" "] {
            assert_eq!(bad.parse::<EntityUid>(), Err(ParseEntityUidError::Form), "{bad}");
        }
    }

    #[test]
    fn a_wrong_type_name_is_refused() {
        for bad in
            ["", "1A", "A-B", "A::", "::A", "A::::B", " A", "A ", "Ä", "if", "A::in", "__cedar::A", "A.B"]
        {
            assert!(!is_entity_type_name(bad), "{bad}");
            assert_eq!(EntityUid::new(bad, "x"), Err(ParseEntityUidError::TypeName(bad.to_owned())));
        }
        assert!(
            is_entity_type_name("principal") && is_entity_type_name("_a::B1") && is_entity_type_name("iff")
        );
    }

    #[test]
    fn a_second_text_of_an_ascii_id_is_refused() {
        for (bad, at) in [
            (r#"A::"\u{61}""#, 0),
            (r#"A::"b\x61""#, 1),
            (r#"A::"\u{09}""#, 0),
            (r#"A::"\u{9}""#, 0),
            (r#"A::"\u{01}""#, 0),
            (r#"A::"\u{7F}""#, 0),
            (r#"A::"\u{}""#, 0),
            (r#"A::"\u{d800}""#, 0),
            (r#"A::"\u{110000}""#, 0),
            (r#"A::"\u{e9""#, 0),
            (r#"A::"\u00e9""#, 0),
            (r#"A::"\q""#, 0),
            (r#"A::"ab\""#, 2),
            ("A::\"O'Brien\"", 1),
            ("A::\"a\"b\"", 1),
            ("A::\"a\nb\"", 1),
        ] {
            assert_eq!(bad.parse::<EntityUid>(), Err(ParseEntityUidError::Escape { at }), "{bad}");
        }
    }

    #[test]
    fn an_escape_beyond_ascii_is_read() {
        let uid: EntityUid = r#"A::"\u{e9}\u{1d11e}""#.parse().unwrap();
        assert_eq!(uid.id(), "é𝄞");
        assert_eq!(uid.as_str(), r#"A::"\u{e9}\u{1d11e}""#);
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(type_name in "[A-Z][a-z_0-9]{0,4}(::[A-Z][a-z]{0,3})?", id in any::<String>()) {
            let uid = EntityUid::new(&type_name, &id).unwrap();
            let read: EntityUid = uid.as_str().parse().unwrap();
            prop_assert_eq!(read.id(), &id);
            prop_assert_eq!(read.type_name(), &type_name);
            prop_assert_eq!(read, uid);
        }

        #[test]
        fn the_text_is_escaped_as_rust_escapes(id in "[ -~]{0,30}\\PC{0,2}[\u{0}-\u{7f}]{0,3}") {
            let uid = EntityUid::new("A", &id).unwrap();
            prop_assert_eq!(uid.as_str(), format!("A::\"{}\"", id.escape_debug()));
            prop_assert_eq!(uid.id(), id);
        }

        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            let _ = text.parse::<EntityUid>();
            let _ = format!("A::\"{text}\"").parse::<EntityUid>();
        }
    }
}
