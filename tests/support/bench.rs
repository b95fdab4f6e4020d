//! What the benches share: arguments, rounds, medians and one table.
//!
//! ```text
//! round 1 … n:  primitives, product, primitives, product …      measured one after the other, again and again
//!               ratio of each round ──> median                  what else runs on the machine hits both
//! ```
//!
//! A primitive is what nobody can do without: one call into the library that does the work, on the very same data.
//! It runs on as many threads as the product does, so that caches and memory are shared by as many.

pub mod claims;
pub mod evidence;
pub mod memory;
pub mod primitives;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

/// How many processors there are.
#[must_use]
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The numbers that a bench is called with: `cargo bench --bench NAME -- --records 20000`.
pub struct Arguments(BTreeMap<&'static str, u64>);

impl Arguments {
    /// Reads the command line; what is not on it has its default. Stops the program at an unknown name.
    #[must_use]
    pub fn read<const N: usize>(defaults: [(&'static str, u64); N]) -> Self {
        let mut values = BTreeMap::from(defaults);
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            // Cargo says so to every bench.
            if word == "--bench" {
                continue;
            }
            let known = word.strip_prefix("--").and_then(|name| values.get_mut(name));
            match (known, words.next().map(|value| value.replace('_', "").parse())) {
                (Some(value), Some(Ok(given))) => *value = given,
                _ => {
                    let names: Vec<String> =
                        values.iter().map(|(name, value)| format!("--{name} {value}")).collect();
                    eprintln!(
                        "unknown argument `{word}`, or no number after it; there are: {}",
                        names.join(" ")
                    );
                    std::process::exit(2);
                }
            }
        }
        Self(values)
    }

    /// The number that was given for `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        *self.0.get(name).expect("an argument that has a default")
    }

    /// The same as a count of things in memory.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        usize::try_from(self.get(name)).expect("a count that fits into memory")
    }
}

/// What was measured, once a round.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds a round.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The one in the middle.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The value below which the share `q` of them lies.
    #[must_use]
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a position among some thousand samples"
    )]
    pub fn quantile(&self, q: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = (sorted.len().saturating_sub(1) as f64 * q).round() as usize;
        sorted.get(at).copied().unwrap_or(f64::NAN)
    }
}

/// Does `work(0)` to `work(count - 1)` on `threads` threads and says how many seconds of one core each took.
pub fn core_seconds(threads: usize, count: usize, work: impl Fn(usize) + Sync) -> f64 {
    /// Small enough that all threads end together, large enough that they seldom meet.
    const CHUNK: usize = 16;
    let (next, start) = (AtomicUsize::new(0), Barrier::new(threads + 1));
    let mut begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                start.wait();
                loop {
                    let from = next.fetch_add(CHUNK, Ordering::Relaxed);
                    if from >= count {
                        return;
                    }
                    (from..count.min(from + CHUNK)).for_each(&work);
                }
            });
        }
        start.wait();
        begun = Instant::now();
    });
    begun.elapsed().as_secs_f64() * number(threads) / number(count)
}

/// `make(0)` to `make(count - 1)`, made on all cores.
pub fn on_all_cores<T: Send>(count: usize, make: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = cores();
    thread::scope(|scope| {
        let part = |thread| (count * thread / threads)..(count * (thread + 1) / threads);
        let make = &make;
        let parts: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || part(thread).map(make).collect::<Vec<T>>()))
            .collect();
        parts.into_iter().flat_map(|part| part.join().expect("a bench's thread")).collect()
    })
}

/// A count as a number to divide by.
#[must_use]
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "counts of a bench are far below 2^52"
)]
pub fn number(count: usize) -> f64 {
    count as f64
}

/// One table on stdout.
#[derive(Debug)]
pub struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a head line; the first column is text, the others are numbers.
    #[must_use]
    pub fn new<const N: usize>(title: impl Into<String>, head: [&str; N]) -> Self {
        Self { title: title.into(), rows: vec![head.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a line.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// A name, the time that it takes of one core, and how many that makes a second on `cores`.
    pub fn time(&mut self, name: &str, seconds: f64, cores: usize, ratio: Option<f64>) {
        let ratio = ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        self.row([name.to_owned(), micros(seconds), rate(number(cores) / seconds), ratio]);
    }
}

/// Microseconds, with as many digits as say something.
#[must_use]
pub fn micros(seconds: f64) -> String {
    let micros = seconds * 1e6;
    if micros < 100.0 { format!("{micros:.1}") } else { format!("{micros:.0}") }
}

/// A rate with separators between the thousands.
#[must_use]
pub fn rate(per_second: f64) -> String {
    let digits = format!("{per_second:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        writeln!(f, "\n{}\n", self.title)?;
        for (line, row) in self.rows.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => write!(f, "  {cell:<width$}")?,
                    _ => write!(f, "  {cell:>width$}")?,
                }
            }
            writeln!(f)?;
            if line == 0 {
                writeln!(
                    f,
                    "  {}",
                    "-".repeat(widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1))
                )?;
            }
        }
        Ok(())
    }
}
