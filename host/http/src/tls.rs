//! TLS for the API's TCP door, with or without client certificates.
//!
//! The files are read for each connection, so that renewed certificates come into use without a restart; while they cannot be read the last good ones are used. Handshakes
//! run beside each other and are bounded in number and time: a client that is slow to finish one keeps nobody waiting.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::serve::Listener;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Handshakes that may be under way.
const HANDSHAKES: usize = 64;

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The files that TLS is made of (PEM).
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate, and those that lead to its root.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who signs client certificates; with it nobody comes in without one.
    pub client_ca: Option<PathBuf>,
}

/// Why TLS cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve the API by TLS: {0}")]
pub struct TlsError(String);

/// The configuration made of the files, as of now.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    last: Mutex<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be read or used; the error names it.
    pub fn open(files: TlsFiles) -> Result<Tls, TlsError> {
        let last = Mutex::new(files.config()?);
        Ok(Tls { files, last })
    }

    fn config(&self) -> Arc<ServerConfig> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match self.files.config() {
            Ok(fresh) => *last = fresh,
            Err(error) => tracing::warn!("{error}; the certificate of before is used"),
        }
        Arc::clone(&last)
    }
}

impl TlsFiles {
    fn config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let unusable = |error: rustls::Error| TlsError(format!("{} with {}: {error}", self.certificate.display(), self.key.display()));
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().map_err(unusable)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let unfit = |error: &dyn Error| TlsError(format!("the client CA file {}: {error}", path.display()));
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| unfit(&error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().map_err(|error| unfit(&error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| TlsError(format!("cannot read a key from {}: {error}", self.key.display())))?;
        let mut config = builder.with_single_cert(certificates(&self.certificate)?, key).map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |error: &dyn Error| TlsError(format!("cannot read certificates from {}: {error}", path.display()));
    let found: Vec<_> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| unreadable(&error))?;
    if found.is_empty() { Err(TlsError(format!("there is no certificate in {}", path.display()))) } else { Ok(found) }
}

/// Connections whose handshake is done.
pub struct TlsListener {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    accepting: JoinHandle<()>,
}

impl TlsListener {
    /// Takes connections of `listener` and shakes hands with each.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn new(listener: TcpListener, tls: Tls) -> io::Result<TlsListener> {
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(HANDSHAKES);
        Ok(TlsListener { address, ready, accepting: tokio::spawn(accept(listener, tls, sender)) })
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(mut listener: TcpListener, tls: Tls, ready: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        // axum's own way of accepting waits after errors such as too many open files.
        let (stream, from) = Listener::accept(&mut listener).await;
        let acceptor = TlsAcceptor::from(tls.config());
        let ready = ready.clone();
        tokio::spawn(async move {
            match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
                // Nobody waits any more when the server ends.
                Ok(Ok(stream)) => drop(ready.send((stream, from)).await),
                Ok(Err(error)) => tracing::debug!(%from, "no TLS with a client of the API: {error}"),
                Err(_) => tracing::debug!(%from, "a client of the API took too long over TLS"),
            }
            drop(place);
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
