//! `chancery override …`: what an approver does, on the log of this machine or against a running server.
//!
//! ```text
//! list, show ─► approve | reject                     draft, sign with --key or --ssh-agent, hand in
//!            └► statement ─► sign-offline ─► submit   the same in three steps, for a key that no network reaches
//! ```
//! What is read comes as JSON from either place, and is shown the same way.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chancery_core::dsse::Envelope;
use chancery_core::ids::{ExecutionId, PolicyId, TenantId};
use chancery_core::json::{self, Limits};
use chancery_core::key::{KeyId, PublicKey, Signer};
use chancery_core::statement::OverrideResolution;
use chancery_core::time::Timestamp;
use chancery_runtime::Runtime;
use chancery_runtime::overrides::{CaseState, OverrideError, OverrideRequest, QueueFilter};
use serde_json::Value;

use self::drafts::{Wanted, check_taken, confirm, described, signed, words};
use self::show::{DUE, show, standing, text};
use super::open::Home;
use super::output::foreign;
use super::remote::{Query, Remote};
use super::ssh_agent::AgentKey;
use super::{Exit, Failure, signer};
use crate::instant::parse_instant;

mod drafts;
mod show;

/// The longest statement or envelope that is read from a file.
const FILE: Limits = Limits { bytes: 1024 * 1024, depth: 8 };
/// Cases that are asked for at once.
const PAGE: u32 = 200;

/// Subcommands of `override`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List cases, those that wait the longest first.
    List(List),
    /// Show what an approver has to see of a case: signals, policies with their text, time left, earlier decisions.
    Show {
        /// The execution's id.
        execution_id: ExecutionId,
    },
    /// Approve one case or several: turn the decision into another outcome.
    Approve(Approve),
    /// Reject: the decision stands, and the case ends.
    Reject(Reject),
    /// Write the statement that is to be signed elsewhere.
    Statement(Draft),
    /// Sign a statement with a key; needs neither the log nor a network.
    SignOffline(SignOffline),
    /// Hand a signed statement in.
    Submit {
        /// What `sign-offline` wrote; `-` for stdin.
        file: PathBuf,
    },
    /// Print the public half of your key, for whoever enrols it.
    PublicKey(With),
    /// End every case whose time is over, as a running server does by itself.
    Expire,
}

/// Filters of `override list`.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Cases in this state: pending, approved, rejected or expired.
    #[arg(long, default_value = "pending", value_parser = parse_state)]
    state: CaseState,
    /// Cases whose rule counts this role.
    #[arg(long)]
    role: Option<String>,
    /// Cases that end before this time (RFC 3339, or a date).
    #[arg(long, value_parser = parse_instant)]
    due_before: Option<Timestamp>,
    /// How many at the most (1 to 200).
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// Where the last page ended, as it said.
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

fn parse_state(text: &str) -> Result<CaseState, String> {
    let all = [CaseState::Pending, CaseState::Approved, CaseState::Rejected, CaseState::Expired];
    let found = all.into_iter().find(|state| state.as_str() == text);
    found.ok_or_else(|| "a state is pending, approved, rejected or expired".to_owned())
}

/// The words of an override.
#[derive(Debug, clap::Args)]
struct Words {
    /// Why, in words; it is signed, and kept for ever.
    #[arg(long)]
    reason: String,
    /// Why, as a code.
    #[arg(long, value_name = "CODE", default_value = "REVIEWED")]
    reason_code: String,
    /// The role in which you answer. Default: the rule's, where it counts one.
    #[arg(long)]
    role: Option<String>,
}

/// Which cases.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Which {
    /// The executions' ids.
    #[arg(value_name = "EXECUTION_ID")]
    execution_ids: Vec<ExecutionId>,
    /// A file with an execution id a line; `-` for stdin.
    #[arg(long, value_name = "FILE")]
    batch: Option<PathBuf>,
    /// Every case of this policy that waits.
    #[arg(long, value_name = "POLICY")]
    all_of: Option<PolicyId>,
}

/// What signs.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct With {
    /// Your key: a key file, or a `pkcs11:` URI.
    #[arg(long, value_name = "KEY", conflicts_with = "ssh_agent")]
    key: Option<String>,
    /// File with the password of the key file; otherwise `CHANCERY_PASSWORD`, otherwise a prompt.
    #[arg(long, value_name = "FILE", requires = "key")]
    key_password_file: Option<PathBuf>,
    /// Sign with a key in the ssh-agent of `SSH_AUTH_SOCK`.
    #[arg(long)]
    ssh_agent: bool,
    /// Which of the agent's keys: `SHA256:…`, as `ssh-add -l` prints it.
    #[arg(long, value_name = "KEY_ID", requires = "ssh_agent")]
    key_id: Option<KeyId>,
}

