//! Spans on their way to a collector, which is a socket here.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use axum::http::{Request, header};
use tracing_subscriber::layer::SubscriberExt as _;

use super::support::{Api, request, send};
use crate::traces::export;

/// Takes one request of OTLP over HTTP, and gives its head and body.
fn receiver() -> (String, thread::JoinHandle<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let taken = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        let mut buffer = [0; 4_096];
        loop {
            let read = stream.read(&mut buffer).unwrap();
            bytes.extend_from_slice(&buffer[..read]);
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let length: usize = length.parse().unwrap();
            if bytes.len() >= end + 4 + length {
                let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(answer.as_bytes()).unwrap();
                return (head, bytes[end + 4..].to_vec());
            }
        }
    });
    (url, taken)
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn a_request_its_decision_and_its_commit_are_exported_without_what_was_decided_on() {
    let (url, taken) = receiver();
    let (traces, layer) = export(Some(&url)).unwrap();
    let api = Api::new();
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(vec![layer]));
    let body = request("CANARY-id", "4711");
    let mut asked = Request::builder().method("POST").uri("/v1/decisions").body(body.into()).unwrap();
    asked.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    asked
        .headers_mut()
        .insert("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap());
    let answer = send(&api.router, asked).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    drop(guard);
    // What is gathered is sent now.
    drop(traces);
    let (head, spans) = taken.join().unwrap();
    assert!(head.starts_with("post /v1/traces") && head.contains("application/x-protobuf"), "{head}");
    for part in [
        "POST /v1/decisions",
        "decide",
        "commit",
        "http.request.method",
        "http.route",
        "http.response.status_code",
        "db.system.name",
        "sqlite",
        "service.name",
        "chancery",
    ] {
        assert!(has(&spans, part.as_bytes()), "no {part}: {}", String::from_utf8_lossy(&spans));
    }
    let trace =
        [0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c];
    assert!(has(&spans, &trace), "the caller's trace goes on");
    assert!(has(&spans, &[0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]), "its span is the parent");
    for canary in ["CANARY", "4711"] {
        assert!(!has(&spans, canary.as_bytes()), "{canary}: {}", String::from_utf8_lossy(&spans));
    }
}
