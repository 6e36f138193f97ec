//! A certificate authority and a server certificate for one cluster, made by the `openssl` command.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::installation::run;
use crate::server::give_to_server_user;

/// Files of a certificate authority and of the server certificate it signed for `localhost` and `127.0.0.1`.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority's certificate: what a client trusts.
    pub ca: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's private key, readable by the servers' user only.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them in a directory.
    ///
    /// # Errors
    /// When `openssl` is missing or fails.
    pub fn make(dir: &Path) -> anyhow::Result<Self> {
        let file = |name: &str| dir.join(name);
        let (ca, ca_key) = (file("ca.crt"), file("ca.key"));
        let (certificate, key, request) = (file("server.crt"), file("server.key"), file("server.csr"));
        let extensions = file("server.ext");
        std::fs::write(&extensions, "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")?;
        let openssl = || Command::new("openssl");
        let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        run(openssl()
            .args(["req", "-x509", "-days", "30", "-subj", "/CN=tributary test authority"])
            .args(new_key)
            .arg("-keyout")
            .arg(&ca_key)
            .arg("-out")
            .arg(&ca))?;
        run(openssl()
            .args(["req", "-new", "-subj", "/CN=localhost"])
            .args(new_key)
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&request))?;
        run(openssl()
            .args(["x509", "-req", "-days", "30", "-CAcreateserial", "-in"])
            .arg(&request)
            .arg("-CA")
            .arg(&ca)
            .arg("-CAkey")
            .arg(&ca_key)
            .arg("-extfile")
            .arg(&extensions)
            .arg("-out")
            .arg(&certificate))?;
        give_to_server_user(&key)?;
        Ok(Self { ca, certificate, key })
    }
}
