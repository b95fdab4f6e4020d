//! `chancery security-events`: what was refused at the door of the HTTP API.

use chancery_core::time::Timestamp;
use chancery_runtime::credentials::{
    EventKind, ListedEvent, SecurityEventFilter, SecurityEventList, forget_security_events,
};

use serde::Serialize;

use super::open::Home;
use super::page::Page;
use super::{Exit, Failure};
use crate::instant::parse_instant;

/// Filters of `security-events`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Of this sort: credential, tenant, role, signature or dropped.
    #[arg(long, value_parser = parse_kind)]
    kind: Option<EventKind>,
    #[command(flatten)]
    page: Page,
    /// Take away what was written before this time, at least 90 days ago, instead of listing. Not with `--server`.
    #[arg(long, value_name = "TIME", value_parser = parse_instant,
          conflicts_with_all = ["kind", "from", "to", "limit", "after"])]
    forget_before: Option<Timestamp>,
}

/// How many events were taken away.
#[derive(Debug, Serialize)]
struct Forgotten {
    forgotten: u64,
}

fn parse_kind(text: &str) -> Result<EventKind, String> {
    EventKind::from_name(text)
        .ok_or_else(|| "a kind is credential, tenant, role, signature or dropped".to_owned())
}

pub(super) fn run(arguments: Arguments, home: &Home<'_>) -> Result<Exit, Failure> {
    let Arguments { kind, page, forget_before } = arguments;
    if let Some(before) = forget_before {
        return forget(before, home);
    }
    let found: SecurityEventList = match &home.server {
        Some(server) => {
            let query = page.query([("kind", kind.map(|kind| kind.as_str().to_owned()))]);
            server.get_json("/v1/security-events", &query)?
        }
        None => {
            let filter = SecurityEventFilter { kind, from: page.from, to: page.to };
            home.records()?.security_events(&filter, page.after.as_deref(), page.limit)?
        }
    };
    let columns = ["last at", "count", "kind", "code", "route", "principal", "key", "address"];
    home.output.print_list(&found.items, &columns, |item: &ListedEvent| {
        let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            item.last_at.to_string(),
            item.count.to_string(),
            item.kind.clone(),
            item.code.clone(),
            item.route.clone(),
            shown(&item.principal),
            shown(&item.key_id),
            shown(&item.address),
        ]
    })?;
    if let Some(next) = found.next {
        home.output.say(&format!("more: --after {next}"));
    }
    Ok(Exit::Ok)
}

/// Works beside a running server.
fn forget(before: Timestamp, home: &Home<'_>) -> Result<Exit, Failure> {
    home.refuse_server()?;
    let config = home.configuration(&[])?.config;
    let forgotten =
        forget_security_events(&config.database, &config.tenant, home.edge.clock.clone(), before)?;
    home.output.print(&Forgotten { forgotten }, |done| {
        format!("{} rows that were written before {before} are gone", done.forgotten)
    })?;
    Ok(Exit::Ok)
}
