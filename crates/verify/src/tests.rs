//! Whole files: the vectors, and what becomes of them when a byte changes.

use std::io::BufReader;
use std::path::PathBuf;

use crate::{Ask, Report, verify};

mod builds;
mod bytes;
mod forgeries;
mod keys;
mod resolutions;
mod rules;
mod vectors;
mod world;

/// A file of the vectors.
fn read(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/chancery/evidence");
    std::fs::read(folder.join(name)).unwrap()
}

fn text(name: &str) -> String {
    String::from_utf8(read(name)).unwrap()
}

fn judge(evidence: &[u8], root_pub: Option<&str>, ask: &Ask) -> Report {
    verify(BufReader::new(evidence), root_pub, ask)
}
