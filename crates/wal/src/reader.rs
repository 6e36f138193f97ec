//! The read loop: a thread that drains the socket, hands batches over, and keeps the server informed.
//!
//! ```text
//! socket ─ read all that is there ─ split ─┬─ frames ──────────► Handoff (bounded)
//!    ▲                                     └─ "answer me" ──┐
//!    └────────────── status: received, confirmed ◄──────────┴── Control (confirmed position)
//! ```
//!
//! Invariants: a status never says "flushed" of more than was confirmed; frames reach the consumer in order, whole,
//! and before the error that ended the stream; the server hears from us at least every second, also while the
//! consumer does not take anything.
//!
//! # Why it pauses
//! PostgreSQL sends every row by itself. A reader that is woken for each costs both sides; one that leaves the socket
//! alone for a moment takes many at once. Measured with `examples/capture.rs` (PostgreSQL 15, two cores that were busy
//! with other work, 36 interleaved rounds of 150,000 rows, as ratios to `pg_recvlogical` in the same rounds):
//!
//! ```text
//! pause     rows/s median   rows/s best run   walsender's CPU a row   own CPU a row, decoding included
//! none           1.00            0.95               1.03                   1 (this row's own measure)
//! 100 µs         0.97            1.30               1.08                   0.74
//! 300 µs         1.01            1.01               1.04                   0.70
//! 500 µs         1.04            1.33               1.03                   0.61
//! 1 ms           1.00            1.09               1.03                   0.61
//! ```
//!
//! So on busy cores the walsender's own work (1.8 µs a row) is the limit, for `pg_recvlogical` and for every variant;
//! the differences of the medians are within the noise. What the pause surely saves is this side's CPU. Not told apart
//! from the noise in two to eight rounds each: buffers of 64 KiB and 1 MiB, receive windows of 16 to 256 KiB, a Unix
//! socket. Under TLS, where each row is a record of its own, the walsender needs 1.8 times the CPU, and the stream has
//! 0.6 times the speed of one without.
//! An idle stream never pauses: the first small read is handed over at once. Small reads that follow each other within
//! [`Pace::busy`] are many small transactions: with thousands a second, waking for each is most of what they cost here.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use types::Lsn;

use crate::batch::{Frame, Message, classify, split};
use crate::handoff::{Handoff, Push};
use crate::stream::Control;
use crate::wire::{LONGEST_MESSAGE, WRITE_PATIENCE, Wire};
use crate::{Batch, ServerError, WalError};

/// A status goes out at least this often.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// A newly confirmed position goes out at most this often.
const CONFIRM_EVERY: Duration = Duration::from_millis(100);
/// The server is asked for a sign of life when it was silent this long…
const ASK_AFTER: Duration = Duration::from_secs(15);
/// … and given up when it was silent this long. A walsender in the middle of a large transaction of which nothing is
/// published may be silent for minutes; a host that is gone is noticed earlier, by TCP.
const SILENT_AFTER: Duration = Duration::from_secs(300);
/// How long the server may take to let go of the slot.
const GOODBYE: Duration = Duration::from_secs(1);

/// How the read loop waits under load. The default is the best that was measured with `examples/capture.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long the socket is left alone after a read that brought much.
    pub pause: Duration,
    /// How many bytes are much. A read of fewer is followed by a wait for the next byte, without a pause.
    pub much_bytes: usize,
    /// How long it is left alone after a small read that came this soon behind another.
    pub busy: Duration,
    /// How large the buffers are that are read into.
    pub buffer_bytes: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            pause: Duration::from_micros(500),
            much_bytes: 4096,
            busy: Duration::from_millis(1),
            buffer_bytes: 256 * 1024,
        }
    }
}

/// The thread's state.
pub(crate) struct Reader {
    wire: Wire,
    pace: Pace,
    control: Arc<Control>,
    handoff: Arc<Handoff>,
    /// What is read and not handed over: up to `filled`, of which up to `scanned` are whole messages.
    buffer: Vec<u8>,
    filled: usize,
    scanned: usize,
    /// The furthest position that the server told of.
    received: Lsn,
    /// The confirmed position in the last status.
    sent: Lsn,
    sent_at: Instant,
    heard_at: Instant,
    /// When the last read that brought something began to be looked at.
    read_at: Instant,
    asked: bool,
    /// Why the stream ended, to be told behind what was read before.
    end: Option<WalError>,
    /// The server could not be written to.
    unwritable: Option<WalError>,
}

impl Reader {
    pub(crate) fn new(mut wire: Wire, from: Lsn, pace: Pace, control: Arc<Control>, handoff: Arc<Handoff>) -> Self {
        let mut buffer = handoff.buffer();
        // What came together with the start of the stream.
        let early = std::mem::take(&mut wire.inbox);
        if buffer.len() < early.len() {
            buffer.resize(early.len(), 0);
        }
        for (to, from) in buffer.iter_mut().zip(&early) {
            *to = *from;
        }
        let now = Instant::now();
        Self {
            wire,
            pace,
            control,
            handoff,
            buffer,
            filled: early.len(),
            scanned: 0,
            received: from,
            sent: Lsn::ZERO,
            sent_at: now,
            heard_at: now,
            read_at: now,
            asked: false,
            end: None,
            unwritable: None,
        }
    }

