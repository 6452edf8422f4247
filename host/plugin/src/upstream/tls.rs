//! TLS towards an upstream: who signed its certificate, what we show it, and what went wrong in words.
//!
//! Certificates and keys are read for each new connection, so that renewed files come into use without a restart.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// How `https` endpoints are checked, and what we show them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Who may have signed the server's certificate.
    pub roots: Roots,
    /// What we show when the server asks who we are.
    pub identity: Option<Identity>,
    /// Take any certificate; for trials only.
    pub insecure: bool,
}

/// Whose signature under a server's certificate counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Roots {
    /// Those that this system trusts.
    #[default]
    System,
    /// Those in this file (PEM).
    File(PathBuf),
}

/// A client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// File with the certificate, and those that lead to its root (PEM).
    pub certificate: PathBuf,
    /// File with its key (PEM).
    pub key: PathBuf,
}

impl Tls {
    /// Reads the files; the error names the one that is wrong.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| format!("cannot set up TLS: {error}"))?;
        let builder = if self.insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        } else {
            builder.with_root_certificates(self.roots.read()?)
        };
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = identity.read()?;
                let unusable = |error| format!("cannot use the certificate {}: {error}", identity.certificate.display());
                builder.with_client_auth_cert(chain, key).map_err(unusable)?
            }
        };
        Ok(Arc::new(config))
    }
}

impl Roots {
    fn read(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        match self {
            Roots::System => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err("this system has no trusted certificates; name the server's with a CA file".into());
                }
            }
            Roots::File(path) => {
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| format!("cannot use the CA file {}: {error}", path.display()))?;
                }
            }
        }
        Ok(roots)
    }
}

impl Identity {
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
        let key =
            PrivateKeyDer::from_pem_file(&self.key).map_err(|error| format!("cannot read a key from {}: {error}", self.key.display()))?;
        Ok((certificates(&self.certificate)?, key))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error: &dyn Error| format!("cannot read certificates from {}: {error}", path.display());
    let found = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|error| unreadable(&error))?;
    if found.is_empty() { Err(format!("there is no certificate in {}", path.display())) } else { Ok(found) }
}

impl Tls {
    /// As [`words`], by one who knows whether a client certificate was shown.
    pub(super) fn words(&self, error: &(dyn Error + 'static)) -> String {
        let said = words(error);
        if self.identity.is_none() && said == NOT_ACCEPTED { NONE_SHOWN.into() } else { said }
    }
}

/// Some servers answer so to no certificate at all.
const NOT_ACCEPTED: &str = "it does not accept our client certificate, or misses one";
const NONE_SHOWN: &str = "it wants a client certificate, and none is configured";

/// What went wrong on a connection: the innermost cause, and for the common faults of TLS a sentence that says whose fault it is.
pub(super) fn words(error: &(dyn Error + 'static)) -> String {
    let mut cause: &(dyn Error + 'static) = error;
    loop {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return fault(tls);
        }
        // An io::Error shows what it carries and names only that one's cause.
        let carried = cause.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref()).map(|inner| inner as &(dyn Error + 'static));
        match carried.or_else(|| cause.source()) {
            Some(inner) => cause = inner,
            None => return cause.to_string(),
        }
    }
}

fn fault(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "its certificate is not signed by a trusted CA".into()
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
            "its certificate is for another name or address than this endpoint's".into()
        }
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired".into()
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => NONE_SHOWN.into(),
        rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied,
        ) => NOT_ACCEPTED.into(),
        rustls::Error::InvalidMessage(_) => "it does not speak TLS; perhaps the endpoint is http://, not https://".into(),
        other => format!("TLS failed: {other}"),
    }
}

/// Takes any certificate, but still checks that the server has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
