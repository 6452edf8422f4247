//! flannel's health checks: /healthz and /readyz on an address of their own, in flannel's words, for the probes of a manifest.
//!
//! /healthz says that the process lives. /readyz says the truth of this moment, where flanneld keeps saying yes once it has said it. Nothing else is
//! told, so it may listen where strangers can ask.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::any;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use twill_model::status::Snapshot;

use crate::serve::serve;

/// Serves the two checks over TCP until `shutdown` is cancelled.
///
/// # Errors
/// The listener fails.
pub async fn serve_health(listener: TcpListener, snapshots: watch::Receiver<Arc<Snapshot>>, shutdown: CancellationToken) -> io::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "answering health checks");
    let ready = move || std::future::ready(readiness(snapshots.borrow().node.ready));
    let router = Router::new().route("/healthz", any("flanneld is running")).route("/readyz", any(ready)).fallback(StatusCode::NOT_FOUND);
    serve(listener, router, shutdown).await
}

fn readiness(ready: bool) -> (StatusCode, &'static str) {
    if ready { (StatusCode::OK, "flanneld is ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "flanneld is not ready yet") }
}
