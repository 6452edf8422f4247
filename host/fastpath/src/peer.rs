//! What lives as long as a peer does, across table swaps: its counters, and the path MTU that was learned towards it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use twill_model::status::Traffic;

use crate::counters::Lane;
use crate::drops::DropReason;

/// The longest inner packet that any UDP datagram over IPv4 carries.
pub const LONGEST_PAYLOAD: usize = 65_507;
/// Outer IPv4 and UDP headers.
pub const OUTER_HEADERS: usize = 28;
/// Outer IPv6 and UDP headers.
pub const OUTER_HEADERS_V6: usize = 48;
/// The least MTU that every IPv4 link has (RFC 791).
const LEAST_MTU: u32 = 68;
/// The least MTU that every IPv6 link has (RFC 8200).
const LEAST_MTU_V6: u32 = 1280;
/// A learned path MTU is forgotten after this time, so that a grown one is found again. The kernel remembers what routers said for ten
/// minutes and answers at once, so asking again early costs nothing.
const REMEMBERED_MS: u64 = 30_000;

/// A node on the underlay.
#[derive(Debug)]
pub struct Peer {
    /// Its address on the underlay.
    pub address: IpAddr,
    /// What was sent to it, a lane a queue.
    pub sent: Box<[Lane]>,
    /// What was received from it, a lane a queue.
    pub received: Box<[Lane]>,
    /// Path MTU in the low 17 bits, the moment of the boot clock until which it counts above them.
    path: AtomicU64,
    /// Packets to and from it that were dropped, by reason; made with the first. All threads count here, since most peers never have one.
    dropped: OnceLock<Box<[AtomicU64; DropReason::ALL.len()]>>,
}

impl Peer {
    /// A peer of which nothing is known yet.
    pub fn new(address: IpAddr, queues: usize) -> Self {
        let lanes = || (0..queues).map(|_| Lane::default()).collect();
        Peer { address, sent: lanes(), received: lanes(), path: AtomicU64::new(0), dropped: OnceLock::new() }
    }

    /// The longest inner packet that the path is known to carry at the moment `now_ms` of the boot clock.
    pub fn payload_limit(&self, now_ms: u64) -> usize {
        let path = self.path.load(Relaxed);
        if now_ms < path >> 17 { (path as usize & 0x1ffff) - self.outer_headers() } else { LONGEST_PAYLOAD }
    }

    /// Notes a path MTU in bytes, outer headers included, that the kernel told at the moment `now_ms` of the boot clock.
    pub fn learn_path_mtu(&self, mtu: u32, now_ms: u64) {
        let least = if self.address.is_ipv6() { LEAST_MTU_V6 } else { LEAST_MTU };
        let mtu = mtu.clamp(least, (LONGEST_PAYLOAD + self.outer_headers()) as u32);
        self.path.store(now_ms.saturating_add(REMEMBERED_MS) << 17 | u64::from(mtu), Relaxed);
    }

    /// Counts the drop of so many packets to or from it.
    pub fn note_drops(&self, count: usize, reason: DropReason) {
        let dropped = self.dropped.get_or_init(|| Box::new(std::array::from_fn(|_| AtomicU64::new(0))));
        dropped[reason as usize].fetch_add(count as u64, Relaxed);
    }

