//! The README's first command.

use chancery_tests::program::{path, run};
use chancery_tests::server::Server;
use std::process::Command;

#[test]
fn the_demo_ends_well_and_shows_two_tamperings_that_are_caught() {
    let elsewhere = tempfile::tempdir().unwrap();
    let said =
        run(Command::new(path("chancery")).current_dir(elsewhere.path()).env_clear(), ["demo"]).expect(0);
    for expected in [
        "verified",
        "failed",
        "envelope.signature",
        "problem",
        "claim-demo-3",
        "signal.precision",
        "(2 of 2)",
    ] {
        assert!(said.out.contains(expected), "the demo does not show `{expected}`:\n{}", said.out);
    }
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0, "the demo left something behind");
}

#[test]
fn a_kept_demo_can_be_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    run(
        Command::new(path("chancery")).current_dir(folder.path()).env_clear().arg("demo").arg("--dir"),
        [&kept],
    )
    .expect(0);
    let shown = run(
        Command::new(path("chancery")).current_dir(&kept).env_clear(),
        ["decision", "show", "claim-demo-3", "-o", "json"],
    )
    .expect(0);
    assert_eq!(shown.json()["decision"], "deny");
    // The auditors' SQL finds what the managers said.
    if let Some(rows) = crate::views::seed(&kept.join("chancery.db")) {
        let row = |name: &str| [rows[0][name].as_str().unwrap(), rows[1][name].as_str().unwrap()];
        assert_eq!(row("approved_by"), ["anna", "bert"]);
        assert_eq!(row("original_decision"), ["refer", "refer"]);
        assert_eq!(row("execution_state"), ["completed", "completed"]);
        assert_eq!(row("resolution_status"), ["approved", "approved"]);
    }
    run(Command::new(path("chancery")).current_dir(&kept).env_clear(), ["fsck", "--full"]).expect(0);
    // The two commands that the demo ends with work there.
    let server = Server::start_with(&kept, &mut |command| {
        command.env_remove("CHANCERY_PASSWORD");
    });
    let shown: serde_json::Value =
        serde_json::from_str(&crate::http::get(&format!("{}/v1/decisions/claim-demo-3", server.url)).1)
            .unwrap();
    assert_eq!(shown["decision"], "deny");
    assert!(server.stop().success());
}
