//! `GET /v1/security-events`: what was refused at the door, as far as it is written.

use axum::http::StatusCode;
use axum::response::Response;
use chancery_runtime::credentials::{EVENTS_PAGE_MAX, EventKind, SecurityEventFilter};

use super::access::Tenant;
use super::decisions::json as answer;
use super::error::Problem;
use super::list::LIMIT;
use super::parameters::Query;
use super::schema;

/// List refused requests, the newest first.
///
/// A row is for all that was alike within a minute: kind, code, route and caller. What happened in the last second may
/// not be there yet.
#[utoipa::path(
    get, path = "/v1/security-events", operation_id = "listSecurityEvents", tag = "trust",
    params(
        ("kind" = Option<String>, Query, description = "`credential`, `tenant`, `role`, `signature` or `dropped`"),
        ("from" = Option<String>, Query, description = "Then or later: RFC 3339, or a day"),
        ("to" = Option<String>, Query, description = "Before then"),
        ("limit" = Option<u32>, Query, description = "How many, at most 1,000 (default 100)"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = schema::SecurityEventList),
        (status = 400, description = "- `list.cursor`: `after` is not the `next` of this list", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(tenant: Tenant, mut query: Query) -> Result<Response, Problem> {
    let filter =
        SecurityEventFilter { kind: kind(&mut query), from: query.instant("from"), to: query.instant("to") };
    let limit = query.parsed::<u32>("limit", "a number from 1 to 1000").unwrap_or(LIMIT);
    if !(1..=EVENTS_PAGE_MAX).contains(&limit) {
        query.fault("limit", "a number from 1 to 1000", limit.to_string());
    }
    let after = query.text("after");
    query.finish()?;
    let page = tenant.read(move |records| records.security_events(&filter, after.as_deref(), limit)).await?;
    answer(StatusCode::OK, &page)
}

fn kind(query: &mut Query) -> Option<EventKind> {
    let kind = EventKind::from_name(&query.text("kind")?);
    if kind.is_none() {
        let expected = "`credential`, `tenant`, `role`, `signature` or `dropped`";
        query.fault("kind", expected, "something else".to_owned());
    }
    kind
}
