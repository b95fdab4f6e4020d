//! The auditor's judgement of a file of evidence (`docs/spec/formats.md` §9 and §10).
//!
//! [`verify()`] reads one file and one public key and nothing else: no clock, no network, no database.
//! Every check that can run does run; what could not be checked is never taken for checked.
//!
//! ```text
//! file ── preamble: header, keyring, bundles, builds ── entries, on all threads ── fold, in order ──> report
//! ```
//!
//! What a file says is believed in the order in which it can be: the keyring by `root.pub`, then the checkpoint by
//! the keyring, then bundles by their hashes and signatures, and only then is a policy parsed at all.

pub mod ask;
pub mod check;
pub mod report;

mod artefact;
mod canonical;
mod cases;
mod conclude;
mod context;
mod decision;
mod entry;
mod fault;
mod fold;
mod order;
mod pipeline;
mod preamble;
mod slot;
mod table;
mod tally;
mod text;

#[cfg(test)]
mod tests;

use std::io::BufRead;

pub use ask::{Ask, AskError, Environment, Part, RevokedBuilds, Without};
use chancery_core::evidence::Reader;
pub use check::CheckId;
pub use fault::Fault;
pub use report::{BuildFound, BuildSource, Check, CheckResult, Counts, Evidence, Place, Report, Verdict};

use crate::fold::Fold;
use crate::preamble::{Preamble, Stop};
use crate::tally::{Spot, Tally, told};

/// The name and version that verification statements and reports carry.
pub const VERIFIER: &str = concat!("chancery-verify/", env!("CARGO_PKG_VERSION"));

/// Judges a file of evidence.
///
/// `root_pub` is the text of `root.pub`; without it nothing can be verified, but everything that can be
/// checked is. Memory does not grow with the file but for at most 64 bytes a decision, 24 for any other record,
/// and the override cases that are open. Give a `BufReader` of a megabyte or so.
///
/// The report is the same for the same file and question, whatever the number of threads.
///
/// Errors of `input` end the reading; the report says so in [`Report::input_error`].
pub fn verify(input: impl BufRead + Send, root_pub: Option<&str>, ask: &Ask) -> Report {
    let mut reader = Reader::new(input);
    let mut tally = Tally::new();
    let mut counts = Counts::default();
    let preamble = match preamble::read(&mut reader, root_pub, ask, &mut tally, &mut counts) {
        Ok(preamble) => preamble,
        Err(stop) => {
            counts.lines = reader.lines();
            counts.bytes = reader.bytes();
            let input_error = match stop {
                Stop::NoHeader => None,
                Stop::Read(error) => {
                    let reason = "the input could not be read to its end";
                    tally.unknown(CheckId::EvidenceFormat, Spot::FILE, reason);
                    Some(told(&error))
                }
            };
            for check in CheckId::ALL {
                tally.idle(*check, "nothing can be read of the file");
            }
            return conclude::bare(ask, tally, counts, input_error);
        }
    };
    let Preamble { context, keyring_leaves, next } = preamble;
    let mut fold = Fold::new(&context, keyring_leaves, tally, counts);
    let (lines, bytes, read) = pipeline::run(reader, next, &context, &mut fold);
    let mut finished = fold.finish(read.is_ok());
    finished.counts.lines = lines;
    finished.counts.bytes = bytes;
    conclude::conclude(&context, finished, read.err().map(|error| told(&error)))
}
