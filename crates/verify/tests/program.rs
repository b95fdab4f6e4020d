//! The built program itself. The integration tests of the workspace rely on it: cargo builds a package's programs
//! where the package has a test like this one.

use std::process::Command;

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/chancery/evidence/");

fn exit_code(arguments: &[&str]) -> Option<i32> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_chancery-verify"));
    program.args(arguments).current_dir(VECTORS).output().ok()?.status.code()
}

#[test]
fn the_exit_code_is_the_verdict() {
    assert_eq!(exit_code(&["good.evidence.jsonl", "--root", "root.pub"]), Some(0));
    assert_eq!(exit_code(&["payload-changed.evidence.jsonl", "--root", "root.pub"]), Some(5));
    assert_eq!(exit_code(&["good.evidence.jsonl"]), Some(6));
    assert_eq!(exit_code(&["good.evidence.jsonl", "--rot", "root.pub"]), Some(2));
    assert_eq!(exit_code(&["good.evidence.jsonl", "--root", "manifest.json"]), Some(2));
    assert_eq!(exit_code(&["no-such-file", "--root", "root.pub"]), Some(1));
    assert_eq!(exit_code(&["good.evidence.jsonl", "--root", "no-such-file"]), Some(1));
}
