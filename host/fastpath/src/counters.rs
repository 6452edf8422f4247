//! Counters that cost nothing: each is written by one thread only, on cache lines of its own, and summed up on reading.
//!
//! A writer loads and stores without a locked instruction, which is right only while nobody else writes; every [`Lane`] and [`Tally`]
//! therefore belongs to one pump. Readers may see a packet counted a moment before its bytes.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::drops::DropReason;

/// Packets and bytes in one direction, of one thread. Two cache lines, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Lane {
    packets: AtomicU64,
    bytes: AtomicU64,
    heard_ms: AtomicU64,
}

impl Lane {
    /// Counts so many packets of so many bytes in all. Only for the thread that owns the lane.
    pub fn add(&self, packets: usize, bytes: usize) {
        bump(&self.packets, packets as u64);
        bump(&self.bytes, bytes as u64);
    }

    /// Notes that something arrived at this moment (milliseconds since the Unix epoch).
    pub fn heard(&self, wall_ms: u64) {
        self.heard_ms.store(wall_ms, Relaxed);
    }

    /// Packets, bytes, and when something arrived last (0 is never).
    pub fn read(&self) -> (u64, u64, u64) {
        (self.packets.load(Relaxed), self.bytes.load(Relaxed), self.heard_ms.load(Relaxed))
    }
}

/// How much one crossing into the kernel carried: what the offloads are worth.
#[derive(Debug, Default)]
pub struct Crossings {
    batches: AtomicU64,
    super_packets: AtomicU64,
    segments: AtomicU64,
}

impl Crossings {
    /// Counts a batch that was drained from the source.
    pub fn add_batch(&self) {
        bump(&self.batches, 1);
    }

    /// Counts a super-packet of so many packets, read from the TUN device or written to it.
    pub fn add_super_packet(&self, segments: usize) {
        bump(&self.super_packets, 1);
        bump(&self.segments, segments as u64);
    }

    /// Batches, super-packets, and the packets in those.
    pub fn read(&self) -> (u64, u64, u64) {
        (self.batches.load(Relaxed), self.super_packets.load(Relaxed), self.segments.load(Relaxed))
    }
}

/// What one pump counts apart from peers: its whole traffic, and drops by reason with the last offender of each.
#[derive(Debug)]
#[repr(align(128))]
pub struct Tally {
    /// All that this pump carried.
    pub traffic: Lane,
    /// How it crossed into the kernel.
    pub crossings: Crossings,
    drops: [AtomicU64; DropReason::ALL.len()],
    offenders: [AtomicU64; DropReason::ALL.len()],
    told: [AtomicU64; DropReason::ALL.len()],
}

impl Default for Tally {
    fn default() -> Self {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        Tally { traffic: Lane::default(), crossings: Crossings::default(), drops: zeros(), offenders: zeros(), told: zeros() }
    }
}

impl Tally {
    /// Counts a drop and notes the addresses: outer, and the inner one that is the matter; unspecified where there is none.
    pub fn note_drop(&self, reason: DropReason, outer: Ipv4Addr, inner: Ipv4Addr) {
        self.note_drops(1, reason, outer, inner);
    }

    /// Counts the drop of so many packets that went together.
    pub fn note_drops(&self, count: usize, reason: DropReason, outer: Ipv4Addr, inner: Ipv4Addr) {
        bump(&self.drops[reason as usize], count as u64);
        let pair = u64::from(outer.to_bits()) << 32 | u64::from(inner.to_bits());
        self.offenders[reason as usize].store(pair, Relaxed);
    }

    /// How many were dropped for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].load(Relaxed)
    }

    /// How many were dropped since this was last asked, and the addresses of the last one. For one reader.
    pub fn take(&self, reason: DropReason) -> Option<(u64, Ipv4Addr, Ipv4Addr)> {
        let now = self.dropped(reason);
        let new = now.wrapping_sub(self.told[reason as usize].swap(now, Relaxed));
        let pair = self.offenders[reason as usize].load(Relaxed);
        (new > 0).then(|| (new, Ipv4Addr::from_bits((pair >> 32) as u32), Ipv4Addr::from_bits(pair as u32)))
    }
}

fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_told_once() {
        let tally = Tally::default();
        let (outer, inner) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(10, 5, 1, 2));
        tally.note_drop(DropReason::InnerSource, Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);
        tally.note_drop(DropReason::InnerSource, outer, inner);
        assert_eq!(tally.take(DropReason::InnerSource), Some((2, outer, inner)));
        assert_eq!(tally.take(DropReason::InnerSource), None);
        assert_eq!((tally.dropped(DropReason::InnerSource), tally.dropped(DropReason::TooBig)), (2, 0));
    }

    #[test]
    fn lanes_of_different_threads_share_no_cache_line() {
        assert_eq!(std::mem::size_of::<Lane>() % 128, 0);
        assert_eq!(std::mem::align_of::<Tally>(), 128);
    }
}
