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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, Bytes};
    use axum::routing::get;
    use futures::StreamExt as _;
    use std::io;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    const LIMITS: Limits = Limits {
        header_timeout: Duration::from_millis(300),
        drain_timeout: Duration::from_secs(10),
        connections_max: 2,
    };

    /// A server on a free port, and how to stop it.
    async fn start(
        router: Router,
    ) -> (std::net::SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(serve(listener, router, LIMITS, async {
            let _ = stopped.await;
        }));
        (address, stop, served)
    }

    /// Sends text and reads until the server closes.
    async fn exchange(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A connection that is cut may also be reset; what came before counts.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    const CLOSE: &str = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

    #[tokio::test]
    async fn headers_that_do_not_come_end_the_connection() {
        let (address, _stop, _) = start(Router::new().route("/", get(|| async { "here" }))).await;
        assert!(exchange(address, CLOSE).await.ends_with("here"));
        let slow = exchange(address, "GET / HTTP/1.1\r\nhost: loc").await;
        assert!(!slow.contains("200"), "{slow}");
    }

    #[tokio::test]
    async fn a_head_beyond_its_limit_is_refused() {
        let (address, _stop, _) = start(Router::new().route("/", get(|| async { "here" }))).await;
        let long =
            format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "y".repeat(2 * HEAD_BYTES_MAX));
        let answer = exchange(address, &long).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    #[tokio::test]
    async fn a_body_that_fails_in_the_middle_has_no_end() {
        let body = || async {
            let pieces = [Ok(Bytes::from_static(b"half")), Err(io::Error::other("broken"))];
            Body::from_stream(futures::stream::iter(pieces).then(|piece| async {
                // What was there before goes out first.
                tokio::time::sleep(Duration::from_millis(20)).await;
                piece
            }))
        };
        let (address, _stop, _) = start(Router::new().route("/", get(body))).await;
        let answer = exchange(address, CLOSE).await;
        assert!(answer.starts_with("HTTP/1.1 200") && !answer.ends_with("0\r\n\r\n"), "{answer}");
    }

    #[tokio::test]
    async fn what_is_under_way_is_finished_before_the_server_ends() {
        let (begun, mut begins) = tokio::sync::mpsc::channel(1);
        let slow = move || async move {
            begun.send(()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
            "done"
        };
        let (address, stop, served) = start(Router::new().route("/", get(slow))).await;
        let client = tokio::spawn(async move { exchange(address, CLOSE).await });
        begins.recv().await.unwrap();
        stop.send(()).unwrap();
        served.await.unwrap();
        assert!(client.await.unwrap().ends_with("done"));
        assert!(TcpStream::connect(address).await.is_err(), "nothing listens any more");
    }
}
