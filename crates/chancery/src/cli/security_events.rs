//! `chancery security-events`: what was refused at the door of the HTTP API.

use chancery_core::time::Timestamp;
use chancery_runtime::credentials::{EventKind, ListedEvent, SecurityEventFilter, SecurityEventList};

use super::open::Home;
use super::remote::Query;
use super::{Exit, Failure};
use crate::instant::parse_instant;

/// Filters of `security-events`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Of this sort: credential, tenant, role, signature or dropped.
    #[arg(long, value_parser = parse_kind)]
    kind: Option<EventKind>,
    /// At this time or later (RFC 3339, or a date).
    #[arg(long, value_parser = parse_instant)]
    from: Option<Timestamp>,
    /// Before this time.
    #[arg(long, value_parser = parse_instant)]
    to: Option<Timestamp>,
    /// How many at the most (1 to 1,000).
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    /// Where the last page ended, as it said.
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

fn parse_kind(text: &str) -> Result<EventKind, String> {
    EventKind::from_name(text)
        .ok_or_else(|| "a kind is credential, tenant, role, signature or dropped".to_owned())
}

pub(super) fn run(arguments: Arguments, home: &Home<'_>) -> Result<Exit, Failure> {
    let Arguments { kind, from, to, limit, after } = arguments;
    let page: SecurityEventList = match &home.server {
        Some(server) => {
            let query: Query = [
                ("kind", kind.map(|kind| kind.as_str().to_owned())),
                ("from", from.map(|time| time.to_string())),
                ("to", to.map(|time| time.to_string())),
                ("limit", Some(limit.to_string())),
                ("after", after),
            ]
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect();
            server.get_json("/v1/security-events", &query)?
        }
        None => {
            let filter = SecurityEventFilter { kind, from, to };
            home.records()?.security_events(&filter, after.as_deref(), limit)?
        }
    };
    let columns = ["last at", "count", "kind", "code", "route", "principal", "key", "address"];
    home.output.print_list(&page.items, &columns, |item: &ListedEvent| {
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
    if let Some(next) = page.next {
        home.output.say(&format!("more: --after {next}"));
    }
    Ok(Exit::Ok)
}
