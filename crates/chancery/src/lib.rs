//! The program: command line, HTTP, configuration. Use cases live in `chancery-runtime`.

pub mod cli;
pub mod config;
pub mod http;
mod instant;
pub mod limits;
mod lines;
pub mod oidc;
pub mod tls;
#[cfg(feature = "otel")]
mod traces;
