//! How much memory export and verification need, for logs of different lengths: it should not grow with the log.
//!
//! ```text
//! make      decides N claims into a new log                       one process
//! export    writes the whole log into a counter                   another: its peak is shown
//! verify    reads what an export writes into a pipe               another: its peak is shown
//! ```
//!
//! Each stage is a process of its own, so that the peak (`VmHWM` of `/proc/self/status`) is that stage's. Linux only.
//!
//! `cargo bench --bench memory -- --from 10000 --to 1000000` takes the sizes from the first to the last in steps of
//! ten; a million records take some minutes and about 7 GB of disk. By default it stops at 100,000.

#![expect(clippy::unwrap_used, reason = "a failure here ends the bench")]

#[path = "support/log.rs"]
mod log;

use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use chancery_core::digest::Digest;
use chancery_runtime::export::{Disclosure, ExportRequest, Selection};
use chancery_runtime::{Caller, Home, Options, Runtime, ServerKeys};
use chancery_tests::bench::claims::{Claims, PRINCIPAL};
use chancery_tests::bench::memory::{again, mebibytes, peak};
use chancery_tests::bench::{Arguments, Table, number, rate};
use chancery_verify::{Ask, Part, Verdict, Without, verify};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["make", folder, count] => make(Path::new(folder), count.parse().unwrap()),
        ["export", folder] => {
            export(Path::new(folder), io::sink());
            println!("{}", peak().unwrap());
        }
        ["pipe", folder] => export(Path::new(folder), BufWriter::with_capacity(1 << 16, io::stdout().lock())),
        ["verify", root, count] => check(Path::new(root), count.parse().unwrap()),
        _ => compare(),
    }
}

fn compare() {
    let arguments = Arguments::read([("from", 10_000), ("to", 100_000)]);
    let (mut size, to) = (arguments.get("from"), arguments.get("to"));
    let mut table = Table::new(
        "Memory at its peak, by the length of the log",
        ["records", "evidence", "export", "verify"],
    );
    while size <= to {
        let folder = tempfile::tempdir().unwrap();
        let (path, count) = (folder.path().to_str().unwrap(), size.to_string());
        let root = folder.path().join("trust/root.pub");
        said(&mut again(&["make", path, &count]));
        let exporting = said(&mut again(&["export", path])).parse().unwrap();

        let mut exporter = again(&["pipe", path]).stdout(Stdio::piped()).spawn().unwrap();
        let mut verifier = again(&["verify", root.to_str().unwrap(), &count]);
        let report = said(verifier.stdin(exporter.stdout.take().unwrap()));
        assert!(exporter.wait().unwrap().success(), "the export succeeds");
        let (verifying, bytes) = report.split_once(' ').unwrap();
        let [bytes, verifying] = [bytes, verifying].map(|text| text.parse().unwrap());
        let records = rate(number(usize::try_from(size).unwrap()));
        table.row([records, mebibytes(bytes), mebibytes(exporting), mebibytes(verifying)]);
        size *= 10;
    }
    println!("{table}");
}

/// What a stage prints.
fn said(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn make(folder: &Path, count: usize) {
    let runtime = log::create(folder);
    let claims = Claims::load();
    let lines = (0..count).map(move |at| Ok(claims.request(at)));
    let answers = runtime.batch(&Caller::new(PRINCIPAL), lines).unwrap();
    assert_eq!(answers.filter(|line| line.result.is_ok()).count(), count, "every claim is decided");
}

fn export(folder: &Path, out: impl Write) {
    let home = Home::new(folder);
    let options = Options {
        keys: ServerKeys::load(&home, log::PASSWORD).unwrap(),
        home,
        database: folder.join("chancery.db").into(),
        tenant: None,
        environment: None,
        binary: Digest::of(b"a program"),
        build: None,
        clock: Arc::new(log::SystemClock),
        entropy: Arc::new(log::SystemEntropy::open()),
        threads: None,
    };
    let runtime = Runtime::open(options).unwrap();
    let request = ExportRequest { selection: Selection::Complete, disclosure: Disclosure::Full };
    runtime.begin_export(&request).unwrap().write(out, |_| {}).unwrap();
}

/// Verifies stdin; prints the peak and the number of bytes.
fn check(root: &Path, count: u64) {
    let root = std::fs::read_to_string(root).unwrap();
    let ask = Ask { without: Without::new([Part::Build]), ..Ask::default() };
    let report = verify(BufReader::with_capacity(1 << 20, io::stdin()), Some(&root), &ask);
    assert_eq!((report.verdict, report.counts.reproduced), (Verdict::Verified, count), "{report}");
    println!("{} {}", peak().unwrap(), report.counts.bytes);
}
