//! `chancery demo`: the whole loop on a log of its own, and two tamperings that are caught.
//!
//! Everything that it shows is done by the code that does it for real: it makes a log as `init` does, decides as
//! `decide` does, exports and verifies as an auditor would. It runs in a temporary folder, or in one that is kept.

use std::fs;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use chancery_core::dsse::{Envelope, IN_TOTO};
use chancery_core::ids::ExecutionId;
use chancery_core::key::{Signer as _, SigningKey};
use chancery_core::keyring::{Change, KeyEntry, Moment, Role};
use chancery_core::statement::{ExecutionState, OverrideResolution};
use chancery_runtime::export::{Disclosure, ExportRequest, Selection};
use chancery_runtime::fsck::FsckRequest;
use chancery_runtime::overrides::OverrideRequest;
use chancery_runtime::records::Records;
use chancery_runtime::runtime::read_root;
use chancery_runtime::{Caller, Runtime, keys, trust};
use chancery_verify::{Ask, Environment, Part, Report, Verdict, Without};
use include_dir::{Dir, include_dir};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::open::{Home, home_of};
use super::{Exit, Failure, init, serve};
use crate::config;

/// The bundle that decides in the demo, so that it runs wherever the program lies.
static BUNDLE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../policies/claim-approval/1.0.0");

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Keep everything in this new folder. Default: a temporary one, removed at the end.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Serve the log over HTTP afterwards, until interrupted.
    #[arg(long)]
    serve: bool,
}

pub(super) fn run(arguments: Arguments, home: &Home<'_>) -> Result<Exit, Failure> {
    let temporary;
    let folder = match &arguments.dir {
        Some(folder) => {
            fs::create_dir(folder).map_err(|error| failed("make the folder", folder, &error))?;
            std::path::absolute(folder).map_err(|error| failed("find the folder", folder, &error))?
        }
        None => {
            temporary = tempfile::tempdir()
                .map_err(|error| Failure::system("cannot make a temporary folder", &error))?;
            temporary.path().to_owned()
        }
    };
    let demo =
        Home { config: folder.join(config::FILE_NAME), output: home.output, edge: home.edge, server: None };
    Story { home: &demo, folder: &folder }.tell()?;
    if arguments.serve {
        return serve::run(serve::Arguments::dev(), &demo);
    }
    if arguments.dir.is_some() {
        home.output.line(&format!(
            "\nKept in {}. Go on there:\n  chancery decision show claim-demo-3\n  chancery serve --dev",
            folder.display()
        ))?;
    }
    Ok(Exit::Ok)
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::because(Exit::Runtime, format!("cannot {what} `{}`", path.display()), error)
        .help("name a folder that does not exist yet, in one that this user can write into")
}

/// The demo, step by step. A step that does not come out as it must is an error, never a line that looks well.
struct Story<'a> {
    home: &'a Home<'a>,
    folder: &'a Path,
}

