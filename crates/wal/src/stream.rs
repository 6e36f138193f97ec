//! A running replication stream, as its consumer sees it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::event::EventfdFlags;
use types::Lsn;

use crate::handoff::Handoff;
use crate::reader::{Pace, Reader};
use crate::wire::Wire;
use crate::{Batch, WalError};

/// What the consumer tells the reader thread.
#[derive(Debug)]
pub(crate) struct Control {
    /// Everything before it is safe; never goes back.
    confirmed: AtomicU64,
    closing: AtomicBool,
    /// The thread has been woken and has not looked yet.
    woken: AtomicBool,
    /// Wakes the thread out of its wait for the socket.
    pub(crate) wake: OwnedFd,
}

impl Control {
    fn new() -> std::io::Result<Self> {
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { confirmed: AtomicU64::new(0), closing: AtomicBool::new(false), woken: AtomicBool::new(false), wake })
    }

    pub(crate) fn confirmed(&self) -> Lsn {
        Lsn(self.confirmed.load(Ordering::Acquire))
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// The thread was woken, and looks at everything after this. The order matters: who finds `woken` set relies on
    /// the look that follows its being unset.
    pub(crate) fn rest(&self) {
        // It was readable, so this does not fail; if it did, the next wait would end at once.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        self.woken.swap(false, Ordering::AcqRel);
    }

    fn rouse(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            // The counter cannot be full: it is written once between two reads.
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
    }
}

/// Tells the server how far it need not send again. Cheap to clone, usable from anywhere.
#[derive(Debug, Clone)]
pub struct Feedback(Arc<Control>);

impl Feedback {
    /// Everything before `lsn` is durable on this side: the slot may move there, and the WAL before it may go. A
    /// lower position than an earlier one changes nothing. It is sent within about 100 ms, in the background.
    pub fn confirm(&self, lsn: Lsn) {
        if self.0.confirmed.fetch_max(lsn.0, Ordering::AcqRel) < lsn.0 {
            self.0.rouse();
        }
    }

    /// The highest position given to [`Self::confirm`] (or 0/0).
    #[must_use]
    pub fn confirmed(&self) -> Lsn {
        self.0.confirmed()
    }
}

/// A stream of batches. A thread of its own reads the socket, answers the server's keepalives and sends the
/// confirmed position; [`Self::next`] takes what it read.
///
/// Dropping it ends the stream in the background; [`Self::close`] waits until the server has let go of the slot.
#[derive(Debug)]
pub struct ReplicationStream {
    handoff: Arc<Handoff>,
    control: Arc<Control>,
}

impl ReplicationStream {
    pub(crate) fn new(wire: Wire, slot: &str, from: Lsn, pace: Pace) -> Result<Self, WalError> {
        let broken = |error: std::io::Error| WalError::Disconnected {
            peer: wire.peer.clone(),
            reason: format!("the reader cannot be started: {error}"),
        };
        wire.socket.set_nonblocking().map_err(broken)?;
        let control = Arc::new(Control::new().map_err(broken)?);
        let handoff = Handoff::new(pace.buffer_bytes);
        let thread = std::thread::Builder::new().name(format!("wal-{slot}"));
        let peer = wire.peer.clone();
        let reader = Reader::new(wire, from, pace, Arc::clone(&control), Arc::clone(&handoff));
        thread.spawn(move || reader.run()).map_err(|error| WalError::Disconnected {
            peer,
            reason: format!("the reader cannot be started: {error}"),
        })?;
        Ok(Self { handoff, control })
    }

    /// Waits until there is something, then gives what was read together. Loses nothing when its future is dropped.
    ///
    /// # Errors
    /// Why the stream ended, once, behind all that arrived before; then [`WalError::Closed`].
    pub async fn next(&mut self) -> Result<Batch, WalError> {
        self.handoff.next().await
    }

    /// Whether no further batch has arrived yet: the moment to send on what was collected.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.handoff.is_drained()
    }

    /// The handle that moves the slot.
    #[must_use]
    pub fn feedback(&self) -> Feedback {
        Feedback(Arc::clone(&self.control))
    }

    /// Ends the stream in order: sends the confirmed position a last time and waits (a second at most) until the
    /// server has let go of the slot. What has arrived and was not taken is thrown away; the server sends it again.
    pub async fn close(self) {
        self.stop();
        self.handoff.ended().await;
    }

    fn stop(&self) {
        self.control.closing.store(true, Ordering::Release);
        self.control.rouse();
        self.handoff.leave();
    }
}

impl Drop for ReplicationStream {
    fn drop(&mut self) {
        self.stop();
    }
}
