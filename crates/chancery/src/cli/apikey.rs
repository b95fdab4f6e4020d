//! `chancery apikey create|list|revoke|rotate`: credentials for callers of the HTTP API.
//!
//! They are rows beside the log, so these commands work beside a running server. The secret is printed once, alone on
//! stdout or into a file for one user; it is stored nowhere.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use chancery_core::signal::Duration;
use chancery_core::time::Timestamp;
use chancery_runtime::credentials::{ApiKey, ApiKeys, ListedApiKey, NewApiKey, Role};
use chancery_runtime::keys;
use serde::Serialize;

use super::open::{Home, home_of};
use super::output::Format;
use super::{Exit, Failure};
use crate::config::Config;
use crate::instant::parse_instant;

/// Subcommands of `apikey`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a key. Its secret is printed once, alone on stdout, and stored nowhere.
    Create(Create),
    /// List the keys whose time is not over.
    List {
        /// Those that have expired, too.
        #[arg(long)]
        all: bool,
    },
    /// Revoke a key: at once, or after a while. Holds on every server within a second.
    Revoke {
        /// The key's id, as `list` shows it.
        key_id: String,
        /// After this time, such as 1d or 12h; until then the key stays good.
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        after: Option<Duration>,
    },
    /// Make a key for the same principal with the same roles, and revoke the old one after a while.
    Rotate(Rotate),
}

/// Arguments of `apikey create`.
#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// Who calls with it: the id of a principal, as decisions will name it.
    #[arg(long, value_name = "ID")]
    principal: String,
    /// What it allows; once for each role. As few as the caller needs.
    #[arg(long, required = true, value_name = "ROLE", value_parser = parse_role)]
    role: Vec<Role>,
    /// What people call it.
    #[arg(long)]
    label: Option<String>,
    /// Good from this time on (RFC 3339, or a date); at once where nothing is said.
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    not_before: Option<Timestamp>,
    #[command(flatten)]
    made: Made,
}

/// Arguments of `apikey rotate`.
#[derive(Debug, clap::Args)]
pub(super) struct Rotate {
    /// The old key's id, as `list` shows it.
    key_id: String,
    /// How long the old key stays good, so that its users can change over.
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = parse_duration)]
    after: Duration,
    #[command(flatten)]
    made: Made,
}

/// What is said of every key that is made.
#[derive(Debug, clap::Args)]
struct Made {
    /// When its time is over: a duration from now, such as 90d, or a time (at most five years).
    #[arg(long, value_name = "DURATION|TIME", default_value = "90d", value_parser = parse_end)]
    expires: End,
    /// Write the secret into this new file, which nobody else can read, instead of printing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// A time, or a while from now.
#[derive(Clone, Copy, Debug)]
enum End {
    At(Timestamp),
    In(Duration),
}

impl End {
    fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            // Beyond the end of time is beyond the longest life of a key, and refused as that.
            Self::In(duration) => now.checked_add_ms(duration.as_ms()).unwrap_or(now),
        }
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    match text.parse::<Duration>() {
        Ok(duration) if duration.as_ms() >= 0 => Ok(duration),
        _ => Err("write it as 1d, 12h or 1d12h".to_owned()),
    }
}

fn parse_end(text: &str) -> Result<End, String> {
    let duration = parse_duration(text).map(End::In);
    duration.or_else(|_| parse_instant(text).map(End::At)).map_err(|_| {
        "write it as a duration from now, such as 90d, or as a time such as 2027-03-01T10:20:30Z".to_owned()
    })
}

fn parse_role(text: &str) -> Result<Role, String> {
    text.parse().map_err(|error: chancery_runtime::credentials::UnknownRole| error.to_string())
}

/// A key that was made, as it is printed: the only time that its secret is.
#[derive(Debug, Serialize)]
struct Printed<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a Path>,
    #[serde(flatten)]
    listed: &'a ListedApiKey,
}

pub(super) fn run(command: Command, home: &Home<'_>) -> Result<Exit, Failure> {
    home.refuse_server()?;
    let config = home.configuration(&[])?.config;
    let api_keys = ApiKeys::open(&config.database, &config.tenant, home.edge.clock.clone())?;
    match command {
        Command::Create(Create { principal, role, label, not_before, made }) => {
            let wanted = NewApiKey {
                principal,
                roles: role.into_iter().collect(),
                label,
                not_before,
                expires_at: made.expires.from(home.edge.clock.now()),
                created_by: config.principal.clone(),
            };
            make(wanted, made.out.as_deref(), &api_keys, &config, home)?;
        }
        Command::List { all } => list(&api_keys.list(all)?, home)?,
        Command::Revoke { key_id, after } => {
            let after_ms = after.map_or(0, Duration::as_ms);
            let revoked = api_keys.revoke(&key_id, after_ms, &config.principal)?;
            home.output.print(&revoked, told)?;
        }
        Command::Rotate(Rotate { key_id, after, made }) => {
            let expires_at = made.expires.from(home.edge.clock.now());
            let successor = api_keys.successor_of(&key_id, expires_at, &config.principal)?;
            make(successor, made.out.as_deref(), &api_keys, &config, home)?;
            let old = api_keys.revoke(&key_id, after.as_ms(), &config.principal).map_err(|error| {
                let what = format!("the new key is made, and the old one, `{key_id}`, is not revoked");
                Failure::because(Exit::Runtime, what, &error)
                    .help(format!("run `chancery apikey revoke {key_id}` when its users have changed over"))
            })?;
            home.output.say(&told(&old));
        }
    }
    Ok(Exit::Ok)
}

