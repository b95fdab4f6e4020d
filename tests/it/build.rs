//! The files of a release from the command line: bill of materials, identity, signatures, and what is refused.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use chancery_core::digest::Digest;
use chancery_tests::home::PASSWORD;
use chancery_tests::program::{Said, chancery, path, repository, run};
use chancery_tests::tools;
use serde_json::{Value, json};
use tempfile::TempDir;

/// 2026-01-01T00:00:00Z.
const EPOCH: &str = "1767225600";

/// A folder with a git repository of a small program, a build key, and the files of its release.
pub(crate) struct Release {
    folder: TempDir,
}

impl Release {
    /// The source, committed and tagged, a program and a key; nothing of the release yet.
    pub(crate) fn new() -> Self {
        let release = Self { folder: tempfile::tempdir().unwrap() };
        let source = release.file("source");
        fs::create_dir_all(source.join("src")).unwrap();
        let manifest =
            "[package]\nname = \"small\"\nversion = \"0.3.0\"\nedition = \"2024\"\nlicense = \"MIT\"\n";
        fs::write(source.join("Cargo.toml"), manifest).unwrap();
        fs::write(
            source.join("Cargo.lock"),
            "version = 4\n\n[[package]]\nname = \"small\"\nversion = \"0.3.0\"\n",
        )
        .unwrap();
        fs::write(source.join("src/main.rs"), "fn main() {}\n").unwrap();
        release.git(&["init", "--quiet"]);
        release.git(&["remote", "add", "origin", "https://token@example.org/small.git"]);
        release.git(&["add", "."]);
        release.git(&["commit", "--quiet", "--message", "one"]);
        release.git(&["tag", "v0.3.0"]);
        fs::create_dir(release.file("out")).unwrap();
        fs::write(release.file("out/small"), "a program").unwrap();
        release.key("build.key", "ecdsa-p256");
        release
    }

