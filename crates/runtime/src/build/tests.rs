use super::*;
use crate::edge::Clock as _;
use crate::export::{Disclosure, ExportRequest, Selection};
use crate::failure::{Cause, Failure as _};
use crate::fsck::FsckRequest;
use crate::testing::{BOM, PROGRAM, TestLog, build_key, caller, other_key, release, request, sign_release};
use crate::trust;
use chancery_core::dsse::IN_TOTO;
use chancery_core::evidence::Filter;
use chancery_core::key::{Signer, SigningKey};
use chancery_core::keyring::{Change, KeyEntry, Moment, Standing};
use chancery_core::time::Timestamp;
use chancery_store::NewKeyring;
use chancery_supply::release::Check;
use chancery_verify::{Ask, CheckId, CheckResult, Verdict};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

fn open(log: &TestLog, files: Option<BuildFiles>) -> Result<Runtime, OpenError> {
    let mut options = log.options();
    options.build = files;
    Runtime::open(options)
}

fn good() -> BuildFiles {
    release(&build_key(), |_| {})
}

/// The faults with which a release is refused; nothing is logged then.
#[track_caller]
fn refused(log: &TestLog, files: BuildFiles) -> Vec<BuildFault> {
    let head = || open(log, None).unwrap().records().head().unwrap().size;
    let before = head();
    let error = open(log, Some(files)).unwrap_err();
    assert_eq!(error.whose(), Cause::Refused);
    assert_eq!(head(), before, "something was logged");
    let OpenError::Build(error) = error else { panic!("{error}") };
    let told = error.to_string();
    assert_eq!(told.matches("to mend it").count(), error.faults.len(), "{told}");
    error.faults
}

fn decide(runtime: &Runtime, id: &str) -> Decided {
    let answer = runtime.execute_blocking(&caller(), &request(id, "1", "0.1")).unwrap();
    let found = runtime.records().get(&answer.execution_id).unwrap().unwrap();
    Decided { index: answer.log.index, build: found.statement.runtime.build_identity }
}

#[derive(Debug, Eq, PartialEq)]
struct Decided {
    index: u64,
    build: Option<Digest>,
}

/// Drafts a keyring version, has the root key sign it, and logs it.
fn change(log: &TestLog, runtime: &Runtime, changes: &[Change]) {
    let at = Moment { now: log.clock.now(), size: runtime.records().head().unwrap().size };
    let keyring = runtime.keyring();
    let mut envelope = trust::unsigned(&keyring.draft(changes, at).unwrap()).unwrap();
    trust::sign(&keyring, &mut envelope, &log.root_key).unwrap();
    runtime.append_keyring(&envelope).unwrap();
}

/// Logs a version with a further key, whatever a review would say to it.
fn log_unreviewed(log: &TestLog, runtime: &Runtime, entry: KeyEntry) {
    let keyring = runtime.keyring();
    let newest = keyring.newest();
    let mut next = newest.predicate().clone();
    next.keys.push(entry);
    (next.version, next.previous) = (next.version + 1, Some(newest.record()));
    let columns = NewKeyring { version: next.version, expires_at: next.expires_at };
    let payload = Statement::keyring_of(next).unwrap().to_payload().unwrap().into_bytes();
    let envelope = Envelope::sign(IN_TOTO, payload, &log.root_key).unwrap();
    let entry = NewEntry {
        record_id: envelope.record_id(),
        payload: envelope.payload.0,
        signatures: envelope.signatures,
        claimed_at: log.clock.now(),
        body: Body::Keyring(columns),
    };
    runtime.inner.store.submit_blocking(entry).unwrap();
}

fn entry(log: &TestLog, key: &SigningKey, role: Role, from: Timestamp) -> KeyEntry {
    KeyEntry {
        key: key.public_key().clone(),
        revoked: None,
        subject: format!("{role} of {from}"),
        roles: vec![role],
        valid_from: from,
        valid_until: log.clock.now().checked_add_ms(365 * DAY_MS).unwrap(),
    }
}

fn revoke(from_index: u64) -> Change {
    let key = build_key().public_key().key_id().clone();
    Change::Revoke { key, from_index, reason: "it was stolen".to_owned() }
}

