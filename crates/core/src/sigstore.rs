//! sigstore.