/// Makes a key and gives its secret out, once.
fn make(
    wanted: NewApiKey,
    out: Option<&Path>,
    api_keys: &ApiKeys,
    config: &Config,
    home: &Home<'_>,
) -> Result<(), Failure> {
    if let Some(path) = out.filter(|path| path.exists()) {
        return Err(Failure::new(Exit::Conflict, format!("`{}` is there already", path.display()))
            .help("name a file that is not there yet: no secret is ever overwritten"));
    }
    let password = home.password(config)?;
    let vault = keys::vault_key(&home_of(config), &password)?;
    drop(password);
    let key = api_keys.create(wanted, &vault, home.edge.entropy.as_ref())?;
    let given = give(&key, out, api_keys, home);
    if given.is_err() {
        // Nobody has its secret, so nobody misses it.
        let _ = api_keys.revoke(key.id(), 0, &config.principal);
    }
    given
}

fn give(key: &ApiKey, out: Option<&Path>, api_keys: &ApiKeys, home: &Home<'_>) -> Result<(), Failure> {
    let text = key.text();
    if let Some(path) = out {
        let write = || {
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            writeln!(file, "{}", text.as_str())?;
            file.sync_all()
        };
        write().map_err(|error| {
            Failure::because(Exit::Runtime, format!("cannot write `{}`", path.display()), &error)
                .help("choose a folder that this user can write into; the key was revoked again")
        })?;
    }
    let made = api_keys.list(false)?.into_iter().find(|listed| listed.key_id == key.id());
    let made = made.ok_or_else(|| {
        Failure::new(Exit::Runtime, format!("the key `{}` is not in the list", key.id()))
            .help("look at `chancery apikey list --all`: its time may be over already")
    })?;
    home.output.say(&format!("made {}", told(&made)));
    match (home.output.format, out) {
        (Format::Text, None) => {
            home.output.say("this is the only time that its secret is shown:");
            home.output.line(&text)
        }
        (Format::Text, Some(_)) => home.output.line(key.id()),
        (_, file) => {
            let key = file.is_none().then_some(text.as_str());
            home.output.print(&Printed { key, file, listed: &made }, |_| String::new())
        }
    }
}

/// `9f0c2b7d1a3e5f60 of claims-core (submitter, reader), good until 2027-…`
fn told(key: &ListedApiKey) -> String {
    let ListedApiKey { key_id, principal, roles, state, expires_at, revoked_from, .. } = key;
    let until = match (revoked_from, *state) {
        (Some(from), "revoked") => format!("revoked since {from}"),
        (Some(from), _) => format!("good until {from}, when its revocation holds"),
        (None, "expired") => format!("expired since {expires_at}"),
        (None, _) => format!("good until {expires_at}"),
    };
    format!("{key_id} of {principal} ({}), {until}", roles.join(", "))
}

fn list(keys: &[ListedApiKey], home: &Home<'_>) -> Result<(), Failure> {
    let columns = ["key", "principal", "roles", "state", "expires", "revoked from", "label"];
    home.output.print_list(keys, &columns, |key| {
        let shown = |time: Option<Timestamp>| time.map_or_else(|| "-".to_owned(), |time| time.to_string());
        vec![
            key.key_id.clone(),
            key.principal.clone(),
            key.roles.join(" "),
            key.state.to_owned(),
            key.expires_at.to_string(),
            shown(key.revoked_from),
            key.label.clone().unwrap_or_default(),
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_duration_or_a_time() {
        let now: Timestamp = "2026-03-01T10:00:00.000000Z".parse().unwrap();
        let end = |text: &str| parse_end(text).map(|end| end.from(now).to_string());
        assert_eq!(end("1d").unwrap(), "2026-03-02T10:00:00.000000Z");
        assert_eq!(end("2027-01-01").unwrap(), "2027-01-01T00:00:00.000000Z");
        for text in ["", "-1d", "tomorrow", "90", "1w"] {
            assert!(end(text).is_err(), "{text}");
        }
    }
}
