//! Opening: what is refused, what a full disk and a read-only file do.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::support::{Fixture, check_log, options, sql};
use crate::{Class, Store, StoreError, SubmitError};

#[test]
fn a_second_open_is_refused_while_anyone_can_read() {
    let fixture = Fixture::new();
    let store = fixture.begun();
    let second = Store::open(&fixture.path(), options()).err().unwrap();
    assert!(
        matches!(&second, StoreError::Locked { pid, .. } if *pid == Some(std::process::id())),
        "{second:?}"
    );
    assert!(second.to_string().contains("in use by process"), "{second}");
    sql(&fixture.path(), "SELECT * FROM audit_decisions").unwrap();
    let reading = Store::open_reading(&fixture.path(), &options()).unwrap();
    store.submit_blocking(fixture.decision("c-1", "a")).unwrap();
    assert_eq!(reading.read(|reader| reader.head()).unwrap().size, 3);
    let refused = reading.submit_blocking(fixture.decision("c-2", "b"));
    assert!(matches!(&refused, Err(SubmitError::Store(error)) if matches!(**error, StoreError::ReadingOnly)));
    drop((store, reading));
    assert_eq!(check_log(&fixture.open()), 3);
}

#[test]
fn what_is_no_store_is_refused_and_left_as_it_was() {
    let fixture = Fixture::new();
    let path = fixture.path();
    let missing = Store::open(&path, options()).err().unwrap();
    assert!(matches!(missing, StoreError::NotThere { .. }), "{missing:?}");
    assert!(!path.exists());

    sql(&path, "CREATE TABLE customers (name TEXT); INSERT INTO customers VALUES ('x')").unwrap();
    let bytes = fs::read(&path).unwrap();
    for opened in [
        Store::open(&path, options()),
        Store::open_reading(&path, &options()),
        Store::create(&path, &fixture.settings(), options()),
    ] {
        let error = opened.err().unwrap();
        assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
        assert_eq!(error.class(), Class::Caller);
    }
    assert_eq!(fs::read(&path).unwrap(), bytes);

    fs::write(&path, "some text that is long enough to be no database header at all".repeat(100)).unwrap();
    let text = Store::open(&path, options()).err().unwrap();
    assert!(matches!(text, StoreError::Foreign { .. }), "{text:?}");
}

#[test]
fn a_store_is_made_once() {
    let fixture = Fixture::new();
    drop(fixture.begun());
    let again = Store::create(&fixture.path(), &fixture.settings(), options()).err().unwrap();
    assert!(matches!(again, StoreError::AlreadyInitialised { .. }), "{again:?}");
    let store = fixture.open();
    assert_eq!(*store.settings(), fixture.settings());
    assert_eq!(check_log(&store), 2);
}

#[test]
fn a_store_of_a_newer_program_is_refused() {
    let fixture = Fixture::new();
    drop(fixture.begun());
    sql(&fixture.path(), "INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000')")
        .unwrap();
    let newer = Store::open(&fixture.path(), options()).err().unwrap();
    assert!(matches!(&newer, StoreError::Newer { migration } if migration.starts_with("2999")), "{newer:?}");
}

#[test]
fn a_full_disk_is_said_so_and_nothing_is_half_written() {
    let fixture = Fixture::new();
    drop(fixture.begun());
    let pages = fs::metadata(fixture.path()).unwrap().len() / 8_192;
    let mut limited = options();
    limited.pages_max = Some(u32::try_from(pages).unwrap() + 20);
    let store = Store::open(&fixture.path(), limited).unwrap();
    let mut recorded = 2;
    let full = loop {
        let entry = fixture.decision(&format!("c-{recorded}"), &"x".repeat(2_000));
        match store.submit_blocking(entry) {
            Ok(_) => recorded += 1,
            Err(error) => break error,
        }
        assert!(recorded < 1_000, "the limit has no effect");
    };
    assert!(matches!(&full, SubmitError::Store(error) if matches!(**error, StoreError::Full)), "{full:?}");
    let bundle = super::support::large_bundle();
    let refused = store.publish_bundle(bundle, super::support::at(0)).err().unwrap();
    assert!(matches!(refused, StoreError::Full), "{refused:?}");
    // What was recorded can be read, and what was not is not there.
    assert_eq!(check_log(&store), recorded);
    let id = format!("c-{recorded}").parse().unwrap();
    assert!(store.read(|reader| reader.decision(&id)).unwrap().is_none());
    drop(store);
    let store = fixture.open();
    let again = fixture.decision(&format!("c-{recorded}"), &"x".repeat(2_000));
    assert_eq!(store.submit_blocking(again).unwrap().index(), recorded);
    assert_eq!(check_log(&store), recorded + 1);
}

#[test]
fn a_new_store_on_a_full_disk_is_refused() {
    let fixture = Fixture::new();
    let mut limited = options();
    limited.pages_max = Some(10);
    let full = Store::create(&fixture.path(), &fixture.settings(), limited).err().unwrap();
    assert!(matches!(full, StoreError::Full), "{full:?}");
    // What was begun is finished when there is room.
    fixture.begin(&fixture.create());
    assert_eq!(check_log(&fixture.open()), 2);
}

const READ_ONLY: &str = "CHANCERY_STORE_TEST_READ_ONLY";

/// Does nothing unless the test below runs it in a process of its own.
#[test]
fn read_only_child() {
    if let Ok(path) = std::env::var(READ_ONLY) {
        let error = Store::open(Path::new(&path), options()).err().unwrap();
        assert!(matches!(error, StoreError::ReadOnly), "{error:?}");
        assert!(error.to_string().contains("read-only"));
        let fresh = Path::new(&path).with_file_name("new.db");
        let error = Store::create(&fresh, &Fixture::new().settings(), options()).err().unwrap();
        assert!(matches!(error, StoreError::ReadOnly), "{error:?}");
        println!("refused as it should be");
    }
}

#[test]
fn a_read_only_file_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let fixture = Fixture::new();
    drop(fixture.begun());
    let folder = fixture.folder.path();
    fs::set_permissions(fixture.path(), fs::Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o555)).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "tests::opening::read_only_child", "--nocapture"]);
    command.env(READ_ONLY, fixture.path());
    if fs::OpenOptions::new().write(true).open(fixture.path()).is_ok() {
        // Permissions are nothing to the superuser: become nobody.
        use std::os::unix::process::CommandExt as _;
        command.uid(65_534).gid(65_534);
    }
    let output = command.output().unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("refused as it should be"), "{output:?}");
}
