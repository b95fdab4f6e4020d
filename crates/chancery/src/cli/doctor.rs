//! `chancery doctor`: everything that a log needs, looked at once, each line with its fix.
//!
//! ```text
//! configuration ─► clock, disk ─► password, keys ─► database ─► keyring ─► log and checkpoint ─► build ─► server
//! ```
//! It reads only, beside a running server or without one, and goes on after a fault, so that one run tells all of them.
//! What is judged is judged by the very functions that `serve`, `/readyz` and `fsck` use.

mod keys;
mod log;
mod machine;

use std::time::Duration;

use chancery_core::keyring::Keyring;
use chancery_core::time::Timestamp;
use chancery_runtime::records::Records;
use chancery_runtime::runtime::read_root;
use miette::Diagnostic as _;
use serde::Serialize;

use super::open::{Home, home_of};
use super::output::{foreign, foreign_lines};
use super::{Exit, Failure};
use crate::config::Config;

/// A key or keyring version that ends within so many days is told.
const EXPIRY_DAYS: i64 = 30;
const DAY_MS: i64 = 86_400_000;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

/// How a line is to be taken.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// As it has to be.
    Ok,
    /// It works, and somebody should do something.
    Warn,
    /// Nothing can be decided or recorded, or what is recorded is in danger.
    Fail,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Line {
    check: &'static str,
    status: Status,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

/// All of them, and the worst.
#[derive(Debug, Serialize)]
struct Diagnosis {
    status: Status,
    checks: Vec<Line>,
}

impl Diagnosis {
    fn new() -> Self {
        Self { status: Status::Ok, checks: Vec::new() }
    }

    fn ok(&mut self, check: &'static str, what: impl Into<String>) {
        self.checks.push(Line { check, status: Status::Ok, what: what.into(), fix: None });
    }

    fn warn(&mut self, check: &'static str, what: impl Into<String>, fix: impl Into<String>) {
        self.add(check, Status::Warn, what, fix);
    }

    fn fail(&mut self, check: &'static str, what: impl Into<String>, fix: impl Into<String>) {
        self.add(check, Status::Fail, what, fix);
    }

    fn add(&mut self, check: &'static str, status: Status, what: impl Into<String>, fix: impl Into<String>) {
        self.status = self.status.max(status);
        self.checks.push(Line { check, status, what: what.into(), fix: Some(fix.into()) });
    }

    /// What a command would have failed with.
    fn failure(&mut self, check: &'static str, failure: &Failure) {
        let fix = failure.help().map_or_else(|| "see docs/runbook.md".to_owned(), |help| help.to_string());
        self.fail(check, failure.to_string(), fix);
    }

    /// What could not be looked at for want of something that has a line already.
    fn skipped(&mut self, check: &'static str, first: &str) {
        self.warn(
            check,
            format!("not looked at: {first} comes first"),
            format!("mend {first} and run it again"),
        );
    }

    fn count(&self, status: Status) -> usize {
        self.checks.iter().filter(|line| line.status == status).count()
    }
}

/// What every part of it looks with.
struct Doctor<'a> {
    home: &'a Home<'a>,
    config: &'a Config,
    now: Timestamp,
}

pub(super) fn run(_: Arguments, home: &Home<'_>) -> Result<Exit, Failure> {
    let mut diagnosis = Diagnosis::new();
    match home.configuration(&[]) {
        Ok(loaded) => look(home, &loaded.config, &mut diagnosis),
        Err(failure) => diagnosis.failure("configuration", &failure),
    }
    home.output.print(&diagnosis, describe)?;
    Ok(if diagnosis.status == Status::Fail { Exit::Runtime } else { Exit::Ok })
}

