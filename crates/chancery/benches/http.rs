//! How fast decisions are answered over HTTP, against a bare axum server that sends the same JSON back.
//!
//! ```text
//! this process: client, one thread ──loopback──> `chancery serve --dev`: decided, signed, logged, synced, answered
//!                                  ──loopback──> echo: axum and nothing else           (this program once more)
//! ```
//!
//! On SQLite, and on PostgreSQL where it is installed: the rate with 64 connections, the median latency with one, the
//! 99th percentile at half of that rate, and the rate of one batch, which is held against the same batch in this
//! process. Beside that: what the sync of a commit alone takes. Client and servers share the processors, in all cases.
//! PostgreSQL is one that has settled: a new server fills each file of its write-ahead log with zeros within a commit.
//!
//! `cargo bench --bench http -- --requests 5000 --rounds 5 --batch 20000`

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failure here ends the bench")]

#[path = "support/client.rs"]
mod client;
#[path = "../../runtime/benches/support/log.rs"]
mod log;
#[path = "support/servers.rs"]
mod servers;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use chancery_runtime::{Caller, Runtime};
use chancery_tests::bench::claims::{Claims, PRINCIPAL};
use chancery_tests::bench::primitives::{Primitives, Row, bulk_insert};
use chancery_tests::bench::{Arguments, Samples, Table, cores, micros, number, on_all_cores, rate};
use chancery_tests::postgres;

use self::client::{Pace, lines, load};
use self::servers::Server;

const CONNECTIONS: usize = 64;

/// Requests of the server that only sends back, for one of the other: it is that much faster.
const ECHOES: usize = 8;

/// Rows of the bulk insert.
const ROWS: usize = 4_096;

/// What a commit of one decision appends to SQLite's log: pages of 8 KiB with their headers.
const SYNCED_BYTES: usize = 7 * (8_192 + 24);

