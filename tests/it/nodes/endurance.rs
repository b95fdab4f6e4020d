//! Nodes that are killed all the time under load, and a client that keeps its own ledger of what was acknowledged.
//!
//! ```text
//! clients ─► POST, the nodes in turn ─► 201 or 200: acknowledged ─► ledger file, 40 bytes a decision
//!   │            └─ anything else: the same request again            │
//!   └─ one in ten is sent again at once, one in twenty much later    ▼
//! killer ─► SIGKILL a node, start it again ─► …            export ─► verified ─► each decision once, where the ledger says
//! ```
//! Small in the suite; `scripts/prove-nodes` runs it at length. What it takes grows with nothing but the number of
//! clients: the ledger is a file, and what was seen in the export a bit for each decision.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chancery_core::dsse::{IN_TOTO, record_id};
use chancery_core::log::{Kind, leaf_hash_of};
use chancery_tests::postgres;
use chancery_tests::program::{chancery, chancery_verify, run};
use chancery_tests::server::Server;
use serde_json::Value;

use crate::postgres::{claim, database, nodes};

/// Bytes of an entry: the index and one, 8 bytes; the leaf hash. Zeroes where nothing was acknowledged.
const ENTRY: u64 = 40;

/// A number from the environment, for runs at length.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// What was acknowledged.
struct Ledger(File);

#[derive(Debug, Eq, PartialEq)]
struct Acknowledged {
    index: u64,
    leaf_hash: String,
}

impl Ledger {
    fn get(&self, number: u64) -> Option<Acknowledged> {
        let mut entry = [0; 40];
        // Beyond the end of the file nothing was acknowledged yet.
        self.0.read_exact_at(&mut entry, number * ENTRY).ok()?;
        let index = u64::from_le_bytes(entry[..8].try_into().unwrap()).checked_sub(1)?;
        Some(Acknowledged { index, leaf_hash: entry[8..].iter().map(|byte| format!("{byte:02x}")).collect() })
    }

    fn put(&self, number: u64, answer: &Acknowledged) {
        let mut entry = (answer.index + 1).to_le_bytes().to_vec();
        let digits = answer.leaf_hash.as_bytes().chunks(2).map(|two| str::from_utf8(two).unwrap());
        entry.extend(digits.map(|two| u8::from_str_radix(two, 16).unwrap()));
        self.0.write_all_at(&entry, number * ENTRY).unwrap();
    }
}

/// What was counted.
#[derive(Debug, Default)]
struct Counts {
    next: AtomicU64,
    acknowledged: AtomicU64,
    /// Sent again on purpose, and answered the same.
    repeats: AtomicU64,
    /// No answer, or none that says what became of it.
    unanswered: AtomicU64,
    /// Of these, recorded nevertheless.
    recorded: AtomicU64,
    kills: AtomicU64,
    /// The processor's time of the nodes, those that were killed included.
    nodes_us: AtomicU64,
}

