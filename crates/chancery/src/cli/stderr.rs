//! The server's log lines on their way to stderr: gathered, and written together.
//!
//! ```text
//! request ─► line ─► buffer ─► a thread, at most 20 ms later ─► stderr      one call of the system for all of them
//! warning ─► line ─► buffer ─► stderr                                       at once, after what came before it
//! ```
//! A line of its own for each request would be a call of the system under a lock for each request, and whoever reads
//! the other end would be woken as often. Nothing is dropped: where the buffer is full, whoever brings the next line
//! writes it out and waits for as long as that takes, and what is in it goes out before the program ends.

use std::io::{self, Write as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line waits for others.
const GATHER: Duration = Duration::from_millis(20);

/// Bytes from which nothing waits any more.
const BUFFER_BYTES: usize = 64 * 1024;

/// Where lines are gathered.
#[derive(Clone)]
pub(super) struct Lines(Arc<Shared>);

struct Shared {
    buffer: Mutex<Buffer>,
    changed: Condvar,
}

struct Buffer {
    bytes: Vec<u8>,
    out: Box<dyn io::Write + Send>,
    ended: bool,
}

impl Buffer {
    fn write_out(&mut self) {
        // Where stderr is closed there is nobody left to tell.
        let _ = self.out.write_all(&self.bytes).and_then(|()| self.out.flush());
        self.bytes.clear();
    }
}

/// Writes out what is left when it is dropped; lines that come later are written at once.
pub(super) struct Flush {
    lines: Lines,
    thread: Option<JoinHandle<()>>,
}

impl Lines {
    /// Begins to gather for `out`.
    ///
    /// # Errors
    /// The operating system's, when it has no thread left.
    pub(super) fn to(out: impl io::Write + Send + 'static) -> io::Result<(Self, Flush)> {
        let buffer = Buffer { bytes: Vec::with_capacity(BUFFER_BYTES), out: Box::new(out), ended: false };
        let lines = Self(Arc::new(Shared { buffer: Mutex::new(buffer), changed: Condvar::new() }));
        let gathered = lines.clone();
        let thread = thread::Builder::new().name("log-lines".to_owned()).spawn(move || gathered.write())?;
        Ok((lines.clone(), Flush { lines, thread: Some(thread) }))
    }

    fn write(&self) {
        let mut buffer = self.lock();
        while !buffer.ended {
            if buffer.bytes.is_empty() {
                buffer = self.0.changed.wait(buffer).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = self.0.changed.wait_timeout_while(buffer, GATHER, |buffer| !buffer.ended);
            (buffer, _) = waited.unwrap_or_else(PoisonError::into_inner);
            buffer.write_out();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.0.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let mut buffer = self.lines.lock();
        buffer.ended = true;
        buffer.write_out();
        drop(buffer);
        self.lines.0.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It only writes; a panic of it has said so itself.
            let _ = thread.join();
        }
    }
}

/// One line.
pub(super) struct Line<'a> {
    lines: &'a Lines,
    urgent: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, urgent: true }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line { lines: self, urgent: *metadata.level() <= Level::WARN }
    }
}

impl io::Write for Line<'_> {
    /// Takes all of the bytes; the subscriber hands in a whole line at once.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut buffer = self.lines.lock();
        let first = buffer.bytes.is_empty();
        buffer.bytes.extend_from_slice(bytes);
        if self.urgent || buffer.ended || buffer.bytes.len() >= BUFFER_BYTES {
            buffer.write_out();
        } else if first {
            drop(buffer);
            // The thread, and Flush only once it has written.
            self.lines.0.changed.notify_all();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what is written, call by call.
    #[derive(Clone, Default)]
    struct Calls(Arc<Mutex<Vec<String>>>);

    impl Calls {
        fn seen(&self) -> Vec<String> {
            self.0.lock().unwrap().clone()
        }
    }

    impl io::Write for Calls {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn add(lines: &Lines, urgent: bool, text: &str) {
        Line { lines, urgent }.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn a_warning_goes_out_at_once_after_what_came_before_it() {
        let calls = Calls::default();
        let (lines, _flush) = Lines::to(calls.clone()).unwrap();
        add(&lines, false, "one\n");
        add(&lines, true, "two\n");
        assert_eq!(calls.seen().concat(), "one\ntwo\n");
    }

    #[test]
    fn nothing_is_lost_at_the_end_or_after_it() {
        let calls = Calls::default();
        let (lines, flush) = Lines::to(calls.clone()).unwrap();
        for number in 0..10_000 {
            add(&lines, false, &format!("line {number}\n"));
        }
        drop(flush);
        add(&lines, false, "late\n");
        let text = calls.seen().concat();
        assert_eq!(text.lines().count(), 10_001);
        assert!(text.ends_with("line 9999\nlate\n"));
        assert!(calls.seen().iter().all(|call| call.len() < BUFFER_BYTES + 100));
    }

    #[test]
    fn a_line_that_nothing_follows_goes_out_by_itself() {
        struct Sender(std::sync::mpsc::Sender<usize>);
        impl io::Write for Sender {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.send(bytes.len()).unwrap();
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        let (lines, _flush) = Lines::to(Sender(sender)).unwrap();
        add(&lines, false, "alone\n");
        assert_eq!(receiver.recv().unwrap(), 6);
    }
}
