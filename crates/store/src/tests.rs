//! Tests of the store on real SQLite files.

mod append;
mod crash;
mod kinds;
mod opening;
mod reading;
mod schema;
mod support;
