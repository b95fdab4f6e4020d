//! Tests of the store, on real SQLite files and a real PostgreSQL.

mod append;
mod condition;
mod crash;
mod credentials;
mod kinds;
mod nodes;
mod opening;
mod plans;
mod postgres;
mod reading;
mod schema;
pub(crate) mod support;
