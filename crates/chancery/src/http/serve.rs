//! Accepting connections: time-outs, a limit on how many at once, and a graceful end.
//!
//! ```text
//! taken ─ (TLS) ─ idle ─► requests ─► idle ─► …          idle for `header_timeout`, or the server stops:
//!                                                          no further requests; idle for as long again: cut
//! ```
//! A connection is idle while no request of it is under way, whatever bytes come: neither silence, nor half a preface,
//! nor HTTP/2 without a stream holds a place.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Version, header};
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::drain::{Drain, Phase};
use crate::tls::ClientCertificate;

/// Bytes of a request's head that are buffered before it is refused.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Requests at the same time on one HTTP/2 connection.
const HTTP2_STREAMS_MAX: u32 = 256;

/// How long a connection that was just taken has to begin its request, once nothing listens any more.
const LINGER: Duration = Duration::from_millis(100);
/// How long the ends of what was cut may take.
const CUT_TIMEOUT: Duration = Duration::from_secs(5);

/// How connections are kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest time for a request's headers, and without any request on a connection.
    pub header_timeout: Duration,
    /// How long a stopping server waits for what is under way.
    pub drain_timeout: Duration,
    /// Connections at the same time; further ones wait in the listener's queue.
    pub connections_max: u32,
}

/// Where a connection comes from, and what was shown on it: put into each of its requests.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Whoever is at the other end: a proxy, where one stands before the server.
    pub address: SocketAddr,
    /// The certificate that was verified in the handshake.
    pub certificate: Option<Arc<ClientCertificate>>,
}

/// Serves `router` on `listener` until `stop` is ready, then lets requests under way finish.
///
/// From the time that `drain` says so every answer ends its connection. When it stops, connections that wait in the
/// listener's queue are still served; idle ones are closed, busy ones after their answer. When the drain time is over,
/// `drain` is told so, and what goes on all the same is cut off.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    drain: &Drain,
    stop: impl Future<Output = ()>,
) {
    let builder = connection_builder(limits);
    let permits = Arc::new(Semaphore::new(usize::try_from(limits.connections_max).unwrap_or(usize::MAX)));
    // Each connection has a receiver, for as long as it is there.
    let (stopping, _) = watch::channel(false);
    let take = |stream: TcpStream, permit| {
        // Small answers must not wait for the peer's acknowledgement; a socket without it still works.
        let _ = stream.set_nodelay(true);
        let Ok(address) = stream.peer_addr() else { return };
        let (router, drain, builder, tls) = (router.clone(), drain.clone(), builder.clone(), tls.clone());
        let mut stopped = stopping.subscribe();
        tokio::spawn(async move {
            let stops = async {
                let _ = stopped.wait_for(|stops| *stops).await;
            };
            match tls {
                None => {
                    let told = Told { peer: Peer { address, certificate: None }, drain };
                    keep(&builder, stream, told, router, limits.header_timeout, stops).await;
                }
                Some(tls) => {
                    // Whoever is slow here is slow with a request's head, and holds a place as long.
                    let Ok(Ok(stream)) = timeout(limits.header_timeout, tls.accept(stream)).await else {
                        tracing::debug!(%address, "no TLS came about");
                        return drop(permit);
                    };
                    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                    let certificate = shown.map(|shown| Arc::new(ClientCertificate::of(shown)));
                    let told = Told { peer: Peer { address, certificate }, drain };
                    keep(&builder, stream, told, router, limits.header_timeout, stops).await;
                }
            }
            drop(permit);
        });
    };
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        if let Some((stream, permit)) = accepted {
            take(stream, Some(permit));
        }
    }
    for stream in queued(listener) {
        take(stream, None);
    }
    if stopping.receiver_count() > 0 {
        sleep(LINGER).await;
    }
    let under_way = stopping.receiver_count();
    stopping.send_replace(true);
    let mut ended = pin!(stopping.closed());
    if timeout(limits.drain_timeout, &mut ended).await.is_err() {
        drain.advance(Phase::Cut);
        if timeout(CUT_TIMEOUT, ended).await.is_err() {
            tracing::warn!(under_way, "the drain time is over; connections are cut");
        }
    }
}

/// Connections that were made and that nobody has taken yet: closing the listener would reset them.
fn queued(listener: TcpListener) -> Vec<TcpStream> {
    // Without blocking, as tokio has set it.
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let mut streams = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        streams.extend(stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)));
    }
    streams
}

