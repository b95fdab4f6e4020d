//! Which page is wanted of a list whose rows have a time.

use chancery_core::time::Timestamp;

use super::remote::Query;
use crate::instant::parse_instant;

/// Filters and limits that such lists share.
#[derive(Debug, clap::Args)]
pub(super) struct Page {
    /// At this time or later (RFC 3339, or a date).
    #[arg(long, value_parser = parse_instant)]
    pub(super) from: Option<Timestamp>,
    /// Before this time.
    #[arg(long, value_parser = parse_instant)]
    pub(super) to: Option<Timestamp>,
    /// How many at the most (1 to 1,000).
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) limit: u32,
    /// Where the last page ended, as it said.
    #[arg(long, value_name = "CURSOR")]
    pub(super) after: Option<String>,
}

impl Page {
    /// What a server is asked for: this page, and what was given of the list's own `filters`.
    pub(super) fn query<const N: usize>(&self, filters: [(&str, Option<String>); N]) -> Query {
        let page = [
            ("from", self.from.map(|time| time.to_string())),
            ("to", self.to.map(|time| time.to_string())),
            ("limit", Some(self.limit.to_string())),
            ("after", self.after.clone()),
        ];
        let all = filters.into_iter().chain(page);
        all.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}
