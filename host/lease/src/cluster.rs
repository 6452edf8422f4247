//! What the keeper publishes: the cluster as this node knows it, one immutable value that readers take whole.
//!
//! Unknown is not empty: until [`Cluster::complete`] is true, peers that are missing here may well exist, and nothing may be removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use twill_model::{Lease, NetworkConfig, Prefixes};

use crate::collision::Collision;
use crate::store::Oddity;

/// The cluster as this node knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// The config in force: the last good one. None until there has been one.
    pub config: Option<Arc<NetworkConfig>>,
    /// Its text, verbatim.
    pub config_text: Option<String>,
    /// A good config in the store that is not in force because it would tear the network down; an operator may accept it.
    pub config_waiting: Option<String>,
    /// The own lease. None before there is one, and at once when it was lost: then nothing may be sent from it.
    pub own: Option<Lease>,
    /// The fast path may send now. False without an own lease, and while one is shown that ended, or came into doubt, before the store could confirm it.
    pub permit: bool,
    /// The own lease was withdrawn, since this node is being drained: it is used until the daemon ends, and no other is claimed.
    pub withdrawn: bool,
    /// The leases of all others, the oldest first, held ones included. Leases that lost a collision are left out.
    pub peers: Vec<Arc<Lease>>,
    /// Peers that vanished from the store and are kept for a while.
    pub held: Vec<Prefixes>,
    /// When the store last spoke of each lease: milliseconds of the boot clock. `life` counts from there.
    pub told: BTreeMap<Prefixes, u64>,
    /// Leases that overlap one that goes before them: one of the config's length, or an older one.
    pub collisions: Vec<Collision>,
    /// All this comes from the disk; the store was not read yet in this run.
    pub remembered: bool,
    /// The store was read whole at least once in this run. Until then nothing may be removed.
    pub complete: bool,
    /// The store and how it is.
    pub store: StoreState,
    /// What is wrong, one sentence each, as long as it is wrong.
    pub problems: Vec<String>,
    /// When the own lease is renewed next: milliseconds of the boot clock.
    pub renewal: Option<u64>,
}

/// The store and how it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreState {
    /// The last call succeeded.
    pub reachable: bool,
    /// The last error, while it is not reachable.
    pub error: Option<String>,
    /// What in the store is not a lease.
    pub oddities: Vec<Oddity>,
}