impl With {
    fn open(&self, home: &Home<'_>) -> Result<Arc<dyn Signer>, Failure> {
        match &self.key {
            Some(key) => signer::open(key, self.key_password_file.as_deref(), home),
            None => Ok(Arc::new(AgentKey::open(self.key_id.as_ref())?)),
        }
    }
}

/// Arguments of `override approve`.
#[derive(Debug, clap::Args)]
pub(super) struct Approve {
    #[command(flatten)]
    which: Which,
    /// What the decision is turned into. Default: the rule's, where it allows one.
    #[arg(long)]
    outcome: Option<String>,
    #[command(flatten)]
    words: Words,
    #[command(flatten)]
    with: With,
}

/// Arguments of `override reject`.
#[derive(Debug, clap::Args)]
pub(super) struct Reject {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    words: Words,
    #[command(flatten)]
    with: With,
}

/// Arguments of `override statement`.
#[derive(Debug, clap::Args)]
pub(super) struct Draft {
    /// The execution's id.
    execution_id: ExecutionId,
    /// Reject, and not approve.
    #[arg(long, conflicts_with = "outcome")]
    reject: bool,
    /// What the decision is turned into. Default: the rule's, where it allows one.
    #[arg(long)]
    outcome: Option<String>,
    #[command(flatten)]
    words: Words,
    /// The key that will sign: its id, `SHA256:…`.
    #[arg(long, value_name = "KEY_ID", required_unless_present = "public_key")]
    signer: Option<KeyId>,
    /// The key that will sign: its public half, a PEM file.
    #[arg(long, value_name = "FILE", conflicts_with = "signer")]
    public_key: Option<PathBuf>,
    /// Where the statement goes. Default: stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Arguments of `override sign-offline`.
#[derive(Debug, clap::Args)]
pub(super) struct SignOffline {
    /// What `override statement` wrote; `-` for stdin.
    statement: PathBuf,
    #[command(flatten)]
    with: With,
    /// Sign without asking at the terminal.
    #[arg(long)]
    yes: bool,
    /// Where the signed statement goes. Default: stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(command: Command, home: &Home<'_>) -> Result<Exit, Failure> {
    let place = match &command {
        // An approver's machine may have neither the log nor a network.
        Command::SignOffline(command) => return sign_offline(command, home),
        Command::PublicKey(with) => {
            home.output.line(with.open(home)?.public_key().to_spki_pem().trim_end())?;
            return Ok(Exit::Ok);
        }
        _ => Place::open(home)?,
    };
    if matches!(command, Command::List(_) | Command::Show { .. }) {
        place.end_due();
    }
    let exit = match command {
        Command::List(list) => list_cases(&list, &place, home),
        Command::Show { execution_id } => {
            home.output.print(&place.show(&execution_id)?, show)?;
            Ok(Exit::Ok)
        }
        Command::Approve(Approve { which, outcome, words, with }) => {
            answer(&which, &Say { reject: false, outcome, words }, &with, &place, home)
        }
        Command::Reject(Reject { which, words, with }) => {
            answer(&which, &Say { reject: true, outcome: None, words }, &with, &place, home)
        }
        Command::Statement(draft) => statement(draft, &place, home),
        Command::SignOffline(_) | Command::PublicKey(_) => Ok(Exit::Ok),
        Command::Submit { file } => {
            let envelope = read_envelope(&file)?;
            let id = described(&envelope)?.predicate.execution_id;
            home.output.print(&place.submit(&id, &envelope)?, standing)?;
            Ok(Exit::Ok)
        }
        Command::Expire => {
            let Place::Local(runtime) = &place else {
                home.refuse_server()?;
                return Ok(Exit::Ok);
            };
            let ended = runtime.expire_due()?;
            home.output.say(&format!("{} cases expired", ended.expired));
            Ok(Exit::Ok)
        }
    }?;
    place.finish(home)?;
    Ok(exit)
}

/// Where the cases are.
enum Place<'a> {
    Local(Runtime),
    Server(&'a Remote),
}

impl<'a> Place<'a> {
    fn open(home: &'a Home<'_>) -> Result<Self, Failure> {
        match &home.server {
            Some(server) => Ok(Self::Server(server)),
            None => Ok(Self::Local(home.runtime()?)),
        }
    }

