//! What a tunnel forwards by, made ready for the pumps: targets by inner destination, allowed inner sources by outer source.
//!
//! A table never changes; the forwarder makes a new one and swaps it in. Peers (and with them counters) are taken over from the book.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use twill_reconcile::ports::Forwarding;

use crate::lookup::Lookup;
use crate::peer::{Peer, Peers};

/// An immutable forwarding table.
#[derive(Debug)]
pub struct Table {
    targets: Vec<Target>,
    lookup: Lookup,
    senders: Vec<(Ipv4Addr, Sender)>,
    /// This node's own subnet, where it can be told from the tunnel's address and the peers' common subnet length.
    pub own: Option<Ipv4Net>,
    /// Source of ICMP answers; without one there are none.
    pub answers_from: Option<Ipv4Addr>,
    /// Longest inner packet that is taken from the network.
    pub mtu: usize,
}

/// Where packets for a prefix go.
#[derive(Debug)]
pub struct Target {
    /// Outer destination.
    pub to: SocketAddrV4,
    /// The peer there.
    pub peer: Arc<Peer>,
}

/// A node that may send to us.
#[derive(Debug)]
pub struct Sender {
    /// The peer.
    pub peer: Arc<Peer>,
    inner: Vec<IpNet>,
}

impl Sender {
    /// True when packets from `source` may come from this node.
    pub fn may_use(&self, source: IpAddr) -> bool {
        self.inner.iter().any(|net| net.contains(&source))
    }
}

impl Table {
    /// A table that knows nobody, and takes nothing.
    pub fn empty() -> Self {
        Table { targets: Vec::new(), lookup: Lookup::new(&[]), senders: Vec::new(), own: None, answers_from: None, mtu: 0 }
    }

    /// Makes it from what the reconciler wants. Outer IPv6 addresses are left out: the socket is IPv4's.
    pub fn new(forwarding: &Forwarding, peers: &mut Peers) -> Self {
        let mut targets: Vec<Target> = Vec::new();
        let mut prefixes = Vec::new();
        for (inner, outer, port) in &forwarding.endpoints {
            if let IpAddr::V4(address) = outer {
                prefixes.push((*inner, targets.len() as u32));
                targets.push(Target { to: SocketAddrV4::new(*address, *port), peer: peers.at(*outer) });
            }
        }
        Table {
            targets,
            lookup: Lookup::new(&prefixes),
            senders: senders(forwarding, peers),
            own: own_subnet(forwarding),
            answers_from: forwarding.answers_from,
            mtu: forwarding.mtu as usize,
        }
    }

    /// The number of the target of an inner destination.
    pub fn target_of(&self, destination: IpAddr) -> Option<u32> {
        self.lookup.get(destination)
    }

    /// A target by its number, which must come from this table.
    pub fn target(&self, number: u32) -> &Target {
        &self.targets[number as usize]
    }

    /// The node at an outer source address, if it may send to us.
    pub fn sender(&self, outer: Ipv4Addr) -> Option<&Sender> {
        let found = self.senders.binary_search_by_key(&outer, |(address, _)| *address);
        found.ok().map(|index| &self.senders[index].1)
    }

    /// The peer at an outer address, whether it is a target or a sender.
    pub fn peer(&self, outer: Ipv4Addr) -> Option<&Arc<Peer>> {
        let target = || self.targets.iter().find(|target| *target.to.ip() == outer).map(|target| &target.peer);
        self.sender(outer).map(|sender| &sender.peer).or_else(target)
    }

    /// All peers once, with their port where packets are sent to them, in order of address.
    pub fn peers(&self) -> Vec<(&Arc<Peer>, Option<u16>)> {
        let targets = self.targets.iter().map(|target| (&target.peer, Some(target.to.port())));
        let mut peers: Vec<_> = targets.chain(self.senders.iter().map(|(_, sender)| (&sender.peer, None))).collect();
        peers.sort_by_key(|(peer, port)| (peer.address, port.is_none()));
        peers.dedup_by_key(|(peer, _)| peer.address);
        peers
    }
}

