//! The records about a decision, what lineage and the audit views make of them, and erasure.

use std::fs;

use chancery_core::digest::{Digest, sha256};
use chancery_core::key::Signer as _;
use chancery_core::log::Kind;
use chancery_core::statement::{ExecutionState, Nonce, OverrideResolution, ResolutionStatus, Verdict};
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::{Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection};

use super::support::{
    APPROVERS, Fixture, approver, at, check_log, fingerprint, on_each_database, record, sql,
};
use crate::{
    Appended, Body, DecisionFilter, EncryptedOpening, ErasedExecution, NewBuildIdentity, NewConfirmation,
    NewEntry, NewErasure, NewOverride, NewResolution, NewVerification, Rejected, Store, SubmitError,
};

const ID: &str = "claim-CLM-2024-00443";

fn pending(fixture: &Fixture, id: &str) -> NewEntry {
    fixture.decision_by(id, id, |decision| {
        decision.outcome = "refer".to_owned();
        decision.state = ExecutionState::PendingOverride;
    })
}

/// The first override of a case.
fn approval(id: &str, name: &str) -> NewEntry {
    approval_by(id, name, |_| ())
}

fn approval_by(id: &str, name: &str, change: impl FnOnce(&mut NewOverride)) -> NewEntry {
    let (_, key) = *APPROVERS.iter().find(|(approver, _)| *approver == name).unwrap();
    approval_with(id, name, key, change)
}

fn approval_with(id: &str, name: &str, key: u8, change: impl FnOnce(&mut NewOverride)) -> NewEntry {
    let text = format!("{id} by {name} with {key}");
    let nonce = sha256(text.as_bytes());
    let mut body = NewOverride {
        execution_id: id.parse().unwrap(),
        fingerprint: fingerprint(id),
        approver: name.to_owned(),
        role: "manager".to_owned(),
        resolution: OverrideResolution::Approve,
        outcome: Some("approve".to_owned()),
        reason: "documents seen".to_owned(),
        reason_code: "DOCS".to_owned(),
        expires_at: at(1_000),
        nonce: Nonce::from_bytes(*nonce.first_chunk().unwrap()),
        answers_before: 0,
        ends: None,
    };
    change(&mut body);
    record(&approver(key), &text, at(10), Body::Override(Box::new(body)))
}

fn resolution(fixture: &Fixture, id: &str) -> NewEntry {
    let body = NewResolution {
        execution_id: id.parse().unwrap(),
        fingerprint: fingerprint(id),
        resolution: ResolutionStatus::Approved,
        final_outcome: "approve".to_owned(),
    };
    record(&fixture.runtime, &format!("{id} resolved"), at(20), Body::Resolution(body))
}

fn verification(fixture: &Fixture, id: &str, verdict: Verdict, seconds: i64) -> NewEntry {
    let body = NewVerification {
        execution_id: id.parse().unwrap(),
        fingerprint: fingerprint(id),
        verdict,
        signature_verified: Some(verdict == Verdict::Verified),
        runtime_verified: None,
        schema_compatible: Some(true),
        verifier: "chancery-verify 0.1.0".to_owned(),
        only_first: false,
    };
    record(&fixture.runtime, &format!("{id} verified {seconds}"), at(seconds), Body::Verification(body))
}

fn confirmation(fixture: &Fixture, id: &str) -> NewEntry {
    let body = NewConfirmation {
        execution_id: id.parse().unwrap(),
        fingerprint: fingerprint(id),
        outcome: "approve".to_owned(),
        reference: "PAY-1".to_owned(),
        executed_at: at(25),
        confirmed_by: "payments".to_owned(),
    };
    record(&fixture.runtime, &format!("{id} confirmed"), at(30), Body::Confirmation(body))
}

