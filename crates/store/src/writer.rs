//! The log writer: one thread that puts whatever is queued into one transaction.
//!
//! ```text
//! queue ─► take up to 1,024 records or 4 MiB ─► BEGIN IMMEDIATE
//!            each: admit ─► number ─► its row, its entry, its opening        (rows.rs, admit.rs)
//!            full tiles, head by compare-and-swap ─► COMMIT, synced ─► answers
//! ```
//!
//! A batch is what arrived while the one before was being committed, so it grows with the load. Only where others
//! are being decided at that very moment it waits for them, half a millisecond at most; a lone request never waits. What is
//! needed to admit a record is kept in memory ([`State`]), tried on a copy and taken over once the transaction is
//! committed; when one fails, everybody in it is told so and the state is read anew from the database.

mod admit;
mod batch;
mod bulk;
mod cases;
mod rows;
mod single;
mod state;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use self::state::State;
use crate::checkpointer::Bell;
use crate::connection::Source;
use crate::database::Connection;
use crate::entry::{Appended, Body, NewEntry, PAYLOAD_BYTES_MAX};
use crate::error::{Class, StoreError};
use crate::hook::{OnStep, Step};
use crate::measure::Measures;
use crate::open::{Options, Settings, open_for_writing};
use crate::read::{Head, recorded_since};
use crate::reject::SubmitError;

/// How long a batch waits for records that are about to be handed in: about as long as the sync that they then share with it.
const GATHER_MAX: Duration = Duration::from_micros(500);

/// How long the thread sleeps until it looks again; meanwhile others have the processor to finish their records.
const GATHER_STEP: Duration = Duration::from_micros(50);

/// What a submitter gets.
pub(crate) type Answer = Result<Appended, SubmitError>;

/// Work for the writer's thread.
enum Job {
    Append(Box<NewEntry>, oneshot::Sender<Answer>),
    /// Something else that writes; it answers by itself.
    Run(Work),
}

/// Answers by itself; says whether the connection can be used on.
type Work = Box<dyn FnOnce(Result<&mut Connection, StoreError>) -> bool + Send>;

/// Waits for the answer about a queued record: a future, and [`Ticket::wait`] for threads. Dropping it does not
/// take the record back.
#[derive(Debug)]
#[must_use = "the record is not known to be recorded before the answer is there"]
pub struct Ticket {
    answer: oneshot::Receiver<Answer>,
}

impl Ticket {
    /// Waits.
    ///
    /// # Errors
    /// As [`Store::submit`](crate::Store::submit).
    ///
    /// # Panics
    /// Inside an asynchronous task.
    pub fn wait(self) -> Result<Appended, SubmitError> {
        self.answer.blocking_recv().unwrap_or_else(|_| Err(StoreError::WriterGone.into()))
    }
}

impl Future for Ticket {
    type Output = Result<Appended, SubmitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.answer).poll(context);
        answer.map(|answer| answer.unwrap_or_else(|_| Err(StoreError::WriterGone.into())))
    }
}

/// A record that is about to be handed in; see [`Store::expect`](crate::Store::expect).
#[derive(Debug)]
#[must_use = "it is expected for as long as the value lives"]
pub struct Expected(Arc<AtomicUsize>);

impl Drop for Expected {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// The running thread. Dropping it writes what is queued, then ends the thread.
pub(crate) struct Writer {
    expected: Arc<AtomicUsize>,
    jobs: Option<mpsc::Sender<Job>>,
    head: watch::Receiver<Head>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Loads the state and starts the thread.
    pub(crate) fn start(
        mut connection: Connection,
        source: Source,
        settings: Settings,
        options: Options,
        bell: Arc<Bell>,
    ) -> Result<Self, StoreError> {
        let state = State::load(&mut connection, &settings.tenant)?;
        let (jobs, queue) = mpsc::channel(options.queue_entries_max.max(1));
        let (head_sender, head) = watch::channel(state.head());
        let measures = Measures::new(&settings.tenant);
        let expected = Arc::new(AtomicUsize::new(0));
        let worker = Worker {
            expected: Arc::clone(&expected),
            measures,
            ready: Some(Ready { connection, state }),
            source,
            settings,
            options,
            bell,
            head: head_sender,
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || worker.run(queue))
            .map_err(|source| StoreError::Database { doing: "start the writer", source: Box::new(source) })?;
        Ok(Self { expected, jobs: Some(jobs), head, thread: Some(thread) })
    }

