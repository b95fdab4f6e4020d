//! Bodies of answers that a thread writes while they are sent.
//!
//! ```text
//! thread: produce(&mut Sink) ─► pieces (a few at a time) ─► body
//!         Ok(())  ──────────────► end                        the chunked body is ended
//!         Err, or a panic ──────► nothing                    the connection is cut
//! ```
//! A failure before the first piece is an ordinary problem document. After that the status has been sent, and the
//! only honest thing is to break off: half a file must not look like a whole one.

use std::io::{self, Write};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chancery_runtime::Runtime;
use futures::stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::access::Tenant;
use super::error::Problem;
use super::metrics::UnderWay;

/// Bytes that are collected before they are sent.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces in memory while the client does not take them.
const PIECES_MAX: usize = 16;

/// A part of the body.
enum Piece {
    Bytes(Bytes),
    End,
    Failed(Problem),
}

/// Where the thread writes.
pub(super) struct Sink {
    pieces: mpsc::Sender<Piece>,
    buffer: Vec<u8>,
    asynchronous: Handle,
    silence_max: Duration,
    gone: bool,
}

impl Sink {
    /// Whether a write failed because nobody listens any more.
    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    fn send(&mut self, piece: Piece) -> io::Result<()> {
        let piece = match self.pieces.try_send(piece) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => {
                self.gone = true;
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Err(TrySendError::Full(piece)) => piece,
        };
        let sent = async { tokio::time::timeout(self.silence_max, self.pieces.send(piece)).await };
        let kind = match self.asynchronous.block_on(sent) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(_)) => io::ErrorKind::BrokenPipe,
            Err(_) => io::ErrorKind::TimedOut,
        };
        self.gone = true;
        Err(kind.into())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.buffer);
        self.send(Piece::Bytes(bytes.into()))
    }
}

/// What an answer is sent as.
pub(super) struct Form {
    /// For the metrics.
    pub(super) kind: &'static str,
    /// `Content-Type`.
    pub(super) content_type: &'static str,
    /// The name of the file, where it is one.
    pub(super) file_name: Option<String>,
}

/// Answers with what `produce` writes, on a thread of its own: 200, once the first bytes are there.
///
/// `produce` ends when it fails to write: the client has gone, or has not taken anything for too long.
pub(super) async fn answer<F>(tenant: &Tenant, form: Form, produce: F) -> Result<Response, Problem>
where
    F: FnOnce(&Runtime, &mut Sink) -> Result<(), Problem> + Send + 'static,
{
    let mut pieces = start(tenant, form.kind, produce)?;
    // Whatever is wrong is mostly found before the first piece is full.
    match pieces.recv().await {
        Some(Piece::Failed(problem)) => Err(problem),
        Some(first) => Ok(respond(form, Some(first), pieces)),
        None => Err(Problem::internal()),
    }
}

/// [`answer`], but the 200 is sent at once, for answers that begin before the request has ended.
pub(super) fn begin<F>(tenant: &Tenant, form: Form, produce: F) -> Result<Response, Problem>
where
    F: FnOnce(&Runtime, &mut Sink) -> Result<(), Problem> + Send + 'static,
{
    let pieces = start(tenant, form.kind, produce)?;
    Ok(respond(form, None, pieces))
}

fn start<F>(tenant: &Tenant, kind: &'static str, produce: F) -> Result<mpsc::Receiver<Piece>, Problem>
where
    F: FnOnce(&Runtime, &mut Sink) -> Result<(), Problem> + Send + 'static,
{
    let permit = tenant.stream_permit()?;
    let (pieces, receiver) = mpsc::channel(PIECES_MAX);
    let mut sink = Sink {
        pieces,
        buffer: Vec::new(),
        asynchronous: Handle::current(),
        silence_max: tenant.request_timeout(),
        gone: false,
    };
    let runtime = tenant.runtime().clone();
    let under_way = UnderWay::stream(kind);
    tokio::task::spawn_blocking(move || {
        let last = match produce(&runtime, &mut sink) {
            Ok(()) => sink.flush().map(|()| Piece::End),
            Err(problem) => Ok(Piece::Failed(problem)),
        };
        if let Ok(last) = last {
            // When nobody listens any more, nobody is left to be told.
            let _ = sink.send(last);
        }
        drop((under_way, permit));
    });
    Ok(receiver)
}

fn respond(form: Form, first: Option<Piece>, pieces: mpsc::Receiver<Piece>) -> Response {
    let body = Body::from_stream(stream::unfold(Some((first, pieces)), next));
    let mut response = (StatusCode::OK, [(header::CONTENT_TYPE, form.content_type)], body).into_response();
    if let Some(name) = form.file_name
        && let Ok(value) = HeaderValue::try_from(format!("attachment; filename=\"{name}\""))
    {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

/// What is taken from the channel already, and the channel.
type Rest = (Option<Piece>, mpsc::Receiver<Piece>);

/// The next bytes of the body; pieces that are there already go out together.
async fn next(rest: Option<Rest>) -> Option<(io::Result<Bytes>, Option<Rest>)> {
    let (held, mut receiver) = rest?;
    let piece = match held {
        Some(piece) => piece,
        // A producer that panicked has sent no end, and that is a failure as well.
        None => receiver.recv().await.unwrap_or_else(|| Piece::Failed(Problem::internal())),
    };
    match piece {
        Piece::End => None,
        Piece::Failed(problem) => {
            tracing::warn!(code = problem.code(), "an answer was broken off");
            Some((Err(io::Error::other(problem.code())), None))
        }
        Piece::Bytes(bytes) => {
            let (bytes, held) = together(bytes, &mut receiver);
            Some((Ok(bytes), Some((held, receiver))))
        }
    }
}

/// Adds what is there already, up to a size, and gives back what cannot be added.
fn together(first: Bytes, receiver: &mut mpsc::Receiver<Piece>) -> (Bytes, Option<Piece>) {
    let mut held = None;
    let mut all = Vec::new();
    while held.is_none() && first.len() + all.len() < PIECE_BYTES {
        match receiver.try_recv() {
            Ok(Piece::Bytes(more)) => all.extend_from_slice(&more),
            Ok(other) => held = Some(other),
            Err(_) => break,
        }
    }
    if all.is_empty() {
        return (first, held);
    }
    (Bytes::from([first.as_ref(), all.as_slice()].concat()), held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt as _;

    async fn body(pieces: Vec<Piece>) -> Vec<Result<Vec<u8>, String>> {
        let (sender, receiver) = mpsc::channel(16);
        for piece in pieces {
            sender.send(piece).await.unwrap();
        }
        drop(sender);
        stream::unfold(Some((None, receiver)), next)
            .map(|item| item.map(|bytes| bytes.to_vec()).map_err(|error| error.to_string()))
            .collect()
            .await
    }

    fn bytes(text: &'static str) -> Piece {
        Piece::Bytes(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn only_an_end_that_was_sent_ends_a_body() {
        assert_eq!(body(vec![bytes("a"), bytes("b"), Piece::End]).await, [Ok(b"ab".to_vec())]);
        assert_eq!(body(vec![Piece::End]).await, []);
        let failed = body(vec![bytes("a"), Piece::Failed(Problem::not_found("x.y", "z"))]).await;
        assert_eq!(failed, [Ok(b"a".to_vec()), Err("x.y".to_owned())]);
        let panicked = body(vec![bytes("a")]).await;
        assert_eq!(panicked, [Ok(b"a".to_vec()), Err("runtime.internal".to_owned())]);
    }
}
