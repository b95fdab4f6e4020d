//! `chancery override …`: what an approver does, on the log of this machine or against a running server.
//!
//! ```text
//! list, show ─► approve | reject                     draft, sign with --key or --ssh-agent, hand in
//!            └► statement ─► sign-offline ─► submit   the same in three steps, for a key that no network reaches
//! ```
//! What is read comes as JSON from either place, and is shown the same way.

use std::fs;
use std::io::Read;
use std::path::Path;

use chancery_core::dsse::Envelope;
use chancery_core::ids::ExecutionId;
use chancery_core::json::{self, Limits};
use chancery_core::key::PublicKey;
use chancery_core::time::Timestamp;
use chancery_runtime::overrides::{CaseState, QueueFilter};
use serde_json::Value;

pub(super) use self::arguments::Command;
use self::arguments::{Approve, Draft, List, Reject, SignOffline, Which, With};
use self::drafts::{confirm, described, signed, words};
use self::place::{Place, Say};
use self::show::{DUE, show, standing, text};
use super::open::Home;
use super::{Exit, Failure};

mod arguments;
mod drafts;
mod place;
mod show;

/// The longest statement or envelope that is read from a file.
const FILE: Limits = Limits { bytes: 1024 * 1024, depth: 8 };
/// Cases that are asked for at once.
const PAGE: u32 = 200;

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

fn value<T: serde::Serialize>(of: &T) -> Result<Value, Failure> {
    serde_json::to_value(of).map_err(|error| Failure::system("cannot write JSON", &error))
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
