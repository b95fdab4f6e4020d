//! note.