impl Story<'_> {
    fn tell(&self) -> Result<(), Failure> {
        self.title("1. A log of its own: keys, trust, and a signed policy bundle in force")?;
        let runtime = self.make_log()?;
        self.title("2. Executions go in, attestations come out: durable, signed, in the log")?;
        self.decide(&runtime)?;
        self.title(
            "3. What is refused: other facts under an old id, and bad input with every fault at once",
        )?;
        self.refuse(&runtime)?;
        self.title("4. Two managers approve the claim that policy referred, each with a key of their own")?;
        self.approve(&runtime)?;
        self.title("5. Evidence: one file that an auditor checks offline, with root.pub alone")?;
        let evidence = self.export(&runtime)?;
        drop(runtime);
        self.title("6. Somebody changes one word in the evidence: the denied claim becomes an approved one")?;
        self.tamper_with_evidence(&evidence)?;
        self.title("7. Somebody changes the same word in the database, past all triggers")?;
        self.tamper_with_database()
    }

    fn title(&self, text: &str) -> Result<(), Failure> {
        self.home.output.line(&format!("\n{text}"))
    }

    fn say(&self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.home.output.line(&format!("   {}", text.as_ref().replace('\n', "\n   ")))
    }

    fn make_log(&self) -> Result<Runtime, Failure> {
        let policies = self.folder.join("policies");
        let bundle = policies.join("claim-approval/1.0.0");
        fs::create_dir_all(&bundle).map_err(|error| failed("make the folder", &bundle, &error))?;
        BUNDLE.extract(&bundle).map_err(|error| failed("unpack the bundle into", &bundle, &error))?;
        let password = Zeroizing::new(self.home.random_hex()?.into_bytes());
        init::for_demo(self.folder, &policies, &password, self.home)?;
        self.without_build()?;
        let runtime = self.home.runtime()?;
        self.say(format!(
            "log     {} (a {} log)",
            runtime.settings().log_origin,
            runtime.settings().environment
        ))?;
        for loaded in runtime.in_force() {
            let policies = loaded.bundle.policy_ids().len();
            self.say(format!(
                "policy  {}@{}: {policies} policies, hash {}",
                loaded.policy, loaded.version, loaded.hash
            ))?;
        }
        Ok(runtime)
    }

    /// Whatever release the program belongs to: nobody enrolled its builder's key here, and a trial needs none.
    fn without_build(&self) -> Result<(), Failure> {
        let line = "# A trial decides without a build.\nbuild = \"none\"\n";
        let config = &self.home.config;
        let append = || fs::OpenOptions::new().append(true).open(config)?.write_all(line.as_bytes());
        append().map_err(|error| failed("write", config, &error))
    }

    fn decide(&self, runtime: &Runtime) -> Result<(), Failure> {
        let caller = Caller::new("claims-core");
        for (number, (story, signals)) in (1..).zip(claims()) {
            let request = request(number, &signals);
            let answer = runtime.execute_blocking(&caller, request.to_string().as_bytes())?;
            let waits = if answer.execution_state == ExecutionState::PendingOverride {
                " (waits for two managers)"
            } else {
                ""
            };
            self.say(format!("{}  {story}", answer.execution_id))?;
            self.say(format!("  → {}{waits}, log index {}", answer.decision, answer.log.index))?;
            for reason in &answer.reasons {
                self.say(format!("    {}: {}", reason.policy, reason.text))?;
            }
        }
        Ok(())
    }

    fn refuse(&self, runtime: &Runtime) -> Result<(), Failure> {
        let caller = Caller::new("claims-core");
        let Some((_, signals)) = claims().into_iter().next() else { return Ok(()) };
        let again = runtime.execute_blocking(&caller, request(1, &signals).to_string().as_bytes())?;
        must(again.replayed, "a repeat was decided anew")?;
        self.say(format!("the same request again: the same answer, log index {}", again.log.index))?;
        let mut other = signals.clone();
        set(&mut other, "totalClaim", json!(9_999));
        let conflict = runtime.execute_blocking(&caller, request(1, &other).to_string().as_bytes());
        let conflict = conflict.err().map(|error| Failure::from(error).to_string());
        self.say(must_be_some(conflict, "other facts were taken under an old id")?)?;
        let mut bad = signals;
        set(&mut bad, "policyAnnualPremium", json!("1406.91234"));
        set(&mut bad, "vehicleClaim", json!(3510.5));
        set(&mut bad, "favouriteColour", json!("blue"));
        let faults = runtime.execute_blocking(&caller, request(9, &bad).to_string().as_bytes());
        let faults = faults.err().map(|error| Failure::from(error).to_string());
        self.say(must_be_some(faults, "bad input was decided")?)
    }

    /// Two managers get keys and a role, and answer.
    fn approve(&self, runtime: &Runtime) -> Result<(), Failure> {
        let managers = self.enrol_managers(runtime)?;
        let id: ExecutionId = REFERRED
            .0
            .parse()
            .map_err(|error| Failure::usage(error).help("this is a fault of the program"))?;
        let mut last = None;
        for (name, key) in &managers {
            let request = OverrideRequest {
                resolution: OverrideResolution::Approve,
                outcome: Some("approve".to_owned()),
                reason: "Photographs and invoices seen; the score was wrong.".to_owned(),
                reason_code: "DOCUMENTS_SEEN".to_owned(),
                role: MANAGER.to_owned(),
                signer: key.public_key().key_id().clone(),
            };
            let draft = runtime.override_statement(&id, request)?;
            let signed = Envelope::sign(IN_TOTO, draft.payload.0, key)
                .map_err(|error| Failure::system("a manager's key did not sign", &error))?;
            let submitted = runtime.submit_override(&id, &signed)?;
            self.say(format!(
                "{name} approves {id} ({}), log index {}",
                submitted.case.progress, submitted.log.index
            ))?;
            last = submitted.case.resolution;
        }
        let ended = must_be_some(last, "two approvals did not end the case")?;
        self.say(format!("  → {}, signed by the runtime, log index {}", ended.final_outcome, ended.index))
    }

    /// The next keyring version, signed by the root key, gives two new keys the managers' role.
    fn enrol_managers(&self, runtime: &Runtime) -> Result<Vec<(&'static str, SigningKey)>, Failure> {
        let keys = self.folder.join("keys");
        let file = keys.join("root.password");
        let password = Zeroizing::new(fs::read(&file).map_err(|error| failed("read", &file, &error))?);
        let root = keys::load(&keys.join("root.key"), &password)?;
        let keyring = runtime.keyring();
        let now = self.home.edge.clock.now();
        let (mut managers, mut changes) = (Vec::new(), Vec::new());
        for name in ["anna", "bert"] {
            let key = keys::generate(self.home.edge.entropy.as_ref())
                .map_err(|error| Failure::system("cannot make a key", &error))?;
            changes.push(Change::Enrol(Box::new(KeyEntry {
                key: key.public_key().clone(),
                revoked: None,
                roles: vec![Role::Approver(MANAGER.to_owned())],
                subject: name.to_owned(),
                valid_from: now,
                valid_until: keyring.newest().predicate().expires_at,
            })));
            managers.push((name, key));
        }
        let size = runtime.records().head()?.size;
        let next = keyring
            .draft(&changes, Moment { now, size })
            .map_err(|error| Failure::system("cannot enrol the managers", &error))?;
        let mut envelope = trust::unsigned(&next)?;
        trust::sign(&keyring, &mut envelope, &root)?;
        let version = runtime.append_keyring(&envelope)?.version;
        self.say(format!(
            "keyring version {version}, signed by the root key: anna and bert are `{MANAGER}`"
        ))?;
        Ok(managers)
    }

    fn export(&self, runtime: &Runtime) -> Result<Vec<u8>, Failure> {
        let mut evidence = Vec::new();
        let whole = ExportRequest { selection: Selection::Complete, disclosure: Disclosure::Full };
        runtime.export(&whole, &mut evidence)?;
        let path = self.folder.join("demo.evidence.jsonl");
        fs::write(&path, &evidence).map_err(|error| failed("write", &path, &error))?;
        let report = self.verify(&evidence)?;
        must(report.verdict == Verdict::Verified, "the evidence is not verified")?;
        self.say(
            "$ chancery-verify demo.evidence.jsonl --root trust/root.pub --environment test --without build",
        )?;
        self.say(&report.summary)?;
        Ok(evidence)
    }

    /// The auditor's judgement. A demo's log is a test log, and the program that runs it has no signed build.
    fn verify(&self, evidence: &[u8]) -> Result<Report, Failure> {
        let root = home_of(&self.home.configuration(&[])?.config).root_pub().to_owned();
        let root = fs::read_to_string(&root).map_err(|error| failed("read", &root, &error))?;
        let ask =
            Ask { environment: Environment::Test, without: Without::new([Part::Build]), ..Ask::default() };
        Ok(chancery_verify::verify(BufReader::new(evidence), Some(&root), &ask))
    }

    fn tamper_with_evidence(&self, evidence: &[u8]) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(evidence);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let changed = lines.iter_mut().find_map(|line| {
            let mut entry: Value = serde_json::from_str(line).ok()?;
            let payload = entry.pointer_mut("/envelope/payload")?;
            let bytes = chancery_core::b64::decode(payload.as_str()?).ok()?;
            let statement = String::from_utf8(bytes).ok()?;
            let forged = statement.replace(DENIED, APPROVED);
            if forged == statement {
                return None;
            }
            *payload = Value::from(chancery_core::b64::encode(forged.as_bytes()));
            *line = entry.to_string();
            Some(())
        });
        must(changed.is_some(), "there is no denied claim in the evidence")?;
        let report = self.verify(format!("{}\n", lines.join("\n")).as_bytes())?;
        must(report.verdict == Verdict::Failed, "the forged evidence was not caught")?;
        self.say(&report.summary)?;
        for check in report.checks.iter().filter(|check| check.failed > 0) {
            self.say(format!("  {}: {}", check.id.as_str(), check.reason.as_deref().unwrap_or_default()))?;
        }
        Ok(())
    }

    fn tamper_with_database(&self) -> Result<(), Failure> {
        let config = self.home.configuration(&[])?.config;
        let database = config.database.file().unwrap_or(Path::new(""));
        let copy = self.folder.join("tampered.db");
        let mut bytes = fs::read(database).map_err(|error| failed("read", database, &error))?;
        must(
            replace_first(&mut bytes, FORGED_IN_PLACE.0, FORGED_IN_PLACE.1),
            "there is no denied claim in the database",
        )?;
        fs::write(&copy, bytes).map_err(|error| failed("write", &copy, &error))?;
        let paths = home_of(&config);
        let root = read_root(paths.root_pub())?;
        let request =
            FsckRequest { root: &root, keys: None, checkpoint: Some(paths.checkpoint()), full: false };
        let report = Records::open(&copy.into(), None, self.home.edge.clock.clone())?
            .fsck(&request, |_, _| {})
            .map_err(|error| Failure::system("cannot check the copy", &error))?;
        must(!report.is_clean(), "the edited database was not caught")?;
        self.say("$ chancery fsck")?;
        self.say(super::fsck::describe(&report))
    }
}