    /// The same with all files of the release, signed.
    fn signed() -> Self {
        let release = Self::new();
        release.sbom().expect(0);
        release.identity(&[]).expect(0);
        release.sign("out/build-identity.json", "keys/build.key").expect(0);
        release
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn git(&self, arguments: &[&str]) {
        let mut git = Command::new("git");
        git.arg("-C").arg(self.file("source")).args(["-c", "user.name=T", "-c", "user.email=t@example.org"]);
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_COMMITTER_DATE", format!("{EPOCH} +0000"));
        assert!(git.args(arguments).status().unwrap().success(), "git {arguments:?}");
    }

    fn key(&self, name: &str, algorithm: &str) {
        use std::os::unix::fs::DirBuilderExt;
        let keys = self.file("keys");
        if !keys.exists() {
            fs::DirBuilder::new().mode(0o700).create(&keys).unwrap();
        }
        run(self.chancery().args(["key", "generate", "--algorithm", algorithm]), [keys.join(name)]).expect(0);
    }

    pub(crate) fn chancery(&self) -> Command {
        with_tools(chancery(self.folder.path()))
    }

    pub(crate) fn sbom(&self) -> Said {
        let source = ["--manifest-path", "source/Cargo.toml", "--package", "small", "--bin", "small"];
        run(
            self.chancery().args(["build", "sbom", "--offline", "--out", "out/sbom.cdx.json"]),
            source.map(str::to_owned),
        )
    }

    fn identity(&self, more: &[&str]) -> Said {
        let mut command = self.chancery();
        command.args(["build", "identity", "--binary", "out/small", "--sbom", "out/sbom.cdx.json"]);
        command.args(["--manifest-path", "source/Cargo.toml", "--out", "out/build-identity.json"]);
        if !more.contains(&"--key") {
            command.args(["--key", "keys/build.key.pub"]);
        }
        run(command.env("SOURCE_DATE_EPOCH", EPOCH), more)
    }

    pub(crate) fn sign(&self, file: &str, key: &str) -> Said {
        run(&mut self.chancery(), ["build", "sign", file, "--key", key])
    }

    pub(crate) fn verify(&self, more: &[&str]) -> Said {
        run(self.chancery().args(["build", "verify", "out", "--key", "keys/build.key.pub"]), more)
    }

    /// Changes one byte of a file.
    fn flip(&self, name: &str) {
        let mut bytes = fs::read(self.file(name)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(self.file(name), bytes).unwrap();
    }
}

/// What finds git and cargo, and nothing else of the environment.
fn with_tools(mut command: Command) -> Command {
    for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// The status of each check of `build verify -o json`.
fn statuses(said: &Said) -> Vec<(String, String)> {
    let checks = said.json()["checks"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    checks.iter().map(|check| (text(&check["check"]), text(&check["status"]))).collect()
}

fn with_status(said: &Said, status: &str) -> Vec<String> {
    statuses(said).into_iter().filter(|(_, found)| found == status).map(|(check, _)| check).collect()
}

#[test]
fn the_workspaces_bill_of_materials_names_what_is_linked_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, epoch: Option<&str>| {
        let mut command = with_tools(chancery(folder.path()));
        if let Some(epoch) = epoch {
            command.env("SOURCE_DATE_EPOCH", epoch);
        }
        command.args(["build", "sbom", "--offline", "--out", name, "--manifest-path"]);
        run(&mut command, [repository().join("Cargo.toml")]).expect(0);
        fs::read(folder.path().join(name)).unwrap()
    };
    let bytes = write("a.json", Some(EPOCH));
    assert_eq!(bytes, write("b.json", Some(EPOCH)), "two runs, two documents");
    let bom: Value = serde_json::from_slice(&bytes).unwrap();
    let mut later: Value = serde_json::from_slice(&write("c.json", Some("1767225601"))).unwrap();
    for pointer in ["/serialNumber", "/metadata/timestamp"] {
        assert_ne!(bom.pointer(pointer), later.pointer(pointer));
        *later.pointer_mut(pointer).unwrap() = bom.pointer(pointer).unwrap().clone();
    }
    assert_eq!(bom, later, "the time is in one place");

    assert_eq!((&bom["bomFormat"], &bom["specVersion"]), (&json!("CycloneDX"), &json!("1.5")));
    assert_eq!(bom["metadata"]["component"]["name"], "chancery");
    assert_eq!(bom["metadata"]["timestamp"], "2026-01-01T00:00:00.000000Z");
    let components = bom["components"].as_array().unwrap();
    let references: Vec<&str> =
        components.iter().map(|component| component["bom-ref"].as_str().unwrap()).collect();
    assert!(references.is_sorted(), "components in order");
    let named = |name: &str| components.iter().find(|component| component["name"] == name);
    for not in ["proptest", "rusqlite", "chancery-tests", "serde_derive", "cc"] {
        assert!(named(not).is_none(), "{not} is not linked");
    }
    // What Cargo.lock says, found by hand.
    let lock = fs::read_to_string(repository().join("Cargo.lock")).unwrap();
    let cedar = named("cedar-policy").unwrap();
    let entry = lock.split("[[package]]").find(|entry| entry.contains("name = \"cedar-policy\"\n")).unwrap();
    let checksum = entry.split("checksum = \"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(cedar["hashes"], json!([{"alg": "SHA-256", "content": checksum}]));
    assert_eq!(cedar["purl"], format!("pkg:cargo/cedar-policy@{}", cedar["version"].as_str().unwrap()));
    for component in components {
        let own = component["name"].as_str().unwrap().starts_with("chancery");
        let native = !component["purl"].as_str().unwrap().starts_with("pkg:cargo/");
        assert_eq!(component["hashes"].is_null(), own || native, "{component}");
        let license = component["licenses"][0]["expression"].as_str();
        assert!(license.is_some_and(|license| !license.contains('/')), "{component}");
    }
    // What lists of vulnerabilities call the C in it.
    let sqlite = named("sqlite").unwrap();
    let cpe = format!("cpe:2.3:a:sqlite:sqlite:{}:*:*:*:*:*:*:*", sqlite["version"].as_str().unwrap());
    assert_eq!(sqlite["cpe"], cpe);
    assert!(named("aws-lc").unwrap()["purl"].as_str().unwrap().starts_with("pkg:github/aws/aws-lc@v"));
    // The graph is whole: it begins at the program and reaches every component.
    let mut known: BTreeSet<&str> = references.into_iter().collect();
    known.insert(bom["metadata"]["component"]["bom-ref"].as_str().unwrap());
    let mut used = BTreeSet::new();
    for dependency in bom["dependencies"].as_array().unwrap() {
        assert!(known.contains(dependency["ref"].as_str().unwrap()), "{dependency}");
        let uses = dependency["dependsOn"].as_array().into_iter().flatten();
        used.extend(uses.map(|reference| reference.as_str().unwrap()));
    }
    known.remove(bom["metadata"]["component"]["bom-ref"].as_str().unwrap());
    assert_eq!(used, known);
}

#[test]
fn without_an_epoch_a_bill_of_materials_has_the_commits_time() {
    let release = Release::new();
    release.sbom().expect(0);
    let first = fs::read(release.file("out/sbom.cdx.json")).unwrap();
    let bom: Value = serde_json::from_slice(&first).unwrap();
    assert_eq!(bom["metadata"]["timestamp"], "2026-01-01T00:00:00.000000Z");
    let again = release.sbom().expect(11);
    assert!(again.err.contains("is there already"), "{}", again.err);
    fs::remove_file(release.file("out/sbom.cdx.json")).unwrap();
    release.sbom().expect(0);
    assert_eq!(fs::read(release.file("out/sbom.cdx.json")).unwrap(), first);
}

#[test]
fn a_release_is_signed_and_checked_down_to_its_commit() {
    let release = Release::signed();
    let verified = release.verify(&["-o", "json"]).expect(0).json();
    assert_eq!(verified["verdict"], "verified");
    let identity = fs::read(release.file("out/build-identity.json")).unwrap();
    assert_eq!(verified["buildIdentity"], json!(Digest::of(&identity)));
    let predicate = &verified["predicate"];
    assert_eq!(predicate["builtAt"], "2026-01-01T00:00:00.000000Z");
    let git = &predicate["git"];
    assert_eq!(
        (&git["dirty"], &git["repository"], &git["tag"]),
        (&json!(false), &json!("https://example.org/small.git"), &json!("v0.3.0"))
    );
    assert!(predicate["toolchain"].as_str().unwrap().starts_with("rustc 1."));
    let lock = fs::read(release.file("source/Cargo.lock")).unwrap();
    assert_eq!(predicate["lockfileSha256"], json!(Digest::of(&lock)));
    assert_eq!(verified["subject"][0]["digest"]["sha256"], json!(Digest::of(b"a program")));
    let text = release.verify(&[]).expect(0).out;
    let commit = git["commit"].as_str().unwrap();
    assert!(text.contains(&format!("commit     {commit}, tag v0.3.0\n")), "{text}");
    assert!(text.contains("small 0.3.0, 0 components"), "{text}");

    // Equal facts give equal bytes, an hour later and in another folder.
    fs::rename(release.file("out/build-identity.json"), release.file("first.json")).unwrap();
    release.identity(&[]).expect(0);
    assert_eq!(fs::read(release.file("out/build-identity.json")).unwrap(), identity);
}

/// With a real program, the one that runs this very test's commands.
#[test]
fn a_program_of_which_one_byte_was_changed_is_not_the_release() {
    let release = Release::new();
    release.sbom().expect(0);
    let program = release.file("out/chancery");
    fs::copy(path("chancery"), &program).unwrap();
    let identity = ["build", "identity", "--binary", "out/chancery", "--sbom", "out/sbom.cdx.json"];
    let more = ["--key", "keys/build.key.pub", "--manifest-path", "source/Cargo.toml"];
    run(release.chancery().args(identity).args(more), ["--out", "out/build-identity.json"]).expect(0);
    release.sign("out/build-identity.json", "keys/build.key").expect(0);
    release.verify(&[]).expect(0);
    release.flip("out/chancery");
    let refused = release.verify(&[]).expect(5);
    let found = Digest::of(&fs::read(&program).unwrap());
    assert!(
        refused.out.contains(&format!("fail    build.binding: the file has SHA-256 {found}")),
        "{}",
        refused.out
    );
}

#[test]
fn everything_that_is_off_is_told_at_once() {
    let release = Release::signed();
    release.flip("out/small");
    release.flip("out/sbom.cdx.json");
    let signature = fs::read_to_string(release.file("out/build-identity.json.sig")).unwrap();
    fs::write(release.file("out/build-identity.json.sig"), &signature[4..]).unwrap();
    release.key("other.key", "ecdsa-p256");
    let failed = release.verify(&["-o", "json"]).expect(5);
    assert_eq!(with_status(&failed, "fail"), ["build.signature", "build.binding", "build.sbom"]);
    assert_eq!(failed.json()["verdict"], "failed");

    let other = ["build", "verify", "out", "--key", "keys/other.key.pub", "-o", "json"];
    let failed = run(&mut release.chancery(), other).expect(5);
    let mut all: Vec<_> = statuses(&failed).into_iter().map(|(check, _)| check).collect();
    all.retain(|check| check != "build.statement");
    assert_eq!(with_status(&failed, "fail"), all);
}

#[test]
fn what_is_not_there_is_never_taken_for_good() {
    let release = Release::signed();
    for (name, check) in [
        ("build-identity.json.sig", "build.signature"),
        ("build-identity.sigstore.json", "build.bundle"),
        ("build-identity.dsse.json", "build.envelope"),
        ("small", "build.binding"),
        ("sbom.cdx.json", "build.sbom"),
    ] {
        let (here, away) = (release.file("out").join(name), release.file("away"));
        fs::rename(&here, &away).unwrap();
        let said = release.verify(&["-o", "json"]).expect(6);
        assert_eq!(with_status(&said, "unknown"), [check]);
        fs::rename(&away, &here).unwrap();
    }
    release.verify(&[]).expect(0);
    release.verify(&["--binary", "out/nothing"]).expect(10);
    fs::remove_file(release.file("out/build-identity.json")).unwrap();
    release.verify(&[]).expect(10);
}

#[test]
fn text_of_a_forged_release_cannot_pose_as_a_verdict() {
    let release = Release::signed();
    let identity = release.file("out/build-identity.json");
    let forged = fs::read_to_string(&identity).unwrap().replacen("rustc ", "rustc\\nverified\\u001b[2K ", 1);
    fs::write(&identity, forged).unwrap();
    let refused = release.verify(&[]).expect(5).out;
    assert!(!refused.contains("\nverified") && !refused.contains('\u{1b}'), "{refused}");
    assert!(refused.ends_with("\nfailed\n"), "{refused}");
}

#[test]
fn a_bill_of_materials_that_is_not_the_one_named_is_refused() {
    let release = Release::signed();
    let own = release.file("other.json");
    let mut command = release.chancery();
    command.env("SOURCE_DATE_EPOCH", EPOCH).args(["build", "sbom", "--offline", "--out"]).arg(&own);
    run(command.arg("--manifest-path"), [repository().join("Cargo.toml")]).expect(0);
    let refused = release.verify(&["--sbom", "other.json", "-o", "json"]).expect(5);
    assert_eq!(with_status(&refused, "fail"), ["build.sbom"]);

    let release = Release::new();
    for (bad, words) in [
        (r#"{"spdxVersion":"SPDX-2.3"}"#, "not a CycloneDX document"),
        (r#"{"bomFormat":"CycloneDX","specVersion":"1.4","version":1}"#, "CycloneDX 1.4; 1.5 is needed"),
        (r#"{"bomFormat":"CycloneDX","specVersion":"1.5","version":1}"#, "names no program"),
        ("", "not a CycloneDX document"),
    ] {
        fs::write(release.file("out/sbom.cdx.json"), bad).unwrap();
        let refused = release.identity(&[]).expect(2);
        assert!(refused.err.contains(words), "{}", refused.err);
    }
}

#[test]
fn keys_that_cannot_sign_builds_say_why() {
    let release = Release::new();
    release.sbom().expect(0);
    release.key("ed25519.key", "ed25519");
    let refused = release.identity(&["--key", "keys/ed25519.key.pub"]).expect(2);
    assert!(refused.err.contains("chancery key generate --algorithm ecdsa-p256"), "{}", refused.err);
    release.identity(&["--key", "keys/build.key"]).expect(0);
    let refused = release.sign("out/build-identity.json", "keys/ed25519.key").expect(2);
    assert!(refused.err.contains("ecdsa-p256"), "{}", refused.err);
    release.key("other.key", "ecdsa-p256");
    let refused = release.sign("out/build-identity.json", "keys/other.key").expect(2);
    assert!(refused.err.contains("the build identity names the key SHA256:"), "{}", refused.err);

    let sign = ["build", "sign", "out/build-identity.json", "--key", "keys/build.key"];
    let wrong = run(release.chancery().env("CHANCERY_PASSWORD", "another"), sign).expect(9);
    assert!(wrong.err.contains("the password does not open"), "{}", wrong.err);
    assert!(!wrong.err.to_lowercase().contains("unsupported"), "{}", wrong.err);
    let none = run(release.chancery().env_remove("CHANCERY_PASSWORD"), sign).expect(9);
    assert!(none.err.contains("there is no password"), "{}", none.err);

    // Truncated and relabelled key files, and a public key in the place of a private one.
    let good = fs::read_to_string(release.file("keys/build.key")).unwrap();
    let label = "ENCRYPTED SIGSTORE PRIVATE KEY";
    let middle = good.len() / 2;
    let public = fs::read_to_string(release.file("keys/build.key.pub")).unwrap();
    for (text, words) in [
        (good[..middle].to_owned(), "PEM"),
        (format!("{}{}", &good[..middle / 4 * 4], &good[good.len() - 45..]), "key file"),
        (good.replace(label, "PRIVATE KEY"), "holds a `PRIVATE KEY`"),
        (public.replace("PUBLIC KEY", label), "not that of an encrypted key"),
        (String::new(), "PEM"),
    ] {
        write_private(&release.file("keys/bad.key"), &text);
        let refused = release.sign("out/build-identity.json", "keys/bad.key");
        assert!(refused.err.contains("put the key file back"), "{refused:?}");
        assert!(refused.err.contains(words), "{words}: {}", refused.err);
        assert!(!refused.err.contains("the password does not open"), "{}", refused.err);
        fs::remove_file(release.file("keys/bad.key")).unwrap();
    }
    assert!(!release.file("out/build-identity.json.sig").exists(), "a refused key has signed something");
}

fn write_private(path: &Path, text: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_password_comes_through_a_file_descriptor() {
    let release = Release::new();
    fs::write(release.file("out/notes.txt"), "any file").unwrap();
    let script = "printf %s \"$SECRET\" | exec \"$PROGRAM\" build sign out/notes.txt --key keys/build.key \
                  --password-file /dev/fd/0";
    let mut shell = with_tools(Command::new("sh"));
    shell.current_dir(release.folder.path()).env_remove("CHANCERY_PASSWORD");
    shell.env("SECRET", PASSWORD).env("PROGRAM", path("chancery"));
    run(&mut shell, ["-c", script]).expect(0);
    assert!(
        release.file("out/notes.txt.sig").exists() && release.file("out/notes.txt.sigstore.json").exists()
    );
}

#[test]
fn any_file_can_be_signed_but_nothing_passes_for_a_build_identity() {
    let release = Release::new();
    fs::write(release.file("out/notes.json"), "{}").unwrap();
    let signed = release.sign("out/notes.json", "keys/build.key").expect(0);
    assert!(signed.out.contains("out/notes.json.sigstore.json"), "{}", signed.out);
    assert!(!release.file("out/notes.json.dsse.json").exists());
    let again = release.sign("out/notes.json", "keys/build.key").expect(11);
    assert!(again.err.contains("nothing is overwritten"), "{}", again.err);
    fs::write(release.file("out/build-identity.json"), "{}").unwrap();
    let refused = release.sign("out/build-identity.json", "keys/build.key").expect(2);
    assert!(refused.err.contains("not the build identity"), "{}", refused.err);
}

#[test]
fn the_source_is_named_as_it_is_or_not_at_all() {
    let release = Release::new();
    release.sbom().expect(0);
    let identity = || {
        let bytes = fs::read(release.file("out/build-identity.json")).unwrap();
        fs::remove_file(release.file("out/build-identity.json")).unwrap();
        serde_json::from_slice::<Value>(&bytes).unwrap()["predicate"].clone()
    };
    let refused = |more: &[&str], words: &str| {
        let said = release.identity(more).expect(2);
        assert!(said.err.contains(words), "{words}: {}", said.err);
        assert!(!release.file("out/build-identity.json").exists());
    };
    refused(&["--tag", "v9"], "the tag `v9` is not at the commit");
    release.git(&["tag", "latest"]);
    refused(&[], "`latest`, `v0.3.0`; choose one with `--tag`");
    release.identity(&["--tag", "latest", "--built-at", "2026-03-01T10:20:30Z"]).expect(0);
    let chosen = identity();
    assert_eq!(chosen["git"]["tag"], "latest");
    assert_eq!(chosen["builtAt"], "2026-03-01T10:20:30.000000Z", "what is said wins over the variable");

    let digest = format!("sha256:{}", "ab".repeat(32));
    let image = ["--tag", "latest", "--image-name", "ghcr.io/acme/small:1", "--image-digest"];
    release.identity(&[image.as_slice(), &[digest.as_str()]].concat()).expect(0);
    assert_eq!(identity()["image"], json!({"digest": digest, "name": "ghcr.io/acme/small:1"}));
    refused(&[image.as_slice(), &["latest"]].concat(), "`latest` is no image digest");
    refused(&["--tag", "latest", "--image-name", "small"], "--image-digest");
    refused(&["--tag", "latest", "--image-name", "small", "--oci-layout", "out"], "oci-layout");

    let commit = chosen["git"]["commit"].as_str().unwrap();
    refused(&["--tag", "latest", "--commit", &"0".repeat(40)], "is checked out; build again");
    release.identity(&["--tag", "latest", "--commit", commit, "--clean"]).expect(0);
    identity();

    // A hook's variables name another repository than the folder.
    let other = Release::new();
    other.git(&["commit", "--quiet", "--allow-empty", "--message", "two"]);
    let mut hooked = release.chancery();
    hooked.env("GIT_DIR", other.file("source/.git")).env("GIT_WORK_TREE", other.file("source"));
    hooked.args([
        "build",
        "identity",
        "--binary",
        "out/small",
        "--sbom",
        "out/sbom.cdx.json",
        "--tag",
        "latest",
    ]);
    hooked.args(["--manifest-path", "source/Cargo.toml", "--out", "out/build-identity.json"]);
    run(&mut hooked, ["--key", "keys/build.key.pub", "--repository", "ssh://u:secret@example.org/r"])
        .expect(0);
    let here = identity();
    assert_eq!((&here["git"]["commit"], here["git"]["dirty"].as_bool()), (&commit.into(), Some(false)));
    assert_eq!(here["git"]["repository"], "ssh://u@example.org/r");

    fs::write(release.file("source/src/new.rs"), "").unwrap();
    refused(&["--tag", "latest", "--clean"], "the tree differs from");
    let dirty = release.identity(&["--tag", "latest"]).expect(0);
    assert!(dirty.err.contains("warning: the tree differs"), "{}", dirty.err);
    assert_eq!(identity()["git"]["dirty"], true);

    let command = ["build", "sbom", "--out", "x.json", "--manifest-path", "source/Cargo.toml"];
    let odd = run(release.chancery().env("SOURCE_DATE_EPOCH", "yesterday"), command).expect(2);
    assert!(odd.err.contains("SOURCE_DATE_EPOCH"), "{}", odd.err);
    fs::remove_dir_all(release.file("source/.git")).unwrap();
    refused(&[], "is in no git repository");
}

/// The script that shows a newcomer what a release is worth, with the program of these tests as the release.
#[test]
fn a_release_is_proved_down_to_its_commit_and_a_changed_byte_does_not_start() {
    let release = Release::new();
    fs::copy(path("chancery"), release.file("out/chancery")).unwrap();
    release.sbom().expect(0);
    let make = |more: &[&str]| {
        for file in ["json", "json.sig", "sigstore.json", "dsse.json"] {
            // Of the release before, where there was one.
            let _ = fs::remove_file(release.file("out").join(format!("build-identity.{file}")));
        }
        let mut identity = release.chancery();
        identity.args(["build", "identity", "--sbom", "out/sbom.cdx.json", "--key", "keys/build.key.pub"]);
        identity.args(["--manifest-path", "source/Cargo.toml", "--out", "out/build-identity.json"]);
        run(identity.args(["--binary", "out/chancery"]), more).expect(0);
        release.sign("out/build-identity.json", "keys/build.key").expect(0);
    };
    let cosign = tools::cosign();
    let prove = |source: &str| {
        let mut script = Command::new(repository().join("scripts/prove-release"));
        script.env_clear();
        let mut script = with_tools(script);
        let folder =
            cosign.as_ref().and_then(|tool| tool.folder()).map(|folder| folder.display().to_string());
        let folders = [folder, std::env::var("PATH").ok()];
        script.env("PATH", folders.into_iter().flatten().collect::<Vec<_>>().join(":"));
        script.env("TMPDIR", release.file("out").parent().unwrap()).arg("--source").arg(release.file(source));
        script.arg("--release").arg(release.file("out")).arg("--build-key");
        run(&mut script, [release.file("keys/build.key.pub")])
    };

    make(&["--clean"]);
    let said = prove("source");
    for expected in
        ["verified: 1 decision, 1 reproduced", "== One byte", "build.binding: the running program"]
    {
        assert!(said.out.contains(expected), "{expected}: {}{}", said.out, said.err);
    }
    if cosign.is_some() {
        assert!(said.expect(0).out.ends_with("== All of it held\n"));
    } else {
        assert!(said.expect(6).out.contains("NOT SHOWN: the same signature with cosign"));
    }

    // What could not be shown is no success: a commit that nobody has, changes that are in none.
    fs::write(release.file("source/src/new.rs"), "").unwrap();
    make(&[]);
    let said = prove("keys").expect(6);
    for expected in ["NOT SHOWN: the source:", "NOT SHOWN: the whole source: the build is dirty"] {
        assert!(said.out.contains(expected), "{expected}: {}", said.out);
    }
    assert!(!said.out.contains("All of it held"), "{}", said.out);
}