#[test]
fn a_verified_build_is_logged_once_and_named_by_every_decision() {
    let log = TestLog::production();
    let files = good();
    let hash = Digest::of(&files.identity);
    let runtime = open(&log, Some(files.clone())).unwrap();
    let build = runtime.build().unwrap().clone();
    assert_eq!((build.build.hash, build.log.index), (hash, 2));
    let logged = runtime.records().entry(2).unwrap().unwrap();
    assert_eq!((logged.kind, logged.payload.as_slice()), (Kind::BuildIdentity, files.identity.as_slice()));
    assert_eq!(logged.leaf_hash, build.log.leaf_hash);
    assert_eq!(decide(&runtime, "a"), Decided { index: 3, build: Some(hash) });
    runtime.ready().unwrap();
    drop(runtime);
    // Signed anew: another signature, and the same build.
    let again = sign_release(files.identity, &build_key());
    let runtime = open(&log, Some(again)).unwrap();
    assert_eq!(decide(&runtime, "b"), Decided { index: 4, build: Some(hash) });
    drop(runtime);
    // The next release, of the same program.
    let next = release(&build_key(), |build| build.git.tag = Some("v2".to_owned()));
    let runtime = open(&log, Some(next.clone())).unwrap();
    assert_eq!(decide(&runtime, "c"), Decided { index: 6, build: Some(Digest::of(&next.identity)) });
}

#[test]
fn a_production_log_without_a_build_is_administered_and_decides_nothing() {
    let log = TestLog::production();
    let runtime = open(&log, None).unwrap();
    log.activate(&runtime, "2.0.0");
    assert_eq!(runtime.begin_export(&all()).unwrap().decisions(), 0);
    let error = runtime.execute_blocking(&caller(), &request("a", "1", "0.1")).unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Unavailable, "build.missing"));
    assert_eq!(runtime.may_decide().unwrap_err().code(), "build.missing");
    assert_eq!(runtime.ready().unwrap_err().code(), "build.missing");
    // Nothing is recorded by an evaluation, and nothing signed.
    runtime.evaluate_blocking(&caller(), &request("a", "1", "0.1")).unwrap();
    assert_eq!(runtime.records().head().unwrap().size, 3);
    drop(runtime);
    // What was decided with a build is answered again without one.
    let runtime = open(&log, Some(good())).unwrap();
    decide(&runtime, "a");
    drop(runtime);
    let runtime = open(&log, None).unwrap();
    assert!(runtime.execute_blocking(&caller(), &request("a", "1", "0.1")).unwrap().replayed);
}

#[test]
fn a_start_that_is_refused_for_something_else_logs_nothing() {
    let log = TestLog::production();
    std::fs::remove_file(log.home().checkpoint()).unwrap();
    assert_eq!(open(&log, Some(good())).unwrap_err().code(), "checkpoint.missing");
    let records = crate::records::Records::open(&log.database().into(), None, log.clock.clone()).unwrap();
    assert_eq!(records.head().unwrap().size, 2);
}

#[test]
fn nor_does_a_batch() {
    let log = TestLog::production();
    let lines = vec![Ok(request("a", "1", "0.1")), Ok(request("b", "1", "0.1"))];
    for line in open(&log, None).unwrap().batch(&caller(), lines).unwrap() {
        assert!(line.result.unwrap_err().to_string().contains("verified build"));
    }
}

#[test]
fn a_log_for_tests_decides_with_a_build_or_without() {
    let log = TestLog::new();
    let runtime = open(&log, None).unwrap();
    assert_eq!(decide(&runtime, "a").build, None);
    assert!(runtime.build().is_none());
    let enrolled = entry(&log, &build_key(), Role::Build, "2026-01-01T00:00:00.000000Z".parse().unwrap());
    change(&log, &runtime, &[Change::Enrol(enrolled.into())]);
    drop(runtime);
    let files = good();
    let runtime = open(&log, Some(files.clone())).unwrap();
    assert_eq!(decide(&runtime, "b").build, Some(Digest::of(&files.identity)));
}

type Forge = fn(&mut BuildFiles);
type IsFault = fn(&BuildFault) -> bool;