fn erasure(fixture: &Fixture, id: &str, remaining: Option<EncryptedOpening>) -> NewEntry {
    let execution =
        ErasedExecution { execution_id: id.parse().unwrap(), fingerprint: fingerprint(id), remaining };
    let body = NewErasure {
        basis: "GDPR 17".to_owned(),
        fields: execution.remaining.as_ref().map(|_| vec!["diagnosis".to_owned()]),
        requested_by: "dpo".to_owned(),
        executions: vec![execution],
    };
    record(&fixture.other, &format!("{id} erased {}", body.fields.is_some()), at(40), Body::Erasure(body))
}

fn rejected(store: &Store, entry: NewEntry) -> Rejected {
    match store.submit_blocking(entry) {
        Err(SubmitError::Rejected(rejected)) => rejected,
        other => panic!("not rejected: {other:?}"),
    }
}

/// The query that auditors bring along, word for word.
const SEED: &str = "SELECT d.execution_id, d.execution_fingerprint, d.decision AS original_decision, d.execution_state, d.executed_at,
       o.approved_by, o.approver_role, o.resolution_status, o.reason AS override_reason, o.resolved_at
FROM audit_decisions d LEFT JOIN audit_overrides o ON d.execution_id = o.execution_id
WHERE d.execution_id = 'claim-CLM-2024-00443';";

#[derive(Debug, QueryableByName)]
struct SeedRow {
    #[diesel(sql_type = Text)]
    execution_id: String,
    #[diesel(sql_type = Text)]
    execution_fingerprint: String,
    #[diesel(sql_type = Text)]
    original_decision: String,
    #[diesel(sql_type = Text)]
    execution_state: String,
    #[diesel(sql_type = Text)]
    executed_at: String,
    #[diesel(sql_type = Nullable<Text>)]
    approved_by: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    approver_role: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    resolution_status: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    override_reason: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    resolved_at: Option<String>,
}

fn seed(fixture: &Fixture) -> Vec<SeedRow> {
    let mut connection = SqliteConnection::establish(fixture.path().to_str().unwrap()).unwrap();
    diesel::sql_query(SEED).load(&mut connection).unwrap()
}

#[test]
fn the_auditors_query_runs_on_the_views() {
    let fixture = Fixture::new();
    let store = fixture.begun();
    assert!(seed(&fixture).is_empty());
    store.submit_blocking(pending(&fixture, ID)).unwrap();
    let rows = seed(&fixture);
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!(row.execution_id, ID);
    assert_eq!(row.execution_fingerprint, fingerprint(ID).to_string());
    assert_eq!((row.original_decision.as_str(), row.execution_state.as_str()), ("refer", "pending_override"));
    assert_eq!(row.executed_at, "2026-03-01T12:00:01.000000Z");
    assert_eq!((row.approved_by.as_deref(), row.approver_role.as_deref()), (None, None));
    assert_eq!((row.resolution_status.as_deref(), row.resolved_at.as_deref()), (Some("pending"), None));

    store.submit_blocking(approval(ID, "anna")).unwrap();
    let last = approval_by(ID, "bert", |row| {
        row.answers_before = 1;
        row.ends = Some(Box::new(resolution(&fixture, ID)));
    });
    store.submit_blocking(last).unwrap();
    let rows = seed(&fixture);
    assert_eq!(rows.len(), 2);
    for (row, approver) in rows.iter().zip(["anna", "bert"]) {
        assert_eq!((row.original_decision.as_str(), row.execution_state.as_str()), ("refer", "completed"));
        assert_eq!(
            (row.approved_by.as_deref(), row.approver_role.as_deref()),
            (Some(approver), Some("manager"))
        );
        assert_eq!(row.resolution_status.as_deref(), Some("approved"));
        assert_eq!(row.override_reason.as_deref(), Some("documents seen"));
        assert_eq!(row.resolved_at.as_deref(), Some("2026-03-01T12:00:20.000000Z"));
    }

    // What needed no override has no override row.
    store.submit_blocking(fixture.decision("c-2", "b")).unwrap();
    let mut connection = SqliteConnection::establish(fixture.path().to_str().unwrap()).unwrap();
    let other = SEED.replace(ID, "c-2");
    let rows: Vec<SeedRow> = diesel::sql_query(other).load(&mut connection).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].resolution_status, None);
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

