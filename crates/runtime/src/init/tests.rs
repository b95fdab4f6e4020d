use super::*;
use crate::failure::{Cause, Failure as _};
use crate::runtime::read_root;
use crate::testing::{PASSWORD, TestLog, caller, init_request, request, small_bundle};
use std::os::unix::fs::PermissionsExt;

/// Every path under `folder`.
fn everything(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(everything(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

#[test]
fn a_new_log_has_its_keyring_and_its_bundle_in_force() {
    let log = TestLog::new();
    let home = log.home();
    for name in KeyName::ALL {
        assert_eq!(fs::metadata(home.key(name)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let runtime = log.open();
    assert_eq!(runtime.keyring().versions().len(), 1);
    assert_eq!(runtime.keyring().newest().index(), 0);
    assert_eq!(runtime.settings().log_origin, "log.example.com/acme");
    assert_eq!(runtime.in_force().len(), 1);
    let head = runtime.records().head().unwrap();
    assert_eq!(head.size, 2);
    assert!(head.checkpoint.unwrap().starts_with("log.example.com/acme\n2\n"));
    read_root(home.root_pub()).unwrap();
}

#[test]
fn files_are_their_owners_alone_but_for_root_pub() {
    let folder = tempfile::tempdir().unwrap();
    let made = init(init_request(folder.path())).unwrap();
    let files = || everything(folder.path()).into_iter().filter(|path| path.is_file());
    for name in ["chancery.db", "chancery.db-wal", "chancery.db.lock", "checkpoint"] {
        assert!(files().any(|path| path.ends_with(name)), "{name}");
    }
    for path in files() {
        let open = fs::metadata(&path).unwrap().permissions().mode() & 0o077;
        assert_eq!(open == 0, !path.ends_with("root.pub"), "{}", path.display());
    }
    drop(made);
}

#[test]
fn nothing_that_is_there_is_touched() {
    let taken = ["keys/root.key", "keys/vault.key", "trust/root.pub", "state/checkpoint", "chancery.db"];
    for name in taken {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "mine").unwrap();
        let before = everything(folder.path());
        let error = init(init_request(folder.path())).unwrap_err();
        assert!(matches!(&error, InitError::Exists { path: found } if *found == path), "{error:?}");
        assert_eq!((error.whose(), error.code()), (Cause::Conflict, "init.exists"));
        assert_eq!(everything(folder.path()), before);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}

#[test]
fn what_goes_wrong_leaves_nothing_behind() {
    let bad_bundle = |request: &mut InitRequest| {
        request.bundles = vec![small_bundle("1.0.0"), Files::new()];
    };
    let bad_host = |request: &mut InitRequest| request.log_host = "log example".to_owned();
    let bad_reason = |request: &mut InitRequest| request.reason = String::new();
    let no_folder =
        |request: &mut InitRequest| request.database = PathBuf::from("/dev/null/chancery.db").into();
    type Change<'a> = &'a dyn Fn(&mut InitRequest);
    let changes: [(Change<'_>, &str); 4] = [
        (&bad_bundle, "bundle.invalid"),
        (&bad_host, "init.log_host"),
        (&bad_reason, "activation.statement"),
        (&no_folder, "key.io"),
    ];
    for (change, code) in changes {
        let folder = tempfile::tempdir().unwrap();
        let mut request = init_request(folder.path());
        change(&mut request);
        assert_eq!(init(request).unwrap_err().code(), code);
        assert_eq!(everything(folder.path()), Vec::<PathBuf>::new(), "{code}");
    }
}

#[test]
fn an_open_log_commits_with_a_key_that_everybody_has() {
    let folder = tempfile::tempdir().unwrap();
    let mut wanted = init_request(folder.path());
    wanted.commitments = Commitments::Open;
    wanted.bundles.push(small_bundle("1.1.0"));
    let made = init(wanted).unwrap();
    // Of two versions both are published and the higher is in force.
    assert_eq!(made.activated.len(), 1);
    assert_eq!(made.runtime.in_force()[0].version.to_string(), "1.1.0");
    assert_eq!(made.runtime.records().bundles().unwrap().len(), 2);
    assert_eq!(made.runtime.inner.commitment_key, chancery_core::commitment::TenantKey::OPEN);
    made.runtime.execute_blocking(&caller(), &request("e-1", "1", "0.1")).unwrap();
}

#[test]
fn a_log_is_opened_as_what_it_is() {
    let log = TestLog::new();
    let refused = |change: &dyn Fn(&mut Options)| {
        let mut options = log.options();
        change(&mut options);
        Runtime::open(options).unwrap_err()
    };
    let error = refused(&|options| options.environment = Some(Environment::Production));
    assert_eq!((error.whose(), error.code()), (Cause::Refused, "log.environment"));
    let error = refused(&|options| options.tenant = Some("other".parse().unwrap()));
    assert_eq!(error.code(), "log.tenant");
    let error = refused(&|options| options.keys.vault = Zeroizing::new([1; 32]));
    assert_eq!((error.whose(), error.code()), (Cause::Refused, "vault.other"));
    let error = refused(&|options| options.keys.runtime = Arc::new(SigningKey::generate_ed25519([1; 32])));
    assert_eq!(error.code(), "runtime.key");
    let root = SigningKey::generate_ed25519([1; 32]);
    fs::remove_file(log.home().root_pub()).unwrap();
    assert_eq!(refused(&|_| {}).code(), "trust.root");
    let other = RootPub::new(vec![root.public_key().clone()], 1).unwrap();
    fs::write(log.home().root_pub(), other.to_string()).unwrap();
    assert_eq!(refused(&|_| {}).code(), "trust.keyring");
}

#[test]
fn the_key_files_open_with_their_passwords() {
    let log = TestLog::new();
    let keys = ServerKeys::load(&log.home(), PASSWORD).unwrap();
    assert_eq!(keys.runtime(), log.open().runtime_key());
}
