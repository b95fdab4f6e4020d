//! A log for one test, and requests to it. Key files are slow to open on purpose: the log is made once and copied.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Request, header};
use chancery_core::digest::{Digest, sha256};
use chancery_core::key::{Signer as _, SigningKey};
use chancery_core::keyring::{Role, RootPub};
use chancery_core::statement::Environment;
use chancery_core::time::Timestamp;
use chancery_runtime::bundles::Files;
use chancery_runtime::credentials::NewApiKey;
use chancery_runtime::init::{Commitments, Holder, InitRequest, Roots, init};
use chancery_runtime::{
    BuildFiles, Clock, Entropy, EntropyError, Home, KeyName, Options, Runtime, ServerKeys, keys,
};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;
use zeroize::Zeroizing;

use crate::http::{self, Authentication, State, metrics, operator_router, router};
use crate::limits::Limits;
use crate::tls::Clients;

/// SHA-256 of the program that the tests say they are.
pub(super) const BINARY: Digest = Digest::from_bytes([0xab; 32]);
pub(super) const POLICY: &str = "small-claims";
const PASSWORD: &[u8] = b"of the servers' keys";
const START: &str = "2026-03-01T10:00:00.000000Z";

/// A clock that a test moves.
pub(super) struct TestClock(AtomicI64);

impl TestClock {
    pub(super) fn start() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(START.parse::<Timestamp>().unwrap().unix_micros())))
    }

    pub(super) fn move_ms(&self, ms: i64) {
        self.0.fetch_add(ms * 1_000, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.0.load(Ordering::Relaxed)).unwrap()
    }
}

/// SHA-256 of a counter.
struct TestEntropy(AtomicU64);

impl Entropy for TestEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in bytes.chunks_mut(32) {
            let block = sha256(&self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes());
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        Ok(())
    }
}

/// The key of the approver `anna`.
pub(super) fn approver_key() -> SigningKey {
    SigningKey::generate_ed25519([77; 32])
}

/// The key that the keyring has for builds.
pub(super) fn build_key() -> SigningKey {
    SigningKey::generate_p256([7; 32]).unwrap()
}

/// The key that signs the keyring.
pub(super) fn root_key() -> SigningKey {
    SigningKey::generate_ed25519([5; 32])
}

type Prepared = (BTreeMap<PathBuf, Vec<u8>>, Vec<u8>);

/// The tenant of most tests, and another one.
pub(super) const TENANT: &str = "acme";
pub(super) const OTHER: &str = "other";

/// The files of a tenant's log right after `init`, and the policy key.
fn prepared(tenant: &str) -> &'static Prepared {
    static PREPARED: [OnceLock<Prepared>; 2] = [OnceLock::new(), OnceLock::new()];
    let place = usize::from(tenant != TENANT);
    PREPARED[place].get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path());
        let made = init(InitRequest {
            home: home.clone(),
            database: folder.path().join("chancery.db").into(),
            tenant: tenant.parse().unwrap(),
            log_host: "log.example.com".to_owned(),
            environment: Environment::Test,
            commitments: Commitments::Blinded,
            bundles: vec![small_bundle("1.0.0")],
            reason: "the first".to_owned(),
            requested_by: "tester".to_owned(),
            roots: Roots::Given {
                root: RootPub::new(vec![root_key().public_key().clone()], 1).unwrap(),
                signers: vec![Arc::new(root_key())],
            },
            runtime_key: None,
            log_key: None,
            enrol: vec![
                Holder {
                    key: build_key().public_key().clone(),
                    roles: vec![Role::Build],
                    subject: "builder".to_owned(),
                },
                Holder {
                    key: approver_key().public_key().clone(),
                    roles: vec![Role::Approver("claims-manager".to_owned())],
                    subject: "anna".to_owned(),
                },
            ],
            password: Zeroizing::new(PASSWORD.to_vec()),
            binary: BINARY,
            clock: TestClock::start(),
            // Nobody else's keys.
            entropy: Arc::new(TestEntropy(AtomicU64::new(if place == 0 { 0 } else { 1 << 32 }))),
            threads: None,
        });
        drop(made.unwrap());
        let policy = keys::load(&home.key(KeyName::Policy), PASSWORD).unwrap().to_pkcs8_der().to_vec();
        let mut files = BTreeMap::new();
        collect(folder.path(), folder.path(), &mut files);
        (files, policy)
    })
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            files.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap());
        }
    }
}

