//! digest.