    fn list(&self, filter: &QueueFilter, after: Option<&str>, limit: u32) -> Result<Value, Failure> {
        match self {
            Self::Local(runtime) => value(&runtime.override_queue(filter, after, limit)?),
            Self::Server(server) => {
                let mut query: Query = vec![
                    ("state".to_owned(), filter.state.as_str().to_owned()),
                    ("limit".to_owned(), limit.to_string()),
                ];
                query.extend(filter.role.iter().map(|role| ("role".to_owned(), role.clone())));
                query.extend(filter.due_before.iter().map(|due| ("due_before".to_owned(), due.to_string())));
                query.extend(after.iter().map(|after| ("after".to_owned(), (*after).to_owned())));
                server.get_json("/v1/overrides", &query)
            }
        }
    }

    fn show(&self, id: &ExecutionId) -> Result<Value, Failure> {
        match self {
            Self::Local(runtime) => value(&runtime.override_brief(id).map_err(failed)?),
            Self::Server(server) => server.get_json(&format!("/v1/overrides/{id}"), &Query::new()),
        }
    }

    /// The case without what is only for the eye.
    fn case(&self, id: &ExecutionId) -> Result<Value, Failure> {
        match self {
            Self::Local(runtime) => value(&runtime.override_case(id).map_err(failed)?),
            Self::Server(_) => self.show(id),
        }
    }

    /// The statement about one case that says what `say` says, and nothing else.
    fn draft(
        &self,
        id: &ExecutionId,
        say: &Say,
        signer: &KeyId,
        home: &Home<'_>,
    ) -> Result<Envelope, Failure> {
        let case = self.case(id)?;
        let request = say.request(&case, signer)?;
        let draft = match self {
            Self::Local(runtime) => runtime.override_statement(id, request.clone()).map_err(failed)?,
            Self::Server(server) => {
                let path = format!("/v1/overrides/{id}/statement");
                server.post_json::<Envelope>(&path, &value(&request)?.to_string())?.1
            }
        };
        let (tenant, now) = (tenant(home)?, home.edge.clock.now());
        let wanted = Wanted { id, case: &case, request: &request, tenant: tenant.as_ref(), now };
        wanted.check(&draft)?;
        Ok(draft)
    }

    fn submit(&self, id: &ExecutionId, envelope: &Envelope) -> Result<Value, Failure> {
        let answer = match self {
            Self::Local(runtime) => value(&runtime.submit_override(id, envelope).map_err(failed)?)?,
            Self::Server(server) => {
                let body = value(envelope)?.to_string();
                server.post_json::<Value>(&format!("/v1/overrides/{id}"), &body)?.1
            }
        };
        check_taken(&answer, id, envelope)?;
        Ok(answer)
    }

    /// Ends the cases whose time is over, so that what is read next is how they stand.
    fn end_due(&self) {
        if let Self::Local(runtime) = self {
            // What could not be ended is tried again at the end of the command, and told then: the others can be read.
            let _ = runtime.expire_due();
        }
    }