#[test]
fn the_views_have_the_columns_that_auditors_expect() {
    let fixture = Fixture::new();
    drop(fixture.create());
    let mut connection = SqliteConnection::establish(fixture.path().to_str().unwrap()).unwrap();
    let expected = [
        (
            "audit_decisions",
            "tenant execution_id execution_fingerprint decision execution_state executed_at policy_id \
             policy_version schema_version runtime_version runtime_hash bundle_hash signals_hash signature \
             attestation recorded_at verification_valid signature_verified runtime_verified schema_compatible \
             verified_at",
        ),
        (
            "audit_overrides",
            "tenant execution_id execution_fingerprint policy_id policy_version approved_by approver_role \
             resolution_status reason override_signature requested_at resolved_at answer answer_outcome \
             reason_code key_id answered_at log_index final_outcome",
        ),
        (
            "audit_verifications",
            "tenant execution_id execution_fingerprint valid signature_verified runtime_verified \
             schema_compatible verified_at",
        ),
    ];
    for (view, columns) in expected {
        let names: Vec<Name> = diesel::sql_query(format!("SELECT name FROM pragma_table_info('{view}')"))
            .load(&mut connection)
            .unwrap();
        let names: Vec<_> = names.into_iter().map(|row| row.name).collect();
        assert_eq!(names, columns.split_whitespace().collect::<Vec<_>>(), "{view}");
    }
}

#[derive(Debug, QueryableByName)]
struct AuditRow {
    #[diesel(sql_type = Text)]
    schema_version: String,
    #[diesel(sql_type = Text)]
    runtime_version: String,
    #[diesel(sql_type = Text)]
    runtime_hash: String,
    #[diesel(sql_type = Text)]
    signature: String,
    #[diesel(sql_type = Text)]
    attestation: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    verification_valid: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    signature_verified: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    runtime_verified: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    verified_at: Option<String>,
}

#[test]
fn the_newest_verification_is_shown_with_its_decision() {
    let fixture = Fixture::new();
    let store = fixture.begun();
    let decision = pending(&fixture, ID);
    store.submit_blocking(decision.clone()).unwrap();
    let show = || -> AuditRow {
        let mut connection = SqliteConnection::establish(fixture.path().to_str().unwrap()).unwrap();
        diesel::sql_query("SELECT * FROM audit_decisions").get_result(&mut connection).unwrap()
    };
    let row = show();
    assert_eq!(row.schema_version, "https://chancery.dev/decision/v1");
    assert_eq!((row.runtime_version.as_str(), row.runtime_hash.as_str()), ("0.1.0", "b1"));
    assert_eq!(row.signature, "ab".repeat(64));
    assert_eq!(row.attestation.as_bytes(), decision.payload);
    assert_eq!((row.verification_valid, row.verified_at), (None, None));

    store.submit_blocking(verification(&fixture, ID, Verdict::Verified, 5)).unwrap();
    store.submit_blocking(verification(&fixture, ID, Verdict::Failed, 6)).unwrap();
    let row = show();
    assert_eq!(
        (row.verification_valid, row.signature_verified, row.runtime_verified),
        (Some(0), Some(0), None)
    );
    assert_eq!(row.verified_at.as_deref(), Some("2026-03-01T12:00:06.000000Z"));
    store.submit_blocking(verification(&fixture, ID, Verdict::Incomplete, 7)).unwrap();
    assert_eq!(show().verification_valid, None);
}

