//! What the integration tests share: the built programs, a prepared home folder, a running server, the real data,
//! other people's tools; and what the benches share.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure here is a failed test"
)]

pub mod bench;
pub mod between;
pub mod build;
pub mod data;
pub mod home;
pub mod postgres;
pub mod program;
pub mod server;
pub mod skip;
pub mod softhsm;
pub mod tools;
