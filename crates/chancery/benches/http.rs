//! How fast single decisions are answered over HTTP, against a bare axum server that sends the same JSON back.
//!
//! ```text
//! this process: client, one thread ──loopback──> `chancery serve --dev`: decided, signed, logged, synced, answered
//!                                  ──loopback──> echo: axum and nothing else           (this program once more)
//! ```
//!
//! Rates with 64 connections, and the median latency with one. Client and servers share the processors, in both cases.
//!
//! `cargo bench --bench http -- --requests 5000 --rounds 5`

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failure here ends the bench")]

use std::cell::{Cell, RefCell};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::thread;
use std::time::Instant;

use chancery_tests::bench::claims::Claims;
use chancery_tests::bench::memory::again;
use chancery_tests::bench::primitives::{Primitives, Row, bulk_insert};
use chancery_tests::bench::{Arguments, Samples, Table, cores, number, on_all_cores};
use chancery_tests::program::repository;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

const CONNECTIONS: usize = 64;

/// Requests of the server that only sends back, for one of the other: it is that much faster.
const ECHOES: usize = 8;

/// Rows of the bulk insert.
const ROWS: usize = 4_096;

fn main() {
    if std::env::args().nth(1).as_deref() == Some("echo") {
        return echo();
    }
    let arguments = Arguments::read([("requests", 5_000), ("rounds", 5)]);
    let (requests, rounds) = (arguments.count("requests"), arguments.count("rounds"));
    let (cores, claims) = (cores(), Claims::load());
    let primitives = Primitives::new();
    let rows = on_all_cores(ROWS, |at| Row::of(primitives.evidence(), at));
    let folder = tempfile::tempdir().unwrap();
    let (server, echo) = (Server::chancery(folder.path()), Server::echo());

    let mut next = 0;
    let mut bodies = |count: usize| {
        next += count;
        (next - count..next).map(|at| claims.request(at)).collect::<Vec<_>>()
    };
    let (mut rate, mut echo_rate, mut p50, mut echo_p50, mut work) =
        <(Samples, Samples, Samples, Samples, Samples)>::default();
    let (mut of_echo, mut of_bound, mut of_echo_p50) = <(Samples, Samples, Samples)>::default();
    for _ in 0..rounds {
        let costs = primitives.to_decide(cores);
        let inserted =
            tempfile::tempdir().map(|folder| bulk_insert(&folder.path().join("bare.db"), &rows)).unwrap();
        let echoed = load(&echo, "/", &bodies(requests * ECHOES), CONNECTIONS).0;
        let decided = load(&server, "/v1/decisions", &bodies(requests), CONNECTIONS).0;
        let echo_alone = load(&echo, "/", &bodies(requests / 5), 1).1.median();
        let alone = load(&server, "/v1/decisions", &bodies(requests / 5), 1).1.median();
        let bound = echoed + (costs.sum() + inserted) / number(cores);
        work.push(costs.sum() + inserted);
        echo_rate.push(echoed);
        rate.push(decided);
        echo_p50.push(echo_alone);
        p50.push(alone);
        of_echo.push(echoed / decided);
        of_bound.push(bound / decided);
        of_echo_p50.push(alone / echo_alone);
    }
    drop((server, echo));

    let title =
        format!("Single requests over HTTP, {cores} cores with the client, medians of {rounds} rounds");
    let mut table = Table::new(title, ["", "core µs each", "a second", ""]);
    let mut line = |name: &str, seconds: f64, note: String| {
        let micros = chancery_tests::bench::micros(seconds * number(cores));
        table.row([name.to_owned(), micros, chancery_tests::bench::rate(1.0 / seconds), note]);
    };
    line("echo, 64 connections", echo_rate.median(), String::new());
    line("primitives of a decision", work.median() / number(cores), String::new());
    line("decided, 64 connections", rate.median(), format!("{:.2} of the echo", of_echo.median()));
    let bound = echo_rate.median() + work.median() / number(cores);
    line("bound: echo and primitives", bound, format!("{:.2} reached", of_bound.median()));
    println!("{table}");
    let mut table = Table::new("One connection", ["", "p50, µs", ""]);
    let micros = |samples: &Samples| chancery_tests::bench::micros(samples.median());
    table.row(["echo".to_owned(), micros(&echo_p50), String::new()]);
    table.row(["decided".to_owned(), micros(&p50), format!("{:.1} echoes", of_echo_p50.median())]);
    println!("{table}");
}

