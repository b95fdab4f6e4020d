//! The supply chain: what ties a running Chancery to keys, source and dependencies that others can check.
//!
//! So far the private keys' files, in the form that cosign reads and writes.

pub mod keyfile;
