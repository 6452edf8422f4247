//! The node: the only place that knows all rooms. It builds them in order, joins the traits to their implementations, starts the tasks and ends
//! them.
//!
//! The way of a lease through the tasks here: keeper → [`follow::cluster`] → reconciler → [`subnet_file`] and [`show`] → API.

mod alone;
mod bare;
mod build;
mod change;
mod control;
pub mod events;
pub mod facts;
pub mod firewall;
mod follow;
mod followed;
mod gather;
mod health;
mod history;
mod hosts;
pub mod inputs;
mod journal;
mod legs;
mod notify;
mod paths;
mod plugins;
mod prober;
mod reach;
mod record;
pub mod rehearse;
mod report;
pub mod reservations;
mod show;
mod snapshot;
pub mod store;
mod subnet_file;
mod tasks;
pub mod underlay;
mod usage;
mod wish;

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use twill_model::status::Snapshot;

use crate::exit::Exit;
use crate::settings::RunSettings;

/// How long tasks may take to end.
const DRAIN: Duration = Duration::from_secs(3);

/// Why a daemon that did its work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By a signal.
    Told,
    /// The lease was given back.
    Released,
    /// The node was drained: its network state is to be taken away.
    Drained,
}

impl Ended {
    fn why(&self) -> &'static str {
        match self {
            Ended::Told => "it was told to by a signal; leases and network state stay as they are",
            Ended::Released => "its lease was given back",
            Ended::Drained => "this node was drained",
        }
    }
}

/// Runs the daemon until it is told to end, or cannot go on.
///
/// # Errors
/// It cannot start, with a sentence and the exit code that fits; or the network config is wrong and there never was a good one.
pub async fn run(settings: RunSettings) -> Result<Ended, Exit> {
    let shutdown = CancellationToken::new();
    let snapshots = watch::Sender::new(Arc::new(Snapshot::default()));
    health::answer(settings.healthz, snapshots.subscribe(), shutdown.clone()).await?;
    let node = tokio::select! {
        node = build::build(settings, snapshots, shutdown.clone()) => node?,
        () = told_to_end() => return Ok(Ended::Told),
    };
    let build::Running { mut tasks, mut keeper, cluster, alone, followed, lock, events, drained, passing } = node;
    let ended = tokio::select! {
        ended = &mut keeper => how_it_ended(ended),
        lacking = facts::tun_is_missing(cluster.clone()) => Err(lacking),
        taken = alone::ends(alone, cluster, followed) => Err(taken),
        // A keeper that ends takes others with it, and knows why.
        broken = tasks.first_end() => match tokio::time::timeout(Duration::from_millis(500), &mut keeper).await {
            Ok(ended) => how_it_ended(ended),
            Err(_) => Err(Exit::failed(format!("{broken}, and without it this node cannot be served; start the daemon again"))),
        },
        () = told_to_end() => Ok(Ended::Told),
        () = drained.notified() => Ok(Ended::Drained),
    };
    events.tell_end(ended.as_ref().map_or_else(Exit::sentence, |ended| ended.why()));
    shutdown.cancel();
    if !tasks.end(DRAIN).await {
        tracing::warn!("some tasks did not end in time");
    }
    // Not before the reconciler has ended, which would make them anew.
    if ended.is_ok()
        && let Some(Err(refused)) = passing.map(|tunnels| tunnels.close_all())
    {
        tracing::warn!("{refused}");
    }
    drop(lock);
    ended
}

fn how_it_ended(keeper: Result<Result<(), Exit>, JoinError>) -> Result<Ended, Exit> {
    keeper
        .map(|ended| ended.map(|()| Ended::Released))
        .unwrap_or_else(|error| Err(Exit::failed(format!("the keeper of leases broke down: {error}"))))
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
