//! Approvers: keys in files, on a machine without network, and in an ssh-agent; the log here, and behind a server.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chancery_core::digest::Digest;
use chancery_core::time::Timestamp;
use chancery_runtime::overrides::Expired;
use chancery_runtime::{Clock, Entropy, EntropyError, Options, Runtime, ServerKeys};
use chancery_tests::data;
use chancery_tests::home::{Home, PASSWORD};
use chancery_tests::program::{Said, chancery, chancery_verify, run};
use chancery_tests::server::Server;
use chancery_tests::skip;
use serde_json::Value;

pub(crate) const ID: &str = "claim-CLM-2024-00443";
const MANAGER: &str = "approver:claims-manager";

/// A home whose root password is known, so that approvers can be enrolled.
pub(crate) struct Company {
    pub(crate) home: Home,
    root_password: String,
}

impl Company {
    pub(crate) fn new() -> Self {
        let home = Home::new();
        let root_password = fs::read_to_string(home.file("keys/root.password")).unwrap();
        Self { home, root_password }
    }

    /// With approvers, each with a key `NAME.key`.
    pub(crate) fn with(names: &[&str]) -> Self {
        let company = Self::new();
        for (name, algorithm) in names.iter().zip(["ed25519", "ecdsa-p256"].into_iter().cycle()) {
            let key = format!("{name}.key");
            company.run(&["key", "generate", &key, "--algorithm", algorithm]).expect(0);
            company.enroll(&format!("{key}.pub"), name);
        }
        company
    }

    fn enroll(&self, public: &str, name: &str) {
        self.run(&["key", "enroll", "--key", public, "--role", MANAGER, "--subject", name]).expect(0);
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        run(chancery(self.home.path()).env("CHANCERY_ROOT_PASSWORD", &self.root_password), arguments)
    }

    /// A claim that policy refers.
    pub(crate) fn refer(&self, id: &str) {
        let mut signals = crate::http::claim_signals();
        signals["fraudScore"] = "0.93".into();
        fs::write(self.home.file("signals.json"), signals.to_string()).unwrap();
        let decide = ["decide", "claim-approval", "--execution-id", id, "--signals", "signals.json"];
        self.run(&decide).expect(8);
    }

    pub(crate) fn approve(&self, id: &str, name: &str) -> Said {
        let key = format!("{name}.key");
        let words = ["--outcome", "approve", "--reason", "Invoices seen.", "-o", "json"];
        self.run(&[["override", "approve", id, "--key", &key].as_slice(), &words].concat())
    }

    /// Ends what is due on a day to come, as a server would then: the same code with another clock.
    fn expire_in(&self, days: i64) -> Expired {
        let home = chancery_runtime::Home::new(self.home.path());
        let options = Options {
            keys: ServerKeys::load(&home, PASSWORD.as_bytes()).unwrap(),
            home,
            database: self.home.database().into(),
            tenant: None,
            environment: None,
            binary: Digest::from_bytes([0xab; 32]),
            build: None,
            clock: Arc::new(Later(days)),
            entropy: Arc::new(NoChance),
            threads: None,
        };
        Runtime::open(options).unwrap().expire_due().unwrap()
    }

    /// Exports everything, and has the auditor's program judge it.
    pub(crate) fn audited(&self) -> Value {
        self.run(&["export", "--out", "all.jsonl"]).expect(0);
        let mut verify = chancery_verify();
        verify.arg(self.home.file("all.jsonl")).arg("--root").arg(self.home.root_pub());
        run(&mut verify, ["--environment", "test", "--without", "build", "--json"]).expect(0).json()
    }
}

/// The system's clock, some days ahead.
struct Later(i64);

impl Clock for Later {
    fn now(&self) -> Timestamp {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let ms = i64::try_from(now.as_millis()).unwrap() + self.0 * 86_400_000;
        Timestamp::UNIX_EPOCH.checked_add_ms(ms).unwrap()
    }
}

/// Ending cases draws no random bytes.
struct NoChance;

impl Entropy for NoChance {
    fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError)
    }
}

