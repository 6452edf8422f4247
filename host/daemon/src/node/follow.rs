//! The small tasks that carry a change from one room to the next.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use twill_fastpath::Tunnels;
use twill_kernel::Netlink;
use twill_kernel::underlay::Chosen;
use twill_lease::cluster::Cluster;
use twill_model::event::{Kind, Told, Weight};
use twill_model::node::Node;
use twill_model::proof::Proofs;
use twill_plugin::Plugins;
use twill_reconcile::Inputs;
use twill_reconcile::view::Outcome;

use super::alone::Alone;
use super::firewall::Firewall;
use super::followed::Followed;
use super::inputs;
use super::underlay::Search;

/// Keeps the reconciler's inputs up with the cluster, this node, and what is proved of ways. A lost own lease leaves the last inputs in force: the guard stops
/// the sending, and the state is replaced once there is another lease. Nothing is planned on a network that another daemon serves.
pub async fn cluster(
    mut cluster: watch::Receiver<Arc<Cluster>>,
    mut node: watch::Receiver<Arc<Node>>,
    mut proofs: watch::Receiver<Arc<Proofs>>,
    mut firewall: Firewall,
    alone: Arc<Alone>,
    out: watch::Sender<Option<Arc<Inputs>>>,
    shutdown: CancellationToken,
) {
    loop {
        let next = inputs::of(&cluster.borrow_and_update(), &node.borrow_and_update(), &proofs.borrow_and_update(), &mut firewall);
        if let Some(next) = next
            && alone.on(next.networks).await.is_ok()
        {
            out.send_if_modified(|now| {
                let news = now.as_deref().is_none_or(|now| !same_plan(now, &next));
                if news {
                    *now = Some(Arc::new(next));
                }
                news
            });
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = cluster.changed() => if changed.is_err() { return },
            changed = node.changed() => if changed.is_err() { return },
            changed = proofs.changed() => if changed.is_err() { return },
        }
    }
}

/// True when both lead to the same plan: a mere renewal is no reason for a pass.
fn same_plan(a: &Inputs, b: &Inputs) -> bool {
    let Inputs { networks, backend, node, mine, peers, complete, proofs, firewall } = a;
    (networks, backend, node, complete, firewall) == (&b.networks, &b.backend, &b.node, &b.complete, &b.firewall)
        && mine.plans_like(&b.mine)
        && (Arc::ptr_eq(proofs, &b.proofs) || *proofs == b.proofs)
        && peers.len() == b.peers.len()
        && peers.iter().zip(&b.peers).all(|(a, b)| Arc::ptr_eq(a, b) || a.plans_like(b))
}

/// Asks for a pass whenever a tunnel is lost or a plugin changes.
pub async fn pokes(tunnels: Arc<Tunnels>, plugins: Plugins, again: Arc<Notify>, followed: Followed) {
    let mut digests = plugins.changed();
    loop {
        tokio::select! {
            () = followed.shutdown.cancelled() => return,
            () = tunnels.changed() => {}
            changed = digests.changed() => {
                if changed.is_err() {
                    return;
                }
                followed.keeper.wish_changed();
            }
        }
        again.notify_one();
    }
}

/// Reads the plugin folders again on SIGHUP.
pub async fn plugin_folders(plugins: Plugins, followed: Followed) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return followed.shutdown.cancelled().await };
    loop {
        tokio::select! {
            () = followed.shutdown.cancelled() => return,
            _ = hangup.recv() => match plugins.reload(None, false).await {
                Ok(()) => followed.tell(Weight::Info, Told::new(Kind::Plugin, "the plugin folders were read again").because("SIGHUP")),
                Err(error) => followed.tell(Weight::Error, Told::new(Kind::Plugin, error.to_string())),
            },
        }
    }
}

/// Follows the underlay interface: a new index, MTU or address is read, planned with, and published on the same subnet.
pub async fn underlay(
    search: Search,
    kernel: Arc<Netlink>,
    mut outcome: watch::Receiver<Arc<Outcome>>,
    node: watch::Sender<Arc<Node>>,
    followed: Followed,
) {
    let mut mark = None;
    loop {
        let now = outcome.borrow_and_update().underlay_mark;
        if mark.replace(now).is_some_and(|before| before != now) {
            let known = node.borrow().clone();
            let before = Chosen { underlay: known.underlay.clone(), published: known.public };
            match search.find_again(&kernel, &before).await {
                Ok(after) if after != before => {
                    let Chosen { underlay, published: public } = after;
                    let text = format!("the underlay {} changed: MTU {}, reached at {public}", underlay.name, underlay.mtu);
                    let told = Told::new(Kind::Underlay, text).about(&underlay.name);
                    followed.tell(Weight::Warn, told.did("plans anew and publishes the lease with it"));
                    node.send_replace(Arc::new(Node { underlay, public, ..(*known).clone() }));
                    followed.keeper.wish_changed();
                }
                Ok(_) => {}
                Err(error) => followed.tell(Weight::Error, Told::new(Kind::Underlay, error.to_string()).about(&before.underlay.name)),
            }
        }
        tokio::select! {
            () = followed.shutdown.cancelled() => return,
            changed = outcome.changed() => if changed.is_err() { return },
        }
    }
}