fn senders(forwarding: &Forwarding, peers: &mut Peers) -> Vec<(Ipv4Addr, Sender)> {
    let mut senders: Vec<(Ipv4Addr, Sender)> = Vec::new();
    for (outer, inner) in &forwarding.senders {
        if let IpAddr::V4(address) = outer {
            senders.push((*address, Sender { peer: peers.at(*outer), inner: inner.clone() }));
        }
    }
    senders.sort_by_key(|(address, _)| *address);
    senders.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1.inner.append(&mut later.1.inner);
        }
        same
    });
    senders
}

/// The tunnel's address is the first of the own subnet, which is as long as the others' when those agree.
fn own_subnet(forwarding: &Forwarding) -> Option<Ipv4Net> {
    let mut lengths =
        forwarding.endpoints.iter().filter(|(inner, _, _)| matches!(inner, IpNet::V4(_))).map(|(inner, _, _)| inner.prefix_len());
    let first = lengths.next()?;
    let own = Ipv4Net::new(forwarding.answers_from?, first).ok()?.trunc();
    lengths.all(|length| length == first).then_some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarding() -> Forwarding {
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let net = |text: &str| text.parse().expect("net");
        Forwarding {
            endpoints: vec![(net("10.5.2.0/24"), address(2), 8285), (net("10.5.3.0/24"), address(3), 8285)],
            senders: vec![
                (address(3), vec![net("10.5.3.0/24")]),
                (address(2), vec![net("10.5.2.0/24")]),
                (address(4), vec![net("10.5.4.0/24")]),
                (address(2), vec![net("192.0.2.2/32")]),
            ],
            answers_from: Some(Ipv4Addr::new(10, 5, 1, 0)),
            mtu: 1472,
        }
    }

    #[test]
    fn targets_and_senders_of_one_node_share_its_peer() {
        let mut peers = Peers::new(1);
        let table = Table::new(&forwarding(), &mut peers);
        let number = table.target_of(IpAddr::from([10, 5, 2, 9])).expect("a target");
        let sender = table.sender(Ipv4Addr::new(192, 0, 2, 2)).expect("a sender");
        assert_eq!(table.target(number).to, "192.0.2.2:8285".parse().expect("address"));
        assert!(Arc::ptr_eq(&table.target(number).peer, &sender.peer));
        assert!(table.target_of(IpAddr::from([10, 5, 4, 9])).is_none());
        let shown: Vec<_> = table.peers().into_iter().map(|(peer, port)| (peer.address.to_string(), port)).collect();
        assert_eq!(shown, [("192.0.2.2".into(), Some(8285)), ("192.0.2.3".into(), Some(8285)), ("192.0.2.4".into(), None)]);
    }

    #[test]
    fn counters_outlive_a_swap() {
        let mut peers = Peers::new(1);
        let before = Table::new(&forwarding(), &mut peers);
        before.target(0).peer.sent[0].add(1, 10);
        let after = Table::new(&forwarding(), &mut peers);
        drop(before);
        peers.forget_unused();
        assert_eq!(after.target(0).peer.traffic().0.sent_packets, 1);
    }

    #[test]
    fn inner_sources_are_merged_by_sender() {
        let table = Table::new(&forwarding(), &mut Peers::new(1));
        let sender = table.sender(Ipv4Addr::new(192, 0, 2, 2)).expect("a sender");
        assert!(sender.may_use(IpAddr::from([10, 5, 2, 200])) && sender.may_use(IpAddr::from([192, 0, 2, 2])));
        assert!(!sender.may_use(IpAddr::from([10, 5, 3, 1])));
        assert!(table.sender(Ipv4Addr::new(192, 0, 2, 9)).is_none());
    }

    #[test]
    fn the_own_subnet_is_told_only_where_it_is_sure() {
        let mut forwarding = forwarding();
        assert_eq!(Table::new(&forwarding, &mut Peers::new(1)).own, Some("10.5.1.0/24".parse().expect("net")));
        forwarding.endpoints[0].0 = "10.5.2.0/25".parse().expect("net");
        assert_eq!(Table::new(&forwarding, &mut Peers::new(1)).own, None);
    }
}
