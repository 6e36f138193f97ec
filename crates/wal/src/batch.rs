//! What one drain of the socket brought: whole messages, read in place.

use std::sync::{Arc, Weak};

use types::Lsn;

use crate::handoff::Handoff;

/// One frame of a replication stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A message of the output plugin (`XLogData`).
    Data {
        /// Where the data stands in the WAL; for pgoutput the position of the change or of the commit record, 0/0 for
        /// a Relation or Type message.
        wal_start: Lsn,
        /// The same again (logical streams do not use it otherwise).
        wal_end: Lsn,
        /// The plugin's message, for `pgoutput::Decoder`.
        body: &'a [u8],
    },
    /// The server has read its WAL up to here. Between transactions that means: nothing before it will come.
    Keepalive {
        /// How far the server has read.
        wal_end: Lsn,
        /// It wanted an answer at once; the read loop has given it.
        reply: bool,
    },
}

/// Frames that arrived together, in one buffer that goes back to the read loop when this is dropped. Keep it only as
/// long as it takes to decode: a few buffers are all that there are.
#[derive(Debug)]
pub struct Batch {
    /// Whole messages up to `end`.
    buffer: Vec<u8>,
    end: usize,
    home: Weak<Handoff>,
}

impl Batch {
    pub(crate) fn new(buffer: Vec<u8>, end: usize, home: &Arc<Handoff>) -> Self {
        Self { buffer, end, home: Arc::downgrade(home) }
    }

    /// The frames in the order of the stream.
    #[must_use]
    pub fn frames(&self) -> Frames<'_> {
        Frames(self.buffer.get(..self.end).unwrap_or_default())
    }

    /// How many bytes it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end
    }

    /// Whether it holds nothing (it never does).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end == 0
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            home.give_back(std::mem::take(&mut self.buffer));
        }
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = Frame<'a>;
    type IntoIter = Frames<'a>;

    fn into_iter(self) -> Frames<'a> {
        self.frames()
    }
}

/// Iterates over the frames of a [`Batch`].
#[derive(Debug, Clone)]
pub struct Frames<'a>(&'a [u8]);

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    #[inline]
    fn next(&mut self) -> Option<Frame<'a>> {
        loop {
            let (message, rest) = split(self.0)?;
            self.0 = rest;
            if let Message::Frame(frame) = classify(message) {
                return Some(frame);
            }
        }
    }
}

/// A message of the server: its tag and its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Raw<'a> {
    pub(crate) tag: u8,
    pub(crate) body: &'a [u8],
}

/// Takes the first whole message off; `None` when it is not whole yet.
#[inline]
pub(crate) fn split(bytes: &[u8]) -> Option<(Raw<'_>, &[u8])> {
    let (&[tag, a, b, c, d], _) = bytes.split_first_chunk::<5>()?;
    // The length counts itself; one that does not is damage, and tag 0 says so.
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let tag = if length < 4 { 0 } else { tag };
    let (message, rest) = bytes.split_at_checked(length.max(4) + 1)?;
    Some((Raw { tag, body: message.get(5..).unwrap_or_default() }, rest))
}

/// What a message means to a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Frame(Frame<'a>),
    /// Notices and parameter changes.
    Passing,
    /// The server reports an error, in the form of an ErrorResponse.
    Error(&'a [u8]),
    /// The server ends the stream.
    Done,
    /// Nothing that belongs here.
    Damaged(&'static str),
}

#[inline]
pub(crate) fn classify(message: Raw<'_>) -> Message<'_> {
    match message.tag {
        b'd' => frame(message.body).map_or(Message::Damaged("a frame of the stream is damaged"), Message::Frame),
        b'N' | b'S' | b'A' => Message::Passing,
        b'E' => Message::Error(message.body),
        b'c' | b'C' | b'Z' => Message::Done,
        _ => Message::Damaged("a message does not belong into a stream"),
    }
}

#[inline]
fn frame(body: &[u8]) -> Option<Frame<'_>> {
    let (&kind, rest) = body.split_first()?;
    match kind {
        b'w' => {
            let (wal_start, rest) = rest.split_first_chunk::<8>()?;
            let (wal_end, rest) = rest.split_first_chunk::<8>()?;
            let (_sent_at, body) = rest.split_first_chunk::<8>()?;
            Some(Frame::Data { wal_start: lsn(*wal_start), wal_end: lsn(*wal_end), body })
        }
        b'k' => {
            let (wal_end, rest) = rest.split_first_chunk::<8>()?;
            let (_sent_at, rest) = rest.split_first_chunk::<8>()?;
            Some(Frame::Keepalive { wal_end: lsn(*wal_end), reply: *rest.first()? != 0 })
        }
        _ => None,
    }
}

fn lsn(bytes: [u8; 8]) -> Lsn {
    Lsn(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        [&[tag][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
    }

    fn data(start: u64, body: &[u8]) -> Vec<u8> {
        message(b'd', &[b"w", &start.to_be_bytes()[..], &start.to_be_bytes(), &[0; 8], body].concat())
    }

    #[test]
    fn frames_come_in_order_and_the_rest_is_passed_over() {
        let keepalive = message(b'd', &[b"k", &9u64.to_be_bytes()[..], &[0; 8], &[1]].concat());
        let bytes = [data(7, b"one"), message(b'N', b"x\0"), keepalive, data(8, b"")].concat();
        let frames: Vec<_> = Frames(&bytes).collect();
        assert_eq!(
            frames,
            [
                Frame::Data { wal_start: Lsn(7), wal_end: Lsn(7), body: b"one" },
                Frame::Keepalive { wal_end: Lsn(9), reply: true },
                Frame::Data { wal_start: Lsn(8), wal_end: Lsn(8), body: b"" },
            ]
        );
    }

    #[test]
    fn a_message_that_is_not_whole_waits() {
        let bytes = data(7, b"one");
        for cut in 0..bytes.len() {
            assert_eq!(split(&bytes[..cut]), None);
        }
        assert_eq!(split(&bytes).map(|(_, rest)| rest.len()), Some(0));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(tag in prop::sample::select(b"dNSAEcCZ?".to_vec()), bytes: Vec<u8>) {
            let whole = message(tag, &bytes);
            for bytes in [&whole, &bytes] {
                Frames(bytes).count();
                let mut rest = &bytes[..];
                while let Some((message, behind)) = split(rest) {
                    assert!(behind.len() < rest.len());
                    classify(message);
                    rest = behind;
                }
            }
        }
    }

    #[test]
    fn damaged_frames_are_noticed() {
        for body in [&b""[..], b"w123", b"k\0\0", b"?"] {
            assert!(matches!(classify(Raw { tag: b'd', body }), Message::Damaged(_)));
        }
        assert!(matches!(classify(Raw { tag: b'T', body: b"" }), Message::Damaged(_)));
        let (short, rest) = split(b"N\0\0\0\0x").unwrap();
        assert!(matches!(classify(short), Message::Damaged(_)) && rest == b"x");
    }
}
