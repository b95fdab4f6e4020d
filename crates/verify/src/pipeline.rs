//! From lines to the fold over as many threads as there are processors, in bounded memory.
//!
//! ```text
//! reader ── batch ──> worker ┐
//!    ^      batch ──> worker ┼──> judged batches ──> put in order ──> fold (this thread)
//!    └───────── a permit for each batch that was folded ─────────────────┘
//! ```
//!
//! A batch needs a permit, and the fold gives it back: so there are never more batches than permits, whatever the
//! file's size and however long one line takes. The fold sees the lines in the file's order, so the report does
//! not depend on the number of threads.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use chancery_core::evidence::{RawLine, ReadError, Reader};

use crate::check::CheckId;
use crate::context::Context;
use crate::entry::{Body, Judged, Numbered, judge};
use crate::fold::Fold;
use crate::tally::Findings;

/// Lines of a batch: some milliseconds of work.
const BATCH_LINES: usize = 64;

/// Bytes of a batch; one line more may go beyond.
const BATCH_BYTES: usize = 256 * 1024;

/// Stack of a worker: evaluating policies recurses.
const STACK_BYTES: usize = 4 * 1024 * 1024;

type Batch = Vec<Numbered>;

/// Judges the lines from `next` to the end of the file.
///
/// Gives the number of lines and bytes that were read, and the error that ended the reading, if one did; what was
/// read before it was folded.
pub(crate) fn run<R: BufRead + Send>(
    mut reader: Reader<R>,
    next: Option<RawLine>,
    context: &Context<'_>,
    fold: &mut Fold<'_>,
) -> (u64, u64, Result<(), ReadError>) {
    let Some(next) = next else { return (reader.lines(), reader.bytes(), Ok(())) };
    let mut source = Source { next: Some(number(&reader, next)), reader: &mut reader };
    let read = match source.batch() {
        // Most files that anybody looks at by hand fit into one batch, and threads cost more than they do.
        Ok((first, true)) => {
            first.into_iter().for_each(|line| fold.add(judge_safely(context, line)));
            Ok(())
        }
        Ok((first, false)) => in_parallel(first, &mut source, context, fold),
        Err((first, error)) => {
            first.into_iter().for_each(|line| fold.add(judge_safely(context, line)));
            Err(error)
        }
    };
    (reader.lines(), reader.bytes(), read)
}

/// Where batches come from.
struct Source<'r, R> {
    reader: &'r mut Reader<R>,
    next: Option<Numbered>,
}

impl<R: BufRead> Source<'_, R> {
    /// The next batch, and whether the file ends with it.
    fn batch(&mut self) -> Result<(Batch, bool), (Batch, ReadError)> {
        let mut batch = Batch::with_capacity(BATCH_LINES);
        let mut bytes = 0;
        if let Some(line) = self.next.take() {
            bytes += line.raw.bytes.len();
            batch.push(line);
        }
        while batch.len() < BATCH_LINES && bytes < BATCH_BYTES {
            match self.reader.next_line() {
                Ok(Some(raw)) => {
                    bytes += raw.bytes.len();
                    batch.push(number(self.reader, raw));
                }
                Ok(None) => return Ok((batch, true)),
                Err(error) => return Err((batch, error)),
            }
        }
        Ok((batch, false))
    }
}

fn number<R: BufRead>(reader: &Reader<R>, raw: RawLine) -> Numbered {
    // The members of a canonical trailer stand in this order; one that does not begin so is refused anyway.
    let before = raw.bytes.starts_with(b"{\"kind\":\"trailer\"").then(|| reader.sha256_before_last());
    Numbered { raw, before }
}

fn in_parallel<R: BufRead + Send>(
    first: Batch,
    source: &mut Source<'_, R>,
    context: &Context<'_>,
    fold: &mut Fold<'_>,
) -> Result<(), ReadError> {
    let available = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let workers = context.ask.threads.map_or_else(available, NonZeroUsize::get);
    let permits = 2 * workers + 2;
    let (permit_out, permit_in) = sync_channel::<()>(permits);
    let (work_out, work_in) = sync_channel::<(u64, Batch)>(permits);
    let (done_out, done_in) = channel::<(u64, Vec<Judged>)>();
    for _ in 0..permits {
        // INVARIANT: the channel has room for all permits.
        let _ = permit_out.send(());
    }
    let work_in = Mutex::new(work_in);
    thread::scope(|scope| {
        let reader = scope.spawn(move || read_all(first, source, &permit_in, &work_out));
        let mut started = 0;
        for _ in 0..workers {
            let (work_in, done_out) = (&work_in, done_out.clone());
            let work = move || work(context, work_in, &done_out);
            started += usize::from(worker().spawn_scoped(scope, work).is_ok());
        }
        if started == 0 {
            // No thread to be had: this one does the work.
            while let Some((_, batch)) = take(&work_in) {
                batch.into_iter().for_each(|line| fold.add(judge_safely(context, line)));
                let _ = permit_out.send(());
            }
        }
        drop(done_out);
        fold_in_order(&done_in, &permit_out, fold);
        drop(permit_out);
        match reader.join() {
            Ok(read) => read,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A thread that a profiler can tell from the others.
fn worker() -> thread::Builder {
    thread::Builder::new().name("verify".to_owned()).stack_size(STACK_BYTES)
}

fn read_all<R: BufRead>(
    first: Batch,
    source: &mut Source<'_, R>,
    permits: &Receiver<()>,
    work: &SyncSender<(u64, Batch)>,
) -> Result<(), ReadError> {
    let mut batch = first;
    let mut last = None;
    for number in 0.. {
        if permits.recv().is_err() || work.send((number, batch)).is_err() {
            return Ok(());
        }
        if let Some(end) = last {
            return end;
        }
        batch = match source.batch() {
            Ok((batch, is_last)) => {
                last = is_last.then_some(Ok(()));
                batch
            }
            Err((batch, error)) => {
                last = Some(Err(error));
                batch
            }
        };
    }
    Ok(())
}

fn take(work: &Mutex<Receiver<(u64, Batch)>>) -> Option<(u64, Batch)> {
    work.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn work(context: &Context<'_>, work: &Mutex<Receiver<(u64, Batch)>>, done: &Sender<(u64, Vec<Judged>)>) {
    while let Some((number, batch)) = take(work) {
        let judged = batch.into_iter().map(|line| judge_safely(context, line)).collect();
        if done.send((number, judged)).is_err() {
            return;
        }
    }
}

/// A fault of this program must not stop the others, and must not look like a line that is all right.
fn judge_safely(context: &Context<'_>, line: Numbered) -> Judged {
    let number = line.raw.number;
    catch_unwind(AssertUnwindSafe(|| judge(context, line))).unwrap_or_else(|_| {
        let mut findings = Findings::default();
        findings.unknown(CheckId::StatementSchema, "the verifier itself failed on this line");
        Judged { line: number, index: None, execution_id: None, findings, body: Body::Nothing }
    })
}

fn fold_in_order(done: &Receiver<(u64, Vec<Judged>)>, permits: &SyncSender<()>, fold: &mut Fold<'_>) {
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    while let Ok((number, judged)) = done.recv() {
        waiting.insert(number, judged);
        while let Some(judged) = waiting.remove(&next) {
            judged.into_iter().for_each(|line| fold.add(line));
            next += 1;
            let _ = permits.send(());
        }
    }
}
