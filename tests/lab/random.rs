//! Chance that can be repeated: whatever a test leaves to it comes from one number, which is printed and can be given.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

/// The variable that gives the number.
pub const SEED: &str = "TWILL_SEED";

/// The number that a test printed among what it said, if it left something to chance.
pub fn printed_seed(said: &str) -> Option<u64> {
    said.lines().find_map(|line| line.trim().strip_prefix(SEED)?.strip_prefix('=')?.split_whitespace().next()?.parse().ok())
}

/// A sequence of numbers that a seed decides (SplitMix64, by Steele, Lea and Flood).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Begins with `TWILL_SEED`, else with the clock's word, and prints which it is.
    pub fn from_environment() -> Result<Random> {
        let seed = match std::env::var(SEED) {
            Ok(text) => text.parse().with_context(|| format!("{SEED} is no number: {text}"))?,
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64 % 1_000_000,
        };
        println!("{SEED}={seed} repeats the order of this run");
        Ok(Random(seed))
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end.max(1) as u64) as usize
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// A time shorter than `longest`.
    pub fn pause(&mut self, longest: Duration) -> Duration {
        Duration::from_millis(self.below(longest.as_millis() as usize) as u64)
    }

    /// Brings them into another order.
    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for end in (1..all.len()).rev() {
            all.swap(end, self.below(end + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_of_a_run_is_found_in_what_it_said() {
        let said = "exit status: 1\nTWILL_SEED=4711 repeats the order of this run\nudp, vxlan, udp\n3 lost";
        assert_eq!(printed_seed(said), Some(4711));
        assert_eq!(printed_seed("3 lost of TWILL_SEED=7"), None);
        assert_eq!(printed_seed(""), None);
    }

    #[test]
    fn a_seed_decides_the_order() {
        let shuffled = |seed| {
            let mut all: Vec<u8> = (0..20).collect();
            Random(seed).shuffle(&mut all);
            all
        };
        assert_eq!(shuffled(7), shuffled(7));
        assert_ne!(shuffled(7), shuffled(8));
        let mut sorted = shuffled(7);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<u8>>());
    }
}
