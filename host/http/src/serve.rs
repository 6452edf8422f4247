//! Listening: the same API over TCP and over a Unix socket, until a token is cancelled.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use crate::Api;
use crate::access::Access;
use crate::guard::{Door, TcpDoor};
use crate::routes::router;
use crate::tls::{Tls, TlsListener};

/// How long requests that are under way at the end may take.
const DRAIN: Duration = Duration::from_secs(2);

/// Why the Unix socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon answers on it.
    #[error("cannot listen on {0}: another twill answers there; stop it, or give this one another --instance")]
    Taken(PathBuf),
    /// Something that is not a socket lies there.
    #[error("cannot listen on {0}: it is there and is not a socket; move it away")]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("cannot listen on {0}: {1}")]
    System(PathBuf, #[source] io::Error),
}

/// Serves over TCP what `access` allows. Ends when `shutdown` is cancelled.
///
/// # Errors
/// The listener fails.
pub async fn serve_tcp(listener: TcpListener, api: Api, access: Access, shutdown: CancellationToken) -> io::Result<()> {
    let listen = listener.local_addr()?;
    tracing::info!(address = %listen, "serving the API and the dashboard");
    serve(listener, router(api, Door::Tcp(Arc::new(TcpDoor { listen, access })), shutdown.clone()), shutdown).await
}

/// The same by TLS.
///
/// # Errors
/// The listener fails.
pub async fn serve_tls(listener: TcpListener, tls: Tls, api: Api, access: Access, shutdown: CancellationToken) -> io::Result<()> {
    let listen = listener.local_addr()?;
    tracing::info!(address = %listen, "serving the API and the dashboard by TLS");
    serve(TlsListener::new(listener, tls)?, router(api, Door::Tcp(Arc::new(TcpDoor { listen, access })), shutdown.clone()), shutdown).await
}

/// Serves over a Unix socket: everything. Ends when `shutdown` is cancelled.
pub async fn serve_unix(listener: UnixListener, api: Api, shutdown: CancellationToken) -> io::Result<()> {
    serve(listener, router(api, Door::Unix, shutdown.clone()), shutdown).await
}

/// Serves `router` until `shutdown` is cancelled; requests under way may take [`DRAIN`].
pub(crate) async fn serve<L>(listener: L, router: Router, shutdown: CancellationToken) -> io::Result<()>
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let drained = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = serving.into_future() => ended,
        () = drained => Ok(()),
    }
}

/// Listens on a Unix socket at `path` that its owner and group may open (mode 0660). A socket that a dead daemon left is replaced; one that
/// somebody answers on is not. Must be called within a tokio runtime.
pub fn bind_unix(path: &Path) -> Result<UnixListener, BindError> {
    let system = |error| BindError::System(path.into(), error);
    check_free(path)?;
    // Made under a name of its own and renamed when its mode is right, so that it is never open to more than it should be.
    let fresh = path.with_extension(format!("{}", std::process::id()));
    let _ = std::fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh).map_err(system)?;
    let placed = std::fs::set_permissions(&fresh, PermissionsExt::from_mode(0o660)).and_then(|()| std::fs::rename(&fresh, path));
    placed.inspect_err(|_| drop(std::fs::remove_file(&fresh))).map_err(system)?;
    Ok(listener)
}

fn check_free(path: &Path) -> Result<(), BindError> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(BindError::System(path.into(), error)),
        Ok(found) if !found.file_type().is_socket() => Err(BindError::NotASocket(path.into())),
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => Err(BindError::Taken(path.into())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) => Err(BindError::System(path.into(), error)),
        },
    }
}
