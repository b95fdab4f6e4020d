//! A new log in a folder, with the bundle `claim-approval` in force, a real clock and real random bytes; opened as a
//! server opens it, with the keys from their files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use chancery_core::digest::Digest;
use chancery_core::statement::Environment;
use chancery_core::time::Timestamp;
use chancery_runtime::init::{Commitments, InitRequest, Roots, init};
use chancery_runtime::{Clock, Entropy, EntropyError, Home, Location, Options, Runtime, ServerKeys};
use chancery_tests::bench::claims::Claims;
use zeroize::Zeroizing;

/// The password of the key files.
pub(crate) const PASSWORD: &[u8] = b"a password";

/// Makes the log, in a file of the folder.
pub(crate) fn create(folder: &Path) -> Runtime {
    create_with(folder, folder.join("chancery.db").into(), Claims::files())
}

/// Makes the log in another database.
#[allow(dead_code, reason = "not every bench does")]
pub(crate) fn create_at(folder: &Path, database: Location) -> Runtime {
    create_with(folder, database, Claims::files())
}

/// Makes the log in another database, with another bundle in force.
pub(crate) fn create_with(folder: &Path, database: Location, bundle: BTreeMap<String, Vec<u8>>) -> Runtime {
    let password = || Zeroizing::new(PASSWORD.to_vec());
    let (home, binary) = (Home::new(folder), Digest::of(b"a program"));
    let request = InitRequest {
        home: home.clone(),
        database: database.clone(),
        tenant: "acme".parse().unwrap(),
        log_host: "log.example".to_owned(),
        // A production log decides with a signed build alone, and a bench is none.
        environment: Environment::Test,
        commitments: Commitments::Blinded,
        bundles: vec![bundle],
        reason: "for the bench".to_owned(),
        requested_by: "bench".to_owned(),
        roots: Roots::Generated { password: password() },
        runtime_key: None,
        log_key: None,
        enrol: Vec::new(),
        password: password(),
        binary,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy::open()),
        threads: None,
    };
    drop(init(request).unwrap());
    let options = Options {
        keys: ServerKeys::load(&home, PASSWORD).unwrap(),
        home,
        database,
        tenant: Some("acme".parse().unwrap()),
        environment: None,
        binary,
        build: None,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy::open()),
        threads: None,
    };
    Runtime::open(options).unwrap()
}

/// The machine's clock.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
        Timestamp::from_unix_micros(i64::try_from(micros).unwrap()).unwrap()
    }
}

/// The machine's random source.
pub(crate) struct SystemEntropy(Mutex<File>);

impl SystemEntropy {
    pub(crate) fn open() -> Self {
        Self(Mutex::new(File::open("/dev/urandom").unwrap()))
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.0.lock().unwrap().read_exact(bytes).unwrap();
        Ok(())
    }
}