#[test]
fn whatever_is_off_is_told_with_what_mends_it() {
    let log = TestLog::production();
    let cases: [(&str, Forge, IsFault); 13] = [
        ("build.signature", |it| it.bundle = None, |it| matches!(it, BuildFault::Missing { file: BUNDLE })),
        (
            "build.signature",
            |it| it.envelope = None,
            |it| matches!(it, BuildFault::Missing { file: ENVELOPE }),
        ),
        ("build.sbom", |it| it.sbom = None, |it| matches!(it, BuildFault::Missing { file: SBOM })),
        (
            "build.sbom",
            |it| it.sbom = Some(b"{}".to_vec()),
            |it| matches!(it, BuildFault::Release { check: Check::Sbom, .. }),
        ),
        (
            "build.signature",
            |it| it.identity = b"{}".to_vec(),
            |it| matches!(it, BuildFault::Release { check: Check::Statement, .. }),
        ),
        (
            "build.signature",
            |it| it.bundle = Some(b"{}".to_vec()),
            |it| matches!(it, BuildFault::Release { check: Check::Bundle, .. }),
        ),
        (
            "build.signature",
            |it| it.bundle = release(&build_key(), |other| other.git.dirty = true).bundle,
            |it| matches!(it, BuildFault::Release { check: Check::Bundle, .. }),
        ),
        (
            "build.signature",
            |it| it.envelope = Some(b"{}".to_vec()),
            |it| matches!(it, BuildFault::Release { check: Check::Envelope, .. }),
        ),
        (
            "build.signature",
            |it| it.envelope = release(&build_key(), |other| other.git.dirty = true).envelope,
            |it| matches!(it, BuildFault::Release { check: Check::Envelope, .. }),
        ),
        (
            "build.signature",
            |it| it.signature = Some(b"?".to_vec()),
            |it| matches!(it, BuildFault::Release { check: Check::Signature, .. }),
        ),
        (
            "build.signature",
            |it| it.signature = release(&build_key(), |other| other.git.dirty = true).signature,
            |it| matches!(it, BuildFault::Release { check: Check::Signature, .. }),
        ),
        (
            "build.signature",
            |it| it.envelope = sign_release(it.identity.clone(), &other_key()).envelope,
            |it| matches!(it, BuildFault::Release { check: Check::Envelope, .. }),
        ),
        (
            "build.signature",
            |it| {
                let other = sign_release(it.identity.clone(), &other_key());
                (it.bundle, it.signature) = (other.bundle, other.signature);
            },
            |it| matches!(it, BuildFault::Release { check: Check::Bundle, .. }),
        ),
    ];
    for (number, (check, forge, is_fault)) in cases.into_iter().enumerate() {
        let mut files = good();
        forge(&mut files);
        let faults = refused(&log, files);
        assert!(
            faults.iter().any(|fault| is_fault(fault) && fault.check() == check),
            "case {number}: {faults:?}"
        );
    }
    // One signature is enough for one that nobody made `.sig` of.
    let files = BuildFiles { signature: None, ..good() };
    open(&log, Some(files)).unwrap();
}

#[test]
fn another_program_and_another_bill_of_materials_are_told_together() {
    let log = TestLog::production();
    let mut files = good();
    files.sbom = Some([BOM, b" "].concat());
    let mut options = log.options();
    options.build = Some(files);
    options.binary = Digest::of(b"the program, one byte later");
    let error = Runtime::open(options).unwrap_err();
    assert_eq!(error.code(), "build.binding");
    let told = error.to_string();
    for part in ["build.binding", "build.sbom", &PROGRAM.to_string(), "install the program"] {
        assert!(told.contains(part), "{told}");
    }
    let OpenError::Build(error) = error else { panic!("{error}") };
    assert_eq!(error.faults.len(), 2, "{told}");
}

#[test]
fn the_key_has_to_be_good_for_builds() {
    let log = TestLog::production();
    let stranger = SigningKey::generate_p256([9; 32]).unwrap();
    let faults = refused(&log, release(&stranger, |_| {}));
    assert!(matches!(faults.as_slice(), [BuildFault::UnknownKey { .. }]));
    let standings = |faults: Vec<BuildFault>| -> Vec<Standing> {
        let standing = |fault: &BuildFault| match fault {
            BuildFault::Key { standing, .. } => *standing,
            other => panic!("{other:?}"),
        };
        faults.iter().map(standing).collect()
    };
    let of_another_role = refused(&log, release(&other_key(), |_| {}));
    assert_eq!(standings(of_another_role), [Standing::Role, Standing::Validity]);
    let old = release(&build_key(), |build| {
        build.built_at = "2024-01-01T00:00:00.000000Z".parse().unwrap();
    });
    assert_eq!(standings(refused(&log, old)), [Standing::Validity]);

    let ed25519 = SigningKey::generate_ed25519([9; 32]);
    let runtime = open(&log, None).unwrap();
    let from = "2026-01-01T00:00:00.000000Z".parse().unwrap();
    log_unreviewed(&log, &runtime, entry(&log, &ed25519, Role::Build, from));
    drop(runtime);
    let faults = refused(&log, release(&ed25519, |_| {}));
    assert!(matches!(faults.as_slice(), [BuildFault::Release { check: Check::Key, .. }]), "{faults:?}");

    let log = TestLog::production();
    let runtime = open(&log, None).unwrap();
    let size = runtime.records().head().unwrap().size;
    change(&log, &runtime, &[revoke(size)]);
    drop(runtime);
    assert_eq!(standings(refused(&log, good())), [Standing::Revoked]);
}

