//! Whether bulk flows through a tunnel. Short packets the other way are most likely its acknowledgments then, which are worth other treatment than questions and answers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A batch of so many bytes is bulk: a super-packet, or a dozen packets of ordinary length. A lone packet over the widest underlay (9000 bytes) is not.
const BULK: usize = 16 << 10;
/// Bulk that came within so many milliseconds still flows: a batch a millisecond is a tenth of a Gbit/s.
const LATELY_MS: u64 = 2;

/// When bulk last went either way.
#[derive(Debug, Default)]
pub struct Bulk {
    /// From pods.
    pub out: Stamp,
    /// From the network.
    pub into: Stamp,
}

/// A moment of the boot clock in milliseconds, on cache lines of its own. All pumps of a way write it, a millisecond once at most.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Stamp(AtomicU64);

impl Stamp {
    /// Notes a batch of so many bytes, if that is bulk; only then the clock is asked.
    pub fn note(&self, bytes: usize, now_ms: impl FnOnce() -> u64) {
        if bytes < BULK {
            return;
        }
        let now_ms = now_ms();
        if self.last_ms() != now_ms {
            self.0.store(now_ms, Relaxed);
        }
    }

    /// True when that was just now.
    pub fn is_fresh(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.last_ms()) <= LATELY_MS
    }

    /// When that was; it differs from what it was before whenever bulk has gone by meanwhile for longer than a millisecond.
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
            let stamp = Stamp::default();
            stamp.note(bytes, || 1_000);
            stamp.is_fresh(1_000 + LATELY_MS)
        };
        assert!(
            is_bulk(65_000) && is_bulk(32 * 1500) && is_bulk(60_000 + 31 * 66),
            "a stream, also where nothing is joined, or among acknowledgments"
        );
        assert!(!is_bulk(66) && !is_bulk(9_000) && !is_bulk(32 * 66), "a packet, a long one, acknowledgments");
    }

    #[test]
    fn bulk_is_over_soon() {
        let stamp = Stamp::default();
        stamp.note(BULK, || 1_000);
        assert!(!stamp.is_fresh(1_001 + LATELY_MS));
        stamp.note(BULK, || 2_000);
        assert_eq!((stamp.last_ms(), stamp.is_fresh(2_000)), (2_000, true));
    }
}
