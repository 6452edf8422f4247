//! Times of a lease's life, all pure: when to renew, how long to wait after a failure, how early to look before the term ends.

use std::time::Duration;

/// The term that flannel uses, and twill's default.
pub const DEFAULT_TERM: Duration = Duration::from_secs(24 * 3600);

/// How far the fast path's permit is moved on at a time while the store is away.
pub const STEP: Duration = Duration::from_secs(2);

const MARGIN: Duration = Duration::from_secs(3600);

/// The shortest time between two renewals that a margin asks for, unless a third of the term is shorter.
const LEAST: Duration = Duration::from_secs(60);

/// How long after a lease was written it is renewed.
///
/// With a margin: so long before the end of the term, as flannel's `--subnet-lease-renew-margin`; one that leaves less than a minute, or less than a third of a short
/// term, is cut to that. Without one: an hour before the end, and of a short term after a third. 24 h gives 23 h, 3 s gives 1 s.
pub fn renewal_after(term: Duration, margin: Option<Duration>) -> Duration {
    match margin {
        Some(margin) => term.saturating_sub(margin).max(LEAST.min(term / 3)),
        None => term - MARGIN.min(term * 2 / 3),
    }
}

/// How long before a permit ends it is looked at, so that a busy machine is not taken for a frozen one: a twelfth of the term, between 250 ms and 1 s.
pub fn lead(term: Duration) -> Duration {
    (term / 12).clamp(Duration::from_millis(250), Duration::from_secs(1))
}

/// Waits that double from a first to a last, spread by a quarter up or down so that nodes that failed together do not return together.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    last: Duration,
    next: Duration,
    spread: Spread,
}

impl Backoff {
    /// The first wait, the longest one, and a seed that differs from node to node.
    pub fn new(first: Duration, last: Duration, seed: u64) -> Backoff {
        Backoff { first, last, next: first, spread: Spread::new(seed) }
    }

    /// How long to wait now.
    pub fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.last);
        wait * 3 / 4 + wait / 2 * u32::try_from(self.spread.below(1001)).unwrap_or(0) / 1000
    }

    /// It worked: the next failure waits the shortest time again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Numbers that look random and follow from a seed (SplitMix64): for spreading load, never for secrets.
#[derive(Debug, Clone)]
pub struct Spread(u64);

impl Spread {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Spread {
        Spread(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next number below `bound`; 0 when the bound is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % u64::try_from(bound.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    /// Fisher and Yates' shuffle.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}

/// A seed from a name (FNV-1a): nodes of different names spread differently.
pub fn seed_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_day_is_renewed_an_hour_early_and_three_seconds_after_one() {
        assert_eq!(renewal_after(DEFAULT_TERM, None), Duration::from_secs(23 * 3600));
        assert_eq!(renewal_after(Duration::from_secs(3), None), Duration::from_secs(1));
        assert_eq!(renewal_after(Duration::from_secs(5400), None), Duration::from_secs(1800));
    }

    #[test]
    fn a_margin_is_kept_as_far_as_the_term_has_room_for_it() {
        let after = |term: u64, margin: u64| renewal_after(Duration::from_secs(term), Some(Duration::from_secs(margin))).as_secs();
        let day = 24 * 3600;
        assert_eq!([after(day, 60 * 60), after(day, 60), after(day, 1439 * 60)], [23 * 3600, day - 60, 60]);
        assert_eq!([after(10, 2), after(9, 8), after(9, 3600)], [8, 3, 3]);
    }

    #[test]
    fn waits_double_up_to_the_last_and_start_anew_after_a_success() {
        let (first, last) = (Duration::from_millis(100), Duration::from_millis(400));
        let mut backoff = Backoff::new(first, last, 7);
        let within = |wait: Duration, middle: Duration| wait >= middle * 3 / 4 && wait <= middle * 5 / 4;
        for middle in [100, 200, 400, 400] {
            assert!(within(backoff.wait(), Duration::from_millis(middle)));
        }
        backoff.reset();
        assert!(within(backoff.wait(), first));
    }

    proptest! {
        #[test]
        fn a_shuffle_keeps_every_item(seed in any::<u64>(), count in 0usize..200) {
            let mut items: Vec<usize> = (0..count).collect();
            Spread::new(seed).shuffle(&mut items);
            items.sort_unstable();
            prop_assert_eq!(items, (0..count).collect::<Vec<_>>());
        }

        #[test]
        fn renewal_lies_inside_the_term_and_leaves_time_to_retry(seconds in 1u64..200_000, margin in any::<u32>()) {
            let term = Duration::from_secs(seconds);
            prop_assert!(renewal_after(term, None) > Duration::ZERO);
            prop_assert!(renewal_after(term, None) + lead(term) < term);
            let asked = renewal_after(term, Some(Duration::from_secs(margin.into())));
            prop_assert!(asked > Duration::ZERO && asked <= term);
        }
    }
}
