//! Repairs: items that were in place and are not any more, by another hand than ours. Each is mended at once and told once; one that vanishes
//! over and over is left alone for a while, since somebody is fighting us for it.
//!
//! Pure; the time is passed in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// The span in which repairs of one item are counted.
const SPAN: Duration = Duration::from_secs(60);

/// How long an item is left alone once it was repaired too often.
pub const PAUSE: Duration = Duration::from_secs(30);

/// Why what was in place is not any more.
pub const ANOTHER_HAND: &str = "another program or person on this host took it away or changed it";

/// How long a repair took.
pub fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// What is to be done about an item that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was never in place: make it, there is nothing to tell.
    New,
    /// It was in place and vanished: make it again and tell.
    Repair,
    /// It vanished too often: leave it alone from now on, and tell that.
    GiveUp,
    /// It is being left alone.
    Paused,
}

/// The memory of what was in place and of past repairs.
#[derive(Debug)]
pub struct Repairs<K> {
    settled: BTreeSet<K>,
    past: BTreeMap<K, VecDeque<Instant>>,
    paused: BTreeMap<K, Instant>,
}

impl<K> Default for Repairs<K> {
    fn default() -> Self {
        Repairs { settled: BTreeSet::new(), past: BTreeMap::new(), paused: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Repairs<K> {
    /// What to do about `key`, which is missing now; counts it when it is a repair.
    pub fn judge(&mut self, key: &K, limit: usize, now: Instant) -> Verdict {
        if let Some(until) = self.paused.get(key) {
            if now < *until {
                return Verdict::Paused;
            }
            self.paused.remove(key);
        }
        if !self.settled.contains(key) {
            return Verdict::New;
        }
        let past = self.past.entry(key.clone()).or_default();
        while past.front().is_some_and(|first| now.duration_since(*first) >= SPAN) {
            past.pop_front();
        }
        if past.len() >= limit {
            self.paused.insert(key.clone(), now + PAUSE);
            return Verdict::GiveUp;
        }
        past.push_back(now);
        Verdict::Repair
    }

    /// Replaces what is known to be in place.
    pub fn settle(&mut self, present: BTreeSet<K>) {
        // What is being left alone stays settled, so that its return counts as a repair.
        let paused = self.paused.keys().cloned();
        self.settled = present.into_iter().chain(paused).collect();
        self.past.retain(|key, _| self.settled.contains(key));
    }

    /// When the next item is tried again, after `now`.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        self.paused.values().filter(|until| **until > now).min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twill_model::state::HostKey;

    fn key() -> HostKey {
        HostKey::Route { to: "10.1.0.0/16".parse().expect("a prefix"), metric: 0 }
    }

    #[test]
    fn what_was_never_in_place_is_no_repair() {
        assert_eq!(Repairs::<HostKey>::default().judge(&key(), 10, Instant::now()), Verdict::New);
    }

    #[test]
    fn the_eleventh_repair_in_a_minute_is_not_done() {
        let mut repairs = Repairs::default();
        let start = Instant::now();
        for second in 0..10 {
            repairs.settle(BTreeSet::from([key()]));
            assert_eq!(repairs.judge(&key(), 10, start + Duration::from_secs(second)), Verdict::Repair);
        }
        let now = start + Duration::from_secs(11);
        assert_eq!(repairs.judge(&key(), 10, now), Verdict::GiveUp);
        repairs.settle(BTreeSet::new());
        assert_eq!(repairs.judge(&key(), 10, now + Duration::from_secs(1)), Verdict::Paused);
        assert_eq!(repairs.next(now), Some(now + PAUSE));
        assert_eq!(repairs.next(now + PAUSE), None, "a pause that is over is no reason to come again");
        assert_eq!(repairs.judge(&key(), 10, now + PAUSE + SPAN), Verdict::Repair);
    }
}
