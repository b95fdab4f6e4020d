//! The arrows between the crates, and what the auditor's program is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use chancery_tests::program::repository;

/// Which crates of the workspace each crate may name in its `[dependencies]`.
const ARROWS: [(&str, &[&str]); 7] = [
    ("chancery-core", &[]),
    ("chancery-policy", &["chancery-core"]),
    ("chancery-verify", &["chancery-core", "chancery-policy"]),
    ("chancery-supply", &["chancery-core"]),
    ("chancery-store", &["chancery-core"]),
    (
        "chancery-runtime",
        &["chancery-core", "chancery-policy", "chancery-store", "chancery-supply", "chancery-verify"],
    ),
    (
        "chancery",
        &["chancery-core", "chancery-policy", "chancery-runtime", "chancery-supply", "chancery-verify"],
    ),
];

/// What a pure crate must never reach, by whatever way: waiting, SQL, HTTP, random sources.
const IMPURE: [&str; 8] =
    ["tokio", "axum", "hyper", "diesel", "libsqlite3-sys", "ureq", "reqwest", "async-std"];

/// The platform that this runs on, as `rustc` calls it.
fn host() -> String {
    let version = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let text = String::from_utf8(version.stdout).expect("UTF-8");
    text.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host").to_owned()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        // Of other platforms' crates an offline cargo knows nothing.
        .other_options(["--locked", "--offline", "--filter-platform", &host()].map(str::to_owned).to_vec())
        .exec()
        .expect("cargo metadata")
}

/// The names of everything that `root` links, itself included: normal dependencies, followed to the end.
fn linked(metadata: &Metadata, root: &str) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().expect("a resolved graph");
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let name_of: BTreeMap<_, _> =
        metadata.packages.iter().map(|package| (&package.id, package.name.to_string())).collect();
    let start = metadata.packages.iter().find(|package| package.name == root).expect("the crate is there");
    let mut seen = BTreeSet::new();
    let mut open = vec![&start.id];
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let normal = nodes[id]
            .deps
            .iter()
            .filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal));
        open.extend(normal.map(|dependency| &dependency.pkg));
    }
    seen.into_iter().map(|id| name_of[id].clone()).collect()
}

#[test]
fn crates_name_only_the_crates_that_the_architecture_allows() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        if package.name == "chancery-tests" {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| package.name == *name) else {
            wrong.push(format!("{} is not in the list of crates", package.name));
            continue;
        };
        for dependency in &package.dependencies {
            let ours = dependency.name.starts_with("chancery");
            if dependency.kind == DependencyKind::Normal
                && ours
                && !allowed.contains(&dependency.name.as_str())
            {
                wrong.push(format!("{} → {}", package.name, dependency.name));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that the architecture does not have: {wrong:?}");
    assert_eq!(metadata.workspace_packages().len(), ARROWS.len() + 1, "a crate of the list is gone");
}

#[test]
fn pure_crates_link_nothing_that_waits_or_talks() {
    let metadata = metadata();
    for pure in ["chancery-core", "chancery-policy", "chancery-verify"] {
        let linked = linked(&metadata, pure);
        let found: Vec<_> = IMPURE.iter().filter(|name| linked.contains(**name)).collect();
        assert!(found.is_empty(), "{pure} links {found:?}");
    }
}

/// As `cargo tree` has it: with the features that the program asks for, and no other's.
#[test]
fn the_auditors_program_links_exactly_the_listed_crates() {
    let tree = Command::new(env!("CARGO"))
        .current_dir(repository())
        .args(["tree", "-p", "chancery-verify", "-e", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--locked", "--offline", "--target", "x86_64-unknown-linux-gnu"])
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).expect("UTF-8");
    let linked: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    let listed: BTreeSet<&str> = include_str!("../golden/chancery-verify.crates").lines().collect();
    let added: Vec<_> = linked.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&linked).collect();
    assert!(
        added.is_empty() && gone.is_empty(),
        "tests/golden/chancery-verify.crates differs: linked but not listed {added:?}, listed but not linked {gone:?}"
    );
}
