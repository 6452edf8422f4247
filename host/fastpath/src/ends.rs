//! What a pump works on: its queue and sockets, what it counts, and what all pumps of the tunnel go by.

use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Once};

use arc_swap::ArcSwap;

use crate::awake::Spinner;
use crate::bulk::Bulk;
use crate::counters::Tally;
use crate::drops::DropReason;
use crate::heavy::Heavy;
use crate::mmsg::BATCH;
use crate::peer::Peer;
use crate::signal::Signal;
use crate::table::Table;
use crate::tun::Queue;
use crate::udp::{News, Socket};

/// What all pumps of a tunnel go by.
#[derive(Debug)]
pub struct Shared {
    /// The forwarding table in force.
    pub table: Arc<ArcSwap<Table>>,
    /// Nothing is sent after this moment of the boot clock, in milliseconds.
    pub valid_until: Arc<AtomicU64>,
    /// How they are ended.
    pub signal: Signal,
    /// Keeps a core awake while lone packets follow each other closely, where that is wanted.
    pub spinner: Option<Arc<Spinner>>,
    /// When bulk last left.
    pub bulk: Bulk,
    /// Whether heavy bulk passes, of each queue.
    pub heavy: Vec<Heavy>,
    /// What the kernel or the underlay turned out to refuse, each said once.
    pub refusals: Refusals,
}

/// What is said once for a tunnel, however many pumps find it.
#[derive(Debug)]
pub struct Refusals {
    /// Of the underlay: runs of datagrams (UDP_SEGMENT).
    pub runs: Once,
    /// Of the TUN device: a super-packet that was joined here.
    pub joined: Once,
    /// Of the kernel: several writes in one system call.
    pub together: Once,
}

impl Default for Refusals {
    fn default() -> Self {
        Refusals { runs: Once::new(), joined: Once::new(), together: Once::new() }
    }
}

/// What one pump works on.
#[derive(Debug)]
pub struct Ends {
    /// A queue of the TUN device.
    pub queue: Arc<Queue>,
    /// The sockets that it works with: for the way out one of each family of the underlay, for the way in one.
    pub sockets: Vec<Arc<Socket>>,
    /// The number of the queue, which is that of the lanes this pump counts in.
    pub lane: usize,
    /// What this pump counts apart from peers.
    pub tally: Arc<Tally>,
    /// What all pumps of the tunnel go by.
    pub shared: Arc<Shared>,
}

impl Ends {
    /// The socket that reaches addresses of that family.
    pub(crate) fn socket_to(&self, to: IpAddr) -> Option<&Socket> {
        self.sockets.iter().find(|socket| socket.reaches(to)).map(|socket| &**socket)
    }

    /// Counts the drop of so many packets to or from a peer: for the tunnel, and for the peer. `inner` is the address that is the matter.
    pub(crate) fn note_drops(&self, count: usize, reason: DropReason, peer: &Peer, inner: Option<IpAddr>) {
        self.tally.note_drops(count, reason, Some(peer.address), inner);
        peer.note_drops(count, reason);
    }

    /// Counts a datagram that did not arrive at the host that it was sent to, which may be no peer any more.
    fn note_lost(&self, reason: DropReason, host: IpAddr, table: &Table) {
        match table.peer(host) {
            Some(peer) => self.note_drops(1, reason, peer, None),
            None => self.tally.note_drop(reason, Some(host), None),
        }
    }

    /// Reads the sockets' error queues: learns path MTUs, counts the rest. True when there was something in one.
    pub(crate) fn read_reports(&self, table: &Table, now_ms: u64) -> bool {
        self.sockets.iter().filter(|socket| self.read_reports_of(socket, table, now_ms)).count() > 0
    }

    fn read_reports_of(&self, socket: &Socket, table: &Table, now_ms: u64) -> bool {
        let mut some = false;
        // Bounded, so that a flood of ICMP does not keep packets from being carried.
        for report in std::iter::from_fn(|| socket.next_report()).take(BATCH) {
            some = true;
            match report.news {
                News::PathMtu(mtu) => table.peer(report.about).into_iter().for_each(|peer| peer.learn_path_mtu(mtu, now_ms)),
                News::Refused => self.note_lost(DropReason::PeerRefused, report.about, table),
                News::Unreachable => self.note_lost(DropReason::PeerUnreachable, report.about, table),
            }
        }
        if !some {
            socket.clear_error();
        }
        some
    }
}