/// The claim that policy refers: execution and resource.
const REFERRED: (&str, &str) = ("claim-CLM-2024-00443", "CLM-2024-00443");
/// The role that the bundle's rule counts.
const MANAGER: &str = "claims-manager";
const DENIED: &str = r#""outcome":"deny""#;
const APPROVED: &str = r#""outcome":"approve""#;
/// In a database file the length has to stay: an outcome of four letters for another.
const FORGED_IN_PLACE: (&[u8], &[u8]) = (br#""outcome":"deny""#, br#""outcome":"paid""#);

fn replace_first(bytes: &mut [u8], old: &[u8], new: &[u8]) -> bool {
    let found = bytes.windows(old.len()).position(|window| window == old);
    match found.and_then(|at| bytes.get_mut(at..at + old.len())) {
        Some(place) => {
            place.copy_from_slice(new);
            true
        }
        None => false,
    }
}

fn must(holds: bool, otherwise: &str) -> Result<(), Failure> {
    must_be_some(holds.then_some(()), otherwise)
}

fn must_be_some<T>(value: Option<T>, otherwise: &str) -> Result<T, Failure> {
    value.ok_or_else(|| {
        Failure::new(Exit::Runtime, format!("the demo went wrong: {otherwise}"))
            .help("keep its folder with `--dir` and look there; this is a fault of the program")
    })
}

fn set(signals: &mut Value, name: &str, value: Value) {
    if let Some(members) = signals.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

fn request(number: u32, signals: &Value) -> Value {
    let (id, resource) = match number {
        2 => (REFERRED.0.to_owned(), REFERRED.1.to_owned()),
        _ => (format!("claim-demo-{number}"), format!("CLM-2026-{number:05}")),
    };
    json!({
        "execution_id": id,
        "policy": "claim-approval",
        "resource": resource,
        "signals": signals,
        "labels": {"channel": "demo"},
    })
}

/// Three claims: what happened, and the facts.
fn claims() -> Vec<(&'static str, Value)> {
    let usual = json!({
        "policyBindDate": "2019-03-14", "policyState": "OH", "policyCsl": "250/500", "policyDeductible": 500,
        "policyAnnualPremium": "1406.91", "umbrellaLimit": 0, "monthsAsCustomer": 82,
        "incidentDate": "2026-10-02", "incidentHour": 14, "incidentType": "Parked Car",
        "incidentSeverity": "Minor Damage", "vehiclesInvolved": 1, "modelYear": "2018-01-01",
        "bodilyInjuries": 0, "witnesses": 1, "authoritiesContacted": "Police", "propertyDamage": false,
        "policeReportAvailable": true,
        "totalClaim": 4_200, "injuryClaim": 0, "propertyClaim": 700, "vehicleClaim": 3_500,
    });
    let mut suspicious = usual.clone();
    set(&mut suspicious, "fraudScore", json!("0.93"));
    let mut too_early = usual.clone();
    set(&mut too_early, "policyBindDate", json!("2026-10-20"));
    vec![
        ("a parked car was scratched", usual),
        ("the same, but the scoring model says 0.93", suspicious),
        ("the same, but the cover began after the accident", too_early),
    ]
}
