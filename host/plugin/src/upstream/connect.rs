//! Making one connection to one endpoint: TCP, TLS where the endpoint says so, HTTP/1.1 on top.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::endpoint::Endpoint;
use super::tls::{self, Tls};

/// Time for one endpoint; then the next one's turn comes.
const PATIENCE: Duration = Duration::from_secs(2);
/// A peer that vanished without a word is noticed after about twenty-five seconds of silence, also under a watch that waits.
const QUIET: Duration = Duration::from_secs(10);
const PROBE: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;
/// How often a connection's own address is looked for.
const LOOK: Duration = Duration::from_secs(1);
/// What was sent and is not acknowledged after this long will not be.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// The way to send requests by one connection. The connection ends when this and the last answer's body are gone.
pub(super) type Sender = SendRequest<Full<Bytes>>;

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// A new connection; the error says in words what failed.
pub(super) async fn connect(endpoint: &Endpoint, tls: &Tls) -> Result<Sender, String> {
    match tokio::time::timeout(PATIENCE, join(endpoint, tls)).await {
        Ok(joined) => joined,
        Err(_) => Err(format!("no connection within {} s", PATIENCE.as_secs())),
    }
}

async fn join(endpoint: &Endpoint, tls: &Tls) -> Result<Sender, String> {
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.map_err(|error| tls::words(&error))?;
    tune(&stream).map_err(|error| format!("cannot set up the socket: {error}"))?;
    let local = stream.local_addr().map_err(|error| tls::words(&error))?;
    let wire: Box<dyn Wire> = if endpoint.secure { Box::new(encrypt(stream, endpoint, tls).await?) } else { Box::new(stream) };
    let (sender, connection) = handshake(TokioIo::new(wire)).await.map_err(|error| tls::words(&error))?;
    tokio::spawn(async move {
        let ended = tokio::select! {
            ended = connection => ended.map_err(|error| tls::words(&error)),
            () = is_lost(local) => Err(format!("this host has no address {} any more", local.ip())),
        };
        if let Err(cause) = ended {
            tracing::debug!(cause, "a connection to an upstream ended");
        }
    });
    Ok(sender)
}

/// Ends when this host has lost the address that a connection was made from. The kernel would go on sending from it for minutes, and no answer would arrive.
async fn is_lost(mut local: SocketAddr) {
    local.set_port(0);
    loop {
        tokio::time::sleep(LOOK).await;
        if std::net::UdpSocket::bind(local).is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable) {
            return;
        }
    }
}

fn tune(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(QUIET).with_interval(PROBE).with_retries(PROBES))?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))
}

async fn encrypt(stream: TcpStream, endpoint: &Endpoint, tls: &Tls) -> Result<impl Wire + use<>, String> {
    let name =
        ServerName::try_from(endpoint.host.clone()).map_err(|_| format!("\"{}\" is no name that a certificate can have", endpoint.host))?;
    let settings = tls.clone();
    let config = tokio::task::spawn_blocking(move || settings.config())
        .await
        .map_err(|ended| format!("reading the certificates did not end: {ended}"))??;
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| tls.words(&error))
}