#[test]
fn two_managers_approve_one_of_them_without_a_network() {
    let company = Company::with(&["anna", "bert", "carla"]);
    company.refer(ID);
    let listed = company.run(&["override", "list", "-o", "json"]).expect(0).json();
    assert_eq!((&listed[0]["execution_id"], &listed[0]["progress"]), (&ID.into(), &"0 of 2".into()));
    let shown = company.run(&["override", "show", ID]).expect(0).out;
    for part in
        ["refer", "fraudScore = \"0.93\"", "time left", "policy ", "permit", "2 of the role claims-manager"]
    {
        assert!(shown.contains(part), "no `{part}` in:\n{shown}");
    }

    let open = ["override", "approve", ID, "--key", "anna.key", "--reason", "Seen."];
    let said = company.run(&open).expect(2).err;
    assert!(said.contains("several outcomes: approve, deny") && said.contains("--outcome"), "{said}");
    let batch = ["override", "approve", "claim-nobody", ID, "--key", "anna.key", "--reason", "Seen."];
    let said = company.run(&batch).expect(2).err;
    assert!(
        said.contains(&format!("{ID}: the rule has several outcomes")) && said.contains("0 of 2"),
        "{said}"
    );
    let first = company.approve(ID, "anna").expect(0).json();
    assert_eq!((&first["state"], &first["progress"]), (&"pending".into(), &"1 of 2".into()));
    let again = company.approve(ID, "anna").expect(9);
    assert!(again.err.contains("answered already"), "{}", again.err);

    let reason = ["--outcome", "approve", "--reason", "Photographs seen.", "--out", "statement.json"];
    let statement = ["override", "statement", ID, "--public-key", "bert.key.pub"];
    company.run(&[statement.as_slice(), &reason].concat()).expect(0);
    let away = tempfile::tempdir().unwrap();
    for file in ["statement.json", "bert.key", "carla.key"] {
        fs::copy(company.home.file(file), away.path().join(file)).unwrap();
    }
    let sign = |key: &str| {
        let sign = ["override", "sign-offline", "statement.json", "--key", key, "--out", "signed.json"];
        run(&mut chancery(away.path()), sign)
    };
    sign("carla.key").expect(9);
    let said = sign("bert.key").expect(0);
    for part in ["bert approves", "Photographs seen.", "role      claims-manager", "expires 20", "record    "]
    {
        assert!(said.err.contains(part), "no `{part}` in {}", said.err);
    }
    fs::copy(away.path().join("signed.json"), company.home.file("signed.json")).unwrap();
    let submit = ["override", "submit", "signed.json", "-o", "json"];
    let ended = company.run(&submit).expect(0).json();
    assert_eq!(
        (&ended["state"], &ended["resolution"]["final_outcome"]),
        (&"approved".into(), &"approve".into())
    );
    assert_eq!(company.run(&submit).expect(0).json()["log"], ended["log"], "the same again");
    company.approve(ID, "carla").expect(11);
    company.approve("claim-nobody", "carla").expect(10);

    let rows = crate::views::seed(&company.home.database());
    if let Some(rows) = rows {
        assert_eq!(rows.as_array().map(Vec::len), Some(2));
        assert_eq!((&rows[0]["approved_by"], &rows[1]["approved_by"]), (&"anna".into(), &"bert".into()));
        assert_eq!(rows[1]["approver_role"], "claims-manager");
        assert_eq!(rows[1]["override_reason"], "Photographs seen.");
        assert_eq!(
            (&rows[0]["original_decision"], &rows[0]["execution_state"]),
            (&"refer".into(), &"completed".into())
        );
        assert_eq!(rows[0]["resolution_status"], "approved");
    }
    let report = company.audited();
    assert_eq!(report["verdict"], "verified");
    assert_eq!((&report["counts"]["overrides"], &report["counts"]["resolutions"]), (&2.into(), &1.into()));
}

/// An agent with a socket of its own; ended when it is dropped.
struct Agent(Child);

