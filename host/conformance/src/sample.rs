//! The cluster that backends are asked about: as many nodes as are needed, all made from their number.
//!
//! Node N has the subnets 10.64.0.0 + 256 N and fd99:0:0:N::, and is reached in the ranges for benchmarks and documentation (RFC 2544, RFC 3849).

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use twill_model::node::{Node, Underlay};
use twill_model::state::{Hop, Road};
use twill_model::{Addresses, Lease, Lifetime, NodeId, Prefixes, Way};
use twill_reconcile::ports::{Context, Network};

/// The address families of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// IPv4 and IPv6.
    Both,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

impl Families {
    /// From the fullest to the scarcest.
    pub const ALL: [Families; 3] = [Families::Both, Families::V4, Families::V6];

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Families::Both => "IPv4 and IPv6",
            Families::V4 => "IPv4",
            Families::V6 => "IPv6",
        }
    }

    fn has_v4(self) -> bool {
        self != Families::V6
    }

    fn has_v6(self) -> bool {
        self != Families::V4
    }
}

/// The road to every peer of a flat network.
pub const ON_LINK: Road = Road { v4: Hop::OnLink, v6: Hop::OnLink };
/// The road to every peer behind a router.
pub const ROUTED: Road = Road { v4: Hop::Routed, v6: Hop::Routed };
/// No road.
pub const NO_ROAD: Road = Road { v4: Hop::Unreachable, v6: Hop::Unreachable };

/// MTU of every node's underlay in bytes.
pub const UNDERLAY_MTU: u32 = 1_500;

/// The overlay's ranges.
pub fn networks(families: Families) -> Prefixes {
    Prefixes { v4: families.has_v4().then(|| v4(10, 64, 10)), v6: families.has_v6().then(|| v6(0, 48)) }
}

/// The subnets of the node of that number, which is below 16 384.
pub fn subnets(number: u16, families: Families) -> Prefixes {
    let base = u32::from(Ipv4Addr::new(10, 64, 0, 0)) + (u32::from(number) << 8);
    let v4 = Ipv4Net::new(Ipv4Addr::from(base), 24).ok();
    Prefixes { v4: v4.filter(|_| families.has_v4()), v6: families.has_v6().then(|| v6(number, 64)) }
}

/// Where the node of that number is reached.
pub fn public(number: u16) -> Addresses {
    let v4 = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + u32::from(number));
    Addresses { v4: Some(v4), v6: Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number)) }
}

/// The node of that number, with an underlay interface of this MTU.
pub fn node(number: u16, mtu: u32) -> Node {
    let at = public(number);
    let net = |address: std::net::IpAddr| IpNet::new(address, if address.is_ipv4() { 15 } else { 64 }).ok();
    let addresses = at.iter().filter_map(net).collect();
    let underlay = Underlay { name: "eth0".into(), index: 2, mtu, addresses };
    Node { id: NodeId(format!("node-{number}")), underlay, public: at, seed: seed(number) }
}

/// A lease of the node of that number, with these ways.
pub fn lease(number: u16, families: Families, ways: Vec<Way>) -> Lease {
    Lease {
        subnets: subnets(number, families),
        public: public(number),
        ways,
        node: Some(NodeId(format!("node-{number}"))),
        life: Lifetime::Seconds(86_400),
    }
}

/// The network as backends are told it; `backend` is the config's.
pub fn network(families: Families, backend: &str) -> Network {
    Network { ranges: networks(families).iter().collect(), backend: backend.into() }
}

/// Node 1 asks, and `way` is its own.
pub fn context(families: Families, way: &Way, primary: bool) -> Context {
    let backend = if primary { way.backend.clone() } else { "another".into() };
    Context {
        network: network(families, &backend),
        node: node(1, UNDERLAY_MTU),
        mine: lease(1, families, vec![way.clone()]).timeless(),
        way: way.clone(),
        primary,
    }
}

/// 32 bytes in hex that differ from node to node.
fn seed(number: u16) -> String {
    let mut state = u64::from(number) << 32 | 0x7717;
    (0..4).map(|_| format!("{:016x}", splitmix(&mut state))).collect()
}

/// The next of a series of well-mixed numbers, the same in every run (splitmix64, in the public domain).
pub(crate) fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn v4(a: u8, b: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), length)
}

fn v6(fourth: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd99, 0, 0, fourth, 0, 0, 0, 0), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_subnets_of_its_own_inside_the_network() {
        for number in [1, 2, 255, 256, 5_001, 16_383] {
            let subnets = subnets(number, Families::Both);
            assert!(subnets.iter().all(|subnet| networks(Families::Both).cover(subnet)), "{subnets}");
            assert!(!subnets.overlaps(&super::subnets(number - 1, Families::Both)), "{subnets}");
            assert_ne!(node(number, 1_500).seed, node(number - 1, 1_500).seed);
        }
        assert_eq!(seed(1).len(), 64);
    }
}