    pub(crate) fn expect(&self) -> Expected {
        self.expected.fetch_add(1, Ordering::Relaxed);
        Expected(Arc::clone(&self.expected))
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Head> {
        self.head.clone()
    }

    pub(crate) async fn enqueue(&self, entry: NewEntry) -> Result<Ticket, SubmitError> {
        let (job, ticket) = append(entry)?;
        self.queue()?.send(job).await.map_err(|_| StoreError::WriterGone)?;
        Ok(ticket)
    }

    pub(crate) fn enqueue_blocking(&self, entry: NewEntry) -> Result<Ticket, SubmitError> {
        let (job, ticket) = append(entry)?;
        self.queue()?.blocking_send(job).map_err(|_| StoreError::WriterGone)?;
        Ok(ticket)
    }

    /// Runs `work` on the thread, after what is queued, and waits for it.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let job = Job::Run(Box::new(move |connection| {
            let result = connection.and_then(work);
            let usable = result.as_ref().err().is_none_or(|error| error.class() != Class::Unavailable);
            // Whoever asked may be gone; the work is done all the same.
            let _ = sender.send(result);
            usable
        }));
        self.queue()?.blocking_send(job).map_err(|_| StoreError::WriterGone)?;
        receiver.blocking_recv().unwrap_or(Err(StoreError::WriterGone))
    }

    /// How many jobs wait.
    pub(crate) fn waiting(&self) -> usize {
        self.jobs.as_ref().map_or(0, |jobs| jobs.max_capacity() - jobs.capacity())
    }

    fn queue(&self) -> Result<&mpsc::Sender<Job>, StoreError> {
        self.jobs.as_ref().ok_or(StoreError::WriterGone)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
    }
}

fn append(entry: NewEntry) -> Result<(Job, Ticket), StoreError> {
    if entry.payload.len() > PAYLOAD_BYTES_MAX {
        return Err(StoreError::TooLarge { bytes: entry.payload.len(), max: PAYLOAD_BYTES_MAX });
    }
    let (sender, answer) = oneshot::channel();
    Ok((Job::Append(Box::new(entry), sender), Ticket { answer }))
}

struct Worker {
    expected: Arc<AtomicUsize>,
    measures: Measures,
    /// None after a failed transaction, until it is made anew.
    ready: Option<Ready>,
    source: Source,
    settings: Settings,
    options: Options,
    bell: Arc<Bell>,
    head: watch::Sender<Head>,
}

/// A connection in which nothing is open, and the state that belongs to what it has committed.
struct Ready {
    connection: Connection,
    state: State,
}