/// What every request of a connection is told.
#[derive(Clone)]
struct Told {
    peer: Peer,
    drain: Drain,
}

/// Serves the requests of one connection, until its end, until it is idle for `idle_max`, or until `stops` is ready and
/// what is under way has its answers.
async fn keep<S>(
    builder: &Builder<TokioExecutor>,
    stream: S,
    told: Told,
    router: Router,
    idle_max: Duration,
    stops: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let address = told.peer.address;
    let activity = Activity::new();
    let service = service_fn({
        let activity = activity.clone();
        move |request: Request<Incoming>| {
            answer(router.clone(), request.map(Body::new), told.clone(), activity.begin())
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stops => None,
        () = activity.idle(idle_max) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                // It takes neither the end nor the rest of its last answer.
                () = activity.idle(idle_max) => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%address, %error, "connection ended early");
    }
}

/// Answers a request, which is under way for as long as its answer's body is there.
async fn answer(
    router: Router,
    mut request: Request,
    told: Told,
    under_way: UnderWay,
) -> Result<Response, Infallible> {
    let Told { peer, drain } = told;
    let keeps = request.version() <= Version::HTTP_11;
    request.extensions_mut().insert(peer);
    request.extensions_mut().insert(drain.clone());
    let mut response = router.oneshot(request).await?;
    // HTTP/2 has frames for that.
    if keeps && drain.phase() > Phase::Serving {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| {
        // Nothing is mapped: it is kept for as long as the body is.
        Body::new(body.map_err(move |error| {
            let _ = &under_way;
            error
        }))
    }))
}

/// What goes on on a connection: how many of its requests are under way, and when the last one ended.
#[derive(Clone)]
struct Activity(Arc<Mutex<(usize, Instant)>>);

/// A request, until its answer's body is at its end, or dropped.
struct UnderWay(Activity);

impl Activity {
    fn new() -> Self {
        Self(Arc::new(Mutex::new((0, Instant::now()))))
    }

    fn lock(&self) -> MutexGuard<'_, (usize, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> UnderWay {
        self.lock().0 += 1;
        UnderWay(self.clone())
    }

    /// Waits until no request was under way for this long, from now. It looks when that may be so: no request wakes it.
    async fn idle(&self, idle_max: Duration) {
        let mut until = Instant::now() + idle_max;
        loop {
            sleep_until(until).await;
            let (under_way, ended) = *self.lock();
            let last = if under_way > 0 { Instant::now() } else { ended };
            if under_way == 0 && last + idle_max <= until {
                return;
            }
            until = last + idle_max;
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut activity = self.0.lock();
        *activity = (activity.0.saturating_sub(1), Instant::now());
    }
}

