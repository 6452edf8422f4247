//! Whether bulk leaves a tunnel. Lone packets the other way are most likely its acknowledgments then, for which no core is kept awake.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A batch of so many bytes is bulk: a super-packet, or a dozen packets of ordinary length. A lone packet over the widest underlay (9000 bytes) is not.
const BULK: usize = 16 << 10;

/// When bulk last left: a moment of the boot clock in milliseconds, on cache lines of its own. All pumps out write it, a millisecond once at most.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Bulk(AtomicU64);

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
}
