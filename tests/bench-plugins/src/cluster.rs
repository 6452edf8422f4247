//! A cluster of any size, in the host's types and in the guest crate's: what the same question is asked with on either side.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use twill_guest::backend as guest;
use twill_model::node::{Node, Underlay};
use twill_model::state::{Hop, Road};
use twill_model::{Addresses, Lease, Lifetime, NodeId, Prefixes, Way};
use twill_reconcile::Inputs;
use twill_reconcile::plan::Roads;
use twill_reconcile::ports::{Context, Network};

/// The road to every peer.
pub const ROAD: Road = Road { v4: Hop::OnLink, v6: Hop::Unreachable };

/// The address of peer `number` on the underlay.
fn public(number: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 16, 0, 0)) + u32::from(number))
}

fn way() -> Way {
    Way { backend: "udp".into(), options: r#"{"Port":8285}"#.into(), data_v4: None, data_v6: None }
}

/// The lease of peer `number`, from 1 on.
pub fn lease(number: u16) -> Lease {
    let subnet = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + (u32::from(number) << 8));
    Lease {
        subnets: Prefixes { v4: format!("{subnet}/24").parse().ok(), v6: None },
        public: Addresses { v4: Some(public(number)), v6: None },
        ways: vec![way()],
        node: Some(NodeId(format!("node-{number}"))),
        life: Lifetime::Seconds(86_400),
    }
}

fn node() -> Node {
    let addresses = vec!["172.16.0.1/12".parse().expect("an address")];
    let underlay = Underlay { name: "eth0".into(), index: 2, mtu: 1500, addresses };
    Node { id: NodeId("node-1".into()), underlay, public: lease(1).public, seed: "00".repeat(32) }
}

/// This node, which is number 1.
pub fn context() -> Context {
    let network = Network { ranges: vec!["10.0.0.0/8".parse().expect("a prefix")], backend: "udp".into() };
    Context { network, node: node(), mine: lease(1), way: way(), primary: true }
}

/// What the reconciler plans from, with so many peers.
pub fn inputs(peers: u16) -> (Inputs, Roads) {
    let peers: Vec<Arc<Lease>> = (2..2 + peers).map(|number| Arc::new(lease(number))).collect();
    let roads = peers.iter().filter_map(|peer| Some((IpAddr::V4(peer.public.v4?), Hop::OnLink))).collect();
    let networks = Prefixes { v4: "10.0.0.0/8".parse().ok(), v6: None };
    let inputs = Inputs {
        networks,
        backend: "udp".into(),
        node: node(),
        mine: lease(1),
        peers,
        complete: true,
        firewall: None,
        proofs: Default::default(),
    };
    (inputs, roads)
}

/// The same lease as a guest sees it.
pub fn guest_lease(lease: &Lease) -> guest::Lease {
    guest::Lease {
        subnets: guest::Prefixes { v4: lease.subnets.v4.map(|net| net.to_string()), v6: None },
        public: guest::Addresses { v4: lease.public.v4.map(|address| address.to_string()), v6: None },
        ways: lease.ways.iter().map(guest_way).collect(),
        node: lease.node.as_ref().map(|node| node.0.clone()),
        life: guest::Lifetime::Seconds(86_400),
    }
}

/// The same way as a guest sees it.
pub fn guest_way(way: &Way) -> guest::Way {
    guest::Way { backend: way.backend.clone(), options: way.options.clone(), data_v4: None, data_v6: None }
}

/// The same context as a guest sees it.
pub fn guest_context() -> guest::Context {
    let host = context();
    let underlay = guest::Underlay { name: "eth0".into(), mtu: 1500, addresses: vec!["172.16.0.1/12".into()] };
    let mine = guest_lease(&host.mine);
    guest::Context {
        network: guest::Network { ranges: vec!["10.0.0.0/8".into()], backend: "udp".into() },
        node: guest::Node { id: "node-1".into(), underlay, public: mine.public.clone(), seed: "00".repeat(32), keys: vec![] },
        way: guest_way(&host.way),
        mine,
        primary: true,
    }
}

/// The road as a guest sees it.
pub const GUEST_ROAD: guest::Road = guest::Road { v4: guest::Hop::OnLink, v6: guest::Hop::Unreachable };