/// A server in a process of its own, ended when it is dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// `chancery serve` on a new log in `home`.
    fn chancery(home: &Path) -> Self {
        let command = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
            command.current_dir(home).env_clear().env("CHANCERY_PASSWORD", "a password");
            command
        };
        let policies = repository().join("policies");
        let mut init = command();
        init.args(["init", "--no-input", "--environment", "test", "--tenant", "acme", "--policies"])
            .arg(policies);
        assert!(init.stdout(Stdio::null()).status().unwrap().success(), "chancery init");
        let mut serve = command();
        serve.args(["serve", "--dev", "--listen", "127.0.0.1:0"]);
        serve.env("CHANCERY_OPERATOR_LISTEN", "127.0.0.1:0").env("CHANCERY_LOG_FORMAT", "json");
        let mut child = serve.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the server listens");
            let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
            if let Some(address) = entry.pointer("/fields/api").and_then(serde_json::Value::as_str) {
                break address.parse().unwrap();
            }
        };
        // It must not wait for somebody to read what it says.
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, address }
    }

    /// This program as [`echo`].
    fn echo() -> Self {
        let mut child = again(&["echo"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().parse().unwrap() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends every body back, on a free port that it prints.
fn echo() {
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    threads.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let same = |body: axum::body::Bytes| async { ([("content-type", "application/json")], body) };
        axum::serve(listener, axum::Router::new().route("/", axum::routing::post(same))).await.unwrap();
    });
}

/// Sends the bodies over so many connections; seconds for each of them, and how long each waited for its answer.
fn load(server: &Server, path: &str, bodies: &[Vec<u8>], connections: usize) -> (f64, Samples) {
    let head = |length: usize| {
        let line = format!("POST {path} HTTP/1.1\r\nhost: {}\r\n", server.address);
        format!("{line}content-type: application/json\r\ncontent-length: {length}\r\n\r\n")
    };
    let messages = bodies.iter().map(|body| [head(body.len()).as_bytes(), body].concat());
    let messages: Rc<Vec<Vec<u8>>> = Rc::new(messages.collect());
    let (next, waited) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Samples::default())));
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tasks = LocalSet::new();
    let seconds = tasks.block_on(&client, async {
        let mut streams = Vec::new();
        for _ in 0..connections {
            let stream = TcpStream::connect(server.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            streams.push(stream);
        }
        let begun = Instant::now();
        let tasks: Vec<_> = streams
            .into_iter()
            .map(|stream| {
                let (messages, next, waited) = (Rc::clone(&messages), Rc::clone(&next), Rc::clone(&waited));
                tokio::task::spawn_local(async move { converse(stream, &messages, &next, &waited).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        begun.elapsed().as_secs_f64()
    });
    let waited = waited.take();
    (seconds / number(bodies.len()), waited)
}

/// One connection: the next message, its answer, the next, until there is none left.
async fn converse(
    mut stream: TcpStream,
    messages: &[Vec<u8>],
    next: &Cell<usize>,
    waited: &RefCell<Samples>,
) {
    let mut answer = Vec::with_capacity(1 << 16);
    while let Some(message) = messages.get(next.replace(next.get() + 1)) {
        let begun = Instant::now();
        stream.write_all(message).await.unwrap();
        answer.clear();
        while !is_whole(&answer) {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "the server keeps the connection");
        }
        waited.borrow_mut().push(begun.elapsed().as_secs_f64());
        let good = answer.starts_with(b"HTTP/1.1 200") || answer.starts_with(b"HTTP/1.1 201");
        assert!(good, "{}", String::from_utf8_lossy(&answer));
    }
}

/// Is this an answer with all of its body?
fn is_whole(answer: &[u8]) -> bool {
    const END: &[u8] = b"\r\n\r\n";
    const LENGTH: &[u8] = b"content-length: ";
    let find = |what: &[u8]| answer.windows(what.len()).position(|window| window.eq_ignore_ascii_case(what));
    let Some(end) = find(END) else { return false };
    let digits =
        find(LENGTH).and_then(|at| answer.get(at + LENGTH.len()..end)).expect("an answer with a length");
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    let length = digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
    answer.len() >= end + END.len() + length
}
