//! Accepting connections: header time-outs, a limit on how many at once, and a graceful end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Bytes of a request's head that are buffered before it is refused.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Requests at the same time on one HTTP/2 connection.
const HTTP2_STREAMS_MAX: u32 = 256;

/// How connections are kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest time for a request's headers.
    pub header_timeout: Duration,
    /// How long a stopping server waits for what is under way.
    pub drain_timeout: Duration,
    /// Connections at the same time; further ones wait in the listener's queue.
    pub connections_max: u32,
}

/// Serves `router` on `listener` until `stop` is ready, then lets requests under way finish.
///
/// Idle connections are closed at once when it stops; busy ones after their answer, or when the drain time is over.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: impl Future<Output = ()>) {
    let builder = connection_builder(limits);
    let permits = Arc::new(Semaphore::new(usize::try_from(limits.connections_max).unwrap_or(usize::MAX)));
    let graceful = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        let Some((stream, permit)) = accepted else { continue };
        // Small answers must not wait for the peer's acknowledgement; a socket without it still works.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(%error, "connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    let under_way = graceful.count();
    if tokio::time::timeout(limits.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!(under_way, "the drain time is over; connections are cut");
    }
}

/// Waits for a free place, then for a connection. `None` after an error of the listener, slowed down.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            // Mostly "too many open files": trying again at once would only burn the processor.
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

fn connection_builder(limits: Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // Without a timer hyper ignores its header time-out without a word.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.header_timeout)
        .keep_alive_timeout(limits.header_timeout)
        .max_concurrent_streams(HTTP2_STREAMS_MAX);
    builder
}