/// Runs what blocks on a thread that polls no futures.
pub(super) fn outside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

/// How many API keys were made: each from bytes of its own.
static KEYS: AtomicU64 = AtomicU64::new(1);

/// A log of one's own, with the API before it.
pub(super) struct Api {
    pub(super) runtime: Runtime,
    pub(super) clock: Arc<TestClock>,
    pub(super) router: Router,
    pub(super) operator: Router,
    pub(super) state: State,
    _folder: Vec<TempDir>,
}

/// A tenant's log of one's own.
pub(super) fn log_of(
    tenant: &str,
    build: Option<BuildFiles>,
    clock: &Arc<TestClock>,
) -> (http::Log, TempDir) {
    let (files, _) = outside(|| prepared(tenant));
    let folder = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(folder.path().join("keys"), fs::Permissions::from_mode(0o700)).unwrap();
    let home = Home::new(folder.path());
    let database = folder.path().join("chancery.db");
    let opened = Options {
        keys: ServerKeys::load(&home, PASSWORD).unwrap(),
        home,
        database: database.clone().into(),
        tenant: Some(tenant.parse().unwrap()),
        environment: Some(Environment::Test),
        binary: BINARY,
        build,
        clock: Arc::<TestClock>::clone(clock),
        entropy: Arc::new(TestEntropy(AtomicU64::new(1_000_000))),
        threads: None,
    };
    let runtime = outside(|| Runtime::open(opened)).unwrap();
    (
        http::Log {
            runtime,
            database: database.into(),
            public_log: false,
            oidc: None,
            clients: Clients::default(),
            limits: Limits::default(),
        },
        folder,
    )
}

/// An answer, whole.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Whether the body came to its end.
    pub(super) whole: bool,
}

impl Answered {
    pub(super) fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(super) fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// That it is a problem document with this status and code; its errors as `(pointer, code)`.
    #[track_caller]
    pub(super) fn problem(&self, status: u16, code: &str) -> Vec<(String, String)> {
        assert_eq!(
            (self.status, self.header(header::CONTENT_TYPE)),
            (status, "application/problem+json"),
            "{self:?}"
        );
        let document = self.json();
        assert_eq!((&document["status"], &document["code"]), (&json!(status), &json!(code)), "{document}");
        assert!(
            document["title"].is_string() && document["detail"].as_str().is_some_and(|text| !text.is_empty())
        );
        let errors = document["errors"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        errors.iter().map(|error| (text(&error["pointer"]), text(&error["code"]))).collect()
    }
}

impl Api {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut http::Options)) -> Self {
        Self::opened(None, change)
    }

    /// With the release that decides.
    pub(super) fn of_build(build: BuildFiles) -> Self {
        Self::opened(Some(build), |_| {})
    }

    /// The logs of two tenants: the first is the usual one.
    pub(super) fn of_two(change: impl FnOnce(&mut http::Options)) -> Self {
        Self::assembled(&[TENANT, OTHER], None, change)
    }

    fn opened(build: Option<BuildFiles>, change: impl FnOnce(&mut http::Options)) -> Self {
        Self::assembled(&[TENANT], build, change)
    }

    fn assembled(
        tenants: &[&str],
        build: Option<BuildFiles>,
        change: impl FnOnce(&mut http::Options),
    ) -> Self {
        let clock = TestClock::start();
        clock.move_ms(60_000);
        let (logs, folders): (Vec<_>, Vec<_>) =
            tenants.iter().map(|tenant| log_of(tenant, build.clone(), &clock)).unzip();
        let runtime = logs[0].runtime.clone();
        let mut options = http::Options {
            logs,
            authentication: Authentication::Dev { principal: "claims-core".into() },
            clock: clock.clone(),
            metrics: metrics::local().1,
            request_timeout: Duration::from_secs(60),
            behind_proxy: false,
            record_addresses: false,
        };
        change(&mut options);
        let state = State::new(options).unwrap();
        let (router, operator) = (router(state.clone()), operator_router(state.clone()));
        Self { runtime, clock, router, operator, state, _folder: folders }
    }

    pub(super) fn policy_key(&self) -> SigningKey {
        SigningKey::from_pkcs8_der(&prepared(TENANT).1).unwrap()
    }

    /// An API key for a principal of the log at this place, as callers send it.
    pub(super) fn api_key(&self, place: usize, principal: &str, roles: &str) -> String {
        let tenants = self.state.tenants().all();
        let runtime = tenants[place].runtime();
        outside(|| {
            let wanted = NewApiKey {
                principal: principal.to_owned(),
                roles: roles.parse().unwrap(),
                label: None,
                not_before: None,
                expires_at: self.clock.now().checked_add_ms(3_600_000).unwrap(),
                created_by: "tester".to_owned(),
            };
            let vault = keys::vault_key(&Home::new(self._folder[place].path()), PASSWORD).unwrap();
            let chance =
                self.clock.now().unix_micros().unsigned_abs() ^ (KEYS.fetch_add(1, Ordering::Relaxed) << 20);
            let entropy = TestEntropy(AtomicU64::new(chance));
            runtime.api_keys().create(wanted, &vault, &entropy).unwrap().text().to_string()
        })
    }

    pub(super) async fn get(&self, path: &str) -> Answered {
        self.send(Method::GET, path, None, Body::empty()).await
    }

    pub(super) async fn post(&self, path: &str, content_type: &str, body: impl Into<Body>) -> Answered {
        self.send(Method::POST, path, Some(content_type), body.into()).await
    }

    pub(super) async fn post_json(&self, path: &str, body: impl Into<Body>) -> Answered {
        self.post(path, "application/json", body).await
    }

    /// Decides, and says what the status was.
    pub(super) async fn decide(&self, id: &str, amount: &str) -> Answered {
        self.post_json("/v1/decisions", request(id, amount)).await
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        content: Option<&str>,
        body: Body,
    ) -> Answered {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(content) = content {
            request = request.header(header::CONTENT_TYPE, content);
        }
        send(&self.router, request.body(body).unwrap()).await
    }
}