fn look(home: &Home<'_>, config: &Config, diagnosis: &mut Diagnosis) {
    let clock = machine::Steady::begin(home.edge.clock.as_ref());
    let doctor = Doctor { home, config, now: home.edge.clock.now() };
    doctor.configuration(diagnosis);
    doctor.disk(diagnosis);
    let keys = doctor.keys(diagnosis);
    let records = doctor.database(diagnosis);
    doctor.clock(records.as_ref(), diagnosis);
    match &records {
        Some(records) => doctor.opened(records, keys, diagnosis),
        None => {
            for check in ["keyring", "log", "build"] {
                diagnosis.skipped(check, "the database");
            }
        }
    }
    doctor.server(diagnosis);
    clock.end(home.edge.clock.as_ref(), diagnosis);
}

impl Doctor<'_> {
    /// What can be looked at in a log that can be read.
    fn opened(&self, records: &Records, keys: keys::Opened, diagnosis: &mut Diagnosis) {
        match self.keyring(records) {
            Ok(keyring) => {
                self.standing(records, &keyring, &keys, diagnosis);
                self.checkpoint(records, &keyring, diagnosis);
                self.build(records, &keyring, diagnosis);
            }
            Err(failure) => {
                diagnosis.failure("keyring", &failure);
                diagnosis.skipped("log", "the keyring");
                diagnosis.skipped("build", "the keyring");
            }
        }
        self.api_keys(records, diagnosis);
        if let Some(vault) = &keys.vault {
            match records.check_vault(vault) {
                Ok(()) => diagnosis.ok("vault", "`vault.key` opens the tenant's keys in the database"),
                Err(error) => diagnosis.failure("vault", &Failure::of(&error)),
            }
        }
    }

    /// The keyring of the log, which has to lead to `root.pub`.
    fn keyring(&self, records: &Records) -> Result<Keyring, Failure> {
        Ok(records.keyring(&read_root(home_of(self.config).root_pub())?)?)
    }

    fn configuration(&self, diagnosis: &mut Diagnosis) {
        let Config { tenant, tenants, listen, operator_listen, .. } = self.config;
        let file = self.home.config.display();
        diagnosis.ok(
            "configuration",
            format!("`{file}`: tenant `{tenant}`, API on {listen}, operator's port on {operator_listen}"),
        );
        if !tenants.is_empty() {
            let what = format!("{} further tenants are served with it", tenants.len());
            diagnosis.ok("configuration", format!("{what}: `chancery --config FILE doctor` looks at each"));
        }
        if !operator_listen.ip().is_loopback() {
            diagnosis.warn(
                "configuration",
                format!("the operator's port {operator_listen} can be reached from other machines, and asks nobody who they are"),
                "let only the monitoring reach it, by a firewall or a network of its own, or set `operator_listen` to a \
                 loopback address",
            );
        }
    }

    /// What a running server says of itself, if there is one.
    fn server(&self, diagnosis: &mut Diagnosis) {
        let address = self.config.operator_listen;
        // Chosen by the system at each start, so nobody knows where it is.
        if address.port() == 0 {
            return;
        }
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(5)))
            .proxy(None)
            .build()
            .into();
        let answer = agent.get(format!("http://{address}/readyz")).call();
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(ureq::Error::Timeout(_)) => {
                let fix = "look at the server's log; docs/runbook.md has what its lines mean";
                return diagnosis.fail(
                    "server",
                    format!("{address} takes connections and does not answer"),
                    fix,
                );
            }
            Err(_) => return diagnosis.ok("server", format!("none answers at {address}")),
        };
        match answer.body_mut().read_json::<Readiness>() {
            Ok(readiness) => readiness.tell(address, diagnosis),
            Err(_) => diagnosis.warn(
                "server",
                format!("what answers at {address} is no Chancery server"),
                "stop it, or choose another address with `operator_listen`",
            ),
        }
    }
}

/// The answer of `/readyz`.
#[derive(Debug, serde::Deserialize)]
struct Readiness {
    status: String,
    checks: Vec<ReadinessCheck>,
}

