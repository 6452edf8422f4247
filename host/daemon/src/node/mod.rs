//! The node: the only place that knows all rooms. It builds them in order, joins the traits to their implementations, starts the tasks and ends
//! them.
//!
//! The way of a lease through the tasks here: keeper → [`follow::inputs`] → reconciler → [`follow::subnet_file`] and [`show`] → API.

mod build;
mod control;
pub mod events;
pub mod facts;
mod follow;
pub mod inputs;
mod show;
mod snapshot;
pub mod store;
mod underlay;
mod wish;

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::settings::RunSettings;

/// How long tasks may take to end.
const DRAIN: Duration = Duration::from_secs(3);

/// Runs the daemon until it is told to end, or cannot go on.
///
/// # Errors
/// It cannot start, with a sentence and the exit code that fits; or the network config is wrong and there never was a good one.
pub async fn run(settings: RunSettings) -> Result<(), Exit> {
    let shutdown = CancellationToken::new();
    let node = tokio::select! {
        node = build::build(settings, shutdown.clone()) => node?,
        () = told_to_end() => return Ok(()),
    };
    let build::Running { tasks, keeper, cluster, lock } = node;
    let ended = tokio::select! {
        ended = keeper => ended.map_err(|error| Exit::failed(format!("the keeper of leases broke down: {error}")))?,
        lacking = facts::tun_is_missing(cluster) => Err(lacking),
        () = told_to_end() => Ok(()),
    };
    tracing::info!("ending; leases and network state stay as they are");
    shutdown.cancel();
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!("some tasks did not end in time");
    }
    drop(lock);
    ended
}

async fn told_to_end() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
