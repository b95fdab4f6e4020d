//! The API on a real log: each router call goes through every layer to a SQLite store in a folder of its own.

mod batches;
mod clients;
mod confirming;
mod credentials;
mod deciding;
mod described;
mod explaining;
mod exporting;
mod hygiene;
mod keyring;
mod limits;
mod matrix;
mod origins;
mod overriding;
mod policies;
mod reading;
mod routes;
mod support;
mod tenants;
mod tokens;
#[cfg(feature = "otel")]
mod traces;
mod verifying;
