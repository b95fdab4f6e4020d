//! How fast prepared records go through the log writer, against SQLite alone with the same bytes.
//!
//! ```text
//! bare    one plain table, a prepared insert, 1,024 rows a transaction, WAL, synced at each commit
//! writer  admission, numbers, Merkle tree, chain, three tables with their indexes and triggers, the same syncs
//! ```
//!
//! `cargo bench --bench ingest -- --records 20000 --rounds 5`

#![expect(clippy::unwrap_used, reason = "a failure here ends the bench")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use chancery_core::commitment::Opening;
use chancery_core::dsse::Envelope;
use chancery_core::statement::{Environment, Statement};
use chancery_core::time::Timestamp;
use chancery_store::{
    Appended, Body, EncryptedOpening, NewActivation, NewDecision, NewEntry, NewKeyring, Options, Settings,
    Store, StoredBundle,
};
use chancery_tests::bench::evidence::{Evidence, ORIGIN};
use chancery_tests::bench::primitives::{Row, bulk_insert, hash_into_log};
use chancery_tests::bench::{Arguments, Samples, Table, core_seconds, number, on_all_cores};

fn main() {
    let arguments = Arguments::read([("records", 20_000), ("rounds", 5)]);
    let records = arguments.count("records");
    let evidence = Evidence::new(records);
    let entries = on_all_cores(records, |at| entry(&evidence, at));
    let rows = on_all_cores(records, |at| Row::of(&evidence, at));

    let (mut bare, mut hashes, mut writer, mut ratio) = <(Samples, Samples, Samples, Samples)>::default();
    for _ in 0..arguments.get("rounds") {
        let folder = tempfile::tempdir().unwrap();
        let inserted = bulk_insert(&folder.path().join("bare.db"), &rows);
        let hashed = core_seconds(1, records, |_| hash_into_log(&[0; 32]));
        let ingested = ingest(&evidence, &entries);
        bare.push(inserted);
        hashes.push(hashed);
        writer.push(ingested);
        ratio.push((inserted + hashed) / ingested);
    }

    let bytes = rows.iter().map(Row::bytes).sum::<usize>() / rows.len();
    let title = format!("Ingestion of {records} prepared records of {bytes} bytes, one writer");
    let mut table = Table::new(title, ["", "µs a record", "records/s", "of the bound"]);
    table.time("SQLite, bulk insert of the same bytes", bare.median(), 1, None);
    table.time("SHA-256 of leaf, node and chain", hashes.median(), 1, None);
    table.time("bound: their sum", bare.median() + hashes.median(), 1, None);
    table.time("log writer", writer.median(), 1, Some(ratio.median()));
    println!("{table}");
}

/// Seconds that the log writer takes for a record of a new log.
fn ingest(evidence: &Evidence, entries: &[NewEntry]) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let store = begin(&folder.path().join("log.db"), evidence);
    let entries = entries.to_vec();
    let count = entries.len();
    let begun = Instant::now();
    let tickets: Vec<_> = entries.into_iter().map(|entry| store.enqueue_blocking(entry).unwrap()).collect();
    let answers = tickets.into_iter().map(|ticket| ticket.wait().unwrap());
    let new = answers.filter(|answer| matches!(answer, Appended::New { .. })).count();
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(new, count, "every record is new");
    seconds / number(count)
}

/// A log that is ready for decisions.
fn begin(database: &std::path::Path, evidence: &Evidence) -> Store {
    let now = Timestamp::from_unix_micros(1_780_272_000_000_000).unwrap();
    let settings = Settings {
        tenant: evidence.claims.tenant(),
        log_origin: ORIGIN.to_owned(),
        environment: Environment::Production,
    };
    let store = Store::create(database, &settings, Options::new(Arc::new(move || now))).unwrap();
    let (bundle, manifest) = (&evidence.claims.bundle, evidence.claims.bundle.manifest());
    let (policy_id, policy_version) = (manifest.id().clone(), manifest.version().clone());
    let published = StoredBundle {
        policy_id: policy_id.clone(),
        policy_version: policy_version.clone(),
        bundle_hash: bundle.hash(),
        sum: bundle.sum().as_bytes().to_vec(),
        signature: b"{}".to_vec(),
        files: bundle.files().clone(),
    };
    store.publish_bundle(published, now).unwrap();
    let [keyring, activation] = evidence.first().clone();
    let expires_at =
        Statement::<chancery_core::keyring::KeyringVersion>::parse_unverified(&keyring.payload.0);
    let expires_at = expires_at.unwrap().predicate.expires_at;
    let activated = NewActivation {
        policy_id,
        policy_version,
        bundle_hash: bundle.hash(),
        previous: None,
        requested_by: "bench".to_owned(),
        reason: "for the bench".to_owned(),
    };
    for (envelope, body) in [
        (keyring, Body::Keyring(NewKeyring { version: 1, expires_at })),
        (activation, Body::Activation(activated)),
    ] {
        store.submit_blocking(new_entry(envelope, now, body)).unwrap();
    }
    store
}

fn new_entry(envelope: Envelope, claimed_at: Timestamp, body: Body) -> NewEntry {
    NewEntry {
        record_id: envelope.record_id(),
        payload: envelope.payload.0,
        signatures: envelope.signatures,
        claimed_at,
        body,
    }
}

/// Decision `at`, signed. Its opening is as long as an encrypted one; the store cannot tell.
fn entry(evidence: &Evidence, at: usize) -> NewEntry {
    let decided = evidence.decide(at);
    let opening = Opening::full_canonical(&decided.committed.secret, &decided.signals, None).unwrap();
    let mut ciphertext = opening.into_bytes();
    ciphertext.extend([0; 16]);
    let predicate = &decided.statement.predicate;
    let row = NewDecision {
        execution_id: predicate.execution_id.clone(),
        fingerprint: predicate.execution_fingerprint,
        policy_id: predicate.policy.id.clone(),
        policy_version: predicate.policy.version.clone(),
        bundle_hash: predicate.policy.bundle_hash,
        outcome: predicate.decision.outcome.clone(),
        state: predicate.execution_state,
        principal: predicate.principal.clone(),
        resource: predicate.resource.clone(),
        signals_root: predicate.signals_root,
        build_identity: None,
        labels: BTreeMap::new(),
        opening: Some(EncryptedOpening { salt: [1; 32], nonce: [2; 12], ciphertext, partial: false }),
    };
    new_entry(evidence.sign(&decided), predicate.executed_at, Body::Decision(Box::new(row)))
}
