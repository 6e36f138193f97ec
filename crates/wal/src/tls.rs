//! TLS by rustls, as PostgreSQL's `sslmode` means it.
//!
//! `prefer` and `require` encrypt and check nobody (as libpq does); `verify-ca` checks that a known authority signed
//! the certificate, `verify-full` also that it is for this host (by its subject alternative names: rustls does not
//! read common names). A certificate that itself stands in `sslrootcert` is trusted as it is, so that a server's
//! self-signed one works as with libpq.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};

use crate::{Endpoint, SslMode, WalError};

/// The client's side of TLS for an endpoint; `None` when it wants none. Reads the certificate files.
pub(crate) fn client_config(endpoint: &Endpoint) -> Result<Option<ClientConfig>, WalError> {
    if endpoint.ssl_mode() == SslMode::Disable {
        return Ok(None);
    }
    let fail = |reason: String| WalError::Tls { peer: endpoint.peer(), reason };
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier::new(endpoint, Arc::clone(&provider)).map_err(fail)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| fail(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match endpoint.ssl_client() {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => builder
            .with_client_auth_cert(certificates(cert).map_err(fail)?, private_key(key).map_err(fail)?)
            .map_err(|e| fail(e.to_string()))?,
    };
    Ok(Some(config))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let name = file.display();
    let pem = std::fs::read(file).map_err(|e| format!("cannot read {name}: {e}"))?;
    let read: Result<Vec<_>, _> = rustls_pemfile::certs(&mut pem.as_slice()).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => Err(format!("{name} has no certificate in PEM form")),
        Ok(certificates) => Ok(certificates),
        Err(e) => Err(format!("{name} is damaged: {e}")),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let name = file.display();
    let pem = std::fs::read(file).map_err(|e| format!("cannot read {name}: {e}"))?;
    let key = rustls_pemfile::private_key(&mut pem.as_slice()).map_err(|e| format!("{name} is damaged: {e}"))?;
    key.ok_or_else(|| format!("{name} has no private key in PEM form"))
}

/// Checks a server's certificate as far as the mode demands.
#[derive(Debug)]
struct Verifier {
    /// Checks chain and name; `None` when nobody is checked.
    chain: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates trusted as they are.
    pinned: Vec<CertificateDer<'static>>,
    /// The certificate must be for the host.
    check_name: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(endpoint: &Endpoint, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let check_name = endpoint.ssl_mode() == SslMode::VerifyFull;
        let verify = matches!(endpoint.ssl_mode(), SslMode::VerifyCa | SslMode::VerifyFull)
            || (endpoint.ssl_mode() == SslMode::Require && endpoint.ssl_root_cert().is_some());
        if !verify {
            return Ok(Self { chain: None, pinned: Vec::new(), check_name, provider });
        }
        let mut roots = RootCertStore::empty();
        let pinned = match endpoint.ssl_root_cert() {
            Some(file) => certificates(file)?,
            None => Vec::new(),
        };
        if pinned.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        } else {
            let (_, refused) = roots.add_parsable_certificates(pinned.iter().cloned());
            if roots.is_empty() {
                return Err(format!("none of the {refused} certificates in sslrootcert can be used"));
            }
        }
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|e| e.to_string())?;
        Ok(Self { chain: Some(chain), pinned, check_name, provider })
    }
}

/// The certificate is good but for another host.
fn wrong_name(error: &TlsError) -> bool {
    matches!(
        error,
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(error) if wrong_name(&error) && !self.check_name => Ok(ServerCertVerified::assertion()),
            Err(error) if wrong_name(&error) => Err(error),
            Err(_) if self.pinned.iter().any(|pinned| pinned == certificate) => {
                if self.check_name {
                    rustls::client::verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            checked => checked,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
