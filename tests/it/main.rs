//! The integration tests: one binary, so that the product is linked once.
//!
//! Each module is one subject. They run in parallel, each in a temporary folder of its own.

mod architecture;
