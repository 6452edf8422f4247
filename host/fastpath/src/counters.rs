//! Counters that cost nothing: each is written by one thread only, on cache lines of its own, and summed up on reading.
//!
//! A writer loads and stores without a locked instruction, which is right only while nobody else writes; every [`Lane`] and [`Tally`]
//! therefore belongs to one pump. Readers may see a packet counted a moment before its bytes.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, Ordering::Relaxed, fence};

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
    sizes: [AtomicU64; SIZES],
}

/// Sizes of super-packets that are told apart, by powers of two of the packets that they stand for: 1, 2 to 3, 4 to 7 and so on, and last all from 64.
pub const SIZES: usize = 7;

/// What [`Crossings`] have counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Crossed {
    /// Batches drained from the source.
    pub batches: u64,
    /// Super-packets read from the TUN device, or written to it.
    pub super_packets: u64,
    /// Packets that those stood for.
    pub segments: u64,
    /// The super-packets by how many packets each stood for; see [`SIZES`].
    pub sizes: [u64; SIZES],
}

impl std::ops::Add for Crossed {
    type Output = Crossed;

    fn add(self, other: Crossed) -> Crossed {
        Crossed {
            batches: self.batches + other.batches,
            super_packets: self.super_packets + other.super_packets,
            segments: self.segments + other.segments,
            sizes: std::array::from_fn(|size| self.sizes[size] + other.sizes[size]),
        }
    }
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
        bump(&self.sizes[(segments.max(1).ilog2() as usize).min(SIZES - 1)], 1);
    }

    /// All that was counted.
    pub fn read(&self) -> Crossed {
        Crossed {
            batches: self.batches.load(Relaxed),
            super_packets: self.super_packets.load(Relaxed),
            segments: self.segments.load(Relaxed),
            sizes: std::array::from_fn(|size| self.sizes[size].load(Relaxed)),
        }
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
    offenders: [Addresses; DropReason::ALL.len()],
    told: [AtomicU64; DropReason::ALL.len()],
}

impl Default for Tally {
    fn default() -> Self {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        let offenders = std::array::from_fn(|_| Addresses::default());
        Tally { traffic: Lane::default(), crossings: Crossings::default(), drops: zeros(), offenders, told: zeros() }
    }
}

impl Tally {
    /// Counts a drop and notes the addresses: outer, and the inner one that is the matter.
    pub fn note_drop(&self, reason: DropReason, outer: Option<IpAddr>, inner: Option<IpAddr>) {
        self.note_drops(1, reason, outer, inner);
    }

    /// Counts the drop of so many packets that went together.
    pub fn note_drops(&self, count: usize, reason: DropReason, outer: Option<IpAddr>, inner: Option<IpAddr>) {
        bump(&self.drops[reason as usize], count as u64);
        self.offenders[reason as usize].store(outer, inner);
    }

    /// How many were dropped for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].load(Relaxed)
    }

    /// How many were dropped since this was last asked, and the addresses of the last one. For one reader.
    pub fn take(&self, reason: DropReason) -> Option<(u64, Option<IpAddr>, Option<IpAddr>)> {
        let now = self.dropped(reason);
        let new = now.wrapping_sub(self.told[reason as usize].swap(now, Relaxed));
        let (outer, inner) = self.offenders[reason as usize].load();
        (new > 0).then_some((new, outer, inner))
    }
}

/// Two addresses that one thread writes and others read whole: a writer makes the version odd while it writes, and a reader that saw it odd or changed looks again.
#[derive(Debug, Default)]
struct Addresses {
    version: AtomicU32,
    halves: [AtomicU64; 4],
}

impl Addresses {
    /// Only for the thread that owns the tally.
    fn store(&self, outer: Option<IpAddr>, inner: Option<IpAddr>) {
        let version = self.version.load(Relaxed);
        self.version.store(version.wrapping_add(1), Relaxed);
        fence(Ordering::Release);
        let (outer, inner) = (number(outer), number(inner));
        let halves = [(outer >> 64) as u64, outer as u64, (inner >> 64) as u64, inner as u64];
        self.halves.iter().zip(halves).for_each(|(place, half)| place.store(half, Relaxed));
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// None for both when the writer never leaves off.
    fn load(&self) -> (Option<IpAddr>, Option<IpAddr>) {
        for _ in 0..100 {
            let before = self.version.load(Ordering::Acquire);
            let [a, b, c, d]: [u64; 4] = std::array::from_fn(|half| self.halves[half].load(Relaxed));
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.version.load(Relaxed) == before {
                return (address(a, b), address(c, d));
            }
        }
        (None, None)
    }
}

/// IPv4 as IPv6's mapped addresses have it, and none as the unspecified address, which no packet has.
fn number(address: Option<IpAddr>) -> u128 {
    match address {
        None => 0,
        Some(IpAddr::V4(address)) => address.to_ipv6_mapped().to_bits(),
        Some(IpAddr::V6(address)) => address.to_bits(),
    }
}

fn address(high: u64, low: u64) -> Option<IpAddr> {
    let bits = u128::from(high) << 64 | u128::from(low);
    (bits != 0).then(|| Ipv6Addr::from_bits(bits).to_canonical())
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
        let (outer, inner) = (Some(IpAddr::from([192, 0, 2, 1])), Some(IpAddr::from([0xfd00, 5, 1, 0, 0, 0, 0, 2])));
        tally.note_drop(DropReason::InnerSource, None, None);
        tally.note_drop(DropReason::InnerSource, outer, inner);
        assert_eq!(tally.take(DropReason::InnerSource), Some((2, outer, inner)));
        assert_eq!(tally.take(DropReason::InnerSource), None);
        assert_eq!((tally.dropped(DropReason::InnerSource), tally.dropped(DropReason::TooBig)), (2, 0));
    }

    #[test]
    fn addresses_are_never_read_by_halves() {
        let (addresses, done) = (Addresses::default(), std::sync::atomic::AtomicBool::new(false));
        let pairs = [[1u8; 16], [2; 16]].map(|octets| Some(IpAddr::from(octets)));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for pair in pairs.iter().cycle().take_while(|_| !done.load(Relaxed)) {
                    addresses.store(*pair, *pair);
                }
            });
            for _ in 0..20_000 {
                let (outer, inner) = addresses.load();
                assert!(outer == inner && (outer.is_none() || pairs.contains(&outer)), "{outer:?} {inner:?}");
            }
            done.store(true, Relaxed);
        });
    }

    #[test]
    fn super_packets_are_told_apart_by_size() {
        let crossings = Crossings::default();
        [2, 3, 4, 44, 64, 100].into_iter().for_each(|segments| crossings.add_super_packet(segments));
        let crossed = crossings.read();
        assert_eq!((crossed.super_packets, crossed.segments), (6, 217));
        assert_eq!(crossed.sizes, [0, 2, 1, 0, 0, 1, 2]);
    }

    #[test]
    fn lanes_of_different_threads_share_no_cache_line() {
        assert_eq!(std::mem::size_of::<Lane>() % 128, 0);
        assert_eq!(std::mem::align_of::<Tally>(), 128);
    }
}