    /// The thread: reads until the consumer goes or the stream breaks.
    pub(crate) fn run(mut self) {
        let end = self.read_on().err();
        if end.is_none() {
            self.say_goodbye();
        }
        if let Some(error) = &end {
            tracing::debug!(peer = self.wire.peer, %error, "replication stream ended");
        }
        let Self { wire, handoff, .. } = self;
        wire.terminate();
        handoff.finish(end);
    }

    /// `Ok` when the consumer wants no more.
    fn read_on(&mut self) -> Result<(), WalError> {
        self.scan()?;
        loop {
            if !self.hand_over()? {
                return Ok(());
            }
            if let Some(end) = self.end.take() {
                return Err(end);
            }
            self.send_what_is_due();
            if let Some(error) = self.unwritable.take() {
                return Err(self.last_words().unwrap_or(error));
            }
            let read = self.read()?;
            if read == 0 {
                self.wait()?;
                continue;
            }
            self.scan()?;
            let busy = self.read_at.elapsed() < self.pace.busy * 2;
            self.read_at = self.heard_at;
            let pause = match read >= self.pace.much_bytes {
                true => self.pace.pause,
                false if busy => self.pace.busy,
                false => continue,
            };
            if !pause.is_zero() {
                if !self.hand_over()? {
                    return Ok(());
                }
                std::thread::sleep(pause);
            }
        }
    }

    /// A server that ends a connection says why before; what it said may still wait to be read.
    fn last_words(&mut self) -> Option<WalError> {
        while matches!(self.read(), Ok(1..)) && self.scan().is_ok() && matches!(self.hand_over(), Ok(true)) {
            if self.end.is_some() {
                break;
            }
        }
        self.end.take()
    }

