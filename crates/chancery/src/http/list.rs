//! `GET /v1/decisions` and `:stats`: finding decisions, and counting them.

use axum::http::StatusCode;
use axum::response::Response;
use chancery_core::statement::ExecutionState;
use chancery_runtime::records::{ConfirmationState, DecisionFilter, Order, Stats};
use serde::Serialize;

use super::access::{Identity, Tenant};
use super::decisions::json;
use super::error::Problem;
use super::latency::Percentiles;
use super::parameters::Query;
use super::schema;

/// Decisions of a page when nothing is said.
pub(super) const LIMIT: u32 = 100;
/// The most decisions of a page.
pub(super) const LIMIT_MAX: u32 = 1_000;

/// The filter that the parameters of a query say.
pub(super) fn filter(query: &mut Query) -> DecisionFilter {
    DecisionFilter {
        policy: query.parsed("policy", "a policy id"),
        version: query.parsed("version", "a version such as `1.0.0`"),
        outcome: query.text("outcome"),
        state: state(query),
        from: query.instant("from"),
        to: query.instant("to"),
        principal: query.parsed("principal", "an entity such as `System::\"claims-core\"`"),
        fingerprint: query.parsed("fingerprint", "64 lowercase hex digits"),
        labels: query.prefixed("label."),
        confirmation: confirmation(query),
        effective_before: query.instant("effective_before"),
        ..DecisionFilter::default()
    }
}

fn confirmation(query: &mut Query) -> Option<ConfirmationState> {
    match query.text("confirmation").as_deref() {
        None => None,
        Some("none") => Some(ConfirmationState::Missing),
        Some("done") => Some(ConfirmationState::Given),
        Some(_) => {
            query.fault("confirmation", "`none` or `done`", "something else".to_owned());
            None
        }
    }
}

fn state(query: &mut Query) -> Option<ExecutionState> {
    let text = query.text("state")?;
    let all = [ExecutionState::Completed, ExecutionState::PendingOverride, ExecutionState::Blocked];
    let state = all.into_iter().find(|state| state.as_str() == text);
    if state.is_none() {
        query.fault("state", "`completed`, `pending_override` or `blocked`", "something else".to_owned());
    }
    state
}

/// List decisions, the newest first.
///
/// `state` and `outcome`: the state as it is now, the outcome as it was decided. `next` of an answer is `after` of
/// the next request; what is recorded meanwhile does not shift pages.
#[utoipa::path(
    get, path = "/v1/decisions", operation_id = "listDecisions", tag = "decisions",
    params(schema::Filter, schema::Paging),
    responses(
        (status = 200, description = "A page", body = schema::DecisionList),
    )
)]
pub(super) async fn list(tenant: Tenant, _: Identity, mut query: Query) -> Result<Response, Problem> {
    let filter = filter(&mut query);
    let limit = query.parsed::<u32>("limit", "a number from 1 to 1000").unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        query.fault("limit", "a number from 1 to 1000", limit.to_string());
    }
    let order = match query.text("order").as_deref() {
        None | Some("newest") => Order::NewestFirst,
        Some("oldest") => Order::OldestFirst,
        Some(_) => {
            query.fault("order", "`newest` or `oldest`", "something else".to_owned());
            Order::default()
        }
    };
    let after = query.text("after");
    query.finish()?;
    let page = tenant.read(move |records| records.list(&filter, order, after.as_deref(), limit)).await?;
    json(StatusCode::OK, &page)
}

/// Counts, and how long decisions took since the server began.
#[derive(Debug, Serialize)]
struct Counted {
    total: u64,
    rows: Vec<CountedRow>,
    latency: Percentiles,
}

#[derive(Debug, Serialize)]
struct CountedRow {
    policy: String,
    outcome: String,
    state: ExecutionState,
    day: String,
    count: u64,
}

/// Count decisions by policy, outcome, state and day.
///
/// `latency` is of single decisions by this process since it began; batches are not among them.
#[utoipa::path(
    get, path = "/v1/decisions:stats", operation_id = "countDecisions", tag = "decisions",
    params(schema::Filter),
    responses(
        (status = 200, description = "The counts", body = schema::Stats),
    )
)]
pub(super) async fn stats(tenant: Tenant, _: Identity, mut query: Query) -> Result<Response, Problem> {
    let filter = filter(&mut query);
    query.finish()?;
    let stats: Stats = tenant.read(move |records| records.stats(&filter)).await?;
    let total = stats.total();
    let rows = stats.rows.into_iter().map(|row| CountedRow {
        policy: row.policy_id.to_string(),
        outcome: row.outcome,
        state: row.state,
        day: row.day,
        count: row.count,
    });
    json(StatusCode::OK, &Counted { total, rows: rows.collect(), latency: tenant.latency().percentiles() })
}
