//! Bodies of requests: their content type, their length, and reading them on a thread that may block.
//!
//! axum's own extractors answer in plain text and parse leniently; here a body is bytes until the strict parser
//! has them, and whatever is wrong with it is a problem document.

use std::io::{self, BufRead, Read};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use chancery_core::json::Limits;
use chancery_runtime::Fault;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

use super::drain::{Drain, Phase, Stopping};
use super::error::Problem;

/// A JSON request.
pub(super) const JSON: &[&str] = &["application/json"];
/// Lines of JSON.
pub(super) const NDJSON: &[&str] = &["application/x-ndjson", "application/ndjson", "application/jsonl"];

/// The longest single request: that of the strict parser.
pub(super) const REQUEST_BYTES_MAX: usize = Limits::REQUEST.bytes;

/// Bytes beyond the limit that are read and thrown away, so that a client gets to read the answer.
const THROWN_AWAY_MAX: usize = 1024 * 1024;

/// Frames of a body that are in memory while nobody takes them.
const FRAMES_MAX: usize = 8;

/// Refuses a body that is not said to be one of `accepted`, or that is compressed.
pub(super) fn check_type(headers: &HeaderMap, accepted: &[&str]) -> Result<(), Problem> {
    let unsupported =
        |detail: String| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "request.media_type", detail);
    let given = media_type(headers);
    if !accepted.iter().any(|one| given.as_deref() == Some(*one)) {
        return Err(unsupported(format!("`Content-Type` has to be `{}`", accepted.join("` or `"))));
    }
    if !is_utf8(headers) {
        return Err(unsupported("the `charset` of `Content-Type` has to be `utf-8`, or left out".to_owned()));
    }
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(unsupported("bodies must not be compressed".to_owned()))
        }
        _ => Ok(()),
    }
}

/// Whether the content type names no other character set than UTF-8 (RFC 9110 §8.3.1).
fn is_utf8(headers: &HeaderMap) -> bool {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').skip(1).filter_map(|parameter| parameter.split_once('=')).all(|(name, value)| {
        let value = value.trim().trim_matches('"');
        !name.trim().eq_ignore_ascii_case("charset") || value.eq_ignore_ascii_case("utf-8")
    })
}

/// The media type of a request without its parameters, in lower case.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = text.split(';').next().unwrap_or_default();
    Some(essence.trim().to_ascii_lowercase())
}

/// Reads a body of at most `bytes_max`, which has to come within `timeout`.
///
/// Of one that is a little longer the rest is read and thrown away: a client that still sends when the connection is
/// closed sees a broken pipe instead of the answer.
pub(super) async fn read(request: Request, bytes_max: usize, timeout: Duration) -> Result<Vec<u8>, Problem> {
    // Whoever asks before sending, or says that it is far too long, need not send it.
    let headers = request.headers();
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let room = if headers.contains_key(header::EXPECT) { 0 } else { THROWN_AWAY_MAX };
    if declared.is_some_and(|length: u64| u64::try_from(bytes_max + room).is_ok_and(|max| length > max)) {
        return Err(too_large(bytes_max));
    }
    match tokio::time::timeout(timeout, collect(request.into_body(), bytes_max)).await {
        Ok(collected) => collected,
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "request.timeout",
            "the body took too long to come",
        )),
    }
}

async fn collect(mut body: Body, bytes_max: usize) -> Result<Vec<u8>, Problem> {
    let mut collected = Vec::new();
    let mut thrown_away = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Problem::new(StatusCode::BAD_REQUEST, "request.body", "the body could not be read to its end")
        })?;
        let data = frame.into_data().unwrap_or_default();
        if thrown_away == 0 && collected.len() + data.len() <= bytes_max {
            collected.extend_from_slice(&data);
            continue;
        }
        thrown_away += data.len();
        if thrown_away > THROWN_AWAY_MAX {
            break;
        }
    }
    if thrown_away > 0 { Err(too_large(bytes_max)) } else { Ok(collected) }
}

