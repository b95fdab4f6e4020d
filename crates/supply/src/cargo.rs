//! What cargo knows about a binary: which crates it links, by which edges, and what each of them says about itself.
//!
//! ```text
//! cargo metadata   names, versions, sources, licences     of everything that the workspace could use
//! cargo tree       the crates and edges of one package    with that package's own features, for one platform
//! Cargo.lock       the SHA-256 of each crate's archive
//! their folders    the version of the C that some bring   [`crate::native`]
//! ```
//!
//! The graph in `cargo metadata` has the features of the whole workspace, tests included, and so names crates that a
//! program never links. `cargo tree -e normal,no-proc-macro` resolves one package as `cargo build -p` does: normal
//! dependencies alone. Build scripts, procedural macros and what only they use run at build time and are left out;
//! `Cargo.lock`, whose hash the build identity has, covers them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{Metadata, MetadataCommand, Package};
use chancery_core::digest::Digest;
use serde::Deserialize;

use crate::native::{self, Native};
use crate::process::{self, ProcessError};

/// Which binary is asked about.
#[derive(Clone, Debug)]
pub struct Question {
    /// The workspace's `Cargo.toml`.
    pub manifest: PathBuf,
    /// The package.
    pub package: String,
    /// Its binary.
    pub bin: String,
    /// The platform, as `rustc` calls it; the one that this runs on where there is none.
    pub target: Option<String>,
    /// Features beside the default ones.
    pub features: Vec<String>,
    /// Without the default features.
    pub no_default_features: bool,
    /// Nothing is fetched.
    pub offline: bool,
}

/// What cargo answered, as text: [`linked`] makes sense of it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// `cargo metadata`.
    pub metadata: String,
    /// `cargo tree`: a line for each crate, its depth, its features, its name and version, with bars between.
    pub tree: String,
    /// The C that crates bring, whether it is used or not.
    pub native: BTreeMap<Id, Native>,
    /// `Cargo.lock`.
    pub lock: String,
    /// The platform.
    pub target: String,
}

/// Each line is the depth and this: features with commas between, and the package as `name vVERSION`, which other words
/// may follow.
const TREE_FORMAT: &str = "|{f}|{p}";

/// Asks cargo. The lock file has to be up to date, and stays as it is.
///
/// # Errors
/// [`CargoError::Process`] with what cargo said, [`CargoError::Lock`] for a lock file that cannot be read.
pub fn ask(question: &Question) -> Result<Answer, CargoError> {
    let folder = question.manifest.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let target = match &question.target {
        Some(target) => target.clone(),
        None => host(folder)?,
    };
    let manifest = folder.canonicalize().unwrap_or_else(|_| folder.to_owned()).join("Cargo.toml");
    let prefixed = |feature: &String| {
        if feature.contains('/') { feature.clone() } else { format!("{}/{feature}", question.package) }
    };
    let features = question.features.iter().map(prefixed).collect::<Vec<_>>().join(",");
    let mut common = vec!["--locked"];
    if question.offline {
        common.push("--offline");
    }
    if !features.is_empty() {
        common.extend(["--features", &features]);
    }
    let mut command = Command::new("cargo");
    command.current_dir(folder).args(["metadata", "--format-version", "1", "--filter-platform", &target]);
    let metadata = process::run(command.arg("--manifest-path").arg(&manifest).args(&common))?;
    let mut command = Command::new("cargo");
    command.current_dir(folder).args(["tree", "--edges", "normal,no-proc-macro", "--target", &target]);
    command.args(["--prefix", "depth", "--format", TREE_FORMAT, "--package", &question.package]);
    if question.no_default_features {
        command.arg("--no-default-features");
    }
    let tree = process::run(command.arg("--manifest-path").arg(&manifest).args(&common))?;
    let parsed = parse_metadata(&metadata)?;
    let found = |package: &Package| {
        let native = native::read(&package.name, package.manifest_path.parent()?.as_std_path())?;
        Some(((package.name.to_string(), package.version.to_string()), native))
    };
    let native = parsed.packages.iter().filter_map(found).collect();
    let path = parsed.workspace_root.join("Cargo.lock").into_std_path_buf();
    let lock = fs::read_to_string(&path).map_err(|source| CargoError::Lock { path, source })?;
    Ok(Answer { metadata, tree, native, lock, target })
}

