//! Tests of the store, on real SQLite files and a real PostgreSQL.

mod append;
mod crash;
mod kinds;
mod nodes;
mod opening;
mod postgres;
mod reading;
mod schema;
mod support;
