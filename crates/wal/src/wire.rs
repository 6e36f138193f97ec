//! PostgreSQL's messages over a blocking socket: one at a time, for log-in and replication commands.
//!
//! The read loop of a stream does not use it: it takes the socket and the bytes that were read too far.

use std::io;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::message::backend::{Header, Message};
use postgres_protocol::message::frontend;

use crate::socket::{Socket, Transport};
use crate::{Endpoint, ServerError, WalError};

/// How long a write to a server that does not read may take.
pub(crate) const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// PostgreSQL's own limit of a message is one gibibyte.
pub(crate) const LONGEST_MESSAGE: usize = (1 << 30) + 64;
const COPY_BOTH_RESPONSE: u8 = b'W';

/// A message of the server, with the one that `postgres-protocol` does not know.
pub(crate) enum Reply {
    Message(Message),
    /// The answer to START_REPLICATION.
    CopyBoth,
}

/// A connection that messages are exchanged over, blocking.
pub(crate) struct Wire {
    pub(crate) socket: Socket,
    /// Bytes read and not yet taken.
    pub(crate) inbox: BytesMut,
    pub(crate) peer: String,
}

impl Wire {
    pub(crate) fn new(socket: Socket, peer: String) -> Self {
        Self { socket, inbox: BytesMut::with_capacity(16 * 1024), peer }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), WalError> {
        self.socket.write_all(bytes, WRITE_PATIENCE).map_err(|e| self.broken(&e))
    }

    /// Waits for the next message that matters: notices and parameter changes are passed over.
    pub(crate) fn receive(&mut self) -> Result<Reply, WalError> {
        loop {
            match self.next_message()? {
                Some(Reply::Message(Message::NoticeResponse(_) | Message::ParameterStatus(_))) => {}
                Some(reply) => return Ok(reply),
                None => self.fill()?,
            }
        }
    }

    fn next_message(&mut self) -> Result<Option<Reply>, WalError> {
        let Some(header) = Header::parse(&self.inbox).map_err(|e| self.protocol(e.to_string()))? else {
            return Ok(None);
        };
        let length = usize::try_from(header.len()).unwrap_or(usize::MAX);
        if length > LONGEST_MESSAGE {
            return Err(self.protocol(format!("a message of {length} bytes")));
        }
        if header.tag() == COPY_BOTH_RESPONSE {
            if self.inbox.len() <= length {
                return Ok(None);
            }
            let _ = self.inbox.split_to(length + 1);
            return Ok(Some(Reply::CopyBoth));
        }
        let message = Message::parse(&mut self.inbox).map_err(|e| self.protocol(e.to_string()))?;
        Ok(message.map(Reply::Message))
    }

    fn fill(&mut self) -> Result<(), WalError> {
        let mut chunk = [0; 8192];
        match self.socket.read(&mut chunk) {
            Ok(0) => Err(self.ended("the server closed it")),
            Ok(n) => {
                self.inbox.extend_from_slice(chunk.get(..n).unwrap_or_default());
                Ok(())
            }
            Err(e) => Err(self.broken(&e)),
        }
    }

    /// Sends one statement and gives its rows as text. A server's error leaves the connection usable.
    pub(crate) fn query(&mut self, statement: &str) -> Result<Vec<Vec<Option<String>>>, WalError> {
        let mut out = BytesMut::new();
        frontend::query(statement, &mut out).map_err(|e| self.protocol(e.to_string()))?;
        self.send(&out)?;
        let mut rows = Vec::new();
        let mut failed = None;
        loop {
            match self.receive()? {
                Reply::Message(Message::ReadyForQuery(_)) => break,
                Reply::Message(Message::ErrorResponse(body)) => {
                    let error = ServerError::from_body(&body);
                    if error.severity == "FATAL" {
                        return Err(error.into());
                    }
                    failed = Some(error);
                }
                Reply::Message(Message::DataRow(row)) => rows.push(self.texts(&row)?),
                Reply::Message(_) => {}
                Reply::CopyBoth => return Err(self.protocol("an unexpected start of streaming".to_owned())),
            }
        }
        failed.map_or(Ok(rows), |error| Err(error.into()))
    }

    fn texts(&self, row: &postgres_protocol::message::backend::DataRowBody) -> Result<Vec<Option<String>>, WalError> {
        use fallible_iterator::FallibleIterator as _;
        let damaged = |_| self.protocol("a damaged row".to_owned());
        let mut texts = Vec::new();
        let mut ranges = row.ranges();
        while let Some(range) = ranges.next().map_err(damaged)? {
            let bytes = range.map(|range| row.buffer().get(range).unwrap_or_default());
            texts.push(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()));
        }
        Ok(texts)
    }

    /// Says goodbye, as far as the server still listens.
    pub(crate) fn terminate(mut self) {
        let mut out = BytesMut::new();
        frontend::terminate(&mut out);
        let _ = self.socket.write_all(&out, Duration::from_millis(100));
        self.socket.transport().shutdown();
    }

    /// Says goodbye and waits (a second at most) until the server has ended its side: then its temporary slots are gone.
    pub(crate) fn terminate_and_wait(mut self) {
        let mut out = BytesMut::new();
        frontend::terminate(&mut out);
        let patience = Duration::from_secs(1);
        let asked = self.socket.transport().set_timeout(Some(patience)).is_ok()
            && self.socket.write_all(&out, patience).is_ok();
        let until = Instant::now() + patience;
        let mut rest = [0; 1024];
        while asked && Instant::now() < until && matches!(self.socket.read(&mut rest), Ok(1..)) {}
        self.socket.transport().shutdown();
    }

    pub(crate) fn broken(&self, error: &io::Error) -> WalError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => self.ended("the server does not answer in time"),
            _ => self.ended(&error.to_string()),
        }
    }

    pub(crate) fn ended(&self, reason: &str) -> WalError {
        WalError::Disconnected { peer: self.peer.clone(), reason: reason.to_owned() }
    }

    pub(crate) fn protocol(&self, reason: String) -> WalError {
        WalError::Protocol { peer: self.peer.clone(), reason }
    }
}

/// What is needed to break off whatever a connection is doing, from another thread.
pub(crate) struct Canceller {
    pub(crate) endpoint: Endpoint,
    pub(crate) transport: Transport,
    pub(crate) process_id: i32,
    pub(crate) secret_key: i32,
}

impl Canceller {
    /// Asks the server to end the command (as `psql` does on Ctrl-C), then ends the connection.
    pub(crate) fn cancel(self) {
        let ask = || -> io::Result<()> {
            let transport = Transport::connect(&self.endpoint)?;
            let mut out = BytesMut::new();
            frontend::cancel_request(self.process_id, self.secret_key, &mut out);
            Socket::plain(transport).write_all(&out, Duration::from_secs(5))
        };
        if let Err(error) = ask() {
            tracing::debug!(%error, "could not cancel a replication command");
        }
        self.transport.shutdown();
    }
}
