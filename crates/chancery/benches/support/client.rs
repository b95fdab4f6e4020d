//! The client: one thread, any number of connections, HTTP/1.1 written by hand so that it takes little.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use chancery_tests::bench::{Samples, number};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// When requests are sent.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// Each connection sends its next one once it has its answer.
    Closed,
    /// So many a second, however long the answers take; how long one waited counts from when it was due.
    Every(Duration),
}

/// Sends the bodies over so many connections; seconds for each of them, and how long each waited for its answer.
pub(crate) fn load(
    address: SocketAddr,
    path: &str,
    bodies: &[Vec<u8>],
    connections: usize,
    pace: Pace,
) -> (f64, Samples) {
    let messages = bodies.iter().map(|body| {
        let line = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\n");
        let head = format!("{line}content-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    });
    let messages: Rc<Vec<Vec<u8>>> = Rc::new(messages.collect());
    let (next, waited) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Samples::default())));
    let seconds = on_this_thread(async {
        let mut streams = Vec::new();
        for _ in 0..connections {
            streams.push(connect(address).await);
        }
        let begun = Instant::now();
        let tasks: Vec<_> = streams
            .into_iter()
            .map(|stream| {
                let (messages, next, waited) = (Rc::clone(&messages), Rc::clone(&next), Rc::clone(&waited));
                tokio::task::spawn_local(async move {
                    converse(stream, &messages, &next, &waited, (begun, pace)).await;
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        begun.elapsed().as_secs_f64()
    });
    let waited = waited.take();
    (seconds / number(bodies.len()), waited)
}

/// Sends the bodies as lines of one request and reads the lines of its answer; seconds for each of them.
pub(crate) fn lines(address: SocketAddr, path: &str, bodies: &[Vec<u8>]) -> f64 {
    let body: Vec<u8> = bodies.iter().flat_map(|body| [body.as_slice(), b"\n"].concat()).collect();
    let head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-ndjson\r\n");
    let head = format!("{head}connection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    on_this_thread(async {
        let (mut reader, mut writer) = connect(address).await.into_split();
        let begun = Instant::now();
        let sent = tokio::task::spawn_local(async move {
            writer.write_all(head.as_bytes()).await.unwrap();
            writer.write_all(&body).await.unwrap();
            writer
        });
        let (mut buffer, mut answered, mut last) = (vec![0; 1 << 16], 0, 0);
        loop {
            let count = reader.read(&mut buffer).await.unwrap();
            if count == 0 {
                break;
            }
            for byte in buffer.iter().take(count) {
                // Other line ends are those of the transfer coding, and follow a CR.
                answered += usize::from(*byte == b'\n' && last == b'}');
                last = *byte;
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        drop(sent.await.unwrap());
        assert_eq!(answered, bodies.len(), "every line is answered");
        seconds / number(bodies.len())
    })
}

fn on_this_thread<T>(work: impl Future<Output = T>) -> T {
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&client, work)
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// One connection: the next message, its answer, the next, until there is none left.
async fn converse(
    mut stream: TcpStream,
    messages: &[Vec<u8>],
    next: &Cell<usize>,
    waited: &RefCell<Samples>,
    (begun, pace): (Instant, Pace),
) {
    let mut answer = Vec::with_capacity(1 << 16);
    loop {
        let at = next.replace(next.get() + 1);
        let Some(message) = messages.get(at) else { return };
        let due = match pace {
            Pace::Closed => Instant::now(),
            Pace::Every(interval) => {
                let due = begun + interval.mul_f64(number(at));
                // To the millisecond, which is what the timer has.
                tokio::time::sleep_until(due.into()).await;
                due
            }
        };
        stream.write_all(message).await.unwrap();
        answer.clear();
        while !is_whole(&answer) {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "the server keeps the connection");
        }
        waited.borrow_mut().push(due.elapsed().as_secs_f64());
        let good = answer.starts_with(b"HTTP/1.1 200") || answer.starts_with(b"HTTP/1.1 201");
        assert!(good, "{}", String::from_utf8_lossy(&answer));
    }
}

/// Is this an answer with all of its body?
fn is_whole(answer: &[u8]) -> bool {
    const END: &[u8] = b"\r\n\r\n";
    const LENGTH: &[u8] = b"content-length: ";
    let find = |what: &[u8]| answer.windows(what.len()).position(|window| window.eq_ignore_ascii_case(what));
    let Some(end) = find(END) else { return false };
    let digits =
        find(LENGTH).and_then(|at| answer.get(at + LENGTH.len()..end)).expect("an answer with a length");
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    let length = digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
    answer.len() >= end + END.len() + length
}
