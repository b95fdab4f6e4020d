//! `POST /v1/decisions:batch`: NDJSON in, NDJSON out, line for line, in bounded memory, whatever the length.
//!
//! ```text
//! body ─► a few frames ─► lines ─► runtime::batch ─► answers ─► a few pieces ─► body
//! ```
//! Nothing is read ahead of what the client takes, and nothing waits for a line that has not come: a client may send
//! a line, read its answer, and send the next one.

use std::io::{self, Write};

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use chancery_core::ids::TenantId;
use chancery_core::time::Timestamp;
use chancery_runtime::Answer;
use chancery_runtime::batch::{BatchError, BatchLine};
use serde::Serialize;

use super::access::{Identity, Tenant};
use super::body::{self, BodyReader, REQUEST_BYTES_MAX};
use super::drain::{Drain, Stopping};
use super::error::Problem;
use super::parameters::Query;
use super::stream::{self, Form};
use super::{metrics, schema};
use crate::lines::Lines;

/// After how long the credential of a batch is looked at again, in ms.
const LOOK_MS: i64 = 1_000;

/// Decide a line at a time.
///
/// Each line is a request as for `POST /v1/decisions`, at most 256 KiB; each line of the answer is that request's
/// answer, or a problem document with the number of its `line`. An empty line is a bad line. A line that is refused
/// takes no other line with it. When the input breaks off, a last problem says so; and so does a server that stops before
/// the end of the input (`server.stopping`): send the lines after the answered ones again, elsewhere. A credential that is
/// revoked or expires meanwhile ends the batch as well (`auth.revoked`, `auth.expired`).
/// With `mark_replayed=true` an answer that was given before has `"replayed": true` besides.
#[utoipa::path(
    post, path = "/v1/decisions:batch", operation_id = "decideBatch", tag = "decisions",
    request_body(content = schema::ExecutionRequest, content_type = "application/x-ndjson"),
    params(("mark_replayed" = Option<bool>, Query, description = "Whether repeats are marked; `false` where nothing is said")),
    responses(
        (status = 200, description = "One line for each line", content_type = "application/x-ndjson", body = schema::BatchLine),
    )
)]
pub(super) async fn batch(
    tenant: Tenant,
    identity: Identity,
    mut query: Query,
    request: Request,
) -> Result<Response, Problem> {
    let mark: bool = query.parsed("mark_replayed", "`true` or `false`").unwrap_or_default();
    query.finish()?;
    body::check_type(request.headers(), body::NDJSON)?;
    let drain = request.extensions().get::<Drain>().cloned().unwrap_or_default();
    let reader = BodyReader::until_cut(request.into_body(), tenant.request_timeout(), drain);
    let form = Form { kind: "batch", content_type: "application/x-ndjson", file_name: None };
    let (name, counting) = (tenant.name().clone(), tenant.clone());
    let mut credential = Watched { identity: identity.clone(), looked: tenant.now() };
    let lines = Lines::new(reader, REQUEST_BYTES_MAX).map(move |line| -> io::Result<Vec<u8>> {
        let line = line?;
        credential.look(counting.now())?;
        counting.take_decision().map_err(|_| io::ErrorKind::QuotaExceeded)?;
        Ok(line)
    });
    stream::begin(&tenant, form, move |runtime, sink| {
        let answers = runtime.batch(&identity.caller, lines).map_err(|error| {
            tracing::error!(%error, "no thread for a batch: raise the limit of processes, or lower that of connections");
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "server.busy",
                "the server has no room for a batch; retry",
            )
            .retry_after(5)
        })?;
        for answer in answers {
            // A client that has gone takes no more answers; what was under way is recorded all the same.
            if write(&name, sink, answer, mark).and_then(|()| sink.flush()).is_err() {
                break;
            }
        }
        Ok(())
    })
}

/// The credential of a batch, which may go on for longer than that is good.
struct Watched {
    identity: Identity,
    looked: Timestamp,
}

impl Watched {
    /// Looks at it again, at most once a second.
    fn look(&mut self, now: Timestamp) -> io::Result<()> {
        if now.saturating_diff_ms(self.looked).abs() < LOOK_MS {
            return Ok(());
        }
        self.looked = now;
        self.identity.check_again(now).map_err(|problem| io::Error::other(Lost(problem)))
    }
}

/// The credential is not good any more.
#[derive(Debug, thiserror::Error)]
#[error("the credential is not good any more")]
struct Lost(Problem);

fn write(
    tenant: &TenantId,
    out: &mut impl Write,
    BatchLine { line, result }: BatchLine,
    mark: bool,
) -> io::Result<()> {
    let written = match result {
        Ok(answer) => {
            metrics::batch_line(if answer.replayed { "replayed" } else { "decided" });
            metrics::decided(tenant, &answer);
            if mark && answer.replayed {
                serde_json::to_writer(&mut *out, &Replayed { replayed: true, answer })
            } else {
                serde_json::to_writer(&mut *out, &answer)
            }
        }
        Err(error) => {
            metrics::batch_line("refused");
            let problem = problem(error);
            metrics::problem(problem.code());
            serde_json::to_writer(&mut *out, &problem.on_line(line))
        }
    };
    written.map_err(io::Error::from)?;
    out.write_all(b"\n")
}

/// An answer that was given before, where the client wants to know.
#[derive(Serialize)]
struct Replayed {
    replayed: bool,
    #[serde(flatten)]
    answer: Answer,
}

fn problem(error: BatchError) -> Problem {
    match error {
        BatchError::Execute(error) => error.into(),
        BatchError::Input(error) => error.downcast::<Lost>().map_or_else(input_problem, |lost| lost.0),
    }
}

fn input_problem(error: io::Error) -> Problem {
    match error {
        error if error.kind() == io::ErrorKind::TimedOut => Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "request.timeout",
            "nothing came for too long; the lines before this one are answered",
        ),
        error if error.get_ref().is_some_and(|why| why.is::<Stopping>()) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "server.stopping",
            "the server is stopping; the lines before this one are answered, send the others again",
        ),
        error if error.kind() == io::ErrorKind::QuotaExceeded => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "limit.decisions",
            "the tenant has had as many decisions today as it may; the lines before this one are answered",
        ),
        _ => Problem::new(
            StatusCode::BAD_REQUEST,
            "request.body",
            "the input broke off; the lines before this one are answered",
        ),
    }
}
