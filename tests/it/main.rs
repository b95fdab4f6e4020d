//! The integration tests: one binary, so that the product is linked once.
//!
//! Each module is one subject. They run in parallel, each in a temporary folder of its own.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a failure here is a failed test"
)]

mod architecture;
mod bad_input;
mod build;
mod build_identity;
mod bundles;
mod canary;
mod confirmation;
mod credentials;
mod decide;
mod demo;
mod doctor;
mod durability;
mod explanation;
mod golden;
mod hanging;
mod http;
mod interop;
mod lineage;
mod metrics;
mod nodes;
mod openapi;
mod overrides;
mod pkcs11;
mod postgres;
mod provenance;
mod real_data;
mod remote;
mod tenants;
mod tls;
mod trust;
mod verifications;
mod views;
