//! From the cluster as the keeper knows it to what the reconciler starts from. Pure.

use std::sync::Arc;

use twill_lease::cluster::Cluster;
use twill_model::node::Node;
use twill_model::proof::Proofs;
use twill_model::{NetworkConfig, Prefixes};
use twill_reconcile::Inputs;

use super::firewall::Firewall;

/// The reconciler's inputs; none while there is no config or no own lease.
pub fn of(cluster: &Cluster, node: &Node, proofs: &Arc<Proofs>, firewall: &mut Firewall) -> Option<Inputs> {
    let config = cluster.config.as_ref()?;
    let mine = cluster.own.clone()?;
    let networks = networks(config);
    Some(Inputs {
        networks,
        backend: config.backend.clone(),
        node: node.clone(),
        firewall: Some(firewall.rules(networks, mine.subnets)),
        mine,
        peers: cluster.peers.clone(),
        complete: cluster.complete,
        proofs: Arc::clone(proofs),
    })
}

/// The overlay's networks, one a family.
pub fn networks(config: &NetworkConfig) -> Prefixes {
    Prefixes { v4: config.v4.map(|range| range.network), v6: config.v6.map(|range| range.network) }
}
