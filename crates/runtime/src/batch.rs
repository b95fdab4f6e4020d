//! Many executions, in order, in bounded memory.
//!
//! ```text
//! lines ─► intake ─► chunks ─► pool: parse, look up, evaluate, sign      (as many at a time as processors)
//!                                 │
//!                                 ▼ in the order of the lines
//!                              log writer ─► tickets ─► the iterator: answers, in the order of the lines
//! ```
//! A worker takes whatever has come in, at most a chunk: nothing waits for a chunk to fill up, so a client may well
//! read its answers before it sends more. What is under way is bounded in lines and in bytes, whatever the length of the input: reading stops
//! while the consumer does not take. Records are handed to the log writer in the order of the lines, so that the
//! log has them in that order, and of two lines with one id it is the first that is recorded.

use crate::answer::Answer;
use crate::error::ExecuteError;
use crate::execute::{Caller, Chance, Prepared, Progress, Settled, Waiting};
use crate::request::Draft;
use crate::runtime::{Inner, Runtime};
use chancery_store::{DecisionRecord, StoreError};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

/// The most lines that are under way.
pub const LINES_MAX: usize = 4_096;

/// About the most bytes of requests that are under way; one line may be more.
pub const BYTES_MAX: usize = 16 * 1024 * 1024;

/// Lines that a worker takes at once: enough to share a read transaction and a draw of random bytes.
const CHUNK_LINES: usize = 32;

/// One line's result.
#[derive(Debug)]
pub struct BatchLine {
    /// Which line of the input, from 1.
    pub line: u64,
    /// What became of it.
    pub result: Result<Answer, BatchError>,
}

/// Why a line of a batch has no answer.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// It was not decided.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// The input failed; there are no lines after this one.
    #[error("the input cannot be read")]
    Input(#[source] io::Error),
}

/// The results of a batch, in the order of its lines. Dropping it stops the reading of the input; what was under
/// way is recorded nevertheless.
pub struct Batch {
    runtime: Runtime,
    caller: Caller,
    flow: Arc<Flow>,
    results: mpsc::Receiver<Item>,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Batch(…)")
    }
}

impl Runtime {
    /// Executes every line, each of them one request, for `caller`.
    ///
    /// A line that is refused takes no other line with it. The iterator blocks; it must not be driven by a thread
    /// that polls futures. Every answer that it yields is durable.
    ///
    /// # Errors
    /// The operating system's, when it has no thread left for reading the input.
    pub fn batch<L>(&self, caller: &Caller, lines: L) -> io::Result<Batch>
    where
        L: IntoIterator<Item = io::Result<Vec<u8>>>,
        L::IntoIter: Send + 'static,
    {
        let flow = Arc::new(Flow::default());
        let (sender, results) = mpsc::channel();
        let intake = Arc::new(Intake {
            runtime: self.clone(),
            caller: caller.clone(),
            sequencer: Sequencer { inner: Arc::clone(&self.inner), out: sender, state: Mutex::default() },
            state: Mutex::default(),
        });
        let (lines, bound) = (lines.into_iter(), Arc::clone(&flow));
        thread::Builder::new().name("batch-input".to_owned()).spawn(move || read(lines, &bound, &intake))?;
        Ok(Batch { runtime: self.clone(), caller: caller.clone(), flow, results })
    }
}

impl Iterator for Batch {
    type Item = BatchLine;

    fn next(&mut self) -> Option<BatchLine> {
        let item = self.results.recv().ok()?;
        let result = match item.progress {
            Err(error) => Err(BatchError::Input(error)),
            Ok(Progress::Done(result)) => result.map_err(BatchError::from),
            Ok(Progress::Waiting(waiting)) => {
                let Waiting { ticket, draft } = *waiting;
                match self.runtime.inner.settle(draft, ticket.wait()) {
                    Settled::Done(result) => *result,
                    // The bundle changed, or the id was recorded, while the line waited: look at it again.
                    Settled::Again(_) => self.runtime.inner.execute_blocking(&self.caller, &item.request),
                }
                .map_err(BatchError::from)
            }
        };
        self.flow.leave(item.request.len());
        Some(BatchLine { line: item.line, result })
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.flow.stop();
    }
}

