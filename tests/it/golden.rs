//! Evidence that earlier versions exported has to verify for ever.

use chancery_tests::program::{chancery_verify, repository, run};

#[test]
fn evidence_of_every_version_still_verifies() {
    let mut checked = 0;
    for version in std::fs::read_dir(repository().join("tests/golden")).unwrap() {
        let folder = version.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(&folder).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|ending| ending == "jsonl") {
                let ask = ["--environment", "test", "--without", "build,opening", "--root"];
                run(chancery_verify().arg(&file).args(ask), [folder.join("root.pub")]).expect(0);
                checked += 1;
            }
        }
    }
    assert!(checked >= 3, "the golden files are gone");
}