impl Agent {
    /// None where the machine has no OpenSSH client.
    fn start(socket: &Path) -> Option<Self> {
        let mut agent = Command::new("ssh-agent");
        let child =
            agent.arg("-D").arg("-a").arg(socket).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut child) = child else {
            skip::skipped("ssh-agent (package openssh-client)");
            return None;
        };
        // It says where it listens once it does.
        let mut said = [0; 1];
        child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
        Some(Self(child))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn keys_in_an_ssh_agent_sign_for_a_server() {
    let company = Company::new();
    let socket = company.home.file("agent");
    let Some(_agent) = Agent::start(&socket) else { return };
    let ssh = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.current_dir(company.home.path()).env("SSH_AUTH_SOCK", &socket);
        run(&mut command, arguments).expect(0)
    };
    let with_agent =
        |arguments: &[&str]| run(chancery(company.home.path()).env("SSH_AUTH_SOCK", &socket), arguments);
    let mut ids = Vec::new();
    for (name, kind) in [("anna", "ed25519"), ("bert", "ecdsa")] {
        ssh("ssh-keygen", &["-q", "-t", kind, "-N", "", "-C", name, "-f", name]);
        ssh("ssh-add", &["-q", name]);
        let listed = ssh("ssh-keygen", &["-l", "-f", name]);
        let id = listed.out.split(' ').nth(1).unwrap().to_owned();
        let pem = with_agent(&["override", "public-key", "--ssh-agent", "--key-id", &id]).expect(0).out;
        fs::write(company.home.file("agent.pub"), pem).unwrap();
        company.enroll("agent.pub", name);
        ids.push(id);
    }
    ssh("ssh-keygen", &["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", "other"]);
    ssh("ssh-add", &["-q", "other"]);
    company.refer(ID);
    let server = Server::start(company.home.path());
    let approve = |id: &str| {
        let words =
            ["--outcome", "approve", "--reason", "Looked at by hand.", "-o", "json", "--server", &server.url];
        with_agent(&[&["override", "approve", ID, "--ssh-agent", "--key-id", id], words.as_slice()].concat())
    };
    let several = ["override", "approve", ID, "--ssh-agent", "--reason", "x", "--server", &server.url];
    assert!(with_agent(&several).expect(2).err.contains("several"));
    approve("SHA256:5bCz+1fQAyQSwx8HOv5OmXyrtCyGtKTQM7hnAqVs5HM").expect(10);
    assert_eq!(approve(&ids[0]).expect(0).json()["progress"], "1 of 2");
    approve(&ids[0]).expect(9);
    let shown = with_agent(&["override", "show", ID, "--server", &server.url]).expect(0).out;
    assert!(shown.contains("approved     anna"), "{shown}");
    assert_eq!(approve(&ids[1]).expect(0).json()["state"], "approved");
    let none = with_agent(&["override", "list", "--server", &server.url, "-o", "json"]).expect(0).json();
    assert_eq!(none.as_array().map(Vec::len), Some(0));
    assert!(server.stop().success());
    assert_eq!(company.audited()["verdict"], "verified");
}

/// Answers every request with the body that fits its path, and tells what was asked. Ends with the last body.
fn answering(bodies: Vec<(&'static str, String)>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for (expected, body) in bodies {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&stream);
            let (mut first, mut length) = (String::new(), 0);
            reader.read_line(&mut first).unwrap();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            assert!(first.starts_with(expected), "{first}");
            asked.push(first);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
            write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        }
        asked
    });
    (url, asked)
}

#[test]
fn a_server_that_drafts_something_else_gets_no_signature() {
    let company = Company::with(&["anna"]);
    company.refer(ID);
    company.refer("claim-other");
    let case = company.run(&["override", "show", ID, "-o", "json"]).expect(0).out;
    let other = ["override", "statement", "claim-other", "--reject", "--public-key", "anna.key.pub"];
    let draft = company.run(&[other.as_slice(), &["--reason", "Seen."]].concat()).expect(0).out;
    let (url, asked) = answering(vec![("GET /v1/overrides/", case), ("POST /v1/overrides/", draft)]);
    let words = ["--outcome", "approve", "--reason", "Seen.", "--server", &url];
    let approve = ["override", "approve", ID, "--key", "anna.key"];
    let said = company.run(&[approve.as_slice(), &words].concat()).expect(9);
    for part in
        ["nothing was signed", "executionId: `claim-other`", "resolution: `reject`, and not `approve`"]
    {
        assert!(said.err.contains(part), "no `{part}` in {}", said.err);
    }
    // Nothing was handed in: the server was asked for the case and for the draft.
    assert_eq!(asked.join().unwrap().len(), 2);
}

