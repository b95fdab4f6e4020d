//! The serializer for the names of members: strings, and what is written as one.

use std::fmt::{self, Write as _};

use serde::Serialize;
use serde::ser::{self, Serializer};

use super::CanonicalError;

type Result<T, E = CanonicalError> = std::result::Result<T, E>;

/// Takes the key of a map, which must be a string, behind the names that are there.
pub(super) struct Name<'a>(pub(super) &'a mut String);

/// The types that are no name.
macro_rules! no_name {
    ($($method:ident: $type:ty),*) => {$(
        fn $method(self, _: $type) -> Result<()> {
            Err(CanonicalError::Name)
        }
    )*};
}

impl Serializer for Name<'_> {
    type Ok = ();
    type Error = CanonicalError;
    type SerializeSeq = ser::Impossible<(), CanonicalError>;
    type SerializeTuple = ser::Impossible<(), CanonicalError>;
    type SerializeTupleStruct = ser::Impossible<(), CanonicalError>;
    type SerializeTupleVariant = ser::Impossible<(), CanonicalError>;
    type SerializeMap = ser::Impossible<(), CanonicalError>;
    type SerializeStruct = ser::Impossible<(), CanonicalError>;
    type SerializeStructVariant = ser::Impossible<(), CanonicalError>;

    fn serialize_str(self, name: &str) -> Result<()> {
        self.0.push_str(name);
        Ok(())
    }

    fn serialize_char(self, name: char) -> Result<()> {
        self.0.push(name);
        Ok(())
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, name: &T) -> Result<()> {
        write!(self.0, "{name}").map_err(ser::Error::custom)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<()> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, name: &T) -> Result<()> {
        name.serialize(self)
    }

    no_name!(
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_u128: u128,
        serialize_f32: f32,
        serialize_f64: f64,
        serialize_bytes: &[u8],
        serialize_unit_struct: &'static str
    );

    fn serialize_none(self) -> Result<()> {
        Err(CanonicalError::Name)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<()> {
        Err(CanonicalError::Name)
    }

    fn serialize_unit(self) -> Result<()> {
        Err(CanonicalError::Name)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<()> {
        Err(CanonicalError::Name)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq> {
        Err(CanonicalError::Name)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple> {
        Err(CanonicalError::Name)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct> {
        Err(CanonicalError::Name)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant> {
        Err(CanonicalError::Name)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap> {
        Err(CanonicalError::Name)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct> {
        Err(CanonicalError::Name)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant> {
        Err(CanonicalError::Name)
    }
}