    /// Cases whose time is over end with whoever looks, and what was recorded is covered by a checkpoint.
    fn finish(self, home: &Home<'_>) -> Result<(), Failure> {
        match self {
            Self::Local(runtime) => {
                runtime.expire_due()?;
                home.finish(&runtime)
            }
            Self::Server(_) => Ok(()),
        }
    }
}

/// Whose log it is, where this machine has a configuration; an approver's may have none.
fn tenant(home: &Home<'_>) -> Result<Option<TenantId>, Failure> {
    if !home.config.exists() {
        return Ok(None);
    }
    Ok(Some(home.configuration(&[])?.config.tenant))
}

fn value<T: serde::Serialize>(of: &T) -> Result<Value, Failure> {
    serde_json::to_value(of).map_err(|error| Failure::system("cannot write JSON", &error))
}

/// A failure with what to try next.
fn failed(error: OverrideError) -> Failure {
    let help = match &error {
        OverrideError::Key { .. } | OverrideError::KeyUnknown { .. } => Some(
            "`chancery trust keyring` shows who may sign what; a key gets the role with `chancery key enroll`",
        ),
        OverrideError::Role { .. } | OverrideError::Outcome { .. } => {
            Some("`chancery override show EXECUTION_ID` shows the rule")
        }
        OverrideError::Resolved { .. }
        | OverrideError::Expired { .. }
        | OverrideError::ApproverTwice { .. } => {
            Some("`chancery override show EXECUTION_ID` shows what was said, and how it ended")
        }
        OverrideError::Nonce { .. } | OverrideError::Lapsed { .. } | OverrideError::IssuedAhead { .. } => {
            Some("make a new statement: `chancery override statement`")
        }
        _ => None,
    };
    let failure = Failure::from(error);
    match help {
        Some(help) => failure.help(help),
        None => failure,
    }
}

fn list_cases(list: &List, place: &Place<'_>, home: &Home<'_>) -> Result<Exit, Failure> {
    let filter = QueueFilter { state: list.state, role: list.role.clone(), due_before: list.due_before };
    let page = place.list(&filter, list.after.as_deref(), list.limit)?;
    let items = page.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let now = home.edge.clock.now();
    let columns = ["execution", "decision", "state", "approvals", "policy", "due"];
    home.output.print_list(&items, &columns, |case| {
        vec![
            text(case, "/execution_id"),
            text(case, "/decision"),
            state(case, now),
            text(case, "/progress"),
            format!("{}@{}", text(case, "/policy/id"), text(case, "/policy/version")),
            text(case, "/due"),
        ]
    })?;
    if let Some(next) = page.get("next").and_then(Value::as_str) {
        home.output.say(&format!("more: --after {next}"));
    }
    Ok(Exit::Ok)
}

/// What a case is in; one that waits, and whose time is over, waits no more.
fn state(case: &Value, now: Timestamp) -> String {
    let state = text(case, "/state");
    let due = case.get("due").and_then(Value::as_str).and_then(|due| due.parse::<Timestamp>().ok());
    if state == CaseState::Pending.as_str() && due.is_some_and(|due| due <= now) {
        return DUE.to_owned();
    }
    state
}

/// What is to be said.
struct Say {
    reject: bool,
    outcome: Option<String>,
    words: Words,
}

impl Say {
    /// The request about one case; what was left open is the rule's where it leaves no choice.
    fn request(&self, case: &Value, signer: &KeyId) -> Result<OverrideRequest, Failure> {
        let one = |of: &str, what: &str, flag: &str| -> Result<String, Failure> {
            let all = case.pointer(of).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            match all {
                [Value::String(only)] => Ok(only.clone()),
                several => {
                    let names: Vec<String> = several.iter().filter_map(Value::as_str).map(foreign).collect();
                    Err(Failure::usage(format!("the rule has several {what}: {}", names.join(", ")))
                        .help(format!("say which with `{flag}`")))
                }
            }
        };
        let role = match &self.words.role {
            Some(role) => role.clone(),
            None => one("/rule/roles", "roles", "--role")?,
        };
        let outcome = match (self.reject, &self.outcome) {
            (true, _) => None,
            (false, Some(outcome)) => Some(outcome.clone()),
            (false, None) => Some(one("/rule/to", "outcomes", "--outcome")?),
        };
        Ok(OverrideRequest {
            resolution: if self.reject { OverrideResolution::Reject } else { OverrideResolution::Approve },
            outcome,
            reason: self.words.reason.clone(),
            reason_code: self.words.reason_code.clone(),
            role,
            signer: signer.clone(),
        })
    }
}

/// Drafts, signs and hands in, one case after the other. A case that fails does not keep the others from it.
fn answer(
    which: &Which,
    say: &Say,
    with: &With,
    place: &Place<'_>,
    home: &Home<'_>,
) -> Result<Exit, Failure> {
    let ids = chosen(which, place)?;
    let key = with.open(home)?;
    let one = |id: &ExecutionId| -> Result<Value, Failure> {
        let envelope = signed(place.draft(id, say, key.public_key().key_id(), home)?, key.as_ref())?;
        place.submit(id, &envelope)
    };
    if let [id] = ids.as_slice() {
        home.output.print(&one(id)?, standing)?;
        return Ok(Exit::Ok);
    }
    let bar = home.output.progress("signing", u64::try_from(ids.len()).ok());
    let (mut done, mut worst) = (Vec::new(), Exit::Ok);
    for id in &ids {
        match one(id) {
            Ok(submitted) => done.push(submitted),
            Err(failure) => {
                bar.suspend(|| home.output.say(&format!("{id}: {failure}")));
                worst = failure.exit;
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    home.output.print_list(&done, &["execution", "state", "approvals", "index"], |case| {
        vec![
            text(case, "/execution_id"),
            text(case, "/state"),
            text(case, "/progress"),
            case.pointer("/log/index").map(Value::to_string).unwrap_or_default(),
        ]
    })?;
    home.output.say(&format!("{} of {} signed and logged", done.len(), ids.len()));
    Ok(worst)
}

fn chosen(which: &Which, place: &Place<'_>) -> Result<Vec<ExecutionId>, Failure> {
    let mut ids = which.execution_ids.clone();
    if let Some(file) = &which.batch {
        let listed = read(file)?;
        let listed = String::from_utf8(listed).map_err(|error| {
            Failure::because(Exit::Usage, "the list of ids is no text", &error)
                .help("write one id a line, in UTF-8")
        })?;
        for (number, line) in (1..).zip(listed.lines()) {
            if line.trim().is_empty() {
                continue;
            }
            let id = line.trim().parse().map_err(|error| {
                Failure::usage(format!("line {number} is no execution id: {error}"))
                    .help("write one id a line, as `chancery override list -o ndjson` has them")
            })?;
            ids.push(id);
        }
    }
    if let Some(policy) = &which.all_of {
        let mut after: Option<String> = None;
        loop {
            let page = place.list(&QueueFilter::default(), after.as_deref(), PAGE)?;
            let items = page.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            let own = items.iter().filter(|case| text(case, "/policy/id") == policy.as_str());
            ids.extend(own.filter_map(|case| text(case, "/execution_id").parse::<ExecutionId>().ok()));
            after = page.get("next").and_then(Value::as_str).map(str::to_owned);
            if after.is_none() {
                break;
            }
        }
    }
    if ids.is_empty() {
        return Err(Failure::new(Exit::NotFound, "no case was named, and none waits")
            .help("`chancery override list` shows what waits"));
    }
    Ok(ids)
}

fn statement(draft: Draft, place: &Place<'_>, home: &Home<'_>) -> Result<Exit, Failure> {
    let signer = match (draft.signer, &draft.public_key) {
        (Some(signer), _) => signer,
        (None, Some(file)) => {
            let pem = String::from_utf8(read(file)?).map_err(|error| {
                Failure::because(Exit::Usage, "the public key is no text", &error)
                    .help("`chancery key show KEY` prints the public half")
            })?;
            let key = PublicKey::from_spki_pem(&pem).map_err(|error| {
                Failure::because(Exit::Usage, format!("cannot use `{}`", file.display()), &error)
                    .help("`chancery key show KEY` prints the public half")
            })?;
            key.key_id().clone()
        }
        (None, None) => {
            return Err(Failure::usage("name the key that will sign with `--signer`").help(
                "or give its public half with `--public-key`; `chancery trust keyring show` has the ids",
            ));
        }
    };
    let say = Say { reject: draft.reject, outcome: draft.outcome, words: draft.words };
    let envelope = place.draft(&draft.execution_id, &say, &signer, home)?;
    write(draft.out.as_deref(), &envelope, home)?;
    Ok(Exit::Ok)
}

fn sign_offline(command: &SignOffline, home: &Home<'_>) -> Result<Exit, Failure> {
    let envelope = read_envelope(&command.statement)?;
    let statement = described(&envelope)?;
    let key = command.with.open(home)?;
    let signer = &statement.predicate.signer;
    if signer != key.public_key().key_id() {
        let message = format!("the statement is for the key {signer}");
        return Err(Failure::new(Exit::NotAuthorised, message)
            .help("have a statement made for your own key: `chancery override statement --signer KEY_ID`"));
    }
    home.output.say(&words(&statement, &envelope.record_id()));
    confirm(command.yes, home)?;
    write(command.out.as_deref(), &signed(envelope, key.as_ref())?, home)?;
    Ok(Exit::Ok)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes).map(|_| ())
    } else {
        fs::read(path).map(|read| bytes = read)
    };
    read.map_err(|error| Failure::unreadable(path, &error))?;
    Ok(bytes)
}

fn read_envelope(path: &Path) -> Result<Envelope, Failure> {
    let bytes = read(path)?;
    let wrong = |error: &dyn std::error::Error| {
        Failure::because(Exit::Usage, format!("`{}` is no DSSE envelope", path.display()), error)
            .help("`chancery override statement` makes one, `sign-offline` signs it")
    };
    json::parse(&bytes, FILE).map_err(|fault| wrong(&fault))?;
    serde_json::from_slice(&bytes).map_err(|error| wrong(&error))
}

fn write(out: Option<&Path>, envelope: &Envelope, home: &Home<'_>) -> Result<(), Failure> {
    let json = value(envelope)?.to_string();
    match out {
        None => home.output.line(&json),
        Some(path) => fs::write(path, format!("{json}\n")).map_err(|error| {
            Failure::because(Exit::Runtime, format!("cannot write `{}`", path.display()), &error)
                .help("name a file in a folder that this user can write into")
        }),
    }
}
