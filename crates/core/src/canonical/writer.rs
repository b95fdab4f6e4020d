//! The serializer behind [`to_canonical`](super::to_canonical).
//!
//! One `Writer` serves a whole value. Objects keep a mark for each member on a stack that all levels share:
//!
//! ```text
//! out     {"b":1,"a":2}        names   ba        members   (b, 1) (a, 7)    name, where the member begins
//! ```
//!
//! When an object ends and its names did not come in order, its members are copied out and back in order.

use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::ops::Range;

use serde::Serialize;
use serde::ser::{self, Serializer};

use super::name::Name;
use super::{CanonicalError, MAX_INTEGER};
use crate::{digits, json};

type Result<T, E = CanonicalError> = std::result::Result<T, E>;

/// The name under which serde_json hides text that it passes through.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// There is room for this many members whenever an object begins, more than most records have.
const ROOM: usize = 32;

/// The bytes of a name, about.
const NAME_BYTES: usize = 16;

/// A member of an object that is being written.
struct Member {
    /// Where its name, without escapes, stands in `names`.
    name: Range<usize>,
    /// Where it begins in `out`, after the comma.
    start: usize,
}

/// Writes one value.
pub(super) struct Writer<'a> {
    out: &'a mut String,
    names: String,
    members: Vec<Member>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut String) -> Self {
        Self { out, names: String::new(), members: Vec::new() }
    }

    fn integer(&mut self, value: i128) -> Result<()> {
        match i64::try_from(value) {
            Ok(small) if small.unsigned_abs() <= MAX_INTEGER.unsigned_abs() => {
                digits::push(self.out, small);
                Ok(())
            }
            _ => Err(CanonicalError::Integer(value)),
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        push_escaped(self.out, text);
        self.out.push('"');
    }

    fn begin_object(&mut self) -> Object<'_, 'a> {
        self.out.push('{');
        self.names.reserve(ROOM * NAME_BYTES);
        self.members.reserve(ROOM);
        let (first_member, names_start) = (self.members.len(), self.names.len());
        Object { writer: self, first_member, names_start, ordered: true, variant: false }
    }

    fn begin_array(&mut self) -> Array<'_, 'a> {
        self.out.push('[');
        Array { writer: self, empty: true, variant: false }
    }

    /// `{"variant":` of an enum's variant with content.
    fn begin_variant(&mut self, variant: &str) {
        self.out.push('{');
        self.string(variant);
        self.out.push(':');
    }
}

/// Escapes what JCS escapes, and nothing else (RFC 8785, section 3.2.2.2).
fn push_escaped(out: &mut String, mut text: &str) {
    loop {
        let (plain, rest) = text.split_at_checked(json::plain(text.as_bytes())).unwrap_or((text, ""));
        out.push_str(plain);
        let Some((byte, _)) = rest.as_bytes().split_first() else { return };
        push_escape(out, *byte);
        text = rest.get(1..).unwrap_or_default();
    }
}

/// The escape of a byte that a string has only as one.
fn push_escape(out: &mut String, byte: u8) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
    match byte {
        b'"' => out.push_str("\\\""),
        b'\\' => out.push_str("\\\\"),
        0x08 => out.push_str("\\b"),
        b'\t' => out.push_str("\\t"),
        b'\n' => out.push_str("\\n"),
        0x0c => out.push_str("\\f"),
        b'\r' => out.push_str("\\r"),
        _ => out.extend(['\\', 'u', '0', '0', digit(byte >> 4), digit(byte & 0x0f)]),
    }
}

/// Compares as sequences of UTF-16 code units, without making them.
///
/// UTF-8 orders as code points do, and so does UTF-16, but that U+E000 to U+FFFF (lead bytes EE and EF) come after
/// everything beyond them (lead bytes F0 to F4, surrogates D800 to DFFF). Where two texts first differ inside of
/// a character, their lead bytes are the same, and continuation bytes order as they are.
pub(super) fn compare_utf16(a: &str, b: &str) -> Ordering {
    let rank = |byte: u8| if matches!(byte, 0xee | 0xef) { byte + 0x10 } else { byte };
    a.bytes().map(rank).cmp(b.bytes().map(rank))
}

/// Escapes what is printed into it.
struct Escaping<'a>(&'a mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        push_escaped(self.0, text);
        Ok(())
    }
}

impl<'w, 'a> Serializer for &'w mut Writer<'a> {
    type Ok = ();
    type Error = CanonicalError;
    type SerializeSeq = Array<'w, 'a>;
    type SerializeTuple = Array<'w, 'a>;
    type SerializeTupleStruct = Array<'w, 'a>;
    type SerializeTupleVariant = Array<'w, 'a>;
    type SerializeMap = Object<'w, 'a>;
    type SerializeStruct = Object<'w, 'a>;
    type SerializeStructVariant = Object<'w, 'a>;

