//! How fast decisions are made, and how fast they are made, recorded and answered, against what nobody can leave out.
//!
//! ```text
//! attested   request bytes ─► parsed, typed, committed, evaluated, stated, signed       one core, all cores
//! durable    the same through Runtime::batch: looked up, encrypted, logged, synced, answered
//! bound      processors / (Cedar + JCS + SHA-256 + Ed25519 + SQLite bulk insert), core-seconds of the same data
//! ```
//!
//! And by the number of policies, with a bundle of 10 and one of 100.
//!
//! `cargo bench --bench decide -- --records 20000 --rounds 5`

#![expect(clippy::unwrap_used, reason = "a failure here ends the bench")]

#[path = "support/log.rs"]
mod log;

use std::hint::black_box;
use std::time::Instant;

use chancery_core::commitment::Opening;
use chancery_core::dsse::{Envelope, IN_TOTO};
use chancery_core::key::Signer as _;
use chancery_core::time::Timestamp;
use chancery_runtime::request::Request;
use chancery_runtime::{Caller, Runtime};
use chancery_tests::bench::claims::{self, Claims, PRINCIPAL};
use chancery_tests::bench::evidence::Evidence;
use chancery_tests::bench::primitives::{Costs, Primitives, Row, bulk_insert};
use chancery_tests::bench::{Arguments, Samples, Table, core_seconds, cores, number, on_all_cores};

/// Requests that are attested in a round.
const SAMPLES: usize = 2_000;

fn main() {
    let arguments = Arguments::read([("records", 20_000), ("rounds", 5)]);
    let records = arguments.count("records");
    let cores = cores();
    let primitives = Primitives::new();
    let evidence = primitives.evidence();
    let rows = on_all_cores(records, |at| Row::of(evidence, at));
    let requests: Vec<Vec<u8>> = (0..SAMPLES).map(|at| evidence.claims.request(at)).collect();
    let folder = tempfile::tempdir().unwrap();
    let runtime = log::create(folder.path());

    let mut costs = CostSamples::default();
    let (mut insert, mut attested_one, mut attested, mut durable) =
        <(Samples, Samples, Samples, Samples)>::default();
    let (mut of_work_one, mut of_work, mut of_bound) = <(Samples, Samples, Samples)>::default();
    for round in 0..arguments.count("rounds") {
        let attest = |at: usize| attest(evidence, requests.get(at).unwrap());
        let alone = primitives.to_decide(1);
        let one = core_seconds(1, SAMPLES, attest);
        let cost = primitives.to_decide(cores);
        let all = core_seconds(cores, SAMPLES, attest);
        let inserted =
            tempfile::tempdir().map(|folder| bulk_insert(&folder.path().join("bare.db"), &rows)).unwrap();
        let decided = decide_all(&runtime, &evidence.claims, round * records, records);

        costs.push(cost);
        insert.push(inserted);
        attested_one.push(one);
        attested.push(all);
        durable.push(decided);
        of_work_one.push(alone.sum() / one);
        of_work.push(cost.sum() / all);
        of_bound.push((cost.sum() + inserted) / number(cores) / decided);
    }

    let title =
        format!("Decisions by claim-approval, {cores} cores, medians of {} rounds", arguments.get("rounds"));
    let mut table = Table::new(title, ["", "core µs each", "a second", "of the bound"]);
    for (name, samples) in costs.named() {
        table.time(name, samples.median(), cores, None);
    }
    let sum: f64 = costs.named().iter().map(|(_, samples)| samples.median()).sum();
    table.time("bound of attested: their sum", sum, cores, None);
    table.time("attested, one core", attested_one.median(), 1, Some(of_work_one.median()));
    table.time("attested, all cores", attested.median(), cores, Some(of_work.median()));
    table.time("SQLite, bulk insert of the same bytes", insert.median(), 1, None);
    table.time("bound of durable: with the insert", sum + insert.median(), cores, None);
    let all = durable.median() * number(cores);
    table.time(&format!("durable, {records} in a batch"), all, cores, Some(of_bound.median()));
    println!("{table}");
    by_policies(&evidence.claims, records / 2, arguments.get("rounds"));
}

/// The rate with ten policies and with a hundred.
fn by_policies(claims: &Claims, records: usize, rounds: u64) {
    const COUNTS: [usize; 2] = [10, 100];
    let folders = COUNTS.map(|_| tempfile::tempdir().unwrap());
    let mut logs = COUNTS.iter().zip(&folders).map(|(count, folder)| {
        let database = folder.path().join("chancery.db").into();
        log::create_with(folder.path(), database, Claims::files_with_policies(*count))
    });
    let (few, many) = (logs.next().unwrap(), logs.next().unwrap());
    let (mut of_few, mut of_many, mut ratio) = <(Samples, Samples, Samples)>::default();
    for round in 0..usize::try_from(rounds).unwrap() {
        let [few, many] = [&few, &many].map(|log| decide_all(log, claims, round * records, records));
        of_few.push(few);
        of_many.push(many);
        ratio.push(few / many);
    }
    let mut table = Table::new(
        "Durable decisions by the number of policies",
        ["policies", "a second", "of the rate with 10"],
    );
    for (count, samples) in COUNTS.iter().zip([of_few, of_many]) {
        let of_few = if *count == 10 { String::new() } else { format!("{:.2}", ratio.median()) };
        let rate = chancery_tests::bench::rate(1.0 / samples.median());
        table.row([count.to_string(), rate, of_few]);
    }
    println!("{table}");
}

#[derive(Default)]
struct CostSamples([Samples; 4]);

impl CostSamples {
    fn push(&mut self, costs: Costs) {
        let Costs { cedar, jcs, sha256, ed25519 } = costs;
        for (samples, cost) in self.0.iter_mut().zip([cedar, jcs, sha256, ed25519]) {
            samples.push(cost);
        }
    }

    fn named(&self) -> [(&'static str, &Samples); 4] {
        let [cedar, jcs, sha256, ed25519] = &self.0;
        [
            ("Cedar, three outcomes", cedar),
            ("canonical JSON", jcs),
            ("SHA-256 and HMAC", sha256),
            ("Ed25519, sign", ed25519),
        ]
    }
}

/// Seconds for each of `count` decisions that are recorded and answered.
fn decide_all(runtime: &Runtime, claims: &Claims, from: usize, count: usize) -> f64 {
    let lines: Vec<_> = (from..from + count).map(|at| Ok(claims.request(at))).collect();
    let begun = Instant::now();
    let answers = runtime.batch(&Caller::new(PRINCIPAL), lines).unwrap();
    let decided = answers.filter(|line| line.result.as_ref().is_ok_and(|answer| !answer.replayed)).count();
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(decided, count, "every claim is decided");
    seconds / number(count)
}

/// From the bytes of a request to an attestation, with its opening: what the runtime does before it needs the log.
fn attest(evidence: &Evidence, body: &[u8]) {
    let key = &evidence.runtime;
    let request = Request::parse(body).unwrap();
    let claim = claims::Request {
        execution_id: &request.execution_id,
        resource: &request.resource,
        signals: request.signals(),
    };
    let decided = evidence.claims.decide_request(&claim, Timestamp::UNIX_EPOCH, key.public_key().key_id());
    let payload = decided.statement.to_payload().unwrap().into_bytes();
    black_box(Envelope::sign(IN_TOTO, payload, key).unwrap());
    black_box(Opening::full_canonical(&decided.committed.secret, &decided.signals, None).unwrap());
}
