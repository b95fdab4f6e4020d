//! The routers, and what every request goes through on its way to a handler and back.
//!
//! From the outside in: request id, log line and metrics; headers that every answer has; panics; who may; time-out. They
//! are calls, one inside of the other, in one middleware: each middleware copies the request, and is a future in a box.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State as Extract};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::FutureExt as _;
use tokio::time::Instant;

use super::error::{Problem, ProblemCode};
use super::metrics::{self, UnderWay};
use super::state::State;
use super::{access, health, openapi};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Records are for whoever asked, and for no cache on the way.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Nothing that the API gives out is a page.
const NO_CONTENT: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// The explorer is one: its own assets, and the style that its script sets.
const OWN_CONTENT: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
);

/// The API, with its documentation.
pub fn router(state: State) -> Router {
    let (routes, _) = openapi::api().split_for_parts();
    with_layers(routes.merge(openapi::explorer()), state)
}

/// Health and metrics, for a port that callers cannot reach.
pub fn operator_router(state: State) -> Router {
    let routes = Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics));
    with_operator_layers(routes, state)
}

/// The routes as they are on the API's port.
pub(super) fn with_layers(routes: Router, state: State) -> Router {
    // Handlers get no state: the log that they work with is in the request, where `authorise` has put it.
    let routes = routes
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(state, observe));
    #[cfg(feature = "otel")]
    let routes = routes.layer(middleware::from_fn(crate::traces::request));
    routes
}

/// The routes as they are on the operator's port.
pub(super) fn with_operator_layers(routes: Router<State>, state: State) -> Router {
    routes
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(state.clone(), operate))
        .with_state(state)
}

async fn not_found() -> Problem {
    Problem::not_found("route.unknown", "there is nothing at this path; `/docs` shows what there is")
}

async fn method_not_allowed() -> Problem {
    let detail = "this path is there for other methods; the `Allow` header names them";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "route.method", detail)
}

/// The panic's own words may hold what must not be in a log line or answer; its place is told by the program's hook.
fn panicked(_: Box<dyn Any + Send>) -> Response {
    tracing::error!(
        "a handler panicked, the line before says where; its caller is told that the request failed"
    );
    Problem::internal().into_response()
}

/// The operator's port, where nobody asks who may.
async fn operate(Extract(state): Extract<State>, request: Request, next: Next) -> Response {
    finished(false, in_time(&state, request, next)).await
}

/// Names the request, and tells log and metrics what became of it.
async fn observe(Extract(state): Extract<State>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let under_way = UnderWay::request();
    let id = state.request_id();
    // Callers' own ids are not taken over: they are free text, and log lines have none of that.
    request.headers_mut().remove(REQUEST_ID);
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let is_page = request.uri().path().starts_with("/docs");
    let mut response = finished(is_page, access::authorise(&state, request, next)).await;
    drop(under_way);
    let took = started.elapsed();
    // The template, never the path: parameters are callers' text.
    let route = matched.as_ref().map_or("none", MatchedPath::as_str);
    let status = response.status();
    metrics::answered(&method, route, status, took);
    let code = response.extensions().get::<ProblemCode>().map(|code| code.0);
    if let Some(code) = code {
        metrics::problem(code);
    }
    let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    tracing::info!(
        method = metrics::method_name(&method),
        route,
        status = status.as_u16(),
        code,
        took_us,
        request_id = %id,
        "request"
    );
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// An answer also where there was a panic, with the headers that every one has, unless its handler has set others.
async fn finished(is_page: bool, answer: impl Future<Output = Response>) -> Response {
    let mut response = AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(panicked);
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::CONTENT_SECURITY_POLICY, if is_page { OWN_CONTENT } else { NO_CONTENT });
    headers.entry(header::CACHE_CONTROL).or_insert(NO_STORE);
    response
}

/// Answers 503 when the answer has not begun in time. What was handed to the log is recorded nevertheless.
pub(super) async fn in_time(state: &State, request: Request, next: Next) -> Response {
    let limit = state.request_timeout();
    let writes = request.method() == Method::POST;
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => late(limit, writes).into_response(),
    }
}

/// The answer to a request that took too long; `writes` says whether it may have been recorded.
pub(super) fn late(limit: Duration, writes: bool) -> Problem {
    let detail = if writes {
        "no answer in time; it may have been recorded: repeat the same request to learn"
    } else {
        "no answer in time; retry"
    };
    tracing::warn!(
        limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        "a request was too slow: chancery_commit_seconds and chancery_writer_queue_entries show whether it is the database"
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "server.timeout", detail).retry_after(1)
}
