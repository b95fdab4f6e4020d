//! Other people's tools and Chancery, each checking what the other made.
//!
//! A group is one tool and one direction. Its test does all of the group's checks, those that have to fail too, and
//! holds the rows that come of it against the table in `docs/interop.md`.

mod cosign;
mod files;
mod openssl;
mod others;
mod table;
