//! What a node knows of itself: its id, its underlay interface, its public addresses.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::address::Addresses;
use crate::lease::NodeId;

/// The interface that carries the tunnels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Underlay {
    /// Its name.
    pub name: String,
    /// Its index in this network namespace.
    pub index: u32,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its addresses with their prefix lengths, global ones first.
    pub addresses: Vec<IpNet>,
}

/// This node, as backends see it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Node {
    /// The stable id.
    pub id: NodeId,
    /// The interface that carries the tunnels.
    pub underlay: Underlay,
    /// Where peers reach this node.
    pub public: Addresses,
    /// 32 random bytes in hex, made once and kept: backends derive MAC addresses from it. Never shown.
    #[serde(skip)]
    pub seed: String,
}
