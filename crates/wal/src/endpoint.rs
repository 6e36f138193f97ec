//! Where a database is and how to log in: a parsed `postgres://` URL.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use crate::WalError;

/// How much TLS a connection needs; PostgreSQL's `sslmode` without `allow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslMode {
    /// None.
    Disable,
    /// TLS when the server has it, without checking who it is.
    #[default]
    Prefer,
    /// TLS always. Who the server is, is checked only when `sslrootcert` is given (then as `verify-ca`).
    Require,
    /// TLS with a certificate from a known authority.
    VerifyCa,
    /// TLS with a certificate from a known authority for this very host.
    VerifyFull,
}

impl SslMode {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "disable" => Self::Disable,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }
}

/// A database and how to log in to it. Cheap enough to clone; `Debug` and `Display` hide the password.
///
/// The URL is `postgres://user:password@host:port/database?key=value&…` with percent-encoding; `host` may also be
/// the percent-encoded directory of a Unix socket. Keys: `sslmode`, `sslrootcert` (a PEM file of authorities; without it
/// `verify-ca` and `verify-full` trust the public ones), `sslcert` and `sslkey` (PEM files), `application_name`,
/// `connect_timeout` (seconds), `options`, and `host`, `port`, `user`, `password`, `dbname` for the URL's parts.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    user: String,
    password: Option<String>,
    host: String,
    port: u16,
    database: String,
    ssl_mode: SslMode,
    ssl_root_cert: Option<PathBuf>,
    ssl_client: Option<(PathBuf, PathBuf)>,
    application_name: Option<String>,
    connect_timeout: Duration,
    options: Option<String>,
}

impl Endpoint {
    /// Parses a database URL.
    ///
    /// # Errors
    /// [`WalError::Url`] with what is wrong; it never contains the password.
    pub fn parse(url: &str) -> Result<Self, WalError> {
        let bad = |problem: &str| WalError::Url(problem.to_owned());
        let parsed = Url::parse(url).map_err(|e| WalError::Url(format!("cannot be read: {e}")))?;
        if !matches!(parsed.scheme(), "postgres" | "postgresql") {
            return Err(bad("must begin with postgres:// or postgresql://"));
        }
        let mut endpoint = Self {
            user: decode(parsed.username())?,
            password: parsed.password().map(decode).transpose()?,
            host: decode(parsed.host_str().unwrap_or_default())?,
            port: parsed.port().unwrap_or(5432),
            database: decode(parsed.path().trim_start_matches('/'))?,
            ssl_mode: SslMode::default(),
            ssl_root_cert: None,
            ssl_client: None,
            application_name: None,
            connect_timeout: Duration::from_secs(10),
            options: None,
        };
        let (mut cert, mut key) = (None, None);
        for pair in parsed.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value)?;
            match name {
                "sslcert" => cert = Some(PathBuf::from(value)),
                "sslkey" => key = Some(PathBuf::from(value)),
                _ => endpoint.set(name, value)?,
            }
        }
        endpoint.ssl_client = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(bad("needs sslcert and sslkey together")),
        };
        endpoint.complete()
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), WalError> {
        let number = |value: &str| {
            value.parse().map_err(|_| WalError::Url(format!("has {name}={value}, which is not a number in range")))
        };
        match name {
            "host" => self.host = value,
            "port" => self.port = number(&value)?,
            "user" => self.user = value,
            "password" => self.password = Some(value),
            "dbname" => self.database = value,
            "sslmode" => {
                self.ssl_mode = SslMode::parse(&value).ok_or_else(|| {
                    let known = "disable, prefer, require, verify-ca or verify-full";
                    WalError::Url(format!("has sslmode={value}; it can be {known}"))
                })?;
            }
            "sslrootcert" => self.ssl_root_cert = Some(value.into()),
            "application_name" | "fallback_application_name" => self.application_name = Some(value),
            "connect_timeout" => self.connect_timeout = Duration::from_secs(number(&value)?.into()),
            "options" => self.options = Some(value),
            _ => return Err(WalError::Url(format!("has an unknown parameter '{name}'"))),
        }
        Ok(())
    }

    /// Fills in what libpq would: the operating system's user, the local host, the database named like the user.
    fn complete(mut self) -> Result<Self, WalError> {
        if self.user.is_empty() {
            self.user = ["PGUSER", "USER"].into_iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default();
        }
        if self.user.is_empty() {
            return Err(WalError::Url("names no user".to_owned()));
        }
        if self.host.is_empty() {
            "localhost".clone_into(&mut self.host);
        }
        if self.host.contains(',') {
            return Err(WalError::Url("names several hosts; it must name one node".to_owned()));
        }
        if let Some(inner) = self.host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            self.host = inner.to_owned();
        }
        if self.database.is_empty() {
            self.database.clone_from(&self.user);
        }
        if self.connect_timeout.is_zero() {
            // libpq's "wait for ever".
            self.connect_timeout = Duration::from_secs(3600);
        }
        let named = [&self.user, &self.host, &self.database];
        if named.into_iter().chain(&self.password).any(|part| part.contains('\0')) {
            return Err(WalError::Url("contains a zero byte".to_owned()));
        }
        Ok(self)
    }

    /// The same login on another node.
    #[must_use]
    pub fn with_host_port(&self, host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, ..self.clone() }
    }

    /// The same login to another database of the same server.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        Self { database: database.to_owned(), ..self.clone() }
    }

    /// The same place for another role.
    #[must_use]
    pub fn with_user(&self, user: &str, password: Option<&str>) -> Self {
        Self { user: user.to_owned(), password: password.map(str::to_owned), ..self.clone() }
    }

    /// The role.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The role's password.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// A name, an address, or the directory of a Unix socket (then it begins with `/`).
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 5432 when the URL names none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// How much TLS is demanded.
    #[must_use]
    pub fn ssl_mode(&self) -> SslMode {
        self.ssl_mode
    }

    /// The file of trusted authorities.
    #[must_use]
    pub fn ssl_root_cert(&self) -> Option<&Path> {
        self.ssl_root_cert.as_deref()
    }

    /// The files of this client's certificate and key.
    #[must_use]
    pub fn ssl_client(&self) -> Option<(&Path, &Path)> {
        self.ssl_client.as_ref().map(|(cert, key)| (cert.as_path(), key.as_path()))
    }

    /// The URL's own `application_name`.
    #[must_use]
    pub fn application_name(&self) -> Option<&str> {
        self.application_name.as_deref()
    }

    /// How long a connection attempt may take.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Command-line options for the backend (`-c name=value`).
    #[must_use]
    pub fn options(&self) -> Option<&str> {
        self.options.as_deref()
    }

    /// The Unix socket's path, when the host is a directory.
    pub(crate) fn unix_socket(&self) -> Option<PathBuf> {
        self.host.starts_with('/').then(|| Path::new(&self.host).join(format!(".s.PGSQL.{}", self.port)))
    }

    /// Host and port, for messages.
    pub(crate) fn peer(&self) -> String {
        match self.unix_socket() {
            Some(path) => path.display().to_string(),
            None if self.host.contains(':') => format!("[{}]:{}", self.host, self.port),
            None => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}@{}/{}", self.user, self.peer(), self.database)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("peer", &self.peer())
            .field("database", &self.database)
            .field("ssl_mode", &self.ssl_mode)
            .finish_non_exhaustive()
    }
}

