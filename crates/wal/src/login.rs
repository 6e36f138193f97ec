//! From an endpoint to a connection in replication mode: TLS, start-up message, authentication.
//!
//! SCRAM-SHA-256 (bound to the TLS channel where the server offers it), MD5 and cleartext passwords; no GSSAPI or SSPI.

use std::time::Duration;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;

use crate::channel_binding::tls_server_end_point;
use crate::socket::{Socket, Transport};
use crate::wire::{Reply, Wire};
use crate::{Endpoint, ServerError, SslMode, WalError, tls};

/// What the server tells at log-in.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Backend {
    pub(crate) process_id: i32,
    pub(crate) secret_key: i32,
}

/// Logs in with `replication=database`. Blocks, at most the endpoint's connection timeout a step.
pub(crate) fn log_in(endpoint: &Endpoint, application_name: &str) -> Result<(Wire, Backend), WalError> {
    let patience = endpoint.connect_timeout().max(Duration::from_secs(1));
    let unreachable = |source| WalError::Unreachable { peer: endpoint.peer(), source };
    let transport = Transport::connect(endpoint).map_err(unreachable)?;
    transport.set_timeout(Some(patience)).map_err(unreachable)?;
    let socket = secure(endpoint, Socket::plain(transport)).map_err(still_unreachable)?;
    let mut wire = Wire::new(socket, endpoint.peer());
    let mut out = BytesMut::new();
    let mut parameters = vec![
        ("user", endpoint.user()),
        ("database", endpoint.database()),
        ("replication", "database"),
        ("application_name", application_name),
        ("client_encoding", "UTF8"),
        // The text form of types without a binary one does not depend on the role's settings.
        ("datestyle", "ISO"),
        ("intervalstyle", "postgres"),
        ("extra_float_digits", "3"),
        // Making a slot waits for running transactions; an exported snapshot lives in an idle one.
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
    ];
    parameters.extend(endpoint.options().map(|options| ("options", options)));
    frontend::startup_message(parameters, &mut out).map_err(|e| WalError::Url(format!("cannot be used: {e}")))?;
    wire.send(&out).map_err(still_unreachable)?;
    authenticate(endpoint, &mut wire).map_err(still_unreachable)?;
    let backend = await_ready(endpoint, &mut wire).map_err(still_unreachable)?;
    wire.socket.transport().set_timeout(None).map_err(unreachable)?;
    Ok((wire, backend))
}

/// A connection that ends before it is logged in was none.
fn still_unreachable(error: WalError) -> WalError {
    match error {
        WalError::Disconnected { peer, reason } => {
            WalError::Unreachable { peer, source: std::io::Error::other(reason) }
        }
        other => other,
    }
}

/// Asks for TLS as far as the endpoint wants it. Unix sockets go without, as with libpq.
fn secure(endpoint: &Endpoint, mut socket: Socket) -> Result<Socket, WalError> {
    let Some(config) = tls::client_config(endpoint)? else { return Ok(socket) };
    if endpoint.unix_socket().is_some() {
        return Ok(socket);
    }
    let unreachable = |source| WalError::Unreachable { peer: endpoint.peer(), source };
    let mut out = BytesMut::new();
    frontend::ssl_request(&mut out);
    socket.write_all(&out, endpoint.connect_timeout()).map_err(unreachable)?;
    let mut answer = [0];
    // One byte only: what came behind it in clear text would be taken for encrypted (CVE-2021-23222).
    let read = socket.read(&mut answer).map_err(unreachable)?;
    match (read, answer) {
        (1, [b'S']) => socket.encrypt(endpoint, config),
        (1, [b'N']) if endpoint.ssl_mode() == SslMode::Prefer => Ok(socket),
        (1, [b'N']) => {
            let reason = "the server has no TLS, and sslmode demands it".to_owned();
            Err(WalError::Tls { peer: endpoint.peer(), reason })
        }
        (0, _) => Err(unreachable(std::io::ErrorKind::UnexpectedEof.into())),
        _ => Err(WalError::Protocol {
            peer: endpoint.peer(),
            reason: "the answer to the request for TLS is not PostgreSQL's".to_owned(),
        }),
    }
}