/// `rustc --version` in one line, with the toolchain that `folder` asks for.
///
/// # Errors
/// [`ProcessError`] of `rustc`.
pub fn toolchain(folder: &Path) -> Result<String, ProcessError> {
    process::run(Command::new("rustc").current_dir(folder).arg("--version"))
}

fn host(folder: &Path) -> Result<String, CargoError> {
    let version = process::run(Command::new("rustc").current_dir(folder).arg("-vV"))?;
    version.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned).ok_or(CargoError::Host)
}

/// A name and a version: no two crates of a program share both.
pub type Id = (String, String);

/// One crate that is linked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Crate {
    /// Where cargo takes it from; none for the workspace's own.
    pub source: Option<String>,
    /// SHA-256 of its archive, from the lock file; archives of registries have one.
    pub checksum: Option<Digest>,
    /// `license` of its manifest.
    pub license: Option<String>,
    /// `license-file` of its manifest.
    pub license_file: Option<String>,
    /// `repository` of its manifest.
    pub repository: Option<String>,
    /// What it uses directly.
    pub dependencies: BTreeSet<Id>,
    /// The C that it brings along.
    pub native: Option<Native>,
}

/// A program and everything in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Linked {
    /// The package of the program.
    pub root: Id,
    /// All crates, the program's own included.
    pub crates: BTreeMap<Id, Crate>,
}

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

/// The crates that the binary `bin` of `package` links.
///
/// # Errors
/// [`CargoError`]: an answer that cannot be understood, no such binary, or a crate whose archive has no hash.
pub fn linked(answer: &Answer, package: &str, bin: &str) -> Result<Linked, CargoError> {
    let metadata = parse_metadata(&answer.metadata)?;
    let lock: Lock = toml::from_str(&answer.lock).map_err(|error| CargoError::LockText(Box::new(error)))?;
    let mut packages: BTreeMap<Id, &Package> = BTreeMap::new();
    for package in &metadata.packages {
        let id = (package.name.to_string(), package.version.to_string());
        if packages.insert(id.clone(), package).is_some() {
            return Err(CargoError::Twice { name: id.0, version: id.1 });
        }
    }
    let edges = edges(&answer.tree)?;
    let root = edges.root.ok_or_else(|| CargoError::NoPackage(package.to_owned()))?;
    let bins: Vec<&str> = packages
        .get(&root)
        .map(|package| &package.targets)
        .into_iter()
        .flatten()
        .filter(|target| target.is_bin())
        .map(|target| target.name.as_str())
        .collect();
    if !bins.contains(&bin) {
        return Err(CargoError::NoBin {
            package: root.0,
            bin: bin.to_owned(),
            known: bins.iter().map(|name| (*name).to_owned()).collect(),
        });
    }
    let mut crates = BTreeMap::new();
    for (id, Node { features, dependencies }) in edges.of {
        let Some(package) = packages.get(&id) else {
            return Err(CargoError::Unknown { name: id.0, version: id.1 });
        };
        let source = package.source.as_ref().map(|source| source.repr.clone());
        let locked = lock.package.iter().find(|locked| {
            locked.name == id.0 && locked.version == id.1 && locked.source.as_deref() == source.as_deref()
        });
        let checksum = locked.and_then(|locked| locked.checksum.as_deref()?.parse().ok());
        let archived = source.as_deref().is_some_and(|source| !source.starts_with("git+"));
        if archived && checksum.is_none() {
            return Err(CargoError::NoChecksum { name: id.0, version: id.1 });
        }
        let native = answer.native.get(&id).filter(|_| native::brings(&id.0, &features)).cloned();
        if native.is_none() && native::brings(&id.0, &features) {
            return Err(CargoError::Native { name: id.0, version: id.1 });
        }
        let license_file = package.license_file.as_ref().map(ToString::to_string);
        let (license, repository) = (package.license.clone(), package.repository.clone());
        crates
            .insert(id, Crate { source, checksum, license, license_file, repository, dependencies, native });
    }
    Ok(Linked { root, crates })
}

#[derive(Default)]
struct Edges {
    root: Option<Id>,
    of: BTreeMap<Id, Node>,
}

/// A crate in the tree.
#[derive(Default)]
struct Node {
    features: BTreeSet<String>,
    dependencies: BTreeSet<Id>,
}

