//! Nodes, leases and contexts to ask a backend with, all made from a node's number.
//!
//! Node N has the subnets 10.10.N.0/24 and fd10:0:0:N::/64 and is reached at 10.98.0.N and fd98::N; node 1 is the one that asks.

use crate::backend::{Addresses, Context, Hop, Lease, Lifetime, Network, Node, Prefixes, Road, Underlay, Way};

/// The peer is on the same link.
pub const ON_LINK: Road = Road { v4: Hop::OnLink, v6: Hop::OnLink };
/// The peer is behind a router.
pub const ROUTED: Road = Road { v4: Hop::Routed, v6: Hop::Routed };
/// There is no road to the peer.
pub const NO_ROAD: Road = Road { v4: Hop::Unreachable, v6: Hop::Unreachable };

/// The network, with a config of this backend.
pub fn network(backend: &str) -> Network {
    Network { ranges: vec!["10.10.0.0/16".into(), "fd10::/48".into()], backend: backend.into() }
}

/// Where the node of that number is reached.
pub fn public(number: u8) -> Addresses {
    Addresses { v4: Some(format!("10.98.0.{number}")), v6: Some(format!("fd98::{number}")) }
}

/// The node of that number, on an underlay of 1500 bytes.
pub fn node(number: u8) -> Node {
    let addresses = vec![format!("10.98.0.{number}/24"), format!("fd98::{number}/64")];
    let underlay = Underlay { name: "eth0".into(), mtu: 1500, addresses };
    Node { id: format!("node-{number}"), underlay, public: public(number), seed: format!("{number:02x}").repeat(32), keys: vec![] }
}

/// The lease of the node of that number, reached by this way.
pub fn lease(number: u8, way: &Way) -> Lease {
    Lease {
        subnets: Prefixes { v4: Some(format!("10.10.{number}.0/24")), v6: Some(format!("fd10:0:0:{number}::/64")) },
        public: public(number),
        ways: vec![way.clone()],
        node: Some(format!("node-{number}")),
        life: Lifetime::Seconds(86_400),
    }
}

/// Node 1 asks by its own way, whose backend is the config's.
pub fn context(way: &Way) -> Context {
    Context { network: network(&way.backend), node: node(1), mine: lease(1, way), way: way.clone(), primary: true }
}
