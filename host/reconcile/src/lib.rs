//! Reconciling: from leases to desired state, from there to the steps that make the kernel so.
//!
//! One way through: [`plan`] asks the backends, a peer at a time · [`policy`] refuses what a plan may not hold · [`union`] puts one item in
//! each place · [`diff`] compares with the kernel and orders the steps. [`pass`] does all that once and carries the steps out, with the forwarding tables of the UDP
//! path swapped between those that make ways and those that take them away; [`run`] decides when. Start-up, a new lease, a lost route and a
//! new plugin are all the same pass through it; there is no second path for repair. The world is reached by the traits in [`ports`].

pub(crate) mod answers;
pub mod changes;
pub mod diff;
pub mod disruption;
pub mod drain;
pub mod failures;
pub mod files;
pub(crate) mod keep;
pub mod links;
pub mod pass;
pub mod peer;
pub mod plan;
pub mod policy;
pub mod ports;
pub mod repair;
pub mod rules;
pub mod run;
pub mod seen;
pub mod sysctl;
pub mod targets;
pub(crate) mod tell;
#[cfg(test)]
mod testing;
pub mod trial;
pub mod tunnel;
pub(crate) mod turns;
pub mod union;
pub mod view;
pub mod way_names;
pub mod ways;

use std::sync::Arc;

use twill_model::firewall::Ruleset;
use twill_model::node::Node;
use twill_model::proof::Proofs;
use twill_model::{Lease, Prefixes};

/// What a pass starts from: all that the cluster and the machine say, in one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// The overlay's networks.
    pub networks: Prefixes,
    /// The config's backend type: the primary backend.
    pub backend: String,
    /// This node.
    pub node: Node,
    /// The own lease, with all ways that this node publishes.
    pub mine: Lease,
    /// Everybody else's, in the book's order (the older first).
    pub peers: Vec<Arc<Lease>>,
    /// True once the store was read in full in this run. Until then nothing is removed: unknown is not empty.
    pub complete: bool,
    /// What was proved of ways to peers.
    pub proofs: Arc<Proofs>,
    /// The packet filter's rules of ours; none leaves them alone, whatever they are.
    pub firewall: Option<Ruleset>,
}

/// What inner sources a tunnel accepts from a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceCheck {
    /// Only the sender's pod subnets.
    Strict,
    /// Its pod subnets and public addresses: host processes may talk to pods.
    Lease,
    /// Anything; the sender must hold a lease all the same.
    Off,
}

/// What stays the same for the life of the daemon.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The route protocol that marks routes as ours.
    pub protocol: u8,
    /// What inner sources are accepted.
    pub source_check: SourceCheck,
    /// Set the forwarding sysctls.
    pub forwarding: bool,
    /// The same item repaired more often than this in a minute is left alone for a while.
    pub repairs_per_minute: usize,
}