fn authenticate(endpoint: &Endpoint, wire: &mut Wire) -> Result<(), WalError> {
    loop {
        let mut out = BytesMut::new();
        let made = match expect(endpoint, wire)? {
            Message::AuthenticationOk => return Ok(()),
            Message::AuthenticationCleartextPassword => {
                frontend::password_message(password(endpoint)?.as_bytes(), &mut out)
            }
            Message::AuthenticationMd5Password(body) => {
                let hash = md5_hash(endpoint.user().as_bytes(), password(endpoint)?.as_bytes(), body.salt());
                frontend::password_message(hash.as_bytes(), &mut out)
            }
            Message::AuthenticationSasl(body) => {
                let offered: Vec<String> =
                    body.mechanisms().map(|m| Ok(m.to_owned())).collect().map_err(|e| wire.protocol(e.to_string()))?;
                scram(endpoint, wire, &offered)?;
                continue;
            }
            _ => return Err(login_error(endpoint, "the server wants a way of authentication that is not supported")),
        };
        made.map_err(|e| login_error(endpoint, &e.to_string()))?;
        wire.send(&out)?;
    }
}

fn scram(endpoint: &Endpoint, wire: &mut Wire, offered: &[String]) -> Result<(), WalError> {
    let has = |mechanism: &str| offered.iter().any(|o| o == mechanism);
    let binding = wire.socket.certificate().and_then(tls_server_end_point);
    let (binding, mechanism) = match binding {
        Some(hash) if has(SCRAM_SHA_256_PLUS) => (ChannelBinding::tls_server_end_point(hash), SCRAM_SHA_256_PLUS),
        // "I could have bound the channel": the server notices when somebody took its offer out.
        Some(_) if has(SCRAM_SHA_256) => (ChannelBinding::unrequested(), SCRAM_SHA_256),
        None if has(SCRAM_SHA_256) => (ChannelBinding::unsupported(), SCRAM_SHA_256),
        _ => return Err(login_error(endpoint, "the server offers no known SASL mechanism")),
    };
    let refused = |e: std::io::Error| login_error(endpoint, &e.to_string());
    let mut scram = ScramSha256::new(password(endpoint)?.as_bytes(), binding);
    let mut out = BytesMut::new();
    frontend::sasl_initial_response(mechanism, scram.message(), &mut out).map_err(refused)?;
    wire.send(&out)?;
    let Message::AuthenticationSaslContinue(body) = expect(endpoint, wire)? else {
        return Err(wire.protocol("no challenge in a SASL log-in".to_owned()));
    };
    scram.update(body.data()).map_err(refused)?;
    out.clear();
    frontend::sasl_response(scram.message(), &mut out).map_err(refused)?;
    wire.send(&out)?;
    let Message::AuthenticationSaslFinal(body) = expect(endpoint, wire)? else {
        return Err(wire.protocol("no proof in a SASL log-in".to_owned()));
    };
    scram.finish(body.data()).map_err(refused)
}

/// The start-up's remaining messages.
fn await_ready(endpoint: &Endpoint, wire: &mut Wire) -> Result<Backend, WalError> {
    let mut backend = Backend::default();
    loop {
        match expect(endpoint, wire)? {
            Message::BackendKeyData(key) => {
                backend = Backend { process_id: key.process_id(), secret_key: key.secret_key() };
            }
            Message::ReadyForQuery(_) => return Ok(backend),
            _ => return Err(wire.protocol("an unexpected message at log-in".to_owned())),
        }
    }
}

/// The next message, errors of the server taken apart.
fn expect(endpoint: &Endpoint, wire: &mut Wire) -> Result<Message, WalError> {
    match wire.receive()? {
        Reply::Message(Message::ErrorResponse(body)) => Err(refusal(endpoint, ServerError::from_body(&body))),
        Reply::Message(message) => Ok(message),
        Reply::CopyBoth => Err(wire.protocol("streaming before log-in".to_owned())),
    }
}

fn refusal(endpoint: &Endpoint, error: ServerError) -> WalError {
    if error.is_transient() {
        return error.into();
    }
    if error.code == "42501" {
        let role = types::quote_ident(endpoint.user());
        return WalError::NoRight {
            what: format!("role {} may not stream the WAL of {}", endpoint.user(), endpoint.peer()),
            remedy: format!("as an administrator: ALTER ROLE {role} REPLICATION, or run `tributary setup`"),
        };
    }
    login_error(endpoint, &error.to_string())
}

fn password(endpoint: &Endpoint) -> Result<&str, WalError> {
    endpoint.password().ok_or_else(|| login_error(endpoint, "the server wants a password and the URL has none"))
}

fn login_error(endpoint: &Endpoint, reason: &str) -> WalError {
    WalError::Login { peer: endpoint.peer(), reason: reason.to_owned() }
}