fn lineage_and_selection_have_everything_about_a_decision(fixture: Fixture) {
    let store = fixture.begun();
    store.submit_blocking(pending(&fixture, ID)).unwrap();
    store.submit_blocking(fixture.decision("c-2", "b")).unwrap();
    for entry in [
        approval(ID, "anna"),
        resolution(&fixture, ID),
        verification(&fixture, ID, Verdict::Verified, 25),
        confirmation(&fixture, ID),
        erasure(&fixture, ID, None),
    ] {
        store.submit_blocking(entry).unwrap();
    }
    store.submit_blocking(fixture.activation("1.1.0", Some("1.0.0"))).unwrap();
    assert_eq!(check_log(&store), 10);

    let about = store.read(|reader| reader.entries_about(&ID.parse().unwrap())).unwrap();
    let expected = [
        (2, Kind::Decision),
        (4, Kind::Override),
        (5, Kind::Resolution),
        (6, Kind::Verification),
        (7, Kind::Confirmation),
        (8, Kind::Erasure),
    ];
    assert_eq!(about.iter().map(|entry| (entry.index, entry.kind)).collect::<Vec<_>>(), expected);

    let filter = DecisionFilter { outcome: Some("refer".to_owned()), ..DecisionFilter::default() };
    let snapshot = store.snapshot().unwrap();
    let selected: Vec<_> = snapshot.selected(filter.clone()).map(|entry| entry.unwrap()).collect();
    assert_eq!(selected, about);
    let activations = snapshot.read(|reader| reader.activations_of(&filter)).unwrap();
    assert_eq!(activations.iter().map(|row| row.index).collect::<Vec<_>>(), [1]);

    let record = store.read(|reader| reader.decision(&ID.parse().unwrap())).unwrap().unwrap();
    assert_eq!(record.summary.state, ExecutionState::PendingOverride);
    assert_eq!(record.summary.current.state, ExecutionState::Completed);
    assert_eq!(record.summary.current.outcome, "approve");
    assert_eq!(record.summary.current.resolved_at, Some(at(20)));
}

fn records_about_nothing_or_twice_are_rejected(fixture: Fixture) {
    let store = fixture.begun();
    for entry in [
        approval(ID, "anna"),
        resolution(&fixture, ID),
        verification(&fixture, ID, Verdict::Verified, 5),
        confirmation(&fixture, ID),
        erasure(&fixture, ID, None),
    ] {
        let kind = entry.kind();
        let about_nothing = rejected(&store, entry);
        assert!(matches!(about_nothing, Rejected::NoDecision { .. }), "{kind:?}: {about_nothing:?}");
    }
    store.submit_blocking(pending(&fixture, ID)).unwrap();
    let mut other = confirmation(&fixture, ID);
    if let Body::Confirmation(row) = &mut other.body {
        row.fingerprint = fingerprint("another");
    }
    assert!(matches!(rejected(&store, other), Rejected::NoDecision { .. }));

    store.submit_blocking(approval(ID, "anna")).unwrap();
    assert!(matches!(rejected(&store, approval(ID, "anna")), Rejected::Recorded { index: 3, .. }));
    store.submit_blocking(resolution(&fixture, ID)).unwrap();
    assert!(matches!(rejected(&store, resolution(&fixture, ID)), Rejected::Second { index: 4, .. }));
    store.submit_blocking(confirmation(&fixture, ID)).unwrap();
    assert!(matches!(rejected(&store, confirmation(&fixture, ID)), Rejected::Second { index: 5, .. }));
    assert_eq!(check_log(&store), 6);
}

