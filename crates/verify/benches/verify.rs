//! How fast evidence is verified, with policies run again and without, against what nobody can leave out.
//!
//! ```text
//! with      exact bytes, signatures, tree, and of each decision the commitments and the evaluation
//! without   the same of a file that discloses no inputs: nothing can be evaluated
//! bound     processors / (Cedar + JCS + SHA-256 + Ed25519), core-seconds of the same lines
//! ```
//!
//! `cargo bench --bench verify -- --records 10000 --rounds 5`

use std::time::Instant;

use chancery_tests::bench::evidence::Evidence;
use chancery_tests::bench::primitives::Primitives;
use chancery_tests::bench::{Arguments, Samples, Table, cores, number};
use chancery_verify::{Ask, Part, Verdict, Without, verify};

fn main() {
    let arguments = Arguments::read([("records", 10_000), ("rounds", 5)]);
    let (records, rounds, cores) = (arguments.count("records"), arguments.get("rounds"), cores());
    let (evidence, primitives) = (Evidence::new(records), Primitives::new());
    for opened in [true, false] {
        let file = evidence.write(Vec::new(), opened);
        let mut costs = <[Samples; 4]>::default();
        let (mut verified, mut of_bound) = <(Samples, Samples)>::default();
        for _ in 0..rounds {
            let cost =
                if opened { primitives.to_verify_opened(cores) } else { primitives.to_verify_closed(cores) };
            for (samples, cost) in costs.iter_mut().zip([cost.cedar, cost.jcs, cost.sha256, cost.ed25519]) {
                samples.push(cost);
            }
            let seconds = seconds_each(&file, &evidence.root_pub(), records, opened);
            verified.push(seconds * number(cores));
            of_bound.push(cost.sum() / number(cores) / seconds);
        }

        let with = if opened { "with their inputs, evaluated again" } else { "without their inputs" };
        let title =
            format!("Verification of {records} decisions {with}, {cores} cores, medians of {rounds} rounds");
        let mut table = Table::new(title, ["", "core µs each", "a second", "of the bound"]);
        let names =
            ["Cedar, three outcomes", "canonical JSON", "SHA-256 and HMAC", "Ed25519, strict verification"];
        for (name, samples) in names.into_iter().zip(&costs) {
            table.time(name, samples.median(), cores, None);
        }
        table.time("bound: their sum", costs.iter().map(Samples::median).sum(), cores, None);
        table.time("verified", verified.median(), cores, Some(of_bound.median()));
        println!("{table}");
    }
}

/// Seconds that each decision of the file took.
fn seconds_each(file: &[u8], root: &str, records: usize, opened: bool) -> f64 {
    let without = if opened { vec![Part::Build] } else { vec![Part::Build, Part::Reproduce, Part::Opening] };
    let ask = Ask { without: Without::new(without), ..Ask::default() };
    let begun = Instant::now();
    let report = verify(file, Some(root), &ask);
    let seconds = begun.elapsed().as_secs_f64() / number(records);
    assert_eq!(report.verdict, Verdict::Verified, "{report}");
    let reproduced = if opened { records } else { 0 };
    assert_eq!(usize::try_from(report.counts.reproduced), Ok(reproduced), "{report}");
    seconds
}
