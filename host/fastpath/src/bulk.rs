//! Whether bulk passes. Lone packets the other way are most likely its acknowledgments then, for which no core is kept awake, and amid heavy bulk pumps are scheduled
//! otherwise ([`crate::schedule`]).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A batch of so many bytes is bulk: a super-packet, or a dozen packets of ordinary length. A lone packet over the widest underlay (9000 bytes) is not.
const BULK: usize = 16 << 10;
/// How long a pump adds up, in milliseconds, to find that what it carries is heavy: a page that is loaded is over by then.
const WHILE_MS: u64 = 100;
/// Bytes of such a while that are heavy: a gigabit a second.
const HEAVY: usize = 12_500_000;

/// When bulk last left a tunnel: a moment of the boot clock in milliseconds, on cache lines of its own. All pumps out write it, a millisecond once at most.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Bulk(AtomicU64);

/// Until when heavy bulk passes a queue, in whichever direction: a moment of the boot clock in milliseconds. Acknowledgments come by the queue of what they acknowledge (the
/// kernel's `tun_flow_update`), so that its pumps tell each other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Heavy(AtomicU64);

impl Bulk {
    /// Notes a batch of so many bytes, if that is bulk.
    pub fn note(&self, bytes: usize, now_ms: u64) {
        if bytes >= BULK && self.last_ms() != now_ms {
            self.0.store(now_ms, Relaxed);
        }
    }

    /// When that was; another moment than before when bulk has left meanwhile, but for some that left within the same millisecond.
    pub fn last_ms(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Heavy {
    /// Notes that a pump carries it; that holds until the pump would have noticed the end.
    pub fn note(&self, now_ms: u64) {
        self.0.store(now_ms.saturating_add(2 * WHILE_MS), Relaxed);
    }

    /// True amid heavy bulk.
    pub fn is_on(&self, now_ms: u64) -> bool {
        now_ms < self.0.load(Relaxed)
    }
}

/// What one pump has carried in the current while.
#[derive(Debug, Default)]
pub struct Heaviness {
    since_ms: u64,
    bytes: usize,
}

impl Heaviness {
    /// Adds a batch of so many bytes. True when a while has just ended in which much was carried, without a rest.
    pub fn note(&mut self, bytes: usize, now_ms: u64) -> bool {
        self.bytes += bytes;
        let passed_ms = now_ms.saturating_sub(self.since_ms);
        if passed_ms < WHILE_MS {
            return false;
        }
        let carried = std::mem::take(&mut self.bytes);
        self.since_ms = now_ms;
        carried >= HEAVY && passed_ms < 2 * WHILE_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn super_packets_and_many_long_packets_are_bulk_and_lone_ones_are_not() {
        let is_bulk = |bytes: usize| {
            let bulk = Bulk::default();
            bulk.note(bytes, 1_000);
            bulk.last_ms() == 1_000
        };
        assert!(is_bulk(65_000), "a super-packet");
        assert!(is_bulk(60_000 + 31 * 66), "one among acknowledgments");
        assert!(is_bulk(32 * 1500), "a stream where nothing is joined");
        assert!(!is_bulk(66) && !is_bulk(9_000) && !is_bulk(32 * 66), "a packet, a long one, acknowledgments");
    }

    /// The moments, in milliseconds, at which so many bytes each millisecond are found heavy.
    fn found(bytes_a_ms: usize, moments: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut heaviness = Heaviness::default();
        moments.filter(|now_ms| heaviness.note(bytes_a_ms, *now_ms)).collect()
    }

    #[test]
    fn what_lasts_and_is_much_is_heavy() {
        let nothing: [u64; 0] = [];
        assert_eq!(found(130_000, 5_000..5_350), [5_100, 5_200, 5_300]);
        assert_eq!(found(120_000, 5_000..5_350), nothing, "less than a gigabit a second");
        assert_eq!(found(1_000_000, (5_000..5_050).chain(6_000..6_050)), nothing, "over before a while is");
        assert_eq!(found(130_000, (5_000..5_090).chain(5_500..5_599)), nothing, "with a rest");
    }

    #[test]
    fn heavy_bulk_is_over_when_no_pump_says_so_any_more() {
        let heavy = Heavy::default();
        assert!(!heavy.is_on(1_000));
        heavy.note(1_000);
        assert!([1_000, 1_100, 1_199].iter().all(|now| heavy.is_on(*now)) && !heavy.is_on(1_200));
    }
}