#[test]
fn a_key_that_is_revoked_later_keeps_its_builds_and_one_revoked_from_the_start_does_not() {
    let log = TestLog::production();
    let runtime = open(&log, Some(good())).unwrap();
    decide(&runtime, "a");
    change(&log, &runtime, &[revoke(4)]);
    decide(&runtime, "b");
    drop(runtime);
    let runtime = open(&log, Some(good())).unwrap();
    decide(&runtime, "c");
    drop(runtime);
    let next = release(&build_key(), |build| build.git.tag = Some("v2".to_owned()));
    assert!(matches!(refused(&log, next).as_slice(), [BuildFault::Key { standing: Standing::Revoked, .. }]));

    let log = TestLog::production();
    let runtime = open(&log, Some(good())).unwrap();
    decide(&runtime, "a");
    change(&log, &runtime, &[revoke(2)]);
    // At once, in the process that runs.
    let error = runtime.execute_blocking(&caller(), &request("b", "1", "0.1")).unwrap_err();
    assert_eq!((error.whose(), error.code()), (Cause::Unavailable, "build.key"));
    assert_eq!(runtime.ready().unwrap_err().code(), "build.key");
    drop(runtime);
    assert!(matches!(
        refused(&log, good()).as_slice(),
        [BuildFault::Key { standing: Standing::Revoked, .. }]
    ));
}

fn all() -> ExportRequest {
    ExportRequest { selection: Selection::Complete, disclosure: Disclosure::Full }
}

fn exported(runtime: &Runtime, selection: Selection) -> Vec<u8> {
    let mut file = Vec::new();
    runtime.export(&ExportRequest { selection, disclosure: Disclosure::Full }, &mut file).unwrap();
    file
}

/// Everything is asked for: nothing is taken out.
fn judge(runtime: &Runtime, file: &[u8], ask: &Ask) -> chancery_verify::Report {
    chancery_verify::verify(file, Some(&runtime.root_pub().to_string()), ask)
}

#[test]
fn an_export_of_a_production_log_is_verified_with_its_builds() {
    let log = TestLog::production();
    let runtime = open(&log, Some(good())).unwrap();
    decide(&runtime, "a");
    drop(runtime);
    let next = release(&build_key(), |build| build.git.tag = Some("v2".to_owned()));
    let runtime = open(&log, Some(next)).unwrap();
    decide(&runtime, "b");
    let one = Filter { execution_ids: Some(vec!["a".parse().unwrap()]), ..Filter::default() };
    for (selection, builds) in [
        (Selection::Complete, 2),
        (Selection::Range { from: 2, to: None }, 2),
        (Selection::Range { from: 5, to: None }, 1),
        (Selection::Filter(one), 1),
    ] {
        let report = judge(&runtime, &exported(&runtime, selection.clone()), &Ask::default());
        assert_eq!(report.verdict, Verdict::Verified, "{selection:?}\n{report}");
        assert_eq!(report.counts.builds, builds, "{selection:?}");
        for id in [CheckId::BuildSignature, CheckId::BuildBinding, CheckId::BuildSbom] {
            assert_eq!(report.check(id).unwrap().result, CheckResult::Pass, "{selection:?}\n{report}");
        }
    }
}

#[test]
fn an_auditor_refuses_builds_by_identity_program_or_commit() {
    let log = TestLog::production();
    let runtime = open(&log, Some(good())).unwrap();
    let hash = decide(&runtime, "a").build.unwrap();
    let file = exported(&runtime, Selection::Complete);
    let commit = runtime.build().unwrap().build.statement.predicate.git.commit.clone();
    for entry in [hash.to_string(), PROGRAM.to_string(), commit] {
        let revoked_builds = Some(format!("{} # another\n{entry}\n", "0".repeat(64)).parse().unwrap());
        let report = judge(&runtime, &file, &Ask { revoked_builds, ..Ask::default() });
        let check = report.check(CheckId::BuildBinding).unwrap();
        assert_eq!((report.exit_code(), check.result), (5, CheckResult::Fail), "{report}");
        assert!(check.reason.as_ref().unwrap().contains(&entry), "{check:?}");
    }
    let revoked_builds = Some("0".repeat(40).parse().unwrap());
    assert_eq!(judge(&runtime, &file, &Ask { revoked_builds, ..Ask::default() }).exit_code(), 0);
}

