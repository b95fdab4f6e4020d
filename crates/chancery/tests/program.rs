//! The built program itself. The integration tests of the workspace rely on it: cargo builds a package's programs
//! where the package has a test like this one.

use std::process::Command;

#[test]
fn the_program_tells_its_version() {
    let output = Command::new(env!("CARGO_BIN_EXE_chancery")).arg("--version").output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        concat!("chancery ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn bad_arguments_end_with_two_and_say_what_to_try() {
    let output = Command::new(env!("CARGO_BIN_EXE_chancery")).args(["decide", "p"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--signals"));
}
