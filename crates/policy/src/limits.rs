//! How large a bundle may be. Every limit is checked before the code that it protects runs.
//!
//! Cedar's parser and its evaluator recurse. Measured with Cedar 4.14.1 on a 2 MiB stack: the parser aborts the
//! process at about 90 levels of nested method calls (two brackets a level) and 128 nested parentheses, the
//! evaluator gives up at about 300 chained operators, and close to the end of its stack the validator lets policies
//! pass unchecked. [`NESTING_MAX`] and [`DEPTH_MAX`] keep all three far from that, so that a bundle that loads is
//! evaluated in the same way everywhere, **provided that the calling thread has about 1.5 MiB of stack left**; the
//! usual thread of 2 MiB has.

/// The most bytes of one file: 1 MiB, thousands of policies or entities.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// The most bytes of all files together: 8 MiB, which is 11 MiB in an evidence line.
pub const BUNDLE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The most files, cases included.
pub const FILES_MAX: usize = 1_000;

/// The most bytes of a path: what the usual file systems take for one name.
pub const PATH_BYTES_MAX: usize = 255;

/// The most bytes of `schema.cedarschema`: Cedar's time to read a record is quadratic in its attributes.
pub const SCHEMA_BYTES_MAX: usize = 128 * 1024;

/// The deepest nesting of brackets in a policy or a schema, counted on the text.
pub const NESTING_MAX: usize = 64;

/// The deepest expression: brackets, operators in a chain and attribute accesses together.
pub const DEPTH_MAX: usize = 160;

/// The most policies: evaluation is linear in them (about 1.5 µs each).
pub const POLICIES_MAX: usize = 2_000;

/// The most outcomes: each is one evaluation of every request.
pub const OUTCOMES_MAX: usize = 16;

/// The most reasons of a manifest.
pub const REASONS_MAX: usize = 2_000;

/// The most bytes of an id, a code, an outcome, a role.
pub const NAME_BYTES_MAX: usize = 200;

/// The most distinct approvers that an override can ask for.
pub const QUORUM_MAX: u32 = 100;

/// The most entity types, common types or actions (each) of a schema.
pub const SCHEMA_TYPES_MAX: usize = 500;

/// The deepest type, references to common types counted: a request has depth 32 at most.
pub const TYPE_DEPTH_MAX: usize = 32;

/// The most attributes and elements of all types of a schema, written out without references.
///
/// Common types that refer to others twice double with each step: forty lines would fill any memory.
pub const TYPE_NODES_MAX: usize = 50_000;

/// The most entities of `entities.json`.
pub const ENTITIES_MAX: usize = 10_000;

/// The longest chain of parents in `entities.json`: Cedar's closure over it recurses.
pub const ENTITY_LEVELS_MAX: usize = 32;

/// The most cases of a bundle.
pub const CASES_MAX: usize = 10_000;
