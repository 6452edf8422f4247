//! What stays the same while one batch is carried.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::clock;
use crate::drops::DropReason;
use crate::ends::Ends;
use crate::table::Table;

/// What stays the same while one batch is carried.
pub struct Turn<'a> {
    /// The pump's ends.
    pub ends: &'a Ends,
    /// The table in force.
    pub table: &'a Arc<Table>,
    /// The boot clock.
    pub now_ms: u64,
}

impl<'a> Turn<'a> {
    /// A batch that begins now.
    pub fn new(ends: &'a Ends, table: &'a Arc<Table>) -> Self {
        Turn { ends, table, now_ms: clock::boot_ms() }
    }

    /// True while the lease is known to hold.
    pub fn may_send(&self) -> bool {
        self.now_ms < self.ends.shared.valid_until.load(Relaxed)
    }

    /// The longest packet that the path to a target is known to carry.
    pub fn limit(&self, target: u32) -> usize {
        self.table.target(target).peer.payload_limit(self.now_ms)
    }

    /// Counts packets that left.
    pub fn count_sent(&self, target: u32, packets: usize, bytes: usize) {
        self.ends.tally.traffic.add(packets, bytes);
        self.table.target(target).peer.sent[self.ends.lane].add(packets, bytes);
    }

    /// Counts the drop of so many packets, of which `packet` is one, or its headers; and for the peer too, where one was their target.
    pub fn note_drops(&self, count: usize, reason: DropReason, packet: &[u8], target: Option<u32>) {
        match target.map(|target| &self.table.target(target).peer) {
            Some(peer) => self.ends.note_drops(count, reason, peer, destination(packet)),
            None => self.ends.tally.note_drops(count, reason, None, destination(packet)),
        }
    }
}

/// The destination in an IP header, which may be all that there is of the packet.
fn destination(header: &[u8]) -> Option<IpAddr> {
    match header.first()? >> 4 {
        4 => header.get(16..20)?.first_chunk::<4>().map(|&octets| IpAddr::from(octets)),
        6 => header.get(24..40)?.first_chunk::<16>().map(|&octets| IpAddr::from(octets)),
        _ => None,
    }
}