fn main() {
    if std::env::args().nth(1).as_deref() == Some("echo") {
        return servers::echo();
    }
    let arguments = Arguments::read([("requests", 5_000), ("rounds", 5), ("batch", 20_000)]);
    let [requests, rounds, batch] = ["requests", "rounds", "batch"].map(|name| arguments.count(name));
    let (cores, claims) = (cores(), Claims::load());
    let primitives = Primitives::new();
    let rows = on_all_cores(ROWS, |at| Row::of(primitives.evidence(), at));
    let folder = tempfile::tempdir().unwrap();
    let home = |name: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let echo = Server::echo();
    let mut measured =
        vec![Measured::new("SQLite", Server::chancery(&home("sqlite"), None), log::create(&home("alone")))];
    if let [Some(served), Some(alone)] = [postgres::database(), postgres::database()] {
        postgres::settle();
        let server = Server::chancery(&home("postgres"), Some(&served));
        measured.push(Measured::new(
            "PostgreSQL",
            server,
            log::create_at(&home("alone-postgres"), alone.parse().unwrap()),
        ));
    }

    let mut next = 0;
    let mut bodies = |count: usize| {
        next += count;
        (next - count..next).map(|at| claims.request(at)).collect::<Vec<_>>()
    };
    let (mut echo_rate, mut echo_p50, mut work, mut synced) =
        <(Samples, Samples, Samples, Samples)>::default();
    for _ in 0..rounds {
        let costs = primitives.to_decide(cores);
        let inserted =
            tempfile::tempdir().map(|folder| bulk_insert(&folder.path().join("bare.db"), &rows)).unwrap();
        let spent = costs.sum() + inserted;
        work.push(spent);
        synced.push(sync(folder.path(), requests / 20));
        let mut echo = |count: usize, connections: usize| {
            load(echo.address, "/", &bodies(count), connections, Pace::Closed)
        };
        let (echoed, alone) = (echo(requests * ECHOES, CONNECTIONS).0, echo(requests / 5, 1).1.median());
        echo_rate.push(echoed);
        echo_p50.push(alone);
        for one in &mut measured {
            let mut decide = |count: usize, connections: usize, pace: Pace| {
                load(one.server.address, "/v1/decisions", &bodies(count), connections, pace)
            };
            let decided = decide(requests, CONNECTIONS, Pace::Closed).0;
            let p50 = decide(requests / 5, 1, Pace::Closed).1.median();
            let half = Pace::Every(Duration::from_secs_f64(2.0 * decided));
            one.p99.push(decide(requests / 2, CONNECTIONS, half).1.quantile(0.99));
            one.rate.push(decided);
            one.p50.push(p50);
            one.of_echo.push(echoed / decided);
            one.of_bound.push((echoed + spent / number(cores)) / decided);
            one.of_echo_p50.push(p50 / alone);
            let batched = lines(one.server.address, "/v1/decisions:batch", &bodies(batch));
            let in_process = decide_all(&one.alone, bodies(batch));
            one.batch.push(batched);
            one.in_process.push(in_process);
            one.of_in_process.push(in_process / batched);
        }
    }
    drop(echo);

    let title =
        format!("Single requests over HTTP, {cores} cores with the client, medians of {rounds} rounds");
    let mut table =
        Table::new(title, ["", "core µs each", "a second", "of the echo", "of echo and primitives"]);
    let mut line = |name: String, seconds: f64, ratios: [String; 2]| {
        let [of_echo, of_bound] = ratios;
        table.row([name, micros(seconds * number(cores)), rate(1.0 / seconds), of_echo, of_bound]);
    };
    let none = || [String::new(), String::new()];
    line("echo, 64 connections".to_owned(), echo_rate.median(), none());
    line("primitives of a decision".to_owned(), work.median() / number(cores), none());
    for one in &measured {
        let ratios = [&one.of_echo, &one.of_bound].map(|ratio| format!("{:.3}", ratio.median()));
        line(format!("decided, 64 connections, {}", one.name), one.rate.median(), ratios);
    }
    println!("{table}");
    let mut table = Table::new(
        "One connection, and half of the peak rate",
        ["", "p50, µs", "echoes", "p99 at half of peak, ms"],
    );
    let none = String::new;
    table.row(["echo".to_owned(), micros(echo_p50.median()), none(), none()]);
    let of_echo = format!("{:.1}", synced.median() / echo_p50.median());
    table.row(["the sync of one commit alone".to_owned(), micros(synced.median()), of_echo, none()]);
    for one in &measured {
        let (of_echo, p99) =
            (format!("{:.1}", one.of_echo_p50.median()), format!("{:.1}", one.p99.median() * 1e3));
        table.row([format!("decided, {}", one.name), micros(one.p50.median()), of_echo, p99]);
    }
    println!("{table}");
    let title = format!("{batch} decisions in one batch");
    let mut table = Table::new(title, ["", "a second", "in process", "ratio"]);
    for one in &measured {
        let [over_http, in_process] =
            [&one.batch, &one.in_process].map(|seconds| rate(1.0 / seconds.median()));
        table.row([one.name.to_owned(), over_http, in_process, format!("{:.2}", one.of_in_process.median())]);
    }
    println!("{table}");
}

/// A server on one of the databases, and a log on the same without a server.
struct Measured {
    name: &'static str,
    server: Server,
    alone: Runtime,
    rate: Samples,
    p50: Samples,
    p99: Samples,
    batch: Samples,
    in_process: Samples,
    of_echo: Samples,
    of_bound: Samples,
    of_echo_p50: Samples,
    of_in_process: Samples,
}

impl Measured {
    fn new(name: &'static str, server: Server, alone: Runtime) -> Self {
        let none = Samples::default;
        Self {
            name,
            server,
            alone,
            rate: none(),
            p50: none(),
            p99: none(),
            batch: none(),
            in_process: none(),
            of_echo: none(),
            of_bound: none(),
            of_echo_p50: none(),
            of_in_process: none(),
        }
    }
}

/// Seconds for each of the requests, decided and recorded in this process.
fn decide_all(runtime: &Runtime, bodies: Vec<Vec<u8>>) -> f64 {
    let count = bodies.len();
    let begun = Instant::now();
    let answers =
        runtime.batch(&Caller::new(PRINCIPAL), bodies.into_iter().map(Ok).collect::<Vec<_>>()).unwrap();
    let decided = answers.filter(|line| line.result.is_ok()).count();
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(decided, count, "every claim is decided");
    seconds / number(count)
}

/// The median time of `fdatasync` after what a commit of one decision appends to a file.
fn sync(folder: &Path, count: usize) -> f64 {
    let mut file = File::create(folder.join("synced")).unwrap();
    let mut samples = Samples::default();
    for _ in 0..count {
        file.write_all(&[7; SYNCED_BYTES]).unwrap();
        let begun = Instant::now();
        file.sync_data().unwrap();
        samples.push(begun.elapsed().as_secs_f64());
    }
    samples.median()
}
