//! The auditors' SQL, as it stands in their files, in the `sqlite3` of the system.

use std::process::Command;

use chancery_tests::home::Home;
use chancery_tests::program::{chancery, run};
use chancery_tests::skip;

pub(crate) const SEED: &str = "SELECT d.execution_id, d.execution_fingerprint, d.decision AS original_decision, d.execution_state, d.executed_at,
       o.approved_by, o.approver_role, o.resolution_status, o.reason AS override_reason, o.resolved_at
FROM audit_decisions d LEFT JOIN audit_overrides o ON d.execution_id = o.execution_id
WHERE d.execution_id = 'claim-CLM-2024-00443';";

pub(crate) const FURTHER: &str = "SELECT policy_id, policy_version, schema_version, runtime_version, runtime_hash, bundle_hash, signals_hash,
       signature, attestation, recorded_at, verification_valid, signature_verified, runtime_verified,
       schema_compatible, verified_at FROM audit_decisions;
SELECT execution_fingerprint, policy_id, policy_version, override_signature, requested_at FROM audit_overrides;
SELECT execution_id, execution_fingerprint, valid, signature_verified, runtime_verified, schema_compatible,
       verified_at FROM audit_verifications;";

fn sqlite3(database: &std::path::Path, sql: &str) -> Option<std::process::Output> {
    match Command::new("sqlite3").arg("-json").arg(database).arg(sql).output() {
        Ok(output) => Some(output),
        Err(_) => {
            skip::skipped("sqlite3 (package sqlite3)");
            None
        }
    }
}

fn decided() -> Home {
    let home = Home::new();
    let signals = home.file("signals.json");
    std::fs::write(&signals, crate::http::claim_signals().to_string()).unwrap();
    let id = [
        "decide",
        "claim-approval",
        "--execution-id",
        "claim-CLM-2024-00443",
        "--expect",
        "approve",
        "--signals",
    ];
    run(chancery(home.path()).args(id), [&signals]).expect(0);
    home
}

/// The rows of the auditors' query; none where there is no `sqlite3`.
pub(crate) fn seed(database: &std::path::Path) -> Option<serde_json::Value> {
    let output = sqlite3(database, SEED)?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn the_auditors_sql_runs_unchanged() {
    let home = decided();
    let Some(rows) = seed(&home.database()) else { return };
    assert_eq!(rows[0]["original_decision"], "approve");
    assert_eq!(rows[0]["execution_state"], "completed");
    assert_eq!(rows[0]["approved_by"], serde_json::Value::Null);
    let further = sqlite3(&home.database(), FURTHER).unwrap();
    assert!(further.status.success(), "{}", String::from_utf8_lossy(&further.stderr));
    let rows: serde_json::Value = serde_json::from_slice(&further.stdout).unwrap();
    let statement: serde_json::Value =
        serde_json::from_str(rows[0]["attestation"].as_str().unwrap()).unwrap();
    assert_eq!(statement["predicate"]["executionId"], "claim-CLM-2024-00443");
    assert_eq!(statement["predicateType"], rows[0]["schema_version"]);
    assert_eq!(statement["predicate"]["signalsRoot"], rows[0]["signals_hash"]);
}

#[test]
fn the_database_itself_refuses_to_change_a_record() {
    let home = decided();
    for sql in [
        "UPDATE decisions SET outcome = 'deny'",
        "DELETE FROM decisions",
        "DELETE FROM log_entries",
        "UPDATE openings SET ciphertext = x'00'",
    ] {
        let Some(output) = sqlite3(&home.database(), sql) else { return };
        assert!(!output.status.success(), "`{sql}` went through");
    }
    run(&mut chancery(home.path()), ["fsck", "--full"]).expect(0);
}