/// Reads `cargo tree --prefix depth`. A subtree is printed once; where it comes again a `(*)` stands for it.
fn edges(tree: &str) -> Result<Edges, CargoError> {
    let mut edges = Edges::default();
    let mut path: Vec<Id> = Vec::new();
    for line in tree.lines() {
        let strange = || CargoError::Tree(line.to_owned());
        let (depth, rest) = line.split_once('|').ok_or_else(strange)?;
        let (features, package) = rest.split_once('|').ok_or_else(strange)?;
        let depth: usize = depth.parse().map_err(|_| strange())?;
        let mut words = package.split(' ');
        let name = words.next().filter(|name| !name.is_empty()).ok_or_else(strange)?;
        let version = words.next().and_then(|word| word.strip_prefix('v')).ok_or_else(strange)?;
        let id = (name.to_owned(), version.to_owned());
        // One root, and no step down that leaves a level out.
        if depth > path.len() || (depth == 0) != edges.root.is_none() {
            return Err(strange());
        }
        path.truncate(depth);
        match path.last() {
            Some(parent) => {
                edges.of.entry(parent.clone()).or_default().dependencies.insert(id.clone());
            }
            None => edges.root = Some(id.clone()),
        }
        let node = edges.of.entry(id.clone()).or_default();
        node.features.extend(features.split(',').filter(|name| !name.is_empty()).map(str::to_owned));
        path.push(id);
    }
    Ok(edges)
}

fn parse_metadata(text: &str) -> Result<Metadata, CargoError> {
    MetadataCommand::parse(text).map_err(|error| CargoError::Metadata(Box::new(error)))
}

