//! The events as the API shows them: the newest some thousands, oldest first, with a bell for those who follow.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use twill_model::event::Event;

/// Which events are asked for. Ids count up, so they are the places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Only events with a higher id, and of these the oldest first.
    pub after: Option<u64>,
    /// Only events with a lower id.
    pub before: Option<u64>,
    /// At most so many. Without `after` they are the newest.
    pub limit: usize,
}

/// The events that are kept.
#[derive(Debug)]
pub struct EventLog {
    kept: Mutex<VecDeque<Event>>,
    limit: usize,
    /// The newest event's id; 0 before there is one.
    newest: watch::Sender<u64>,
}

impl EventLog {
    /// A log of at most `limit` events that begins with `before`, whose ids count up.
    pub fn new(before: Vec<Event>, limit: usize) -> EventLog {
        let skipped = before.len().saturating_sub(limit);
        let kept: VecDeque<Event> = before.into_iter().skip(skipped).collect();
        let newest = watch::Sender::new(kept.back().map_or(0, |last| last.id));
        EventLog { kept: Mutex::new(kept), limit, newest }
    }

    /// Adds the event that `make` makes of the next id.
    pub fn add(&self, make: impl FnOnce(u64) -> Event) {
        let mut kept = self.lock();
        let id = *self.newest.borrow() + 1;
        kept.push_back(make(id));
        if kept.len() > self.limit {
            kept.pop_front();
        }
        self.newest.send_replace(id);
    }

    /// The events that a page holds, oldest first.
    pub fn page(&self, page: Page) -> Vec<Event> {
        let kept = self.lock();
        let end = page.before.map_or(kept.len(), |before| kept.partition_point(|event| event.id < before));
        let begin = page.after.map_or(0, |after| kept.partition_point(|event| event.id <= after)).min(end);
        let range = match page.after {
            Some(_) => begin..end.min(begin.saturating_add(page.limit)),
            None => begin.max(end.saturating_sub(page.limit))..end,
        };
        kept.range(range).cloned().collect()
    }

    /// The last event.
    pub fn last(&self) -> Option<Event> {
        self.lock().back().cloned()
    }

    /// The newest event's id, as it changes.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twill_model::event::{Told, Weight};

    fn event(id: u64) -> Event {
        Told::from("something").event(id, id, Weight::Info, "lease")
    }

    fn ids(log: &EventLog, after: Option<u64>, before: Option<u64>, limit: usize) -> Vec<u64> {
        log.page(Page { after, before, limit }).iter().map(|event| event.id).collect()
    }

    #[test]
    fn pages_go_forward_and_back() {
        let log = EventLog::new((11..=30).map(event).collect(), 100);
        assert_eq!(ids(&log, None, None, 3), [28, 29, 30]);
        assert_eq!(ids(&log, None, Some(28), 3), [25, 26, 27]);
        assert_eq!(ids(&log, Some(12), None, 3), [13, 14, 15]);
        assert_eq!(ids(&log, Some(12), Some(14), 3), [13]);
        assert_eq!(ids(&log, Some(0), None, 2), [11, 12], "what was thrown away is passed over");
        assert!(ids(&log, Some(30), None, 3).is_empty());
        assert!(ids(&log, Some(25), Some(20), 3).is_empty());
        assert!(ids(&log, None, Some(3), 3).is_empty());
    }

    #[test]
    fn ids_go_on_and_the_oldest_make_room() {
        let log = EventLog::new(vec![event(7), event(8), event(9)], 3);
        log.add(event);
        assert_eq!(ids(&log, None, None, 10), [8, 9, 10]);
        assert_eq!(*log.newest().borrow(), 10);
        assert_eq!(EventLog::new(Vec::new(), 3).last(), None);
    }
}