fn a_case_takes_each_approver_and_each_key_once_and_ends_once(fixture: Fixture) {
    let store = fixture.begun();
    store.submit_blocking(fixture.decision("c-0", "done")).unwrap();
    assert!(matches!(rejected(&store, approval_of("c-0", "done")), Rejected::NotWaiting { .. }));
    store.submit_blocking(pending(&fixture, ID)).unwrap();
    store.submit_blocking(approval(ID, "anna")).unwrap();

    let second_key = approval_with(ID, "anna", 12, |row| row.answers_before = 1);
    assert!(matches!(rejected(&store, second_key), Rejected::Answered { index: 4, key: false }));
    let shared_key = approval_with(ID, "bert", 10, |row| row.answers_before = 1);
    assert!(matches!(rejected(&store, shared_key), Rejected::Answered { index: 4, key: true }));
    let not_seen = approval_by(ID, "bert", |_| ());
    assert!(matches!(rejected(&store, not_seen), Rejected::Moved { .. }));
    let not_his = approval_with(ID, "eve", 11, |row| row.answers_before = 1);
    assert!(matches!(rejected(&store, not_his), Rejected::Approver { .. }));
    let mut replayed = None;
    if let Body::Override(row) = approval(ID, "anna").body {
        replayed = Some(row.nonce);
    }
    let nonce = approval_by(ID, "bert", |row| {
        row.answers_before = 1;
        row.nonce = replayed.unwrap();
    });
    assert!(matches!(rejected(&store, nonce), Rejected::Nonce { index: 4 }));

    // A resolution that may not be logged takes the override with it.
    let mut strange = resolution(&fixture, ID);
    strange.signatures[0].keyid = fixture.policy.public_key().key_id().clone();
    let ends = |by: NewEntry| {
        approval_by(ID, "bert", |row| {
            row.answers_before = 1;
            row.ends = Some(Box::new(by));
        })
    };
    assert!(matches!(rejected(&store, ends(strange)), Rejected::Key { .. }));
    assert_eq!(check_log(&store), 5);
    assert_eq!(store.submit_blocking(ends(resolution(&fixture, ID))).unwrap().index(), 5);
    let case = store.read(|reader| reader.case(&ID.parse().unwrap())).unwrap().unwrap();
    assert_eq!(case.overrides.iter().map(|entry| entry.index).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(case.resolution.map(|entry| entry.index), Some(6));
    let late = approval_with(ID, "eve", 11, |row| row.answers_before = 2);
    assert!(matches!(rejected(&store, late), Rejected::Second { index: 6, .. }));
    assert_eq!(check_log(&store), 7);

    let approved =
        DecisionFilter { resolution: Some(ResolutionStatus::Approved), ..DecisionFilter::default() };
    let of = |filter: &DecisionFilter| store.read(|reader| reader.decision_indexes(filter, 0, 10)).unwrap();
    assert_eq!(of(&approved), [3]);
    let on =
        DecisionFilter { resource: Some("Claim::\"c-1\"".parse().unwrap()), ..DecisionFilter::default() };
    assert_eq!(of(&on), [2, 3]);
}

/// An approval of a decision whose fingerprint is that of `inputs`.
fn approval_of(id: &str, inputs: &str) -> NewEntry {
    approval_by(id, "anna", |row| row.fingerprint = fingerprint(inputs))
}

fn a_build_identity_is_found_by_its_payload_and_logged_once(fixture: Fixture) {
    let store = fixture.begun();
    let payload = Digest::from_bytes(sha256(b"payload"));
    let build = || {
        let body = NewBuildIdentity {
            payload_sha256: payload,
            binary_sha256: Digest::from_bytes(sha256(b"binary")),
            signature: b"{\"bundle\":1}".to_vec(),
            sbom: Some(b"{}".to_vec()),
        };
        record(&fixture.other, "build", at(0), Body::BuildIdentity(body))
    };
    store.submit_blocking(build()).unwrap();
    assert!(matches!(rejected(&store, build()), Rejected::Recorded { index: 2, .. }));
    let found = store.read(|reader| reader.build_identity(&payload)).unwrap().unwrap();
    assert_eq!((found.index, found.sbom.as_deref()), (2, Some(&b"{}"[..])));

    let decided = fixture.decision_by("c-1", "a", |decision| decision.build_identity = Some(payload));
    store.submit_blocking(decided).unwrap();
    let named = store.read(|reader| reader.builds_named(&DecisionFilter::default(), 0..u64::MAX)).unwrap();
    assert_eq!(named, [payload]);
}

#[test]
fn an_erased_opening_is_gone_from_every_file() {
    let fixture = Fixture::new();
    let store = fixture.begun();
    let secret = "signals-of-claim-CLM-2024-00443 ".repeat(300);
    let mut entry = pending(&fixture, ID);
    if let Body::Decision(decision) = &mut entry.body {
        decision.opening.as_mut().unwrap().ciphertext = secret.clone().into_bytes();
    }
    store.submit_blocking(entry).unwrap();
    store.submit_blocking(fixture.decision("c-2", "b")).unwrap();
    assert!(
        sql(&fixture.path(), "DELETE FROM openings").unwrap_err().contains("logged in the same transaction")
    );

    let remaining =
        EncryptedOpening { salt: [1; 32], nonce: [2; 12], ciphertext: b"rest".to_vec(), partial: true };
    store.submit_blocking(erasure(&fixture, ID, Some(remaining.clone()))).unwrap();
    let stored = store.read(|reader| reader.opening(2)).unwrap().unwrap();
    assert_eq!(stored.opening, remaining);
    let counts = store.read(|reader| reader.count_openings(&DecisionFilter::default(), 0..100)).unwrap();
    assert_eq!(counts, (1, 1));

    store.submit_blocking(erasure(&fixture, ID, None)).unwrap();
    assert_eq!(store.read(|reader| reader.opening(2)).unwrap(), None);
    let openings = store.read(|reader| reader.openings(0..100)).unwrap();
    assert_eq!(openings.iter().map(|opening| opening.index).collect::<Vec<_>>(), [3]);
    assert!(sql(&fixture.path(), "DELETE FROM openings").is_err(), "an erasure lets nothing else go later");
    assert!(matches!(store.submit_blocking(pending(&fixture, ID)), Ok(Appended::Known(_))));
    drop(store);

    let gone = secret.as_bytes().get(..64).unwrap();
    for file in fs::read_dir(fixture.folder.path()).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(gone.len()).any(|window| window == gone));
    }
    assert_eq!(check_log(&fixture.open()), 6);
}