/// Cargo's answer is missing or does not say what the binary links.
#[derive(Debug, thiserror::Error)]
pub enum CargoError {
    /// Cargo or rustc failed.
    #[error("cargo cannot tell what the program links")]
    Process(#[from] ProcessError),
    /// `rustc -vV` has no host.
    #[error("rustc does not name its platform; name it with `--target`")]
    Host,
    /// The lock file cannot be read.
    #[error("cannot read `{}`; commit a lock file with the workspace", .path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The lock file is no lock file.
    #[error("`Cargo.lock` cannot be understood")]
    LockText(#[source] Box<toml::de::Error>),
    /// `cargo metadata` printed something else.
    #[error("the output of `cargo metadata` cannot be understood")]
    Metadata(#[source] Box<cargo_metadata::Error>),
    /// `cargo tree` printed something else.
    #[error("the output of `cargo tree` has a line that cannot be understood: `{0}`")]
    Tree(String),
    /// The tree is empty.
    #[error("cargo knows no package `{0}`")]
    NoPackage(String),
    /// The package has no such binary.
    #[error("the package `{package}` has no binary `{bin}`; it has {known:?}")]
    NoBin {
        /// The package.
        package: String,
        /// The binary that was asked for.
        bin: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The tree has a crate that the metadata has not.
    #[error("`cargo tree` names {name} {version}, which `cargo metadata` does not know")]
    Unknown {
        /// The crate.
        name: String,
        /// Its version.
        version: String,
    },
    /// One name and version from two sources.
    #[error("{name} {version} comes from two sources; a bill of materials cannot tell them apart")]
    Twice {
        /// The crate.
        name: String,
        /// Its version.
        version: String,
    },
    /// C of a version that nobody knows.
    #[error(
        "{name} {version} brings C whose version is not where it was; a bill of materials has to name it"
    )]
    Native {
        /// The crate.
        name: String,
        /// Its version.
        version: String,
    },
    /// A registry's crate without a hash.
    #[error("`Cargo.lock` has no SHA-256 for {name} {version}")]
    NoChecksum {
        /// The crate.
        name: String,
        /// Its version.
        version: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str, version: &str) -> Id {
        (name.to_owned(), version.to_owned())
    }

    #[test]
    fn a_tree_gives_each_edge_once() {
        let tree = "0||app v0.1.0 (/some where/app)\n1|x,y|a v1.0.0\n2||b v2.0.0+x\n1||c v1.0.0\n2|x,y|a v1.0.0 (*)\n1||b v2.0.0+x";
        let edges = edges(tree).unwrap();
        assert_eq!(edges.root, Some(id("app", "0.1.0")));
        let of = |name: &str, version: &str| {
            edges.of[&id(name, version)].dependencies.iter().cloned().collect::<Vec<_>>()
        };
        assert_eq!(of("app", "0.1.0"), [id("a", "1.0.0"), id("b", "2.0.0+x"), id("c", "1.0.0")]);
        assert_eq!(of("a", "1.0.0"), [id("b", "2.0.0+x")]);
        assert_eq!(of("c", "1.0.0"), [id("a", "1.0.0")]);
        assert_eq!(of("b", "2.0.0+x"), []);
        assert!(edges.of[&id("a", "1.0.0")].features.iter().eq(["x", "y"]));
        assert!(edges.of[&id("app", "0.1.0")].features.is_empty());
    }

    #[test]
    fn a_tree_of_another_form_is_refused() {
        for tree in [
            "app v0.1.0",
            "0|app v0.1.0",
            "x||app v0.1.0",
            "0||app",
            "0||app 0.1.0",
            "1||app v0.1.0",
            "0||a v1.0.0\n2||b v1.0.0",
            "0||a v1.0.0\n0||b v1.0.0",
            "0||a v1.0.0\n\n1||b v1.0.0",
        ] {
            assert!(matches!(edges(tree), Err(CargoError::Tree(_))), "{tree}");
        }
        assert_eq!(edges("").unwrap().root, None);
    }

    /// The workspace's own program, as cargo resolves it on this machine.
    fn workspace() -> (Question, Answer) {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
        let question = Question {
            manifest,
            package: "chancery".to_owned(),
            bin: "chancery".to_owned(),
            target: None,
            features: Vec::new(),
            no_default_features: false,
            offline: true,
        };
        let answer = ask(&question).unwrap();
        (question, answer)
    }

    #[test]
    fn the_program_links_what_it_uses_and_nothing_that_only_tests_or_builds_use() {
        let (question, answer) = workspace();
        let linked = linked(&answer, &question.package, &question.bin).unwrap();
        let names: BTreeSet<&str> = linked.crates.keys().map(|(name, _)| name.as_str()).collect();
        for linked in ["chancery", "chancery-core", "cedar-policy", "libsqlite3-sys", "axum"] {
            assert!(names.contains(linked), "{linked}");
        }
        // Of tests, of build scripts, and of procedural macros.
        for not in ["proptest", "rusqlite", "cc", "serde_derive", "syn", "ct-merkle", "chancery-tests"] {
            assert!(!names.contains(not), "{not}");
        }
        for (id, linked) in &linked.crates {
            assert_eq!(linked.source.is_some(), linked.checksum.is_some(), "{id:?}");
            assert!(!linked.dependencies.contains(id), "{id:?}");
        }
        let native = linked.crates.values().filter_map(|linked| linked.native.as_ref());
        assert_eq!(native.map(|native| native.name).collect::<Vec<_>>(), ["aws-lc", "sqlite"]);
        // Whoever links C says so to cargo. The C of `ring` has no name but the crate's; `aws-lc-rs` has none.
        let metadata = parse_metadata(&answer.metadata).unwrap();
        for package in metadata.packages.iter().filter(|package| package.links.is_some()) {
            let linked = linked.crates.get(&id(&package.name, &package.version.to_string()));
            let known = linked.is_none_or(|linked| linked.native.is_some());
            let named = ["aws-lc-rs", "ring"].contains(&package.name.as_str());
            assert!(known || named, "{} brings C that no bill of materials names", package.name);
        }

        let error = super::linked(&answer, "chancery", "server").unwrap_err();
        assert!(error.to_string().contains("has no binary `server`; it has [\"chancery\"]"), "{error}");
        let damaged =
            Answer { lock: answer.lock.replace("checksum = \"", "checksum = \"x"), ..answer.clone() };
        assert!(matches!(
            super::linked(&damaged, "chancery", "chancery"),
            Err(CargoError::NoChecksum { .. })
        ));
        let nameless = Answer { native: BTreeMap::new(), ..answer.clone() };
        assert!(matches!(super::linked(&nameless, "chancery", "chancery"), Err(CargoError::Native { .. })));
        let foreign = Answer { tree: answer.tree.replace("|axum v", "|axun v"), ..answer };
        assert!(matches!(super::linked(&foreign, "chancery", "chancery"), Err(CargoError::Unknown { .. })));
    }

    #[test]
    fn cargo_says_what_it_does_not_like() {
        let (question, _) = workspace();
        let error = ask(&Question { package: "nothing".to_owned(), ..question.clone() }).unwrap_err();
        assert!(
            matches!(&error, CargoError::Process(ProcessError::Failed { message, .. })
            if message.contains("nothing")),
            "{error:?}"
        );
        let nowhere = Question { manifest: PathBuf::from("/nowhere/Cargo.toml"), ..question };
        assert!(matches!(ask(&nowhere), Err(CargoError::Process(_))));
    }
}
