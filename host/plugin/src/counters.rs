//! What is counted of a plugin over all its instances, for status.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::limits::Account;

/// A plugin that thinks up ever new violations is told of so many times, and then only counted.
const MOST_TOLD: usize = 20;

/// The counters of one plugin.
#[derive(Default)]
pub(crate) struct Counters(Mutex<Count>);

/// One reading of the counters.
#[derive(Debug, Clone, Default)]
pub(crate) struct Count {
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    pub(crate) restarts: u64,
    pub(crate) guest_us: u64,
    pub(crate) memory: u64,
    pub(crate) last_failure: Option<String>,
    pub(crate) violations: u64,
    pub(crate) last_violation: Option<String>,
    /// Violations that were news.
    told: BTreeSet<String>,
    /// It failed and no call has succeeded since.
    pub(crate) failing: bool,
    /// It rests until then.
    pub(crate) rests_until: Option<Instant>,
}

impl Counters {
    pub(crate) fn read(&self) -> Count {
        self.lock().clone()
    }

    pub(crate) fn called(&self, account: &Account) {
        let mut count = self.lock();
        count.calls += 1;
        count.guest_us += account.computed().as_micros() as u64;
        count.memory = count.memory.max(account.peak() as u64);
    }

    pub(crate) fn failed(&self, cause: &str, rests_until: Option<Instant>) {
        let mut count = self.lock();
        count.failures += 1;
        count.failing = true;
        count.last_failure = Some(cause.into());
        count.rests_until = rests_until;
    }

    pub(crate) fn restarted(&self) {
        self.lock().restarts += 1;
    }

    pub(crate) fn recovered(&self) {
        let mut count = self.lock();
        count.failing = false;
        count.rests_until = None;
    }

    /// Something that the policy or the grants forbid; it had no effect. True when that is news, and not one of too many.
    pub(crate) fn violated(&self, what: &str) -> bool {
        let mut count = self.lock();
        count.violations += 1;
        if count.last_violation.as_deref() != Some(what) {
            count.last_violation = Some(what.into());
        }
        count.told.len() < MOST_TOLD && count.told.insert(what.into())
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_violation_is_news_once_and_they_have_an_end() {
        let counters = Counters::default();
        assert_eq!(["a", "a", "b", "a"].map(|what| counters.violated(what)), [true, false, true, false]);
        let news = (0..100).filter(|n| counters.violated(&n.to_string())).count();
        assert_eq!((news, counters.read().violations), (MOST_TOLD - 2, 104));
    }
}