/// Who waits for the server to do something has to look again and again; this long at the most.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_server_ends_what_is_due_also_what_came_before_it() {
    let company = Company::new();
    let folder = crate::bundles::next_version(&company.home, "1.0.1");
    let manifest = folder.join("bundle.toml");
    fs::write(&manifest, fs::read_to_string(&manifest).unwrap().replace("\"3d\"", "\"1ms\"")).unwrap();
    let folder = folder.to_str().unwrap();
    company.run(&["bundle", "sign", folder]).expect(0);
    company.run(&["bundle", "publish", folder]).expect(0);
    company.run(&["bundle", "activate", "claim-approval@1.0.1", "--reason", "a short wait"]).expect(0);
    company.refer("before");
    let server = Server::start_with(company.home.path(), &mut |command| {
        command.env("CHANCERY_OVERRIDE_INTERVAL_MS", "50");
    });
    let claim = crate::http::claim_signals();
    let mut request =
        serde_json::json!({"execution_id": "during", "policy": "claim-approval", "signals": claim});
    request["signals"]["fraudScore"] = "0.93".into();
    let (status, ..) =
        crate::http::post(&format!("{}/v1/decisions", server.url), request.to_string().as_bytes());
    assert_eq!(status, 201);
    let began = Instant::now();
    loop {
        let listed = ["override", "list", "--state", "expired", "-o", "json", "--server", &server.url];
        let listed = company.run(&listed).expect(0).json();
        if listed.as_array().map(Vec::len) == Some(2) {
            assert!(listed[0]["resolution"]["overrides"].as_array().is_some_and(Vec::is_empty));
            break;
        }
        assert!(began.elapsed() < PATIENCE, "not ended: {listed}");
    }
    assert!(server.stop().success());
    assert_eq!(company.audited()["verdict"], "verified");
}

/// The claims of the real data: what policy referred or denied, three people answer in a batch.
#[test]
fn every_referred_claim_is_answered_and_an_auditor_agrees() {
    let Some(csv) = data::file("insurance_claims.csv") else { return };
    let company = Company::with(&["anna", "bert", "carla"]);
    let csv = csv.to_str().unwrap();
    company.run(&["decide", "claim-approval", "--batch", csv, "-o", "json"]).expect(0);
    let mut waiting = Vec::new();
    let mut after = None;
    loop {
        let mut list = vec!["override", "list", "-o", "ndjson", "--limit", "200"];
        list.extend(after.iter().flat_map(|after: &String| ["--after", after.as_str()]));
        let said = company.run(&list).expect(0);
        waiting.extend(said.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        after = said.err.lines().find_map(|line| line.strip_prefix("more: --after ")).map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    assert_eq!(waiting.len(), 443, "427 referred and 16 denied claims wait");
    let ids: Vec<&str> = waiting.iter().map(|case| case["execution_id"].as_str().unwrap()).collect();
    // A few are left alone, a few rejected; of the rest anna and bert approve all, and carla finds nothing to do.
    let (left, answered) = ids.split_at(13);
    let (rejected, approved) = answered.split_at(20);
    let batch = |verb: &str, name: &str, ids: &[&str]| {
        fs::write(company.home.file("ids"), ids.join("\n")).unwrap();
        let key = format!("{name}.key");
        let mut words =
            vec!["override", verb, "--batch", "ids", "--key", &key, "--reason", "Seen.", "-o", "ndjson"];
        if verb == "approve" {
            words.extend(["--outcome", "approve"]);
        }
        company.run(&words)
    };
    assert_eq!(batch("reject", "carla", rejected).expect(0).out.lines().count(), 20);
    assert_eq!(batch("approve", "anna", approved).expect(0).out.lines().count(), approved.len());
    let said = batch("approve", "bert", approved).expect(0);
    assert!(said.out.lines().all(|line| line.contains("\"state\":\"approved\"")));
    assert!(batch("approve", "carla", &approved[..3]).expect(11).err.contains("0 of 3 signed"));

    let count = |state: &str| {
        let listed = company.run(&["override", "list", "--state", state, "--limit", "200", "-o", "json"]);
        listed.expect(0).json().as_array().map(Vec::len)
    };
    assert_eq!((count("pending"), count("rejected")), (Some(left.len()), Some(20)));
    let report = company.audited();
    assert_eq!(report["verdict"], "verified");
    let counts = &report["counts"];
    assert_eq!((&counts["decisions"], &counts["reproduced"]), (&1_000.into(), &1_000.into()));
    assert_eq!(counts["overrides"], 2 * approved.len() + 20);
    assert_eq!(counts["resolutions"], approved.len() + 20);
    assert_eq!(counts["casesOpen"], left.len());

    // Four days later.
    assert_eq!(company.expire_in(4).expired, u64::try_from(left.len()).unwrap());
    assert_eq!((count("pending"), count("expired")), (Some(0), Some(left.len())));
    fs::remove_file(company.home.file("all.jsonl")).unwrap();
    let report = company.audited();
    assert_eq!(report["verdict"], "verified");
    assert_eq!((&report["counts"]["resolutions"], &report["counts"]["casesOpen"]), (&443.into(), &0.into()));
    company.run(&["fsck", "--full"]).expect(0);
}