fn cases_are_the_same_together_as_one_by_one(fixture: Fixture) {
    let store = fixture.begun();
    for id in ["ended", "answered", "waiting", "another"] {
        store.submit_blocking(pending(&fixture, id)).unwrap();
    }
    store.submit_blocking(fixture.decision("plain", "plain")).unwrap();
    for (id, name, answers_before) in [("answered", "anna", 0), ("ended", "anna", 0), ("ended", "bert", 1)] {
        let override_ = approval_by(id, name, |body| body.answers_before = answers_before);
        store.submit_blocking(override_).unwrap();
    }
    store.submit_blocking(resolution(&fixture, "ended")).unwrap();
    store.submit_blocking(verification(&fixture, "plain", Verdict::Verified, 40)).unwrap();
    let ids = |ids: &[&str]| ids.iter().map(|id| id.parse().unwrap()).collect::<Vec<_>>();
    let asked = ids(&["plain", "waiting", "nobody", "answered", "ended"]);
    let together = store.read(|reader| reader.cases(&asked)).unwrap();
    let alone = ids(&["ended", "answered", "waiting", "plain"]);
    let alone: Vec<_> =
        alone.iter().map(|id| store.read(|reader| reader.case(id)).unwrap().unwrap()).collect();
    assert_eq!(together, alone);
    assert_eq!(together.iter().map(|case| case.overrides.len()).collect::<Vec<_>>(), [2, 1, 0, 0]);
    assert!(store.read(|reader| reader.cases(&[])).unwrap().is_empty());

    let rows = store.read(|reader| reader.to_verify(&asked)).unwrap();
    let found: Vec<_> = rows.iter().map(|row| (row.execution_id.as_str(), row.is_plain)).collect();
    assert_eq!(found, [("ended", false), ("answered", false), ("waiting", false), ("plain", true)]);
    for (row, case) in rows.iter().zip(&alone) {
        assert_eq!(row.record_id, case.decision.entry.record_id);
    }
    assert!(store.read(|reader| reader.to_verify(&[])).unwrap().is_empty());
}

