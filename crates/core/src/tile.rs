//! tile.
