//! Between the reader thread and the task that takes its batches: a bounded queue, and the buffers' way back.
//!
//! ```text
//! reader thread ── push (waits for room, a while) ──► queue ── next().await ──► consumer
//!        ◄─────────────── spare buffers ◄───────────────────── Batch dropped
//! ```
//!
//! The thread never waits longer than it is told to, so that it can send a status to the server although the
//! consumer is slow; the consumer's slowness is felt at the server's socket.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::{Batch, WalError};

/// How many batches wait for the consumer.
const QUEUED: usize = 4;
/// How many buffers are kept for use again.
const SPARE: usize = QUEUED + 2;

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Batch>,
    spare: Vec<Vec<u8>>,
    /// The reader has ended, and why.
    end: Option<WalError>,
    ended: bool,
    /// The consumer has gone.
    gone: bool,
}

/// The queue. One thread pushes, one task takes.
#[derive(Debug)]
pub(crate) struct Handoff {
    state: Mutex<State>,
    /// There is room, or the consumer has gone.
    room: Condvar,
    /// There is a batch, or the end.
    ready: Notify,
    buffer_bytes: usize,
}

/// What became of a batch.
pub(crate) enum Push {
    /// It is in the queue.
    Taken,
    /// There was no room in time: here it is again.
    Full(Batch),
    /// Nobody will take it.
    Gone,
}

impl Handoff {
    pub(crate) fn new(buffer_bytes: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), room: Condvar::new(), ready: Notify::new(), buffer_bytes })
    }

    /// Nothing that holds the lock can panic half-way; a poisoned one is as good.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a batch into the queue, waiting at most `patience` for room.
    pub(crate) fn push(&self, batch: Batch, patience: Duration) -> Push {
        let full = |state: &mut State| state.queue.len() >= QUEUED && !state.gone;
        let waited = self.room.wait_timeout_while(self.state(), patience, full);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.gone {
            drop(state);
            return Push::Gone;
        }
        if state.queue.len() >= QUEUED {
            return Push::Full(batch);
        }
        state.queue.push_back(batch);
        drop(state);
        self.ready.notify_one();
        Push::Taken
    }

    /// The next batch; the reader's end as an error, once, then [`WalError::Closed`]. Loses nothing when cancelled.
    pub(crate) async fn next(&self) -> Result<Batch, WalError> {
        loop {
            {
                let mut state = self.state();
                if let Some(batch) = state.queue.pop_front() {
                    self.room.notify_one();
                    return Ok(batch);
                }
                if state.ended {
                    return Err(state.end.take().unwrap_or(WalError::Closed));
                }
            }
            // A batch that came in between left a permit.
            self.ready.notified().await;
        }
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.state().queue.is_empty()
    }

    /// The reader ends; `why` is `None` for a stop that was asked for.
    pub(crate) fn finish(&self, why: Option<WalError>) {
        let mut state = self.state();
        state.end = why;
        state.ended = true;
        drop(state);
        self.ready.notify_one();
    }

    /// Waits until the reader has ended, throwing away what is queued.
    pub(crate) async fn ended(&self) {
        while !self.state().ended {
            self.ready.notified().await;
        }
    }

    /// The consumer goes: a waiting push returns.
    pub(crate) fn leave(&self) {
        let queue = {
            let mut state = self.state();
            state.gone = true;
            std::mem::take(&mut state.queue)
        };
        // Outside the lock: dropped batches come back here.
        drop(queue);
        self.room.notify_one();
    }

    /// A buffer to read into, all of it initialised.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        self.state().spare.pop().unwrap_or_else(|| vec![0; self.buffer_bytes])
    }

    /// Takes a buffer back; one that grew for a large message is let go.
    pub(crate) fn give_back(&self, buffer: Vec<u8>) {
        if buffer.len() == self.buffer_bytes {
            let mut state = self.state();
            if state.spare.len() < SPARE {
                state.spare.push(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(handoff: &Arc<Handoff>, n: u8) -> Batch {
        let mut buffer = handoff.buffer();
        buffer[0] = n;
        Batch::new(buffer, 1, handoff)
    }

    #[tokio::test]
    async fn a_full_queue_gives_the_batch_back_and_takes_it_when_there_is_room() {
        let handoff = Handoff::new(8);
        for n in 0..QUEUED {
            assert!(matches!(handoff.push(batch(&handoff, n as u8), Duration::ZERO), Push::Taken));
        }
        let Push::Full(refused) = handoff.push(batch(&handoff, 9), Duration::from_millis(1)) else { panic!() };
        handoff.next().await.unwrap();
        assert!(matches!(handoff.push(refused, Duration::ZERO), Push::Taken));
        handoff.finish(None);
        for _ in 0..QUEUED {
            handoff.next().await.unwrap();
        }
        assert!(matches!(handoff.next().await, Err(WalError::Closed)));
    }

    #[tokio::test]
    async fn the_end_comes_behind_the_batches_and_once() {
        let handoff = Handoff::new(8);
        assert!(matches!(handoff.push(batch(&handoff, 1), Duration::ZERO), Push::Taken));
        handoff.finish(Some(WalError::Disconnected { peer: "h".into(), reason: "x".into() }));
        assert_eq!(handoff.next().await.unwrap().len(), 1);
        assert!(matches!(handoff.next().await, Err(WalError::Disconnected { .. })));
        assert!(matches!(handoff.next().await, Err(WalError::Closed)));
    }

    #[test]
    fn buffers_come_back_and_a_waiting_push_ends_when_the_consumer_goes() {
        let handoff = Handoff::new(8);
        drop(batch(&handoff, 1));
        assert_eq!(handoff.state().spare.len(), 1);
        handoff.give_back(vec![0; 100]);
        assert_eq!(handoff.state().spare.len(), 1, "a grown buffer is let go");
        for n in 0..QUEUED {
            assert!(matches!(handoff.push(batch(&handoff, n as u8), Duration::ZERO), Push::Taken));
        }
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| handoff.push(batch(&handoff, 9), Duration::from_secs(60)));
            handoff.leave();
            assert!(matches!(waiting.join().unwrap(), Push::Gone));
        });
    }
}