fn a_verification_that_is_to_be_the_first_is_taken_only_then(fixture: Fixture) {
    let store = fixture.begun();
    for id in ["c-1", "c-2"] {
        store.submit_blocking(fixture.decision(id, id)).unwrap();
    }
    let first = |id: &str, seconds: i64| {
        let mut entry = verification(&fixture, id, Verdict::Verified, seconds);
        let Body::Verification(row) = &mut entry.body else { panic!("a verification") };
        row.only_first = true;
        entry
    };
    // Within one transaction as well.
    let tickets: Vec<_> =
        (40..43).map(|seconds| store.enqueue_blocking(first("c-1", seconds)).unwrap()).collect();
    let mut answers = tickets.into_iter().map(crate::Ticket::wait);
    let index = answers.next().unwrap().unwrap().index();
    for refused in answers {
        let Err(SubmitError::Rejected(Rejected::Verified { execution_id, index: there })) = refused else {
            panic!("taken, or refused for something else: {refused:?}");
        };
        assert_eq!((execution_id.as_str(), there), ("c-1", index));
    }
    // Whoever asks for another one gets it.
    store.submit_blocking(verification(&fixture, "c-1", Verdict::Failed, 44)).unwrap();
    assert!(
        matches!(rejected(&store, first("c-1", 45)), Rejected::Verified { index: it, .. } if it == index)
    );
    store.submit_blocking(first("c-2", 46)).unwrap();
    let counted = |id: &str| store.read(|reader| reader.count_verifications(&id.parse().unwrap())).unwrap();
    assert_eq!((counted("c-1"), counted("c-2")), (2, 1));
    let newest = store.read(|reader| reader.indexes_about(&"c-1".parse().unwrap(), Some(1))).unwrap();
    assert_eq!(newest.len(), 2, "the decision, and one verification: {newest:?}");
}

fn the_first_open_case_is_found_from_where_the_last_look_ended(fixture: Fixture) {
    let store = fixture.begun();
    let size = || store.read(|reader| Ok(reader.head()?.size)).unwrap();
    let open = |store: &Store| {
        let first = store.first_open_case().unwrap();
        let cases = store.read(|reader| reader.open_cases(first)).unwrap();
        assert_eq!(cases, store.read(|reader| reader.open_cases(0)).unwrap());
        (first, cases.count)
    };
    assert_eq!(open(&store), (size(), 0));
    let decide = |id: &str| store.submit_blocking(pending(&fixture, id)).unwrap().index();
    let places = ["c-1", "c-2", "c-3"].map(decide);
    store.submit_blocking(fixture.decision("plain", "plain")).unwrap();
    assert_eq!(open(&store), (places[0], 3));
    let end = |id: &str| store.submit_blocking(resolution(&fixture, id)).unwrap();
    end("c-2");
    assert_eq!(open(&store), (places[0], 2));
    end("c-1");
    assert_eq!(open(&store), (places[2], 1));
    end("c-3");
    assert_eq!(open(&store), (size(), 0));
    let last = decide("c-4");
    assert_eq!(open(&store), (last, 1));
}

on_each_database!(
    a_verification_that_is_to_be_the_first_is_taken_only_then,
    the_first_open_case_is_found_from_where_the_last_look_ended,
    cases_are_the_same_together_as_one_by_one,
    lineage_and_selection_have_everything_about_a_decision,
    records_about_nothing_or_twice_are_rejected,
    a_case_takes_each_approver_and_each_key_once_and_ends_once,
    a_build_identity_is_found_by_its_payload_and_logged_once,
);
