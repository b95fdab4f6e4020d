//! The supply chain: what ties a running Chancery to keys, source and dependencies that others can check (formats §8).
//!
//! ```text
//! Cargo.lock, cargo ─ cargo ──► sbom ──► sbom.cdx.json ───────┐ SHA-256
//! git ─────────────── source ─┐                              ▼
//! OCI layout ──────── image ──┴──► identity ──► build-identity.json ──► release ──► .sig, .sigstore.json, .dsse.json
//! program ─────────── SHA-256 ─────────────────┘                          ▲
//! cosign.key ──────── keyfile ────────────────────────────────────────────┘
//!                       └────── signer ──► what signs with the key
//! ```
//!
//! [`sbom`], [`identity`] and [`release`] are functions over bytes. [`cargo`], [`source`] and [`image`] ask the tools
//! and folders of the build machine. There is no clock here and no environment: both are arguments.
//! [`pkcs11`] signs with keys that stay in a token; it is the one module here with a state for the whole process.

pub mod blob;
pub mod cargo;
pub mod identity;
pub mod image;
pub mod keyfile;
pub mod native;
pub mod pkcs11;
pub mod process;
pub mod release;
pub mod sbom;
pub mod signer;
pub mod source;