    /// The drops so far, by the reason's name; reasons that never came up are left out.
    pub fn dropped(&self) -> BTreeMap<String, u64> {
        let Some(dropped) = self.dropped.get() else { return BTreeMap::new() };
        let counts = DropReason::ALL.iter().map(|&reason| (reason.name().to_owned(), dropped[reason as usize].load(Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    fn outer_headers(&self) -> usize {
        if self.address.is_ipv6() { OUTER_HEADERS_V6 } else { OUTER_HEADERS }
    }

    /// Sums up the counters: traffic, and when something arrived last.
    pub fn traffic(&self) -> (Traffic, Option<u64>) {
        let mut traffic = Traffic::default();
        for (packets, bytes, _) in self.sent.iter().map(Lane::read) {
            traffic.sent_packets += packets;
            traffic.sent_bytes += bytes;
        }
        let mut heard = 0;
        for (packets, bytes, heard_ms) in self.received.iter().map(Lane::read) {
            traffic.received_packets += packets;
            traffic.received_bytes += bytes;
            heard = heard.max(heard_ms);
        }
        (traffic, (heard > 0).then_some(heard))
    }
}

/// The peers of a tunnel by their address.
#[derive(Debug)]
pub struct Peers {
    queues: usize,
    known: HashMap<IpAddr, Arc<Peer>>,
}

impl Peers {
    /// None yet; each will have a lane for each of `queues`.
    pub fn new(queues: usize) -> Self {
        Peers { queues, known: HashMap::new() }
    }

    /// The peer at that address: the same one as long as it is known.
    pub fn at(&mut self, address: IpAddr) -> Arc<Peer> {
        let queues = self.queues;
        Arc::clone(self.known.entry(address).or_insert_with(|| Arc::new(Peer::new(address, queues))))
    }

    /// Forgets the peers that only this book still holds: no table names them.
    pub fn forget_unused(&mut self) {
        self.known.retain(|_, peer| Arc::strong_count(peer) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Peer {
        Peer::new(IpAddr::from([192, 0, 2, 1]), 2)
    }

    #[test]
    fn a_path_mtu_counts_for_a_while() {
        let peer = peer();
        assert_eq!(peer.payload_limit(5), LONGEST_PAYLOAD);
        peer.learn_path_mtu(1400, 1_000);
        assert_eq!(peer.payload_limit(1_000), 1372);
        assert_eq!(peer.payload_limit(1_000 + REMEMBERED_MS), LONGEST_PAYLOAD);
    }

    #[test]
    fn absurd_path_mtus_are_bounded() {
        let peer = peer();
        peer.learn_path_mtu(0, 1_000);
        assert_eq!(peer.payload_limit(1_000), 40);
        peer.learn_path_mtu(u32::MAX, 1_000);
        assert_eq!(peer.payload_limit(1_000), LONGEST_PAYLOAD);
    }

    #[test]
    fn outer_ipv6_has_longer_headers_and_a_higher_least() {
        let peer = Peer::new(IpAddr::from([0xfd98, 0, 0, 0, 0, 0, 0, 1]), 1);
        peer.learn_path_mtu(1400, 1_000);
        assert_eq!(peer.payload_limit(1_000), 1352);
        peer.learn_path_mtu(0, 1_000);
        assert_eq!(peer.payload_limit(1_000), 1232);
    }

    #[test]
    fn lanes_are_summed() {
        let peer = peer();
        peer.sent[0].add(1, 100);
        peer.sent[1].add(1, 50);
        peer.received[1].add(1, 7);
        peer.received[1].heard(42);
        let (traffic, heard) = peer.traffic();
        assert_eq!((traffic.sent_packets, traffic.sent_bytes, traffic.received_packets, traffic.received_bytes), (2, 150, 1, 7));
        assert_eq!(heard, Some(42));
    }

    #[test]
    fn drops_are_counted_by_reason_from_any_thread() {
        let peer = peer();
        assert_eq!(peer.dropped(), BTreeMap::new());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|_| peer.note_drops(2, DropReason::TooBig)));
            }
        });
        peer.note_drops(1, DropReason::InnerSource);
        assert_eq!(peer.dropped(), [("inner-source".to_owned(), 1), ("too-big".to_owned(), 8_000)].into());
    }

    #[test]
    fn peers_stay_while_a_table_holds_them() {
        let mut peers = Peers::new(1);
        let held = peers.at(IpAddr::from([192, 0, 2, 1]));
        peers.at(IpAddr::from([192, 0, 2, 2]));
        peers.forget_unused();
        assert_eq!(peers.known.len(), 1);
        assert!(Arc::ptr_eq(&held, &peers.at(IpAddr::from([192, 0, 2, 1]))));
    }
}
