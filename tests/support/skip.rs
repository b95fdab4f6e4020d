//! What a test needs and this machine does not have: said so that it is seen, and a failure where all has to be there.
//!
//! | missing | fails with |
//! |---|---|
//! | somebody else's program | `CHANCERY_REQUIRE_TOOLS` or `CI` set |
//! | the real claims and loans, which are not in the repository | `CI` set |

use std::io::Write as _;

/// Says that a test shows nothing, for want of a tool; `what` names it and how it is installed.
///
/// The caller returns after that. Panics where tools have to be there.
pub fn skipped(what: &str) {
    say(what, &["CHANCERY_REQUIRE_TOOLS", "CI"]);
}

/// The same for want of real data.
pub fn without_data(what: &str) {
    say(what, &["CI"]);
}

fn say(what: &str, demanded_by: &[&str]) {
    for variable in demanded_by {
        assert!(std::env::var_os(variable).is_none(), "with {variable} set this has to be there: {what}");
    }
    // Not `eprintln!`, which the test harness keeps to itself where the test passes.
    let line = format!("\n**** SKIPPED: {what}: nothing was checked with it ****\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