/// The body of a JSON request of at most 256 KiB.
pub(super) async fn json(request: Request, timeout: Duration) -> Result<Vec<u8>, Problem> {
    check_type(request.headers(), JSON)?;
    read(request, REQUEST_BYTES_MAX, timeout).await
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::faults(
        "request.too_large",
        vec![Fault {
            pointer: None,
            code: "json.size",
            expected: format!("at most {bytes_max} bytes"),
            found: "more".to_owned(),
        }],
    )
}

/// A body that a thread reads, while it comes. Blocks; never to be used by a thread that polls futures.
///
/// An error of kind [`io::ErrorKind::TimedOut`] says that nothing came for too long.
pub(super) struct BodyReader {
    frames: mpsc::Receiver<io::Result<Bytes>>,
    frame: Bytes,
}

impl BodyReader {
    /// Begins to read. At most a few frames are taken before somebody wants them.
    pub(super) fn new(body: Body, silence_max: Duration) -> Self {
        Self::until_cut(body, silence_max, Drain::default())
    }

    /// The same, but when `drain` comes to its cut the body ends with the error [`Stopping`].
    pub(super) fn until_cut(body: Body, silence_max: Duration, drain: Drain) -> Self {
        let (sender, frames) = mpsc::channel(FRAMES_MAX);
        tokio::spawn(pump(body, silence_max, sender, drain));
        Self { frames, frame: Bytes::new() }
    }
}

async fn pump(mut body: Body, silence_max: Duration, frames: mpsc::Sender<io::Result<Bytes>>, drain: Drain) {
    loop {
        // Waiting for room comes first: a consumer that is slow is no silence of the client.
        let Ok(room) = frames.reserve().await else { return };
        let came = tokio::select! {
            biased;
            () = drain.reached(Phase::Cut) => {
                room.send(Err(io::Error::other(Stopping)));
                return;
            }
            came = tokio::time::timeout(silence_max, body.frame()) => came,
        };
        let frame = match came {
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
            Ok(None) => return,
            Ok(Some(Err(error))) => Err(io::Error::other(error)),
            // Trailers say nothing here.
            Ok(Some(Ok(frame))) => Ok(frame.into_data().unwrap_or_default()),
        };
        let last = frame.is_err();
        room.send(frame);
        if last {
            return;
        }
    }
}

impl BufRead for BodyReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.frame.is_empty() {
            match self.frames.blocking_recv() {
                Some(frame) => self.frame = frame?,
                None => break,
            }
        }
        Ok(&self.frame)
    }

    fn consume(&mut self, amount: usize) {
        let amount = amount.min(self.frame.len());
        bytes::Buf::advance(&mut self.frame, amount);
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::Lines;

    #[tokio::test]
    async fn a_body_that_stops_coming_is_an_error_and_the_end() {
        let body = Body::from_stream(futures::stream::pending::<Result<Bytes, io::Error>>());
        let reader = BodyReader::new(body, Duration::from_millis(1));
        let mut lines =
            tokio::task::spawn_blocking(|| Lines::new(reader, 4).collect::<Vec<_>>()).await.unwrap();
        let error = lines.pop().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(lines.is_empty());
    }

    #[test]
    fn only_what_is_said_to_be_json_is_json() {
        let headers = |content: &str, encoding: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, content.parse().unwrap());
            if let Some(encoding) = encoding {
                headers.insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
            }
            headers
        };
        for good in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/json;Charset=\"UTF-8\"; profile=x",
        ] {
            assert!(check_type(&headers(good, None), JSON).is_ok(), "{good}");
        }
        assert!(check_type(&headers("application/json", Some("identity")), JSON).is_ok());
        assert!(check_type(&headers("application/json", Some("gzip")), JSON).is_err());
        for bad in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonx",
            "application/json; charset=latin1",
            "application/json; charset=utf-8; charset=utf-16",
            "application/json; charset=",
            "",
        ] {
            assert!(check_type(&headers(bad, None), JSON).is_err(), "{bad}");
        }
        assert!(check_type(&HeaderMap::new(), JSON).is_err());
    }
}