/// Undoes percent-encoding; a plus sign stays one, as in libpq.
fn decode(text: &str) -> Result<String, WalError> {
    let bad = || WalError::Url("has a broken percent-encoding".to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).ok_or_else(bad);
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            bytes.push((high * 16 + low) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_its_parts() {
        let url = "postgres://app:p%40ss%3A@db.example:6000/sh%20op?sslmode=verify-full&sslrootcert=%2Fca.pem&application_name=x";
        let e = Endpoint::parse(url).unwrap();
        assert_eq!((e.user(), e.password(), e.host(), e.port()), ("app", Some("p@ss:"), "db.example", 6000));
        assert_eq!((e.database(), e.ssl_mode()), ("sh op", SslMode::VerifyFull));
        assert_eq!((e.ssl_root_cert(), e.application_name()), (Some(Path::new("/ca.pem")), Some("x")));
    }

    #[test]
    fn what_a_url_leaves_out_is_as_in_libpq() {
        let e = Endpoint::parse("postgresql://app@localhost").unwrap();
        assert_eq!((e.host(), e.port(), e.database(), e.ssl_mode()), ("localhost", 5432, "app", SslMode::Prefer));
        assert_eq!(Endpoint::parse("postgres://app@[::1]:7/x").unwrap().peer(), "[::1]:7");
        let socket = Endpoint::parse("postgres://app@%2Frun%2Fpg:5433/x").unwrap();
        assert_eq!(socket.unix_socket(), Some("/run/pg/.s.PGSQL.5433".into()));
        assert_eq!(Endpoint::parse("postgres:///x?host=/run/pg&user=app").unwrap().host(), "/run/pg");
    }

    #[test]
    fn the_password_is_never_shown() {
        let e = Endpoint::parse("postgres://app:secret@h/x").unwrap();
        assert!(!format!("{e:?} {e} {:?}", e.with_user("b", Some("secret"))).contains("secret"));
    }

    #[test]
    fn a_wrong_url_is_an_error_that_names_it() {
        for (url, names) in [
            ("mysql://h/x", "postgres://"),
            ("nonsense", "cannot be read"),
            ("postgres://a@h/x?sslmode=maybe", "sslmode=maybe"),
            ("postgres://a@h/x?tls=1", "'tls'"),
            ("postgres://a@h/x?port=99999", "port=99999"),
            ("postgres://a@h/%zz", "percent"),
            ("postgres://a@h/x?sslcert=c", "sslkey"),
        ] {
            let error = Endpoint::parse(url).unwrap_err();
            assert!(error.to_string().contains(names) && !error.is_transient(), "{error}");
        }
    }

    #[test]
    fn a_node_keeps_the_login_of_the_url() {
        let e = Endpoint::parse("postgres://app:pw@h/x?sslmode=require").unwrap().with_host_port("w1", 6);
        assert_eq!((e.host(), e.port(), e.user(), e.password()), ("w1", 6, "app", Some("pw")));
        assert_eq!((e.with_database("y").database(), e.ssl_mode()), ("y", SslMode::Require));
    }
}
