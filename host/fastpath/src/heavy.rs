//! Whether heavy bulk passes a queue, amid which its pumps are scheduled otherwise ([`crate::schedule`]): each adds up what it carries itself, and tells the others.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How long a pump adds up, in milliseconds: a page that is loaded is over by then.
const WHILE_MS: u64 = 100;
/// Bytes of such a while that are heavy: a gigabit a second.
const HEAVY: usize = 12_500_000;

/// Until when it passes, in whichever direction: a moment of the boot clock in milliseconds. Acknowledgments come by the queue of what they acknowledge (the
/// kernel's `tun_flow_update`), so that its pumps tell each other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Heavy(AtomicU64);

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
pub struct Meter {
    since_ms: u64,
    bytes: usize,
}

impl Meter {
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

    /// The moments, in milliseconds, at which so many bytes each millisecond are found heavy.
    fn found(bytes_a_ms: usize, moments: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut meter = Meter::default();
        moments.filter(|now_ms| meter.note(bytes_a_ms, *now_ms)).collect()
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
