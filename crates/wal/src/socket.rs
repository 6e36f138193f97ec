//! A blocking socket to a node, TCP or Unix, with or without TLS: bytes in, bytes out.
//!
//! Log-in and commands use it blocking; the read loop makes it non-blocking and waits with `poll`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::session::tls_cause;
use crate::{Endpoint, WalError};

/// How much is read from the kernel at once when the bytes are encrypted.
const CIPHER_BYTES: usize = 256 * 1024;

/// The bare socket.
#[derive(Debug)]
pub(crate) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Transport {
    /// Tries the host's addresses one after the other, within the endpoint's connection timeout each.
    pub(crate) fn connect(endpoint: &Endpoint) -> io::Result<Self> {
        if let Some(path) = endpoint.unix_socket() {
            return UnixStream::connect(path).map(Self::Unix);
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host's name has no address");
        for address in (endpoint.host(), endpoint.port()).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, endpoint.connect_timeout()) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    // A host that vanished is noticed within a minute, whether anything is written or not.
                    rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
                    rustix::net::sockopt::set_tcp_keepidle(&stream, Duration::from_secs(30))?;
                    rustix::net::sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(10))?;
                    rustix::net::sockopt::set_tcp_keepcnt(&stream, 3)?;
                    #[cfg(target_os = "linux")]
                    rustix::net::sockopt::set_tcp_user_timeout(&stream, 60_000)?;
                    return Ok(Self::Tcp(stream));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(s) => s.try_clone().map(Self::Tcp),
            Self::Unix(s) => s.try_clone().map(Self::Unix),
        }
    }

    /// Ends both directions, for all clones.
    pub(crate) fn shutdown(&self) {
        // An error says that it has ended before.
        let _ = match self {
            Self::Tcp(s) => s.shutdown(Shutdown::Both),
            Self::Unix(s) => s.shutdown(Shutdown::Both),
        };
    }

    fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        match self {
            Self::Tcp(s) => s.set_nonblocking(on),
            Self::Unix(s) => s.set_nonblocking(on),
        }
    }

    pub(crate) fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(s) => s.set_read_timeout(timeout).and_then(|()| s.set_write_timeout(timeout)),
            Self::Unix(s) => s.set_read_timeout(timeout).and_then(|()| s.set_write_timeout(timeout)),
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(s) => s.as_fd(),
            Self::Unix(s) => s.as_fd(),
        }
    }
}

impl Read for Transport {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(s) => s.read(into),
            Self::Unix(s) => s.read(into),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(s) => s.write(bytes),
            Self::Unix(s) => s.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The encrypting half of a socket.
struct Tls {
    connection: ClientConnection,
    /// Bytes read from the kernel and not yet taken by rustls, which takes little at a time.
    cipher: Vec<u8>,
    taken: usize,
    filled: usize,
}

/// A socket that PostgreSQL's messages can be read from and written to.
pub(crate) struct Socket {
    transport: Transport,
    tls: Option<Box<Tls>>,
}

impl Socket {
    pub(crate) fn plain(transport: Transport) -> Self {
        Self { transport, tls: None }
    }

    /// Goes over to TLS, after the server agreed to it.
    pub(crate) fn encrypt(self, endpoint: &Endpoint, config: rustls::ClientConfig) -> Result<Self, WalError> {
        let fail = |reason: String| WalError::Tls { peer: endpoint.peer(), reason };
        let name = ServerName::try_from(endpoint.host().to_owned()).map_err(|e| fail(e.to_string()))?;
        let mut connection = ClientConnection::new(Arc::new(config), name).map_err(|e| fail(e.to_string()))?;
        let mut transport = self.transport;
        while connection.is_handshaking() {
            connection.complete_io(&mut transport).map_err(|e| match tls_cause(&e) {
                Some(tls) => fail(tls.to_string()),
                None => fail(e.to_string()),
            })?;
        }
        let tls = Tls { connection, cipher: vec![0; CIPHER_BYTES], taken: 0, filled: 0 };
        Ok(Self { transport, tls: Some(Box::new(tls)) })
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The server's certificate in DER, under TLS.
    pub(crate) fn certificate(&self) -> Option<&[u8]> {
        let certificates = self.tls.as_ref()?.connection.peer_certificates()?;
        certificates.first().map(AsRef::as_ref)
    }

    /// From now on [`Self::read`] gives `WouldBlock` instead of waiting.
    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        self.transport.set_timeout(None)?;
        self.transport.set_nonblocking(true)
    }

    /// Reads what is there, as much as fits; 0 at the end of the stream.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => retry(|| self.transport.read(into)),
            Some(tls) => tls.read(&mut self.transport, into),
        }
    }

    /// Writes all bytes, waiting at most `patience` for room when the socket does not block.
    pub(crate) fn write_all(&mut self, bytes: &[u8], patience: Duration) -> io::Result<()> {
        let until = Instant::now() + patience;
        match &mut self.tls {
            None => push_all(&mut self.transport, bytes, until),
            Some(tls) => {
                tls.connection.writer().write_all(bytes)?;
                while tls.connection.wants_write() {
                    match tls.connection.write_tls(&mut self.transport) {
                        Ok(_) => {}
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => wait_for_room(&self.transport, until)?,
                        Err(e) => return Err(e),
                    }
                }
                Ok(())
            }
        }
    }
}

impl Tls {
    fn read(&mut self, transport: &mut Transport, into: &mut [u8]) -> io::Result<usize> {
        let mut total = 0;
        loop {
            let room = into.get_mut(total..).unwrap_or_default();
            if room.is_empty() {
                return Ok(total);
            }
            match self.connection.reader().read(room) {
                Ok(0) => return Ok(total),
                Ok(n) => {
                    total += n;
                    continue;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // Without a closing alert: as the end of a bare socket.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(total),
                Err(e) => return Err(e),
            }
            if self.taken == self.filled {
                if total > 0 {
                    // What was read is given away first; blocking sockets must not wait for more.
                    return Ok(total);
                }
                self.taken = 0;
                self.filled = 0;
                self.filled = retry(|| transport.read(&mut self.cipher))?;
            }
            let mut fresh = self.cipher.get(self.taken..self.filled).unwrap_or_default();
            let before = fresh.len();
            self.connection.read_tls(&mut fresh)?;
            self.taken += before - fresh.len();
            self.connection.process_new_packets().map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            // Answers of TLS itself (key updates) go out with the next status.
        }
    }
}

fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn push_all(transport: &mut Transport, mut bytes: &[u8], until: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        match transport.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => wait_for_room(transport, until)?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn wait_for_room(transport: &Transport, until: Instant) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let timeout = rustix::event::Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
    match poll(&mut [PollFd::new(transport, PollFlags::OUT)], Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
