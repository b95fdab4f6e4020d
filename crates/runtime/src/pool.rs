//! A fixed number of threads for what only needs a processor: parsing, evaluating, signing.
//!
//! Jobs are taken in the order in which they came. There are as many threads as processors, so that a burst of
//! requests waits in one queue and not in the scheduler of the operating system.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

type Job = Box<dyn FnOnce() + Send>;

/// The threads. Dropping it lets them finish what is queued.
#[derive(Debug)]
pub(crate) struct Pool {
    jobs: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts `threads` threads; as many as there are processors where nothing is said.
    ///
    /// # Errors
    /// The operating system's, when it has no thread left.
    pub(crate) fn new(threads: Option<NonZeroUsize>) -> std::io::Result<Self> {
        let count = threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        let (sender, receiver) = mpsc::channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        let threads = (0..count)
            .map(|number| {
                let receiver = Arc::clone(&receiver);
                thread::Builder::new().name(format!("decide-{number}")).spawn(move || work(&receiver))
            })
            .collect::<std::io::Result<Vec<_>>>()?;
        Ok(Self { jobs: Some(sender), threads })
    }

    /// How many threads there are.
    pub(crate) fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Queues a job. One that panics ends alone: whoever waits for its result sees that it never came.
    pub(crate) fn spawn(&self, job: impl FnOnce() + Send + 'static) {
        if let Some(jobs) = &self.jobs {
            // The receiver lives as long as a thread does, and threads end only when the sender is dropped.
            let _ = jobs.send(Box::new(job));
        }
    }
}

fn work(jobs: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("a worker's job panicked; its request is answered as unavailable");
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        let this = thread::current().id();
        for thread in self.threads.drain(..) {
            if thread.thread().id() != this {
                // A worker catches what its jobs panic with, so there is nothing to hand on.
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn what_is_queued_is_done_before_the_pool_is_gone() {
        let done = Arc::new(AtomicUsize::new(0));
        let pool = Pool::new(NonZeroUsize::new(2)).unwrap();
        for _ in 0..100 {
            let done = Arc::clone(&done);
            pool.spawn(move || {
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        drop(pool);
        assert_eq!(done.load(Ordering::Relaxed), 100);
    }

    #[test]
    fn a_job_that_panics_takes_no_thread_with_it() {
        let pool = Pool::new(NonZeroUsize::new(1)).unwrap();
        pool.spawn(|| panic!("on purpose"));
        let (sender, receiver) = mpsc::channel();
        pool.spawn(move || sender.send(7).unwrap());
        assert_eq!(receiver.recv().unwrap(), 7);
    }
}
