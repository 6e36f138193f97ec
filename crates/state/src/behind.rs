//! Writes under way on a thread of their own, one after the other.
//!
//! Whoever reads or writes the store waits for them first, so that to them they have happened already. While nobody does, what
//! comes next can be computed. A process that ends before a write is durable has not written anything of it; one that ends
//! between it and what is called then has it, and must find that out by itself.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::{Batch, StateError};

/// Memory of a batch that is kept for the next.
const SPARE: usize = 16 << 20;
/// So many batches may wait for the one that is being written, with so many bytes in all, before who brings more waits, too: what
/// is made of more time is larger and not more.
const WAITING: usize = 2;
const WAITING_BYTES: usize = 64 << 20;

/// Writes a batch and gives it back.
pub(crate) type Job = Box<dyn FnOnce() -> Result<Batch, StateError> + Send>;

/// See the module's description.
#[derive(Default)]
pub(crate) struct Behind(Arc<(Mutex<Writing>, Condvar)>);

#[derive(Default)]
struct Writing {
    /// With the bytes of each.
    jobs: VecDeque<(usize, Job)>,
    bytes: usize,
    /// The thread is there.
    runs: bool,
    /// What went wrong and was not told yet.
    error: Option<StateError>,
    /// What went wrong: nothing may be read or written any more, since whoever wrote went on as if it had been well.
    failed: Option<String>,
    /// Empty, with memory.
    spare: Batch,
}

impl Behind {
    fn writing(&self) -> MutexGuard<'_, Writing> {
        lock(&self.0.0)
    }

    /// Until nothing is being written.
    ///
    /// # Errors
    /// The write's, the first time, and then [`StateError::Behind`].
    pub(crate) fn wait(&self) -> Result<(), StateError> {
        let writing = self.0.1.wait_while(self.writing(), |w| w.runs).unwrap_or_else(PoisonError::into_inner);
        outcome(writing)
    }

    /// Whether anything is being written.
    pub(crate) fn is_busy(&self) -> bool {
        self.writing().runs
    }

    /// Has a batch of so many bytes written, after those before it. The job must not wait here.
    ///
    /// # Errors
    /// Those of what was being written, and [`StateError::Behind`] without a thread.
    pub(crate) fn start(&self, bytes: usize, job: Job) -> Result<(), StateError> {
        let full =
            |w: &mut Writing| w.runs && w.bytes > 0 && (w.jobs.len() >= WAITING || w.bytes + bytes > WAITING_BYTES);
        let mut writing = self.0.1.wait_while(self.writing(), full).unwrap_or_else(PoisonError::into_inner);
        if writing.failed.is_some() {
            return outcome(writing);
        }
        writing.bytes += bytes;
        writing.jobs.push_back((bytes, job));
        if !std::mem::replace(&mut writing.runs, true) {
            let shared = self.0.clone();
            let thread = std::thread::Builder::new().name("write".into()).spawn(move || run(&shared));
            if let Err(error) = thread {
                writing.jobs.clear();
                writing.runs = false;
                writing.failed = Some(error.to_string());
                return outcome(writing);
            }
        }
        Ok(())
    }

    /// An empty batch, with the memory of one that was written if there is any.
    pub(crate) fn spare(&self) -> Batch {
        std::mem::take(&mut self.writing().spare)
    }
}

fn lock(writing: &Mutex<Writing>) -> MutexGuard<'_, Writing> {
    writing.lock().unwrap_or_else(PoisonError::into_inner)
}

fn outcome(mut writing: MutexGuard<'_, Writing>) -> Result<(), StateError> {
    match (writing.error.take(), &writing.failed) {
        (Some(error), _) => Err(error),
        (None, Some(text)) => Err(StateError::Behind(text.clone())),
        (None, None) => Ok(()),
    }
}

/// The thread: until nothing is left to write, or something could not be.
fn run(shared: &(Mutex<Writing>, Condvar)) {
    let mut writing = lock(&shared.0);
    while let Some((bytes, job)) = writing.jobs.pop_front() {
        drop(writing);
        // There is room for another.
        shared.1.notify_all();
        let panicked = |_| Err(StateError::Behind("the thread that wrote panicked".into()));
        let done = std::panic::catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(panicked);
        writing = lock(&shared.0);
        writing.bytes -= bytes;
        match done {
            Ok(batch) if batch.capacity() <= SPARE => writing.spare = batch,
            Ok(_) => {}
            Err(error) => {
                // What waits behind it is not durable either, and nobody is told that it were.
                writing.jobs.clear();
                writing.bytes = 0;
                writing.failed = Some(error.to_string());
                writing.error = Some(error);
            }
        }
        shared.1.notify_all();
    }
    writing.runs = false;
    shared.1.notify_all();
}