impl Counts {
    fn ends(&self, server: &Server) {
        let took = postgres::Times::of(server.id()).map_or(Duration::ZERO, |times| times.own);
        self.nodes_us.fetch_add(u64::try_from(took.as_micros()).unwrap(), Ordering::Relaxed);
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Sends one request until it is acknowledged.
fn acknowledged(
    agent: &ureq::Agent,
    urls: &[RwLock<String>; 2],
    number: u64,
    turn: &mut usize,
    counts: &Counts,
) -> (u16, Acknowledged) {
    let body = claim(&format!("n-{number}"));
    let mut lost = false;
    loop {
        *turn += 1;
        let url = format!("{}/v1/decisions", urls[*turn % 2].read().unwrap());
        let answer = agent.post(url).content_type("application/json").send(body.as_slice());
        let answer =
            answer.and_then(|mut answer| Ok((answer.status().as_u16(), answer.body_mut().read_to_string()?)));
        match answer {
            Ok((status @ (200 | 201), text)) => {
                let answer: Value = serde_json::from_str(&text).expect("an answer is whole");
                if lost && status == 200 {
                    add(&counts.recorded);
                }
                let leaf_hash = answer["log"]["leaf_hash"].as_str().unwrap().to_owned();
                return (status, Acknowledged { index: answer["log"]["index"].as_u64().unwrap(), leaf_hash });
            }
            // The node is gone, or cannot say.
            Ok((503, _)) | Err(_) => {
                lost = true;
                add(&counts.unanswered);
                thread::sleep(Duration::from_millis(5));
            }
            Ok((status, text)) => unreachable!("{status}: {text}"),
        }
    }
}

/// Numbers that look random and are the same in each run.
fn mixed(number: u64) -> u64 {
    let mixed = (number ^ (number >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

fn client(urls: &[RwLock<String>; 2], decisions: u64, ledger: &Ledger, counts: &Counts) {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .new_agent();
    let mut turn = 0;
    let again = |number: u64, turn: &mut usize| {
        if let Some(first) = ledger.get(number) {
            let (status, answer) = acknowledged(&agent, urls, number, turn, counts);
            assert_eq!((status, &answer), (200, &first), "n-{number} was acknowledged otherwise");
            add(&counts.repeats);
        }
    };
    loop {
        let number = counts.next.fetch_add(1, Ordering::Relaxed);
        if number >= decisions {
            return;
        }
        let (_, answer) = acknowledged(&agent, urls, number, &mut turn, counts);
        ledger.put(number, &answer);
        add(&counts.acknowledged);
        let chance = mixed(number);
        if chance.is_multiple_of(10) {
            again(number, &mut turn);
        }
        if chance % 20 == 1 {
            again((chance >> 8) % (number + 1), &mut turn);
        }
    }
}

/// Kills one node after the other, and starts it again.
fn killer(
    homes: [&Path; 2],
    mut servers: [Option<Server>; 2],
    urls: &[RwLock<String>; 2],
    every: Duration,
    over: &AtomicBool,
    counts: &Counts,
) -> [Option<Server>; 2] {
    let mut victim = 0;
    let mut last = Instant::now();
    while !over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(20));
        if last.elapsed() < every {
            continue;
        }
        last = Instant::now();
        let server = servers[victim].take().unwrap();
        counts.ends(&server);
        server.kill();
        let again = start(homes[victim]);
        *urls[victim].write().unwrap() = again.url.clone();
        servers[victim] = Some(again);
        victim = 1 - victim;
        add(&counts.kills);
    }
    servers
}

/// A server that logs no line for a request, which this process would keep, and that needs no files of a release.
fn start(home: &Path) -> Server {
    Server::start_with(home, &mut |command| {
        command.env("RUST_LOG", "warn,chancery::cli=info").env("CHANCERY_BUILD", "none");
    })
}

/// Reads the verified export: each decision is there once, where it was acknowledged, and nothing else is.
fn compared(export: &Path, decisions: u64, ledger: &Ledger) -> u64 {
    let mut seen = vec![0_u64; usize::try_from(decisions / 64 + 1).unwrap()];
    let mut found = 0;
    for line in BufReader::new(File::open(export).unwrap()).lines() {
        let line = line.unwrap();
        if !line.contains("\"kind\":\"decision\"") {
            continue;
        }
        let line: Value = serde_json::from_str(&line).unwrap();
        let payload = chancery_core::b64::decode(line["envelope"]["payload"].as_str().unwrap()).unwrap();
        let statement: Value = serde_json::from_slice(&payload).unwrap();
        let id = statement["predicate"]["executionId"].as_str().unwrap();
        let number: u64 = id.strip_prefix("n-").unwrap().parse().unwrap();
        let leaf_hash = leaf_hash_of(Kind::Decision, &record_id(IN_TOTO, &payload)).to_string();
        let there = Acknowledged { index: line["index"].as_u64().unwrap(), leaf_hash };
        assert_eq!(ledger.get(number), Some(there), "{id}");
        let (word, bit) = (usize::try_from(number / 64).unwrap(), 1 << (number % 64));
        assert_eq!(seen[word] & bit, 0, "{id} is there twice");
        seen[word] |= bit;
        found += 1;
    }
    found
}

/// What a decision has taken in the database: transactions, write-ahead log, and each table with its indexes.
fn print_sizes(url: &str, decisions: u64, before: &[u64; 3]) {
    let now = written(url);
    #[expect(clippy::cast_precision_loss, reason = "a table for people")]
    let each = |amount: u64| amount as f64 / decisions as f64;
    println!("| transactions a decision, those that read included | {:.2} |", each(now[0] - before[0]));
    println!("| write-ahead log, bytes a decision | {:.0} |", each(now[1] - before[1]));
    println!("| write-ahead log, syncs a decision | {:.3} |", each(now[2] - before[2]));
    let sizes = "SELECT relname, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class \
                 WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY pg_total_relation_size(oid) DESC LIMIT 6";
    for row in postgres::as_superuser(url, sizes).lines() {
        let [name, heap, indexes] = row.split('|').collect::<Vec<_>>()[..] else { unreachable!("{row}") };
        let [heap, indexes] = [heap, indexes].map(|bytes| each(bytes.parse().unwrap()));
        println!("| {name}: rows, indexes, bytes a decision | {heap:.0}, {indexes:.0} |");
    }
}

/// Transactions of the database, and bytes and syncs of the server's write-ahead log, since its beginning.
fn written(url: &str) -> [u64; 3] {
    let sql = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database() UNION ALL \
               SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint UNION ALL SELECT wal_sync FROM pg_stat_wal";
    let rows: Vec<u64> = postgres::as_superuser(url, sql).lines().map(|row| row.parse().unwrap()).collect();
    rows.try_into().unwrap()
}

#[test]
fn nothing_is_lost_or_doubled_while_nodes_are_killed() {
    let decisions = number("CHANCERY_NODES_DECISIONS", 600);
    let every = Duration::from_millis(number("CHANCERY_NODES_KILL_MS", 2_000));
    let clients = number("CHANCERY_NODES_CLIENTS", 8);
    let Some([first, second]) = nodes() else { return };
    let homes = [first.path(), second.path()];
    let servers = homes.map(start);
    let urls = [0, 1].map(|number: usize| RwLock::new(servers[number].url.clone()));
    let ledger = Ledger(tempfile::tempfile().unwrap());
    let (counts, over, begun) = (Counts::default(), AtomicBool::new(false), Instant::now());
    let url = database(first.path());
    let (before, idle) = (written(&url), postgres::processor_time());
    let servers = thread::scope(|scope| {
        let killing = scope.spawn(|| killer(homes, servers.map(Some), &urls, every, &over, &counts));
        let clients: Vec<_> =
            (0..clients).map(|_| scope.spawn(|| client(&urls, decisions, &ledger, &counts))).collect();
        let ended: Vec<_> = clients.into_iter().map(thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        let servers = killing.join().unwrap();
        ended.into_iter().for_each(|client| client.unwrap());
        servers
    });
    let took = begun.elapsed();
    let database_took = postgres::processor_time() - idle;
    for server in servers.into_iter().flatten() {
        counts.ends(&server);
        assert!(server.stop().success());
    }
    assert_eq!(counts.acknowledged.load(Ordering::Relaxed), decisions);

    run(&mut chancery(first.path()), ["export", "--out", "all.evidence.jsonl"]).expect(0);
    let export = first.path().join("all.evidence.jsonl");
    let verifying = Instant::now();
    let mut verify = chancery_verify();
    verify.args(["--environment", "test", "--without", "build", "--json", "--root"]);
    let said = run(verify.arg(first.path().join("trust/root.pub")), [&export]).expect(0);
    let verified = verifying.elapsed();
    assert_eq!(said.json()["counts"]["reproduced"], decisions, "{}", said.out);
    assert_eq!(compared(&export, decisions, &ledger), decisions, "nothing acknowledged is lost");

    let rate = u128::from(decisions) * 1_000 / took.as_millis().max(1);
    println!(
        "\n| two nodes, {clients} clients, a node killed every {} s | |\n|---|---|",
        every.as_secs_f64()
    );
    println!("| decisions acknowledged, all of them in the verified log once | {decisions} |");
    println!("| seconds, decisions a second | {:.1}, {rate} |", took.as_secs_f64());
    for (what, count) in [
        ("nodes killed and started again", &counts.kills),
        ("repeats on purpose, each answered as before", &counts.repeats),
        ("requests without an answer, sent again", &counts.unanswered),
        ("of these, recorded before the node died", &counts.recorded),
    ] {
        println!("| {what} | {} |", count.load(Ordering::Relaxed));
    }
    println!("| export, MB | {} |", std::fs::metadata(&export).unwrap().len() / 1_000_000);
    println!("| its verification, with every decision made again, s | {:.1} |", verified.as_secs_f64());
    let nodes_us = counts.nodes_us.load(Ordering::Relaxed);
    println!("| processor's time a decision, nodes, µs of a core | {} |", nodes_us / decisions);
    println!(
        "| processor's time a decision, database, µs of a core | {} |",
        database_took.as_micros() / u128::from(decisions)
    );
    print_sizes(&url, decisions, &before);
}
