//! What a tunnel forwards by, made ready for the pumps: targets by inner destination, allowed inner sources by outer source.
//!
//! A table never changes; the forwarder makes a new one and swaps it in. Peers (and with them counters) are taken over from the book.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use twill_model::Addresses;
use twill_reconcile::ports::Forwarding;

use crate::lookup::Lookup;
use crate::peer::{Peer, Peers};

/// An immutable forwarding table.
#[derive(Debug)]
pub struct Table {
    targets: Vec<Target>,
    lookup: Lookup,
    senders: Vec<(IpAddr, Sender)>,
    /// This node's own subnets, IPv4's and IPv6's, where they can be told from the tunnel's addresses and the peers' common subnet length.
    own: [Option<IpNet>; 2],
    /// Source of ICMP answers in each family; without one there are none.
    pub answers_from: Addresses,
    /// Some peer's subnet is one of IPv6.
    pub has_v6: bool,
    /// Longest inner packet that is taken from the network.
    pub mtu: usize,
}

/// Where packets for a prefix go.
#[derive(Debug)]
pub struct Target {
    /// Outer destination.
    pub to: SocketAddr,
    /// The peer there.
    pub peer: Arc<Peer>,
}

/// A node that may send to us.
#[derive(Debug)]
pub struct Sender {
    /// The peer.
    pub peer: Arc<Peer>,
    /// From the first address of each subnet to its last.
    inner: Vec<RangeInclusive<IpAddr>>,
}

impl Sender {
    /// True when packets from `source` may come from this node.
    pub fn may_use(&self, source: IpAddr) -> bool {
        self.inner.iter().any(|subnet| subnet.contains(&source))
    }
}

impl Table {
    /// A table that knows nobody, and takes nothing.
    pub fn empty() -> Self {
        Table {
            targets: Vec::new(),
            lookup: Lookup::new(&[]),
            senders: Vec::new(),
            own: [None, None],
            answers_from: Addresses::default(),
            has_v6: false,
            mtu: 0,
        }
    }

    /// Makes it from what the reconciler wants.
    pub fn new(forwarding: &Forwarding, peers: &mut Peers) -> Self {
        let mut targets: Vec<Target> = Vec::new();
        let mut prefixes = Vec::new();
        for (inner, outer, port) in &forwarding.endpoints {
            prefixes.push((*inner, targets.len() as u32));
            targets.push(Target { to: SocketAddr::new(*outer, *port), peer: peers.at(*outer) });
        }
        Table {
            targets,
            lookup: Lookup::new(&prefixes),
            senders: senders(forwarding, peers),
            own: [own_subnet(forwarding, false), own_subnet(forwarding, true)],
            answers_from: forwarding.answers_from,
            has_v6: prefixes.iter().any(|(inner, _)| is_v6(inner)),
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

    /// True for an address of this node's own pods.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.own.iter().flatten().any(|own| own.contains(&address))
    }

    /// The number of the node at an outer source address, if it may send to us.
    pub fn sender_number(&self, outer: IpAddr) -> Option<u32> {
        self.senders.binary_search_by_key(&outer, |(address, _)| *address).ok().map(|index| index as u32)
    }

    /// A sender by its number, which must come from this table, and where it is.
    pub fn sender_at(&self, number: u32) -> (IpAddr, &Sender) {
        let (address, sender) = &self.senders[number as usize];
        (*address, sender)
    }

    /// The node at an outer source address, if it may send to us.
    pub fn sender(&self, outer: IpAddr) -> Option<&Sender> {
        self.sender_number(outer).map(|number| self.sender_at(number).1)
    }

    /// The peer at an outer address, whether it is a target or a sender.
    pub fn peer(&self, outer: IpAddr) -> Option<&Arc<Peer>> {
        let target = || self.targets.iter().find(|target| target.to.ip() == outer).map(|target| &target.peer);
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

fn senders(forwarding: &Forwarding, peers: &mut Peers) -> Vec<(IpAddr, Sender)> {
    let sender = |(outer, inner): &(IpAddr, Vec<IpNet>)| {
        let inner = inner.iter().map(|subnet| subnet.network()..=subnet.broadcast()).collect();
        (*outer, Sender { peer: peers.at(*outer), inner })
    };
    let mut senders: Vec<(IpAddr, Sender)> = forwarding.senders.iter().map(sender).collect();
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
fn own_subnet(forwarding: &Forwarding, of_v6: bool) -> Option<IpNet> {
    let Addresses { v4, v6 } = forwarding.answers_from;
    let address = if of_v6 { v6.map(IpAddr::V6) } else { v4.map(IpAddr::V4) }?;
    let mut lengths = forwarding.endpoints.iter().filter(|(inner, ..)| is_v6(inner) == of_v6).map(|(inner, ..)| inner.prefix_len());
    let first = lengths.next()?;
    let own = IpNet::new(address, first).ok()?.trunc();
    lengths.all(|length| length == first).then_some(own)
}

fn is_v6(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(_))
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
            answers_from: Addresses { v4: Some([10, 5, 1, 0].into()), v6: Some("fd00:5:1::".parse().expect("address")) },
            mtu: 1472,
        }
    }

    #[test]
    fn targets_and_senders_of_one_node_share_its_peer() {
        let mut peers = Peers::new(1);
        let table = Table::new(&forwarding(), &mut peers);
        let number = table.target_of(IpAddr::from([10, 5, 2, 9])).expect("a target");
        let sender = table.sender(IpAddr::from([192, 0, 2, 2])).expect("a sender");
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
        let sender = table.sender(IpAddr::from([192, 0, 2, 2])).expect("a sender");
        assert!(sender.may_use(IpAddr::from([10, 5, 2, 200])) && sender.may_use(IpAddr::from([192, 0, 2, 2])));
        assert!(!sender.may_use(IpAddr::from([10, 5, 3, 1])));
        assert!(table.sender(IpAddr::from([192, 0, 2, 9])).is_none());
    }

    #[test]
    fn the_own_subnet_is_told_only_where_it_is_sure() {
        let mut forwarding = forwarding();
        let own =
            |forwarding: &Forwarding, address: &str| Table::new(forwarding, &mut Peers::new(1)).is_own(address.parse().expect("address"));
        assert!(own(&forwarding, "10.5.1.9") && !own(&forwarding, "10.5.2.9"));
        assert!(!own(&forwarding, "fd00:5:1::9"), "no peer has IPv6");
        forwarding.endpoints.push(("fd00:5:2::/64".parse().expect("net"), "fd98::2".parse().expect("address"), 8285));
        assert!(own(&forwarding, "fd00:5:1::9") && !own(&forwarding, "fd00:5:2::9"));
        forwarding.endpoints[0].0 = "10.5.2.0/25".parse().expect("net");
        assert!(!own(&forwarding, "10.5.1.9"));
    }

    #[test]
    fn outer_addresses_may_be_of_either_family() {
        let mut forwarding = forwarding();
        let outer: IpAddr = "fd98::2".parse().expect("address");
        forwarding.endpoints.push(("fd00:5:2::/64".parse().expect("net"), outer, 8285));
        forwarding.senders.push((outer, vec!["fd00:5:2::/64".parse().expect("net")]));
        let table = Table::new(&forwarding, &mut Peers::new(1));
        let number = table.target_of("fd00:5:2::9".parse().expect("address")).expect("a target");
        assert_eq!(table.target(number).to, "[fd98::2]:8285".parse().expect("address"));
        assert!(table.has_v6 && table.sender(outer).is_some_and(|sender| Arc::ptr_eq(&sender.peer, &table.target(number).peer)));
    }
}