#[test]
fn what_is_stored_of_a_build_is_checked_before_it_is_used() {
    let cases = [
        ("UPDATE build_identities SET payload_sha256 = binary_sha256", "no row", "not in the store"),
        ("UPDATE build_identities SET log_index = 3", "no row", "another one"),
        ("UPDATE build_identities SET binary_sha256 = payload_sha256", "binary_sha256", "binary_sha256"),
        ("UPDATE build_identities SET signature = CAST('{}' AS BLOB)", "cannot be read", "cannot be read"),
        ("UPDATE build_identities SET sbom = CAST('{}' AS BLOB)", "bill of materials", "bill of materials"),
        ("DELETE FROM build_identities", "no row", "not in the store"),
    ];
    for (sql, in_fsck, in_export) in cases {
        let log = TestLog::production();
        let runtime = open(&log, Some(good())).unwrap();
        decide(&runtime, "a");
        drop(runtime);
        log.tamper(sql);
        let runtime = open(&log, None).unwrap();
        let error = runtime.begin_export(&all()).err().unwrap();
        assert!(error.to_string().contains(in_export), "{sql}: {error}");
        assert_eq!(error.whose(), Cause::Corrupt);
        let (home, keys) = (log.home(), log.keys());
        let request = FsckRequest {
            root: runtime.root_pub(),
            keys: Some(&keys),
            checkpoint: Some(home.checkpoint()),
            full: true,
        };
        let report = runtime.records().fsck(&request, |_, _| {}).unwrap();
        let told = report.problems.iter().any(|it| it.index == Some(2) && it.what.contains(in_fsck));
        assert!(told, "{sql}: {:#?}", report.problems);
        let id = "a".parse().unwrap();
        assert_eq!(runtime.provenance(&id).unwrap_err().whose(), Cause::Corrupt, "{sql}");
        drop(runtime);
        // Nor does it decide again before somebody has looked.
        let again = open(&log, Some(good()));
        assert!(again.is_err() || in_fsck == "no row", "{sql}");
    }
}

#[test]
fn files_are_read_from_their_folder_and_have_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    assert!(BuildFiles::read(folder.path()).unwrap().is_none());
    std::fs::write(folder.path().join(SBOM), BOM).unwrap();
    assert!(BuildFiles::read(folder.path()).unwrap().is_none(), "a bill of materials may be any program's");
    std::fs::remove_file(folder.path().join(SBOM)).unwrap();
    for name in [SIGNATURE, BUNDLE, ENVELOPE] {
        let path = folder.path().join(name);
        std::fs::write(&path, "{}").unwrap();
        let error = BuildFiles::read(folder.path()).unwrap_err();
        assert!(error.to_string().contains(&format!("without `{IDENTITY}`")), "{error}");
        std::fs::remove_file(path).unwrap();
    }
    std::fs::create_dir(folder.path().join(IDENTITY)).unwrap();
    let error = BuildFiles::read(folder.path()).unwrap_err();
    assert!(error.to_string().contains("no regular file"), "{error}");
    std::fs::remove_dir(folder.path().join(IDENTITY)).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(folder.path().join(IDENTITY)).unwrap();
    let error = BuildFiles::read(folder.path()).unwrap_err();
    assert!(error.to_string().contains("no regular file"), "{error}");
    drop(socket);
    std::fs::remove_file(folder.path().join(IDENTITY)).unwrap();
    let files = good();
    std::fs::write(folder.path().join(IDENTITY), &files.identity).unwrap();
    let read = BuildFiles::read(folder.path()).unwrap().unwrap();
    assert!(read.identity == files.identity && read.bundle.is_none() && read.sbom.is_none());
    std::fs::write(folder.path().join(BUNDLE), vec![b' '; 1024 * 1024 + 1]).unwrap();
    let error = BuildFiles::read(folder.path()).unwrap_err();
    assert!(error.to_string().contains(BUNDLE), "{error}");
}
