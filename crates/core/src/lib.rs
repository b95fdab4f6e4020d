//! The formats and the mathematics of Chancery: bytes in, values out, and back.
//!
//! Pure: no clock, no random source, no file, no socket, no `async`. Everything that is hashed, signed or
//! exported is defined here, once, after `docs/spec/formats.md`; the edges call it.

pub mod b64;
pub mod canonical;
pub mod checkpoint;
pub mod commitment;
pub mod digest;
mod digits;
pub mod dsse;
pub mod evidence;
pub mod ids;
pub mod json;
pub mod key;
pub mod keyring;
pub mod log;
pub mod merkle;
pub mod note;
pub mod signal;
pub mod sigstore;
pub mod statement;
pub mod terminal;
pub mod tile;
pub mod time;
pub mod tlog_proof;