/// Waits for a free place, then for a connection. `None` after an error of the listener, slowed down.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            // Mostly "too many open files": trying again at once would only burn the processor.
            tracing::warn!(%error, "cannot accept a connection: see process_open_fds and process_max_fds");
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
    use axum::body::Bytes;
    use axum::routing::get;
    use futures::StreamExt as _;
    use std::io;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
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
        start_with(router, LIMITS, Drain::default()).await
    }

    async fn start_with(
        router: Router,
        limits: Limits,
        drain: Drain,
    ) -> (std::net::SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            let stop = async {
                let _ = stopped.await;
            };
            serve(listener, router, None, limits, &drain, stop).await;
        });
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
    async fn what_sends_no_request_holds_no_place() {
        let limits = Limits { connections_max: 1, ..LIMITS };
        let (address, _stop, _) =
            start_with(Router::new().route("/", get(|| async { "here" })), limits, Drain::default()).await;
        for silent in ["", "PRI ", "PRI * HTTP", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            let mut holds = TcpStream::connect(address).await.unwrap();
            holds.write_all(silent.as_bytes()).await.unwrap();
            // It is served when the other has lost its place.
            assert!(exchange(address, CLOSE).await.ends_with("here"), "{silent:?}");
        }
    }

    #[tokio::test]
    async fn http2_without_a_stream_ends_however_lively_it_is() {
        let (address, _stop, _) = start(Router::new().route("/", get(|| async { "here" }))).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The preface, empty SETTINGS, and the acknowledgement of the server's (RFC 9113 §3.4, §6.5).
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0]).await.unwrap();
        let mut frame = [0; 9];
        while stream.read_exact(&mut frame).await.is_ok() {
            let length = usize::from(frame[1]) * 256 + usize::from(frame[2]);
            let mut payload = vec![0; length];
            stream.read_exact(&mut payload).await.unwrap();
            if (frame[3], frame[4]) == (6, 0) {
                // A PING, which is answered (§6.7).
                frame[4] = 1;
                let _ = stream.write_all(&[&frame[..], &payload].concat()).await;
            }
        }
    }

    #[tokio::test]
    async fn an_answer_that_takes_long_is_not_idle() {
        let pieces = || async {
            Body::from_stream(futures::stream::iter(0..3).then(|piece| async move {
                tokio::time::sleep(Duration::from_millis(250)).await;
                io::Result::Ok(Bytes::from(piece.to_string()))
            }))
        };
        let (address, _stop, _) = start(Router::new().route("/", get(pieces))).await;
        assert!(exchange(address, CLOSE).await.ends_with("1\r\n2\r\n0\r\n\r\n"));
    }

    #[tokio::test]
    async fn a_connection_is_idle_from_the_end_of_its_last_request() {
        let (activity, idle_max) = (Activity::new(), Duration::from_millis(50));
        let (first, second) = (activity.begin(), activity.begin());
        assert!(timeout(3 * idle_max, activity.idle(idle_max)).await.is_err(), "two are under way");
        drop(first);
        assert!(timeout(3 * idle_max, activity.idle(idle_max)).await.is_err(), "one is under way");
        let ends = async {
            sleep(idle_max / 2).await;
            drop(second);
            Instant::now()
        };
        let (ended, ()) = tokio::join!(ends, activity.idle(idle_max));
        assert!(ended.elapsed() >= idle_max, "it was idle for as long");
        let again = Instant::now();
        activity.idle(idle_max).await;
        assert!(again.elapsed() >= idle_max, "each wait begins anew");
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

    #[tokio::test]
    async fn a_server_that_is_leaving_answers_and_ends_the_connection() {
        let drain = Drain::default();
        let (address, _stop, _) =
            start_with(Router::new().route("/", get(|| async { "here" })), LIMITS, drain.clone()).await;
        let keep = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
        let mut kept = TcpStream::connect(address).await.unwrap();
        kept.write_all(keep.as_bytes()).await.unwrap();
        let mut first = [0; 15];
        kept.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200 OK");
        drain.advance(Phase::Leaving);
        // A connection that was kept is good for one more request, and a new one for its first.
        kept.write_all(keep.as_bytes()).await.unwrap();
        let mut rest = String::new();
        kept.read_to_string(&mut rest).await.unwrap();
        for answer in [rest, exchange(address, keep).await] {
            assert!(answer.contains("connection: close") && answer.ends_with("here"), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_nobody_has_taken_yet_is_served() {
        let (begun, mut begins) = tokio::sync::mpsc::channel(2);
        let slow = move || async move {
            begun.send(()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            "done"
        };
        let limits = Limits { connections_max: 1, ..LIMITS };
        let (address, stop, served) =
            start_with(Router::new().route("/", get(slow)), limits, Drain::default()).await;
        let first = tokio::spawn(async move { exchange(address, CLOSE).await });
        begins.recv().await.unwrap();
        // It waits in the queue, because there is no place.
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(CLOSE.as_bytes()).await.unwrap();
        stop.send(()).unwrap();
        let mut answer = String::new();
        second.read_to_string(&mut answer).await.unwrap();
        assert!(first.await.unwrap().ends_with("done") && answer.ends_with("done"), "{answer}");
        served.await.unwrap();
    }

    #[tokio::test]
    async fn when_the_drain_time_is_over_what_goes_on_is_told() {
        let drain = Drain::default();
        let told = drain.clone();
        let (begun, mut begins) = tokio::sync::mpsc::channel(1);
        let waits = move || async move {
            begun.send(()).await.unwrap();
            told.reached(Phase::Cut).await;
            "cut short"
        };
        let limits = Limits { drain_timeout: Duration::from_millis(10), ..LIMITS };
        let (address, stop, served) = start_with(Router::new().route("/", get(waits)), limits, drain).await;
        let client = tokio::spawn(async move { exchange(address, CLOSE).await });
        begins.recv().await.unwrap();
        stop.send(()).unwrap();
        served.await.unwrap();
        assert!(client.await.unwrap().ends_with("cut short"));
    }
}
