//! The pumps of a tunnel: threads a queue, one that carries packets from the TUN device to peers (`outbound`), and for each address family of
//! the underlay one that carries datagrams from the network to the TUN device (`inbound`).
//!
//! A pump drains its source in batches without sleeping, takes the table once a batch, and sleeps only when its source is empty. It takes
//! no lock, allocates nothing and logs nothing per packet. It ends when told, or when the device was deleted under it; it never spins.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwap;
use twill_reconcile::ports::Refused;

use crate::counters::Tally;
use crate::drops::DropReason;
use crate::mmsg::BATCH;
use crate::peer::Peer;
use crate::signal::Signal;
use crate::table::Table;
use crate::tun::Queue;
use crate::udp::{News, Socket};
use crate::{inbound, outbound};

/// What all pumps of a tunnel go by.
#[derive(Debug)]
pub struct Shared {
    /// The forwarding table in force.
    pub table: Arc<ArcSwap<Table>>,
    /// Nothing is sent after this moment of the boot clock, in milliseconds.
    pub valid_until: Arc<AtomicU64>,
    /// How they are ended.
    pub signal: Signal,
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

/// The running threads of a tunnel.
#[derive(Debug)]
pub struct Pumps {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Pumps {
    /// Starts a thread for each of the ends: out of the device, and into it. `link` names them.
    pub fn start(link: &str, shared: Arc<Shared>, out: Vec<Ends>, into: Vec<Ends>) -> Result<Self, Refused> {
        let mut pumps = Pumps { shared, threads: Vec::new() };
        for ends in out {
            pumps.spawn(format!("out {link}"), ends, outbound::run)?;
        }
        for ends in into {
            pumps.spawn(format!("in {link}"), ends, inbound::run)?;
        }
        Ok(pumps)
    }

    /// True once the device was deleted under them, or one of them failed.
    pub fn are_lost(&self) -> bool {
        self.shared.signal.is_lost()
    }

    fn spawn(&mut self, name: String, ends: Ends, run: fn(&Ends)) -> Result<(), Refused> {
        let body = move || {
            let guard = LostOnPanic(&ends.shared.signal);
            run(&ends);
            drop(guard);
        };
        let refused = |error: std::io::Error| Refused { act: format!("start thread \"{name}\""), cause: error.to_string() };
        self.threads.push(thread::Builder::new().name(name.clone()).spawn(body).map_err(refused)?);
        Ok(())
    }
}

impl std::ops::Drop for Pumps {
    /// Ends the threads and waits for them: they finish the batch at hand, which takes far less than a millisecond.
    fn drop(&mut self) {
        self.shared.signal.end();
        for thread in self.threads.drain(..) {
            // A panic was reported by its thread, and made the tunnel a lost one.
            let _ = thread.join();
        }
    }
}

struct LostOnPanic<'a>(&'a Signal);

impl std::ops::Drop for LostOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lose();
        }
    }
}
