//! How each peer is reached from here, for the API: what the last pass chose, and what was proved. Pure.

use twill_lease::cluster::Cluster;
use twill_model::Lease;
use twill_model::status::{PathState, PathStatus};
use twill_reconcile::view::Outcome;

/// One path a peer, by subnet.
pub fn paths(cluster: &Cluster, outcome: &Outcome) -> Vec<PathStatus> {
    let mut paths: Vec<PathStatus> = cluster.peers.iter().map(|peer| path(peer, cluster, outcome)).collect();
    paths.sort_by_key(|path| path.subnets);
    paths
}

fn path(peer: &Lease, cluster: &Cluster, outcome: &Outcome) -> PathStatus {
    let choice = outcome.ways.get(&peer.subnets);
    let way = choice.and_then(|choice| choice.way.clone());
    let config = cluster.config.as_deref().map(|config| config.backend.as_str());
    let named = peer.ways.iter().map(|way| way.backend.clone());
    let wanted = named.clone().find(|backend| Some(backend.as_str()) == config).or_else(|| named.clone().next());
    let state = match &way {
        None if choice.is_none() => PathState::Proving,
        None => PathState::Down,
        Some(_) if way == wanted => PathState::Moved,
        Some(_) => PathState::Held,
    };
    PathStatus {
        subnets: peer.subnets,
        node: peer.node.as_ref().map(ToString::to_string),
        public: peer.public,
        way,
        wanted,
        state,
        reason: choice.map(|choice| choice.reason.clone()),
        ..PathStatus::default()
    }
}
