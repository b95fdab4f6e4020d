//! Whether a decision and a proof cost the same in a long log as in a short one.
//!
//! ```text
//! short   a log of some thousand records      a window of decisions, proofs        in turns, round after round
//! long    a log of `--to` records             a window of decisions, proofs
//! ```
//!
//! `cargo bench --bench growth -- --from 10000 --to 10000000 --window 10000 --rounds 5` takes some twenty minutes and
//! 31 GB of disk; by default the long log has 100,000 records.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failure here ends the bench")]

#[path = "support/log.rs"]
mod log;

use std::time::Instant;

use chancery_runtime::{Caller, Runtime};
use chancery_tests::bench::claims::{Claims, PRINCIPAL};
use chancery_tests::bench::{Arguments, Samples, Table, micros, number, rate};

/// Proofs of a round.
const PROOFS: u64 = 200;

/// Executions of the windows: far beyond those that a log is filled with.
const WINDOWS_FROM: usize = 1_000_000_000;

fn main() {
    let arguments = Arguments::read([("from", 10_000), ("to", 100_000), ("window", 10_000), ("rounds", 5)]);
    let [from, to, window, rounds] = ["from", "to", "window", "rounds"].map(|name| arguments.count(name));
    let claims = Claims::load();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let logs = [(from, &folders[0]), (to, &folders[1])].map(|(size, folder)| {
        let runtime = log::create(folder.path());
        decide(&runtime, &claims, 0..size);
        runtime
    });
    let (mut rates, mut proofs) = <([Samples; 2], [Samples; 2])>::default();
    let mut ratio = Samples::default();
    for round in 0..rounds {
        let from = WINDOWS_FROM + round * window;
        let took = [0, 1].map(|log: usize| decide(&logs[log], &claims, from..from + window));
        for log in [0, 1] {
            rates[log].push(took[log]);
            prove(&logs[log], &mut proofs[log]);
        }
        ratio.push(took[0] / took[1]);
    }
    let head = ["records", "decisions a second", "of the short log's", "proof, p50 µs", "p99 µs"];
    let mut table = Table::new("By the length of the log", head);
    for (log, size) in [from, to].into_iter().enumerate() {
        let of_short = if log == 0 { String::new() } else { format!("{:.2}", ratio.median()) };
        let [p50, p99] = [0.5, 0.99].map(|q| micros(proofs[log].quantile(q)));
        table.row([rate(number(size)), rate(1.0 / rates[log].median()), of_short, p50, p99]);
    }
    println!("{table}");
}

/// Seconds for each decision.
fn decide(runtime: &Runtime, claims: &Claims, which: std::ops::Range<usize>) -> f64 {
    let count = which.len();
    let begun = Instant::now();
    let mut decided = 0;
    // A part of the requests at a time: they need not be in memory all at once.
    let ids: Vec<usize> = which.collect();
    for part in ids.chunks(100_000) {
        let lines: Vec<_> = part.iter().map(|at| Ok(claims.request(*at))).collect();
        let answers = runtime.batch(&Caller::new(PRINCIPAL), lines).unwrap();
        decided += answers.filter(|line| line.result.is_ok()).count();
    }
    assert_eq!(decided, count, "every claim is decided");
    begun.elapsed().as_secs_f64() / number(count)
}

/// Inclusion proofs of entries all over the log, each checked before it is given out.
fn prove(runtime: &Runtime, samples: &mut Samples) {
    runtime.publish_checkpoint().unwrap();
    let records = runtime.records();
    let size = records.head().unwrap().size;
    for at in 0..PROOFS {
        // A stride that has no factor in common with most sizes.
        let index = at * 7_919_317 % size;
        let begun = Instant::now();
        assert!(records.inclusion(index).unwrap().is_some());
        samples.push(begun.elapsed().as_secs_f64());
    }
}