    fn serialize_bool(self, value: bool) -> Result<()> {
        self.out.push_str(if value { "true" } else { "false" });
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<()> {
        self.integer(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<()> {
        self.integer(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<()> {
        self.integer(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<()> {
        self.integer(value.into())
    }

    fn serialize_i128(self, value: i128) -> Result<()> {
        self.integer(value)
    }

    fn serialize_u8(self, value: u8) -> Result<()> {
        self.integer(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<()> {
        self.integer(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<()> {
        self.integer(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<()> {
        self.integer(value.into())
    }

    fn serialize_u128(self, value: u128) -> Result<()> {
        self.integer(i128::try_from(value).unwrap_or(i128::MAX))
    }

    fn serialize_f32(self, _: f32) -> Result<()> {
        Err(CanonicalError::Float)
    }

    fn serialize_f64(self, _: f64) -> Result<()> {
        Err(CanonicalError::Float)
    }

    fn serialize_char(self, value: char) -> Result<()> {
        self.string(value.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<()> {
        self.string(value);
        Ok(())
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<()> {
        self.out.push('"');
        write!(Escaping(self.out), "{value}").map_err(ser::Error::custom)?;
        self.out.push('"');
        Ok(())
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<()> {
        Err(CanonicalError::Bytes)
    }

    fn serialize_none(self) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<()> {
        self.out.push_str("null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<()> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        self.begin_variant(variant);
        value.serialize(&mut *self)?;
        self.out.push('}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Array<'w, 'a>> {
        Ok(self.begin_array())
    }

    fn serialize_tuple(self, _: usize) -> Result<Array<'w, 'a>> {
        Ok(self.begin_array())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Array<'w, 'a>> {
        Ok(self.begin_array())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Array<'w, 'a>> {
        self.begin_variant(variant);
        Ok(Array { variant: true, ..self.begin_array() })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Object<'w, 'a>> {
        Ok(self.begin_object())
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Object<'w, 'a>> {
        if name == RAW_VALUE { Err(CanonicalError::RawJson) } else { Ok(self.begin_object()) }
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Object<'w, 'a>> {
        self.begin_variant(variant);
        Ok(Object { variant: true, ..self.begin_object() })
    }
}

/// An array that is being written.
pub(super) struct Array<'w, 'a> {
    writer: &'w mut Writer<'a>,
    empty: bool,
    /// Whether it is the content of an enum's variant, whose object ends with it.
    variant: bool,
}

impl Array<'_, '_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        if !self.empty {
            self.writer.out.push(',');
        }
        self.empty = false;
        value.serialize(&mut *self.writer)
    }

    fn close(self) {
        self.writer.out.push_str(if self.variant { "]}" } else { "]" });
    }
}

/// The four traits of serde that mean an array.
macro_rules! array {
    ($($trait:ident :: $method:ident),*) => {$(
        impl ser::$trait for Array<'_, '_> {
            type Ok = ();
            type Error = CanonicalError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                self.element(value)
            }

            fn end(self) -> Result<()> {
                self.close();
                Ok(())
            }
        }
    )*};
}
array!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

/// An object that is being written.
pub(super) struct Object<'w, 'a> {
    writer: &'w mut Writer<'a>,
    /// Its first member in the writer's stack.
    first_member: usize,
    /// Where its names begin in the writer's.
    names_start: usize,
    /// Whether each name so far came after the one before it.
    ordered: bool,
    /// Whether it is the content of an enum's variant, whose object ends with it.
    variant: bool,
}

impl Object<'_, '_> {
    /// Writes `"name":`, the name having been added to the writer's names from `start` on.
    fn begin_member(&mut self, start: usize) {
        let writer = &mut *self.writer;
        let (earlier, name) = writer.names.split_at_checked(start).unwrap_or_default();
        if let Some(last) = writer.members.get(self.first_member..).and_then(<[_]>::last) {
            writer.out.push(',');
            let last_name = earlier.get(last.name.clone()).unwrap_or_default();
            self.ordered &= compare_utf16(last_name, name) == Ordering::Less;
        }
        writer.members.push(Member { name: start..writer.names.len(), start: writer.out.len() });
        writer.out.push('"');
        push_escaped(writer.out, name);
        writer.out.push_str("\":");
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<()> {
        let start = self.writer.names.len();
        self.writer.names.push_str(name);
        self.begin_member(start);
        value.serialize(&mut *self.writer)
    }

    fn close(mut self) -> Result<()> {
        if !self.ordered {
            self.put_in_order()?;
        }
        self.writer.members.truncate(self.first_member);
        self.writer.names.truncate(self.names_start);
        self.writer.out.push_str(if self.variant { "}}" } else { "}" });
        Ok(())
    }

    /// Sorts the members where they stand.
    ///
    /// # Errors
    /// [`CanonicalError::Duplicate`] if two names are equal. (Names that came in order are all different.)
    fn put_in_order(&mut self) -> Result<()> {
        let Writer { out, names, members } = &mut *self.writer;
        let members = members.get(self.first_member..).unwrap_or_default();
        let begin = members.first().map_or(out.len(), |member| member.start);
        let ends = members.iter().skip(1).map(|next| next.start - 1).chain([out.len()]);
        let mut sorted: Vec<(&str, Range<usize>)> = members
            .iter()
            .zip(ends)
            .map(|(member, end)| {
                (names.get(member.name.clone()).unwrap_or_default(), member.start - begin..end - begin)
            })
            .collect();
        sorted.sort_by(|(a, _), (b, _)| compare_utf16(a, b));
        for ((name, _), (next, _)) in sorted.iter().zip(sorted.iter().skip(1)) {
            if name == next {
                return Err(CanonicalError::Duplicate((*name).to_owned()));
            }
        }
        let as_they_came = out.split_off(begin);
        for (at, (_, range)) in sorted.into_iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            out.push_str(as_they_came.get(range).unwrap_or_default());
        }
        Ok(())
    }
}

impl ser::SerializeMap for Object<'_, '_> {
    type Ok = ();
    type Error = CanonicalError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        let start = self.writer.names.len();
        key.serialize(Name(&mut self.writer.names))?;
        self.begin_member(start);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<()> {
        self.close()
    }
}

impl ser::SerializeStruct for Object<'_, '_> {
    type Ok = ();
    type Error = CanonicalError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<()> {
        self.field(name, value)
    }

    fn end(self) -> Result<()> {
        self.close()
    }
}

impl ser::SerializeStructVariant for Object<'_, '_> {
    type Ok = ();
    type Error = CanonicalError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<()> {
        self.field(name, value)
    }

    fn end(self) -> Result<()> {
        self.close()
    }
}