#[derive(Debug, serde::Deserialize)]
struct ReadinessCheck {
    tenant: Option<String>,
    name: String,
    ok: bool,
    detail: Option<String>,
}

impl Readiness {
    fn tell(&self, address: std::net::SocketAddr, diagnosis: &mut Diagnosis) {
        let bad: Vec<String> = self
            .checks
            .iter()
            .filter(|check| !check.ok)
            .map(|check| {
                let tenant = check.tenant.as_ref().map(|tenant| format!("{tenant}, ")).unwrap_or_default();
                format!("{tenant}{}: {}", check.name, check.detail.as_deref().unwrap_or("no reason given"))
            })
            .collect();
        if bad.is_empty() {
            return diagnosis.ok("server", format!("the one at {address} is {}", self.status));
        }
        diagnosis.fail(
            "server",
            format!("the one at {address} is {}: {}", self.status, bad.join("; ")),
            "mend what the lines above name; the server goes on by itself, or after a start where a key or the build was \
             changed",
        );
    }
}

/// A line for each check, and its fix below it.
fn describe(diagnosis: &Diagnosis) -> String {
    let width = diagnosis.checks.iter().map(|line| line.check.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for Line { check, status, what, fix } in &diagnosis.checks {
        let what = foreign_lines(what).replace('\n', "\n        ");
        text.push_str(&format!("{:<4}  {check:<width$}  {what}\n", status.word()));
        if let Some(fix) = fix {
            text.push_str(&format!("      {:<width$}  → {}\n", "", foreign(fix)));
        }
    }
    let (warnings, failures) = (diagnosis.count(Status::Warn), diagnosis.count(Status::Fail));
    text.push_str(&match (warnings, failures) {
        (0, 0) => "all is well".to_owned(),
        _ => format!("{failures} to mend, {warnings} to look at"),
    });
    text
}

/// Whole days from `now` until `until`; negative when that is past.
fn days_until(now: Timestamp, until: Timestamp) -> i64 {
    until.saturating_diff_ms(now).div_euclid(DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnosis() -> Diagnosis {
        let mut diagnosis = Diagnosis::new();
        diagnosis.ok("clock", "right");
        diagnosis.warn("disk", "small", "free some");
        diagnosis
    }

    #[test]
    fn the_worst_line_is_the_status() {
        let mut diagnosis = diagnosis();
        assert_eq!(diagnosis.status, Status::Warn);
        diagnosis.fail("keys", "gone", "restore them");
        diagnosis.ok("log", "whole");
        assert_eq!(diagnosis.status, Status::Fail);
        assert_eq!((diagnosis.count(Status::Warn), diagnosis.count(Status::Fail)), (1, 1));
    }

    #[test]
    fn every_fix_stands_below_its_line() {
        let text = describe(&diagnosis());
        assert_eq!(
            text,
            "ok    clock  right\nwarn  disk   small\n             → free some\n0 to mend, 1 to look at"
        );
    }

    #[test]
    fn a_server_that_is_not_ready_says_why() {
        let json = r#"{"status":"not ready","checks":[{"name":"store","ok":true},{"name":"disk","ok":false,"detail":"full"}]}"#;
        let mut diagnosis = Diagnosis::new();
        serde_json::from_str::<Readiness>(json).unwrap().tell("127.0.0.1:1".parse().unwrap(), &mut diagnosis);
        assert_eq!(diagnosis.status, Status::Fail);
        assert!(diagnosis.checks[0].what.contains("disk: full"), "{diagnosis:?}");
    }

    #[test]
    fn days_are_whole_and_the_past_is_negative() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-11-21T12:00:00.000000Z");
        for (until, days) in [
            ("2026-11-22T12:00:00.000000Z", 1),
            ("2026-11-22T11:59:59.999000Z", 0),
            ("2026-11-21T11:59:59.000000Z", -1),
        ] {
            assert_eq!(days_until(now, at(until)), days, "{until}");
        }
    }
}