impl Worker {
    fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut entries = Vec::new();
        let mut answers = Vec::new();
        let mut next = None;
        while let Some(job) = next.take().or_else(|| queue.blocking_recv()) {
            match job {
                Job::Run(work) => self.run_job(work),
                Job::Append(entry, answer) => {
                    entries.push(*entry);
                    answers.push(answer);
                    next = self.gather(&mut queue, &mut entries, &mut answers);
                    self.batch(&mut entries, &mut answers);
                }
            }
        }
    }

    /// Takes what is queued, as much as a transaction may have, and waits a moment for what is about to be; gives the job
    /// of another kind that came in between.
    fn gather(
        &self,
        queue: &mut mpsc::Receiver<Job>,
        entries: &mut Vec<NewEntry>,
        answers: &mut Vec<oneshot::Sender<Answer>>,
    ) -> Option<Job> {
        let begun = Instant::now();
        let mut bytes: usize = entries.iter().map(NewEntry::weight).sum();
        loop {
            // Before the queue is looked at, in which by then mostly is what is expected no more.
            let expected = self.expected.load(Ordering::Acquire);
            loop {
                if entries.len() >= self.options.batch_entries_max || bytes >= self.options.batch_bytes_max {
                    return None;
                }
                match queue.try_recv() {
                    Ok(Job::Append(entry, answer)) => {
                        bytes += entry.weight();
                        entries.push(*entry);
                        answers.push(answer);
                    }
                    Ok(other) => return Some(other),
                    Err(_) => break,
                }
            }
            if expected == 0 || begun.elapsed() >= GATHER_MAX {
                return None;
            }
            std::thread::sleep(GATHER_STEP);
        }
    }

    /// Writes a batch and answers; both lists are empty afterwards.
    fn batch(&mut self, entries: &mut Vec<NewEntry>, answers: &mut Vec<oneshot::Sender<Answer>>) {
        let written = self.write(entries);
        match written {
            Ok(results) => {
                if self.step(Step::Committed).is_err() {
                    tracing::debug!("a step after the commit cannot fail");
                }
                // The last one first: whoever waits for many in their order is woken once and finds all of them.
                for (answer, result) in answers.drain(..).zip(results).rev() {
                    // A submitter that has gone away finds its record by its id.
                    let _ = answer.send(result);
                }
                if self.step(Step::Answered).is_err() {
                    tracing::debug!("a step after the commit cannot fail");
                }
            }
            Err(error) => {
                self.measures.failed();
                tracing::error!(%error, entries = entries.len(), "a batch was not written");
                // What is in memory may be ahead of the database now, and the connection within a transaction.
                self.ready = None;
                let error = Arc::new(error);
                for answer in answers.drain(..) {
                    let _ = answer.send(Err(SubmitError::Store(Arc::clone(&error))));
                }
            }
        }
        entries.clear();
    }

    /// Writes a batch. Where a server's answer was lost, what has become of the batch is looked up, once.
    fn write(&mut self, entries: &[NewEntry]) -> Result<Vec<Answer>, StoreError> {
        let before = self.head.borrow().size;
        match self.write_once(entries) {
            Err(error) if self.source.is_shared() && error.is_in_doubt() => {
                self.measures.in_doubt();
                tracing::warn!(%error, "a batch is in doubt");
                self.ready = None;
                self.settle(entries, before)
            }
            done => done,
        }
    }

    /// A batch that may or may not have been committed: what is in the log is answered for, the rest is written.
    ///
    /// Of a transaction everything is there or nothing, but a batch also has records that were refused, and these are
    /// judged again.
    fn settle(&mut self, entries: &[NewEntry], before: u64) -> Result<Vec<Answer>, StoreError> {
        let mut ready = self.ready()?;
        let ids = entries.iter().map(|entry| entry.record_id);
        let found = recorded_since(&mut ready.connection, &self.settings.tenant, before, ids)?;
        self.ready = Some(ready);
        let open = entries.iter().filter(|entry| !found.contains_key(&entry.record_id)).cloned();
        let open: Vec<NewEntry> = open.collect();
        let mut rest = if open.is_empty() { Vec::new() } else { self.write_once(&open)? }.into_iter();
        let answers = entries.iter().map(|entry| match found.get(&entry.record_id) {
            Some(appended) => Ok(appended.clone()),
            None => rest.next().unwrap_or_else(|| Err(StoreError::WriterGone.into())),
        });
        Ok(answers.collect())
    }

    fn write_once(&mut self, entries: &[NewEntry]) -> Result<Vec<Answer>, StoreError> {
        self.step(Step::Taken)?;
        let bell = Arc::clone(&self.bell);
        let gate = bell.gate();
        let Ready { mut connection, state } = self.ready()?;
        let begun = Instant::now();
        let written = batch::write(&mut connection, &self.settings, &self.options, state, entries)?;
        self.measures.committed(entries.len(), begun.elapsed());
        drop(gate);
        let erased = entries.iter().any(|entry| matches!(entry.body, Body::Erasure(_)));
        if erased {
            bell.ring_truncate();
        }
        bell.ring(entries.iter().map(NewEntry::weight).sum());
        self.head.send_replace(written.state.head());
        self.ready = Some(Ready { connection, state: written.state });
        Ok(written.answers)
    }

    /// What is at hand, or a new connection with the state that the database is in.
    fn ready(&mut self) -> Result<Ready, StoreError> {
        if let Some(ready) = self.ready.take() {
            return Ok(ready);
        }
        let mut connection = open_for_writing(&self.source, &self.options)?;
        let state = State::load(&mut connection, &self.settings.tenant)?;
        Ok(Ready { connection, state })
    }

    fn run_job(&mut self, work: Work) {
        let bell = Arc::clone(&self.bell);
        let gate = bell.gate();
        match self.ready() {
            Ok(mut ready) => {
                if work(Ok(&mut ready.connection)) {
                    self.ready = Some(ready);
                }
            }
            Err(error) => {
                work(Err(error));
            }
        }
        drop(gate);
        bell.ring(0);
    }

    fn step(&self, step: Step) -> Result<(), StoreError> {
        check(&self.options, step)
    }
}

/// Calls the hook, if there is one.
fn check(options: &Options, step: Step) -> Result<(), StoreError> {
    match options.hook.as_ref().map(|hook| hook(step)) {
        Some(OnStep::Fail) => Err(StoreError::Stopped),
        Some(OnStep::Go) | None => Ok(()),
    }
}
