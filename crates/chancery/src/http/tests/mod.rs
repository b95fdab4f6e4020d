//! The API on a real log.
