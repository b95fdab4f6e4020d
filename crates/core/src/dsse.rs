//! dsse.