    /// Reads what is there; 0 when nothing is.
    fn read(&mut self) -> Result<usize, WalError> {
        let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
        match self.wire.socket.read(room) {
            Ok(0) => Err(self.wire.ended("the server closed it")),
            Ok(n) => {
                self.filled += n;
                self.heard_at = Instant::now();
                self.asked = false;
                Ok(n)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(e) => Err(self.wire.broken(&e)),
        }
    }

    /// Looks at the whole messages among what was read, answers the server, and makes room for the rest.
    fn scan(&mut self) -> Result<(), WalError> {
        let mut answer = false;
        while self.end.is_none() {
            let rest = self.buffer.get(self.scanned..self.filled).unwrap_or_default();
            let Some((message, behind)) = split(rest) else { break };
            match classify(message) {
                Message::Frame(Frame::Data { wal_start, wal_end, .. }) => {
                    self.received = self.received.max(wal_start).max(wal_end);
                }
                Message::Frame(Frame::Keepalive { wal_end, reply }) => {
                    self.received = self.received.max(wal_end);
                    answer |= reply;
                }
                Message::Passing => {}
                Message::Error(body) => self.end = Some(self.server_error(body)),
                Message::Done => self.end = Some(self.wire.ended("the server ended the stream")),
                Message::Damaged(what) => self.end = Some(self.wire.protocol(what.to_owned())),
            }
            if self.end.is_none() {
                self.scanned = self.filled - behind.len();
            }
        }
        if answer && self.end.is_none() {
            self.send_status(false);
        }
        self.grow_for_a_large_message()
    }

    /// A message larger than the buffer gets a larger one, step by step as its bytes come.
    fn grow_for_a_large_message(&mut self) -> Result<(), WalError> {
        if self.scanned > 0 || self.filled < self.buffer.len() {
            return Ok(());
        }
        let announced = match self.buffer.first_chunk::<5>() {
            Some([_, length @ ..]) => u32::from_be_bytes(*length) as usize + 1,
            None => 0,
        };
        if announced > LONGEST_MESSAGE {
            return Err(self.wire.protocol(format!("a message of {announced} bytes")));
        }
        let larger = (self.buffer.len() * 2).max(64);
        self.buffer.resize(larger, 0);
        Ok(())
    }

    /// Gives the whole messages away, keeping the server informed while there is no room. `false` when nobody wants
    /// them any more.
    fn hand_over(&mut self) -> Result<bool, WalError> {
        if self.control.is_closing() {
            return Ok(false);
        }
        if self.scanned == 0 {
            return Ok(true);
        }
        let mut next = self.handoff.buffer();
        let begun = self.buffer.get(self.scanned..self.filled).unwrap_or_default();
        if next.len() < begun.len() {
            next.resize(begun.len().max(self.pace.buffer_bytes), 0);
        }
        let begun_bytes = begun.len();
        if let Some(front) = next.get_mut(..begun_bytes) {
            front.copy_from_slice(begun);
        }
        let full = std::mem::replace(&mut self.buffer, next);
        let mut batch = Batch::new(full, self.scanned, &self.handoff);
        self.filled = begun_bytes;
        self.scanned = 0;
        loop {
            match self.handoff.push(batch, CONFIRM_EVERY) {
                Push::Taken => break,
                Push::Gone => return Ok(false),
                Push::Full(again) => {
                    batch = again;
                    // Not reading is our choice: the server is not silent.
                    self.heard_at = Instant::now();
                    self.send_what_is_due();
                }
            }
        }
        // The begin of a large message may fill its buffer.
        self.grow_for_a_large_message()?;
        Ok(true)
    }

    /// Waits for the server, for the consumer's word, or for the next status to be due.
    fn wait(&mut self) -> Result<(), WalError> {
        let now = Instant::now();
        let due = if self.control.confirmed() > self.sent { CONFIRM_EVERY } else { STATUS_EVERY };
        let timeout = (self.sent_at + due).saturating_duration_since(now);
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        let mut waiting =
            [PollFd::new(self.wire.socket.transport(), PollFlags::IN), PollFd::new(&self.control.wake, PollFlags::IN)];
        match poll(&mut waiting, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(self.wire.broken(&error.into())),
        }
        let woken = waiting.last().is_some_and(|wake| wake.revents().contains(PollFlags::IN));
        if woken {
            self.control.rest();
        }
        let silent = self.heard_at.elapsed();
        if silent > SILENT_AFTER {
            return Err(self.wire.ended("the server has been silent for five minutes"));
        }
        if silent > ASK_AFTER && !self.asked {
            self.asked = true;
            self.send_status(true);
        }
        Ok(())
    }

    /// Sends a status when one is due.
    fn send_what_is_due(&mut self) {
        let since = self.sent_at.elapsed();
        if since >= STATUS_EVERY || (since >= CONFIRM_EVERY && self.control.confirmed() > self.sent) {
            self.send_status(false);
        }
    }

    /// `r`, written, flushed, applied, the time in µs since 2000, whether an answer is wanted.
    fn send_status(&mut self, ask: bool) {
        let confirmed = self.control.confirmed();
        let mut out = Vec::with_capacity(39);
        out.push(b'd');
        out.extend(38u32.to_be_bytes());
        out.push(b'r');
        out.extend(self.received.max(confirmed).0.to_be_bytes());
        out.extend(confirmed.0.to_be_bytes());
        out.extend(confirmed.0.to_be_bytes());
        out.extend(clock().to_be_bytes());
        out.push(ask.into());
        if let Err(error) = self.wire.socket.write_all(&out, WRITE_PATIENCE) {
            self.unwritable = Some(self.wire.broken(&error));
        }
        self.sent = confirmed;
        self.sent_at = Instant::now();
    }

    /// The last status, then "no more from me", then what still comes is thrown away until the server is done: then
    /// it has let go of the slot.
    fn say_goodbye(&mut self) {
        const COPY_DONE: [u8; 5] = [b'c', 0, 0, 0, 4];
        let until = Instant::now() + GOODBYE;
        self.send_status(false);
        if self.unwritable.is_some() || self.wire.socket.write_all(&COPY_DONE, GOODBYE).is_err() {
            return;
        }
        loop {
            self.buffer.copy_within(self.scanned..self.filled, 0);
            self.filled -= self.scanned;
            self.scanned = 0;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.grow_for_a_large_message().is_err() {
                return;
            }
            match self.read() {
                Ok(0) => {
                    let timeout = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().min(50_000_000).into() };
                    // Whatever ends the wait, the next read tells.
                    let _ = poll(&mut [PollFd::new(self.wire.socket.transport(), PollFlags::IN)], Some(&timeout));
                }
                Ok(_) => {}
                Err(_) => return,
            }
            while let Some((message, behind)) = split(self.buffer.get(self.scanned..self.filled).unwrap_or_default()) {
                // Ready for the next command, or out of order: either way the slot is free.
                if matches!(message.tag, b'Z' | b'E') {
                    return;
                }
                self.scanned = self.filled - behind.len();
            }
        }
    }

    /// The server's error in a stream. Removed WAL (58P01) means that the slot has lost its place.
    fn server_error(&self, body: &[u8]) -> WalError {
        let mut whole = bytes::BytesMut::with_capacity(body.len() + 5);
        whole.extend_from_slice(b"E");
        whole.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        whole.extend_from_slice(body);
        match postgres_protocol::message::backend::Message::parse(&mut whole) {
            Ok(Some(postgres_protocol::message::backend::Message::ErrorResponse(body))) => {
                let error = ServerError::from_body(&body);
                if error.code == "58P01" {
                    let slot = std::thread::current().name().unwrap_or_default().trim_start_matches("wal-").to_owned();
                    return WalError::SlotLost { slot, reason: error.to_string() };
                }
                error.into()
            }
            _ => self.wire.protocol("an error that cannot be read".to_owned()),
        }
    }
}

/// Now, in microseconds since 2000-01-01.
fn clock() -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX).saturating_sub(946_684_800_000_000)
}
