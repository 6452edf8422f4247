//! Items that the kernel or the fast path refused: why, and when to try again.
//!
//! Pure; the time is passed in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use twill_model::state::HostKey;

use crate::ports::Refused;

/// The longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(30);

/// The items that failed.
#[derive(Debug)]
pub struct Failures<K = HostKey>(BTreeMap<K, Failure>);

impl<K> Default for Failures<K> {
    fn default() -> Self {
        Failures(BTreeMap::new())
    }
}

#[derive(Debug)]
struct Failure {
    why: Refused,
    wait: Duration,
    retry: Instant,
}

impl<K: Ord> Failures<K> {
    /// True unless the item failed a short while ago.
    pub fn may_try(&self, key: &K, now: Instant) -> bool {
        self.0.get(key).is_none_or(|failure| failure.retry <= now)
    }

    /// Notes a failure; each further one doubles the wait. True when this reason is new for the item.
    pub fn add(&mut self, key: K, why: &Refused, now: Instant) -> bool {
        let before = self.0.remove(&key);
        let wait = before.as_ref().map_or(Duration::from_millis(250), |before| (before.wait * 2).min(LONGEST));
        let news = before.is_none_or(|before| before.why != *why);
        self.0.insert(key, Failure { why: why.clone(), wait, retry: now + wait });
        news
    }

    /// The item is as it should be, or no longer wanted.
    pub fn forget(&mut self, key: &K) {
        self.0.remove(key);
    }

    /// Why the item failed last.
    pub fn why(&self, key: &K) -> Option<&Refused> {
        self.0.get(key).map(|failure| &failure.why)
    }

    /// When the next item is tried again, after `now`.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        self.0.values().map(|failure| failure.retry).filter(|retry| *retry > now).min()
    }

    /// Forgets all but these.
    pub fn keep_only(&mut self, wanted: impl Fn(&K) -> bool) {
        self.0.retain(|key, _| wanted(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_wait_up_to_half_a_minute() {
        let key = HostKey::Route { to: "10.1.0.0/16".parse().expect("a prefix"), metric: 0 };
        let why = Refused { act: "make it".into(), cause: "no such device".into() };
        let mut failures = Failures::default();
        let mut now = Instant::now();
        assert!(failures.add(key.clone(), &why, now));
        assert!(!failures.may_try(&key, now));
        for _ in 0..10 {
            now = failures.next(now).expect("it failed");
            assert!(failures.may_try(&key, now));
            assert!(!failures.add(key.clone(), &why, now), "the same reason is no news");
        }
        assert_eq!(failures.next(now), Some(now + LONGEST));
    }
}
