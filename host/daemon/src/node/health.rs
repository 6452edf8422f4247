//! The health checks on an address of their own. They answer from the first moment on, so that a probe does not end a node that waits for its store.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use twill_http::serve_health;
use twill_model::status::Snapshot;

use crate::exit::Exit;
use crate::settings::Listen;

/// Answers until `shutdown`, if the settings say where.
///
/// # Errors
/// The address cannot be listened on.
pub async fn answer(at: Listen, snapshots: watch::Receiver<Arc<Snapshot>>, shutdown: CancellationToken) -> Result<(), Exit> {
    let Listen::At(address) = at else { return Ok(()) };
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Exit::failed(format!(
            "cannot answer health checks on {address}: {error}; choose another address with --healthz (in flannel's words --healthz-ip and --healthz-port)"
        ))
    })?;
    tokio::spawn(async move {
        if let Err(error) = serve_health(listener, snapshots, shutdown).await {
            tracing::error!(%address, "health checks are not answered any more: {error}");
        }
    });
    Ok(())
}