/// A line on its way.
struct Item {
    line: u64,
    request: Vec<u8>,
    progress: Result<Progress, io::Error>,
}

/// How much is under way, and whether anybody still wants it.
#[derive(Default)]
struct Flow {
    state: Mutex<FlowState>,
    changed: Condvar,
}

#[derive(Default)]
struct FlowState {
    lines: usize,
    bytes: usize,
    stopped: bool,
}

impl Flow {
    /// Waits until there is room, and takes it. False when nobody wants the results any more.
    fn enter(&self, bytes: usize) -> bool {
        let mut state = self.lock();
        while !state.stopped
            && state.lines > 0
            && (state.lines >= LINES_MAX || state.bytes + bytes > BYTES_MAX)
        {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.lines += 1;
        state.bytes += bytes;
        !state.stopped
    }

    fn leave(&self, bytes: usize) {
        let mut state = self.lock();
        state.lines = state.lines.saturating_sub(1);
        state.bytes = state.bytes.saturating_sub(bytes);
        self.changed.notify_all();
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, FlowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the input, as far ahead as the flow allows.
fn read(lines: impl Iterator<Item = io::Result<Vec<u8>>>, flow: &Flow, intake: &Arc<Intake>) {
    let mut number = 0;
    for line in lines {
        number += 1;
        let last = line.is_err();
        if !flow.enter(line.as_ref().map_or(0, Vec::len)) {
            return;
        }
        intake.push(number, line);
        if last {
            return;
        }
    }
}

type Line = (u64, io::Result<Vec<u8>>);

/// Lines that came in and that no worker has taken yet.
struct Intake {
    runtime: Runtime,
    caller: Caller,
    sequencer: Sequencer,
    state: Mutex<IntakeState>,
}

#[derive(Default)]
struct IntakeState {
    lines: VecDeque<Line>,
    next_chunk: u64,
    /// How many workers are on it.
    workers: usize,
}

impl Intake {
    fn push(self: &Arc<Self>, number: u64, line: io::Result<Vec<u8>>) {
        let mut state = self.lock();
        state.lines.push_back((number, line));
        if state.workers < self.runtime.pool.threads() {
            state.workers += 1;
            drop(state);
            self.spawn();
        }
    }

    fn spawn(self: &Arc<Self>) {
        let intake = Arc::clone(self);
        self.runtime.pool.spawn(move || intake.work());
    }

    /// One chunk; then to the end of the pool's queue, so that others get their turn.
    fn work(self: &Arc<Self>) {
        let mut state = self.lock();
        let count = state.lines.len().min(CHUNK_LINES);
        if count == 0 {
            state.workers -= 1;
            return;
        }
        let chunk: Vec<Line> = state.lines.drain(..count).collect();
        let number = state.next_chunk;
        state.next_chunk += 1;
        drop(state);
        // A worker that panics must hold up neither the chunks behind its own nor the lines to come.
        let guard = Guard { intake: self, number, lines: chunk.iter().map(|(line, _)| *line).collect() };
        let planned = self.sequencer.inner.plan(&self.caller, chunk);
        guard.ready(planned);
    }

    fn lock(&self) -> MutexGuard<'_, IntakeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes sure that a chunk arrives and that its worker goes on, even when the work on it panics.
struct Guard<'a> {
    intake: &'a Arc<Intake>,
    number: u64,
    lines: Vec<u64>,
}

impl Guard<'_> {
    fn ready(mut self, planned: Vec<Planned>) {
        self.lines.clear();
        self.intake.sequencer.ready(self.number, planned);
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !self.lines.is_empty() {
            let planned = self.lines.drain(..).map(|line| {
                let progress = Ok(Progress::done(Err(ExecuteError::Abandoned)));
                Planned::Made(Item { line, request: Vec::new(), progress })
            });
            self.intake.sequencer.ready(self.number, planned.collect());
        }
        self.intake.spawn();
    }
}

/// A line whose processor work is done.
enum Planned {
    /// Nothing has to be recorded.
    Made(Item),
    /// A decision to record.
    Record(u64, Vec<u8>, Box<Prepared>),
}

/// Hands chunks on in their order, whatever the order in which they were worked on.
struct Sequencer {
    inner: Arc<Inner>,
    out: mpsc::Sender<Item>,
    state: Mutex<Waitlist>,
}

#[derive(Default)]
struct Waitlist {
    next: u64,
    chunks: BTreeMap<u64, Vec<Planned>>,
}

impl Sequencer {
    fn ready(&self, number: u64, planned: Vec<Planned>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.chunks.insert(number, planned);
        loop {
            let next = state.next;
            let Some(chunk) = state.chunks.remove(&next) else { return };
            state.next += 1;
            for planned in chunk {
                let item = self.record(planned);
                // The consumer may have gone; what was handed to the writer is recorded all the same.
                let _ = self.out.send(item);
            }
        }
    }

    fn record(&self, planned: Planned) -> Item {
        match planned {
            Planned::Made(item) => item,
            Planned::Record(line, request, prepared) => {
                let Prepared { entry, draft } = *prepared;
                let progress = match self.inner.store.enqueue_blocking(entry) {
                    Ok(ticket) => Progress::Waiting(Box::new(Waiting { ticket, draft })),
                    Err(error) => Progress::done(Err(error.into())),
                };
                Item { line, request, progress: Ok(progress) }
            }
        }
    }
}

impl Inner {
    /// Everything about a chunk of lines that only needs a processor, with one read transaction, one draw of random
    /// bytes and one look at the clock for all of them.
    fn plan(&self, caller: &Caller, chunk: Vec<Line>) -> Vec<Planned> {
        let drafts: Vec<Option<Draft>> =
            chunk.iter().map(|(_, line)| line.as_ref().ok().map(|request| Draft::parse(request))).collect();
        let known = self.look_up(&drafts);
        let mut random = vec![0; chunk.len() * size_of::<Chance>()];
        let drawn = self.entropy.fill(&mut random);
        let (chances, _) = random.as_chunks::<{ size_of::<Chance>() }>();
        let now = self.clock.now();
        let mut known = known.map(Vec::into_iter).map_err(Arc::new);
        let mut planned = Vec::with_capacity(chunk.len());
        for (((line, request), draft), chance) in chunk.into_iter().zip(drafts).zip(chances) {
            let record = match &mut known {
                Ok(known) => Ok(known.next().flatten()),
                Err(error) => Err(ExecuteError::Store(Arc::clone(error))),
            };
            let made = |request, progress| Planned::Made(Item { line, request, progress });
            let (request, draft) = match (request, draft) {
                (Ok(request), Some(draft)) => (request, draft),
                (Ok(_), None) => continue,
                (Err(error), _) => {
                    planned.push(made(Vec::new(), Err(error)));
                    continue;
                }
            };
            let prepared = match record {
                Err(error) => Err(error),
                Ok(Some(record)) => {
                    let replayed = self.replay(caller, draft, &record);
                    planned.push(made(request, Ok(Progress::done(replayed))));
                    continue;
                }
                Ok(None) => {
                    drawn.map_err(ExecuteError::from).and_then(|()| self.prepare(caller, draft, now, chance))
                }
            };
            planned.push(match prepared {
                Ok(prepared) => Planned::Record(line, request, Box::new(prepared)),
                Err(error) => made(request, Ok(Progress::done(Err(error)))),
            });
        }
        planned
    }

    /// The recorded decision of each draft, where there is one.
    fn look_up(&self, drafts: &[Option<Draft>]) -> Result<Vec<Option<DecisionRecord>>, StoreError> {
        self.store.read(|reader| {
            let ids = drafts.iter().map(|draft| draft.as_ref().and_then(|draft| draft.execution_id.as_ref()));
            ids.map(|id| id.map_or(Ok(None), |id| reader.decision(id))).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use crate::testing::{TestLog, caller, request};

    fn lines(requests: Vec<Vec<u8>>) -> Vec<io::Result<Vec<u8>>> {
        requests.into_iter().map(Ok).collect()
    }

    #[test]
    fn results_and_log_are_in_the_order_of_the_lines() {
        let log = TestLog::new();
        let runtime = log.open();
        let before = runtime.records().head().unwrap().size;
        let requests =
            (0..500).map(|number| request(&format!("e-{number}"), &number.to_string(), "0.1")).collect();
        let results: Vec<_> = runtime.batch(&caller(), lines(requests)).unwrap().collect();
        assert_eq!(results.len(), 500);
        for (number, line) in (0..).zip(&results) {
            let answer = line.result.as_ref().unwrap();
            assert_eq!(line.line, number + 1);
            assert_eq!(answer.execution_id.to_string(), format!("e-{number}"));
            assert_eq!(answer.log.index, before + number);
        }
    }

    #[test]
    fn a_bad_line_takes_no_other_with_it() {
        let log = TestLog::new();
        let runtime = log.open();
        let requests = vec![
            request("e-1", "1", "0.1"),
            b"{".to_vec(),
            request("e-2", "\"no\"", "0.1"),
            request("e-1", "1", "\"0.10\""),
            request("e-1", "2", "0.1"),
            request("e-3", "3", "0.1"),
        ];
        let results: Vec<_> = runtime.batch(&caller(), lines(requests)).unwrap().collect();
        let codes: Vec<&str> = results
            .iter()
            .map(|line| match &line.result {
                Ok(answer) if answer.replayed => "replayed",
                Ok(_) => "recorded",
                Err(BatchError::Execute(error)) => error.code(),
                Err(BatchError::Input(_)) => "input",
            })
            .collect();
        let expected =
            ["recorded", "request.invalid", "request.invalid", "replayed", "execution.conflict", "recorded"];
        assert_eq!(codes, expected);
    }

    #[test]
    fn a_failing_input_ends_the_batch_after_what_came_before() {
        let log = TestLog::new();
        let runtime = log.open();
        let input = vec![
            Ok(request("e-1", "1", "0.1")),
            Err(io::Error::other("gone")),
            Ok(request("e-2", "1", "0.1")),
        ];
        let results: Vec<_> = runtime.batch(&caller(), input).unwrap().collect();
        assert_eq!(results.len(), 2);
        assert!(results[0].result.is_ok());
        assert!(matches!(results[1].result, Err(BatchError::Input(_))));
    }

    #[test]
    fn an_answer_comes_before_the_next_line_is_sent() {
        let log = TestLog::new();
        let runtime = log.open();
        let (sender, receiver) = mpsc::channel();
        let mut batch = runtime.batch(&caller(), receiver).unwrap();
        for number in 0..100 {
            sender.send(Ok(request(&format!("e-{number}"), "1", "0.1"))).unwrap();
            assert_eq!(batch.next().unwrap().line, number + 1);
        }
        drop(sender);
        assert!(batch.next().is_none());
    }

    #[test]
    fn reading_stops_when_nobody_takes_the_results() {
        let log = TestLog::new();
        let runtime = log.open();
        let (sender, receiver) = mpsc::channel();
        let mut batch = runtime.batch(&caller(), receiver).unwrap();
        sender.send(Ok(request("e-1", "1", "0.1"))).unwrap();
        batch.next().unwrap().result.unwrap();
        drop(batch);
        // The input is let go of once the next line comes.
        let mut number = 0;
        while sender.send(Ok(request(&format!("more-{number}"), "1", "0.1"))).is_ok() {
            number += 1;
            thread::yield_now();
        }
    }

    #[test]
    fn a_repeated_batch_is_replayed() {
        let log = TestLog::new();
        let runtime = log.open();
        let requests =
            || (0..50).map(|number| request(&format!("e-{number}"), "1", "0.1")).map(Ok).collect::<Vec<_>>();
        let first: Vec<_> = runtime.batch(&caller(), requests()).unwrap().collect();
        let second: Vec<_> = runtime.batch(&caller(), requests()).unwrap().collect();
        for (first, second) in first.iter().zip(&second) {
            let (first, second) = (first.result.as_ref().unwrap(), second.result.as_ref().unwrap());
            assert!(!first.replayed && second.replayed);
            assert_eq!(first.log, second.log);
        }
    }
}