/// Sends a request through a router and reads its answer to the end.
pub(super) async fn send(router: &Router, mut request: Request<Body>) -> Answered {
    // As every client does.
    request.headers_mut().entry(header::HOST).or_insert(HeaderValue::from_static("localhost"));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, mut body) = response.into_parts();
    let mut read = Vec::new();
    let mut whole = true;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => read.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(_) => whole = false,
        }
    }
    let answered =
        Answered { status: parts.status.as_u16(), headers: parts.headers, body: read.into(), whole };
    super::described::check(&method, &path, &answered);
    answered
}

/// A request to the small policy: up to 10,000 is approved, more is referred, too much cannot be calculated with.
pub(super) fn request(id: &str, amount: &str) -> String {
    format!(
        r#"{{"execution_id":"{id}","policy":"{POLICY}","resource":"CLM-1","signals":{{"amount":{amount},"score":"0.1"}},"labels":{{"batch":"b-{id}"}}}}"#
    )
}

/// Few policies, one of which can overflow.
pub(super) fn small_bundle(version: &str) -> Files {
    let manifest = format!(
        r#"
id = "{POLICY}"
version = "{version}"
description = "claims, as few policies as a test needs"
principal = "System"
resource = "Claim"
outcomes = ["refer", "approve"]
fallback = "refer"
[override]
outcomes = ["refer"]
to = ["approve"]
roles = ["claims-manager"]
quorum = 1
expires = "3d"
[[reason]]
code = "SMALL"
customer = "paid"
agent = "small amount"
regulator = "amount within the limit of automatic payment"
"#
    );
    let schema = r#"
entity System;
entity Claim;
type Facts = { "amount": Long, "score": decimal, "note"?: String };
action "refer", "approve" appliesTo { principal: [System], resource: [Claim], context: Facts };
"#;
    let policies = r#"
@id("refer-large")
@reason("SMALL")
permit (principal, action == Action::"refer", resource)
when { context.amount * 1000000 > 10000000000 };

@id("approve-small")
@reason("SMALL")
permit (principal, action == Action::"approve", resource)
when { context.amount <= 10000 };
"#;
    [("bundle.toml", manifest.as_str()), ("schema.cedarschema", schema), ("policies.cedar", policies)]
        .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))
        .into()
}
